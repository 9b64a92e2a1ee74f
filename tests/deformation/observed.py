"""A simulated observation of two tracks."""

from qexp.observations.observation import Observation
from tests.inference.tracks import ASCENDING, DESCENDING, track

ORIGIN = (426_000.0, 4_519_000.0)
SOURCE = (ORIGIN[0] + 300.0, ORIGIN[1] - 200.0, 1500.0, 3e6)
TRUTH = {"east": SOURCE[0], "north": SOURCE[1], "depth": 1.5, "delta_volume": 3.0}
CRS = "EPSG:32633"


def observed(noise=None, offsets=(0.03, -0.02), size=14, **changes):
    looks = {"ascending": ASCENDING, "descending": DESCENDING}
    tracks = [
        track(
            name,
            look,
            SOURCE,
            noise,
            seed=seed,
            added=added,
            origin=ORIGIN,
            size=size,
            spacing=500.0,
            **changes,
        )
        for seed, ((name, look), added) in enumerate(zip(looks.items(), offsets, strict=True))
    ]
    return Observation(tuple(tracks), CRS)

"""What a track holds, in numbers: for messages and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qexp.observations.observation import CorrelatedNoise, Track, convergence
from qexp.observations.projection import crs_of
from qexp.observations.reading import angles_of


@dataclass(frozen=True)
class TrackSummary:
    """One track in numbers; lengths in m, angles in degrees."""

    name: str
    kind: str
    points: int
    """Points that count; of GNSS stations, components."""
    averaged: int | None
    """Pixels or points of which these are the means; None if they are not means."""
    masked: int
    """Points that do not count; of means, pixels or points that are in none of them."""
    east: tuple[float, float]
    north: tuple[float, float]
    incidence: float | None
    """Mean over the points; None for GNSS."""
    heading: float | None
    """Mean over the points, of a right-looking satellite, from the north of the coordinates; None for GNSS."""
    true_heading: float | None
    """The same from true north."""
    rms: float
    """Root mean square of the displacements."""
    error: float
    """Median standard deviation of the noise that is independent from point to point."""
    noise: CorrelatedNoise | None
    stations: Sequence[str] | None = None
    """Names of the GNSS stations that have an observed component; None if they have no names."""

    @property
    def error_is_nugget(self) -> bool:
        return self.noise is not None and math.isclose(self.error**2, self.noise.nugget, rel_tol=1e-6)

    def document(self) -> dict[str, Any]:
        return asdict(self)


def summary_of(track: Track, size: int, crs: str | None) -> TrackSummary:
    """A track in numbers.

    size  number of pixels or points that were read
    crs   of its coordinates
    """
    seen = track.seen()
    averaged = None if seen.count is None else round(float(seen.count.sum()))
    incidence = heading = true_heading = None
    if track.kind == "radar":
        incidence, heading = (float(angle[0]) for angle in angles_of(seen.direction.mean(axis=0, keepdims=True)))
        turn = 0.0 if crs is None else np.degrees(convergence(crs_of(crs), seen.x, seen.y)).mean()
        true_heading = float((heading + turn + 180) % 360 - 180)
    east, north = ((float(values.min()), float(values.max())) for values in (seen.x, seen.y))
    return TrackSummary(
        track.name, track.kind, seen.size, averaged, max(size - (averaged or seen.size), 0), east, north, incidence,
        heading, true_heading, float(np.sqrt(np.mean(seen.displacement**2))),
        float(np.median(seen.error)), track.noise,
        None if seen.station is None else list(dict.fromkeys(seen.station.tolist())),
    )  # fmt: skip

"""A simulated observation: what is read from its files is what the source does, and what truth.json
says was added.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import qexp
from qexp.errors import QexpError

ANGLES = {"incidence": [39, 34], "heading": [-12, -168]}
NO_ERRORS = {"noise": "none", "offset": 0.0, "gaps": 0.0, "size": 24}


def read(folder: Path, unit: str = "mm"):
    tracks = [folder / f"{name}.tif" for name in ("ascending", "descending")]
    others = {
        "unit": unit,
        "gnss": folder / "gnss.csv",
        "gnss_unit": unit,
        "dem": folder / "dem.tif",
        "error": 5.0,
    }
    return qexp.observe(tracks, **ANGLES, **others).observation


def mogi(track, truth) -> np.ndarray:
    """Mogi (1958) along the directions of a track, with the depth counted from the elevation of
    each point.
    """
    east, north, depth, volume = (
        truth["parameters"][name]["value"] for name in ("east", "north", "depth", "delta_volume")
    )
    offset = np.stack([track.x - east, track.y - north, 1e3 * depth + track.elevation])
    moved = 0.75 / math.pi * 1e6 * volume * offset / np.linalg.norm(offset, axis=0) ** 3
    return (moved.T * track.direction).sum(axis=1)


@pytest.mark.parametrize("unit", ["mm", "m"])
def test_tracks_and_stations_see_the_source_from_their_elevations(tmp_path, unit):
    made = qexp.make_observation(
        tmp_path / "seen", unit=unit, at={"depth": 2.5, "delta_volume": 4.0}, **NO_ERRORS
    )
    assert made.truth == json.loads((tmp_path / "seen/truth.json").read_text())
    ascending, descending, gnss = read(tmp_path / "seen", unit).tracks
    for track in (ascending, descending):
        assert track.displacement[track.observed] == pytest.approx(
            mogi(track, made.truth)[track.observed], abs=1e-7
        )
        assert np.ptp(track.elevation[track.observed]) > 1000
        assert 1 - track.observed.mean() == pytest.approx(0.1, abs=0.01)  # in the sea
    difference = (
        gnss.displacement - mogi(gnss, made.truth)
    ) / gnss.error  # directions are those of true north
    assert gnss.size == 24
    assert np.square(difference).sum() < 60  # of 24 squares of normal numbers: p < 1e-4


def test_errors_are_those_that_the_truth_tells(tmp_path):
    seen = {
        name: read(qexp.make_observation(tmp_path / name, **{**NO_ERRORS, **added}).folder).tracks
        for name, added in {
            "bare": {},
            "tilted": {"offset": 0.03, "ramp": 0.002},
            "rough": {"noise": "gaussian:1e-4,50,0"},
        }.items()
    }
    tracks = json.loads((tmp_path / "tilted/truth.json").read_text())["tracks"]
    for bare, tilted, rough in list(zip(*seen.values(), strict=True))[:2]:
        added = (tilted.displacement - bare.displacement)[bare.observed]
        about = tracks[bare.name]
        along = np.stack([bare.x - 426_000, bare.y - 4_519_000], axis=1)[bare.observed] / 1e3
        assert added == pytest.approx(about["offset"] + along @ about["ramp"], abs=1e-7)
        assert about["offset"] != 0
        # independent from pixel to pixel
        noise = (rough.displacement - bare.displacement)[bare.observed]
        assert noise.std() == pytest.approx(0.01, rel=4 / math.sqrt(2 * noise.size))


def test_each_use_of_random_numbers_is_its_own(tmp_path):
    def images(name: str, **options) -> list[bytes]:
        folder = qexp.make_observation(tmp_path / name, size=24, **options).folder
        return [(folder / f"{track}.tif").read_bytes() for track in ("ascending", "descending")]

    first = images("first")
    assert images("again") == first
    assert images("stations", stations=3) == first
    assert not {*images("seed", seed=1)} & {*first}


def test_any_source_of_invert_can_be_observed_and_impossible_ones_are_refused(tmp_path):
    sill = {
        "depth": 2.0,
        "length": 3.0,
        "width": 1.0,
        "strike": 30.0,
        "dip": 10.0,
        "strike_slip": 0.0,
        "dip_slip": 0.0,
    }
    at = {f"okada.{name}": value for name, value in {**sill, "opening": 1.0}.items()}
    both = {"mogi.depth": 3.0, "mogi.delta_volume": -2.0, **at}
    made = qexp.make_observation(
        tmp_path / "two", source="mogi+okada", at=both, degrees=True, **NO_ERRORS
    )
    assert made.truth["parameters"]["okada.strike"] == {"value": 30.0, "unit": "°"}
    with pytest.raises(QexpError, match="must lie below the surface"):
        qexp.make_observation(
            tmp_path / "no", source="mogi+okada", at={**both, "okada.depth": 0.05}, degrees=True
        )
    assert not (tmp_path / "no").exists()

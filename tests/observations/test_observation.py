"""Observation files keep what is written, and what is wrong with an observation is said."""

import dataclasses
import gc
import re
import sys

import numpy as np
import pytest
import xarray

from qexp.errors import QexpError
from qexp.observations.observation import (
    CorrelatedNoise,
    Observation,
    Track,
    read_observation,
    write_observation,
)


def track(name="ascending", kind="radar", points=6, **changes):
    random = np.random.default_rng(0)
    x, y = random.uniform(420e3, 430e3, points), random.uniform(4510e3, 4520e3, points)
    moved = random.normal(size=points)
    error = np.full(points, 0.005)
    toward = np.tile([-0.6, 0.0, 0.8], (points, 1))
    return dataclasses.replace(
        Track(name, kind, x, y, moved, error, toward, np.ones(points, bool)), **changes
    )


def observation():
    masked = np.arange(6) != 2
    gaps = np.where(masked, 0.1, np.nan)
    return Observation(
        (
            track(
                noise=CorrelatedNoise("exponential", 2.3e-5, 10.2e3, 3e-6), elevation=np.arange(6.0)
            ),
            track(
                "descending",
                observed=masked,
                displacement=gaps,
                count=np.arange(6.0),
                spread=np.ones((6, 2)),
            ),
            track("stations", "gnss", direction=np.tile(np.eye(3), (2, 1))),
        ),
        'LOCAL_CS["metres"]',
    )


@pytest.mark.heavy
def test_a_file_keeps_the_whole_observation(tmp_path):
    written = observation()
    write_observation(written, tmp_path / "obs.nc")
    read = read_observation(tmp_path / "obs.nc")
    assert read.crs == written.crs
    for ours, theirs in zip(written.tracks, read.tracks, strict=True):
        for field in dataclasses.fields(Track):
            expected, value = getattr(ours, field.name), getattr(theirs, field.name)
            if isinstance(expected, np.ndarray):
                np.testing.assert_array_equal(value, expected)
            else:
                assert value == expected
    assert read.size == 17
    assert read.track("descending").where_observed().size == 5


@pytest.mark.heavy
def test_a_file_has_units_and_names_its_conventions(tmp_path):
    write_observation(observation(), tmp_path / "obs.nc", "made by hand")
    with xarray.open_dataset(tmp_path / "obs.nc", engine="h5netcdf") as table:
        assert table.attrs["Conventions"].startswith("CF-")
        assert table.attrs["history"] == "made by hand"
        for name in ("x", "y", "displacement", "error", "elevation"):
            assert table[name].attrs["units"] == "m"
        displacement = table["displacement"]
        assert (
            displacement.encoding.get("grid_mapping", displacement.attrs.get("grid_mapping"))
            == "crs"
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observed": np.zeros(6, bool)}, "none of its 6 points is observed"),
        (
            {"displacement": np.full(6, np.nan)},
            "'displacement' is missing or infinite at 6 of 6 points",
        ),
        ({"error": np.zeros(6)}, "the error of 6 points is not positive"),
        ({"direction": np.tile([0.6, 0.0, -0.8], (6, 1))}, "points down at 6 points"),
        ({"direction": np.tile([-0.3, 0.0, 0.4], (6, 1))}, "not a unit vector at 6 points"),
    ],
)
def test_what_is_wrong_with_a_track_is_said_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(QexpError, match=f"obs.nc: track 'ascending': .*{re.escape(message)}"):
        write_observation(Observation((track(**changes),)), tmp_path / "obs.nc")
    assert not (tmp_path / "obs.nc").exists()


def test_tracks_of_one_name_and_other_files_are_refused(tmp_path):
    with pytest.raises(QexpError, match="2 tracks are named 'ascending'"):
        write_observation(Observation((track(), track())), tmp_path / "obs.nc")
    (tmp_path / "text.nc").write_text("east north\n")
    xarray.Dataset({"x": ("point", np.zeros(3))}).to_netcdf(
        tmp_path / "other.nc", engine="h5netcdf"
    )
    for name, message in (
        ("none.nc", "no such file"),
        ("text.nc", "is not an observation file, or is damaged"),
        ("other.nc", "is not an observation file; make one with: qexp observe"),
    ):
        with pytest.raises(QexpError, match=message):
            read_observation(tmp_path / name)


def test_a_damaged_file_is_one_error_and_nothing_is_printed_when_its_reader_is_collected(
    tmp_path, monkeypatch
):
    write_observation(observation(), tmp_path / "whole.nc")
    whole, printed = (tmp_path / "whole.nc").read_bytes(), []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    for mark in (b"OHDR", b"OCHK", b"qexp_format", b"FRHP"):
        (tmp_path / "damaged.nc").write_bytes(whole.replace(mark, b"XXXX" + mark[4:], 1))
        with pytest.raises(QexpError, match="is not an observation file, or is damaged"):
            read_observation(tmp_path / "damaged.nc")
        gc.collect()
    assert printed == []

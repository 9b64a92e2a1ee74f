"""LiCSBAS's own files: time series in HDF5."""

import h5py
import numpy as np
import pyproj
import pytest

import qexp as package
from qexp.errors import QexpError

HEIGHT, WIDTH, POST = 20, 26, 0.001
NORTH, WEST = 40.85, 14.1
"""Centre of the first pixel."""
LONGITUDE, LATITUDE = np.meshgrid(WEST + POST * np.arange(WIDTH), NORTH - POST * np.arange(HEIGHT))
SEEN = np.hypot(LONGITUDE - 14.11, LATITUDE - 40.845) > 0.0021
MILLIMETRES = (
    30 * np.exp(-(((LONGITUDE - 14.113) / 0.006) ** 2) - ((LATITUDE - 40.84) / 0.005) ** 2) - 3
)
VECTOR = np.array([-0.62, -0.11, np.sqrt(1 - 0.62**2 - 0.11**2)])
MASK = np.where(LONGITUDE < 14.103, 0.0, 1.0)
DAYS = ["20200101", "20200113", "20200125"]
STEPS = np.stack([np.zeros_like(MILLIMETRES), 0.25 * MILLIMETRES, MILLIMETRES + 7])


@pytest.fixture
def series(tmp_path):
    path = tmp_path / "cum_filt.h5"
    with h5py.File(path, "w") as file:
        file["imdates"] = np.array(DAYS, np.int32)
        file["cum"] = np.where(SEEN, STEPS, np.nan).astype(np.float32)
        file["vel"], file["vstd"] = MILLIMETRES.astype(np.float32), np.full_like(MILLIMETRES, 2.5)
        file["mask"], file["coh_avg"] = (
            MASK.astype(np.float32),
            np.where(LATITUDE > 40.84, 0.9, 0.2),
        )
        file["hgt"], file["gap"] = (
            100 + 1e4 * (LATITUDE - 40.8),
            np.zeros((2, HEIGHT, WIDTH), np.int8),
        )
        file["corner_lat"], file["corner_lon"], file["post_lat"], file["post_lon"] = (
            NORTH,
            WEST,
            -POST,
            POST,
        )
        file["refarea"] = "3:4/5:6"
        for name, component in zip("ENU", VECTOR, strict=True):
            file[f"{name}.geo"] = np.full_like(MILLIMETRES, component)
    return path


def the_track(path, **options):
    (track,) = package.observe(path, **options).observation.tracks
    return track


def require(track, observed, millimetres):
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(LONGITUDE, LATITUDE)
    np.testing.assert_allclose(track.x, x.ravel(), atol=1e-5)
    np.testing.assert_allclose(track.y, y.ravel(), atol=1e-5)
    np.testing.assert_array_equal(track.observed, observed.ravel())
    np.testing.assert_allclose(
        track.displacement[track.observed], millimetres[observed] / 1e3, rtol=1e-5
    )
    np.testing.assert_allclose(track.direction[track.observed][:, 2], VECTOR[2], atol=1e-6)


def test_a_time_series_gives_differences_of_days_and_velocities_inside_of_its_mask(series):
    require(
        the_track(series, epochs=("20200113", "20200125"), error=0.002),
        SEEN & (MASK > 0),
        STEPS[2] - STEPS[1],
    )
    observed = package.observe(series, variable="vel", dem=series)
    assert observed.warnings == [f"{series}: velocities are read as the displacements of one year"]
    (velocity,) = observed.observation.tracks
    require(velocity, MASK > 0, MILLIMETRES)
    np.testing.assert_allclose(velocity.error, 0.0025)
    np.testing.assert_allclose(velocity.elevation, (100 + 1e4 * (LATITUDE - 40.8)).ravel())
    require(
        the_track(series, variable="vel", least_coherence=0.5),
        (MASK > 0) & (LATITUDE > 40.84),
        MILLIMETRES,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name either the days before and after"),
        ({"epochs": DAYS[:2], "variable": "vel"}, "name either the days before and after"),
        ({"epochs": DAYS[:1]}, "write the first day and the last"),
        ({"epochs": ("20200101", "20200114")}, "no epoch 20200114"),
        ({"epochs": DAYS[1:]}, "has no errors"),
        ({"variable": "velocity"}, "no dataset 'velocity'"),
        ({"variable": "hgt", "error": 1}, 'give their unit: unit="mm"'),
    ],
)
def test_what_is_wrong_with_a_time_series_is_said(series, options, message):
    with pytest.raises(QexpError, match=message):
        package.observe(series, **options)


def test_without_its_line_of_sight_or_its_grid_what_would_work_is_said(series):
    for name, message in (
        ("U.geo", "the line of sight is not known"),
        ("post_lat", "is in radar coordinates"),
    ):
        with h5py.File(series, "a") as file:
            del file[name]
        with pytest.raises(QexpError, match=message):
            package.observe(series, variable="vel")


def test_of_binaries_it_is_said_how_they_become_geotiff(tmp_path):
    for name in ("vel", "vel.mskd"):
        np.where(SEEN, MILLIMETRES, 0).astype("<f4").tofile(tmp_path / name)
        with pytest.raises(QexpError, match=r"LiCSBAS_flt2geotiff\.py"):
            package.observe(tmp_path / name)

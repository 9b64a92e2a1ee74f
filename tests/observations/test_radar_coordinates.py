"""MintPy's files in radar coordinates: pixels that lie where latitude and longitude of each say."""

import h5py
import numpy as np
import pyproj
import pytest

import qexp as package
from qexp.errors import QexpError

HEIGHT, WIDTH = 18, 24
ROW, COLUMN = np.mgrid[:HEIGHT, :WIDTH]
LONGITUDE = 14.2 - 0.002 * COLUMN - 0.0004 * ROW
LATITUDE = 40.8 + 0.0015 * ROW - 0.0003 * COLUMN
"""Range grows to the west and azimuth to the north, as an ascending satellite sees the ground, obliquely."""
SEEN = (ROW + 2 * COLUMN) % 7 > 0
LOS = 0.02 * np.sin(ROW / 4) + 0.001 * COLUMN + 0.01
INCIDENCE, AZIMUTH = 30 + 0.4 * COLUMN, np.full_like(LOS, 102.5)
ATTRIBUTES = {"WAVELENGTH": 0.0555, "HEADING": -12.5, "ANTENNA_SIDE": -1, "LENGTH": HEIGHT, "WIDTH": WIDTH}


def written(path, kind, unit, **datasets):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        for name, value in {**ATTRIBUTES, "FILE_TYPE": kind, "UNIT": unit}.items():
            file.attrs[name] = str(value)
    return path


@pytest.fixture
def velocity(tmp_path):
    geometry = {"latitude": LATITUDE, "longitude": LONGITUDE, "incidenceAngle": INCIDENCE, "azimuthAngle": AZIMUTH}
    written(tmp_path / "inputs" / "geometryRadar.h5", "geometry", "1", height=10.0 * ROW, **geometry)
    rate = np.where(SEEN, LOS, np.nan)
    return written(tmp_path / "velocity.h5", "velocity", "m/year", velocity=rate, velocityStd=np.full_like(LOS, 0.003))


def projected():
    return pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(LONGITUDE, LATITUDE)


def test_pixels_become_points_where_their_latitude_and_longitude_say(velocity):
    geometry = velocity.parent / "inputs" / "geometryRadar.h5"
    (track,) = package.observe(velocity, dem=geometry).observation.tracks
    for found, expected in zip((track.x, track.y), projected(), strict=True):
        np.testing.assert_allclose(found, expected.ravel(), atol=1e-5)
    np.testing.assert_array_equal(track.observed, SEEN.ravel())
    np.testing.assert_allclose(track.displacement[track.observed], LOS[SEEN])
    np.testing.assert_allclose(track.direction[:, 2], np.cos(np.radians(INCIDENCE.ravel())))
    np.testing.assert_allclose(track.elevation, 10.0 * ROW.ravel())


def test_bounds_and_reduction_go_by_places_and_pixels(velocity):
    west, east, south, north = LONGITUDE[8, 9], LONGITUDE[8, 4], LATITUDE[4, 6], LATITUDE[9, 6]
    (part,) = package.observe(velocity, bounds=(west, east, south, north)).observation.tracks
    inside = SEEN & (abs(LONGITUDE - (west + east) / 2) <= (east - west) / 2)
    inside &= abs(LATITUDE - (south + north) / 2) <= (north - south) / 2
    seen = set(zip(np.round(part.x, 2), np.round(part.y, 2), strict=True))
    assert seen >= set(zip(*(np.round(axis[inside], 2) for axis in projected()), strict=True))
    assert len(part.x) < LOS.size / 2
    (means,) = package.observe(velocity, reduce="uniform:3", least_share=0.5).observation.tracks
    cell = SEEN[:3, :3]
    first = np.argmin(
        np.hypot(means.x - projected()[0][:3, :3][cell].mean(), means.y - projected()[1][:3, :3][cell].mean())
    )
    assert means.count[first] == cell.sum()
    assert means.displacement[first] == pytest.approx(LOS[:3, :3][cell].mean())
    assert means.x[first] == pytest.approx(projected()[0][:3, :3][cell].mean(), abs=0.05)


def test_pixels_without_a_place_are_masked(velocity):
    with h5py.File(velocity.parent / "inputs" / "geometryRadar.h5", "a") as file:
        file["longitude"][0, :], file["latitude"][0, :] = 0, 0
        file["latitude"][1, :] = np.nan
    (track,) = package.observe(velocity).observation.tracks
    np.testing.assert_array_equal(track.observed, (SEEN & (ROW > 1)).ravel())


def test_without_places_what_would_work_is_said(velocity, tmp_path):
    geometry = tmp_path / "inputs" / "geometryRadar.h5"
    with h5py.File(geometry, "a") as file:
        del file["longitude"]
    with pytest.raises(QexpError, match=r"has no datasets longitude and latitude.*geocode it first"):
        package.observe(velocity)
    geometry.rename(tmp_path / "elsewhere.h5")
    with pytest.raises(QexpError, match=r"geometry=geometryRadar\.h5, or geocode it first"):
        package.observe(velocity)
    other = {"latitude": LATITUDE[:5], "longitude": LONGITUDE[:5]}
    with pytest.raises(QexpError, match="has another grid"):
        package.observe(velocity, geometry=written(geometry, "geometry", "1", **other))

"""Lines of sight and components of stations refer to the north of their coordinates, and are turned
with these.
"""

import numpy as np
import pyproj
import pytest
import rasterio

import qexp as package
from qexp.errors import QexpError
from qexp.observations.observation import read_observation
from tests.observations.test_grids import tif

LONGITUDE, LATITUDE = np.array([20.4, 20.7, 20.5]), np.array([67.2, 67.4, 67.5])
"""Far from the middle of zone 33 at 15° east."""
ZONE = "EPSG:32633"
POLAR = "EPSG:3413"
INCIDENCE, HEADING = 37.0, -12.0


def seen_from(incidence=INCIDENCE, heading=HEADING):
    steep, along = np.radians([incidence, heading])
    return np.array([-np.cos(along) * np.sin(steep), np.sin(along) * np.sin(steep), np.cos(steep)])


def along_grid(vector, crs=ZONE, longitude=LONGITUDE, latitude=LATITUDE):
    """East, north, up → x, y, up, by small steps along the parallel and the meridian: (point,
    3).
    """
    transformer, step = pyproj.Transformer.from_crs(4326, crs, always_xy=True), 1e-5
    components = [
        np.zeros_like(longitude),
        np.zeros_like(longitude),
        np.full_like(longitude, vector[2]),
    ]
    for size, (across, up) in zip(vector, ((step, 0), (0, step)), strict=False):
        dx, dy = np.subtract(
            *(transformer.transform(longitude + s * across, latitude + s * up) for s in (1, -1))
        )
        components[0] += size * dx / np.hypot(dx, dy)
        components[1] += size * dy / np.hypot(dx, dy)
    return np.stack(components, axis=1)


@pytest.fixture
def points(tmp_path):
    (tmp_path / "points.csv").write_text(
        "lon,lat,los\n"
        + "".join(f"{x},{y},0.01\n" for x, y in zip(LONGITUDE, LATITUDE, strict=True))
    )
    return tmp_path / "points.csv"


GEOMETRY = {"error": 0.01, "incidence": INCIDENCE, "heading": HEADING}


@pytest.mark.parametrize("crs", [ZONE, POLAR, "EPSG:32634"])
def test_lines_of_sight_are_turned_to_the_axes_of_the_coordinates_from_whose_north_headings_are_told(
    points, crs
):
    result = package.observe(points, crs=crs, **GEOMETRY)
    expected = along_grid(seen_from(), crs)
    np.testing.assert_allclose(result.observation.tracks[0].direction, expected, atol=1e-8)
    (east, north, _), (track,) = expected.mean(axis=0), result.tracks
    assert track.incidence == pytest.approx(INCIDENCE, abs=0.01)
    assert np.cos(np.radians(track.heading) - np.arctan2(north, -east)) == pytest.approx(
        1.0, abs=1e-9
    )
    if crs != "EPSG:32634":
        assert np.abs(expected - seen_from()).max() > 0.04


def test_vectors_beside_projected_coordinates_are_turned_if_they_refer_to_true_north(tmp_path):
    x, y = pyproj.Transformer.from_crs(4326, ZONE, always_xy=True).transform(LONGITUDE, LATITUDE)
    np.savetxt(
        tmp_path / "points.txt",
        np.column_stack([x, y, np.full((3, 2), 0.01), np.tile(seen_from(), (3, 1))]),
    )
    for options in (
        {"crs": ZONE, "north": "true"},
        {"crs": ZONE, "north": "grid"},
        {"crs": ZONE},
        {},
    ):
        expected = (
            along_grid(seen_from())
            if options.get("north") == "true"
            else np.tile(seen_from(), (3, 1))
        )
        observed = package.observe(tmp_path / "points.txt", **options)
        np.testing.assert_allclose(observed.observation.tracks[0].direction, expected, atol=1e-8)
        assert any("which differs from true north" in text for text in observed.warnings) == (
            options == {"crs": ZONE}
        )
    with pytest.raises(QexpError, match='north="up": directions refer to true or grid north'):
        package.observe(tmp_path / "points.txt", crs=ZONE, north="up")


def test_components_of_stations_are_turned(tmp_path):
    (tmp_path / "g.csv").write_text("name,lon,lat,dE,dN,dU\nA,20.4,67.2,0.01,0.02,0.03\n")
    (track,) = package.observe(
        [], gnss=[tmp_path / "g.csv"], crs=ZONE, error=0.001
    ).observation.tracks
    east, north, up = (along_grid(axis, ZONE, LONGITUDE[:1], LATITUDE[:1])[0] for axis in np.eye(3))
    np.testing.assert_allclose(track.direction, [east, north, up], atol=1e-8)
    # The displacement of the ground along x, 0.03 m up whatever the axes.
    moved = np.linalg.solve(track.direction, track.displacement)
    np.testing.assert_allclose(moved, 0.01 * east + 0.02 * north + 0.03 * up, atol=1e-9)


def test_pixels_of_a_projected_grid_are_turned_one_by_one(tmp_path):
    transform = rasterio.transform.from_origin(700e3, 7480e3, 20e3, 20e3)
    path = tif(tmp_path / "los.tif", np.full((2, 3), 0.01), ZONE, transform)
    (track,) = package.observe(path, north="true", **GEOMETRY).observation.tracks
    longitude, latitude = pyproj.Transformer.from_crs(ZONE, 4326, always_xy=True).transform(
        track.x, track.y
    )
    np.testing.assert_allclose(
        track.direction, along_grid(seen_from(), ZONE, longitude, latitude), atol=1e-8
    )


@pytest.mark.heavy
def test_an_observation_file_is_not_turned_again_but_goes_along_to_another_system(
    points, tmp_path, qexp
):
    package.observe(points, tmp_path / "obs.nc", crs=ZONE, **GEOMETRY)
    again = package.observe(tmp_path / "obs.nc").observation
    np.testing.assert_array_equal(
        again.tracks[0].direction, read_observation(tmp_path / "obs.nc").tracks[0].direction
    )
    moved = package.observe(tmp_path / "obs.nc", crs=POLAR).observation
    np.testing.assert_allclose(moved.tracks[0].direction, along_grid(seen_from(), POLAR), atol=1e-8)
    assert "--north has no effect" in qexp("observe", tmp_path / "obs.nc", "--north", "grid").stderr


@pytest.mark.parametrize("crs", [ZONE, "EPSG:32635"])
def test_a_heading_is_said_from_both_norths_where_they_differ(points, crs, qexp):
    arguments = (
        "--crs",
        crs,
        "--error",
        "0.01",
        "--incidence",
        str(INCIDENCE),
        "--heading",
        str(HEADING),
    )
    code, _, stderr = qexp("observe", str(points), *arguments, "--north", "true")
    assert code == 0, stderr
    (track,) = package.observe(points, crs=crs, north="true", **GEOMETRY).tracks
    assert track.true_heading == pytest.approx(HEADING, abs=0.01)
    assert f"heading {track.heading:.1f}° from grid north (-12.0° from true north)" in stderr
    assert abs(track.heading - HEADING) > 3

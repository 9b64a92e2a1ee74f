"""LiCSBAS's own files: binaries over the grid of EQA.dem_par, and time series in HDF5, where it puts them."""

import h5py
import numpy as np
import pyproj
import pytest

import qexp as package
from qexp.errors import QexpError
from qexp.observations.raster_files import open_binary

HEIGHT, WIDTH, POST = 20, 26, 0.001
NORTH, WEST = 40.85, 14.1
"""Centre of the first pixel, as in the parameter files of GAMMA."""
FREQUENCY = 5.405e9
LONGITUDE, LATITUDE = np.meshgrid(WEST + POST * np.arange(WIDTH), NORTH - POST * np.arange(HEIGHT))
SEEN = np.hypot(LONGITUDE - 14.11, LATITUDE - 40.845) > 0.0021
MILLIMETRES = 30 * np.exp(-(((LONGITUDE - 14.113) / 0.006) ** 2) - ((LATITUDE - 40.84) / 0.005) ** 2) - 3
VECTOR = np.array([-0.62, -0.11, np.sqrt(1 - 0.62**2 - 0.11**2)])
MASK = np.where(LONGITUDE < 14.103, 0.0, 1.0)
DAYS = ["20200101", "20200113", "20200125"]
STEPS = np.stack([np.zeros_like(MILLIMETRES), 0.25 * MILLIMETRES, MILLIMETRES + 7])


def parameters(path, **changes):
    values = {
        "DEM_projection": "EQA", "data_format": "REAL*4", "width": WIDTH, "nlines": HEIGHT,
        "corner_lat": f"{NORTH}  decimal degrees", "corner_lon": f"{WEST}  decimal degrees",
        "post_lat": f"{-POST} decimal degrees", "post_lon": f"{POST} decimal degrees", "ellipsoid_name": "WGS 84",
    } | changes  # fmt: skip
    lines = [f"{name}: {value}" for name, value in values.items() if value is not None]
    path.write_text("Gamma DIFF&GEO DEM/MAP parameter file\ntitle: DEM\n" + "\n".join(lines) + "\n")


def binary(path, values, type="<f4"):
    path.parent.mkdir(exist_ok=True, parents=True)
    np.asarray(values).astype(type).tofile(path)
    return path


@pytest.fixture
def frame(tmp_path):
    """A frame after LiCSBAS's last step: GEOCml1 with interferograms, TS_GEOCml1 with results."""
    given, made = tmp_path / "GEOCml1", tmp_path / "TS_GEOCml1"
    (made / "info").mkdir(parents=True)
    for name, component in zip("ENU", VECTOR, strict=True):
        binary(given / f"{name}.geo", np.where(SEEN, component, np.nan))
    parameters(given / "EQA.dem_par")
    parameters(made / "info" / "EQA.dem_par")
    (given / "slc.mli.par").write_text(f"range_samples: {WIDTH}\nradar_frequency: {FREQUENCY} Hz\n")
    binary(made / "results" / "vel", np.where(SEEN, MILLIMETRES, np.nan))
    binary(made / "results" / "vel.mskd", np.where(SEEN & (MASK > 0), MILLIMETRES, np.nan))
    binary(made / "results" / "vstd", np.full_like(MILLIMETRES, 2.5))
    binary(made / "results" / "coh_avg", np.where(LATITUDE > 40.84, 0.9, 0.2))
    binary(made / "results" / "hgt", 100 + 1e4 * (LATITUDE - 40.8))
    with h5py.File(made / "cum_filt.h5", "w") as file:
        file["imdates"] = np.array(DAYS, np.int32)
        file["cum"] = np.where(SEEN, STEPS, np.nan).astype(np.float32)
        file["vel"], file["vstd"] = MILLIMETRES.astype(np.float32), np.full_like(MILLIMETRES, 2.5)
        file["mask"], file["coh_avg"] = MASK.astype(np.float32), np.where(LATITUDE > 40.84, 0.9, 0.2)
        file["hgt"], file["gap"] = 100 + 1e4 * (LATITUDE - 40.8), np.zeros((2, HEIGHT, WIDTH), np.int8)
        file["corner_lat"], file["corner_lon"], file["post_lat"], file["post_lon"] = NORTH, WEST, -POST, POST
        file["refarea"] = "3:4/5:6"
        for name, component in zip("ENU", VECTOR, strict=True):
            file[f"{name}.geo"] = np.full_like(MILLIMETRES, component)
    return made


def the_track(path, **asked):
    (track,) = package.observe(path, **asked).observation.tracks
    return track


def require(track, observed, millimetres):
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(LONGITUDE, LATITUDE)
    np.testing.assert_allclose(track.x, x.ravel(), atol=1e-5)
    np.testing.assert_allclose(track.y, y.ravel(), atol=1e-5)
    np.testing.assert_array_equal(track.observed, observed.ravel())
    np.testing.assert_allclose(track.displacement[track.observed], millimetres[observed] / 1e3, rtol=1e-5)
    np.testing.assert_allclose(track.direction[track.observed][:, 2], VECTOR[2], atol=1e-6)


def test_velocities_are_read_with_their_errors_and_the_line_of_sight_of_the_interferograms(frame):
    seen = package.observe(frame / "results" / "vel")
    (track,) = seen.observation.tracks
    require(track, SEEN, MILLIMETRES)
    np.testing.assert_allclose(track.error, 0.0025)
    assert seen.warnings == [f"{frame / 'results' / 'vel'}: velocities are read as the displacements of one year"]
    require(the_track(frame / "results" / "vel.mskd", error=1, unit="mm"), SEEN & (MASK > 0), MILLIMETRES)


def test_other_results_serve_as_coherence_elevation_and_direction(frame):
    results, given = frame / "results", frame.parent / "GEOCml1"
    direction = tuple(given / f"{name}.geo" for name in "ENU")
    track = the_track(results / "vel", least_coherence=0.5, dem=results / "hgt", direction=direction)
    require(track, SEEN & (LATITUDE > 40.84), MILLIMETRES)
    np.testing.assert_allclose(track.elevation, (100 + 1e4 * (LATITUDE - 40.8)).ravel(), rtol=1e-6)


def test_a_time_series_gives_differences_of_days_and_velocities_inside_of_its_mask(frame):
    path = frame / "cum_filt.h5"
    step = the_track(path, epochs=("20200113", "20200125"), error=0.002)
    require(step, SEEN & (MASK > 0), STEPS[2] - STEPS[1])
    velocity = the_track(path, variable="vel", dem=path)
    require(velocity, MASK > 0, MILLIMETRES)
    np.testing.assert_allclose(velocity.error, 0.0025)
    np.testing.assert_allclose(velocity.elevation, (100 + 1e4 * (LATITUDE - 40.8)).ravel())
    coherent = the_track(path, variable="vel", least_coherence=0.5)
    require(coherent, (MASK > 0) & (LATITUDE > 40.84), MILLIMETRES)


def test_interferograms_are_phase_of_the_radar_in_the_parameters_of_its_images(frame):
    pair = frame.parent / "GEOCml1" / "20200101_20200113"
    wavelength = 299_792_458 / FREQUENCY
    phase = np.where(SEEN, -4 * np.pi / wavelength * MILLIMETRES / 1e3, np.nan)
    path = binary(pair / "20200101_20200113.unw", phase)
    binary(pair / "20200101_20200113.cc", np.where(LATITUDE > 40.84, 200, 50), np.uint8)
    require(the_track(path, error=0.01), SEEN, MILLIMETRES)
    require(the_track(path, error=0.01, least_coherence=0.5), SEEN & (LATITUDE > 40.84), MILLIMETRES)


def test_binaries_of_either_byte_order_are_read_whole_and_in_windows(frame):
    for name, type in (("little.cum", "<f4"), ("big.cum", ">f4")):
        path = binary(frame / name, np.where(SEEN, MILLIMETRES, np.nan), type)
        require(the_track(path, error=0.002), SEEN, MILLIMETRES)
        raster = open_binary(path)
        window = raster.layout.whole._replace(top=3, bottom=9, left=5, right=20)
        np.testing.assert_array_equal(raster.read(window), raster.read(raster.layout.whole)[3:9, 5:20])


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        (lambda made: (made / "info" / "EQA.dem_par").unlink(), {}, r"geometry=EQA\.dem_par"),
        (lambda made: parameters(made / "info" / "EQA.dem_par", width=25), {}, "has 2,080 bytes, but the grid of"),
        (lambda made: parameters(made / "info" / "EQA.dem_par", post_lat=None), {}, "has no number 'post_lat'"),
        (lambda made: parameters(made / "info" / "EQA.dem_par", DEM_projection="UTM"), {}, "the projection is UTM"),
        (lambda made: (made.parent / "GEOCml1" / "U.geo").unlink(), {}, "the line of sight is not known"),
        (lambda made: None, {"epochs": DAYS[:2]}, "epochs has no effect"),
        (lambda made: binary(made / "results/hgt", MASK[:9]), {"dem": "TS_GEOCml1/results/hgt"}, "hgt has 936 bytes"),
        (lambda made: None, {"geometry": "absent.dem_par"}, "absent.dem_par: there is no such file"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_binary_is_said(frame, change, asked, message):
    change(frame)
    if asked == {} and "geometry" in message:
        (frame.parent / "GEOCml1" / "EQA.dem_par").unlink()
    if "dem" in asked:
        asked = {"dem": frame.parent / asked["dem"]}
    with pytest.raises(QexpError, match=message):
        package.observe(frame / "results" / "vel", frame / "obs.nc", **asked)
    assert not (frame / "obs.nc").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "name either the days before and after"),
        ({"epochs": DAYS[:2], "variable": "vel"}, "name either the days before and after"),
        ({"epochs": DAYS[:1]}, "write the first day and the last"),
        ({"epochs": ("20200101", "20200114")}, "no epoch 20200114"),
        ({"epochs": DAYS[1:]}, "has no errors"),
        ({"variable": "velocity"}, "no dataset 'velocity'"),
        ({"variable": "hgt", "error": 1}, "give their unit: unit=mm"),
    ],
)
def test_what_is_wrong_with_a_time_series_is_said(frame, asked, message):
    with pytest.raises(QexpError, match=message):
        package.observe(frame / "cum_filt.h5", **asked)


def test_a_file_of_another_name_needs_a_unit(frame):
    path = binary(frame / "results" / "mine", MILLIMETRES)
    with pytest.raises(QexpError, match="give their unit: unit=mm"):
        package.observe(path, error=1)
    require(the_track(path, unit="mm", error=1), SEEN, MILLIMETRES)

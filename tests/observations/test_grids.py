"""Every format of grids gives the same observation of the same deformation, and says what is wrong
with it.
"""

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
import xarray

import qexp as package
from qexp.errors import QexpError
from qexp.observations import scenes
from qexp.observations.raster_files import open_raster
from qexp.observations.scenes import FREQUENCIES, metres_per_radian, wavelength_of

HEIGHT, WIDTH, PIXEL = 24, 30, 200.0
WEST, TOP = 420e3, 4530e3
UTM = "EPSG:32633"
HEADING = -12.5
X, Y = np.meshgrid(WEST + PIXEL * (np.arange(WIDTH) + 0.5), TOP - PIXEL * (np.arange(HEIGHT) + 0.5))
INCIDENCE = 33 + 5 * (X - WEST) / (WIDTH * PIXEL)
SEEN = np.hypot(X - 424e3, Y - 4526.3e3) > 300
"""All pixels but a few in the middle."""
LAMBDA = 299_792_458 / 5.405e9


def vectors():
    heading, incidence = np.radians(HEADING), np.radians(INCIDENCE)
    return np.stack(
        [
            -np.cos(heading) * np.sin(incidence),
            np.sin(heading) * np.sin(incidence),
            np.cos(incidence),
        ],
        axis=-1,
    )


OFFSET = np.stack([X - 423e3, Y - 4527e3, np.full_like(X, 2000.0)], axis=-1)
DISPLACEMENT = 0.75 / np.pi * 1e6 * OFFSET / np.linalg.norm(OFFSET, axis=-1, keepdims=True) ** 3
LOS = (DISPLACEMENT * vectors()).sum(axis=-1)
"""Of a point source at 2 km with 10⁶ m³ (Mogi 1958), (row, column) [m]."""


def tif(path, values, crs=UTM, transform=None, nodata=None, **more):
    values = np.asarray(values)
    transform = transform or rasterio.transform.from_origin(WEST, TOP, PIXEL, PIXEL)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
    ) as file:
        file.write(values, 1)
        if more:
            file.scales, file.offsets = (more["scale"],), (more["offset"],)
    return path


def masked(values, fill=np.nan):
    return np.where(SEEN, values, fill).astype(np.float32)


def angles(folder):
    return {"incidence": tif(folder / "inc.tif", INCIDENCE.astype(np.float32)), "heading": HEADING}


def geotiff(folder):
    return tif(folder / "los.tif", masked(LOS)), angles(folder)


def geotiff_in_millimetres(folder):
    return tif(folder / "los.tif", masked(LOS * 1e3, -9999), nodata=-9999), {
        **angles(folder),
        "unit": "mm",
        "error": 5,
    }


def geotiff_of_phase(folder):
    phase = -4 * np.pi / LAMBDA * LOS
    return tif(folder / "unw.tif", masked(phase, 0)), {
        **angles(folder),
        "phase": True,
        "sensor": "sentinel-1",
    }


def geotiff_of_scaled_whole_numbers(folder):
    stored = np.where(SEEN, np.round((LOS - 0.1) / 1e-6), -(2**31)).astype(np.int32)
    return tif(folder / "los.tif", stored, nodata=-(2**31), scale=1e-6, offset=0.1), angles(folder)


def as_dataset(values, name="z", unit="m"):
    down = slice(None, None, -1)  # GMT's rows go north
    field = xarray.DataArray(
        values[down], {"y": Y[down, 0], "x": X[0]}, ("y", "x"), attrs={"units": unit}
    )
    return xarray.Dataset({name: field})


def gmt(folder):
    as_dataset(masked(LOS)).to_netcdf(folder / "los.grd", engine="scipy", format="NETCDF3_CLASSIC")
    return folder / "los.grd", {**angles_gmt(folder), "crs": UTM}


def netcdf_4_with_a_system(folder):
    table = as_dataset(masked(LOS))
    table["crs"] = ((), 0, pyproj.CRS(UTM).to_cf())
    table["z"].attrs["grid_mapping"] = "crs"
    table.transpose("x", "y").to_netcdf(folder / "los.nc", engine="h5netcdf")
    return folder / "los.nc", angles_gmt(folder)


def angles_gmt(folder):
    """A raster of the same grid, whose rows go north, too."""
    transform = rasterio.Affine(PIXEL, 0, WEST, 0, PIXEL, TOP - HEIGHT * PIXEL)
    return {
        "incidence": tif(folder / "inc.tif", INCIDENCE[::-1], transform=transform),
        "heading": HEADING,
    }


MINTPY = {
    "X_FIRST": WEST,
    "Y_FIRST": TOP,
    "X_STEP": PIXEL,
    "Y_STEP": -PIXEL,
    "X_UNIT": "meters",
    "EPSG": 32633,
    "LENGTH": HEIGHT,
    "WIDTH": WIDTH,
    "WAVELENGTH": LAMBDA,
    "HEADING": HEADING,
    "ANTENNA_SIDE": -1,
}


def mintpy_file(path, kind, unit, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        for name, value in {**MINTPY, "FILE_TYPE": kind, "UNIT": unit}.items():
            file.attrs[name] = str(value)
    return path


def mintpy_geometry(folder):
    """The azimuth of the vector to the satellite, counter-clockwise from north."""
    azimuth = np.degrees(np.arctan2(-vectors()[..., 0], vectors()[..., 1]))
    height = np.full_like(X, 100, np.float32)
    return mintpy_file(
        folder / "geometryGeo.h5",
        "geometry",
        "1",
        incidenceAngle=INCIDENCE,
        azimuthAngle=azimuth,
        height=height,
    )


def mintpy_velocity(folder):
    mintpy_geometry(folder)
    error = np.full_like(X, 0.005, np.float32)
    path = mintpy_file(
        folder / "velocity.h5", "velocity", "m/year", velocity=masked(LOS), velocityStd=error
    )
    return path, {"error": None}


def mintpy_time_series(folder):
    (folder / "inputs").mkdir()
    mintpy_geometry(folder / "inputs")
    steps = np.stack(
        [np.zeros_like(LOS), np.full_like(LOS, 0.2), 0.2 + masked(LOS), 9 + LOS]
    ).astype(np.float64)
    days = np.array([b"20200101", b"20200113", b"20200125", b"20200206"])
    path = mintpy_file(folder / "timeseries.h5", "timeseries", "m", timeseries=steps, date=days)
    return path, {"epochs": ("20200113", "20200125")}


def licsar(folder, times=1):
    """A frame as it is served: components in `metadata`, each interferogram in a folder of its
    own.
    """
    (folder / "metadata").mkdir()
    (folder / "interferograms" / "20200101_20200113").mkdir(parents=True)
    for name, values in zip("ENU", np.moveaxis(vectors(), -1, 0), strict=True):
        tif(
            folder / "metadata" / f"022D_04826_121209.geo.{name}.tif",
            values.astype(np.float32),
            nodata=0,
        )
    pair = folder / "interferograms" / "20200101_20200113"
    tif(
        pair / "20200101_20200113.geo.unw.tif",
        masked(-4 * np.pi / LAMBDA * times * LOS, 0),
        nodata=0,
    )
    tif(
        pair / "20200101_20200113.geo.cc.tif",
        np.where(X < 421e3, 50, 200).astype(np.uint8),
        nodata=0,
    )
    return pair, {}


FORMATS = [
    geotiff,
    geotiff_in_millimetres,
    geotiff_of_phase,
    geotiff_of_scaled_whole_numbers,
    gmt,
    netcdf_4_with_a_system,
    mintpy_velocity,
    mintpy_time_series,
    licsar,
]


@pytest.mark.parametrize("written", FORMATS, ids=lambda form: form.__name__)
def test_every_format_gives_the_same_observation(tmp_path, written):
    path, options = written(tmp_path)
    result = package.observe(
        path, tmp_path / "obs.nc", **{"error": 0.005, "north": "grid", **options}
    )
    (track,) = result.observation.tracks
    order = np.lexsort([track.x, -track.y])
    for axis, expected in ((track.x, X), (track.y, Y)):
        np.testing.assert_allclose(axis[order], expected.ravel(), atol=1e-6)
    np.testing.assert_array_equal(track.observed[order], SEEN.ravel())
    where = order[SEEN.ravel()]
    np.testing.assert_allclose(track.displacement[where], LOS[SEEN], atol=2e-6)
    np.testing.assert_allclose(track.direction[where], vectors()[SEEN], atol=1e-6)
    np.testing.assert_allclose(track.error[where], 0.005, rtol=1e-6)
    assert result.tracks[0].masked == (~SEEN).sum()
    assert pyproj.CRS(result.observation.crs) == pyproj.CRS(UTM)


def test_a_grid_of_longitude_and_latitude_is_projected_pixel_centre_by_pixel_centre(tmp_path):
    transform = rasterio.transform.from_origin(14.0, 41.0, 0.01, 0.01)
    path = tif(tmp_path / "los.tif", np.ones((3, 4)), "EPSG:4326", transform)
    (track,) = package.observe(path, error=0.01, incidence=35, heading=-10).observation.tracks
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(14.005, 40.995)
    assert (track.x[0], track.y[0]) == pytest.approx((x, y), abs=1e-6)


def test_coherence_masks_elevation_is_added_and_bounds_crop(tmp_path):
    path, options = geotiff(tmp_path)
    coherence = tif(tmp_path / "coh.tif", np.where(X > 422e3, 0.8, 0.2))
    dem = tif(tmp_path / "dem.tif", (X - WEST).astype(np.float32))
    bounds = (421e3, 424e3, 4526e3, 4528e3)
    (track,) = package.observe(
        path,
        error=0.01,
        coherence=coherence,
        least_coherence=0.5,
        dem=dem,
        bounds=bounds,
        **options,
    ).observation.tracks
    assert len(track.x) == 15 * 10
    assert (track.x.min(), track.x.max(), track.y.min(), track.y.max()) == (
        421.1e3,
        423.9e3,
        4526.1e3,
        4527.9e3,
    )
    near = np.hypot(track.x - 424e3, track.y - 4526.3e3) <= 300
    np.testing.assert_array_equal(track.observed, (track.x > 422e3) & ~near)
    np.testing.assert_allclose(track.elevation, track.x - WEST)


def test_elevations_of_another_grid_and_system_are_interpolated(tmp_path):
    """A plane in longitude and latitude stays one under linear interpolation."""
    path, options = geotiff(tmp_path)
    transform = rasterio.transform.from_origin(14.0, 41.1, 0.0013, 0.0011)
    longitude, latitude = np.meshgrid(
        14 + 0.0013 * (np.arange(200) + 0.5), 41.1 - 0.0011 * (np.arange(300) + 0.5)
    )
    dem = tif(
        tmp_path / "dem.tif",
        1e4 * (longitude - 14) + 2e4 * (latitude - 40.8),
        "EPSG:4326",
        transform,
    )
    (track,) = package.observe(path, error=0.01, dem=dem, **options).observation.tracks
    degrees = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(
        X.ravel(), Y.ravel()
    )
    np.testing.assert_allclose(
        track.elevation, 1e4 * (degrees[0] - 14) + 2e4 * (degrees[1] - 40.8), atol=1e-5
    )
    far = tif(
        tmp_path / "far.tif",
        np.ones((5, 5)),
        "EPSG:4326",
        rasterio.transform.from_origin(20, 41, 0.01, 0.01),
    )
    with pytest.raises(QexpError, match=r"far.tif does not cover the grid"):
        package.observe(path, error=0.01, dem=far, **options)


@pytest.mark.parametrize(
    ("grid", "dem"), [(-14.0, 345.9), (345.99, -14.1), (179.99, -180.1), (-180.005, 179.9)]
)
def test_elevations_are_found_however_longitudes_are_counted(tmp_path, grid, dem):
    path = tif(
        tmp_path / "los.tif",
        LOS,
        "EPSG:4326",
        rasterio.transform.from_origin(grid, 28.5, 0.001, 0.001),
    )
    slope = 10.0 * np.arange(300)[None] + np.zeros((100, 1))
    dem = tif(
        tmp_path / "dem.tif",
        slope,
        "EPSG:4326",
        rasterio.transform.from_origin(dem, 28.52, 0.001, 0.001),
    )
    (track,) = package.observe(
        path, error=0.01, incidence=35, heading=-10, dem=dem
    ).observation.tracks
    assert track.observed.all()
    np.testing.assert_allclose(np.diff(track.elevation.reshape(LOS.shape), axis=1), 10, atol=1e-3)


def test_coherence_of_licsar_lies_beside_the_phase_as_bytes(tmp_path):
    folder, _ = licsar(tmp_path)
    (track,) = package.observe(folder, error=0.01, least_coherence=0.5).observation.tracks
    np.testing.assert_array_equal(track.observed, (SEEN & (X > 421e3)).ravel())


def test_zeros_beside_others_are_gaps_and_one_alone_is_a_value_in_files_that_name_another_one_for_gaps(
    tmp_path,
):
    values = np.where(X < 421e3, 0.0, LOS)
    values[-1, -1] = values[-3, -4] = 0.0
    options = {**angles(tmp_path), "error": 0.01}
    seen = package.observe(tif(tmp_path / "a.tif", values, nodata=np.nan), **options)
    np.testing.assert_array_equal(seen.observation.tracks[0].observed, (X >= 421e3).ravel())
    assert (
        f"{int((X < 421e3).sum())} pixels are exactly 0, as are others beside them"
        in seen.warnings[0]
    )
    (without_nodata,) = package.observe(
        tif(tmp_path / "b.tif", values), **options
    ).observation.tracks
    np.testing.assert_array_equal(without_nodata.observed, (values != 0).ravel())


@pytest.mark.parametrize(
    ("unit", "code"), [("m", -9999.0), ("mm", -9999.0), ("m", 1e20), ("mm", 99999.0)]
)
def test_a_value_that_is_repeated_far_from_all_others_is_a_code_in_any_unit(tmp_path, unit, code):
    values = (1e3 if unit == "mm" else 1.0) * LOS
    values[:3, :4] = code
    error = 10.0 if unit == "mm" else 0.01
    path, to = tif(tmp_path / "a.tif", values), tmp_path / "obs.nc"
    seen = package.observe(path, to, **angles(tmp_path), error=error, unit=unit)
    np.testing.assert_array_equal(seen.observation.tracks[0].observed, (values != code).ravel())
    assert f"12 pixels are exactly {code:g}, far from all others" in seen.warnings[0]
    assert len(seen.warnings) == 1
    with xarray.open_dataset(to, engine="h5netcdf") as file:
        assert file.attrs["comment"].splitlines() == [
            f"a: {LOS.size - 12:,} points count, 12 do not",
            *seen.warnings,
        ]


def test_two_codes_and_a_single_pixel_of_one_are_known_and_zeros_beside_a_code_are_values(tmp_path):
    options = {**angles(tmp_path), "error": 10.0, "unit": "mm"}
    values = np.round(1e3 * LOS).astype(np.int16)
    assert (values == 0).sum() > 1
    values[:3, :4], values[5, 5] = -32768, -9999
    seen = package.observe(tif(tmp_path / "a.tif", values), **options)
    assert seen.tracks[0].masked == 13
    said = "\n".join(seen.warnings)
    assert "12 pixels are exactly -32768" in said
    assert "1 pixel is exactly -9999" in said


def test_angles_that_a_raster_does_not_know_are_gaps_and_an_azimuth_is_doubted(tmp_path):
    path = tif(tmp_path / "a.tif", LOS.astype(np.float32))
    for code in (0, -9999):
        steep = tif(tmp_path / "steep.tif", np.where(X < 421e3, code, INCIDENCE).astype(np.float32))
        seen = package.observe(path, incidence=steep, heading=HEADING, error=0.01)
        np.testing.assert_array_equal(seen.observation.tracks[0].observed, (X >= 421e3).ravel())
        assert not seen.warnings
    # a number is no code
    assert package.observe(path, incidence=35, heading=-99, error=0.01).tracks[0].masked == 0
    with pytest.warns(UserWarning, match="far from north") as given:
        (said,) = package.observe(path, incidence=35, heading=-102, error=0.01).warnings
    assert given[0].filename == __file__  # where a script asks, not within the package
    assert "far from north and south" in said
    assert "clockwise from north; of those" in said
    assert "azimuth + 90°, here -12°" in said
    assert said.endswith("it is 90° − azimuth, here -168°")


def test_coherence_in_percent_is_known_by_its_largest_value(tmp_path):
    coherence = tif(tmp_path / "cc.tif", np.where(X < 421e3, 10, 90).astype(np.uint8))
    path = tif(tmp_path / "a.tif", LOS.astype(np.float32))
    options = {"incidence": 35, "heading": HEADING, "error": 0.01}
    seen = package.observe(path, coherence=coherence, least_coherence=0.5, **options)
    np.testing.assert_array_equal(seen.observation.tracks[0].observed, (X >= 421e3).ravel())


def test_gaps_are_what_the_user_names_and_what_a_netcdf_file_declares_by_any_convention(tmp_path):
    def observed(values, attributes=(), of_file=(), packed=(), **options):
        table = as_dataset(values)
        (name,) = (name for name, field in table.data_vars.items() if field.ndim == 2)
        table[name].attrs.update(attributes)
        table.assign_attrs(of_file).to_netcdf(
            tmp_path / "a.nc", encoding={name: dict(packed)}, engine="h5netcdf"
        )
        (track,) = package.observe(
            tmp_path / "a.nc", **angles_gmt(tmp_path), crs=UTM, error=0.01, **options
        ).tracks
        return track

    west = X < 421e3
    count, values = int((~west).sum()), np.where(west, 1.25, LOS)
    assert observed(values, nodata=[1.25, 7.0]).points == count
    assert observed(values.astype(np.float32), nodata=[1.2500001]).points == count
    for of_file in (1.25, "1.25", [1.25, 9.0]):
        assert (
            observed(values, of_file={"_FillValue": of_file, "missing_value": "none"}).points
            == count
        )
    assert (
        observed(values, {"valid_max": 1.0}).points
        == observed(values, {"valid_range": [-1.0, 1.0]}).points
        == count
    )
    packed = {"dtype": "int16", "scale_factor": 1e-4, "add_offset": 0.10005}
    assert (
        observed(values, {"valid_range": np.array([-9000, 9000], np.int16)}, packed=packed).points
        == count
    )


def test_phase_that_is_wrapped_into_any_interval_is_known_by_its_jumps(tmp_path):
    phase = np.linspace(0, 40, LOS.size).reshape(LOS.shape) % (2 * np.pi)
    options = {**angles(tmp_path), "error": 0.01, "wavelength": 0.0555}
    for shift in (0.0, np.pi, 1.0):
        seen = package.observe(tif(tmp_path / f"{shift:.0f}.tif", phase - shift), **options)
        assert "as wrapped phase does; unwrap it first" in seen.warnings[0]
    smooth = np.linspace(-3, 3, LOS.size).reshape(LOS.shape)
    assert not package.observe(tif(tmp_path / "smooth.tif", smooth), **options).warnings


def test_elevations_that_no_ground_has_are_gaps_and_their_unit_is_that_of_the_file(tmp_path):
    heights = np.where(X < 421e3, -32768.0, 500.0)
    options = {**angles(tmp_path), "error": 0.01}
    (track,) = package.observe(
        tif(tmp_path / "a.tif", LOS), dem=tif(tmp_path / "d.tif", heights), **options
    ).observation.tracks
    np.testing.assert_array_equal(track.observed, (X >= 421e3).ravel())
    for unit, metres in (("ft", 152.4), ("m", 500.0)):
        dem = tif(tmp_path / f"{unit}.tif", np.where(X < 421e3, -9999.0, 500.0))
        with rasterio.open(dem, "r+") as file:
            file.units = (unit,)
        (track,) = package.observe(tmp_path / "a.tif", dem=dem, **options).observation.tracks
        np.testing.assert_array_equal(track.observed, (X >= 421e3).ravel())
        np.testing.assert_allclose(track.elevation[track.observed], metres)
    with rasterio.open(dem, "r+") as file:
        file.units = ("fathom",)
    with pytest.raises(QexpError, match="is in 'fathom'; write elevations in m, km or ft"):
        package.observe(tmp_path / "a.tif", dem=dem, **options)


def test_a_mask_of_bytes_0_and_1_is_one_and_headings_in_radians_are_refused(tmp_path):
    options = {**angles(tmp_path), "error": 0.01}
    mask = tif(tmp_path / "m.tif", (X >= 421e3).astype(np.uint8))
    (track,) = package.observe(
        tif(tmp_path / "a.tif", LOS), coherence=mask, **options
    ).observation.tracks
    np.testing.assert_array_equal(track.observed, (X >= 421e3).ravel())
    radians = tif(tmp_path / "h.tif", np.full(LOS.shape, -0.17))
    with pytest.raises(
        QexpError,
        match=r"headings of -0.17 to -0.17 degrees are those of no .* multiply them by 180/π",
    ):
        package.observe(tmp_path / "a.tif", **{**options, "heading": radians})
    radians = tif(tmp_path / "i.tif", np.linspace(0.5, 0.6, LOS.size).reshape(LOS.shape))
    with pytest.raises(
        QexpError,
        match=r"0.6 degrees is not possible .* if it is in radians, multiply them by 180/π",
    ):
        package.observe(tmp_path / "a.tif", **{**options, "incidence": radians})


def test_phase_toward_the_satellite_falls_by_4_pi_per_wavelength():
    assert metres_per_radian(0.0555) * 4 * np.pi == pytest.approx(-0.0555)
    assert wavelength_of("Sentinel_1") == pytest.approx(0.05546576)
    with pytest.raises(
        QexpError,
        match=r"no satellite 'sentinel-3'; did you mean 'sentinel-1'\?; or give wavelength",
    ):
        wavelength_of("sentinel-3")
    bands = {"X": (0.025, 0.0375), "C": (0.0375, 0.075), "S": (0.075, 0.15), "L": (0.15, 0.30)}
    for name in FREQUENCIES:
        assert any(low < wavelength_of(name) < high for low, high in bands.values()), name


def test_wrapped_phase_and_displacements_in_another_unit_are_warned_of(tmp_path):
    phase = np.angle(np.exp(1j * -4 * np.pi / LAMBDA * LOS))
    options = {**angles(tmp_path), "error": 0.01}
    assert (
        "wrapped"
        in package.observe(tif(tmp_path / "a.tif", phase), sensor="sentinel-1", **options).warnings[
            0
        ]
    )
    assert "`unit=mm`" in package.observe(tif(tmp_path / "b.tif", LOS * 1e3), **options).warnings[0]
    assert package.observe(tif(tmp_path / "c.tif", LOS), **options).warnings == []


ONE_YEAR = "velocities are read as the displacements of one year"


@pytest.mark.heavy
def test_units_are_those_of_displacements_or_velocities_and_others_are_refused(tmp_path):
    def observed(values, named, error=0.01, **more):
        as_dataset(masked(values), unit=named).to_netcdf(tmp_path / "los.nc", engine="h5netcdf")
        return package.observe(
            tmp_path / "los.nc", **angles_gmt(tmp_path), crs=UTM, error=error, **more
        )

    for unit in ("ft", "mm/day", "dm"):
        with pytest.raises(
            QexpError,
            match=f"is in '{unit}', which is no unit of displacements here; convert it to m,",
        ):
            observed(LOS, unit)
    velocities = {
        "mm/yr": 1000,
        "cm / a": 100,
        "mm yr-1": 1000,
        "m year^-1": 1,
        "mm per year": 1000,
        "mm.yr**-1": 1000,
    }
    for unit, factor in {"centimeter": 100, "Millimetres": 1000, "1": 1, **velocities}.items():
        observation = observed(factor * LOS, unit)
        assert [text.rpartition(": ")[2] for text in observation.warnings] == [ONE_YEAR] * (
            unit in velocities
        )
        assert observation.tracks[0].rms == pytest.approx(np.sqrt(np.mean(LOS[SEEN] ** 2)))
    assert not observed(1000 * LOS, "ft", error=10, unit="mm").warnings


OTHER = rasterio.transform.from_origin(WEST + 50, TOP, PIXEL, PIXEL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase": True}, "wavelength"),
        ({"phase": True, "sensor": "sentinel1"}, "did you mean 'sentinel-1'"),
        ({"wavelength": 5.55}, "not that of a radar"),
        ({"wavelength": 0.0555, "sensor": "ers"}, "leave one out"),
        ({"wavelength": 0.0555, "unit": "mm"}, "phase is in radians"),
        ({"incidence": None}, "incidence is missing"),
        ({"incidence": 0.6}, "if it is in radians"),
        ({"heading": -0.174}, "if they are in radians, write -9.969"),
        (
            {"incidence": lambda folder: tif(folder / "r.tif", np.radians(INCIDENCE))},
            "if it is in radians",
        ),
        (
            {"incidence": lambda folder: tif(folder / "o.tif", INCIDENCE, transform=OTHER)},
            "o.tif has another grid",
        ),
        (
            {"coherence": lambda folder: tif(folder / "o.tif", LOS[:, :-1])},
            "o.tif has another grid than",
        ),
        ({"dem": lambda folder: folder / "none.tif"}, "there is no such file"),
        ({"least_coherence": 0.4}, "needs a raster of coherence"),
        ({"error": None}, "has no errors"),
        ({"bounds": (424e3, 421e3, 4526e3, 4528e3)}, "swapped"),
        (
            {"bounds": (1e3, 2e3, 4526e3, 4528e3)},
            "the grid extends over 420000, 426000, 4525200, 4530000",
        ),
        ({"band": 2}, "has no band 2"),
        ({"epochs": ("20200101", "20200113")}, "epochs has no effect"),
        ({"largest_cell": 8}, "reduce="),
    ],
)
def test_what_is_wrong_with_a_grid_is_said(tmp_path, changes, message):
    path, options = geotiff(tmp_path)
    changed = {
        name: value(tmp_path) if callable(value) else value for name, value in changes.items()
    }
    with pytest.raises(QexpError, match=message):
        package.observe(path, tmp_path / "obs.nc", **{"error": 0.005, **options, **changed})
    assert not (tmp_path / "obs.nc").exists()


def test_grids_without_a_place_or_a_value_are_refused(tmp_path):
    tif(tmp_path / "a.tif", LOS, crs=None)
    tif(tmp_path / "b.tif", np.full_like(LOS, np.nan))
    tif(tmp_path / "c.tif", LOS, transform=rasterio.Affine.identity())
    (tmp_path / "d.tif").write_bytes(b"II*\0 nothing")
    (tmp_path / "e.grd").write_bytes(b"CDF\1")
    for name, message in (
        ("a.tif", "name it, such as crs EPSG:32633"),
        ("b.tif", "none of its 720 pixels is observed"),
        ("c.tif", "no geotransform"),
        ("d.tif", r"d.tif cannot be read as a raster"),
        ("e.grd", r"e.grd cannot be read as NetCDF"),
    ):
        with pytest.raises(QexpError, match=message):
            package.observe(tmp_path / name, **angles(tmp_path), error=0.01)


def test_files_of_mintpy_say_what_is_missing(tmp_path):
    path, _ = mintpy_time_series(tmp_path)
    with pytest.raises(QexpError, match="epochs"):
        package.observe(path, error=0.01)
    with pytest.raises(QexpError, match="no epoch 20200114; did you mean"):
        package.observe(path, error=0.01, epochs=("20200101", "20200114"))
    with pytest.raises(QexpError, match="type 'geometry'"):
        package.observe(tmp_path / "inputs" / "geometryGeo.h5", error=0.01)
    (said,) = package.observe(path, error=0.01, epochs=("20200113", "20200101")).warnings
    assert "20200113 is subtracted from 20200101, the earlier day" in said
    with h5py.File(tmp_path / "gunw.h5", "w") as file:
        file["science/LSAR/GUNW/grids/frequencyA/unwrappedInterferogram/HH/unwrappedPhase"] = (
            np.zeros((3, 3))
        )
    with pytest.raises(
        QexpError,
        match=r"is a product of NISAR, GUNW; write its phase .* sensor=.nisar.*look=.left",
    ):
        package.observe(tmp_path / "gunw.h5", error=0.01)
    with h5py.File(path, "a") as file:
        del file.attrs["X_FIRST"], file.attrs["Y_FIRST"]
    with pytest.raises(QexpError, match="radar coordinates"):
        package.observe(path, error=0.01, epochs=("20200101", "20200113"))
    velocity, options = mintpy_velocity(tmp_path)
    (tmp_path / "geometryGeo.h5").unlink()
    (tmp_path / "inputs" / "geometryGeo.h5").unlink()
    with pytest.raises(QexpError, match="name MintPy's with geometry"):
        package.observe(velocity, **options)
    # the file has the heading
    constant = package.observe(velocity, incidence=35, north="grid").observation.tracks[0]
    np.testing.assert_allclose(constant.direction[0], [-np.cos(np.radians(HEADING)) * np.sin(np.radians(35)),
        np.sin(np.radians(HEADING)) * np.sin(np.radians(35)), np.cos(np.radians(35))])  # fmt: skip


def test_a_folder_of_several_interferograms_asks_for_one(tmp_path):
    pair, _ = licsar(tmp_path)
    tif(pair / "20200101_20200125.geo.unw.tif", masked(LOS), nodata=0)
    with pytest.raises(QexpError, match="2 interferograms: 20200101_20200113"):
        package.observe(pair, error=0.01)
    assert (
        package.observe(pair / "20200101_20200113.geo.unw.tif", error=0.01).tracks[0].name
        == "20200101_20200113"
    )
    (pair / "20200101_20200125.geo.unw.tif").unlink()
    # a whole frame with one
    assert package.observe(tmp_path, error=0.01).tracks[0].points == SEEN.sum()


def test_tracks_that_do_not_overlap_are_refused_unless_others_join_them(tmp_path):
    options = {"error": 0.01, "incidence": 35, "heading": HEADING}
    files = []
    for index, name in enumerate(["west.tif", "middle.tif", "east.tif"]):
        transform = rasterio.transform.from_origin(WEST + index * 4000, TOP, PIXEL, PIXEL)
        files.append(tif(tmp_path / name, LOS, transform=transform))
    with pytest.raises(
        QexpError, match=r"'east' \(428.1 to 433.9 km east, .* does not overlap with 'west'"
    ):
        package.observe(files[::2], **options)
    assert len(package.observe(files, **options).observation.tracks) == 3


def test_a_window_is_what_the_whole_has_there(tmp_path):
    for written in (geotiff, gmt, mintpy_velocity):
        (tmp_path / written.__name__).mkdir()
        path, _ = written(tmp_path / written.__name__)
        raster = open_raster(path)
        window = raster.layout.whole._replace(top=3, bottom=9, left=5, right=20)
        np.testing.assert_array_equal(
            raster.read(window), raster.read(raster.layout.whole)[3:9, 5:20]
        )


def test_large_grids_are_thinned_and_must_be_reduced_or_cropped(tmp_path, monkeypatch):
    path, options = geotiff(tmp_path)
    options |= {"error": 0.01}
    monkeypatch.setattr(scenes, "MOST_POINTS", 500)
    with pytest.raises(QexpError, match=r'24 × 30 pixels.*reduce="quadtree:0.005".*bounds'):
        package.observe(path, **options)
    result = package.observe(path, reduce="uniform:4", least_share=0, **options)
    assert result.observation.tracks[0].count.sum() == SEEN.sum()
    assert (result.tracks[0].averaged, result.tracks[0].masked) == (SEEN.sum(), (~SEEN).sum())


def test_noise_is_that_of_pixels_and_errors_those_of_their_means(tmp_path):
    path, options = geotiff(tmp_path)
    options |= {"error": 0.01, "noise": "exponential:1e-5,3000,4e-6"}
    means = package.observe(path, reduce="uniform:4", **options).observation.tracks[0]
    assert means.noise.sill == 1e-5
    np.testing.assert_allclose(means.error, 0.002 / np.sqrt(means.count))
    with_errors = package.observe(
        path, reduce="uniform:4", keep_errors=True, **options
    ).observation.tracks[0]
    np.testing.assert_allclose(with_errors.error, 0.01 / np.sqrt(with_errors.count))


def test_means_of_a_geographic_grid_are_projected(tmp_path):
    path = tif(
        tmp_path / "los.tif",
        LOS,
        "EPSG:4326",
        rasterio.transform.from_origin(14.0, 41.0, 0.001, 0.001),
    )
    means = package.observe(
        path, error=0.01, incidence=35, heading=-10, reduce="uniform:2"
    ).observation.tracks[0]
    corner = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(14.001, 40.999)
    assert (means.x[0], means.y[0]) == pytest.approx(corner, abs=1e-3)
    # Half a pixel of 0.001 degrees on a sphere of 6,371 km.
    half = 0.0005 * (6.371e6 * np.pi / 180) * np.array([np.cos(np.radians(40.988)), 1.0])
    np.testing.assert_allclose(means.spread, np.tile(half, (180, 1)), rtol=1e-4)
    options = {"error": 0.01, "incidence": 35, "heading": -10}
    (nearest,) = package.observe(
        path, **options, reduce="resolution:0.2,500,14.01,40.99"
    ).observation.tracks
    middle = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(14.01, 40.99)
    smallest = nearest.count == nearest.count.min()
    distance = np.hypot(nearest.x - middle[0], nearest.y - middle[1])
    assert distance[smallest].mean() < distance[~smallest].mean()


@pytest.mark.parametrize("first", [179.98, -180.02])
def test_grids_on_both_sides_of_180_degrees_stay_together(tmp_path, first):
    axes = {
        "lat": -15 - 0.001 * np.arange(HEIGHT),
        "lon": (first + 0.001 * np.arange(WIDTH * 2) + 180) % 360 - 180,
    }
    xarray.Dataset({"z": (("lat", "lon"), np.full((HEIGHT, WIDTH * 2), 0.01))}, axes).to_netcdf(
        tmp_path / "los.nc"
    )
    observation = package.observe(
        tmp_path / "los.nc", error=0.01, incidence=35, heading=-10
    ).observation
    assert np.ptp(observation.tracks[0].x) == pytest.approx(0.059 * 107.55e3, rel=0.01)


def test_attributes_of_mintpy_that_are_no_numbers_are_named(tmp_path):
    path, _ = mintpy_velocity(tmp_path)
    for name, text, problem in (
        ("HEADING", "north", "is 'north', which is not a number"), ("X_STEP", None, "is missing"),
    ):  # fmt: skip
        with h5py.File(path, "a") as file:
            del file.attrs[name]
            if text is not None:
                file.attrs[name] = text
        with pytest.raises(QexpError, match=f"its attribute {name} {problem}"):
            package.observe(path, incidence=35)


def test_interferograms_of_the_same_dates_are_named_after_their_frames(tmp_path):
    frames, folders = ("022D_04826_121209", "044A_04913_131313"), []
    for times, frame in enumerate(frames, 1):
        (tmp_path / frame).mkdir()
        folders.append(licsar(tmp_path / frame, times)[0])
    tracks = package.observe(folders, error=0.01).observation.tracks
    assert [track.name for track in tracks] == [f"{frame}_20200101_20200113" for frame in frames]


@pytest.mark.heavy
def test_a_variable_is_named_as_the_column_los_and_two_of_a_file_are_two_tracks(tmp_path):
    grid = as_dataset(masked(LOS), "los_asc")
    path = tmp_path / "views.nc"
    grid.assign(los_dsc=2 * grid["los_asc"]).to_netcdf(path, engine="h5netcdf")
    about = {"error": 0.005, "crs": UTM, "incidence": 33, "heading": HEADING}
    with pytest.raises(
        QexpError,
        match='name one: variable="los_asc"; for a track of each, give the file once for each',
    ):
        package.observe(path, **about)
    (track,) = package.observe(path, columns={"los": "los_asc"}, **about).observation.tracks
    tracks = package.observe(
        [path, path], variable=["los_asc", "los_dsc"], **about
    ).observation.tracks
    assert [view.name for view in tracks] == ["los_asc", "los_dsc"]
    for view, times in zip(tracks, (1, 2), strict=True):
        np.testing.assert_allclose(
            view.displacement[view.observed], times * track.displacement[track.observed]
        )
    for wrong, said in (
        (
            {"columns": {"los": "los_asc"}, "variable": "los_asc"},
            "variable and columns both name the displacement",
        ),
        (
            {"columns": {"error": "los_asc"}},
            'of which columns={"los": VARIABLE} names the displacement',
        ),
        ({"variable": ["los_asc", "los_asc"]}, "'los_asc' is given twice"),
    ):
        sources = [path, path] if isinstance(wrong.get("variable"), list) else path
        with pytest.raises(QexpError, match=said):
            package.observe(sources, **about, **wrong)
    grid.expand_dims(time=3).to_netcdf(tmp_path / "times.nc", engine="h5netcdf")
    with pytest.raises(
        QexpError, match=r"has 3 values along 'time', but a track is one map; take one"
    ):
        package.observe(tmp_path / "times.nc", **about)
    grid.to_netcdf(tmp_path / "groups.nc", group="science/grids", engine="h5netcdf")
    with pytest.raises(
        QexpError,
        match=r"has its variables in groups: science/grids; write that of the displacement",
    ):
        package.observe(tmp_path / "groups.nc", **about)
    rows, columns = grid["los_asc"].dims
    curved = grid.rename({rows: "j", columns: "i"}).drop_vars(["j", "i"])
    curved["latitude"], curved["longitude"] = (
        (("j", "i"), np.ones(LOS.shape)),
        (("j", "i"), np.ones(LOS.shape)),
    )
    placed = curved.drop_vars("los_dsc", errors="ignore").set_coords(["latitude", "longitude"])
    placed.to_netcdf(tmp_path / "j.nc", engine="h5netcdf")
    with pytest.raises(
        QexpError, match=r"if they are in 'latitude', 'longitude', resample to a grid along x and y"
    ):
        package.observe(tmp_path / "j.nc", **about)

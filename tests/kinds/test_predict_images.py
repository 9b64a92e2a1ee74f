"""`qexp predict` on images: what is read, what is estimated, and what is wrong with a file."""

import csv
import math
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import rasterio
import torch
import xarray
from rasterio.transform import from_origin

import qexp as package
from qexp.base.outputs import Estimated, Number, TrainedRange
from qexp.base.shell_values import read_columns
from qexp.errors import NotFoundError, QexpError
from qexp.kinds.images.extent import (
    EXTREMES,
    SEEN,
    InputRanges,
    Statistic,
    TrainingInputs,
    ranges_over,
    statistics,
)
from qexp.kinds.images.prediction import PRESUMED_NORTH, ImageModel, targets
from qexp.kinds.images.source import ImageLayout, ImageSource
from qexp.kinds.options import PredictOptions
from qexp.physics.geometry import pixel_axis
from tests.conftest import call, shared_folder, write_dense

COUNT, HEIGHT, WIDTH = 9, 4, 6
IMAGES = np.random.default_rng(2).normal(0, 0.01, (COUNT, HEIGHT, WIDTH)).astype(np.float32)
SHAPE = (1, HEIGHT, WIDTH)
OF_IMAGES = ("sample", "y", "x")
PIXEL = ((90.0, 110.0), (100.0, 100.0))
"""Least and greatest width and height in the training data [m]."""


def weighted(images: np.ndarray) -> np.ndarray:
    """A number of each image that no turned image has: (sample, height, width) → (sample,)."""
    weights = np.arange(HEIGHT * WIDTH, dtype=np.float64).reshape(HEIGHT, WIDTH)
    return (np.nan_to_num(images) * weights).sum(axis=(1, 2)).astype(np.float32)


def model_of(
    *inputs: str,
    estimate: Callable | None = None,
    ranges: InputRanges | None = None,
    trained=None,
    outputs=("depth",),
    **origin: str,
):
    """A model whose estimate is `weighted`, of the input `displacement`.

    estimate  in its place, from inputs to (sample, output)
    """

    def estimated(inputs):
        if estimate is None:
            return {"depth": Estimated(weighted(inputs["displacement"][:, 0]))}
        return {
            name: Estimated(column)
            for name, column in zip(outputs, estimate(inputs).T, strict=True)
        }

    shapes = {
        name: SHAPE if not name.startswith("incidence") else (1,)
        for name in inputs or ("displacement",)
    }
    units = {
        name: "rad" if name == "incidence" else "" if name.startswith("mask") else "m"
        for name in shapes
    }
    return ImageModel(
        layout=ImageLayout(shapes, units, {"displacement": PIXEL}),
        outputs={name: Number(name, "km", trained=trained) for name in outputs},
        estimate=estimated,
        seen=lambda: TrainingInputs(ranges or {}, {}, None),
        origin={"run": "mogi_0", "digest": "ab" * 32, "caution": "", **origin},
    )


def in_files(model: ImageModel, columns=None, unit=None) -> ImageModel:
    """The model for files with other names or units."""
    return replace(model, layout=model.layout.in_files(columns, unit))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(path: Path, name: str = "depth_estimate (km)") -> list[float]:
    return [float(row[name]) if row[name] else np.nan for row in read(path)]


def netcdf(
    path: Path,
    images: np.ndarray = IMAGES,
    unit: str | None = "m",
    dims: Sequence[str] = OF_IMAGES,
    **others: object,
) -> Path:
    attributes = {} if unit is None else {"units": unit}
    of_images = {"displacement": (dims[-images.ndim :], images, attributes)}
    xarray.Dataset({**of_images, **others}).to_netcdf(path, engine="h5netcdf")
    return path


def geotiff(
    path: Path,
    images: np.ndarray = IMAGES,
    crs: str | None = "EPSG:32633",
    pixel: float = 100.0,
    origin: tuple[float, float] | None = (430_000, 4_520_000),
) -> Path:
    """Rows from the north on, as maps are stored; without coordinates if it has no origin."""
    about = {
        "count": len(images),
        "height": HEIGHT,
        "width": WIDTH,
        "dtype": images.dtype,
        "nodata": -9999.0,
    }
    about |= {} if origin is None else {"transform": from_origin(*origin, pixel, pixel)}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, **about) as file:
        file.write(np.where(np.isfinite(images), images, -9999)[:, ::-1])
        file.set_band_description(1, "20240306_20240318")
    return path


def north_first(path: Path) -> Path:
    """With coordinates that descend, and the axes in another order."""
    north, east = 100.0 * np.arange(HEIGHT)[::-1], 0.1 * np.arange(WIDTH)
    places = {"y": ("y", north, {"units": "m"}), "x": ("x", east, {"units": "km"})}
    return netcdf(path, IMAGES[:, ::-1].swapaxes(1, 2), dims=("pair", "x", "y"), **places)


def saved(path: Path, images: np.ndarray = IMAGES) -> Path:
    np.save(path, images)
    return path


def archive(path: Path, compressed: bool = True, **images: np.ndarray) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **images)
    return path


def folder(path: Path, **images: np.ndarray) -> Path:
    path.mkdir()
    for name, values in images.items():
        np.save(path / f"{name}.npy", values)
    return path


SOURCES: dict[str, Callable[[Path], Path]] = {
    "netcdf": lambda tmp: netcdf(tmp / "a.nc"),
    "netcdf of version 3": lambda tmp: (
        xarray.Dataset({"displacement": (("n", "y", "x"), IMAGES)}).to_netcdf(
            tmp / "a.nc", engine="scipy"
        ),
        tmp / "a.nc",
    )[1],
    "netcdf, rows from the north on": lambda tmp: north_first(tmp / "a.nc"),
    "netcdf in mm": lambda tmp: netcdf(tmp / "a.nc", 1000 * IMAGES.astype(np.float64), "mm"),
    "netcdf in centimetres": lambda tmp: netcdf(
        tmp / "a.nc", 100 * IMAGES.astype(np.float64), "centimeters"
    ),
    "netcdf without a unit": lambda tmp: netcdf(tmp / "a.nc", unit=None),
    "npy": lambda tmp: saved(tmp / "a.npy"),
    "npy with channels": lambda tmp: saved(tmp / "a.npy", IMAGES[:, None].astype(">f8")),
    "npy with channels last": lambda tmp: saved(tmp / "a.npy", IMAGES[..., None]),
    "npy in Fortran order": lambda tmp: saved(tmp / "a.npy", np.asfortranarray(IMAGES)),
    "npz": lambda tmp: archive(tmp / "a.npz", displacement=IMAGES, other=np.zeros(3)),
    "npz, not compressed": lambda tmp: archive(tmp / "a.npz", False, displacement=IMAGES),
    "npz with one array": lambda tmp: archive(tmp / "a.npz", arr_0=IMAGES),
    "npz in Fortran order": lambda tmp: archive(
        tmp / "a.npz", displacement=np.asfortranarray(IMAGES)
    ),
    "folder": lambda tmp: folder(tmp / "a", displacement=IMAGES),
    "geotiff": lambda tmp: geotiff(tmp / "a.tif"),
    "geotiff without a reference system": lambda tmp: geotiff(tmp / "a.tif", crs=None),
    "geotiff without coordinates": lambda tmp: geotiff(tmp / "a.tif", crs=None, origin=None),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_format_gives_the_estimates_of_the_same_images(tmp_path, name):
    made = model_of().predict(SOURCES[name](tmp_path), tmp_path / "made.csv", chunk=2)
    np.testing.assert_allclose(column(tmp_path / "made.csv"), weighted(IMAGES), rtol=1e-5)
    assert (made.images, made.outside, made.missing_count, made.remarks[0]) == (
        COUNT,
        0,
        0,
        "9 samples",
    )
    told = {
        "netcdf in mm": ["displacement converted from mm to m"],
        "netcdf in centimetres": ["displacement converted from centimeters to m"],
        "npz with one array": ["displacement is 'arr_0' of the file"],
    }
    assert [text for text in made.remarks[1:] if text != PRESUMED_NORTH] == told.get(name, [])


def test_a_single_image_is_named_after_its_file(tmp_path):
    for source in (
        netcdf(tmp_path / "event.nc", IMAGES[0]),
        saved(tmp_path / "event.npy", IMAGES[0]),
    ):
        model_of().predict(source, tmp_path / "made.csv", overwrite=True)
        (row,) = read(tmp_path / "made.csv")
        assert (row["name"], float(row["depth_estimate (km)"])) == (
            "event",
            pytest.approx(weighted(IMAGES[:1])[0]),
        )


@pytest.mark.heavy
def test_samples_have_the_names_and_columns_that_the_file_gives_them(tmp_path):
    days = np.datetime64("2024-03-06", "ns") + np.arange(COUNT) * np.timedelta64(12, "D")
    data = xarray.Dataset(
        {
            "displacement": (("time", "y", "x"), IMAGES),
            "depth": ("time", np.arange(COUNT) / 2, {"units": "km"}),
            "place": ("time", [f"Etna {index}" for index in range(COUNT)]),
            "outside": ("time", np.arange(COUNT)),
        },
        {"time": days},
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    model_of().predict(tmp_path / "a.nc", tmp_path / "made.csv")
    row = read(tmp_path / "made.csv")[1]
    assert list(row) == [
        "name",
        "depth (km)",
        "place",
        "outside_given",
        "depth_estimate (km)",
        "outside",
    ]
    assert (row["name"], row["depth (km)"], row["place"], row["outside_given"]) == (
        "2024-03-18",
        "0.5",
        "Etna 1",
        "1",
    )
    model_of().predict(tmp_path / "a.nc", tmp_path / "made.nc")
    with xarray.open_dataset(tmp_path / "made.nc", engine="h5netcdf") as made:
        assert (made["depth_estimate"].attrs["units"], made["depth"].attrs["units"]) == ("km", "km")
        assert made.attrs["run"] == "mogi_0"
    model_of().predict(geotiff(tmp_path / "a.tif"), tmp_path / "bands.csv")
    assert [row["name"] for row in read(tmp_path / "bands.csv")][:2] == ["20240306_20240318", "2"]


@pytest.mark.parametrize("layout", ["netcdf", "npz", "folder", "channels first", "channels last"])
def test_several_inputs_are_found_by_name_or_as_channels_and_numbers_have_their_unit(
    tmp_path, layout
):
    degrees = np.linspace(20, 40, COUNT)
    seen: list[dict[str, np.ndarray]] = []

    def estimate(inputs):
        seen.append(inputs)
        return inputs["displacement_1"].sum(axis=(1, 2, 3))[:, None]

    if layout == "netcdf":
        second = (OF_IMAGES, 2 * IMAGES)
        source = netcdf(
            tmp_path / "a.nc",
            displacement_1=second,
            incidence=("sample", degrees, {"units": "degrees"}),
        )
    elif layout.startswith("channels"):
        views = np.stack([IMAGES, 2 * IMAGES], axis=1 if layout.endswith("first") else -1)
        source = archive(tmp_path / "a.npz", displacement=views, incidence=np.radians(degrees))
    else:
        arrays = {
            "displacement": IMAGES,
            "displacement_1": 2 * IMAGES,
            "incidence": np.radians(degrees),
        }
        source = (
            archive(tmp_path / "a.npz", **arrays)
            if layout == "npz"
            else folder(tmp_path / "a", **arrays)
        )
    model = model_of("displacement", "displacement_1", "incidence", estimate=estimate)
    model.predict(source, tmp_path / "made.csv")
    np.testing.assert_allclose(
        column(tmp_path / "made.csv"), 2 * IMAGES.sum(axis=(1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(seen[0]["incidence"][:, 0], np.radians(degrees), rtol=1e-6)
    np.testing.assert_array_equal(seen[0]["displacement"][:, 0], IMAGES)


def test_stations_with_three_components_are_images_with_three_channels(tmp_path):
    layout = ImageLayout({"displacement": (3, 5, 1)}, {"displacement": "m"})
    stations = np.random.default_rng(0).normal(size=(COUNT, 3, 5))
    for name, values in (("all", stations[..., None]), ("short", stations)):
        model = replace(
            model_of(estimate=lambda inputs: inputs["displacement"][:, 2, 4]), layout=layout
        )
        model.predict(saved(tmp_path / f"{name}.npy", values), tmp_path / f"{name}.csv")
        np.testing.assert_allclose(column(tmp_path / f"{name}.csv"), stations[:, 2, 4], rtol=1e-6)


def test_axes_that_sizes_do_not_tell_apart_are_named_by_dimensions_or_remarked(tmp_path):
    layout = ImageLayout({"displacement": (3, 3, 1)}, {"displacement": "m"})
    model = replace(
        model_of(estimate=lambda inputs: inputs["displacement"][:, 2, 1]), layout=layout
    )
    stations = np.random.default_rng(0).normal(size=(COUNT, 3, 3))
    made = model.predict(saved(tmp_path / "a.npy", stations), tmp_path / "a.csv")
    np.testing.assert_allclose(column(tmp_path / "a.csv"), stations[:, 2, 1], rtol=1e-6)
    assert any("the axes of displacement are taken for channel" in said for said in made.warnings)
    named = ("sample", "station", "component")
    made = model.predict(netcdf(tmp_path / "b.nc", stations, dims=named), tmp_path / "b.csv")
    np.testing.assert_allclose(column(tmp_path / "b.csv"), stations[:, 1, 2], rtol=1e-6)
    assert not any("the axes of" in said for said in made.warnings)
    own = ("sample", "component", "point")
    made = model.predict(netcdf(tmp_path / "c.nc", stations, dims=own), tmp_path / "c.csv")
    np.testing.assert_allclose(column(tmp_path / "c.csv"), stations[:, 2, 1], rtol=1e-6)
    assert not any("the axes of" in said for said in made.warnings)


def test_channels_of_as_many_images_as_these_have_rows_are_remarked(tmp_path):
    units = {"displacement": "m", "displacement_1": "m"}
    layout = ImageLayout(dict.fromkeys(units, (1, 2, 2)), units)
    model = replace(
        model_of(estimate=lambda inputs: inputs["displacement_1"][:, 0, 0, 1:]), layout=layout
    )
    views = np.random.default_rng(0).normal(size=(COUNT, 2, 2, 2))
    made = model.predict(saved(tmp_path / "a.npy", views), tmp_path / "a.csv")
    np.testing.assert_allclose(column(tmp_path / "a.csv"), views[:, 1, 0, 1], rtol=1e-6)
    assert sum("the axes of displacement" in said for said in made.warnings) == 2


def test_a_number_in_a_table_has_the_unit_of_its_title(tmp_path):
    (tmp_path / "a.csv").write_text("u1,u2,depth (m),height (m)\n1,2,3000,5\n")
    layout = ImageLayout(
        {"u": (1, 1, 2), "depth": (1,)},
        {"u": "", "depth": "km"},
        columns={"depth": "depth (m)"},
        values={"u": ["u1", "u2"]},
    )
    source = ImageSource(tmp_path / "a.csv", layout)
    (piece,) = source.pieces(10)
    assert piece.inputs["depth"].tolist() == [[3.0]]
    assert source.unit("height (m)") == "", "its title stays as it is"


def test_files_that_simulations_may_lie_in_are_read_alike(tmp_path):
    for name, key in (("a.h5", "displacement"), ("a.mat", "pairs/displacement")):
        with h5py.File(tmp_path / name, "w") as file:
            file[key] = IMAGES
        model = in_files(model_of(), None if key == "displacement" else {"displacement": key}, None)
        model.predict(tmp_path / name, tmp_path / f"{name}.csv")
        np.testing.assert_allclose(column(tmp_path / f"{name}.csv"), weighted(IMAGES), rtol=1e-5)


# Masks


def gappy() -> np.ndarray:
    images = IMAGES.copy()
    images[2, 1, 1:4] = np.nan
    images[5, 0, 0] = np.inf
    return images


def test_missing_pixels_are_masked_and_counted_if_the_network_takes_a_mask(tmp_path):
    seen: list[dict[str, np.ndarray]] = []

    def estimate(inputs):
        seen.append({name: values.copy() for name, values in inputs.items()})
        return weighted(inputs["displacement"][:, 0])[:, None]

    model = model_of("displacement", "mask", estimate=estimate)
    static = np.ones((HEIGHT, WIDTH), np.int8)
    static[3, 5] = 0
    sources = [
        netcdf(tmp_path / "a.nc", gappy(), mask=(("y", "x"), static)),
        archive(
            tmp_path / "a.npz", displacement=gappy(), mask=np.repeat(static[None], COUNT, axis=0)
        ),
    ]
    for source in sources:
        seen.clear()
        made = model.predict(source, tmp_path / "made.csv", overwrite=True)
        assert [row["missing_pixels"] for row in read(tmp_path / "made.csv")] == [*"114112111"]
        assert made.remarks == ["9 samples", PRESUMED_NORTH, "13 pixels masked"]
        lacking = ~np.isfinite(gappy()) | (static == 0)
        np.testing.assert_array_equal(seen[0]["mask"][:, 0], ~lacking)
        np.testing.assert_array_equal(seen[0]["displacement"][:, 0], np.where(lacking, 0, IMAGES))


def test_without_a_mask_among_the_inputs_missing_pixels_are_counted_in_the_error(tmp_path):
    source = netcdf(tmp_path / "a.nc", gappy())
    with pytest.raises(QexpError) as caught:
        model_of().predict(source, tmp_path / "made.csv", chunk=1)
    said = (
        "4 of 216 pixels are missing, in 2 of 9 samples (2, 5), and the network takes no mask of"
        " displacement"
    )
    assert said in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]
    both = model_of("displacement", "mask", "displacement_1")
    views = archive(tmp_path / "b.npz", displacement=gappy(), displacement_1=gappy())
    with pytest.raises(QexpError, match="takes no mask of displacement_1"):
        both.predict(views, tmp_path / "made.csv")
    masked = geotiff(tmp_path / "a.tif", gappy())
    with pytest.raises(QexpError, match="4 of 216 pixels are missing"):
        model_of().predict(masked, tmp_path / "made.csv")


def test_an_image_without_a_pixel_has_no_estimate_and_is_named(tmp_path):
    images = IMAGES.copy()
    images[3] = np.nan
    model = model_of("displacement", "mask")
    made = model.predict(saved(tmp_path / "a.npy", images), tmp_path / "made.csv")
    assert [
        index for index, value in enumerate(column(tmp_path / "made.csv")) if np.isnan(value)
    ] == [3]
    assert made.remarks[-1] == "1 without an estimate, because all pixels are missing (3)"
    with pytest.raises(QexpError, match="all pixels of all 9 samples are missing"):
        model.predict(saved(tmp_path / "b.npy", IMAGES * np.nan), tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


# Outside the range of the training data


def test_inputs_outside_the_range_of_the_training_data_are_counted_by_what_is_outside(tmp_path):
    training = ranges_over([statistics({"displacement": IMAGES[:, None]})])
    images = np.concatenate([IMAGES, 100 * IMAGES[:2], IMAGES[:1] + 0.2])
    made = model_of(ranges=training).predict(
        saved(tmp_path / "a.npy", images), tmp_path / "made.csv"
    )
    assert [int(row["outside"]) for row in read(tmp_path / "made.csv")] == [0] * COUNT + [3, 3, 2]
    assert made.outside_in == {
        "least value of displacement": 3,
        "greatest value of displacement": 3,
        "standard deviation of displacement": 2,
    }
    (said,) = made.warnings
    assert (
        "3 of 12 samples have inputs outside the range of the training data (least value of displ"
        in said
    )


def test_what_a_mask_hides_does_not_count():
    images, mask = IMAGES[:, None].copy(), np.ones((COUNT, *SHAPE), np.float32)
    plain = statistics({"displacement": images})
    images[:, :, 0], mask[:, :, 0] = 1e6, 0
    hidden = statistics({"displacement": images, "mask": mask})
    of_rest = statistics({"displacement": IMAGES[:, None, 1:]})
    for name, values in of_rest.items():
        np.testing.assert_allclose(hidden[name], values)
        assert plain[name].shape == (COUNT,)
    np.testing.assert_allclose(hidden[Statistic("displacement", SEEN)], 1 - 1 / HEIGHT)
    nothing = statistics({"displacement": images[:1], "mask": 0 * mask[:1]})
    assert np.isnan(nothing[Statistic("displacement", "standard deviation")]).all()


# Images of other names, units and axes


OWN_AXES = ("time", "northing", "easting")
NORTH, EAST = 4_520_000 + 100.0 * np.arange(HEIGHT), 430_000 + 100.0 * np.arange(WIDTH)


def own(path: Path, **others: object) -> Path:
    """In mm, with north up, as maps are stored, and a name and axes of one's own."""
    places = {
        "northing": ("northing", NORTH[::-1], {"units": "m"}),
        "easting": ("easting", EAST, {"units": "m"}),
    }
    images = {"los_asc": (OWN_AXES, 1000 * IMAGES[:, ::-1], {"units": "mm"})}
    xarray.Dataset({**images, **others}, places).to_netcdf(path, engine="h5netcdf")
    return path


def by_longitude(path: Path) -> Path:
    """Axes in another order, that only their coordinates tell apart, of which one falls."""
    lat, lon = 60 + 1e-3 * np.arange(HEIGHT), 14 + 2e-3 * np.arange(WIDTH)
    places = {
        "b": ("b", lat[::-1], {"units": "degrees_north"}),
        "a": ("a", lon, {"units": "degrees_east"}),
    }
    xarray.Dataset(
        {"los": (("a", "b", "n"), IMAGES[:, ::-1].transpose(2, 1, 0), {"units": "m"})}, places
    ).to_netcdf(path)
    return path


def in_pixels(path: Path, **coordinates: object) -> Path:
    """Rows from the north on, with coordinates that have names of their own."""
    xarray.Dataset({"los": (("n", "row", "col"), IMAGES[:, ::-1])}, coordinates).to_netcdf(
        path, engine="h5netcdf"
    )
    return path


def of_pixels(north: np.ndarray) -> np.ndarray:
    return np.broadcast_to(north[::-1, None], (HEIGHT, WIDTH))


OWN: dict[str, Callable[[Path], Path]] = {
    "north up, in mm": own,
    "in longitude and latitude": by_longitude,
    "coordinates of another name": lambda path: in_pixels(path, northing=("row", NORTH[::-1])),
    "a latitude of each pixel": lambda path: in_pixels(
        path, lat=(("row", "col"), of_pixels(NORTH / 1e5))
    ),
    "kilometres without a unit": lambda path: in_pixels(
        path, y=("row", NORTH[::-1] / 1e3), x=("col", EAST / 1e3)
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_the_only_image_of_a_file_is_the_input_whatever_its_name_and_axes(tmp_path, name):
    layout = replace(model_of().layout, pixels={"displacement": ((90.0, 120.0), (100.0, 112.0))})
    made = replace(model_of(), layout=layout).predict(
        OWN[name](tmp_path / "a.nc"), tmp_path / "made.csv", chunk=2
    )
    np.testing.assert_allclose(column(tmp_path / "made.csv"), weighted(IMAGES), rtol=1e-5)
    assert made.remarks[1].startswith("displacement is 'los")
    assert made.warnings == []


def test_where_several_variables_could_be_the_input_the_error_has_the_words_that_name_it(tmp_path):
    coherence, dip = (OWN_AXES, IMAGES[:, ::-1]), (OWN_AXES, IMAGES, {"units": "degrees"})
    source, target = own(tmp_path / "a.nc", coherence=coherence, dip=dip), tmp_path / "made.csv"
    for model, said in (
        (model_of(), '{"displacement": "los_asc"}'),
        (
            model_of("displacement", "displacement_1"),
            '{"displacement": "los_asc", "displacement_1": "coherence"}',
        ),
    ):
        with pytest.raises(
            QexpError, match=r"'los_asc' \(9 x 4 x 6, mm\), 'coherence' \(9 x 4 x 6\)"
        ) as refused:
            model.predict(source, target)
        option, _, words = str(refused.value).rpartition("example ")[2].partition("=")
        assert (option, words) == ("columns", said)
        made = in_files(model, read_columns(option, [words]), None).predict(
            source, target, overwrite=True
        )
        np.testing.assert_allclose(column(target), weighted(IMAGES), rtol=1e-5)
        assert made.remarks[1] == "displacement is 'los_asc' of the file, converted from mm to m"
    other = in_files(model_of(), {"displacement": "coherence"}, None)
    assert "was made from other columns" in refusal_of(lambda: other.predict(source, target))
    both = folder(tmp_path / "views", asc=IMAGES, dsc=2 * IMAGES)
    words = refusal_of(lambda: model_of("displacement", "displacement_1").predict(both, target))
    assert words.endswith('columns={"displacement": "asc", "displacement_1": "dsc"}')
    named = in_files(
        model_of("displacement", "displacement_1"),
        {"displacement": "asc", "displacement_1": "dsc"},
        None,
    )
    assert named.predict(both, tmp_path / "views.csv").images == COUNT
    assert targets(both, target, ["displacement", "asc"]) == [(both, target)]


def test_what_was_looked_for_or_made_before_is_told_by_its_name(tmp_path):
    source, target = netcdf(tmp_path / "stack.nc", own=(OF_IMAGES, IMAGES)), tmp_path / "made.csv"
    model_of().predict(source, target)
    other = netcdf(tmp_path / "strong.nc")
    assert "exists already, and was made from stack.nc; " in refusal_of(
        lambda: model_of().predict(other, target)
    )
    netcdf(source, 2 * IMAGES)
    words = refusal_of(lambda: model_of().predict(source, target))
    assert f"was made before {source} was changed" in words
    words = refusal_of(lambda: targets(tmp_path / "stak.nc", target, ["displacement"]))
    assert words.endswith("stak.nc: there is no such file or folder; did you mean 'stack.nc'?")
    declared = replace(
        model_of("displacement", "displacement_1").layout, declared={"displacement_1": "los_dsc"}
    )
    words = refusal_of(
        lambda: replace(model_of(), layout=declared).predict(source, tmp_path / "b.csv")
    )
    assert (
        "has no variable 'displacement_1', nor 'los_dsc', as the dataset of the run says" in words
    )
    assert PredictOptions("a.nc", "b.nc", columns="displacement=los").columns == {
        "displacement": "los"
    }


def refusal_of(call: Callable[[], object]) -> str:
    with pytest.raises(QexpError) as refused:
        call()
    return str(refused.value)


def test_names_that_the_run_or_the_file_does_not_have_are_told(tmp_path):
    source, target = own(tmp_path / "a.nc"), tmp_path / "made.csv"
    for given, said in (
        (
            {"columns": {"dsplacement": "los_asc"}},
            "the run has no column 'dsplacement'; did you mean 'displacement'?",
        ),
        (
            {"columns": {"displacement": "los_acs"}},
            "no variable 'los_acs' to be 'displacement'; did you mean 'los_asc'?",
        ),
        (
            {"columns": [2]},
            'variables of images have names, such as columns={"displacement": NAME}',
        ),
        ({"unit": {"mask_2": "mm"}}, "the run has no input 'mask_2'"),
        ({"unit": "rad"}, "unit=\"rad\": 'displacement' is in m; choose from m, cm, mm, km"),
        ({"unit": "cm"}, 'gives its unit as mm, unlike unit={"displacement": "cm"}'),
    ):
        assert said in refusal_of(lambda given=given: estimated(source, target, **given))
    estimated(source, target, unit="mm")
    np.testing.assert_allclose(column(target), weighted(IMAGES), rtol=1e-5)
    said = refusal_of(
        lambda: estimated(saved(tmp_path / "a.npy"), target, columns={"displacement": "a"})
    )
    assert said.endswith("a.npy has one array, without a name; leave columns out")


def estimated(source: Path, target: Path, columns=None, unit=None, **model):
    return in_files(model_of(**model), columns, unit).predict(source, target, overwrite=True)


def test_images_without_a_unit_whose_values_cannot_be_metres_get_a_warning_that_names_the_option(
    tmp_path,
):
    ranges = {Statistic("displacement", kind): (-0.05, 0.05) for kind in EXTREMES}
    target = tmp_path / "made.csv"
    for scale, known in ((3000, {}), (100, {"ranges": ranges})):
        source = saved(tmp_path / "a.npy", scale * IMAGES)
        said, *_ = estimated(source, target, **known).warnings
        assert said.endswith("if they are in another unit, give it: `unit=mm`")
        of_known_unit = netcdf(tmp_path / "a.nc", scale * IMAGES, "m")
        for other, unit in ((source, "mm"), (of_known_unit, None)):
            assert "another unit" not in " ".join(
                estimated(other, target, unit=unit, **known).warnings
            )
    assert estimated(saved(tmp_path / "a.npy"), target, ranges=ranges).warnings == []
    coded = IMAGES.copy()
    coded[..., :2, :2] = -9999
    coded_said = "\n".join(
        estimated(saved(tmp_path / "a.npy", coded), target, ranges=ranges).warnings
    )
    assert "are exactly -9999, far from all other values: a code for no data?" in coded_said
    assert "another unit" not in coded_said


def test_a_file_that_does_not_say_where_north_is_gets_a_warning(tmp_path):
    """An array alone only has it in the line on the file: numpy's format can say nothing of it."""
    for source, warned in ((netcdf(tmp_path / "a.nc"), 1), (saved(tmp_path / "a.npy"), 0)):
        made = estimated(source, tmp_path / "made.csv")
        assert PRESUMED_NORTH in made.remarks
        assert ["the first row in the south" in text for text in made.warnings] == [True] * warned
    made = estimated(north_first(tmp_path / "a.nc"), tmp_path / "made.csv")
    assert (made.remarks, made.warnings) == (["9 samples"], [])


def test_coordinates_in_no_known_unit_that_do_not_fit_get_a_warning(tmp_path):
    for step, said in ((100.0, 0), (0.1, 0), (50.0, 1), (1.0, 0)):
        places = {
            name: (name, step * np.arange(size)) for name, size in (("y", HEIGHT), ("x", WIDTH))
        }
        warnings = estimated(netcdf(tmp_path / "a.nc", **places), tmp_path / "made.csv").warnings
        assert (
            len([text for text in warnings if f"have steps of {step:g} in no known unit" in text])
            == said
        )


@pytest.mark.parametrize("source", ["metres", "kilometres", "geotiff", "degrees"])
def test_positions_are_also_given_in_the_coordinates_of_the_file(tmp_path, source):
    """Where the simulator puts a source is where the file has the pixel in which it is largest."""
    size = torch.full((1,), 100.0, dtype=torch.float64)
    across, up = pixel_axis(WIDTH, size), pixel_axis(HEIGHT, size)
    row, col = 2, 4
    position = float(across[0, col]) / 1000, float(up[0, row]) / 1000
    peaks = np.zeros((COUNT, HEIGHT, WIDTH), np.float32)
    peaks[:, row, col] = 1
    lat, lon = 60 + 100 / 111_195 * np.arange(HEIGHT), 14 + 200 / 111_195 * np.arange(WIDTH)
    north, east, unit = {
        "degrees": (lat, lon, "degrees"),
        "kilometres": (NORTH / 1e3, EAST / 1e3, "km"),
    }.get(source, (NORTH, EAST, "m"))
    units = ("degrees_north", "degrees_east") if source == "degrees" else (unit, unit)
    places = {"y": ("y", north[::-1], {"units": units[0]}), "x": ("x", east, {"units": units[1]})}
    path = netcdf(tmp_path / "a.nc", peaks[:, ::-1], **places)
    if source == "geotiff":
        path = geotiff(tmp_path / "a.tif", peaks, origin=(EAST[0] - 50, NORTH[-1] + 50))
    model = model_of(
        estimate=lambda inputs: np.tile(np.float32(position), (len(inputs["displacement"]), 1)),
        outputs=("chamber.x", "chamber.y"),
    )
    model.predict(path, tmp_path / "made.csv")
    model.predict(path, tmp_path / "made.nc")
    titles = [title for title in read(tmp_path / "made.csv")[0] if "_map" in title]
    assert titles == [f"chamber.x_map ({units[1]})", f"chamber.y_map ({units[0]})"]
    np.testing.assert_allclose(
        [column(tmp_path / "made.csv", title)[0] for title in titles], [east[col], north[row]]
    )
    assert all(
        len(read(tmp_path / "made.csv")[0][title].partition(".")[2]) <= 8 for title in titles
    )
    with xarray.open_dataset(tmp_path / "made.nc", engine="h5netcdf") as made:
        assert (made["chamber.y_map"].attrs["units"], float(made["chamber.y_map"][0])) == (
            units[0],
            pytest.approx(north[row], abs=1e-6),
        )


# What is wrong


def broken(path: Path) -> Path:
    path.write_bytes(b"no images")
    return path


def lonlat(path: Path) -> Path:
    """A degree of longitude at 60° north is half as long as one of latitude, which has 111.195
    km.
    """
    north, east = 60 + 0.001 * (np.arange(HEIGHT) - 1.5), 14 + 0.001 * np.arange(WIDTH)
    places = {
        "lat": ("lat", north, {"units": "degrees_north"}),
        "lon": ("lon", east, {"units": "degrees_east"}),
    }
    return netcdf(path, dims=("sample", "lat", "lon"), **places)


def cut_off(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def cut(path: Path) -> Path:
    """An archive whose array is damaged, behind a sound list of its content."""
    archive(path, displacement=IMAGES)
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("displacement.npy").header_offset + 400
    content = bytearray(path.read_bytes())
    content[start : start + 100] = bytes(100)
    path.write_bytes(content)
    return path


def placed(path: Path, width: float, height: float, power: float = 1.0) -> Path:
    """With coordinates of pixels of a width and height [km]; unless the power is 1, the columns are
    not even.
    """
    x, y = width * np.arange(WIDTH) ** power, height * np.arange(HEIGHT)
    return netcdf(path, x=("x", x, {"units": "km"}), y=("y", 1000 * y, {"units": "m"}))


WRONG: list[tuple[Callable[[Path], Path], str]] = [
    (
        lambda tmp: saved(tmp / "a.npy", IMAGES[:, :3]),
        r"a\.npy: its shape is 9 x 3 x 6, but the run takes images",
    ),
    (
        lambda tmp: saved(tmp / "a.npy", IMAGES.astype(complex)),
        "holds complex128, not real numbers",
    ),
    (lambda tmp: saved(tmp / "a.npy", np.array([["x"]])), "holds <U1, not real numbers"),
    (lambda tmp: saved(tmp / "a.npy", IMAGES[:0]), r"a\.npy holds no samples"),
    (lambda tmp: saved(tmp / "a.npy", IMAGES * np.nan), "216 of 216 pixels are missing"),
    (lambda tmp: broken(tmp / "a.npy"), r"a\.npy cannot be read as npy"),
    (
        lambda tmp: cut_off(saved(tmp / "a.npy")),
        r"a\.npy cannot be read as npy: mmap length is greater than file size",
    ),
    (lambda tmp: broken(tmp / "a.npz"), r"a\.npz cannot be read as npz"),
    (lambda tmp: broken(tmp / "a.nc"), r"a\.nc cannot be read as NetCDF"),
    (lambda tmp: broken(tmp / "a.tif"), r"a\.tif cannot be read as a raster"),
    (lambda tmp: cut(tmp / "a.npz"), r"a\.npz cannot be read as npz: Bad CRC"),
    (
        lambda tmp: archive(tmp / "a.npz", a=IMAGES, b=IMAGES, mask=IMAGES),
        'for example columns={"displacement": "a"}',
    ),
    (
        lambda tmp: saved(tmp / "a.npy", np.moveaxis(IMAGES, 0, -1)),
        r"numpy\.moveaxis\(array, -1, 0\)",
    ),
    (lambda tmp: cut_off(netcdf(tmp / "a.nc")), r"a\.nc cannot be read as NetCDF"),
    (
        lambda tmp: netcdf(tmp / "a.nc", unit="rad"),
        "its unit is 'rad', but 'displacement' is in m;",
    ),
    (lambda tmp: netcdf(tmp / "a.nc", unit="furlong"), "known units of it are m, cm, mm, km"),
    (
        lambda tmp: netcdf(tmp / "a.nc", mask=(("y", "x"), np.full((HEIGHT, WIDTH), 2))),
        "1 where pixels are seen and 0",
    ),
    (
        lambda tmp: netcdf(tmp / "a.nc", mask=(("n", "y", "x"), IMAGES[:4])),
        "different numbers of samples",
    ),
    (
        lambda tmp: geotiff(tmp / "a.tif", pixel=30.0),
        "are 30 m wide, but .* trained on pixels of 90 to 110 m",
    ),
    (
        lambda tmp: placed(tmp / "a.nc", 0.1, 0.05),
        "are 50 m high, but .* trained on pixels of 100 m",
    ),
    (
        lambda tmp: geotiff(tmp / "a.tif", crs="EPSG:4326", origin=(14, 60.002), pixel=0.001),
        "are 55.597. m wide",
    ),
    (lambda tmp: lonlat(tmp / "a.nc"), "are 55.597. m wide"),
    (lambda tmp: placed(tmp / "a.nc", 0.1, 0.1, power=2.0), "'x' is not evenly spaced"),
]


@pytest.mark.parametrize(("source", "said"), WRONG)
def test_what_cannot_be_estimated_is_told_and_leaves_nothing(tmp_path, source, said):
    found = source(tmp_path)
    with pytest.raises(QexpError, match=said):
        model_of().predict(found, tmp_path / "made.csv")
    assert list(tmp_path.iterdir()) == [found]


def test_directions_are_given_to_a_network_as_it_was_trained_on_them(tmp_path):
    seen = []

    def estimate(inputs):
        seen.append(inputs["incidence"][:, 0])
        return inputs["incidence"]

    model = model_of("displacement", "incidence", estimate=estimate)
    model = replace(
        model,
        layout=replace(model.layout, directions={"incidence": (math.radians(192), 2 * math.pi)}),
    )
    flown = np.array([192.0, -168.0, 552.0, 190.0, 14.0, 10.0, 370.0, -12.0, 348.0])
    source = netcdf(tmp_path / "a.nc", incidence=("sample", flown, {"units": "degrees"}))
    model.predict(source, tmp_path / "made.csv")
    np.testing.assert_allclose(
        np.degrees(seen[0]), [192, 192, 192, 190, 14, 370, 370, 348, 348], rtol=1e-5
    )


def test_inputs_that_lack_in_a_file_are_told_with_what_would_do(tmp_path):
    with pytest.raises(
        QexpError,
        match=r"give NetCDF or npz with these .*, or a folder .* such as displacement\.npy",
    ):
        model_of("displacement", "displacement_1").predict(
            saved(tmp_path / "a.npy"), tmp_path / "made.csv"
        )
    angles = np.linspace(0.3, 0.6, COUNT)
    angles[4] = np.nan
    source = netcdf(tmp_path / "a.nc", incidence=("sample", angles))
    with pytest.raises(QexpError, match="'incidence' is missing for 4"):
        model_of("displacement", "incidence").predict(source, tmp_path / "made.csv")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "nc", "parquet"])
def test_estimates_beyond_the_training_data_of_their_output_are_counted(tmp_path, ending):
    values = np.array([0.2, 0.3, 1.0, 5.0, 5.1, np.nan, 3.0, 6.1, -0.4])

    def estimate(inputs):
        return values[inputs["displacement"][:, 0, 0, 0].astype(int), None].astype(np.float32)

    numbered = np.broadcast_to(np.arange(COUNT, dtype=np.float32)[:, None, None], IMAGES.shape)
    source, target = saved(tmp_path / "a.npy", numbered), tmp_path / f"made.{ending}"
    read_table = {
        "csv": pandas.read_csv,
        "parquet": pandas.read_parquet,
        "nc": xarray.load_dataset,
    }[ending]
    for trained, expected in (
        (TrainedRange(0.3, 5.0), [1, 0, 0, 0, 1, 0, 0, 1, 1]),
        (TrainedRange(0.3, 5.0, period=6.0), [1, 0, 0, 0, 1, 0, 0, 1, 1]),
        (TrainedRange(-1.0, 0.5, period=4.0), [0, 0, 1, 1, 1, 0, 0, 1, 0]),
    ):
        model = model_of(estimate=estimate, trained=trained)
        made = model.predict(source, target, overwrite=True)
        count = sum(expected)
        assert (made.estimates_outside, made.outside) == (count, 0)
        assert (
            f"{count} with estimates outside 99 % of the training data (depth: {count})"
            in made.remarks
        )
        again = model.predict(source, target)
        assert (again.made, again.estimates_outside, again.remarks) == (False, count, made.remarks)
        assert read_table(target)["estimates_outside"].values.tolist() == expected


# Files and folders


def test_a_folder_is_estimated_file_by_file(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for path in (
        saved(source / "b.npy"),
        netcdf(source / "a.nc"),
        geotiff(source / "c.tif"),
        source / "notes.txt",
    ):
        path.touch()
    folder(source / "d", displacement=IMAGES)
    names = ["displacement"]
    assert targets(source, tmp_path / "out", names) == [
        (source / name, tmp_path / "out" / f"{name[0]}.nc")
        for name in ("a.nc", "b.npy", "c.tif", "d")
    ]
    assert targets(source / "d", tmp_path / "made.csv", names) == [
        (source / "d", tmp_path / "made.csv")
    ]
    (tmp_path / "out").mkdir()
    assert targets(source / "b.npy", tmp_path / "out", names) == [
        (source / "b.npy", tmp_path / "out" / "b.nc")
    ]
    for wrong, said in (
        (
            (source, tmp_path / "made.csv"),
            "holds 4 files of images, each with its own file of .*; give a folder",
        ),
        (
            (source / "notes.txt", tmp_path / "made.csv"),
            r"must end in \.nc, \.npz, \.npy, \.tif, \.tiff",
        ),
        ((source / "a.nc", source / "a.nc"), "would lie among the images, or replace them"),
        ((source / "a.nc", tmp_path / "made.txt"), r"must end in \.csv, \.parquet, \.nc"),
        (
            (tmp_path / "out", tmp_path / "made.csv"),
            r"no folder in it has a file displacement\.npy",
        ),
    ):
        with pytest.raises(QexpError, match=said):
            targets(*wrong, names)
    with pytest.raises(NotFoundError):
        targets(tmp_path / "nothing", tmp_path / "made.csv", names)
    saved(source / "a.npy")
    with pytest.raises(QexpError, match=r"would both be written to .*a; rename one of them"):
        targets(source, tmp_path / "out", names)


@pytest.mark.heavy
@pytest.mark.parametrize("ending", ["npy", "nc"])
def test_memory_does_not_grow_with_the_number_of_samples_and_neither_does_the_file_depend_on_it(
    tmp_path, ending
):
    layout, batches = ImageLayout({"displacement": (1, 64, 64)}, {"displacement": "m"}), list[int]()

    def estimate(inputs):
        batches.append(len(inputs["displacement"]))
        return inputs["displacement"].mean(axis=(2, 3))

    model = replace(model_of(estimate=estimate), layout=layout)
    peaks = {}
    for count in (256, 2048):
        images = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None], (count, 64, 64))
        source = tmp_path / f"{count}.{ending}"
        {"npy": saved, "nc": netcdf}[ending](source, images)
        tracemalloc.start()
        model.predict(source, tmp_path / f"{count}.csv", chunk=128)
        peaks[count] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        assert column(tmp_path / f"{count}.csv") == list(range(count))
    assert peaks[2048] - peaks[256] < 8, peaks
    assert set(batches) == {128}
    model.predict(tmp_path / f"256.{ending}", tmp_path / "again.csv", chunk=400)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "256.csv").read_bytes()


# With a run


@pytest.mark.heavy
def test_a_run_estimates_files_as_it_does_arrays_and_knows_the_range_of_its_training_data(
    run, tmp_path
):
    samples = package.samples("mogi", "test", count=20)
    images = samples["displacement"].values
    samples.to_netcdf(tmp_path / "new.nc", engine="h5netcdf")
    options = ("predict", "--run", run.name, "--output", tmp_path / "out")
    call(*options, "--input", tmp_path / "new.nc").refused()
    (tmp_path / "out").mkdir()
    code, stdout, stderr = call(*options, "--input", tmp_path / "new.nc")
    assert (code, stdout.split(), stderr.split(": ")[-1]) == (
        0,
        [str(tmp_path / "out/new.nc")],
        "20 samples\n",
    ), stderr
    with xarray.open_dataset(tmp_path / "out/new.nc", engine="h5netcdf") as made:
        np.testing.assert_allclose(
            made["depth_estimate"], run.predict(displacement=images)["depth"], rtol=1e-4
        )
        np.testing.assert_allclose(made["depth"], samples["depth"], rtol=1e-6)
    far = np.zeros((2, 64, 64), np.float32)
    far[1] = 50.0
    (made_now,) = package.predict(run, saved(tmp_path / "far.npy", far), tmp_path / "far.csv")
    assert [int(row["outside"]) > 0 for row in read(tmp_path / "far.csv")] == [True, True]
    assert made_now.outside == 2
    assert made_now.estimates_outside > 0
    assert "exists already" in call(*options, "--input", tmp_path / "new.nc").stderr


MASKED = {
    "type": "generated", "generation_type": "mogi", "size": [8, 8], "angles": "degrees",
    "fixed": {"azimuth": 0, "x_res": 0.5, "y_res": 0.5, "x": 0, "y": 0, "delta_volume": 1},
    "varyings": {"depth": [[0.4, 0.5]], "incidence": [[0.4, 0.5]]},
    "distributions": {
        "depth": {"type": "uniform", "parameters": {"a": 1, "b": 4}},
        "incidence": {"type": "uniform", "parameters": {"a": 20, "b": 45}},
    },
    "noise_model": [{"type": "decorrelation", "parameters": {"share": 0.2, "patch_size": 1.0}}],
    "columns": {"displacement": "los", "incidence": "inc"},
}  # fmt: skip


@shared_folder
def masked(root: Path) -> None:
    """A workspace with a run that takes an image, its mask and the incidence."""
    write_dense(root, "masked", MASKED, ["depth"], ["displacement", "mask", "incidence"])
    package.run("masked", device="cpu", workspace=root)


@pytest.mark.heavy
def test_a_run_that_takes_masks_estimates_images_with_gaps_as_it_does_its_own(masked, tmp_path):
    run = package.open_run("masked_0", workspace=masked)
    samples = package.samples("masked", "test", count=12, workspace=masked)
    image, mask, incidence = (
        samples[name].values for name in ("displacement", "mask", "incidence")
    )
    expected = run.predict(displacement=image, mask=mask, incidence=incidence)["depth"]
    gaps = np.where(mask == 0, np.nan, image)
    data = xarray.Dataset(
        {
            "displacement": (OF_IMAGES, 100 * gaps, {"units": "cm"}),
            "incidence": ("sample", np.radians(incidence), {"units": "radians"}),
        },
        {name: (name, 0.5 * np.arange(8), {"units": "km"}) for name in ("x", "y")},
    )
    own = data.rename(displacement="los", incidence="inc").assign(coherence=data["displacement"])
    for name, way, images in (("up", 1, data), ("down", -1, data), ("own", 1, own)):
        images.isel(y=slice(None, None, way)).to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        (made,) = package.predict(
            run, tmp_path / f"{name}.nc", tmp_path / f"{name}.csv", workspace=masked
        )
        np.testing.assert_allclose(column(tmp_path / f"{name}.csv"), expected, rtol=1e-4)
        assert (made.missing_pixels, made.outside) == (int((mask == 0).sum()), 0)
        assert (
            column(tmp_path / f"{name}.csv", "missing_pixels")
            == (mask == 0).sum(axis=(1, 2)).tolist()
        )
    wide = data.assign_coords(x=("x", 0.6 * np.arange(8), {"units": "km"}))
    wide.to_netcdf(tmp_path / "wide.nc", engine="h5netcdf")
    with pytest.raises(
        QexpError, match=r"its pixels are 600 m wide, but the run was trained on pixels of 500 m"
    ):
        package.predict(run, tmp_path / "wide.nc", tmp_path / "wide.csv", workspace=masked)
    steep = data.assign(incidence=("sample", np.full(12, 80.0)))
    steep.to_netcdf(tmp_path / "steep.nc", engine="h5netcdf")
    (made,) = package.predict(run, tmp_path / "steep.nc", tmp_path / "steep.csv", workspace=masked)
    assert made.outside_in["incidence"] == 12


def test_names_in_the_spec_that_the_dataset_does_not_have_or_that_are_one_are_told(tmp_path):
    for names, said in (
        (
            {"dsplacement": "los"},
            (
                "$.columns.dsplacement: this dataset has no 'dsplacement'; did you mean"
                " 'displacement'?"
            ),
        ),
        (
            {"displacement": "los", "mask": "los"},
            "$.columns.mask: 'los' of the file is another variable, too",
        ),
        ({"displacement": 3}, "$.columns.displacement"),
    ):
        write_dense(
            tmp_path,
            "own",
            {**MASKED, "columns": names},
            ["depth"],
            ["displacement", "mask", "incidence"],
        )
        assert said in call("validate", tmp_path / "specs/datasets/own.json").stderr

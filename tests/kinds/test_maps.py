"""A folder with a file for each row of a map as one map, and maps combined with their errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

import qexp
from qexp.errors import QexpError
from tests.kinds.test_predict_rows import MODEL

rasterio = pytest.importorskip("rasterio")

pytestmark = pytest.mark.slow

OXIDES = {"MgO": "mgo.nc:mgo", "FeO": "feo.nc:feo"}
RATIO = "MgO/(MgO+FeO)"
MAGNESIA, WUESTITE = 24.305 + 15.999, 55.845 + 15.999


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_rows(folder: Path, names, header=",red,blue", line="{index},{red},{blue}", cells=5):
    """A file for each name, whose red tells the place of the name in the list."""
    folder.mkdir(exist_ok=True)
    for row, name in enumerate(names):
        lines = [header]
        for index in range(cells):
            lines.append(line.format(index=index, red=0.1 + row / 20, blue=index / 8, row=row))
        (folder / name).write_text("\n".join(lines) + "\n")


# A folder as one map


def test_rows_lie_by_the_numbers_in_the_names_of_their_files_which_may_have_gaps(here):
    names = [f"spec_23r1c1_row={number}.csv" for number in range(2, 13)]
    write_rows(here / "rows", names)
    with_gap = here / "rows" / names[3]
    with_gap.write_text(with_gap.read_text().replace("0.25,", ",").replace("0.25\n", "\n"))
    prediction = MODEL.predict(here / "rows", here / "map.nc", chunk=1)
    assert [path.name for path in prediction.files] == ["map.nc", "map.png", "map.tif"]
    assert (prediction.rows, prediction.missing) == (55, 5)
    red = 0.1 + np.arange(11) / 20
    expected = 10 * red[:, None] + np.arange(5) / 8
    expected[3] = np.nan
    with xarray.open_dataset("map.nc") as data:
        assert data.tio2.dims == ("line", "sample")
        assert data.line.values.tolist() == [*range(2, 13)]
        np.testing.assert_allclose(data.tio2, expected, rtol=1e-6)
        assert (data.outside.values[-1] > 0).all() == (red[-1] > 0.8)
    with rasterio.open("map.tif") as raster:
        assert raster.descriptions[0] == "tio2"
        assert raster.units[0] == "wt%"
        np.testing.assert_allclose(raster.read(1), expected, rtol=1e-6)
    assert not MODEL.predict(here / "rows", here / "map.nc").made


def test_rows_lie_by_their_longitudes_and_latitudes_if_they_have_them_north_above(here):
    line = "{index},{row},{red},{blue}"
    write_rows(here / "rows", ["c.csv", "b.csv", "a.csv"], "lon,lat,red,blue", line)
    MODEL.predict(here / "rows", here / "map.nc")
    with xarray.open_dataset("map.nc") as data, rasterio.open("map.tif") as raster:
        assert data.lat.values.tolist() == [2, 1, 0]
        np.testing.assert_allclose(data.tio2.sel(lat=1, lon=4), 10 * 0.15 + 0.5)
        assert raster.xy(0, 4) == (4, 2)
        np.testing.assert_array_equal(raster.read(1), data.tio2)


def test_what_is_no_whole_map_is_refused_in_words(here):
    def refused(words):
        with pytest.raises(QexpError, match=words):
            MODEL.predict(here / "rows", here / "map.nc")
        assert not (here / "map.nc").exists()

    write_rows(here / "rows", ["row_1.csv", "row_2.csv", "row_4.csv"])
    refused(r"no file is row 3 of the map")
    write_rows(here / "rows", ["row_03.csv"], cells=4)
    refused("its [45] cells have not the same 'sample' as the [45] of row_")
    write_rows(here / "rows", ["row_03.csv", "row_3.csv"])
    refused("is not that of one row of its own")
    (here / "rows" / "row_3.csv").unlink()
    write_rows(here / "rows", ["other.csv"])
    refused("which row of the map is it")
    (here / "rows" / "other.csv").unlink()
    write_rows(here / "rows", ["row_03.csv"], ",red,blue,sun", "{index},1,1,1")
    refused("its columns are not those of")


# Maps combined


def write_map(name, value, error, unit="wt%", outside=(), **more):
    """A map as `qexp predict` makes it, whose intervals are those of normal errors."""
    axes = ("lat", "lon")
    reach = 1.6448536269514722 * error
    about = {"units": unit}
    columns = {name: value, f"{name}_low": value - reach, f"{name}_high": value + reach}
    data = xarray.Dataset({key: (axes, values, about) for key, values in columns.items()})
    flags = np.zeros(value.shape, np.int16)
    flags.ravel()[list(outside)] = 1
    data["outside"] = axes, flags
    data = data.assign_coords(lat=np.arange(float(len(value))), lon=np.arange(value.shape[1]) / 2)
    data.attrs = {"interval": "90 % intervals for new rows", **more}
    data.to_netcdf(f"{name}.nc", engine="h5netcdf")


def by_rejection(mgo, feo, correlation, count=400_000):
    """Mean, standard deviation and 90 % of the ratio of two normal amounts that are not negative,
    by code that shares nothing with the command.
    """
    random = np.random.default_rng(1)
    first, other = random.normal(size=(2, count))
    second = correlation * first + np.sqrt(1 - correlation**2) * other
    magnesium = mgo[0] + mgo[1] * first
    iron = feo[0] + feo[1] * second
    possible = (magnesium > 0) & (iron > 0)
    moles = magnesium[possible] / MAGNESIA, iron[possible] / WUESTITE
    ratio = moles[0] / (moles[0] + moles[1])
    return ratio.std(), *np.quantile(ratio, (0.05, 0.95))


@pytest.mark.heavy
@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.9])
def test_errors_of_a_molar_ratio_are_those_of_a_monte_carlo_within_5_percent(here, correlation):
    relative = np.geomspace(0.01, 3, 9)
    mgo = np.array([2.0, 8.0, 14.0])[:, None] * np.ones(9)
    feo = np.array([18.0, 8.0, 3.0])[:, None] * np.ones(9)
    write_map("mgo", mgo, mgo * relative)
    write_map("feo", feo, feo * relative[::-1] ** 0.5)
    declared = {"MgO,FeO": correlation} if correlation else {}
    qexp.combine(RATIO, OXIDES, "number.nc", molar=True, correlation=declared)
    with xarray.open_dataset("number.nc") as data:
        middle = mgo / MAGNESIA / (mgo / MAGNESIA + feo / WUESTITE)
        np.testing.assert_allclose(data.number, middle, rtol=1e-6)
        for row, column in np.ndindex(mgo.shape):
            a = mgo[row, column], mgo[row, column] * relative[column]
            b = feo[row, column], feo[row, column] * relative[::-1][column] ** 0.5
            spread, low, high = by_rejection(a, b, correlation)
            cell = data.isel(lat=row, lon=column)
            assert abs(cell.number_spread / spread - 1) < 0.05
            assert abs(cell.number_low - low) < 0.05 * (high - low)
            assert abs(cell.number_high - high) < 0.05 * (high - low)


def test_gaps_flags_and_cautions_of_all_maps_are_kept_and_a_sum_has_their_unit(here):
    value = np.array([[5.0, 6.0], [7.0, np.nan]])
    write_map("mgo", value, 0.1 * value, outside=[0], caution="made with stand-in data")
    write_map("feo", 2 * value, 0.1 * value, outside=[1])
    prediction = qexp.combine("FeO-MgO", OXIDES, "sum.nc")
    assert (prediction.outside, prediction.missing) == (2, 1)
    assert any("correlation of errors: none" in text for text in prediction.remarks)
    with xarray.open_dataset("sum.nc") as data:
        assert np.isnan(data.sum_low.values).ravel().tolist() == [False, False, False, True]
        assert (data.outside.values > 0).ravel().tolist() == [True, True, False, False]
        assert data["sum"].attrs["units"] == "wt%"
        assert data.attrs["caution"] == "made with stand-in data"
        np.testing.assert_allclose(data.sum_spread.values[0], [0.707, 0.849], rtol=0.02)
    assert json.loads(Path("sum.nc.json").read_text())["interval"] == 0.9
    with pytest.raises(QexpError, match="exists already"):
        qexp.combine("FeO+MgO", OXIDES, "sum.nc")


def test_where_a_divisor_may_be_zero_there_is_an_interval_and_no_standard_deviation(here):
    value = np.full((2, 2), 1.0)
    write_map("a", value, 0.1 * value, unit="km")
    write_map("b", value, np.array([[0.05, 0.05], [2.0, 2.0]]), unit="km")
    qexp.combine("a/b", {"a": "a.nc:a", "b": "b.nc:b"}, "ratio.nc")
    with xarray.open_dataset("ratio.nc") as data:
        assert np.isfinite(data.ratio_spread.values[0]).all()
        assert np.isnan(data.ratio_spread.values[1]).all()
        assert np.isfinite(data.ratio_low).all()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("MgO/(MgO+Fe)", "'Fe' is no map; .*'FeO'"),
        ("MgO", "'FeO' is not in it"),
        ("MgO/FeO/", "cannot be understood"),
        ("+".join(["MgO", "FeO"] * 60), "cannot be understood"),
        ("(" * 150 + "MgO/FeO", "cannot be understood"),
        ("MgO.max()/FeO", "is neither name nor number"),
        ("MgO/FeO*__import__('os')", "no map|neither name"),
        ("MgO*FeO*1" + "0" * 310, "is neither name nor number"),
    ],
)
def test_what_is_no_expression_of_the_maps_is_refused(here, expression, words):
    value = np.ones((2, 2))
    write_map("mgo", value, value)
    write_map("feo", value, value)
    with pytest.raises(QexpError, match=words):
        qexp.combine(expression, OXIDES, "made.nc")


def test_endless_numbers_end(here):
    value = np.ones((2, 2))
    write_map("mgo", value, value)
    write_map("feo", value, value)
    prediction = qexp.combine("MgO/FeO*9**9**9**9", OXIDES, "made.nc")
    with xarray.open_dataset("made.nc") as data:
        assert np.isnan(data.made).all()
    assert prediction.made


def test_maps_over_other_cells_in_other_units_and_by_other_names_are_refused(here):
    value = np.ones((2, 2))
    write_map("mgo", value, value)

    def refused(words, maps=OXIDES, **options):
        with pytest.raises(QexpError, match=words):
            qexp.combine(RATIO, maps, "made.nc", **options)

    write_map("feo", np.ones((3, 2)), np.ones((3, 2)))
    refused("different cells")
    write_map("feo", value, value, unit="ppm")
    refused("'ppm' of FeO")
    write_map("feo", value, value)
    refused("has no 'fe'", {**OXIDES, "FeO": "feo.nc:fe"})
    refused("write FeO=feo.nc:OUTPUT", {**OXIDES, "FeO": "feo.nc"})
    refused("two maps and a number from -1 to 1", correlation={"MgO,Fe": 0.5})
    refused("two maps and a number from -1 to 1", correlation={"MgO,FeO": 1.5})
    refused("a coverage lies between", interval=1.0)
    maps = {"Mg": "mgo.nc:mgo", "Fx": "feo.nc:feo"}
    with pytest.raises(QexpError, match="'Fx' is no formula"):
        qexp.combine("Mg/(Mg+Fx)", maps, "made.nc", molar=True)


def test_molar_masses_are_those_of_the_atoms():
    xraydb = pytest.importorskip("xraydb")
    from qexp.kinds.rows.combination import WEIGHTS, molar_mass

    for element in WEIGHTS.split()[::2]:
        assert molar_mass(element) == pytest.approx(xraydb.atomic_mass(element), rel=3e-4)
    assert molar_mass("Al2O3") == pytest.approx(101.961, abs=2e-3)
    assert (molar_mass("MgO"), molar_mass("FeO")) == pytest.approx((40.304, 71.844))

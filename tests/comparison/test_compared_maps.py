"""Two maps compared: against means, weights and measures that are computed here otherwise."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

import qexp
from qexp.comparison.maps import compare_maps
from qexp.errors import QexpError

EAST, NORTH = np.arange(-179, 180, 2.0), np.arange(-59, 60, 2.0)
COARSE_EAST, COARSE_NORTH = np.arange(5, 360, 10.0), np.arange(-85, 90, 10.0)


def truth(east: np.ndarray, north: np.ndarray) -> np.ndarray:
    return 15 + 3 * np.sin(np.radians(3 * north))[:, None] * np.cos(np.radians(2 * east))


def grid(path: Path, values: np.ndarray, east: np.ndarray, north: np.ndarray, **others) -> str:
    dims = ("lat", "lon")
    variables = {"feo": (dims, values, {"units": "wt%"})}
    variables |= {name: (dims, other) for name, other in others.items()}
    xarray.Dataset(variables, {"lat": north, "lon": east}).to_netcdf(path)
    return f"{path}:feo"


@pytest.fixture
def ours(tmp_path: Path) -> str:
    noise = np.random.default_rng(0).normal(0.5, 0.3, (60, 180))
    return grid(tmp_path / "ours.nc", truth(EAST, NORTH) + noise, EAST, NORTH)


@pytest.fixture
def theirs(tmp_path: Path) -> str:
    values = truth(COARSE_EAST, COARSE_NORTH)
    return grid(tmp_path / "theirs.nc", values, COARSE_EAST, COARSE_NORTH)


def test_measures_are_those_of_means_by_cell_weighted_by_area(ours, theirs):
    compared = compare_maps([ours, theirs])
    fine = xarray.open_dataset(ours.removesuffix(":feo")).feo
    means = fine.coarsen(lat=5, lon=5).mean()
    means = means.assign_coords(lon=means.lon % 360).sortby("lon")
    other = xarray.open_dataset(theirs.removesuffix(":feo")).feo.sel(lat=means.lat)
    apart = means - other
    weighted = apart.weighted(np.cos(np.radians(apart.lat)))
    measures = compared.measures()["all cells"]
    assert measures.cells == apart.size
    assert np.isclose(measures.bias, weighted.mean())
    assert np.isclose(measures.rmse, np.sqrt((apart**2).weighted(weighted.weights).mean()))
    spread = other.weighted(weighted.weights).var()
    assert np.isclose(measures.r2, 1 - measures.rmse**2 / spread)
    planes = compared.cells.dropna("lat", how="all", subset=["difference"])
    np.testing.assert_allclose(planes.difference, apart.values)


def test_which_of_both_is_coarser_and_first_changes_the_sign_alone(ours, theirs):
    one = compare_maps([ours, theirs]).measures()["all cells"]
    other = compare_maps([theirs, ours]).measures()["all cells"]
    assert np.isclose(one.bias, -other.bias)
    assert np.isclose(one.rmse, other.rmse)


def test_a_map_is_the_same_in_all_formats(tmp_path: Path, ours, theirs):
    rasterio = pytest.importorskip("rasterio")
    values = truth(COARSE_EAST, COARSE_NORTH)
    place = rasterio.transform.from_origin(0, 90, 10, 10)
    shape = {"count": 1, "height": 18, "width": 36, "dtype": "float64", "transform": place}
    with rasterio.open(tmp_path / "theirs.tif", "w", driver="GTiff", **shape) as raster:
        raster.write(values[None, ::-1])
    rows = xarray.open_dataset(theirs.removesuffix(":feo")).to_dataframe().reset_index()
    rows["lon"] = (rows["lon"] + 180) % 360 - 180
    rows.sample(frac=1, random_state=1).to_csv(tmp_path / "theirs.csv", index=False)
    rows.to_parquet(tmp_path / "theirs.parquet")
    expected = compare_maps([ours, theirs]).measures()["all cells"]
    for ending in ("tif", "csv", "parquet"):
        found = compare_maps([ours, str(tmp_path / f"theirs.{ending}")]).measures()["all cells"]
        assert found == pytest.approx(expected), ending


def test_cells_mostly_outside_of_the_training_data_are_counted_apart(tmp_path: Path, theirs):
    values = truth(EAST, NORTH)
    outside = np.zeros(values.shape)
    values[:10, :50] += 100
    outside[:10, :50] = 2
    ours = grid(tmp_path / "own.nc", values, EAST, NORTH, outside=outside)
    measures = compare_maps([ours, theirs]).measures()
    cells = measures["all cells"].cells - measures["inside the training data"].cells
    assert cells == 2 * 10
    assert measures["inside the training data"].rmse < 0.2 < 10 < measures["all cells"].rmse


def test_gaps_are_no_values(tmp_path: Path, ours, theirs):
    values = truth(EAST, NORTH)
    values[:5, :5] = np.nan
    values[5:7, :5] = np.nan
    gappy = compare_maps([grid(tmp_path / "gaps.nc", values, EAST, NORTH), theirs])
    whole = compare_maps([ours, theirs])
    cells = [each.measures()["all cells"].cells for each in (gappy, whole)]
    assert cells[0] == cells[1] - 1  # 15 of 25 are enough


def test_what_makes_differences_larger_is_said(tmp_path: Path, ours):
    shifted = EAST + 0.7
    values = truth(shifted, NORTH)
    values[3, 4] = -9999
    values[0, 0] = np.nan
    other = grid(tmp_path / "other.nc", values, shifted, NORTH)
    data = xarray.open_dataset(tmp_path / "other.nc").load()
    data.feo.attrs["units"] = "ppm"
    data.to_netcdf(tmp_path / "ppm.nc")
    remarks = " ".join(compare_maps([ours, str(tmp_path / "ppm.nc")]).remarks)
    for words in ("similar size", "'wt%' and 'ppm'", "-9999 is taken as a value"):
        assert words in remarks
    assert "lon" in remarks
    assert "lat" not in remarks
    assert "similar size" in " ".join(compare_maps([ours, other]).remarks)


def test_what_are_no_two_maps_is_refused(tmp_path: Path, ours, theirs):
    far = grid(tmp_path / "far.nc", truth(EAST[:5], NORTH[:5] - 25), EAST[:5], NORTH[:5] - 25)
    uneven = np.concatenate([COARSE_EAST[:20], COARSE_EAST[20:] + 5])
    odd = grid(tmp_path / "odd.nc", truth(uneven, COARSE_NORTH), uneven, COARSE_NORTH)
    cube = xarray.open_dataset(theirs.removesuffix(":feo")).expand_dims(time=3)
    cube.to_netcdf(tmp_path / "cube.nc")
    (tmp_path / "none.csv").write_text("site,feo\n1,2\n")
    alone = xarray.open_dataset(theirs.removesuffix(":feo")).drop_vars("feo")
    alone.to_netcdf(tmp_path / "alone.nc")
    alone.assign(site=("lon", ["a"] * 36)).to_netcdf(tmp_path / "texts.nc")
    (tmp_path / "torn.nc").write_bytes((tmp_path / "ours.nc").read_bytes()[:3000])
    for wrong, words in {
        far: "fewer than two cells",
        odd: "not even",
        f"{tmp_path}/cube.nc:feo": "lies along time, lat, lon",
        f"{tmp_path}/none.csv:feo": "no columns longitude and latitude",
        f"{tmp_path}/torn.nc:feo": "cannot be read",
        f"{tmp_path}/alone.nc": "no values over its positions",
        f"{tmp_path}/texts.nc:site": "no values over its positions",
        f"{theirs}2": "did you mean 'feo'",
        f"{tmp_path}/missing.nc": "no such file",
        "mogi_quick_0": "each among themselves",
    }.items():
        with pytest.raises(QexpError, match=words):
            compare_maps([far if wrong == far else ours, theirs if wrong == far else wrong])


def test_maps_of_one_name_and_of_any_name_have_a_folder_and_words_of_their_own(
    workspace: Path, ours
):
    values = truth(COARSE_EAST, COARSE_NORTH)
    places = set()
    for number, name in enumerate(("../up", "../up", "a/b" * 40)):
        folder = workspace / f"maps{number}"
        folder.mkdir()
        data = xarray.Dataset({name: (("lat", "lon"), values)})
        data.assign_coords(lat=COARSE_NORTH, lon=COARSE_EAST).to_dataframe().to_parquet(
            folder / "ours.parquet"
        )
        other = f"{folder / 'ours.parquet'}:{name}"
        for first in (ours, other):
            shown = qexp.compare(first, other, workspace=workspace)
            places.add(shown.files[0].parent)
            assert len({*shown.called}) == 1 + (first != other)
    assert {place.parent for place in places} == {workspace / "comparisons"}
    assert len(places) == 6


def test_files_hold_what_is_printed(workspace: Path, ours, theirs):
    shown = qexp.compare(ours, theirs, workspace=workspace)
    files = {path.suffix: path for path in shown.files}
    assert files[".png"].parent.parent == workspace / "comparisons"
    assert (
        json.loads(files[".json"].read_text())["all cells"]
        == shown.measures()["all cells"]._asdict()
    )
    kept = xarray.open_dataset(files[".nc"])
    np.testing.assert_allclose(kept.ours - kept.theirs, kept.difference)
    assert "bias (wt%)" in shown.text()
    with pytest.raises(QexpError, match="each among themselves"):
        qexp.compare(ours, "mogi", workspace=workspace)

import csv
import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import xarray

from qexp.base.outputs import About, Estimated, Number, Output, TrainedRange
from qexp.errors import NotFoundError, QexpError
from qexp.kinds.rows.prediction import RowModel, map_title, targets
from qexp.rows.formats import require_columns
from tests.conftest import without_unit

LINES, SAMPLES = 12, 20
COUNT = LINES * SAMPLES


def estimate(features):
    """An estimate that tells which feature came where."""
    return {"tio2": Estimated(10 * features[:, 0] + features[:, 1], 0.1 * features[:, 0])}


MODEL = RowModel(
    features=["red", "blue"],
    ranges=np.array([[0.1, 0.8], [0.0, 0.9]]),
    outputs={"tio2": Number("tio2", "wt%")},
    estimate=estimate,
    origin={"run": "lunar_3"},
)

random = np.random.default_rng(1)
RED, BLUE = (random.uniform(0, 1, COUNT).astype(np.float32) for _ in range(2))
LINE, SAMPLE = (
    axis.ravel() for axis in np.meshgrid(np.arange(LINES), np.arange(SAMPLES), indexing="ij")
)
OUTSIDE = (np.abs(RED - 0.45) > 0.35).astype(int) + (np.abs(BLUE - 0.45) > 0.45)
SITES = [f"site {index % 7}" for index in range(COUNT)]
TABLE = pa.table(
    {"index": np.arange(COUNT), "blue": BLUE, "site": SITES, "height": 2 * BLUE, "red": RED}
)


@dataclass(frozen=True)
class Rock(Output):
    """Names in place of numbers, without limits, a trained range or a unit."""

    main, always, figure = "accuracy", ("accuracy",), "confusion"

    def written(self, values):
        names = np.array(["basalt", "tuff", None], dtype=object)
        return names[np.nan_to_num(values, nan=-1).astype(int)]

    def columns(self, truth, estimated, words):
        raise NotImplementedError

    def described(self, name, words):
        about = About("float32", "", "probability of basalt")
        return {name: About("string", "", words.estimate), f"{self.name}_basalt": about}

    def cells(self, name, estimated):
        return {name: self.written(estimated.middle), f"{self.name}_basalt": estimated.spread}

    def averaged(self, columns):
        raise NotImplementedError

    def read(self, columns):
        raise NotImplementedError


def write_csv(path, table=TABLE, **options):
    pa.csv.write_csv(table, path, pa.csv.WriteOptions(**options))


def write_grid(path, table=TABLE):
    """The same rows as a grid, one feature with its dimensions the other way round."""
    red, blue = (table[name].to_numpy().reshape(LINES, SAMPLES) for name in ("red", "blue"))
    arrays = {
        "red": (("line", "sample"), red),
        "blue": (("sample", "line"), blue.T),
        "solar": ((), 3.0),
    }
    xarray.Dataset(arrays, coords={"line": 100 + np.arange(LINES)}).to_netcdf(
        path, engine="h5netcdf"
    )


def write_list(path, table=TABLE):
    arrays = {name: ("pixel", table[name].to_numpy()) for name in table.column_names}
    xarray.Dataset(arrays).to_netcdf(path, engine="h5netcdf")


WRITERS = {
    "csv": write_csv,
    "parquet": lambda path: pa.parquet.write_table(TABLE, path, row_group_size=50),
    "nc": write_list,
}


def read(path):
    """Column → values, whatever the kind of file."""
    if path.suffix == ".nc":
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            return {str(name): data[name].values for name in data.variables}
    table = pa.csv.read_csv(path) if path.suffix == ".csv" else pa.parquet.read_table(path)
    return {without_unit(name): table[name].to_numpy() for name in table.column_names}


def rows_of(text, folder, ending="csv", model=MODEL, **options):
    """What is made of a CSV file with this text."""
    (folder / "rows.csv").write_text(text)
    prediction = model.predict(folder / "rows.csv", folder / f"made.{ending}", **options)
    return prediction, read(prediction.target)


@pytest.mark.heavy
@pytest.mark.parametrize("made", ["csv", "parquet", "nc"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_estimates_in_every_other_kind(tmp_path, kind, made):
    WRITERS[kind](tmp_path / f"rows.{kind}")
    prediction = MODEL.predict(tmp_path / f"rows.{kind}", tmp_path / f"made.{made}", chunk=7)
    columns = read(prediction.target)
    np.testing.assert_allclose(columns["tio2"], 10 * RED + BLUE, rtol=1e-6)
    np.testing.assert_allclose(columns["tio2_spread"], 0.1 * RED, rtol=1e-6)
    np.testing.assert_array_equal(columns["outside"], OUTSIDE)
    assert (prediction.rows, prediction.outside, prediction.missing) == (
        COUNT,
        (OUTSIDE > 0).sum(),
        0,
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_all_columns_that_are_not_features_are_kept_and_no_other(tmp_path, kind):
    WRITERS[kind](tmp_path / f"rows.{kind}")
    columns = read(MODEL.predict(tmp_path / f"rows.{kind}", tmp_path / f"made.{kind}").target)
    assert set(columns) == {"index", "site", "height", "tio2", "tio2_spread", "outside"}
    np.testing.assert_array_equal(columns["index"], np.arange(COUNT))
    np.testing.assert_allclose(columns["height"], 2 * BLUE, rtol=1e-6)
    assert list(columns["site"]) == SITES


@pytest.mark.heavy
def test_a_grid_stays_a_grid_with_its_coordinates_and_as_text_has_the_position_of_every_row(
    tmp_path,
):
    write_grid(tmp_path / "scene.nc")
    MODEL.predict(tmp_path / "scene.nc", tmp_path / "made.nc", chunk=3 * SAMPLES)
    with xarray.open_dataset(tmp_path / "made.nc", engine="h5netcdf") as made:
        assert dict(made.sizes) == {"line": LINES, "sample": SAMPLES}
        np.testing.assert_allclose(made["tio2"].values.ravel(), 10 * RED + BLUE, rtol=1e-6)
        np.testing.assert_array_equal(made["line"], 100 + np.arange(LINES))
        assert made["tio2"].attrs["units"] == "wt%"
        assert made.attrs["run"] == "lunar_3"

    columns = read(MODEL.predict(tmp_path / "scene.nc", tmp_path / "made.csv", chunk=10).target)
    np.testing.assert_array_equal(columns["line"], 100 + LINE)
    np.testing.assert_array_equal(columns["sample"], SAMPLE)
    np.testing.assert_allclose(columns["tio2"], 10 * RED + BLUE, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "features", "kept"),
    [
        # without names: an index, and the features in order
        ("7,0.2,0.5\n", ["red", "blue"], ["index"]),
        (",red,blue\n7,0.2,0.5\n", ["red", "blue"], ["index"]),
        ("749,414\n0.5,0.2\n", ["414", "749"], []),  # names that are numbers are names
    ],
)
def test_an_index_without_a_name_gets_one_and_features_without_names_are_taken_in_order(
    tmp_path, text, features, kept
):
    _, columns = rows_of(text, tmp_path, model=replace(MODEL, features=features))
    assert list(columns) == [*kept, "tio2", "tio2_spread", "outside"]
    np.testing.assert_allclose(columns["tio2"], [2.5])


def test_identifiers_keep_their_zeros_commas_and_empty_cells(tmp_path):
    rows_of('site,plot,red,blue\n007,"a,b",0.2,0.5\n8,,0.2,0.5\n', tmp_path)
    lines = (tmp_path / "made.csv").read_text().splitlines()
    assert [line.split(",2.5")[0] for line in lines[1:]] == ['"007","a,b"', '"8",""']


def test_a_row_with_a_missing_feature_has_no_estimate_and_is_counted(tmp_path):
    model = replace(MODEL, outputs={"tio2": Number("tio2", "wt%", trained=TrainedRange(0.0, 3.0))})
    prediction, columns = rows_of(
        "index,red,blue\n1,0.2,0.5\n2,,0.5\n3,nan,0.5\n4,0.3,0.5\n", tmp_path, model=model
    )
    assert prediction.missing == 2
    np.testing.assert_allclose(columns["tio2"], [2.5, np.nan, np.nan, 3.5])
    np.testing.assert_array_equal(columns["outside"], [0, 0, 0, 0])
    np.testing.assert_array_equal(columns["estimates_outside"], [0, 0, 0, 1])


def test_an_infinite_feature_is_said_to_be_one(tmp_path):
    prediction, _ = rows_of("red,blue\n0.2,0.5\n1e39,0.5\n,0.5\n", tmp_path)
    said = "2 without an estimate, because a feature is missing or one is infinite"
    assert said in prediction.remarks


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_codes_for_no_data_are_doubted_whatever_is_read_at_a_time(tmp_path, chunk):
    """Also where all rows of a chunk are codes, and where a record is read instead of the file."""
    rows, made = tmp_path / "rows.csv", tmp_path / "made.csv"
    text = "red,blue\n" + "-999,0.5\n" * 3 + "0.2,99\n0.3,inf\n0.4,\n-999,0.4\n"
    rows.write_text(text)
    where = f"{rows}: -999 stands in 'red', in up to 4 of 7 rows"
    said = f"{where}, far from all others: a code for no data? leave the cell empty"
    for _ in range(2):
        assert MODEL.predict(rows, made, chunk=chunk).warnings[0] == said
    rows_of(text.replace("-999", "0.1"), tmp_path, overwrite=True)
    assert "codes" not in json.loads((tmp_path / "made.csv.json").read_text())


def test_features_in_another_unit_than_those_of_training_are_warned_of(tmp_path):
    fields = [pa.field(name, pa.float32(), metadata={"unit": "%"}) for name in ("r", "blue")]
    table = pa.table([[0.2, 0.3], [0.4, 0.5]], schema=pa.schema(fields))
    pa.parquet.write_table(table, tmp_path / "rows.parquet")
    model = replace(MODEL, taken_units=["1", "%"], columns={"red": "r"})
    prediction = model.predict(tmp_path / "rows.parquet", tmp_path / "made.csv")
    assert list(prediction.warnings) == [
        f"{tmp_path / 'rows.parquet'}: 'r': in %, but taken to be in 1; convert the values, or"
        " correct a unit"
    ]


def test_values_at_the_ends_of_the_training_range_are_inside(tmp_path):
    """0.1 and 0.8 have no exact binary form: what is compared is rounded alike."""
    _, columns = rows_of("red,blue\n0.1,0\n0.8,0.9\n0.0999,0.9001\n", tmp_path)
    np.testing.assert_array_equal(columns["outside"], [0, 0, 2])


@pytest.mark.parametrize("title", ["tio2", "tio2 (wt%)"])
def test_a_measured_column_of_the_file_stands_beside_the_estimates(tmp_path, title):
    (tmp_path / "rows.csv").write_text(f"red,blue,{title}\n0.2,0.5,3.25\n0.3,0.6,\n")
    made = MODEL.predict(tmp_path / "rows.csv", tmp_path / "made.csv")
    with (tmp_path / "made.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row[f"{title}_given"] for row in rows] == ["3.25", ""]
    assert all(float(row["tio2"] if "tio2" in row else row["tio2 (wt%)"]) for row in rows)
    assert any(f"the file's own '{title}' is '{title}_given'" in remark for remark in made.remarks)


def test_progress_counts_all_rows_and_ends_with_the_whole_file(tmp_path):
    WRITERS["parquet"](tmp_path / "rows.parquet")
    told = []
    MODEL.predict(
        tmp_path / "rows.parquet",
        tmp_path / "made.csv",
        chunk=24,
        progress=lambda *now: told.append(now),
    )
    assert told == sorted(told)
    assert told[-1] == (COUNT, 1.0)
    assert len(told) == COUNT // 24


WRONG = {
    "index,red,blue\n1,0.2,0.5\n2,many,0.5\n": "row 3, column 'red': 'many' is not a number",
    "1,0.2\n": (
        "2 columns without names; without a header there must be 3: an index, then red, blue"
    ),
    "index,red1,blue1\n1,0.2,0.5\n": 'if so, say it: columns={"red": "red1", "blue": "blue1"}',
    "index,red,blue,outside\n1,0.2,0.5,3\n": (
        "has a column 'outside', which is also a column of the estimates"
    ),
    "index,red,blue,tio2,tio2_given\n1,0.2,0.5,3,4\n": "has a column 'tio2'",
    "index,red,blue\n" + "1,0.2,0.5\n" * 40_000 + "x,0.2,0.5\n": (
        "row 40002, column 'index': 'x' is not a number"
    ),
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_with_its_place_and_leaves_nothing_behind(tmp_path, text):
    with pytest.raises(QexpError) as raised:
        rows_of(text, tmp_path)
    assert WRONG[text] in str(raised.value)
    assert "rows.csv" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_text_in_a_number_column_of_a_typed_file_is_refused(tmp_path):
    pa.parquet.write_table(pa.table({"red": ["a"], "blue": [0.5]}), tmp_path / "rows.parquet")
    with pytest.raises(QexpError, match="column 'red': its type is string; save it as numbers"):
        MODEL.predict(tmp_path / "rows.parquet", tmp_path / "made.csv")


def test_features_of_different_shape_are_refused(tmp_path):
    shapes = {"red": ("pixel", RED), "blue": (("line", "sample"), BLUE.reshape(LINES, SAMPLES))}
    xarray.Dataset(shapes).to_netcdf(tmp_path / "rows.nc", engine="h5netcdf")
    with pytest.raises(QexpError, match=r"variable 'blue': it lies along line × sample"):
        MODEL.predict(tmp_path / "rows.nc", tmp_path / "made.nc")


@pytest.mark.parametrize("ending", ["parquet", "nc"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, ending):
    (tmp_path / f"rows.{ending}").write_text("red,blue\n1,2\n")
    with pytest.raises(QexpError, match=f"rows.{ending} cannot be read as"):
        MODEL.predict(tmp_path / f"rows.{ending}", tmp_path / "made.csv")


def test_the_record_tells_run_rows_and_units(tmp_path):
    rows_of("red,blue\n0.2,0.5\n0.9,0.5\n", tmp_path)
    record = json.loads((tmp_path / "made.csv.json").read_text())
    assert record["origin"] == {"run": "lunar_3"}
    assert (record["rows"], record["outside"], record["missing"]) == (2, 1, 0)
    assert record["units"] == {"tio2": "wt%"}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files")
def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(tmp_path):
    (tmp_path / "rows.csv").write_text("red,blue\n0.2,0.5\n")

    def never(features):
        raise AssertionError("computed")

    for target in ("/proc/made.csv", tmp_path / "rows.csv" / "made.csv"):
        with pytest.raises(QexpError, match="cannot write"):
            replace(MODEL, estimate=never).predict(tmp_path / "rows.csv", type(tmp_path)(target))


@pytest.mark.heavy
def test_rows_with_positions_make_a_map_and_others_none(tmp_path):
    write_csv(
        tmp_path / "rows.csv", TABLE.append_column("line", [LINE]).append_column("sample", [SAMPLE])
    )
    made = MODEL.predict(tmp_path / "rows.csv", tmp_path / "made.csv").map
    assert made == tmp_path / "made.png"
    assert made.read_bytes().startswith(b"\x89PNG")
    write_csv(tmp_path / "plain.csv")
    assert MODEL.predict(tmp_path / "plain.csv", tmp_path / "no_map.csv").map is None


def test_the_title_of_a_map_has_file_run_and_caution_and_not_the_digest():
    origin = {"run": "lunar_3", "digest": 64 * "0", "caution": "selected on the test data"}
    assert map_title("scene.nc", origin) == "scene.nc · lunar_3 · selected on the test data"
    assert map_title("scene.nc", {**origin, "caution": ""}) == "scene.nc · lunar_3"


def test_a_folder_is_read_file_by_file_into_files_of_the_same_name(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    for name in ("b.csv", "a.parquet", "notes.txt", ".hidden.csv"):
        (folder / name).touch()
    made = tmp_path / "made"
    assert targets(folder, made) == [
        (folder / "a.parquet", made / "a.parquet"),
        (folder / "b.csv", made / "b.csv"),
    ]
    assert targets(folder / "b.csv", tmp_path) == [(folder / "b.csv", tmp_path / "b.csv")]


def test_files_that_cannot_be_paired_are_refused(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    with pytest.raises(QexpError, match=r"no file in it ends in \.csv, \.parquet, \.nc"):
        targets(folder, tmp_path / "made")
    (folder / "a.csv").touch()
    with pytest.raises(QexpError, match="over what is read"):
        targets(folder, folder)
    with pytest.raises(QexpError, match="over what is read"):
        targets(folder, folder / "a.csv")
    (tmp_path / "made.txt").touch()
    with pytest.raises(QexpError, match="is a file, but"):
        targets(folder, tmp_path / "made.txt")
    with pytest.raises(QexpError, match=r"a table must end in"):
        targets(folder / "a.csv", tmp_path / "made.xlsx")
    with pytest.raises(NotFoundError, match="no such file or folder"):
        targets(folder / "b.csv", tmp_path / "made.csv")
    (folder / "a.nc").touch()
    with pytest.raises(
        QexpError, match=r"a\.csv and .*a\.nc would both be written|a\.nc and .*a\.csv would both"
    ):
        targets(folder, tmp_path / "made")


OTHER_NAMES = "pixel,B1,haze,R1\n7,0.5,0.9,0.25\n8,0.125,0.9,0.5\n"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (OTHER_NAMES, {"red": "R1", "blue": "B1"}),
        (OTHER_NAMES, [4, 2]),
        (OTHER_NAMES.replace("R1", "red"), {"blue": "B1"}),
        (OTHER_NAMES.replace("pixel,B1,haze,R1", "1,414,0,749"), {"red": "749", "blue": "414"}),
        (OTHER_NAMES.partition("\n")[2], [4, 2]),
    ],
)
def test_columns_of_other_names_are_read_by_name_or_by_position(tmp_path, text, columns):
    prediction, made = rows_of(text, tmp_path, model=replace(MODEL, columns=columns))
    assert made["tio2"].tolist() == pytest.approx([10 * 0.25 + 0.5, 10 * 0.5 + 0.125])
    assert prediction.rows == 2
    kept = [name for name in made if name not in ("tio2", "tio2_spread", "outside")]
    assert [made[name].tolist() for name in kept] == [[7, 8], [0.9, 0.9]]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"red": "R2"}, "has no column 'R2'; known: B1, R1, haze, pixel"),
        ([4, 5], "has 4 columns, and no column 5"),
        ({"rot": "R1"}, "the run has no column 'rot'; known: blue, red"),
        ({"red": "B1", "blue": "B1"}, "column 'B1' of the file is given to 'red' and 'blue'"),
        ({"red": "blue"}, "column 'blue' of the file is given to 'red' and 'blue'"),
        ([2], "1 positions, but the run has 2 columns of input: red, blue"),
        ([2, 2], "column 2 of the file is given to 'red' and 'blue'"),
        ([0, 1], "there is no column 0; the first one is 1"),
    ],
)
def test_columns_that_do_not_fit_the_run_or_the_file_are_named(tmp_path, columns, said):
    def predict():
        require_columns(columns, MODEL.features)
        rows_of(OTHER_NAMES, tmp_path, model=replace(MODEL, columns=columns))

    with pytest.raises(QexpError, match=said):
        predict()


def test_estimates_from_other_columns_are_not_taken_for_the_same(tmp_path):
    first, _ = rows_of(
        OTHER_NAMES, tmp_path, model=replace(MODEL, columns={"red": "R1", "blue": "B1"})
    )
    assert not replace(MODEL, columns=[4, 2]).predict(first.source, first.target).made
    with pytest.raises(QexpError, match="exists already, and was made from other columns"):
        replace(MODEL, columns={"red": "R1", "blue": "haze"}).predict(first.source, first.target)


def test_an_output_that_is_no_number_has_columns_of_its_own_type_beside_those_of_numbers(tmp_path):
    def estimate(features):
        numbers = Estimated(10 * features[:, 0], 0.1 * features[:, 0])
        return {"rock": Estimated(np.round(features[:, 1]), features[:, 0]), "tio2": numbers}

    iron = Number("tio2", "wt%", trained=TrainedRange(0.0, 3.0))
    model = replace(MODEL, outputs={"rock": Rock("rock"), "tio2": iron}, estimate=estimate)
    table = pa.table({"red": [0.2, 0.4, None], "blue": [0.1, 0.8, 0.5]})
    write_csv(tmp_path / "new.csv", table)
    for ending in ("csv", "parquet", "nc"):
        made = model.predict(tmp_path / "new.csv", tmp_path / f"made.{ending}")
        assert made.counts["missing"] == 1
    read = pa.parquet.read_table(tmp_path / "made.parquet")
    assert read.column_names[:4] == ["rock", "rock_basalt", "tio2", "tio2_spread"]
    assert read["rock"].to_pylist() == ["basalt", "tuff", None]
    assert read["estimates_outside"].to_pylist() == [0, 1, 0]
    with xarray.open_dataset(tmp_path / "made.nc", engine="h5netcdf") as netcdf:
        assert netcdf["rock"].values.tolist() == ["basalt", "tuff", ""]
        assert netcdf["rock"].attrs["long_name"] == "ensemble mean"

import io

import numpy as np
import pyarrow
import pytest
import torch
import xarray
from pyarrow import csv, parquet

from qexp.errors import DatasetError
from qexp.kinds.files import find_data_file
from qexp.kinds.rows.dataset import TabularDataset
from qexp.rows.table import TableError
from qexp.spec.kinds import filled_in

ROWS = """Site,M415,M750,inc,TiO2
Apollo12-1,0.041,0.072,1.3,3.35
Apollo12-2,0.039,0.070,1.4,3.5
Luna16,0.030,0.051,1.2,3.3
"Luna 20, B",0.063,0.113,1.1,0.5
"""
DOCUMENT = {
    "type": "tabular",
    "inputs": {"reflectance": ["M415", "M750"], "angles": ["inc"]},
    "outputs": {"tio2": ["TiO2"]},
    "identifiers": ["Site"],
}


@pytest.fixture
def open_rows(tmp_path):
    def open_rows(content=ROWS, name="rows.csv", **arguments):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return TabularDataset(path, filled_in({**DOCUMENT, **arguments}))

    return open_rows


@pytest.fixture
def refused(open_rows):
    """What is wrong, each with the argument that it is about."""

    def refused(content=ROWS, **arguments):
        with pytest.raises(DatasetError) as error:
            open_rows(content, **arguments)
        return error.value.findings

    return refused


def test_variables_are_columns_in_the_order_asked_for_whatever_their_order_in_the_file(open_rows):
    dataset = open_rows(inputs={"reflectance": ["M750", "M415"]})
    assert dataset.values["reflectance"].tolist()[0] == [0.072, 0.041]
    assert dataset.shapes() == {"reflectance": (2,), "tio2": (1,)}
    assert dataset.columns["reflectance"] == ("M750", "M415")


def test_samples_of_some_rows_are_single_precision_tensors(open_rows):
    samples = open_rows().samples(np.array([2, 0]), torch.device("cpu"))
    torch.testing.assert_close(samples["tio2"], torch.tensor([[3.3], [3.35]]))
    assert samples["reflectance"].shape == (2, 2)


def test_identifiers_and_any_column_of_the_file_can_be_had_as_texts(open_rows):
    dataset = open_rows()
    assert dataset.identifiers["Site"].tolist() == [
        "Apollo12-1",
        "Apollo12-2",
        "Luna16",
        "Luna 20, B",
    ]
    assert dataset.column("inc").tolist() == ["1.3", "1.4", "1.2", "1.1"]
    with pytest.raises(TableError, match="did you mean 'M750'"):
        dataset.column("M755")


def test_units_of_all_variables_are_known_and_empty_where_none_was_given(open_rows):
    assert open_rows(units={"tio2": "wt%"}).units == {
        "reflectance": "",
        "angles": "",
        "tio2": "wt%",
    }


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"^\D+\d+", ["Apollo12", "Apollo12", "Luna16", "Luna 20"]),
        (r"(Apollo|Luna) ?\d+", ["Apollo", "Apollo", "Luna", "Luna"]),
        (None, ["Apollo12-1", "Apollo12-2", "Luna16", "Luna 20, B"]),
    ],
)
def test_a_group_is_a_column_or_what_a_pattern_finds_in_it(open_rows, pattern, groups):
    assert (
        open_rows(groups={"mission": {"column": "Site", "pattern": pattern}})
        .column("mission")
        .tolist()
        == groups
    )


def write_netcdf(table, path):
    arrays = {name: ("row", table[name].to_numpy()) for name in table.column_names}
    xarray.Dataset(arrays).to_netcdf(path, engine="h5netcdf")


@pytest.mark.parametrize(
    ("ending", "write"), [("parquet", parquet.write_table), ("nc", write_netcdf)]
)
def test_every_format_says_the_same_as_csv(open_rows, tmp_path, ending, write):
    expected, path = open_rows(), tmp_path / f"rows.{ending}"
    write(csv.read_csv(expected.path), path)
    result = TabularDataset(path, filled_in(DOCUMENT))
    assert all((result.values[name] == expected.values[name]).all() for name in expected.values)
    assert result.identifiers["Site"].tolist() == expected.identifiers["Site"].tolist()
    assert result.column("inc").tolist() == ["1.3", "1.4", "1.2", "1.1"]


@pytest.mark.slow
def test_rows_are_the_cells_of_a_grid_and_its_coordinates_and_texts_along_it_are_columns(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    grid = xarray.Dataset(
        {"red": (("y", "x"), values), "iron": (("x", "y"), -values.T), "time": ("t", [0, 1])},
        {"y": ["a", "b"], "x": [10, 20, 30], "part": ("x", [1, 1, np.nan])},
    )
    grid["red"][0, 1] = np.nan
    grid.to_netcdf(tmp_path / "grid.nc", engine="h5netcdf")
    variables = {"inputs": {"red": ["red"]}, "outputs": {"iron": ["iron"]}, "missing": "drop"}
    document = {"type": "tabular", **variables, "groups": {"line": {"column": "y"}}}
    dataset = TabularDataset(tmp_path / "grid.nc", filled_in(document))
    assert dataset.values["iron"].tolist() == [[0], [-2], [-3], [-4], [-5]]
    assert dataset.column("line").tolist() == ["a", "a", "b", "b", "b"]
    assert dataset.column("x").tolist() == ["10", "30", "10", "20", "30"]
    assert dataset.column("red").tolist() == ["0.0", "2.0", "3.0", "4.0", "5.0"]
    assert dataset.column("part").tolist() == ["1.0", "", "1.0", "1.0", ""]
    with pytest.raises(TableError, match=r"'time' lies along t, and rows along y × x$"):
        dataset.column("time")


def test_a_column_that_groups_rows_has_gaps_as_a_number_has(open_rows):
    groups = {"angle": {"column": "inc"}}
    dataset = open_rows(ROWS.replace("1.3,", "NA,"), missing="drop", groups=groups)
    assert dataset.column("angle").tolist() == ["1.4", "1.2", "1.1"]


def test_columns_in_another_unit_than_the_dataset_gives_them_are_warned_of(tmp_path):
    table = csv.read_csv(io.BytesIO(ROWS.encode()))
    units = {"M415": "m", "M750": "metres", "inc": "deg", "TiO2": "ppm"}
    fields = [field.with_metadata({"unit": units.get(field.name, "")}) for field in table.schema]
    parquet.write_table(table.cast(pyarrow.schema(fields)), tmp_path / "rows.parquet")
    given = {"reflectance": "km", "angles": "degrees", "tio2": "wt%"}
    document = filled_in({**DOCUMENT, "units": given})
    assert TabularDataset(tmp_path / "rows.parquet", document).warnings == [
        f"{names}, but taken to be in {taken}; convert the values, or correct a unit"
        for names, taken in [
            ("'M415': in m", "km"), ("'M750': in metres", "km"), ("'TiO2': in ppm", "wt%"),
        ]
    ]  # fmt: skip
    document["units"] = {}
    assert TabularDataset(tmp_path / "rows.parquet", filled_in(document)).warnings == []


def test_what_stands_in_columns_that_are_not_asked_for_does_not_matter(open_rows):
    assert open_rows(ROWS.replace("1.3", "n.d."), inputs={"reflectance": ["M415"]}).shapes()[
        "reflectance"
    ] == (1,)


def test_a_missing_value_is_an_error_that_names_row_and_column(refused):
    ((where, message),) = refused(ROWS.replace("0.070", "").replace("3.3\n", "NaN\n"))
    assert where == ("missing",)
    assert "column 'M750' in row 3" in message
    assert "column 'TiO2' in row 4" in message
    assert '"missing": "drop"' in message


def test_rows_with_missing_values_can_be_dropped_and_are_counted(open_rows):
    groups = {"mission": {"column": "Site", "pattern": r"^\D+\d+"}}
    dataset = open_rows(ROWS.replace("0.070", ""), missing="drop", groups=groups)
    assert len(dataset) == 3
    assert dataset.column("mission").tolist() == ["Apollo12", "Luna16", "Luna 20"]
    assert dataset.column("inc").tolist() == ["1.3", "1.2", "1.1"]
    assert dataset.row_numbers([0, 1, 2]) == [2, 4, 5]
    (warning,) = dataset.warnings
    assert "1 of 4 rows is left out, because it has no value" in warning
    assert "column 'M750' in row 3" in warning


def test_gaps_in_inputs_stay_to_be_filled_in_and_are_counted_and_rows_without_output_or_any_input_are_left_out(
    open_rows,
):
    content = (
        ROWS.replace("0.070", "").replace("0.030,0.051,1.2", "n/a,,<NA>").replace("1.1,0.5", "1.1,")
    )
    dataset = open_rows(content, missing={"type": "mean", "parameters": {"indicator": "gaps"}})
    assert dataset.row_numbers([0, 1]) == [2, 3]
    assert np.isnan(dataset.values["reflectance"]).tolist() == [[False, False], [False, True]]
    assert dataset.left_out == 2
    assert dataset.shapes() == {"reflectance": (2,), "angles": (1,), "tio2": (1,), "gaps": (3,)}
    assert [(one.least, one.greatest) for one in dataset.ranges(["reflectance"])] == [
        (0.039, 0.041),
        (0.072, 0.072),
    ]
    said = "\n".join(dataset.warnings)
    assert "2 of 4 rows are left out, because they have no value for column 'M415' in row 4" in said
    assert (
        "1 gaps in 1 of 2 rows are filled in by the mean of the training rows: column 'M750' in"
        " row 3" in said
    )


def test_codes_and_copies_of_the_output_are_found_beside_gaps(open_rows):
    first = [1.5, 2.5, -999, 2.25, 1.75, "", 2.0, 1.25, 1.0]
    lines = [
        f"s{row},{first[row]},{row % 3},{'' if row == 4 else row**2},{row**2}" for row in range(9)
    ]
    content = "\n".join(["Site,M415,M750,inc,TiO2", *lines])
    said = "\n".join(open_rows(content, missing="median").warnings)
    assert "column 'M415' of 'reflectance' is -999" in said
    assert "'inc' is the output 'TiO2', which a network learns to copy" in said


def test_infinite_and_huge_numbers_are_refused(refused):
    ((_, message),) = refused(ROWS.replace("0.039", "1e39").replace("0.030", "-inf"))
    assert "column 'M415', rows 3, 4: the number is too large" in message


def test_columns_that_are_not_there_and_groups_that_cannot_be_are_all_reported_at_their_places(
    refused,
):
    groups = {
        "g": {"column": "Sight"},
        "a": {"column": "Site", "pattern": "(Apollo"},
        "inc": {"column": "Site"},
    }
    result = refused(inputs={"reflectance": ["M451", "M750"]}, identifiers=["site"], groups=groups)
    assert [where for where, _ in result] == [
        ("inputs", "reflectance", 0),
        ("identifiers", 0),
        ("groups", "g", "column"),
        ("groups", "a", "pattern"),
        ("groups", "inc"),
    ]
    assert "did you mean 'M415'" in result[0][1]
    assert "did you mean 'Site'" in result[1][1]


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.csv.zip"])
def test_files_of_other_kinds_are_refused_by_their_names(open_rows, name):
    with pytest.raises(DatasetError, match=r"must end in \.csv, \.parquet, \.nc$"):
        open_rows(name=name)


def test_a_file_without_names_of_columns_is_said_to_be_one(refused):
    result = refused("1,0.041,0.072,1.3,3.35\n2,0.039,0.07,1.4,3.5\n", identifiers=[])
    assert len(result) == 4
    assert all("its first line has numbers and no names" in message for _, message in result)


def test_a_group_that_some_rows_are_not_in_is_refused_with_their_values(refused):
    ((where, message),) = refused(groups={"mission": {"column": "Site", "pattern": r"Apollo\d+"}})
    assert where == ("groups", "mission", "pattern")
    assert "values 'Luna16', 'Luna 20, B' of 'Site'" in message


def test_repeated_identifiers_are_warned_of(open_rows):
    (warning,) = open_rows(ROWS.replace("Apollo12-2", "Apollo12-1")).warnings
    assert "'Apollo12-1'" in warning
    assert "group_k_fold" in warning


CODE = 'far from all others: a code for no data? leave the cell empty, with "missing": "drop"'
ALIKE = "of 'site' differ in upper and lower case or spaces alone: are they one?"
DOUBTFUL = {
    "a code in a column": (
        {",3.5\n": ",-9999\n"},
        f"column 'TiO2' of 'tio2' is -9999 in row 3, {CODE}",
    ),
    "a code in two rows": (
        {",3.35": ",1e20", ",3.5\n": ",1e20\n"},
        f"'TiO2' of 'tio2' is 1e+20 in rows 2, 3, {CODE}",
    ),
    "a code with decimals": (
        {",3.5\n": ",-999.99\n"},
        f"column 'TiO2' of 'tio2' is -999.99 in row 3, {CODE}",
    ),
    "a number of others": ({",3.5\n": ",9999\n", ",3.3\n": ",9000\n"}, None),
    "groups": (
        {"Luna16": "apollo12-2", "Apollo12-1": "Apollo 12-2"},
        "groups 'Apollo 12-2' and 'Apollo12-2' and 'apollo12-2' " + ALIKE,
    ),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_codes_for_no_data_and_groups_that_are_spelt_in_two_ways_are_warned_of(open_rows, case):
    changes, warning = DOUBTFUL[case]
    text = ROWS
    for old, new in changes.items():
        text = text.replace(old, new)
    warnings = open_rows(text, groups={"site": {"column": "Site"}}, identifiers=[]).warnings
    assert len(warnings) == (warning is not None)
    assert all(made.endswith(warning or "") for made in warnings)


def test_the_fingerprint_is_that_of_the_content_and_another_content_is_refused(open_rows, tmp_path):
    first = open_rows()
    assert open_rows(name="copy.csv").fingerprint == first.fingerprint
    other = ROWS.replace("3.35", "3.36")
    assert open_rows(other, name="other.csv").fingerprint != first.fingerprint
    with pytest.raises(DatasetError, match="has changed: its SHA-256 is now"):
        open_rows(other, fingerprint=first.fingerprint)


def test_a_file_is_looked_for_in_folder_after_folder(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder / "lunar").mkdir(parents=True)
    path = tmp_path / "second" / "lunar" / "rows.csv"
    path.write_text(ROWS)
    folders = [tmp_path / "first", tmp_path / "second"]
    assert find_data_file("lunar/rows.csv", folders) == path
    assert find_data_file(str(path), []) == path
    with pytest.raises(TableError) as error:
        find_data_file("lunar/row.csv", folders)
    assert "did you mean 'rows.csv'" in str(error.value)
    assert str(tmp_path / "first" / "lunar" / "row.csv") in str(error.value)
    assert "QEXP_DATA" in str(error.value)


def test_the_nearest_name_of_all_places_is_the_one_that_was_meant(tmp_path):
    for name in ("own/stand_in_TiO2.csv", "shared/data_Kaguya_TiO2.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(TableError, match="did you mean 'data_Kaguya_TiO2\\.csv'"):
        find_data_file(
            "data_Kaguya_TiO.csv", [tmp_path / "own", tmp_path / "shared", tmp_path / "nowhere"]
        )

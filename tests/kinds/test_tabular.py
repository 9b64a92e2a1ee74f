import os
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from qexp.errors import DatasetError
from qexp.kinds.files import find_data_file
from qexp.kinds.rows.dataset import TabularDataset
from qexp.rows.formats import open_table
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
    assert dataset.identifiers["Site"].tolist() == ["Apollo12-1", "Apollo12-2", "Luna16", "Luna 20, B"]
    assert dataset.column("inc").tolist() == ["1.3", "1.4", "1.2", "1.1"]
    with pytest.raises(TableError, match="did you mean 'M750'"):
        dataset.column("M755")


def test_units_of_all_variables_are_known_and_empty_where_none_was_given(open_rows):
    assert open_rows(units={"tio2": "wt%"}).units == {"reflectance": "", "angles": "", "tio2": "wt%"}


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"^\D+\d+", ["Apollo12", "Apollo12", "Luna16", "Luna 20"]),
        (r"(Apollo|Luna) ?\d+", ["Apollo", "Apollo", "Luna", "Luna"]),
        (None, ["Apollo12-1", "Apollo12-2", "Luna16", "Luna 20, B"]),
    ],
)
def test_a_group_is_a_column_or_what_a_pattern_finds_in_it(open_rows, pattern, groups):
    assert open_rows(groups={"mission": {"column": "Site", "pattern": pattern}}).column("mission").tolist() == groups


@pytest.mark.parametrize(
    "content",
    [
        ROWS.encode("utf-8-sig"),
        ROWS.replace("\n", "\r\n").encode(),
        ROWS.replace("\n", "\n\n").encode(),
        ROWS.replace(",", ", ").replace("Site, ", "Site,").replace(", M", ",M").replace(", inc, T", ",inc,T").encode(),
        ROWS.rstrip().encode(),
    ],
    ids=["byte order mark", "CRLF", "blank lines", "spaces", "no last newline"],
)
def test_files_as_other_programs_write_them_say_the_same(open_rows, content):
    expected = open_rows()
    result = open_rows(content, name="other.csv")
    for name, values in expected.values.items():
        assert (result.values[name] == values).all()
    assert result.identifiers["Site"].tolist()[:3] == expected.identifiers["Site"].tolist()[:3]


def test_parquet_says_the_same_as_csv(open_rows, tmp_path):
    expected = open_rows()
    columns = {name: expected.column(name).tolist() for name in ["Site"]}
    columns |= {"number": [1, 2, 3, 4], "M415": None, "M750": None, "inc": None, "TiO2": None}
    for variable, names in expected.columns.items():
        columns |= dict(zip(names, expected.values[variable].T.tolist(), strict=True))
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    result = TabularDataset(path, filled_in(DOCUMENT))
    assert all((result.values[name] == expected.values[name]).all() for name in expected.values)
    assert result.identifiers["Site"].tolist() == expected.identifiers["Site"].tolist()
    assert result.column("number").tolist() == ["1", "2", "3", "4"]
    with pytest.raises(DatasetError, match="column 'Site': its type is string; save it as numbers"):
        TabularDataset(path, filled_in({"type": "tabular", "inputs": {"site": ["Site"]}, "outputs": {}}))


def test_what_stands_in_columns_that_are_not_asked_for_does_not_matter(open_rows):
    assert open_rows(ROWS.replace("1.3", "n.d."), inputs={"reflectance": ["M415"]}).shapes()["reflectance"] == (1,)


def test_a_missing_value_is_an_error_that_names_row_and_column(refused):
    content = ROWS.replace("0.070", "").replace("3.3\n", "NaN\n")
    ((where, message),) = refused(content)
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
    assert "1 of 4 rows are left out" in warning
    assert "column 'M750' in row 3" in warning


@pytest.mark.parametrize(
    ("number", "text", "place"),
    [
        ("0.039", "high", "row 4, column 'M415': 'high' is not a number"),
        ("3.3\n", '"3,3"\n', "row 5, column 'TiO2': '3,3' is not a number (write it with a point)"),
    ],
)
def test_text_among_numbers_is_named_by_row_and_column(refused, number, text, place):
    ((_, message),) = refused("\n" + ROWS.replace(number, text))
    assert place in message


def test_a_row_is_counted_as_the_file_is_numbered_in_an_editor(refused):
    content = ROWS.replace('"Luna 20, B"', '"Luna\n20"').replace("0.113", "x")
    ((_, message),) = refused(content)
    assert "row 6, column 'M750'" in message


def test_infinite_and_huge_numbers_are_refused(refused):
    ((_, message),) = refused(ROWS.replace("0.039", "1e39").replace("0.030", "-inf"))
    assert "column 'M415', rows 3, 4: the number is too large" in message


def test_columns_that_are_not_there_are_all_reported_with_near_names_and_places(refused):
    result = refused(inputs={"reflectance": ["M451", "M750"]}, identifiers=["site"], groups={"g": {"column": "Sight"}})
    assert [where for where, _ in result] == [
        ("inputs", "reflectance", 0),
        ("identifiers", 0),
        ("groups", "g", "column"),
    ]
    assert "did you mean 'M415'" in result[0][1]
    assert "did you mean 'Site'" in result[1][1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("\n\n", "only blank lines"),
        (ROWS.splitlines()[0] + "\n", "column names and no rows"),
        (ROWS.replace(",", ";"), "separated by semicolons; save it with commas"),
        (ROWS.replace(",", "\t"), "separated by tabs"),
        (ROWS.encode("utf-16"), "is not UTF-8 text"),
        (ROWS.replace("Luna16", "Chang’E 5").encode("cp1252"), "is not UTF-8 text"),
        (
            ROWS.replace('"Luna 20, B"', "Luna 20, B"),
            "row 5: 6 cells, but there are 5 columns; quote texts",
        ),
        (ROWS.replace("M750", "M415"), "has 2 columns called 'M415'; rename all but one"),
        (
            ROWS.replace("Luna16", '"Luna16'),
            "row 4: text follows a closing quotation mark",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_what_would_work(refused, content, words):
    assert words in "\n".join(message for _, message in refused(content))


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.csv.zip"])
def test_files_of_other_kinds_are_refused_by_their_names(open_rows, name):
    with pytest.raises(DatasetError, match=r"must end in \.csv, \.parquet$"):
        open_rows(name=name)


def test_what_is_no_parquet_inside_is_refused(open_rows):
    with pytest.raises(DatasetError, match="cannot be read"):
        open_rows(name="rows.parquet")


def test_a_group_that_some_rows_are_not_in_is_refused_with_their_values(refused):
    ((where, message),) = refused(groups={"mission": {"column": "Site", "pattern": r"Apollo\d+"}})
    assert where == ("groups", "mission", "pattern")
    assert "values 'Luna16', 'Luna 20, B' of 'Site'" in message


def test_a_pattern_that_is_none_and_a_group_named_like_another_column_are_refused(refused):
    result = refused(groups={"a": {"column": "Site", "pattern": "(Apollo"}, "inc": {"column": "Site"}})
    assert [where for where, _ in result] == [("groups", "a", "pattern"), ("groups", "inc")]


def test_repeated_identifiers_are_warned_of(open_rows):
    (warning,) = open_rows(ROWS.replace("Apollo12-2", "Apollo12-1")).warnings
    assert "'Apollo12-1'" in warning
    assert "group_k_fold" in warning


def test_a_constant_column_is_warned_of_by_name(open_rows):
    content = "Site,M415,M750,inc,TiO2\na,1,2,30,3\nb,2,3,30,4\n"
    assert open_rows(content).warnings == [
        "column 'inc' of 'angles' is 30 in all 2 rows: it has no information for a network"
    ]


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
        find_data_file("data_Kaguya_TiO.csv", [tmp_path / "own", tmp_path / "shared", tmp_path / "nowhere"])


REAL = Path(os.environ.get("QEXP_DATA", "").split(os.pathsep)[0]) / "lunar" / "data_Kaguya_TiO2.csv"


@pytest.mark.skipif(not REAL.is_file(), reason="QEXP_DATA names no folder with lunar/data_Kaguya_TiO2.csv")
def test_the_returned_samples_of_the_moon_are_read_and_grouped_by_mission():
    bands = [f"{wavelength}nm" for wavelength in (414, 749, 901, 950, 1001, 1049, 1248, 1548)]
    document = {
        "type": "tabular",
        "inputs": {"reflectance": bands, "angles": ["ThetaFe", "ThetaTi"]},
        "outputs": {"tio2": ["TiO2"]},
        "identifiers": ["Site"],
        "groups": {"mission": {"column": "Site", "pattern": r"^\D+\d+"}},
    }
    dataset = TabularDataset(REAL, filled_in(document))
    assert len(dataset) == 55
    assert dataset.warnings == []
    assert set(open_table(REAL).names) == {"Site", "TiO2", "ThetaFe", "ThetaTi", *bands}
    names, counts = np.unique(dataset.column("mission"), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True))["Apollo17"] == 21
    assert len(names) == 9

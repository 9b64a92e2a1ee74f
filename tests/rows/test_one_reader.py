"""Training and `predict` read the same file alike: the same values, or the same error."""

import re
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pytest
import xarray
from pyarrow import parquet

from qexp.base.machine import threads
from qexp.base.outputs import Estimated, Number
from qexp.errors import QexpError
from qexp.kinds.rows.dataset import TabularDataset
from qexp.kinds.rows.prediction import RowModel
from qexp.kinds.spectra.dataset import SpectraDataset
from qexp.kinds.spectra.prediction import SpectrumModel
from qexp.kinds.spectra.sources import SpectrumLayout
from qexp.rows.array_cache import VARIABLE
from qexp.spec.kinds import filled_in

FEATURES = ["red", "green, dark", "blue"]
MISSING = [
    "",
    "NA",
    "N/A",
    "#N/A",
    "NaN",
    "nan",
    "NAN",
    "-nan",
    "null",
    "NULL",
    "None",
    " NA ",
    "  ",
    "Nan",
    "nan(ind)",
]
NUMBERS = [
    "1",
    "-2",
    "+3",
    "0",
    "-0.0",
    "007",
    ".5",
    "5.",
    "1e3",
    "1E-3",
    "+1e+2",
    " 7 ",
    "0.1",
    "123456789",
    "3.4028234e38",
    "1e-50",
    "9007199254740993",
    "1.00000005960464480001",
    "0.333333333333333314829616256247",
]
TEXTS = ["007", "a,b", "", "None", "5 in", 'a ""quoted"" word', "line\nbreak", "µ"]


def trained(path: Path) -> np.ndarray:
    """What a network is trained on: rows in which nothing is missing."""
    variables = {"inputs": {"colour": FEATURES}, "outputs": {"iron": ["iron"]}}
    document = {"type": "tabular", **variables, "identifiers": ["site"], "missing": "drop"}
    dataset = TabularDataset(path, filled_in(document))
    return dataset.samples(np.arange(len(dataset)), "cpu")["colour"].numpy()


def row_model(estimate, **changes) -> RowModel:
    return RowModel(
        features=FEATURES,
        ranges=np.zeros((3, 2)),
        outputs={"made": Number("made")},
        estimate=estimate,
        **changes,
    )


def predicted(path: Path) -> np.ndarray:
    """What a network estimates from: all rows, NaN for what is missing."""
    batches = []

    def estimate(features):
        batches.append(features.copy())
        return {"made": Estimated(features[:, 0], features[:, 0])}

    with threads(1):
        row_model(estimate).predict(path, path.parent / "made.parquet", overwrite=True)
    return np.concatenate(batches)


def table(seed: int, rows: int = 60) -> str:
    """Numbers, gaps and texts in every spelling, in an order of its own."""
    random = np.random.default_rng(seed)
    numbers, gaps = (cycle(random.permutation(words).tolist()) for words in (NUMBERS, MISSING))
    lines = ['site,red,"green, dark",iron,blue']
    for row in range(rows):
        cells = [next(gaps) if random.random() < 0.1 else next(numbers) for _ in FEATURES]
        cells = [f'"{cell}"' if random.random() < 0.2 else cell for cell in cells]
        lines.append(f'"{TEXTS[row % len(TEXTS)]}",{cells[0]},{cells[1]},{row},{cells[2]}')
    return "\n".join(lines)


FORMS = {
    "plain": lambda text: text.encode(),
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode() + b"\r\n",
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "blank lines": (
        lambda text: b"\n\n" + re.sub(r"(,[^,\n]+)\n", r"\1\n\n", text).encode() + b"\n\n"
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_training_and_prediction_see_the_same_numbers_whatever_they_are_written_like(
    tmp_path, form, seed
):
    path, plain = tmp_path / "rows.csv", tmp_path / "plain.csv"
    path.write_bytes(FORMS[form](table(seed)))
    plain.write_text(table(seed))
    features = predicted(path)
    assert len(features) == 60
    complete = np.isfinite(features).all(axis=1)
    assert 0 < complete.sum() < 60
    np.testing.assert_array_equal(features[complete], trained(path))
    np.testing.assert_array_equal(features, predicted(plain))


@pytest.mark.parametrize("spelling", MISSING)
def test_every_spelling_of_a_missing_number_is_known_to_both(tmp_path, spelling):
    path = tmp_path / "rows.csv"
    path.write_text(
        'site,red,"green,'
        f' dark",iron,blue\na,1,2,3,4\nb,1,{spelling},3,4\nc,1,"{spelling}",3,4\nd,5,6,7,8\n'
    )
    np.testing.assert_array_equal(np.isnan(predicted(path)[:, 1]), [False, True, True, False])
    np.testing.assert_array_equal(trained(path), [[1, 2, 4], [5, 6, 8]])


GOOD = 'site,red,"green, dark",iron,blue\na,1,2,3,4\nb,1,2,3,4\n'

WRONG = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "only blank lines"),
    "names": (GOOD.partition("\n")[0], "column names and no rows"),
    "semicolons": (GOOD.replace(",", ";"), "separated by semicolons"),
    "tabs": (GOOD.replace(",", "\t"), "separated by tabs"),
    "latin": (GOOD.replace("site", "säule").encode("latin-1"), "is not UTF-8 text"),
    "latin cell": (
        GOOD.replace("b,1", "bär,1").encode("latin-1"),
        "row 3, column 'site': is not UTF-8 text",
    ),
    "utf-16": (GOOD.encode("utf-16"), "is not UTF-8 text"),
    "misspelt": (GOOD.replace("red", "rad"), "has no column 'red'; did you mean 'rad'?"),
    "twice": (GOOD.replace("blue", "red"), "has 2 columns called 'red'"),
    "short": (GOOD + "c,1,2\n", "row 4: 3 cells, but there are 5 columns"),
    "long": (
        GOOD + "c,1,2,3,4,5\n",
        "row 4: 6 cells, but there are 5 columns; quote texts with commas",
    ),
    "word": (GOOD + "c,1,many,3,4\n", "row 4, column 'green, dark': 'many' is not a number"),
    "python": (GOOD + "c,1_0,2,3,4\n", "row 4, column 'red': '1_0' is not a number"),
    "comma": (
        GOOD + 'c,1,2,3,"4,5"\n',
        "row 4, column 'blue': '4,5' is not a number (write it with a point)",
    ),
    "far": (
        GOOD + "c,1,2,3,4\n" * 40_000 + "c,1,2,3,x\n",
        "row 40004, column 'blue': 'x' is not a number",
    ),
    "quote": (
        GOOD + 'c,1,"2,3,4\n' + "d,1,2,3,4\n" * 5,
        "row 4: a quotation mark is opened here and never closed",
    ),
    "inner quote": (GOOD + 'c,1,"2"x,3,4\n"', "row 4: text follows a closing quotation mark"),
    "far quote": (
        GOOD + 'c,1,"2,3,4\n' + "d,1,2,3,4\n" * 40_000,
        "row 4: a cell has more than 131,072 characters",
    ),
    "field": (
        GOOD + f"c,{'x' * 140_000},2,3,4\n",
        "row 4: a cell has more than 131,072 characters",
    ),
    "line": ("x" * 9_000_000, "row 1: more than 8,388,608 characters in a line"),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_file_is_said_in_the_same_words_with_its_place(tmp_path, wrong):
    content, words = WRONG[wrong]
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    first, second = (message.splitlines()[0] for message in refusals(path, trained, predicted))
    assert words in first
    assert first == second
    assert first.startswith((str(path), f"the columns of {path}"))


def refusals(path: Path, *readers) -> list[str]:
    messages = []
    for read in readers:
        with pytest.raises(QexpError) as error:
            read(path)
        messages.append(str(error.value))
    return messages


def test_a_quotation_mark_that_is_never_closed_hides_no_rows(tmp_path):
    """In the last column it makes no row too short: all rows behind it would be one cell."""
    path = tmp_path / "rows.csv"
    path.write_text(
        'red,"green, dark",blue,iron,site\n1,2,3,4,5 in"\n1,2,3,4,"a\n' + "5,6,7,8,b\n" * 100
    )
    for message in refusals(path, trained, predicted):
        assert "row 3: a quotation mark is opened here and never closed" in message
    path.write_text('red,"green, dark",blue,iron,site\n1,2,3,4,5 in"\n1,2,3,4,"a\nb"')
    assert len(trained(path)) == len(predicted(path)) == 2


@pytest.mark.heavy
def test_numbers_far_from_the_first_rows_are_read_alike_and_found_by_their_row(tmp_path):
    """Blocks are of some hundred kilobytes: many rows are read before these, blank lines and line
    breaks among them.
    """
    values = np.random.default_rng(0).uniform(0.1, 9, (20_000, 4)).round(6)
    lines = [f"s{row},{','.join(map(repr, cells))}" for row, cells in enumerate(values.tolist())]
    header, path = 'site,red,"green, dark",iron,blue', tmp_path / "rows.csv"
    lines[5] = lines[5].replace("s5", '"two\nlines"') + "\n"
    lines[15_000] = lines[15_000].rpartition(",")[0] + ", NA "
    path.write_text("\n".join([header, *lines]))
    expected = values[:, [0, 1, 3]].astype(np.float32)
    expected[15_000, 2] = np.nan
    np.testing.assert_array_equal(predicted(path), expected)
    np.testing.assert_array_equal(trained(path), np.delete(expected, 15_000, axis=0))
    path.write_text("\n".join([header, *lines]).replace(", NA ", ",none"))
    for message in refusals(path, trained, predicted):
        assert "row 15004, column 'blue': 'none' is not a number" in message


def test_numbers_of_every_type_in_parquet_are_the_same_for_both(tmp_path):
    columns = {
        "red": pyarrow.array([2**53 + 1, -7, 0, 2**60 + 2**36 + 1]),
        "green, dark": pyarrow.array([1234567.891, 0.5, 2.0, -1.5]).cast(pyarrow.decimal128(14, 3)),
        "blue": pyarrow.array([0.1, 2.5, None, 1e-8], pyarrow.float32()),
        "iron": pyarrow.array([1, 2, 3, 4], pyarrow.int8()),
        "site": pyarrow.array(["a", "b", None, "a"]).dictionary_encode(),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    features = predicted(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(features[[0, 1, 3]], trained(tmp_path / "rows.parquet"))
    assert np.isnan(features[2, 2])


def test_netcdf_of_the_classic_format_is_read_like_that_of_today(tmp_path):
    arrays = {
        name: ("pixel", np.arange(5, dtype=np.float32) + shift)
        for shift, name in enumerate(FEATURES)
    }
    xarray.Dataset(arrays).to_netcdf(tmp_path / "today.nc", engine="h5netcdf")
    xarray.Dataset(arrays).to_netcdf(tmp_path / "classic.nc", engine="scipy")
    np.testing.assert_array_equal(
        predicted(tmp_path / "classic.nc"), predicted(tmp_path / "today.nc")
    )


# Spectra, a row for each


def spectra_trained(path: Path) -> SpectraDataset:
    return SpectraDataset(
        path, filled_in({"type": "spectra", "target": "toc", "channels": 4, "patch_size": 2})
    )


def spectra_predicted(path: Path) -> tuple[np.ndarray, pyarrow.Table]:
    """The counts that a network estimates from, and the columns beside its estimates."""
    batches, layout = [], SpectrumLayout(4, "channel_", "core", "depth")

    def estimate(counts):
        batches.append(counts.copy())
        return {"made": Estimated(counts[:, 0])}

    model = SpectrumModel(layout=layout, outputs={"made": Number("made")}, estimate=estimate)
    result = model.predict(path, path.parent / "made.parquet", overwrite=True)
    return np.concatenate(batches), parquet.read_table(result.target)


def spectra_csv(name: str = "channel_{}") -> str:
    numbers = cycle(["3", "0", " 7 ", "+2", "1e2", "0.1", "1.00000005960464480001", '"5"'])
    rows = [
        f"f{row}, c{row % 3},{row},{['1.5', 'NA', ' 2 ', 'None', ''][row % 5]}" for row in range(40)
    ]
    lines = [
        f"{row},{','.join(next(numbers) for _ in range(4))},{index}"
        for index, row in enumerate(rows)
    ]
    return "\n".join(
        [f"filename,core,toc,depth,{','.join(map(name.format, range(4)))},note", *lines]
    )


@pytest.fixture
def spectra(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "spectra.csv"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["channel_{}", "channel_{:03}"])
@pytest.mark.parametrize("form", ["plain", "byte order mark", "CRLF"])
def test_a_table_of_spectra_is_the_same_in_training_and_in_prediction(spectra, form, name):
    spectra.write_bytes(FORMS[form](spectra_csv(name)))
    dataset, (counts, beside) = spectra_trained(spectra), spectra_predicted(spectra)
    np.testing.assert_array_equal(counts, dataset.read(dataset.rows))
    assert beside["name"].to_pylist() == dataset.names.tolist()
    assert beside["core"].to_pylist() == dataset.cores.tolist()
    np.testing.assert_array_equal(beside["depth"].to_numpy(), dataset.depths)


WRONG_SPECTRA = {
    "word": (",+2,", ",many,", "row 2, column 'channel_3': 'many' is not a number"),
    "quote": ("f9,", '"f9,', "row 11: text follows a closing quotation mark"),
    "missing": (",+2,", ",NA,", "channel 3 is not a finite number"),
    "depth": (",1.5,", ",deep,", "'deep' of f0"),
    "gap": ("channel_2", "chanel_2", "the first that is missing is channel_2"),
    "semicolons": (",", ";", "separated by semicolons"),
}


@pytest.mark.parametrize("wrong", WRONG_SPECTRA)
def test_what_is_wrong_with_a_table_of_spectra_is_said_in_the_same_words(spectra, wrong):
    old, new, words = WRONG_SPECTRA[wrong]
    spectra.write_text(spectra_csv().replace(old, new, -1 if wrong == "semicolons" else 1))
    in_training, in_prediction = refusals(spectra, spectra_trained, spectra_predicted)
    assert words in in_training
    assert words in in_prediction
    assert str(spectra) in in_prediction


def test_spectra_without_a_line_of_names_are_an_index_and_the_counts(spectra):
    spectra.write_text("7,1,2,3,4\n8,5,6,7,8\n")
    counts, beside = spectra_predicted(spectra)
    assert counts.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert beside["name"].to_pylist() == ["1", "2"]


# Files that are damaged


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet", "nc"])
def test_a_damaged_file_is_refused_or_read_but_never_ends_in_another_error(tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    values = {name: np.arange(20.0) + shift for shift, name in enumerate([*FEATURES, "iron"])}
    table = pyarrow.table({**values, "site": [f"s{row}" for row in range(20)]})
    if ending == "nc":
        xarray.Dataset({name: ("row", column) for name, column in values.items()}).to_netcdf(
            path, engine="h5netcdf"
        )
    else:
        {"csv": pyarrow.csv.write_csv, "parquet": parquet.write_table}[ending](table, path)
    content, random = path.read_bytes(), np.random.default_rng(0)
    refusals = []
    for _ in range(40):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 20):
            damaged[position] = random.integers(0, 256)
        path.write_bytes(damaged[: random.integers(len(content) // 2, 2 * len(content))])
        try:
            predicted(path)
        except QexpError as error:
            refusals.append(str(error))
    assert refusals
    assert all(str(path) in message for message in refusals)
    assert {file.name for file in tmp_path.iterdir()} <= {
        path.name,
        "made.parquet",
        "made.parquet.json",
    }


def test_texts_that_netcdf_cannot_hold_are_written_without_what_it_cannot(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('red,"green, dark",blue,site\n1,2,3,a\0b\n')
    model = row_model(lambda values: {"made": Estimated(values[:, 0], values[:, 0])})
    model.predict(path, tmp_path / "made.nc")
    with xarray.open_dataset(tmp_path / "made.nc", engine="h5netcdf") as written:
        assert written["site"].values.tolist() == ["a\ufffdb"]


ENDS_EARLY = """
import sys
from pathlib import Path

import pyarrow as pa

from qexp.rows.csv import CsvTable

pieces = CsvTable(Path(sys.argv[1])).pieces({"a": pa.string()}, 1000)
next(pieces)
"""


@pytest.mark.heavy
def test_python_ends_as_it_should_while_a_large_table_is_still_read_ahead(tmp_path: Path) -> None:
    # On one core five of eight such processes were aborted when Arrow read ahead through a file of
    # Python's.
    (tmp_path / "t.csv").write_bytes(b"a,b\n" + b"1,2\n" * 5_000_000)
    for _ in range(4):
        child = ["taskset", "-c", "0", sys.executable, "-c", ENDS_EARLY, str(tmp_path / "t.csv")]
        assert subprocess.run(child, timeout=60, check=False).returncode == 0

"""`qexp predict`: files of rows through a finished run, here and now; interrupted, given again, and
what is wrong.
"""

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import xarray

import qexp as package
from qexp.base import folders
from qexp.errors import NotFoundError, QexpError, RunFailedError
from tests import stones
from tests.conftest import Outcome, call, shared_folder, without_unit
from tests.runs.conftest import BRIEF, Process, until
from tests.stones import AS_PUBLISHED, CAUTION, COLUMNS

COUNT = 60
COLOURS = np.random.default_rng(3).uniform(0.2, 0.8, (COUNT, 3)).astype(np.float32)
PIXELS = pa.table({"pixel": np.arange(COUNT), **dict(zip(COLUMNS, COLOURS.T, strict=True))})

SEVERAL = 3_000_000
ALL_THE_SAME = pa.table(dict.fromkeys(COLUMNS, pa.array(np.full(SEVERAL, 0.5, dtype=np.float32))))
"""Rows that take seconds, in a file that is made in none."""


@shared_folder
def root(root: Path) -> None:
    """A workspace with runs: stones_0 and published are done, broken is not, and images saw no
    rows.
    """
    assert call("init", root).code == 0
    stones.write(root)
    package.run("stones", device="cpu", workspace=root)
    stones.write(root, **AS_PUBLISHED)
    package.run("stones", name="published", device="cpu", workspace=root)
    rows = stones.table()
    rows[0][4] = 1e30  # in the training rows of all folds but the first
    stones.write(
        root, rows, transforms={"colour": "standardize"}, keep="last", inner=None, learning_rate=1e3
    )
    with pytest.raises(RunFailedError):
        package.run("stones", name="broken", device="cpu", workspace=root)
    package.run("mogi_quick", name="images", overrides=BRIEF, device="cpu", workspace=root)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    return tmp_path


@pytest.fixture
def predict(root: Path, here: Path) -> Callable[..., Outcome]:
    """`predict("pixels.csv", "made.csv", "--overwrite", run="published")`."""

    def called(source: str, target: str, *options: str, run: str = "stones_0") -> Outcome:
        return call("predict", run, source, "--output", target, *options, "--workspace", root)

    return called


def test_several_files_are_estimated_into_a_folder(predict, here):
    for name in ("first.csv", "other/second.parquet"):
        write(here / name)
    assert "each of 2 files has its own" in predict("first.csv", "made.csv", "first.csv").refused()
    predict("first.csv", "made", "other/second.parquet").done()
    assert {path.stem for path in (here / "made").glob("*.json")} == {"first.csv", "second.parquet"}
    write(here / "other/first.csv")
    assert "would both be written to" in predict("first.csv", "more", "other/first.csv").refused()
    assert (
        "written over what is read" in predict("first.csv", ".", "other/second.parquet").refused()
    )


def write(path: Path, table: pa.Table = PIXELS, **options: object) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path, pa.csv.WriteOptions(**options))
    elif path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    else:
        arrays = {name: ("pixel", table[name].to_numpy()) for name in table.column_names}
        xarray.Dataset(arrays).to_netcdf(path, engine="h5netcdf")


def column(path: Path, name: str = "iron") -> np.ndarray:
    if path.suffix == ".nc":
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            return data[name].values
    table = pa.csv.read_csv(path) if path.suffix == ".csv" else pa.parquet.read_table(path)
    return table.rename_columns(list(map(without_unit, table.column_names)))[name].to_numpy()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What is estimated


@pytest.mark.heavy
def test_a_folder_of_csv_parquet_and_netcdf_is_estimated_like_the_same_values_in_an_array(
    root, here, predict
):
    for name in ("a.csv", "b.parquet", "c.nc"):
        write(here / "tiles" / name)
    made = [Path("made") / name for name in ("a.csv", "b.parquet", "c.nc")]
    assert predict("tiles", "made").done().splitlines() == [str(path) for path in made]
    assert names(here / "made") == {
        name for path in made for name in (path.name, f"{path.name}.json")
    }
    expected = package.open_run("stones_0", workspace=root).predict(colour=COLOURS)["iron"]
    for path in made:
        np.testing.assert_allclose(column(path), expected, rtol=1e-5)
        np.testing.assert_array_equal(column(path, "pixel"), np.arange(COUNT))


@pytest.mark.heavy
def test_columns_in_another_order_without_names_and_of_other_names_give_the_same_estimates(
    here, predict
):
    write(here / "named.csv")
    write(here / "turned.csv", PIXELS.select(["blue", "pixel", "red", "green"]))
    write(here / "bare.csv", include_header=False)
    write(here / "bands.csv", PIXELS.rename_columns({"red": "B3", "green": "B2"}))
    predict("named.csv", "named_iron.csv").done()
    expected = column(here / "named_iron.csv")
    of_bands = [["red=B3,green=B2"], ["red=B3", "green=B2"], ["2,3,4"]]
    for number, (name, texts) in enumerate(
        [("turned", []), ("bare", []), *(("bands", texts) for texts in of_bands)]
    ):
        predict(
            f"{name}.csv",
            f"made{number}.csv",
            *(word for text in texts for word in ("--columns", text)),
        ).done()
        np.testing.assert_array_equal(column(here / f"made{number}.csv"), expected)
    stderr = predict("bands.csv", "wrong.csv", "--columns", "rot=B3").failed()
    assert "the run has no column 'rot'; known: blue, green, red" in stderr
    stderr = predict("bands.csv", "wrong.csv", "--columns", "green=red,B3=red").failed()
    assert "the run's column 'red' stands before the file's 'B3': write red=B3" in stderr
    assert not (here / "wrong.csv").exists()


def test_what_is_outside_the_range_of_the_training_data_and_what_is_missing_is_counted_and_told(
    here, predict
):
    (here / "pixels.csv").write_text("red,green,blue\n0.5,0.5,0.5\n0.5,0.5,5\n0.5,,0.5\n")
    outside = (
        "1 of 3 rows have features outside the range of the training data, where intervals promise"
        " nothing"
    )
    missing = "1 without an estimate, because a feature is missing or one is infinite"
    likely = "90 % intervals for new rows like those of the training data"
    told = f"warning: made.csv: {outside}\nmade.csv: 3 rows\n  {missing}\n  {likely}\n"
    assert predict("pixels.csv", "made.csv").stderr == told


def test_a_run_knows_the_range_of_its_true_values(root, here, predict):
    run, iron = package.open_run("stones_0", workspace=root), [row[4] for row in stones.table()]
    ends = {"least": pytest.approx(min(iron)), "greatest": pytest.approx(max(iron))}
    assert run.record["targets"] == [{"column": "iron", **ends}]
    write(here / "pixels.csv")
    assert predict("pixels.csv", "made.csv").code == 0
    beyond = [not min(iron) <= estimate <= max(iron) for estimate in column(here / "made.csv")]
    assert column(here / "made.csv", "estimates_outside").astype(bool).tolist() == beyond


@pytest.mark.heavy
def test_rows_with_positions_make_a_map(here, predict):
    for x, y in (("longitude", "latitude"), ("sample", "line")):
        across, down = np.arange(COUNT) % 10, np.arange(COUNT) // 10
        write(here / f"{x}.parquet", PIXELS.append_column(x, [across]).append_column(y, [down]))
        assert predict(f"{x}.parquet", f"made_{x}.parquet").stdout.splitlines()[1:] == [
            f"made_{x}.png"
        ]
        assert (here / f"made_{x}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.heavy
def test_what_a_run_judged_as_published_estimates_says_so_itself(here, predict):
    for name in ("a.csv", "b.parquet", "c.nc"):
        write(here / "tiles" / name)
    assert predict("tiles", "made", run="published").code == 0
    assert json.loads((here / "made/a.csv.json").read_text())["origin"]["caution"] == CAUTION
    for made in (
        pa.csv.read_csv(here / "made/a.csv"),
        pa.parquet.read_table(here / "made/b.parquet"),
    ):
        assert set(made["caution"].to_pylist()) == {CAUTION}
    assert pa.parquet.read_schema(here / "made/b.parquet").metadata[b"caution"].decode() == CAUTION
    with xarray.open_dataset(here / "made/c.nc", engine="h5netcdf") as data:
        assert (data.attrs["run"], data.attrs["caution"]) == ("published", CAUTION)


# Interrupted and given again


@pytest.mark.heavy
def test_files_that_were_finished_before_an_end_of_any_kind_stay_and_the_others_are_made(
    root, here, predict, request, monkeypatch
):
    write(here / "tiles/a.csv")
    write(here / "tiles/b.parquet", ALL_THE_SAME)
    write(here / "tiles/c.nc")
    made = here / "made"

    def half_written() -> list[Path]:
        return list(made.glob(".b.parquet.*"))

    command = ("predict", "stones_0", "tiles", "--output", "made", "--workspace", str(root))
    finished = None
    for number, expected in {
        signal.SIGINT: 130,
        signal.SIGTERM: 130,
        signal.SIGUSR1: 130,
        signal.SIGKILL: -9,
    }.items():
        process = Process(*command)
        request.addfinalizer(process.kill)
        until(lambda: bool(half_written()), "that the second file is begun")
        process.send(number)
        assert process.end()[0] == expected
        assert {name for name in names(made) if not name.startswith(".")} == {"a.csv", "a.csv.json"}
        finished = finished or (made / "a.csv").stat().st_mtime_ns
        assert bool(half_written()) == (number == signal.SIGKILL)

    assert len(half_written()) == 1
    with monkeypatch.context() as long_ago:
        long_ago.setattr(folders, "STALE_SECONDS", -1.0)
        code, stdout, stderr = predict("tiles", "made")
    assert (code, stdout) == (0, "made/b.parquet\nmade/c.nc\n")
    assert stderr.startswith("made/a.csv exists already\nmade/b.parquet: 3,000,000 rows\n")
    assert (made / "a.csv").stat().st_mtime_ns == finished
    assert names(made) == {
        name + ending for name in ("a.csv", "b.parquet", "c.nc") for ending in ("", ".json")
    }
    assert len(column(made / "b.parquet")) == SEVERAL


@pytest.mark.heavy
def test_what_was_started_with_nohup_goes_on_when_the_terminal_is_closed(root, here, request):
    write(here / "pixels.parquet", ALL_THE_SAME)
    words = (
        "--run",
        "stones_0",
        "--input",
        "pixels.parquet",
        "--output",
        "made.parquet",
        "--workspace",
        str(root),
    )
    # as nohup does before it becomes the command
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = Process("predict", *words)
    finally:
        signal.signal(signal.SIGHUP, before)
    request.addfinalizer(process.kill)
    until(lambda: any(here.glob(".made.parquet.*")), "that the file is begun")
    process.send(signal.SIGHUP)
    assert process.end()[0] == 0
    assert len(column(here / "made.parquet")) == SEVERAL


@pytest.mark.heavy
def test_what_another_process_is_writing_is_left_to_it_and_what_another_run_has_estimated_unless_asked(
    here, predict
):
    write(here / "pixels.csv")
    theirs = here / ".made.csv.a1b2c3d4.csv"
    theirs.touch()
    assert predict("pixels.csv", "made.csv").code == 0
    assert theirs.exists()
    before = (here / "made.csv").read_bytes()
    stderr = predict("pixels.csv", "made.csv", run="published").refused()
    assert (
        stderr
        == "error: made.csv exists already, and was made by another run; --overwrite replaces it\n"
    )
    assert (here / "made.csv").read_bytes() == before
    assert predict("pixels.csv", "made.csv", "--overwrite", run="published").code == 0
    assert (here / "made.csv").read_bytes() != before


# What is wrong

WRONG = {
    "": "wrong.csv is empty",
    "pixel,red,gren,blue\n0,0.5,0.5,0.5\n": "wrong.csv has no column 'green'; did you mean 'gren'?",
    "pixel,red,green,blue\n0,0.5,0.5,0.5\n1,0.5,dark,0.5\n": (
        "wrong.csv: row 3, column 'green': 'dark' is not a number"
    ),
    "0,0.5,0.5\n": (
        "wrong.csv: 3 columns without names; without a header there must be 4: an index, then red, "
        "green, blue"
    ),
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_file_is_told_with_its_place_and_leaves_nothing(here, predict, text):
    (here / "wrong.csv").write_text(text)
    assert WRONG[text] in predict("wrong.csv", "made.csv").refused()
    assert names(here) == {"wrong.csv"}


def test_bad_files_of_several_stop_no_other(here, predict):
    for name in ("a.csv", "e.parquet"):
        write(here / "tiles" / name)
    (here / "tiles/b.csv").write_text("red,green,blue\n0.5,dark,0.5\n")
    (here / "tiles/c.csv").write_text('red,green,blue\n0.5,"0.5,0.5\n' + "0.5,0.5,0.5\n" * 20_000)
    (here / "tiles/d.csv").write_text(f"red,green,blue\n0.5,0.5,0.5\n0.5,{'x' * 140_000},0.5\n")
    code, stdout, stderr = predict("tiles", "made")
    assert (code, stdout) == (4, "made/a.csv\nmade/e.parquet\n")
    assert "error: tiles/b.csv: row 2, column 'green': 'dark' is not a number\n" in stderr
    long = "a cell has more than 131,072 characters; is a quotation mark not closed?\n"
    assert f"error: tiles/c.csv: row 2: {long}" in stderr
    assert f"error: tiles/d.csv: row 3: {long}" in stderr
    assert names(here / "made") == {"a.csv", "a.csv.json", "e.parquet", "e.parquet.json"}


def test_a_wrong_option_is_told_before_anything_is_read(predict):
    complaints = {
        "--launcher slum": "--launcher slum: no such launcher; did you mean 'slurm'?",
        "--option time=10": "--option is for the scheduler of a cluster; name it with --launcher",
        "--chunk 0": "--chunk 0: at least 1",
    }
    for options, complaint in complaints.items():
        assert predict("nowhere.csv", "made.csv", *options.split()) == (
            2,
            "",
            f"error: {complaint}\n",
        )


def test_an_input_or_a_run_that_is_not_there_is_not_found_and_a_place_that_cannot_be_written_to_is_told(
    here, predict
):
    assert predict("nowhere.csv", "made.csv").code == 3
    write(here / "pixels.csv")
    assert predict("pixels.csv", "made.csv", run="stnes_0").code == 3
    (here / "occupied").touch()
    assert (
        predict("pixels.csv", "occupied/made.csv")
        .failed()
        .startswith(f"error: cannot write to {here / 'occupied'}")
    )


UNFIT = {
    "broken": "broken: 3 of 4 folds are not done: 002, 003, 004; continue with --resume",
    "images": (
        "the run takes images, displacement; a file of images must end in .nc, .npz, .npy, .tif,"
        " .tiff"
    ),
}


@pytest.mark.parametrize("run", UNFIT)
def test_a_run_whose_folds_are_not_all_done_and_one_of_images_refuse_and_say_why(
    here, predict, run
):
    write(here / "pixels.csv")
    assert UNFIT[run] in predict("pixels.csv", "made.csv", run=run).failed()
    assert names(here) == {"pixels.csv"}


# From Python


@pytest.mark.heavy
def test_from_python_as_from_the_shell(root, here, predict):
    write(here / "pixels.csv", PIXELS.append_column("line", [np.arange(COUNT) // 10]))
    assert predict("pixels.csv", "shell.csv", "--chunk", "7").code == 0
    (made,) = package.predict(
        package.open_run("stones_0", workspace=root), "pixels.csv", here / "python.csv", chunk=7
    )
    assert (made.target, made.rows, made.outside, made.missing, made.map) == (
        here / "python.csv",
        COUNT,
        0,
        0,
        None,
    )
    assert (here / "python.csv").read_bytes() == (here / "shell.csv").read_bytes()
    (again,) = package.predict("stones_0", "pixels.csv", "python.csv", chunk=7, workspace=root)
    assert (made.made, again.made) == (True, False)


def test_from_python_the_mistakes_of_several_files_are_raised_when_the_others_are_made(root, here):
    predict = partial(package.predict, "stones_0", "tiles", "made", workspace=root)
    with pytest.raises(NotFoundError, match="tiles: there is no such file or folder"):
        predict()
    write(here / "tiles/b.csv")
    (here / "tiles/a.csv").write_text("red,green,blue\n0.5,dark,0.5\n")
    with pytest.raises(
        QexpError,
        match=r"^1 of 2 files could not be estimated:\ntiles/a\.csv: row 2, column 'green'",
    ):
        predict()
    assert (here / "made/b.csv").exists()
    (here / "tiles/b.csv").unlink()
    with pytest.raises(QexpError, match=r"^tiles/a\.csv: row 2"):
        predict()

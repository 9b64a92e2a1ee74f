"""What was made with stand-in data says so wherever it is shown."""

import json
from pathlib import Path

import pytest
import xarray

import qexp as package
from qexp.store.directory import RunDirectory
from tests import stones

WORDS = "made with stand-in data"


@pytest.fixture
def stood_in(workspace, monkeypatch):
    """A workspace where the table of stones is there as a stand-in alone."""
    monkeypatch.delenv("QEXP_DATA", raising=False)
    stones.write(workspace, epochs=2)
    (workspace / "data" / "stones.csv").rename(workspace / "data" / "made_up.csv")
    dataset = workspace / "specs" / "datasets" / "stones.json"
    dataset.write_text(json.dumps({**stones.DATASET, "stand_in": "made_up.csv"}))
    return workspace


@pytest.mark.heavy
def test_a_run_with_stand_in_data_says_so_in_every_table_and_record(stood_in, qexp):
    run = RunDirectory(package.run("stones", device="cpu").path)
    assert run.record().caution == run.fold("002").record().caution == WORDS
    assert "stand-in data are used, 'made_up.csv'" in (run.path / "attempts/01/log.txt").read_text()
    assert (
        xarray.load_dataset(run.results / "test_predictions.nc", engine="h5netcdf").attrs["caution"]
        == WORDS
    )
    for command in (
        ("show", "stones_0"),
        ("ls",),
        ("ls", "--json"),
        ("ls", "--csv"),
        ("ls", "--group", "dataset"),
    ):
        assert WORDS in qexp(*command).done(), command
    Path("pixels.csv").write_text("red,green,blue\n0.5,0.5,0.5\n0.2,0.3,0.4\n")
    assert qexp("predict", "stones_0", "pixels.csv", "--output", "estimates.csv").code == 0
    assert json.loads(Path("estimates.csv.json").read_text())["origin"]["caution"] == WORDS


@pytest.mark.heavy
def test_a_run_that_has_both_cautions_gives_both(stood_in):
    changes = {"protocol": "as_published", "inner": None}
    run = RunDirectory(package.run("stones", overrides=changes, device="cpu").path)
    assert run.record().caution == f"{WORDS}; {stones.CAUTION}"


@pytest.mark.heavy
def test_when_the_file_is_there_after_all_the_run_of_the_stand_in_stands_for_itself(stood_in, qexp):
    package.run("stones", device="cpu")
    (stood_in / "data" / "stones.csv").write_bytes((stood_in / "data" / "made_up.csv").read_bytes())
    assert "with another spec" in qexp("run", "stones", "--seed", "0").failed()
    measured = RunDirectory(package.run("stones", name="measured", device="cpu").path)
    assert measured.record().caution == ""

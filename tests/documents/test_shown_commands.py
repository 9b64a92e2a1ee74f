"""Commands that a page only shows, as they need something that its reader has and tests make up."""

import os
import sys
from pathlib import Path

import pytest

from qexp.api.handles import open_run
from tests.conftest import call
from tests.documents.reader import Reader, only_shown
from tests.web.conftest import in_a_process

TINY = "--set epochs=1 --set batch_size=8 --set model.operations.encoder.parameters.size=tiny"


@pytest.mark.heavy
def test_the_server_of_the_page_answers_until_it_is_interrupted(tmp_path):
    assert only_shown("docs/how-to/browser.md") == ["qexp serve"]
    call("init", tmp_path).done()
    with in_a_process(tmp_path) as served:
        assert served.address.startswith("http://127.0.0.1:")
        answered = served.get("/")
    assert (answered.status, "Train a first network" in answered.text) == (200, True)


@pytest.mark.heavy
def test_a_run_of_a_sweep_has_two_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert call("init", tmp_path).code == 0
    [line] = only_shown("docs/how-to/several-processes.md")
    Reader(tmp_path).command(f"{line.replace('0:4', '0:1')} --set epochs=1 --set sizes=[48,16,16]")
    (run,) = (tmp_path / "runs").glob("mogi_cnn_*")
    assert open_run(run).record["attempts"][-1]["processes"] == 2


@pytest.mark.heavy
def test_part_of_the_test_cores_is_trained_on_and_the_rest_tested(tmp_path):
    """MAX's lists `info_train.csv` and `val.csv` of test cores are made from simulated cores."""
    reader = Reader(tmp_path)
    assert call("init", tmp_path).code == 0
    reader.command(
        "qexp data xrf --layout max --out data/max --cores 5 --validation 1 --spectra 8"
        " --labelled 4"
    )
    folder = tmp_path / "data/max/finetune/TOC%/test"
    heading, *rows = (folder / "info.csv").read_text().splitlines()
    assert len(rows) == 4
    (folder / "info_train.csv").write_text("\n".join([heading, *rows[:3]]) + "\n")
    (folder / "val.csv").write_text("\n".join([heading, *rows[3:]]) + "\n")
    for line in only_shown("docs/coming-from/max.md"):
        reader.command(
            f"{line} {TINY} --set pretrain=null" if line.startswith("qexp run") else line
        )
    assert (
        "tested on other spectra of training cores"
        in call("--workspace", tmp_path, "show", "case").stdout
    )

"""First specs for files of data can be run as they are, and replace nothing."""

import json

import pytest

from tests import domes
from tests.conftest import call

SOIL = "sample,field,red (1),infrared (1),moisture (%)\n" + "".join(
    f"{row},{'abcde'[row % 5]},0.{row % 7 + 1},0.{row % 4 + 2},{row % 9}.5\n" for row in range(20)
)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    assert call("init", tmp_path, "--kind", "bare").code == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "soil.csv").write_text(SOIL)
    return tmp_path


def test_a_dataset_of_rows_says_what_the_header_says(bare, qexp):
    qexp("new", "dataset", "soil", "data/soil.csv", "--group", "field").done()
    assert json.loads((bare / "specs/datasets/soil.json").read_text()) == {
        "type": "tabular", "path": "soil.csv", "inputs": {"features": ["red (1)", "infrared (1)"]},
        "outputs": {"moisture": "moisture (%)"}, "units": {"moisture": "%", "features": "1"},
        "identifiers": ["sample"], "groups": {"field": {"column": "field"}},
    }  # fmt: skip


def test_specs_are_not_replaced_and_images_are_told_what_would_work(bare, qexp):
    qexp("new", "dataset", "soil", "data/soil.csv").done()
    before = (bare / "specs/datasets/soil.json").read_text()
    assert "exists already" in qexp("new", "experience", "soil", "data/soil.csv").refused()
    assert (bare / "specs/datasets/soil.json").read_text() == before
    (bare / "data" / "look.tif").write_bytes(b"II*")
    assert "qexp predict RUN FILE" in qexp("new", "dataset", "look", "data/look.tif").refused()
    assert "no column 'moist'" in qexp("new", "dataset", "other", "data/soil.csv", "--output", "moist").refused()
    assert not (bare / "specs/datasets/other.json").exists()


@pytest.mark.heavy
def test_new_experiences_train_as_they_are(bare, qexp):
    qexp("new", "dataset", "soil", "data/soil.csv", "--group", "field").done()
    qexp("new", "experience", "soil").done()
    assert qexp("run", "soil", "--set", "epochs=1").code == 0
    domes.write(bare)
    path = json.loads((bare / "specs/datasets/domes.json").read_text())["path"]
    qexp("new", "experience", "flow", path, "--output", "ubar").done()
    assert qexp("run", "flow", "--set", "epochs=1", "--set", "patches=[32,8]").code == 0

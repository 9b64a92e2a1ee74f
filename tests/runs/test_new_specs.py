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


@pytest.mark.parametrize("fields", [2, 3, 5])
def test_the_epoch_is_chosen_on_whole_groups_too_unless_there_are_two(bare, qexp, fields):
    lines = [line for line in SOIL.splitlines() if line.split(",")[1] in ("field", *"abcde"[:fields])]
    (bare / "data" / "soil.csv").write_text("\n".join(lines))
    qexp("new", "experience", "soil", "data/soil.csv", "--group", "field").done()
    made = json.loads((bare / "specs/experiences/soil.json").read_text())
    by_field = {"type": "group_k_fold", "parameters": {"by": "field", "folds": min(3, fields - 1)}}
    assert made["inner"] == (by_field if fields > 2 else {"type": "k_fold", "parameters": {"folds": 3}})
    assert ("no inner fold could hold out one" in made.get("description", "")) == (fields == 2)
    qexp("validate", "specs/experiences/soil.json").done()


@pytest.mark.heavy
def test_new_experiences_train_as_they_are(bare, qexp):
    qexp("new", "dataset", "soil", "data/soil.csv", "--group", "field").done()
    qexp("new", "experience", "soil").done()
    assert qexp("run", "soil", "--set", "epochs=1").code == 0
    domes.write(bare)
    path = json.loads((bare / "specs/datasets/domes.json").read_text())["path"]
    qexp("new", "experience", "flow", path, "--output", "ubar").done()
    assert qexp("run", "flow", "--set", "epochs=1", "--set", "patches=[32,8]").code == 0

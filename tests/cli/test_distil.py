"""One network in place of an ensemble: what it learns, what is said of it, and what cannot be
replaced.
"""

import csv
import json

import numpy as np
import pytest

import qexp as package
from qexp.base import formats
from qexp.errors import QexpError
from qexp.kinds.rows import distil
from tests import stones
from tests.conftest import call

COLOURS = np.random.default_rng(8).uniform(0.2, 0.8, (300, 3)).round(4)
TWO_OUTPUTS = {
    "dataset": {
        "type": "tabular",
        "path": "stones.csv",
        "inputs": {"colour": ["red", "green"], "shade": "blue"},
        "outputs": {"iron": "Fe", "strike": "Az"},
        "units": {"iron": "wt%", "strike": "degrees"},
    },
    "model": {
        "inputs": {"colour": {"size": [2]}, "shade": {"size": [1]}},
        "outputs": ["iron", "strike"],
        "operations": {
            "join": {"module": "concatenate"},
            "dense": {"module": "mlp", "parameters": {"units": [6]}},
            "angle": {"module": "mlp", "parameters": {"units": [6], "outputs": 2}},
        },
        "branches": [
            {"x_name": ["colour", "shade"], "y_name": "iron", "operations": ["join", "dense"]},
            {"x_name": ["colour", "shade"], "y_name": "strike", "operations": ["join", "angle"]},
        ],
    },
    "inputs": ["colour", "shade"],
    "outputs": ["iron", "strike"],
    "transforms": {
        "colour": "standardize",
        "strike": {"type": "angle", "parameters": {"period": 360}},
    },
    "losses": "mse",
}


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setitem(distil.RECIPE, "epochs", 30)
    monkeypatch.setattr(distil, "MIXED_ROWS", 200)


@pytest.fixture
def teacher(workspace, short):
    """A run of four networks in the current workspace, and a file `new.csv` of rows without
    truth.
    """
    stones.write(workspace, **stones.AS_PUBLISHED)
    with (workspace / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("site", *stones.COLUMNS), *(["a", *row] for row in COLOURS), ["b", "", 0.2, 0.3]]
        )
    return package.run("stones", device="cpu")


def test_the_network_learns_the_mean_of_all_networks_and_its_test_errors_are_differences_from_it(
    teacher, workspace
):
    small = package.distil(teacher, workspace / "new.csv", device="cpu")
    record, learned = small.directory.record(), small.directory.spec()["dataset"]["estimates_of"]
    assert (small.name, record.state) == ("stones_0_distilled_0", "done")
    assert record.caution == f"errors are against estimates of stones_0; {stones.CAUTION}"
    assert learned["rows"] == "300 of 301 rows of new.csv, 1 of which have gaps"
    difference = small.predict(colour=COLOURS)["iron"] - teacher.predict(colour=COLOURS)["iron"]
    assert float(np.sqrt(np.mean(difference**2))) < 0.2 < teacher.results["test"]["iron"]["rmse"]
    assert record.results["test"]["iron"]["rmse"] < 0.2
    # Rows are outside where they are for the ensemble, whatever the rows that it estimated.
    assert record.features == teacher.directory.record().features
    errors = formats.read_json(small.directory.results / "distilled.json")["errors"]["iron"]
    assert errors["held_out"] == teacher.results["test"]["iron"]["rmse"]
    rows = np.array(stones.table())[:, 1:].astype(float)
    for key, run in (("of_run", teacher), ("of_network", small)):
        off = run.predict(colour=rows[:, :3])["iron"] - rows[:, 3]
        assert errors[key] == pytest.approx(np.sqrt(np.mean(off**2)), rel=1e-4)
    shown = call("show", small.name).stdout
    assert "errors over 24 measured rows" in shown
    assert "learned: estimates of stones_0, of 300 of 301 rows" in shown


def test_estimates_of_the_network_have_no_intervals_which_its_small_differences_would_make_too_narrow(
    teacher, workspace
):
    small = package.distil(teacher, device="cpu")
    made = package.predict(small, "new.csv", "made.csv")
    assert "iron_low" not in (workspace / "made.csv").read_text()
    assert made[0].missing == 1
    with pytest.raises(QexpError, match="stones_0, whose errors alone make intervals"):
        package.predict(small, "new.csv", "others.csv", interval=0.8)


def test_the_same_command_goes_on_and_another_needs_another_name(teacher, workspace):
    first = package.distil(teacher, "new.csv", device="cpu")
    weights = (first.path / "folds/001/checkpoints/best.safetensors").read_bytes()
    assert package.distil(teacher, "new.csv", device="cpu").path == first.path
    assert (first.path / "folds/001/checkpoints/best.safetensors").read_bytes() == weights
    with pytest.raises(QexpError, match=r"stones_0_distilled\.csv exists already"):
        package.distil(teacher, device="cpu")
    assert package.distil(teacher, name="mixed", device="cpu").name == "mixed_0"


def test_several_inputs_and_outputs_are_learned_and_directions_by_the_shorter_way_round(
    workspace, short
):
    (workspace / "data").mkdir(exist_ok=True)
    with (workspace / "data/stones.csv").open("w", newline="") as file:
        rows = [[*row[1:], (350 + 40 * row[1]) % 360] for row in stones.table()]
        csv.writer(file).writerows([(*stones.COLUMNS, "Fe", "Az"), *rows])
    document = {**stones.EXPERIENCE, **TWO_OUTPUTS, "epochs": 60}
    (workspace / "specs/experiences/both.json").write_text(json.dumps(document))
    small = package.distil(package.run("both", device="cpu"), device="cpu")
    errors = formats.read_json(small.directory.results / "distilled.json")["errors"]
    assert errors["strike"]["of_network"] < 45
    assert set(errors) == {"iron", "strike"}


def test_what_cannot_be_replaced_or_learned_is_refused_in_words_and_nothing_is_written(
    teacher, workspace
):
    (workspace / "few.csv").write_text(
        "".join((workspace / "new.csv").read_text().splitlines(keepends=True)[:12])
    )
    (workspace / "other.csv").write_text("r,green,blue\n0.1,0.2,0.3\n")
    refused = {
        ("stones_0", "--rows", "few.csv"): (2, "few.csv: 11 rows without gaps; give at least 20"),
        ("stones_0", "--rows", "other.csv"): (2, "no column 'red'"),
        ("stones_0", "--rows", "gone.csv"): (3, "there is no such file"),
        ("stones_0", "--name", "a/b"): (2, "not a valid run name"),
        ("nothing",): (3, "no run 'nothing'"),
    }
    for words, (code, part) in refused.items():
        outcome = call("distil", *words)
        assert (outcome.code, part in outcome.stderr) == (code, True), outcome.stderr
    assert not (workspace / "data/distilled").exists()

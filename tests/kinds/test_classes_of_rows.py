"""Classes as outputs of rows: names in a column, probabilities of networks, held-out ones in
files.
"""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import qexp
from qexp.base import formats
from qexp.base.outputs import Classes
from tests.conftest import call, copied, shared_folder

NAMES = ["basalt", "granite", "schist"]
DATASET = {
    "type": "tabular",
    "path": "rocks.csv",
    "inputs": {"oxides": ["a", "b", "c", "d"]},
    "outputs": {"rock": "Rock"},
    "classes": {"rock": NAMES},
    "groups": {"quarry": {"column": "Quarry"}},
}
MODEL = {
    "inputs": {"oxides": {"size": [4]}},
    "outputs": ["rock"],
    "operations": {
        "network": {"module": "denses", "parameters": {"filters": [8], "activation": "tanh"}},
        "head": {"module": "classes", "parameters": {"classes": 3}},
    },
    "branches": [{"x_name": "oxides", "y_name": "rock", "operations": ["network", "head"]}],
}
EXPERIENCE = {
    "model": "rocks",
    "dataset": "rocks",
    "inputs": ["oxides"],
    "outputs": ["rock"],
    "split": {"type": "group_k_fold", "parameters": {"by": "quarry", "folds": 3}},
    "keep": "last",
    "epochs": 30,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "transforms": {"oxides": "standardize"},
    "losses": "negative_log_likelihood",
    "baselines": ["majority", {"type": "logistic_regression", "parameters": {"penalties": [1.0]}}],
}
ROWS = 270


def rocks(random: np.random.Generator, told: bool = True) -> list[list[str]]:
    """Rows of nine quarries, each with a shift of its own; `told`: whether oxides tell rocks."""
    codes = random.integers(0, 3, ROWS)
    quarry = np.arange(ROWS) % 9
    shifts = random.normal(0, 0.5, (9, 4))
    centres = random.normal(0, 1.5, (3, 4)) * told
    oxides = centres[codes] + shifts[quarry] + random.normal(0, 0.7, (ROWS, 4))
    return [
        [*(f"{value:.5f}" for value in row), NAMES[code], f"Q{number}"]
        for row, code, number in zip(oxides, codes, quarry, strict=True)
    ]


def write_rocks(root: Path, rows: list[list[str]]) -> None:
    with (root / "data" / "rocks.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c", "d", "Rock", "Quarry"], *rows])


def write_specs(root: Path, **documents: object) -> None:
    for folder, document in documents.items():
        (root / "specs" / folder / "rocks.json").write_text(json.dumps(document))


@shared_folder
def classified(root: Path) -> None:
    """A workspace with a finished run that tells rocks."""
    for folder in ("datasets", "models", "experiences"):
        (root / "specs" / folder).mkdir(parents=True)
    (root / "data").mkdir()
    write_rocks(root, rocks(np.random.default_rng(1)))
    write_specs(root, datasets=DATASET, models=MODEL, experiences=EXPERIENCE)
    qexp.run("rocks", seed=1, workspace=root)


@pytest.fixture
def here(classified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return copied(classified, tmp_path, monkeypatch)


def test_held_out_rows_have_names_and_probabilities_whose_metrics_are_the_results(here):
    run = qexp.open_run("rocks_1")
    rows = formats.read_csv(run.path / "results" / "predictions.csv")
    assert len(rows) == ROWS
    probabilities = np.array(
        [[float(row[f"rock_probability_{name}"]) for name in NAMES] for row in rows]
    )
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    truth = np.array([NAMES.index(row["rock"]) for row in rows])
    likeliest = probabilities.argmax(axis=1)
    assert [row["rock_estimate"] for row in rows] == [NAMES[code] for code in likeliest]
    results = run.results["test"]["rock"]
    assert results["accuracy"] == pytest.approx((likeliest == truth).mean())
    assert results["accuracy"] > 0.7
    log_score = -np.log(probabilities[np.arange(ROWS), truth]).mean()
    assert results["log_score"] == pytest.approx(log_score, rel=1e-5)
    low, high = run.record["intervals"]["test"]["rock"]["accuracy"]
    assert low < results["accuracy"] < high


def test_new_rows_get_probabilities_that_are_the_mean_over_the_networks(here):
    run = qexp.open_run("rocks_1")
    oxides = np.random.default_rng(2).normal(size=(5, 4))
    estimates = run.predict(oxides=oxides)["rock"]
    assert np.shape(estimates) == (5, 3)
    assert np.sum(estimates, axis=1) == pytest.approx(1, abs=1e-5)
    of_file = here / "new.csv"
    with of_file.open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c", "d"], *oxides.tolist()])
    assert call("predict", "rocks_1", of_file, "--output", here / "told.csv").code == 0
    rows = formats.read_csv(here / "told.csv")
    told = [[float(row[f"rock_probability_{name}"]) for name in NAMES] for row in rows]
    assert np.array(told) == pytest.approx(np.asarray(estimates), abs=1e-6)
    assert [row["rock"] for row in rows] == [NAMES[code] for code in np.argmax(told, axis=1)]


def test_a_set_has_the_classes_as_probable_as_true_ones_of_other_groups_were(here):
    run = qexp.open_run("rocks_1")
    rows = formats.read_netcdf(run.path / "results" / "test_predictions.nc")
    probabilities = np.stack([rows[f"rock_probability_{name}"] for name in NAMES], axis=1)
    codes = [NAMES.index(name) for name in rows["rock"].values.tolist()]
    true = probabilities[np.arange(ROWS), codes]
    quarries = rows["quarry"].values
    held = 0
    for row, each, quarry in zip(
        formats.read_csv(run.path / "results" / "intervals.csv"),
        probabilities,
        quarries,
        strict=True,
    ):
        least = min(true[quarries != quarry].min(), each.max())  # eight quarries promise 8 / 9
        assert row["rock_set"].split(" | ") == [
            name for name, share in zip(NAMES, each, strict=True) if share >= least
        ]
        held += row["rock"] in row["rock_set"]
    [overall] = [one for one in run.held_out_intervals().overall if one.interval == 0.9]
    assert overall.covered == held
    assert "mean width (classes)" in call("show", "rocks_1").done()
    call("predict", "rocks_1", "data/rocks.csv", "--interval", "0.9", "--output", "in.csv").done()
    sets = [row["rock_set"] for row in formats.read_csv(here / "in.csv")]
    (here / "gap.csv").write_text("a,b,c,d\n1,,0,0\n1,1,0,0\n")
    call("predict", "rocks_1", "gap.csv", "--output", "of_gap.csv").done()
    empty, full = [row["rock_set"] for row in formats.read_csv(here / "of_gap.csv")]
    assert not empty
    assert full
    oxides = np.array(
        [
            [float(row[name]) for name in "abcd"]
            for row in formats.read_csv(here / "data" / "rocks.csv")
        ]
    )
    [members] = run.predict_interval(0.9, oxides=oxides)["rock"]
    means = np.asarray(run.predict(oxides=oxides)["rock"])
    assert (members == (means >= np.minimum(true.min(), means.max(axis=1, keepdims=True)))).all()
    assert sets == [" | ".join(np.array(NAMES)[row.astype(bool)]) for row in np.asarray(members)]


def test_names_of_rows_are_counted_and_drawn_by_name_and_by_group(here):
    codes = Counter(row[4] for row in rocks(np.random.default_rng(1)))
    said = call("data", "show", "rocks", "--format", "svg", "--out", here / "look").done()
    for name in NAMES:
        assert re.search(rf"^{name} +{codes[name]} +{100 * codes[name] / ROWS:.1f} %$", said, re.M)
    assert not re.search("^rock +270 ", said, re.M)
    for figure in ("histograms", "rock_by_quarry"):
        drawn = (here / "look" / f"all_{figure}.svg").read_text("utf-8")
        assert all(f"<!-- {name} -->" in drawn for name in NAMES)


def test_a_class_that_nothing_tells_claims_no_skill(here):
    write_rocks(here, rocks(np.random.default_rng(3), told=False))
    results = qexp.run("rocks", seed=2, name="noise", overrides={"epochs": 5}).results
    low, _ = qexp.open_run("noise").record["intervals"]["test"]["rock"]["balanced_accuracy"]
    assert low < 1 / 3
    assert results["test"]["rock"]["log_score"] > 0.95 * np.log(3)


def test_names_are_codes_and_codes_names():
    classes = Classes("rock", names=("a", "b", "2"))
    codes = classes.codes(np.array(["b", " a ", "", "2.0", "c"]))
    assert codes == pytest.approx([1, 0, np.nan, 2, np.nan], nan_ok=True)
    assert classes.written(codes).tolist() == ["b", "a", "", "2", ""]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"classes": {"rock": ["Basalt", "granite", "schist"]}}, "did you mean 'Basalt'?"),
        ({"classes": {"rock": [*NAMES, "gneiss"]}}, "no sample is 'gneiss'"),
        ({"classes": {"rock": ["granite", "schist"]}}, "'basalt' in rows"),
        ({"classes": {"rock": ["basalt"]}}, "2"),
        ({"classes": {}}, 'declare them: "classes": {"rock": ["basalt", "granite", "schist"]}'),
        ({"classes": {"stone": NAMES}}, "'stone' is no output"),
        ({"classes": {"rock": ["a/b", "granite"]}}, "a/b"),
    ],
)
def test_names_that_are_no_classes_are_said(here, change, complaint):
    write_specs(here, datasets={**DATASET, **change})
    assert complaint in call("validate", "specs/experiences/rocks.json").failed()


def test_a_class_of_one_group_is_said_to_be_unknown_where_the_group_is_held_out(here):
    rows = rocks(np.random.default_rng(4))
    write_rocks(here, [row for row in rows if row[4] != "schist" or row[5] == "Q5"])
    checked = call("validate", "specs/experiences/rocks.json")
    assert checked.code == 0
    assert "has no sample of 'schist', so that it cannot be recognised there" in checked.stderr


@pytest.mark.parametrize(
    ("where", "value", "complaint"),
    [
        ("head.parameters.classes", 4, "declares 3 classes of 'rock': basalt, granite, schist"),
        ("head", {"module": "denses", "parameters": {"filters": [3]}}, "'rock' is a class"),
        ("head.parameters.weights", [1, 2], "2 weights for 3 classes"),
    ],
)
def test_heads_that_do_not_fit_the_classes_are_said(here, where, value, complaint):
    model = json.loads(json.dumps(MODEL))
    inner = model["operations"]
    *keys, last = where.split(".")
    for key in keys:
        inner = inner[key]
    inner[last] = value
    write_specs(here, models=model)
    assert complaint in call("validate", "specs/experiences/rocks.json").failed()


def test_baselines_of_classes_stand_beside_the_network(here):
    rows = {row["estimator"]: row for row in qexp.open_run("rocks_1").record["comparison"]}
    assert [*rows] == ["network", "majority", "logistic_regression"]
    accuracy = qexp.open_run("rocks_1").results["test"]["rock"]["accuracy"]
    assert rows["network"]["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert rows["majority"]["metrics"]["accuracy"] < 0.5
    assert abs(rows["logistic_regression"]["metrics"]["accuracy"] - accuracy) < 0.1
    assert rows["majority"]["difference"] > 0
    assert "logistic_regression" in call("show", "rocks_1").done()


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("metrics", {"rock": "rmse"}, "'rmse' is no metric of classes; use accuracy"),
        ("baselines", ["ridge"], "'ridge' is no baseline of classes; use random_forest"),
        ("transforms", {"rock": "standardize"}, "'rock' is a class, which has no transforms"),
        ("limits", {"rock": [0, 1]}, "'rock' is a class, which has no limits"),
        ("losses", "mse", "negative_log_likelihood"),
    ],
)
def test_what_only_numbers_can_have_is_refused_for_classes(here, key, value, complaint):
    write_specs(here, experiences={**EXPERIENCE, key: value})
    assert complaint in call("validate", "specs/experiences/rocks.json").failed()


def test_classes_are_told_one_by_one_with_whether_their_probabilities_are_right(here):
    kept = json.loads((here / "runs/rocks_1/results/classes.json").read_text())
    told = kept["outputs"]["rock"]
    assert told["samples"] == sum(one["samples"] for one in told["classes"].values()) == ROWS
    shown = call("show", "rocks_1").done()
    assert "classes of rock" in shown
    assert "granite" in shown

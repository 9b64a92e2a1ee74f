"""Gaps in the inputs of a table are filled in by what the training rows of each network have,
wherever it estimates.
"""

import csv
import json

import numpy as np
import pytest
import torch

import qexp as qexp_package
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds.experiments import experience
from qexp.kinds.networks import load_models
from qexp.kinds.objects import dataset_of
from qexp.kinds.rows.folds import Folds
from qexp.kinds.tables import tables_with
from qexp.networks.estimator import Ensemble
from qexp.networks.training import transformed
from qexp.runs import plan
from qexp.runs.prepare import prepare
from qexp.store.directory import RunDirectory
from tests import stones
from tests.runs.conftest import files_of_folds

RULES = pytest.mark.parametrize("by", ["mean", "median", "regression"])
INDICATED = {
    "inputs": {"colour": {"size": [3]}, "gaps": {"size": [3]}},
    "outputs": ["iron"],
    "operations": {"join": {"module": "concatenate"}, **stones.MODEL["operations"]},
    "branches": [
        {"x_name": ["colour", "gaps"], "y_name": "iron", "operations": ["join", "network"]}
    ],
}


def with_gaps():
    """The stones without some reds and greens; all have a blue."""
    rows = stones.table()
    for row in rows[1::3]:
        row[1] = ""
    for row in rows[2::4]:
        row[2] = ""
    return rows


@pytest.fixture
def write_gaps(write, workspace):
    """`write_gaps(rows, "mean")`: the experience `stones` on rows with gaps, and an input
    `gaps`.
    """

    def write_gaps(rows, by, **changes):
        write(rows, inputs=["colour", "gaps"], **changes)
        missing = {"type": by, "parameters": {"indicator": "gaps"}}
        (workspace / "specs/datasets/stones.json").write_text(
            json.dumps({**stones.DATASET, "missing": missing})
        )
        (workspace / "specs/models/stones.json").write_text(json.dumps(INDICATED))

    return write_gaps


def qexp_run(name):
    return RunDirectory(qexp_package.run("stones", name=name, device="cpu").path)


@pytest.fixture
def folds(write_gaps, workspace):
    """`folds(rows, "mean")`: what would be trained."""

    def folds(rows, by):
        write_gaps(rows, by)
        place = Workspace(workspace)
        name = f"stones_{len(list((workspace / 'runs').glob('*')))}"
        directory = prepare(plan.plan_run(experience("stones", {}, place), 0, name, place), place)
        spec, tables = directory.spec(), tables_with(directory.extensions)
        return Folds(
            spec, dataset_of(spec["dataset"], tables), tables, Seeds(0), torch.device("cpu")
        )

    return folds


@RULES
def test_neither_held_out_nor_validation_rows_tell_what_fills_the_gaps_of_training_rows(folds, by):
    sound = folds(with_gaps(), by)
    fold = sound.folds[0]
    part = sound.inner(fold)[0]
    rows = with_gaps()
    for number in {*fold.test, *part.test}:
        rows[number][1:4] = [1000 + number, "" if rows[number][2] else -3000, 5000 - number]
    bad = folds(rows, by)

    def seen(made):
        task = made.inner_tasks(made.folds[0], made.candidates[0])[0]
        return transformed(task.model, task.train, "training")

    for name, values in seen(sound).items():
        assert values.isfinite().all()
        assert torch.equal(values, seen(bad)[name]), name
    statistics = []
    for made in (sound, bad):  # filled in by all rows, the same training rows would be others
        task = made.inner_tasks(made.folds[0], made.candidates[0])[0]
        task.model.imputation.fit(made.dataset.samples(made.dataset.rows, torch.device("cpu")))
        statistics.append(task.model.completed(task.train)["colour"])
    assert not torch.equal(*statistics)


@pytest.mark.heavy
def test_a_run_fills_in_new_rows_as_it_learned_to_and_twice_the_same(write_gaps, qexp, workspace):
    write_gaps(
        with_gaps(), "regression", epochs=2, baselines=["mean", "ridge", "gradient_boosting"]
    )
    made, again = (qexp_run(name) for name in ("made", "again"))
    first, second = (list(files_of_folds(run).values()) for run in (made, again))
    assert first == second
    assert all(row.rmse is not None for row in made.record().comparison)
    lines = ["red,green,blue", "0.5,0.5,0.5", ",0.5,0.5", "0.5,0.5,", ",,", "inf,0.5,0.5"]
    (workspace / "new.csv").write_text("\n".join(lines))
    code, _, stderr = qexp("predict", "made", "new.csv", "--output", "out.csv")
    assert code == 0, stderr
    assert "2 without an estimate, because all are missing or one is infinite" in stderr
    assert "filled in by what the training rows have (red: 1, blue: 1)" in stderr
    assert "no training row had a gap in 'blue', as rows here have" in stderr
    cells = list(csv.DictReader((workspace / "out.csv").open(newline="")))
    estimates = [float(line["iron (wt%)"] or "nan") for line in cells]
    assert np.isfinite(estimates[:3]).all()
    assert np.isnan(estimates[3:]).all()
    colours = torch.tensor([[0.5, 0.5, 0.5], [np.nan, 0.5, 0.5], [0.5, 0.5, np.nan]])
    models = load_models(made, torch.device("cpu"))
    assert Ensemble(models).estimate({"colour": colours})["iron"][:, 0].tolist() == pytest.approx(
        estimates[:3]
    )
    of_arrays = qexp_package.open_run(made.path).predict(colour=colours.numpy())["iron"]
    assert of_arrays.tolist() == pytest.approx(estimates[:3])


def test_an_indicator_of_some_inputs_a_transform_of_it_and_training_rows_without_a_value_are_refused(
    write_gaps, qexp
):
    write_gaps(with_gaps(), "mean", transforms={"gaps": "standardize"})
    assert "'gaps' takes no transform" in qexp("validate", "specs/experiences/stones.json").failed()
    rows = with_gaps()
    for row in rows[6:]:
        row[1] = ""
    write_gaps(rows, "mean", inner=None, keep="last")
    message = qexp("validate", "specs/experiences/stones.json").failed()
    assert (
        "in the fold '001', none of 18 training rows has a value in column 'red': leave it out of"
        " the inputs" in message
    )
    for row in rows:
        row[1] = ""
    write_gaps(rows, "mean")
    assert (
        "column 'red': no row has a value"
        in qexp("validate", "specs/experiences/stones.json").failed()
    )


@pytest.mark.heavy
def test_an_exported_network_fills_in_gaps_and_is_not_written_without_what_does(
    write_gaps, workspace
):
    onnxruntime = pytest.importorskip("onnxruntime")
    split = {"type": "random", "parameters": {"share": 0.25}}
    write_gaps(with_gaps(), "regression", epochs=2, inner=None, keep="last", split=split)
    made = qexp_run("one")
    with pytest.raises(QexpError, match="gaps in its inputs filled in"):
        qexp_package.export_network(made.path, workspace / "raw")
    qexp_package.export_network(made.path, workspace / "physical", physical=True)
    colours = np.array([[0.5, 0.5, 0.5], [np.nan, 0.5, 0.5], [0.5, np.nan, np.nan]], np.float32)
    (own,) = load_models(made, torch.device("cpu"))
    session = onnxruntime.InferenceSession(workspace / "physical/model.onnx")
    (theirs,) = session.run(None, {"colour": colours})
    assert theirs == pytest.approx(
        own.estimate({"colour": torch.from_numpy(colours)})["iron"].numpy(), rel=1e-5
    )
    assert "A missing input is NaN" in (workspace / "physical/README.md").read_text()

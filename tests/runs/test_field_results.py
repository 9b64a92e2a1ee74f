"""What a run on gridded fields leaves: errors of whole test frames, pictures, tables; and how it is
judged again.
"""

import csv
import json
import os
import signal

import numpy as np
import pytest
import torch

import qexp
from qexp.base.outputs import Number
from qexp.errors import InterruptedRunError, QexpError
from qexp.kinds.attempt import Display
from qexp.kinds.fields import evaluation
from qexp.kinds.fields.errors import OF_VECTORS, Tally, error_table
from qexp.kinds.networks import load_model
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import BUILT_IN
from qexp.metrics.built_in import METRICS
from qexp.metrics.metric import evaluate
from tests import domes
from tests.conftest import call, copied, drawing, shared_folder

METRICS_OF = {
    name: {metric: METRICS[metric].build() for metric in Number.always} for name in ("ubar", "vbar")
}


@shared_folder
def root(root):
    """A workspace with a finished run `domes_0`, judged on two folders."""
    assert call("init", root).code == 0
    domes.write_folders(root / "data/domes", test=2)
    domes.write(root)
    with drawing():
        qexp.run("domes", device="cpu", workspace=root)


@pytest.fixture
def run(root):
    return qexp.open_run("domes_0", workspace=root)


@pytest.fixture
def here(root, tmp_path, monkeypatch):
    """A copy of the workspace, which is the current directory."""
    return copied(root, tmp_path, monkeypatch)


def judged_frames(run):
    """Estimates and truths of all cells with ice, output → (cell,), straight from the files."""
    model = load_model(run.directory, torch.device("cpu"))
    dataset = dataset_of(run.spec["dataset"], BUILT_IN)
    estimates, truths = {}, {}
    for frames in dataset.parts["test"]:
        read = frames.read([*domes.FIELDS, "ubar", "vbar"], 0, len(frames))
        samples = {name: torch.from_numpy(read[name]).unsqueeze(1) for name in domes.FIELDS}
        made = model.estimate(samples)
        for name in ("ubar", "vbar"):
            ice = read["thk"] > domes.DATASET["threshold"]
            estimates.setdefault(name, []).append(made[name][:, 0].numpy()[ice])
            truths.setdefault(name, []).append(read[name][ice])
    return tuple(
        {name: np.concatenate(parts) for name, parts in of.items()} for of in (estimates, truths)
    )


# Errors


@pytest.mark.heavy
def test_results_are_metrics_of_all_test_cells_with_ice_and_errors_of_vectors_mean_lengths_of_their_differences(
    run,
):
    estimates, truths = judged_frames(run)
    for name in ("ubar", "vbar"):
        expected = evaluate(METRICS_OF[name], estimates[name], truths[name])
        assert run.results["test"][name] == pytest.approx(expected, rel=1e-6)
    along_x, along_y = (estimates[name].astype(float) - truths[name] for name in ("ubar", "vbar"))
    speed = np.hypot(*(truths[name].astype(float) for name in ("ubar", "vbar"))).mean()
    error = np.hypot(along_x, along_y).mean()
    expected = {"mean_error": error, "mean_speed": speed, "percent": 100 * error / speed}
    assert run.record["errors"]["vectors"] == {"ubar, vbar": pytest.approx(expected, rel=1e-6)}


@pytest.mark.heavy
def test_folders_and_classes_of_thickness_share_out_all_cells_without_rest(run):
    errors = json.loads((run.path / "results/errors.json").read_text())
    total = errors["overall"]["cells"]
    assert total == run.record["errors"]["cells"] > 0
    assert set(errors["folders"]) == {"d0", "d1"}
    for parts in (errors["folders"].values(), errors["thickness"]):
        assert sum(part["cells"] for part in parts) == total
        of_all = sum(part["cells"] * part["outputs"]["ubar"]["mae"] for part in parts) / total
        assert of_all == pytest.approx(errors["overall"]["outputs"]["ubar"]["mae"])
    lower, upper = ([part[key] for part in errors["thickness"]] for key in ("above", "up_to"))
    assert lower[0] == domes.DATASET["threshold"]
    assert lower[1:] == upper[:-1]


def test_a_shift_by_three_and_four_is_an_error_of_five_and_a_bias_of_three():
    truth = {"u": np.array([0, 6, 0], np.float32), "v": np.array([8, 8, 5], np.float32)}
    tally = Tally({"u": METRICS_OF["ubar"], "v": METRICS_OF["vbar"], "u, v": OF_VECTORS}, None)
    tally.add({"u": truth["u"] + 3, "v": truth["v"] + 4}, truth, None)
    assert tally.total.metrics()["u"]["bias"] == 3
    speed = (8 + 10 + 5) / 3
    expected = {"mean_error": 5, "mean_speed": speed, "percent": pytest.approx(100 * 5 / speed)}
    assert tally.total.document()["vectors"] == {"u, v": expected}


def tally(threshold):
    return Tally({"u": METRICS_OF["ubar"]}, threshold)


@pytest.mark.parametrize("threshold", [None, 0.0, 1.0, 7.0])
@pytest.mark.parametrize("thickest", [3.0, 30.0, 430.0, 9000.0])
def test_classes_follow_each_other_and_cells_that_are_seen_piece_by_piece_count_alike(
    threshold, thickest
):
    random = np.random.default_rng(2)
    thickness = (thickest * random.uniform(0, 1, 4000) ** 3).astype(np.float32)
    truth = {"u": random.normal(size=len(thickness)).astype(np.float32)}
    estimate = {"u": truth["u"] + thickness}
    whole, pieces = tally(threshold), tally(threshold)
    whole.add(estimate, truth, thickness)
    for some in np.array_split(np.arange(len(thickness)), 7):
        piece = tally(threshold)
        piece.add({"u": estimate["u"][some]}, {"u": truth["u"][some]}, thickness[some])
        pieces += piece
    assert whole.total.cells == (
        len(thickness) if threshold is None else (thickness > threshold).sum()
    )
    assert len(list(whole.by_thickness())) <= 9
    for lower, upper, errors in whole.by_thickness():
        inside = (thickness > (-1 if lower is None else lower)) & (
            thickness <= (np.inf if upper is None else upper)
        )
        assert errors.cells == inside.sum() > 0
        # The error is the thickness, so that its mean lies in the class.
        assert errors.metrics()["u"]["bias"] == pytest.approx(thickness[inside].mean(), rel=1e-5)
    for (*edges, errors), (*others, same) in zip(
        whole.by_thickness(), pieces.by_thickness(), strict=True
    ):
        assert edges == others
        assert errors.cells == same.cells
        assert errors.metrics()["u"] == pytest.approx(same.metrics()["u"])


def test_without_a_thickness_all_cells_count_and_there_are_no_classes():
    bare = tally(None)
    bare.add({"u": np.ones(5, np.float32)}, {"u": np.zeros(5, np.float32)}, None)
    assert (bare.total.cells, list(bare.by_thickness())) == (5, [])


@pytest.mark.heavy
def test_frames_that_are_estimated_one_by_one_have_the_errors_of_those_estimated_together(
    here, monkeypatch
):
    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", 1)
    again = qexp.run("domes", name="again", device="cpu")
    together = qexp.open_run("domes_0").results["test"]
    for output, metrics in again.results["test"].items():
        assert metrics == pytest.approx(together[output], rel=1e-5)


# Files


@pytest.mark.heavy
def test_tables_have_a_line_per_group_and_per_epoch(run):
    with (run.path / "results/errors.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    errors = json.loads((run.path / "results/errors.json").read_text())
    assert len(lines) == 3 * (1 + len(errors["folders"]) + len(errors["thickness"]))
    assert (run.path / "results/errors.csv").read_text() == error_table(errors)
    first = lines[0]
    assert (first["of"], first["output"], first["unit"]) == ("overall", "ubar", "m a-1")
    assert float(first["mae"]) == run.results["test"]["ubar"]["mae"]
    of_folders = [
        line for line in lines if line["of"] == "folder" and line["output"] != "ubar, vbar"
    ]
    for line, group in zip(of_folders, run.record["groups"], strict=True):
        assert (line["name"], line["output"], int(line["n"])) == (
            group["name"],
            group["output"],
            group["n"],
        )
        assert float(line["rmse"]) == group["metrics"]["rmse"]
    with (run.path / "results/history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert [int(line["epoch"]) for line in history] == [1, 2, 3]
    for line, known in zip(history, run.metrics, strict=True):
        assert float(line["train.losses.vbar"]) == known["train"]["losses"]["vbar"]
        assert float(line["validation.ubar.mae"]) == known["validation"]["ubar"]["mae"]


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_the_same_run_again_leaves_the_same_bytes(here):
    again = qexp.run("domes", name="domes_again", device="cpu")
    first = qexp.open_run("domes_0")
    for file in ("errors.json", "errors.csv", "history.csv", "figures/d0/frame_001.png"):
        assert (first.path / "results" / file).read_bytes() == (
            again.path / "results" / file
        ).read_bytes(), file
    assert call("verify", "domes_0").code == 0


# Commands


@pytest.mark.heavy
def test_a_run_on_fields_is_shown_with_its_data_and_the_errors_of_its_vectors(root, run):
    stdout = call("show", "domes_0", "--workspace", root).done()
    fingerprint = run.spec["dataset"]["fingerprint"][:16]
    for words in (
        f"domes, SHA-256 {fingerprint}",
        "200 x 200 m",
        "16 x 16 cells",
        "(ubar, vbar)",
        "random_groups",
    ):
        assert words in stdout, words
    shown = json.loads(call("show", "domes_0", "--json", "--workspace", root).stdout)
    assert shown["errors"] == run.record["errors"]
    assert shown["errors"]["frame"] == [20, 24]
    assert shown["errors"]["seconds_per_frame"] > 0
    assert shown["units"] == {"ubar": "m a-1", "vbar": "m a-1"}


@pytest.mark.heavy
def test_listing_comparing_examining_exporting_and_removing_work_as_for_other_runs(here):
    qexp.run("domes", seed=1, device="cpu")
    listed = {run["name"]: run for run in json.loads(call("ls", "--json").stdout)}
    assert listed["domes_0"]["results"] == qexp.open_run("domes_0").results
    assert "ubar" in call("compare", "domes_0", "domes_1").stdout
    assert call("doctor").code == 0
    assert call("export", "domes_0", "--to", "domes.zip").code == 0
    assert call("rm", "domes_0").code == 0
    assert call("import", "domes.zip").code == 0
    assert qexp.open_run("domes_0").state == "done"


@pytest.mark.heavy
def test_a_run_whose_errors_are_gone_or_spoilt_is_not_taken_for_done(here):
    errors = here / "runs/domes_0/results/errors.json"
    for spoil in (lambda: errors.write_text("{"), errors.unlink):
        spoil()
        code, stdout, stderr = call("doctor")
        assert (code, "errors.json" in stdout + stderr) == (5, True)
    with pytest.raises(QexpError, match="some of its results are missing"):
        qexp.run("domes", device="cpu")


class StopsWhenTrained(Display):
    """Asks the process to end as soon as training is over, which is when judging begins."""

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.heavy
def test_a_run_that_is_interrupted_while_it_is_judged_is_judged_again_without_training(here):
    with pytest.raises(InterruptedRunError):
        qexp.run("domes", name="stopped", device="cpu", display=StopsWhenTrained())
    stopped = here / "runs/stopped"
    assert qexp.open_run("stopped").state == "interrupted"
    assert not (stopped / "results/errors.json").exists()
    weights = {path.name: path.read_bytes() for path in (stopped / "checkpoints").iterdir()}
    lines = (stopped / "metrics.jsonl").read_bytes()
    resumed = qexp.run("domes", name="stopped", device="cpu", resume=True)
    assert resumed.results == qexp.open_run("domes_0").results
    assert {path.name: path.read_bytes() for path in (stopped / "checkpoints").iterdir()} == weights
    assert (stopped / "metrics.jsonl").read_bytes() == lines

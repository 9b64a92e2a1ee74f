"""Runs of experiences on rows of files: nothing of a held-out row reaches what it judges, and no
fold is lost.
"""

import csv
import json
import math
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, RunFailedError
from qexp.networks import checkpoint
from qexp.runs.options import VerifyOptions
from qexp.store.directory import RunDirectory
from qexp.store.record import FoldCount, State
from qexp.upkeep.verify import verify
from tests.conftest import read_estimates
from tests.runs.conftest import Process, files_of_folds, until
from tests.stones import AS_PUBLISHED, CAUTION, MANY, ROWS, table


def poisoned() -> list[list[Any]]:
    """The table with other values in the rows that the first fold holds out."""
    rows = table()
    for row in rows[: ROWS // 4]:
        row[1:] = [value * 50 + 7 for value in row[1:]]
    return rows


def weights(run: RunDirectory, fold: str) -> bytes:
    return run.fold(fold).best_weights.read_bytes()


CHOOSING = {
    "select": {"learning_rate": [0.003, 0.02]},
    "additional_callbacks": [["early_stopping", {"patience": 2}]],
    "members": 2,
}


SELECTING = {"select": {"learning_rate": [0.003, 0.02]}, "keep": "last"}


@pytest.mark.heavy
@pytest.mark.parametrize("changes", [{}, CHOOSING, {"keep": "last", "inner": None}, SELECTING])
def test_held_out_rows_reach_no_transform_no_callback_no_choice_and_no_weight(run, changes):
    sound, bad = run(None, "sound", **changes), run(poisoned(), "bad", **changes)
    assert weights(sound, "001") == weights(bad, "001")
    assert all(weights(sound, fold) != weights(bad, fold) for fold in ("002", "003", "004"))
    chosen = [one.fold("001").record().fold.chosen for one in (sound, bad)]
    assert chosen[0] == chosen[1]


@pytest.mark.heavy
def test_as_published_they_do_and_every_output_says_so(run, qexp, workspace):
    bad, sound = run(poisoned(), "bad", **AS_PUBLISHED), run(None, "sound", **AS_PUBLISHED)
    assert weights(sound, "001") != weights(bad, "001")
    assert qexp("run", "stones", "--name", "sound").done().splitlines()[2] == CAUTION
    honest = run(None, "honest")
    assert sound.record().caution == sound.fold("002").record().caution == CAUTION
    assert honest.record().caution == ""
    assert (
        CAUTION
        in xarray.load_dataset(sound.results / "test_predictions.nc", engine="h5netcdf").attrs[
            "caution"
        ]
    )
    assert [row.note for row in sound.record().comparison if row.estimator == "network"] == [
        CAUTION
    ]
    for fold in sound.all_folds():
        lines = list(csv.DictReader((fold.path / "predictions.csv").open(newline="")))
        assert {line["caution"] for line in lines} == {CAUTION}
    for command in (
        ("show", "sound"),
        ("ls",),
        ("ls", "--json"),
        ("ls", "--csv"),
        ("compare", "sound", "honest"),
        ("compare", "sound", "honest", "--csv"),
        ("compare", "sound", "honest", "--latex"),
        ("compare", "sound", "honest", "--json"),
        ("compare", "s*", "h*"),
        ("compare", "s*", "h*", "--markdown"),
    ):
        assert CAUTION in qexp(*command).done(), command
    assert CAUTION not in qexp("show", "honest").stdout
    (workspace / "pixels.csv").write_text(
        "\n".join(["red,green,blue", "0.5,0.5,0.5", "0.2,0.3,0.4"])
    )
    assert qexp("predict", "sound", "pixels.csv", "--output", "estimates.csv").code == 0
    assert json.loads(Path("estimates.csv.json").read_text())["origin"]["caution"] == CAUTION


@pytest.mark.heavy
def test_every_fold_is_compared_with_its_own_training_mean_and_groups_are_listed(run):
    split = {"type": "group_k_fold", "parameters": {"by": "quarry", "folds": 2}}
    made = run(None, epochs=2, split=split, metrics={"iron": "r2_training_mean"})
    lines = list(csv.DictReader((made.results / "predictions.csv").open(newline="")))
    truth, estimate = (
        np.array([float(line[key]) for line in lines]) for key in ("iron", "iron_estimate")
    )
    fold = np.array([line["fold"] for line in lines])
    means = np.array([truth[fold != own].mean() for own in fold])
    found = made.record().results["test"]["iron"]["r2_training_mean"]
    assert found == pytest.approx(
        1 - np.sum((estimate - truth) ** 2) / np.sum((truth - means) ** 2)
    )
    low, high = made.record().intervals["test"]["iron"]["r2_training_mean"]
    assert low < found < high
    errors = list(csv.DictReader((made.results / "errors.csv").open(newline="")))
    assert [(one["of"], one["name"], one["n"]) for one in errors] == [
        ("overall", "", "24"), *(("quarry", quarry, "6") for quarry in "ABCD"),
    ]  # fmt: skip
    for one in errors[1:]:
        own = np.array([line["stone"].startswith(one["name"]) for line in lines])
        assert float(one["mae"]) == pytest.approx(np.mean(np.abs(estimate - truth)[own]))
        apart = np.sum((truth - means)[own] ** 2)
        assert float(one["r2_training_mean"]) == pytest.approx(
            1 - np.sum((estimate - truth)[own] ** 2) / apart
        )
    assert [one.name for one in made.record().groups] == list("ABCD")
    assert not (run(None, "apart", epochs=1).results / "errors.csv").exists()


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_the_result_is_over_all_held_out_rows_together(run):
    made = run(baselines=["mean", "ridge"])
    lines = [
        line
        for fold in made.all_folds()
        for line in csv.DictReader((fold.path / "predictions.csv").open(newline=""))
    ]
    assert sorted(line["stone"] for line in lines) == sorted(row[0] for row in table())
    together = list(csv.DictReader((made.results / "predictions.csv").open(newline="")))
    assert [line.pop("fold") for line in together] == [
        fold.name
        for fold in made.all_folds()
        for _ in csv.DictReader((fold.path / "predictions.csv").open())
    ]
    assert together == lines
    assert sorted(int(line["row"]) for line in lines) == list(range(2, ROWS + 2))
    error = [float(line["iron_estimate"]) - float(line["iron"]) for line in lines]
    metrics = made.record().results["test"]["iron"]
    assert metrics["rmse"] == pytest.approx(math.sqrt(np.mean(np.square(error))))
    assert metrics["bias"] == pytest.approx(np.mean(error))
    low, high = made.record().intervals["test"]["iron"]["rmse"]
    assert low < metrics["rmse"] < high
    estimators = {row.estimator: row for row in made.record().comparison}
    assert set(estimators) == {"network", "mean", "ridge"}
    assert estimators["network"].rmse == pytest.approx(metrics["rmse"])
    assert estimators["ridge"].difference == pytest.approx(
        estimators["ridge"].rmse - metrics["rmse"]
    )
    table_of_all = xarray.load_dataset(made.results / "test_predictions.nc", engine="h5netcdf")
    assert table_of_all["iron_estimate"].attrs["units"] == "wt%"
    assert list(table_of_all["stone"].values) == [row[0] for row in table()]
    assert {path.name for path in (made.results / "figures").iterdir()} == {
        "held_out.png", "residuals.png", "coverage.png", "fold_curves.png",
    }  # fmt: skip


@pytest.mark.heavy
def test_what_the_rows_may_not_have_meant_is_said_where_the_run_is_started(write, qexp):
    rows = table()
    rows[1][0] = rows[0][0]
    for row in rows:
        row[3] = 0.5
    write(rows, transforms={}, epochs=1)
    code, _, stderr = qexp("run", "stones", "--device", "cpu")
    assert code == 0, stderr
    assert "warning: identifiers in 'stone' are given to several rows: 'A0'" in stderr
    assert "warning: column 'blue' of 'colour' is 0.5 in all 24 rows" in stderr


@pytest.mark.parametrize(
    "name", ["row", "iron", "iron_low", "iron_estimate", "iron_spread", "caution"]
)
def test_an_identifier_that_is_called_like_a_column_of_the_results_is_refused_before_training(
    write, qexp, workspace, name
):
    write()
    rows = workspace / "data" / "stones.csv"
    rows.write_text(rows.read_text().replace("stone,", f"{name},", 1))
    dataset = workspace / "specs" / "datasets" / "stones.json"
    dataset.write_text(dataset.read_text().replace('"stone"', f'"{name}"'))
    stderr = qexp("validate", "specs/experiences/stones.json").failed()
    assert f"$.dataset: tables of the held-out rows have another column '{name}'" in stderr


@pytest.mark.heavy
def test_two_baselines_of_one_type_have_a_row_each_and_the_same_twice_is_refused(run, write, qexp):
    made = run(baselines=["ridge", {"type": "ridge", "parameters": {"penalties": [1e6]}}], epochs=2)
    rmse = {row.estimator: row.rmse for row in made.record().comparison}
    assert rmse["ridge"] < rmse["ridge (penalties 1000000)"]  # which hardly looks at the inputs
    write(baselines=["mean", "ridge", {"type": "ridge"}])
    assert (
        "$.baselines[2]: the same as $.baselines[1]"
        in qexp("validate", "specs/experiences/stones.json").failed()
    )


@pytest.mark.heavy
def test_networks_of_the_inner_folds_are_averaged_or_new_ones_trained_on_all_training_rows(run):
    def networks(made: RunDirectory) -> list[str]:
        return [network.name for network in made.fold("003").record().fold.networks]

    averaged = run(None, "averaged", members=2)
    assert networks(averaged) == [
        f"003/{part}/{member}" for part in ("001", "002", "003") for member in (0, 1)
    ]
    refitted = run(None, "refitted", keep="last", inner=None, members=2)
    assert networks(refitted) == ["003/all/0", "003/all/1"]
    assert all(one.epoch == 8 for one in refitted.fold("003").record().fold.networks)


@pytest.mark.heavy
def test_what_is_selected_is_what_does_better_on_the_inner_folds(run):
    made = run(select={"learning_rate": [1e-7, 0.02]}, keep="last")
    assert {fold.record().fold.chosen["learning_rate"] for fold in made.all_folds()} == {0.02}
    assert made.record().results["test"]["iron"]["r2"] > 0


@pytest.mark.heavy
def test_groups_are_held_out_whole_and_drawn_whole(run):
    made = run(split={"type": "group_k_fold", "parameters": {"by": "quarry"}}, epochs=2)
    assert [fold.name for fold in made.all_folds()] == ["A", "B", "C", "D"]
    held = made.fold("B").record().fold.held_out
    assert {stone[0] for stone in held.values()} == {"B"}
    assert made.record().comparison[0].groups == 4


def has_done(run: RunDirectory, least: int) -> bool:
    return sum(fold.best_weights.exists() for fold in run.all_folds()) >= least


@pytest.mark.heavy
def test_a_run_that_was_interrupted_or_killed_among_its_folds_comes_to_the_same_bits(
    write, workspace, start
):
    write(**MANY)
    whole = package.run("stones", name="whole", device="cpu")
    run = RunDirectory(workspace / "runs" / "stones_0")
    for least, number, expected in ((1, signal.SIGINT, 130), (10, signal.SIGKILL, -9)):
        cut: Process = start("run", "stones", "--name", "stones_0", "--device", "cpu", "--resume")
        until(partial(has_done, run, least), "that more folds are done")
        cut.send(number)
        assert cut.end()[0] == expected
        assert any(not fold.best_weights.exists() for fold in run.all_folds())
        with pytest.raises(QexpError, match=r"folds are not done: .*; continue with resume=True"):
            package.open_run("stones_0").predict(colour=[[0.1, 0.2, 0.3]])
    resumed = package.run("stones", device="cpu", resume=True)
    assert files_of_folds(run) == files_of_folds(RunDirectory(whole.path))
    assert resumed.results == whole.results
    assert not (run.folds / ".stacks").exists()


@pytest.mark.heavy
def test_a_fold_that_is_gone_is_trained_again_to_the_same_bits(run, workspace):
    made = run()
    before = files_of_folds(made)
    (made.fold("003").best_weights).unlink()
    made.write(replace(made.record(), state=State.FAILED))
    package.run("stones", device="cpu", resume=True)
    assert files_of_folds(made) == before


@pytest.mark.slow
def test_a_fold_that_fails_is_named_and_the_others_are_kept(write, workspace):
    rows = table()
    rows[0][4] = 1e30  # in the training rows of all folds but the first
    write(rows, transforms={"colour": "standardize"}, keep="last", inner=None, learning_rate=1e3)
    with pytest.raises(
        RunFailedError, match=r"3 of 4 folds failed: 002, 003, 004; the first: .*002/all/0"
    ):
        package.run("stones", device="cpu")
    run = RunDirectory(workspace / "runs" / "stones_0")
    assert {fold.name: fold.record().state for fold in run.all_folds()} == {
        "001": "done", "002": "failed", "003": "failed", "004": "failed",
    }  # fmt: skip
    assert run.record().folds == FoldCount(done=1, of=4, failed=("002", "003", "004"))


@pytest.mark.heavy
def test_a_run_with_folds_is_proved_like_any_other(run, workspace):
    made = run(epochs=2)
    verification = verify(made, Workspace(workspace), VerifyOptions())
    assert verification.holds
    assert set(verification.identical) == {"weights", "held-out estimates", "metrics", "results"}
    tensors, document = checkpoint.read(made.fold("002").best_weights)
    name = next(iter(tensors))
    checkpoint.write(made.fold("002").best_weights, {**tensors, name: tensors[name] + 1}, document)
    assert not verify(made, Workspace(workspace), VerifyOptions()).identical["weights"]


@pytest.mark.heavy
def test_estimates_are_the_mean_over_all_networks_by_name_or_by_number(run, qexp, workspace):
    made = run()
    (workspace / "pixels.csv").write_text("pixel,blue,green,red\n0,0.3,0.5,0.7\n1,0.3,0.5,9.0\n")
    (workspace / "bare.csv").write_text("0,0.7,0.5,0.3\n")
    assert qexp("predict", "stones_0", "pixels.csv", "--output", "named.csv").code == 0
    assert qexp("predict", "stones_0", "bare.csv", "--output", "numbered.csv").code == 0
    named, numbered = (read_estimates(Path(name)) for name in ("named.csv", "numbered.csv"))
    assert named[0]["iron"] == numbered[0]["iron"]
    assert [line["outside"] for line in named] == ["0", "1"]
    estimate = package.open_run("stones_0").predict(colour=[[0.7, 0.5, 0.3]])["iron"]
    assert float(named[0]["iron"]) == pytest.approx(estimate[0], rel=1e-6)
    assert len(made.all_folds()) == 4
    again = qexp("predict", "stones_0", "pixels.csv", "--output", "named.csv")
    assert (again.code, again.stderr) == (0, "named.csv exists already\n")


@pytest.mark.heavy
def test_weights_of_folds_are_nobody_s_first_ones_and_a_fold_is_shown_like_a_run(run, qexp):
    made = run(epochs=2)
    assert (
        "has the networks of 4 folds"
        in qexp("run", "mogi_quick", "--pretrain", "stones_0").failed()
    )
    assert "k_fold (folds 4" in qexp("show", str(made.fold("002").path)).done()

"""Searches by trials: what is chosen from, what is looked at, and that no trial is lost or counted
twice.
"""

import csv
import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from statistics import fmean

import pytest
from optuna.distributions import IntDistribution

import qexp
from qexp.base.formats import read_lines
from qexp.errors import DamagedError, QexpError, RunFailedError
from qexp.store.directory import RunDirectory, read_annotations
from qexp.tuning.options import Tuning, read_space
from qexp.tuning.results import Objective, Tuned
from qexp.tuning.search import JournalFile, kept_line
from qexp.tuning.tune import check_tuning
from tests import cores, stones
from tests.conftest import SOUND, Specs, call, put, shared_folder, started
from tests.runs.conftest import until
from tests.runs.test_catalog import write_record

RATE = {"learning_rate": "log:1e-4:1e-2"}


def checked(specs, **options):
    return check_tuning(
        Tuning("sound", **{"space": RATE, **options}), qexp.base.workspace.find(specs.root)
    )


# What is searched


@pytest.mark.heavy
def test_a_range_is_of_whole_numbers_where_the_spec_takes_no_others(specs):
    space = checked(specs, space={"batch_size": "lin:2:4", **RATE, "sizes.0": [8, 16]}).space
    assert [isinstance(one.distribution, IntDistribution) for one in space.dimensions] == [
        True,
        False,
        False,
    ]
    values = space.overrides({"batch_size": 3, "learning_rate": 0.00123456789, "sizes.0": "16"})
    assert values == {"batch_size": 3, "learning_rate": 0.00123457, "sizes.0": 16}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"space": {"learning_rat": "log:1e-4:1e-2"}},
            r"space\[.learning_rat.\].*did you mean 'learning_rate'",
        ),
        ({"space": {"learning_rate": "log:1e-2:1e-4"}}, "1e-2 is not below 1e-4"),
        ({"space": {"learning_rate": "log:0:1e-2"}}, "equal ratios need positive ends"),
        ({"space": {"batch_size": "lin:0:4"}}, r"space\[.batch_size.\].*must be at least 1"),
        ({"space": {"losses.depth": ["mae", "mse"]}}, "changes what the loss is"),
        ({"space": {"dataset.fixed.noise": "lin:0:1"}}, "changes the validation part"),
        ({"space": {}}, "a search needs a space"),
        ({"space": {"": "lin:0:1"}}, "a key is empty; write"),
        ({"space": {"learning_rate": [0.1, 0.1]}}, r"space\[.learning_rate.\].*0.1 is given twice"),
        (
            {"space": {"learning_rate": list(range(1, 1002))}},
            "1,001 values; give at most 1,000, or lin:LOW",
        ),
        ({"jobs": 99_999}, "jobs=99999: at most 1,000 runs at a time"),
        ({"space": {"test": [True, False]}}, "trials never see the test part"),
        ({"overrides": {"test": False}}, "final_seeds=5.*is to test the best"),
        ({"overrides": {"learning_rate": 1}}, "keep one of them"),
        ({"metric": ["test.depth.mae"]}, "the validation part alone"),
        ({"metric": ["deep.mae"]}, "did you mean 'depth.mae'"),
        ({"metric": ["depth.may"]}, "did you mean 'depth.mae'"),
        ({"metric": ["loss", "depth.mae"], "pruner": "asha"}, "given up by one metric"),
        ({"sampler": "grid"}, "a grid needs a list of values"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"timeout": -1.0}, "timeout=-1: give a number of seconds above 0"),
        ({"timeout": float("nan")}, "timeout=.nan.: give a number"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(specs, options, said):
    with pytest.raises(QexpError, match=said):
        checked(specs, **options)
    assert not (specs.root / "studies").exists()


@pytest.mark.parametrize("text", ["=lin:0:1", "learning_rate", "learning_rate=", "a+=1,2"])
def test_a_space_without_a_key_or_values_is_told_what_a_space_is(text):
    with pytest.raises(QexpError, match="write KEY=log:LOW:HIGH, KEY=lin:LOW:HIGH, or a list"):
        read_space("--space", [text])


def test_metrics_of_qexp_in_the_lines_of_a_program_have_their_usual_meaning(specs):
    keys = {
        "type": "command",
        "command": ["true", "{seed}"],
        "parameters": {"x": 1},
        "metrics_file": "{run}/log.jsonl",
    }
    specs.write("experience", keys, "own")
    tuning = Tuning("own", space={"parameters.x": [1, 2]}, metric=["depth.mae", "depth.r2"])
    checked = check_tuning(tuning, qexp.base.workspace.find(specs.root))
    assert [one.best for one in checked.objectives] == ["lowest", "highest"]


def test_no_final_run_is_tested_on_what_the_search_would_have_trained_on(specs):
    cores.write(specs.root)
    drawn = {"type": "random_groups", "parameters": {"by": "core", "share": 0.3}}
    workspace = qexp.base.workspace.find(specs.root)
    with pytest.raises(
        QexpError, match="as the split is drawn by the seed; hold the test part out by name"
    ):
        check_tuning(
            Tuning("scratch", space=RATE, overrides={"split": drawn, "inner": drawn}), workspace
        )
    held_out = {"type": "held_out", "parameters": {"by": "core", "values": ["B1"]}}
    for overrides in ({}, {"split": held_out, "inner": drawn}):
        assert check_tuning(Tuning("scratch", space=RATE, overrides=overrides), workspace)
    assert check_tuning(
        Tuning("scratch", space=RATE, overrides={"split": drawn, "inner": drawn}, final_seeds=0),
        workspace,
    )


def test_a_trial_looks_at_no_test_part_while_it_trains(specs):
    specs.write("experience", put(SOUND["experience"], "additional_callbacks", ["test_evaluate"]))
    with pytest.raises(QexpError, match="looks at the test part"):
        checked(specs)


@pytest.mark.heavy
def test_a_final_run_that_was_removed_since_is_no_part_of_the_test_errors(tmp_path):
    for seed, error in ((1, 0.5), (2, 0.7)):
        write_record(
            tmp_path,
            f"best_{seed}",
            seed=seed,
            results={"test": {"depth": {"rmse": 9.0, "mae": error}}},
        )
    names = {"3": ("best_1", "gone_4", "best_2"), "5": ("gone_1",)}
    search = Tuned(
        folder="",
        experience="best",
        space={},
        objectives=(),
        overrides={},
        seeds=(),
        digest="",
        final=names,
    ).with_tests(tmp_path / "runs")
    assert {
        trial: {name: str(of) for name, of in errors.items()}
        for trial, errors in search.tested.items()
    } == {"3": {"depth mae": "0.60 ± 0.14 km"}}


def test_the_most_epochs_of_a_trial_are_those_of_the_space(specs):
    assert [
        checked(specs, space={"epochs": values}).epochs for values in ([2, 9, 4], "log:2:16")
    ] == [9, 16]


def test_the_metric_of_an_output_whose_name_has_a_dot_is_found():
    line = {"validation": {"loss": 1.0, "chamber.depth": {"mae": -0.5}}}
    found = [
        Objective(metric=name, best="zero").of_line(line)
        for name in ("loss", "chamber.depth.mae", "depth.mae")
    ]
    assert found == [1.0, 0.5, None]


# The journal


def test_an_entry_that_a_kill_has_torn_is_cut_off_and_the_others_are_read(tmp_path):
    file = tmp_path / "journal.jsonl"
    one, other = JournalFile(file), JournalFile(file)
    one.append_logs([{"op": 1}, {"op": 2}])
    with file.open("ab") as torn:
        torn.write(b'{"op":3,"val')
    assert list(other.read_logs(1)) == [{"op": 2}]
    other.append_logs([{"op": 4}])
    assert list(one.read_logs(0)) == [{"op": 1}, {"op": 2}, {"op": 4}]
    lines = file.read_bytes().splitlines(keepends=True)
    for changed, where in (
        (lines[1:], 1),
        ([lines[0], lines[2]], 2),
        ([*lines[:2], *lines[1:]], 3),
        (lines[::-1], 1),
    ):
        file.write_bytes(b"".join(changed))
        with pytest.raises(DamagedError, match=f"line {where} is no entry"):
            list(JournalFile(file).read_logs(0))
    file.write_bytes(b'{"op":1}\n')
    one.append_logs([{"op": 2}])
    assert list(JournalFile(file).read_logs(0)) == [{"op": 1}, {"op": 2}], "of an earlier version"
    file.write_text('{"op":1}\n{"op":2,"val\n{"op":4}\n')
    with pytest.raises(
        DamagedError, match=r"journal.jsonl is damaged: line 2 is no entry; restore it from a copy"
    ):
        list(JournalFile(file).read_logs(0))


# Searches


BRIEF = ("--set", "epochs=3")


@shared_folder
def searched(root):
    """A workspace with a search of six trials, of which the best was trained with two fresh
    seeds.
    """
    Specs(root)
    space = {"learning_rate": "log:1e-4:1e-2", "batch_size": "2,4"}
    options = [word for key, values in space.items() for word in ("--space", f"{key}={values}")]
    call(
        "tune",
        "sound",
        *options,
        *BRIEF,
        "--trials",
        "6",
        "--final-seeds",
        "2",
        "-j",
        "2",
        "--workspace",
        root,
    ).done()


def rows(root, table="table"):
    with (root / f"studies/sound_tune/{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.heavy
def test_the_best_is_that_of_the_validation_part_and_the_test_part_is_evaluated_after_the_search(
    searched,
):
    trials = rows(searched)
    assert [(row["trial"], row["state"]) for row in trials] == [
        (str(number), "done") for number in range(6)
    ]
    runs = {
        line["trial"]: line["run"] for line in rows(searched, "study") if line["use"] == "trial"
    }
    for row in trials:
        run = qexp.open_run(runs[row["trial"]], workspace=searched)
        assert run.results.keys() == {"validation"}
        assert run.state == "done"
        assert not (run.path / "results/test_predictions.nc").exists()
        assert (
            float(row["validation.loss"]) == kept_line(RunDirectory(run.path))["validation"]["loss"]
        )
        assert run.spec["batch_size"] == int(row["batch_size"])
        assert run.spec["learning_rate"] == float(row["learning_rate"])
    about = json.loads((searched / "studies/sound_tune/tune.json").read_text())
    [number] = about["best_trials"]
    best = about["trials"][number]
    assert best["values"] == [min(float(row["validation.loss"]) for row in trials)]
    assert about["looks"] == {"validation": 6, "test": 2}
    assert [*about["final"]] == [str(best["trial"])]
    for name, seed in zip(about["final"][str(best["trial"])], (1, 2), strict=True):
        run = qexp.open_run(name, workspace=searched)
        assert (run.seed, run.spec["learning_rate"]) == (seed, best["set"]["learning_rate"])
        assert "test" in run.results
    assert (searched / "studies/sound_tune/study.png").read_bytes().startswith(b"\x89PNG")
    assert call("doctor", "--workspace", searched).stderr == "no problems found\n"
    [launch, _] = sorted((searched / "runs/.launches").glob("*/launch.json"))
    assert json.loads(launch.read_text())["runs"] == [runs[row["trial"]] for row in trials]
    assert (
        call("show", "sound_tune", "--workspace", searched)
        .done()
        .startswith("best trials, by the validation part")
    )
    page = qexp.report("sound_tune", to=searched / "report.html", workspace=searched).read_text()
    assert "6 trials: 6 done; the test part was evaluated after the search only" in page
    assert all(name in page for name in about["final"][str(best["trial"])])


@pytest.mark.heavy
def test_a_search_that_is_there_is_gone_on_with_on_request_only(searched):
    again = (
        "tune",
        "sound",
        *BRIEF,
        "--space",
        "learning_rate=log:1e-4:1e-2",
        "--workspace",
        searched,
    )
    assert "holds a search with another space" in call(*again, "--resume").refused()
    again = (*again, "--space", "batch_size=2,4", "--trials", "6", "--final-seeds", "2", "-j", "2")
    assert "go on with --resume" in call(*again).refused()
    before = {path: path.stat().st_mtime_ns for path in (searched / "runs").glob("*/run.json")}
    document = json.loads(call(*again, "--resume", "--json").done())
    assert len(document["trials"]) == 6
    assert {
        path: path.stat().st_mtime_ns for path in (searched / "runs").glob("*/run.json")
    } == before

    moved = searched / "studies/moved"
    table = (searched / "studies/sound_tune/table.csv").read_text()
    (searched / "studies/sound_tune").rename(moved)
    try:
        said = call(*again, "--resume", "--out", moved)
        assert said.done()
        assert "next: qexp predict " in said.stderr
        assert "qexp run sound --set epochs=3 --set learning_rate=" in said.stderr
        assert (moved / "table.csv").read_text() == table
    finally:
        moved.rename(searched / "studies/sound_tune")


@pytest.mark.heavy
def test_trials_that_fall_behind_are_given_up(specs):
    options = {
        "space": {"learning_rate": "log:1e-9:1e-2"},
        "overrides": {"epochs": 500},
        "pruner": "asha",
    }
    tuned = qexp.tune("sound", trials=6, final_seeds=0, sampler="random", **options)
    states = {trial.state for trial in tuned.trials}
    assert states == {"done", "pruned"}
    for trial in tuned.trials:
        run = qexp.open_run(trial.runs[0])
        tags = read_annotations(run.path).get("tags", [])
        assert ("pruned" in tags) == (trial.state == "pruned") == (run.state == "interrupted")


@pytest.mark.heavy
def test_each_fold_of_rows_chooses_on_its_own_inner_folds(specs):
    split = {"type": "k_fold", "parameters": {"folds": 3}}
    stones.write(
        specs.root, epochs=4, split=split, inner=split, keep="last", additional_callbacks=None
    )
    space = {"learning_rate": "log:1e-4:1e-1", "batch_size": [4, 8]}
    tuned = qexp.tune("stones", space=space, trials=4, seeds=[0, 1], jobs=2)
    runs = [
        RunDirectory(qexp.open_run(name).path) for name in tuned.final[str(tuned.best[0].trial)]
    ]
    assert [run.record().seed for run in runs] == [0, 1]
    folds = [fold.record().fold for run in runs for fold in run.all_folds()]
    points = [list(trial.set.values()) for trial in tuned.trials]
    for fold in folds:
        assert fold.inner_loss == min(fold.judged)
        assert fold.chosen["learning_rate,batch_size"] == points[fold.judged.index(fold.inner_loss)]
    means = [fmean(fold.judged[number] for fold in folds) for number in range(4)]
    assert [trial.values for trial in tuned.trials] == [(mean,) for mean in means]
    assert tuned.best[0].values == (min(means),)
    assert sum(trial.folds for trial in tuned.trials) == 6


@pytest.mark.heavy
def test_a_search_of_which_no_trial_ends_with_a_value_has_failed(specs):
    split = {"type": "k_fold", "parameters": {"folds": 3}}
    stones.write(
        specs.root, epochs=4, split=split, inner=split, keep="last", additional_callbacks=None
    )
    with pytest.raises(RunFailedError, match="no trial has a value"):
        qexp.tune("stones", space={"learning_rate": [1e30, 1e31]}, trials=2, seeds=[0])


@pytest.mark.heavy
def test_a_program_is_searched_by_the_validation_errors_that_it_writes_and_given_up_while_it_runs(
    specs,
):
    lines = """for n in range(40):
        print(json.dumps({"epoch": n + 1, "val_loss": abs(x) + 1 / (n + 1)}), file=log, flush=True); time.sleep(0.1)"""
    code = f"import json, sys, time\nx, log = float(sys.argv[1]), open(sys.argv[2], 'w')\n{lines}"
    command = [
        sys.executable,
        "-c",
        code.replace("{", "{{").replace("}", "}}"),
        "{parameters.x}",
        "{run}/log.jsonl",
    ]
    keys = {"type": "command", "command": command, "parameters": {"x": 0.5, "seed": "{seed}"}}
    specs.write("experience", keys, "own")
    with pytest.raises(QexpError, match="give its experience a metrics_file"):
        qexp.tune("own", space={"parameters.x": "lin:-9:9"})
    specs.write("experience", {**keys, "metrics_file": "{run}/log.jsonl"}, "own")
    tuned = qexp.tune(
        "own",
        space={"parameters.x": "lin:-9:9"},
        trials=6,
        sampler="random",
        pruner="asha",
        final_seeds=0,
    )
    assert {trial.state for trial in tuned.trials} == {"done", "pruned"}
    [best] = tuned.best
    assert best.values == (pytest.approx(abs(best.set["parameters.x"]) + 1 / 40),)
    assert tuned.what_next()[0].startswith("again: qexp run own --set parameters.x=")


@pytest.mark.heavy
def test_a_grid_has_each_combination_once(specs):
    space = {"learning_rate": [0.001, 0.01], "batch_size": [4, 8]}
    tuned = qexp.tune("sound", space=space, sampler="grid", final_seeds=0, jobs=2)
    combinations = [
        {"learning_rate": rate, "batch_size": size}
        for rate in space["learning_rate"]
        for size in (4, 8)
    ]
    assert (
        sorted((trial.set for trial in tuned.trials), key=lambda of: tuple(of.values()))
        == combinations
    )
    assert {trial.state for trial in tuned.trials} == {"done"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"sampler": "random", "jobs": 2}, [2, 2, 2, 2]),
        ({"sampler": "random", "pruner": "asha"}, []),
        ({"seeds": [0, 1]}, [2] * 8),
        ({"stack": 4}, [4, 4, 4, 4]),
    ],
)
def test_trials_are_trained_side_by_side_where_the_next_do_not_depend_on_them(
    specs, options, sizes
):
    tuned = qexp.tune("sound", **{"space": RATE, "trials": 4, "final_seeds": 0, **options})
    records = [
        RunDirectory(qexp.open_run(run).path).record()
        for trial in tuned.trials
        for run in trial.runs
    ]
    stacks = [record.stack for record in records if record.stack is not None]
    assert {trial.state for trial in tuned.trials} <= {"done", "pruned"}
    assert len(tuned.trials) == 4
    assert sorted(stack.size for stack in stacks) == sizes
    assert len({(stack.id, stack.place) for stack in stacks}) == len(stacks)


@pytest.mark.heavy
def test_of_several_metrics_all_are_kept_that_no_other_is_better_than(specs):
    tuned = qexp.tune(
        "sound", space=RATE, metric=["depth.mae", "depth.bias"], trials=5, final_seeds=0, jobs=2
    )
    values = {trial.trial: trial.values for trial in tuned.trials}
    best = {
        number
        for number, mine in values.items()
        if not any(
            all(b <= a for a, b in zip(mine, other, strict=True)) and other != mine
            for other in values.values()
        )
    }
    assert {trial.trial for trial in tuned.best} == best
    assert all(bias >= 0 for _, bias in values.values())


def running_trials(root):
    """Processes of runs at work."""
    pids = []
    for file in (root / "runs").glob("*/run.json"):
        record = json.loads(file.read_text())
        if record["state"] == "running" and record["attempts"][-1]["ended"] is None:
            pids.append(record["attempts"][-1]["process"]["pid"])
    return pids


@pytest.mark.heavy
def test_no_trial_is_lost_or_counted_twice_when_runs_and_the_search_are_killed(specs):
    command = (
        "tune",
        "sound",
        "--space",
        "learning_rate=log:1e-4:1e-2",
        "--trials",
        "8",
        "--final-seeds",
        "0",
    )
    journal = specs.root / "studies/sound_tune/journal.jsonl"

    def told(least):
        return sum(entry.get("state") == 1 for entry in read_lines(journal)) >= least

    def kill(*victims):
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    for least in (1, 4):
        process = started(specs.root, *command, "-j", "2", "--set", "epochs=40", "--resume")
        until(partial(running_trials, specs.root), "that trials are at work")
        kill(*running_trials(specs.root))  # the search starts them once more
        until(partial(told, least), "that trials are told")
        kill(process.pid, *running_trials(specs.root))
        process.communicate()
    document = json.loads(
        call(*command, "-j", "2", "--set", "epochs=40", "--resume", "--json").done()
    )
    assert [trial["state"] for trial in document["trials"]] == ["done"] * 8
    # A number is left out where a kill hit the question for values.
    assert len({trial["trial"] for trial in document["trials"]}) == 8
    names = [name for trial in document["trials"] for name in trial["runs"]]
    assert len({*names}) == 8
    assert {path.parent.name for path in (specs.root / "runs").glob("*/run.json")} == {*names}

"""Runs that a script logs by itself: what it logs is kept at once, and such a run is one as any
other.
"""

import argparse
import collections
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch

import qexp as package
from qexp.base import formats
from qexp.errors import QexpError
from qexp.spec.reading import digest
from qexp.store import system
from qexp.store.directory import RunDirectory
from tests.conftest import call
from tests.runs.conftest import until


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder that is no workspace yet."""
    monkeypatch.chdir(tmp_path)


def lines(name: str) -> list[tuple[float, float | None, float | None]]:
    found = RunDirectory(Path("runs") / name).metrics()
    return [
        (line.get("step", line["epoch"]), line["train"]["loss"], line["validation"]["loss"])
        for line in found
    ]


def test_what_is_logged_becomes_epochs_results_and_figures_of_an_ordinary_run(capsys):
    with package.track(
        "fit", {"rate": np.float32(0.5), "layers": (3, 4), "epochs": 3}, tags=["first"]
    ) as run:
        for epoch in (1, 2):
            run.log(loss=torch.tensor(1 / epoch), lr=0.1)
            run.log(epoch, {"val/depth/mae": np.float64(epoch)}, val_loss=2 / epoch)
        run.log(300, loss=float("nan"))
        run.result(rmse=0.25, r2=float("nan"))
        run.result({"test": {"depth": {"mae": 1}}})
        run.figure(matplotlib.figure.Figure(), "map", step=300)
        assert run.figure(run.path / "results/figures/map_000300.png", "copy").name == "copy.png"
        print("a word")
    assert capsys.readouterr().out == "a word\n"
    assert lines("fit_0") == [(1, 1, 2), (2, 0.5, 1), (300, None, None)]
    record = package.open_run("fit_0").record
    assert record["epochs"] == {"done": 3, "of": 3, "best": 2}
    assert record["results"] == {
        "test": {"result": {"rmse": 0.25, "r2": None}, "depth": {"mae": 1}},
        "validation": {"result": {"loss": 1.0}, "depth": {"mae": 2.0}},  # the last that was logged
    }
    assert record["overrides"] == [
        "parameters.rate=0.5",
        "parameters.layers=[3, 4]",
        "parameters.epochs=3",
    ]
    assert record["units"]["depth"] == "km"
    assert (record["state"], record["tags"], record["seed"]) == ("done", ["first"], 0)
    assert "a word" in call("logs", "fit_0").done()
    shown = call("ls").done()
    assert "test rmse" in shown
    assert "0.25" in shown
    assert call("doctor").code == 0


def test_without_results_they_are_the_last_numbers_of_each_name():
    with package.track("fit") as run:
        run.log(loss=1, test_mae=3)
        run.log(loss=0.5)
    assert package.open_run("fit_0").results == {
        "train": {"result": {"loss": 0.5}},
        "test": {"result": {"mae": 3}},
    }


def test_a_line_of_a_step_covers_a_longer_one_of_it_at_once():
    with package.track("fit") as run:
        run.log(1, loss=0.123456789)
        run.log(1, loss=0.5)
        kept = run.directory.metrics_file.read_text().splitlines()
        assert [json.loads(line)["train"]["loss"] for line in kept] == [0.5]
        run.log(2, loss=0.25)
    assert lines("fit_0") == [(1, 0.5, None), (2, 0.25, None)]


def test_a_step_that_is_given_counts_and_an_epoch_beside_it_is_a_number_like_others():
    with package.track("fit") as run:
        for step in range(10, 70, 10):
            run.log(step, {"epoch": step // 40, "train_loss": 1 / step})
        run.log({"epoch": 2, "val_loss": 3}, step=60)
        run.log({"step": 70, "epoch": 2, "loss": 0})
    found = RunDirectory(Path("runs/fit_0")).metrics()
    assert [(line["step"], line["train"]["result"]["epoch"]) for line in found] == [
        (10, 0), (20, 0), (30, 0), (40, 1), (50, 1), (60, 2), (70, 2)
    ]  # fmt: skip
    assert [line["train"]["loss"] for line in found[:6]] == [1 / step for step in range(10, 70, 10)]
    assert package.open_run("fit_0").results["validation"] == {"result": {"loss": 3}}


@dataclasses.dataclass
class Settings:
    rate: float
    at: Path = Path("x/y")
    layers: Any = dataclasses.field(default_factory=lambda: collections.UserList([3, 4]))


class MappingOfALibrary:
    """It has keys and values, and is no `Mapping`."""

    def keys(self):
        return iter(["rate", "at", "layers"])

    def __getitem__(self, key):
        return {"rate": np.float64(0.5), "at": "x/y", "layers": (3, 4)}[key]


@pytest.mark.parametrize(
    "parameters",
    [
        argparse.Namespace(rate=np.float32(0.5), at=Path("x/y"), layers=np.arange(3, 5)),
        types.SimpleNamespace(rate=0.5, at="x/y", layers=range(3, 5), _own=object()),
        Settings(0.5),
        MappingOfALibrary(),
    ],
)
def test_whatever_holds_parameters_by_name_gives_them(parameters):
    for given, nested in ((parameters, False), ({"inside": parameters}, True)):
        with package.track("fit", given) as run:
            own = run.parameters["inside"] if nested else run.parameters
            assert own == {"rate": 0.5, "at": "x/y", "layers": [3, 4]}


def test_runs_are_numbered_or_named_by_their_seed_and_never_replaced():
    names = []
    for seed in (None, None, 5, 5, None):
        with package.track("fit", seed=seed) as run:
            names.append((run.name, run.seed))
    assert names == [("fit_0", 0), ("fit_1", 1), ("fit_5", 5), ("fit_5_2", 5), ("fit_2", 2)]


def test_repeats_count_within_equal_parameters_and_every_way_to_compare_them_agrees():
    for width in (1, 2, 3):
        for _ in range(2):
            with package.track("fit", parameters={"width": width}) as run:
                run.log(100, loss=run.seed)
                run.result(mse=0.1 * width + 0.001 * run.seed)
    assert [run["seed"] for run in package.runs()] == [0, 1] * 3
    comparison = package.compare("fit_*", figures=False)
    by_name = package.compare(*(f"fit_{number}" for number in range(6)), figures=False)
    assert comparison.pairs == by_name.pairs
    assert [[row.better for row in pair.rows] for pair in comparison.pairs] == [
        [pair.first] for pair in comparison.pairs
    ]
    assert "mse: A better than B, by 0.1" in str(comparison)
    assert "mse on the test part" in str(comparison)
    table = call("ls", "--group", "parameters.width", "--sort", "test.mse").done()
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["1", "2", "3"]
    assert "step 100" in call("ls").done()
    assert "step 100" in call("show", "fit_0").done()
    assert json.loads(
        call("ls", "--where", "test.mse > 0.25", "--columns", "name,test.mse", "--json").done()
    ) == [
        {"name": "fit_4", "test.mse": pytest.approx(0.3)},
        {"name": "fit_5", "test.mse": pytest.approx(0.301)},
    ]


def test_a_run_ends_as_its_block_does():
    for error in (ValueError("too bad"), KeyboardInterrupt(), SystemExit(3), MemoryError()):
        with pytest.raises(type(error)), package.track("fit"):
            raise error
    with pytest.raises(SystemExit), package.track("fit"):
        sys.exit(0)
    states = [package.open_run(f"fit_{number}").state for number in range(5)]
    assert states == ["failed", "interrupted", "failed", "out_of_memory", "done"]
    assert package.open_run("fit_0").record["error"] == "ValueError: too bad"
    with package.track("fit") as run:
        pass
    with pytest.raises(QexpError, match="has ended"):
        run.log(loss=1)


FORKED = """
import os, sys, qexp
def work(run):
    run.log(loss=1)
    child = os.fork()
    if child == 0:
        try:
            run.log(loss=5)
        except qexp.errors.QexpError as error:
            if "is logged by another process" not in str(error): os._exit(8)
        {ends}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == {code}
    run.log(loss=2)
{block}
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("ends", "code"), [("os._exit(7)", 7), ("sys.exit(3)", 3), ("1 / 0", 1), ("return", 0)]
)
def test_a_process_that_a_script_forks_neither_logs_into_its_run_nor_ends_it(ends, code):
    program = FORKED.format(ends=ends, code=code, block='with qexp.track("fit") as run: work(run)')
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    assert (lines("fit_0"), package.open_run("fit_0").state) == (
        [(1, 1, None), (2, 2, None)],
        "done",
    )


@pytest.mark.heavy
def test_a_block_that_is_never_left_ends_with_python_and_not_with_a_child_of_it():
    block = 'block = qexp.track("fit")\nwork(block.__enter__())'
    program = FORKED.format(ends="sys.exit(3)", code=3, block=block)
    words = [sys.executable, "-W", "ignore", "-c", program]
    ended = subprocess.run(words, check=True, capture_output=True, text=True)
    assert ended.stderr == "fit_0: in runs/fit_0\n"
    run = package.open_run("fit_0")
    assert (len(lines("fit_0")), run.state) == (2, "failed")
    assert "ended inside the with block" in run.record["error"]


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda run: run.log(loss="low"), "loss must be a number, but is 'low'"),
        (lambda run: run.log(loss=np.zeros(2)), "loss must be a number"),
        (lambda run: run.log(5, loss=1) or run.log(4, loss=1), "step 4 after step 5"),
        (lambda run: run.log(loss=10**5000), "loss must be a number, but is too large"),
        (lambda run: run.log(10**400, loss=1), "the step must be a number"),
        (lambda run: run.log("x", loss=1), "the step must be a number, but is 'x'"),
        (lambda run: run.log(5, 3), "give numbers as name = number"),
        (lambda run: run.log(5, {3: 1}), "give numbers as name = number"),
        (lambda run: run.result(5), "give numbers as name = number"),
        (lambda run: run.result(rmse="low"), "must be a number or null"),
        (lambda run: run.result({"tst": {"depth": {"mae": 1}}}), "did you mean 'test'"),
        (lambda run: run.figure([1, 2]), "a list is no figure"),
        (lambda run: run.figure("gone.png"), "there is no file"),
        (lambda run: run.figure(matplotlib.figure.Figure(), "../map"), "name"),
    ],
)
def test_what_cannot_be_kept_is_an_error_and_what_was_logged_before_stays(use, words):
    with pytest.raises(QexpError, match=words), package.track("fit") as run:  # noqa: PT012
        run.log(1, loss=1)
        use(run)
    assert lines("fit_0")[0] == (1, 1, None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "a b"}, "not a valid"),
        ({"parameters": {"a rate": 1}}, "is not a name"),
        ({"parameters": {"rate": object()}}, "not a type of JSON"),
        ({"parameters": {"rate": b"1"}}, "not a type of JSON"),
        ({"parameters": torch.nn.Linear(1, 1)}, "not a type of JSON"),
        ({"parameters": 5}, "must be an object"),
        *(({"seed": seed}, "seed") for seed in (1.5, True, "x", -1, 2**63, 10**5000)),
        ({"note": 5}, "note: give a text"),
        ({"tags": [5]}, "not a valid tag"),
        ({"tags": 5}, "tags: give a list of texts"),
        ({"name": 5}, "name: give a text"),
        ({"metrics": {"score": {"best": "hihest"}}}, "did you mean 'highest'"),
        ({"tags": ["a b"]}, "not a valid tag"),
        ({"resume": True}, "no run 'fit'"),
        ({"workspace": "elsewhere"}, "not a workspace"),
    ],
)
def test_a_wrong_argument_is_an_error_before_anything_is_written(wrong, words):
    with pytest.raises(QexpError, match=words):
        package.track(**{"name": "fit", **wrong})
    assert not list(Path.cwd().glob("runs/*"))


@pytest.mark.slow
def test_a_spec_that_is_not_one_of_a_script_is_damaged_also_with_a_digest_of_its_own():
    with package.track("fit", {"rate": 1}) as run:
        run.result(mae=1)
    folder = Path("runs/fit_0")
    spec, record = (formats.read_json(folder / name) for name in ("spec.json", "run.json"))
    for key, value in (
        ("script", None),
        ("parameters", None),
        ("parameters", [1]),
        ("type", "training"),
        ("units", 5),
    ):
        changed = (
            {**spec, key: value}
            if value
            else {name: one for name, one in spec.items() if name != key}
        )
        formats.write_json(folder / "spec.json", changed)
        formats.write_json(folder / "run.json", {**record, "digest": digest(changed)})
        for command in (("show", "fit_0"), ("report", "fit_0", "--to", "report.html")):
            refused = call(*command)
            assert (refused.code, "spec.json is damaged: $." in refused.stderr) == (5, True), (
                command,
                refused.stderr,
            )
        assert call("doctor").code == 5


SCRIPT = """
import sys, time, qexp
with qexp.track("fit", {"rate": 1}, seed=3, resume=True) as run:
    for step in range(int(run.step) - 1 if run.step else 0, 6):
        run.log(step, loss=step + 10 * (len(sys.argv) > 1))
        if step == 3 and len(sys.argv) == 1:
            time.sleep(60)
    run.result(rmse=1)
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGKILL, "lost"), (signal.SIGTERM, "interrupted")]
)
def test_a_run_whose_process_dies_has_all_that_was_logged_and_goes_on(number, state):
    Path("fit.py").write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, "fit.py"], stderr=subprocess.PIPE)
    until(lambda: Path("runs/fit_3").exists() and len(lines("fit_3")) == 4, "four lines")
    if number == signal.SIGTERM:
        call("stop", "fit_3").done()
    else:
        process.send_signal(number)
    process.communicate()
    assert package.open_run("fit_3").state == state
    assert lines("fit_3") == [(step, step, None) for step in range(4)]
    refused = call("rerun", "fit_3", "--resume")
    assert "qexp.track('fit_3', resume=True) in fit.py" in refused.stderr
    with pytest.raises(QexpError, match="other parameters: rate"):
        package.track("fit", {"rate": 2}, seed=3, resume=True)
    subprocess.run([sys.executable, "fit.py", "again"], check=True)
    assert lines("fit_3") == [
        (0, 0, None),
        (1, 1, None),
        *[(step, step + 10, None) for step in range(2, 6)],
    ]
    run = package.open_run("fit_3")
    assert (run.state, len(run.record["attempts"]), run.results) == (
        "done",
        2,
        {"test": {"result": {"rmse": 1}}},
    )
    assert call("verify", "fit_3").code == 2
    with pytest.raises(QexpError, match="is done"):
        package.track("fit", seed=3, resume=True)


@pytest.mark.heavy
def test_such_a_run_is_compared_shown_reported_moved_and_exported_as_any_other():
    for rmse in (1, 2):
        with package.track(
            "fit", metrics={"score": {"best": "highest"}}, dataset="profiles"
        ) as run:
            run.log(loss=rmse)
            run.result(rmse=rmse, score=rmse)
    assert "fit" in call("compare", "fit_0", "fit_1").done()
    call("report", "fit_0", "--to", "fit.html").done()
    call("push", "./remote", "fit_0").done()
    call("pull", "./remote", "fit_0", "--name", "pulled").done()
    call("export", "fit_0", "--format", "mlflow", "--to", "store").done()
    assert package.open_run("pulled").results == package.open_run("fit_0").results
    assert [row["name"] for row in json.loads(call("ls", "--json").done())] == [
        "fit_0",
        "fit_1",
        "pulled",
    ]


@pytest.mark.heavy
def test_twenty_processes_at_once_have_twenty_runs():
    program = (
        "import qexp\nwith qexp.track('fit') as run: [run.log(loss=step) for step in range(100)]"
    )
    Path("specs").mkdir()
    several = [
        subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(20)
    ]
    assert [process.wait() for process in several] == [0] * 20
    runs = package.runs()
    assert sorted(run["seed"] for run in runs) == list(range(20))
    assert {run["state"] for run in runs} == {"done"}
    assert all(len(lines(run["name"])) == 100 for run in runs)


def test_threads_log_whole_lines():
    with package.track("fit") as run:
        threads = [
            threading.Thread(target=lambda: [run.log(loss=1) for _ in range(50)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [line[0] for line in lines("fit_0")] == list(range(1, 401))


NVIDIA = """#!/bin/sh
case $1 in
-L) echo "GPU 0: one (UUID: GPU-0)"; echo "GPU 1: two (UUID: GPU-1)" ;;
--id=0,1) echo "80, 1024"; echo "40, 3072" ;;
esac
"""


def test_a_run_keeps_what_it_and_the_processes_below_it_take_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "FIRST_SECONDS", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia-smi").write_text(NVIDIA)
    (tmp_path / "nvidia-smi").chmod(0o755)
    with package.track("fit") as run:
        child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        until(lambda: len(list(formats.read_lines(run.path / system.SYSTEM))) > 3, "four samples")
        child.kill()
        child.wait()
    samples = list(formats.read_lines(run.path / system.SYSTEM))
    assert max(sample["cpu"] for sample in samples) > 5
    assert {(sample["gpu"], sample["gpu_memory"]) for sample in samples} == {(60, 4096 * 2**20)}
    assert all(sample["memory"] > 1e7 and sample["disk_free"] > 0 for sample in samples)
    assert [sample["time"] for sample in samples] == sorted(sample["time"] for sample in samples)

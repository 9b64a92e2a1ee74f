"""Several processes that torchrun starts train one run: to rounding the same losses as one
process.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import qexp
from qexp.base.machine import FINDING
from qexp.errors import InterruptedRunError
from tests import cores, stones
from tests.conftest import SOUND, Specs, put, started
from tests.runs.conftest import PATIENCE, Interrupting, has_lines, until

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")

pytestmark = pytest.mark.heavy


@pytest.fixture
def together() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`together("sound")`: qexp run in two processes, gone when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, count: int = 2) -> subprocess.Popen[str]:
        command = [*TORCHRUN, str(count), "-m", "qexp", "run", *words, "--device", "cpu"]
        threads = {**os.environ, "OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen(
                command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=threads
            )
        )
        return started[-1]

    yield begin
    for launcher in started:
        if launcher.poll() is None:
            launcher.terminate()
            launcher.communicate()


def done(process: subprocess.Popen[str]) -> None:
    stderr = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, stderr


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[part]["loss"] for line in lines for part in ("train", "validation")]


@pytest.fixture
def uneven(specs: Specs) -> Path:
    """An experience with statistics and random numbers of batches, and a last batch of a single
    sample.
    """
    changed = put(SOUND["model"], "operations.norm", {"module": "batch_norm"})
    changed = put(changed, "operations.drop", {"module": "dropout", "parameters": {"rate": 0.25}})
    changed = put(changed, "operations.block.parameters.l2", 0.01)
    specs.write(
        "model",
        put(changed, "branches.0.operations", ["block", "norm", "look", "drop", "halve", "halve"]),
    )
    specs.spoil(
        "experience",
        ("sizes", [25, 6, 6]),
        ("batch_size", 8),
        ("epochs", 12),
        ("gradient_clip", 0.5),
    )
    return specs.root / "runs"


def test_two_processes_have_the_losses_of_one_also_resumed_by_another_number(uneven, together):
    qexp.run("sound", name="one", device="cpu")
    with pytest.raises(InterruptedRunError):
        qexp.api.train(qexp.Order("sound", [0]), name="one_two", display=Interrupting(2, 3))
    done(together("sound", "--name", "one_two", "--resume"))
    attempts = qexp.open_run("one_two").record["attempts"]
    assert [(attempt.get("processes"), attempt.get("backend")) for attempt in attempts] == [
        (None, None),
        (2, "gloo"),
    ]

    process = together("sound", "--name", "two_one", "--set", "epochs=12")
    until(has_lines(uneven / "two_one/metrics.jsonl", 2), "the second epoch")
    run = qexp.open_run("two_one")
    os.kill(run.record["attempts"][-1]["process"]["pid"], signal.SIGTERM)  # as a scheduler does
    process.communicate(timeout=PATIENCE)
    assert run.record["state"] == "interrupted"
    assert len(losses(uneven / "two_one")) < 24
    qexp.run("sound", name="two_one", device="cpu", overrides={"epochs": 12}, resume=True)

    assert len(losses(uneven / "one")) == 24
    for other in ("one_two", "two_one"):
        assert losses(uneven / other) == pytest.approx(losses(uneven / "one"), rel=1e-4)


def test_the_masks_of_spectra_are_those_of_one_process(tmp_path, together, monkeypatch):
    cores.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    changed = {"batch_size": 7, "gradient_clip": 0.25, "layer_decay": 0.9}
    qexp.run("masked", name="one", device="cpu", overrides=changed)
    told = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    done(together("masked", "--name", "three", *told, count=3))
    assert losses(Path("runs/three")) == pytest.approx(losses(Path("runs/one")), rel=1e-5)


def test_a_process_that_is_killed_ends_the_others_and_the_run_says_so(specs, together):
    specs.spoil("experience", ("epochs", 1_000_000))
    process = together("sound")
    until(has_lines(specs.root / "runs/sound_0/metrics.jsonl", 1), "the first epoch")
    run = qexp.open_run("sound_0")
    first = run.record["attempts"][0]["process"]["pid"]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(next(int(child) for child in children if int(child) != first), signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert (run.record["state"], run.record["error"]) in [
        ("failed", "another of the 2 processes has ended, or did not answer"),
        ("interrupted", None),  # where torchrun's signal came first
    ]


@pytest.mark.parametrize(
    ("words", "why"), [((), "many small ones"), (("--seeds", "0:2"), "torchrun is for one run")]
)
def test_what_several_processes_cannot_do_is_refused_before_anything_is_written(
    workspace, together, words, why
):
    stones.write(workspace)
    process = together("stones", *words)
    stderr = process.communicate(timeout=PATIENCE)[1]
    assert (process.returncode, why in " ".join(stderr.split())) == (1, True), stderr
    assert not list((workspace / "runs").glob("*"))


def test_only_commands_that_train_one_run_wait_for_the_processes_that_the_environment_speaks_of(
    workspace,
):
    told = "".join(
        f"export {name}={value};"
        for name, value in zip(FINDING, (0, 2, "127.0.0.1", 29987), strict=True)
    )
    assert started(workspace, "ls", before=told).communicate(timeout=PATIENCE)[0] == ""
    process = started(workspace, "run", "sound", before=told)
    assert process.stderr is not None
    try:
        assert (
            process.stderr.readline()
            == "waits for the others of 2 processes; without torchrun, unset WORLD_SIZE\n"
        )
    finally:
        process.kill()
        process.communicate()

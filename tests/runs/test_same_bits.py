"""Same spec, same seed, same machine: the same bits, also when interrupted and resumed."""

import signal
from pathlib import Path

import pytest

from tests.conftest import MadeOnce, call
from tests.runs.conftest import has_lines, until

SAME = (
    "metrics.jsonl",
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
    "spec.json",
)

SLOW = ("--set", "epochs=12", "--set", "batch_size=16", "--seed", "5")


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in SAME}


@pytest.mark.slow
def test_two_runs_with_one_seed_are_identical_byte_for_byte_and_one_with_another_seed_differs(
    train,
):
    first, second, other = train(seed=4, name="one"), train(seed=4, name="other"), train(seed=5)
    assert contents(first.path) == contents(second.path)
    assert first.results == second.results
    assert contents(first.path)["metrics.jsonl"] != contents(other.path)["metrics.jsonl"]
    assert first.record["digest"] == other.record["digest"]


@pytest.fixture(scope="session")
def uninterrupted(made_once: MadeOnce) -> Path:
    """The run that others come to, however they are interrupted."""

    def make(root: Path) -> None:
        assert call("init", root).code == 0
        call("run", "mogi_quick", "--name", "whole", *SLOW, "--workspace", root).done()

    return made_once("whole", make) / "runs/whole"


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_run_that_is_interrupted_and_resumed_equals_one_that_is_not(
    workspace, start, qexp, uninterrupted, number
):
    parted = start("run", "mogi_quick", "--name", "parted", *SLOW)
    until(has_lines(workspace / "runs/parted/metrics.jsonl", 3), "the third epoch")
    parted.send(number)
    code, _, stderr = parted.end()
    assert code == 130, stderr
    assert "--resume" in stderr
    qexp("run", "mogi_quick", "--name", "parted", *SLOW, "--resume").done()
    assert contents(uninterrupted) == contents(workspace / "runs/parted")


@pytest.mark.heavy
def test_a_run_that_was_killed_is_lost_and_resumes_to_the_same_bits(
    workspace, start, qexp, uninterrupted
):
    killed = start("run", "mogi_quick", "--name", "killed", *SLOW)
    until(has_lines(workspace / "runs/killed/metrics.jsonl", 2), "the second epoch")
    assert qexp("ls", "-q", "--status", "running").stdout == "killed\n"
    killed.send(signal.SIGKILL)
    killed.end()
    assert qexp("ls", "-q", "--status", "lost").stdout == "killed\n"
    assert "lost" in qexp("show", "killed").stdout
    assert qexp("run", "mogi_quick", "--name", "killed", *SLOW).code == 2
    assert "qexp rerun killed --resume" in qexp("doctor").stdout
    for spec in workspace.glob("specs/*/*.json"):
        spec.write_text(
            spec.read_text().replace('"learning_rate": 0.003', '"learning_rate": 0.004')
        )
    refused = qexp("run", "mogi_quick", "--name", "killed", *SLOW, "--resume")
    assert (refused.code, "qexp rerun killed --resume" in refused.stderr) == (2, True)
    assert qexp("rerun", "killed", "--resume", "--seed", "6").code == 2
    assert qexp("rerun", "killed", "--resume").code == 0
    assert contents(uninterrupted) == contents(workspace / "runs/killed")
    assert qexp("rerun", "killed", "--resume").code == 0, "it is done"
    assert contents(uninterrupted) == contents(workspace / "runs/killed")


@pytest.mark.heavy
def test_a_torn_last_line_of_the_metrics_is_left_out_and_written_again(
    workspace, start, qexp, uninterrupted
):
    parted = start("run", "mogi_quick", "--name", "parted", *SLOW)
    metrics = workspace / "runs/parted/metrics.jsonl"
    until(has_lines(metrics, 2), "the second epoch")
    parted.send(signal.SIGTERM)
    assert parted.end()[0] == 130
    whole_lines = metrics.read_bytes()
    metrics.write_bytes(whole_lines + b'{"epoch": 9')
    assert qexp("run", "mogi_quick", "--name", "parted", *SLOW, "--resume").code == 0
    assert metrics.read_bytes().startswith(whole_lines)
    assert metrics.read_bytes() == (uninterrupted / "metrics.jsonl").read_bytes()

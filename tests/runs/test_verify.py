"""`qexp verify` runs a finished run again, from its own directory and elsewhere, and compares bit
by bit.
"""

import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import qexp as package
from qexp.api.handles import open_run
from qexp.errors import InterruptedRunError
from qexp.spec.reading import digest
from qexp.upkeep.verify import Largest, environment_changes, first_difference, largest_difference
from tests.conftest import prepare_with
from tests.runs.conftest import Interrupting, contents, has_lines, until


def left_in(folder: Path) -> list[Path]:
    """What is left of ours; torch makes a folder for its compiler where it happens to load that
    first.
    """
    return [path for path in folder.iterdir() if not path.name.startswith("torchinductor_")]


@pytest.fixture
def run(finished, tmp_path, monkeypatch) -> Path:
    """The directory of a finished run that a test may spoil, in a workspace that is the current
    directory.
    """
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path / "copy" / "runs" / "sound_0"


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


# Identical


@pytest.mark.heavy
def test_a_run_is_identical_to_its_repetition_which_leaves_no_trace(run, qexp, tmp_path):
    before = contents(run)
    stdout = qexp("verify", "sound_0").done()
    first, _, _, *outcomes = stdout.splitlines()
    assert first == "sound_0: identical, bit for bit"
    assert [line.split("  ")[0] for line in outcomes[:4]] == [
        "best weights",
        "last weights",
        "metrics",
        "results",
    ]
    assert all("identical" in line for line in outcomes[:4])
    assert "source of qexp that made the run" in stdout
    assert contents(run) == before
    assert left_in(tmp_path / "temporary") == []


@pytest.mark.heavy
def test_a_pretrained_run_that_was_interrupted_and_resumed_verifies_also_when_its_parent_is_gone(
    run, qexp
):
    child = partial(
        package.run,
        "sound",
        name="child",
        pretrain="sound_0",
        device="cpu",
        overrides={"epochs": 3},
    )
    with pytest.raises(InterruptedRunError):
        child(display=Interrupting(2, 1))
    child(resume=True)
    shutil.rmtree(run)
    assert len(open_run("child").record["attempts"]) == 2
    answer = json.loads(qexp("verify", "child", "--json").stdout)
    assert answer["identical"] == dict.fromkeys(
        ["best weights", "last weights", "metrics", "results"], True
    )


@pytest.mark.heavy
def test_the_repetition_is_kept_where_asked_as_a_run_with_the_settings_of_then(
    run, qexp, tmp_path, drawn
):
    """Two threads, as the run's environment says, whatever this process is set to."""
    environment = json.loads((run / "environment.json").read_text())
    edit(
        run / "environment.json",
        threads=2,
        variables={**environment["variables"], "OMP_NUM_THREADS": "2"},
    )
    folder = tmp_path / "odd name $(x)" / "kept"
    code, _, stderr = qexp("verify", "sound_0", "--keep", folder)
    assert code in (0, 1)  # two threads may well add up in another order than one
    assert str(folder) in stderr
    environment = json.loads((folder / "environment.json").read_text())
    assert (environment["threads"], environment["variables"]["OMP_NUM_THREADS"]) == (2, "2")
    assert open_run(str(folder)).state == "done"
    assert (folder / "results/figures/learning_curve.png").exists(), "it is kept to be looked at"
    assert (
        "exists and is not an empty folder" in qexp("verify", "sound_0", "--keep", folder).refused()
    )


# Not identical


@pytest.mark.heavy
def test_what_differs_is_told_with_its_epoch_its_place_and_its_size(run, qexp):
    from safetensors.numpy import load_file, save_file

    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0] + lines[1].replace('"epoch":2', '"epoch":2.0'))
    weights = load_file(run / "checkpoints/best.safetensors")
    weights[next(name for name in weights if name.startswith("network."))] += np.float32(0.5)
    save_file(weights, run / "checkpoints/best.safetensors")
    results = json.loads((run / "run.json").read_text())["results"]
    results["test"]["depth"]["mae"] += 1.0
    edit(run / "run.json", results=results)
    packages = json.loads((run / "environment.json").read_text())["packages"]
    edit(run / "environment.json", packages={**packages, "torch": "0.0.1"}, processor="an abacus")

    code, stdout, _ = qexp("verify", "sound_0", "--json")
    assert code == 1
    answer = json.loads(stdout)
    assert answer["identical"] == {
        "best weights": False,
        "last weights": True,
        "metrics": False,
        "results": False,
    }
    assert answer["first_epoch"] == 2
    assert answer["largest"] == {
        "results": {"where": "test.depth.mae", "difference": pytest.approx(1.0)}
    }
    changes = {change["what"]: change["then"] for change in answer["changes"]}
    assert (changes["torch"], changes["processor"]) == ("0.0.1", "an abacus")


WAYWARD_LOSS = """
import os, pathlib
from qexp.extend import Entry

def wayward():
    if pathlib.Path("broken").exists():
        raise ZeroDivisionError("no longer")
    return lambda estimate, truth: (1 + os.getpid() / 1e6) * (estimate - truth).abs().mean()

LOSSES = {"wayward": Entry(wayward, {}, "Depends on more than the spec.", {"type": "wayward"})}
"""


@pytest.mark.heavy
def test_a_run_that_depends_on_more_than_its_directory_is_found_out(run, qexp):
    Path("specs/extensions.py").write_text(WAYWARD_LOSS)
    qexp(
        "run", "sound", "--name", "wayward", "--set", "losses.depth=wayward", "--device", "cpu"
    ).done()
    code, stdout, _ = qexp("verify", "wayward")
    assert code == 1
    assert stdout.startswith("wayward: NOT identical\n")
    assert "differ from epoch 1 on, of 2" in stdout
    assert "source of qexp that made the run" in stdout

    Path("broken").touch()
    Path("specs/extensions.py").write_text("# another text\n")
    code, stdout, stderr = qexp("verify", "wayward")
    assert code == 1
    assert "ZeroDivisionError: no longer" in stdout.splitlines()[0]
    assert "specs/extensions.py" in stdout
    assert "Traceback" not in stderr


# What cannot be verified


@pytest.mark.parametrize(
    ("spoil", "code", "complaint"),
    [
        (
            lambda run: edit(run / "spec.json", learning_rate=0.5),
            5,
            "spec.json was changed, or code",
        ),
        (
            lambda run: (run / "code/extensions.py").write_text("#"),
            5,
            "spec.json or code/extensions.py was changed",
        ),
        (lambda run: edit(run / "run.json", state="interrupted"), 2, "is interrupted, not done"),
        (lambda run: edit(run / "run.json", results={}), 2, "results missing"),
        (lambda run: (run / "metrics.jsonl").unlink(), 2, "metrics.jsonl missing"),
        (
            lambda run: (run / "checkpoints/last.safetensors").unlink(),
            2,
            "checkpoints/last.safetensors missing",
        ),
        (
            lambda run: os.truncate(run / "checkpoints/last.safetensors", 999),
            5,
            "last.safetensors is damaged",
        ),
        (
            lambda run: (run / "environment.json").write_text("{"),
            5,
            "environment.json cannot be read",
        ),
        (lambda run: (run / "environment.json").write_text("[]"), 5, "environment.json is damaged"),
        (
            lambda run: edit(run / "environment.json", device="some other GPU"),
            2,
            "the run was made on some other GPU",
        ),
        (
            lambda run: edit(run / "run.json", parents=["gone"]),
            2,
            "checkpoints/pretrained.safetensors missing",
        ),
    ],
)
def test_a_run_that_is_not_whole_is_refused_before_anything_is_trained(
    run, qexp, tmp_path, spoil, code, complaint
):
    import torch

    if "GPU" in complaint and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    spoil(run)
    ended, stdout, stderr = qexp("verify", "sound_0")
    assert (ended, stdout) == (code, "")
    assert complaint in stderr
    assert left_in(tmp_path / "temporary") == []


def test_a_device_that_there_is_not_and_weights_to_start_from_that_were_exchanged_are_refused(
    run, qexp
):
    assert "--device abacus" in qexp("verify", "sound_0", "--device", "abacus").refused()
    start = run / "checkpoints/pretrained.safetensors"
    shutil.copyfile(run / "checkpoints/best.safetensors", start)
    lineage = [{"name": "p", "digest": "d", "seed": 0, "weights": {"sha256": "0" * 64, "bytes": 1}}]
    spec = json.loads((run / "spec.json").read_text())
    edit(run / "run.json", parents=["p"], lineage=lineage, digest=digest(spec, "d"))
    assert (
        "checkpoints/pretrained.safetensors was changed after the run"
        in qexp("verify", "sound_0").failed()
    )


@pytest.mark.heavy
def test_a_verification_that_is_stopped_leaves_nothing_behind(run, start, qexp, tmp_path):
    prepare_with(run, lambda spec: spec.update(epochs=3000))
    stopped = start("verify", "sound_0")
    temporary = tmp_path / "temporary"
    until(
        lambda: any(has_lines(file, 2)() for file in temporary.glob("*/sound_0/metrics.jsonl")),
        "the second epoch",
    )
    stopped.send(signal.SIGTERM)
    code, stdout, _ = stopped.end()
    assert (code, stdout) == (130, "")
    assert left_in(temporary) == []


# The comparisons themselves


def test_metrics_differ_from_the_first_line_that_is_not_the_same(tmp_path):
    first, second = tmp_path / "one", tmp_path / "other"
    first.write_bytes(b"a\nb\nc\n")
    for content, epoch in [
        (b"a\nb\nc\n", None),
        (b"a\nx\nc\n", 2),
        (b"a\nb\n", 3),
        (b"", 1),
        (b"a\nb\nc\nd\n", 4),
    ]:
        second.write_bytes(content)
        assert first_difference(first, second) == epoch
    assert first_difference(first, tmp_path / "none") == 1


def test_results_are_compared_in_relation_to_their_size():
    results = {"test": {"depth": {"mae": 0.1, "r2": 0.9}, "volume": {"mae": 100.0}}}
    other = {"test": {"depth": {"mae": 0.2, "r2": 0.9}, "volume": {"mae": 101.0}}}
    assert largest_difference(results, other).where == "test.depth.mae"
    missing = {"test": {"depth": {"mae": 0.1, "r2": None}, "volume": {"mae": 100.0}}}
    assert largest_difference(results, missing) == Largest("test.depth.r2", None)


def test_an_environment_is_compared_in_what_the_older_one_mentions():
    now = {
        "python": "3.11",
        "threads": 1,
        "packages": {"a": "1", "b": "2"},
        "variables": {"OMP_NUM_THREADS": "1"},
    }
    assert list(environment_changes({}, now)) == []
    assert list(environment_changes(now, now)) == []
    then = {"python": "3.10", "packages": {"a": "1", "c": "3"}}
    changes = [(change.what, change.then, change.now) for change in environment_changes(then, now)]
    assert changes == [("python", "3.10", "3.11"), ("b", None, "2"), ("c", "3", None)]

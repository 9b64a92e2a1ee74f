"""Batches of folds in processes of their own: the same bits as in one, and nobody trains for a run
that is dead.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import qexp
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds.attempt import Display
from qexp.kinds.experiments import experience
from qexp.kinds.objects import dataset_of
from qexp.kinds.rows.folds import Folds
from qexp.kinds.rows.training import DisplayedSteps, done, open_folds, train_in_processes
from qexp.kinds.tables import tables_with
from qexp.runs import plan
from qexp.runs.prepare import prepare
from qexp.store.directory import RunDirectory
from qexp.store.record import FoldCount
from tests.runs.conftest import files_of_folds, until
from tests.stones import MANY

BATCHES = [0, 1, 2, 3]
"""Of `MANY`: six folds each."""


@pytest.fixture
def prepared(write: Callable[..., None], workspace: Path) -> RunDirectory:
    """A run of `MANY` whose folds are still to be trained."""
    write(**{**MANY, "epochs": 4})
    place = Workspace(workspace)
    directory = prepare(plan.plan_run(experience("stones", {}, place), 0, "stones_0", place), place)
    spec, tables = directory.spec(), tables_with(directory.extensions)
    folds = Folds(spec, dataset_of(spec["dataset"], tables), tables, Seeds(0), torch.device("cpu"))
    open_folds(directory, directory.record(), folds)
    return directory


def workers_of(directory: RunDirectory) -> list[int]:
    """The processes at work on it."""
    listed = subprocess.run(
        ["pgrep", "-f", f"train-folds {directory.path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(word) for word in listed.stdout.split()]


def train(directory: RunDirectory, interrupted: Callable[[], bool] = lambda: False) -> bool:
    return train_in_processes(
        directory, BATCHES, 2, DisplayedSteps(Display()), lambda number, failed: None, interrupted
    )


@pytest.mark.heavy
def test_several_processes_come_to_the_bits_of_one(prepared, workspace):
    assert train(prepared)
    assert not workers_of(prepared)
    assert all(done(fold) for fold in prepared.all_folds())
    qexp.run("stones", device="cpu", resume=True)  # finds nothing to train
    whole = qexp.run("stones", name="whole", device="cpu")
    assert files_of_folds(prepared) == files_of_folds(RunDirectory(whole.path))
    assert prepared.record().folds == FoldCount(done=24, of=24)


@pytest.mark.heavy
def test_an_interrupted_run_takes_its_processes_with_it(prepared):
    assert not train(prepared, lambda: any(done(fold) for fold in prepared.all_folds()))
    assert not workers_of(prepared)
    assert not all(done(fold) for fold in prepared.all_folds())


@pytest.mark.heavy
def test_a_process_that_dies_is_an_error_and_not_waited_for(prepared):
    killed: list[int] = []

    def kill_one() -> bool:
        if not killed and any(done(fold) for fold in prepared.all_folds()):
            killed.append(workers_of(prepared)[0])
            os.kill(killed[0], signal.SIGSEGV)
        return False

    with pytest.raises(QexpError, match="a process that trained folds was ended by SIGSEGV"):
        train(prepared, kill_one)
    assert not workers_of(prepared)


@pytest.mark.heavy
def test_a_run_whose_processes_hear_of_the_end_of_a_job_first_is_interrupted(prepared):
    ended: list[int] = []

    def hears_last() -> bool:
        if ended:
            return True
        until(lambda: len(workers_of(prepared)) == 2, "that they begin")
        ended.extend(workers_of(prepared))
        for number in ended:
            os.kill(number, signal.SIGTERM)
        until(lambda: not workers_of(prepared), "that they end")
        return False

    assert not train(prepared, hears_last)


PARENT = """
import sys
from pathlib import Path
from tests.runs.test_fold_workers import RunDirectory, train
train(RunDirectory(Path(sys.argv[1])))
"""


@pytest.mark.heavy
def test_nobody_trains_for_a_run_that_was_killed(prepared):
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(prepared.path)], cwd=root)
    until(lambda: any(done(fold) for fold in prepared.all_folds()), "that a fold is done")
    assert workers_of(prepared)
    parent.kill()
    parent.wait()
    until(lambda: not workers_of(prepared), "that they end")
    assert not all(done(fold) for fold in prepared.all_folds())

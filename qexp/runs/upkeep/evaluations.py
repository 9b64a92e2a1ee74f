"""Problems of a run's evaluations on other data: damaged ones, and drafts of killed processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from qexp.errors import DamagedError
from qexp.runs.record import evaluations
from qexp.runs.record.directory import EVALUATIONS, RunDirectory
from qexp.runs.record.evaluations import DRAFT, DRAFT_LOCK
from qexp.runs.upkeep.finding import Finding
from qexp.runs.upkeep.leftovers import ago, deletion, is_stale


def of_evaluations(directory: RunDirectory) -> Iterator[Finding]:
    for name in evaluations.names(directory):
        found = evaluations.find(directory, name)
        advice = f"make it again with --force, or delete {found.path}"
        try:
            found.evaluation()
            file = found.evaluation_file()
        except DamagedError as error:
            yield Finding(found.path, str(error), advice, damaged=True)
            continue
        if not file.is_file():
            yield Finding(file, "is missing, although it is part of an evaluation", advice, damaged=True)
    for path in stale_drafts(directory.path):
        what = f"is an incomplete evaluation: its process died before {ago(path)}"
        yield Finding(path, what, "delete it", repair=deletion(path))


def stale_drafts(run: Path) -> Iterator[Path]:
    """The drafts of evaluations of a run that no process works on any more."""
    for path in sorted((run / EVALUATIONS).glob(f"{DRAFT}*")):
        if path.is_dir() and not path.is_symlink() and is_stale(path) and not _in_use(path):
            yield path


def _in_use(draft: Path) -> bool:
    """Whether a process holds the lock of a draft, as it does while it writes it."""
    lock = draft / DRAFT_LOCK
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True

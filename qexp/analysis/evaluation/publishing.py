"""Evaluations are written in a draft, which gets its name when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from qexp import files
from qexp.errors import QexpError
from qexp.locks import locked
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.evaluations import DRAFT, DRAFT_LOCK
from qexp.runs.upkeep.evaluations import stale_drafts

LOCK_SECONDS = 10.0


@contextmanager
def drafted(directory: RunDirectory, name: str) -> Iterator[Path]:
    """A new folder for an evaluation, which is deleted at the end unless it was published.

    Drafts that killed processes left more than an hour ago are deleted, too.
    """
    place = directory.evaluations
    files.make_folder(place)
    for path in stale_drafts(directory.path):
        shutil.rmtree(path, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{DRAFT}{name[:100]}-", dir=place))
        folder.chmod(0o755)
    except OSError as error:
        raise QexpError(f"cannot write to {place}: {error.strerror or error}") from error
    try:
        with FileLock(folder / DRAFT_LOCK, timeout=LOCK_SECONDS):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def published(directory: RunDirectory, name: str, folder: Path, force: bool, exists: Callable[[], bool]) -> bool:
    """Give a draft its name; False if another process has meanwhile made the same evaluation.

    exists  whether there is the same evaluation; raises QexpError if there is another one of that name
    """
    target = directory.evaluations / name
    try:
        with locked(directory.evaluations, LOCK_SECONDS):
            if not force and exists():
                return False
            (folder / DRAFT_LOCK).unlink(missing_ok=True)
            # One exists with --force, or without a record, as no evaluation is.
            old = Path(tempfile.mkdtemp(prefix=f"{DRAFT}{name[:100]}-", dir=directory.evaluations))
            files.put_folder(folder, target, old / target.name)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error.strerror or error}") from error
    return True

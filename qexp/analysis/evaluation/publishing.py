"""Evaluations are written in a draft, which gets its name when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from qexp import files, folders
from qexp.errors import QexpError
from qexp.locks import locked
from qexp.runs.record.directory import RunDirectory

LOCK_SECONDS = 10.0


@contextmanager
def drafted(directory: RunDirectory, name: str) -> Iterator[Path]:
    """A new folder for an evaluation, which is deleted at the end unless it was published.

    What killed processes left of the evaluation of this name is put back or deleted before.
    """
    place = directory.evaluations
    files.make_folder(place)
    folders.clear(place / name)
    with ExitStack() as until_the_end:
        try:
            folder = until_the_end.enter_context(folders.drafted(place / name))
        except OSError as error:
            raise QexpError(f"cannot write to {place}: {error.strerror or error}") from error
        yield folder


def published(directory: RunDirectory, name: str, folder: Path, force: bool, exists: Callable[[], bool]) -> bool:
    """Give a draft its name; False if another process has meanwhile made the same evaluation.

    exists  whether there is the same evaluation; raises QexpError if there is another one of that name
    """
    target = directory.evaluations / name
    try:
        with locked(directory.evaluations, LOCK_SECONDS):
            if not force and exists():
                return False
            folders.put(folder, target)  # with --force one is there, or one without a record, which no evaluation is
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error.strerror or error}") from error
    return True

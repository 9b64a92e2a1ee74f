"""Permanent deletion of runs in the trash."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from qexp import files
from qexp.errors import QexpError
from qexp.runs.record import nesting
from qexp.runs.upkeep.trash import Trashed, alone, entries, entry_of, folder, forget_if_empty, listed, relink
from qexp.workspace import Workspace

DOOMED = ".purging-"
"""Prefix of runs that are being deleted, so that after a crash no half-deleted run is restored."""


@dataclass
class Purged:
    """The result of a purge."""

    names: list[str] = field(default_factory=list)
    """Names of the deleted runs."""
    freed: int = 0
    """Freed space [bytes]."""
    problems: list[str] = field(default_factory=list)
    """Messages about runs that could not be deleted."""
    gone: list[str] = field(default_factory=list)
    """Names of runs that another process restored or deleted first."""


def half_purged(workspace: Workspace) -> list[Trashed]:
    """The half-deleted runs of an interrupted purge."""
    paths = [path for path in listed(folder(workspace)) if path.name.startswith(DOOMED)]
    return [entry for path in paths if (entry := entry_of(path, path.name.removeprefix(DOOMED)))]


def older_than(known: Iterable[Trashed], age: timedelta) -> list[Trashed]:
    now = datetime.now(UTC)
    return [entry for entry in known if now - entry.since > age]


def doomed(workspace: Workspace, age: timedelta | None = None) -> list[Trashed]:
    """The entries that a purge deletes: those of an interrupted purge, and runs removed longer ago than `age`."""
    known = entries(workspace)
    return [*half_purged(workspace), *(known if age is None else older_than(known, age))]


def purge(condemned: Iterable[Trashed], workspace: Workspace) -> Purged:
    """Permanently delete runs in the trash, except those that hold other runs."""
    done = Purged()
    for entry in condemned:
        try:
            size = files.size_of(entry.data)
            deleted = _purge(entry, workspace)
        except QexpError as error:
            done.problems.append(str(error))
        except FileNotFoundError:  # a link that was removed in the meantime
            done.gone.append(entry.name)
        except OSError as error:
            done.problems.append(f"cannot delete {error.filename or entry.path}: {error.strerror}")
        else:
            (done.names if deleted else done.gone).append(entry.name)
            done.freed += size if deleted else 0
    return done


def _purge(entry: Trashed, workspace: Workspace) -> bool:
    """Delete a run; False if it is no longer in the trash. If a restore runs too, the first to rename the run wins."""
    begun = entry.path.name.startswith(DOOMED)
    condemned = entry.path if begun else entry.path.with_name(DOOMED + entry.path.name)
    if entry.path.is_symlink():
        return _purge_linked(entry, condemned, workspace)
    _require_no_run_inside(entry, entry.path)
    try:
        entry.path.rename(condemned)
    except FileNotFoundError:
        return False
    _delete(condemned)
    return True


def _purge_linked(entry: Trashed, condemned: Path, workspace: Workspace) -> bool:
    with alone(workspace):
        if not entry.path.is_symlink():
            return False
        data = entry.data
        if not (entry.path == condemned and not data.exists()):
            _require_own(entry, workspace)
            _require_no_run_inside(entry, data)
        _, aside = entry.places
        if data == entry.at(aside) and entry.path.readlink() != aside:
            # After the deletion another run at its former place must not be mistaken for it.
            relink(entry, aside)
        entry.path.rename(condemned)
    if data.exists():
        _delete_record_last(data)
    if data == entry.at(aside):
        forget_if_empty(data.parent)
    condemned.unlink(missing_ok=True)
    return True


def _require_no_run_inside(entry: Trashed, data: Path) -> None:
    inner = nesting.inside(data)
    if inner:
        back = "" if entry.path.name.startswith(DOOMED) else f"bring it back with: qexp restore {entry.path.name}; "
        raise QexpError(
            f"{data} is not deleted: it holds other runs, {nesting.named(inner, data)}; {back}move those out first"
        )


def _require_own(entry: Trashed, workspace: Workspace) -> None:
    """Raise QexpError unless the link's target exists and belongs to this run alone."""
    data = entry.data
    if not data.is_dir():
        raise QexpError(f"{data} does not exist; mount that disk, or delete the link {entry.path}")
    here, own = data.resolve(), workspace.runs.resolve()
    for path in listed(workspace.runs):
        if (path.is_symlink() or here.parent == own) and files.real_path(path) == here:
            raise QexpError(f"{data} is not deleted: it belongs to the run {path}; delete the link {entry.path}")
    if not (data / "run.json").is_file() and any(data.iterdir()):
        raise QexpError(f"{data} is not deleted: it is not a run; check its contents, and delete the link {entry.path}")


def _delete(path: Path) -> None:
    while os.path.lexists(path):
        with suppress(FileNotFoundError):  # another purge deletes the same run
            shutil.rmtree(path)


def _delete_record_last(data: Path) -> None:
    """Delete a run's directory, its record last, so that an interrupted deletion is recognised by the next purge."""
    for path in listed(data):
        if path.name == "run.json":
            continue
        if path.is_dir() and not path.is_symlink():
            _delete(path)
        else:
            path.unlink(missing_ok=True)
    (data / "run.json").unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        data.rmdir()

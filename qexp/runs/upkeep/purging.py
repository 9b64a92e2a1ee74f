"""Deleting what is in the trash, for good."""

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
"""Begins the name of what is being deleted: after a crash nobody restores half a run."""


@dataclass
class Purged:
    """What a purge did."""

    names: list[str] = field(default_factory=list)
    """Of the runs that it deleted."""
    freed: int = 0
    """Bytes."""
    problems: list[str] = field(default_factory=list)
    """What could not be deleted, and why."""
    gone: list[str] = field(default_factory=list)
    """Names of runs that another process had restored or deleted when their turn came."""


def half_purged(workspace: Workspace) -> list[Trashed]:
    """What a purge that was cut short has left."""
    paths = [path for path in listed(folder(workspace)) if path.name.startswith(DOOMED)]
    return [entry for path in paths if (entry := entry_of(path, path.name.removeprefix(DOOMED)))]


def older_than(known: Iterable[Trashed], age: timedelta) -> list[Trashed]:
    now = datetime.now(UTC)
    return [entry for entry in known if now - entry.since > age]


def doomed(workspace: Workspace, age: timedelta | None = None) -> list[Trashed]:
    """What a purge would delete: what another one has left, and what was removed longer ago than `age`."""
    known = entries(workspace)
    return [*half_purged(workspace), *(known if age is None else older_than(known, age))]


def purge(condemned: Iterable[Trashed], workspace: Workspace) -> Purged:
    """Delete runs in the trash for good, except those that hold other runs."""
    done = Purged()
    for entry in condemned:
        try:
            size = files.size_of(entry.data)
            deleted = _purge(entry, workspace)
        except QexpError as error:
            done.problems.append(str(error))
        except FileNotFoundError:  # a link that was taken away between two looks at it
            done.gone.append(entry.name)
        except OSError as error:
            done.problems.append(f"cannot delete {error.filename or entry.path}: {error.strerror}")
        else:
            (done.names if deleted else done.gone).append(entry.name)
            done.freed += size if deleted else 0
    return done


def _purge(entry: Trashed, workspace: Workspace) -> bool:
    """Delete a run; False if it is not in the trash any more. Of a purge and a restore the first to rename it wins."""
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
            # Once its files are deleted, what lies where it was must not be taken for it.
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
            f"{data} is kept: it holds other runs, {nesting.named(inner, data)}; {back}move those out of it first"
        )


def _require_own(entry: Trashed, workspace: Workspace) -> None:
    """Raise QexpError unless what the link points to is there, and is this run's and no other's."""
    data = entry.data
    if not data.is_dir():
        raise QexpError(f"{data} is not there; mount that disk, or delete the link {entry.path}")
    here, own = data.resolve(), workspace.runs.resolve()
    for path in listed(workspace.runs):
        if (path.is_symlink() or here.parent == own) and path.resolve() == here:
            raise QexpError(f"{data} is kept: {path} is a run that lives there; delete the link {entry.path}")
    if not (data / "run.json").is_file() and any(data.iterdir()):
        raise QexpError(f"{data} is kept: it holds no run; look at it, and delete the link {entry.path}")


def _delete(path: Path) -> None:
    while os.path.lexists(path):
        with suppress(FileNotFoundError):  # another purge is at work on the same
            shutil.rmtree(path)


def _delete_record_last(data: Path) -> None:
    """Delete a run's directory so that, until all is gone, the next purge sees what it was."""
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

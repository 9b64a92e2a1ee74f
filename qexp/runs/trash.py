"""The trash of a workspace: `runs/.trash/<name>--<time>`, where removed runs stay until restored or purged."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from qexp import files
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.catalog import Catalog
from qexp.runs.directory import RunDirectory
from qexp.runs.prepare import NAME
from qexp.runs.process import alive
from qexp.runs.waiting import Watch
from qexp.tables import suggestion
from qexp.workspace import Workspace

STAMP = "%Y%m%dT%H%M%S.%fZ"

ENTRY = re.compile(rf"(?P<name>{NAME.pattern})--(?P<stamp>\d{{8}}T\d{{6}}\.\d{{6}}Z)")

DOOMED = ".purging-"
"""Begins the name of what is being deleted: after a crash nobody restores half a run."""

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Trashed:
    """A run in the trash: its directory or, if that lies on another disk, the link to it."""

    path: Path
    name: str
    since: datetime

    @property
    def data(self) -> Path:
        """Where the run's files are. A link is kept as it was in `runs/`, from where it counts if it is relative."""
        return self.path.parent.parent / self.path.readlink() if self.path.is_symlink() else self.path


def folder(workspace: Workspace) -> Path:
    return workspace.runs / ".trash"


def entries(workspace: Workspace) -> list[Trashed]:
    """What is in the trash, the oldest first."""
    found = [entry for path in _listed(folder(workspace)) if (entry := _entry(path, path.name))]
    return sorted(found, key=lambda entry: entry.since)


def half_purged(workspace: Workspace) -> list[Trashed]:
    """What a purge that was cut short has left."""
    paths = [path for path in _listed(folder(workspace)) if path.name.startswith(DOOMED)]
    return [entry for path in paths if (entry := _entry(path, path.name.removeprefix(DOOMED)))]


def chosen(references: Iterable[str], workspace: Workspace) -> list[RunDirectory]:
    """The runs of some names, unique prefixes, paths, and patterns such as 'mogi_*', each once.

    The whole name of a wreck, such as a dangling link, will do as well. Raises NotFoundError, and QexpError for a
    path that is of no run of this workspace.
    """
    catalog = Catalog(workspace)
    names = dict.fromkeys(name for reference in references for name in _names(reference, catalog))
    return [RunDirectory(workspace.runs / name) for name in names]


def in_use(directories: Sequence[RunDirectory]) -> dict[RunDirectory, str]:
    """The runs that some process or scheduler counts on, so that they cannot be moved, and their states."""
    busy = {}
    for directory, state in Watch().states(directories).items():
        if state in ("queued", "running"):
            busy[directory] = state
        elif state in ("damaged", "gone") and _heard(directory):
            # Without a record nobody knows whom to ask; but a process at work is heard.
            busy[directory] = f"{state}, but something worked on it in the last minutes"
    return busy


def require_idle(directories: Sequence[RunDirectory]) -> None:
    """Raise QexpError if one of the runs is queued or running."""
    if busy := in_use(directories):
        said = ", ".join(f"{directory.name} is {state}" for directory, state in busy.items())
        raise QexpError(f"{said}; nothing was moved. Stop first what is at work, or remove it with --stop")


def discard(directories: Sequence[RunDirectory], workspace: Workspace) -> list[Trashed]:
    """Move runs into the trash, all or, if one of them is at work, none."""
    require_idle(directories)
    if directories:
        files.make_folder(folder(workspace))
    return [_discard(directory, folder(workspace)) for directory in directories]


def restore(reference: str, workspace: Workspace) -> RunDirectory:
    """Move the newest run of a name back, or the one of `<name>--<time>`.

    Raises NotFoundError, and QexpError if there is a run of that name now.
    """
    known = entries(workspace)
    matching = [entry for entry in known if reference in (entry.name, entry.path.name)]
    if not matching:
        near = suggestion(reference, dict.fromkeys(entry.name for entry in known)) if known else "it is empty"
        raise NotFoundError(f"no run '{reference}' in the trash; {near}")
    entry = matching[-1]
    target = workspace.runs / entry.name
    if os.path.lexists(target):
        raise QexpError(f"there is a run {entry.name} already; remove it first, and then restore {entry.path.name}")
    if not entry.data.is_dir():
        raise DamagedError(f"{entry.path} is a link to {entry.data}, which is gone; is that disk mounted?")
    _put_back(entry, target)
    return RunDirectory(target)


def older_than(known: Iterable[Trashed], age: timedelta) -> list[Trashed]:
    now = datetime.now(UTC)
    return [entry for entry in known if now - entry.since > age]


def duration(text: str) -> timedelta:
    """The time that '30d' or '12h' means."""
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if not match:
        raise QexpError(f"--older-than {text}: write a number and one of m, h, d, w, as in 30d or 12h")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def purge(doomed: Iterable[Trashed], workspace: Workspace) -> tuple[int, list[str]]:
    """Delete runs in the trash for good. Returns the bytes that were freed, and what could not be deleted."""
    freed, problems = 0, []
    for entry in doomed:
        try:
            size = files.size_of(entry.data)
            _purge(entry, workspace)
            freed += size
        except QexpError as error:
            problems.append(str(error))
        except FileNotFoundError:
            pass  # another purge was faster
        except OSError as error:
            problems.append(f"cannot delete {entry.data}: {error.strerror}")
    return freed, problems


def _heard(directory: RunDirectory) -> bool:
    return any(alive({}, heartbeat) for heartbeat in directory.path.glob("attempts/*/heartbeat"))


def _listed(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except FileNotFoundError:
        return []


def _entry(path: Path, called: str) -> Trashed | None:
    """What lies there; None if it was not put there by `discard`."""
    match = ENTRY.fullmatch(called)
    if match is None or not (path.is_symlink() or path.is_dir()):
        return None
    try:
        since = datetime.strptime(match["stamp"], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Trashed(path, match["name"], since)


def _names(reference: str, catalog: Catalog) -> list[str]:
    runs = catalog.workspace.runs
    if "/" not in reference and any(character in reference for character in "*?["):
        names = [path.parent.name for path in runs.glob("*/run.json")]
        matching = sorted(name for name in names if NAME.fullmatch(name) and fnmatchcase(name, reference))
        if not matching:
            raise NotFoundError(f"no run like '{reference}'; {suggestion(reference, names)}")
        return matching
    if NAME.fullmatch(reference) and ((runs / reference).is_dir() or (runs / reference).is_symlink()):
        return [reference]
    path = catalog.find(reference).path
    if path.parent.resolve() != runs.resolve() or not NAME.fullmatch(path.name):
        raise QexpError(f"{reference} is no run of {runs}; name it as it is called there")
    return [path.name]


def _discard(directory: RunDirectory, trash: Path) -> Trashed:
    """Rename: whatever happens, the run is here or there. A link moves and its data stay."""
    since = datetime.now(UTC)
    target = trash / f"{directory.name}--{since.strftime(STAMP)}"
    try:
        directory.path.rename(target)
    except FileNotFoundError:
        raise NotFoundError(f"{directory.path} is gone: another process was faster") from None
    except OSError as error:
        raise QexpError(f"cannot move {directory.path} to {trash}: {error.strerror}") from error
    return Trashed(target, directory.name, since)


def _put_back(entry: Trashed, target: Path) -> None:
    try:
        if entry.path.is_symlink():
            # Renaming would silently replace a link that another process makes at this moment.
            target.symlink_to(entry.path.readlink(), target_is_directory=True)
            entry.path.unlink()
        else:
            entry.path.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise QexpError(f"there is a run {entry.name} already; remove it first") from None
        raise QexpError(f"cannot move {entry.path} to {target}: {error.strerror}") from error


def _purge(entry: Trashed, workspace: Workspace) -> None:
    data, linked = entry.data, entry.path.is_symlink()
    begun = entry.path.name.startswith(DOOMED)
    if linked and not (begun and not data.exists()):
        _require_own(entry, workspace)
    doomed = entry.path if begun else entry.path.with_name(DOOMED + entry.path.name)
    entry.path.rename(doomed)
    if not linked:
        shutil.rmtree(doomed)
        return
    if data.exists():
        _delete_record_last(data)
    doomed.unlink()


def _require_own(entry: Trashed, workspace: Workspace) -> None:
    """Raise QexpError unless what the link points to is there, and is this run's and no other's."""
    data = entry.data
    if not data.is_dir():
        raise QexpError(f"{data} is not there; mount that disk, or delete the link {entry.path}")
    for path in _listed(workspace.runs):
        if path.is_symlink() and path.resolve() == data.resolve():
            raise QexpError(f"{data} is kept: {path} is a run that lives there; delete the link {entry.path}")
    if not (data / "run.json").is_file() and any(data.iterdir()):
        raise QexpError(f"{data} is kept: it holds no run; look at it, and delete the link {entry.path}")


def _delete_record_last(data: Path) -> None:
    """Delete a run's directory so that, until all is gone, the next purge sees what it was."""
    for path in data.iterdir():
        if path.name == "run.json":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (data / "run.json").unlink(missing_ok=True)
    data.rmdir()

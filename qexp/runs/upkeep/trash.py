"""The trash of a workspace: `runs/.trash/<name>--<time>`, where removed runs stay until restored or purged.

A run that is kept elsewhere, and only linked to from `runs/`, is moved within its own disk, into a folder `.removed`
beside where it was, so that its name is free there, too; the trash holds the link. A crash between these moves leaves a
link to where the run was, which is then looked for in both places.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from filelock import FileLock, Timeout

from qexp import files
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import NAME
from qexp.runs.record.process import heard_lately
from qexp.runs.state.waiting import Watch
from qexp.tables import suggestion
from qexp.workspace import Workspace

STAMP = "%Y%m%dT%H%M%S.%fZ"

ENTRY = re.compile(rf"(?P<name>{NAME.pattern})--(?P<stamp>\d{{8}}T\d{{6}}\.\d{{6}}Z)")

DOOMED = ".purging-"
"""Begins the name of what is being deleted: after a crash nobody restores half a run."""

REMOVED = ".removed"
"""Beside runs that are kept elsewhere: those that were removed. Another name than the trash of a workspace, which the
folder around may be, too."""

LOCK_SECONDS = 10.0

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Trashed:
    """A run in the trash: its directory or, if that lies on another disk, the link to it."""

    path: Path
    name: str
    since: datetime

    @property
    def data(self) -> Path:
        """Where the run's files are."""
        if not self.path.is_symlink():
            return self.path
        home, aside = self.places
        return self.at(aside if self.path.readlink() == aside or self.at(aside).exists() else home)

    @property
    def places(self) -> tuple[Path, Path]:
        """Where a run that is linked to lies while it is in use, and in the trash; as the link says it."""
        link = self.path.readlink()
        name, dashes, _ = link.name.rpartition("--")
        if link.parent.name == REMOVED and dashes:
            return link.parent.parent / name, link
        return link, link.parent / REMOVED / f"{link.name}--{self.since.strftime(STAMP)}"

    def at(self, place: Path) -> Path:
        """A link's target. If it is relative it counts from `runs/`, where the link was and may be again."""
        return self.path.parent.parent / place


@dataclass(frozen=True)
class Purged:
    """What a purge did: the names of runs that are deleted, the bytes that were freed, what could not be deleted."""

    names: list[str]
    freed: int
    problems: list[str]


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
    busy: dict[RunDirectory, str] = {}
    for directory, state in Watch().states(directories).items():
        if state.at_work:
            busy[directory] = state
        elif not state.readable and _heard(directory):
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
    links = Counter(os.path.realpath(path) for path in _listed(workspace.runs) if path.is_symlink())
    return [_discard(directory, workspace, links) for directory in directories]


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
    if entry.path.is_symlink():
        with _alone(workspace):
            _put_link_back(entry, target)
    else:
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


def doomed(workspace: Workspace, age: timedelta | None = None) -> list[Trashed]:
    """What a purge would delete: what another one has left, and what was removed longer ago than `age`."""
    known = entries(workspace)
    return [*half_purged(workspace), *(known if age is None else older_than(known, age))]


def purge(condemned: Iterable[Trashed], workspace: Workspace) -> Purged:
    """Delete runs in the trash for good."""
    names, freed, problems = [], 0, []
    for entry in condemned:
        try:
            size = files.size_of(entry.data)
            _purge(entry, workspace)
            freed += size
        except QexpError as error:
            problems.append(str(error))
            continue
        except FileNotFoundError:
            pass  # another purge was faster
        except OSError as error:
            problems.append(f"cannot delete {entry.data}: {error.strerror}")
            continue
        names.append(entry.name)
    return Purged(names, freed, problems)


def _heard(directory: RunDirectory) -> bool:
    return any(heard_lately(heartbeat) for heartbeat in directory.path.glob("attempts/*/heartbeat"))


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


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Keep other processes from moving linked runs, which takes several steps."""
    lock = folder(workspace).with_name(".trash.lock")
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise QexpError(f"{lock} has been locked by another process for {LOCK_SECONDS:.0f} s") from None


def _discard(directory: RunDirectory, workspace: Workspace, links: Mapping[str, int]) -> Trashed:
    """Rename: whatever happens, the run is here or there.

    links  how many links of the workspace lead to a real path
    """
    trash = folder(workspace)
    since = datetime.now(UTC)
    target = trash / f"{directory.name}--{since.strftime(STAMP)}"
    entry = Trashed(target, directory.name, since)
    try:
        if not directory.path.is_symlink():
            directory.path.rename(target)
            return entry
        with _alone(workspace):
            directory.path.rename(target)
            if links[os.path.realpath(entry.data)] <= 1:
                _set_aside(entry, workspace)
    except FileNotFoundError:
        raise NotFoundError(f"{directory.path} is gone: another process was faster") from None
    except OSError as error:
        raise QexpError(f"cannot move {directory.path} to {trash}: {error.strerror}") from error
    return entry


def _set_aside(entry: Trashed, workspace: Workspace) -> None:
    """Move the run that a link in the trash leads to, so that its name is free. What is no run of its own, and what
    its disk does not let go, stays where it is until it is restored or purged.
    """
    home, aside = entry.places
    data = entry.at(home)
    if data.is_symlink() or not (data / "run.json").is_file() or data.parent.resolve() == workspace.runs.resolve():
        return
    with suppress(OSError):
        entry.at(aside).parent.mkdir(exist_ok=True)
        data.rename(entry.at(aside))
        _relink(entry, aside)
    _forget_if_empty(entry.at(aside).parent)


def _relink(entry: Trashed, place: Path) -> None:
    new = entry.path.with_name(f".relinking-{entry.path.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(place, target_is_directory=True)
    new.replace(entry.path)


def _forget_if_empty(place: Path) -> None:
    with suppress(OSError):
        place.rmdir()


def _put_back(entry: Trashed, target: Path) -> None:
    try:
        entry.path.rename(target)
    except OSError as error:
        raise _not_put_back(entry, target, error) from error


def _put_link_back(entry: Trashed, target: Path) -> None:
    try:
        home, aside = entry.places
        if entry.data != entry.at(home):
            if os.path.lexists(entry.at(home)):
                raise QexpError(f"{entry.at(home)} is not this run's any more; move away what is there, and try again")
            if entry.path.readlink() == aside:
                _relink(entry, home)
            entry.at(aside).rename(entry.at(home))
            _forget_if_empty(entry.at(aside).parent)
        # Renaming would silently replace a link that another process makes at this moment.
        target.symlink_to(home, target_is_directory=True)
        entry.path.unlink()
    except OSError as error:
        raise _not_put_back(entry, target, error) from error


def _not_put_back(entry: Trashed, target: Path, error: OSError) -> QexpError:
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
        return QexpError(f"there is a run {entry.name} already; remove it first")
    return QexpError(f"cannot move {entry.path} to {target}: {error.strerror}")


def _purge(entry: Trashed, workspace: Workspace) -> None:
    begun = entry.path.name.startswith(DOOMED)
    condemned = entry.path if begun else entry.path.with_name(DOOMED + entry.path.name)
    if not entry.path.is_symlink():
        entry.path.rename(condemned)
        shutil.rmtree(condemned)
        return
    with _alone(workspace):
        data = entry.data
        if not (begun and not data.exists()):
            _require_own(entry, workspace)
        _, aside = entry.places
        if data == entry.at(aside) and entry.path.readlink() != aside:
            # Once its files are deleted, what lies where it was must not be taken for it.
            _relink(entry, aside)
        entry.path.rename(condemned)
    if data.exists():
        _delete_record_last(data)
    if data == entry.at(aside):
        _forget_if_empty(data.parent)
    condemned.unlink()


def _require_own(entry: Trashed, workspace: Workspace) -> None:
    """Raise QexpError unless what the link points to is there, and is this run's and no other's."""
    data = entry.data
    if not data.is_dir():
        raise QexpError(f"{data} is not there; mount that disk, or delete the link {entry.path}")
    here, own = data.resolve(), workspace.runs.resolve()
    for path in _listed(workspace.runs):
        if (path.is_symlink() or here.parent == own) and path.resolve() == here:
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

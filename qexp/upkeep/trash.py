"""The trash of a workspace, where removed runs stay until they are restored or deleted for good.

A run that is stored elsewhere and linked from `runs/` is moved within its own disk, into a folder `.removed` beside its
former place, so that its name becomes free there as well; the trash holds the link. After a crash between these moves
the link still points to the former place; the run is then searched for in both places.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from qexp.base import files
from qexp.base.files import locked
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, suggestion
from qexp.jobs.states import Watch
from qexp.runs.catalog import Catalog, find_run
from qexp.store.directory import RunDirectory, names_inside, runs_inside
from qexp.store.process import fresh
from qexp.store.record import NAME

STAMP = "%Y%m%dT%H%M%S.%fZ"

ENTRY = re.compile(rf"(?P<name>{NAME.pattern})--(?P<stamp>\d{{8}}T\d{{6}}\.\d{{6}}Z)")

REMOVED = ".removed"
"""Folder for removed runs beside runs outside `runs/`. It differs from `.trash`, as that place can be a workspace's
`runs/` itself."""

LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Trashed:
    """A run in the trash: its directory or, if that is on another disk, the link to it."""

    path: Path
    name: str
    since: datetime

    @property
    def data(self) -> Path:
        """The folder with the run's files."""
        if not self.path.is_symlink():
            return self.path
        home, aside = self.places
        return self.at(aside if self.path.readlink() == aside or self.at(aside).exists() else home)

    @property
    def places(self) -> tuple[Path, Path]:
        """The places of a linked run while it is in use and in the trash, absolute or relative like the link."""
        link = self.path.readlink()
        name, dashes, _ = link.name.rpartition("--")
        if link.parent.name == REMOVED and dashes:
            return link.parent.parent / name, link
        return link, link.parent / REMOVED / f"{link.name}--{self.since.strftime(STAMP)}"

    def at(self, place: Path) -> Path:
        """A link's target; a relative one starts from `runs/`, where the link was and will be after a restore."""
        return self.path.parent.parent / place


def folder(workspace: Workspace) -> Path:
    return workspace.runs / ".trash"


def entries(workspace: Workspace) -> list[Trashed]:
    """The runs in the trash, oldest first."""
    found = [entry for path in listed(folder(workspace)) if (entry := entry_of(path, path.name))]
    return sorted(found, key=lambda entry: entry.since)


def runs_to_remove(references: Iterable[str], workspace: Workspace) -> list[RunDirectory]:
    """The runs given by names, unique prefixes, paths, and patterns such as 'mogi_*', each once.

    The full name of an unusable run, such as a dangling link, is accepted as well. Raises NotFoundError, and
    QexpError for a path that is not a run of this workspace.
    """
    catalog = Catalog(workspace)
    names = dict.fromkeys(name for reference in references for name in _names(reference, catalog))
    return [RunDirectory(workspace.runs / name) for name in names]


def in_use(directories: Sequence[RunDirectory]) -> dict[RunDirectory, str]:
    """Run → state, of the runs that a process or scheduler works on, so that they cannot be moved."""
    busy: dict[RunDirectory, str] = {}
    for directory, state in Watch().states(directories).items():
        if state.at_work:
            busy[directory] = state
        elif not state.readable and _heard(directory):
            # Without a record the process is unknown, but its heartbeat shows that one is at work.
            busy[directory] = f"{state}, but something worked on it in the last minutes"
    return busy


def require_idle(directories: Sequence[RunDirectory]) -> None:
    """Raise QexpError if one of the runs is queued or running."""
    if busy := in_use(directories):
        said = ", ".join(f"{directory.name} is {state}" for directory, state in busy.items())
        raise QexpError(f"{said}; nothing was moved. Stop these runs first, or remove them with `stop=True`")


def discard(directories: Sequence[RunDirectory], workspace: Workspace) -> list[Trashed]:
    """Move runs into the trash; none of them if one is at work or holds another run."""
    require_idle(directories)
    _require_no_runs_inside(directories)
    if directories:
        files.make_folder(folder(workspace))
    links = Counter(files.real_path(path) for path in listed(workspace.runs) if path.is_symlink())
    return [_discard(directory, workspace, links) for directory in directories]


def _require_no_runs_inside(directories: Iterable[RunDirectory]) -> None:
    for directory in directories:
        inner = runs_inside(directory.path)
        if inner:
            raise QexpError(
                f"{directory.name} holds other runs, {names_inside(inner, directory.path)}, which would be removed "
                "with it; nothing was moved. Move those out of it, or remove and purge them first"
            )


def restore(reference: str, workspace: Workspace) -> RunDirectory:
    """Move the most recently removed run of a name back, or the entry `<name>--<time>`.

    Raises NotFoundError, and QexpError if a run of that name exists.
    """
    known = entries(workspace)
    matching = [entry for entry in known if reference in (entry.name, entry.path.name)]
    if not matching:
        near = suggestion(reference, dict.fromkeys(entry.name for entry in known)) if known else "the trash is empty"
        raise NotFoundError(f"no run '{reference}' in the trash; {near}")
    entry = matching[-1]
    target = workspace.runs / entry.name
    if os.path.lexists(target):
        raise QexpError(f"a run {entry.name} exists already; remove it first, and then restore {entry.path.name}")
    try:
        if entry.path.is_symlink():
            with alone(workspace):
                _put_link_back(entry, target)
        else:
            entry.path.rename(target)
    except OSError as error:
        raise _not_put_back(entry, target, error) from error
    return RunDirectory(target)


def _heard(directory: RunDirectory) -> bool:
    return any(map(fresh, directory.path.glob("attempts/*/heartbeat")))


def listed(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except FileNotFoundError:
        return []


def entry_of(path: Path, called: str) -> Trashed | None:
    """The trash entry at a path; None if it was not put there by `discard`."""
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
    path = find_run(reference, catalog).path
    if path.parent.resolve() != runs.resolve() or not NAME.fullmatch(path.name):
        raise QexpError(f"{reference} is not a run in {runs}; use its name there")
    return [path.name]


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """Prevent other processes from moving linked runs during the block, since a move takes several steps."""
    with locked(folder(workspace), LOCK_SECONDS):
        yield


def _discard(directory: RunDirectory, workspace: Workspace, links: Mapping[Path, int]) -> Trashed:
    """Move a run into the trash by renaming, so that even a crash leaves it in one place or the other.

    links  real path → number of links in the workspace that point to it
    """
    trash = folder(workspace)
    since = datetime.now(UTC)
    target = trash / f"{directory.name}--{since.strftime(STAMP)}"
    entry = Trashed(target, directory.name, since)
    try:
        if not directory.path.is_symlink():
            directory.path.rename(target)
            return entry
        with alone(workspace):
            directory.path.rename(target)
            if links[files.real_path(entry.data)] <= 1:
                _set_aside(entry, workspace)
    except FileNotFoundError:
        raise NotFoundError(f"{directory.path} no longer exists: another process removed it") from None
    except OSError as error:
        raise QexpError(f"cannot move {directory.path} to {trash}: {error.strerror}") from error
    return entry


def _set_aside(entry: Trashed, workspace: Workspace) -> None:
    """Move the target of a link in the trash aside, so that its name becomes free.

    A target that is not a run of its own, or that cannot be moved, stays in place until it is restored or purged.
    """
    home, aside = entry.places
    data = entry.at(home)
    if data.is_symlink() or not (data / "run.json").is_file() or data.parent.resolve() == workspace.runs.resolve():
        return
    with suppress(OSError):
        entry.at(aside).parent.mkdir(exist_ok=True)
        data.rename(entry.at(aside))
        relink(entry, aside)
    forget_if_empty(entry.at(aside).parent)


def relink(entry: Trashed, place: Path) -> None:
    new = entry.path.with_name(f".relinking-{entry.path.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(place, target_is_directory=True)
    new.replace(entry.path)


def forget_if_empty(place: Path) -> None:
    with suppress(OSError):
        place.rmdir()


def _put_link_back(entry: Trashed, target: Path) -> None:
    entry.path.lstat()  # fails if another process removed it before this one had the lock
    if not entry.data.is_dir():
        raise DamagedError(f"{entry.path} is a link to {entry.data}, which does not exist; is that disk mounted?")
    home, aside = entry.places
    if entry.data != entry.at(home):
        if os.path.lexists(entry.at(home)):
            raise QexpError(f"{entry.at(home)} is occupied by another file; move that away, and try again")
        if entry.path.readlink() == aside:
            relink(entry, home)
        entry.at(aside).rename(entry.at(home))
        forget_if_empty(entry.at(aside).parent)
    # Renaming would silently replace a link that another process creates meanwhile.
    target.symlink_to(home, target_is_directory=True)
    entry.path.unlink()


def _not_put_back(entry: Trashed, target: Path, error: OSError) -> QexpError:
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
        return QexpError(f"a run {entry.name} exists already; remove it first")
    if not os.path.lexists(entry.path):
        return NotFoundError(f"{entry.path.name} is no longer in the trash: another process restored or deleted it")
    return QexpError(f"cannot move {entry.path} to {target}: {error.strerror}")


# Permanent deletion of runs in the trash.


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


def purge_runs(condemned: Iterable[Trashed], workspace: Workspace) -> Purged:
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
    inner = runs_inside(data)
    if inner:
        back = "" if entry.path.name.startswith(DOOMED) else f"bring it back with: qexp restore {entry.path.name}; "
        raise QexpError(
            f"{data} is not deleted: it holds other runs, {names_inside(inner, data)}; {back}move those out first"
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

"""The trash of a workspace, where removed runs stay until they are restored or deleted for good.

Of a run that is stored elsewhere and linked from `runs/`, the trash holds the link; its folder
stays where it is.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from qexp.base import files, formats
from qexp.base.files import locked
from qexp.base.options import as_warning
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, some, suggestion
from qexp.jobs.states import Watch
from qexp.runs.catalog import Catalog, find_run, is_pattern, matching, natural
from qexp.store.directory import RunDirectory, names_inside, runs_inside
from qexp.store.process import fresh
from qexp.store.record import NAME

STAMP = "%Y%m%dT%H%M%S.%fZ"

ENTRY = re.compile(rf"(?P<name>{NAME.pattern})--(?P<stamp>\d{{8}}T\d{{6}}\.\d{{6}}Z)")


@dataclass(frozen=True)
class Trashed:
    """A run in the trash: its directory or, if that is on another disk, the link to it."""

    path: Path
    name: str
    removed: datetime

    @property
    def data(self) -> Path:
        """The folder with the run's files. A relative link starts from `runs/`."""
        if self.path.is_symlink():
            return self.path.parent.parent / self.path.readlink()
        return self.path


def folder(workspace: Workspace) -> Path:
    return workspace.runs / ".trash"


def entries(workspace: Workspace, prefix: str = "") -> list[Trashed]:
    """The runs in the trash, oldest first.

    prefix  of names that they have got since `discard` put them there
    """
    paths = [path for path in files_in(folder(workspace)) if path.name.startswith(prefix)]
    trashed = (_entry_of(path, path.name.removeprefix(prefix)) for path in paths)
    return sorted((entry for entry in trashed if entry), key=lambda entry: entry.removed)


def runs_to_remove(references: Iterable[str], workspace: Workspace) -> list[RunDirectory]:
    """The runs given by full names, paths, and patterns such as 'mogi_*', each once.

    A unique prefix is refused: when mogi_1 is gone, it would be that of mogi_10. The name of an
    unusable run, such as a dangling link, is accepted as well. Raises NotFoundError, and QexpError
    for a path that is not a run of this workspace.
    """
    catalog = Catalog(workspace)
    names = itertools.chain(*(_names(reference, catalog) for reference in references))
    return [RunDirectory(workspace.runs / name) for name in dict.fromkeys(names)]


def in_use(directories: Sequence[RunDirectory]) -> dict[RunDirectory, str]:
    """Run → state, of runs at work, which cannot be moved."""
    busy: dict[RunDirectory, str] = {}
    for directory, state in Watch().states(directories).items():
        if state.at_work:
            busy[directory] = state
        elif not state.readable and any(map(fresh, directory.path.glob("attempts/*/heartbeat"))):
            # Without a record the process is unknown, but its heartbeat shows that one is at work.
            busy[directory] = f"{state}, but something worked on it in the last minutes"
    return busy


def discard(directories: Sequence[RunDirectory], workspace: Workspace) -> list[Trashed]:
    """Move runs into the trash; none of them if one is at work or holds another run."""
    busy = in_use(directories)
    if busy:
        which = ", ".join(f"{directory.name} is {state}" for directory, state in busy.items())
        raise QexpError(
            f"{which}; nothing was moved. Stop these runs first, or remove them with `stop=True`"
        )
    for directory in directories:
        inner = runs_inside(directory.path)
        if inner:
            raise QexpError(
                f"{directory.name} holds other runs, {names_inside(inner, directory.path)}, which"
                " would be removed with it; nothing was moved. Move those out of it, or remove and"
                " purge them first"
            )
    if directories:
        files.make_folder(folder(workspace))
    return [_discard(directory, folder(workspace)) for directory in directories]


def removed(directories: Sequence[RunDirectory], workspace: Workspace) -> list[Trashed]:
    """What `discard` does, with a warning for runs and specs whose emulator is among them."""
    gone = discard(directories, workspace)
    names = {directory.name for directory in directories}
    specs = [*workspace.runs.glob("*/spec.json"), *workspace.specs.glob("datasets/*.json")]
    for file in sorted(specs):
        with suppress(DamagedError, FileNotFoundError):
            if b'"emulator"' in files.read_bytes(file) and file.parent.name not in names:
                document = formats.object_in(file)
                dataset = document.get("dataset", document)
                name = dataset.get("emulator") if isinstance(dataset, dict) else None
                if name in names:
                    who = file.parent.name if "dataset" in document else workspace.shown(file)
                    as_warning(f"{who} has '{name}' as its emulator, which is in the trash now")
    return gone


def restore(reference: str, workspace: Workspace) -> RunDirectory:
    """Move the most recently removed run of a name back, or the entry `<name>--<time>`.

    Raises NotFoundError, and QexpError if a run of that name exists.
    """
    trashed = entries(workspace)
    matches = [entry for entry in trashed if reference in (entry.name, entry.path.name)]
    if not matches:
        names = dict.fromkeys(entry.name for entry in trashed)
        similar = suggestion(reference, names) if names else "the trash is empty"
        raise NotFoundError(f"no run '{reference}' in the trash; {similar}")
    entry = matches[-1]
    target = workspace.runs / entry.name
    if os.path.lexists(target):
        raise QexpError(
            f"a run {entry.name} exists already; remove it first, and then restore"
            f" {entry.path.name}"
        )
    try:
        if entry.path.is_symlink():
            _restore_link(entry, target, workspace)
        else:
            entry.path.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise QexpError(f"a run {entry.name} exists already; remove it first") from error
        if not os.path.lexists(entry.path):
            gone = (
                f"{entry.path.name} is no longer in the trash: another process restored or"
                " deleted it"
            )
            raise NotFoundError(gone) from error
        raise QexpError(f"cannot move {entry.path} to {target}: {error.strerror}") from error
    return RunDirectory(target)


def files_in(path: Path) -> list[Path]:
    """What a folder holds, sorted; nothing if there is no such folder."""
    try:
        return sorted(path.iterdir())
    except FileNotFoundError:
        return []


def _entry_of(path: Path, name: str) -> Trashed | None:
    """The trash entry at a path; None if it was not put there by `discard`.

    name  what it was called there first
    """
    match = ENTRY.fullmatch(name)
    if match is None or not (path.is_symlink() or path.is_dir()):
        return None
    try:
        removed = datetime.strptime(match["stamp"], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Trashed(path, match["name"], removed)


def _names(reference: str, catalog: Catalog) -> list[str]:
    runs = catalog.workspace.runs
    if "/" not in reference and is_pattern(reference):
        names = sorted(path.parent.name for path in runs.glob("*/run.json"))
        return matching(reference, filter(NAME.fullmatch, names))
    if NAME.fullmatch(reference):
        if (runs / reference).is_dir() or (runs / reference).is_symlink():
            return [reference]
        raise NotFoundError(_not_there(reference, catalog))
    path = find_run(reference, catalog).path
    if path.parent.resolve() != runs.resolve() or not NAME.fullmatch(path.name):
        raise QexpError(f"{reference} is not a run in {runs}; use its name there")
    return [path.name]


def _not_there(name: str, catalog: Catalog) -> str:
    """Why a run of that name cannot be removed, and what may have been meant."""
    longer = sorted((other for other in catalog.names() if other.startswith(name)), key=natural)
    trashed = any(entry.name == name for entry in entries(catalog.workspace))
    what = f"{name} is in the trash already" if trashed else f"no run '{name}'"
    if longer:
        return f"{what}; a run to remove is given by its full name: {some(longer)}"
    return what if trashed else f"{what}; {suggestion(name, catalog.names())}"


def _discard(directory: RunDirectory, trash: Path) -> Trashed:
    """Rename a run or its link into the trash: even after a crash it is in only one place."""
    removed = datetime.now(UTC)
    target = trash / f"{directory.name}--{removed.strftime(STAMP)}"
    try:
        directory.path.rename(target)
    except FileNotFoundError:
        raise NotFoundError(
            f"{directory.path} no longer exists: another process removed it"
        ) from None
    except OSError as error:
        raise QexpError(f"cannot move {directory.path} to {trash}: {error.strerror}") from error
    return Trashed(target, directory.name, removed)


def _restore_link(entry: Trashed, target: Path, workspace: Workspace) -> None:
    with locked(folder(workspace)):
        # fails if another process removed it before this one had the lock
        link = entry.path.readlink()
        if not entry.data.is_dir():
            raise DamagedError(
                f"{entry.path} is a link to {entry.data}, which does not exist; is that disk"
                " mounted?"
            )
        # Renaming would silently replace a link that another process creates meanwhile.
        target.symlink_to(link, target_is_directory=True)
        entry.path.unlink()


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
    return entries(workspace, DOOMED)


def doomed(workspace: Workspace, age: timedelta | None = None) -> list[Trashed]:
    """What a purge deletes: entries of an interrupted one, and those older than `age`."""
    now = datetime.now(UTC)
    expired = [entry for entry in entries(workspace) if age is None or now - entry.removed > age]
    return [*half_purged(workspace), *expired]


def purge_runs(condemned: Iterable[Trashed], workspace: Workspace) -> Purged:
    """Permanently delete runs in the trash, except those that hold other runs."""
    purged = Purged()
    for entry in condemned:
        try:
            size = files.size_of(entry.data)
            deleted = _purge(entry, workspace)
        except QexpError as error:
            purged.problems.append(str(error))
        except FileNotFoundError:  # a link that was removed in the meantime
            purged.gone.append(entry.name)
        except OSError as error:
            purged.problems.append(
                f"cannot delete {error.filename or entry.path}: {error.strerror}"
            )
        else:
            (purged.names if deleted else purged.gone).append(entry.name)
            purged.freed += size if deleted else 0
    return purged


def _purge(entry: Trashed, workspace: Workspace) -> bool:
    """Delete a run; False if it is gone. The first to rename it wins against a restore."""
    condemned = entry.path.with_name(DOOMED + entry.path.name.removeprefix(DOOMED))
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
    with locked(folder(workspace)):
        if not entry.path.is_symlink():
            return False
        data = entry.data
        if data.exists() or entry.path != condemned:
            _require_own(entry, workspace)
            _require_no_run_inside(entry, data)
        entry.path.rename(condemned)
    if data.exists():
        _delete_record_last(data)
    condemned.unlink(missing_ok=True)
    return True


def _require_no_run_inside(entry: Trashed, data: Path) -> None:
    inner = runs_inside(data)
    if inner:
        back = ""
        if not entry.path.name.startswith(DOOMED):
            back = f"bring it back with: qexp restore {entry.path.name}; "
        raise QexpError(
            f"{data} is not deleted: it holds other runs, {names_inside(inner, data)}; {back}move"
            " those out first"
        )


def _require_own(entry: Trashed, workspace: Workspace) -> None:
    """Raise QexpError unless the link's target exists and belongs to this run alone."""
    data = entry.data
    if not data.is_dir():
        raise QexpError(f"{data} does not exist; mount that disk, or delete the link {entry.path}")
    target = data.resolve()
    runs = workspace.runs.resolve()
    for path in files_in(workspace.runs):
        if (path.is_symlink() or target.parent == runs) and files.real_path(path) == target:
            raise QexpError(
                f"{data} is not deleted: it belongs to the run {path}; delete the link {entry.path}"
            )
    if not (data / "run.json").is_file() and any(data.iterdir()):
        raise QexpError(
            f"{data} is not deleted: it is not a run; check its contents, and delete the link"
            f" {entry.path}"
        )


def _delete(path: Path) -> None:
    while os.path.lexists(path):
        with suppress(FileNotFoundError):  # another purge deletes the same run
            shutil.rmtree(path)


def _delete_record_last(data: Path) -> None:
    """Delete a run's directory, its record last: the next purge knows an interrupted one by it."""
    for path in files_in(data):
        if path.name == "run.json":
            continue
        if path.is_dir() and not path.is_symlink():
            _delete(path)
        else:
            path.unlink(missing_ok=True)
    (data / "run.json").unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        data.rmdir()

"""What is wrong in a workspace, what would help, and the mending of what can be mended without loss."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.catalog.storage import LockedStorage
from qexp.runs.leakage import hashes
from qexp.runs.record import nesting
from qexp.runs.record.completeness import as_prepared
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import NAME
from qexp.runs.record.record import Record
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch
from qexp.runs.upkeep import leftovers, purging, trash
from qexp.runs.upkeep.finding import Finding, treated
from qexp.workspace import Workspace

LEAST_ROOM = 1_000_000_000
"""Bytes that should be free where runs are written."""


def findings(workspace: Workspace) -> Iterator[Finding]:
    """All that is wrong in a workspace. Nothing is changed."""
    paths = _listed(workspace.runs)
    runs = [run for path in paths if not path.name.startswith(".") and (run := RunDirectory(path)).holds_record]
    states = Watch().states(runs)  # a scheduler is asked for all of them at once
    for path in paths:
        try:
            found = list(_of_entry(path, states))
            # What is removed while it is looked at seems to lack this and that.
            yield from found if os.path.lexists(path) else []
        except OSError as error:
            yield Finding(path, f"cannot be read: {error.strerror}", "look at its owner and permissions", damaged=True)
    yield from _of_catalog(Catalog(workspace), paths)
    yield from _of_trash(workspace)
    yield from leftovers.of_exports(workspace.root)
    places = dict.fromkeys([workspace.runs, *(path.resolve().parent for path in paths if path.is_symlink())])
    for place in places:
        if place.is_dir():
            yield from _of_disk(place)
            # Runs that are kept elsewhere are prepared there.
            yield from leftovers.stale_drafts(place)


def examine(workspace: Workspace, fix: bool = False) -> list[Finding]:
    """All that is wrong; with `fix`, after what can be mended is. All is looked at before anything is mended."""
    found = list(findings(workspace))
    return [treated(finding) for finding in found] if fix else found


# What lies in runs/


def _of_entry(path: Path, states: Mapping[RunDirectory, State]) -> Iterator[Finding]:
    if path.name.startswith((".", "catalog.json")):
        if leftovers.is_stale_temporary(path):
            yield leftovers.temporary(path)
        return
    if path.is_symlink() and not path.exists():
        yield Finding(
            path,
            f"is a link to {path.readlink()}, which is not there",
            f"mount that disk, or remove the link: qexp rm {path.name}",
            damaged=True,
        )
    elif path.is_dir():
        directory = RunDirectory(path)
        yield from _of_run(directory, states[directory]) if directory in states else _without_record(directory)
    elif path.suffix == ".lock":
        yield from leftovers.of_lock(path)


def _of_run(directory: RunDirectory, state: State) -> Iterator[Finding]:
    if not NAME.fullmatch(directory.name):
        yield Finding(directory.path, "is no name of a run, so that no command finds it", "rename the folder")
    yield from leftovers.of_run(directory.path)
    yield from _inside(directory)
    try:
        record = directory.record()
    except NotFoundError:
        return  # removed at this moment
    except DamagedError as error:
        yield Finding(directory.path, str(error), _advice_on(error, directory), damaged=True)
        return
    yield from _of_spec(directory, record)
    yield from _of_environment(directory)
    yield from _of_folds(directory)
    if trouble := hashes.trouble_with(directory, record):
        yield Finding(
            directory.path / hashes.FILE,
            trouble,
            "take it from a copy; without it no run can start from this one, nor can it be verified",
            damaged=True,
        )
    if record.state.unfinished and not state.unfinished:
        yield Finding(
            directory.path,
            f"says it is {record.state}, but "
            + ("its process is gone" if state is State.LOST else f"its job has ended: {state}"),
            f"go on with it: {_resume_command(directory, record)}",
        )
    if not state.unfinished:
        yield from _of_name(directory, record)
    if not (record.state.unfinished or state.unfinished):
        # Going on with a run cuts a torn line off by itself.
        yield from _of_metrics(directory)
    if state is State.DONE:
        yield from _of_results(directory)


def _inside(directory: RunDirectory) -> Iterator[Finding]:
    for inner in nesting.inside(directory.path):
        yield Finding(
            inner,
            f"is a run inside the run {directory.name}, which as long as it holds another can be neither removed nor "
            "deleted",
            "move it out, and give the link in runs/ that leads to it, if there is one, its new place",
        )


def _resume_command(directory: RunDirectory, record: Record) -> str:
    words = ["qexp", "run", record.experience, "--seed", str(record.seed)]
    for override in record.overrides:
        words += ["--set", override]
    if directory.name != f"{record.experience}_{record.seed}":
        words += ["--name", directory.name]
    return shlex.join([*words, "--resume"])


def _without_record(directory: RunDirectory) -> Iterator[Finding]:
    """Folders that hold no run are the user's own affair, unless there was one."""
    if any(directory.checkpoints.glob("*.safetensors")) or directory.spec_file.exists():
        yield Finding(
            directory.path,
            "holds what a run leaves, but no record: run.json is gone",
            f"take run.json from a copy, or put it all away: qexp rm {directory.name}",
            damaged=True,
        )


def _advice_on(error: DamagedError, directory: RunDirectory) -> str:
    if isinstance(error.__cause__, PermissionError):
        return "look at its owner and permissions"
    return (
        "its other files are untouched; take the damaged one from a copy, or put the run away: "
        f"qexp rm {directory.name}"
    )


def _of_spec(directory: RunDirectory, record: Record) -> Iterator[Finding]:
    advice = f"take spec.json from a copy, or from another run whose digest begins with {record.digest[:16]}"
    try:
        directory.spec()
        if as_prepared(directory, record) is False:
            changed = "spec.json" + (" or code/extensions.py" if directory.extensions.exists() else "")
            yield Finding(directory.path, f"{changed} was changed after the run was prepared", advice, damaged=True)
    except DamagedError as error:
        yield Finding(directory.path, str(error), advice, damaged=True)


def _of_environment(directory: RunDirectory) -> Iterator[Finding]:
    try:
        directory.environment()
    except DamagedError as error:
        advice = "take it from a copy; without it nobody can say what the run was made with"
        yield Finding(directory.path / "environment.json", str(error), advice, damaged=True)


def _of_folds(directory: RunDirectory) -> Iterator[Finding]:
    for fold in directory.all_folds():
        try:
            fold.record()
        except DamagedError as error:
            advice = "take it from a copy; with --resume a run that is not done trains the fold again"
            yield Finding(fold.path, str(error), advice, damaged=True)


def _of_name(directory: RunDirectory, record: Record) -> Iterator[Finding]:
    if record.name == directory.name or not NAME.fullmatch(directory.name):
        return

    def rename() -> None:
        _require_idle(directory)
        directory.write(replace(directory.record(), name=directory.name))

    yield Finding(
        directory.record_file,
        f"calls the run {record.name!r}, but its folder is {directory.name}",
        "write the folder's name into the record",
        # A process that seems lost may still be there, on another machine, and it alone writes its record.
        mend=None if record.state.unfinished else rename,
    )


def _of_metrics(directory: RunDirectory) -> Iterator[Finding]:
    file = directory.metrics_file

    def cut_off() -> None:
        _require_idle(directory)
        files.write_bytes(file, b"".join(_without_torn_line(file.read_bytes().splitlines(keepends=True))))

    advice = "take the file from a copy; results and weights do not depend on it"
    try:
        lines = files.read_bytes(file).splitlines(keepends=True)
        directory.metrics()
    except FileNotFoundError:
        return
    except DamagedError as error:
        yield Finding(file, str(error), advice, damaged=True)
        return
    if len(_without_torn_line(lines)) < len(lines):
        yield Finding(
            file,
            f"its last line, the {len(lines)}th, is torn; readers leave it out",
            "cut it off",
            mend=cut_off,
        )


def _require_idle(directory: RunDirectory) -> None:
    """Raise QexpError if the run was taken up since it was looked at."""
    for state in trash.in_use([directory]).values():
        raise QexpError(f"it is {state} now")


def _without_torn_line(lines: list[bytes]) -> list[bytes]:
    return lines if not lines or files.whole_line(lines[-1]) is not None else lines[:-1]


def _of_results(directory: RunDirectory) -> Iterator[Finding]:
    advice = (
        f"take it from a copy, or train the run again under another name; put this one away: qexp rm {directory.name}"
    )
    weights = [fold.best_weights for fold in directory.all_folds()] or [directory.best_weights]
    from qexp.spec.kinds import kind_of

    try:
        judgement = directory.judgement()
    except DamagedError:
        return  # which is told of the spec
    looked_at = kind_of(directory.spec()["dataset"]).trouble_with
    for file, opened in (*((one, _open_weights) for one in weights), (judgement, looked_at)):
        said = opened(file) if file.is_file() else "it is not there"
        if said:
            yield Finding(file, f"the run says it is done, but {said}", advice, damaged=True)


def _open_weights(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            return None if opened.keys() else "it holds no weights"
    except (SafetensorError, OSError) as error:
        return f"it cannot be read: {error}"


# Catalog, trash, disk


def _of_catalog(catalog: Catalog, paths: Iterable[Path]) -> Iterator[Finding]:
    if not os.path.lexists(catalog.path):
        return
    advice = "build it again from the run directories, as the next listing does: qexp reindex"

    def rebuild() -> None:
        catalog.reindex()
        LockedStorage(catalog.path).read()

    try:
        known = _names_in(LockedStorage(catalog.path).read() or {})
    except DamagedError as error:
        yield Finding(catalog.path, str(error), advice, damaged=True, mend=rebuild)
        return
    there = {path.name for path in paths if NAME.fullmatch(path.name) and _has_record(path)}
    new, gone = there - known, known - there
    if new or gone:
        said = f"knows nothing of {len(new)} runs, and of {len(gone)} that are gone"
        yield Finding(catalog.path, said, advice, mend=rebuild)


def _names_in(table: dict[str, Any]) -> set[str]:
    try:
        return {row["summary"]["name"] for row in table.get("runs", {}).values()}
    except (AttributeError, KeyError, TypeError):
        raise DamagedError("it is damaged: a row is not of a run") from None


def _has_record(path: Path) -> bool:
    """Whether there is a run that a catalog can hold."""
    try:
        RunDirectory(path).record()
    except (DamagedError, NotFoundError):
        return False
    return True


def _of_trash(workspace: Workspace) -> Iterator[Finding]:
    for entry in purging.half_purged(workspace):
        yield Finding(entry.path, "is a run whose deletion was cut short", "delete the rest: qexp purge")


def _of_disk(place: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(place).free
    if free < LEAST_ROOM:
        yield Finding(
            place, f"its disk has {free / 1e6:.0f} MB left", "make room: qexp purge deletes what is in the trash"
        )
    if not os.access(place, os.W_OK):
        yield Finding(place, "cannot be written to", "look at its owner and permissions")


def _listed(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise QexpError(f"cannot read {path}: {error.strerror}") from None

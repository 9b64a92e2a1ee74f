"""A finding of `qexp doctor`, and its repair."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from qexp.base import files, folders, formats
from qexp.base.folders import is_stale, is_stale_temporary
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.jobs.launchers import Launch
from qexp.jobs.states import Watch, is_abandoned
from qexp.results.calibration import record_to_restore
from qexp.rows import array_cache
from qexp.runs.catalog import Catalog, read_rows
from qexp.store import evaluations, provenance
from qexp.store.directory import WRITTEN, RunDirectory, runs_inside
from qexp.store.record import NAME, Record, State
from qexp.upkeep import trash


@dataclass(frozen=True)
class Finding:
    """One problem: where it is, what is wrong, and what to do about it."""

    where: Path
    what: str
    advice: str
    damaged: bool = False
    """Whether something is lost or cannot be read, as opposed to a leftover."""
    repair: Callable[[], None] | None = None
    """Does what the advice says; None if that could lose data."""
    repaired: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "where": os.fsencode(self.where).decode(errors="backslashreplace"),
            "what": self.what,
            "advice": self.advice,
            "damaged": self.damaged,
            "repairable": self.repair is not None,
            "repaired": self.repaired,
        }


def repair_finding(finding: Finding) -> Finding:
    """The finding after its repair, or as it was, with the reason why it was not repaired."""
    if finding.repair is None:
        return finding
    try:
        finding.repair()
    except (QexpError, OSError) as error:
        return replace(
            finding, advice=f"{finding.advice} ({getattr(error, 'strerror', None) or error})"
        )
    return replace(finding, repaired=True)


# Leftovers of killed processes: temporary files, locks, drafts of folders, and former folders.


RESULTS = (".nc", ".npy", ".png", ".pdf", ".svg", ".html")
"""Endings of files that commands write outside of runs; other hidden files there are the user's."""


def leftovers_of_run(folder: Path) -> Iterator[Finding]:
    """Leftovers in a run's folder, except in `code/`, which holds the user's files."""
    for parent, inner, names in os.walk(folder):
        if Path(parent) == folder and "code" in inner:
            inner.remove("code")
        for name in [name for name in inner if folders.LEFTOVER.fullmatch(name)]:
            inner.remove(name)  # a whole leftover, or at work
            yield from leftover_folder(Path(parent) / name)
        for path in (Path(parent) / name for name in names):
            if path.suffix == ".lock":
                yield from leftover_lock(path)
            elif is_stale_temporary(path):
                yield temporary_leftover(path)


def temporary_leftover(path: Path) -> Finding:
    match = files.TEMPORARY.fullmatch(path.name)
    assert match is not None
    remark = "; the file itself is complete" if path.with_name(match["whole"]).exists() else ""
    what = f"was left by a process that died while it wrote {match['whole']}{remark}"
    return Finding(path, what, "delete it", repair=lambda: path.unlink(missing_ok=True))


def leftover_lock(path: Path) -> Iterator[Finding]:
    """The finding for a stale lock. A lock of an existing file stays: two could get in."""
    if path.with_suffix("").exists() or path.stat().st_size or not is_stale(path):
        return  # a file with content, such as poetry.lock, is not a lock of qexp

    def unlock() -> None:
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            raise QexpError("another process holds it") from None

    yield Finding(path, "locks a file that does not exist", "delete it", repair=unlock)


def leftover_folder(path: Path) -> Iterator[Finding]:
    """The finding for a draft, or a former folder, that a killed process has left."""
    if not folders.is_leftover(path):
        return
    name = folders.target_of(path).name
    if folders.is_lost(path):
        what = (
            f"is {name}: a process was killed between moving it away and putting a new one in its"
            " place"
        )
        yield Finding(path, what, "put it back", damaged=True, repair=lambda: put_back_folder(path))
    elif folders.is_draft(path):
        what = f"was left by a process that was killed while it wrote or replaced {name}"
        yield Finding(path, what, "delete it", repair=lambda: folders.delete(path))
    else:
        yield Finding(
            path, f"was replaced by a new {name}", "delete it", repair=lambda: folders.delete(path)
        )


def put_back_folder(path: Path) -> None:
    target = folders.target_of(path)
    if not folders.restore(target) and not target.exists():
        raise QexpError(f"cannot rename it to {target.name}")


def leftovers_of_workspace(root: Path, left_out: Collection[Path]) -> Iterator[Finding]:
    """What killed commands have left beside the files and folders that they write outside of runs.

    Files are not deleted by a repair: others with similar names may be the user's.
    left_out  folders that are not searched
    """
    for parent, names, file_names in os.walk(root):
        here = Path(parent)
        for name in sorted(names):
            yield from leftover_folder(here / name)
        searched = [name for name in names if not name.startswith(".")]
        names[:] = [name for name in searched if here / name not in left_out]
        if len(here.relative_to(root).parts) == 2:  # three levels of folders are searched
            names.clear()
        for path in (here / name for name in sorted(file_names)):
            match = files.TEMPORARY.fullmatch(path.name)
            is_result = match is not None and match["suffix"].startswith(RESULTS)
            if is_result and is_stale_temporary(path):
                yield replace(temporary_leftover(path), repair=None)


# Problems of a run's evaluations on other data.


def of_evaluations(directory: RunDirectory) -> Iterator[Finding]:
    for name in evaluations.names(directory):
        evaluation = evaluations.find_evaluation(directory, name)
        advice = f"make it again with --force, or delete {evaluation.path}"
        try:
            evaluation.evaluation()
            file = evaluation.evaluation_file()
        except DamagedError as error:
            yield Finding(evaluation.path, str(error), advice, damaged=True)
            continue
        if not file.is_file():
            what = "is missing, although it is part of an evaluation"
            yield Finding(file, what, advice, damaged=True)


# Problems in a workspace, advice on them, and repair where that is possible without data loss.


MOST_LOOKS = 10
"""Largest number of looks at a run that others rename, or write, all the time."""

LEAST_ROOM = 1_000_000_000
"""Free space [bytes] below which a disk that holds runs is reported."""


def findings(workspace: Workspace) -> Iterator[Finding]:
    """All problems in a workspace. Nothing is changed."""
    try:
        paths = trash.files_in(workspace.runs)
    except OSError as error:
        raise QexpError(f"cannot read {workspace.runs}: {error.strerror}") from None
    visible = [RunDirectory(path) for path in paths if not path.name.startswith(".")]
    runs = [run for run in visible if run.holds_record]
    states = Watch().states(runs)  # in one call, so that a scheduler is queried only once
    for path in paths:
        try:
            yield from _of_entry_at_rest(path, states)
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
            advice = "check its owner and permissions"
            yield Finding(path, what, advice, damaged=True)
    readable = {run.name for run, state in states.items() if state.readable}
    yield from _of_catalog(Catalog(workspace), readable)
    for path in array_cache.damaged():
        what = "is not what was written to the cache"
        advice = "delete it; it is made again where it is needed"
        yield Finding(path, what, advice, damaged=True, repair=path.unlink)
    for entry in trash.half_purged(workspace):
        what, advice = "is a run whose deletion was interrupted", "delete the rest: qexp purge"
        yield Finding(entry.path, what, advice)
    yield from leftovers_of_workspace(workspace.root, left_out=[workspace.runs])
    linked = [files.real_path(path).parent for path in paths if path.is_symlink()]
    for folder in dict.fromkeys([workspace.runs, *linked]):
        if folder.is_dir():
            free = shutil.disk_usage(folder).free
            if free < LEAST_ROOM:
                advice = "free some space: qexp purge empties the trash"
                yield Finding(folder, f"its disk has {free / 1e6:.0f} MB left", advice)
            if not os.access(folder, os.W_OK):
                yield Finding(folder, "cannot be written to", "check its owner and permissions")
            # The drafts of runs outside `runs/` are in the folder that holds them; of one that may
            # not be read, the findings of its runs say so.
            with suppress(PermissionError):
                for path in sorted(folder.iterdir()):
                    yield from leftover_folder(path)


def _of_entry_at_rest(path: Path, states: Mapping[RunDirectory, State]) -> list[Finding]:
    """What looks find until nobody has renamed a run during one: it would seem to lack files."""
    found = list(_of_entry(path, states))
    for _ in range(MOST_LOOKS if found else 0):
        try:
            changed = path.lstat().st_ctime_ns
            again = [(finding.where, finding.what) for finding in _of_entry(path, states)]
            found = [finding for finding in found if (finding.where, finding.what) in again]
            if not found or path.lstat().st_ctime_ns == changed:
                break
        except FileNotFoundError:
            if os.path.lexists(path):
                raise
            return []
    return found


def _of_entry(path: Path, states: Mapping[RunDirectory, State]) -> Iterator[Finding]:
    if path.name.startswith((".", "catalog.json")):
        if is_stale_temporary(path):
            yield temporary_leftover(path)
        return
    if path.is_symlink() and not path.exists():
        advice = f"mount that disk, or remove the link: qexp rm {path.name}"
        yield Finding(
            path, f"is a link to {path.readlink()}, which does not exist", advice, damaged=True
        )
    elif path.is_dir():
        directory = RunDirectory(path)
        yield from (
            _of_run(directory, states[directory])
            if directory in states
            else _without_record(directory)
        )
    elif path.suffix == ".lock":
        yield from leftover_lock(path)


def _of_run(directory: RunDirectory, state: State) -> Iterator[Finding]:
    if not NAME.fullmatch(directory.name):
        what = "is not a valid run name; commands do not find this run"
        yield Finding(directory.path, what, "rename the directory")
    yield from leftovers_of_run(directory.path)
    what = (
        f"is a run inside the run {directory.name}, which therefore can be neither removed nor"
        " deleted"
    )
    advice = "move it out; if a link in runs/ points to it, point the link to its new place"
    yield from (Finding(inner, what, advice) for inner in runs_inside(directory.path))
    try:
        record = directory.record()
    except NotFoundError:
        return  # removed in the meantime
    except DamagedError as error:
        restore = (
            "its other files are untouched; restore the damaged one from a copy, or remove the run:"
            " qexp rm"
        )
        refused = isinstance(error.__cause__, PermissionError)
        advice = "check its owner and permissions" if refused else f"{restore} {directory.name}"
        yield Finding(directory.path, str(error), advice, damaged=True)
        return
    advice = (
        "restore spec.json from a copy, or from another run whose digest begins with"
        f" {record.digest[:16]}"
    )
    yield from _unreadable(directory.path, directory.spec, advice)
    advice = "restore it from a copy; it is the only record of the packages and machine of the run"
    yield from _unreadable(directory.path / "environment.json", directory.environment, advice)
    for fold in directory.all_folds():
        advice = "restore it from a copy; with --resume an unfinished run trains the fold again"
        yield from _unreadable(fold.path, fold.record, advice)
    yield from of_evaluations(directory)
    trouble = provenance.trouble_with_seen(directory, record)
    if trouble:
        advice = (
            "restore it from a copy; without it the run can be neither verified nor used for"
            " pretraining"
        )
        yield Finding(directory.path / provenance.SEEN, trouble, advice, damaged=True)
    if record.state.unfinished and not state.unfinished:
        ended = "its process has ended" if state is State.LOST else f"its job has ended: {state}"
        advice = f"resume it: {record.continued_by(directory.name)}"
        yield Finding(directory.path, f"is recorded as {record.state}, but {ended}", advice)
    if record.launch is not None and is_abandoned(directory, state):
        queue = Launch(directory.path.parent / ".launches" / record.launch).is_queue
        start = "qexp queue -j 1" if queue else record.continued_by(directory.name)
        advice = f"{start}, or remove it: qexp rm {directory.name}"
        lack = f"was never started: launch {record.launch} has ended, or no scheduler took it"
        yield Finding(directory.path, lack, f"start it: {advice}")
    if not state.unfinished:
        yield from _of_name(directory, record)
    if not (record.state.unfinished or state.unfinished):
        # A run that is resumed cuts off an incomplete line by itself.
        yield from _of_metrics(directory)
    if state is State.DONE:
        yield from _of_results(directory, record)


def _without_record(directory: RunDirectory) -> Iterator[Finding]:
    """The finding for a folder with a run's files but no record; others are the user's."""
    try:
        # Once: between two looks a run may be removed and restored.
        names = {path.name for path in directory.path.iterdir()}
    except OSError:  # it is gone, or a user may not read it
        return
    files_of_run = directory.spec_file.name in names or any(
        directory.checkpoints.glob("*.safetensors")
    )
    if files_of_run and directory.record_file.name not in names:
        advice = f"restore run.json from a copy, or remove the folder: qexp rm {directory.name}"
        what = "has files of a run, but no record: run.json is missing"
        yield Finding(directory.path, what, advice, damaged=True)


def _unreadable(path: Path, read: Callable[[], object], advice: str) -> Iterator[Finding]:
    try:
        read()
    except NotFoundError:
        return  # the run was removed in the meantime
    except DamagedError as error:
        yield Finding(path, str(error), advice, damaged=True)


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
        # A process that seems lost may still run on another machine, and only that process may
        # write its record.
        repair=None if record.state.unfinished else rename,
    )


def _of_metrics(directory: RunDirectory) -> Iterator[Finding]:
    file = directory.metrics_file

    def cut_off() -> None:
        _require_idle(directory)
        files.write_bytes(
            file, b"".join(_without_torn_line(file.read_bytes().splitlines(keepends=True)))
        )

    advice = "restore the file from a copy; results and weights do not depend on it"
    try:
        lines = files.read_bytes(file).splitlines(keepends=True)
        directory.metrics()
    except FileNotFoundError:
        return
    except DamagedError as error:
        yield Finding(file, str(error), advice, damaged=True)
        return
    if len(_without_torn_line(lines)) < len(lines):
        what = f"its last line, number {len(lines)}, is incomplete; readers leave it out"
        yield Finding(file, what, "cut it off", repair=cut_off)


def _require_idle(directory: RunDirectory) -> None:
    """Raise QexpError if a process has started to work on the run since the check."""
    for state in trash.in_use([directory]).values():
        raise QexpError(f"it is {state} now")


def _without_torn_line(lines: list[bytes]) -> list[bytes]:
    return lines if not lines or formats.whole_line(lines[-1]) is not None else lines[:-1]


def _of_results(directory: RunDirectory, record: Record) -> Iterator[Finding]:
    again = "train the run again under another name and remove this one"
    advice = f"restore it from a copy, or {again}: qexp rm {directory.name}"
    foreign = record.foreign_weights
    if foreign is not None:
        file = directory.best_weights
        if not file.is_file() or provenance.fingerprint(file) != foreign.weights:
            how = "were changed" if file.is_file() else "are missing"
            what = f"holds weights of {foreign.file.name}, but they {how}"
            advice = f"import them again from {foreign.file.path}, or restore them from a copy"
            yield Finding(file, what, advice, damaged=True)
        return
    from qexp.spec.experiences import type_of

    try:
        spec = directory.spec()
        weights = directory.weight_files()
        evaluation = directory.evaluation_file()
    except DamagedError:
        return  # already reported for the spec
    for file in (*weights, evaluation):
        if not file.is_file():
            trouble: str | None = "it is missing"
        elif file == evaluation:
            trouble = type_of(spec).trouble_with(spec, file)
        else:
            trouble = _trouble_with_weights(file)
        if trouble:
            weights = []
            yield Finding(file, f"the run is recorded as done, but {trouble}", advice, damaged=True)
    if weights:  # which can be read
        yield from _unreadable(directory.checkpoints, directory.require_own_weights, advice)
    yield from _of_written(directory, advice)
    for numbers in directory.results.glob("calibration*.nc"):
        calibration = numbers.with_suffix(".json")
        content = None
        with suppress(DamagedError):  # of the record, which is named where it is read
            content = record_to_restore(numbers)
        if content is None:
            continue
        what = (
            f"its numbers are not those of {calibration.name}: `qexp calibrate` was killed as it"
            " replaced them"
        )
        if content:
            advice = f"write {calibration.name} again from them"
            repair = partial(files.write_bytes, calibration, content)
            yield Finding(numbers, what, advice, repair=repair)
        else:
            yield Finding(numbers, what, f"qexp calibrate {directory.name}")


def _of_written(directory: RunDirectory, advice: str) -> Iterator[Finding]:
    """The files of a program that gave no numbers: they are its results."""
    try:
        for name, size_and_hash in (directory.written_by_program() or {}).items():
            file = directory.path / name
            trouble = "it is missing" if not file.is_file() else "its size has changed"
            if not file.is_file() or file.stat().st_size != size_and_hash["bytes"]:
                yield Finding(file, f"is a result of the run, but {trouble}", advice, damaged=True)
    except DamagedError as error:
        yield Finding(directory.results / WRITTEN, str(error), advice, damaged=True)


def _trouble_with_weights(file: Path) -> str | None:
    """Why weights are unusable; names and shapes must be those of the last checkpoint."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as weights:
            names = list(weights.keys())
            bad = next((name for name in names if np.isnan(weights.get_tensor(name)).any()), None)
        shapes = _shapes(file)
    except (SafetensorError, OSError, TypeError) as error:
        return f"it cannot be read: {error}"
    if not names:
        return "it holds no weights"
    if bad is not None:
        return f"'{bad}' contains NaN"
    try:
        last = _shapes(file.with_name("last.safetensors"))
    except (SafetensorError, OSError):
        return None  # nothing to compare with
    for name in sorted(shapes.keys() | last.keys()):
        if shapes.get(name) != last.get(name):
            return f"'{name}' is not as in last.safetensors beside it: another name or shape"
    return None


def _shapes(file: Path) -> dict[str, list[int]]:
    """Weight of a network → its shape."""
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as weights:
        all_names = weights.keys()
        names = [name for name in all_names if name.startswith("network.")]
        return {name: weights.get_slice(name).get_shape() for name in names}


def _of_catalog(catalog: Catalog, readable: set[str]) -> Iterator[Finding]:
    """readable  names of all folders with a record that can be read"""
    if not os.path.lexists(catalog.path):
        return
    advice = "rebuild it from the run directories, as the next listing does: qexp reindex"

    def rebuild() -> None:
        catalog.reindex()
        read_rows(catalog.path)

    try:
        listed = read_rows(catalog.path).keys()
    except DamagedError as error:
        yield Finding(catalog.path, str(error), advice, damaged=True, repair=rebuild)
        return
    present = set(filter(NAME.fullmatch, readable))
    new = present - listed
    gone = listed - present
    if gone:  # what it lacks alone is added by the next listing
        outdated = f"lacks {len(new)} runs, and lists {len(gone)} that no longer exist"
        yield Finding(catalog.path, outdated, advice, repair=rebuild)

"""The catalog: an index of all runs, updated from their directories, and lookup of runs by name."""

from __future__ import annotations

import gc
import os
import re
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson

from qexp.base import files
from qexp.base.files import locked, real_path
from qexp.base.options import ignore
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, suggestion
from qexp.jobs.states import Watch
from qexp.store.directory import ANNOTATIONS, EVALUATIONS, FOLDS, RunDirectory
from qexp.store.evaluations import summaries
from qexp.store.record import NAME, AttemptRecord, JobRecord, Record, State

COARSE_SECONDS, FINE_SECONDS = 2.0, 0.05
"""Seconds within which two changes may get the same time: on file systems with whole seconds, and
on others.
"""

LONGEST_LISTING = 600.0
"""Largest duration of a listing [s]. Files that change during it are later than `now`; far later
times are ignored.
"""

Stamp = list[int]


def stamp_of(run: str) -> Stamp | None:
    """Time, size and inode of the record and, if there are any, of annotations and evaluations;
    None without a record.

    Raises OSError if they cannot be accessed. Both files are always replaced, so that their inodes
    change; the folder of evaluations changes its time when one is added, replaced or removed.
    """
    # Texts instead of Paths, because with 10,000 runs Paths take most of the time. `os.access`
    # before `os.stat` for the same reason: raising an error takes longer than both calls.
    stamp = _of_file(f"{run}/run.json")
    if stamp is None:
        return None
    for path in (f"{run}/{ANNOTATIONS}", f"{run}/{EVALUATIONS}"):
        if os.access(path, os.F_OK):
            stamp += _of_file(path) or ()
    return stamp


def lasting_stamp_of(run: str, now: float) -> Stamp | None:
    """The stamp; None if a file changed so recently that another change could get the same stamp.

    A file system may reuse the inode of a replaced file.
    now  the current time of that file system, or slightly earlier
    """
    stamp = stamp_of(run)
    if stamp is None:
        return None
    for changed in stamp[::3]:
        least = FINE_SECONDS if changed % 1_000_000_000 else COARSE_SECONDS
        if -LONGEST_LISTING < now - changed / 1e9 < least:
            return None
    return stamp


def _of_file(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]


SMALL_CATALOG = 1_000_000
"""Largest size [bytes] of a catalog that can be updated in about 30 ms (about 1,200 runs)."""

KEPT = (
    "name",
    "experience",
    "dataset",
    "model",
    "seed",
    "state",
    "created",
    "started",
    "ended",
    "digest",
    "overrides",
    "tags",
    "note",
    "parents",
    "units",
    "epochs",
    "seconds",
    "error",
    "results",
    "launch",
    "job",
    "folds",
    "caution",
    "kind",
)
"""Keys of a record that the catalog stores."""

SUMMARY_KEYS = frozenset((*KEPT, "evaluations"))
ROW_KEYS = frozenset(("stamp", "summary", "attempt"))

OPEN_ENDED = frozenset(state.value for state in State if state.open_ended)
"""States in which a run's launcher or process may know more than its record."""

Rows = dict[str, dict[str, Any]]
"""Run → its row: the `stamp` of its files, the `summary`, and the `attempt` that has not ended."""

FORM = 2
"""Version of the rows' form; a catalog with another version is rebuilt."""

HEAD = re.compile(rb'\{"written":\{"1":\{"form":(\d+),"crc32":(\d+)\}\}[,}]')
"""Beginning of the file: a table of one row with the checksum of the rest. It proves that
`_write_rows` wrote the file, so that its rows need not be checked one by one.
"""


def read_rows(path: Path) -> Rows:
    """The rows in a catalog; none if another version of qexp wrote rows of another form.

    No lock is needed, as the file is replaced in one step. Raises DamagedError.
    """
    try:
        content = files.read_bytes(path)
        tables = orjson.loads(content)
        rows = {row["summary"]["name"]: row for row in tables.get("runs", {}).values()}
    except FileNotFoundError:
        return {}
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    except (AttributeError, KeyError, TypeError):
        raise DamagedError(f"{path} is damaged: it is not a table of runs") from None
    head = HEAD.match(content)
    if head is None or int(head[1]) != FORM:
        return {}
    if int(head[2]) != zlib.crc32(memoryview(content)[head.end() :]):
        raise DamagedError(f"{path} is damaged: its content does not match its checksum")
    for row in rows.values():
        if not (row.keys() >= ROW_KEYS and row["summary"].keys() >= SUMMARY_KEYS):
            raise DamagedError(f"{path} is of another version of qexp")
    return rows


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the table, as TinyDB reads it, behind the checksum of its text."""
    numbered = {str(number): row for number, row in enumerate(rows, start=1)}
    body = orjson.dumps({"runs": numbered})[1:]
    head = b'{"written":{"1":{"form":%d,"crc32":%d}},' % (FORM, zlib.crc32(body))
    files.write_bytes(path, head + body)


DIGITS = re.compile(r"(\d+)", re.ASCII)


@dataclass
class Catalog:
    """All runs of a workspace."""

    workspace: Workspace
    warn: Callable[[str], None] = ignore
    """Receives messages about runs and files that could not be read; listings continue without
    them.
    """

    @property
    def path(self) -> Path:
        return self.workspace.runs / "catalog.json"

    def runs(self, refresh: bool = True) -> list[dict[str, Any]]:
        """A summary of every run, sorted by name, with its current state.

        A run whose record cannot be read is `damaged`, and a warning says why.

        refresh  check the stamp of every record; otherwise the stored catalog is used unchanged
        """
        with _without_collection():
            return self._as_of_now(self._refresh() if refresh else self._usable_rows(), Watch())

    def recorded(self) -> list[dict[str, Any]]:
        """A summary of every run as its record has it, by name: states may be outdated."""
        with _without_collection():
            rows = self._refresh()
            return [rows[name]["summary"] for name in sorted(rows, key=natural)]

    def follow(self, *, as_recorded: bool = False) -> Callable[[], list[dict[str, Any]]]:
        """A function that gives what `runs` gives, or what `recorded` gives, in any order, for
        repeated calls.

        It keeps the rows in memory, reads only what has changed since its last call, and neither
        locks nor writes the catalog.
        """
        try:
            rows = read_rows(self.path)
        except DamagedError:
            rows = {}
        watch = Watch()  # which asks a scheduler every few seconds, however often it is called

        def runs() -> list[dict[str, Any]]:
            nonlocal rows
            with _without_collection():
                unchanged, fresh, damaged = self._update(rows)
                rows = {**unchanged, **fresh}
                if as_recorded:
                    return [row["summary"] for row in rows.values()]
                return self._as_of_now(rows | damaged, watch)

        return runs

    def refresh_if_small(self) -> None:
        """Update the file if it is small, for programs that read it directly.

        qexp does not depend on it: listings check for changes themselves. So the end of a run is
        not delayed when the workspace holds ten thousand runs.
        """
        with suppress(FileNotFoundError):
            if self.path.stat().st_size > SMALL_CATALOG:
                return
        self._refresh()

    def reindex(self) -> int:
        """Delete the catalog and build it again. Returns the number of runs in it."""
        self._discard()
        return sum(row["summary"]["state"] != State.DAMAGED for row in self._refresh().values())

    def names(self) -> list[str]:
        """The names of directories that may be runs, in no particular order."""
        try:
            with os.scandir(self.workspace.runs) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
                return [entry.name for entry in shown if _is_folder(entry)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise QexpError(f"cannot read {self.workspace.runs}: {error.strerror}") from None

    def _refresh(self) -> Rows:
        """Run → its up-to-date row; only runs whose stamp has changed are read."""
        stored = self._usable_rows()
        rows, fresh, damaged = self._update(stored)
        gone = stored.keys() - rows.keys() - fresh.keys()
        if fresh or gone:
            self._save(fresh, gone)
        return {**rows, **fresh, **damaged}

    def _update(self, stored: Rows) -> tuple[Rows, Rows, Rows]:
        """The rows that still hold, and those of runs that are new, have changed or are damaged."""
        rows: Rows = {}
        fresh: Rows = {}
        damaged = dict[str, str]()
        times = dict[int, float]()
        runs = str(self.workspace.runs)
        for name in self.names():
            path = f"{runs}/{name}"
            try:
                stamp = stamp_of(path)
            except OSError as error:
                damaged[name] = f"{path} cannot be read: {error.strerror}"
                continue
            if stamp is None:
                continue
            if not NAME.fullmatch(name):
                self.warn(f"{path!r} is not a valid run name; rename the directory")
            elif name in stored and stored[name]["stamp"] == stamp:
                rows[name] = stored[name]
            else:
                try:
                    fresh[name] = _row(RunDirectory(Path(path)), times)
                except DamagedError as error:
                    damaged[name] = str(error)
                except (NotFoundError, FileNotFoundError):
                    continue  # removed in the meantime
        for why in damaged.values():
            self.warn(why)
        return rows, fresh, {name: _row_of_damaged(name, why) for name, why in damaged.items()}

    def _usable_rows(self) -> Rows:
        """Run → its stored row; empty, with a warning, if the catalog is damaged."""
        try:
            return read_rows(self.path)
        except DamagedError as error:
            self.warn(f"{error}; built again from the run directories")
            self._discard()
            return {}

    def _save(self, fresh: Rows, gone: Collection[str]) -> None:
        """Update the file; if it cannot be written, warn and continue."""
        try:
            with files.writing(self.path), locked(self.path):
                rows = {**read_rows(self.path), **fresh}
                _write_rows(self.path, [rows[name] for name in rows if name not in gone])
        except QexpError as error:
            self.warn(f"the catalog could not be updated: {error}")

    def _discard(self) -> None:
        """Delete the file; a folder in its place is moved aside, since its contents are unknown."""
        try:
            if self.path.is_dir() and not self.path.is_symlink():
                self.path.rename(self.path.with_name(f"{self.path.name}.{time.time_ns()}"))
            self.path.unlink(missing_ok=True)
        except OSError as error:
            self.warn(f"cannot remove {self.path}: {error.strerror}")

    def _as_of_now(self, rows: Rows, watch: Watch) -> list[dict[str, Any]]:
        """The summaries, sorted by name, with the current states: of runs whose records may be
        outdated, the launchers are asked.
        """
        open_ended = {}
        for name, row in rows.items():
            if row["summary"]["state"] in OPEN_ENDED:
                open_ended[RunDirectory(self.workspace.runs / name)] = _record_in(row)
        states = watch.states_by(open_ended).items()
        state_of = {directory.name: state.value for directory, state in states}
        runs = str(self.workspace.runs)
        summaries = []
        for name in sorted(rows, key=natural):
            summary = {**rows[name]["summary"], "path": f"{runs}/{name}"}
            summary["state"] = state_of.get(name, summary["state"])
            summaries.append(summary)
        return summaries


@contextmanager
def _without_collection() -> Iterator[None]:
    """Switch garbage collection off, as it scans again and again while many objects are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _record_in(row: Mapping[str, Any]) -> Record:
    """As much of the record as its current state depends on."""
    summary = row["summary"]
    attempt = row["attempt"]
    return Record(
        name=summary["name"],
        seed=0,
        state=State(summary["state"]),
        job=summary["job"] and JobRecord.from_document(summary["job"]),
        launch=summary["launch"],
        attempts=(AttemptRecord.from_document(attempt),) if attempt else (),
    )


def _row(directory: RunDirectory, times: dict[int, float]) -> dict[str, Any]:
    """The row of a run, read from its directory.

    times  device → the time of its file system, or slightly earlier, added here where it lacks
    """
    device = directory.record_file.stat().st_dev
    if device not in times:
        times[device] = files.now_at(directory.record_file)
    stamp = lasting_stamp_of(str(directory.path), times[device])
    record = directory.record()
    document = record.document()
    attempt = record.open_attempt
    summary = {**{key: document[key] for key in KEPT}, "name": directory.name}
    summary["evaluations"] = summaries(directory.path)
    return {"stamp": stamp, "summary": summary, "attempt": attempt and attempt.document()}


def _row_of_damaged(name: str, why: str) -> dict[str, Any]:
    """The row of a run whose record is unreadable. It is not stored, but checked every time."""
    blank = Record(name=name, seed=0, state=State.LOST).document()
    unknown = {"seed": None, "epochs": None, "state": State.DAMAGED.value, "error": why}
    summary = {key: blank[key] for key in KEPT} | unknown | {"evaluations": {}}
    return {"stamp": None, "summary": summary, "attempt": None}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # its target is not accessible to this user


def natural(name: str) -> list[str | int]:
    """Sort key for names in natural order: mogi_2 before mogi_10."""
    parts: list[str | int] = [*DIGITS.split(name)]
    parts[1::2] = map(int, parts[1::2])
    return parts


WILDCARD = re.compile(r"[*?[]")
"""Characters that mark a pattern; run names cannot contain them."""


def find_run(reference: str, catalog: Catalog, several: str = "") -> RunDirectory:
    """A run by its name, a unique prefix of it, or a path; a fold of it by `RUN/folds/003`.

    several  what names all runs with the prefix, where a command takes several; for the error
    Raises NotFoundError with similar names.
    """
    by_path = Path(reference)
    if "/" in reference and (by_path / "run.json").is_file():
        return RunDirectory(by_path.absolute())
    directory = RunDirectory(catalog.workspace.runs / reference)
    if reference and "/" not in reference and directory.holds_record:
        return directory
    run, of_run, fold = reference.partition(f"/{FOLDS}/")
    if run and of_run and "/" not in run:
        folds = {fold.name: fold for fold in find_run(run, catalog).all_folds()}
        name = fold.rstrip("/")
        if name not in folds:
            raise NotFoundError(f"{run} has no fold '{name}'; {suggestion(name, folds)}")
        return folds[name]
    return RunDirectory(catalog.workspace.runs / by_prefix(reference, catalog.names(), several))


def by_prefix(reference: str, names: Collection[str], several: str = "") -> str:
    """The name that alone begins so; see `find_run`."""
    matching = [name for name in names if reference and name.startswith(reference)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        first_names = ", ".join(sorted(matching, key=natural)[:8])
        raise NotFoundError(
            f"'{reference}' is a prefix of {len(matching)} run names: {first_names}; write more of"
            f" it{several}"
        )
    what = OTHER_FILES.get(Path(reference).suffix.lower(), "")
    raise NotFoundError(f"no run '{reference}'; {what or suggestion(reference, names)}")


OTHER_FILES = {
    **dict.fromkeys((".html", ".pdf"), "a file to write is given by `to`"),
    ".nc": "several observation files are joined first: qexp observe A.nc B.nc --to ALL.nc",
}
"""What is meant by files where a run is asked for."""


def or_all(reference: str) -> str:
    """The end of an error about a prefix of several names, where a command takes several runs."""
    return f", or all of them: '{reference}*'"


def is_pattern(reference: str) -> bool:
    return WILDCARD.search(reference) is not None and not (Path(reference) / "run.json").is_file()


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that match a pattern such as 'mogi_*', sorted. Raises NotFoundError if none do."""
    all_names = list(names)
    matched = [name for name in all_names if fnmatchcase(name, pattern)]
    if not matched:
        raise NotFoundError(
            f"no run matches '{pattern}'; {suggestion(WILDCARD.split(pattern)[0], all_names)}"
        )
    return matched


def named_runs(references: Iterable[str], catalog: Catalog) -> list[RunDirectory]:
    """The runs that references match, each once. Raises NotFoundError for one without a match."""
    directories: dict[Path, RunDirectory] = {}
    for reference in references:
        if is_pattern(reference):
            names = matching(reference, sorted(catalog.names(), key=natural))
            matches = [RunDirectory(catalog.workspace.runs / name) for name in names]
        else:
            matches = [find_run(reference, catalog, or_all(reference))]
        for directory in matches:
            directories.setdefault(real_path(directory.path), directory)
    return list(directories.values())

"""All runs as they are now, and what grows while they are at work: found once however many clients
ask.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakValueDictionary

import orjson
from starlette.responses import StreamingResponse

from qexp.base.files import in_bytes, size_of
from qexp.base.formats import json_bytes
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError, QexpError
from qexp.jobs import launchers
from qexp.jobs.states import Tail, Watch
from qexp.metrics.meaning import aligned
from qexp.rows.array_cache import cache_folder
from qexp.runs import columns as filters
from qexp.runs.catalog import KEPT, Catalog
from qexp.runs.columns import (
    Columns,
    changes,
    choose,
    column_of,
    group_table,
    groups,
    units_of,
    usual_columns,
)
from qexp.runs.options import ListOptions
from qexp.store.directory import RunDirectory
from qexp.store.lease import attempts
from qexp.store.record import LISTED, State
from qexp.upkeep import doctor, trash
from qexp.web.drawings import curves, figures_of, lines_of, system_panels
from qexp.web.html import as_it_is, heading
from qexp.web.run_page import progress_in_words

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Value = TypeVar("Value")


class Kept(Generic[Value]):
    def __init__(
        self, find: Callable[[], Value], *, share: float = 1.0, seconds: float = 0.0
    ) -> None:
        """`find` is called in another thread.

        share    largest share of its time that the server spends on finding this
        seconds  least time between two searches
        """
        self._find, self._share, self._seconds = find, share, seconds
        self._value: Value | None = None
        self._due = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def now(self) -> Value:
        if (value := self._fresh()) is not None:
            return value
        async with self._one_at_a_time:
            if (value := self._fresh()) is not None:  # somebody else has waited for it
                return value
            begun = time.monotonic()
            self._value = value = await asyncio.to_thread(self._find)
            now = time.monotonic()
            self._due = now + max(self._seconds, (now - begun) / self._share)
            return value

    def forget(self) -> None:
        """Search again for the next client."""
        self._value = None

    def _fresh(self) -> Value | None:
        return self._value if time.monotonic() < self._due else None


# What grows while a run is at work: state, curves and log, read once however many clients look.


SECONDS_BETWEEN_LOOKS = 1.0
"""Between two looks at a run."""

SHARE_OF_RUN = 0.02
"""Largest share of its time that the server spends on the curves of a run; long ones grow in larger
steps.
"""

MOST_LOG = 200_000
"""Bytes of a log that are sent at once; of more, the last ones."""


@dataclass(frozen=True)
class Growth:
    state: State
    progress: str
    """Such as "epoch 3 of 20, 6 a minute, 3 min left"."""
    curves: bytes
    """As JSON; empty if there are none yet."""
    system: bytes
    """Curves of what it takes of its machine, as JSON."""
    figures: bytes
    """Those that it logs, by name, as JSON."""
    curves_version: int
    attempt: int
    log_size: int
    """Of the last attempt [bytes]."""


class Feed(Kept[Growth]):
    """One run that is looked at."""

    def __init__(self, directory: RunDirectory) -> None:
        super().__init__(self._look, seconds=SECONDS_BETWEEN_LOOKS)
        self.directory = directory
        self._watch = Watch()
        self._growth = Growth(State.CREATED, "", b"", b"", b"", 0, 0, 0)
        self._stamps: list[tuple[int, int]] = []
        self._next_curves = 0.0

    def _look(self) -> Growth:
        # State before the rest: a run that had ended by now adds nothing after this look.
        state = self._watch.state(self.directory)
        attempt = max(attempts(self.directory), default=0)
        _, size = _stamp(log_file(self.directory, attempt))
        self._growth = replace(self._growth, state=state, attempt=attempt, log_size=size)
        if time.monotonic() >= self._next_curves or not state.unfinished:
            self._look_at_curves()
        return self._growth

    def _look_at_curves(self) -> None:
        begun = time.monotonic()
        files = [
            directory.metrics_file for directory in (self.directory, *self.directory.all_folds())
        ]
        files += [self.directory.system_file, self.directory.results / "figures"]
        files.append(self.directory.record_file)  # in which progress is noted that has no epochs
        stamps = [_stamp(file) for file in files]
        if stamps == self._stamps:
            return
        try:
            record, lines = self.directory.record(), lines_of(self.directory)
            drawn = orjson.dumps(curves(lines, record.units), option=orjson.OPT_SERIALIZE_NUMPY)
            system = orjson.dumps(system_panels(self.directory.system()))
            figures = orjson.dumps(figures_of(self.directory)[0])
        except QexpError:  # it is being replaced or removed; the next look tells
            return
        self._stamps = stamps
        # Lines are written after every epoch, the record only now and then; of folds there are
        # several at a time.
        done = lines[""][-1]["epoch"] if lines.get("") else record.epochs.done
        self._growth = replace(
            self._growth,
            progress=progress_in_words(self.directory, record, done),
            curves=drawn,
            system=system,
            figures=figures,
            curves_version=self._growth.curves_version + 1,
        )
        now = time.monotonic()
        self._next_curves = now + (now - begun) / SHARE_OF_RUN


def log_place(directory: RunDirectory) -> str:
    """The end of the last attempt's log, as `LogReader` writes it."""
    attempt = max(attempts(directory), default=0)
    return f"{attempt}:{_stamp(log_file(directory, attempt))[1]}"


def log_file(directory: RunDirectory, attempt: int) -> Path:
    return directory.attempt(attempt) / "log.txt"


class LogReader:
    """What one client has seen of a log."""

    def __init__(self, directory: RunDirectory, place: str) -> None:
        """`place`: the number of an attempt, and the bytes of its log that were seen, such as
        2:1034.
        """
        attempt, _, seen = place.partition(":")
        self._directory = directory
        self._attempt, read = (
            int(text) if text.isdecimal() and len(text) < 16 else 0 for text in (attempt, seen)
        )
        self._tail = Tail(log_file(directory, self._attempt), read)

    @property
    def place(self) -> str:
        """Up to where complete characters were seen."""
        return f"{self._attempt}:{self._tail.understood}"

    def grown(self, growth: Growth) -> dict[str, Any] | None:
        """The text that was added, and whether it is that of another attempt, or follows a gap;
        None without any.
        """
        anew = growth.attempt != self._attempt or growth.log_size < self._tail.read
        if anew:
            self._attempt = growth.attempt
            self._tail = Tail(log_file(self._directory, self._attempt))
        if gap := growth.log_size - MOST_LOG > self._tail.read:
            self._tail.read = growth.log_size - MOST_LOG
        with suppress(OSError):
            if growth.log_size > self._tail.read and (
                text := "".join(self._tail.grown(growth.log_size))
            ):
                return {"text": text, "anew": anew or gap}
        return None


def _stamp(file: Path) -> tuple[int, int]:
    """When a file was changed, and its bytes."""
    with suppress(OSError):
        status = os.stat(file)  # noqa: PTH116
        return status.st_mtime_ns, status.st_size
    return 0, 0


# All runs as they are now, for any number of clients.


SHARE_OF_RUNS = 0.03
"""Largest share of its time that the server spends on looking; with very many runs it looks less
often.
"""


@dataclass(frozen=True, eq=False)
class Listing:
    """The runs at one time."""

    version: str
    """Another one whenever a run has changed."""
    runs: list[dict[str, Any]]
    """Their summaries, in the order of their names."""
    warnings: list[str]


class LiveRuns(Kept[Listing]):
    """The runs, at most some seconds old."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(self._look, share=SHARE_OF_RUNS, seconds=SECONDS_BETWEEN_LOOKS)
        self._warnings = list[str]()
        self._start = secrets.token_hex(4)
        self._read = Catalog(workspace, self._warnings.append).follow()
        self._listing = Listing("", [], [])
        self._changes = 0

    def _look(self) -> Listing:
        self._warnings.clear()
        try:
            runs, warnings = self._read(), [*self._warnings]
        except (
            QexpError
        ) as error:  # the folder cannot be read for now, such as on a disk that is not mounted
            runs, warnings = [], [str(error)]
        if not self._changes or (runs, warnings) != (self._listing.runs, self._listing.warnings):
            self._changes += 1
            self._listing = Listing(f"{self._start}-{self._changes}", runs, warnings)
        return self._listing


# Use of the disk, and what doctor finds.


LARGEST_RUNS = 20
"""Runs whose sizes are listed."""


def sizes_in(workspace: Workspace) -> dict[str, Any]:
    """`total`: sizes in words, and `largest`: run and size, in words and in bytes."""
    folders = [
        path
        for path in trash.files_in(workspace.runs)
        if path.is_dir() and not path.name.startswith(".")
    ]
    runs = {path.name: size_of(path) for path in folders}
    largest = sorted(runs.items(), key=lambda run: -run[1])[:LARGEST_RUNS]
    total = {
        "runs": sum(runs.values()),
        "trash": size_of(trash.folder(workspace)),
        "cache of prepared data": size_of(cache_folder()),
        "free on this disk": disk_usage(workspace.root).free,
    }
    return {
        "total": {name: in_bytes(size) for name, size in total.items()},
        "largest": [[name, in_bytes(size), size] for name, size in largest],
    }


def findings_in(workspace: Workspace) -> list[dict[str, Any]]:
    documents = [finding.document() for finding in doctor.findings(workspace)]
    return [
        {**document, "where": document["where"].removeprefix(f"{workspace.root}/")}
        for document in documents
    ]


# Words that complete conditions, columns and groups: the fields of runs, and the values that some
# of them have.


Run = dict[str, Any]

OF_FEW_VALUES = ("experience", "dataset", "model", "launch", "kind")

MOST_VALUES = 200


def completing_words(runs: Sequence[Run]) -> dict[str, Any]:
    """`fields`, `values` (field → its values) and `tags` of runs.

    Keys of specs are those of the newest run of each experience.
    """
    fields = dict.fromkeys([*sorted({*KEPT, "size"} - {"results", "units"})])
    for run in runs:
        fields |= dict.fromkeys(_leaves(run["results"]))
    newest = {run["experience"]: run for run in sorted(runs, key=lambda run: run["created"] or "")}
    for run in list(newest.values())[-MOST_VALUES:]:
        with suppress(QexpError):
            spec = RunDirectory(Path(run["path"])).spec()
            fields |= dict.fromkeys(
                _leaves({key: value for key, value in spec.items() if key != "model"})
            )
    values = {
        name: sorted({run[name] for run in runs if run[name]})[:MOST_VALUES]
        for name in OF_FEW_VALUES
    }
    tags = sorted({tag for run in runs for tag in run["tags"]})
    return {"fields": list(fields), "values": {"state": list(LISTED), **values}, "tags": tags}


def _leaves(document: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The dotted paths of a document's values, as the where language takes them."""
    for key, value in document.items():
        after = f".{key}" if key.isidentifier() else f'["{key}"]'
        step = f"{before}{after}" if before else key
        if isinstance(value, Mapping):
            yield from _leaves(value, step)
        else:
            yield step


# The table of runs: what is asked of it, and its answer, of which clients take rows as they scroll.


MOST_ROWS = 500
"""In one response."""

KEPT_ANSWERS = 16
"""Answers that are kept for clients that ask the same."""

SEARCHED = ("name", "experience", "dataset", "model", "state", "note", "error", "caution")

Rows = Callable[[int, int], list[dict[str, Any]]]


@dataclass(frozen=True)
class Question:
    """Which runs, in which order, with which columns."""

    search: str = ""
    """Words, each of which is in a text of the run."""
    where: str = ""
    status: str = ""
    tag: str = ""
    launch: str = ""
    sort: str = "created"
    descending: bool = True
    columns: tuple[str, ...] = ()
    """Fields; the usual ones if empty."""
    group: tuple[str, ...] = ()
    """Fields; then a row stands for all runs with the same values."""


@dataclass(frozen=True)
class Head:
    """Of a column; by its field can be sorted."""

    title: str
    words: str
    numeric: bool
    field: str | None = None


@dataclass(frozen=True)
class Answer:
    columns: list[Head]
    total: int
    rows: Rows
    """From the number of the first row and the number of rows: `name`, `state`, `where` and `cells`
    of each.
    """
    states: dict[str, int]
    warnings: list[str]
    shared: Sequence[str] = ()
    """What is set in all runs, which their cells do not repeat."""

    def document(self, version: str, first: int, count: int) -> dict[str, Any]:
        return {
            **vars(self),
            "version": version,
            "first": first,
            "rows": self.rows(first, min(count, MOST_ROWS)),
        }


class RunTable:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._columns = Columns([])
        self._kept = lru_cache(KEPT_ANSWERS)(self._answer)
        self._one_at_a_time = threading.Lock()

    def answer(self, listing: Listing, question: Question) -> Answer:
        """Raises QexpError for an unknown field or a condition that cannot be understood."""
        with self._one_at_a_time:
            return self._kept(listing, question)

    def _answer(self, listing: Listing, question: Question) -> Answer:
        self._columns = columns = self._columns.for_runs(listing.runs)
        names = set[str]() if question.launch else None
        if question.launch:
            with suppress(NotFoundError):
                names = set(launchers.find_launch(question.launch, self._workspace).record().asked)
        tags, words = [question.tag] if question.tag else [], question.search.lower().split()
        conditions = ListOptions(question.where or None, status=question.status or None, tags=tags)
        runs = choose(columns, conditions, names)
        runs = [run for run in runs if all(word in _text(run) for word in words)] if words else runs
        self._columns = columns = columns.for_runs(runs)
        states, shared = dict(Counter(run["state"] for run in runs).most_common()), list[str]()
        if question.group:
            titles, rows, total = _grouped(runs, question.group, columns)
        else:
            if question.sort != "name":
                runs = filters.ordered(
                    runs, question.sort, question.descending, columns.values(question.sort)
                )
            elif (
                question.descending
            ):  # the summaries are sorted by name, with numbers by their value
                runs = runs[::-1]
            self._columns = columns = columns.for_runs(runs)
            if len(runs) > 1 and not question.columns:
                first, *others = changes(runs).values()
                shared = [change for change in first if all(change in of_run for of_run in others)]
            (titles, rows), total = _single(runs, question.columns, columns, shared), len(runs)
        return Answer(titles, total, rows, states, [*listing.warnings, *columns.warnings], shared)


def _text(run: Run) -> str:
    """What a search looks through."""
    return "\n".join(
        (*(run[key] or "" for key in SEARCHED), *run["tags"], *run["overrides"])
    ).lower()


def _single(
    runs: list[Run], chosen: Sequence[str], columns: Columns, shared: Sequence[str]
) -> tuple[list[Head], Rows]:
    """A row per run, without what is set in all of them; cells are made when they are asked for."""
    columns_of_table = (
        [column_of(field, columns) for field in chosen] if chosen else usual_columns(runs, shared)
    )

    def rows(first: int, count: int) -> list[dict[str, Any]]:
        chosen_runs = runs[first : first + count]
        texts = [[column.text(run) for run in chosen_runs] for column in columns_of_table]
        of_columns = [
            aligned(cells) if column.numeric else cells
            for column, cells in zip(columns_of_table, texts, strict=True)
        ]
        return [
            {
                "name": run["name"],
                "state": run["state"],
                "cells": [cells[index] for cells in of_columns],
            }
            for index, run in enumerate(chosen_runs)
        ]

    return [
        Head(one.title, heading(one.title), one.numeric, one.field) for one in columns_of_table
    ], rows


def _grouped(
    runs: list[Run], fields: Sequence[str], columns: Columns
) -> tuple[list[Head], Rows, int]:
    """A row per value of the fields, and how many there are."""
    members = groups(
        runs, fields, list(zip(*(columns.values(field) for field in fields), strict=True))
    )
    table = group_table(members, fields, units_of(runs))
    of_columns = [
        aligned(cells) if title in table.right else list(map(as_it_is, cells))
        for title, cells in zip(table.columns, zip(*table.rows, strict=True), strict=False)
    ]
    rows = [
        {"where": _condition(fields, group["values"]), "cells": cells}
        for group, cells in zip(members, zip(*of_columns, strict=True), strict=True)
    ]
    heads = [Head(title, heading(title), title in table.right) for title in table.columns]
    return heads, lambda first, count: rows[first : first + count], len(rows)


def _condition(fields: Sequence[str], values: Sequence[Any]) -> str | None:
    """The condition of the where language that the runs of a group fulfil; None if it has none."""
    if any(isinstance(value, list | dict) for value in values):
        return None
    pairs = zip(fields, values, strict=True)
    return " and ".join(
        f"{field} == {json_bytes(value).decode().strip()}" for field, value in pairs
    )


# What all pages of the server share.


SHARE_OF_STATE = 0.02
"""Largest share of its time that the server spends on use of the disk, and on findings, however
often it is asked.
"""


class Site:
    def __init__(self, workspace: Workspace, secret: str | None = None) -> None:
        """`secret`: what a page sends with a change; None if changes are not allowed."""
        self.workspace, self.secret = workspace, secret
        self.closing = asyncio.Event()
        """Set when streams should end."""
        self.live, self.table = LiveRuns(workspace), RunTable(workspace)
        self.disk = Kept(lambda: sizes_in(workspace), share=SHARE_OF_STATE)
        self.findings = Kept(lambda: findings_in(workspace), share=SHARE_OF_STATE)
        self._feeds: WeakValueDictionary[Path, Feed] = WeakValueDictionary()

    def feed(self, directory: RunDirectory) -> Feed:
        """The feed of a run, which all of its clients share for as long as one of them holds it."""
        return self._feeds.setdefault(directory.path, Feed(directory))

    async def rest(self, seconds: float) -> None:
        """Wait, but not longer than until the server ends."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


# Server-sent events: changes are sent to pages as they happen.


QUIET_LOOKS = 15
"""Looks without news after which something is sent in any case, so that a client that is gone is
noticed.
"""

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""The second one keeps nginx from collecting events."""


def stream(site: Site, looks: AsyncIterator[bytes]) -> Response:
    """What looks find, one after another, until they or the server end; empty if there is no
    news.
    """

    async def events() -> AsyncIterator[bytes]:
        silent = 0
        async for news in looks:
            silent = 0 if news or silent == QUIET_LOOKS else silent + 1
            if news or not silent:
                yield news or b": still here\n\n"
            await site.rest(SECONDS_BETWEEN_LOOKS)
            if site.closing.is_set():
                return

    return StreamingResponse(events(), media_type="text/event-stream", headers=HEADERS)


async def of_all_runs(site: Site) -> AsyncIterator[bytes]:
    """The version of the runs, now and whenever it has changed."""
    known_version = ""
    while True:
        version = (await site.live.now()).version
        yield b"" if version == known_version else _event("version", version.encode())
        known_version = version


async def of_run(feed: Feed, place: str) -> AsyncIterator[bytes]:
    """State, curves and added log of a run until it ends.

    place  up to where the client has the log; see `LogReader`
    """
    log, last_state, drawn_version, unfinished = LogReader(feed.directory, place), None, 0, True
    while unfinished:
        growth, news = await feed.now(), list[bytes]()
        if (state := (growth.state, growth.progress)) != last_state:
            last_state = state
            news.append(
                _event(
                    "state", orjson.dumps({"state": str(growth.state), "progress": growth.progress})
                )
            )
        if growth.curves_version != drawn_version:
            drawn_version = growth.curves_version
            news += [
                _event(name, getattr(growth, name)) for name in ("curves", "system", "figures")
            ]
        if (added := log.grown(growth)) is not None:
            news.append(_event("log", orjson.dumps(added), log.place))
        if not (unfinished := growth.state.unfinished):
            news.append(_event("end", b"{}"))
        yield b"".join(news)


def _event(name: str, data: bytes, place: str = "") -> bytes:
    """`data` is in one line."""
    number = f"id: {place}\n".encode() if place else b""
    return b"event: " + name.encode() + b"\n" + number + b"data: " + data + b"\n\n"

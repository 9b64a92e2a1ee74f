"""All runs as they are now, and what grows while they work: found once for all clients."""

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
from qexp.runs.columns import Columns, choose, column_of, group_table, units_of
from qexp.runs.options import ListOptions
from qexp.spec.reading import Document
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
        self._find = find
        self._share = share
        self._seconds = seconds
        self._value: Value | None = None
        self._due = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def now(self) -> Value:
        value = self._fresh()
        if value is not None:
            return value
        async with self._one_at_a_time:
            value = self._fresh()
            if value is not None:  # somebody else has waited for it
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

SHARE_OF_RUN = 0.02
"""Share of its time that the server spends on the curves of a run; long ones grow in steps."""

MOST_LOG = 200_000
"""Bytes of a log that are sent at once; of more, the last ones."""


@dataclass(frozen=True)
class Growth:
    state: State
    progress: str
    """Such as "epoch 3 of 20, 6 a minute, 3 min left"."""
    drawn: Mapping[str, bytes]
    """Its `curves`, those of its machine (`system`) and logged `figures`, as JSON."""
    drawn_version: int
    attempt: int
    log_size: int
    """Of the last attempt [bytes]."""


class Feed(Kept[Growth]):
    """One run that is looked at."""

    def __init__(self, directory: RunDirectory) -> None:
        super().__init__(self._look, seconds=SECONDS_BETWEEN_LOOKS)
        self.directory = directory
        self._watch = Watch()
        self._growth = Growth(State.CREATED, "", {}, 0, 0, 0)
        self._stamps: list[tuple[int, int]] = []
        self._next_curves = 0.0

    def _look(self) -> Growth:
        # State before the rest: a run that had ended by now adds nothing after this look.
        state = self._watch.state(self.directory)
        attempt = max(attempts(self.directory), default=0)
        _, size = _stamp(log_file(self.directory, attempt))
        self._growth = replace(
            self._growth,
            state=state,
            attempt=attempt,
            log_size=size,
        )
        if time.monotonic() >= self._next_curves or not state.unfinished:
            self._look_at_curves()
        return self._growth

    def _look_at_curves(self) -> None:
        begun = time.monotonic()
        run = self.directory
        files = [directory.metrics_file for directory in (run, *run.all_folds())]
        files += [run.system_file, run.results / "figures"]
        files.append(run.record_file)  # in which progress is noted that has no epochs
        stamps = [_stamp(file) for file in files]
        if stamps == self._stamps:
            return
        try:
            record = run.record()
            lines = lines_of(run)
            shown = {
                "curves": curves(lines, record.units),
                "system": system_panels(run.system()),
                "figures": figures_of(run)[0],
            }
        except QexpError:  # it is being replaced or removed; the next look tells
            return
        self._stamps = stamps
        # Lines are written after every epoch, the record only now and then; of folds there are
        # several at a time.
        done = lines[""][-1]["epoch"] if lines.get("") else record.epochs.done
        numbers = orjson.OPT_SERIALIZE_NUMPY
        self._growth = replace(
            self._growth,
            progress=progress_in_words(run, record, done),
            drawn={name: orjson.dumps(value, option=numbers) for name, value in shown.items()},
            drawn_version=self._growth.drawn_version + 1,
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
        """`place`: the number of an attempt, and the bytes of its log seen, such as 2:1034."""
        attempt, _, seen = place.partition(":")
        self._directory = directory
        self._attempt = _number(attempt)
        self._tail = Tail(log_file(directory, self._attempt), _number(seen))

    @property
    def place(self) -> str:
        """Up to where complete characters were seen."""
        return f"{self._attempt}:{self._tail.understood}"

    def grown(self, growth: Growth) -> Document | None:
        """The added text, and whether it is of another attempt or after a gap; None without any."""
        anew = growth.attempt != self._attempt or growth.log_size < self._tail.read
        if anew:
            self._attempt = growth.attempt
            self._tail = Tail(log_file(self._directory, self._attempt))
        start = growth.log_size - MOST_LOG
        gap = start > self._tail.read
        self._tail.read = max(start, self._tail.read)
        with suppress(OSError):
            if growth.log_size > self._tail.read:
                text = "".join(self._tail.grown(growth.log_size))
                return {"text": text, "anew": anew or gap} if text else None
        return None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 16 else 0


def _stamp(file: Path) -> tuple[int, int]:
    """When a file was changed, and its bytes."""
    with suppress(OSError):
        status = os.stat(file)  # noqa: PTH116
        return status.st_mtime_ns, status.st_size
    return 0, 0


# All runs as they are now, for any number of clients.


SHARE_OF_RUNS = 0.03
"""Share of its time that the server spends on looking; with very many runs it looks less."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The runs at one time."""

    version: str
    """Another one whenever a run has changed."""
    runs: list[Document]
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
            runs = self._read()
            warnings = [*self._warnings]
        except QexpError as error:  # such as for a folder on a disk that is not mounted
            runs = []
            warnings = [str(error)]
        if not self._changes or (runs, warnings) != (self._listing.runs, self._listing.warnings):
            self._changes += 1
            self._listing = Listing(f"{self._start}-{self._changes}", runs, warnings)
        return self._listing


# Use of the disk, and what doctor finds.


LARGEST_RUNS = 20
"""Runs whose sizes are listed."""


def sizes_in(workspace: Workspace) -> Document:
    """`total`: sizes in words, and `largest`: run and size, in words and in bytes."""
    paths = [path for path in trash.files_in(workspace.runs) if not path.name.startswith(".")]
    runs = {path.name: size_of(path) for path in paths if path.is_dir()}
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


def findings_in(workspace: Workspace) -> list[Document]:
    documents = [finding.document() for finding in doctor.findings(workspace)]
    return [
        {**document, "where": document["where"].removeprefix(f"{workspace.root}/")}
        for document in documents
    ]


# Words that complete conditions, columns and groups: the fields of runs, and the values that some
# of them have.


Run = Document

OF_FEW_VALUES = ("experience", "dataset", "model", "launch", "kind")

MOST_VALUES = 200


def completing_words(runs: Sequence[Run]) -> Document:
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
            others = {key: value for key, value in spec.items() if key != "model"}
            fields |= dict.fromkeys(_leaves(others))
    values = {"state": list(LISTED)}
    for name in OF_FEW_VALUES:
        values[name] = sorted({run[name] for run in runs if run[name]})[:MOST_VALUES]
    tags = sorted({tag for run in runs for tag in run["tags"]})
    return {"fields": list(fields), "values": values, "tags": tags}


def _leaves(document: Mapping[str, Any], parent: str = "") -> Iterator[str]:
    """The dotted paths of a document's values, as the where language takes them."""
    for key, value in document.items():
        step = f".{key}" if key.isidentifier() else f'["{key}"]'
        path = f"{parent}{step}" if parent else key
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path


# The table of runs: what is asked of it, and its answer, of which clients take rows as they scroll.


MOST_ROWS = 500
"""In one response."""

KEPT_ANSWERS = 16
"""Answers that are kept for clients that ask the same."""

SEARCHED = ("name", "experience", "dataset", "model", "state", "note", "error", "caution")

Rows = Callable[[int, int], list[Document]]


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
    """From the number of the first row and their count: `name`, `state`, `where`, `cells`."""
    states: dict[str, int]
    warnings: list[str]
    shared: Sequence[str] = ()
    """What is set in all runs, which their cells do not repeat."""

    def document(self, version: str, first: int, count: int) -> Document:
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
        tags = [question.tag] if question.tag else []
        conditions = ListOptions(question.where or None, status=question.status or None, tags=tags)
        runs = choose(columns, conditions, names)
        for word in question.search.lower().split():
            runs = [run for run in runs if word in _text(run)]
        self._columns = columns = columns.for_runs(runs)
        states = dict(Counter(run["state"] for run in runs).most_common())
        shared = list[str]()
        if question.group:
            titles, rows, total = _grouped(runs, question.group, columns)
        else:
            if question.sort != "name":
                keys = columns.values(question.sort)
                runs = filters.ordered(runs, question.sort, question.descending, keys)
            elif question.descending:  # summaries are sorted by name, with numbers by their value
                runs = runs[::-1]
            self._columns = columns = columns.for_runs(runs)
            if len(runs) > 1 and not question.columns:
                first, *others = map(list, filters.changes(runs).values())
                shared = first
                for changed in others:
                    shared = [change for change in shared if change in changed]
            (titles, rows), total = _single(runs, question.columns, columns, shared), len(runs)
        return Answer(
            titles,
            total,
            rows,
            states,
            [*listing.warnings, *columns.warnings],
            shared,
        )


def _text(run: Run) -> str:
    """What a search looks through."""
    texts = [run[key] or "" for key in SEARCHED]
    return "\n".join((*texts, *run["tags"], *run["overrides"])).lower()


def _single(
    runs: list[Run], fields: Sequence[str], columns: Columns, shared: Sequence[str]
) -> tuple[list[Head], Rows]:
    """A row per run, without what is set in all of them; cells are made when they are asked for."""
    shown = [column_of(field, columns) for field in fields] or filters.usual_columns(runs, shared)

    def rows(first: int, count: int) -> list[Document]:
        chosen = runs[first : first + count]
        cells: list[list[str]] = [[] for _ in chosen]
        for column in shown:
            texts = [column.text(run) for run in chosen]
            for row, text in zip(cells, aligned(texts) if column.numeric else texts, strict=True):
                row.append(text)
        return [
            {"name": run["name"], "state": run["state"], "cells": row}
            for run, row in zip(chosen, cells, strict=True)
        ]

    return [Head(one.title, heading(one.title), one.numeric, one.field) for one in shown], rows


def _grouped(
    runs: list[Run], fields: Sequence[str], columns: Columns
) -> tuple[list[Head], Rows, int]:
    """A row per value of the fields, and how many there are."""
    values = list(zip(*map(columns.values, fields), strict=True))
    members = filters.groups(runs, fields, values)
    table = group_table(members, fields, units_of(runs))
    columns_of_cells = []
    for title, cells in zip(table.columns, zip(*table.rows, strict=True), strict=False):
        texts = aligned(cells) if title in table.right else list(map(as_it_is, cells))
        columns_of_cells.append(texts)
    rows = [
        {"where": _condition(fields, group["values"]), "cells": cells}
        for group, cells in zip(members, zip(*columns_of_cells, strict=True), strict=True)
    ]
    heads = [Head(title, heading(title), title in table.right) for title in table.columns]
    return heads, lambda first, count: rows[first : first + count], len(rows)


def _condition(fields: Sequence[str], values: Sequence[Any]) -> str | None:
    """The condition of the where language that the runs of a group fulfil; None if it has none."""
    if any(isinstance(value, list | dict) for value in values):
        return None
    texts = [json_bytes(value).decode().strip() for value in values]
    return " and ".join(f"{field} == {text}" for field, text in zip(fields, texts, strict=True))


# What all pages of the server share.


SHARE_OF_STATE = 0.02
"""Share of its time that the server spends on use of the disk and findings, if asked often."""


class Site:
    def __init__(self, workspace: Workspace, secret: str | None = None) -> None:
        """`secret`: what a page sends with a change; None if changes are not allowed."""
        self.workspace = workspace
        self.secret = secret
        self.closing = asyncio.Event()
        """Set when streams should end."""
        self.live = LiveRuns(workspace)
        self.table = RunTable(workspace)
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
"""Looks without news after which something is sent, so that a client that is gone is noticed."""

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""The second one keeps nginx from collecting events."""


def stream(site: Site, looks: AsyncIterator[bytes]) -> Response:
    """What looks find, one after another, until they or the server end; empty without news."""

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
    log = LogReader(feed.directory, place)
    drawn_version = 0
    known_state = dict[str, str]()
    unfinished = True
    while unfinished:
        growth = await feed.now()
        news = b""
        state = {"state": str(growth.state), "progress": growth.progress}
        if state != known_state:
            known_state = state
            news += _event("state", orjson.dumps(state))
        if growth.drawn_version != drawn_version:
            drawn_version = growth.drawn_version
            for name, data in growth.drawn.items():
                news += _event(name, data)
        added = log.grown(growth)
        if added is not None:
            news += _event("log", orjson.dumps(added), log.place)
        unfinished = growth.state.unfinished
        if not unfinished:
            news += _event("end", b"{}")
        yield news


def _event(name: str, data: bytes, place: str = "") -> bytes:
    """`data` is in one line."""
    number = f"id: {place}\n".encode() if place else b""
    return b"event: " + name.encode() + b"\n" + number + b"data: " + data + b"\n\n"

"""What the commands that look at runs and data, keep them and show them are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from qexp.base.options import (
    Counted,
    Displaying,
    InWorkspace,
    Opening,
    Report,
    Trusting,
    argument,
    as_warning,
    ignore,
    option,
    print_width,
    python_only,
    uncounted,
)
from qexp.errors import QexpError, shortened


@dataclass(frozen=True)
class ListOptions(InWorkspace):
    """Conditions that runs of a listing fulfil, all of them, and their order."""

    where: str | None = option(
        None,
        'Only runs that fulfil a condition on columns, such as "seed < 5 and test.depth.mae < 0.1'
        ' and learning_rate == 1e-3 and code.commit != null".',
        "EXPRESSION",
        complete="columns",
    )
    _: KW_ONLY
    status: str | None = option(None, "Only runs in this state.", complete="states")
    tags: Iterable[str] = option(
        (), "Only runs with this tag.", "--tag TAG", also="Repeat to require several."
    )
    launch: str | None = option(
        None,
        "Only runs that were started together, by the id of their launch, or 'last'.",
        "ID",
        complete="launches",
    )
    queue: bool = option(False, "Only runs at work or waiting in the queue, in its order.")
    sort: str | None = option(
        None, "Order by a field, such as created or test.depth.mae.", "FIELD", complete="columns"
    )
    reverse: bool = option(False, "Reverse the order.")
    remote: str | None = option(
        None, "List the runs of a remote: a URL, a folder, or a name in qexp.toml.", "REMOTE"
    )
    warn: Report = python_only(ignore, "Receives a line for each run that cannot be read")


@dataclass(frozen=True, kw_only=True)
class MoreRuns(InWorkspace):
    """Runs besides those that are named."""

    tags: Iterable[str] = option(
        (),
        "Also the runs with this tag, besides those named.",
        "--tag TAG",
        also="Repeat to require several.",
    )
    launch: str | None = option(
        None,
        "Also the runs of a launch, or 'last', besides those named; with `tags` those that"
        " have it.",
        "ID",
        complete="launches",
    )


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(MoreRuns):
    """Options of `qexp compare`."""

    evaluation: str | None = option(
        None,
        "Use the evaluation of this name instead of the runs' own results.",
        "NAME",
        complete="evaluations",
    )
    part: str | None = option(
        None,
        "The part of the data whose results are compared: validation to choose by, test to report.",
        "test|validation|train",
        complete="parts",
    )
    width: str | None = print_width()
    metrics: str | Sequence[str] = option(
        (), "Only this metric, such as rmse.", "--metric METRIC ...", complete="metrics"
    )
    outputs: str | Sequence[str] = option((), "Only this output.", "--output OUTPUT ...")
    figures: bool = python_only(True, "Draw pictures into `comparisons/` in the workspace.")
    warn: Report = python_only(as_warning, "Receives a line for each run that cannot be read.")


@dataclass(frozen=True)
class ReportFile:
    """The file of a report, and what stands in it besides the runs."""

    to: str | Path | None = option(
        None,
        "The file to write; if left out, named after the run or the comparison, in the current"
        " folder.",
        "FILE.html",
    )
    _: KW_ONLY
    title: str = option("", "Title; the name of the run, or the experiences, if left out.", "TEXT")
    text: str | Path = option(
        "",
        "Your words at the top, plain or in Markdown (tables, no pictures): a file, or the text"
        " itself.",
        "FILE|TEXT",
        shell=str,
    )
    full: bool = option(False, "Show paths, the machine and its settings, too.")
    overwrite: bool = option(False, "Replace an existing file that is not an HTML report of qexp.")


@dataclass(frozen=True, kw_only=True)
class ReportOptions(ReportFile, MoreRuns):
    """Options of `qexp report`."""

    pdf: bool = option(False, "Print it to a PDF, which needs Chromium.")


@dataclass(frozen=True)
class ExportOptions(Opening):
    """Options of `qexp export`; for an archive `to` alone, and what opens the run."""

    to: str | Path = option(
        ...,
        "For the run: a new file .zip, or MLflow's database. For its network: a folder.",
        "FILE|DIR",
    )
    format: str | None = option(
        None,
        "Format of the network, onnx if left out; or mlflow.",
        "onnx|torchscript|keras|mlflow",
        complete="formats",
    )
    _: KW_ONLY
    physical: bool = option(
        False,
        "Include the transforms in the network: physical units in and out; needed for a run with"
        " networks of several folds.",
    )
    overwrite: bool = option(False, "Replace a network that was exported before.")


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Opening):
    """Options of `qexp import`."""

    name: str | None = option(None, "New name of the run; its own if left out.")
    trust_code: bool = option(
        False, "Allow commands to execute the run's code, code/extensions.py, from now on."
    )


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Displaying):
    """Options of `qexp verify`."""

    keep: str | Path | None = option(
        None, "New or empty folder in which the repeated run is kept.", "DIR"
    )
    device: str | None = option(
        None, "Compute device: auto, cpu or cuda; that of the run if left out.", complete="devices"
    )


@dataclass(frozen=True)
class SharingOptions(InWorkspace, Displaying):
    """Options of `qexp push` and `qexp pull`."""

    runs: Iterable[str] = argument(
        (),
        "Runs: names, unique prefixes, or quoted patterns such as 'mogi_*'; all if left out.",
        "[RUN...]",
    )
    _: KW_ONLY
    name: str | None = option(None, "Name that a single run gets there; its own if left out.")
    launch: str | None = option(
        None, "Runs that were started together, by the id of their launch, or 'last'.", "ID"
    )
    count: Counted = python_only(
        uncounted, "Takes the number of runs that are done, and of all; a bar if left out"
    )


@dataclass(frozen=True)
class PushOptions(SharingOptions):
    """Options of `qexp push`."""

    _: KW_ONLY
    check: bool = option(
        False, "Read the files that are there, and replace those that are damaged."
    )


@dataclass(frozen=True)
class PullOptions(SharingOptions, Trusting):
    """Options of `qexp pull`."""


UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_age(option: str, text: str) -> timedelta:
    """`30d` → 30 days."""
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if not match:
        raise QexpError(
            f"{option} {shortened(text)}: write a number and one of m, h, d, w (minutes, hours,"
            " days, weeks), as in 30d or 12h"
        )
    return timedelta(**{UNITS[match[2]]: int(match[1])})


@dataclass(frozen=True)
class PurgeOptions(InWorkspace):
    """Options of `qexp purge`."""

    older_than: timedelta | None = option(
        None,
        "Only what was removed, or last used, longer ago than this: 30d, 12h, 90m, 2w.",
        "AGE",
        example="timedelta(days=30)",
        read=read_age,
    )
    _: KW_ONLY
    confirm: Callable[[Sequence[Any]], None] | None = python_only(
        None,
        "Receives the runs before any is deleted, if there are any; an exception that it raises"
        " ends the call",
    )


@dataclass(frozen=True)
class ServeOptions(InWorkspace):
    """Options of `qexp serve`."""

    listening: Callable[[str], None] = python_only(print, "Receives the address to open")
    _: KW_ONLY
    port: int = option(8700, "The port, up to 65535; 0 for any that is free.", "N")
    host: str = option(
        "127.0.0.1",
        "The address to listen on; 0.0.0.0 for all. Other machines need the token that is shown.",
        "ADDRESS",
    )
    prefix: str = option("", "The path below which a proxy shows the pages.", "/PATH")
    names: Iterable[str] = option(
        (), "Also answer requests for this host, as behind a proxy.", "--allow-host NAME ..."
    )
    allow_changes: bool = option(False, "Let pages tag, annotate, stop, remove and restore runs.")

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise QexpError(f"`port={self.port}`: from 0 to 65535")

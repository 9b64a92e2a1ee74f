"""What each capability shows of a run, in `show`, `ls`, `compare`, pages, reports and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

from qexp.base.text import Table
from qexp.store.directory import RunDirectory
from qexp.store.evaluations import evaluations_of
from qexp.store.record import Record

CAPABILITIES = {
    "results": "qexp.results.errors:Errors",
    "distilled": "qexp.results.distilled:Distilled",
    "limit": "qexp.results.limit:LimitBeside",
    "held_out_intervals": "qexp.results.intervals:IntervalsOfRows",
    "calibration": "qexp.results.calibration_report:Calibrations",
    "classes": "qexp.results.classes:ClassesTold",
}
"""Name → its `Results`, as "module:class", loaded when they are shown; in the order in which they
are.

Its columns in listings begin with the name: `calibration.depth.coverage_90`.
"""

MOST_GROUPS = 40
"""Most lines of numbers by group."""

Parts = Iterator[Table | str]
"""Tables with titles and units, and the sentences that belong to them, in the order of reading."""

Columns = dict[str, dict[str, float]]
"""Output → the rest of a column's name → number."""


class Results:
    """What a run or an evaluation has of one capability; methods left out have nothing to show."""

    section: ClassVar[str] = "Results"
    """Title of the section of a page; neighbours in the table with the same title share it."""
    folded: ClassVar[str] = ""
    """Title under which a notebook folds what is drawn; it is seen at once if empty."""

    def __init__(self, directory: RunDirectory, record: Record | None = None) -> None:
        """`record` is that of the directory, if it was read already."""
        self.directory = directory
        self._record = record

    @cached_property
    def record(self) -> Record:
        return self._record or self.directory.record()

    def document(self) -> dict[str, Any]:
        """Keys that `qexp show RUN --json` adds to the record, with their values."""
        return {}

    def tables(self) -> Parts:
        """What `qexp show` prints."""
        return iter(())

    def tables_of_page(self) -> Parts:
        """What pages and notebooks show, which have more room."""
        return self.tables()

    def figures(self) -> Sequence[Path]:
        """Pictures that are kept in the run."""
        return ()

    def columns(self) -> Columns:
        """Numbers by which runs can be listed, sorted and chosen."""
        return {}

    def compared(self) -> Columns:
        """Those of the columns by which `qexp compare` compares runs."""
        return {}

    @staticmethod
    def possible_columns(units: Mapping[str, str]) -> dict[str, str]:
        """All columns, with their first step, that runs can have → unit. `units`: output → unit."""
        return {}


def class_of(capability: str) -> type[Results]:
    loaded: type[Results] = resolve_name(CAPABILITIES[capability])
    return loaded


def results_of(directory: RunDirectory, record: Record | None = None) -> list[Results]:
    """The results of all capabilities, in order."""
    return [class_of(capability)(directory, record) for capability in CAPABILITIES]


def documents_of(directory: RunDirectory) -> dict[str, Any]:
    """All keys that `qexp show RUN --json` adds to a record for its results."""
    documents: dict[str, Any] = {"evaluations": {}}
    for evaluation in evaluations_of(directory):
        documents["evaluations"][evaluation.name] = evaluation.evaluation().document()
    for results in results_of(directory):
        documents |= results.document()
    return documents


def possible_columns(units: Mapping[str, str]) -> dict[str, str]:
    """All columns of capabilities that runs can have → unit. `units`: output → unit."""
    columns: dict[str, str] = {}
    for name in CAPABILITIES:
        columns |= class_of(name).possible_columns(units)
    return columns


def compared_columns(directory: RunDirectory) -> Columns:
    """Output → column without it, such as `calibration.width` → number, to compare runs by."""
    columns: Columns = {}
    for capability, results in zip(CAPABILITIES, results_of(directory), strict=True):
        for output, numbers in results.compared().items():
            named = {f"{capability}.{name}": number for name, number in numbers.items()}
            columns.setdefault(output, {}).update(named)
    return columns


def unit_of(output: str, column: str, units: Mapping[str, str]) -> str:
    """The unit of one of the `compared_columns` of an output. `units`: output → unit."""
    capability, _, name = column.partition(".")
    return class_of(capability).possible_columns(units).get(f"{capability}.{output}.{name}", "")


def is_of_capability(metric: str) -> bool:
    """Whether a metric of a comparison is one of the `compared_columns`, and none of the errors."""
    return metric.partition(".")[0] in CAPABILITIES


# Sections of a page, of a notebook, and of what `qexp show` prints.


@dataclass(frozen=True)
class Section:
    """Results of neighbouring capabilities under one title."""

    title: str
    results: Sequence[Results]

    def tables(self) -> list[Table | str]:
        return [part for results in self.results for part in results.tables()]

    def tables_of_page(self) -> list[Table | str]:
        return [part for results in self.results for part in results.tables_of_page()]


def sections_of(directory: RunDirectory, record: Record) -> Iterator[Section]:
    """The results of a run by title."""
    for title, members in groupby(results_of(directory, record), lambda results: results.section):
        yield Section(title, list(members))


def sections_of_evaluations(directory: RunDirectory) -> Iterator[Section]:
    """A section for each evaluation of a run on other data."""
    for evaluation in evaluations_of(directory):
        yield Section(f"Evaluation {evaluation.evaluation().name}", results_of(evaluation))

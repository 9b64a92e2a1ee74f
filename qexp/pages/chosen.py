"""The runs of a report: those that are named, those of a launch, those of a study."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from qexp.analysis.comparison.seed_groups import ComparedRun
from qexp.errors import QexpError
from qexp.files import real_path
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.catalog.references import is_pattern, named_runs
from qexp.runs.record.directory import RunDirectory
from qexp.runs.state import launches
from qexp.runs.state.waiting import Watch

STUDY = "study.csv"
"""The table of runs in the folder of a study."""

MOST = 1000
"""Runs of one report."""

Named = dict[RunDirectory, str | None]
"""Run → the pattern that matched it; None if it was named otherwise."""


def chosen(references: Sequence[str], launch: str | None, catalog: Catalog) -> Named:
    """The runs that references name, and those of a launch; all runs of the workspace without either.

    references  names, unique prefixes, paths, patterns, and folders of studies
    Raises NotFoundError, or QexpError for more runs than a report can show.
    """
    found: dict[Path, tuple[RunDirectory, str | None]] = {}
    for reference in references or ([] if launch else ["*"]):
        for directory, pattern in _named(reference, catalog):
            found.setdefault(real_path(directory.path), (directory, pattern))
    if launch is not None:
        for name in launches.find(launch, catalog.workspace).record()["runs"]:
            directory = RunDirectory(catalog.workspace.runs / name)
            found.setdefault(real_path(directory.path), (directory, None))
    if len(found) > MOST:
        raise QexpError(f"{len(found):,} runs are too many for one report; name at most {MOST:,}")
    return dict(found.values())


def _named(reference: str, catalog: Catalog) -> Iterator[tuple[RunDirectory, str | None]]:
    table = Path(reference) / STUDY
    if table.is_file():
        yield from ((RunDirectory(catalog.workspace.runs / name), None) for name in _of_study(table))
        return
    pattern = reference if is_pattern(reference) else None
    yield from ((directory, pattern) for directory in named_runs([reference], catalog))


def _of_study(table: Path) -> list[str]:
    """The names of a study's runs. Raises QexpError for a file that names none."""
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        names = dict.fromkeys(Path(line.get("run") or "").name for line in csv.DictReader(file))
    if not names or "" in names:
        raise QexpError(f"{table} names no runs; write it again with qexp study")
    return list(names)


def readable(named: Named) -> tuple[list[ComparedRun], list[str]]:
    """The runs with their present states, and a line for each that was removed or is damaged."""
    states = Watch().states(list(named))
    runs = [
        ComparedRun(directory, {**directory.record().document(), "state": states[directory]}, pattern)
        for directory, pattern in named.items()
        if states[directory].readable
    ]
    missing = [f"{one.name} is {state.words}, and is left out" for one, state in states.items() if not state.readable]
    return runs, missing

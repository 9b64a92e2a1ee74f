"""The table of runs: what is asked of it, and its answer, of which clients take rows as they scroll."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qexp.analysis.comparison.rounding import measured
from qexp.analysis.listing import Column, cell, error_title, is_number, units_of, usual_columns
from qexp.errors import NotFoundError
from qexp.files import json_bytes
from qexp.runs.catalog import filter as filters
from qexp.runs.catalog.columns import Columns, groups
from qexp.runs.state import launches
from qexp.server.live_runs import Listed
from qexp.workspace import Workspace

MOST_ROWS = 500
"""In one response."""

KEPT = 16
"""Answers that are kept for clients that ask the same."""

SEARCHED = ("name", "experience", "dataset", "model", "state", "note", "error", "caution")

Run = dict[str, Any]

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
class Answer:
    columns: list[dict[str, Any]]
    """`title`, `field` (by which can be sorted; none for groups), and whether it is `numeric`."""
    total: int
    rows: Rows
    """From the number of the first row and the number of rows: `name`, `state`, `where` and `cells` of each."""
    states: dict[str, int]
    warnings: list[str]

    def document(self, version: str, first: int, count: int) -> dict[str, Any]:
        return {
            "version": version,
            "columns": self.columns,
            "total": self.total,
            "first": first,
            "rows": self.rows(first, min(count, MOST_ROWS)),
            "states": self.states,
            "warnings": self.warnings,
        }


class RunTable:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._columns = Columns([])
        self._answers: OrderedDict[tuple[str, Question], Answer] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def answer(self, listed: Listed, question: Question) -> Answer:
        """Raises QexpError for an unknown field or a condition that cannot be understood."""
        key = listed.version, question
        with self._one_at_a_time:
            if key not in self._answers:
                self._answers[key] = self._answered(listed, question)
            self._answers.move_to_end(key)
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)
            return self._answers[key]

    def _answered(self, listed: Listed, question: Question) -> Answer:
        found = self._chosen(listed.runs, question)
        self._columns = columns = self._columns.over(found)
        states = dict(Counter(one["state"] for one in found).most_common())
        if question.group:
            made, rows, total = _grouped(found, question.group, columns)
        else:
            found = _ordered(found, question, columns)
            self._columns = columns = columns.over(found)
            (made, rows), total = _single(found, question.columns, columns), len(found)
        return Answer(made, total, rows, states, [*listed.warnings, *columns.warnings])

    def _chosen(self, runs: Sequence[Run], question: Question) -> list[Run]:
        self._columns = columns = self._columns.over(runs)
        found = filters.select(
            runs,
            where=question.where or None,
            status=question.status or None,
            tags=[question.tag] if question.tag else [],
            look=columns.one_by_one,
        )
        columns.require_found()
        if question.launch:
            try:
                launched = set(launches.find(question.launch, self._workspace).record()["runs"])
            except NotFoundError:
                launched = set()
            found = [one for one in found if one["name"] in launched]
        words = question.search.lower().split()
        return [one for one in found if all(word in _text(one) for word in words)] if words else found


def _text(run: Run) -> str:
    """What a search looks through."""
    words = (*(run[key] or "" for key in SEARCHED), *run["tags"], *run["overrides"])
    return "\n".join(words).lower()


def _ordered(runs: list[Run], question: Question, columns: Columns) -> list[Run]:
    if question.sort == "name":  # which the summaries are sorted by, with numbers by their value
        return runs[::-1] if question.descending else runs
    return filters.ordered(runs, question.sort, question.descending, columns.values(question.sort))


def _single(runs: list[Run], chosen: Sequence[str], columns: Columns) -> tuple[list[dict[str, Any]], Rows]:
    """A row per run; cells are made when they are asked for."""
    shown = [_chosen_column(name, columns) for name in chosen] if chosen else usual_columns(runs)

    def rows(first: int, count: int) -> list[dict[str, Any]]:
        return [
            {"name": one["name"], "state": one["state"], "cells": [column.text(one) for column in shown]}
            for one in runs[first : first + count]
        ]

    return [{"title": one.title, "field": one.field, "numeric": one.numeric} for one in shown], rows


def _chosen_column(name: str, columns: Columns) -> Column:
    values = columns.values(name)
    of_run = {run["name"]: value for run, value in zip(columns.runs, values, strict=True)}
    unit = columns.unit(name)
    numeric = all(value is None or is_number(value) for value in values)
    return Column(f"{name} ({unit})" if unit else name, name, lambda run: cell(name, of_run[run["name"]]), numeric)


def _grouped(runs: list[Run], fields: Sequence[str], columns: Columns) -> tuple[list[dict[str, Any]], Rows, int]:
    """A row per value of the fields, and how many there are."""
    found = groups(runs, list(zip(*(columns.values(field) for field in fields), strict=True)))
    outputs = dict.fromkeys(output for one in found for output in one["test"])
    units = units_of(runs)
    titles = [*((field, False) for field in fields), ("n", True), ("states", False)] + [
        (error_title(one, units), True) for one in outputs
    ]
    rows = []
    for one in found:
        errors = [one["test"].get(output, {}).get("mae") for output in outputs]
        states = ", ".join(f"{count} {state}" for state, count in one["states"].items())
        cells = [*map(cell, fields, one["values"]), str(one["n"]), states]
        cells += ["-" if error is None else measured(error["mean"], error["std"]) for error in errors]
        rows.append({"where": _condition(fields, one["values"]), "cells": cells})
    described = [{"title": title, "field": None, "numeric": numeric} for title, numeric in titles]
    return described, lambda first, count: rows[first : first + count], len(rows)


def _condition(fields: Sequence[str], values: Sequence[Any]) -> str | None:
    """The condition of the where language that the runs of a group fulfil; None if it has none."""
    if any(isinstance(value, list | dict) for value in values):
        return None
    pairs = zip(fields, values, strict=True)
    return " and ".join(f"{field} == {json_bytes(value).decode().strip()}" for field, value in pairs)

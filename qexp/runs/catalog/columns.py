"""Columns and groups of a listing: what runs have under a name, and what those have in common that share a value."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from qexp import files
from qexp.did_you_mean import nearest, suggestion
from qexp.errors import DamagedError, NotFoundError, QexpError, shortened
from qexp.metrics.meaning import UNKNOWN, Meaning
from qexp.runs.catalog.filter import Summary
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Record
from qexp.spec.resolve import is_index

PARTS = ("test", "validation")

FIELDS = frozenset(one.name for one in fields(Record)) - {"others"}

_NOTHING = object()
"""What is found where there is no such thing, which is not the same as one that is null."""


class Columns:
    """What each of some runs has under the name of a column.

    A column is a field of the summary or of the record (`seed`, `epochs.best`, `code.commit`), a metric
    (`test.depth.mae`, with or without `results.` before it), a key of the spec (`learning_rate`, `dataset.fixed.noise`,
    with or without `spec.` before it), or `size`, the bytes of the directory. Files are read only for what the
    summaries do not say.
    """

    def __init__(self, runs: Sequence[Summary]) -> None:
        self.runs = runs
        self.warnings: list[str] = []
        """What could not be read; the cells of such a run are empty."""
        self._spec = cache(lambda path: self._read(RunDirectory(Path(path)).spec))
        self._record = cache(lambda path: self._read(lambda: RunDirectory(Path(path)).record().document()))

    def values(self, column: str) -> list[Any]:
        """A value per run, None where it has none. Raises QexpError with near names if no run could have it."""
        look = self._lookup(column)
        found = [look(one) for one in self.runs]
        if found and all(value is _NOTHING for value in found) and not self._can_come(column):
            unread = f"\nwhat could have it cannot be read: {self.warnings[0]}" if self.warnings else ""
            raise QexpError(f"no field '{shortened(column)}'; {self._suggestion(column)}{unread}")
        return [None if value is _NOTHING else value for value in found]

    def _lookup(self, column: str) -> Callable[[Summary], Any]:
        """Where the values of a column are: the nearest of summary, record and spec that knows its first step."""
        first, *rest = steps = column.split(".")
        summary = self.runs[0] if self.runs else {}
        if column == "size":
            return lambda run: files.size_of(Path(run["path"]))
        if first == "spec":
            return lambda run: _below(self._spec(run["path"]), rest)
        # The summary's dataset and model are names; what is below them is the spec's.
        if first in summary and not (rest and isinstance(summary[first], str)):
            return lambda run: _below(run, steps)
        if first in PARTS:
            return lambda run: _below(run["results"], steps)
        # What the record says of `metrics` is for those who read results; as a column it is the spec's.
        if first in FIELDS and first not in (*summary, "metrics"):
            return lambda run: _below(self._record(run["path"]), steps)
        return lambda run: _below(self._spec(run["path"]), steps)

    def _read(self, read: Callable[[], dict[str, Any]]) -> Any:
        try:
            return read()
        except (DamagedError, NotFoundError) as error:
            self.warnings.append(str(error))
            return _NOTHING

    def _can_come(self, column: str) -> bool:
        """Whether it is a metric that one of the runs will have once it is done."""
        part, _, rest = column.removeprefix("results.").partition(".")
        output, _, metric = rest.partition(".")
        with_output = any(output in one["units"] for one in self.runs)
        return part in PARTS and with_output and self.meaning(metric) != UNKNOWN

    def meaning(self, metric: str) -> Meaning:
        """How the numbers of a metric are read: of one that is not qexp's own, as the runs' records say."""
        from qexp.metrics.built_in import METRICS
        from qexp.metrics.recorded import meaning_of

        records = [] if metric in METRICS else [self._record(one["path"]) for one in self.runs]
        return meaning_of(metric, [record["metrics"] for record in records if isinstance(record, dict)])

    def _suggestion(self, column: str) -> str:
        known = {*FIELDS, *self.runs[0], "size"}
        specs = [path for one in self.runs[:20] for path in _paths(self._spec(one["path"]))]
        prefix = "spec." if column.startswith("spec.") else ""
        deep = {*known, *(f"{prefix}{path}" for path in specs)}
        for one in self.runs:
            deep |= {*_paths(one["results"]), *(f"results.{path}" for path in _paths(one["results"]))}
        return suggestion(column, deep if nearest(column, deep) else known)


def _below(document: Any, steps: Sequence[str]) -> Any:
    """What a document holds under a path; None below null, and `_NOTHING` where there is no such key."""
    for step in steps:
        if document is None:
            return None
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and is_index(step) and int(step) < len(document):
            document = document[int(step)]
        else:
            return _NOTHING
    return document


def _paths(document: Any, before: str = "") -> Iterator[str]:
    """All dotted paths into a document of dictionaries."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield f"{before}{key}"
            yield from _paths(value, f"{before}{key}.")


def groups(runs: Sequence[Summary], values: Sequence[Any]) -> list[dict[str, Any]]:
    """The runs that share a value, in the order of their first: how many, in which states, and their mean test errors.

    values   what they are grouped by, one per run
    returns  per group `value`, `runs`, `n`, `states` (state → count) and `test` (output → mae → n, mean, std)
    """
    members: dict[str, list[int]] = {}
    for index, value in enumerate(values):
        members.setdefault(json.dumps(value, sort_keys=True), []).append(index)
    return [
        {
            "value": values[indices[0]],
            "runs": [runs[index] for index in indices],
            "n": len(indices),
            "states": dict(Counter(runs[index]["state"] for index in indices).most_common()),
            "test": _mean_errors([runs[index] for index in indices]),
        }
        for indices in members.values()
    ]


def _mean_errors(runs: Sequence[Summary]) -> dict[str, dict[str, dict[str, Any]]]:
    errors: dict[str, list[float]] = {}
    for one in runs:
        for output, metrics in one["results"].get("test", {}).items():
            if metrics.get("mae") is not None:
                errors.setdefault(output, []).append(metrics["mae"])
    return {
        output: {
            "mae": {
                "n": len(values),
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
            }
        }
        for output, values in errors.items()
    }

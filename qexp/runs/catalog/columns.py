"""Columns of a listing (the values of runs by name) and groups of runs that share a value."""

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
from qexp.dotted import keys_of, output_and_metric
from qexp.errors import DamagedError, NotFoundError, QexpError, shortened
from qexp.metrics.meaning import UNKNOWN, Meaning
from qexp.runs.catalog.filter import Summary, field, steps
from qexp.runs.record import calibration_columns
from qexp.runs.record.directory import EVALUATIONS, RunDirectory
from qexp.runs.record.record import Record
from qexp.spec.resolve import is_index

PARTS = ("test", "validation")

FIELDS = frozenset(one.name for one in fields(Record)) - {"others"}

_NOTHING = object()
"""The result for a missing key, as opposed to a null value."""


class Columns:
    """The values of columns for some runs.

    A column is a field of the summary or of the record (`seed`, `epochs.best`, `code.commit`), a metric
    (`test.depth.mae`, with or without `results.` before it, or `evaluations.NAME.test.depth.mae`), a key of the spec
    (`learning_rate`, `dataset.fixed.noise`, with or without `spec.` before it), of a calibration
    (`calibration.depth.coverage_90`), or `size`, the bytes of the directory. Files are read only for values that are
    not in the summaries.
    """

    def __init__(self, runs: Sequence[Summary]) -> None:
        self.runs = runs
        self.warnings: list[str] = []
        """Messages about runs that could not be read; their cells are empty."""
        self._of_specs: dict[tuple[str, str, tuple[str, ...]], Any] = {}
        """Path and digest of a run, and keys of its spec → value: a spec is never changed."""
        self._found: dict[str, bool | None] = {}
        """Column of `one_by_one` → whether a run has it; None if no run was looked at."""
        self._spec = cache(lambda path: self._read(RunDirectory(Path(path)).spec))
        self._record = cache(lambda path: self._read(lambda: RunDirectory(Path(path)).record().document()))
        self._calibration = cache(
            lambda path: self._read(lambda: calibration_columns.columns_of(RunDirectory(Path(path))))
        )

    def over(self, runs: Sequence[Summary]) -> Columns:
        """The columns of other runs; values of specs that have been read once are not read again."""
        made = Columns(runs)
        made._of_specs = self._of_specs
        return made

    def values(self, column: str) -> list[Any]:
        """One value per run, None if missing. Raises QexpError with similar names if no run can have the column."""
        look = self._lookup(column)
        found = [look(one) for one in self.runs]
        if found and all(value is _NOTHING for value in found):
            self._require_possible(column)
        return [None if value is _NOTHING else value for value in found]

    def one_by_one(self, column: str) -> Callable[[Summary], Any]:
        """A function run → value, None if missing, that reads files of a run only when it is called for that run.

        If it finds no value for any run, `require_found` says so.
        """
        if self._in_summaries(column):
            return lambda run: field(run, column)
        look = self._lookup(column)
        self._found[column] = None

        def value_of(run: Summary) -> Any:
            value = look(run)
            self._found[column] = self._found[column] or value is not _NOTHING
            return None if value is _NOTHING else value

        return value_of

    def require_found(self) -> None:
        """Raise QexpError, with similar names, if `one_by_one` looked for a column that no run can have."""
        for column, found in self._found.items():
            if found is False:
                self._require_possible(column)

    def _require_possible(self, column: str) -> None:
        if not self._can_come(column):
            unread = f"\nsome runs could not be read: {self.warnings[0]}" if self.warnings else ""
            raise QexpError(f"no field '{shortened(column)}'; {self._suggestion(column)}{unread}")

    def _in_summaries(self, column: str) -> bool:
        first, *rest = steps(column)
        summary = self.runs[0] if self.runs else {}
        # `dataset` and `model` in the summary are names; paths below them refer to the spec.
        return first in summary and not (rest and isinstance(summary[first], str))

    def _lookup(self, column: str) -> Callable[[Summary], Any]:
        """A function run → value: the first of summary, record and spec that has the column's first key."""
        first, *rest = path = steps(column)
        summary = self.runs[0] if self.runs else {}
        if column == "size":
            return lambda run: files.size_of(Path(run["path"]))
        if first == calibration_columns.FIELD:
            return lambda run: _below(self._calibration(run["path"]), rest)
        if first == "spec":
            return lambda run: self._in_spec(run, rest)
        if self._in_summaries(column):
            return lambda run: _below(run, path)
        if first in PARTS:
            return lambda run: _below(run["results"], path)
        # The record's `metrics` describe how results are read; as a column `metrics` refers to the spec.
        if first in FIELDS and first not in (*summary, "metrics"):
            return lambda run: _below(self._record(run["path"]), path)
        return lambda run: self._in_spec(run, path)

    def _in_spec(self, run: Summary, path: Sequence[str]) -> Any:
        key = run["path"], run["digest"], tuple(path)
        if key not in self._of_specs:
            self._of_specs[key] = _below(self._spec(run["path"]), path)
        return self._of_specs[key]

    def _read(self, read: Callable[[], dict[str, Any]]) -> Any:
        try:
            return read()
        except (DamagedError, NotFoundError) as error:
            self.warnings.append(str(error))
            return _NOTHING

    def _can_come(self, column: str) -> bool:
        """Whether the column is a metric that one of the runs can have when it is done, or calibrated."""
        part, _, rest = column.removeprefix("results.").partition(".")
        output, metric = output_and_metric(rest)
        if part == calibration_columns.FIELD:
            return column in calibration_columns.possible(self._outputs())
        with_output = any(output in one["units"] for one in self.runs)
        return part in PARTS and with_output and self.meaning(metric) != UNKNOWN

    def unit(self, column: str) -> str:
        """The unit of a metric of the runs or of their evaluations; empty for other columns and for numbers without."""
        path = steps(column)
        if path[0] == calibration_columns.FIELD:
            return self._unit_of_width(column)
        if path[0] in ("results", EVALUATIONS):
            path = path[1:] if path[0] == "results" else path[2:]
        units = {output: unit for one in self.runs for output, unit in one["units"].items()}
        output, metric = output_and_metric(".".join(path[1:]))
        return self.meaning(metric).in_unit(units[output]) if output in units else ""

    def _unit_of_width(self, column: str) -> str:
        units = {output: unit for one in self.runs for output, unit in one["units"].items()}
        own = (unit for output, unit in units.items() if column in calibration_columns.possible([output]))
        return next(own, "") if calibration_columns.of_width(column) else ""

    def _outputs(self) -> set[str]:
        return {output for one in self.runs for output in one["units"]}

    def cautions(self, column: str) -> list[str]:
        """Per run whose value of a column is of an evaluation with a caution: its name and the caution."""
        name = path[1] if len(path := steps(column)) > 2 and path[0] == EVALUATIONS else None
        found = {one["name"]: one["evaluations"].get(name, {}).get("caution") for one in self.runs}
        return [f"{run} on {name}: {caution}" for run, caution in found.items() if caution]

    def meaning(self, metric: str) -> Meaning:
        """Direction and unit of a metric; those of custom metrics are taken from the runs' records."""
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
            deep |= {*_paths(one["evaluations"], "evaluations.")}
        deep |= calibration_columns.possible(self._outputs())
        return suggestion(column, deep if nearest(column, deep) else known)


def _below(document: Any, steps: Sequence[str]) -> Any:
    """The value at a path in a document; None below null, `_NOTHING` if a key is missing."""
    for key in keys_of(steps, document):
        step = str(key)
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
    """All dotted paths in nested dictionaries."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield f"{before}{key}"
            yield from _paths(value, f"{before}{key}.")


def groups(runs: Sequence[Summary], values: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Groups of runs with the same values, in order of first appearance: number, states and mean test errors.

    values   those of each run, by which to group
    returns  for each group `values`, `runs`, `n`, `states` (state → count) and `test` (output → mae → n, mean, std)
    """
    members: dict[str, list[int]] = {}
    for index, of_run in enumerate(values):
        members.setdefault(json.dumps(list(of_run), sort_keys=True), []).append(index)
    return [
        {
            "values": list(values[indices[0]]),
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

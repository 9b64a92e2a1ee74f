"""Scores of evaluated samples: metrics with intervals, errors by group, and the file of true values
and estimates.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.base import formats
from qexp.base.arrays import Array
from qexp.base.outputs import ESTIMATE, Column, at_limits
from qexp.kinds.attempt import Results
from qexp.metrics.intervals import intervals as jackknife_intervals
from qexp.metrics.metric import Metrics, evaluate, with_training_mean
from qexp.results.intervals import OVERALL
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory
from qexp.store.record import GroupErrors

log = logging.getLogger("qexp.run")


TABLE = "errors.csv"
"""File in `results` with errors by group."""

HEAD = ("of", "name", "n", "output", "unit")
"""Columns of the table before metrics: kind of group, which, number of values, output."""

MOST_RECORDED = 100
"""Most groups that a record holds; of more only the table does."""


@dataclass
class Scores:
    """Metrics of outputs on all samples, their intervals, and errors by group, output by output.

    grouping  what kind of group, such as "core"; None if errors are not listed by group
    groups    the name of each sample's group, (sample,)
    alike     samples of one value resemble each other, so that intervals are over these,
              (sample,); None if none do
    """

    grouping: str | None = None
    groups: NDArray[Any] | None = None
    alike: NDArray[Any] | None = None
    results: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, Any] = field(default_factory=dict)
    errors: list[GroupErrors] = field(default_factory=list)

    def add(
        self,
        output: str,
        metrics: Metrics,
        estimate: Array,
        truth: Array,
        training_mean: ArrayLike = math.nan,
    ) -> None:
        """training_mean  of the output's training targets: a number, or one per sample"""
        complete = with_training_mean(metrics, training_mean)
        finite = np.isfinite(estimate).all()
        self.results[output] = evaluate(complete, estimate, truth)
        self.intervals[output] = (
            jackknife_intervals(complete, estimate, truth, self.alike) if finite else {}
        )
        self.errors += self._by_group(output, metrics, estimate, truth, training_mean)

    def _by_group(
        self, output: str, metrics: Metrics, estimate: Array, truth: Array, training_mean: ArrayLike
    ) -> Iterator[GroupErrors]:
        """The errors of an output on all test samples, then on those of each group, by name."""
        if self.grouping is None or self.groups is None:
            return
        names = self.groups.astype(str)
        means = np.broadcast_to(np.asarray(training_mean, np.float64), truth.shape)
        of_groups = [
            (self.grouping, name, np.flatnonzero(names == name)) for name in np.unique(names)
        ]
        for kind, name, rows in [(OVERALL, "", np.arange(len(truth))), *of_groups]:
            values = evaluate(with_training_mean(metrics, means[rows]), estimate[rows], truth[rows])
            yield errors_of_group(kind, str(name), len(rows), output, values)

    def document(self, part: str, **further: Any) -> Results:
        """further  what else the record says"""
        return Results(
            {part: self.results}, {part: self.intervals}, groups=recorded(self.errors), **further
        )


def errors_of_group(
    kind: str, name: str, count: int, output: str, metrics: Mapping[str, float]
) -> GroupErrors:
    """One group's errors; null where a metric is undefined, as R² is for a single sample or a
    constant truth.
    """
    defined = {metric: value if math.isfinite(value) else None for metric, value in metrics.items()}
    return GroupErrors(
        of=kind,
        name=name,
        n=count,
        output=output,
        metrics=defined,
    )


def recorded(errors: Sequence[GroupErrors]) -> tuple[GroupErrors, ...]:
    """Those that the record holds: all single groups, or none if there are too many."""
    groups = tuple(group for group in errors if group.of != OVERALL)
    return groups if len({group.name for group in groups}) <= MOST_RECORDED else ()


def write_errors(
    directory: RunDirectory, errors: Sequence[GroupErrors], units: Mapping[str, str], note: str
) -> None:
    """A line per group and output; cells of undefined metrics are empty."""
    metrics = list(dict.fromkeys(name for group in errors for name in group.metrics))
    lines = []
    for group in errors:
        head = group.of, group.name, group.n, group.output, units.get(group.output, "")
        lines.append([*head, *map(group.metrics.get, metrics)])
    columns = zip(*lines, strict=True)
    table = dict(zip([*HEAD, *metrics], columns, strict=True))
    write_table(directory.results / TABLE, table, note)


def write_table(path: Path, table: Mapping[str, Sequence[Any]], note: str) -> None:
    """Write columns as CSV; None is an empty cell, and a note is repeated in every line."""
    columns = {**table, "caution": [note] * len(next(iter(table.values())))} if note else table
    formats.write_csv(path, columns, zip(*columns.values(), strict=True))


# The file of true values and estimates.


def write_test_predictions(
    directory: RunDirectory,
    sample: str,
    numbers: ArrayLike,
    texts: Mapping[str, NDArray[Any]],
    columns: Mapping[str, Column],
    note: str,
    **about: Any,
) -> None:
    """Write true values and estimates, which marks a run as evaluated; log which reach limits.

    sample         what a sample is called, such as "row"; `numbers` are theirs
    texts          name → what identifies each, (sample,)
    columns        see `Output.columns`
    note, about    attributes besides the run and the part, see `attributes`
    """
    import xarray

    coordinates: dict[str, Any] = {sample: numbers}
    variables: dict[str, Any] = {}
    for name, identifiers in texts.items():
        variables[name] = sample, identifiers.astype(object)
    for name, (values, words) in columns.items():
        if isinstance(values, Mapping):
            coordinates["quantile"] = list(values)
            variables[name] = (sample, "quantile"), np.stack(list(values.values()), axis=1), words
            continue
        variables[name] = sample, np.asarray(values), words
        if (count := words.get("at_limits")) is not None:
            output = name.removesuffix(ESTIMATE)
            limits = words["limits"]
            unit = words["units"]
            log.info("%s", at_limits(output, limits, unit, count, len(values)))
    table = xarray.Dataset(variables, coordinates, attributes(directory, note, **about))
    formats.write_netcdf(directory.results / TEST_PREDICTIONS, table)


def attributes(directory: RunDirectory, note: str, **about: Any) -> dict[str, Any]:
    """Of a file of results: the run, the part, `about`, and a caution if there is one."""
    caution = {"caution": note} if note else {}
    return {"run": directory.name, "part": directory.part, **about, **caution}

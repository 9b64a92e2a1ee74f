"""Errors by group of test samples, such as cores or missions, and estimates that lie at the limits of their output."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.base import files
from qexp.base.outputs import NO_LIMITS, Limits, at_limits
from qexp.metrics.metric import Metrics, evaluate, with_training_mean
from qexp.store.record import GroupErrors

log = logging.getLogger("qexp.run")


def described(output: str, limits: Limits, unit: str, estimates: Sequence[NDArray[np.floating]]) -> dict[str, Any]:
    """Log how many estimates of an output, given in blocks, lie at its limits; returns attributes that say the same.

    Empty, and no line in the log, for an output without limits.
    """
    if limits == NO_LIMITS:
        return {}
    count = sum(map(limits.reached, estimates))
    log.info("%s", at_limits(output, limits, unit, count, sum(block.size for block in estimates)))
    return {"limits": str(limits), "at_limits": count}


# Errors by group of test samples, such as cores of sediment, missions or folders.


Array = NDArray[np.float64]

TABLE = "errors.csv"
"""File in `results` with errors by group."""

HEAD = ("of", "name", "n", "output", "unit")
"""Columns of the table before those of metrics: what kind of group, which one, number of values, and output."""

OVERALL = "overall"
"""Kind of the group of all test samples."""

RECORDED = 100
"""Most groups that a record holds; of more only the table does."""


def of_groups(
    of: str,
    groups: NDArray[Any],
    output: str,
    metrics: Metrics,
    estimate: Array,
    truth: Array,
    training_mean: ArrayLike,
) -> Iterator[GroupErrors]:
    """The errors of an output on all test samples, then on those of each group, by name.

    of             what kind of group, such as "core"
    groups         the name of each sample's group, (sample,); likewise estimate and truth
    training_mean  of the output's training targets: a number, or one per sample
    """
    names, means = groups.astype(str), np.broadcast_to(np.asarray(training_mean, np.float64), truth.shape)
    everything = np.arange(len(truth))
    parts = [(OVERALL, "", everything), *((of, name, np.flatnonzero(names == name)) for name in np.unique(names))]
    for kind, name, rows in parts:
        values = evaluate(with_training_mean(metrics, means[rows]), estimate[rows], truth[rows])
        yield of_group(kind, str(name), len(rows), output, values)


def of_group(of: str, name: str, n: int, output: str, metrics: Mapping[str, float]) -> GroupErrors:
    """One group's errors; null where a metric is undefined, as R² is for a single sample or a constant truth."""
    defined = {metric: value if math.isfinite(value) else None for metric, value in metrics.items()}
    return GroupErrors(of=of, name=name, n=n, output=output, metrics=defined)


def recorded(errors: Sequence[GroupErrors]) -> tuple[GroupErrors, ...]:
    """Those that the record holds: all single groups, or none if there are too many."""
    groups = tuple(one for one in errors if one.of != OVERALL)
    return groups if len({one.name for one in groups}) <= RECORDED else ()


def write(path: Path, errors: Sequence[GroupErrors], units: Mapping[str, str], note: str = "") -> None:
    """A line per group and output; cells of undefined metrics are empty, and a note is repeated in every line."""
    metrics = list(dict.fromkeys(name for one in errors for name in one.metrics))
    endings = [note] if note else []
    lines = (
        [one.of, one.name, one.n, one.output, units.get(one.output, ""), *map(one.metrics.get, metrics), *endings]
        for one in errors
    )
    files.write_csv(path, [*HEAD, *metrics, *(["caution"] if note else [])], lines)

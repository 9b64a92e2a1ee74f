"""Metrics: numbers that measure the quality of an output's estimates, computed in the output's own
unit.

Most metrics are additive: functions of sums over the samples. Their terms and that function
determine the value for given estimates, for estimates that come in chunks, and for all rows but
some.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qexp.base.arrays import Array
from qexp.base.quantities import nearest
from qexp.errors import QexpError
from qexp.metrics.meaning import BEST, NUMBERS, Meaning

_UNSAID = "unsaid"


@dataclass(frozen=True)
class Additive:
    """A metric that is a function of sums over the samples."""

    terms: Callable[[Array, Array, float], Sequence[Array]]
    """estimate, truth, centre → the terms to sum, each with a value per sample.

    The centre is a number near the truths, or 0 if they come in chunks. Sums of squares of `truth -
    centre` have more correct digits than those of the truth; apart from this the metric must not
    depend on it.
    """
    value: Callable[[Sequence[Any], Any], Any]
    """Sums of the terms, number of samples → the metric, NaN if undefined; also for arrays."""

    def __call__(self, estimate: ArrayLike, truth: ArrayLike) -> float:
        """The metric of all samples."""
        terms = self.centred(estimate, truth)
        return self.of_sums(terms[0].size, [term.sum() for term in terms])

    def centred(self, estimate: ArrayLike, truth: ArrayLike) -> Sequence[Array]:
        """The terms of all samples, with the mean truth as centre."""
        true = np.asarray(truth, dtype=np.float64)
        return self.pieces(estimate, true, float(true.mean()) if true.size else 0.0)

    def pieces(self, estimate: ArrayLike, truth: ArrayLike, centre: float = 0.0) -> Sequence[Array]:
        """The terms of some of the samples."""
        estimated, true = (np.asarray(values, dtype=np.float64) for values in (estimate, truth))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.terms(estimated, true, centre)
            terms = [np.asarray(term, dtype=np.float64) for term in found]
        if any(term.shape != terms[0].shape or term.shape[:1] != true.shape[:1] for term in terms):
            shapes = ", ".join(str(term.shape) for term in terms)
            raise QexpError(
                f"the terms of an additive metric, {shapes}, must have a value per sample of"
                f" {true.shape}"
            )
        return terms

    def of_sums(self, count: int, sums: Sequence[float]) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.value([np.float64(total) for total in sums], np.float64(count)))


@dataclass(frozen=True)
class Metric:
    """A metric, as built by a table's entry: `Metric(function, best="highest", unit="")`.

    compute  estimate, truth, both (sample, ...) → a number: an `Additive`, or any function if the
             metric is not additive, such as a median
    best     which values are better: "lowest", "highest", or "zero" (those closest to zero)
    unit     unit of the values, with `{unit}` for the output's: "{unit}", "({unit})²", "%", "" for
             none
    name     what readers call it, such as "R²"; its key in words if left out
    against  for a metric that depends on the mean of the training targets: that mean, a number or
             one per sample → what computes the metric; `compute` is then that of an unknown mean,
             NaN
    least    the least possible value, where `best` and `unit` do not tell it
    outputs  what it is a metric of: `NUMBERS`, or `CLASSES`, whose estimates are probabilities
             (sample, class) and whose truths are codes
    corrected
             whether what few samples add to it is subtracted already
    to_first_order
             for intervals of a metric that is not additive: an `Additive` with the same value of
             all samples at once, and nearly that of all but some
    Raises ValueError if `best` or `unit` is missing or unknown.
    """

    compute: Callable[[Array, Array], float]
    _: KW_ONLY
    best: str = _UNSAID
    unit: str = _UNSAID
    name: str = ""
    against: Callable[[ArrayLike], Additive] | None = None
    least: float | None = None
    outputs: str = NUMBERS
    corrected: bool = False
    to_first_order: Additive | None = None

    def __post_init__(self) -> None:
        if self.best not in BEST:
            problem = f"says {self.best!r}, which is no word for"
            if self.best == _UNSAID:
                problem = "does not say"
            raise ValueError(
                f'a metric {problem} which values are better; write best="lowest", "highest" or'
                ' "zero"'
            )
        if self.unit == _UNSAID or not isinstance(self.unit, str):
            raise ValueError(
                'a metric does not say the unit of its values; write unit="" for none, "%", or'
                ' "{unit}" for the output\'s, as in "({unit})²"'
            )
        if not callable(self.compute):
            raise ValueError("a metric needs a function of estimate and truth, or an Additive")

    @property
    def meaning(self) -> Meaning:
        return Meaning(self.best, self.unit, self.least)

    @property
    def additive(self) -> Additive | None:
        """None for a metric that needs all samples at once."""
        return self.compute if isinstance(self.compute, Additive) else None


Metrics = Mapping[str, Metric]


def with_training_mean(metrics: Metrics, mean: ArrayLike) -> dict[str, Metric]:
    """The metrics of an output, those that depend on the mean of the training targets with that
    mean.

    mean  a number, or one per sample, (sample,), for samples that belong to several networks
    """
    compared = dict(metrics)
    for name, metric in metrics.items():
        if metric.against is not None:
            compared[name] = replace(metric, compute=metric.against(mean))
    return compared


def needs_training_mean(metrics: Metrics) -> bool:
    """Whether a metric of an output depends on the mean of the training targets."""
    return any(metric.against is not None for metric in metrics.values())


def evaluate(metrics: Metrics, estimate: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """All the metrics of one output."""
    estimated, true = (np.asarray(values, dtype=np.float64) for values in (estimate, truth))
    values = {}
    for name, metric in metrics.items():
        value = metric.compute(estimated, true)
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            raise QexpError(f"the metric '{name}' must give a number, not {value!r:.100}") from None
    return values


@dataclass(frozen=True)
class Sums:
    """The sums of an output's additive metrics, over estimates and truths that come in chunks."""

    metrics: Metrics
    samples: int = 0
    totals: Mapping[str, tuple[int, tuple[float, ...]]] = field(default_factory=dict)
    """Metric → number of values and the sums of its terms; empty before the first chunk."""

    def with_piece(self, estimate: ArrayLike, truth: ArrayLike) -> Sums:
        estimated, true = (np.asarray(values, dtype=np.float64) for values in (estimate, truth))
        piece = {}
        for name, additive in self._additive():
            terms = additive.pieces(estimated, true)
            piece[name] = terms[0].size, tuple(float(term.sum()) for term in terms)
        return self + Sums(self.metrics, true.size, piece)

    def __add__(self, other: Sums) -> Sums:
        totals = dict(self.totals or other.totals)
        if self.totals and other.totals:
            for name, (count, sums) in other.totals.items():
                first, first_sums = totals[name]
                totals[name] = first + count, tuple(map(operator.add, first_sums, sums))
        return Sums(self.metrics, self.samples + other.samples, totals)

    def values(self) -> dict[str, float]:
        """The metrics of all chunks together; NaN before the first."""
        values = {}
        for name, additive in self._additive():
            known = name in self.totals
            values[name] = additive.of_sums(*self.totals[name]) if known else float("nan")
        return values

    def _additive(self) -> list[tuple[str, Additive]]:
        every = [(name, metric.additive) for name, metric in self.metrics.items()]
        return [(name, additive) for name, additive in every if additive is not None]


# Quantities that repeat with a period, such as a strike of 0° and 360°: errors by the shorter way
# round.


def with_period(metrics: Metrics, period: float | None) -> Metrics:
    """The metrics of an output whose values repeat with a period; unchanged for None."""
    if period is None:
        return metrics
    return {name: _periodic(metric, period) for name, metric in metrics.items()}


def _periodic(metric: Metric, period: float) -> Metric:
    def of_nearest(compute: Any) -> Any:
        if isinstance(compute, Additive):
            return replace(compute, terms=of_nearest(compute.terms))
        return lambda estimate, truth, *centre: compute(
            nearest(estimate, truth, period), truth, *centre
        )

    moved = replace(metric, compute=of_nearest(metric.compute))
    of_mean = metric.against
    if of_mean is None:
        return moved
    return replace(moved, against=lambda mean: of_nearest(of_mean(mean)))

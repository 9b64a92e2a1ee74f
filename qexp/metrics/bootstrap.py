"""Bootstrap intervals of a metric over a few held-out rows, resampled by row or by group.

Rows of one group are not independent: if rows belong to groups, whole groups are resampled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.metrics.meaning import HIGHEST
from qexp.metrics.metric import Additive, Array, Metric, Metrics, Sums
from qexp.seeds import Seeds

Interval = tuple[float, float]

LEVEL = 0.95
DRAWS, FEWEST_DRAWS = 9999, 999
MOST_DRAWN = 10**8
"""Values that are resampled in all, at most: from large tables fewer resamples are drawn."""
FEW = 2000
"""With more rows or groups, the bias and skewness that BCa corrects are small, and its jackknife is slow."""


@dataclass(frozen=True)
class Difference:
    """The difference of a metric between two estimators over the same rows, with its interval."""

    value: float
    interval: Interval | None

    @property
    def excludes_zero(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def interval(
    metric: Metric, estimate: ArrayLike, truth: ArrayLike, seed: int, groups: ArrayLike | None = None
) -> Interval | None:
    """The 95 % interval of an additive metric over held-out rows.

    None if there are fewer than two rows (or groups), or if the metric is undefined for too many resamples, as R² is
    for a constant truth; if it is undefined for few, these count as the worst value of the others.

    estimate, truth, groups  (row,)

    Bias-corrected and accelerated (BCa: Efron 1987, J. Am. Stat. Assoc. 82, 171-185); for many rows, or where BCa does
    not exist, the quantiles of the resamples. For 55 normal errors it contains the true RMSE in 93 of 100 cases; in
    fewer if a few errors are much larger than the others, since a sample may lack such outliers.
    """
    one = _numbers(estimate, truth)
    return _interval(_worst_if_undefined(metric), [_additive(metric).centred(*one)], len(one[0]), seed, groups)


def _worst_if_undefined(metric: Metric) -> Callable[[list[list[Array]], Array], Array]:
    """The metric of one estimator as a function of its sums and the number of values; the worst value for NaN."""
    additive = _additive(metric)
    worst = -np.inf if metric.best == HIGHEST else np.inf

    def value(sums: list[list[Array]], rows: Array) -> Array:
        values = np.asarray(additive.value(sums[0], rows))
        return np.where(np.isnan(values), worst, values)

    return value


def intervals_over_pieces(pieces: Sequence[Sums], seed: int) -> dict[str, Interval | None]:
    """Metric → its interval over pieces of data, such as folders, of which only the sums are known.

    Whole pieces are resampled, as groups are; there are no intervals over fewer than two pieces with values.
    """
    known = [piece for piece in pieces if piece.totals]
    found: dict[str, Interval | None] = {}
    for name, metric in known[0].metrics.items() if known else ():
        if metric.additive is not None:
            size = np.array([piece.totals[name][0] for piece in known], dtype=np.float64)
            sums = np.array([piece.totals[name][1] for piece in known], dtype=np.float64)
            found[name] = _of_units(_worst_if_undefined(metric), [list(sums.T)], size, seed)
    return found


def intervals(
    metrics: Metrics, estimate: ArrayLike, truth: ArrayLike, seed: int, groups: ArrayLike | None = None
) -> dict[str, Interval | None]:
    """Metric → its interval, for all additive ones."""
    return {
        name: interval(metric, estimate, truth, seed, groups)
        for name, metric in metrics.items()
        if metric.additive is not None
    }


def difference(
    metric: Metric, first: ArrayLike, second: ArrayLike, truth: ArrayLike, seed: int, groups: ArrayLike | None = None
) -> Difference:
    """The metric of the first estimator minus that of the second, in each resample over the same rows."""
    additive = _additive(metric)
    terms = [additive.centred(*_numbers(estimate, truth)) for estimate in (first, second)]
    rows = len(terms[0][0])

    def value(sums: list[list[Array]], number: Array) -> Array:
        one, other = (np.asarray(additive.value(of_one, number)) for of_one in sums)
        return np.asarray(one - other)

    values = [additive.of_sums(rows, [term.sum() for term in of_one]) for of_one in terms]
    return Difference(values[0] - values[1], _interval(value, terms, rows, seed, groups))


def _additive(metric: Metric) -> Additive:
    if metric.additive is None:
        raise ValueError("a bootstrap interval needs an additive metric")
    return metric.additive


def _numbers(estimate: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    estimated, true = np.asarray(estimate, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if estimated.ndim != 1 or estimated.shape != true.shape or not len(true):
        raise ValueError(f"estimates {estimated.shape} and truth {true.shape} must be (row,), with a row at least")
    missing = np.flatnonzero(~np.isfinite(estimated) | ~np.isfinite(true))
    if len(missing):
        raise ValueError(
            f"row {missing[0]} and {len(missing) - 1} more have no finite estimate or truth; leave them out"
        )
    return estimated, true


def _interval(
    value: Callable[[list[list[Array]], Array], Array],
    estimators: Sequence[Sequence[Array]],
    rows: int,
    seed: int,
    groups: ArrayLike | None,
) -> Interval | None:
    """The interval of a function of sums over rows.

    value       sums of each estimator's terms, number of rows → the number whose interval is computed
    estimators  the terms of each estimator, (row,)
    """
    unit = np.arange(rows) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(unit) != rows:
        raise ValueError(f"{len(unit)} groups for {rows} rows; each row needs its group")
    units = int(unit.max()) + 1
    size = np.bincount(unit, minlength=units).astype(np.float64)
    totals: list[list[Array]] = [
        [np.bincount(unit, weights=term, minlength=units).astype(np.float64) for term in terms] for terms in estimators
    ]
    return _of_units(value, totals, size, seed)


def _of_units(
    value: Callable[[list[list[Array]], Array], Array], totals: Sequence[Sequence[Array]], size: Array, seed: int
) -> Interval | None:
    """The interval of a function of sums, with whole units resampled.

    totals  the sums of each estimator's terms over each unit, (unit,)
    size    the number of values of each unit, (unit,)
    """
    units = len(size)
    if units < 2:
        return None

    def statistic(drawn: NDArray[np.int64], axis: int = -1) -> Array:
        number = size[drawn].sum(axis=axis)
        with np.errstate(divide="ignore", invalid="ignore"):
            return value([[total[drawn].sum(axis=axis) for total in terms] for terms in totals], number)

    return _quantiles(statistic, units, Seeds(seed).numpy("bootstrap"))


def _quantiles(statistic: Callable[..., Array], units: int, random: np.random.Generator) -> Interval | None:
    import scipy.stats  # slow to load; listing commands do not need it

    draws = int(np.clip(MOST_DRAWN // units, FEWEST_DRAWS, DRAWS))
    bootstrapped = None
    for method in ("BCa", "percentile") if units <= FEW else ("percentile",):
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            # If all resamples are equal, as for perfect estimates, there is no BCa interval, but there are quantiles.
            warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
            bootstrapped = scipy.stats.bootstrap(
                (np.arange(units),), statistic, vectorized=True, paired=False, n_resamples=0 if bootstrapped else draws,
                batch=max(1, 10**7 // units), confidence_level=LEVEL, method=method, rng=random,
                bootstrap_result=bootstrapped,
            )  # fmt: skip
        low, high = (float(end) for end in bootstrapped.confidence_interval)
        if np.isfinite(low) and np.isfinite(high):
            return low, high
    return None

"""How far a metric over a few held-out rows can be trusted: bootstrap intervals, over rows or over whole groups.

Rows of one group resemble each other, so that a hundred of them are not a hundred witnesses: where rows belong to
groups, groups are drawn, with all their rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.seeds import Seeds
from qexp.tables import suggestion

Array = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
DRAWS, FEWEST_DRAWS = 9999, 999
MOST_DRAWN = 10**8
"""Of large tables fewer resamples are drawn, so many values of rows in all."""
FEW = 2000
"""Of more rows or groups the bias and skewness that BCa corrects are small, and its jackknife is not cheap."""


@dataclass(frozen=True)
class _Sums:
    """A metric as a function of sums over rows, of which those of any resample are added up quickly."""

    terms: Callable[[Array, Array], list[Array]]
    """error, truth → what is summed, each (row,)."""
    value: Callable[[list[Array], Array], Array]
    """Sums, number of rows → the metric."""


def _r2(sums: list[Array], rows: Array) -> Array:
    squared_errors, truth, squared_truth = sums
    return 1 - squared_errors / (squared_truth - truth**2 / rows)


_METRICS: dict[str, _Sums] = {
    "mae": _Sums(lambda error, truth: [np.abs(error)], lambda sums, rows: sums[0] / rows),
    "mse": _Sums(lambda error, truth: [error**2], lambda sums, rows: sums[0] / rows),
    "rmse": _Sums(lambda error, truth: [error**2], lambda sums, rows: np.sqrt(sums[0] / rows)),
    "bias": _Sums(lambda error, truth: [error], lambda sums, rows: sums[0] / rows),
    "r2": _Sums(lambda error, truth: [error**2, truth - truth.mean(), (truth - truth.mean()) ** 2], _r2),
    "mre": _Sums(lambda error, truth: [100 * np.abs(error / truth)], lambda sums, rows: sums[0] / rows),
}

HAVE_INTERVALS = tuple(_METRICS)


@dataclass(frozen=True)
class Difference:
    """How much greater a metric is of one estimator than of another, over the same rows."""

    value: float
    interval: Interval | None

    @property
    def excludes_zero(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def interval(
    metric: str, estimate: ArrayLike, truth: ArrayLike, seed: int, groups: ArrayLike | None = None
) -> Interval | None:
    """The 95 % interval of a metric over rows that were held out; None if there are not two rows (or groups) to draw,
    or where some resamples have no R² because their truth is constant.

    estimate, truth, groups  (row,)

    Bias-corrected and accelerated (BCa: Efron 1987, J. Am. Stat. Assoc. 82, 171-185), of many rows or where that does
    not exist the quantiles of the resamples. Of 55 normal errors it holds the true RMSE in 93 cases of 100, and in
    fewer where a few errors are much larger than the others: a sample cannot tell of outliers that it has not seen.
    """
    one = _numbers(estimate, truth)
    return _interval(_sums_of(metric), [_terms(metric, *one)], len(one[0]), seed, groups)


def intervals(
    metrics: Iterable[str], estimate: ArrayLike, truth: ArrayLike, seed: int, groups: ArrayLike | None = None
) -> dict[str, Interval | None]:
    """The intervals of those of the metrics that have one."""
    return {name: interval(name, estimate, truth, seed, groups) for name in metrics if name in _METRICS}


def difference(
    metric: str, first: ArrayLike, second: ArrayLike, truth: ArrayLike, seed: int, groups: ArrayLike | None = None
) -> Difference:
    """The metric of the first estimator minus that of the second, in each resample over the same rows."""
    one, other = _numbers(first, truth), _numbers(second, truth)
    terms = [_terms(metric, *one), _terms(metric, *other)]
    sums = _sums_of(metric)
    rows = np.array(float(len(one[0])))
    values = [float(sums.value([np.asarray(term.sum()) for term in of_one], rows)) for of_one in terms]
    return Difference(values[0] - values[1], _interval(sums, terms, len(one[0]), seed, groups))


def _sums_of(metric: str) -> _Sums:
    if metric not in _METRICS:
        raise ValueError(f"no bootstrap interval of '{metric}'; {suggestion(metric, _METRICS)}")
    return _METRICS[metric]


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


def _terms(metric: str, estimate: Array, truth: Array) -> list[Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _sums_of(metric).terms(estimate - truth, truth)


def _interval(
    sums: _Sums, estimators: list[list[Array]], rows: int, seed: int, groups: ArrayLike | None
) -> Interval | None:
    """Of a metric, or of the difference of two estimators."""
    unit = np.arange(rows) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(unit) != rows:
        raise ValueError(f"{len(unit)} groups for {rows} rows; each row needs its group")
    units = int(unit.max()) + 1
    if units < 2:
        return None
    size = np.bincount(unit, minlength=units).astype(np.float64)
    totals = [[np.bincount(unit, weights=term, minlength=units) for term in terms] for terms in estimators]

    def statistic(drawn: NDArray[np.int64], axis: int = -1) -> Array:
        number = size[drawn].sum(axis=axis)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = [sums.value([total[drawn].sum(axis=axis) for total in terms], number) for terms in totals]
        return values[0] - values[1] if len(values) == 2 else values[0]

    return _quantiles(statistic, units, Seeds(seed).numpy("bootstrap"))


def _quantiles(statistic: Callable[..., Array], units: int, random: np.random.Generator) -> Interval | None:
    import scipy.stats  # slow to load, which listing commands should not wait for

    draws = int(np.clip(MOST_DRAWN // units, FEWEST_DRAWS, DRAWS))
    bootstrapped = None
    for method in ("BCa", "percentile") if units <= FEW else ("percentile",):
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            # Where all resamples are the same, as of a perfect estimate, there is no BCa interval, but quantiles.
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

"""Intervals of metrics: over held-out rows by the jackknife, over a few numbers by Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from qexp.base.arrays import Array
from qexp.metrics.conformal import Scale
from qexp.metrics.meaning import DIGITS_KEPT
from qexp.metrics.metric import Additive, Metric, Metrics, Sums

LEVEL = 0.95
"""Confidence level: the fraction of such intervals that contain the true mean."""


@dataclass(frozen=True)
class Estimate:
    """The mean of a sample, and its uncertainty."""

    n: int
    mean: float
    standard_deviation: float | None
    """Sample standard deviation, with n − 1; None for one value, or a difference of two means."""
    interval: tuple[float, float] | None
    """Confidence interval of the mean, at `LEVEL`; None for a single value."""
    least: float
    greatest: float
    standard_error: float | None
    """Of the mean; None for a single value."""
    degrees: float
    """Degrees of freedom of the standard error."""

    @property
    def excludes_zero(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def estimate(
    values: Sequence[float], limits: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Mean, sample standard deviation and Student's interval of the mean.

    values  (n,), finite, at least one
    limits  between which the mean lies in any case: an interval of errors ends at 0, which takes
            nothing true from it
    The interval is mean ± t · s / √n, t being the quantile of Student's distribution with n − 1
    degrees of freedom: it contains the true mean with probability `LEVEL` if the values are
    normally distributed. For differences between pairs it corresponds to the paired t-test. Student
    (1908), Biometrika 6, 1-25.
    """
    n = len(values)
    # The statistics module sums exactly: equal values have a deviation of exactly 0.
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if n > 1 else None
    error, interval = None, None
    if deviation is not None:
        error = deviation / math.sqrt(n)
        half_width = quantile((1 + LEVEL) / 2, n - 1) * error
        interval = (max(mean - half_width, limits[0]), min(mean + half_width, limits[1]))
    return Estimate(
        n,
        mean,
        deviation,
        interval,
        min(values),
        max(values),
        error,
        n - 1,
    )


def difference_of_means(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The mean of a sample minus that of another one, which is independent of it, and Welch's
    interval.

    first, second  (n,), finite, at least two each; their variances may differ
    The degrees of freedom are those of Welch and Satterthwaite (Welch 1947, Biometrika 34, 28-35),
    and 1 for two values beside more, where they would be too many: for normal values, 2 to 20 each,
    and a ratio of standard deviations up to 10, such an interval contains the true difference in 93
    to 98 of 100 cases, or in more for two beside more.
    """
    one = estimate(first)
    other = estimate(second)
    variances = [(each.standard_error or 0.0) ** 2 for each in (one, other)]
    mean = one.mean - other.mean
    error = math.sqrt(sum(variances))
    degrees = one.degrees + other.degrees
    if min(one.n, other.n) == 2 < max(one.n, other.n):
        degrees = 1.0
    elif error:
        degrees = sum(variances) ** 2 / (
            variances[0] ** 2 / one.degrees + variances[1] ** 2 / other.degrees
        )
    ends = one.least - other.greatest, one.greatest - other.least
    return simultaneous(Estimate(one.n + other.n, mean, None, None, *ends, error, degrees), 1)


def simultaneous(estimate: Estimate, comparisons: int) -> Estimate:
    """An estimate with an interval that holds together with those of others, all with probability
    `LEVEL`.

    comparisons  number of intervals, each of which then has the level 1 − (1 − LEVEL) / comparisons
                 (Bonferroni; Dunn 1961, J. Am. Stat. Assoc. 56, 52-64)
    """
    if estimate.standard_error is None:
        return estimate
    half_width = (
        quantile(1 - (1 - LEVEL) / comparisons / 2, estimate.degrees) * estimate.standard_error
    )
    return replace(estimate, interval=(estimate.mean - half_width, estimate.mean + half_width))


def quantile(probability: float, degrees_of_freedom: float) -> float:
    """The quantile of Student's t distribution."""
    from scipy.stats import t  # takes half a second to load; listing commands do not need it

    return float(t.ppf(probability, degrees_of_freedom))


# Confidence intervals of a metric over a few held-out rows, from its values without each row or
# each group.
#
# Rows of one group are not independent: if rows belong to groups, whole groups are left out.

Interval = tuple[float, float]


PLAIN = Scale()
LOGARITHMIC = Scale(np.log, np.exp)
BELOW_ONE = Scale(lambda values: np.log(1 - values), lambda values: 1 - np.exp(values))
"""Scales on which errors of metrics are nearly normal."""


def interval(
    metric: Metric, estimate: ArrayLike, truth: ArrayLike, groups: ArrayLike | None = None
) -> Interval | None:
    """The 95 % interval of an additive metric over held-out rows.

    None if there are fewer than two rows (or groups), or if the metric is undefined without one of
    them, as R² is for a constant truth, or an error of a row without an estimate.

    estimate, truth, groups  (row,)

    The jackknife's estimate of bias and standard error (Efron 1982, The Jackknife, the Bootstrap
    and Other Resampling Plans, ch. 2 and 3) with Student's t. Errors are taken on a logarithmic
    scale, metrics such as R² by what is missing to 1, so that no end lies below zero or above one.
    For normal errors, 3 to 55 equal groups or rows, such an interval contains the true RMSE, MAE or
    R² in 91 to 96 of 100 cases; for errors with heavy tails (Student's t with three degrees of
    freedom) the true RMSE in 77 to 85 only, since a sample may lack the outliers. Of classes, 40 to
    1,000 rows, it contains the true accuracy, score or area in 91 to 98 of 100 cases; of 30 rows of
    which one or two belong to a rare class, a balanced accuracy in 57 and a log score in 84.
    """
    size, totals = _of_groups([_additive(metric).centred(estimate, truth)], groups)
    return _interval(metric, totals[0], size)


def intervals(
    metrics: Metrics, estimate: ArrayLike, truth: ArrayLike, groups: ArrayLike | None = None
) -> dict[str, Interval | None]:
    """Metric → its interval, for all that are additive, or nearly so."""
    ends = {}
    for name, metric in metrics.items():
        if (metric.additive or metric.to_first_order) is not None:
            ends[name] = interval(metric, estimate, truth, groups)
    return ends


def intervals_over_pieces(pieces: Sequence[Sums]) -> dict[str, Interval | None]:
    """Metric → its interval over pieces of data, such as folders, of which only the sums are known.

    Whole pieces are left out, as groups are; there are no intervals over fewer than two pieces with
    values.
    """
    filled = [piece for piece in pieces if piece.totals]
    ends: dict[str, Interval | None] = {}
    for name, metric in filled[0].metrics.items() if filled else ():
        if metric.additive is not None:
            size = np.array([piece.totals[name][0] for piece in filled], dtype=np.float64)
            sums = np.array([piece.totals[name][1] for piece in filled], dtype=np.float64)
            ends[name] = _interval(metric, list(sums.T), size)
    return ends


def difference(
    metric: Metric,
    first: ArrayLike,
    second: ArrayLike,
    truth: ArrayLike,
    groups: ArrayLike | None = None,
) -> tuple[float, Interval | None]:
    """The metric of the first estimator minus that of the second, on the same rows."""
    additive = _additive(metric)
    size, totals = _of_groups(
        [additive.centred(estimate, truth) for estimate in (first, second)], groups
    )
    (value, left), (other, other_left) = (_values(additive, sums, size) for sums in totals)
    return value - other, _ends(value - other, left - other_left, size, PLAIN)


def _additive(metric: Metric) -> Additive:
    additive = metric.additive or metric.to_first_order
    if additive is None:
        raise ValueError("an interval needs an additive metric")
    return additive


def _of_groups(
    estimators: Sequence[Sequence[Array]], groups: ArrayLike | None
) -> tuple[Array, list[list[Array]]]:
    """The number of rows of each group, (group,), and for each estimator the sums of its terms,
    each (group,).

    estimators  the terms of each, (row,); without groups each row is one
    """
    rows = np.arange(len(estimators[0][0]))
    group = rows if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    size = np.bincount(group).astype(np.float64)
    totals = []
    for terms in estimators:
        totals.append([np.bincount(group, weights=term).astype(np.float64) for term in terms])
    return size, totals


def _values(additive: Additive, sums: Sequence[Array], size: Array) -> tuple[float, Array]:
    """The metric of all groups, and of all but each, (group,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        others = [total.sum() - total for total in sums]
        left = additive.value(others, size.sum() - size)
    whole = [total.sum() for total in sums]
    value = additive.of_sums(int(size.sum()), whole)
    return value, np.asarray(left, dtype=np.float64)


def _interval(metric: Metric, sums: Sequence[Array], size: Array) -> Interval | None:
    value, left = _values(_additive(metric), sums, size)
    values = np.append(left, value)
    least, greatest = metric.meaning.limits(values.tolist())
    if least == 0 and metric.meaning.limits([value])[1] == 1:
        return _of_share(value, left, size)
    scale = PLAIN
    if metric.corrected:  # a bias that is gone already is not estimated again
        left = left - left.mean() + value
    elif least == 0 and values.all():
        scale = LOGARITHMIC
    elif greatest == 1 and (values < 1).all():
        scale = BELOW_ONE
    ends = _ends(value, left, size, scale)
    return None if ends is None else (max(ends[0], least), min(ends[1], greatest))


def _ends(value: float, left: Array, size: Array, scale: Scale) -> Interval | None:
    """The interval of a number, given those that are left without each of the groups, (group,).

    Groups of n rows each count as (Σ n)² / Σ n² of equal size (Kish 1965, Survey Sampling).
    """
    groups = len(left)
    if not _known(value, left):
        return None
    if np.ptp(left) <= 1e-12 * abs(value):
        return value, value
    scaled = scale.forward(left)
    centre = groups * scale.forward(np.array([value]))[0] - (groups - 1) * scaled.mean()
    error = math.sqrt((groups - 1) / groups * np.square(scaled - scaled.mean()).sum())
    half_width = quantile((1 + LEVEL) / 2, max(1.0, _effective(size) - 1)) * error
    with np.errstate(over="ignore"):
        ends = scale.inverse(np.array([centre - half_width, centre + half_width]))
        low, high = sorted(map(float, ends))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _known(value: float, left: Array) -> bool:
    return len(left) > 1 and bool(np.isfinite(left).all()) and math.isfinite(value)


def _effective(size: Array) -> float:
    """The number of groups of equal size that groups of these sizes are worth."""
    return float(size.sum() ** 2 / np.square(size).sum())


def _of_share(value: float, left: Array, size: Array) -> Interval | None:
    """The interval of a share of samples, such as an accuracy, between 0 and 1.

    It is that of Clopper and Pearson (1934) for as many independent samples as have the jackknife's
    standard error (Korn and Graubard 1998, Survey Methodology 24, 193-201), so that 30 right ones
    of 30 do not promise that all are.
    """
    from scipy.special import betaincinv

    if not _known(value, left):
        return None
    groups = _effective(size)
    variance = (len(left) - 1) ** 2 / len(left) * float(left.var(ddof=1))
    samples = groups if variance < DIGITS_KEPT else value * (1 - value) / variance
    level = (1 + LEVEL) / 2
    samples *= (quantile(level, math.inf) / quantile(level, max(1.0, groups - 1))) ** 2
    hits = value * samples
    low = betaincinv(hits, samples - hits + 1, 1 - level) if value > 0 else 0.0
    high = betaincinv(hits + 1, samples - hits, level) if value < 1 else 1.0
    return float(low), float(high)

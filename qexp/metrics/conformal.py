"""Conformal intervals: how wrong held-out estimates were says how wrong a new one may be.

A score says how wrong an estimate was that was held out: its absolute error, on a scale on which
intervals are symmetrical, or how far the truth lies outside of an interval that was estimated
(negative inside). If units (single rows, or groups such as the cores that are held out together)
are exchangeable, a new unit is as likely to have any rank among n known ones: so n scores hold with
probability `coverage` if the quantile is taken at ⌈coverage · (n + 1)⌉ of them, whatever the
distribution of the errors and however poor the estimates.

Papadopoulos et al. (2002), ECML, 345-356; Lei et al. (2018), J. Am. Stat. Assoc. 113, 1094-1111.
Of intervals: Romano, Patterson and Candès (2019), Conformalized quantile regression, NeurIPS,
arXiv:1905.03222. Of groups: Lee, Barber and Willett (2023), arXiv:2306.06342.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.base.arrays import Array
from qexp.base.quantities import nearest

ROUNDING = 1e-9
"""Sums of weights that fall short of a coverage by no more than this reach it."""


def promised(units: int) -> float:
    """The largest coverage that a number of exchangeable units can promise for a new one: n / (n +
    1).

    It is that of the largest score; a larger coverage would need an infinite interval.
    """
    return units / (units + 1)


def weights(units: NDArray[np.int64]) -> Array:
    """The weight of each score, (score,): every unit has 1 / (n + 1), shared equally by its scores.

    The rest, 1 / (n + 1), belongs to the new unit, whose scores may be of any size.

    units  the unit of each score, (score,), as numbers from 0
    """
    counts = np.bincount(units)
    return np.asarray(1 / (counts[units] * (np.count_nonzero(counts) + 1)), dtype=np.float64)


def quantile(scores: Array, weight: Array, coverage: float) -> Array:
    """The least value that scores with a weight of at least `coverage` do not exceed; infinite if
    all have less.

    scores   (..., score)
    weight   (score,), see `weights`
    returns  (...)
    """
    if np.ptp(weight) == 0:
        rank = int(np.ceil((coverage - ROUNDING) / weight[0]))
        if rank > len(weight):
            return np.full(scores.shape[:-1], np.inf)
        return np.asarray(np.partition(scores, rank - 1, axis=-1)[..., rank - 1])
    order = np.argsort(scores, axis=-1)
    reached = np.cumsum(weight[order], axis=-1) >= coverage - ROUNDING
    first = np.take_along_axis(order, np.argmax(reached, axis=-1)[..., None], axis=-1)
    return np.where(reached[..., -1], np.take_along_axis(scores, first, axis=-1)[..., 0], np.inf)


def of_others(scores: Array, units: NDArray[np.int64], coverage: float) -> Array:
    """For each score the quantile of the scores of all other units, (score,); infinite if there are
    too few.

    So a held-out estimate gets its interval as a new one would: its own error, and those of its
    group, say nothing.
    """
    counts = np.bincount(units)
    present = np.flatnonzero(counts)
    order = np.argsort(scores, kind="stable")
    # every score is a unit: one of two neighbouring ranks, by where its own lies
    if len(present) == len(scores):
        wanted = int(np.ceil(len(scores) * (coverage - ROUNDING)))
        if wanted >= len(scores):
            return np.full(len(scores), np.inf)
        quantiles = np.full(len(scores), scores[order[wanted - 1]])
        quantiles[order[:wanted]] = scores[order[wanted]]
        return quantiles
    share = (1 / (np.maximum(counts, 1) * len(present)))[units[order]]
    quantiles = np.empty_like(scores)
    for unit in present:
        others = units[order] != unit
        reached = np.cumsum(share * others) >= coverage - ROUNDING
        quantiles[units == unit] = scores[order[np.argmax(reached)]] if reached[-1] else np.inf
    return quantiles


def cross_interval(
    lower: Array,
    upper: Array,
    scores: Array,
    fold: NDArray[np.int64],
    weight: Array,
    coverage: float,
) -> tuple[Array, Array]:
    """The interval of new rows from the estimates of all folds: CV+, and jackknife+ where each fold
    holds one row out.

    Each score is laid around the interval of the fold that it comes from, so that intervals are
    wider where the folds disagree. Both ends of such an interval are the estimate where scores are
    absolute errors. It covers a new row with at least 2 · coverage - 1, whatever the networks, and
    close to `coverage` unless they are unstable: Barber et al. (2021), Ann. Stat. 49, 486-507; of
    groups as in `weights`.

    lower, upper  (fold, row), on the scale of the scores
    scores        (score,), and the fold of each
    returns       lower and upper end, (row,) each; infinite if there are too few scores
    """
    low = lower[fold].T
    high = upper[fold].T
    return uncrossed(
        -quantile(scores - low, weight, coverage), quantile(scores + high, weight, coverage)
    )


def uncrossed(low: Array, high: Array) -> tuple[Array, Array]:
    """Intervals; where negative scores let the ends pass each other, the point in between."""
    crossed = low > high
    middle = np.where(crossed, low, 0) / 2 + np.where(crossed, high, 0) / 2
    return np.where(crossed, middle, low), np.where(crossed, middle, high)


def thinned(
    scores: Array, fold: NDArray[np.int64], weight: Array, most: int, coverage: float
) -> tuple[Array, NDArray[np.int64], Array]:
    """About `most` scores, or two per fold if that is more, in place of many: scores, folds and
    weights.

    Of each fold evenly spaced quantiles are kept, and that of the coverage, each with the weight of
    the scores up to it. So intervals are never narrower than by all scores, and hardly wider where
    the folds agree.
    """
    if len(scores) <= most:
        return scores, fold, weight
    folds = np.unique(fold)
    each = max(1, most // len(folds) - 1)
    levels = np.union1d(np.arange(1, each + 1) / each, min(coverage / weight.sum(), 1.0))
    parts: list[tuple[Array, NDArray[np.int64], Array]] = []
    for number in folds:
        rows = np.flatnonzero(fold == number)
        rows = rows[np.argsort(scores[rows], kind="stable")]
        total = np.cumsum(weight[rows])
        ends = np.unique(
            np.minimum(np.searchsorted(total, total[-1] * (levels - ROUNDING)), len(rows) - 1)
        )
        parts.append(
            (scores[rows[ends]], np.full(len(ends), number), np.diff(total[ends], prepend=0.0))
        )
    fewer, folds, weights = (np.concatenate(values) for values in zip(*parts, strict=True))
    return fewer, folds, weights


# Sets of classes. The score of a row is the probability of its true class, with a minus: the more
# probable, the less wrong. If probabilities are right, no other sets that hold as often are smaller
# on average, and nothing is drawn (Sadinle, Lei and Wasserman 2019, J. Am. Stat. Assoc. 114,
# 223-234); sets by sums of probabilities (Romano, Sesia and Candès 2020, NeurIPS) are larger, and
# hold nearly as often for hard rows as for easy ones.


def class_threshold(
    probabilities: Array, codes: Array, groups: ArrayLike | None, coverage: float
) -> float:
    """The probability from which classes belong to a set that holds a new row's true class with at
    least `coverage`; minus infinity, for all classes, if there are too few units.

    probabilities  of held-out rows, (row, class)
    codes          their true classes, (row,); NaN: unknown, which does not count
    groups         (row,) the unit of each row; None: each is one
    """
    known = np.flatnonzero(np.isfinite(codes) & np.isfinite(probabilities).all(axis=1))
    if not known.size:
        return -np.inf
    scores = -probabilities[known, codes[known].astype(np.int64)]
    units = known if groups is None else np.asarray(groups)[known]
    weight = weights(np.unique(units, return_inverse=True)[1])
    return -float(quantile(scores, weight, coverage))


def class_sets(probabilities: Array, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Which classes belong to the set of each row, (row, class): the likeliest one always does.

    threshold  see `class_threshold`; a number, or one per row, (row, 1)
    """
    likeliest = probabilities.max(axis=1, keepdims=True)
    return np.asarray(probabilities >= np.minimum(threshold, likeliest))


# The scale on which an output's errors are compared and its intervals are symmetrical.


def unchanged(values: Array) -> Array:
    return values


@dataclass(frozen=True)
class Scale:
    """A monotonic function of an output and its inverse, such as a logarithm: intervals of factors,
    not of sums.

    low, high  limits of the output in its own unit; None: no limit on that side
    period     after which its values repeat, if they do
    """

    forward: Callable[[Array], Array] = unchanged
    inverse: Callable[[Array], Array] = unchanged
    low: float | None = None
    high: float | None = None
    period: float | None = None

    def scores(self, low: ArrayLike, high: ArrayLike, truth: ArrayLike) -> Array:
        """How far true values lie outside of intervals on this scale, (row,); negative inside,
        infinite without one.

        The ends of both sides are the estimate for an absolute error.
        """
        true = np.asarray(truth, dtype=np.float64)
        lower, upper = self.forwarded(
            nearest(low, true, self.period), nearest(high, true, self.period)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = self.forward(true)
            distance = np.maximum(lower - scaled, scaled - upper)
        return np.where(np.isnan(distance), np.inf, distance)

    def forwarded(self, low: ArrayLike, high: ArrayLike) -> tuple[Array, Array]:
        """The ends of intervals in the output's own unit on this scale, the lower one first."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ends = [self.forward(np.asarray(end, dtype=np.float64)) for end in (low, high)]
        return np.minimum(*ends), np.maximum(*ends)

    def ends(self, low: Array, high: Array) -> tuple[Array, Array]:
        """An interval on this scale in the output's own unit, within its limits, ends in order."""
        with np.errstate(over="ignore", invalid="ignore"):
            ends = self.inverse(low), self.inverse(high)
        lower = np.minimum(*ends)
        upper = np.maximum(*ends)
        if self.low is None and self.high is None:
            return lower, upper
        return np.clip(lower, self.low, self.high), np.clip(upper, self.low, self.high)

    def around(self, low: ArrayLike, high: ArrayLike, radius: Array) -> tuple[Array, Array]:
        """Intervals whose ends move outwards by radii on this scale, (row,), if not negative."""
        lower, upper = self.forwarded(low, high)
        return self.ends(*uncrossed(lower - radius, upper + radius))

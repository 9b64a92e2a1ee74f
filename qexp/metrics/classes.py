"""Metrics of classes: how good probabilities of classes are, given the true ones.

An estimate is a row of probabilities per sample, (sample, class), that sum to one; a truth is the
code of its class, (sample,) or (sample, 1): 0, 1, … in the order of the columns. The likeliest
class is the first of those with the largest probability. A sample with a probability that is not a
number makes a metric NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.metrics.metric import Additive

LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Probabilities below it count as this one in a log score, since files and networks have single
precision; a class that was said to be impossible costs 87.3.
"""

BINS = 10
"""Bins of equal width in which confidence is compared with accuracy."""


def _mean(sums: Sequence[Any], count: Any) -> Any:
    return sums[0] / count


def checked(estimate: Array, truth: Array) -> tuple[Array, Array]:
    """Probabilities, (sample, class), and whether a class is the true one, (sample, class).

    Raises QexpError for other shapes, and for truths that are no codes of the classes.
    """
    codes = truth.reshape(len(truth), -1)
    if estimate.ndim != 2 or estimate.shape[1] < 2 or codes.shape != (len(estimate), 1):
        raise QexpError(
            "metrics of classes need probabilities (sample, class) of at least two classes and a"
            f" code per sample, not {estimate.shape} and {truth.shape}"
        )
    classes = np.arange(estimate.shape[1])
    wrong = codes[~np.isin(codes, classes)]
    if wrong.size:
        raise QexpError(
            f"{wrong[0]:g} is no code of a class; those of {len(classes)} classes are 0 to"
            f" {classes[-1]}; leave out samples without a true class"
        )
    return estimate, codes == classes


def _hits(probabilities: Array, is_true: Array) -> Array:
    """1 where the likeliest class is the true one, 0 where it is not, NaN if unknown, (sample,)."""
    likeliest = np.argmax(probabilities, axis=1)[:, None]
    hits = np.take_along_axis(is_true, likeliest, axis=1)[:, 0]
    return np.where(np.isnan(probabilities).any(axis=1), np.nan, hits)


def _scored(score: Callable[[Array, Array], Array]) -> Additive:
    """The mean of a score of each sample, (sample,), of probabilities and the true classes."""
    return Additive(lambda estimate, truth, centre: [score(*checked(estimate, truth))], _mean)


accuracy = _scored(_hits)
"""Share of samples whose likeliest class is the true one."""


def _surprise(probabilities: Array, is_true: Array) -> Array:
    return np.asarray(-np.log(np.maximum(probabilities[is_true], LEAST_PROBABILITY)))


log_score = _scored(_surprise)
"""Mean negative natural logarithm of the probability of the true class; see `LEAST_PROBABILITY`.

Good (1952), J. R. Stat. Soc. B 14, 107-114.
"""

brier = _scored(lambda probabilities, is_true: np.square(probabilities - is_true).sum(axis=1))
"""Mean over samples of the sum over classes of squared differences to 1 or 0, between 0 and 2.

Brier (1950), Mon. Weather Rev. 78, 1-3.
"""


def _by_class(estimate: Array, truth: Array, centre: float) -> Sequence[Array]:
    probabilities, is_true = checked(estimate, truth)
    return [*(_hits(probabilities, is_true)[:, None] * is_true).T, *is_true.T]


def _over_classes(sums: Sequence[Any], count: Any) -> Any:
    hits, members = np.split(np.stack(sums), 2)
    return _mean_of_defined(hits / members)


def _mean_of_defined(values: Array) -> Array:
    """Mean over the first axis of the values that are not NaN; NaN if all are."""
    defined = ~np.isnan(values)
    return np.asarray(np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0))


balanced_accuracy = Additive(_by_class, _over_classes)
"""Mean over the true classes that occur of the share of their samples that are recognised."""


def _by_confidence(estimate: Array, truth: Array, centre: float) -> Sequence[Array]:
    probabilities, is_true = checked(estimate, truth)
    hits = _hits(probabilities, is_true)
    confidence = probabilities.max(axis=1)
    place = np.clip(confidence * BINS, 0, BINS - 1)
    inside = np.floor(place)[:, None] == np.arange(BINS)
    terms = [inside * values[:, None] for values in (confidence - hits, hits, np.ones_like(hits))]
    return list(np.concatenate(terms, axis=1).T)


def _miscalibration(sums: Sequence[Any], count: Any) -> Any:
    from scipy.special import ndtr

    excess, hits, members = np.split(np.stack(sums), 3)
    several = members > 1
    share = hits / members
    gap = np.abs(excess / members)
    error = np.sqrt(np.maximum(share * (1 - share) / (members - 1), 0))
    ratio = gap / np.maximum(error, LEAST_PROBABILITY)
    density = np.sqrt(2 / np.pi) * np.exp(-np.square(ratio) / 2)
    expected = error * density + gap * (2 * ndtr(ratio) - 1)
    unbiased = np.where(several, members * (2 * gap - expected), 0).sum(axis=0)
    counted = np.where(several, members, 0).sum(axis=0)
    known = np.isfinite(np.sum(excess, axis=0)) & (counted > 0)
    return np.where(known, np.maximum(unbiased, 0) / counted, np.nan)


calibration_error = Additive(_by_confidence, _miscalibration)
"""Expected calibration error: the mean difference between the confidence in the likeliest class and
how often it is the true one, over `BINS` bins of confidence (Guo et al. 2017, ICML, 1321-1330).

The mean of absolute differences is too large for few samples, 0.06 for 200 of a model that is
right. What the differences of each bin would gain by another error of sampling, normal and as large
as theirs, is subtracted (Kumar, Liang and Ma 2019, NeurIPS, of the mean): E|N(d, s)| − |d|. That
removes all of the excess where confidence is wrong, and half of it where it is right. Bins with a
single sample are not counted.
"""


def _placements(estimate: Array, truth: Array) -> tuple[Array, Array, Array]:
    """Of one class against the rest, class by class: the share of the others that each member is
    more likely than, the share of members that each other is less likely than, ties counting half,
    (class, sample) each and 0 elsewhere; and who is a member.
    """
    probabilities, is_true = checked(estimate, truth)
    of_members, of_others = np.zeros((2, *is_true.T.shape))
    for number, (values, member) in enumerate(zip(probabilities.T, is_true.T, strict=True)):
        inner = np.sort(values[member])
        outer = np.sort(values[~member])
        of_members[number, member] = _share_below(outer, values[member])
        of_others[number, ~member] = 1 - _share_below(inner, values[~member])
    unknown = np.isnan(probabilities).any(axis=1)
    of_members[:, unknown] = of_others[:, unknown] = np.nan
    return of_members, of_others, is_true.T


def _share_below(ascending: Array, values: Array) -> Array:
    """The share of numbers below each of some values, equal ones counting half."""
    sides = np.searchsorted(ascending, values) + np.searchsorted(ascending, values, "right")
    return sides / 2 / len(ascending)


def _areas(estimate: Array, truth: Array, centre: float) -> Sequence[Array]:
    of_members, of_others, member = _placements(estimate, truth)
    area = of_members.sum(axis=1, keepdims=True) / member.sum(axis=1, keepdims=True)
    return [*of_members, *np.where(member, 0, of_others - area), *member.astype(np.float64)]


def _mean_area(sums: Sequence[Any], count: Any) -> Any:
    of_members, of_others, members = np.split(np.stack(sums), 3)
    return _mean_of_defined(of_members / members + of_others / (count - members))


area_to_first_order = Additive(_areas, _mean_area)
"""`area_under_curve` of all samples at once, and to first order that of all but some.

Mean placements of members and of others (DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44,
837-845); with whole groups left out, their clustered form (Obuchowski 1997, Biometrics 53,
567-578).
"""


def area_under_curve(estimate: Array, truth: Array) -> float:
    """Area under the ROC curve of each class against the rest, averaged over classes that occur.

    The probability that a sample of the class is given a larger probability of it than another
    sample, ties counting half. NaN if fewer than two classes occur.
    """
    return area_to_first_order(estimate, truth)

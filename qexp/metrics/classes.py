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
from numpy.typing import ArrayLike, NDArray

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


Membership = NDArray[np.bool_]


def checked(estimate: Array, truth: Array) -> tuple[Array, Membership]:
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


def _hits(probabilities: Array, is_true: Membership) -> Array:
    """1 where the likeliest class is the true one, 0 where it is not, NaN if unknown, (sample,)."""
    likeliest = np.argmax(probabilities, axis=1)
    hits = is_true[np.arange(len(is_true)), likeliest]
    unknown = np.isnan(probabilities).any(axis=1)
    return np.where(unknown, np.nan, hits)


def _scored(score: Callable[[Array, Membership], Array]) -> Additive:
    """The mean of a score of each sample, (sample,), of probabilities and the true classes."""
    return Additive(lambda estimate, truth, centre: [score(*checked(estimate, truth))], _mean)


accuracy = _scored(_hits)
"""Share of samples whose likeliest class is the true one."""


def _surprise(probabilities: Array, is_true: Membership) -> Array:
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
    """Of each bin: confidence less hits, hits, and number of samples."""
    probabilities, is_true = checked(estimate, truth)
    hits = _hits(probabilities, is_true)
    confidence = probabilities.max(axis=1)
    place = np.clip(confidence * BINS, 0, BINS - 1)
    in_bin = np.floor(place) == np.arange(BINS)[:, None]
    excess = in_bin * (confidence - hits)
    return [*excess, *(in_bin * hits), *in_bin]


def _miscalibration(sums: Sequence[Any], count: Any) -> Any:
    """The mean over bins of gaps, less what they would gain by another error of sampling."""
    excess, hits, members = np.split(np.stack(sums), 3)
    share = hits / members
    gap = np.abs(excess / members)
    variance = share * (1 - share) / (members - 1)
    expected = _folded(gap, np.sqrt(np.maximum(variance, 0)))
    weight = np.where(members > 1, members, 0)
    gaps = np.where(members > 1, 2 * gap - expected, 0)
    mean = (weight * gaps).sum(axis=0) / weight.sum(axis=0)
    return np.maximum(mean, 0)


def _folded(mean: Array, deviation: Array) -> Array:
    """The mean absolute value of normal numbers.

    Leone, Nelson and Nottingham (1961), Technometrics 3, 543-550.
    """
    from scipy.special import ndtr

    ratio = mean / np.maximum(deviation, LEAST_PROBABILITY)
    density = np.sqrt(2 / np.pi) * np.exp(-np.square(ratio) / 2)
    return np.asarray(deviation * density + mean * (2 * ndtr(ratio) - 1))


calibration_error = Additive(_by_confidence, _miscalibration)
"""Expected calibration error: the mean difference between the confidence in the likeliest class and
how often it is the true one, over `BINS` bins of confidence (Guo et al. 2017, ICML, 1321-1330).

The mean of absolute differences is too large for few samples, 0.06 for 200 of a model that is
right. What the differences of each bin would gain by another error of sampling, normal and as large
as theirs, is subtracted (Kumar, Liang and Ma 2019, NeurIPS, of the mean): E|N(d, s)| − |d|. That
removes all of the excess where confidence is wrong, and half of it where it is right. Bins with a
single sample are not counted.
"""


def _placements(values: Array, member: Membership) -> Array:
    """Of one class against the rest, (2, sample).

    First the share of the others that each member is more likely than, then the share of members
    that each other is less likely than; ties count half, and the rest is 0.
    """
    placed = np.zeros((2, len(values)))
    inner, outer = values[member], values[~member]
    placed[0, member] = _share_below(outer, inner)
    placed[1, ~member] = 1 - _share_below(inner, outer)
    placed[:, np.isnan(values)] = np.nan
    return placed


def _share_below(numbers: Array, values: Array) -> Array:
    """The share of numbers below each of some values, equal ones counting half."""
    ascending = np.sort(numbers)
    lower = np.searchsorted(ascending, values)
    not_above = np.searchsorted(ascending, values, "right")
    return (lower + not_above) / 2 / len(numbers)


def _areas(estimate: Array, truth: Array, centre: float) -> Sequence[Array]:
    """Of each class: placements of members, those of others less the area, and members."""
    probabilities, is_true = checked(estimate, truth)
    of_members = np.zeros(is_true.T.shape)
    of_others = np.zeros(is_true.T.shape)
    for number, member in enumerate(is_true.T):
        placed = _placements(probabilities[:, number], member)
        area = placed[0].sum() / member.sum()
        of_members[number] = placed[0]
        of_others[number] = np.where(member, 0, placed[1] - area)
    return [*of_members, *of_others, *is_true.T]


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


LEAST_VARIANCE = 3.0
"""Expected variance of the number of samples of a class below which no test is made."""


def reliability(
    stated: Array, is_true: NDArray[np.bool_], groups: ArrayLike | None = None
) -> dict[str, float]:
    """Tests of whether the probabilities of one class, (sample,), are right; empty where too few
    samples could tell.

    groups  samples of one value resemble each other, (sample,): variances are at least those of
            sums over groups, and Student's t has as many degrees of freedom less one
    returns amount_p    p-value of the difference between their sum and the samples of the class
            sureness    above 0 where they are too close to 0 and 1, in standard deviations
            sureness_p  its p-value

    Spiegelhalter (1986), Stat. Med. 5, 421-433, of the Brier score: Σ (y − p)(1 − 2p) has mean 0
    and variance Σ (1 − 2p)² p (1 − p) if p is right.
    """
    from scipy.special import stdtr

    stated = np.clip(stated, LEAST_PROBABILITY, 1 - np.finfo(np.float64).eps)
    variance = stated * (1 - stated)
    if variance.sum() < LEAST_VARIANCE:
        return {}
    number = np.arange(len(stated))
    if groups is not None:
        number = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    count = int(number.max()) + 1
    if count < 2:
        return {}
    scores = []
    for weight in (np.ones_like(stated), 1 - 2 * stated):
        terms = weight * (is_true - stated)
        over_groups = np.bincount(number, weights=terms)
        spread = np.square(over_groups).sum() * count / (count - 1)
        expected = float((weight**2 * variance).sum())
        widest = expected if groups is None else max(expected, float(spread))
        scores.append(float(terms.sum()) / widest**0.5)
    amount_p, sureness_p = (2 * float(stdtr(count - 1, -abs(score))) for score in scores)
    return {"amount_p": amount_p, "sureness": scores[1], "sureness_p": sureness_p}

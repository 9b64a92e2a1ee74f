"""Whether posteriors and intervals are as sure as they claim, and residuals those of the declared
noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtrc, gammaln
from scipy.stats import binom, binomtest, norm, pearson3, poisson, skew

from qexp.base.arrays import Array

PROBABILITIES = (0.5, 0.68, 0.9, 0.95)
"""Probabilities of the intervals and regions that are reported."""

RANGE_LEVEL = 0.95
"""Probability of the range in which the share of calibrated intervals lies."""


@dataclass(frozen=True)
class IntervalShare:
    """The share of true values inside intervals of one probability."""

    probability: float
    share: float
    expected: tuple[float, float]
    """Where the share lies for calibrated intervals, with probability `RANGE_LEVEL`."""
    p_value: float
    """Probability of a number as far from the expected one if calibrated (exact, two-sided)."""


def coverage(covered: NDArray[np.bool_], probability: float) -> IntervalShare:
    """True values inside their intervals, (observation,), beside the binomial distribution."""
    count = len(covered)
    hits = int(covered.sum())
    low, high = expected(count, probability)
    p_value = float(binomtest(hits, count, probability).pvalue)
    return IntervalShare(probability, hits / count, (low / count, high / count), p_value)


def coverages(levels: Array) -> list[IntervalShare]:
    """Shares in the intervals or regions that hold each of `PROBABILITIES`.

    levels  (observation,), the probability in the smallest interval that holds the true value
    """
    return [coverage(levels <= probability, probability) for probability in PROBABILITIES]


def expected(count: int, probability: float) -> tuple[int, int]:
    """How many of `count` intervals hold their true value: a range of probability `RANGE_LEVEL`."""
    tail = (1 - RANGE_LEVEL) / 2
    return int(binom.ppf(tail, count, probability)), int(binom.isf(tail, count, probability))


# Where intervals are too narrow: how many true values they hold in cells, and how that depends on
# coordinates.
#
# Intervals that are calibrated on average can be too narrow for some data and too wide for others.
# Given the data, and so in every cell of coordinates that are computed from the data (such as
# posterior medians), those of right posteriors hold the truth with their probability. In cells of
# the true values they do not: at the ends of the prior the truth lies at the ends of its posterior.

FEW_OBSERVATIONS = 20
"""Observations in a cell below which nothing is said of it."""

ROUNDING = 1e-9

SIGNIFICANT_P = 0.05
"""Probability with which any cell at all is called wrong although all are right."""


@dataclass(frozen=True)
class Cells:
    """True values inside their intervals, counted in cells, along one coordinate or two."""

    probability: float
    """Of the intervals."""
    count: NDArray[np.int64]
    inside: NDArray[np.int64]

    @property
    def few(self) -> NDArray[np.bool_]:
        return np.asarray(self.count < FEW_OBSERVATIONS)

    @property
    def share(self) -> Array:
        """NaN where there are few observations."""
        return np.where(self.few, np.nan, self.inside / np.maximum(self.count, 1))

    @property
    def wrong(self) -> NDArray[np.int64]:
        """-1 where intervals are too narrow, 1 where too wide, beyond chance in so many cells.

        Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian J. of
        Statistics 6, 65-70.
        """
        signs = np.zeros(self.count.shape, dtype=np.int64)
        cells = [tuple(cell) for cell in np.argwhere(~self.few)]
        chances = []
        for cell in cells:
            hits = int(self.inside[cell])
            count = int(self.count[cell])
            chances.append(binomtest(hits, count, self.probability).pvalue)
        for done, index in enumerate(np.argsort(chances, kind="stable")):
            if chances[index] > SIGNIFICANT_P / (len(cells) - done):
                break
            cell = cells[index]
            signs[cell] = 1 if self.inside[cell] > self.probability * self.count[cell] else -1
        return signs


def cells(covered: NDArray[np.bool_], coordinates: Array, number: int, probability: float) -> Cells:
    """Count in cells of equal size.

    covered      (observation,), whether the interval holds the true value
    coordinates  (observation, axis), between 0 and 1: shares of the prior below a value
    number       of cells along each axis
    """
    edges = [np.linspace(0, 1, number + 1)] * coordinates.shape[1]
    count, _ = np.histogramdd(coordinates, edges)
    hits, _ = np.histogramdd(coordinates[covered], edges)
    return Cells(probability, count.astype(np.int64), hits.astype(np.int64))


def cells_along(count: int, axes: int, probability: float) -> int:
    """The number of cells along each axis that shows a coverage that is lower by 0.1 in one."""
    for number in range(10, 2, -1):
        in_each = count // number**axes
        if in_each and probability - expected(in_each, probability)[0] / in_each <= 0.1:
            return number
    return 2


PERMUTATIONS, FEW_PERMUTATIONS = 1000, 10
"""Permutations of a test; if fewer are as extreme, their tail is that of a distribution."""

OBSERVATIONS_PER_TERM = 10
"""Least number of them for each term of a regression with products of coordinates."""


def trend(covered: NDArray[np.bool_], coordinates: Array) -> float:
    """p-value of the hypothesis that whether intervals hold the truth, (observation,), does not
    depend on coordinates, (observation, axis), between 0 and 1: of the sum of squares that a
    quadratic regression explains, or one without products for few observations. Where the share is
    lowest is for cells to say: at the ends of the data the regression extrapolates.

    By permutation, and so exact for any number of observations and axes, where p is at least
    FEW_PERMUTATIONS of PERMUTATIONS; smaller ones by Pearson's distribution of type III with the
    moments of the permutations. Zhao, Dalmasso, Izbicki and Lee (2021), Diagnostics for conditional
    density models and Bayesian inference algorithms, UAI, arXiv:2102.10473; Winkler et al. (2016),
    NeuroImage 141, 502-516, section 2.3, for the tail.
    """
    centred = coordinates - 0.5
    axes = range(coordinates.shape[1])
    pairs = list(combinations_with_replacement(axes, 2))
    if len(centred) < OBSERVATIONS_PER_TERM * (len(axes) + len(pairs)):
        pairs = [(axis, axis) for axis in axes]
    products = [centred[:, first] * centred[:, second] for first, second in pairs]
    terms = np.column_stack([centred, *products])
    basis, sizes, _ = np.linalg.svd(terms - terms.mean(axis=0), full_matrices=False)
    basis = basis[:, sizes > ROUNDING * max(sizes.max(), 1.0)]
    values = covered - covered.mean()
    found = float(np.square(values @ basis).sum())
    chance = np.square(values[_permutations(len(values))] @ basis).sum(axis=1)
    extreme = int((chance >= found * (1 - ROUNDING)).sum())
    share = (1 + extreme) / (1 + PERMUTATIONS)
    if extreme >= FEW_PERMUTATIONS:
        return share
    return min(share, float(pearson3.sf(found, skew(chance), chance.mean(), chance.std())))


@lru_cache(maxsize=1)
def _permutations(count: int) -> NDArray[np.int64]:
    """(permutation, observation), the same for all tests."""
    return np.argsort(np.random.default_rng(0).random((PERMUTATIONS, count)), axis=1)


# Whether residuals are those of the declared noise: tests of whitened residuals, each exact for
# Gaussian noise.

BLOCKS = 8
"""Blocks along each side of the area in which points lie."""

FEWEST_POINTS = 4
"""Points of a block whose residuals are tested by themselves."""


@dataclass(frozen=True)
class Misfit:
    """p-values of the hypothesis that residuals are nothing but the declared noise, (observation,)
    each.

    total   sum of squares of all points: noise that is stronger than declared
    smooth  sum of squares of the blocks' means: what varies over distances as long as a block, as
            another source does
    local   largest sum of squares of a block: a fault in one place, such as an unwrapping error
    logs    logarithms of all three, (3, observation), which tell them apart where they are too
            small for numbers
    """

    total: Array
    smooth: Array
    local: Array
    logs: Array

    @property
    def p_value(self) -> Array:
        """The smallest of the three, times their number (Bonferroni), at most 1."""
        every = np.stack([self.total, self.smooth, self.local])
        return np.asarray(np.minimum(1.0, len(every) * every.min(axis=0)))


def misfit(whitened: Array, blocks: NDArray[np.intp], unknowns: int) -> Misfit:
    """Tests of residuals, (observation, point), in units of the noise and independent of each
    other.

    blocks    (point,)  number of the block that each point lies in, from 0 on; see `blocks_of`
    unknowns  values that were fitted to each observation, among them offsets

    Sums of squares of n independent standard normal numbers follow χ² with n degrees of freedom.
    Fitting takes away from them: `total` counts the unknowns; the two others do not, and are
    conservative by that.
    """
    squares = np.square(whitened)
    degrees = max(whitened.shape[1] - unknowns, 1)
    sums = squares.sum(axis=1)
    total = chdtrc(degrees, sums)
    log_total = log_chdtrc(degrees, sums)
    counts = np.bincount(blocks)
    used = np.flatnonzero(counts >= FEWEST_POINTS)
    if not len(used):
        ones = np.ones(len(whitened))
        return Misfit(total, ones, ones, np.stack([log_total, 0 * ones, 0 * ones]))
    membership = (blocks[:, None] == used).astype(np.float64)
    sizes = counts[used].astype(np.float64)
    means = whitened @ membership / np.sqrt(sizes)
    block_sums = squares @ membership
    largest = chdtrc(sizes, block_sums).min(axis=1)
    smooth = np.square(means).sum(axis=1)
    log_local = np.log(len(used)) + log_chdtrc(sizes, block_sums).min(axis=1)
    return Misfit(
        total=total,
        smooth=chdtrc(len(used), smooth),
        local=-np.expm1(len(used) * np.log1p(-np.minimum(largest, 1 - 1e-16))),
        logs=np.stack([log_total, log_chdtrc(len(used), smooth), log_local]),
    )


def log_chdtrc(degrees: Array | int, chi2: Array | float) -> Array:
    """The logarithm of the probability of a larger χ², also where the probability is too small for
    a number.
    """
    a = np.asarray(degrees) / 2
    x = np.maximum(np.asarray(chi2) / 2, 1e-300)
    far = a * np.log(x) - x - gammaln(a) - np.log(np.maximum(x - a + 1, 1))
    probability = chdtrc(degrees, chi2)
    # Where it is 0, by the first term of a continued fraction.
    return np.asarray(np.where(probability > 0, np.log(np.maximum(probability, 1e-320)), far))


def blocks_of_tracks(positions: Array, tracks: Sequence[slice]) -> NDArray[np.intp]:
    """The block of each point, (point,); each track has its own, also where tracks share positions.

    positions  (point, 2) or more columns, of which the first two count
    """
    blocks, first = [], 0
    for where in tracks:
        numbers = blocks_of(*positions[where, :2].T)
        blocks.append(numbers + first)
        first += int(numbers.max()) + 1
    return np.concatenate(blocks)


def blocks_of(x: Array, y: Array) -> NDArray[np.intp]:
    """The block of each point, (point,), of BLOCKS x BLOCKS over the area in which they lie."""
    numbers = []
    for coordinate in (x, y):
        low = float(coordinate.min())
        high = float(coordinate.max())
        share = (coordinate - low) / (high - low or 1.0)
        numbers.append(np.minimum((share * BLOCKS).astype(np.intp), BLOCKS - 1))
    return numbers[0] * BLOCKS + numbers[1]


# Where true values lie among draws of their posteriors: numbers that are uniform if the posteriors
# are right.


def positions(
    truth: Array, draws: Array, random: np.random.Generator, effective: Array | None = None
) -> Array:
    """The share of draws below each true value, between 0 and 1: uniform if truth and draws have
    one distribution.

    truth      (observation,)
    draws      (observation, draw)
    effective  (observation,), numbers of independent draws that they are worth; all are independent
               if left out. Of others every second, third, ... draw is used
    Ranks have ties, and are whole numbers: both are filled by a uniform random number, which makes
    the distribution of positions exactly uniform for any number of draws.
    Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based calibration,
    arXiv:1804.06788.
    """
    used = np.ones(draws.shape, dtype=bool)
    if effective is not None:
        count = draws.shape[1]
        every = np.ceil(count / np.clip(effective, 1, count)).astype(int)
        used = np.arange(count) % every[:, None] == 0
    lower = np.sum((draws < truth[:, None]) & used, axis=1)
    equal = np.sum((draws == truth[:, None]) & used, axis=1)
    return np.asarray((lower + random.random(len(truth)) * (equal + 1)) / (used.sum(axis=1) + 1))


def density_levels(
    truth: Array, draws: Array, random: np.random.Generator, effective: Array | None = None
) -> Array:
    """The probability in the smallest region of highest density that holds each true value.

    truth  (observation,), log densities of the true values under their posteriors
    draws  (observation, draw), those of the draws
    The region that holds a share of the probability holds the truth in that share of observations,
    if the posteriors are right: the levels are uniform.
    Hermans et al. (2022), A trust crisis in simulation-based inference?, Transactions on Machine
    Learning Research.
    """
    return positions(-truth, -draws, random, effective)


def reference_levels(
    truth: Array,
    draws: Array,
    references: Array,
    random: np.random.Generator,
    effective: Array | None = None,
) -> Array:
    """The posterior probability of a reference point's ball on whose surface the truth lies.

    truth       (observation, variable), in coordinates in which distances have a meaning
    draws       (observation, draw, variable)
    references  (observation, variable), points that do not depend on the true values
    Lemos et al. (2023), Sampling-based accuracy testing of posterior estimators (TARP), ICML,
    arXiv:2302.03026.
    """
    of_truth = np.linalg.norm(truth - references, axis=-1)
    of_draws = np.linalg.norm(draws - references[:, None], axis=-1)
    return positions(of_truth, of_draws, random, effective)


def central_levels(of_truth: Array) -> Array:
    """The probability in the smallest central interval that holds a true value, by its position."""
    return np.abs(2 * of_truth - 1)


# How wide intervals are beside those that are known to be right.

RESAMPLES = 1000


@dataclass(frozen=True)
class RelativeWidth:
    """The median ratio of widths of intervals, with its 95 % interval by bootstrap."""

    count: int
    median: float
    interval: tuple[float, float]


def relative_width(widths: Array, exact: Array, random: np.random.Generator) -> RelativeWidth:
    """Compare widths of intervals, (observation,), with those of the exact posteriors."""
    ratios = widths / exact
    chosen = random.integers(len(ratios), size=(RESAMPLES, len(ratios)))
    medians = np.median(ratios[chosen], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return RelativeWidth(len(ratios), float(np.median(ratios)), (float(low), float(high)))


def widths(draws: Array, probability: float) -> Array:
    """Widths of central intervals, from draws (observation, draw)."""
    low, high = np.quantile(draws, ((1 - probability) / 2, (1 + probability) / 2), axis=1)
    return np.asarray(high - low)


# Whether numbers between 0 and 1 are uniform: their distribution function in a simultaneous band,
# and a p-value.

MOST_POINTS = 100
"""Equally distant points at which distribution functions are compared."""

CONFIDENCE = 0.95
"""Of all samples of uniform numbers, the share that stays inside the band everywhere."""

NOTICED_POWER = 0.9
"""Probability with which a fault would have been noticed, in statements of what a test can see."""


@dataclass(frozen=True)
class Uniformity:
    """The distribution function of numbers that should be uniform, with its simultaneous band."""

    count: int
    points: Array
    share: Array
    """Of the numbers, at most each point."""
    lower: Array
    upper: Array
    p_value: float
    """Probability that uniform numbers leave a band of the same form as far at some point."""


def uniformity(values: Array) -> Uniformity:
    """Compare numbers between 0 and 1 with the uniform distribution.

    The band has the same pointwise probability at all points, chosen so that uniform numbers stay
    inside everywhere with probability `CONFIDENCE`.
    Säilynoja, Bürkner and Vehtari (2022), Graphical test for discrete uniformity and its
    applications in goodness-of-fit evaluation and multiple sample comparison, Statistics and
    Computing 32, 32.
    """
    count = len(values)
    points = points_for(count)
    lower_count = np.searchsorted(np.sort(values), points, side="right")
    left = binom.cdf(lower_count, count, points)
    right = binom.sf(lower_count - 1, count, points)
    tails = np.minimum(left, right)
    least = float(2 * tails.min() * (1 + ROUNDING))
    lower, upper = band(count)
    p_value = 1.0 if least >= 1 else 1 - probability_inside(*_counts(count, least), points, count)
    return Uniformity(
        count,
        points,
        lower_count / count,
        lower / count,
        upper / count,
        float(np.clip(p_value, 0, 1)),
    )


def points_for(count: int) -> Array:
    """Where the distribution functions of `count` numbers are compared."""
    number = min(max(count, 2), MOST_POINTS)
    return np.arange(1, number) / number


@lru_cache(maxsize=32)
def band(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest numbers of `count` below each of `points_for(count)`, simultaneously."""
    points = points_for(count)
    low = (1 - CONFIDENCE) / (2 * len(points) + 2)
    high = 1 - CONFIDENCE
    # Bisection, as the probability is a step function of the pointwise one.
    while high - low > 1e-3 * low:
        middle = (low * high) ** 0.5
        if probability_inside(*_counts(count, middle), points, count) >= CONFIDENCE:
            low = middle
        else:
            high = middle
    return _counts(count, low)


def _counts(count: int, excluded: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers below points such that fewer, or more, have probability `excluded` / 2 at most."""
    points = points_for(count)
    half = excluded / 2
    lower = binom.ppf(half, count, points)
    lower += binom.cdf(lower, count, points) <= half
    return lower.astype(np.int64), binom.isf(half, count, points).astype(np.int64)


def probability_inside(
    lower: NDArray[np.int64], upper: NDArray[np.int64], shares: Array, count: int
) -> float:
    """The probability that `lower` to `upper` of `count` numbers lie below each of some points.

    shares  the probability that a number lies below each point
    The numbers are a Poisson process under the condition that it has `count` events, which makes
    one step from point to point a convolution: Moscovich and Nadler (2017), Fast calculation of
    boundary crossing probabilities for Poisson processes, Statistics and Probability Letters 123,
    177-182.
    """
    first = 0
    weights = np.ones(1)
    steps = np.diff(np.concatenate([[0.0], shares, [1.0]]))
    for low, high, step in zip([*lower, count], [*upper, count], steps, strict=True):
        jumps = poisson.pmf(np.arange(high - first + 1), count * step)
        weights = np.convolve(weights, jumps)[low - first : high - first + 1]
        first = low
    return float(weights[0] / poisson.pmf(count, count))


@dataclass(frozen=True)
class Power:
    """Faults that a number of observations shows, with probability `NOTICED_POWER`."""

    narrow: float
    """Ratio of the widths of too narrow intervals to the right ones, at which that is noticed."""
    shift: float
    """Shift of the medians that is noticed, in standard deviations of the posteriors."""


@lru_cache(maxsize=32)
def power(count: int) -> Power:
    """What positions of `count` true values can show of normal posteriors; 0 and ∞ for nothing."""
    points = points_for(count)
    bounds = band(count)
    scores = norm.ppf(points)

    def lacking(moved: Array) -> float:
        """The power that is lacking where scores are moved so."""
        stays = probability_inside(*bounds, norm.cdf(moved), count)
        return NOTICED_POWER - (1 - stays)

    def narrow(ratio: float) -> float:
        return lacking(ratio * scores)

    def shifted(shift: float) -> float:
        return lacking(scores + shift)

    least, most = 1e-3, 10.0
    return Power(
        float(brentq(narrow, least, 1.0, xtol=1e-4)) if narrow(least) < 0 else 0.0,
        float(brentq(shifted, 0.0, most, xtol=1e-4)) if shifted(most) < 0 else float("inf"),
    )


# The classifier two-sample test: how well a network distinguishes draws of two distributions.

CLASSIFIER = "scikit-learn's MLPClassifier, two hidden layers of ten units per variable"


def distinguished(first: Array, second: Array, seed: int) -> float:
    """The share of draws whose origin the classifier finds, cross-validated; 0.5 if alike.

    first, second  (draw, variable), as many each
    Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, ICLR; with the classifier,
    the standardisation by the first distribution and the five folds of Lueckmann et al. (2021),
    Benchmarking simulation-based inference, AISTATS.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    mean = first.mean(axis=0)
    deviation = first.std(axis=0)
    both = (np.concatenate([first, second]) - mean) / np.where(deviation > 0, deviation, 1.0)
    origin = np.repeat([0, 1], [len(first), len(second)])
    units = 10 * first.shape[1]
    classifier = MLPClassifier(
        (units, units), activation="relu", solver="adam", max_iter=10_000, random_state=seed
    )
    folds = KFold(n_splits=5, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(cross_val_score(classifier, both, origin, cv=folds, scoring="accuracy").mean())

"""Distributions of varying variables, and which quantiles training, validation and test have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log1p, ndtr, ndtri

from qexp.base.arrays import Array
from qexp.base.tables import Entry, array, number

# scipy.stats, which has all of them, takes half a second to load


class Distribution:
    """A continuous distribution of one variable, in the variable's own unit.

    quantile  probability → the value below which a sample lies with that probability
    support   smallest and largest possible value
    """

    def __init__(self, quantile: Callable[[Array], Array], support: tuple[float, float]) -> None:
        self._quantile = quantile
        self._support = support

    def quantile(self, probability: Array) -> Array:
        """The quantiles of probabilities from 0 to 1, in the same shape; the bounds of the support
        at 0 and 1.
        """
        share, (low, high) = np.asarray(probability, dtype=np.float64), self._support
        with np.errstate(divide="ignore"):
            values = self._quantile(share)
        return np.asarray(
            np.where(share == 0, low, np.where(share == 1, high, values)), dtype=np.float64
        )

    def support(self) -> tuple[float, float]:
        """Smallest and largest possible value; may be infinite."""
        return self._support


def uniform(a: float, b: float) -> Distribution:
    """Every value between a and b, its lower and upper end, is equally likely."""
    _require_order("a", a, "b", b)
    return Distribution(lambda share: share * (b - a) + a, (float(a), float(a + (b - a))))


def log_uniform(low: float, high: float) -> Distribution:
    """Every order of magnitude between two bounds is equally likely."""
    _require_order("low", low, "high", high)
    first = np.log(low)
    last = np.log(high)
    return Distribution(
        lambda share: np.exp(first + share * (last - first)), (float(low), float(high))
    )


def normal(mu: float, sigma: float) -> Distribution:
    """Gaussian with mean mu and standard deviation sigma."""
    return Distribution(lambda share: ndtri(share) * sigma + mu, (-math.inf, math.inf))


def truncated_normal(mu: float, sigma: float, low: float, high: float) -> Distribution:
    """Gaussian with mean mu and standard deviation sigma, restricted to low ... high."""
    import scipy.stats

    _require_order("low", low, "high", high)
    frozen = scipy.stats.truncnorm((low - mu) / sigma, (high - mu) / sigma, loc=mu, scale=sigma)
    least, greatest = frozen.support()
    return Distribution(frozen.ppf, (float(least), float(greatest)))


def log_normal(mu: float, sigma: float) -> Distribution:
    """The natural logarithm is Gaussian with mean mu and standard deviation sigma."""
    try:
        scale = math.exp(mu)
    except OverflowError:
        raise ValueError(
            f"'mu' is the mean of the logarithm; exp({mu:g}) is too large to compute; use a"
            " smaller one"
        ) from None
    return Distribution(lambda share: np.exp(sigma * ndtri(share)) * scale, (0.0, math.inf))


def exponential(l: float) -> Distribution:  # noqa: E741 - VDI's name for the rate
    """Exponential with rate l, mean 1/l."""
    return Distribution(lambda share: -log1p(-share) * (1 / l) + 0.0, (0.0, math.inf))


def quantiles(values: list[float]) -> Distribution:
    """As given by its quantiles, with a constant density between two of them.

    values  quantiles at evenly spaced probabilities from 0 to 1
    """
    knots = np.asarray(values, dtype=np.float64)
    if not (np.diff(knots) > 0).all():
        raise ValueError("'values' must increase, from the lowest value to the highest")
    probabilities = np.linspace(0, 1, len(knots))
    return Distribution(
        lambda share: np.interp(share, probabilities, knots), (float(knots[0]), float(knots[-1]))
    )


def _require_order(low_name: str, low: float, high_name: str, high: float) -> None:
    if not low < high:
        raise ValueError(
            f"'{low_name}' must be less than '{high_name}', but {low} is not less than {high}"
        )


LOW, HIGH = "lowest value", "highest value"
GAUSSIAN = {"mu": number("mean"), "sigma": number("standard deviation", above=0)}

DISTRIBUTIONS: dict[str, Entry] = {
    "uniform": Entry.documented(
        uniform,
        {"type": "uniform", "parameters": {"a": -1.0, "b": 1.0}},
        a=number(LOW),
        b=number(HIGH),
    ),
    "log_uniform": Entry.documented(
        log_uniform,
        {"type": "log_uniform", "parameters": {"low": 0.1, "high": 10.0}},
        low=number(LOW, above=0),
        high=number(HIGH, above=0),
    ),
    "normal": Entry.documented(
        normal, {"type": "normal", "parameters": {"mu": 0.0, "sigma": 1.0}}, **GAUSSIAN
    ),
    "truncated_normal": Entry.documented(
        truncated_normal,
        {
            "type": "truncated_normal",
            "parameters": {"mu": 3.0, "sigma": 1.0, "low": 0.5, "high": 6.0},
        },
        **GAUSSIAN,
        low=number(LOW),
        high=number(HIGH),
    ),
    "log_normal": Entry.documented(
        log_normal,
        {"type": "log_normal", "parameters": {"mu": 0.0, "sigma": 1.0}},
        mu=number("mean of the logarithm"),
        sigma=number("standard deviation of the logarithm", above=0),
    ),
    "exponential": Entry.documented(
        exponential,
        {"type": "exponential", "parameters": {"l": 100.0}},
        l=number("rate: the mean is 1/l", above=0),
    ),
    "quantiles": Entry.documented(
        quantiles,
        {"type": "quantiles", "parameters": {"values": [0.5, 1.0, 2.0, 4.0, 8.0]}},
        values=array(
            {"type": "number"},
            "quantiles at evenly spaced probabilities, the first at 0 and the last at 1",
            least=2,
        ),
    ),
}


DIGITS = (7, 12, 17)
"""Of a parameter: the fewest that give its distribution, which may be narrow and far from zero."""


MOST_OF_TAILS = 100
"""Range of a bounded distribution by that of 99 %; rounding makes a Cauchy's last one finite."""


def described(quantile: Callable[[Array], Array]) -> dict[str, Any] | None:
    """The distribution of the table with these quantiles, `{"type": …, "parameters": …}`, to 1e-5
    of its spread.

    A bounded one that is none of the others is given by its quantiles; any other is None.

    quantile  probability → value
    """
    shares = np.linspace(0, 1, 201)
    scores = np.linspace(-2, 2, 5)
    values = quantile(shares)
    compared = quantile(ndtr(scores))
    low = values[0]
    high = values[-1]
    median = compared[2]
    upper = compared[3]
    apart = np.diff(compared, prepend=-math.inf, append=math.inf)
    tolerance = 1e-5 * np.minimum(apart[1:], apart[:-1]) + 4 * np.spacing(np.abs(compared))
    with np.errstate(all="ignore"):
        guesses = {
            "uniform": {"a": low, "b": high},
            "log_uniform": {"low": low, "high": high},
            "normal": {"mu": median, "sigma": upper - median},
            "log_normal": {"mu": np.log(median), "sigma": np.log(upper / median)},
            "exponential": {"l": math.log(2) / median},
        }
        for (name, guess), digits in itertools.product(guesses.items(), DIGITS):
            parameters = {key: float(f"{value:.{digits}g}") for key, value in guess.items()}
            with suppress(ValueError):  # ends that are equal with so few digits
                guessed = DISTRIBUTIONS[name].build(**parameters).quantile(ndtr(scores))
                if (np.abs(guessed - compared) <= tolerance).all():
                    return {"type": name, "parameters": parameters}
    bounded = (np.diff(values) > 0).all() and np.ptp(values) < MOST_OF_TAILS * np.ptp(values[1:-1])
    return {"type": "quantiles", "parameters": {"values": values.tolist()}} if bounded else None


MOVING: dict[str, tuple[str, ...]] = {
    "uniform": ("a", "b"),
    "normal": ("mu",),
    "truncated_normal": ("mu", "low", "high"),
}
"""Distribution → its parameters that grow as all values do; the others cannot be moved."""


# Quantile intervals: which quantiles of a variable belong to training, validation and test.

INTERVALS_PER_UNIT = 800.0
"""Mean number of extra sub-intervals per part in a gap as wide as the whole axis (VDI: 8 x 100)."""

SIZE_SPREAD = 0.1
"""Standard deviation of the logarithm of the sub-intervals' relative sizes (VDI)."""

ROUNDING = 1e-9
"""Shares that differ from 1 by no more than this add up to 1."""

Interval = tuple[float, float]


def gaps(test: Sequence[Interval]) -> list[Interval]:
    """The gaps that the ordered, disjoint test intervals leave in [0, 1], without empty ones."""
    edges = [0.0, *(edge for interval in test for edge in interval), 1.0]
    return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if high > low]


def divide(
    test: Sequence[Interval], shares: Sequence[float], random: np.random.Generator
) -> list[list[Interval]]:
    """Divide the gaps between test intervals among the parts (training, validation), as VDI does.

    In every gap each part gets 1 + Poisson(8 · width · 100) sub-intervals with log-normal(0, 0.1)
    relative sizes that add up to the part's share of the gap; all of them then fill the gap in
    random order.

    shares   fractions of the parts; what they leave of 1 belongs to no part
    returns  for each part its intervals, in increasing order
    """
    rest = 1 - sum(shares)
    every = [*shares, rest] if rest > ROUNDING else shares
    parts: list[list[Interval]] = [[] for _ in every]
    for low, high in gaps(test):
        sizes: list[float] = []
        owners: list[int] = []
        for part, share in enumerate(every):
            count = 1 + int(random.poisson(INTERVALS_PER_UNIT * (high - low)))
            relative = random.lognormal(0.0, SIZE_SPREAD, count)
            sizes.extend(relative / relative.sum() * (high - low) * share)
            owners.extend([part] * count)
        order = random.permutation(len(sizes))
        edges = low + np.concatenate([[0.0], np.cumsum(np.asarray(sizes)[order])])
        edges[-1] = high
        for index, interval in zip(order, itertools.pairwise(edges.tolist()), strict=True):
            parts[owners[index]].append(interval)
    return parts[: len(shares)]


def sample(intervals: Sequence[Interval], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles in the intervals: an interval with probability proportional to its width, then
    uniform in it.

    uniform  values in (0, 1), one for each quantile: positions along all intervals laid end to end,
             which choose both the interval and the quantile in it
    """
    bounds = np.asarray(intervals, dtype=np.float64)
    ends = np.cumsum(bounds[:, 1] - bounds[:, 0])
    position = uniform * ends[-1]
    index = np.minimum(np.searchsorted(ends, position, side="right"), len(ends) - 1)
    return np.asarray(np.clip(bounds[index, 1] - (ends[index] - position), *bounds[index].T))

"""The posterior density of sources by their known likelihood, in the scores of their prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.linalg import qr
from scipy.special import ndtr, ndtri
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.quantities import SUPERSCRIPTS
from qexp.inference.least_squares import (
    MOST_NUMBERS,
    Problem,
    equations_of,
    of_possible,
    slopes_between,
)
from qexp.simulation.distributions import Distribution

SCORE_SPAN = 8.0
"""Largest absolute score: less than 10⁻¹⁵ of the probability lies beyond it, on either side."""

TABLE = np.linspace(-SCORE_SPAN, SCORE_SPAN, 8001)
"""Scores at which quantiles are tabulated to find the score of a value."""


@dataclass(frozen=True)
class Marginal:
    """The prior of a free parameter; all in SI units.

    quantile  probability → value
    low, high  the smallest and the largest value; those of the distribution may lie beyond and are
               then cut off
    words     what it is, for readers
    share     value → probability; None: found in a table of the quantiles
    period    of an angle whose prior goes all around
    """

    name: str
    quantile: Callable[[Array], Array]
    low: float
    high: float
    words: str
    period: float | None = None
    share: Callable[[Array], Array] | None = None

    def between_bounds(self, score: Array) -> Array:
        """Where values lie: the score that a uniform distribution between the bounds gives them,
        or, of a distribution of training data, their own.
        """
        if self.share is None:
            return score
        return _score((self.value(score) - self.low) / (self.high - self.low))

    def value(self, score: Array) -> Array:
        first, last = self._ends
        share = ndtr(np.clip(score, -SCORE_SPAN, SCORE_SPAN))
        return np.asarray(
            np.clip(self.quantile(first + share * (last - first)), self.low, self.high)
        )

    def score(self, value: Array) -> Array:
        """Of a value; of one beyond the ends, the score of the nearer end."""
        value = self.within_turn(value)
        if self.share is not None:
            return _score(self.share(np.asarray(value)))
        return np.asarray(np.interp(value, self.value(TABLE), TABLE))

    def within_turn(self, value: Array) -> Array:
        """An angle moved by whole periods to between the bounds; anything else as it is."""
        return value if self.period is None else self.low + (value - self.low) % self.period

    def cut_opposite(self, values: Array) -> Marginal:
        """The prior of an angle, with both ends in the middle of the widest gap between some
        values, opposite to a single one; that of anything else as it is.
        """
        if self.period is None:
            return self
        turned = np.sort(values[0] + (values - values[0]) % self.period)
        gaps = np.diff(turned, append=turned[0] + self.period)
        widest = int(gaps.argmax())
        first = turned[(widest + 1) % len(turned)]
        last = turned[widest] + self.period * (turned[widest] < first)
        return uniform(self.name, first - gaps[widest] / 2, last + gaps[widest] / 2, self.period)

    @property
    def _ends(self) -> tuple[float, float]:
        """Probabilities of the distribution below the smallest and the largest value."""
        ends = self.quantile(np.array([0.0, 1.0]))
        if self.low <= ends[0] and self.high >= ends[1]:
            return 0.0, 1.0
        first, last = np.interp(
            [self.low, self.high], self.quantile(ndtr(TABLE)), ndtr(TABLE), left=0.0, right=1.0
        )
        return float(first), float(last)


def _score(share: Array) -> Array:
    """The scores below which such shares of a standard normal distribution lie."""
    return np.asarray(np.clip(ndtri(np.clip(share, 0.0, 1.0)), -SCORE_SPAN, SCORE_SPAN))


def uniform(name: str, low: float, high: float, period: float | None = None) -> Marginal:
    """Every value between two bounds is equally likely."""
    size = high - low

    def quantile(share: Array) -> Array:
        return low + share * size

    return Marginal(
        name, quantile, low, high, "uniform", period, lambda value: (value - low) / size
    )


def power(name: str, low: float, high: float, exponent: int) -> Marginal:
    """A density in proportion to a power of the value, between positive bounds."""
    order = exponent + 1
    first = low**order
    last = high**order

    def quantile(share: Array) -> Array:
        return np.asarray((first + share * (last - first)) ** (1 / order))

    def share(value: Array) -> Array:
        return np.asarray((np.maximum(value, 0.0) ** order - first) / (last - first))

    superscript = "" if exponent == 1 else str(exponent).translate(SUPERSCRIPTS)
    return Marginal(
        name,
        quantile,
        low,
        high,
        f"∝ value{superscript}",
        share=share,
    )


def of_training(
    name: str,
    distribution: Distribution,
    factor: float,
    low: float = -math.inf,
    high: float = math.inf,
) -> Marginal:
    """A variable's distribution in the unit of which its own is `factor`; cut off at bounds."""
    least, largest = (factor * end for end in distribution.support())
    low = max(low, least)
    high = min(high, largest)
    return Marginal(
        name, lambda share: factor * distribution.quantile(share), low, high, "of the training data"
    )


class Prior:
    """The prior of all free parameters, which are independent.

    names      of all parameters of the model, in the order of its columns
    marginals  of those that are free
    fixed      name → value of the others, in SI units
    """

    def __init__(
        self, names: Sequence[str], marginals: Sequence[Marginal], fixed: Mapping[str, float]
    ) -> None:
        self.names = tuple(names)
        self.marginals = tuple(marginals)
        self.fixed = dict(fixed)
        self.free = [marginal.name for marginal in marginals]
        self._each = [(self.names.index(marginal.name), marginal) for marginal in marginals]
        """Column and marginal of each free parameter."""
        self._template = np.array([fixed.get(name, math.nan) for name in names])

    def values(self, scores: Array) -> Tensor:
        """Values of all parameters, (draw, parameter) in SI units, of (draw, free parameter)."""
        values = np.tile(self._template, (len(scores), 1))
        for (column, marginal), score in zip(self._each, scores.T, strict=True):
            values[:, column] = marginal.value(score)
        return torch.from_numpy(values)

    def turned(self, values: Array) -> Array:
        """Values of all parameters, each angle turned by half its period, (angle, parameter)."""
        turned = []
        for column, marginal in self._each:
            if marginal.period is not None:
                turned.append(values.copy())
                turned[-1][column] += marginal.period / 2
        return np.array(turned).reshape(-1, len(values))

    def scores(self, values: Array) -> Array:
        """Scores, (draw, free parameter), of the values of all parameters, (draw, parameter)."""
        scores = [marginal.score(values[:, column]) for column, marginal in self._each]
        return np.stack(scores, axis=1)

    def cut_opposite(self, values: Array) -> Prior:
        """The prior with no mode, (mode, parameter), near the ends of an angle."""
        marginals = [marginal.cut_opposite(values[:, column]) for column, marginal in self._each]
        return Prior(self.names, marginals, self.fixed)


# What sources would look like in data whose noise is independent and of variance 1, in as few
# numbers as possible.

NEGLIGIBLE_SINGULAR_VALUE = 1e-7
"""Share of the largest singular value below which a direction of signals is left out."""


class Model(Protocol):
    """What sources move points by, or the pixels of their images."""

    @property
    def points(self) -> int: ...

    def __call__(self, values: Tensor, /) -> Tensor:
        """(source, point) of the values of all parameters, (source, parameter)."""

    def possible(self, values: Tensor, /) -> Tensor:
        """Whether there can be such sources, (source,)."""

    def select(self, points: Tensor, /) -> Model:
        """The same at some of the points."""


class Signals:
    """Whitened signals of sources; and the data of one observation or several in the same numbers.

    model   at some points
    whiten  (..., point) → (..., number)
    data    (observation, number)
    rest    (observation,)  χ² of what no signal can explain; None: nothing is left out
    vectors  (number of the whole signals, number)  that numbers are amounts of; None: all are there
    """

    vectors: Tensor | None = None

    def __init__(
        self,
        model: Model,
        whiten: Callable[[Tensor], Tensor],
        data: Tensor,
        rest: Tensor | None = None,
    ) -> None:
        self.model, self.whiten, self.data = model, whiten, data
        self.rest = data.new_zeros(len(data)) if rest is None else rest

    def __call__(self, values: Tensor) -> Tensor:
        """(source, number) of values of all parameters, (source, parameter); NaN if impossible."""
        possible = self.model.possible(values)
        signals = self.data.new_full((len(values), self.data.shape[1]), torch.nan)
        if possible.any():
            parts = values[possible].split(max(MOST_NUMBERS // self.model.points, 1))
            signals[possible] = torch.cat([self.whiten(self.model(part)) for part in parts])
        return signals

    def of_observation(self, observation: int) -> Signals:
        """The signals with the data of one observation."""
        row = slice(observation, observation + 1)
        return Signals(self.model, self.whiten, self.data[row], self.rest[row])

    def tabulated(self, prior: Prior, tested: Tensor, tolerance: float) -> Signals | None:
        """Signals of one or two unknowns by a model that is computed once, on a grid, and
        interpolated; None where that takes too much memory or is not accurate. Arguments as of
        `reduced`.
        """
        if len(prior.free) > 2 or NODES ** len(prior.free) * self.model.points > MOST_TABULATED:
            return None
        table = Signals(Tabulated(self.model, prior), self.whiten, self.data, self.rest)
        return table if self._are_those(table, tested, tolerance) else None

    def reduced(
        self,
        moved: Tensor,
        tested: Tensor | None = None,
        tolerance: float = 0.0,
        negligible: float = NEGLIGIBLE_SINGULAR_VALUE,
    ) -> Signals | None:
        """Signals in a basis of those of some sources, by empirical interpolation; None where that
        has no advantage or is not accurate.

        moved      (source, point)      of sources that span the basis, see `lengthless`
        tested     (source, parameter)  others, on which it is tested; None: it is not
        tolerance  largest error, relative to the signal
        negligible share of the largest singular value from which on a direction is left out

        The basis are the left singular vectors of displacements; as many points determine the
        coefficients, chosen by a QR decomposition with pivots (Drmač and Gugercin 2016, SIAM J.
        Sci. Comput. 38, A631-A648). Computing a likelihood this way is reduced-order quadrature
        (Antil et al. 2013, J. Sci. Comput. 57, 604-637).
        """
        if not len(moved):
            return None
        _, sizes, right = torch.linalg.svd(moved, full_matrices=False)
        basis = right[sizes > negligible * sizes[0]]
        if len(basis) > self.model.points / 4:  # from which on a reduction is not worth its errors
            return None
        _, pivots = qr(basis.numpy(), mode="r", pivoting=True)
        points = torch.from_numpy(np.sort(pivots[: len(basis)])).long()
        # (point, number), (number, basis)
        vectors, triangle = torch.linalg.qr(self.whiten(basis).mT)
        turn = torch.linalg.pinv(basis[:, points]) @ triangle.mT
        data = self.data @ vectors
        rest = (self.data.square().sum(dim=1) - data.square().sum(dim=1)).clamp(min=0)
        few = Signals(
            self.model.select(points), lambda displacements: displacements @ turn, data, rest
        )
        few.vectors = vectors
        accurate = tested is None or self._are_those(
            lambda values: few(values) @ vectors.mT, tested, tolerance
        )
        return few if accurate else None

    def lengthless(self, values: Tensor) -> Tensor:
        """Displacements of possible sources, (source, point), over the length of their signals."""
        moved = self.model(values[self.model.possible(values)])
        lengths: Tensor = self.whiten(moved).norm(dim=1)
        return moved[lengths > 0] / lengths[lengths > 0, None]

    def _are_those(
        self, others: Callable[[Tensor], Tensor], tested: Tensor, tolerance: float
    ) -> bool:
        possible = tested[self.model.possible(tested)]
        exact = self(possible)
        errors = (others(possible) - exact).norm(dim=1)
        return bool((errors <= tolerance * exact.norm(dim=1)).all())


NODES, MOST_TABULATED = 121, 50_000_000
"""Nodes of a table along each unknown, and its numbers at most."""


class Tabulated:
    """A model by cubic splines on a grid of one or two unknowns, or of their logarithms."""

    def __init__(self, model: Model, prior: Prior) -> None:
        # which inversions should not wait for
        from scipy.interpolate import NdBSpline, make_interp_spline

        self.points = model.points
        self.possible = model.possible
        ends = []
        for column, unit in enumerate(np.eye(len(prior.free))):
            values = prior.values(np.outer(TABLE, unit))
            ends.append(values[model.possible(values)][[0, -1], column].numpy())
        self._logarithmic = np.array(ends)[:, 0] > 0
        low, high = self._places(np.stack(ends, axis=1))
        axes = np.linspace(low, high, NODES, axis=1)
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        np.exp(nodes, out=nodes, where=self._logarithmic)
        table = model(torch.from_numpy(nodes)).numpy().reshape(*[NODES] * len(axes), -1)
        knots = []
        for axis, places in enumerate(axes):
            spline = make_interp_spline(places, np.moveaxis(table, axis, 0))
            knots.append(spline.t)
            table = np.moveaxis(spline.c, 0, axis)
        self._spline = NdBSpline(tuple(knots), table, 3)

    def _places(self, values: Array) -> Array:
        """Values, (source, parameter), or their logarithms."""
        return np.asarray(np.log(values, out=values.copy(), where=self._logarithmic))

    def __call__(self, values: Tensor) -> Tensor:
        return torch.from_numpy(self._spline(self._places(values.numpy())))

    def select(self, points: Tensor) -> Model:
        some = copy(self)
        some.points = len(points)
        some._spline = copy(self._spline)
        some._spline.c = self._spline.c[..., points.numpy()]
        return some


def whole_signals(problem: Problem, noise: float = 1.0) -> Signals:
    """The signals at all points of a problem, weighted, without what nuisances explain.

    noise  the standard deviation of the noise in units of that by which the problem weights
    """
    return Signals(
        problem.model, lambda moved: problem.weighting(moved) / noise, problem.weighted / noise
    )


# The posterior density of sources, in the scores of their prior.

Density = Callable[[Array], Array]
"""Log of a density but for a constant, (draw,), of (draw, coordinate); −inf where it is zero."""

SCORE_STEP = 1e-4
"""Difference of scores; not smaller, as values near the ends of a prior change slowly."""


@dataclass(frozen=True)
class Level:
    """The noise level of one observation: the standard deviation of all its noise is proportional
    to it.

    marginal   its prior
    reference  the level by whose noise signals and data are whitened
    points     number of data
    """

    marginal: Marginal
    reference: float
    points: int

    def log_likelihood(self, chi2: Array, score: Array) -> Array:
        """Log-likelihood of the level of a score for χ² by the reference, but for a constant."""
        relative = self.relative(score)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-0.5 * chi2 / np.square(relative) - self.points * np.log(relative))

    def relative(self, score: Array) -> Array:
        """The level with this score, in units of the reference."""
        return self.marginal.value(score) / self.reference

    def likeliest(self, chi2: float) -> float:
        """The score of the mode of the level, for the sum of squares by the reference."""
        log = self.log_likelihood(np.asarray(chi2), TABLE) - 0.5 * np.square(TABLE)
        return float(TABLE[np.argmax(np.nan_to_num(log, nan=-np.inf))])

    def curvature(self, chi2: float, score: float) -> float:
        """Curvature of minus the log posterior at its mode, with the slope's expected square."""
        steps = SCORE_STEP * np.array([-1.0, 1.0])
        ends = np.clip(score + steps, -SCORE_SPAN, SCORE_SPAN)
        sizes = np.maximum(self.relative(ends), np.finfo(float).tiny)
        low, high = np.log(sizes)
        relative = float(self.relative(np.asarray(score)))
        slope = (high - low) / (ends[1] - ends[0])
        return float(1 + 2 * chi2 / relative**2 * slope**2)


@dataclass(frozen=True)
class PosteriorDensity:
    """The posterior of the free parameters of one observation, in scores z that are standard normal
    under the prior.

    Its logarithm is that of the likelihood − |z|² / 2, but for a constant. With offsets and ramps
    projected out of data and signals, the likelihood of χ² is that after integrating over them with
    a flat prior.

    level    the noise level if it is unknown, whose score is then the last one
    degrees  points less nuisances, if the size of the noise is unknown and no score: the likelihood
             is then integrated over a factor by which all errors are multiplied, with Jeffreys'
             prior
    """

    signals: Signals
    prior: Prior
    level: Level | None = None
    degrees: int | None = None

    def __call__(self, scores: Array) -> Array:
        return self.with_prior(self.log_likelihood(self.chi2(scores), scores), scores)

    @property
    def without_source(self) -> float:
        """Log-likelihood of no source, with the constant of those of sources."""
        chi2 = self.signals.data.square().sum(dim=1) + self.signals.rest
        return float(self.log_likelihood(chi2.numpy(), np.zeros((1, 1)))[0])

    def with_prior(self, log: Array, scores: Array) -> Array:
        """With the logarithm of the prior; −inf for impossible sources."""
        log = log - 0.5 * np.square(scores).sum(axis=1)
        return np.where(np.isnan(log) | (np.abs(scores) > SCORE_SPAN).any(axis=1), -np.inf, log)

    def weight(self, chi2: float) -> float:
        """Weight of residuals with this χ², see `PenalisedSquares`; 1 for noise of known size."""
        return 1.0 if self.degrees is None else math.sqrt(self.degrees / chi2)

    def values(self, scores: Array) -> Tensor:
        """Values of all parameters of the model, (draw, parameter)."""
        return self.prior.values(scores[:, : len(self.prior.marginals)])

    def chi2(self, scores: Array) -> Array:
        """Sums of squares by the declared noise, (draw,); NaN for impossible sources."""
        residuals = self.signals(self.values(scores)) - self.signals.data
        return np.asarray((residuals.square().sum(dim=1) + self.signals.rest).numpy())

    def log_likelihood(self, chi2: Array, scores: Array) -> Array:
        if self.level is not None:
            return self.level.log_likelihood(chi2, scores[:, -1])
        return -0.5 * (chi2 if self.degrees is None else self.degrees * np.log(chi2))


@dataclass(frozen=True)
class PenalisedSquares:
    """Sums of squared residuals and of squared scores, whose minima are the modes of posteriors.

    weight  what residuals are multiplied with: 1 for declared errors, their size relative to the
            true ones otherwise
    which   (problem,)  the observation, of those of the signals, that each problem belongs to;
            None: problems are the observations, or share the only one
    Implements `least_squares.SumsOfSquares`.
    """

    signals: Signals
    prior: Prior
    weight: float = 1.0
    which: Tensor | None = None

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count, free = coordinates.shape
        steps = SCORE_STEP * torch.eye(free, dtype=torch.float64)
        ends = torch.stack([coordinates[:, None] + steps, coordinates[:, None] - steps], dim=1)
        every = torch.cat([coordinates, ends.reshape(-1, free)])
        signals = self.weight * self.signals(self.prior.values(every.numpy()))
        middle = signals[:count]
        upper, lower = signals[count:].view(count, 2, free, -1).unbind(1)
        observations = which if self.which is None else self.which[which]
        data = self.signals.data
        if len(data) > 1:
            data = data[observations]
        residuals = middle - self.weight * data
        jacobian = slopes_between(middle, upper, lower, SCORE_STEP)
        cost, gradient, information = equations_of(residuals, jacobian)
        cost = cost + 0.5 * coordinates.square().sum(dim=1)
        information = information + torch.eye(free, dtype=torch.float64)
        return of_possible(cost, gradient + coordinates, information)

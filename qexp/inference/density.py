"""The posterior density of sources by their known likelihood, in the scores of their prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.special import ndtr, ndtri
from torch import Tensor

from qexp.base.quantities import typeset
from qexp.inference.least_squares import MOST_NUMBERS, Deformation, Problem
from qexp.inference.simulated_images import Whitening
from qexp.simulation.dataset import GeneratedDataset

Array = NDArray[np.float64]

SPAN = 8.0
"""Largest absolute score: less than 10⁻¹⁵ of the probability lies beyond it, on either side."""

TABLE = np.linspace(-SPAN, SPAN, 8001)
"""Scores at which quantiles are tabulated to find the score of a value."""


@dataclass(frozen=True)
class Marginal:
    """The prior of a free parameter; all in SI units.

    quantile  probability → value
    low, high  the smallest and the largest value; those of the distribution may lie beyond and are then cut off
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

    def place(self, score: Array) -> Array:
        """Where values lie: the score that a uniform distribution between the bounds gives them, or, of a distribution
        of training data, their own.
        """
        if self.share is None:
            return score
        between = (self.value(score) - self.low) / (self.high - self.low)
        return np.asarray(np.clip(ndtri(np.clip(between, 0.0, 1.0)), -SPAN, SPAN))

    def value(self, score: Array) -> Array:
        first, last = self._ends
        found = self.quantile(first + ndtr(np.clip(score, -SPAN, SPAN)) * (last - first))
        return np.asarray(np.clip(found, self.low, self.high))

    def score(self, value: Array) -> Array:
        """Of a value; of one beyond the ends, the score of the nearer end."""
        if self.period is not None:
            value = self.low + (value - self.low) % self.period
        if self.share is not None:
            return np.asarray(np.clip(ndtri(np.clip(self.share(np.asarray(value)), 0.0, 1.0)), -SPAN, SPAN))
        return np.asarray(np.interp(value, self.value(TABLE), TABLE))

    def around(self, value: float) -> Marginal:
        """Of an angle: the same with both ends opposite to a value; of anything else, the same."""
        if self.period is None:
            return self
        return uniform(self.name, value - self.period / 2, value + self.period / 2, self.period)

    @property
    def _ends(self) -> tuple[float, float]:
        """Probabilities of the distribution below the smallest and the largest value."""
        ends = self.quantile(np.array([0.0, 1.0]))
        if self.low <= ends[0] and self.high >= ends[1]:
            return 0.0, 1.0
        first, last = np.interp([self.low, self.high], self.quantile(ndtr(TABLE)), ndtr(TABLE), left=0.0, right=1.0)
        return float(first), float(last)


def uniform(name: str, low: float, high: float, period: float | None = None) -> Marginal:
    """Every value between two bounds is equally likely."""
    size = high - low
    return Marginal(
        name, lambda share: low + share * size, low, high, "uniform", period, lambda value: (value - low) / size
    )


def power(name: str, low: float, high: float, exponent: int) -> Marginal:
    """A density in proportion to a power of the value, between positive bounds."""
    first, last = low ** (exponent + 1), high ** (exponent + 1)
    return Marginal(
        name,
        lambda share: (first + share * (last - first)) ** (1 / (exponent + 1)),
        low,
        high,
        "∝ value" if exponent == 1 else typeset(f"∝ value{exponent}"),
        share=lambda value: (np.maximum(value, 0.0) ** (exponent + 1) - first) / (last - first),
    )


class Prior:
    """The prior of all free parameters, which are independent.

    names      of all parameters of the model, in the order of its columns
    marginals  of those that are free
    fixed      name → value of the others, in SI units
    """

    def __init__(self, names: Sequence[str], marginals: Sequence[Marginal], fixed: Mapping[str, float]) -> None:
        self.names, self.marginals, self.fixed = tuple(names), tuple(marginals), dict(fixed)
        self._columns = [self.names.index(one.name) for one in marginals]
        self._template = np.array([fixed.get(name, math.nan) for name in names])

    @property
    def free(self) -> list[str]:
        return [one.name for one in self.marginals]

    def values(self, scores: Array) -> Tensor:
        """Values of all parameters, (draw, parameter) in SI units, of (draw, free parameter)."""
        values = np.tile(self._template, (len(scores), 1))
        for column, marginal, score in zip(self._columns, self.marginals, scores.T, strict=True):
            values[:, column] = marginal.value(score)
        return torch.from_numpy(values)

    def free_values(self, scores: Array) -> Array:
        """Values of the free parameters, (draw, free parameter)."""
        return np.asarray(self.values(scores).numpy()[:, self._columns])

    def scores(self, values: Array) -> Array:
        """Scores, (draw, free parameter), of the values of all parameters, (draw, parameter)."""
        pairs = zip(self._columns, self.marginals, strict=True)
        return np.stack([marginal.score(values[:, column]) for column, marginal in pairs], axis=1)

    def around(self, values: Array) -> Prior:
        """The same, with the ends of angles opposite to these values, (parameter,), so that no mode is cut in two."""
        turned = [one.around(float(values[column])) for column, one in zip(self._columns, self.marginals, strict=True)]
        return Prior(self.names, turned, self.fixed)


# What sources would look like in data whose noise is independent and of variance 1, in as few numbers as possible.

NEGLIGIBLE = 1e-7
"""Share of the largest singular value below which a direction of signals is left out."""

MOST_PLACES = 0.25
"""Share of the points from which on a reduction is not worth its errors."""


class Signals(Protocol):
    """Whitened signals of sources; and the data of one observation or several in the same numbers.

    data  (observation, number)
    rest  (observation,)  χ² of what no signal can explain
    """

    data: Tensor
    rest: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """(source, number) of the values of all parameters, (source, parameter) in SI units; NaN if impossible."""
        ...

    def of(self, observation: int) -> Signals:
        """The same with the data of one observation."""
        ...


class WholeSignals:
    """The signals at all points of a problem, weighted, without what nuisances explain.

    noise  the standard deviation of the noise in units of that by which the problem weights
    """

    def __init__(self, problem: Problem, noise: float = 1.0) -> None:
        self.model, self.noise, self._weighting = problem.model, noise, problem.weighting
        self.data = problem.weighted / noise
        self.rest = self.data.new_zeros(len(self.data))

    def __call__(self, values: Tensor) -> Tensor:
        return _in_blocks(values, self.model, self.weighted)

    def weighted(self, moved: Tensor) -> Tensor:
        return self._weighting(moved) / self.noise

    def of(self, observation: int) -> WholeSignals:
        one, rows = copy(self), slice(observation, observation + 1)
        one.data, one.rest = self.data[rows], self.rest[rows]
        return one

    @property
    def degrees(self) -> int:
        """Points less nuisances."""
        return self.model.points - self._weighting.nuisances


class ReducedSignals:
    """Signals in a basis of those of some sources, found from their displacements at a few points.

    model  at these points
    turn   (point, number)  displacements at the points → coefficients
    """

    def __init__(self, model: Deformation, turn: Tensor, data: Tensor, rest: Tensor) -> None:
        self.model, self.turn, self.data, self.rest = model, turn, data, rest

    def __call__(self, values: Tensor) -> Tensor:
        return _in_blocks(values, self.model, self.weighting)

    def weighting(self, moved: Tensor) -> Tensor:
        """Coefficients, (..., number), of displacements at the points, (..., point)."""
        return moved @ self.turn

    def of(self, observation: int) -> ReducedSignals:
        one = slice(observation, observation + 1)
        return ReducedSignals(self.model, self.turn, self.data[one], self.rest[one])


def reduced(
    whole: WholeSignals, values: Tensor, checked: Tensor | None = None, tolerance: float = 0.0
) -> ReducedSignals | None:
    """Signals in a basis of those of some sources, by empirical interpolation; None where that has no advantage or is
    not accurate.

    values     (source, parameter)  sources that span the basis
    checked    (source, parameter)  others, on which it is tested; None: it is not
    tolerance  largest error, relative to the signal

    The basis are the left singular vectors of displacements; as many points determine the coefficients, chosen by a
    QR decomposition with pivots (Drmač and Gugercin 2016, SIAM J. Sci. Comput. 38, A631-A648). Computing a likelihood
    this way is reduced-order quadrature (Antil et al. 2013, J. Sci. Comput. 57, 604-637).
    """
    moved = whole.model(values[whole.model.possible(values)])
    lengths = whole.weighted(moved).norm(dim=1)
    seen = lengths > 0
    _, sizes, right = torch.linalg.svd(moved[seen] / lengths[seen, None], full_matrices=False)
    basis = right[sizes > NEGLIGIBLE * sizes[0]]
    if len(basis) > MOST_PLACES * whole.model.points:
        return None
    _, pivots = qr(basis.numpy(), mode="r", pivoting=True)
    places = torch.from_numpy(np.sort(pivots[: len(basis)])).long()
    whitened = whole.weighted(basis)
    vectors, triangle = torch.linalg.qr(whitened.mT)  # (point, number), (number, basis)
    turn = torch.linalg.pinv(basis[:, places]) @ triangle.mT
    data = whole.data @ vectors
    rest = (whole.data.square().sum(dim=1) - data.square().sum(dim=1)).clamp(min=0)
    made = ReducedSignals(whole.model.at(places), turn, data, rest)
    return made if checked is None or _accurate(made, whole, vectors, checked, tolerance) else None


def _accurate(made: ReducedSignals, whole: WholeSignals, vectors: Tensor, checked: Tensor, tolerance: float) -> bool:
    possible = checked[whole.model.possible(checked)]
    exact = whole(possible)
    error = (made(possible) @ vectors.mT - exact).norm(dim=1)
    return bool((error <= tolerance * exact.norm(dim=1)).all())


def _in_blocks(values: Tensor, model: Deformation, weighted: Callable[[Tensor], Tensor]) -> Tensor:
    """Weighted displacements of those sources that are possible; NaN for the others."""
    possible = model.possible(values)
    parts = [weighted(model(some)) for some in values[possible].split(max(MOST_NUMBERS // model.points, 1) or 1)]
    if not parts:
        parts = [weighted(values.new_zeros(0, model.points))]
    found = torch.cat(parts)
    made = found.new_full((len(values), found.shape[1]), torch.nan)
    made[possible] = found
    return made


# The posterior density of sources, in the scores of their prior.

Density = Callable[[Array], Array]
"""The logarithm of a density but for a constant, (draw,), of (draw, coordinate); −inf where it is zero."""

STEP = 1e-4
"""Of a difference of scores; larger than of other coordinates, as values near the ends of a prior change slowly."""


class Posterior:
    """The posterior of the free parameters of one observation, in scores z that are standard normal under the prior.

    Its logarithm is that of the likelihood − |z|² / 2, but for a constant. With offsets and ramps projected out of
    data and signals, the likelihood of χ² is that after integrating over them with a flat prior.

    degrees  points less nuisances, if the size of the noise is unknown: the likelihood is then integrated over a factor
             by which all errors are multiplied, with Jeffreys' prior; None: errors are as declared
    """

    def __init__(self, signals: Signals, prior: Prior, degrees: int | None = None) -> None:
        assert len(signals.data) == 1
        self.signals, self.prior, self.degrees = signals, prior, degrees

    def __call__(self, scores: Array) -> Array:
        found = self.log_likelihood(self.chi2(scores)) - 0.5 * np.square(scores).sum(axis=1)
        return np.where(np.isnan(found) | (np.abs(scores) > SPAN).any(axis=1), -np.inf, found)

    def chi2(self, scores: Array) -> Array:
        """Sums of squares by the declared noise, (draw,); NaN for impossible sources."""
        left = self.signals(self.prior.values(scores)) - self.signals.data
        return np.asarray((left.square().sum(dim=1) + self.signals.rest).numpy())

    def log_likelihood(self, chi2: Array) -> Array:
        return -0.5 * (chi2 if self.degrees is None else self.degrees * np.log(chi2))


class PenalisedSquares:
    """Sums of squared residuals and of squared scores, whose minima are the modes of posteriors.

    weight  what residuals are multiplied with: 1 for declared errors, their size relative to the true ones otherwise
    Implements `levenberg_marquardt.SumsOfSquares`; its problems are the observations of the signals.
    """

    def __init__(self, signals: Signals, prior: Prior, weight: float = 1.0) -> None:
        self.signals, self.prior, self.weight = signals, prior, weight

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count, free = coordinates.shape
        steps = STEP * torch.eye(free, dtype=torch.float64)
        ends = torch.stack([coordinates[:, None] + steps, coordinates[:, None] - steps], dim=1)
        every = torch.cat([coordinates, ends.reshape(-1, free)])
        made = self.weight * self.signals(self.prior.values(every.numpy()))
        middle, after, before = made[:count], *made[count:].view(count, 2, free, -1).unbind(1)
        residuals = middle - self.weight * (
            self.signals.data if len(self.signals.data) == 1 else self.signals.data[which]
        )
        sides = torch.isfinite(after[..., :1]).double() + torch.isfinite(before[..., :1]).double()
        after, before = (torch.where(torch.isfinite(end), end, middle[:, None]) for end in (after, before))
        jacobian = (after - before) / (STEP * sides.clamp(min=1))
        cost = 0.5 * (residuals.square().sum(dim=1) + coordinates.square().sum(dim=1))
        gradient = (jacobian @ residuals[..., None])[..., 0] + coordinates
        information = jacobian @ jacobian.mT + torch.eye(free, dtype=torch.float64)
        outside = torch.isnan(cost)
        return (
            cost.masked_fill(outside, math.inf),
            gradient.masked_fill(outside[:, None], 0.0),
            information.masked_fill(outside[:, None, None], 0.0),
        )


# An unknown noise level, as one more parameter of a posterior.


@dataclass(frozen=True)
class Level:
    """The noise level of one observation: the standard deviation of all its noise is proportional to it.

    marginal   its prior
    reference  the level by whose noise signals and data are whitened
    points     number of data
    """

    marginal: Marginal
    reference: float
    points: int

    def log_likelihood(self, chi2: Array, score: Array) -> Array:
        """Of the level with this score, for the sum of squares by the reference; but for a constant."""
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
        """Of minus the logarithm of the posterior at its mode, with the expected squares of the level's slope."""
        ends = np.clip(score + STEP * np.array([-1.0, 1.0]), -SPAN, SPAN)
        low, high = np.log(np.maximum(self.relative(ends), np.finfo(float).tiny))
        relative = float(self.relative(np.asarray(score)))
        return float(1 + 2 * chi2 / relative**2 * ((high - low) / (ends[1] - ends[0])) ** 2)


class PosteriorWithLevel:
    """The posterior of the free parameters of one observation and, as the last score, of its noise level."""

    def __init__(self, sources: Posterior, level: Level) -> None:
        self.sources, self.level = sources, level

    def __call__(self, scores: Array) -> Array:
        found = self.level.log_likelihood(self.sources.chi2(scores[:, :-1]), scores[:, -1])
        found = found - 0.5 * np.square(scores).sum(axis=1)
        return np.where(np.isnan(found) | (np.abs(scores) > SPAN).any(axis=1), -np.inf, found)


# Signals by simulation of whole images, of unknowns of any kind and any generator.

BLOCK = 1024
"""Images that are simulated at a time."""


class ImageSignals:
    """Whitened images of a dataset; implements `signals.Signals`, with values in the variables' own units.

    names   the unknowns, in the order of the columns of values; nothing else varies in the dataset
    number  images → (source, number), what is taken of them
    data    (observation, number)
    rest    (observation,)  χ² of what is left out of the data
    """

    def __init__(
        self,
        dataset: GeneratedDataset,
        names: Sequence[str],
        number: Callable[[Mapping[str, Tensor]], Tensor],
        data: Tensor,
        rest: Tensor,
    ) -> None:
        self.dataset, self.names, self.number, self.data, self.rest = dataset, tuple(names), number, data, rest

    def __call__(self, values: Tensor) -> Tensor:
        made = values.new_full((len(values), self.data.shape[1]), torch.nan)
        named = dict(zip(self.names, values.numpy().T, strict=True))
        for where in np.array_split(np.arange(len(values)), len(values) // BLOCK + 1):
            own = {name: of[where] for name, of in named.items()}
            possible = self.dataset.possible(own, len(where))
            if possible.any():
                images = self.dataset.signals({name: of[possible] for name, of in own.items()})
                made[torch.from_numpy(where[possible])] = self.number(images)
        return made

    def of(self, observation: int) -> ImageSignals:
        one, rows = copy(self), slice(observation, observation + 1)
        one.data, one.rest = self.data[rows], self.rest[rows]
        return one


def whole_images(
    dataset: GeneratedDataset, names: Sequence[str], whitening: Whitening, samples: Mapping[str, Tensor]
) -> ImageSignals:
    """The signals at all pixels that are seen, for samples as the dataset makes them."""

    def number(images: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(whitening(images))

    data = number(samples)
    return ImageSignals(dataset, names, number, data, data.new_zeros(len(data)))


def projected(
    whole: ImageSignals, whitening: Whitening, values: Tensor, checked: Tensor | None, tolerance: float
) -> ImageSignals | None:
    """The signals in a basis of those of some sources; None where that has no advantage or is not accurate.

    values     (source, parameter)  sources that span the basis
    checked    (source, parameter)  others, on which it is tested; None: it is not
    tolerance  largest error, relative to the signal
    """
    spanning = whole(values)
    lengths = spanning.norm(dim=1)
    spanning = spanning[lengths > 0] / lengths[lengths > 0, None]
    _, sizes, right = torch.linalg.svd(spanning, full_matrices=False)
    basis = right[sizes > NEGLIGIBLE * sizes[0]]
    if len(basis) > MOST_PLACES * whole.data.shape[1]:
        return None
    if checked is not None and not _spans(basis, whole(checked), tolerance):
        return None
    turns = whitening.of_products(basis)

    def number(images: Mapping[str, Tensor]) -> Tensor:
        parts = [images[name].flatten(1)[:, whitening.seen[name]].double() @ turn for name, turn in turns.items()]
        return torch.stack(parts).sum(dim=0)

    data = whole.data @ basis.mT
    rest = (whole.data.square().sum(dim=1) - data.square().sum(dim=1)).clamp(min=0)
    return ImageSignals(whole.dataset, whole.names, number, data, rest)


def _spans(basis: Tensor, signals: Tensor, tolerance: float) -> bool:
    possible = signals[signals.isfinite().all(dim=1)]
    error = (possible - possible @ basis.mT @ basis).norm(dim=1)
    return bool((error <= tolerance * possible.norm(dim=1)).all())

"""Posteriors of simulated observations by their known likelihood, and of images like them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import chdtri
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.quantities import NOISE, Quantities, nearest, periods_of, quantity
from qexp.errors import QexpError
from qexp.inference.density import (
    Level,
    Marginal,
    PenalisedSquares,
    PosteriorDensity,
    Prior,
    Signals,
    of_training,
    uniform,
    whole_signals,
)
from qexp.inference.integration import circular_moments
from qexp.inference.posterior import draws_of, laplace, modes, search_modes
from qexp.inference.refinement import MatrixAxis, Numbers, Refinement, Samples
from qexp.inference.sampling import Draws, Mixture, by_either
from qexp.inference.simulated_images import Pixels, SimulatedImages, Weights, alike, troubles
from qexp.inference.weighting import Weighting
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.simulation.generators import DeformationImages, Values

SIGNAL_TOLERANCE = 1e-4
"""Largest error of reduced signals, relative to the signal."""


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of some observations.

    signals  of sources, and the observations
    prior    of the unknowns but for the noise level
    level    of the noise, if it is unknown
    factors  unknown → the unit of its values in specs, in that of the prior
    """

    signals: Signals
    prior: Prior
    level: Level | None
    factors: Mapping[str, float]

    @property
    def names(self) -> list[str]:
        """The unknowns, in the order of scores."""
        return [*self.prior.free, *([] if self.level is None else [NOISE])]

    def value(self, column: int, scores: Array, prior: Prior) -> Array:
        """Values of an unknown, in its unit, of its scores, by the prior with its angles turned."""
        if self.level is not None and column == len(prior.marginals):
            values = self.level.marginal.value(scores)
        else:
            values = self.prior.marginals[column].within_turn(prior.marginals[column].value(scores))
        return values / self.factors[self.names[column]]

    def scores(self, estimates: Values, otherwise: Array) -> Array:
        """Scores of estimates, else of `otherwise`, (observation, free parameter)."""
        scores = otherwise.copy()
        for column, marginal in enumerate(self.prior.marginals):
            if marginal.name in estimates:
                values = np.asarray(estimates[marginal.name], dtype=np.float64)
                values = values * self.factors[marginal.name]
                known = np.isfinite(values)
                scores[:, column] = np.where(known, marginal.score(values), otherwise[:, column])
        return scores


def prior_of(dataset: GeneratedDataset, name: str, factor: float) -> Marginal:
    """A variable's prior in the unit of which its own is `factor`; a circle for all directions."""
    distribution = dataset.distributions[name]
    period = quantity(name, dataset.quantities).period
    if period is not None:
        low = distribution.support()[0]
        shares = np.linspace(0.0, 1.0, 9)
        if np.allclose(distribution.quantile(shares), low + shares * period, rtol=1e-6):
            return uniform(name, factor * low, factor * low + factor * period, factor * period)
    return of_training(name, distribution, factor)


def usual_level(dataset: GeneratedDataset, images: Sequence[str]) -> float:
    """The median of the unknown noise level. Raises QexpError for noise that it does not scale."""
    for image in images:
        added = dataset.noise.added(image)
        if (
            not dataset.view(image).instrument.imaging
            or not added
            or not all(noise.of_unit_variance for noise in added)
        ):
            raise QexpError(
                f"'{NOISE}' varies and is not given, but '{image}' has noise that it does not"
                " scale; put it into 'fixed' in a copy of the dataset, or declare the noise"
                " without amplitudes of its own"
            )
    return float(dataset.distributions[NOISE].quantile(np.array(0.5)))


# The likelihoods of all observations of a dataset, by the displacements of sources or by simulated
# images.


class Likelihoods:
    """The likelihoods of a dataset's observations: what they share, such as factors of covariances,
    is kept.

    images     the names of those that are seen
    known      variables that are given beside the images; `given` are those of them that vary
    averaging  see `Refinement`
    names      the unknown variables
    Raises QexpError for a dataset whose likelihood is not known.
    """

    def __init__(
        self,
        dataset: GeneratedDataset,
        images: Sequence[str],
        known: Collection[str] = (),
        *,
        averaging: bool = True,
    ) -> None:
        self.dataset = dataset
        self.images = list(images)
        self.given = [name for name in dataset.test if name in known]
        self.names = [name for name in dataset.test if name not in known]
        if trouble := next(troubles(dataset, images, self.names), None):
            raise QexpError(trouble)
        if self.names == [NOISE]:
            raise QexpError(
                f"only '{NOISE}' is unknown; posteriors by the likelihood need another unknown, too"
            )
        level = {NOISE: usual_level(dataset, images)} if NOISE in self.names else {}
        self._source = dataset.with_fixed(level) if level else dataset
        """With the usual noise level, if it is unknown."""
        self._free = [name for name in self.names if name != NOISE]
        self._by_sources = _are_of_sources(dataset, images, self.names)
        fixed = self._source.fixed
        refinement = partial(Refinement, dataset, constants=fixed, outputs=self._free)
        self._refinement = lru_cache(1)(partial(refinement, averaging=averaging))
        """The least squares of the sources on a grid of the given variables."""
        self._pixels = Pixels(dataset, images)
        available = {image: mask.numpy() for image, mask in self._pixels.available.items()}
        self._weights = Weights(dataset, available)

    def __call__(self, samples: Samples) -> Iterator[tuple[Numbers, Likelihood]]:
        """Numbers of observations, as the dataset makes them, and their likelihood."""
        given = {name: samples[name][:, 0].double().numpy() for name in self.given}
        if self._by_sources:
            return self._of_sources(samples, given)
        return self._of_images(samples, given)

    def _of_sources(self, samples: Samples, given: Values) -> Iterator[tuple[Numbers, Likelihood]]:
        """By displacements of few points."""
        grid = []
        for name, each in given.items():
            grid.append(MatrixAxis(name, float(each.min()), float(each.max()), 1))
        refinement = self._refinement(tuple(grid))
        data = refinement.pixels.numbers_of(samples)
        factors = {name: self.dataset.si_factor(name) for name in self.dataset.test}
        for group, shared, mask in refinement.alike(samples, given):
            visible = refinement.fitted(mask) > 0
            problem = refinement.problem(data[group], shared, mask if visible else None)
            columns = [parameter.name for parameter in problem.coordinates.parameters]
            free = [name for name in columns if name in self._free]
            fixed = {name: shared[name] for name in columns if name not in self._free}
            marginals = [prior_of(self.dataset, name, factors[name]) for name in free]
            noise = refinement.weights.scale(shared)
            signals = whole_signals(problem, noise if visible else math.inf)
            points = problem.model.points - problem.weighting.nuisances
            level = self._level(noise, points if visible else 0, factors)
            yield group, Likelihood(signals, Prior(columns, marginals, fixed), level, factors)

    def _of_images(self, samples: Samples, given: Values) -> Iterator[tuple[Numbers, Likelihood]]:
        """By images of the generator, whatever the unknowns are."""
        factors = dict.fromkeys(self.dataset.test, 1.0)
        prior = Prior(self._free, [prior_of(self.dataset, name, 1.0) for name in self._free], {})
        data = self._pixels.numbers_of(samples)
        for group, shared, mask in alike(self._pixels.masks(samples), given):
            visible = bool(mask.any())
            mask = mask if visible else np.ones_like(mask)
            source = self._source.with_fixed(shared)
            numbers = torch.from_numpy(np.flatnonzero(mask))
            si_factor = self.dataset.si_factor
            fixed = {name: value * si_factor(name) for name, value in source.fixed.items()}
            weighting = self._weights(fixed, mask)
            noise = self._weights.scale(fixed)
            whiten = partial(_whitened, weighting, noise if visible else math.inf)
            images = SimulatedImages(source, self._free, self._pixels, numbers)
            signals = Signals(images, whiten, whiten(data[group][:, numbers]))
            level = self._level(noise, len(numbers) if visible else 0, factors)
            yield group, Likelihood(signals, prior, level, factors)

    def _level(self, noise: float, points: int, factors: Mapping[str, float]) -> Level | None:
        """The level of observations whose signals are whitened by this one, if it is unknown."""
        if NOISE not in self.names:
            return None
        return Level(prior_of(self.dataset, NOISE, factors[NOISE]), noise, points)


def _whitened(weighting: Weighting, noise: float, values: Tensor) -> Tensor:
    return weighting(values) / noise


def _are_of_sources(dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str]) -> bool:
    """Whether all unknowns are parameters of sources whose displacements are all seen."""
    generator = dataset.generator
    if not isinstance(generator, DeformationImages) or set(dataset.images) - set(images):
        return False
    parameters = {name for source in generator.sources for name in source.columns}
    return not set(names) - {NOISE} - parameters


# Posteriors of simulated observations: what a known likelihood says, wherever a network starts.

SPANNING_SOURCES, TESTED_SOURCES, WIDER_SPREAD = 400, 100, 1.3
"""Sources that span the basis of signals, or test it; how much wider the former spread."""

POOL_SOURCES, STARTS, NEIGHBOURS = 512, 5, 8
"""Sources drawn from the prior; how many of them are the starts for each observation besides what
is given: the likeliest, of those first that are likelier than so many around them, as there may be
several modes.
"""

MOST_POOLS = 200
"""Such pools that are drawn at most until there are enough possible sources among them."""

HELD_BACK = 1e-4
"""Largest share of observations of the prior's sources that count as of sources beyond it."""

NEAR_MODE, MISSED_SHARE = 0.01, 0.02
"""Share of a mode's draws that lie farther from it than those that are near; and share of the
posterior of modes that no draw is near from which on draws are doubted.
"""

SEARCHED_TOGETHER = 64
"""Observations whose modes are searched together."""


@dataclass(frozen=True)
class PosteriorDraws:
    """Draws from the posteriors of observations.

    names        of the variables
    values       (observation, draw, variable) in the variables' units
    ess          (observation,)  effective number of draws
    doubts       observation → sentences on why its draws are not to be trusted
    log_density  (observation, draw), None where it is unknown
    of_truth     (observation,), the log density of the true values, likewise
    """

    names: tuple[str, ...]
    values: Array
    ess: Array
    doubts: Mapping[int, Sequence[str]] = field(default_factory=dict)
    log_density: Array | None = None
    of_truth: Array | None = None


def posteriors(
    likelihoods: Likelihoods,
    samples: Samples,
    start: Values | None = None,
    *,
    count: int = 1000,
    seed: int = 0,
    on_observation: Callable[[int], None] = lambda done: None,
) -> PosteriorDraws:
    """Draws from the posteriors of all unknown variables of simulated observations.

    samples  observations, as the dataset makes them
    start    variable → an estimate for each observation, in its unit, from which a mode is
             searched; of variables that are left out, the likeliest of draws from the prior is
             taken, as for all without a start
    count    draws for each observation
    """
    names = likelihoods.names
    random = np.random.default_rng(seed)
    draws: dict[int, Draws] = {}
    values = np.zeros((len(samples[likelihoods.images[0]]), count, len(names)))
    for posterior in approximated(likelihoods, samples, random, start):
        draws[posterior.observation] = drawn = posterior.draws(count, random)
        values[posterior.observation] = posterior.values(drawn.all[:count], names)
        on_observation(len(draws))
    ordered = [draws[observation] for observation in range(len(values))]
    ess = np.array([drawn.ess for drawn in ordered])
    doubts = {index: drawn.doubts for index, drawn in enumerate(ordered) if drawn.doubts}
    return PosteriorDraws(tuple(names), values, ess, doubts)


@dataclass(frozen=True)
class Approximated:
    """The posterior of an observation, and a proposal around its modes.

    reduced  whether the density is by fewer signals, which are accurate over the whole prior
    """

    observation: int
    likelihood: Likelihood
    density: PosteriorDensity
    proposal: Mixture
    reduced: bool

    def draws(self, count: int, random: np.random.Generator) -> Draws:
        """Draws in scores."""
        if self.reduced:
            drawn = by_either(self.density, self.proposal, count, random)
        else:
            drawn = draws_of(self.density, self.proposal, by_either, count, random)[0]
        return replace(drawn, doubts=(*drawn.doubts, *self._missed(drawn.all), *self._held_back))

    def _missed(self, draws: Array) -> Iterator[str]:
        """That no draw lies near a mode that holds a share of the posterior by Laplace's method."""
        reached = self.proposal.distances(draws) < chdtri(draws.shape[1], NEAR_MODE)
        missed = float(self.proposal.shares[~reached.any(axis=0)].sum())
        if missed > MISSED_SHARE:
            yield f"no draw lies near some modes that hold about {missed:.0%} of the posterior"

    @property
    def _held_back(self) -> Iterator[str]:
        """That sources beyond the prior fit far better: what χ² would lose at the mode without the
        prior, to first order, is far more than of observations of sources that the prior draws.
        """
        level = self.density.level
        free = len(self.density.prior.free)
        mode = self.proposal.centres[:1]
        weight = 1.0 if level is None else 1 / float(level.relative(mode[0, -1]))
        squares = PenalisedSquares(self.density.signals, self.density.prior, weight)
        scores = torch.from_numpy(mode[:, :free])
        _, slope, curvature = squares.normal_equations(scores, torch.zeros(1, dtype=torch.long))
        # both by the data alone
        slope = slope - scores
        curvature = curvature[0] - torch.eye(free, dtype=torch.float64)
        gain = float((slope @ torch.linalg.pinv(curvature, hermitian=True) @ slope.mT)[0, 0])
        if gain > chdtri(2 * free, HELD_BACK):
            yield f"a source beyond the prior fits far better: its χ² is less by some {gain:.0f}"

    def values(self, scores: Array, names: Sequence[str]) -> Array:
        """Values of draws, (draw, variable) in the variables' units, of scores."""
        columns = [self.likelihood.names.index(name) for name in names]
        pairs = zip(names, columns, strict=True)
        return np.stack([self.value(name, scores[:, column]) for name, column in pairs], axis=1)

    def value(self, name: str, scores: Array) -> Array:
        """Values of a variable, in its unit, of its scores."""
        return self.likelihood.value(self.likelihood.names.index(name), scores, self.density.prior)


def approximated(
    likelihoods: Likelihoods,
    samples: Samples,
    random: np.random.Generator,
    start: Values | None = None,
    *,
    tabulating: bool = False,
) -> Iterator[Approximated]:
    """The posteriors of observations; those of the same likelihood one after the other.

    tabulating  whether images by an emulator, which take long, are computed once on a grid and
                interpolated
    """
    for group, likelihood in likelihoods(samples):
        prior = likelihood.prior
        free = len(likelihood.prior.free)
        spanning = WIDER_SPREAD * random.standard_normal((SPANNING_SOURCES, free))
        tested = random.standard_normal((TESTED_SOURCES, free))
        moved = likelihood.signals.lengthless(prior.values(spanning))
        fewer = likelihood.signals.reduced(moved, prior.values(tested), SIGNAL_TOLERANCE)
        signals = fewer or likelihood.signals
        if tabulating and likelihoods.dataset.model is not None:
            signals = signals.tabulated(prior, prior.values(tested), SIGNAL_TOLERANCE) or signals
        estimates = None
        if start is not None:
            estimates = {name: np.asarray(values)[group] for name, values in start.items()}
        starts = _starts(likelihood, signals, estimates, random)
        pairs = proposals(likelihood, signals, starts)
        for observation, (density, proposal) in zip(group.tolist(), pairs, strict=True):
            yield Approximated(observation, likelihood, density, proposal, fewer is not None)


def proposals(
    likelihood: Likelihood, signals: Signals, starts: Array
) -> Iterator[tuple[PosteriorDensity, Mixture]]:
    """The posterior of each observation of signals, and a proposal around the modes that its starts
    lead to, (observation, start, free parameter).
    """
    prior = likelihood.prior
    if likelihood.level is None and not any(each.period is not None for each in prior.marginals):
        yield from _together(likelihood, signals, starts)
        return
    for observation, scores in enumerate(starts):  # one by one
        yield search_modes(signals.of_observation(observation), prior, scores, likelihood.level)


def _starts(
    likelihood: Likelihood,
    signals: Signals,
    start: Values | None,
    random: np.random.Generator,
) -> Array:
    """Scores of given starts and of the likeliest of a pool, (observation, start, parameter)."""
    prior = likelihood.prior
    pool = np.zeros((0, len(prior.free)))
    of_pool = signals.data[:0]
    for _ in range(MOST_POOLS):
        draws = random.standard_normal((POOL_SOURCES, len(prior.free)))
        of_draws = signals(prior.values(draws))
        possible = torch.isfinite(of_draws[:, 0])
        pool = np.concatenate([pool, draws[possible.numpy()]])
        of_pool = torch.cat([of_pool, of_draws[possible]])
        if len(pool) >= STARTS:
            break
    else:
        raise QexpError(
            f"{len(pool) or 'none'} of {MOST_POOLS * POOL_SOURCES:,} draws from the distributions"
            " is a possible source; choose others"
        )
    squares = of_pool.square().sum(dim=1) + torch.from_numpy(np.square(pool).sum(axis=1))
    misfits = (squares - 2 * signals.data @ of_pool.mT).numpy()
    neighbours = cKDTree(pool).query(pool, min(NEIGHBOURS + 1, len(pool)))[1][:, 1:]
    beaten = (misfits[:, neighbours] < misfits[:, :, None]).any(axis=2)
    likeliest = np.lexsort((misfits, beaten))[:, :STARTS]
    if start is None:
        return np.asarray(pool[likeliest])
    estimates = likelihood.scores(start, pool[likeliest[:, 0]])
    return np.concatenate([estimates[:, None], pool[likeliest]], axis=1)


def _together(
    likelihood: Likelihood, signals: Signals, starts: Array
) -> Iterator[tuple[PosteriorDensity, Mixture]]:
    """The posterior of each observation, with the modes of many searched at a time."""
    _, each, free = starts.shape
    for first in range(0, len(starts), SEARCHED_TOGETHER):
        some = np.arange(first, min(first + SEARCHED_TOGETHER, len(starts)))
        which = torch.from_numpy(np.repeat(some, each))
        squares = PenalisedSquares(signals, likelihood.prior, which=which)
        minima = modes(squares, starts[some].reshape(-1, free))
        for index, observation in enumerate(some.tolist()):
            density = PosteriorDensity(signals.of_observation(observation), likelihood.prior)
            yield density, laplace(density, minima.select(range(index * each, (index + 1) * each)))


# Posteriors of a user's images by the likelihood of the dataset that a network was trained on, from
# its estimates.

BY_LIKELIHOOD = "by the likelihood of the dataset's declared noise, with its distributions as prior"


class ImagePosteriors:
    """Posteriors of images that have the geometry and the noise that a dataset declares.

    dataset     on which the network was trained
    inputs      of the network
    quantities  of the dataset, with the periods of what the network learns as angles
    names       the unknown variables: all that vary but those that the network is given
    units       unknown variable → its unit
    Raises QexpError if the likelihood of the images is not known.
    """

    def __init__(
        self, dataset: GeneratedDataset, inputs: Collection[str], quantities: Quantities
    ) -> None:
        images = [name for name in dataset.images if name in inputs]
        for name in images:
            if mask_of(name) in dataset.shapes() and mask_of(name) not in inputs:
                raise QexpError(
                    f"`refined`: the training data hide pixels of '{name}', but the network takes"
                    " no mask of it, so that which pixels an image shows is unknown; train a"
                    f" network with the input '{mask_of(name)}'"
                )
        try:
            self._likelihoods = Likelihoods(dataset, images, inputs)
        except QexpError as lack:
            raise QexpError(f"`refined`: {lack}") from lack
        self.names = self._likelihoods.names
        self.units = {name: quantity(name, quantities).unit for name in self.names}
        self.periods = periods_of(self.names, quantities)

    def __call__(
        self,
        inputs: Mapping[str, NDArray[np.float32]],
        estimates: Mapping[str, NDArray[np.floating]],
        count: int,
        seed: int,
    ) -> PosteriorDraws:
        """Draws for images of which some pixels are seen, `count` each.

        inputs     of the network, (sample, ...) in their units, 0 where a mask hides a pixel
        estimates  output → (sample,), in its unit, from which modes are searched
        """
        arrays = {name: np.ascontiguousarray(values) for name, values in inputs.items()}
        samples = {name: torch.from_numpy(array) for name, array in arrays.items()}
        estimated = [name for name in estimates if name in self.names]
        start = {name: np.asarray(estimates[name], np.float64) for name in estimated}
        return posteriors(self._likelihoods, samples, start, count=count, seed=seed)

    def centred(self, draws: PosteriorDraws) -> Array:
        """The draws, (sample, draw, variable), with directions moved by turns around their mean."""
        values = draws.values.copy()
        for column, name in enumerate(draws.names):
            period = self.periods.get(name)
            if period is not None:
                angles = values[:, :, column]
                weights = np.ones(values.shape[1])
                means = [circular_moments(each, weights, period)[0] for each in angles]
                values[:, :, column] = nearest(angles, np.array(means)[:, None], period)
        return values

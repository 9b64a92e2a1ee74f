"""The posterior of the sources of one observation, from the fit of least squares on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.inference.density import (
    Density,
    Level,
    PenalisedSquares,
    Posterior,
    PosteriorWithLevel,
    Prior,
    Signals,
    WholeSignals,
    reduced,
)
from qexp.inference.fit import Fit
from qexp.inference.least_squares import Minima, Problem, minimised, starts
from qexp.inference.parameters import Search
from qexp.inference.sampling import (
    METHODS,
    OF_PRIOR,
    Coordinates,
    Draws,
    Mixture,
    doubts_of,
    effective,
    mixture,
    resampled,
    smoothed,
)

Array = NDArray[np.float64]

SEARCHED, FOLLOWED = 16, 3
"""Starts of a search for further modes; and how many of these, the highest, are followed with all points."""

SPANNING, TRIED = 300, 60
"""Sources that span the basis of signals at first; and draws on which it is tested."""

WIDER = 1.5
"""Factor by which the sources that span the basis are spread wider than the posterior."""

CLOSE, ATTEMPTS = 0.1, 3
"""Largest standard deviation of the error of the logarithm of the density that reduced signals may make; and how often
a larger basis is sought before draws are weighted by the density from all points."""


@dataclass(frozen=True)
class ObservedPosterior:
    """Draws from the posterior of the sources of an observation.

    prior    whose scores the draws are
    chi2     (draw,)  by the declared noise, of `draws.all`
    log      (draw,)  logarithm of the posterior density in scores, but for a constant
    degrees  points less nuisances
    """

    prior: Prior
    draws: Draws
    chi2: Array
    log: Array
    degrees: int


def observed_posterior(
    problem: Problem,
    fit: Fit,
    searches: Sequence[Search],
    prior: Prior,
    *,
    method: str,
    count: int,
    unknown_level: bool,
    seed: int,
) -> ObservedPosterior:
    """Draws from the posterior of the free parameters of a problem.

    fit            its best minimum of least squares, near which a mode is expected; others are searched
    searches       of each parameter
    prior          of the free parameters; angles on a circle are turned so that its ends lie opposite to the fit
    method         a name from `draws.METHODS`
    unknown_level  whether the size of the noise is unknown, by a factor that all errors share
    """
    random = np.random.default_rng(seed)
    prior = prior.around(fit.values)
    whole = WholeSignals(problem)
    degrees = whole.degrees if unknown_level else None
    exact = Posterior(whole, prior, degrees)
    weight = math.sqrt(whole.degrees / fit.chi2) if unknown_level else 1.0
    proposal = laplace(
        exact, found(PenalisedSquares(whole, prior, weight), _starts(problem, fit, searches, prior, weight, seed))
    )
    density = _accurate(whole, exact, proposal, searches, weight, random)
    draws = _drawn(density, proposal, searches, weight, method, count, random)
    if density is not exact and error_of(exact, density, draws.all, random) > CLOSE:
        draws = _corrected(draws, exact, density, random)
    return ObservedPosterior(prior, draws, density.chi2(draws.all), density(draws.all), whole.degrees)


def _accurate(
    whole: WholeSignals,
    exact: Posterior,
    proposal: Mixture,
    searches: Sequence[Search],
    weight: float,
    random: np.random.Generator,
) -> Posterior:
    """The density by reduced signals, with a basis that is accurate where a few draws are; with few points, the exact
    one.
    """
    near, prior = proposal.wider(WIDER), exact.prior
    spanning = near.draws(SPANNING, random)
    for _ in range(ATTEMPTS):
        few = reduced(whole, prior.values(spanning))
        if few is None:
            return exact
        density = Posterior(few, prior, exact.degrees)
        tried = _drawn(density, proposal, searches, weight, "importance", SPANNING, random).all
        if error_of(exact, density, tried, random) <= CLOSE:
            break
        spanning = np.concatenate([spanning, tried[: SPANNING // 2], _spread(tried, SPANNING // 2, random)])
    return density


def error_of(exact: Density, density: Density, draws: Array, random: np.random.Generator) -> float:
    """The standard deviation of the error of a density, at some of its draws."""
    some = random.choice(draws, TRIED)
    with np.errstate(invalid="ignore"):
        error = float(np.std(exact(some) - density(some)))
    return error if math.isfinite(error) else math.inf


def _corrected(draws: Draws, exact: Posterior, density: Posterior, random: np.random.Generator) -> Draws:
    """Draws from the exact density, of those of one that is close to it, by their weights."""
    scores = draws.all
    with np.errstate(invalid="ignore"):
        logarithms = np.nan_to_num(exact(scores) - density(scores), nan=-np.inf)
    weights, pareto_k = smoothed(logarithms)
    chosen, ess = scores[resampled(weights, len(scores), random)], effective(weights)
    doubts = (*draws.doubts, *doubts_of(pareto_k, ess, len(scores)))
    return replace(draws, scores=chosen[None], pareto_k=pareto_k, ess=min(draws.ess, ess), doubts=doubts)


def _drawn(
    density: Posterior,
    proposal: Mixture,
    searches: Sequence[Search],
    weight: float,
    method: str,
    count: int,
    random: np.random.Generator,
) -> Draws:
    """Draws, in scores, by a method that works in coordinates in which amplitudes are standardised."""
    free = density.prior.free
    amplitudes = [one.parameter.name for one in searches if one.amplitude and one.parameter.name in free]
    coordinates = Coordinates(density, amplitudes, weight)
    made = METHODS[method](coordinates, coordinates.of(proposal), count, random)
    return replace(made, scores=coordinates.scores(made.all).reshape(made.scores.shape))


def _starts(problem: Problem, fit: Fit, searches: Sequence[Search], prior: Prior, weight: float, seed: int) -> Array:
    """Scores from which modes are searched: of the fit, and of what a search with fewer points finds."""
    search = problem.to_search(seed)
    begin = prior.scores(starts(search, searches, SEARCHED, seed).numpy())
    minima = found(PenalisedSquares(WholeSignals(search), prior, weight), begin)
    return np.concatenate([prior.scores(fit.values[None]), likely(minima, FOLLOWED)])


def _spread(draws: Array, count: int, random: np.random.Generator) -> Array:
    """Draws, moved along the differences of others, so that they reach a little farther."""
    some, first, second = (random.choice(draws, count) for _ in range(3))
    return np.asarray(some + 0.3 * (first - second))


# Modes of posteriors, and Laplace's approximation around them.

FARTHEST = 6.0
"""Largest absolute score of a mode."""

TOLERANCE, MOST_ITERATIONS = 1e-7, 100

SAME = 0.5
"""Modes that are closer than this, in standard deviations of the nearer one, are one."""

UNLIKELY = 20.0
"""Modes whose share of the posterior is smaller than exp of minus this are left out."""


def found(squares: PenalisedSquares, starts: Array, which: Array | None = None) -> Minima:
    """Where the search of a mode ends from each start, (start, coordinate).

    which  (start,)  number of the observation that it belongs to; None: the only one
    """
    low = torch.full((starts.shape[1],), -FARTHEST, dtype=torch.float64)
    begin = torch.from_numpy(np.clip(starts, -FARTHEST, FARTHEST))
    problems = squares if which is None else _Some(squares, torch.from_numpy(which))
    return minimised(problems, begin, low, -low, TOLERANCE, MOST_ITERATIONS)


class _Some:
    """Problems of which several belong to one observation."""

    def __init__(self, squares: PenalisedSquares, observations: torch.Tensor) -> None:
        self.squares, self.observations = squares, observations

    def normal_equations(
        self, coordinates: torch.Tensor, which: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.squares.normal_equations(coordinates, self.observations[which])


def laplace(density: Density, minima: Minima) -> Mixture:
    """Student's t around each distinct mode, in proportion to its share of the posterior by Laplace's method.

    The covariance is the inverse of the Gauss-Newton approximation of the curvature.
    """
    centres = minima.coordinates.numpy()
    curvature = minima.information.numpy()
    values = density(centres)
    kept = _distinct(centres, curvature, values)
    centres, curvature, values = centres[kept], curvature[kept], values[kept]
    log_shares = values - 0.5 * np.linalg.slogdet(curvature)[1]
    some = log_shares > log_shares.max() - UNLIKELY
    return mixture(log_shares[some], centres[some], np.linalg.inv(curvature[some]), OF_PRIOR)


def likely(minima: Minima, most: int) -> Array:
    """The places of the lowest distinct minima, (minimum, coordinate), `most` at most; unlikely ones are left out."""
    centres, heights = minima.coordinates.numpy(), -minima.cost.numpy()
    kept = _distinct(centres, minima.information.numpy(), heights)[:most]
    places: Array = centres[[one for one in kept if heights[one] > heights[kept[0]] - UNLIKELY]]
    return places


def _distinct(centres: Array, curvature: Array, values: Array) -> list[int]:
    """The numbers of the distinct modes, the highest first."""
    kept: list[int] = []
    order: list[int] = np.argsort(-values).tolist()
    for one in order:
        if np.isfinite(values[one]) and not any(
            _distance(centres[one] - centres[k], curvature[k]) < SAME for k in kept
        ):
            kept.append(one)
    return kept


def _distance(apart: Array, curvature: Array) -> float:
    return float(np.sqrt(np.maximum(apart @ curvature @ apart, 0.0)))


# Modes of single observations, whose angles are turned and whose noise level may be unknown.

SEARCHES = 4
"""Searches of modes one after the other, each with the angles and the noise level of the best mode before."""


@dataclass(frozen=True)
class Found:
    """A posterior and a proposal for it.

    prior    whose scores their coordinates are; angles are turned so that its ends lie opposite to the best mode
    level    the noise level if it is unknown, whose score is then the last coordinate
    density  of these scores
    """

    prior: Prior
    level: Level | None
    density: Density
    proposal: Mixture


def density_of(signals: Signals, prior: Prior, level: Level | None) -> Density:
    """The posterior of the one observation of these signals."""
    sources = Posterior(signals, prior)
    return sources if level is None else PosteriorWithLevel(sources, level)


def searched(signals: Signals, prior: Prior, starts: Array, level: Level | None) -> Found:
    """The posterior of the one observation of these signals, and its modes.

    starts  (start, free parameter), scores, the best first
    level   of the noise if it is unknown
    """
    values, best = prior.values(starts), 0
    for _ in range(SEARCHES):
        prior = prior.around(values[best].numpy())
        posterior, scores = Posterior(signals, prior), prior.scores(values.numpy())
        weight = 1.0
        if level is not None:
            chi2 = float(posterior.chi2(scores[best : best + 1])[0])
            weight = 1 / float(level.relative(np.asarray(level.likeliest(chi2))))
        minima = found(PenalisedSquares(signals, prior, weight), scores)
        values, best = prior.values(minima.coordinates.numpy()), int(minima.cost.argmin())
    density = density_of(signals, prior, level)
    modes = minima if level is None else _with_level(minima, posterior, level)
    return Found(prior, level, density, laplace(density, modes))


def _with_level(minima: Minima, posterior: Posterior, level: Level) -> Minima:
    """Modes with the likeliest level of each as the last coordinate."""
    each = np.nan_to_num(posterior.chi2(minima.coordinates.numpy()), nan=np.inf)
    scores = [level.likeliest(chi2) for chi2 in each]
    coordinates = torch.cat([minima.coordinates, torch.tensor(scores, dtype=torch.float64)[:, None]], dim=1)
    count, free = minima.coordinates.shape
    information = torch.zeros(count, free + 1, free + 1, dtype=torch.float64)
    information[:, :free, :free] = minima.information
    for mode, (chi2, score) in enumerate(zip(each, scores, strict=True)):
        information[mode, free, free] = level.curvature(chi2, score)
    return replace(minima, coordinates=coordinates, information=information)


# Draws by signals that are reduced around the posterior of one observation.


def nearby(
    found: Found,
    reduced: Callable[[Tensor], Signals | None],
    method: str,
    count: int,
    random: np.random.Generator,
) -> Draws:
    """Draws from a posterior, with signals in a basis of those around it where that is accurate.

    found    the posterior by whole signals
    reduced  sources that span a basis → the signals of this observation in it; None if that has no advantage
    """
    free, sample = len(found.prior.free), METHODS[method]
    spanning = found.proposal.wider(WIDER).draws(SPANNING, random)
    for _ in range(ATTEMPTS):
        signals = reduced(found.prior.values(spanning[:, :free]))
        if signals is None:
            break
        density = density_of(signals, found.prior, found.level)
        draws = sample(density, found.proposal, count, random)
        if error_of(found.density, density, draws.all, random) <= CLOSE:
            return draws
        spanning = np.concatenate([spanning, random.choice(draws.all, SPANNING)])
    return sample(found.density, found.proposal, count, random)

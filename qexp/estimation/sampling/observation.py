"""The posterior of the sources of one observation, from the fit of least squares on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qexp.estimation.fit import Fit
from qexp.estimation.parameters import Search
from qexp.estimation.problem import Problem
from qexp.estimation.sampling.amplitudes import Coordinates
from qexp.estimation.sampling.density import PenalisedSquares, Posterior
from qexp.estimation.sampling.draws import METHODS, Draws, doubts_of
from qexp.estimation.sampling.importance import effective, resampled, smoothed
from qexp.estimation.sampling.mixture import Mixture
from qexp.estimation.sampling.modes import found, laplace, likely
from qexp.estimation.sampling.prior import Prior
from qexp.estimation.sampling.signals import WholeSignals, reduced
from qexp.estimation.starts import starts

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
    if density is not exact and _error(exact, density, draws.all, random) > CLOSE:
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
        if _error(exact, density, tried, random) <= CLOSE:
            break
        spanning = np.concatenate([spanning, tried[: SPANNING // 2], _spread(tried, SPANNING // 2, random)])
    return density


def _error(exact: Posterior, density: Posterior, draws: Array, random: np.random.Generator) -> float:
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

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
from qexp.estimation.sampling.draws import METHODS, Draws
from qexp.estimation.sampling.mixture import Mixture
from qexp.estimation.sampling.modes import found, laplace
from qexp.estimation.sampling.prior import Prior
from qexp.estimation.sampling.signals import WholeSignals, reduced
from qexp.estimation.starts import starts

Array = NDArray[np.float64]

SEARCHED, FOLLOWED = 16, 3
"""Starts of a search for further modes; and the highest of those that it finds that are followed with all points."""

SPANNING, CHECKED, TRIED = 300, 60, 60
"""Sources that span the basis of signals; those on which it is tested before, and draws on which it is tested after."""

WIDER = 1.5
"""Factor by which the sources that span the basis are spread wider than the posterior."""

ACCURATE = 1e-3
"""Largest error of reduced signals, relative to the signal, with which they are tried."""

CLOSE, ATTEMPTS = 0.1, 3
"""Largest standard deviation of the error of the logarithm of the density that reduced signals may make; and how often
a basis is sought before all points are used."""


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
    near = proposal.wider(WIDER)
    spanning = near.draws(SPANNING, random)
    for _ in range(ATTEMPTS):
        checked = near.draws(CHECKED, random, degrees=math.inf)
        few = reduced(whole, prior.values(spanning), prior.values(checked), ACCURATE)
        if few is None:
            break
        density = Posterior(few, prior, degrees)
        draws = _drawn(density, proposal, searches, weight, method, count, random)
        some = random.choice(draws.all, TRIED)
        with np.errstate(invalid="ignore"):
            if np.std(exact(some) - density(some)) <= CLOSE:
                return _of(draws, density, prior, whole.degrees)
        spanning = np.concatenate([near.draws(SPANNING // 2, random), _spread(draws.all, SPANNING // 2, random)])
    return _of(_drawn(exact, proposal, searches, weight, method, count, random), exact, prior, whole.degrees)


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


def _of(draws: Draws, density: Posterior, prior: Prior, degrees: int) -> ObservedPosterior:
    return ObservedPosterior(prior, draws, density.chi2(draws.all), density(draws.all), degrees)


def _starts(problem: Problem, fit: Fit, searches: Sequence[Search], prior: Prior, weight: float, seed: int) -> Array:
    """Scores from which modes are searched: of the fit, and of what a search with fewer points finds."""
    search = problem.to_search(seed)
    begin = prior.scores(starts(search, searches, SEARCHED, seed).numpy())
    minima = found(PenalisedSquares(WholeSignals(search), prior, weight), begin)
    lowest = minima.cost.argsort()[:FOLLOWED]
    return np.concatenate([prior.scores(fit.values[None]), minima.coordinates[lowest].numpy()])


def _spread(draws: Array, count: int, random: np.random.Generator) -> Array:
    """Draws, moved along the differences of others, so that they reach a little farther."""
    some, first, second = (random.choice(draws, count) for _ in range(3))
    return np.asarray(some + 0.3 * (first - second))

"""Posteriors by a known likelihood: modes, draws, and the sources of an observation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator

from qexp.base.arrays import Array
from qexp.base.options import Counted
from qexp.inference import sampling
from qexp.inference.density import (
    Density,
    Level,
    PenalisedSquares,
    PosteriorDensity,
    Prior,
    Signals,
    whole_signals,
)
from qexp.inference.evidence import Evidence, log_mean
from qexp.inference.fit import Fit
from qexp.inference.least_squares import Minima, Problem, SumsOfSquares, minimise, starts
from qexp.inference.parameters import Search
from qexp.inference.unknown_noise import NoisyDensity, UnknownNoise

PRIOR_DRAWS = 40_000
"""That tell which share of the prior are sources that there can be."""

Sample = Callable[[PosteriorDensity, sampling.Mixture, int, Generator], sampling.Draws]
"""A way to draw: density, proposal, number of draws, and randomness → draws."""

SEARCHED_STARTS, FOLLOWED_STARTS = 16, 3
"""Starts of a search for more modes; how many of these, the highest, are followed further."""

STARTS_AROUND, SPREADS_OF_STARTS, MODE_ROUNDS, SAME_NOISE = 24, (1.0, 2.0, 8.0), 6, 0.99
"""Starts around modes, for each number of times that they are as wide as the posterior; searches
with all points at most; and share of χ² down to which the noise counts as of the same size.
"""


@dataclass(frozen=True)
class ObservedPosterior:
    """Draws from the posterior of the sources of an observation.

    prior    whose scores the draws are
    log      (draw,)  logarithm of the posterior density in scores, but for a constant
    degrees  points less nuisances
    density  that the draws are of
    evidence  relative to that of no source
    """

    prior: Prior
    draws: sampling.Draws
    log: Array
    degrees: int
    density: PosteriorDensity
    evidence: Evidence


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
    on_drawn: Counted,
    noises: Sequence[UnknownNoise] = (),
) -> ObservedPosterior:
    """Draws from the posterior of the free parameters of a problem.

    fit            its best minimum of least squares, near which a mode is expected; others are
                   searched
    searches       of each parameter
    prior          of the free parameters; angles on a circle are turned so that its ends lie
                   opposite to the fit
    method         a name from `sampling.METHODS`
    on_drawn       takes the number of draws that are tried, and of all at most
    unknown_level  whether the size of the noise is unknown, by a factor that all errors share
    noises         of each track, if they are unknown; the problem is then that of the likeliest
    """
    random = np.random.default_rng(seed)
    prior = prior.cut_opposite(fit.values[None])
    degrees = problem.model.points - problem.weighting.nuisances
    whole = whole_signals(problem)
    exact = PosteriorDensity(whole, prior, degrees=degrees if unknown_level else None)
    if noises:
        exact = NoisyDensity(
            whole, prior, degrees=degrees, whole=whole, weighting=problem.weighting, noises=noises
        )
    # modes are searched from the fit, and from what fewer points find
    search = problem.to_search(seed)
    starting = prior.scores(starts(search, searches, SEARCHED_STARTS, seed).numpy())
    minima = modes(PenalisedSquares(whole_signals(search), prior, exact.weight(fit.chi2)), starting)
    followed = minima.coordinates.numpy()[likely(minima, FOLLOWED_STARTS)]
    starting = np.concatenate([prior.scores(fit.values[None]), followed])
    proposal, weight = around_modes(exact, starting, fit.chi2, np.random.default_rng(seed))
    amplitudes = [problem.coordinates.names[column] for column in problem.coordinates.linear]

    def sample(
        density: PosteriorDensity,
        proposal: sampling.Mixture,
        count: int,
        random: Generator,
    ) -> sampling.Draws:
        """In coordinates in which amplitudes are standardised."""
        coordinates = sampling.StandardisedAmplitudes(density, amplitudes, weight)
        proposal = coordinates.transform(proposal)
        draws = sampling.METHODS[method](
            coordinates,
            proposal,
            count,
            random,
            on_drawn=on_drawn,
        )
        return replace(draws, scores=coordinates.scores(draws.all).reshape(draws.scores.shape))

    draws, density = draws_of(exact, proposal, sample, count, random)
    coordinates = sampling.StandardisedAmplitudes(density, amplitudes, weight)
    evidence = _over_none(exact, coordinates, draws, np.random.default_rng([seed, 2]))
    if not noises:  # else it is in the likelihood
        none = evidence.none - problem.weighting.log_determinant / 2
        evidence = replace(evidence, none=none)
    return ObservedPosterior(
        prior,
        draws,
        density(draws.all),
        degrees,
        density,
        evidence,
    )


def _over_none(
    exact: PosteriorDensity,
    coordinates: sampling.StandardisedAmplitudes,
    draws: sampling.Draws,
    random: Generator,
) -> Evidence:
    """The evidence of sources over that of none, with the prior of possible ones alone.

    coordinates  those of the density that the draws are of, which may be close to the exact one
    """
    standardised = coordinates.coordinates(draws.all)
    found = sampling.evidence_of(coordinates, replace(draws, scores=standardised[None]), random)
    some = random.choice(draws.all, TESTED_DRAWS)
    apart = exact(some) - coordinates.posterior(some)
    correction = log_mean(apart)
    error = math.hypot(found.error, float(np.std(apart)) / math.sqrt(TESTED_DRAWS))
    free = len(exact.prior.free)
    scores = random.standard_normal((PRIOR_DRAWS, free))
    possible = exact.signals.model.possible(exact.prior.values(scores))
    share = (int(possible.sum()) + 1) / (PRIOR_DRAWS + 1)
    error = math.hypot(error, math.sqrt((1 - share) / share / PRIOR_DRAWS))
    of_prior = free / 2 * math.log(2 * math.pi) + math.log(share)
    none = exact.without_source
    return Evidence(found.log + correction - of_prior - none, error, none)


def around_modes(
    density: PosteriorDensity, starts: Array, chi2: float, random: Generator
) -> tuple[sampling.Mixture, float]:
    """A proposal around the modes that starts lead to, and the weight of residuals, see
    `density.PenalisedSquares`.

    chi2  of the best source that is known, which tells the size of the noise if it is unknown
    Where some sources around are impossible, modes are searched there until there are no more:
    beside points that are close to a source near the surface there are modes of their own. One that
    fits better tells the size of the noise.
    """
    found = 0
    for _ in range(MODE_ROUNDS):
        weight = density.weight(chi2)
        squares = PenalisedSquares(density.signals, density.prior, weight)
        proposal = laplace(density, modes(squares, starts))
        wider = [proposal.wider(spread) for spread in SPREADS_OF_STARTS]
        drawn = [one.draws(STARTS_AROUND, random) for one in wider]
        starts = np.concatenate([proposal.centres, *drawn])
        possible = density.signals.model.possible(density.values(starts)).numpy()
        former = chi2
        chi2 = min(chi2, float(density.chi2(proposal.centres).min()))
        if chi2 > SAME_NOISE * former and (possible.all() or len(proposal.shares) == found):
            break
        starts = starts[possible]
        found = len(proposal.shares)
    return proposal, weight


# Draws by signals in a basis of those around a posterior.

SPANNING_SOURCES, TESTED_DRAWS = 300, 60
"""Sources that span the basis of signals at first; and draws on which it is tested."""

WIDER_SPREAD = 1.5
"""Factor by which the sources that span the basis are spread wider than the posterior."""

CLOSE_LOG_DENSITY, MOST_BASES = 0.1, 3
"""Largest standard deviation of the error of the logarithm of the density that reduced signals may
make; and how often a larger basis is sought before draws are weighted by the density from all
points.
"""


def draws_of(
    exact: PosteriorDensity,
    proposal: sampling.Mixture,
    sample: Sample,
    count: int,
    random: Generator,
) -> tuple[sampling.Draws, PosteriorDensity]:
    """Draws from a posterior, by fewer signals where these are accurate; and the density that they
    are of.
    """
    scores = proposal.wider(WIDER_SPREAD).draws(SPANNING_SOURCES, random)
    for _ in range(MOST_BASES):
        signals = exact.signals.reduced(exact.signals.lengthless(exact.values(scores)))
        if signals is None:
            return sample(exact, proposal, count, random), exact
        density = replace(exact, signals=signals)
        draws = sample(density, proposal, count, random)
        if error_of(exact, density, draws.all, random) <= CLOSE_LOG_DENSITY:
            return draws, density
        chosen = [random.choice(draws.all, SPANNING_SOURCES // 2) for _ in range(4)]
        more, some, first, second = chosen
        # Some are moved along the differences of others, so that they reach a little farther.
        scores = np.concatenate([scores, more, some + 0.3 * (first - second)])
    return _corrected(draws, exact, density, random), exact


def error_of(exact: Density, density: Density, draws: Array, random: Generator) -> float:
    """The standard deviation of the error of a density, at some of its draws."""
    some = random.choice(draws, TESTED_DRAWS)
    with np.errstate(invalid="ignore"):
        error = float(np.std(exact(some) - density(some)))
    return error if math.isfinite(error) else math.inf


def _corrected(
    draws: sampling.Draws, exact: Density, density: Density, random: Generator
) -> sampling.Draws:
    """Draws from the exact density, of those of one that is close to it, by their weights."""
    scores = draws.all
    with np.errstate(invalid="ignore"):
        logarithms = np.nan_to_num(exact(scores) - density(scores), nan=-np.inf)
    weights, pareto_k = sampling.smooth_weights(logarithms)
    chosen = scores[sampling.resample(weights, len(scores), random)]
    ess = sampling.effective(weights)
    doubts = (*draws.doubts, *sampling.doubts_of(pareto_k, ess, len(scores)))
    return replace(
        draws, scores=chosen[None], pareto_k=pareto_k, ess=min(draws.ess, ess), doubts=doubts
    )


# Modes of posteriors, and Laplace's approximation around them.

FARTHEST_SCORE = 6.0
"""Largest absolute score of a mode."""

TOLERANCE, MOST_ITERATIONS = 1e-7, 100

SAME_MODE_DISTANCE = 0.5
"""Modes that are closer than this, in standard deviations of the nearer one, are one."""

UNLIKELY_LOG_SHARE = 20.0
"""Modes whose share of the posterior is smaller than exp of minus this are left out."""


def modes(squares: SumsOfSquares, starts: Array) -> Minima:
    """Where the search of a mode ends from each start, (start, coordinate)."""
    low = torch.full((starts.shape[1],), -FARTHEST_SCORE, dtype=torch.float64)
    begin = torch.from_numpy(np.clip(starts, -FARTHEST_SCORE, FARTHEST_SCORE))
    return minimise(squares, begin, low, -low, TOLERANCE, MOST_ITERATIONS)


def laplace(density: Density, minima: Minima) -> sampling.Mixture:
    """Student's t around each distinct mode, in proportion to its share of the posterior by
    Laplace's method.

    The covariance is the inverse of the Gauss-Newton approximation of the curvature.
    """
    centres = minima.coordinates.numpy()
    curvature = minima.information.numpy()
    values = density(centres)
    distinct = _distinct(centres, curvature, values)
    centres = centres[distinct]
    curvature = curvature[distinct]
    values = values[distinct]
    log_shares = values - 0.5 * np.linalg.slogdet(curvature)[1]
    some = log_shares > log_shares.max() - UNLIKELY_LOG_SHARE
    return sampling.mixture(
        log_shares[some], centres[some], np.linalg.inv(curvature[some]), sampling.OF_PRIOR
    )


def likely(minima: Minima, most: int) -> list[int]:
    """The numbers of the lowest distinct minima, `most` at most; unlikely ones are left out."""
    heights = -minima.cost.numpy()
    distinct = _distinct(minima.coordinates.numpy(), minima.information.numpy(), heights)[:most]
    return [mode for mode in distinct if heights[mode] > heights[distinct[0]] - UNLIKELY_LOG_SHARE]


def _distinct(centres: Array, curvature: Array, values: Array) -> list[int]:
    """The numbers of the distinct modes, the highest first."""
    distinct: list[int] = []
    for mode in np.argsort(-values).tolist():
        apart = centres[mode] - centres[distinct]
        squares = np.einsum("mi,mij,mj->m", apart, curvature[distinct], apart)
        if np.isfinite(values[mode]) and not (squares < SAME_MODE_DISTANCE**2).any():
            distinct.append(mode)
    return distinct


# Modes of single observations, whose angles are turned and whose noise level may be unknown.


def search_modes(
    signals: Signals, prior: Prior, starts: Array, level: Level | None
) -> tuple[PosteriorDensity, sampling.Mixture]:
    """The posterior of the one observation of these signals, and a proposal for it around its
    modes.

    starts  (start, free parameter), scores, the best first
    level   of the noise if it is unknown
    The ends of the prior's angles are moved away from the modes, and the best mode is tried turned
    by half a period: a source whose strike is turned so may look much the same.
    """
    values = prior.values(starts)
    best = [0]
    # each with the angles of the modes, and the noise level of the best one, before
    for turn in range(4):
        prior = prior.cut_opposite(values[best].numpy())
        if turn == 1:
            values = torch.cat([values, torch.from_numpy(prior.turned(values[best[0]].numpy()))])
        sources = PosteriorDensity(signals, prior)
        scores = prior.scores(values.numpy())
        weight = 1.0
        if level is not None:
            chi2 = float(sources.chi2(scores[best[:1]])[0])
            weight = 1 / float(level.relative(np.asarray(level.likeliest(chi2))))
        minima = modes(PenalisedSquares(signals, prior, weight), scores)
        values = prior.values(minima.coordinates.numpy())
        best = likely(minima, len(scores)) or best
    if level is None:
        return sources, laplace(sources, minima)
    density = replace(sources, level=level)
    return density, laplace(density, _with_level(minima, sources, level))


def _with_level(minima: Minima, sources: PosteriorDensity, level: Level) -> Minima:
    """Modes with the likeliest level of each as the last coordinate."""
    chi2 = np.nan_to_num(sources.chi2(minima.coordinates.numpy()), nan=np.inf)
    scores = [level.likeliest(squares) for squares in chi2]
    column = torch.tensor(scores, dtype=torch.float64)[:, None]
    coordinates = torch.cat([minima.coordinates, column], dim=1)
    count, free = minima.coordinates.shape
    information = torch.zeros(count, free + 1, free + 1, dtype=torch.float64)
    information[:, :free, :free] = minima.information
    for mode, (squares, score) in enumerate(zip(chi2, scores, strict=True)):
        information[mode, free, free] = level.curvature(squares, score)
    return minima._replace(coordinates=coordinates, information=information)

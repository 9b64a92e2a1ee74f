"""Importance sampling: proposals that are adapted to the posterior, smoothed weights, and draws without weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.estimation.sampling.density import Density
from qexp.estimation.sampling.mixture import Mixture, mixture

Array = NDArray[np.float64]

GOOD, GOOD_K = 0.6, 0.5
"""Share of effective draws from which on, and k̂ up to which a proposal is not adapted further."""

ROUND, MOST_ROUNDS = 300, 6
"""Draws of the first two rounds for each coordinate, of which later ones have more; and most rounds."""

COMPONENTS = 4
"""Of a proposal, times the number of rounds."""

ENOUGH = 5.0
"""Effective draws for each coordinate of a component."""

NOTHING = 700.0
"""Of logarithms of weights below the largest one: exp of its negative is still a number."""

SPARE, LEAST = 2.5, 600
"""Proposals for each draw without weights, and at least."""


@dataclass(frozen=True)
class Weighted:
    """Draws from a proposal with their weights.

    proposal  from which they were drawn
    scores    (draw, coordinate)
    weights   (draw,)  they add up to 1
    pareto_k  the shape of the largest weights: above `largest_pareto_k`, estimates from them cannot be trusted
    ess       number of draws of equal weights that would be as good
    """

    proposal: Mixture
    scores: Array
    weights: Array
    pareto_k: float
    ess: float

    @property
    def good(self) -> bool:
        """Whether no better proposal is needed."""
        return self.pareto_k <= GOOD_K and self.ess >= GOOD * len(self.weights)


def largest_pareto_k(draws: int) -> float:
    """The largest k̂ with which weights can be trusted (Vehtari et al. 2024, J. Mach. Learn. Res. 25, 72)."""
    return min(1 - 1 / math.log10(draws), 0.7)


def sampled(density: Density, proposal: Mixture, random: np.random.Generator, draws: int) -> Weighted:
    """Weighted draws of a density, with the proposal adapted to it, and once more if the weights are not good."""
    count = max(LEAST, math.ceil(SPARE * draws))
    close = adapted(density, proposal, random)
    made = weighted(density, close, random, count)
    if made.good or not made.ess:
        return made
    again = weighted(density, close.fitted(made.scores, made.weights), random, count)
    return again if again.pareto_k < made.pareto_k else made


def weighted(density: Density, proposal: Mixture, random: np.random.Generator, count: int) -> Weighted:
    """Draws of a proposal, with Pareto-smoothed weights."""
    scores = proposal.draws(count, random)
    return _weighted(proposal, scores, density(scores))


def _weighted(proposal: Mixture, scores: Array, values: Array) -> Weighted:
    weights, shape = smoothed(values - proposal.log_density(scores))
    return Weighted(proposal, scores, weights, shape, effective(weights) if math.isfinite(shape) else 0.0)


def smoothed(logarithms: Array) -> tuple[Array, float]:
    """Pareto-smoothed weights, which add up to 1, and k̂; of logarithms of weights, but for a constant.

    k̂ is infinite where all weights are zero.
    """
    from arviz_stats.base import array_stats  # loads xarray and pandas where they are installed

    count, highest = len(logarithms), logarithms.max()
    if not np.isfinite(highest):
        return np.full(count, 1 / count), math.inf
    smooth, shape = array_stats.psislw(np.minimum(highest - logarithms, NOTHING))  # it takes their negatives
    weights = np.exp(smooth - smooth.max())
    return weights / weights.sum(), float(shape)


def effective(weights: Array) -> float:
    """The effective number of draws with these weights (Kish 1965)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def adapted(density: Density, proposal: Mixture, random: np.random.Generator) -> Mixture:
    """A proposal that is as close to the density as some rounds of draws make it.

    Draws of all rounds count, each as if it came from the mean of their proposals (Cornuet, Marin, Mira and Robert
    2012, Scand. J. Stat. 39, 798-812).
    """
    best, highest = proposal, -1.0  # share of effective draws
    size = proposal.centres.shape[1]
    scores, values, used = np.zeros((0, size)), np.zeros(0), list[Mixture]()
    for again in range(MOST_ROUNDS):
        new = proposal.draws(ROUND * size * (1 + again // 2), random)
        of_new = density(new)
        made = _weighted(proposal, new, of_new)
        if made.ess > highest * len(new):
            best, highest = proposal, made.ess / len(new)
        if made.good:
            break
        scores, values, used = np.concatenate([scores, new]), np.concatenate([values, of_new]), [*used, proposal]
        mean = np.logaddexp.reduce([one.log_density(scores) for one in used])
        with np.errstate(invalid="ignore"):
            weights = np.exp(values - mean - (values - mean).max())
        if not np.isfinite(weights).all():
            break
        weights = np.minimum(weights, weights.mean() * math.sqrt(len(weights)))  # Ionides (2008)
        weights /= weights.sum()
        most = int(effective(weights) / (ENOUGH * size))
        components = max(1, min(COMPONENTS * len(used), most))
        proposal = _closer(scores, weights, components, random).fitted(scores, weights)
    return best


def _closer(scores: Array, weights: Array, components: int, random: np.random.Generator) -> Mixture:
    """A mixture with centres at draws, spread like them."""
    centres = scores[resampled(weights, components, random)]
    mean = weights @ scores
    spread = (weights[:, None] * (scores - mean)).T @ (scores - mean) / components ** (2 / scores.shape[1])
    return mixture(np.zeros(components), centres, np.tile(spread, (components, 1, 1)), OF_PRIOR)


OF_PRIOR = 0.05
"""Share of a proposal that is drawn from the prior."""


def resampled(weights: Array, count: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Numbers of draws in proportion to their weights, systematically, in random order (Kitagawa 1996)."""
    at = (np.arange(count) + random.random()) / count
    chosen = np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), at), len(weights) - 1)
    return np.asarray(random.permutation(chosen))

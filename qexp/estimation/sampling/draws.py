"""Draws from a posterior, by one of several methods, and whether they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.estimation.sampling.density import Density
from qexp.estimation.sampling.grid import gridded
from qexp.estimation.sampling.importance import Weighted, largest_pareto_k, resampled, sampled, weighted
from qexp.estimation.sampling.mixture import Mixture

Array = NDArray[np.float64]

STARTS = 1000
"""Draws by importance sampling of which some are the starts of chains."""

FEW = 200.0
"""Effective number of draws below which quantiles are rough."""


@dataclass(frozen=True)
class Draws:
    """Draws of equal weights from a posterior, in scores.

    scores    (chain, draw, coordinate)
    method    by which they were found
    pareto_k  k̂ of the weights, where there are any
    ess       effective number of draws
    r_hat     of chains
    doubts    sentences on why they are not to be trusted; none if they are
    """

    scores: Array
    method: str
    pareto_k: float | None
    ess: float
    r_hat: float | None = None
    doubts: tuple[str, ...] = ()

    @property
    def all(self) -> Array:
        """Those of all chains, (draw, coordinate)."""
        return self.scores.reshape(-1, self.scores.shape[-1])


def by_laplace(density: Density, proposal: Mixture, count: int, random: np.random.Generator) -> Draws:
    """Draws from normal distributions around the modes; weights are computed only to judge these."""
    tested = weighted(density, proposal, random, max(count, 1000))
    drawn = proposal.wider(1.0).draws(count, random, degrees=math.inf)
    doubts = doubts_of(tested.pareto_k, tested.ess, len(tested.weights))
    return Draws(random.permutation(drawn)[None], "laplace", tested.pareto_k, float(count), doubts=doubts)


def by_importance(density: Density, proposal: Mixture, count: int, random: np.random.Generator) -> Draws:
    """Draws from a mixture of distributions that was adapted to the posterior, resampled by their weights."""
    return _resampled(sampled(density, proposal, random, count), count, random)


def by_sampler(density: Density, proposal: Mixture, count: int, random: np.random.Generator) -> Draws:
    """Draws by chains that start where importance sampling found the posterior."""
    return _walked_from(sampled(density, proposal, random, count), density, count, random)


def by_either(density: Density, proposal: Mixture, count: int, random: np.random.Generator) -> Draws:
    """Draws by importance sampling, and by chains from there if these are not to be trusted."""
    weights = sampled(density, proposal, random, count)
    made = _resampled(weights, count, random)
    return _walked_from(weights, density, count, random) if made.doubts else made


def _resampled(made: Weighted, count: int, random: np.random.Generator) -> Draws:
    chosen = made.scores[resampled(made.weights, count, random)]
    doubts = doubts_of(made.pareto_k, made.ess, len(made.weights))
    return Draws(chosen[None], "importance", made.pareto_k, made.ess, doubts=doubts)


def by_grid(density: Density, proposal: Mixture, count: int, random: np.random.Generator) -> Draws:
    """Draws from a grid that closes in on the posterior."""
    return Draws(gridded(density, proposal, count, random)[None], "grid", None, float(count))


METHODS: dict[str, Callable[[Density, Mixture, int, np.random.Generator], Draws]] = {
    "auto": by_either,
    "laplace": by_laplace,
    "importance": by_importance,
    "sampler": by_sampler,
    "grid": by_grid,
}


def _walked_from(made: Weighted, density: Density, count: int, random: np.random.Generator) -> Draws:
    from qexp.estimation.sampling.ensemble import walked  # emcee loads scipy.stats, in half a second

    starts = made.scores[resampled(made.weights, STARTS, random)]
    chains = walked(density, made.proposal, starts, random)
    walkers, steps = chains.scores.shape[:2]
    each = min(steps, math.ceil(count / walkers))
    kept = np.linspace(0, steps - 1, each).round().astype(int)
    return Draws(chains.scores[:, kept], "sampler", made.pareto_k, chains.ess, chains.r_hat, chains.doubts)


def doubts_of(pareto_k: float, ess: float, draws: int) -> tuple[str, ...]:
    """Why weights are not to be trusted."""
    if not pareto_k <= (limit := largest_pareto_k(draws)):
        return (f"the largest weights are too unequal: Pareto k̂ is {pareto_k:.2f}, and should be at most {limit:.2f}",)
    if ess < FEW:
        return (f"the weights leave {ess:.0f} effective draws, and should leave {FEW:.0f}",)
    return ()

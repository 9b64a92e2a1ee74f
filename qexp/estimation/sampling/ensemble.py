"""Markov chains of many walkers that move along the differences between one another."""

from __future__ import annotations

from dataclasses import dataclass

import emcee
import numpy as np
from numpy.typing import NDArray

from qexp.estimation.sampling.density import Density
from qexp.estimation.sampling.mixture import Mixture

Array = NDArray[np.float64]

WALKERS, PER_COORDINATE, GROUPS = 200, 20, 4
"""Number of walkers: the first, or for many coordinates the second for each; and of groups of them, between which R̂
tells a difference, as each walker alone has too few draws."""

BURN_IN, STEPS, MOST_STEPS = 100, 200, 1600
"""Steps that are left out; steps after which chains are tested, each time after twice as many; and most steps."""

MIXED, ENOUGH = 1.01, 800.0
"""Largest R̂ and least effective number of draws with which chains end."""


@dataclass(frozen=True)
class Chains:
    """Draws of walkers that have found to the density.

    scores  (walker, step, coordinate)
    r_hat   largest rank-normalised split R̂ of a coordinate, between groups of walkers (Vehtari et al. 2021, Bayesian
            Anal. 16, 667-718)
    ess     least effective number of draws of a coordinate, in the bulk or the tails
    """

    scores: Array
    r_hat: float
    ess: float

    @property
    def mixed(self) -> bool:
        return not self.doubts

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the draws are not to be trusted."""
        if not self.r_hat <= MIXED:
            return (f"the chains did not mix: R̂ is {self.r_hat:.3f}, and should be at most {MIXED}",)
        if not self.ess >= ENOUGH:
            return (f"the chains have {self.ess:.0f} effective draws, and should have {ENOUGH:.0f}",)
        return ()


class Independent(emcee.moves.RedBlueMove):  # type: ignore[misc]
    """Moves to draws of a proposal, wherever the walker is: between modes, and wherever the proposal fits."""

    def __init__(self, proposal: Mixture) -> None:
        super().__init__()
        self.proposal = proposal

    def get_proposal(self, s: Array, c: Array, random: np.random.RandomState) -> tuple[Array, Array]:
        """New places of the walkers `s`, and the logarithm of the ratio by which their acceptance is corrected."""
        new = self.proposal.draws(len(s), np.random.default_rng(random.randint(2**31)))
        new = new[random.permutation(len(s))]
        return new, self.proposal.log_density(s) - self.proposal.log_density(new)


def walked(density: Density, proposal: Mixture, starts: Array, random: np.random.Generator) -> Chains:
    """Walk from starts, (start, coordinate), that are spread about as widely as the density.

    Some moves are to draws of the proposal, which importance sampling has fitted; others are along the differences of
    walkers (ter Braak 2006; ter Braak and Vrugt 2008) or stretch them (Goodman and Weare 2010).
    """
    size = starts.shape[1]
    walkers = max(WALKERS, PER_COORDINATE * size)
    chosen = random.choice(len(starts), walkers, replace=len(starts) < walkers)
    spread = starts.std(axis=0) + 1e-9
    begin = starts[chosen] + 1e-3 * spread * random.standard_normal((walkers, size))
    outside = ~np.isfinite(density(begin))
    begin[outside] = starts[chosen][outside]
    moves = [
        (Independent(proposal), 0.5),
        (emcee.moves.DEMove(), 0.3),
        (emcee.moves.DESnookerMove(), 0.1),
        (emcee.moves.StretchMove(), 0.1),
    ]
    sampler = emcee.EnsembleSampler(walkers, size, density, vectorize=True, moves=moves)
    stream = np.random.RandomState(int(random.integers(2**32)))
    state = emcee.State(begin, random_state=stream.get_state())
    state = sampler.run_mcmc(state, BURN_IN, skip_initial_state_check=True)
    sampler.reset()
    while True:
        state = sampler.run_mcmc(state, max(STEPS, sampler.iteration), skip_initial_state_check=True)
        chains = _judged(sampler.get_chain().swapaxes(0, 1))
        if chains.mixed or sampler.iteration >= MOST_STEPS:
            return chains


def _judged(scores: Array) -> Chains:
    from arviz_stats.base import array_stats

    each = [scores[..., index] for index in range(scores.shape[2])]
    r_hat = max(float(array_stats.rhat(_in_groups(one))) for one in each)
    bulk = min(float(array_stats.ess(one, method="bulk")) for one in each)
    tails = min(float(array_stats.ess(one, method="tail", prob=(0.05, 0.95))) for one in each)
    return Chains(scores, r_hat, min(bulk, tails))


def _in_groups(walkers: Array) -> Array:
    """(group, draw), in the order of steps, of (walker, step)."""
    return walkers.reshape(GROUPS, -1, walkers.shape[1]).swapaxes(1, 2).reshape(GROUPS, -1)

"""Draws by signals that are reduced around the posterior of one observation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.estimation.sampling.density import Density
from qexp.estimation.sampling.draws import METHODS, Draws
from qexp.estimation.sampling.signals import Signals
from qexp.estimation.sampling.turned import Found, density_of

Array = NDArray[np.float64]

SPANNING, TRIED = 300, 60
"""Sources that span the basis of signals at first; and draws on which it is tested."""

WIDER = 1.5
"""Factor by which these sources are spread wider than the proposal."""

CLOSE, ATTEMPTS = 0.1, 3
"""Largest standard deviation of the error of the logarithm of the density that reduced signals may make; and how often
a larger basis is sought before the whole signals are taken."""


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
        if _error(found.density, density, draws.all, random) <= CLOSE:
            return draws
        spanning = np.concatenate([spanning, random.choice(draws.all, SPANNING)])
    return sample(found.density, found.proposal, count, random)


def _error(exact: Density, density: Density, draws: Array, random: np.random.Generator) -> float:
    """The standard deviation of the error of a density, at some of its draws."""
    some = random.choice(draws, TRIED)
    with np.errstate(invalid="ignore"):
        error = float(np.std(exact(some) - density(some)))
    return error if math.isfinite(error) else math.inf

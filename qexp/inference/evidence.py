"""The evidence of a model: the mean of its likelihood over its prior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from qexp.base.arrays import Array

BRIDGE_ROUNDS, BRIDGE_TOLERANCE = 200, 1e-8
"""Rounds at most, and change of the logarithm with which they end."""


@dataclass(frozen=True)
class Evidence:
    """log    natural logarithm, with the constant of the likelihood
    error  its standard error
    """

    log: float
    error: float


def by_bridge(of_posterior: Array, of_proposal: Array, effective: float) -> Evidence:
    """By bridge sampling, of draws of the posterior and of a proposal.

    of_posterior  logarithm of unnormalised density over proposal at draws of the posterior, (draw,)
    of_proposal   the same at draws of the proposal, (other draw,)
    effective     number of independent draws as good as those of the posterior

    Meng and Wong (1996), Stat. Sinica 6, 831-860, with the best bridge; error by
    Frühwirth-Schnatter (2004), Econom. J. 7, 143-167.
    """
    count = len(of_proposal)
    share, other = effective / (effective + count), count / (effective + count)
    log = float(np.median(of_posterior))
    for _ in range(BRIDGE_ROUNDS):
        # logarithms of both densities over their mixture
        posterior = of_proposal - np.logaddexp(np.log(share) + of_proposal, np.log(other) + log)
        proposal = -np.logaddexp(np.log(share) + of_posterior, np.log(other) + log)
        former, log = (
            log,
            float(
                logsumexp(posterior)
                - math.log(count)
                - logsumexp(proposal)
                + math.log(len(of_posterior))
            ),
        )
        if abs(log - former) < BRIDGE_TOLERANCE:
            break
    variances = []
    for logs, draws in ((posterior, count), (proposal, effective)):
        relative = np.exp(logs - logsumexp(logs)) * len(logs)  # with a mean of 1
        variances.append(float(relative.var()) / draws)
    return Evidence(log, math.sqrt(sum(variances)))

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
    none   of an evidence over that of no source: the logarithm of that, but for a constant
    """

    log: float
    error: float
    none: float = 0.0


def by_bridge(of_posterior: Array, of_proposal: Array, effective: float) -> Evidence:
    """By bridge sampling, of draws of the posterior and of a proposal.

    of_posterior  logarithm of unnormalised density over proposal at draws of the posterior, (draw,)
    of_proposal   the same at draws of the proposal, (other draw,)
    effective     number of independent draws as good as those of the posterior

    Meng and Wong (1996), Stat. Sinica 6, 831-860, with the best bridge; error by
    Frühwirth-Schnatter (2004), Econom. J. 7, 143-167.
    """
    count = len(of_proposal)
    share = math.log(effective / (effective + count))
    other = math.log(count / (effective + count))
    log = float(np.median(of_posterior))
    for _ in range(BRIDGE_ROUNDS):
        former = log
        # logarithms of both densities over their mixture, with the size of the posterior as found
        # so far
        mixture_at_proposal = np.logaddexp(share + of_proposal, other + log)
        mixture_at_posterior = np.logaddexp(share + of_posterior, other + log)
        posterior = of_proposal - mixture_at_proposal
        proposal = -mixture_at_posterior
        log = log_mean(posterior) - log_mean(proposal)
        if abs(log - former) < BRIDGE_TOLERANCE:
            break
    variance = 0.0
    for logs, draws in ((posterior, count), (proposal, effective)):
        relative = np.exp(logs - log_mean(logs))
        variance += float(relative.var()) / draws
    return Evidence(log, math.sqrt(variance))


def log_mean(logarithms: Array) -> float:
    """The logarithm of the mean of what these are logarithms of."""
    total = logsumexp(logarithms)
    return float(total) - math.log(len(logarithms))

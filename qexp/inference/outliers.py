"""Outliers that no model of noise has, such as wrongly unwrapped points: they count for less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from qexp.base.arrays import Array
from qexp.inference.fit import Fit, refine_fit
from qexp.inference.least_squares import Problem
from qexp.inference.parameters import Search
from qexp.inference.weighting import Weighting

CORE, TAIL_DEGREES = 2.5, 1.0
"""Deviations up to which errors are normal, and degrees of freedom of the tails beyond."""
ROUNDS, SETTLED = 12, 0.05
"""Rounds at most; and largest change of a weight with which they end."""


def without_outliers(
    problem: Problem, fit: Fit, searches: Sequence[Search], seed: int
) -> tuple[Problem, Fit, list[Array]]:
    """The problem with errors that have the tails of Student's t distribution given all other
    points, its minimum, and the weights of the points of each block, (point,), 1 at most.

    Given all others, a point has a normal distribution about what they predict (Sundararajan and
    Keerthi 2001, Neural Comput. 13, 1103-1118), the source and nuisances being fitted to them. At a
    distance of z such deviations a likelihood of Student's t is that of a normal distribution whose
    variance is ∝ ν + z² (Lange, Little and Taylor 1989, J. Am. Stat. Assoc. 84, 881-896). It is
    followed beyond the core c alone, with the weight (ν + c²) / (ν + z²): weights at all distances,
    counted as known, would make intervals without outliers too narrow. Weights are found in turns
    with the source. The points of a patch that is shifted as a whole predict each other: one that
    is wide against the range of the noise is none of outliers.
    """
    given = problem.weighting
    begin = fit
    extra = np.zeros(problem.model.points)
    weights = np.ones_like(extra)
    for _ in range(ROUNDS):
        former = weights
        apart, variance = _given_others(problem, fit)
        variance = np.maximum(variance - extra, 1e-3 * variance)
        weights = (TAIL_DEGREES + CORE**2) / (TAIL_DEGREES + apart**2 / variance)
        weights = np.minimum(weights, 1.0)
        extra = variance * (1 / weights - 1)
        pairs = zip(given.blocks, given.slices, strict=True)
        weighting = Weighting([block.with_error(np.sqrt(extra[part])) for block, part in pairs])
        problem = problem.with_weighting(weighting)
        fit = refine_fit(problem, fit.source, searches, seed)
        if np.abs(weights - former).max() < SETTLED:
            break
    fit = replace(fit, starts=begin.starts, agreeing=begin.agreeing)
    return problem, fit, [weights[where] for where in given.slices]


def _given_others(problem: Problem, fit: Fit) -> tuple[Array, Array]:
    """Of each point the difference from what all others predict, source and nuisances fitted to
    them, and its variance, (point,) [m, m²].
    """
    residual, jacobian = problem.linearised(fit.place, torch.arange(1))
    basis, _ = torch.linalg.qr(jacobian[0].mT)
    left = residual[0] - basis @ (basis.mT @ residual[0])
    pulls = []
    precisions = []
    for number, where in enumerate(problem.weighting.slices):
        unit = torch.eye(where.stop - where.start, dtype=torch.float64)
        columns = problem.weighting.of_block(number, unit)
        pulls.append(columns @ left[where])
        taken = (columns @ basis[where]).square().sum(dim=1)
        precisions.append(columns.square().sum(dim=1) - taken)
    precision = torch.cat(precisions).clamp(min=torch.finfo(torch.float64).tiny)
    apart = torch.cat(pulls) / precision
    return apart.numpy(), (1 / precision).numpy()

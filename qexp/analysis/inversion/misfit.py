"""Whether what a fit leaves of an observation is the declared noise."""

from __future__ import annotations

import numpy as np
import torch

from qexp.calibration.misfit import Misfit, blocks_of, misfit
from qexp.estimation.fit import Fit
from qexp.estimation.problem import Problem

SIGNIFICANT = 1e-3
"""p-value below which residuals are said not to be the declared noise."""


def of_residuals(fit: Fit, problem: Problem) -> Misfit:
    """Tests of the whitened residuals at the minimum, (1,) each; blocks extend over the area of each track."""
    residuals, _ = problem.linearised(torch.from_numpy(fit.at)[None], torch.arange(1))
    places, blocks, first = problem.model.positions.numpy(), [], 0
    for where in problem.weighting.slices:
        own = blocks_of(*places[where].T)
        blocks.append(own + first)
        first += int(own.max()) + 1
    return misfit(residuals.numpy(), np.concatenate(blocks), len(fit.free) + problem.weighting.nuisances)


def remark(found: Misfit, chi2_reduced: float) -> list[str]:
    """A sentence if the residuals are not the declared noise, and what they are like."""
    p_value = float(found.p_value[0])
    if p_value >= SIGNIFICANT:
        return []
    each = {
        "they are larger everywhere": found.total,
        "they vary over long distances, as those of another source would": found.smooth,
        "they are large in one place, as after an unwrapping error": found.local,
    }
    words = min(each, key=lambda name: float(each[name][0]))
    amount = f"p = {p_value:.1g}" if p_value > 0 else "p < 1e-300"
    return [
        f"the residuals are not the declared noise ({amount}, reduced χ² {chi2_reduced:.3g}): {words}; either no "
        "source of this type explains the observation, or its noise is stronger than declared"
    ]

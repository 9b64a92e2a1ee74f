"""Least squares from an estimate, such as a network's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qexp.estimation.criteria import shows_source
from qexp.estimation.fit import Fit, best
from qexp.estimation.parameters import Search
from qexp.estimation.problem import Problem
from qexp.estimation.starts import STARTS, starts

MANY = 16
"""Minima that are followed with all points where many have about the same cost."""


def refined(problem: Problem, near: Tensor, searches: Sequence[Search], seed: int) -> Fit:
    """The lowest of the minima that an estimate and others near it lead to.

    Where no source is seen in the data, there are many minima of about the same cost, and an estimate tells little of
    the lowest: then the search goes on from starts that are spread over all parameters.

    near      (start, parameter)  values of all parameters in SI units
    searches  of each parameter
    Raises QexpError if no start is possible.
    """
    fit = best(problem, near, seed)
    if shows_source(problem, fit):
        return fit
    everywhere = starts(problem.to_search(seed), searches, STARTS, seed)
    return best(problem, torch.cat([near, everywhere]), seed, followed=MANY)

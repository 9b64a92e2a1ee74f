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

SOME = 8
"""Starts that are spread over all parameters where one is an angle: estimates of these may be wrong by half a turn."""
MANY = 16
"""Minima that are followed with all points where many have about the same cost."""


def refined(problem: Problem, near: Tensor, searches: Sequence[Search], seed: int) -> Fit:
    """The lowest of the minima that an estimate, others near it, and a few starts elsewhere, if need be, lead to.

    Where no source is seen in the data, there are many minima of about the same cost, and an estimate tells little of
    the lowest: then the search goes on from more starts everywhere.

    near      (start, parameter)  values of all parameters in SI units
    searches  of each parameter
    Raises QexpError if no start is possible.
    """

    def with_more(count: int) -> Tensor:
        return torch.cat([near, starts(problem.to_search(seed), searches, count, seed)])

    turning = any(problem.coordinates.parameters[index].period is not None for index in problem.coordinates.free)
    fit = best(problem, with_more(SOME), seed, followed=MANY) if turning else best(problem, near, seed)
    if shows_source(problem, fit):
        return fit
    return best(problem, with_more(STARTS), seed, followed=MANY)

"""Least squares from an estimate, such as a network's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qexp.estimation.criteria import shows_source
from qexp.estimation.fit import BRIEF, FOLLOWED, ROUGH, Fit, best
from qexp.estimation.parameters import Search
from qexp.estimation.problem import Problem
from qexp.estimation.starts import starts
from qexp.quantities import base_name

SOME = 16
"""Starts at the estimate's position, spread over all other parameters, if one of these is an angle: its estimate may
be wrong by half a turn. Without an angle there are few local minima, and as many starts are enough after a poor fit."""
ELSEWHERE = 64
"""Starts that are spread over all parameters where an estimate is uninformative."""
POOR, ROUNDS = 2.0, 2
"""Reduced χ² above which the fit is poor, so that the search is repeated from other starts; and the number of
repetitions, which is 1 without an angle."""
MANY = 16
"""Minima that are followed with all points where many have about the same cost."""


def refined(problem: Problem, near: Tensor, searches: Sequence[Search], seed: int) -> Fit:
    """The lowest minimum reached from an estimate, from starts near it and, if necessary, from starts elsewhere.

    If the best minimum is a poor fit, the search is repeated from starts over the whole range of the parameters, first
    with more noise than was declared, see `Problem.softened`. It is also repeated if the data show no significant
    source: there are then many minima of about the same cost, and the estimate may be far from the lowest.

    near      (start, parameter)  values of all parameters in SI units
    searches  of each parameter
    Raises QexpError if no start is possible.
    """
    search, turns = problem.to_search(seed), _turns(problem)
    if turns:
        around = starts(search, _in_place(searches, near[0]), SOME, seed)
        fit = best(problem, torch.cat([near, around]), seed, followed=MANY)
    else:
        fit = best(problem, near, seed)
    count, followed, rounds = (ELSEWHERE, MANY, ROUNDS) if turns else (SOME, FOLLOWED, 1)
    for again in range(rounds):
        if fit.chi2_reduced <= POOR:
            break
        soft = search.softened()
        lowest = _lowest(soft, starts(soft, searches, count, seed + again))[:followed]
        fit = best(problem, torch.cat([_values(fit), lowest]), seed, followed=followed)
    if shows_source(problem, fit):
        return fit
    return best(problem, torch.cat([_values(fit), starts(search, searches, ELSEWHERE, seed)]), seed, followed=MANY)


def _values(fit: Fit) -> Tensor:
    return torch.from_numpy(fit.values)[None]


def _lowest(problem: Problem, begin: Tensor) -> Tensor:
    """Values of the lowest minima that starts lead to."""
    minima = problem.minimum(begin, ROUGH, BRIEF)
    return problem.coordinates.values(minima.coordinates[minima.cost.argsort()[:MANY]])


def _turns(problem: Problem) -> bool:
    """Whether a free parameter goes all around."""
    coordinates = problem.coordinates
    return any(coordinates.parameters[index].period is not None for index in coordinates.free)


def _in_place(searches: Sequence[Search], at: Tensor) -> list[Search]:
    """Searches whose starts lie at the same east and north."""
    return [
        one.held_at(value) if base_name(one.parameter.name) in ("x", "y") else one
        for one, value in zip(searches, at.tolist(), strict=True)
    ]

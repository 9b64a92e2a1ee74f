"""Starts of a search for the global minimum, spread evenly over all parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from qexp.errors import QexpError
from qexp.estimation.parameters import Search
from qexp.estimation.problem import Problem

STARTS = 32
"""Of a search, unless another number is asked for."""
MOST_DRAWN = 1 << 16
"""Points drawn at most for starts that a model can have."""


def starts(problem: Problem, searches: Sequence[Search], count: int, seed: int) -> Tensor:
    """Values of all parameters in SI units, (start, parameter).

    Parameters that are neither fixed nor amplitudes are drawn by a scrambled Sobol sequence, between the limits of
    their search; those that are no possible source are left out. Amplitudes are then the best ones by linear least
    squares. Raises QexpError if the limits leave no possible source.
    """
    coordinates = problem.coordinates
    free = [searches[index] for index in coordinates.free]
    low, high = (
        torch.tensor([one.parameter.coordinate(getattr(one, end)) for one in free], dtype=torch.float64)
        for end in ("low", "high")
    )
    sequence = SobolEngine(len(free), scramble=True, seed=seed)
    found, power = low.new_empty(0, len(free)), 0
    while len(found) < count:
        power = power + 1 if power else max(count - 1, 1).bit_length()
        if 1 << power > MOST_DRAWN:
            raise QexpError("the bounds leave no possible source for a start; widen them, for example to larger depths")
        sequence.reset()  # a Sobol sequence is even over its first 2^power points
        candidates = low + sequence.draw(1 << power, dtype=torch.float64) * (high - low)
        found = candidates[problem.model.possible(coordinates.values(candidates))]
    return coordinates.values(_with_best_amplitudes(problem, free, found[:count]))


def _with_best_amplitudes(problem: Problem, free: Sequence[Search], at: Tensor) -> Tensor:
    """The coordinates with amplitudes by linear least squares, (start, coordinate), within their bounds."""
    linear = [index for index, one in enumerate(free) if one.amplitude]
    if not linear:
        return at
    at = at.clone()
    low, high = problem.coordinates.low[linear], problem.coordinates.high[linear]
    some = torch.ones(len(linear), dtype=at.dtype).clamp(low, high)
    # Any other than zero, where some models would have no derivatives by their other parameters.
    at[:, linear] = torch.where(some == 0, low, some)
    for start in range(0, len(at)):
        row = slice(start, start + 1)
        residuals, jacobian = problem.linearised(at[row], torch.zeros(1, dtype=torch.long))
        columns = jacobian[0, linear].mT
        step = torch.linalg.lstsq(columns, -residuals[0][:, None], driver="gelsd").solution[:, 0]
        at[start, linear] += step
    return at.clamp(problem.coordinates.low, problem.coordinates.high)

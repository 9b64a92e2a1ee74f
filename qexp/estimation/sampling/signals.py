"""What sources would look like in data whose noise is independent and of variance 1, in as few numbers as possible."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import qr
from torch import Tensor

from qexp.estimation.deformation import Deformation
from qexp.estimation.problem import MOST_NUMBERS, Problem

Array = NDArray[np.float64]

NEGLIGIBLE = 1e-7
"""Share of the largest singular value below which a direction of signals is left out."""

MOST_PLACES = 0.25
"""Share of the points from which on a reduction is not worth its errors."""


class Signals(Protocol):
    """Whitened signals of sources; and the data of one observation or several in the same numbers.

    data  (observation, number)
    rest  (observation,)  χ² of what no signal can explain
    """

    data: Tensor
    rest: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """(source, number) of the values of all parameters, (source, parameter) in SI units; NaN if impossible."""
        ...

    def of(self, observation: int) -> Signals:
        """The same with the data of one observation."""
        ...


class WholeSignals:
    """The signals at all points of a problem, weighted, without what nuisances explain.

    noise  the standard deviation of the noise in units of that by which the problem weights
    """

    def __init__(self, problem: Problem, noise: float = 1.0) -> None:
        self.model, self.noise, self._weighting = problem.model, noise, problem.weighting
        self.data = problem.weighted / noise
        self.rest = self.data.new_zeros(len(self.data))

    def __call__(self, values: Tensor) -> Tensor:
        return _in_blocks(values, self.model, self.weighted)

    def weighted(self, moved: Tensor) -> Tensor:
        return self._weighting(moved) / self.noise

    def of(self, observation: int) -> WholeSignals:
        one, rows = copy(self), slice(observation, observation + 1)
        one.data, one.rest = self.data[rows], self.rest[rows]
        return one

    @property
    def degrees(self) -> int:
        """Points less nuisances."""
        return self.model.points - self._weighting.nuisances


class ReducedSignals:
    """Signals in a basis of those of some sources, found from their displacements at a few points.

    model  at these points
    turn   (point, number)  displacements at the points → coefficients
    """

    def __init__(self, model: Deformation, turn: Tensor, data: Tensor, rest: Tensor) -> None:
        self.model, self.turn, self.data, self.rest = model, turn, data, rest

    def __call__(self, values: Tensor) -> Tensor:
        return _in_blocks(values, self.model, lambda moved: moved @ self.turn)

    def of(self, observation: int) -> ReducedSignals:
        one = slice(observation, observation + 1)
        return ReducedSignals(self.model, self.turn, self.data[one], self.rest[one])


def reduced(
    whole: WholeSignals, values: Tensor, checked: Tensor | None = None, tolerance: float = 0.0
) -> ReducedSignals | None:
    """Signals in a basis of those of some sources, by empirical interpolation; None where that has no advantage or is
    not accurate.

    values     (source, parameter)  sources that span the basis
    checked    (source, parameter)  others, on which it is tested; None: it is not
    tolerance  largest error, relative to the signal

    The basis are the left singular vectors of displacements; as many points determine the coefficients, chosen by a
    QR decomposition with pivots (Drmač and Gugercin 2016, SIAM J. Sci. Comput. 38, A631-A648). Computing a likelihood
    this way is reduced-order quadrature (Antil et al. 2013, J. Sci. Comput. 57, 604-637).
    """
    moved = whole.model(values[whole.model.possible(values)])
    lengths = whole.weighted(moved).norm(dim=1)
    seen = lengths > 0
    _, sizes, right = torch.linalg.svd(moved[seen] / lengths[seen, None], full_matrices=False)
    basis = right[sizes > NEGLIGIBLE * sizes[0]]
    if len(basis) > MOST_PLACES * whole.model.points:
        return None
    _, pivots = qr(basis.numpy(), mode="r", pivoting=True)
    places = torch.from_numpy(np.sort(pivots[: len(basis)])).long()
    whitened = whole.weighted(basis)
    vectors, triangle = torch.linalg.qr(whitened.mT)  # (point, number), (number, basis)
    turn = torch.linalg.pinv(basis[:, places]) @ triangle.mT
    data = whole.data @ vectors
    rest = (whole.data.square().sum(dim=1) - data.square().sum(dim=1)).clamp(min=0)
    made = ReducedSignals(whole.model.at(places), turn, data, rest)
    return made if checked is None or _accurate(made, whole, vectors, checked, tolerance) else None


def _accurate(made: ReducedSignals, whole: WholeSignals, vectors: Tensor, checked: Tensor, tolerance: float) -> bool:
    possible = checked[whole.model.possible(checked)]
    exact = whole(possible)
    error = (made(possible) @ vectors.mT - exact).norm(dim=1)
    return bool((error <= tolerance * exact.norm(dim=1)).all())


def _in_blocks(values: Tensor, model: Deformation, weighted: Callable[[Tensor], Tensor]) -> Tensor:
    """Weighted displacements of those sources that are possible; NaN for the others."""
    possible = model.possible(values)
    parts = [weighted(model(some)) for some in values[possible].split(max(MOST_NUMBERS // model.points, 1) or 1)]
    if not parts:
        parts = [weighted(values.new_zeros(0, model.points))]
    found = torch.cat(parts)
    made = found.new_full((len(values), found.shape[1]), torch.nan)
    made[possible] = found
    return made

"""Nonlinear least squares by Levenberg and Marquardt's method, many problems at a time, within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

MOST_ITERATIONS = 300
STEP_TOLERANCE = 1e-10
"""A problem has converged if no coordinate moves by more than this; coordinates are of the order of 1."""
REDUCTION_TOLERANCE = 1e-10
"""A problem has converged if a step reduces the cost by less than this share, and is not expected to reduce it more."""
GRADIENT_TOLERANCE = 1e-9
"""A problem has converged if the cosine between the residuals and each column of the Jacobian is below this."""
FIRST_DAMPING = 1e-3
LARGEST_DAMPING = 1e16


class SumsOfSquares(Protocol):
    """Problems of the same parameters, each of which minimises half of its sum of squared residuals."""

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Half of the sum of squares of the problems `which`, (problem,), at (problem, coordinate); inf outside of the
        domain of the model. The gradient Jᵀr, (problem, coordinate); and JᵀJ, (problem, coordinate, coordinate).
        """
        ...


@dataclass(frozen=True)
class Minima:
    """Where the iterations of each problem ended.

    coordinates  (problem, coordinate)
    cost         (problem,)  half of the sum of squared residuals; inf if the start was outside of the model's domain
    information  (problem, coordinate, coordinate)  JᵀJ
    iterations   (problem,)  steps tried
    converged    (problem,)  whether a test of convergence was met, and not the largest number of iterations
    """

    coordinates: Tensor
    cost: Tensor
    information: Tensor
    iterations: Tensor
    converged: Tensor

    def of(self, problems: Sequence[int]) -> Minima:
        """Those of some of the problems."""
        which = list(problems)
        return Minima(*(part[which] for part in self._parts))

    def and_those(self, other: Minima) -> Minima:
        """These, and then those of other problems with the same coordinates."""
        return Minima(*(torch.cat(both) for both in zip(self._parts, other._parts, strict=True)))

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return self.coordinates, self.cost, self.information, self.iterations, self.converged


@dataclass
class _State:
    """Tensors with a row per problem."""

    at: Tensor
    cost: Tensor
    gradient: Tensor
    information: Tensor
    scale: Tensor
    damping: Tensor
    growth: Tensor


def minimised(
    problems: SumsOfSquares,
    start: Tensor,
    low: Tensor,
    high: Tensor,
    tolerance: float = REDUCTION_TOLERANCE,
    most_iterations: int = MOST_ITERATIONS,
) -> Minima:
    """Minimise every problem from its start.

    start      (problem, coordinate)
    low, high  (coordinate,)  bounds; starts beyond them are moved to them
    tolerance  share of the cost by which a step must reduce it; see REDUCTION_TOLERANCE
    Levenberg (1944), Marquardt (1963), with the damping of Nielsen (1999). Coordinates at a bound that the gradient
    pushes outwards are held; steps that cross a bound end at it.
    """
    everyone = torch.arange(len(start))
    at = start.clamp(low, high)
    cost, gradient, information = problems.normal_equations(at, everyone)
    scale = information.diagonal(dim1=-2, dim2=-1).clone()
    ones = torch.ones_like(cost)
    state = _State(at, cost, gradient, information, scale, FIRST_DAMPING * ones, 2 * ones)
    iterations, converged = torch.zeros(len(start), dtype=torch.long), torch.zeros(len(start), dtype=torch.bool)
    active = everyone[torch.isfinite(cost)]
    for _ in range(most_iterations):
        flat = _flat(state, active, low, high)
        converged[active[flat]] = True
        active = active[~flat]
        if not len(active):
            break
        iterations[active] += 1
        settled, stuck = _step(problems, state, active, low, high, tolerance)
        converged[active[settled]] = True
        active = active[~(settled | stuck)]
    return Minima(state.at, state.cost, state.information, iterations, converged)


def _held(state: _State, which: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The coordinates at a bound that the gradient pushes outwards, (problem, coordinate)."""
    at, gradient = state.at[which], state.gradient[which]
    return ((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0))


def _flat(state: _State, which: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Whether the gradient of each problem is zero but for rounding."""
    gradient = state.gradient[which].masked_fill(_held(state, which, low, high), 0.0).abs()
    columns = state.information[which].diagonal(dim1=-2, dim2=-1).sqrt()
    residuals = (2 * state.cost[which]).sqrt()
    return (gradient <= GRADIENT_TOLERANCE * columns * residuals[:, None]).all(dim=-1)


def _step(
    problems: SumsOfSquares, state: _State, which: Tensor, low: Tensor, high: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Try a step of the problems `which`. Returns which of them have converged, and which cannot go on."""
    at, before, gradient, information = (
        one[which] for one in (state.at, state.cost, state.gradient, state.information)
    )
    held = _held(state, which, low, high)
    trial = (at + _damped_step(gradient, information, state.scale[which], state.damping[which], held)).clamp(low, high)
    step = trial - at
    expected = -(gradient * step).sum(-1) - 0.5 * torch.einsum("bi,bij,bj->b", step, information, step)
    # Most steps succeed and need the derivatives, too, which cost little once the residuals are weighted.
    after, new_gradient, new_information = problems.normal_equations(trial, which)
    reduced = before - after
    ratio = torch.nan_to_num(reduced / expected.clamp(min=torch.finfo(step.dtype).tiny), nan=-1.0, neginf=-1.0)
    better = reduced > 0
    state.damping[which] *= torch.where(
        better, (1 - (2 * ratio.clamp(0, 1) - 1) ** 3).clamp(min=1 / 10), state.growth[which]
    )
    state.growth[which] = torch.where(better, 2.0, 2 * state.growth[which])
    moved = which[better]
    if len(moved):
        state.at[moved] = trial[better]
        state.cost[moved], state.gradient[moved] = after[better], new_gradient[better]
        state.information[moved] = new_information[better]
        diagonal = state.information[moved].diagonal(dim1=-2, dim2=-1)
        state.scale[moved] = torch.maximum(state.scale[moved], diagonal)
    small = tolerance * before
    settled = (reduced.abs() <= small) & (expected.abs() <= small)
    settled |= step.abs().amax(dim=-1) <= STEP_TOLERANCE
    return settled, state.damping[which] > LARGEST_DAMPING


def _damped_step(gradient: Tensor, information: Tensor, scale: Tensor, damping: Tensor, held: Tensor) -> Tensor:
    """−(JᵀJ + λ D)⁻¹ Jᵀr over the coordinates that are not held."""
    free = ~held
    both = free[:, :, None] & free[:, None, :]
    # Scaled to a unit diagonal, so that units of coordinates do not matter for rounding.
    unit = scale.clamp(min=torch.finfo(scale.dtype).tiny).sqrt()
    matrix = torch.where(both, information / (unit[:, :, None] * unit[:, None, :]), 0.0)
    diagonal = torch.where(free, damping[:, None], 1.0)
    right = torch.where(free, -gradient / unit, 0.0)
    solved, _ = torch.linalg.solve_ex(matrix + torch.diag_embed(diagonal), right)
    return torch.nan_to_num(solved / unit, nan=0.0, posinf=0.0, neginf=0.0)


def blocks(which: Tensor, numbers_per_problem: int, most_numbers: int) -> Iterator[slice]:
    """Slices of problems whose residuals together are at most `most_numbers`, or of one problem."""
    count = max(most_numbers // max(numbers_per_problem, 1), 1)
    for start in range(0, len(which), count):
        yield slice(start, start + count)

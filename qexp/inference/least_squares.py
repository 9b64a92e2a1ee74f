"""Least-squares problems of deformation, and their solution by Levenberg and Marquardt's method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from qexp.base.options import Counted, uncounted
from qexp.errors import QexpError
from qexp.inference.displacements import Deformation
from qexp.inference.parameters import Coordinates, Parameter, Search, within_limits
from qexp.inference.weighting import Weighting

MOST_ITERATIONS = 300
STEP_TOLERANCE = 1e-10
"""A problem has converged if no coordinate moves by more than this; coordinates are of the order of
1.
"""
REDUCTION_TOLERANCE = 1e-10
"""A problem has converged if a step reduces the cost by less than this share, and is not expected
to reduce it more.
"""
GRADIENT_TOLERANCE = 1e-9
"""A problem has converged if the cosine between the residuals and each column of the Jacobian is
below this.
"""


class SumsOfSquares(Protocol):
    """Problems of the same parameters, each of which minimises half of its sum of squared
    residuals.
    """

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Half of the sum of squares of the problems `which`, (problem,), at (problem, coordinate);
        inf outside of the domain of the model. The gradient Jᵀr, (problem, coordinate); and JᵀJ,
        (problem, coordinate, coordinate).
        """


def of_possible(
    cost: Tensor, gradient: Tensor, information: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Normal equations, with infinite costs and no slopes where the cost is NaN: outside of the
    domain of the model.
    """
    impossible = torch.isnan(cost)
    cost = cost.masked_fill(impossible, torch.inf)
    gradient = gradient.masked_fill(impossible[:, None], 0.0)
    return cost, gradient, information.masked_fill(impossible[:, None, None], 0.0)


def equations_of(residuals: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal equations of (problem, point) and (problem, coordinate, point)."""
    gradient = (jacobian @ residuals[..., None])[..., 0]
    return 0.5 * residuals.square().sum(dim=-1), gradient, jacobian @ jacobian.mT


def slopes_between(middle: Tensor, upper: Tensor, lower: Tensor, step: float) -> Tensor:
    """Derivatives, (problem, coordinate, point), by central differences; to the middle, (problem,
    point), where one of the two ends is NaN, which is no possible source.
    """
    sides = torch.stack([upper, lower])
    finite = torch.isfinite(sides)
    upper, lower = torch.where(finite, sides, middle[:, None])
    return (upper - lower) / (step * finite[..., :1].double().sum(dim=0).clamp(min=1))


class Minima(NamedTuple):
    """Where the iterations of each problem ended.

    coordinates  (problem, coordinate)
    cost         (problem,)  half of the sum of squared residuals; inf if the start was outside of
                             the model's domain
    information  (problem, coordinate, coordinate)  JᵀJ
    iterations   (problem,)  steps tried
    converged    (problem,)  whether a test of convergence was met, and not the largest number of
                             iterations
    """

    coordinates: Tensor
    cost: Tensor
    information: Tensor
    iterations: Tensor
    converged: Tensor

    def select(self, problems: Sequence[int]) -> Minima:
        """The minima of some of the problems."""
        return Minima(*(part[list(problems)] for part in self))

    def and_those(self, other: Minima) -> Minima:
        """These, and then those of other problems with the same coordinates."""
        return Minima(*(torch.cat(both) for both in zip(self, other, strict=True)))


class Descents:
    """Problems that are minimised side by side, each from when it begins, or begins again, to its
    end.

    Levenberg (1944), Marquardt (1963), with the damping of Nielsen (1999). Coordinates at a bound
    that the gradient pushes outwards are held; steps that cross a bound end at it.

    shape            problems, coordinates
    tolerance        share of the cost by which a step must reduce it; see REDUCTION_TOLERANCE
    most_iterations  of each problem
    active           (problem,)  numbers of those that have begun and not ended
    """

    def __init__(
        self, problems: SumsOfSquares, shape: torch.Size, tolerance: float, most_iterations: int
    ) -> None:
        self.problems = problems
        self.tolerance = tolerance
        self.most_iterations = most_iterations
        self._at, self._low, self._high, self._gradient, self._scale = torch.zeros(
            5, *shape, dtype=torch.float64
        )
        self._cost, self._damping, self._growth = torch.zeros(3, shape[0], dtype=torch.float64)
        self._information = torch.zeros(*shape, shape[1], dtype=torch.float64)
        self._iterations = torch.zeros(shape[0], dtype=torch.long)
        self._converged = self._iterations > 0
        self.active = self._iterations[:0]

    @property
    def minima(self) -> Minima:
        """Where the problems are."""
        return Minima(self._at, self._cost, self._information, self._iterations, self._converged)

    def begin(self, which: Tensor, start: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Begin with problems; starts beyond their bounds are moved to them.

        returns  those that begin outside of the model's domain, which have ended there
        """
        self._low[which], self._high[which], self._at[which] = low, high, start.clamp(low, high)
        self._damping[which], self._growth[which] = 1e-3, 2.0
        self._iterations[which], self._converged[which] = 0, False
        self.evaluate(which)
        self._scale[which] = self._information[which].diagonal(dim1=-2, dim2=-1)
        possible = torch.isfinite(self._cost[which])
        self.active = torch.cat([self.active, which[possible]])
        return which[~possible]

    def evaluate(self, which: Tensor) -> None:
        """Evaluate problems where they are."""
        equations = self.problems.normal_equations(self._at[which], which)
        self._cost[which], self._gradient[which], self._information[which] = equations

    def step(self) -> Tensor:
        """Try a step of each active problem; returns the numbers of those that then have ended."""
        active = self.active
        held = self._held(self.active)
        slopes = self._gradient[active].masked_fill(held, 0.0).abs()
        columns = self._information[active].diagonal(dim1=-2, dim2=-1).sqrt()
        residuals = (2 * self._cost[active]).sqrt()
        # zero but for rounding
        flat = (slopes <= GRADIENT_TOLERANCE * columns * residuals[:, None]).all(dim=-1)
        self._converged[active[flat]] = True
        tried = active[~flat]
        ended = flat
        if len(tried):
            self._iterations[tried] += 1
            settled = self._moved(tried, held[~flat])
            self._converged[tried[settled]] = True
            stuck = self._damping[tried] > 1e16
            stuck |= self._iterations[tried] >= self.most_iterations
            ended = flat.masked_scatter(~flat, settled | stuck)
        self.active = active[~ended]
        return active[ended]

    def _held(self, which: Tensor) -> Tensor:
        """The coordinates at a bound that the gradient pushes outwards, (problem, coordinate)."""
        place = self._at[which]
        gradient = self._gradient[which]
        held: Tensor = ((place <= self._low[which]) & (gradient > 0)) | (
            (place >= self._high[which]) & (gradient < 0)
        )
        return held

    def _moved(self, which: Tensor, held: Tensor) -> Tensor:
        """Try a step of the problems `which` along what is not held; returns which of them have
        converged.
        """
        place, cost, gradient, information = (
            part[which] for part in (self._at, self._cost, self._gradient, self._information)
        )
        damped = _damped_step(
            gradient,
            information,
            self._scale[which],
            self._damping[which],
            held,
        )
        trial = (place + damped).clamp(self._low[which], self._high[which])
        step = trial - place
        expected = -(gradient * step).sum(-1) - 0.5 * torch.einsum(
            "bi,bij,bj->b", step, information, step
        )
        # Most steps succeed and need the derivatives, too, which cost little once the residuals are
        # weighted.
        new_cost, new_gradient, new_information = self.problems.normal_equations(trial, which)
        reduced = cost - new_cost
        ratio = torch.nan_to_num(
            reduced / expected.clamp(min=torch.finfo(step.dtype).tiny), nan=-1.0, neginf=-1.0
        )
        better = reduced > 0
        self._damping[which] *= torch.where(
            better, (1 - (2 * ratio.clamp(0, 1) - 1) ** 3).clamp(min=1 / 10), self._growth[which]
        )
        self._growth[which] = torch.where(better, 2.0, 2 * self._growth[which])
        moved = which[better]
        if len(moved):
            self._at[moved] = trial[better]
            self._cost[moved], self._gradient[moved] = new_cost[better], new_gradient[better]
            self._information[moved] = new_information[better]
            diagonal = self._information[moved].diagonal(dim1=-2, dim2=-1)
            self._scale[moved] = torch.maximum(self._scale[moved], diagonal)
        small = self.tolerance * cost
        settled = (reduced.abs() <= small) & (expected.abs() <= small)
        return settled | (step.abs().amax(dim=-1) <= STEP_TOLERANCE)


def minimise(
    problems: SumsOfSquares,
    start: Tensor,
    low: Tensor,
    high: Tensor,
    tolerance: float,
    most_iterations: int,
    on_step: Counted = uncounted,
) -> Minima:
    """Minimise every problem from its start, (problem, coordinate), between bounds, likewise or
    (coordinate,).

    tolerance, most_iterations  see `Descents`
    on_step                     takes the number of iterations, and of all at most
    """
    descents = Descents(problems, start.shape, tolerance, most_iterations)
    bounds = low.expand(start.shape), high.expand(start.shape)
    descents.begin(torch.arange(len(start)), start, *bounds)
    for iteration in range(most_iterations):
        on_step(iteration, most_iterations)
        if not len(descents.active):
            break
        descents.step()
    return descents.minima


def _damped_step(
    gradient: Tensor, information: Tensor, scale: Tensor, damping: Tensor, fixed: Tensor
) -> Tensor:
    """−(JᵀJ + λ D)⁻¹ Jᵀr over the coordinates that are not held."""
    free = ~fixed
    both = free[:, :, None] & free[:, None, :]
    # Scaled to a unit diagonal, so that units of coordinates do not matter for rounding.
    unit = scale.clamp(min=torch.finfo(scale.dtype).tiny).sqrt()
    matrix = torch.where(both, information / (unit[:, :, None] * unit[:, None, :]), 0.0)
    diagonal = torch.where(free, damping[:, None], 1.0)
    right = torch.where(free, -gradient / unit, 0.0)
    solved, _ = torch.linalg.solve_ex(matrix + torch.diag_embed(diagonal), right)
    return torch.nan_to_num(solved / unit, nan=0.0, posinf=0.0, neginf=0.0)


# Least-squares problems of deformation: one model and weighting, the data of one observation or of
# many.

MOST_NUMBERS = 65536
"""Displacements that are computed together: more would not fit the processor's caches any
better.
"""

STEP = 1e-5
"""Of a difference of coordinates: about the cube root of the rounding error, which is best for
central differences.
"""

MOST_SEARCHED = 400
"""Points of a block in a search; what it finds is then followed with all points."""


class Problem:
    """The data of problems that share model, points and weights; nuisances are solved with the
    parameters.

    data       (problem, point) [m]; or (1, point), which all starts share
    one_sided  derivatives are differences to one side, which take half of the time and are good
               enough for a search
    Implements `SumsOfSquares`.
    """

    def __init__(
        self,
        model: Deformation,
        weighting: Weighting,
        data: Tensor,
        coordinates: Coordinates,
        one_sided: bool = False,
    ) -> None:
        self.model, self.weighting = model, weighting
        self.coordinates, self.one_sided = coordinates, one_sided
        self.data = data.double()
        self.whiten: Callable[[Tensor], Tensor] = weighting
        self.weighted = weighting(self.data)
        self._searches: dict[int, Problem] = {}
        self.degrees = model.points - weighting.nuisances - len(coordinates.free)
        """Degrees of freedom of χ²."""

    @property
    def chi2_without_source(self) -> float:
        """χ² of the nuisances alone, of a problem with data of its own."""
        return float(self.weighted.square().sum())

    def quick(self) -> Problem:
        """The problem with one-sided differences."""
        quick = copy(self)
        quick.one_sided = True
        return quick

    def with_weighting(self, weighting: Weighting, model: Deformation | None = None) -> Problem:
        """The problem with other weights, and by another model of its points if one is given."""
        return Problem(model or self.model, weighting, self.data, self.coordinates, self.one_sided)

    def with_parameter(self, parameter: Parameter) -> Problem:
        """The problem with another coordinate of one parameter."""
        coordinates = self.coordinates
        parameters = list(coordinates.parameters)
        index = [other.name for other in parameters].index(parameter.name)
        parameters[index] = parameter
        changed = copy(self)
        changed.coordinates = Coordinates(parameters, coordinates.fixed)
        changed._searches = {}
        return changed

    def to_search(self, seed: int) -> Problem:
        """The problem for a quick search: with at most MOST_SEARCHED points of each block, drawn at
        random; means as if they were measured in their middles.
        """
        if seed in self._searches:
            return self._searches[seed]
        random = np.random.default_rng(seed)
        slices = self.weighting.slices
        chosen, in_blocks = [], []
        for where in slices:
            some = np.arange(where.start, where.stop)
            if len(some) > MOST_SEARCHED:
                some = np.sort(random.choice(some, MOST_SEARCHED, replace=False))
            chosen.append(some)
            in_blocks.append(some - where.start)
        weighting = self.weighting.select(in_blocks)
        points = torch.from_numpy(np.concatenate(chosen))
        model = self.model.in_middles().select(points)
        search = Problem(
            model,
            weighting,
            self.data[:, points],
            self.coordinates,
            one_sided=True,
        )
        self._searches[seed] = search
        return search

    def normal_equations(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """In parts that fit into memory; see `SumsOfSquares`."""
        parts = []
        models = (1 if self.one_sided else 2) * len(self.coordinates.free) + 1
        together = max(MOST_NUMBERS // (models * self.model.points), 1)
        for rows, problems in zip(coordinates.split(together), which.split(together), strict=True):
            parts.append(equations_of(*self.linearised(rows, problems)))
        cost, gradient, information = map(torch.cat, zip(*parts, strict=True))
        return of_possible(cost, gradient, information)

    def strengthened(self, coordinates: Tensor, amplitudes: list[int]) -> tuple[Tensor, Tensor]:
        """Sources whose amplitudes are multiplied by the best common factor, (source, coordinate),
        and half of their sums of squares, (source,); infinite outside of the model's domain. Of a
        problem with data of its own.

        amplitudes  numbers of their coordinates; none of them: sources stay as they are
        """
        parts = []
        for rows in coordinates.split(max(MOST_NUMBERS // self.model.points, 1)):
            first = torch.zeros(len(rows), dtype=torch.long)
            signals = self.whiten(self._displacements(rows, first))
            factor = torch.ones(len(rows), 1, dtype=rows.dtype)
            if amplitudes:
                factor = (signals @ self.weighted.mT) / signals.square().sum(dim=1, keepdim=True)
                rows = rows.index_copy(1, torch.tensor(amplitudes), rows[:, amplitudes] * factor)
            parts.append((rows, 0.5 * (factor * signals - self.weighted).square().sum(dim=1)))
        moved, costs = (torch.cat(part) for part in zip(*parts, strict=True))
        return moved, costs.nan_to_num(nan=torch.inf)

    def linearised(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted residuals model − data, (problem, point), and their Jacobian, (problem,
        coordinate, point).
        """
        model, slopes = self.derivatives(coordinates, which)
        weighted = self.whiten(torch.cat([model[:, None], slopes], dim=1))
        data = self.weighted if len(self.weighted) == 1 else self.weighted[which]
        return weighted[:, 0] - data, weighted[:, 1:]

    def derivatives(
        self, coordinates: Tensor, which: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The model, (problem, point) [m], and its derivatives by the coordinates, (problem,
        coordinate, point).

        By central differences of coordinates that are of the order of 1, in double precision: their
        errors are below 1e-9 of a derivative, and all of them are one batch for the kernel, which
        takes a tenth of the time of automatic differentiation. Where one of the two ends is no
        possible source, the difference is to the middle. NaN for problems outside of the model's
        domain.
        """
        steps = STEP * torch.eye(coordinates.shape[1], dtype=torch.float64)
        which = torch.zeros(len(coordinates), dtype=torch.long) if which is None else which
        owner = which[:, None].expand(-1, 1 + len(steps))
        ends = torch.cat([coordinates[:, None], coordinates[:, None] + steps], dim=1)
        moved = self._displacements(ends, owner)
        middle = moved[:, 0]
        upper = moved[:, 1:]
        lower = torch.full_like(upper, torch.nan)
        needed = torch.isnan(upper[..., 0]) if self.one_sided else torch.full(upper.shape[:2], True)
        if needed.any():
            lower[needed] = self._displacements(
                (coordinates[:, None] - steps)[needed], owner[:, 1:][needed]
            )
        return middle, slopes_between(middle, upper, lower, STEP)

    def minimum(
        self,
        start: Tensor,
        tolerance: float = REDUCTION_TOLERANCE,
        most_iterations: int = MOST_ITERATIONS,
        on_step: Counted = uncounted,
    ) -> Minima:
        """Minimise from each row of `start`, values of all parameters in SI units, (problem,
        parameter).

        tolerance, most_iterations, on_step  see `minimise`
        """
        low = self.coordinates.low
        high = self.coordinates.high
        first = self.coordinates.from_values(start)
        limits = (tolerance, most_iterations)
        minima = minimise(self, first, low, high, *limits, on_step)
        coordinates, signs = within_limits(minima.coordinates, self.coordinates.tilts)
        information = minima.information * signs[:, :, None] * signs[:, None, :]
        return minima._replace(coordinates=coordinates, information=information)

    def values(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Values of all parameters, (source, parameter), of (source, coordinate), and whether they
        are within bounds.

        which  the problem of each source
        """
        return self.coordinates.values(coordinates), self.coordinates.respect_bounds(coordinates)

    def _displacements(self, coordinates: Tensor, which: Tensor) -> Tensor:
        """The model, (..., point) [m], of (..., coordinate); NaN outside of its domain."""
        rows = coordinates.flatten(0, -2)
        values, allowed = self.values(rows, which.flatten())
        possible = self.model.possible(values) & allowed
        moved = rows.new_full((len(rows), self.model.points), torch.nan)
        if possible.any():
            with torch.no_grad():
                moved[possible] = self.model(values[possible])
        return moved.view(*coordinates.shape[:-1], self.model.points)


# Fisher information of deformation: how well data determine the parameters of a source, whatever
# the estimator.


def covariances(information: Tensor) -> Tensor:
    """The inverse of each matrix of information, (..., coordinate, coordinate).

    Infinite where a coordinate is not determined.
    """
    unit = information.diagonal(dim1=-2, dim2=-1).sqrt()
    of_units = unit[..., :, None] * unit[..., None, :]
    inverse, failed = torch.linalg.inv_ex(information / of_units)
    positive = (inverse.diagonal(dim1=-2, dim2=-1) > 0).all(dim=-1)
    unknown = (failed != 0) | ~positive
    covariance: Tensor = (inverse / of_units).masked_fill(unknown[..., None, None], torch.inf)
    return covariance


def bounds(problem: Problem, values: Tensor) -> tuple[Tensor, Tensor]:
    """The Cramér–Rao bound at true values: the least standard deviation of unbiased estimates.

    Of Gaussian noise with covariance C and a model with Jacobian J by the free parameters, it is
    the root of the diagonal of (JᵀC⁻¹J)⁻¹; nuisances count as unknowns (Kay 1993, Fundamentals of
    Statistical Signal Processing I, eq. 3.31).

    values   (problem, parameter)  true values of all parameters in SI units
    returns  (problem, free parameter) in SI units, infinite where the data do not determine it; and
             the signal-to-noise ratio, (problem,): the root of χ² of the displacement that
             nuisances do not explain
    """
    coordinates = problem.coordinates.from_values(values)
    model, slopes = problem.derivatives(coordinates)
    weighted = problem.weighting(torch.cat([model[:, None], slopes], dim=1))
    signal = weighted[:, 0]
    jacobian = weighted[:, 1:]
    covariance = covariances(jacobian @ jacobian.mT)
    return problem.coordinates.deviations(coordinates, covariance), signal.norm(dim=-1)


# Starts of a search for the global minimum, spread evenly over all parameters.

STARTS = 32
"""Of a search, unless another number is asked for."""
MOST_DRAWN = 1 << 16
"""Points drawn at most for starts that a model can have."""


def starts(problem: Problem, searches: Sequence[Search], count: int, seed: int) -> Tensor:
    """Values of all parameters in SI units, (start, parameter).

    Parameters that are neither fixed nor amplitudes are those of `possible_draws`. Amplitudes are
    then the best ones by linear least squares. Raises QexpError as it does.
    """
    drawn = possible_draws(problem, searches, count, seed)
    return problem.coordinates.values(_with_best_amplitudes(problem, drawn))


def possible_draws(problem: Problem, searches: Sequence[Search], count: int, seed: int) -> Tensor:
    """Possible sources between the limits of a search, (draw, coordinate), by a scrambled Sobol
    sequence.

    Raises QexpError if the limits leave no possible source, or a parameter has none.
    """
    coordinates = problem.coordinates
    free = [searches[index] for index in coordinates.free]
    for search in free:
        if not search.can_be_drawn:
            name = search.parameter.name
            raise QexpError(
                f"{name} is neither an amplitude, nor an angle, nor a length, so that nothing tells"
                f" where its estimate may lie: give it `bounds={ {name: ('LOW', 'HIGH')} }`, or a"
                " value by `fixed`; or limits or a unit of length in"
                f" QUANTITIES['{name.rpartition('.')[2]}']"
            )
    lows = [search.parameter.coordinate(search.low) for search in free]
    highs = [search.parameter.coordinate(search.high) for search in free]
    low, high = torch.tensor([lows, highs], dtype=torch.float64)
    sequence = SobolEngine(len(free), scramble=True, seed=seed)
    possible = low.new_empty(0, len(free))
    power = 0
    while len(possible) < count:
        power = power + 1 if power else max(count - 1, 1).bit_length()
        if 1 << power > MOST_DRAWN:
            raise QexpError(
                "the bounds leave no possible source for a start; widen them, for example to larger"
                " depths"
            )
        sequence.reset()  # a Sobol sequence is even over its first 2^power points
        candidates = low + sequence.draw(1 << power, dtype=torch.float64) * (high - low)
        possible = candidates[problem.model.possible(coordinates.values(candidates))]
    some: Tensor = possible[:count]
    return some


def _with_best_amplitudes(problem: Problem, drawn: Tensor) -> Tensor:
    """The coordinates with amplitudes by linear least squares, (start, coordinate), within their
    bounds.
    """
    linear = problem.coordinates.linear
    if not linear:
        return drawn
    drawn = drawn.clone()
    low = problem.coordinates.low[linear]
    high = problem.coordinates.high[linear]
    some = torch.ones(len(linear), dtype=drawn.dtype).clamp(low, high)
    # Any other than zero, where some models would have no derivatives by their other parameters.
    drawn[:, linear] = torch.where(some == 0, low, some)
    for start in range(0, len(drawn)):
        row = slice(start, start + 1)
        residuals, jacobian = problem.linearised(drawn[row], torch.zeros(1, dtype=torch.long))
        solved = torch.linalg.lstsq(jacobian[0, linear].mT, -residuals[0][:, None], driver="gelsd")
        drawn[start, linear] += solved.solution[:, 0]
    return drawn.clamp(problem.coordinates.low, problem.coordinates.high)

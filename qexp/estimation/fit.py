"""Sources estimated from the tracks of an observation: the best of several starts, its errors, and what it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.datasets.generators.deformation import Source
from qexp.errors import QexpError
from qexp.estimation.coordinates import Coordinates
from qexp.estimation.deformation import deformation_of
from qexp.estimation.information import covariances
from qexp.estimation.levenberg_marquardt import Minima
from qexp.estimation.parameters import Search
from qexp.estimation.problem import Problem
from qexp.estimation.tilts import along_the_other_side
from qexp.estimation.weighting import Weighting, track_block
from qexp.observations.observation import Track

Array = NDArray[np.float64]

ROUGH, BRIEF = 1e-5, 60
"""Tolerance and most iterations of a search from many starts; the best of them are then followed to the minimum."""
FOLLOWED = 4
"""Minima of a search that are followed with all points, unless another number is asked for."""
UNLIKELY, HIGHER = 10.0, 0.5
"""Minima of a search are not followed with all points if their costs are higher than the lowest by the first of these,
times the reduced χ² there; and not to the end if they are then higher by the second."""
SAME_MINIMUM = 1e-4
"""Starts of a search ended in the same minimum if their costs differ by less than this share."""


@dataclass(frozen=True)
class Nuisances:
    """Offset and ramp of a track: amounts and standard errors, by the name of the column [m, m per km]."""

    amounts: Mapping[str, float]
    errors: Mapping[str, float]


@dataclass(frozen=True)
class Fit:
    """The best minimum; all in SI units.

    names       (parameter,)       all parameters of the sources
    values      (parameter,)
    free        numbers of the estimated ones among them
    coordinates                    of the free parameters
    covariance  (free, free)       of the free parameters' coordinates, by the declared noise; not finite where the
                                   observation does not determine them
    chi2                           sum of squared residuals in units of their standard deviations
    degrees                        points minus all that was estimated
    iterations                     those of the start that ended there
    converged                      whether it met a test of convergence
    at_bounds                      names of the parameters that ended at a bound
    nuisances                      per track
    model       per track (point,) [m], without nuisances
    residual    per track (point,) data minus model and nuisances [m]
    agreeing, starts               number of starts that ended in this minimum, and of all
    jacobian    (free, point)      derivatives of the model by the coordinates [m]
    """

    names: tuple[str, ...]
    values: Array
    free: tuple[int, ...]
    coordinates: Coordinates
    at: Array
    covariance: Array
    chi2: float
    degrees: int
    iterations: int
    converged: bool
    at_bounds: tuple[str, ...]
    nuisances: tuple[Nuisances, ...]
    model: tuple[Array, ...]
    residual: tuple[Array, ...]
    agreeing: int
    starts: int
    jacobian: Tensor

    @property
    def chi2_reduced(self) -> float:
        return self.chi2 / self.degrees


def prepared(
    tracks: Sequence[Track],
    sources: Sequence[Source],
    searches: Sequence[Search],
    fixed: Mapping[str, float],
    *,
    offsets: bool,
    ramps: bool,
    origin: tuple[float, float] = (0.0, 0.0),
) -> Problem:
    """The problem of estimating sources from tracks whose points all count.

    searches  of each column of the sources, with positions relative to the origin
    fixed     column → value in SI units, of those that are not estimated
    origin    east, north of the position (0, 0) of sources [m]
    Raises QexpError for fewer points than unknowns, and as `Weighting` does.
    """
    weighting = Weighting([track_block(track, offsets, ramps) for track in tracks])
    coordinates = Coordinates([one.parameter for one in searches], dict(fixed))
    model = deformation_of(sources, tracks, origin)
    unknown = len(coordinates.free) + weighting.nuisances
    if model.points <= unknown:
        raise QexpError(
            f"{model.points:,} points cannot determine {unknown} unknowns ({len(coordinates.free)} parameters of "
            f"sources, {weighting.nuisances} offsets and ramps); fix parameters with --fix, or leave out --offsets "
            "and --ramps"
        )
    data = torch.from_numpy(np.concatenate([track.displacement for track in tracks]))
    return Problem(model, weighting, data[None], coordinates)


def best(problem: Problem, starts: Tensor, seed: int = 0, followed: int = FOLLOWED) -> Fit:
    """The lowest of the minima that starts lead to.

    starts    (start, parameter)  values of all parameters in SI units
    seed      of the points with which the starts are followed first, see `Problem.to_search`
    followed  number of the lowest minima found there that are then followed with all points
    Raises QexpError if no start is possible.
    """
    search = problem.to_search(seed)
    found = _searched(search, starts, followed)
    _require_possible(found)
    leads = _likely(found, _different(found.cost)[:followed], UNLIKELY, search)
    with_all = problem.quick().minimum(problem.coordinates.values(found.coordinates[leads]), ROUGH, BRIEF)
    _require_possible(with_all)
    kept = _likely(with_all, _different(with_all.cost), HIGHER, problem)
    minima = problem.minimum(problem.coordinates.values(with_all.coordinates[kept]))
    _require_possible(minima)
    lowest = int(minima.cost.argmin())
    lead = kept[lowest]
    iterations = found.iterations[leads[lead]] + with_all.iterations[lead] + minima.iterations[lowest]
    ended_there = found.cost[leads][_alike(with_all.cost, with_all.cost[lead])]
    agreeing = int(_alike(found.cost[: len(starts), None], ended_there).any(dim=1).sum())
    return _fit(problem, minima.of([lowest]), int(iterations), agreeing, len(starts))


def _searched(problem: Problem, starts: Tensor, followed: int) -> Minima:
    """Rough minima from starts; and from the lowest of them those of nearly level dislocations along the other side."""
    coordinates = problem.coordinates
    found = problem.minimum(starts, ROUGH, BRIEF)
    lowest = found.coordinates[_different(found.cost)[:followed]]
    other = along_the_other_side(lowest, coordinates.tilts)
    return found.and_those(problem.minimum(coordinates.values(other), ROUGH, BRIEF)) if len(other) else found


def _likely(minima: Minima, which: Sequence[int], higher: float, problem: Problem) -> list[int]:
    """Those whose costs are not higher than the lowest by more than this, times the reduced χ² there."""
    lowest = float(minima.cost.min())
    return [one for one in which if minima.cost[one] <= lowest + higher * max(1.0, 2 * lowest / problem.model.points)]


def _require_possible(minima: Minima) -> None:
    if not bool(torch.isfinite(minima.cost).any()):
        raise QexpError("no start is a possible source: each breaks the surface or lies above it; start deeper")


def _alike(costs: Tensor, other: Tensor) -> Tensor:
    """Whether costs are those of one minimum."""
    return (costs - other).abs() <= SAME_MINIMUM * (1 + other)


def _different(costs: Tensor) -> list[int]:
    """A start for each minimum, the lowest first."""
    leads: list[int] = []
    for index in costs.argsort().tolist():
        if math.isfinite(costs[index]) and not (leads and bool(_alike(costs[index], costs[leads[-1]]))):
            leads.append(index)
    return leads


def at_values(problem: Problem, values: Tensor) -> Fit:
    """Given values as if they were a minimum: offsets, ramps and residuals that belong to them.

    values  (1, parameter)  of all parameters in SI units, of possible sources
    """
    coordinates, one = problem.coordinates.of(values), torch.zeros(1, dtype=torch.long)
    cost, _, information = problem.normal_equations(coordinates, one)
    return _fit(problem, Minima(coordinates, cost, information, one, one == 0), 0, 1, 1)


def _fit(problem: Problem, best: Minima, iterations: int, agreeing: int, starts: int) -> Fit:
    coordinates, weighting = problem.coordinates, problem.weighting
    at, cost = best.coordinates[0], float(best.cost)
    model, slopes = problem.derivatives(at[None])
    covariance = covariances(best.information[0])
    left = problem.data[0] - model[0]
    nuisances, residual = [], left.clone()
    amounts, variances = weighting.solved(left), weighting.variances(slopes[0], covariance)
    for block, of_block, their_variances, where in zip(
        weighting.blocks, amounts, variances, weighting.slices, strict=True
    ):
        residual[where] -= torch.from_numpy(block.nuisances).double() @ of_block
        nuisances.append(
            Nuisances(
                dict(zip(block.words, of_block.tolist(), strict=True)),
                dict(zip(block.words, their_variances.sqrt().tolist(), strict=True)),
            )
        )
    at_bounds = (at <= coordinates.low) | (at >= coordinates.high)
    return Fit(
        names=tuple(one.name for one in coordinates.parameters),
        values=coordinates.wrapped(coordinates.values(at[None]))[0].numpy(),
        free=tuple(coordinates.free),
        coordinates=coordinates,
        at=at.numpy(),
        covariance=covariance.numpy(),
        chi2=2 * cost,
        degrees=problem.degrees,
        iterations=iterations,
        converged=bool(best.converged),
        at_bounds=tuple(name for name, there in zip(coordinates.names, at_bounds.tolist(), strict=True) if there),
        nuisances=tuple(nuisances),
        model=tuple(model[0, where].numpy() for where in weighting.slices),
        residual=tuple(residual[where].numpy() for where in weighting.slices),
        agreeing=agreeing,
        starts=starts,
        jacobian=slopes[0],
    )

"""Sources estimated from the tracks of an observation: the best of several starts, its errors, and
what it leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import torch
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.options import Counted, uncounted
from qexp.base.quantities import base_name
from qexp.errors import QexpError
from qexp.inference.criteria import bic
from qexp.inference.displacements import deformation_of
from qexp.inference.least_squares import Minima, Problem, covariances, starts
from qexp.inference.parameters import POSITIONS, Coordinates, Search, along_the_other_side
from qexp.inference.weighting import Weighting, track_block
from qexp.observations.noise import MOST_CORRELATED, covariance_rows, fit as fitted, semivariogram
from qexp.observations.observation import Track
from qexp.simulation.generators import Source

ROUGH_SEARCH = 1e-5, 60
"""Tolerance and most iterations of a search from many starts; the best of them are then followed to
the minimum.
"""
FOLLOWED_MINIMA = 4
"""Minima of a search that are followed with all points, unless another number is asked for."""
UNLIKELY_COST, HIGHER_COST = 10.0, 0.5
"""Minima of a search are not followed with all points if their costs are higher than the lowest by
the first of these, times the reduced χ² there; and not to the end if they are then higher by the
second.
"""
SAME_MINIMUM = 1e-4
"""Starts of a search ended in the same minimum if their costs differ by less than this share."""
AGREED = 3
"""How many of a search's starts must agree on the lowest minimum, times the reduced χ² there where
that is above 1.
"""
STARTS_AROUND, SPREADS, FARTHEST = 7, (2.0, 8.0, 16.0), 2.0
"""Starts around a minimum, for each number of times that they are spread wider than its errors,
which count as larger where it fits poorly; and how far these are at most, in coordinates.
"""
ROUNDS_AROUND, FAILED_ROUNDS, LOWER_COST = 8, 2, 0.99
"""How often starts are drawn around the lowest minima at most, and in succession without an end
that is lower; and the share of the cost below which an end is lower.
"""


@dataclass(frozen=True)
class Nuisances:
    """Offset and ramp of a track: amounts and standard errors, by the name of the column [m, m per
    km].
    """

    amounts: Mapping[str, float]
    errors: Mapping[str, float]


@dataclass(frozen=True)
class Fit:
    """The best minimum; all in SI units.

    values      (parameter,)       of all parameters of the sources
    coordinates                    of the free parameters
    covariance  (free, free)       of the free parameters' coordinates, by the declared noise, and 0
                                   of those at bounds, which are held; not finite where the
                                   observation does not determine them
    chi2                           sum of squared residuals in units of their standard deviations
    degrees                        points minus all that was estimated
    iterations                     those of the start that ended there
    converged                      whether it met a test of convergence
    at_bounds                      names of the parameters that ended at a bound
    nuisances                      per track
    residual    per track (point,) data minus model and nuisances [m]
    agreeing, starts               number of starts that ended in this minimum, and of all
    jacobian    (free, point)      derivatives of the model by the coordinates [m]
    rivals      (minimum, parameter)  the lowest minima of the search by fewer points, in SI units
    """

    values: Array
    coordinates: Coordinates
    at: Array
    covariance: Array
    chi2: float
    degrees: int
    iterations: int
    converged: bool
    at_bounds: tuple[str, ...]
    nuisances: tuple[Nuisances, ...]
    residual: tuple[Array, ...]
    agreeing: int
    starts: int
    jacobian: Tensor
    rivals: Tensor

    @property
    def source(self) -> Tensor:
        """The values of all parameters, (1, parameter)."""
        return torch.from_numpy(self.values)[None]

    @property
    def place(self) -> Tensor:
        """The coordinates, (1, free)."""
        return torch.from_numpy(self.at)[None]

    @property
    def chi2_reduced(self) -> float:
        return self.chi2 / self.degrees


def prepare_problem(
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
    coordinates = Coordinates([search.parameter for search in searches], dict(fixed))
    model = deformation_of(sources, tracks, origin)
    unknown = len(coordinates.free) + weighting.nuisances
    if model.points <= unknown:
        raise QexpError(
            f"{model.points:,} points cannot determine {unknown} unknowns ({len(coordinates.free)}"
            f" parameters of sources, {weighting.nuisances} offsets and ramps); fix parameters with"
            " `fixed`, or leave out `offsets` and `ramps`"
        )
    data = torch.from_numpy(np.concatenate([track.displacement for track in tracks]))
    return Problem(model, weighting, data[None], coordinates)


def best(
    problem: Problem,
    starts: Tensor,
    seed: int = 0,
    followed: int = FOLLOWED_MINIMA,
    on_step: Counted = uncounted,
) -> Fit:
    """The lowest of the minima that starts lead to.

    starts    (start, parameter)  values of all parameters in SI units
    seed      of the points with which the starts are followed first, see `Problem.to_search`
    followed  number of the lowest minima found there that are then followed with all points
    on_step   takes the number of iterations of that search, and of all at most
    Raises QexpError if no start is possible.
    """
    search = problem.to_search(seed)
    rough = search.minimum(starts, *ROUGH_SEARCH, on_step)
    # Dislocations that are nearly level may as well dip to one of their other sides.
    lowest_few = rough.coordinates[_different(rough.cost)[:followed]]
    other = along_the_other_side(lowest_few, problem.coordinates.tilts)
    if len(other):
        rough = rough.and_those(search.minimum(problem.coordinates.values(other), *ROUGH_SEARCH))
    _require_possible(rough)
    rivals = _different(rough.cost)[:followed]
    leads = _likely(rough, rivals, UNLIKELY_COST, search)
    begin = problem.coordinates.values(rough.coordinates[leads])
    with_all = problem.quick().minimum(begin, *ROUGH_SEARCH)
    _require_possible(with_all)
    promising = _likely(with_all, _different(with_all.cost), HIGHER_COST, problem)
    minima = problem.minimum(problem.coordinates.values(with_all.coordinates[promising]))
    _require_possible(minima)
    lowest = int(minima.cost.argmin())
    lead = promising[lowest]
    iterations = (
        rough.iterations[leads[lead]] + with_all.iterations[lead] + minima.iterations[lowest]
    )
    ended_there = rough.cost[leads][_alike(with_all.cost, with_all.cost[lead])]
    agreeing = int(_alike(rough.cost[: len(starts), None], ended_there).any(dim=1).sum())
    values = problem.coordinates.values(rough.coordinates[rivals])
    return _fit(
        problem,
        minima.select([lowest]),
        int(iterations),
        agreeing,
        len(starts),
        values,
    )


def best_around(problem: Problem, fit: Fit, agreed: int, seed: int = 0) -> Fit:
    """The lowest of the minima to which starts around a fit, and around what these lead to, come;
    or the fit itself.

    Where a source is much stronger than the noise, there are many minima of sources that hardly
    overlap with it, most of them in long valleys that lead to lower ones.

    agreed  number of starts that must agree on the lowest minimum, times the reduced χ² there where
            that is above 1; more starts follow only as long as fewer do
    """
    if fit.agreeing >= agreed * max(1.0, fit.chi2_reduced):
        return fit
    search = problem.to_search(seed)
    coordinates = problem.coordinates
    minima = search.minimum(torch.cat([fit.source, fit.rivals[:FOLLOWED_MINIMA]]), *ROUGH_SEARCH)
    known = len(minima.cost)
    random = torch.Generator().manual_seed(seed)
    failed = 0
    for _ in range(ROUNDS_AROUND):
        lowest_yet = minima.cost.min()
        starts = _starts_around(search, minima, random)
        minima = minima.and_those(search.minimum(starts, *ROUGH_SEARCH))
        lowest = minima.cost.min()
        failed = 0 if lowest < LOWER_COST * lowest_yet else failed + 1
        enough = agreed * _excess(search, lowest)
        if failed == FAILED_ROUNDS or _alike(minima.cost, lowest).sum() >= enough:
            break
    lowest_few = coordinates.values(minima.coordinates[_different(minima.cost)[:FOLLOWED_MINIMA]])
    found = best(problem, torch.cat([fit.source, lowest_few]), seed)
    costs = minima.cost[known:]
    agreeing = int(_alike(costs, minima.cost.min()).sum())
    if found.chi2 > (1 - SAME_MINIMUM) * fit.chi2:
        agreeing += fit.agreeing
    return replace(found, agreeing=agreeing, starts=fit.starts + len(costs))


def _excess(problem: Problem, cost: Tensor) -> float:
    """The reduced χ² where that is above 1."""
    reduced: float = 2 * float(cost) / problem.degrees
    return max(1.0, reduced)


def _starts_around(search: Problem, minima: Minima, random: torch.Generator) -> Tensor:
    """Values of possible sources around the lowest minima, (start, parameter)."""
    coordinates, starts = search.coordinates, []
    for lead in _different(minima.cost)[:FOLLOWED_MINIMA]:
        variances, axes = torch.linalg.eigh(minima.information[lead])
        errors = (_excess(search, minima.cost[lead]) / variances.clamp(min=1e-12)).sqrt()
        for spread in SPREADS:
            drawn = torch.randn(STARTS_AROUND, len(errors), generator=random, dtype=torch.float64)
            away = (spread * errors.clamp(max=1.0) * drawn).clamp(-FARTHEST, FARTHEST) @ axes.mT
            spread_out = minima.coordinates[lead] + away
            starts.append(spread_out.clamp(coordinates.low, coordinates.high))
    values = coordinates.values(torch.cat(starts))
    return values[search.model.possible(values)]


def _likely(minima: Minima, which: Sequence[int], higher: float, problem: Problem) -> list[int]:
    """The minima whose costs exceed the lowest by at most this, times the reduced χ² there."""
    lowest = float(minima.cost.min())
    highest = lowest + higher * max(1.0, 2 * lowest / problem.model.points)
    return [minimum for minimum in which if minima.cost[minimum] <= highest]


def _require_possible(minima: Minima) -> None:
    if not bool(torch.isfinite(minima.cost).any()):
        raise QexpError(
            "no start is a possible source: each breaks the surface or lies above it; start deeper"
        )


def _alike(costs: Tensor, other: Tensor) -> Tensor:
    """Whether costs are those of one minimum."""
    return (costs - other).abs() <= SAME_MINIMUM * (1 + other)


def _different(costs: Tensor) -> list[int]:
    """A start for each minimum, the lowest first."""
    leads: list[int] = []
    for index in costs.argsort().tolist():
        known = leads and bool(_alike(costs[index], costs[leads[-1]]))
        if math.isfinite(costs[index]) and not known:
            leads.append(index)
    return leads


def at_values(problem: Problem, values: Tensor) -> Fit:
    """Given values as if they were a minimum: offsets, ramps and residuals that belong to them.

    values  (1, parameter)  of all parameters in SI units, of possible sources
    """
    coordinates = problem.coordinates.from_values(values)
    first = torch.zeros(1, dtype=torch.long)
    cost, _, information = problem.normal_equations(coordinates, first)
    return _fit(
        problem,
        Minima(coordinates, cost, information, first, first == 0),
        0,
        1,
        1,
        values,
    )


def _fit(
    problem: Problem, best: Minima, iterations: int, agreeing: int, starts: int, rivals: Tensor
) -> Fit:
    coordinates = problem.coordinates
    weighting = problem.weighting
    place = best.coordinates[0]
    cost = float(best.cost)
    model, slopes = problem.derivatives(place[None])
    at_bounds = (place <= coordinates.low) | (place >= coordinates.high)
    inner = torch.where(~at_bounds)[0]
    covariance = torch.zeros_like(best.information[0])
    covariance[inner[:, None], inner] = covariances(best.information[0][inner[:, None], inner])
    remainder = problem.data[0] - model[0]
    nuisances = []
    residual = remainder.clone()
    amounts = weighting.solved(remainder)
    variances = weighting.variances(slopes[0], covariance)
    rows = zip(weighting.blocks, amounts, variances, weighting.slices, strict=True)
    for block, of_block, their_variances, where in rows:
        residual[where] -= torch.from_numpy(block.nuisances).double() @ of_block
        found = dict(zip(block.words, of_block.tolist(), strict=True))
        errors = dict(zip(block.words, their_variances.sqrt().tolist(), strict=True))
        nuisances.append(Nuisances(found, errors))
    return Fit(
        values=coordinates.wrapped(coordinates.values(place[None]))[0].numpy(),
        coordinates=coordinates,
        at=place.numpy(),
        covariance=covariance.numpy(),
        chi2=2 * cost,
        degrees=problem.degrees,
        iterations=iterations,
        converged=bool(best.converged),
        at_bounds=tuple(compress(coordinates.names, at_bounds.tolist())),
        nuisances=tuple(nuisances),
        residual=tuple(residual[where].numpy() for where in weighting.slices),
        agreeing=agreeing,
        starts=starts,
        jacobian=slopes[0],
        rivals=rivals,
    )


# Least squares from an estimate, such as a network's.

STARTS_NEAR = 16
"""Starts at the estimate's position, spread over all other parameters, if one of these is an angle:
its estimate may be wrong by half a turn. Without an angle there are few local minima.
"""
POOR_CHI2 = 2.0
"""Reduced χ² above which a fit is poor, so that the search is repeated."""
STARTS_FAR = 64
"""Starts that are spread over all parameters where an estimate is uninformative."""
MANY_MINIMA = 16
"""Minima that are followed with all points where many have about the same cost."""


def refine_fit(problem: Problem, begin: Tensor, searches: Sequence[Search], seed: int) -> Fit:
    """The lowest minimum reached from an estimate, from starts near it and, if necessary, from
    starts elsewhere.

    The search goes on around the lowest minima if they fit poorly. It is repeated from starts over
    the whole range of the parameters if the fit stays poor, or the data show no significant source:
    there are then many minima of about the same cost, and the estimate may be far from the lowest.

    begin     (start, parameter)  values of all parameters in SI units
    searches  of each parameter
    Raises QexpError if no start is possible.
    """
    search = problem.to_search(seed)
    coordinates = problem.coordinates
    if any(coordinates.parameters[index].period is not None for index in coordinates.free):
        in_place = [*searches]
        for index, span in enumerate(searches):
            if base_name(span.parameter.name) in POSITIONS:
                value = float(begin[0, index])
                in_place[index] = replace(span, low=value, high=value)
        begin = torch.cat([begin, starts(search, in_place, STARTS_NEAR, seed)])
    fit = best_around(problem, best(problem, begin, seed, MANY_MINIMA), 1, seed)
    if fit.chi2_reduced <= POOR_CHI2 and shows_source(problem, fit):
        return fit
    elsewhere = starts(search, searches, STARTS_FAR, seed)
    begin = torch.cat([fit.source, elsewhere])
    return best_around(problem, best(problem, begin, seed, MANY_MINIMA), 1, seed)


# How sure estimates are: standard errors and correlations of a fit, and the threshold of its
# intervals.

LEVEL = 0.95


def standard_errors(fit: Fit) -> Array:
    """Errors of the free parameters to first order by the declared noise, (free,) in SI units; 0 at
    bounds.

    Those of the inverse of JᵀC⁻¹J, nuisances included.
    """
    covariance = torch.from_numpy(fit.covariance)[None]
    return fit.coordinates.deviations(fit.place, covariance)[0].numpy()


def correlations(fit: Fit) -> Array:
    """Of the errors of the free parameters, (free, free); of the logarithm of depths and sizes; 0
    at bounds.
    """
    slopes = fit.coordinates.slopes(fit.place)
    errors = standard_errors(fit)
    with np.errstate(invalid="ignore"):
        products = np.outer(errors, errors)
        covariance = (slopes @ torch.from_numpy(fit.covariance)[None] @ slopes.mT)[0].numpy()
        return np.where(products == 0, np.eye(len(errors)), covariance / products)


def scale(fit: Fit) -> float:
    """What declared errors are multiplied with: √χ²_reduced where that is above 1."""
    return max(1.0, math.sqrt(fit.chi2_reduced))


def threshold(fit: Fit) -> float:
    """The root of the increase of χ² at the ends of 95 % intervals.

    That of a normal distribution; of Student's t with the degrees of freedom where errors are
    scaled, because then the residuals give the size of the noise.
    """
    from scipy import special  # quick, unlike scipy.stats

    tail = 0.5 + LEVEL / 2
    factor = scale(fit)
    if factor == 1.0:
        return float(special.ndtri(tail))
    return factor * float(special.stdtrit(fit.degrees, tail))


# Whether more parameters explain data better than chance would.


def shows_source(problem: Problem, fit: Fit) -> bool:
    """Whether BIC prefers the source to none."""
    points = problem.model.points
    nuisances = problem.weighting.nuisances
    none = bic(problem.chi2_without_source, points, nuisances)
    return bic(fit.chi2, points, nuisances + len(fit.coordinates.free)) < none


NESTED_STARTS = 12
"""Starts from which a part of the sources is estimated again, besides that at which it already
is.
"""


def unneeded_sources(
    problem: Problem,
    fit: Fit,
    tracks: Sequence[Track],
    sources: Sequence[Source],
    searches: Sequence[Search],
    origin: tuple[float, float],
    seed: int,
) -> dict[str, float]:
    """Of several sources those without which BIC is lower: name → reduced χ² of the others,
    estimated again.

    searches  of each column of the sources; of those of one type, the last one is left out
    """
    unneeded = {}
    last = {source.type: source for source in sources}
    for left_out in last.values() if len(sources) > 1 else ():
        names = [search.parameter.name for search in searches]
        kept = [number for number, name in enumerate(names) if name not in left_out.columns]
        rest = [searches[number] for number in kept]
        fixed = problem.coordinates.fixed
        if {search.parameter.name for search in rest} <= fixed.keys():
            continue
        coordinates = Coordinates([search.parameter for search in rest], fixed)
        other_sources = [source for source in sources if source is not left_out]
        model = deformation_of(other_sources, tracks, origin)
        nested = Problem(model, problem.weighting, problem.data, coordinates)
        begin = fit.source[:, kept]
        # else the fit itself began elsewhere
        if all(rest[number].can_be_drawn for number in coordinates.free):
            begin = torch.cat([begin, starts(nested.to_search(seed), rest, NESTED_STARTS, seed)])
        others = best(nested, begin, seed)
        points = model.points
        nuisances = problem.weighting.nuisances
        lost = len(fit.coordinates.free) - len(coordinates.free)
        if lost and bic(others.chi2, points, nuisances) <= bic(fit.chi2, points, nuisances + lost):
            unneeded[left_out.name] = others.chi2_reduced
    return unneeded


def would_show_source(problem: Problem, signal: Tensor) -> Tensor:
    """Whether BIC would prefer the source to none in data with the noise's expected χ², (problem,).

    signal  signal-to-noise ratios, see `least_squares.bounds`
    """
    points = problem.model.points
    nuisances = problem.weighting.nuisances
    least = bic(problem.degrees, points, nuisances + len(problem.coordinates.free))
    expected = problem.degrees + len(problem.coordinates.free) + signal.square()
    return torch.tensor([bic(chi2, points, nuisances) > least for chi2 in expected.tolist()])


# Errors of estimates by the covariance that the residuals themselves have, whatever noise was
# declared.


def residual_errors(fit: Fit, problem: Problem, tracks: list[Track]) -> Array | None:
    """Standard errors of the free parameters in SI units, (free,), by the covariance of the
    residuals of each track.

    The estimate is linear in the data to first order, with the weights K = (JᵀC⁻¹J)⁻¹ JᵀC⁻¹
    (offsets and ramps included), so that K Ĉ Kᵀ is its covariance for noise of any covariance Ĉ:
    here nugget and exponential that fit the semivariogram of the track's residuals (the "sandwich"
    of White 1980, Econometrica 48, 817-838). Components of stations count as independent, with the
    variance of their residuals. None for a track of more than MOST_CORRELATED points, or
    without enough points for a semivariogram.
    """
    weighting = problem.weighting
    # C⁻¹ times the Jacobian without nuisances, (free, point)
    weights = weighting.adjoint(weighting(fit.jacobian))
    middle = torch.zeros(len(weights), len(weights), dtype=weights.dtype)
    for track, residual, where in zip(tracks, fit.residual, weighting.slices, strict=True):
        of_track = weights[:, where]
        if not track.instrument.imaging:
            middle += float(np.mean(residual**2)) * of_track @ of_track.mT
            continue
        if len(residual) > MOST_CORRELATED:
            return None
        try:
            noise, _ = fitted(semivariogram(track.x, track.y, residual), "exponential")
        except ValueError:  # too few points, or no noise
            return None
        for rows, covariance in covariance_rows(track, noise):
            middle += of_track[:, rows] @ (torch.from_numpy(covariance) @ of_track.mT)
        middle += noise.nugget * of_track @ of_track.mT
    inverse = torch.from_numpy(fit.covariance)
    sandwich = (inverse @ middle @ inverse)[None]
    errors: Array = fit.coordinates.deviations(fit.place, sandwich)[0].numpy()
    return errors if np.isfinite(errors).all() else None

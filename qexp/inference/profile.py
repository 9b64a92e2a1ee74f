"""Intervals of parameters by their profile likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.options import Counted, uncounted
from qexp.base.quantities import base_name
from qexp.inference.density import Signals
from qexp.inference.displacements import Deformation
from qexp.inference.fit import Fit, best, standard_errors, threshold
from qexp.inference.least_squares import Descents, Problem, covariances
from qexp.inference.parameters import RIGHT_ANGLE

CLOSE_SHARE = 0.04
"""An end is close enough if the root of the increase of χ² differs from the threshold by less than
this share of it; the slope there corrects it.
"""
CHI2_TOLERANCE = 0.01
"""Increase of χ² by which the other parameters may still be away from their best values."""
MOST_STEPS, MOST_ITERATIONS = 16, 30
"""Values that are tried for an end, and iterations of the other parameters at each."""
FIRST_STEPS = 5
"""Values after which an end that the slope did not lead to is sought by halves."""
LARGEST_GROWTH = 4.0
"""Largest factor between the distances of two such values from the estimate."""
SHARES_OF_OTHERS, SHARES_OF_BOTH = (1.0, 0.5, 0.0), tuple(0.5**halvings for halvings in range(1, 7))
"""Of the ways to what others are predicted to be at a distance, and to that distance, too, that are
tried.
"""
SHARE_OF_WAY = 0.3
"""Of the way to a value that is no possible source."""
NARROW_SHARE = 1e-3
"""Share of its distance from the estimate to which an end is found where the model has no values
beyond it.
"""
MOST_MINIMA = 3
"""Minima, each lower than the one before, whose intervals are sought at most."""
WIDEST_LOG_DEVIATION = 3.0
"""Standard deviation of a logarithm that the data do not determine, where the search for its
interval begins.
"""
PROMISING_ROOTS = 3.0
"""Roots of the increase of χ², in units of the threshold, from which better values of other
parameters are followed.
"""
DEEPER_STEP, MOST_DEEPER = 0.05, 40
"""Change of logarithms by which an impossible source is made deeper and smaller until it is
possible, and how often.
"""
SPANNING_SOURCES, SPANNED_DEVIATIONS, MOST_HALVINGS = 100, 2.0, 12
"""Sources that span a basis of signals at first, by how many standard deviations they are spread,
and how often the way to one that is too unlikely is halved.
"""
BASIS_TOLERANCE, MOST_BASES = 0.005, 4
"""Share of the increase of χ² at an end by which that by a basis may differ from that by all
points, and how often the basis is widened by the sources where it differs by more before it counts.
"""
EDGE_STEP = 1e-3
"""Difference of a coordinate to sources that an estimate should not lie beside if they are
impossible.
"""
LOWER_CHI2 = 0.01
"""Decrease of χ² from which on another minimum counts as lower than the estimate."""


@dataclass(frozen=True)
class Profile:
    """Where the increase of χ² reaches a threshold, with all other parameters and nuisances at
    their best values.

    low, high            (free,)  in SI units, of the free parameters
    open_low, open_high  (free,)  whether it does not reach it there: the end is that of the search
                                  or of the bounds
    lower                (parameter,)  a source with a lower χ² than the estimate, if one was met;
                                       None: there is none
    """

    low: Array
    high: Array
    open_low: NDArray[np.bool_]
    open_high: NDArray[np.bool_]
    lower: Tensor | None = None


def profile_likelihood(
    problem: Problem, fit: Fit, most: float, on_end: Counted = uncounted
) -> Profile:
    """The intervals of all free parameters of a fit.

    most    root of the increase of χ² at the ends; 1.96 for 95 % and noise that is declared as it
            is
    on_end  takes the number of ends that are found, and of all
    An interval of a parameter is the set of its values that a likelihood-ratio test does not reject
    (Venzon and Moolgavkar 1988, Appl. Stat. 37, 87-94), which is right where parameters trade off;
    errors to first order are not. The coordinate of an amplitude that differs from zero is its
    logarithm there.
    """
    return _Ends.found(problem, fit, most, on_end).profile(fit)


def with_intervals(problem: Problem, fit: Fit, on_end: Counted = uncounted) -> tuple[Fit, Profile]:
    """A fit and its intervals; the fit of a lower minimum, where the way to an end of an interval
    led to one.
    """
    profile = profile_likelihood(problem, fit, threshold(fit), on_end)
    for _ in range(MOST_MINIMA):
        if profile.lower is None:
            break
        other = best(problem, profile.lower[None])
        if other.chi2 > fit.chi2 - LOWER_CHI2:
            break
        fit = replace(other, starts=fit.starts)
        profile = profile_likelihood(problem, fit, threshold(fit), on_end)
    return fit, profile


def edges(problem: Problem, fit: Fit) -> list[str]:
    """The parameters of which hardly less or hardly more is an impossible source, bounds apart."""
    coordinates, at = problem.coordinates, torch.from_numpy(fit.at)
    steps = EDGE_STEP * torch.eye(len(at), dtype=torch.float64)
    beside = torch.cat([at + steps, at - steps]).clamp(coordinates.low, coordinates.high)
    possible = problem.model.possible(coordinates.values(beside)).view(2, -1).all(dim=0)
    return [
        name for name, both in zip(coordinates.names, possible.tolist(), strict=True) if not both
    ]


def falls_beyond(problem: Problem, fit: Fit) -> dict[str, float]:
    """Parameter that ended at a bound → by how much χ² would fall beyond it, to second order, other
    bounds being kept.

    Rao's (1948) score test, Math. Proc. Camb. Philos. Soc. 44, 50-57.
    """
    _, gradient, information = problem.normal_equations(
        torch.from_numpy(fit.at)[None], torch.zeros(1, dtype=torch.long)
    )
    names = problem.coordinates.names
    within = torch.tensor([name not in fit.at_bounds for name in names])
    falls = {}
    for column in (~within).nonzero()[:, 0].tolist():
        free = within.clone()
        free[column] = True
        variance = float(
            covariances(information[0][free][:, free]).diagonal()[int(free[:column].sum())]
        )
        falls[names[column]] = (
            variance * float(gradient[0, column]) ** 2 if math.isfinite(variance) else 0.0
        )
    return falls


class _Ends:
    """Both ends of the intervals of the parameters of searches, which are followed together.

    searches  of one problem, each in coordinates of its own
    """

    def __init__(
        self, searches: list[_Search], whole: Problem, on_end: Counted = uncounted
    ) -> None:
        self.searches, self.whole, self.threshold, self.on_end = (
            searches,
            whole,
            searches[0].threshold,
            on_end,
        )
        self.ends = [end for search in searches for end in search.ends]
        self.lowest: tuple[float, Tensor] | None = None
        """By how much χ² is lower than at the estimate, and the values of the lowest source that
        was met, if it is.
        """
        places, means = whole.model.places()
        self._signals = Signals(places, lambda moved: whole.weighting(means(moved)), whole.weighted)
        self._spanning: Tensor | None = None
        """Displacements of which those of other sources are combinations; None if that has no
        advantage.
        """

    @classmethod
    def found(cls, problem: Problem, fit: Fit, most: float, on_end: Counted = uncounted) -> _Ends:
        quick = problem.quick()
        ends = cls(_searches(quick, fit, most), quick, on_end)
        ends.span(_around(ends.searches[0]))
        ends.follow(dict(zip(ends.ends, ends.next(ends.ends), strict=True)))
        ends.reconsider(ends.met())
        for _ in range(MOST_MINIMA):
            if not ends.extend(ends.met(ends.threshold)):
                break
        return ends

    def profile(self, fit: Fit) -> Profile:
        count = len(fit.coordinates.free)
        (low, high), (open_low, open_high) = np.empty((2, count)), np.zeros((2, count), np.bool_)
        for end in self.ends:
            falls = (end.side < 0) != end.search.falls(end.column)
            (low if falls else high)[end.column] = end.search.value(end)
            (open_low if falls else open_high)[end.column] = end.open
        gain, lower = self.lowest or (0.0, None)
        return Profile(low, high, open_low, open_high, lower if gain > LOWER_CHI2 else None)

    def met(self, most: float = math.inf) -> Tensor:
        """The sources on the ways to the ends, (source, parameter) in SI units.

        most  root of the increase of χ² there
        """
        return torch.cat(
            [end.source(step[2]) for end in self.ends for step in end.path if step[1] <= most]
        )

    def span(self, sources: Tensor) -> None:
        """Reduce signals to a basis of those of these sources, too: see
        `density.Signals.reduced`.
        """
        more = self._signals.lengthless(sources)
        self._spanning = more if self._spanning is None else torch.cat([self._spanning, more])
        if (few := self._signals.in_basis(self._spanning)) is None:
            self._spanning = None
        for search in self.searches:
            search.reduce(self.whole, few)

    def reconsider(self, met: Tensor) -> None:
        """Go on from ends where other parameters, like those of sources met elsewhere, are better
        than where it led.

        met  (source, parameter) in SI units
        """
        doubtful, most = self.ends, (1 - 2 * CLOSE_SHARE) * self.threshold
        for _ in range(MOST_MINIMA):
            starts = [
                (end, end.search.best_of(end, met))
                for end in doubtful
                if not end.open and end.at > 0
            ]
            places = {end: (end.at, start) for end, start in starts if start is not None}
            doubtful = [end for end, root in self.follow(places, most).items() if root <= most]

    def extend(self, within: Tensor) -> bool:
        """Go on from sources beyond an end that are as likely as the interval's: the likelihood has
        several maxima.

        within   (source, parameter) in SI units
        returns  whether there are such sources
        """
        beyond = {end: end.search.farthest_of(end, within) for end in self.ends}
        places = {
            end: place for end, place in beyond.items() if end.at < (1 - NARROW_SHARE) * place[0]
        }
        return any(root <= self.threshold for root in self.follow(places, self.threshold).values())

    def follow(
        self, places: Mapping[_End, tuple[float, Tensor]], most: float = math.inf
    ) -> dict[_End, float]:
        """Follow the other parameters to their best values where those of ends are held, and ends
        to the threshold.

        places   distances from the estimate, and coordinates from which others are followed
        most     root of the increase of χ² up to which an end is sought beyond its place
        returns  these roots
        """
        if not places:
            return {}
        ends = list(places)
        distances = [distance for distance, _ in places.values()]
        roots = dict[_End, float]()
        low, high = (
            torch.stack([getattr(end.search, side) for end in ends]) for side in ("low", "high")
        )
        columns, again = torch.tensor([end.column for end in ends]), torch.zeros(len(ends))
        tolerance = CHI2_TOLERANCE / max(1.0, *(end.search.chi2 for end in ends))
        descents = Descents(_Together(ends), low.shape, tolerance, MOST_ITERATIONS)
        rows, at = torch.arange(len(ends)), torch.stack([start for _, start in places.values()])
        while len(rows) or len(descents.active):
            low[rows, columns[rows]] = high[rows, columns[rows]] = at.gather(
                1, columns[rows, None]
            )[:, 0]
            ended = descents.begin(rows, at, low[rows], high[rows])
            while len(ended) < len(descents.active):  # a call takes the same time for few and many
                ended = torch.cat([ended, descents.step()])
            at, costs = (part[ended] for part in descents.minima[:2])
            increases, wrong = self._increases(
                [ends[row] for row in ended.tolist()], at, costs, again[ended]
            )
            again[ended] = torch.where(wrong, again[ended] + 1, 0)
            if wrong.any():
                descents.problems = _Together(ends)
                descents.evaluate(descents.active)
            on = dict[int, _End]()
            for row, root, place in zip(
                ended[~wrong].tolist(), increases[~wrong].tolist(), at[~wrong], strict=True
            ):
                end = ends[row]
                if end in roots:
                    end.path.append((distances[row], root, place))
                elif root <= most:
                    end.go_on((distances[row], root, place), self.threshold)
                if roots.setdefault(end, root) <= most and not end.search.settled(end):
                    on[row] = end
            self.on_end(sum(not math.isnan(end.at) for end in self.ends), len(self.ends))
            further = self.next(list(on.values()))
            for row, (distance, _) in zip(on, further, strict=True):
                distances[row] = distance
            rows = torch.cat([ended[wrong], torch.tensor([*on], dtype=torch.long)])
            at = torch.cat([at[wrong], *(start[None] for _, start in further)])
        return roots

    def _increases(
        self, ends: Sequence[_End], at: Tensor, costs: Tensor, again: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Roots of the increase of χ² by all points; and where that by a basis differed, which was
        then widened.

        again  how often it was already
        """
        sources = torch.cat([end.source(place) for end, place in zip(ends, at, strict=True)])
        wrong = again < 0
        chi2 = torch.tensor([end.search.chi2 for end in ends], dtype=torch.float64)
        if self._spanning is not None:
            _, exact = self.whole.strengthened(self.whole.coordinates.from_values(sources), [])
            increase = (2 * exact - chi2).clamp(min=self.threshold**2)
            # Farther out it is enough to know that it is far.
            differs = 2 * (exact - costs).abs() > BASIS_TOLERANCE * (increase / self.threshold) ** 2
            costs, wrong = exact, differs & (again < MOST_BASES)
            if wrong.any():
                self.span(sources[wrong])
        gains = chi2 - 2 * costs
        most = int(gains.argmax())
        if gains[most] > (0.0 if self.lowest is None else self.lowest[0]):
            self.lowest = float(gains[most]), sources[most]
        return (-gains).clamp(min=0).sqrt(), wrong

    def next(self, ends: Sequence[_End]) -> list[tuple[float, Tensor]]:
        """The distances to try, and the coordinates from which the others are followed to their
        best values there.
        """
        if not ends:
            return []
        ways, problem = [end.search.ways(end) for end in ends], self.searches[0].problem
        sources = [
            end.search.problem.coordinates.values(at)
            for end, (_, at) in zip(ends, ways, strict=True)
        ]
        _, costs = problem.strengthened(problem.coordinates.from_values(torch.cat(sources)), [])
        chosen = []
        for (distances, at), of_ways in zip(
            ways, costs.split([len(at) for _, at in ways]), strict=True
        ):
            near = 2 * of_ways <= self.searches[0].chi2 + (PROMISING_ROOTS * self.threshold) ** 2
            best = int((near.int() if near.any() else -of_ways).argmax())
            best = best if torch.isfinite(of_ways[distances == distances[0]]).any() else 0
            chosen.append((float(distances[best]), at[best]))
        return chosen


class _Together(Problem):
    """The problem of several ends, a row for each, in the coordinates of its search."""

    def __init__(self, ends: Sequence[_End]) -> None:
        vars(self).update(vars(ends[0].search.problem))
        self._each = list(dict.fromkeys(end.search for end in ends))
        self._numbers = torch.tensor([self._each.index(end.search) for end in ends])

    def values(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        values = coordinates.new_empty(len(coordinates), len(self.coordinates.parameters))
        within = torch.empty(len(coordinates), dtype=torch.bool)
        for number, search in enumerate(self._each):
            rows = self._numbers[which] == number
            values[rows], within[rows] = search.problem.values(coordinates[rows], which[rows])
        return values, within


_Place = tuple[float, float, Tensor]
"""Distance of an end from the estimate, the root of the increase of χ² there, and the
coordinates.
"""


@dataclass(eq=False)
class _End:
    """One end of the interval of a free parameter, and what is known of the way there.

    search  whose coordinates count
    side   -1 or 1: the direction of the coordinate
    path   what was tried on the way
    at     distance of the end; NaN while it is sought
    open   whether the threshold is not reached at the end
    tries  values that were tried since it is sought
    """

    search: _Search
    column: int
    side: float
    path: list[_Place] = field(default_factory=list)
    at: float = math.nan
    open: bool = False
    tries: int = 0

    def source(self, coordinates: Tensor) -> Tensor:
        """Values of all parameters, (1, parameter) in SI units."""
        return self.search.problem.coordinates.values(coordinates[None])

    def below(self, threshold: float) -> _Place:
        """The farthest place before the threshold."""
        beyond = min((step[0] for step in self.path if step[1] > threshold), default=math.inf)
        return max((step for step in self.path if step[0] < beyond), key=lambda step: step[0])

    def go_on(self, place: _Place, threshold: float) -> None:
        """Seek the end beyond a place below the threshold; what was met farther or above it is
        forgotten.
        """
        path = [step for step in self.path if step[0] < place[0] and step[1] <= threshold]
        self.path, self.at, self.open, self.tries = [*path, place], math.nan, False, 0

    def above(self, threshold: float) -> _Place | None:
        """The nearest place beyond the threshold."""
        return min(
            (step for step in self.path if step[1] > threshold),
            key=lambda step: step[0],
            default=None,
        )


class _Search:
    """The ends of intervals of some parameters, sought in common coordinates.

    columns  of the free parameters
    ends     of their intervals
    """

    def __init__(
        self, problem: Problem, fit: Fit, columns: Sequence[int], threshold: float
    ) -> None:
        self.problem, self.columns, self.threshold = copy(problem), list(columns), threshold
        coordinates = problem.coordinates
        self.start = coordinates.from_values(torch.from_numpy(fit.values)[None])[0]
        self.ends = [
            _End(self, column, side, [(0.0, 0.0, self.start)])
            for column in self.columns
            for side in (-1.0, 1.0)
        ]
        self.low = torch.minimum(coordinates.low, self.start)
        self.high = torch.maximum(coordinates.high, self.start)
        # A quarter turn to both sides of a dip or plunge and of its strike holds each source once.
        turning = [column for tilt in coordinates.tilts for column in (tilt.angle, tilt.strike)]
        self.low[turning] = torch.maximum(self.low[turning], self.start[turning] - RIGHT_ANGLE)
        self.high[turning] = torch.minimum(self.high[turning], self.start[turning] + RIGHT_ANGLE)
        cost, _, information = problem.normal_equations(
            self.start[None], torch.zeros(1, dtype=torch.long)
        )
        self.chi2 = 2 * float(cost)
        # The covariance of the coordinates to first order, where the data determine them; one at a
        # bound does not go with the others.
        at_bound = (self.start <= self.low) | (self.start >= self.high)
        joint = ~at_bound[:, None] & ~at_bound
        diagonal = information[0].diagonal() + torch.where(
            coordinates.logarithmic, WIDEST_LOG_DEVIATION**-2, 0.0
        )
        covariance = covariances(
            torch.where(joint, information[0], 0.0).fill_diagonal_(0.0) + torch.diag(diagonal)
        )
        self.covariance = torch.where(
            torch.isfinite(covariance), covariance, torch.diag(1 / diagonal)
        )

    def reduce(self, whole: Problem, few: Signals | None) -> None:
        """Use signals of a basis, or those of the whole problem."""
        problem, source = self.problem, whole if few is None else few
        assert isinstance(source.model, Deformation)
        problem.model, problem.whiten, problem.weighted = (
            source.model,
            source.whiten,
            whole.weighted,
        )
        if few is not None:  # with what no signal explains as one number more
            problem.whiten = lambda moved: torch.nn.functional.pad(few.whiten(moved), (0, 1))
            problem.weighted = torch.cat([few.data, few.rest.sqrt()[:, None]], dim=1)

    def falls(self, column: int) -> bool:
        """Whether the parameter becomes smaller where its coordinate becomes larger."""
        return bool(self.problem.coordinates.scale[column] < 0)

    def value(self, end: _End) -> float:
        """The parameter at an end, in SI units."""
        if math.isinf(end.at):
            return -math.inf if (end.side < 0) != self.falls(end.column) else math.inf
        at = self.start.clone()
        at[end.column] += end.side * end.at
        coordinates = self.problem.coordinates
        return float(coordinates.values(at[None])[0, coordinates.free[end.column]])

    def best_of(self, end: _End, met: Tensor) -> Tensor | None:
        """The best of the sources met with the parameter at the end, if it is as likely as the end
        may be.
        """
        coordinates = self.problem.coordinates
        at = coordinates.from_values(met).clamp(self.low, self.high)
        at[:, end.column] = self.start[end.column] + end.side * end.at
        for row in (~self.problem.model.possible(coordinates.values(at))).nonzero()[:, 0].tolist():
            at[row] = self._possible(at[row], end.column)
        at, costs = self.problem.strengthened(
            at, [] if end.column in coordinates.linear else coordinates.linear
        )
        least = int(costs.argmin())
        near = 2 * float(costs[least]) < self.chi2 + (PROMISING_ROOTS * self.threshold) ** 2
        return at[least].clamp(self.low, self.high) if near else None

    def farthest(self, end: _End) -> float:
        """The distance to the bound, or half around of an angle."""
        parameter = self.problem.coordinates.parameters[self.problem.coordinates.free[end.column]]
        bound = self.low if end.side < 0 else self.high
        distance = float((bound - self.start).abs()[end.column])
        return (
            distance
            if parameter.period is None
            else min(distance, parameter.period / parameter.scale / 2)
        )

    def farthest_of(self, end: _End, within: Tensor) -> tuple[float, Tensor]:
        """The distance of the farthest of some sources from the estimate that may be an end, and
        its coordinates.

        within  (source, parameter) in SI units
        """
        at = self.problem.coordinates.from_values(within).clamp(self.low, self.high)
        distances = end.side * (at - self.start)[:, end.column]
        farthest = int(distances.masked_fill(distances > self.farthest(end), 0.0).argmax())
        return float(distances[farthest]), at[farthest]

    def ways(self, end: _End) -> tuple[Tensor, Tensor]:
        """Distances that may be tried, (way,), the best first, and coordinates from which others
        are followed there.
        """
        distance = self._distance(end)
        below = end.below(self.threshold)
        above = end.above(self.threshold)
        # The whole way where nothing farther was tried, whatever lies between: there may be another
        # maximum.
        blind = above is not None and above[1] > PROMISING_ROOTS * self.threshold
        shares = torch.tensor(SHARES_OF_OTHERS + SHARES_OF_BOTH * blind, dtype=torch.float64)
        far = shares.clone()
        far[: len(SHARES_OF_OTHERS)] = 1.0
        distances = below[0] + far * (distance - below[0])
        at = (below[2] + shares[:, None] * (self._predicted(end, distance) - below[2])).clamp(
            self.low, self.high
        )
        at[:, end.column] = self.start[end.column] + end.side * distances
        for way in (
            (~self.problem.model.possible(self.problem.coordinates.values(at)))
            .nonzero()[:, 0]
            .tolist()
        ):
            at[way] = self._possible(at[way], end.column)
        return distances, at

    def _distance(self, end: _End) -> float:
        """The distance to try."""
        farthest = self.farthest(end)
        below, above = end.below(self.threshold), end.above(self.threshold)
        if above is not None:
            width = above[0] - below[0]
            share = (
                (self.threshold - below[1]) / (above[1] - below[1])
                if math.isfinite(above[1])
                else SHARE_OF_WAY
            )
            least = 0.1 if len(end.path) <= FIRST_STEPS else 0.4
            return below[0] + width * min(max(share, least), 1 - least)
        if below[0] == 0:
            first = self.threshold * math.sqrt(float(self.covariance[end.column, end.column]))
            return min(first if math.isfinite(first) else 1.0, farthest)
        before = max((step for step in end.path if step[0] < below[0]), key=lambda step: step[0])
        slope = (below[1] - before[1]) / (below[0] - before[0])
        step = 1.05 * (self.threshold - below[1]) / slope if slope > 0 else math.inf
        return min(
            below[0] + min(max(step, 0.1 * below[0]), (LARGEST_GROWTH - 1) * below[0]), farthest
        )

    def _predicted(self, end: _End, step: float) -> Tensor:
        """Coordinates that those tried so far lead to expect at a distance."""
        below, above = end.below(self.threshold), end.above(self.threshold)
        if above is not None and above[1] <= PROMISING_ROOTS * self.threshold:
            guess = below[2] + (above[2] - below[2]) * (step - below[0]) / (above[0] - below[0])
        elif below[0] > 0:
            before = max(
                (tried for tried in end.path if tried[0] < below[0]), key=lambda tried: tried[0]
            )
            guess = below[2] + (below[2] - before[2]) * (step - below[0]) / (below[0] - before[0])
        else:
            along = self.covariance[:, end.column] / self.covariance[end.column, end.column]
            guess = self.start + end.side * step * along.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        return guess

    def _possible(self, guess: Tensor, fixed: int) -> Tensor:
        """A possible source with the same value of a parameter: deeper and smaller where
        necessary.
        """
        coordinates = self.problem.coordinates
        deeper = torch.zeros_like(guess)
        for column, name in enumerate(coordinates.names):
            if coordinates.logarithmic[column] and column != fixed:
                deeper[column] = DEEPER_STEP if base_name(name) == "depth" else -DEEPER_STEP
        moved = (guess + torch.arange(MOST_DEEPER)[:, None] * deeper).clamp(self.low, self.high)
        return moved[int(self.problem.model.possible(coordinates.values(moved)).int().argmax())]

    def settled(self, end: _End) -> bool:
        """Whether an end is found, or was sought often enough; if so, where it is."""
        end.tries, last = end.tries + 1, end.path[-1]
        below, above = end.below(self.threshold), end.above(self.threshold)
        if abs(last[1] - self.threshold) <= CLOSE_SHARE * self.threshold:
            other = above if last[1] <= self.threshold else below
            if other is None or math.isinf(other[1]):
                finite = [
                    step for step in end.path[:-1] if math.isfinite(step[1]) and step[0] != last[0]
                ]
                other = min(finite, key=lambda step: abs(step[0] - last[0]))
            slope = (last[1] - other[1]) / (last[0] - other[0])
            correction = (self.threshold - last[1]) / slope if slope > 0 else 0.0
            end.at = min(max(last[0] + correction, 0.5 * last[0]), self.farthest(end))
            return True
        if above is None and below[0] >= self.farthest(end):
            end.at, end.open = below[0], True
            return True
        if above is not None and above[0] - below[0] <= NARROW_SHARE * above[0]:
            end.at, end.open = below[0], math.isinf(above[1])
            return True
        if end.tries < MOST_STEPS:
            return False
        end.open = above is None
        # Without a limit the likelihood hardly falls, however far one goes.
        end.at = math.inf if end.open and math.isinf(self.farthest(end)) else below[0]
        return True


def _around(search: _Search) -> Tensor:
    """The estimate and sources around it that are not much less likely, (source, parameter) in SI
    units.
    """
    random = torch.Generator().manual_seed(0)
    draws = torch.randn(SPANNING_SOURCES, len(search.start), generator=random, dtype=torch.float64)
    # rounding may leave it without a Cholesky decomposition
    sizes, axes = torch.linalg.eigh(search.covariance)
    away = SPANNED_DEVIATIONS * (draws * sizes.clamp(min=0).sqrt()) @ axes.mT
    far = torch.arange(len(draws))
    for _ in range(MOST_HALVINGS):
        _, costs = search.problem.strengthened(
            (search.start + away[far]).clamp(search.low, search.high), []
        )
        far = far[2 * costs > search.chi2 + (PROMISING_ROOTS * search.threshold) ** 2]
        away[far] /= 2
    moved = (search.start + away).clamp(search.low, search.high)
    return search.problem.coordinates.values(torch.cat([search.start[None], moved]))


def _searches(problem: Problem, fit: Fit, threshold: float) -> list[_Search]:
    """Searches for the ends of all parameters: one in the coordinates of the fit, and one for each
    amplitude, which has a coordinate of its own there.
    """
    coordinates = problem.coordinates
    amplitudes = coordinates.linear
    others = [column for column in range(len(coordinates.free)) if column not in amplitudes]
    searches = [_Search(problem, fit, others, threshold)]
    errors = standard_errors(fit).tolist()
    for column, root in zip(amplitudes, _without(searches[0], amplitudes), strict=True):
        parameter = coordinates.parameters[coordinates.free[column]]
        value = float(fit.values[coordinates.free[column]])
        nonzero, error = root > threshold, errors[column]
        scale = error if not nonzero and 0 < error < math.inf else parameter.scale
        alone = replace(
            parameter, powers={}, logarithmic=nonzero, negative=nonzero and value < 0, scale=scale
        )
        searches.append(_Search(problem.with_parameter(alone), fit, [column], threshold))
    return searches


def _without(search: _Search, amplitudes: Sequence[int]) -> list[float]:
    """The root of the increase of χ² without each amplitude."""
    if not amplitudes:
        return []
    starts = search.start.expand(len(amplitudes), -1).clone()
    starts[range(len(amplitudes)), list(amplitudes)] = 0.0
    within = (search.low <= 0) & (search.high >= 0)
    places = {
        _End(search, column, 1.0): (0.0, start)
        for column, start in zip(amplitudes, starts, strict=True)
    }
    roots = _Ends([search], search.problem).follow(places, -1.0)
    return [roots[end] if bool(within[end.column]) else math.inf for end in places]

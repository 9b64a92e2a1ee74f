"""Intervals of parameters by their profile likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import NamedTuple

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
"""Shares of the way to the predicted others at a distance, and to that distance, too."""
SHARE_OF_WAY = 0.3
"""Of the way to a value that is no possible source."""
NARROW_SHARE = 1e-3
"""Share of the distance to which an end is found where the model has no values beyond it."""
MOST_MINIMA = 3
"""Minima, each lower than the one before, whose intervals are sought at most."""
WIDEST_LOG_DEVIATION = 3.0
"""Standard deviation with which a search begins for a logarithm that data do not determine."""
PROMISING_ROOTS = 3.0
"""Roots of the increase of χ² over the threshold, from which better sources are followed."""
DEEPER_STEP, MOST_DEEPER = 0.05, 40
"""Steps of logarithms that make an impossible source deeper and smaller, and their number."""
SPANNING_SOURCES, SPANNED_DEVIATIONS, MOST_HALVINGS = 100, 2.0, 12
"""Sources that span a basis of signals at first, by how many standard deviations they are spread,
and how often the way to one that is too unlikely is halved.
"""
BASIS_TOLERANCE, MOST_BASES = 0.005, 4
"""Share of the increase of χ² at an end by which that by a basis may differ from that by all
points, and how often the basis is widened by the sources where it differs by more before it counts.
"""
EDGE_STEP = 1e-3
"""Difference of a coordinate to the neighbours of an estimate that should be possible."""
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


def profile_likelihood(problem: Problem, fit: Fit, on_end: Counted = uncounted) -> Profile:
    """The intervals of all free parameters of a fit, up to the increase of χ² by `fit.threshold`.

    on_end  takes the number of ends that are found, and of all
    An interval of a parameter is the set of its values that a likelihood-ratio test does not reject
    (Venzon and Moolgavkar 1988, Appl. Stat. 37, 87-94), which is right where parameters trade off;
    errors to first order are not. The coordinate of an amplitude that differs from zero is its
    logarithm there.
    """
    return _Ends.found(problem, fit, on_end).profile(fit)


def with_intervals(problem: Problem, fit: Fit, on_end: Counted = uncounted) -> tuple[Fit, Profile]:
    """A fit and its intervals; those of a lower minimum if a way to an end led to one."""
    profile = profile_likelihood(problem, fit, on_end)
    for _ in range(MOST_MINIMA):
        if profile.lower is None:
            break
        other = best(problem, profile.lower[None])
        if other.chi2 > fit.chi2 - LOWER_CHI2:
            break
        fit = replace(other, starts=fit.starts)
        profile = profile_likelihood(problem, fit, on_end)
    return fit, profile


def edges(problem: Problem, fit: Fit) -> list[str]:
    """The parameters of which hardly less or hardly more is an impossible source, bounds apart."""
    coordinates = problem.coordinates
    steps = EDGE_STEP * torch.eye(len(fit.at), dtype=torch.float64)
    neighbours = torch.cat([fit.place + steps, fit.place - steps])
    sources = coordinates.values(neighbours.clamp(coordinates.low, coordinates.high))
    possible = problem.model.possible(sources).view(2, -1).all(dim=0)
    return list(compress(coordinates.names, (~possible).tolist()))


def falls_beyond(problem: Problem, fit: Fit) -> dict[str, float]:
    """Parameter that ended at a bound → by how much χ² would fall beyond it, to second order, other
    bounds being kept.

    Rao's (1948) score test, Math. Proc. Camb. Philos. Soc. 44, 50-57.
    """
    _, gradient, information = problem.normal_equations(fit.place, torch.zeros(1, dtype=torch.long))
    names = problem.coordinates.names
    inner = torch.tensor([name not in fit.at_bounds for name in names])
    falls = {}
    for column in (~inner).nonzero()[:, 0].tolist():
        free = inner.clone()
        free[column] = True
        variances = covariances(information[0][free][:, free]).diagonal()
        variance = float(variances[int(free[:column].sum())])
        fall = variance * float(gradient[0, column]) ** 2
        falls[names[column]] = fall if math.isfinite(variance) else 0.0
    return falls


class _Start(NamedTuple):
    """Where an end is sought: its distance from the estimate, and the coordinates from which the
    other parameters are followed to their best values there.
    """

    distance: float
    coordinates: Tensor


class _Place(NamedTuple):
    """What was tried on the way to an end.

    distance     of the end's parameter from the estimate, in its coordinate
    root         of the increase of χ², with the other parameters at their best values
    coordinates  of all parameters
    """

    distance: float
    root: float
    coordinates: Tensor

    def slope(self, other: _Place) -> float:
        """The increase of the root with the distance, from this place to another."""
        return (self.root - other.root) / (self.distance - other.distance)


class _Ends:
    """Both ends of the intervals of the parameters of searches, which are followed together.

    searches  of one problem, each in coordinates of its own
    """

    def __init__(
        self, searches: list[_Search], whole: Problem, on_end: Counted = uncounted
    ) -> None:
        self.searches = searches
        self.whole = whole
        self.on_end = on_end
        self.threshold = searches[0].threshold
        self.ends = [end for search in searches for end in search.ends]
        self.lowest: tuple[float, Tensor] | None = None
        """By how much χ² of the lowest source met is below the estimate's, and its values."""
        places, means = whole.model.places()
        self._signals = Signals(places, lambda moved: whole.weighting(means(moved)), whole.weighted)
        self._spanning: Tensor | None = None
        """Displacements of which others are combinations; None if that has no advantage."""

    @classmethod
    def found(cls, problem: Problem, fit: Fit, on_end: Counted) -> _Ends:
        quick = problem.quick()
        ends = cls(_searches(quick, fit, threshold(fit)), quick, on_end)
        ends.span(_likely_sources(ends.searches[0]))
        ends.follow(dict(zip(ends.ends, ends.next(ends.ends), strict=True)))
        ends.reconsider(ends.met())
        for _ in range(MOST_MINIMA):
            if not ends.extend(ends.met(ends.threshold)):
                break
        return ends

    def profile(self, fit: Fit) -> Profile:
        count = len(fit.coordinates.free)
        low, high = np.empty((2, count))
        (open_low, open_high) = np.zeros((2, count), np.bool_)
        for end in self.ends:
            (low if end.is_low else high)[end.column] = end.value
            (open_low if end.is_low else open_high)[end.column] = end.open
        gain, lower = self.lowest or (0.0, None)
        return Profile(
            low,
            high,
            open_low,
            open_high,
            lower if gain > LOWER_CHI2 else None,
        )

    def met(self, most: float = math.inf) -> Tensor:
        """The sources on the ways to the ends, (source, parameter) in SI units.

        most  root of the increase of χ² there
        """
        sources = []
        for end in self.ends:
            met = [place.coordinates for place in end.path if place.root <= most]
            sources += [end.sources(coordinates[None]) for coordinates in met]
        return torch.cat(sources)

    def span(self, sources: Tensor) -> None:
        """Reduce signals to a basis of those of these sources, too: `density.Signals.reduced`."""
        more = self._signals.lengthless(sources)
        self._spanning = more if self._spanning is None else torch.cat([self._spanning, more])
        few = self._signals.reduced(self._spanning)
        if few is None:
            self._spanning = None
        for search in self.searches:
            search.reduce(self.whole, few)

    def reconsider(self, met: Tensor) -> None:
        """Go on from ends where other parameters, like those of sources met elsewhere, are better
        than where it led.

        met  (source, parameter) in SI units
        """
        doubtful = self.ends
        most = (1 - 2 * CLOSE_SHARE) * self.threshold
        for _ in range(MOST_MINIMA):
            starts = dict[_End, _Start]()
            for end in doubtful:
                better = end.best_of(met) if not end.open and end.distance > 0 else None
                if better is not None:
                    starts[end] = _Start(end.distance, better)
            doubtful = [end for end, root in self.follow(starts, most).items() if root <= most]

    def extend(self, likely: Tensor) -> bool:
        """Go on from sources beyond an end that are as likely as the interval's: the likelihood has
        several maxima.

        likely   (source, parameter) in SI units
        returns  whether there are such sources
        """
        starts = dict[_End, _Start]()
        for end in self.ends:
            start = end.farthest_of(likely)
            if end.distance < (1 - NARROW_SHARE) * start.distance:
                starts[end] = start
        return any(root <= self.threshold for root in self.follow(starts, self.threshold).values())

    def follow(self, starts: Mapping[_End, _Start], most: float = math.inf) -> dict[_End, float]:
        """Follow the other parameters to their best values where those of ends are held, and ends
        to the threshold.

        most     root of the increase of χ² up to which an end is sought beyond its start
        returns  these roots, at the starts
        """
        if not starts:
            return {}
        # All rows are numbers of these ends.
        ends = list(starts)
        roots = dict[_End, float]()
        distances = [start.distance for start in starts.values()]
        columns = torch.tensor([end.column for end in ends])
        repeated = torch.zeros(len(ends))
        low = torch.stack([end.search.low for end in ends])
        high = torch.stack([end.search.high for end in ends])
        tolerance = CHI2_TOLERANCE / max(1.0, *(end.search.chi2 for end in ends))
        descents = Descents(_Together(ends), low.shape, tolerance, MOST_ITERATIONS)
        rows = torch.arange(len(ends))
        begin = torch.stack([start.coordinates for start in starts.values()])
        while len(rows) or len(descents.active):
            held = begin.gather(1, columns[rows, None])[:, 0]
            low[rows, columns[rows]] = high[rows, columns[rows]] = held
            ended = descents.begin(rows, begin, low[rows], high[rows])
            while len(ended) < len(descents.active):  # a call takes the same time for few and many
                ended = torch.cat([ended, descents.step()])
            found, costs = (part[ended] for part in descents.minima[:2])
            ended_ends = [ends[row] for row in ended.tolist()]
            increases, wrong = self._increases(ended_ends, found, costs, repeated[ended])
            repeated[ended] = torch.where(wrong, repeated[ended] + 1, 0)
            if wrong.any():
                descents.problems = _Together(ends)
                descents.evaluate(descents.active)
            right = ~wrong
            sought = dict[int, _End]()
            each = zip(ended[right].tolist(), increases[right].tolist(), found[right], strict=True)
            for row, root, coordinates in each:
                end = ends[row]
                place = _Place(distances[row], root, coordinates)
                if end in roots:
                    end.path.append(place)
                elif root <= most:
                    end.go_on(place)
                if roots.setdefault(end, root) <= most and not end.settled():
                    sought[row] = end
            self.on_end(sum(not math.isnan(end.distance) for end in self.ends), len(self.ends))
            further = self.next(list(sought.values()))
            for row, start in zip(sought, further, strict=True):
                distances[row] = start.distance
            rows = torch.cat([ended[wrong], torch.tensor([*sought], dtype=torch.long)])
            begin = torch.cat([found[wrong], *(start.coordinates[None] for start in further)])
        return roots

    def _increases(
        self, ends: Sequence[_End], coordinates: Tensor, costs: Tensor, repeated: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Roots of the increase of χ² by all points; and where that by a basis differed, which was
        then widened.

        repeated  how often it was already
        """
        sources = torch.cat(
            [end.sources(row) for end, row in zip(ends, coordinates[:, None], strict=True)]
        )
        wrong = repeated < 0
        chi2 = torch.tensor([end.search.chi2 for end in ends], dtype=torch.float64)
        if self._spanning is not None:
            _, exact = self.whole.strengthened(self.whole.coordinates.from_values(sources), [])
            increase = (2 * exact - chi2).clamp(min=self.threshold**2)
            # Farther out it is enough to know that it is far.
            differs = 2 * (exact - costs).abs() > BASIS_TOLERANCE * (increase / self.threshold) ** 2
            costs = exact
            wrong = differs & (repeated < MOST_BASES)
            if wrong.any():
                self.span(sources[wrong])
        gains = chi2 - 2 * costs
        best = int(gains.argmax())
        if gains[best] > (0.0 if self.lowest is None else self.lowest[0]):
            self.lowest = float(gains[best]), sources[best]
        return (-gains).clamp(min=0).sqrt(), wrong

    def next(self, ends: Sequence[_End]) -> list[_Start]:
        """Where to seek ends that are not found yet."""
        if not ends:
            return []
        ways = [end.ways() for end in ends]
        problem = self.searches[0].problem
        sources = [
            end.sources(coordinates) for end, (_, coordinates) in zip(ends, ways, strict=True)
        ]
        _, costs = problem.strengthened(problem.coordinates.from_values(torch.cat(sources)), [])
        each = costs.split([len(distances) for distances, _ in ways])
        chosen = []
        for (distances, coordinates), of_ways in zip(ways, each, strict=True):
            promising = 2 * of_ways <= self.searches[0].promising
            best = int((promising.int() if promising.any() else -of_ways).argmax())
            if not torch.isfinite(of_ways[distances == distances[0]]).any():
                best = 0
            chosen.append(_Start(float(distances[best]), coordinates[best]))
        return chosen


class _Together(Problem):
    """The problem of several ends, a row for each, in the coordinates of its search."""

    def __init__(self, ends: Sequence[_End]) -> None:
        vars(self).update(vars(ends[0].search.problem))
        self._each = list(dict.fromkeys(end.search for end in ends))
        self._numbers = torch.tensor([self._each.index(end.search) for end in ends])

    def values(self, coordinates: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Of all parameters, (problem, parameter), and whether there can be such sources."""
        values = coordinates.new_empty(len(coordinates), len(self.coordinates.parameters))
        allowed = torch.empty(len(coordinates), dtype=torch.bool)
        for number, search in enumerate(self._each):
            rows = self._numbers[which] == number
            values[rows], allowed[rows] = search.problem.values(coordinates[rows], which[rows])
        return values, allowed


@dataclass(eq=False)
class _End:
    """One end of the interval of a free parameter, and what is known of the way there.

    search    whose coordinates count
    side      -1 or 1: the direction of the coordinate
    path      what was tried on the way
    distance  of the end from the estimate; NaN while it is sought
    open      whether the threshold is not reached at the end
    tries     values that were tried since it is sought
    """

    search: _Search
    column: int
    side: float
    path: list[_Place] = field(default_factory=list)
    distance: float = math.nan
    open: bool = False
    tries: int = 0

    def sources(self, coordinates: Tensor) -> Tensor:
        """Values of all parameters, (source, parameter) in SI units, of (source, coordinate)."""
        return self.search.problem.coordinates.values(coordinates)

    @property
    def is_low(self) -> bool:
        """Whether it is the lower end: parameters may fall where their coordinates rise."""
        falls = bool(self.search.problem.coordinates.scale[self.column] < 0)
        return (self.side < 0) != falls

    @property
    def value(self) -> float:
        """The parameter at the end, in SI units."""
        if math.isinf(self.distance):
            return -math.inf if self.is_low else math.inf
        coordinates = self.search.start.clone()
        coordinates[self.column] += self.side * self.distance
        parameter = self.search.problem.coordinates.free[self.column]
        return float(self.sources(coordinates[None])[0, parameter])

    @property
    def farthest(self) -> float:
        """The distance to the bound, or half around of an angle."""
        search = self.search
        coordinates = search.problem.coordinates
        parameter = coordinates.parameters[coordinates.free[self.column]]
        bound = search.low if self.side < 0 else search.high
        distance = float((bound - search.start).abs()[self.column])
        if parameter.period is None:
            return distance
        return min(distance, parameter.period / parameter.scale / 2)

    @property
    def inner(self) -> _Place:
        """The farthest place before the threshold."""
        return self._farthest_before(math.inf if self.outer is None else self.outer.distance)

    @property
    def outer(self) -> _Place | None:
        """The nearest place beyond the threshold."""
        places = [place for place in self.path if place.root > self.search.threshold]
        return min(places, key=lambda place: place.distance, default=None)

    def _farthest_before(self, distance: float) -> _Place:
        places = [place for place in self.path if place.distance < distance]
        return max(places, key=lambda place: place.distance)

    def go_on(self, place: _Place) -> None:
        """Seek the end beyond a place before the threshold; forget what was met beyond it."""
        most = self.search.threshold
        path = [one for one in self.path if one.distance < place.distance and one.root <= most]
        self.path = [*path, place]
        self.distance = math.nan
        self.open = False
        self.tries = 0

    def best_of(self, sources: Tensor) -> Tensor | None:
        """The coordinates of the best of some sources, (source, parameter) in SI units, with the
        parameter at the end; None if it is less likely than the end may be.
        """
        search = self.search
        problem = self.search.problem
        linear = problem.coordinates.linear
        held = self._held(problem.coordinates.from_values(sources), self.distance)
        held, costs = problem.strengthened(held, [] if self.column in linear else linear)
        least = int(costs.argmin())
        if 2 * float(costs[least]) < search.promising:
            return held[least].clamp(search.low, search.high)
        return None

    def farthest_of(self, sources: Tensor) -> _Start:
        """The farthest of some sources, (source, parameter) in SI units, that may be an end."""
        search = self.search
        coordinates = search.problem.coordinates.from_values(sources).clamp(search.low, search.high)
        distances = self.side * (coordinates - search.start)[:, self.column]
        farthest = int(distances.masked_fill(distances > self.farthest, 0.0).argmax())
        return _Start(float(distances[farthest]), coordinates[farthest])

    def ways(self) -> tuple[Tensor, Tensor]:
        """Distances that may be tried, (way,), the best first, and coordinates to begin from."""
        distance = self._next_distance()
        inner = self.inner
        outer = self.outer
        # The whole way where nothing farther was tried, whatever lies between: there may be another
        # maximum.
        blind = outer is not None and outer.root > PROMISING_ROOTS * self.search.threshold
        shares = torch.tensor(SHARES_OF_OTHERS + SHARES_OF_BOTH * blind, dtype=torch.float64)
        far = shares.clone()
        far[: len(SHARES_OF_OTHERS)] = 1.0
        distances = inner.distance + far * (distance - inner.distance)
        change = shares[:, None] * (self._predicted(distance) - inner.coordinates)
        return distances, self._held(inner.coordinates + change, distances)

    def _held(self, coordinates: Tensor, distance: float | Tensor) -> Tensor:
        """Possible sources with the parameter at a distance from the estimate, (source,
        coordinate), which are as near to some coordinates as bounds permit.
        """
        search = self.search
        held = coordinates.clamp(search.low, search.high)
        held[:, self.column] = search.start[self.column] + self.side * distance
        return search.made_possible(held, self.column)

    def _next_distance(self) -> float:
        """The distance to try."""
        threshold = self.search.threshold
        inner = self.inner
        outer = self.outer
        if outer is not None:
            share = SHARE_OF_WAY
            if math.isfinite(outer.root):
                share = (threshold - inner.root) / (outer.root - inner.root)
            least = 0.1 if len(self.path) <= FIRST_STEPS else 0.4
            width = outer.distance - inner.distance
            return inner.distance + width * min(max(share, least), 1 - least)
        if inner.distance == 0:
            variance = float(self.search.covariance[self.column, self.column])
            first = threshold * math.sqrt(variance)
            return min(first if math.isfinite(first) else 1.0, self.farthest)
        slope = inner.slope(self._farthest_before(inner.distance))
        step = 1.05 * (threshold - inner.root) / slope if slope > 0 else math.inf
        step = min(max(step, 0.1 * inner.distance), (LARGEST_GROWTH - 1) * inner.distance)
        return min(inner.distance + step, self.farthest)

    def _predicted(self, distance: float) -> Tensor:
        """Coordinates that those tried so far lead to expect at a distance."""
        search = self.search
        inner = self.inner
        outer = self.outer
        if outer is not None and outer.root <= PROMISING_ROOTS * search.threshold:
            other = outer
        elif inner.distance > 0:
            other = self._farthest_before(inner.distance)
        else:
            slopes = search.covariance[:, self.column] / search.covariance[self.column, self.column]
            slopes = slopes.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            return search.start + self.side * distance * slopes
        change = (other.coordinates - inner.coordinates) * (distance - inner.distance)
        return inner.coordinates + change / (other.distance - inner.distance)

    def settled(self) -> bool:
        """Whether an end is found, or was sought often enough; if so, where it is."""
        self.tries = self.tries + 1
        last = self.path[-1]
        threshold = self.search.threshold
        inner = self.inner
        outer = self.outer
        if abs(last.root - threshold) <= CLOSE_SHARE * threshold:
            other = outer if last.root <= threshold else inner
            if other is None or math.isinf(other.root):
                elsewhere = [place for place in self.path if place.distance != last.distance]
                finite = [place for place in elsewhere if math.isfinite(place.root)]
                other = min(finite, key=lambda place: abs(place.distance - last.distance))
            slope = last.slope(other)
            correction = (threshold - last.root) / slope if slope > 0 else 0.0
            end = max(last.distance + correction, 0.5 * last.distance)
            self.distance = min(end, self.farthest)
        elif outer is None and inner.distance >= self.farthest:
            self.distance, self.open = inner.distance, True
        elif outer is not None and outer.distance - inner.distance <= NARROW_SHARE * outer.distance:
            self.distance = inner.distance
            self.open = math.isinf(outer.root)
        elif self.tries >= MOST_STEPS:
            # Without a limit the likelihood hardly falls, however far one goes.
            endless = outer is None and math.isinf(self.farthest)
            self.distance = math.inf if endless else inner.distance
            self.open = outer is None
        return not math.isnan(self.distance)


class _Search:
    """The ends of intervals of some parameters, sought in common coordinates.

    columns  of the free parameters
    ends     of their intervals
    """

    def __init__(
        self, problem: Problem, fit: Fit, columns: Sequence[int], threshold: float
    ) -> None:
        self.problem = copy(problem)
        self.threshold = threshold
        coordinates = problem.coordinates
        self.start = coordinates.from_values(fit.source)[0]
        begin = _Place(0.0, 0.0, self.start)
        self.ends = [
            _End(self, column, side, [begin]) for column in columns for side in (-1.0, 1.0)
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
        self.promising = self.chi2 + (PROMISING_ROOTS * threshold) ** 2
        """χ² up to which sources are followed."""
        # The covariance of the coordinates to first order, where the data determine them; one at a
        # bound does not go with the others.
        at_bound = (self.start <= self.low) | (self.start >= self.high)
        joint = torch.where(~at_bound[:, None] & ~at_bound, information[0], 0.0)
        least = torch.where(coordinates.logarithmic, WIDEST_LOG_DEVIATION**-2, 0.0)
        diagonal = information[0].diagonal() + least
        covariance = covariances(joint.fill_diagonal_(0.0) + torch.diag(diagonal))
        alone = torch.diag(1 / diagonal)
        self.covariance = torch.where(torch.isfinite(covariance), covariance, alone)
        self._deeper = torch.zeros_like(self.start)
        """A step to a deeper and smaller source."""
        for column in coordinates.logarithmic.nonzero()[:, 0].tolist():
            is_depth = base_name(coordinates.names[column]) == "depth"
            self._deeper[column] = DEEPER_STEP if is_depth else -DEEPER_STEP

    def reduce(self, whole: Problem, few: Signals | None) -> None:
        """Use signals of a basis, or those of the whole problem."""
        problem = self.problem
        signals = whole if few is None else few
        assert isinstance(signals.model, Deformation)
        problem.model = signals.model
        problem.whiten = signals.whiten
        problem.weighted = whole.weighted
        if few is not None:  # with what no signal explains as one number more
            problem.whiten = lambda moved: torch.nn.functional.pad(few.whiten(moved), (0, 1))
            problem.weighted = torch.cat([few.data, few.rest.sqrt()[:, None]], dim=1)

    def made_possible(self, sources: Tensor, held: int) -> Tensor:
        """Sources, (source, coordinate), made possible by going deeper, with one value held."""
        model, coordinates, deeper = (
            self.problem.model,
            self.problem.coordinates,
            self._deeper.clone(),
        )
        deeper[held] = 0.0
        steps = torch.arange(MOST_DEEPER)[:, None] * deeper
        possible = sources.clone()
        for row in (~model.possible(coordinates.values(sources))).nonzero()[:, 0].tolist():
            moved = (sources[row] + steps).clamp(self.low, self.high)
            possible[row] = moved[int(model.possible(coordinates.values(moved)).int().argmax())]
        return possible


def _likely_sources(search: _Search) -> Tensor:
    """The estimate and sources nearly as likely around it, (source, parameter) in SI units."""
    random = torch.Generator().manual_seed(0)
    draws = torch.randn(SPANNING_SOURCES, len(search.start), generator=random, dtype=torch.float64)
    # rounding may leave it without a Cholesky decomposition
    sizes, axes = torch.linalg.eigh(search.covariance)
    steps = SPANNED_DEVIATIONS * (draws * sizes.clamp(min=0).sqrt()) @ axes.mT
    unlikely = torch.arange(len(steps))
    for _ in range(MOST_HALVINGS):
        moved = (search.start + steps[unlikely]).clamp(search.low, search.high)
        _, costs = search.problem.strengthened(moved, [])
        unlikely = unlikely[2 * costs > search.promising]
        steps[unlikely] /= 2
    moved = (search.start + steps).clamp(search.low, search.high)
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
    roots = _roots_without(searches[0], amplitudes)
    for column, root in zip(amplitudes, roots, strict=True):
        parameter = coordinates.parameters[coordinates.free[column]]
        value = float(fit.values[coordinates.free[column]])
        nonzero = root > threshold
        error = errors[column]
        scale = error if not nonzero and 0 < error < math.inf else parameter.scale
        alone = replace(
            parameter, powers={}, logarithmic=nonzero, negative=nonzero and value < 0, scale=scale
        )
        searches.append(_Search(problem.with_parameter(alone), fit, [column], threshold))
    return searches


def _roots_without(search: _Search, amplitudes: Sequence[int]) -> list[float]:
    """The root of the increase of χ² without each amplitude."""
    if not amplitudes:
        return []
    starts = dict[_End, _Start]()
    for column in amplitudes:
        coordinates = search.start.clone()
        coordinates[column] = 0.0
        starts[_End(search, column, 1.0)] = _Start(0.0, coordinates)
    roots = _Ends([search], search.problem).follow(starts, -1.0)
    can_vanish = (search.low <= 0) & (search.high >= 0)
    return [roots[end] if bool(can_vanish[end.column]) else math.inf for end in starts]

"""Exact posteriors of the few variables of a simulated dataset, by integration over grids that close in on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from torch import Tensor

from qexp.base.quantities import nearest
from qexp.errors import QexpError
from qexp.inference.simulated_images import SPAN, TINY, Factors, Nodes, Signals, Unknowns, Whitening
from qexp.simulation.dataset import mask_of

Array = NDArray[np.float64]

COARSE = {0: 1, 1: 801, 2: 81, 3: 25}
"""Number of unknowns besides the amplitude → nodes along each, on a grid over the whole prior for all samples."""

COARSE_OF_FEW = {0: 1, 1: 201, 2: 41, 3: 21}
"""The same where only a few samples have their pixels hidden alike, so that every grid serves only these."""

CLOSE = {0: 1, 1: 33, 2: 21, 3: 21}
"""Nodes along each on a grid around the posterior of one sample, where the other grid is too coarse."""

ENOUGH = {0: 0, 1: 12, 2: 10, 3: 10}
"""Nodes along each that matter; with fewer, images are simulated again on a closer grid."""

SETTLED = 0.05
"""Largest change of mean and median by grids half as fine, in standard deviations; else finer nodes are simulated.

With cubic splines the error of the finer grid is about a sixteenth of it.
"""

FINEST = {1: 513, 2: 129, 3: 49}
"""Nodes along each at most."""

POINTS = {0: 1, 1: 401, 2: 161, 3: 81}
"""Points along each at which the posterior is integrated, with interpolation between nodes."""

AMPLITUDES = {0: 801, 1: 101, 2: 61, 3: 1}
"""Amplitudes for each of these points."""

ON_CIRCLE = 4001
"""Points of an angle's distribution, interpolated from these."""

MARGIN = 2
"""Nodes or points beyond those that matter."""

NEGLIGIBLE = 14.0
"""Where the logarithm of a density is so far below the largest, it does not matter."""

IRRELEVANT = 1e-12
"""Share of the posterior that is left out of medians."""

UNCERTAIN = 6.0
"""Added to it before the amplitude is integrated out: the logarithm of the ratio of widths of the amplitude."""

TRIED = 100_000
"""Draws from the prior among which possible sources are sought if the first grid has none."""

MOST_GRIDS = 20
"""Grids that are tried one after the other for one sample."""

TABLE = np.linspace(-SPAN, SPAN, 20_001)
"""Coordinates at which the amplitude is tabulated."""


@dataclass(frozen=True)
class Estimates:
    """Posterior means and medians, (sample, unknown) each, in the variables' units."""

    mean: Array
    median: Array


class Posterior:
    """The posterior of the unknowns of a dataset.

    few  whether there are only a few samples with these pixels
    """

    def __init__(self, unknowns: Unknowns, whitening: Whitening, few: bool = False) -> None:
        self.unknowns = unknowns
        self.signals = Signals(unknowns, whitening)
        self.dimensions = len(unknowns.shape)
        count = (COARSE_OF_FEW if few else COARSE)[self.dimensions]
        self._coarse = self._first_grid(count)
        amplitude = unknowns.amplitude
        self._amplitudes = np.ones(1) if amplitude is None else unknowns.value(amplitude, TABLE)
        self._coordinates = np.zeros(1) if amplitude is None else TABLE

    def _first_grid(self, count: int) -> list[Array]:
        """Nodes over the whole prior; if no source is possible at any of these, around possible draws from it."""
        axes = [np.linspace(-SPAN, SPAN, count)] * self.dimensions
        if not self.dimensions or self.signals.possible(axes).any():
            return axes
        draws = np.random.default_rng(0).standard_normal((TRIED, self.dimensions))
        draws = draws[self.signals.possible_at(draws)]
        if not len(draws):
            raise QexpError(f"none of {TRIED:,} draws from the distributions is a possible source; choose others")
        low, high = draws.min(axis=0), draws.max(axis=0)
        ends = np.clip([low - (high - low) / 2, high + (high - low) / 2], -SPAN, SPAN).T
        return [np.linspace(first, last, count) for first, last in ends]

    def estimates(self, data: Array, on_sample: Callable[[int], None]) -> tuple[Estimates, Estimates]:
        """Means and medians for whitened samples, (sample, value); and those by grids that are half as fine.

        on_sample  takes the number of samples that are done
        """
        found = []
        for nodes, one in zip(self.signals.nodes(self._coarse, data), data, strict=True):
            found.append(self._of_one(nodes, one))
            on_sample(len(found))
        fine, half = (np.array([pair[index] for pair in found]) for index in (0, 1))
        return Estimates(fine[:, 0], fine[:, 1]), Estimates(half[:, 0], half[:, 1])

    def draws(self, data: Array, count: int, random: np.random.Generator) -> Array:
        """Draws from the posteriors of whitened samples, (sample, value): (sample, draw, unknown), in their units."""
        made = []
        for nodes, one in zip(self.signals.nodes(self._coarse, data), data, strict=True):
            close = self._around(nodes, one)
            axes = self._close_axes(close)
            scores = drawn(axes, *self._mass(close, axes, AMPLITUDES[self.dimensions]), count, random)
            named = zip(
                self.unknowns.names, scores.T, strict=False
            )  # without an amplitude the last score is no unknown
            made.append(np.stack([self.unknowns.value(name, of) for name, of in named], axis=1))
        return np.array(made)

    def _of_one(self, nodes: Nodes, data: Array) -> tuple[Array, Array]:
        """Mean, median and standard deviation, (3, unknown); and those by grids that are half as fine."""
        nodes = self._around(nodes, data)
        while True:
            fine, half = self._integrated(nodes)
            finer = [len(axis) * 3 // 2 | 1 for axis in nodes.axes]
            settled = (self._apart(fine, half) <= SETTLED * fine[2]).all()
            if settled or not self.dimensions or max(finer) > FINEST[self.dimensions]:
                return fine, half
            axes = [np.linspace(axis[0], axis[-1], count) for axis, count in zip(nodes.axes, finer, strict=True)]
            (nodes,) = self.signals.nodes(axes, data[None])

    def _apart(self, first: Array, second: Array) -> Array:
        """Absolute differences of means and medians, (2, unknown)."""
        periods = [self.unknowns.periods.get(name) for name in self.unknowns.names]
        pairs = zip(first[:2].T, second[:2].T, periods, strict=True)
        return np.abs([nearest(one, other, period) - other for one, other, period in pairs]).T

    def _integrated(self, nodes: Nodes) -> tuple[Array, Array]:
        """The same, with interpolation between nodes."""
        axes, amplitudes = self._close_axes(nodes), AMPLITUDES[self.dimensions]
        every_second = nodes.part([slice(None, None, 2)] * self.dimensions)
        half = self._moments(every_second, [axis[::2] for axis in axes], amplitudes // 2)
        return self._moments(nodes, axes, amplitudes), half

    def _close_axes(self, nodes: Nodes) -> list[Array]:
        """Points along each axis where the posterior is not negligible."""
        points, amplitudes = POINTS[self.dimensions], AMPLITUDES[self.dimensions]
        axes = [np.linspace(axis[0], axis[-1], points // 2) for axis in nodes.axes]
        for _ in range(2):
            mass = self._mass(nodes, axes, amplitudes // 2)[0]
            axes = [_closer(axis, _along(mass, index), points) for index, axis in enumerate(axes)]
        return axes

    def _around(self, nodes: Nodes, data: Array) -> Nodes:
        """Nodes around the posterior of a sample, close enough for interpolation."""
        for _ in range(MOST_GRIDS if self.dimensions else 0):
            best = self._best(nodes)
            where = np.nonzero(best > best.max() - NEGLIGIBLE - UNCERTAIN)
            ranges = [_Range(axis, int(of.min()), int(of.max())) for axis, of in zip(nodes.axes, where, strict=True)]
            if all(one.whole and one.last - one.first >= ENOUGH[self.dimensions] for one in ranges):
                return nodes.part([one.nodes for one in ranges])
            (nodes,) = self.signals.nodes([one.closer(CLOSE[self.dimensions]) for one in ranges], data[None])
        return nodes

    def _best(self, nodes: Nodes) -> Array:
        """The logarithm of prior times likelihood at each node, with the best amplitude."""
        _require_any(nodes.possible)
        few, coordinates = self._amplitudes[::200], self._coordinates[::200]
        length, score = nodes.length[..., None], nodes.score[..., None]
        preferred = nodes.score / np.maximum(nodes.length, TINY)
        own = np.clip(preferred, self._amplitudes[0], self._amplitudes[-1])[..., None]
        shape = nodes.length.shape
        amplitudes = np.concatenate([np.broadcast_to(few, (*shape, len(few))), own], axis=-1)
        at = np.concatenate([np.broadcast_to(coordinates, (*shape, len(few))), self._coordinate(own)], axis=-1)
        signal = length * amplitudes
        best = (score * signal - 0.5 * signal**2 - 0.5 * at**2).max(axis=-1) + _log_prior(nodes.axes)
        return np.where(nodes.possible, best, -np.inf)

    def _coordinate(self, amplitude: Array) -> Array:
        return np.asarray(np.interp(amplitude, self._amplitudes, self._coordinates))

    def _mass(self, nodes: Nodes, axes: Sequence[Array], amplitudes: int) -> tuple[Array, Array]:
        """The posterior at the points of a grid but for a factor, and the coordinates of the amplitude.

        The last axis of both is the amplitude's, whose points lie differently for each shape, as it may be known far
        better if the shape is given than alone.
        """
        length, score = nodes.between(axes)
        if self.unknowns.amplitude is None:
            coordinates, spacing, signal = np.zeros((*length.shape, 1)), np.ones(length.shape), length[..., None]
        else:
            low, high = self._amplitude_range(length, score)
            coordinates = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, amplitudes)
            spacing = np.maximum(high - low, TINY)
            signal = length[..., None] * self.unknowns.value(self.unknowns.amplitude, coordinates)
        log = score[..., None] * signal - 0.5 * signal**2 - 0.5 * coordinates**2 + _log_prior(axes)[..., None]
        if not nodes.possible.all():
            possible = self.signals.possible(axes)
            _require_any(possible)
            log[~possible] = -np.inf
        return np.exp(log - log.max()) * spacing[..., None], coordinates

    def _amplitude_range(self, length: Array, score: Array) -> tuple[Array, Array]:
        """Least and largest coordinate of the amplitude, for each shape, where the posterior is not negligible.

        The prior, which moves the posterior away from the largest likelihood, changes by SPAN² / 2 at most.
        """
        alone = score / np.maximum(length, TINY)
        preferred = np.clip(alone, self._amplitudes[0], self._amplitudes[-1])
        half = np.hypot(preferred - alone, np.sqrt(2 * NEGLIGIBLE + SPAN**2) / np.maximum(length, TINY))
        return self._coordinate(alone - half), self._coordinate(alone + half)

    def _moments(self, nodes: Nodes, axes: Sequence[Array], amplitudes: int) -> Array:
        """(3, unknown): mean, median and standard deviation of each."""
        mass, coordinates = self._mass(nodes, axes, amplitudes)
        found = []
        for index, (name, axis) in enumerate(zip(self.unknowns.shape, axes, strict=True)):
            own = _along(mass, index)
            if (period := self.unknowns.periods.get(name)) is not None:
                found.append(self._angular_moments(name, axis, own, period))
            else:
                found.append(self._moments_of(name, axis, own, _median(axis, own)))
        if (amplitude := self.unknowns.amplitude) is not None:
            median = _median_of_amplitude(coordinates, mass)
            found.append(self._moments_of(amplitude, coordinates.ravel(), mass.ravel(), median))
        return np.array(found).T

    def _moments_of(self, name: str, at: Array, mass: Array, median: float) -> list[float]:
        values = self.unknowns.value(name, at)
        mean = mass @ values / mass.sum()
        deviation = np.sqrt(mass @ np.square(values - mean) / mass.sum())
        return [float(mean), float(self.unknowns.value(name, np.asarray(median))), float(deviation)]

    def _angular_moments(self, name: str, axis: Array, mass: Array, period: float) -> list[float]:
        points = np.linspace(axis[0], axis[-1], ON_CIRCLE)
        density = np.maximum(CubicSpline(axis, mass)(points), 0.0)
        return list(circular_moments(self.unknowns.value(name, points), density, period))


@dataclass(frozen=True)
class _Range:
    """The nodes of an axis that matter."""

    axis: Array
    first: int
    last: int

    @property
    def _cut(self) -> tuple[bool, bool]:
        """Whether it might continue below and above the axis."""
        below = self.first == 0 and self.axis[0] > -SPAN
        return below, self.last == len(self.axis) - 1 and self.axis[-1] < SPAN

    @property
    def whole(self) -> bool:
        return not any(self._cut)

    @property
    def nodes(self) -> slice:
        """With some nodes beyond; an odd number, so that every second one includes both ends."""
        start, stop = max(self.first - MARGIN, 0), min(self.last + MARGIN, len(self.axis) - 1)
        if (stop - start) % 2:
            start, stop = (start, stop + 1) if stop + 1 < len(self.axis) else (start - 1, stop)
        return slice(start, stop + 1)

    def closer(self, count: int) -> Array:
        """An axis of `count` nodes around it, which goes far beyond where it was cut."""
        step, size = self.axis[1] - self.axis[0], len(self.axis)
        below, above = (size // 2 if cut else MARGIN for cut in self._cut)
        low, high = self.axis[self.first] - below * step, self.axis[self.last] + above * step
        return np.linspace(max(low, -SPAN), min(high, SPAN), count)


def _require_any(possible: NDArray[np.bool_]) -> None:
    if not possible.any():
        raise QexpError(
            "possible sources fill so little of the prior that a grid does not meet them; choose distributions of "
            "which more draws are possible"
        )


def _log_prior(axes: Sequence[Array]) -> Array:
    """Of the coordinates at the points of a grid, but for a constant."""
    total: Array = np.zeros(())
    for axis in axes:
        total = total[..., None] - 0.5 * axis**2
    return total


def _along(mass: Array, axis: int) -> Array:
    return np.asarray(mass.sum(axis=tuple(other for other in range(mass.ndim) if other != axis)))


def _closer(axis: Array, marginal: Array, points: int) -> Array:
    """Points around those of an axis that matter."""
    (where,) = np.nonzero(marginal > marginal.max() * np.exp(-NEGLIGIBLE))
    first, last = max(where[0] - MARGIN, 0), min(where[-1] + MARGIN, len(axis) - 1)
    return np.linspace(axis[first], axis[last], points)


def _median(axis: Array, mass: Array) -> float:
    share = CubicSpline(axis, mass).antiderivative()
    half = share(axis[-1]) / 2
    after = int(np.argmax(share(axis) >= half))  # the first point is never after the median
    return float(brentq(lambda at: share(at) - half, axis[after - 1], axis[after]))


def _median_of_amplitude(coordinates: Array, mass: Array) -> float:
    """Of the sum of the distributions of the amplitude for each shape, (..., amplitude) both."""
    at, own = coordinates.reshape(-1, coordinates.shape[-1]), mass.reshape(-1, mass.shape[-1])
    matters = own.sum(axis=1) > IRRELEVANT * own.sum()
    at, own = at[matters], own[matters]
    low, step, last = at[:, 0], np.maximum(at[:, 1] - at[:, 0], TINY), at.shape[1] - 1
    before = np.pad(np.cumsum((own[:, 1:] + own[:, :-1]) / 2, axis=1), ((0, 0), (1, 0)))
    half = before[:, -1].sum() / 2
    each = np.arange(len(own))

    def beyond_half(coordinate: float) -> float:
        along = np.clip((coordinate - low) / step, 0, last)
        cell = np.minimum(along.astype(int), last - 1)
        inside, first, second = along - cell, own[each, cell], own[each, cell + 1]
        return float((before[each, cell] + inside * first + inside**2 / 2 * (second - first)).sum() - half)

    return float(brentq(beyond_half, at[:, 0].min(), at[:, -1].max()))


# Samples whose posteriors are integrated together: the same pixels are seen of them, and the same values are given.


@dataclass(frozen=True)
class Alike:
    """Some samples.

    places     their numbers among all samples
    samples    variable → (sample, ...)
    unknowns   where the given variables have the values of these samples
    whitening  of their images
    """

    places: NDArray[np.intp]
    samples: dict[str, Tensor]
    unknowns: Unknowns
    whitening: Whitening


def groups(
    unknowns: Unknowns,
    images: Sequence[str],
    given: Sequence[str],
    samples: Mapping[str, Tensor],
    factors: Factors | None = None,
) -> Iterator[Alike]:
    """All samples, in groups of those that are alike.

    given    varying variables that are not unknown
    factors  those of earlier samples
    """
    factors = Factors() if factors is None else factors
    for places in _places(images, given, samples):
        own = {name: values[places] for name, values in samples.items()}
        seen = {name: own[mask_of(name)][0] > 0 for name in images if mask_of(name) in own}
        here = unknowns.at({name: float(own[name][0, 0]) for name in given})
        yield Alike(places, own, here, Whitening(here.dataset, images, seen, factors))


def _places(images: Sequence[str], given: Sequence[str], samples: Mapping[str, Tensor]) -> list[NDArray[np.intp]]:
    told = [*(mask_of(name) for name in images if mask_of(name) in samples), *given]
    found: dict[bytes, list[int]] = {}
    for place in range(len(samples[images[0]])):
        found.setdefault(b"".join(samples[name][place].numpy().tobytes() for name in told), []).append(place)
    return [np.array(places) for places in found.values()]


# Means and medians of angles, and of other values that repeat after a period.


def circular_moments(values: Array, weights: Array, period: float) -> tuple[float, float, float]:
    """Mean, median and standard deviation of a distribution on a circle; mean and median from 0 up to the period.

    values   (value,) in any order and any turn
    weights  (value,) but for a factor

    The mean has the least mean squared difference from all values by the shorter way round, the median the least mean
    absolute one. Cut between two neighbours, the circle is a line; the least of all cuts is that of the circle (Hotz
    and Huckemann 2015, Ann. Inst. Stat. Math. 67, 177-193). The standard deviation is about the mean.
    """
    turned = values % period
    order = np.argsort(turned, kind="stable")
    count, share = len(order), weights[order] / weights.sum()
    line, of_line = np.concatenate([turned[order], turned[order] + period]), np.tile(share, 2)
    below, first, second = (np.concatenate([[0.0], np.cumsum(of_line * line**power)]) for power in (0, 1, 2))
    cuts = np.arange(count)
    means = first[cuts + count] - first[cuts]
    variances = second[cuts + count] - second[cuts] - means**2
    middle = np.clip(np.searchsorted(below, below[cuts] + 0.5) - 1, cuts, cuts + count - 1)
    from_median = (first[cuts + count] - 2 * first[middle] + first[cuts]) - line[middle] * (
        below[cuts + count] - 2 * below[middle] + below[cuts]
    )
    of_mean, of_median = int(np.argmin(variances)), int(np.argmin(from_median))
    inside = slice(of_median, of_median + count)
    halves = np.cumsum(of_line[inside]) - of_line[inside] / 2
    median = float(np.interp(0.5, halves, line[inside]))
    around = slice(of_mean, of_mean + count)
    deviation = np.sqrt(of_line[around] @ np.square(line[around] - means[of_mean]))
    return float(means[of_mean]) % period, median % period, float(deviation)


# Draws from a density that is known at the points of a grid.


def drawn(axes: Sequence[Array], mass: Array, last: Array, count: int, random: np.random.Generator) -> Array:
    """Draws, (draw, coordinate), spread evenly over the cells of the grid's points.

    axes     coordinates of the points along all axes but the last
    mass     of each cell, (..., point of the last axis), but for a factor
    last     coordinates of the last axis, of equal distances, which may lie differently for each point of the others;
             between these points they follow the slope of their mean
    """
    share = np.cumsum(mass.ravel())
    chosen = np.minimum(np.searchsorted(share, random.random(count) * share[-1], side="right"), mass.size - 1)
    *places, along = np.unravel_index(chosen, mass.shape)
    cell = tuple(places)
    steps = [(axis[1] - axis[0]) * random.uniform(-0.5, 0.5, count) for axis in axes]
    found = [axis[place] + step for axis, place, step in zip(axes, cell, steps, strict=True)]
    widths = last[..., 1] - last[..., 0] if last.shape[-1] > 1 else np.zeros(last.shape[:-1])
    end = last[(*cell, along)] + widths[cell] * random.uniform(-0.5, 0.5, count)
    centre = last.mean(axis=-1)
    for index, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        end = end + np.gradient(centre, axis, axis=index)[cell] * step
    return np.stack([*found, end], axis=1)

"""Posterior means and medians by integration over grids that close in on the posterior of each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from qexp.estimation.exact.likelihood import TINY, Nodes, Signals
from qexp.estimation.exact.unknowns import SPAN, Unknowns
from qexp.estimation.exact.whitening import Whitening

Array = NDArray[np.float64]

COARSE = {0: 1, 1: 801, 2: 81, 3: 25}
"""Number of unknowns besides the amplitude → nodes along each, on a grid over the whole prior for all samples."""

COARSE_OF_FEW = {0: 1, 1: 201, 2: 41, 3: 17}
"""The same where only a few samples have their pixels hidden alike, so that every grid serves only these."""

CLOSE = {0: 1, 1: 33, 2: 21, 3: 21}
"""Nodes along each on a grid around the posterior of one sample, where the other grid is too coarse."""

ENOUGH = {0: 0, 1: 12, 2: 10, 3: 10}
"""Nodes along each that matter; with fewer, images are simulated again on a closer grid."""

POINTS = {1: 801, 2: 301, 3: 81}
"""Number of unknowns → points along each at which the posterior is integrated, with interpolation between nodes."""

MARGIN = 2
"""Nodes or points beyond those that matter."""

NEGLIGIBLE = 14.0
"""Where the logarithm of a density is so far below the largest, it does not matter."""

UNCERTAIN = 6.0
"""Added to it before the amplitude is integrated out: the logarithm of the ratio of widths of the amplitude."""

MOST_GRIDS = 20
"""Grids that are tried one after the other for one sample."""

TABLE = np.linspace(-SPAN, SPAN, 2001)
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
        self._coarse = [np.linspace(-SPAN, SPAN, count)] * self.dimensions
        amplitude = unknowns.amplitude
        self._amplitudes = np.ones(1) if amplitude is None else unknowns.value(amplitude, TABLE)
        self._coordinates = np.zeros(1) if amplitude is None else TABLE

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

    def _of_one(self, nodes: Nodes, data: Array) -> tuple[Array, Array]:
        """(2, unknown): mean and median; and those by grids that are half as fine."""
        nodes = self._around(nodes, data)
        points = POINTS[len(self.unknowns.names)]
        axes = [np.linspace(axis[0], axis[-1], points // 2) for axis in nodes.axes]
        if self.unknowns.amplitude is not None:
            axes.append(np.linspace(*self._amplitude_range(nodes), points // 2))
        for _ in range(2):
            marginals = _marginals(self._density(nodes, axes))
            axes = [_closer(axis, marginal, points) for axis, marginal in zip(axes, marginals, strict=True)]
        every_second = nodes.part([slice(None, None, 2)] * self.dimensions)
        return self._moments(nodes, axes), self._moments(every_second, [axis[::2] for axis in axes])

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
        few, coordinates = self._amplitudes[::20], self._coordinates[::20]
        length, score = nodes.length[..., None], nodes.score[..., None]
        own = self._best_amplitude(nodes)[..., None]
        shape = nodes.length.shape
        amplitudes = np.concatenate([np.broadcast_to(few, (*shape, len(few))), own], axis=-1)
        at = np.concatenate([np.broadcast_to(coordinates, (*shape, len(few))), self._coordinate(own)], axis=-1)
        signal = length * amplitudes
        best = (score * signal - 0.5 * signal**2 - 0.5 * at**2).max(axis=-1) + _log_prior(nodes.axes)
        return np.where(nodes.possible, best, -np.inf)

    def _best_amplitude(self, nodes: Nodes) -> Array:
        """The amplitude that the likelihood alone prefers, within what the prior allows."""
        return np.clip(nodes.score / np.maximum(nodes.length, TINY), self._amplitudes[0], self._amplitudes[-1])

    def _coordinate(self, amplitude: Array) -> Array:
        return np.interp(amplitude, self._amplitudes, self._coordinates)

    def _amplitude_range(self, nodes: Nodes) -> tuple[float, float]:
        """Least and largest coordinate of the amplitude where the posterior is not negligible.

        The prior, which moves the posterior away from the largest likelihood, changes by SPAN² / 2 at most.
        """
        best = self._best(nodes)
        matters = best > best.max() - NEGLIGIBLE - UNCERTAIN
        length, preferred = np.maximum(nodes.length[matters], TINY), self._best_amplitude(nodes)[matters]
        alone = nodes.score[matters] / length
        half = np.hypot(preferred - alone, np.sqrt(2 * NEGLIGIBLE + SPAN**2) / length)
        ends = self._coordinate(np.array([(alone - half).min(), (alone + half).max()]))
        return float(ends[0]), float(ends[1])

    def _density(self, nodes: Nodes, axes: Sequence[Array]) -> Array:
        """The posterior density of the coordinates at the points of a grid, but for a factor."""
        of_shape = axes[: self.dimensions]
        length, score = nodes.between(of_shape)
        amplitude = self.unknowns.amplitude
        signal = length if amplitude is None else length[..., None] * self.unknowns.value(amplitude, axes[-1])
        log = (score if amplitude is None else score[..., None]) * signal - 0.5 * signal**2 + _log_prior(axes)
        if not nodes.possible.all():
            log[~self.signals.possible(of_shape)] = -np.inf
        return np.asarray(np.exp(log - log.max()))

    def _moments(self, nodes: Nodes, axes: Sequence[Array]) -> Array:
        """(2, unknown): mean and median of each."""
        found = []
        for name, axis, mass in zip(self.unknowns.names, axes, _marginals(self._density(nodes, axes)), strict=True):
            mean = mass @ self.unknowns.value(name, axis) / mass.sum()
            found.append([mean, self.unknowns.value(name, _median(axis, mass))])
        return np.array(found).T


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


def _log_prior(axes: Sequence[Array]) -> Array:
    """Of the coordinates at the points of a grid, but for a constant."""
    total: Array = np.zeros(())
    for axis in axes:
        total = total[..., None] - 0.5 * axis**2
    return total


def _marginals(density: Array) -> list[Array]:
    every = range(density.ndim)
    return [density.sum(axis=tuple(other for other in every if other != axis)) for axis in every]


def _closer(axis: Array, marginal: Array, points: int) -> Array:
    """Points around those of an axis that matter."""
    (where,) = np.nonzero(marginal > marginal.max() * np.exp(-NEGLIGIBLE))
    first, last = max(where[0] - MARGIN, 0), min(where[-1] + MARGIN, len(axis) - 1)
    return np.linspace(axis[first], axis[last], points)


def _median(axis: Array, mass: Array) -> Array:
    share = CubicSpline(axis, mass).antiderivative()
    half = share(axis[-1]) / 2
    after = int(np.argmax(share(axis) >= half))  # the first point is never after the median
    return np.asarray(brentq(lambda at: share(at) - half, axis[after - 1], axis[after]))

"""Posteriors of at most two unknowns by integration on a grid: what draws are tested against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.optimize import brentq

from qexp.base.arrays import Array
from qexp.base.quantities import nearest
from qexp.inference.density import Density
from qexp.inference.sampling import Mixture

MOST_UNKNOWNS = 2
"""Unknowns over which a posterior can be integrated."""

NODES_OF_AXIS = (41, 81, 161, 321)
"""Along each axis of a grid, the next number where the one before is too coarse."""

SETTLED_CHANGE = 0.001
"""Change of mean and median by half as many nodes, in standard deviations, that is tolerated."""

NEGLIGIBLE_LOG_DENSITY = 14.0
"""Where the logarithm of a density is so far below the largest, it does not matter."""

MOST_GRIDS, FILLED_SHARE = 20, 0.5
"""Grids that close in one after the other; share of nodes of an axis that matter in the last."""


@dataclass(frozen=True)
class Unknown:
    """A coordinate of a density.

    value   its value in the unit of results
    period  after which values repeat, in this unit, if they do
    """

    value: Callable[[Array], Array]
    period: float | None = None


@dataclass(frozen=True)
class Grid:
    """A density at nodes that are spread along the axes of a proposal: scores are centre + root ·
    node.

    root  (coordinate, axis); one coordinate, `first`, changes along the first axis alone
    axes  nodes along each
    mass  at each node, but for a factor
    """

    first: int
    centre: Array
    root: Array
    axes: tuple[Array, ...]
    mass: Array

    def draws(self, count: int, random: np.random.Generator) -> Array:
        """(draw, coordinate), spread evenly over the cells around nodes."""
        share = np.cumsum(self.mass.ravel())
        chosen = np.searchsorted(share, random.random(count) * share[-1], side="right")
        chosen = np.minimum(chosen, len(share) - 1)
        steps = []
        places = np.unravel_index(chosen, self.mass.shape)
        for axis, cells in zip(self.axes, places, strict=True):
            offset = random.uniform(-0.5, 0.5, count)
            steps.append(axis[cells] + (axis[1] - axis[0]) * offset)
        return np.asarray(self.centre + np.stack(steps, axis=1) @ self.root.T)

    def moments(self, unknown: Unknown, every: int = 1) -> Array:
        """Mean, median and deviation of the unknown `first`, (3,), by some of the nodes."""
        axis = self.centre[self.first] + self.root[self.first, 0] * self.axes[0][::every]
        mass = self.mass[::every]
        if mass.ndim > 1:
            mass = mass[:, ::every].sum(axis=1)
        density = make_interp_spline(axis, mass, k=5)
        if unknown.period is not None:
            points = np.linspace(axis[0], axis[-1], 4001)
            weights = np.maximum(density(points), 0.0)
            return np.array(circular_moments(unknown.value(points), weights, unknown.period))
        values = unknown.value(axis)
        mean = mass @ values / mass.sum()
        deviation = np.sqrt(mass @ np.square(values - mean) / mass.sum())
        share = density.antiderivative()
        half = share(axis[-1]) / 2
        upper = int(np.argmax(share(axis) >= half))  # the first point is never above the median
        median = brentq(lambda score: share(score) - half, axis[upper - 1], axis[upper])
        return np.array([mean, float(unknown.value(np.asarray(median))), deviation])


def moments(
    density: Density, proposal: Mixture, unknowns: Sequence[Unknown]
) -> tuple[Array, Array]:
    """Mean and median of each unknown of a density, (2, unknown); and those by a grid that is half
    as fine.

    proposal  around all modes of the density
    """
    all_fine, all_half = [], []
    for first, unknown in enumerate(unknowns):
        for nodes in NODES_OF_AXIS:
            grid = grid_of(density, proposal, first, nodes)
            fine = grid.moments(unknown)
            half = grid.moments(unknown, every=2)
            change = nearest(half[:2], fine[:2], unknown.period) - fine[:2]
            if (np.abs(change) <= SETTLED_CHANGE * fine[2]).all():
                break
        all_fine.append(fine[:2])
        all_half.append(half[:2])
    return np.array(all_fine).T, np.array(all_half).T


def grid_of(
    density: Density, proposal: Mixture, first: int = 0, nodes: int = NODES_OF_AXIS[-2]
) -> Grid:
    """A density on a grid that closes in on what matters of it.

    first  the coordinate that changes along the first axis alone
    """
    # The mean of the proposal, and a root of its covariance in whose first axis alone the
    # coordinate changes.
    shares = proposal.shares / proposal.shares.sum()
    centre = shares @ proposal.centres
    apart = proposal.centres - centre
    each = proposal.roots @ proposal.roots.swapaxes(1, 2) + apart[:, :, None] * apart[:, None, :]
    order = [first, *(other for other in range(len(centre)) if other != first)]
    root = np.empty_like(each[0])
    root[order] = np.linalg.cholesky(np.einsum("k,kij->ij", shares, each)[np.ix_(order, order)])
    # they tell how far the first grid reaches
    draws = proposal.draws(1000, np.random.default_rng(0))
    log = density(draws)
    likely = np.linalg.solve(root, (draws - centre).T)[:, log > log.max() - NEGLIGIBLE_LOG_DENSITY]
    low = likely.min(axis=1)
    high = likely.max(axis=1)
    for _ in range(MOST_GRIDS):
        axes = [np.linspace(*ends, nodes) for ends in zip(low, high, strict=True)]
        meshes = np.meshgrid(*axes, indexing="ij")
        points = np.stack([mesh.ravel() for mesh in meshes], axis=1)
        log = density(centre + points @ root.T).reshape(meshes[0].shape)
        # numbers of the nodes that matter along each axis
        matter = np.argwhere(log > log.max() - NEGLIGIBLE_LOG_DENSITY)
        start = matter.min(axis=0)
        end = matter.max(axis=0)
        cut_low = start == 0
        cut_high = end == nodes - 1
        filled = (end - start >= FILLED_SHARE * nodes).all()
        if filled and not (cut_low | cut_high).any():
            break
        step = (high - low) / (nodes - 1)
        size = high - low
        high = low + end * step + np.where(cut_high, 0.5 * size, 2 * step)
        low = low + start * step - np.where(cut_low, 0.5 * size, 2 * step)
    return Grid(first, centre, root, tuple(axes), np.exp(log - log.max()))


# Means and medians of angles, and of other values that repeat after a period.


def circular_moments(values: Array, weights: Array, period: float) -> tuple[float, float, float]:
    """Mean, median and standard deviation of a distribution on a circle; mean and median from 0 up
    to the period.

    values   (value,) in any order and any turn
    weights  (value,) but for a factor

    The mean has the least mean squared difference from all values by the shorter way round, the
    median the least mean absolute one. Cut between two neighbours, the circle is a line; the least
    of all cuts is that of the circle (Hotz and Huckemann 2015, Ann. Inst. Stat. Math. 67, 177-193).
    The standard deviation is about the mean.
    """
    turned = values % period
    order = np.argsort(turned, kind="stable")
    count = len(order)
    share = weights[order] / weights.sum()
    # Two turns; the sums of powers from the beginning of the first to before each value.
    line = np.concatenate([turned[order], turned[order] + period])
    shares = np.tile(share, 2)
    sums = [np.concatenate([[0.0], np.cumsum(shares * line**power)]) for power in (0, 1, 2)]
    zeroth, first, second = sums
    starts = np.arange(count)
    ends = starts + count
    means = first[ends] - first[starts]
    variances = second[ends] - second[starts] - means**2
    middle = np.clip(np.searchsorted(zeroth, zeroth[starts] + 0.5) - 1, starts, ends - 1)
    right_less_left = zeroth[ends] - 2 * zeroth[middle] + zeroth[starts]
    from_median = (first[ends] - 2 * first[middle] + first[starts]) - line[middle] * right_less_left
    cut = int(np.argmin(from_median))
    turn = line[cut : cut + count]
    of_turn = shares[cut : cut + count]
    median = float(np.interp(0.5, np.cumsum(of_turn) - of_turn / 2, turn))
    cut = int(np.argmin(variances))
    turn = line[cut : cut + count]
    of_turn = shares[cut : cut + count]
    deviation = np.sqrt(of_turn @ np.square(turn - means[cut]))
    return float(means[cut]) % period, median % period, float(deviation)

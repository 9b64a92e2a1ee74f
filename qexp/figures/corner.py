"""Draws of several parameters: a histogram of each, and the density of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, sized, titled
from qexp.quantities import label, typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

PANEL, BETWEEN = 1.35, 0.1
"""Sizes of a panel and of what is between panels [inch]."""

LEFT, BOTTOM, TOP, RIGHT = 0.95, 0.85, 0.4, 0.15
"""Margins [inch]."""

BINS, CELLS = 40, 48
"""Of histograms, and along each axis of a pair."""

SMOOTH = 2.0
"""Standard deviation of the smoothing of pairs, in cells."""

SHARES = 0.5, 0.9
"""Shares of the draws inside the contours."""

OUTER = 0.001
"""Share of the draws beyond each end of an axis."""


@dataclass(frozen=True)
class Drawn:
    """Draws of one parameter, (draw,), in its unit."""

    name: str
    unit: str
    values: Array


def corner(parameters: Sequence[Drawn], title: str) -> Figure:
    """Histograms with median and central 90 % interval on the diagonal; below it contours around 50 and 90 %."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count, (left, bottom, top, right) = len(parameters), map(sized, (LEFT, BOTTOM, TOP, RIGHT))
    inner = count * PANEL + (count - 1) * BETWEEN
    width, height = left + inner + right, bottom + inner + top
    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    ranges = [_range(one.values) for one in parameters]
    for row, down in enumerate(parameters):
        for column, across in enumerate(parameters[: row + 1]):
            place = left + column * (PANEL + BETWEEN), bottom + (count - 1 - row) * (PANEL + BETWEEN)
            axis = made.add_axes((place[0] / width, place[1] / height, PANEL / width, PANEL / height))
            if row == column:
                _histogram(axis, across.values, ranges[column])
            else:
                _pair(axis, across.values, down.values, ranges[column], ranges[row])
            _labels(axis, across, down, last=row == count - 1, first=column == 0 and row > 0)
    titled(made, title)
    return made


def _range(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [OUTER, 1 - OUTER])
    margin = 0.03 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _histogram(axis: Axes, values: Array, ends: tuple[float, float]) -> None:
    counts, edges = np.histogram(values, BINS, ends)
    axis.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.35)
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    axis.axvline(median, color=COLOURS[1], linewidth=1.2)
    for end in (low, high):
        axis.axvline(end, color=COLOURS[1], linewidth=0.9, linestyle="--")
    axis.set_xlim(*ends)
    axis.set_ylim(bottom=0)
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)


def _pair(axis: Axes, across: Array, down: Array, ends: tuple[float, float], levels: tuple[float, float]) -> None:
    from scipy.ndimage import gaussian_filter

    counts, first, second = np.histogram2d(across, down, CELLS, (ends, levels))
    density = gaussian_filter(counts, SMOOTH, mode="nearest")
    ordered = np.sort(density.ravel())[::-1]
    inside = np.cumsum(ordered) / ordered.sum()
    heights = sorted({float(ordered[np.searchsorted(inside, share)]) for share in SHARES})
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in (first, second)]
    axis.plot(across[::4], down[::4], ".", color="0.7", markersize=1.0, rasterized=True, zorder=0)
    axis.contourf(
        *middles, density.T, [*heights, max(density.max(), heights[-1] * 1.001)], colors=COLOURS[:1], alpha=0.3
    )
    axis.contour(*middles, density.T, heights, colors=COLOURS[:1], linewidths=0.9)
    axis.set_xlim(*ends)
    axis.set_ylim(*levels)


def _labels(axis: Axes, across: Drawn, down: Drawn, *, last: bool, first: bool) -> None:
    """Labels at the lower and the left edge only."""
    from matplotlib.ticker import MaxNLocator

    small = sized(7)
    axis.xaxis.set_major_locator(MaxNLocator(3))
    axis.tick_params(labelsize=small, labelbottom=last, labelleft=first)
    if last:
        axis.set_xlabel(label(across.name, typeset(across.unit)), fontsize=sized(8))
        axis.xaxis.set_label_coords(0.5, -sized(0.62) / PANEL)
        axis.tick_params(axis="x", labelrotation=45)
    if across is not down:
        axis.yaxis.set_major_locator(MaxNLocator(3))
    if first:
        axis.set_ylabel(label(down.name, typeset(down.unit)), fontsize=sized(8))
        axis.yaxis.set_label_coords(-sized(0.68) / PANEL, 0.5)
    axis.ticklabel_format(style="plain", useOffset=False)

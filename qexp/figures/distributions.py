"""Histograms of variables, their values by group, and draws of several parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import label, typeset
from qexp.figures.canvas import COLOURS, add_title, panel_grid, plain_numbers, row_panels, sized, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating]

WIDE, HIGH, IN_A_ROW = 2.7, 1.6, 3
"""Sizes of a panel [inch], and panels in a row."""

BINS, DECADES = 40, 1.8
"""Number of bins; powers of ten between the 1st and 99th percentile above which the axis is logarithmic."""

MANY = 1000
"""Number of values from which on the outermost ones are left out: a few would squeeze all others into a bin."""

SHADE = "0.85"
"""The grey of held-out values."""


@dataclass(frozen=True)
class Histogram:
    """The values of one variable."""

    name: str
    """The variable, or its words by `quantities.in_words`."""
    unit: str
    values: Mapping[str, Array]
    """Part → its values, (value,) each; NaN is left out."""
    held_out: Sequence[tuple[float, float]] = field(default_factory=tuple)
    """Intervals of values that belong to the test part."""


def histograms(variables: Sequence[Histogram], title: str, counted: str = "values") -> Figure:
    """A panel per variable: the share of its values in each bin, an outline per part if there are several.

    Ends of held-out intervals are edges of bins; the share of a bin that is narrower or wider by that is that of the
    usual width.

    counted  what the values are of, such as "rows"
    """
    figure, axes = panel_grid(len(variables), IN_A_ROW, WIDE, HIGH, across=0.5, down=0.62, top=0.42)
    parts = list(dict.fromkeys(part for variable in variables for part in variable.values))
    for axis, variable in zip(axes, variables, strict=True):
        _draw(axis, variable, parts)
    cut = any(len(values) >= MANY for variable in variables for values in variable.values.values())
    for axis in axes[::IN_A_ROW]:
        axis.set_ylabel(f"share of {counted} (%)", fontsize=sized(8))
    shaded = any(variable.held_out for variable in variables)
    if len(parts) > 1:
        axes[0].legend(fontsize=sized(7), frameon=True, framealpha=0.7, edgecolor="none")
    notes = ["without the outermost 0.1 %"] * cut + ["grey: values held out for test"] * shaded
    add_title(figure, "; ".join([title, *notes]))
    return figure


def _draw(axis: Axes, variable: Histogram, parts: Sequence[str]) -> None:
    finite = {part: values[np.isfinite(values)].astype(np.float64) for part, values in variable.values.items()}
    every = np.concatenate(list(finite.values()))
    usual = _edges(every)
    logarithmic = usual[0] > 0 and not np.allclose(np.diff(usual), usual[1] - usual[0])
    if logarithmic:
        axis.set_xscale("log")
    along = np.log if logarithmic else np.asarray
    edges = _with_ends(usual, [end for interval in variable.held_out for end in interval], along)
    widths = np.diff(along(edges)) / (along(usual[1]) - along(usual[0]))
    for low, high in variable.held_out:
        axis.axvspan(max(low, edges[0]), min(high, edges[-1]), color=SHADE, linewidth=0, zorder=0)
    for part, values in finite.items():
        shares = 100 * np.histogram(values, edges)[0] / max(len(values), 1) / widths
        colour = COLOURS[parts.index(part) % len(COLOURS)]
        axis.stairs(shares, edges, color=colour, fill=len(parts) == 1, label=part, linewidth=1.2)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(bottom=0)
    axis.set_xlabel(label(variable.name, typeset(variable.unit)), fontsize=sized(8))
    axis.tick_params(labelsize=sized(7))
    axis.xaxis.get_offset_text().set_fontsize(sized(7))
    if logarithmic:
        plain_numbers(axis.xaxis)


def _with_ends(edges: Array, ends: Sequence[float], along: Callable[[Array], Array]) -> Array:
    """Edges of bins with some others among them, in whose place the edges within half a bin of them are left out."""
    inside = np.array([end for end in ends if edges[0] < end < edges[-1]])
    if not len(inside):
        return edges
    half = (along(edges[1]) - along(edges[0])) / 2
    apart = np.abs(along(edges)[:, None] - along(inside)).min(axis=1) > half
    apart[[0, -1]] = True
    return np.unique(np.concatenate([edges[apart], inside]))


def _edges(values: Array) -> Array:
    """Edges of the bins over all values, without the outermost of many; in equal ratios if they span powers of ten."""
    if not len(values):
        return np.linspace(0.0, 1.0, BINS + 1)
    low, fairly_low, fairly_high, high = np.percentile(values, (0.1, 1, 99, 99.9))
    if len(values) < MANY:
        low, high = values.min(), values.max()
    if low == high:
        return np.linspace(low - 0.5, high + 0.5, BINS + 1)
    count = int(np.clip(np.sqrt(len(values)) * 1.5, 5, BINS))
    if low > 0 and fairly_high > 10**DECADES * fairly_low:
        return np.geomspace(low, high, count + 1)
    return np.linspace(low, high, count + 1)


MOST_GROUPS = 50
"""Largest number of groups that are drawn."""

CHARACTERS = 22
"""Of a group's name."""


def values_by_group(
    groups: Sequence[str],
    parts: Sequence[str],
    order_of_parts: Sequence[str],
    values: NDArray[np.floating],
    name: str,
    unit: str,
    title: str,
) -> Figure:
    """A line per group with a point per sample and a bar at their median, coloured by part.

    groups, parts, values  of the samples, (sample,) each; NaN is left out
    order_of_parts         as they are coloured
    """
    of_group, of_part = np.asarray(groups, dtype=str), np.asarray(parts, dtype=str)
    first = {group: order_of_parts.index(of_part[of_group == group][0]) for group in dict.fromkeys(of_group.tolist())}
    order = sorted(first, key=lambda group: (first[group], group))
    drawn, colours = order[:MOST_GROUPS], {part: COLOURS[row % len(COLOURS)] for row, part in enumerate(order_of_parts)}
    labels = [f"{wrap(group, 200)[:CHARACTERS]} ({(of_group == group).sum()})" for group in drawn]
    figure, (axis,) = row_panels(1, 5.2, labels, 0.17)
    for line, group in enumerate(drawn):
        for part, colour in colours.items():
            points = values[(of_group == group) & (of_part == part)]
            points = points[np.isfinite(points)]
            axis.plot(points, np.full(len(points), line), "o", color=colour, markersize=sized(3.5), alpha=0.5, mew=0)
            if len(points):
                axis.plot([np.median(points)] * 2, [line - 0.4, line + 0.4], color=colour, linewidth=1.6)
    axis.set_xlabel(label(name, typeset(unit)), fontsize=sized(9))
    axis.tick_params(axis="x", labelsize=sized(8))
    axis.xaxis.get_offset_text().set_fontsize(sized(8))
    if len(order_of_parts) > 1:
        for part, colour in colours.items():
            axis.plot([], [], "o", color=colour, label=part, markersize=sized(4))
        axis.legend(fontsize=sized(7), loc="best", frameon=True, framealpha=0.7, edgecolor="none")
    left_out = f"; the first {MOST_GROUPS} of {len(order)} groups" if len(order) > len(drawn) else ""
    add_title(figure, f"{title}; bars: medians, in brackets: number of points{left_out}")
    return figure


PANEL, BETWEEN = 1.35, 0.1
"""Sizes of a panel and of what is between panels [inch]."""

LEFT, BOTTOM, TOP, RIGHT = 0.95, 0.85, 0.4, 0.15
"""Margins [inch]."""

CORNER_BINS, CELLS = 40, 48
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
    count = len(parameters)
    margins = {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    figure, axes = panel_grid(count**2, count, PANEL, PANEL, BETWEEN, BETWEEN, **margins)
    ranges = []
    for parameter in parameters:
        low, high = map(float, np.quantile(parameter.values, [OUTER, 1 - OUTER]))
        margin = 0.03 * (high - low) or 0.5
        ranges.append((low - margin, high + margin))
    for axis, (row, column) in zip(axes, product(range(count), repeat=2), strict=True):
        across, down = parameters[column], parameters[row]
        if row < column:
            axis.remove()
            continue
        if row == column:
            _draw_histogram(axis, across.values, ranges[column])
        else:
            _draw_pair(axis, across.values, down.values, ranges[column], ranges[row])
        _label(axis, across, down, last=row == count - 1, first=column == 0 and row > 0)
    add_title(figure, title)
    return figure


def _draw_histogram(axis: Axes, values: Array, ends: tuple[float, float]) -> None:
    counts, edges = np.histogram(values, CORNER_BINS, ends)
    axis.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.35)
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    axis.axvline(median, color=COLOURS[1], linewidth=1.2)
    for end in (low, high):
        axis.axvline(end, color=COLOURS[1], linewidth=0.9, linestyle="--")
    axis.set_xlim(*ends)
    axis.set_ylim(bottom=0)
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)


def _draw_pair(axis: Axes, across: Array, down: Array, *ends: tuple[float, float]) -> None:
    from scipy.ndimage import gaussian_filter

    counts, first, second = np.histogram2d(across, down, CELLS, ends)
    density = gaussian_filter(counts, SMOOTH, mode="nearest")
    ordered = np.sort(density.ravel())[::-1]
    inside = np.cumsum(ordered) / ordered.sum()
    heights = sorted({float(ordered[np.searchsorted(inside, share)]) for share in SHARES})
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in (first, second)]
    axis.plot(across[::4], down[::4], ".", color="0.7", markersize=1.0, rasterized=True, zorder=0)
    levels = [*heights, max(density.max(), heights[-1] * 1.001)]
    axis.contourf(*middles, density.T, levels, colors=COLOURS[:1], alpha=0.3)
    axis.contour(*middles, density.T, heights, colors=COLOURS[:1], linewidths=0.9)
    axis.set(xlim=ends[0], ylim=ends[1])


def _label(axis: Axes, across: Drawn, down: Drawn, *, last: bool, first: bool) -> None:
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

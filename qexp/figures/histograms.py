"""Histograms of variables, with the values that are held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, plain_numbers, sized, titled
from qexp.figures.panel_grid import panel_grid
from qexp.quantities import label, typeset

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
    made, axes = panel_grid(len(variables), IN_A_ROW, WIDE, HIGH, across=0.5, down=0.62, top=0.42)
    parts = list(dict.fromkeys(part for one in variables for part in one.values))
    for axis, one in zip(axes, variables, strict=True):
        _draw(axis, one, parts)
    cut = any(len(values) >= MANY for one in variables for values in one.values.values())
    for axis in axes[::IN_A_ROW]:
        axis.set_ylabel(f"share of {counted} (%)", fontsize=sized(8))
    shaded = any(one.held_out for one in variables)
    if len(parts) > 1:
        axes[0].legend(fontsize=sized(7), frameon=True, framealpha=0.7, edgecolor="none")
    notes = ["without the outermost 0.1 %"] * cut + ["grey: values held out for test"] * shaded
    titled(made, "; ".join([title, *notes]))
    return made


def _draw(axis: Axes, one: Histogram, parts: Sequence[str]) -> None:
    finite = {part: values[np.isfinite(values)].astype(np.float64) for part, values in one.values.items()}
    every = np.concatenate(list(finite.values()))
    usual = _edges(every)
    logarithmic = usual[0] > 0 and not np.allclose(np.diff(usual), usual[1] - usual[0])
    if logarithmic:
        axis.set_xscale("log")
    along = np.log if logarithmic else np.asarray
    edges = _with_ends(usual, [end for interval in one.held_out for end in interval], along)
    widths = np.diff(along(edges)) / (along(usual[1]) - along(usual[0]))
    for low, high in one.held_out:
        axis.axvspan(max(low, edges[0]), min(high, edges[-1]), color=SHADE, linewidth=0, zorder=0)
    for part, values in finite.items():
        shares = 100 * np.histogram(values, edges)[0] / max(len(values), 1) / widths
        colour = COLOURS[parts.index(part) % len(COLOURS)]
        axis.stairs(shares, edges, color=colour, fill=len(parts) == 1, label=part, linewidth=1.2)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(bottom=0)
    axis.set_xlabel(label(one.name, typeset(one.unit)), fontsize=sized(8))
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

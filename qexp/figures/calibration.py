"""Calibration of posteriors: ranks, coverage, and where intervals are too narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, figure, sized
from qexp.figures.wrapping import wrapped
from qexp.quantities import in_words, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

BAND, LINE = "0.85", "0.55"

WIDTH, HEIGHT = 3.6, 3.3
"""Of a panel with its margins [inch]."""

CHARACTERS = 46
"""Of the title above each column of panels."""

HATCHES = "0.7"

MOST_TICKS = 8

NARROW, WIDE = "▼", "▲"
"""Marks of cells whose intervals are too narrow, or too wide, beyond chance."""

DARK = 0.15
"""Difference from the right coverage below which cells are dark."""

SHOWN = 0.25
"""Difference from the right coverage at the end of the scale of colours."""


@dataclass(frozen=True)
class Band:
    """Where distribution functions of uniform numbers lie, all points at once, in 95 % of cases."""

    points: Array
    lower: Array
    upper: Array


def rank_panels(shares: Mapping[str, Array], band: Band, title: str) -> Figure:
    """A panel per output: distribution function of the ranks of true values, minus that of uniform ones.

    shares  output → share of the true values at most at each point of the band
    """
    lines = {in_words(name): {"": share} for name, share in shares.items()}
    made, axes = _differences(lines, band, title)
    for axis in axes:
        axis.set_xlabel("rank: share of samples below the truth")
    axes[0].set_ylabel("share of draws, minus that of uniform ranks")
    return made


def coverage_panels(levels: Mapping[str, Mapping[str, Array]], band: Band, title: str) -> Figure:
    """A panel per title: share of true values inside intervals or regions minus their probability, over that.

    levels  title of a panel → name of a line → share at each point of the band
    """
    made, axes = _differences(levels, band, title)
    for axis in axes:
        axis.set_xlabel("probability of the interval or region")
        for words, height, side in (("too wide", 0.98, "top"), ("too narrow", 0.02, "bottom")):
            axis.text(0.98, height, words, transform=axis.transAxes, ha="right", va=side, fontsize=sized(8), color=LINE)
    axes[0].set_ylabel("share with the truth inside, minus probability")
    return made


def _differences(panels: Mapping[str, Mapping[str, Array]], band: Band, title: str) -> tuple[Figure, list[Axes]]:
    """Distribution functions minus the uniform one, each panel with the band and on the same scale."""
    made, (axes,) = figure(1, len(panels), WIDTH, HEIGHT)
    drawn = [band.lower, band.upper, *(share for lines in panels.values() for share in lines.values())]
    most = 1.5 * max(np.abs(one - band.points).max() for one in drawn)
    ends = np.concatenate([[0.0], band.points, [1.0]])
    for axis, (words, lines) in zip(axes, panels.items(), strict=True):
        low, high = (np.concatenate([[0.0], one - band.points, [0.0]]) for one in (band.lower, band.upper))
        axis.fill_between(ends, low, high, color=BAND, linewidth=0, zorder=0)
        axis.axhline(0, color=LINE, linewidth=1, zorder=1)
        for colour, (name, share) in zip(COLOURS, lines.items(), strict=False):
            axis.plot(band.points, share - band.points, color=colour, linewidth=1.6, zorder=2, label=name or None)
        axis.set(xlim=(0, 1), ylim=(-most, most))
        axis.set_title(words, fontsize=sized(10))
        if len(lines) > 1:
            axis.legend(fontsize=sized(8), frameon=False, loc="lower left")
    made.suptitle(wrapped(title, CHARACTERS * len(panels)), fontsize=sized(10))
    return made, axes


@dataclass(frozen=True)
class LocalPanel:
    """The coverage of an output's intervals in cells, over one axis or two."""

    axes: Sequence[str]
    edges: Sequence[Array]
    """Of the cells along each axis, in the axis's unit; drawn at equal distances."""
    share: Array
    """NaN where there are few draws."""
    wrong: NDArray[np.int64]
    """-1 where intervals are too narrow, 1 where they are too wide beyond chance."""


def local_panels(
    outputs: Mapping[str, Mapping[str, LocalPanel]], units: Mapping[str, str], probability: float, title: str
) -> Figure:
    """A row per output, a column for cells of its estimates and one for cells of its true values.

    outputs  output → `estimated` and `true` → its coverage
    """
    columns = list(dict.fromkeys(words for of in outputs.values() for words in of))
    made, grid = figure(len(outputs), len(columns), 4.2, 3.6)
    for row, (name, of) in zip(grid, outputs.items(), strict=True):
        for axis, words in zip(row, columns, strict=True):
            draw = _plane if len(of[words].axes) == 2 else _line
            draw(axis, of[words], words, units, probability)
            axis.set_title(f"{in_words(name)}: by {words} values", fontsize=sized(10))
    made.suptitle(wrapped(title, CHARACTERS * len(columns)), fontsize=sized(10))
    return made


def _plane(axis: Axes, panel: LocalPanel, words: str, units: Mapping[str, str], probability: float) -> None:
    few = np.isnan(panel.share)
    axis.patch.set(hatch="////", edgecolor=HATCHES)
    number = len(panel.share)
    image = axis.imshow(
        panel.share.T, origin="lower", extent=(0, number, 0, number), cmap="PuOr", aspect="auto",
        vmin=probability - SHOWN, vmax=probability + SHOWN,
    )  # fmt: skip
    for column, row in np.argwhere((panel.wrong != 0) & ~few):
        colour = "white" if panel.share[column, row] < probability - DARK else "black"
        mark = NARROW if panel.wrong[column, row] < 0 else WIDE
        axis.text(column + 0.5, row + 0.5, mark, color=colour, ha="center", va="center", fontsize=sized(8))
    bar = axis.figure.colorbar(image, ax=axis, extend="min")
    bar.ax.set_ylim(probability - SHOWN, 1.0)
    bar.set_label(f"share of {100 * probability:g} % intervals with the truth", fontsize=sized(8))
    bar.ax.tick_params(labelsize=sized(8))
    both: tuple[XAxis | YAxis, ...] = (axis.xaxis, axis.yaxis)
    for ticked, name, edges in zip(both, panel.axes, panel.edges, strict=True):
        _tick(ticked, edges)
        ticked.set_label_text(f"{words} {label(name, units[name])}")
        ticked.set_tick_params(labelsize=sized(8))
    axis.spines[["top", "right"]].set_visible(True)


def _line(axis: Axes, panel: LocalPanel, words: str, units: Mapping[str, str], probability: float) -> None:
    (edges,), number = panel.edges, len(panel.share)
    axis.bar(np.arange(number) + 0.5, np.nan_to_num(panel.share), width=0.92, color=COLOURS[0])
    for cell in np.flatnonzero(panel.wrong):
        mark = NARROW if panel.wrong[cell] < 0 else WIDE
        axis.text(cell + 0.5, panel.share[cell] - 0.02, mark, color="white", ha="center", va="top", fontsize=sized(8))
    axis.axhline(probability, color=LINE, linewidth=1)
    for left in np.flatnonzero(np.isnan(panel.share)).tolist():
        axis.axvspan(left, left + 1, facecolor="none", edgecolor=HATCHES, hatch="////", linewidth=0)
    _tick(axis.xaxis, edges)
    axis.set(xlim=(0, number), ylim=(0, 1), xlabel=f"{words} {label(panel.axes[0], units[panel.axes[0]])}")
    axis.set_ylabel(f"share of {100 * probability:g} % intervals with the truth")


def _tick(axis: XAxis | YAxis, edges: Array) -> None:
    """Values at the edges of cells, at every second if there are many; the outer ones are ends of the prior."""
    inner = range(len(edges))[1 : -1 : 1 if len(edges) <= MOST_TICKS else 2]
    axis.set_ticks(inner, [f"{edges[place]:.2g}".replace("-", "\N{MINUS SIGN}") for place in inner])

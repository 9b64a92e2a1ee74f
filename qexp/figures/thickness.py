"""Errors by the thickness of the ice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qexp.figures.canvas import COLOURS, figure, sized
from qexp.quantities import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = Sequence[float]

SHOWN = {"rmse": "s-", "mae": "o-", "bias": "^--"}
"""Metric → style of its line."""

COLUMNS = 3

MOST = 200.0
"""Largest error that is shown [%]: where ice hardly moves, every error is many times the velocity."""


def errors_by_thickness(
    classes: Sequence[str],
    cells: Sequence[int],
    outputs: Mapping[str, Mapping[str, Numbers]],
    vectors: Mapping[str, Numbers],
    units: Mapping[str, str],
) -> Figure:
    """A panel per output with its metrics by class, and one for all vectors: mean error in percent of the mean length.

    classes  names of the classes, from thin to thick
    cells    number of cells in each class
    outputs  output → metric → a value per class, in the output's unit
    vectors  vector → percent per class
    """
    count = len(outputs) + bool(vectors)
    columns = min(count, COLUMNS)
    made, grid = figure(-(-count // columns), columns, max(3.0, sized(0.9 + 0.62 * len(classes))), 3.3)
    axes = [axis for row in grid for axis in row]
    for unused in axes[count:]:
        unused.set_visible(False)
    for axis, (output, metrics) in zip(axes, outputs.items(), strict=False):
        for (metric, style), colour in zip(SHOWN.items(), COLOURS, strict=False):
            if metric in metrics:
                axis.plot(metrics[metric], style, color=colour, label=metric, linewidth=1.4, markersize=4.5)
        axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        unit = typeset(units.get(output, ""))
        _describe(axis, output, "error" + (f" ({unit})" if unit else ""), classes, cells)
    if vectors:
        last = axes[len(outputs)]
        for (vector, shares), colour in zip(vectors.items(), COLOURS * len(vectors), strict=False):
            last.plot(shares, "o-", color=colour, label=f"({vector})", linewidth=1.4, markersize=4.5)
        largest = max((share for shares in vectors.values() for share in shares if share < MOST), default=MOST)
        last.set_ylim(0, 1.08 * largest)
        _name_those_beyond(last, list(vectors.values()))
        _describe(last, ", ".join(f"({vector})" for vector in vectors), "mean error / mean length (%)", classes, cells)
        if len(vectors) > 1:
            last.legend(fontsize=sized(8), frameon=False)
            last.set_title("vectors", fontsize=sized(10))
    handles, labels = axes[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=sized(9), frameon=False)
    made.supxlabel("thickness, and its share of the cells", fontsize=sized(9))
    return made


def _name_those_beyond(axis: Axes, vectors: Sequence[Numbers]) -> None:
    """Write, above each class, the largest percentage that is too large to be shown."""
    for index, shares in enumerate(zip(*vectors, strict=True)):
        beyond = [share for share in shares if share >= MOST]
        if beyond:
            place = axis.get_xaxis_transform()
            axis.text(index, 0.98, f"{max(beyond):.3g} ↑", transform=place, ha="center", va="top", fontsize=sized(7.5))


def _describe(axis: Axes, title: str, label: str, classes: Sequence[str], cells: Sequence[int]) -> None:
    shares = [100 * one / max(sum(cells), 1) for one in cells]
    names = [f"{name}\n{share:.2g} %" for name, share in zip(classes, shares, strict=True)]
    axis.set_xticks(range(len(classes)), names, fontsize=sized(7.5))
    axis.set_xlim(-0.4, len(classes) - 0.6)
    axis.set_title(title, fontsize=sized(10))
    axis.set_ylabel(label, fontsize=sized(9))
    axis.tick_params(axis="y", labelsize=sized(8))
    axis.grid(alpha=0.25, axis="y", linewidth=0.5)

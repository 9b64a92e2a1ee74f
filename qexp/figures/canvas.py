"""What all figures share: colours, and how a figure becomes a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from qexp.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart also by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of axes; sizes of one panel in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return made, [list(row) for row in axes]


LEFT, RIGHT, BOTTOM, TOP, BETWEEN = 0.7, 0.15, 0.5, 0.45, 0.75
"""Margins of panels in a row, in inches: room for the labels of an axis with numbers of up to five characters."""


TITLE = 1.0
"""Where titles of panels stand; matplotlib would else measure all labels to find out."""


def panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A row of panels with margins that are given: laying out by the labels' sizes takes longer than drawing them.

    width, height  of one panel with its margins [inch]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = count * width
    made = Figure(figsize=(whole, height))
    FigureCanvasAgg(made)
    panel = (whole - LEFT - RIGHT - (count - 1) * BETWEEN) / count
    made.subplots_adjust(
        LEFT / whole, BOTTOM / height, 1 - RIGHT / whole, 1 - TOP / height, wspace=BETWEEN / panel, hspace=0
    )
    axes = list(made.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return made, axes


def plain_numbers(axis: XAxis | YAxis) -> None:
    """Label a logarithmic axis with 0.02, 0.05, 0.1 rather than with powers of ten. To be called when all is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.axes.autoscale_view()
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def save(made: Figure, path: Path) -> None:
    content = io.BytesIO()
    made.savefig(content, dpi=150, format="png")
    write_bytes(path, content.getvalue())

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


def panels(count: int, width: float, height: float, left: float = LEFT) -> tuple[Figure, list[Axes]]:
    """A row of panels with margins that are given: laying out by the labels' sizes takes longer than drawing them.

    width, height  of one panel with its margins [inch]
    left           margin of the first panel, which is that much wider with it [inch]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = count * width + left - LEFT
    made = Figure(figsize=(whole, height))
    FigureCanvasAgg(made)
    panel = (whole - left - RIGHT - (count - 1) * BETWEEN) / count
    made.subplots_adjust(
        left / whole, BOTTOM / height, 1 - RIGHT / whole, 1 - TOP / height, wspace=BETWEEN / panel, hspace=0
    )
    axes = list(made.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return made, axes


def titled(made: Figure, text: str, note: str = "") -> None:
    """A title over panels that have none of their own; below it, to be seen, what must be said of the numbers."""
    width, height = made.get_size_inches()
    # A character is half as wide as high, a little more with a margin.
    size = min(9.0, 72 * width / (0.58 * max(len(text), 1)))
    made.text(0.5, 1 - 0.07 / height, text, ha="center", va="top", fontsize=size)
    if note:
        made.text(0.5, 1 - 0.24 / height, note, ha="center", va="top", fontsize=9, color=COLOURS[1], weight="bold")


def plain_numbers(axis: XAxis | YAxis) -> None:
    """Label a logarithmic axis with 0.02, 0.05, 0.1 rather than with powers of ten. To be called when all is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.axes.autoscale_view()
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


DPI = 150
"""Of the files. Texts are not quite as wide in one resolution as in another: who measures them sets it before."""


def save(made: Figure, path: Path) -> None:
    content = io.BytesIO()
    made.savefig(content, dpi=DPI, format="png")
    write_bytes(path, content.getvalue())

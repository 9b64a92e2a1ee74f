"""Panels in rows and columns below a title, with fixed margins: for figures of many small panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qexp.figures.canvas import BOTTOM, LEFT, RIGHT, sized

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP = 0.72
"""Height for a title, a note and the titles of the top row of panels [inch]."""


def panel_grid(
    count: int,
    columns: int,
    width: float,
    height: float,
    across: float,
    down: float,
    *,
    left: float = LEFT,
    right: float = RIGHT,
    top: float = TOP,
    bottom: float = BOTTOM,
) -> tuple[Figure, list[Axes]]:
    """`count` panels, row by row, at most `columns` in a row; for a title above all see `canvas.titled`.

    width, height             of a panel within its axes [inch]
    across, down              distances between neighbouring axes, for their labels [inch]
    left, right, top, bottom  margins [inch]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, columns)
    rows = -(-count // columns)
    left, right, bottom, top, across, down = map(sized, (left, right, bottom, top, across, down))
    whole = left + columns * width + (columns - 1) * across + right
    tall = top + rows * height + (rows - 1) * down + bottom
    made = Figure(figsize=(whole, tall))
    FigureCanvasAgg(made)
    made.subplots_adjust(
        left / whole, bottom / tall, 1 - right / whole, 1 - top / tall, wspace=across / width, hspace=down / height
    )
    axes = [made.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return made, axes

"""Images over one variable or two, side by side: how an image depends on what made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import sized
from qexp.figures.fields import NO_DATA
from qexp.figures.wrapping import wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 1.1
"""Side of one of several images [inch]."""

ALONE = 4.5
"""Side of a single one."""

SIGNED = 0.2
"""Size of the values of one sign relative to those of the other above which colours are centred at zero."""

PER_INCH = 12
"""Characters of the title."""


@dataclass(frozen=True)
class Side:
    """A variable that changes from image to image."""

    words: str
    values: NDArray[np.floating]
    unit: str


def image_grid(
    images: NDArray[np.floating],
    sides: Sequence[Side],
    extent: tuple[float, float, float, float] | None,
    of: str,
    title: str,
) -> Figure:
    """A panel per image: the first variable from left to right, the second upwards. Each has its own colour scale, and
    its largest value beside it: images of shallow and deep sources differ by orders of magnitude.

    images  (first variable, second variable, y, x), with one value of a variable that is not among `sides`; NaN where
            nothing is seen, or no source is possible
    sides   the variables, at most two
    extent  edges of the images [km]; None if their pixels differ
    of      what the images show, with its unit
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len(sides) == 1:  # the leading length of one stands for the missing second variable
        images = images.transpose(1, 0, 2, 3)
    columns, rows = images.shape[:2]
    size = ALONE if columns * rows == 1 else SIDE
    made = Figure(figsize=(max(columns * size + 1.0, 5.0), rows * size + 1.3), layout="constrained")
    FigureCanvasAgg(made)
    grid = made.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axis, values = grid[rows - 1 - row][column], images[column, row]
            axis.set_facecolor(NO_DATA)
            finite = values[np.isfinite(values)]
            low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
            reach = max(-low, high) or 1.0
            both = min(-low, high) > SIGNED * reach
            ends = (-reach, reach) if both else (low, high)
            drawn = axis.imshow(
                values, origin="lower", extent=extent, cmap="RdBu_r" if both else "viridis", vmin=ends[0], vmax=ends[1],
                interpolation="nearest",
            )  # fmt: skip
            axis.spines[["top", "right"]].set_visible(True)
            if size == ALONE:
                bar = made.colorbar(drawn, ax=axis, shrink=0.8)
                bar.set_label(of)
                axis.set(xlabel="x (km)", ylabel="y (km)")
                continue
            axis.set(xticks=[], yticks=[])
            largest = high if high >= -low else low
            words = f"{largest:.2g}".replace("-", "−") if len(finite) else "impossible"
            axis.set_title(words, fontsize=sized(7), pad=2)
            if row == 0 and sides:
                axis.set_xlabel(f"{sides[0].values[column]:.3g}", fontsize=sized(8))
            if column == 0 and len(sides) > 1:
                axis.set_ylabel(f"{sides[1].values[row]:.3g}", fontsize=sized(8))
    if size != ALONE:
        made.supxlabel(_named(sides[0]), fontsize=sized(10))
        if len(sides) > 1:
            made.supylabel(_named(sides[1]), fontsize=sized(10))
        title += f"; each image has its own colours, above it its largest {of}"
    made.suptitle(wrapped(title, int(PER_INCH * made.get_figwidth())), fontsize=sized(10))
    return made


def _named(side: Side) -> str:
    return f"{side.words} ({side.unit})" if side.unit else side.words

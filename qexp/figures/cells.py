"""Values over the cells of a map: longitude and latitude, or sample and line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import extend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def is_geographic(names: Sequence[str]) -> bool:
    """Whether positions are degrees, by their names, that of x first."""
    return names[0].lower().startswith("lon")


def shape_of(names: Sequence[str], extent: Sequence[float]) -> tuple[float, float]:
    """How much longer a unit of y is drawn than one of x, and height per width of the map.

    extent  left, right, lower and upper edge
    """
    left, right, low, high = extent
    stretch = 1.0
    if is_geographic(names) and abs(low + high) < 180:
        stretch = 1 / max(np.cos(np.radians((low + high) / 2)), 0.1)
    return stretch, stretch * (high - low) / (right - left)


def draw_cells(
    axis: Axes,
    plane: NDArray[np.floating],
    extent: Sequence[float],
    names: Sequence[str],
    colours: str,
    limits: Sequence[float],
    label: str,
    hatched: NDArray[np.bool_],
) -> None:
    """Draw values of cells, (y, x), the lowest y first, with a colour bar.

    names    of the positions, that of x first
    limits   of the colours
    hatched  which cells are marked, (y, x)
    """
    stretch, tall = shape_of(names, extent)
    least, most = limits
    image = axis.imshow(
        plane,
        colours,
        vmin=least,
        vmax=max(most, least + 1e-12),
        origin="lower",
        interpolation="nearest",
        extent=(extent[0], extent[1], extent[2], extent[3]),
        aspect=stretch,
    )
    _hatch(axis, hatched, extent)
    axis.figure.colorbar(
        image,
        ax=axis,
        extend=extend(plane[np.isfinite(plane)], least, most),
        label=label,
        shrink=min(1.0, max(tall, 0.4)),
    )
    axis.spines[["top", "right"]].set_visible(True)
    unit = " (°)" if is_geographic(names) else ""
    axis.set(xlabel=f"{names[0]}{unit}", ylabel=f"{names[1]}{unit}")
    if not unit:
        axis.invert_yaxis()  # lines are counted from the top


def _hatch(axis: Axes, cells: NDArray[np.bool_], extent: Sequence[float]) -> None:
    """Hatch cells, (y, x), in white and black, one of which is seen on every colour."""
    left, right, low, high = extent
    edges_x = np.linspace(left, right, cells.shape[1] + 1)
    edges_y = np.linspace(low, high, cells.shape[0] + 1)
    if cells.any():
        # cells twice, so that contours follow their edges
        x, y = (np.repeat(edges, 2)[1:-1] for edges in (edges_x, edges_y))
        shown = np.repeat(np.repeat(cells, 2, axis=0), 2, axis=1).astype(float)
        for colour, hatch in (("white", "////"), ("black", r"\\\\")):
            lines = axis.contourf(x, y, shown, [0.5, 1.5], colors="none", hatches=[hatch])
            lines.set_edgecolor(colour)

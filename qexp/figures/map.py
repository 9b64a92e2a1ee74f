"""Maps of estimates: longitude and latitude, or line and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qexp.estimates import spread_of
from qexp.figures.canvas import figure, sized
from qexp.rows.rasters import Raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSITIONS: Sequence[Sequence[tuple[str, ...]]] = (
    (("longitude", "lon", "long"), ("latitude", "lat")),
    (("sample", "column"), ("line", "row")),
)
"""Names of columns with positions: those of x, and those of y."""


def position_columns(names: Sequence[str]) -> tuple[str, str] | None:
    """The columns of a file with the positions of its rows, x first; None if there are none."""
    by_word = {name.lower(): name for name in names}
    for x_words, y_words in POSITIONS:
        x, y = (next((by_word[word] for word in words if word in by_word), None) for words in (x_words, y_words))
        if x is not None and y is not None:
            return x, y
    return None


def layers(outputs: Sequence[str]) -> list[str]:
    """The layers of a raster for a map, in order."""
    return [*(layer for name in outputs for layer in (name, spread_of(name))), "outside"]


def draw_map(raster: Raster, axes: tuple[str, str], outputs: Mapping[str, str], title: str) -> Figure:
    """A row per output: the estimate and its spread, each a mean over the rows of a cell.

    raster   with the `layers` of the outputs; `outside` is 1 for a row outside the range of the training data
    outputs  name → unit
    Cells with most of their rows outside are drawn in grey of the same brightness as their colour.
    """
    means = raster.means()
    left, right, low, high = raster.extent
    geographic = axes[0].lower().startswith("lon")
    stretch = 1 / max(np.cos(np.radians((low + high) / 2)), 0.1) if geographic and abs(low + high) < 180 else 1.0
    tall = stretch * (high - low) / (right - left)
    spread_is_known = bool((means[1:-1:2] > 0).any())  # a single network has no spread
    made, grid = figure(
        len(outputs), 1 + spread_is_known, 5.2 if tall < 1.5 else 4.0, float(np.clip(4.2 * tall + 1.2, 2.4, 6.5))
    )
    outside = np.where(np.isfinite(means[-1]), means[-1] > 0.5, False)
    for row, (index, (name, unit)) in zip(grid, enumerate(outputs.items()), strict=True):
        words = name.replace("_", " ")
        titles = [words, f"{words}: ensemble standard deviation"]
        for axis, what, plane, colours in zip(row, titles, means[2 * index :], ("viridis", "magma_r"), strict=False):
            finite = plane[np.isfinite(plane)]
            least, most = np.percentile(finite, (0.5, 99.5)) if len(finite) else (0.0, 1.0)
            reach = max(float(most - least), 1e-12)
            middle_greys = (least - 0.8 * reach, most + 0.3 * reach)  # neither black nor the white of the paper
            for shown, palette, (dark, bright) in (
                (outside, "gray", middle_greys),
                (~outside, colours, (least, least + reach)),
            ):
                image = axis.imshow(
                    np.where(shown, plane, np.nan), origin="lower", extent=raster.extent, interpolation="nearest",
                    cmap=palette, vmin=dark, vmax=bright,
                )  # fmt: skip
            beyond = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
            extend = beyond[int((finite < least).any()), int((finite > most).any())]
            axis.figure.colorbar(image, ax=axis, extend=extend, label=unit, shrink=min(1.0, max(tall, 0.4)))
            axis.set_title(what, fontsize=sized(10))
            _label(axis, axes, geographic, stretch)
    if outside.any():
        share = 100 * outside.sum() / np.isfinite(means[-1]).sum()
        title = f"{title}\ngrey: outside the range of the training data ({share:.0f} % of the map)"
    made.suptitle(title, fontsize=sized(10))
    return made


def _label(axis: Axes, names: tuple[str, str], geographic: bool, stretch: float) -> None:
    axis.set_aspect(stretch)
    axis.spines[["top", "right"]].set_visible(True)
    axis.set_xlabel(f"{names[0]} (°)" if geographic else names[0])
    axis.set_ylabel(f"{names[1]} (°)" if geographic else names[1])
    if not geographic:
        axis.invert_yaxis()  # lines are counted from the top

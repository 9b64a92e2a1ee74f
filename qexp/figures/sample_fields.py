"""Samples of fields: a row per sample, a column per variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import sized, titled
from qexp.figures.fields import NO_DATA, thinned
from qexp.figures.panel_grid import panel_grid
from qexp.quantities import label, typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Array = NDArray[np.floating]

SIDE, BETWEEN, LEFT, TOP = 1.3, 0.16, 1.55, 0.95
"""Side of a panel, distance between panels, and margins for the words and the colour bars [inch]."""


@dataclass(frozen=True)
class FieldSample:
    """Fields of one place and time: variable → (y, x), y ascending."""

    words: str
    """Its folder, frame and size, in lines."""
    fields: Mapping[str, Array]
    outlines: Sequence[tuple[float, float, float, float]] = ()
    """Left, bottom, width and height of rectangles to draw [cell]."""


def sample_fields(samples: Sequence[FieldSample], units: Mapping[str, str], title: str) -> Figure:
    """Every variable on one colour scale, which is above its column; centred at zero where values have both signs.

    units  variable → unit
    """
    names = list(samples[0].fields)
    made, axes = panel_grid(
        len(names) * len(samples), len(names), SIDE, SIDE, BETWEEN, BETWEEN, left=LEFT, right=0.25, top=TOP
    )
    for column, name in enumerate(names):
        fields = [sample.fields[name] for sample in samples]
        limits = _limits(np.concatenate([values[np.isfinite(values)] for values in fields]))
        for row, values in enumerate(fields):
            image = _draw(axes[row * len(names) + column], values, limits, samples[row].outlines)
        _bar_above(axes[column], image, label(name, typeset(units[name])))
    for row, sample in enumerate(samples):
        axes[row * len(names)].set_ylabel(
            sample.words, fontsize=sized(7.5), rotation=0, ha="right", va="center", labelpad=4
        )
    titled(made, title)
    return made


def _limits(values: Array) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (0.2, 99.8)))
    if low < 0 < high:
        reach = max(-low, high)
        return -reach, reach
    return (0.0 if 0 <= low < 0.2 * high else low), max(high, low + 1e-12)


def _draw(
    axis: Axes, values: Array, limits: tuple[float, float], outlines: Sequence[tuple[float, float, float, float]]
) -> AxesImage:
    from matplotlib.patches import Rectangle

    axis.set_facecolor(NO_DATA)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[["top", "right"]].set_visible(True)
    height, width = values.shape
    image = axis.imshow(
        thinned(values), origin="lower", extent=(0, width, 0, height), interpolation="nearest",
        cmap="RdBu_r" if limits[0] < 0 else "viridis", vmin=limits[0], vmax=limits[1],
    )  # fmt: skip
    for left, bottom, across, up in outlines:
        for colour, line in (("white", 2.0), ("black", 0.9)):
            axis.add_patch(Rectangle((left, bottom), across, up, fill=False, edgecolor=colour, linewidth=line))
    return image


def _bar_above(axis: Axes, image: AxesImage, words: str) -> None:
    from matplotlib.ticker import MaxNLocator

    bar = axis.figure.colorbar(image, cax=axis.inset_axes((0.03, 1.09, 0.94, 0.06)), orientation="horizontal")
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.tick_params(labelsize=sized(6.5), pad=1)
    bar.locator = MaxNLocator(3, steps=[1, 2, 5, 10])
    bar.update_ticks()
    bar.ax.set_title(words, fontsize=sized(8), pad=4)

"""Samples of images with the values that made them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import sized, titled
from qexp.figures.fields import NO_DATA, Extent
from qexp.figures.panel_grid import panel_grid
from qexp.quantities import base_name, in_words, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Array = NDArray[np.floating]
Scale = tuple[float, float]
"""The values at the lower and upper end of the colours."""

SIDE, ACROSS, DOWN = 1.8, 1.15, 0.3
"""Side of a panel, and distances between panels [inch]."""

IN_A_ROW = 3
"""Panels in a row."""

SIGNED = 0.2
"""Size of the values of one sign relative to those of the other above which colours are centred at zero."""

ALIKE = 4.0
"""Factor between the largest and the smallest of the images' extremes up to which they share a colour scale."""

SMALLEST_MARK, LARGEST_MARK = 4.0, 200.0
"""Area of the mark of one of very many scattered points, and what is shared by all of them [point²]."""

CHARACTERS = 36
"""Largest number of characters of a line above a panel."""


@dataclass(frozen=True)
class ImageSample:
    """The images of one sample: name → (y, x), y ascending; of scattered points (point,), of stations (3, point).

    NaN where nothing is seen, which is grey in images.
    """

    values: Sequence[str]
    """What made them, such as `depth 1.2 km`."""
    images: Mapping[str, Array]
    extents: Mapping[str, Extent]
    positions: Mapping[str, Array] = field(default_factory=dict)
    """Name of scattered points or of stations → (point, 2), x and y in the unit of the extents."""


def sample_images(
    samples: Sequence[ImageSample], units: Mapping[str, str], title: str, views: Sequence[str] = ()
) -> Figure:
    """A panel per image, the images of a sample side by side on one colour scale.

    All samples share that scale if their extremes are alike; it is centred at zero if values have both signs.

    units  image → unit
    views  names of the views, as in `quantities.in_words`, which stand above their images
    """
    names = list(samples[0].images)
    each = len(names) > 1 or any(views)
    columns = len(names) * max(1, round(IN_A_ROW / len(names)))
    lines = max(len(_lines(sample.values)) for sample in samples) + each
    above = 0.14 * lines
    made, axes = panel_grid(
        len(names) * len(samples), columns, SIDE, SIDE, ACROSS, DOWN + above, right=1.0, top=0.42 + above
    )
    scales = _scales(_ends([list(sample.images.values()) for sample in samples]))
    for row, (sample, scale) in enumerate(zip(samples, scales, strict=True)):
        of_sample = axes[len(names) * row : len(names) * (row + 1)]
        for name, axis in zip(names, of_sample, strict=True):
            image = _draw(
                axis, sample.images[name], sample.extents[name], scale, sample.positions.get(name), units[name]
            )
            heading = _lines(sample.values) if axis is of_sample[0] else [""] * len(_lines(sample.values))
            axis.set_title("\n".join([*heading, *([in_words(name, views)] * each)]), fontsize=sized(8))
            if axes.index(axis) % columns == 0:
                axis.set_ylabel(f"y ({sample.extents[name].unit})", fontsize=sized(8))
        _bar(of_sample[-1], image, label(base_name(names[0]), units[names[0]]))
    for axis in axes[-columns:]:
        axis.set_xlabel(f"x ({samples[0].extents[names[0]].unit})", fontsize=sized(8))
    colours = "one colour scale" if len(set(scales)) == 1 else "each sample has its own colour scale"
    grids = [image for sample in samples for name, image in sample.images.items() if name not in sample.positions]
    hidden = any(np.isnan(image).any() for image in grids)
    titled(made, f"{title}; {colours}{'; grey: not seen' if hidden else ''}")
    return made


def _lines(values: Sequence[str]) -> list[str]:
    """The values in lines that fit above a panel; none is broken."""
    text = ", ".join(value.replace(" ", "\u00a0") for value in values)
    return textwrap.wrap(text, CHARACTERS, break_long_words=False) or [""]


def _ends(samples: Sequence[Sequence[Array]]) -> list[Scale]:
    """The smallest and largest value of each sample; those of another for a sample of which nothing is seen."""
    seen = [np.concatenate([image[np.isfinite(image)] for image in images]) for images in samples]
    ends = [(float(values.min()), float(values.max())) if len(values) else None for values in seen]
    other = next((one for one in ends if one is not None), (0.0, 1.0))
    return [other if one is None else one for one in ends]


def _scales(ends: Sequence[Scale]) -> list[Scale]:
    """The colour scale of each sample, from its smallest and largest value."""
    reaches = [max(-low, high, 1e-12) for low, high in ends]
    shared = max(reaches) <= ALIKE * min(reaches)
    if any(min(-low, high) > SIGNED * max(-low, high) for low, high in ends):
        return [(-reach, reach) for reach in ([max(reaches)] * len(ends) if shared else reaches)]
    if shared:
        return [(min(low for low, _ in ends), max(high for _, high in ends))] * len(ends)
    return list(ends)


def _draw(
    axis: Axes, values: Array, where: Extent, limits: Scale, positions: Array | None, unit: str
) -> ScalarMappable:
    axis.tick_params(labelsize=sized(7))
    axis.locator_params(nbins=4)
    axis.spines[["top", "right"]].set_visible(True)
    edges, colours = (where.left, where.right, where.bottom, where.top), _colours(limits)
    if positions is None:
        axis.set_facecolor(NO_DATA)
        return axis.imshow(values, origin="lower", extent=edges, interpolation="nearest", **colours)
    axis.set(xlim=edges[:2], ylim=edges[2:], aspect="equal")
    if values.ndim == 2:
        _draw_arrows(axis, values, where, positions, unit)
    marks: dict[str, Any] = {"edgecolors": "0.3", "linewidths": 0.4, "zorder": 3}
    size = SMALLEST_MARK + LARGEST_MARK / len(positions)
    x, y = positions.T
    return axis.scatter(x, y, s=size, c=values[-1] if values.ndim == 2 else values, **marks, **colours)


def _colours(limits: Scale) -> dict[str, Any]:
    return {"cmap": "RdBu_r" if limits[0] == -limits[1] else "viridis", "vmin": limits[0], "vmax": limits[1]}


def _draw_arrows(axis: Axes, values: Array, where: Extent, positions: Array, unit: str) -> None:
    """Horizontal displacements, the longest of which is a quarter of the panel."""
    longest = float(np.hypot(values[0], values[1]).max())
    if longest > 0:
        scale = longest / (0.25 * (where.right - where.left))
        x, y = positions.T
        axis.quiver(x, y, values[0], values[1], angles="xy", scale_units="xy", scale=scale, width=0.012, zorder=2)
        words = f"longest arrow {longest:.2g} {unit}"
        axis.text(0.03, 0.03, words, transform=axis.transAxes, fontsize=sized(7))


def _bar(axis: Axes, image: ScalarMappable, words: str) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    plain = ScalarFormatter(useOffset=False)
    plain.set_scientific(False)
    bar = axis.figure.colorbar(
        image, cax=axis.inset_axes((1.04, 0, 0.05, 1)), ticks=MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]), format=plain
    )
    bar.set_label(words, fontsize=sized(8))
    bar.ax.tick_params(labelsize=sized(7))

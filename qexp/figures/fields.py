"""Pictures of fields over time: truth, estimate and difference, on scales fixed in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import typeset
from qexp.figures import canvas
from qexp.figures.canvas import blank, characters, extend, narrow, page_width, sized, small, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

Array = NDArray[np.float32]

NO_DATA = "0.88"
"""The grey of cells without values."""

LEFT, TOP, BOTTOM = 0.65, 0.72, 0.5
"""Margins of the figure, between panels and around colour bars, and the sizes of both [inch]."""
BETWEEN, ROWS_BETWEEN = 0.2, 0.52
BAR, BAR_GAP, BAR_LABELS = 0.11, 0.08, 0.78
PANEL = 2.7
LEAST_HEIGHT = 1.3
RIGHT, LINES_MORE, BAR_LABELS_UNDER, LEAST_ABOVE_BARS = 0.15, 0.1, 0.42, 0.7
"""In a narrow figure: right margin, line of titles, labels of colour bars, least height."""

MOST_CELLS = 600
"""Largest number of cells along a side of a panel: larger fields are drawn at some alone."""


@dataclass(frozen=True)
class Moment:
    """Fields at one time: output → (y, x), NaN where nothing is drawn; y ascends."""

    title: str
    truths: Mapping[str, Array]
    estimates: Mapping[str, Array]


@dataclass(frozen=True)
class Extent:
    """The edges of a field's cells, for the axes."""

    left: float
    right: float
    bottom: float
    top: float
    unit: str


def extent(x: Sequence[float] | None, y: Sequence[float] | None, size: tuple[int, int]) -> Extent:
    """The extent of cells with centres x and y [m], in km; in cells without coordinates, or with a
    single one.

    size  height and width, in cells
    """
    if x is None or y is None or min(len(x), len(y)) < 2:
        return Extent(0, size[1], 0, size[0], "cells")
    ends = list[float]()
    for centres in (x, y):
        half = 0.5 * (centres[-1] - centres[0]) / (len(centres) - 1)
        ends += [(centres[0] - half) / 1000, (centres[-1] + half) / 1000]
    left, right, bottom, top = ends
    return Extent(left, right, bottom, top, "km")


def thinned(field: Array) -> Array:
    """Every n-th cell of a field, (y, x), so that a panel can show them."""
    step = -(-max(field.shape) // MOST_CELLS)
    return field[::step, ::step]


def draw_moments(
    moments: Sequence[Moment],
    units: Mapping[str, str],
    vectors: Sequence[tuple[str, str]],
    where: Extent,
) -> Iterator[Figure]:
    """A figure per moment, with a row per output and per length of a vector: truth, estimate,
    estimate − truth.

    The same figure is redrawn each time: save it before taking the next.

    units    output → its unit
    vectors  pairs of outputs that are x and y component
    """
    rows = list(_rows(moments, units, vectors))
    figure, heading, grid = _lay_out(len(rows), where)
    updates = [_begin(figure, axes, row, where) for axes, row in zip(grid, rows, strict=True)]
    for index, moment in enumerate(moments):
        heading.set_text(wrap(moment.title, characters(10)))
        for (images, title), row in zip(updates, rows, strict=True):
            truth = row.truths[index]
            estimate = row.estimates[index]
            for image, values in zip(images, (truth, estimate, estimate - truth), strict=True):
                image.set_data(values)
            sizes = np.abs(_finite([estimate - truth]))
            end = "\n" if narrow() else " "
            mean = f"\nmean size{end}{sizes.mean():.3g} {row.unit}".rstrip() if len(sizes) else ""
            title.set_text(f"estimate − truth{mean}")
        yield figure


def limits_of(values: NDArray[np.floating], signed: bool | None = None) -> tuple[float, float]:
    """The ends of a colour scale, without the outermost values; from zero if the least is near it.

    signed  whether it is centred at zero; if left out, where values have both signs
    """
    if not len(values):
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(values, (0.2, 99.8)))
    if low < 0 < high if signed is None else signed:
        reach = max(abs(low), abs(high), 1e-12)
        return -reach, reach
    return (0.0 if 0 <= low < 0.2 * high else low), max(high, low + 1e-12)


@dataclass(frozen=True)
class _Row:
    """The values in one row of panels, over all moments."""

    name: str
    unit: str
    truths: list[Array]
    estimates: list[Array]
    signed: bool


def _rows(
    moments: Sequence[Moment], units: Mapping[str, str], vectors: Sequence[tuple[str, str]]
) -> Iterator[_Row]:
    components = {name for pair in vectors for name in pair}
    for name in moments[0].truths:
        truths = [moment.truths[name] for moment in moments]
        estimates = [moment.estimates[name] for moment in moments]
        low, high = np.percentile(_finite(truths), (1, 99)) if len(_finite(truths)) else (0.0, 0.0)
        signed = name in components or bool(low < 0 < high)
        yield _Row(name, typeset(units.get(name, "")), truths, estimates, signed)
        for x, y in vectors:
            if name == y:
                true = [_length(moment.truths, x, y) for moment in moments]
                estimated = [_length(moment.estimates, x, y) for moment in moments]
                unit = typeset(units.get(x, ""))
                yield _Row(f"|({x}, {y})|", unit, true, estimated, signed=False)


def _length(fields: Mapping[str, Array], x: str, y: str) -> Array:
    return np.hypot(fields[x], fields[y])


def _lay_out(rows: int, where: Extent) -> tuple[Figure, Text, list[list[Axes]]]:
    """A figure, its title, and per row the axes of truth, estimate, their colour bar, difference,
    its colour bar.

    In a narrow figure the bars are below the panels, else beside them.
    """
    left, top, bottom, panel_gap, row_gap = map(sized, (LEFT, TOP, BOTTOM, BETWEEN, ROWS_BETWEEN))
    bar, gap, labels, labels_under = map(sized, (BAR, BAR_GAP, BAR_LABELS, BAR_LABELS_UNDER))
    others = panel_gap + 2 * (gap + bar + labels)
    if narrow():
        others = 2 * panel_gap + sized(RIGHT)
        row_gap = row_gap + sized(LINES_MORE) + gap + bar + labels_under
        top = top + sized(LINES_MORE)
        bottom = bottom + gap + bar + labels_under
    ratio = (where.top - where.bottom) / (where.right - where.left)
    room = (page_width() - left - others) / 3
    width = min(room, sized(PANEL) / max(ratio, 1.0))
    height = max(width * ratio, sized(LEAST_ABOVE_BARS if narrow() else LEAST_HEIGHT))
    tall = top + bottom + rows * height + (rows - 1) * row_gap
    wide = page_width() - (0 if canvas.exact() else 3 * (room - width))
    figure = blank(wide, tall)

    def add_axes(start: float, low: float, length: float, rise: float) -> Axes:
        return figure.add_axes((start / wide, low / tall, length / wide, rise / tall))

    grid = []
    for row in range(rows):
        low = bottom + (rows - 1 - row) * (height + row_gap)
        last = row == rows - 1
        if narrow():
            starts = [left + number * (width + panel_gap) for number in range(3)]
            bar_bottom = low - gap - bar - (sized(BOTTOM) - gap if last else 0.0)
            bars = [
                add_axes(left, bar_bottom, 2 * width + panel_gap, bar),
                add_axes(starts[2], bar_bottom, width, bar),
            ]
        else:
            starts = [
                left,
                left + width + panel_gap,
                left + 2 * width + panel_gap + gap + bar + labels,
            ]
            bars = [add_axes(start + width + gap, low, bar, height) for start in starts[1:]]
        truth, estimate, difference = (add_axes(start, low, width, height) for start in starts)
        grid.append([truth, estimate, bars[0], difference, bars[1]])
        for axis in (truth, estimate, difference):
            axis.tick_params(
                labelsize=small(),
                labelbottom=last,
                labelleft=axis is truth,
            )
            axis.locator_params(nbins=4 if width > sized(1.5) else 3)
            if last:
                axis.set_xlabel(f"x ({where.unit})", fontsize=sized(9))
        truth.set_ylabel(f"y ({where.unit})", fontsize=sized(9))
    heading = figure.text(
        0.5,
        1 - 0.08 / tall,
        "",
        ha="center",
        va="top",
        fontsize=sized(10),
    )
    return figure, heading, grid


def _begin(
    figure: Figure, axes: Sequence[Axes], row: _Row, where: Extent
) -> tuple[list[AxesImage], Text]:
    """The empty images of a row, and its last title, which has the size of the differences."""
    truth, estimate, scale_bar, difference, difference_bar = axes
    values = _finite([*row.truths, *row.estimates])
    pairs = zip(row.estimates, row.truths, strict=True)
    differences = _finite([estimated - true for estimated, true in pairs])
    low, high = limits_of(values, row.signed)
    # The few largest differences may exceed the scale.
    reach = (float(np.percentile(np.abs(differences), 99)) if len(differences) else 1.0) or 1.0
    colours = "RdBu_r" if row.signed else "viridis"
    ends = where.left, where.right, where.bottom, where.top
    settings: dict[str, Any] = {
        "origin": "lower",
        "extent": ends,
        "aspect": "auto",
        "interpolation": "nearest",
    }
    empty = np.full_like(row.truths[0], np.nan)
    images = []
    for axis in (truth, estimate, difference):
        axis.set_facecolor(NO_DATA)
        scale = ("PuOr_r", -reach, reach) if axis is difference else (colours, low, high)
        cmap, vmin, vmax = scale
        images.append(axis.imshow(empty, cmap=cmap, vmin=vmin, vmax=vmax, **settings))
    orientation: Any = "horizontal" if narrow() else "vertical"
    for image, bar, pointed in (
        (images[1], scale_bar, extend(values, low, high)),
        (images[2], difference_bar, extend(differences, -reach, reach)),
    ):
        figure.colorbar(image, cax=bar, extend=pointed, orientation=orientation)
        bar.tick_params(labelsize=small())
        (bar.xaxis if narrow() else bar.yaxis).set_label_text(row.unit, fontsize=sized(9))
    truth.set_title(f"{row.name}: truth", fontsize=sized(9))
    estimate.set_title("estimate", fontsize=sized(9))
    return images, difference.set_title("", fontsize=sized(9))


def _finite(fields: Sequence[Array]) -> Array:
    return np.concatenate([field[np.isfinite(field)] for field in fields])

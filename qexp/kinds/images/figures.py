"""Figures of simulated images: samples, and estimates of the test samples."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.outputs import quantile_of
from qexp.base.quantities import (
    base_name,
    brief,
    in_symbols,
    in_words,
    label,
    quantity_in_words,
    typeset,
    with_unit,
)
from qexp.figures.canvas import (
    COLOURS,
    GROWN_TO,
    LOGARITHMIC,
    SHRUNK_TO,
    TITLE,
    TOGETHER,
    add_title,
    characters,
    exact,
    fitting,
    label_outer,
    make_room,
    narrow,
    page_width,
    panel_grid,
    panels,
    place_of,
    scales_differ,
    sized,
    small,
    subplots,
    wrap,
)
from qexp.figures.estimates import make_equal
from qexp.figures.fields import NO_DATA, Extent, Moment, draw_moments, extent
from qexp.kinds.calibration_figures import CALIBRATION_FIGURES
from qexp.kinds.figures import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    learning_curve,
    outputs,
    table,
    truth_and_estimate,
    unit,
)
from qexp.kinds.images.files import PIXEL
from qexp.kinds.matrix_figures import matrix
from qexp.metrics.meaning import printed
from qexp.results.limit import limit_of
from qexp.spec.kinds import TEST_IMAGES, TEST_PREDICTIONS
from qexp.store.directory import RunDirectory, with_caution

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure


# Samples of images with the values that made them.

Array = NDArray[np.floating]
Scale = tuple[float, float]
"""The values at the lower and upper end of the colours."""

SIDE, GAP, ACROSS, DOWN = 1.8, 0.36, 0.95, 0.5
"""Side of a panel, and distances between panels: with one colour scale, with a colour bar beside
each, and down [inch].
"""

PANELS_IN_A_ROW, CROWDED_TO = 3, 0.4
"""Panels in a row; how much narrower those of more than two samples may become."""

ALIKE_RATIO = 4.0
"""Factor between extremes of images up to which they share a colour scale."""

SMALLEST_MARK, LARGEST_MARK = 4.0, 200.0
"""Area of the mark of one of very many points, and that shared by all [point²]."""


@dataclass(frozen=True)
class ImageSample:
    """The images of one sample: name → (y, x), y ascending; of scattered points (point,), of
    stations (3, point).

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

    All samples share that scale if their extremes are alike; it is centred at zero if values have
    both signs.

    units  image → unit
    views  names of the views, as in `quantities.in_words`, which stand above their images
    """
    names = list(samples[0].images)
    each = len(names) > 1 or any(views)
    scales = _scales(_ends([list(sample.images.values()) for sample in samples]))
    alike = len(set(scales)) == 1
    extents = {where for sample in samples for where in sample.extents.values()}
    gap = GAP if alike else ACROSS
    smallest = CROWDED_TO if narrow() and len(samples) > 2 else SHRUNK_TO
    least = smallest * (sized(SIDE) if exact() else SIDE)
    fitting = int((page_width() - sized(1.7 - gap)) / (sized(gap) + least))
    # Images of a sample stay side by side.
    panels_in_row = min(fitting, max(PANELS_IN_A_ROW, len(names)), len(names) * len(samples))
    in_row = max(1, panels_in_row // len(names))
    columns = len(names) * -(-len(samples) // -(-len(samples) // in_row))  # evenly over the rows
    widest = (GROWN_TO * sized(SIDE) if exact() else SIDE) + sized(gap)
    room = characters(inches=min((page_width() - sized(1.7)) / columns, widest) - sized(0.1))
    headings = [_lines(sample.values, room) for sample in samples]
    view_names = [wrap(in_words(name, views), room) if each else "" for name in names]
    longest = max(text.count("\n") + 1 for text in view_names) if each else 0
    count = len(names) * len(samples)
    of_titles = 0.16 * (max(map(len, headings)) + longest)
    sides = SIDE, SIDE, gap, DOWN + of_titles
    top = 0.42 + of_titles
    figure, axes = panel_grid(count, columns, *sides, right=1.0, top=top, fold=False, square=True)
    hidden = False
    for row, (sample, scale) in enumerate(zip(samples, scales, strict=True)):
        of_sample = axes[len(names) * row : len(names) * (row + 1)]
        for name, view_name, axis in zip(names, view_names, of_sample, strict=True):
            where = sample.extents[name]
            positions = sample.positions.get(name)
            image = _draw(axis, sample.images[name], where, scale, positions, units[name])
            heading = headings[row] if axis is of_sample[0] else [""] * len(headings[row])
            title_lines = [*heading, view_name] if each else heading
            axis.set_title("\n".join(title_lines), fontsize=small(), pad=sized(8))
            label_outer(axis, len(axes), f"x ({where.unit})", f"y ({where.unit})", small())
            hidden |= positions is None and bool(np.isnan(sample.images[name]).any())
            has_y = len(extents) > 1 or place_of(axis, len(axes))[0]
            axis.tick_params(labelbottom=True, labelleft=has_y)
        if not alike or row == min(len(samples), columns // len(names)) - 1:
            _bar(of_sample[-1], image, label(base_name(names[0]), units[names[0]]))
    colours = "one colour scale" if alike else "each sample has its own colour scale"
    add_title(figure, title, caption=f"{colours}{'; grey: not seen' if hidden else ''}")
    return figure


def _lines(values: Sequence[str], room: int) -> list[str]:
    """The values in lines of so many characters; none is broken if it fits into one."""
    text = ", ".join(
        value.replace(" ", "\u00a0") if len(value) <= room else TOGETHER.sub("\u00a0", value)
        for value in values
    )
    return textwrap.wrap(text, room, break_long_words=False) or [""]


def _ends(samples: Sequence[Sequence[Array]]) -> list[Scale]:
    """The least and largest value of each sample; of another if nothing is seen."""
    ends: list[Scale | None] = []
    for images in samples:
        values = np.concatenate([image[np.isfinite(image)] for image in images])
        ends.append((float(values.min()), float(values.max())) if len(values) else None)
    other = next((scale for scale in ends if scale is not None), (0.0, 1.0))
    return [other if scale is None else scale for scale in ends]


def _scales(ends: Sequence[Scale]) -> list[Scale]:
    """The colour scale of each sample, from its smallest and largest value: if any is below zero,
    white is 0 in all.
    """
    reaches = [max(-low, high, 1e-12) for low, high in ends]
    shared = max(reaches) <= ALIKE_RATIO * min(reaches)
    if any(low < 0 for low, _ in ends):
        return [(-reach, reach) for reach in ([max(reaches)] * len(ends) if shared else reaches)]
    of_all = min(low for low, _ in ends), max(high for _, high in ends)
    return [of_all] * len(ends) if shared else list(ends)


def _draw(
    axis: Axes, values: Array, where: Extent, limits: Scale, positions: Array | None, unit: str
) -> ScalarMappable:
    axis.tick_params(labelsize=small())
    axis.locator_params(nbins=4)
    axis.spines[["top", "right"]].set_visible(True)
    edges = (where.left, where.right, where.bottom, where.top)
    colours = _colours(limits)
    if positions is None:
        axis.set_facecolor(NO_DATA)
        return axis.imshow(values, origin="lower", extent=edges, interpolation="nearest", **colours)
    axis.set(xlim=edges[:2], ylim=edges[2:], aspect="equal")
    x, y = positions.T
    longest = float(np.hypot(values[0], values[1]).max()) if values.ndim == 2 else 0.0
    if longest > 0:
        # Arrows of horizontal displacements, the longest of which is a quarter of the panel.
        scale = longest / (0.25 * (where.right - where.left))
        style: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": scale}
        axis.quiver(x, y, values[0], values[1], **style, width=0.012, zorder=2)
        words = f"longest arrow {longest:.2g} {unit}"
        axis.text(0.03, 0.03, words, transform=axis.transAxes, fontsize=small())
    marks: dict[str, Any] = {"edgecolors": "0.3", "linewidths": 0.4, "zorder": 3}
    size = SMALLEST_MARK + LARGEST_MARK / len(positions)
    coloured = values[-1] if values.ndim == 2 else values
    return axis.scatter(x, y, s=size, c=coloured, **marks, **colours)


def _colours(limits: Scale) -> dict[str, Any]:
    return {
        "cmap": "RdBu_r" if limits[0] == -limits[1] else "viridis",
        "vmin": limits[0],
        "vmax": limits[1],
    }


def _bar(axis: Axes, image: ScalarMappable, words: str) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    plain = ScalarFormatter(useOffset=False)
    plain.set_scientific(False)
    bar = axis.figure.colorbar(
        image,
        cax=axis.inset_axes((1.05, 0, 0.06, 1)),
        ticks=MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]),
        format=plain,
    )
    bar.set_label(words, fontsize=small())
    bar.ax.tick_params(labelsize=small())


# Images over one variable or two, side by side: how an image depends on what made it.

GRID_SIDE = 1.1
"""Side of one of several images [inch]."""

SINGLE_SIDE = 4.5
"""Side of a single one."""


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
    what: str,
    title: str,
) -> Figure:
    """A panel per image: the first variable from left to right, the second upwards. Each has its
    own colour scale, and its largest value beside it: images of shallow and deep sources differ by
    orders of magnitude.

    images  (first variable, second variable, y, x), with one value of a variable that is not among
            `sides`; NaN where nothing is seen, or no source is possible
    sides   the variables, at most two
    extent  edges of the images [km]; None if their pixels differ
    what    what the images show, with its unit
    """
    if len(sides) == 1:  # the leading length of one stands for the missing second variable
        images = images.transpose(1, 0, 2, 3)
    columns, rows = images.shape[:2]
    signed = bool((images < 0).any())  # then white is 0 in all of them, as it is in samples
    size = SINGLE_SIDE if columns * rows == 1 else GRID_SIDE
    height = size + (0.5 if size == SINGLE_SIDE else 1.3 / rows)
    figure, grid = subplots(rows, columns, max(size + 1.0 / columns, 5.0 / columns), height)
    for row in range(rows):
        for column in range(columns):
            axis = grid[rows - 1 - row][column]
            values = images[column, row]
            axis.set_facecolor(NO_DATA)
            ends = _ends([[values]])
            reach = max(-ends[0][0], ends[0][1], 1e-12)
            colours = _colours((-reach, reach) if signed else ends[0])
            drawn = axis.imshow(
                values, origin="lower", extent=extent, interpolation="nearest", **colours
            )
            axis.spines[["top", "right"]].set_visible(True)
            if size == SINGLE_SIDE:
                figure.colorbar(drawn, ax=axis, shrink=0.8).set_label(what)
                axis.set(xlabel="x (km)", ylabel="y (km)")
                continue
            axis.set(xticks=[], yticks=[])
            largest = max(ends[0], key=abs)
            words = printed(f"{largest:#.2g}".rstrip("."))
            words = words if np.isfinite(values).any() else "impossible"
            axis.set_title(words, fontsize=small(), pad=2)
            if row == 0 and sides:
                axis.set_xlabel(printed(brief(sides[0].values[column])), fontsize=small())
            if column == 0 and len(sides) > 1:
                axis.set_ylabel(printed(brief(sides[1].values[row])), fontsize=small())
    if size != SINGLE_SIDE:
        figure.supxlabel(label(sides[0].words, sides[0].unit), fontsize=sized(10))
        if len(sides) > 1:
            figure.supylabel(label(sides[1].words, sides[1].unit), fontsize=sized(10))
    words = f"each image has its own colours, above it its largest {what}"
    add_title(figure, title, caption=words if size != SINGLE_SIDE else "")
    return figure


# Figures of runs: estimates of the test samples.

TEST_ESTIMATES = "test_estimates"
"""Name of the figure, and of its files."""


def estimates(directory: RunDirectory) -> Pictures:
    """Estimates against true values, a panel per output with the identity line.

    With the widest intervals of posteriors that are kept, and the mean absolute error of exact
    posterior medians, where they are known.
    """
    predictions = table(directory.results / TEST_PREDICTIONS)
    limit = limit_of(directory)
    limits = (
        {} if limit is None else {name: variable.mae for name, variable in limit.variables.items()}
    )
    title = f"{with_caution(directory.name, directory.record().caution)}: {directory.part} part"
    if names := outputs(directory, predictions):
        yield FIGURES_FOLDER / TEST_ESTIMATES, of_estimates(predictions, names, limits, title)
    if (directory.results / TEST_IMAGES).exists():
        views = [
            view.get("name", "") for view in directory.training_spec()["dataset"].get("views", [])
        ]
        images = table(directory.results / TEST_IMAGES)
        yield from _of_images(images, outputs(directory, images), views, title)


def _of_images(
    images: xarray.Dataset, names: Sequence[str], views: Sequence[str], title: str
) -> Pictures:
    """Test samples of median and of largest error: truths, estimates, differences; images of one
    size in one figure. Stations and vectors are none.
    """
    pictured = [name for name in names if min(images[name].shape[-2:]) > 1]
    for (height, width), group in groupby(pictured, lambda name: images[name].shape[-2:]):
        shown = list(group)
        truths, estimates, units = {}, {}, {}
        error = np.zeros(images.sizes["sample"])
        for name in shown:
            words = in_words(name, views)
            truth, estimate = (values[:, 0] for values in truth_and_estimate(images, name))
            truths[words], estimates[words], units[words] = truth, estimate, unit(images, name)
            error = error + np.square(estimate - truth).mean(axis=(1, 2))
        order = np.argsort(error)
        wide, high = images[shown[0]].attrs[PIXEL]
        x = None if np.isnan(wide) else (np.arange(width) - width / 2) * wide
        y = None if np.isnan(high) else (np.arange(height) - height / 2) * high
        where = extent(x, y, (height, width))
        for rank, number in {"median": order[len(order) // 2], "largest": order[-1]}.items():
            true = {words: values[number] for words, values in truths.items()}
            estimated = {words: values[number] for words, values in estimates.items()}
            words = f"{title}, sample {number}, whose error is the {rank}"
            (figure,) = draw_moments([Moment(words, true, estimated)], units, (), where)
            yield FIGURES_FOLDER / f"test_{shown[0]}_{rank}", figure


def of_estimates(
    predictions: xarray.Dataset, names: Sequence[str], limits: Mapping[str, float], title: str
) -> Figure:
    """A panel per output; `limits` has the least mean absolute errors, where they are known."""
    more = 0.2 * (narrow() and len(names) > 2)  # for a further line above and below smaller panels
    figure, axes = panels(
        len(names), 3.9, 4.0 + more, top=0.8 + more, square=True, row_gap=0.95 + more
    )
    every = predictions
    for axis, name in zip(axes, names, strict=True):
        predictions = every.isel(sample=every[name].notnull().values)  # those that have the output
        (truth, estimate), in_unit = truth_and_estimate(predictions, name), unit(predictions, name)
        heading = []
        drawn = [truth, estimate]
        if quantile_of(name) in predictions:
            low, high = (predictions[quantile_of(name)].values[:, end] for end in (0, -1))
            axis.vlines(truth, low, high, color=COLOURS[0], alpha=0.25, linewidth=0.8, zorder=1.5)
            share = f"{100 * np.mean((low <= truth) & (truth <= high)):.0f} %"
            texts = f"{share} of truths inside the lines", f"{share} inside"
            heading = [fitting(axis, *texts, size=9)]
            drawn += [low, high]
        axis.scatter(truth, estimate, s=7, color=COLOURS[0], alpha=0.5, linewidths=0, zorder=2)
        make_equal(axis, drawn, logarithmic=True)
        words = [with_unit(text, typeset(in_unit)) for text in (in_words(name), in_symbols(name))]
        axis.set_xlabel(fitting(axis, *(f"true {text}" for text in words)))
        axis.set_ylabel(fitting(axis, *(f"estimated {text}" for text in words), upright=True))
        mean_error = float(np.mean(np.abs(estimate.astype(np.float64) - truth)))
        error = quantity_in_words(mean_error, in_unit)
        bound = f" (limit {limits[name]:.3g})" if name in limits else ""
        texts = f"mean |error| {error}{bound}", f"MAE {error}{bound}"
        heading.insert(0, fitting(axis, *texts, size=9))
        axis.set_title("\n".join(heading), fontsize=sized(9), y=TITLE)
    explained = []
    if any(quantile_of(name) in predictions for name in names):
        explained.append("lines: 90 % intervals")
    make_room(figure, bottom=sized(0.17) * any("\n" in axis.get_xlabel() for axis in axes))
    if scales_differ(*(axis.xaxis for axis in axes)):
        pairs = zip(axes, names, strict=True)
        logarithmic = [in_words(name) for axis, name in pairs if axis.get_xscale() == "log"]
        explained.append(f"{LOGARITHMIC}: {', '.join(logarithmic)}")
    add_title(figure, title, caption="; ".join(explained))
    return figure


FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    TEST_ESTIMATES: estimates,
    **CALIBRATION_FIGURES,
    "matrix": matrix,
}

"""Figures of simulated images: samples, estimates of the test samples, calibrations."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.outputs import quantile_of
from qexp.base.quantities import base_name, brief, in_symbols, in_words, label, quantity_in_words, typeset, with_unit
from qexp.figures.canvas import (
    COLOURS,
    GROWN,
    LOGARITHMIC,
    SHRUNK,
    TITLE,
    TOGETHER,
    add_title,
    characters,
    exact,
    fitting,
    folded,
    legend_below,
    make_room,
    narrow,
    page_width,
    panel_grid,
    panels,
    place_of,
    scales_differ,
    share_below,
    sized,
    small,
    subplots,
    wrap,
)
from qexp.figures.estimates import make_equal
from qexp.figures.fields import NO_DATA, Extent
from qexp.kinds.figures import (
    FIGURES_FOLDER,
    FigureOfRun,
    MissingNumbersError,
    Pictures,
    learning_curve,
    outputs,
    table,
    truth_and_estimate,
    unit,
)
from qexp.kinds.images import matrix_figures
from qexp.kinds.images.matrix_figures import HATCHES
from qexp.metrics.meaning import printed
from qexp.results.calibration import FEW, HEAD, Calibration, calibrations_of, name_of_file
from qexp.results.limit import limit_of
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory, with_caution

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure


# Samples of images with the values that made them.

Array = NDArray[np.floating]
Scale = tuple[float, float]
"""The values at the lower and upper end of the colours."""

SIDE, GAP, ACROSS, DOWN = 1.8, 0.36, 0.95, 0.5
"""Side of a panel, and distances between panels: with one colour scale, with a colour bar beside each, and down
[inch]."""

IN_A_ROW, CROWDED = 3, 0.4
"""Panels in a row; and how much narrower they become in a narrow figure of more than two samples."""

SIGNED = 0.2
"""Size of the values of one sign relative to those of the other above which colours are centred at zero."""

ALIKE = 4.0
"""Factor between the largest and the smallest of the images' extremes up to which they share a colour scale."""

SMALLEST_MARK, LARGEST_MARK = 4.0, 200.0
"""Area of the mark of one of very many scattered points, and what is shared by all of them [point²]."""


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
    scales = _scales(_ends([list(sample.images.values()) for sample in samples]))
    alike, extents = len(set(scales)) == 1, {where for sample in samples for where in sample.extents.values()}
    across = GAP if alike else ACROSS
    least = (CROWDED if narrow() and len(samples) > 2 else SHRUNK) * (sized(SIDE) if exact() else SIDE)
    fitting = int((page_width() - sized(1.7 - across)) / (sized(across) + least))
    # Images of a sample stay side by side.
    beside = max(1, min(fitting, max(IN_A_ROW, len(names)), len(names) * len(samples)) // len(names))
    columns = len(names) * -(-len(samples) // -(-len(samples) // beside))  # evenly over the rows
    widest = (GROWN * sized(SIDE) if exact() else SIDE) + sized(across)
    room = characters(inches=min((page_width() - sized(1.7)) / columns, widest) - sized(0.1))
    headings = [_lines(sample.values, room) for sample in samples]
    longest = max(wrap(in_words(name, views), room).count("\n") + 1 for name in names) if each else 0
    above = 0.16 * (max(map(len, headings)) + longest)
    figure, axes = panel_grid(
        len(names) * len(samples), columns, SIDE, SIDE, across, DOWN + above, right=1.0, top=0.42 + above, fold=False,
        square=True,
    )  # fmt: skip
    for row, (sample, scale) in enumerate(zip(samples, scales, strict=True)):
        of_sample = axes[len(names) * row : len(names) * (row + 1)]
        for name, axis in zip(names, of_sample, strict=True):
            image = _draw(
                axis, sample.images[name], sample.extents[name], scale, sample.positions.get(name), units[name]
            )
            heading = headings[row] if axis is of_sample[0] else [""] * len(headings[row])
            below = [wrap(in_words(name, views), room)] * each
            axis.set_title("\n".join([*heading, *below]), fontsize=small(), pad=sized(8))
            first, lowest = place_of(axis, len(axes))
            if first:
                axis.set_ylabel(f"y ({sample.extents[name].unit})", fontsize=small())
            if lowest:
                axis.set_xlabel(f"x ({sample.extents[name].unit})", fontsize=small())
            axis.tick_params(labelleft=first or len(extents) > 1)
        if not alike or row == min(len(samples), columns // len(names)) - 1:
            _bar(of_sample[-1], image, label(base_name(names[0]), units[names[0]]))
    colours = "one colour scale" if alike else "each sample has its own colour scale"
    grids = [image for sample in samples for name, image in sample.images.items() if name not in sample.positions]
    hidden = any(np.isnan(image).any() for image in grids)
    add_title(figure, f"{title}; {colours}{'; grey: not seen' if hidden else ''}")
    return figure


def _lines(values: Sequence[str], room: int) -> list[str]:
    """The values in lines of so many characters, that fit above a panel; none is broken if it fits into one."""
    text = ", ".join(
        value.replace(" ", "\u00a0") if len(value) <= room else TOGETHER.sub("\u00a0", value) for value in values
    )
    return textwrap.wrap(text, room, break_long_words=False) or [""]


def _ends(samples: Sequence[Sequence[Array]]) -> list[Scale]:
    """The smallest and largest value of each sample; those of another for a sample of which nothing is seen."""
    values_of = [np.concatenate([image[np.isfinite(image)] for image in images]) for images in samples]
    ends = [(float(values.min()), float(values.max())) if len(values) else None for values in values_of]
    other = next((scale for scale in ends if scale is not None), (0.0, 1.0))
    return [other if scale is None else scale for scale in ends]


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
    axis.tick_params(labelsize=small())
    axis.locator_params(nbins=4)
    axis.spines[["top", "right"]].set_visible(True)
    edges, colours = (where.left, where.right, where.bottom, where.top), _colours(limits)
    if positions is None:
        axis.set_facecolor(NO_DATA)
        return axis.imshow(values, origin="lower", extent=edges, interpolation="nearest", **colours)
    axis.set(xlim=edges[:2], ylim=edges[2:], aspect="equal")
    x, y = positions.T
    if values.ndim == 2 and (longest := float(np.hypot(values[0], values[1]).max())) > 0:
        # Arrows of horizontal displacements, the longest of which is a quarter of the panel.
        scale = longest / (0.25 * (where.right - where.left))
        axis.quiver(x, y, values[0], values[1], angles="xy", scale_units="xy", scale=scale, width=0.012, zorder=2)
        words = f"longest arrow {longest:.2g} {unit}"
        axis.text(0.03, 0.03, words, transform=axis.transAxes, fontsize=small())
    marks: dict[str, Any] = {"edgecolors": "0.3", "linewidths": 0.4, "zorder": 3}
    size = SMALLEST_MARK + LARGEST_MARK / len(positions)
    return axis.scatter(x, y, s=size, c=values[-1] if values.ndim == 2 else values, **marks, **colours)


def _colours(limits: Scale) -> dict[str, Any]:
    return {"cmap": "RdBu_r" if limits[0] == -limits[1] else "viridis", "vmin": limits[0], "vmax": limits[1]}


def _bar(axis: Axes, image: ScalarMappable, words: str) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    plain = ScalarFormatter(useOffset=False)
    plain.set_scientific(False)
    bar = axis.figure.colorbar(
        image, cax=axis.inset_axes((1.05, 0, 0.06, 1)), ticks=MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]), format=plain
    )
    bar.set_label(words, fontsize=small())
    bar.ax.tick_params(labelsize=small())


# Images over one variable or two, side by side: how an image depends on what made it.

GRID_SIDE = 1.1
"""Side of one of several images [inch]."""

ALONE = 4.5
"""Side of a single one."""

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
    what: str,
    title: str,
) -> Figure:
    """A panel per image: the first variable from left to right, the second upwards. Each has its own colour scale, and
    its largest value beside it: images of shallow and deep sources differ by orders of magnitude.

    images  (first variable, second variable, y, x), with one value of a variable that is not among `sides`; NaN where
            nothing is seen, or no source is possible
    sides   the variables, at most two
    extent  edges of the images [km]; None if their pixels differ
    what    what the images show, with its unit
    """
    if len(sides) == 1:  # the leading length of one stands for the missing second variable
        images = images.transpose(1, 0, 2, 3)
    columns, rows = images.shape[:2]
    signed = bool((images < 0).any())  # then white is 0 in all of them, as it is in samples
    size = ALONE if columns * rows == 1 else GRID_SIDE
    above = 0.5 if size == ALONE else 1.3 / rows
    figure, grid = subplots(rows, columns, max(size + 1.0 / columns, 5.0 / columns), size + above)
    for row in range(rows):
        for column in range(columns):
            axis, values = grid[rows - 1 - row][column], images[column, row]
            axis.set_facecolor(NO_DATA)
            ends = _ends([[values]])
            reach = max(-ends[0][0], ends[0][1], 1e-12)
            colours = _colours((-reach, reach) if signed else ends[0])
            drawn = axis.imshow(values, origin="lower", extent=extent, interpolation="nearest", **colours)
            axis.spines[["top", "right"]].set_visible(True)
            if size == ALONE:
                bar = figure.colorbar(drawn, ax=axis, shrink=0.8)
                bar.set_label(what)
                axis.set(xlabel="x (km)", ylabel="y (km)")
                continue
            axis.set(xticks=[], yticks=[])
            largest = max(ends[0], key=abs)
            words = printed(f"{largest:#.2g}".rstrip(".")) if np.isfinite(values).any() else "impossible"
            axis.set_title(words, fontsize=small(), pad=2)
            if row == 0 and sides:
                axis.set_xlabel(printed(brief(sides[0].values[column])), fontsize=small())
            if column == 0 and len(sides) > 1:
                axis.set_ylabel(printed(brief(sides[1].values[row])), fontsize=small())
    if size != ALONE:
        figure.supxlabel(label(sides[0].words, sides[0].unit), fontsize=sized(10))
        if len(sides) > 1:
            figure.supylabel(label(sides[1].words, sides[1].unit), fontsize=sized(10))
        title += f"; each image has its own colours, above it its largest {what}"
    figure.suptitle(wrap(title, int(PER_INCH * figure.get_figwidth())), fontsize=sized(10))
    return figure


# Calibration of posteriors: ranks, coverage, and where intervals are too narrow, from `results/calibration*.nc`.

BAND, LINE = "0.85", "0.55"

WIDTH, HEIGHT = 3.6, 3.3
"""Of a panel with its margins [inch]."""

MOST_TICKS = 8

NARROW, WIDE = "▼", "▲"
"""Marks of cells whose intervals are too narrow, or too wide, beyond chance."""

DARK = 0.15
"""Difference from the right coverage below which cells are dark."""

SHOWN = 0.25
"""Difference from the right coverage at the end of the scale of colours."""

CELLS = {"estimate": "estimated", "truth": "true"}

GREY = "grey: where 95 % of calibrated posteriors stay"

REGIONS = {"density_level_share": "highest density", "ball_level_share": "balls around random points"}


def ranks(title: str, names: Sequence[str], numbers: xarray.Dataset) -> Figure:
    """Distribution functions of the ranks of true values, minus that of uniform ones: a panel per output."""
    lines = {in_words(name): {"": numbers[f"{name}_position_share"].values} for name in names}
    words = "rank: share of samples\nbelow the truth", "share of ranks − uniform"
    return _differences(lines, numbers, title, words)


def coverage(title: str, names: Sequence[str], numbers: xarray.Dataset) -> Figure:
    """Shares of true values inside intervals of each output, and inside regions of all, minus their probability."""
    levels = {f"intervals of {in_words(name)}": {"": numbers[f"{name}_level_share"].values} for name in names}
    if len(names) > 1:
        levels["regions of all"] = {words: numbers[key].values for key, words in REGIONS.items() if key in numbers}
    words = "probability", "share inside − probability"
    return _differences(levels, numbers, title, words, (("too wide", 0.97, "top"), ("too narrow", 0.03, "bottom")))


def _differences(
    panels: Mapping[str, Mapping[str, Array]],
    numbers: xarray.Dataset,
    title: str,
    words: tuple[str, str],
    corners: Sequence[tuple[str, float, str]] = (),
) -> Figure:
    """Distribution functions minus the uniform one, each panel with their simultaneous band and on the same scale.

    panels   title of a panel → name of a line → share at each point of the band
    words    beside the axes
    corners  what lines far above and below zero mean: words, height, and side of these that is there
    """
    figure, axes = folded(len(panels), WIDTH, HEIGHT, shared=True)
    points, *band = (numbers[name].values for name in ("point", "lower", "upper"))
    drawn = [*band, *(share for lines in panels.values() for share in lines.values())]
    most = 1.5 * max(np.abs(share - points).max() for share in drawn)
    ends = np.concatenate([[0.0], points, [1.0]])
    low, high = (np.concatenate([[0.0], share - points, [0.0]]) for share in band)
    for axis, (heading, lines) in zip(axes, panels.items(), strict=True):
        axis.fill_between(ends, low, high, color=BAND, linewidth=0, zorder=0)
        axis.axhline(0, color=LINE, linewidth=1, zorder=1)
        for colour, (name, share) in zip(COLOURS, lines.items(), strict=False):
            axis.plot(points, share - points, color=colour, linewidth=1.6, zorder=2, label=name or None)
        axis.set(xlim=(0, 1), ylim=(-most, most))
        axis.set_title(heading, fontsize=sized(10))
        axis.set_xlabel(words[0])
        if place_of(axis, len(panels))[0]:
            axis.set_ylabel(fitting(axis, words[1], upright=True))
        for text, height, side in corners:
            axis.text(0.97, height, text, transform=axis.transAxes, ha="right", va=side, fontsize=small(), color=LINE)
        if len(lines) > 1:
            legend_below(figure, axis)
    share_below(axes)
    add_title(figure, f"{title}; {GREY}")
    return figure


@dataclass(frozen=True)
class LocalPanel:
    """The coverage of an output's intervals in cells, over one axis or two."""

    axes: Sequence[str]
    edges: Sequence[Array]
    """Of the cells along each axis, in the axis's unit; drawn at equal distances."""
    share: Array
    """NaN where there are few observations."""
    wrong: NDArray[np.int64]
    """-1 where intervals are too narrow, 1 where they are too wide beyond chance."""


def local(title: str, names: Sequence[str], numbers: xarray.Dataset) -> Figure:
    """Shares of true values inside 90 % intervals, in cells of estimates and of true values: a row per output."""
    probability, units = float(numbers.attrs["interval"]), {name: unit(numbers, name) for name in names}
    explained = dict[str, bool]()
    figure, grid = subplots(len(names), len(CELLS), *((2.2, 2.7) if narrow() else (4.2, 3.4)))
    image = None
    for name, row in zip(names, grid, strict=True):
        for (kind, words), axis in zip(CELLS.items(), row, strict=True):
            count, inside, wrong = (numbers[f"{name}_{kind}_{what}"] for what in ("count", "inside", "wrong"))
            share = np.where(count.values < FEW, np.nan, inside.values / np.maximum(count.values, 1))
            edges = [numbers[f"{dim}_edge"].values for dim in count.dims]
            axes = [str(dim).removeprefix(f"{name}_cell_") for dim in count.dims]
            panel = LocalPanel(axes, edges, share, wrong.values)
            if len(axes) == 2:
                image = _plane(axis, panel, words, units, probability)
            else:
                _line(axis, panel, words, units, probability)
            heading = (f"{of(name)}: by {words} values" for of in (in_words, in_symbols))
            axis.set_title(fitting(axis, *heading), fontsize=sized(10))
            marks = {f"{NARROW} too narrow beyond chance": wrong < 0, f"{WIDE} too wide beyond chance": wrong > 0}
            for text, cells in {**marks, "hatched: too few observations": np.isnan(share)}.items():
                explained[text] = explained.get(text, False) or bool(np.asarray(cells).any())
    if image is not None:  # the colours of all are the same
        bar = figure.colorbar(image, ax=[axis for row in grid for axis in row], extend="min")
        bar.ax.set_ylim(probability - SHOWN, 1.0)
        bar.set_label(f"share of {100 * probability:g} % intervals with the truth", fontsize=small())
        bar.ax.tick_params(labelsize=small())
    rule = "calibrated posteriors hold the truth equally often wherever estimates lie, but not for every true value"
    add_title(figure, "; ".join([title, rule, *(text for text, occurs in explained.items() if occurs)]))
    return figure


def _plane(axis: Axes, panel: LocalPanel, words: str, units: Mapping[str, str], probability: float) -> ScalarMappable:
    few = np.isnan(panel.share)
    axis.patch.set(hatch="////", edgecolor=HATCHES)
    number = len(panel.share)
    image = axis.imshow(
        panel.share.T, origin="lower", extent=(0, number, 0, number), cmap="PuOr", aspect="auto",
        vmin=probability - SHOWN, vmax=probability + SHOWN,
    )  # fmt: skip
    for column, row in np.argwhere((panel.wrong != 0) & ~few):
        colour = "white" if panel.share[column, row] < probability - DARK else "black"
        mark = NARROW if panel.wrong[column, row] < 0 else WIDE
        axis.text(column + 0.5, row + 0.5, mark, color=colour, ha="center", va="center", fontsize=small())
    both: tuple[XAxis | YAxis, ...] = (axis.xaxis, axis.yaxis)
    for ticked, name, edges in zip(both, panel.axes, panel.edges, strict=True):
        _tick(ticked, edges)
        called = (f"{words} {with_unit(of(name), typeset(units[name]))}" for of in (in_words, in_symbols))
        ticked.set_label_text(fitting(axis, *called, upright=ticked is axis.yaxis))
        ticked.set_tick_params(labelsize=small())
    axis.spines[["top", "right"]].set_visible(True)
    return image


def _line(axis: Axes, panel: LocalPanel, words: str, units: Mapping[str, str], probability: float) -> None:
    (edges,), number = panel.edges, len(panel.share)
    axis.bar(np.arange(number) + 0.5, np.nan_to_num(panel.share), width=0.92, color=COLOURS[0])
    for cell in np.flatnonzero(panel.wrong):
        mark = NARROW if panel.wrong[cell] < 0 else WIDE
        axis.text(cell + 0.5, panel.share[cell] - 0.02, mark, color="white", ha="center", va="top", fontsize=small())
    axis.axhline(probability, color=LINE, linewidth=1)
    for left in np.flatnonzero(np.isnan(panel.share)).tolist():
        axis.axvspan(left, left + 1, facecolor="none", edgecolor=HATCHES, hatch="////", linewidth=0)
    _tick(axis.xaxis, edges)
    axis.set(xlim=(0, number), ylim=(0, 1), xlabel=f"{words} {label(panel.axes[0], units[panel.axes[0]])}")
    axis.set_ylabel(fitting(axis, f"share of {100 * probability:g} % intervals with the truth", upright=True))


def _tick(axis: XAxis | YAxis, edges: Array) -> None:
    """Values at the edges of cells, at every second if there are many; the outer ones are ends of the prior."""
    inner = range(len(edges))[1 : -1 : 1 if len(edges) <= MOST_TICKS else 2]
    axis.set_ticks(inner, [f"{edges[edge]:.2g}".replace("-", "\N{MINUS SIGN}") for edge in inner])


def numbers_of(directory: RunDirectory, calibration: Calibration) -> xarray.Dataset:
    """The numbers that belong to a calibration. Raises MissingNumbersError if they are missing or of another one."""
    file = directory.results / name_of_file(calibration.kind, "nc")
    numbers = table(file)
    if numbers.attrs.get("created") != calibration.created:
        record = name_of_file(calibration.kind, "json")
        raise MissingNumbersError(f"{file} is of another calibration than {record}: qexp calibrate {directory.name}")
    return numbers


def title_of(directory: RunDirectory, calibration: Calibration) -> str:
    kind = "" if calibration.kind == HEAD else f" ({calibration.kind.replace('_', ', ')})"
    return f"{directory.name}{kind}: {calibration.draws:,} observations"


CALIBRATION_DRAWINGS = {
    "ranks of the true values": ranks,
    "true values in intervals and regions": coverage,
    "true values in intervals, by where they lie": local,
}


def _of_calibrations(draw: Callable[[str, Sequence[str], xarray.Dataset], Figure]) -> FigureOfRun:
    """A picture per calibration: `calibration_ranks`, of another kind than the head `calibration_refined_ranks`."""

    def pictures(directory: RunDirectory) -> Pictures:
        for calibration in calibrations_of(directory).values():
            kind = "" if calibration.kind == HEAD else f"{calibration.kind}_"
            figure = draw(
                title_of(directory, calibration), list(calibration.outputs), numbers_of(directory, calibration)
            )
            yield FIGURES_FOLDER / f"calibration_{kind}{draw.__name__}", figure

    return pictures


CALIBRATION_FIGURES: Mapping[str, FigureOfRun] = {
    f"calibration_{draw.__name__}": _of_calibrations(draw) for draw in CALIBRATION_DRAWINGS.values()
}

# Figures of runs on generated images: estimates of the test samples, and matrices.

TEST_ESTIMATES = "test_estimates"
"""Name of the figure, and of its files."""


def estimates(directory: RunDirectory) -> Pictures:
    """Estimates against true values, a panel per output with the identity line.

    With the widest intervals of posteriors that are kept, and the mean absolute error of exact posterior medians, where
    they are known.
    """
    predictions, limit = table(directory.results / TEST_PREDICTIONS), limit_of(directory)
    limits = {} if limit is None else {name: variable.mae for name, variable in limit.variables.items()}
    title = f"{with_caution(directory.name, directory.record().caution)}: {directory.part} part"
    yield FIGURES_FOLDER / TEST_ESTIMATES, of_estimates(predictions, limits, title)


def of_estimates(predictions: xarray.Dataset, limits: Mapping[str, float], title: str) -> Figure:
    """A panel per output; `limits` has the least mean absolute errors, where they are known."""
    names = outputs(predictions)
    more = 0.2 * (narrow() and len(names) > 2)  # for a further line above and below smaller panels
    figure, axes = panels(len(names), 3.9, 4.0 + more, top=0.8 + more, square=True, down=0.95 + more)
    for axis, name in zip(axes, names, strict=True):
        (truth, estimate), in_unit = truth_and_estimate(predictions, name), unit(predictions, name)
        inside, drawn = list[str](), [truth, estimate]
        if quantile_of(name) in predictions:
            low, high = (predictions[quantile_of(name)].values[:, end] for end in (0, -1))
            axis.vlines(truth, low, high, color=COLOURS[0], alpha=0.25, linewidth=0.8, zorder=1.5)
            share = f"{100 * np.mean((low <= truth) & (truth <= high)):.0f} %"
            inside = [fitting(axis, f"{share} of truths inside the lines", f"{share} inside", size=9)]
            drawn += [low, high]
        axis.scatter(truth, estimate, s=7, color=COLOURS[0], alpha=0.5, linewidths=0, zorder=2)
        make_equal(axis, drawn, logarithmic=True)
        words = [with_unit(of(name), typeset(in_unit)) for of in (in_words, in_symbols)]
        axis.set_xlabel(fitting(axis, *(f"true {text}" for text in words)))
        axis.set_ylabel(fitting(axis, *(f"estimated {text}" for text in words), upright=True))
        error = quantity_in_words(float(np.mean(np.abs(estimate.astype(np.float64) - truth))), in_unit)
        bound = f" (limit {limits[name]:.3g})" if name in limits else ""
        heading = fitting(axis, *(f"{words} {error}{bound}" for words in ("mean |error|", "MAE")), size=9)
        axis.set_title("\n".join([heading, *inside]), fontsize=sized(9), y=TITLE)
    explained = "; lines: 90 % intervals" if any(quantile_of(name) in predictions for name in names) else ""
    make_room(figure, below=sized(0.17) * any("\n" in axis.get_xlabel() for axis in axes))
    if scales_differ(*(axis.xaxis for axis in axes)):
        logarithmic = [in_words(name) for axis, name in zip(axes, names, strict=True) if axis.get_xscale() == "log"]
        explained += f"; {LOGARITHMIC}: {', '.join(logarithmic)}"
    add_title(figure, f"{title}{explained}")
    return figure


FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    TEST_ESTIMATES: estimates,
    **CALIBRATION_FIGURES,
    "matrix": matrix_figures.matrix,
}

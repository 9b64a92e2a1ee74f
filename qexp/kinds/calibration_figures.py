"""Figures of calibrations: ranks, coverage, and where intervals are too narrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.base.quantities import in_symbols, in_words, typeset, with_unit
from qexp.figures.canvas import (
    COLOURS,
    add_title,
    fitting,
    folded,
    legend_below,
    narrow,
    place_of,
    share_below,
    sized,
    small,
    subplots,
)
from qexp.kinds.figures import (
    FIGURES_FOLDER,
    FigureOfRun,
    MissingNumbersError,
    Pictures,
    table,
    unit,
)
from qexp.kinds.matrix_figures import HATCHES
from qexp.results.calibration import (
    FEW_OBSERVATIONS,
    HEAD,
    Calibration,
    calibrations_of,
    name_of_file,
)
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# From `results/calibration*.nc`.

BAND, LINE = "0.85", "0.55"

WIDTH, HEIGHT = 3.6, 3.3
"""Of a panel with its margins [inch]."""

MOST_TICKS = 8

NARROW, WIDE = "▼", "▲"
"""Marks of cells whose intervals are too narrow, or too wide, beyond chance."""

DARK_DIFFERENCE = 0.15
"""Difference from the right coverage below which cells are dark."""

SHOWN_DIFFERENCE = 0.25
"""Difference from the right coverage at the end of the scale of colours."""

CELLS = {"estimate": "estimated", "truth": "true"}

GREY = "grey: where 95 % of calibrated posteriors stay"

REGIONS = {
    "density_level_share": "highest density",
    "ball_level_share": "balls around random points",
}


def ranks(title: str, names: Sequence[str], numbers: xarray.Dataset) -> Figure:
    """Distribution functions of ranks, minus that of uniform ones: a panel per output."""
    lines = {in_words(name): {"": numbers[f"{name}_position_share"].values} for name in names}
    words = "rank: share of samples\nbelow the truth", "share of ranks − uniform"
    return _differences(lines, numbers, title, words)


def coverage(title: str, names: Sequence[str], numbers: xarray.Dataset) -> Figure:
    """Shares in intervals of each output and in regions of all, minus their probability."""
    levels = {}
    for name in names:
        levels[f"intervals of {in_words(name)}"] = {"": numbers[f"{name}_level_share"].values}
    if len(names) > 1:
        known = [key for key in REGIONS if key in numbers]
        levels["regions of all"] = {REGIONS[key]: numbers[key].values for key in known}
    words = "probability", "share inside − probability"
    corners = ("too wide", 0.97, "top"), ("too narrow", 0.03, "bottom")
    return _differences(levels, numbers, title, words, corners)


def _differences(
    panels: Mapping[str, Mapping[str, Array]],
    numbers: xarray.Dataset,
    title: str,
    words: tuple[str, str],
    corners: Sequence[tuple[str, float, str]] = (),
) -> Figure:
    """Distribution functions minus the uniform one, each panel with their simultaneous band and on
    the same scale.

    panels   title of a panel → name of a line → share at each point of the band
    words    beside the axes
    corners  what lines far above and below zero mean: words, height, and side of these that is
             there
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
            axis.plot(
                points, share - points, color=colour, linewidth=1.6, zorder=2, label=name or None
            )
        axis.set(xlim=(0, 1), ylim=(-most, most))
        axis.set_title(heading, fontsize=sized(10))
        axis.set_xlabel(words[0])
        if place_of(axis, len(panels))[0]:
            axis.set_ylabel(fitting(axis, words[1], upright=True))
        for text, height, side in corners:
            look: dict[str, Any] = {"ha": "right", "va": side, "fontsize": small(), "color": LINE}
            axis.text(0.97, height, text, transform=axis.transAxes, **look)
        if len(lines) > 1:
            legend_below(figure, axis)
    share_below(axes)
    add_title(figure, title, caption=GREY)
    return figure


def local(title: str, names: Sequence[str], numbers: xarray.Dataset) -> Figure:
    """Shares in 90 % intervals, in cells of estimates and of true values: a row per output."""
    probability = float(numbers.attrs["interval"])
    units = {name: unit(numbers, name) for name in names}
    explained: dict[str, bool] = {}
    headings: dict[Axes, list[str]] = {}
    figure, grid = subplots(len(names), len(CELLS), *((2.2, 2.7) if narrow() else (4.2, 3.4)))
    image = None
    for name, row in zip(names, grid, strict=True):
        for (kind, words), axis in zip(CELLS.items(), row, strict=True):
            count = numbers[f"{name}_{kind}_count"]
            wrong = numbers[f"{name}_{kind}_wrong"]
            share = numbers[f"{name}_{kind}_inside"].values / np.maximum(count.values, 1)
            share = np.where(count.values < FEW_OBSERVATIONS, np.nan, share)
            edges: Edges = []
            for dim in map(str, count.dims):
                output = dim.removeprefix(f"{name}_cell_")
                called = []
                for written in (in_words, in_symbols):
                    axis_words = with_unit(written(output), typeset(units[output]))
                    called.append(f"{words} {axis_words}")
                edges.append((called, numbers[f"{dim}_edge"].values))
            if len(edges) == 2:
                image = _plane(axis, edges, share, wrong.values, probability)
            else:
                _line(axis, edges, share, wrong.values, probability)
            by_values = f": by {words} values"
            headings[axis] = [in_words(name) + by_values, in_symbols(name) + by_values]
            marks = {
                f"{NARROW} too narrow beyond chance": wrong < 0,
                f"{WIDE} too wide beyond chance": wrong > 0,
            }
            for text, cells in {**marks, "hatched: too few observations": np.isnan(share)}.items():
                explained[text] = explained.get(text, False) or bool(np.asarray(cells).any())
    if image is not None:  # the colours of all are the same
        bar = figure.colorbar(image, ax=[axis for row in grid for axis in row], extend="min")
        bar.ax.set_ylim(probability - SHOWN_DIFFERENCE, 1.0)
        bar.set_label(
            f"share of {100 * probability:g} % intervals with the truth", fontsize=small()
        )
        bar.ax.tick_params(labelsize=small())
        # the bar has taken room from the panels, into which their headings must fit
        figure.draw_without_rendering()
    for axis, heading in headings.items():
        axis.set_title(fitting(axis, *heading), fontsize=sized(10))
    rule = (
        "calibrated posteriors hold the truth equally often wherever estimates lie, but not for"
        " every true value"
    )
    notes = [rule, *(text for text, occurs in explained.items() if occurs)]
    add_title(figure, title, caption="; ".join(notes))
    return figure


Edges = list[tuple[list[str], Array]]
"""What an axis is called, long and short, and its cells' edges, drawn at equal distances."""


def _plane(
    axis: Axes, edges: Edges, share: Array, wrong: NDArray[np.int64], probability: float
) -> ScalarMappable:
    axis.patch.set(hatch="////", edgecolor=HATCHES)
    number = len(share)
    low = probability - SHOWN_DIFFERENCE
    high = probability + SHOWN_DIFFERENCE
    drawn: dict[str, Any] = {"origin": "lower", "extent": (0, number, 0, number), "aspect": "auto"}
    image = axis.imshow(share.T, "PuOr", vmin=low, vmax=high, **drawn)
    for column, row in np.argwhere((wrong != 0) & ~np.isnan(share)):
        colour = "white" if share[column, row] < probability - DARK_DIFFERENCE else "black"
        mark = NARROW if wrong[column, row] < 0 else WIDE
        look: dict[str, Any] = {
            "color": colour,
            "ha": "center",
            "va": "center",
            "fontsize": small(),
        }
        axis.text(column + 0.5, row + 0.5, mark, **look)
    both: tuple[XAxis | YAxis, ...] = (axis.xaxis, axis.yaxis)
    for ticked, (called, ends) in zip(both, edges, strict=True):
        _tick(ticked, ends)
        ticked.set_label_text(fitting(axis, *called, upright=ticked is axis.yaxis))
        ticked.set_tick_params(labelsize=small())
    axis.spines[["top", "right"]].set_visible(True)
    return image


def _line(
    axis: Axes, edges: Edges, share: Array, wrong: NDArray[np.int64], probability: float
) -> None:
    ((called, ends),), number = edges, len(share)
    axis.bar(np.arange(number) + 0.5, np.nan_to_num(share), width=0.92, color=COLOURS[0])
    for cell in np.flatnonzero(wrong):
        mark = NARROW if wrong[cell] < 0 else WIDE
        look: dict[str, Any] = {"color": "white", "ha": "center", "va": "top", "fontsize": small()}
        axis.text(cell + 0.5, share[cell] - 0.02, mark, **look)
    axis.axhline(probability, color=LINE, linewidth=1)
    for left in np.flatnonzero(np.isnan(share)).tolist():
        axis.axvspan(
            left,
            left + 1,
            facecolor="none",
            edgecolor=HATCHES,
            hatch="////",
            linewidth=0,
        )
    _tick(axis.xaxis, ends)
    axis.set(xlim=(0, number), ylim=(0, 1), xlabel=called[0])
    axis.set_ylabel(
        fitting(axis, f"share of {100 * probability:g} % intervals with the truth", upright=True)
    )


def _tick(axis: XAxis | YAxis, edges: Array) -> None:
    """Values at edges of cells, at every second if many; outer ones are ends of the prior."""
    inner = range(len(edges))[1 : -1 : 1 if len(edges) <= MOST_TICKS else 2]
    axis.set_ticks(inner, [f"{edges[edge]:.2g}".replace("-", "\N{MINUS SIGN}") for edge in inner])


def content_of(
    directory: RunDirectory, calibration: Calibration
) -> tuple[str, Sequence[str], xarray.Dataset]:
    """What each drawing of a calibration takes: a title, the outputs, and its numbers.

    Raises MissingNumbersError if the numbers are missing or of another calibration.
    """
    file = directory.results / name_of_file(calibration.kind, "nc")
    numbers = table(file)
    if numbers.attrs.get("created") != calibration.created:
        record = name_of_file(calibration.kind, "json")
        raise MissingNumbersError(
            f"{file} is of another calibration than {record}: qexp calibrate {directory.name}"
        )
    kind = "" if calibration.kind == HEAD else f" ({calibration.kind.replace('_', ', ')})"
    title = f"{directory.name}{kind}: {calibration.observations:,} observations"
    return title, list(calibration.outputs), numbers


CALIBRATION_DRAWINGS = {
    "ranks of the true values": ranks,
    "true values in intervals and regions": coverage,
    "true values in intervals, by where they lie": local,
}


def _of_calibrations(draw: Callable[[str, Sequence[str], xarray.Dataset], Figure]) -> FigureOfRun:
    """A picture per calibration: `calibration_ranks`, `calibration_refined_ranks`."""

    def pictures(directory: RunDirectory) -> Pictures:
        for calibration in calibrations_of(directory).values():
            kind = "" if calibration.kind == HEAD else f"{calibration.kind}_"
            yield (
                FIGURES_FOLDER / f"calibration_{kind}{draw.__name__}",
                draw(*content_of(directory, calibration)),
            )

    return pictures


CALIBRATION_FIGURES: Mapping[str, FigureOfRun] = {
    f"calibration_{draw.__name__}": _of_calibrations(draw) for draw in CALIBRATION_DRAWINGS.values()
}

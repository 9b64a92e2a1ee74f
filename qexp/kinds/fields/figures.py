"""Figures of fields: test frames, errors by the thickness of the ice, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base import formats
from qexp.base.outputs import estimate_of
from qexp.base.quantities import label, typeset, with_unit
from qexp.figures.canvas import (
    COLOURS,
    WIDTH_OF_CHARACTER,
    add_title,
    characters,
    columns_of,
    folded,
    panel_grid,
    share_below,
    sized,
    small,
    wrap,
)
from qexp.figures.fields import NO_DATA, Extent, Moment, draw_moments, limits_of, thinned
from qexp.kinds.fields.errors import in_words
from qexp.kinds.fields.spec import FIELD_ERRORS
from qexp.kinds.figures import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    learning_curve_of,
    outputs,
    table,
    unit,
)
from qexp.metrics.built_in import metric_in_words
from qexp.store.directory import FRAMES, RunDirectory

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Numbers = Sequence[float]

SHOWN = {"rmse": "s-", "mae": "o-", "bias": "^--"}
"""Metric → style of its line."""

LARGEST_ERROR = 200.0
"""Largest error that is shown [%]: where ice hardly moves, every error is larger."""


def errors_by_thickness(
    classes: Sequence[str],
    cells: Sequence[int],
    outputs: Mapping[str, Mapping[str, Numbers]],
    vectors: Mapping[str, Numbers],
    units: Mapping[str, str],
) -> Figure:
    """A panel per output with its metrics by class, and one for all vectors: mean error in percent
    of the mean length.

    classes  names of the classes, from thin to thick
    cells    number of cells in each class
    outputs  output → metric → a value per class, in the output's unit
    vectors  vector → percent per class
    """
    figure, axes = folded(
        len(outputs) + bool(vectors), max(4.0, 0.9 + 0.8 * len(classes)), 3.0, shared=True
    )
    classes = [wrap(name, 12) for name in classes]
    for axis, (output, metrics) in zip(axes, outputs.items(), strict=False):
        for (metric, style), colour in zip(SHOWN.items(), COLOURS, strict=False):
            if metric in metrics:
                words = metric_in_words(metric)
                axis.plot(
                    metrics[metric], style, color=colour, label=words, linewidth=1.4, markersize=4.5
                )
        axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        in_unit = with_unit("error", typeset(units.get(output, "")))
        _describe(axis, output, in_unit, classes, cells)
    if vectors:
        last = axes[len(outputs)]
        for (vector, shares), colour in zip(vectors.items(), COLOURS * len(vectors), strict=False):
            last.plot(
                shares, "o-", color=colour, label=f"({vector})", linewidth=1.4, markersize=4.5
            )
        shown = [share for shares in vectors.values() for share in shares if share < LARGEST_ERROR]
        last.set_ylim(0, 1.08 * max(shown, default=LARGEST_ERROR))
        for index, shares in enumerate(zip(*vectors.values(), strict=True)):
            largest = float(np.nanmax([*shares, 0.0]))
            if largest >= LARGEST_ERROR:
                text: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": small()}
                upper = last.get_xaxis_transform()
                last.text(index, 0.98, f"{largest:.3g} ↑", transform=upper, **text)
        names = ", ".join(f"({vector})" for vector in vectors)
        _describe(last, names, "error / length (%)", classes, cells)
        if len(vectors) > 1:
            last.legend(fontsize=small(), frameon=False)
            last.set_title("vectors", fontsize=sized(10))
    share_below(axes)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(labels),
        fontsize=sized(9),
        frameon=False,
    )
    figure.supxlabel("thickness, and its share of the cells", fontsize=sized(9))
    return figure


def _describe(
    axis: Axes, title: str, label: str, classes: Sequence[str], cells: Sequence[int]
) -> None:
    shares = [100 * count / max(sum(cells), 1) for count in cells]
    names = [f"{name}\n{share:.2g} %" for name, share in zip(classes, shares, strict=True)]
    axis.set_xticks(range(len(classes)), names, fontsize=small())
    axis.set_xlim(-0.4, len(classes) - 0.6)
    axis.set_title(title, fontsize=sized(10))
    axis.set_ylabel(label, fontsize=sized(9))
    axis.tick_params(axis="y", labelsize=small())
    axis.grid(alpha=0.25, axis="y", linewidth=0.5)


Array = NDArray[np.floating]

SIDE, BETWEEN, TOP, FLATTEST_PANEL = 1.3, 0.16, 0.95, 0.45
"""Width of a panel, distance between panels, and margin for the colour bars [inch]; least height of
a panel, as a share of its width, which has room for the words beside it and the colour bars between
blocks.
"""


@dataclass(frozen=True)
class FieldSample:
    """Fields of one place and time: variable → (y, x), y ascending."""

    words: str
    """Its folder, frame and size, in lines."""
    fields: Mapping[str, Array]
    outlines: Sequence[tuple[float, float, float, float]] = ()
    """Left, bottom, width and height of rectangles to draw [cell]."""


def sample_fields(samples: Sequence[FieldSample], units: Mapping[str, str], title: str) -> Figure:
    """Every variable on one colour scale, which is above its column; centred at zero where values
    have both signs.

    units  variable → unit
    """
    names = list(samples[0].fields)
    longest = max(len(line) for sample in samples for line in sample.words.split("\n"))
    left = 0.25 + WIDTH_OF_CHARACTER * longest
    shapes = [field.shape for sample in samples for field in sample.fields.values()]
    ratio = min(max(max(height / width for height, width in shapes), FLATTEST_PANEL), 1.0)
    # A narrow figure has several blocks of rows, each with some of the variables, and a free row
    # between them.
    columns = columns_of(len(names), SIDE + BETWEEN + left / len(names))
    blocks = -(-len(names) // columns)
    grid = list(product(range(blocks), range(len(samples) + 1), range(columns)))[:-columns]
    margins: dict[str, Any] = {"left": left, "right": 0.25, "top": TOP, "bottom": 0.2}
    sizes = SIDE, SIDE * ratio, BETWEEN, BETWEEN
    figure, axes = panel_grid(
        len(grid),
        columns,
        *sizes,
        fold=False,
        square=True,
        **margins,
    )
    limits = {}
    for name in names:
        values = np.concatenate([sample.fields[name].ravel() for sample in samples])
        limits[name] = limits_of(values[np.isfinite(values)])
    for axis, (block, row, column) in zip(axes, grid, strict=True):
        if block * columns + column >= len(names) or row == len(samples):
            axis.remove()
            continue
        if column == 0:
            upright: dict[str, Any] = {"rotation": 0, "ha": "right", "va": "center", "labelpad": 4}
            axis.set_ylabel(samples[row].words, fontsize=small(), **upright)
        name = names[block * columns + column]
        image = _draw(axis, samples[row].fields[name], limits[name], samples[row].outlines)
        if row == 0:
            _bar_above(axis, image, label(name, typeset(units[name])))
    add_title(figure, title)
    return figure


def _draw(
    axis: Axes,
    values: Array,
    limits: tuple[float, float],
    outlines: Sequence[tuple[float, float, float, float]],
) -> AxesImage:
    from matplotlib.patches import Rectangle

    axis.set_facecolor(NO_DATA)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[["top", "right"]].set_visible(True)
    height, width = values.shape
    colours, (low, high) = "RdBu_r" if limits[0] < 0 else "viridis", limits
    drawn: dict[str, Any] = {
        "origin": "lower",
        "extent": (0, width, 0, height),
        "interpolation": "nearest",
    }
    image = axis.imshow(thinned(values), colours, vmin=low, vmax=high, **drawn)
    for left, bottom, *sides in outlines:
        for colour, line in (("white", 2.0), ("black", 0.9)):
            style: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": line}
            axis.add_patch(Rectangle((left, bottom), *sides, **style))
    return image


def _bar_above(axis: Axes, image: AxesImage, words: str) -> None:
    box = axis.get_window_extent()
    flat = box.width / box.height
    bar = axis.figure.colorbar(
        image,
        cax=axis.inset_axes((0.03, 1 + 0.09 * flat, 0.94, 0.06 * flat)),
        orientation="horizontal",
    )
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.tick_params(labelsize=small(), pad=1)
    inches, (low, high) = box.width / axis.figure.dpi, map(float, image.get_clim())
    # The ends alone, inside, and what is white between them; at least the upper one.
    values = [low, 0.0, high] if low < 0 < high else [low, high]
    texts = [f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}" for value in values]
    while len(texts) > 1 and sum(map(len, texts)) + 2 * len(texts) - 2 > characters(inches=inches):
        del values[len(values) - 2], texts[len(texts) - 2]
    bar.set_ticks(values, labels=[text.replace("-", "−") for text in texts])
    numbers = bar.ax.get_xticklabels()
    numbers[0].set_horizontalalignment("left")
    numbers[-1].set_horizontalalignment("right")
    bar.ax.set_title(
        wrap(words, characters(inches=inches + sized(BETWEEN))), fontsize=small(), pad=4
    )


def learning_curve(directory: RunDirectory) -> Pictures:
    """Losses and validation errors over epochs."""
    figure = learning_curve_of(directory)
    yield FIGURES_FOLDER / "learning_curve", figure
    # the name that 2Dto2D-DLE uses; always a PDF
    yield (FIGURES_FOLDER / "Learning-curve.pdf", figure)


def frames(directory: RunDirectory) -> Pictures:
    """Truth, estimate and difference of some frames: a picture each, by data folder."""
    errors = formats.read_json(directory.results / FIELD_ERRORS)
    vectors = []
    for name in errors["overall"]["vectors"]:
        x, y = name.split(", ")
        vectors.append((x, y))
    for folder in errors["folders"]:
        kept = table(directory.results / FRAMES / f"{folder}.nc")
        yield from _frames_of(directory, kept, folder, vectors)


def _frames_of(
    directory: RunDirectory, frames: xarray.Dataset, folder: str, vectors: list[tuple[str, str]]
) -> Pictures:
    names = outputs(directory, frames)
    caution = directory.record().caution
    moments = []
    for index in range(frames.sizes["frame"]):
        frame = frames.isel(frame=index)
        title = _title(frames, folder, index, caution)
        truth = {name: frame[name].values for name in names}
        estimate = {name: frame[estimate_of(name)].values for name in names}
        moments.append(Moment(title, truth, estimate))
    left, right, bottom, top = map(float, frames.attrs["extent"])
    where = Extent(left, right, bottom, top, str(frames.attrs["extent_unit"]))
    digits = max(3, len(str(int(frames.attrs["frames"]) - 1)))
    figure = draw_moments(moments, {name: unit(frames, name) for name in names}, vectors, where)
    for number, picture in zip(frames["frame"].values, figure, strict=True):
        yield FIGURES_FOLDER / folder / f"frame_{number:0{digits}d}", picture


def _title(frames: xarray.Dataset, folder: str, index: int, caution: str) -> str:
    if "time" in frames.coords:
        time = frames["time"].values[index]
        when = f"time {time:.4g} {unit(frames, 'time')}".rstrip()
    else:
        number = frames["frame"].values[index]
        when = f"frame {number} of {frames.attrs['frames']} (counted from 0)"
    title = f"{folder}, {when}"
    return f"{title} ({caution})" if caution else title


def errors_by_thickness_of_run(directory: RunDirectory) -> Pictures:
    """Errors by the thickness of the ice; no figure if that is not known."""
    errors = formats.read_json(directory.results / FIELD_ERRORS)
    overall = errors["overall"]
    classes = errors["thickness"]
    if not classes:
        return
    words = [in_words(layer["above"], layer["up_to"]) for layer in classes]
    cells = [layer["cells"] for layer in classes]
    of_outputs: dict[str, dict[str, list[float]]] = {}
    for output, metrics in overall["outputs"].items():
        layers = [layer["outputs"][output] for layer in classes]
        of_outputs[output] = {metric: _numbers(layers, metric) for metric in metrics}
    vectors = {}
    for name in overall["vectors"]:
        vectors[name] = _numbers([layer["vectors"][name] for layer in classes], "percent")
    figure = errors_by_thickness(words, cells, of_outputs, vectors, errors["units"])
    yield FIGURES_FOLDER / "errors_by_thickness", figure


def _numbers(parts: Sequence[Mapping[str, float | None]], key: str) -> list[float]:
    """The numbers of a key in objects of a JSON file, with NaN for null."""
    values = [part[key] for part in parts]
    return [float("nan") if value is None else value for value in values]


FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    "frames": frames,
    "errors_by_thickness": errors_by_thickness_of_run,
}

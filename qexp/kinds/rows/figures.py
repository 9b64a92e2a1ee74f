"""Figures of rows: estimates of those held out, learning curves of folds, samples, maps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.base.outputs import spread_of
from qexp.base.quantities import label, typeset
from qexp.figures.canvas import (
    COLOURS,
    figure,
    panel_grid,
    panels,
    plain_numbers,
    resolution,
    sized,
    titled,
    whole_numbers,
    wrapped,
)
from qexp.kinds.figures import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    coverage,
    ends_of_intervals,
    missing,
    outputs,
    table,
    texts,
    truth_and_estimate,
    unit,
)
from qexp.kinds.rows.spec import grouped_by
from qexp.metrics.built_in import coefficient_of_determination, root_mean_squared_error
from qexp.results.intervals import USUAL
from qexp.rows.rasters import Raster
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import xarray
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Text

LONGEST = 26
"""Largest number of characters of a name that are shown."""

DISTANCES = (0.06, 0.12, 0.2, 0.3, 0.44, 0.6, 0.8)
"""Distances from a point to its name that are tried [inch]."""

MARGIN = 0.03
"""Distance between a name and everything else [inch]."""

DIRECTIONS = 16


def name_points(axis: Axes, names: Sequence[str], points: Array, others: Array, taken: Sequence[Artist] = ()) -> None:
    """Write names near points, with a line to the point if the name is not next to it.

    points  (name, 2), the most important first: a name without a free place is left out
    others  (point, 2), covered only if necessary
    taken   other artists on the axes, never covered

    Limits and aspect of the axes, and the figure's resolution, must be as they will be drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = axis.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    axis.apply_aspect()
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's own
    dpi = float(axis.figure.dpi)
    margin = MARGIN * dpi
    frame = _grown(_extent(axis, renderer), -margin)
    boxes = [_grown(_extent(artist, renderer), margin) for artist in taken]
    obstacles = axis.transData.transform(others)
    for name, point in zip(names, axis.transData.transform(points), strict=True):
        text = axis.text(0, 0, _short(name), fontsize=sized(7.5), transform=None, va="bottom", ha="left", zorder=4)
        left, bottom, right, top = _extent(text, renderer)
        places: list[tuple[int, float, int, Box]] = []
        for distance, box in _places(point, right - left, top - bottom, frame, dpi):
            # Neither a name nor the line to it covers another name.
            if not any(_overlap(box, other) or _covered(other, _line(point, box)) for other in boxes):
                places.append((_covered(_grown(box, margin), obstacles), distance, len(places), box))
        if not places:
            text.remove()
            continue
        box = min(places)[-1]
        text.set_transform(axis.transAxes)
        text.set_position(tuple(axis.transAxes.inverted().transform(box[:2])))
        boxes.append(_grown(box, margin))
        line = _line(point, box)
        if math.dist(line[0], line[-1]) > 1.5 * DISTANCES[0] * dpi:
            ends = axis.transAxes.inverted().transform(line[[0, -1]])
            axis.plot(ends[:, 0], ends[:, 1], color="0.55", linewidth=0.6, transform=axis.transAxes, zorder=1.5)
            # Lines cross only if necessary.
            obstacles = np.concatenate([obstacles, line])


Box = tuple[float, float, float, float]
"""Left, bottom, right and top of a name [pixel]."""


def _extent(artist: Artist, renderer: RendererBase) -> Box:
    box = artist.get_window_extent(renderer)
    return float(box.x0), float(box.y0), float(box.x1), float(box.y1)


def _grown(box: Box, margin: float) -> Box:
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _line(point: Array, box: Box) -> Array:
    """The line from a point to the nearest edge of a name, (step, 2)."""
    return np.linspace(point, np.clip(point, box[:2], box[2:]), 12)


def _places(point: Array, width: float, height: float, frame: Box, dpi: float) -> Iterator[tuple[float, Box]]:
    """Candidate places, distance and box, within the frame: near ones first, to the right first."""
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            # Right, then alternately upwards and downwards around the point.
            turn = (step + 1) // 2 * (1 if step % 2 else -1) * 2 * math.pi / DIRECTIONS
            x, y = math.cos(turn), math.sin(turn)
            left = float(point[0]) + distance * dpi * x - (0 if x > 0.2 else width if x < -0.2 else width / 2)
            bottom = float(point[1]) + distance * dpi * y - (0 if y > 0.5 else height if y < -0.5 else height / 2)
            left = max(min(left, frame[2] - width), frame[0])
            bottom = max(min(bottom, frame[3] - height), frame[1])
            yield distance, (left, bottom, left + width, bottom + height)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _covered(box: Box, points: Array) -> int:
    """The number of points in a box."""
    return int(((points > box[:2]) & (points < box[2:])).all(axis=1).sum())


def _short(name: str) -> str:
    return wrapped(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…", LONGEST)


# Estimates of held-out rows: against measured values, and residuals by group.


MOST_NAMED = 5
NAMED_FROM = 1.5
"""Rows with an error larger than this multiple of the RMSE are named."""

BOXED_FROM = 5
"""Fewest rows of a group for a box; it would be misleading for fewer."""

HEIGHT_OF_ROW, WIDTH_OF_CHARACTER = 0.27, 0.066  # inches


@dataclass(frozen=True)
class HeldOut:
    """One output's held-out rows, in its own unit."""

    measured: Array
    """(row,)"""
    estimated: Array
    """(row,)"""
    names: Sequence[str]
    """Identifiers, (row,)."""
    unit: str = ""
    spread: tuple[Array, Array] | None = None
    """Lower and upper end over the networks that estimate a row, (row,) each."""
    groups: Sequence[str] | None = None
    """(row,)"""
    interval: tuple[Array, Array] | None = None
    """Lower and upper end of each row's interval, (row,) each."""


def estimates_against_measured(
    outputs: Mapping[str, HeldOut], spread: str, note: str, rows_of: str = "held-out rows", interval: str = ""
) -> Figure:
    """A panel per output with the identity line; the largest errors by name.

    spread    meaning of the vertical lines, for the title: "standard deviation over 10 networks"
    note      caution on the numbers, may be empty
    rows_of   what the rows are, for the title
    interval  what the intervals are, for the title; where rows have some, they are drawn instead of the spread
    """
    made, axes = panels(len(outputs), 4.6, 4.6)
    made.set_dpi(resolution())
    for axis, (output, rows) in zip(axes, outputs.items(), strict=True):
        _draw_estimates(axis, rows)
        axis.set_xlabel(_label("measured", output, rows.unit))
        axis.set_ylabel(_label("estimated", output, rows.unit))
    lines = f"; lines: {spread}" if any(rows.spread for rows in outputs.values()) else ""
    if all(rows.interval for rows in outputs.values()):
        lines = f"; lines: {interval}"
    titled(made, f"{rows_of}{lines}", note)
    return made


def residuals_by_group(outputs: Mapping[str, HeldOut], note: str, rows_of: str = "held-out rows") -> Figure:
    """A panel per output, a line per group in the order of their first rows: dots, and a box where there are many.

    Every output's rows must have the same groups.
    """
    first = next(iter(outputs.values()))
    groups = list(dict.fromkeys(first.groups or ()))
    labels = [f"{wrapped(group, 30)}  ({(first.groups or []).count(group)})" for group in groups]
    width = max((len(line) for label in labels for line in label.split("\n")), default=0) * WIDTH_OF_CHARACTER
    lines = sum(1 + 0.5 * label.count("\n") for label in labels)
    made, axes = panels(len(outputs), 4.4, sized(1.1 + HEIGHT_OF_ROW * lines), left=0.15 + width)
    for axis, (output, rows) in zip(axes, outputs.items(), strict=True):
        residual = rows.estimated - rows.measured
        axis.axvline(0, color="0.6", linewidth=1, zorder=1)
        for line, group in enumerate(groups):
            _draw_group(axis, line, residual[np.asarray(rows.groups) == group])
        axis.set_ylim(len(groups) - 0.4, -0.6)
        axis.set_yticks(range(len(groups)), labels if axis is axes[0] else [""] * len(groups), fontsize=sized(8))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
        axis.set_xlabel(_label("estimated − measured", output, rows.unit))
    titled(made, f"{rows_of} by group; diamond: mean; box: median, middle half", note)
    return made


def _label(what: str, output: str, unit: str) -> str:
    words = f"{what} {output.replace('_', ' ')}"
    return f"{words} ({typeset(unit)})" if unit else words


def _draw_estimates(axis: Axes, rows: HeldOut) -> None:
    measured, estimated = rows.measured, rows.estimated
    drawn = np.isfinite(measured) & np.isfinite(estimated)
    ends = [measured[drawn], estimated[drawn]]
    if (vertical := rows.interval or rows.spread) is not None:
        low, high = vertical
        ends += [low[drawn], high[drawn]]
        axis.vlines(measured, low, high, color=COLOURS[0], linewidth=0.9, alpha=0.4, zorder=2)
    values = np.concatenate(ends)
    values = values[np.isfinite(values)]
    low_end, high_end = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = 0.05 * (high_end - low_end) or 0.5
    limits = (low_end - margin, high_end + margin)
    axis.plot(limits, limits, color="0.6", linewidth=1, zorder=1)
    axis.scatter(measured, estimated, s=16, color=COLOURS[0], alpha=0.75, linewidths=0, zorder=3)
    axis.set_xlim(limits)
    axis.set_ylim(limits)
    axis.set_aspect("equal", adjustable="box")
    axis.set_yticks([tick for tick in axis.get_xticks() if limits[0] <= tick <= limits[1]])
    corner = _describe(axis, measured[drawn], estimated[drawn], rows.unit)
    _name_outliers(axis, rows, np.flatnonzero(drawn), limits, corner)


def _describe(axis: Axes, measured: Array, estimated: Array, unit: str) -> Text:
    """Write numbers in the corner away from the identity line that has fewer points."""
    said = f"n = {len(measured)}"
    if len(measured):
        error = root_mean_squared_error(estimated, measured)
        said += f"\nRMSE = {error:.3g} {typeset(unit)}".rstrip()
        said += f"\nR² = {coefficient_of_determination(estimated, measured):.3f}"
    x, y = axis.transAxes.inverted().transform(axis.transData.transform(np.stack([measured, estimated], axis=1))).T
    above, below = ((x < 0.4) & (y > 0.78)).sum(), ((x > 0.6) & (y < 0.22)).sum()
    place, horizontal, vertical = ((0.97, 0.03), "right", "bottom") if below < above else ((0.03, 0.97), "left", "top")
    return axis.text(
        *place, said, transform=axis.transAxes, ha=horizontal, va=vertical, fontsize=sized(8.5), zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )  # fmt: skip


def _name_outliers(
    axis: Axes, rows: HeldOut, drawn: NDArray[np.int64], limits: tuple[float, float], corner: Text
) -> None:
    if not len(drawn):
        return
    error = np.abs(rows.estimated - rows.measured)
    limit = NAMED_FROM * float(np.sqrt(np.mean(error[drawn] ** 2)))
    worst = [row for row in drawn[np.argsort(-error[drawn], kind="stable")][:MOST_NAMED] if error[row] > limit]
    points = np.stack([rows.measured, rows.estimated], axis=1)
    # Covering a point is as bad as covering a whole line.
    others = [np.repeat(points[drawn], 9, axis=0), np.repeat(np.linspace(*limits, 80)[:, None], 2, axis=1)]
    if (vertical := rows.interval or rows.spread) is not None:
        steps = np.linspace(0, 1, 9)[:, None]
        along = vertical[0][drawn] * (1 - steps) + vertical[1][drawn] * steps
        others.append(np.stack([np.broadcast_to(rows.measured[drawn], along.shape), along], axis=-1).reshape(-1, 2))
    names = [str(rows.names[row]) for row in worst]
    name_points(axis, names, points[worst], np.concatenate(others), [corner])


def _draw_group(axis: Axes, line: int, residual: Array) -> None:
    residual = residual[np.isfinite(residual)]
    if len(residual) >= BOXED_FROM:
        lower, middle, upper = np.percentile(residual, (25, 50, 75))
        axis.barh(line, upper - lower, 0.56, lower, color=COLOURS[0], alpha=0.16, linewidth=0, zorder=1.5)
        axis.plot([middle, middle], [line - 0.28, line + 0.28], color=COLOURS[0], linewidth=1.4, zorder=2)
    # Vertical positions by rank, so that equal residuals do not overlap and the figure is reproducible.
    height = np.empty(len(residual))
    height[np.argsort(residual, kind="stable")] = (np.arange(len(residual)) * 0.618) % 1
    if len(residual) > 1:
        axis.plot(residual, line + 0.4 * (height - 0.5), "o", color=COLOURS[0], markersize=3.6, alpha=0.6, mew=0)
        axis.plot(residual.mean(), line, "D", color=COLOURS[1], markersize=4.5, mew=0.6, mec="white", zorder=3)
    elif len(residual):
        axis.plot(residual, [line], "o", color=COLOURS[0], markersize=3.6, alpha=0.6, mew=0)


# Learning curves of the folds of a cross-validation.


@dataclass(frozen=True)
class FoldCurve:
    """Losses after each epoch of one fold, NaN if missing; folds may end after different epochs."""

    training: Array
    """(epoch,)"""
    validation: Array
    """(epoch,)"""
    chosen: int | None
    """The epoch whose weights are kept, from 1."""


def fold_curves(folds: Sequence[FoldCurve], loss: str, note: str) -> Figure:
    """Training and validation loss over epochs: a thin line per fold, the median thick, chosen epochs as dots.

    loss  unit of the losses in the label of their axis
    note  caution on the numbers, may be empty
    """
    parts = {"training": [fold.training for fold in folds], "validation": [fold.validation for fold in folds]}
    if not any(np.isfinite(curve).any() for curve in parts["validation"]):
        del parts["validation"]  # networks trained on all training rows have no validation loss
    made, axes = panels(len(parts), 4.6, 3.7)
    values = np.concatenate([curve for curves in parts.values() for curve in curves] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    for axis, (part, curves), colour in zip(axes, parts.items(), COLOURS, strict=False):
        _draw(axis, curves, colour)
        axis.set_ylabel(f"{part} loss ({loss})")
        axis.set_xlabel("epoch")
        whole_numbers(axis.xaxis)
        if len(values) and values.min() > 0:
            axis.set_yscale("log")
            axis.set_ylim(values.min() / 1.15, values.max() * 1.15)
            plain_numbers(axis.yaxis)
        axis.grid(alpha=0.25, which="both", linewidth=0.5)
    chosen = [(fold.chosen, fold.validation[fold.chosen - 1]) for fold in folds if fold.chosen is not None]
    if chosen:
        epochs, losses = zip(*chosen, strict=True)
        axes[1].plot(
            epochs, losses, "o", color=COLOURS[6], markersize=3.2, alpha=0.7, mew=0, zorder=4,
            label=f"chosen epoch, median {np.median(epochs):g}",
        )  # fmt: skip
    for axis in axes:
        legend = axis.legend(fontsize=sized(8), frameon=False)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)
    titled(made, f"{len(folds)} fold{'s' if len(folds) != 1 else ''}", note)
    return made


def _draw(axis: Axes, curves: Sequence[Array], colour: str) -> None:
    from matplotlib.collections import LineCollection

    lines = [np.column_stack([np.arange(1, len(curve) + 1), curve]) for curve in curves]
    opacity = float(np.clip(6 / max(len(curves), 1), 0.15, 0.6))
    axis.add_collection(LineCollection(lines, colors=colour, linewidths=0.6, alpha=opacity, label="a fold"))
    table = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    present = np.isfinite(table)
    epochs = np.flatnonzero(present.any(axis=0))
    if len(epochs):
        # After half of the folds have ended, the median of the others would be that of different folds.
        most = present.sum(axis=0)[epochs] >= len(curves) / 2
        middle = np.nanmedian(np.where(present, table, np.nan)[:, epochs], axis=0)
        marker = "." if len(epochs) == 1 else None
        axis.plot(
            epochs + 1, np.where(most, middle, np.nan), color=colour, linewidth=2.2, marker=marker, label="median"
        )
    axis.autoscale_view()


# Samples of rows: the columns of a variable as a curve.


Array = NDArray[np.floating]

WIDE, HIGH, IN_A_ROW = 2.7, 1.5, 3
"""Sizes of a panel [inch], and panels in a row."""

WORDS = 40
"""Largest number of characters of a line above a panel."""

MOST_NAMES, LONGEST_TITLE, LEVEL = 14, 9, 24
"""Columns that are named on an axis, characters of their names, and characters that fit beside each other."""


MEASURED = {"nm": "wavelength", "µm": "wavelength", "um": "wavelength", "eV": "energy", "keV": "energy"}
"""What the numbers in the names of columns are, by the unit that follows them."""


@dataclass(frozen=True)
class RowSample:
    """One row of a variable's columns."""

    words: str
    values: Array
    """(column,)"""


def sample_rows(
    rows: Sequence[RowSample], columns: Sequence[str], name: str, unit: str, others: Array, title: str
) -> Figure:
    """A panel per row: its values over the columns, and in grey the range of 90 % of all rows.

    others  all rows of the dataset, (row, column)
    """
    numbers, words = positions(columns)
    lines = max(wrapped(row.words, WORDS).count("\n") for row in rows)
    upright = words is None and sum(len(column[:LONGEST_TITLE]) for column in columns) > LEVEL
    made, axes = panel_grid(
        len(rows), IN_A_ROW, WIDE, HIGH, across=0.2, down=0.35 + 0.15 * lines, top=0.6 + 0.15 * lines,
        bottom=0.95 if upright else 0.5,
    )  # fmt: skip
    low, high = np.nanpercentile(others, (5, 95), axis=0)
    ends = _ends([low, high, *(row.values for row in rows)])
    for number, (axis, row) in enumerate(zip(axes, rows, strict=True)):
        if words is None:  # a line between columns without an order would say nothing
            axis.vlines(numbers, low, high, color="0.86", linewidth=sized(6))
        else:
            axis.fill_between(numbers, low, high, color="0.88", linewidth=0)
        line = "o" if words is None else "o-"
        axis.plot(numbers, row.values, line, color=COLOURS[0], markersize=sized(3), linewidth=1)
        axis.set_ylim(*ends)
        axis.set_title(wrapped(row.words, WORDS), fontsize=sized(8))
        lowest = number + IN_A_ROW >= len(rows)
        axis.tick_params(labelsize=sized(7), labelleft=number % IN_A_ROW == 0, labelbottom=lowest)
        _name_columns(axis, columns, words, lowest, 90 if upright else 0)
        if number % IN_A_ROW == 0:
            axis.set_ylabel(label(name, typeset(unit)), fontsize=sized(8))
    titled(made, f"{title}; grey: 90 % of all rows")
    return made


def positions(columns: Sequence[str]) -> tuple[Array, str | None]:
    """Positions of columns on an axis and its label: their numbers, such as 414 and 749 of `414nm` and `749nm`; else
    0, 1, 2, … and None.
    """
    matches = [re.fullmatch(r"(\D*)([0-9]+(?:\.[0-9]+)?)(\D*)", column) for column in columns]
    around = {(match[1], match[3]) for match in matches if match is not None}
    if None in matches or len(around) != 1:
        return np.arange(len(columns), dtype=np.float64), None
    numbers = np.array([float(match[2]) for match in matches if match is not None])
    if len(numbers) > 1 and not (np.diff(numbers) > 0).all():
        return np.arange(len(columns), dtype=np.float64), None
    ((before, after),) = around
    if not before and after.strip() in MEASURED:
        return numbers, f"{MEASURED[after.strip()]} ({after.strip()})"
    return numbers, " ".join(one.strip(" _-") for one in (before, after) if one.strip(" _-")) or "column"


def _name_columns(axis: Axes, columns: Sequence[str], words: str | None, lowest: bool, rotation: float) -> None:
    if words is not None:
        if lowest:
            axis.set_xlabel(words, fontsize=sized(8))
    elif len(columns) <= MOST_NAMES:
        names = [wrapped(column, 200)[:LONGEST_TITLE] for column in columns]
        axis.set_xticks(range(len(columns)), names, rotation=rotation)
        axis.set_xlim(-0.5, len(columns) - 0.5)
    elif lowest:
        axis.set_xlabel("column", fontsize=sized(8))


def _ends(values: Sequence[Array]) -> tuple[float, float]:
    """The limits of an axis for all values, with a margin."""
    low, high = (float(end([end(one) for one in values])) for end in (np.nanmin, np.nanmax))
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


# Maps of estimates: longitude and latitude, or line and sample.


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
    for row, (index, (name, measure)) in zip(grid, enumerate(outputs.items()), strict=True):
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
            axis.figure.colorbar(image, ax=axis, extend=extend, label=measure, shrink=min(1.0, max(tall, 0.4)))
            axis.set_title(what, fontsize=sized(10))
            _label_axes(axis, axes, geographic, stretch)
    if outside.any():
        share = 100 * outside.sum() / np.isfinite(means[-1]).sum()
        title = f"{title}\ngrey: outside the range of the training data ({share:.0f} % of the map)"
    made.suptitle(title, fontsize=sized(10))
    return made


def _label_axes(axis: Axes, names: tuple[str, str], geographic: bool, stretch: float) -> None:
    axis.set_aspect(stretch)
    axis.spines[["top", "right"]].set_visible(True)
    axis.set_xlabel(f"{names[0]} (°)" if geographic else names[0])
    axis.set_ylabel(f"{names[1]} (°)" if geographic else names[1])
    if not geographic:
        axis.invert_yaxis()  # lines are counted from the top


# Figures of runs on rows of a table: estimates of held-out rows, and learning curves of the folds.


def held_out(directory: RunDirectory) -> Pictures:
    """Estimates of held-out rows against measured values, a panel per output."""
    rows = table(directory.results / TEST_PREDICTIONS)
    named = directory.spec()["dataset"]["identifiers"]
    words = "standard deviation over the networks" + (" of a fold" if directory.held_out else "")
    note = directory.record().caution
    drawn = {
        name: replace(one, interval=ends_of_intervals(directory, name))
        for name, one in _of_outputs(rows, _names(rows, named)).items()
    }
    made = estimates_against_measured(drawn, words, note, _what(directory), f"{100 * USUAL:g} % intervals")
    yield FIGURES_FOLDER / "held_out", made


def residuals(directory: RunDirectory) -> Pictures:
    """Residuals of the estimates by group; no figure if the rows have no groups."""
    rows = table(directory.results / TEST_PREDICTIONS)
    by = rows.attrs.get("groups", grouped_by(directory.spec()))  # the rows of an evaluation name their own
    if not by:
        return
    if by not in rows:
        raise missing(f"{directory.results / TEST_PREDICTIONS} has no variable '{by}'")
    of_outputs = _of_outputs(rows, _names(rows, ()), texts(rows, by))
    yield FIGURES_FOLDER / "residuals", residuals_by_group(of_outputs, directory.record().caution, _what(directory))


def _what(directory: RunDirectory) -> str:
    return "held-out rows" if directory.held_out else directory.name


def _of_outputs(rows: xarray.Dataset, names: list[str], groups: list[str] | None = None) -> dict[str, HeldOut]:
    known = outputs(rows)
    several = all(np.isfinite(rows[spread_of(name)].values).all() for name in known)
    made = {}
    for name in known:
        (truth, estimate), spread = truth_and_estimate(rows, name), rows[spread_of(name)].values
        ends = (estimate - spread, estimate + spread) if several else None
        made[name] = HeldOut(truth, estimate, names, unit(rows, name), ends, groups)
    return made


def _names(rows: xarray.Dataset, columns: list[str] | tuple[str, ...]) -> list[str]:
    """A label for each row: its identifiers, or its number in the file."""
    if not columns:
        return [str(number) for number in rows["row"].values]
    return [", ".join(values) for values in zip(*(texts(rows, name) for name in columns), strict=True)]


def fold_curves_of_run(directory: RunDirectory) -> Pictures:
    """Losses over epochs, a thin line per fold."""
    curves = [_curve(fold) for fold in directory.all_folds()]
    made = fold_curves(curves, "transformed values", directory.record().caution)
    yield FIGURES_FOLDER / "fold_curves", made


def _curve(fold: RunDirectory) -> FoldCurve:
    lines = fold.metrics()
    training, validation = (
        np.array([line[part]["loss"] for line in lines], dtype=np.float64) for part in ("train", "validation")
    )
    validated = bool(lines) and bool(lines[0]["validation"]["losses"])
    return FoldCurve(training, validation, fold.record().epochs.best if validated else None)


FIGURES: Mapping[str, FigureOfRun] = {
    "held_out": held_out,
    "residuals": residuals,
    "coverage": coverage,
    "fold_curves": fold_curves_of_run,
}

"""Figures of rows: estimates of those held out, learning curves of folds, samples, maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.outputs import spread_of
from qexp.base.quantities import label, typeset
from qexp.base.text import in_one_line, without_middle
from qexp.figures.canvas import (
    COLOURS,
    LEAST_TEXT,
    WIDTH_OF_CHARACTER,
    add_title,
    columns_of,
    fitting,
    label_outer,
    panel_grid,
    panels,
    row_panels,
    sized,
    small,
    subplots,
    wrap,
)
from qexp.figures.cells import draw_cells, shape_of
from qexp.figures.estimates import make_equal, name_points, write_errors
from qexp.figures.writing import resolution
from qexp.kinds.figures import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    coverage,
    ends_of_intervals,
    fold_curves,
    intervals_in_words,
    missing,
    outputs,
    table,
    texts,
    truth_and_estimate,
    unit,
)
from qexp.kinds.rows.spec import grouped_by
from qexp.rows.cell_means import CellMeans
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Estimates of held-out rows: against measured values, and residuals by group.


MOST_NAMED = 5
NAMED_FROM = 1.5
"""Rows with an error larger than this multiple of the RMSE are named."""

NEAR = 4.0
"""As much further away is a name put in order to cover a ninth of a point less [point]."""

MANY_BARS = 60
"""From so many rows on, bars are faint, except of intervals that miss the value."""

BOXED_FROM = 5
"""Fewest rows of a group for a box; it would be misleading for fewer."""


@dataclass(frozen=True)
class HeldOut:
    """One output's held-out rows, in its own unit; (row,) each.

    names     identifiers
    spread    lower and upper end over the networks that estimate a row
    interval  lower and upper end of each row's interval
    """

    measured: Array
    estimated: Array
    names: Sequence[str]
    unit: str = ""
    spread: tuple[Array, Array] | None = None
    groups: Sequence[str] | None = None
    interval: tuple[Array, Array] | None = None


def estimates_against_measured(
    outputs: Mapping[str, HeldOut],
    spread: str,
    note: str,
    rows_of: str = "held-out rows",
    interval: str = "",
) -> Figure:
    """A panel per output with the identity line; the largest errors by name.

    spread    meaning of the vertical lines, for the caption: "standard deviation over 10 networks"
    note      caution on the numbers, may be empty
    rows_of   what the rows are, for the title
    interval  what the intervals are, for the caption; where rows have some, they are drawn instead
              of the spread
    """
    figure, axes = panels(len(outputs), 4.6, 4.8, top=0.62, square=True)
    figure.set_dpi(resolution())
    for axis, (output, rows) in zip(axes, outputs.items(), strict=True):
        _draw_estimates(axis, rows)
        axis.set_xlabel(label(f"measured {output}", typeset(rows.unit)))
        axis.set_ylabel(label(f"estimated {output}", typeset(rows.unit)))
    lines = f"lines: {spread}" if any(rows.spread for rows in outputs.values()) else ""
    if all(rows.interval for rows in outputs.values()):
        lines = f"lines: {interval}"
        if any(len(rows.measured) >= MANY_BARS for rows in outputs.values()):
            lines += "; of many rows, those without the measured value are orange"
    add_title(figure, rows_of, note, lines)
    return figure


def residuals_by_group(
    outputs: Mapping[str, HeldOut], note: str, rows_of: str = "held-out rows"
) -> Figure:
    """A panel per output, a line per group in the order of their first rows: dots, and a box where
    there are many.

    Every output's rows must have the same groups.
    """
    first = next(iter(outputs.values()))
    groups = list(dict.fromkeys(first.groups or ()))
    labels = [f"{wrap(group, 30)}  ({(first.groups or []).count(group)})" for group in groups]
    figure, axes = row_panels(len(outputs), 4.4, labels, 0.27)
    for axis, (output, rows) in zip(axes, outputs.items(), strict=True):
        residual = rows.estimated - rows.measured
        axis.axvline(0, color="0.6", linewidth=1, zorder=1)
        for line, group in enumerate(groups):
            _draw_group(axis, line, residual[np.asarray(rows.groups) == group])
        axis.set_xlabel(label(f"estimated − measured {output}", typeset(rows.unit)))
    add_title(figure, f"{rows_of} by group", note, "diamond: mean; box: median, middle half")
    return figure


def _draw_estimates(axis: Axes, rows: HeldOut) -> None:
    drawn = np.flatnonzero(np.isfinite(rows.measured) & np.isfinite(rows.estimated))
    measured = rows.measured[drawn]
    estimated = rows.estimated[drawn]
    ends = [end[drawn] for end in rows.interval or rows.spread or ()]
    many = len(drawn) >= MANY_BARS
    if ends:
        faint: Any = {"linewidth": 0.6, "alpha": 0.12} if many else {"linewidth": 0.9, "alpha": 0.4}
        axis.vlines(measured, ends[0], ends[1], color=COLOURS[0], zorder=2, **faint)
    if many and rows.interval is not None:
        missed = (measured < ends[0]) | (measured > ends[1])
        strong: Any = {"color": COLOURS[1], "linewidth": 0.8, "alpha": 0.7, "zorder": 2.5}
        axis.vlines(measured[missed], ends[0][missed], ends[1][missed], **strong)
    axis.scatter(measured, estimated, s=16, color=COLOURS[0], alpha=0.75, linewidths=0, zorder=3)
    # what is longer leaves the panel, rather than press the points
    reach = np.ptp([*measured, *estimated] or [0]) / 2
    limits = make_equal(
        axis,
        [measured, estimated, *(end.clip(estimated - reach, estimated + reach) for end in ends)],
    )
    corner = write_errors(axis, measured, estimated, rows.unit)
    if not len(drawn):
        return
    error = np.abs(estimated - measured)
    least = NAMED_FROM * float(np.sqrt(np.mean(error**2)))
    worst = [row for row in np.argsort(-error, kind="stable")[:MOST_NAMED] if error[row] > least]
    points = np.stack([measured, estimated], axis=1)
    # Covering a point is as bad as covering a whole line.
    others = [np.repeat(points, 9, axis=0), np.repeat(np.linspace(*limits, 80)[:, None], 2, axis=1)]
    if ends and not many:  # faint bars may be covered
        bars = np.linspace(ends[0], ends[1], 9)
        places = np.broadcast_to(measured, bars.shape)
        others.append(np.stack([places, bars], axis=-1).reshape(-1, 2))
    names = [str(rows.names[drawn[row]]) for row in worst]
    name_points(axis, names, points[worst], np.concatenate(others), [corner], NEAR)


def _draw_group(axis: Axes, line: int, residual: Array) -> None:
    residual = residual[np.isfinite(residual)]
    if len(residual) >= BOXED_FROM:
        lower, middle, upper = np.percentile(residual, (25, 50, 75))
        axis.barh(
            line, upper - lower, 0.56, lower, color=COLOURS[0], alpha=0.16, linewidth=0, zorder=1.5
        )
        axis.plot(
            [middle, middle], [line - 0.28, line + 0.28], color=COLOURS[0], linewidth=1.4, zorder=2
        )
    # Vertical positions by rank, so that equal residuals do not overlap and the figure is
    # reproducible.
    height = np.full(len(residual), 0.5)
    if len(residual) > 1:
        height[np.argsort(residual, kind="stable")] = (np.arange(len(residual)) * 0.618) % 1
        mean: Any = {"color": COLOURS[1], "markersize": 4.5, "mew": 0.6, "mec": "white"}
        axis.plot(residual.mean(), line, "D", zorder=3, **mean)
    dots: Any = {"color": COLOURS[0], "markersize": 3.6, "alpha": 0.6, "mew": 0}
    axis.plot(residual, line + 0.4 * (height - 0.5), "o", **dots)


# Samples of rows: the columns of a variable as a curve.


Array = NDArray[np.floating]

PANEL_WIDTH, PANEL_HEIGHT, PANELS_IN_A_ROW = 2.7, 1.5, 3
"""Sizes of a panel [inch], and panels in a row."""

MOST_NAMES, LONGEST_NAME, LEVEL_CHARACTERS = 14, 24, 24
"""Columns that an axis names, characters of their names, and how many fit."""


MEASURED = {**dict.fromkeys(("nm", "µm", "um"), "wavelength"), "eV": "energy", "keV": "energy"}
"""What the numbers in the names of columns are, by the unit that follows them."""


def sample_rows(
    rows: Sequence[tuple[str, Array]],
    columns: Sequence[str],
    name: str,
    unit: str,
    others: Array,
    title: str,
) -> Figure:
    """A panel per row: its values over the columns, and in grey the range of 90 % of all rows.

    rows    title, and values of a variable's columns, (column,), of each
    others  all rows of the dataset, (row, column)
    """
    numbers, words = positions(columns)
    names = [without_middle(in_one_line(column), LONGEST_NAME) for column in columns]
    named = words is None and len(names) <= MOST_NAMES
    upright = named and sum(map(len, names)) > LEVEL_CHARACTERS
    columns_in_words = "" if named else words or "column"
    lines = 0
    for _ in range(2):  # the second time with room for titles in several lines
        figure, axes = panel_grid(
            len(rows),
            PANELS_IN_A_ROW,
            PANEL_WIDTH,
            PANEL_HEIGHT,
            column_gap=0.2,
            row_gap=0.42 + 0.15 * lines,
            top=0.6 + 0.15 * lines,
            bottom=0.25 + WIDTH_OF_CHARACTER * max(map(len, names)) if upright else 0.5,
        )
        titles = [fitting(axes[0], text, size=LEAST_TEXT) for text, _ in rows]
        lines = max(title.count("\n") for title in titles)
    low, high = np.nanpercentile(others, (5, 95), axis=0)
    values = np.concatenate([low, high, *(of_row for _, of_row in rows)])
    least = float(np.nanmin(values))
    most = float(np.nanmax(values))
    margin = 0.06 * (most - least) or 0.5
    for axis, (_, of_row), title_of_row in zip(axes, rows, titles, strict=True):
        if words is None:  # a line between columns without an order would say nothing
            axis.vlines(numbers, low, high, color="0.86", linewidth=sized(6))
        else:
            axis.fill_between(numbers, low, high, color="0.88", linewidth=0)
        line = "o" if words is None else "o-"
        axis.plot(numbers, of_row, line, color=COLOURS[0], markersize=sized(3), linewidth=1)
        axis.set_ylim(least - margin, most + margin)
        axis.set_title(title_of_row, fontsize=small())
        label_outer(axis, len(rows), columns_in_words, label(name, typeset(unit)), small())
        if named:
            texts_of_ticks = [text.replace("$", r"\$") for text in names]
            axis.set_xticks(range(len(names)), texts_of_ticks, rotation=90 * upright)
            axis.set_xlim(-0.5, len(names) - 0.5)
    add_title(figure, title, caption="grey: 90 % of all rows")
    return figure


def positions(columns: Sequence[str]) -> tuple[Array, str | None]:
    """Positions of columns on an axis and its label: their numbers, such as 414 and 749 of `414nm`
    and `749nm`; else 0, 1, 2, … and None.
    """
    numbered = re.compile(r"(\D*)([0-9]+(?:\.[0-9]+)?)(\D*)")
    matches = list(filter(None, map(numbered.fullmatch, columns)))
    frames = {(match[1], match[3]) for match in matches}
    numbers = np.array([float(match[2]) for match in matches])
    if len(matches) < len(columns) or len(frames) != 1 or not (np.diff(numbers) > 0).all():
        return np.arange(len(columns), dtype=np.float64), None
    ((start, end),) = frames
    if not start and end.strip() in MEASURED:
        return numbers, f"{MEASURED[end.strip()]} ({end.strip()})"
    words = [start.strip(" _-"), end.strip(" _-")]
    return numbers, " ".join(filter(None, words)) or "column"


# Maps of estimates: longitude and latitude, or line and sample.


def layers(outputs: Sequence[str]) -> list[str]:
    """The layers of a raster for a map, in order."""
    return [*(layer for name in outputs for layer in (name, spread_of(name))), "outside"]


def draw_map(
    raster: CellMeans, axes: tuple[str, str], outputs: Mapping[str, str], title: str, error: str
) -> Figure:
    """A row per output: the estimate and its error, each a mean over the rows of a cell.

    raster   with the `layers` of the outputs; `outside` is 1 for a row outside the range of the
             training data
    outputs  name → unit
    error    what the second layer of each output holds
    Cells with most of their rows outside are hatched.
    """
    means = raster.means()
    _, tall = shape_of(axes, raster.extent)
    planes = 1 + bool((means[1:-1:2] > 0).any())  # a single network has no spread
    size = (5.2 if tall < 1.5 else 4.0, float(np.clip(4.2 * tall + 1.2, 2.4, 6.5)))
    columns = columns_of(planes, size[0])
    figure, axes_of_rows = subplots(len(outputs) * planes // columns, columns, *size)
    grid = np.reshape(np.array(axes_of_rows, dtype=object), (len(outputs), planes)).tolist()
    untrained = np.where(np.isfinite(means[-1]), means[-1] > 0.5, False)
    for row, (index, (name, measure)) in zip(grid, enumerate(outputs.items()), strict=True):
        words = name.replace("_", " ")
        titles = [words, f"{words}: {error}"]
        for axis, what, plane, colours in zip(
            row, titles, means[2 * index :], ("viridis", "magma_r"), strict=False
        ):
            finite = plane[np.isfinite(plane)]
            least, most = np.percentile(finite, (0.5, 99.5)) if len(finite) else (0.0, 1.0)
            limits = (least, most)
            axis.set_title(what, fontsize=sized(10))
            draw_cells(axis, plane, raster.extent, axes, colours, limits, measure, untrained)
    share = f"{100 * untrained.sum() / np.isfinite(means[-1]).sum():.0f} % of the map"
    caption = (
        f"hatched: outside the range of the training data ({share})" if untrained.any() else ""
    )
    add_title(figure, title, caption=caption)
    return figure


# Figures of runs on rows of a table: estimates of held-out rows, and learning curves of the folds.


def held_out(directory: RunDirectory) -> Pictures:
    """Estimates of held-out rows against measured values, a panel per output."""
    rows = table(directory.results / TEST_PREDICTIONS)
    identifiers = directory.spec()["dataset"]["identifiers"]
    words = "standard deviation over the networks" + (" of a fold" if directory.held_out else "")
    note = directory.record().caution
    drawn = _of_outputs(directory, rows, _names(rows, identifiers))
    if not drawn:
        return
    for name, of_output in drawn.items():
        drawn[name] = replace(of_output, interval=ends_of_intervals(directory, name))
    more = _what(directory), intervals_in_words(directory)
    yield FIGURES_FOLDER / "held_out", estimates_against_measured(drawn, words, note, *more)


def residuals(directory: RunDirectory) -> Pictures:
    """Residuals of the estimates by group; no figure if the rows have no groups."""
    rows = table(directory.results / TEST_PREDICTIONS)
    # the rows of an evaluation name their own
    group = rows.attrs.get("groups", grouped_by(directory.spec()))
    if not group:
        return
    if group not in rows:
        raise missing(f"{directory.results / TEST_PREDICTIONS} has no variable '{group}'")
    if of_outputs := _of_outputs(directory, rows, _names(rows, ()), texts(rows, group)):
        figure = residuals_by_group(of_outputs, directory.record().caution, _what(directory))
        yield FIGURES_FOLDER / "residuals", figure


def _what(directory: RunDirectory) -> str:
    return "held-out rows" if directory.held_out else directory.name


def _of_outputs(
    directory: RunDirectory, rows: xarray.Dataset, names: list[str], groups: list[str] | None = None
) -> dict[str, HeldOut]:
    names_of_outputs = outputs(directory, rows)
    several = all(np.isfinite(rows[spread_of(name)].values).all() for name in names_of_outputs)
    held_out = {}
    for name in names_of_outputs:
        truth, estimate = truth_and_estimate(rows, name)
        spread = rows[spread_of(name)].values
        ends = (estimate - spread, estimate + spread) if several else None
        held_out[name] = HeldOut(truth, estimate, names, unit(rows, name), ends, groups)
    return held_out


def _names(rows: xarray.Dataset, columns: Sequence[str]) -> list[str]:
    """A label for each row: its identifiers, or its number in the file."""
    if not columns:
        return [str(number) for number in rows["row"].values]
    lines = zip(*(texts(rows, name) for name in columns), strict=True)
    return [", ".join(values) for values in lines]


FIGURES: Mapping[str, FigureOfRun] = {
    "held_out": held_out,
    "residuals": residuals,
    "coverage": coverage,
    "fold_curves": fold_curves,
}

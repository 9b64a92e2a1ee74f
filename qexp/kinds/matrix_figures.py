"""Pictures of inference matrices: for which sources a network can and cannot invert."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base import formats
from qexp.base.arrays import Array
from qexp.base.outputs import PERIOD, estimate_of, outputs_among
from qexp.base.quantities import (
    DEGREE,
    QUANTITIES,
    brief,
    in_symbols,
    number_with_unit,
    quantity,
    with_unit,
)
from qexp.errors import DamagedError
from qexp.figures.canvas import (
    COLOURS,
    add_title,
    characters,
    columns_of,
    exact,
    extend,
    fitting,
    folded,
    legend_below,
    narrow,
    page_width,
    share_below,
    sized,
    small,
    subplots,
    wrap,
)
from qexp.kinds.figures import MissingNumbersError, Pictures, missing, table, unit
from qexp.store.directory import MATRIX, MATRIX_RECORD, RunDirectory

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

PANEL_WIDTH, NARROW_WIDTH, LABEL_CHARACTERS = 3.8, 2.7, 24
"""Of a panel with its margins, and of one in a narrow figure [inch], and characters of a line of a
label beside it.
"""

AxisCells = tuple[str, Array, tuple[float, float]]
"""Variable, centres of the cells, lower and upper end."""


@dataclass(frozen=True)
class Kind:
    """A kind of value of an output, which has a panel of its own.

    axis     label, with `{}` in place of the output's name
    colours  name of a colour map
    scale    limits of colours
    like     the kind whose limits are taken, if the output has it
    level    a value that lines are compared with; 1 for ratios, whose colours are logarithmic
    unit     None: that of the output
    """

    axis: str
    colours: str
    scale: Callable[[Array], tuple[float, float]]
    like: str = ""
    level: float | None = None
    unit: str | None = None


def _around_zero(values: Array) -> tuple[float, float]:
    return -half_width(values), half_width(values)


def _from_zero(values: Array) -> tuple[float, float]:
    return 0.0, half_width(values)


def around_one(values: Array) -> tuple[float, float]:
    """The ends of a logarithmic scale of ratios, as far below one as above: by 2 to 10."""
    most = float(np.clip(np.exp(half_width(np.log(values[values > 0]))), 2, 10))
    return 1 / most, most


LINES = ("line: 90 % are detected", "dashed: by exact probabilities", "dotted: of a known source")

KINDS = {
    "estimate": Kind("estimated {}", "viridis", lambda values: span(values)),
    "error": Kind("error of {}", "RdBu_r", _around_zero, level=0.0),
    "refined_error": Kind("refined error of {}", "RdBu_r", _around_zero, like="error", level=0.0),
    "bias": Kind("mean error of {}", "RdBu_r", _around_zero, level=0.0),
    "refined_bias": Kind(
        "refined mean error of {}", "RdBu_r", _around_zero, like="bias", level=0.0
    ),
    "absolute_error": Kind("mean |error| of {}", "magma_r", _from_zero),
    "refined_absolute_error": Kind(
        "refined mean |error| of {}", "magma_r", _from_zero, like="absolute_error"
    ),
    "relative_error": Kind("relative error of {}", "RdBu_r", _around_zero, level=0.0, unit="%"),
    "relative_bias": Kind("relative mean error of {}", "RdBu_r", _around_zero, level=0.0, unit="%"),
    "standard_deviation": Kind("standard deviation of {}", "magma_r", _from_zero),
    "bound": Kind("Cramér–Rao bound of {}", "magma_r", _from_zero),
    "over_bound": Kind(
        "standard deviation / bound of {}", "PuOr_r", around_one, level=1.0, unit=""
    ),
    "refined_over_bound": Kind(
        "refined: standard deviation / bound of {}",
        "PuOr_r",
        around_one,
        like="over_bound",
        level=1.0,
        unit="",
    ),
}
"""Kind → how it is drawn, in the order of the panels."""

SHARE = Kind("{}", "viridis", lambda values: (0.0, 1.0), unit="")
"""Of other kinds, which have their name as label."""

HATCHED = ("bound", "over_bound", "refined_over_bound")
"""Kinds that mean little where the data do not show the source."""

HATCHES = "0.7"

RATIOS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Ticks of a logarithmic scale."""

Panels = Mapping[str, Array]
"""Kind → values of one output over one axis or two, in the unit of the kind or of the output."""


def matrix_panels(
    outputs: Mapping[str, Panels],
    axes: Sequence[AxisCells],
    units: Mapping[str, str],
    marks: HeldOut,
    title: str,
    blank: str = "",
    views: Sequence[str] = (),
    unseen: NDArray[np.bool_] | None = None,
) -> Figure:
    """A panel per output and kind of value that it has.

    units   variable → its unit, of outputs and axes
    blank   why some cells have no values
    views   names of the views, as in `quantities.in_words`
    unseen  where the data do not show the source, over the axes; hatched in panels of bounds
    """
    from matplotlib.ticker import MaxNLocator

    outputs = {name: _that_tell(name, panels, len(axes) == 2) for name, panels in outputs.items()}
    shown = []
    for panels in outputs.values():
        shown.append([kind for kind in dict.fromkeys([*KINDS, *panels]) if kind in panels])
    counts = [len(kinds) for kinds in shown]
    figure, grid = _grid(counts, 3.1 if len(axes) == 2 else 2.7, flowing=True)
    hatched = unseen if unseen is not None and unseen.any() else None
    for row, kinds, (name, panels) in zip(grid, shown, outputs.items(), strict=True):
        for axis, kind in zip(row, kinds, strict=True):
            style = KINDS.get(kind) or replace(SHARE, axis=kind.replace("_", " "))
            values = panels[kind]
            in_unit = units[name] if style.unit is None else style.unit
            words = with_unit(style.axis.format(in_symbols(name)), in_unit)
            if hatched is not None and kind in HATCHED:
                values = _hatch(axis, values, hatched, [ends for _, _, ends in axes])
            if len(axes) == 2:
                scale = style.scale(panels.get(style.like, values))
                _draw_plane(axis, words, style, values, scale, axes)
                marks.outline(axis)
            else:
                alike = (kind, name) == ("estimate", axes[0][0])
                _draw_line(axis, words, style, values, axes[0], marks, alike=alike)
            for side, (variable, _, _) in zip((axis.xaxis, axis.yaxis), axes, strict=False):
                true = f"true {in_symbols(variable, views)}"
                side.set_label_text(with_unit(true, units[variable]))
                if units[variable] == DEGREE:  # ticks at parts of a turn such as 30 or 90
                    side.set_major_locator(MaxNLocator(nbins=6, steps=[1, 1.5, 3, 4.5, 9, 10]))
        if len(axes) == 1:
            _share_scales(dict(zip(kinds, row, strict=True)))
    share_below([axis for row in grid for axis in row], left=len(axes) == 2)
    notes = [marks.note, f"blank: {blank}" if blank else ""]
    notes += ["hatched: the data do not show the source"] * (hatched is not None)
    notes += LINES[: len(marks.lines)]
    add_title(figure, title, caption="; ".join(filter(None, notes)))
    return figure


def _that_tell(output: str, panels: Panels, planes: bool) -> Panels:
    """Without estimates over a plane, which look alike for all networks that have learned anything:
    their errors tell more; and without errors relative to values whose zero is a convention.
    """
    left_out = {"estimate"} if planes else set()
    if not quantity(output, QUANTITIES).natural_zero:
        left_out |= {"relative_error", "relative_bias"}
    return {kind: values for kind, values in panels.items() if kind not in left_out}


def _grid(
    counts: Sequence[int], height: float, *, flowing: bool = False
) -> tuple[Figure, list[list[Axes]]]:
    """The panels of each output, so many: side by side, beside those of another output if the page
    has room.

    flowing  whether those of an output may begin and end in the middle of rows, if fewer rows are
             printed by that
    """
    width = NARROW_WIDTH if narrow() else PANEL_WIDTH
    most = columns_of(sum(counts) if exact() else max(counts), width)
    ways = product(range(1, most + 1), (False, True) if flowing and exact() else (False,))
    columns, flows = min(ways, key=lambda way: (_starts(counts, *way)[-1] // way[0], way))
    *starts, end = _starts(counts, columns, flows)
    figure, grid = subplots(end // columns, columns, width, height, shared=True)
    axes = [axis for row in grid for axis in row]
    of_outputs = [axes[start : start + count] for start, count in zip(starts, counts, strict=True)]
    for spare in set(axes).difference(*of_outputs):
        spare.set_axis_off()
    return figure, of_outputs


def _starts(counts: Sequence[int], columns: int, flowing: bool) -> list[int]:
    """Number of each output's first panel, and of that after the last row."""
    starts = list[int]()
    end = 0
    for count in counts:
        if end % columns + count > columns and not flowing:
            end += -end % columns
        starts.append(end)
        end += count
    return [*starts, end + -end % columns]


def _draw_plane(
    axis: Axes,
    words: str,
    style: Kind,
    values: Array,
    limits: tuple[float, float],
    axes: Sequence[AxisCells],
) -> None:
    (*_, x_ends), (*_, y_ends) = axes
    least, most = limits
    drawn: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    norm = "log" if style.level == 1 else "linear"
    image = axis.imshow(
        values.T,
        style.colours,
        norm,
        extent=(*x_ends, *y_ends),
        **drawn,
    )
    image.set_clim(least, most)
    bar = axis.figure.colorbar(image, ax=axis, extend=extend(values, least, most))
    if style.level == 1:
        ticks = [tick for tick in RATIOS if least <= tick <= most]
        bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        bar.minorticks_off()
    bar.ax.tick_params(labelsize=small())
    wide = page_width() / (2 if narrow() else 3)
    # Beside the bar the words would be taken for those of the next axis.
    axis.set_title(wrap(words, characters(9, wide)), fontsize=sized(9))
    axis.spines[["top", "right"]].set_visible(True)


def _hatch(
    axis: Axes, values: Array, unseen: NDArray[np.bool_], ends: Sequence[tuple[float, float]]
) -> Array:
    """Hatches what is not seen; returns the values without it. Empty cells stay white."""
    if len(ends) == 2:
        axis.patch.set(hatch="////", edgecolor=HATCHES)
        blank = np.where(np.isnan(values) & ~unseen, 1.0, np.nan)
        axis.imshow(
            blank.T,
            origin="lower",
            extent=(*ends[0], *ends[1]),
            aspect="auto",
            cmap="gray",
            vmin=0,
            vmax=1,
        )
    else:
        low, high = ends[0]
        width = (high - low) / len(unseen)
        for cell in np.flatnonzero(unseen):
            left = low + cell * width
            axis.axvspan(
                left, left + width, facecolor="none", edgecolor=HATCHES, hatch="////", linewidth=0
            )
    return np.where(unseen, np.nan, values)


@dataclass(frozen=True)
class HeldOut:
    """Where values on the axes of a matrix were held out, as far as the axes reach.

    Training lacks the whole band of each interval of each variable; test samples have values in an
    interval of every variable.
    """

    bands: tuple[tuple[tuple[float, float], ...], ...]
    """Of each axis."""
    ends: tuple[tuple[float, float], ...]
    """Of each axis, as the bands."""
    tested: bool
    """Whether test samples have the values of all other variables."""
    lines: tuple[tuple[Array, Array], ...] = ()
    """From where on a source is seen, as `LINES` says."""

    @property
    def note(self) -> str:
        """What is drawn, in words; empty if nothing is."""
        if not any(self.bands):
            return ""
        if len(self.bands) == 1:
            return (
                f"shaded: values {'held out for test' if self.tested else 'that training lacked'}"
            )
        boxes = "; box: test samples" if self.tested else ""
        return f"between dashed lines: values that training lacked{boxes}"

    def shade(self, axis: Axes) -> None:
        for left, right in self.bands[0]:
            axis.axvspan(left, right, color=COLOURS[4], alpha=0.15, linewidth=0)

    def outline(self, axis: Axes) -> None:
        """Dashed lines at both ends of a band, boxes around the values of test samples, `lines`."""
        from matplotlib.patches import Rectangle

        for (x, y), style in zip(self.lines, ("-", "--", ":"), strict=False):
            axis.plot(x, y, "k", linewidth=2.4)
            axis.plot(x, y, "w", linestyle=style, linewidth=1.6)
        if not any(self.bands):
            return
        for draw, bands, ends in zip(
            (axis.axvline, axis.axhline), self.bands, self.ends, strict=True
        ):
            for end in {end for band in bands for end in band} - {*ends}:
                draw(end, color="white", linewidth=1.4)
                draw(end, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        boxes = (bands or (ends,) for bands, ends in zip(self.bands, self.ends, strict=True))
        for (left, right), (bottom, top) in product(*boxes) if self.tested else ():
            for colour, width in (("white", 3.0), ("black", 1.6)):
                box = Rectangle(
                    (left, bottom),
                    right - left,
                    top - bottom,
                    fill=False,
                    ec=colour,
                    lw=width,
                    zorder=3,
                )
                axis.add_patch(box)


def _draw_line(
    axis: Axes,
    words: str,
    style: Kind,
    values: Array,
    cells: AxisCells,
    marks: HeldOut,
    *,
    alike: bool,
) -> None:
    """`alike`: the values would be those of the axis, if they were right."""
    _, centres, ends = cells
    axis.plot(centres, values, color=COLOURS[0])
    if alike:
        axis.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    elif style.level is not None:
        axis.axhline(style.level, color="0.6", linewidth=1, zorder=0)
    marks.shade(axis)
    axis.set_xlim(*ends)
    axis.set_ylabel(wrap(words, LABEL_CHARACTERS))


def _share_scales(row: Mapping[str, Axes]) -> None:
    """Give kinds that are compared with each other one vertical scale."""
    for kind, axis in row.items():
        other = row.get(KINDS.get(kind, SHARE).like)
        if other is not None:
            lowest, highest = zip(axis.get_ylim(), other.get_ylim(), strict=True)
            for panel in (axis, other):
                panel.set_ylim(min(lowest), max(highest))


def half_width(values: Array) -> float:
    """Half-width of a colour scale around zero; the few largest values may exceed it."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, 98)) or 1e-12 if len(finite) else 1.0


def span(values: Array) -> tuple[float, float]:
    """The ends of a colour scale; the few smallest and largest values may lie beyond them."""
    finite = values[np.isfinite(values)]
    return tuple(np.percentile(finite, (0.5, 99.5))) if len(finite) else (0.0, 1.0)


Matrices = Mapping[str, Sequence[Any]]
"""Title → matrices of runs that differ by seed, or of one (xarray.Dataset), over the same axes."""


def side_by_side(
    matrices: Matrices,
    dataset: str,
    views: Sequence[str] = (),
    records: Mapping[str, Mapping[str, Any]] | None = None,
) -> Figure:
    """Errors of several runs on one scale, relative ones if the values have a zero: a row per
    output, a column each.

    Once one of them stands for several seeds, all are absolute values, which are meant over the
    seeds. The first two axes are shown.
    views    names of the views, as in `quantities.in_words`
    records  title → the record of a matrix, which says what is outlined
    """
    first = next(iter(matrices.values()))[0]
    outputs = outputs_among(first.data_vars)
    axes = [str(name) for name in first[estimate_of(outputs[0])].dims]
    if len(axes) < 2:
        return _lines_side_by_side(
            matrices,
            outputs,
            axes[0],
            dataset,
            views,
            records or {},
        )
    middle = {other: first.sizes[other] // 2 for other in axes[2:]}
    planes = {}
    for title, tables in matrices.items():
        planes[title] = [table.isel(middle) for table in tables]
    (left, right), (bottom, top) = (outer_edges(first[variable].values) for variable in axes[:2])
    extent = (left, right, bottom, top)
    labels = [with_unit(f"true {in_symbols(name, views)}", unit(first, name)) for name in axes[:2]]
    cells = [(axes[0], first[axes[0]].values, (left, right))]
    cells.append((axes[1], first[axes[1]].values, (bottom, top)))
    others = {name: float(first[name].values[number]) for name, number in middle.items()}
    marks = {title: held_out_of(record, cells, others) for title, record in (records or {}).items()}
    figure, grid = _grid([len(matrices)] * len(outputs), 3.1)
    for row, output in zip(grid, outputs, strict=True):
        errors, means, words, in_unit = _compared(planes, output)
        (least, most), norm, ticks, look = _scale_of(
            list(errors.values()), in_unit, signed=not _averaged(planes)
        )
        for axis, (title, plane) in zip(row, errors.items(), strict=True):
            image = axis.imshow(
                plane.T,
                origin="lower",
                extent=extent,
                aspect="auto",
                interpolation="nearest",
                norm=norm,
                cmap=look,
            )
            if title in marks:
                marks[title].outline(axis)
            mean = number_with_unit(brief(means[title]), in_unit)
            room = characters(inches=0.34 * page_width() if narrow() else sized(2.2))
            heading = f"{wrap(title, room)}\n{wrap(f'mean |error| {mean}', room)}"
            axis.set_title(heading, fontsize=sized(9))
            axis.set(xlabel=labels[0], ylabel=labels[1], xlim=(left, right), ylim=(bottom, top))
            axis.spines[["top", "right"]].set_visible(True)
        ends = extend(np.stack(list(errors.values())), least, most)
        bar = figure.colorbar(image, ax=row, extend=ends, ticks=ticks)
        if ticks:
            bar.ax.set_yticklabels([f"{tick:g}".replace("-", "−") for tick in ticks])
            bar.minorticks_off()
        bar.ax.tick_params(labelsize=small())
        bar.set_label(fitting(row[0], with_unit(words, in_unit), upright=True))
    share_below([axis for row in grid for axis in row], left=True)
    caption = max((panel.note for panel in marks.values()), key=len, default="")
    add_title(figure, f"matrices on {dataset}", caption=caption)
    return figure


def held_out_of(
    record: Mapping[str, Any], axes: Sequence[AxisCells], others: Mapping[str, float]
) -> HeldOut:
    """What of the axes was held out, by the record of a matrix.

    others  the values of axes that are not shown
    """
    held_out: dict[str, list[tuple[float, float]]] = {}
    for name, intervals in record.get("held_out", {}).items():
        held_out[name] = []
        for low, high in intervals:
            first = -math.inf if low is None else low
            held_out[name].append((first, math.inf if high is None else high))
    values = {**record["fixed"], **others}
    tested = True
    bands = []
    for name in held_out.keys() & values.keys():
        hits = [low <= values[name] <= high for low, high in held_out[name]]
        tested = tested and (any(hits) or not hits)
    for variable, _, (low, high) in axes:
        own = held_out.get(variable, [])
        shown = [ends for ends in own if ends[0] < high and ends[1] > low]
        bands.append(tuple((max(left, low), min(right, high)) for left, right in shown))
        tested = tested and bool(shown or not own)
    return HeldOut(tuple(bands), tuple(ends for _, _, ends in axes), tested)


def _averaged(matrices: Matrices) -> bool:
    """Whether one stands for several seeds, whose errors would cancel each other."""
    return any(len(tables) > 1 for tables in matrices.values())


def _compared(
    matrices: Matrices, output: str
) -> tuple[dict[str, Array], dict[str, float], str, str]:
    """Errors, the mean absolute ones of all cells, what the errors are, and their unit.

    Errors are relative ones, but of values whose zero is a convention.
    """
    ones = [one for of_title in matrices.values() for one in of_title]
    called = in_symbols(output)
    in_unit = unit(ones[0], estimate_of(output))
    words, variable, factor = "error", "error", 1.0
    turns = PERIOD in ones[0][f"{output}_error"].attrs
    if turns or (
        f"{output}_relative_error" in ones[0] and quantity(output, QUANTITIES).natural_zero
    ):
        variable, factor = "relative_error", 100.0
        words, in_unit = ("error", "% of half a turn") if turns else ("relative error", "%")
    signed = dict[str, Array]()
    absolute = dict[str, Array]()
    for title, of_title in matrices.items():
        errors = [factor * one[f"{output}_{variable}"].values for one in of_title]
        signed[title] = errors[0]
        absolute[title] = np.mean(
            [_absolute(one, output, each) for one, each in zip(of_title, errors, strict=True)], 0
        )
    means = {title: float(np.nanmean(values)) for title, values in absolute.items()}
    if _averaged(matrices):
        return absolute, means, f"|{words}| of {called}", in_unit
    several = any(f"{output}_bias" in one for one in ones)
    return (
        signed,
        means,
        f"mean {words} of {called}" if several else f"{words} of {called}",
        in_unit,
    )


def _absolute(cells: xarray.Dataset, output: str, errors: Array) -> Array:
    """The absolute value of errors, relative or not, averaged over noise where it is repeated."""
    if f"{output}_absolute_error" not in cells:
        return np.asarray(np.abs(errors))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            absolute_errors(cells, output) * np.abs(errors / cells[f"{output}_error"].values)
        )


DECADES = 3
"""Powers of ten that a logarithmic scale of errors shows at most."""


def _scale_of(
    planes: Sequence[Array], in_unit: str, signed: bool
) -> tuple[tuple[float, float], Normalize, Sequence[float] | None, str]:
    """Limits and colours common to all, their ticks, and the name of the colour map.

    The scale of relative errors is logarithmic, from the small ones of the best.
    """
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    look = "RdBu_r" if signed else "magma_r"
    reach = half_width(np.stack(planes))
    if not in_unit.startswith("%"):
        limits = (-reach if signed else 0.0, reach)
        return limits, Normalize(*limits), None, look
    known = [plane for plane in planes if np.isfinite(plane).any()]
    small_ones = [float(np.nanpercentile(np.abs(plane), 10)) for plane in known]
    most = math.floor(math.log10(reach))
    least = math.floor(math.log10(max(min(small_ones, default=reach), 1e-12)))
    least = min(max(least, most + 1 - DECADES), most)
    ticks = [10.0**power for power in range(least, most + 1)]
    if signed:
        scale = SymLogNorm(linthresh=ticks[0], linscale=0.5, vmin=-reach, vmax=reach)
        return (-reach, reach), scale, [*(-tick for tick in reversed(ticks)), 0.0, *ticks], look
    limits = (ticks[0], max(reach, 2 * ticks[0]))
    return limits, LogNorm(*limits, clip=True), ticks, look


def _lines_side_by_side(
    matrices: Matrices,
    outputs: Sequence[str],
    variable: str,
    dataset: str,
    views: Sequence[str],
    records: Mapping[str, Mapping[str, Any]],
) -> Figure:
    figure, axes = folded(len(outputs), 4.2, 3.4, shared=True)
    first = next(iter(matrices.values()))[0]
    cells = [(variable, first[variable].values, outer_edges(first[variable].values))]
    shaded = {held_out_of(record, cells, {}) for record in records.values()}
    common = [*shaded] if len(shaded) == 1 else []
    for axis, output in zip(axes, outputs, strict=True):
        errors, _, words, in_unit = _compared(matrices, output)
        for (title, line), colour in zip(errors.items(), COLOURS * len(matrices), strict=False):
            axis.plot(first[variable].values, line, color=colour, label=title)
        axis.axhline(0, color="0.6", linewidth=1, zorder=0)
        for marks in common:
            marks.shade(axis)
        axis.set_xlabel(with_unit(f"true {in_symbols(variable, views)}", unit(first, variable)))
        axis.set_ylabel(with_unit(words, in_unit))
    share_below(axes)
    legend_below(figure, axes[0], shown=1)
    caption = common[0].note if common else ""
    add_title(figure, f"matrices on {dataset}", caption=caption)
    return figure


def outer_edges(centres: Array) -> tuple[float, float]:
    """The edges of evenly spaced cells, of their centres."""
    half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else 0.5
    return float(centres[0] - half), float(centres[-1] + half)


# Pictures of a run's matrices, `matrices/<dataset>/matrix.*`.


def matrix(directory: RunDirectory) -> Pictures:
    """A picture of each matrix of a run; no figure if it has none."""
    lack = None
    for name in directory.matrix_names():
        folder = directory.matrices / name
        try:
            figure = matrix_of(folder)
        except MissingNumbersError as error:
            lack = error
            continue
        yield folder.relative_to(directory.path) / Path(MATRIX).stem, figure
    if lack is not None:
        raise lack


def matrix_of(folder: Path) -> Figure:
    """The values of each output over the first two axes, at the middle of the others."""
    record, cells = numbers_of(folder)
    if "held_out" not in record:
        raise missing(
            f"{folder / MATRIX_RECORD} has no 'held_out'", "make it again with qexp matrix"
        )
    names = outputs_among(cells.data_vars)
    axes: dict[str, list[float]] = record["axes"]
    shown_axes = list(axes)[:2]
    others = list(axes)[2:]
    middle = {name: cells.sizes[name] // 2 for name in others}
    plane = cells.isel(middle)
    given = record.get("given", record["held_out"])  # which records of older versions lack
    fixed = {name: record["fixed"][name] for name in given if name in record["fixed"]}
    fixed |= {name: cells[name].values[middle[name]] for name in others}
    units = record["units"]
    views = record.get("views", ())
    where = []
    for name, value in fixed.items():
        number = number_with_unit(brief(value), units.get(name, ""))
        where.append(f"{in_symbols(name, views)} {number}")
    title = f"{record['run']} on {record['dataset']} {record.get('of_class', [''])[0]}".rstrip()
    repeats = record.get("repeats", 1)
    title += f" at {', '.join(where)}" if where else ""
    title += f", {repeats} noise realisations per cell" if repeats > 1 else ""
    shown = [(name, cells[name].values, (axes[name][0], axes[name][1])) for name in shown_axes]
    least = [plane[name] for name in plane.data_vars if str(name).endswith("detected_from")]
    lines = [(line[line.dims[0]].values, line.values) for line in least if line.ndim == 1]
    return matrix_panels(
        {name: _panels(plane, name) for name in names},
        shown,
        {name: unit(cells, name) for name in axes}
        | {name: unit(cells, estimate_of(name)) for name in names},
        replace(held_out_of(record, shown, fixed), lines=(*lines,)),
        title,
        record.get("why_left_out", ""),
        views,
        plane["seen"].values == 0 if "seen" in plane else None,
    )


def numbers_of(folder: Path) -> tuple[dict[str, Any], xarray.Dataset]:
    """The record and the table of a matrix. Raises DamagedError if one of them lacks something."""
    record = formats.read_json(folder / MATRIX_RECORD)
    cells = table(folder / MATRIX)
    _require(folder / MATRIX_RECORD, record, ("run", "dataset", "axes", "fixed"))
    outputs = outputs_among(cells.data_vars)
    _require(folder / MATRIX, cells, record["axes"])
    _require(folder / MATRIX, cells, [f"{output}_error" for output in outputs or ["…"]])
    return record, cells


def absolute_errors(cells: xarray.Dataset, output: str) -> Array:
    """The absolute errors of an output in all cells, as means over noise realisations where there
    are several.

    output  or such as `depth_refined`
    """
    several = f"{output}_absolute_error"
    if several in cells:
        return np.asarray(cells[several].values)
    return np.asarray(np.abs(cells[f"{output}_error"].values))


def _require(file: Path, content: Mapping[Any, Any] | xarray.Dataset, names: Iterable[str]) -> None:
    for name in names:
        if name not in content:
            raise DamagedError(f"{file} is damaged: it has no '{name}'")


def _panels(plane: xarray.Dataset, output: str) -> Panels:
    """Of several noise realisations, or of several seeds, errors are means, and called so."""
    start = f"{output}_"
    names = [str(name) for name in plane.data_vars]
    own = [name.removeprefix(start) for name in names if name.startswith(start)]
    if shares := [kind for kind in own if "probability_" in kind or kind.endswith("detected")]:
        return {kind: plane[f"{output}_{kind}"].values for kind in shares}
    kinds = [kind for kind in KINDS if f"{output}_{kind}" in plane]
    panels = {kind: plane[f"{output}_{kind}"].values for kind in kinds}
    relative = panels.pop("relative_error", None)
    single = "bias" not in panels
    for kind in () if single else ("error", "refined_error"):
        panels.pop(kind, None)
    repeats = PERIOD in plane[f"{output}_error"].attrs
    if relative is not None and not repeats and np.isfinite(relative).any():
        panels["relative_error" if single else "relative_bias"] = 100 * relative
    return panels

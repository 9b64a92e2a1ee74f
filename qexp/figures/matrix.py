"""Pictures of inference matrices: for which sources a network can and cannot invert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.estimates import PERIOD, estimate_of, outputs_among
from qexp.figures.canvas import COLOURS, figure, sized
from qexp.figures.wrapping import wrapped
from qexp.quantities import DEGREE, in_words, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

CHARACTERS = 42
"""Characters of the title above each column of panels."""

Array = NDArray[np.float64]
AxisCells = tuple[str, Array, tuple[float, float]]
"""Variable, centres of the cells, lower and upper end."""


@dataclass(frozen=True)
class Panels:
    """Values of one output, over one axis or two, in the output's unit; the relative error as a fraction."""

    estimate: Array
    error: Array
    relative_error: Array | None
    """None for a quantity with a period, whose errors are not compared with its values, and where no cell has one."""
    spread: Array | None = None
    refined_error: Array | None = None
    """Of the estimates refined by least squares."""


def matrix_panels(
    outputs: Mapping[str, Panels],
    axes: Sequence[AxisCells],
    units: Mapping[str, str],
    held_out: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    blank: str = "",
    views: Sequence[str] = (),
) -> Figure:
    """A row per output: estimate, error, refined error if given, on the same scale, relative error, spread over noise.

    units     variable → its unit, of outputs and axes
    held_out  variable → the intervals of values that belong to the test part, outlined
    blank     why some cells have no values
    views     names of the views, as in `quantities.in_words`
    """
    columns = 2 + sum(
        any(getattr(panels, name) is not None for panels in outputs.values())
        for name in ("refined_error", "relative_error", "spread")
    )
    made, grid = figure(len(outputs), columns, 4.0, 3.6 if len(axes) == 2 else 3.0)
    for row, (name, panels) in zip(grid, outputs.items(), strict=True):
        if len(axes) == 2:
            _draw_planes(row, name, panels, axes, units, held_out, views)
        else:
            _draw_lines(row, name, panels, axes[0], units, held_out, views)
    outlined = any(name in held_out for name, _, _ in axes)
    marked = "outlined" if len(axes) == 2 else "shaded"
    notes = [f"{marked}: values held out for test"] * outlined + [f"blank: {blank}"] * bool(blank)
    whole = title + (f" ({'; '.join(notes)})" if notes else "")
    made.suptitle(wrapped(whole, CHARACTERS * columns), fontsize=sized(11))
    return made


def _draw_planes(
    row: list[Axes],
    name: str,
    panels: Panels,
    axes: Sequence[AxisCells],
    units: Mapping[str, str],
    held_out: Mapping[str, Any],
    views: Sequence[str],
) -> None:
    unit = units[name]
    words = in_words(name)
    (x_name, _, x_ends), (y_name, _, y_ends) = axes
    extent = (*x_ends, *y_ends)
    error_limit = half_width(panels.error)
    low, high = span(panels.estimate)
    shown: list[tuple[str, str, Array, str, float, float] | None] = [
        ("estimate", unit, panels.estimate, "viridis", low, high),
        ("error", unit, panels.error, "RdBu_r", -error_limit, error_limit),
    ]
    if panels.refined_error is not None:
        shown.append(("refined error", unit, panels.refined_error, "RdBu_r", -error_limit, error_limit))
    if panels.relative_error is None:
        shown.append(None)
    else:
        percent = 100 * panels.relative_error
        shown.append(("relative error", "%", percent, "RdBu_r", -half_width(percent), half_width(percent)))
    if panels.spread is not None:
        shown.append(("standard deviation", unit, panels.spread, "magma_r", 0.0, half_width(panels.spread)))
    if len(row) < len(shown):  # no output has relative errors
        shown.remove(None)
    for axis, one in zip(row, shown, strict=True):
        if one is None:
            axis.set_axis_off()
            continue
        what, of_unit, values, colours, least, most = one
        image = axis.imshow(
            values.T, origin="lower", extent=extent, aspect="auto", cmap=colours, vmin=least, vmax=most,
            interpolation="nearest",
        )  # fmt: skip
        beyond = _beyond(values, least, most)
        bar = axis.figure.colorbar(image, ax=axis, extend=beyond)
        bar.ax.tick_params(labelsize=sized(8))
        axis.set_title(f"{words}: {what}" + (f" ({of_unit})" if of_unit else ""), fontsize=sized(10))
        axis.set_xlabel(f"true {label(x_name, units[x_name], views)}")
        axis.set_ylabel(f"true {label(y_name, units[y_name], views)}")
        axis.spines[["top", "right"]].set_visible(True)
        _tick_turns(axis.xaxis, units[x_name])
        _tick_turns(axis.yaxis, units[y_name])
        _outline(axis, held_out.get(x_name), held_out.get(y_name), x_ends, y_ends)


def _outline(axis: Axes, x_intervals: Any, y_intervals: Any, x_ends: Any, y_ends: Any) -> None:
    """Boxes around the held-out values; from end to end along an axis without any."""
    from matplotlib.patches import Rectangle

    if not x_intervals and not y_intervals:
        return
    for (left, right), (bottom, top) in product(x_intervals or [x_ends], y_intervals or [y_ends]):
        for colour, width in (("white", 2.4), ("black", 1.0)):
            axis.add_patch(
                Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=colour, linewidth=width)
            )


def _draw_lines(
    row: list[Axes],
    name: str,
    panels: Panels,
    axis_cells: AxisCells,
    units: Mapping[str, str],
    held_out: Mapping[str, Any],
    views: Sequence[str],
) -> None:
    variable, centres, ends = axis_cells
    words, unit = in_words(name), units[name]
    error = f"error of {words}" + (f" ({unit})" if unit else "")
    shown: list[tuple[str, Array | None]] = [(f"estimated {label(name, unit)}", panels.estimate), (error, panels.error)]
    if panels.refined_error is not None:
        shown.append((f"refined {error}", panels.refined_error))
    relative = None if panels.relative_error is None else 100 * panels.relative_error
    if len(row) > len(shown) + (panels.spread is not None):  # some output has relative errors
        shown.append((f"relative error of {words} (%)", relative))
    if panels.spread is not None:
        shown.append((f"standard deviation of {label(name, unit)}", panels.spread))
    for axis, (words_there, values) in zip(row, shown, strict=True):
        if values is None:
            axis.set_axis_off()
            continue
        axis.plot(centres, values, color=COLOURS[0])
        if words_there.startswith("estimated") and variable == name:
            axis.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
        elif words_there.startswith(("error", "refined", "relative")):
            axis.axhline(0, color="0.6", linewidth=1, zorder=0)
        for left, right in held_out.get(variable, ()):
            axis.axvspan(max(left, ends[0]), min(right, ends[1]), color=COLOURS[4], alpha=0.15, linewidth=0)
        axis.set_xlim(*ends)
        axis.set_xlabel(f"true {label(variable, units[variable], views)}")
        axis.set_ylabel(words_there)
        _tick_turns(axis.xaxis, units[variable])
    if panels.refined_error is not None:
        lowest, highest = zip(*(axis.get_ylim() for axis in row[1:3]), strict=True)
        for axis in row[1:3]:
            axis.set_ylim(min(lowest), max(highest))


def _tick_turns(axis: Axis, unit: str) -> None:
    """Ticks of an axis of degrees, at parts of a turn such as 30 or 90."""
    if unit == DEGREE:
        from matplotlib.ticker import MaxNLocator

        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 1.5, 3, 4.5, 9, 10]))


def half_width(values: Array) -> float:
    """Half-width of a colour scale around zero; the few largest values may exceed it."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, 98)) or 1e-12 if len(finite) else 1.0


def span(values: Array) -> tuple[float, float]:
    """The ends of a colour scale; the few smallest and largest values may lie beyond them."""
    finite = values[np.isfinite(values)]
    return tuple(np.percentile(finite, (0.5, 99.5))) if len(finite) else (0.0, 1.0)


def _beyond(values: Array, least: float, most: float) -> str:
    finite = values[np.isfinite(values)]
    below, above = bool((finite < least).any()), bool((finite > most).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]


def side_by_side(tables: Mapping[str, Any], dataset: str, views: Sequence[str] = ()) -> Figure:
    """Relative errors of several runs on one scale, logarithmic above 1 %: a row per output, a column per run.

    tables  run → its matrix (an xarray.Dataset) over the same axes, of which the first two are shown
    views   names of the views, as in `quantities.in_words`
    """
    first = next(iter(tables.values()))
    outputs = outputs_among(first.data_vars)
    axes = [str(name) for name in first[estimate_of(outputs[0])].dims]
    if len(axes) < 2:
        return _lines_side_by_side(tables, outputs, axes[0], dataset, views)
    from matplotlib.colors import SymLogNorm

    made, grid = figure(len(outputs), len(tables), 4.0, 3.6)
    for row, output in zip(grid, outputs, strict=True):
        planes = {}
        for name, table in tables.items():
            values = table[f"{output}_relative_error"]
            planes[name] = 100 * values.isel({other: values.sizes[other] // 2 for other in axes[2:]}).values
        for axis, (name, plane) in zip(row, planes.items(), strict=True):
            x, y = (first[variable].values for variable in axes[:2])
            extent = (*_ends(x), *_ends(y))
            image = axis.imshow(
                plane.T, origin="lower", extent=extent, aspect="auto", cmap="RdBu_r", interpolation="nearest",
                norm=SymLogNorm(linthresh=1.0, linscale=0.5, vmin=-100, vmax=100),
            )  # fmt: skip
            axis.set_title(f"{name}\nmean |relative error| {np.nanmean(np.abs(plane)):.3g} %", fontsize=sized(9))
            axis.set_xlabel(f"true {label(axes[0], _unit(first[axes[0]]), views)}")
            axis.set_ylabel(f"true {label(axes[1], _unit(first[axes[1]]), views)}")
            axis.spines[["top", "right"]].set_visible(True)
        bar = axis.figure.colorbar(image, ax=row, extend="both", ticks=[-100, -10, -1, 0, 1, 10, 100])
        bar.ax.set_yticklabels(["−100", "−10", "−1", "0", "1", "10", "100"])
        bar.set_label(f"{in_words(output)}: {_relative(first, output)}")
    made.suptitle(f"matrices on {dataset}", fontsize=sized(11))
    return made


def _lines_side_by_side(
    tables: Mapping[str, Any], outputs: Sequence[str], variable: str, dataset: str, views: Sequence[str]
) -> Figure:
    made, grid = figure(1, len(outputs), 4.2, 3.4)
    first = next(iter(tables.values()))
    for axis, output in zip(grid[0], outputs, strict=True):
        for (name, table), colour in zip(tables.items(), COLOURS * len(tables), strict=False):
            axis.plot(table[variable].values, 100 * table[f"{output}_relative_error"].values, color=colour, label=name)
        axis.axhline(0, color="0.6", linewidth=1, zorder=0)
        axis.set_xlabel(f"true {label(variable, _unit(first[variable]), views)}")
        axis.set_ylabel(f"{in_words(output)}: {_relative(first, output)}")
        axis.legend(fontsize=sized(8), frameon=False)
    made.suptitle(f"matrices on {dataset}", fontsize=sized(11))
    return made


def _relative(table: Any, output: str) -> str:
    """What the relative errors of an output are, for a label."""
    return "error (% of half a turn)" if PERIOD in table[f"{output}_relative_error"].attrs else "relative error (%)"


def _unit(values: Any) -> str:
    """The unit of a variable of a matrix, from its attributes."""
    return str(values.attrs.get("units", ""))


def _ends(centres: Array) -> tuple[float, float]:
    half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else 0.5
    return float(centres[0] - half), float(centres[-1] + half)

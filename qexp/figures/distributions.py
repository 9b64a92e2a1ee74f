"""Histograms of variables, their values by group, and draws of several parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.base.files import make_folder, require_file, safe
from qexp.base.formats import BROKEN_NETCDF, read_netcdf, require_hdf5
from qexp.base.outputs import estimate_of
from qexp.base.quantities import conversion, in_symbols, in_words, label, typeset, with_unit
from qexp.base.text import without_middle
from qexp.errors import QexpError, some, suggestion
from qexp.figures import canvas
from qexp.figures.writing import require_formats, save

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating]

PANEL_WIDTH, NARROW_WIDTH, PANEL_HEIGHT, PANELS_IN_A_ROW = 2.7, 2.0, 1.6, 3
"""Width of a panel, and in a narrow figure, and height [inch]; and panels in a row."""

BINS, DECADES = 40, 1.8
"""Number of bins; powers of ten between the 1st and 99th percentile of a logarithmic axis."""

MANY_VALUES = 1000
"""Number of values from which the outermost are left out: they would squeeze all others."""

SHADE = "0.85"
"""The grey of held-out values."""


@dataclass(frozen=True)
class Histogram:
    """The values of one variable."""

    name: str
    """The variable, or its words by `quantities.in_words`."""
    unit: str
    values: Mapping[str, Array]
    """Part → its values, (value,) each; NaN is left out."""
    held_out: Sequence[tuple[float, float]] = field(default_factory=tuple)
    """Intervals of values that belong to the test part."""
    classes: Sequence[str] = ()
    """Names of which the values are codes: 0, 1, …; empty for numbers."""


def histograms(variables: Sequence[Histogram], title: str, counted: str = "values") -> Figure:
    """A panel per variable: the share of its values in each bin, an outline per part if there are
    several.

    Ends of held-out intervals are edges of bins; the share of a bin that is narrower or wider by
    that is that of the usual width.

    counted  what the values are of, such as "rows"
    """
    width = NARROW_WIDTH if canvas.narrow() else PANEL_WIDTH
    figure, axes = canvas.panel_grid(
        len(variables), PANELS_IN_A_ROW, width, PANEL_HEIGHT, column_gap=0.5, row_gap=0.7, top=0.42
    )
    parts = list(dict.fromkeys(part for variable in variables for part in variable.values))
    cut = False
    for axis, variable in zip(axes, variables, strict=True):
        _draw(axis, variable, parts)
        cut |= max(map(len, variable.values.values()), default=0) >= MANY_VALUES
    for axis in axes:
        if canvas.place_of(axis, len(axes))[0]:
            axis.set_ylabel(f"share of {counted} (%)", fontsize=canvas.small())
    shaded = any(variable.held_out for variable in variables)
    if len(parts) > 1:
        axes[0].legend(
            fontsize=canvas.small(),
            frameon=True,
            framealpha=0.7,
            edgecolor="none",
        )
    notes = ["without the outermost 0.1 %"] * cut + ["grey: values held out for test"] * shaded
    canvas.add_title(figure, title, caption="; ".join(notes))
    return figure


def _draw(axis: Axes, variable: Histogram, parts: Sequence[str]) -> None:
    finite = {
        part: values[np.isfinite(values)].astype(np.float64)
        for part, values in variable.values.items()
    }
    usual = _edges(np.concatenate(list(finite.values())))
    if variable.classes:
        usual = np.add.outer(np.arange(len(variable.classes)), [-0.4, 0.4]).ravel()
    logarithmic = usual[0] > 0 and not np.allclose(np.diff(usual), usual[1] - usual[0])
    if logarithmic:
        axis.set_xscale("log")
    scale = np.log if logarithmic else np.asarray
    edges = _with_ends(usual, [end for interval in variable.held_out for end in interval], scale)
    widths = np.diff(scale(edges)) / (scale(usual[1]) - scale(usual[0]))
    for low, high in variable.held_out:
        axis.axvspan(
            max(low, edges[0]),
            min(high, edges[-1]),
            color=SHADE,
            linewidth=0,
            zorder=0,
        )
    for part, values in finite.items():
        shares = 100 * np.histogram(values, edges)[0] / max(len(values), 1) / widths
        colour = canvas.COLOURS[parts.index(part) % len(canvas.COLOURS)]
        axis.stairs(
            shares,
            edges,
            color=colour,
            fill=len(parts) == 1,
            label=part,
            linewidth=1.2,
        )
    axis.set_xlim(edges[0], edges[-1])
    axis.set_ylim(bottom=0)
    if variable.classes:
        _name_ticks(axis, variable.classes)
    names = (in_words(variable.name), in_symbols(variable.name))
    words = [with_unit(name, typeset(variable.unit)) for name in names]
    axis.set_xlabel(canvas.fitting(axis, *words, size=canvas.LEAST_TEXT), fontsize=canvas.small())
    axis.tick_params(labelsize=canvas.small())
    axis.xaxis.get_offset_text().set_fontsize(canvas.small())
    if logarithmic:
        canvas.plain_numbers(axis.xaxis)


def _name_ticks(axis: Axes, names: Sequence[str]) -> None:
    """Names at 0, 1, … below an axis, aslant where they are long."""
    short = [without_middle(name, LONGEST_CLASS).replace("$", r"\$") for name in names]
    axis.set_xticks(range(len(names)), short)
    if sum(map(len, short)) > CLASSES_IN_A_LINE:
        axis.tick_params(axis="x", rotation=30)
        for tick in axis.get_xticklabels():
            tick.set_horizontalalignment("right")


def _with_ends(edges: Array, ends: Sequence[float], scale: Callable[[Array], Array]) -> Array:
    """Edges of bins with others among them, which replace edges within half a bin."""
    inner = np.array([end for end in ends if edges[0] < end < edges[-1]])
    if not len(inner):
        return edges
    places = scale(edges)
    half = (places[1] - places[0]) / 2
    apart = np.abs(places[:, None] - scale(inner)).min(axis=1) > half
    apart[[0, -1]] = True
    return np.unique(np.concatenate([edges[apart], inner]))


def _edges(values: Array) -> Array:
    """Edges of bins without the outermost of many values; in equal ratios over powers of ten."""
    if not len(values):
        return np.linspace(0.0, 1.0, BINS + 1)
    low, fairly_low, fairly_high, high = np.percentile(values, (0.1, 1, 99, 99.9))
    if len(values) < MANY_VALUES:
        low = values.min()
        high = values.max()
    if low == high:
        return np.linspace(low - 0.5, high + 0.5, BINS + 1)
    count = int(np.clip(np.sqrt(len(values)) * 1.5, 5, BINS))
    if low > 0 and fairly_high > 10**DECADES * fairly_low:
        return np.geomspace(low, high, count + 1)
    return np.linspace(low, high, count + 1)


LONGEST_CLASS, CLASSES_IN_A_LINE = 12, 24
"""Characters of a name below an axis, and of all where they stand in a line."""

MOST_GROUPS = 50

LONGEST_GROUP = 22
"""Of a group's name."""


def values_by_group(
    groups: Sequence[str],
    parts: Sequence[str],
    order_of_parts: Sequence[str],
    values: NDArray[np.floating],
    name: str,
    unit: str,
    title: str,
    classes: Sequence[str] = (),
) -> Figure:
    """A line per group with a point per sample and a bar at their median, coloured by part; of
    classes the number of samples of each.

    groups, parts, values  of the samples, (sample,) each; NaN is left out
    order_of_parts         as they are coloured
    classes                names of which the values are codes; empty for numbers
    """
    of_group = np.asarray(groups, dtype=str)
    of_part = np.asarray(parts, dtype=str)
    order = sorted(
        dict.fromkeys(of_group.tolist()),
        key=lambda group: (order_of_parts.index(of_part[of_group == group][0]), group),
    )
    drawn = order[:MOST_GROUPS]
    colours = {
        part: canvas.COLOURS[row % len(canvas.COLOURS)] for row, part in enumerate(order_of_parts)
    }
    labels = []
    for group in drawn:
        count = (of_group == group).sum()
        labels.append(f"{canvas.wrap(group, 200)[:LONGEST_GROUP]} ({count})")
    figure, (axis,) = canvas.row_panels(1, 5.2, labels, 0.17)
    for line, group in enumerate(drawn):
        for part, colour in colours.items():
            points = values[(of_group == group) & (of_part == part) & np.isfinite(values)]
            for code in range(len(classes)):
                if count := int((points == code).sum()):
                    where: canvas.Style = {"ha": "center", "va": "center", "color": colour}
                    axis.text(code, line, f"{count:,}", fontsize=canvas.small(), **where)
            if classes:
                continue
            axis.plot(
                points,
                np.full(len(points), line),
                "o",
                color=colour,
                markersize=canvas.sized(3.5),
                alpha=0.5,
                mew=0,
            )
            if len(points):
                median = np.median(points)
                ends = [line - 0.4, line + 0.4]
                axis.plot([median] * 2, ends, color=colour, linewidth=1.6)
    axis.set_xlabel(label(name, typeset(unit)), fontsize=canvas.sized(9))
    axis.tick_params(axis="x", labelsize=canvas.small())
    if classes:
        axis.set_xlim(-0.5, len(classes) - 0.5)
        _name_ticks(axis, classes)
    axis.xaxis.get_offset_text().set_fontsize(canvas.small())
    if len(order_of_parts) > 1:
        for part, colour in colours.items():
            axis.plot(
                [],
                [],
                "o",
                color=colour,
                label=part,
                markersize=canvas.sized(4),
            )
        canvas.legend_below(figure, axis)
    bars = "numbers: samples of a class" if classes else "bars: medians"
    caption = f"{bars}; in brackets: number of points"
    if len(order) > len(drawn):
        caption += f"; the first {MOST_GROUPS} of {len(order)} groups"
    canvas.add_title(figure, title, caption=caption)
    return figure


PANEL, BETWEEN = 1.35, 0.14
"""Sizes of a panel and of what is between panels [inch]."""

LONGEST_LABEL = 20
"""Largest number of characters of a label in a line."""

LEFT, BOTTOM, TOP, RIGHT = 0.95, 0.85, 0.4, 0.15
"""Margins [inch]."""

CORNER_BINS, CELLS = 40, 48
"""Of histograms, and along each axis of a pair."""

SMOOTHED_CELLS = 2.0
"""Standard deviation of the smoothing of pairs, in cells."""

SHARES = 0.5, 0.95
"""Shares of the draws inside the contours."""

FEW_DRAWS = 400
"""Fewer draws are points: a density smoothed over 4π · 2² of 48² cells has islands around single
ones of 200, and none of 500.
"""

SHADES = 0.2, 0.45
"""Opacity between the contours, and within the inner one."""

OUTER_SHARE, OUTER_OF_SEVERAL = 0.001, 0.01
"""Share of draws beyond each end of an axis, also where posteriors of other widths compare."""


LINES = "-", "--", ":", "-."
"""Of posteriors over each other: print without colours shows which is which, too."""


@dataclass(frozen=True)
class Drawn:
    """Draws of one parameter in its unit."""

    name: str
    unit: str
    values: Mapping[str, Array]
    """Posterior → its draws, (draw,); what a single posterior is called is not shown."""
    mark: float | None = None
    """A value to compare with, such as that of the best fit; None: none."""
    origin: float = 0.0
    """What values and mark are relative to."""


FAR_MEDIAN = 100.0
"""Medians beyond this multiple of the width of their draws are not part of numbers on axes."""


def corner(parameters: Sequence[Drawn], title: str, marked: str = "best fit") -> Figure:
    """Histograms with median and central 95 % interval on the diagonal; below it contours around 50
    and 95 % of the draws, or few draws as points.

    Parameters that are far from zero, such as coordinates, are drawn as their offset from the
    median. Several posteriors are drawn over each other, as densities without medians and
    intervals, with a legend.
    marked  what the marks are
    """
    count = len(parameters)
    parameters = [_offset(parameter) for parameter in parameters]
    several = len(parameters[0].values) > 1
    outer = OUTER_OF_SEVERAL if several else OUTER_SHARE
    margins: canvas.Style = {
        "left": LEFT + 0.2 * canvas.narrow(),
        "right": RIGHT,
        "top": TOP,
        "bottom": BOTTOM,
    }
    figure, axes = canvas.panel_grid(
        count**2, count, PANEL, PANEL, BETWEEN, BETWEEN, fold=False, square=True, **margins
    )
    ranges = []
    for parameter in parameters:
        shown = [] if parameter.mark is None else [parameter.mark]
        ends = [_ends(draws, outer, shown) for draws in parameter.values.values()]
        ranges.append((min(low for low, _ in ends), max(high for _, high in ends)))
    for axis, (row, column) in zip(axes, product(range(count), repeat=2), strict=True):
        x = parameters[column]
        y = parameters[row]
        if row < column:
            axis.remove()
            continue
        if row == column:
            _draw_histogram(axis, x.values, ranges[column])
            if x.mark is not None:
                axis.axvline(x.mark, color="black", linewidth=1.0, label=marked)
        else:
            _draw_pair(axis, x.values, y.values, ranges[column], ranges[row])
            if x.mark is not None and y.mark is not None:
                sizes: canvas.Style = {
                    "markersize": canvas.sized(8),
                    "markeredgewidth": canvas.sized(1.2),
                }
                axis.plot(x.mark, y.mark, "+", color="black", **sizes)
        _label(
            axis,
            x,
            y,
            last=row == count - 1,
            first=column == 0 and row > 0,
        )
    canvas.legend_below(figure, *axes, shown=1)
    caption = []
    for parameter in parameters:
        if canvas.narrow() and parameter.origin:  # labels have no room for what they are from
            origin = f"{parameter.origin:,.12g} {parameter.unit}"
            caption.append(f"{parameter.name} from {origin}")
    if several and count > 1:
        shares = " and ".join(f"{100 * share:.0f} %" for share in SHARES)
        caption.append(f"lines around {shares} of the draws")
    canvas.add_title(figure, title, caption="; ".join(caption))
    return figure


def _ends(
    values: Array, outer: float = OUTER_SHARE, shown: Sequence[float] = ()
) -> tuple[float, float]:
    """Ends of an axis for all but the outermost draws of a posterior, and other values."""
    inner = [*map(float, np.quantile(values, [outer, 1 - outer])), *shown]
    low = min(inner)
    high = max(inner)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def _offset(parameter: Drawn) -> Drawn:
    """A parameter less about its median, where its first digits are the same in all draws."""
    draws = np.concatenate(list(parameter.values.values()))
    low, median, high = map(float, np.quantile(draws, [OUTER_SHARE, 0.5, 1 - OUTER_SHARE]))
    width = high - low
    if width <= 0 or abs(median) < FAR_MEDIAN * width:
        return parameter
    step = 10.0 ** np.floor(np.log10(width))
    origin = float(step * np.round(median / step))
    mark = None if parameter.mark is None else parameter.mark - origin
    values = {posterior: draws - origin for posterior, draws in parameter.values.items()}
    return replace(parameter, values=values, mark=mark, origin=origin)


def _draw_histogram(axis: Axes, posteriors: Mapping[str, Array], ends: tuple[float, float]) -> None:
    several = len(posteriors) > 1
    for number, (posterior, values) in enumerate(posteriors.items()):
        bins = min(CORNER_BINS, round(1.5 * len(values) ** 0.5))
        counts, edges = np.histogram(values, bins, _ends(values), density=several)
        if not number:
            axis.stairs(counts, edges, fill=True, color=canvas.COLOURS[0], alpha=0.35)
        if several:
            axis.stairs(counts, edges, label=posterior, **_line(number))
            continue
        low, median, high = np.quantile(values, [0.025, 0.5, 0.975])
        axis.axvline(median, color=canvas.COLOURS[1], linewidth=1.2, label="median")
        dashed: canvas.Style = {"color": canvas.COLOURS[1], "linewidth": 0.9, "linestyle": "--"}
        for end in (low, high):
            axis.axvline(end, label="95 % interval", **dashed)
    axis.set_xlim(*ends)
    axis.set_ylim(bottom=0)
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)


def _line(number: int) -> canvas.Style:
    """How the outline of a posterior is drawn."""
    return {
        "color": canvas.COLOURS[number % len(canvas.COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "linewidth": 1.2,
    }


def _draw_pair(
    axis: Axes, x: Mapping[str, Array], y: Mapping[str, Array], *ends: tuple[float, float]
) -> None:
    several = len(x) > 1
    for number, pair in enumerate(zip(x.values(), y.values(), strict=True)):
        style = _line(number)
        if len(pair[0]) < FEW_DRAWS:
            dots: canvas.Style = {
                "color": style["color"],
                "markersize": canvas.sized(2.5),
                "alpha": 0.6,
                "mew": 0,
            }
            axis.plot(*pair, "o", label=None if several else "draw", **dots)
            continue
        *middles, density, heights = _density(*pair)
        fills = [(style["color"], shade) for shade in SHADES]
        if not several:
            grey: canvas.Style = {"color": "0.7", "markersize": 1.0, "zorder": 0}
            axis.plot(*(draws[::4] for draws in pair), ".", rasterized=True, **grey)
            for share, fill in zip(sorted(SHARES, reverse=True), fills, strict=True):
                words = f"around {100 * share:.0f} % of the draws"
                axis.fill(
                    [],
                    [],
                    facecolor=fill,
                    edgecolor=style["color"],
                    label=words,
                )
        if not number:
            levels = [*heights, max(density.max(), heights[-1] * 1.001)]
            axis.contourf(*middles, density.T, levels, colors=fills[-len(heights) :])
        lines = {"colors": style["color"], "linestyles": style["linestyle"], "linewidths": 0.9}
        axis.contour(*middles, density.T, heights, **lines)
    axis.set(xlim=ends[0], ylim=ends[1])


def _density(x: Array, y: Array) -> tuple[Array, Array, Array, list[float]]:
    """The middles of cells on both axes, the smoothed density, and its heights around SHARES."""
    from scipy.ndimage import gaussian_filter

    # Cells of its own, as a posterior that is much narrower than another one would be smoothed
    # away; with some more around it, in which lines close.
    cells_around = round(3 * SMOOTHED_CELLS)
    own = []
    for low, high in (_ends(x), _ends(y)):
        more = cells_around * (high - low) / CELLS
        own.append((low - more, high + more))
    counts, first, second = np.histogram2d(x, y, CELLS + 2 * cells_around, own)
    density = gaussian_filter(counts, SMOOTHED_CELLS, mode="nearest")
    ordered = np.sort(density.ravel())[::-1]
    shares = np.cumsum(ordered) / ordered.sum()
    heights = sorted({float(ordered[np.searchsorted(shares, share)]) for share in SHARES})
    return (first[1:] + first[:-1]) / 2, (second[1:] + second[:-1]) / 2, density, heights


def _label(axis: Axes, x: Drawn, y: Drawn, *, last: bool, first: bool) -> None:
    """Labels at the lower and the left edge only."""
    size = canvas.small()
    inches = axis.get_window_extent().width / axis.figure.dpi
    axis.set_xticks(_inner_ticks(*axis.get_xlim(), inches))
    axis.tick_params(labelsize=size, labelbottom=last, labelleft=first)
    if last:
        axis.set_xlabel(_words(x, inches), fontsize=size)
    if x is not y:
        axis.set_yticks(_inner_ticks(*axis.get_ylim(), inches))
    if first:
        axis.set_ylabel(_words(y, inches), fontsize=size)
    axis.ticklabel_format(style="plain", useOffset=False)


def _inner_ticks(low: float, high: float, inches: float) -> list[float]:
    """Ticks whose labels do not touch each other, nor those of the next panel: two at least where
    they have room.

    inches  from the low to the high end
    """
    from matplotlib.ticker import MaxNLocator

    edge, first = (0.18 * (high - low), 2) if canvas.narrow() else (0.06 * (high - low), 4)
    chosen: list[float] = []
    for bins in range(first, first + 5):
        ticks = [float(tick) for tick in MaxNLocator(bins, min_n_ticks=1).tick_values(low, high)]
        inner = [tick for tick in ticks if low + edge <= tick <= high - edge]
        chosen = chosen or inner
        # the outermost two, between whose labels and those of the next panel is room
        if canvas.narrow():
            inner = []
            for tick in ticks:
                half = canvas.sized(0.035 * len(f"{tick:.6g}")) - BETWEEN / 3  # of its label
                room = inches * min(tick - low, high - tick) / (high - low)
                if low < tick < high and half <= room:
                    inner.append(tick)
            inner = inner[:: max(len(inner) - 1, 1)]
        if len(inner) > 1:
            apart = inches * (inner[1] - inner[0]) / (high - low)
            widest = max(len(f"{tick:.6g}") for tick in inner)
            if apart >= canvas.sized(0.07 * widest + 0.02) or not canvas.narrow():
                return inner
    return chosen


def _words(parameter: Drawn, inches: float) -> str:
    """Name and unit, in lines as long as a panel."""
    origin = f" from {parameter.origin:,.12g}" if parameter.origin and not canvas.narrow() else ""
    words = with_unit(f"{in_symbols(parameter.name)}{origin}", typeset(parameter.unit))
    room = min(canvas.characters(inches=inches + BETWEEN), 8) if canvas.narrow() else LONGEST_LABEL
    return canvas.wrap(words.replace("10⁶ m³", "10⁶\u00a0m³"), room)


# The corner plot of draws in files, as `predict`, `invert` and ArviZ write them; of several files
# over each other.

OF_DRAWS = "_posterior.nc"
"""How a file of draws ends that lies beside a file of estimates."""


def draw_corner(
    paths: Sequence[Path],
    sample: str = "",
    folder: Path | None = None,
    formats: Sequence[str] = ("png",),
) -> list[Path]:
    """Draw the posteriors of one sample: of the parameters that all files have, in the units of the
    first file.

    sample  its name; if empty, the first one with draws in the first file, which is then looked for
            in the others
    folder  for the pictures; None: that of the first file
    Returns the pictures. Raises QexpError.
    """
    require_formats(formats)
    stem = "_and_".join(path.stem for path in paths) + f"_{safe(sample)}" * bool(sample)
    draws: dict[str, dict[str, Array]] = {}
    units = dict[str, str]()
    truth = dict[str, float]()
    for path in paths:
        table, whose = _of_sample(path, sample)
        sample = table.attrs["sample"]
        for key, values in table.items():
            name = str(key)
            about = values.attrs
            factor = conversion(about["units"], units.setdefault(name, about["units"]))
            if factor is not None:
                drawn = factor * values.values.ravel()
                draws.setdefault(name, {})[f"{path.name}: {whose}"] = drawn
                if np.isfinite(about.get("true", np.nan)):
                    truth[name] = factor * about["true"]
    shared = [
        Drawn(name, units[name], posteriors, truth.get(name))
        for name, posteriors in draws.items()
        if len(posteriors) == len(paths)
    ]
    if not shared:
        raise QexpError(f"{paths[-1]} has no parameter of the others: {some([*draws])}")
    which = f"sample {sample}" if sample else "one observation"
    one = f"{whose}, {which}: {table.sizes['draw']:,} draws"
    figure = corner(shared, f"Posteriors of {which}" if len(paths) > 1 else one, "true value")
    pictures = [(folder or paths[0].parent) / f"{stem}.{ending}" for ending in formats]
    for picture in pictures:
        make_folder(picture.absolute().parent)
        save(figure, picture)
    return pictures


def _of_sample(path: Path, sample: str) -> tuple[xarray.Dataset, str]:
    """Parameter → draws of a sample, with its true value if estimates have it; and whose."""
    import xarray

    require_file(path)
    require_hdf5(path)
    estimates = path.with_name(f"{path.name.removesuffix(OF_DRAWS)}.nc")
    estimated = xarray.Dataset()
    if estimates.is_file() and estimates != path:
        estimated = read_netcdf(estimates)
    try:
        with xarray.open_datatree(path, engine="h5netcdf", decode_times=False) as tree:
            table = tree.children.get("posterior", tree).to_dataset()
            about = tree.attrs
            dimensions = {name: {*values.dims} - {"sample"} for name, values in table.items()}
            table = table[[name for name in table if dimensions[name] == {"chain", "draw"}]]
            row = 0
            if "sample" in table.dims:
                names = [str(name) for name in table["sample"].values]
                sample = sample or _first_with_draws(table, names)
                if sample not in names:
                    raise QexpError(
                        f"{path} has no draws of a sample '{sample}'; {suggestion(sample, names)}"
                    )
                row = names.index(sample)
                table = table.isel(sample=row)
            table.load()
    except BROKEN_NETCDF as error:
        raise QexpError(f"{path} cannot be read as a file of draws: {error}") from error
    if not table or not all(np.isfinite(draws).all() for draws in table.values()):
        raise QexpError(
            f"{path} has no draws of sample '{sample}', as estimates with `draws` have them"
        )
    for name, draws in table.items():
        draws.attrs.setdefault("units", "")
        if {name, estimate_of(str(name))} <= {*estimated} and estimated[name].dtype.kind == "f":
            true = estimated[name]
            factor = conversion(true.attrs.get("units", draws.units), draws.units)
            if factor is not None:
                draws.attrs["true"] = factor * float(true[row])
    whose = [about.get("run") or about.get("title", ""), about.get("caution", "")]
    if "posteriors" in about:
        whose.append("by the likelihood")
    if "recalibrated" in about:
        whose.append("recalibrated")
    return table.assign_attrs(sample=sample), ", ".join(filter(None, whose)) or "draws"


def _first_with_draws(table: xarray.Dataset, names: Sequence[str]) -> str:
    first = next(iter(table.values()))
    for index, name in enumerate(names):
        if np.isfinite(first.isel(sample=index)).all():
            return name
    return ""

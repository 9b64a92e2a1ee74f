"""Runs that differ by seed: test errors, and a metric over the values of a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import in_words, typeset, with_unit
from qexp.base.text import number_in
from qexp.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOGARITHMIC_ERRORS = 5.0
"""Values that span more than this factor are shown on a logarithmic axis."""

HEIGHT_OF_ROW = 0.45
"""Of dots above a mean [inch]."""


@dataclass(frozen=True)
class OfSeeds:
    """A metric of several runs that differ in their seed."""

    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    """95 % interval of the mean."""


def errors_of_seeds(
    outputs: Mapping[str, Mapping[str, OfSeeds]], units: Mapping[str, str], part: str = "test"
) -> Figure:
    """A panel per output, a row per group: a dot per seed, and below them the mean with its
    interval.

    outputs  output → group → its errors
    units    output → its unit
    part     of the data, or an evaluation
    """
    names = list(dict.fromkeys(name for groups in outputs.values() for name in groups))
    labels = [canvas.wrap_label(name) for name in names]
    figure, axes = canvas.row_panels(len(outputs), 4.4, labels, HEIGHT_OF_ROW, top=0.62)
    colours = {name: canvas.COLOURS[row % len(canvas.COLOURS)] for row, name in enumerate(names)}
    for axis, (output, groups) in zip(axes, outputs.items(), strict=True):
        _draw_rows(axis, names, groups, colours)
        axis.set_title(f"{in_words(output)}, {part}", fontsize=canvas.sized(10), y=canvas.TITLE)
    told = canvas.scales_differ(*(axis.xaxis for axis in axes))
    for axis, output in zip(axes, outputs, strict=True):
        unit = typeset(units.get(output, ""))
        if told and axis.get_xscale() == "log":
            unit = ", ".join(filter(None, [unit, canvas.LOGARITHMIC]))
        words = (with_unit(metric, unit) for metric in ("mean absolute error", "MAE"))
        axis.set_xlabel(canvas.fitting(axis, *words))
    caption = "dots: seeds; diamond and line: mean and its 95 % interval (Student)"
    canvas.add_title(figure, "", caption=caption)
    return figure


def values_in_rows(values: Mapping[str, OfSeeds], words: str, strong: str = "") -> Figure:
    """A row for each value with its interval, and the seeds whose mean it is, if any, as dots
    above.

    words   what is measured, with its unit
    strong  the name of the row that stands out
    """
    labels = [canvas.wrap_label(name) for name in values]
    several = any(row.values for row in values.values())
    figure, (axis,) = canvas.row_panels(1, 4.4, labels, HEIGHT_OF_ROW if several else 0.25, top=0.1)
    _draw_rows(
        axis, list(values), values, {name: canvas.COLOURS[name == strong] for name in values}
    )
    axis.set_xlabel(words)
    return figure


def _draw_rows(
    axis: Axes, names: Sequence[str], groups: Mapping[str, OfSeeds], colours: Mapping[str, str]
) -> None:
    values = np.array([value for row in groups.values() for value in (*row.values, row.mean)])
    values = values[np.isfinite(values)]
    positive = len(values) > 0 and values.min() > 0
    logarithmic = positive and values.max() > LOGARITHMIC_ERRORS * values.min()
    if logarithmic:
        axis.set_xscale("log")
    # An interval that reaches zero has no end on a logarithmic axis; an arrow shows that it
    # continues.
    left = values.min() / 2 if logarithmic else -np.inf
    for row, name in enumerate(names):
        if name not in groups:
            continue
        group = groups[name]
        shift = 0.15 if groups[name].values else 0.0
        settings: canvas.Style = {"color": colours[name], "markersize": 5}
        axis.plot(
            group.values,
            np.full(len(group.values), row - 0.15),
            "o",
            alpha=0.55,
            markeredgewidth=0,
            **settings,
        )
        axis.plot(group.mean, row + shift, "D", **settings)
        if group.interval is not None:
            low, high = group.interval
            ends = [max(low, left), high]
            axis.plot(ends, [row + shift] * 2, "-", color=colours[name], linewidth=1.8)
            if low < left:
                axis.plot(left, row + shift, "<", clip_on=False, **settings)
    if logarithmic:
        axis.set_xlim(left, None)
        canvas.plain_numbers(axis.xaxis)


LOGARITHMIC_VALUES = 20.0
"""Values that span more than this factor lie on a logarithmic axis."""

IN_A_ROW = 3
"""Largest number of panels in a row."""

SPACE = 0.1
"""Beside the outermost values, as a share of the distance between these."""

NEAR_LABELS = 0.06
"""Smallest distance between labels, as a share of the axis; nearer ones would touch."""

DODGE, ASIDE = 9.0, 3.5
"""Offsets between neighbouring experiences, and between a mean and its seeds [point]."""

MARGIN, CUT = 0.08, 1.0
"""Space above and below what is drawn, as a share of the range of dots and means; and how far an
interval is drawn beyond these, as a share of it: those of two seeds are very wide.
"""


@dataclass(frozen=True)
class Line:
    """The line of one experience."""

    spots: dict[str, OfSeeds]
    """Value as written → the metric of its seeds."""
    constant: bool = False
    """Whether it does not depend on the key, so that all spots are the same."""


Panels = Mapping[str, Mapping[str, Line]]
"""Title → experience or value → its values; empty without any run."""


@dataclass(frozen=True)
class ValueAxis:
    """Positions of values on an axis."""

    positions: Mapping[str, float]
    labels: Mapping[str, str]
    logarithmic: bool


def layout_of(values: Sequence[str], numbers: Mapping[str, float] = {}) -> ValueAxis:
    """The positions of values, some of which may be words.

    values   as written
    numbers  word → the number that it stands for, such as the size of `all`; other words are placed
             after the largest number, or side by side if there are no numbers
    """
    number_of: dict[str, float] = {}
    labels = {text: text for text in values}
    for text in values:
        number = _number(text)
        if text in numbers:
            number = numbers[text]
            labels[text] = f"{text} ({number:g})"
        if number is not None:
            number_of[text] = number
    if not number_of:
        return ValueAxis({text: float(index) for index, text in enumerate(values)}, labels, False)
    ascending = sorted(number_of.values())
    logarithmic = ascending[0] > 0 and ascending[-1] > LOGARITHMIC_VALUES * ascending[0]
    scaled = np.log(ascending) if logarithmic else np.array(ascending)
    gaps = np.diff(scaled)
    step = 0.5 if logarithmic else abs(scaled[-1]) or 1.0
    if (gaps > 0).any():
        step = float(np.median(gaps[gaps > 0]))
    positions = {}
    for text in values:
        if text not in number_of:
            scaled = np.append(scaled, scaled[-1] + step)
        next_position = float(np.exp(scaled[-1]) if logarithmic else scaled[-1])
        positions[text] = number_of.get(text, next_position)
    return ValueAxis(positions, labels, bool(logarithmic))


def study_panels(
    panels: Panels,
    axis: str,
    values: Sequence[str],
    measured: str,
    numbers: Mapping[str, float] = {},
    floor: float | None = None,
    title: str = "",
    badness: Callable[[float], float | None] = lambda mean: None,
) -> Figure:
    """A panel for each combination of further keys: a line of means for each experience, or for
    each value of a second key, with intervals. Where there is no run, lines are broken.

    axis      name of the key whose values are along the horizontal axis
    values    of that key, as written
    measured  label of the other axis
    numbers   word → the number that it stands for
    floor     values below it are counted in the caption and not drawn: one failure would flatten
              everything else
    title     what is the same for all
    badness   mean → a number that is least for the best one, which is marked; None: unknown
    """
    layout = layout_of(values, numbers)
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    figure, axes = canvas.folded(
        len(panels), 5.6 if len(panels) == 1 else 4.2, 3.6, IN_A_ROW, shared=True
    )
    low, high, hidden_dots = floored(panels, floor)
    step = min(1.0, 16 / (len(values) * len(names)))
    best = None
    spots = _spots(panels)
    if len(spots) > 1 and badness(spots[0].mean) is not None:
        best = min(spots, key=lambda spot: badness(spot.mean) or 0.0)
    for panel, (words, lines) in zip(axes, panels.items(), strict=False):
        if layout.logarithmic:
            panel.set_xscale("log")
        for index, name in enumerate(names):
            line = lines.get(name, Line({}))
            offset = step * (index - (len(names) - 1) / 2)
            colour = canvas.COLOURS[index % len(canvas.COLOURS)]
            _draw(panel, name, line, layout, colour, offset, (low, high), best)
        _label(panel, layout, axis)
        panel.set_ylim(low, high)
        panel.set_ylabel(canvas.fitting(panel, measured, upright=True))
        panel.set_title(canvas.fitting(panel, words), fontsize=canvas.sized(10))
    canvas.share_below(axes)
    canvas.legend_below(figure, *axes)
    all_lines = [line for lines in panels.values() for line in lines.values()]
    band = "; band" if any(line.constant for line in all_lines) else ""
    caption = f"dots: seeds; diamond and bar{band}: mean and its 95 % interval (Student)"
    if hidden_dots:
        caption += f"; {hidden_dots} dot{'s' * (hidden_dots != 1)} below {floor:g} not shown"
    ends = [end for spot in _spots(panels) for end in spot.interval or ()]
    if any(not low <= end <= high for end in ends):
        caption += "; arrows: intervals that go on beyond the frame"
    canvas.add_title(figure, title, caption=caption)
    return figure


def _draw(
    axis: Axes,
    name: str,
    line: Line,
    layout: ValueAxis,
    colour: str,
    offset: float,
    limits: tuple[float, float],
    best: OfSeeds | None,
) -> None:
    """Dots, means and intervals of an experience; intervals beyond the limits end in arrows."""
    from matplotlib.transforms import ScaledTranslation

    assert axis.figure is not None
    if line.constant:
        spot = next(iter(line.spots.values()))
        axis.axhline(spot.mean, color=colour, linewidth=1.4, linestyle="--", label=name)
        if spot.interval is not None:
            axis.axhspan(*spot.interval, color=colour, alpha=0.12, linewidth=0)
            place = axis.get_yaxis_transform()
            _mark_ends(axis, spot.interval, limits, 0.99, color=colour, transform=place)
        return
    where = sorted(layout.positions, key=lambda text: layout.positions[text])
    x = [layout.positions[text] for text in where]
    spots = [line.spots.get(text, OfSeeds([], np.nan, None)) for text in where]
    # Means are joined by a thin line for the eye, and have a bar each: a band would suggest data
    # between them.
    inches = axis.figure.dpi_scale_trans
    moved = axis.transData + ScaledTranslation(DODGE * offset / 72, 0, inches)
    drawn: canvas.Style = {"color": colour, "transform": moved}
    axis.plot(x, [spot.mean for spot in spots], "-", linewidth=0.8, alpha=0.6, **drawn)
    axis.plot(x, [spot.mean for spot in spots], "D", markersize=4.5, label=name, **drawn)
    # Its error is too good: it was chosen by it.
    ring: canvas.Style = {"color": "0.2", "markerfacecolor": "none", "label": "best mean"}
    cross: canvas.Style = {"color": "0.4", "clip_on": False, "label": "no run is done"}
    for position, spot in zip(x, spots, strict=True):
        if not spot.values:
            axis.plot(position, limits[0], "x", transform=moved, **cross)
        elif spot is best:
            axis.plot(position, spot.mean, "o", markersize=13, transform=moved, **ring)
    ends = np.array([spot.interval or (np.nan, np.nan) for spot in spots])
    for position, (low, high) in zip(x, ends, strict=True):
        axis.plot(
            [position, position], [low, high], "-", linewidth=1.6, solid_capstyle="butt", **drawn
        )
        _mark_ends(axis, (low, high), limits, position, **drawn)
    moved = axis.transData + ScaledTranslation((DODGE * offset + ASIDE) / 72, 0, inches)
    dots: canvas.Style = {"color": colour, "markersize": 3.5, "alpha": 0.45, "markeredgewidth": 0}
    for position, spot in zip(x, spots, strict=True):
        axis.plot([position] * len(spot.values), spot.values, "o", transform=moved, **dots)


def _mark_ends(
    axis: Axes,
    interval: tuple[float, float],
    limits: tuple[float, float],
    position: float,
    **drawn: Any,
) -> None:
    for end, limit, marker in zip(interval, limits, "v^", strict=True):
        if end < limits[0] or end > limits[1]:
            axis.plot(position, limit, marker, markersize=6, clip_on=False, **drawn)


def _label(axis: Axes, layout: ValueAxis, name: str) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    positions = np.array(list(layout.positions.values()))
    scaled = np.log(positions) if layout.logarithmic else positions
    margin = SPACE * float(np.ptp(scaled)) or 1.0
    ends = scaled.min() - margin, scaled.max() + margin
    axis.set_xlim(*(np.exp(ends) if layout.logarithmic else ends))
    axis.set_xticks(positions, list(_apart(layout, scaled)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(name)
    axis.grid(alpha=0.25, linewidth=0.5)


def _apart(layout: ValueAxis, scaled: NDArray[np.floating]) -> Iterator[str]:
    """The labels, empty where they would touch another; the last one is always shown."""
    span = np.ptp(scaled) or 1.0
    written: list[float] = []
    has_room = {}
    for index in np.argsort(scaled, kind="stable")[::-1]:
        text = list(layout.positions)[index]
        # Labels are centred; words are wider than numbers.
        least = NEAR_LABELS * max(1.0, len(layout.labels[text]) / 6)
        has_room[text] = all(abs(scaled[index] - other) >= least * span for other in written)
        if has_room[text]:
            written.append(scaled[index])
    for text in layout.positions:
        yield canvas.wrap(layout.labels[text], 12) if has_room[text] else ""


def floored(panels: Panels, floor: float | None) -> tuple[float, float, int]:
    """The limits of an axis, cut at a floor if values are below, and the number of these."""
    spots = _spots(panels)
    values = np.array([value for spot in spots for value in (*spot.values, spot.mean)])
    ends = [end for spot in spots for end in spot.interval or ()]
    low = float(values.min())
    high = float(values.max())
    hidden = 0
    if floor is not None and low < floor < high:
        low = floor
        hidden = sum(value < floor for spot in spots for value in spot.values)
    elif ends:
        reach = CUT * (high - low)
        widest = [min(low, *ends), max(high, *ends)]
        low, high = np.clip(widest, low - reach, high + reach).tolist()
    room = MARGIN * (high - low) or 0.05 * abs(high) or 1.0
    return (low if hidden else low - room), high + room, hidden


def _spots(panels: Panels) -> list[OfSeeds]:
    all_lines = [line for lines in panels.values() for line in lines.values()]
    return [spot for line in all_lines for spot in line.spots.values()]


def _number(text: str) -> float | None:
    number = number_in(text)
    return number if number is not None and np.isfinite(number) else None

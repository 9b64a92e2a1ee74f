"""Pieces of HTML for pages and notebooks: tables, lists, notices and small drawings. They know nothing of runs."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from xml.etree import ElementTree

import orjson

from qexp.base.text import cleaned, in_one_line

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from rich.console import Group, RenderableType

LETTER = 7.2
"""Mean width of a letter at 12 px."""

COLOURS = ("#2a86c9", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c6d31", "#7f7f7f")
"""Of lines and points: distinct for colour-blind readers, and visible on white and on black (after Okabe and Ito)."""

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Drawn:
    """A drawing and its title."""

    title: str
    drawing: Markup


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """An element: `text_anchor="end"` gives text-anchor; None leaves an attribute out. Texts are escaped."""
    from markupsafe import Markup, escape

    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_written(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{''.join(map(escape, children))}</{name}>")


def _written(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def drawing(width: float, height: float, label: str, *children: Markup) -> Markup:
    """A drawing that shrinks with the page.

    label  what it shows, for those who do not see it
    """
    return element(
        "svg", *children,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:.6g} {height:.6g}", width=width, height=height,
        role="img", aria_label=label, font_family="system-ui, sans-serif", font_size=12, fill="currentColor",
    )  # fmt: skip


def fitted(text: str, width: float) -> str:
    """A text that is cut in its middle to a width in pixels."""
    most = max(math.floor(width / LETTER + 1e-6), 2)
    start = (most - 1) // 2
    return text if len(text) <= most else f"{text[:start]}…{text[len(text) - (most - 1 - start) :]}"


def width_of(text: str) -> float:
    return LETTER * len(text)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between two ends."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in STEPS if one * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive ends, with 2 and 5 times these where there would be few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            break
    return inside


def number(value: float) -> str:
    """A number at a tick."""
    if value == 0:
        return "0"
    text = f"{value:.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")


# HTML made from templates: all text in it is escaped, and a name that a template does not know is an error.


@cache
def environment(*folders: str) -> Environment:
    """The templates of pages and notebooks; before them those of folders below theirs."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=ChoiceLoader([PackageLoader("qexp.web", f"templates/{folder}") for folder in (*folders, "")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["data"] = data
    made.filters["breakable"] = breakable
    return made


def breakable(text: str) -> Markup:
    """A long name with places where a line may end: after its underscores, before its points, and not in a unit."""
    from markupsafe import Markup, escape

    whole = re.sub(r"\([^()]*\)", lambda unit: unit[0].replace(" ", "\u00a0"), text)
    return Markup(str(escape(whole)).replace("_", "_<wbr>").replace(".", "<wbr>."))


def data(value: Any) -> Markup:
    """A value as JSON inside a `<script type="application/json">`, where no text of it can end the script."""
    from markupsafe import Markup

    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


# Pictures inside of a page or a notebook.


def picture(title: str, file: Path) -> Drawn:
    """A PNG file."""
    return embedded(title, file.read_bytes())


def embedded(title: str, content: bytes) -> Drawn:
    """The bytes of a PNG."""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Drawn(title, element("img", src=source, alt=title))


def on_paper(drawn: Drawn) -> Drawn:
    """A drawing of lines as a picture on white, which is seen in light and dark notebooks alike."""
    if not drawn.drawing.startswith("<svg"):
        return drawn
    told = ElementTree.fromstring(drawn.drawing)
    coloured = str(drawn.drawing).replace("<svg ", '<svg style="background: #fff; color: #1c2024" ', 1)
    source = f"data:image/svg+xml;base64,{base64.b64encode(coloured.encode()).decode()}"
    return Drawn(drawn.title, element("img", src=source, alt=told.get("aria-label"), width=told.get("width")))


# A map of few cells that needs no script: shares around a value that they should have.


CELL, CELLS_LEFT, CELLS_TOP, CELLS_BOTTOM = 34.0, 62.0, 8.0, 40.0

LOW, HIGH = "#d55e00", "#2a86c9"
"""Of shares below the right one, and above."""

MOST_MARKS = 8


def cells(
    shares: Sequence[Sequence[float]], right: float, edges: Sequence[Sequence[float]], words: Sequence[str], label: str
) -> Markup:
    """A row of cells per value of the second axis, upwards; cells without a share are left empty.

    shares  (first axis, second axis), between 0 and 1, NaN where unknown
    right   the share that cells should have, which is drawn without colour
    edges   of the cells along both axes, drawn at equal distances
    words   what the axes are
    """
    columns, rows = len(shares), len(shares[0])
    high, wide = CELL * rows, CELL * columns
    parts = [
        _cell(share, right, CELLS_LEFT + CELL * column, CELLS_TOP + CELL * (rows - 1 - row), _place(edges, column, row))
        for column, of_column in enumerate(shares)
        for row, share in enumerate(of_column)
    ]
    outline = f"M{CELLS_LEFT:g} {CELLS_TOP:g}h{wide:g}v{high:g}h{-wide:g}z"
    frame = element("path", d=outline, fill="none", stroke="currentColor",
                    stroke_opacity=0.5)  # fmt: skip
    below = element("text", words[0], x=CELLS_LEFT + wide / 2, y=CELLS_TOP + high + 32, text_anchor="middle")
    beside = element(
        "text",
        words[1],
        x=0,
        y=0,
        text_anchor="middle",
        transform=f"translate(12 {CELLS_TOP + high / 2:g}) rotate(-90)",
    )
    marks = [
        *(_mark(value, CELLS_LEFT + CELL * at, CELLS_TOP + high + 15, "middle") for at, value in _marked(edges[0])),
        *(_mark(value, CELLS_LEFT - 6, CELLS_TOP + high - CELL * at + 4, "end") for at, value in _marked(edges[1])),
    ]
    return drawing(CELLS_LEFT + wide + 12, CELLS_TOP + high + CELLS_BOTTOM, label, *parts, frame, *marks, below, beside)


def _cell(share: float, right: float, x: float, y: float, place: str) -> Markup:
    if math.isnan(share):
        return element("g")
    strength = min(abs(share - right) / (1 - right if share > right else 0.25), 1.0)
    title = element("title", f"{100 * share:.0f} %, {place}")
    return element(
        "g",
        title,
        element(
            "rect", x=x, y=y, width=CELL, height=CELL, fill=HIGH if share > right else LOW, fill_opacity=0.75 * strength
        ),
        element("text", f"{100 * share:.0f}", x=x + CELL / 2, y=y + CELL / 2 + 4, text_anchor="middle", font_size=11),
    )


def _place(edges: Sequence[Sequence[float]], column: int, row: int) -> str:
    first, second = edges
    return f"{number(first[column])} to {number(first[column + 1])}, {number(second[row])} to {number(second[row + 1])}"


def _marked(edges: Sequence[float]) -> Iterator[tuple[int, float]]:
    """Inner edges, every second if there are many; the outer ones are ends of the prior."""
    for at in range(1, len(edges) - 1, 1 if len(edges) <= MOST_MARKS else 2):
        yield at, edges[at]


def _mark(value: float, x: float, y: float, anchor: str) -> Markup:
    return element("text", f"{value:.2g}", x=x, y=y, text_anchor=anchor, font_size=11)


# Boxes and arrows from left to right: what came from what.


BOX, GAP_ACROSS, GAP_DOWN, LINE, PADDING = 190.0, 86.0, 14.0, 16.0, 8.0
"""Pixels: width of a box, distance between columns and between boxes, height of a line, room inside a box."""


@dataclass(frozen=True)
class Box:
    """What an arrow leads to or starts from."""

    key: str
    kind: str
    """What it is, such as "run"."""
    name: str
    lines: Sequence[str] = ()
    strong: bool = False


@dataclass(frozen=True)
class Arrow:
    start: str
    end: str
    words: str = ""


def graph(boxes: Sequence[Box], arrows: Sequence[Arrow], label: str) -> Markup:
    """The boxes in columns, each to the right of all that it came from."""
    columns = _columns(boxes, arrows)
    heights = {box.key: 2 * PADDING + LINE * (2 + len(box.lines)) for box in boxes}
    tallest = max(sum(heights[box.key] + GAP_DOWN for box in column) - GAP_DOWN for column in columns)
    places: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        y = 1 + (tallest - sum(heights[box.key] + GAP_DOWN for box in column) + GAP_DOWN) / 2
        for box in column:
            places[box.key] = (1 + number * (BOX + GAP_ACROSS), y)
            y += heights[box.key] + GAP_DOWN
    drawn = [
        *(part for arrow in arrows for part in _arrow(arrow, places, heights)),
        *(_box(box, *places[box.key], heights[box.key]) for box in boxes),
    ]
    width = len(columns) * (BOX + GAP_ACROSS) - GAP_ACROSS + 2
    return drawing(width, tallest + 2, label, *drawn)


def _columns(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> list[list[Box]]:
    """Boxes by the length of the longest way to them; what starts nothing but one box stands right before that."""
    before: Mapping[str, set[str]] = {box.key: {one.start for one in arrows if one.end == box.key} for box in boxes}
    depth: dict[str, int] = {}
    order = list(TopologicalSorter(before).static_order())
    for key in order:
        depth[key] = max((depth[one] + 1 for one in before[key]), default=0)
    for key in reversed(order):
        after = [depth[one.end] for one in arrows if one.start == key]
        if after:
            depth[key] = min(after) - 1
    return [[box for box in boxes if depth[box.key] == column] for column in range(max(depth.values()) + 1)]


def _arrow(arrow: Arrow, places: Mapping[str, tuple[float, float]], heights: Mapping[str, float]) -> Iterator[Markup]:
    x, y = places[arrow.start][0] + BOX, places[arrow.start][1] + heights[arrow.start] / 2
    end_x, end_y = places[arrow.end][0], places[arrow.end][1] + heights[arrow.end] / 2
    middle = (x + end_x) / 2
    line = f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {end_y:g} {end_x - 7:g} {end_y:g}"
    yield element("path", d=line, fill="none", stroke="currentColor", stroke_opacity=0.6)
    yield element("path", d=f"M{end_x - 8:g} {end_y - 4:g}l8 4l-8 4z", fill_opacity=0.6)
    if arrow.words:
        words = fitted(arrow.words, GAP_ACROSS + 12)
        at = {"x": (x + end_x) / 2, "y": (y + end_y) / 2 - 6}
        yield element("text", element("title", arrow.words), words, text_anchor="middle", font_size=11, **at)


def _box(box: Box, x: float, y: float, height: float) -> Markup:
    colour = COLOURS[1] if box.strong else "currentColor"
    frame = element(
        "rect", x=x, y=y, width=BOX, height=height, rx=6, fill="none", stroke=colour,
        stroke_width=2 if box.strong else 1, stroke_opacity=None if box.strong else 0.5,
    )  # fmt: skip
    inside = BOX - 2 * PADDING
    at = x + PADDING
    texts = [
        element("text", box.kind, x=at, y=y + PADDING + 11, font_size=11, fill_opacity=0.8),
        element("text", fitted(box.name, inside), x=at, y=y + PADDING + 11 + LINE, font_weight="bold"),
        *(
            element("text", fitted(line, inside * 1.08), x=at, y=y + PADDING + 11 + LINE * number, font_size=11)
            for number, line in enumerate(box.lines, start=2)
        ),
    ]
    cut = any(width_of(text) > inside for text in (box.name, *box.lines))
    title = [element("title", "\n".join([box.name, *box.lines]))] if cut else []
    return element("g", *title, frame, *texts)


# Values with their intervals, one line each: what a result is, and how sure it is.


INTERVALS_TOP, INTERVALS_BOTTOM = 6.0, 40.0
"""Pixels above the first line and below the last one."""

BESIDE = 156.0
"""Pixels of the longest name that stands beside its line; if one is longer, all stand above theirs."""

Place = Callable[[float], float]

DECADES = 30
"""Ratio of the largest to the smallest value above which the axis is logarithmic."""


@dataclass(frozen=True)
class Measured:
    """A line of the drawing."""

    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    single: Sequence[float] = ()
    """Values whose mean it is, such as those of seeds."""
    words: str = ""
    """All of it as a text."""
    strong: bool = False
    """Drawn in the colour of what the drawing is about."""


def intervals(lines: Sequence[Measured], axis: str, zero: bool = False) -> Markup:
    """A line for each value: a dot, its interval as a bar, single values as rings.

    axis  what is measured, with its unit
    zero  mark zero, for differences
    """
    known = [value for line in lines for value in _numbers(line)]
    if not known:
        return element("p", "no finite values")
    logarithmic, low, high = _scale([*known, 0.0] if zero else known, zero)
    layout = _layout(lines)
    height = layout.line * len(lines)

    def across(value: float) -> float:
        of, ends = (math.log(value), (math.log(low), math.log(high))) if logarithmic else (value, (low, high))
        return layout.left + layout.plot * (of - ends[0]) / (ends[1] - ends[0])

    marks = logarithmic_ticks(low, high) if logarithmic else ticks(low, high, 6)
    parts = [*_axis(marks, across, height, zero), *_lines(lines, across, layout)]
    label = element("text", axis, x=layout.left + layout.plot / 2, y=INTERVALS_TOP + height + 34, text_anchor="middle")
    said = f"{axis}: " + "; ".join(f"{line.name} {line.words}" for line in lines)
    return drawing(layout.left + layout.plot + 14, INTERVALS_TOP + height + INTERVALS_BOTTOM, said, *parts, label)


@dataclass(frozen=True)
class _Layout:
    """Pixels: height of a line, width of the axis, room to its left, and whether names stand above their lines."""

    line: float
    plot: float
    left: float
    above: bool


def _layout(lines: Sequence[Measured]) -> _Layout:
    longest = max(width_of(line.name) for line in lines) + 12
    # A drawing with long names is no wider than a phone.
    return _Layout(38.0, 330.0, 14.0, True) if longest > BESIDE else _Layout(24.0, 400.0, longest, False)


def _name(line: Measured, y: float, layout: _Layout) -> Markup:
    weight = {"font_weight": "bold"} if line.strong else {}
    if layout.above:
        return element("text", fitted(line.name, layout.left + layout.plot), x=2, y=y - 9, **weight)
    return element("text", line.name, x=layout.left - 10, y=y + 4, text_anchor="end", **weight)


def _numbers(line: Measured) -> Iterator[float]:
    for value in (line.value, *(line.interval or ()), *line.single):
        if value is not None and math.isfinite(value):
            yield value


def _scale(values: Sequence[float], zero: bool) -> tuple[bool, float, float]:
    """Whether the axis is logarithmic, and its ends."""
    low, high = min(values), max(values)
    if low > 0 and not zero and high / low > DECADES:
        return True, low / 1.3, high * 1.3
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return False, low - room, high + room


def _axis(marks: Sequence[float], across: Place, height: float, zero: bool) -> Iterator[Markup]:
    for value in marks:
        x = across(value)
        line = {"stroke": "currentColor", "stroke_opacity": 0.6 if zero and value == 0 else 0.15}
        yield element("path", d=f"M{x:.1f} {INTERVALS_TOP:g}V{INTERVALS_TOP + height:g}", fill="none", **line)
        yield element("text", number(value), x=x, y=INTERVALS_TOP + height + 16, text_anchor="middle", font_size=11)


def _lines(lines: Sequence[Measured], across: Place, layout: _Layout) -> Iterator[Markup]:
    for index, line in enumerate(lines):
        y = INTERVALS_TOP + layout.line * (index + (0.72 if layout.above else 0.5))
        colour = COLOURS[1] if line.strong else COLOURS[0]
        parts = [element("title", f"{line.name}: {line.words}")]
        parts.append(_name(line, y, layout))
        if line.interval is not None and all(map(math.isfinite, line.interval)):
            low, high = (across(end) for end in line.interval)
            ends = f"M{low:.1f} {y - 4:g}v8M{low:.1f} {y:g}H{high:.1f}M{high:.1f} {y - 4:g}v8"
            parts.append(element("path", d=ends, stroke=colour, stroke_width=2, fill="none"))
        for value in line.single:
            if math.isfinite(value):
                parts.append(
                    element("circle", cx=across(value), cy=y, r=3, fill="none", stroke=colour, stroke_opacity=0.8)
                )
        if line.value is not None and math.isfinite(line.value):
            parts.append(element("circle", cx=across(line.value), cy=y, r=4.5, fill=colour))
        yield element("g", *parts)


# Curves that need no script, for notebooks: the same panels that pages draw by mouse.


WIDTH, HEIGHT, LINES_LEFT, LINES_TOP, LINES_BOTTOM, KEY = 300.0, 170.0, 62.0, 8.0, 40.0, 16.0

MOST_NAMED = 6
"""Curves that are named below the drawing."""


def lines(panel: Mapping[str, Any]) -> Markup:
    """A panel of `qexp.web.drawings`: its `series` over `x`, on a logarithmic scale if all values are positive."""
    series: Sequence[Mapping[str, Any]] = panel["series"]
    drawn = [values for one in series for values in (one["values"], *(one.get("band") or ()))]
    values = [value for values in drawn for value in values if value is not None and math.isfinite(value)]
    if not values:
        return element("p", "no finite values")
    logarithmic = bool(panel.get("logarithmic")) and min(values) > 0
    across, up, marks = _places(panel["x"], values, logarithmic)
    bands = [_band(one, panel["x"], across, up) for one in series if one.get("band")]
    parts = [*_axes(panel["x"], marks, across, up), *bands, *(_curve(one, panel["x"], across, up) for one in series)]
    named = [one for one in series if not one.get("faint")] if len(series) > MOST_NAMED else series
    named = named if len(named) <= MOST_NAMED else []
    keys = [_key(one, LINES_TOP + HEIGHT + LINES_BOTTOM + KEY * index) for index, one in enumerate(named)]
    label = element("text", panel["words"], x=LINES_LEFT + WIDTH / 2, y=LINES_TOP + HEIGHT + 32, text_anchor="middle")
    height = LINES_TOP + HEIGHT + LINES_BOTTOM + KEY * len(keys)
    said = f"{panel['title']} over {panel['words']}: {', '.join(one['words'] for one in named)}"
    return drawing(LINES_LEFT + WIDTH + 12, height, said, *parts, label, *keys)


def _places(x: Sequence[float], values: Sequence[float], logarithmic: bool) -> tuple[Place, Place, list[float]]:
    of: Place = math.log if logarithmic else float
    low, high = of(min(values)), of(max(values))
    room = 0.06 * (high - low) or 0.5
    low, high = low - room, high + room
    first, last = float(x[0]), float(x[-1] if x[-1] != x[0] else x[0] + 1)
    marks = logarithmic_ticks(math.exp(low), math.exp(high)) if logarithmic else ticks(low, high, 4)

    def across(value: float) -> float:
        return LINES_LEFT + WIDTH * (value - first) / (last - first)

    def up(value: float) -> float:
        return LINES_TOP + HEIGHT * (1 - (of(value) - low) / (high - low))

    return across, up, marks


def _axes(x: Sequence[float], marks: Sequence[float], across: Place, up: Place) -> Iterator[Markup]:
    faint = {"fill": "none", "stroke": "currentColor", "stroke_opacity": 0.15}
    for value in marks:
        yield element("path", d=f"M{LINES_LEFT:g} {up(value):.1f}h{WIDTH:g}", **faint)
        yield element("text", number(value), x=LINES_LEFT - 6, y=up(value) + 4, text_anchor="end", font_size=11)
    whole = [value for value in ticks(x[0], x[-1], 5) if value == round(value)] if x[-1] > x[0] else [float(x[0])]
    for value in whole:
        yield element(
            "text", number(value), x=across(value), y=LINES_TOP + HEIGHT + 15, text_anchor="middle", font_size=11
        )
    yield element("path", d=f"M{LINES_LEFT:g} {LINES_TOP:g}v{HEIGHT:g}h{WIDTH:g}", **{**faint, "stroke_opacity": 0.5})


def _curve(one: Mapping[str, Any], x: Sequence[float], across: Place, up: Place) -> Markup:
    places: list[str] = []
    begun = False
    for at, value in zip(x, one["values"], strict=True):
        if value is None or not math.isfinite(value):
            begun = False
            continue
        places.append(f"{'L' if begun else 'M'}{across(at):.1f} {up(value):.1f}")
        begun = True
    return element(
        "path", element("title", one["words"]), d="".join(places), fill="none", stroke=_colour(one), stroke_width=1.6,
        stroke_linecap="round", stroke_opacity=0.5 if one.get("faint") else None,
        stroke_dasharray="5 4" if one.get("dashed") else None,
    )  # fmt: skip


def _band(one: Mapping[str, Any], x: Sequence[float], across: Place, up: Place) -> Markup:
    low, high = one["band"]
    known = [index for index, value in enumerate(low) if value is not None]
    edge = [(x[index], high[index]) for index in known] + [(x[index], low[index]) for index in reversed(known)]
    places = "L".join(f"{across(at):.1f} {up(value):.1f}" for at, value in edge)
    return element("path", d=f"M{places}z", fill=_colour(one), fill_opacity=0.18)


def _key(one: Mapping[str, Any], y: float) -> Markup:
    dashes = "5 4" if one.get("dashed") else None
    line = f"M{LINES_LEFT:g} {y + 6:g}h22"
    return element(
        "g",
        element("path", d=line, fill="none", stroke=_colour(one), stroke_width=2, stroke_dasharray=dashes),
        element("text", one["words"], x=LINES_LEFT + 28, y=y + 10, font_size=11),
    )


def _colour(one: Mapping[str, Any]) -> str:
    return COLOURS[one["colour"] % len(COLOURS)]


# Objects that show themselves: as HTML in a notebook, as tables in a terminal.


class Rows(Protocol):
    """A table."""

    @property
    def title(self) -> str: ...
    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...
    @property
    def right(self) -> frozenset[str]:
        """Columns of numbers."""
        ...


@dataclass(frozen=True)
class View:
    """What is shown of an object, the important first."""

    title: str
    state: str = ""
    cautions: Sequence[str] = ()
    error: str = ""
    parts: Sequence[Rows | Drawn | str] = ()
    more: Mapping[str, Sequence[Rows | Drawn | str]] = field(default_factory=dict)
    """Title → parts that a reader unfolds; a terminal does not show them."""


def html(view: View) -> str:
    """A view for a notebook, with its own style and without scripts. All text in it is escaped.

    Notebooks that are not trusted lose styles and SVG: what matters is seen without a style, and drawings are pictures.
    """

    def of_notebook(parts: Sequence[Rows | Drawn | str]) -> list[Rows | Drawn | str]:
        return [on_paper(part) if isinstance(part, Drawn) else part for part in parts]

    shown = replace(
        view, parts=of_notebook(view.parts), more={title: of_notebook(parts) for title, parts in view.more.items()}
    )
    return environment().get_template("notebook.html").render(view=shown)


class Shown:
    """An object with a view. Notebooks and terminals that know rich or IPython ask it to show itself."""

    def view(self) -> View:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return html(self.view())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from rich.console import Console

        console = Console(width=200, no_color=True, force_terminal=False, force_jupyter=False)
        with console.capture() as printed:
            console.print(self.__rich__())
        printer.text(printed.get().rstrip())

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        view = self.view()
        lines: list[RenderableType] = [Text(f"{in_one_line(view.title)}  {view.state}".rstrip(), style="bold")]
        lines += [Text(cleaned(text), style="yellow") for text in view.cautions]
        lines += [Text(cleaned(view.error), style="red")] if view.error else []
        for part in view.parts:
            if isinstance(part, str):
                lines.append(Text(cleaned(part)))
            elif not hasattr(part, "drawing"):
                lines.append(_table(part))
        return Group(*lines)


def _table(rows: Rows) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(in_one_line(rows.title)) if rows.title else None, title_justify="left", box=None)
    for column in rows.columns:
        side: Literal["left", "right"] = "right" if column in rows.right else "left"
        made.add_column(Text(in_one_line(column)), justify=side, overflow="fold")
    for row in rows.rows:
        made.add_row(*(Text(in_one_line(cell)) for cell in row))
    return made

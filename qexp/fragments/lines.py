"""Curves that need no script, for notebooks: the same panels that pages draw by mouse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qexp.fragments.svg import COLOURS, drawing, element, logarithmic_ticks, number, ticks

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, KEY = 300.0, 170.0, 62.0, 8.0, 40.0, 16.0

MOST_NAMED = 6
"""Curves that are named below the drawing."""

Place = Callable[[float], float]


def lines(panel: Mapping[str, Any]) -> Markup:
    """A panel of `qexp.pages.curves`: its `series` over `x`, on a logarithmic scale if all values are positive."""
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
    keys = [_key(one, TOP + HEIGHT + BOTTOM + KEY * index) for index, one in enumerate(named)]
    label = element("text", panel["words"], x=LEFT + WIDTH / 2, y=TOP + HEIGHT + 32, text_anchor="middle")
    height = TOP + HEIGHT + BOTTOM + KEY * len(keys)
    said = f"{panel['title']} over {panel['words']}: {', '.join(one['words'] for one in named)}"
    return drawing(LEFT + WIDTH + 12, height, said, *parts, label, *keys)


def _places(x: Sequence[float], values: Sequence[float], logarithmic: bool) -> tuple[Place, Place, list[float]]:
    of: Place = math.log if logarithmic else float
    low, high = of(min(values)), of(max(values))
    room = 0.06 * (high - low) or 0.5
    low, high = low - room, high + room
    first, last = float(x[0]), float(x[-1] if x[-1] != x[0] else x[0] + 1)
    marks = logarithmic_ticks(math.exp(low), math.exp(high)) if logarithmic else ticks(low, high, 4)

    def across(value: float) -> float:
        return LEFT + WIDTH * (value - first) / (last - first)

    def up(value: float) -> float:
        return TOP + HEIGHT * (1 - (of(value) - low) / (high - low))

    return across, up, marks


def _axes(x: Sequence[float], marks: Sequence[float], across: Place, up: Place) -> Iterator[Markup]:
    faint = {"fill": "none", "stroke": "currentColor", "stroke_opacity": 0.15}
    for value in marks:
        yield element("path", d=f"M{LEFT:g} {up(value):.1f}h{WIDTH:g}", **faint)
        yield element("text", number(value), x=LEFT - 6, y=up(value) + 4, text_anchor="end", font_size=11)
    whole = [value for value in ticks(x[0], x[-1], 5) if value == round(value)] if x[-1] > x[0] else [float(x[0])]
    for value in whole:
        yield element("text", number(value), x=across(value), y=TOP + HEIGHT + 15, text_anchor="middle", font_size=11)
    yield element("path", d=f"M{LEFT:g} {TOP:g}v{HEIGHT:g}h{WIDTH:g}", **{**faint, "stroke_opacity": 0.5})


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
    line = f"M{LEFT:g} {y + 6:g}h22"
    return element(
        "g",
        element("path", d=line, fill="none", stroke=_colour(one), stroke_width=2, stroke_dasharray=dashes),
        element("text", one["words"], x=LEFT + 28, y=y + 10, font_size=11),
    )


def _colour(one: Mapping[str, Any]) -> str:
    return COLOURS[one["colour"] % len(COLOURS)]

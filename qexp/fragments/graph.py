"""Boxes and arrows from left to right: what came from what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from qexp.fragments.svg import COLOURS, drawing, element, fitted, width_of

if TYPE_CHECKING:
    from markupsafe import Markup

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

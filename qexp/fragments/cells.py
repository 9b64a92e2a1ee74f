"""A map of few cells that needs no script: shares around a value that they should have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qexp.fragments.svg import drawing, element, number

if TYPE_CHECKING:
    from markupsafe import Markup

CELL, LEFT, TOP, BOTTOM = 34.0, 62.0, 8.0, 40.0

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
        _cell(share, right, LEFT + CELL * column, TOP + CELL * (rows - 1 - row), _place(edges, column, row))
        for column, of_column in enumerate(shares)
        for row, share in enumerate(of_column)
    ]
    frame = element("path", d=f"M{LEFT:g} {TOP:g}h{wide:g}v{high:g}h{-wide:g}z", fill="none", stroke="currentColor",
                    stroke_opacity=0.5)  # fmt: skip
    below = element("text", words[0], x=LEFT + wide / 2, y=TOP + high + 32, text_anchor="middle")
    beside = element(
        "text", words[1], x=0, y=0, text_anchor="middle", transform=f"translate(12 {TOP + high / 2:g}) rotate(-90)"
    )
    marks = [
        *(_mark(value, LEFT + CELL * at, TOP + high + 15, "middle") for at, value in _marked(edges[0])),
        *(_mark(value, LEFT - 6, TOP + high - CELL * at + 4, "end") for at, value in _marked(edges[1])),
    ]
    return drawing(LEFT + wide + 12, TOP + high + BOTTOM, label, *parts, frame, *marks, below, beside)


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

"""A network as boxes with arrows between them, from its inputs at the top to its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.figures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Box:
    lines: Sequence[str]
    """What stands in it, the name first."""
    sources: Sequence[int]
    """Numbers of the boxes, all before it, from which arrows lead to it."""
    frame: str = ""
    """The title of the frame that it shares with its neighbours in the list."""
    end: bool = False
    """Whether it is an input or an output."""


LINE, GAP, BESIDE, LANE, PAD = 0.16, 0.28, 0.55, 0.12, 0.08
"""Height of a text; gaps between boxes below and beside each other, and between arrows beside them;
margin of a frame [inch].
"""

ARROW: dict[str, Any] = {"color": "#555555", "linewidth": 0.9, "markersize": 4.5}


def diagram(boxes: Sequence[Box]) -> Figure:
    """Boxes in rows, each below those that lead to it; arrows that pass others run beside them."""
    from matplotlib.patches import Rectangle

    line, gap, beside, pad = map(canvas.sized, (LINE, GAP, BESIDE, PAD))
    longest = max(len(text) for box in boxes for text in box.lines)
    wide = canvas.sized(canvas.WIDTH_OF_CHARACTER) * (longest + 2)
    most = max(len(box.lines) for box in boxes)
    high = line * (most + 0.6)
    rows = _rows(boxes)
    columns = _columns(boxes, rows)
    x = columns * (wide + beside)
    y = rows * (high + gap)
    figure = canvas.blank(1, 1)
    axes = figure.add_axes((0, 0, 1, 1))
    of_text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": canvas.small()}
    for title, members in groupby(range(len(boxes)), lambda number: boxes[number].frame):
        inside = list(members)
        if title:
            left = x[inside].min() - wide / 2 - 2.5 * line - pad
            above = y[inside].min() - pad
            width = x[inside].max() + wide / 2 + pad - left
            height = y[inside].max() + high + pad - above
            frame = Rectangle((left, above), width, height, facecolor="#EEEEEE", zorder=0)
            axes.add_patch(frame)
            axes.text(left + 1.4 * line, above + height / 2, title, rotation=90, **of_text)
    for box, middle, top in zip(boxes, x, y, strict=True):
        colour = "#DCEBF5" if box.end else "white"
        corner = middle - wide / 2, top
        axes.add_patch(Rectangle(corner, wide, high, facecolor=colour, edgecolor="#333333"))
        for number, text in enumerate(box.lines, 1):
            place = top + line * (number - 0.2 + (most - len(box.lines)) / 2)
            weight = "bold" if number == 1 else "normal"
            axes.text(middle, place, text, weight=weight, **of_text)
    for path, head in _arrows(boxes, rows, columns, (wide, high)):
        across, down = zip(*path, strict=True)
        axes.plot(across, down, zorder=0.5, marker=head, markevery=[-1], **ARROW)
    axes.set_axis_off()
    ends = axes.dataLim.padded(canvas.sized(0.15))
    axes.set(xlim=(ends.x0, ends.x1), ylim=(ends.y1, ends.y0))
    figure.set_size_inches(ends.width, ends.height)
    return figure


def _rows(boxes: Sequence[Box]) -> NDArray[np.int_]:
    """The row of each box: below all that lead to it; of an input, above the first it leads to."""
    rows: list[int] = []
    for box in boxes:
        rows.append(max((rows[source] + 1 for source in box.sources), default=0))
    for number, box in enumerate(boxes):
        if not box.sources:
            led_to = [rows[other] for other, to in enumerate(boxes) if number in to.sources]
            rows[number] = min(led_to, default=1) - 1
    return np.array(rows)


def _columns(boxes: Sequence[Box], rows: NDArray[np.int_]) -> NDArray[np.float64]:
    """Where boxes stand in their rows: below the middle of those that lead to them, if they can."""
    columns = np.zeros(len(boxes))
    for row in range(rows.max() + 1):
        members = np.flatnonzero(rows == row)
        wanted = []
        for number in members:
            sources = boxes[number].sources
            inner = [source for source in sources if not boxes[source].end]
            above = columns[list(inner or sources)]
            wanted.append(above.mean() if above.size else max(wanted, default=-1.0) + 1)
        order = np.argsort(wanted, kind="stable")
        placed: list[float] = []
        for index in order:
            placed.append(max([wanted[index], *(last + 1 for last in placed[-1:])]))
        columns[members[order]] = np.array(placed) + np.mean(wanted) - np.mean(placed)
    return columns


def _arrows(
    boxes: Sequence[Box], rows: Any, columns: Any, size: tuple[float, float]
) -> Iterator[tuple[list[tuple[float, float]], int]]:
    """The corners of each arrow, and matplotlib's marker at its end.

    size  width and height of a box
    """
    gap, beside, lane, pad = map(canvas.sized, (GAP, BESIDE, LANE, PAD))
    wide, high = size
    x = columns * (wide + beside)
    y = rows * (high + gap)
    long = []
    for end, box in enumerate(boxes):
        for start in box.sources:
            passed = columns[(rows > rows[start]) & (rows < rows[end])]
            for way, turn in ((end, y[start] + high + gap / 3), (start, y[end] - 2 * gap / 3)):
                if (np.abs(passed - columns[way]) >= 1).all():
                    points = (start, y[start] + high), (start, turn), (end, turn), (end, y[end])
                    yield [(x[place], down) for place, down in points], 7
                    break
            else:
                long.append((start, end))
    taken: set[tuple[int, int, int]] = set()
    for start, end in sorted(long, key=lambda both: rows[both[1]] - rows[both[0]]):
        passed = range(rows[start], rows[end] + 1)
        side = 1 if columns[start] >= columns[rows == rows[start]].mean() else -1
        number = next(n for n in count(1) if not taken & {(side, n, row) for row in passed})
        taken |= {(side, number, row) for row in passed}
        outermost = (side * x[np.isin(rows, passed)]).max() + wide / 2
        turn = side * (outermost + pad + number * lane)
        leaves, arrives = y[start] + 0.7 * high, y[end] + 0.3 * high
        edge = side * wide / 2
        sides = x[start] + edge, x[end] + edge
        yield (
            [(sides[0], leaves), (turn, leaves), (turn, arrives), (sides[1], arrives)],
            4 + (side < 0),
        )

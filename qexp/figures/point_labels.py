"""Names next to points, placed so that no name covers another, and few points are covered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import sized
from qexp.figures.wrapping import wrapped

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

Array = NDArray[np.float64]

LONGEST = 26
"""Largest number of characters of a name that are shown."""

DISTANCES = (0.06, 0.12, 0.2, 0.3, 0.44, 0.6, 0.8)
"""Distances from a point to its name that are tried [inch]."""

MARGIN = 0.03
"""Distance between a name and everything else [inch]."""

DIRECTIONS = 16


def name_points(axis: Axes, names: Sequence[str], points: Array, others: Array, taken: Sequence[Artist] = ()) -> None:
    """Write names near points, with a line to the point if the name is not next to it.

    points  (name, 2), the most important first: a name without a free place is left out
    others  (point, 2), covered only if necessary
    taken   other artists on the axes, never covered

    Limits and aspect of the axes, and the figure's resolution, must be as they will be drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = axis.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    axis.apply_aspect()
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's own
    dpi = float(axis.figure.dpi)
    margin = MARGIN * dpi
    frame = _grown(_extent(axis, renderer), -margin)
    boxes = [_grown(_extent(artist, renderer), margin) for artist in taken]
    obstacles = axis.transData.transform(others)
    for name, point in zip(names, axis.transData.transform(points), strict=True):
        text = axis.text(0, 0, _short(name), fontsize=sized(7.5), transform=None, va="bottom", ha="left", zorder=4)
        left, bottom, right, top = _extent(text, renderer)
        places: list[tuple[int, float, int, Box]] = []
        for distance, box in _places(point, right - left, top - bottom, frame, dpi):
            # Neither a name nor the line to it covers another name.
            if not any(_overlap(box, other) or _covered(other, _line(point, box)) for other in boxes):
                places.append((_covered(_grown(box, margin), obstacles), distance, len(places), box))
        if not places:
            text.remove()
            continue
        box = min(places)[-1]
        text.set_transform(axis.transAxes)
        text.set_position(tuple(axis.transAxes.inverted().transform(box[:2])))
        boxes.append(_grown(box, margin))
        line = _line(point, box)
        if math.dist(line[0], line[-1]) > 1.5 * DISTANCES[0] * dpi:
            ends = axis.transAxes.inverted().transform(line[[0, -1]])
            axis.plot(ends[:, 0], ends[:, 1], color="0.55", linewidth=0.6, transform=axis.transAxes, zorder=1.5)
            # Lines cross only if necessary.
            obstacles = np.concatenate([obstacles, line])


Box = tuple[float, float, float, float]
"""Left, bottom, right and top of a name [pixel]."""


def _extent(artist: Artist, renderer: RendererBase) -> Box:
    box = artist.get_window_extent(renderer)
    return float(box.x0), float(box.y0), float(box.x1), float(box.y1)


def _grown(box: Box, margin: float) -> Box:
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def _line(point: Array, box: Box) -> Array:
    """The line from a point to the nearest edge of a name, (step, 2)."""
    return np.linspace(point, np.clip(point, box[:2], box[2:]), 12)


def _places(point: Array, width: float, height: float, frame: Box, dpi: float) -> Iterator[tuple[float, Box]]:
    """Candidate places, distance and box, within the frame: near ones first, to the right first."""
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            # Right, then alternately upwards and downwards around the point.
            turn = (step + 1) // 2 * (1 if step % 2 else -1) * 2 * math.pi / DIRECTIONS
            x, y = math.cos(turn), math.sin(turn)
            left = float(point[0]) + distance * dpi * x - (0 if x > 0.2 else width if x < -0.2 else width / 2)
            bottom = float(point[1]) + distance * dpi * y - (0 if y > 0.5 else height if y < -0.5 else height / 2)
            left = max(min(left, frame[2] - width), frame[0])
            bottom = max(min(bottom, frame[3] - height), frame[1])
            yield distance, (left, bottom, left + width, bottom + height)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _covered(box: Box, points: Array) -> int:
    """The number of points in a box."""
    return int(((points > box[:2]) & (points < box[2:])).all(axis=1).sum())


def _short(name: str) -> str:
    return wrapped(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…", LONGEST)

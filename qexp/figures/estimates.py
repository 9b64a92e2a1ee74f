"""Pieces of figures of estimates: equal axes, the identity line, errors, names of points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import quantity_in_words
from qexp.base.text import without_end
from qexp.figures.canvas import plain_numbers, small, wrap
from qexp.metrics.built_in import coefficient_of_determination, root_mean_squared_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

Array = NDArray[np.floating]

DECADE = 10.0
"""Positive values that span more than this factor may lie on logarithmic axes."""


def make_equal(
    axis: Axes, values: Sequence[Array], logarithmic: bool = False
) -> tuple[float, float]:
    """Give both axes the limits of all values with a margin, and draw the identity line. Returns
    the limits.

    logarithmic  whether positive values of different sizes have logarithmic axes
    """
    from matplotlib.ticker import MaxNLocator

    finite = np.concatenate([np.ravel(each) for each in values] or [np.zeros(0)])
    finite = finite[np.isfinite(finite)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if logarithmic and 0 < low * DECADE < high:
        factor = (high / low) ** 0.05
        limits = low / factor, high * factor
        axis.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
        plain_numbers(axis.xaxis, axis.yaxis)
    else:
        margin = 0.05 * (high - low) or 0.5
        limits = low - margin, high + margin
        axis.set(xlim=limits, ylim=limits)
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(*limits)
        inner = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
        axis.set(xticks=inner, yticks=inner)
    axis.plot(limits, limits, color="0.6", linewidth=1, zorder=1)
    axis.set_aspect("equal", adjustable="box")
    return limits


def write_errors(axis: Axes, measured: Array, estimated: Array, unit: str) -> Text:
    """Write number, RMSE and R² in the corner away from the identity line that has fewer points."""
    words = f"n = {len(measured)}"
    if len(measured):
        words += f"\nRMSE = {quantity_in_words(root_mean_squared_error(estimated, measured), unit)}"
        words += f"\nR² = {coefficient_of_determination(estimated, measured):.3f}".replace("-", "−")
    pixels = axis.transData.transform(np.stack([measured, estimated], axis=1))
    x, y = axis.transAxes.inverted().transform(pixels).T
    in_top = ((x < 0.4) & (y > 0.78)).sum()
    in_bottom = ((x > 0.6) & (y < 0.22)).sum()
    drawn: dict[str, Any] = {
        "transform": axis.transAxes,
        "fontsize": small(),
        "zorder": 4,
        "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    }
    if in_bottom < in_top:
        return axis.text(0.97, 0.03, words, ha="right", va="bottom", **drawn)
    return axis.text(0.03, 0.97, words, ha="left", va="top", **drawn)


LONGEST_NAME = 26

DISTANCES = (4.0, 12.0, 24.0, 40.0)
"""From a point to its name [point]; what is further away than the first has a line to its point."""

MARGIN = 2.0
"""Between a name and everything else [point]."""


def name_points(
    axis: Axes,
    names: Sequence[str],
    points: Array,
    others: Array,
    texts: Sequence[Text] = (),
    far: float = np.inf,
) -> None:
    """Write names beside points, each where it covers least.

    points  (name, 2), the most important first: a name without room within the axes is left out
    others  (point, 2), covered only if necessary
    texts   on the axes, never covered
    far     as much further away is a name put in order to cover one point less [point]

    Limits and aspect of the axes, and the figure's resolution, must be as they will be drawn.
    """
    from matplotlib.transforms import Bbox

    axis.apply_aspect()
    pixels = axis.figure.dpi / 72
    boxes = [text.get_window_extent().padded(MARGIN * pixels) for text in texts]
    obstacles = axis.transData.transform(others)
    for name, point, (x, y) in zip(names, points, axis.transData.transform(points), strict=True):
        words = wrap(without_end(name, LONGEST_NAME), LONGEST_NAME)
        text = axis.annotate(
            words,
            point,
            (0, 0),
            textcoords="offset points",
            va="bottom",
            fontsize=small(),
            zorder=4,
        )
        width, height = text.get_window_extent().size
        candidates: list[tuple[int, float, float, int, Bbox, Array]] = []
        for distance, x_sign, y_sign in product(DISTANCES, (1, 0, -1), (0, 1, -1)):
            left = x + x_sign * distance * pixels - width * (1 - x_sign) / 2
            bottom = y + y_sign * distance * pixels - height * (1 - y_sign) / 2
            left = max(min(left, axis.bbox.x1 - width), axis.bbox.x0)
            bottom = max(min(bottom, axis.bbox.y1 - height), axis.bbox.y0)
            box = Bbox.from_bounds(left, bottom, width, height)
            if (x_sign or y_sign) and not any(map(box.overlaps, boxes)):
                line = np.linspace((x, y), np.clip((x, y), box.min, box.max), 12)
                crossed = sum(other.count_contains(line) for other in boxes)
                covered = box.padded(MARGIN * pixels).count_contains(obstacles)
                cost = covered + distance / far
                candidates.append((crossed, cost, distance, len(candidates), box, line))
        if not candidates:
            text.remove()
            continue
        *_, distance, _, box, line = min(candidates, key=lambda candidate: candidate[:4])
        text.set_position(((box.x0 - x) / pixels, (box.y0 - y) / pixels))
        boxes.append(box.padded(MARGIN * pixels))
        if distance > DISTANCES[0]:
            ends = axis.transData.inverted().transform(line[[0, -1]])
            axis.plot(
                *ends.T,
                color="0.55",
                linewidth=0.6,
                scalex=False,
                scaley=False,
                zorder=1.5,
            )
            obstacles = np.concatenate([obstacles, line])  # lines cross only if necessary

"""Estimates of held-out rows: against measured values, and residuals by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, panels, resolution, sized, titled
from qexp.figures.point_labels import name_points
from qexp.figures.wrapping import wrapped
from qexp.metrics.built_in import coefficient_of_determination, root_mean_squared_error
from qexp.quantities import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Array = NDArray[np.float64]

MOST_NAMED = 5
NAMED_FROM = 1.5
"""Rows with an error larger than this multiple of the RMSE are named."""

BOXED_FROM = 5
"""Fewest rows of a group for a box; it would be misleading for fewer."""

HEIGHT_OF_ROW, WIDTH_OF_CHARACTER = 0.27, 0.066  # inches


@dataclass(frozen=True)
class HeldOut:
    """One output's held-out rows, in its own unit."""

    measured: Array
    """(row,)"""
    estimated: Array
    """(row,)"""
    names: Sequence[str]
    """Identifiers, (row,)."""
    unit: str = ""
    spread: tuple[Array, Array] | None = None
    """Lower and upper end over the networks that estimate a row, (row,) each."""
    groups: Sequence[str] | None = None
    """(row,)"""
    interval: tuple[Array, Array] | None = None
    """Lower and upper end of each row's interval, (row,) each."""


def estimates_against_measured(
    outputs: Mapping[str, HeldOut], spread: str, note: str, rows_of: str = "held-out rows", interval: str = ""
) -> Figure:
    """A panel per output with the identity line; the largest errors by name.

    spread    meaning of the vertical lines, for the title: "standard deviation over 10 networks"
    note      caution on the numbers, may be empty
    rows_of   what the rows are, for the title
    interval  what the intervals are, for the title; where rows have some, they are drawn instead of the spread
    """
    made, axes = panels(len(outputs), 4.6, 4.6)
    made.set_dpi(resolution())
    for axis, (output, rows) in zip(axes, outputs.items(), strict=True):
        _draw_estimates(axis, rows)
        axis.set_xlabel(_label("measured", output, rows.unit))
        axis.set_ylabel(_label("estimated", output, rows.unit))
    lines = f"; lines: {spread}" if any(rows.spread for rows in outputs.values()) else ""
    if all(rows.interval for rows in outputs.values()):
        lines = f"; lines: {interval}"
    titled(made, f"{rows_of}{lines}", note)
    return made


def residuals_by_group(outputs: Mapping[str, HeldOut], note: str, rows_of: str = "held-out rows") -> Figure:
    """A panel per output, a line per group in the order of their first rows: dots, and a box where there are many.

    Every output's rows must have the same groups.
    """
    first = next(iter(outputs.values()))
    groups = list(dict.fromkeys(first.groups or ()))
    labels = [f"{wrapped(group, 30)}  ({(first.groups or []).count(group)})" for group in groups]
    width = max((len(line) for label in labels for line in label.split("\n")), default=0) * WIDTH_OF_CHARACTER
    lines = sum(1 + 0.5 * label.count("\n") for label in labels)
    made, axes = panels(len(outputs), 4.4, sized(1.1 + HEIGHT_OF_ROW * lines), left=0.15 + width)
    for axis, (output, rows) in zip(axes, outputs.items(), strict=True):
        residual = rows.estimated - rows.measured
        axis.axvline(0, color="0.6", linewidth=1, zorder=1)
        for line, group in enumerate(groups):
            _draw_group(axis, line, residual[np.asarray(rows.groups) == group])
        axis.set_ylim(len(groups) - 0.4, -0.6)
        axis.set_yticks(range(len(groups)), labels if axis is axes[0] else [""] * len(groups), fontsize=sized(8))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
        axis.set_xlabel(_label("estimated − measured", output, rows.unit))
    titled(made, f"{rows_of} by group; diamond: mean; box: median, middle half", note)
    return made


def _label(what: str, output: str, unit: str) -> str:
    words = f"{what} {output.replace('_', ' ')}"
    return f"{words} ({typeset(unit)})" if unit else words


def _draw_estimates(axis: Axes, rows: HeldOut) -> None:
    measured, estimated = rows.measured, rows.estimated
    drawn = np.isfinite(measured) & np.isfinite(estimated)
    ends = [measured[drawn], estimated[drawn]]
    if (vertical := rows.interval or rows.spread) is not None:
        low, high = vertical
        ends += [low[drawn], high[drawn]]
        axis.vlines(measured, low, high, color=COLOURS[0], linewidth=0.9, alpha=0.4, zorder=2)
    values = np.concatenate(ends)
    values = values[np.isfinite(values)]
    low_end, high_end = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = 0.05 * (high_end - low_end) or 0.5
    limits = (low_end - margin, high_end + margin)
    axis.plot(limits, limits, color="0.6", linewidth=1, zorder=1)
    axis.scatter(measured, estimated, s=16, color=COLOURS[0], alpha=0.75, linewidths=0, zorder=3)
    axis.set_xlim(limits)
    axis.set_ylim(limits)
    axis.set_aspect("equal", adjustable="box")
    axis.set_yticks([tick for tick in axis.get_xticks() if limits[0] <= tick <= limits[1]])
    corner = _describe(axis, measured[drawn], estimated[drawn], rows.unit)
    _name_outliers(axis, rows, np.flatnonzero(drawn), limits, corner)


def _describe(axis: Axes, measured: Array, estimated: Array, unit: str) -> Text:
    """Write numbers in the corner away from the identity line that has fewer points."""
    said = f"n = {len(measured)}"
    if len(measured):
        error = root_mean_squared_error(estimated, measured)
        said += f"\nRMSE = {error:.3g} {typeset(unit)}".rstrip()
        said += f"\nR² = {coefficient_of_determination(estimated, measured):.3f}"
    x, y = axis.transAxes.inverted().transform(axis.transData.transform(np.stack([measured, estimated], axis=1))).T
    above, below = ((x < 0.4) & (y > 0.78)).sum(), ((x > 0.6) & (y < 0.22)).sum()
    place, horizontal, vertical = ((0.97, 0.03), "right", "bottom") if below < above else ((0.03, 0.97), "left", "top")
    return axis.text(
        *place, said, transform=axis.transAxes, ha=horizontal, va=vertical, fontsize=sized(8.5), zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )  # fmt: skip


def _name_outliers(
    axis: Axes, rows: HeldOut, drawn: NDArray[np.int64], limits: tuple[float, float], corner: Text
) -> None:
    if not len(drawn):
        return
    error = np.abs(rows.estimated - rows.measured)
    limit = NAMED_FROM * float(np.sqrt(np.mean(error[drawn] ** 2)))
    worst = [row for row in drawn[np.argsort(-error[drawn], kind="stable")][:MOST_NAMED] if error[row] > limit]
    points = np.stack([rows.measured, rows.estimated], axis=1)
    # Covering a point is as bad as covering a whole line.
    others = [np.repeat(points[drawn], 9, axis=0), np.repeat(np.linspace(*limits, 80)[:, None], 2, axis=1)]
    if (vertical := rows.interval or rows.spread) is not None:
        steps = np.linspace(0, 1, 9)[:, None]
        along = vertical[0][drawn] * (1 - steps) + vertical[1][drawn] * steps
        others.append(np.stack([np.broadcast_to(rows.measured[drawn], along.shape), along], axis=-1).reshape(-1, 2))
    names = [str(rows.names[row]) for row in worst]
    name_points(axis, names, points[worst], np.concatenate(others), [corner])


def _draw_group(axis: Axes, line: int, residual: Array) -> None:
    residual = residual[np.isfinite(residual)]
    if len(residual) >= BOXED_FROM:
        lower, middle, upper = np.percentile(residual, (25, 50, 75))
        axis.barh(line, upper - lower, 0.56, lower, color=COLOURS[0], alpha=0.16, linewidth=0, zorder=1.5)
        axis.plot([middle, middle], [line - 0.28, line + 0.28], color=COLOURS[0], linewidth=1.4, zorder=2)
    # Vertical positions by rank, so that equal residuals do not overlap and the figure is reproducible.
    height = np.empty(len(residual))
    height[np.argsort(residual, kind="stable")] = (np.arange(len(residual)) * 0.618) % 1
    if len(residual) > 1:
        axis.plot(residual, line + 0.4 * (height - 0.5), "o", color=COLOURS[0], markersize=3.6, alpha=0.6, mew=0)
        axis.plot(residual.mean(), line, "D", color=COLOURS[1], markersize=4.5, mew=0.6, mec="white", zorder=3)
    elif len(residual):
        axis.plot(residual, [line], "o", color=COLOURS[0], markersize=3.6, alpha=0.6, mew=0)

"""Test errors of runs that differ by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qexp.figures.canvas import COLOURS, figure, plain_numbers, sized
from qexp.figures.wrapping import wrapped
from qexp.quantities import in_words, typeset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDERS = 5.0
"""Values that span more than this factor are shown on a logarithmic axis."""


@dataclass(frozen=True)
class OfSeeds:
    """A metric of several runs that differ in their seed."""

    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    """95 % interval of the mean."""


def errors_of_seeds(outputs: Mapping[str, Mapping[str, OfSeeds]], units: Mapping[str, str]) -> Figure:
    """A panel per output, a row per group: a dot per seed, and below them the mean with its interval.

    outputs  output → group → its errors
    units    output → its unit
    """
    names = list(dict.fromkeys(name for groups in outputs.values() for name in groups))
    labels = [wrapped(name, 36) for name in names]
    lines = max(label.count("\n") + 1 for label in labels)
    made, axes = figure(1, len(outputs), 4.4, 1.3 + max(0.55, 0.2 + 0.14 * lines) * len(names))
    for axis, (output, groups) in zip(axes[0], outputs.items(), strict=True):
        values = np.array([value for seeds in groups.values() for value in seeds.values])
        logarithmic = values.min() > 0 and values.max() > ORDERS * values.min()
        if logarithmic:
            axis.set_xscale("log")
        # An interval that reaches zero has no end on a logarithmic axis; an arrow shows that it continues.
        left = values.min() / 2 if logarithmic else -np.inf
        for row, name in enumerate(names):
            if name not in groups:
                continue
            seeds, colour = groups[name], COLOURS[row % len(COLOURS)]
            axis.plot(
                seeds.values, np.full(len(seeds.values), row - 0.15), "o",
                color=colour, markersize=5, alpha=0.55, markeredgewidth=0,
            )  # fmt: skip
            axis.plot(seeds.mean, row + 0.15, "D", color=colour, markersize=5)
            if seeds.interval is not None:
                low, high = seeds.interval
                axis.plot([max(low, left), high], [row + 0.15] * 2, "-", color=colour, linewidth=1.8)
                if low < left:
                    axis.plot(left, row + 0.15, "<", color=colour, markersize=5, clip_on=False)
        if logarithmic:
            axis.set_xlim(left, None)
            plain_numbers(axis.xaxis)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks(range(len(names)), labels, fontsize=sized(8))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
        unit = typeset(units.get(output, ""))
        axis.set_xlabel("mean absolute error" + (f" ({unit})" if unit else ""))
        axis.set_title(f"{in_words(output)}, test", fontsize=sized(10))
    for axis in axes[0][1:]:
        axis.set_yticklabels([])
    made.suptitle("dots: seeds; diamond and line: mean and its 95 % interval (Student)", fontsize=sized(9))
    return made

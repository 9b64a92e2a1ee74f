"""The values of a variable by group, such as the core or the mission of each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, panels, sized, titled
from qexp.figures.wrapping import wrapped
from qexp.quantities import label, typeset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_GROUPS = 50
"""Largest number of groups that are drawn."""

WIDE, LINE, CHARACTERS = 6.2, 0.17, 22
"""Width of the figure and height of a group's line [inch]; characters of a group's name."""


def values_by_group(
    groups: Sequence[str],
    parts: Sequence[str],
    known: Sequence[str],
    values: NDArray[np.floating],
    name: str,
    unit: str,
    title: str,
) -> Figure:
    """A line per group with a point per sample and a bar at their median, coloured by part.

    groups, parts, values  of the samples, (sample,) each; NaN is left out
    known                  the parts in order
    """
    of_group, of_part = np.asarray(groups, dtype=str), np.asarray(parts, dtype=str)
    order = sorted(dict.fromkeys(of_group.tolist()), key=lambda one: (known.index(of_part[of_group == one][0]), one))
    shown = order[:MOST_GROUPS]
    made, (axis,) = panels(1, WIDE, 1.25 + sized(LINE) * len(shown), left=1.75)
    for line, group in enumerate(shown):
        for part in known:
            own = values[(of_group == group) & (of_part == part)]
            own = own[np.isfinite(own)]
            colour = COLOURS[known.index(part) % len(COLOURS)]
            axis.plot(own, np.full(len(own), line), "o", color=colour, markersize=sized(3.5), alpha=0.5, mew=0)
            if len(own):
                axis.plot([np.median(own)] * 2, [line - 0.4, line + 0.4], color=colour, linewidth=1.6)
    for part in known if len(known) > 1 else ():
        colour = COLOURS[known.index(part) % len(COLOURS)]
        axis.plot([], [], "o", color=colour, label=part, markersize=sized(4))
    counts = [int((of_group == group).sum()) for group in shown]
    names = [wrapped(group, 200)[:CHARACTERS] for group in shown]
    axis.set_yticks(
        range(len(shown)), [f"{group} ({count})" for group, count in zip(names, counts, strict=True)], fontsize=sized(7)
    )
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=sized(8))
    axis.xaxis.get_offset_text().set_fontsize(sized(8))
    axis.grid(axis="y", color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel(label(name, typeset(unit)), fontsize=sized(9))
    if len(known) > 1:
        axis.legend(fontsize=sized(7), loc="best", frameon=True, framealpha=0.7, edgecolor="none")
    left_out = f"; the first {MOST_GROUPS} of {len(order)} groups" if len(order) > len(shown) else ""
    titled(made, f"{title}; bars: medians, in brackets: number of points{left_out}")
    return made

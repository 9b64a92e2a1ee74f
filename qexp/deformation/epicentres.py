"""A map of the epicentres of several inversions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from qexp.base.arrays import Array
from qexp.deformation.stored import Record, estimates
from qexp.figures.canvas import COLOURS, folded, legend_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = "-", "--", "-.", ":"
"""One after the other: of equal ellipses all are seen."""

ANGLES = np.linspace(0, 2 * np.pi, 73)
RADIUS = math.sqrt(-2 * math.log(0.1))
"""Of the circle in which two independent normal errors of 1 lie with a probability of 90 %."""


def epicentres(records: Sequence[Record]) -> Figure:
    """A map of the epicentres of inversions in one reference system, with their 90 % ellipses.

    records  those in another system than the first one are left out, as names in the legend show
    """
    figure, (axis,) = folded(1, 4.4, 3.6)
    for number, record in enumerate(records):
        colour = COLOURS[number % len(COLOURS)]
        line = LINES[number % len(LINES)]
        axis.plot([], [], "o" + line, color=colour, label=record["name"])
        if record.get("crs") != records[0].get("crs"):
            continue
        known = estimates(record)
        for east in known:
            north = f"{east.removesuffix('east')}north"
            if not east.endswith("east") or north not in known:
                continue
            position = [known[east], known[north]]
            centre = np.array([part.value for part in position]) / 1000
            errors = [(part.scaled_error or 0.0) / 1000 for part in position]
            # to first order; a point where there are no errors
            outline = ellipse(errors, record["correlations"].get(east, {}).get(north) or 0.0)
            axis.plot(*(centre + outline).T, line, color=colour)
            axis.plot(*centre, "o", color=colour)
    axis.set_aspect("equal", "datalim")
    axis.set(xlabel="east (km)", ylabel="north (km)")
    axis.ticklabel_format(useOffset=False, style="plain")
    axis.locator_params(nbins=4, steps=[1, 2, 5, 10])
    legend_below(figure, axis)
    return figure


def ellipse(errors: Sequence[float] | Array, correlation: float) -> Array:
    """Offsets east and north in which two normal errors lie with a probability of 90 %, (angle,
    2).

    errors  standard errors east and north
    """
    east = np.cos(ANGLES)
    north = correlation * east + math.sqrt(max(1 - correlation**2, 0.0)) * np.sin(ANGLES)
    return RADIUS * np.stack([east, north], axis=1) * errors

"""Semivariograms of the noise of tracks, with the models that fit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.figures.canvas import COLOURS, add_title, folded, legend_below, place_of, sized, small
from qexp.observations.noise import NoiseEstimate, model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WIDE, HIGH = 4.4, 3.4
"""Sizes of a panel with its margins [inch]."""


def draw_semivariograms(estimates: Mapping[str, NoiseEstimate], title: str) -> Figure:
    """A panel per track: the bins, the best model as a line with its nugget, sill and range, and
    the other one.

    estimates  name of the track → its estimate
    """
    figure, axes = folded(len(estimates), WIDE, HIGH)
    for axis, (name, estimate) in zip(axes, estimates.items(), strict=True):
        _draw(axis, name, estimate)
        axis.set_xlabel("distance (km)", fontsize=sized(9))
        axis.tick_params(labelsize=small())
    for axis in axes:
        if place_of(axis, len(axes))[0]:
            axis.set_ylabel("semivariance (mm²)", fontsize=sized(9))
    legend_below(figure, axes[0])
    add_title(figure, title)
    return figure


def _draw(axis: Axes, name: str, estimate: NoiseEstimate) -> None:
    measured = estimate.measured
    best = estimate.best
    far = measured.longest
    top = measured.value.max()
    top = 1e6 * (max(top, best.nugget + best.sill) if estimate.levels_off else top)
    distance = np.linspace(0, far, 300)
    # Of each track another type may fit best: the titles say which.
    styles = [("best model", COLOURS[1], "-"), ("other model", "0.6", "--")]
    for noise, (label, colour, line) in zip(estimate.fits.values(), styles, strict=False):
        fits = 1e6 * model(distance, noise)
        axis.plot(distance / 1000, fits, line, color=colour, linewidth=sized(1.5), label=label)
    points = measured.distance / 1000, 1e6 * measured.value
    axis.plot(*points, "o", color=COLOURS[0], markersize=sized(4), label="data")
    settings: dict[str, Any] = {"color": "0.45", "linewidth": sized(0.8), "linestyle": ":"}
    sill = f"sill {1e6 * best.sill:.3g} mm², range {best.range / 1000:.3g} km"
    levels = [best.nugget]
    if estimate.levels_off and best.range < far:
        levels.append(best.nugget + best.sill)
        axis.axvline(best.range / 1000, **settings, label="nugget, nugget + sill, range")
    for level in levels:
        axis.axhline(1e6 * level, **settings)
    axis.set_xlim(0, far / 1000)
    axis.set_ylim(0, 1.12 * top)
    words = [
        f"{best.type}: {sill if estimate.levels_off else 'does not level off'},",
        f"nugget {1e6 * best.nugget:.2g} mm²",
    ]
    axis.set_title("\n".join([name, *words]), fontsize=small())

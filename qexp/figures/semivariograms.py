"""Semivariograms of tracks with the models that fit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.figures.canvas import COLOURS, panels, sized, titled
from qexp.observations.noise import NoiseEstimate, model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, HIGH = 4.4, 3.4
"""Sizes of a panel with its margins [inch]."""

NO_SILL = "does not level off"


def draw_semivariograms(estimates: Mapping[str, NoiseEstimate], title: str) -> Figure:
    """A panel per track: the bins, the best model as a line with its nugget, sill and range, and the other one.

    estimates  name of the track → its estimate
    """
    made, axes = panels(len(estimates), WIDE, HIGH)
    for axis, (name, estimate) in zip(axes, estimates.items(), strict=True):
        _draw(axis, estimate)
        axis.set_title(name, fontsize=sized(9))
        axis.set_xlabel("distance (km)", fontsize=sized(9))
        axis.tick_params(labelsize=sized(8))
    axes[0].set_ylabel("semivariance (mm²)", fontsize=sized(9))
    titled(made, title)
    return made


def _draw(axis: Axes, estimate: NoiseEstimate) -> None:
    measured, best = estimate.measured, estimate.best
    far = measured.longest
    top = 1e6 * max(float(measured.value.max()), best.nugget + best.sill if estimate.levels_off else 0.0)
    distance = np.linspace(0, far, 300)
    for index, (type, noise) in enumerate(estimate.fits.items()):
        colour, line = ("0.6", "--") if index else (COLOURS[1], "-")
        axis.plot(distance / 1000, 1e6 * model(distance, noise), line, color=colour, linewidth=sized(1.5), label=type)
    axis.plot(measured.distance / 1000, 1e6 * measured.value, "o", color=COLOURS[0], markersize=sized(4), label="data")
    settings: dict[str, Any] = {"color": "0.45", "linewidth": sized(0.8), "linestyle": ":"}
    levels = [(0.995, 1e6 * best.nugget, "nugget")]
    if estimate.levels_off and best.range < far:
        levels.append((0.01, 1e6 * (best.nugget + best.sill), "nugget + sill"))
        axis.axvline(best.range / 1000, **settings)
        axis.text(
            best.range / 1000, 0.02, " range", transform=axis.get_xaxis_transform(), fontsize=sized(7), color="0.3"
        )
    for at, level, word in levels:
        axis.axhline(level, **settings)
        side = "right" if at > 0.5 else "left"
        axis.text(at * far / 1000, level, word, va="bottom", ha=side, fontsize=sized(7), color="0.3")
    axis.set_xlim(0, far / 1000)
    axis.set_ylim(0, 1.12 * top)
    sill = f"sill {1e6 * best.sill:.3g} mm²\nrange {best.range / 1000:.3g} km"
    words = f"{best.type}:\n{sill if estimate.levels_off else NO_SILL}\nnugget {1e6 * best.nugget:.2g} mm²"
    small = sized(7.5)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.06)}
    if not estimate.levels_off:
        place = {"loc": "upper left"}
    axis.legend(fontsize=small, frameon=False, title=words, title_fontsize=small, **place)

"""Maps of an observation, of the model that explains it, and of what is left, track by track."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, sized, titled
from qexp.figures.panel_grid import panel_grid
from qexp.figures.stations import name_stations, stations_of
from qexp.observations.reduction import spacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

PANEL = 2.6
"""Length of the longer side of a panel [inch]."""
ACROSS, DOWN = 0.28, 0.62
"""Distances between panels [inch]."""
BAR = 0.95
"""Margin for the colour bar and its labels [inch]."""

ROUND = (1.0, 2.0, 5.0)
"""First digits of the length of a scale bar."""

ARROW = 0.18
"""Length of the longest arrow, as a share of the panel's width."""

SYMBOLS = {"data": "observed", "model": "model", "residual": "residual"}


@dataclass(frozen=True)
class Maps:
    """One track: the points that count.

    x, y       (point,)    [km]
    data       (point,)    displacement, less offset and ramp [m]
    model      (point,)    [m]
    direction  (point, 3)  east, north, up
    stations   whether they are components of GNSS stations, which are drawn as arrows
    names      (point,)    of the stations, or None
    """

    name: str
    x: Array
    y: Array
    data: Array
    model: Array
    direction: Array
    stations: bool
    names: NDArray[np.str_] | None = None

    @property
    def residual(self) -> Array:
        return self.data - self.model


def inversion_maps(tracks: Sequence[Maps], sources: Sequence[tuple[float, float]], title: str) -> Figure:
    """A row per track with the observed displacement, the model and the residual, all on one colour scale.

    sources  positions east, north [km], which are marked
    """
    panels = [[(f"{track.name}: {SYMBOLS[what]}", track, getattr(track, what)) for what in SYMBOLS] for track in tracks]
    return _drawn(panels, sources, title)


def residual_maps(candidates: Sequence[tuple[str, Sequence[Maps]]], title: str) -> Figure:
    """A row per candidate with the residuals of all tracks, on one colour scale."""
    panels = [[(f"{name}: {track.name}", track, track.residual) for track in tracks] for name, tracks in candidates]
    return _drawn(panels, [], title)


def _drawn(
    panels: Sequence[Sequence[tuple[str, Maps, Array]]], sources: Sequence[tuple[float, float]], title: str
) -> Figure:
    whole = [one for row in panels for one in row]
    left, right, bottom, top = _frame([track for _, track, _ in whole])
    wide, tall = right - left, top - bottom
    width, height = (PANEL * side / max(wide, tall) for side in (wide, tall))
    made, axes = panel_grid(
        len(whole), len(panels[0]), max(width, 1.0), max(height, 1.0), ACROSS, DOWN, right=BAR, top=0.72, left=0.8
    )
    reach = max(float(np.percentile(np.abs(values), 99.5)) for _, _, values in whole) or 1e-3
    factor, unit = (100.0, "cm") if reach < 1 else (1.0, "m")
    longest = max((_longest(track, values) for _, track, values in whole if track.stations), default=0.0)
    for index, (axis, (heading, track, values)) in enumerate(zip(axes, whole, strict=True)):
        axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        shown = _points(axis, track, factor * values, factor * reach, longest * factor, width / wide, unit)
        if track.stations and index % len(panels[0]) == 0:
            stations = stations_of(track.x, track.y, track.direction, values, track.names)
            arrow = ARROW * wide / max(longest, 1e-9)
            name_stations(axis, stations, stations.places + arrow * stations.vectors[:, :2], sources)
        _framed(axis, heading, index, len(panels[0]), len(whole))
        for east, north in sources:
            axis.plot(east, north, "+", color="black", markersize=sized(8), markeredgewidth=sized(1.2))
    _scale_bar(axes[0], wide)
    _bar(axes[len(panels[0]) - 1], shown, unit, {track.stations for _, track, _ in whole})
    titled(made, title)
    return made


def _frame(tracks: Sequence[Maps]) -> tuple[float, float, float, float]:
    x, y = (np.concatenate([getattr(track, axis) for track in tracks]) for axis in ("x", "y"))
    margin = 0.04 * max(float(np.ptp(x)), float(np.ptp(y)), 0.1)
    return float(x.min()) - margin, float(x.max()) + margin, float(y.min()) - margin, float(y.max()) + margin


def _points(
    axis: Axes, track: Maps, values: Array, reach: float, longest: float, inches: float, unit: str
) -> PathCollection:
    """Points in colours; of stations the horizontal components as arrows, the vertical one as the point's colour."""
    if not track.stations:
        side = 72 * inches * spacing(track.x, track.y)
        return axis.scatter(
            track.x, track.y, c=values, s=float(np.clip(1.1 * side, 1.2, 14.0)) ** 2, marker="s", linewidths=0,
            rasterized=True, cmap="RdBu_r", vmin=-reach, vmax=reach,
        )  # fmt: skip
    places, vectors = _vectors(track, values)
    shown = axis.scatter(
        places[:, 0], places[:, 1], c=vectors[:, 2], s=sized(16), marker="o", linewidths=0.6, edgecolors="black",
        zorder=3, cmap="RdBu_r", vmin=-reach, vmax=reach,
    )  # fmt: skip
    if longest > 0:
        arrow = ARROW * np.ptp(axis.get_xlim()) / longest
        arrows = axis.quiver(
            *places.T, vectors[:, 0], vectors[:, 1], angles="xy", scale_units="xy", scale=1 / arrow, width=0.008,
            color=COLOURS[2], zorder=2,
        )  # fmt: skip
        length = _round_below(longest)
        axis.quiverkey(
            arrows, 0.24, 0.94, length, f"{length:g} {unit}", labelpos="E", fontproperties={"size": sized(7)}
        )
    return shown


def _vectors(track: Maps, values: Array) -> tuple[Array, Array]:
    """Positions of stations, (station, 2), and their components, (station, 3); 0 where one is not observed."""
    stations = stations_of(track.x, track.y, track.direction, values, None)
    return stations.places, np.nan_to_num(stations.vectors)


def _longest(track: Maps, values: Array) -> float:
    return float(np.hypot(*_vectors(track, values)[1][:, :2].T).max())


def _framed(axis: Axes, heading: str, index: int, columns: int, count: int) -> None:
    axis.set_title(heading, fontsize=sized(8))
    axis.tick_params(labelsize=sized(7), labelleft=index % columns == 0, labelbottom=index >= count - columns)
    axis.spines[["top", "right"]].set_visible(True)
    axis.locator_params(axis="x", nbins=4)
    axis.locator_params(axis="y", nbins=5)
    axis.ticklabel_format(useOffset=False, style="plain")
    if index % columns == 0:
        axis.set_ylabel("north (km)", fontsize=sized(8))
    if index >= count - columns:
        axis.set_xlabel("east (km)", fontsize=sized(8))


def _scale_bar(axis: Axes, wide: float) -> None:
    """A bar of a round length, about a quarter of the panel, in its lower left corner."""
    from matplotlib.patheffects import withStroke

    length = _round_below(wide / 4)
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    start, level = left + 0.06 * (right - left), bottom + 0.06 * (top - bottom)
    halo = [withStroke(linewidth=sized(3), foreground="white")]
    axis.plot([start, start + length], [level, level], color="black", linewidth=sized(2), path_effects=halo)
    axis.text(
        start + length / 2, level + 0.02 * (top - bottom), f"{length:g} km" if length >= 1 else f"{1000 * length:g} m",
        ha="center", va="bottom", fontsize=sized(7), path_effects=halo,
    )  # fmt: skip


def _round_below(length: float) -> float:
    """The largest round number that is not above a length."""
    power: float = 10.0 ** math.floor(math.log10(length))
    return max(power * digit for digit in ROUND if power * digit <= length * 1.0001)


def _bar(axis: Axes, shown: PathCollection, unit: str, kinds: set[bool]) -> None:
    bar = axis.figure.colorbar(shown, cax=axis.inset_axes((1.05, 0, 0.05, 1)), extend="both")
    words = {frozenset({False}): "toward the satellite", frozenset({True}): "up"}
    bar.set_label(f"{words.get(frozenset(kinds), 'toward the satellite, or up')} ({unit})", fontsize=sized(8))
    bar.ax.tick_params(labelsize=sized(7))

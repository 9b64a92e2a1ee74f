"""Maps of observations, of the model that explains them, and of what is left; semivariograms of their noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.figures.canvas import COLOURS, add_title, panel_grid, panels, sized, subplots
from qexp.figures.estimates import name_points
from qexp.observations.noise import NoiseEstimate, model
from qexp.observations.observation import Observation, Track, spacing
from qexp.observations.reading import angles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

MOST_NAMED = 30
"""Stations of a map that are named; the names of more would hide the arrows."""


@dataclass(frozen=True)
class Stations:
    """Displacements of stations.

    positions  (station, 2)  along x and y
    vectors    (station, 3)  along x, y and up; NaN where a component is not observed
    names      (station,)    empty where a station has none
    """

    positions: Array
    vectors: Array
    names: Sequence[str]


def stations_of(x: Array, y: Array, direction: Array, values: Array, names: NDArray[np.str_] | None) -> Stations:
    """The components of stations, which are at one place, put together.

    x, y, values  (point,)
    direction     (point, 3)  of the components
    names         (point,)    or None
    """
    positions, first, owners = np.unique(np.stack([x, y], axis=1), axis=0, return_index=True, return_inverse=True)
    vectors, counts = np.zeros((2, len(positions), 3))
    np.add.at(vectors, owners.ravel(), direction * values[:, None])
    np.add.at(counts, owners.ravel(), direction**2)
    # Both horizontal components must be there, since neither lies along an axis of the map.
    counts[:, :2] = counts[:, :2].sum(axis=1, keepdims=True) / 2
    vectors[counts < 0.99] = np.nan
    return Stations(positions, vectors, [""] * len(first) if names is None else [str(names[index]) for index in first])


def _name_stations(axis: Axes, stations: Stations, tips: Array, marks: Sequence[tuple[float, float]] = ()) -> None:
    """Write the names beside the dots, where there is room between dots, arrows, marks and other names.

    tips   (station, 2)  ends of the arrows; NaN where there is none
    marks  other points to keep free
    The limits of the axis must be set. Nothing is written if the stations are too many.
    """
    rows = [row for row, name in enumerate(stations.names) if name]
    if len(stations.positions) > MOST_NAMED:
        return
    steps = np.linspace(0, 1, 6)[:, None, None]
    arrows = (stations.positions + steps * (tips - stations.positions)).reshape(-1, 2)
    others = np.concatenate([arrows, stations.positions, np.reshape(marks, (-1, 2))])
    name_points(axis, [stations.names[row] for row in rows], stations.positions[rows], others, size=6.5)


# Maps of the displacements that tracks observe: one panel each, all on one colour scale.


PANEL = 3.6
"""Width of a panel [inch]."""

MOST_DOTS = 20_000
"""More points are drawn as the means of cells."""

CELLS = 400
"""Cells along the longer side of a map that is drawn so."""

UNITS = (("m", 1.0, 1.0), ("cm", 100.0, 0.01), ("mm", 1000.0, 0.0))
"""Unit of a colour scale, its number in a metre, and the least reach of a scale in it [m]."""


def draw_tracks(observation: Observation, title: str) -> Figure:
    """A map per track of the displacement along the line of sight; of stations, arrows and coloured vertical ones.

    Easting and northing are in km; points that are masked are grey. An arrow shows the flight of the satellite, a short
    line its look.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    tracks = observation.tracks
    reach, unit, factor = scale_of([track.where_observed().displacement for track in tracks])
    west, east, south, north = frame_of(tracks)
    ratio = float(np.clip((north - south) / (east - west), 0.4, 2.0))
    columns = min(len(tracks), 3)
    rows = -(-len(tracks) // columns)
    figure, grid = subplots(rows, columns, PANEL + 0.9 / columns, PANEL * ratio + 0.75)
    axes = [axis for row in grid for axis in row]
    colours = ScalarMappable(Normalize(-reach, reach), "RdBu_r")
    for index, (axis, track) in enumerate(zip(axes, tracks, strict=False)):
        draw = _draw_points if track.kind == "radar" else _draw_stations
        axis.set_xlim(west, east)
        axis.set_ylim(south, north)
        draw(axis, track, factor, colours)
        axis.set_aspect("equal")
        _label(axis, track.name, ("easting", "northing"), index, columns, len(tracks))
        _draw_scale_bar(axis)
    for axis in axes[len(tracks) :]:
        axis.set_visible(False)
    kinds = {"radar": "toward the satellite", "gnss": "up"}
    words = " or ".join(kinds[kind] for kind in kinds if kind in {track.kind for track in tracks})
    largest = max(float(np.abs(track.where_observed().displacement).max()) for track in tracks) * factor
    bar = figure.colorbar(colours, ax=axes, extend="both" if largest > reach else "neither", shrink=0.8, pad=0.02)
    bar.set_label(f"displacement {words} ({unit})", fontsize=sized(9))
    bar.ax.tick_params(labelsize=sized(8))
    figure.suptitle(title, fontsize=sized(10))
    return figure


def scale_of(displacements: Sequence[Array]) -> tuple[float, str, float]:
    """Half the width of a colour scale around zero in a readable unit; the unit, and its number in a metre."""
    reach = max(float(np.percentile(np.abs(values), 99.5)) for values in displacements) or 1e-3
    unit, factor = next((unit, factor) for unit, factor, least in UNITS if reach >= least)
    return reach * factor, unit, factor


def frame_of(tracks: Sequence[Track]) -> Frame:
    """The edges around all observed points [km]."""
    x, y = (np.concatenate([getattr(track.where_observed(), name) for track in tracks]) / 1000 for name in "xy")
    stations = any(track.kind == "gnss" for track in tracks)  # whose arrows need room
    return _frame(x, y, 0.12 if stations else 0.04)


Frame = tuple[float, float, float, float]
"""West, east, south and north edges."""


def _frame(x: Array, y: Array, margin: float) -> Frame:
    """The edges around points, with a margin as a share of the longer side."""
    room = margin * max(float(np.ptp(x)), float(np.ptp(y)), 0.1)
    return float(x.min()) - room, float(x.max()) + room, float(y.min()) - room, float(y.max()) + room


def _draw_points(axis: Axes, track: Track, factor: float, colours: ScalarMappable) -> None:
    observed = track.where_observed()
    hidden = track.select(~track.observed & np.isfinite(track.x) & np.isfinite(track.y))
    points = min(observed.size, MOST_DOTS)
    width = 72 * PANEL * 0.8
    size = float(np.clip(width / max(np.sqrt(points), 1), 0.8, 6)) ** 2
    if 0 < len(hidden.x) <= MOST_DOTS:
        axis.scatter(hidden.x / 1000, hidden.y / 1000, size / 2, color="0.8", linewidths=0)
    x, y, values = observed.x / 1000, observed.y / 1000, factor * observed.displacement
    if observed.spread is not None and observed.count is not None:  # as rectangles, about as large as the cells
        from matplotlib.collections import PolyCollection

        corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        sides = sides_of(observed.spread, observed.count) / 1000
        cells = list(np.stack([x, y], axis=1)[:, None] + corners * sides[:, None])
        drawn = PolyCollection(cells, linewidths=0, **_coloured(colours))
        drawn.set_array(values)
        axis.add_collection(drawn)
    elif observed.size > MOST_DOTS:  # as the means of cells, which a panel can show
        spans = np.array([np.ptp(x), np.ptp(y)])
        # At least three points to a cell on average: cells narrower than a grid's pixels would leave gaps.
        cell = max(spans.max() / CELLS, float(np.sqrt(3 * spans.prod() / observed.size)))
        bins = np.maximum((spans / cell).astype(int), 1)
        sums, columns, rows = np.histogram2d(x, y, bins, weights=values)
        counts, _, _ = np.histogram2d(x, y, [columns, rows])
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        axis.pcolormesh(columns, rows, means.T, rasterized=True, **_coloured(colours))
    else:
        axis.scatter(x, y, size, values, linewidths=0, **_coloured(colours))
    _mark_flight(axis, observed)


def sides_of(spread: Array, count: Array) -> Array:
    """The sides of cells that are filled evenly with pixels, (cell, 2) [m].

    n pixels of width p in a row have the standard deviation √((n² − 1)/12) p.
    """
    several = (count > 1) & (spread > 0).all(axis=1)
    squares = 12 * spread[several].prod(axis=1) / (count[several] - 1)
    pixel = float(np.median(squares)) if several.any() else 1.0
    return np.asarray(np.sqrt(12 * spread**2 + pixel))


def _coloured(colours: ScalarMappable) -> dict[str, Any]:
    return {"cmap": colours.cmap, "norm": colours.norm}


def _draw_stations(axis: Axes, track: Track, factor: float, colours: ScalarMappable) -> None:
    """Arrows of the horizontal displacements, and dots coloured by the vertical ones."""
    observed = track.where_observed()
    stations = stations_of(
        observed.x / 1000, observed.y / 1000, observed.direction, factor * observed.displacement, observed.station
    )
    vectors = stations.vectors
    moved = np.isfinite(vectors[:, :2]).all(axis=1)
    longest = max(float(np.hypot(*vectors[moved, :2].T).max(initial=0)), 1e-9)
    east, north = stations.positions.T
    outlined: dict[str, Any] = {"edgecolors": "0.3", "linewidths": 0.6, "zorder": 3}
    axis.scatter(east, north, 16, "white", **outlined)
    up = np.isfinite(vectors[:, 2])
    axis.scatter(east[up], north[up], 16, vectors[up, 2], **_coloured(colours), **outlined)
    step = _round_below(longest)
    arrows = axis.quiver(
        east[moved], north[moved], vectors[moved, 0], vectors[moved, 1], angles="xy", scale_units="width",
        scale=5 * longest, width=0.006, color="0.15", zorder=2,
    )  # fmt: skip
    unit = next(unit for unit, of_unit, _ in UNITS if of_unit == factor)
    axis.quiverkey(arrows, 0.86, 0.93, step, f"{step:g} {unit}", labelpos="S", fontproperties={"size": sized(7.5)})
    tips = stations.positions + vectors[:, :2] / (5 * longest) * float(np.ptp(axis.get_xlim()))
    _name_stations(axis, stations, tips)


def _mark_flight(axis: Axes, observed: Track) -> None:
    """An arrow along the flight and a line along the look, in a corner."""
    mean = observed.direction.mean(axis=0, keepdims=True)
    if np.hypot(*mean[0, :2]) < 1e-3:
        return
    heading = float(angles_of(mean)[1][0])
    look = float(np.degrees(np.arctan2(-mean[0, 1], -mean[0, 0])))
    settings: dict[str, Any] = {
        "transform": axis.transAxes, "units": "inches", "scale_units": "inches", "scale": 1.0, "color": "0.15",
        "width": 0.016, "clip_on": False,
    }  # fmt: skip
    axis.quiver([0.91], [0.88], [0.34], [0.0], angles=[90 - heading], pivot="middle", **settings)
    bare: dict[str, Any] = {"headwidth": 1, "headlength": 0, "headaxislength": 0}
    axis.quiver([0.91], [0.88], [0.13], [0.0], angles=[look], pivot="tail", **bare, **settings)


def _draw_scale_bar(axis: Axes) -> None:
    """A bar of a round length, about a quarter of the panel, in its lower left corner."""
    from matplotlib.patheffects import withStroke

    (west, east), (south, north) = axis.get_xlim(), axis.get_ylim()
    length = _round_below((east - west) / 4)
    start, level = west + 0.06 * (east - west), south + 0.06 * (north - south)
    halo = [withStroke(linewidth=sized(3), foreground="white")]
    axis.plot([start, start + length], [level] * 2, color="black", linewidth=sized(2), path_effects=halo, zorder=5)
    axis.text(
        start + length / 2, level + 0.02 * (north - south), f"{length:g} km" if length >= 1 else f"{1000 * length:g} m",
        ha="center", va="bottom", fontsize=sized(7), path_effects=halo, zorder=5,
    )  # fmt: skip


def _round_below(length: float) -> float:
    """The largest round number that is not above a length."""
    power: float = 10.0 ** math.floor(math.log10(length))
    return max(power * digit for digit in ROUND if power * digit <= length * 1.0001)


def _label(axis: Axes, heading: str, words: tuple[str, str], index: int, columns: int, count: int) -> None:
    """Title, labels and ticks of one of `count` maps, row by row; those between others have no numbers."""
    left, lowest = index % columns == 0, index + columns >= count
    axis.set_title(heading, fontsize=sized(8.5))
    axis.spines[["top", "right"]].set_visible(True)
    axis.tick_params(labelsize=sized(7.5), labelleft=left, labelbottom=lowest)
    axis.ticklabel_format(useOffset=False, style="plain")
    axis.locator_params(axis="x", nbins=4)
    axis.locator_params(axis="y", nbins=5)
    across, up = words
    if left:
        axis.set_ylabel(f"{up} (km)", fontsize=sized(8.5))
    if lowest:
        axis.set_xlabel(f"{across} (km)", fontsize=sized(8.5))


# Maps of an observation, of the model that explains it, and of what is left, track by track.


INVERSION_PANEL = 2.6
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
    maps = [map for row in panels for map in row]
    x, y = (np.concatenate([getattr(track, axis) for _, track, _ in maps]) for axis in "xy")
    left, right, bottom, top = _frame(x, y, 0.04)
    wide, tall = right - left, top - bottom
    width, height = (INVERSION_PANEL * side / max(wide, tall) for side in (wide, tall))
    figure, axes = panel_grid(
        len(maps), len(panels[0]), max(width, 1.0), max(height, 1.0), ACROSS, DOWN, right=BAR, top=0.72, left=0.8
    )
    reach = max(float(np.percentile(np.abs(values), 99.5)) for _, _, values in maps) or 1e-3
    factor, unit = (100.0, "cm") if reach < 1 else (1.0, "m")
    arrows = [_vectors(track, values)[1][:, :2] for _, track, values in maps if track.stations]
    longest = max((float(np.hypot(*moved.T).max()) for moved in arrows), default=0.0)
    for index, (axis, (heading, track, values)) in enumerate(zip(axes, maps, strict=True)):
        axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        points = _points(axis, track, factor * values, factor * reach, longest * factor, width / wide, unit)
        if track.stations and index % len(panels[0]) == 0:
            stations = stations_of(track.x, track.y, track.direction, values, track.names)
            arrow = ARROW * wide / max(longest, 1e-9)
            _name_stations(axis, stations, stations.positions + arrow * stations.vectors[:, :2], sources)
        _label(axis, heading, ("east", "north"), index, len(panels[0]), len(maps))
        for east, north in sources:
            axis.plot(east, north, "+", color="black", markersize=sized(8), markeredgewidth=sized(1.2))
    _draw_scale_bar(axes[0])
    bar_axis = axes[len(panels[0]) - 1]
    bar = figure.colorbar(points, cax=bar_axis.inset_axes((1.05, 0, 0.05, 1)), extend="both")
    words = {frozenset({False}): "toward the satellite", frozenset({True}): "up"}
    kinds = words.get(frozenset(track.stations for _, track, _ in maps), "toward the satellite, or up")
    bar.set_label(f"{kinds} ({unit})", fontsize=sized(8))
    bar.ax.tick_params(labelsize=sized(7))
    add_title(figure, title)
    return figure


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
    positions, vectors = _vectors(track, values)
    points = axis.scatter(
        positions[:, 0], positions[:, 1], c=vectors[:, 2], s=sized(16), marker="o", linewidths=0.6, edgecolors="black",
        zorder=3, cmap="RdBu_r", vmin=-reach, vmax=reach,
    )  # fmt: skip
    if longest > 0:
        arrow = ARROW * np.ptp(axis.get_xlim()) / longest
        arrows = axis.quiver(
            *positions.T, vectors[:, 0], vectors[:, 1], angles="xy", scale_units="xy", scale=1 / arrow, width=0.008,
            color=COLOURS[2], zorder=2,
        )  # fmt: skip
        length = _round_below(longest)
        axis.quiverkey(
            arrows, 0.24, 0.94, length, f"{length:g} {unit}", labelpos="E", fontproperties={"size": sized(7)}
        )
    return points


def _vectors(track: Maps, values: Array) -> tuple[Array, Array]:
    """Positions of stations, (station, 2), and their components, (station, 3); 0 where one is not observed."""
    stations = stations_of(track.x, track.y, track.direction, values, None)
    return stations.positions, np.nan_to_num(stations.vectors)


# Semivariograms of tracks with the models that fit them.


WIDE, HIGH = 4.4, 3.4
"""Sizes of a panel with its margins [inch]."""


def draw_semivariograms(estimates: Mapping[str, NoiseEstimate], title: str) -> Figure:
    """A panel per track: the bins, the best model as a line with its nugget, sill and range, and the other one.

    estimates  name of the track → its estimate
    """
    figure, axes = panels(len(estimates), WIDE, HIGH)
    for axis, (name, estimate) in zip(axes, estimates.items(), strict=True):
        _draw(axis, estimate)
        axis.set_title(name, fontsize=sized(9))
        axis.set_xlabel("distance (km)", fontsize=sized(9))
        axis.tick_params(labelsize=sized(8))
    axes[0].set_ylabel("semivariance (mm²)", fontsize=sized(9))
    add_title(figure, title)
    return figure


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
    words = f"{best.type}:\n{sill if estimate.levels_off else 'does not level off'}\nnugget {1e6 * best.nugget:.2g} mm²"
    small = sized(7.5)
    legend: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, min(0.06 + 0.9e6 * best.nugget / top, 0.4))}
    if not estimate.levels_off:
        legend = {"loc": "upper left"}
    axis.legend(fontsize=small, frameon=False, title=words, title_fontsize=small, **legend)

"""Maps of observations, of the model that explains them, and of what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.arrays import Array, Pair
from qexp.base.quantities import in_words
from qexp.figures.canvas import (
    BOTTOM,
    add_title,
    extend,
    narrow,
    panel_grid,
    place_of,
    sized,
    small,
)
from qexp.figures.estimates import name_points
from qexp.observations.observation import Look, Observation, Track, spacing
from qexp.observations.projection import geographic
from qexp.observations.reading import angles_of

if TYPE_CHECKING:
    import pyproj
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

MOST_NAMED = 30
"""Stations of a map that are named; the names of more would hide the arrows."""

NAMED_FROM = 1.3
"""Width of a map from which on its stations are named [inch]."""


@dataclass(frozen=True)
class Stations:
    """Displacements of stations.

    positions  (station, 2)  along x and y [km]
    vectors    (station, 3)  along x, y and up; NaN where a component is not observed
    names      (station,)    empty where a station has none
    """

    positions: Array
    vectors: Array
    names: Sequence[str]

    @property
    def moved(self) -> Array:
        """Along x and y, (station, 2); 0 where that is not observed."""
        return np.nan_to_num(self.vectors[:, :2])


def stations_of(track: Track, values: Array) -> Stations:
    """The components of stations, which are at one place, put together; values: (point,)."""
    direction = track.direction
    names = track.station
    positions, first, owners = np.unique(
        track.places / 1e3, axis=0, return_index=True, return_inverse=True
    )
    vectors, counts = np.zeros((2, len(positions), 3))
    np.add.at(vectors, owners.ravel(), direction * values[:, None])
    np.add.at(counts, owners.ravel(), direction**2)
    # Both horizontal components must be there, since neither lies along an axis of the map.
    counts[:, :2] = counts[:, :2].sum(axis=1, keepdims=True) / 2
    vectors[counts < 0.99] = np.nan
    named = [""] * len(first) if names is None else names[first].tolist()
    return Stations(positions, vectors, named)


def _inches(axis: Axes) -> float:
    """The width of a map."""
    return axis.get_window_extent().width / axis.figure.dpi


def _name_stations(axis: Axes, layer: Layer, marks: Sequence[Array] = ()) -> None:
    """Write the names beside the dots, where there is room between dots, arrows, marks and other
    names.

    marks  other points to keep free
    The limits of the axis must be set. Nothing is written if the stations are too many.
    """
    stations = layer.stations
    rows = [row for row, name in enumerate(stations.names) if name]
    if len(stations.positions) > MOST_NAMED or _inches(axis) < sized(NAMED_FROM):
        return
    key = [_box_of_key(axis, layer)] if layer.scale.longest > 0 else []
    taken = axis.transData.inverted().transform(
        axis.transAxes.transform(np.concatenate([BAR, *key]))
    )
    others = np.concatenate([_along_arrows(axis, layer), taken, np.reshape(marks, (-1, 2))])
    name_points(axis, [stations.names[row] for row in rows], stations.positions[rows], others)


# Maps of the displacements that tracks observe: one panel each, all on one colour scale.

PANEL, IN_COLUMN = 2.9, 2.2
"""Length of the longer side of a panel, and in a narrow figure [inch]."""

ACROSS, DOWN, LEFT = 0.3, 0.42, 0.85
"""Between panels, which have titles in a column if folded; margin on their left [inch]."""

BARS, LINE = 0.62, 0.15
"""Height for colour bars below the panels, with a line of labels; of each further one [inch]."""

GROUND = "0.85"
"""The grey behind points, on which those that hardly moved, which are white, are seen."""

MOST_DOTS = 20_000
"""More points are drawn as the means of cells."""

CELLS = 400
"""Cells along the longer side of a map that is drawn so."""

UNITS = (("m", 1.0, 1.0), ("cm", 100.0, 0.01), ("mm", 1000.0, 0.0))
"""Unit of a colour scale, its number in a metre, and the least reach of a scale in it [m]."""

ROUND = (1.0, 2.0, 5.0)
"""First digits of the length of a scale bar, and of an arrow that explains the others."""

BAR = np.array([(x, y) for x in (0.06, 0.13, 0.2, 0.27) for y in (0.06, 0.13)])
"""Points on the scale bar and its length, as shares of the axes."""

NOT_MEASURED = "black"
"""Of stations whose vertical displacement is not observed; no displacement has this colour."""

ARROW = 0.2
"""Length of the longest arrow, as a share of the panel's width."""


@dataclass(frozen=True)
class Scale:
    """Colours of displacements, and the length of arrows."""

    unit: str
    factor: float
    """Number of the unit in a metre."""
    colours: ScalarMappable
    longest: float
    """Horizontal displacement of stations whose arrow has the length ARROW [m]; 0 without any."""
    pointed: str
    """The ends of the colour bar that are pointed."""


@dataclass(frozen=True)
class Layer:
    """What a map shows of a track.

    track   with the points that count
    values  (point,)  displacements [m]
    """

    track: Track
    values: Array
    scale: Scale

    @property
    def has_arrows(self) -> bool:
        """Whether these are components of stations, which are drawn as arrows."""
        return self.track.instrument.symbol == "arrows"

    @cached_property
    def stations(self) -> Stations:
        return stations_of(self.track, self.values)


def layers_of(shown: Sequence[tuple[Track, Array]]) -> list[Layer]:
    """Displacements of tracks, (point,) each [m], on one scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = [of_track for _, of_track in shown]
    reach, unit, factor = scale_of(values)
    pointed = extend(factor * np.concatenate(values), -reach, reach)
    colours = ScalarMappable(Normalize(-reach, reach), "RdBu_r")
    scale = Scale(unit, factor, colours, 0.0, pointed)
    layers = [Layer(*one, scale) for one in shown]
    lengths = [np.hypot(*layer.stations.moved.T) for layer in layers if layer.has_arrows]
    longest = float(np.concatenate([[0.0], *lengths]).max())
    return [replace(layer, scale=replace(scale, longest=longest)) for layer in layers]


def _along_arrows(axis: Axes, layer: Layer) -> Array:
    """Points along the arrows of stations, from their dots to the tips, (point, 2)."""
    stations = layer.stations
    arrows = _length(axis.get_xlim(), layer.scale) * stations.moved
    return (stations.positions + np.linspace(0, 1, 6)[:, None, None] * arrows).reshape(-1, 2)


def _length(sides: Pair, scale: Scale) -> float:
    """Of the arrow of a displacement of 1 m, from the western and eastern side of a map [km]."""
    return ARROW * (sides[1] - sides[0]) / max(scale.longest, 1e-9)


def draw_tracks(observation: Observation, title: str) -> Figure:
    """A map per track of the displacement along the line of sight; of stations, arrows and coloured
    vertical ones.

    Points that are masked are dark. An arrow shows the flight of the satellite, a short line
    its look; to the right if nothing tells the side.
    """
    tracks = observation.tracks
    seen = [track.where_observed() for track in tracks]
    layers = layers_of([(track, track.displacement) for track in seen])
    figure, axes = _grid(layers, min(len(layers), 3), observation, fold=True)
    for axis, layer, track in zip(axes, layers, tracks, strict=True):
        located = track.select(np.isfinite(track.x) & np.isfinite(track.y))
        hidden = located.select(~located.observed)
        if 0 < len(hidden.x) <= MOST_DOTS:
            squares = _squares(axis, located.x, located.y)
            axis.scatter(hidden.x / 1000, hidden.y / 1000, color="0.6", **squares)
        _draw_map(axis, layer)
        _label(axis, track.name, *place_of(axis, len(layers)))
        if layer.has_arrows:
            _name_stations(axis, layer)
        elif track.instrument.line_of_sight:
            _mark_flight(axis, layer.track.direction, track.look)
    _colour_bar(figure, axes, layers[0].scale, _towards(layers, "displacement "))
    add_title(figure, title)
    return figure


def _grid(
    layers: Sequence[Layer],
    columns: int,
    observation: Observation,
    *,
    fold: bool,
    lines: int = 1,
    panels: int = 0,
) -> tuple[Figure, list[Axes]]:
    """Maps of one frame with the shades of the ground, the first with a scale bar, and room below
    for colour bars whose labels have some lines.

    panels  number of maps, that of the layers if left out
    """
    frame = west, east, south, north = frame_of(layers)
    wide = east - west
    tall = north - south
    longer = IN_COLUMN if narrow() else PANEL
    width, height = (max(longer * side / max(wide, tall), 1.0) for side in (wide, tall))
    figure, axes = panel_grid(
        panels or len(layers),
        columns,
        width,
        height,
        ACROSS / (2 if narrow() else 1),
        DOWN if fold else DOWN / 3,
        left=LEFT,
        bottom=BOTTOM + BARS + LINE * (lines - 1),
        top=0.6,
        fold=fold,
        square=True,
    )
    shades = _shades(observation.tracks, frame)
    degrees = geographic(observation.crs)
    for axis in axes:
        axis.set(xlim=(west, east), ylim=(south, north), aspect="equal", facecolor=GROUND)
        if shades is not None:
            axis.imshow(shades, extent=frame, origin="lower", interpolation="bilinear", zorder=1.5)
        if degrees is None:
            _draw_kilometres(axis)
        else:
            _draw_graticule(axis, degrees)
    _draw_scale_bar(axes[0])
    return figure, axes


def _colour_bar(
    figure: Figure,
    axes: Sequence[Axes],
    scale: Scale,
    words: str,
    lines: int = 1,
    ticks: Array | None = None,
) -> None:
    """A colour bar below all panels that have its colours.

    lines  of the longest label beside it
    """
    from matplotlib.ticker import MaxNLocator, NullLocator

    height = figure.get_figheight()
    boxes = [axis.get_position() for axis in axes]
    left = min(box.x0 for box in boxes)
    right = max(box.x1 for box in boxes)
    room = right - left
    if room * figure.get_figwidth() > sized(4):  # no longer than is needed to read it
        left = left + room / 5
        right = right - room / 5
    bar_axis = figure.add_axes(
        (left, sized(BARS - 0.15 + LINE * (lines - 1)) / height, right - left, sized(0.11) / height)
    )
    bar = figure.colorbar(
        scale.colours,
        cax=bar_axis,
        orientation="horizontal",
        extend=scale.pointed,
        ticks=MaxNLocator(5 if room > 0.3 else 3, steps=[1, 2, 5, 10]),
    )
    if ticks is not None:  # of a logarithmic scale
        bar.ax.xaxis.set_minor_locator(NullLocator())
        bar.set_ticks(ticks.tolist(), labels=[f"{tick:g}" for tick in ticks])
    bar.set_label(words, fontsize=small(), labelpad=2)
    bar.ax.tick_params(labelsize=small(), pad=2)


def _towards(layers: Sequence[Layer], what: str = "") -> str:
    """What the colours are, the component that they show, and what has none, as short as a narrow
    figure needs it.
    """
    vectors = [layer.stations.vectors for layer in layers if layer.has_arrows]
    flat = any(np.isnan(of_map[:, 2]).any() for of_map in vectors)
    words = {0: "toward the satellite", len(layers): "up"}
    seen = words.get(len(vectors), "toward the satellite, or up")
    unit = layers[0].scale.unit
    return f"{seen} ({unit}); black: no vertical" if flat else f"{what}{seen} ({unit})"


def scale_of(displacements: Sequence[Array]) -> tuple[float, str, float]:
    """Half the width of a colour scale around zero in a readable unit; the unit, and its number in
    a metre.
    """
    reach = max(float(np.percentile(np.abs(values), 99.5)) for values in displacements) or 1e-3
    unit, factor = next((unit, factor) for unit, factor, least in UNITS if reach >= least)
    return reach * factor, unit, factor


Frame = tuple[float, float, float, float]
"""West, east, south and north edges."""


def frame_of(layers: Sequence[Layer]) -> Frame:
    """The edges around all points and all arrows of stations [km]."""
    points = np.concatenate([layer.track.places / 1e3 for layer in layers])
    frame = _frame(points)
    arrows = [layer for layer in layers if layer.has_arrows]
    for _ in range(10 if arrows else 0):  # as a wider map has longer arrows
        tips = [points]
        for layer in arrows:
            moved = _length(frame[:2], layer.scale) * layer.stations.moved
            tips.append(layer.stations.positions + moved)
        frame = _frame(np.concatenate(tips))
    return frame


def _frame(points: Array) -> Frame:
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    room = 0.04 * max(east - west, north - south, 0.1)
    return float(west - room), float(east + room), float(south - room), float(north + room)


def _draw_points(axis: Axes, layer: Layer) -> None:
    """Points as squares of about their cells' size; of averaged points as large as these, of very
    many as means.
    """
    track = layer.track
    positions = track.places / 1e3
    x, y = positions.T
    values = layer.scale.factor * layer.values
    coloured = _coloured(layer.scale)
    # as rectangles, about as large as the cells
    if track.spread is not None and track.count is not None:
        from matplotlib.collections import PolyCollection

        corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        sides = sides_of(track.spread, track.count) / 1000
        cells = list(positions[:, None] + corners * sides[:, None])
        drawn = PolyCollection(cells, linewidths=0, rasterized=True, **coloured)
        drawn.set_array(values)
        axis.add_collection(drawn)
    elif len(x) > MOST_DOTS:  # as the means of cells, which a panel can show
        from scipy.stats import binned_statistic_2d

        spans = np.array([np.ptp(x), np.ptp(y)])
        # At least three points to a cell on average: cells narrower than a grid's pixels would
        # leave gaps.
        cell = max(spans.max() / CELLS, float(np.sqrt(3 * spans.prod() / len(x))))
        bins = np.maximum((spans / cell).astype(int), 1)
        means, columns, rows, _ = binned_statistic_2d(x, y, values, bins=bins)
        axis.pcolormesh(columns, rows, means.T, rasterized=True, **coloured)
    else:
        axis.scatter(x, y, c=values, **_squares(axis, track.x, track.y), **coloured)


def _squares(axis: Axes, x: Array, y: Array) -> dict[str, Any]:
    """How points are drawn as squares that fill the distance between them; x, y in m, the axis in
    km.
    """
    side = 72 * _inches(axis) * spacing(x, y) / 1000 / np.ptp(axis.get_xlim())
    size = float(np.clip(1.15 * side, 1.2, 14.0)) ** 2
    return {"s": size, "marker": "s", "linewidths": 0, "rasterized": True}


def sides_of(spread: Array, count: Array) -> Array:
    """The sides of cells that are filled evenly with pixels, (cell, 2) [m].

    n pixels of width p in a row have the standard deviation √((n² − 1)/12) p.
    """
    several = (count > 1) & (spread > 0).all(axis=1)
    squares = 12 * spread[several].prod(axis=1) / (count[several] - 1)
    pixel = float(np.median(squares)) if several.any() else 1.0
    return np.sqrt(12 * spread**2 + pixel)


def _coloured(scale: Scale) -> dict[str, Any]:
    return {"cmap": scale.colours.cmap, "norm": scale.colours.norm}


def _draw_map(axis: Axes, layer: Layer) -> None:
    """Points in colours; of stations the horizontal components as arrows, the vertical one as the
    dot's colour.

    Stations without a vertical one are small black dots, as white is none of zero.
    """
    if not layer.has_arrows:
        _draw_points(axis, layer)
        return
    scale = layer.scale
    positions = layer.stations.positions
    vectors = layer.stations.vectors
    measured = np.isfinite(vectors[:, 2])
    uplift = scale.factor * vectors[measured, 2]
    outlined: dict[str, Any] = {"edgecolors": "0.2", "linewidths": 0.6, **_coloured(scale)}
    east, north = positions[~measured].T
    axis.scatter(east, north, sized(8), NOT_MEASURED, linewidths=0, zorder=3)
    east, north = positions[measured].T
    axis.scatter(east, north, sized(18), uplift, zorder=3, **outlined)
    moved = np.isfinite(vectors[:, :2]).all(axis=1)
    if scale.longest <= 0 or not moved.any():
        return
    arrows = axis.quiver(
        *positions[moved].T,
        *vectors[moved, :2].T,
        angles="xy",
        scale_units="xy",
        scale=1 / _length(axis.get_xlim(), scale),
        width=sized(0.02),
        units="inches",
        color="0.1",
        zorder=2,
    )
    words, step = _key(scale)
    (_, low), (right, high) = _box_of_key(axis, layer)[[0, -1]]
    place = right - ARROW * step / scale.longest, (low + high) / 2
    font = {"size": small()}
    axis.quiverkey(arrows, *place, step, words, labelpos="W", labelsep=0.05, fontproperties=font)


def _key(scale: Scale) -> tuple[str, float]:
    """The arrow that explains the others: its words, and its displacement [m]."""
    step = _round_below(scale.factor * scale.longest)
    return f"{step:g} {scale.unit}", step / scale.factor


def _box_of_key(axis: Axes, layer: Layer) -> Array:
    """Points of a grid over the corner for the arrow that explains the others, (point, 2), as
    shares of the axes.

    It is the one in which fewest arrows are, but for that of the scale bar.
    """
    from matplotlib.transforms import Bbox

    words, step = _key(layer.scale)
    wide = ARROW * step / layer.scale.longest + sized(0.05 + 0.07 * len(words)) / _inches(axis)
    arrows = axis.transData.transform(_along_arrows(axis, layer))
    taken = np.concatenate([axis.transAxes.inverted().transform(arrows), BAR])
    corners = [(0.96 - wide, 0.02), (0.96 - wide, 0.86), (0.04, 0.86)]
    boxes = [Bbox.from_bounds(*corner, wide, 0.12) for corner in corners]
    box = min(boxes, key=lambda box: box.padded(0.03).count_contains(taken))
    x = np.linspace(box.x0, box.x1, 8)
    y = np.linspace(box.y0, box.y1, 3)
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def _mark_flight(axis: Axes, direction: Array, side: Look | None) -> None:
    """An arrow along the flight and a line along the look, in a corner."""
    mean = direction.mean(axis=0, keepdims=True)
    if np.hypot(*mean[0, :2]) < 1e-3:
        return
    heading = float(angles_of(mean, side)[1][0])
    look = float(np.degrees(np.arctan2(-mean[0, 1], -mean[0, 0])))
    size = min(_inches(axis) / sized(2.0), 1.0)
    settings: dict[str, Any] = {
        "transform": axis.transAxes,
        "units": "inches",
        "scale_units": "inches",
        "scale": 1.0,
        "color": "0.15",
        "width": 0.016,
        "clip_on": False,
    }
    place = [0.91], [0.88]
    axis.quiver(*place, [0.34 * size], [0.0], angles=[90 - heading], pivot="middle", **settings)
    settings |= {"headwidth": 1, "headlength": 0, "headaxislength": 0}  # a line
    axis.quiver(*place, [0.13 * size], [0.0], angles=[look], pivot="tail", **settings)


def _draw_scale_bar(axis: Axes) -> None:
    """A bar of a round length, about a quarter of the panel, in its lower left corner."""
    from matplotlib.patheffects import withStroke

    (west, east), (south, north) = axis.get_xlim(), axis.get_ylim()
    length = _round_below((east - west) / 4)
    start = west + 0.06 * (east - west)
    level = south + 0.06 * (north - south)
    halo = [withStroke(linewidth=sized(3), foreground=GROUND)]
    settings: dict[str, Any] = {"path_effects": halo, "zorder": 5}
    ends = [start, start + length]
    axis.plot(ends, [level] * 2, color="black", linewidth=sized(2), **settings)
    words = f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"
    place = start, level + 0.02 * (north - south)
    axis.text(
        *place,
        words,
        ha="left",
        va="bottom",
        fontsize=small(),
        **settings,
    )


def _round_below(length: float) -> float:
    """The largest round number that is not above a length."""
    power: float = 10.0 ** math.floor(math.log10(length))
    return max(power * digit for digit in ROUND if power * digit <= length * 1.0001)


# What lies under the maps: the light on the ground, and meridians and parallels.

LIGHT = 315.0, 45.0
"""Azimuth and height of the sun above the ground: in the north-west, as on most maps [degrees]."""

SHADES, DARKEST, BRIGHTEST, LIGHT_CELLS = 1.5, 0.4, 0.2, 300
"""Opacity of a shade for the change of light that it stands for, of the darkest and of the
brightest at most, which would make colours pale; cells along the longer side.
"""

FEWEST_HEIGHTS = 1000
"""Between fewer points, such as means of large cells, ground is guesswork, and not shaded."""


def _shades(tracks: Sequence[Track], frame: Frame) -> Array | None:
    """Black and white of different opacity over a frame, by the track with most elevations, (row,
    column, 4), the southernmost row first: above colours they leave these their hue. None if too
    few elevations are known.
    """
    from matplotlib.colors import LightSource
    from scipy.interpolate import griddata

    known = list[Track]()
    for track in tracks:
        if track.instrument.imaging and track.elevation is not None:
            known.append(track.select(np.isfinite(track.x + track.y + track.elevation)))
    best = max(known, key=lambda track: len(track.x), default=None)
    if best is None or len(best.x) < FEWEST_HEIGHTS:
        return None
    best = best.thinned(MOST_DOTS, np.random.default_rng(0))
    west, east, south, north = (1000 * edge for edge in frame)
    step = max(east - west, north - south) / LIGHT_CELLS
    x = np.arange(west + step / 2, east, step)
    y = np.arange(south + step / 2, north, step)
    places = tuple(np.meshgrid(x, y))
    ground = griddata(
        (best.x, best.y),
        best.elevation,
        places,
        "cubic",
        rescale=True,
    )
    slope_north, slope_east = np.gradient(ground, step)
    normals = np.stack([-slope_east, -slope_north, np.ones_like(ground)], axis=-1)
    light = LightSource(*LIGHT).direction
    # Not LightSource.hillshade: that stretches any ground to black and white, a plain's noise, too.
    change = normals @ light / np.linalg.norm(normals, axis=-1) - light[2]
    shades = np.clip(SHADES * np.nan_to_num(change), -DARKEST, BRIGHTEST)
    return np.stack([shades > 0] * 3 + [np.abs(shades)], axis=-1).astype(float)


def _draw_graticule(axis: Axes, degrees: pyproj.Transformer) -> None:
    """Meridians and parallels, and where they meet the lower and the left edge their degrees."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    x = np.linspace(*axis.get_xlim(), 30)
    y = np.linspace(*axis.get_ylim(), 30)
    longitude, latitude = degrees.transform(*np.meshgrid(1000 * x, 1000 * y))
    longitude, (south, north) = np.unwrap(longitude, period=360), latitude[[0, -1], 0]
    parallels = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(south, north)
    parallels = parallels[(parallels >= south) & (parallels <= north)]
    for ticked, values, field, at_edge, edge, sides in (
        (axis.xaxis, _ticks_across(axis, longitude[0], 2), longitude, longitude[0], x, "EW"),
        (axis.yaxis, parallels, latitude, latitude[:, 0], y, "NS"),
    ):
        if len(values):
            axis.contour(
                x, y, field, values, colors="0.3", linewidths=sized(0.4), alpha=0.5, zorder=1.8
            )
        places = np.interp(values, at_edge, edge)
        numbers = _in_degrees((values + 180) % 360 - 180, sides)
        words = dict(zip(places.tolist(), numbers, strict=True))
        ticked.set_ticks(places)
        ticked.set_major_formatter(FuncFormatter(lambda x, _, words=words: words.get(x, "")))


def _in_degrees(values: Array, sides: str) -> list[str]:
    """`14.10°E`, all with as many decimal places."""
    decimals = max((len(f"{value:.7g}".partition(".")[2]) for value in values), default=0)
    return [f"{abs(value):.{decimals}f}°{sides[int(value < 0)]}" for value in values]


def _draw_kilometres(axis: Axes) -> None:
    axis.ticklabel_format(useOffset=False, style="plain")
    axis.set_xticks(_ticks_across(axis, np.array(axis.get_xlim())))
    axis.locator_params(axis="y", nbins=4, steps=[1, 2, 5, 10])
    axis.set_xlabel("east (km)", fontsize=sized(9))
    axis.set_ylabel("north (km)", fontsize=sized(9))


def _label(axis: Axes, heading: str, left: bool, lowest: bool, row: str = "") -> None:
    """Title and labels of a map; those between others have no numbers.

    row  what the maps of a row show, on the left of its first
    """
    axis.set_title(heading, fontsize=sized(9))
    axis.spines[["top", "right"]].set_visible(True)
    axis.tick_params(labelsize=small(), labelleft=left, labelbottom=lowest)
    words = "\n".join(filter(None, [row, axis.get_ylabel()]))
    axis.set_ylabel(words if left else "", fontsize=sized(9))
    axis.set_xlabel(axis.get_xlabel() if lowest else "")


def _ticks_across(axis: Axes, values: Array, more: int = 0) -> Array:
    """Values along the horizontal axis whose numbers do not touch each other, nor those of the map
    beside it.

    values  ascending, at even distances from the western to the eastern side
    more    characters of each number for its unit
    """
    from matplotlib.ticker import MaxNLocator

    inches = _inches(axis)
    west, east = axis.get_xlim()
    margin = sized(ACROSS / (4 if narrow() else 2) - 0.04)
    most = max(int(inches / sized(0.55 + 0.07 * more)), 2)
    candidates = []
    for bins in range(1, most + 3):
        locator = MaxNLocator(bins, min_n_ticks=1, steps=[1, 2, 5, 10])
        ticks = locator.tick_values(*values[[0, -1]])
        ticks = ticks[(ticks >= values[0]) & (ticks <= values[-1])]
        places = np.interp(ticks, values, np.linspace(west, east, len(values)))
        halves = sized(0.036) * np.array([len(f"{tick:g}") + more for tick in ticks])
        to_edge = np.minimum(places - west, east - places) * inches / (east - west)
        fits = to_edge >= np.maximum(halves - margin, 0)
        for step in (1, 2):
            gaps = np.diff(places[fits][::step]) * inches / (east - west)
            apart = gaps >= 2 * halves.max(initial=0)
            candidates += [ticks[fits][::step]] * bool(apart.all())
    return max((ticks for ticks in candidates if len(ticks) <= most), key=len)


SHOWN = ("observed", "model", "residual")
CROSS = (("white", 2.6), ("black", 1.2))
"""Colours and widths of the lines of the cross of a source, one over the other."""


@dataclass(frozen=True)
class Maps:
    """What is drawn of one track.

    track  with the points that count
    data   (point,)  displacement, less offset and ramp [m]
    model  (point,)  [m]
    """

    track: Track
    data: Array
    model: Array

    @property
    def residual(self) -> tuple[Track, Array]:
        return self.track, self.data - self.model


NOWHERE = Observation(())
"""An observation of which neither the ground nor the place on the Earth is known."""


def inversion_maps(
    maps: Sequence[Maps],
    sources: Sequence[Array],
    title: str,
    less: str,
    observation: Observation = NOWHERE,
) -> Figure:
    """A row per track with the observed displacement and the model on one scale, and the residual
    on its own.

    sources      (point, 2) each, east and north [km]: a position, or an outline
    less         what is subtracted from the observed displacement, such as "offset and ramp", or
                 nothing
    observation  whose elevations shade the maps, and whose system tells where they lie
    """
    shown = layers_of([(map.track, values) for map in maps for values in (map.data, map.model)])
    left = layers_of([map.residual for map in maps])
    words = _towards(shown)
    # beside the other bar there is no room
    words = words.replace("; ", ";\n") if narrow() else words
    lines = 1 + words.count("\n")
    layers = list(chain.from_iterable(zip(shown[::2], shown[1::2], left, strict=True)))
    figure, axes = _grid(layers, len(SHOWN), observation, fold=False, lines=lines)
    for index, (axis, layer) in enumerate(zip(axes, layers, strict=True)):
        _draw_map(axis, layer)
        heading = SHOWN[index] if index < len(SHOWN) else ""
        heading += f",\nless {less}" if less and index == 0 else ""
        _label(axis, heading, *place_of(axis, len(axes)), layer.track.name)
        for places, (colour, width) in product(sources, CROSS):
            line = axis.plot(*places.T, color=colour, zorder=4, linewidth=sized(width))[0]
            if len(places) == 1:
                line.set(marker="+", markersize=sized(7 + width), markeredgewidth=sized(width))
        if layer.has_arrows and index % len(SHOWN) == 0:
            _name_stations(axis, layer, [places[0] for places in sources])
    residuals = axes[2::3]
    others = [axis for axis in axes if axis not in residuals]
    _colour_bar(figure, others, shown[0].scale, words, lines)
    scale = left[0].scale
    _colour_bar(figure, residuals, scale, f"residual ({scale.unit})", lines)
    add_title(figure, title)
    return figure


def residual_maps(
    candidates: Sequence[tuple[str, Sequence[Maps]]], title: str, observation: Observation = NOWHERE
) -> Figure:
    """A row per candidate with the residuals of all tracks, on one scale; `observation` as in
    `inversion_maps`.
    """
    layers = layers_of([map.residual for _, maps in candidates for map in maps])
    columns = len(candidates[0][1])
    figure, axes = _grid(layers, columns, observation, fold=False)
    for index, (axis, layer) in enumerate(zip(axes, layers, strict=True)):
        _draw_map(axis, layer)
        heading = layer.track.name if index < columns else ""
        _label(axis, heading, *place_of(axis, len(axes)), candidates[index // columns][0])
    _colour_bar(figure, axes, layers[0].scale, _towards(layers, "residual "))
    add_title(figure, title)
    return figure


ROUND_AMOUNTS = np.outer(10.0 ** np.arange(-9, 10), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)).ravel()
"""Of the contours of amplitudes, and the numbers beside their colours."""


def detectable_maps(least: xarray.Dataset, observation: Observation) -> Figure:
    """A map per depth of the least amplitude that is seen, with the outlines of tracks and the
    stations; see `detectable.detectable`.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    seen = [track.where_observed() for track in observation.tracks]
    layers = layers_of([(track, track.displacement) for track in seen])
    values = least["least"].values
    figure, axes = _grid(layers, 3, observation, fold=True, panels=len(values))
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (0, 98)) if len(finite) else (1.0, 2.0)
    norm = LogNorm(low, max(high, 1.01 * low))
    colours = ScalarMappable(norm, "viridis_r")
    pointed = extend(finite, low, high)
    scale = Scale(least.unit, 1.0, colours, 0.0, pointed)
    amounts = ROUND_AMOUNTS
    levels = amounts[(amounts > low) & (amounts < high)]
    east = least["east"].values / 1e3
    north = least["north"].values / 1e3
    for axis, depth, of_depth in zip(axes, least["depth"].values, values, strict=True):
        axis.pcolormesh(east, north, of_depth, rasterized=True, **_coloured(scale))
        if min(of_depth.shape) > 1 and len(levels):
            lines = axis.contour(east, north, of_depth, levels, colors="white", linewidths=0.7)
            axis.clabel(lines, fmt="%g", fontsize=small())
        for track in seen:
            _draw_outline(axis, track)
        _label(axis, f"{depth:.3g} km deep", *place_of(axis, len(axes)))
    words = f"least {in_words(least.amplitude)} that is seen ({least.unit})"
    _colour_bar(figure, axes, scale, words, ticks=levels)
    probability = 100 * least.probability
    rate = 100 * least.false_alarms
    chances = f"with {probability:g} % probability at {rate:g} % false alarms"
    share = f"{least.known_over_searched:.2g} times as much if place and depth were known"
    add_title(figure, f"seen {chances} where the source is searched; {share}")
    return figure


def _draw_outline(axis: Axes, track: Track) -> None:
    """A line around the points of an image; stations."""
    from scipy.spatial import ConvexHull

    places = track.places / 1e3
    if not track.instrument.imaging:
        x, y = places.T
        axis.plot(x, y, "^", color="black", markersize=sized(3))
    elif track.size > 2:
        hull = ConvexHull(places, qhull_options="QJ")  # also of points on a line
        ring = places[hull.vertices]
        x, y = np.concatenate([ring, ring[:1]]).T
        axis.plot(x, y, "--", color="black", linewidth=sized(0.8))

"""Maps of the displacements that tracks observe: one panel each, all on one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.figures.canvas import figure, sized
from qexp.figures.stations import name_stations, stations_of
from qexp.observations.observation import Array, Observation, Track
from qexp.observations.reading import angles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

PANEL = 3.6
"""Width of a panel [inch]."""

MOST_DOTS = 20_000
"""More points are drawn as the means of cells."""

CELLS = 400
"""Cells along the longer side of a map that is drawn so."""

UNITS = (("m", 1.0, 1.0), ("cm", 100.0, 0.01), ("mm", 1000.0, 0.0))
"""Unit of a colour scale, its number in a metre, and the least reach of a scale in it [m]."""

COLOURS, MASKED = "RdBu_r", "0.8"


def draw_tracks(observation: Observation, title: str) -> Figure:
    """A map per track of the displacement along the line of sight; of stations, arrows and coloured vertical ones.

    Easting and northing are in km; points that are masked are grey. An arrow shows the flight of the satellite, a short
    line its look.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    tracks = observation.tracks
    reach, unit, factor = scale_of([track.seen().displacement for track in tracks])
    west, east, south, north = frame_of(tracks)
    ratio = float(np.clip((north - south) / (east - west), 0.4, 2.0))
    columns = min(len(tracks), 3)
    rows = -(-len(tracks) // columns)
    made, grid = figure(rows, columns, PANEL + 0.9 / columns, PANEL * ratio + 0.75)
    axes = [axis for row in grid for axis in row]
    colours = ScalarMappable(Normalize(-reach, reach), COLOURS)
    for index, (axis, track) in enumerate(zip(axes, tracks, strict=False)):
        draw = _draw_points if track.kind == "radar" else _draw_stations
        axis.set_xlim(west, east)
        axis.set_ylim(south, north)
        draw(axis, track, factor, colours)
        axis.set_title(track.name, fontsize=sized(9))
        axis.set_aspect("equal")
        _label(axis, left=index % columns == 0, lowest=index + columns >= len(tracks))
        _mark_scale(axis)
    for axis in axes[len(tracks) :]:
        axis.set_visible(False)
    kinds = {"radar": "toward the satellite", "gnss": "up"}
    words = " or ".join(kinds[kind] for kind in kinds if kind in {track.kind for track in tracks})
    largest = max(float(np.abs(track.seen().displacement).max()) for track in tracks) * factor
    bar = made.colorbar(colours, ax=axes, extend="both" if largest > reach else "neither", shrink=0.8, pad=0.02)
    bar.set_label(f"displacement {words} ({unit})", fontsize=sized(9))
    bar.ax.tick_params(labelsize=sized(8))
    made.suptitle(title, fontsize=sized(10))
    return made


def scale_of(displacements: Sequence[Array]) -> tuple[float, str, float]:
    """Half the width of a colour scale around zero in a readable unit; the unit, and its number in a metre."""
    reach = max(float(np.percentile(np.abs(values), 99.5)) for values in displacements) or 1e-3
    unit, factor = next(((unit, one) for unit, one, least in UNITS if reach >= least))
    return reach * factor, unit, factor


def frame_of(tracks: Sequence[Track]) -> tuple[float, float, float, float]:
    """West, east, south and north edges around all observed points [km]."""
    x, y = (np.concatenate([getattr(track.seen(), name) for track in tracks]) / 1000 for name in "xy")
    stations = any(track.kind == "gnss" for track in tracks)  # whose arrows need room
    margin = (0.12 if stations else 0.04) * max(float(np.ptp(x)), float(np.ptp(y)), 0.1)
    return float(x.min()) - margin, float(x.max()) + margin, float(y.min()) - margin, float(y.max()) + margin


def _draw_points(axis: Axes, track: Track, factor: float, colours: ScalarMappable) -> None:
    seen = track.seen()
    hidden = track.kept(~track.observed & np.isfinite(track.x) & np.isfinite(track.y))
    points = min(seen.size, MOST_DOTS)
    width = 72 * PANEL * 0.8
    size = float(np.clip(width / max(np.sqrt(points), 1), 0.8, 6)) ** 2
    if 0 < len(hidden.x) <= MOST_DOTS:
        axis.scatter(hidden.x / 1000, hidden.y / 1000, size / 2, color=MASKED, linewidths=0)
    if seen.spread is not None and seen.count is not None:
        _draw_means(axis, seen, sides_of(seen.spread, seen.count), factor, colours)
    elif seen.size > MOST_DOTS:
        _draw_cells(axis, seen, factor, colours)
    else:
        axis.scatter(
            seen.x / 1000, seen.y / 1000, size, factor * seen.displacement, linewidths=0, **_coloured(colours)
        )  # fmt: skip
    _mark_flight(axis, seen)


def _draw_means(axis: Axes, seen: Track, sides: Array, factor: float, colours: ScalarMappable) -> None:
    """Means of cells as rectangles, about as large as the cells."""
    from matplotlib.collections import PolyCollection

    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    middles = np.stack([seen.x, seen.y], axis=1)
    cells = list((middles[:, None] + corners * sides[:, None]) / 1000)
    drawn = PolyCollection(cells, linewidths=0, **_coloured(colours))
    drawn.set_array(factor * seen.displacement)
    axis.add_collection(drawn)


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


def _draw_cells(axis: Axes, seen: Track, factor: float, colours: ScalarMappable) -> None:
    """The means of cells, which a panel can show."""
    spans = np.array([np.ptp(seen.x), np.ptp(seen.y)])
    # At least three points to a cell on average: cells narrower than a grid's pixels would leave gaps.
    cell = max(spans.max() / CELLS, float(np.sqrt(3 * spans.prod() / seen.size)))
    bins = np.maximum((spans / cell).astype(int), 1)
    sums, x, y = np.histogram2d(seen.x / 1000, seen.y / 1000, bins, weights=factor * seen.displacement)
    counts, _, _ = np.histogram2d(seen.x / 1000, seen.y / 1000, [x, y])
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    axis.pcolormesh(x, y, means.T, rasterized=True, **_coloured(colours))


def _draw_stations(axis: Axes, track: Track, factor: float, colours: ScalarMappable) -> None:
    """Arrows of the horizontal displacements, and dots coloured by the vertical ones."""
    seen = track.seen()
    stations = stations_of(seen.x / 1000, seen.y / 1000, seen.direction, factor * seen.displacement, seen.station)
    vectors = stations.vectors
    moved = np.isfinite(vectors[:, :2]).all(axis=1)
    longest = max(float(np.hypot(*vectors[moved, :2].T).max(initial=0)), 1e-9)
    east, north = stations.places.T
    outlined: dict[str, Any] = {"edgecolors": "0.3", "linewidths": 0.6, "zorder": 3}
    axis.scatter(east, north, 16, "white", **outlined)
    up = np.isfinite(vectors[:, 2])
    axis.scatter(east[up], north[up], 16, vectors[up, 2], **_coloured(colours), **outlined)
    step = float(f"{longest:.0e}")
    arrows = axis.quiver(
        east[moved], north[moved], vectors[moved, 0], vectors[moved, 1], angles="xy", scale_units="width",
        scale=5 * longest, width=0.006, color="0.15", zorder=2,
    )  # fmt: skip
    unit = next(unit for unit, one, _ in UNITS if one == factor)
    axis.quiverkey(arrows, 0.86, 0.93, step, f"{step:g} {unit}", labelpos="S", fontproperties={"size": sized(7.5)})
    tips = stations.places + vectors[:, :2] / (5 * longest) * float(np.ptp(axis.get_xlim()))
    name_stations(axis, stations, tips)


def _mark_flight(axis: Axes, seen: Track) -> None:
    """An arrow along the flight and a line along the look, in a corner."""
    mean = seen.direction.mean(axis=0, keepdims=True)
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


def _mark_scale(axis: Axes) -> None:
    """A bar of a round number of km, in the lower left corner."""
    west, east = axis.get_xlim()
    south, north = axis.get_ylim()
    wanted = (east - west) / 4
    decade = 10 ** np.floor(np.log10(wanted))
    length = float(max(step * decade for step in (1, 2, 5) if step * decade <= wanted))
    start, low = west + 0.05 * (east - west), south + 0.05 * (north - south)
    axis.plot([start, start + length], [low, low], color="0.1", linewidth=sized(2.5), solid_capstyle="butt", zorder=5)
    back = {"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 1}
    middle = start + length / 2
    words = f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"
    axis.text(middle, low, words, ha="center", va="bottom", fontsize=sized(7.5), zorder=4, bbox=back)


def _label(axis: Axes, left: bool, lowest: bool) -> None:
    axis.spines[["top", "right"]].set_visible(True)
    axis.tick_params(labelsize=sized(8), labelleft=left, labelbottom=lowest)
    axis.ticklabel_format(useOffset=False)
    axis.locator_params(nbins=5)
    if left:
        axis.set_ylabel("northing (km)", fontsize=sized(9))
    if lowest:
        axis.set_xlabel("easting (km)", fontsize=sized(9))

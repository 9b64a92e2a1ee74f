"""The least amplitude of a source that would be seen, over maps at depths, and below a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from qexp.base.arrays import Array
from qexp.base.quantities import in_words
from qexp.errors import QexpError, some
from qexp.inference.detection import Detection, displacements_of
from qexp.inference.least_squares import Problem
from qexp.inference.parameters import Search, Units, display_name

if TYPE_CHECKING:
    import xarray

POWER = 0.9
"""Probability with which a source of the least amplitude is seen."""
PLACE, DOWN = ("depth", "y", "x"), (1.0, 0.0, 0.0)
CELLS, LEVELS, SHOWN, TOGETHER = 64, 41, slice(10, 31, 10), 64
"""Cells along the longer side of a map; depths below a place, and those of the maps, as numbers of
these; signals in memory together.
"""


def require_mappable(problem: Problem) -> None:
    """Raises QexpError unless all but the place, the depth and one amplitude are fixed."""
    coordinates = problem.coordinates
    names = {parameter.name for parameter in coordinates.parameters}
    if not names >= {*PLACE} or {"x", "y"} & coordinates.fixed.keys():
        raise QexpError(
            "`detectable`: maps are over east and north of a single source with a depth; name one"
            " in `source`, and do not fix these"
        )
    amplitudes = [coordinates.names[number] for number in coordinates.linear]
    more = [name for name in coordinates.names if name not in (*PLACE, *amplitudes[:1])]
    if more or not amplitudes:
        which = f"fix {some([*map(display_name, more)], 8)}" if more else "leave one free"
        raise QexpError(
            f"`detectable`: maps are of one amplitude of given sizes and angles; {which}"
        )


def detectable(
    problem: Problem,
    detection: Detection,
    wanted: Sequence[Search],
    units: Units,
    false_alarms: float,
) -> xarray.Dataset:
    """The least amplitude of the one that is free, by geometry and noise alone, over the extent of
    the points, and below the origin of `units`.

    detection  of a search for the source in the same data, by which it is known how large noise is
    returns    `least` over depth, north and east, `least_at_place` over depth, and `least_below`
               over level, of a source that is searched; NaN where there can be none. It is
               known_over_searched times as much where place and depth are known
    """
    import xarray
    from scipy import special  # quick, unlike scipy.stats

    coordinates = problem.coordinates
    names = [parameter.name for parameter in coordinates.parameters]
    columns = [names.index(name) for name in PLACE]
    amplitude = coordinates.parameters[coordinates.free[coordinates.linear[0]]]
    thresholds = detection.threshold(false_alarms), special.ndtri(1 - false_alarms / 2)
    searched, known = (float(one + special.ndtri(POWER)) for one in thresholds)
    scale = searched * amplitude.scale / units.factor(amplitude.name)
    template = torch.tensor([coordinates.fixed.get(name, 1.0) for name in names]).double()

    def least(places: Array) -> Array:
        """(...,) of depth, north and east, (..., 3) [m]."""
        rows = torch.from_numpy(places).reshape(-1, len(PLACE))
        values = template.repeat(len(rows), 1)
        values[:, columns] = rows
        possible = problem.model.possible(values)
        norms = []
        for some_values in values[possible].split(TOGETHER):
            signals = displacements_of(problem, some_values)
            weighted = problem.weighting(signals[:, 0])
            norms.append(weighted.norm(dim=1))
        found = torch.full((len(values),), torch.nan, dtype=torch.float64)
        found[possible] = scale / torch.cat(norms)
        return found.numpy().reshape(places.shape[:-1])

    depths, levels, y, x = _axes(problem, wanted[names.index("depth")])
    maps = np.stack(np.meshgrid(depths, y, x, indexing="ij"), axis=-1)
    unit = units.unit_of(amplitude.name)
    about = {"units": unit, "long_name": f"least {in_words(amplitude.name)} that is seen"}
    axes = {"depth": (depths / 1e3, "km"), "level": (levels / 1e3, "km")}
    axes |= {"north": (y + units.origin[1], "m"), "east": (x + units.origin[0], "m")}
    return xarray.Dataset(
        {
            "least": (("depth", "north", "east"), least(maps), about),
            "least_below": ("level", least(np.outer(levels, DOWN)), about),
            "least_at_place": ("depth", least(np.outer(depths, DOWN)), about),
        },
        {name: (name, values, {"units": metres}) for name, (values, metres) in axes.items()},
        {
            "amplitude": display_name(amplitude.name),
            "unit": unit,
            "probability": POWER,
            "false_alarms": false_alarms,
            "known_over_searched": known / searched,
            "place": list(units.origin),
        },
    )


def _axes(problem: Problem, search: Search) -> tuple[Array, Array, Array, Array]:
    """Depths of maps, more of them for a place, and middles of cells north and east of the origin,
    all [m].

    search  of the depth
    """
    levels = np.geomspace(search.low, search.high, LEVELS)
    depths = np.array([float(f"{level:.1g}") for level in levels[SHOWN]])
    if "depth" in problem.coordinates.fixed:
        depths = np.array([problem.coordinates.fixed["depth"]])
    points = problem.model.positions.numpy()
    extent = np.ptp(points, axis=0)
    cell = extent.max() / CELLS or 1e3
    sides = []
    for low, side in zip(points.min(axis=0), extent, strict=True):
        middles = np.arange(cell / 2, max(side, cell), cell)
        sides.append(low + middles)
    x, y = sides
    return depths, levels, y, x

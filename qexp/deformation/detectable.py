"""The least amplitude of a source that would be seen, over a map, at depths, and below a place."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qexp.base.arrays import Array, Pair
from qexp.base.quantities import in_words
from qexp.deformation.options import InvertOptions
from qexp.errors import QexpError, some
from qexp.inference.detection import Detection, unit_signals
from qexp.inference.least_squares import Problem
from qexp.inference.parameters import Search, Units, display_name

POWER = 0.9
"""Probability with which a source of the least amplitude is seen."""
PLACE = "depth", "y", "x"
CELLS, LEVELS, TOGETHER = 64, 41, 512
"""Cells along the longer side of a map; depths below a place; signals in memory together."""


@dataclass(frozen=True, repr=False)
class Detectable:
    """The least amplitude that is seen with the probability POWER, by geometry and noise alone.

    amplitude     its name, such as delta_volume
    unit          of all amplitudes
    probability   with which it is seen
    false_alarms  probability of seeing a source in noise alone
    searched, known  signal-to-noise ratios that are needed where places and depths of the search
                  are unknown, and where the source is known
    depths        (map,) [km]
    east, north   (column,), (row,)  middles of the cells, northwards [m]
    least         (map, row, column)  of a source that is searched; of a known one known / searched
                  times as much; NaN where no source is possible
    place         east, north [m]
    levels        (level,)  depths below the place [km]
    below         (level,)  the least amplitude there, of a source that is searched
    """

    amplitude: str
    unit: str
    probability: float
    false_alarms: float
    searched: float
    known: float
    depths: Array
    east: Array
    north: Array
    least: Array
    place: Pair
    levels: Array
    below: Array

    def __repr__(self) -> str:
        return f"<least {in_words(self.amplitude)} that is seen, at {len(self.depths)} depths>"

    def document(self) -> dict[str, Any]:
        at = np.interp(self.depths, self.levels, self.below)
        return {
            "amplitude": self.amplitude,
            "unit": self.unit,
            "false_alarms": self.false_alarms,
            "probability": self.probability,
            "place": list(self.place),
            "known_over_searched": self.known / self.searched,
            "depths": self.depths.tolist(),
            "least_below_place": at.tolist(),
        }

    def netcdf(self, crs: str | None, history: str) -> bytes:
        """Maps, and the depths below the place."""
        import xarray

        unit = {"units": self.unit}
        of_map = "depth", "north", "east"
        words = f"least {in_words(self.amplitude)} that is seen where the source is "
        share = self.known / self.searched
        variables = {
            "searched": (of_map, self.least, unit | {"long_name": f"{words}searched"}),
            "known": (of_map, share * self.least, unit | {"long_name": f"{words}known"}),
            "searched_below": ("level", self.below, unit | {"long_name": f"{words}searched"}),
            "known_below": ("level", share * self.below, unit | {"long_name": f"{words}known"}),
        }
        axes = {
            "depth": ("depth", self.depths, {"units": "km", "positive": "down"}),
            "level": ("level", self.levels, {"units": "km", "positive": "down"}),
            "north": ("north", self.north, {"units": "m"}),
            "east": ("east", self.east, {"units": "m"}),
        }
        about = {
            "history": history,
            "false_alarms": self.false_alarms,
            "probability": self.probability,
            "place": self.place,
            "crs": crs or "",
        }
        content = io.BytesIO()
        xarray.Dataset(variables, axes, about).to_netcdf(content, engine="h5netcdf")
        return content.getvalue()


def require_mappable(problem: Problem) -> None:
    """Raises QexpError unless all but the place, the depth and one amplitude are fixed."""
    coordinates = problem.coordinates
    parameters = [coordinates.parameters[index] for index in coordinates.free]
    amplitudes = [parameter.name for parameter in parameters if parameter.linear]
    others = [parameter.name for parameter in parameters if not parameter.linear]
    names = {parameter.name for parameter in coordinates.parameters}
    if not names >= {*PLACE} or {"x", "y"} & coordinates.fixed.keys():
        raise QexpError(
            "`detectable`: the map is over east and north of a single source with a depth; name"
            " one, and do not fix these"
        )
    more = [name for name in others if name not in PLACE] + amplitudes[1:]
    if more or not amplitudes:
        which = f"fix {some([*map(display_name, more)], 8)}" if more else "leave one free"
        raise QexpError(
            "`detectable`: a map is that of one amplitude, at given sizes and angles, over places"
            f" and depths; {which}"
        )


def detectable(
    problem: Problem,
    detection: Detection,
    wanted: Sequence[Search],
    units: Units,
    options: InvertOptions,
) -> Detectable:
    """The least amplitude of the one that is free, over the extent of the points.

    detection  of a search for the source in the same data, whose noise tells the threshold
    """
    from scipy import special  # quick, unlike scipy.stats

    require_mappable(problem)
    coordinates = problem.coordinates
    names = [parameter.name for parameter in coordinates.parameters]
    amplitude = coordinates.names[coordinates.linear[0]]
    thresholds = (
        detection.threshold(options.false_alarms),
        special.ndtri(1 - options.false_alarms / 2),
    )
    searched, known = (float(threshold + special.ndtri(POWER)) for threshold in thresholds)
    template = torch.tensor([coordinates.fixed.get(name, 1.0) for name in names]).double()

    def least(places: Array) -> Array:
        """(...,) of depth, north and east, (..., 3) [m]."""
        values = template.repeat(places[..., 0].size, 1)
        values[:, [names.index(name) for name in PLACE]] = torch.from_numpy(places).reshape(-1, 3)
        signals = [unit_signals(problem, rows)[:, 0].norm(dim=1) for rows in values.split(TOGETHER)]
        found = searched / torch.cat(signals) / units.factor(amplitude)
        found[~problem.model.possible(values)] = torch.nan
        return found.numpy().reshape(places.shape[:-1])

    search = wanted[names.index("depth")]
    levels = np.geomspace(search.low, search.high, LEVELS)
    depths = 1e3 * np.array(options.depths or [])
    if "depth" in coordinates.fixed:
        depths = np.array([coordinates.fixed["depth"]])
    elif options.depths is None:
        depths = np.array([float(f"{level:.1g}") for level in levels[10:31:10]])
    points = problem.model.positions.numpy()
    lowest, extent = points.min(axis=0), np.ptp(points, axis=0)
    cell = extent.max() / CELLS or 1e3
    x, y = (low + np.arange(cell / 2, side, cell) for low, side in zip(lowest, extent, strict=True))
    maps = np.stack(np.meshgrid(depths, y, x, indexing="ij"), axis=-1)
    below = np.column_stack([levels, np.zeros((LEVELS, 2))])
    return Detectable(
        display_name(amplitude), units.unit_of(amplitude), POWER, options.false_alarms, searched, known,
        depths / 1e3, x + units.origin[0], y + units.origin[1], least(maps),
        units.origin, levels / 1e3, least(below),
    )  # fmt: skip

"""The parameters of sources as least squares take them: where they may lie, and where a search for them starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.generators.deformation import Source
from qexp.estimation.coordinates import Parameter
from qexp.quantities import Quantities, Quantity, base_name, quantity

Array = NDArray[np.float64]

AMPLITUDES = (
    "delta_volume", "pressure_over_mu", "potency_x", "potency_y", "potency_z", "strike_slip", "dip_slip", "opening",
)  # fmt: skip
"""Variables to which displacements are proportional, if those of other variables of the source are not changed."""


@dataclass(frozen=True)
class Search:
    """A parameter, and the interval in which starts of a search are drawn; of amplitudes it is not used. SI units."""

    parameter: Parameter
    low: float
    high: float

    @property
    def amplitude(self) -> bool:
        return base_name(self.parameter.name) in AMPLITUDES

    def held_at(self, value: float) -> Search:
        """The search whose starts all have this value; from there it goes on freely."""
        return replace(self, low=value, high=value)


def searches(
    sources: Sequence[Source], stations: Array, quantities: Quantities, bounds: Mapping[str, tuple[float, float]]
) -> list[Search]:
    """A search for each column of the sources.

    stations  (point, 2)  east, north [m]; their extent gives the range of places and of sizes
    bounds    column → lowest and highest value in SI units, which replace the usual ones
    """
    lowest, highest = stations.min(axis=0), stations.max(axis=0)
    extent = float((highest - lowest).max()) or 1.0
    found = []
    for name in (column for source in sources for column in source.columns):
        of = quantity(name, quantities)
        if base_name(name) in ("x", "y"):
            axis = ("x", "y").index(base_name(name))
            low, high = float(lowest[axis]), float(highest[axis])
            search = Search(Parameter(name, low - extent, high + extent, scale=extent / 10), low, high)
        elif base_name(name) in AMPLITUDES:
            search = Search(Parameter(name, scale=of.si_factor), -of.si_factor, of.si_factor)
        elif of.period is not None:
            turn = of.period * of.si_factor
            search = Search(Parameter(name, period=turn), 0.0, turn)
        elif of.at_most is not None:
            search = _between_limits(name, of)
        else:
            search = _length(name, extent)
        found.append(_within(search, bounds[name]) if name in bounds else search)
    return found


def _between_limits(name: str, of: Quantity) -> Search:
    low, high = (of.si_factor * limit for limit in (of.at_least or 0.0, of.at_most or 0.0))
    return Search(Parameter(name, low, high), low, high)


def _length(name: str, extent: float) -> Search:
    """A depth or a size, which is positive: from a thousandth of the extent of the points to twice of it."""
    depth = base_name(name) == "depth"
    low, high = (0.02, 0.5) if depth else (0.01, 0.3)
    return Search(Parameter(name, 1e-3 * extent, 2 * extent, extent, logarithmic=True), low * extent, high * extent)


def _within(search: Search, bounds: tuple[float, float]) -> Search:
    """The search with other bounds, and starts between those that are finite."""
    one, (low, high) = search.parameter, bounds
    lowest = 0.0 if one.logarithmic else -math.inf  # a logarithm has no finite start there
    first = low if low > lowest else min(search.low, high / 2 if one.logarithmic else high)
    last = high if math.isfinite(high) else max(search.high, 2 * low if one.logarithmic else low)
    return Search(Parameter(one.name, low, high, one.scale, one.logarithmic), first, last)

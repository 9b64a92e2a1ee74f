"""The physical quantities of specs: unit, SI factor, limits. They are declared here alone.

Specs, figures and NetCDF attributes use the units below; `forward` works in SI. A variable of a second
view carries a suffix (`incidence_1`) and is the same quantity as the one without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    unit: str
    si_factor: float
    description: str
    above: float | None = None
    """Exclusive lower limit, in `unit`."""
    at_least: float | None = None
    at_most: float | None = None

    def violation(self, value: float) -> str | None:
        """The limit that a value violates, as the end of an error message, or None."""
        if self.above is not None and not value > self.above:
            return f"must be greater than {self.above:g} {self.unit}"
        if self.at_least is not None and not value >= self.at_least:
            return f"must be at least {self.at_least:g} {self.unit}"
        if self.at_most is not None and not value <= self.at_most:
            return f"must be at most {self.at_most:g} {self.unit}"
        return None


Quantities = Mapping[str, Quantity]
"""Variable → its quantity: the built-in table, with those that a workspace adds."""

HALF_PI = 1.5707963267948966

QUANTITIES: dict[str, Quantity] = {
    "depth": Quantity("km", 1e3, "depth of the source below the flat surface, positive downwards", above=0.0),
    "delta_volume": Quantity("10⁶ m³", 1e6, "volume change of the source, inflation positive"),
    "x": Quantity("km", 1e3, "position of the source east of the image centre"),
    "y": Quantity("km", 1e3, "position of the source north of the image centre"),
    "x_res": Quantity("km", 1e3, "width of a pixel, eastwards", above=0.0),
    "y_res": Quantity("km", 1e3, "height of a pixel, northwards", above=0.0),
    "azimuth": Quantity(
        "rad", 1.0, "horizontal direction of the look from satellite to ground, counter-clockwise from east"
    ),
    "incidence": Quantity(
        "rad", 1.0, "angle between the line of sight and the vertical", at_least=0.0, at_most=HALF_PI
    ),
    "displacement": Quantity("m", 1.0, "displacement of the surface along the line of sight, toward the satellite"),
    "noise": Quantity("m", 1.0, "standard deviation of the noise on a displacement image", at_least=0.0),
}

DIMENSIONLESS = Quantity("", 1.0, "no unit declared")

_VIEW_SUFFIX = re.compile(r"_[1-9][0-9]*$")


def base_name(variable: str) -> str:
    """The variable without the suffix of its view: `incidence` for `incidence_1`."""
    return _VIEW_SUFFIX.sub("", variable)


def quantity(variable: str, quantities: Quantities) -> Quantity:
    """The quantity of a variable; without a unit if none is declared."""
    for name in (variable, base_name(variable)):
        if name in quantities:
            return quantities[name]
    return DIMENSIONLESS


def label(variable: str, unit: str) -> str:
    """Name and unit for an axis: `depth (km)`."""
    words = variable.replace("_", " ")
    return f"{words} ({unit})" if unit else words


_EXPONENT = re.compile(r"(?<=[A-Za-z])-?[0-9]+")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def typeset(unit: str) -> str:
    """A unit as printed: `m year⁻¹` for `m year-1`, as NetCDF files write it."""
    return _EXPONENT.sub(lambda found: found[0].translate(_SUPERSCRIPTS), unit)


UNITS: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), ("length", 1.0)),
    **dict.fromkeys(("cm", "centimetre", "centimeter", "centimetres", "centimeters"), ("length", 1e-2)),
    **dict.fromkeys(("mm", "millimetre", "millimeter", "millimetres", "millimeters"), ("length", 1e-3)),
    **dict.fromkeys(("km", "kilometre", "kilometer", "kilometres", "kilometers"), ("length", 1e3)),
    **dict.fromkeys(("rad", "radian", "radians"), ("angle", 1.0)),
    **dict.fromkeys(("deg", "degree", "degrees", "°"), ("angle", HALF_PI / 90)),
}
"""Unit as files write it → what it measures, and its size in m or rad."""


def conversion(given: str, wanted: str) -> float | None:
    """The factor from one unit to another, such as 0.01 from cm to m; None if they are unlike or unknown."""
    if given.strip() == wanted:
        return 1.0
    (kind, size), (other, unit) = (UNITS.get(one.strip(), ("", 0.0)) for one in (given, wanted))
    return size / unit if kind and kind == other else None


def alike(unit: str) -> list[str]:
    """Short names of the units that can be converted to a unit."""
    kind = UNITS.get(unit, ("", 0.0))[0]
    return [name for name, (other, _) in UNITS.items() if kind and other == kind and len(name) < len("metre")]

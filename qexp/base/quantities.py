"""The physical quantities of specs: unit, SI factor, limits. They are declared here alone.

Specs, figures and NetCDF attributes use the units below; `physics` works in SI. A variable of a
second view carries a suffix (`incidence_1`), and one of a named source a prefix (`chamber.depth`);
both are the same quantity as the one without it. A dataset with `"angles": "degrees"` has its
angles in degrees.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Quantity:
    """What a variable is: its unit, limits and meaning."""

    unit: str
    """The unit of specs and results."""
    si_factor: float
    """What a value is multiplied with to be one in SI units."""
    description: str
    above: float | None = None
    """Exclusive lower limit, in `unit`."""
    at_least: float | None = None
    """Inclusive lower limit, in `unit`."""
    at_most: float | None = None
    """Inclusive upper limit, in `unit`."""
    period: float | None = None
    """Values that differ by it mean the same, in `unit`."""
    plausible: tuple[float, float] | None = None
    """Least and largest value that nature has, in `unit`: the prior of an amplitude without one."""
    name: str = ""
    """What readers call it, if that is not its name in words; of qexp's own variables alone."""
    symbol: str = ""
    """How formulas and axes of figures write it; of qexp's own variables alone."""
    natural_zero: bool = True
    """Whether zero is the absence of the quantity, so that errors relative to its value mean
    something: not so for positions and directions.
    """

    @property
    def least(self) -> float | None:
        """The lower limit, whether or not it is a possible value."""
        return self.above if self.above is not None else self.at_least

    def violation(self, value: float) -> str | None:
        """The limit that a value violates, as the end of an error message, or None."""
        if self.above is not None and not value > self.above:
            return f"must be greater than {number_with_unit(f'{self.above:g}', self.unit)}"
        if self.at_least is not None and not value >= self.at_least:
            return f"must be at least {number_with_unit(f'{self.at_least:g}', self.unit)}"
        if self.at_most is not None and not value <= self.at_most:
            return f"must be at most {number_with_unit(f'{self.at_most:g}', self.unit)}"
        return None

    @property
    def in_another_unit(self) -> str:
        """The end of an error on a value beyond a limit, if another unit explains it, or empty."""
        return (
            f'; if angles are in degrees, add "{ANGLES}": "{DEGREES}" to the dataset'
            if self.unit == RADIAN
            else ""
        )


Quantities = Mapping[str, Quantity]
"""Variable → its quantity: the built-in table, with those that a workspace adds."""

RADIAN, DEGREE = "rad", "°"
ANGLES, DEGREES = "angles", "degrees"
"""Key of a dataset, and its value for angles in degrees rather than radians."""

HALF_PI = math.pi / 2
TURN = 2 * math.pi

ANGLE = partial(Quantity, RADIAN, 1.0, natural_zero=False)
BEARING = partial(ANGLE, at_least=-TURN, at_most=TURN, period=TURN)
TILT = partial(ANGLE, at_least=0.0, at_most=HALF_PI)
LENGTH = partial(Quantity, "km", 1e3, plausible=(0.0, 1e3))
POSITION = partial(LENGTH, plausible=(-1e3, 1e3), natural_zero=False)
VOLUME = partial(Quantity, "10⁶ m³", 1e6, plausible=(-1e3, 1e3))
SLIP = partial(Quantity, "m", 1.0, plausible=(-50.0, 50.0))

NOISE = "noise"
"""The variable that scales noise for which no amplitude is declared."""

QUANTITIES: dict[str, Quantity] = {
    "depth": LENGTH("depth of the source below the flat surface, positive downwards", above=0.0),
    "delta_volume": VOLUME(
        "volume change of the source, inflation positive", name="volume change", symbol="ΔV"
    ),
    "x": POSITION("position of the source east of the image centre"),
    "y": POSITION("position of the source north of the image centre"),
    "x_res": LENGTH("width of a pixel, eastwards", above=0.0, name="pixel width"),
    "y_res": LENGTH("height of a pixel, northwards", above=0.0, name="pixel height"),
    "azimuth": ANGLE(
        "horizontal direction of the look from satellite to ground, counter-clockwise from east",
        period=TURN,
    ),
    "incidence": TILT("angle between the line of sight and the vertical"),
    "heading": BEARING("direction in which the satellite flies, clockwise from north"),
    "radius": LENGTH("radius of the source", above=0.0),
    "semi_major": LENGTH("half the long axis of the spheroid", above=0.0, name="semi-major axis"),
    "semi_minor": LENGTH(
        "half of each of the two short axes of the spheroid", above=0.0, name="semi-minor axis"
    ),
    "a_x": LENGTH("half the axis of the source along its own x", at_least=0.0, name="semi-axis x"),
    "a_y": LENGTH("half the axis of the source along its own y", at_least=0.0, name="semi-axis y"),
    "a_z": LENGTH("half the axis of the source along its own z", at_least=0.0, name="semi-axis z"),
    "length": LENGTH("length of the rectangle along its strike", above=0.0),
    "width": LENGTH("width of the rectangle along its dip", above=0.0),
    "strike": BEARING("direction of the source, clockwise from north"),
    "dip": TILT(
        "angle between the rectangle and the horizontal, downwards to the right of its strike"
    ),
    "plunge": TILT("angle between the long axis of the spheroid and the horizontal"),
    **{
        f"omega_{axis}": BEARING(
            f"clockwise rotation of the source about {axis}", name=f"rotation about {axis}"
        )
        for axis in "xyz"
    },
    "pressure_over_mu": Quantity(
        "",
        1.0,
        "pressure change of the source over the shear modulus, inflation positive",
        plausible=(-0.05, 0.05),
        name="pressure change over shear modulus",
        symbol="ΔP/μ",
    ),
    "strike_slip": SLIP("slip along the strike, left-lateral positive", name="strike slip"),
    "dip_slip": SLIP("slip along the dip, positive where the upper side moves up"),
    "opening": SLIP("opening of the source, closing negative"),
    **{
        f"potency_{axis}": VOLUME(f"opening times area of the crack normal to the source's {axis}")
        for axis in "xyz"
    },
    "displacement": Quantity(
        "m", 1.0, "displacement of the surface along the line of sight, toward the satellite"
    ),
    "mask": Quantity("", 1.0, "1 where a pixel of the displacement image is seen, else 0"),
    "noise": Quantity(
        "m", 1.0, "standard deviation of the noise on a displacement image", at_least=0.0
    ),
}
"""Name of a variable in a spec → its quantity."""

DIMENSIONLESS = Quantity("", 1.0, "no unit declared")

_VIEW_SUFFIX = re.compile(r"_[1-9][0-9]*$")


def base_name(variable: str) -> str:
    """The variable without source and view: `depth` of `chamber.depth` or of `depth_1`."""
    return _VIEW_SUFFIX.sub("", variable.rpartition(".")[2])


def channels_of(image: str, images: Container[str]) -> list[str]:
    """The images in the channels of one array, of which this is the first: `image`, `image_1`."""
    return [image, *takewhile(images.__contains__, (f"{image}_{number}" for number in count(1)))]


def quantity(variable: str, quantities: Quantities) -> Quantity:
    """The quantity of a variable; without a unit if none is declared."""
    for name in (variable, _VIEW_SUFFIX.sub("", variable), base_name(variable)):
        if name in quantities:
            return quantities[name]
    return DIMENSIONLESS


def of_dataset(dataset: Mapping[str, Any], quantities: Quantities) -> Quantities:
    """The quantities in the units of a dataset, by its document: those given, with angles in
    degrees if it says so, and its own variables in the unit that it gives them.
    """
    own = {
        name: Quantity(unit, UNITS.get(unit, ("", 1.0))[1], name.replace("_", " "))
        for name, unit in dataset.get("units", {}).items()
        if quantity(name, quantities) is DIMENSIONLESS
    }
    in_units = in_degrees(quantities) if dataset.get(ANGLES) == DEGREES else quantities
    return {**in_units, **own} if own else in_units


def with_periods(quantities: Quantities, periods: Mapping[str, float]) -> Quantities:
    """The quantities, some of which repeat after a period in their unit; variable → period."""
    repeating = dict(quantities)
    for name, period in periods.items():
        repeating[name] = replace(quantity(name, quantities), period=period)
    return repeating if periods else quantities


def periods_of(names: Iterable[str], quantities: Quantities) -> dict[str, float]:
    """Variable → the period of its quantity, in its unit, for those that have one."""
    periods = {name: quantity(name, quantities).period for name in names}
    return {name: period for name, period in periods.items() if period is not None}


def in_degrees(quantities: Quantities) -> Quantities:
    """The quantities with all angles in degrees."""
    converted = dict(quantities)
    for name, angle in quantities.items():
        if angle.unit == RADIAN:
            changes: dict[str, Any] = {"unit": DEGREE, "si_factor": math.radians(angle.si_factor)}
            for key in ("above", "at_least", "at_most", "period"):
                limit = getattr(angle, key)
                if limit is not None:
                    changes[key] = round(math.degrees(limit), 12)
            converted[name] = replace(angle, **changes)
    return converted


_OF_A_SOURCE = re.compile(r"([A-Za-z]\w*)\.([A-Za-z]\w*)")


VIEW_KEYS = ("azimuth", "heading", "incidence", "x_res", "y_res")
"""Numbers of a view."""

OF_VIEWS = frozenset((*VIEW_KEYS, "displacement", "mask"))
"""Quantities of which each view has its own."""


def in_words(variable: str, views: Sequence[str] = ()) -> str:
    """A variable for readers: `volume change`, and `chamber volume change` for
    `chamber.delta_volume`.

    views  names of the views in their order, empty for one without a name: `descending
           displacement` for `displacement_1`
    """
    base = base_name(variable)
    words = QUANTITIES[base].name if base in QUANTITIES else ""
    view = name_of_view(variable, views)
    if view:
        return f"{view} {words or base.replace('_', ' ')}"
    source, _, number = _OF_A_SOURCE.sub(r"\1 \2", variable).rpartition(base)
    return f"{source}{words or base}{number}".replace("_", " ")


def in_symbols(variable: str, views: Sequence[str] = ()) -> str:
    """A variable in formulas: `ΔV`, `chamber ΔV` of `chamber.delta_volume`; else in words."""
    base = base_name(variable)
    symbol = QUANTITIES[base].symbol if base in QUANTITIES else ""
    words = in_words(variable, views)
    return words.replace(in_words(base), symbol) if symbol else words


def name_of_view(variable: str, views: Sequence[str]) -> str:
    """The name of the view that a variable belongs to; empty if that has none, or if the variable
    is not of a view.

    views  names of the views in their order, empty for one without a name
    """
    number = _VIEW_SUFFIX.search(variable)
    index = int(number[0][1:]) if number else 0
    return views[index] if base_name(variable) in OF_VIEWS and index < len(views) else ""


def label(variable: str, unit: str, views: Sequence[str] = ()) -> str:
    """Name and unit for an axis: `depth (km)`; `views` as in `in_words`."""
    return with_unit(in_words(variable, views), unit)


def with_unit(words: str, unit: str) -> str:
    """Words and a unit for an axis: `error of ΔV (10⁶ m³)`."""
    return f"{words} ({unit})" if unit else words


_EXPONENT = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]+)(-?[0-9]+)(?![A-Za-z0-9(])")
_SYMBOL = re.compile(
    r"(da|[YZEPTGMkhdcmunpf])?(m|g|s|A|K|Pa|J|W|Hz|V|rad)|days?|h|d|yr|years?|deg|(kilo|centi|milli)?metres?"
)
"""What is a unit and no word or formula, such as CO2 or log10, if a positive number follows."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def typeset(unit: str) -> str:
    """A unit as printed: `m year⁻¹` for NetCDF's `m year-1`; `log10(Pa s)` and `CO2` stay."""

    def raised(found: re.Match[str]) -> str:
        symbol, exponent = found.groups()
        is_power = exponent.startswith("-") or _SYMBOL.fullmatch(symbol)
        return symbol + exponent.translate(SUPERSCRIPTS) if is_power else found[0]

    return _EXPONENT.sub(raised, unit)


def quantity_in_words(value: float, unit: str) -> str:
    """Three digits of a number with its unit: `0.0117 × 10⁶ m³`, `−1.2 km`; all of `1675 mm`."""
    number = f"{value:.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")
    return number_with_unit(number.replace("-", "−"), typeset(unit))


def brief(value: float) -> str:
    """A number of three digits at most, with all digits of a whole one: `0.02`, `3000`."""
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.3g}"


def number_with_unit(number: str, unit: str) -> str:
    """A printed number, perhaps with its uncertainty: `(3.04 ± 0.03) × 10⁶ m³`, `1.2 km`."""
    bracketed = f"({number})" if any(sign in number for sign in "±[") else number
    return f"{bracketed} × {unit}" if unit[:1].isdigit() else f"{number} {unit}".rstrip()


UNITS: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), ("length", 1.0)),
    **dict.fromkeys(
        ("cm", "centimetre", "centimeter", "centimetres", "centimeters"), ("length", 1e-2)
    ),
    **dict.fromkeys(
        ("mm", "millimetre", "millimeter", "millimetres", "millimeters"), ("length", 1e-3)
    ),
    **dict.fromkeys(("km", "kilometre", "kilometer", "kilometres", "kilometers"), ("length", 1e3)),
    **dict.fromkeys(("m3", "m³", "m^3"), ("volume", 1.0)),
    **dict.fromkeys(("10⁶ m³", "10^6 m3", "1e6 m3", "Mm3"), ("volume", 1e6)),
    **dict.fromkeys(("km3", "km³", "km^3"), ("volume", 1e9)),
    **dict.fromkeys(("rad", "radian", "radians"), ("angle", 1.0)),
    **dict.fromkeys(("deg", "degree", "degrees", "°"), ("angle", HALF_PI / 90)),
}
"""Unit as files write it → what it measures, and its size in m, m³ or rad."""


def conversion(unit: str, target: str) -> float | None:
    """The factor from one unit to another: 0.01 from cm to m; None if unlike or unknown."""
    if unit.strip() == target:
        return 1.0
    kind, size = UNITS.get(unit.strip(), ("", 0.0))
    other, target_size = UNITS.get(target.strip(), ("", 0.0))
    return size / target_size if kind and kind == other else None


def alike(unit: str) -> list[str]:
    """Short names of the units that can be converted to a unit."""
    return [name for name in UNITS if len(name) < len("metre") and conversion(name, unit)]


def nearest(estimate: ArrayLike, truth: ArrayLike, period: float | None) -> NDArray[Any]:
    """Estimates, moved by whole periods to within half a period of the truth; unchanged for None.

    estimate, truth, period  in the same unit
    """
    import numpy as np  # names and units need none

    estimated = np.asarray(estimate)
    true = np.asarray(truth)
    if period is None:
        return estimated
    moved: NDArray[Any] = estimated - period * np.round((estimated - true) / period)
    return moved


# Names of a model's tensors by variable: torch divides them at dots, which variables may have, too.

TRANSFORMS = "transforms"


def module_name(variable: str) -> str:
    """A variable as part of the name of a tensor: `chamber:depth`."""
    return variable.replace(".", ":")


def of_transform(variable: str) -> str:
    """The transform of a variable, as names of its tensors begin: `transforms.chamber:depth`."""
    return f"{TRANSFORMS}.{module_name(variable)}"


def transformed_by(tensor: str) -> str | None:
    """The variable whose transform has a tensor of this name; None for a weight of the network."""
    part, _, rest = tensor.partition(".")
    return rest.partition(".")[0].replace(":", ".") if part == TRANSFORMS else None

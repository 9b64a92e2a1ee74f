"""The parameters of sources: where they may lie, and the coordinates of a search for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.quantities import RADIAN, Quantities, Quantity, base_name, conversion, quantity
from qexp.base.tables import Table
from qexp.errors import QexpError, hint, suggestion
from qexp.simulation.generators import PLACE, DeformationImages, Source


@dataclass(frozen=True)
class Search:
    """A parameter, and the interval in which starts of a search are drawn; of amplitudes it is not
    used. SI units.

    bounded  whether somebody gave the parameter's bounds
    closed   whether its source is not known beyond the interval
    """

    parameter: Parameter
    low: float
    high: float
    bounded: bool = False
    closed: bool = False

    @property
    def can_be_drawn(self) -> bool:
        return self.parameter.linear or math.isfinite(self.high - self.low)


def searches(
    sources: Sequence[Source],
    stations: Array,
    quantities: Quantities,
    bounds: Mapping[str, tuple[float, float]],
) -> list[Search]:
    """A search for each column of the sources.

    stations  (point, 2)  east, north [m]; their extent gives the range of places and of sizes
    bounds    column → lowest and highest value in SI units, which replace the usual ones

    A parameter has no range if neither its quantity nor bounds tell it; `starts` then refuses to
    draw it. Those of a source that is known only in some ranges lie there. Raises QexpError for
    points beyond its reach.
    """
    lowest = stations.min(axis=0)
    highest = stations.max(axis=0)
    extent = float((highest - lowest).max()) or 1.0
    ranges = []
    for source in sources:
        linear = [] if source.ranges else amplitudes(source, quantities)
        known = {**_within_reach(source, stations), **source.ranges}
        for name, variable in zip(source.columns, source.variables, strict=True):
            meaning = quantity(name, quantities)
            if variable in known:
                ranges.append(_in_range(name, known[variable], bounds.get(name)))
                continue
            if variable in ("x", "y"):
                axis = ("x", "y").index(variable)
                low = float(lowest[axis])
                high = float(highest[axis])
                place = Parameter(name, low - extent, high + extent, scale=extent / 10)
                search = Search(place, low, high)
            elif variable in linear:
                search = _amplitude(name, meaning, source)
            elif meaning.period is not None:
                turn = meaning.period * meaning.si_factor
                search = Search(Parameter(name, period=turn), 0.0, turn)
            elif meaning.at_most is not None and meaning.least is not None:
                low = meaning.si_factor * meaning.least
                high = meaning.si_factor * meaning.at_most
                search = Search(Parameter(name, low, high), low, high)
            elif conversion(meaning.unit, "m") is not None:
                search = _length(name, meaning, extent)
            else:
                search = Search(Parameter(name, scale=meaning.si_factor), -math.inf, math.inf)
            ranges.append(_bounded(search, bounds[name]) if name in bounds else search)
    return ranges


MANY_TIMES = 4.0
"""Ratio of the ends of a range from which on its logarithm is searched."""


def _in_range(name: str, ends: tuple[float, float], bounds: tuple[float, float] | None) -> Search:
    """Between bounds, or the usual ends; of a range over several decades in logarithms."""
    low, high = bounds or ends
    logarithmic = low > 0 and high > MANY_TIMES * low
    scale = math.sqrt(low * high) if logarithmic else (high - low) / 4
    parameter = Parameter(name, low, high, scale, logarithmic)
    return Search(parameter, low, high, bounds is not None, closed=True)


def _within_reach(source: Source, stations: Array) -> dict[str, tuple[float, float]]:
    """x and y of a source from which all points lie in the extent in which it is known [m]."""
    points = stations[source.elsewhere(torch.from_numpy(stations)).numpy()]
    if source.extent is None or not len(points):
        return {}
    lowest = points.min(axis=0)
    highest = points.max(axis=0)
    west, east, south, north = source.extent
    ends = {
        "x": (float(highest[0]) - east, float(lowest[0]) - west),
        "y": (float(highest[1]) - north, float(lowest[1]) - south),
    }
    moves = "x" in source.variables and "x" not in source.ranges
    if any(low > high or not (moves or low <= 0 <= high) for low, high in ends.values()):
        wide, tall = (highest - lowest) / 1e3
        raise QexpError(
            f"the points extend over {wide:.3g} × {tall:.3g} km, but images of the source only over"
            f" {(east - west) / 1e3:.3g} × {(north - south) / 1e3:.3g} km, so that some lie"
            " outside; crop the observation with qexp observe --bounds, or give the images' centre"
            " with `centre`"
        )
    return ends


TRIALS, NEGLIGIBLE_BEND = 64, 1e-9
"""Random sources tried to find amplitudes; and share of displacements that is no difference."""
TRIAL_DEPTH, TRIAL_SIZES = 1e4, (2e2, 2e3)
"""Of these sources [m]."""


def amplitudes(source: Source, quantities: Quantities) -> list[str]:
    """The variables of a source in which its displacements are linear, together; found by its
    kernel alone.

    Of variables whose product counts, such as an area and a slip, the last one is an amplitude.
    """
    values, stations = _trial(source, quantities)
    if values is None:
        return []

    def moved(changes: Mapping[str, float]) -> Tensor:
        return _moved(source, {**values, **changes}, stations)

    linear: list[str] = []
    middle = moved({})
    for name in reversed([name for name in source.variables if name not in PLACE]):
        steps = [{name: share * values[name]} for share in (2.0, 3.0)]
        twice, thrice = (moved(step) for step in steps)
        bends = [middle - 2 * twice + thrice]
        for other in linear:  # of a product neither bends, but both together do
            change = {other: 2 * values[other]}
            bends.append(moved(steps[0] | change) - moved(change) - twice + middle)
        if bool((torch.stack(bends).abs() <= NEGLIGIBLE_BEND * middle.abs().max()).all()):
            linear.append(name)
    return linear[::-1]


def _trial(source: Source, quantities: Quantities) -> tuple[dict[str, float] | None, Tensor]:
    """A possible source, variable → value in SI units, or None; and stations, (1, station, 2)."""
    random = np.random.default_rng(0)
    stations = torch.from_numpy(random.uniform(-TRIAL_DEPTH, TRIAL_DEPTH, (1, 8, 2)))
    for _ in range(TRIALS):
        values = {"x": 0.0, "y": 0.0, "depth": TRIAL_DEPTH}
        for name in source.variables:
            if name not in PLACE:
                values[name] = _trial_value(quantity(name, quantities), random)
        columns = {name: np.array([value]) for name, value in values.items()}
        possible = all(bool(requirement.holds(columns)[0]) for requirement in source.requirements)
        moved = _moved(source, values, stations) if possible else torch.zeros(1)
        if bool(torch.isfinite(moved).all()) and bool(moved.any()):
            return values, stations
    return None, stations


def _moved(source: Source, values: Mapping[str, float], stations: Tensor) -> Tensor:
    """Displacements of stations; NaN for a source that its kernel refuses."""
    row = torch.tensor([[values[name] for name in source.variables]], dtype=torch.float64)
    try:
        return source.displacements(row, stations, None)
    except ValueError:
        return torch.full((1,), torch.nan, dtype=torch.float64)


def _trial_value(meaning: Quantity, random: np.random.Generator) -> float:
    if conversion(meaning.unit, "m") is not None:
        return float(random.uniform(*TRIAL_SIZES))
    if meaning.at_most is not None and meaning.least is not None:
        # so that three times it is within limits
        value = float(random.uniform(meaning.least, meaning.at_most)) / 3
        return meaning.si_factor * value
    return meaning.si_factor


def _amplitude(name: str, meaning: Quantity, source: Source) -> Search:
    variable = name.rpartition(".")[2]
    prefix = name[: name.rfind(".") + 1]
    low = -math.inf if meaning.least is None else meaning.si_factor * meaning.least
    high = math.inf if meaning.at_most is None else meaning.si_factor * meaning.at_most
    powers = {}
    if math.isinf(low) and math.isinf(high):
        strengths = source.strengths.get(variable, {})
        powers = {prefix + size: power for size, power in strengths.items()}
    parameter = Parameter(
        name,
        low,
        high,
        scale=meaning.si_factor,
        powers=powers,
        linear=True,
    )
    return Search(parameter, -meaning.si_factor, meaning.si_factor)


def _length(name: str, meaning: Quantity, extent: float) -> Search:
    """A depth or a size from a thousandth of the extent of the points to twice of it.

    To both sides of zero if it may be negative.
    """
    if meaning.least is not None and meaning.least < 0:
        parameter = Parameter(name, -2 * extent, 2 * extent, extent / 10)
        return Search(parameter, -extent / 2, extent / 2)
    low, high = (0.02, 0.5) if base_name(name) == "depth" else (0.01, 0.3)
    scale = math.sqrt(low * high) * extent
    parameter = Parameter(
        name,
        1e-3 * extent,
        2 * extent,
        scale,
        logarithmic=True,
    )
    return Search(parameter, low * extent, high * extent)


def _bounded(search: Search, bounds: tuple[float, float]) -> Search:
    """The search with other bounds, and starts between those that are finite."""
    parameter, (low, high) = search.parameter, bounds
    lowest = 0.0 if parameter.logarithmic else -math.inf  # a logarithm has no finite start there
    factor = 2 if parameter.logarithmic else 1
    first = low if low > lowest else min(search.low, high / factor)
    last = high if math.isfinite(high) else max(search.high, factor * low)
    bounded = replace(parameter, low=low, high=high, period=None, powers={})
    return Search(bounded, first, last, bounded=True)


# Parameters in coordinates in which least squares are well scaled: logarithms, or multiples of a
# typical size.


@dataclass(frozen=True)
class Parameter:
    """A parameter of a source; all numbers in SI units.

    low, high    bounds of estimates; infinite where there is none
    scale        a typical size
    logarithmic  whether its coordinate is its logarithm: for parameters that are positive, such as
                 depth
    negative     whether it is the logarithm of minus the value
    period       of an angle, which is wrapped to 0 … period at the end; None for anything else
    powers       of an amplitude: name of a size → power. The coordinate is that of the amplitude
                 times these powers of the sizes, in units of their scales: of a pressure and the
                 radius of its sphere hardly more than the product P a³ can be told from
                 displacements, so that P and a would be strongly correlated
    linear       whether it is an amplitude: displacements are linear in it, as long as no size or
                 place changes
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0
    logarithmic: bool = False
    negative: bool = False
    period: float | None = None
    powers: Mapping[str, int] = field(default_factory=dict)
    linear: bool = False

    def coordinate(self, value: float) -> float:
        """Of a value, whatever the sizes are that the coordinate may depend on."""
        if self.logarithmic:
            value = -value if self.negative else value
            return math.log(value) if value > 0 else -math.inf
        return value / self.scale

    @property
    def ends(self) -> tuple[float, float]:
        """The bounds as coordinates."""
        low = self.coordinate(self.low)
        high = self.coordinate(self.high)
        return min(low, high), max(low, high)


ROUNDING = 1e-12
"""Of a coordinate at a bound, after its value and back."""


class Coordinates:
    """The free parameters among those of a model, named by `names`, as coordinates without units.

    parameters  all parameters, in the order of the model's columns
    fixed       name → value of the parameters that are not estimated, which are not all
    """

    def __init__(self, parameters: Sequence[Parameter], fixed: dict[str, float]) -> None:
        self.parameters = tuple(parameters)
        self.fixed = dict(fixed)
        self.free = [
            column for column, parameter in enumerate(parameters) if parameter.name not in fixed
        ]
        estimated = [self.parameters[column] for column in self.free]
        self.names = [parameter.name for parameter in estimated]
        self.linear = [column for column, parameter in enumerate(estimated) if parameter.linear]
        """Numbers of the free amplitudes."""
        self.logarithmic = torch.tensor([parameter.logarithmic for parameter in estimated])
        self.scale = torch.tensor(
            [-1.0 if parameter.negative else parameter.scale for parameter in estimated],
            dtype=torch.float64,
        )
        """Of one that is a logarithm only the sign counts."""
        self.low, self.high = torch.tensor(
            [parameter.ends for parameter in estimated], dtype=torch.float64
        ).unbind(1)
        self._sizes = torch.tensor(
            [parameter.scale for parameter in self.parameters], dtype=torch.float64
        )
        self._powers = torch.zeros(len(estimated), len(parameters), dtype=torch.float64)
        """Powers of sizes in free parameters, (free, parameter)."""
        for row, amplitude in enumerate(estimated):
            for column, size in enumerate(parameters):
                self._powers[row, column] = amplitude.powers.get(size.name, 0)
        self._powered = self._powers.any(dim=0)
        """(parameter,)"""
        self._has_powers = bool(self._powered.any())
        self.tilts = free_tilts(self.names, self.low, self.high, fixed)
        """Those that go past their limits; see `within_limits`."""
        free = [tilt.angle for tilt in self.tilts]
        self.low[free], self.high[free] = -torch.inf, torch.inf
        self._template = torch.tensor(
            [fixed.get(parameter.name, 0.0) for parameter in self.parameters], dtype=torch.float64
        )

    def values(self, coordinates: Tensor) -> Tensor:
        """Values of all parameters, (problem, parameter), of (problem, coordinate)."""
        exponential = torch.where(self.logarithmic, coordinates, 0.0).exp() * self.scale.sign()
        free = torch.where(self.logarithmic, exponential, coordinates * self.scale)
        columns = torch.tensor(self.free)
        values = self._template.expand(len(coordinates), -1).index_copy(1, columns, free)
        if not self._has_powers:
            return values
        return values.index_copy(1, columns, free / self._strengths(values))

    def respect_bounds(self, coordinates: Tensor) -> Tensor:
        """Whether all coordinates are within their bounds, but for rounding, (problem,)."""
        least = self.low - ROUNDING
        most = self.high + ROUNDING
        return ((coordinates >= least) & (coordinates <= most)).all(dim=-1)

    def from_values(self, values: Tensor) -> Tensor:
        """Coordinates, (problem, coordinate), of values of all parameters, (problem, parameter)."""
        free = values[:, self.free].double()
        if self._has_powers:
            free = free * self._strengths(values.double())
        positive = torch.where(self.logarithmic, free * self.scale.sign(), 1.0)
        return torch.where(self.logarithmic, positive.log(), free / self.scale)

    def slopes(self, coordinates: Tensor) -> Tensor:
        """Derivatives of free parameters by coordinates, (problem, parameter, coordinate)."""
        values = self.values(coordinates)
        free = values[:, self.free]
        diagonal = torch.where(self.logarithmic, free, self.scale)
        if not self._has_powers:
            return torch.diag_embed(diagonal)
        by_sizes = free[:, :, None] * self._powers[:, self.free]
        return torch.diag_embed(diagonal / self._strengths(values)) - by_sizes

    def deviations(self, coordinates: Tensor, covariance: Tensor) -> Tensor:
        """Standard deviations of the free parameters to first order, (problem, parameter) in SI
        units.

        covariance  of the coordinates, (problem, coordinate, coordinate); infinite where it is not
                    known
        """
        slopes = self.slopes(coordinates)
        variance = (slopes @ covariance @ slopes.mT).diagonal(dim1=-2, dim2=-1)
        finite = torch.isfinite(covariance).all(dim=-1).all(dim=-1, keepdim=True)
        return torch.where(finite, variance, torch.inf).clamp(min=0).sqrt()

    def _strengths(self, values: Tensor) -> Tensor:
        """Factor of each free parameter, (problem, free parameter); 1 but for amplitudes."""
        used = self._powered
        return torch.exp((values[:, used] / self._sizes[used]).log() @ self._powers[:, used].mT)

    def wrapped(self, values: Tensor) -> Tensor:
        """The values of all parameters, angles with a period between 0 and the period."""
        columns = list(values.unbind(-1))
        for column in self.free:
            period = self.parameters[column].period
            if period is not None:
                columns[column] = columns[column].remainder(period)
        return torch.stack(columns, dim=-1)


# Dips and plunges that go past 0 and 90° while a minimum is sought.
#
# A dike that dips by 89° to the right of its strike hardly differs from one that dips by 89° to the
# left. With dips between 0 and 90°, the strike of one is opposite to that of the other, and
# iterations that had to stop at 90° would not get from one to the other.

RIGHT_ANGLE = math.pi / 2
LEVEL_DIP = math.radians(20)
"""Dip below which a dislocation may as well dip to one of its other sides."""


@dataclass(frozen=True)
class Tilt:
    """The angle of a source with the horizontal, and what is written differently past its limits.

    angle, strike  numbers of their coordinates, which are in radians
    strike_slip, dip_slip, length, width  those of the coordinates of a dislocation, where they are
                                          free
    """

    angle: int
    strike: int
    strike_slip: int | None = None
    dip_slip: int | None = None
    length: int | None = None
    width: int | None = None


def free_tilts(
    names: Sequence[str], low: Tensor, high: Tensor, fixed: Mapping[str, float]
) -> list[Tilt]:
    """The tilts among coordinates that may go past 0 and 90°.

    names      of the coordinates
    low, high  (coordinate,)  their bounds: those that were asked for hold, of a tilt and of what
                              changes with it
    fixed      name → value of parameters that have no coordinate
    """
    numbers = {name: index for index, name in enumerate(names)}
    tilts = []
    for name, angle in numbers.items():
        natural = low[angle] == 0 and math.isclose(float(high[angle]), RIGHT_ANGLE)
        if base_name(name) not in ("dip", "plunge") or not natural:
            continue
        source = name.removesuffix(base_name(name))
        others = {}
        for variable in ("strike", "strike_slip", "dip_slip", "length", "width"):
            if source + variable in numbers:
                others[variable] = numbers[source + variable]
        turning = ("strike", "strike_slip", "dip_slip")
        free = [others[variable] for variable in turning if variable in others]
        bounded = bool(torch.isfinite(low + high)[free].any())
        held = any(fixed.get(source + variable) for variable in turning)
        if "strike" in others and not bounded and not held:
            tilts.append(Tilt(angle, **others))
    return tilts


def within_limits(coordinates: Tensor, tilts: Sequence[Tilt]) -> tuple[Tensor, Tensor]:
    """Sources that look the same, with all tilts between 0 and 90°.

    coordinates  (problem, coordinate)
    returns      coordinates, and the factors, 1 or −1, by which derivatives by them change
    """
    limited = coordinates.clone()
    signs = torch.ones_like(coordinates)
    for tilt in tilts:
        # views, which are changed in place
        angle = limited[:, tilt.angle]
        strike = limited[:, tilt.strike]
        angle.copy_(angle.remainder(2 * math.pi))
        dip_slip = [] if tilt.dip_slip is None else [tilt.dip_slip]
        slips = dip_slip if tilt.strike_slip is None else [tilt.strike_slip, *dip_slip]
        for limit, changing in ((math.pi, slips), (RIGHT_ANGLE, dip_slip)):
            beyond_limit = angle > limit
            angle.copy_(torch.where(beyond_limit, 2 * limit - angle, angle))
            strike.copy_(torch.where(beyond_limit, strike + math.pi, strike))
            opposite = torch.where(beyond_limit, -1.0, 1.0)[:, None]
            limited[:, changing] *= opposite
            signs[:, [tilt.angle, *changing]] *= opposite
    return limited, signs


def along_the_other_side(coordinates: Tensor, tilts: Sequence[Tilt]) -> Tensor:
    """Sources of which one dislocation is nearly level, with it level and striking along its other
    side.

    coordinates  (problem, coordinate)  with tilts within their limits
    returns      (other problem, coordinate)

    From there it can dip to the two sides to which it cannot dip otherwise. With one slip alone
    there is none: its direction is that of one side.
    """
    rows = [coordinates[:0]]
    for tilt in tilts:
        slips = [column for column in (tilt.strike_slip, tilt.dip_slip) if column is not None]
        if tilt.length is None or tilt.width is None or len(slips) == 1:
            continue
        other = coordinates[coordinates[:, tilt.angle] < LEVEL_DIP].clone()
        other[:, tilt.angle] = 0.0
        other[:, tilt.strike] += RIGHT_ANGLE
        other[:, [tilt.length, tilt.width]] = other[:, [tilt.width, tilt.length]]
        if slips:
            signs = torch.tensor([-1.0, 1.0], dtype=other.dtype, device=other.device)
            other[:, slips] = other[:, slips[::-1]] * signs
        rows.append(other)
    return torch.cat(rows)


# Sources by name, and their parameters as users write them.

POSITIONS = {"x": "east", "y": "north"}
"""Variable of specs → its name in results, where positions are in the observation's system [m]."""

Bounds = tuple[float, float]


def display_name(column: str) -> str:
    """The name of a column of a source in results: `chamber.east` for `chamber.x`."""
    source, dot, variable = column.rpartition(".")
    return f"{source}{dot}{POSITIONS.get(variable, variable)}"


@dataclass(frozen=True)
class Units:
    """Numbers as users read and write them ↔ SI numbers relative to an origin.

    origin  east, north [m] of the position (0, 0) of sources
    """

    quantities: Quantities
    origin: tuple[float, float]

    def unit_of(self, column: str) -> str:
        return "m" if base_name(column) in POSITIONS else quantity(column, self.quantities).unit

    def factor(self, column: str) -> float:
        """One unit in SI units."""
        if base_name(column) in POSITIONS:
            return 1.0
        return quantity(column, self.quantities).si_factor

    def from_si(self, column: str, value: float) -> float:
        return value / self.factor(column) + self._zero(column)

    def to_si(self, column: str, value: float) -> float:
        return (value - self._zero(column)) * self.factor(column)

    def violation(self, column: str, value: float) -> str | None:
        if base_name(column) in POSITIONS:
            return None
        return quantity(column, self.quantities).violation(value)

    def hint(self, column: str) -> str:
        """The end of an error on a value beyond the limits of an angle in radians."""
        return "; if it is in degrees, add `degrees=True`" if self.unit_of(column) == RADIAN else ""

    def _zero(self, column: str) -> float:
        name = base_name(column)
        return self.origin[list(POSITIONS).index(name)] if name in POSITIONS else 0.0


def sources_named(text: str, generators: Table) -> list[Source]:
    """`mogi` → the source of that name in the table of generators; `mogi+okada` → both, each with
    its name.

    Sources of the same type are numbered: `mogi+mogi` has `mogi_1.depth` and `mogi_2.depth`. Raises
    QexpError.
    """
    types = [word.strip() for word in text.split("+")]
    sources = []
    for index, word in enumerate(types):
        if word not in generators:
            known = hint(word, generators, "") or _known(generators)
            raise QexpError(f"`source={text}`: no source '{word}'; {known}")
        generator = generators[word].build()
        if not isinstance(generator, DeformationImages):
            raise QexpError(
                f"`source={text}`: '{word}' is no source of deformation in a half-space, which this"
                " needs"
            )
        number = f"_{types[: index + 1].count(word)}" if types.count(word) > 1 else ""
        (source,) = generator.sources
        sources.append(source.with_name(word + number) if len(types) > 1 else source)
    return sources


def _known(generators: Table) -> str:
    """The sources with what they are, without their variables."""
    lines = ["known:"]
    for name, entry in generators.items():
        lines.append(f"  {name}: {entry.help.rpartition(': ')[0] or entry.help}")
    return "\n".join(lines)


def in_columns(
    names: Mapping[str, float] | Mapping[str, Bounds],
    sources: Sequence[Source],
    option: str,
    others: Sequence[str],
) -> dict[str, str]:
    """Column of the sources → the name under which something is given for it.

    others  parameters of other candidates, which are not errors
    Raises QexpError for a name that no source has.
    """
    columns = {display_name(column): column for source in sources for column in source.columns}
    given_names = {}
    for name in names:
        if name in columns:
            given_names[columns[name]] = name
        elif name.rpartition(".")[2] in POSITIONS:
            raise QexpError(
                f"`{option}[{name}]`: positions are absolute here; use {display_name(name)}, in"
                " metres"
            )
        elif name not in others:
            raise QexpError(
                f"`{option}[{name}]`: the source has no such parameter; {suggestion(name, columns)}"
            )
    return given_names


def bounds_in_si(column: str, bounds: Bounds, units: Units, name: str) -> Bounds:
    """Raises QexpError for bounds beyond the limits of the quantity."""
    low, high = bounds
    for value in (low or high, high):  # a depth may have no limit but 0
        violation = units.violation(column, value) if math.isfinite(value) else None
        if violation:
            raise QexpError(
                f"`bounds[{name}]`: {violation}, but a bound is {value:g}{units.hint(column)}"
            )
    return units.to_si(column, low), units.to_si(column, high)


def fixed_in_si(column: str, value: float, units: Units, name: str, option: str = "fixed") -> float:
    if violation := units.violation(column, value):
        raise QexpError(f"`{option}[{name}]`: {violation}, but is {value:g}{units.hint(column)}")
    return units.to_si(column, value)


FARTHEST_RATIO = 5.0
"""How many times as far as a search goes no value can be meant, unless its unit is mistaken."""


def require_near(usual: Search, option: str, low: float, high: float, units: Units) -> None:
    """Raises QexpError for a value, or an interval, far beyond where a search goes without it; SI
    units.

    Or beyond that at all, if the source is not known there.

    Sizes may be as small as one likes: such sources are points.
    """
    least = usual.parameter.low
    largest = usual.parameter.high
    column = usual.parameter.name
    if not math.isfinite(largest - least):
        return
    name = display_name(column)
    unit = units.unit_of(column)
    first = units.from_si(column, least)
    last = units.from_si(column, largest)
    if usual.closed and (low < least or high > largest):
        known = f"{first:.6g} to {last:.6g} {unit}".rstrip()
        raise QexpError(
            f"`{option}[{name}]`: the source is known only for {name} from {known}; stay within"
            " that"
        )
    reach = (FARTHEST_RATIO - 1) / 2 * (largest - least)
    if usual.parameter.logarithmic:
        far = low > FARTHEST_RATIO * largest
    else:
        far = low > largest + reach or high < least - reach
    if not far:
        return
    given = [units.from_si(column, value) for value in (low, high)]
    question = ""
    if unit == "km" and all(least <= value / 1e3 <= largest for value in (low, high)):
        meant = ":".join(f"{value / 1e3:.6g}" for value in dict.fromkeys(given))
        question = f"; did you mean {name}={meant}?"
    raise QexpError(
        f"`{option}[{name}]`: {name} is in {unit}, and {given[0]:,.6g} {unit} is far beyond what"
        f" the data reach; a search goes from {first:,.6g} to {last:,.6g} {unit}{question}"
    )

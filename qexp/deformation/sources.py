"""What an inversion is asked for: sources by name, their parameters as users write them, and what is held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qexp.base.quantities import RADIAN, Quantities, Quantity, base_name, quantity
from qexp.base.seeds import require_seed
from qexp.base.tables import Table
from qexp.errors import QexpError, suggestion
from qexp.simulation.generators import DeformationImages, Source

POSITIONS = {"x": "east", "y": "north"}
"""Variable of specs → its name in results, where positions are absolute: in metres of the observation's system."""

PER_TRACK, NONE = "per-track", "none"
OFFSETS = (PER_TRACK, NONE)

Bounds = tuple[float, float]


METHODS = ("auto", "laplace", "importance", "sampler", "grid")

MOST_DRAWS = 1_000_000


@dataclass(frozen=True)
class PosteriorAsked:
    """What a posterior is asked for.

    draws          number of draws
    method         auto: importance sampling, and chains where its weights cannot be trusted
    unknown_noise  whether all errors may be too small or too large by one unknown factor
    """

    draws: int = 2000
    method: str = "auto"
    unknown_noise: bool = True

    def __post_init__(self) -> None:
        if not 100 <= self.draws <= MOST_DRAWS:
            raise QexpError(f"--draws {self.draws}: choose from 100 to {MOST_DRAWS:,}")
        if self.method not in METHODS:
            raise QexpError(f"--method {self.method}: choose from {', '.join(METHODS)}")


@dataclass(frozen=True)
class Asked:
    """What an inversion is asked for.

    offsets  "per-track": a constant for each radar track is estimated, too; "none": displacements count as they are
    ramps    whether a plane is estimated for each radar track
    fixed    parameter → value, of those that are not estimated
    bounds   parameter → lowest and highest estimate
    starts   number of starts: spread over all parameters, or near a network's estimate; None: the usual number
    seed     of the starts
    posterior  draws from the posterior, too; None: none
    """

    offsets: str = PER_TRACK
    ramps: bool = False
    fixed: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    starts: int | None = None
    seed: int = 0
    posterior: PosteriorAsked | None = None

    def __post_init__(self) -> None:
        if self.offsets not in OFFSETS:
            raise QexpError(f"--offsets {self.offsets}: choose from {' and '.join(OFFSETS)}")
        if self.starts is not None and self.starts < 1:
            raise QexpError(f"--starts {self.starts}: at least one")
        require_seed(self.seed)
        for name, (low, high) in self.bounds.items():
            if not low < high:
                raise QexpError(f"--bounds {name}={low:g}:{high:g}: the upper bound must be above the lower one")
        for name in self.fixed:
            if name in self.bounds:
                raise QexpError(f"--fix {name}: it has bounds, too; fix it or bound it")


def shown(column: str) -> str:
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

    def of(self, column: str) -> str:
        return "m" if base_name(column) in POSITIONS else self._quantity(column).unit

    def factor(self, column: str) -> float:
        """One unit in SI units."""
        return 1.0 if base_name(column) in POSITIONS else self._quantity(column).si_factor

    def from_si(self, column: str, value: float) -> float:
        return value / self.factor(column) + self._zero(column)

    def to_si(self, column: str, value: float) -> float:
        return (value - self._zero(column)) * self.factor(column)

    def violation(self, column: str, value: float) -> str | None:
        return None if base_name(column) in POSITIONS else self._quantity(column).violation(value)

    def hint(self, column: str) -> str:
        """The end of an error on a value beyond the limits of an angle in radians."""
        return "; if it is in degrees, add --degrees" if self.of(column) == RADIAN else ""

    def _zero(self, column: str) -> float:
        name = base_name(column)
        return self.origin[list(POSITIONS).index(name)] if name in POSITIONS else 0.0

    def _quantity(self, column: str) -> Quantity:
        return quantity(column, self.quantities)


def sources_named(text: str, generators: Table) -> list[Source]:
    """`mogi` → the source of that name in the table of generators; `mogi+okada` → both, each with its name.

    Sources of the same type are numbered: `mogi+mogi` has `mogi_1.depth` and `mogi_2.depth`. Raises QexpError.
    """
    types = [word.strip() for word in text.split("+")]
    found = []
    for index, word in enumerate(types):
        if word not in generators:
            raise QexpError(f"--source {text}: no source '{word}'; {suggestion(word, generators)}")
        made = generators[word].build()
        if not isinstance(made, DeformationImages):
            raise QexpError(f"--source {text}: '{word}' is no source of deformation in a half-space, which this needs")
        number = f"_{types[: index + 1].count(word)}" if types.count(word) > 1 else ""
        (source,) = made.sources
        found.append(source.named(word + number) if len(types) > 1 else source)
    return found


def in_columns(
    given: Mapping[str, float] | Mapping[str, Bounds], sources: Sequence[Source], option: str, known: Sequence[str] = ()
) -> dict[str, str]:
    """Column of the sources → the name under which something is given for it.

    known  parameters of other candidates, which are not errors
    Raises QexpError for a name that no source has.
    """
    columns = {shown(column): column for source in sources for column in source.columns}
    found = {}
    for name in given:
        if name in columns:
            found[columns[name]] = name
        elif name.rpartition(".")[2] in POSITIONS:
            better = shown(name)
            raise QexpError(f"--{option} {name}: positions are absolute here; use {better}, in metres")
        elif name not in known:
            raise QexpError(f"--{option} {name}: the source has no such parameter; {suggestion(name, columns)}")
    return found


def bounds_in_si(column: str, bounds: Bounds, units: Units, name: str) -> Bounds:
    """Raises QexpError for bounds beyond the limits of the quantity."""
    low, high = bounds
    for value in (low or high, high):  # a depth may have no limit but 0
        if math.isfinite(value) and (violation := units.violation(column, value)):
            raise QexpError(f"--bounds {name}: {violation}, but a bound is {value:g}{units.hint(column)}")
    return units.to_si(column, low), units.to_si(column, high)


def fixed_in_si(column: str, value: float, units: Units, name: str) -> float:
    if violation := units.violation(column, value):
        raise QexpError(f"--fix {name}: {violation}, but is {value:g}{units.hint(column)}")
    return units.to_si(column, value)

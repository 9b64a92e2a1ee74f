"""The space of a search: keys of an experience, each with the values, or the range, from which a
trial's is chosen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qexp.errors import Problem, QexpError, SpecError, extra
from qexp.kinds.experiments import SpecCache, experience
from qexp.runs.plan import at_point, axes_of
from qexp.spec.resolution import Overrides, value_text
from qexp.tuning.options import SPACE

with extra("tune"):
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

Range = FloatDistribution | IntDistribution

MOST_VALUES = 1000
"""Of a list, each of which is checked before the search."""


@dataclass(frozen=True)
class Dimension:
    """A key, or keys with + between them that get the same value, and what values it may have."""

    name: str
    distribution: Range | CategoricalDistribution
    """Optuna's. Choices are texts there, as it keeps no lists."""
    values: tuple[Any, ...] = ()
    """Those from which is chosen; empty for a range."""

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.name.split("+"))

    @property
    def texts(self) -> list[str]:
        """The values from which is chosen, as texts; empty for a range."""
        return [value_text(value) for value in self.values]

    @property
    def range(self) -> Range | None:
        return None if isinstance(self.distribution, CategoricalDistribution) else self.distribution

    @property
    def ends(self) -> tuple[Any, ...]:
        """The lowest and the highest value, or all choices."""
        return self.values if self.range is None else (self.range.low, self.range.high)

    @property
    def log(self) -> bool:
        return self.range is not None and self.range.log

    @property
    def text(self) -> str:
        """As an option takes it."""
        if self.range is None:
            return ",".join(self.texts)
        return ":".join(["log" if self.log else "lin", *map(value_text, self.ends)])

    def value(self, internal: Any) -> Any:
        """A value of Optuna's, of a range with six digits, so that it can be read and typed."""
        if self.range is None:
            return self.values[self.texts.index(internal)]
        if isinstance(self.range, IntDistribution):
            return int(internal)
        return min(max(float(f"{internal:.6g}"), self.range.low), self.range.high)


@dataclass(frozen=True)
class Space:
    dimensions: tuple[Dimension, ...]

    @property
    def keys(self) -> list[str]:
        return list(itertools.chain(*(one.keys for one in self.dimensions)))

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {one.name: one.distribution for one in self.dimensions}

    @property
    def first(self) -> dict[str, Any]:
        """Key → its first value."""
        first = dict[str, Any]()
        for one in self.dimensions:
            first |= dict.fromkeys(one.keys, one.ends[0])
        return first

    def overrides(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Key → value that a trial sets, by the parameters of Optuna's."""
        overrides = dict[str, Any]()
        for one in self.dimensions:
            overrides |= dict.fromkeys(one.keys, one.value(parameters[one.name]))
        return overrides

    def selection(self, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The override by which folds of rows choose among points, each with all of the keys."""
        keys = self.keys
        values: list[Any] = [list(map(point.get, keys)) for point in points]
        if len(keys) == 1:
            values = [value for (value,) in values]
        return {"select": {",".join(keys): values}}

    def document(self) -> dict[str, str]:
        return {one.name: one.text for one in self.dimensions}

    def choices(self) -> dict[str, list[str]]:
        """Name → all values as texts, for an exhaustive search. Raises QexpError for a range."""
        for one in self.dimensions:
            if one.range:
                raise QexpError(
                    f"`space[{one.name}]`: a grid needs a list of values, A,B, not a range"
                )
        return {one.name: one.texts for one in self.dimensions}


def checked_space(
    given: Mapping[str, Any],
    reference: str,
    overrides: Overrides,
    cache: SpecCache,
    *,
    nested: bool = False,
) -> Space:
    """The dimensions of a space, all of whose values the experience takes.

    Of a range both ends and a value between them are tried; it is of whole numbers where the spec
    takes no others.
    nested  whether folds of rows choose among the values, by `select`
    Raises QexpError for a range that is none, SpecError, which names the key of the space, for a
    value that is wrong.
    """
    if not given:
        raise QexpError(
            f"a search needs a space; give `space={ {'learning_rate': 'log:1e-4:1e-2'} }`"
        )
    dimensions = [_dimension(name, values) for name, values in given.items()]
    axes = axes_of({one.name: one.ends for one in dimensions}, "space")
    first = dict[str, Any]()
    for axis in axes:
        first |= dict.fromkeys(axis.keys, axis.values[0])
    for key in first:
        if key in overrides:
            raise QexpError(
                f"`overrides[{key}]`: `space` has values of '{key}', too; keep one of them"
            )

    def check(one: Dimension, value: Any) -> None:
        point = {**first, **dict.fromkeys(one.keys, value)}
        if not nested:
            at_point(reference, {**overrides, **point}, axes, point, cache, "space")
            return
        select = {key: [own] for key, own in point.items()}
        try:
            experience(reference, {**overrides, "select": select}, cache.workspace, cache)
        except SpecError as error:
            problems = list(error.problems)
            for index, problem in enumerate(problems):
                if problem.path[:1] == ("select",):
                    where = f"`space[{one.name}]`"
                    problems[index] = Problem(where, problem.path[1:], problem.message)
            raise SpecError(problems) from None

    checked = []
    for one in dimensions:
        for value in one.ends:
            check(one, value)
        if isinstance(one.range, FloatDistribution):
            try:
                check(one, _between(one.range))
            except SpecError:
                if not (one.range.low.is_integer() and one.range.high.is_integer()):
                    raise
                whole = IntDistribution(int(one.range.low), int(one.range.high), one.range.log)
                one = replace(one, distribution=whole)
                check(one, one.ends[0])
        checked.append(one)
    return Space(tuple(checked))


def _between(ends: FloatDistribution) -> float:
    """A value of a range that is no whole number."""
    middle = math.sqrt(ends.low * ends.high) if ends.log else (ends.low + ends.high) / 2
    return (
        middle + 0.37 * min(middle - ends.low, ends.high - middle, 1.0)
        if middle.is_integer()
        else middle
    )


def _dimension(name: str, given: Any) -> Dimension:
    where = f"`space[{name}]`"
    if "," in name:
        raise QexpError(
            f"{where}: keys with commas change together only in a grid; give each its own values"
        )
    if not isinstance(given, str):
        (axis,) = axes_of({name: given}, "space")
        if len(axis.values) > MOST_VALUES:
            raise QexpError(
                f"{where}: {len(axis.values):,} values; give at most {MOST_VALUES:,}, or"
                " lin:LOW:HIGH"
            )
        return Dimension(
            name, CategoricalDistribution(list(map(value_text, axis.values))), axis.values
        )
    try:
        spacing, low, high = given.split(":")
        ends = float(low), float(high)
    except ValueError:
        raise QexpError(f"{where}: {given}: {SPACE}") from None
    if spacing not in ("lin", "log") or not all(map(math.isfinite, ends)):
        raise QexpError(f"{where}: {given}: {SPACE}")
    if not ends[0] < ends[1]:
        raise QexpError(f"{where}: {given}: {low} is not below {high}; write the lower end first")
    if spacing == "log" and ends[0] <= 0:
        raise QexpError(
            f"{where}: {given}: equal ratios need positive ends; write lin:{low}:{high}, or a low"
            " end above 0"
        )
    return Dimension(name, FloatDistribution(*ends, log=spacing == "log"))

"""A grid: keys of a spec and the values that each goes through."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qexp.errors import QexpError
from qexp.spec import load
from qexp.spec.resolve import value_text

Grid = Mapping[str, Sequence[Any]]
"""Dotted key → values: `{"learning_rate": [1e-3, 3e-3]}`. Keys with + between them, `a.b+c.d`, change together."""


@dataclass(frozen=True)
class GridAxis:
    """Keys that change together, and their values."""

    keys: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """Per value what is set."""
        return [dict.fromkeys(self.keys, value) for value in self.values]


def axes_of(grid: Grid) -> list[GridAxis]:
    """The axes of a grid, checked. Raises QexpError for an axis without values, and for what is given twice."""
    axes = [_axis(name, values) for name, values in grid.items()]
    keys = [key for axis in axes for key in axis.keys]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise QexpError(f"--grid {twice} is given twice; list all its values in one: --grid {twice}=A,B")
    return axes


def _axis(name: str, values: Sequence[Any]) -> GridAxis:
    keys = tuple(name.split("+"))
    if not all(keys):
        raise QexpError(f"--grid {name}: a key is empty; write, for example, learning_rate, or a.b+c.d")
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise QexpError(f"--grid {name}: give a list of values, not {values!r}")
    listed = tuple(load.plain(value, f"--grid {name}") for value in values)
    if not listed:
        raise QexpError(f"--grid {name}: there is no value; give at least one")
    texts = [value_text(value) for value in listed]
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise QexpError(f"--grid {name}: the value {twice} is given twice; two runs would be the same")
    return GridAxis(keys, listed)


def points_of(axes: Sequence[GridAxis]) -> Iterator[dict[str, Any]]:
    """What is set at each combination of values, the last axis fastest."""
    for changes in itertools.product(*(axis.changes for axis in axes)):
        yield {key: value for change in changes for key, value in change.items()}

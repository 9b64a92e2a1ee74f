"""A grid: keys of a spec and the values that each goes through."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qexp.errors import QexpError
from qexp.spec import load
from qexp.spec.resolve import value_text

Grid = Mapping[str, Sequence[Any]]
"""Dotted key → values: `{"learning_rate": [1e-3, 3e-3]}`.

Keys with + between them, `a.b+c.d`, get the same value. Keys with commas between them get a value each, step by step:
`{"learning_rate,batch_size": [(1e-3, 16), (3e-3, 32)]}`.
"""


@dataclass(frozen=True)
class GridAxis:
    """Keys that change together, and their values."""

    name: str
    """The keys as they were given, with + and commas between them."""
    values: tuple[Any, ...]
    """With commas in the name, lists with a value for each part of it."""

    @property
    def parts(self) -> list[tuple[str, ...]]:
        """Keys with the same value, for each part of the name between commas."""
        return [tuple(part.split("+")) for part in self.name.split(",")]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for part in self.parts for key in part)

    @property
    def changes(self) -> list[dict[str, Any]]:
        """Per value what is set."""
        parts = self.parts
        return [
            {key: own for part, own in zip(parts, value if len(parts) > 1 else [value], strict=True) for key in part}
            for value in self.values
        ]

    @property
    def texts(self) -> list[str]:
        """The values as a command takes them: `0.001`, or `0.001:16` for several keys."""
        several = len(self.parts) > 1
        return [":".join(map(value_text, value)) if several else value_text(value) for value in self.values]


def axes_of(grid: Grid) -> list[GridAxis]:
    """The axes of a grid, checked. Raises QexpError for an axis without values, and for what is given twice."""
    axes = [_axis(name, values) for name, values in grid.items()]
    keys = Counter(key for axis in axes for key in axis.keys)
    if twice := next((key for key, times in keys.items() if times > 1), None):
        raise QexpError(f"--grid {twice} is given twice; list all its values in one: --grid {twice}=A,B")
    return axes


def _axis(name: str, values: Sequence[Any]) -> GridAxis:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise QexpError(f"--grid {name}: give a list of values, not {values!r}")
    axis = GridAxis(name, tuple(load.plain(value, f"--grid {name}") for value in values))
    if not all(axis.keys):
        raise QexpError(f"--grid {name}: a key is empty; write, for example, learning_rate, a.b+c.d or a.b,c.d")
    if not axis.values:
        raise QexpError(f"--grid {name}: there is no value; give at least one")
    wanted = len(axis.parts)
    if wanted > 1:
        for value in axis.values:
            if not isinstance(value, list) or len(value) != wanted:
                raise QexpError(f"--grid {name}: {value_text(value)} is not {wanted} values, one for each key")
    twice, times = Counter(axis.texts).most_common(1)[0]
    if times > 1:
        raise QexpError(f"--grid {name}: the value {twice} is given twice; two runs would be the same")
    return axis


def points_of(axes: Sequence[GridAxis]) -> Iterator[dict[str, Any]]:
    """What is set at each combination of values, the last axis fastest."""
    for changes in itertools.product(*(axis.changes for axis in axes)):
        yield {key: value for change in changes for key, value in change.items()}

"""The axes of a study: the varied keys with their values, and the combinations of values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qexp.errors import QexpError
from qexp.runs.planning import grid as grids
from qexp.runs.planning.grid import Grid, GridAxis

Point = tuple[str | None, ...]
"""A value for each axis, as a text; None if an experience does not depend on the axis."""


@dataclass(frozen=True)
class StudyAxis:
    """An axis of a study's grid, and how tables and figures name it."""

    of_grid: GridAxis
    of_pretraining: bool
    called: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        return self.of_grid.keys

    @property
    def values(self) -> list[str]:
        """As texts, for tables and figures."""
        return self.of_grid.texts

    @property
    def name(self) -> str:
        """The last step of the keys, if that is the same for all keys and not for another axis; else all keys."""
        if self.called:
            return self.called
        steps = dict.fromkeys(key.rpartition(".")[2] for key in self.keys)
        return next(iter(steps)) if len(steps) == 1 else self.column

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").replace(",", " : ") + " of pretraining" * self.of_pretraining

    @property
    def column(self) -> str:
        """The axis' name in files: its full keys."""
        return self.of_grid.name


def study_axes(pretraining_grid: Grid, grid: Grid) -> list[StudyAxis]:
    """The axes of a study, those of pretraining first. Raises QexpError if there are none."""
    given = [(axis, True) for axis in grids.axes_of(pretraining_grid)] + [(axis, False) for axis in grids.axes_of(grid)]
    if not given:
        raise QexpError("a study varies the value of a key; give --grid, for example --grid labelled=10,100,all")
    axes = [StudyAxis(one, of_pretraining) for one, of_pretraining in given]
    names = [axis.name for axis in axes]
    return [replace(axis, called=axis.column) if names.count(axis.name) > 1 else axis for axis in axes]


def changes(axes: Sequence[StudyAxis]) -> Iterator[dict[str, Any]]:
    """The overrides for each combination of values; the last axis varies fastest."""
    return grids.points_of([axis.of_grid for axis in axes])


def points(axes: Sequence[StudyAxis]) -> Iterator[tuple[str, ...]]:
    """All combinations of values, in the order of `changes`."""
    return itertools.product(*(axis.values for axis in axes))


def holds(own: Point, point: Point) -> bool:
    """Whether a run belongs to a point: it has the same values on all axes that it depends on."""
    return all(mine is None or mine == value for mine, value in zip(own, point, strict=True))

"""Errors on fields, accumulated frame by frame: of all cells, of each folder and by the thickness
of the ice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base import formats
from qexp.kinds.fields.folders import Fields
from qexp.kinds.scores import HEAD, errors_of_group
from qexp.metrics.built_in import mean_absolute_error
from qexp.metrics.metric import Additive, Metric, Metrics, Sums
from qexp.results.intervals import OVERALL
from qexp.rows.array_cache import Array
from qexp.spec.reading import Document
from qexp.store.record import GroupErrors

OfOutputs = Mapping[str, Metrics]
"""output → name → metric; metrics that are not additive are left out."""

STEPS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
"""Possible limits between classes of thickness [m]."""

THIN_SHARE = 1 / 20
"""Ice that is thinner than this share of the thickest ice is one class."""


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(vector,) of (vector, component)."""
    return np.asarray(np.hypot(*vectors.T))


_ERROR = Additive(
    lambda estimate, truth, centre: [_lengths(estimate - truth)], mean_absolute_error.value
)
_SPEED = Additive(lambda estimate, truth, centre: [_lengths(truth)], mean_absolute_error.value)
_PERCENT = Additive(
    lambda estimate, truth, centre: [
        *_ERROR.terms(estimate, truth, 0.0),
        *_SPEED.terms(estimate, truth, 0.0),
    ],
    lambda sums, count: 100 * sums[0] / np.where(sums[1] > 0, sums[1], np.nan),
)

OF_VECTORS: Metrics = {
    "mean_error": Metric(_ERROR, best="lowest", unit="{unit}"),
    "mean_speed": Metric(_SPEED, best="highest", unit="{unit}"),
    "percent": Metric(_PERCENT, best="lowest", unit="%"),
}
"""Metrics of vectors: the mean length of their errors, that of the truth, and the first in percent
of the second.
"""


@dataclass(frozen=True)
class Errors:
    """Sums over some cells, by output and by vector, such as `ubar, vbar`; outputs come first."""

    sums: Mapping[str, Sums]

    @property
    def cells(self) -> int:
        return next(iter(self.sums.values())).samples

    def __add__(self, other: Errors) -> Errors:
        return Errors({name: sums + other.sums[name] for name, sums in self.sums.items()})

    def metrics(self, of_vectors: bool = False) -> dict[str, dict[str, float]]:
        """output, or vector → metric → value, in the output's unit."""
        return {
            name: sums.values()
            for name, sums in self.sums.items()
            if (sums.metrics is OF_VECTORS) == of_vectors
        }

    def document(self) -> Document:
        return {
            "cells": self.cells,
            "outputs": self.metrics(),
            "vectors": self.metrics(of_vectors=True),
        }


@dataclass
class Tally:
    """Errors of one folder or of several, by thickness.

    metrics  of each output, and `OF_VECTORS` of each vector of two of them, such as `ubar, vbar`
    lowest  thickness that cells must exceed to be counted [m]; None: all cells are counted
    """

    metrics: OfOutputs
    lowest: float | None
    known: bool = True
    """Whether the thickness is known."""
    thickest: float = 0.0
    classes: dict[int, Errors] = field(default_factory=dict)
    """Index of the class's lower edge among `edges` → sums over its cells."""

    @property
    def edges(self) -> list[float]:
        """Lower edges of all possible classes."""
        lowest = -np.inf if self.lowest is None else self.lowest
        return [lowest, *(step for step in STEPS if step > lowest)]

    @property
    def total(self) -> Errors:
        return sum(
            self.classes.values(),
            Errors({name: Sums(metrics) for name, metrics in self.metrics.items()}),
        )

    def add(self, estimates: Fields, truths: Fields, thickness: Array | None) -> None:
        """Add the cells that are counted among some, which are arrays of any one shape."""
        if thickness is None:
            self.known = False
            thickness = np.zeros_like(next(iter(truths.values())))
            counted = np.ones(thickness.shape, dtype=bool)
        else:
            counted = thickness > self.edges[0]
            self.thickest = float(thickness.max(initial=self.thickest, where=counted))
        number = np.digitize(thickness, self.edges[1:], right=True)
        for index in np.unique(number[counted]):
            those = counted & (number == index)
            sums = {}
            for name, metrics in self.metrics.items():
                pair = (_values(fields, name, those) for fields in (estimates, truths))
                sums[name] = Sums(metrics).with_piece(*pair)
            self._add(int(index), Errors(sums))

    def _add(self, index: int, errors: Errors) -> None:
        self.classes[index] = self.classes[index] + errors if index in self.classes else errors

    def __add__(self, other: Tally) -> Tally:
        known = self.known and other.known
        thickest = max(self.thickest, other.thickest)
        total = Tally(self.metrics, self.lowest, known, thickest)
        for tally in (self, other):
            for index, errors in tally.classes.items():
                total._add(index, errors)
        return total

    def by_thickness(self) -> Iterator[tuple[float | None, float | None, Errors]]:
        """Lower edge, upper edge (None for the last class) and errors of each class that has cells.

        Empty if the thickness is not known.
        """
        edges = self.edges
        thin = THIN_SHARE * self.thickest
        used = [0, *(i for i, edge in enumerate(edges) if i and (edge == STEPS[0] or edge >= thin))]
        for index, following in zip(used, [*used[1:], len(edges)], strict=True):
            members = [
                self.classes[number] for number in range(index, following) if number in self.classes
            ]
            if members and self.known:
                lower = edges[index] if index or self.lowest is not None else None
                upper = edges[following] if following < len(edges) else None
                yield lower, upper, sum(members[1:], members[0])


def _values(fields: Fields, name: str, cells: NDArray[np.bool_]) -> Array:
    """Some values of an output, (cell,), or of a vector, (cell, component)."""
    parts = [fields[part][cells] for part in name.split(", ")]
    return np.stack(parts, axis=-1) if len(parts) > 1 else parts[0]


def error_document(
    tallies: Mapping[str, Tally], total: Tally, units: Mapping[str, str]
) -> Document:
    """The content of `errors.json`.

    tallies  folder → its errors
    total    errors of all folders
    """
    classes = [
        {"above": lower, "up_to": upper, **errors.document()}
        for lower, upper, errors in total.by_thickness()
    ]
    return {
        "units": dict(units),
        "counted": (
            "all cells"
            if total.lowest is None
            else f"cells with more than {total.lowest:g} m of ice"
        ),
        "overall": total.total.document(),
        "folders": {name: tally.total.document() for name, tally in tallies.items()},
        "thickness": classes,
    }


def error_table(errors: Mapping[str, Any]) -> str:
    """The same as CSV: for all cells, each folder and each class a line per output and per
    vector.
    """
    groups = [(OVERALL, "", errors["overall"])]
    groups += [("folder", name, of_folder) for name, of_folder in errors["folders"].items()]
    groups += [
        ("thickness", in_words(layer["above"], layer["up_to"]), layer)
        for layer in errors["thickness"]
    ]
    metrics = list(dict.fromkeys(chain.from_iterable(errors["overall"]["outputs"].values())))
    rows: list[list[Any]] = []
    for kind, name, group in groups:
        for output, values in {**group["outputs"], **group["vectors"]}.items():
            unit = errors["units"].get(output.split(", ")[0])  # of a vector that of its components
            numbers = map(values.get, [*metrics, *OF_VECTORS])
            rows.append([kind, name, group["cells"], output, unit, *numbers])
    return formats.csv_text([*HEAD, *metrics, *OF_VECTORS], rows)


def by_folder(tallies: Mapping[str, Tally]) -> tuple[GroupErrors, ...]:
    """The errors of each output in each folder."""
    return tuple(
        errors_of_group("folder", name, tally.total.cells, output, metrics)
        for name, tally in tallies.items()
        for output, metrics in tally.total.metrics().items()
    )


def in_words(above: float | None, up_to: float | None) -> str:
    """A class of thickness as text: `25–50 m`."""
    if above is None:
        return f"up to {up_to:g} m"
    return f"{above:g}–{up_to:g} m" if up_to is not None else f"more than {above:g} m"

"""Errors on fields, accumulated frame by frame: of all cells, of each folder and by the thickness of the ice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base import formats
from qexp.kinds.scores import HEAD, errors_of_group
from qexp.metrics.metric import Metrics, Sums
from qexp.results.intervals import OVERALL
from qexp.store.record import GroupErrors

Array = NDArray[np.float32]
Pair = tuple[str, str]
"""Names of the x and y component of a vector."""

OfOutputs = Mapping[str, Metrics]
"""output → name → metric; metrics that are not additive are left out."""

STEPS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
"""Possible limits between classes of thickness [m]."""

THIN_SHARE = 1 / 20
"""Ice that is thinner than this share of the thickest ice is one class."""


@dataclass(frozen=True)
class VectorSums:
    """Additive sums over vectors."""

    count: int = 0
    error: float = 0.0
    """Sum of the lengths of estimate − truth; then of the truth."""
    speed: float = 0.0

    @classmethod
    def of(cls, estimate: tuple[Array, Array], truth: tuple[Array, Array]) -> VectorSums:
        """The sums over vectors, given by their x and y components."""
        (along_x, along_y), (true_x, true_y) = (
            [np.asarray(component, np.float64) for component in pair] for pair in (estimate, truth)
        )
        error = np.hypot(along_x - true_x, along_y - true_y)
        return cls(error.size, float(error.sum()), float(np.hypot(true_x, true_y).sum()))

    def __add__(self, other: VectorSums) -> VectorSums:
        return VectorSums(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def document(self) -> dict[str, float]:
        """Mean error and mean speed, and the first in percent of the second."""
        mean_error, mean_speed = (total / self.count if self.count else math.nan for total in (self.error, self.speed))
        share = 100 * self.error / self.speed if self.speed else math.nan
        return {"mean_error": mean_error, "mean_speed": mean_speed, "percent": share}


@dataclass(frozen=True)
class Errors:
    """Sums over some cells, by output and by vector."""

    outputs: Mapping[str, Sums]
    vectors: Mapping[Pair, VectorSums]

    @classmethod
    def of(
        cls, metrics: OfOutputs, vectors: Sequence[Pair], estimates: Mapping[str, Array], truths: Mapping[str, Array]
    ) -> Errors:
        """The sums over some cells, (cell,) each."""
        return cls(
            {name: Sums(of).with_piece(estimates[name], truths[name]) for name, of in metrics.items()},
            {(x, y): VectorSums.of((estimates[x], estimates[y]), (truths[x], truths[y])) for x, y in vectors},
        )

    @property
    def cells(self) -> int:
        return next(iter(self.outputs.values())).samples

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            {name: sums + other.outputs[name] for name, sums in self.outputs.items()},
            {pair: sums + other.vectors[pair] for pair, sums in self.vectors.items()},
        )

    def metrics(self) -> dict[str, dict[str, float]]:
        """output → metric → value, in the output's unit."""
        return {output: sums.values() for output, sums in self.outputs.items()}

    def document(self) -> dict[str, Any]:
        vectors = {", ".join(pair): sums.document() for pair, sums in self.vectors.items()}
        return {"cells": self.cells, "outputs": self.metrics(), "vectors": vectors}


@dataclass
class Tally:
    """Errors of one folder or of several, by thickness.

    lowest  thickness that cells must exceed to be counted [m]; None: all cells are counted
    """

    metrics: OfOutputs
    vectors: Sequence[Pair]
    lowest: float | None = None
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
        outputs = {name: Sums(metrics) for name, metrics in self.metrics.items()}
        return sum(self.classes.values(), Errors(outputs, {pair: VectorSums() for pair in self.vectors}))

    def add(self, estimates: Mapping[str, Array], truths: Mapping[str, Array], thickness: Array | None) -> None:
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
            estimated, true = ({name: values[those] for name, values in of.items()} for of in (estimates, truths))
            self._add(int(index), Errors.of(self.metrics, self.vectors, estimated, true))

    def _add(self, index: int, errors: Errors) -> None:
        self.classes[index] = self.classes[index] + errors if index in self.classes else errors

    def __add__(self, other: Tally) -> Tally:
        known, thickest = self.known and other.known, max(self.thickest, other.thickest)
        total = Tally(self.metrics, self.vectors, self.lowest, known, thickest)
        for tally in (self, other):
            for index, errors in tally.classes.items():
                total._add(index, errors)
        return total

    def by_thickness(self) -> Iterator[tuple[float | None, float | None, Errors]]:
        """Lower edge, upper edge (None for the last class) and errors of each class that has cells.

        Empty if the thickness is not known.
        """
        edges, thin = self.edges, THIN_SHARE * self.thickest
        used = [0, *(i for i, edge in enumerate(edges) if i and (edge == STEPS[0] or edge >= thin))]
        for index, following in zip(used, [*used[1:], len(edges)], strict=True):
            members = [self.classes[number] for number in range(index, following) if number in self.classes]
            if members and self.known:
                lower = edges[index] if index or self.lowest is not None else None
                upper = edges[following] if following < len(edges) else None
                yield lower, upper, sum(members[1:], members[0])


def error_document(tallies: Mapping[str, Tally], total: Tally, units: Mapping[str, str]) -> dict[str, Any]:
    """The content of `errors.json`.

    tallies  folder → its errors
    total    errors of all folders
    """
    classes = [{"above": lower, "up_to": upper, **errors.document()} for lower, upper, errors in total.by_thickness()]
    return {
        "units": dict(units),
        "counted": "all cells" if total.lowest is None else f"cells with more than {total.lowest:g} m of ice",
        "overall": total.total.document(),
        "folders": {name: tally.total.document() for name, tally in tallies.items()},
        "thickness": classes,
    }


def error_table(errors: Mapping[str, Any]) -> str:
    """The same as CSV: for all cells, each folder and each class a line per output and per vector."""
    groups = [(OVERALL, "", errors["overall"])]
    groups += [("folder", name, of_folder) for name, of_folder in errors["folders"].items()]
    groups += [("thickness", in_words(layer["above"], layer["up_to"]), layer) for layer in errors["thickness"]]
    metrics = list(dict.fromkeys(name for _, _, group in groups for by in group["outputs"].values() for name in by))
    of_vectors = ["mean_error", "mean_speed", "percent"]
    rows: list[list[Any]] = []
    for kind, name, group in groups:
        for output, values in group["outputs"].items():
            numbers = [*map(values.get, metrics), *(None for _ in of_vectors)]
            rows.append([kind, name, group["cells"], output, errors["units"].get(output), *numbers])
        for vector, values in group["vectors"].items():
            numbers = [*(None for _ in metrics), *map(values.get, of_vectors)]
            rows.append([kind, name, group["cells"], vector, errors["units"].get(vector.split(", ")[0]), *numbers])
    return formats.csv_text([*HEAD, *metrics, *of_vectors], rows)


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

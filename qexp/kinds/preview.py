"""Previews of datasets: what every kind offers to those who want to look at it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import Quantities, quantity_in_words
from qexp.base.seeds import Seeds

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

Array = NDArray[np.floating]
Pictures = Iterator[tuple[str, "Figure"]]
"""Name of each figure, without ending, and the figure."""


@dataclass(frozen=True)
class Variable:
    """The values of one variable, or of one of its columns, in a part."""

    name: str
    unit: str
    values: Array
    """(value,); NaN where one is missing."""
    missing: int = 0
    """Missing values besides those that are NaN, such as of rows that were left out."""
    view: str | None = None
    """The view whose image or number it is, by its name; None where views have no names."""
    classes: Sequence[str] = ()
    """Names of which the values are codes: 0, 1, …; empty for a number."""

    def summary(self) -> dict[str, Any]:
        """Name, view, unit, number of values, minimum, percentiles, maximum, size, gaps; of a class
        how many values each name has.
        """
        finite = self.values[np.isfinite(self.values)].astype(np.float64)
        if self.classes:
            counts = np.bincount(finite.astype(np.int64), minlength=len(self.classes))
            numbers = dict(zip(self.classes, counts.tolist(), strict=True))
            missing = self.missing + len(self.values) - len(finite)
            return {"variable": self.name, "n": len(finite), "classes": numbers, "missing": missing}
        ends = [math.nan] * 5
        if len(finite):
            ends = np.percentile(finite, (0, 5, 50, 95, 100)).tolist()
        keys = ("minimum", "5 %", "median", "95 %", "maximum")
        numbers = dict(zip(keys, ends, strict=True))
        numbers["max |value|"] = max(abs(ends[0]), abs(ends[-1]))
        missing = self.missing + len(self.values) - len(finite)
        view = {} if self.view is None else {"view": self.view}
        return {
            "variable": self.name,
            **view,
            "unit": self.unit,
            "n": len(finite),
            **numbers,
            "missing": missing,
        }

    def typical(self) -> float:
        """A round number near the 99th percentile of the sizes, to divide by; 1 if all are 0."""
        finite = np.abs(self.values[np.isfinite(self.values)])
        size = float(np.percentile(finite, 99)) if len(finite) else 0.0
        return float(f"{size:.1g}") if size > 0 else 1.0


D = TypeVar("D")
P = TypeVar("P")


@dataclass(frozen=True)
class Preview(ABC, Generic[D, P]):
    """One part of a dataset."""

    dataset: D
    parts: Mapping[str, P]
    part: str
    seed: int
    """Of the samples that are drawn, and of a simulated dataset."""
    quantities: Quantities
    caution: str
    """Such as "made with stand-in data"; empty if there is none."""
    counted: ClassVar[str] = "samples"
    """What the values are of, in the plural."""

    @property
    def own(self) -> P:
        """The rows, patches or quantile intervals of the part."""
        return self.parts[self.part]

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """Variable → the names of which its values are codes; numbers are not among them."""
        return {}

    @abstractmethod
    def samples(self, count: int) -> xarray.Dataset:
        """At most `count` samples, with the dimension `sample` and units in the attributes."""

    @abstractmethod
    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        """The values of the part, or of what can be read in a second; `samples` are drawn."""

    @abstractmethod
    def pictures(
        self, samples: xarray.Dataset, variables: Sequence[Variable], title: str
    ) -> Pictures:
        """Figures of the samples and of the variables."""

    def remarks(self) -> list[str]:
        """What a reader of the numbers must know besides."""
        return []

    def proposal(self, variables: Sequence[Variable]) -> dict[str, Any] | None:
        """Typical values of fields and images, as keys of a spec; None without either."""
        return None

    def histograms(self, variables: Sequence[Variable], title: str) -> tuple[str, Figure]:
        from qexp.figures.distributions import Histogram, histograms

        drawn = [
            Histogram(
                variable.name,
                variable.unit,
                {self.part: variable.values},
                classes=variable.classes,
            )
            for variable in variables
        ]
        return "histograms", histograms(drawn, title, self.counted)

    def over_all(self, title: str, words: str) -> str:
        """The title of a figure of this part, with `words` in place of the part's name."""
        return title.replace(f", {self.part}", f", {words}", 1)

    def random(self) -> np.random.Generator:
        """Draws the samples."""
        return Seeds(self.seed).numpy("look", self.part)

    def some(self, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """At most `count` of the rows, drawn without repetition, in order."""
        return np.sort(self.random().permutation(rows)[:count])


def together(parts: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.int64], list[str]]:
    """The rows of all parts, and the part of each, (row,)."""
    names = np.repeat(list(parts), list(map(len, parts.values())))
    return np.concatenate(list(parts.values())), names.tolist()


def value_in_words(words: str, value: float, unit: str, classes: Sequence[str] = ()) -> str:
    """`depth 1.23 km`, `volume change 1.23 × 10⁶ m³`, `granite`.

    words    of the variable, by `quantities.in_words`
    classes  names of which the value is the code
    """
    if classes:
        return classes[int(value)] if np.isfinite(value) else ""
    return f"{words} {quantity_in_words(value, unit)}"

"""Estimates that show themselves in notebooks and terminals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.comparison.rounding import number
from qexp.analysis.comparison.typesetting import Table
from qexp.analysis.prediction.files import Prediction
from qexp.fragments.view import Shown, View


class Estimates(Shown, dict[str, NDArray[np.float32]]):
    """Output → its estimates, (sample,) or whole spectra and fields, in the output's unit."""

    def __init__(self, estimates: Mapping[str, NDArray[np.float32]], units: Mapping[str, str]) -> None:
        super().__init__(estimates)
        self.units = dict(units)

    def view(self) -> View:
        columns = ["output", "shape", "min", "median", "max", "without an estimate", "unit"]
        rows = [[name, _shape(values), *_spread(values), self.units.get(name, "")] for name, values in self.items()]
        return View("Estimates", parts=[Table("", columns, rows, frozenset(columns[2:6]))])


def _shape(values: NDArray[np.float32]) -> str:
    return " x ".join(f"{size:,}" for size in np.shape(values)) or "one"


def _spread(values: NDArray[np.float32]) -> list[str]:
    array = np.asarray(values, dtype=np.float64)
    known = array[np.isfinite(array)]
    ends = [number(float(of(known))) if known.size else "none" for of in (np.min, np.median, np.max)]
    return [*ends, f"{array.size - known.size:,}"]


class Predictions(Shown, list[Prediction]):
    """The predictions of files, one for each."""

    def view(self) -> View:
        rows = [
            [str(one.target), "made" if one.made else "was there", "; ".join(one.remarks), "; ".join(one.warnings)]
            for one in self
        ]
        title = f"{len(self)} file{'s' * (len(self) != 1)} estimated"
        return View(title, parts=[Table("", ["file", "", "what was estimated", "warnings"], rows)])

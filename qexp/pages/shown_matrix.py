"""Matrices that show themselves in notebooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray

from qexp import files
from qexp.analysis.comparison.rounding import number
from qexp.analysis.comparison.typesetting import Table
from qexp.estimates import estimate_of, outputs_among
from qexp.figures.canvas import encoded
from qexp.fragments.pictures import embedded, picture
from qexp.fragments.view import View, html
from qexp.quantities import in_words
from qexp.runs.figures.matrices import matrix_of
from qexp.runs.record.directory import MATRIX, MATRIX_RECORD


class Matrix(xarray.Dataset):  # type: ignore[no-untyped-call]
    """The estimates of a network over a grid of true values, the content of `matrix.nc`. Notebooks show its picture.

    They show a part of a matrix as any other dataset.
    """

    __slots__ = ()

    @property
    def folder(self) -> Path:
        """The folder of `matrix.nc`, with its record and its picture."""
        return Path(self.encoding["source"]).parent

    def _repr_html_(self) -> str:
        whole = html(self.view()) if self._is_whole() else ""
        return whole + super()._repr_html_()

    def view(self) -> View:
        """The picture and the errors of a whole matrix."""
        record, outputs = files.read_json(self.folder / MATRIX_RECORD), outputs_among(self.data_vars)
        cells = " x ".join(f"{in_words(axis)} {self.sizes[axis]}" for axis in record["axes"])
        drawn, title = (self.folder / MATRIX).with_suffix(".png"), "estimates and errors"
        seen = picture(title, drawn) if drawn.is_file() else embedded(title, encoded(matrix_of(self.folder), "png"))
        columns = ["output", "mean |error|", "median |error|", "unit"]
        table = Table("", columns, [self._errors(one) for one in outputs], frozenset(columns[1:3]))
        caution = str(self.attrs.get("caution", ""))
        words = f"Matrix of {record['run']} on {record['dataset']}: {cells} cells"
        return View(words, cautions=[caution] if caution else [], parts=[seen, table])

    def _errors(self, output: str) -> list[str]:
        errors = np.abs(self[f"{output}_error"].values)
        known = errors[np.isfinite(errors)]
        means = [number(float(of(known))) if known.size else "none" for of in (np.mean, np.median)]
        return [in_words(output), *means, str(self[estimate_of(output)].attrs.get("units", ""))]

    def _is_whole(self) -> bool:
        try:
            axes = files.read_json(self.folder / MATRIX_RECORD)["axes"]
        except (KeyError, OSError):
            return False
        return {name: self.sizes.get(name) for name in axes} == {name: ends[2] for name, ends in axes.items()}


def matrix_at(folder: Path) -> Matrix:
    """The matrix in a folder of a run."""
    table = files.read_netcdf(folder / MATRIX)
    made = Matrix(table.data_vars, table.coords, table.attrs)
    made.encoding = table.encoding
    return made

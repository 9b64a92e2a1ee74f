"""The axes of a matrix: its grid of true values."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError

LARGEST = 50_000_000
"""Largest number of cells of a matrix; more are assumed to be a mistake."""


@dataclass(frozen=True)
class MatrixAxis:
    """Cells of equal width from `low` to `high`; the true values are their centres."""

    variable: str
    low: float
    high: float
    cells: int

    @property
    def centres(self) -> NDArray[np.float64]:
        return self.low + (np.arange(self.cells) + 0.5) * (self.high - self.low) / self.cells


def axis(text: str) -> MatrixAxis:
    """Read `depth=0:4:128`."""
    match = re.fullmatch(r"(?P<variable>[A-Za-z_]\w*)=(?P<low>[^:]+):(?P<high>[^:]+):(?P<cells>\d+)", text)
    try:
        if match is None:
            raise ValueError
        made = MatrixAxis(match["variable"], float(match["low"]), float(match["high"]), int(match["cells"]))
    except ValueError:
        raise QexpError(f"--axis {text}: write variable=low:high:cells, for example depth=0:4:128") from None
    return checked(made, f"--axis {text}")


def value(text: str) -> tuple[str, float]:
    """Read `x=0.5`."""
    name, _, number = text.partition("=")
    try:
        made = float(number)
        if not np.isfinite(made):
            raise ValueError
    except ValueError:
        raise QexpError(f"--fix {text}: write variable=number, for example x=0") from None
    return name, made


def checked(one: MatrixAxis, source: str) -> MatrixAxis:
    if not (np.isfinite(one.low) and np.isfinite(one.high)) or not one.low < one.high:
        raise QexpError(f"{source}: the axis must rise, but goes from {one.low:g} to {one.high:g}")
    if one.cells < 1:
        raise QexpError(f"{source}: an axis needs at least one cell")
    if one.cells > LARGEST:
        raise QexpError(f"{source}: {one.cells:,} cells are too many; the limit is {LARGEST:,}")
    return one

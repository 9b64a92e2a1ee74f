"""What passes from a file of rows to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.tables import nearest

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Chunk:
    """Some rows, in the order of the file."""

    features: NDArray[np.float32]
    """(row, feature), in the order in which they were asked for; NaN where nothing is written. A feature's values lie
    together in memory."""
    kept: pa.Table
    """All other columns, as they are."""
    done: float
    """The share of the file that has been read with it, from 0 to 1."""


@dataclass(frozen=True)
class Grid:
    """The raster that the rows come from, the last dimension fastest."""

    sizes: Mapping[str, int]
    coordinates: Mapping[str, tuple[str, NDArray[Any]]] = field(default_factory=dict)
    """Name → the dimension that it lies along, and its values."""


class Rows(Protocol):
    """A file of rows that was opened and found to have all features."""

    path: Path
    kept: pa.Schema
    """The columns that are not features."""
    units: Mapping[str, str]
    """Units of columns, where the file tells."""
    grid: Grid | None
    """None for a plain list of rows."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All rows in order, at most `size` at a time; of a grid, whole lines."""


def require_columns(path: Path, names: Sequence[str], features: Sequence[str]) -> None:
    """Raises QexpError where a column is missing, or there twice."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise QexpError(f"{path}: the column '{twice[0]}' is there twice")
    others = [name for name in names if name not in features]
    missing = [name for name in features if name not in names]
    if missing:
        lines = []
        for name in missing:
            guess = nearest(name, others)
            lines.append(f"{path}: no column '{name}'" + (f"; is it '{guess}'?" if guess else ""))
        shown = ", ".join(f"'{name}'" for name in list(names)[:20]) + (", …" if len(names) > 20 else "")
        raise QexpError("\n".join([*lines, f"it has {shown}"]))


def feature_matrix(columns: Sequence[Any]) -> NDArray[np.float32]:
    """Arrow columns of numbers → (row, column), NaN for nulls."""
    matrix = np.empty((len(columns[0]) if columns else 0, len(columns)), dtype=np.float32, order="F")
    for index, column in enumerate(columns):
        matrix[:, index] = column.to_numpy(zero_copy_only=False)
    return matrix

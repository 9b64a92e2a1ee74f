"""Rows in chunks: features as a matrix, and the columns that are kept beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.rows.table import Table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Chunk:
    """Some rows, in the order of the file."""

    features: NDArray[np.float32]
    """(row, feature), in the requested order; NaN where a number is missing."""
    kept: pa.Table
    done: float
    """The fraction of the file that has been read with this chunk, from 0 to 1."""


class Rows:
    """A table whose columns are features, or kept without conversion.

    features  columns of numbers, or one column of vectors
    kept      schema of the other columns to keep; None for all
    number    type to which text is converted before it is rounded to single precision
    Raises TableError if a column is missing, or a feature is not a number.
    """

    def __init__(
        self, table: Table, features: Sequence[str], kept: pa.Schema | None = None, number: pa.DataType | None = None
    ) -> None:
        import pyarrow as pa

        self.path, self.units, self._table, self.features = table.path, table.units, table, list(features)
        table.require_numbers(features)
        others = table.others(features) if kept is None else kept.names
        table.require(name for name in dict.fromkeys(others) if name in table.names)
        self.kept: pa.Schema = table.types(others) if kept is None else kept
        self.grid = table.grid(features)
        self._types = {
            **dict.fromkeys(features, number or pa.float64()),
            **dict(zip(others, self.kept.types, strict=True)),
        }

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All rows in order, about `size` at a time; of a grid, whole lines. Raises TableError."""
        for rows, done in self._table.pieces(self._types, size):
            yield Chunk(feature_matrix([rows[name] for name in self.features]), rows.select(self.kept.names), done)


def in_equal_chunks(chunks: Iterator[Chunk], size: int) -> Iterator[Chunk]:
    """The same rows in chunks of exactly `size`, except for the last."""
    import pyarrow as pa

    features: list[NDArray[np.float32]] = []
    kept: list[pa.Table] = []
    waiting, done = 0, 0.0
    for chunk in chunks:
        features.append(chunk.features)
        kept.append(chunk.kept)
        waiting, done = waiting + len(chunk.features), chunk.done
        while waiting >= size:
            matrix, table = np.concatenate(features), pa.concat_tables(kept)
            yield Chunk(matrix[:size], table.slice(0, size), done)
            features, kept, waiting = [matrix[size:]], [table.slice(size)], waiting - size
    if waiting:
        yield Chunk(np.concatenate(features), pa.concat_tables(kept), done)


def feature_matrix(columns: Sequence[Any]) -> NDArray[np.float32]:
    """Arrow columns of numbers, or one of vectors → (row, column), NaN for nulls; each column is contiguous."""
    import pyarrow.types as types

    if len(columns) == 1 and types.is_fixed_size_list(columns[0].type):
        values: NDArray[np.float32] = columns[0].combine_chunks().flatten().to_numpy()
        return values.reshape(len(columns[0]), -1)
    matrix = np.empty((len(columns[0]) if columns else 0, len(columns)), dtype=np.float32, order="F")
    with np.errstate(over="ignore"):  # numbers that are too large for single precision become infinite
        for index, column in enumerate(columns):
            matrix[:, index] = column.to_numpy()
    return matrix

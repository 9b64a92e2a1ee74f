"""Formats of files of rows by suffix, and how columns are named and read in chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.base import files
from qexp.errors import QexpError, nearest, suggestion
from qexp.rows.arrays import NetcdfSink, NetcdfTable, ParquetTable, parquet_sink
from qexp.rows.csv import CsvSink, CsvTable
from qexp.rows.image_rows import ImageRows
from qexp.rows.table import Grid, Table, TableError

if TYPE_CHECKING:
    import pyarrow as pa

Matrix = NDArray[np.float32]

Columns = Mapping[str, str] | Sequence[int]
"""Feature → its column in the file, for features whose column has another name; or the positions of
the features' columns in the file, counted from 1, in the order of the features.
"""


def require_columns(columns: Columns, features: Sequence[str]) -> None:
    """Raise QexpError for names that are no features, too many positions, and columns twice."""
    if isinstance(columns, Mapping):
        for name, other in columns.items():
            if name not in features and other in features:
                raise QexpError(
                    f"`columns`: the run's column '{other}' stands before the file's '{name}':"
                    f" write {other}={name}"
                )
            if name not in features:
                raise QexpError(
                    f"`columns`: the run has no column '{name}'; {suggestion(name, features)}"
                )
        sources = [f"'{columns.get(name, name)}'" for name in features]
    else:
        if len(columns) != len(features):
            raise QexpError(
                f"`columns`: {len(columns)} positions, but the run has {len(features)} columns of"
                f" input: {', '.join(features)}; give the position of each, in this order"
            )
        for position in columns:
            if position < 1:
                raise QexpError(f"`columns`: there is no column {position}; the first one is 1")
        sources = [str(position) for position in columns]
    for source, count in Counter(sources).items():
        if count > 1:
            pairs = zip(features, sources, strict=True)
            both = " and ".join(f"'{name}'" for name, column in pairs if column == source)
            raise QexpError(f"`columns`: column {source} of the file is given to {both}")


# Rows in chunks: features as a matrix, and the columns that are kept beside them.


@dataclass(frozen=True)
class Chunk:
    """Some rows, in the order of the file."""

    features: Matrix
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
        self,
        table: Table,
        features: Sequence[str],
        kept: pa.Schema | None = None,
        number: pa.DataType | None = None,
    ) -> None:
        import pyarrow as pa

        self.path = table.path
        self.table = table
        self.features = list(features)
        table.require_numbers(features)
        others = table.others(features) if kept is None else kept.names
        table.require(name for name in dict.fromkeys(others) if name in table.names)
        self.kept: pa.Schema = table.types(others) if kept is None else kept
        self.grid = table.grid(features)
        self._types = dict.fromkeys(features, number or pa.float64())
        self._types |= zip(others, self.kept.types, strict=True)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All rows in order, about `size` at a time; of a grid, whole lines. Raises TableError."""
        for rows, done in self.table.pieces(self._types, size):
            matrix = feature_matrix([rows[name] for name in self.features])
            yield Chunk(matrix, rows.select(self.kept.names), done)


def in_equal_chunks(chunks: Iterator[Chunk], size: int) -> Iterator[Chunk]:
    """Rows in chunks of exactly `size`, except for the last."""
    waiting = []
    for chunk in chunks:
        waiting.append(chunk)
        while sum(len(each.features) for each in waiting) >= size:
            whole = _joined(waiting)
            yield Chunk(whole.features[:size], whole.kept.slice(0, size), whole.done)
            waiting = [Chunk(whole.features[size:], whole.kept.slice(size), whole.done)]
    if any(len(each.features) for each in waiting):
        yield _joined(waiting)


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    import pyarrow as pa

    features = np.concatenate([chunk.features for chunk in chunks])
    return Chunk(features, pa.concat_tables([chunk.kept for chunk in chunks]), chunks[-1].done)


def feature_matrix(columns: Sequence[Any]) -> Matrix:
    """Arrow columns of numbers, or one of vectors → (row, column), NaN for nulls, by column."""
    import pyarrow.types as types

    if len(columns) == 1 and types.is_fixed_size_list(columns[0].type):
        values = np.asarray(columns[0].combine_chunks().flatten().to_numpy())
        return values.reshape(len(columns[0]), -1)
    count = len(columns[0]) if columns else 0
    matrix = np.empty((count, len(columns)), dtype=np.float32, order="F")
    # numbers that are too large for single precision become infinite
    with np.errstate(over="ignore"):
        for index, column in enumerate(columns):
            values = column.to_numpy()
            # whole numbers are rounded twice, as where they were read for training
            matrix[:, index] = values.astype(float) if values.dtype.kind in "iu" else values
    return matrix


class Sink(Protocol):
    """A file to which rows are added."""

    def write(self, rows: pa.Table) -> None: ...


@dataclass(frozen=True)
class Format:
    table: Callable[[Path], Table]
    sink: Callable[[Path, Any, Grid | None, Mapping[str, str]], Any]


FORMATS: dict[str, Format] = {
    ".csv": Format(CsvTable, CsvSink),
    ".parquet": Format(ParquetTable, parquet_sink),
    ".nc": Format(NetcdfTable, NetcdfSink),
}


def format_of(path: Path, endings: Collection[str] = FORMATS.keys()) -> Format:
    """The format of a file by its suffix. Raises TableError for an unknown one."""
    ending = path.suffix.lower()
    if ending not in endings:
        raise TableError(f"{path}: a table must end in {', '.join(endings)}")
    return FORMATS[ending]


def files_of_rows(source: Path) -> list[Path]:
    """A file, or the files of rows in a folder, without its subfolders and what is hidden. Raises
    TableError for a file of another format, and a folder without any.
    """
    if not source.is_dir():
        format_of(source)
        return [source]
    tables = [path for path in source.iterdir() if path.suffix.lower() in FORMATS]
    seen = [path for path in tables if path.is_file() and not path.name.startswith(".")]
    if not seen:
        raise TableError(f"{source}: no file in it ends in {', '.join(FORMATS)}")
    return sorted(seen)


def open_table(
    path: Path,
    endings: Collection[str] = FORMATS.keys(),
    unnamed: Sequence[str] = (),
    positions: Sequence[int] | None = None,
) -> Table:
    """Open a file of rows. Raises NotFoundError, or TableError if it cannot be read.

    unnamed    features that a CSV file without a header contains, after an index
    positions  of these features in such a file, counted from 1, if other columns are between them
    """
    kind = format_of(path, endings)
    files.require_file(path)
    table = kind.table(path)
    if unnamed and isinstance(table, CsvTable):
        table.assume_names(unnamed, positions)
    return table


def open_rows(path: Path, features: Sequence[str], columns: Columns | None = None) -> Rows:
    """Open a file of rows with named columns, or a folder with a file for each row of a map. Raises
    NotFoundError, or TableError if it cannot be read.

    columns  names or positions of the features in the file, where they differ from the features'
             own names
    """
    columns = {} if columns is None else columns
    if isinstance(columns, Mapping):
        names = [columns.get(name, name) for name in features]
        table = _opened(path, names)
        try:
            return Rows(table, names)
        except TableError as error:
            lacking = [name for name in features if name not in {*columns, *table.names}]
            meant = {name: nearest(name, table.names) for name in lacking}
            if not meant or None in meant.values() or len(set(meant.values())) < len(meant):
                raise
            raise TableError(
                f"{error}\nif so, say it: `columns={ {**columns, **meant} }`"
            ) from None
    table = _opened(path, features, columns)
    greatest = max(columns)
    if greatest > len(table.names):
        raise TableError(f"{table.path} has {len(table.names)} columns, and no column {greatest}")
    return Rows(table, [table.names[position - 1] for position in columns])


def _opened(path: Path, unnamed: Sequence[str], positions: Sequence[int] | None = None) -> Table:
    """A file, or a folder with a file for each row of a map, as `open_table` opens them."""
    tables = [
        open_table(file, unnamed=unnamed, positions=positions) for file in files_of_rows(path)
    ]
    return ImageRows(path, tables) if path.is_dir() else tables[0]


@contextmanager
def new_file_of_rows(
    path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]
) -> Iterator[Sink]:
    """A new file to add rows to, which appears once it is complete, and not at all after an error.

    origin  run, digest and caution, written into the file if its format has a place for them
    """
    kind = format_of(path)
    with (
        files.writing(path),
        files.beside(path) as temporary,
        closing(kind.sink(temporary, schema, grid, origin)) as sink,
    ):
        yield sink

"""The formats of files of rows, by the suffix of their name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qexp import files
from qexp.errors import NotFoundError, QexpError
from qexp.rows.chunks import Rows
from qexp.rows.csv import CsvSink, CsvTable
from qexp.rows.naming import Columns, columns_at
from qexp.rows.netcdf import NetcdfSink, NetcdfTable
from qexp.rows.parquet import ParquetSink, ParquetTable
from qexp.rows.table import Grid, Table
from qexp.rows.values import TableError

if TYPE_CHECKING:
    import pyarrow as pa


class Sink(Protocol):
    """A file to which rows are added."""

    def write(self, rows: pa.Table) -> None: ...


@dataclass(frozen=True)
class Format:
    table: Callable[[Path], Table]
    sink: Callable[[Path, Any, Grid | None, Mapping[str, str]], Any]


FORMATS: dict[str, Format] = {
    ".csv": Format(CsvTable, CsvSink),
    ".parquet": Format(ParquetTable, ParquetSink),
    ".nc": Format(NetcdfTable, NetcdfSink),
}


def format_of(path: Path, endings: Collection[str] = FORMATS.keys()) -> Format:
    """The format of a file by its suffix. Raises TableError for an unknown one."""
    ending = path.suffix.lower()
    if ending not in endings:
        raise TableError(f"{path}: a table must end in {', '.join(endings)}")
    return FORMATS[ending]


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
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    table = kind.table(path)
    if unnamed and isinstance(table, CsvTable):
        table.assume_names(unnamed, positions)
    return table


def open_rows(path: Path, features: Sequence[str], columns: Columns | None = None) -> Rows:
    """Open a file of rows with named columns. Raises NotFoundError, or TableError if it cannot be read.

    columns  names or positions of the features in the file, where they differ from the features' own names
    """
    if columns is None:
        return Rows(open_table(path, unnamed=features), features)
    if isinstance(columns, Mapping):
        named = [columns.get(name, name) for name in features]
        return Rows(open_table(path, unnamed=named), named)
    table = open_table(path, unnamed=features, positions=columns)
    return Rows(table, columns_at(table, columns))


@contextmanager
def new_file_of_rows(path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]) -> Iterator[Sink]:
    """A new file to add rows to, which appears once it is complete, and not at all after an error.

    origin  run, digest and caution, written into the file if its format has a place for them
    """
    kind = format_of(path)
    try:
        with files.beside(path) as temporary, kind.sink(temporary, schema, grid, origin) as sink:
            yield sink
    except OSError as error:
        raise QexpError(f"cannot write {path}: {error.strerror or error}") from error

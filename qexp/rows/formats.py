"""The formats of files of rows, by the ending of their name."""

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
from qexp.rows.netcdf import NetcdfSink, NetcdfTable
from qexp.rows.parquet import ParquetSink, ParquetTable
from qexp.rows.table import Grid, Table
from qexp.rows.values import TableError

if TYPE_CHECKING:
    import pyarrow as pa


class Sink(Protocol):
    """A file that rows are added to."""

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
    """Raises TableError for a name that ends otherwise than it may."""
    ending = path.suffix.lower()
    if ending not in endings:
        raise TableError(f"{path}: a table must end in {', '.join(endings)}")
    return FORMATS[ending]


def open_table(path: Path, endings: Collection[str] = FORMATS.keys(), unnamed: Sequence[str] = ()) -> Table:
    """A file of rows. Raises NotFoundError, or TableError for what cannot be read.

    unnamed  features that a CSV file without a line of names has, after an index
    """
    kind = format_of(path, endings)
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    table = kind.table(path)
    if unnamed and isinstance(table, CsvTable):
        table.assume_names(unnamed)
    return table


def open_rows(path: Path, features: Sequence[str]) -> Rows:
    """A file whose features are found by their names. Raises NotFoundError, or TableError for what cannot be read."""
    return Rows(open_table(path, unnamed=features), features)


@contextmanager
def new_file_of_rows(path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]) -> Iterator[Sink]:
    """A file to add rows to; it is there when all went well, and otherwise not at all.

    origin  what a file says of where it comes from, where its kind has room for it
    """
    kind = format_of(path)
    try:
        with files.beside(path) as temporary, kind.sink(temporary, schema, grid, origin) as sink:
            yield sink
    except OSError as error:
        raise QexpError(f"cannot write {path}: {error.strerror or error}") from error

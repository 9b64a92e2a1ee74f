"""The kinds of files that rows are read from and written to, by the ending of their name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qexp import files
from qexp.errors import NotFoundError, QexpError
from qexp.rows.chunks import Grid, Rows
from qexp.rows.csv import CsvRows, CsvSink
from qexp.rows.netcdf import NetcdfRows, NetcdfSink
from qexp.rows.parquet import ParquetRows, ParquetSink

if TYPE_CHECKING:
    import pyarrow as pa


class Sink(Protocol):
    """A file that rows are added to."""

    def write(self, rows: pa.Table) -> None: ...


@dataclass(frozen=True)
class Format:
    rows: Callable[[Path, Sequence[str]], Rows]
    sink: Callable[[Path, Any, Grid | None, Mapping[str, str]], Any]


FORMATS: dict[str, Format] = {
    ".csv": Format(CsvRows, CsvSink),
    ".parquet": Format(ParquetRows, ParquetSink),
    ".nc": Format(NetcdfRows, NetcdfSink),
}


def format_of(path: Path) -> Format:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise QexpError(f"{path}: a file of rows must end in {', '.join(FORMATS)}") from None


def open_rows(path: Path, features: Sequence[str]) -> Rows:
    """A file whose columns are found by the names of the features. Raises QexpError for what cannot be read."""
    kind = format_of(path)
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    try:
        return kind.rows(path, features)
    except OSError as error:
        raise QexpError(f"cannot read {path}: {error.strerror or error}") from error


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

"""Spectra in one table, a row for each: CSV, Parquet or NetCDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.datasets.array_cache import Array, content_hash
from qexp.datasets.spectra.counts import trouble_with
from qexp.datasets.spectra.rows import BLOCK, PARTS, TRAIN, Findings, Rows, number
from qexp.datasets.table_files import TableError, TableFile
from qexp.errors import DatasetError
from qexp.rows.chunks import feature_matrix
from qexp.tables import suggestion

if TYPE_CHECKING:
    import xarray

KINDS = (".csv", ".parquet", ".nc")

NAMES = ("filename", "name")
"""Columns that may say what a spectrum is called; without one it is called by its number, counted from 1."""

PART = "part"

BYTES_AT_ONCE = 8 * 2**20
"""Of a CSV file."""


class SpectrumTable:
    """The spectra of a table.

    target   column of the target, if any
    columns  what the columns of counts are called before their number from 0, or the variable of a NetCDF file
    """

    def __init__(self, path: Path, target: str | None, channels: int, columns: str) -> None:
        self.path, self.listed = path, path.name
        self._target, self._channels, self._columns = target, channels, columns
        self._table: NetcdfTable | ArrowTable = (NetcdfTable if path.suffix.lower() == ".nc" else ArrowTable)(path)

    def state(self) -> list[Any]:
        return [content_hash(self.path), self._target, self._channels, self._columns]

    def rows(self) -> Rows:
        findings = Findings()
        try:
            names = self._table.names()
            of_counts = self._of_counts(names, findings)
            if self._target is not None and self._target not in names:
                near = suggestion(self._target, set(names) - set(of_counts))
                findings.add(f"{self.path} has no column '{self._target}'; {near}", where=("target",))
            findings.refuse()
            columns = self._table.texts(sorted(set(names) - set(of_counts), key=names.index), of_counts)
        except TableError as error:
            raise DatasetError([(("path",), str(error))]) from error
        size = self._table.size(of_counts)
        if size == 0:
            findings.add(f"{self.path} has no rows")
        parts = columns.pop(PART, [TRAIN] * size)
        for row, part in enumerate(parts):
            if part not in PARTS:
                kind = f"{self.path}, column '{PART}', has other words than {', '.join(PARTS)}"
                findings.add(kind, f"'{part}' of spectrum {row + 1}")
        called = next((name for name in NAMES if name in columns), None)
        targets = None if self._target is None else self._numbers(columns.pop(self._target), findings)
        findings.refuse()
        return Rows(columns.pop(called) if called else [str(row + 1) for row in range(size)], parts, columns, targets)

    def counts(self, rows: Rows) -> Iterator[Array]:
        findings, start = Findings(), 0
        try:
            for block in self._table.blocks(self._of_counts(self._table.names(), findings)):
                for row, counts in enumerate(block):
                    if trouble := trouble_with(counts):
                        findings.add(
                            f"{self.path} has spectra whose counts are none", f"spectrum {start + row + 1} ({trouble})"
                        )
                start += len(block)
                yield block
        except TableError as error:
            raise DatasetError([(("path",), str(error))]) from error
        findings.refuse()

    def _of_counts(self, names: Sequence[str], findings: Findings) -> list[str]:
        """The columns of counts in their order, or the one variable that has them all."""
        if isinstance(self._table, NetcdfTable) and self._columns in names:
            width = self._table.width(self._columns)
            if width != self._channels:
                what = f"'{self._columns}' has {width} counts in a row, not {self._channels}"
                findings.add(f"{self.path}: {what}", where=("channels",))
            return [self._columns]
        numbered = re.compile(re.escape(self._columns) + r"(\d+)")
        found = {int(match[1]): name for name in names if (match := numbered.fullmatch(name))}
        if sorted(found) != list(range(self._channels)):
            what = f"{len(found)} columns {self._columns}0, {self._columns}1, … of counts, not {self._channels}"
            missing = next((index for index in range(self._channels) if index not in found), None)
            first = "" if missing is None else f"; the first that is missing is {self._columns}{missing}"
            findings.add(f"{self.path} has {what}{first}", where=("channels",) if found else ("columns",))
        return [found[index] for index in sorted(found)]

    def _numbers(self, texts: Sequence[str], findings: Findings) -> list[float]:
        found = []
        for row, text in enumerate(texts):
            value = number(text)
            if value is None or not np.isfinite(value):
                kind = f"{self.path}, column '{self._target}', has cells that are no finite number"
                findings.add(kind, f"'{text[:20]}' of spectrum {row + 1}", ("target",))
            found.append(float("nan") if value is None else value)
        return found


class ArrowTable:
    """CSV or Parquet. Raises TableError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        self._file = TableFile(self._path)
        return self._file.names

    def texts(self, names: Sequence[str], of_counts: Sequence[str]) -> dict[str, list[str]]:
        return {name: column.tolist() for name, column in self._file.read([], names)[1].items()}

    def size(self, of_counts: Sequence[str]) -> int:
        return len(self._file.read([of_counts[0]], [])[0][of_counts[0]])

    def blocks(self, of_counts: Sequence[str]) -> Iterator[Array]:
        import pyarrow

        read = self._csv if self._path.suffix.lower() == ".csv" else self._parquet
        try:
            for batch in read(list(of_counts)):
                for start in range(0, batch.num_rows, BLOCK):
                    yield feature_matrix(batch.slice(start, BLOCK).columns)
        except pyarrow.ArrowException as error:
            self._file.read(of_counts, [])  # slowly, so that it can name the cell
            raise TableError(f"{self._path} cannot be read: {error}") from error

    def _csv(self, of_counts: list[str]) -> Iterator[Any]:
        import pyarrow
        from pyarrow import csv

        options = csv.ConvertOptions(
            column_types=dict.fromkeys(of_counts, pyarrow.float32()), include_columns=of_counts
        )
        with csv.open_csv(
            self._path,
            read_options=csv.ReadOptions(block_size=BYTES_AT_ONCE),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        ) as reader:
            yield from reader

    def _parquet(self, of_counts: list[str]) -> Iterator[Any]:
        from pyarrow import parquet

        yield from parquet.ParquetFile(self._path).iter_batches(batch_size=BLOCK, columns=of_counts)


class NetcdfTable:
    """NetCDF, with a variable of counts over two dimensions, or many over one. Raises TableError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        import xarray

        try:
            self._data: xarray.Dataset = xarray.open_dataset(self._path, decode_times=False, cache=False)
        except (OSError, ValueError) as error:
            raise TableError(f"{self._path} cannot be read as NetCDF: {error}") from error
        return [str(name) for name in self._data.variables]

    def width(self, name: str) -> int:
        """Counts in a row of a variable over two dimensions."""
        if self._data[name].ndim != 2:
            raise TableError(f"{self._path}: '{name}' lies along {self._data[name].ndim} dimensions, not two")
        return int(self._data[name].shape[1])

    def texts(self, names: Sequence[str], of_counts: Sequence[str]) -> dict[str, list[str]]:
        """Of all variables with a value for every row."""
        along = self._data[of_counts[0]].dims[:1]
        return {
            name: [_text(value) for value in self._data[name].values.tolist()]
            for name in names
            if self._data[name].dims == along
        }

    def size(self, of_counts: Sequence[str]) -> int:
        return int(self._data[of_counts[0]].shape[0])

    def blocks(self, of_counts: Sequence[str]) -> Iterator[Array]:
        along = self._data[of_counts[0]].dims[0]
        for start in range(0, self.size(of_counts), BLOCK):
            piece = self._data[list(of_counts)].isel({along: slice(start, start + BLOCK)})
            values = [np.asarray(piece[name].values, dtype=np.float32) for name in of_counts]
            yield values[0] if len(of_counts) == 1 and values[0].ndim == 2 else np.stack(values, axis=1)


def _text(value: Any) -> str:
    return (value.decode() if isinstance(value, bytes) else str(value)).strip()

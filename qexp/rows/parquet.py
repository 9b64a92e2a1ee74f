"""Parquet: read and written in batches of any size, independent of row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qexp.rows.table import Grid, Piece, Table, Types
from qexp.rows.values import TableError

if TYPE_CHECKING:
    import pyarrow as pa

BUFFER = 1 << 20
"""Bytes of a column read at a time; without this limit a whole row group is in memory."""


class ParquetTable(Table):
    """A Parquet file; its first row is row 1."""

    def _open(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        try:
            self._file = pyarrow.parquet.ParquetFile(self.path, buffer_size=BUFFER, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise TableError(f"{self.path} cannot be read as Parquet: {error}") from None
        self._schema = self._file.schema_arrow
        self.names = self._schema.names
        self.units = {
            field.name: field.metadata[b"unit"].decode()
            for field in self._schema
            if field.metadata and b"unit" in field.metadata
        }

    def no_numbers(self, names: Sequence[str]) -> str | None:
        import pyarrow.types as types

        for name in names:
            kind = self._schema.field(name).type
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
                return f"{self.path}: column '{name}': its type is {kind}; save it as numbers"
        return None

    def types(self, names: Sequence[str]) -> pa.Schema:
        """The types of the file; categories become their values, which every format can store."""
        import pyarrow as pa

        kinds = [self._schema.field(name).type for name in names]
        plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
        return pa.schema(list(zip(names, plain, strict=True)))

    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        import pyarrow as pa

        total, read = self._file.metadata.num_rows, 0
        for batch in self._file.iter_batches(size, columns=list(types)):
            read += batch.num_rows
            columns = [_as(batch[name], kind) for name, kind in types.items()]
            yield pa.table(columns, names=list(types)), read / total


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow.types as types

    if types.is_floating(kind) and types.is_decimal(column.type):
        return column.cast("float64")  # Arrow would round it twice when converting to single precision
    if types.is_floating(kind) and (types.is_integer(column.type) or types.is_floating(column.type)):
        return column
    column = column.cast(kind, safe=False)
    if types.is_string(kind):
        column.validate(full=True)  # fails unless it is UTF-8
    return column


class ParquetSink:
    """Writes rows as Parquet, with units in the columns' metadata and the origin in the file's."""

    def __init__(self, path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]) -> None:
        import pyarrow.parquet

        self._writer = pyarrow.parquet.ParquetWriter(str(path), schema.with_metadata(dict(origin)))

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._writer.close()

"""Parquet: read and written in batches, whatever the size of its row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qexp.errors import QexpError
from qexp.rows.chunks import Chunk, Grid, feature_matrix, require_columns

if TYPE_CHECKING:
    import pyarrow as pa

BUFFER = 1 << 20
"""Bytes of a column read at a time; without it a whole row group lies in memory."""


class ParquetRows:
    grid: Grid | None = None

    def __init__(self, path: Path, features: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet
        import pyarrow.types

        self.path, self.features = path, list(features)
        if path.stat().st_size == 0:
            raise QexpError(f"{path}: the file is empty")
        try:
            self._file = pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise QexpError(f"{path}: cannot be read as Parquet: {error}") from error
        schema = self._file.schema_arrow
        require_columns(path, schema.names, features)
        for name in features:
            kind = schema.field(name).type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
                raise QexpError(f"{path}, column '{name}': {kind}, but a feature must be a number")
        self.kept = pa.schema(
            [(name, _plain(schema.field(name).type)) for name in schema.names if name not in features]
        )
        self.units: Mapping[str, str] = {
            field.name: field.metadata[b"unit"].decode()
            for field in schema
            if field.metadata and b"unit" in field.metadata
        }

    def chunks(self, size: int) -> Iterator[Chunk]:
        import pyarrow as pa

        total, read = self._file.metadata.num_rows, 0
        try:
            for batch in self._file.iter_batches(size):
                rows = pa.Table.from_batches([batch])
                read += rows.num_rows
                features = feature_matrix([rows[name].cast(pa.float32(), safe=False) for name in self.features])
                yield Chunk(features, rows.select(self.kept.names).cast(self.kept), read / total)
        except (pa.ArrowInvalid, OSError) as error:
            raise QexpError(f"{self.path}: cannot be read further than row {read}: {error}") from error


class ParquetSink:
    """Rows as Parquet; units stand in the columns' metadata, the origin in the file's."""

    def __init__(self, path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]) -> None:
        import pyarrow.parquet

        self._writer = pyarrow.parquet.ParquetWriter(str(path), schema.with_metadata(dict(origin)))

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._writer.close()


def _plain(kind: pa.DataType) -> pa.DataType:
    """Categories become what they stand for, which every kind of file can hold."""
    import pyarrow.types as types

    return kind.value_type if types.is_dictionary(kind) else kind

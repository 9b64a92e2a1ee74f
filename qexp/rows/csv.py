"""CSV: read in blocks, with the row and column of what is wrong; written as it comes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qexp.errors import QexpError
from qexp.rows.chunks import Chunk, Grid, feature_matrix, require_columns

if TYPE_CHECKING:
    import pyarrow as pa

FIRST = 1 << 18
"""Bytes from which the types of the columns are told."""
NOTHING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "null", "NULL")
"""What is read as a missing number."""
SMALLEST, LARGEST = 1 << 18, 1 << 23
"""Bytes of a block."""
INDEX = "index"
"""The name of a first column that has none."""


class CsvRows:
    """A CSV file with a line of names; or, as DL-IM writes its pixels, without one: an index, then the features."""

    units: Mapping[str, str] = {}
    grid: Grid | None = None

    def __init__(self, path: Path, features: Sequence[str]) -> None:
        self.path, self.features = path, list(features)
        with path.open("rb") as file:
            head = file.read(FIRST)
        self.size = path.stat().st_size
        if not head.strip():
            raise QexpError(f"{path}: the file is empty")
        first = _first_line(head)
        self.headless = all(map(_is_number, first)) and not set(features) <= set(first)
        if self.headless:
            if len(first) != 1 + len(features):
                raise QexpError(
                    f"{path}: {len(first)} columns without names; without a line of names there must be "
                    f"{1 + len(features)}: an index, then {', '.join(features)}"
                )
            self.names = [INDEX, *features]
        else:
            self.names = [INDEX if index == 0 and not name.strip() else name for index, name in enumerate(first)]
            if len(first) == 1 and len(features) > 1 and any(mark in first[0] for mark in ";\t"):
                mark = "semicolons" if ";" in first[0] else "tabs"
                raise QexpError(f"{path}: columns must be separated by commas; these seem to be separated by {mark}")
            require_columns(path, self.names, features)
        self._row_bytes = max(len(head) / max(head.count(b"\n"), 1), 1.0)
        self.kept = self._kept_schema(head)

    def _kept_schema(self, head: bytes) -> pa.Schema:
        """Whole numbers, numbers, or text, as the first rows are; text whenever a number would be written otherwise."""
        import io

        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.csv

        others = [name for name in self.names if name not in self.features]
        if len(head) == FIRST:
            head = head[: head.rfind(b"\n") + 1] or head
        if not others:
            return pa.schema([])
        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(others, pa.string()), include_columns=others)
        try:
            table = pyarrow.csv.read_csv(io.BytesIO(head), self._read_options(len(head) + 1), convert_options=texts)
        except pa.ArrowInvalid as error:
            raise self._explained(error) from error
        fields = []
        for name, column in zip(others, table.columns, strict=True):
            said = column.filter(pc.invert(pc.is_in(column, pa.array(NOTHING))))
            fields.append(pa.field(name, _type_of(said)))
        return pa.schema(fields)

    def _read_options(self, block: int) -> pa.csv.ReadOptions:
        import pyarrow.csv

        return pyarrow.csv.ReadOptions(
            block_size=block, column_names=self.names, skip_rows=0 if self.headless else 1, use_threads=False
        )

    def chunks(self, size: int) -> Iterator[Chunk]:
        import pyarrow as pa
        import pyarrow.csv

        types = {
            **dict.fromkeys(self.features, pa.float32()),
            **dict(zip(self.kept.names, self.kept.types, strict=True)),
        }
        options = pyarrow.csv.ConvertOptions(column_types=types, null_values=list(NOTHING))
        block = int(min(max(size * self._row_bytes, SMALLEST), LARGEST))
        try:
            with pa.OSFile(str(self.path)) as file:
                reader = pyarrow.csv.open_csv(file, self._read_options(block), convert_options=options)
                for batch in reader:
                    done = min(file.tell() / self.size, 1.0)
                    for start in range(0, batch.num_rows, size):
                        rows = pa.Table.from_batches([batch.slice(start, size)])
                        features = feature_matrix([rows[name] for name in self.features])
                        yield Chunk(features, rows.select(self.kept.names), done)
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):  # names and no row
                return
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> QexpError:
        """What is wrong, with row and column, which the fast reader does not tell: the rows are read once more."""
        numbers = {*self.features}
        if hasattr(self, "kept"):
            import pyarrow as pa

            numbers |= {field.name for field in self.kept if field.type != pa.string()}
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if not row or (reader.line_num == 1 and not self.headless):
                    continue
                where = f"{self.path}: row {reader.line_num}"
                if len(row) != len(self.names):
                    return QexpError(f"{where}: {len(row)} columns, but {len(self.names)} are expected")
                for name, text in zip(self.names, row, strict=True):
                    if name in numbers and text.strip() not in NOTHING and not _is_number(text):
                        return QexpError(f"{where}, column '{name}': '{text}' is not a number")
        return QexpError(f"{self.path}: {error}")


class CsvSink:
    """Rows as CSV, names first, the shortest digits that give the same number back."""

    def __init__(self, path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.csv

        plain = not any(mark in name for name in schema.names for mark in ',"\r\n')
        options = pyarrow.csv.WriteOptions(quoting_header="none" if plain else "needed")
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pyarrow.csv.CSVWriter(self._file, schema, write_options=options)

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._writer.close()
        self._file.close()


def _first_line(head: bytes) -> list[str]:
    text = head.decode("utf-8-sig", errors="replace")
    return next((row for row in csv.reader(text.splitlines()) if row), [])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _type_of(texts: pa.ChunkedArray) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(texts):
        return pa.string()
    try:
        whole = texts.cast(pa.int64())
        return pa.int64() if pc.all(pc.equal(whole.cast(pa.string()), texts)).as_py() else pa.string()
    except pa.ArrowInvalid:
        pass
    try:
        texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return pa.string()
    return pa.float64()

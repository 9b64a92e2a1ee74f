"""CSV"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TextIO

from qexp.rows.table import (
    MISSING,
    SHOWN,
    Grid,
    Piece,
    Table,
    TableError,
    Types,
    as_number,
    as_text,
    as_whole_number,
    explained,
    is_number,
)

if TYPE_CHECKING:
    import pyarrow as pa

SMALLEST, LARGEST = 1 << 18, 1 << 23
"""Bytes that Arrow reads at a time."""
FIRST = 1 << 15
"""Rows from which the types of kept columns are inferred."""
CELLS = 1 << 20
"""Largest number of cells in memory when they are read one by one."""
INDEX = "index"
"""The name of a first column without a name."""
LAST = "\0"
"""Name of the last column, which is always read: it shows whether the file ends within quotation marks."""
SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""Separators that are refused, by name."""
WORDS = {
    "unexpected end of data": "a quotation mark is opened here and never closed",
    "',' expected after '\"'": "text follows a closing quotation mark; is an earlier one not closed?",
    f"field larger than field limit ({csv.field_size_limit()})": (
        f"a cell has more than {csv.field_size_limit():,} characters; is a quotation mark not closed?"
    ),
}
"""Error of Python's reader → a clearer message."""


class CsvTable(Table):
    """A CSV file with a header, or, if the features are known, without one, as DL-IM writes its pixels."""

    def _open(self) -> None:
        with _text(self.path) as file:
            line, self.names = next(records(file, self.path), (0, []))
        if not self.names:
            raise TableError(f"{self.path} has only blank lines")
        joined = "".join(self.names)
        joined.encode()  # raises UnicodeError for bytes that are not UTF-8
        for character, word in SEPARATORS.items():
            if character in joined and len(self.names) <= joined.count(character):
                raise TableError(
                    f"the columns of {self.path} are separated by {word}; save it with commas, and with points in its "
                    "numbers"
                )
        self._lines_of_names, self._records_of_names = line, 1

    def assume_names(self, features: Sequence[str], positions: Sequence[int] | None = None) -> None:
        """Name the index column, and the features if there is no header.

        positions  of the features, counted from 1, if other columns are between them
        """
        if all(map(is_number, self.names)) and not set(features) <= set(self.names):
            if positions is not None:
                named = dict(zip(positions, features, strict=True))
                self.names = [named.get(number, f"column {number}") for number in range(1, 1 + len(self.names))]
            elif len(self.names) != 1 + len(features):
                shown = ", ".join(features[:20]) + (", …" if len(features) > 20 else "")
                raise TableError(
                    f"{self.path}: {len(self.names)} columns without names; without a header there must be "
                    f"{1 + len(features)}: an index, then {shown}"
                )
            else:
                self.names = [INDEX, *features]
            self._lines_of_names = self._records_of_names = 0
        elif not self.names[0].strip():
            self.names[0] = INDEX

    def row_numbers(self, found: Sequence[int]) -> list[int]:
        """Row numbers as in an editor: the header is row 1; a record with line breaks has its last line's number."""
        wanted = dict.fromkeys(found, 0)
        last = max(found, default=-1)
        with _text(self.path) as file:
            rows = islice(
                records(file, self.path, strict=False), self._records_of_names, self._records_of_names + last + 1
            )
            for record, (row, _) in enumerate(rows):
                if record in wanted:
                    wanted[record] = row
        return [wanted[record] for record in found]

    def types(self, names: Sequence[str]) -> pa.Schema:
        """Whole numbers, numbers or text, inferred from the first rows; text if rewriting changes a number."""
        import pyarrow as pa

        if not names:
            return pa.schema([])
        rows, _ = next(self.pieces(dict.fromkeys(names, pa.string()), FIRST))
        return pa.schema([(name, _type_of(rows[name])) for name in names])

    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        import pyarrow as pa

        rows = 0
        try:
            for piece, done in self._in_blocks(types, size):
                rows += piece.num_rows
                yield piece, done
        except pa.ArrowInvalid:
            yield from self._cell_by_cell(types, size, rows)

    def _in_blocks(self, types: Types, size: int) -> Iterator[Piece]:
        """Read with Arrow, which is fast. Raises ArrowInvalid if it cannot read the file."""
        import pyarrow as pa
        from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

        whole, end = self.path.stat().st_size, None
        last = self.names[-1] if self.names[-1] in types else LAST
        asked = {last: pa.binary(), **types}
        with self.path.open("rb", buffering=0) as file:
            reader = open_csv(
                file,
                ReadOptions(
                    block_size=int(min(max(size * _bytes_per_row(file), SMALLEST), LARGEST)),
                    column_names=[*self.names[:-1], last],
                    skip_rows=self._lines_of_names,
                    use_threads=False,
                ),
                ParseOptions(newlines_in_values=True),
                ConvertOptions(column_types=asked, include_columns=list(asked), null_values=list(MISSING)),
            )
            for batch in reader:
                end = batch[last][-1].as_py() if batch.num_rows else end
                done = min(file.tell() / whole, 1.0)
                for start in range(0, batch.num_rows, size):
                    yield pa.Table.from_batches([batch.slice(start, size)]).select(list(types)), done
        end = end.encode() if isinstance(end, str) else end
        if isinstance(end, bytes) and (b"\n" in end or b"\r" in end):
            self._require_closed_quotes()

    def _require_closed_quotes(self) -> None:
        """Raises TableError if the file ends within quotation marks; Arrow reads all rows after the mark as a cell."""
        end, last = "end", [""]
        before = row = 0
        with _text(self.path) as file:
            for line, cells in records(file, self.path, strict=False, more=["\n", end]):
                before, row, last = row, line, cells
        if last != [end]:
            raise TableError(f"{self.path}: row {before + 1}: {WORDS['unexpected end of data']}")

    def _cell_by_cell(self, types: Types, size: int, read: int) -> Iterator[Piece]:
        """Read with Python, which is slow but knows row and column of every cell; skips rows that were read already."""
        import pyarrow as pa

        whole = max(self.path.stat().st_size, 1)
        with _text(self.path) as file:
            rows = islice(records(file, self.path), self._records_of_names + read, None)
            while some := list(islice(rows, min(size, max(CELLS // len(self.names), 1)))):
                wrong = [(row, self._ragged(len(cells))) for row, cells in some if len(cells) != len(self.names)]
                some = [(row, cells) for row, cells in some if len(cells) == len(self.names)]
                columns = [self._column(some, name, kind, wrong) for name, kind in types.items()]
                if wrong:
                    said = "; ".join(f"row {row}{what}" for row, what in sorted(wrong)[:SHOWN])
                    raise TableError(f"{self.path}: {said}" + ("; and more" if len(wrong) > SHOWN else ""))
                yield pa.table(columns, names=list(types)), min(file.buffer.tell() / whole, 1.0)

    def _ragged(self, count: int) -> str:
        quote = "; quote texts with commas" if count > len(self.names) else ""
        return f": {count} cells, but there are {len(self.names)} columns{quote}"

    def _column(
        self, rows: Sequence[tuple[int, list[str]]], name: str, kind: pa.DataType, wrong: list[tuple[int, str]]
    ) -> pa.Array:
        """The cells of a column; problems are added to `wrong`."""
        import pyarrow as pa

        read_as, convert = _conversion(kind)
        place, values = self.names.index(name), []
        for row, cells in rows:
            try:
                values.append(convert(cells[place]))
            except ValueError as error:
                shown = cells[place][:40].encode(errors="replace").decode()
                wrong.append((row, f", column '{name}': '{shown}' {error}"))
        return pa.array(values, read_as).cast(kind, safe=False)


def read_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Row number and cells of all lines that are not blank. Raises TableError."""
    with explained(path), path.open(encoding="utf-8-sig", newline="") as file:
        yield from records(file, path)


def records(file: TextIO, path: Path, strict: bool = True, more: Iterable[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """Row number and cells of all lines that are not blank; the number is that of a record's last line.

    strict  refuse text after a closing quotation mark, and a mark that is not closed
    more    lines to read after those of the file
    Raises TableError.
    """
    reader, row = csv.reader(chain(_lines(file, path), more), strict=strict), 0
    try:
        for cells in reader:
            row = reader.line_num
            if cells:
                yield row, cells
    except csv.Error as error:
        raise TableError(f"{path}: row {row + 1}: {WORDS.get(str(error), error)}") from None


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file. Raises TableError for lines so long that they would fill the memory."""
    row = 0
    while line := file.readline(LARGEST):
        row += 1
        if len(line) == LARGEST and line[-1] not in "\r\n":
            raise TableError(f"{path}: row {row}: more than {LARGEST:,} characters in a line")
        yield line


def _bytes_per_row(file: IO[bytes]) -> float:
    """The approximate number of rows, from the beginning of a file."""
    head = file.read(SMALLEST)
    file.seek(0)
    return len(head) / max(head.count(b"\n"), 1)


def _text(path: Path) -> TextIO:
    """A file opened as text; bytes that are not UTF-8 are an error only in columns that are read."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _conversion(kind: pa.DataType) -> tuple[pa.DataType, Callable[[str], Any]]:
    """The type of Python values before conversion to Arrow, and the function that converts a cell."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return pa.float64(), as_number
    return (pa.int64(), as_whole_number) if pa.types.is_integer(kind) else (pa.string(), as_text)


def _type_of(column: pa.ChunkedArray) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = column.filter(pc.invert(pc.is_in(column, pa.array(MISSING))))
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


class CsvSink:
    """Writes rows as CSV with a header; numbers with the fewest digits that restore the same value."""

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

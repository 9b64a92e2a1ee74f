"""CSV"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from qexp.base.quantities import with_unit
from qexp.rows.table import (
    MISSING,
    Grid,
    Piece,
    Table,
    TableError,
    Types,
    as_number,
    explained,
    is_number,
)

if TYPE_CHECKING:
    import pyarrow as pa

SMALLEST_BLOCK, LARGEST_BLOCK = 1 << 18, 1 << 23
"""Bytes that Arrow reads at a time."""
FIRST_ROWS = 1 << 15
"""Rows from which the types of kept columns are inferred."""
INDEX = "index"
"""The name of a first column without a name."""
LAST = "\0"
"""Name of the last column, always read: it shows whether the file ends within a quotation."""
SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""Separators that are refused, by name."""
WORDS = {
    "unexpected end of data": "a quotation mark is opened here and never closed",
    "',' expected after '\"'": (
        "text follows a closing quotation mark; is an earlier one not closed?"
    ),
    f"field larger than field limit ({csv.field_size_limit()})": (
        f"a cell has more than {csv.field_size_limit():,} characters; is a quotation mark not"
        " closed?"
    ),
}
"""Error of Python's reader → a clearer message."""
SPACES = ("", " ", "  ")
NULLS = [f"{first}{word}{last}" for word in MISSING for first in SPACES for last in SPACES]
NULLS += [" " * width for width in range(5, 40)]
"""Cells without a number: Arrow compares them with their spaces."""
PROBLEM = re.compile(
    r"In CSV column #(?P<column>\d+): Row #(?P<row>\d+): CSV conversion error to \w+: "
    r"invalid (?:value '(?P<value>.*)'|UTF8 data)"
    r"|Row #(?P<ragged>\d+): Expected \d+ columns, got (?P<count>\d+)",
    re.DOTALL,
)
"""Errors of Arrow's reader."""


class CsvTable(Table):
    """A CSV file with a header, or with known features without one, as DL-IM writes its pixels."""

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
                    f"the columns of {self.path} are separated by {word}; save it with commas, and"
                    " with points in its numbers"
                )
        self._lines_of_names = line
        self._records_of_names = 1

    def assume_names(self, features: Sequence[str], positions: Sequence[int] | None = None) -> None:
        """Name the index column, and the features if there is no header.

        positions  of the features, counted from 1, if other columns are between them
        """
        if all(map(is_number, self.names)) and not set(features) <= set(self.names):
            if positions is not None:
                self.names = [f"column {number}" for number in range(1, 1 + len(self.names))]
                for position, feature in zip(positions, features, strict=True):
                    if 0 < position <= len(self.names):
                        self.names[position - 1] = feature
            elif len(self.names) != 1 + len(features):
                expected = ", ".join(features[:20]) + (", …" if len(features) > 20 else "")
                raise TableError(
                    f"{self.path}: {len(self.names)} columns without names; without a header there"
                    f" must be {1 + len(features)}: an index, then {expected}"
                )
            else:
                self.names = [INDEX, *features]
            self._lines_of_names = self._records_of_names = 0
        elif not self.names[0].strip():
            self.names[0] = INDEX

    def trouble_with(self, name: str) -> str | None:
        if name not in self.names and all(map(is_number, self.names)):
            return (
                f"{self.path} has no column '{name}': its first line has numbers and no names;"
                " write the names of the columns above it"
            )
        return super().trouble_with(name)

    def row_numbers(self, numbers: Sequence[int]) -> list[int]:
        """Row numbers as in an editor: the header is 1; a record of several lines has its last."""
        row_of = dict.fromkeys(numbers, 0)
        first = self._records_of_names
        end = first + max(numbers, default=-1) + 1
        with _text(self.path) as file:
            rows = islice(records(file, self.path, strict=False), first, end)
            row_of |= {record: row for record, (row, _) in enumerate(rows) if record in row_of}
        return [row_of[record] for record in numbers]

    def types(self, names: Sequence[str]) -> pa.Schema:
        """Whole numbers, numbers or text, by the first rows; text if rewriting changes a number."""
        import pyarrow as pa

        if not names:
            return pa.schema([])
        rows, _ = next(self.pieces(dict.fromkeys(names, pa.string()), FIRST_ROWS))
        return pa.schema([(name, _type_of(rows[name])) for name in names])

    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        import pyarrow as pa
        from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

        total = self.path.stat().st_size
        end = None
        last = self.names[-1] if self.names[-1] in types else LAST
        columns = {last: pa.binary(), **types}
        try:
            # Arrow's own file: its thread reads ahead, also when Python ends, and a file of
            # Python's would need Python.
            with pa.OSFile(str(self.path)) as file:
                head = file.read(SMALLEST_BLOCK)
                file.seek(0)
                bytes_per_row = len(head) / max(head.count(b"\n"), 1)
                block_size = int(min(max(size * bytes_per_row, SMALLEST_BLOCK), LARGEST_BLOCK))
                reading = ReadOptions(
                    block_size=block_size,
                    column_names=[*self.names[:-1], last],
                    skip_rows=self._lines_of_names,
                    use_threads=False,
                )
                conversion = ConvertOptions(
                    column_types=columns, include_columns=list(columns), null_values=NULLS
                )
                parsing = ParseOptions(newlines_in_values=True)
                for batch in open_csv(file, reading, parsing, conversion):
                    end = batch[last][-1].as_py() if batch.num_rows else end
                    done = min(file.tell() / total, 1.0)
                    for start in range(0, batch.num_rows, size):
                        rows = pa.Table.from_batches([batch.slice(start, size)])
                        yield rows.select(list(types)), done
        except pa.ArrowInvalid as error:
            # What is wrong with quotation marks makes all else wrong.
            with _text(self.path) as text:
                count = sum(1 for _ in records(text, self.path))
            if count > self._records_of_names:
                raise TableError(f"{self.path}: {self._explained(str(error))}") from None
        end = end.encode() if isinstance(end, str) else end
        if isinstance(end, bytes) and (b"\n" in end or b"\r" in end):
            self._require_closed_quotes()

    def _explained(self, error: str) -> str:
        """An error of Arrow's reader, with the row as in an editor and the name of the column."""
        match = PROBLEM.search(error)
        if match is None:
            return error
        (row,) = self.row_numbers([int(match["row"] or match["ragged"]) - self._lines_of_names - 1])
        if match["count"]:
            quote = "; quote texts with commas" if int(match["count"]) > len(self.names) else ""
            return (
                f"row {row}: {match['count']} cells, but there are {len(self.names)} columns{quote}"
            )
        cell = f"row {row}, column '{self.names[int(match['column'])]}'"
        if match["value"] is None:
            return f"{cell}: is not UTF-8 text; save the file as UTF-8"
        try:
            as_number(match["value"])
            problem = "is not a whole number, but the rows before it have whole numbers"
        except ValueError as wrong:
            problem = str(wrong)
        return f"{cell}: '{match['value'][:40]}' {problem}"

    def _require_closed_quotes(self) -> None:
        """Raises TableError if the file ends in a quotation, which Arrow reads as one cell."""
        end = "end"
        rows = deque([0], maxlen=2)  # the last two
        last = [""]
        with _text(self.path) as file:
            for row, cells in records(file, self.path, strict=False, more=["\n", end]):
                rows.append(row)
                last = cells
        if last != [end]:
            raise TableError(f"{self.path}: row {rows[0] + 1}: {WORDS['unexpected end of data']}")


def read_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Row number and cells of all lines that are not blank. Raises TableError."""
    with explained(path), path.open(encoding="utf-8-sig", newline="") as file:
        yield from records(file, path)


def records(
    file: TextIO, path: Path, strict: bool = True, more: Iterable[str] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Row number and cells of all lines that are not blank; the number is that of a record's last
    line.

    strict  refuse text after a closing quotation mark, and a mark that is not closed
    more    lines to read after those of the file
    Raises TableError.
    """
    reader = csv.reader(chain(_lines(file, path), more), strict=strict)
    row = 0
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
    while line := file.readline(LARGEST_BLOCK):
        row += 1
        if len(line) == LARGEST_BLOCK and line[-1] not in "\r\n":
            raise TableError(f"{path}: row {row}: more than {LARGEST_BLOCK:,} characters in a line")
        yield line


def _text(path: Path) -> TextIO:
    """A file opened as text; bytes that are not UTF-8 are errors only in columns read."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _type_of(column: pa.ChunkedArray) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = column.filter(pc.invert(pc.is_in(column, pa.array(MISSING))))
    if not len(texts):
        return pa.string()
    with suppress(pa.ArrowInvalid):
        numbers = texts.cast(pa.int64())
        same = pc.all(pc.equal(numbers.cast(pa.string()), texts)).as_py()
        return pa.int64() if same else pa.string()
    with suppress(pa.ArrowInvalid):
        texts.cast(pa.float64())
        return pa.float64()
    return pa.string()


def title(field: pa.Field) -> str:
    """A column's name with its unit, as a header of CSV has it: `depth_estimate (km)`."""
    return with_unit(field.name, (field.metadata or {}).get(b"unit", b"").decode())


class CsvSink:
    """Writes rows as CSV with a header, which has the units: `depth_estimate (km)`.

    Numbers have the fewest digits that restore the same value.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]
    ) -> None:
        import pyarrow as pa
        import pyarrow.csv

        self._titles = [title(field) for field in schema]
        pairs = zip(schema, self._titles, strict=True)
        titled = pa.schema([field.with_name(own) for field, own in pairs])
        plain = not {*"".join(self._titles)} & {*',"\r\n'}
        options = pyarrow.csv.WriteOptions(quoting_header="none" if plain else "needed")
        self._writer = pyarrow.csv.CSVWriter(str(path), titled, write_options=options)

    def write(self, rows: pa.Table) -> None:
        self._writer.write(rows.rename_columns(self._titles))

    def close(self) -> None:
        self._writer.close()

"""Tables in text files: cells between spaces, tabs, commas or semicolons, with a header or none."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.base import files
from qexp.base.arrays import Array
from qexp.observations.reading import without_codes
from qexp.rows.table import SHOWN, TableError, as_number, explained, is_number

SEPARATORS = ("\t", ";", ",", "|")
"""Looked for in this order; without them cells are separated by spaces."""
SEPARATED_BY = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", None: "spaces"}

COMMENTS = "#%>!"
"""Before comments: % in Matlab's files, > in segments of GMT. One with # may follow cells."""

RULER = re.compile(r"([*=_~-])\1{2,}[\s*=_~+|-]*")
"""A line below a header, such as of asterisks."""

ROWS_AT_A_TIME = 1 << 16
"""Rows whose cells are in memory as text."""

HEAD_LINES = 1000
"""Lines from which a table is recognised."""

ENDINGS = (
    "", ".txt", ".csv", ".dat", ".tsv", ".xy", ".xyz", ".xyd", ".lld", ".asc", ".gnss", ".gps",
    ".obs", ".llde", ".tenv3", ".enu", ".neu", ".gmt", ".vel",
)  # fmt: skip
"""Of the names of text files."""


@dataclass(frozen=True)
class Rows:
    """Rows of a file: their lines from 1, and columns, as numbers where all cells are numbers."""

    lines: Sequence[int]
    columns: Sequence[Array | Sequence[str]]


@dataclass(frozen=True)
class TextTable:
    """The cells of a text file.

    names  of the columns, empty where there is no header
    width  number of columns
    parts  all rows
    nodata  numbers that mean no data
    roles  what columns hold → their index
    """

    path: Path
    names: Sequence[str]
    width: int
    parts: Sequence[Rows]
    nodata: Sequence[float] = ()
    roles: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(len(part.lines) for part in self.parts)

    def numbers(self, role: str) -> Array:
        """The numbers of a column, NaN where one is missing. Raises TableError that names lines."""
        values, wrong = [], []
        for part in self.parts:
            cells = part.columns[self.roles[role]]
            if isinstance(cells, np.ndarray):
                values.append(cells)
                continue
            numbers = np.empty(len(cells))
            for index, (line, cell) in enumerate(zip(part.lines, cells, strict=True)):
                try:
                    numbers[index] = as_number(cell)
                except ValueError as error:
                    place = f"{self.path}: line {line}, {self.titled(role)}"
                    wrong.append(f"{place}: '{cell[:40]}' {error}")
            values.append(numbers)
        if wrong:
            more = [f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN)
            raise TableError("\n".join(wrong[:SHOWN] + more))
        return without_codes(np.concatenate(values), self.nodata)

    def texts(self, role: str) -> NDArray[np.str_]:
        """The texts of a column; numbers as short as they can be written."""
        texts = list[str]()
        for part in self.parts:
            cells = part.columns[self.roles[role]]
            texts += [f"{cell:.17g}" for cell in cells] if isinstance(cells, np.ndarray) else cells
        return np.array(texts, dtype=np.str_)

    def titled(self, role: str) -> str:
        column = self.roles[role]
        return f"column '{self.names[column]}'" if self.names else f"column {column + 1}"


def is_text(path: Path) -> bool:
    """Whether a file may hold a table in text, by its name and its first bytes."""
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(4096)


def read_text_table(
    path: Path, header_words: Collection[str], most: int | None = None
) -> TextTable:
    """Read the cells of a text file.

    header_words  words, in lower case, by which a comment above the first row is known as a header
    most          lines to read; None: all
    Raises NotFoundError, and TableError for a file that is no table.
    """
    files.require_file(path)
    with explained(path), path.open(encoding="utf-8-sig") as file:
        lines = enumerate(islice(file, most), 1)
        first = list(islice(lines, HEAD_LINES))
        texts = [*_with_cells(first)]
        if not texts:
            raise TableError(f"{path} has no rows" if first else f"{path} is empty")
        separator = _separator([text for _, text in texts])
        number = texts[0][0]
        cells = _cells(texts[0][1], separator)
        line_before = first[number - 2][1] if number > 1 else ""
        names = list[str]()
        further = chain(texts, _with_cells(lines))
        rows = ((row, _cells(words, separator)) for row, words in further)
        if not any(map(is_number, cells[1:])) and not (len(cells) == 1 and is_number(cells[0])):
            next(rows)
            names = cells
        widths = Counter(len(_cells(text, separator)) for _, text in texts[bool(names) :])
        width = widths.most_common(1)[0][0] if widths else len(cells)
        if not names:
            names = _header_in_comment(line_before, separator, width, header_words)
        if len(names) == width + 1 and not names[-1]:  # a separator at the end of the header alone
            names = names[:-1]
        if names and len(names) != width:
            raise _not_a_table(path, separator, width, [(number, len(names))], texts)
        parts = list[Rows]()
        while some := list(islice(rows, ROWS_AT_A_TIME)):
            ragged = [(line, len(words)) for line, words in some if len(words) != width]
            if ragged:
                raise _not_a_table(path, separator, width, ragged, texts)
            numbers, cells_of_rows = zip(*some, strict=True)
            columns = zip(*cells_of_rows, strict=True)
            parts.append(Rows(numbers, [_as_numbers(column) for column in columns]))
    if not parts:
        raise TableError(f"{path} has a header, but no rows")
    return TextTable(path, [name.strip() for name in names], width, parts)


def _separator(texts: Sequence[str]) -> str | None:
    """What separates the cells of most lines; None: spaces, also where only names of stations have
    a tab behind.
    """
    for mark in SEPARATORS:
        if sum(mark in text for text in texts) > len(texts) / 2:
            words = [cell.split() for cell in texts[-1].split(mark)]
            several = any(len(cell) > 1 and all(map(is_number, cell)) for cell in words)
            return None if several else mark
    return None


def _with_cells(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The lines, each with its number, that are more than a comment, such as a segment header of
    GMT, or a ruler; without their comments.
    """
    for number, line in lines:
        text = line.split("#")[0].strip(" \r\n")
        words = text.strip()
        if words and words[0] not in COMMENTS and not RULER.fullmatch(words):
            yield number, text


def _not_a_table(
    path: Path,
    separator: str | None,
    width: int,
    ragged: Sequence[tuple[int, int]],
    texts: Sequence[tuple[int, str]],
) -> TableError:
    """An error on lines with another number of cells, which quotes the first lines of the file."""
    lines = "; ".join(f"line {line} has {count} cells" for line, count in ragged[:SHOWN])
    more = f"; and {len(ragged) - SHOWN} more" if len(ragged) > SHOWN else ""
    shown = "\n".join(f"  line {line}: {text[:80]}" for line, text in texts[:3])
    has_both = separator is None and any("\t" in text for _, text in texts)
    mixed = "tabs and spaces are mixed, so that blank cells are lost: keep one of them; " * has_both
    return TableError(
        f"{path}: {lines}{more}, but there are {width} columns in most lines, separated by"
        f" {SEPARATED_BY[separator]}; {mixed}comments begin with #{', '.join(['', *COMMENTS[1:]])}."
        f" The first lines are\n{shown}"
    )


def _as_numbers(cells: Sequence[str]) -> Array | Sequence[str]:
    """Numbers, unless zeros ahead of some tell that they are names, such as of the stations 0022
    and 22.
    """
    if not any(cell[:1] == "0" and cell.isdecimal() and len(cell) > 1 for cell in cells):
        with suppress(ValueError):
            return np.array(cells, dtype=np.float64)
    return cells


def _cells(text: str, separator: str | None) -> list[str]:
    if separator is None:
        return text.split()
    if '"' in text:
        cells = next(csv.reader([text], delimiter=separator, skipinitialspace=True))
        return [cell.strip() for cell in cells]
    return [cell.strip() for cell in text.split(separator)]


def _header_in_comment(
    line: str, separator: str | None, width: int, header_words: Collection[str]
) -> list[str]:
    """The names in a comment right above the first row, if at least two of them are known words."""
    if line.lstrip()[:1] not in {*COMMENTS}:
        return []
    words = line.lstrip().lstrip(COMMENTS).strip()
    cells = _cells(words, separator if separator is not None and separator in words else None)
    known = {cell.lower() for cell in cells} & set(header_words)
    return cells if len(cells) == width and len(known) >= 2 else []

"""Tables in text files: cells separated by spaces, tabs, commas or semicolons, comments after #, maybe a header."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.errors import NotFoundError
from qexp.observations.observation import Array
from qexp.rows.table import explained
from qexp.rows.values import SHOWN, TableError, as_number, is_number

SEPARATORS = ("\t", ";", ",")
"""Looked for in this order; without them cells are separated by spaces."""

AT_A_TIME = 1 << 16
"""Rows whose cells are in memory as text."""

ENDINGS = ("", ".txt", ".csv", ".dat", ".tsv", ".xy", ".xyz", ".xyd", ".lld", ".asc", ".gnss", ".gps", ".obs", ".llde")
"""Of the names of text files."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a file: their lines, counted from 1, and their columns, as numbers where all cells are numbers."""

    lines: Sequence[int]
    columns: Sequence[Array | Sequence[str]]


@dataclass(frozen=True)
class TextTable:
    """The cells of a text file.

    names  of the columns, empty where there is no header
    first  cells of the first row
    parts  all rows
    """

    path: Path
    names: Sequence[str]
    first: Sequence[str]
    parts: Sequence[Rows]

    @property
    def width(self) -> int:
        return len(self.first)

    @property
    def count(self) -> int:
        return sum(len(part.lines) for part in self.parts)

    def numbers(self, column: int) -> Array:
        """The numbers of a column, NaN where one is missing. Raises TableError that names lines."""
        values, wrong = [], []
        for part in self.parts:
            cells = part.columns[column]
            if isinstance(cells, np.ndarray):
                values.append(cells)
                continue
            numbers = np.empty(len(cells))
            for index, (line, cell) in enumerate(zip(part.lines, cells, strict=True)):
                try:
                    numbers[index] = as_number(cell)
                except ValueError as error:
                    wrong.append(f"{self.path}: line {line}, {self.titled(column)}: '{cell[:40]}' {error}")
            values.append(numbers)
        if wrong:
            raise TableError("\n".join(wrong[:SHOWN] + ([f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN))))
        return np.concatenate(values)

    def texts(self, column: int) -> NDArray[np.str_]:
        """The texts of a column; numbers as short as they can be written."""
        cells = chain.from_iterable(part.columns[column] for part in self.parts)
        return np.array([cell if isinstance(cell, str) else f"{cell:.17g}" for cell in cells], dtype=np.str_)

    def titled(self, column: int) -> str:
        return f"column '{self.names[column]}'" if self.names else f"column {column + 1}"


def is_text(path: Path) -> bool:
    """Whether a file may hold a table in text, by its name and its first bytes."""
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(4096)


def read_text_table(path: Path, known: Collection[str], most: int | None = None) -> TextTable:
    """Read the cells of a text file.

    known  words, in lower case, by which a comment above the first row is known as a header
    most   lines to read; None: all
    Raises NotFoundError, and TableError for a file that is no table.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    with explained(path), path.open(encoding="utf-8-sig") as file:
        lines = enumerate(islice(file, most), 1)
        above, number, text = "", 0, ""  # the line above the first row, which may be a header in a comment
        for number, line in lines:  # noqa: B007 - where the loop ends is the first row
            if text := _without_comment(line):
                break
            above = line
        if not text:
            raise TableError(f"{path} has no rows" if above else f"{path} is empty")
        separator = next((one for one in SEPARATORS if one in text), None)
        cells, names = _cells(text, separator), list[str]()
        rest: Iterator[tuple[int, list[str]]] = (
            (row, _cells(kept, separator)) for row, line in lines if (kept := _without_comment(line))
        )
        if not any(map(is_number, cells[1:])) and not (len(cells) == 1 and is_number(cells[0])):
            names = cells
        else:
            names = _header_in_comment(above, separator, len(cells), known)
            rest = chain([(number, cells)], rest)
        parts = list(_parts(path, rest, len(names)))
    if not parts:
        raise TableError(f"{path} has a header, but no rows")
    return TextTable(path, [name.strip() for name in names], parts[0][0], [part for _, part in parts])


def _without_comment(line: str) -> str:
    text = line.split("#")[0]
    return text.strip(" \r\n") if text.strip() else ""


def _parts(path: Path, rows: Iterable[tuple[int, list[str]]], width: int) -> Iterator[tuple[list[str], Rows]]:
    """Rows in parts, each with the cells of its first row; all of as many cells as the header, or the first row."""
    rows = iter(rows)
    while some := list(islice(rows, AT_A_TIME)):
        width = width or len(some[0][1])
        _require_even(path, width, some)
        yield (
            some[0][1],
            Rows(
                [line for line, _ in some],
                [_as_numbers(one) for one in zip(*(cells for _, cells in some), strict=True)],
            ),
        )


def _as_numbers(cells: Sequence[str]) -> Array | Sequence[str]:
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        return cells


def _cells(text: str, separator: str | None) -> list[str]:
    if separator is None:
        return text.split()
    if '"' in text:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=separator, skipinitialspace=True))]
    return [cell.strip() for cell in text.split(separator)]


def _header_in_comment(line: str, separator: str | None, width: int, known: Collection[str]) -> list[str]:
    """The names in a comment right above the first row, if at least two of them are known words."""
    if not line.lstrip().startswith("#"):
        return []
    words = line.lstrip().lstrip("#").strip()
    cells = _cells(words, separator if separator is not None and separator in words else None)
    return cells if len(cells) == width and len({cell.lower() for cell in cells} & set(known)) >= 2 else []


def _require_even(path: Path, width: int, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
    ragged = [(line, len(cells)) for line, cells in rows if len(cells) != width]
    if ragged:
        said = "; ".join(f"line {line} has {count} cells" for line, count in ragged[:SHOWN])
        more = f"; and {len(ragged) - SHOWN} more" if len(ragged) > SHOWN else ""
        raise TableError(f"{path}: {said}{more}, but there are {width} columns")

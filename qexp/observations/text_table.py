"""Tables in text files: cells separated by spaces, tabs, commas or semicolons, comments after #, maybe a header."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from qexp.errors import NotFoundError
from qexp.observations.observation import Array
from qexp.rows.table import explained
from qexp.rows.values import SHOWN, TableError, as_number, is_number

SEPARATORS = ("\t", ";", ",")
"""Looked for in this order; without them cells are separated by spaces."""

ENDINGS = ("", ".txt", ".csv", ".dat", ".tsv", ".xy", ".xyz", ".xyd", ".lld", ".asc", ".gnss", ".gps", ".obs", ".llde")
"""Of the names of text files."""


@dataclass(frozen=True)
class TextTable:
    """The cells of a text file.

    names  of the columns, empty where there is no header
    rows   line in the file, counted from 1, and cells
    """

    path: Path
    names: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]

    @property
    def width(self) -> int:
        return len(self.rows[0][1])

    def texts(self, column: int) -> list[str]:
        return [cells[column] for _, cells in self.rows]

    def numbers(self, column: int) -> Array:
        """The numbers of a column, NaN where one is missing. Raises TableError that names lines."""
        values, wrong = np.empty(len(self.rows)), []
        for index, (line, cells) in enumerate(self.rows):
            try:
                values[index] = as_number(cells[column])
            except ValueError as error:
                wrong.append(f"{self.path}: line {line}, {self.titled(column)}: '{cells[column][:40]}' {error}")
        if wrong:
            raise TableError("\n".join(wrong[:SHOWN] + ([f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN))))
        return values

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
        lines = list(islice(file, most))
    kept = [(number, text) for number, line in enumerate(lines, 1) if (text := line.split("#")[0].strip(" \r\n"))]
    kept = [(number, text) for number, text in kept if text.strip()]
    if not kept:
        raise TableError(f"{path} has no rows" if lines else f"{path} is empty")
    separator = next((one for one in SEPARATORS if one in kept[0][1]), None)
    rows = [(number, _cells(text, separator)) for number, text in kept]
    names: Sequence[str] = ()
    first, cells = rows[0]
    if not any(map(is_number, cells[1:])) and not (len(cells) == 1 and is_number(cells[0])):
        names, rows = cells, rows[1:]
    elif first > 1 and (above := _header_in_comment(lines[first - 2], separator, len(cells), known)):
        names = above
    if not rows:
        raise TableError(f"{path} has a header, but no rows")
    _require_even(path, len(names) or len(rows[0][1]), rows)
    return TextTable(path, [name.strip() for name in names], rows)


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

"""Files of rows and named columns: CSV (UTF-8, commas, a header) and Parquet. Only the columns asked for are read."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.tables import nearest, suggestion

MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "None")
"""What stands in a CSV file where there is no number."""

SHOWN = 5
"""So many cells or rows of one kind are named in an error, and the rest is counted."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


class TableError(QexpError):
    """A file of rows cannot be used as it is asked to be."""


def find(path: str, folders: Iterable[Path]) -> Path:
    """The file of a relative path in the first folder that has it. Raises TableError, listing where it was sought."""
    if Path(path).is_absolute():
        if Path(path).is_file():
            return Path(path)
        raise TableError(f"there is no file {path}{_nearest_neighbour([Path(path)])}")
    candidates = [folder / path for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    hint = _nearest_neighbour(candidates)
    places = ", ".join(str(candidate) for candidate in candidates) or "nowhere"
    raise TableError(
        f"there is no file '{path}'{hint}; looked for {places}; put it there, or add its folder to QEXP_DATA"
    )


def _nearest_neighbour(paths: Sequence[Path]) -> str:
    """What a file may have been meant to be, among those where it was sought."""
    names: list[str] = []
    for path in paths:
        with suppress(OSError):
            names += [entry.name for entry in os.scandir(path.parent) if entry.is_file()]
    guess = nearest(paths[0].name, names) if paths else None
    return f"; did you mean '{guess}'?" if guess else ""


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with _explained(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TableFile:
    """One file of rows, opened by what its name ends in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kinds = {".csv": (_csv_names, _csv_columns), ".parquet": (_parquet_names, _parquet_columns)}
        if path.suffix.lower() not in kinds:
            raise TableError(f"{path} is neither .csv nor .parquet by its name; save it as one of them")
        self._is_csv = path.suffix.lower() == ".csv"
        read_names, self._read = kinds[path.suffix.lower()]
        with _explained(path):
            self.names: list[str] = read_names(path)
        self._repeated = {name for name, count in Counter(self.names).items() if count > 1}

    def trouble_with(self, name: str) -> str | None:
        """Why there is no one column of this name, or None."""
        if name not in self.names:
            return f"{self.path} has no column '{name}'; {suggestion(name, set(self.names))}"
        if name in self._repeated:
            return f"{self.path} has {self.names.count(name)} columns called '{name}'; rename all but one"
        return None

    def read(
        self, numbers: Iterable[str], texts: Iterable[str]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.str_]]]:
        """Columns of numbers, NaN where one is missing, and columns of texts without spaces around them.

        Raises TableError that names row and column of what is no number.
        """
        wanted = list(dict.fromkeys(numbers)), list(dict.fromkeys(texts))
        for name in (*wanted[0], *wanted[1]):
            if trouble := self.trouble_with(name):
                raise TableError(trouble)
        with _explained(self.path):
            found, said = self._read(self.path, *wanted)
        if any(len(column) == 0 for column in (*found.values(), *said.values())):
            raise TableError(f"{self.path} has column names and no rows")
        return found, said

    def row_numbers(self, records: Sequence[int]) -> list[int]:
        """Where records, counted from 0, stand in the file: its header is row 1, a Parquet file's first row is 1."""
        if not self._is_csv:
            return [record + 1 for record in records]
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            wanted, found = set(records), {}
            for record, (row, _) in enumerate(_records(csv.reader(file)), start=-1):
                if record in wanted:
                    found[record] = row
                    if len(found) == len(wanted):
                        break
        return [found[record] for record in records]

    def rows_shown(self, records: Sequence[int] | NDArray[np.integer]) -> str:
        """`rows 5, 9, 12 and 31 more`."""
        return listed("row", self.row_numbers([int(record) for record in records[:SHOWN]]), len(records))


def listed(word: str, shown: Sequence[object], count: int) -> str:
    """`row 5`, or `rows 5, 9, 12 and 31 more`."""
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"{word}{'s' if count > 1 else ''} {', '.join(str(one) for one in shown)}{more}"


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What can be wrong with a file as a whole, in words that say how to mend it."""
    import pyarrow

    try:
        yield
    except UnicodeDecodeError:
        raise TableError(f"{path} is not UTF-8 text; save it as that") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from None
    except csv.Error as error:
        raise TableError(f"{path} cannot be read: {error}; is a quotation mark not closed?") from None
    except pyarrow.ArrowException as error:
        raise TableError(f"{path} cannot be read: {error}") from None


# CSV


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Row number and fields of all lines that are not blank; a record's number is the one of its last line."""
    for fields in reader:
        if fields:
            yield reader.line_num, fields


def _csv_names(path: Path) -> list[str]:
    if path.stat().st_size == 0:
        raise TableError(f"{path} is empty")
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next((fields for _, fields in _records(csv.reader(file))), None)
    if names is None:
        raise TableError(f"{path} has only blank lines")
    for character, word in ((";", "semicolons"), ("\t", "tabs")):
        if character in "".join(names) and len(names) <= "".join(names).count(character):
            raise TableError(
                f"the columns of {path} are separated by {word}; save it with commas, and with points in its numbers"
            )
    return names


def _csv_columns(
    path: Path, numbers: list[str], texts: list[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.str_]]]:
    import pyarrow
    from pyarrow import csv as arrow_csv

    types = {**dict.fromkeys(numbers, pyarrow.float64()), **dict.fromkeys(texts, pyarrow.string())}
    if len(types) < len(numbers) + len(texts):  # a column that is asked for as both
        return _csv_columns(path, numbers, [])[0], _csv_columns(path, [], texts)[1]
    try:
        table = arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=list(MISSING), strings_can_be_null=False
            ),
        )
    except pyarrow.ArrowInvalid:
        return _csv_columns_cell_by_cell(path, numbers, texts)
    return (
        {name: table[name].to_numpy().astype(np.float64) for name in numbers},
        {name: _stripped(table[name].to_pylist()) for name in texts},
    )


def _csv_columns_cell_by_cell(
    path: Path, numbers: list[str], texts: list[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.str_]]]:
    """The slow way, which knows for every cell where it stands."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = _records(csv.reader(file, strict=True))
        header = next(records)[1]
        places = {name: header.index(name) for name in (*numbers, *texts)}
        found: dict[str, list[float]] = {name: [] for name in numbers}
        said: dict[str, list[str]] = {name: [] for name in texts}
        ragged: list[str] = []
        wrong: list[str] = []
        for row, fields in records:
            if len(fields) != len(header):
                ragged.append(f"row {row} has {len(fields)}")
                continue
            for name in texts:
                said[name].append(fields[places[name]])
            for name in numbers:
                cell = fields[places[name]].strip()
                if cell in MISSING:
                    found[name].append(np.nan)
                elif _NUMBER.fullmatch(cell):
                    found[name].append(float(cell))
                else:
                    comma = "; write it with a point" if _DECIMAL_COMMA.fullmatch(cell) else ""
                    wrong.append(f"row {row}, column '{name}': '{cell[:40]}' is no number{comma}")
    if ragged:
        raise TableError(f"{path} has {len(header)} columns, but {_first(ragged)} fields; quote texts with commas")
    if wrong:
        raise TableError(f"{path}, {_first(wrong)}")
    return (
        {name: np.asarray(column, np.float64) for name, column in found.items()},
        {name: _stripped(column) for name, column in said.items()},
    )


def _first(problems: list[str]) -> str:
    more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return ", ".join(problems[:SHOWN]) + more


def _stripped(texts: Iterable[str | None]) -> NDArray[np.str_]:
    return np.array([(text or "").strip() for text in texts], dtype=np.str_)


# Parquet


def _parquet_names(path: Path) -> list[str]:
    from pyarrow import parquet

    names: list[str] = parquet.read_schema(path).names
    return names


def _parquet_columns(
    path: Path, numbers: list[str], texts: list[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.str_]]]:
    import pyarrow
    from pyarrow import parquet

    table = parquet.ParquetFile(path).read(columns=list(dict.fromkeys([*numbers, *texts])))
    for name in numbers:
        kind = table.schema.field(name).type
        of_numbers = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_decimal)
        if not any(is_kind(kind) for is_kind in of_numbers):
            raise TableError(f"{path}, column '{name}': its type is {kind}; save it as numbers")
    return (
        {name: table[name].cast(pyarrow.float64()).to_numpy().astype(np.float64) for name in numbers},
        {name: _stripped(table[name].cast(pyarrow.string()).to_pylist()) for name in texts},
    )

"""A table: an open file of rows and named columns, of any format."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array, Mask, Texts
from qexp.base.quantities import UNITS, conversion
from qexp.errors import QexpError, some, suggestion

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "-nan", "null", "NULL", "None",
)  # fmt: skip
"""Spellings of a missing number in text files."""

Values = NDArray[np.floating]

SHOWN = 5
"""Number of cells, rows or names that an error lists; the rest is counted."""

NINES = [
    (digits, round(10.0**digits - 10.0**-decimals, decimals))
    for digits in range(2, 7)
    for decimals in range(4)
]
NO_DATA = [
    *(-number for _, number in NINES),
    *(number for digits, number in NINES if digits > 2),
    -999.25,
    -32768,
    32767,
]
HUGE_NUMBER = 1e20
"""Numbers that often mean no data if no others are like them: such as -99.9, and all as large."""

FAR = "far from all others: a code for no data? leave the cell empty"
LIKE_A_CODE = f'{FAR}, with "missing": "drop"'

TITLE = re.compile(r"(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]\s*")
"""`depth (km)`, `depth [km]`."""

_NAN = re.compile(r"[+-]?nan(\([a-z0-9_]*\))?", re.IGNORECASE | re.ASCII)
"""Spellings of NaN by C libraries."""

_OF_FORTRAN = re.compile(r"[+-]?\d*\.?\d+[dD][+-]?\d+", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def name_in_title(column: str) -> str:
    """The name in the title of a column, which may have a unit, too."""
    title = TITLE.fullmatch(column)
    return title["name"] if title else column


def unit_in_title(column: str) -> str:
    """The unit in the title of a column; empty if there is none."""
    title = TITLE.fullmatch(column)
    return title["unit"].strip() if title else ""


def unlike(given: Mapping[str, str], taken: Mapping[str, str]) -> Iterator[str]:
    """What is said of columns or variables with another unit than they are taken to have.

    given, taken  name → unit, empty if it is not known
    """
    different: dict[tuple[str, str], list[str]] = {}
    for name, unit in given.items():
        other = taken.get(name, "")
        if unit and other and conversion(unit, other) != 1:
            different.setdefault((unit, other), []).append(f"'{name}'")
    for (unit, other), names in different.items():
        yield (
            f"{some(names)}: in {unit}, but taken to be in {other}; convert the values, or"
            " correct a unit"
        )


class TableError(QexpError):
    """A table cannot be read or used."""


def codes(values: Values, factor: float = 1.0) -> list[float]:
    """The numbers of a column or field that stand for no data, as it seems: far from all others by
    these.

    factor  by which the values were multiplied
    """
    found = Codes(factor)
    found.add(values)
    return list(found.counts())


class Codes:
    """The `codes` of a column or field that is read in pieces."""

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor
        self._usual = Counter[float]()
        self._low = math.inf
        self._high = -math.inf
        """Of all numbers that do not often stand for no data."""

    def add(self, values: Values) -> None:
        usual = usual_codes(values, self._factor)
        numbers, counts = np.unique(values[usual], return_counts=True)
        self._usual.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        others = values[~usual] if usual.any() else values
        if others.size:
            self._low = min(self._low, float(others.min()))
            self._high = max(self._high, float(others.max()))

    def counts(self) -> dict[float, int]:
        """Code → how often it is there."""
        low = self._low
        high = self._high
        far = max(high - low, abs(low), abs(high))
        return {
            code: self._usual[code]
            for code in sorted(self._usual)
            if max(low - code, code - high) > far
        }


def usual_codes(values: Values, factor: float = 1.0) -> Mask:
    """Which values are numbers that often stand for no data, in double or single precision; factor:
    as of `codes`.

    None where neither the least nor the largest is one.
    """
    double = np.array(NO_DATA) * factor
    single = np.array(NO_DATA, np.float32)
    either = np.concatenate([double, double.astype(np.float32), single * np.float32(factor)])
    ends = np.array([end.reduce(values, axis=None) for end in (np.fmin, np.fmax) if values.size])
    if not (np.isin(ends, either) | (np.abs(ends) >= HUGE_NUMBER)).any():
        return np.zeros(values.shape, bool)
    return np.asarray(np.isin(values, either) | (np.abs(values) >= HUGE_NUMBER))


def number(text: str) -> float | None:
    """The number in a text; NaN for the spelling of a missing number, None if it is not a number.

    Fortran writes 1.5D+03 for 1.5e+03.
    """
    try:
        return None if "_" in text else float(text)  # 1_000 is a number only in Python
    except ValueError:
        text = text.strip()
        if _OF_FORTRAN.fullmatch(text):
            return float(re.sub("[dD]", "e", text))
        return math.nan if text in MISSING or _NAN.fullmatch(text) else None


def is_number(text: str) -> bool:
    """Whether a text is a number or a spelled missing number; an empty text is not."""
    return bool(text.strip()) and number(text) is not None


def as_number(text: str) -> float:
    """A number; NaN if it is missing. Raises ValueError that describes the problem."""
    value = number(text)
    if value is None:
        comma = " (write it with a point)" if _DECIMAL_COMMA.fullmatch(text.strip()) else ""
        raise ValueError(f"is not a number{comma}")
    return value


def write_list(word: str, items: list[int] | list[str], count: int) -> str:
    """A list for messages: `row 5`, or `rows 5, 9, 12 and 31 more`."""
    more = f" and {count - len(items)} more" if count > len(items) else ""
    return f"{word}{'s' if count > 1 else ''} {', '.join(map(str, items))}{more}"


ROWS_OF_PIECE = 1 << 16
"""Rows read at a time when whole columns are read."""

Types = Mapping[str, "pa.DataType"]
"""Requested columns in order → the types to read them as. A floating type applies only where text
is converted; formats that store numbers return them in the stored type.
"""

Piece = tuple["pa.Table", float]
"""Some rows, and the fraction of the file that has been read with them, from 0 to 1."""


@dataclass(frozen=True)
class Grid:
    """The raster of cells that are the rows, in row-major order: the last dimension is fastest."""

    sizes: Mapping[str, int]
    coordinates: Mapping[str, tuple[str, NDArray[Any]]] = field(default_factory=dict)
    """Coordinate → its dimension, and its values."""


class Table(ABC):
    """An open file of rows and named columns, of which only the names have been read.

    names  names of all columns, in the order of the file
    units  column → unit, for columns whose unit is in the file
    All methods raise TableError if the file cannot be read, with row and column if they are known.
    """

    names: list[str]

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        self.units: Mapping[str, str] = {}
        with explained(path, pa.ArrowException):
            if path.stat().st_size == 0:
                raise TableError(f"{path} is empty")
            self._open()

    @abstractmethod
    def _open(self) -> None:
        """Read the names."""

    @abstractmethod
    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        """Columns of all rows in order, about `size` rows at a time."""

    @abstractmethod
    def types(self, names: Sequence[str]) -> pa.Schema:
        """Column → the type in which it is kept without conversion."""

    def unit(self, column: str) -> str:
        """The unit of a column by the file, or by its title if it is known; empty if neither is."""
        title = unit_in_title(column)
        return self.units.get(column, title if title in UNITS else "")

    def others(self, features: Sequence[str]) -> list[str]:
        """All columns besides the features that have a value for each of their rows."""
        excluded = set(features)
        return [name for name in self.names if name not in excluded]

    def grid(self, features: Sequence[str]) -> Grid | None:
        """The raster of the features; None if the rows have none."""
        return None

    def vector(self, name: str) -> int | None:
        """Length of the vectors in a column, if its rows hold vectors rather than numbers."""
        return None

    def row_numbers(self, records: Sequence[int]) -> list[int]:
        """Row numbers in the file of records counted from 0."""
        return [record + 1 for record in records]

    def rows_shown(self, records: Sequence[int] | NDArray[np.integer]) -> str:
        """Records counted from 0, by row number, for messages: `rows 5, 9, 12 and 31 more`."""
        return write_list(
            "row", self.row_numbers([int(record) for record in records[:SHOWN]]), len(records)
        )

    def trouble_with(self, name: str) -> str | None:
        """Why a name does not identify a column (missing, or repeated), or None."""
        count = self.names.count(name)
        if count == 0:
            return f"{self.path} has no column '{name}'; {suggestion(name, set(self.names))}"
        return (
            None
            if count == 1
            else f"{self.path} has {count} columns called '{name}'; rename all but one"
        )

    def require(self, names: Iterable[str]) -> None:
        """Raises TableError if a name does not identify a column."""
        counts = Counter(self.names)
        wrong = [name for name in dict.fromkeys(names) if counts[name] != 1]
        troubles = [str(self.trouble_with(name)) for name in wrong]
        if troubles:
            more = [f"and {len(troubles) - SHOWN} more"] if len(troubles) > SHOWN else []
            raise TableError("\n".join([*troubles[:SHOWN], *more]))

    def no_numbers(self, names: Sequence[str]) -> str | None:
        """Why columns cannot be read as numbers, judged by their types alone, or None."""
        return None

    def require_numbers(self, names: Sequence[str]) -> None:
        """Raises TableError if columns cannot be read as numbers."""
        self.require(names)
        if trouble := self.no_numbers(names):
            raise TableError(trouble)

    def pieces(self, types: Types, size: int) -> Iterator[Piece]:
        """Columns of all rows in order, about `size` at a time; missing numbers are NaN or null."""
        import pyarrow as pa

        rows = 0
        with explained(self.path, pa.ArrowException):
            for piece, done in self._pieces(types, size):
                if piece.num_rows:
                    rows += piece.num_rows
                    yield piece, done
        if not rows:
            raise TableError(f"{self.path} has column names and no rows")

    def read(
        self, numbers: Iterable[str], texts: Iterable[str]
    ) -> tuple[dict[str, Array], dict[str, Texts]]:
        """Whole columns: numbers, NaN where one is missing, and texts without outer spaces."""
        import pyarrow as pa

        of_numbers = list(numbers)
        of_texts = list(texts)
        self.require_numbers(of_numbers)
        self.require(of_texts)
        if both := {*of_numbers} & {*of_texts}:
            values, others = self.read(of_numbers, [name for name in of_texts if name not in both])
            return values, {**others, **self.read([], both)[1]}
        types = {**dict.fromkeys(of_numbers, pa.float64()), **dict.fromkeys(of_texts, pa.string())}
        rows = pa.concat_tables([piece for piece, _ in self.pieces(types, ROWS_OF_PIECE)])
        columns = {name: rows[name].to_numpy().astype(np.float64) for name in of_numbers}
        words = {}
        for name in of_texts:
            cells = rows[name].to_pylist()
            words[name] = np.array([(text or "").strip() for text in cells], dtype=np.str_)
        return columns, words


def numbers_in(columns: pa.Schema) -> list[str]:
    """The names of columns of numbers."""
    import pyarrow.types as types

    kinds = zip(columns.names, columns.types, strict=True)
    return [name for name, kind in kinds if types.is_integer(kind) or types.is_floating(kind)]


@contextmanager
def explained(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Errors of the system, of encoding and of formats become TableErrors that name the file."""
    errors: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except UnicodeError:
        raise TableError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except errors as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TableError(f"{path} cannot be read: {reason}") from None

"""What a cell of a table is: a number, missing, or neither."""

from __future__ import annotations

import math
import re

from qexp.errors import QexpError

MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "NAN", "-nan", "null", "NULL", "None")
"""What a text file has in place of a number that is missing."""

SHOWN = 5
"""Cells, rows or names of one kind that an error lists; the rest is counted."""

_NAN = re.compile(r"[+-]?nan(\([a-z0-9_]*\))?", re.IGNORECASE | re.ASCII)
"""Not a number, as C and its libraries write it."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

_WHOLE = range(-(2**63), 2**63)


class TableError(QexpError):
    """A table cannot be used as it is asked to be."""


def number(text: str) -> float | None:
    """The number that a text is; NaN if it is missing, None if the text is something else."""
    try:
        return None if "_" in text else float(text)  # Python alone writes 1_000
    except ValueError:
        text = text.strip()
        return math.nan if text in MISSING or _NAN.fullmatch(text) else None


def is_number(text: str) -> bool:
    """Whether a text is a number, or not a number by its own word; nothing at all is not."""
    return bool(text.strip()) and number(text) is not None


# What a cell becomes in a column of a type. They raise ValueError, which says what the cell is not.


def as_number(text: str) -> float:
    """NaN if it is missing."""
    found = number(text)
    if found is None:
        comma = " (write it with a point)" if _DECIMAL_COMMA.fullmatch(text.strip()) else ""
        raise ValueError(f"is not a number{comma}")
    return found


def as_whole_number(text: str) -> int | None:
    """None if it is missing."""
    if math.isnan(as_number(text)):
        return None
    try:
        found = int(text)
    except ValueError:
        raise ValueError("is not a whole number, as those in the rows before it are") from None
    if found not in _WHOLE:
        raise ValueError("is too large a number")
    return found


def as_text(text: str) -> str:
    """As it is."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # a byte that was kept as it was
            raise ValueError("is not UTF-8 text; save the file as that") from None
    return text


def listed(word: str, shown: list[int] | list[str], count: int) -> str:
    """`row 5`, or `rows 5, 9, 12 and 31 more`."""
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"{word}{'s' if count > 1 else ''} {', '.join(str(one) for one in shown)}{more}"

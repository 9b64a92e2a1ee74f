"""The values of cells: numbers, missing numbers, texts."""

from __future__ import annotations

import math
import re

from qexp.errors import QexpError

MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "NAN", "-nan", "null", "NULL", "None")
"""Spellings of a missing number in text files."""

SHOWN = 5
"""Number of cells, rows or names that an error lists; the rest is counted."""

_NAN = re.compile(r"[+-]?nan(\([a-z0-9_]*\))?", re.IGNORECASE | re.ASCII)
"""Spellings of NaN by C libraries."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

_WHOLE = range(-(2**63), 2**63)


class TableError(QexpError):
    """A table cannot be read or used."""


def number(text: str) -> float | None:
    """The number in a text; NaN for the spelling of a missing number, None if it is not a number."""
    try:
        return None if "_" in text else float(text)  # 1_000 is a number only in Python
    except ValueError:
        text = text.strip()
        return math.nan if text in MISSING or _NAN.fullmatch(text) else None


def is_number(text: str) -> bool:
    """Whether a text is a number or a spelled missing number; an empty text is not."""
    return bool(text.strip()) and number(text) is not None


# Conversions of cells to a type. They raise ValueError that describes the problem.


def as_number(text: str) -> float:
    """A number; NaN if it is missing."""
    found = number(text)
    if found is None:
        comma = " (write it with a point)" if _DECIMAL_COMMA.fullmatch(text.strip()) else ""
        raise ValueError(f"is not a number{comma}")
    return found


def as_whole_number(text: str) -> int | None:
    """A whole number; None if it is missing."""
    if math.isnan(as_number(text)):
        return None
    try:
        found = int(text)
    except ValueError:
        raise ValueError("is not a whole number, but the rows before it have whole numbers") from None
    if found not in _WHOLE:
        raise ValueError("is too large a number")
    return found


def as_text(text: str) -> str:
    """A text, unchanged."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # an undecodable byte, kept as a surrogate
            raise ValueError("is not UTF-8 text; save the file as UTF-8") from None
    return text


def listed(word: str, shown: list[int] | list[str], count: int) -> str:
    """A list for messages: `row 5`, or `rows 5, 9, 12 and 31 more`."""
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"{word}{'s' if count > 1 else ''} {', '.join(str(one) for one in shown)}{more}"

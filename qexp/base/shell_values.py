"""Texts of options of the shell as the values that they stand for, where several commands have such
options.

Each function takes the name of the option, for errors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from qexp.errors import QexpError, shortened

Value = TypeVar("Value")

KEEP_ONE = "keep one"


def pairs(
    option: str,
    texts: Iterable[str],
    form: str,
    read: Callable[[str], Value],
    twice: str = KEEP_ONE,
) -> dict[str, Value]:
    """`["depth=2"]` → `{"depth": read("2")}`.

    form   how such a text is written
    twice  what to do if a name is given twice
    Raises QexpError for a text without a name, for a value that `read` refuses with ValueError, and
    for a name that is given twice.
    """
    pairs: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        try:
            if not (name and equals):
                raise ValueError
            is_twice, pairs[name] = name in pairs, read(value)
        except ValueError:
            several = text.split(",")
            if len(several) > 1 and all("=" in one for one in several):
                words = " ".join(f"{option} {one.strip()}" for one in several)
                form = f"give the option for each: {words}"
            raise QexpError(f"{option} {shortened(text)}: {form}") from None
        if is_twice:
            raise QexpError(f"{option} {shortened(name)} is given twice; {twice}")
    return pairs


def read_values(option: str, texts: Sequence[str]) -> dict[str, float]:
    """`["x=0.5"]` → `{"x": 0.5}`."""
    return pairs(option, texts, "write variable=number, for example x=0", finite)


def finite(text: str) -> float:
    """The finite number of a text. Raises ValueError."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def text_of(text: str) -> str:
    """A text that is not empty. Raises ValueError."""
    if not text:
        raise ValueError
    return text


COLUMNS = (
    "write NAME=OTHER, such as 414nm=R415, or the positions of all columns, such as 2,3,4; where a"
    " name has a comma or a '=', JSON: '{\"NAME\": \"OTHER\"}'"
)


def read_columns(
    option: str, texts: Sequence[str], twice: str = KEEP_ONE
) -> dict[str, str] | list[int]:
    """`a=b,c=d` or `{"a": "b", "c": "d"}` → {a: b, c: d}; `2,3` → [2, 3]; `twice` as in `pairs`."""
    objects = [text for text in texts if text.startswith("{")]
    parts = [part.strip() for text in texts if text not in objects for part in text.split(",")]
    if not objects and all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        return [int(part) for part in parts]
    names = pairs(
        option,
        parts,
        COLUMNS,
        lambda other: text_of(other.strip()),
        twice,
    )
    for text in objects:
        try:
            items = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError):
            items = []
        if not (items and all(name and other and isinstance(other, str) for name, other in items)):
            raise QexpError(f"{option} {shortened(text)}: {COLUMNS}")
        for name, other in items:
            if name in names:
                raise QexpError(f"{option} {shortened(name)} is given twice; {twice}")
            names[name] = other
    return names


def column_words(columns: Mapping[str, str] | Sequence[int]) -> list[str]:
    """Columns as the shell takes them."""
    if not isinstance(columns, Mapping):
        return [",".join(map(str, columns))]
    for name in (*columns, *columns.values()):
        if name != name.strip(" {") or {*",="} & {*name}:
            return [json.dumps(dict(columns))]
    return [",".join(f"{name}={other}" for name, other in columns.items())]

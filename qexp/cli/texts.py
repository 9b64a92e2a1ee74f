"""Texts of options as the values that they stand for: seeds, grids, overrides, axes, ages."""

from __future__ import annotations

import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from qexp.errors import QexpError, shortened

MOST_DIGITS = 30
"""Digits of a number that is read at all; a seed has at most 19, apart from zeros before them."""

LARGEST_COUNT = 1_000_000
"""Seeds of one command; a range of more is not written out as a list."""

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

GRID = (
    "write key.path=value,value, for example --grid learning_rate=1e-3,3e-3; a.b+c.d=1,2 gives two keys the same "
    "value, a.b,c.d=1:2,3:4 a value each"
)

LARGEST_RANGE = 10_000
"""Values of `lin:` and `log:`."""

RANGE = re.compile(r"([A-Za-z]\w*:)?[-+]?[\d.]+(e[-+]?\d+)?(:[-+]?[\d.]+(e[-+]?\d+)?)+", re.IGNORECASE)
"""Numbers with colons between them, perhaps behind a word."""

DIGITS = 6
"""Significant digits of the values of `lin:` and `log:`."""


def seed(text: str | None) -> int:
    """`3` → 3, and `3.0`, as programs write it that count in floating point; 0 for None."""
    if text is None:
        return 0
    whole = re.fullmatch(r"(\d+)(?:\.0*)?", text.strip())
    if whole is None or len(whole[1]) > MOST_DIGITS:
        raise QexpError(f"--seed {shortened(text)}: a seed is a whole number from 0 on")
    return int(whole[1])


def seeds(text: str) -> list[int]:
    """`0:10` → 0 to 9, `3` → 3, `0,2,5:8` → 0, 2, 5, 6, 7, `0:6:2` → 0, 2, 4."""
    shown = f"--seeds {shortened(text)}"
    ranges = [_range(part.strip(), shown) for part in text.split(",")]
    count = sum(map(len, ranges))
    if count > LARGEST_COUNT:
        raise QexpError(f"{shown}: {count:,} seeds are too many; the limit is {LARGEST_COUNT:,}")
    return list(itertools.chain(*ranges))


def _range(part: str, shown: str) -> range:
    """shown  the option as an error repeats it"""
    numbers = part.split(":")
    if len(numbers) > 3 or not all(number.isdecimal() for number in numbers):
        raise QexpError(f"{shown}: write 0:10 for 0 to 9, 0:10:2 for every second of them, or a list such as 0,2,5")
    if max(map(len, numbers)) > MOST_DIGITS:
        raise QexpError(f"{shown}: a seed must be less than 2^63")
    low, high, step = (*map(int, numbers), *((int(numbers[0]) + 1, 1)[len(numbers) - 1 :]))
    if high <= low or step < 1:
        raise QexpError(f"{shown}: the range {part} is empty; A:B goes from A to B - 1, so B must be larger than A")
    if (high - low) // step > LARGEST_COUNT:
        raise QexpError(f"{shown}: {(high - low) // step:,} seeds are too many; the limit is {LARGEST_COUNT:,}")
    return range(low, high, step)


def overrides(texts: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """`["epochs=20"]` → `{"epochs": 20}`. Raises QexpError for a key that is given twice."""
    read: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        shown = shortened(text)
        if not equals or not key or any(not step for step in key.split(".")):
            raise QexpError(f"{option} {shown}: write key.path=value, for example {option} epochs=20")
        if not text.isprintable():
            raise QexpError(f"{option} {shown!r}: has characters that cannot be printed")
        if key in read:
            raise QexpError(f"{option} {shortened(key)} is given twice, but takes one value; keep one of them")
        read[key] = _value(value, f"{option} {shortened(key)}")
    return read


def _value(text: str, name: str) -> Any:
    """JSON where it can be, else the text itself."""
    from qexp.spec.reading import parse_value

    try:
        json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError):
        pass  # it is JSON, of a kind that `parse_value` refuses in words
    return parse_value(text, name)


def grid(texts: Sequence[str], option: str = "--grid", points: Path | None = None) -> dict[str, list[Any]]:
    """`["learning_rate=1e-3,3e-3"]` → `{"learning_rate": [0.001, 0.003]}`. Commas inside [], {} and "" stay.

    `a=log:1e-4:1e-2:3` stands for three values at equal ratios, `lin:` for equal steps. Keys with commas between them
    get a value each: `["a,b=1:2,3:4"]` → `{"a,b": [[1, 2], [3, 4]]}`.

    points  a file of points, an axis of its own
    """
    read: dict[str, list[Any]] = {} if points is None else _points(points)
    for text in texts:
        key, equals, listed = text.partition("=")
        shown = f"{option} {shortened(text)}"
        if not equals or not listed or not all(re.split("[+,]", key)):
            raise QexpError(f"{shown}: {GRID}")
        values = list(_split(listed, ","))
        if not all(values):
            raise QexpError(f"{shown}: a value is empty")
        if key in read:
            raise QexpError(f"{option} {key} is given twice; list all its values in one: {option} {key}=A,B")
        name = f"{option} {shortened(key)}"
        if "," in key:
            read[key] = [[_value(part, name) for part in _split(value, ":")] for value in values]
        else:
            read[key] = [one for value in values for one in _spaced(value, shown) or [_value(value, name)]]
    return read


def _spaced(text: str, shown: str) -> list[int | float] | None:
    """The values of `lin:LOW:HIGH:N` and `log:LOW:HIGH:N`, both ends included; None for another text.

    Raises QexpError for a range of another form, which would be a text.
    """
    spacing, colon, rest = text.partition(":")
    if spacing not in ("lin", "log") or not colon:
        if RANGE.fullmatch(text):
            raise QexpError(
                f"{shown}: {text} is no range that is known; write lin:FIRST:LAST:N for N values at equal steps, "
                f"log:FIRST:LAST:N at equal ratios, or a list, A,B; a text has quotation marks: '\"{text}\"'"
            )
        return None
    try:
        first, last, count = rest.split(":")
        low, high, number = float(first), float(last), int(count)
        if not (math.isfinite(low) and math.isfinite(high) and low != high and 2 <= number <= LARGEST_RANGE):
            raise ValueError
        if spacing == "log" and min(low, high) <= 0:
            raise ValueError
    except ValueError:
        numbers = "two positive numbers" if spacing == "log" else "two numbers"
        raise QexpError(
            f"{shown}: write {spacing}:FIRST:LAST:N, {numbers} and how many values to take, 2 to {LARGEST_RANGE:,}, "
            f"for example {spacing}:1e-4:1e-2:5"
        ) from None
    import numpy  # takes a tenth of a second, which other texts need not wait for

    values = (numpy.geomspace if spacing == "log" else numpy.linspace)(low, high, number).tolist()
    rounded = [low, *(float(f"{value:.{DIGITS}g}") for value in values[1:-1]), high]
    return [int(value) for value in rounded] if all(value.is_integer() for value in rounded) else list(rounded)


def _points(path: Path) -> dict[str, list[Any]]:
    """The grid of a file of points: a JSON list of objects, or `[[points]]` tables in TOML, which set the same keys.

    `[{"a": 1, "b": 2}, {"a": 3, "b": 4}]` → `{"a,b": [[1, 2], [3, 4]]}`. Raises QexpError for a file of another form.
    """
    from qexp.spec.reading import parse_value

    if path.suffix.lower() in (".yaml", ".yml"):
        raise QexpError(
            f"--points {path}: YAML is not read; write JSON, such as "
            '[{"learning_rate": 1e-3, "batch_size": 16}], or a .toml file with tables named [[points]]'
        )
    try:
        text = path.read_text(encoding="utf-8")
        listed = tomllib.loads(text).get("points") if path.suffix == ".toml" else parse_value(text, f"--points {path}")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise QexpError(f"--points {path}: cannot be read: {reason}") from None
    form = 'a list of objects, as in [{"learning_rate": 1e-3, "batch_size": 16}], or [[points]] in a .toml file'
    if not isinstance(listed, list) or not listed or not all(isinstance(point, dict) and point for point in listed):
        raise QexpError(f"--points {path}: must be {form}")
    keys = list(listed[0])
    for number, point in enumerate(listed, start=1):
        if point.keys() != set(keys):
            raise QexpError(f"--points {path}: point {number} sets {', '.join(point)}, the first {', '.join(keys)}")
    if any(re.search("[+,]", key) for key in keys):
        raise QexpError(f"--points {path}: a key holds '+' or ','; give each key its own value")
    return {",".join(keys): [[point[key] for key in keys] if len(keys) > 1 else point[keys[0]] for point in listed]}


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of a text between separators that are not inside [], {} and ""."""
    depth, quoted, part = 0, False, ""
    for character, before in zip(text, " " + text, strict=False):
        quoted ^= character == '"' and before != "\\"
        depth += 0 if quoted else (character in "[{") - (character in "]}")
        if character == separator and not depth and not quoted:
            yield part.strip()
            part = ""
        else:
            part += character
    yield part.strip()


def launcher_options(texts: Sequence[str]) -> dict[str, str | list[str]]:
    """`["time=2:00:00"]` → `{"time": "2:00:00"}`; a key that is repeated gets the list of its values."""
    read: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise QexpError(f"--option {shortened(text)}: write KEY=VALUE")
        read.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in read.items()}


def axes(texts: Sequence[str], option: str = "--axis") -> dict[str, tuple[float, float, int]]:
    """`["depth=0:4:128"]` → `{"depth": (0.0, 4.0, 128)}`."""
    read: dict[str, tuple[float, float, int]] = {}
    for text in texts:
        match = re.fullmatch(r"(?P<name>[A-Za-z_][\w.]*)=(?P<low>[^:]+):(?P<high>[^:]+):(?P<cells>\d+)", text)
        try:
            if match is None:
                raise ValueError
            axis = float(match["low"]), float(match["high"]), int(match["cells"])
        except ValueError:
            raise QexpError(
                f"{option} {shortened(text)}: write variable=low:high:cells, for example depth=0:4:128"
            ) from None
        if match["name"] in read:
            raise QexpError(f"{option} {match['name']} is given twice; keep one")
        read[match["name"]] = axis
    return read


def fixed(texts: Sequence[str], option: str = "--fix") -> dict[str, float]:
    """`["x=0.5"]` → `{"x": 0.5}`."""
    read: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
            if not math.isfinite(value):
                raise ValueError
        except ValueError:
            raise QexpError(f"{option} {shortened(text)}: write variable=number, for example x=0") from None
        if name in read:
            raise QexpError(f"{option}: a variable is given twice")
        read[name] = value
    return read


def age(text: str | None) -> timedelta | None:
    """`30d` → 30 days; None where there is no text."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if not match:
        raise QexpError(
            f"--older-than {shortened(text)}: write a number and one of m, h, d, w (minutes, hours, days, weeks), "
            "as in 30d or 12h"
        )
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def low_and_high(option: str, text: str) -> tuple[float, float]:
    """`20:80` → (20, 80), `78` → (78, 78)."""
    low, _, high = text.partition(":")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise QexpError(f"{option} {shortened(text)}: a number, or two as LOW:HIGH, such as 20:80") from None


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """`10,30` → (10, 30)."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise QexpError(f"{option} {shortened(text)}: a whole number, or several with commas, such as 10,30") from None


COLUMNS = "write NAME=OTHER, such as 414nm=R415, or the positions of all columns, such as 2,3,4"


def columns(texts: Sequence[str]) -> dict[str, str] | list[int]:
    """`a=b,c=d` → {a: b, c: d}; `2,3` → [2, 3]."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    if all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        return [int(part) for part in parts]
    given: dict[str, str] = {}
    for part in parts:
        name, equals, other = (one.strip() for one in part.partition("="))
        if not (name and equals and other):
            raise QexpError(f"--columns {shortened(part)}: {COLUMNS}")
        if name in given:
            raise QexpError(f"--columns: '{shortened(name)}' is given two columns")
        given[name] = other
    return given


def numbers_or_files(option: str, given: Sequence[str] | None) -> list[float | Path] | None:
    """`["34", "incidence.tif"]` → 34.0 and a path; None where nothing is given."""
    if given is None:
        return None
    read: list[float | Path] = []
    for text in given:
        try:
            number = float(text)
        except ValueError:
            read.append(Path(text))
            continue
        if not math.isfinite(number):
            raise QexpError(f"{option} {shortened(text)}: a number of degrees, or a file")
        read.append(number)
    return read


def numbers(option: str, text: str | None) -> list[float] | None:
    """`1,2.5` → [1.0, 2.5]; None where there is no text."""
    if text is None:
        return None
    try:
        read = [float(one) for one in text.split(",")]
        if not all(math.isfinite(one) for one in read):
            raise ValueError
    except ValueError:
        raise QexpError(f"{option} {shortened(text)}: write numbers with commas between them") from None
    return read


def files(option: str, given: Sequence[str] | None, count: int) -> list[tuple[Path, ...]] | None:
    """`["a.tif,b.tif"]` → the paths of each text; None where nothing is given."""
    if given is None:
        return None
    read = [tuple(Path(one) for one in text.split(",")) for text in given]
    for text, paths in zip(given, read, strict=True):
        if len(paths) != count:
            raise QexpError(f"{option} {shortened(text)}: write {count} files with commas between them")
    return read

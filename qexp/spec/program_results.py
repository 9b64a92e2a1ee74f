"""The results of a program that is not qexp's: a JSON file of numbers, read strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.errors import Problem, SpecError
from qexp.spec import load
from qexp.spec.finding import Finding

PARTS = ("train", "validation", "test")

PART, OUTPUT = "test", "result"
"""Part and output of metrics that are given without them."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

LARGEST_FILE = 1_000_000
"""Largest size of a results file [bytes]."""

FORMS = 'write {"mae": 0.1}, or {"test": {"depth": {"mae": 0.1}}} (part, output, metric)'

MOST_SHOWN = 5
"""Largest number of problems in a message."""

Numbers = dict[str, dict[str, dict[str, float | None]]]


def read(file: Path, shown: str) -> Numbers:
    """part → output → metric → value; None for null. Raises SpecError with all problems.

    shown  name of the file in errors
    A flat object of metrics belongs to the part `test` and the output `result`; an empty one holds no numbers.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise SpecError([Problem(shown, (), f"is larger than {LARGEST_FILE:,} bytes; {FORMS}")])
        document = load.parse(content.decode(), shown)
    except FileNotFoundError:
        raise SpecError([Problem(shown, (), "there is no such file")]) from None
    except OSError as error:
        raise SpecError([Problem(shown, (), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise SpecError([Problem(shown, (), "is not UTF-8 text")]) from None
    if not document:
        return {}
    if not any(isinstance(value, dict) for value in document.values()):
        document = {PART: {OUTPUT: document}}
    if found := list(_problems(document)):
        raise SpecError([Problem(shown, *one) for one in found[:MOST_SHOWN]])
    return document


def _problems(document: dict[str, Any]) -> Iterator[Finding]:
    flat = set(document) == {PART} and set(document[PART]) == {OUTPUT}
    for part, outputs in document.items():
        if part not in PARTS:
            yield (part,), f"no part '{part}'; {suggestion(part, PARTS)}; {FORMS}"
        elif not _is_filled(outputs):
            yield (part,), f"must be an object of outputs, but is {load.described(outputs)}; {FORMS}"
        else:
            for output, metrics in outputs.items():
                yield from _in_output((() if flat else (part, output)), output, metrics)


def _in_output(where: tuple[str, ...], output: str, metrics: Any) -> Iterator[Finding]:
    if not NAME.fullmatch(output):
        yield where, f"'{output}' is not a name; use letters, digits, - and _, beginning with a letter"
    elif not _is_filled(metrics):
        yield where, f"must be an object of metrics, but is {load.described(metrics)}; {FORMS}"
    else:
        for metric, value in metrics.items():
            if not NAME.fullmatch(metric):
                yield (*where, metric), "is not a name; use letters, digits, - and _, beginning with a letter"
            elif value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                yield (*where, metric), f"must be a number or null, but is {load.described(value)}"


def _is_filled(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)

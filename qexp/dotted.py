"""Dotted paths into documents, some of whose keys have dots themselves, such as the variable `chamber.depth`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Steps = Sequence[str | int]


def keys_of(steps: Steps, document: Any) -> list[str | int]:
    """A path, divided at all dots, as the keys of a document: `["fixed", "chamber.depth"]`.

    Of the keys that a path may continue with, the longest is taken. A new key that begins like others with a dot has
    two steps: `chamber.x` beside `chamber.depth`.
    """
    found: list[str | int] = []
    while steps:
        count = _steps_of_key(steps, document) if isinstance(document, Mapping) else 1
        key = ".".join(map(str, steps[:count])) if count > 1 else steps[0]
        found.append(key)
        steps = steps[count:]
        if isinstance(document, Mapping):
            document = document.get(str(key))
        elif isinstance(document, list) and isinstance(key, int) and key < len(document):
            document = document[key]
        else:
            document = None
    return found


def _steps_of_key(steps: Steps, document: Mapping[str, Any]) -> int:
    for count in range(len(steps), 0, -1):
        if ".".join(map(str, steps[:count])) in document:
            return count
    alike = len(steps) > 1 and any(key.startswith(f"{steps[0]}.") for key in document)
    return 2 if alike else 1


def output_and_metric(path: str) -> tuple[str, str]:
    """`("chamber.depth", "mae")` of `chamber.depth.mae`: a metric has no dots."""
    output, _, metric = path.rpartition(".")
    return output, metric

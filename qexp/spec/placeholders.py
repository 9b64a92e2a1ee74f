"""Placeholders in the words of a command: `{seed}`, `{parameters.rate}`; `{{` and `}}` stand for braces."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from qexp.did_you_mean import suggestion

RUN_VALUES = {
    "seed": "the seed of the run",
    "run": "the run's folder",
    "results": "the file to which the program writes its results",
    "parameters": "a JSON file with the parameters",
    "workspace": "the folder that holds specs/",
    "attempt": "the number of the attempt, from 1 on",
}
"""Placeholder that every command has → what is put in its place."""

OF_PARAMETERS = "parameters."

PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def values_of(parameters: Mapping[str, Any], prefix: str = OF_PARAMETERS) -> dict[str, str]:
    """`{"parameters.rate": "0.1"}`: a text for each parameter; nested ones with a dot between the names."""
    values: dict[str, str] = {}
    for name, value in parameters.items():
        values[prefix + name] = value if isinstance(value, str) else _compact(value)
        if isinstance(value, Mapping):
            values |= values_of(value, f"{prefix}{name}.")
    return values


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def names_in(text: str) -> list[str]:
    """The names of the placeholders in a text."""
    return [match[1] for match in PIECE.finditer(text) if match[1] is not None]


def problems_in(text: str, known: Collection[str]) -> Iterator[str]:
    """What is wrong with the braces of a text, in words."""
    for match in PIECE.finditer(text):
        if match[1] is not None and match[1] not in known:
            yield f"no placeholder '{{{match[1]}}}'; {suggestion(match[1], known)}"
        elif match[0] in ("{", "}"):
            yield f"a single '{match[0]}'; write '{match[0] * 2}' for a brace, or a placeholder such as {{seed}}"


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders replaced. Raises KeyError for an unknown one."""
    return PIECE.sub(lambda match: match[0][0] if match[1] is None else values[match[1]], text)

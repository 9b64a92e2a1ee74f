"""The values of a run that can stand in the words of its command: `{seed}`, `{parameters.rate}`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.placeholders import names_in, single_brace

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


def problems_in(text: str, known: Collection[str]) -> Iterator[str]:
    """What is wrong with the placeholders of a text, in words."""
    for name in names_in(text):
        if name not in known:
            yield f"no placeholder '{{{name}}}'; {suggestion(name, known)}"
    if (brace := single_brace(text)) is not None:
        yield f"a single '{brace}'; write '{brace * 2}' for a brace, or a placeholder such as {{seed}}"

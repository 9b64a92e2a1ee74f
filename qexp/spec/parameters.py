"""The parameters that a schema declares, as rows of a table for people to read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

HEADINGS = ("parameter", "values", "default", "meaning")


def rows_of(schema: Mapping[str, Any], before: str = "") -> Iterator[list[str]]:
    """A row per parameter, and below it one per key of the objects that it holds, such as `views[].incidence`.

    before  the beginning of the names
    """
    for name, of_one in schema["properties"].items():
        yield [before + name, _range(of_one), _default(name, schema), of_one.get("description", "")]
        listed = of_one.get("type") == "array"
        held = of_one.get("items", {}) if listed else of_one
        if "properties" in held and held.get("additionalProperties") is False:
            yield from rows_of(held, f"{before}{name}{'[]' if listed else ''}.")


def _default(name: str, schema: Mapping[str, Any]) -> str:
    """Empty for a parameter that may be left out and has no value then."""
    if name in schema.get("required", []):
        return "required"
    of_one = schema["properties"][name]
    return json.dumps(of_one["default"], ensure_ascii=False) if "default" in of_one else ""


def _range(schema: Mapping[str, Any]) -> str:
    """A parameter's schema in a few words."""
    if "enum" in schema:
        return " | ".join(str(choice) for choice in schema["enum"])
    kind = schema.get("type") or schema.get("$ref", "any").rpartition("/")[2]
    words = " or ".join(kind) if isinstance(kind, list) else kind
    if words == "array":
        words = f"list of {_range(schema.get('items', {}))}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([words, *limits])

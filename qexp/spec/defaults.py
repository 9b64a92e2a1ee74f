"""Short forms expanded and defaults filled in."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from qexp.tables import Table


def long_form(value: Any, table: Table, key: str = "type") -> dict[str, Any]:
    """`"adam"` or `["adam", {…}]` → `{"type": "adam", "parameters": {…}}`, every parameter written out.

    A parameter whose schema has `"x-left-out": "default"` is written only where it is not its default, so that specs
    without it stay as they were before it came; with `"always"`, it changes nothing and is never written.
    """
    if isinstance(value, str):
        value = {key: value}
    elif isinstance(value, list):
        value = {key: value[0], "parameters": value[1] if len(value) > 1 else {}}
    entry = table[value[key]]
    defaults = json.loads(json.dumps(entry.defaults))
    written = {**defaults, **value.get("parameters", {})}
    for name, schema in entry.parameters.get("properties", {}).items():
        left_out = schema.get("x-left-out")
        if left_out == "always" or (left_out == "default" and written[name] == defaults[name]):
            del written[name]
    return {key: value[key], "parameters": written}


def defaults_in(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Key → default, for the properties of a schema that have one."""
    return {name: copy.deepcopy(value["default"]) for name, value in schema["properties"].items() if "default" in value}

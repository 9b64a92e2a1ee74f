"""Short forms expanded and defaults filled in."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from qexp.tables import Table


def long_form(value: Any, table: Table, key: str = "type") -> dict[str, Any]:
    """`"adam"` or `["adam", {…}]` → `{"type": "adam", "parameters": {…}}`, every parameter written out."""
    if isinstance(value, str):
        value = {key: value}
    elif isinstance(value, list):
        value = {key: value[0], "parameters": value[1] if len(value) > 1 else {}}
    defaults = json.loads(json.dumps(table[value[key]].defaults))
    return {key: value[key], "parameters": {**defaults, **value.get("parameters", {})}}


def defaults_in(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Key → default, for the properties of a schema that have one."""
    return {name: copy.deepcopy(value["default"]) for name, value in schema["properties"].items() if "default" in value}

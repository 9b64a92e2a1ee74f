"""What a table of named, buildable things is: an entry, and how names are looked up in it.

A table is a literal dictionary from the name used in a spec to an `Entry`. Builders take what comes from
outside the spec as positional-only arguments and the spec's parameters as the others, so that parameters
and their defaults can be read from the signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    build: Callable[..., Any]
    parameters: Mapping[str, Any]
    """JSON Schema of the parameters: `properties`, and `required` where there is no default."""
    help: str
    example: Mapping[str, Any]
    """A description as it stands in a spec; a test validates and builds it."""

    def defaults(self) -> dict[str, Any]:
        """The parameters that may be left out, with the values that the builder gives them."""
        return {
            name: parameter.default
            for name, parameter in inspect.signature(self.build).parameters.items()
            if name in self.parameters.get("properties", {}) and parameter.default is not inspect.Parameter.empty
        }

    def schema(self) -> dict[str, Any]:
        """The whole JSON Schema of the parameters; unknown ones are errors."""
        defaults = self.defaults()
        properties = {
            name: {**schema, **({"default": defaults[name]} if name in defaults else {})}
            for name, schema in self.parameters.get("properties", {}).items()
        }
        return {"type": "object", **self.parameters, "properties": properties, "additionalProperties": False}


Table = Mapping[str, Entry]

Tables = Mapping[str, Mapping[str, Any]]
"""Name → table. That of `quantities` has a `quantities.Quantity` for each variable, all others have entries."""


def built(table: Table, description: Mapping[str, Any], *context: Any) -> Any:
    """Build what `{"type": …, "parameters": …}` describes; `context` goes before the parameters."""
    return table[description["type"]].build(*context, **description.get("parameters", {}))

"""What a table of named, buildable things is: an entry, and how names are looked up in it.

A table is a literal dictionary from the name used in a spec to an `Entry`. Builders take what comes from
outside the spec as positional-only arguments and the spec's parameters as the others, so that parameters
and their defaults can be read from the signature.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
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
Tables = Mapping[str, Table]


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name that was probably meant, if any comes near."""
    known = list(names)
    close = difflib.get_close_matches(name, known, n=len(known) or 1, cutoff=0.6)
    if close:
        return min(close, key=lambda other: edits(name, other))  # of equally many edits, difflib's first
    squeezed = {other.lower().replace("_", "").replace("-", ""): other for other in known}
    return squeezed.get(name.lower().replace("_", "").replace("-", ""))


def edits(one: str, other: str) -> int:
    """How many slips lead from one word to the other: a letter left out, added, mistaken, or two neighbours swapped.

    Damerau (1964), Commun. ACM 7, 171-176, where no letter is touched twice.
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted)))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                row[j] = min(row[j], above[j - 2] + 1)
    return row[-1]


def suggestion(name: str, names: Iterable[str]) -> str:
    """What to say after "no such thing": the nearest name, or all of them if none is near and they are few."""
    known = sorted(names)
    guess = nearest(name, known)
    if guess is not None:
        return f"did you mean '{guess}'?"
    if not known:
        return "there are none"
    shown = ", ".join(known[:16]) + (", …" if len(known) > 16 else "")
    return f"known: {shown}"


def built(table: Table, description: Mapping[str, Any], *context: Any) -> Any:
    """Build what `{"type": …, "parameters": …}` describes; `context` goes before the parameters."""
    return table[description["type"]].build(*context, **description.get("parameters", {}))

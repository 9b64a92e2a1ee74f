"""qexp tables"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qexp import api
from qexp.cli.arguments import EntryArgument, TableArgument
from qexp.cli.console import JsonOption, WorkspaceOption, print_json, print_table, result
from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError

if TYPE_CHECKING:
    from qexp.quantities import Quantities


def tables(
    table: TableArgument = None,
    name: EntryArgument = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show the names that specs may use: tables, their entries, parameters, defaults and an example."""
    known = api.tables(workspace=workspace)
    if table == "quantities":
        _print_quantities(known["quantities"], name, as_json)
        return
    if table is None:
        rows = [[key, ", ".join(entries)] for key, entries in known.items()]
        if as_json:
            print_json({key: list(entries) for key, entries in known.items()})
        else:
            print_table(["table", "entries"], rows)
        return
    if table not in known:
        raise NotFoundError(f"no table '{table}'; {suggestion(table, known)}")
    entries = known[table]
    if name is not None and name not in entries:
        raise NotFoundError(f"no entry '{name}' in {table}; {suggestion(name, entries)}")
    chosen = entries if name is None else {name: entries[name]}
    if as_json:
        print_json(
            {
                key: {"help": entry.help, "parameters": entry.schema(), "example": dict(entry.example)}
                for key, entry in chosen.items()
            }
        )
    elif name is None:
        print_table(["name", "what it is"], [[key, entry.help] for key, entry in entries.items()])
    else:
        _print_entry(name, entries[name])


def _print_entry(name: str, entry: Any) -> None:
    result(f"{name}: {entry.help}")
    if rows := list(_rows(entry.schema())):
        result("")
        print_table(["parameter", "values", "default", "meaning"], rows)
    result(f"\nexample: {json.dumps(dict(entry.example))}")


def _rows(schema: Mapping[str, Any], before: str = "") -> Iterator[list[str]]:
    """A row per parameter, and below it one per key of the objects that it holds, such as `views[].incidence`.

    before  the beginning of the names
    """
    for name, of_one in schema["properties"].items():
        needed = name in schema.get("required", [])
        default = "required" if needed else json.dumps(of_one.get("default"))
        yield [before + name, _range(of_one), default, of_one.get("description", "")]
        listed = of_one.get("type") == "array"
        held = of_one.get("items", {}) if listed else of_one
        if "properties" in held and held.get("additionalProperties") is False:
            yield from _rows(held, f"{before}{name}{'[]' if listed else ''}.")


def _range(schema: dict[str, Any]) -> str:
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


def _print_quantities(quantities: Quantities, name: str | None, as_json: bool) -> None:
    if name is not None and name not in quantities:
        raise NotFoundError(f"no quantity '{name}'; {suggestion(name, quantities)}")
    chosen = quantities if name is None else {name: quantities[name]}
    if as_json:
        print_json(
            {
                key: {"unit": one.unit, "si_factor": one.si_factor, "description": one.description}
                for key, one in chosen.items()
            }
        )
        return
    rows = [[key, one.unit, f"{one.si_factor:g}", one.description] for key, one in chosen.items()]
    print_table(["variable", "unit", "in SI", "meaning"], rows, right=["in SI"])

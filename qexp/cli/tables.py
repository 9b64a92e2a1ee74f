"""qexp tables"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qexp.cli.arguments import EntryArgument, TableArgument
from qexp.cli.console import JsonOption, WorkspaceOption, print_json, print_table, result

if TYPE_CHECKING:
    from qexp.quantities import Quantities


def tables(
    table: TableArgument = None,
    name: EntryArgument = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show what specs can name: tables, their entries, parameters, defaults and an example."""
    from qexp.assemble import tables_here
    from qexp.did_you_mean import suggestion
    from qexp.errors import NotFoundError
    from qexp.spec.schema import dataset_types

    known = tables_here(workspace)
    known = {"datasets": dataset_types(known), **known}
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
    schema = entry.schema()
    required = schema.get("required", [])
    rows = [
        [
            parameter,
            _range(of_parameter),
            "required" if parameter in required else json.dumps(of_parameter.get("default")),
            of_parameter.get("description", ""),
        ]
        for parameter, of_parameter in schema["properties"].items()
    ]
    if rows:
        result("")
        print_table(["parameter", "values", "default", "meaning"], rows)
    result(f"\nexample: {json.dumps(dict(entry.example))}")


def _range(schema: dict[str, Any]) -> str:
    """A parameter's schema in a few words."""
    if "enum" in schema:
        return " | ".join(str(choice) for choice in schema["enum"])
    kind = schema.get("type", "any")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    if words == "array":
        words = f"list of {_range(schema.get('items', {}))}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([words, *limits])


def _print_quantities(quantities: Quantities, name: str | None, as_json: bool) -> None:
    from qexp.did_you_mean import suggestion
    from qexp.errors import NotFoundError

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

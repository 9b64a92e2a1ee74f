"""qexp tables"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qexp import api
from qexp.cli.arguments import EntryArgument, TableArgument
from qexp.cli.console import JsonOption, WorkspaceOption, print_json, print_table, result
from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError
from qexp.spec.parameters import HEADINGS, rows_of

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
    if rows := list(rows_of(entry.schema())):
        result("")
        print_table(list(HEADINGS), rows)
    result(f"\nexample: {json.dumps(dict(entry.example))}")


def _print_quantities(quantities: Quantities, name: str | None, as_json: bool) -> None:
    if name is not None and name not in quantities:
        raise NotFoundError(f"no quantity '{name}'; {suggestion(name, quantities)}")
    chosen = quantities if name is None else {name: quantities[name]}
    if as_json:
        print_json(
            {
                key: {
                    "unit": one.unit,
                    "si_factor": one.si_factor,
                    "description": one.description,
                    "plausible": None if one.plausible is None else list(one.plausible),
                }
                for key, one in chosen.items()
            }
        )
        return
    rows = [
        [
            key, one.unit, f"{one.si_factor:g}",
            "" if one.plausible is None else "{:g} to {:g}".format(*one.plausible), one.description,
        ]
        for key, one in chosen.items()
    ]  # fmt: skip
    print_table(["variable", "unit", "in SI", "plausible", "meaning"], rows, right=["in SI"])

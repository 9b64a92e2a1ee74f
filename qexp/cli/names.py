"""Names for shell completion and `qexp --help`, which have no time to load what defines them.

`python -m qexp.cli.names` (or `make names`) writes them to `names.json`; a test checks that the
file is current.
"""

from __future__ import annotations

import json
from typing import Any

from qexp.cli.completion import NAMES


def document() -> dict[str, dict[str, Any]]:
    """What `names.json` holds: command → its purpose, table → its entries, choice → its values."""
    from typer.main import get_command

    from qexp.cli import GROUPS, app
    from qexp.examples.kinds import EXAMPLES
    from qexp.export.graphs import FORMATS
    from qexp.figures.writing import FORMATS as FIGURE_FORMATS
    from qexp.foreign.fitting import shipped
    from qexp.kinds.evaluation import PARTS
    from qexp.kinds.tables import BUILT_IN
    from qexp.observations.readers import READERS
    from qexp.spec.experiences import WRITTEN
    from qexp.spec.kinds import KINDS, kind_named
    from qexp.spec.resolution import FOLDERS
    from qexp.spec.schema import tables_of_types
    from qexp.store.record import LISTED

    tables = {**BUILT_IN, **tables_of_types(BUILT_IN)}
    choices = {
        "keys of experiences": (
            {key for each in WRITTEN.values() for key in each.schema()["properties"]} - {"type"}
        ),
        "export formats": FORMATS,
        "formats of observations": [reader.help for reader in READERS.built_in.values()],
        "figure formats": FIGURE_FORMATS,
        "parts": PARTS,
        "figures": {
            figure for name in KINDS.built_in for figure in kind_named(name).load("figures")
        },
        "kinds of examples": EXAMPLES,
        "kinds of specs": FOLDERS,
        "rules of weights": shipped(),
        "states": LISTED,
    }
    root: Any = get_command(app)
    return {
        "commands": {
            name: " ".join(str(root.commands[name].help).partition("\n\n")[0].split())
            for group in GROUPS.values()
            for name in group
        },
        "tables": {name: sorted(entries) for name, entries in sorted(tables.items())},
        "choices": {name: sorted(values) for name, values in choices.items()},
    }


def text() -> str:
    """JSON with a line for each command, table and choice."""
    parts = []
    for part, entries in document().items():
        lines = [
            f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
            for name, value in entries.items()
        ]
        parts.append(f" {json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    NAMES.write_text(text(), encoding="utf-8")

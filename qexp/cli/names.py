"""Names for shell completion, which has no time to load what defines them.

`python -m qexp.cli.names` (or `make names`) writes them to `names.json`; a test checks that the file is current.
"""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("names.json")


def document() -> dict[str, dict[str, list[str]]]:
    """What `names.json` should hold: table → names of its entries, and other choices → their values."""
    from qexp.export.network import FORMATS
    from qexp.figures.canvas import FORMATS as FIGURE_FORMATS
    from qexp.foreign.fitting import shipped
    from qexp.kinds.evaluation import PARTS
    from qexp.kinds.tables import BUILT_IN
    from qexp.spec.kinds import KINDS, kind_named
    from qexp.spec.schema import DOCUMENTS, tables_of_types
    from qexp.store.record import LISTED

    tables = {**BUILT_IN, **tables_of_types(BUILT_IN)}
    choices = {
        "export formats": FORMATS,
        "figure formats": FIGURE_FORMATS,
        "parts": PARTS,
        "figures": {figure for name in KINDS for figure in kind_named(name).load("figures")},
        "kinds of specs": DOCUMENTS,
        "rules of weights": shipped(),
        "states": LISTED,
    }
    return {
        "tables": {name: sorted(entries) for name, entries in sorted(tables.items())},
        "choices": {name: sorted(values) for name, values in choices.items()},
    }


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")

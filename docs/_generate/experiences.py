"""The experiences that `qexp init` puts into a new workspace."""

from __future__ import annotations

import json
from pathlib import Path

from _generate.markdown import code, prose, table

SPECS = Path(__file__).parents[2] / "specs"


def page() -> str:
    rows = []
    for file in sorted((SPECS / "experiences").glob("*.json")):
        spec = json.loads(file.read_text(encoding="utf-8"))
        parts = [spec.get(key, "") for key in ("dataset", "model")]
        rows.append(
            [code(file.stem), *(code(part) for part in parts), prose(spec.get("description", ""))]
        )
    return (
        "# Shipped experiences\n\nEvery new workspace has these in `specs/experiences/`. "
        "The [gallery](../gallery.md) shows what some of them give.\n\n"
        + table(["experience", "dataset", "model", "description"], rows)
        + "\n"
    )

"""Transforms of an experience, built to be tried on its data."""

from __future__ import annotations

from typing import Any

from qexp.datasets.transforms.transform import Transform
from qexp.spec import defaults
from qexp.spec.finding import Finding
from qexp.tables import Tables, built

Document = dict[str, Any]

ANOTHER_TRANSFORM = "use another transform, or leave the column out"


def built_transforms(document: Document, tables: Tables) -> tuple[dict[str, Transform], list[Finding]]:
    """The transforms of an experience that can be built, and the problems of the parameters of the others."""
    made: dict[str, Transform] = {}
    found: list[Finding] = []
    for name, value in document.get("transforms", {}).items():
        try:
            made[name] = built(tables["transforms"], defaults.long_form(value, tables["transforms"]))
        except ValueError as error:
            found.append((("transforms", name, "parameters"), str(error)))
    return made, found

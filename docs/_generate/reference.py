"""The generated pages; they are written into docs/reference and docs/design, where git ignores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _generate import commands, design, errors, experiences, files, places, python, tables

PAGES: dict[str, Callable[[], str]] = {
    "reference/commands": commands.page,
    "reference/datasets": tables.datasets,
    "reference/models": tables.models,
    "reference/experiences": tables.experiences,
    **{f"reference/{name}": tables.page_of(name) for name in tables.ENTRIES},
    "reference/quantities": tables.quantities,
    "reference/python": python.page,
    "reference/files": files.page,
    "reference/environment": places.page,
    "reference/exit-codes": errors.page,
    "reference/shipped": experiences.page,
    "design/index": design.page,
}
"""Name of a page → what writes it."""


def write(app: Any) -> None:
    """Write all pages; those that are the same stay untouched, so that a second build skips them."""
    for name, text in PAGES.items():
        file = app.srcdir / f"{name}.md"
        new = text()
        if not file.exists() or file.read_text(encoding="utf-8") != new:
            file.parent.mkdir(exist_ok=True)
            file.write_text(new, encoding="utf-8")

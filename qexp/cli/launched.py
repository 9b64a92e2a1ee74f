"""What is left to do when a command has run something."""

from __future__ import annotations

from qexp.cli.console import warning
from qexp.workspace import Workspace


def refresh_catalog(place: Workspace) -> None:
    """Take up what is new, where that is quick, and say what cannot be read."""
    from qexp.runs.catalog.catalog import Catalog

    catalog = Catalog(place)
    catalog.refresh_if_small()
    for text in catalog.warnings:
        warning(text)

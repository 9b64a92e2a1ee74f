"""qexp reindex"""

from __future__ import annotations

from qexp.cli.console import WorkspaceOption, message, warning


def reindex(workspace: WorkspaceOption = None) -> None:
    """Build the catalog again from the run directories."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.workspace import find

    catalog = Catalog(find(workspace))
    count = catalog.reindex()
    for text in catalog.warnings:
        warning(text)
    message(f"{count} runs")

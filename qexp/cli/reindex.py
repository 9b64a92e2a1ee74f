"""qexp reindex"""

from __future__ import annotations

from qexp import api
from qexp.cli.console import WorkspaceOption, message, warning


def reindex(workspace: WorkspaceOption = None) -> None:
    """Build the catalog again from the run directories."""
    message(f"{api.reindex(warn=warning, workspace=workspace)} runs")

"""qexp where"""

from __future__ import annotations

from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, result


def where(
    run: RunArgument,
    workspace: WorkspaceOption = None,
) -> None:
    """Print where a run lies: cd $(qexp where RUN)."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.workspace import find

    result(str(Catalog(find(workspace)).find(run).path.resolve()))

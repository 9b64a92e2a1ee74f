"""qexp where"""

from __future__ import annotations

from qexp import api
from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, result


def where(
    run: RunArgument,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the directory of a run: cd $(qexp where RUN)."""
    result(str(api.open_run(run, workspace=workspace).path.resolve()))

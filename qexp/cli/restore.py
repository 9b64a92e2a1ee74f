"""qexp restore"""

from __future__ import annotations

from qexp import api
from qexp.cli.arguments import TrashedArgument
from qexp.cli.console import WorkspaceOption, message, print_table
from qexp.files import in_bytes, size_of


def restore(
    run: TrashedArgument = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Restore a run from the trash, the newest with that name; without a name, list the trash."""
    if run is not None:
        message(f"{api.restore(run, workspace=workspace).name} is restored")
        return
    entries = api.trash(workspace=workspace)
    if not entries:
        message("the trash is empty")
        return
    rows = [
        [entry.name, f"{entry.since:%Y-%m-%d %H:%M}", in_bytes(size_of(entry.data)), entry.path.name]
        for entry in entries
    ]
    print_table(["run", "removed", "size", "name in the trash"], rows, right=["size"])

"""qexp restore"""

from __future__ import annotations

from qexp.cli.arguments import TrashedArgument
from qexp.cli.console import WorkspaceOption, message, print_table
from qexp.files import in_bytes


def restore(
    run: TrashedArgument = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Bring a run back from the trash, the newest of that name; without a name, list the trash."""
    from qexp.files import size_of
    from qexp.runs.upkeep import trash
    from qexp.workspace import find

    place = find(workspace)
    if run is not None:
        message(f"{trash.restore(run, place).name} is back")
        return
    entries = trash.entries(place)
    if not entries:
        message("the trash is empty")
        return
    rows = [
        [entry.name, f"{entry.since:%Y-%m-%d %H:%M}", in_bytes(size_of(entry.data)), entry.path.name]
        for entry in entries
    ]
    print_table(["run", "removed", "size", "name in the trash"], rows, right=["size"])

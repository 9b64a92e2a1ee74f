"""qexp doctor"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, result


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended without loss.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Find what is wrong in the workspace, and say what would help; exit with 5 if something damaged stays so."""
    from qexp.runs.upkeep.doctor import examine
    from qexp.workspace import find

    place = find(workspace)
    found = examine(place, fix)
    if as_json:
        print_json([finding.document() for finding in found])
    else:
        for finding in found:
            shown = place.shown(finding.where)
            where = shown if shown.isprintable() else repr(shown)
            result(f"{where}: {finding.what}\n    {'mended' if finding.mended else finding.advice}")
    left = [finding for finding in found if not finding.mended]
    damaged = sum(finding.damaged for finding in left)
    mendable = sum(finding.mend is not None for finding in left)
    if found:
        message(f"{len(found)} found, {len(found) - len(left)} mended, {damaged} damaged")
    else:
        message("all is well")
    if mendable and not fix:
        message(f"--fix would mend {mendable}")
    raise typer.Exit(5 if damaged else 0)

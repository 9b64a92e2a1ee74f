"""qexp doctor"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, result
from qexp.workspace import find


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired without loss.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Find problems in the workspace and advise what to do; exit with 5 if something remains damaged."""
    place = find(workspace)
    found = api.doctor(fix=fix, workspace=workspace)
    if as_json:
        print_json([finding.document() for finding in found])
    else:
        for finding in found:
            shown = place.shown(finding.where)
            where = shown if shown.isprintable() else repr(shown)
            result(f"{where}: {finding.what}\n    {'repaired' if finding.repaired else finding.advice}")
    left = [finding for finding in found if not finding.repaired]
    damaged = sum(finding.damaged for finding in left)
    repairable = sum(finding.repair is not None for finding in left)
    if found:
        message(f"{len(found)} found, {len(found) - len(left)} repaired, {damaged} damaged")
    else:
        message("no problems found")
    if repairable and not fix:
        message(f"--fix would repair {repairable}")
    raise typer.Exit(5 if damaged else 0)

"""qexp action"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.arguments import RUNS
from qexp.cli.console import JsonOption, WorkspaceOption, error, message, print_json, print_table, result
from qexp.errors import QexpError
from qexp.workspace import find


def action(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A table [actions.NAME] in qexp.toml; all of them are listed if left out.",
            autocompletion=completion.actions,
        ),
    ] = None,
    runs: Annotated[list[str] | None, RUNS] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Run a command of your own on runs: its output is kept in actions/NAME of each run.

    The command is divided into words before {run.path}, {run.seed}, {run.test.depth.mae} or any other column is filled
    in, and no shell is called. It starts in the workspace, and writes to {action.path}, also in QEXP_ACTION_DIR.
    """
    if name is None:
        _print_actions(as_json, workspace)
        return
    if not runs:
        raise QexpError(f"name the runs: qexp action {name} RUN...")
    place, documents, failed, count = find(workspace), [], [], 0
    for run, acted in api.act(name, runs, workspace=workspace):
        count += 1
        if isinstance(acted, QexpError):
            failed.append(acted.exit_code)
            error(str(acted))
            continue
        documents.append({**acted.record, "path": str(acted.folder)})
        if not acted.done:
            failed.append(1)
            why = acted.record["error"] or f"exit code {acted.record['exit_code']}"
            error(f"{name} failed on {run}: {why}; see {place.shown(acted.folder / 'log.txt')}")
        elif not as_json:
            message(f"{name} on {run}: done")
            result(place.shown(acted.folder))
    if as_json:
        print_json(documents)
    if failed:
        raise typer.Exit(4 if len(failed) < count else failed[0])


def _print_actions(as_json: bool, workspace: str | None) -> None:
    known = api.actions(workspace=workspace)
    if as_json:
        print_json([{"name": one.name, "command": one.command, "help": one.help} for one in known.values()])
    elif known:
        print_table(["name", "command", "help"], [[one.name, one.command, one.help] for one in known.values()])
    else:
        message(
            'no actions; define one in qexp.toml: [actions.NAME] and below it command = "python plot.py {run.path}"'
        )

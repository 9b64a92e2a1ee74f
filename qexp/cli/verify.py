"""qexp verify"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.analysis.comparison.rounding import number
from qexp.cli import completion
from qexp.cli.arguments import RunArgument, TrustCodeOption
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_table, result

if TYPE_CHECKING:
    from qexp.runs.upkeep.output_diff import Largest
    from qexp.runs.upkeep.verify import Verification

LONGEST = 48
"""Characters of a value that are shown; --json has all."""


def verify(
    run: RunArgument,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New or empty folder in which the repeated run is kept.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Compute device: auto, cpu or cuda; that of the run if left out.", autocompletion=completion.devices
        ),
    ] = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Repeat a finished run in another folder and compare all results bit by bit; exit with 1 if they differ."""
    verification = api.open_run(run, trust_code=trust_code, workspace=workspace).verify(keep=keep, device=device)
    if as_json:
        print_json(verification.document())
    else:
        _print(verification)
    if keep is not None:
        message(f"the repeated run is kept in {keep}")
    elif verification.error:
        message("the repeated run was deleted; keep it and its log with --keep DIR")
    raise typer.Exit(0 if verification.holds else 1)


def _print(verification: Verification) -> None:
    verdict = "identical, bit for bit" if verification.holds else "NOT identical"
    if verification.error:
        verdict = f"NOT repeated; it failed this time: {verification.error}"
    result(f"{verification.run}: {verdict}\n")
    if not verification.error:
        print_table(["what", "then and now"], [[name, _outcome(verification, name)] for name in verification.identical])
        result("")
    result(f"code: {verification.code}")
    if verification.changes:
        result("\nwhat changed since")
        rows = [[one.what, _brief(one.then), _brief(one.now)] for one in verification.changes]
        print_table(["what", "then", "now"], rows)
    else:
        result("packages, machine and settings: unchanged")


def _brief(value: str | None) -> str:
    if value is None:
        return "-"
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"


def _outcome(verification: Verification, name: str) -> str:
    if verification.identical[name]:
        return f"identical, {verification.epochs} epochs" if name == "metrics" else "identical"
    if name == "metrics":
        return f"differ from epoch {verification.first_epoch} on, of {verification.epochs}"
    return f"differ, most in {_most(verification.largest[name])}" if name in verification.largest else "differ"


def _most(largest: Largest) -> str:
    return largest.where if largest.difference is None else f"{largest.where}: by {number(largest.difference)}"

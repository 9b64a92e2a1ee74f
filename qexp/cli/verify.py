"""qexp verify"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
        Path | None, typer.Option(metavar="DIR", help="Keep the repeated run there; it must be new or empty.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu or cuda; as the run had it if left out.", autocompletion=completion.devices),
    ] = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Run a finished run again, elsewhere, and say whether the same bits come out; exit with 1 if not."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.upkeep.verify import verify as repeat
    from qexp.workspace import find

    place = find(workspace)
    verification = repeat(Catalog(place).find(run).trusting(trust_code), place, keep=keep, device=device)
    if as_json:
        print_json(verification.document())
    else:
        _print(verification)
    if keep is not None:
        message(f"the repeated run is kept in {keep}")
    elif verification.error:
        message("its log is gone with it; look at it with --keep DIR")
    raise typer.Exit(0 if verification.holds else 1)


def _print(verification: Verification) -> None:
    verdict = "identical, bit for bit" if verification.holds else "NOT identical"
    if verification.error:
        verdict = f"NOT repeated; it came to no end this time: {verification.error}"
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
        result("packages, machine and settings: as they were")


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

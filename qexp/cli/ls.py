"""qexp ls"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from qexp.cli.console import (
    JsonOption,
    WorkspaceOption,
    message,
    number,
    print_csv,
    print_json,
    print_table,
    result,
    warning,
)

ON_TERMINAL = 50
"""Rows that a terminal gets without --all."""


def ls(
    status: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help='Only runs for which it holds: "seed < 5".')
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Order by a field, such as created or results.test.depth.mae.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    names: Annotated[bool, typer.Option("-q", "--quiet", help="Print names only.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help=f"On a terminal: not the newest {ON_TERMINAL} only.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """List runs."""
    from qexp.runs.catalog import Catalog
    from qexp.runs.select import ordered, select
    from qexp.workspace import find

    catalog = Catalog(find(workspace))
    runs = ordered(select(catalog.runs(), where=where, status=status), sort, reverse)
    for text in catalog.warnings:
        warning(text)
    if as_json:
        print_json(runs)
    elif names:
        for one in runs:
            result(one["name"])
    elif as_csv:
        columns = ["name", "experience", "dataset", "model", "seed", "state", "created", "ended", "seconds"]
        metrics = _metrics(runs)
        rows = [[*(one[key] for key in columns), *(_metric(one, path) for path in metrics)] for one in runs]
        print_csv([*columns, *metrics], rows)
    elif not runs:
        message("no runs" + (" like that" if status or where else "; start one with: qexp run EXPERIENCE"))
    else:
        _print(runs, everything)


def _print(runs: list[dict[str, Any]], everything: bool) -> None:
    hidden = 0
    if sys.stdout.isatty() and not everything and len(runs) > ON_TERMINAL:
        newest = {one["name"] for one in sorted(runs, key=lambda one: one["created"] or "")[-ON_TERMINAL:]}
        hidden = len(runs) - len(newest)
        runs = [one for one in runs if one["name"] in newest]
    errors = list(dict.fromkeys(output for one in runs for output in (one["results"] or {}).get("test", {})))
    units = {output: unit for one in runs for output, unit in one["units"].items()}
    columns = ["name", "state", "seed", "epochs", *(_error_title(output, units) for output in errors), "created"]
    if any(one["overrides"] for one in runs):
        columns.append("set")
    rows = [
        [
            one["name"],
            one["state"],
            str(one["seed"]),
            _epochs(one["epochs"]),
            *(number(_metric(one, f"test.{output}.mae")) for output in errors),
            (one["created"] or "")[:16].replace("T", " "),
            *([" ".join(one["overrides"] or [])] if "set" in columns else []),
        ]
        for one in runs
    ]
    print_table(columns, rows, right=["seed", "epochs", *columns[4 : 4 + len(errors)]])
    if hidden:
        message(f"and {hidden} older ones; see them with --all")


def _error_title(output: str, units: dict[str, str]) -> str:
    unit = units.get(output)
    return f"{output} mae" + (f" ({unit})" if unit else "")


def _epochs(epochs: dict[str, Any] | None) -> str:
    return f"{epochs['done']}/{epochs['of']}" if epochs else "-"


def _metrics(runs: list[dict[str, Any]]) -> list[str]:
    return list(
        dict.fromkeys(
            f"{part}.{output}.{metric}"
            for one in runs
            for part, outputs in (one["results"] or {}).items()
            for output, metrics in outputs.items()
            for metric in metrics
        )
    )


def _metric(run: dict[str, Any], path: str) -> Any:
    part, output, metric = path.split(".")
    return ((run["results"] or {}).get(part, {}).get(output) or {}).get(metric)

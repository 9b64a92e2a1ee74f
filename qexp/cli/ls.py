"""qexp ls"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qexp import api
from qexp.analysis.listing import in_csv
from qexp.cli import completion
from qexp.cli.arguments import LaunchOption, StatusOption
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_csv, print_json, result, warning
from qexp.cli.listing import (
    documents,
    metrics_of,
    print_columns,
    print_groups,
    print_runs,
    print_tree,
    rows_of,
    with_ancestors,
    with_cautions,
)
from qexp.errors import QexpError

ON_TERMINAL = 50
"""Rows that a terminal gets without --all."""

IN_CSV = ["name", "experience", "dataset", "model", "seed", "state", "created", "ended", "seconds"]
"""Columns of --csv before the metrics."""


TagsOption = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="Only runs with this tag; repeat to require several."),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION",
        help='Only runs that fulfil a condition on columns, such as "seed < 5 and test.depth.mae < 0.1 and '
        'learning_rate == 1e-3 and code.commit != null".',
    ),
]
SortOption = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        help="Order by a field, such as created or test.depth.mae.",
        autocompletion=completion.columns,
    ),
]
LimitOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="At most N runs: the first ones by --sort, else the newest.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD,FIELD",
        help="Columns: fields of the record, metrics (test.depth.mae), keys of the spec (learning_rate).",
        autocompletion=completion.columns,
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD,...",
        help="One row per value of a field, or per combination of values of several, with the mean test errors of the "
        "runs.",
        autocompletion=completion.columns,
    ),
]
LineageOption = Annotated[
    bool, typer.Option("--lineage", help="Show a tree, each run below the one that it was pretrained from.")
]
EverythingOption = Annotated[
    bool, typer.Option("--all", help=f"List all runs; a terminal shows only the newest {ON_TERMINAL} otherwise.")
]
RefreshOption = Annotated[
    bool, typer.Option("--refresh/--no-refresh", help="Look for changed runs first, or print the catalog as it is.")
]


def ls(
    status: StatusOption = None,
    tags: TagsOption = None,
    where: WhereOption = None,
    launch: LaunchOption = None,
    sort: SortOption = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Reverse the order.")] = False,
    limit: LimitOption = None,
    columns: ColumnsOption = None,
    size: Annotated[bool, typer.Option("--size", help="Add the size of the run directory.")] = False,
    group: GroupOption = None,
    lineage: LineageOption = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    names: Annotated[bool, typer.Option("-q", "--quiet", help="Print names only.")] = False,
    everything: EverythingOption = False,
    refresh: RefreshOption = True,
    workspace: WorkspaceOption = None,
) -> None:
    """List runs with their states and test errors."""
    chosen = _chosen(columns, group=group, size=size, names=names)
    if lineage and (chosen is not None or group is not None or as_csv or names):
        raise QexpError("--lineage shows whole rows as a tree; leave out --columns, --group, --csv and --quiet")
    every_run = api.every_run(refresh=refresh, warn=warning, workspace=workspace)
    found = api.select(
        every_run, where, status=status, tags=tags or [], launch=launch, warn=warning, workspace=workspace
    )
    runs = api.ordered(found, sort, reverse, warn=warning)
    if chosen is not None or as_csv:
        chosen = with_cautions(chosen or [*IN_CSV, *metrics_of(runs)], runs)
    if group is not None:
        print_groups(runs, _names("--group", group), limit, size=size, as_json=as_json, as_csv=as_csv)
        return
    if limit is not None:
        runs = api.newest(runs, limit) if sort is None else runs[:limit]
    if as_json:
        listed = documents(runs, chosen, size)
        print_json(with_ancestors(listed, every_run) if lineage else listed)
    elif names:
        for one in runs:
            result(one["name"])
    elif as_csv:
        shown = [*(chosen or []), *(["size"] if size else [])]
        print_csv(shown, [[in_csv(value) for value in row] for row in rows_of(runs, shown)])
    elif not runs:
        message(
            "no runs" + (" match" if status or where or tags or launch else "; start one with: qexp run EXPERIENCE")
        )
    else:
        some = api.newest(runs, ON_TERMINAL) if sys.stdout.isatty() and not everything and limit is None else runs
        if lineage:
            print_tree(some, every_run, size)
        elif chosen is None:
            print_runs(some, size)
        else:
            print_columns(some, [*chosen, *(["size"] if size else [])])
        if len(some) < len(runs):
            message(f"and {len(runs) - len(some)} older ones; see them with --all")


def _chosen(columns: str | None, *, group: str | None, size: bool, names: bool) -> list[str] | None:
    """The columns to show; None for the usual ones. Raises QexpError where options exclude each other."""
    if group is not None and columns is not None:
        raise QexpError("--columns is for rows of single runs, --group for rows of several; leave out one of them")
    if names and (group is not None or columns is not None or size):
        raise QexpError("--quiet prints names alone; leave out --columns, --size and --group")
    if columns is None:
        return None
    return _names("--columns", columns)


def _names(option: str, text: str) -> list[str]:
    """Fields with commas between them."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise QexpError(f"{option} {text!r}: a name is empty; write, for example, seed,learning_rate")
    return names

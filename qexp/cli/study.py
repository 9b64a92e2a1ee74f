"""qexp study"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp.cli import completion
from qexp.cli.arguments import (
    DeviceOption,
    ExperiencesArgument,
    LauncherOption,
    LauncherOptionsOption,
    TrustCodeOption,
)
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_table, result, warning
from qexp.cli.launched import refresh_catalog
from qexp.runs.schedulers import LOCAL

if TYPE_CHECKING:
    from qexp.analysis.studies import Study
    from qexp.runs.planning.prepare import Plan
    from qexp.workspace import Workspace

MANY = 10_000
"""A study of more runs is asked about."""


def study(
    experiences: ExperiencesArgument,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY.PATH=A,B",
            help="Values to go through, the first key along the figure; a.b+c.d=A,B sets two keys at once.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="A:B", help="A run for each seed: 0:5, or 0,2,5.")] = "0:5",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change the specs for these runs.")
    ] = None,
    pretrain: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERIENCE",
            help="Run this first; experiences with 'pretrain' in their spec start from its run.",
            autocompletion=completion.experiences,
        ),
    ] = None,
    pretrain_grid: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY.PATH=A,B", help="Values of pretraining to go through, before those of --grid."),
    ] = None,
    pretrain_overrides: Annotated[
        list[str] | None,
        typer.Option("--pretrain-set", metavar="KEY.PATH=VALUE", help="Change the spec of --pretrain."),
    ] = None,
    pretrain_seed: Annotated[
        str, typer.Option(metavar="SEED", help="Of the run that all start from; 'same': each from one of its own seed.")
    ] = "0",
    metric: Annotated[
        str | None,
        typer.Option(metavar="OUTPUT.METRIC", help="What to draw; r2 of the first output if left out."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where it is written; studies/<experience>_<key> if left out."),
    ] = None,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Run those again that ended without a result, and no others.")
    ] = False,
    trust_code: TrustCodeOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", help="At most so many runs at a time.")] = None,
    launcher: LauncherOption = LOCAL,
    options: LauncherOptionsOption = None,
    yes: Annotated[bool, typer.Option("--yes", help=f"Start more than {MANY:,} runs without asking.")] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Run experiences over a grid and seeds, and draw what a metric is over it: one table, one figure.

    What has run already is not run again, and what was interrupted goes on; the same command once more draws the same.
    Jobs of a cluster are waited for.
    The folder holds study.csv with a row for each run, table.csv with means, Student's 95 % intervals and paired
    differences of every two experiences, and study.png.
    """
    from qexp.analysis import studies
    from qexp.cli.pool_display import PoolDisplay
    from qexp.runs.launch.sweep import Order
    from qexp.workspace import find

    place = find(workspace)
    runs = Order(
        experiences=experiences, seeds=seeds, grid=grid or [], overrides=overrides or [], only_failed=only_failed,
        trust_code=trust_code, jobs=jobs, device=device, launcher=launcher, options=options or [],
    )  # fmt: skip
    first = studies.pretraining(pretrain, pretrain_grid or [], pretrain_overrides or [], pretrain_seed)
    asked = studies.Asked(runs, first, metric)
    if dry_run:
        _print_planned(*studies.planned(asked, place))
        return
    try:
        made = studies.study(asked, place, out, most=None if yes else MANY, watched=PoolDisplay, tell=message)
    finally:
        refresh_catalog(place)
    if as_json:
        print_json(made.document())
    else:
        _print_made(made, place)
    for name, state in made.unfinished.items():
        warning(f"{name} is {state.words}, and does not count")
    raise typer.Exit(4 if made.unfinished else 0)


def _print_planned(plans: Sequence[Plan], is_all: bool) -> None:
    for plan in plans:
        result("  ".join([plan.name, *plan.overrides]))
    if not is_all:
        message("the runs that start from these are planned when they are done")


def _print_made(made: Study, place: Workspace) -> None:
    for table in (made.results(), *made.differences()):
        result(table.title)
        print_table(table.columns, table.rows, right=list(table.right))
        result("")
    for text in made.remarks():
        result(text)
    for path in made.files:
        result(place.shown(path))

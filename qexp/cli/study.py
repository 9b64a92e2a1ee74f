"""qexp study"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli import arguments, completion, texts
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_parts, result, warning
from qexp.errors import QexpError
from qexp.runs.schedulers import LOCAL
from qexp.workspace import find

if TYPE_CHECKING:
    from qexp.analysis.studies import Study
    from qexp.runs.planning.prepare import Plan


GridOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY.PATH=A,B",
        help="Values of a key; the first --grid is the horizontal axis. a.b+c.d=A,B gives two keys the same value.",
    ),
]
SeedsOption = Annotated[str, typer.Option(metavar="A:B", help="Train one run per seed: 0:5 for 0 to 4, or 0,2,5.")]
PretrainOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPERIENCE",
        help="Train this first; experiences with 'pretrain' in their spec start from its run.",
        autocompletion=completion.experiences,
    ),
]
PretrainGridOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY.PATH=A,B", help="Values of a key of the pretraining; they precede those of --grid."),
]
PretrainSetOption = Annotated[
    list[str] | None,
    typer.Option("--pretrain-set", metavar="KEY.PATH=VALUE", help="Override a value of the spec of --pretrain."),
]
PretrainSeedOption = Annotated[
    str,
    typer.Option(metavar="SEED", help="Seed of the pretraining; 'same': each run starts from one with its own seed."),
]
MetricOption = Annotated[
    str | None,
    typer.Option(metavar="OUTPUT.METRIC", help="The metric to draw; r2 of the first output if left out."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder for tables and figure; studies/<experience>_<key> if left out."),
]


def study(
    experiences: arguments.ExperiencesArgument,
    grid: GridOption = None,
    points: arguments.PointsOption = None,
    seeds: SeedsOption = "0:5",
    overrides: arguments.SetOption = None,
    pretrain: PretrainOption = None,
    pretrain_grid: PretrainGridOption = None,
    pretrain_overrides: PretrainSetOption = None,
    pretrain_seed: PretrainSeedOption = "0",
    metric: MetricOption = None,
    out: OutOption = None,
    only_failed: arguments.OnlyFailedOption = False,
    trust_code: arguments.TrustCodeOption = False,
    dry_run: arguments.DryRunOption = False,
    jobs: arguments.JobsOption = None,
    launcher: arguments.LauncherOption = LOCAL,
    options: arguments.LauncherOptionsOption = None,
    profile: arguments.ProfileOption = None,
    tags: arguments.TagsOption = None,
    note: arguments.NoteOption = "",
    yes: arguments.YesToManyOption = False,
    device: arguments.DeviceOption = "auto",
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Train experiences over a grid and seeds, and draw a metric over the grid: one table, one figure.

    Runs that are done are not repeated, and interrupted ones continue; repeating the command draws the same.
    The command waits for the jobs of a cluster.
    The folder holds study.csv with a row for each run, table.csv with means, Student's 95 % intervals and paired
    differences between every two experiences, and study.png.
    """
    order = api.Order(
        experiences, texts.seeds(seeds), texts.grid(grid or [], points=points), texts.overrides(overrides or []),
        only_failed=only_failed, trust_code=trust_code, jobs=jobs, device=device, launcher=launcher,
        tags=tags or [], note=note, options=texts.launcher_options(options or []), profile=profile,
    )  # fmt: skip
    pretraining = _pretraining(pretrain, pretrain_grid or [], pretrain_overrides or [], pretrain_seed)
    if dry_run:
        _print_planned(*api.planned_study(order, pretraining=pretraining, metric=metric, workspace=workspace))
        return
    made = _studied(order, pretraining, metric, out, None if yes else arguments.MANY, workspace)
    if as_json:
        print_json(made.document())
    else:
        _print_made(made, workspace)
    for name, state in made.unfinished.items():
        warning(f"{name} is {state.words}, and is not counted")
    raise typer.Exit(4 if made.unfinished else 0)


def _pretraining(
    experience: str | None, grid: Sequence[str], overrides: Sequence[str], seed: str
) -> api.Pretraining | None:
    if experience is None:
        if grid or overrides or seed != "0":
            raise QexpError("--pretrain-grid, --pretrain-set and --pretrain-seed are for --pretrain EXPERIENCE")
        return None
    return api.Pretraining(
        experience,
        texts.grid(grid, "--pretrain-grid"),
        texts.overrides(overrides, "--pretrain-set"),
        int(seed) if seed.isdecimal() and len(seed) <= texts.MOST_DIGITS else seed,
    )


def _studied(
    order: api.Order,
    pretraining: api.Pretraining | None,
    metric: str | None,
    out: Path | None,
    most: int | None,
    workspace: str | None,
) -> Study:
    from qexp.cli.pool_display import PoolDisplay

    find(workspace)  # an error of its own, before the catalog is asked for
    try:
        return api.study(
            order, pretraining=pretraining, metric=metric, out=out, watched=PoolDisplay, tell=message, most=most,
            workspace=workspace,
        )  # fmt: skip
    finally:
        api.refresh(warn=warning, workspace=workspace)


def _print_planned(plans: Sequence[Plan], is_all: bool) -> None:
    for plan in plans:
        result("  ".join([plan.name, *plan.overrides]))
    if not is_all:
        message("the runs that start from these are planned when they are done")


def _print_made(made: Study, workspace: str | None) -> None:
    for table in (made.results(), *made.differences()):
        print_parts([table])
        result("")
    for text in made.remarks():
        result(text)
    for path in made.files:
        result(find(workspace).shown(path))

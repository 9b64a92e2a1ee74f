"""qexp run"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli import arguments, completion, texts
from qexp.cli.console import TrainingDisplay, WorkspaceOption, message, print_parts, result, warning
from qexp.errors import QexpError
from qexp.runs.schedulers import LOCAL
from qexp.workspace import find

if TYPE_CHECKING:
    from qexp.runs.launch.sweep import Launched, Workload
    from qexp.runs.record.state import State


SeedOption = Annotated[str | None, typer.Option(metavar="NUMBER", help="Random seed of the run; 0 if left out.")]
SeedsOption = Annotated[
    str | None, typer.Option(metavar="A:B", help="Train one run per seed: 0:10 for 0 to 9, or 0,2,5.")
]
GridOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY.PATH=A,B",
        help="Train one run per value of a key, also log:1e-4:1e-2:5 or lin:0:1:5; several --grid give all "
        "combinations. a.b,c.d=1:2,3:4 changes two keys step by step.",
    ),
]
PretrainOption = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="Start from the best weights of this run; of several seeds each from that with its own: 'mogi_{seed}'.",
        autocompletion=completion.runs,
    ),
]
AllowLeakOption = Annotated[
    bool,
    typer.Option("--allow-leak", help="Allow test spectra that were also used for training; every output is marked."),
]
StoragePathOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for the run directories; runs/ gets links to them.")
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Return at once; the runs continue in the background.")]


def run(
    experiences: arguments.ExperiencesArgument,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    grid: GridOption = None,
    points: arguments.PointsOption = None,
    overrides: arguments.SetOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of a single run; if left out <experience>_<seed>, with a digest between them if --set or --grid "
            "change the spec, and a run that has the same spec and seed already is not trained again."
        ),
    ] = None,
    pretrain: PretrainOption = None,
    allow_leak: AllowLeakOption = False,
    storage_path: StoragePathOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue interrupted runs.")] = False,
    only_failed: arguments.OnlyFailedOption = False,
    trust_code: arguments.TrustCodeOption = False,
    dry_run: arguments.DryRunOption = False,
    jobs: arguments.JobsOption = None,
    launcher: arguments.LauncherOption = LOCAL,
    options: arguments.LauncherOptionsOption = None,
    profile: arguments.ProfileOption = None,
    detach: DetachOption = False,
    tags: arguments.TagsOption = None,
    note: arguments.NoteOption = "",
    yes: arguments.YesToManyOption = False,
    device: arguments.DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Train experiences and evaluate them on their test data: one run, or a sweep over seeds and a grid."""
    if seed is not None and seeds is not None:
        raise QexpError("--seed and --seeds exclude each other; --seeds trains one run per seed")
    order = api.Order(
        experiences, [texts.seed(seed)] if seeds is None else texts.seeds(seeds), texts.grid(grid or [], points=points),
        texts.overrides(overrides or []), pretrain=pretrain, allow_leak=allow_leak, storage_path=storage_path,
        resume=resume, only_failed=only_failed, trust_code=trust_code, jobs=jobs, device=device, launcher=launcher,
        tags=tags or [], note=note, options=texts.launcher_options(options or []), profile=profile,
    )  # fmt: skip
    single = len(experiences) == 1 and seeds is None and not order.grid
    if single and not (only_failed or dry_run or detach or options or profile or launcher != LOCAL):
        if jobs not in (None, 1):
            raise QexpError("-j is for several runs; add --seeds or --grid")
        _run_one(order, name, workspace)
        return
    if name is not None and not single:
        raise QexpError("--name is for a single run; runs of sweeps are named by experience, change and seed")
    _run_sweep(order, name, workspace, dry_run=dry_run, detach=detach, most=None if yes else arguments.MANY)


def _run_one(order: api.Order, name: str | None, workspace: str | None) -> None:
    with warnings_shown():
        trained, now = api.train(order, name=name, workspace=workspace, display=TrainingDisplay())
    if not now:
        message(f"{trained.name} is done already; nothing to do")
    print_trained(trained, workspace)


def print_trained(trained: api.Run, workspace: str | None) -> None:
    """Add a run to the catalog, and print its results."""
    from qexp.analysis.comparison.result_tables import estimators, field_errors, own_results

    api.refresh(warn=warning, workspace=workspace)
    record = trained.directory.record()
    print_parts(own_results(trained.directory, record))
    print_parts(estimators(record), apart=True)
    print_parts(field_errors(record), apart=True)
    work = "of training, " if record.epochs.of else ""
    message(f"{trained.name}: {record.seconds:.1f} s {work}in {find(workspace).shown(trained.path)}")


class _Shown(logging.Handler):
    """Prints the warnings of a run's log, which few open when the run went well; errors are printed anyway."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            warning(record.getMessage())


@contextmanager
def warnings_shown() -> Iterator[None]:
    handler = _Shown()
    log = logging.getLogger("qexp.run")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _run_sweep(
    order: api.Order, name: str | None, workspace: str | None, *, dry_run: bool, detach: bool, most: int | None
) -> None:
    from qexp.cli.pool_display import PoolDisplay

    checked = api.prepare(order, name=name, workspace=workspace)
    workload = checked.workload
    for text in dict.fromkeys(text for plan in (*workload.again, *workload.new) for text in plan.warnings):
        warning(text)
    _print_left(workload)
    if dry_run:
        for plan in (*workload.again, *workload.new):
            result("  ".join([plan.name, *plan.overrides]))
        if not (workload.again or workload.new):
            message("nothing to run")
        return
    launched = api.launch(checked, watched=PoolDisplay, tell=message, most=most, detached=detach, workspace=workspace)
    if launched is None:
        message("nothing to run")
        raise typer.Exit(4 if workload.left else 0)
    _print_launched(launched, workload, workspace)


def _print_launched(launched: Launched, workload: Workload, workspace: str | None) -> None:
    if launched.jobs is not None:
        for run, job in launched.jobs.items():
            result(f"{run}  {job}")
    elif launched.states is None:
        message(f"the launch continues in the background; follow it with: qexp ls --launch {launched.launch.id}")
        result(launched.launch.id)
    else:
        api.refresh(warn=warning, workspace=workspace)
        _end(launched.states, launched.stopped, len(workload.new) + len(workload.again), workload)


def _end(states: dict[str, State], stopped: bool, count: int, workload: Workload) -> None:
    """Print how the runs of a pool ended, and exit with the matching code."""
    from qexp.runs.record.state import State

    _print_ends(states, count)
    if stopped:
        raise typer.Exit(130)
    if len(states) < count or set(states.values()) != {State.DONE} or workload.left:
        raise typer.Exit(1 if count == 1 and not workload.left else 4)


def _print_left(workload: Workload) -> None:
    for text in workload.stand_ins:
        message(text)
    if workload.done:
        message(f"{len(workload.done)} done already")
    by_state: dict[State, list[str]] = {}
    for name, state in workload.left.items():
        by_state.setdefault(state, []).append(name)
    for state, names in by_state.items():
        hint = "" if state.at_work else "; repeat with --only-failed"
        hint = "; continue with --resume" if state.resumable else hint
        message(f"left alone, {state.words}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}{hint}")


def _print_ends(states: dict[str, State], count: int) -> None:
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    ended = ", ".join(f"{number} {state.words}" for state, number in counts.items())
    never = count - len(states)
    message(f"{count} runs: {ended}" + (f"{', ' * bool(ended)}{never} not started" if never else ""))

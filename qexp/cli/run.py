"""qexp run"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp.cli.arguments import (
    AllowLeakOption,
    DeviceOption,
    ExperiencesArgument,
    LauncherOption,
    LauncherOptionsOption,
    PretrainOption,
    TrustCodeOption,
)
from qexp.cli.console import TrainingDisplay, WorkspaceOption, message, result, warning
from qexp.cli.launched import refresh_catalog
from qexp.runs.schedulers import LOCAL

if TYPE_CHECKING:
    from qexp.runs.launch.sweep import Order, Workload
    from qexp.runs.record.state import State
    from qexp.workspace import Workspace

MANY = 10_000
"""A sweep of more runs is asked about."""


def run(
    experiences: ExperiencesArgument,
    seed: Annotated[int | None, typer.Option(help="Where all randomness of the run comes from; 0 if left out.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="A:B", help="A run for each seed: 0:10, or 0,2,5.")] = None,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="KEY.PATH=A,B", help="A run for each value; several --grid multiply.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change the spec for these runs.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; <experience>_<seed> if left out.")] = None,
    pretrain: PretrainOption = None,
    allow_leak: AllowLeakOption = False,
    storage_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep runs there; runs/ gets links to them.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with runs that were interrupted.")] = False,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Of a sweep, only those that ended without a result.")
    ] = False,
    trust_code: TrustCodeOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", help="At most so many runs at a time.")] = None,
    launcher: LauncherOption = LOCAL,
    options: LauncherOptionsOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the runs go on by themselves.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help=f"Start more than {MANY:,} runs without asking.")] = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Train experiences, and judge them on the test part: one run, or a sweep over seeds and a grid of changes."""
    from qexp.errors import QexpError
    from qexp.runs.launch.sweep import Order
    from qexp.workspace import find

    if seed is not None and seeds is not None:
        raise QexpError("--seed and --seeds exclude each other; --seeds has a run for each of several")
    place = find(workspace)
    order = Order(
        experiences=experiences, seeds=seeds or str(seed or 0), grid=grid or [], overrides=overrides or [],
        pretrain=pretrain, allow_leak=allow_leak, storage=storage_path, resume=resume, only_failed=only_failed,
        trust_code=trust_code, jobs=jobs, device=device, launcher=launcher, options=options or [],
    )  # fmt: skip
    single = len(experiences) == 1 and seeds is None and not grid
    if single and not (only_failed or dry_run or detach or options or launcher != LOCAL):
        if jobs not in (None, 1):
            raise QexpError("-j is for several runs; name seeds or a grid")
        _run_one(order, seed or 0, name, place)
        return
    if name is not None:
        raise QexpError("--name is for a single run; those of a sweep are named by experience, change and seed")
    _run_sweep(order, place, dry_run=dry_run, detach=detach, yes=yes)


def _run_one(order: Order, seed: int, name: str | None, place: Workspace) -> None:
    from qexp.cli.show import print_estimators, print_field_errors, print_results
    from qexp.runs.launch.start import start

    with _warnings_shown():
        directory, worked = start(
            order.experiences[0],
            place,
            seed=seed,
            overrides=order.overrides,
            name=name,
            pretrain=order.pretrain,
            allow_leak=order.allow_leak,
            storage=order.storage,
            resume=order.resume,
            trust_code=order.trust_code,
            device=order.device,
            display=TrainingDisplay(),
        )
    refresh_catalog(place)
    record = directory.record()
    if not worked:
        message(f"{directory.name} is done already; nothing to do")
    print_results(record)
    print_estimators(record)
    print_field_errors(record)
    message(f"{directory.name}: {record.seconds:.1f} s of training, in {place.shown(directory.path)}")


class _Shown(logging.Handler):
    """Prints what a run warns of in its log, which few read of a run that went well; errors are told anyway."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            warning(record.getMessage())


@contextmanager
def _warnings_shown() -> Iterator[None]:
    handler = _Shown()
    log = logging.getLogger("qexp.run")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _run_sweep(order: Order, place: Workspace, *, dry_run: bool, detach: bool, yes: bool) -> None:
    from qexp.cli.pool_display import PoolDisplay
    from qexp.runs.launch import sweep

    checked = sweep.check_order(order, place)
    workload = checked.workload
    for text in dict.fromkeys(text for plan in (*workload.again, *workload.new) for text in plan.warnings):
        warning(text)
    _say_what_is_left(workload)
    if dry_run:
        for plan in (*workload.again, *workload.new):
            result("  ".join([plan.name, *plan.overrides]))
        return
    most = None if yes else MANY
    made = sweep.launched(checked, place, watched=PoolDisplay, tell=message, most=most, detached=detach)
    if made is None:
        message("nothing to run")
        raise typer.Exit(4 if workload.left else 0)
    if made.jobs is not None:
        for run, job in made.jobs.items():
            result(f"{run}  {job}")
    elif made.states is None:
        message(f"it goes on without this terminal; look with: qexp ls --launch {made.launch.id}")
        result(made.launch.id)
    else:
        refresh_catalog(place)
        _end(made.states, made.stopped, len(workload.new) + len(workload.again), workload)


def _end(states: dict[str, State], stopped: bool, count: int, workload: Workload) -> None:
    """Say how the runs of a pool ended, and end with an exit code that says so, too."""
    from qexp.runs.record.state import State

    _say_how_it_ended(states, count)
    if stopped:
        raise typer.Exit(130)
    if len(states) < count or set(states.values()) != {State.DONE} or workload.left:
        raise typer.Exit(1 if count == 1 and not workload.left else 4)


def _say_what_is_left(workload: Workload) -> None:
    if workload.done:
        message(f"{len(workload.done)} done already")
    by_state: dict[State, list[str]] = {}
    for name, state in workload.left.items():
        by_state.setdefault(state, []).append(name)
    for state, names in by_state.items():
        hint = "" if state.at_work else "; run them again with --only-failed"
        hint = "; go on with --resume" if state.resumable else hint
        message(f"left alone, {state.words}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}{hint}")


def _say_how_it_ended(states: dict[str, State], count: int) -> None:
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    ended = ", ".join(f"{number} {state.words}" for state, number in counts.items())
    never = count - len(states)
    message(f"{count} runs: {ended}" + (f"{', ' * bool(ended)}{never} not started" if never else ""))

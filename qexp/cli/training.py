"""qexp run, rerun, study, tune, status, wait, stop"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from qexp import api
from qexp.api.progress import PoolDisplay, TrainingDisplay, warnings_told
from qexp.base.files import make_folder, write_bytes
from qexp.base.options import Opening, argument, option
from qexp.base.workspace import find
from qexp.cli.console import (
    JSON,
    OTHER_RUNS,
    RUN,
    WORKSPACE,
    arranged,
    error,
    message,
    piece,
    print_json,
    print_parts,
    print_sentence,
    result,
    warning,
)
from qexp.cli.listing import columns_of, print_runs, print_search
from qexp.errors import DamagedError, QexpError
from qexp.jobs.launchers import LOCAL
from qexp.kinds.options import DistilOptions
from qexp.runs.order import (
    MOST_DIGITS,
    STUDY_SEEDS,
    USUAL_SEEDS,
    Order,
    RerunOptions,
    StudyOptions,
    read_grid,
    read_overrides,
    read_points,
    read_seed,
    read_seeds,
)
from qexp.store.record import State
from qexp.tuning.options import Tuning

if TYPE_CHECKING:
    from qexp.runs.launch import Workload
    from qexp.runs.prepare import Plan


MANY_RUNS = 10_000
"""Starting more runs at once needs --yes."""


@dataclass(frozen=True, kw_only=True)
class Starting:
    """What is to be started of an order."""

    points: Path | None = option(
        None,
        'Train one run per point of a file: JSON, [{"KEY.PATH": VALUE, ...}, ...], or TOML, tables'
        " named points.",
        "FILE",
    )
    dry_run: bool = option(False, "List the runs that would be started, and start none.")
    yes: bool = option(False, f"Start more than {MANY_RUNS:,} runs, which is refused otherwise.")

    @property
    def most(self) -> int | None:
        """The largest number of runs."""
        return None if self.yes else MANY_RUNS


@dataclass(frozen=True, kw_only=True)
class StartingRuns(Starting):
    """What `qexp run` is told besides its order."""

    seed: int | None = option(None, "Random seed of the run; 0 if left out.", "N", read=read_seed)
    name: str | None = option(
        None,
        "Name of a single run; {digest} in it is that of its spec. If left out <experience>_<seed>,"
        " with a digest between them if --set or --grid change the spec, and a run that has the"
        " same spec and seed already is not trained again.",
    )
    done: Path | None = option(
        None,
        "File that gets the names of the runs once all of them are done, now or before: what a rule"
        " of Snakemake or make has as its output.",
        "FILE",
    )
    detach: bool = option(False, "Return at once; the runs continue in the background.")
    queue: bool = option(
        False, "Return at once; the runs wait in the queue of this machine, see 'qexp queue'."
    )


@arranged(everyday="seed seeds overrides grid name jobs resume dry_run")
def run(order: Order, start: StartingRuns, workspace: str | None = WORKSPACE) -> None:
    """Train experiences and test them: one run, or a sweep over seeds and a grid."""
    several = order.seeds != USUAL_SEEDS
    name = start.name
    if start.seed is not None:
        if several:
            raise QexpError(
                "--seed and --seeds exclude each other; --seeds trains one run per seed"
            )
        order = replace(order, seeds=[start.seed])
    elif several and len(order.seeds) == 1 and order.seeds[0] > 1:
        (seed,) = order.seeds
        message(f"one run, with seed {seed}; for {seed} of them: --seeds 0:{seed}")
    order = _with_points(order, start.points)
    single = len(order.references) == 1 and not several and not order.grid
    on_a_cluster = order.profile or order.launcher != LOCAL
    if start.queue and (start.detach or on_a_cluster):
        raise QexpError("--queue is for this machine, in the background; leave out other launchers")
    if start.done is not None and (start.dry_run or start.detach or start.queue or on_a_cluster):
        raise QexpError(
            "--done is for runs that this command trains itself; a cluster's job can call it with"
            " --done"
        )
    apart = start.dry_run or start.detach or start.queue or on_a_cluster or order.options
    if single and not (order.only_failed or apart):
        if order.jobs not in (None, 1):
            raise QexpError("-j is for several runs; add --seeds or --grid")
        with warnings_told(warning):
            trained, now = api.train(
                order, name=name, workspace=workspace, display=TrainingDisplay()
            )
        if not now:
            message(f"{trained.name} is done already; nothing to do")
        print_trained(trained, workspace)
        _write_names(start.done, [trained.name])
        return
    if name is not None and not single:
        raise QexpError(
            "--name is for a single run; runs of sweeps are named by experience, change and seed"
        )
    _write_names(start.done, _run_sweep(order, start, workspace))


def _write_names(file: Path | None, names: Sequence[str]) -> None:
    if file is not None:
        make_folder(file.absolute().parent)
        write_bytes(file, "".join(f"{name}\n" for name in names).encode())


def _with_points(order: Order, points: Path | None) -> Order:
    """An order with a file's points in its grid. Raises QexpError for a value among experiences."""
    for word in order.references:
        if "=" in word and not Path(word).exists():
            several = "--grid" if "," in word else "--set"
            raise QexpError(
                f"{word} is no experience; if it belongs to --grid or --set, repeat that: {several}"
                f" {word}"
            )
    return order if points is None else replace(order, grid={**read_points(points), **order.grid})


def print_trained(trained: api.Run, workspace: str | Path | None) -> None:
    """Add a run to the catalog, and print its results."""
    from qexp.results.errors import estimators, field_errors, own_results

    api.refresh(warn=warning, workspace=workspace)
    record = trained.directory.record()
    tables = own_results(trained.directory, record)
    print_parts([*tables, *estimators(record), *field_errors(record)])
    work = "" if record.kind == "program" else "of training, "
    place = find(workspace).shown(trained.path)
    message(f"{trained.name}: {record.seconds:.1f} s {work}in {place}")


def _run_sweep(order: api.Order, start: StartingRuns, workspace: str | None) -> list[str]:
    """Returns the names of the runs, all done unless some were only planned, or handed over."""
    checked_order = api.prepare(order, name=start.name, workspace=workspace)
    workload = checked_order.workload
    plans = workload.to_run
    names = [plan.name for plan in checked_order.plans]
    warning(*checked_order.warnings)
    done = [f"{len(workload.done)} done already"] if workload.done else []
    message(*workload.stand_ins, *done, *workload.left_in_words)
    if checked_order.nothing_to_resume:
        warning(checked_order.nothing_to_resume)
    if start.dry_run:
        _print_plans(plans)
        if not plans:
            message("nothing to run")
        return names
    launched = api.launch(
        checked_order,
        watched=PoolDisplay,
        tell=message,
        most=start.most,
        detached=start.detach,
        queued=start.queue,
        workspace=workspace,
    )
    if launched is None:
        message("nothing to run")
        if workload.left:
            raise typer.Exit(4)
    elif launched.jobs is not None:
        result(*(f"{run}  {job}" for run, job in launched.jobs.items()))
    elif launched.states is None:
        message(
            "the launch continues in the background; follow it with: qexp ls"
            f" {'--queue' if start.queue else f'--launch {launched.launch.id}'}"
        )
        result(launched.launch.id)
        if launched.launch.record().settings["jobs"] == 0:
            message("the queue is paused; it goes on with: qexp queue -j 1")
    else:
        api.refresh(warn=warning, workspace=workspace)
        _end(
            launched.states,
            launched.stopped,
            len(plans),
            workload,
            order.resume,
        )
    return names


def _print_plans(plans: Sequence[Plan]) -> None:
    result(*("  ".join([plan.name, *plan.overrides]) for plan in plans))


def _end(
    states: dict[str, State], stopped: bool, count: int, workload: Workload, resumed: bool
) -> None:
    """Print how the runs of a pool ended, and exit with the matching code."""
    ended = [f"{number} {state.words}" for state, number in Counter(states.values()).items()]
    if len(states) < count:
        ended.append(f"{count - len(states)} not started")
    message(f"{count} runs: {', '.join(ended)}")
    if stopped or any(state.resumable for state in states.values()):
        message(f"the same command{'' if resumed else ' with --resume'} goes on")
    if stopped:
        raise typer.Exit(130)
    if len(states) < count or set(states.values()) != {State.DONE} or workload.left:
        raise typer.Exit(1 if count == 1 and not workload.left else 4)


def queue(
    runs: list[str] = OTHER_RUNS,
    position: str | None = option(
        None, "Put these waiting runs there: first, last, or a number from 1 on.", "PLACE"
    ),
    jobs: int | None = option(
        None,
        "How many runs are trained at a time from now on; 0: those at work end, others wait.",
        "-j --jobs N",
        least=0,
    ),
    workspace: str | None = WORKSPACE,
) -> None:
    states = api.queue(runs, position=position, jobs=jobs, workspace=workspace)
    result(*(f"{name}  {state.words}" for name, state in states.items()))


def rerun(options: RerunOptions, opening: Opening, run: str = RUN) -> None:
    """Train the spec that a run holds once more, as a new run, even if the files in specs/ have
    changed since.

    The run's own copy of specs/extensions.py is used. The new run is kept, and can have another
    seed or other values; 'qexp verify' instead repeats a run in a temporary folder, and compares
    every bit.
    """
    trained = api.open_run(run, **vars(opening))
    with warnings_told(warning):
        trained = trained.rerun(**{**vars(options), "display": TrainingDisplay()})
    print_trained(trained, opening.workspace)


def distil(options: DistilOptions, run: str = RUN) -> None:
    from qexp.results.distilled import Distilled

    trained = api.distil(run, **{**vars(options), "display": TrainingDisplay()})
    print_trained(trained, options.workspace)
    print_parts(Distilled(trained.directory).tables())


# qexp study


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions:
    """Options of a study's pretraining, which in Python is one object."""

    panels: ClassVar = {"What is trained": "pretrain_experience"}

    pretrain_experience: str | None = option(
        None,
        "Train this first; experiences with 'pretrain' in their spec start from its run.",
        "--pretrain EXPERIENCE",
        complete="experiences",
    )
    pretrain_grid: Mapping[str, list[Any]] = option(
        {},
        "Values of a key of the pretraining; they precede those of --grid.",
        "KEY.PATH=A,B",
        read=read_grid,
        complete="keys_of_pretraining",
    )
    pretrain_overrides: Mapping[str, Any] = option(
        {},
        "Override a value of the spec of --pretrain.",
        "--pretrain-set KEY.PATH=VALUE",
        read=read_overrides,
        complete="keys_of_pretraining",
    )
    pretrain_seed: str = option(
        "0", "Seed of the pretraining; 'same': each run starts from one with its own seed.", "SEED"
    )

    @property
    def pretraining(self) -> api.Pretraining | None:
        """Raises QexpError for what is said of a pretraining that is not named."""
        seed = self.pretrain_seed
        if self.pretrain_experience is None:
            if self.pretrain_grid or self.pretrain_overrides or seed != "0":
                raise QexpError(
                    "--pretrain-grid, --pretrain-set and --pretrain-seed are for --pretrain"
                    " EXPERIENCE"
                )
            return None
        of_all = int(seed) if seed.isdecimal() and len(seed) <= MOST_DIGITS else seed
        return api.Pretraining(
            self.pretrain_experience, self.pretrain_grid, self.pretrain_overrides, of_all
        )


@arranged(
    everyday="seeds overrides grid metric jobs",
    leave_out="seeds pretrain allow_leak storage_path resume",
)
def study(
    order: Order,
    options: StudyOptions,
    first: PretrainingOptions,
    start: Starting,
    seeds: str = option(
        f"0:{STUDY_SEEDS.stop}", "Train one run per seed: 0:5 for 0 to 4, or 0,2,5.", "A:B"
    ),
    as_json: bool = JSON,
) -> None:
    order = _with_points(replace(order, seeds=read_seeds("--seeds", seeds)), start.points)
    options = replace(options, pretraining=first.pretraining)
    if start.dry_run:
        plans, is_all = api.planned_study(order, **{**vars(options), "tell": message})
        _print_plans(plans)
        if not is_all:
            message("the runs that start from these are planned when they are done")
        elif not plans:
            message("nothing to run; the study is drawn from the runs that are done")
        return
    options = replace(options, most=start.most)
    home = options.home  # an error of its own, before the catalog is asked for
    try:
        finished = api.study(order, **{**vars(options), "watched": PoolDisplay, "tell": message})
    finally:
        api.refresh(warn=warning, workspace=options.workspace)
    if as_json:
        print_json(finished.document())
    else:
        for table in (finished.results(), *finished.differences()):
            print_parts([table])
            result("")
        result(*finished.remarks(), *map(home.shown, finished.files))
    for name, state in finished.unfinished.items():
        warning(f"{name} is {state.words}, and is not counted")
    raise typer.Exit(4 if finished.unfinished else 0)


@arranged(
    everyday="space trials metric overrides final_seeds jobs resume",
    leave_out="grid only_failed allow_leak",
)
def tune(tuning: Tuning, as_json: bool = JSON) -> None:
    try:
        tuned = api.tune(**{**vars(tuning), "watched": PoolDisplay})
    finally:
        api.refresh(warn=warning, workspace=tuning.workspace)
    print_search(tuned, as_json, tuning.workspace)
    if not as_json:
        message(*tuned.what_next())


# qexp status


SHOWN_RUNS = 20
"""Unfinished runs that are listed."""


def status(as_json: bool = JSON, workspace: str | None = WORKSPACE) -> None:
    """Show how many runs are in each state, which are running or waiting, and how much disk space
    they use.
    """
    status = api.status(warn=warning, workspace=workspace)
    if as_json:
        print_json(status.document())
        return
    print_sentence(status.counts_in_words())
    if status.unfinished:
        piece("\n")
        runs = list(status.unfinished[:SHOWN_RUNS])
        print_runs(runs, columns_of(runs, ["name", "state", "epochs", "started"]))
        if len(status.unfinished) > SHOWN_RUNS:
            message(f"and {len(status.unfinished) - SHOWN_RUNS} more; see them with qexp ls")
    piece("\n")
    print_sentence(status.sizes_in_words())


def wait(
    runs: list[str] = OTHER_RUNS,
    launch: str | None = option(
        None,
        "Also the runs of a launch, by its id; 'last' for the newest.",
        "ID",
        complete="launches",
    ),
    timeout: float | None = option(
        None, "Give up after this time, and exit with 2.", "SECONDS", least=0
    ),
    workspace: str | None = WORKSPACE,
) -> None:
    """Wait until runs have ended; exit with 0 if all are done, 1 if a single run failed, 4 if one
    of several did.
    """
    if not (runs or launch):
        raise QexpError("name the runs to wait for, or a launch: --launch last")
    states: list[State] = []
    damaged: list[DamagedError] = []
    for run, state in api.wait(runs, timeout, launch=launch, workspace=workspace):
        waiting = ", and no process will start it" if state is State.CREATED else ""
        message(f"{run.name}: {state.words}{waiting}")
        states.append(state)
        if state is State.DAMAGED:
            try:
                run.directory.record()
            except DamagedError as why:
                damaged.append(why)
    if damaged and len(states) == 1:
        raise damaged[0]
    error(*damaged)
    if any(state is not State.DONE for state in states):
        raise typer.Exit(1 if len(states) == 1 else 4)


def stop(
    runs: list[str] = argument(
        (), "Runs: names, unique prefixes or paths.", "RUN...", complete="runs"
    ),
    launch: str | None = option(
        None,
        "Stop all runs of a launch, and start no more of them; 'last' for the newest.",
        "ID",
        complete="launches",
    ),
    now: bool = option(False, "Kill them at once; the last checkpoint remains."),
    workspace: str | None = WORKSPACE,
) -> None:
    """Stop runs, here or on a cluster: they write a checkpoint and end as interrupted; `run
    --resume` continues.
    """
    if launch is not None:
        if runs or now:
            raise QexpError("--launch stops all runs of a launch; leave out run names and --now")
        for name, state in api.stop_launch(launch, workspace=workspace).items():
            message(f"{name}: {state}")
        return
    if not runs:
        raise QexpError("name the runs to stop, or a launch: --launch last")
    failed, count = [], 0
    for outcome in api.stop(runs, now=now, workspace=workspace):
        count += 1
        if outcome.error is not None:
            failed.append(outcome.error)
        elif outcome.was_running:
            message(f"{outcome.run.name}: {outcome.state}")
        elif outcome.state is not None:
            message(f"{outcome.run.name} is not running: {outcome.state.words}")
    if count == len(failed) == 1:
        raise failed[0]
    error(*failed)
    raise typer.Exit(4 if failed else 0)

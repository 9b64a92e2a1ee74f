"""Training: single runs, sweeps, studies; waiting for runs and stopping them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.api.handles import Run, Runs, open_run, open_runs
from qexp.api.listing import ListedRuns, chosen
from qexp.api.progress import counted, display_of, message, notices, watcher_of
from qexp.base import workspace as workspaces
from qexp.base.options import Report, as_warning, displayed, ignore, part_of, takes, uncounted
from qexp.errors import InterruptedRunError, NotFoundError, QexpError, some
from qexp.jobs import launchers, states
from qexp.jobs.launchers import Watcher
from qexp.jobs.queue import changing, move, states_in
from qexp.kinds.options import DistilOptions, NewOptions
from qexp.runs.catalog import Catalog
from qexp.runs.options import MoreRuns
from qexp.runs.order import (
    Order as Order,
    Pretraining as Pretraining,
    RunOptions,
    StudiedOptions,
    SweepOptions,
    Training,
)
from qexp.spec.resolution import FOLDERS
from qexp.store.record import State
from qexp.tuning.options import Tuning
from qexp.web.html import fields_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from qexp.kinds.attempt import Display
    from qexp.runs.launch import CheckedOrder, Launched
    from qexp.runs.prepare import Plan
    from qexp.web.notebook import ShownStudy, ShownTuned


@takes(
    RunOptions,
    elsewhere={
        "grid": "qexp.sweep takes one",
        "seed": "a run has one seed; qexp.sweep trains a run for each of several",
    },
)
def run(experience: str | Path, options: RunOptions) -> Run:
    """Train an experience with one seed in this process; a run that is done already is returned as
    it is.

    Raises QexpError: SpecError for a wrong spec, RunFailedError, InterruptedRunError.

    >>> run = qexp.run("mogi_quick", seed=0)
    >>> run.state
    'done'
    """
    if isinstance(experience, Iterable) and not isinstance(experience, str):
        one = "a run has one experience; qexp.sweep trains a run for each of several"
        raise QexpError(f"`experience={experience}`: {one}")
    order = Order(experience, [options.seed], **part_of(options, Training))
    return train(
        order, name=options.name, workspace=options.workspace, display=display_of(options.display)
    )[0]


def train(
    order: Order,
    *,
    name: str | None = None,
    workspace: str | Path | None = None,
    display: Display | None = None,
) -> tuple[Run, bool]:
    """Train the only run of an order in this process. Returns it, and False if it was done already.

    name     of the run; by experience, change and seed if left out
    display  is shown the progress; nothing is shown if left out
    Raises QexpError, as `run` does.

    >>> run, now = qexp.api.train(qexp.Order("mogi_quick", [0]))
    >>> now
    False
    """
    from qexp.runs.launch import start

    with notices():
        directory, trained = start(order, workspaces.find(workspace), name, display)
    return Run(directory), trained


def prepare(
    order: Order, *, name: str | None = None, workspace: str | Path | None = None
) -> CheckedOrder:
    """Check an order, and see which of its runs exist already; nothing is written.

    name     of the only run of the order, as for `train`
    returns  its `plans`; its `workload`: the plans that are new, repeated, done and left alone

    >>> prepared = qexp.api.prepare(qexp.Order("mogi_quick", range(2), {"epochs": [2, 3]}))
    >>> len(prepared.plans)
    4
    """
    from qexp.runs.launch import check_order

    return check_order(order, workspaces.find(workspace), name)


def launch(
    prepared: CheckedOrder,
    *,
    watched: Callable[[], Watcher] = Watcher,
    tell: Report = ignore,
    most: int | None = None,
    detached: bool = False,
    queued: bool = False,
    workspace: str | Path | None = None,
) -> Launched | None:
    """Run what was prepared, here or on a cluster; None if there is nothing to run.

    prepared  what `prepare` returned
    watched   makes the object that is shown the progress of a local pool
    tell      receives the id of the launch before anything starts
    most      the largest number of runs that may be started; more are an error
    detached  return at once; a process of its own runs the pool
    queued    return at once; the runs wait in the queue of this machine

    >>> order = qexp.Order("mogi_quick", [0], {"batch_size": [16]})
    >>> launched = qexp.api.launch(qexp.api.prepare(order))
    >>> [str(state) for state in launched.states.values()]
    ['done']
    """
    from qexp.runs.launch import launch_runs

    return launch_runs(
        prepared,
        workspaces.find(workspace),
        watched=watched,
        tell=tell,
        most=most,
        detached=detached,
        queued=queued,
    )


@takes(
    SweepOptions,
    elsewhere={
        "dry_run": "qexp.api.prepare(Order(…)) has the plans, and trains nothing",
        "detach": "qexp.api.launch takes `detached`",
        "queue": "qexp.api.launch takes `queued`",
        "name": "qexp.run takes one; runs of a sweep are named by experience, change and seed",
    },
)
def sweep(options: SweepOptions) -> ListedRuns:
    """Train all combinations of experiences, seeds and a grid; runs that are done already are not
    trained again.

    returns  all runs of the sweep, as a list that a notebook shows as a table, including those done
             before; with a cluster as soon as they are submitted

    >>> runs = qexp.sweep("mogi_quick", seeds=range(2), grid={"learning_rate": [1e-3, 3e-3]})
    >>> [run.seed for run in runs]
    [0, 1, 0, 1]
    """
    home = options.home
    prepared = prepare(options.order, workspace=home.root)
    with notices() as tell:
        load = prepared.workload
        new = prepared.nothing_to_resume
        for text in (
            *prepared.warnings,
            *load.stand_ins,
            *load.left_in_words,
            *([new] if new else []),
        ):
            tell(text)
        launched = launch(prepared, watched=watcher_of(options.watched), workspace=home.root)
        states = launched.states if launched is not None and launched.states else {}
        for state in dict.fromkeys(states.values()):
            if str(state) != "done":
                tell(
                    f"{state.words}:"
                    f" {some([name for name, other in states.items() if other is state])}"
                )
    there = [plan.name for plan in prepared.plans if (home.runs / plan.name).exists()]
    return ListedRuns(open_run(name, workspace=home.root) for name in there)


def posterior(
    simulator: Callable[[Any], ArrayLike] | str,
    prior: Any = None,
    *,
    simulations: int = 2000,
    at_once: int | None = None,
    names: Sequence[str] = (),
    name: str | None = None,
    axes: Sequence[str] = (),
    workspace: str | Path | None = None,
    **options: Any,
) -> Run:
    """Train a network that gives the posterior of a simulator's parameters, whatever is observed.

    Parameters are drawn from the prior, and simulated, once: a dataset of simulations, a model and
    an experience of the same name are written, which are yours to change: the next call takes model
    and experience as they are.

    simulator    a function of parameters, (simulation, parameter), that returns what is observed,
                 (simulation, value), (simulation, y, x) or (simulation, y, x, channel): of a tensor
                 if the prior is one of torch, else of a numpy array. Or one of the parameters of a
                 single simulation, (parameter,): it is called for each, and the same call goes on
                 where another ended. Or the name of a dataset of simulations
    prior        as for `dataset`, which has one already
    simulations  how many are made
    at_once      how many a function of all parameters is given at a time, after which the same call
                 goes on; else all
    names        of the parameters; theta1 and on, or those of the prior, if left out
    name         of the dataset, the model and the experience; that of the function if left out
    axes         of what is observed, as for `dataset`
    options      further ones of `run`, such as `seed` and `overrides`
    returns      the run: `run.posterior(observed=x)` draws from the posterior
    Raises QexpError, as `run` and `dataset` do, and for another simulator or prior under the same
    name.

    >>> import numpy as np
    >>> import scipy.stats
    >>> def cooling(theta):
    ...     curves = theta[:, :1] * np.exp(-np.outer(theta[:, 1], range(5)))
    ...     return curves + np.random.normal(0, 0.1, curves.shape)
    >>> prior = {"start": scipy.stats.uniform(1, 4), "rate": scipy.stats.uniform(0, 1)}
    >>> run = qexp.posterior(cooling, prior, simulations=500, overrides={"epochs": 2})
    >>> run.posterior(observed=[2.0, 1.2, 0.7, 0.5, 0.3], draws=100)["rate"].shape
    (1, 100)
    """
    from qexp.runs.new import new_simulations, new_specs  # loads torch

    if isinstance(simulator, str):
        home = workspaces.find(workspace)
        called = simulator
        if prior is not None or names or name:
            raise QexpError(
                f"`prior`, `names`, `name`: '{simulator}' is a dataset, which has them; leave"
                " them out"
            )
    else:
        called = name or str(getattr(simulator, "__name__", ""))
        if not called.isidentifier() and name is None:
            raise QexpError(f"`name`: the simulator is called '{called}'; give the dataset a name")
        for option, count in {
            "simulations": simulations,
            "at_once": 1 if at_once is None else at_once,
        }.items():
            if not isinstance(count, Real) or count < 1 or count % 1:
                raise QexpError(f"`{option}={count}`: a whole number, at least 1")
        home = workspaces.find(workspace, create=True)
        with (
            displayed(options.get("display")),
            counted(uncounted, "simulating", "simulations") as done,
        ):
            more = {"counted": done, "axes": axes, "at_once": at_once and int(at_once)}
            new_simulations(
                home,
                called,
                int(simulations),
                simulator,
                names,
                prior,
                **more,
            )
    if not (home.specs / FOLDERS["experience"] / f"{called}.json").exists():
        new_specs(home, NewOptions("experience", called))
    made = run(called, workspace=home.root, **options)
    message(f"{made.name}: in {home.shown(made.path)}")
    return made


@takes(DistilOptions)
def distil(run: str | Path | Run, options: DistilOptions) -> Run:
    """Train one small network on what all networks of a run on rows estimate together, to estimate
    much faster.

    Its table and its experience are written to data/distilled/ and specs/experiences/. A tenth of
    the rows is held out: over these its test errors are differences from the ensemble. Its
    estimates have no intervals. The same command continues a run that was interrupted.

    run      whose networks it stands for

    >>> run = qexp.run("lunar_tio2_by_mission")
    >>> qexp.distil(run, "data/lunar/stand_in_TiO2.csv").name
    'lunar_tio2_by_mission_0_distilled_0'
    """
    from qexp.spec.kinds import load_stage

    teacher = open_run(run, workspace=options.workspace, trust_code=options.trust_code).directory
    spec, keep_errors = load_stage(teacher.training_spec()["dataset"], "distil")(
        teacher, options.home, options
    )
    resume = (options.home.runs / f"{spec.stem}_{options.seed}").exists()
    order = Order(str(spec), [options.seed], device=options.device, resume=resume)
    try:
        student, _ = train(order, workspace=options.workspace, display=display_of(options.display))
    except InterruptedRunError:
        raise InterruptedRunError(
            f"{spec.stem}_{options.seed} was interrupted; the same command continues it"
        ) from None
    keep_errors(student.directory)
    return student


@takes(StudiedOptions)
def study(options: StudiedOptions) -> ShownStudy:
    """Train experiences over a grid and seeds, and draw a metric over the grid: one table, one
    figure.

    Runs that are done are not repeated, and interrupted ones continue; repeating the command draws
    the same. The command waits for the jobs of a cluster. The folder holds study.csv with a row for
    each run, table.csv with means, Student's 95 % intervals and paired differences between every
    two experiences, and study.png.

    returns      its `results()` and `differences()` are tables, its `document()` all numbers, as is
                 the data frame of its `to_pandas()`

    `pretrain` is left out; the first key of the grid is the horizontal axis of the figure.

    >>> grid = {"learning_rate": [1e-3, 3e-3]}
    >>> study = qexp.study("mogi_quick", seeds=range(2), grid=grid, metric="depth.mae")
    >>> study
    <study of depth mae over learning_rate>
    """
    from qexp.comparison.study import StudyOrder, run_study
    from qexp.web.notebook import ShownStudy

    order = StudyOrder(options.order, options)
    home = options.home
    return ShownStudy(**fields_of(run_study(order, home, watcher_of(options.watched))))


@takes(StudiedOptions)
def planned_study(options: StudiedOptions) -> tuple[list[Plan], bool]:
    """The runs that `study` would train now, and whether that is all: some can only be planned
    after pretraining.

    >>> planned = qexp.api.planned_study
    >>> plans, whole = planned("mogi_quick", seeds=[0], grid={"epochs": [5, 6]}, metric="depth.mae")
    >>> len(plans), whole
    (2, True)
    """
    from qexp.comparison.study import StudyOrder, plan_study

    return plan_study(StudyOrder(options.order, options), options.home)


@takes(Tuning)
def tune(options: Tuning) -> ShownTuned:
    """Search the values of keys that give the lowest validation error, by trials.

    Each trial is a run whose test part is not evaluated. When the search is over, the best is
    trained with fresh seeds, and only then tested. The folder holds table.csv with a row for each
    trial, study.csv with one for each run, study.png and tune.json.

    returns  its `results()` is a table of the best trials, its `document()` holds all of them;
             `best` are the best trials, and `final` the runs of which the test part was evaluated

    >>> space = {"learning_rate": "log:1e-3:1e-2"}
    >>> tuned = qexp.tune("mogi_quick", space=space, trials=3, final_seeds=1)
    >>> len(tuned.trials)
    3
    """
    from qexp.tuning.tune import run_tuning
    from qexp.web.notebook import ShownTuned

    return ShownTuned(**fields_of(run_tuning(options, options.home, watcher_of(options.watched))))


def search_at(reference: str, *, workspace: str | Path | None = None) -> ShownTuned | None:
    """What a search has found so far, by its folder or its name in studies/; None if there is none.

    >>> space = {"learning_rate": "log:1e-3:1e-2"}
    >>> tuned = qexp.tune("mogi_quick", space=space, trials=2, final_seeds=0, out="studies/rates")
    >>> qexp.search_at("rates").space
    {'learning_rate': 'log:0.001:0.01'}
    """
    from qexp.tuning.results import search_of

    if (tuned := search_of(reference, workspaces.find(workspace))) is None:
        return None
    from qexp.web.notebook import ShownTuned  # loads torch

    return ShownTuned(**fields_of(tuned))


def refresh(*, warn: Report = as_warning, workspace: str | Path | None = None) -> None:
    """Add new runs to the catalog, if that is quick; `warn` receives a line for each run that
    cannot be read.

    >>> qexp.api.refresh()
    """
    Catalog(workspaces.find(workspace), warn).refresh_if_small()


def wait(
    references: Runs = (),
    timeout: float | None = None,
    *,
    launch: str | None = None,
    workspace: str | Path | None = None,
) -> Iterator[tuple[Run, State]]:
    """Wait until runs have ended. Yields each with its state as it ends.

    references  names, unique prefixes, paths, and patterns such as "mogi_*"
    timeout     seconds after which waiting is given up; without end if left out
    launch      also the runs of a launch, by its id or "last"
    Raises QexpError after `timeout` seconds.

    >>> [(run.name, str(state)) for run, state in qexp.api.wait("mogi_quick_0", timeout=60)]
    [('mogi_quick_0', 'done')]
    """
    names = chosen([references], MoreRuns(launch=launch, workspace=workspace))
    directories = [run.directory for run in open_runs(names, workspace=workspace)]
    for directory, state in states.endings(directories, timeout):
        yield Run(directory), state


@dataclass(frozen=True)
class Stopped:
    """The outcome of a request to stop a run."""

    run: Run
    """The run that was to be stopped."""
    state: State | None
    """Its state afterwards."""
    was_running: bool = True
    """Whether there was anything to stop."""
    error: QexpError | None = None
    """Why it could not be stopped; there is no state then."""


def queue(
    runs: Runs = (),
    *,
    position: int | str | None = None,
    jobs: int | None = None,
    workspace: str | Path | None = None,
) -> dict[str, State]:
    """Show and change the queue of this machine while it works: `qexp run --queue` puts runs into
    it, `qexp stop` takes them out.

    runs      that wait, as for `stop`
    position  where these are put: "first", "last", or a number from 1 on
    jobs      how many are trained at a time from now on, by a process that is started if there is
              none; 0: those at work end, and no more are started
    returns   run → state, those at work first, then those that wait, in order

    >>> qexp.api.queue()
    {}
    """
    if bool(runs) != bool(re.fullmatch(r"first|last|[1-9]\d{0,8}", str(position))):
        raise QexpError("name runs, and with `position` where to: first, last, or from 1 on")
    home = workspaces.find(workspace)
    with changing(home) as waiting:
        if waiting is None:
            if runs or jobs is not None:
                raise NotFoundError("no run waits in the queue; add one: qexp run NAME --queue")
            return {}
        if runs:
            moved = [run.directory for run in open_runs(runs, workspace=home.root)]
            move(waiting, moved, str(position))
        if jobs is not None:
            from qexp.runs.launch import start_queue

            start_queue(waiting, home, jobs)
        return {run.name: state for run, state in states_in(waiting).items()}


def stop(
    references: Runs, *, now: bool = False, workspace: str | Path | None = None
) -> Iterator[Stopped]:
    """Stop runs, here or on a cluster, and wait for their ends. Yields the outcome of each.

    references  names, unique prefixes, paths, and patterns such as "mogi_*"
    now         kill them, without a last checkpoint

    >>> [stopped.was_running for stopped in qexp.api.stop("mogi_quick_0")]
    [False]
    """
    stopping, failed = [], []
    for run in open_runs(references, workspace=workspace):
        try:
            if states.ask_to_stop(run.directory, now):
                stopping.append(run)
            else:
                yield Stopped(run, states.Watch().state(run.directory), was_running=False)
        except QexpError as error:
            failed.append(Stopped(run, None, error=error))
    for run in stopping:
        yield Stopped(run, states.wait_for_end(run.directory))
    yield from failed


def stop_launch(launch: str, *, workspace: str | Path | None = None) -> dict[str, State]:
    """Start no more runs of a launch, stop the running ones, and wait for their ends. Returns run →
    state.

    launch  its id, or "last"

    >>> set(map(str, qexp.api.stop_launch("last").values()))
    {'done'}
    """
    home = workspaces.find(workspace)
    return dict(states.stop_launch(launchers.find_launch(launch, home)))

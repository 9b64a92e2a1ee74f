"""Runs started: one in this process, or a sweep that is handed to the pool of this machine or to a
scheduler.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain, cycle, islice
from threading import Lock, Thread
from typing import Any

from qexp.base import formats, machine
from qexp.base.files import locked
from qexp.base.machine import handled, start_child
from qexp.base.workspace import VARIABLE, Workspace
from qexp.errors import QexpError, some
from qexp.jobs import launchers
from qexp.jobs.launchers import LAUNCHERS, LOCAL, Launch, Watcher, options_of, scheduler_of, settled
from qexp.jobs.queue import SECONDS_BETWEEN_LOOKS, changing, move, next_in, states_in, waiting_in
from qexp.jobs.scheduler import Scheduler, Submission, Wrap, together, wrap_of
from qexp.jobs.states import Watch, add_jobs, jobs_of
from qexp.kinds.attempt import Display
from qexp.kinds.kind import Dataset
from qexp.kinds.objects import device_of, require_device_name
from qexp.runs import stacks
from qexp.runs.execute import execute, execute_wrapped, require_processes_for
from qexp.runs.notice import notify_of_launch, words_to_notify
from qexp.runs.order import Order
from qexp.runs.plan import named, same_before, standing, sweep
from qexp.runs.prepare import Plan, prepare
from qexp.store.directory import (
    RunDirectory,
    add_annotations,
    require_valid_annotations,
    storage_place,
)
from qexp.store.process import beating, this_process
from qexp.store.provenance import usable_cores
from qexp.store.record import State, now

log = logging.getLogger("qexp.run")


def start(
    order: Order, workspace: Workspace, name: str | None = None, display: Display | None = None
) -> tuple[RunDirectory, bool]:
    """Prepare and execute the only run of an order. Returns it, and whether it was trained now.

    order  of one experience and one seed, without a grid
    name   `<experience>_<seed>` if left out, with a short digest between them if overrides change
           the spec; then an existing run with the same spec and seed stands for it, whatever its
           name
    A wrap in qexp.toml starts the run in a process of its own, which shows its progress itself.
    """
    wrap = wrap_here(workspace, order.options, order.device)
    checked = _checked(replace(order, launcher=LOCAL, profile=None), workspace, name)
    (planned,) = checked.plans
    require_processes_for(planned.spec)
    for words in checked.workload.stand_ins:
        log.warning("%s; to train it under another name, give one with `name`", words)
    directory = RunDirectory(workspace.runs / planned.name)
    try:
        labelled = replace(planned, tags=tuple(order.tags), note=order.note)
        directory = prepare(labelled, workspace, order.storage)
        if checked.nothing_to_resume:
            log.warning("%s", checked.nothing_to_resume)
    except FileExistsError:
        state = standing(planned, workspace, Watch().state(directory))
        if not goes_on(planned.name, state, order.resume):
            return directory, False
        if order.trust_code:
            directory.trust()
        add_annotations(directory.path, order.tags, order.note)
    for text in planned.warnings:
        log.warning("%s", text)
    assert planned.checked is not None
    execute_here(directory, wrap, order.device, display, planned.checked.dataset)
    return directory, True


def wrap_here(workspace: Workspace, options: Mapping[str, Any], device: str) -> Wrap:
    """The command around a run that is started here. Raises QexpError without such a device."""
    words_to_notify(workspace)
    wrap = wrap_of(options_of(LOCAL, workspace.settings(), options))
    if wrap and machine.STARTED_TOGETHER > 1:
        raise QexpError(
            "the wrap starts the run in a process of its own; leave out torchrun, or the wrap:"
            f" {wrap}"
        )
    if wrap:  # inside a container there may be another device
        require_device_name(device)
    else:
        device_of(device)
    return wrap


def execute_here(
    directory: RunDirectory,
    wrap: Wrap,
    device: str,
    display: Display | None,
    dataset: Dataset | None,
) -> None:
    """Execute a prepared run in this process, or inside the command around it."""
    if wrap:
        execute_wrapped(directory, wrap, device, apart=True)
    else:
        execute(directory, device, display, dataset=dataset)


def goes_on(name: str, state: State | None, resume: bool) -> bool:
    """Whether to execute the run of that name. Raises QexpError if the user must decide."""
    if state is State.DONE:
        return False
    if state is not None and state.at_work:
        raise QexpError(f"{name} is {state}; follow it with: qexp logs -f {name}")
    if resume or state is State.CREATED:
        return True
    raise QexpError(
        f"{name} is {(state or State.GONE).words}; continue with `resume=True`, or start a new run"
        " with another `name`"
    )


# The local pool: runs on this machine, each in a process of its own.


MOST_JOBS = 1000
"""Runs at a time on one machine."""

TAIL = 8192
"""Bytes at the end of the metrics file that are searched for the last line."""


class Pool:
    """Runs prepared runs; one that crashes or cannot be started does not stop the others.

    more  gives further runs, those of one process at a time, while a place is free; none if there
          are no more

    After a first SIGINT or SIGTERM no run is started and running ones write a checkpoint; a second
    kills them.
    """

    def __init__(
        self,
        launch: Launch,
        directories: Sequence[RunDirectory],
        more: Callable[[], list[RunDirectory]] | None = None,
    ) -> None:
        settings = launch.record().settings
        jobs = settings["jobs"] or 1
        self._wrap = wrap_of(settings.get("options", {}))
        self._launch, self._device, self._more = launch, settings["device"], more
        gpus = machine.visible_gpus() if self._device in ("auto", "cuda") else []
        self._threads = max(1, (usable_cores() or 1) // jobs)
        self._waiting = deque(together(directories))
        self._names = [directory.name for directory in directories]
        slots = jobs if more else min(jobs, len(self._waiting))
        places: list[str | None] = [*gpus] if len(gpus) > 1 else [None]
        self._slots = list(islice(cycle(places), slots))
        self._running: dict[RunDirectory, subprocess.Popen[bytes]] = {}
        self._events: queue.SimpleQueue[tuple[str, State | str | None, float]] = queue.SimpleQueue()
        """Name of a run, its final state, why it could not be started, or None if it was, and its
        seconds.
        """
        self._lock = Lock()
        self._signals: list[int] = []
        self._error: Exception | None = None
        """Why there are no further runs, if it is not that all were started."""

    def run(self, watcher: Watcher) -> dict[str, State]:
        """Run all; returns run → final state. Runs that were never started are left out."""
        states: dict[str, State] = {}
        watcher.start(self._names)
        workers = [Thread(target=self._work, args=(gpu,), daemon=True) for gpu in self._slots]
        stops = (signal.SIGINT, signal.SIGTERM)
        with handled(stops, lambda number, frame: self._signals.append(number)):
            for worker in workers:
                worker.start()
            epochs_of = cache(_epochs_of)  # of these runs alone: later a name may be another run's
            passed_on = 0
            while any(worker.is_alive() for worker in workers) or not self._events.empty():
                if len(self._signals) > passed_on:
                    if not passed_on:
                        watcher.stopping()
                    passed_on = len(self._signals)
                    self._pass_on(signal.SIGTERM if passed_on == 1 else signal.SIGKILL)
                try:
                    name, what, seconds = self._events.get(timeout=SECONDS_BETWEEN_LOOKS)
                except queue.Empty:
                    with self._lock:
                        running = [*self._running]
                    watcher.progress(_last_lines(running, epochs_of))
                    continue
                if what is None:
                    watcher.run_started(name)
                elif isinstance(what, State):
                    states[name] = what
                    watcher.run_ended(name, what, seconds)
                else:
                    watcher.not_started(name, what)
        watcher.stop()
        if self._error is not None:
            raise self._error
        return states

    @property
    def stopped(self) -> bool:
        """Whether a signal ended the pool early."""
        return bool(self._signals)

    def _work(self, gpu: str | None) -> None:
        while (directories := self._next()) is not None:
            with self._lock:
                if self._signals:
                    return
                started = time.monotonic()
                taken = list[RunDirectory]()
                try:
                    # unless withdrawn
                    taken = [run for run in directories if self._launch.take(run.name, "started")]
                    process = self._begin(taken, gpu) if taken else None
                except (QexpError, OSError) as error:  # for example a full disk
                    self._end(directories, str(error), started)
                    continue
                self._end([run for run in directories if run not in taken], None, started)
                if process is None:
                    continue
                for run in taken:
                    self._running[run] = process
                    self._events.put((run.name, None, 0.0))
            process.wait()
            with self._lock:
                for run in taken:
                    del self._running[run]
            self._end(taken, None, started)

    def _end(self, directories: Iterable[RunDirectory], why: str | None, started: float) -> None:
        """why: why they were not started"""
        for run in directories:
            self._events.put((run.name, why or Watch().state(run), time.monotonic() - started))

    def _next(self) -> list[RunDirectory] | None:
        """The runs that a process is to train next."""
        with suppress(IndexError):
            return self._waiting.popleft()
        if self._more is None or self._signals or self._error is not None:
            return None
        try:
            return self._more() or None
        except Exception as error:
            self._error = error
            return None

    def _begin(
        self, directories: Sequence[RunDirectory], gpu: str | None
    ) -> subprocess.Popen[bytes]:
        paths = [str(directory.path) for directory in directories]
        command = [sys.executable, "-m", "qexp", "execute", *paths, "--device", self._device]
        command += ["--threads", str(self._threads), *self._wrap.arguments()]
        visible = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        with self._launch.output(directories[0].name).open("ab") as output:
            return start_child(command, output, visible)

    def _pass_on(self, number: signal.Signals) -> None:
        with self._lock:
            for process in set(self._running.values()):
                with suppress(ProcessLookupError):  # it has just ended
                    if number == signal.SIGKILL:
                        os.killpg(process.pid, number)  # with the programs around and below it
                    else:
                        process.send_signal(number)


def _last_lines(
    directories: Iterable[RunDirectory], epochs_of: Callable[[RunDirectory], int | None]
) -> dict[str, dict[str, Any]]:
    """Run → metrics of its last complete epoch, and `of` how many epochs; only if it has any."""
    found: dict[str, dict[str, Any]] = {}
    for directory in directories:
        with suppress(OSError, IndexError, ValueError), directory.metrics_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            *_, last, _ = file.read().split(b"\n")  # behind it what has no end yet
            found[directory.name] = {**json.loads(last), "of": epochs_of(directory)}
    return found


def _epochs_of(directory: RunDirectory) -> int | None:
    """How many epochs a run is to train, if it trains."""
    return directory.spec().get("epochs")


# A sweep: its order, the check against existing runs, and its launch.


@dataclass(frozen=True)
class Workload:
    """The plans of a sweep, grouped by whether they will run now."""

    new: list[Plan]
    again: list[Plan]
    """Existing runs that will run again: prepared before, interrupted, or failed."""
    done: list[Plan]
    left: dict[str, State]
    """Name → state of existing runs that are not done and will not run now."""
    same: dict[str, str] = field(default_factory=dict)
    """Usual name → existing run of another name with its spec and seed, which stands for it."""

    @property
    def to_run(self) -> list[Plan]:
        """What will run now, existing runs first."""
        return [*self.again, *self.new]

    @property
    def stand_ins(self) -> list[str]:
        """A sentence for each run that stands for another."""
        what = "has the same spec and seed as"
        return [f"{one} {what} {other}, which stands for it" for one, other in self.same.items()]

    @property
    def left_in_words(self) -> list[str]:
        """A sentence on the runs of each state that are left alone, with what would train them."""
        by_state: dict[State, list[str]] = {}
        for name, state in self.left.items():
            by_state.setdefault(state, []).append(name)
        sentences = list[str]()
        for state, names in by_state.items():
            hint = "" if state.at_work else "; repeat with `only_failed=True`"
            if state.resumable:
                hint = "; continue with `resume=True`"
            sentences.append(f"left alone, {state.words}: {some(names)}{hint}")
        return sentences


@dataclass(frozen=True, repr=False)
class CheckedOrder:
    """An order that has been checked, with its plans."""

    order: Order
    plans: list[Plan]
    workload: Workload
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Warnings about the specs that are trained now, each once."""
        plans = self.workload.to_run
        return list(dict.fromkeys(chain(*(plan.warnings for plan in plans))))

    @property
    def nothing_to_resume(self) -> str:
        """A sentence if runs were to continue, and all that are to run are new; else empty."""
        load = self.workload
        if self.order.resume and load.new and not load.again:
            names = some([plan.name for plan in load.new])
            return f"nothing to resume: no interrupted run has this spec and seed; new: {names}"
        return ""

    def __repr__(self) -> str:
        names = some([plan.name for plan in self.plans])
        to_run = self.workload.to_run
        return f"<order of {len(self.plans):,} runs, {len(to_run):,} to train now: {names}>"


def check_order(order: Order, workspace: Workspace, name: str | None = None) -> CheckedOrder:
    """Check an order against existing runs; nothing is written.

    name  of the only run of the order; runs without it are named by experience, change and seed,
          and an existing run with the same spec and seed stands for them, whatever its name
    """
    if machine.STARTED_TOGETHER > 1:
        raise QexpError(
            "torchrun is for one run; for several, start qexp without, and make it their `wrap`"
        )
    return _checked(order, workspace, name)


def _checked(order: Order, workspace: Workspace, name: str | None) -> CheckedOrder:
    if order.jobs is not None and order.jobs < 1:
        raise QexpError(f"`jobs={order.jobs}`: at least one run at a time")
    if order.stack is not None and order.stack < 1:
        raise QexpError(
            f"`stack={order.stack}`: at least one run in a stack, which is each by itself"
        )
    storage_place(order.storage, workspace)
    require_valid_annotations(order.tags, order.note)
    words_to_notify(workspace)
    launcher, options = settled(order, workspace)
    order = replace(order, launcher=launcher)
    wrap = wrap_of(options)
    if (order.stack or 1) > 1 and wrap:
        raise QexpError(
            f"`stack={order.stack}`: a wrap starts each run by itself; leave one of the two out"
        )
    require_device_name(order.device)
    if LAUNCHERS[launcher] is None and (order.jobs or 1) > MOST_JOBS:
        raise QexpError(f"`jobs={order.jobs}`: at most {MOST_JOBS:,} runs at a time on one machine")
    # else the node or the container checks
    if LAUNCHERS[launcher] is None and not wrap:
        device_of(order.device)
    settings = {"jobs": order.jobs, "device": order.device, "options": options}
    if order.profile is not None:
        settings["profile"] = order.profile
    planned = sweep(order, workspace, memory_of(order))
    same: dict[str, str] = {}
    if name is None:
        same = same_before(planned, workspace, order.resume)
        planned = [replace(plan, name=same.get(plan.name, plan.name)) for plan in planned]
    elif len(planned) != 1:
        raise QexpError(
            f"`name={name}`: it is for a single run, and these are {len(planned):,}; leave it out"
        )
    else:
        planned = [named(planned[0], name)]
    workload = _workload_of(order, planned, same, workspace)
    if not order.trust_code:
        for plan in workload.again:
            RunDirectory(workspace.runs / plan.name).require_trust()
    return CheckedOrder(order, planned, workload, settings)


def memory_of(order: Order) -> int | None:
    """Memory of the machine that will train [bytes]; None for this one, unknown on a cluster."""
    return None if scheduler_of(order.launcher) is None else machine.LARGEST_MEMORY


def stack_size(checked_order: CheckedOrder) -> int | None:
    """The number of runs in a stack; None for as many as are worth it on this machine."""
    order = checked_order.order
    wrap = wrap_of(checked_order.settings["options"])
    if order.stack is None and (wrap or scheduler_of(order.launcher) is not None):
        return 1
    return order.stack


def _workload_of(
    order: Order, plans: Sequence[Plan], same: dict[str, str], workspace: Workspace
) -> Workload:
    """The plans to run now, and the others. Raises QexpError with all names that are taken."""
    workload = Workload([], [], [], {}, same)
    mistakes = list[QexpError]()
    # All states in one call, so that a scheduler is queried only once.
    states = Watch().states([RunDirectory(workspace.runs / plan.name) for plan in plans])
    for plan, state_now in zip(plans, states.values(), strict=True):
        try:
            state = standing(plan, workspace, state_now)
        except QexpError as mistake:
            mistakes.append(mistake)
            continue
        if state is None:
            if not order.only_failed:
                workload.new.append(plan)
            continue
        again = order.resume and state.resumable
        if order.only_failed:
            again = state.without_result
        if state is State.DONE:
            workload.done.append(plan)
        elif again or state is State.CREATED:
            workload.again.append(plan)
        else:
            workload.left[plan.name] = state
    if mistakes and len(plans) == 1:
        raise mistakes[0]
    if mistakes:
        raise QexpError("\n".join(map(str, mistakes)))
    return workload


def open_launch(
    checked_order: CheckedOrder, workspace: Workspace, queue: bool = False
) -> tuple[Launch, list[RunDirectory]]:
    """Write the launch's record and prepare its runs. Returns both, existing runs first."""
    workload = checked_order.workload
    order = checked_order.order
    launch = launchers.claim_launch(workspace)
    record: dict[str, Any] = {
        "id": launch.id,
        "created": now(),
        "argv": sys.argv,
        "launcher": order.launcher,
        "settings": checked_order.settings,
        "runs": [plan.name for plan in workload.to_run],
        "left": workload.left,
        "done_before": [plan.name for plan in workload.done],
        "queue": queue,
    }
    formats.write_json(launch.record_file, record)
    return launch, _prepared(launch, [checked_order], workspace, launch.id, order.jobs or 1)


def add_to_launch(
    launch: Launch, checked_orders: Sequence[CheckedOrder], workspace: Workspace, stack: str
) -> list[RunDirectory]:
    """Prepare the runs of further orders, which differ in their overrides, for a launch that is at
    work. Returns them, existing ones first.

    stack  beginning of the names of the stacks that new runs are in
    """
    record = launch.record()
    runs = dict.fromkeys(record.runs)
    done = dict.fromkeys(record.done_before)
    for checked in checked_orders:
        runs |= dict.fromkeys(plan.name for plan in checked.workload.to_run)
        done |= dict.fromkeys(plan.name for plan in checked.workload.done)
    launch.rewrite(runs=tuple(runs), done_before=tuple(done))
    return _prepared(launch, checked_orders, workspace, stack, 1)


def _prepared(
    launch: Launch,
    checked_orders: Sequence[CheckedOrder],
    workspace: Workspace,
    stack: str,
    jobs: int,
) -> list[RunDirectory]:
    """The runs of orders that are to run, existing ones first; new ones are prepared."""
    order = checked_orders[0].order
    size = stack_size(checked_orders[0])
    again = list(chain(*(checked.workload.again for checked in checked_orders)))
    new = list(chain(*(checked.workload.new for checked in checked_orders)))
    directories = [RunDirectory(workspace.runs / plan.name) for plan in again]
    for directory in directories:
        if order.trust_code:
            directory.trust()
        add_annotations(directory.path, order.tags, order.note)
    first: RunDirectory | None = None
    for plan in stacks.in_stacks(new, stack, size, order.device, jobs):
        with suppress(FileExistsError):  # another process prepared this run first and will start it
            tags = tuple(order.tags)
            planned = replace(plan, launch=launch.id, tags=tags, note=order.note)
            directories.append(prepare(planned, workspace, order.storage, first))
            first = first or directories[-1]
    return directories


@dataclass(frozen=True)
class Launched:
    """A launch with its jobs or final states, as known when `launch_runs` returns."""

    launch: Launch
    jobs: dict[str, str] | None = None
    """Run → job, if a scheduler starts the runs."""
    states: dict[str, State] | None = None
    """Run → final state of those that were started, if they were in a pool of this process."""
    stopped: bool = False
    """Whether a signal ended the pool."""


def launch_runs(
    checked_order: CheckedOrder,
    workspace: Workspace,
    *,
    watched: Callable[[], Watcher] = Watcher,
    tell: Callable[[str], None] = lambda text: None,
    most: int | None = None,
    detached: bool = False,
    queued: bool = False,
) -> Launched | None:
    """Submit the runs of a checked order, or run them here or in a background process; None if
    there are none.

    watched   returns the pool's watcher
    tell      receives the launch's id before anything starts
    most      largest number of runs that may be started
    detached  run in a background process and return at once; with a scheduler this is always so
    queued    add them to the queue of this machine instead, and return at once
    Raises QexpError before any run is started.
    """
    count = len(checked_order.workload.to_run)
    if not count:
        return None
    if most is not None and count > most:
        raise QexpError(f"{count:,} runs would start; confirm with `yes=True`")
    if queued:
        return Launched(add_to_queue(checked_order, workspace))
    launch, directories = open_launch(checked_order, workspace)
    tell(f"launch {launch.id}: {count} run{'s' * (count != 1)}")
    scheduler = LAUNCHERS[checked_order.order.launcher]
    if scheduler is not None:
        return Launched(launch, jobs=submit(launch, directories, checked_order, scheduler))
    if detached:
        detach(launch, workspace)
        return Launched(launch)
    states, stopped = run_here(launch, directories, watched())
    return Launched(launch, states=states, stopped=stopped)


def run_here(
    launch: Launch,
    directories: Sequence[RunDirectory],
    watcher: Watcher,
    more: Callable[[], list[RunDirectory]] | None = None,
) -> tuple[dict[str, State], bool]:
    """Run the launch in a pool of this process. Returns run → final state, and whether a signal
    ended the pool.

    more  see `Pool`
    """
    pool = Pool(launch, directories, more)
    with _supervised(launch):
        return pool.run(watcher), pool.stopped


@contextmanager
def _supervised(launch: Launch) -> Iterator[None]:
    """The launch says that this process works on it."""
    with beating(launch.heartbeat):
        formats.write_json(launch.pool_file, this_process().document())
        try:
            yield
        finally:
            # a kernel outlives its pool, and is not to be stopped with it
            launch.pool_file.unlink(missing_ok=True)
    notify_of_launch(launch)


def add_to_queue(checked_order: CheckedOrder, workspace: Workspace) -> Launch:
    """Have the runs of an order wait in the queue, behind the others, and start a process that
    works on it if there is none. Returns the queue.

    Raises QexpError for a device or options that are not those of the runs that wait.
    """
    jobs = checked_order.order.jobs
    with changing(workspace) as queue:
        if queue is None:
            queue, runs = open_launch(checked_order, workspace, queue=True)
            jobs = jobs or 1
        else:
            settings = queue.record().settings
            if {**settings, "jobs": jobs} != checked_order.settings:
                raise QexpError(f"all runs of the queue are trained alike, now with {settings}")
            runs = add_to_launch(queue, [checked_order], workspace, f"{queue.id}.{now()}")
        there = states_in(queue)
        existing = [run for run in runs if run not in there and not at_work(run)]
        for run in existing:
            run.write(replace(run.record(), state=State.QUEUED, launch=queue.id))
            queue.turn_file(run.name).unlink(missing_ok=True)  # it may have been in this queue
        move(queue, existing, "last")
        start_queue(queue, workspace, jobs)
    return queue


def start_queue(queue: Launch, workspace: Workspace, jobs: int | None) -> None:
    """Set how many processes work on the queue, and start its pool if there is none to do it."""
    if jobs is not None:
        queue.rewrite(settings={**queue.record().settings, "jobs": jobs})
    if queue.record().settings["jobs"] and not queue.pool_works():
        for run in states_in(queue):  # a pool may have been killed when it had just taken a turn
            queue.return_turn(run.name)
        detach(queue, workspace)


def work_off(queue: Launch, watched: Callable[[], Watcher]) -> None:
    """Be the pool of a queue until no run waits, or it is paused. Raises QexpError if another
    process is.
    """
    stopped = False
    # What is added while a pool ends, which then still works, is seen after the lock is released.
    while waiting_in(queue) and not stopped:
        jobs = queue.record().settings["jobs"]
        if not jobs:
            return
        with locked(queue.pool_file, 0):
            _, stopped = run_here(queue, [], watched(), partial(next_in, queue, jobs))


SECONDS_BETWEEN_QUERIES = 5.0
"""Between two questions to a scheduler."""


def run_and_wait(
    launch: Launch,
    checked_order: CheckedOrder,
    directories: Sequence[RunDirectory],
    watcher: Watcher,
    more: Callable[[], list[RunDirectory]] = list,
) -> bool:
    """Run a launch here, or keep `jobs` of its runs with its scheduler, until all have ended.
    Returns whether a signal ended that early; jobs that were submitted go on.

    more  gives further runs, those of one process at a time; those that a scheduler has already are
          only waited for
    """
    scheduler = LAUNCHERS[checked_order.order.launcher]
    if scheduler is None:
        return run_here(launch, directories, watcher, more)[1]
    given = iter(together(directories))

    def following() -> list[RunDirectory]:
        return next(given, []) or more()

    signals: list[int] = []
    waiting: list[RunDirectory] = []
    epochs_of = cache(_epochs_of)  # of these runs alone: later a name may be another run's
    begun = time.monotonic()
    watcher.start([])
    with (
        handled((signal.SIGINT, signal.SIGTERM), lambda number, frame: signals.append(number)),
        _supervised(launch),
    ):
        while not signals:
            places = (checked_order.order.jobs or 1) - len(together(waiting))
            new = list(chain(*islice(iter(following, []), places)))
            fresh = [directory for directory in new if not at_work(directory)]
            if fresh:
                submit(launch, fresh, checked_order, scheduler)
            waiting += new
            if not waiting:
                break
            for directory in new:
                watcher.run_started(directory.name)
            time.sleep(SECONDS_BETWEEN_QUERIES)
            states = Watch().states(waiting)
            watcher.progress(_last_lines(waiting, epochs_of))
            for directory, state in states.items():
                if not state.at_work:
                    watcher.run_ended(directory.name, state, time.monotonic() - begun)
            waiting = [directory for directory in waiting if states[directory].at_work]
    watcher.stop()
    return bool(signals)


def at_work(directory: RunDirectory) -> bool:
    """Whether a run was started, or submitted, and has not ended."""
    state = Watch().state(directory)
    job = jobs_of({directory: directory.record()}).get(directory)
    return state.at_work and (state is not State.QUEUED or (job is not None and job.submitted))


def submit(
    launch: Launch,
    directories: Sequence[RunDirectory],
    checked_order: CheckedOrder,
    scheduler: Scheduler,
) -> dict[str, str]:
    """Submit the launch. Returns run → job. Raises SchedulerError after undoing the records."""
    order = checked_order.order
    options = checked_order.settings["options"]
    records = {directory: directory.record() for directory in directories}
    for directory, record in records.items():
        directory.write(replace(record, state=State.QUEUED))
    try:
        submission = Submission(launch.folder, launch.id, options, order.jobs)
        jobs = scheduler.submit(submission, directories, order.device)
    except BaseException:
        for directory, record in records.items():
            directory.write(record)
        raise
    add_jobs(launch, jobs, scheduler.cluster())
    return jobs


def detach(launch: Launch, workspace: Workspace) -> None:
    command = [sys.executable, "-m", "qexp", "supervise", launch.id]
    with (launch.folder / "pool.txt").open("ab") as output:
        start_child(command, output, {VARIABLE: str(workspace.root)})

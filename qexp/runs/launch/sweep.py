"""A sweep from order to end: what it would run, its launch, and who runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from qexp import assemble, files, machine
from qexp.errors import QexpError
from qexp.runs.launch import local
from qexp.runs.launch.order import Order
from qexp.runs.planning import plans
from qexp.runs.planning.existing import standing
from qexp.runs.planning.prepare import Plan
from qexp.runs.planning.prepare import prepare as write
from qexp.runs.record import nesting
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.heartbeat import beating
from qexp.runs.record.names import now
from qexp.runs.record.process import this_process
from qexp.runs.record.state import State
from qexp.runs.record.trust import require_trust, trust
from qexp.runs.schedulers import LAUNCHERS, options_of, scheduler_of
from qexp.runs.schedulers.scheduler import Scheduler
from qexp.runs.state import launches
from qexp.runs.state.jobs import note
from qexp.runs.state.launches import Launch
from qexp.runs.state.waiting import Watch
from qexp.workspace import VARIABLE, Workspace


@dataclass(frozen=True)
class Choice:
    """What a sweep does with each of its plans."""

    new: list[Plan]
    again: list[Plan]
    """There already and not done: prepared before, interrupted, or failed."""
    done: list[Plan]
    left: dict[str, State]
    """Name → state of those that are neither done nor to be run now."""


@dataclass(frozen=True)
class Prepared:
    """An order that has been checked, and what it comes to."""

    order: Order
    plans: list[Plan]
    choice: Choice
    settings: dict[str, Any] = field(default_factory=dict)


def prepare(order: Order, workspace: Workspace) -> Prepared:
    """Check an order and see what there is of it already; nothing is written."""
    if order.jobs is not None and order.jobs < 1:
        raise QexpError(f"-j {order.jobs}: at least one run at a time")
    nesting.place_of(order.storage, workspace)
    options = options_of(order.launcher, workspace.settings(), order.options)
    if LAUNCHERS[order.launcher] is None:
        assemble.device_of(order.device)
    else:
        assemble.require_device_name(order.device)  # whether a node has it is seen there
    settings = {"jobs": order.jobs, "device": order.device, "options": options}
    planned = plans.sweep(
        order.references,
        order.seeds,
        order.grid,
        plans.with_pretrain(order.overrides, order.pretrain, order.allow_leak),
        workspace,
        memory_of(order),
    )
    choice = choose(planned, workspace, resume=order.resume, only_failed=order.only_failed)
    if not order.trust_code:
        for plan in choice.again:
            require_trust(RunDirectory(workspace.runs / plan.name))
    return Prepared(order, planned, choice, settings)


def memory_of(order: Order) -> int | None:
    """Bytes of memory of the machine that will train; None for this one. That of a cluster is not known here."""
    return None if scheduler_of(order.launcher) is None else machine.LARGEST


def choose(plans: Sequence[Plan], workspace: Workspace, *, resume: bool = False, only_failed: bool = False) -> Choice:
    """Which of the planned runs to run now. Raises QexpError, naming all, where names belong to other runs."""
    choice = Choice([], [], [], {})
    mistakes = []
    # All at once: a scheduler is asked once, and not for every run.
    states = Watch().states([RunDirectory(workspace.runs / plan.name) for plan in plans])
    for plan, now_in in zip(plans, states.values(), strict=True):
        try:
            state = standing(plan, workspace, now_in)
        except QexpError as mistake:
            mistakes.append(str(mistake))
            continue
        if state is None:
            if not only_failed:
                choice.new.append(plan)
        elif state is State.DONE:
            choice.done.append(plan)
        elif state is State.CREATED or (state.without_result if only_failed else resume and state.resumable):
            choice.again.append(plan)
        else:
            choice.left[plan.name] = state
    if mistakes:
        raise QexpError("\n".join(mistakes))
    return choice


def open_launch(prepared: Prepared, workspace: Workspace) -> tuple[Launch, list[RunDirectory]]:
    """Write the launch down and prepare its runs. Returns them in the order of the plans."""
    choice, order = prepared.choice, prepared.order
    launch = launches.claim(workspace)
    names = [plan.name for plan in (*choice.again, *choice.new)]
    record = {
        "id": launch.id,
        "created": now(),
        "argv": sys.argv,
        "launcher": order.launcher,
        "settings": prepared.settings,
        "runs": names,
        "left": choice.left,
        "done_before": [plan.name for plan in choice.done],
    }
    files.write_json(launch.record_file, record)
    directories = [RunDirectory(workspace.runs / plan.name) for plan in choice.again]
    if order.trust_code:
        for directory in directories:
            trust(directory)
    first: RunDirectory | None = None
    for plan in choice.new:
        with suppress(FileExistsError):  # somebody else was quicker; it is theirs then
            directories.append(write(replace(plan, launch=launch.id), workspace, order.storage, first))
            first = first or directories[-1]
    return launch, directories


@dataclass(frozen=True)
class Launched:
    """What came of a launch, as far as it is known when the command goes on."""

    launch: Launch
    jobs: dict[str, str] | None = None
    """Run → job, where a scheduler starts them."""
    states: dict[str, State] | None = None
    """Run → state at the end, where they ran in a pool of this process; those that were never started are left out."""
    stopped: bool = False
    """Whether a signal ended the pool."""


def launched(
    prepared: Prepared,
    workspace: Workspace,
    *,
    watched: Callable[[], local.Watcher] = local.Unwatched,
    tell: Callable[[str], None] = lambda text: None,
    most: int | None = None,
    detached: bool = False,
) -> Launched | None:
    """Submit what is to be run, or run it here, or let a process of its own do that; None if there is nothing to run.

    watched   makes who watches the pool
    tell      receives the launch's id before anything starts
    most      if more runs are to be started, that is an error
    detached  return at once; a scheduler does so anyway
    Raises QexpError, with nothing started.
    """
    count = len(prepared.choice.new) + len(prepared.choice.again)
    if not count:
        return None
    if most is not None and count > most:
        raise QexpError(f"{count:,} runs are many; start them with --yes")
    launch, directories = open_launch(prepared, workspace)
    tell(f"launch {launch.id}: {count} run{'s' * (count != 1)}")
    scheduler = LAUNCHERS[prepared.order.launcher]
    if scheduler is not None:
        return Launched(launch, jobs=submit(launch, directories, prepared, scheduler))
    if detached:
        detach(launch, workspace)
        return Launched(launch)
    states, stopped = run_here(launch, directories, watched())
    return Launched(launch, states=states, stopped=stopped)


def run_here(
    launch: Launch, directories: Sequence[RunDirectory], watcher: local.Watcher
) -> tuple[dict[str, State], bool]:
    """Run the launch in a pool of this process. Returns the states at the end, and whether a signal ended it."""
    jobs, device = (launch.record()["settings"][key] for key in ("jobs", "device"))
    gpus = local.visible_gpus() if device in ("auto", "cuda") else []
    pool = local.Pool(launch, directories, jobs or 1, device, gpus)
    with beating(launch.heartbeat):
        files.write_json(launch.pool_file, this_process().document())
        return pool.run(watcher), pool.stopped


def submit(
    launch: Launch, directories: Sequence[RunDirectory], prepared: Prepared, scheduler: Scheduler
) -> dict[str, str]:
    """Hand the launch to a scheduler. Returns run → job. Raises SchedulerError, with the runs as they were before."""
    order = prepared.order
    before = {directory: directory.record() for directory in directories}
    for directory, record in before.items():
        directory.write(replace(record, state=State.QUEUED))
    try:
        jobs = scheduler.submit(
            launch.folder, directories, prepared.settings["options"], order.jobs, launch.id, order.device
        )
    except BaseException:
        for directory, record in before.items():
            directory.write(record)
        raise
    note(launch, jobs, scheduler.cluster())
    return jobs


def detach(launch: Launch, workspace: Workspace) -> int:
    """Let a process of its own run the launch; returns its number."""
    with (launch.folder / "pool.txt").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "qexp", "supervise", launch.id],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, VARIABLE: str(workspace.root)},
            start_new_session=True,
        )
    return process.pid


def supervise(launch: Launch, workspace: Workspace, watcher: local.Watcher) -> dict[str, State]:
    """Run what a launch that was detached has prepared."""
    directories = [RunDirectory(workspace.runs / name) for name in launch.record()["runs"]]
    return run_here(launch, directories, watcher)[0]

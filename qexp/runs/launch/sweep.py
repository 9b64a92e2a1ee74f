"""A sweep: its order, the check against existing runs, its launch, and handing the runs to a launcher."""

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
from qexp.runs.planning.existing import same_before, same_text, standing
from qexp.runs.planning.prepare import Plan
from qexp.runs.planning.prepare import prepare as write
from qexp.runs.record import nesting, tagging
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.heartbeat import beating
from qexp.runs.record.names import now, require_name
from qexp.runs.record.process import this_process
from qexp.runs.record.state import State
from qexp.runs.record.trust import require_trust, trust
from qexp.runs.schedulers import LAUNCHERS, launcher_with, options_of, scheduler_of
from qexp.runs.schedulers.scheduler import Scheduler, Submission
from qexp.runs.state import launches
from qexp.runs.state.jobs import write_jobs
from qexp.runs.state.launches import Launch
from qexp.runs.state.waiting import Watch
from qexp.runs.wrap import wrap_of
from qexp.workspace import VARIABLE, Workspace


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
    """Usual name → existing run of another name with the same spec and seed, which stands for it."""

    @property
    def stand_ins(self) -> list[str]:
        """A sentence for each run that stands for another."""
        return [same_text(name, other) for name, other in self.same.items()]


@dataclass(frozen=True)
class CheckedOrder:
    """An order that has been checked, with its plans."""

    order: Order
    plans: list[Plan]
    workload: Workload
    settings: dict[str, Any] = field(default_factory=dict)


def check_order(order: Order, workspace: Workspace, name: str | None = None) -> CheckedOrder:
    """Check an order against existing runs; nothing is written.

    name  of the only run of the order; runs without it are named by experience, change and seed, and an existing run
          with the same spec and seed stands for them, whatever its name
    """
    if order.jobs is not None and order.jobs < 1:
        raise QexpError(f"-j {order.jobs}: at least one run at a time")
    nesting.place_of(order.storage, workspace)
    tagging.require_valid(order.tags, order.note)
    configured = workspace.settings()
    order = replace(order, launcher=launcher_with(order.launcher, order.profile, configured))
    options = options_of(order.launcher, configured, order.options, order.profile)
    assemble.require_device_name(order.device)
    if LAUNCHERS[order.launcher] is None and not wrap_of(options):  # else the node or the container checks
        assemble.device_of(order.device)
    settings = {"jobs": order.jobs, "device": order.device, "options": options}
    if order.profile is not None:
        settings["profile"] = order.profile
    planned = plans.sweep(
        order.references,
        order.seeds,
        order.grid,
        plans.with_pretrain(order.overrides, order.pretrain, order.allow_leak),
        workspace,
        memory_of(order),
    )
    same: dict[str, str] = {}
    if name is None:
        same = same_before(planned, workspace, order.resume)
        planned = [replace(plan, name=same.get(plan.name, plan.name)) for plan in planned]
    elif len(planned) != 1:
        raise QexpError(f"--name {name}: it is for a single run, and these are {len(planned):,}; leave it out")
    else:
        planned = [replace(planned[0], name=require_name(name))]
    workload = workload_of(planned, workspace, resume=order.resume, only_failed=order.only_failed)
    workload = replace(workload, same=same)
    if not order.trust_code:
        for plan in workload.again:
            require_trust(RunDirectory(workspace.runs / plan.name))
    return CheckedOrder(order, planned, workload, settings)


def memory_of(order: Order) -> int | None:
    """Memory of the machine that will train [bytes]; None for this machine. A cluster's memory is unknown here."""
    return None if scheduler_of(order.launcher) is None else machine.LARGEST


def workload_of(
    plans: Sequence[Plan], workspace: Workspace, *, resume: bool = False, only_failed: bool = False
) -> Workload:
    """The plans to run now, and the others. Raises QexpError that lists all names taken by other runs."""
    workload = Workload([], [], [], {})
    mistakes = []
    # All states in one call, so that a scheduler is queried only once.
    states = Watch().states([RunDirectory(workspace.runs / plan.name) for plan in plans])
    for plan, now_in in zip(plans, states.values(), strict=True):
        try:
            state = standing(plan, workspace, now_in)
        except QexpError as mistake:
            mistakes.append(str(mistake))
            continue
        if state is None:
            if not only_failed:
                workload.new.append(plan)
        elif state is State.DONE:
            workload.done.append(plan)
        elif state is State.CREATED or (state.without_result if only_failed else resume and state.resumable):
            workload.again.append(plan)
        else:
            workload.left[plan.name] = state
    if mistakes:
        raise QexpError("\n".join(mistakes))
    return workload


def open_launch(checked: CheckedOrder, workspace: Workspace) -> tuple[Launch, list[RunDirectory]]:
    """Write the launch's record and prepare its runs. Returns the launch and its runs, existing ones first."""
    workload, order = checked.workload, checked.order
    launch = launches.claim(workspace)
    names = [plan.name for plan in (*workload.again, *workload.new)]
    record = {
        "id": launch.id,
        "created": now(),
        "argv": sys.argv,
        "launcher": order.launcher,
        "settings": checked.settings,
        "runs": names,
        "left": workload.left,
        "done_before": [plan.name for plan in workload.done],
    }
    files.write_json(launch.record_file, record)
    directories = [RunDirectory(workspace.runs / plan.name) for plan in workload.again]
    for directory in directories:
        if order.trust_code:
            trust(directory)
        tagging.add(directory.path, order.tags, order.note)
    first: RunDirectory | None = None
    for plan in workload.new:
        with suppress(FileExistsError):  # another process prepared this run first and will start it
            directories.append(
                write(
                    replace(plan, launch=launch.id, tags=order.tags, note=order.note), workspace, order.storage, first
                )
            )
            first = first or directories[-1]
    return launch, directories


@dataclass(frozen=True)
class Launched:
    """A launch with its jobs or final states, as known when `launched` returns."""

    launch: Launch
    jobs: dict[str, str] | None = None
    """Run → job, if a scheduler starts the runs."""
    states: dict[str, State] | None = None
    """Run → final state, if the runs were in a pool of this process; runs that were never started are left out."""
    stopped: bool = False
    """Whether a signal ended the pool."""


def launched(
    checked: CheckedOrder,
    workspace: Workspace,
    *,
    watched: Callable[[], local.Watcher] = local.Unwatched,
    tell: Callable[[str], None] = lambda text: None,
    most: int | None = None,
    detached: bool = False,
) -> Launched | None:
    """Submit the runs of a checked order, or run them here or in a background process; None if there are none.

    watched   returns the pool's watcher
    tell      receives the launch's id before anything starts
    most      largest number of runs that may be started
    detached  run in a background process and return at once; with a scheduler this is always so
    Raises QexpError before any run is started.
    """
    count = len(checked.workload.new) + len(checked.workload.again)
    if not count:
        return None
    if most is not None and count > most:
        raise QexpError(f"{count:,} runs would start; confirm with --yes")
    launch, directories = open_launch(checked, workspace)
    tell(f"launch {launch.id}: {count} run{'s' * (count != 1)}")
    scheduler = LAUNCHERS[checked.order.launcher]
    if scheduler is not None:
        return Launched(launch, jobs=submit(launch, directories, checked, scheduler))
    if detached:
        detach(launch, workspace)
        return Launched(launch)
    states, stopped = run_here(launch, directories, watched())
    return Launched(launch, states=states, stopped=stopped)


def run_here(
    launch: Launch, directories: Sequence[RunDirectory], watcher: local.Watcher
) -> tuple[dict[str, State], bool]:
    """Run the launch in a pool of this process. Returns run → final state, and whether a signal ended the pool."""
    settings = launch.record()["settings"]
    jobs, device = settings["jobs"], settings["device"]
    gpus = local.visible_gpus() if device in ("auto", "cuda") else []
    pool = local.Pool(launch, directories, jobs or 1, device, gpus, wrap_of(settings.get("options", {})))
    with beating(launch.heartbeat):
        files.write_json(launch.pool_file, this_process().document())
        return pool.run(watcher), pool.stopped


def submit(
    launch: Launch, directories: Sequence[RunDirectory], checked: CheckedOrder, scheduler: Scheduler
) -> dict[str, str]:
    """Submit the launch to a scheduler. Returns run → job. Raises SchedulerError and restores the runs' records."""
    order = checked.order
    before = {directory: directory.record() for directory in directories}
    for directory, record in before.items():
        directory.write(replace(record, state=State.QUEUED))
    try:
        submission = Submission(launch.folder, launch.id, checked.settings["options"], order.jobs)
        jobs = scheduler.submit(submission, directories, order.device)
    except BaseException:
        for directory, record in before.items():
            directory.write(record)
        raise
    write_jobs(launch, jobs, scheduler.cluster())
    return jobs


def detach(launch: Launch, workspace: Workspace) -> int:
    """Run the launch in a background process; returns its process id."""
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
    """Run the prepared runs of a detached launch. Returns run → final state."""
    directories = [RunDirectory(workspace.runs / name) for name in launch.record()["runs"]]
    return run_here(launch, directories, watcher)[0]

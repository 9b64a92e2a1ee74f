"""Execution of a study: from its options to its folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from qexp.analysis.comparison.seed_groups import ComparedRun
from qexp.analysis.studies import folder
from qexp.analysis.studies.asked import Asked, studied
from qexp.analysis.studies.axes import StudyAxis
from qexp.analysis.studies.members import Member, Parents, members_of, parents_of
from qexp.analysis.studies.results import Study, found_in
from qexp.errors import InterruptedRunError, RunFailedError
from qexp.runs.launch import sweep
from qexp.runs.launch.local import Unwatched, Watcher
from qexp.runs.launch.sweep import CheckedOrder
from qexp.runs.planning.prepare import Plan
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch, endings
from qexp.workspace import Workspace

FOLDER = "studies"
"""Folder in the workspace for studies without an output folder."""


def study(
    asked: Asked,
    workspace: Workspace,
    out: Path | None = None,
    *,
    most: int | None = None,
    watched: Callable[[], Watcher] = Unwatched,
    tell: Callable[[str], None] = lambda text: None,
) -> Study:
    """Train the missing runs of a study, then write its tables and its figure.

    out      folder for `study.csv` (a row per run), `table.csv` (a row per experience and value, and per pair of
             experiences and value) and `study.png`; default: named after the first experience and axis
    most     largest number of runs that may be started at once
    watched  returns the watcher of a launch
    tell     receives messages on runs that start and runs that exist already
    Raises QexpError, before any run starts, for unknown specs, values or metrics; RunFailedError if a pretraining run
    is not done; InterruptedRunError after a signal: the same call continues the study.
    """
    axes = asked.axes()
    output, metric = studied(asked, axes, workspace)
    out = out or workspace.root / FOLDER / _name(asked, axes)
    parents: Parents = {}
    if (order := asked.pretraining_order()) is not None:
        pretraining = sweep.check_order(order, workspace)
        _require_done(_run(pretraining, workspace, most, watched, tell))
        parents = parents_of(asked, axes, pretraining.plans)
    members, checked = members_of(asked, axes, parents, workspace)
    _run(checked, workspace, most, watched, tell)
    return _written(members, axes, (output, metric), workspace, out)


def planned(asked: Asked, workspace: Workspace) -> tuple[list[Plan], bool]:
    """The runs that would start, and whether these are all: pretrained runs are planned when pretraining is done.

    Raises QexpError for unknown specs, values or metrics.
    """
    axes = asked.axes()
    studied(asked, axes, workspace)
    parents: Parents = {}
    if (order := asked.pretraining_order()) is not None:
        pretraining = sweep.check_order(order, workspace)
        first = pretraining.workload
        if first.new or first.again or first.left:
            return [*first.again, *first.new], False
        parents = parents_of(asked, axes, pretraining.plans)
    _, checked = members_of(asked, axes, parents, workspace)
    return [*checked.workload.again, *checked.workload.new], True


def _name(asked: Asked, axes: Sequence[StudyAxis]) -> str:
    name = f"{Path(asked.runs.references[0]).stem}_{axes[0].name}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _run(
    checked: CheckedOrder,
    workspace: Workspace,
    most: int | None,
    watched: Callable[[], Watcher],
    tell: Callable[[str], None],
) -> dict[str, State]:
    """Run a checked order and wait for runs that other processes execute. Returns run → state."""
    workload = checked.workload
    if workload.done:
        tell(f"{len(workload.done)} done already")
    if failed := [name for name, state in workload.left.items() if state.without_result and not state.resumable]:
        tell(f"left alone, failed: {', '.join(failed[:5])}{' …' * bool(failed[5:])}; --only-failed runs them again")
    made = sweep.launched(checked, workspace, watched=watched, tell=tell, most=most)
    if made is not None and made.stopped:
        raise InterruptedRunError("the study was interrupted; repeat the command to continue")
    all_of_them = [RunDirectory(workspace.runs / plan.name) for plan in checked.plans]
    under_way = [one for one, state in Watch().states(all_of_them).items() if state.at_work]
    if under_way:
        tell(f"waiting for {len(under_way)} run{'s' * (len(under_way) != 1)}")
        for _ in endings(under_way):
            pass
    return {directory.name: state for directory, state in Watch().states(all_of_them).items()}


def _require_done(states: dict[str, State]) -> None:
    if unfinished := [(name, state) for name, state in states.items() if state is not State.DONE]:
        raise RunFailedError(f"pretraining runs are not done: {_listed(unfinished)}; see qexp logs")


def _written(
    members: Sequence[Member], axes: Sequence[StudyAxis], measured: tuple[str, str], workspace: Workspace, out: Path
) -> Study:
    """The results of the runs, written to the study's folder. Raises RunFailedError if no run is done."""
    directories = [RunDirectory(workspace.runs / one.plan.name) for one in members]
    states = Watch().states(directories)
    runs = {
        directory.name: ComparedRun(directory, {**directory.record().document(), "state": state}, None)
        for directory, state in states.items()
        if state.readable
    }
    found = list(found_in(runs, members, axes, *measured))
    unfinished = {directory.name: state for directory, state in states.items() if state is not State.DONE}
    if not found:
        raise RunFailedError(f"no run of the study is done: {_listed(list(unfinished.items())[:3])}")
    units = [row.unit for one in found for row in one.comparison.results]
    made = Study(
        [axis.name for axis in axes],
        *measured,
        units[0] if units else "",
        found,
        unfinished,
        out,
        [out / name for name in folder.FILES],
    )
    folder.write(made, members, axes, runs, workspace)
    return made


def _listed(states: Iterable[tuple[str, State]]) -> str:
    return ", ".join(f"{name} is {state.words}" for name, state in states)

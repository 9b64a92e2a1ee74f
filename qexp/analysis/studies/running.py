"""A study from what is asked for to its folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from qexp.analysis.comparison.seed_groups import Chosen
from qexp.analysis.studies import folder
from qexp.analysis.studies.asked import Asked, studied
from qexp.analysis.studies.axes import Axis
from qexp.analysis.studies.members import Member, Parents, members_of, parents_of
from qexp.analysis.studies.results import Study, found_in
from qexp.errors import InterruptedRunError, RunFailedError
from qexp.runs.launch import sweep
from qexp.runs.launch.local import Unwatched, Watcher
from qexp.runs.launch.sweep import Prepared
from qexp.runs.planning.prepare import Plan
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch, endings
from qexp.workspace import Workspace

FOLDER = "studies"
"""In the workspace: where studies go that name no folder."""


def study(
    asked: Asked,
    workspace: Workspace,
    out: Path | None = None,
    *,
    most: int | None = None,
    watched: Callable[[], Watcher] = Unwatched,
    tell: Callable[[str], None] = lambda text: None,
) -> Study:
    """Run what is missing of a study, then write its tables and its figure.

    out      the folder of `study.csv` (a row for each run), `table.csv` (for each experience and value, and every two
             experiences and value) and `study.png`; named after the first experience and axis if left out
    most     if more runs are to be started at once, that is an error
    watched  makes who watches a launch
    tell     told what is run and what is there already
    Raises QexpError, before anything runs, for specs, values or a metric that there are not; RunFailedError if a run
    that others start from is not done; InterruptedRunError if a signal ended it: the same once more goes on.
    """
    axes = asked.axes()
    output, metric = studied(asked, axes, workspace)
    out = out or workspace.root / FOLDER / _name(asked, axes)
    parents: Parents = {}
    if (order := asked.pretraining_order()) is not None:
        pretraining = sweep.prepare(order, workspace)
        _require_done(_run(pretraining, workspace, most, watched, tell))
        parents = parents_of(asked, axes, pretraining.plans)
    members, prepared = members_of(asked, axes, parents, workspace)
    _run(prepared, workspace, most, watched, tell)
    return _written(members, axes, (output, metric), workspace, out)


def planned(asked: Asked, workspace: Workspace) -> tuple[list[Plan], bool]:
    """What would run, and whether that is all of it: runs that start from others are planned when those are done.

    Raises QexpError for specs, values or a metric that there are not.
    """
    axes = asked.axes()
    studied(asked, axes, workspace)
    parents: Parents = {}
    if (order := asked.pretraining_order()) is not None:
        pretraining = sweep.prepare(order, workspace)
        first = pretraining.choice
        if first.new or first.again or first.left:
            return [*first.again, *first.new], False
        parents = parents_of(asked, axes, pretraining.plans)
    _, prepared = members_of(asked, axes, parents, workspace)
    return [*prepared.choice.again, *prepared.choice.new], True


def _name(asked: Asked, axes: Sequence[Axis]) -> str:
    name = f"{Path(asked.runs.references[0]).stem}_{axes[0].name}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _run(
    prepared: Prepared,
    workspace: Workspace,
    most: int | None,
    watched: Callable[[], Watcher],
    tell: Callable[[str], None],
) -> dict[str, State]:
    """Run what is to be run, wait for what others run, and say in what state everything is then."""
    choice = prepared.choice
    if choice.done:
        tell(f"{len(choice.done)} done already")
    if failed := [name for name, state in choice.left.items() if state.without_result and not state.resumable]:
        tell(f"left alone, failed: {', '.join(failed[:5])}{' …' * bool(failed[5:])}; --only-failed runs them again")
    made = sweep.launched(prepared, workspace, watched=watched, tell=tell, most=most)
    if made is not None and made.stopped:
        raise InterruptedRunError("the study was interrupted; the same command goes on")
    all_of_them = [RunDirectory(workspace.runs / plan.name) for plan in prepared.plans]
    under_way = [one for one, state in Watch().states(all_of_them).items() if state.at_work]
    if under_way:
        tell(f"waiting for {len(under_way)} run{'s' * (len(under_way) != 1)}")
        for _ in endings(under_way):
            pass
    return {directory.name: state for directory, state in Watch().states(all_of_them).items()}


def _require_done(states: dict[str, State]) -> None:
    if unfinished := [(name, state) for name, state in states.items() if state is not State.DONE]:
        raise RunFailedError(f"nothing can start from runs that are not done: {_listed(unfinished)}; see qexp logs")


def _written(
    members: Sequence[Member], axes: Sequence[Axis], measured: tuple[str, str], workspace: Workspace, out: Path
) -> Study:
    """What came of the runs, written to its folder. Raises RunFailedError if none of them is done."""
    directories = [RunDirectory(workspace.runs / one.plan.name) for one in members]
    states = Watch().states(directories)
    runs = {
        directory.name: Chosen(directory, {**directory.record().document(), "state": state}, None)
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

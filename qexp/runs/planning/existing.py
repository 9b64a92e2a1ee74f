"""The run that has a planned run's name already: whether it is the same, done, or in the way."""

from __future__ import annotations

from qexp.errors import NotFoundError, QexpError
from qexp.runs.planning.prepare import Plan
from qexp.runs.record import completeness
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch
from qexp.workspace import Workspace


def standing(plan: Plan, workspace: Workspace, state: State) -> State | None:
    """The state of the run that a plan would make, None if there is none. Raises QexpError if the name is another's.

    state  the one to be believed now, see `Watch`
    """
    directory = RunDirectory(workspace.runs / plan.name)
    try:
        record = directory.record()
    except NotFoundError:
        if directory.path.exists() or directory.path.is_symlink():
            raise QexpError(f"{directory.path} is in the way and holds no run; choose another --name") from None
        return None
    if (record.digest, record.seed) != (plan.digest, plan.seed):
        what = "seed" if record.digest == plan.digest else "spec"
        raise QexpError(
            f"there is a run {plan.name} already, of another {what}; choose another name with --name, "
            f"or look at what differs: qexp show {plan.name}"
        )
    if state is State.DONE and not completeness.valid(directory):
        raise QexpError(f"{plan.name} says it is done, but its results are not all there; choose another --name")
    return state


def require_done(directory: RunDirectory) -> None:
    """Raise QexpError unless the run is done and its results are there."""
    directory.record()
    state = Watch().state(directory)
    if state is not State.DONE:
        raise QexpError(f"{directory.name} is {state.words}, not done; finish it first")
    if not completeness.valid(directory):
        raise QexpError(f"{directory.name} says it is done, but its results are not all there")

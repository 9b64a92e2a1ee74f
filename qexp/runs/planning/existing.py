"""An existing run with the name of a planned one: whether it is the same run, done, or a conflict."""

from __future__ import annotations

from qexp.errors import NotFoundError, QexpError
from qexp.runs.planning.prepare import Plan
from qexp.runs.record import completeness
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch
from qexp.workspace import Workspace


def standing(plan: Plan, workspace: Workspace, state: State) -> State | None:
    """The state of the planned run if it exists, else None. Raises QexpError if another run has its name.

    state  its current state, see `Watch`
    """
    directory = RunDirectory(workspace.runs / plan.name)
    try:
        record = directory.record()
    except NotFoundError:
        if directory.path.exists() or directory.path.is_symlink():
            raise QexpError(f"{directory.path} exists and is not a run; choose another --name") from None
        return None
    if record.foreign_weights is not None:
        raise QexpError(f"a run {plan.name} with weights from elsewhere exists already; choose another --name")
    if (record.digest, record.seed) != (plan.digest, plan.seed):
        what = "seed" if record.digest == plan.digest else "spec"
        raise QexpError(
            f"a run {plan.name} with another {what} exists already; choose another name with --name, "
            f"or see what differs: qexp show {plan.name}"
        )
    if state is State.DONE and not completeness.valid(directory):
        raise QexpError(f"{plan.name} is recorded as done, but some of its results are missing; choose another --name")
    return state


def require_done(directory: RunDirectory) -> None:
    """Raise QexpError unless the run is done and its results exist."""
    directory.record()
    state = Watch().state(directory)
    if state is not State.DONE:
        raise QexpError(f"{directory.name} is {state.words}, not done; finish it first")
    if not completeness.valid(directory):
        raise QexpError(f"{directory.name} is recorded as done, but some of its results are missing")

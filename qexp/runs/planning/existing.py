"""An existing run with the name of a planned one: whether it is the same run, done, or a conflict."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from qexp.errors import NotFoundError, QexpError
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.planning.prepare import Plan
from qexp.runs.record import completeness
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch
from qexp.workspace import Workspace

OWN = ("trained", "program")
"""Kinds of runs that a spec and a seed make; imported weights have another origin."""


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
        go_on = f", or continue it with its own: qexp rerun {plan.name} --resume" if state.resumable else ""
        raise QexpError(
            f"a run {plan.name} with another {what} exists already; choose another name with --name, "
            f"or see what differs: qexp show {plan.name}{go_on}"
        )
    if state is State.DONE and not completeness.valid(directory):
        raise QexpError(f"{plan.name} is recorded as done, but some of its results are missing; choose another --name")
    return state


def same_before(plans: Sequence[Plan], workspace: Workspace, resume: bool) -> dict[str, str]:
    """Planned name → the name of an existing run with the same spec and seed, for plans whose own name is free.

    Only runs that are done stand for a plan, and, to be resumed, those that can be; and none with a name that a user
    gave, as for a repetition.
    """
    free = [plan for plan in plans if not os.path.lexists(workspace.runs / plan.name)]
    if not free or not workspace.runs.is_dir():
        return {}
    wanted = {(plan.digest, plan.seed): plan.name for plan in free}
    known: dict[str, list[str]] = {}
    for one in Catalog(workspace).recorded():
        given = re.fullmatch(rf"{re.escape(one['experience'])}(_[0-9a-f]+)?_{one['seed']}", one["name"]) is None
        if (name := wanted.get((one["digest"], one["seed"]))) is not None and one["kind"] in OWN and not given:
            known.setdefault(name, []).append(one["name"])
    found: dict[str, str] = {}
    for name, others in known.items():
        directories = [RunDirectory(workspace.runs / other) for other in others]
        for directory, state in Watch().states(directories).items():
            done = state is State.DONE and completeness.valid(directory)
            if done or (resume and state.resumable):
                found.setdefault(name, directory.name)
    return found


def same_text(name: str, other: str) -> str:
    return f"{name} has the same spec and seed as {other}, which stands for it"


def require_done(directory: RunDirectory) -> None:
    """Raise QexpError unless the run is done and its results exist."""
    directory.record()
    state = Watch().state(directory)
    if state is not State.DONE:
        raise QexpError(f"{directory.name} is {state.words}, not done; finish it first")
    if not completeness.valid(directory):
        raise QexpError(f"{directory.name} is recorded as done, but some of its results are missing")

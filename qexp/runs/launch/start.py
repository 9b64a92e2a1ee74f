"""Start of a run in this process: a finished run is left alone, an interrupted one is resumed on request."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from qexp import assemble
from qexp.errors import QexpError
from qexp.runs.display import Display
from qexp.runs.execution.execute import execute
from qexp.runs.planning.existing import standing
from qexp.runs.planning.plans import overrides_of, plan
from qexp.runs.planning.prepare import prepare
from qexp.runs.record import nesting
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.record.trust import trust
from qexp.runs.state.waiting import Watch
from qexp.workspace import Workspace

log = logging.getLogger("qexp.run")


def start(
    reference: str,
    workspace: Workspace,
    *,
    seed: int = 0,
    overrides: Iterable[str] = (),
    name: str | None = None,
    pretrain: str | None = None,
    allow_leak: bool = False,
    storage: Path | None = None,
    resume: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    display: Display | None = None,
) -> tuple[RunDirectory, bool]:
    """Prepare and execute an experience's run with one seed. Returns the run, and False if it was done already.

    trust_code  whether to execute the run's own code if it was imported
    """
    nesting.place_of(storage, workspace)
    assemble.device_of(device)
    experience = assemble.experience(reference, [*overrides, *overrides_of(pretrain, allow_leak)], workspace)
    planned = plan(experience, seed, f"{experience.name}_{seed}" if name is None else name, workspace)
    directory = RunDirectory(workspace.runs / planned.name)
    try:
        directory = prepare(planned, workspace, storage)
    except FileExistsError:
        if not _goes_on(planned.name, standing(planned, workspace, Watch().state(directory)), resume):
            return directory, False
        if trust_code:
            trust(directory)
    for text in planned.warnings:
        log.warning("%s", text)
    execute(directory, device, display, dataset=experience.dataset)
    return directory, True


def _goes_on(name: str, state: State | None, resume: bool) -> bool:
    """Whether to execute the existing run of that name. Raises QexpError if the user must decide."""
    if state is State.DONE:
        return False
    if state is not None and state.at_work:
        raise QexpError(f"{name} is {state}; follow it with: qexp logs -f {name}")
    if resume or state is State.CREATED:
        return True
    raise QexpError(
        f"{name} is {(state or State.GONE).words}; go on with --resume, or start a new run with another --name"
    )

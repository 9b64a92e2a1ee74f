"""Start of a run in this process: a finished run is left alone, an interrupted one is resumed on request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qexp import assemble
from qexp.errors import QexpError
from qexp.runs.display import Display
from qexp.runs.execution.execute import execute
from qexp.runs.execution.wrapped import execute_wrapped
from qexp.runs.launch.order import Order
from qexp.runs.planning.existing import same_before, same_text, standing
from qexp.runs.planning.plans import named_after, of_seed, plan, with_pretrain
from qexp.runs.planning.prepare import prepare
from qexp.runs.record import nesting, tagging
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.record.trust import trust
from qexp.runs.schedulers import LOCAL, options_of
from qexp.runs.state.waiting import Watch
from qexp.runs.wrap import Wrap, wrap_of
from qexp.workspace import Workspace

log = logging.getLogger("qexp.run")


def start(
    order: Order, workspace: Workspace, name: str | None = None, display: Display | None = None
) -> tuple[RunDirectory, bool]:
    """Prepare and execute the only run of an order. Returns it, and whether it was trained now.

    order  of one experience and one seed, without a grid
    name   `<experience>_<seed>` if left out, with a short digest between them if overrides change the spec; then an
           existing run with the same spec and seed stands for it, whatever its name
    A wrap in qexp.toml starts the run in a process of its own, which shows its progress itself.
    """
    (reference,), (seed,) = order.references, order.seeds
    nesting.place_of(order.storage, workspace)
    tagging.require_valid(order.tags, order.note)
    wrap = wrap_here(workspace, order.options, order.device)
    overrides = of_seed(with_pretrain(order.overrides, order.pretrain, order.allow_leak), seed)
    parts = assemble.parts_of(workspace)
    experience = assemble.experience(reference, overrides, workspace, parts)
    usual = f"{named_after(experience, reference, overrides, parts)}_{seed}"
    planned = plan(experience, seed, usual if name is None else name, workspace)
    if name is None and (same := same_before([planned], workspace, order.resume)):
        log.warning("%s; to train it under another name, give one with --name", same_text(usual, same[usual]))
        planned = replace(planned, name=same[usual])
    directory = RunDirectory(workspace.runs / planned.name)
    try:
        directory = prepare(replace(planned, tags=order.tags, note=order.note), workspace, order.storage)
    except FileExistsError:
        if not goes_on(planned.name, standing(planned, workspace, Watch().state(directory)), order.resume):
            return directory, False
        if order.trust_code:
            trust(directory)
        tagging.add(directory.path, order.tags, order.note)
    for text in planned.warnings:
        log.warning("%s", text)
    carry_out(directory, wrap, order.device, display, experience.dataset)
    return directory, True


def wrap_here(workspace: Workspace, options: Mapping[str, Any], device: str) -> Wrap:
    """The command around a run that is started here. Raises QexpError for a device that does not exist."""
    wrap = wrap_of(options_of(LOCAL, workspace.settings(), options))
    if wrap:  # inside a container there may be another device
        assemble.require_device_name(device)
    else:
        assemble.device_of(device)
    return wrap


def carry_out(
    directory: RunDirectory, wrap: Wrap, device: str, display: Display | None, dataset: assemble.Dataset | None
) -> None:
    """Execute a prepared run in this process, or inside the command around it."""
    if wrap:
        execute_wrapped(directory, wrap, device, apart=True)
    else:
        execute(directory, device, display, dataset=dataset)


def goes_on(name: str, state: State | None, resume: bool) -> bool:
    """Whether to execute the existing run of that name. Raises QexpError if the user must decide."""
    if state is State.DONE:
        return False
    if state is not None and state.at_work:
        raise QexpError(f"{name} is {state}; follow it with: qexp logs -f {name}")
    if resume or state is State.CREATED:
        return True
    raise QexpError(
        f"{name} is {(state or State.GONE).words}; continue with --resume, or start a new run with another --name"
    )

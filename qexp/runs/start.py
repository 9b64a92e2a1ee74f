"""Starting a run: what is done already is left alone, what was interrupted goes on if asked to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from qexp import assemble
from qexp.assemble import Experience
from qexp.errors import NotFoundError, QexpError
from qexp.runs import results
from qexp.runs.catalog import Catalog
from qexp.runs.directory import RunDirectory
from qexp.runs.execute import Display, execute
from qexp.runs.prepare import Plan, prepare, require_name
from qexp.runs.states import process_of, state_now
from qexp.spec.digest import digest
from qexp.training import checkpoint
from qexp.workspace import Workspace


def start(
    reference: str,
    workspace: Workspace,
    *,
    seed: int = 0,
    overrides: Iterable[str] = (),
    name: str | None = None,
    pretrain: str | None = None,
    storage: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    display: Display | None = None,
) -> tuple[RunDirectory, bool]:
    """Prepare and execute the run of an experience with one seed. Returns it, and whether there was anything to do."""
    if not 0 <= seed < 2**63:
        raise QexpError(f"--seed {seed}: a seed is a whole number from 0 on, less than 2^63")
    assemble.device_of(device)
    changes = [*overrides, *([f"pretrain={json.dumps(pretrain)}"] if pretrain else [])]
    experience = assemble.experience(reference, changes, workspace)
    plan = _plan(experience, seed, name, workspace)
    directory = RunDirectory(workspace.runs / plan.name)
    try:
        directory = prepare(plan, workspace, storage)
    except FileExistsError:
        if not _goes_on(directory, plan, resume):
            return directory, False
    execute(directory, device, display)
    return directory, True


def _plan(experience: Experience, seed: int, name: str | None, workspace: Workspace) -> Plan:
    parent = experience.document["pretrain"]
    found = _parent(parent, experience, workspace) if parent else None
    texts = [experience.extensions, found.record()["digest"]] if found else [experience.extensions]
    return Plan(
        name=require_name(name or f"{experience.name}_{seed}"),
        experience=experience.name,
        dataset=experience.dataset_name,
        model=experience.model_name,
        seed=seed,
        spec=experience.document,
        digest=digest(experience.document, *[text for text in texts if text]),
        overrides=experience.overrides,
        extensions=experience.extensions,
        parent=found,
    )


def _parent(reference: str, experience: Experience, workspace: Workspace) -> RunDirectory:
    """The run to start from; its weights must be there and fit."""
    parent = Catalog(workspace).find(reference)
    require_done(parent)
    model = assemble.model_of(experience.document, assemble.tables_with(workspace.extensions))
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    theirs = checkpoint.shapes(parent.best_weights)
    lines = [
        f"{name}: {ours.get(name, 'missing')} here, {theirs.get(name, 'missing')} in {parent.name}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name) and not name.startswith("transforms.")
    ]
    if lines:
        raise QexpError(f"the weights of {parent.name} do not fit this model:\n  " + "\n  ".join(lines))
    return parent


def _goes_on(directory: RunDirectory, plan: Plan, resume: bool) -> bool:
    """Whether the run that has the name already is to be worked on. Raises QexpError where that needs a decision."""
    try:
        record = directory.record()
    except NotFoundError:
        raise QexpError(f"{directory.path} is in the way and holds no run; choose another --name") from None
    if (record["digest"], record["seed"]) != (plan.digest, plan.seed):
        what = "seed" if record["digest"] == plan.digest else "spec"
        raise QexpError(
            f"there is a run {plan.name} already, of another {what}; choose another name with --name, "
            f"or look at what differs: qexp show {plan.name}"
        )
    state = state_now(directory, record["state"], process_of(record))
    if state == "done":
        if not results.valid(directory):
            raise QexpError(f"{plan.name} says it is done, but its results are not all there; choose another --name")
        return False
    if state == "running":
        raise QexpError(f"{plan.name} is running; follow it in {directory.path}/attempts")
    if resume or state == "created":
        return True
    raise QexpError(f"{plan.name} is {state.replace('_', ' ')}; go on with --resume, or start anew with another --name")


def require_done(directory: RunDirectory) -> None:
    """Raise QexpError unless the run is done and its results are there."""
    record = directory.record()
    state = state_now(directory, record["state"], process_of(record))
    if state != "done":
        raise QexpError(f"{directory.name} is {state.replace('_', ' ')}, not done; finish it first")
    if not results.valid(directory):
        raise QexpError(f"{directory.name} says it is done, but its results are not all there")

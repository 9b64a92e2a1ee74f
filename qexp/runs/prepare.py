"""Preparation of a run: everything that it needs is written before it starts."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from qexp.base import folders
from qexp.base.files import sync_folder, write_bytes
from qexp.base.formats import write_json
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.spec.experiences import type_of
from qexp.store import directory, provenance
from qexp.store.directory import RunDirectory
from qexp.store.provenance import SEEN, Seen, join_seen, read_seen
from qexp.store.record import Ancestor, CodeState, Record, State, now, require_name

if TYPE_CHECKING:
    from qexp.kinds.experiments import Experience

FILES = "files"
"""Folder in `code` with copies of a program's files."""


@dataclass(frozen=True, kw_only=True)
class Plan(Record):
    """The record of a new run, as far as it is known, and what else its directory gets; see
    `experiments.Experience` for their origin.
    """

    state: State = State.CREATED
    spec: dict[str, Any]
    extensions: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of the workspace, with their SHA-256, of which the run keeps copies."""
    root: Path | None = None
    """The folder of `files`, and of the code whose state is kept, if it is not the workspace."""
    parent: RunDirectory | None = None
    """The run whose best weights are this run's initial weights."""
    transforms_taken: Sequence[str] = ()
    """Variables whose fitted transforms are taken over from the pretraining run."""
    spectra: Seen | None = None
    """The spectra that the run is trained on; None if it is not trained on spectra."""
    warnings: tuple[str, ...] = ()
    """Messages for the user who starts the run."""
    checked: Experience | None = field(default=None, repr=False, compare=False)
    """The experience, as it was checked for a sweep."""
    checkout: Path | None = None
    """The checkout of qexp that will execute the run, if it is not the running qexp."""

    @property
    def record(self) -> Record:
        return Record(**{one.name: getattr(self, one.name) for one in fields(Record)})


def prepare(
    plan: Plan, workspace: Workspace, storage: Path | None = None, like: RunDirectory | None = None
) -> RunDirectory:
    """Write a new run's directory, which appears under its name complete or not at all.

    storage  folder for the directory instead of `runs/`, which then gets a link to it; there its
             name has an ending of its own, so that another run of that name can be made there after
             this one is removed
    like     a run prepared just before, whose state of the code is copied: git is called for the
             first run only
    Raises FileExistsError if a run of that name exists, QexpError for a folder that must not hold
    runs.
    """
    return new_run(plan.name, workspace, storage, lambda draft: _fill(draft, plan, workspace, like))


def new_run(
    name: str, workspace: Workspace, storage: Path | None, fill: Callable[[Path], None]
) -> RunDirectory:
    """A new run's directory, which `fill` writes as a draft, and which appears complete or not at
    all.

    Raises FileExistsError if a run of that name exists, QexpError for a folder that must not hold
    runs.
    """
    require_name(name)
    runs = workspace.runs
    home = directory.storage_place(storage, workspace)
    target = home / (name if home == runs else f"{name}--{secrets.token_hex(4)}")
    try:
        for folder in (runs, home):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise QexpError(f"cannot write to {folder}: it is a file") from None
        if os.path.lexists(runs / name):
            raise FileExistsError(name)
        with folders.drafted(target) as draft:
            fill(draft)
            _claim(draft, target, runs / name)
    except FileExistsError:
        raise
    except OSError as error:
        raise QexpError(
            f"cannot write to {home}: {error.strerror or error}; nothing was started"
        ) from error
    return RunDirectory(runs / name)


def keep_code(
    draft: Path,
    extensions: str,
    workspace: Workspace,
    like: RunDirectory | None = None,
    checkout: Path | None = None,
) -> CodeState:
    """Make the folders of a run, and write the state of the code; see `provenance`."""
    for folder in ("code", "attempts", "checkpoints"):
        (draft / folder).mkdir()
    if like is None:
        code = provenance.keep_code_state(workspace.root, draft / "code", checkout)
    else:
        shutil.copytree(like.path / "code", draft / "code", dirs_exist_ok=True)
        # That run may be of another experience.
        shutil.rmtree(draft / "code" / FILES, ignore_errors=True)
        (draft / "code" / "extensions.py").unlink(missing_ok=True)
        code = like.record().code
    if extensions:
        (draft / "code" / "extensions.py").write_text(extensions, encoding="utf-8")
    return code


def _fill(draft: Path, plan: Plan, workspace: Workspace, like: RunDirectory | None) -> None:
    root = plan.root or workspace.root
    code = keep_code(draft, plan.extensions, Workspace(root), like, plan.checkout)
    _keep_files(plan, root, draft / "code" / FILES)
    lineage: tuple[Ancestor, ...] = ()
    if plan.parent is not None:
        pretrained = draft / "checkpoints" / "pretrained.safetensors"
        shutil.copyfile(plan.parent.best_weights, pretrained)
        operations = provenance.operations_taken(plan.spec)
        lineage = provenance.lineage_chain(
            plan.parent, provenance.fingerprint(pretrained), operations, plan.transforms_taken
        )
    write_json(draft / "spec.json", plan.spec)
    spectra = join_seen(plan.name, plan.spectra, read_seen(plan.parent) if plan.parent else {})
    if spectra:
        # Without indentation, since there can be tens of thousands of spectra.
        write_bytes(draft / SEEN, orjson.dumps(spectra, option=orjson.OPT_APPEND_NEWLINE))
    record = replace(
        plan.record,
        kind="trained" if type_of(plan.spec).trains else "program",
        state=State.QUEUED if plan.launch else State.CREATED,
        created=now(),
        tags=tuple(dict.fromkeys(plan.tags)),
        parents=(plan.parent.name,) if plan.parent else (),
        lineage=lineage,
        seen=provenance.fingerprint(draft / SEEN) if spectra else None,
        code=code,
    )
    RunDirectory(draft).write(record)


def _keep_files(plan: Plan, root: Path, folder: Path) -> None:
    for name, sha256 in plan.files.items():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, copy)
        if provenance.fingerprint(copy).sha256 != sha256:
            raise QexpError(
                f"{root / name} was changed while {plan.name} was prepared; start it again"
            )


def _claim(draft: Path, target: Path, run: Path) -> None:
    """Rename the draft to its final name, and link the run to it if that is elsewhere.

    Raises FileExistsError if the run exists; if several processes try, one succeeds.
    """
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(run.name) from None
        raise
    sync_folder(target.parent)
    if target != run:
        try:
            run.symlink_to(target, target_is_directory=True)
        except FileExistsError:
            shutil.rmtree(target)
            raise FileExistsError(run.name) from None

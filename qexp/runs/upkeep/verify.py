"""Verification of a finished run: it is repeated from its own directory elsewhere, and the outputs are compared."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import InterruptedRunError, QexpError
from qexp.runs import figures
from qexp.runs.leakage import hashes
from qexp.runs.record import nesting, provenance
from qexp.runs.record.completeness import as_prepared
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import now
from qexp.runs.record.record import Epochs, Record
from qexp.runs.record.state import State
from qexp.runs.record.trust import require_trust
from qexp.runs.signals import terminable
from qexp.runs.state.states import state_now
from qexp.runs.upkeep.environment_diff import Change, code_changes, code_then_and_now, environment_changes
from qexp.runs.upkeep.output_diff import (
    Largest,
    first_difference,
    largest_of_results,
    largest_of_weights,
    same_bytes,
    tensors,
)
from qexp.workspace import Workspace

PRETRAINED = "checkpoints/pretrained.safetensors"

WEIGHTS = ".safetensors"

KEPT = (
    "name", "experience", "dataset", "model", "seed", "digest", "overrides", "parents", "lineage", "seen", "units",
    "metrics", "caution",
)  # fmt: skip
"""Fields that the repeated run's record takes over from the original."""

OF_TODAY = ("CUDA_VISIBLE_DEVICES", "QEXP_CACHE", "QEXP_DATA")
"""Variables that are taken from today: visible devices and data folders do not affect results and can change."""


@dataclass(frozen=True)
class Verification:
    run: str
    identical: dict[str, bool]
    """Output (weights, metrics, results, …) → whether it is identical bit for bit."""
    code: str
    """Whether this qexp has the source that made the run, in words."""
    same_code: bool | None
    """None if the run does not record its source."""
    changes: list[Change]
    """Differences in code, packages, machine and settings between then and now."""
    epochs: int
    first_epoch: int | None = None
    """The first epoch whose metrics differ."""
    largest: dict[str, Largest] = field(default_factory=dict)
    error: str | None = None
    """Why the repeated run did not finish; None if it did."""

    @property
    def holds(self) -> bool:
        return self.error is None and all(self.identical.values())

    def document(self) -> dict[str, Any]:
        return {"run": self.run, "holds": self.holds, **asdict(self)}


def verify(
    directory: RunDirectory, workspace: Workspace, *, keep: Path | None = None, device: str | None = None
) -> Verification:
    """Repeat a finished run in a process of its own, and compare the outputs.

    keep    folder for the repeated run; default: a temporary folder
    device  auto, cpu or cuda; default: the kind that the run used
    Raises QexpError that names missing or changed files if the run cannot be repeated.
    """
    record = directory.record()
    require_trust(directory)
    _require_whole(directory, record)
    then = directory.environment()
    device = _device(device, then)
    with terminable(), _place(directory.name, keep) as folder:
        again = RunDirectory(folder)
        _copy_what_it_starts_from(directory, again, record, workspace)
        drawing = {} if keep else {figures.VARIABLE: "no"}
        limit = [] if directory.weight_files() else _limit_of_threads(then)
        error = _execute(again, device, {**_variables(then), **drawing}, limit)
        return _compared(directory, again, workspace, error)


def _products(directory: RunDirectory) -> dict[str, list[str]]:
    """Name → files that must be identical byte for byte."""
    if not directory.weight_files():
        return {}
    folds = [f"folds/{fold.name}" for fold in directory.all_folds()]
    if folds:
        return {
            "weights": [f"{fold}/checkpoints/best.safetensors" for fold in folds],
            "held-out estimates": [f"{fold}/predictions.csv" for fold in folds],
            "metrics": ["metrics.jsonl"],
        }
    return {
        "best weights": ["checkpoints/best.safetensors"],
        "last weights": ["checkpoints/last.safetensors"],
        "metrics": ["metrics.jsonl"],
    }


def _require_whole(directory: RunDirectory, record: Record) -> None:
    """Raise QexpError unless the run is done, its outputs exist, and its inputs are unchanged."""
    name = directory.name
    state = state_now(directory, record.state, record.open_attempt)
    if state is not State.DONE:
        raise QexpError(f"{name} is {state.words}, not done; only a finished run can be verified")
    if record.foreign_weights is not None:
        raise QexpError(
            f"{name} cannot be repeated: its weights are those of {record.foreign_weights.file.name}, which another "
            "program trained"
        )
    pretrained = [PRETRAINED] if record.parents else []
    products = [file for of_one in _products(directory).values() for file in of_one]
    gone = [file for file in ("spec.json", *products, *pretrained) if not (directory.path / file).is_file()]
    if gone or not (record.results or directory.written_by_program()):
        raise QexpError(f"{name} cannot be verified: {', '.join(gone) or 'results'} missing from {directory.path}")
    for file in products:
        if file.endswith(WEIGHTS):
            tensors(directory.path / file)
    parent = record.lineage[0] if record.lineage else None
    weights = parent.weights if parent else None
    if weights is not None and provenance.fingerprint(directory.path / PRETRAINED) != weights:
        raise QexpError(f"{name} cannot be verified: {PRETRAINED} was changed after the run")
    if trouble := hashes.trouble_with(directory, record):
        raise QexpError(f"{name} cannot be verified: {hashes.FILE} {trouble}")
    if as_prepared(directory, record) is False:
        inputs = "spec.json" + (" or code/extensions.py" if directory.extensions.exists() else "")
        raise QexpError(
            f"{name} cannot be verified: {inputs} was changed after the run, or is missing; "
            f"the digest no longer matches the record's {record.digest[:16]}…"
        )


def _device(asked: str | None, then: Mapping[str, Any]) -> str:
    """The requested device, else the kind that the run used. Raises QexpError if this machine has none."""
    used = then.get("device", "cpu")
    device = asked or ("auto" if used is None else "cpu" if used == "cpu" else "cuda")
    if device in ("auto", "cpu"):
        return device
    from qexp import assemble  # loads torch

    try:
        assemble.device_of(device)
    except QexpError as refused:
        hint = "" if asked else f"\nthe run was made on {used}; the processor, with --device cpu, gives other bits"
        raise QexpError(f"{refused}{hint}") from None
    return device


def _variables(then: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables for the repeated run: those that change results have their former values.

    The number of threads follows from them on the same machine; on another one it is set explicitly.
    """
    others = {name: value for name, value in os.environ.items() if not provenance.VARIABLES.fullmatch(name)}
    settings, recorded = provenance.variables(), then.get("variables")
    if recorded is not None:
        today = {name: value for name, value in settings.items() if name in OF_TODAY}
        settings = {**{name: value for name, value in recorded.items() if name not in OF_TODAY}, **today}
    if then.get("threads") and (recorded is None or then.get("usable_cores") != provenance.usable_cores()):
        settings["OMP_NUM_THREADS"] = str(then["threads"])
    return {**others, **settings}


@contextmanager
def _place(name: str, keep: Path | None) -> Iterator[Path]:
    """The folder of the repeated run, deleted afterwards unless it is kept."""
    if keep is not None:
        taken = QexpError(f"--keep {keep} exists and is not an empty folder; name a new or empty one")
        if keep.is_dir() and any(keep.iterdir()):  # such as an earlier repetition, which is a run
            raise taken
        nesting.target(keep)
        if keep.exists() and not keep.is_dir():
            raise taken
        files.make_folder(keep)
        yield keep.absolute()
        return
    try:
        temporary = tempfile.TemporaryDirectory(prefix="qexp-verify-", ignore_cleanup_errors=True)
    except OSError as refused:
        raise QexpError(f"cannot write to {tempfile.gettempdir()}: {refused.strerror}") from refused
    with temporary:
        folder = Path(temporary.name, name)
        files.make_folder(folder)
        yield folder


def _copy_what_it_starts_from(
    directory: RunDirectory, again: RunDirectory, record: Record, workspace: Workspace
) -> None:
    """Copy spec, seed, extensions, initial weights and `seen.json` of the run, and nothing else."""
    try:
        for folder in ("code", "attempts", "checkpoints"):
            (again.path / folder).mkdir()
        code = provenance.keep_code_state(workspace.root, again.path / "code")
        for file in ("spec.json", "code/extensions.py", PRETRAINED, hashes.FILE):
            if (directory.path / file).is_file():
                shutil.copyfile(directory.path / file, again.path / file)
    except OSError as refused:
        raise QexpError(f"cannot write to {again.path}: {refused.strerror}") from refused
    trusted = record.imported and replace(record.imported, code_trusted=True)  # `require_trust` has checked that
    again.write(
        Record(
            **{key: getattr(record, key) for key in KEPT},
            state=State.CREATED,
            created=now(),
            code=code,
            epochs=Epochs(of=record.epochs.of),
            note=f"verifies {directory.path}",
            imported=trusted,
        )
    )


def _limit_of_threads(then: Mapping[str, Any]) -> list[str]:
    """The option that gives a repeated run the number of threads of the first."""
    return ["--threads", str(then["threads"])] if then.get("threads") else []


def _execute(again: RunDirectory, device: str, variables: Mapping[str, str], options: Sequence[str]) -> str | None:
    """Train in a process of its own. Returns why it did not finish, else None. Raises InterruptedRunError."""
    command = [sys.executable, "-m", "qexp", "execute", str(again.path), "--device", device, *options]
    code = subprocess.run(command, env=dict(variables), stdout=subprocess.DEVNULL, check=False).returncode
    if code == 0:
        return None
    if code == 130:
        raise InterruptedRunError("the repeated run was interrupted; nothing was verified")
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return again.record().error or f"it ended with exit code {code}"


def _by_place(written: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Files of a program with those of its last attempt in one place, whatever the number of the attempt."""
    return (
        None
        if written is None
        else {re.sub(r"^attempts/\d+/", "attempts/", name): one for name, one in written.items()}
    )


def _compared(directory: RunDirectory, again: RunDirectory, workspace: Workspace, error: str | None) -> Verification:
    record, record_now = directory.record(), again.record()
    then, today = directory.environment(), again.environment()
    differing = {
        name: [file for file in of_one if not same_bytes(directory.path / file, again.path / file)]
        for name, of_one in _products(directory).items()
    }
    identical = {name: not of_one for name, of_one in differing.items()}
    if (written := directory.written_by_program()) is not None:
        identical["files"] = _by_place(written) == _by_place(again.written_by_program())
    else:
        identical["results"] = record.results == record_now.results
    largest = {}
    if error is None:
        for name, of_one in differing.items():
            for file in [file for file in of_one if file.endswith(WEIGHTS)][:1]:
                largest[name] = largest_of_weights(tensors(directory.path / file), tensors(again.path / file))
        if not identical.get("results", True):
            largest["results"] = largest_of_results(record.results, record_now.results)
    same_code, code = code_then_and_now(record, then, today)
    return Verification(
        run=directory.name,
        identical=identical,
        code=code,
        same_code=same_code,
        changes=[*code_changes(directory, again, workspace), *environment_changes(then, today)],
        epochs=record.epochs.done,
        first_epoch=first_difference(directory.metrics_file, again.metrics_file),
        largest=largest,
        error=error,
    )

"""Running a finished run again from its own directory, elsewhere, and comparing what comes out bit by bit."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from qexp import files
from qexp.errors import DamagedError, InterruptedRunError, QexpError
from qexp.runs import provenance
from qexp.runs.directory import EMPTY_RECORD, RunDirectory
from qexp.runs.prepare import now
from qexp.runs.states import process_of, state_now
from qexp.spec.digest import digest
from qexp.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PRETRAINED = "checkpoints/pretrained.safetensors"

WEIGHTS = {"best weights": "checkpoints/best.safetensors", "last weights": "checkpoints/last.safetensors"}

FILES = {**WEIGHTS, "metrics": "metrics.jsonl"}
"""What must be the same byte for byte."""

KEPT = ("name", "experience", "dataset", "model", "seed", "digest", "overrides", "parents", "units")
"""What the repeated run's record takes over; all else is its own."""

BY_VALUE = ("python", "platform", "machine", "processor", "instructions", "cores", "usable_cores", "host", "device",
            "accelerator", "threads")  # fmt: skip
"""What of two environments is compared as it is."""


@dataclass(frozen=True)
class Change:
    """What was one way when the run was made, and is another way now."""

    what: str
    then: str | None
    now: str | None


@dataclass(frozen=True)
class Largest:
    """Where two sets of numbers differ most; `difference` is null where they cannot be compared."""

    where: str
    difference: float | None


@dataclass(frozen=True)
class Verification:
    run: str
    identical: dict[str, bool]
    """best weights, last weights, metrics, results: bit for bit."""
    code: str
    """Whether this is the code that made the run, in words."""
    same_code: bool | None
    """None if the run does not say."""
    changes: list[Change]
    """In code, packages, machine and settings, between then and now."""
    epochs: int
    first_epoch: int | None = None
    """The first epoch whose metrics differ."""
    largest: dict[str, Largest] = field(default_factory=dict)
    error: str | None = None
    """Why the repeated run came to no end, if it did not."""

    @property
    def holds(self) -> bool:
        return self.error is None and all(self.identical.values())

    def document(self) -> dict[str, Any]:
        return {"run": self.run, "holds": self.holds, **asdict(self)}


def verify(
    directory: RunDirectory, workspace: Workspace, *, keep: Path | None = None, device: str | None = None
) -> Verification:
    """Run a finished run again, in a process of its own, and compare.

    keep    where the repeated run stays; a temporary folder if left out
    device  auto, cpu or cuda; the kind that the run used if left out
    Raises QexpError, naming what is missing or was changed, where the run cannot be repeated.
    """
    record = directory.record()
    _require_whole(directory, record)
    then = _environment(directory)
    device = device or _device_then(then)
    with _terminable(), _place(directory.name, keep) as folder:
        again = RunDirectory(folder)
        _copy_what_it_starts_from(directory, again, record, workspace)
        error = _execute(again, device, _variables(then))
        return _compared(directory, again, workspace, error)


def _require_whole(directory: RunDirectory, record: dict[str, Any]) -> None:
    """Raise QexpError unless the run is done, all is there to compare, and its inputs are those that it had."""
    name = directory.name
    state = state_now(directory, record["state"], process_of(record))
    if state != "done":
        raise QexpError(f"{name} is {state.replace('_', ' ')}, not done; only a finished run can be verified")
    pretrained = [PRETRAINED] if record["parents"] else []
    gone = [file for file in ("spec.json", *FILES.values(), *pretrained) if not (directory.path / file).is_file()]
    if gone or not record["results"]:
        raise QexpError(f"{name} cannot be verified: {', '.join(gone) or 'its results'} gone from {directory.path}")
    for file in WEIGHTS.values():
        _tensors(directory.path / file)
    lineage = record.get("lineage") or []
    if lineage and provenance.fingerprint(directory.path / PRETRAINED) != lineage[0]["weights"]:
        raise QexpError(f"{name} cannot be verified: {PRETRAINED} was changed after the run")
    if record["parents"] and not lineage:
        return  # made before runs wrote down their parents' digests, which are part of their own
    texts = [_text(directory.extensions), *(one["digest"] for one in lineage)]
    if digest(directory.spec(), *[text for text in texts if text]) != record["digest"]:
        inputs = "spec.json" + (" or code/extensions.py" if directory.extensions.exists() else "")
        raise QexpError(
            f"{name} cannot be verified: {inputs} was changed after the run, or is gone; "
            f"the record's digest is {record['digest'][:16]}…, theirs is another"
        )


def _environment(directory: RunDirectory) -> dict[str, Any]:
    """What the run wrote of its environment; empty if it did not come so far."""
    try:
        environment = files.read_json(directory.path / "environment.json")
    except FileNotFoundError:
        return {}
    if not isinstance(environment, dict):
        raise DamagedError(f"{directory.path / 'environment.json'} is not what a run writes there")
    return environment


def _device_then(then: Mapping[str, Any]) -> str:
    """The kind of device that the run used. Raises QexpError if there is none of that kind here."""
    if then.get("device", "cpu") == "cpu":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise QexpError(
            f"the run was made on {then['device']}, and there is no such device here; "
            "compare with what the processor makes of it, which will differ: --device cpu"
        )
    return "cuda"


def _variables(then: Mapping[str, Any]) -> dict[str, str]:
    """The environment's variables for the repeated run: those that change results as they were then.

    The number of threads follows from them on the same machine; elsewhere it is asked for.
    """
    kept = {name: value for name, value in os.environ.items() if not provenance.VARIABLES.fullmatch(name)}
    here = {name: value for name, value in os.environ.items() if name.startswith(("CUDA_", "QEXP_"))}
    recorded = then.get("variables")
    settings = dict(provenance.variables()) if recorded is None else {**recorded, **here}
    if "threads" in then and (recorded is None or then.get("usable_cores") != provenance.usable_cores()):
        settings["OMP_NUM_THREADS"] = str(then["threads"])
    return {**kept, **settings}


@contextmanager
def _place(name: str, keep: Path | None) -> Iterator[Path]:
    """The folder of the repeated run, gone afterwards unless it is to be kept."""
    try:
        if keep is not None:
            if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
                raise QexpError(f"--keep {keep}: there is something already; name a folder that is new or empty")
            keep.mkdir(parents=True, exist_ok=True)
            temporary = None
        else:
            temporary = Path(tempfile.mkdtemp(prefix="qexp-verify-"))
            (temporary / name).mkdir()
    except OSError as refused:
        raise QexpError(f"cannot write to {keep or tempfile.gettempdir()}: {refused.strerror}") from refused
    try:
        yield (keep or Path()).absolute() if temporary is None else temporary / name
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _copy_what_it_starts_from(
    directory: RunDirectory, again: RunDirectory, record: dict[str, Any], workspace: Workspace
) -> None:
    """Spec, seed, extensions and first weights, and nothing else of the run."""
    try:
        for folder in ("code", "attempts", "checkpoints"):
            (again.path / folder).mkdir()
        code = provenance.keep_code_state(workspace.root, again.path / "code")
        for file in ("spec.json", "code/extensions.py", PRETRAINED):
            if (directory.path / file).is_file():
                shutil.copyfile(directory.path / file, again.path / file)
    except OSError as refused:
        raise QexpError(f"cannot write to {again.path}: {refused.strerror}") from refused
    epochs = {"done": 0, "of": record["epochs"]["of"], "best": None}
    own = {"state": "created", "created": now(), "code": code, "epochs": epochs, "note": f"verifies {directory.path}"}
    files.write_json(again.record_file, {**EMPTY_RECORD, **{key: record[key] for key in KEPT}, **own})


def _execute(again: RunDirectory, device: str, variables: Mapping[str, str]) -> str | None:
    """Train in a process of its own. Returns why it came to no end, None if it did. Raises InterruptedRunError."""
    command = [sys.executable, "-m", "qexp", "execute", str(again.path), "--device", device]
    code = subprocess.run(command, env=dict(variables), stdout=subprocess.DEVNULL, check=False).returncode
    if code == 0:
        return None
    if code == 130:
        raise InterruptedRunError("the repeated run was interrupted; nothing was verified")
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return again.record()["error"] or f"it ended with exit code {code}"


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end this process as Ctrl-C does: with nothing left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _compared(directory: RunDirectory, again: RunDirectory, workspace: Workspace, error: str | None) -> Verification:
    record, record_now = directory.record(), again.record()
    then, today = _environment(directory), _environment(again)
    identical = {name: _bytes(directory.path / file) == _bytes(again.path / file) for name, file in FILES.items()}
    identical["results"] = record["results"] == record_now["results"]
    largest = {}
    if error is None:
        for name, file in WEIGHTS.items():
            if not identical[name]:
                largest[name] = largest_difference(_tensors(directory.path / file), _tensors(again.path / file))
        if not identical["results"]:
            largest["results"] = _largest_of_results(record["results"], record_now["results"])
    same_code, code = _code(record, then, today)
    return Verification(
        run=directory.name,
        identical=identical,
        code=code,
        same_code=same_code,
        changes=[*_code_changes(directory, again, workspace), *environment_changes(then, today)],
        epochs=record["epochs"]["done"],
        first_epoch=first_difference(directory.metrics_file, again.metrics_file),
        largest=largest,
        error=error,
    )


def first_difference(one: Path, other: Path) -> int | None:
    """The first epoch whose lines in two files of metrics differ, or of which one file has no line."""
    lines = itertools.zip_longest(*((_bytes(path) or b"").splitlines() for path in (one, other)))
    return next((epoch for epoch, (a, b) in enumerate(lines, start=1) if a != b), None)


def largest_difference(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> Largest:
    """Where the weights of two files differ most; the optimizer's memory counts only if the weights are the same."""
    import numpy as np

    for name in sorted({*one, *other}):
        if name not in one or name not in other or one[name].shape != other[name].shape:
            return Largest(f"{name}, which only one has in this shape", None)

    def distance(name: str) -> float:
        a, b = one[name].astype(np.float64), other[name].astype(np.float64)
        difference = float(np.max(np.abs(a - b), initial=0.0))
        return difference if not math.isnan(difference) else math.inf

    differing = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    weights = [name for name in differing if not name.startswith(("optimizer.", "progress."))]
    if not differing:
        return Largest("what is noted beside the weights", None)
    name = max(weights or differing, key=distance)
    found = distance(name)
    return Largest(name, found if math.isfinite(found) else None)


def _largest_of_results(one: dict[str, Any], other: dict[str, Any]) -> Largest:
    """The result that differs most, in relation to its size."""
    a, b = _flat(one), _flat(other)

    def relative(name: str) -> float:
        x, y = a.get(name), b.get(name)
        if x is None or y is None:
            return 0.0 if x is y else math.inf
        return abs(x - y) / (max(abs(x), abs(y)) or 1.0)

    name = max({**a, **b}, key=relative)
    x, y = a.get(name), b.get(name)
    return Largest(name, None if x is None or y is None else abs(x - y))


def _flat(results: dict[str, Any], path: str = "") -> dict[str, float | None]:
    """`{"test.depth.mae": 0.1}`"""
    found: dict[str, float | None] = {}
    for key, value in results.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def _code(record: dict[str, Any], then: dict[str, Any], today: dict[str, Any]) -> tuple[bool | None, str]:
    """Whether this is the code that made the run, and the same in words."""
    before, here = then.get("qexp") or {}, today.get("qexp") or provenance.own_code()
    if "source" not in before:
        commit = record["code"].get("commit")
        made = f"; its workspace was at commit {commit[:12]}" if commit else ""
        return None, f"the run does not say which source of qexp made it{made}"
    same = before["source"] == here["source"]
    text = "the very source of qexp that made the run" if same else "not the source of qexp that made the run"
    commits = [before.get("commit"), here.get("commit")]
    if None in commits:
        return same, text
    short = [commit[:12] for commit in commits if commit]
    if short[0] == short[1]:
        return same, f"{text}; commit {short[0]} then and now" + ("" if same else ", with other changes")
    return same, f"{text}; commit {short[0]} then, {short[1]} now"


def _code_changes(directory: RunDirectory, again: RunDirectory, workspace: Workspace) -> Iterator[Change]:
    """What differs in the workspace's code, as far as the run kept it."""
    then, today = directory.record()["code"], again.record()["code"]
    yield from _change("commit of the workspace", then.get("commit"), today.get("commit"))
    for name in ("changes.diff", "qexp.diff"):
        yield from _change(f"code/{name}", *(_short_hash(one.path / "code" / name) for one in (directory, again)))
    files_then, files_now = (_untracked(one) for one in (directory, again))
    differing = {name for name in {*files_then, *files_now} if files_then.get(name) != files_now.get(name)}
    yield from _change("untracked files", *(_joined(differing & set(kept)) for kept in (files_then, files_now)))
    if directory.extensions.exists() or workspace.extensions.exists():
        hashes = [_short_hash(directory.extensions), _short_hash(workspace.extensions)]
        yield from _change("specs/extensions.py (the run's own was used)", *hashes)


def _untracked(run: RunDirectory) -> dict[str, str | None]:
    """Name → hash of the untracked files that are kept with a run."""
    folder = run.path / "code" / "untracked"
    return {str(path.relative_to(folder)): _short_hash(path) for path in folder.rglob("*") if path.is_file()}


def _joined(names: set[str]) -> str | None:
    return ", ".join(sorted(names)) or None


def environment_changes(then: Mapping[str, Any], today: Mapping[str, Any]) -> Iterator[Change]:
    """What differs between two environments; what the older one does not mention is left out."""
    if not today:
        return
    for name, of_code in (("commit of qexp", "commit"), ("source of qexp", "source")):
        if then.get("qexp"):
            yield from _change(name, *((one.get("qexp") or {}).get(of_code) for one in (then, today)))
    for name in BY_VALUE:
        if name in then:
            yield from _change(name.replace("_", " "), then[name], today.get(name))
    for table, title in (("packages", ""), ("variables", "variable ")):
        if table in then:
            before, here = then[table], today.get(table, {})
            for name in sorted({*before, *here}):
                yield from _change(f"{title}{name}", before.get(name), here.get(name))


def _change(what: str, then: Any, today: Any) -> Iterator[Change]:
    if then != today:
        yield Change(what, *(None if value is None else _words(value) for value in (then, today)))


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tensors(path: Path) -> dict[str, NDArray[np.generic]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise DamagedError(f"{path} is damaged: {error}") from None


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _short_hash(path: Path) -> str | None:
    content = _bytes(path)
    return None if content is None else hashlib.sha256(content).hexdigest()[:16]

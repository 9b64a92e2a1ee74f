"""Differences in code, packages, machine and settings between the making of a run and now."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qexp.base import files, formats
from qexp.base.machine import FINDING, signal_name, terminable
from qexp.base.text import Table, leaves, without_end
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, InterruptedRunError, QexpError
from qexp.figures import canvas
from qexp.jobs.scheduler import Wrap
from qexp.jobs.states import state_now
from qexp.kinds.attempt import Display
from qexp.metrics.meaning import number
from qexp.rows.array_cache import THOROUGHLY
from qexp.runs.execute import require_executable
from qexp.runs.options import VerifyOptions
from qexp.runs.prepare import keep_code
from qexp.store import provenance
from qexp.store.directory import RunDirectory, target_outside_of_runs
from qexp.store.record import Epochs, Numbers, Record, State, now

BY_VALUE = ("python", "platform", "machine", "processor", "instructions", "cores", "usable_cores", "host", "device",
            "accelerator", "threads")  # fmt: skip
"""Entries of the environment that are compared by value."""


@dataclass(frozen=True)
class Change:
    """One difference between the time when the run was made and now."""

    what: str
    then: str | None
    now: str | None


def code_then_and_now(
    record: Record, then: dict[str, Any], today: dict[str, Any]
) -> tuple[bool | None, str]:
    """Whether this qexp has the run's source (None if unknown), and the answer in words."""
    theirs = then.get("qexp") or {}
    here = today.get("qexp") or provenance.own_code()
    if "source" not in theirs:
        commit = record.code.commit
        remark = f"; its workspace was at commit {commit[:12]}" if commit else ""
        return None, f"the run does not record which source of qexp made it{remark}"
    same = theirs["source"] == here["source"]
    text = f"{'exactly' if same else 'not'} the source of qexp that made the run"
    commits = [theirs.get("commit"), here.get("commit")]
    if None in commits:
        return same, text
    short = [commit[:12] for commit in commits if commit]
    if short[0] != short[1]:
        return same, f"{text}; commit {short[0]} then, {short[1]} now"
    remark = "" if same else ", with other changes"
    return same, f"{text}; commit {short[0]} then and now{remark}"


def code_changes(
    directory: RunDirectory, again: RunDirectory, workspace: Workspace
) -> Iterator[Change]:
    """Differences in the workspace's code, as far as the run recorded it."""
    then = directory.record().code
    today = again.record().code
    yield from _change("commit of the workspace", then.commit, today.commit)
    for name in ("changes.diff", "qexp.diff"):
        hashes = [_short_hash(run.path / "code" / name) for run in (directory, again)]
        yield from _change(f"code/{name}", *hashes)
    hashes_then, hashes_now = map(_untracked, (directory, again))
    only_then = dict(hashes_then - hashes_now)
    only_now = dict(hashes_now - hashes_then)
    names_then, names_now = (", ".join(sorted(names)) or None for names in (only_then, only_now))
    yield from _change("untracked files", names_then, names_now)
    if directory.extensions.exists() or workspace.extensions.exists():
        hashes = [_short_hash(directory.extensions), _short_hash(workspace.extensions)]
        yield from _change("specs/extensions.py (the run's own was used)", *hashes)


def _untracked(directory: RunDirectory) -> set[tuple[str, str | None]]:
    """Names and hashes of the copies of untracked files."""
    folder = directory.path / "code" / "untracked"
    paths = filter(Path.is_file, folder.rglob("*"))
    return {(str(path.relative_to(folder)), _short_hash(path)) for path in paths}


def environment_changes(then: Mapping[str, Any], today: Mapping[str, Any]) -> Iterator[Change]:
    """Differences between two environments; entries that the older one lacks are left out."""
    if not today:
        return
    code_then = then.get("qexp")
    code_today = today.get("qexp") or {}
    if code_then:
        for key in ("commit", "source"):
            yield from _change(f"{key} of qexp", code_then.get(key), code_today.get(key))
    for name in BY_VALUE:
        if name in then:
            yield from _change(name.replace("_", " "), then[name], today.get(name))
    for table, title in (("packages", ""), ("variables", "variable ")):
        if table in then:
            theirs = then[table]
            here = today.get(table, {})
            for name in sorted({*theirs, *here}):
                yield from _change(f"{title}{name}", theirs.get(name), here.get(name))


def _change(what: str, then: Any, today: Any) -> Iterator[Change]:
    if then != today:
        yield Change(what, _as_text(then), _as_text(today))


def _as_text(value: Any) -> str | None:
    return value if isinstance(value, str | None) else json.dumps(value)


def _short_hash(path: Path) -> str | None:
    return files.sha256_of(path)[:16] if path.is_file() else None


@dataclass(frozen=True)
class Largest:
    """The place of the largest difference of numbers; null if they cannot be compared."""

    where: str
    difference: float | None


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def first_difference(first: Path, second: Path) -> int | None:
    """The first epoch whose lines in two metrics files differ or are missing in one."""
    contents = [_content(path) or b"" for path in (first, second)]
    lines = itertools.zip_longest(*map(bytes.splitlines, contents))
    return next((epoch for epoch, (a, b) in enumerate(lines, start=1) if a != b), None)


def largest_difference(then: Numbers, now: Numbers) -> Largest:
    """The result with the largest relative difference."""
    then_by_path = {path: x for path, x in leaves(then) if x != {}}
    now_by_path = {path: x for path, x in leaves(now) if x != {}}

    def relative(path: str) -> float:
        x = then_by_path.get(path)
        y = now_by_path.get(path)
        if x is None or y is None:
            return 0.0 if x is y else math.inf
        return float(abs(x - y) / (max(abs(x), abs(y)) or 1.0))

    path = max({**then_by_path, **now_by_path}, key=relative)
    x = then_by_path.get(path)
    y = now_by_path.get(path)
    return Largest(path, None if x is None or y is None else abs(x - y))


# Verification of a finished run: it is repeated elsewhere from its directory, and compared.


PRETRAINED = "checkpoints/pretrained.safetensors"

KEPT = (
    "name", "experience", "dataset", "model", "digest", "overrides", "units", "metrics",
    "seed", "stack", "parents", "lineage", "seen", "caution",
)  # fmt: skip
"""Fields that the repeated run's record takes over from the original."""

OF_TODAY = ("CUDA_VISIBLE_DEVICES", "QEXP_CACHE", "QEXP_DATA")
"""Variables of devices and data folders, which can change and do not affect results."""

SECONDS_BETWEEN_LOOKS = 0.2
"""Seconds between two looks at the epochs of the repeated run."""


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
    """"results" → their largest difference, if they differ."""
    error: str | None = None
    """Why the repeated run did not finish; None if it did."""

    @property
    def holds(self) -> bool:
        return self.error is None and all(self.identical.values())

    @property
    def verdict(self) -> str:
        """The answer in a few words."""
        if self.error:
            return f"NOT repeated; it failed this time: {self.error}"
        return "identical, bit for bit" if self.holds else "NOT identical"

    def parts(self) -> Iterator[Table | str]:
        """What is identical, and what has changed since."""
        if not self.error:
            rows = [[name, self._outcome(name)] for name in self.identical]
            yield Table("", ["what", "then and now"], rows)
        yield f"code: {self.code}"
        if self.changes:
            rows = [[one.what, _brief(one.then), _brief(one.now)] for one in self.changes]
            yield Table("what changed since", ["what", "then", "now"], rows)
        else:
            yield "packages, machine and settings: unchanged"

    def _outcome(self, name: str) -> str:
        if self.identical[name]:
            return f"identical, {self.epochs} epochs" if name == "metrics" else "identical"
        if name == "metrics":
            return f"differ from epoch {self.first_epoch} on, of {self.epochs}"
        largest = self.largest.get(name)
        if largest is None:
            return "differ"
        size = "" if largest.difference is None else f": by {number(largest.difference)}"
        return f"differ, most in {largest.where}{size}"

    def document(self) -> dict[str, Any]:
        return {"run": self.run, "holds": self.holds, **asdict(self)}


LONGEST_VALUE = 48
"""Characters of a value that are shown; --json has all."""


def _brief(value: str | None) -> str:
    return "-" if value is None else without_end(value, LONGEST_VALUE)


def verify(directory: RunDirectory, workspace: Workspace, options: VerifyOptions) -> Verification:
    """Repeat a finished run in a process of its own, and compare the outputs.

    Raises QexpError that names missing or changed files if the run cannot be repeated.
    """
    record = directory.record()
    directory.require_trust()
    require_executable(record)
    _require_whole(directory, record)
    then = directory.environment()
    device = _device(options.device, then)
    keep = None if options.keep is None else Path(options.keep)
    with terminable(), _folder_for(directory.name, keep) as folder:
        again = RunDirectory(folder)
        _copy_inputs(directory, again, record, workspace)
        settings = {THOROUGHLY: "1", **({} if keep else {canvas.DRAWING: "no"})}
        # The number of threads of the first run, which networks have from their own environment.
        limit = (
            ["--threads", str(then["threads"])]
            if then.get("threads") and not directory.weight_files()
            else []
        )
        error = _execute(
            again, device, {**_variables(then), **settings}, limit, options.display or Display()
        )
        return _compare(directory, again, workspace, error)


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
    from safetensors import SafetensorError
    from safetensors.numpy import load

    name = directory.name
    state = state_now(directory, record.state, record.open_attempt)
    if state is not State.DONE:
        raise QexpError(f"{name} is {state.words}, not done; only a finished run can be verified")
    if record.foreign_weights is not None:
        raise QexpError(
            f"{name} cannot be repeated: its weights are those of"
            f" {record.foreign_weights.file.name}, which another program trained"
        )
    directory.spec()  # that it is the one which was prepared
    pretrained = [PRETRAINED] if record.parents else []
    products = list(itertools.chain(*_products(directory).values()))
    needed = ["spec.json", *products, *pretrained]
    gone = [file for file in needed if not (directory.path / file).is_file()]
    if gone or not (record.results or directory.written_by_program()):
        raise QexpError(
            f"{name} cannot be verified: {', '.join(gone) or 'results'} missing from"
            f" {directory.path}"
        )
    for file in products:
        if file.endswith(".safetensors"):
            try:
                load((directory.path / file).read_bytes())
            except SafetensorError as error:
                raise DamagedError(f"{directory.path / file} is damaged: {error}") from None
    parent = record.lineage[0] if record.lineage else None
    weights = parent.weights if parent else None
    if weights is not None and provenance.fingerprint(directory.path / PRETRAINED) != weights:
        raise QexpError(f"{name} cannot be verified: {PRETRAINED} was changed after the run")
    trouble = provenance.trouble_with_seen(directory, record)
    if trouble:
        raise QexpError(f"{name} cannot be verified: {provenance.SEEN} {trouble}")


def _device(wanted: str | None, then: Mapping[str, Any]) -> str:
    """The device asked for, else of the run's kind. Raises QexpError if there is none here."""
    used = then.get("device", "cpu")
    here = "auto" if used is None else "cuda"
    device = wanted or ("cpu" if used == "cpu" else here)
    if device in ("auto", "cpu"):
        return device
    from qexp.kinds.objects import device_of  # loads torch

    try:
        device_of(device)
    except QexpError as refused:
        hint = f"\nthe run was made on {used}; the processor, with `device=cpu`, gives other bits"
        raise QexpError(f"{refused}{'' if wanted else hint}") from None
    return device


def _variables(then: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables for the repeated run, with former values of what changes results.

    The number of threads follows from them on the same machine; on another one it is set.
    """
    others = dict[str, str]()
    for name, value in os.environ.items():
        if provenance.VARIABLES.fullmatch(name) is None and name not in FINDING:
            others[name] = value
    settings = provenance.variables()
    recorded = then.get("variables")
    if recorded is not None:
        today = {name: value for name, value in settings.items() if name in OF_TODAY}
        former = {name: value for name, value in recorded.items() if name not in OF_TODAY}
        settings = {**former, **today}
    if then.get("threads") and (
        recorded is None or then.get("usable_cores") != provenance.usable_cores()
    ):
        settings["OMP_NUM_THREADS"] = str(then["threads"])
    return {**others, **settings}


@contextmanager
def _folder_for(name: str, keep: Path | None) -> Iterator[Path]:
    """The folder of the repeated run, deleted afterwards unless it is kept."""
    if keep is not None:
        refusal = QexpError(
            f"`keep={keep}` exists and is not an empty folder; name a new or empty one"
        )
        if keep.is_dir() and any(keep.iterdir()):  # such as an earlier repetition, which is a run
            raise refusal
        target_outside_of_runs(keep)
        if keep.exists() and not keep.is_dir():
            raise refusal
        files.make_folder(keep)
        yield keep.absolute()
        return
    with files.writing(f"to {tempfile.gettempdir()}"):
        temporary = tempfile.TemporaryDirectory(prefix="qexp-verify-", ignore_cleanup_errors=True)
    with temporary:
        folder = Path(temporary.name, name)
        files.make_folder(folder)
        yield folder


def _copy_inputs(
    directory: RunDirectory, again: RunDirectory, record: Record, workspace: Workspace
) -> None:
    """Copy spec, seed, extensions, initial weights and `seen.json` of the run, and nothing else."""
    with files.writing(f"to {again.path}"):
        code = keep_code(again.path, "", workspace)
        for file in ("spec.json", "code/extensions.py", PRETRAINED, provenance.SEEN):
            if (directory.path / file).is_file():
                shutil.copyfile(directory.path / file, again.path / file)
    # `require_trust` has checked that
    trusted = record.imported and replace(record.imported, code_trusted=True)
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


def _execute(
    again: RunDirectory,
    device: str,
    variables: Mapping[str, str],
    options: Sequence[str],
    display: Display,
) -> str | None:
    """Train in an own process. Returns why it did not finish. Raises InterruptedRunError."""
    command = Wrap().wrapped(again, "execute", str(again.path), "--device", device, *options)
    display.start(again.name, again.record().epochs.of, 0)
    # What it prints is the progress, which the display shows.
    with (
        tempfile.TemporaryFile() as printed,
        subprocess.Popen(
            command, env=dict(variables), stdout=subprocess.DEVNULL, stderr=printed
        ) as process,
    ):
        try:
            _follow(process, again, display)
        except BaseException:
            process.kill()
            raise
        finally:
            display.stop()
        code = process.returncode
        printed.seek(0)
        last_words = printed.read().decode(errors="replace").strip().rpartition("\n")[2]
    if code == 0:
        return None
    if code == 130:
        raise InterruptedRunError("the repeated run was interrupted; nothing was verified")
    if code < 0:
        return f"its process was ended by {signal_name(-code)}"
    return again.record().error or f"it ended with exit code {code}: {last_words}"


def _follow(process: subprocess.Popen[bytes], again: RunDirectory, display: Display) -> None:
    """Show the epochs of a run until its process ends."""
    shown, last = 0, time.monotonic()
    ended = False
    while not ended:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=SECONDS_BETWEEN_LOOKS)
            ended = True
        for line in itertools.islice(formats.read_lines(again.metrics_file), shown, None):
            shown = shown + 1
            begun = last
            last = time.monotonic()
            display.epoch(line, last - begun)


def _by_place(written: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A program's files with those of the last attempt in one place, whatever its number."""
    if written is None:
        return None
    attempt = re.compile(r"^attempts/\d+/")
    return {attempt.sub("attempts/", name): written[name] for name in written}


def _compare(
    directory: RunDirectory, again: RunDirectory, workspace: Workspace, error: str | None
) -> Verification:
    record = directory.record()
    record_now = again.record()
    then = directory.environment()
    today = again.environment()
    identical = dict[str, bool]()
    for name, products in _products(directory).items():
        pairs = [
            (_content(directory.path / file), _content(again.path / file)) for file in products
        ]
        identical[name] = all(first == second is not None for first, second in pairs)
    written = directory.written_by_program()
    if written is not None:
        identical["files"] = _by_place(written) == _by_place(again.written_by_program())
    else:
        identical["results"] = record.results == record_now.results
    largest = {}
    if error is None and not identical.get("results", True):
        largest["results"] = largest_difference(record.results, record_now.results)
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

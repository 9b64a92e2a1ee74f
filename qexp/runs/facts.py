"""A run in words: what it is, where it came from, how far it got."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from qexp.errors import DamagedError
from qexp.jobs.states import Watch
from qexp.results.capabilities import documents_of
from qexp.runs.actions import states_of
from qexp.store import evaluations
from qexp.store.directory import RunDirectory
from qexp.store.provenance import lineage_text
from qexp.store.record import CodeState, Epochs, FoldCount, Imported, Record


def facts(
    directory: RunDirectory, record: Record, state: str, warn: Callable[[str], None]
) -> list[tuple[str, str]]:
    """Key → text, in the order in which they are shown; what a run does not have is left out.

    warn  receives a line if the environment cannot be read
    """
    lineage = lineage_text(record.lineage)
    actions = list[str]()
    for name, how in states_of(directory).items():
        actions.append(name if how == "done" else f"{name} ({how})")
    spent = f"{record.seconds:.1f} s" if record.ended else ""
    if record.foreign_weights is not None:
        spent = "none here"
    environment: dict[str, Any] = {}
    try:
        environment = directory.environment()
    except DamagedError as damage:
        warn(str(damage))
    variables = (environment.get("variables") or {}).items()
    texts = [
        ("run", record.name),
        ("state", state),
        ("error", record.error),
        ("experience", f"{record.experience}, seed {record.seed}"),
        ("dataset", record.dataset),
        ("model", record.model),
        ("weights", f"{record.weights:,}" if record.weights else ""),
        ("caution", record.caution),
        ("folds", _folds(record.folds)),
        (
            "epochs" if record.epochs.step is None else "logged",
            _epochs(record.epochs) if record.epochs.done or record.folds is None else "",
        ),
        ("stopped", record.stopped),
        ("created", _moment(record.created)),
        ("ended", _moment(record.ended)),
        # Programs may do anything with their time.
        ("time" if record.kind == "program" else "training", spent),
        ("stack", f"place {record.stack.place + 1} of {record.stack.size}" if record.stack else ""),
        ("attempts", _attempts(record)),
        ("code", _code(record.code)),
        ("software", _software(environment)),
        ("machine", _machine(environment)),
        ("settings", " ".join(f"{name}={value}" for name, value in variables)),
        ("digest", record.digest[:16]),
        ("pretrained", f"from {lineage}" if lineage else ""),
        ("rerun of", record.rerun_of),
        ("imported", _imported(record.imported)),
        *_foreign_weights(record),
        ("matrices", ", ".join(directory.matrix_names())),
        ("evaluations", ", ".join(evaluations.names(directory))),
        ("actions", ", ".join(actions)),
        ("tags", ", ".join(record.tags)),
        ("note", record.note),
        ("path", str(directory.path)),
    ]
    return [(key, str(text)) for key, text in texts if text]


def _moment(stamp: str | None) -> str:
    """A time for readers, which records have with milliseconds."""
    if stamp and stamp.endswith("+00:00"):
        return f"{stamp[:19].replace('T', ' ')} UTC"
    return stamp or ""


def _attempts(record: Record) -> str:
    if record.attempts:
        return f"{len(record.attempts)}, the last on {record.attempts[-1].process.host}"
    return "none yet" if record.foreign_weights is None else ""


def _epochs(epochs: Epochs) -> str:
    if epochs.step is not None:
        return f"{epochs.done} lines, up to step {epochs.step:g}"
    if not epochs.of and not epochs.done:
        return ""
    total = f" of {epochs.of}" if epochs.of else ""
    return f"{epochs.done}{total}" + (f", best {epochs.best}" if epochs.best else "")


def _folds(folds: FoldCount | None) -> str:
    if folds is None:
        return ""
    failed = f", failed: {', '.join(folds.failed)}" if folds.failed else ""
    return f"{folds.done} of {folds.of}{failed}"


def _imported(imported: Imported | None) -> str:
    if imported is None:
        return ""
    of_code = {
        True: "; code that it brings is trusted",
        False: "; code that it brings is not trusted",
        None: "",
    }
    folder = f"; its files are in {imported.was['folder']}" if "folder" in imported.was else ""
    return f"from {imported.archive}, {imported.time}{folder}{of_code[imported.code_trusted]}"


def _foreign_weights(record: Record) -> Iterator[tuple[str, str]]:
    origin = record.foreign_weights
    if origin is None:
        return
    yield "kind", record.kind
    hashed = f"sha256 {origin.file.sha256[:16]}"
    yield "weights", f"from {origin.file.path} ({origin.format}, {hashed}), {origin.taken} tensors"
    for name, file in origin.also.items():
        yield "with", f"{name} from {file.path} (sha256 {file.sha256[:16]})"
    left_out = "".join(f"; left out: {count}, {why}" for why, count in origin.left_out.items())
    yield "rules", f"{origin.rules}{left_out}"
    for variable, from_where in origin.transforms.items():
        yield "transform", f"of {variable}: {from_where}"
    if origin.azimuth:
        azimuths = f"{math.degrees(origin.azimuth):+g}°"
        yield "images", f"of simulated datasets: at azimuths {azimuths}, as it was trained on them"
    for remark in origin.remarks:
        yield "remark", remark


def _software(environment: dict[str, Any]) -> str:
    packages = environment.get("packages") or {}
    commit = (environment.get("qexp") or {}).get("commit")
    state = f" at {commit[:12]}" if commit else ""
    words = [f"qexp {packages.get('qexp', '')}{state}"] if packages else []
    words += (
        [f"Python {environment['python'].partition(' ')[0]}"] if environment.get("python") else []
    )
    words += [
        f"{name} {packages[name]}" for name in ("torch", "numpy", "scipy") if name in packages
    ]
    return ", ".join(words)


def _machine(environment: dict[str, Any]) -> str:
    device, threads, cores = (environment.get(key) for key in ("device", "threads", "cores"))
    words = [environment.get("processor") or environment.get("machine")]
    if cores:
        words.append(f"{cores} cores")
    if device != "cpu":
        words.append(device)
    if threads:
        words.append("1 thread" if threads == 1 else f"{threads} threads")
    return ", ".join(word for word in words if word)


def _code(code: CodeState) -> str:
    if code.commit is None:
        return "not in a git repository"
    left_out = len(code.untracked_left_out or ())
    remark = f" without {left_out} large files" if left_out else ""
    return code.commit[:12] + (f", with changes (kept in code/{remark})" if code.dirty else "")


# The record of a run together with its present state, matrices and results of capabilities.


def shown_record(directory: RunDirectory) -> dict[str, Any]:
    """The document that `qexp show RUN --json` prints, with the present state."""
    return {
        **directory.record().document(),
        "state": Watch().state(directory).value,
        "path": str(directory.path),
        "matrices": directory.matrix_names(),
        "actions": states_of(directory),
        **documents_of(directory),
    }

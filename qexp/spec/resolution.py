"""From names to documents: references, overrides and defaults."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.base.text import is_index, keys_of
from qexp.base.workspace import Workspace
from qexp.errors import Problem, QexpError, SpecError, shortened, suggestion
from qexp.spec import reading
from qexp.spec.experiences import TYPES, type_name, type_of
from qexp.spec.reading import Document, Finding, Where

FOLDERS = {"dataset": "datasets", "model": "models", "experience": "experiences"}
"""Kind of spec → the folder of `specs` for it."""

REFERENCES = ("dataset", "model")
"""Kinds of spec that an experience may name."""


Overrides = Mapping[str, Any]
"""Dotted key → value, in the order in which they are applied: `{"epochs": 20, "dataset.fixed.noise": 0.01}`."""


@dataclass(frozen=True)
class Override:
    """A value that replaces one in a spec: `--set key.path=value`."""

    key: str
    path: Where
    value: Any

    @property
    def text(self) -> str:
        """As records keep it, and as `--set` reads it."""
        return f"{self.key}={value_text(self.value)}"

    @property
    def label(self) -> str:
        """The option as an error shows it, shortened if it is long."""
        return f"`overrides[{shortened(self.key)}]`"


def override(key: str, value: Any) -> Override:
    """A checked override. Raises QexpError for an incomplete key, SpecError for a value that JSON cannot hold."""
    if not key or any(not step for step in key.split(".")):
        raise QexpError(
            f"`overrides[{shortened(key)}]`: a key is empty; write the keys on the way to the value, with points "
            "between them, for example `overrides={'sizes.0': 20}`"
        )
    change = Override(key, steps(key), reading.plain(value, f"`overrides[{shortened(key)}]`"))
    if not change.text.isprintable():
        raise QexpError(f"`overrides`: {shortened(change.text)!r} contains characters that cannot be printed")
    return change


def value_text(value: Any) -> str:
    """A value as written in an option: compact JSON, with plain words unquoted."""
    if isinstance(value, str) and not reading.is_json(value):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def steps(key: str) -> Where:
    """`("sizes", 0)` for `sizes.0`."""
    return tuple(int(step) if is_index(step) else step for step in key.split("."))


def locate(kind: str, reference: str, workspace: Workspace, beside: Path | None = None) -> Path:
    """The file of a spec, by name (`mogi`) or path. Raises SpecError with near names if there is none.

    beside  the folder of the document that refers to it; a relative path may start there
    """
    folder = workspace.specs / FOLDERS[kind]
    file = reference if reference.endswith(".json") else f"{reference}.json"
    candidates = [folder / file]
    if reference.endswith(".json"):
        candidates = [
            Path(reference),
            *([beside / reference] if beside else []),
            workspace.root / reference,
            *candidates,
        ]
    for candidate in candidates:
        with contextlib.suppress(OSError):  # a name too long to be one of a file
            if candidate.is_file():
                return candidate
    names, stem = [path.stem for path in folder.glob("*.json")], Path(file).stem
    meant = suggestion(stem, names)
    if kind == "experience" and stem == reference and (workspace.runs / stem / "run.json").is_file():
        meant = (
            f"that is a run: qexp rerun {stem} --resume goes on with it, qexp rerun {stem} trains its spec once more"
        )
    raise SpecError([Problem(workspace.shown(candidates[0]), (), f"no {kind} '{stem}'; {meant}")])


@dataclass
class Loaded:
    """An experience with its dataset and model inserted, before defaults."""

    name: str
    document: Document
    dataset_name: str
    model_name: str
    files: dict[str, str]
    """Kind → the name of its file in errors."""
    written_out: set[str]
    """The kinds that are written inside the experience itself."""

    def problems(self, kind: str, findings: Iterable[Finding]) -> list[Problem]:
        prefix = (kind,) if kind in self.written_out else ()
        return [Problem(self.files[kind], (*prefix, *path), message) for path, message in findings]


@dataclass(frozen=True)
class Unwritten:
    """An experience without a file."""

    name: str
    label: str
    """How errors call it."""
    document: Document


def experience(reference: str | Unwritten, overrides: Sequence[Override], workspace: Workspace) -> Loaded:
    """Read an experience and what it refers to, and apply overrides in their order."""
    if isinstance(reference, Unwritten):
        name, label, beside = reference.name, reference.label, None
        document = copy.deepcopy(reference.document)
    else:
        path = locate("experience", reference, workspace)
        name, label, beside = path.stem, workspace.shown(path), path.parent
        document = reading.read(path, label)
    loaded = Loaded(name, document, "", "", dict.fromkeys(("experience", *REFERENCES), label), set())
    for change in overrides:
        if len(change.path) == 1:
            _apply(document, change)
    if "type" in document and document["type"] != type_name(document):
        wrong = document["type"] if isinstance(document["type"], str) else reading.describe(document["type"])
        raise SpecError([Problem(label, ("type",), f"no experience type '{wrong}'; {suggestion(wrong, TYPES)}")])
    of_type = type_of(document)
    if not of_type.executes:
        script = document.get("script") or "in which it was logged"
        raise SpecError([Problem(label, ("type",), f"its runs are logged by a script; start that again: {script}")])
    names = {}
    for kind in REFERENCES:
        value = document.get(kind)
        names[kind] = loaded.name
        if not of_type.trains:
            names[kind] = value if isinstance(value, str) else ""
        elif isinstance(value, str):
            try:
                file = locate(kind, value, workspace, beside)
            except SpecError as error:
                raise SpecError([Problem(label, (kind,), error.problems[0].message)]) from None
            loaded.files[kind] = workspace.shown(file)
            names[kind] = file.stem
            document[kind] = reading.read(file, loaded.files[kind])
        else:
            loaded.written_out.add(kind)
    loaded.dataset_name, loaded.model_name = names["dataset"], names["model"]
    findings = []
    for change in overrides:
        if finding := of_type.takes(document, tuple(change.key.split("."))):
            findings.append(finding)
        elif len(change.path) > 1:
            _apply(document, change)
    if findings:
        raise SpecError(loaded.problems("experience", findings))
    return loaded


def _apply(document: Document, change: Override) -> None:
    """Set one value. Missing objects on the way are created; the schema check rejects unknown keys."""
    if len(change.path) > reading.MOST_LEVELS:
        raise QexpError(f"{change.label}: {len(change.path):,} nested keys; a spec has at most {reading.MOST_LEVELS}")
    parent: Any = document
    path = keys_of(change.path, document)
    for depth, step in enumerate(path):
        above = ".".join(map(str, path[:depth]))
        last = depth == len(path) - 1
        if isinstance(parent, list):
            if not isinstance(step, int) or step >= len(parent):
                raise QexpError(f"{change.label}: {above} is a list of {len(parent)}; number its items from 0")
        elif isinstance(parent, dict):
            step = str(step)
            if not last:
                value = parent.get(step)
                if value is None:
                    parent[step] = {}
                elif isinstance(value, str) and path[depth + 1] in ("type", "parameters"):
                    parent[step] = {"type": value}
                elif isinstance(value, str) and step == "pretrain":
                    parent[step] = {"run": value}
        else:
            raise QexpError(f"{change.label}: {above} has no keys, it is {reading.describe(parent)}")
        if last:
            parent[step] = change.value
        else:
            parent = parent[step]


def replaced(document: Document, key: str, value: Any) -> Document:
    """The document with one value set, as `--set key=value` would. Raises QexpError if the key's parent has no keys."""
    changed = copy.deepcopy(document)
    _apply(changed, Override(key, steps(key), copy.deepcopy(value)))
    return changed


def with_choice(document: Document, name: str, value: Any) -> Document:
    """The document with a value of `select`: a list with one for each of the keys if the name has several, `a.b,c.d`.

    Raises QexpError as `replaced` does.
    """
    keys = name.split(",")
    if len(keys) > 1 and not (isinstance(value, list) and len(value) == len(keys)):
        raise QexpError(f"{name}: {value_text(value)} is not {len(keys)} values, one for each key")
    for key, own in zip(keys, value if len(keys) > 1 else [value], strict=True):
        document = replaced(document, key, own)
    return document


def candidates(document: Document) -> list[tuple[Document, Document]]:
    """All combinations of the values in `select`, in order: the chosen values, and the experience with them.

    Without `select` the only one is the experience itself. Complete candidates of a resolved one `with_defaults` again.
    """
    grid = document.get("select") or {}
    combinations = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        changed = document
        for key, value in chosen.items():
            changed = with_choice(changed, key, value)
        combinations.append((chosen, changed))
    return combinations

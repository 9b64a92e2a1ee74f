"""From names to documents: references, overrides and defaults."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.base.tables import Tables
from qexp.base.text import keys_of
from qexp.base.workspace import Workspace
from qexp.errors import Problem, QexpError, SpecError, shortened, suggestion
from qexp.spec import reading
from qexp.spec.experiences import TYPES, type_name, type_of

LONGEST_INDEX = 9
"""Most digits of a list index; with more digits it is taken as a key."""

FOLDERS = {"dataset": "datasets", "model": "models", "experience": "experiences"}


Overrides = Mapping[str, Any]
"""Dotted key → value, in the order in which they are applied: `{"epochs": 20, "dataset.fixed.noise": 0.01}`."""


@dataclass(frozen=True)
class Override:
    """A value that replaces one in a spec: `--set key.path=value`."""

    key: str
    path: tuple[str | int, ...]
    value: Any

    @property
    def text(self) -> str:
        """As records keep it, and as `--set` reads it."""
        return f"{self.key}={value_text(self.value)}"

    @property
    def shown(self) -> str:
        """The option as an error shows it, shortened if it is long."""
        return f"`overrides={shortened(self.text)}`"


def override(key: str, value: Any) -> Override:
    """A checked override. Raises QexpError for an incomplete key, SpecError for a value that JSON cannot hold."""
    if not key or any(not step for step in key.split(".")):
        raise QexpError(
            f"`overrides={shortened(key)}=…`: a key is empty; write key.path=value, for example `overrides=epochs=20`"
        )
    made = Override(key, steps(key), reading.plain(value, f"`overrides={shortened(key)}`"))
    if not made.text.isprintable():
        raise QexpError(f"`overrides={shortened(made.text)!r}`: contains characters that cannot be printed")
    return made


def value_text(value: Any) -> str:
    """A value as written in an option: compact JSON, with plain words unquoted."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except json.JSONDecodeError:
            return value
        except (ValueError, RecursionError):
            pass
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def steps(key: str) -> tuple[str | int, ...]:
    """`("sizes", 0)` for `sizes.0`."""
    return tuple(int(step) if is_index(step) else step for step in key.split("."))


def is_index(step: str) -> bool:
    """Whether a step of a dotted path is a list index."""
    return step.isdecimal() and step.isascii() and len(step) <= LONGEST_INDEX


def locate(kind: str, reference: str, workspace: Workspace, beside: Path | None = None) -> Path:
    """The file of a spec, by name (`mogi`) or path. Raises SpecError with near names if there is none.

    beside  the folder of the document that refers to it; a relative path may start there
    """
    folder = workspace.specs / FOLDERS[kind]
    named = reference if reference.endswith(".json") else f"{reference}.json"
    candidates = [folder / named]
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
    known = [path.stem for path in folder.glob("*.json")]
    stem = Path(named).stem
    raise SpecError([Problem(workspace.shown(candidates[0]), (), f"no {kind} '{stem}'; {suggestion(stem, known)}")])


@dataclass
class Loaded:
    """An experience with its dataset and model inserted, before defaults."""

    name: str
    document: dict[str, Any]
    dataset_name: str
    model_name: str
    files: dict[str, str]
    """Kind → the name of its file in errors."""
    written_out: set[str]
    """The kinds that are written inside the experience itself."""

    def problems(self, kind: str, findings: Iterable[tuple[tuple[str | int, ...], str]]) -> list[Problem]:
        prefix = (kind,) if kind in self.written_out else ()
        return [Problem(self.files[kind], (*prefix, *path), message) for path, message in findings]


@dataclass(frozen=True)
class Unwritten:
    """An experience without a file."""

    name: str
    shown: str
    """How errors call it."""
    document: dict[str, Any]


def experience(reference: str | Unwritten, overrides: Iterable[Override], workspace: Workspace) -> Loaded:
    """Read an experience and what it refers to, and apply overrides in their order."""
    if isinstance(reference, Unwritten):
        name, shown, beside = reference.name, reference.shown, None
        document = copy.deepcopy(reference.document)
    else:
        path = locate("experience", reference, workspace)
        name, shown, beside = path.stem, workspace.shown(path), path.parent
        document = reading.read(path, shown)
    loaded = Loaded(name, document, "", "", {"experience": shown, "dataset": shown, "model": shown}, set())
    pending = list(overrides)
    for change in pending:
        if len(change.path) == 1:
            _apply(document, change)
    if "type" in document and document["type"] != type_name(document):
        named = document["type"] if isinstance(document["type"], str) else reading.described(document["type"])
        raise SpecError([Problem(shown, ("type",), f"no experience type '{named}'; {suggestion(named, TYPES)}")])
    of_type = type_of(document)
    names = {}
    for kind in ("dataset", "model"):
        value = document.get(kind)
        names[kind] = loaded.name
        if kind not in of_type.refers_to:
            names[kind] = value if isinstance(value, str) else ""
        elif isinstance(value, str):
            try:
                file = locate(kind, value, workspace, beside)
            except SpecError as error:
                raise SpecError([Problem(shown, (kind,), error.problems[0].message)]) from None
            loaded.files[kind] = workspace.shown(file)
            names[kind] = file.stem
            document[kind] = reading.read(file, loaded.files[kind])
        else:
            loaded.written_out.add(kind)
    loaded.dataset_name, loaded.model_name = names["dataset"], names["model"]
    refused = []
    for change in pending:
        if problem := of_type.takes(document, tuple(change.key.split("."))):
            refused.append(problem)
        elif len(change.path) > 1:
            _apply(document, change)
    if refused:
        raise SpecError(loaded.problems("experience", refused))
    return loaded


def _apply(document: dict[str, Any], change: Override) -> None:
    """Set one value. Missing objects on the way are created; the schema check rejects unknown keys."""
    if len(change.path) > reading.DEEPEST:
        raise QexpError(f"{change.shown}: {len(change.path):,} nested keys; a spec has at most {reading.DEEPEST}")
    place: Any = document
    path = keys_of(change.path, document)
    for depth, step in enumerate(path):
        here = ".".join(str(one) for one in path[:depth])
        last = depth == len(path) - 1
        if isinstance(place, list):
            if not isinstance(step, int) or step >= len(place):
                raise QexpError(f"{change.shown}: {here} is a list of {len(place)}; number its items from 0")
        elif isinstance(place, dict):
            step = str(step)
            if not last:
                value = place.get(step)
                if value is None:
                    place[step] = {}
                elif isinstance(value, str) and path[depth + 1] in ("type", "parameters"):
                    place[step] = {"type": value}
                elif isinstance(value, str) and step == "pretrain":
                    place[step] = {"run": value}
        else:
            raise QexpError(f"{change.shown}: {here} has no keys, it is {reading.described(place)}")
        if last:
            place[step] = change.value
        else:
            place = place[step]


def with_defaults(document: dict[str, Any], tables: Tables, schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The whole experience with every default filled in, so that its meaning does not change with later versions."""
    return type_of(document).with_defaults(document, tables, schemas)


def replaced(document: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The document with one value set, as `--set key=value` would. Raises QexpError if the key's parent has no keys."""
    changed = copy.deepcopy(document)
    _apply(changed, Override(key, steps(key), copy.deepcopy(value)))
    return changed


def candidates(document: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """All combinations of the values in `select`, in order: the chosen values, and the experience with them.

    Without `select` the only one is the experience itself. Call `with_defaults` on candidates of a resolved experience.
    """
    grid = document.get("select") or {}
    found = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        changed = document
        for key, value in chosen.items():
            changed = replaced(changed, key, value)
        found.append((chosen, changed))
    return found

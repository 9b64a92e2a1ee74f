"""From names to documents: references, overrides and defaults."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from qexp.base.text import is_index, keys_of
from qexp.base.workspace import Workspace
from qexp.errors import Problem, QexpError, SpecError, shortened, suggestion
from qexp.spec import reading
from qexp.spec.experiences import WRITTEN, Command, Training, type_name, type_of
from qexp.spec.reading import Document, Finding, Where

FOLDERS = {"dataset": "datasets", "model": "models", "experience": "experiences"}
"""Kind of spec → the folder of `specs` for it."""

REFERENCES = ("dataset", "model")
"""Kinds of spec that an experience may name."""


Overrides = Mapping[str, Any]
"""Dotted key → value, in the order in which they are applied: `{"epochs": 20,
"dataset.fixed.noise": 0.01}`.
"""


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
    """A checked override. Raises QexpError for a bad key, SpecError for a bad value."""
    if not key or any(not step for step in key.split(".")):
        raise QexpError(
            f"`overrides[{shortened(key)}]`: a key is empty; write the keys on the way to the"
            " value, with points between them, for example `overrides={'sizes.0': 20}`"
        )
    change = Override(key, steps(key), reading.plain(value, f"`overrides[{shortened(key)}]`"))
    if not change.text.isprintable():
        raise QexpError(
            f"`overrides`: {shortened(change.text)!r} contains characters that cannot be printed"
        )
    return change


def is_pattern(key: str) -> bool:
    """Whether a key stands for several: `model.operations.*.parameters.l2`, with `*` for each."""
    return "*" in key.split(".")


def keys_like(pattern: str, document: Document) -> list[str]:
    """The keys of a complete document that a pattern stands for. Raises QexpError for none, which
    says what there is.
    """
    found: list[tuple[str, Any]] = [("", document)]
    for step in pattern.split("."):
        inner = list[tuple[str, str, Any]]()
        for place, value in found:
            if isinstance(value, dict):
                inner += [(f"{place}.{name}", name, own) for name, own in value.items()]
        found = [(place, own) for place, name, own in inner if step in ("*", name)]
        if not found:
            there = ", ".join(dict.fromkeys(name for _, name, _ in inner)) or "none"
            raise QexpError(
                f"`overrides[{shortened(pattern)}]`: there is no key '{step}'; keys there: {there}"
            )
    return [place.removeprefix(".") for place, _ in found]


def value_text(value: Any) -> str:
    """A value as written in an option: compact JSON, with plain words unquoted."""
    if isinstance(value, str) and not reading.is_json(value):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def steps(key: str) -> Where:
    """`("sizes", 0)` for `sizes.0`."""
    return tuple(map(_step, key.split(".")))


def _step(word: str) -> str | int:
    return int(word) if is_index(word) else word


def locate(kind: str, reference: str, workspace: Workspace, folder: Path | None = None) -> Path:
    """The file of a spec, by name (`mogi`) or path. Raises SpecError if there is none.

    folder  that of the document that refers to it; a relative path may start there
    """
    usual = workspace.specs / FOLDERS[kind]
    file = reference if reference.endswith(".json") else f"{reference}.json"
    candidates = [usual / file]
    if reference.endswith(".json"):
        candidates = [Path(reference), workspace.root / reference, *candidates]
        if folder:
            candidates.insert(1, folder / reference)
    for candidate in candidates:
        if is_there(candidate):
            return candidate
    names = [path.stem for path in usual.glob("*.json")]
    stem = Path(file).stem
    meant = suggestion(stem, names)
    if kind == "experience" and stem == reference and is_there(workspace.runs / stem / "run.json"):
        meant = (
            f"that is a run: qexp rerun {stem} --resume goes on with it, qexp rerun {stem} trains"
            " its spec once more"
        )
    raise SpecError([Problem(workspace.shown(candidates[0]), (), f"no {kind} '{stem}'; {meant}")])


def is_there(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a name too long to be one of a file
        return path.exists() and not path.is_dir()
    return False


# Specs that extend another one of their kind: what they say is merged into it, key by key.


EXTENDS = "extends"
"""The key with the name or path of the spec from which one differs."""

ALMOST = 0.85
"""Likeness from which on a key counts as that one with a slip."""

NAMING = ("type", "module", EXTENDS)
"""Keys that say what an object is: one that names another is replaced as a whole."""

NOT_INHERITED = ("description", "$schema")
"""Keys that are about one file."""


@dataclass(frozen=True)
class Source:
    """Where a part of a spec is written."""

    label: str
    """How errors call the file."""
    folder: Path | None = None
    """The folder of the file."""
    prefix: Where = ()
    """The keys on the way to the spec, if it is written inside another."""


@dataclass
class Written:
    """A spec with what it extends, and which file says what."""

    document: Document
    sources: dict[Where, Source]
    """Path → the file that says it, and what is below it unless that has a line of its own."""

    def source(self, path: Where) -> Source:
        """The file in which the value at a path stands, or in which it should."""
        while path not in self.sources:
            path = path[:-1]
        return self.sources[path]

    def problem(self, path: Where, message: str) -> Problem:
        source = self.source(path)
        return Problem(source.label, (*source.prefix, *path), message)

    def part(self, key: str) -> Written:
        """The spec that is written inside this one."""
        sources: dict[Where, Source] = {(): replace(self.source((key,)), prefix=(key,))}
        for path, source in self.sources.items():
            if path[:1] == (key,):
                sources[path[1:]] = replace(source, prefix=(key,))
        return Written(self.document[key], sources)


def spec_in(kind: str, path: Path, workspace: Workspace, chain: Sequence[Path] = ()) -> Written:
    """The spec in a file, merged with those that it extends. Raises SpecError.

    chain  files that extend it
    """
    label = workspace.shown(path)
    own = Written(reading.read(path, label), {(): Source(label, path.parent)})
    return _extended(kind, own, workspace, (*chain, path))


def _extended(kind: str, own: Written, workspace: Workspace, chain: Sequence[Path] = ()) -> Written:
    """A spec merged with what it extends. Raises SpecError for an unreadable one or a cycle."""
    if not isinstance(own.document, dict):
        return own
    if EXTENDS not in own.document:
        for mistyped in get_close_matches(EXTENDS, own.document, 1, ALMOST):
            words = f"unknown key '{mistyped}'; did you mean '{EXTENDS}'?"
            raise SpecError([own.problem((mistyped,), words)])
        return own

    def refused(message: str) -> SpecError:
        return SpecError([own.problem((EXTENDS,), message)])

    reference = own.document[EXTENDS]
    if not isinstance(reference, str):
        raise refused(
            f"must be the name or path of the {kind} that is extended, but is"
            f" {reading.describe(reference)}"
        )
    try:
        path = locate(kind, reference, workspace, own.source((EXTENDS,)).folder)
    except SpecError as error:
        for other, folder in FOLDERS.items():
            if is_there(workspace.specs / folder / f"{reference}.json"):
                raise refused(
                    f"no {kind} '{reference}': it is a {other}, and a spec extends one of its own"
                    " kind"
                ) from None
        raise refused(error.problems[0].message) from None
    folder = path.absolute().parent.name
    if folder in {*FOLDERS.values()} - {FOLDERS[kind]}:
        raise refused(
            f"{workspace.shown(path)} is among the {folder}; a spec extends one of its own kind"
        )
    files = [file.resolve() for file in chain]
    if path.resolve() in files:
        circle = [*chain[files.index(path.resolve()) :], path]
        raise refused(
            f"a circle: {' → '.join(file.stem for file in circle)}; let one of them extend nothing"
        )
    parent = spec_in(kind, path, workspace, chain)
    for key in NOT_INHERITED:
        parent.document.pop(key, None)
    merged = Written(parent.document, {**parent.sources, (): own.source(())})
    # What no key of the parent has a line for is in the parent's file.
    merged.sources |= {(key,): parent.source((key,)) for key in parent.document}
    changes = {key: value for key, value in own.document.items() if key != EXTENDS}
    _merge(merged.document, changes, (), merged, own)
    return merged


def _merge(
    target: Document, changes: Document, where: Where, merged: Written, own: Written
) -> None:
    """Merge changes into an object: objects key by key, all else is replaced, null removes a key.

    where   where both are in their specs
    merged  the spec whose sources are kept along
    own     the spec that says the changes
    """
    for key, value in changes.items():
        path = (*where, key)
        former = target.get(key)
        if isinstance(value, dict):
            former = _long_form(key, former, value)
        if isinstance(value, dict) and isinstance(former, dict) and _is_same(value, former):
            target[key] = former
            # as above
            merged.sources |= {(*path, name): merged.source((*path, name)) for name in former}
            merged.sources[path] = own.source(path)
            _merge(former, value, path, merged, own)
            continue
        for inner in _paths_from(path, merged.sources):
            del merged.sources[inner]
        merged.sources[path] = own.source(path)
        merged.sources |= {inner: own.sources[inner] for inner in _paths_from(path, own.sources)}
        if value is None and key in target:
            del target[key]
        else:
            target[key] = copy.deepcopy(value)


def _paths_from(start: Where, paths: Iterable[Where]) -> list[Where]:
    return [path for path in paths if path[: len(start)] == start]


def _is_same(changes: Document, former: Document) -> bool:
    return all(key not in changes or changes[key] == former.get(key) for key in NAMING)


def _long_form(key: Any, value: Any, inner_keys: Iterable[Any]) -> Any:
    """What a text is short for, where keys within it are to be set."""
    if isinstance(value, str) and not {"type", "parameters"}.isdisjoint(inner_keys):
        return {"type": value}
    return {"run": value} if isinstance(value, str) and key == "pretrain" else value


@dataclass
class Loaded:
    """An experience with its dataset and model inserted, before defaults."""

    name: str
    document: Document
    dataset_name: str = ""
    model_name: str = ""
    written: dict[str, Written] = field(default_factory=dict)
    """Kind → as its files say it."""

    def problems(self, kind: str, findings: Iterable[Finding]) -> list[Problem]:
        return [self.written[kind].problem(path, message) for path, message in findings]


@dataclass(frozen=True)
class Unwritten:
    """An experience without a file."""

    name: str
    label: str
    """How errors call it."""
    document: Document


def experience(
    reference: str | Unwritten, overrides: Sequence[Override], workspace: Workspace
) -> Loaded:
    """Read an experience and what it refers to, and apply overrides in their order."""
    if isinstance(reference, Unwritten):
        name = reference.name
        unwritten = Written(copy.deepcopy(reference.document), {(): Source(reference.label)})
        whole = _extended("experience", unwritten, workspace)
    else:
        path = locate("experience", reference, workspace)
        name = path.stem
        whole = spec_in("experience", path, workspace)
    document = whole.document
    loaded = Loaded(name, document, written=dict.fromkeys(FOLDERS, whole))
    for change in overrides:
        if len(change.path) == 1:
            _apply(document, change)
    of_type = _type_of(whole)
    names = {}
    for kind in REFERENCES:
        value = document.get(kind)
        if of_type.trains:
            names[kind] = _insert(kind, loaded, whole, workspace)
        else:
            names[kind] = value if isinstance(value, str) else ""
    loaded.dataset_name = names["dataset"]
    loaded.model_name = names["model"]
    findings = []
    for change in overrides:
        finding = of_type.takes(document, tuple(change.key.split(".")))
        if finding:
            findings.append(finding)
        elif len(change.path) > 1:
            _apply(document, change)
    if findings:
        raise SpecError(loaded.problems("experience", findings))
    return loaded


def _type_of(experience: Written) -> Training | Command:
    """The type of an experience. Raises SpecError for an unknown one, or one of scripts."""
    document = experience.document
    if "type" in document and document["type"] != type_name(document):
        wrong = document["type"]
        if not isinstance(wrong, str):
            wrong = reading.describe(wrong)
        words = f"no experience type '{wrong}'; {suggestion(wrong, WRITTEN)}"
        raise SpecError([experience.problem(("type",), words)])
    of_type = type_of(document)
    if not of_type.executes:
        script = document.get("script") or "in which it was logged"
        words = f"its runs are logged by a script; start that again: {script}"
        raise SpecError([experience.problem(("type",), words)])
    return of_type


def _insert(kind: str, loaded: Loaded, whole: Written, workspace: Workspace) -> str:
    """Put the dataset or the model into an experience that trains one. Returns its name."""
    document = loaded.document
    name = loaded.name
    reference = document.get(kind)
    if isinstance(reference, str):
        try:
            file = locate(kind, reference, workspace, whole.source((kind,)).folder)
        except SpecError as error:
            raise SpecError([whole.problem((kind,), error.problems[0].message)]) from None
        name, loaded.written[kind] = file.stem, spec_in(kind, file, workspace)
    elif kind in document:
        loaded.written[kind] = _extended(kind, whole.part(kind), workspace)
    else:
        return name
    document[kind] = loaded.written[kind].document
    return name


def _apply(document: Document, change: Override) -> None:
    """Set one value and make missing objects on the way; the schema rejects unknown keys."""
    if len(change.path) > reading.MOST_LEVELS:
        raise QexpError(
            f"{change.label}: {len(change.path):,} nested keys; a spec has at most"
            f" {reading.MOST_LEVELS}"
        )
    parent: Any = document
    path = keys_of(change.path, document)
    for depth, step in enumerate(path):
        place = ".".join(map(str, path[:depth]))
        last = depth == len(path) - 1
        if isinstance(parent, list):
            if not isinstance(step, int) or step >= len(parent):
                raise QexpError(
                    f"{change.label}: {place} is a list of {len(parent)}; number its items from 0"
                )
        elif isinstance(parent, dict):
            step = str(step)
            if not last:
                value = parent.get(step)
                inner = path[depth + 1 : depth + 2]
                parent[step] = {} if value is None else _long_form(step, value, inner)
        else:
            raise QexpError(
                f"{change.label}: {place} has no keys, it is {reading.describe(parent)}"
            )
        if last:
            parent[step] = change.value
        else:
            parent = parent[step]


def replaced(document: Document, key: str, value: Any) -> Document:
    """The document after `--set key=value`. Raises QexpError if the key's parent has no keys."""
    changed = copy.deepcopy(document)
    _apply(changed, Override(key, steps(key), copy.deepcopy(value)))
    return changed


def with_choice(document: Document, name: str, value: Any) -> Document:
    """The document with a value of `select`: a list of values if the name is of several keys.

    Raises QexpError as `replaced` does.
    """
    keys = name.split(",")
    if len(keys) > 1 and not (isinstance(value, list) and len(value) == len(keys)):
        raise QexpError(f"{name}: {value_text(value)} is not {len(keys)} values, one for each key")
    for key, own in zip(keys, value if len(keys) > 1 else [value], strict=True):
        document = replaced(document, key, own)
    return document


def candidates(document: Document) -> list[tuple[Document, Document]]:
    """All combinations of the values in `select`, in order: the chosen values, and the experience
    with them.

    Without `select` the only one is the experience itself. Complete candidates of a resolved one
    `with_defaults` again.
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

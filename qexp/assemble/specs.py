"""Specs read, completed and checked as far as possible without training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qexp import machine
from qexp.assemble import kinds
from qexp.assemble.checks import Parts, tolerate
from qexp.assemble.experiences import checked, objects_of
from qexp.assemble.tables import tables_with
from qexp.errors import Problem, SpecError
from qexp.spec import kinds as spec_kinds
from qexp.spec import load, resolve, validate
from qexp.spec.digest import canonical, digest
from qexp.spec.experiences import type_name
from qexp.spec.finding import Where
from qexp.spec.resolve import FOLDERS
from qexp.spec.schema import DOCUMENTS, whole_schema
from qexp.spec.tolerated import as_read
from qexp.tables import Tables
from qexp.workspace import Workspace

Document = dict[str, Any]


@dataclass(frozen=True)
class Experience:
    """A checked experience, with every default filled in."""

    name: str
    document: Document
    dataset_name: str
    model_name: str
    overrides: tuple[str, ...]
    extensions: str
    """The text of the workspace's own table entries, if its runs depend on them."""
    tables: Tables = field(repr=False, compare=False)
    dataset: kinds.Dataset | None = field(repr=False, compare=False)
    """The dataset, as opened for the checks; None if it has none."""
    warnings: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Warnings about what the specs say."""

    @property
    def digest(self) -> str:
        return digest(self.document, *([self.extensions] if self.extensions else []))


def experience(
    reference: str | resolve.Unwritten,
    overrides: resolve.Overrides,
    workspace: Workspace,
    parts: Parts | None = None,
) -> Experience:
    """Read, complete and check an experience. Raises SpecError with all its problems.

    overrides  dotted key → value
    parts      datasets and models of the workspace, if several experiences are read or another machine will train
    """
    changes = [resolve.override(key, value) for key, value in overrides.items()]
    parts = parts or parts_of(workspace)
    tables = parts.tables
    found = checked(reference, changes, parts)
    loaded, dataset = found.loaded, found.dataset
    if found.problems or loaded is None:
        raise SpecError(found.problems)
    schemas = _schemas(tables)
    of_type = objects_of(loaded.document)
    document = of_type.pinned(resolve.with_defaults(loaded.document, tables, schemas), dataset, workspace)
    return Experience(
        loaded.name,
        document,
        loaded.dataset_name,
        loaded.model_name,
        tuple(change.text for change in changes),
        of_type.extensions(workspace),
        tables,
        dataset,
        tuple(str(problem) for problem in found.warnings),
    )


def is_unchanged(one: Experience, reference: str, overrides: resolve.Overrides, parts: Parts) -> bool:
    """Whether an experience is that of its file, because overrides set what it says anyway.

    parts  those with which it was read
    """
    if not overrides:
        return True
    if reference not in parts.digests_of_files:
        changes = [resolve.override(key, value) for key, value in overrides.items()]
        # The unchanged dataset may be large, or absent: it is opened only if this is the same one.
        if _dataset_in_meaning(reference, changes, parts) != _dataset_in_meaning(reference, [], parts):
            return False
        parts.digests_of_files[reference] = _digest_of_file(reference, parts)
    return parts.digests_of_files[reference] == one.digest


def _dataset_in_meaning(reference: str, changes: list[resolve.Override], parts: Parts) -> str:
    """The dataset of an experience with its defaults, as canonical text; empty if the experience cannot be read."""
    try:
        loaded = resolve.experience(reference, changes, parts.workspace)
    except SpecError:
        return ""
    tolerate(loaded, changes, parts)
    document = loaded.document.get("dataset")
    if isinstance(document, dict) and not validate.findings("dataset", document, parts.tables):
        document = spec_kinds.dataset_with_defaults(document, parts.tables, whole_schema("dataset", parts.tables))
    return canonical(document)


def _digest_of_file(reference: str, parts: Parts) -> str | None:
    """The digest of an experience without overrides; None if it is not a right one without them."""
    try:
        return experience(reference, {}, parts.workspace, parts).digest
    except SpecError:
        return None


def candidates(spec: Document, tables: Tables) -> list[tuple[Document, Document]]:
    """All combinations of the values in `select` of a resolved experience: values, and the experience with them."""
    schemas = _schemas(tables)
    return [(chosen, resolve.with_defaults(document, tables, schemas)) for chosen, document in resolve.candidates(spec)]


def _schemas(tables: Tables) -> dict[str, Document]:
    return {kind: whole_schema(kind, tables) for kind in DOCUMENTS}


def parts_of(workspace: Workspace, memory: int | None = None) -> Parts:
    """Opens the datasets and lays out the models that the specs of a workspace name, each when it is first needed.

    memory  of the machine that will train [bytes]; of this machine if left out
    """
    return Parts(tables_with(workspace.extensions), workspace, machine.memory() if memory is None else memory)


@dataclass(frozen=True)
class Examined:
    """The findings on one spec file without training."""

    problems: list[Problem]
    warnings: list[Problem]
    """Warnings on keys, values, rows or fields: allowed, but possibly not intended."""


def examined(path: Path, parts: Parts) -> Examined:
    """Check one spec file, whatever it contains."""
    shown = parts.workspace.shown(path)
    try:
        kind = kind_of(path)
        if kind == "experience":
            return _examined_experience(path, parts)
        document = load.read(path, shown)
    except SpecError as error:
        return Examined(error.problems, [])
    document, doubts = parts.as_read(kind, document)
    if kind == "model":
        dataset, found = None, parts.findings_in_model(document)
    else:
        dataset, found = parts.dataset(document)
    said = dataset.warnings if dataset is not None else []
    warnings = [*doubts, *(((), text) for text in said)]
    return Examined([Problem(shown, *one) for one in found], [Problem(shown, *one) for one in warnings])


def _examined_experience(path: Path, parts: Parts) -> Examined:
    found = checked(str(path), [], parts)
    if found.loaded is None:
        return Examined(found.problems, found.warnings)
    said = found.dataset.warnings if found.dataset is not None else []
    of_data = found.loaded.problems("dataset", [((), text) for text in said])
    if not found.problems:
        document = resolve.with_defaults(found.loaded.document, parts.tables, _schemas(parts.tables))
        doubts = objects_of(document).doubts(document, found.dataset, parts.tables, 0)
        of_data += found.loaded.problems("experience", [(("split",), text) for text in doubts.warnings])
    return Examined(found.problems, [*found.warnings, *of_data])


def awaited_in(path: Path, parts: Parts) -> list[Problem]:
    """Problems of a spec that the command that makes its dataset's folder would solve."""
    workspace = parts.workspace
    try:
        kind = kind_of(path)
        if kind == "model":
            return []
        document, file, prefix = _dataset_in(path, kind, workspace)
    except SpecError:  # which `examined` reports
        return []
    if not isinstance(document, dict):
        return []  # likewise
    document, _ = parts.as_read("dataset", document)
    if validate.findings("dataset", document, parts.tables):
        return []  # likewise
    waiting = kinds.kind_of(document).awaited(document, workspace)
    return [Problem(file, (*prefix, *where), message) for where, message in waiting]


def _dataset_in(path: Path, kind: str, workspace: Workspace) -> tuple[Any, str, Where]:
    """The dataset of a dataset spec or an experience, the name of its file in errors, and its place in that file.

    It may not be a valid dataset: nothing is checked.
    """
    if kind == "dataset":
        return load.read(path), workspace.shown(path), ()
    loaded = resolve.experience(str(path), [], workspace)
    where = ("dataset",) if "dataset" in loaded.written_out else ()
    return loaded.document.get("dataset"), loaded.files["dataset"], where


def kind_of(path: Path) -> str:
    """dataset, model or experience: by the folder, else by the keys of the document."""
    for kind, folder in FOLDERS.items():
        if path.absolute().parent.name == folder:
            return kind
    document = load.read(path)
    if type_name(document) == document.get("type"):
        return "experience"
    if "branches" in document or "operations" in document or "graph" in document:
        return "model"
    return "experience" if "model" in document or "epochs" in document else "dataset"


def opened_dataset(reference: str, parts: Parts) -> tuple[str, Document, kinds.Dataset]:
    """Name, completed document and object of a dataset spec. Raises SpecError with all its problems."""
    path = resolve.locate("dataset", reference, parts.workspace)
    shown = parts.workspace.shown(path)
    document, _ = parts.as_read("dataset", load.read(path, shown))
    dataset, found = parts.dataset(document)
    if dataset is None:
        raise SpecError([Problem(shown, *one) for one in found])
    schema = whole_schema("dataset", parts.tables)
    return path.stem, spec_kinds.dataset_with_defaults(document, parts.tables, schema), dataset


def dataset_document(reference: str, workspace: Workspace, tables: Tables) -> tuple[str, Document]:
    """Name and checked, completed document of a dataset."""
    path = resolve.locate("dataset", reference, workspace)
    if problems := examined(path, Parts(tables, workspace, machine.memory())).problems:
        raise SpecError(problems)
    schema = whole_schema("dataset", tables)
    document, _ = as_read("dataset", load.read(path), tables)
    return path.stem, spec_kinds.dataset_with_defaults(document, tables, schema)

"""Specs read, completed and checked, as far as that can be done without training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qexp import machine
from qexp.assemble import kinds
from qexp.assemble.checks import checked, findings_in_model, opened_dataset
from qexp.assemble.objects import dataset_of
from qexp.assemble.tables import tables_with
from qexp.errors import Problem, QexpError, SpecError
from qexp.spec import load, resolve, validate
from qexp.spec.digest import digest
from qexp.spec.finding import Where
from qexp.spec.resolve import FOLDERS
from qexp.spec.schema import DOCUMENTS, whole_schema
from qexp.tables import Tables
from qexp.workspace import Workspace

Document = dict[str, Any]


@dataclass(frozen=True)
class Experience:
    """An experience that has been checked: whole, with every default written out."""

    name: str
    document: Document
    dataset_name: str
    model_name: str
    overrides: tuple[str, ...]
    extensions: str
    """The text of the workspace's own table entries."""
    tables: Tables = field(repr=False, compare=False)
    dataset: kinds.Dataset = field(repr=False, compare=False)
    """As it was opened to be checked."""

    @property
    def digest(self) -> str:
        return digest(self.document, *([self.extensions] if self.extensions else []))


def experience(reference: str, overrides: Iterable[str], workspace: Workspace, memory: int | None = None) -> Experience:
    """Read, complete and check an experience. Raises SpecError with all that is wrong with it.

    memory  bytes that the machine has which will train it; those of this one if left out
    """
    changes = [resolve.override(text) for text in overrides]
    tables = tables_with(workspace.extensions)
    available = machine.memory() if memory is None else memory
    found = checked(reference, changes, workspace, tables, available)
    loaded, dataset = found.loaded, found.dataset
    if found.problems or loaded is None or dataset is None:
        raise SpecError(found.problems)
    schemas = _schemas(tables)
    document = resolve.with_defaults(loaded.document, tables, schemas)
    document["dataset"] = kinds.kind_of(document["dataset"]).pinned(document["dataset"], dataset, workspace)
    try:
        extensions = workspace.extensions.read_text(encoding="utf-8") if workspace.extensions.is_file() else ""
    except UnicodeDecodeError:
        raise QexpError(f"{workspace.extensions} is not UTF-8 text; save it as that") from None
    return Experience(
        loaded.name,
        document,
        loaded.dataset_name,
        loaded.model_name,
        tuple(change.text for change in changes),
        extensions,
        tables,
        dataset,
    )


def candidates(spec: Document, tables: Tables) -> list[tuple[Document, Document]]:
    """All combinations of what `select` of a resolved experience lists: what was chosen, and the experience with it."""
    schemas = _schemas(tables)
    return [(chosen, resolve.with_defaults(document, tables, schemas)) for chosen, document in resolve.candidates(spec)]


def _schemas(tables: Tables) -> dict[str, Document]:
    return {kind: whole_schema(kind, tables) for kind in DOCUMENTS}


def problems_in(path: Path, workspace: Workspace) -> list[Problem]:
    """Everything wrong with one spec file that can be seen without training."""
    return _problems(path, workspace, tables_with(workspace.extensions))


def _problems(path: Path, workspace: Workspace, tables: Tables) -> list[Problem]:
    shown = workspace.shown(path)
    try:
        kind = kind_of(path)
        if kind == "experience":
            return checked(str(path), [], workspace, tables, machine.memory()).problems
        document = load.read(path, shown)
        if kind == "model":
            found = findings_in_model(document, tables, machine.memory())
        else:
            found = opened_dataset(document, tables, workspace)[1]
    except SpecError as error:
        return error.problems
    return [Problem(shown, where, message) for where, message in found]


def awaited_in(path: Path, workspace: Workspace) -> list[Problem]:
    """What is wrong with a spec only until the command is given that makes its dataset's folder."""
    try:
        kind = kind_of(path)
        if kind == "model":
            return []
        document, file, prefix = _dataset_in(path, kind, workspace)
    except SpecError:  # which `problems_in` tells
        return []
    if not isinstance(document, dict) or validate.findings("dataset", document, tables_with(workspace.extensions)):
        return []  # likewise
    waiting = kinds.kind_of(document).awaited(document, workspace)
    return [Problem(file, (*prefix, *where), message) for where, message in waiting]


def warnings_in(path: Path, workspace: Workspace) -> list[Problem]:
    """What a user should know of a spec that is right, and may have meant: of the rows or fields of its dataset."""
    tables = tables_with(workspace.extensions)
    kind = kind_of(path)
    if kind == "model":
        return []
    document, file, prefix = _dataset_in(path, kind, workspace)
    dataset = dataset_of(document, tables, workspace)
    return [Problem(file, prefix, text) for text in dataset.warnings]


def _dataset_in(path: Path, kind: str, workspace: Workspace) -> tuple[Any, str, Where]:
    """The dataset of a dataset spec or an experience, its file as it is shown, and where it stands in there.

    It may be no dataset yet: nothing of it is checked.
    """
    if kind == "dataset":
        return load.read(path), workspace.shown(path), ()
    loaded = resolve.experience(str(path), [], workspace)
    where = ("dataset",) if "dataset" in loaded.written_out else ()
    return loaded.document.get("dataset"), loaded.files["dataset"], where


def kind_of(path: Path) -> str:
    """dataset, model or experience: by the folder, else by what the document holds."""
    for kind, folder in FOLDERS.items():
        if path.absolute().parent.name == folder:
            return kind
    document = load.read(path)
    if "branches" in document or "operations" in document or "graph" in document:
        return "model"
    return "experience" if "model" in document or "epochs" in document else "dataset"


def dataset_document(reference: str, workspace: Workspace, tables: Tables) -> tuple[str, Document]:
    """Name and checked, completed document of a dataset."""
    path = resolve.locate("dataset", reference, workspace)
    problems = _problems(path, workspace, tables)
    if problems:
        raise SpecError(problems)
    schema = whole_schema("dataset", tables)
    return path.stem, resolve.dataset_with_defaults(load.read(path), tables, schema)

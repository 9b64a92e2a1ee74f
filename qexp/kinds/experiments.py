"""Experiments: specs read, completed, and checked as far as possible without training."""

from __future__ import annotations

import copy
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from qexp.base import machine
from qexp.base.tables import Tables, built, long_form
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, Problem, QexpError, SpecError, suggestion
from qexp.kinds import files, networks, objects
from qexp.kinds.kind import Dataset, Doubts, Exposed, KindData, memory_of_experience, memory_of_model
from qexp.kinds.networks import built_transforms, in_heads, network_of, of_several_numbers
from qexp.kinds.objects import data_kind
from qexp.kinds.tables import tables_with
from qexp.networks.network import BranchError, Network, layers_above
from qexp.networks.shapes import from_spec, written
from qexp.spec import kinds as spec_kinds, reading, resolution, validation
from qexp.spec.defaults import Fields, followed, follows
from qexp.spec.experiences import type_name, type_of
from qexp.spec.reading import Finding, Where, canonical, digest
from qexp.spec.resolution import FOLDERS, Override
from qexp.spec.schema import DOCUMENTS, whole_schema
from qexp.spec.validation import as_read

Document = dict[str, Any]


KEPT = 16
"""Number of datasets that a command keeps open, and of models that it keeps in mind, for the next specs."""

T = TypeVar("T")


def _kept(known: dict[str, T], document: Document, make: Callable[[Document], T]) -> T:
    """What was made of a document, or is made now; the oldest is forgotten."""
    key = json.dumps(document, sort_keys=True)
    if key not in known:
        while len(known) >= KEPT:
            del known[next(iter(known))]
        known[key] = make(document)
    return known[key]


class Parts:
    """Datasets and models of experiences by their documents, each opened or laid out once however many specs name it.

    available  bytes of memory of the machine that will train them
    """

    def __init__(self, tables: Tables, workspace: Workspace, available: int) -> None:
        self.tables, self.workspace, self.available = tables, workspace, available
        self._datasets: dict[str, tuple[Dataset | None, list[Finding]]] = {}
        self._models: dict[str, list[Finding]] = {}
        self._read: dict[str, tuple[Document, list[Finding]]] = {}
        self.digests_of_files: dict[str, str | None] = {}
        """Experience → its digest without overrides, None if it is wrong without them; see `is_unchanged`."""

    def as_read(
        self, kind: str, document: Document, overridden: Collection[Where] = ()
    ) -> tuple[Document, list[Finding]]:
        """A dataset or model without what nothing reads, and warnings about that; see `tolerated.as_read`."""
        given = {"kind": kind, "document": document, "overridden": list(overridden)}
        read, warnings = _kept(self._read, given, lambda _: as_read(kind, document, self.tables, overridden))
        return copy.deepcopy(read), warnings

    def dataset(self, document: Document) -> tuple[Dataset | None, list[Finding]]:
        """The dataset of a document, None if it cannot be opened, and all problems of the document by itself."""
        return _kept(self._datasets, document, self._opened)

    def findings_in_model(self, document: Document) -> list[Finding]:
        """All problems of a model by itself; shapes are computed only if it matches its schema."""
        return _kept(self._models, document, lambda model: list(self._in_model(model)))

    def _in_model(self, document: Document) -> Iterator[Finding]:
        if found := validation.findings("model", document, self.tables):
            yield from found
            return
        if follows(document):
            return  # it is laid out with an experience's dataset
        try:
            network = network_of(document, document["inputs"], document["outputs"], self.tables)
        except BranchError as error:
            yield ("branches", error.branch, "operations", error.position), str(error)
            return
        except KeyError as error:
            yield ("operations",), f"{error.args[0]}; rename that operation"
            return
        yield from memory_of_model(network, self.available)

    def _opened(self, document: Document) -> tuple[Dataset | None, list[Finding]]:
        if found := validation.findings("dataset", document, self.tables):
            return None, found
        try:
            return data_kind(document).checked_dataset(document, self.tables, self.workspace), []
        except DatasetError as error:
            return None, list(error.findings)


@dataclass(frozen=True)
class Checked:
    """An experience with its dataset and model inserted, and all its problems."""

    loaded: resolution.Loaded | None
    """None if its files cannot be read."""
    dataset: Dataset | None
    """None if it cannot be opened, or if the experience has none."""
    problems: list[Problem]
    warnings: list[Problem]
    """Warnings about what the documents say; those about data are the dataset's."""


def checked_training(loaded: resolution.Loaded, warnings: list[Problem], parts: Parts) -> Checked:
    """Check an experience that trains a network, and open its dataset.

    warnings  those that are known already
    """
    tables, workspace, available = parts.tables, parts.workspace, parts.available
    opened, problems = _follow(loaded, parts)
    document = loaded.document
    alone = {**document, **{kind: loaded.name for kind in ("dataset", "model") if isinstance(document.get(kind), dict)}}
    dataset = document.get("dataset")
    dataset_type = dataset.get("type") if isinstance(dataset, dict) else None
    problems = loaded.problems("experience", validation.findings("experience", alone, tables, dataset_type)) + problems
    if isinstance(document.get("model"), dict):
        problems += loaded.problems("model", parts.findings_in_model(document["model"]))
    if problems or opened is None:
        return Checked(loaded, opened, problems, warnings)
    kind = data_kind(document["dataset"])
    warnings += loaded.problems("experience", type_of(document).doubts(document))
    problems = loaded.problems("dataset", kind.unread(document, workspace))
    document = loaded.document = kind.completed(document, tables, workspace)
    problems += loaded.problems("experience", _in_whole(document, kind, opened, tables, available))
    if problems:
        return Checked(loaded, opened, problems, warnings)
    network = network_of(document["model"], document["inputs"], document["outputs"], tables)
    problems = loaded.problems("model", kind.findings_in_model(opened, network, tables))
    samples = kind.samples(document, opened)
    for whose, finding in memory_of_experience(document, samples, network, tables, available):
        problems += loaded.problems(whose, [finding])
    return Checked(loaded, opened, problems, warnings)


def _follow(loaded: resolution.Loaded, parts: Parts) -> tuple[Dataset | None, list[Problem]]:
    """Open the dataset of an experience, and let its specs follow it; returns also the problems of both."""
    dataset = loaded.document.get("dataset")
    if not isinstance(dataset, dict):
        return None, []
    opened, found = parts.dataset(dataset)
    problems = loaded.problems("dataset", found)
    if opened is None:
        return None, problems
    sizes = {name: [*shape[1:], shape[0]] for name, shape in opened.shapes().items()}
    fields = Fields(sizes, data_kind(dataset).roles(dataset, parts.workspace))
    loaded.document, not_followed = followed(loaded.document, fields)
    for whose, finding in not_followed:
        problems += loaded.problems(whose, [finding])
    return opened, problems


def tolerate(loaded: resolution.Loaded, changes: list[Override], parts: Parts) -> list[Problem]:
    """Leave out what nothing reads of an experience, its dataset and its model; returns warnings about it."""
    warnings = []
    for kind in type_of(loaded.document).refers_to:
        part = loaded.document.get(kind)
        if isinstance(part, dict):
            overridden = [change.path[1:] for change in changes if change.path[0] == kind]
            loaded.document[kind], found = parts.as_read(kind, part, overridden)
            warnings += loaded.problems(kind, found)
    overridden = [change.path for change in changes]
    loaded.document, found = as_read("experience", loaded.document, parts.tables, overridden)
    return loaded.problems("experience", found) + warnings


def _in_whole(
    document: Document, kind: KindData[Any], dataset: Dataset, tables: Tables, available: int
) -> Iterator[Finding]:
    """Problems between experience, dataset and model, each of which is valid by itself."""
    model = document["model"]
    shapes = dataset.shapes()
    network: Network | None = None
    for index, name in enumerate(document["inputs"]):
        where: Where = ("inputs", index)
        if name not in shapes:
            yield where, f"the dataset has no '{name}'; {suggestion(name, shapes)}"
        elif name not in model["inputs"]:
            yield where, f"the model has no input '{name}'; {suggestion(name, model['inputs'])}"
        elif (size := from_spec(model["inputs"][name]["size"])) != shapes[name]:
            yield (
                where,
                f"its shape in the dataset is {written(shapes[name])}, but the model's input is {written(size)}",
            )
    for name in model["inputs"]:
        if name not in document["inputs"]:
            yield ("inputs",), f"the model needs the input '{name}', which is not listed"
    fitting = True
    for index, name in enumerate(document["outputs"]):
        where = ("outputs", index)
        if name not in shapes:
            fitting = False
            yield where, f"the dataset has no '{name}'; {suggestion(name, shapes)}"
        elif name not in model["outputs"]:
            fitting = False
            yield where, f"the model has no output '{name}'; {suggestion(name, model['outputs'])}"
    transforms, _ = built_transforms(document, tables)
    yield from of_several_numbers(document, transforms, kind.several_numbers)
    unfit = list(in_heads(document, tables, shapes, transforms))
    yield from unfit
    fitting &= not unfit
    if fitting:
        network = network_of(model, model["inputs"], document["outputs"], tables)
        for index, name in enumerate(document["outputs"]):
            if name in document.get("transforms", {}) and name not in transforms:
                continue  # its transform cannot be built, which is reported
            numbers = transforms[name].numbers if name in transforms else 1
            wanted = (numbers * shapes[name][0], *shapes[name][1:])
            if network.shapes[name] != wanted:
                why = f"its values are {written(wanted)}; end the branch with that shape"
                if numbers > 1:
                    why = (
                        f"its transform makes {numbers} numbers of each value, {written(wanted)}; give it a branch of "
                        "its own that ends with that shape"
                    )
                yield ("outputs", index), f"the model makes {written(network.shapes[name])} for '{name}', but {why}"
    yield from kind.findings(document, dataset, tables, network, available)
    if network is not None and not any(True for _ in network.parameters()):
        yield ("model",), "no operation of the model has weights, so that nothing can be trained; add one, as 'denses'"
    yield from _in_pretrain(document, network)
    if network is not None and document.get("layer_decay", 1.0) < 1 and not any(layers_above(network).values()):
        yield ("layer_decay",), "no operation of the model has numbered layers, as 'masked_encoder' has; leave it out"
    yield from _in_rates(document, tables)


def _in_rates(document: Document, tables: Tables) -> Iterator[Finding]:
    """Whether the optimizer and the schedule can be built with their parameters."""
    for key, table in (("optimizer", "optimizers"), ("schedule", "schedules")):
        description = long_form(document.get(key, "constant"), tables[table])
        try:
            built(
                tables[table], description, *(([torch.nn.Parameter(torch.zeros(1))], 0.1) if key == "optimizer" else ())
            )
        except ValueError as error:
            yield (key, "parameters"), str(error)


def _in_pretrain(document: Document, network: Network | None) -> Iterator[Finding]:
    pretrain, known = document.get("pretrain"), document["model"]["operations"]
    if not isinstance(pretrain, dict):
        return
    for key in ("operations", "freeze"):
        for index, name in enumerate(pretrain.get(key) or []):
            if name not in known:
                yield ("pretrain", key, index), f"the model has no operation '{name}'; {suggestion(name, known)}"
    frozen = pretrain.get("freeze") or []
    if network is not None and frozen:
        learning = {name for name, operation in network.operations.items() if any(True for _ in operation.parameters())}
        if learning <= set(frozen):
            yield (
                ("pretrain", "freeze"),
                "all operations with weights are frozen, and nothing is left to train; freeze fewer",
            )


# The types of experience, as objects: one line each. See `qexp.spec.experiences` for their documents.


class ExperienceObjects(ABC):
    """What qexp does with a type of experience before it runs. Documents have been checked, or are resolved."""

    @abstractmethod
    def checked(self, loaded: resolution.Loaded, warnings: Collection[Any], parts: Parts) -> Checked:
        """All problems of an experience, and its dataset, opened. warnings: those that are known already"""

    @abstractmethod
    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        """The whole document with hashes of files, so that the digest depends on their content."""

    @abstractmethod
    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        """Metric → what its numbers mean: best value, and unit."""

    def extensions(self, workspace: Workspace) -> str:
        """The text of the workspace's own table entries, if runs depend on them."""
        return ""

    def doubts(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Doubts:
        """What may be wrong with the parts into which the data of a run are divided."""
        return Doubts()

    def exposed(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Exposed | None:
        """The training and test samples of a run, if runs keep their hashes; None if not."""
        return None

    def whole(self, spec: Document, key: str) -> str | None:
        """The value of a key, on the number of training samples, that stands for all of them; None if there is none."""
        return None


class TrainingObjects(ExperienceObjects):
    def checked(self, loaded: resolution.Loaded, warnings: Collection[Any], parts: Parts) -> Checked:
        return checked_training(loaded, list(warnings), parts)

    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        of_data = data_kind(document["dataset"]).pinned(document["dataset"], dataset, workspace)
        return {**document, "dataset": of_data}

    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        return networks.meanings_of(spec, tables)

    def extensions(self, workspace: Workspace) -> str:
        try:
            return workspace.extensions.read_text(encoding="utf-8") if workspace.extensions.is_file() else ""
        except UnicodeDecodeError:
            raise QexpError(f"{workspace.extensions} is not UTF-8 text; save it as UTF-8") from None

    def doubts(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Doubts:
        return data_kind(spec["dataset"]).doubts(spec, dataset, tables, seed)

    def exposed(self, spec: Document, dataset: Dataset | None, tables: Tables, seed: int) -> Exposed | None:
        return data_kind(spec["dataset"]).exposed(spec, dataset, tables, seed)

    def whole(self, spec: Document, key: str) -> str | None:
        return data_kind(spec["dataset"]).whole.get(key)


class CommandObjects(ExperienceObjects):
    def checked(self, loaded: resolution.Loaded, warnings: Collection[Any], parts: Parts) -> Checked:
        document = loaded.document
        found = validation.findings("experience", document, parts.tables) or list(_in_files(document, parts.workspace))
        doubts = [] if found else [*type_of(document).doubts(document), *_unnamed_files(document, parts.workspace)]
        said = [*warnings, *loaded.problems("experience", doubts)]
        return Checked(loaded, None, loaded.problems("experience", found), said)

    def pinned(self, document: Document, dataset: Dataset | None, workspace: Workspace) -> Document:
        named = (*document["files"], *document["data"])
        hashes = {name: files.program_fingerprint(name, workspace.root) for name in named}
        return {**document, "fingerprints": hashes, "found": str(workspace.root.absolute())}

    def meanings(self, spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
        return dict(spec["metrics"])


TYPES: Mapping[str, ExperienceObjects] = {"training": TrainingObjects(), "command": CommandObjects()}
"""The value of `type` in an experience → its type."""


def objects_of(experience: Mapping[str, Any]) -> ExperienceObjects:
    """The type of an experience, by its document."""
    return TYPES[type_name(experience)]


def checked(reference: str | resolution.Unwritten, changes: list[Override], parts: Parts) -> Checked:
    """Read an experience, open its dataset if it has one, and check it."""
    try:
        loaded = resolution.experience(reference, changes, parts.workspace)
    except SpecError as error:
        return Checked(None, None, error.problems, [])
    warnings = tolerate(loaded, changes, parts)
    return objects_of(loaded.document).checked(loaded, warnings, parts)


def _in_files(document: Document, workspace: Workspace) -> Iterator[Finding]:
    for key in ("files", "data"):
        for index, name in enumerate(document.get(key, [])):
            try:
                place = files.program_place(name, workspace.root)
                if key == "files" and place.is_dir():
                    yield (key, index), f"'{name}' is a folder; name its files"
                elif not os.access(place, os.R_OK):
                    yield (key, index), f"'{name}' cannot be read: permission denied"
            except QexpError as error:
                yield (key, index), str(error)


def _unnamed_files(document: Document, workspace: Workspace) -> Iterator[Finding]:
    """Warnings about words of the command that are files of the workspace, but not among those that are hashed."""
    named = {*document.get("files", []), *document.get("data", [])}
    for index, word in enumerate(document["command"]):
        if word not in named and not word.startswith("/") and _is_file(workspace.root / word):
            yield (
                ("command", index),
                f"'{word}' is a file of the workspace, but not among 'files': later changes of it would not be noticed",
            )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the word is too long to be a path
        return False


# Specs read, completed and checked as far as possible without training.


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
    dataset: Dataset | None = field(repr=False, compare=False)
    """The dataset, as opened for the checks; None if it has none."""
    warnings: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Warnings about what the specs say."""

    @property
    def digest(self) -> str:
        return digest(self.document, *([self.extensions] if self.extensions else []))


def experience(
    reference: str | resolution.Unwritten,
    overrides: resolution.Overrides,
    workspace: Workspace,
    parts: Parts | None = None,
) -> Experience:
    """Read, complete and check an experience. Raises SpecError with all its problems.

    overrides  dotted key → value
    parts      datasets and models of the workspace, if several experiences are read or another machine will train
    """
    changes = [resolution.override(key, value) for key, value in overrides.items()]
    parts = parts or parts_of(workspace)
    tables = parts.tables
    found = checked(reference, changes, parts)
    loaded, dataset = found.loaded, found.dataset
    if found.problems or loaded is None:
        raise SpecError(found.problems)
    schemas = _schemas(tables)
    of_type = objects_of(loaded.document)
    document = of_type.pinned(resolution.with_defaults(loaded.document, tables, schemas), dataset, workspace)
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


def is_unchanged(one: Experience, reference: str, overrides: resolution.Overrides, parts: Parts) -> bool:
    """Whether an experience is that of its file, because overrides set what it says anyway.

    parts  those with which it was read
    """
    if not overrides:
        return True
    if reference not in parts.digests_of_files:
        changes = [resolution.override(key, value) for key, value in overrides.items()]
        # The unchanged dataset may be large, or absent: it is opened only if this is the same one.
        if _dataset_in_meaning(reference, changes, parts) != _dataset_in_meaning(reference, [], parts):
            return False
        parts.digests_of_files[reference] = _digest_of_file(reference, parts)
    return parts.digests_of_files[reference] == one.digest


def _dataset_in_meaning(reference: str, changes: list[resolution.Override], parts: Parts) -> str:
    """The dataset of an experience with its defaults, as canonical text; empty if the experience cannot be read."""
    try:
        loaded = resolution.experience(reference, changes, parts.workspace)
    except SpecError:
        return ""
    tolerate(loaded, changes, parts)
    document = loaded.document.get("dataset")
    if isinstance(document, dict) and not validation.findings("dataset", document, parts.tables):
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
    return [
        (chosen, resolution.with_defaults(document, tables, schemas))
        for chosen, document in resolution.candidates(spec)
    ]


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
        kind = spec_kind(path)
        if kind == "experience":
            return _examined_experience(path, parts)
        document = reading.read(path, shown)
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
        document = resolution.with_defaults(found.loaded.document, parts.tables, _schemas(parts.tables))
        doubts = objects_of(document).doubts(document, found.dataset, parts.tables, 0)
        of_data += found.loaded.problems("experience", [(("split",), text) for text in doubts.warnings])
    return Examined(found.problems, [*found.warnings, *of_data])


def awaited_in(path: Path, parts: Parts) -> list[Problem]:
    """Problems of a spec that the command that makes its dataset's folder would solve."""
    workspace = parts.workspace
    try:
        kind = spec_kind(path)
        if kind == "model":
            return []
        document, file, prefix = _dataset_in(path, kind, workspace)
    except SpecError:  # which `examined` reports
        return []
    if not isinstance(document, dict):
        return []  # likewise
    document, _ = parts.as_read("dataset", document)
    if validation.findings("dataset", document, parts.tables):
        return []  # likewise
    waiting = objects.data_kind(document).awaited(document, workspace)
    return [Problem(file, (*prefix, *where), message) for where, message in waiting]


def _dataset_in(path: Path, kind: str, workspace: Workspace) -> tuple[Any, str, Where]:
    """The dataset of a dataset spec or an experience, the name of its file in errors, and its place in that file.

    It may not be a valid dataset: nothing is checked.
    """
    if kind == "dataset":
        return reading.read(path), workspace.shown(path), ()
    loaded = resolution.experience(str(path), [], workspace)
    where = ("dataset",) if "dataset" in loaded.written_out else ()
    return loaded.document.get("dataset"), loaded.files["dataset"], where


def spec_kind(path: Path) -> str:
    """dataset, model or experience: by the folder, else by the keys of the document."""
    for kind, folder in FOLDERS.items():
        if path.absolute().parent.name == folder:
            return kind
    document = reading.read(path)
    if type_name(document) == document.get("type"):
        return "experience"
    if "branches" in document or "operations" in document or "graph" in document:
        return "model"
    return "experience" if "model" in document or "epochs" in document else "dataset"


def opened_dataset(reference: str, parts: Parts) -> tuple[str, Document, Dataset]:
    """Name, completed document and object of a dataset spec. Raises SpecError with all its problems."""
    path = resolution.locate("dataset", reference, parts.workspace)
    shown = parts.workspace.shown(path)
    document, _ = parts.as_read("dataset", reading.read(path, shown))
    dataset, found = parts.dataset(document)
    if dataset is None:
        raise SpecError([Problem(shown, *one) for one in found])
    schema = whole_schema("dataset", parts.tables)
    return path.stem, spec_kinds.dataset_with_defaults(document, parts.tables, schema), dataset


def dataset_document(reference: str, workspace: Workspace, tables: Tables) -> tuple[str, Document]:
    """Name and checked, completed document of a dataset."""
    path = resolution.locate("dataset", reference, workspace)
    if problems := examined(path, Parts(tables, workspace, machine.memory())).problems:
        raise SpecError(problems)
    schema = whole_schema("dataset", tables)
    document, _ = as_read("dataset", reading.read(path), tables)
    return path.stem, spec_kinds.dataset_with_defaults(document, tables, schema)

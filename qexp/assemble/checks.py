"""Checks of specs that need objects: networks are laid out, data are opened, and the parts are compared."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from qexp.assemble import memory
from qexp.assemble.heads import in_heads
from qexp.assemble.kinds import Dataset, Kind, kind_of
from qexp.assemble.networks import network_of
from qexp.assemble.transforms import built_transforms, of_several_numbers
from qexp.did_you_mean import suggestion
from qexp.errors import DatasetError, Problem
from qexp.networks.network import BranchError, Network, layers_above
from qexp.networks.shapes import from_spec, written
from qexp.spec import defaults, resolve, validate
from qexp.spec.experiences import type_of
from qexp.spec.finding import Finding, Where
from qexp.spec.following import Fields, followed, follows
from qexp.spec.resolve import Override
from qexp.spec.tolerated import as_read
from qexp.tables import Tables, built
from qexp.workspace import Workspace

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
        """Experience → its digest without overrides, None if it is wrong without them; see `assemble.is_unchanged`."""

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
        if found := validate.findings("model", document, self.tables):
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
        yield from memory.of_model(network, self.available)

    def _opened(self, document: Document) -> tuple[Dataset | None, list[Finding]]:
        if found := validate.findings("dataset", document, self.tables):
            return None, found
        try:
            return kind_of(document).checked_dataset(document, self.tables, self.workspace), []
        except DatasetError as error:
            return None, list(error.findings)


@dataclass(frozen=True)
class Checked:
    """An experience with its dataset and model inserted, and all its problems."""

    loaded: resolve.Loaded | None
    """None if its files cannot be read."""
    dataset: Dataset | None
    """None if it cannot be opened, or if the experience has none."""
    problems: list[Problem]
    warnings: list[Problem]
    """Warnings about what the documents say; those about data are the dataset's."""


def checked_training(loaded: resolve.Loaded, warnings: list[Problem], parts: Parts) -> Checked:
    """Check an experience that trains a network, and open its dataset.

    warnings  those that are known already
    """
    tables, workspace, available = parts.tables, parts.workspace, parts.available
    opened, problems = _follow(loaded, parts)
    document = loaded.document
    alone = {**document, **{kind: loaded.name for kind in ("dataset", "model") if isinstance(document.get(kind), dict)}}
    dataset = document.get("dataset")
    dataset_type = dataset.get("type") if isinstance(dataset, dict) else None
    problems = loaded.problems("experience", validate.findings("experience", alone, tables, dataset_type)) + problems
    if isinstance(document.get("model"), dict):
        problems += loaded.problems("model", parts.findings_in_model(document["model"]))
    if problems or opened is None:
        return Checked(loaded, opened, problems, warnings)
    kind = kind_of(document["dataset"])
    warnings += loaded.problems("experience", type_of(document).doubts(document))
    problems = loaded.problems("dataset", kind.unread(document, workspace))
    document = loaded.document = kind.completed(document, tables, workspace)
    problems += loaded.problems("experience", _in_whole(document, kind, opened, tables, available))
    if problems:
        return Checked(loaded, opened, problems, warnings)
    network = network_of(document["model"], document["inputs"], document["outputs"], tables)
    problems = loaded.problems("model", kind.findings_in_model(opened, network, tables))
    samples = kind.samples(document, opened)
    for whose, finding in memory.of_experience(document, samples, network, tables, available):
        problems += loaded.problems(whose, [finding])
    return Checked(loaded, opened, problems, warnings)


def _follow(loaded: resolve.Loaded, parts: Parts) -> tuple[Dataset | None, list[Problem]]:
    """Open the dataset of an experience, and let its specs follow it; returns also the problems of both."""
    dataset = loaded.document.get("dataset")
    if not isinstance(dataset, dict):
        return None, []
    opened, found = parts.dataset(dataset)
    problems = loaded.problems("dataset", found)
    if opened is None:
        return None, problems
    sizes = {name: [*shape[1:], shape[0]] for name, shape in opened.shapes().items()}
    fields = Fields(sizes, kind_of(dataset).roles(dataset, parts.workspace))
    loaded.document, not_followed = followed(loaded.document, fields)
    for whose, finding in not_followed:
        problems += loaded.problems(whose, [finding])
    return opened, problems


def tolerate(loaded: resolve.Loaded, changes: list[Override], parts: Parts) -> list[Problem]:
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
    document: Document, kind: Kind[Any], dataset: Dataset, tables: Tables, available: int
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
        description = defaults.long_form(document.get(key, "constant"), tables[table])
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

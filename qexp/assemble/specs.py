"""Specs read, completed and checked, as far as that can be done without training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from qexp.assemble import fields, rows, spectra
from qexp.assemble.datasets import dataset_of, generated_of, still_to_be_made, with_data_pinned
from qexp.assemble.objects import network_of
from qexp.assemble.tables import tables_with
from qexp.assemble.transforms import built_transforms
from qexp.datasets.distributions import Distribution
from qexp.datasets.generated import GENERATOR_METHODS, GeneratedDataset
from qexp.datasets.spectra import SpectraDataset
from qexp.datasets.tabular import TabularDataset
from qexp.errors import DatasetError, Problem, QexpError, SpecError
from qexp.models.modules.matched_filters import MatchedFilters
from qexp.models.network import BranchError, Network, layers_above
from qexp.models.shapes import from_spec, written
from qexp.quantities import Quantity, quantity
from qexp.spec import load, resolve, validate
from qexp.spec.digest import digest
from qexp.spec.resolve import FOLDERS, Override
from qexp.spec.schema import KINDS, whole_schema
from qexp.tables import Tables, built, suggestion
from qexp.workspace import Workspace

Document = dict[str, Any]
Finding = validate.Finding


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

    @property
    def digest(self) -> str:
        return digest(self.document, *([self.extensions] if self.extensions else []))


def experience(reference: str, overrides: Iterable[str], workspace: Workspace) -> Experience:
    """Read, complete and check an experience. Raises SpecError with all that is wrong with it."""
    changes = [resolve.override(text) for text in overrides]
    tables = tables_with(workspace.extensions)
    loaded, problems = _checked(reference, changes, workspace, tables)
    if problems or loaded is None:
        raise SpecError(problems)
    schemas = _schemas(tables)
    document = resolve.with_defaults(loaded.document, tables, schemas)
    document["dataset"] = with_data_pinned(document["dataset"], workspace)
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
    )


def candidates(spec: Document, tables: Tables) -> list[tuple[Document, Document]]:
    """All combinations of what `select` of a resolved experience lists: what was chosen, and the experience with it."""
    schemas = _schemas(tables)
    return [(chosen, resolve.with_defaults(document, tables, schemas)) for chosen, document in resolve.candidates(spec)]


def _schemas(tables: Tables) -> dict[str, Document]:
    return {kind: whole_schema(kind, tables) for kind in KINDS}


def problems_in(path: Path, workspace: Workspace) -> list[Problem]:
    """Everything wrong with one spec file that can be seen without training."""
    return _problems(path, workspace, tables_with(workspace.extensions))


def _problems(path: Path, workspace: Workspace, tables: Tables) -> list[Problem]:
    shown = workspace.shown(path)
    try:
        kind = kind_of(path)
        if kind == "experience":
            return _checked(str(path), [], workspace, tables)[1]
        document = load.read(path, shown)
        found = validate.findings(kind, document, tables)
        if not found:
            found = list(_DEEP_CHECKS[kind](document, tables, workspace))
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
    return [Problem(file, (*prefix, *where), message) for where, message in still_to_be_made(document, workspace)]


def warnings_in(path: Path, workspace: Workspace) -> list[Problem]:
    """What a user should know of a spec that is right, and may have meant: of the rows or fields of its dataset."""
    tables = tables_with(workspace.extensions)
    kind = kind_of(path)
    if kind == "model":
        return []
    document, file, prefix = _dataset_in(path, kind, workspace)
    dataset = dataset_of(document, tables, workspace)
    return [Problem(file, prefix, text) for text in dataset.warnings]


def _dataset_in(path: Path, kind: str, workspace: Workspace) -> tuple[Document, str, validate.Path]:
    """The dataset of a dataset spec or an experience, its file as it is shown, and where it stands in there."""
    if kind == "dataset":
        return load.read(path), workspace.shown(path), ()
    loaded = resolve.experience(str(path), [], workspace)
    where = ("dataset",) if "dataset" in loaded.written_out else ()
    return loaded.document["dataset"], loaded.files["dataset"], where


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


# Checks that need objects


def _checked(
    reference: str, changes: list[Override], workspace: Workspace, tables: Tables
) -> tuple[resolve.Loaded | None, list[Problem]]:
    try:
        loaded = resolve.experience(reference, changes, workspace)
    except SpecError as error:
        return None, error.problems
    document = loaded.document
    alone = {**document, **{kind: loaded.name for kind in ("dataset", "model") if isinstance(document.get(kind), dict)}}
    dataset = document.get("dataset")
    dataset_type = dataset.get("type") if isinstance(dataset, dict) else None
    problems = loaded.problems("experience", validate.findings("experience", alone, tables, dataset_type))
    for kind in ("dataset", "model"):
        inner = document.get(kind)
        if isinstance(inner, dict):
            found = validate.findings(kind, inner, tables) or list(_DEEP_CHECKS[kind](inner, tables, workspace))
            problems += loaded.problems(kind, found)
    if not problems:
        document = loaded.document = fields.completed(document, workspace)
        problems = loaded.problems("experience", _in_whole(document, tables, workspace))
    if not problems:
        problems = loaded.problems("model", _in_matched_filters(document, tables))
    return loaded, problems


def _deep_in_dataset(document: Document, tables: Tables, workspace: Workspace) -> Iterator[Finding]:
    if document["type"] == "generated":
        return _deep_in_generated(document, tables, workspace)
    return _deep_in_files(document, tables, workspace)


def _deep_in_files(document: Document, tables: Tables, workspace: Workspace) -> Iterator[Finding]:
    try:
        dataset_of(document, tables, workspace)
    except DatasetError as error:
        yield from error.findings


def _deep_in_generated(document: Document, tables: Tables, workspace: Workspace) -> Iterator[Finding]:
    quantities = tables["quantities"]
    generator = tables["generators"][document["generation_type"]].build()
    lacking = [told for name, told in GENERATOR_METHODS.items() if not callable(getattr(generator, name, None))]
    if lacking:
        yield ("generation_type",), f"the generator lacks a method, {lacking[0]}"
        return
    fixed, varyings = document.get("fixed", {}), document["varyings"]
    mentioned = [*fixed, *varyings]
    required = generator.required(mentioned)
    known = {*generator.required([*mentioned, *document["distributions"]]), "noise"}
    for name in required:
        if name not in mentioned:
            about = _about(quantity(name, quantities))
            yield ("fixed",), f"'{name}' has no value; put it in 'fixed' or in 'varyings' ({about})"
    for group in ("fixed", "varyings", "distributions"):
        for name in document.get(group, {}):
            if name not in known:
                yield (group, name), validate.unknown_variable(name, known, quantities)
    for name in document.get("matrix", {}).get("axes", {}):
        if name not in {*required, "noise"}:
            yield ("matrix", "axes", name), validate.unknown_variable(name, {*required, "noise"}, quantities)
    for name, description in document["distributions"].items():
        where = ("distributions", name)
        try:
            distribution: Distribution = built(tables["distributions"], description)
        except ValueError as error:
            yield (*where, "parameters"), str(error)
            continue
        if name in varyings:
            limits = quantity(name, quantities)
            yield from _outside_limits(name, limits, distribution, where, description["type"])
    try:
        built(tables["noises"], resolve.long_form(document.get("noise_model", "white"), tables["noises"]))
    except ValueError as error:
        yield ("noise_model", "parameters"), str(error)


def _outside_limits(
    name: str, limits: Quantity, distribution: Distribution, where: validate.Path, kind: str
) -> Iterator[Finding]:
    low, high = distribution.support()
    floor = limits.above if limits.above is not None else limits.at_least
    if floor is not None and low < floor:
        yield (
            where,
            (
                f"'{kind}' reaches down to {low:g}, but {name} {limits.violation(-math.inf)}; "
                "use a log_normal, log_uniform or truncated_normal distribution, or other bounds"
            ),
        )
    if limits.at_most is not None and high > limits.at_most:
        yield where, f"'{kind}' reaches up to {high:g}, but {name} {limits.violation(math.inf)}"


def _about(known: Quantity) -> str:
    return f"{known.description}, in {known.unit}" if known.unit else known.description


def _deep_in_model(document: Document, tables: Tables, workspace: Workspace) -> Iterator[Finding]:
    try:
        network_of(document, document["inputs"], document["outputs"], tables)
    except BranchError as error:
        yield ("branches", error.branch, "operations", error.position), str(error)
    except KeyError as error:
        yield ("operations",), f"{error.args[0]}; rename that operation"


_DEEP_CHECKS: dict[str, Callable[[Document, Tables, Workspace], Iterator[Finding]]] = {
    "dataset": _deep_in_dataset,
    "model": _deep_in_model,
}


def _in_whole(document: Document, tables: Tables, workspace: Workspace) -> Iterator[Finding]:
    """Whether experience, dataset and model fit each other; each is right by itself."""
    dataset = dataset_of(document["dataset"], tables, workspace)
    model = document["model"]
    shapes = dataset.shapes()
    makes = "makes" if isinstance(dataset, GeneratedDataset) else "has"
    network: Network | None = None
    for index, name in enumerate(document["inputs"]):
        where: validate.Path = ("inputs", index)
        if name not in shapes:
            yield where, f"the dataset {makes} no '{name}'; {suggestion(name, shapes)}"
        elif name not in model["inputs"]:
            yield where, f"the model has no input '{name}'; {suggestion(name, model['inputs'])}"
        elif (size := from_spec(model["inputs"][name]["size"])) != shapes[name]:
            yield where, f"the dataset {makes} {written(shapes[name])}, but the model's input is {written(size)}"
    for name in model["inputs"]:
        if name not in document["inputs"]:
            yield ("inputs",), f"the model needs the input '{name}', which is not listed"
    fitting = True
    for index, name in enumerate(document["outputs"]):
        where = ("outputs", index)
        if name not in shapes:
            fitting = False
            yield where, f"the dataset {makes} no '{name}'; {suggestion(name, shapes)}"
        elif name not in model["outputs"]:
            fitting = False
            yield where, f"the model has no output '{name}'; {suggestion(name, model['outputs'])}"
    if fitting:
        network = network_of(model, model["inputs"], document["outputs"], tables)
        for index, name in enumerate(document["outputs"]):
            if network.shapes[name] != shapes[name]:
                yield (
                    ("outputs", index),
                    (
                        f"the model makes {written(network.shapes[name])} for '{name}', but its values are "
                        f"{written(shapes[name])}; end the branch accordingly"
                    ),
                )
    if isinstance(dataset, GeneratedDataset):
        if network is not None:
            yield from _in_batches(document, network)
        yield from _in_transforms(document, dataset, tables)
    elif isinstance(dataset, TabularDataset):
        yield from rows.findings(document, dataset, tables, network)
    elif isinstance(dataset, SpectraDataset):
        yield from spectra.findings(document, dataset, tables, network)
    else:
        yield from fields.findings(document, dataset, tables, network)
    yield from _in_pretrain(document, network)
    if network is not None and document.get("layer_decay", 1.0) < 1 and not any(layers_above(network).values()):
        yield ("layer_decay",), "no operation of the model has layers of its own, as 'masked_encoder' has; leave it out"
    for key, table in (("optimizer", "optimizers"), ("schedule", "schedules")):
        description = resolve.long_form(document.get(key, "constant"), tables[table])
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
            yield ("pretrain", "freeze"), "all that has weights is frozen, and nothing is left to train; freeze fewer"


def _in_batches(document: Document, network: Network) -> Iterator[Finding]:
    normalises = any(isinstance(module, torch.nn.BatchNorm1d) for module in network.modules())
    if normalises and document["sizes"][0] % document["batch_size"] == 1:
        yield (
            ("batch_size",),
            f"the last of the batches of {document['sizes'][0]} samples has a single one, which a 'batch_norm' "
            "cannot normalise; choose another size",
        )


def _in_matched_filters(document: Document, tables: Tables) -> Iterator[Finding]:
    """Whether the dataset makes what a model's filters are matched to; paths are the model's."""
    if document["dataset"]["type"] != "generated":
        return  # nothing else makes an image, without which there is no such filter
    network = network_of(document["model"], document["inputs"], document["outputs"], tables)
    dataset = generated_of(document["dataset"], tables)
    images = dataset.generator.images(dataset.variables)
    for index, branch in enumerate(network.branches):
        for position, name in enumerate(branch.operations):
            filters = network.operations[name]
            if not isinstance(filters, MatchedFilters):
                continue
            if position > 0 or branch.sources[0] not in images:
                yield (
                    ("branches", index, "operations", position),
                    f"'{name}' is matched to an image of the dataset; put it first in a branch from "
                    f"{' or '.join(map(repr, images))}",
                )
            where: validate.Path = ("operations", name, "parameters")
            if filters.variable not in dataset.test:
                yield (
                    (*where, "variable"),
                    f"'{filters.variable}' does not vary in the dataset; {suggestion(filters.variable, dataset.test)}",
                )
            elif violation := quantity(filters.variable, tables["quantities"]).violation(float(filters.values[-1])):
                yield (*where, "high"), violation


def _in_transforms(document: Document, dataset: GeneratedDataset, tables: Tables) -> Iterator[Finding]:
    transforms, found = built_transforms(document, tables)
    yield from found
    for name, transform in transforms.items():
        if name in dataset.fixed:
            low = high = dataset.fixed[name]
        elif name in dataset.distributions:
            low, high = dataset.distributions[name].support()
        else:
            low, high = -math.inf, math.inf
        trouble = transform.domain_error(low, high)
        if trouble:
            yield ("transforms", name), f"{trouble}; use asinh or scale for '{name}'"

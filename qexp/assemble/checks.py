"""Checks of specs that need objects: networks are laid out, data are opened, what belongs together is compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from qexp.assemble import fields, memory, rows, spectra
from qexp.assemble.datasets import Dataset, dataset_of
from qexp.assemble.objects import network_of
from qexp.assemble.transforms import built_transforms
from qexp.datasets.distributions import Distribution
from qexp.datasets.generated import GENERATOR_METHODS, GeneratedDataset
from qexp.datasets.spectra import SpectraDataset
from qexp.datasets.tabular import TabularDataset
from qexp.did_you_mean import suggestion
from qexp.errors import DatasetError, Problem, SpecError
from qexp.models.modules.matched_filters import MatchedFilters
from qexp.models.network import BranchError, Network, layers_above
from qexp.models.shapes import from_spec, written
from qexp.quantities import Quantity, quantity
from qexp.spec import resolve, validate
from qexp.spec.resolve import Override
from qexp.tables import Tables, built
from qexp.workspace import Workspace

Document = dict[str, Any]
Finding = validate.Finding


def checked(
    reference: str, changes: list[Override], workspace: Workspace, tables: Tables, available: int
) -> tuple[resolve.Loaded | None, list[Problem]]:
    """An experience with its dataset and model put in, if they can be read, and all that is wrong with it.

    available  bytes of memory of the machine that will train it
    """
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
            problems += loaded.problems(kind, findings_in(kind, inner, tables, workspace, available))
    if problems:
        return loaded, problems
    document = loaded.document = fields.completed(document, workspace)
    opened = dataset_of(document["dataset"], tables, workspace)
    problems = loaded.problems("experience", _in_whole(document, opened, tables, available))
    if problems:
        return loaded, problems
    network = network_of(document["model"], document["inputs"], document["outputs"], tables)
    problems = loaded.problems("model", _in_matched_filters(opened, network, tables))
    for whose, finding in memory.of_experience(document, opened, network, tables, available):
        problems += loaded.problems(whose, [finding])
    return loaded, problems


def findings_in(kind: str, document: Document, tables: Tables, workspace: Workspace, available: int) -> list[Finding]:
    """All that is wrong with a dataset or a model by itself; shapes are laid out only if its schema holds."""
    if found := validate.findings(kind, document, tables):
        return found
    if kind == "model":
        return list(_in_model(document, tables, available))
    if document["type"] == "generated":
        return list(_in_generated(document, tables))
    return list(_in_files(document, tables, workspace))


def _in_files(document: Document, tables: Tables, workspace: Workspace) -> Iterator[Finding]:
    try:
        dataset_of(document, tables, workspace)
    except DatasetError as error:
        yield from error.findings


def _in_generated(document: Document, tables: Tables) -> Iterator[Finding]:
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


def _in_model(document: Document, tables: Tables, available: int) -> Iterator[Finding]:
    try:
        network = network_of(document, document["inputs"], document["outputs"], tables)
    except BranchError as error:
        yield ("branches", error.branch, "operations", error.position), str(error)
    except KeyError as error:
        yield ("operations",), f"{error.args[0]}; rename that operation"
    else:
        yield from memory.of_model(network, available)


def _in_whole(document: Document, dataset: Dataset, tables: Tables, available: int) -> Iterator[Finding]:
    """Whether experience, dataset and model fit each other; each is right by itself."""
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
        yield from rows.findings(document, dataset, tables, network, available)
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


def _in_matched_filters(dataset: Dataset, network: Network, tables: Tables) -> Iterator[Finding]:
    """Whether the dataset makes what a model's filters are matched to; paths are the model's."""
    if not isinstance(dataset, GeneratedDataset):
        return  # nothing else makes an image, without which there is no such filter
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

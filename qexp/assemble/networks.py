"""Networks of checked documents: laid out, with transforms, and with the weights of a finished run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from qexp.assemble.transforms import transforms_of
from qexp.datasets.transforms.transform import Transform
from qexp.errors import DamagedError
from qexp.limits import limits_of
from qexp.networks import checkpoint
from qexp.networks.estimator import Inversion
from qexp.networks.heads import HeadEntry
from qexp.networks.modules import JoiningEntry, MatchedFilters
from qexp.networks.network import Branch, Network, Operation, initialise, learned
from qexp.networks.shapes import Shape, from_spec, written
from qexp.seeds import Seeds
from qexp.spec.finding import Finding
from qexp.tables import Table, Tables

Document = dict[str, Any]


def network_of(document: Document, inputs: Iterable[str], outputs: Iterable[str], tables: Tables) -> Network:
    """The network of a checked model document, laid out without allocating its weights. Raises BranchError."""
    sizes: dict[str, Shape] = {name: from_spec(document["inputs"][name]["size"]) for name in inputs}
    operations = {name: _operation(value, tables["modules"]) for name, value in document["operations"].items()}
    branches = [
        Branch(
            _names(branch["x_name"]),
            _names(branch["y_name"]),
            tuple(branch["operations"]),
        )
        for branch in document["branches"]
    ]
    return Network(sizes, list(outputs), operations, branches)


def in_batches(document: Document, network: Network, sizes: Collection[int]) -> Iterator[Finding]:
    """Whether an epoch ends with a batch of one sample, on which a layer of the network cannot be trained.

    sizes  numbers of training samples of the networks that are trained
    """
    alone = sorted(size for size in sizes if size % document["batch_size"] == 1)
    if alone and _normalises_over_samples(network):
        yield (
            ("batch_size",),
            f"the last of the batches of {alone[0]:,} samples has a single sample, which a 'batch_norm' cannot "
            "normalise; choose another size",
        )


def _normalises_over_samples(network: Network) -> bool:
    """Whether some layer cannot be trained on a single sample."""
    samples = {name: torch.empty(1, *shape, device="meta") for name, shape in network.inputs.items()}
    network.train()
    try:
        with torch.no_grad():
            network(samples)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return True
    finally:
        network.eval()
    return False


def learned_in(spec: Document, modules: Table) -> dict[str, tuple[str, ...]]:
    """What has a loss of its own in a checked experience; see `Network.learned`."""
    return learned(spec["outputs"], heads_in(spec["model"], modules))


def heads_in(model: Document, modules: Table) -> dict[str, tuple[str, ...]]:
    """The posterior heads of a checked model document: operation → its outputs."""
    return {
        name: _names(branch["y_name"])
        for branch in model["branches"]
        for name in branch["operations"]
        if isinstance(modules[model["operations"][name]["module"]], HeadEntry)
    }


def _names(value: str | list[str]) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _operation(description: Document, modules: Table) -> Operation:
    entry, parameters = modules[description["module"]], description.get("parameters", {})

    def build(*context: Any) -> torch.nn.Module:
        module = entry.build(*context, **parameters)
        assert isinstance(module, torch.nn.Module)
        return module

    l2 = float(parameters.get("l2", 0.0))
    return Operation(build, isinstance(entry, JoiningEntry), l2, isinstance(entry, HeadEntry))


def model_of(spec: Document, tables: Tables) -> Inversion:
    """The network of a resolved experience and its transforms; weights have no values yet."""
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    return Inversion(network, transforms_of(spec, tables), limits_of(spec))


def trained_model(spec: Document, tables: Tables, weights: Mapping[str, torch.Tensor], file: Path) -> Inversion:
    """A model with weights from a file, ready to predict. Raises DamagedError if they do not belong to it."""
    model = model_of(spec, tables)
    initialise(model.network, Seeds(0))  # allocates memory; the values come from `weights`
    checkpoint.load(model, weights, file)
    for name, transform in model.transforms.items():
        assert isinstance(transform, Transform)
        shape = model.network.inputs.get(name) or model.network.shapes[name]
        if not _makes(transform, shape):  # fitted values may have any number of channels
            raise DamagedError(f"{file} is damaged: the transform of '{name}' was not fitted to {written(shape)}")
    return model.eval()


def _makes(transform: Transform, shape: Shape) -> bool:
    """Whether transformed values have a shape."""
    before = (shape[0] // transform.numbers, *shape[1:])
    try:
        return tuple(transform(torch.ones(1, *before)).shape[1:]) == tuple(shape)
    except RuntimeError:
        return False


def matched_filters(network: Network) -> list[tuple[MatchedFilters, str]]:
    """The network's matched filters, each with its input variable; a branch may have no operations at all."""
    return [
        (operation, branch.sources[0])
        for branch in network.branches
        for name in branch.operations[:1]
        if isinstance(operation := network.operations[name], MatchedFilters)
    ]

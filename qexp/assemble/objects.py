"""Objects made of documents that have been checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from qexp.assemble.datasets import Dataset, Document, generated_of
from qexp.assemble.fields import divided
from qexp.assemble.spectra import hidden_of, samples_of
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.gridded import GriddedDataset
from qexp.datasets.gridded.samples import PatchSamples
from qexp.datasets.spectra import SpectraDataset
from qexp.datasets.transforms.transform import Transform
from qexp.errors import DamagedError, QexpError
from qexp.metrics.built_in import asked_for
from qexp.metrics.metric import Metric
from qexp.models.inversion import Inversion
from qexp.models.modules import JoiningEntry
from qexp.models.modules.matched_filters import MatchedFilters
from qexp.models.network import Branch, Network, Operation, initialise
from qexp.models.shapes import Shape, from_spec, written
from qexp.seeds import Seeds
from qexp.tables import Table, Tables, built
from qexp.training import checkpoint
from qexp.training.recipe import Data, DrawnData, Recipe


def network_of(document: Document, inputs: Iterable[str], outputs: Iterable[str], tables: Tables) -> Network:
    """The network of a checked model document, laid out without memory. Raises BranchError."""
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


def _names(value: str | list[str]) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _operation(description: Document, modules: Table) -> Operation:
    entry, parameters = modules[description["module"]], description.get("parameters", {})

    def build(shape: Shape | list[Shape]) -> torch.nn.Module:
        module = entry.build(shape, **parameters)
        assert isinstance(module, torch.nn.Module)
        return module

    return Operation(build, isinstance(entry, JoiningEntry), float(parameters.get("l2", 0.0)))


def model_of(spec: Document, tables: Tables) -> Inversion:
    """The network of a resolved experience and its transforms; weights have no values yet."""
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    return Inversion(network, transforms_of(spec, tables))


def transforms_of(spec: Document, tables: Tables) -> dict[str, Transform]:
    """Variable → its transform, not fitted yet."""
    return {name: built(tables["transforms"], value) for name, value in spec["transforms"].items()}


def trained_model(spec: Document, tables: Tables, weights: Mapping[str, torch.Tensor], file: Path) -> Inversion:
    """A model with weights that were kept in a file, ready to predict. Raises DamagedError if they are not its own."""
    model = model_of(spec, tables)
    initialise(model.network, Seeds(0))  # gives it memory; the values come from `weights`
    checkpoint.load(model, weights, file)
    for name, transform in model.transforms.items():
        shape = model.network.inputs.get(name) or model.network.shapes[name]
        if not _keeps(transform, shape):  # what was fitted has room for any number of channels
            raise DamagedError(f"{file} is damaged: the transform of '{name}' was not fitted to {written(shape)}")
    return model.eval()


def _keeps(transform: torch.nn.Module, shape: Shape) -> bool:
    """Whether values of a shape have it still when they are transformed."""
    try:
        return tuple(transform(torch.ones(1, *shape)).shape[1:]) == tuple(shape)
    except RuntimeError:
        return False


def initial_model(spec: Document, tables: Tables, seeds: Seeds) -> Inversion:
    """A model with its first weights."""
    model = model_of(spec, tables)
    initialise(model.network, seeds)
    for operation, image in matched_filters(model.network):
        operation.match(*generated_of(spec["dataset"], tables).templates(image, operation.variable, operation.values))
    return model


def matched_filters(network: Network) -> list[tuple[MatchedFilters, str]]:
    """The network's matched filters, each with the variable that it sees."""
    return [
        (operation, branch.sources[0])
        for branch in network.branches
        if isinstance(operation := network.operations[branch.operations[0]], MatchedFilters)
    ]


def metrics_of(spec: Document, tables: Tables) -> dict[str, dict[str, Metric]]:
    """output → the metrics that are reported of it."""
    return {
        output: {name: tables["metrics"][name].build() for name in asked_for(spec["metrics"].get(output, []))}
        for output in spec["outputs"]
    }


def meanings_of(spec: Document, tables: Tables) -> dict[str, dict[str, Any]]:
    """How the numbers of all metrics of an experience are read, as its runs record it."""
    metrics = metrics_of(spec, tables)
    return {name: metric.meaning.document() for output in metrics.values() for name, metric in output.items()}


def recipe_of(spec: Document, tables: Tables) -> Recipe:
    optimizer, pretrain = spec["optimizer"], spec["pretrain"]
    build_optimizer: Callable[..., torch.optim.Optimizer] = tables["optimizers"][optimizer["type"]].build
    return Recipe(
        losses={name: built(tables["losses"], spec["losses"][name]) for name in spec["outputs"]},
        metrics=metrics_of(spec, tables),
        optimizer=partial(build_optimizer, **optimizer["parameters"]),
        learning_rate=float(spec["learning_rate"]),
        schedule=built(tables["schedules"], spec["schedule"]),
        epochs=int(spec["epochs"]),
        batch_size=int(spec["batch_size"]),
        callbacks=[built(tables["callbacks"], value) for value in spec["additional_callbacks"]],
        gradient_clip=spec["gradient_clip"],
        precision=spec["precision"],
        keep=spec["keep"],
        layer_decay=float(spec.get("layer_decay", 1.0)),  # which experiences on rows have not
        frozen=pretrain["freeze"] if pretrain else (),
        epochs_frozen=pretrain["epochs_frozen"] if pretrain else None,
    )


def data_of(spec: Document, dataset: Dataset, tables: Tables, seeds: Seeds, device: torch.device) -> Data:
    """Of a dataset that is simulated, gridded or of spectra: training samples on demand, the others drawn once."""
    if isinstance(dataset, SpectraDataset):
        network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
        return samples_of(spec, dataset, hidden_of(network), tables, seeds, device)
    if isinstance(dataset, GriddedDataset):
        return _patches_of(spec, dataset, tables, seeds, device)
    assert isinstance(dataset, GeneratedDataset)
    return _drawn_of(spec, dataset, seeds, device)


def _drawn_of(spec: Document, dataset: GeneratedDataset, seeds: Seeds, device: torch.device) -> Data:
    parts = dataset.parts(spec["split"], seeds)
    train, validation, test = (int(size) for size in spec["sizes"])
    return DrawnData(
        train=lambda epoch: dataset.sample(parts["train"], train, seeds, ("train", epoch), device),
        validation=dataset.sample(parts["validation"], validation, seeds, ("validation",), device),
        test=dataset.sample(parts["test"], test, seeds, ("test",), device),
        train_size=train,
    )


def _patches_of(
    spec: Document, dataset: GriddedDataset, tables: Tables, seeds: Seeds, device: torch.device
) -> PatchSamples:
    train, validation = divided(spec["split"], dataset, tables, seeds)
    counts = None if spec["patches"] is None else (int(spec["patches"][0]), int(spec["patches"][1]))
    return PatchSamples(dataset, train, validation, counts, seeds, device)


def fit_transforms(model: Inversion, data: Data, known: Collection[str] = ()) -> None:
    """Fit the transforms that adapt, to training samples alone; but those of `known` variables."""
    samples: Mapping[str, torch.Tensor] | None = None
    for name, transform in model.transforms.items():
        assert isinstance(transform, Transform)
        if name not in known and type(transform).fit is not Transform.fit:
            samples = samples or data.to_fit()
            transform.fit(samples[name])


def require_device_name(name: str) -> None:
    """Raises QexpError for what is the name of no device, here or elsewhere."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise QexpError(f"--device {name}: no such device; use auto, cpu or cuda")


def device_of(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda`. Raises QexpError if there is no such device."""
    require_device_name(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise QexpError("--device cuda: there is no GPU that torch can use here; try --device cpu")
    if name.startswith("cuda:") and int(name[5:]) >= torch.cuda.device_count():
        raise QexpError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, counted from 0")
    return torch.device(name)

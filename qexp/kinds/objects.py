"""Objects made of documents that have been checked: datasets, models with weights, recipes,
samples, devices.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import torch

from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds.kind import Dataset, KindData
from qexp.kinds.networks import heads_in, metrics_of, model_of, network_of
from qexp.networks.estimator import BATCH, Estimator
from qexp.networks.modules import MatchedFilters
from qexp.networks.network import initialise, learned, operations_per_sample
from qexp.networks.optimizers import over_run
from qexp.networks.training import Recipe
from qexp.networks.transforms import Transform
from qexp.spec.kinds import filled_in, load_stage
from qexp.spec.reading import Document
from qexp.store.provenance import usable_cores


def data_kind(dataset: Mapping[str, Any]) -> KindData[Any]:
    """What makes datasets and samples of a dataset's kind, by its document."""
    data: KindData[Any] = load_stage(dataset, "data")
    return data


def dataset_of(document: Document, tables: Tables, workspace: Workspace | None = None) -> Dataset:
    """The dataset of a checked document, in short or long form, with all defaults or without some.

    workspace  searched for its files, besides the path recorded in the document and `QEXP_DATA`
    Raises DatasetError.
    """
    dataset: Dataset = data_kind(document).dataset(filled_in(document), tables, workspace)
    return dataset


def initial_model(spec: Document, tables: Tables, seeds: Seeds) -> Estimator:
    """A model with its random initialisation."""
    model = model_of(spec, tables)
    initialise(model.network, seeds)
    for branch in model.network.branches:
        for name in branch.operations[:1]:  # a branch may have none at all
            if isinstance(filters := model.network.operations[name], MatchedFilters):
                data_kind(spec["dataset"]).match_filters(
                    filters, branch.sources[0], spec["dataset"], tables
                )
    return model


def recipe_of(spec: Document, tables: Tables) -> Recipe:
    optimizer = spec["optimizer"]
    pretrain = spec["pretrain"]
    epochs = int(spec["epochs"])
    build_optimizer: Callable[..., torch.optim.Optimizer] = tables["optimizers"][
        optimizer["type"]
    ].build
    return Recipe(
        losses={
            name: built(tables["losses"], spec["losses"][outputs[0]])
            for name, outputs in learned(
                spec["outputs"], heads_in(spec["model"], tables["modules"])
            ).items()
        },
        metrics=metrics_of(spec, tables),
        optimizer=partial(build_optimizer, **optimizer["parameters"]),
        learning_rate=float(spec["learning_rate"]),
        schedule=over_run(built(tables["schedules"], spec["schedule"]), epochs),
        epochs=epochs,
        batch_size=int(spec["batch_size"]),
        callbacks=[built(tables["callbacks"], value) for value in spec["additional_callbacks"]],
        gradient_clip=spec["gradient_clip"],
        precision=spec["precision"],
        keep=spec["keep"],
        layer_decay=float(spec.get("layer_decay", 1.0)),  # which experiences on rows have not
        frozen=pretrain["freeze"] if pretrain else (),
        epochs_frozen=pretrain["epochs_frozen"] if pretrain else None,
    )


def fit_transforms(
    model: Estimator,
    to_fit: Callable[[], Mapping[str, torch.Tensor]],
    fitted_before: Collection[str] = (),
) -> list[str]:
    """Fit the adaptive transforms to training samples, except those of some variables. Returns the
    variables.

    to_fit  makes the samples, if a transform needs them
    """
    samples: Mapping[str, torch.Tensor] | None = None
    fitted = []
    for name, transform in model.transforms.items():
        if name not in fitted_before and type(transform).fit is not Transform.fit:
            samples = samples or to_fit()
            values = samples[name]
            if values.dim() == 2 and (lacking := torch.isnan(values).all(dim=1)).any():
                values = values[~lacking]  # samples without this output
            transform.fit(values)
            fitted.append(name)
    return fitted


def require_device_name(name: str) -> None:
    """Raises QexpError if the name is not that of a device, on this or any other machine."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise QexpError(f"`device={name}`: no such device; use auto, cpu or cuda")


def device_of(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda`. Raises QexpError if there is no such device."""
    require_device_name(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise QexpError("`device=cuda`: torch finds no usable GPU here; try `device=cpu`")
    if name.startswith("cuda:") and int(name[5:]) >= torch.cuda.device_count():
        raise QexpError(
            f"`device={name}`: there are {torch.cuda.device_count()} GPUs, counted from 0"
        )
    return torch.device(name)


# The number of threads that a network uses, in training and in prediction.


SMALL_BATCH = 1e8
"""Floating-point operations in the forward pass of a batch below which a second thread slows it
down.
"""


def threads_for(spec: Document, tables: Tables, batch_size: int | None = None) -> int:
    """The number of threads to use in training; it depends only on the spec and on the machine's
    settings.

    Threads wait for each other at the end of every operation. With short operations that takes most
    of the time, and on a busy machine nearly all of it: a small network then trains ten times as
    fast on one thread. `OMP_NUM_THREADS` is respected. Stacks of networks have one thread each;
    several cores train several stacks.

    batch_size  samples that go through the network at a time; that of the spec, for training, if
                left out
    """
    available = torch.get_num_threads()
    if data_kind(spec["dataset"]).several_networks:
        return 1
    if "OMP_NUM_THREADS" in os.environ or available == 1:
        return available
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    operations = operations_per_sample(network) * (batch_size or spec["batch_size"])
    return 1 if operations < SMALL_BATCH else available


def threads_to_predict(spec: Document, tables: Tables, device: torch.device) -> int:
    """The number of threads to use in prediction, where batches have another size.

    Rows of files are estimated several chunks at a time, each on one core.
    """
    if device.type != "cpu" or data_kind(spec["dataset"]).several_networks:
        return torch.get_num_threads()
    return threads_for(spec, tables, BATCH)


def batches_at_once() -> int:
    """How many batches to estimate at a time, each with the present number of threads; on all
    cores.
    """
    cores = os.environ.get("OMP_NUM_THREADS") or usable_cores() or 1
    return max(int(cores) // torch.get_num_threads(), 1)

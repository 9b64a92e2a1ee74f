"""An epoch against a bare torch loop, and a matrix against a bare forward pass: what management costs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks.timing import Comparison, at_most
from qexp import assemble
from qexp.analysis import matrix
from qexp.runs.catalog import Catalog
from qexp.seeds import Seeds
from qexp.training.loop import Trainer
from qexp.workspace import find


class Deaf:
    """A listener that does nothing."""

    def batch_done(self, *_: Any) -> None: ...
    def epoch_done(self, *_: Any) -> None: ...
    def checkpoint_written(self, *_: Any) -> None: ...


def measure() -> list[Comparison]:
    return [
        *(epoch(name) for name in ("mogi_cnn", "mogi_standard")),
        *(forward(f"bench_{name}_brief") for name in ("mogi_cnn", "mogi_standard")),
    ]


def epoch(name: str) -> Comparison:
    """Same network, batches, optimizer and validation samples; the bare loop reports the two mean absolute errors."""
    spec = assemble.experience(name, [], find()).document
    tables, seeds, device = assemble.BUILT_IN, Seeds(0), torch.device("cpu")
    data = assemble.data_of(spec, assemble.dataset_of(spec["dataset"], tables), seeds, device)
    trainer = Trainer(
        assemble.initial_model(spec, tables, seeds), data, assemble.recipe_of(spec, tables), seeds, device,
        Path(tempfile.mkdtemp()),
    )  # fmt: skip
    bare = assemble.initial_model(spec, tables, seeds)
    network, size = bare.network, int(spec["batch_size"])
    optimizer = assemble.recipe_of(spec, tables).optimizer(list(network.parameters()), spec["learning_rate"])
    outputs = spec["outputs"]

    def managed_epoch() -> None:
        trainer.progress.epoch = 1
        trainer.train_epoch(Deaf(), lambda: False)
        trainer.close_epoch()

    def bare_epoch() -> None:
        with torch.no_grad():
            samples = data.train(1)
            images = bare.transformed("displacement", samples["displacement"])
            truths = {output: bare.transformed(output, samples[output]) for output in outputs}
        network.train()
        for start in range(0, data.train_size, size):
            made = network({"displacement": images[start : start + size]})
            loss = sum(functional.l1_loss(made[output], truths[output][start : start + size]) for output in outputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            estimates = bare(data.validation)
            for output in outputs:
                functional.l1_loss(estimates[output], data.validation[output]).item()

    return at_most(f"an epoch of {name} over a bare loop", managed_epoch, bare_epoch, 1.15)


def forward(run: str) -> Comparison:
    """16,384 cells simulated and estimated, against the network alone on images that are already there."""
    workspace = find()
    directory = Catalog(workspace).find(run)
    device = torch.device("cpu")
    model = matrix.load_model(directory, device)
    tables = assemble.BUILT_IN
    name, document = assemble.dataset_document("mogi_test", workspace, tables)
    source = assemble.dataset_of(document, tables)
    grid = matrix.axes_of(document, name)
    held = matrix.held_values(source, grid, {}, list(model.network.outputs))
    cells = [one.centres for one in grid]
    depth, volume = (axis.ravel() for axis in torch.meshgrid(*map(torch.from_numpy, cells), indexing="ij"))
    images = source.observe({"depth": depth.numpy(), "delta_volume": volume.numpy()}, torch.Generator())
    only = {"displacement": images["displacement"]}

    def whole() -> object:
        return matrix.estimate_cells(model, source, grid, held, 1, Seeds(0), device)

    def bare() -> object:
        return model.estimate(only, matrix.BLOCK)

    return at_most(f"a 128 x 128 matrix of {run} over a bare forward pass", whole, bare, 1.15, repeats=3)

"""An epoch against a bare torch loop, and a matrix against a bare forward pass: what management costs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.timing import Comparison, at_most
from qexp import assemble
from qexp.analysis import matrix
from qexp.models.inversion import BATCH
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
        forward("mogi_cnn_brief", batch_size=1024),
        forward("mogi_cnn_brief"),
        forward("mogi_standard_brief", cells=32, repeats=3),
    ]


def epoch(name: str) -> Comparison:
    """Same network, batches, optimizer and validation samples; the bare loop reports the two mean absolute errors."""
    spec = assemble.experience(name, [], find()).document
    tables, seeds, device = assemble.BUILT_IN, Seeds(0), torch.device("cpu")
    data = assemble.data_of(spec, assemble.dataset_of(spec["dataset"], tables), tables, seeds, device)
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


def forward(run: str, batch_size: int = BATCH, cells: int = 128, repeats: int = 9) -> Comparison:
    """Cells simulated and estimated, against the network alone, in batches, on images that are already there."""
    workspace = find()
    directory = Catalog(workspace).find(run)
    device = torch.device("cpu")
    model = matrix.load_model(directory, device)
    tables = assemble.BUILT_IN
    name, document = assemble.dataset_document("mogi_test", workspace, tables)
    source = assemble.dataset_of(document, tables)
    grid = [replace(axis, cells=cells) for axis in matrix.axes_of(document, name)]
    held = matrix.held_values(source, grid, {}, list(model.network.outputs))
    depth, volume = (part.ravel() for part in np.meshgrid(*(axis.centres for axis in grid), indexing="ij"))
    images = source.observe({"depth": depth, "delta_volume": volume}, torch.Generator())
    only = {"displacement": images["displacement"]}

    def whole() -> object:
        return matrix.estimate_cells(model, source, grid, held, 1, Seeds(0), device)

    def bare() -> object:
        return model.estimate(only, batch_size)

    title = f"a {cells} x {cells} matrix of {run} over a bare forward pass in batches of {batch_size}"
    return at_most(title, whole, bare, 1.15, repeats=repeats)

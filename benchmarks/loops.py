"""An epoch against a bare torch loop, and a matrix against a bare forward pass: the cost of
management.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from benchmarks.bare_loop import SideBySide, trainer_of
from benchmarks.timing import Comparison, at_least, at_most
from qexp.base.machine import threads
from qexp.base.seeds import Seeds
from qexp.base.workspace import find
from qexp.kinds.experiments import SpecCache, experience, open_dataset
from qexp.kinds.networks import load_model
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import BUILT_IN
from qexp.networks.estimator import BATCH
from qexp.networks.trainer_stack import Member, TrainerStack
from qexp.networks.training import TrainingListener
from qexp.runs.catalog import Catalog, find_run
from qexp.trust import matrix


def measure() -> list[Comparison]:
    return [
        *(epoch(name) for name in ("mogi_cnn", "mogi_standard")),
        *(stack(name, limit) for name, limit in (("mogi_quick", 1.3), ("mogi_cnn", 1.5))),
        forward("mogi_cnn_brief", batch_size=1024),
        forward("mogi_cnn_brief"),
        forward("mogi_standard_brief", cells=32, repeats=3),
    ]


def epoch(name: str) -> Comparison:
    """The bare loop makes and transforms the samples of its epoch, too."""
    pair = SideBySide(name, functional.l1_loss)

    def bare_epoch() -> None:
        with torch.no_grad():
            ready = pair.transformed(pair.data.train(1))
        pair.bare_steps(ready)
        pair.bare_validation()

    return at_most(f"an epoch of {name} over a bare loop", pair.managed_epoch, bare_epoch, 1.15)


def stack(name: str, limit: float, size: int = 8, epochs: int = 3) -> Comparison:
    """Seeds trained side by side, and one after another, each from its first samples to its last
    checkpoint.
    """
    spec = experience(name, {"epochs": epochs}, find()).document

    def side_by_side() -> None:
        members = [
            Member(seed, trainer_of(spec, seed), "", TrainingListener(), lambda: False, nullcontext)
            for seed in range(size)
        ]
        TrainerStack(members, size, Seeds(0), lambda member, error: None).run()

    def alone() -> None:
        for seed in range(size):
            trainer_of(spec, seed).run(TrainingListener(), lambda: False)

    with threads(1):
        return at_least(
            f"{size} seeds of {name} in a stack over one after another",
            side_by_side,
            alone,
            limit,
            5,
        )


def forward(run: str, batch_size: int = BATCH, cells: int = 128, repeats: int = 9) -> Comparison:
    """Cells simulated and estimated, against the network alone, in batches, on images that are
    already there.
    """
    workspace = find()
    directory = find_run(run, Catalog(workspace))
    device = torch.device("cpu")
    model = load_model(directory, device)
    tables = BUILT_IN
    name, document, _ = open_dataset("mogi_test", SpecCache(tables, workspace))
    source = dataset_of(document, tables)
    grid = [replace(axis, cells=cells) for axis in matrix.matrix_axes(document, name)]
    values = matrix.constant_values(source, grid, {})
    depth, volume = (
        part.ravel() for part in np.meshgrid(*(axis.centres for axis in grid), indexing="ij")
    )
    images = source.observe({"depth": depth, "delta_volume": volume}, torch.Generator())
    only = {"displacement": images["displacement"]}

    def with_qexp() -> object:
        return matrix.estimate_cells(model, source, grid, values, 1, Seeds(0), device)

    def bare() -> object:
        return model.estimate(only, batch_size)

    title = (
        f"a {cells} x {cells} matrix of {run} over a bare forward pass in batches of {batch_size}"
    )
    return at_most(title, with_qexp, bare, 1.15, repeats=repeats)

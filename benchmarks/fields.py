"""Patches against tensors that are ready, and an emulator against the solver that made its data."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional

from benchmarks.loops import Deaf
from benchmarks.timing import Comparison, at_most
from qexp import assemble
from qexp.seeds import Seeds
from qexp.synthetic.glaciers import glacier
from qexp.synthetic.ice import Options, fields, grow
from qexp.synthetic.ice_folders import write
from qexp.training.loop import Trainer
from qexp.workspace import find

CPU = torch.device("cpu")
OPTIONS = Options()
FRAMES = 20


@dataclass(frozen=True)
class Speed:
    """Seconds per frame of OPTIONS.size² cells."""

    steps: float
    """Of the solver, from one frame to the next."""
    velocities: float
    """Of the shallow-ice formula, from thickness and slope."""
    coupled: float
    """The same with each cell's flux dealt out over its neighbours."""
    emulators: dict[str, float]


def measure() -> list[Comparison]:
    write(find().root / "data/ice", OPTIONS, glaciers=4, test=1)
    return [epoch(name) for name in ("ice_cnn", "ice_unet", "dle_cnn")]


def epoch(name: str) -> Comparison:
    """Same network, optimizer, batches and validation; the bare loop has all patches of the epoch ready in memory."""
    spec = assemble.experience(name, ["patches=[512,128]"], find()).document
    tables, seeds = assemble.BUILT_IN, Seeds(0)
    data = assemble.data_of(spec, assemble.dataset_of(spec["dataset"], tables), tables, seeds, CPU)
    recipe = assemble.recipe_of(spec, tables)
    trainer = Trainer(assemble.initial_model(spec, tables, seeds), data, recipe, seeds, CPU, Path(tempfile.mkdtemp()))
    bare = assemble.initial_model(spec, tables, seeds)
    network, size, outputs = bare.network, int(spec["batch_size"]), spec["outputs"]
    optimizer = recipe.optimizer(list(network.parameters()), spec["learning_rate"])
    batch = data.epoch(1, data.train_size, lambda samples: samples)
    ready = {name: bare.transformed(name, values).contiguous() for name, values in batch(0).items()}

    def managed_epoch() -> None:
        trainer.progress.epoch = 1
        trainer.train_epoch(Deaf(), lambda: False)
        trainer.close_epoch()

    def bare_epoch() -> None:
        network.train()
        for start in range(0, data.train_size, size):
            some = {name: values[start : start + size] for name, values in ready.items()}
            made = network({name: some[name] for name in network.inputs})
            loss = sum(functional.l1_loss(made[output], some[output]) for output in outputs)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), spec["gradient_clip"] or 1e9)
            optimizer.step()
        network.eval()
        with torch.no_grad():
            estimates = bare(data.validation)
            for output in outputs:
                functional.l1_loss(estimates[output], data.validation[output]).item()

    return at_most(f"an epoch of {name} over a bare loop", managed_epoch, bare_epoch, 1.15, repeats=5)


def speed() -> Speed:
    """What one frame costs each of them, on one thread; medians."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = glacier(Seeds(OPTIONS.seed), 0, OPTIONS.size, OPTIONS.spacing, OPTIONS.arrhenius, OPTIONS.sliding)
        started = time.perf_counter()
        states = list(grow(made, OPTIONS.spacing, FRAMES))
        steps = (time.perf_counter() - started) / FRAMES
        local, coupled = (
            median(_seconds(lambda state=state, by=by: fields(made, state, OPTIONS.spacing, by)) for state in states)
            for by in (None, 4.0)
        )
        return Speed(steps, local, coupled, {name: _emulator(name) for name in ("ice_cnn", "ice_unet", "dle_cnn")})
    finally:
        torch.set_num_threads(threads)


def _emulator(name: str) -> float:
    spec = assemble.experience(name, [], find()).document
    model = assemble.initial_model(spec, assemble.BUILT_IN, Seeds(0))
    frame = {one: torch.rand(1, 1, OPTIONS.size, OPTIONS.size) for one in model.network.inputs}
    model.estimate(frame)
    return median(_seconds(lambda: model.estimate(frame)) for _ in range(FRAMES))


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

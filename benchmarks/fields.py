"""Patches against tensors that are ready, and an emulator against the solver that made its data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.nn import functional

from benchmarks.bare_loop import SideBySide
from benchmarks.timing import Comparison, at_most
from qexp.base.seeds import Seeds
from qexp.base.workspace import find
from qexp.kinds.experiments import experience
from qexp.kinds.objects import initial_model
from qexp.kinds.tables import BUILT_IN
from qexp.synthetic.ice import fields, glacier, grow, write
from qexp.synthetic.options import Glaciers

OPTIONS = Glaciers()
FRAMES = 20


@dataclass(frozen=True)
class Speed:
    """Seconds per frame of OPTIONS.size² cells."""

    steps: float
    """Seconds of the solver, from one frame to the next."""
    velocities: float
    """Seconds of the shallow-ice formula, from thickness and slope."""
    coupled: float
    """The same with the flux of each cell distributed over its neighbours."""
    emulators: dict[str, float]


def write_data() -> None:
    """Simulate glaciers for the experiences, in the workspace."""
    if not (find().root / "data/ice").exists():
        write(find().root / "data/ice", OPTIONS, glaciers=4, test=1)


def measure() -> list[Comparison]:
    write_data()
    return [epoch(name) for name in ("ice_cnn", "ice_unet", "dle_cnn")]


def epoch(name: str) -> Comparison:
    """The bare loop has all patches of the epoch ready in memory."""
    pair = SideBySide(name, functional.l1_loss, {"patches": [512, 128]})
    ready = pair.ready()

    def bare_epoch() -> None:
        pair.bare_steps(ready)
        pair.bare_validation()

    return at_most(f"an epoch of {name} over a bare loop", pair.managed_epoch, bare_epoch, 1.15, repeats=5)


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
    spec = experience(name, {}, find()).document
    model = initial_model(spec, BUILT_IN, Seeds(0))
    frame = {one: torch.rand(1, 1, OPTIONS.size, OPTIONS.size) for one in model.network.inputs}
    model.estimate(frame)
    return median(_seconds(lambda: model.estimate(frame)) for _ in range(FRAMES))


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

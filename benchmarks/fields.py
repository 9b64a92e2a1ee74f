"""Patches against tensors that are ready, and an emulator against the solver that made its data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch.nn import functional

from benchmarks.bare_loop import SideBySide
from benchmarks.timing import Comparison, at_most, seconds
from qexp.base.machine import threads
from qexp.base.seeds import Seeds
from qexp.base.workspace import find
from qexp.examples.ice import fields, glacier, grow, write
from qexp.examples.options import IceOptions
from qexp.kinds.experiments import experience
from qexp.kinds.objects import initial_model
from qexp.kinds.tables import BUILT_IN

OPTIONS = IceOptions("ice", glaciers=4, test=1)
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
        write(replace(OPTIONS, out=find().root / "data/ice"))


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

    return at_most(
        f"an epoch of {name} over a bare loop", pair.managed_epoch, bare_epoch, 1.15, repeats=5
    )


def speed() -> Speed:
    """What one frame costs each of them, on one thread; medians."""
    with threads(1):
        ice = glacier(
            Seeds(OPTIONS.seed),
            0,
            OPTIONS.size,
            OPTIONS.spacing,
            OPTIONS.arrhenius,
            OPTIONS.sliding,
        )
        states: list[Any] = []
        steps = seconds(lambda: states.extend(grow(ice, OPTIONS.spacing, FRAMES))) / FRAMES
        local, coupled = (
            median(
                seconds(lambda state=state, by=by: fields(ice, state, OPTIONS.spacing, by))
                for state in states
            )
            for by in (None, 4.0)
        )
        return Speed(
            steps,
            local,
            coupled,
            {name: _emulator(name) for name in ("ice_cnn", "ice_unet", "dle_cnn")},
        )


def _emulator(name: str) -> float:
    spec = experience(name, {}, find()).document
    model = initial_model(spec, BUILT_IN, Seeds(0))
    frame = {name: torch.rand(1, 1, OPTIONS.size, OPTIONS.size) for name in model.network.inputs}
    model.estimate(frame)
    return median(seconds(lambda: model.estimate(frame)) for _ in range(FRAMES))

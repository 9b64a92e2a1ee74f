"""Schedules: the learning rate over a run, as a factor of the spec's `learning_rate` at a progress from 0 to 1.

They depend on the progress or the number of the epoch alone, so that a resumed run needs no further state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from qexp.tables import Entry

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class ByEpoch:
    """A schedule that counts epochs: the factor is the same for all steps of an epoch.

    factor  epoch, from 0, and the number of epochs of the run → the factor
    """

    factor: Callable[[int, int], float]

    def over(self, epochs: int) -> Schedule:
        """The schedule of a run of so many epochs."""
        return lambda progress: self.factor(min(math.floor(progress * epochs), epochs - 1), epochs)


def over_run(schedule: Schedule | ByEpoch, epochs: int) -> Schedule:
    """What a builder of a schedule made, for a run of so many epochs."""
    return schedule.over(epochs) if isinstance(schedule, ByEpoch) else schedule


def constant() -> Schedule:
    """Always 1."""
    return lambda progress: 1.0


def cosine(final: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to `final` (Loshchilov and Hutter 2017, without restarts)."""
    return lambda progress: final + (1 - final) * _falling(progress)


def one_cycle(warm_up: float = 0.3, initial: float = 0.04, final: float = 4e-6) -> Schedule:
    """Half a cosine from `initial` up to 1 over the fraction `warm_up`, then one down to `final` (Smith 2018)."""

    def factor(progress: float) -> float:
        if progress < warm_up:
            return 1 - (1 - initial) * _falling(progress / warm_up)
        return final + (1 - final) * _falling((progress - warm_up) / (1 - warm_up))

    return factor


def warm_up_cosine(warm_up: float = 0.1, initial: float = 0.0, final: float = 0.0) -> Schedule:
    """Linear from `initial` up to 1 over the fraction `warm_up` of the run, then half a cosine down to `final`."""

    def factor(progress: float) -> float:
        if progress < warm_up:
            return initial + (1 - initial) * progress / warm_up
        return final + (1 - final) * _falling((progress - warm_up) / (1 - warm_up))

    return factor


def warm_up_level_cosine(
    warm_up_epochs: int = 5, initial: float = 0.5, level_epochs: int = 5, final: float = 0.0
) -> ByEpoch:
    """Linear from `initial` to 1 over some epochs, 1 for some more, then half a cosine down to `final`.

    The factor changes from epoch to epoch, as torch's LinearLR and CosineAnnealingLR in a SequentialLR have it. A run
    of fewer epochs ends on the way.
    """

    def factor(epoch: int, epochs: int) -> float:
        if epoch < warm_up_epochs:
            return initial + (1 - initial) * epoch / warm_up_epochs
        since, rest = epoch - warm_up_epochs - level_epochs, epochs - warm_up_epochs - level_epochs
        return 1.0 if since <= 0 else final + (1 - final) * _falling(since / rest)

    return ByEpoch(factor)


def _falling(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


FACTOR = {"type": "number", "minimum": 0, "maximum": 1}
EPOCHS = {"type": "integer", "minimum": 0}
WARM_UP = {
    "properties": {
        "warm_up": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "description": "fraction of the run in which the rate rises",
        },
        "initial": {**FACTOR, "description": "learning rate at the start, as a fraction of the peak"},
        "final": {**FACTOR, "description": "share of the learning rate at the end"},
    }
}

SCHEDULES: dict[str, Entry] = {
    "constant": Entry(constant, {}, "Constant learning rate.", {"type": "constant"}),
    "cosine": Entry(
        build=cosine,
        parameters={"properties": {"final": {**FACTOR, "description": "share of the learning rate at the end"}}},
        help="Half a cosine from the learning rate down to a fraction of it.",
        example={"type": "cosine", "parameters": {"final": 0.01}},
    ),
    "one_cycle": Entry(
        build=one_cycle,
        parameters=WARM_UP,
        help="Half a cosine up to the learning rate, then half a cosine down to nearly zero.",
        example={"type": "one_cycle", "parameters": {"warm_up": 0.25}},
    ),
    "warm_up_cosine": Entry(
        build=warm_up_cosine,
        parameters=WARM_UP,
        help="Linear rise to the learning rate, then half a cosine down to a fraction of it.",
        example={"type": "warm_up_cosine", "parameters": {"warm_up": 0.2, "final": 0.01}},
    ),
    "warm_up_level_cosine": Entry(
        build=warm_up_level_cosine,
        parameters={
            "properties": {
                "warm_up_epochs": {**EPOCHS, "description": "epochs in which the rate rises"},
                "initial": {**FACTOR, "description": "rate of the first epoch, as a fraction of the peak"},
                "level_epochs": {**EPOCHS, "description": "epochs at the peak, before the cosine"},
                "final": {**FACTOR, "description": "share of the learning rate at the end"},
            }
        },
        help="Linear rise and a level stretch, both in epochs, then half a cosine; steps from epoch to epoch.",
        example={"type": "warm_up_level_cosine", "parameters": {"warm_up_epochs": 5, "level_epochs": 5}},
    ),
}

"""Schedules: the factor of the spec's `learning_rate`, as a function of the progress of training from 0 to 1.

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
        """The schedule of a run with this number of epochs."""
        return lambda progress: self.factor(min(math.floor(progress * epochs), epochs - 1), epochs)


def over_run(schedule: Schedule | ByEpoch, epochs: int) -> Schedule:
    """A schedule as a builder returns it, for a run with this number of epochs."""
    return schedule.over(epochs) if isinstance(schedule, ByEpoch) else schedule


def constant() -> Schedule:
    """Always 1."""
    return lambda progress: 1.0


def cosine(final: float = 0.0) -> Schedule:
    """Cosine decay from 1 to `final` (Loshchilov and Hutter 2017, without restarts)."""
    return lambda progress: final + (1 - final) * _falling(progress)


def one_cycle(warm_up: float = 0.3, initial: float = 0.04, final: float = 4e-6) -> Schedule:
    """Cosine rise from `initial` to 1 over the fraction `warm_up`, then cosine decay to `final` (Smith 2018)."""

    def factor(progress: float) -> float:
        if progress < warm_up:
            return 1 - (1 - initial) * _falling(progress / warm_up)
        return final + (1 - final) * _falling((progress - warm_up) / (1 - warm_up))

    return factor


def warm_up_cosine(warm_up: float = 0.1, initial: float = 0.0, final: float = 0.0) -> Schedule:
    """Linear rise from `initial` to 1 over the fraction `warm_up` of the run, then cosine decay to `final`."""

    def factor(progress: float) -> float:
        if progress < warm_up:
            return initial + (1 - initial) * progress / warm_up
        return final + (1 - final) * _falling((progress - warm_up) / (1 - warm_up))

    return factor


def warm_up_level_cosine(
    warm_up_epochs: int = 5, initial: float = 0.5, level_epochs: int = 5, final: float = 0.0
) -> ByEpoch:
    """Linear rise from `initial` to 1 over some epochs, 1 for some more, then cosine decay to `final`.

    The factor changes between epochs only, as with torch's LinearLR and CosineAnnealingLR in a SequentialLR. A run with
    fewer epochs ends before the decay does.
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
            "description": "fraction of the training in which the learning rate rises",
        },
        "initial": {**FACTOR, "description": "learning rate at the start, as a fraction of the peak"},
        "final": {**FACTOR, "description": "learning rate at the end, as a fraction of the peak"},
    }
}

SCHEDULES: dict[str, Entry] = {
    "constant": Entry(constant, {}, "Constant learning rate.", {"type": "constant"}),
    "cosine": Entry(
        build=cosine,
        parameters={"properties": {"final": {**FACTOR, "description": "rate at the end, as a fraction of the peak"}}},
        help="Cosine decay from the learning rate to a fraction of it.",
        example={"type": "cosine", "parameters": {"final": 0.01}},
    ),
    "one_cycle": Entry(
        build=one_cycle,
        parameters=WARM_UP,
        help="One cycle: cosine rise to the learning rate, then cosine decay to nearly zero.",
        example={"type": "one_cycle", "parameters": {"warm_up": 0.25}},
    ),
    "warm_up_cosine": Entry(
        build=warm_up_cosine,
        parameters=WARM_UP,
        help="Linear warm-up to the learning rate, then cosine decay to a fraction of it.",
        example={"type": "warm_up_cosine", "parameters": {"warm_up": 0.2, "final": 0.01}},
    ),
    "warm_up_level_cosine": Entry(
        build=warm_up_level_cosine,
        parameters={
            "properties": {
                "warm_up_epochs": {**EPOCHS, "description": "epochs of warm-up"},
                "initial": {**FACTOR, "description": "rate of the first epoch, as a fraction of the peak"},
                "level_epochs": {**EPOCHS, "description": "epochs at the peak, before the decay"},
                "final": {**FACTOR, "description": "rate at the end, as a fraction of the peak"},
            }
        },
        help="Linear warm-up and a plateau, both in epochs, then cosine decay; the rate changes between epochs only.",
        example={"type": "warm_up_level_cosine", "parameters": {"warm_up_epochs": 5, "level_epochs": 5}},
    ),
}

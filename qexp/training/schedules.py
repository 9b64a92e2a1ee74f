"""Schedules: the learning rate over a run, as a factor of the spec's `learning_rate` at a progress from 0 to 1.

They depend on the progress alone, so that a resumed run needs no further state.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from qexp.tables import Entry

Schedule = Callable[[float], float]


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


def _falling(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


FACTOR = {"type": "number", "minimum": 0, "maximum": 1}
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
}

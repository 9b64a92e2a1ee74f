"""Optimizers, and schedules of their learning rate.

Their first step loads the compiler, only to tell it to leave them alone. That takes two thirds of a
second, a quarter of what a process takes to begin with training, and no optimizer of qexp is
compiled.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from qexp.base.tables import Entry, array, integer, number, properties

Kind = TypeVar("Kind", bound=type[Optimizer])


def uncompiled(kind: Kind) -> Kind:
    """An optimizer by the functions that torch wraps for its compiler, with the same numbers."""
    wrapped = {
        name: getattr(kind, name)
        for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    }
    functions = {name: inspect.unwrap(function) for name, function in wrapped.items()}
    step_with_gradients = inspect.unwrap(kind.step)

    def step(self: Optimizer, closure: None = None) -> None:
        with torch.no_grad():
            step_with_gradients(self, closure)

    return type(kind.__name__, (kind,), {**functions, "step": step})  # type: ignore[return-value]


# Optimizers. A builder gets the network's weights and the learning rate first, then the spec's
# parameters.

Weights = Sequence[Parameter] | Sequence[dict[str, Any]]
"""The weights that an optimizer trains, or groups of them as in torch."""


def adam(
    kind: type[torch.optim.Adam | torch.optim.AdamW],
    weights: Weights,
    learning_rate: float,
    /,
    betas: Sequence[float] = (0.9, 0.999),
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Adam; weight decay is added to the gradient (L2), or decoupled, with AdamW as `kind`."""
    first, second = map(float, betas)
    return uncompiled(kind)(
        weights,
        lr=learning_rate,
        betas=(first, second),
        eps=epsilon,
        weight_decay=weight_decay,
        fused=True,
    )


def sgd(
    weights: Weights,
    learning_rate: float,
    /,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, optionally with momentum.

    Raises ValueError for `nesterov` without it.
    """
    if nesterov and momentum <= 0:
        raise ValueError("'nesterov' needs a 'momentum' greater than 0")
    return uncompiled(torch.optim.SGD)(
        weights,
        lr=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=True,
    )


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): orthogonalised momentum, equal step length in every singular
    direction.

    torch's Muon for matrices; AdamW, at a share of the learning rate, for all other parameters
    (biases, norms).
    """

    def __init__(
        self,
        weights: Weights,
        learning_rate: float,
        /,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        rate_of_others: float = 0.1,
    ) -> None:
        groups: list[dict[str, Any]] = []
        for given in weights:
            group: dict[str, Any] = given if isinstance(given, dict) else {"params": [given]}
            for of_matrices, share in ((True, 1.0), (False, rate_of_others)):
                chosen = [each for each in group["params"] if (each.ndim == 2) is of_matrices]
                factor = group.get("factor", 1.0) * share
                about = {"factor": factor, "of_matrices": of_matrices, "lr": learning_rate * factor}
                if chosen:
                    groups.append({**group, "params": chosen, **about})
        super().__init__(groups, {})
        matrices = self._groups(True)
        others = self._groups(False)
        self._inner: list[tuple[bool, torch.optim.Optimizer]] = []
        if matrices:
            muon = uncompiled(torch.optim.Muon)(
                matrices, learning_rate, weight_decay=weight_decay, momentum=momentum
            )
            self._inner.append((True, muon))
        if others:
            adamw = uncompiled(torch.optim.AdamW)(others, weight_decay=weight_decay, fused=True)
            self._inner.append((False, adamw))

    def _groups(self, of_matrices: bool) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group["of_matrices"] is of_matrices]

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no optimizer here takes a closure
        for of_matrices, inner in self._inner:
            # Loading a checkpoint replaced the dictionaries that were shared with the two
            # optimizers.
            inner.param_groups = self._groups(of_matrices)
            inner.state = self.state
            inner.step()


BETAS = array(
    number(least=0, below=1), "decay of the running means of the gradient and of its square", 2, 2
)
EPSILON = number(
    "added to the root of the mean square, so that nothing is divided by zero", above=0
)
DECAY = number("in every step weights shrink by this times the learning rate", least=0)
ADDED_DECAY = {**DECAY, "description": "this factor times the weight is added to its gradient"}
MOMENTUM = number("share of the last step's direction that is kept", least=0, below=1)

OF_MATRICES = ("muon",)
"""Optimizers that treat a weight as a matrix; others update each number independently."""

OPTIMIZERS: dict[str, Entry] = {
    "adam": Entry(
        build=partial(adam, torch.optim.Adam),
        parameters=properties(betas=BETAS, epsilon=EPSILON, weight_decay=ADDED_DECAY),
        help="Adam (Kingma and Ba 2015).",
        example={"type": "adam"},
    ),
    "adamw": Entry(
        build=partial(adam, torch.optim.AdamW, weight_decay=0.01),
        parameters=properties(betas=BETAS, epsilon=EPSILON, weight_decay=DECAY),
        help="Adam with decoupled weight decay (Loshchilov and Hutter 2019).",
        example={"type": "adamw", "parameters": {"weight_decay": 0.01}},
    ),
    "muon": Entry.documented(
        uncompiled(Muon),
        {"type": "muon", "parameters": {"rate_of_others": 0.1}},
        momentum=MOMENTUM,
        weight_decay=DECAY,
        rate_of_others=number(
            "learning rate of AdamW for biases and norms, relative to that of the matrices", above=0
        ),
    ),
    "sgd": Entry.documented(
        sgd,
        {"type": "sgd", "parameters": {"momentum": 0.9, "nesterov": True}},
        momentum=MOMENTUM,
        nesterov={
            "type": "boolean",
            "description": "whether the gradient is looked up one step ahead (Nesterov)",
        },
        weight_decay=ADDED_DECAY,
    ),
}


# Schedules: the factor of the spec's `learning_rate`, as a function of the progress of training
# from 0 to 1.
#
# They depend on the progress or the number of the epoch alone, so that a resumed run needs no
# further state.

Schedule = Callable[[float], float]
"""Progress of training, from 0 to 1 → the factor of the learning rate."""


@dataclass(frozen=True)
class ByEpoch:
    """A schedule that counts epochs: the factor is the same for all steps of an epoch.

    factor  epoch, from 0, and the number of epochs of the run → the factor
    """

    factor: Callable[[int, int], float]


def over_run(schedule: Schedule | ByEpoch, epochs: int) -> Schedule:
    """A schedule as a builder returns it, for a run with this number of epochs."""
    if not isinstance(schedule, ByEpoch):
        return schedule
    return lambda progress: schedule.factor(min(math.floor(progress * epochs), epochs - 1), epochs)


def constant() -> Schedule:
    """Constant learning rate."""
    return lambda progress: 1.0


def cosine(final: float = 0.0) -> Schedule:
    """Cosine decay from the learning rate to a fraction of it.

    Loshchilov and Hutter (2017), without restarts.
    """
    return lambda progress: final + (1 - final) * _falling(progress)


def one_cycle(warm_up: float = 0.3, initial: float = 0.04, final: float = 4e-6) -> Schedule:
    """One cycle: cosine rise to the learning rate, then cosine decay to nearly zero.

    From `initial` to 1 over the fraction `warm_up`, then to `final` (Smith 2018).
    """

    def factor(progress: float) -> float:
        if progress < warm_up:
            return 1 - (1 - initial) * _falling(progress / warm_up)
        return final + (1 - final) * _falling((progress - warm_up) / (1 - warm_up))

    return factor


def warm_up_cosine(warm_up: float = 0.1, initial: float = 0.0, final: float = 0.0) -> Schedule:
    """Linear warm-up to the learning rate, then cosine decay to a fraction of it.

    From `initial` to 1 over the share `warm_up`, then to `final`.
    """

    def factor(progress: float) -> float:
        if progress < warm_up:
            return initial + (1 - initial) * progress / warm_up
        return final + (1 - final) * _falling((progress - warm_up) / (1 - warm_up))

    return factor


def warm_up_level_cosine(
    warm_up_epochs: int = 5, initial: float = 0.5, level_epochs: int = 5, final: float = 0.0
) -> ByEpoch:
    """Linear warm-up and a plateau, both in epochs, then cosine decay; the rate changes between
    epochs only.

    From `initial` to 1, then to `final`, as with torch's LinearLR and CosineAnnealingLR in a
    SequentialLR. A run with fewer epochs ends before the decay does.
    """

    def factor(epoch: int, epochs: int) -> float:
        if epoch < warm_up_epochs:
            return initial + (1 - initial) * epoch / warm_up_epochs
        level_end = warm_up_epochs + level_epochs
        if epoch <= level_end:
            return 1.0
        return final + (1 - final) * _falling((epoch - level_end) / (epochs - level_end))

    return ByEpoch(factor)


def _falling(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


FACTOR = number(least=0, most=1)
EPOCHS = integer(least=0)
WARM_UP = {
    "warm_up": number(
        "fraction of the training in which the learning rate rises", least=0, below=1
    ),
    "initial": {**FACTOR, "description": "learning rate at the start, as a fraction of the peak"},
    "final": {**FACTOR, "description": "learning rate at the end, as a fraction of the peak"},
}

SCHEDULES: dict[str, Entry] = {
    "constant": Entry.documented(constant, {"type": "constant"}),
    "cosine": Entry.documented(
        cosine,
        {"type": "cosine", "parameters": {"final": 0.01}},
        final={**FACTOR, "description": "rate at the end, as a fraction of the peak"},
    ),
    "one_cycle": Entry.documented(
        one_cycle, {"type": "one_cycle", "parameters": {"warm_up": 0.25}}, **WARM_UP
    ),
    "warm_up_cosine": Entry.documented(
        warm_up_cosine,
        {"type": "warm_up_cosine", "parameters": {"warm_up": 0.2, "final": 0.01}},
        **WARM_UP,
    ),
    "warm_up_level_cosine": Entry.documented(
        warm_up_level_cosine,
        {
            "type": "warm_up_level_cosine",
            "parameters": {"warm_up_epochs": 5, "level_epochs": 5},
        },
        warm_up_epochs={**EPOCHS, "description": "epochs of warm-up"},
        initial={**FACTOR, "description": "rate of the first epoch, as a fraction of the peak"},
        level_epochs={**EPOCHS, "description": "epochs at the peak, before the decay"},
        final={**FACTOR, "description": "rate at the end, as a fraction of the peak"},
    ),
}

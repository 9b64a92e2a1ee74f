"""Optimizers. A builder gets the network's weights and the learning rate first, then the spec's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Parameter

from qexp.tables import Entry
from qexp.training.uncompiled import uncompiled

Weights = Sequence[Parameter] | Sequence[dict[str, Any]]
"""The weights that an optimizer trains, or groups of them as in torch."""


def adam(
    weights: Weights,
    learning_rate: float,
    /,
    betas: Sequence[float] = (0.9, 0.999),
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Adam; weight decay is added to the gradient (L2)."""
    return uncompiled(torch.optim.Adam)(
        weights,
        lr=learning_rate,
        betas=(float(betas[0]), float(betas[1])),
        eps=epsilon,
        weight_decay=weight_decay,
        fused=True,
    )


def adamw(
    weights: Weights,
    learning_rate: float,
    /,
    betas: Sequence[float] = (0.9, 0.999),
    epsilon: float = 1e-7,
    weight_decay: float = 0.01,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay."""
    return uncompiled(torch.optim.AdamW)(
        weights,
        lr=learning_rate,
        betas=(float(betas[0]), float(betas[1])),
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
    """Gradient descent. Raises ValueError for `nesterov` without momentum."""
    if nesterov and momentum <= 0:
        raise ValueError("'nesterov' needs a 'momentum' greater than 0")
    return uncompiled(torch.optim.SGD)(
        weights, lr=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
    )


class Muon(torch.optim.Optimizer):
    """torch's Muon for matrices; AdamW, at a share of the learning rate, for all other parameters (biases, norms)."""

    def __init__(
        self,
        weights: Weights,
        learning_rate: float,
        /,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        rate_of_others: float = 0.1,
    ) -> None:
        groups: list[dict[str, Any]] = [one if isinstance(one, dict) else {"params": [one]} for one in weights]
        apart = [
            {**group, "params": chosen, "factor": group.get("factor", 1.0) * share, "of_matrices": of_matrices}
            for group in groups
            for of_matrices, share in ((True, 1.0), (False, rate_of_others))
            if (chosen := [one for one in group["params"] if (one.ndim == 2) is of_matrices])
        ]
        for group in apart:
            group["lr"] = learning_rate * group["factor"]
        super().__init__(apart, {})
        matrices, others = self._groups(True), self._groups(False)
        self._inner: list[tuple[bool, torch.optim.Optimizer]] = []
        if matrices:
            muon = uncompiled(torch.optim.Muon)(matrices, learning_rate, weight_decay=weight_decay, momentum=momentum)
            self._inner.append((True, muon))
        if others:
            self._inner.append((False, uncompiled(torch.optim.AdamW)(others, weight_decay=weight_decay, fused=True)))

    def _groups(self, of_matrices: bool) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group["of_matrices"] is of_matrices]

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no optimizer here takes a closure
        for of_matrices, inner in self._inner:
            # Loading a checkpoint replaced the dictionaries that were shared with the two optimizers.
            inner.param_groups, inner.state = self._groups(of_matrices), self.state
            inner.step()


BETAS = {
    "type": "array",
    "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    "minItems": 2,
    "maxItems": 2,
    "description": "decay of the running means of the gradient and of its square",
}
EPSILON = {"type": "number", "exclusiveMinimum": 0}
DECAY = {"type": "number", "minimum": 0}

OF_MATRICES = ("muon",)
"""Optimizers that treat a weight as a matrix; all others update each number independently of the others."""

OPTIMIZERS: dict[str, Entry] = {
    "adam": Entry(
        build=adam,
        parameters={
            "properties": {
                "betas": BETAS,
                "epsilon": EPSILON,
                "weight_decay": {**DECAY, "description": "this factor times the weight is added to its gradient"},
            }
        },
        help="Adam (Kingma and Ba 2015).",
        example={"type": "adam"},
    ),
    "adamw": Entry(
        build=adamw,
        parameters={"properties": {"betas": BETAS, "epsilon": EPSILON, "weight_decay": DECAY}},
        help="Adam with decoupled weight decay (Loshchilov and Hutter 2019).",
        example={"type": "adamw", "parameters": {"weight_decay": 0.01}},
    ),
    "muon": Entry(
        build=uncompiled(Muon),
        parameters={
            "properties": {
                "momentum": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "weight_decay": DECAY,
                "rate_of_others": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "learning rate of AdamW for biases and norms, relative to that of the matrices",
                },
            }
        },
        help="Muon (Jordan et al. 2024): orthogonalised momentum, equal step length in every singular direction.",
        example={"type": "muon", "parameters": {"rate_of_others": 0.1}},
    ),
    "sgd": Entry(
        build=sgd,
        parameters={
            "properties": {
                "momentum": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "nesterov": {"type": "boolean"},
                "weight_decay": DECAY,
            }
        },
        help="Stochastic gradient descent, optionally with momentum.",
        example={"type": "sgd", "parameters": {"momentum": 0.9, "nesterov": True}},
    ),
}

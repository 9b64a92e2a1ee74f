"""Optimizers. A builder gets the network's weights and the learning rate first, then the spec's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Parameter

from qexp.tables import Entry

Weights = Sequence[Parameter] | Sequence[dict[str, Any]]
"""What an optimizer moves: weights, or groups of them as torch has them."""


def adam(
    weights: Weights,
    learning_rate: float,
    /,
    betas: Sequence[float] = (0.9, 0.999),
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    return torch.optim.Adam(
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
    return torch.optim.AdamW(
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
    if nesterov and momentum <= 0:
        raise ValueError("'nesterov' needs a 'momentum' greater than 0")
    return torch.optim.SGD(
        weights, lr=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
    )


BETAS = {
    "type": "array",
    "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    "minItems": 2,
    "maxItems": 2,
    "description": "decay of the running means of the gradient and of its square",
}
EPSILON = {"type": "number", "exclusiveMinimum": 0}
DECAY = {"type": "number", "minimum": 0}

OPTIMIZERS: dict[str, Entry] = {
    "adam": Entry(
        build=adam,
        parameters={
            "properties": {
                "betas": BETAS,
                "epsilon": EPSILON,
                "weight_decay": {**DECAY, "description": "times the weight, added to its gradient"},
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
    "sgd": Entry(
        build=sgd,
        parameters={
            "properties": {
                "momentum": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "nesterov": {"type": "boolean"},
                "weight_decay": DECAY,
            }
        },
        help="Stochastic gradient descent, with momentum if asked for.",
        example={"type": "sgd", "parameters": {"momentum": 0.9, "nesterov": True}},
    ),
}

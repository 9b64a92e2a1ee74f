"""Activation functions, by their names in Keras, which VDI's specs use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class AsinhActivation(nn.Module):
    """asinh(x): linear near zero, logarithmic for large values of either sign, such as features of many magnitudes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.asinh(x)


class ExponentialActivation(nn.Module):
    """exp(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),  # Keras's slope; torch's own default is 0.01
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "softmax": lambda: nn.Softmax(dim=1),  # over channels or features, the last axis in Keras
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,  # relu6(x + 3) / 6, Keras 3's; Keras 2 had another slope
    "exponential": ExponentialActivation,
    "tanh": nn.Tanh,
    "asinh": AsinhActivation,
}

ACTIVATION_NAME = {"enum": list(ACTIVATIONS)}
"""JSON Schema of a parameter that names an activation."""

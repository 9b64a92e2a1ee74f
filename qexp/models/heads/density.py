"""Probability densities of several outputs together, and the operations of a network that end in one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

MEDIAN = 0.5


class Density(ABC):
    """The density of the transformed outputs of each sample of a batch."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device on which it is."""

    @abstractmethod
    def log_prob(self, values: Tensor) -> Tensor:
        """The logarithm of the density, (..., sample), of values (..., sample, output)."""

    @abstractmethod
    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """Independent draws, (draw, sample, output); `random` is on the device of the density."""

    @abstractmethod
    def quantiles(self, probabilities: Tensor) -> Tensor:
        """Quantiles of each output by itself, (sample, output, probability)."""

    def medians(self) -> Tensor:
        """The median of each output by itself, (sample, output)."""
        return self.quantiles(torch.tensor([MEDIAN]))[..., 0]


class Head(nn.Module, ABC):
    """The last operation of a branch: from features to the density of its outputs.

    outputs  how many
    As an operation among others it makes the outputs' medians, (batch, output), which are the estimates.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    @abstractmethod
    def density(self, features: Tensor) -> Density:
        """The density for each sample, from (batch, ...)."""

    def forward(self, features: Tensor) -> Tensor:
        if features.is_meta:  # only the shape is asked for
            return features.new_empty(len(features), self.outputs)
        return self.density(features).medians()

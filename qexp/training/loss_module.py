"""A network together with its losses: the function whose gradient a stack of networks computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qexp.models.modules.sequence import SequenceNorm
from qexp.models.network import Network
from qexp.training.losses import losses_of, total
from qexp.training.recipe import Recipe


class LossModule(nn.Module):
    """A network followed by the losses of its outputs."""

    def __init__(self, network: Network, recipe: Recipe) -> None:
        super().__init__()
        self.network, self._recipe = network, recipe

    def forward(self, samples: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The objective to minimise, (), and the losses, (output,), of transformed samples, (sample, ...) each."""
        features = self.network.features({name: samples[name] for name in self.network.inputs})
        losses = losses_of(self.network, self._recipe.losses, features, samples)
        return total(losses, self.network.penalty()), torch.stack(losses)


def with_norms_for_stacks(network: Network) -> Network:
    """Replace batch normalisation of rows, in place: torch's own rounds differently in a stack than alone."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm1d:
                setattr(module, name, SequenceNorm(child.num_features, child.eps, child.momentum))
    return network

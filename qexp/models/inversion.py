"""A network together with the transforms around it: what is trained, saved and used to predict."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qexp.datasets.transforms import Transform
from qexp.models.network import Network


class Inversion(nn.Module):
    """Observations in their own units → estimates in theirs.

    transforms  input or output → its transform; a variable without one is left as it is
    """

    def __init__(self, network: Network, transforms: Mapping[str, Transform]) -> None:
        super().__init__()
        self.network = network
        self.transforms = nn.ModuleDict(transforms)

    def transformed(self, name: str, values: Tensor) -> Tensor:
        """Values of a variable as the network sees them."""
        return self.transforms[name](values) if name in self.transforms else values

    def forward(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Estimates of all outputs, (batch, ...), in the outputs' own units."""
        return self.in_units(self._network_on(samples))

    def _network_on(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = self.network({name: self.transformed(name, samples[name]) for name in self.network.inputs})
        return {name: values.float() for name, values in made.items()}

    def in_units(self, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the network made of each output, back in the output's own unit."""
        return {name: self._inverse(name, values) for name, values in made.items()}

    def _inverse(self, name: str, values: Tensor) -> Tensor:
        if name not in self.transforms:
            return values
        transform = self.transforms[name]
        assert isinstance(transform, Transform)
        return transform.inverse(values)

    @torch.no_grad()
    def outputs(self, samples: Mapping[str, Tensor], batch_size: int = 512) -> dict[str, Tensor]:
        """What the network makes, still transformed: in batches, dropout and batch normalisation set to predict."""
        was_training = self.training
        self.eval()
        count = len(samples[next(iter(self.network.inputs))])
        batches = [
            self._network_on({name: samples[name][start : start + batch_size] for name in self.network.inputs})
            for start in range(0, count, batch_size)
        ]
        self.train(was_training)
        return {name: torch.cat([batch[name] for batch in batches]) for name in self.network.outputs}

    def estimate(self, samples: Mapping[str, Tensor], batch_size: int = 512) -> dict[str, Tensor]:
        """Estimates of all outputs in their own units, made in batches and without gradients."""
        return self.in_units(self.outputs(samples, batch_size))

"""A network together with the transforms around it: what is trained, saved and used to predict."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping

import torch
from torch import Tensor, nn

from qexp.datasets.transforms.transform import Transform
from qexp.errors import QexpError
from qexp.limits import NO_LIMITS, Limits
from qexp.models.network import Network
from qexp.models.posterior import Posterior
from qexp.models.tensor_names import module_name

BATCH = 128
"""Samples estimated at a time, so that activations stay in the processor's cache."""


class OfVariables(nn.ModuleDict):
    """Modules by the names of variables, which may hold dots (`chamber.depth`); torch's own names hold `:` there."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(modules)
        self._names = list(modules)

    def __setitem__(self, variable: str, module: nn.Module) -> None:
        super().__setitem__(module_name(variable), module)

    def __getitem__(self, variable: str) -> nn.Module:
        return super().__getitem__(module_name(variable))

    def __contains__(self, variable: str) -> bool:
        return super().__contains__(module_name(variable))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def keys(self) -> KeysView[str]:
        return dict.fromkeys(self._names).keys()

    def items(self) -> ItemsView[str, nn.Module]:
        return dict(zip(self._names, self.values(), strict=True)).items()


class Inversion(nn.Module):
    """Observations in their own units → estimates in theirs.

    transforms  input or output → its transform; variables without one are not transformed
    limits      output → limits of its estimates; outputs without limits are left out
    """

    def __init__(
        self, network: Network, transforms: Mapping[str, Transform], limits: Mapping[str, Limits] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.transforms = OfVariables(transforms)
        self.limits = dict(limits or {})

    @property
    def periods(self) -> dict[str, float]:
        """Output → the period after which its values repeat, in its own unit, where its transform has one."""
        transforms = [(name, one) for name, one in self.transforms.items() if name in self.network.outputs]
        return {name: one.period for name, one in transforms if isinstance(one, Transform) and one.period is not None}

    def transformed(self, name: str, values: Tensor) -> Tensor:
        """Transformed values of an input or output, as the network sees them."""
        return self.transforms[name](values) if name in self.transforms else values

    def forward(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Estimates of all outputs, (batch, ...), in the outputs' own units, before they are limited.

        An ensemble's spread is that of these: limits would hide how far its networks differ.
        """
        made = self.network({name: self.transformed(name, samples[name]) for name in self.network.inputs})
        return self.unlimited(made, samples)

    def in_units(self, made: Mapping[str, Tensor], samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's transformed outputs in their own units, by the inverse transforms, and within their limits.

        samples  the inputs in their own units, which some inverse transforms need (of an output that is also an input)
        """
        return self.limited(self.unlimited(made, samples))

    def limited(self, estimates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Estimates of outputs, each within its limits."""
        return {name: self.limits.get(name, NO_LIMITS)(values) for name, values in estimates.items()}

    def unlimited(self, made: Mapping[str, Tensor], samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Like `in_units`, before limits."""
        return {name: self._inverse(name, values.float(), samples) for name, values in made.items()}

    def _inverse(self, name: str, values: Tensor, samples: Mapping[str, Tensor]) -> Tensor:
        if name not in self.transforms:
            return values
        transform = self.transforms[name]
        assert isinstance(transform, Transform)
        if name not in self.network.inputs:
            return transform.inverse(values)
        blocks = zip(values.split(BATCH), samples[name].split(BATCH), strict=True)
        return torch.cat([transform.inverse(block, own) for block, own in blocks])

    def estimate(self, samples: Mapping[str, Tensor], batch_size: int = BATCH) -> dict[str, Tensor]:
        """Estimates of all outputs, (sample, ...), in their units and within their limits.

        Batched, in evaluation mode, without gradients.
        """
        return self.limited(self._in_batches(self, samples, batch_size))

    def outputs(self, inputs: Mapping[str, Tensor], batch_size: int = BATCH) -> dict[str, Tensor]:
        """The network's outputs, still transformed, for inputs that are already transformed."""
        return self._in_batches(self.network, inputs, batch_size)

    @torch.no_grad()
    def posterior(self, samples: Mapping[str, Tensor], batch_size: int = BATCH) -> Posterior:
        """The posterior of the outputs of all posterior heads, for samples in their own units.

        Raises QexpError if the network has no posterior head.
        """
        if not self.network.heads:
            raise QexpError(
                f"the network estimates {', '.join(self.network.outputs)} without a posterior; end its branch with a "
                "posterior head, such as 'gaussian_posterior', and train it again"
            )
        seen = {name: self.transformed(name, samples[name]) for name in self.network.inputs}
        features = self.features(seen, batch_size)
        densities = {
            outputs: self.network.density(name, features[name]) for name, outputs in self.network.heads.items()
        }
        transforms = {name: one for name, one in self.transforms.items() if isinstance(one, Transform)}
        return Posterior(densities, {name: one for name, one in transforms.items() if name in self.network.outputs})

    def features(self, inputs: Mapping[str, Tensor], batch_size: int = BATCH) -> dict[str, Tensor]:
        """The network's features, see `Network.features`, for inputs that are already transformed."""
        return self._in_batches(self.network.features, inputs, batch_size)

    @torch.no_grad()
    def _in_batches(
        self, function: Callable[[dict[str, Tensor]], dict[str, Tensor]], tensors: Mapping[str, Tensor], batch_size: int
    ) -> dict[str, Tensor]:
        was_training = self.training
        self.eval()
        names = list(self.network.inputs)
        splits = zip(*(tensors[name].split(batch_size) for name in names), strict=True)
        batches = [function(dict(zip(names, of_batch, strict=True))) for of_batch in splits]
        self.train(was_training)
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

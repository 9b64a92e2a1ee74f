"""Trained networks as modules that can be exported: standard operations, traced or scripted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from qexp.base.outputs import spread_of
from qexp.networks.checkpoint import joined
from qexp.networks.estimator import Estimator, mean, spread
from qexp.networks.training import Samples


class Positional(nn.Module):
    """A module of named tensors with positional ones: inputs → a tuple of outputs, in order."""

    def __init__(self, module: nn.Module, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        super().__init__()
        self.module = module
        self.inputs = list(inputs)
        self.outputs = list(outputs)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(dict(zip(self.inputs, values, strict=True)))
        return tuple(outputs[name] for name in self.outputs)


class WithinLimits(nn.Module):
    """`Estimator.estimate` as a module: the estimates of one network, within their limits."""

    def __init__(self, model: Estimator) -> None:
        super().__init__()
        self.model = model

    def forward(self, samples: Samples) -> dict[str, Tensor]:
        return self.model.limited(self.model(samples))


class EnsembleLoop(nn.Module):
    """The networks of an ensemble, evaluated one after another: output → (network, sample, ...)."""

    def __init__(self, models: Sequence[Estimator]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, samples: Samples) -> dict[str, Tensor]:
        return joined([model(samples) for model in self.models], torch.stack)


class MeanAndSpread(nn.Module):
    """`Ensemble.estimated` as a module: each output, and its standard deviation as
    `<output>_spread`.

    groups  modules that return output → (network, sample, ...)
    model   one of the networks, by whose transforms the mean is taken
    """

    def __init__(self, groups: Sequence[nn.Module], model: Estimator) -> None:
        super().__init__()
        self.groups = nn.ModuleList(groups)
        self.model = [model]

    def forward(self, samples: Samples) -> dict[str, Tensor]:
        model = self.model[0]
        outputs = {}
        for name, values in joined([group(samples) for group in self.groups], torch.cat).items():
            outputs[name] = mean(model, name, values)
            outputs[spread_of(name)] = spread(model, name, values)
        return outputs

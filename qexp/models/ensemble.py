"""An ensemble of trained networks as one estimator: its mean and its standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from qexp.datasets.transforms.transform import Transform
from qexp.models.inversion import Inversion
from qexp.models.network import Network

CACHED = 1 << 16
"""Activations of one layer, in numbers, that fit into a processor's cache beside the weights."""
BATCHES = (64, 4096)
"""Smallest and largest batch, in samples."""


Reduce = Callable[[str, Tensor], Sequence[Tensor]]
"""Output, its estimates before limits, (network, sample, ...) → tensors, (sample, ...) each."""


class Ensemble:
    """Inversions with the same inputs and outputs, each with its own weights and transforms.

    The networks take turns on batches that stay in the cache. On a CPU this is as fast as matrix products of stacked
    weights, and faster than torch.func's vmap.
    """

    def __init__(self, models: Sequence[Inversion]) -> None:
        self.models = [model.eval() for model in models]
        self.network = self.models[0].network
        self.batch = batch_for(self.network)

    @torch.no_grad()
    def estimates(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Output → (network, sample, ...), in the output's own unit, before limits."""
        made: dict[str, list[Tensor]] = {name: [] for name in self.network.outputs}
        for batch in self._batches(samples):
            each = [model(batch) for model in self.models]
            for name, parts in made.items():
                parts.append(torch.stack([one[name] for one in each]))
        return {name: torch.cat(parts, dim=1) for name, parts in made.items()}

    def mean_and_spread(self, samples: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Output → mean and standard deviation over the networks, (sample, ...), in the output's own unit.

        The mean is taken of transformed values, as the losses are: of logarithms where a logarithm is learned; it lies
        within the output's limits. The standard deviation is that of the estimates before they are limited, of an
        angle by the shorter way round; NaN if there is only one network.
        """
        first = self.models[0]
        made = self.reduced(samples, lambda name, values: [mean(first, name, values), spread(first, name, values)])
        return {name: (middle, apart) for name, (middle, apart) in made.items()}

    @torch.no_grad()
    def reduced(
        self, samples: Mapping[str, Tensor], reduce: Reduce, probabilities: Sequence[float] = ()
    ) -> dict[str, list[Tensor]]:
        """Output → what is made of the estimates of all networks, batch by batch; (sample, ...) each.

        probabilities  of quantiles that follow the estimates of outputs of posterior heads: (sample, 1 + probability)
        """
        made: dict[str, list[Sequence[Tensor]]] = {name: [] for name in self.network.outputs}
        for batch in self._batches(samples):
            each = [with_quantiles(model, batch, probabilities) for model in self.models]
            for name, parts in made.items():
                parts.append(reduce(name, torch.stack([one[name] for one in each])))
        return {name: [torch.cat(of) for of in zip(*parts, strict=True)] for name, parts in made.items()}

    def _batches(self, samples: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        names = list(self.network.inputs)
        splits = zip(*(samples[name].split(self.batch) for name in names), strict=True)
        return [dict(zip(names, parts, strict=True)) for parts in splits]


def with_quantiles(
    model: Inversion, samples: Mapping[str, Tensor], probabilities: Sequence[float]
) -> dict[str, Tensor]:
    """Output → estimates before limits; of a posterior head's, followed by quantiles, (sample, 1 + probability)."""
    made: dict[str, Tensor] = model(samples)
    if not probabilities or not model.network.heads:
        return made
    quantiles = model.posterior(samples).quantiles(probabilities)
    return {
        name: torch.cat([values, quantiles[name].to(values)], dim=1) if name in quantiles else values
        for name, values in made.items()
    }


def mean(model: Inversion, output: str, values: Tensor) -> Tensor:
    """The mean of an output's estimates, (network, sample, ...), over the networks, taken of transformed values.

    model  any of the networks: fitted transforms differ by a linear function only, which does not change the mean
    returns (sample, ...), within the output's limits
    """
    return model.limited({output: _mean(model, output, values)})[output]


def _mean(model: Inversion, output: str, values: Tensor) -> Tensor:
    if len(values) == 1:
        return values[0]
    if output not in model.transforms:
        return values.mean(dim=0)
    transform = model.transforms[output]
    assert isinstance(transform, Transform)
    seen = transform(values.flatten(0, 1)).unflatten(0, values.shape[:2])
    return transform.inverse(seen.mean(dim=0))


def spread(model: Inversion, output: str, values: Tensor) -> Tensor:
    """The sample standard deviation over the first dimension, of estimates as in `mean`; NaN if its length is 1.

    Values that repeat are moved by whole periods to within half a period of their mean.
    """
    if len(values) == 1:
        return torch.full_like(values[0], torch.nan)
    if (period := model.periods.get(output)) is not None:
        values = values - period * ((values - _mean(model, output, values)) / period).round()
    # torch.std over a first dimension takes several times as long as the sums.
    return ((values - values.mean(dim=0)).square_().sum(dim=0) / (len(values) - 1)).sqrt_()


@torch.no_grad()
def batch_for(network: Network) -> int:
    """The batch size, a power of two, for which the network's widest layer fits into the cache."""
    widest = 1

    def measure(_: nn.Module, __: object, made: object) -> None:
        nonlocal widest
        if isinstance(made, Tensor):
            widest = max(widest, made.numel())

    hooks = [module.register_forward_hook(measure) for module in network.modules()]
    was_training = network.training
    try:
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        network.eval()({name: torch.zeros(1, *shape, device=device) for name, shape in network.inputs.items()})
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    least, most = BATCHES
    return min(max(1 << (CACHED // widest).bit_length() - 1 if widest <= CACHED else least, least), most)

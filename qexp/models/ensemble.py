"""Several trained networks of one kind as one estimator: their mean, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from qexp.datasets.transforms.transform import Transform
from qexp.models.inversion import Inversion
from qexp.models.network import Network

CACHED = 1 << 16
"""Numbers between two layers that a processor's cache holds beside the weights."""
BATCHES = (64, 4096)
"""Least and most samples of a batch."""


class Ensemble:
    """Inversions with the same inputs and outputs, each with its own weights and transforms.

    They take turns on batches that stay in the cache: on a processor no slower than products of stacked weights, and
    faster than torch.func's vmap.
    """

    def __init__(self, models: Sequence[Inversion]) -> None:
        self.models = [model.eval() for model in models]
        self.network = self.models[0].network
        self.batch = batch_for(self.network)

    @torch.no_grad()
    def estimates(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Output → (network, sample, ...), in the output's own unit."""
        made: dict[str, list[Tensor]] = {name: [] for name in self.network.outputs}
        for batch in self._batches(samples):
            each = [model(batch) for model in self.models]
            for name, parts in made.items():
                parts.append(torch.stack([one[name] for one in each]))
        return {name: torch.cat(parts, dim=1) for name, parts in made.items()}

    @torch.no_grad()
    def mean_and_spread(self, samples: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Output → mean and standard deviation over the networks, (sample, ...), in the output's own unit.

        The mean is that of transformed values, as the losses see them: of logarithms where a logarithm is learned. The
        deviation is NaN where there is but one network.
        """
        made: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in self.network.outputs}
        for batch in self._batches(samples):
            each = [model(batch) for model in self.models]
            for name, parts in made.items():
                values = torch.stack([one[name] for one in each])
                parts.append((mean(self.models[0], name, values), spread(values)))
        return {
            name: (torch.cat([middle for middle, _ in parts]), torch.cat([apart for _, apart in parts]))
            for name, parts in made.items()
        }

    def _batches(self, samples: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        names = list(self.network.inputs)
        splits = zip(*(samples[name].split(self.batch) for name in names), strict=True)
        return [dict(zip(names, parts, strict=True)) for parts in splits]


def mean(model: Inversion, output: str, values: Tensor) -> Tensor:
    """Of an output's values, (network, sample, ...), over the networks, one of which is `model`.

    What its transform was fitted to makes no difference, as that is linear.
    """
    if len(values) == 1:
        return values[0]
    if output not in model.transforms:
        return values.mean(dim=0)
    transform = model.transforms[output]
    assert isinstance(transform, Transform)
    seen = transform(values.flatten(0, 1)).unflatten(0, values.shape[:2])
    return transform.inverse(seen.mean(dim=0))


def spread(values: Tensor) -> Tensor:
    """The standard deviation over the first dimension."""
    if len(values) == 1:
        return torch.full_like(values[0], torch.nan)
    # torch.std over a first dimension takes several times as long as the sums.
    return ((values - values.mean(dim=0)).square_().sum(dim=0) / (len(values) - 1)).sqrt_()


@torch.no_grad()
def batch_for(network: Network) -> int:
    """Samples whose widest layer fits into the cache: a power of two."""
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

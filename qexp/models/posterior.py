"""Posteriors of a model's outputs in their own units, given observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from qexp.datasets.transforms.transform import Transform
from qexp.models.heads.density import Density

RANKED = 1000
"""Draws from which correlations are computed: they are known to 0.03 or better."""


class Posterior:
    """The posterior of each sample's outputs; outputs of different heads are independent.

    densities   outputs → the density of their transformed values, for all samples
    transforms  output → its transform; outputs without one are not transformed
    """

    def __init__(self, densities: Mapping[tuple[str, ...], Density], transforms: Mapping[str, Transform]) -> None:
        self._densities, self._transforms = dict(densities), dict(transforms)
        self.names: list[str] = [name for outputs in densities for name in outputs]

    @property
    def device(self) -> torch.device:
        return next(iter(self._densities.values())).device

    @torch.no_grad()
    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """Independent draws, (draw, sample, output), in the outputs' units; outputs in the order of `names`."""
        made = torch.cat([one.draws(count, random) for one in self._densities.values()], dim=-1)
        return self._in_units(made)

    @torch.no_grad()
    def quantiles(self, probabilities: Sequence[float]) -> dict[str, Tensor]:
        """Output → quantiles, (sample, probability), in its unit."""
        wanted = torch.tensor(list(probabilities), dtype=torch.float64)
        made = torch.cat([one.quantiles(wanted) for one in self._densities.values()], dim=1)
        # A transform may reverse the order, such as a division by a negative number.
        in_units = [self._inverse(name, made[:, place]).sort(dim=-1).values for place, name in enumerate(self.names)]
        return dict(zip(self.names, in_units, strict=True))

    @torch.no_grad()
    def correlations(self) -> dict[tuple[str, str], Tensor]:
        """Pair of outputs → their rank correlation (Spearman), (sample,), of draws that are the same at each call."""
        random = torch.Generator(self.device).manual_seed(0)
        made = torch.cat([one.draws(RANKED, random) for one in self._densities.values()], dim=-1)
        ranks = made.argsort(dim=0).argsort(dim=0).double()
        scores = (ranks - ranks.mean(dim=0)) / ranks.std(dim=0, correction=0)
        return {
            (self.names[one], self.names[other]): (scores[..., one] * scores[..., other]).mean(dim=0).float()
            for one, other in combinations(range(len(self.names)), 2)
        }

    @torch.no_grad()
    def log_prob(self, values: Tensor) -> Tensor:
        """The logarithm of the density, (..., sample), of (..., sample, output) in the outputs' units."""
        transformed, slopes = [], []
        for place, name in enumerate(self.names):
            column = values[..., place].detach().reshape(-1, 1).requires_grad_()
            with torch.enable_grad():
                made = self._transforms[name](column) if name in self._transforms else column * 1
                (slope,) = torch.autograd.grad(made.sum(), column)
            transformed.append(made.detach().view(values.shape[:-1]))
            slopes.append(slope.view(values.shape[:-1]))
        start, found = 0, torch.stack(slopes, dim=-1).abs().log().sum(-1)
        for outputs, density in self._densities.items():
            own = torch.stack(transformed[start : start + len(outputs)], dim=-1)
            start += len(outputs)
            found = found + density.log_prob(own)
        return found

    def _in_units(self, transformed: Tensor) -> Tensor:
        columns = [self._inverse(name, transformed[..., place]) for place, name in enumerate(self.names)]
        return torch.stack(columns, dim=-1)

    def _inverse(self, name: str, values: Tensor) -> Tensor:
        """Back to the unit of an output, in the same shape."""
        if name not in self._transforms:
            return values
        return self._transforms[name].inverse(values.reshape(-1, 1)).view(values.shape)


def mixed(posteriors: Sequence[Posterior], count: int, random: torch.Generator | None = None) -> Tensor:
    """Draws from the mixture of posteriors with equal weights, (draw, sample, output), in random order.

    Each makes the same number of draws; where `count` cannot be divided, those that make one more are chosen at random.
    """
    if len(posteriors) == 1:
        return posteriors[0].draws(count, random)
    device = posteriors[0].device
    each, more = divmod(count, len(posteriors))
    lucky = torch.randperm(len(posteriors), generator=random, device=device)[:more].tolist()
    numbers = [each + (place in lucky) for place in range(len(posteriors))]
    made = torch.cat([one.draws(number, random) for one, number in zip(posteriors, numbers, strict=True) if number])
    return made[torch.randperm(count, generator=random, device=device)]

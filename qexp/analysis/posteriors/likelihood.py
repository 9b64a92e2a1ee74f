"""The likelihood and the prior of simulated observations that share what is given, and what is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.errors import QexpError
from qexp.inference.density import Level, Marginal, Prior, Signals, uniform
from qexp.quantities import NOISE, quantity
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.distributions import Distribution
from qexp.simulation.views import GNSS

Array = NDArray[np.float64]

TOLERANCE = 1e-4
"""Largest error of reduced signals, relative to the signal."""


@dataclass(frozen=True)
class Likelihood:
    """That of some observations.

    signals  of sources, and the observations
    reduced  sources that span a basis, sources on which it is tested or None → the same in fewer numbers; None if that
             has no advantage or is not accurate
    prior    of the unknowns but for the noise level
    level    of the noise, if it is unknown
    factors  unknown → the unit of its values in specs, in that of the prior
    """

    signals: Signals
    reduced: Callable[[Tensor, Tensor | None], Signals | None]
    prior: Prior
    level: Level | None
    factors: Mapping[str, float]

    @property
    def names(self) -> list[str]:
        """The unknowns, in the order of `values`."""
        return [*self.prior.free, *([] if self.level is None else [NOISE])]

    def of(self, observation: int) -> Callable[[Tensor], Signals | None]:
        """Sources that span a basis → the signals in it, and one observation."""

        def reduced(values: Tensor) -> Signals | None:
            signals = self.reduced(values, None)
            return None if signals is None else signals.of(observation)

        return reduced

    def values(self, scores: Array, prior: Prior) -> Array:
        """Values of draws, (draw, unknown) in their units, of scores, by the prior with its angles turned."""
        free = len(prior.free)
        values = prior.free_values(scores[:, :free])
        for column, one in enumerate(self.prior.marginals):
            if one.period is not None:
                values[:, column] = one.low + (values[:, column] - one.low) % one.period
        if self.level is not None:
            values = np.column_stack([values, self.level.marginal.value(scores[:, free])])
        return values / [self.factors[name] for name in self.names]

    def scores(self, estimates: Mapping[str, Array], otherwise: Array) -> Array:
        """Scores of estimates, (observation, free parameter), with those of `otherwise` where there is none."""
        scores = otherwise.copy()
        for column, one in enumerate(self.prior.marginals):
            if one.name in estimates:
                values = np.asarray(estimates[one.name], dtype=np.float64) * self.factors[one.name]
                scores[:, column] = np.where(np.isfinite(values), one.score(values), scores[:, column])
        return scores


def prior_of(dataset: GeneratedDataset, name: str, factor: float) -> Marginal:
    """The prior of a variable, in the unit of which its own is `factor`; around the circle for all directions."""
    distribution, period = dataset.distributions[name], quantity(name, dataset.quantities).period
    if period is not None and _goes_around(distribution, period):
        low = factor * distribution.support()[0]
        return uniform(name, low, low + factor * period, factor * period)
    return marginal(name, distribution, factor)


def marginal(name: str, distribution: Distribution, factor: float) -> Marginal:
    """The prior by a distribution of values in the unit that is `factor` SI units."""
    low, high = (factor * end for end in distribution.support())
    return Marginal(name, lambda share: factor * distribution.quantile(share), low, high, "of the training data")


def _goes_around(distribution: Distribution, period: float) -> bool:
    """Whether all directions are equally likely."""
    shares = np.linspace(0.0, 1.0, 9)
    return bool(np.allclose(distribution.quantile(shares), distribution.support()[0] + shares * period, rtol=1e-6))


def usual_level(dataset: GeneratedDataset, images: Sequence[str]) -> float:
    """The median of the unknown noise level. Raises QexpError if there is noise that it does not scale."""
    if others := [image for image in images if not _scales(dataset, image)]:
        raise QexpError(
            f"'{NOISE}' varies and is not given, but '{others[0]}' has noise that it does not scale; put it into "
            "'fixed' in a copy of the dataset, or declare the noise without amplitudes of its own"
        )
    return float(dataset.distributions[NOISE].quantile(np.array(0.5)))


def _scales(dataset: GeneratedDataset, image: str) -> bool:
    """Whether the noise level multiplies all noise of an image."""
    added = dataset.noise.added(image)
    return dataset.view(image).measures != GNSS and bool(added) and all(one.of_unit_variance for one in added)

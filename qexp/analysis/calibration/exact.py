"""Posteriors beside the exact ones of the same observations: their widths, and whether draws can be distinguished."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from qexp.analysis.calibration.observing import PURPOSE, Block
from qexp.analysis.calibration.placing import Draws, Prior
from qexp.inference.grid_posterior import Posterior, groups
from qexp.inference.simulated_images import unknowns_of
from qexp.metrics.calibration import CLASSIFIER, distinguished, relative_width, widths
from qexp.runs.record.calibration import INTERVAL, ExactComparison, WidthRatio
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset

Array = NDArray[np.float64]


class BesideExact:
    """Comparison of the first observations with their exact posteriors.

    names   outputs, in the order of the draws
    images  that the network takes
    known   its other inputs
    count   observations that are compared
    Raises QexpError if the exact posteriors cannot be integrated.
    """

    def __init__(
        self, dataset: GeneratedDataset, names: Sequence[str], images: Sequence[str], known: Collection[str], count: int
    ) -> None:
        self.images, self.names, self.count = list(images), list(names), count
        self.unknowns = unknowns_of(dataset, images, known)
        self._given = [name for name in dataset.test if name in known]
        self.accuracies: list[float] = []
        self._own: list[Array] = []
        self._exact: list[Array] = []

    def add(self, block: Block, draws: Draws, prior: Prior, seeds: Seeds) -> None:
        """Compare the observations of a block, as far as they are among those to compare."""
        values = draws.values[: max(self.count - block.start, 0)]
        if not len(values):
            return
        exact = self._exact_draws(block, len(values), values.shape[1], seeds)
        self._own.append(_widths(values))
        self._exact.append(_widths(exact))
        for place, (own, other) in enumerate(zip(values, exact, strict=True)):
            # In normal scores of the prior: equal distributions stay equal, and heavy tails do not hide the rest.
            first, second = (ndtri(prior.shares(one)) for one in (other, own))
            self.accuracies.append(distinguished(first, second, block.start + place).accuracy)

    def _exact_draws(self, block: Block, observations: int, count: int, seeds: Seeds) -> Array:
        """(observation, draw, output)"""
        samples = {name: of[:observations].cpu() for name, of in block.samples.items()}
        made = np.empty((observations, count, len(self.names)))
        order = [self.unknowns.names.index(name) for name in self.names]
        random = seeds.numpy(PURPOSE, "exact", block.number)
        for group in groups(self.unknowns, self.images, self._given, samples):
            data = group.whitening(group.samples)
            drawn = Posterior(group.unknowns, group.whitening, few=True).draws(data, count, random)
            made[group.places] = drawn[:, :, order]
        return made

    def ratios(self, seeds: Seeds) -> list[dict[str, WidthRatio]]:
        """Of each output."""
        own, exact, found = np.concatenate(self._own), np.concatenate(self._exact), []
        for place, name in enumerate(self.names):
            ratio = relative_width(own[:, place], exact[:, place], seeds.numpy(PURPOSE, "widths", name))
            found.append({"width_ratio": WidthRatio(median=ratio.median, interval=ratio.interval)})
        return found

    def recorded(self) -> ExactComparison:
        """The accuracy of the classifier, over observations."""
        accuracies = np.array(self.accuracies)
        error = accuracies.std(ddof=1) / np.sqrt(len(accuracies)) if len(accuracies) > 1 else 0.0
        return ExactComparison(
            observations=len(accuracies),
            classifier=CLASSIFIER,
            accuracy=float(accuracies.mean()),
            standard_error=float(error),
            largest=float(accuracies.max()),
        )


def _widths(draws: Array) -> Array:
    """(observation, output)"""
    return np.stack([widths(draws[:, :, place], INTERVAL) for place in range(draws.shape[2])], axis=1)

"""The posteriors of a run that are tested: those of its network's head, or those after the likelihood step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.analysis.calibration.observing import PURPOSE, Block
from qexp.analysis.calibration.placing import Draws, Prior
from qexp.analysis.posteriors.simulated import posteriors
from qexp.datasets.generated import GeneratedDataset
from qexp.errors import QexpError
from qexp.models.inversion import Inversion
from qexp.seeds import Seeds

Array = NDArray[np.float64]


class Posteriors(Protocol):
    """Draws from the posteriors of observations."""

    names: list[str]
    """Of the outputs, in the order of the draws' last axis."""

    def draws(self, block: Block, truth: Array, count: int, seeds: Seeds) -> Draws:
        """`count` draws for each observation of a block; truth: (observation, output)."""


class OfHead:
    """Posteriors by a network's posterior heads. Raises QexpError for a network without any."""

    def __init__(self, model: Inversion, device: torch.device) -> None:
        self.model, self.device = model, device
        self.names = [name for outputs in model.network.heads.values() for name in outputs]
        if not self.names:
            raise QexpError(
                f"the network estimates {', '.join(model.network.outputs)} without a posterior; train one whose branch "
                "ends with a posterior head, such as 'gaussian_posterior', or test the posteriors of the known "
                "likelihood with --refined"
            )

    def draws(self, block: Block, truth: Array, count: int, seeds: Seeds) -> Draws:
        """Independent draws with their densities."""
        posterior = self.model.posterior(block.samples)
        with torch.no_grad():
            made = posterior.draws(count, seeds.torch(self.device, PURPOSE, "draws", block.number))
            of_truth = posterior.log_prob(torch.from_numpy(truth).to(made))
            density = posterior.log_prob(made)
        values = made.transpose(0, 1).double().cpu().numpy()
        return Draws(values, density.T.double().cpu().numpy(), of_truth.double().cpu().numpy())


class Refined:
    """Posteriors by the likelihood of the dataset, found from the network's estimates.

    images  those that the network takes
    """

    def __init__(self, model: Inversion, dataset: GeneratedDataset, images: Sequence[str]) -> None:
        self.model, self.dataset, self.images = model, dataset, images
        self.names = list(dataset.test)

    def draws(self, block: Block, truth: Array, count: int, seeds: Seeds) -> Draws:
        """Draws resampled by their weights, or of chains."""
        estimates = {name: of[:, 0].double().cpu().numpy() for name, of in self.model.estimate(block.samples).items()}
        start = {name: of for name, of in estimates.items() if name in self.names}
        samples = {name: of.cpu() for name, of in block.samples.items()}
        seed = seeds.number(PURPOSE, "draws", block.number)
        made = posteriors(self.dataset, self.images, samples, start, count=count, seed=seed)
        order = [made.names.index(name) for name in self.names]
        return Draws(made.draws[:, :, order], effective=made.ess, doubted=len(made.doubts))


def prior_of(dataset: GeneratedDataset, names: Sequence[str]) -> Prior:
    """The distributions of outputs. Raises QexpError for one that does not vary."""
    for name in names:
        if name not in dataset.test:
            raise QexpError(f"'{name}' does not vary in the dataset, so that its posterior cannot be tested")
    return Prior([dataset.distributions[name] for name in names])

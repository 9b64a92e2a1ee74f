"""The posteriors of a run that are tested: those of its network's head, or those after the likelihood step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.analysis.calibration.observing import PURPOSE, Block
from qexp.analysis.calibration.placing import Draws, Prior
from qexp.analysis.evaluation.asked import ALL, TRAIN
from qexp.analysis.posteriors.likelihoods import Likelihoods
from qexp.analysis.posteriors.simulated import posteriors_by
from qexp.errors import QexpError
from qexp.networks.estimator import Inversion
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset

Array = NDArray[np.float64]


OnDone = Callable[[int], None]
"""Takes how many observations of a block are done."""


class Posteriors(Protocol):
    """Draws from the posteriors of observations."""

    names: list[str]
    """Of the outputs, in the order of the draws' last axis."""

    together: int
    """Observations that are best taken at a time."""

    def draws(self, block: Block, truth: Array, count: int, seeds: Seeds, on_done: OnDone) -> Draws:
        """`count` draws for each observation of a block; truth: (observation, output)."""

    def caution(self, part: str) -> str:
        """Why draws from a part of the distributions are not from the prior of these posteriors; empty if they are."""


class OfHead:
    """Posteriors by a network's posterior heads. Raises QexpError for a network without any.

    held_out  variables of which the network never saw some intervals
    """

    together = 100

    def __init__(self, model: Inversion, held_out: Sequence[str], device: torch.device) -> None:
        self.model, self.held_out, self.device = model, held_out, device
        self.names = [name for outputs in model.network.heads.values() for name in outputs]
        if not self.names:
            raise QexpError(
                f"the network estimates {', '.join(model.network.outputs)} without a posterior; train one whose branch "
                "ends with a posterior head, such as 'gaussian_posterior', or test the posteriors of the known "
                "likelihood with --refined"
            )

    def caution(self, part: str) -> str:
        """Their prior is what the network was trained on."""
        if not self.held_out or part == TRAIN:
            return ""
        return (
            f"the network never saw the held-out intervals of {' and '.join(self.held_out)}: its prior is the training "
            "part, and on draws from elsewhere it cannot be calibrated; test it with --part train, or hold nothing out"
        )

    def draws(self, block: Block, truth: Array, count: int, seeds: Seeds, on_done: OnDone) -> Draws:
        """Independent draws with their densities."""
        posterior = self.model.posterior(block.samples)
        with torch.no_grad():
            made = posterior.draws(count, seeds.torch(self.device, PURPOSE, "draws", block.number))
            of_truth = posterior.log_prob(torch.from_numpy(truth).to(made))
            density = posterior.log_prob(made)
        on_done(len(truth))
        values = made.transpose(0, 1).double().cpu().numpy()
        return Draws(values, density.T.double().cpu().numpy(), of_truth.double().cpu().numpy())


class Refined:
    """Posteriors by the likelihood of the dataset, found from the network's estimates.

    images    those that the network takes
    known     its inputs
    held_out  variables of which some intervals are the test part
    """

    together = 1000  # each block needs the factor of a covariance, and a basis of signals

    def __init__(
        self,
        model: Inversion,
        dataset: GeneratedDataset,
        images: Sequence[str],
        known: Collection[str],
        held_out: Sequence[str],
    ) -> None:
        self.model, self.held_out = model, held_out
        self._likelihoods = Likelihoods(dataset, images, [name for name in dataset.test if name in known])
        self.names = self._likelihoods.names

    def caution(self, part: str) -> str:
        """Their prior is the whole distribution of each variable."""
        if not self.held_out or part == ALL:
            return ""
        return (
            f"the draws are from the part '{part}', but the prior of the posteriors is the whole: even exact ones "
            "hold such draws more or less often than their probability says"
        )

    def draws(self, block: Block, truth: Array, count: int, seeds: Seeds, on_done: OnDone) -> Draws:
        """Draws resampled by their weights, or of chains."""
        estimates = {name: of[:, 0].double().cpu().numpy() for name, of in self.model.estimate(block.samples).items()}
        start = {name: of for name, of in estimates.items() if name in self.names}
        samples = {name: of.cpu() for name, of in block.samples.items()}
        seed = seeds.number(PURPOSE, "draws", block.number)
        made = posteriors_by(self._likelihoods, samples, start, count=count, seed=seed, on_observation=on_done)
        return Draws(made.draws, effective=made.ess, doubted=len(made.doubts))


def prior_of(dataset: GeneratedDataset, names: Sequence[str]) -> Prior:
    """The distributions of outputs. Raises QexpError for one that does not vary."""
    for name in names:
        if name not in dataset.test:
            raise QexpError(f"'{name}' does not vary in the dataset, so that its posterior cannot be tested")
    return Prior([dataset.distributions[name] for name in names])

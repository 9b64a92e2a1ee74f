"""Posteriors of simulated observations beside the values that made these."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.seeds import Seeds
from qexp.errors import QexpError, suggestion
from qexp.inference.density import Prior, of_training
from qexp.kinds.evaluation import ALL, PARTS, TRAIN
from qexp.kinds.images.posteriors import Likelihoods, posteriors
from qexp.metrics.calibration import density_levels, positions, reference_levels
from qexp.networks.estimator import Estimator
from qexp.simulation.dataset import GeneratedDataset, Intervals

PURPOSE = "calibration"
"""Of the random streams: none that a training uses."""

SIMULATED = 100
"""Observations that are simulated at a time, with a random stream of their own."""


@dataclass(frozen=True)
class Batch:
    """Simulated observations and the values that made them."""

    number: int
    start: int
    values: Mapping[str, Array]
    """Varying variable → (observation,), in its unit."""
    samples: Mapping[str, Tensor]
    """All variables of the dataset, as a network takes them."""


def batches(
    dataset: GeneratedDataset, part: Intervals, count: int, size: int, seeds: Seeds, device: torch.device
) -> Iterator[Batch]:
    """`count` observations of a part of the distributions, in batches; the same ones, whatever the size of a batch.

    size  of a batch, a multiple of `SIMULATED`
    """
    values = dataset.values(part, count, seeds, (PURPOSE,))
    for number, start in enumerate(range(0, count, size)):
        of_batch = {name: column[start : start + size] for name, column in values.items()}
        simulated = []
        for first in range(start, min(start + size, count), SIMULATED):
            few = {name: column[first : min(first + SIMULATED, start + size)] for name, column in values.items()}
            simulated.append(dataset.observe(few, seeds.torch(device, PURPOSE, "noise", first)))
        samples = {name: torch.cat([few[name] for few in simulated]) for name in simulated[0]}
        yield Batch(number, start, of_batch, samples)


def quantiles_of(dataset: GeneratedDataset, part: str, split: list[float], run_seed: int) -> Intervals:
    """The quantile intervals of a part, as the run divides them. Raises QexpError for an unknown part."""
    if part not in PARTS:
        raise QexpError(f"`part={part}`: {suggestion(part, PARTS)}")
    if part == ALL:
        return {name: [(0.0, 1.0)] for name in dataset.test}
    return dataset.parts(split, Seeds(run_seed))[part]


# Where the true values of observations lie in their posteriors.


PROBABILITIES = (0.05, 0.16, 0.5, 0.84, 0.95)
"""Of the quantiles that are kept of each posterior."""

LOW, MEDIAN, HIGH = PROBABILITIES.index(0.05), PROBABILITIES.index(0.5), PROBABILITIES.index(0.95)

LEAST_SHARE = 5e-5
"""Of the prior below or above the ends of its axes."""


@dataclass(frozen=True)
class ObservationDraws:
    """Draws from the posteriors of observations, in the outputs' units.

    values        (observation, draw, output)
    log_density   (observation, draw), None where it is unknown
    of_truth      (observation,), the log density of the true values
    effective     (observation,), the independent draws that they are worth; None: all are independent
    doubted       number of observations whose draws are, by their method, not to be trusted
    """

    values: Array
    log_density: Array | None = None
    of_truth: Array | None = None
    effective: Array | None = None
    doubted: int = 0


@dataclass(frozen=True)
class TruthPositions:
    """Where the true values of observations lie; the first axis of all arrays is the observation."""

    truth: Array
    """(observation, output), in the outputs' units."""
    positions: Array
    """(observation, output), share of draws below."""
    quantiles: Array
    """(observation, output, probability), in the outputs' units."""
    balls: Array
    """(observation,), posterior probability of the ball around a random point that reaches to the truth."""
    density: Array
    """(observation,), posterior probability of where the density is higher; (0,) where densities are unknown."""


def prior_of_outputs(dataset: GeneratedDataset, names: Sequence[str]) -> Prior:
    """The distributions of outputs. Raises QexpError for one that does not vary."""
    for name in names:
        if name not in dataset.test:
            raise QexpError(f"'{name}' does not vary in the dataset, so that its posterior cannot be tested")
    return Prior(names, [of_training(name, dataset.distributions[name], 1.0) for name in names], {})


def shares_below(prior: Prior, values: Array) -> Array:
    """The share of the prior below values, (..., output)."""
    columns = [ndtr(marginal.score(values[..., column])) for column, marginal in enumerate(prior.marginals)]
    return np.stack(columns, axis=-1)


def values_above(prior: Prior, output: int, shares: Array) -> Array:
    """The values of an output below which these shares of the prior lie."""
    return prior.marginals[output].value(ndtri(np.clip(shares, LEAST_SHARE, 1 - LEAST_SHARE)))


def locate(truth: Array, draws: ObservationDraws, prior: Prior, random: np.random.Generator) -> TruthPositions:
    """Locate true values, (observation, output), among draws. Raises QexpError for draws that are not finite."""
    values, count = draws.values, draws.values.shape[2]
    if wrong := int(np.sum(~np.isfinite(values).all(axis=(1, 2)))):
        raise QexpError(f"the posteriors of {wrong:,} of {len(values):,} observations have draws that are not finite")
    columns = [positions(truth[:, output], values[:, :, output], random, draws.effective) for output in range(count)]
    references = random.random(truth.shape)
    shares = shares_below(prior, truth), shares_below(prior, values)
    balls = reference_levels(*shares, references, random, draws.effective)
    density = np.zeros(0)
    if draws.log_density is not None and draws.of_truth is not None:
        density = density_levels(draws.of_truth, draws.log_density, random, draws.effective)
    quantiles = np.moveaxis(np.quantile(values, PROBABILITIES, axis=1), 0, -1)
    return TruthPositions(truth, np.stack(columns, axis=1), quantiles, balls, density)


def concatenate(parts: Sequence[TruthPositions]) -> TruthPositions:
    """Observations one after the other."""
    names = [field.name for field in fields(TruthPositions)]
    return TruthPositions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


# The posteriors of a run that are tested: those of its network's head, or those after the likelihood step.


OnDone = Callable[[int], None]
"""Takes how many observations of a batch are done."""


class HeadPosteriors:
    """Posteriors by a network's posterior heads. Raises QexpError for a network without any.

    held_out  variables of which the network never saw some intervals
    names     of the outputs, in the order of the draws' last axis
    together  observations that are best taken at a time
    """

    together = 100

    def __init__(self, model: Estimator, held_out: Sequence[str], device: torch.device) -> None:
        self.model, self.held_out, self.device = model, held_out, device
        self.names = [name for outputs in model.network.heads.values() for name in outputs]
        if not self.names:
            raise QexpError(
                f"the network estimates {', '.join(model.network.outputs)} without a posterior; train one whose branch "
                "ends with a posterior head, such as 'gaussian_posterior', or test the posteriors of the known "
                "likelihood with `refined=True`"
            )

    def caution(self, part: str) -> str:
        """Why draws from a part of the distributions are not from the prior of training; empty if they are."""
        if not self.held_out or part == TRAIN:
            return ""
        return (
            f"the network never saw the held-out intervals of {' and '.join(self.held_out)}: its prior is the training "
            "part, and on draws from elsewhere it cannot be calibrated; test it with `part=train`, or hold nothing out"
        )

    def draws(self, batch: Batch, truth: Array, count: int, seeds: Seeds, on_done: OnDone) -> ObservationDraws:
        """`count` independent draws for each observation of a batch, with their densities.

        truth  (observation, output)
        """
        posterior = self.model.posterior(batch.samples)
        with torch.no_grad():
            draws = posterior.draws(count, seeds.torch(self.device, PURPOSE, "draws", batch.number))
            of_truth = posterior.log_prob(torch.from_numpy(truth).to(draws))
            density = posterior.log_prob(draws)
        on_done(len(truth))
        values = draws.transpose(0, 1).double().cpu().numpy()
        return ObservationDraws(values, density.T.double().cpu().numpy(), of_truth.double().cpu().numpy())


class LikelihoodPosteriors:
    """Posteriors by the likelihood of the dataset, found from the network's estimates.

    images    those that the network takes
    known     its inputs
    held_out  variables of which some intervals are the test part
    """

    together = 1000  # each batch needs the factor of a covariance, and a basis of signals

    def __init__(
        self,
        model: Estimator,
        dataset: GeneratedDataset,
        images: Sequence[str],
        known: Collection[str],
        held_out: Sequence[str],
    ) -> None:
        self.model, self.held_out = model, held_out
        self._likelihoods = Likelihoods(dataset, images, [name for name in dataset.test if name in known])
        self.names = self._likelihoods.names

    def caution(self, part: str) -> str:
        """Likewise; their prior is the whole distribution of each variable."""
        if not self.held_out or part == ALL:
            return ""
        return (
            f"the draws are from the part '{part}', but the prior of the posteriors is the whole: even exact ones "
            "hold such draws more or less often than their probability says"
        )

    def draws(self, batch: Batch, truth: Array, count: int, seeds: Seeds, on_done: OnDone) -> ObservationDraws:
        """The same, resampled by their weights, or of chains."""
        start = {
            name: estimates[:, 0].double().cpu().numpy()
            for name, estimates in self.model.estimate(batch.samples).items()
            if name in self.names
        }
        samples = {name: images.cpu() for name, images in batch.samples.items()}
        seed = seeds.number(PURPOSE, "draws", batch.number)
        draws = posteriors(self._likelihoods, samples, start, count=count, seed=seed, on_observation=on_done)
        return ObservationDraws(draws.values, effective=draws.ess, doubted=len(draws.doubts))


RunPosteriors = HeadPosteriors | LikelihoodPosteriors

"""Posteriors of simulated observations: what a known likelihood says, wherever a network starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.matrix.refinement import Refinement
from qexp.datasets.distributions import Distribution
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.generators import DeformationImages
from qexp.datasets.views import SIZED
from qexp.errors import QexpError
from qexp.estimation.sampling.density import PenalisedSquares, Posterior
from qexp.estimation.sampling.draws import METHODS, Draws
from qexp.estimation.sampling.modes import found, laplace
from qexp.estimation.sampling.prior import Marginal, Prior
from qexp.estimation.sampling.signals import WholeSignals, reduced
from qexp.quantities import base_name, quantity

Array = NDArray[np.float64]

SPANNING, CHECKED, WIDER = 400, 100, 1.3
"""Sources that span the basis of signals, and those on which it is tested; the first spread wider than the prior."""

TOLERANCE = 1e-4
"""Largest error of reduced signals, relative to the signal."""

POOL, STARTS = 512, 3
"""Sources drawn from the prior, the likeliest of which are the starts for each observation besides what is given."""

TOGETHER = 64
"""Observations whose modes are searched together."""


@dataclass(frozen=True)
class Posteriors:
    """Posteriors of observations.

    names     of the variables
    draws     (observation, draw, variable) in the variables' units
    pareto_k  (observation,)  k̂ of the weights; NaN where there are none
    ess       (observation,)  effective number of draws
    methods   (observation,)  by which the draws were found: "importance", or "sampler" where k̂ was too large
    doubts    observation → sentences on why its draws are not to be trusted
    """

    names: tuple[str, ...]
    draws: Array
    pareto_k: Array
    ess: Array
    methods: tuple[str, ...]
    doubts: Mapping[int, Sequence[str]]


def posteriors(
    dataset: GeneratedDataset,
    images: Sequence[str],
    samples: Mapping[str, Tensor],
    start: Mapping[str, Array] | None = None,
    *,
    count: int = 1000,
    seed: int = 0,
    method: str = "auto",
    on_observation: Callable[[int], None] = lambda done: None,
) -> Posteriors:
    """Draws from the posteriors of all varying variables of simulated observations.

    images   the names of the images that are seen
    samples  observations, as the dataset makes them
    start    variable → an estimate for each observation, in its unit, from which a mode is searched; of variables that
             are left out, the likeliest of draws from the prior is taken, as for all without a start
    count    draws for each observation
    Raises QexpError for a dataset whose likelihood is not known.
    """
    names = list(dataset.test)
    _require_known(dataset, images, names)
    refinement = Refinement(dataset, [], dataset.fixed, names)
    data, total = refinement.data(samples), len(samples[images[0]])
    made: list[Draws | None] = [None] * total
    values = np.zeros((total, count, len(names)))
    random, done = np.random.default_rng(seed), 0
    for alike, known, seen in refinement.alike(samples, {}):
        problem = refinement.problem(data[alike], known, seen)
        prior = _prior(dataset, [one.name for one in problem.coordinates.parameters], known)
        whole = WholeSignals(problem, refinement.noise_over_weights(known))
        own = None if start is None else {name: np.asarray(of)[alike] for name, of in start.items()}
        for place, draws in zip(alike, _of_alike(dataset, prior, whole, own, count, method, random), strict=True):
            made[place] = draws
            order = [prior.free.index(name) for name in names]
            units = [quantity(name, dataset.quantities).si_factor for name in names]
            values[place] = prior.free_values(draws.all[:count])[:, order] / units
            done += 1
            on_observation(done)
    every = [one for one in made if one is not None]
    return Posteriors(
        names=tuple(names),
        draws=values,
        pareto_k=np.array([np.nan if one.pareto_k is None else one.pareto_k for one in every]),
        ess=np.array([one.ess for one in every]),
        methods=tuple(one.method for one in every),
        doubts={index: one.doubts for index, one in enumerate(every) if one.doubts},
    )


def _require_known(dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str]) -> None:
    fix_it = "put it into 'fixed' in a copy of the dataset"
    generator = dataset.generator
    if not isinstance(generator, DeformationImages):
        raise QexpError("posteriors by the likelihood are for sources of deformation, and this dataset has none")
    if varying := [name for name in names if base_name(name) in (*SIZED, "noise")]:
        raise QexpError(f"'{varying[0]}' varies, and with it the covariance of the noise; {fix_it}")
    columns = {name for source in generator.sources for name in source.columns}
    if others := [name for name in names if name not in columns]:
        raise QexpError(f"'{others[0]}' varies, but is no parameter of a source; {fix_it}")
    if unseen := [name for name in generator.images(dataset.variables) if name not in images]:
        raise QexpError(f"'{unseen[0]}' is not seen; posteriors by the likelihood need all images of the dataset")


def _prior(dataset: GeneratedDataset, columns: Sequence[str], known: Mapping[str, float]) -> Prior:
    """The prior of the dataset, of the columns of its sources."""
    marginals = []
    for name in (name for name in columns if name in dataset.test):
        of = quantity(name, dataset.quantities)
        marginals.append(marginal(name, dataset.distributions[name], of.si_factor))
    return Prior(columns, marginals, {name: known[name] for name in columns if name not in dataset.test})


def marginal(name: str, distribution: Distribution, factor: float) -> Marginal:
    """The prior by a distribution of values in the unit that is `factor` SI units."""
    low, high = (factor * end for end in distribution.support())
    return Marginal(name, lambda share: factor * distribution.quantile(share), low, high, "of the training data")


def _of_alike(
    dataset: GeneratedDataset,
    prior: Prior,
    whole: WholeSignals,
    start: Mapping[str, Array] | None,
    count: int,
    method: str,
    random: np.random.Generator,
) -> Iterator[Draws]:
    """Draws for each of the observations of one problem."""
    free = len(prior.free)
    spanning, checked = WIDER * random.standard_normal((SPANNING, free)), random.standard_normal((CHECKED, free))
    signals = reduced(whole, prior.values(spanning), prior.values(checked), TOLERANCE) or whole
    pool = random.standard_normal((POOL, free))
    of_pool = signals(prior.values(pool))
    possible = torch.isfinite(of_pool[:, 0])
    pool, of_pool = pool[possible.numpy()], of_pool[possible]
    squares = of_pool.square().sum(dim=1) + torch.from_numpy(np.square(pool).sum(axis=1))
    likeliest = (squares - 2 * signals.data @ of_pool.mT).argsort(dim=1)[:, :STARTS].numpy()
    given = None if start is None else _scores_of(start, prior, dataset, pool[likeliest[:, 0]])
    for first in range(0, len(signals.data), TOGETHER):
        some = np.arange(first, min(first + TOGETHER, len(signals.data)))
        starts = pool[likeliest[some]]
        if given is not None:
            starts = np.concatenate([given[some, None], starts], axis=1)
        each = starts.shape[1]
        minima = found(PenalisedSquares(signals, prior), starts.reshape(-1, free), np.repeat(some, each))
        for index, observation in enumerate(some):
            density = Posterior(signals.of(int(observation)), prior)
            proposal = laplace(density, minima.of(range(index * each, (index + 1) * each)))
            yield METHODS[method](density, proposal, count, random)


def _scores_of(start: Mapping[str, Array], prior: Prior, dataset: GeneratedDataset, otherwise: Array) -> Array:
    """Scores of estimates, (observation, free parameter), with those of `otherwise` where there is none."""
    scores = otherwise.copy()
    for column, one in enumerate(prior.marginals):
        if one.name in start:
            values = np.asarray(start[one.name], dtype=np.float64) * quantity(one.name, dataset.quantities).si_factor
            scores[:, column] = np.where(np.isfinite(values), one.score(values), scores[:, column])
    return scores

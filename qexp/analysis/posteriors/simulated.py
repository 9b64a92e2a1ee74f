"""Posteriors of simulated observations: what a known likelihood says, wherever a network starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.posteriors.likelihood import Likelihood
from qexp.analysis.posteriors.likelihoods import Likelihoods
from qexp.inference.density import PenalisedSquares, Posterior, Prior, Signals
from qexp.inference.posterior import Found, found, laplace, nearby, searched
from qexp.inference.sampling import METHODS, Draws
from qexp.simulation.dataset import GeneratedDataset

Array = NDArray[np.float64]

SPANNING, CHECKED, WIDER = 400, 100, 1.3
"""Sources that span the basis of signals, and those on which it is tested; the first spread wider than the prior."""

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
    given: Sequence[str] = (),
    count: int = 1000,
    seed: int = 0,
    method: str = "auto",
    on_observation: Callable[[int], None] = lambda done: None,
) -> Posteriors:
    """Draws from the posteriors of all unknown variables of simulated observations.

    images   the names of the images that are seen
    samples  observations, as the dataset makes them
    start    variable → an estimate for each observation, in its unit, from which a mode is searched; of variables that
             are left out, the likeliest of draws from the prior is taken, as for all without a start
    given    varying variables whose values, among the samples, are known
    count    draws for each observation
    Raises QexpError for a dataset whose likelihood is not known.
    """
    known = Likelihoods(dataset, images, given)
    return posteriors_by(known, samples, start, count=count, seed=seed, method=method, on_observation=on_observation)


def posteriors_by(
    likelihoods: Likelihoods,
    samples: Mapping[str, Tensor],
    start: Mapping[str, Array] | None = None,
    *,
    count: int = 1000,
    seed: int = 0,
    method: str = "auto",
    on_observation: Callable[[int], None] = lambda done: None,
) -> Posteriors:
    """As `posteriors`, by likelihoods that keep what observations share for the next call."""
    names = likelihoods.names
    total, random, done = len(samples[likelihoods.images[0]]), np.random.default_rng(seed), 0
    made: list[Draws | None] = [None] * total
    values = np.zeros((total, count, len(names)))
    for alike, likelihood in likelihoods(samples):
        own = None if start is None else {name: np.asarray(of)[alike] for name, of in start.items()}
        for place, (draws, of_draws) in zip(alike, _of_alike(likelihood, own, count, method, random), strict=True):
            made[place] = draws
            values[place] = of_draws[:, [likelihood.names.index(name) for name in names]]
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


def _of_alike(
    likelihood: Likelihood, start: Mapping[str, Array] | None, count: int, method: str, random: np.random.Generator
) -> Iterator[tuple[Draws, Array]]:
    """Draws for each of the observations of one likelihood, and their values, (draw, unknown)."""
    prior, free = likelihood.prior, len(likelihood.prior.free)
    spanning, checked = WIDER * random.standard_normal((SPANNING, free)), random.standard_normal((CHECKED, free))
    fewer = likelihood.reduced(prior.values(spanning), prior.values(checked))
    signals = fewer or likelihood.signals
    starts = _starts(likelihood, signals, start, random)
    singly = likelihood.level is not None or any(one.period is not None for one in prior.marginals)
    every = _each(likelihood, signals, starts) if singly else _together(prior, signals, starts)
    for observation, one in enumerate(every):
        if fewer is None:
            draws = nearby(one, likelihood.of(observation), method, count, random)
        else:
            draws = METHODS[method](one.density, one.proposal, count, random)
        yield draws, likelihood.values(draws.all[:count], one.prior)


def _starts(
    likelihood: Likelihood, signals: Signals, start: Mapping[str, Array] | None, random: np.random.Generator
) -> Array:
    """(observation, start, free parameter), scores: the given one, and the likeliest of a pool of draws."""
    prior = likelihood.prior
    pool = random.standard_normal((POOL, len(prior.free)))
    of_pool = signals(prior.values(pool))
    possible = torch.isfinite(of_pool[:, 0])
    pool, of_pool = pool[possible.numpy()], of_pool[possible]
    squares = of_pool.square().sum(dim=1) + torch.from_numpy(np.square(pool).sum(axis=1))
    likeliest = (squares - 2 * signals.data @ of_pool.mT).argsort(dim=1)[:, :STARTS].numpy()
    if start is None:
        return np.asarray(pool[likeliest])
    given = likelihood.scores(start, pool[likeliest[:, 0]])
    return np.concatenate([given[:, None], pool[likeliest]], axis=1)


def _each(likelihood: Likelihood, signals: Signals, starts: Array) -> Iterator[Found]:
    """The posterior of each observation, with angles turned and a noise level."""
    for observation, own in enumerate(starts):
        yield searched(signals.of(observation), likelihood.prior, own, likelihood.level)


def _together(prior: Prior, signals: Signals, starts: Array) -> Iterator[Found]:
    """The posterior of each observation, with the modes of many searched at a time."""
    _, each, free = starts.shape
    for first in range(0, len(starts), TOGETHER):
        some = np.arange(first, min(first + TOGETHER, len(starts)))
        minima = found(PenalisedSquares(signals, prior), starts[some].reshape(-1, free), np.repeat(some, each))
        for index, observation in enumerate(some):
            density = Posterior(signals.of(int(observation)), prior)
            yield Found(prior, None, density, laplace(density, minima.of(range(index * each, (index + 1) * each))))

"""The posterior of the sources of an observation in users' units: draws, intervals, and how they were found."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.analysis.inversion.asked import PosteriorAsked, Units, shown
from qexp.datasets.distributions import Distribution
from qexp.estimation.fit import Fit
from qexp.estimation.parameters import Search
from qexp.estimation.problem import Problem
from qexp.estimation.sampling.draws import Draws
from qexp.estimation.sampling.observation import ObservedPosterior, observed_posterior
from qexp.estimation.sampling.prior import Marginal, Prior, uniform
from qexp.estimation.tilts import within_limits
from qexp.metrics.periodic import nearest
from qexp.quantities import quantity
from qexp.seeds import Seeds

Array = NDArray[np.float64]

COVERAGE = 0.9

PREDICTED = 200
"""Draws, of all chains together, for which data are simulated."""

REACH = 10.0
"""Bounds of the uniform prior of a parameter without bounds: this multiple of its best estimate, to both sides."""

EDGE, CROWDED = 2.5, 0.05
"""Absolute score beyond which a draw lies at an edge of the prior, where one in eighty of the prior does; and the share
of draws there from which on that is said."""


@dataclass(frozen=True)
class ParameterPosterior:
    """The posterior of one parameter, in its unit.

    low, high              of the central 90 % interval
    prior, least, largest  what its prior is, in words, and the values between which it lies
    """

    unit: str
    median: float
    mean: float
    deviation: float
    low: float
    high: float
    prior: str
    least: float
    largest: float

    def document(self) -> dict[str, Any]:
        return {
            "median": self.median,
            "mean": self.mean,
            "standard_deviation": self.deviation,
            "interval90": [self.low, self.high],
            "unit": self.unit,
            "prior": {"distribution": self.prior, "between": [self.least, self.largest]},
        }


@dataclass(frozen=True)
class SourcePosterior:
    """Draws from the posterior of the estimated parameters of the sources.

    parameters    name → its posterior
    draws         (chain, draw, parameter) in the parameters' units
    log_density   (chain, draw)  in the scores of the prior, but for a constant
    noise_factor  (chain, draw)  what the declared errors are multiplied with; None if they count as they are
    predicted     (chain, some, point)  data that such sources and the noise would give at the points of the observation
                  [m], for draws that are evenly spaced in each chain: the posterior predictive distribution
    found         how the draws were found
    seconds       that took
    """

    parameters: Mapping[str, ParameterPosterior]
    draws: Array
    log_density: Array
    noise_factor: Array | None
    predicted: Array
    found: Draws
    seconds: float
    remarks: Sequence[str]

    @property
    def all(self) -> Array:
        """The draws of all chains, (draw, parameter)."""
        return self.draws.reshape(-1, self.draws.shape[-1])

    @property
    def correlations(self) -> Array:
        return np.corrcoef(self.all.T).reshape(len(self.parameters), len(self.parameters))

    @property
    def typical_noise_factor(self) -> float | None:
        """The median of the factor."""
        return None if self.noise_factor is None else float(np.median(self.noise_factor))

    def document(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        names = list(self.parameters)
        rows = zip(names, self.correlations.tolist(), strict=True)
        return {
            "method": self.found.method,
            "draws": len(self.all),
            "pareto_k": self.found.pareto_k,
            "ess": self.found.ess,
            "r_hat": self.found.r_hat,
            "noise_factor": self.typical_noise_factor,
            "parameters": {name: one.document() for name, one in self.parameters.items()},
            "correlations": {name: dict(zip(names, row, strict=True)) for name, row in rows},
            "remarks": list(self.remarks),
            "seconds": self.seconds,
        }


def source_posterior(
    problem: Problem,
    fit: Fit,
    searches: Sequence[Search],
    units: Units,
    distributions: Mapping[str, Distribution],
    asked: PosteriorAsked,
    seed: int,
) -> SourcePosterior:
    """The posterior of the free parameters of a problem.

    distributions  column → its prior, in its unit relative to the origin; others are uniform between their bounds
    """
    began = time.perf_counter()
    prior = _prior(problem, fit, searches, units, distributions)
    made = observed_posterior(
        problem, fit, searches, prior, method=asked.method, count=asked.draws, unknown_level=asked.unknown_noise,
        seed=seed,
    )  # fmt: skip
    draws = _in_units(made, problem, fit, units)
    seconds = time.perf_counter() - began
    parameters = {
        shown(one.name): _summary(one, draws[:, column], units) for column, one in enumerate(made.prior.marginals)
    }
    chains = made.draws.scores.shape[:2]
    levels = _noise_factors(made, seed).reshape(chains) if asked.unknown_noise else None
    return SourcePosterior(
        parameters=parameters,
        draws=draws.reshape(*chains, -1),
        log_density=made.log.reshape(chains),
        noise_factor=levels,
        predicted=_predicted(problem, made, levels, seed),
        found=made.draws,
        seconds=seconds,
        remarks=[*made.draws.doubts, *_crowded(made)],
    )


def _prior(
    problem: Problem, fit: Fit, searches: Sequence[Search], units: Units, distributions: Mapping[str, Distribution]
) -> Prior:
    """Uniform between the bounds of the search, or as a run's training data are distributed."""
    fixed, marginals = problem.coordinates.fixed, []
    turning = {name for tilt in problem.coordinates.tilts for name in _turning(problem, tilt.angle, tilt.strike)}
    for one, value in zip(searches, fit.values.tolist(), strict=True):
        name, low, high, period = one.parameter.name, one.parameter.low, one.parameter.high, one.parameter.period
        if name in fixed:
            continue
        if name in distributions:
            factor = quantity(name, units.quantities).si_factor  # also of positions, which results have in metres
            marginals.append(_of_training(name, distributions[name], factor, low, high))
        elif name in turning:  # a dip of 100° is one of 80° to the other side, so that each source counts once
            marginals.append(uniform(name, 0.0, math.pi, math.pi))
        elif period is not None:
            marginals.append(uniform(name, 0.0, period, period))
        else:
            reach = REACH * abs(value) if math.isinf(high - low) else math.inf
            marginals.append(uniform(name, max(low, -reach), min(high, reach)))
    return Prior([one.parameter.name for one in searches], marginals, fixed)


def _turning(problem: Problem, *columns: int) -> list[str]:
    return [problem.coordinates.names[column] for column in columns]


def _of_training(name: str, distribution: Distribution, factor: float, low: float, high: float) -> Marginal:
    least, largest = (factor * end for end in distribution.support())
    return Marginal(
        name, lambda share: factor * distribution.quantile(share), max(low, least), min(high, largest),
        "of the training data",
    )  # fmt: skip


def _in_units(made: ObservedPosterior, problem: Problem, fit: Fit, units: Units) -> Array:
    """The draws, (draw, free parameter), in users' units; angles with a period within half of it around the fit."""
    coordinates = problem.coordinates
    at, _ = within_limits(coordinates.of(made.prior.values(made.draws.all)), coordinates.tilts)
    values = coordinates.values(at).numpy()
    columns = []
    for column in coordinates.free:
        one = coordinates.parameters[column]
        own = nearest(values[:, column], float(fit.values[column]), one.period)
        columns.append(units.from_si(one.name, 0.0) + own / units.factor(one.name))
    return np.stack(columns, axis=1)


def _summary(one: Marginal, draws: Array, units: Units) -> ParameterPosterior:
    tail = (1 - COVERAGE) / 2
    low, median, high = map(float, np.quantile(draws, [tail, 0.5, 1 - tail]))
    least, largest = (units.from_si(one.name, end) for end in (one.low, one.high))
    return ParameterPosterior(
        units.of(one.name), median, float(draws.mean()), float(draws.std(ddof=1)), low, high, one.words, least, largest
    )


def _noise_factors(made: ObservedPosterior, seed: int) -> Array:
    """Draws of the factor of the errors given the sources: χ² over it has a χ² distribution."""
    random = np.random.default_rng([seed, 1])
    return np.sqrt(made.chi2 / random.chisquare(made.degrees, len(made.chi2)))


def _predicted(problem: Problem, made: ObservedPosterior, levels: Array | None, seed: int) -> Array:
    scores = made.draws.scores
    chains, draws = scores.shape[:2]
    some = np.linspace(0, draws, max(1, min(draws, PREDICTED // chains)), endpoint=False, dtype=np.int64)
    values = made.prior.values(scores[:, some].reshape(chains * len(some), -1))
    factors = torch.ones(len(values)) if levels is None else torch.from_numpy(levels[:, some].ravel())
    random = Seeds(seed).torch(torch.device("cpu"), "posterior predictive")
    drawn = problem.weighting.simulated(problem.model(values), problem.data, factors.double(), random)
    return drawn.numpy().reshape(chains, len(some), -1)


def _crowded(made: ObservedPosterior) -> list[str]:
    """A sentence for each parameter whose posterior lies at an edge of its prior."""
    said = []
    for one, scores in zip(made.prior.marginals, made.draws.all.T, strict=True):
        share = float((np.abs(scores) > EDGE).mean())
        if share > CROWDED and one.period is None:
            said.append(
                f"{share:.0%} of the posterior of {shown(one.name)} lies at an edge of its prior: the result depends "
                "on the prior's bounds; change them with --bounds"
            )
    return said

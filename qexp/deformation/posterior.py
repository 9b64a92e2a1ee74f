"""The posterior of sources in users' units: draws, intervals, and how they were found."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from qexp.base.arrays import Array
from qexp.base.quantities import nearest, quantity
from qexp.base.seeds import Seeds
from qexp.deformation.contradictions import COMMON, KNOWN, OWN, predictive_p_values, unexplained
from qexp.deformation.options import CROWDED, METHODS, SAMPLED, USUAL_DRAWS, InvertOptions
from qexp.errors import QexpError, extra, suggestion
from qexp.inference.density import (
    Marginal,
    PosteriorDensity,
    Prior,
    of_training,
    power,
    uniform,
    whole_signals,
)
from qexp.inference.descriptions import Descriptions
from qexp.inference.evidence import Evidence
from qexp.inference.fit import Fit, threshold
from qexp.inference.least_squares import Problem
from qexp.inference.parameters import Search, Units, display_name, within_limits
from qexp.inference.posterior import ObservedPosterior, observed_posterior
from qexp.inference.sampling import Draws
from qexp.inference.unknown_noise import (
    DrawnNoise,
    UnknownNoise,
    likeliest,
    noise_draws,
    unknown_noise,
)
from qexp.observations.observation import Track
from qexp.simulation.distributions import Distribution

COVERAGE = 0.9

PREDICTED = 200
"""Draws, of all chains together, for which data are simulated."""

EDGE = 2.5
"""Absolute score beyond which a draw lies at the prior's edge, as one in eighty of an even one."""


def noise_remarks(tracks: Sequence[Track], sampled: bool = False) -> Iterator[str]:
    if any(track.has_estimated_noise for track in tracks):
        narrow = "intervals are somewhat too narrow"
        if sampled:
            narrow = "intervals of least squares are too narrow; in the posterior it is unknown"
        known = f"but its type, range and nugget count as known: {narrow}"
        yield f"the noise was estimated from the same data, {known}"


@dataclass(frozen=True)
class ParameterPosterior:
    """The posterior of one parameter, in its unit.

    low, high              of the central 90 % interval
    interval95             of the central 95 % interval, to stand beside those of least squares
    prior, least, largest  what its prior is, in words, and the values between which it lies
    at_edge                share of the draws at an edge of the prior, in the outer eightieth of
                           what lies between the values; of an angle all around None
    """

    unit: str
    median: float
    mean: float
    deviation: float
    low: float
    high: float
    interval95: tuple[float, float]
    prior: str
    least: float
    largest: float
    at_edge: float | None

    @property
    def is_cut(self) -> bool:
        """Whether the prior cuts the posterior off, which would else reach further."""
        return self.at_edge is not None and self.at_edge > CROWDED

    def document(self) -> dict[str, Any]:
        return {
            "median": self.median,
            "mean": self.mean,
            "standard_deviation": self.deviation,
            "interval90": [self.low, self.high],
            "interval95": [*self.interval95],
            "unit": self.unit,
            "prior": {
                "distribution": self.prior,
                "between": [self.least, self.largest],
                "at_edge": self.at_edge,
            },
        }


@dataclass(frozen=True, repr=False)
class SourcePosterior:
    """Draws from the posterior of the estimated parameters of the sources.

    parameters    name → its posterior
    draws         (chain, draw, parameter) in the parameters' units
    log_density   (chain, draw)  in the scores of the prior, but for a constant
    noise_factor  (chain, draw)  what the declared errors are multiplied with; None if by nothing,
                  or if the noise of each track is sampled
    noise         such as "ascending.sill" → its posterior; empty if noise is not sampled
    noise_draws   (chain, draw, of `noise`)
    predicted     (chain, some, point)  data that such sources and the noise would give at the
                  points of the observation [m], for draws that are evenly spaced in each chain: the
                  posterior predictive distribution
    found         how the draws were found
    better        column → value in SI units relative to the origin, of a source that fits better
                  than the estimate, by more than its intervals reach; None if there is none
    seconds       that took
    evidence      over that of no source
    sensitivities  name → see `sensitivity`
    p_values      track → see `predictive_p_values`
    """

    parameters: Mapping[str, ParameterPosterior]
    draws: Array
    log_density: Array
    noise_factor: Array | None
    predicted: Array
    found: Draws
    better: Mapping[str, float] | None
    seconds: float
    remarks: Sequence[str]
    evidence: Evidence
    sensitivities: Mapping[str, Mapping[str, Any]]
    p_values: Mapping[str, Mapping[str, float | None]]
    noise: Mapping[str, ParameterPosterior]
    noise_draws: Array

    def __repr__(self) -> str:
        return (
            f"<posterior of {', '.join(self.parameters)}: {len(self.all):,} draws by"
            f" {self.found.method}>"
        )

    @property
    def all(self) -> Array:
        """The draws of all chains, (draw, parameter)."""
        return self.draws.reshape(-1, self.draws.shape[-1])

    def draws_of(self, name: str) -> Array:
        """The draws of a parameter, (chain, draw). Raises QexpError."""
        if name not in self.parameters:
            raise QexpError(f"no parameter '{name}'; {suggestion(name, self.parameters)}")
        return self.draws[..., list(self.parameters).index(name)]

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
            "log_evidence": self.evidence.log,
            "log_evidence_error": self.evidence.error,
            "log_none": self.evidence.none,
            "noise_factor": self.typical_noise_factor,
            "parameters": {
                name: posterior.document() for name, posterior in self.parameters.items()
            },
            "noise": {name: posterior.document() for name, posterior in self.noise.items()},
            "correlations": {name: dict(zip(names, row, strict=True)) for name, row in rows},
            "sensitivity": self.sensitivities,
            "p_values": self.p_values,
            "remarks": list(self.remarks),
            "seconds": self.seconds,
        }


def source_posterior(
    problem: Problem,
    fit: Fit,
    searches: Sequence[Search],
    equal: Descriptions,
    units: Units,
    distributions: Mapping[str, Distribution],
    options: InvertOptions,
    tracks: Sequence[Track],
) -> SourcePosterior:
    """The posterior of the free parameters of a problem.

    equal          of the sources; of equal ones draws are those that are shown
    distributions  column → its prior, in its unit relative to the origin; others are uniform
                   between their bounds
    """
    began = time.perf_counter()
    prior = _prior(problem, searches, units, distributions)
    noises = _unknown_noises(problem, fit, tracks, options)
    observed = observed_posterior(
        *(likeliest(noises, problem, fit) if noises else (problem, fit)),
        searches,
        prior,
        method=options.method or METHODS[0],
        count=options.draws or USUAL_DRAWS,
        unknown_level=not options.declared_noise,
        seed=options.seed,
        on_drawn=options.on_drawn,
        noises=noises,
    )
    draws = _in_units(observed, problem, fit, equal, units)
    seconds = time.perf_counter() - began
    parameters = _summaries(observed, draws, units)
    chains = observed.draws.scores.shape[:2]
    density = observed.density
    if noises:  # else it is by the declared noise already
        density = PosteriorDensity(whole_signals(problem), observed.prior)
    chi2 = density.chi2(observed.draws.all)
    random = np.random.default_rng([options.seed, 1])
    # Of the factor of the errors given the sources: χ² over it has a χ² distribution.
    levels = None
    if not (options.declared_noise or noises):
        levels = np.sqrt(chi2 / random.chisquare(observed.degrees, len(chi2))).reshape(chains)
    better, wrong = _better(observed, chi2, fit, searches)
    drawn = noise_draws(noises, observed.density, observed.draws.all, random)
    of_noise, noise = _of_noise(drawn)
    predicted, whitened = _predicted(problem, observed, levels, drawn, options.seed)
    level = KNOWN if options.declared_noise else COMMON
    level = OWN if noises else level
    p_values = predictive_p_values(problem.weighting, whitened, tracks, level)
    remarks = [
        *wrong,
        *observed.draws.doubts,
        *_cut_by_priors(parameters, searches),
        *unexplained(p_values, tracks),
        *_not_elliptic(dict(zip(parameters, draws.T, strict=True))),
        *noise_remarks(tracks, bool(noises)),
    ]
    return SourcePosterior(
        parameters,
        draws.reshape(*chains, -1),
        observed.log.reshape(chains),
        levels,
        predicted,
        observed.draws,
        better,
        seconds,
        remarks,
        observed.evidence,
        _sensitivities(observed, draws),
        p_values,
        noise,
        np.moveaxis(of_noise.reshape(-1, *chains), 0, -1),
    )


def _better(
    observed: ObservedPosterior, chi2: Array, fit: Fit, searches: Sequence[Search]
) -> tuple[dict[str, float] | None, list[str]]:
    """A drawn source that fits better than the estimate, by more than its intervals reach, and
    what is said of it.
    """
    if fit.chi2 - chi2.min() <= threshold(fit) ** 2:
        return None, []
    values = observed.prior.values(observed.draws.all[[chi2.argmin()]])[0].tolist()
    names = [search.parameter.name for search in searches]
    words = (
        "the posterior has sources that fit better than the estimate: the reduced χ² is"
        f" {chi2.min() / fit.degrees:.4g} with them and {fit.chi2_reduced:.4g} with it; give"
        " more `starts`"
    )
    return dict(zip(names, values, strict=True)), [words]


MOST_SAMPLED = 1000
"""Points of the largest track up to which an estimated noise is sampled unless asked."""


def _unknown_noises(
    problem: Problem, fit: Fit, tracks: Sequence[Track], options: InvertOptions
) -> list[UnknownNoise]:
    """The noise of each track if it is sampled; of those that were declared, if nobody asked, but
    the factor.
    """
    asked = options.noise_model == SAMPLED
    usual = options.noise_model is None and not (options.declared_noise or options.robust)
    estimated = any(track.has_estimated_noise for track in tracks)
    if not asked and not (
        usual and estimated and max(track.size for track in tracks) <= MOST_SAMPLED
    ):
        return []
    return [
        unknown_noise(problem, fit, number, track, asked or track.has_estimated_noise)
        for number, track in enumerate(tracks)
    ]


def _of_noise(drawn: Sequence[DrawnNoise]) -> tuple[Array, dict[str, ParameterPosterior]]:
    """Draws of all parameters of noises, (parameter, draw), and their posteriors."""
    columns = []
    posteriors = {}
    for noise in drawn:
        for name, values, unit, words, ends in noise.parameters():
            columns.append(values)
            summary = _interval(values, unit, words, *ends.tolist())
            posteriors[f"{noise.of_track.track.name}.{name}"] = summary
    return np.array(columns), posteriors


def _cut_by_priors(
    parameters: Mapping[str, ParameterPosterior], searches: Sequence[Search]
) -> Iterator[str]:
    bounded = {display_name(search.parameter.name) for search in searches if search.bounded}
    for name, posterior in parameters.items():
        if posterior.is_cut and name not in bounded:
            yield (
                f"{posterior.at_edge:.0%} of the posterior of {name} lies at an edge of its prior:"
                " the result depends on the prior's bounds; give others with `bounds`"
            )


FAR_FROM_NORMAL = 0.15
"""Difference of distribution functions from which on an ellipse is no picture of draws."""


def _not_elliptic(draws: Mapping[str, Array]) -> Iterator[str]:
    """A sentence for each position that is far from normal, along any of four directions."""
    for east in draws:
        north = f"{east.removesuffix('east')}north"
        if north not in draws or north == east:
            continue
        x = draws[east]
        y = draws[north]
        farthest = 0.0
        for line in (x, y, x + y, x - y):
            spread = line.std() + 1e-9
            shares = ndtr((np.sort(line) - line.mean()) / spread)
            apart = np.abs(shares - np.linspace(0, 1, len(line)))
            farthest = max(farthest, float(apart.max()))
        if farthest > FAR_FROM_NORMAL:
            yield (
                f"the posterior of {east} and {north} is far from normal, so that its ellipse is a"
                " rough outline: see the figure of the posterior"
            )


POWERS, SENSITIVE, APART = (0.99, 1.01), 0.05, 2.0
"""Of prior and likelihood; sensitivity from which on these matter, as in the R package priorsense;
and their distance, in standard deviations of their difference, from which on they disagree.
"""


def sensitivity(draws: Array, log_prior: Array, log_likelihood: Array) -> dict[str, Any]:
    """How much the posterior of a parameter depends on `prior` and `data`, and a `diagnosis`.

    draws           (draw,)
    log_prior       (draw,)  of all parameters together, but for a constant
    log_likelihood  (draw,)  likewise

    Of both it is the cumulative Jensen-Shannon distance per doubling of the power that they are
    raised to: 0.08 for a normal posterior that rests on one alone. Where both matter, each moves
    the mean by their distance times √(share of its precision × that of the other), in normal
    approximations.
    Kallioinen, Paananen, Bürkner and Vehtari (2024), Stat. Comput. 34, 57.
    """
    with extra("posterior"):
        from arviz_stats.base import array_stats

    normal = ndtri((draws.argsort().argsort() + 0.5) / len(draws))
    found = [0.0, 0.0]
    pulls = []
    shares = []
    for part, log in enumerate((log_prior, log_likelihood)):
        apart = log - log.mean()
        # so close to 1 that no weight is large
        weights = [np.exp((power - 1) * apart)[None] for power in POWERS]
        if np.ptp(draws) > 0:
            found[part] = float(array_stats.power_scale_sense(draws[None], *weights, *POWERS))
        pulls.append(float(np.mean(normal * apart)))
        shares.append(max(float(-np.mean(normal**2 * apart)), SENSITIVE))
    diagnosis = "–"
    if found[0] >= SENSITIVE > found[1]:
        diagnosis = "the prior matters more than the data"
    elif found[0] >= SENSITIVE:
        disagree = -math.prod(pulls) > APART**2 * math.prod(shares)
        diagnosis = "prior and data disagree" if disagree else "prior and data both matter"
    return {"prior": found[0], "data": found[1], "diagnosis": diagnosis}


def _sensitivities(observed: ObservedPosterior, draws: Array) -> dict[str, dict[str, Any]]:
    """Of all parameters, by name; draws are in their units, (draw, parameter).

    Priors are raised to powers as the normal densities of scores. A uniform density to any power
    would be the same one; as that of a score it gives its edges more weight or less.
    """
    log_prior = -0.5 * np.square(observed.draws.all).sum(axis=1)
    log_likelihood = observed.log - log_prior
    found = {}
    for marginal, values in zip(observed.prior.marginals, draws.T, strict=True):
        name = display_name(marginal.name)
        found[name] = sensitivity(values, log_prior, log_likelihood)
    return found


def _prior(
    problem: Problem,
    searches: Sequence[Search],
    units: Units,
    distributions: Mapping[str, Distribution],
) -> Prior:
    """As a run's training data are distributed; uniform between bounds, or by what is plausible,
    see `_uninformed`.

    No prior depends on the estimate, which follows the noise of the data.
    """
    fixed = problem.coordinates.fixed
    names = problem.coordinates.names
    marginals = []
    turning = set[str]()
    for tilt in problem.coordinates.tilts:
        turning |= {names[tilt.angle], names[tilt.strike]}
    free = [search for search in searches if search.parameter.name not in fixed]
    # of a size, in the product of the strengths of all free amplitudes without bounds
    powers = Counter[str]()
    for search in free:
        powers.update(search.parameter.powers)
    for search in free:
        name = search.parameter.name
        parameter = search.parameter
        if name in distributions:
            # also of positions, which results have in metres
            factor = quantity(name, units.quantities).si_factor
            ends = (parameter.low, parameter.high)
            marginals.append(of_training(name, distributions[name], factor, *ends))
        # a dip of 100° is one of 80° to the other side, so that each source counts once
        elif name in turning:
            marginals.append(uniform(name, 0.0, math.pi, math.pi))
        elif parameter.period is not None:
            marginals.append(uniform(name, 0.0, parameter.period, parameter.period))
        else:
            marginals.append(_uninformed(search, units, powers[name]))
    return Prior([search.parameter.name for search in searches], marginals, fixed)


def _uninformed(search: Search, units: Units, exponent: int) -> Marginal:
    """Uniform between bounds, or those that are plausible for an amplitude.

    The data show strengths, such as P a³ of the pressure P and the radius a of a sphere, or
    potencies, slips times length times width, and little of what is multiplied. Of a size without
    bounds the density is in proportion to its power in the product of all strengths: with uniform
    densities of the amplitudes, strengths and sizes then have uniform ones, where uniform densities
    of amplitudes and sizes would let the smallest sizes count most.
    """
    parameter = search.parameter
    low = parameter.low
    high = parameter.high
    if exponent and not search.bounded:
        return power(parameter.name, low, high, exponent)
    if not math.isfinite(high - low):
        meaning = quantity(parameter.name, units.quantities)
        least, largest = (parameter.linear and meaning.plausible) or (-math.inf, math.inf)
        low = max(low, meaning.si_factor * least)
        high = min(high, meaning.si_factor * largest)
    if not (math.isfinite(high - low) and low < high):
        name = display_name(parameter.name)
        raise QexpError(
            f"`posterior`: nothing tells which values of {name} are plausible: give it two bounds,"
            f" `bounds={ {name: ('LOW', 'HIGH')} }`, or declare a quantity with plausible=(low,"
            " high)"
        )
    return uniform(parameter.name, low, high)


def _in_units(
    observed: ObservedPosterior, problem: Problem, fit: Fit, equal: Descriptions, units: Units
) -> Array:
    """The draws, (draw, free parameter), in users' units; angles with a period within half of it
    around the fit.
    """
    coordinates = problem.coordinates
    drawn = coordinates.from_values(observed.prior.values(observed.draws.all))
    drawn, _ = within_limits(drawn, coordinates.tilts)
    values = equal.chosen(coordinates.values(drawn).numpy())
    columns = []
    for column in coordinates.free:
        parameter = coordinates.parameters[column]
        nearby = nearest(values[:, column], float(fit.values[column]), parameter.period)
        columns.append(units.from_si(parameter.name, 0.0) + nearby / units.factor(parameter.name))
    return np.stack(columns, axis=1)


def _summaries(
    observed: ObservedPosterior, draws: Array, units: Units
) -> dict[str, ParameterPosterior]:
    """Name → posterior of each parameter, of draws in its unit, (draw, parameter)."""
    summaries = {}
    for column, marginal in enumerate(observed.prior.marginals):
        both = draws[:, column], observed.draws.all[:, column]
        summaries[display_name(marginal.name)] = _summary(marginal, *both, units)
    return summaries


def _summary(marginal: Marginal, draws: Array, scores: Array, units: Units) -> ParameterPosterior:
    least, largest = (units.from_si(marginal.name, end) for end in (marginal.low, marginal.high))
    edges = np.abs(marginal.between_bounds(scores)) > EDGE
    at_edge = None if marginal.period is not None else float(edges.mean())
    unit = units.unit_of(marginal.name)
    return _interval(draws, unit, marginal.words, least, largest, at_edge)


def _interval(
    draws: Array, unit: str, words: str, least: float, largest: float, at_edge: float | None = None
) -> ParameterPosterior:
    tail = (1 - COVERAGE) / 2
    low, median, high, least95, most95 = np.quantile(
        draws, [tail, 0.5, 1 - tail, 0.025, 0.975]
    ).tolist()
    moments = float(draws.mean()), float(draws.std(ddof=1))
    ends = (least95, most95)
    return ParameterPosterior(
        unit, median, *moments, low, high, ends, words, least, largest, at_edge
    )


def _predicted(
    problem: Problem,
    observed: ObservedPosterior,
    levels: Array | None,
    noises: Sequence[DrawnNoise],
    seed: int,
) -> tuple[Array, Array]:
    """What evenly spaced draws of each chain say of the points of the observation.

    levels  (chain, draw)  factors of the errors; None: these are as declared
    Returns data that they would give, (chain, some, point) [m], and the residuals that they leave
    of those that were seen, (draw, point), in units of the noise.
    """
    scores = observed.draws.scores
    chains, draws = scores.shape[:2]
    count = max(1, min(draws, PREDICTED // chains))
    some = np.linspace(0, draws, count, endpoint=False, dtype=np.int64)
    values = observed.prior.values(scores[:, some].reshape(chains * len(some), -1))
    levels = np.ones((chains, draws)) if levels is None else levels
    factors = torch.from_numpy(levels[:, some].ravel()).double()
    random = Seeds(seed).torch(torch.device("cpu"), "posterior predictive")
    models = problem.model(values)
    left = problem.data - models
    if noises:
        rows = np.arange(chains * draws).reshape(chains, draws)[:, some].ravel()
        several, residuals = [], []
        for noise, where in zip(noises, problem.weighting.slices, strict=True):
            data = problem.data[:, where]
            several.append(noise.simulated(rows, models[:, where], data, random))
            residuals.append(noise.whitened(rows, left[:, where]))
        drawn, whitened = torch.cat(several, dim=1), torch.cat(residuals, dim=1)
    else:
        drawn = problem.weighting.simulated(models, problem.data, factors, random)
        whitened = problem.weighting(left) / factors[:, None]
    return drawn.numpy().reshape(chains, len(some), -1), whitened.numpy()

"""One model of an observation: the problem, its minimum, and the result in users' units."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.base.arrays import Array, Pair
from qexp.base.options import Counted
from qexp.base.quantities import Quantities, base_name, in_degrees
from qexp.base.tables import Tables
from qexp.deformation.contradictions import factors, of_residuals
from qexp.deformation.detectable import detectable, require_mappable
from qexp.deformation.inversion import (
    Estimate,
    Inversion,
    TrackResult,
    add_probabilities,
    averages,
    compare_candidates,
)
from qexp.deformation.options import BETWEEN, PER_TRACK, SEARCHING, TESTING, InvertOptions
from qexp.deformation.posterior import SourcePosterior, noise_remarks, source_posterior
from qexp.deformation.tables import detection_words
from qexp.errors import QexpError, some
from qexp.inference.descriptions import ROTATIONS, Descriptions, descriptions_of
from qexp.inference.detection import detection
from qexp.inference.displacements import angle_beside, deformation_of
from qexp.inference.fit import (
    AGREED,
    POOR_CHI2,
    Fit,
    at_values,
    best,
    best_around,
    correlations,
    prepare_problem,
    refine_fit,
    residual_errors,
    scale,
    shows_source,
    standard_errors,
    threshold,
    unneeded_sources,
)
from qexp.inference.least_squares import STARTS, Problem, covariances, starts
from qexp.inference.outliers import without_outliers
from qexp.inference.parameters import (
    Search,
    Units,
    bounds_in_si,
    display_name,
    fixed_in_si,
    in_columns,
    require_near,
    searches,
    sources_named,
)
from qexp.inference.profile import Profile, edges, falls_beyond, with_intervals
from qexp.observations.observation import Observation, Track
from qexp.simulation.distributions import Distribution
from qexp.simulation.generators import Source

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Candidate:
    """Sources whose parameters are estimated together.

    text   as they were asked for: "mogi+okada"
    start  column → value in SI units relative to the origin, from a network; None: many starts
    others  more such starts
    held   columns that keep the value of the start unless bounds are given for them
    distributions  column → its distribution in a network's training, in its unit from the origin
    intervals      column → ends of its 95 % interval by a posterior head, in SI units, likewise
    """

    text: str
    sources: Sequence[Source]
    units: Units
    start: Mapping[str, float] | None = None
    others: Sequence[Mapping[str, float]] = ()
    held: Sequence[str] = ()
    distributions: Mapping[str, Distribution] = field(default_factory=dict)
    intervals: Mapping[str, Pair] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        return [column for source in self.sources for column in source.columns]


def centre_of(observation: Observation) -> Pair:
    """The mean position of the points that count, which keeps the numbers of positions small."""
    places = np.concatenate([track.places[track.observed] for track in observation.tracks])
    return float(places[:, 0].mean()), float(places[:, 1].mean())


def estimate_sources(
    observation: Observation,
    candidate: Candidate,
    options: InvertOptions,
    *,
    others: Sequence[str] = (),
    network: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
) -> Inversion:
    """The sources of an observation by least squares, weighted by the covariance of its noise.

    Without least squares the sources are those of the start, without errors; only offsets and ramps
    are estimated. Where the posterior holds sources that fit better, the search begins once more,
    at the best of them.

    others  parameters of other candidates, which may be fixed or bounded without being an error
            here
    Raises QexpError.
    """
    inversion = _estimate(observation, candidate, options, others, network, remarks)
    if inversion.posterior is None or inversion.posterior.better is None:
        return inversion
    candidate = replace(candidate, others=[*candidate.others, inversion.posterior.better])
    return _estimate(observation, candidate, options, others, network, remarks)


def _estimate(
    observation: Observation,
    candidate: Candidate,
    options: InvertOptions,
    others: Sequence[str],
    network: Mapping[str, Any] | None,
    remarks: Sequence[str],
) -> Inversion:
    began = time.perf_counter()
    units = candidate.units
    tracks = [track.where_observed() for track in observation.tracks]
    places = np.concatenate([track.places for track in tracks]) - units.origin
    fixed, bounds = _held(candidate, options, others, places)
    searched = searches(candidate.sources, places, units.quantities, bounds)
    problem = prepare_problem(
        tracks,
        candidate.sources,
        searched,
        fixed,
        offsets=options.offsets == PER_TRACK,
        ramps=options.ramps,
        origin=units.origin,
    )
    if options.detectable:
        require_mappable(problem)
    options.on_stage(candidate.text, SEARCHING, 0.0)
    fit = _fit(problem, tracks, searched, candidate, options, fixed)
    profile = None
    of_outliers = list[str]()
    if options.robust:
        problem, fit, weights = without_outliers(problem, fit, searched, options.seed)
        of_outliers = [*_outliers(tracks, weights)]
    problem, fit, of_errors = _with_errors(problem, fit, searched, candidate, tracks, options.seed)
    # A network was trained on one of the descriptions.
    equal = descriptions_of(candidate.sources if candidate.start is None else (), searched, fixed)
    of_source = [*of_outliers, *of_errors, *equal.words()]
    if options.least_squares:
        options.on_stage(candidate.text, BETWEEN, 0.0)
        on_end = options.counted(candidate.text, BETWEEN)
        fit, profile = _shown_with_intervals(problem, fit, equal, on_end)
        options.on_stage(candidate.text, TESTING, 0.0)
        of_source += _unneeded(problem, fit, tracks, candidate, searched, options.seed)
    seconds = time.perf_counter() - began
    found, mapped = _seen(problem, searched, tracks, units, options)
    misfit = None
    doubts = list[str]()
    if options.least_squares:
        misfit, doubts = of_residuals(problem, fit, tracks, searched, options.seed)
    posterior, of_posterior = _posterior(problem, fit, searched, equal, candidate, options, tracks)
    said = [*remarks, *_remarks(fit, problem, searched, found)]
    return Inversion(
        source=candidate.text,
        observation=observation,
        parameters=_parameters(fit, candidate, profile, problem, tracks),
        tracks=_tracks(observation, problem, fit, units, options.least_squares),
        estimated=[display_name(name) for name in fit.coordinates.names],
        correlations=correlations(fit),
        chi2=fit.chi2, degrees=fit.degrees,
        unknowns=len(fit.coordinates.free) + problem.weighting.nuisances,
        iterations=fit.iterations, starts=fit.starts, agreeing=fit.agreeing,
        converged=fit.converged, seconds=seconds, network=network, misfit=misfit,
        detection=found, detectable=mapped,
        posterior=posterior, log_determinant=problem.weighting.log_determinant,
        remarks=[*said, *of_source, *doubts, *of_posterior],
    )  # fmt: skip


def _posterior(
    problem: Problem,
    fit: Fit,
    searched: Sequence[Search],
    equal: Descriptions,
    candidate: Candidate,
    options: InvertOptions,
    tracks: Sequence[Track],
) -> tuple[SourcePosterior | None, list[str]]:
    """The posterior, if it is asked for, and what is said of it, or of the noise without one."""
    if not options.posterior:
        return None, [*noise_remarks(tracks)] if options.least_squares else []
    distributions = candidate.distributions
    posterior = source_posterior(
        problem, fit, searched, equal, candidate.units, distributions, options, tracks
    )
    remarks = [*posterior.remarks]
    if not shows_source(problem, fit):
        remarks += only_prior(fit, searched, distributions, posterior.evidence.log)
    return posterior, remarks


def _seen(
    problem: Problem,
    wanted: Sequence[Search],
    tracks: Sequence[Track],
    units: Units,
    options: InvertOptions,
) -> tuple[dict[str, Any] | None, xarray.Dataset | None]:
    """Whether a source is seen, and the least one that would be if that is asked; None for a
    network's estimate alone.
    """
    free = problem.coordinates.free
    if not options.least_squares or not all(wanted[index].can_be_drawn for index in free):
        return None, None
    beside_noise = detection(problem, wanted, tracks, options.seed)
    found = beside_noise.document(options.false_alarms)
    if not options.detectable:
        return found, None
    return found, detectable(problem, beside_noise, wanted, units, options.false_alarms)


def _held(
    candidate: Candidate, options: InvertOptions, others: Sequence[str], stations: Array
) -> tuple[dict[str, float], dict[str, Pair]]:
    """Column → value, and column → bounds, in SI units."""
    units = candidate.units
    lowest = {name: low for name, (low, _) in options.bounds.items()}
    for name, value in (*options.fixed.items(), *lowest.items()):
        if name.rpartition(".")[2] == "depth" and -math.inf < value < 0:
            raise QexpError(
                f"`{'fixed' if name in options.fixed else 'bounds'}[{name}]`: depths are positive,"
                " downwards from where elevations are 0; for a source above, subtract a level"
                " below it from all elevations, such as 1000 m: depths then count from there"
            )
    fixed = dict[str, float]()
    bounds = dict[str, Pair]()
    columns = in_columns(options.fixed, candidate.sources, "fixed", others)
    for column, name in columns.items():
        fixed[column] = fixed_in_si(column, options.fixed[name], units, name)
    columns = in_columns(options.bounds, candidate.sources, "bounds", others)
    for column, name in columns.items():
        bounds[column] = bounds_in_si(column, options.bounds[name], units, name)
    if fixed or bounds:
        for search in searches(candidate.sources, stations, units.quantities, {}):
            column = search.parameter.name
            if column in fixed:
                require_near(search, "fixed", fixed[column], fixed[column], units)
            if column in bounds:
                require_near(search, "bounds", *bounds[column], units)
    if candidate.start is not None:
        held = [name for name in candidate.held if name not in bounds]
        fixed = {name: candidate.start[name] for name in held} | fixed
    if fixed.keys() >= set(candidate.columns):
        raise QexpError(
            "`fixed`: all parameters of the source are fixed; leave one to be estimated"
        )
    return fixed, bounds


def _fit(
    problem: Problem,
    tracks: Sequence[Track],
    wanted: Sequence[Search],
    candidate: Candidate,
    options: InvertOptions,
    fixed: Mapping[str, float],
) -> Fit:
    """The lowest minimum from many starts, or from those of a network; its estimate itself if that
    is not refined.
    """
    if candidate.start is None:
        search = problem.to_search(options.seed)
        count = options.starts or STARTS
        begin = starts(search, wanted, count, options.seed)
        if candidate.others:
            begin = torch.cat([_begin(problem, candidate.others, fixed), begin])
        fit = best(problem, begin, options.seed, on_step=options.counted(candidate.text, SEARCHING))
        # Around sources that the data hardly show there are no end of minima.
        if fit.chi2_reduced < POOR_CHI2 and (
            not shows_source(problem, fit)
            or _unneeded(problem, fit, tracks, candidate, wanted, options.seed)
        ):
            return fit
        return best_around(problem, fit, AGREED, options.seed)
    if options.least_squares:
        begin = _begin(problem, [candidate.start, *candidate.others], fixed)
        return refine_fit(problem, begin, wanted, options.seed)
    return at_values(problem, _begin(problem, [candidate.start], fixed))


def _outliers(tracks: Sequence[Track], weights: Sequence[Array]) -> Iterator[str]:
    for track, of_points in zip(tracks, weights, strict=True):
        if count := int((of_points < OUTLYING).sum()):
            yield (
                f"{count:,} of the {track.size:,} points of '{track.name}' are outliers, whose"
                " squared errors count as three times as large, or more"
            )


OUTLYING = 1 / 3
"""Weight below which a point is called an outlier: more than 3.3 deviations from all others."""
MUCH_WIDER = 1.4
"""Times by which errors of a source that is an approximation widen intervals, from which on a
sentence says so: they then tell as much of these as of the noise.
"""


def _with_errors(
    problem: Problem,
    fit: Fit,
    wanted: Sequence[Search],
    candidate: Candidate,
    tracks: Sequence[Track],
    seed: int,
) -> tuple[Problem, Fit, list[str]]:
    """The problem with the mean errors of its sources, if any is an approximation, taken from
    these, and what is left in the covariance; its minimum; and sentences on errors that are large
    or hardly known.
    """
    values = torch.from_numpy(fit.values)
    model = problem.model.corrected(values)
    errors = model.errors(values)
    if not len(errors):
        return problem, fit, []
    weighting = problem.weighting.with_errors(errors)
    corrected = problem.with_weighting(weighting, model)
    found = refine_fit(corrected, values[None], wanted, seed)
    found = replace(found, starts=fit.starts, agreeing=fit.agreeing)
    remarks = list(_seen_from_beside(tracks, candidate))
    advice = "" if remarks else "; simulate more sources like this one, and train again"
    remarks += [source.doubt for source in model.sources if source.doubt]
    variance = errors.square().sum(dim=0).numpy()
    noise = np.concatenate([block.variance for block in problem.weighting.blocks])
    declared = fit.covariance.diagonal()
    whole = found.covariance.diagonal()
    ratios = np.divide(whole, declared, out=np.ones(len(whole)), where=declared > 0)
    wider = math.sqrt(ratios.max())
    if wider > MUCH_WIDER or variance.mean() > noise.mean():
        variances = variance.mean(), variance.max(), noise.mean()
        error, most, of_noise = (1e3 * math.sqrt(value) for value in variances)
        remarks.append(
            f"{candidate.text} errs by {error:.2g} mm (RMS at the points, up to {most:.2g} mm),"
            f" beside noise of {of_noise:.2g} mm, which makes intervals up to {wider:.3g} times as"
            f" wide as by the noise alone{advice}"
        )
    return corrected, found, remarks


LEAST_BESIDE = 0.5
"""Angle of a line of sight with those along which a source is known, if it is said [degrees]."""


def _seen_from_beside(tracks: Sequence[Track], candidate: Candidate) -> Iterator[str]:
    for track, source in product(tracks, candidate.sources):
        angle = angle_beside(source, track, candidate.units.origin)
        if angle >= LEAST_BESIDE:
            share = 100 * math.sin(math.radians(angle))
            yield (
                f"'{track.name}' is seen from {angle:.1f}° beside the images of the source:"
                f" {share:.2g} % of the displacement counts as an error there; simulate"
                " displacements east, north and up, which tell all directions"
            )


def _shown_with_intervals(
    problem: Problem, fit: Fit, equal: Descriptions, on_end: Counted
) -> tuple[Fit, Profile]:
    """A fit in the description that is shown, and its intervals."""
    fit, profile = with_intervals(problem, _as_chosen(problem, fit, equal), on_end)
    chosen = _as_chosen(problem, fit, equal)
    if chosen is not fit:  # profiles found a lower minimum in another one
        fit, profile = with_intervals(problem, chosen, on_end)
    # Rotations are shown as the smallest ones.
    turns = np.zeros(len(fit.values))
    for index in fit.coordinates.free:
        parameter = fit.coordinates.parameters[index]
        period = parameter.period if base_name(parameter.name) in ROTATIONS else None
        if period and 2 * fit.values[index] > period:
            turns[index] = -period
    of_free = turns[fit.coordinates.free]
    profile = replace(profile, low=profile.low + of_free, high=profile.high + of_free)
    return replace(fit, values=fit.values + turns), profile


def _as_chosen(problem: Problem, fit: Fit, equal: Descriptions) -> Fit:
    """The fit in the description that is shown; itself where it is that already."""
    values = equal.chosen(fit.values[None])[0]
    if np.allclose(values, fit.values, rtol=1e-9):
        return fit
    same = at_values(problem, torch.from_numpy(values)[None])
    same = replace(same, iterations=fit.iterations, converged=fit.converged)
    return replace(same, agreeing=fit.agreeing, starts=fit.starts)


def _unneeded(
    problem: Problem,
    fit: Fit,
    tracks: Sequence[Track],
    candidate: Candidate,
    wanted: Sequence[Search],
    seed: int,
) -> list[str]:
    if not shows_source(problem, fit):  # none is needed
        return []
    sources = problem.model.sources
    unneeded = unneeded_sources(problem, fit, tracks, sources, wanted, candidate.units.origin, seed)
    return [
        f"by BIC the observation does not show '{name}': the reduced χ² is {fit.chi2_reduced:.4g}"
        f" with it and {chi2:.4g} without; leave it out: its parameters are not meaningful, and"
        " make the others less certain"
        for name, chi2 in unneeded.items()
    ]


def _begin(
    problem: Problem, sources: Sequence[Mapping[str, float]], fixed: Mapping[str, float]
) -> torch.Tensor:
    """Values of all parameters, (start, parameter) in SI units, of those that are possible sources.

    Raises QexpError if none is.
    """
    names = [parameter.name for parameter in problem.coordinates.parameters]
    begin = torch.empty(len(sources), len(names), dtype=torch.float64)
    for row, start in zip(begin, sources, strict=True):
        row[:] = torch.tensor([fixed.get(name, start[name]) for name in names], dtype=row.dtype)
    possible = problem.model.possible(begin)
    if not possible.any():
        raise QexpError(
            "the network's estimate is not a possible source: it breaks the surface or lies"
            " above it"
        )
    return begin[possible]


def _parameters(
    fit: Fit, candidate: Candidate, profile: Profile | None, problem: Problem, tracks: list[Track]
) -> dict[str, Estimate]:
    """The estimates with their errors and intervals; without a profile those of a network, with
    the intervals of its posterior head if it has one.
    """
    units = candidate.units
    numbers = {index: number for number, index in enumerate(fit.coordinates.free)}
    deviations = dict[str, Array | None]()
    if profile is not None:
        errors = standard_errors(fit)
        deviations = {"standard_error": errors, "scaled_error": scale(fit) * errors}
        deviations["residual_error"] = residual_errors(fit, problem, tracks)
    estimates = {}
    for index, parameter in enumerate(fit.coordinates.parameters):
        column = parameter.name
        about: dict[str, Any] = {"fixed": index not in numbers}
        ends = candidate.intervals.get(column) if profile is None else None
        if profile is not None and index in numbers:
            number = numbers[index]
            ends = profile.low[number], profile.high[number]
            about["open_ends"] = bool(profile.open_low[number]), bool(profile.open_high[number])
            about["at_bound"] = column in fit.at_bounds
            for name, values in deviations.items():
                # At a bound there is no error to first order: the interval ends there.
                if values is not None and not about["at_bound"]:
                    about[name] = float(values[number]) / units.factor(column)
        if ends is not None:
            low, high = (units.from_si(column, float(end)) for end in ends)
            about["interval95"] = low, high
        value = units.from_si(column, float(fit.values[index]))
        estimates[display_name(column)] = Estimate(value, units.unit_of(column), **about)
    return estimates


def _tracks(
    observation: Observation, problem: Problem, fit: Fit, units: Units, least_squares: bool
) -> dict[str, TrackResult]:
    results = {}
    told = factors(problem, fit) if least_squares else [None] * len(observation.tracks)
    each = zip(observation.tracks, fit.nuisances, fit.residual, told, strict=True)
    for track, nuisances, residual, factor in each:
        amounts = nuisances.amounts
        errors = nuisances.errors
        points = track.where_observed()
        ramp_east, ramp_north = (amounts.get(name, 0.0) for name in RAMP)
        # The ramp is zero at the mean of the points that count.
        east = (track.x - points.x.mean()) / 1e3
        north = (track.y - points.y.mean()) / 1e3
        located = np.isfinite(track.x + track.y + track.direction.sum(axis=1))
        if track.elevation is not None:
            located &= np.isfinite(track.elevation)
        model, residuals = np.full((2, len(track.x)), np.nan)
        at_points = deformation_of(problem.model.sources, [track.select(located)], units.origin)
        model[located] = at_points(fit.source)[0].numpy()
        residuals[track.observed] = residual
        sill = 0.0 if track.noise is None else track.noise.sill
        results[track.name] = TrackResult(
            rms=float(np.sqrt(np.mean(residual**2))),
            error=math.sqrt(np.mean(points.error**2) + sill),
            offset=amounts.get("offset", 0.0),
            n=track.size,
            offset_error=errors.get("offset"),
            ramp=(ramp_east, ramp_north) if RAMP[0] in amounts else None,
            ramp_error=(errors[RAMP[0]], errors[RAMP[1]]) if RAMP[0] in amounts else None,
            model=model,
            surface=amounts.get("offset", 0.0) + ramp_east * east + ramp_north * north,
            residual=residuals,
            factor=factor,
        )
    return results


RAMP = ("ramp_east", "ramp_north")


def _remarks(
    fit: Fit, problem: Problem, wanted: Sequence[Search], found: Mapping[str, Any] | None
) -> Iterator[str]:
    if found is not None and not found["seen"]:
        yield (
            f"{detection_words(found)}; its parameters are not meaningful. Its position is that of"
            " the largest noise: an interval of an amplitude that leaves out zero is no sign of a"
            " source, and intervals of the position are too narrow"
        )
    if found is None and not shows_source(problem, fit):
        points = problem.model.points - problem.weighting.nuisances
        none = problem.chi2_without_source / points
        yield (
            "by BIC the network's estimate does not explain the observation: the reduced χ² is"
            f" {fit.chi2_reduced:.4g} with the source and {none:.4g} without; either the network is"
            " wrong here, or there is no source; `refine=True` searches for the source that fits"
            " best, and tells which"
        )
    if not fit.converged:
        yield (
            f"the estimate did not converge within {fit.iterations} iterations; fix or bound a"
            " parameter"
        )
    bounded = {search.parameter.name for search in wanted if search.bounded}
    for column, fall in falls_beyond(problem, fit).items():
        # of the bounds of the search, open intervals tell
        if column in bounded and fall > threshold(fit) ** 2:
            yield (
                f"{display_name(column)} is at a bound, and the data ask for a value beyond it (χ²"
                f" lower by some {fall:.2g}): widen `bounds`, or fix it"
            )
    if not np.isfinite(fit.covariance).all():
        yield "the observation does not determine all parameters; fix one with `fixed`"
    if names := inseparable(fit, problem):
        yield (
            f"{', '.join(names[:-1])} and {names[-1]} cannot be distinguished: only a combination"
            " of them is determined; `posterior` shows what they may be, or fix one with `fixed`"
        )
    if there := [display_name(name) for name in edges(problem, fit)]:
        yield (
            "the estimate lies at the edge of the sources that the model describes: with"
            f" {some(there, 8)} a little different it would reach the surface, or break another of"
            " the model's rules. Standard errors are not meaningful there, and intervals and"
            f" posteriors end at the edge; `bounds` of {some(there, 8)} keep away from it"
        )


def only_prior(
    fit: Fit, wanted: Sequence[Search], distributions: Mapping[str, Distribution], log: float
) -> Iterator[str]:
    """That a posterior, and the logarithm of its evidence, follow a prior that nobody gave, where
    the data show no source.
    """
    open_names = [
        display_name(search.parameter.name)
        for search in wanted
        if not search.bounded
        and not search.closed  # an emulator's range is its prior
        and search.parameter.period is None
        and search.parameter.name in fit.coordinates.names
        and search.parameter.name not in distributions
    ]
    if open_names:
        yield (
            f"the data hardly show a source (ln evidence {log:.2f} over none), so that the"
            " posterior and this evidence follow the values between which sources are searched,"
            f" which nobody gave; give `bounds` of {some(open_names, 8)} to have those of your"
            " prior"
        )


ALIKE = 0.99
"""Absolute correlation from which on sizes and amplitudes below their errors are not told apart."""


def inseparable(fit: Fit, problem: Problem) -> list[str]:
    """Names of the sizes and amplitudes that trade off against each other, of which the data tell
    none.

    One at a bound counts as free: nothing but the bound tells its value.
    """
    _, _, information = problem.normal_equations(fit.place, torch.arange(1))
    fit = replace(fit, covariance=covariances(information[0]).numpy())
    errors = standard_errors(fit)
    values = np.abs(fit.values[fit.coordinates.free])
    uncertain = list[int]()
    for number, index in enumerate(fit.coordinates.free):
        parameter = fit.coordinates.parameters[index]
        if (parameter.logarithmic or parameter.linear) and errors[number] > values[number]:
            uncertain.append(number)
    strong = np.abs(correlations(fit)[np.ix_(uncertain, uncertain)]) > ALIKE
    rows = zip(uncertain, strong, strict=True)
    shared = [number for number, row in rows if row.sum() > 1]  # with itself it always is
    return [display_name(fit.coordinates.names[number]) for number in shared]


def by_least_squares(
    observation: Observation, options: InvertOptions, tables: Tables
) -> list[Inversion]:
    """An observation inverted for each of the sources, the best by AICc first."""
    quantities: Quantities = tables["quantities"]
    quantities = in_degrees(quantities) if options.degrees else quantities
    units = Units(quantities, options.centre or centre_of(observation))
    candidates = list[Candidate]()
    names = list[str]()
    for text in options.sources:
        candidate = Candidate(text, sources_named(text, tables["generators"]), units)
        candidates.append(candidate)
        names += map(display_name, candidate.columns)
    inversions = [
        estimate_sources(observation, candidate, options, others=names) for candidate in candidates
    ]
    if len(inversions) == 1:
        return inversions
    documents = [inversion.document() for inversion in inversions]
    rivals = compare_candidates(documents)
    averaged = list[dict[str, Any]]()
    if options.posterior:
        add_probabilities(rivals, documents)
        logs = {rival["source"]: rival["log_evidence"] for rival in rivals}
        posteriors = {one.source: one.posterior for one in inversions if one.posterior}
        averaged = averages(posteriors, logs)
    rivals.sort(key=lambda rival: rival["aicc"])
    by_source = {inversion.source: inversion for inversion in inversions}
    sorted_ones = [by_source[rival["source"]] for rival in rivals]
    return [replace(one, rivals=rivals, averaged=averaged) for one in sorted_ones]

"""Whether what a fit leaves of an observation is the declared noise, and which mistake in the data
would explain it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import torch
from scipy.special import fdtrc
from torch import Tensor

from qexp.base.arrays import Array, Pair
from qexp.errors import QexpError
from qexp.inference.fit import Fit, best
from qexp.inference.least_squares import Problem, starts
from qexp.inference.parameters import Search
from qexp.inference.weighting import Weighting
from qexp.metrics.calibration import Misfit, blocks_of, blocks_of_tracks, log_chdtrc, misfit
from qexp.observations.observation import COMPONENTS, Track

SIGNIFICANT = 1e-3
"""p-value below which residuals are said not to be the declared noise."""
DOUBTED = 0.05
"""p-value below which it is tried whether a mistake explains them."""
UNLIKELY = 0.01
"""Posterior predictive p-value from which on a track is explained."""
UNCERTAIN = 3.0
"""Reduced χ² up to which residuals may well be noise of the estimated type: the sill of a
semivariogram is uncertain by half of it and more, and its range too.
"""


def of_residuals(
    problem: Problem, fit: Fit, tracks: Sequence[Track], wanted: Sequence[Search], seed: int
) -> tuple[Misfit, list[str]]:
    """Tests of the whitened residuals at the minimum, (1,) each; and sentences if they are not the
    declared noise.

    Blocks extend over the area of each track.
    """
    found, _ = problem.linearised(fit.place, torch.arange(1))
    residuals = found.numpy()
    slices = problem.weighting.slices
    blocks = blocks_of_tracks(problem.model.positions.numpy(), slices)
    tests = misfit(residuals, blocks, len(fit.coordinates.free) + problem.weighting.nuisances)
    sums = [float(np.square(residuals[0, where]).sum()) for where in slices]
    larger, otherwise = _larger_than_noise(tests, sums, fit.chi2_reduced, tracks)
    doubted = bool(larger or tests.p_value[0] < DOUBTED)
    better = _explained(problem, fit, tracks, wanted, seed, doubted)
    said = list[str]()
    if larger or better:
        said.append(f"{larger or 'the tracks contradict each other'}: {better or otherwise}")
    unknowns = sum(track.size for track in tracks) - fit.degrees
    return tests, [*said, *_smaller_than_noise(sums, unknowns, tracks)]


def _smaller_than_noise(
    sums: Sequence[float], unknowns: int, tracks: Sequence[Track]
) -> Iterator[str]:
    """A sentence for each track whose residuals are smaller than its declared noise can be.

    sums      of the squares of the whitened residuals of each track
    unknowns  values that were fitted: as if all to each track, so that the test is conservative
    Noise that was estimated may be too large by a factor of UNCERTAIN.
    """
    from scipy import special  # quick, unlike scipy.stats

    for track, total in zip(tracks, sums, strict=True):
        degrees = track.size - unknowns
        factor = UNCERTAIN if track.has_estimated_noise else 1
        p_value = len(tracks) * float(special.chdtr(max(degrees, 1), total * factor))
        if degrees > 0 and p_value < SIGNIFICANT:
            yield (
                f"the residuals of '{track.name}' are smaller than its noise ({_amount(p_value)},"
                f" χ² {total:.3g} of {track.size:,} points): its errors are too large, or its"
                " values were smoothed or interpolated; standard errors are too large then, and"
                " this track counts for less than it could"
            )


def _larger_than_noise(
    tests: Misfit, sums: Sequence[float], chi2_reduced: float, tracks: Sequence[Track]
) -> tuple[str, str]:
    """What is said if the residuals are more than the declared noise, and what may be the reason;
    empty if not.

    The tests take the noise as known. Of noise that was estimated the size alone is uncertain by a
    factor of about two, which they would call a misfit: then only residuals that are larger by more
    than that are, and those of tracks whose errors were declared beside it, such as stations.

    sums  of the squares of the whitened residuals of each track
    """
    check = "; check headings, units and signs" * (len(tracks) > 1)
    known = [index for index, track in enumerate(tracks) if not track.has_estimated_noise]
    if len(known) < len(tracks) and chi2_reduced >= UNCERTAIN:
        return (
            f"the residuals are larger than the estimated noise (reduced χ² {chi2_reduced:.3g})",
            (
                "no source of this type explains the observation, or the area from which its noise"
                f" was estimated is quieter than the rest{check}"
            ),
        )
    if not known:
        return "", ""
    logs = {index: float(log_chdtrc(tracks[index].size, sums[index])) for index in known}
    worst = min(known, key=lambda index: (logs[index], -sums[index] / tracks[index].size))
    if len(known) < len(tracks) or tests.p_value[0] >= SIGNIFICANT:
        if (p_value := len(known) * math.exp(logs[worst])) >= SIGNIFICANT:
            return "", ""
        return (
            (
                f"the residuals of '{tracks[worst].name}' are not its declared noise"
                f" ({_amount(p_value)})"
            ),
            (
                "the tracks contradict each other, or no source of this type explains all of"
                f" them{check}"
            ),
        )
    like = [*LIKE.values()][int(tests.logs[:, 0].argmin())]
    amount = _amount(tests.p_value[0])
    return (
        f"the residuals are not the declared noise ({amount}, reduced χ² {chi2_reduced:.3g})",
        (
            f"{like}; either no source of this type explains the observation, or its noise is"
            f" stronger than declared{check}"
        ),
    )


LIKE = {
    "total": "they are larger everywhere",
    "smooth": "they vary over long distances, as those of another source would",
    "local": "they are large in one place, as after an unwrapping error",
}
"""Tests of residuals, and what these are if its p-value is small."""


KNOWN, COMMON, OWN = "known", "common", "own"
"""Factors of errors in a posterior."""


def predictive_p_values(
    weighting: Weighting, whitened: Array, tracks: Sequence[Track], level: str
) -> dict[str, dict[str, float | None]]:
    """Track → test → the probability that data by draws of a posterior leave larger residuals.

    whitened  (draw, point)  weighted data less model, over the factor of all errors
    level     whether that factor is `KNOWN`, `COMMON` to all tracks, or each track has its `OWN`

    The tests are those of `Misfit`, which need no simulated data, as they are exact given a draw.
    Where one factor of all errors is drawn, χ² always fits: `total` then compares that of the track
    with that of all others, by the F distribution. It is None where it could say nothing: of a
    single track, and where each track has its own factor.
    As draws follow the data, p-values of right models are nearer to 1/2 than uniform ones.
    Gelman, Meng and Stern (1996), Stat. Sinica 6, 733-807, with realised discrepancies.
    """
    found = dict[str, dict[str, float | None]]()
    squares = np.square(whitened)
    for track, block, where in zip(tracks, weighting.blocks, weighting.slices, strict=True):
        nuisances = block.nuisances.shape[1]
        tests = misfit(whitened[:, where], blocks_of(track.x, track.y), nuisances)
        degrees = track.size - nuisances
        of_others = whitened.shape[1] - weighting.nuisances - degrees
        silent = level == OWN or (level == COMMON and of_others <= 0)
        if silent:
            tests = replace(tests, total=np.ones(len(squares)))
        elif level == COMMON and degrees > 0:
            own = squares[:, where].sum(axis=1)
            ratio = own / degrees * of_others / (squares.sum(axis=1) - own)
            tests = replace(tests, total=fdtrc(degrees, of_others, ratio))
        found[track.name] = {
            name: float(getattr(tests, name).mean()) for name in ("p_value", *LIKE)
        }
        if silent:
            found[track.name]["total"] = None
    return found


def unexplained(
    found: Mapping[str, Mapping[str, float | None]], tracks: Sequence[Track]
) -> Iterator[str]:
    """A sentence for each track with a small predictive p-value."""
    for track in tracks:
        tests = {name: 1.0 if p is None else p for name, p in found[track.name].items()}
        if tests["p_value"] < UNLIKELY:
            like = LIKE[min(LIKE, key=lambda test: tests[test])]
            yield (
                f"the residuals of '{track.name}' are not what its noise and draws of the posterior"
                f" give ({_amount(tests['p_value'])}): {like}"
                f"{', or its noise is estimated too small' * track.has_estimated_noise}"
            )


def _amount(p_value: float) -> str:
    return f"p = {p_value:.1g}" if p_value > 0 else "p < 1e-300"


# Linear tests at the minimum: how much of further signals there is in the residuals of a track.

LEAST_TOLD = 1e-6
"""Share of the information on an amount that the other unknowns must leave."""


def further(
    problem: Problem, fit: Fit, number: int, some: Tensor | None = None
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Signals in a track, (signal, point) [m] → scores, (signal,), and information, (signal,
    signal), of their amounts.

    All other unknowns are free: the amounts are information⁻¹ score, and their covariance is
    information⁻¹.

    some  numbers of the points of the track that are used; None: all
    """
    weighting = problem.weighting
    where = problem.weighting.slices[number]
    jacobian = fit.jacobian[:, where]
    residual = torch.from_numpy(fit.residual[number])
    if some is not None:
        weighting = Weighting([weighting.blocks[number].select(some.numpy())])
        number = 0
        jacobian = jacobian[:, some]
        residual = residual[some]
    jacobian, residual = (weighting.of_block(number, values) for values in (jacobian, residual))

    def told(signals: Tensor) -> tuple[Tensor, Tensor]:
        signals = weighting.of_block(number, signals)
        shared = signals @ jacobian.mT  # with the other unknowns
        known = signals @ signals.mT - shared @ torch.from_numpy(fit.covariance) @ shared.mT
        return signals @ residual, known

    return told


def factors(problem: Problem, fit: Fit) -> list[Pair | None]:
    """Of each track the factor of the sources' displacement that fits it best beside the other
    tracks, and its standard error by the declared noise: 1 for right data. None where the others do
    not tell it.
    """
    found: list[Pair | None] = []
    model = problem.model(fit.source)
    for number, where in enumerate(problem.weighting.slices):
        score, information = map(float, further(problem, fit, number)(model[:, where]))
        whole = float(problem.weighting.of_block(number, model[:, where]).square().sum())
        told = information > LEAST_TOLD * whole
        found.append((1 + score / information, information**-0.5) if told else None)
    return found


# Mistakes that data may have: for each the problem as if it had not been made.


@dataclass(frozen=True)
class Mistake:
    """A mistake in an observation, which turned tracks, or added signals to one.

    words  what was done as if it had not been made, or how to say so, by the problem and fit then
    turns  number of a track → the matrix by which its directions are multiplied to undo it
    track  number of the one to which signals were added
    added  a problem → signals, (signal, point of the track) [m]; None: none were
    names  of the signals
    gain   reduction of χ² by the linear test; 0 without one
    tried  number of those of its kind of which this is the most likely
    """

    words: str | Callable[[Problem, Fit], str]
    turns: Mapping[int, Tensor] = field(default_factory=dict)
    track: int = 0
    added: Callable[[Problem], Tensor] | None = None
    names: Sequence[str] = ()
    gain: float = 0.0
    tried: int = 1

    def undone(self, problem: Problem) -> Problem:
        """A problem as if the mistake had not been made."""
        model = problem.model
        weighting = problem.weighting
        for number, matrix in self.turns.items():
            model = model.turned(weighting.slices[number], matrix)
        if self.added is not None:
            weighting = weighting.with_nuisances(self.track, self.added(problem), self.names)
        return problem.with_weighting(weighting, model)

    def p_value(self, gain: float, scale: float) -> float:
        return self.tried * math.exp(float(log_chdtrc(max(len(self.names), 1), gain / scale)))


def _turn(angle: float) -> Tensor:
    """Counter-clockwise from above [rad]."""
    cosine = math.cos(angle)
    sine = math.sin(angle)
    return torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)


def _of_geometry(tracks: Sequence[Track]) -> Iterator[Mistake]:
    """Wrong headings and looks."""
    headings = {}
    for number, track in enumerate(tracks):
        if track.instrument.line_of_sight:
            headings[number] = math.atan2(*track.direction.mean(axis=0)[1::-1])
    for first, second in combinations(headings, 2):
        angle = headings[second] - headings[first]
        words = f"with the headings of '{tracks[first].name}' and '{tracks[second].name}' exchanged"
        yield Mistake(words, {first: _turn(angle), second: _turn(-angle)})
    for number in headings:
        words = (
            f"with '{tracks[number].name}' seen from the other side (its look, or its heading"
            " turned by 180°)"
        )
        yield Mistake(words, {number: _turn(math.pi)})


ROUND = 0.15
"""Deviation of a factor from a power of ten up to which it is one."""


def _scaled(track: Track, number: int, about: float) -> Mistake:
    """Displacements of another unit or sign, by what factor about."""

    def words(problem: Problem, fit: Fit) -> str:
        change, error = factors(problem, fit)[number] or (1.0, 0.0)
        factor = about * change
        power = math.copysign(10.0 ** round(math.log10(abs(factor))), factor)
        if power == 1 or abs(factor / power - 1) > max(3 * error / abs(change), ROUND):
            why = "their unit, wavelength or projection to the line of sight?"
            return (
                f"with the displacements of '{track.name}' multiplied by {1 / factor:.3g} ({why})"
            )
        if power == -1:
            return f"with the sign of '{track.name}' turned"
        others = f", or those of all others by {power:g}"  # as the size of the source is free
        return (
            f"with the displacements of '{track.name}' multiplied by {1 / power:g}{others} (their"
            " unit?)"
        )

    return Mistake(words, {number: about * torch.eye(3, dtype=torch.float64)})


def _common_motion(problem: Problem, fit: Fit, track: Track, number: int) -> Mistake | None:
    """Of all stations."""
    axes = np.flatnonzero(np.abs(track.direction).sum(axis=0)).tolist()
    names = [COMPONENTS[axis] for axis in axes]

    def motions(problem: Problem) -> Tensor:
        return problem.model.shifts[problem.weighting.slices[number]][:, axes].mT

    def words(problem: Problem, fit: Fit) -> str:
        amounts = ", ".join(f"{fit.nuisances[number].amounts[name]:.3g} m {name}" for name in names)
        return (
            f"without a motion that all stations of '{track.name}' share ({amounts}: a plate, or"
            " another frame?)"
        )

    scores, information = further(problem, fit, number)(motions(problem))
    if int(torch.linalg.matrix_rank(information, rtol=LEAST_TOLD)) < len(axes):
        return None
    gain = float(scores @ torch.linalg.solve(information, scores))
    return Mistake(words, {}, number, motions, names, gain)


MOST_TESTED, MOST_GENERATIONS = 1000, 40
"""Random points of a track by which steps are searched; generations of that search, at most."""
LEAST_STEP = 0.03
"""Share of the points of a track that a step must move, and leave."""


def _step(problem: Problem, fit: Fit, track: Track, number: int) -> Mistake | None:
    """A part of a track that is shifted, as after an unwrapping error: the most likely of parts
    that two lines at right angles cut off.
    """
    from scipy.optimize import differential_evolution

    def positions(problem: Problem) -> Tensor:
        return problem.model.positions[problem.weighting.slices[number]]

    def cut_off(cut: Array, places: Tensor) -> Tensor:
        turn, *ends = cut.tolist()
        turned = (places - middle) / extent @ _turn(turn)[:2, :2]
        return (turned <= torch.tensor(ends)).all(dim=1).double()

    def loss(cuts: Array) -> Array:
        masks = torch.stack([cut_off(cut, everywhere[some]) for cut in cuts.T])
        scores, information = told(masks)
        known = information.diagonal()
        enough = (masks.mean(dim=1) - 0.5).abs() <= 0.5 - LEAST_STEP
        enough &= known > LEAST_TOLD * known.max()
        return -torch.where(enough, scores.square() / known, 0.0).numpy()

    def words(problem: Problem, fit: Fit) -> str:
        there = cut_off(found.x, everywhere).numpy() > 0
        amount = fit.nuisances[number].amounts["step"]
        share = float(there.mean())
        if share > 0.5:
            there = ~there
            amount = -amount
            share = 1 - share
        place = f"{track.x[there].mean():,.0f} east, {track.y[there].mean():,.0f} north"
        return (
            f"with {share:.0%} of the points of '{track.name}', those around {place},"
            f" {1e3 * abs(amount):.3g} mm {'lower' if amount > 0 else 'higher'}, as after an"
            " unwrapping error,"
        )

    everywhere = positions(problem)
    middle = everywhere.mean(dim=0)
    extent = everywhere.std(dim=0).clamp(min=1)
    some = torch.from_numpy(np.random.default_rng(0).permutation(len(everywhere))[:MOST_TESTED])
    told = further(problem, fit, number, some)
    ranges = [(0, 2 * math.pi), (-2, 2), (-2, 2)]
    found = differential_evolution(
        loss,
        ranges,
        maxiter=MOST_GENERATIONS,
        rng=0,
        polish=False,
        vectorized=True,
        updating="deferred",
    )
    if not found.fun:
        return None
    gain = -float(found.fun)
    tried = found.nfev * len(found.population)

    def signals(problem: Problem) -> Tensor:
        return cut_off(found.x, positions(problem))[None]

    return Mistake(words, {}, number, signals, ["step"], gain, tried)


# The fit repeated without each mistake.

STARTS_WITHOUT = 8
TOLERANCE_WITHOUT, SEARCH_WITHOUT = 1e-3, ((8, 3), (22, 1))
"""Tolerance, and most iterations from each start and how many are then kept, in turn; only what may
explain the data is followed to its minimum.
"""
ALIKE_COST = 10.0
"""Difference of χ², times its reduced value, up to which two mistakes explain data equally well."""
EXPLAINED_SHARE = 0.8
"""Of χ² less the degrees of freedom: a step takes up some of what any wrong source leaves."""
MOST_SAID = 3
SILENT = 1e6
"""Errors of a track that is to say nothing [m]."""


def _again(problem: Problem, fit: Fit, wanted: Sequence[Search], seed: int) -> tuple[float, Tensor]:
    """χ² and the values, (1, parameter), of the lowest minimum that is met from a fit and from some
    starts, roughly.
    """
    begin = fit.source
    if all(wanted[index].can_be_drawn for index in problem.coordinates.free):
        begin = torch.cat([begin, starts(problem, wanted, STARTS_WITHOUT, seed)])
    for iterations, kept in SEARCH_WITHOUT:
        minima = problem.minimum(begin, TOLERANCE_WITHOUT, iterations)
        begin = problem.coordinates.values(minima.coordinates[minima.cost.argsort()[:kept]])
    return 2 * float(minima.cost.min()), begin


def _explained(
    problem: Problem,
    fit: Fit,
    tracks: Sequence[Track],
    wanted: Sequence[Search],
    seed: int,
    doubted: bool,
) -> str:
    """Without which mistakes the data are explained, if there are any.

    doubted  whether the residuals may be larger than the noise; if not, only what a linear test
             shows is tried
    """
    if not np.isfinite(fit.covariance).all():
        return ""
    least = UNCERTAIN if any(track.has_estimated_noise for track in tracks) else 1.0
    linear = (
        (_step if track.instrument.imaging else _common_motion)(problem, fit, track, number)
        for number, track in enumerate(tracks)
    )
    mistakes = [mistake for mistake in linear if mistake is not None]
    alarms = list[float]()
    for mistake in mistakes:
        left = (fit.chi2 - mistake.gain) / fit.degrees
        alarms.append(mistake.p_value(mistake.gain, max(least, left)))
    for factor in factors(problem, fit):
        if factor is not None:
            deviation = (factor[0] - 1) / factor[1]
            alarms.append(math.exp(float(log_chdtrc(1, deviation**2 / least))))
    if not doubted and min(alarms, default=1.0) * len(alarms) >= SIGNIFICANT:
        return ""
    quick = problem.to_search(seed)
    if len(tracks) > 1:
        mistakes += _between(quick, fit, tracks, wanted, seed)
    fits = []
    for mistake in mistakes:
        with suppress(QexpError):  # points that cannot tell it from offsets and ramps
            fits.append((*_again(mistake.undone(quick), fit, wanted, seed), mistake))
    fits.sort(key=lambda row: row[0])
    said = list[str]()
    as_given = _again(quick, fit, wanted, seed)[0] if fits else 0.0
    for rough, values, mistake in fits[:MOST_SAID]:
        scale = max(1.0, rough / quick.degrees)
        if rough > fits[0][0] + ALIKE_COST * scale:
            break
        if mistake.p_value(max(as_given - rough, 0.0), scale) > DOUBTED:
            break
        whole = mistake.undone(problem)
        again = best(whole, torch.cat([values, fit.source]), seed)
        gain = fit.chi2 - again.chi2
        scale = max(least, again.chi2_reduced)
        enough = gain > EXPLAINED_SHARE * (fit.chi2 - fit.degrees)
        explained = again.chi2_reduced <= UNCERTAIN and enough
        if explained and len(mistakes) * mistake.p_value(gain, scale) < SIGNIFICANT:
            words = mistake.words if isinstance(mistake.words, str) else mistake.words(whole, again)
            said.append(f"{words} the reduced χ² is {again.chi2_reduced:.3g}")
    return "; or ".join(said)


def _between(
    problem: Problem, fit: Fit, tracks: Sequence[Track], wanted: Sequence[Search], seed: int
) -> Iterator[Mistake]:
    """Mistakes of one track beside the others."""
    # they are known from all sides
    if all(source.looks is None for source in problem.model.sources):
        yield from _of_geometry(tracks)
    blocks = problem.weighting.blocks
    for number, (track, where) in enumerate(zip(tracks, problem.weighting.slices, strict=True)):
        if problem.degrees <= where.stop - where.start:  # the others determine nothing
            continue
        silent = [block.with_error(SILENT * (block is blocks[number])) for block in blocks]
        by_others = problem.with_weighting(Weighting(silent))
        signal = problem.model(_again(by_others, fit, wanted, seed)[1])
        both = (values[0, where] for values in (signal, problem.data))
        signal, data = (problem.weighting.of_block(number, values) for values in both)
        if about := float(signal @ data / signal.square().sum().clamp(min=1e-300)):
            yield _scaled(track, number, about)

"""Whether what a fit leaves of an observation is the declared noise, and which mistake in the data would explain it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor

from qexp.errors import QexpError
from qexp.inference.fit import Fit, best
from qexp.inference.least_squares import Problem, starts
from qexp.inference.parameters import Search
from qexp.inference.weighting import Weighting
from qexp.metrics.calibration import Misfit, blocks_of_tracks, log_chdtrc, misfit
from qexp.observations.observation import COMPONENTS, Track

SIGNIFICANT = 1e-3
"""p-value below which residuals are said not to be the declared noise."""
DOUBTED = 0.05
"""p-value below which it is tried whether a mistake explains them."""
UNCERTAIN = 3.0
"""Reduced χ² up to which residuals may well be noise of the estimated type: the sill of a semivariogram is uncertain by
half of it and more, and its range too."""


def of_residuals(
    problem: Problem, fit: Fit, tracks: Sequence[Track], wanted: Sequence[Search], seed: int
) -> tuple[Misfit, list[str]]:
    """Tests of the whitened residuals at the minimum, (1,) each; and sentences if they are not the declared noise.

    Blocks extend over the area of each track.
    """
    found, _ = problem.linearised(torch.from_numpy(fit.at)[None], torch.arange(1))
    residuals, slices = found.numpy(), problem.weighting.slices
    blocks = blocks_of_tracks(problem.model.positions.numpy(), slices)
    tests = misfit(residuals, blocks, len(fit.coordinates.free) + problem.weighting.nuisances)
    sums = [float(np.square(residuals[0, where]).sum()) for where in slices]
    larger, otherwise = _larger_than_noise(tests, sums, fit.chi2_reduced, tracks)
    better = _explained(problem, fit, tracks, wanted, seed, bool(larger) or float(tests.p_value[0]) < DOUBTED)
    said = [f"{larger or 'the tracks contradict each other'}: {better or otherwise}"] if larger or better else []
    return tests, [*said, *_smaller_than_noise(sums, sum(track.size for track in tracks) - fit.degrees, tracks)]


def _is_estimated(track: Track) -> bool:
    return track.noise is not None and track.noise.estimated


def _smaller_than_noise(sums: Sequence[float], unknowns: int, tracks: Sequence[Track]) -> Iterator[str]:
    """A sentence for each track whose residuals are smaller than its declared noise can be.

    sums      of the squares of the whitened residuals of each track
    unknowns  values that were fitted: as if all to each track, so that the test is conservative
    Noise that was estimated may be too large by a factor of UNCERTAIN.
    """
    from scipy import special  # quick, unlike scipy.stats

    for track, total in zip(tracks, sums, strict=True):
        degrees = track.size - unknowns
        p_value = len(tracks) * float(
            special.chdtr(max(degrees, 1), total * (UNCERTAIN if _is_estimated(track) else 1))
        )
        if degrees > 0 and p_value < SIGNIFICANT:
            yield (
                f"the residuals of '{track.name}' are smaller than its noise ({_amount(p_value)}, χ² {total:.3g} of "
                f"{track.size:,} points): its errors are too large, or its values were smoothed or interpolated; "
                "standard errors are too large then, and this track counts for less than it could"
            )


def _larger_than_noise(
    tests: Misfit, sums: Sequence[float], chi2_reduced: float, tracks: Sequence[Track]
) -> tuple[str, str]:
    """What is said if the residuals are more than the declared noise, and what may be the reason; empty if not.

    The tests take the noise as known. Of noise that was estimated the size alone is uncertain by a factor of about two,
    which they would call a misfit: then only residuals that are larger by more than that are, and those of tracks whose
    errors were declared beside it, such as stations.

    sums  of the squares of the whitened residuals of each track
    """
    check = "; check headings, units and signs" * (len(tracks) > 1)
    known = [index for index, track in enumerate(tracks) if not _is_estimated(track)]
    if len(known) < len(tracks) and chi2_reduced >= UNCERTAIN:
        return f"the residuals are larger than the estimated noise (reduced χ² {chi2_reduced:.3g})", (
            "no source of this type explains the observation, or the area from which its noise was estimated is "
            f"quieter than the rest{check}"
        )
    if not known:
        return "", ""
    logs = {index: float(log_chdtrc(tracks[index].size, sums[index])) for index in known}
    worst = min(known, key=lambda index: (logs[index], -sums[index] / tracks[index].size))
    if len(known) < len(tracks) or float(tests.p_value[0]) >= SIGNIFICANT:
        if (p_value := len(known) * math.exp(logs[worst])) >= SIGNIFICANT:
            return "", ""
        return f"the residuals of '{tracks[worst].name}' are not its declared noise ({_amount(p_value)})", (
            f"the tracks contradict each other, or no source of this type explains all of them{check}"
        )
    each = (
        "they are larger everywhere",
        "they vary over long distances, as those of another source would",
        "they are large in one place, as after an unwrapping error",
    )
    like = each[int(tests.logs[:, 0].argmin())]
    amount = _amount(float(tests.p_value[0]))
    return f"the residuals are not the declared noise ({amount}, reduced χ² {chi2_reduced:.3g})", (
        f"{like}; either no source of this type explains the observation, or its noise is stronger than declared{check}"
    )


def _amount(p_value: float) -> str:
    return f"p = {p_value:.1g}" if p_value > 0 else "p < 1e-300"


# Linear tests at the minimum: how much of a further signal there is in the residuals of a track.


def evidence(
    problem: Problem, fit: Fit, number: int, signals: Tensor, some: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scores, (signal,), and information, (signal, signal), of the amounts of further signals in a track.

    All other unknowns are free: the amounts are information⁻¹ score, and their covariance is information⁻¹.

    signals  (signal, point)  [m]
    some     numbers of the points of the track that are used, at which signals are; None: all
    """
    where, weighting = problem.weighting.slices[number], problem.weighting
    jacobian, residual = fit.jacobian[:, where], torch.from_numpy(fit.residual[number])
    if some is not None:
        weighting = Weighting([weighting.blocks[number].select(some.numpy())])
        number, jacobian, residual = 0, jacobian[:, some], residual[some]
    signals, jacobian, residual = (weighting.of_block(number, values) for values in (signals, jacobian, residual))
    through = signals @ jacobian.mT
    return signals @ residual, signals @ signals.mT - through @ torch.from_numpy(fit.covariance) @ through.mT


LEAST_TOLD = 1e-6
"""Share of the information on a factor that the other tracks must leave."""


def factors(problem: Problem, fit: Fit) -> list[tuple[float, float] | None]:
    """Of each track the factor of the sources' displacement that fits it best beside the other tracks, and its standard
    error by the declared noise: 1 for right data. None where the others do not tell it.
    """
    found: list[tuple[float, float] | None] = []
    model = problem.model(torch.from_numpy(fit.values)[None])
    for number, where in enumerate(problem.weighting.slices):
        score, information = (float(part) for part in evidence(problem, fit, number, model[:, where]))
        whole = float(problem.weighting.of_block(number, model[:, where]).square().sum())
        found.append((1 + score / information, information**-0.5) if information > LEAST_TOLD * whole else None)
    return found


# Mistakes that data may have: for each the problem as if it had not been made.


@dataclass(frozen=True)
class Mistake:
    """A mistake in an observation.

    without  a problem → the same as if it had not been made
    words    what was done then, by the problem and its fit
    amounts  number of further unknowns
    gain     reduction of χ² by the linear test; 0 without one
    tried    number of those of its kind of which this is the most likely
    """

    without: Callable[[Problem], Problem]
    words: Callable[[Problem, Fit], str]
    amounts: int = 1
    gain: float = 0.0
    tried: int = 1

    def p_value(self, gain: float, scale: float) -> float:
        return self.tried * math.exp(float(log_chdtrc(self.amounts, gain / scale)))


def _seen(problem: Problem, *turned: tuple[int, Tensor]) -> Problem:
    """The problem with the directions of some tracks multiplied by matrices."""
    model = problem.model
    for number, matrix in turned:
        model = model.turned(problem.weighting.slices[number], matrix)
    return Problem(model, problem.weighting, problem.data, problem.coordinates, problem.one_sided)


def _with_nuisances(problem: Problem, number: int, columns: Tensor, words: Sequence[str]) -> Problem:
    weighting = problem.weighting.with_nuisances(number, columns, words)
    return Problem(problem.model, weighting, problem.data, problem.coordinates, problem.one_sided)


def _turn(angle: float) -> Tensor:
    """Counter-clockwise from above [rad]."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)


def _exchanged(tracks: Sequence[Track], first: int, second: int) -> Mistake:
    """The headings of two tracks."""
    there, here = (math.atan2(*tracks[number].direction.mean(axis=0)[1::-1]) for number in (second, first))
    angle = there - here
    return Mistake(
        lambda problem: _seen(problem, (first, _turn(angle)), (second, _turn(-angle))),
        lambda problem, fit: f"with the headings of '{tracks[first].name}' and '{tracks[second].name}' exchanged",
    )


def _other_side(track: Track, number: int) -> Mistake:
    return Mistake(
        lambda problem: _seen(problem, (number, _turn(math.pi))),
        lambda problem, fit: f"with '{track.name}' seen from the other side (its look, or its heading turned by 180°)",
    )


def _scaled(track: Track, number: int, about: float) -> Mistake:
    """Displacements of another unit or sign, by what factor about."""

    def words(problem: Problem, fit: Fit) -> str:
        change, error = factors(problem, fit)[number] or (1.0, 0.0)
        factor = about * change
        power = math.copysign(10.0 ** round(math.log10(abs(factor))), factor)
        if power == 1 or abs(factor / power - 1) > max(3 * error / abs(change), ROUND):
            why = "their unit, wavelength or projection to the line of sight?"
            return f"with the displacements of '{track.name}' multiplied by {1 / factor:.3g} ({why})"
        if power == -1:
            return f"with the sign of '{track.name}' turned"
        return f"with the displacements of '{track.name}' multiplied by {1 / power:g} (their unit?)"

    return Mistake(lambda problem: _seen(problem, (number, about * torch.eye(3, dtype=torch.float64))), words)


ROUND = 0.15
"""Deviation of a factor from a power of ten up to which it is one."""


def _common_motion(problem: Problem, fit: Fit, track: Track, number: int) -> Mistake | None:
    """Of all stations."""
    axes = np.flatnonzero(np.abs(track.direction).sum(axis=0)).tolist()
    names = [COMPONENTS[axis] for axis in axes]

    def columns(problem: Problem) -> Tensor:
        return problem.model.in_middles().direction[problem.weighting.slices[number]][:, axes].mT

    scores, information = evidence(problem, fit, number, columns(problem))
    if int(torch.linalg.matrix_rank(information, rtol=LEAST_TOLD)) < len(axes):
        return None

    def words(problem: Problem, fit: Fit) -> str:
        amounts = ", ".join(f"{fit.nuisances[number].amounts[name]:.3g} m {name}" for name in names)
        return f"without a motion that all stations of '{track.name}' share ({amounts}: a plate, or another frame?)"

    gain = float(scores @ torch.linalg.solve(information, scores))
    return Mistake(lambda problem: _with_nuisances(problem, number, columns(problem), names), words, len(axes), gain)


MOST_TESTED = 1500
"""Points of a track, drawn at random, by which steps are searched."""
CUTS = tuple(np.arange(1, 9) / 8)


def _step(problem: Problem, fit: Fit, track: Track, number: int) -> Mistake | None:
    """A part of a track that is shifted, as after an unwrapping error: the most likely of parts that are cut off by one
    or two lines at right angles.
    """
    of_track = problem.model.positions[problem.weighting.slices[number]]
    low = of_track.min(dim=0).values
    extent = (of_track.max(dim=0).values - low).clamp(min=1)
    some = torch.from_numpy(np.random.default_rng(0).permutation(len(of_track))[:MOST_TESTED])

    def inside(positions: Tensor, turn: float, east: int, north: int, *cuts: float) -> Tensor:
        along = (positions - low) / extent - 0.5
        along = (along @ _turn(turn)[:2, :2]) * torch.tensor([east, north], dtype=torch.float64) + 0.5
        return (along <= torch.tensor(cuts, dtype=torch.float64)).all(dim=1).double()

    lines = list(product((0.0, math.pi / 4), (1, -1), (1, -1), CUTS, CUTS))
    best_gain, tried = -1.0, 0
    for finer in (1 / 32, 1 / 128, None):
        masks = torch.stack([inside(of_track[some], *line) for line in lines])
        scores, information = evidence(problem, fit, number, masks, some)
        told = information.diagonal()
        enough = (masks.mean(dim=1) - 0.5).abs() <= 0.5 - LEAST_STEP
        enough &= told > LEAST_TOLD * told.max()
        gains = torch.where(enough, scores.square() / told, -1.0)
        tried += len(lines)
        if float(gains.max()) > best_gain:
            best_gain, chosen = float(gains.max()), lines[int(gains.argmax())]
        if best_gain < 0:
            return None
        if finer is not None:
            around = [[min(1.0, cut + finer * step) for step in range(-4, 5)] for cut in chosen[3:]]
            lines = list(product(*([part] for part in chosen[:3]), *around))

    def words(problem: Problem, fit: Fit) -> str:
        there = inside(of_track, *chosen).numpy() > 0
        amount, share = fit.nuisances[number].amounts["step"], float(there.mean())
        if share > 0.5:
            there, amount, share = ~there, -amount, 1 - share
        place = f"{track.x[there].mean():,.0f} east, {track.y[there].mean():,.0f} north"
        return (
            f"with {share:.0%} of the points of '{track.name}', those around {place}, {1e3 * abs(amount):.3g} mm "
            f"{'lower' if amount > 0 else 'higher'}, as after an unwrapping error,"
        )

    def without(problem: Problem) -> Problem:
        positions = problem.model.positions[problem.weighting.slices[number]]
        return _with_nuisances(problem, number, inside(positions, *chosen)[None], ["step"])

    return Mistake(without, words, 1, best_gain, tried)


LEAST_STEP = 0.03
"""Share of the points of a track that a step must move, and leave."""


# The fit repeated without each mistake.

STARTS_WITHOUT = 8
ALIKE_COST = 10.0
"""Difference of χ², times its reduced value, up to which two mistakes explain data equally well."""
MOST_SAID = 3


def _again(problem: Problem, fit: Fit, wanted: Sequence[Search], seed: int) -> Fit:
    begin = torch.from_numpy(fit.values)[None]
    if all(wanted[index].can_be_drawn for index in problem.coordinates.free):
        begin = torch.cat([begin, starts(problem, wanted, STARTS_WITHOUT, seed)])
    return best(problem, begin, seed)


def _explained(
    problem: Problem, fit: Fit, tracks: Sequence[Track], wanted: Sequence[Search], seed: int, doubted: bool
) -> str:
    """Without which mistakes the data are explained, if there are any.

    doubted  whether the residuals may be larger than the noise; if not, only what a linear test shows is tried
    """
    if not np.isfinite(fit.covariance).all():
        return ""
    least = UNCERTAIN if any(map(_is_estimated, tracks)) else 1.0
    linear = [
        _step(problem, fit, track, number) if track.kind == "radar" else _common_motion(problem, fit, track, number)
        for number, track in enumerate(tracks)
    ]
    mistakes = [mistake for mistake in linear if mistake is not None]
    alarms = [
        mistake.p_value(mistake.gain, max(least, (fit.chi2 - mistake.gain) / fit.degrees)) for mistake in mistakes
    ]
    alarms += [math.exp(float(log_chdtrc(1, ((f[0] - 1) / f[1]) ** 2 / least))) for f in factors(problem, fit) if f]
    if not doubted and min(alarms, default=1.0) * len(alarms) >= SIGNIFICANT:
        return ""
    quick = problem.to_search(seed)
    if len(tracks) > 1:
        mistakes += _between(quick, fit, tracks, wanted, seed)
    fits = []
    for mistake in mistakes:
        try:
            fits.append((_again(mistake.without(quick), fit, wanted, seed), mistake))
        except QexpError:  # points that cannot tell it from offsets and ramps
            continue
    fits.sort(key=lambda pair: pair[0].chi2)
    said = []
    for rough, mistake in fits[:MOST_SAID]:
        if rough.chi2 > fits[0][0].chi2 + ALIKE_COST * max(1.0, fits[0][0].chi2_reduced):
            break
        whole = mistake.without(problem)
        again = best(whole, torch.from_numpy(np.stack([rough.values, fit.values])), seed)
        gain, scale = fit.chi2 - again.chi2, max(least, again.chi2_reduced)
        if again.chi2_reduced <= UNCERTAIN and len(mistakes) * mistake.p_value(gain, scale) < SIGNIFICANT:
            said.append(f"{mistake.words(whole, again)} the reduced χ² is {again.chi2_reduced:.3g}")
    return "; or ".join(said)


def _between(
    problem: Problem, fit: Fit, tracks: Sequence[Track], wanted: Sequence[Search], seed: int
) -> Iterator[Mistake]:
    """Mistakes of one track beside the others."""
    if all(source.looks is None for source in problem.model.sources):  # they are known from all sides
        radar = [number for number, track in enumerate(tracks) if track.kind == "radar"]
        yield from (_exchanged(tracks, *pair) for pair in combinations(radar, 2))
        yield from (_other_side(tracks[number], number) for number in radar)
    blocks, slices = problem.weighting.blocks, problem.weighting.slices
    for number, (track, where) in enumerate(zip(tracks, slices, strict=True)):
        others = torch.cat(
            [torch.arange(problem.model.points)[: where.start], torch.arange(problem.model.points)[where.stop :]]
        )
        weighting = Weighting([*blocks[:number], *blocks[number + 1 :]])
        rest = Problem(problem.model.at(others), weighting, problem.data[:, others], problem.coordinates, True)
        if rest.degrees <= 0:
            continue
        signal = problem.model(torch.from_numpy(_again(rest, fit, wanted, seed).values)[None])
        signal, data = (problem.weighting.of_block(number, values[0, where]) for values in (signal, problem.data))
        if about := float(signal @ data / signal.square().sum().clamp(min=1e-300)):
            yield _scaled(track, number, about)

"""Whether a source is seen beside noise, at a rate of false alarms.

A signal of known form in Gaussian noise is told from noise alone best by the projection of the
whitened data on it (Neyman and Pearson 1933, Phil. Trans. R. Soc. A 231, 289-337; Kay 1998,
Fundamentals of Statistical Signal Processing II, 4.3), offsets and ramps projected out. Where the
source is searched, the best of many counts, and simulated noise tells how good that is by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.inference.least_squares import MOST_SEARCHED, Problem, possible_draws
from qexp.inference.parameters import Search
from qexp.inference.weighting import Block, Weighting, correlated_part
from qexp.observations.noise import TYPES
from qexp.observations.observation import Track

SCANNED, TOGETHER, NOISES = 4096, 256, 2000
"""Sources over the range of a search, those whose signals are in memory together, and observations
of noise alone that are simulated.
"""
RANGES, NUGGETS = np.geomspace(0.3, 3.3, 7), np.geomspace(0.1, 10.0, 9)
"""Of the noise, if that was estimated, over those that were: its range, and its nugget over its
sill, all of them as likely.
"""


@dataclass(frozen=True)
class Detection:
    """How strongly an observation shows a source of a type, wherever it is, beside noise alone.

    gain      logarithm of the ratio of likelihoods, with the best of the sources and without, twice
    of_noise  (noise,)  the same of simulated noise
    degrees   points minus nuisances
    """

    gain: float
    of_noise: Array
    degrees: int

    @property
    def p_value(self) -> float:
        """The probability that noise alone shows a source as strongly."""
        return float((1 + (self.of_noise >= self.gain).sum()) / (1 + len(self.of_noise)))

    def document(self, false_alarms: float) -> dict[str, Any]:
        """The p-value, the least that it can be, and whether it is that of a source."""
        p_value = self.p_value
        about = {"p_value": p_value, "least_p_value": 1 / (1 + len(self.of_noise))}
        return {**about, "false_alarms": false_alarms, "seen": p_value <= false_alarms}

    def threshold(self, false_alarms: float) -> float:
        """The signal-to-noise ratio that noise alone reaches somewhere with this probability."""
        gain = float(np.quantile(self.of_noise, 1 - false_alarms))
        return math.sqrt((self.degrees - 1) * math.expm1(gain / self.degrees))


def detection(
    problem: Problem, searches: Sequence[Search], tracks: Sequence[Track], seed: int
) -> Detection:
    """Whether data of an observation show a source.

    The size of the noise is unknown by a factor that all errors share, as in an F-test. Where noise
    was estimated from the data, type, range and nugget are unknown, too, in likelihoods with the
    source and without alike; at most MOST_SEARCHED points of a track then count.
    searches  of each parameter
    tracks    whose points all count
    """
    estimated = any(track.has_estimated_noise for track in tracks)
    problem = problem.to_search(seed) if estimated else copy(problem)
    problem.model = problem.model.in_middles()
    weighting = problem.weighting
    random = torch.Generator().manual_seed(seed)
    zeros = problem.data.new_zeros(NOISES, problem.model.points)
    noise = weighting.simulated(zeros, problem.data, zeros[:, 0] + 1, random)
    rows = torch.cat([problem.weighted, weighting(noise)])
    sources = problem.coordinates.values(possible_draws(problem, searches, SCANNED, seed))
    explained, best = largest_explained(problem, sources, rows)
    degrees = problem.model.points - weighting.nuisances
    gains = -degrees * (-explained / rows.square().sum(dim=1)).log1p().numpy()
    gain = float(gains[0])
    if estimated:
        chosen = np.random.default_rng(seed)  # as `Problem.to_search` does
        few = [track.thinned(MOST_SEARCHED, chosen) for track in tracks]
        gain = _gain_of_estimated(problem, best, few)
    return Detection(gain, gains[1:], degrees)


def largest_explained(problem: Problem, sources: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What the best of sources, (source, parameter), explains of χ² of weighted data, (row, point):
    (row,), and the best for the first row, (1, parameter).
    """
    most = rows.new_zeros(len(rows))
    best = sources[:1]
    for values in sources.split(TOGETHER):
        signals = problem.weighting(displacements_of(problem, values))
        directions, _ = torch.linalg.qr(signals.mT)
        columns = directions.mT.flatten(0, 1).mT
        amounts = rows.float() @ columns.float()
        squares = amounts.square_().unflatten(1, (len(values), -1))
        explained = squares.sum(dim=-1)
        largest, which = explained.max(dim=1)
        if largest[0] > most[0]:
            best = values[which[:1]]
        most = torch.maximum(most, largest)
    return most, best


def displacements_of(problem: Problem, values: Tensor) -> Tensor:
    """Displacements by each free amplitude, of its scale in place of its value, (source, amplitude,
    point); of a source without any its own.

    values  (source, parameter)  of all parameters in SI units
    """
    coordinates = problem.coordinates
    amplitudes = [coordinates.free[number] for number in coordinates.linear]
    first = values.clone()
    first[:, amplitudes] = coordinates.scale[coordinates.linear]
    moved = [problem.model(first)]
    if sum(parameter.linear for parameter in coordinates.parameters) > 1:
        for index in amplitudes:
            more = first.clone()
            more[:, index] *= 2
            moved.append(problem.model(more) - moved[0])
    return torch.stack(moved[1:] or moved, dim=1)


def _gain_of_estimated(problem: Problem, best: Tensor, tracks: Sequence[Track]) -> float:
    """The gain of a source, (1, parameter), where noise is unknown."""
    weighting = problem.weighting
    signals = displacements_of(problem, best)[0]
    weighted = weighting(signals)
    amounts = torch.linalg.lstsq(weighted.mT, problem.weighted.mT).solution
    left = problem.data - amounts.mT @ signals
    rows = torch.cat([problem.data, left])
    totals = np.zeros(2)
    for block, where, track in zip(weighting.blocks, weighting.slices, tracks, strict=True):
        logs = []
        for possible in _possible_noises(block, track):
            chi2 = possible(rows[:, where]).square().sum(dim=1).numpy()
            volume = possible.log_determinant
            logs.append(-0.5 * (track.size * np.log(chi2) + volume))
        totals += logsumexp(logs, axis=0)
    return float(2 * np.diff(totals)[0])


def _possible_noises(block: Block, track: Track) -> Iterator[Weighting]:
    """The weighting by the noise of a track, and by all others that it may be if it was
    estimated.
    """
    yield Weighting([block])
    if not track.has_estimated_noise or track.noise is None:
        return
    if block.covariance is None:
        return
    rest = block.covariance - correlated_part(track, track.noise)
    for kind, reach in product(TYPES, RANGES):
        noise = replace(track.noise, type=kind, range=reach * track.noise.range)
        correlated = rest + correlated_part(track, noise)
        for nugget in NUGGETS:
            error = np.sqrt(block.error**2 + (nugget - 1) * track.error**2)
            covariance = correlated + np.diag(error**2 - block.error**2)
            other = replace(block, error=error, covariance=covariance)
            with suppress(QexpError):  # smooth noise with a small nugget
                yield Weighting([other])

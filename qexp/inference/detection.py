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
from torch import Tensor

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.inference.least_squares import MOST_SEARCHED, Problem, possible_draws
from qexp.inference.parameters import Search
from qexp.inference.weighting import Block, Weighting, correlated_part, raised_nugget
from qexp.observations.noise import TYPES
from qexp.observations.observation import Track

SCANNED, TOGETHER, NOISES = 4096, 256, 2000
"""Sources over the range of a search, those whose signals are in memory together, and observations
of noise alone that are simulated.
"""
RANGES, NUGGETS = np.geomspace(0.3, 10.0, 9), np.geomspace(0.1, 30.0, 7)
"""Of the noise, if that was estimated, over those that were: its range, and its nugget over its
sill, all of them as likely.
"""


@dataclass(frozen=True)
class Detection:
    """How strongly an observation shows a source of a type, wherever it is, beside noise alone.

    gain      logarithm of the ratio of likelihoods, with the best of the sources and without, twice
    of_noise  (noise,)  the same of simulated noise
    degrees   points minus nuisances
    possible  (noise,)  as `of_noise`, of all noises that it may be where it was estimated; None: it
              was declared
    """

    gain: float
    of_noise: Array
    degrees: int
    possible: Array | None = None

    @property
    def p_value(self) -> float:
        """The probability that noise alone shows a source as strongly."""
        noise = self.of_noise if self.possible is None else self.possible
        return float((1 + (noise >= self.gain).sum()) / (1 + len(noise)))

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
    was estimated from the data, it may have been another one, if there is no source: noise is
    simulated with types, ranges, nuggets and sizes by their likelihood. At most MOST_SEARCHED
    points of a track then count.
    searches  of each parameter
    tracks    whose points all count
    """
    estimated = any(track.has_estimated_noise for track in tracks)
    problem = problem.to_search(seed) if estimated else copy(problem)
    problem.model = problem.model.in_middles()
    weighting = problem.weighting
    sources = problem.coordinates.values(possible_draws(problem, searches, SCANNED, seed))
    random = torch.Generator().manual_seed(seed)
    zeros = problem.data.new_zeros(NOISES, problem.model.points)
    rows = [problem.data, weighting.simulated(zeros, problem.data, zeros[:, 0] + 1, random)]
    if estimated:
        chosen = np.random.default_rng(seed)  # as `Problem.to_search` does
        for block, where, track in zip(weighting.blocks, weighting.slices, tracks, strict=True):
            few = track.thinned(MOST_SEARCHED, chosen)
            zeros[:, where] = _possible_noise(block, few, problem.data[:, where], random)
        rows.append(zeros)
    weighted = weighting(torch.cat(rows))
    explained = largest_explained(problem, sources, weighted)
    degrees = problem.model.points - weighting.nuisances
    gains = -degrees * (-explained / weighted.square().sum(dim=1)).log1p().numpy()
    gain, declared, possible = np.split(gains, [1, 1 + NOISES])
    return Detection(float(gain[0]), declared, degrees, possible if estimated else None)


def largest_explained(problem: Problem, sources: Tensor, rows: Tensor) -> Tensor:
    """What the best of sources, (source, parameter), explains of χ² of weighted data, (row, point):
    (row,).
    """
    most = rows.new_zeros(len(rows))
    for values in sources.split(TOGETHER):
        signals = problem.weighting(displacements_of(problem, values))
        directions, _ = torch.linalg.qr(signals.mT)
        columns = directions.mT.flatten(0, 1).mT
        amounts = rows.float() @ columns.float()
        squares = amounts.square_().unflatten(1, (len(values), -1))
        most = torch.maximum(most, squares.sum(dim=-1).amax(dim=1))
    return most


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


def _possible_noise(block: Block, track: Track, data: Tensor, random: torch.Generator) -> Tensor:
    """Noise of a track, (noise, point), of types, ranges, nuggets and sizes that are as likely as
    they are for its data, (1, point), if these are noise alone; of the declared noise, if none was
    estimated.
    """
    noises = [*_possible_noises(block, track)]
    drawn = data.new_zeros(NOISES, data.shape[1])
    if len(noises) == 1:
        return noises[0].simulated(drawn, data, drawn[:, 0] + 1, random)
    degrees = data.shape[1] - block.nuisances.shape[1]
    chi2 = torch.cat([noise(data).square().sum(dim=1) for noise in noises])
    volumes = torch.tensor([noise.log_volume for noise in noises])
    weights = (-0.5 * (degrees * chi2.log() + volumes)).softmax(0)
    nodes = torch.multinomial(weights, NOISES, replacement=True, generator=random)
    squares = torch.randn(NOISES, degrees, generator=random, dtype=data.dtype).square()
    sizes = (chi2[nodes] / squares.sum(dim=1)).sqrt()
    for node in nodes.unique().tolist():
        some = nodes == node
        drawn[some] = noises[node].simulated(drawn[some], data, sizes[some], random)
    return drawn


def _possible_noises(block: Block, track: Track) -> Iterator[Weighting]:
    """The weighting by the noise of a track, and by all others that it may be if it was
    estimated.
    """
    yield Weighting([block])
    if not track.has_estimated_noise or track.noise is None:
        return
    if block.covariance is None:
        return
    _, raised = raised_nugget(track, track.noise)
    rest = block.covariance - correlated_part(track, track.noise)
    for kind, reach in product(TYPES, RANGES):
        noise = replace(track.noise, type=kind, range=reach * track.noise.range)
        correlated = rest + correlated_part(track, noise)
        for nugget in NUGGETS:
            error = np.sqrt(block.error**2 + (raised * nugget - 1) * track.error**2)
            covariance = correlated + np.diag(error**2 - block.error**2)
            other = replace(block, error=error, covariance=covariance)
            with suppress(QexpError):  # smooth noise with a small nugget
                yield Weighting([other])

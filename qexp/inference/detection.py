"""Whether a source is seen in noise, and the least one that would be, at a rate of false alarms.

A signal of known form in Gaussian noise is told from none best by the projection of the whitened
data on it (Neyman and Pearson 1933, Phil. Trans. R. Soc. A 231, 289-337; Kay 1998, Fundamentals of
Statistical Signal Processing II, 4.3), offsets and ramps projected out. Of a source that is
searched, the largest projection counts, whose distribution in noise alone is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qexp.base.arrays import Array
from qexp.inference.least_squares import Problem, possible_draws
from qexp.inference.parameters import Search

SCANNED, TOGETHER = 4096, 256
"""Sources over the whole range of a search; and those whose signals are in memory together."""
NOISES = 2000
"""Observations of noise alone that are simulated."""


@dataclass(frozen=True)
class Detection:
    """How strongly the data show a source of a type, wherever it is, beside noise alone.

    strength   the largest share of χ² that a source explains, over the share that it leaves
    of_noise   (noise,)  the same of simulated noise
    degrees    points minus nuisances
    """

    strength: float
    of_noise: Array
    degrees: int

    @property
    def p_value(self) -> float:
        """The probability that noise alone shows a source as strongly."""
        return float((1 + (self.of_noise >= self.strength).sum()) / (1 + len(self.of_noise)))

    def document(self, false_alarms: float) -> dict[str, Any]:
        """The p-value, the least that it can be, and whether it is one of a source that is seen."""
        least = 1 / (1 + len(self.of_noise))
        seen = self.p_value <= false_alarms
        return {
            "p_value": self.p_value,
            "least_p_value": least,
            "false_alarms": false_alarms,
            "seen": seen,
        }

    def threshold(self, false_alarms: float) -> float:
        """The signal-to-noise ratio that noise alone reaches somewhere with this probability."""
        return math.sqrt((self.degrees - 1) * np.quantile(self.of_noise, 1 - false_alarms))


def detection(problem: Problem, searches: Sequence[Search], seed: int) -> Detection:
    """Whether data of an observation show a source.

    The size of the noise counts as unknown by a factor that all errors share, as in an F-test.
    searches  of each parameter
    """
    degrees = problem.model.points - problem.weighting.nuisances
    random = torch.Generator().manual_seed(seed)
    zeros = problem.data.new_zeros(NOISES, problem.model.points)
    noise = problem.weighting.simulated(zeros, problem.data, zeros[:, 0] + 1, random)
    rows = torch.cat([problem.weighted, problem.weighting(noise)])
    explained = rows.new_zeros(len(rows))
    drawn = problem.coordinates.values(possible_draws(problem, searches, SCANNED, seed))
    for values in drawn.split(TOGETHER):
        explained = torch.maximum(explained, _explained(unit_signals(problem, values), rows))
    strength = (explained / (rows.square().sum(dim=1) - explained)).numpy()
    return Detection(float(strength[0]), strength[1:], degrees)


def _explained(signals: Tensor, rows: Tensor) -> Tensor:
    """What the best of the sources explains of χ² of each row, (row,).

    signals  (source, amplitude, point)  weighted
    """
    directions, _ = torch.linalg.qr(signals.mT)
    shares = torch.einsum("spa,rp->sar", directions, rows).square().sum(dim=1)
    return shares.amax(dim=0)


def unit_signals(problem: Problem, values: Tensor) -> Tensor:
    """Weighted displacements by one unit of each amplitude that is free, (source, amplitude, point)
    per SI unit; of a source without any, its displacement.

    values  (source, parameter)  of all parameters in SI units
    """
    model = problem.model.in_middles()
    parameters = problem.coordinates.parameters
    amplitudes = [index for index in problem.coordinates.free if parameters[index].linear]
    first = values.clone()
    first[:, amplitudes] = torch.tensor([parameters[index].scale for index in amplitudes]).double()
    middle = model(first)
    signals = []
    for index in amplitudes:
        more = first.clone()
        more[:, index] *= 2
        signals.append((model(more) - middle) / parameters[index].scale)
    return problem.weighting(torch.stack(signals or [middle], dim=1))

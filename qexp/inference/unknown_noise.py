"""The noise of tracks as unknown as the sources: sill, range and nugget integrated over, and drawn.

Given sources, the noises of tracks are independent of each other. The likelihood of sources is
therefore a product over tracks, each factor an integral over three numbers of one track. That over
the sill (all errors times a factor) is known in closed form; that over the range and the nugget's
share is a sum over some twenty nodes of a lattice around their mode, in the axes of the curvature
there, whose error falls as exp(−2π²/step²) for a density that is nearly normal (Trefethen and
Weideman 2014, SIAM Rev. 56, 385-458). Rue, Martino and Chopin (2009), J. R. Stat. Soc. B 71,
319-392, lay such nodes out for other parameters of covariances.
The density of sources thus has no more coordinates than with a known noise, so that proposals,
weights and evidence stay as they are, where chains would have three more for each track, and a
factorisation of the covariance in each step. Per node a covariance is factored once; of signals in
a basis a draw then costs products with triangles as small as that. Noises of the sources that were
drawn are drawn last, exactly but for the width of cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import gammainccinv, logsumexp
from torch import Tensor

from qexp.base.arrays import Array, Pair
from qexp.errors import QexpError
from qexp.inference.density import PosteriorDensity, Signals
from qexp.inference.fit import Fit
from qexp.inference.least_squares import Problem
from qexp.inference.weighting import Block, Weighting, correlated_part
from qexp.observations.observation import Track

PRIOR_DEGREES = 2.0
"""Of freedom of the prior of squared errors over those declared or estimated, a scaled inverse χ²
distribution: as if two points had told them.
"""
WIDTHS = np.log([3.0, 10.0])
"""Standard deviations of the log-normal priors of the range, and of the nugget over the sill, around
what was declared or estimated.
"""

STEP, DEPTH = 1.3, 6.0
"""Of the lattice, in standard deviations; and logarithm of the density, below that of the mode, up
to which nodes count.
"""
CURVED_OVER = 0.3
"""Scores over which the curvature at the mode is taken."""
TABULATED = 3
"""Covariances of means for each unit of the range's score, a factor of 1.4 apart; between them they
are interpolated linearly, which leaves them positive definite, and changes their slope at the
origin by 1.7 % at most.
"""
MOST_KEPT = 30_000_000
"""Numbers of covariances that are kept, and of their factors, of each track."""


@dataclass(frozen=True)
class UnknownNoise:
    """The noise of a track as a mixture over nodes, up to a factor of all errors.

    block    by the noise that was declared or estimated
    weighting  by a node's scores
    scores   (node, 2)  of range and nugget over sill in their priors; 0 of a known shape
    cell     (2, 2)     sides of the cell around each node; 0 of a known shape
    log_weights  (node,)  logarithm of the prior's share, and of the determinants
    heights  (node,)    logarithm of the density at the best source
    without  log-likelihood without any source
    """

    track: Track
    block: Block
    weighting: Callable[[float, float], Weighting]
    scores: Array
    cell: Array
    log_weights: Array
    heights: Array
    without: float

    @property
    def degrees(self) -> int:
        """Points less nuisances."""
        return len(self.block.error) - self.block.nuisances.shape[1]

    @property
    def weightings(self) -> Iterator[Weighting]:
        """By each node."""
        return (self.weighting(*scores) for scores in self.scores.tolist())

    @property
    def unknown_shape(self) -> bool:
        return bool(self.cell.any())

    def log_likelihoods(self, chi2: Array) -> Array:
        """Of each node, (..., node), given χ² by it, likewise."""
        return self.log_weights + _over_factor(chi2, self.degrees)

    def draws(self, chi2: Array, random: Generator) -> DrawnNoise:
        """Noises of draws given χ² by each node, (draw, node)."""
        logs = self.log_likelihoods(chi2)
        share = np.cumsum(np.exp(logs - logs.max(axis=1, keepdims=True)), axis=1)
        chosen = (share < random.random((len(chi2), 1)) * share[:, -1:]).sum(axis=1)
        moved = random.uniform(-0.5, 0.5, (len(chi2), 2)) @ self.cell.T
        sums = PRIOR_DEGREES + chi2[np.arange(len(chi2)), chosen]
        factor = sums / random.chisquare(PRIOR_DEGREES + self.degrees, len(chi2))
        return DrawnNoise(self, chosen, self.scores[chosen] + moved, factor)


@dataclass(frozen=True)
class DrawnNoise:
    """Noises of one track.

    node    (draw,)
    scores  (draw, 2)  in the cells of the nodes
    factor  (draw,)    of squared errors
    """

    of_track: UnknownNoise
    node: NDArray[np.int64]
    scores: Array
    factor: Array

    def parameters(self) -> Iterator[tuple[str, Array, str, str, Pair]]:
        """Name, values, (draw,), unit, prior in words, and 95 % of it."""
        # quantiles of χ² are those of a gamma distribution
        ends = PRIOR_DEGREES / 2 / gammainccinv(PRIOR_DEGREES / 2, [0.025, 0.975])
        noise = self.of_track.track.noise
        if not self.of_track.unknown_shape or noise is None:
            low, high = np.sqrt(ends).tolist()
            yield "factor", np.sqrt(self.factor), "1", "95 % of inverse χ", (low, high)
            return
        track = self.of_track.track
        count = np.ones(len(track.x)) if track.count is None else track.count
        nugget = 1e6 * float(np.mean(count * track.error**2))
        low, high = (1e6 * noise.sill * ends).tolist()
        yield "sill", 1e6 * noise.sill * self.factor, "mm²", "95 % of inverse χ²", (low, high)
        spread = np.exp(WIDTHS * self.scores)
        first, second = (np.exp(1.96 * width * np.array([-1, 1])) for width in WIDTHS)
        for name, typical, unit, values, about in (
            ("range", noise.range / 1e3, "km", spread[:, 0], first),
            ("nugget", nugget, "mm²", spread[:, 1] * self.factor, second),
        ):
            low, high = (typical * about).tolist()
            yield name, typical * values, unit, "95 % of log-normal", (low, high)

    def simulated(
        self, draws: NDArray[np.int64], models: Tensor, data: Tensor, random: torch.Generator
    ) -> Tensor:
        """As `Weighting.simulated`, of the points of the track and some draws, (some,)."""
        simulated = models.clone()
        levels = torch.from_numpy(np.sqrt(self.factor[draws]))
        for node in np.unique(self.node[draws]):
            rows = torch.from_numpy(np.flatnonzero(self.node[draws] == node))
            weighting = self.of_track.weighting(*self.of_track.scores[node].tolist())
            simulated[rows] = weighting.simulated(models[rows], data, levels[rows], random)
        return simulated


def noise_draws(
    noises: Sequence[UnknownNoise], density: PosteriorDensity, scores: Array, random: Generator
) -> list[DrawnNoise]:
    """The noise of each track, drawn given each of the sources, by the density they are of."""
    if not isinstance(density, NoisyDensity):
        return []
    pairs = zip(noises, density.chi2_of_nodes(scores), strict=True)
    return [noise.draws(chi2, random) for noise, chi2 in pairs]


def _over_factor(chi2: Array, degrees: int) -> Array:
    """Logarithm of the likelihood integrated over the factor of squared errors, but for a
    constant: Gelman et al. (2013), Bayesian Data Analysis, section 2.6.
    """
    return -0.5 * (PRIOR_DEGREES + degrees) * np.log(PRIOR_DEGREES + np.asarray(chi2))


def unknown_noise(problem: Problem, fit: Fit, number: int, track: Track, shape: bool) -> UnknownNoise:
    """The noise of a track, laid out around that of the residuals at a fit.

    shape  whether range and nugget are unknown, where the noise is correlated
    """
    block = problem.weighting.blocks[number]
    where = problem.weighting.slices[number]
    model, slopes = problem.derivatives(fit.place)
    data = problem.data[0, where]
    left = torch.cat([(data - model[0, where])[None], slopes[0, :, where]])
    weighting_of = _weightings(block, track)

    def log_likelihood(scores: Array, residual: Tensor) -> tuple[float, float]:
        """Logarithm of weight, and of the density of residuals, (1 + slope, point)."""
        try:
            weighting = weighting_of(*scores.tolist())
        except QexpError:
            return -math.inf, -math.inf
        weight = -0.5 * float(scores @ scores) - math.log(2 * math.pi)
        weight -= 0.5 * weighting.log_volume
        whitened = weighting(residual)
        basis, triangle = torch.linalg.qr(whitened[1:].mT)
        sizes = triangle.diagonal().abs()
        chi2 = float((whitened[0] - basis @ (basis.mT @ whitened[0])).square().sum())
        degrees = len(block.error) - block.nuisances.shape[1] - len(sizes)
        of_slopes = float(sizes.clamp(min=1e-9 * sizes.max()).log().sum()) if len(sizes) else 0.0
        return weight, weight + float(_over_factor(np.asarray(chi2), degrees)) - of_slopes

    if not (shape and block.covariance is not None):
        nothing = np.zeros((1, 2))
        weight, height = log_likelihood(nothing[0], left)
        _, without = log_likelihood(nothing[0], data[None])
        empty = np.zeros((2, 2))
        return UnknownNoise(
            track, block, weighting_of, nothing, empty, np.array([weight]), np.array([height]), without
        )
    scores, cell, logs = _lattice(lambda scores: log_likelihood(scores, left))
    area = math.log(abs(np.linalg.det(cell)))
    _, other, of_none = _lattice(lambda scores: log_likelihood(scores, data[None]))
    without = float(logsumexp(of_none[:, 1])) + math.log(abs(np.linalg.det(other)))
    return UnknownNoise(
        track, block, weighting_of, scores, cell, logs[:, 0] + area, logs[:, 1], without
    )


def _weightings(block: Block, track: Track) -> Callable[[float, float], Weighting]:
    """The weighting by scores of range and nugget over sill."""
    most = 2 + MOST_KEPT // len(block.error) ** 2

    @lru_cache(most)
    def tabulated(number: int) -> Array:
        assert track.noise is not None
        factor = math.exp(number * WIDTHS[0] / TABULATED)
        return correlated_part(track, replace(track.noise, range=factor * track.noise.range))

    @lru_cache(most)
    def weighting(of_range: float, of_nugget: float) -> Weighting:
        if block.covariance is None or not (of_range or of_nugget):
            return Weighting([block])
        number = math.floor(TABULATED * of_range)
        share = TABULATED * of_range - number
        error = block.error * math.exp(0.5 * WIDTHS[1] * of_nugget)
        covariance = block.covariance - tabulated(0) + (1 - share) * tabulated(number)
        covariance += share * tabulated(number + 1)
        covariance[np.diag_indices_from(covariance)] += error**2 - block.error**2
        return Weighting([replace(block, error=error, covariance=covariance)])

    return weighting


def _lattice(
    heights: Callable[[Array], tuple[float, float]]
) -> tuple[Array, Array, Array]:
    """Nodes, (node, 2), the sides of their cells, (2, 2), and what is known of them, (node, 2)."""
    from scipy.optimize import minimize

    simplex = 0.6 * np.array([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]])
    limits = {"initial_simplex": simplex, "xatol": 0.1, "fatol": 0.1, "maxfev": 60}
    found = minimize(lambda scores: -heights(scores)[1], np.zeros(2), method="Nelder-Mead", options=limits)
    mode = found.x
    steps = CURVED_OVER * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]])
    right, left, up, down, both, neither = (heights(mode + step)[1] + found.fun for step in steps)
    cross = (both + neither - right - left - up - down) / 2
    curvature = -np.array([[right + left, cross], [cross, up + down]]) / CURVED_OVER**2
    sizes, vectors = np.linalg.eigh(np.nan_to_num(curvature, posinf=1.0, neginf=1.0))
    # that of the prior at least, with which the likelihood is not log-concave everywhere
    covariance = (vectors / np.maximum(sizes, 1.0)) @ vectors.T
    cell = STEP * np.linalg.cholesky(covariance)
    known = dict[tuple[int, int], tuple[float, float]]()
    edge = [(0, 0)]
    highest = -math.inf
    while edge:
        node = edge.pop()
        if node in known:
            continue
        known[node] = heights(mode + cell @ node)
        highest = max(highest, known[node][1])
        if known[node][1] > highest - DEPTH:
            column, row = node
            edge += [(column - 1, row), (column + 1, row), (column, row - 1), (column, row + 1)]
    kept = [node for node, (_, height) in known.items() if height > highest - DEPTH]
    scores = mode + np.array(kept, dtype=np.float64) @ cell.T
    return scores, cell, np.array([known[node] for node in kept])


def likeliest(noises: Sequence[UnknownNoise], problem: Problem, fit: Fit) -> tuple[Problem, Fit]:
    """The problem with the likeliest noise of each track, and the fit's χ² in it."""
    blocks = []
    residual = problem.data - problem.model(torch.from_numpy(fit.values)[None])
    for noise, where in zip(noises, problem.weighting.slices, strict=True):
        weighting = noise.weighting(*noise.scores[noise.heights.argmax()].tolist())
        [block] = weighting.blocks
        chi2 = float(weighting(residual[:, where]).square().sum())
        factor = (PRIOR_DEGREES + chi2) / (PRIOR_DEGREES + noise.degrees)
        covariance = None if block.covariance is None else factor * block.covariance
        blocks.append(replace(block, error=math.sqrt(factor) * block.error, covariance=covariance))
    weighting = Weighting(blocks)
    likely = Problem(problem.model, weighting, problem.data, problem.coordinates)
    return likely, replace(fit, chi2=float(weighting(residual).square().sum()))


@dataclass(frozen=True)
class NoisyDensity(PosteriorDensity):
    """The posterior of sources, integrated over the noise of each track.

    whole  signals at all points, by a weighting
    """

    whole: Signals = field(kw_only=True)
    weighting: Weighting = field(kw_only=True)
    noises: Sequence[UnknownNoise] = field(kw_only=True)

    def __call__(self, scores: Array) -> Array:
        logs = 0.0
        for noise, chi2 in zip(self.noises, self.chi2_of_nodes(scores), strict=True):
            logs = logs + logsumexp(noise.log_likelihoods(chi2), axis=1)
        return self.with_prior(logs, scores)

    @property
    def without_source(self) -> float:
        return sum(noise.without for noise in self.noises)

    def chi2_of_nodes(self, scores: Array) -> list[Array]:
        """χ² of each track by each of its nodes, (draw, node)."""
        residuals = self.signals(self.values(scores)) - self.signals.data
        if self.signals.vectors is None:
            rows = self.weighting.coloured(residuals)
            return [
                np.stack([weighted(rows[:, where]).square().sum(dim=1).numpy() for weighted in noise.weightings], axis=1)
                for noise, where in zip(self.noises, self.weighting.slices, strict=True)
            ]
        residuals = torch.cat([residuals, -torch.ones_like(residuals[:, :1])], dim=1)
        sums = []
        for triangles in self._triangles:
            parts = [residuals @ triangle.mT for triangle in triangles]
            sums.append(torch.stack([part.square().sum(dim=1) for part in parts], dim=1).numpy())
        return sums

    @cached_property
    def _triangles(self) -> list[list[Tensor]]:
        """Of each track and node what makes residuals of the signals, and 1, whitened ones."""
        vectors = self.signals.vectors
        assert vectors is not None
        rest = self.whole.data - self.signals.data @ vectors.mT
        rows = self.weighting.coloured(torch.cat([vectors.mT, rest]))
        made = []
        for noise, where in zip(self.noises, self.weighting.slices, strict=True):
            whitened = [weighting(rows[:, where]).mT for weighting in noise.weightings]
            made.append([torch.linalg.qr(columns)[1] for columns in whitened])
        return made

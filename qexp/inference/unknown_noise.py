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
from functools import cached_property, lru_cache, partial

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import gammainccinv, logsumexp
from torch import Tensor

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.inference.density import PosteriorDensity, Signals
from qexp.inference.fit import Fit
from qexp.inference.least_squares import Problem
from qexp.inference.weighting import Block, Weighting, correlated_part, raised_nugget
from qexp.observations.noise import TYPES
from qexp.observations.observation import Track

PRIOR_DEGREES = 2.0
"""Of freedom of the prior of squared errors over those declared or estimated, a scaled inverse χ²
distribution: as if two points had told them.
"""
WIDTHS = np.log([3.0, 10.0])
"""Standard deviations of the log-normal priors of the range, and of the nugget over the sill,
around what was declared or estimated.
"""
PRIOR_DRAWS = 100_000
"""That tell where the prior of the nugget lies."""
STEP, DEPTH = 1.3, 6.0
"""Of the lattice, in standard deviations; and logarithm of the density, below that of the mode, up
to which nodes count.
"""
CURVED_OVER = 0.3
"""Scores over which the curvature at the mode is taken."""
LEAST_SLOPE, IMPOSSIBLE = 1e-6, -1e12
"""Weighted change of a track by a source's coordinate, below which it counts as this; and logarithm
of the density of what is no covariance.
"""
TABULATED = 2
"""Covariances for each unit of the range's score, a factor of 1.7 apart; between them they are
interpolated, which leaves them positive definite and changes slopes at the origin by 4 % at most:
those of means take nearly all of the time.
"""
MOST_KEPT = 30_000_000
"""Numbers of covariances that are kept, and of their factors, of each track."""

Node = tuple[str, float, float]
"""Type of a noise, and the scores of its range and of its nugget over its sill in their priors."""


@dataclass(frozen=True)
class Nodes:
    """Noises over which a likelihood is summed.

    nodes        of the lattices of all types; one, of scores 0, where the shape is known
    cells        (node, 2, 2)  sides of the cell around each
    log_areas    (node,)  logarithm of the cell's area over the number of types
    log_weights  (node,)  logarithm of the prior density and of the determinants
    heights      (node,)  the same with the likelihood of the residuals for which they were laid out
    """

    nodes: Sequence[Node]
    cells: Array
    log_areas: Array
    log_weights: Array
    heights: Array


@dataclass(frozen=True)
class UnknownNoise:
    """The noise of a track as a mixture over nodes, up to a factor of all errors.

    weighting  by a node
    degrees    points less nuisances
    lattice    laid out for the residuals of the best source
    no_source  log-likelihood without any source
    """

    track: Track
    weighting: Callable[[Node], Weighting]
    degrees: int
    lattice: Nodes
    no_source: float

    @property
    def weightings(self) -> Iterator[Weighting]:
        """By each node."""
        return map(self.weighting, self.lattice.nodes)

    def chi2(self, residuals: Tensor) -> Array:
        """By each node, (draw, node), of residuals at all points of the track, (draw, point)."""
        sums = [weighting(residuals).square().sum(dim=1) for weighting in self.weightings]
        return torch.stack(sums, dim=1).numpy()

    def log_likelihoods(self, chi2: Array) -> Array:
        """By each node, (..., node), given χ² by it, likewise."""
        weights = self.lattice.log_weights + self.lattice.log_areas
        return weights + _over_factor(chi2, self.degrees)

    def draws(self, chi2: Array, random: Generator) -> DrawnNoise:
        """Noises of draws given χ² by each node, (draw, node)."""
        logs = self.log_likelihoods(chi2)
        share = np.cumsum(np.exp(logs - logs.max(axis=1, keepdims=True)), axis=1)
        node = (share < random.random((len(chi2), 1)) * share[:, -1:]).sum(axis=1)
        middles = np.array([scores for _, *scores in self.lattice.nodes])
        moved = self.lattice.cells[node] @ random.uniform(-0.5, 0.5, (len(chi2), 2, 1))
        sums = PRIOR_DEGREES + chi2[np.arange(len(chi2)), node]
        factor = sums / random.chisquare(PRIOR_DEGREES + self.degrees, len(chi2))
        return DrawnNoise(self, node, middles[node] + moved[..., 0], factor)


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

    def parameters(self) -> Iterator[tuple[str, Array, str, str, Array]]:
        """Name, values, (draw,), unit, prior in words, and the ends of 95 % of it, (2,)."""
        # quantiles of χ² are those of a gamma distribution
        ends = PRIOR_DEGREES / 2 / gammainccinv(PRIOR_DEGREES / 2, [0.025, 0.975])
        track = self.of_track.track
        noise = track.noise
        if noise is None or not self.of_track.lattice.cells.any():
            yield "factor", np.sqrt(self.factor), "1", "95 % of inverse χ", np.sqrt(ends)
            return
        nugget = 1e6 * raised_nugget(track, noise)[0]
        sill = 1e6 * noise.sill
        yield "sill", sill * self.factor, "mm²", "95 % of inverse χ²", sill * ends
        reach, over_sill = np.exp(WIDTHS * self.scores).T
        kilometres = noise.range / 1e3
        ends = kilometres * np.exp(1.96 * WIDTHS[0] * np.array([-1, 1]))
        yield "range", kilometres * reach, "km", "95 % of log-normal", ends
        random = np.random.default_rng(0)
        of_sill = PRIOR_DEGREES / random.chisquare(PRIOR_DEGREES, PRIOR_DRAWS)
        drawn = nugget * of_sill * np.exp(WIDTHS[1] * random.standard_normal(PRIOR_DRAWS))
        ends = np.quantile(drawn, [0.025, 0.975])
        words = "95 % of log-normal times the sill's"
        yield "nugget", nugget * over_sill * self.factor, "mm²", words, ends

    def simulated(
        self, draws: NDArray[np.int64], models: Tensor, data: Tensor, random: torch.Generator
    ) -> Tensor:
        """As `Weighting.simulated`, of the points of the track and some draws, (some,)."""
        simulated = models.clone()
        for rows, weighting, levels in self._by_node(draws):
            simulated[rows] = weighting.simulated(models[rows], data, levels, random)
        return simulated

    def whitened(self, draws: NDArray[np.int64], residuals: Tensor) -> Tensor:
        """Residuals of the points of the track that some draws leave, in units of their noise."""
        parts = {}
        for rows, weighting, levels in self._by_node(draws):
            for row, values in zip(rows, weighting(residuals[rows]) / levels[:, None], strict=True):
                parts[int(row)] = values
        return torch.stack([parts[row] for row in range(len(draws))])

    def _by_node(self, draws: NDArray[np.int64]) -> Iterator[tuple[Tensor, Weighting, Tensor]]:
        """Rows of some draws that share a node, the noise there, and its levels."""
        levels = torch.from_numpy(np.sqrt(self.factor[draws]))
        for node in sorted({*self.node[draws].tolist()}):
            rows = torch.from_numpy(np.flatnonzero(self.node[draws] == node))
            yield rows, self.of_track.weighting(self.of_track.lattice.nodes[node]), levels[rows]


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


def unknown_noise(
    problem: Problem, fit: Fit, number: int, track: Track, shape: bool
) -> UnknownNoise:
    """The noise of a track, laid out around that of the residuals at a fit.

    shape  whether range and nugget are unknown where the noise is correlated, and its type where it
           was estimated
    """
    block = problem.weighting.blocks[number]
    where = problem.weighting.slices[number]
    model, slopes = problem.derivatives(fit.place)
    data = problem.data[:, where]
    left = torch.cat([data - model[:, where], slopes[0, :, where].nan_to_num()])
    weighting = _weightings(block, track)
    degrees = len(block.error) - block.nuisances.shape[1]

    def heights(residual: Tensor, kind: str, scores: Array) -> tuple[float, float]:
        """Logarithm of weight, and of the density of a residual, whose slopes by the parameters of
        the source follow, (1 + parameter, point), integrated over these.
        """
        try:
            by_node = weighting((kind, *scores.tolist()))
        except QexpError:  # not positive definite
            return IMPOSSIBLE, IMPOSSIBLE
        weight = -0.5 * (float(scores @ scores) + by_node.log_volume) - math.log(2 * math.pi)
        whitened = by_node(residual)
        basis, triangle = torch.linalg.qr(whitened[1:].mT)
        sizes = triangle.diagonal().abs()
        chi2 = float((whitened[0] - basis @ (basis.mT @ whitened[0])).square().sum())
        likelihood = float(_over_factor(np.asarray(chi2), degrees - len(sizes)))
        return weight, weight + likelihood - float(sizes.clamp(min=LEAST_SLOPE).log().sum())

    kinds: Sequence[str] = ()
    if shape and block.covariance is not None and track.noise is not None:
        kinds = TYPES if track.noise.estimated else (track.noise.type,)
    lattice = _nodes(partial(heights, left), kinds)
    none = _nodes(partial(heights, data), kinds)
    no_source = float(logsumexp(none.heights + none.log_areas))
    return UnknownNoise(track, weighting, degrees, lattice, no_source)


def _weightings(block: Block, track: Track) -> Callable[[Node], Weighting]:
    most = 2 + MOST_KEPT // len(block.error) ** 2

    @lru_cache(most)
    def tabulated(kind: str, number: int) -> Array:
        assert track.noise is not None
        reach = track.noise.range * math.exp(number * WIDTHS[0] / TABULATED)
        return correlated_part(track, replace(track.noise, type=kind, range=reach))

    @lru_cache(most)
    def weighting(node: Node) -> Weighting:
        kind, of_range, of_nugget = node
        if block.covariance is None or track.noise is None or not kind:
            return Weighting([block])
        number = math.floor(TABULATED * of_range)
        share = TABULATED * of_range - number
        _, raised = raised_nugget(track, track.noise)
        error = block.error * math.sqrt(raised) * math.exp(0.5 * WIDTHS[1] * of_nugget)
        covariance = block.covariance - tabulated(track.noise.type, 0)
        covariance += (1 - share) * tabulated(kind, number) + share * tabulated(kind, number + 1)
        covariance[np.diag_indices_from(covariance)] += error**2 - block.error**2
        return Weighting([replace(block, error=error, covariance=covariance)])

    return weighting


Heights = Callable[[str, Array], tuple[float, float]]


def _nodes(heights: Heights, kinds: Sequence[str]) -> Nodes:
    """Lattices of some types of noise; without any, the noise as it was given."""
    if not kinds:
        given = np.array([heights("", np.zeros(2))])
        return Nodes([("", 0.0, 0.0)], np.zeros((1, 2, 2)), np.zeros(1), *given.T)
    nodes = list[Node]()
    cells, areas, known = list[Array](), list[float](), list[tuple[float, float]]()
    highest = -math.inf
    for kind in kinds:
        mode, cell, top = _mode(heights, kind)
        if top <= IMPOSSIBLE / 2:  # no such noise is positive definite
            continue
        highest = max(highest, top)
        log_area = math.log(abs(np.linalg.det(cell))) - math.log(len(kinds))
        seen = set[tuple[int, int]]()
        edge = [(0, 0)] if top > highest - DEPTH else []
        while edge:
            place = edge.pop()
            if place in seen:
                continue
            seen.add(place)
            scores = mode + cell @ place
            found = heights(kind, scores)
            if found[1] > highest - DEPTH:
                nodes.append((kind, *scores.tolist()))
                known.append(found)
                cells.append(cell)
                areas.append(log_area)
                column, row = place
                edge += [(column - 1, row), (column + 1, row), (column, row - 1), (column, row + 1)]
    if not nodes:
        return _nodes(heights, ())
    return Nodes(nodes, np.array(cells), np.array(areas), *np.array(known).T)


def _mode(heights: Heights, kind: str) -> tuple[Array, Array, float]:
    """The mode of a density of two scores, the cell of a lattice around it, and its height."""
    from scipy.optimize import minimize  # which inversions without posterior need not wait for

    def depth(scores: Array) -> float:
        return -heights(kind, scores)[1]

    simplex = 0.6 * np.array([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]])
    limits = {"initial_simplex": simplex, "xatol": 0.1, "fatol": 0.1, "maxfev": 60}
    found = minimize(depth, np.zeros(2), method="Nelder-Mead", options=limits)
    steps = CURVED_OVER * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]])
    right, left, up, down, both, neither = (found.fun - depth(found.x + step) for step in steps)
    cross = (both + neither - right - left - up - down) / 2
    curvature = -np.array([[right + left, cross], [cross, up + down]]) / CURVED_OVER**2
    sizes, vectors = np.linalg.eigh(curvature)
    # that of the prior at least, where the likelihood is not log-concave
    covariance = (vectors / np.maximum(sizes, 1.0)) @ vectors.T
    return found.x, STEP * np.linalg.cholesky(covariance), -found.fun


def likeliest(noises: Sequence[UnknownNoise], problem: Problem, fit: Fit) -> tuple[Problem, Fit]:
    """The problem with the likeliest noise of each track, and the fit's χ² in it."""
    blocks = []
    residual = problem.data - problem.model(torch.from_numpy(fit.values)[None])
    for noise, where in zip(noises, problem.weighting.slices, strict=True):
        weighting = noise.weighting(noise.lattice.nodes[int(noise.lattice.heights.argmax())])
        [block] = weighting.blocks
        chi2 = float(weighting(residual[:, where]).square().sum())
        factor = (PRIOR_DEGREES + chi2) / (PRIOR_DEGREES + noise.degrees)
        covariance = None if block.covariance is None else factor * block.covariance
        blocks.append(replace(block, error=math.sqrt(factor) * block.error, covariance=covariance))
    weighting = Weighting(blocks)
    chi2 = float(weighting(residual).square().sum())
    return problem.with_weighting(weighting), replace(fit, chi2=chi2)


@dataclass(frozen=True)
class NoisyDensity(PosteriorDensity):
    """The posterior of sources, integrated over the noise of each track.

    whole  signals at all points, by a weighting
    """

    whole: Signals = field(kw_only=True)
    weighting: Weighting = field(kw_only=True)
    noises: Sequence[UnknownNoise] = field(kw_only=True)

    def __call__(self, scores: Array) -> Array:
        logs = np.zeros(len(scores))
        for noise, chi2 in zip(self.noises, self.chi2_of_nodes(scores), strict=True):
            logs += logsumexp(noise.log_likelihoods(chi2), axis=1)
        return self.with_prior(logs, scores)

    @property
    def without_source(self) -> float:
        return sum(noise.no_source for noise in self.noises)

    def chi2_of_nodes(self, scores: Array) -> list[Array]:
        """χ² of each track by each of its nodes, (draw, node)."""
        residuals = self.signals(self.values(scores)) - self.signals.data
        if self.signals.vectors is None:
            rows = self.weighting.coloured(residuals)
            pairs = zip(self.noises, self.weighting.slices, strict=True)
            return [noise.chi2(rows[:, where]) for noise, where in pairs]
        residuals = torch.cat([residuals, -torch.ones_like(residuals[:, :1])], dim=1)
        sums = []
        for triangles in self._triangles:
            parts = (residuals @ triangles.flatten(0, 1).mT).unflatten(1, triangles.shape[:2])
            sums.append(parts.square().sum(dim=2).numpy())
        return sums

    @cached_property
    def _triangles(self) -> list[Tensor]:
        """Of each track what makes residuals of the signals, and 1, whitened by each node: (node,
        number, 1 + number of signals).
        """
        vectors = self.signals.vectors
        assert vectors is not None
        rest = self.whole.data - self.signals.data @ vectors.mT
        rows = self.weighting.coloured(torch.cat([vectors.mT, rest]))
        made = []
        for noise, where in zip(self.noises, self.weighting.slices, strict=True):
            whitened = [weighting(rows[:, where]).mT for weighting in noise.weightings]
            made.append(torch.stack([torch.linalg.qr(columns)[1] for columns in whitened]))
        return made

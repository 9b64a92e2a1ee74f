"""Draws from a density: importance sampling, and ensembles of walkers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import gammaln
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.options import Counted, uncounted
from qexp.errors import extra
from qexp.inference.density import SCORE_STEP, Density, PosteriorDensity
from qexp.inference.evidence import Evidence, by_bridge

T_DEGREES = 5.0
"""Of freedom of Student's t: tails that are heavier than those of most posteriors."""

LEAST_SHARE = 1e-3
"""Components with a smaller share of the weights are left out."""

EM_ROUNDS = 8
"""Of expectation and maximisation."""


@dataclass(frozen=True)
class Mixture:
    """Student's t distributions, and a standard normal one, the prior, for what they do not reach.

    shares   (component,)  they add up to 1 − `of_prior`
    centres  (component, coordinate)
    roots    (component, coordinate, coordinate)  lower Cholesky factors of their scale matrices
    """

    shares: Array
    centres: Array
    roots: Array
    of_prior: float

    def draws(self, count: int, random: Generator) -> Array:
        """(draw, coordinate), with the components in proportion to their shares."""
        components = len(self.shares)
        chosen = _systematic(np.append(self.shares, self.of_prior), count, random)
        normal = random.standard_normal((count, self.centres.shape[1]))
        stretch = np.sqrt(T_DEGREES / random.chisquare(T_DEGREES, count))
        component = np.minimum(chosen, components - 1)
        offset = np.einsum("nij,nj->ni", self.roots[component], normal)
        moved = self.centres[component] + stretch[:, None] * offset
        return np.where((chosen < components)[:, None], moved, normal)

    def wider(self, factor: float) -> Mixture:
        """The components alone, without the prior, `factor` times as wide."""
        return Mixture(self.shares, self.centres, factor * self.roots, 0.0)

    def log_density(self, draws: Array) -> Array:
        """(draw,)"""
        return np.asarray(np.logaddexp.reduce(self._parts(draws)[0], axis=1))

    def distances(self, draws: Array) -> Array:
        """Squared distances from the components' centres, in their scales, (draw, component)."""
        return self._parts(draws)[1]

    def fitted(self, draws: Array, weights: Array) -> Mixture:
        """The mixture that weighted draws are most likely from, by expectation and maximisation
        from this one.

        Peel and McLachlan (2000), Stat. Comput. 10, 339-348; with weights, Cappé, Douc, Guillin,
        Marin and Robert (2008), Stat. Comput. 18, 447-459.
        """
        now = self
        size = draws.shape[1]
        count = effective(weights)
        for _ in range(EM_ROUNDS):
            parts, distances = now._parts(draws)
            logs = parts - np.logaddexp.reduce(parts, axis=1, keepdims=True)
            belongs = np.exp(logs) * weights[:, None]
            # The least share of the prior keeps weights bounded wherever the likelihood is.
            belongs, of_prior = belongs[:, :-1], max(OF_PRIOR, float(belongs[:, -1].sum()))
            shares = belongs.sum(axis=0)
            used = shares > LEAST_SHARE
            belongs = belongs[:, used]
            shares = shares[used]
            if not len(shares):
                return now
            pulled = belongs * (T_DEGREES + size) / (T_DEGREES + distances[:, used])
            centres = pulled.T @ draws / pulled.sum(axis=0)[:, None]
            apart = draws[None] - centres[:, None]
            scales = ((apart * pulled.T[..., None]).swapaxes(1, 2) @ apart) / shares[:, None, None]
            # Those with few effective draws are moved towards the mean of all: alone they would be
            # too small for what lies between the draws.
            mean = np.einsum("k,kij->ij", shares / shares.sum(), scales)
            effective_draws = (shares * count)[:, None, None]
            scales = (effective_draws * scales + (size + 2) * mean) / (effective_draws + size + 2)
            now = Mixture(shares / shares.sum() * (1 - of_prior), centres, _roots(scales), of_prior)
        return now

    def _parts(self, draws: Array) -> tuple[Array, Array]:
        """Logarithms of share times density by each component and last the prior, (draw, component
        + 1); and squared distances in units of the components' scales, (draw, component).
        """
        size = draws.shape[1]
        count = len(self.shares)
        inverse, offsets, constants = self._prepared
        distances = np.square((draws @ inverse.T - offsets).reshape(-1, count, size)).sum(axis=2)
        of_each = constants - 0.5 * (T_DEGREES + size) * np.log1p(distances / T_DEGREES)
        of_prior = -0.5 * np.square(draws).sum(axis=1) - 0.5 * size * np.log(2 * np.pi)
        with np.errstate(divide="ignore"):
            return np.column_stack([of_each, of_prior + np.log(self.of_prior)]), distances

    @cached_property
    def _prepared(self) -> tuple[Array, Array, Array]:
        """All inverse roots, stacked; these times the centres; log of share times density there."""
        size = self.centres.shape[1]
        inverse: Array = np.asarray(np.linalg.inv(self.roots), dtype=np.float64)
        volume = np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(axis=1)
        constant = (
            gammaln((T_DEGREES + size) / 2)
            - gammaln(T_DEGREES / 2)
            - 0.5 * size * np.log(T_DEGREES * np.pi)
        )
        offsets = np.einsum("kij,kj->ki", inverse, self.centres).ravel()
        constants: Array = constant - volume + np.log(self.shares)
        return inverse.reshape(-1, size), offsets, constants


def mixture(
    log_shares: Sequence[float] | Array, centres: Array, covariances: Array, of_prior: float
) -> Mixture:
    """Components with these relative shares."""
    log = np.asarray(log_shares, dtype=np.float64)
    shares = np.exp(log - np.logaddexp.reduce(log)) * (1 - of_prior)
    return Mixture(shares, centres, _roots(covariances), of_prior)


def _roots(covariances: Array) -> Array:
    """Cholesky factors; directions that are not determined get a width of their own."""
    sizes, vectors = np.linalg.eigh(covariances)
    least = 1e-10 * sizes.max(axis=1, keepdims=True) + 1e-300
    safe = np.einsum("kij,kj,klj->kil", vectors, np.maximum(sizes, least), vectors)
    return np.asarray(np.linalg.cholesky(safe))


# Importance sampling: proposals that are adapted to the posterior, smoothed weights, and draws
# without weights.

GOOD_EFFECTIVE_SHARE, GOOD_PARETO_K = 0.6, 0.5
"""Share of effective draws from which on, and k̂ up to which a proposal is not adapted further."""

DRAWS_PER_COORDINATE, MOST_ROUNDS = 300, 6
"""Draws of the first two rounds for each coordinate, of which later ones have more; most rounds."""

COMPONENTS_PER_ROUND = 4
"""Of a proposal, times the number of rounds."""

LOG_WEIGHT_SPAN = 700.0
"""Of logarithms of weights below the largest one: exp of its negative is still a number."""

PROPOSALS_PER_DRAW, LEAST_PROPOSALS = 2.5, 600
"""Proposals for each draw without weights, and at least."""


@dataclass(frozen=True)
class Weighted:
    """Draws from a proposal with their weights.

    proposal  from which they were drawn
    scores    (draw, coordinate)
    weights   (draw,)  they add up to 1
    pareto_k  the shape of the largest weights: above a limit, see `doubts_of`, estimates from them
              cannot be trusted
    ess       number of draws of equal weights that would be as good
    """

    proposal: Mixture
    scores: Array
    weights: Array
    pareto_k: float
    ess: float

    @property
    def good(self) -> bool:
        """Whether no better proposal is needed."""
        return self.pareto_k <= GOOD_PARETO_K and self.ess >= GOOD_EFFECTIVE_SHARE * len(
            self.weights
        )


def sample_weighted(
    density: Density,
    proposal: Mixture,
    random: Generator,
    draws: int,
    on_drawn: Counted = uncounted,
) -> Weighted:
    """Weighted draws of a density, once more by a better proposal if the weights are not good."""
    count = max(LEAST_PROPOSALS, math.ceil(PROPOSALS_PER_DRAW * draws))
    close = adapt(density, proposal, random, lambda done, most: on_drawn(done, most + count))
    weights = draw_weighted(density, close, random, count)
    if weights.good or not weights.ess:
        return weights
    again = draw_weighted(density, close.fitted(weights.scores, weights.weights), random, count)
    return again if again.pareto_k < weights.pareto_k else weights


def draw_weighted(density: Density, proposal: Mixture, random: Generator, count: int) -> Weighted:
    """Draws of a proposal, with Pareto-smoothed weights."""
    scores = proposal.draws(count, random)
    return _with_weights(proposal, scores, density(scores))


def _with_weights(proposal: Mixture, scores: Array, values: Array) -> Weighted:
    weights, shape = smooth_weights(values - proposal.log_density(scores))
    ess = effective(weights) if math.isfinite(shape) else 0.0
    return Weighted(proposal, scores, weights, shape, ess)


def smooth_weights(logarithms: Array) -> tuple[Array, float]:
    """Pareto-smoothed weights, which add up to 1, and k̂; of logarithms of weights, but for a
    constant.

    k̂ is infinite where all weights are zero, or the largest cannot be told apart: so far from all
    that was drawn.
    """
    with extra("posterior"):
        from arviz_stats.base import array_stats  # loads xarray and pandas where they are installed

    highest = logarithms.max()
    if np.isfinite(highest):
        # Refused where all but one of the largest are zero.
        with suppress(ValueError), np.errstate(all="ignore"):
            # of negatives
            smooth, shape = array_stats.psislw(np.minimum(highest - logarithms, LOG_WEIGHT_SPAN))
            weights = np.exp(smooth - smooth.max())
            return weights / weights.sum(), float(shape)
    return np.full(len(logarithms), 1 / len(logarithms)), math.inf


def effective(weights: Array) -> float:
    """The effective number of draws with these weights (Kish 1965)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def adapt(
    density: Density, proposal: Mixture, random: Generator, on_drawn: Counted = uncounted
) -> Mixture:
    """A proposal that is as close to the density as some rounds of draws make it.

    Draws of all rounds count, each as if it came from the mixture of their proposals in proportion
    to how many draws each gave (Cornuet, Marin, Mira and Robert 2012, Scand. J. Stat. 39, 798-812).
    """
    best, highest = proposal, -1.0  # share of effective draws
    size = proposal.centres.shape[1]
    scores = np.zeros((0, size))
    values = np.zeros(0)
    used = list[Mixture]()
    counts = [DRAWS_PER_COORDINATE * size * (1 + again // 2) for again in range(MOST_ROUNDS)]
    for again, count in enumerate(counts):
        on_drawn(sum(counts[:again]), sum(counts))
        new = proposal.draws(count, random)
        of_new = density(new)
        drawn = _with_weights(proposal, new, of_new)
        if drawn.ess > highest * len(new):
            best = proposal
            highest = drawn.ess / len(new)
        if drawn.good:
            break
        scores = np.concatenate([scores, new])
        values = np.concatenate([values, of_new])
        used = [*used, proposal]
        shares = np.log([1 + round // 2 for round in range(len(used))])
        logs = [proposed.log_density(scores) for proposed in used]
        mean = np.logaddexp.reduce(shares[:, None] + logs)
        with np.errstate(invalid="ignore"):
            weights = np.exp(values - mean - (values - mean).max())
        if not np.isfinite(weights).all():
            break
        weights = np.minimum(weights, weights.mean() * math.sqrt(len(weights)))  # Ionides (2008)
        weights /= weights.sum()
        # At least five effective draws for each coordinate of a component.
        enough = int(effective(weights) / (5 * size))
        components = max(1, min(COMPONENTS_PER_ROUND * len(used), enough))
        centres = scores[resample(weights, components, random)]
        apart = scores - weights @ scores
        spread = (weights[:, None] * apart).T @ apart / components ** (2 / size)
        even = mixture(np.zeros(components), centres, np.tile(spread, (components, 1, 1)), OF_PRIOR)
        proposal = even.fitted(scores, weights)
    on_drawn(sum(counts), sum(counts))
    return best


OF_PRIOR = 0.05
"""Share of a proposal that is drawn from the prior."""


def resample(weights: Array, count: int, random: Generator) -> NDArray[np.intp]:
    """Numbers of draws in proportion to weights, systematic, in random order (Kitagawa 1996)."""
    return np.asarray(random.permutation(_systematic(weights, count, random)))


def _systematic(weights: Array, count: int, random: Generator) -> NDArray[np.intp]:
    steps = (np.arange(count) + random.random()) / count
    chosen = np.searchsorted(np.cumsum(weights / weights.sum()), steps)
    return np.minimum(chosen, len(weights) - 1)


# Coordinates in which amplitudes are nearly independent of the other parameters of sources, and
# nearly normal.
#
# Displacements are linear in amplitudes, such as a pressure. Given the shape of the sources,
# amplitudes therefore have a normal distribution, whose mean and width follow from linear least
# squares. How far they are from that mean, in units of that width, is their coordinate; all other
# parameters keep their scores. Ridges between an amplitude and a size, along which the posterior is
# long, bent and thin, become straight and wide.


class StandardisedAmplitudes:
    """Scores of shapes and standardised amplitudes ↔ scores of all free parameters.

    posterior   of which these are the coordinates
    amplitudes  names of the free parameters to which displacements are linear if all others are
                given
    weight      see `density.PenalisedSquares`
    """

    def __init__(
        self, posterior: PosteriorDensity, amplitudes: Sequence[str], weight: float
    ) -> None:
        self.posterior, self.weight = posterior, weight
        prior = posterior.prior
        self._linear = [prior.free.index(name) for name in amplitudes]
        self._columns = [prior.names.index(name) for name in amplitudes]
        self._marginals = [prior.marginals[index] for index in self._linear]
        middle = [marginal.value(np.array([-1.0, 0.0, 1.0])) for marginal in self._marginals]
        self._mean = torch.tensor([float(values[1]) for values in middle], dtype=torch.float64)
        self._size = torch.tensor(
            [float(values[2] - values[0]) / 2 for values in middle], dtype=torch.float64
        )

    def __call__(self, coordinates: Array) -> Array:
        """The logarithm of the density of coordinates, (draw,), of (draw, coordinate)."""
        if not self._linear:
            return self.posterior(coordinates)
        scores, stretch = self._with_stretch(coordinates)
        return np.where(np.isfinite(stretch), self.posterior(scores) + stretch, -np.inf)

    def scores(self, coordinates: Array) -> Array:
        """The scores of coordinates, (draw, coordinate) both."""
        return self._with_stretch(coordinates)[0] if self._linear else coordinates

    def coordinates(self, scores: Array) -> Array:
        """The coordinates of scores, (draw, coordinate) both."""
        if not self._linear:
            return scores
        coordinates = scores.copy()
        mean, triangle = self._conditional(scores)
        values = self.posterior.prior.values(scores)[:, self._columns] / self._size
        amplitudes = (triangle.mT @ (values - mean)[..., None])[..., 0].numpy()
        coordinates[:, self._linear] = np.where(np.isfinite(amplitudes), amplitudes, 0.0)
        return coordinates

    def transform(self, proposal: Mixture) -> Mixture:
        """A proposal in these coordinates, with the shapes of one in scores."""
        if not self._linear:
            return proposal
        roots = proposal.roots.copy()
        scales = roots @ roots.swapaxes(1, 2)
        scales[:, self._linear, :] = scales[:, :, self._linear] = 0.0
        scales[:, self._linear, self._linear] = 1.0
        centres = self.coordinates(proposal.centres)
        return Mixture(
            proposal.shares, centres, np.asarray(np.linalg.cholesky(scales)), proposal.of_prior
        )

    def _with_stretch(self, coordinates: Array) -> tuple[Array, Array]:
        """Scores, and the log of the volume of a unit of these coordinates in them, (draw,)."""
        scores = coordinates.copy()
        mean, triangle = self._conditional(coordinates)
        standardised = torch.from_numpy(coordinates[:, self._linear])[..., None]
        moved = torch.linalg.solve_triangular(triangle.mT, standardised, upper=True)[..., 0]
        values = ((mean + moved) * self._size).numpy()
        stretch = -triangle.diagonal(dim1=-2, dim2=-1).log().sum(dim=1).numpy()
        for column, (index, marginal) in enumerate(zip(self._linear, self._marginals, strict=True)):
            value = values[:, column]
            possible = (value > marginal.low) & (value < marginal.high)
            score = marginal.score(np.where(possible, value, float(self._mean[column])))
            rise = marginal.value(score + SCORE_STEP) - marginal.value(score - SCORE_STEP)
            slope = rise / (2 * SCORE_STEP * float(self._size[column]))
            with np.errstate(divide="ignore"):
                stretch = np.where(possible, stretch - np.log(slope), np.nan)
            scores[:, index] = score
        return scores, stretch

    def _conditional(self, coordinates: Array) -> tuple[Tensor, Tensor]:
        """Mean of the amplitudes given the shapes, (draw, amplitude), in units of their prior's
        width; and the Cholesky factor of the inverse of their covariance, (draw, amplitude,
        amplitude).
        """
        prior = self.posterior.prior
        signals = self.posterior.signals
        values = prior.values(coordinates)
        values[:, self._columns] = 0.0
        base = signals(values)
        changes = []
        for column, size in zip(self._columns, self._size.tolist(), strict=True):
            with_one = values.clone()
            with_one[:, column] = size
            changes.append(signals(with_one) - base)
        slopes = self.weight * torch.stack(changes, dim=1).nan_to_num()
        residuals = self.weight * (signals.data - base).nan_to_num()
        precision = slopes @ slopes.mT + torch.eye(len(self._columns), dtype=torch.float64)
        pull = (slopes @ residuals[..., None])[..., 0] + self._mean / self._size
        triangle = torch.linalg.cholesky(precision)
        mean: Tensor = torch.cholesky_solve(pull[..., None], triangle)[..., 0]
        return mean, triangle


# Markov chains of many walkers that move along the differences between one another.

LEAST_WALKERS, WALKERS_PER_COORDINATE, WALKER_GROUPS = 200, 20, 4
"""Number of walkers: the first, or for many coordinates the second for each; and of groups of them,
between which R̂ tells a difference, as each walker alone has too few draws.
"""

BURN_IN, STEPS, MOST_STEPS = 100, 200, 1600
"""Steps that are left out; steps after which chains are tested, doubled each time; most steps."""

MIXED_R_HAT, ENOUGH_DRAWS = 1.01, 800.0
"""Largest R̂ and least effective number of draws with which chains end."""


def _independent(proposal: Mixture) -> Any:
    """A move of emcee to draws of a proposal, wherever the walker is, such as between modes."""
    import emcee

    class Independent(emcee.moves.RedBlueMove):  # type: ignore[misc]
        def get_proposal(
            self, s: Array, c: Array, random: np.random.RandomState
        ) -> tuple[Array, Array]:
            """New positions of the walkers `s`, and the log of the ratio for their acceptance."""
            new = proposal.draws(len(s), np.random.default_rng(random.randint(2**31)))
            new = new[random.permutation(len(s))]
            return new, proposal.log_density(s) - proposal.log_density(new)

    return Independent()


def walk(
    density: Density,
    proposal: Mixture,
    starts: Array,
    random: Generator,
    on_drawn: Counted = uncounted,
) -> Draws:
    """Walk from starts, (start, coordinate), that are spread about as widely as the density, until
    chains are mixed.

    Some moves are to draws of the proposal, which importance sampling has fitted; others are along
    the differences of walkers (ter Braak 2006; ter Braak and Vrugt 2008) or stretch them (Goodman
    and Weare 2010).
    """
    with extra("posterior"):
        import emcee  # loads scipy.stats, in half a second

    size = starts.shape[1]
    walkers = max(LEAST_WALKERS, WALKERS_PER_COORDINATE * size)
    chosen = random.choice(len(starts), walkers, replace=len(starts) < walkers)
    spread = starts.std(axis=0) + 1e-9
    begin = starts[chosen] + 1e-3 * spread * random.standard_normal((walkers, size))
    impossible = ~np.isfinite(density(begin))
    begin[impossible] = starts[chosen][impossible]
    moves = [
        (_independent(proposal), 0.5),
        (emcee.moves.DEMove(), 0.3),
        (emcee.moves.DESnookerMove(), 0.1),
        (emcee.moves.StretchMove(), 0.1),
    ]
    sampler = emcee.EnsembleSampler(walkers, size, density, vectorize=True, moves=moves)
    stream = np.random.RandomState(int(random.integers(2**32)))
    state = emcee.State(begin, random_state=stream.get_state())

    def run(state: Any, steps: int, done: int) -> Any:
        """The state after more steps than those that are done."""
        states = sampler.sample(state, iterations=steps, skip_initial_state_check=True)
        for number in range(1, steps + 1):
            state = next(states)
            on_drawn((done + number) * walkers, (done + steps) * walkers)
        return state

    state = run(state, BURN_IN, 0)
    sampler.reset()
    while True:
        state = run(state, max(STEPS, sampler.iteration), BURN_IN + sampler.iteration)
        chains = _judge_chains(sampler.get_chain().swapaxes(0, 1))
        if not chains.doubts or sampler.iteration >= MOST_STEPS:
            return chains


def _judge_chains(scores: Array) -> Draws:
    """All draws of walkers, (walker, step, coordinate), and whether they can be trusted.

    By the largest rank-normalised split R̂ of a coordinate, between groups of walkers (Vehtari et
    al. 2021, Bayesian Anal. 16, 667-718), and the least effective number of draws of a coordinate,
    in the bulk or the tails.
    """
    with extra("posterior"):
        from arviz_stats.base import array_stats

    r_hats = []
    bulks = []
    tails = []
    doubts = list[str]()
    for draws in np.moveaxis(scores, -1, 0):
        groups = draws.reshape(WALKER_GROUPS, -1, draws.shape[1]).swapaxes(1, 2)
        r_hats.append(float(array_stats.rhat(groups.reshape(WALKER_GROUPS, -1))))
        bulks.append(float(array_stats.ess(draws, method="bulk")))
        tails.append(float(array_stats.ess(draws, method="tail", prob=(0.05, 0.95))))
    r_hat = max(r_hats)
    ess = min(*bulks, *tails)
    if not r_hat <= MIXED_R_HAT:
        doubts = [f"the chains did not mix: R̂ is {r_hat:.3f}, and should be at most {MIXED_R_HAT}"]
    elif not ess >= ENOUGH_DRAWS:
        doubts = [f"the chains have {ess:.0f} effective draws, and should have {ENOUGH_DRAWS:.0f}"]
    return Draws(scores, "sampler", None, ess, r_hat, tuple(doubts))


# Draws from a posterior, by one of several methods, and whether they can be trusted.

STARTS = 1000
"""Draws by importance sampling of which some are the starts of chains."""

FEW_EFFECTIVE_DRAWS = 200.0
"""Effective number of draws below which quantiles are rough."""


@dataclass(frozen=True)
class Draws:
    """Draws of equal weights from a posterior, in scores.

    scores    (chain, draw, coordinate)
    method    by which they were found
    pareto_k  k̂ of the weights, where there are any
    ess       effective number of draws
    r_hat     of chains
    doubts    sentences on why they are not to be trusted; none if they are
    """

    scores: Array
    method: str
    pareto_k: float | None
    ess: float
    r_hat: float | None = None
    doubts: tuple[str, ...] = ()

    @property
    def all(self) -> Array:
        """The draws of all chains, (draw, coordinate)."""
        return self.scores.reshape(-1, self.scores.shape[-1])


def by_sampler(
    density: Density,
    proposal: Mixture,
    count: int,
    random: Generator,
    weights: Weighted | None = None,
    on_drawn: Counted = uncounted,
) -> Draws:
    """Draws by chains from where importance sampling, or given weights, found the posterior."""
    weights = weights or sample_weighted(density, proposal, random, count, on_drawn)
    starts = weights.scores[resample(weights.weights, STARTS, random)]
    chains = walk(density, weights.proposal, starts, random, on_drawn)
    walkers, steps = chains.scores.shape[:2]
    spread = np.linspace(0, steps - 1, min(steps, math.ceil(count / walkers))).round().astype(int)
    return replace(chains, scores=chains.scores[:, spread], pareto_k=weights.pareto_k)


def by_either(
    density: Density,
    proposal: Mixture,
    count: int,
    random: Generator,
    on_drawn: Counted = uncounted,
) -> Draws:
    """Draws from a mixture that is adapted to the posterior, resampled by their weights; and by
    chains from there if these are not to be trusted.
    """
    weights = sample_weighted(density, proposal, random, count, on_drawn)
    chosen = weights.scores[resample(weights.weights, count, random)]
    if doubts_of(weights.pareto_k, weights.ess, len(weights.weights)):
        return by_sampler(density, proposal, count, random, weights, on_drawn)
    return Draws(chosen[None], "importance", weights.pareto_k, weights.ess)


BRIDGE_DRAWS, BRIDGE_COMPONENTS = 4000, 8
"""Draws from which the evidence is found, at most; and components of its proposal."""


def evidence_of(density: Density, draws: Draws, random: Generator) -> Evidence:
    """By a proposal that is fitted to one half of the draws, and a bridge from it to the other."""
    spread = math.ceil(len(draws.all) / BRIDGE_DRAWS)
    first, second = np.array_split(draws.all[::spread], 2)  # of different chains
    centres = random.choice(first, BRIDGE_COMPONENTS)
    covariances = np.tile(np.atleast_2d(np.cov(first.T)), (BRIDGE_COMPONENTS, 1, 1))
    even = mixture(np.zeros(BRIDGE_COMPONENTS), centres, covariances, OF_PRIOR)
    proposal = even.fitted(first, np.full(len(first), 1 / len(first)))
    third = proposal.draws(len(second), random)
    of_posterior = density(second) - proposal.log_density(second)
    of_proposal = density(third) - proposal.log_density(third)
    return by_bridge(
        of_posterior,
        of_proposal,
        min(draws.ess / 2, len(second)),
    )


METHODS: dict[str, Callable[..., Draws]] = {"auto": by_either, "sampler": by_sampler}


def doubts_of(pareto_k: float, ess: float, draws: int) -> tuple[str, ...]:
    """Why weights are not to be trusted."""
    # Vehtari et al. (2024), J. Mach. Learn. Res. 25, 72
    limit = min(1 - 1 / math.log10(draws), 0.7)
    doubt = ""
    if not pareto_k <= limit:
        shape = f"Pareto k̂ is {pareto_k:.2f}, and should be at most {limit:.2f}"
        doubt = f"the largest weights are too unequal: {shape}"
    elif ess < FEW_EFFECTIVE_DRAWS:
        wanted = f"{FEW_EFFECTIVE_DRAWS:.0f}"
        doubt = f"the weights leave {ess:.0f} effective draws, and should leave {wanted}"
    return (doubt,) if doubt else ()

"""Draws from posteriors by importance sampling and chains, against densities that are known
otherwise.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats
import torch

from qexp.inference.density import (
    Marginal,
    PenalisedSquares,
    PosteriorDensity,
    Prior,
    Signals,
    uniform,
    whole_signals,
)
from qexp.inference.displacements import deformation_of
from qexp.inference.integration import grid_of
from qexp.inference.least_squares import Problem
from qexp.inference.parameters import Coordinates, Parameter
from qexp.inference.posterior import around_modes, draws_of, laplace, likely, modes
from qexp.inference.sampling import METHODS, Draws, doubts_of, draw_weighted, mixture
from qexp.inference.weighting import Weighting, track_block
from qexp.simulation.generators import GENERATORS
from tests.inference.tracks import EXPONENTIAL, covariance, track

SOURCE = (100.0, -200.0, 1200.0, 2e6)


def around(centre, spread=1.0):
    """A proposal of one component."""
    return mixture([0.0], np.array([centre], dtype=float), spread * np.eye(len(centre))[None], 0.05)


def normal(scores):
    """A correlated normal density in two scores."""
    return scipy.stats.multivariate_normal([0.5, -1.0], [[0.2, 0.15], [0.15, 0.3]]).logpdf(scores)


def bent(scores):
    """A bow: far from any normal distribution; its first score is normal, the second follows its
    square.
    """
    return (
        -0.5 * (scores[:, 0] / 0.7) ** 2 - 0.5 * ((scores[:, 1] - scores[:, 0] ** 2 + 1) / 0.1) ** 2
    )


def two(scores):
    """Two places of shares 0.3 and 0.7."""
    near, far = (scipy.stats.multivariate_normal([at, 0.0], 0.04 * np.eye(2)) for at in (-1.5, 1.5))
    return np.logaddexp(math.log(0.3) + near.logpdf(scores), math.log(0.7) + far.logpdf(scores))


def cut(scores):
    """Cut off at an edge, beside which it is thin and highest: what lies above it is half a normal
    distribution.
    """
    above = scores[:, 1] - 0.02 * scores[:, 0] ** 2
    return np.where(
        above > 0, -0.5 * (scores[:, 0] / 0.7) ** 2 - 0.5 * (above / 0.02) ** 2, -np.inf
    )


@pytest.mark.heavy
@pytest.mark.parametrize("method", METHODS)
def test_each_method_draws_from_a_normal_density(method):
    proposal = mixture([0.0], np.array([[0.5, -1.0]]), np.array([[[0.2, 0.15], [0.15, 0.3]]]), 0.05)
    made = METHODS[method](normal, proposal, 4000, np.random.default_rng(0))
    assert not made.doubts
    np.testing.assert_allclose(made.all.mean(axis=0), [0.5, -1.0], atol=0.05)
    np.testing.assert_allclose(np.cov(made.all.T), [[0.2, 0.15], [0.15, 0.3]], rtol=0.15)


@pytest.mark.heavy
@pytest.mark.parametrize("method", [*METHODS, "grid"])
def test_a_bow_is_drawn_from_although_no_proposal_has_its_shape(method):
    proposal, random = around([0.0, 0.0]), np.random.default_rng(1)
    on_grid = method == "grid"
    scores = (
        grid_of(bent, proposal).draws(4000, random)
        if on_grid
        else METHODS[method](bent, proposal, 4000, random).all
    )
    first, across = scores[:, 0] / 0.7, (scores[:, 1] - scores[:, 0] ** 2 + 1) / 0.1
    for values in (first, across):
        assert abs(values.mean()) < 0.1
        assert values.std() == pytest.approx(1.0, abs=0.1)


@pytest.mark.heavy
@pytest.mark.parametrize("method", METHODS)
def test_intervals_that_end_at_an_edge_are_as_wide_as_the_density(method):
    proposal = mixture([0.0], np.zeros((1, 2)), np.diag([0.7**2, 0.02**2])[None], 0.05)
    made = METHODS[method](cut, proposal, 8000, np.random.default_rng(4))
    assert not made.doubts
    above = (made.all[:, 1] - 0.02 * made.all[:, 0] ** 2) / 0.02
    for values, exact in ((made.all[:, 0] / 0.7, scipy.stats.norm), (above, scipy.stats.halfnorm)):
        low, high = exact.ppf([0.05, 0.95])
        np.testing.assert_allclose(
            np.quantile(values, [0.05, 0.95]), [low, high], atol=0.05 * (high - low)
        )


def test_weights_of_a_proposal_that_fits_badly_are_said_not_to_be_trusted():
    weights = draw_weighted(bent, around([0.0, -1.0], 0.01), np.random.default_rng(2), 1000)
    assert "should" in doubts_of(weights.pareto_k, weights.ess, 1000)[0]


@dataclass(frozen=True)
class Tail:
    """Signals of which the reduced ones always leave something out."""

    shape: float

    def lengthless(self, values):
        return values

    def reduced(self, moved):
        return Tail(0.0)


@dataclass(frozen=True)
class Exponential:
    """A density of one score; by reduced signals it is exp(−x), whose draws have weights of a
    Pareto distribution.
    """

    signals: Tail

    def values(self, scores):
        return scores

    def __call__(self, scores):
        return (self.signals.shape - 1) * scores[:, 0]


@pytest.mark.parametrize(
    ("shape", "count", "limit"),
    [(0.65, 20_000, None), (0.73, 20_000, "0.70"), (0.69, 500, "0.63"), (0.5, 500, None)],
)
def test_draws_are_doubted_above_a_limit_that_rises_with_their_number_up_to_seven_tenths(
    shape, count, limit
):
    """By Vehtari et al. (2024), J. Mach. Learn. Res. 25, 72: 1 − 1 / log₁₀ of the number, and 0.7
    from 2,155 on.
    """

    def sample(density, proposal, count, random):
        spread = -np.log((np.arange(count) + 0.5) / count)
        return Draws(random.permutation(spread)[None, :, None], "importance", None, count)

    made, _ = draws_of(
        Exponential(Tail(shape)), around([0.0]), sample, count, np.random.default_rng(0)
    )
    assert made.pareto_k == pytest.approx(shape, abs=0.04)
    assert [doubt.endswith(f"and should be at most {limit}") for doubt in made.doubts] == [True] * (
        limit is not None
    )


def test_two_modes_get_their_shares():
    proposal = mixture(
        [0.0, 0.0], np.array([[-1.5, 0.0], [1.5, 0.0]]), 0.04 * np.tile(np.eye(2), (2, 1, 1)), 0.05
    )
    made = METHODS["auto"](two, proposal, 4000, np.random.default_rng(3))
    assert (made.all[:, 0] > 0).mean() == pytest.approx(0.7, abs=0.03)


class Wells:
    """An unknown with modes at -2, -1, 0 and 1, each six times as far from the next as it is wide,
    and nothing possible above 1.5.
    """

    points = 1

    def __call__(self, values):
        return 6 * (values - values.round().clamp(-2, 1))

    def possible(self, values):
        return values[:, 0] < 1.5


def test_modes_beside_an_edge_are_searched_around_those_found_until_there_are_no_more():
    signals = Signals(Wells(), lambda moved: moved, torch.zeros(1, 1, dtype=torch.float64))
    density = PosteriorDensity(signals, Prior(["x"], [uniform("x", -100.0, 1.8)], {}))
    beside = density.prior.scores(np.array([[1.0]]))
    found, weight = around_modes(density, beside, 0.0, np.random.default_rng(0))
    likely_ones = np.sort(density.values(found.centres)[found.shares > 0.1, 0])
    np.testing.assert_allclose(likely_ones, [-2, -1, 0, 1], atol=0.05)
    assert weight == 1.0


def test_the_size_of_the_noise_is_that_by_the_best_mode_whatever_the_start_fits():
    problem = problem_of([track(source=SOURCE, seed=2)])
    prior = prior_of(problem)
    density = PosteriorDensity(whole_signals(problem), prior, degrees=problem.model.points - 3)
    starts = prior.scores(np.array([SOURCE, (-1500.0, 1500.0, 3000.0, -5e6)]))
    lowest = float(density.chi2(starts[:1])[0])
    found, weight = around_modes(density, starts, 400 * lowest, np.random.default_rng(0))
    straight, same = around_modes(density, starts, lowest, np.random.default_rng(0))
    assert weight == pytest.approx(same, rel=0.01)
    np.testing.assert_allclose(found.roots[0], straight.roots[0], rtol=0.05, atol=1e-4)


def problem_of(tracks, **fixed):
    """The least-squares problem of a point source."""
    sources = [GENERATORS["mogi"].build().sources[0]]
    names = ["x", "y", "depth", "delta_volume"]
    parameters = [
        Parameter(name, scale=scale)
        for name, scale in zip(names, (1e3, 1e3, 1e3, 1e6), strict=True)
    ]
    weighting = Weighting([track_block(one, offset=True, ramp=True) for one in tracks])
    data = torch.from_numpy(np.concatenate([one.displacement for one in tracks]))
    return Problem(
        deformation_of(sources, tracks, (0.0, 0.0)),
        weighting,
        data[None],
        Coordinates(parameters, fixed),
    )


def prior_of(problem):
    bounds = {
        "x": (-2e3, 2e3),
        "y": (-2e3, 2e3),
        "depth": (300.0, 4000.0),
        "delta_volume": (-1e7, 1e7),
    }
    names = [one.name for one in problem.coordinates.parameters]
    fixed = problem.coordinates.fixed
    return Prior(
        names, [uniform(name, *bounds[name]) for name in names if name not in fixed], fixed
    )


@pytest.mark.heavy
def test_simulated_data_have_the_covariance_of_the_noise_and_of_what_is_unknown_of_offset_and_ramp():
    seen = track(source=SOURCE, noise=EXPONENTIAL, added=0.03, size=5)
    problem = problem_of([seen])
    model = problem.model(torch.tensor([SOURCE], dtype=torch.float64))
    factor, count = 1.3, 200_000
    made = problem.weighting.simulated(
        model.expand(count, -1),
        problem.data,
        torch.full((count,), factor).double(),
        torch.Generator().manual_seed(0),
    ).numpy()
    noise = covariance(seen.x, seen.y, EXPONENTIAL) + np.diag(seen.error**2)
    planes = np.stack([np.ones_like(seen.x), seen.x / 1e3, seen.y / 1e3], axis=1)
    of_amounts = np.linalg.inv(planes.T @ np.linalg.solve(noise, planes))
    best = of_amounts @ planes.T @ np.linalg.solve(noise, seen.displacement - model.numpy()[0])
    expected = factor**2 * (noise + planes @ of_amounts @ planes.T)
    errors = np.sqrt(expected.diagonal())
    np.testing.assert_allclose(
        (made.mean(axis=0) - model.numpy()[0] - planes @ best) / errors, 0, atol=0.015
    )
    np.testing.assert_allclose((np.cov(made.T) - expected) / np.outer(errors, errors), 0, atol=0.02)


def test_the_likelihood_is_that_after_integrating_over_offset_and_ramp():
    """Against a normal density whose covariance has the nuisances with a very wide prior, up to one
    constant.
    """
    seen = track(source=SOURCE, noise=EXPONENTIAL, added=0.03, size=9)
    problem = problem_of([seen])
    prior = prior_of(problem)
    posterior = PosteriorDensity(whole_signals(problem), prior)
    scores = np.random.default_rng(0).normal(scale=0.3, size=(20, 4))
    planes = np.stack([np.ones_like(seen.x), seen.x / 1e3, seen.y / 1e3])
    between = (
        covariance(seen.x, seen.y, EXPONENTIAL) + np.diag(seen.error**2) + 1e4 * planes.T @ planes
    )
    left = seen.displacement - problem.model(prior.values(scores)).numpy()
    inverse = np.linalg.inv(between / 1e-4) / 1e-4
    expected = -0.5 * np.einsum("ni,ij,nj->n", left, inverse, left) - 0.5 * np.square(scores).sum(
        axis=1
    )
    np.testing.assert_allclose(np.diff(posterior(scores)), np.diff(expected), rtol=1e-4, atol=1e-2)


def test_an_unknown_size_of_the_noise_is_integrated_over():
    """Against a sum over many sizes, with the prior 1 / size."""
    problem = problem_of([track(source=SOURCE, size=6)], x=100.0, y=-200.0)
    degrees = problem.model.points - problem.weighting.nuisances
    posterior = PosteriorDensity(whole_signals(problem), prior_of(problem), degrees=degrees)
    scores = np.random.default_rng(0).normal(scale=0.5, size=(10, 2))
    chi2 = posterior.chi2(scores)
    logarithms = np.linspace(-3, 8, 20001)
    each = -degrees * logarithms - 0.5 * chi2[:, None] * np.exp(-2 * logarithms)
    expected = scipy.special.logsumexp(each, axis=1)
    np.testing.assert_allclose(
        np.diff(posterior.log_likelihood(chi2, scores)), np.diff(expected), rtol=1e-6
    )


def test_reduced_signals_are_those_at_all_points():
    problem = problem_of([track(source=SOURCE, noise=EXPONENTIAL, size=20)], x=100.0, y=-200.0)
    prior, whole = prior_of(problem), whole_signals(problem)
    random = np.random.default_rng(0)
    spanning, checked = random.standard_normal((200, 2)), random.standard_normal((50, 2))
    few = whole.reduced(whole.lengthless(prior.values(spanning)), prior.values(checked), 1e-4)
    assert few is not None
    assert few.model.points < 60 < whole.model.points
    scores = random.standard_normal((100, 2))
    np.testing.assert_allclose(
        PosteriorDensity(few, prior)(scores),
        PosteriorDensity(whole, prior)(scores),
        rtol=1e-4,
        atol=1e-2,
    )
    near = whole.lengthless(prior.values(0.01 * spanning[:30]))
    assert whole.reduced(near, prior.values(checked), 1e-6) is None


def test_modes_and_their_widths_are_those_of_the_posterior():
    """At the mode the density falls in all directions, as the curvature says."""
    problem = problem_of([track(source=SOURCE, noise=EXPONENTIAL, size=14)])
    prior, signals = prior_of(problem), whole_signals(problem)
    posterior = PosteriorDensity(signals, prior)
    starts = prior.scores(np.array([[0.0, 0.0, 1000.0, 1e6], [300.0, 300.0, 2000.0, 4e6]]))
    proposal = laplace(posterior, modes(PenalisedSquares(signals, prior), starts))
    assert len(proposal.centres) == 1
    (centre,), (root,) = proposal.centres, proposal.roots
    highest = posterior(centre[None])
    for direction in np.vstack([root.T, -root.T]):
        assert posterior((centre + 0.3 * direction)[None]) - highest == pytest.approx(
            -0.045, abs=0.03
        )
    truth = prior.scores(np.array([SOURCE]))[0]
    assert np.square(np.linalg.solve(root, truth - centre)).sum() < scipy.stats.chi2(4).ppf(0.999)


class Valleys:
    """Two minima, at 2 and close to −2, where residuals rise from 0 to `rise`."""

    def __init__(self, rise):
        self.rise = rise

    def normal_equations(self, coordinates, which):
        at = coordinates[:, 0]
        residuals = torch.stack([3 * (at.square() - 4), self.rise * (2 - at) / 4], dim=1)
        slopes = torch.stack([6 * at, torch.full_like(at, -self.rise / 4)], dim=1)
        gradient = (residuals * slopes).sum(1)[:, None]
        information = slopes.square().sum(1)[:, None, None]
        return 0.5 * residuals.square().sum(dim=1), gradient, information


@pytest.mark.parametrize(("rise", "expected"), [(3.0, [2.0, -2.0]), (7.0, [2.0])])
def test_starts_that_end_together_leave_room_for_another_mode_that_is_likely(rise, expected):
    minima = modes(Valleys(rise), np.array([[1.5], [1.8], [2.2], [2.5], [3.0], [-2.5], [-1.9]]))
    assert (minima.coordinates[minima.cost.argsort()[:3]] > 0).all()
    np.testing.assert_allclose(minima.coordinates[likely(minima, 3), 0], expected, atol=0.1)
    assert len(likely(minima, 1)) == 1


def test_bounds_cut_a_distribution_off_and_angles_end_far_from_the_modes():
    log_normal = Marginal(
        "depth", lambda share: np.exp(scipy.special.ndtri(share)), 0.5, 3.0, "log-normal"
    )
    values = log_normal.value(np.linspace(-8, 8, 201))
    assert 0.5 <= values.min() < 0.51
    assert 2.99 < values.max() <= 3.0
    middle = (scipy.stats.lognorm(1.0).cdf(0.5) + scipy.stats.lognorm(1.0).cdf(3.0)) / 2
    assert log_normal.value(np.zeros(1))[0] == pytest.approx(
        scipy.stats.lognorm(1.0).ppf(middle), rel=1e-3
    )
    np.testing.assert_allclose(
        log_normal.score(log_normal.value(np.array([-1.2, 0.4]))), [-1.2, 0.4], atol=1e-5
    )
    strike = uniform("strike", 0.0, 2 * math.pi, 2 * math.pi).cut_opposite(np.array([0.1]))
    np.testing.assert_allclose(strike.score(np.array([0.1, 0.1 + 2 * math.pi])), 0.0, atol=1e-9)
    assert strike.low == pytest.approx(0.1 - math.pi)
    opposite = strike.cut_opposite(np.array([6.0, 6.0 - math.pi, 6.1]))
    for mode in (6.0, 6.0 - math.pi, 6.1):
        turn = opposite.within_turn(mode)
        assert min(turn - opposite.low, opposite.high - turn) > 1.5
    assert opposite.high - opposite.low == pytest.approx(2 * math.pi)

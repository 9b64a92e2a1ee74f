"""Noises of tracks that are unknown: their integral, and their draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from qexp.inference.density import Prior, uniform, whole_signals
from qexp.inference.fit import best
from qexp.inference.unknown_noise import (
    PRIOR_DEGREES,
    WIDTHS,
    NoisyDensity,
    likeliest,
    noise_draws,
    unknown_noise,
)
from tests.inference.tracks import DESCENDING, EXPONENTIAL, covariance, problem_of, track

TRUTH = {"x": 100.0, "y": -150.0, "depth": 1500.0, "delta_volume": 3e6}
SPREAD = {"x": 400.0, "y": 400.0, "depth": 400.0, "delta_volume": 1.5e6}


def seen(noise=EXPONENTIAL, names=("ascending",), size=8):
    given = replace(noise, nugget=0.005**2)
    looks = [{}, {"look": DESCENDING, "seed": 1}]
    return [
        track(name, source=TRUTH.values(), noise=given, size=size, added=0.02, **look)
        for name, look in zip(names, looks, strict=False)
    ]


def density_of(tracks):
    problem, _ = problem_of("mogi", tracks, offsets=True)
    names = problem.coordinates.names
    truth = torch.tensor([[TRUTH[name] for name in names]], dtype=torch.float64)
    fit = best(problem, truth)
    noises = [unknown_noise(problem, fit, *numbered, True) for numbered in enumerate(tracks)]
    prior = Prior(
        names,
        [uniform(name, TRUTH[name] - SPREAD[name], TRUTH[name] + SPREAD[name]) for name in names],
        {},
    )
    likely, _ = likeliest(noises, problem, fit)
    whole = whole_signals(likely)
    return NoisyDensity(whole, prior, whole=whole, weighting=likely.weighting, noises=noises)


def over_grid(one, residual):
    """Likelihoods, but for a constant, of a residual with an unknown offset, (range, ratio, sill),
    and these, on a dense grid of their priors; without qexp's kernels.
    """
    shape = np.linspace(-4, 4, 33)
    factors = np.exp(np.linspace(-3, 5, 161))
    logs = np.empty((33, 33, 161))
    for row, of_range in enumerate(shape):
        correlated = covariance(
            one.x, one.y, replace(one.noise, range=one.noise.range * np.exp(WIDTHS[0] * of_range))
        )
        for column, of_nugget in enumerate(shape):
            total = correlated + np.diag(one.error**2 * np.exp(WIDTHS[1] * of_nugget))
            inverse = np.linalg.inv(total)
            ones = inverse.sum(axis=0)
            chi2 = residual @ inverse @ residual - (ones @ residual) ** 2 / ones.sum()
            volume = np.linalg.slogdet(total)[1] + np.log(ones.sum())
            prior = -0.5 * (of_range**2 + of_nugget**2)
            # an inverse χ² density, times the step of a logarithmic grid
            of_factor = -PRIOR_DEGREES / 2 * (np.log(factors) + 1 / factors)
            likelihood = -0.5 * (chi2 / factors + (len(residual) - 1) * np.log(factors) + volume)
            logs[row, column] = prior + of_factor + likelihood
    return logs, shape, factors


def test_likelihoods_and_draws_are_those_of_integrals_over_sill_range_and_nugget():
    [one] = seen()
    density = density_of([one])
    scores = np.array([[0.0, 0, 0, 0], [0.1, -0.1, 0.2, 0.2], [0.0, 0.3, -0.2, -0.1]])
    residuals = one.displacement - density.signals.model(density.values(scores)).numpy()
    grids = [over_grid(one, residual) for residual in (*residuals, one.displacement)]
    _, shape, factors = grids[0]
    grids = [logs for logs, *_ in grids]
    expected = np.array([np.logaddexp.reduce(logs, axis=None) for logs in grids])
    mine = density(scores) + 0.5 * np.square(scores).sum(axis=1)
    np.testing.assert_allclose(np.diff(mine), np.diff(expected[:3]), atol=0.06)
    assert density.without_source - mine[0] == pytest.approx(expected[3] - expected[0], abs=0.15)

    [drawn] = noise_draws(
        density.noises, density, np.repeat(scores[:1], 20000, axis=0), np.random.default_rng(0)
    )
    of_name = {name: np.log(values) for name, values, *_ in drawn.parameters()}
    share = np.exp(grids[0] - grids[0].max())
    share /= share.sum()
    for name, values, about in (
        ("range", WIDTHS[0] * shape[:, None, None], np.log(one.noise.range / 1e3)),
        ("sill", np.log(factors), np.log(1e6 * one.noise.sill)),
        ("nugget", WIDTHS[1] * shape[:, None] + np.log(factors), np.log(25.0)),
    ):
        mean = (share * values).sum()
        deviation = np.sqrt((share * (values - mean) ** 2).sum())
        assert of_name[name].mean() == pytest.approx(about + mean, abs=0.12 * deviation)
        assert of_name[name].std() == pytest.approx(deviation, rel=0.12)


def test_tracks_add_up_and_signals_in_a_basis_have_the_same_likelihood():
    both = density_of(seen(names=("ascending", "descending"), size=12))
    scores = np.random.default_rng(2).normal(0, 0.1, (20, 4))
    parts = both.chi2_of_nodes(scores)
    assert [part.shape for part in parts] == [(20, len(one.lattice.nodes)) for one in both.noises]
    logs = [
        np.logaddexp.reduce(one.log_likelihoods(part), axis=1)
        for one, part in zip(both.noises, parts, strict=True)
    ]
    np.testing.assert_allclose(both(scores), sum(logs) - 0.5 * np.square(scores).sum(axis=1))
    spanning = np.random.default_rng(3).normal(0, 0.3, (200, 4))
    few = both.signals.reduced(both.signals.lengthless(both.values(spanning)))
    assert few.vectors.shape[1] < 72
    np.testing.assert_allclose(replace(both, signals=few)(scores), both(scores), atol=1e-3)


def test_both_types_count_where_the_noise_was_estimated_and_a_factor_alone_without_a_sill():
    [one] = seen()
    estimated = replace(one, noise=replace(one.noise, estimated=True))
    [noise] = density_of([estimated]).noises
    assert {kind for kind, *_ in noise.lattice.nodes} == {"exponential", "gaussian"}
    [noise] = density_of([replace(one, noise=None)]).noises
    assert len(noise.lattice.nodes) == 1
    drawn = noise.draws(np.full((20000, 1), 63 * 4.0), np.random.default_rng(0))
    [(name, values, unit, *_)] = drawn.parameters()
    assert (name, unit) == ("factor", "1")
    assert np.median(values) == pytest.approx(2.0, rel=0.02)


def test_predicted_data_have_the_drawn_noise():
    [one] = seen(size=12)
    density = density_of([one])
    scores = np.zeros((3000, 4))
    [drawn] = noise_draws(density.noises, density, scores, np.random.default_rng(0))
    data = torch.from_numpy(one.displacement)[None]
    models = density.signals.model(density.values(scores[:1])).expand(3000, -1)
    random = torch.Generator().manual_seed(1)
    seen_again = drawn.simulated(np.arange(3000), models, data, random).numpy()
    steps = np.diff(seen_again.reshape(-1, 12, 12), axis=2).var()
    sill, reach, nugget = (values for _, values, *_ in drawn.parameters())
    expected = 2e-6 * np.mean(nugget + sill * (1 - np.exp(-0.4 / reach)))
    slope = np.diff(models[0].numpy().reshape(12, 12), axis=1).var()
    assert steps - slope == pytest.approx(expected, rel=0.05)

"""Least squares of deformation: the same minimum as other solvers find, and errors that are as
large as they say.
"""

import dataclasses
import functools

import numpy as np
import pytest
import scipy.optimize
import torch

from qexp.errors import QexpError
from qexp.inference.displacements import deformation_of
from qexp.inference.fit import (
    AGREED,
    POOR_CHI2,
    best,
    best_around,
    correlations,
    refine_fit,
    residual_errors,
    scale,
    standard_errors,
    threshold,
)
from qexp.inference.least_squares import STARTS, Problem, starts
from qexp.inference.parameters import Coordinates, Parameter
from qexp.inference.weighting import Block, Weighting, track_block
from qexp.observations.reduction import reduced_points, reduction
from qexp.physics.dislocation import okada
from qexp.simulation.generators import GENERATORS
from tests.inference.tracks import (
    ASCENDING,
    DESCENDING,
    EXPONENTIAL,
    covariance,
    point_source,
    problem_of,
    track,
    two_tracks,
)

problem = functools.partial(problem_of, "mogi")
TRUTH = (0.0, 0.0, 1000.0, 1e6)


def with_ramps(**changes):
    """Correlated noise, another offset and ramp in each."""
    made = []
    for index, look in enumerate((ASCENDING, DESCENDING)):
        one = track(
            f"track {index}",
            look,
            source=(200.0, -100.0, 1200.0, 2e6),
            noise=EXPONENTIAL,
            seed=index,
            **changes,
        )
        ramp = (0.02 - 0.05 * index) + 1e-3 * one.x / 1e3 - 2e-3 * one.y / 1e3
        made.append(dataclasses.replace(one, displacement=one.displacement + ramp))
    return made


def classical(tracks, start):
    """Values and covariance of sources, offsets and ramps, all as parameters of scipy's least
    squares.
    """
    factors = [
        np.linalg.cholesky(covariance(one.x, one.y, one.noise) + np.diag(one.error**2))
        for one in tracks
    ]

    def residuals(values):
        parts = []
        for index, (one, factor) in enumerate(zip(tracks, factors, strict=True)):
            offset, east, north = values[4 + 3 * index : 7 + 3 * index]
            model = (point_source(one.x, one.y, *values[:3], 1e6 * values[3]) * one.direction).sum(
                axis=1
            )
            left = one.displacement - model - offset - east * (one.x - one.x.mean()) / 1e3
            parts.append(np.linalg.solve(factor, left - north * (one.y - one.y.mean()) / 1e3))
        return np.concatenate(parts)

    begin = [*start, *np.zeros(3 * len(tracks))]
    found = scipy.optimize.least_squares(
        residuals, begin, x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    return found.x, np.linalg.inv(found.jac.T @ found.jac), 2 * found.cost


def test_sources_and_nuisances_are_those_of_a_solver_that_knows_all_of_them_as_parameters():
    tracks = with_ramps(size=12, spacing=500.0)
    posed = problem(tracks, offsets=True, ramps=True)[0]
    fit = best(posed, torch.tensor([[0.0, 0.0, 2000.0, 1e6]]))
    values, covariances, chi2 = classical(tracks, [0.0, 0.0, 2000.0, 1.0])
    np.testing.assert_allclose(fit.values, values[:4] * [1, 1, 1, 1e6], rtol=1e-6, atol=1e-3)
    assert fit.chi2 == pytest.approx(chi2, rel=1e-9)
    assert fit.degrees == 2 * 144 - 4 - 6
    errors = np.sqrt(np.diagonal(covariances))
    np.testing.assert_allclose(standard_errors(fit), errors[:4] * [1, 1, 1, 1e6], rtol=1e-4)
    for index, nuisances in enumerate(fit.nuisances):
        own = slice(4 + 3 * index, 7 + 3 * index)
        assert list(nuisances.amounts) == ["offset", "ramp_east", "ramp_north"]
        np.testing.assert_allclose(list(nuisances.amounts.values()), values[own], rtol=1e-5)
        np.testing.assert_allclose(list(nuisances.errors.values()), errors[own], rtol=1e-4)
    left = np.concatenate(fit.residual) + posed.model(torch.from_numpy(fit.values)[None])[0].numpy()
    # offsets are in neither
    assert np.abs(np.concatenate([one.displacement for one in tracks]) - left).max() > 0.02


def test_a_minimum_beyond_a_bound_is_the_one_on_it():
    tracks = [track(noise=EXPONENTIAL, size=10)]
    bounded, found = problem(tracks, bounds={"depth": (1300.0, 3000.0)})
    fit = best(bounded, starts(bounded, found, 4, seed=0))
    one = tracks[0]
    factor = np.linalg.cholesky(covariance(one.x, one.y, EXPONENTIAL) + np.diag(one.error**2))

    def residuals(free):
        model = (
            point_source(one.x, one.y, free[0], free[1], 1300.0, 1e6 * free[2]) * one.direction
        ).sum(axis=1)
        return np.linalg.solve(factor, one.displacement - model)

    solved = scipy.optimize.least_squares(residuals, [0.0, 0.0, 1.0], x_scale="jac", xtol=1e-12)
    values, errors = solved.x, np.sqrt(np.diag(np.linalg.inv(solved.jac.T @ solved.jac)))
    assert fit.at_bounds == ("depth",)
    np.testing.assert_allclose(standard_errors(fit), [*errors[:2], 0.0, 1e6 * errors[2]], rtol=1e-3)
    np.testing.assert_array_equal(correlations(fit)[2], [0, 0, 1, 0])
    np.testing.assert_allclose(
        fit.values, [values[0], values[1], 1300.0, 1e6 * values[2]], rtol=1e-5, atol=1e-2
    )


def test_a_fixed_parameter_keeps_its_value_and_has_no_error():
    held, found = problem([track()], fixed={"x": 50.0})
    fit = best(held, starts(held, found, 2, seed=0))
    assert fit.values[0] == 50.0
    assert fit.coordinates.free == [1, 2, 3]
    assert standard_errors(fit).shape == (3,)


@pytest.mark.parametrize("free", [("depth", "delta_volume"), ("x", "y", "depth", "delta_volume")])
def test_the_bound_of_the_default_geometry_is_the_same_with_the_place_known_and_not(free):
    """64 x 64 pixels of 0.1 km, incidence 0.33, white noise of 0.01 m, a source of 10⁶ m³ at 1
    km.
    """
    perfect = track(
        look=np.array([-np.sin(0.33), 0.0, np.cos(0.33)]), size=64, spacing=100.0, error=0.01
    )
    fixed = {name: 0.0 for name in ("x", "y") if name not in free}
    depth, volume = standard_errors(best(problem([perfect], fixed)[0], torch.tensor([TRUTH])))[-2:]
    assert depth == pytest.approx(4.98, rel=0.02)  # at the estimate, not at the truth
    assert volume == pytest.approx(0.00613e6, rel=0.02)


@pytest.mark.heavy
@pytest.mark.parametrize("noise", [None, EXPONENTIAL], ids=["white", "exponential"])
def test_errors_are_as_small_as_the_noise_allows_and_as_large_as_they_are_said_to_be(noise):
    count, size = 1000, 16
    clean = track(size=size, error=1e-12, source=TRUTH)
    error = np.full(size**2, 0.01)
    total = np.diag(error**2) + (0 if noise is None else covariance(clean.x, clean.y, noise))
    random = np.random.default_rng(3).normal(size=(count, size**2))
    data = torch.from_numpy(clean.displacement + random @ np.linalg.cholesky(total).T)
    weighting = Weighting(
        [Block("one", error, None if noise is None else total, np.zeros((size**2, 0)))]
    )
    usual, _ = problem([clean])
    coordinates = usual.coordinates
    minima = Problem(usual.model, weighting, data, coordinates).minimum(
        torch.tensor([TRUTH]).expand(count, -1)
    )
    assert minima.converged.all()

    step = np.diag([1.0, 1.0, 1.0, 1e3])
    ends = (
        [point_source(clean.x, clean.y, *(TRUTH + side * along)) for side in (1, -1)]
        for along in step
    )
    differences = [((after - before) * clean.direction).sum(axis=1) for after, before in ends]
    slopes = np.stack(differences, axis=1) / (2 * step.sum(axis=0))
    bound = np.sqrt(np.diagonal(np.linalg.inv(slopes.T @ np.linalg.solve(total, slopes))))
    errors = coordinates.values(minima.coordinates).numpy() - TRUTH
    assert (errors.std(axis=0) < 1.1 * bound).all()
    assert (
        np.abs(errors.mean(axis=0)) < 0.12 * bound
    ).all()  # the mean of 1000 has a spread of 0.03
    spread = torch.linalg.inv(minima.information).diagonal(dim1=-2, dim2=-1).sqrt()
    at_truth = coordinates.from_values(torch.tensor([TRUTH], dtype=torch.float64))
    inside = ((minima.coordinates - at_truth).abs() < 1.96 * spread).double().mean(dim=0)
    assert ((inside > 0.93) & (inside < 0.97)).all()


@pytest.mark.parametrize("name", ["mogi", "okada"])
def test_derivatives_are_those_of_automatic_differentiation(name):
    one, found = problem_of(name, [track(size=4)])
    middle = torch.tensor([[0.5 * (part.low + part.high) for part in found]], dtype=torch.float64)
    at = one.coordinates.from_values(middle).requires_grad_()
    automatic = torch.autograd.functional.jacobian(
        lambda free: one.model(one.coordinates.values(free))[0], at
    )
    _, slopes = one.derivatives(at.detach())
    for slope, expected in zip(slopes[0], automatic[:, 0].T, strict=True):
        torch.testing.assert_close(
            slope, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max())
        )


def test_derivatives_beside_a_bound_or_the_surface_are_those_of_one_side():
    one, _ = problem([track(size=4)], bounds={"depth": (1000.0, 3000.0)})
    at = one.coordinates.from_values(torch.tensor([TRUTH]))
    _, slopes = one.derivatives(at)
    _, beside = one.derivatives(at + torch.tensor([0.0, 0.0, 1e-3, 0.0]))
    torch.testing.assert_close(slopes, beside, rtol=1e-2, atol=1e-5)


def test_starts_spread_over_the_limits_are_the_same_for_a_seed_and_have_the_best_amplitudes():
    one, found = problem([track(error=1e-9, source=(300.0, 200.0, 1000.0, -3e6))])
    made = starts(one, found, 5, seed=1)
    assert made.shape == (5, 4)
    assert torch.equal(made, starts(one, found, 5, seed=1))
    assert not torch.equal(made, starts(one, found, 5, seed=2))
    for start in made.numpy():
        moved = point_source(*(one.model.stations.numpy().T), *start[:3], 1.0)
        unit = (moved * one.model.direction.numpy()).sum(axis=1)
        assert start[3] == pytest.approx(unit @ one.data[0].numpy() / (unit @ unit), rel=1e-6)
    fit = best(one, made)
    np.testing.assert_allclose(fit.values, [300.0, 200.0, 1000.0, -3e6], rtol=1e-6)
    assert 1 <= fit.agreeing <= fit.starts == 5


def test_many_problems_at_once_end_where_each_ends_alone():
    tracks = [track(seed=seed) for seed in range(3)]
    alone = [
        best(problem([one])[0], torch.tensor([[100.0, 0.0, 1500.0, 1e6]])).values for one in tracks
    ]
    together, _ = problem(tracks[:1])
    data = torch.from_numpy(np.stack([one.displacement for one in tracks]))
    many = Problem(together.model, together.weighting, data, together.coordinates)
    many = many.minimum(torch.tensor([[100.0, 0.0, 1500.0, 1e6]]).expand(3, -1))
    np.testing.assert_allclose(
        together.coordinates.values(many.coordinates), np.stack(alone), rtol=1e-6, atol=1e-3
    )


def test_a_start_above_ground_is_left_out_and_others_are_not_harmed():
    one, _ = problem([track()], bounds={"depth": (-np.inf, np.inf)})
    fit = best(one, torch.tensor([[0.0, 0.0, -500.0, 1e6], [0.0, 0.0, 2000.0, 1e6]]))
    assert fit.values[2] == pytest.approx(1000.0, rel=0.1)
    with pytest.raises(QexpError, match="start deeper"):
        best(one, torch.tensor([[0.0, 0.0, -500.0, 1e6]]))


def test_errors_and_the_threshold_of_intervals_widen_with_the_residuals():
    quiet, _ = problem([track(error=0.02, size=6, spacing=1500.0)])
    fit = best(quiet, torch.tensor([TRUTH]))
    fit, loud = (dataclasses.replace(fit, chi2=share * fit.degrees) for share in (0.9, 4.0))
    assert (scale(fit), scale(loud)) == (1.0, 2.0)
    np.testing.assert_allclose(np.diagonal(correlations(fit)), 1.0)
    assert threshold(fit) == pytest.approx(1.96, abs=1e-3)
    student = scipy.optimize.brentq(lambda t: scipy.special.stdtr(fit.degrees, t) - 0.975, 1, 5)
    assert threshold(loud) == pytest.approx(2 * student)


def test_angles_with_a_period_are_wrapped_unless_they_are_fixed():
    of = [Parameter("strike", period=2 * np.pi), Parameter("omega_x", period=2 * np.pi)]
    wrapped = Coordinates(of, {"omega_x": -1.0}).wrapped(
        torch.tensor([[-0.5, -1.0]], dtype=torch.float64)
    )
    np.testing.assert_allclose(wrapped, [[2 * np.pi - 0.5, -1.0]])


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (
            {"y": np.zeros(256)},
            {"offsets": True, "ramps": True},
            "separate offset and ramp_east and ramp_north",
        ),
        (
            {"noise": dataclasses.replace(EXPONENTIAL, type="spherical")},
            {},
            "no covariance function 'spherical'",
        ),
        (
            {
                "noise": dataclasses.replace(EXPONENTIAL, type="gaussian", range=1e7),
                "error": np.full(256, 1e-12),
            },
            {},
            "not positive definite",
        ),
        # Points at the same places, without independent errors: rounding leaves pivots that are not
        # exactly 0.
        (
            {"noise": EXPONENTIAL, "error": np.full(256, 1e-12)}
            | {axis: np.repeat(getattr(track(), axis)[::2], 2) for axis in ("x", "y")},
            {},
            "not positive definite",
        ),
    ],
)
def test_noise_and_nuisances_that_cannot_be_used_are_refused(change, options, words):
    with pytest.raises(QexpError, match=words):
        problem([dataclasses.replace(track(), **change)], **options)


def test_fewer_points_than_unknowns_are_refused():
    few = track(size=2)
    with pytest.raises(QexpError, match="4 points cannot determine 5 unknowns"):
        problem([few], offsets=True)


def test_stations_have_no_nuisances_and_a_large_track_is_weighted_by_its_errors_but_not_by_a_full_covariance():
    assert track_block(
        dataclasses.replace(track(), kind="gnss"), offset=True, ramp=True
    ).nuisances.shape == (256, 0)
    large = track(size=80)
    assert len(track_block(large, offset=True, ramp=False).error) == 6400
    with pytest.raises(QexpError, match="reduce them first"):
        track_block(dataclasses.replace(large, noise=EXPONENTIAL), offset=True, ramp=False)


def test_the_damping_does_not_depend_on_the_units_of_parameters():
    tracks = [track()]
    counts = []
    for size in (1.0, 1e9):
        one, found = problem(tracks)
        rescaled = [dataclasses.replace(s.parameter, scale=s.parameter.scale * size) for s in found]
        other = Problem(one.model, one.weighting, one.data, Coordinates(rescaled, {}))
        counts.append(int(other.minimum(torch.tensor([[0.0, 100.0, 1500.0, 1e6]])).iterations))
    assert abs(counts[0] - counts[1]) <= 3
    assert max(counts) < 30


@pytest.mark.heavy
def test_errors_by_the_residuals_are_those_of_the_estimates_where_correlation_was_not_declared():
    """Correlated noise, weighted as if it were independent: the formal errors are far too small,
    these are not.
    """
    random, estimates, formal, robust = np.random.default_rng(8), [], [], []
    clean = track(size=20, error=1e-9)
    noise = dataclasses.replace(EXPONENTIAL, range=1000.0)
    factor = np.linalg.cholesky(covariance(clean.x, clean.y, noise) + 1e-6 * np.eye(400))
    for _ in range(60):
        seen = dataclasses.replace(
            clean,
            displacement=clean.displacement + factor @ random.normal(size=400),
            error=np.full(400, 0.01),
        )
        one, _ = problem([seen], offsets=True)
        fit = best(one, torch.tensor([TRUTH]))
        estimates.append(fit.values)
        formal.append(standard_errors(fit))
        robust.append(residual_errors(fit, one, [seen]))
    spread = np.std(estimates, axis=0)
    assert (np.mean(formal, axis=0) < 0.7 * spread).all()
    ratio = np.mean(robust, axis=0) / spread
    assert ((ratio > 0.75) & (ratio < 1.25)).all(), ratio


SHALLOW = (
    3900.0,
    3900.0,
    1950.0,
    7000.0,
    3750.0,
    np.radians(-44.0),
    np.radians(89.5),
    0.0,
    0.0,
    2.3,
)


@pytest.mark.heavy
def test_a_strong_dike_below_the_surface_is_found_from_an_estimate_that_is_far_off():
    tracks = two_tracks(okada, SHALLOW, noise=EXPONENTIAL, size=14, spacing=1700.0)
    dike, spans = problem_of("okada", tracks, {"strike_slip": 0.0, "dip_slip": 0.0}, offsets=True)
    from_truth = best(dike, torch.tensor([SHALLOW]))
    far_off = torch.tensor(
        [[-4000.0, 0.0, 3000.0, 4000.0, 2000.0, 0.5, 1.2, 0.0, 0.0, 1.0]], dtype=torch.float64
    )
    assert best(dike, far_off).chi2_reduced > POOR_CHI2
    found = refine_fit(dike, far_off, spans, seed=0)
    assert found.chi2_reduced < 1.1
    np.testing.assert_allclose(found.chi2, from_truth.chi2, rtol=1e-6)


@pytest.mark.heavy
def test_a_strong_dike_below_the_surface_is_found_around_the_minima_of_others():
    tracks = two_tracks(okada, SHALLOW, noise=EXPONENTIAL, size=10, spacing=2400.0)
    dike, spans = problem_of("okada", tracks, {"strike_slip": 0.0, "dip_slip": 0.0}, offsets=True)
    spread = starts(dike.to_search(3), spans, STARTS, seed=3)
    alone = best(dike, spread, seed=3)
    assert alone.chi2_reduced > 10 * POOR_CHI2
    found = best_around(dike, alone, AGREED, seed=3)
    assert found.starts > STARTS
    np.testing.assert_allclose(found.chi2, best(dike, torch.tensor([SHALLOW])).chi2, rtol=1e-6)


# Points that are means of cells are compared with the mean of the model, not with the model in the
# middle.

SOURCE = (300.0, -200.0, 1500.0, 2e6)


def fitted(points):
    fit = best(problem([points])[0], torch.tensor([[500.0, 0.0, 2000.0, 3e6]], dtype=torch.float64))
    return fit.values, standard_errors(fit)


def test_an_inversion_of_means_finds_what_all_points_say():
    """2,304 points with 5 mm of noise determine the depth to some metres; cells of 800 m must not
    shift it by tens.
    """
    points = track(source=SOURCE, size=48, spacing=200.0, error=0.005)
    everything, error = fitted(points)
    cells = reduced_points(points, reduction("uniform:4"))
    means, error_of_means = fitted(cells)
    assert (np.abs(means - everything) < error / 2).all()
    np.testing.assert_allclose(error_of_means, error, rtol=0.15)
    middles, _ = fitted(dataclasses.replace(cells, spread=None))
    assert np.abs(middles - everything)[2] > 3 * error[2]


def test_tracks_of_means_and_of_points_are_seen_together():
    points = track(source=SOURCE, size=8, spacing=800.0)
    cells = reduced_points(
        track(source=SOURCE, size=32, spacing=200.0, error=0.0), reduction("uniform:4")
    )
    tracks = [points, dataclasses.replace(cells, name="cells")]
    model = deformation_of(GENERATORS["mogi"].build().sources, tracks, (0.0, 0.0))
    seen = model(torch.tensor([SOURCE], dtype=torch.float64))[0].numpy()
    look = ASCENDING / np.linalg.norm(ASCENDING)
    np.testing.assert_allclose(
        seen[:64], point_source(points.x, points.y, *SOURCE) @ look, rtol=1e-12
    )
    np.testing.assert_allclose(
        seen[64:], cells.displacement, atol=1e-5 * np.abs(cells.displacement).max()
    )
    some = model.select(torch.tensor([70, 3]))(torch.tensor([SOURCE], dtype=torch.float64))[0]
    np.testing.assert_allclose(some, seen[[70, 3]], rtol=1e-12)
    np.testing.assert_allclose(
        model.positions[64:], np.stack([cells.x, cells.y], axis=1), rtol=1e-9
    )
    assert model(torch.empty(0, 4, dtype=torch.float64)).shape == (0, 128)


def test_a_coordinate_at_a_bound_stays_within_it_after_its_value_and_back():
    for high in np.linspace(0.003, 0.02, 200):
        coordinates = Coordinates([Parameter("radius", 0.001, high, logarithmic=True)], {})
        ends = torch.stack([coordinates.low, coordinates.high])
        assert coordinates.respect_bounds(coordinates.from_values(coordinates.values(ends))).all()
        assert not coordinates.respect_bounds(ends + torch.tensor([[-1e-9], [1e-9]])).any()

"""What a posterior rests on, and whether it explains each track."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

import qexp
from qexp.deformation.contradictions import (
    COMMON,
    KNOWN,
    UNLIKELY,
    predictive_p_values,
    unexplained,
)
from qexp.deformation.posterior import _not_elliptic, sensitivity
from qexp.inference.weighting import Weighting, track_block
from qexp.observations.observation import Observation
from tests.deformation.observed import CRS, ORIGIN, SOURCE, observed
from tests.inference.tracks import EXPONENTIAL, point_source, track


def distance(first, other):
    """Cumulative Jensen-Shannon distance of distribution functions at evenly spaced points."""

    def one(first, other):
        keep = (first > 1e-12) & (other > 1e-12)
        first, other = first[keep], other[keep]
        middle = (first + other) / 2
        parts = first * np.log2(first / middle) + other * np.log2(other / middle)
        return np.sqrt(parts.sum() / (first + other).sum())

    return max(one(first, other), one(1 - first, 1 - other))


def normal_case(prior, data, seed=0, count=4000):
    """Draws of a normal posterior, log prior and log likelihood; and both sensitivities in closed
    form. (mean, variance) of prior and data.
    """

    def posterior(of_prior, of_data):
        precision = of_prior / prior[1] + of_data / data[1]
        mean = (of_prior * prior[0] / prior[1] + of_data * data[0] / data[1]) / precision
        return norm(mean, precision**-0.5)

    usual = posterior(1, 1)
    draws = usual.rvs(count, random_state=np.random.default_rng(seed))
    x = np.linspace(draws.min(), draws.max(), 20_001)
    exact = []
    for power in ((lambda a: (a, 1)), (lambda a: (1, a))):
        changes = [
            distance(usual.cdf(x), posterior(*power(a)).cdf(x)) / abs(np.log2(a))
            for a in (0.99, 1.01)
        ]
        exact.append(np.mean(changes))
    logs = [-((draws - mean) ** 2) / (2 * variance) for mean, variance in (prior, data)]
    return draws, logs, exact


@pytest.mark.parametrize(
    ("prior", "data", "diagnosis"),
    [
        ((0, 1e4), (1, 1), "–"),
        ((0, 1), (0, 1e4), "the prior matters more than the data"),
        ((0, 1), (1, 1), "prior and data both matter"),
        ((0, 1), (4, 1), "prior and data disagree"),
        ((0, 1), (-4, 0.05), "prior and data disagree"),
        ((0, 1), (0, 0.05), "–"),
    ],
)
def test_sensitivities_of_a_normal_posterior_are_those_in_closed_form(prior, data, diagnosis):
    draws, logs, exact = normal_case(prior, data)
    found = sensitivity(draws, *logs)
    assert [found["prior"], found["data"]] == pytest.approx(exact, rel=0.08, abs=0.002)
    assert found["diagnosis"] == diagnosis


def test_a_prior_that_is_the_same_everywhere_has_no_influence():
    draws, (_, log), _ = normal_case((0, 1e4), (0, 1))
    assert sensitivity(draws, np.zeros(len(draws)), log)["prior"] < 1e-4


def test_draws_that_are_all_equal_say_nothing():
    _, logs, _ = normal_case((0, 1), (0, 1))
    found = sensitivity(np.ones(len(logs[0])), *logs)
    assert (found["prior"], found["data"], found["diagnosis"]) == (0.0, 0.0, "–")


def p_values_of(tracks, levels=1.0, known=False, draws=50):
    """Of residuals that are the displacements of tracks, with the same offset for all draws."""
    import torch

    weighting = Weighting([track_block(one, True, False) for one in tracks])
    values = np.concatenate([one.displacement for one in tracks])
    whitened = np.tile(weighting(torch.from_numpy(values)).numpy() / levels, (draws, 1))
    return predictive_p_values(weighting, whitened, tracks, KNOWN if known else COMMON)


def noise_of(seed, **changes):
    empty = {"source": (0.0, 0.0, 1e3, 0.0), "size": 12, **changes}
    return track(f"track {seed}", seed=seed, **empty)


@pytest.mark.parametrize("known", [False, True])
def test_p_values_of_pure_noise_are_uniform_or_too_large(known):
    found = []
    for seed in range(0, 200, 2):
        tracks = [noise_of(1000 + seed), noise_of(1001 + seed)]
        found += p_values_of(tracks, 1.0 if known else 3.0, known, draws=1).values()
    total = [one["total"] for one in found]
    assert np.quantile(total, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.1)
    for test in ("smooth", "local", "p_value"):
        assert np.mean([one[test] < 0.1 for one in found]) < 0.16


def test_a_track_with_noise_twice_as_strong_as_declared_is_told_from_the_others():
    quiet, loud = noise_of(0), noise_of(1)
    loud = replace(loud, displacement=2 * loud.displacement)
    found = p_values_of([quiet, loud])
    assert found["track 0"]["p_value"] > 0.5
    [said] = unexplained(found, [quiet, loud])
    assert said.startswith("the residuals of 'track 1' are not what its noise")
    assert said.endswith("they are larger everywhere")
    estimated = replace(loud, noise=replace(EXPONENTIAL, sill=0.0, estimated=True))
    [said] = unexplained(found, [quiet, estimated])
    assert said.endswith("or its noise is estimated too small")


def test_what_varies_over_long_distances_or_lies_in_one_place_is_said_so():
    flat = noise_of(0, size=16)
    swell = flat.displacement + 0.01 * np.sin(flat.x / 1500)
    step = flat.displacement + 0.04 * ((flat.x > 2000) & (flat.y > 2000))
    for displacement, words in ((swell, "long distances"), (step, "in one place")):
        one = replace(flat, displacement=displacement)
        rms = np.std(displacement) / 0.005
        [said] = unexplained(p_values_of([one], levels=rms), [one])
        assert words in said


def test_tracks_of_one_point_have_p_values():
    one = noise_of(0)
    few = noise_of(1).select(np.arange(144) < 1)
    found = p_values_of([one, few])
    known = [p for tests in found.values() for p in tests.values() if p is not None]
    assert len(known) >= 6
    assert np.isfinite(known).all()


@pytest.mark.parametrize(
    ("shape", "told"),
    [("normal", 0), ("small normal", 0), ("banana", 1), ("two modes", 1), ("unequal modes", 1)],
)
def test_of_a_position_that_is_far_from_normal_a_sentence_warns(shape, told):
    random = np.random.default_rng(0)
    places = random.normal(size=(100 if shape == "small normal" else 2000, 2)) @ [[2, 1], [0, 0.1]]
    if shape == "banana":
        places[:, 1] += places[:, 0] ** 2
    elif "modes" in shape:
        places[:, 0] += 16 * (random.random(2000) < (0.5 if shape == "two modes" else 0.2))
    draws = {"depth": places[:, 0], "a.east": places[:, 0], "a.north": places[:, 1]}
    assert len(list(_not_elliptic(draws))) == told


def grid_sensitivities(seen, spans, drawn, size=400):
    """Of depth and volume change by integration on a grid, with uniform priors over spans as normal
    densities of their scores, a known position and offsets that are integrated over.

    drawn  least and largest draw of each, between which distances are taken
    """
    axes = [low + (high - low) * (np.arange(size) + 0.5) / size for low, high in spans]
    scores = ndtri((np.arange(size) + 0.5) / size)
    log_likelihood = np.zeros((size, size))
    for one in seen.tracks:
        data = one.displacement - one.displacement.mean()
        for row, depth in enumerate(axes[0]):
            unit = (point_source(one.x, one.y, *SOURCE[:2], 1e3 * depth, 1e6) * one.direction).sum(
                1
            )
            unit = unit - unit.mean()
            left = (
                np.square(data).sum() - 2 * axes[1] * (unit @ data) + axes[1] ** 2 * (unit @ unit)
            )
            log_likelihood[row] -= left / (2 * one.error[0] ** 2)

    def shares(of_prior, of_data):
        """Distribution functions of both parameters, where they were drawn."""
        log = of_data * log_likelihood - (of_prior - 1) / 2 * (scores[:, None] ** 2 + scores**2)
        density = np.exp(log - log.max())
        functions = []
        for axis, (low, high) in enumerate(drawn):
            along = np.cumsum(density.sum(1 - axis)) / density.sum()
            functions.append(along[(axes[axis] > low) & (axes[axis] < high)])
        return functions

    usual = shares(1, 1)
    found = []
    for of_prior, of_data in ((1, 0), (0, 1)):
        both = np.zeros(2)
        for power in (0.99, 1.01):
            changed = shares(power if of_prior else 1, power if of_data else 1)
            for axis in (0, 1):
                both[axis] += distance(usual[axis], changed[axis]) / abs(np.log2(power)) / 2
        found.append(both)
    return np.array(found)


@pytest.mark.heavy
def test_the_sensitivities_of_an_inversion_are_those_of_integration_on_a_grid():
    """Weak data, whose posterior the bounds cut off."""
    quiet = observed(size=8)
    seen = Observation(
        tuple(
            replace(
                one,
                error=np.full_like(one.error, 0.05),
                displacement=one.displacement
                + np.random.default_rng(number).normal(0, 0.05, len(one.x)),
            )
            for number, one in enumerate(quiet.tracks)
        ),
        CRS,
    )
    spans = {"depth": (1.2, 2.2), "delta_volume": (0.5, 4.0)}
    fixed = {"east": SOURCE[0], "north": SOURCE[1]}
    made = qexp.invert(
        seen, posterior=True, fixed=fixed, bounds=spans, declared_noise=True, draws=20_000, starts=4
    ).posterior
    exact = grid_sensitivities(
        seen, list(spans.values()), np.transpose([made.all.min(axis=0), made.all.max(axis=0)])
    )
    found = np.array(
        [[one[part] for one in made.sensitivities.values()] for part in ("prior", "data")]
    )
    np.testing.assert_allclose(found, exact, rtol=0.1, atol=0.004)
    assert exact[0].max() > 0.05  # the bounds matter here


@pytest.mark.heavy
def test_a_source_that_is_missing_has_small_p_values_and_the_right_ones_have_not(tmp_path):
    seen = observed(EXPONENTIAL)
    right = qexp.invert(seen, posterior=True, starts=4, draws=200).posterior
    assert all(tests["p_value"] > 0.05 for tests in right.p_values.values())
    assert not any("are not what" in text for text in right.remarks)
    more = [
        replace(
            one,
            displacement=one.displacement
            + point_source(one.x, one.y, ORIGIN[0] - 2500, ORIGIN[1] + 1800, 1200.0, 3e6)
            @ one.direction[0],
        )
        for one in seen.tracks
    ]
    wrong = qexp.invert(Observation(tuple(more), CRS), posterior=True, starts=4, draws=200)
    found = wrong.document()["posterior"]
    assert min(tests["p_value"] for tests in found["p_values"].values()) < UNLIKELY
    assert any("are not what" in text for text in found["remarks"])

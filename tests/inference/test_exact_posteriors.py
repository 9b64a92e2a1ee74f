"""Exact posteriors against a plain sum over a dense grid of values, and against closed forms."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.inference.grid_posterior import Estimates, Posterior
from qexp.inference.simulated_images import Unknowns, Whitening, proportional, unknowns_of
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.images.limit import estimates
from qexp.kinds.tables import BUILT_IN
from qexp.simulation.dataset import GeneratedDataset
from tests.conftest import SOUND
from tests.inference.small_images import (
    EXPONENTIAL,
    HIDING,
    LOG_NORMAL,
    NOISE,
    NORMAL,
    PRIORS,
    UNIFORM,
    covariance,
    dataset,
)


def exact(of: GeneratedDataset, count: int) -> tuple[dict[str, torch.Tensor], Estimates, Estimates, list[str]]:
    samples = of.sample(of.test, count, Seeds(1), ("test",), torch.device("cpu"))
    unknowns = unknowns_of(of, ["displacement"])
    fine, half = estimates(unknowns, ["displacement"], samples, lambda done, all_of_them: None)
    return samples, fine, half, unknowns.names


def brute(
    of: GeneratedDataset, axes: dict[str, np.ndarray], image: np.ndarray, between: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """(2, variable): mean and median by a sum over a grid of values, with scipy's densities."""
    meshes = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij"), strict=True))
    values = {name: mesh.ravel() for name, mesh in meshes.items()}
    made = of.signals(values)["displacement"].flatten(1).double()
    log = scipy.stats.multivariate_normal(cov=between[np.ix_(seen, seen)]).logpdf(image[seen] - made.numpy()[:, seen])
    for name, value in values.items():
        log = log + PRIORS[KINDS[name]].logpdf(value)
    steps = np.meshgrid(*(np.gradient(axis) for axis in axes.values()), indexing="ij")
    mass = (np.exp(log - log.max()) * np.prod([step.ravel() for step in steps], axis=0)).reshape(steps[0].shape)
    found = []
    for index, axis in enumerate(axes.values()):
        of_axis = mass.sum(axis=tuple(other for other in range(mass.ndim) if other != index))
        below = np.cumsum(of_axis) - of_axis / 2
        found.append([of_axis @ axis / of_axis.sum(), np.interp(of_axis.sum() / 2, below, axis)])
    return np.array(found).T


KINDS = {"depth": "log_normal", "delta_volume": "log_normal", "x": "uniform", "y": "uniform"}

WIDE = np.exp(np.linspace(-3.5, 4.0, 350))
"""Values of a log-normal variable."""

CASES: dict[str, tuple[dict[str, Any], Any, dict[str, np.ndarray]]] = {
    "white": ({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}, "white", {"depth": WIDE, "delta_volume": WIDE}),
    "exponential": (
        {"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL},
        EXPONENTIAL,
        {"depth": WIDE, "delta_volume": WIDE},
    ),
    "hidden pixels": (
        {"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL},
        HIDING,
        {"depth": WIDE, "delta_volume": WIDE},
    ),
    "depth alone": ({"depth": LOG_NORMAL}, EXPONENTIAL, {"depth": np.exp(np.linspace(-3.5, 4.0, 4000))}),
    "three variables": (
        {"x": UNIFORM, "y": UNIFORM, "delta_volume": LOG_NORMAL},
        EXPONENTIAL,
        {"x": np.linspace(-1.99, 1.99, 61), "y": np.linspace(-1.99, 1.99, 61), "delta_volume": WIDE[80::6]},
    ),
}


@pytest.mark.heavy
@pytest.mark.parametrize("case", CASES)
def test_means_and_medians_are_those_of_a_sum_over_a_dense_grid_of_values(case):
    priors, noise_model, axes = CASES[case]
    of = dataset(priors, noise_model)
    samples, fine, half, names = exact(of, 2)
    between = covariance(noise_model != "white")
    for index in range(2):
        image = samples["displacement"][index].flatten().double().numpy()
        seen = samples["mask"][index].flatten().numpy() > 0 if "mask" in samples else np.ones(len(image), dtype=bool)
        expected = brute(of, {name: axes[name] for name in names}, image, between, seen)
        np.testing.assert_allclose(fine.mean[index], expected[0], rtol=5e-3, atol=5e-3)
        np.testing.assert_allclose(fine.median[index], expected[1], rtol=5e-3, atol=5e-3)
    if case == "hidden pixels":
        assert 0 < float(samples["mask"].mean()) < 1
    np.testing.assert_allclose(half.median, fine.median, rtol=0.05, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["white", "depth alone", "three variables"])
def test_draws_have_the_means_and_medians_of_the_posterior(case):
    of = dataset(*CASES[case][:2])
    samples, fine, _, names = exact(of, 2)
    whitening = Whitening(of, ["displacement"], {})
    posterior = Posterior(unknowns_of(of, ["displacement"]), whitening)
    draws = posterior.draws(whitening(samples), 20_000, np.random.default_rng(0))
    assert draws.shape == (2, 20_000, len(names))
    spread = draws.std(axis=1)
    np.testing.assert_allclose((draws.mean(axis=1) - fine.mean) / spread, 0.0, atol=0.03)
    np.testing.assert_allclose((np.median(draws, axis=1) - fine.median) / spread, 0.0, atol=0.03)


def test_the_posterior_of_an_amplitude_with_a_normal_prior_is_normal_with_known_mean():
    of = dataset({"delta_volume": NORMAL}, EXPONENTIAL)
    samples, fine, _, _ = exact(of, 5)
    image = of.signals({"delta_volume": np.ones(1)})["displacement"].flatten().double().numpy()
    weights = np.linalg.solve(covariance(True), image)
    precision = weights @ image + 1 / 2.0**2
    means = (samples["displacement"].flatten(1).double().numpy() @ weights + 1.0 / 2.0**2) / precision
    np.testing.assert_allclose(fine.mean[:, 0], means, rtol=1e-5)
    np.testing.assert_allclose(fine.median[:, 0], means, rtol=1e-5)


@pytest.mark.heavy
def test_where_the_signal_is_700_times_the_noise_the_errors_are_those_of_the_cramer_rao_bound():
    of = dataset({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}, noise=5e-4)
    values = {"depth": np.full(200, 1.5), "delta_volume": np.full(200, 1.0)}
    samples = of.with_only_fixed(of.fixed).observe(values, torch.Generator().manual_seed(0))
    at = of.signals({"depth": np.array([1.5, 1.501, 1.499]), "delta_volume": np.ones(3)})["displacement"].flatten(1)
    assert 600 < float(at[0].double().norm() / 5e-4) < 2000
    slopes = torch.stack([at[0], (at[1] - at[2]) / 0.002]).double().numpy() / 5e-4
    bound = np.sqrt(np.diag(np.linalg.inv(slopes @ slopes.T)))[[1, 0]]
    fine, half = estimates(unknowns_of(of, ["displacement"]), ["displacement"], samples, lambda done, count: None)
    errors = fine.median - [1.5, 1.0]
    np.testing.assert_allclose(errors.std(axis=0), bound, rtol=0.2)
    assert (np.abs(errors.mean(axis=0)) < 4 * bound / np.sqrt(200)).all()
    assert (np.abs(half.median - fine.median) < 0.01 * bound).all()


def test_samples_are_kept_in_their_order_where_each_hides_other_pixels():
    of = dataset({"delta_volume": LOG_NORMAL}, HIDING)
    samples, fine, _, _ = exact(of, 6)
    turned = {name: value.flip(0) for name, value in samples.items()}
    unknowns = unknowns_of(of, ["displacement"])
    again, _ = estimates(unknowns, ["displacement"], turned, lambda done, count: None)
    np.testing.assert_array_equal(again.median, fine.median[::-1])


def test_a_sample_that_shows_nothing_leaves_the_prior():
    of = dataset({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}, HIDING)
    samples, *_ = exact(of, 2)
    samples |= {name: torch.zeros_like(samples[name]) for name in ("displacement", "mask")}
    fine, _ = estimates(unknowns_of(of, ["displacement"]), ["displacement"], samples, lambda done, count: None)
    np.testing.assert_allclose(fine.median, 1.0, rtol=1e-4)
    np.testing.assert_allclose(fine.mean, np.exp(0.5), rtol=1e-3)


def test_what_images_are_proportional_to_is_found_by_simulation():
    of = dataset({"depth": LOG_NORMAL, "delta_volume": NORMAL})
    assert [name for name in of.test if proportional(of, ["displacement"], name)] == ["delta_volume"]
    assert unknowns_of(of, ["displacement"]).shape == ("depth",)


SPHERE = {
    "generation_type": "mctigue",
    "varyings": {"depth": [[0.2, 0.8]], "radius": [[0.2, 0.8]], "pressure_over_mu": [[0.2, 0.8]]},
    "distributions": {
        "depth": {"type": "uniform", "parameters": {"a": 1.0, "b": 3.0}},
        "radius": {"type": "uniform", "parameters": {"a": 0.5, "b": 2.0}},
        "pressure_over_mu": {"type": "log_uniform", "parameters": {"low": 1e-3, "high": 1e-1}},
    },
}


@pytest.mark.slow
def test_impossible_sources_have_no_share_of_the_posterior():
    """Spheres that would break the surface: where the image shows nothing, the mean is that of the possible prior."""
    document = copy.deepcopy(SOUND["dataset"]) | copy.deepcopy(SPHERE)
    document["fixed"] = {**document["fixed"], "noise": 1e6}
    del document["matrix"]
    of = generated_of(document, BUILT_IN)
    _, fine, _, names = exact(of, 2)
    assert names == ["depth", "radius", "pressure_over_mu"]
    random = np.random.default_rng(0)
    depth, radius = random.uniform(1, 3, 1_000_000), random.uniform(0.5, 2, 1_000_000)
    possible = depth > radius
    np.testing.assert_allclose(fine.mean[:, 0], depth[possible].mean(), rtol=0.01)
    np.testing.assert_allclose(fine.mean[:, 1], radius[possible].mean(), rtol=0.01)


@pytest.mark.slow
def test_the_amplitude_is_integrated_where_only_its_product_with_the_radius_cubed_is_known():
    document = copy.deepcopy(SOUND["dataset"]) | copy.deepcopy(SPHERE)
    document["fixed"] = {**document["fixed"], "noise": NOISE}
    del document["matrix"]
    of = generated_of(document, BUILT_IN)
    values = {"depth": np.array([2.0]), "radius": np.array([1.0]), "pressure_over_mu": np.array([0.05])}
    samples = of.with_only_fixed(of.fixed).observe(values, torch.Generator().manual_seed(0))
    unknowns = unknowns_of(of, ["displacement"])
    fine, half = estimates(unknowns, ["displacement"], samples, lambda done, count: None)
    potency = fine.median[0, 1] ** 3 * fine.median[0, 2]
    assert potency == pytest.approx(0.05, rel=0.1)
    assert fine.median[0, 0] == pytest.approx(2.0, abs=0.05)
    np.testing.assert_allclose(half.median, fine.median, rtol=0.02)


UNSUITABLE = [
    ({"depth": LOG_NORMAL}, {"noise": 0.0}, "has no noise"),
    ({"depth": LOG_NORMAL, "noise": LOG_NORMAL}, {}, "'noise' varies"),
    ({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL, "x": UNIFORM, "y": UNIFORM}, {}, "over 3 at most"),
    ({}, {}, "no variable of the dataset varies"),
]


@pytest.mark.parametrize(("priors", "fixed", "words"), UNSUITABLE)
def test_what_cannot_be_integrated_is_refused(priors, fixed, words):
    with pytest.raises(QexpError, match=words):
        unknowns_of(dataset(priors, **fixed), ["displacement"])


def test_variables_that_are_given_to_the_network_are_not_unknown():
    of = dataset({"depth": LOG_NORMAL, "incidence": {"type": "uniform", "parameters": {"a": 0.3, "b": 0.7}}})
    assert unknowns_of(of, ["displacement"]).shape == ("depth", "incidence")
    assert unknowns_of(of, ["displacement"], ["displacement", "incidence"]).shape == ("depth",)
    with pytest.raises(QexpError, match="all that varies is given"):
        unknowns_of(of, ["displacement"], ["depth", "incidence"])


def test_pixels_of_unknown_size_with_correlated_noise_are_refused():
    of = dataset({"depth": LOG_NORMAL, "x_res": LOG_NORMAL}, EXPONENTIAL)
    with pytest.raises(QexpError, match="'x_res' varies and is not given"):
        unknowns_of(of, ["displacement"])


def test_noise_without_an_independent_part_is_refused():
    of = dataset({"delta_volume": LOG_NORMAL}, {"type": "gaussian", "parameters": {"range": 5.0}})
    with pytest.raises(QexpError, match="not positive definite"):
        exact(of, 2)


@pytest.mark.slow
def test_possible_sources_between_the_nodes_of_the_first_grid_are_found():
    """Upright spheroids, 3.1 < semi_minor < semi_major < depth < 4.9; images with much noise say nothing of them."""
    ends = {"depth": (3.9, 4.9), "semi_minor": (3.1, 4.1), "semi_major": (0.0, 10.0)}
    document = copy.deepcopy(SOUND["dataset"])
    del document["matrix"]
    document |= {
        "generation_type": "yang",
        "fixed": {**document["fixed"], "noise": 1e6, "strike": 0.0, "plunge": np.pi / 2, "pressure_over_mu": 0.01},
        "varyings": {name: [] for name in ends},
        "distributions": {name: {"type": "uniform", "parameters": {"a": a, "b": b}} for name, (a, b) in ends.items()},
    }
    of = generated_of(document, BUILT_IN)
    _, fine, _, names = exact(of, 2)
    random = np.random.default_rng(0)
    drawn = {name: random.uniform(*of_name, 1_000_000) for name, of_name in ends.items()}
    possible = (drawn["semi_minor"] < drawn["semi_major"]) & (drawn["semi_major"] < drawn["depth"])
    expected = [drawn[name][possible].mean() for name in names]
    np.testing.assert_allclose(fine.mean, [expected] * 2, rtol=0.01)


def test_impossible_priors_are_refused_in_words():
    document = copy.deepcopy(SOUND["dataset"]) | copy.deepcopy(SPHERE)
    document["fixed"] = {**document["fixed"], "noise": NOISE}
    document["distributions"]["radius"] = {"type": "uniform", "parameters": {"a": 3.0, "b": 4.0}}
    del document["matrix"]
    of = generated_of(document, BUILT_IN)
    unknowns = Unknowns(of, "pressure_over_mu", ("depth", "radius"))
    with pytest.raises(QexpError, match="none of 100,000 draws from the distributions is a possible source"):
        Posterior(unknowns, Whitening(of, ["displacement"], {}))

"""Exact posteriors against a plain sum over a dense grid of values, and against closed forms."""

import copy
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.inference.image_posteriors import Likelihoods, PosteriorDraws, approximated, posteriors
from qexp.inference.integration import grid_of
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.tables import BUILT_IN
from qexp.simulation.dataset import GeneratedDataset
from qexp.trust.calibration import ExactReference
from qexp.trust.limit import exact_likelihoods
from tests.conftest import SOUND
from tests.inference.small_images import (
    EXPONENTIAL,
    HIDING,
    IMAGES,
    LOG_NORMAL,
    NOISE,
    NORMAL,
    PRIORS,
    UNIFORM,
    covariance,
    dataset,
    integrated,
)


def observed(of: GeneratedDataset, count: int) -> dict[str, torch.Tensor]:
    return of.sample(of.test, count, Seeds(1), ("test",), torch.device("cpu"))


def sampled(
    of: GeneratedDataset, samples: dict[str, torch.Tensor], count: int = 20_000
) -> PosteriorDraws:
    draws = posteriors(Likelihoods(of, IMAGES), samples, count=count)
    assert not draws.doubts
    return draws


def brute(
    of: GeneratedDataset,
    axes: dict[str, np.ndarray],
    image: np.ndarray,
    between: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """(2, variable): mean and median by a sum over a grid of values, with scipy's densities."""
    meshes = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij"), strict=True))
    values = {name: mesh.ravel() for name, mesh in meshes.items()}
    made = of.signals(values)["displacement"].flatten(1).double()
    log = scipy.stats.multivariate_normal(cov=between[np.ix_(seen, seen)]).logpdf(
        image[seen] - made.numpy()[:, seen]
    )
    for name, value in values.items():
        log = log + PRIORS[KINDS[name]].logpdf(value)
    steps = np.meshgrid(*(np.gradient(axis) for axis in axes.values()), indexing="ij")
    mass = (np.exp(log - log.max()) * np.prod([step.ravel() for step in steps], axis=0)).reshape(
        steps[0].shape
    )
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
    **{
        name: (
            {"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL},
            noise,
            {"depth": WIDE, "delta_volume": WIDE},
        )
        for name, noise in (
            ("white", "white"),
            ("exponential", EXPONENTIAL),
            ("hidden pixels", HIDING),
        )
    },
    "depth alone": (
        {"depth": LOG_NORMAL},
        EXPONENTIAL,
        {"depth": np.exp(np.linspace(-3.5, 4.0, 4000))},
    ),
    "three variables": (
        {"x": UNIFORM, "y": UNIFORM, "delta_volume": LOG_NORMAL},
        EXPONENTIAL,
        {
            "x": np.linspace(-1.99, 1.99, 61),
            "y": np.linspace(-1.99, 1.99, 61),
            "delta_volume": WIDE[80::6],
        },
    ),
}


def expected_of(
    of: GeneratedDataset, case: str, samples: dict[str, torch.Tensor], index: int
) -> np.ndarray:
    _, noise_model, axes = CASES[case]
    image = samples["displacement"][index].flatten().double().numpy()
    seen = (
        samples["mask"][index].flatten().numpy() > 0
        if "mask" in samples
        else np.ones(len(image), dtype=bool)
    )
    return brute(
        of, {name: axes[name] for name in of.test}, image, covariance(noise_model != "white"), seen
    )


@pytest.mark.heavy
@pytest.mark.parametrize("case", [case for case in CASES if case != "three variables"])
def test_means_and_medians_are_those_of_a_sum_over_a_dense_grid_of_values(case):
    of = dataset(*CASES[case][:2])
    samples = observed(of, 2)
    fine, half = integrated(of, samples)
    for index in range(2):
        np.testing.assert_allclose(
            fine[:, index], expected_of(of, case, samples, index), rtol=5e-3, atol=5e-3
        )
    if case == "hidden pixels":
        assert 0 < float(samples["mask"].mean()) < 1
    np.testing.assert_allclose(half, fine, rtol=0.01, atol=0.01)


@pytest.mark.heavy
def test_posteriors_of_three_variables_are_sampled_and_have_the_means_and_medians_of_such_a_sum():
    of = dataset(*CASES["three variables"][:2])
    samples = observed(of, 2)
    draws = sampled(of, samples).values
    moments = np.array([draws.mean(axis=1), np.median(draws, axis=1)])
    for index in range(2):
        errors = (moments[:, index] - expected_of(of, "three variables", samples, index)) / draws[
            index
        ].std(axis=0)
        np.testing.assert_allclose(errors, 0.0, atol=0.04)


@pytest.mark.heavy
@pytest.mark.parametrize("case", ["white", "depth alone"])
def test_draws_from_a_grid_have_the_means_and_medians_of_the_posterior(case):
    of = dataset(*CASES[case][:2])
    samples, random = observed(of, 2), np.random.default_rng(0)
    fine, _ = integrated(of, samples)
    for posterior in approximated(exact_likelihoods(of, IMAGES, ()), samples, random):
        scores = grid_of(posterior.density, posterior.proposal).draws(20_000, random)
        draws, (mean, median) = (
            posterior.values(scores, list(of.test)),
            fine[:, posterior.observation],
        )
        assert draws.shape == (20_000, len(of.test))
        np.testing.assert_allclose((draws.mean(axis=0) - mean) / draws.std(axis=0), 0.0, atol=0.03)
        np.testing.assert_allclose(
            (np.median(draws, axis=0) - median) / draws.std(axis=0), 0.0, atol=0.03
        )


def test_the_posterior_of_an_amplitude_with_a_normal_prior_is_normal_with_known_mean():
    of = dataset({"delta_volume": NORMAL}, EXPONENTIAL)
    samples = observed(of, 5)
    fine, _ = integrated(of, samples)
    image = of.signals({"delta_volume": np.ones(1)})["displacement"].flatten().double().numpy()
    weights = np.linalg.solve(covariance(True), image)
    precision = weights @ image + 1 / 2.0**2
    means = (
        samples["displacement"].flatten(1).double().numpy() @ weights + 1.0 / 2.0**2
    ) / precision
    np.testing.assert_allclose(fine[..., 0], [means, means], rtol=1e-5)


@pytest.mark.heavy
def test_where_the_signal_is_700_times_the_noise_the_errors_are_those_of_the_cramer_rao_bound():
    of = dataset({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}, noise=5e-4)
    values = {"depth": np.full(200, 1.5), "delta_volume": np.full(200, 1.0)}
    samples = of.with_only_fixed(of.fixed).observe(values, torch.Generator().manual_seed(0))
    at = of.signals({"depth": np.array([1.5, 1.501, 1.499]), "delta_volume": np.ones(3)})[
        "displacement"
    ].flatten(1)
    assert 600 < float(at[0].double().norm() / 5e-4) < 2000
    slopes = torch.stack([(at[1] - at[2]) / 0.002, at[0]]).double().numpy() / 5e-4
    bound = np.sqrt(np.diag(np.linalg.inv(slopes @ slopes.T)))
    fine, half = integrated(of, samples)
    errors = fine[1] - [1.5, 1.0]
    np.testing.assert_allclose(errors.std(axis=0), bound, rtol=0.2)
    assert (np.abs(errors.mean(axis=0)) < 4 * bound / np.sqrt(200)).all()
    assert (np.abs(half[1] - fine[1]) < 0.01 * bound).all()


@pytest.mark.heavy
def test_samples_are_kept_in_their_order_where_each_hides_other_pixels():
    of = dataset({"delta_volume": LOG_NORMAL}, HIDING)
    samples = observed(of, 6)
    turned = {name: value.flip(0) for name, value in samples.items()}
    np.testing.assert_allclose(
        integrated(of, turned)[0], integrated(of, samples)[0][:, ::-1], rtol=1e-3
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    "also", [{}, {"incidence": {"type": "uniform", "parameters": {"a": 0.3, "b": 0.7}}}]
)
def test_a_sample_that_shows_nothing_leaves_the_prior(also):
    """By displacements of sources, and, as an angle of view is no parameter of a source, by
    images.
    """
    of = dataset({"depth": LOG_NORMAL, **(also or {"delta_volume": LOG_NORMAL})}, HIDING)
    samples = observed(of, 2)
    samples |= {name: torch.zeros_like(samples[name]) for name in ("displacement", "mask")}
    fine, _ = integrated(of, samples)
    np.testing.assert_allclose(fine[1], [[1.0, 0.5 if also else 1.0]] * 2, rtol=1e-4)
    np.testing.assert_allclose(
        fine[0], [[np.exp(0.5), 0.5 if also else np.exp(0.5)]] * 2, rtol=1e-3
    )


SPHERE = {
    "generation_type": "mctigue",
    "varyings": {"depth": [[0.2, 0.8]], "radius": [[0.2, 0.8]], "pressure_over_mu": [[0.2, 0.8]]},
    "distributions": {
        "depth": {"type": "uniform", "parameters": {"a": 1.0, "b": 3.0}},
        "radius": {"type": "uniform", "parameters": {"a": 0.5, "b": 2.0}},
        "pressure_over_mu": {"type": "log_uniform", "parameters": {"low": 1e-3, "high": 1e-1}},
    },
}


def sphere(noise: float, **distributions: Any) -> GeneratedDataset:
    document = copy.deepcopy(SOUND["dataset"]) | copy.deepcopy(SPHERE)
    document["fixed"] = {**document["fixed"], "noise": noise}
    document["distributions"] |= distributions
    del document["matrix"]
    return generated_of(document, BUILT_IN)


@pytest.mark.heavy
def test_impossible_sources_have_no_share_of_the_posterior():
    """Spheres that would break the surface: where the image shows nothing, the mean is that of the
    possible prior.
    """
    of = sphere(noise=1e6)
    means = sampled(of, observed(of, 2)).values.mean(axis=1)
    random = np.random.default_rng(0)
    depth, radius = random.uniform(1, 3, 1_000_000), random.uniform(0.5, 2, 1_000_000)
    possible = depth > radius
    np.testing.assert_allclose(means[:, 0], depth[possible].mean(), rtol=0.02)
    np.testing.assert_allclose(means[:, 1], radius[possible].mean(), rtol=0.02)


@pytest.mark.heavy
def test_only_the_product_of_an_amplitude_with_the_radius_cubed_is_known():
    of = sphere(noise=NOISE)
    values = {
        "depth": np.array([2.0]),
        "radius": np.array([1.0]),
        "pressure_over_mu": np.array([0.05]),
    }
    samples = of.with_only_fixed(of.fixed).observe(values, torch.Generator().manual_seed(0))
    depth, radius, pressure = sampled(of, samples).values[0].T
    assert np.median(radius**3 * pressure) == pytest.approx(0.05, rel=0.1)
    assert np.median(depth) == pytest.approx(2.0, abs=0.05)


UNSUITABLE = [
    ({"depth": LOG_NORMAL}, "white", {"noise": 0.0}, "has no noise"),
    ({"noise": LOG_NORMAL}, "white", {}, "only 'noise' is unknown"),
    ({}, "white", {}, "no variable of the dataset varies"),
    (
        {"depth": LOG_NORMAL, "x_res": LOG_NORMAL},
        EXPONENTIAL,
        {},
        "'x_res' varies and is not given",
    ),
]


@pytest.mark.parametrize(("priors", "noise_model", "fixed", "words"), UNSUITABLE)
def test_where_there_is_no_likelihood_that_is_said(priors, noise_model, fixed, words):
    with pytest.raises(QexpError, match=words):
        Likelihoods(dataset(priors, noise_model, **fixed), IMAGES)


def test_posteriors_of_more_than_two_variables_are_not_called_exact():
    of = dataset({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL, "x": UNIFORM})
    with pytest.raises(
        QexpError, match=r"3 variables vary .*, but posteriors are integrated over 2 at most"
    ):
        ExactReference(of, list(of.test), IMAGES, IMAGES, 5)


def test_variables_that_are_given_to_the_network_are_not_unknown():
    of = dataset(
        {"depth": LOG_NORMAL, "incidence": {"type": "uniform", "parameters": {"a": 0.3, "b": 0.7}}}
    )
    assert Likelihoods(of, IMAGES).names == ["depth", "incidence"]
    assert exact_likelihoods(of, IMAGES, ["displacement", "incidence"]).names == ["depth"]
    with pytest.raises(QexpError, match="all that varies is given"):
        Likelihoods(of, IMAGES, ["depth", "incidence"])


def test_noise_without_an_independent_part_is_refused():
    of = dataset({"delta_volume": LOG_NORMAL}, {"type": "gaussian", "parameters": {"range": 5.0}})
    with pytest.raises(QexpError, match="not positive definite"):
        integrated(of, observed(of, 2))


def test_impossible_priors_are_refused_in_words():
    of = sphere(NOISE, radius={"type": "uniform", "parameters": {"a": 3.0, "b": 4.0}})
    with pytest.raises(
        QexpError, match="none of 102,400 draws from the distributions is a possible source"
    ):
        posteriors(
            Likelihoods(of, IMAGES), {"displacement": torch.zeros(1, 1, of.height, of.width)}
        )

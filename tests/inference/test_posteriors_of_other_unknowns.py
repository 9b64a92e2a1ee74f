"""Posteriors beside given variables, of noise levels and of angles, against sums over dense grids
of values.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import scipy.interpolate
import scipy.optimize
import scipy.special
import scipy.stats
import torch

from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.inference.image_posteriors import Likelihoods, posteriors
from qexp.inference.integration import circular_moments
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.tables import BUILT_IN
from qexp.simulation.dataset import GeneratedDataset
from tests.conftest import SOUND
from tests.inference.small_images import (
    EXPONENTIAL,
    IMAGES,
    LOG_NORMAL,
    covariance,
    dataset,
    integrated,
)
from tests.inference.tracks import point_source

DEPTH, VOLUME = np.geomspace(0.02, 60.0, 300), np.geomspace(0.01, 100.0, 300)
"""Values of log-normal variables."""

OF_LOG_NORMAL = scipy.stats.lognorm(1.0)


def uniform(a: float, b: float) -> dict[str, Any]:
    return {"type": "uniform", "parameters": {"a": a, "b": b}}


def images(values: dict[str, Any]) -> np.ndarray:
    """(value, pixel) of point sources, by formulas of the tests."""
    known = {
        "azimuth": 0.0,
        "incidence": 0.33,
        "x_res": 0.5,
        "depth": 1.5,
        "delta_volume": 1.0,
        **values,
    }
    shape = np.broadcast_shapes(*(np.shape(value) for value in known.values())) or (1,)
    return np.array(
        [
            image(*one)
            for one in zip(*(np.broadcast_to(known[name], shape) for name in known), strict=True)
        ]
    )


def image(
    azimuth: float, incidence: float, x_res: float, depth: float, delta_volume: float
) -> np.ndarray:
    east, north = (
        axis.ravel() for axis in np.meshgrid((np.arange(12) - 6) * x_res, (np.arange(12) - 6) * 0.5)
    )
    moved = point_source(1e3 * east, 1e3 * north, 0.0, 0.0, 1e3 * depth, 1e6 * delta_volume)
    horizontal = -np.sin(incidence) * np.array([np.cos(azimuth), np.sin(azimuth)])
    return moved @ np.array([*horizontal, np.cos(incidence)])


def observed(of: GeneratedDataset, count: int, seed: int = 1) -> dict[str, torch.Tensor]:
    return of.sample(of.test, count, Seeds(seed), ("test",), torch.device("cpu"))


def told(samples: dict[str, torch.Tensor], index: int) -> dict[str, float]:
    return {name: float(value[index, 0]) for name, value in samples.items() if value.dim() == 2}


def moments(mass: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """(3, axis): means, medians and standard deviations of a density on a grid of values."""
    for index, axis in enumerate(axes):
        mass = mass * np.gradient(axis).reshape(
            [-1 if other == index else 1 for other in range(len(axes))]
        )
    found = []
    for index, axis in enumerate(axes):
        own = (
            mass.sum(axis=tuple(other for other in range(len(axes)) if other != index)) / mass.sum()
        )
        mean = own @ axis
        found.append(
            [
                mean,
                np.interp(0.5, np.cumsum(own) - own / 2, axis),
                np.sqrt(own @ (axis - mean) ** 2),
            ]
        )
    return np.array(found).T


def summed(log_posterior: Callable[..., np.ndarray], *axes: np.ndarray) -> np.ndarray:
    """Moments by a sum over a grid, made three times, each time of as many values around what
    matters.
    """
    log = log_posterior(*axes)
    for _ in range(2):
        axes = tuple(
            np.geomspace(
                axis[max(of.min() - 1, 0)], axis[min(of.max() + 1, len(axis) - 1)], len(axis)
            )
            for axis, of in zip(axes, np.nonzero(log > log.max() - 18.0), strict=True)
        )
        log = log_posterior(*axes)
    return moments(np.exp(log - log.max()), list(axes))


def chi2_of(
    data: np.ndarray, inverse: np.ndarray, depth: np.ndarray, volume: np.ndarray, **known: float
) -> np.ndarray:
    """(depth, volume) but for a constant."""
    made = images({"depth": depth, **known})
    weighted = made @ inverse
    return np.outer((weighted * made).sum(axis=1), volume**2) - 2 * np.outer(
        weighted @ data, volume
    )


def prior_of(depth: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Logarithm of the density, (depth, volume)."""
    return OF_LOG_NORMAL.logpdf(depth)[:, None] + OF_LOG_NORMAL.logpdf(volume)


GIVEN: dict[str, tuple[dict[str, Any], Any]] = {
    "incidence": (uniform(0.1, 0.8), EXPONENTIAL),
    "azimuth": (uniform(0.0, 6.0), "white"),
    "noise": ({"type": "log_uniform", "parameters": {"low": 0.003, "high": 0.03}}, EXPONENTIAL),
    "x_res": (uniform(0.3, 0.7), "white"),
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", GIVEN)
def test_beside_a_given_variable_posteriors_are_those_of_its_value_in_each_sample(name):
    prior, noise_model = GIVEN[name]
    of = dataset({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL, name: prior}, noise_model)
    samples = observed(of, 3)
    fine, _ = integrated(of, samples, name)
    drawn = posteriors(Likelihoods(of, IMAGES, [name]), samples, count=4000)
    assert drawn.names == ("depth", "delta_volume")
    for index in range(3):
        known = told(samples, index)
        inverse = np.linalg.inv(covariance(noise_model == EXPONENTIAL, known["noise"]))
        data = samples["displacement"][index].flatten().double().numpy()
        geometry = {one: known[one] for one in ("incidence", "azimuth", "x_res")}

        def log_posterior(depth, volume, data=data, inverse=inverse, geometry=geometry):
            return prior_of(depth, volume) - 0.5 * chi2_of(data, inverse, depth, volume, **geometry)

        expected = summed(log_posterior, DEPTH, VOLUME)
        np.testing.assert_allclose((fine[0, index] - expected[0]) / expected[2], 0.0, atol=0.01)
        np.testing.assert_allclose((fine[1, index] - expected[1]) / expected[2], 0.0, atol=0.01)
        of_draws = drawn.values[index].mean(axis=0), np.median(drawn.values[index], axis=0)
        np.testing.assert_allclose((of_draws - expected[:2]) / expected[2], 0.0, atol=0.1)


def test_noise_on_pixels_of_another_size_in_each_sample_has_another_covariance():
    of = dataset({"delta_volume": LOG_NORMAL, "x_res": uniform(0.2, 1.5)}, EXPONENTIAL)
    samples = observed(of, 3)
    fine, _ = integrated(of, samples, "x_res")
    for index in range(3):
        x_res = told(samples, index)["x_res"]
        data = samples["displacement"][index].flatten().double().numpy()
        at = np.stack(np.meshgrid(np.arange(12) * x_res, np.arange(12) * 0.5), -1).reshape(-1, 2)
        between = 1e-4 * np.exp(-np.hypot(*(at[:, None] - at).transpose(2, 0, 1)) / 2.0)
        (made,) = images({"x_res": x_res})
        made, weights = made[None], np.linalg.solve(between, made)
        log = (
            weights @ data * VOLUME
            - 0.5 * (made @ weights) * VOLUME**2
            + OF_LOG_NORMAL.logpdf(VOLUME)
        )
        expected = moments(np.exp(log - log.max()), [VOLUME])
        np.testing.assert_allclose((fine[1, index] - expected[1]) / expected[2], 0.0, atol=0.02)


@pytest.mark.heavy
@pytest.mark.parametrize("noise_model", ["white", EXPONENTIAL], ids=["white", "exponential"])
def test_an_unknown_noise_level_has_its_own_prior_and_its_determinant_in_the_likelihood(
    noise_model,
):
    low, high = 0.002, 0.05
    prior = {"type": "log_uniform", "parameters": {"low": low, "high": high}}
    of = dataset({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL, "noise": prior}, noise_model)
    samples = observed(of, 5)
    drawn = posteriors(Likelihoods(of, IMAGES), samples, count=4000)
    assert drawn.names == ("depth", "delta_volume", "noise")
    assert not drawn.doubts
    inverse = np.linalg.inv(covariance(noise_model == EXPONENTIAL, 1.0))
    for index in range(5):
        data = samples["displacement"][index].flatten().double().numpy()

        def log_posterior(depth, volume, level, data=data):
            chi2 = data @ inverse @ data + chi2_of(data, inverse, depth, volume)
            log = -0.5 * chi2[..., None] / level**2 - (len(data) + 1) * np.log(level)
            return prior_of(depth, volume)[..., None] + np.where(
                (level >= low) & (level <= high), log, -np.inf
            )

        expected = summed(log_posterior, DEPTH[::3], VOLUME[::3], np.geomspace(low, high, 100))
        of_draws = drawn.values[index].mean(axis=0), np.median(drawn.values[index], axis=0)
        np.testing.assert_allclose((of_draws - expected[:2]) / expected[2], 0.0, atol=0.1)
        np.testing.assert_allclose(drawn.values[index].std(axis=0) / expected[2], 1.0, atol=0.1)


@pytest.mark.heavy
def test_an_unknown_pixel_size_is_integrated_where_the_noise_is_white():
    of = dataset({"x_res": uniform(0.2, 0.9), "delta_volume": LOG_NORMAL})
    samples = observed(of, 3)
    fine, _ = integrated(of, samples)
    sizes = np.linspace(0.2, 0.9, 701)
    made = images({"x_res": sizes})
    for index in range(3):
        data = samples["displacement"][index].flatten().double().numpy()
        log = -0.5 * np.square(data - made[:, None] * VOLUME[:, None]).sum(axis=-1) / 1e-4
        log = log + OF_LOG_NORMAL.logpdf(VOLUME)
        expected = moments(np.exp(log - log.max()), [sizes, VOLUME])
        np.testing.assert_allclose((fine[1, index] - expected[1]) / expected[2], 0.0, atol=0.02)


def circular(angles: np.ndarray, mass: np.ndarray) -> tuple[float, float]:
    """Mean and median on the circle, by minimisation of the expected squared and absolute
    differences.
    """
    tried = np.linspace(0, 2 * np.pi, 181)
    found = []
    for power in (2, 1):

        def expected(at: float, power: int = power) -> float:
            return float(mass @ np.abs((angles - at + np.pi) % (2 * np.pi) - np.pi) ** power)

        best = tried[np.argmin([expected(at) for at in tried])]
        ends = best - 0.08, best + 0.08
        found.append(
            scipy.optimize.minimize_scalar(
                expected, bounds=ends, method="bounded", options={"xatol": 1e-7}
            ).x
        )
    return found[0], found[1]


@pytest.mark.heavy
@pytest.mark.parametrize("azimuth", [0.02, 3.0])
def test_means_and_medians_of_angles_are_those_on_the_circle(azimuth):
    """The first posterior lies on both sides of 0, where the prior begins and ends."""
    of = dataset({"depth": LOG_NORMAL, "azimuth": uniform(0.0, 2 * np.pi)}, incidence=0.7)
    values = {"depth": np.full(3, 1.5), "azimuth": np.full(3, azimuth)}
    samples = of.with_only_fixed(of.fixed).observe(values, torch.Generator().manual_seed(0))
    fine, half = integrated(of, samples)
    angles, depths = np.linspace(0, 2 * np.pi, 241), np.geomspace(1.0, 2.2, 60)
    made = np.array([images({"depth": depths, "azimuth": one, "incidence": 0.7}) for one in angles])
    finer = np.linspace(0, 2 * np.pi, 9_000, endpoint=False)
    for index in range(3):
        data = samples["displacement"][index].flatten().double().numpy()
        log = -0.5 * np.square(data - made).sum(axis=-1) / 1e-4 + OF_LOG_NORMAL.logpdf(depths)
        of_angle = scipy.special.logsumexp(log + np.log(np.gradient(depths)), axis=1)
        of_angle[-1] = of_angle[0]
        mass = np.exp(
            scipy.interpolate.CubicSpline(angles, of_angle - of_angle.max(), bc_type="periodic")(
                finer
            )
        )
        expected = circular(finer, mass / mass.sum())
        found = np.array([fine[0, index, 1], fine[1, index, 1]])
        np.testing.assert_allclose((found - expected + np.pi) % (2 * np.pi), np.pi, atol=2e-3)
        assert abs((half[1, index, 1] - found[1] + np.pi) % (2 * np.pi) - np.pi) < 0.02


FAULT = {
    "generation_type": "okada",
    "fixed": {
        "azimuth": 0.4,
        "incidence": 0.6,
        "x_res": 0.5,
        "y_res": 0.5,
        "noise": 0.01,
        "x": 0.0,
        "y": 0.0,
        "depth": 1.5,
        "length": 2.0,
        "width": 1.0,
        "dip": 0.8,
        "dip_slip": 0.0,
        "opening": 0.0,
    },
    "varyings": {"strike": [], "strike_slip": []},
    "distributions": {"strike": uniform(0.0, 2 * np.pi), "strike_slip": uniform(0.0, 2.0)},
}


@pytest.mark.heavy
@pytest.mark.parametrize("strike", [0.01, 6.27, 2.0])
def test_draws_of_angles_are_those_of_a_circle_wherever_the_prior_ends(strike):
    document = {**copy.deepcopy(SOUND["dataset"]), "size": [12, 12], **FAULT}
    del document["matrix"]
    of = generated_of(document, BUILT_IN)
    values = {"strike": np.full(2, strike), "strike_slip": np.full(2, 0.7)}
    samples = of.with_only_fixed(of.fixed).observe(values, torch.Generator().manual_seed(0))
    drawn = posteriors(Likelihoods(of, IMAGES), samples, count=4000)
    assert not drawn.doubts
    assert ((drawn.values[..., 0] >= 0) & (drawn.values[..., 0] <= 2 * np.pi)).all()
    strikes, slips = np.linspace(0, 2 * np.pi, 2000, endpoint=False), np.linspace(0, 2, 1000)
    made = (
        of.signals({"strike": strikes, "strike_slip": np.ones(2000)})["displacement"]
        .flatten(1)
        .double()
        .numpy()
    )
    for index in range(2):
        data = samples["displacement"][index].flatten().double().numpy()
        chi2 = np.outer(np.square(made).sum(axis=1), slips**2) - 2 * np.outer(made @ data, slips)
        mass = np.exp(-0.5 * (chi2 - chi2.min()) / 1e-4)
        expected = circular(strikes, mass.sum(axis=1) / mass.sum())
        found = np.array(circular_moments(drawn.values[index, :, 0], np.ones(4000), 2 * np.pi))
        np.testing.assert_allclose(
            (found[:2] - expected + np.pi) % (2 * np.pi), np.pi, atol=0.1 * found[2]
        )
        of_slip = moments(mass, [strikes, slips])[:, 1]
        assert drawn.values[index, :, 1].mean() == pytest.approx(of_slip[0], abs=0.1 * of_slip[2])


def test_a_vertical_dike_has_two_strikes_half_a_turn_apart_which_are_equally_likely():
    strike = 1.0
    document = {
        **copy.deepcopy(SOUND["dataset"]),
        "size": [20, 20],
        **copy.deepcopy(FAULT),
        "noise_model": EXPONENTIAL,
    }
    document["fixed"] |= {
        "depth": 3.0,
        "length": 4.0,
        "width": 2.0,
        "dip": np.pi / 2,
        "strike_slip": 0.0,
    }
    del document["matrix"], document["fixed"]["opening"]
    document["varyings"] = {"strike": [], "opening": []}
    document["distributions"] = {"strike": uniform(-np.pi, np.pi), "opening": uniform(0.1, 3.0)}
    of = generated_of(document, BUILT_IN)
    values = {"strike": np.array([strike]), "opening": np.array([2.0])}
    samples = of.with_only_fixed(of.fixed).observe(values, torch.Generator().manual_seed(0))
    drawn = posteriors(Likelihoods(of, IMAGES), samples, {"strike": np.array([strike])}, count=2000)
    assert not drawn.doubts
    near = np.cos(drawn.values[0, :, 0] - strike) > 0
    assert near.mean() == pytest.approx(0.5, abs=0.05)


def test_weighted_moments_on_a_circle_are_the_least_expected_differences():
    random = np.random.default_rng(0)
    for _ in range(20):
        angles = random.vonmises(
            random.uniform(0, 6), random.choice([0.1, 1.0, 50.0]), 400
        ) + random.choice([0, 50])
        weights = random.uniform(size=400)
        mean, median, deviation = circular_moments(angles, weights, 2 * np.pi)
        of_mean, of_median = circular(angles, weights / weights.sum())
        for found, expected, power, close in (
            (mean, of_mean, 2, 1e-4),
            (median, of_median, 1, 1e-2),
        ):
            cost = [
                weights @ np.abs((angles - at + np.pi) % (2 * np.pi) - np.pi) ** power
                for at in (found, expected)
            ]
            assert cost[0] <= cost[1] * (1 + close)
        turned = (angles - mean + np.pi) % (2 * np.pi) - np.pi
        assert deviation == pytest.approx(np.sqrt(np.average(turned**2, weights=weights)))
        np.testing.assert_allclose(
            circular_moments(angles % (2 * np.pi), weights, 2 * np.pi)[:2], (mean, median)
        )


@pytest.mark.heavy
@pytest.mark.parametrize("noise_model", ["white", EXPONENTIAL], ids=["white", "exponential"])
def test_unknowns_that_are_no_parameters_of_sources_are_sampled_with_whole_images(noise_model):
    of = dataset({"depth": LOG_NORMAL, "incidence": uniform(0.2, 1.2)}, noise_model)
    samples = observed(of, 4)
    drawn = posteriors(Likelihoods(of, IMAGES), samples, count=4000)
    assert drawn.names == ("depth", "incidence")
    assert not drawn.doubts
    fine, _ = integrated(of, samples)
    of_draws = [drawn.values.mean(axis=1), np.median(drawn.values, axis=1)]
    np.testing.assert_allclose((of_draws - fine) / drawn.values.std(axis=1), 0.0, atol=0.1)


class Formula:
    """Images of a point source, by a generator as a workspace may have it: it does not describe its
    sources.
    """

    def required(self, variables: Iterable[str]) -> list[str]:
        return ["depth", "delta_volume", "x_res", "y_res"]

    def images(self, variables: Iterable[str]) -> list[str]:
        return ["displacement"]

    def pixel_sizes(
        self, image: str, values: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return values["x_res"], values["y_res"]

    def simulate(
        self, values: Mapping[str, torch.Tensor], height: int, width: int
    ) -> dict[str, torch.Tensor]:
        known = {
            name: values[name].view(-1, 1, 1)
            for name in ("depth", "delta_volume", "x_res", "incidence")
        }
        east = (torch.arange(width) - width // 2) * known["x_res"]
        north = ((torch.arange(height) - height // 2) * values["y_res"]).view(-1, 1)
        distance = (east**2 + north**2 + known["depth"] ** 2).sqrt()
        along = known["depth"] * known["incidence"].cos() - east * known["incidence"].sin()
        return {"displacement": 0.75 / np.pi * known["delta_volume"] * along / distance**3}


@pytest.mark.heavy
def test_images_of_any_generator_and_displacements_of_sources_have_the_same_posterior():
    of = dataset(
        {"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL, "noise": GIVEN["noise"][0]}, EXPONENTIAL
    )
    samples = observed(of, 4)
    drawn = posteriors(Likelihoods(of, IMAGES), samples, count=4000)
    of.generator = Formula()
    again = posteriors(Likelihoods(of, IMAGES), samples, count=4000)
    assert again.names == drawn.names
    spread = drawn.values.std(axis=1)
    np.testing.assert_allclose(
        (again.values.mean(axis=1) - drawn.values.mean(axis=1)) / spread, 0.0, atol=0.1
    )
    np.testing.assert_allclose(again.values.std(axis=1) / spread, 1.0, atol=0.1)


CALIBRATED = {"noise": GIVEN["noise"][0], "azimuth": uniform(0.0, 2 * np.pi)}
"""Unknowns of which every posterior is sampled on its own."""


@pytest.mark.heavy
@pytest.mark.parametrize("unknown", CALIBRATED)
def test_true_values_are_drawn_as_often_as_they_should(unknown):
    of = dataset({"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL, unknown: CALIBRATED[unknown]})
    samples = of.sample(
        {name: [(0.0, 1.0)] for name in of.test}, 120, Seeds(3), ("test",), torch.device("cpu")
    )
    drawn = posteriors(Likelihoods(of, IMAGES), samples, count=500)
    assert len(drawn.doubts) <= 2
    for column, name in enumerate(drawn.names):
        share = (
            (drawn.values[..., column] < samples[name].double().numpy()).sum(axis=1) + 0.5
        ) / 501
        assert scipy.stats.kstest(share, "uniform").pvalue > 1e-3, name


UNSUITABLE = [
    ({"depth": LOG_NORMAL, "noise": LOG_NORMAL}, ["depth"], "white", "only 'noise' is unknown"),
    ({"depth": LOG_NORMAL, "noise": LOG_NORMAL}, [], [
        "white", {"type": "exponential", "parameters": {"range": 2.0, "sill": 1e-4}},
    ], "has noise that it does not scale"),
]  # fmt: skip


@pytest.mark.parametrize(("priors", "given", "noise_model", "words"), UNSUITABLE)
def test_what_cannot_be_sampled_is_refused(priors, given, noise_model, words):
    of = dataset(priors, noise_model)
    with pytest.raises(QexpError, match=words):
        posteriors(Likelihoods(of, IMAGES, given), observed(of, 2))

import math

import numpy as np
import pytest
import scipy.stats
import torch

from qexp.base.seeds import Seeds
from qexp.physics.point import mogi, mogi_image
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.distributions import log_normal, uniform
from qexp.simulation.generators import DeformationImages, Source
from qexp.simulation.noise import ExponentialNoise, WhiteNoise
from qexp.simulation.noise_models import BLOCK, Component, NoiseModel

CPU = torch.device("cpu")
FIXED = {"azimuth": 0.0, "incidence": 0.33, "x_res": 0.1, "y_res": 0.1, "x": 0.0, "y": 0.0}
TEST = {"depth": [(0.2, 0.4), (0.85, 0.95)], "delta_volume": [(0.2, 0.4), (0.85, 0.95)]}
DISTRIBUTIONS = {"depth": log_normal(0, 0.3), "delta_volume": log_normal(0.2, 0.5)}
MOGI = DeformationImages(Source(("x", "y", "depth", "delta_volume"), mogi, mogi_image))
HALF = [(0.0, 0.5)]


def dataset(size=(8, 12), fixed=None, without=(), varying=None, noise=None, generator=MOGI):
    """Mogi images; `varying` adds variable → distribution, whose test part is the lower half."""
    varying = varying or {}
    values = {name: value for name, value in FIXED.items() if name not in {*without, *varying}}
    values, test = {**values, **(fixed or {})}, {**TEST, **dict.fromkeys(varying, HALF)}
    model = NoiseModel([Component(noise or WhiteNoise())])
    return GeneratedDataset(generator, size, values, test, {**DISTRIBUTIONS, **varying}, model)


def drawn(source, count=10, part="test", seed=3, purpose=("test",)):
    seeds = Seeds(seed)
    return source.sample(source.parts([0.7, 0.3], seeds)[part], count, seeds, purpose, CPU)


def observed(source, **values):
    arrays = {name: np.atleast_1d(value) for name, value in values.items()}
    return source.observe(arrays, torch.Generator().manual_seed(0))


def test_a_kilometre_and_a_million_cubic_metres_in_the_spec_are_si_in_the_physics():
    sample = observed(dataset((64, 64)), depth=1.0, delta_volume=1.0)
    assert sample["displacement"].shape == (1, 1, 64, 64)
    assert sample["displacement"][0, 0, 32, 32].item() == pytest.approx(0.22585097302, rel=1e-6)
    # 1 km of 0.1 km pixels to the west the flank moves up and toward the satellite in the west.
    east, _, up = mogi(torch.tensor([[0.0, 0, 1000, 1e6]]), torch.tensor([[-1000.0, 0]]))[
        0, 0
    ].tolist()
    expected = up * math.cos(0.33) - east * math.sin(0.33)
    assert sample["displacement"][0, 0, 32, 22].item() == pytest.approx(expected, rel=1e-5)


def test_x_and_y_in_kilometres_move_the_source_along_columns_and_rows():
    moved = dataset(
        (20, 30), fixed={"x": 0.5, "y": -0.7, "incidence": 0.0, "x_res": 0.05, "y_res": 0.1}
    )
    image = observed(moved, depth=0.4, delta_volume=1.0)["displacement"][0, 0]
    assert divmod(int(image.argmax()), 30) == (10 - 7, 15 + 10)


def test_samples_carry_every_variable_in_its_own_unit_and_shape():
    source = dataset(fixed={"noise": 0.0})
    samples = drawn(source, 7)
    assert {name: tuple(value.shape) for name, value in samples.items()} == {
        name: (7, *shape) for name, shape in source.shapes().items()
    }
    assert set(samples) == {*FIXED, "noise", "depth", "delta_volume", "displacement"}
    for name, value in FIXED.items():
        assert samples[name].flatten().tolist() == pytest.approx([value] * 7)
    assert all(value.dtype == torch.float32 for value in samples.values())


@pytest.mark.parametrize(
    "varying",
    [{}, {"x_res": uniform(0.02, 0.6)}, {"azimuth": uniform(-3, 3), "incidence": uniform(0.1, 1)}],
    ids=list,
)
def test_the_images_of_a_sample_are_those_of_the_values_it_carries(varying):
    samples = drawn(dataset(varying=varying), 2 * BLOCK + 3)
    for index in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 2):
        values = {name: samples[name][index].double() for name in (*TEST, *varying)}
        again = observed(dataset(varying=varying), **values)["displacement"][0]
        torch.testing.assert_close(again, samples["displacement"][index], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_sample_of_a_part_has_its_quantiles_in_the_intervals_of_that_part_alone(part):
    source = dataset()
    parts = source.parts([0.7, 0.3], Seeds(3))
    samples = source.sample(parts[part], 3000, Seeds(3), (part,), CPU)
    for name, mu, sigma in (("depth", 0, 0.3), ("delta_volume", 0.2, 0.5)):
        quantiles = scipy.stats.norm.cdf(
            (np.log(samples[name][:, 0].double().numpy()) - mu) / sigma
        )
        for other, ranges in parts.items():
            # Single precision blurs the edges.
            inside = sum(
                ((quantiles > low + 1e-6) & (quantiles < high - 1e-6)).sum()
                for low, high in ranges[name]
            )
            assert inside > 2900 if other == part else inside == 0


def test_variables_with_the_same_test_intervals_are_divided_differently_and_drawn_independently():
    train = dataset().parts([0.7, 0.3], Seeds(3))["train"]
    assert train["depth"] != train["delta_volume"]
    samples = drawn(dataset(), 5000, "train")
    assert (
        abs(scipy.stats.spearmanr(samples["depth"][:, 0], samples["delta_volume"][:, 0]).statistic)
        < 0.06
    )


def test_the_same_seed_and_purpose_give_the_same_samples_and_others_give_others():
    source = dataset(fixed={"noise": 0.01})
    first, again = drawn(source), drawn(dataset(fixed={"noise": 0.01}))
    assert all(torch.equal(first[name], again[name]) for name in first)
    for other in (
        drawn(source, seed=4),
        drawn(source, purpose=("train", 1)),
        drawn(source, purpose=("train", 2)),
    ):
        assert not torch.equal(first["depth"], other["depth"])
        assert not torch.equal(first["displacement"], other["displacement"])


def test_a_further_varying_variable_changes_neither_parts_nor_values_of_the_others():
    plain, further = dataset(), dataset(varying={"x": uniform(-1, 1), "noise": uniform(0.0, 0.1)})
    seeds = Seeds(3)
    for part, ranges in plain.parts([0.7, 0.3], seeds).items():
        assert {name: further.parts([0.7, 0.3], seeds)[part][name] for name in ranges} == ranges
        first, second = drawn(plain, 50, part), drawn(further, 50, part)
        for name in TEST:
            assert torch.equal(first[name], second[name])
        assert not torch.equal(first["displacement"], second["displacement"])


def test_noise_changes_the_images_and_nothing_else_and_noise_of_no_size_is_none():
    quiet, noisy = drawn(dataset(fixed={"noise": 0.0})), drawn(dataset(fixed={"noise": 0.01}))
    for name in ("depth", "delta_volume"):
        assert torch.equal(quiet[name], noisy[name])
    assert not torch.equal(quiet["displacement"], noisy["displacement"])
    assert torch.equal(quiet["displacement"], drawn(dataset())["displacement"])


@pytest.mark.parametrize(
    "noise", [WhiteNoise(), ExponentialNoise(0.2)], ids=["white", "exponential"]
)
def test_fixed_noise_is_the_standard_deviation_of_the_residual_in_metres(noise):
    count = 40 * BLOCK + 1
    quiet = drawn(dataset(fixed={"noise": 0.0}, noise=noise), count)["displacement"]
    residual = (
        drawn(dataset(fixed={"noise": 0.005}, noise=noise), count)["displacement"] - quiet
    ).double()
    assert residual.std(0).mean().item() == pytest.approx(0.005, rel=0.02)
    assert residual.std(0).max().item() == pytest.approx(0.005, rel=0.1)
    assert residual.mean().abs().item() < 0.05 * 0.005


def test_no_two_samples_of_a_part_have_the_same_noise():
    count = 2 * BLOCK + 5
    for noise in (WhiteNoise(), ExponentialNoise(0.2)):
        quiet = drawn(dataset(fixed={"noise": 0.0}, noise=noise), count)["displacement"]
        residual = (
            drawn(dataset(fixed={"noise": 5.0}, noise=noise), count)["displacement"] - quiet
        ).flatten(1)
        assert (torch.cdist(residual, residual) + 1e9 * torch.eye(count)).min() > 1


def test_noise_is_drawn_anew_for_every_purpose_and_seed():
    def residual(**which):
        quiet, noisy = (
            drawn(dataset(fixed={"noise": level}), **which)["displacement"]
            for level in (0.0, 100.0)
        )
        return (noisy - quiet).flatten()

    draws = [
        residual(),
        residual(seed=4),
        residual(purpose=("train", 1)),
        residual(purpose=("train", 2)),
    ]
    assert np.abs(np.corrcoef(torch.stack(draws)) - np.eye(4)).max() < 0.15


def test_varying_noise_scales_the_fields_that_fixed_noise_has():
    quiet = drawn(dataset())["displacement"]
    fixed = drawn(dataset(fixed={"noise": 1.0}))["displacement"] - quiet
    samples = drawn(dataset(varying={"noise": uniform(0.1, 1.0)}))
    expected = fixed * samples["noise"][:, :, None, None]
    torch.testing.assert_close(samples["displacement"] - quiet, expected, atol=1e-5, rtol=1e-4)


def test_the_range_of_correlated_noise_is_in_kilometres_and_its_distance_knows_both_pixel_sides():
    count = 20 * BLOCK
    noise, pixels = ExponentialNoise(0.3), {"x_res": 0.1, "y_res": 0.2}
    quiet = drawn(dataset((12, 12), fixed=pixels, noise=noise), count)["displacement"]
    noisy = drawn(dataset((12, 12), fixed={**pixels, "noise": 1.0}, noise=noise), count)[
        "displacement"
    ]
    residual = (noisy - quiet)[:, 0].double()
    assert (residual[:, :, 1:] * residual[:, :, :-1]).mean().item() == pytest.approx(
        math.exp(-1 / 3), abs=0.02
    )
    assert (residual[:, 1:] * residual[:, :-1]).mean().item() == pytest.approx(
        math.exp(-2 / 3), abs=0.02
    )


def test_a_varying_pixel_width_stretches_each_samples_noise():
    count, noise = 30 * BLOCK + 1, ExponentialNoise(0.3)
    varying = {"x_res": uniform(0.02, 0.6)}
    quiet = drawn(dataset((8, 8), varying=varying, noise=noise), count)
    noisy = drawn(dataset((8, 8), fixed={"noise": 1.0}, varying=varying, noise=noise), count)
    residual = (noisy["displacement"] - quiet["displacement"])[:, 0].double()
    assert residual.std(0).mean().item() == pytest.approx(1, abs=0.03)
    width = quiet["x_res"][:, 0].double()
    product = (residual[:, :, 1:] * residual[:, :, :-1]).mean((1, 2))
    for chosen in (width < 0.1, width > 0.25):
        expected = (-width[chosen] / 0.3).exp().mean().item()
        assert product[chosen].mean().item() == pytest.approx(expected, abs=0.05)
    assert (residual[:, 1:] * residual[:, :-1]).mean().item() == pytest.approx(
        math.exp(-1 / 3), abs=0.03
    )


def test_the_second_view_is_what_a_first_view_with_its_parameters_would_see_and_leaves_the_first_as_it_is():
    second = {"azimuth_1": 2.0, "incidence_1": 0.6, "x_res_1": 0.2, "y_res_1": 0.05}
    first = {name.removesuffix("_1"): value for name, value in second.items()}
    samples = drawn(dataset(fixed=second))
    assert torch.equal(samples["displacement_1"], drawn(dataset(fixed=first))["displacement"])
    assert torch.equal(samples["displacement"], drawn(dataset())["displacement"])


def test_two_views_have_noise_of_their_own_and_a_second_view_leaves_that_of_the_first():
    second = {"azimuth_1": 0.0, "incidence_1": 0.33, "x_res_1": 0.1, "y_res_1": 0.1}
    quiet = drawn(dataset(), 20)["displacement"]
    both = drawn(dataset(fixed={**second, "noise": 1.0}), 20)
    first, other = (both[name] - quiet for name in ("displacement", "displacement_1"))
    assert abs(np.corrcoef(first.flatten(), other.flatten())[0, 1]) < 0.1
    assert torch.equal(
        both["displacement"], drawn(dataset(fixed={"noise": 1.0}), 20)["displacement"]
    )


def test_one_variable_of_a_view_asks_for_the_others_and_views_are_counted_as_numbers():
    mentioned = ["azimuth", "azimuth_10", "x_res_2", "depth"]
    assert MOGI.images(mentioned) == ["displacement", "displacement_2", "displacement_10"]
    required = MOGI.required(mentioned)
    assert {"x", "y", "depth", "delta_volume", "incidence", "azimuth_2", "y_res_10"} <= set(
        required
    )
    assert len(required) == 4 + 3 * 4
    assert MOGI.images(["azimuth_0", "depth_1", "azimuth_x"]) == ["displacement"]


@pytest.mark.parametrize("size", [(6, 9), (7, 4)])
@pytest.mark.parametrize(
    "varying", [{}, {"x_res": uniform(0.05, 0.2)}, {"y_res": uniform(0.05, 0.2)}], ids=list
)
def test_a_source_without_an_image_kernel_makes_the_images_of_one_that_has_it(size, varying):
    slow = DeformationImages(Source(("x", "y", "depth", "delta_volume"), mogi))
    second = {"azimuth_1": 1.0, "incidence_1": 0.5, "x_res_1": 0.2, "y_res_1": 0.1}
    count = BLOCK + 2
    fast_images, slow_images = (
        drawn(dataset(size, fixed=second, varying=varying, generator=generator), count)
        for generator in (MOGI, slow)
    )
    for name in ("displacement", "displacement_1"):
        torch.testing.assert_close(slow_images[name], fast_images[name], rtol=1e-4, atol=1e-7)


def test_when_only_the_noise_varies_all_images_are_the_same_but_for_it():
    fixed, levels = {**FIXED, "depth": 1.0, "delta_volume": 1.0}, {"noise": uniform(0.001, 0.002)}
    source = GeneratedDataset(
        MOGI, (6, 6), fixed, {"noise": HALF}, levels, NoiseModel([Component(WhiteNoise())])
    )
    samples = source.sample(
        source.parts([0.7, 0.3], Seeds(1))["train"], 10, Seeds(1), ("train", 1), CPU
    )
    clean = observed(dataset((6, 6)), depth=1.0, delta_volume=1.0)["displacement"]
    assert (samples["displacement"] - clean).abs().max() < 5 * 0.002
    assert samples["displacement"].std(0).min() > 0.0005

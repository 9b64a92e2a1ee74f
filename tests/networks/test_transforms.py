import math

import pytest
import torch

from qexp.networks.transforms import (
    Adapted,
    Angle,
    Anscombe,
    Asinh,
    Chain,
    Log,
    Log1p,
    MinMax,
    PerSample,
    Scale,
    Standardize,
    Transform,
    over_decades,
)


def values(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3 + 5


def fitted(values, kind=Standardize):
    transform = kind()
    transform.fit(values)
    return transform


@pytest.mark.parametrize(
    "transform",
    [
        Transform(),
        Asinh(0.01),
        Asinh(),
        Log(),
        Log1p(),
        Scale(-200.0),
        fitted(values(50, 1)),
        fitted(values(50, 1), MinMax),
    ],
    ids=repr,
)
def test_the_inverse_undoes_the_transform_over_many_orders_of_magnitude(transform):
    numbers = torch.logspace(-4, 4, 81, dtype=torch.float64)[:, None]
    torch.testing.assert_close(transform.inverse(transform(numbers)), numbers, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(
        transform(transform.inverse(numbers / 1e4)), numbers / 1e4, rtol=1e-6, atol=1e-6
    )


def test_transforms_have_the_values_of_their_formulas_and_asinh_is_linear_far_below_its_scale():
    transform = Asinh(0.01)
    assert transform(torch.tensor(1e-5)).item() == pytest.approx(1e-3, rel=1e-5)
    assert transform(torch.tensor(10.0)).item() == pytest.approx(math.log(2 * 10 / 0.01), rel=1e-6)
    numbers = values(20)
    torch.testing.assert_close(Asinh(0.3)(-numbers), -Asinh(0.3)(numbers))
    three, thirty = Log()(torch.tensor([3.0, 30.0])).tolist()
    assert thirty - three == pytest.approx(math.log(10), rel=1e-6)
    assert Log1p()(torch.tensor([0.0, math.e - 1])).tolist() == pytest.approx([0, 1])
    assert Scale(2000.0)(torch.tensor(2000.0)).item() == 1


@pytest.mark.parametrize(
    ("transform", "low", "high", "complaint"),
    [
        (Log(), -1.0, 2.0, "a logarithm needs positive values, but they reach down to -1"),
        (Log(), -math.inf, math.inf, "logarithm"),
        (Log(), -2.0, -2.0, "logarithm"),
        (Log(), 0.0, 0.0, "logarithm"),
        (Log1p(), -1.0, 2.0, "down to -1"),
        (Anscombe(), -2, 10, "down to -2"),
        (Standardize(), 2.0, 2.0, "all 2 cannot be standardized"),
        (MinMax(), 2.0, 2.0, "all 2 have no range"),
        (PerSample(), 3.0, 3.0, "standard deviation of 0"),
        (Chain(["per_sample", "log"]), 1.0, 2.0, "logarithm"),
    ],
    ids=repr,
)
def test_a_transform_refuses_a_variable_that_it_cannot_take_and_says_why(
    transform, low, high, complaint
):
    assert complaint in transform.domain_error(low, high)


def test_log_takes_distributions_whose_support_ends_at_zero_and_the_others_take_everything():
    assert Log().domain_error(0.0, math.inf) is Log1p().domain_error(-0.5, math.inf) is None
    assert PerSample().domain_error(0.0, math.inf) is None
    for transform in (Transform(), Asinh(), Scale(2.0), Standardize(), MinMax()):
        assert transform.domain_error(-math.inf, math.inf) is None


@pytest.mark.parametrize("shape", [(50, 16), (50, 1, 16), (50, 2, 5, 7)])
def test_every_sample_gets_mean_zero_and_deviation_one_over_its_own_values(shape):
    numbers = values(*shape) * torch.logspace(-2, 4, 50).reshape(-1, *[1] * (len(shape) - 1))
    scaled = PerSample()(numbers).flatten(1).double()
    torch.testing.assert_close(scaled.mean(1), torch.zeros(50).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        scaled.std(1, correction=0), torch.ones(50).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        PerSample()(numbers * 3 + 100), PerSample()(numbers), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize(
    "of", [["per_sample"], ["log1p", "per_sample"], ["log1p", "per_sample", "standardize"]]
)
def test_what_is_scaled_by_its_own_values_is_undone_by_means_of_them(of):
    numbers = torch.poisson(values(50, 16).abs() * 40, generator=torch.Generator().manual_seed(2))
    chain = Chain(of)
    chain.fit(numbers)
    assert chain.needs_own
    torch.testing.assert_close(
        chain.inverse(chain(numbers), own=numbers), numbers, rtol=1e-4, atol=1e-2
    )
    guess = chain(numbers) + 0.1
    apart = torch.cat([chain.inverse(guess[[row]], own=numbers[[row]]) for row in range(50)])
    torch.testing.assert_close(chain.inverse(guess, own=numbers), apart, rtol=1e-5, atol=1e-3)


def test_without_a_samples_own_values_its_scaling_cannot_be_undone_and_says_so():
    for transform in (PerSample(), Chain(["log1p", "per_sample"])):
        with pytest.raises(ValueError, match="only if the output is also an input"):
            transform.inverse(values(3, 4))


def test_other_transforms_need_no_values_of_the_samples_and_leave_them_alone():
    numbers = values(20, 3).abs()
    for transform in (
        Transform(),
        Asinh(),
        Log(),
        Log1p(),
        Scale(2.0),
        fitted(numbers),
        Chain(["log1p", "minmax"]),
    ):
        transform.fit(numbers)
        assert not transform.needs_own
        assert torch.equal(transform.inverse(numbers, own=numbers + 1), transform.inverse(numbers))


@pytest.mark.parametrize("shape", [(400, 1), (400, 3), (60, 2, 5, 7)])
def test_training_values_have_mean_zero_and_deviation_one_or_the_range_zero_to_one_in_every_channel(
    shape,
):
    numbers = values(*shape)
    numbers[:, 0] = numbers[:, 0] * 1000 - 7
    standard, scaled = fitted(numbers)(numbers).double(), fitted(numbers, MinMax)(numbers)
    rest = [0, *range(2, len(shape))]
    torch.testing.assert_close(
        standard.mean(rest), torch.zeros(shape[1]).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(standard.std(rest), torch.ones(shape[1]).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.amin(rest), torch.zeros(shape[1]))
    torch.testing.assert_close(scaled.amax(rest), torch.ones(shape[1]))


@pytest.mark.parametrize(
    ("kind", "expected"), [(Standardize, [-2, 0.5, 2]), (MinMax, [-0.5, 0.75, 1.5])]
)
def test_new_values_are_scaled_by_the_mean_and_deviation_or_the_range_of_the_fitted_ones(
    kind, expected
):
    transform = fitted(torch.tensor([[1.0], [3.0], [5.0]]), kind)
    assert transform(torch.tensor([[-1.0], [4.0], [7.0]])).flatten().tolist() == expected


@pytest.mark.filterwarnings("ignore:std_mean")
@pytest.mark.parametrize("kind", [Standardize, MinMax])
@pytest.mark.parametrize(
    "numbers", [torch.full((1000, 1), 0.1), torch.tensor([[1.0, 2.0], [2.0, 2.0]]), values(1, 1)]
)
def test_values_of_which_a_channel_is_constant_cannot_be_scaled_by_their_spread(numbers, kind):
    with pytest.raises(ValueError, match="all the same"):
        fitted(numbers, kind)


@pytest.mark.parametrize("kind", [Standardize, MinMax])
@pytest.mark.parametrize("shape", [(400, 1), (60, 2, 5, 7)])
def test_what_was_fitted_survives_saving_and_loading_within_the_model_that_holds_it(shape, kind):
    numbers = values(*shape)
    before, after = fitted(numbers, kind), kind()
    torch.nn.ModuleDict({"x": after}).load_state_dict(
        torch.nn.ModuleDict({"x": before}).state_dict()
    )
    assert torch.equal(after(numbers), before(numbers))
    assert torch.equal(after.inverse(numbers), before.inverse(numbers))
    before.fit(numbers * 2 + 1)
    assert torch.equal(after(numbers), fitted(numbers, kind)(numbers))
    with pytest.raises(RuntimeError, match="Missing"):
        kind().load_state_dict({})


def test_gradients_flow_through_every_inverse():
    for transform in (
        Asinh(0.5),
        Log(),
        Log1p(),
        Scale(3.0),
        fitted(values(50, 1)),
        fitted(values(50, 1), MinMax),
    ):
        numbers = torch.tensor([[0.3], [1.2]], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(transform.inverse, (numbers,), atol=1e-4)


@pytest.mark.parametrize("mean", [5, 50, 5000])
def test_anscombe_makes_the_noise_of_counts_equally_large_whatever_their_number(mean):
    counts = torch.poisson(
        torch.full((100_000,), float(mean)), generator=torch.Generator().manual_seed(0)
    )
    assert Anscombe()(counts).std().item() == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(Anscombe().inverse(Anscombe()(counts)), counts, rtol=1e-5, atol=1e-3)


def test_one_deviation_for_all_channels_leaves_them_as_different_as_they_were():
    numbers = values(500, 3) * torch.tensor([1.0, 3.0, 0.0])
    transform = Standardize(deviation="all")
    transform.fit(numbers)
    made = transform(numbers)
    torch.testing.assert_close(made.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    assert made.var(0).mean().item() == pytest.approx(1, rel=1e-4)
    assert (made[:, 1].std() / made[:, 0].std()).item() == pytest.approx(
        numbers[:, 1].std() / numbers[:, 0].std()
    )
    torch.testing.assert_close(transform.inverse(made), numbers, rtol=1e-5, atol=1e-5)


def test_each_number_of_a_vector_has_the_scale_that_its_values_need_and_comes_back_from_it():
    random = torch.Generator().manual_seed(0)
    normal = torch.randn(5000, 5, generator=random, dtype=torch.float64)
    few, many = (
        torch.poisson(torch.exp(size * normal[:, 0]), generator=random) for size in (1.0, 3.0)
    )
    columns = [
        7 + 2 * normal[:, 1],
        few,
        many,
        torch.exp(4 * normal[:, 2]),
        normal[:, 3] / normal[:, 4] ** 2,
        0 * few,
    ]
    vectors = torch.stack(columns, dim=1)[:, None, None]  # as images of a row
    transform = Adapted()
    transform.fit(vectors)
    scaled = transform(vectors)
    torch.testing.assert_close(transform.inverse(scaled), vectors, rtol=1e-6, atol=1e-6)
    assert scaled.abs().amax() < 9  # of the third as it is: 60
    linear, root, nothing = scaled[:, 0, 0, [0, 1, 5]].T
    torch.testing.assert_close(linear, (columns[0] - columns[0].mean()) / columns[0].std())
    torch.testing.assert_close(root, (few.sqrt() - few.sqrt().mean()) / few.sqrt().std())
    assert not nothing.any()
    decades = 10 ** torch.arange(1.0, 5.0, dtype=torch.float64)
    steps = transform(decades[:, None, None, None].expand(-1, 1, 1, 6))[:, 0, 0].diff(dim=0)
    for column in (2, 3):  # equal ratios are equal steps
        torch.testing.assert_close(
            steps[1:, column], steps[:1, column].expand(2), rtol=0.01, atol=0
        )
    for far in (-1e9, 1e9):
        assert transform(torch.full_like(vectors[:1], far)).isfinite().all()
    assert [over_decades(column[:, None].numpy()) for column in columns] == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]
    assert over_decades(vectors[:, 0, 0].numpy())


@pytest.mark.parametrize("period", [360.0, 180.0, 2 * math.pi, 24.0])
@pytest.mark.parametrize("shape", [(50, 1), (50, 3), (6, 2, 5, 7)])
def test_an_angle_is_two_numbers_of_each_value_from_which_it_comes_back_between_zero_and_its_period(
    period, shape
):
    numbers = (values(*shape) * period).double()
    learned = Angle(period)(numbers)
    assert learned.shape == (shape[0], 2 * shape[1], *shape[2:])
    back = Angle(period).inverse(learned)
    assert ((back >= 0) & (back < period)).all()
    turns = (back - numbers) / period
    torch.testing.assert_close(turns, turns.round(), atol=1e-9, rtol=0)
    torch.testing.assert_close(Angle(period).inverse(0.01 * learned), back)


def test_angles_on_both_sides_of_north_are_neighbours_opposite_lines_the_same_and_one_below_zero_is_zero():
    west, east, south = Angle(360.0)(torch.tensor([[359.0], [1.0], [180.0]], dtype=torch.float64))
    assert torch.dist(west, east).item() == pytest.approx(2 * math.sin(math.radians(1)))
    assert torch.dist(west, south).item() > 1.99
    one, opposite = Angle(180.0)(torch.tensor([[37.0], [217.0]], dtype=torch.float64))
    torch.testing.assert_close(one, opposite)
    back = Angle(360.0).inverse(torch.tensor([[1.0, -1e-12], [math.nan, 1.0]])).flatten()
    assert back[0].item() == 0.0
    assert back[1].isnan()


def test_an_angle_in_a_chain_comes_first():
    angle = {"type": "angle", "parameters": {"period": 360}}
    chain = Chain([angle, "standardize"])
    numbers = values(50, 1) * 100
    chain.fit(numbers)
    assert (chain.shape((1,)), chain.period, chain(numbers).shape) == ((2,), 360, (50, 2))
    torch.testing.assert_close(
        chain.inverse(chain(numbers)), numbers.remainder(360), atol=1e-3, rtol=0
    )
    with pytest.raises(ValueError, match="must come first"):
        Chain(["standardize", angle])

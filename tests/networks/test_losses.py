import math

import pytest
import torch

from qexp.networks.losses import LOSSES, OF_POSTERIORS, total

TRUTH = torch.tensor([[1.0], [2.0], [-4.0], [8.0]], dtype=torch.float64)
ERROR = torch.tensor([[0.5], [-3.0], [1.0], [0.0]], dtype=torch.float64)


OF_ESTIMATES = [name for name in LOSSES if name != OF_POSTERIORS]


def loss(name, estimate=TRUTH + ERROR, truth=TRUTH, **parameters):
    """The loss of a name; with the parameters of its example where some are needed and none are
    given.
    """
    entry = LOSSES[name]
    chosen = parameters or {key: entry.example["parameters"][key] for key in entry.required}
    return LOSSES[name].build(**chosen)(estimate, truth)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("mse", {}, (0.25 + 9 + 1) / 4),
        ("mae", {}, (0.5 + 3 + 1) / 4),
        ("mre", {}, 100 * (0.5 / 1 + 3 / 2 + 1 / 4) / 4),
        ("huber", {}, (0.125 + (3 - 0.5) + 0.5) / 4),
        ("huber", {"delta": 2.0}, (0.125 + 2 * (3 - 1) + 0.5) / 4),
        ("power", {"exponent": 1}, (0.5 + 3 + 1) / 4),
        ("power", {"exponent": 3}, (0.125 + 27 + 1) / 4),
    ],
)
def test_losses_are_the_mean_of_their_textbook_formulas(name, parameters, expected):
    assert loss(name, **parameters).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", OF_ESTIMATES)
def test_a_loss_is_a_mean_over_samples_of_what_a_perfect_estimate_does_not_cost(name):
    assert loss(name, TRUTH).item() == 0
    assert loss(name).item() > 0
    assert loss(name, (TRUTH + ERROR).repeat(3, 1), TRUTH.repeat(3, 1)).item() == pytest.approx(
        loss(name).item()
    )


def test_huber_is_half_the_squared_error_below_delta_and_grows_by_delta_beyond():
    truth = torch.zeros(1, dtype=torch.float64)
    inside, edge, outside = (
        loss("huber", torch.tensor([e]).double(), truth, delta=1.5) for e in (0.7, 1.5, 2.5)
    )
    assert inside.item() == pytest.approx(0.7**2 / 2)
    assert outside.item() - edge.item() == pytest.approx(1.5 * (2.5 - 1.5))


def test_relative_errors_do_not_depend_on_the_unit_or_the_sign_and_are_finite_for_a_zero_as_in_keras():
    assert loss("mre", 1000 * (TRUTH + ERROR), 1000 * TRUTH).item() == pytest.approx(
        loss("mre").item()
    )
    assert loss("mre", -(TRUTH + ERROR), -TRUTH).item() == pytest.approx(loss("mre").item())
    zero = torch.zeros(1, dtype=torch.float64)
    assert loss("mre", zero + 1e-9, zero).item() == pytest.approx(100 * 1e-9 / 1e-7)


@pytest.mark.parametrize("name", OF_ESTIMATES)
def test_the_gradient_of_a_loss_is_that_of_finite_differences(name):
    assert torch.autograd.gradcheck(
        lambda x: loss(name, x), ((TRUTH + ERROR + 0.01).requires_grad_(),)
    )


def test_the_losses_minimum_is_the_mean_for_squares_and_the_median_for_absolute_errors():
    truth = torch.tensor([0.0, 0.0, 1.0, 9.0, 10.0], dtype=torch.float64)
    candidates = torch.linspace(0, 10, 1001, dtype=torch.float64)
    for name, expected in (("mse", 4.0), ("mae", 1.0)):
        values = torch.stack([loss(name, c.expand(5), truth) for c in candidates])
        assert candidates[values.argmin()].item() == pytest.approx(expected)


def test_the_total_is_the_sum_over_outputs_and_the_penalty():
    losses = [torch.tensor(1.5), torch.tensor(2.0)]
    assert total(losses, None).item() == 3.5
    assert total(losses, torch.tensor(0.25)).item() == 3.75
    assert math.isnan(total([torch.tensor(math.nan), *losses], None).item())

import pytest
import torch

from qexp.networks.optimizers import OPTIMIZERS

STEEPNESS = torch.tensor([1.0, 10.0, 0.1])


def weight():
    return torch.nn.Parameter(torch.tensor([3.0, -2.0, 5.0]))


def steps(name, count, learning_rate, gradient, **parameters):
    """The weight after each step down a given gradient."""
    place = weight()
    optimizer = OPTIMIZERS[name].build([place], learning_rate, **parameters)
    path = [place.detach().clone()]
    for _ in range(count):
        place.grad = gradient(place.detach())
        optimizer.step()
        path.append(place.detach().clone())
    return path


def flat(place):
    return torch.zeros_like(place)


def slope(place):
    return torch.tensor([2.0, -0.5, 1e-3])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_example_of_every_optimizer_finds_the_bottom_of_a_bowl(name):
    path = steps(
        name,
        1000,
        0.05,
        lambda place: STEEPNESS * place,
        **OPTIMIZERS[name].example.get("parameters", {}),
    )
    depth = [0.5 * (STEEPNESS * place.square()).sum().item() for place in path]
    assert depth[-1] < 1e-2 * depth[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twice_the_learning_rate_makes_a_first_step_twice_as_long(name):
    start, once = steps(name, 1, 0.01, slope)
    _, twice = steps(name, 1, 0.02, slope)
    torch.testing.assert_close(twice - start, 2 * (once - start), rtol=1e-4, atol=1e-6)


def test_gradient_descent_steps_by_rate_times_gradient_and_momentum_adds_a_share_of_the_last_step_or_the_next():
    start, after = steps("sgd", 1, 0.1, slope)
    torch.testing.assert_close(after, start - 0.1 * slope(start))
    start, first, second = steps("sgd", 2, 0.1, slope, momentum=0.9)
    torch.testing.assert_close(first - start, -0.1 * slope(start))
    torch.testing.assert_close(
        second - first, -0.1 * (1 + 0.9) * slope(start), rtol=1e-4, atol=1e-6
    )
    start, first = steps("sgd", 1, 0.1, slope, momentum=0.9, nesterov=True)
    torch.testing.assert_close(first - start, -0.1 * (1 + 0.9) * slope(start), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="'nesterov' needs a 'momentum'"):
        OPTIMIZERS["sgd"].build([weight()], 0.1, nesterov=True)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_first_steps_by_the_rate_against_the_sign_of_the_gradient_or_with_a_large_epsilon_along_it(
    name,
):
    parameters = {"weight_decay": 0.0} if name == "adamw" else {}
    start, after = steps(name, 1, 0.01, slope, **parameters)
    gradient = slope(start)
    torch.testing.assert_close(
        after - start, -0.01 * gradient / (gradient.abs() + 1e-7), rtol=1e-3, atol=1e-6
    )
    start, after = steps(name, 1, 1.0, slope, epsilon=1e3, **parameters)
    torch.testing.assert_close(after - start, -slope(start) / 1e3, rtol=5e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_betas_are_the_memory_of_the_gradient_and_of_its_square(name):
    parameters = {"weight_decay": 0.0} if name == "adamw" else {}
    gradients = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([-2.0, 3.0, 0.0])]
    path = steps(
        name, 2, 0.1, lambda place, left=iter(gradients): next(left), betas=(0.5, 0.8), **parameters
    )
    # Kingma and Ba (2015), algorithm 1, for the second step.
    mean = (0.5 * 0.5 * gradients[0] + 0.5 * gradients[1]) / (1 - 0.5**2)
    square = (0.8 * 0.2 * gradients[0] ** 2 + 0.2 * gradients[1] ** 2) / (1 - 0.8**2)
    torch.testing.assert_close(
        path[2] - path[1], -0.1 * mean / (square.sqrt() + 1e-7), rtol=1e-4, atol=1e-6
    )


def test_adamw_and_sgd_shrink_weights_by_learning_rate_times_decay_and_adam_leaves_those_without_gradient_alone():
    for name in ("adamw", "sgd"):
        start, after = steps(name, 1, 0.1, flat, weight_decay=0.3)
        torch.testing.assert_close(after, start * (1 - 0.1 * 0.3))
    assert torch.equal(*steps("adam", 1, 0.1, flat))


def matrices():
    random = torch.Generator().manual_seed(3)
    weights = [
        torch.nn.Parameter(torch.randn(*shape, generator=random))
        for shape in ((6, 4), (4,), (3, 5), (2, 2, 2))
    ]
    return weights, [torch.randn(weight.shape, generator=random) for weight in weights]


def test_muon_moves_matrices_as_torch_does_and_all_else_by_adamw_at_a_share_of_the_rate():
    (weights, slopes), (same, _) = matrices(), matrices()
    made = OPTIMIZERS["muon"].build(
        weights, 0.1, momentum=0.9, weight_decay=0.3, rate_of_others=0.2
    )
    known = [
        torch.optim.Muon([weight for weight in same if weight.ndim == 2], 0.1, 0.3, 0.9),
        torch.optim.AdamW(
            [weight for weight in same if weight.ndim != 2], 0.02, weight_decay=0.3, fused=True
        ),
    ]
    for _ in range(3):
        for weight, other, slope in zip(weights, same, slopes, strict=True):
            weight.grad, other.grad = slope.clone(), slope.clone()
        for optimizer in (made, *known):
            optimizer.step()
    assert all(torch.equal(weight, other) for weight, other in zip(weights, same, strict=True))


def test_muon_steps_about_as_far_in_every_direction_and_factors_of_the_rate_stay_with_the_groups_that_it_takes_apart():
    """Newton and Schulz's five steps bring singular values of the step near 1, not to it."""
    left, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
    weight = torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = OPTIMIZERS["muon"].build([weight], 0.1)
    weight.grad = left @ torch.diag(torch.logspace(0, -2, 8))
    optimizer.step()
    assert torch.linalg.svdvals(weight.detach()).numpy() == pytest.approx(0.1, rel=0.4)
    weights, _ = matrices()
    groups = [{"params": weights[:2], "factor": 1.0}, {"params": weights[2:], "factor": 0.5}]
    made = OPTIMIZERS["muon"].build(groups, 0.1, rate_of_others=0.2)
    assert [(group["of_matrices"], group["factor"]) for group in made.param_groups] == [
        (True, 1.0), (False, 0.2), (True, 0.5), (False, 0.1),
    ]  # fmt: skip
    assert [group["lr"] for group in made.param_groups] == pytest.approx([0.1, 0.02, 0.05, 0.01])

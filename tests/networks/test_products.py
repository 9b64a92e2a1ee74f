"""A linear layer by another product is a linear layer."""

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from qexp.networks.masked_autoencoder import Linear
from tests.networks.parts import values

SHAPES = [(1, 7), (5, 7), (3, 4, 7), (2, 3, 4, 7)]


def layers():
    """Ours, and torch's with the same weights."""
    ours, torchs = Linear(7, 6), torch.nn.Linear(7, 6)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


@pytest.mark.parametrize("turned", [False, True], ids=["in rows", "turned"])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_slopes_are_those_of_torchs_layer_whatever_their_order_in_memory(shape, turned):
    ours, torchs = layers()

    def laid_out(*shape, seed=2):
        return (
            values(*shape[::-1], seed=seed).permute(*range(len(shape))[::-1]) if turned else values(*shape, seed=seed)
        )

    x, other = (laid_out(*shape).requires_grad_() for _ in range(2))
    made, expected = ours(x), torchs(other)
    torch.testing.assert_close(made, expected)
    for result in (made, expected):
        result.backward(laid_out(*shape[:-1], 6, seed=3))
    torch.testing.assert_close(x.grad, other.grad)
    for one, same in zip(ours.parameters(), torchs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, same.grad)


def test_slopes_are_those_of_finite_differences():
    ours, _ = layers()
    x, step = values(4, 7).requires_grad_(), 1e-2 * values(4, 7, seed=3)
    ours(x).square().sum().backward()
    with torch.no_grad():
        change = ours(x + step).square().sum() - ours(x - step).square().sum()
    assert (2 * (x.grad * step).sum()).item() == pytest.approx(change.item(), rel=1e-3)


def test_the_same_product_has_the_same_bits_with_slopes_and_without_and_frozen_weights_get_none():
    ours, _ = layers()
    x = values(33, 7)
    with torch.no_grad():
        expected = ours(x)
    assert torch.equal(ours(x), expected)
    ours.requires_grad_(False)
    x = values(4, 7).requires_grad_()
    ours(x).sum().backward()
    assert x.grad is not None
    assert ours.weight.grad is None


def test_layers_side_by_side_are_each_as_if_alone():
    alone = [layers()[0] for _ in range(3)]
    stacked, _ = stack_module_state(alone)
    x = values(3, 5, 4, 7)
    made = vmap(lambda weights, x: functional_call(alone[0], weights, (x,)))(stacked, x)
    made.square().sum().backward()
    for row, one in enumerate(alone):
        torch.testing.assert_close(made[row], one(x[row]))
        one(x[row]).square().sum().backward()
        torch.testing.assert_close(stacked["weight"].grad[row], one.weight.grad)


def test_bfloat16_and_double_precision_are_torchs():
    ours, torchs = layers()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(values(4, 7)), torchs(values(4, 7)))
    assert torch.equal(ours.double()(values(4, 7).double()), torchs.double()(values(4, 7).double()))

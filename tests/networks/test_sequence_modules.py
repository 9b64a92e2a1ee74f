import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from qexp.networks.modules import MODULES
from qexp.networks.sequence import SequenceConvolution, SequenceNorm
from qexp.networks.shapes import ShapeError
from tests.networks.parts import values


def built(name, shape, seed=3, **parameters):
    torch.manual_seed(seed)
    return MODULES[name].build(shape, **parameters)


def parameters_of(module):
    return sum(weight.numel() for weight in module.parameters())


def dl_im():
    """DL-IM's network in torch's own layers."""
    layers, channels = [], 1
    for filters, stride in zip([64, 64, 128, 128, 256], [1, 1, 2, 1, 1], strict=True):
        layers += [
            nn.Conv1d(channels, filters, 3, stride, 1, bias=False),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
        ]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(256, 1))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 10])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("samples", [1, 7])
def test_a_convolution_and_its_gradients_are_those_of_torch(length, stride, kernel_size, samples):
    """An even kernel has its odd position after."""
    ours = SequenceConvolution(3, 4, kernel_size, stride, bias=True).double()
    theirs, before = nn.Conv1d(3, 4, kernel_size, stride).double(), (kernel_size - 1) // 2
    theirs.load_state_dict(ours.state_dict())
    seen = [values(samples, 3, length).double().requires_grad_() for _ in range(2)]
    y, expected = ours(seen[0]), theirs(functional.pad(seen[1], (before, kernel_size - 1 - before)))
    torch.testing.assert_close(y, expected)
    towards = values(*y.shape, seed=5).double()
    y.backward(towards), expected.backward(towards)
    torch.testing.assert_close(seen[0].grad, seen[1].grad)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_large_products_give_what_small_ones_give():
    ours = SequenceConvolution(64, 128, 3, 2, bias=False)
    x = values(54, 64, 10)
    together = ours(x)
    torch.testing.assert_close(
        together, torch.cat([ours(x[:1]), ours(x[1:2]), ours(x[2:])]), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        together, functional.conv1d(x, ours.weight, None, 2, 1), rtol=1e-5, atol=1e-5
    )


def test_normalisation_gradients_and_running_values_are_those_of_torch_in_training_and_in_predicting():
    ours, theirs = SequenceNorm(5).double(), nn.BatchNorm1d(5).double()
    with torch.no_grad():
        ours.weight.copy_(values(5))
        ours.bias.copy_(values(5, seed=4))
    theirs.load_state_dict(ours.state_dict())
    for training in (True, True, False):
        seen = [(3 + 2 * values(6, 5, 4, seed=8)).double().requires_grad_() for _ in range(2)]
        made = [module.train(training)(x) for module, x in zip((ours, theirs), seen, strict=True)]
        torch.testing.assert_close(made[0], made[1])
        for y in made:
            (y * values(*y.shape, seed=9).double()).sum().backward()
        torch.testing.assert_close(seen[0].grad, seen[1].grad)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_one_d_cnn_is_dl_ims_network_and_has_as_many_weights_as_counted_by_hand():
    ours = built("one_d_cnn", (10,))
    theirs = dl_im()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x, truth = values(54, 10), values(54, 1, seed=6)
    for training in (True, False):
        made = [module.train(training)(x_) for module, x_ in ((ours, x), (theirs, x[:, None]))]
        torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-5)
    for module, x_ in ((ours, x), (theirs, x[:, None])):
        functional.mse_loss(module.train()(x_), truth).backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)
    convolutions = 3 * (1 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256)
    norms = 2 * (64 + 64 + 128 + 128 + 256)
    assert parameters_of(built("one_d_cnn", (10,))) == convolutions + norms + 256 + 1
    assert parameters_of(built("one_d_cnn", (10,), units=3)) == convolutions + norms + 3 * 257


@pytest.mark.parametrize(
    ("filters", "strides"),
    [
        ([8, 8, 16, 16, 32], [1, 1, 2, 1, 1]),
        ([4, 4], [1, 1]),
        ([4, 8, 16], [1, 2, 1]),
        ([8, 4, 8], [1, 1, 2]),
    ],
)
def test_the_first_convolution_that_is_wider_than_the_one_before_halves_the_length(
    filters, strides
):
    network = built("one_d_cnn", (10,), filters=filters)
    assert [layer.stride[0] for layer in network if isinstance(layer, nn.Conv1d)] == strides


def test_conv1d_takes_a_flat_row_as_one_channel_and_a_sequence_as_it_is_and_normalises_before_it_activates():
    flat = built("conv1d", (10,), filters=[4, 6], kernel_size=3, strides=[1, 2])
    assert flat(values(5, 10)).shape == (5, 6, 5)
    assert parameters_of(flat) == 4 * 3 + 4 + 4 * 6 * 3 + 6
    deep = built("conv1d", (2, 7), filters=[4], strides=3, use_bias=False)
    assert deep(values(5, 2, 7)).shape == (5, 4, 3)
    assert parameters_of(deep) == 2 * 4 * 3
    module = built("conv1d", (10,), filters=[4], batch_norm=True, activation="tanh")
    assert [type(layer).__name__ for layer in module][1:] == [
        "SequenceConvolution",
        "SequenceNorm",
        "Tanh",
    ]


def test_an_image_is_no_row_of_values_every_filter_needs_a_stride_and_a_channel_several_values():
    for name in ("conv1d", "one_d_cnn"):
        with pytest.raises(
            ShapeError, match=r"needs a row of values .* its input is \[16, 16, 3\]"
        ):
            built(name, (3, 16, 16), filters=[4])
    with pytest.raises(
        ShapeError, match=r"2 strides \[1, 2\] for 3 filters \[4, 4, 8\]; give one stride for each"
    ):
        built("conv1d", (10,), filters=[4, 4, 8], strides=[1, 2])
    with pytest.raises(ValueError, match="one value per channel"):
        SequenceNorm(2)(torch.zeros(1, 2, 1))


def test_an_mlp_is_its_layers_with_as_many_weights_as_counted_by_hand_and_drops_after_every_hidden_one_if_asked():
    module = built("mlp", (10,), units=[8, 5], outputs=2, activation="tanh")
    assert parameters_of(module) == 10 * 8 + 8 + 8 * 5 + 5 + 5 * 2 + 2
    first, second, last = (layer for layer in module if isinstance(layer, nn.Linear))
    x = values(4, 10)
    torch.testing.assert_close(module(x), last(torch.tanh(second(torch.tanh(first(x))))))
    assert parameters_of(built("mlp", (10,), units=[8], bias=False)) == 88
    assert not [
        layer for layer in built("mlp", (10,), units=[8, 5]) if isinstance(layer, nn.Dropout)
    ]
    dropping = [
        layer.p
        for layer in built("mlp", (10,), units=[8, 5], dropout=0.2)
        if isinstance(layer, nn.Dropout)
    ]
    assert dropping == [0.2, 0.2]


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("conv1d", (10,), {"filters": [4, 8], "strides": [1, 2], "batch_norm": True}),
        ("conv1d", (3, 9), {"filters": [5], "kernel_size": 4}),
        ("one_d_cnn", (10,), {"units": 2}),
        ("mlp", (10,), {"units": [4], "outputs": 3}),
    ],
)
def test_shapes_are_known_without_memory(name, shape, parameters):
    real = built(name, shape, **parameters)
    with torch.device("meta"):
        laid_out = MODULES[name].build(shape, **parameters)
    assert laid_out(torch.empty(2, *shape, device="meta")).shape == real(values(2, *shape)).shape


@pytest.mark.parametrize("filters", [[4, 4, 8], [64, 64, 128, 128, 256]])
def test_networks_under_vmap_make_what_each_makes_alone_and_so_do_their_gradients(filters):
    networks = [built("one_d_cnn", (10,), seed, filters=filters) for seed in (1, 2, 3)]
    stacked, buffers = stack_module_state(networks)
    x = values(3, 20, 10)
    y = vmap(lambda *state: functional_call(networks[0], state[:2], state[2:]))(stacked, buffers, x)
    y.square().sum().backward()
    for index, network in enumerate(networks):
        alone = network(x[index])
        torch.testing.assert_close(y[index], alone, rtol=1e-5, atol=1e-5)
        alone.square().sum().backward()
        for name, weight in network.named_parameters():
            torch.testing.assert_close(stacked[name].grad[index], weight.grad, rtol=1e-4, atol=1e-5)
        for name, tensor in network.named_buffers():
            torch.testing.assert_close(buffers[name][index], tensor)


def test_a_network_in_bfloat16_is_coarser_and_near():
    network = built("one_d_cnn", (10,)).eval()
    x = values(20, 10)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = network(x).float()
    assert not torch.equal(coarse, network(x))
    torch.testing.assert_close(coarse, network(x), rtol=0.1, atol=0.05)

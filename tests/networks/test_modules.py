import math

import numpy as np
import pytest
import torch
from torch import nn

from qexp.networks.heads import HEADS
from qexp.networks.layers import ACTIVATIONS, same_padding
from qexp.networks.modules import EXAMPLE_SHAPE, EXAMPLE_SHAPES, MODULES
from qexp.networks.shapes import ShapeError
from tests.networks.parts import initialised, operation, values


def module(name, shape=EXAMPLE_SHAPE, **parameters):
    """One operation with Glorot weights, set to predict."""
    return (
        initialised({"x": shape}, ["y"], {"one": operation(name, **parameters)})
        .operations["one"]
        .eval()
    )


def output_of(name, x, **parameters):
    with torch.no_grad():
        return module(name, tuple(x.shape[1:]), **parameters)(x)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in HEADS])
def test_the_example_of_every_module_maps_the_example_input_to_finite_values_and_passes_gradients(
    name,
):
    inputs = dict(zip("abc", EXAMPLE_SHAPES.get(name, [EXAMPLE_SHAPE]), strict=False))
    network = initialised(
        inputs, ["y"], {"one": operation(name, **MODULES[name].example.get("parameters", {}))}
    )
    x = {variable: values(3, *shape).requires_grad_() for variable, shape in inputs.items()}
    y = network(x)["y"]
    assert y.shape == (3, *network.shapes["y"])
    assert torch.isfinite(y).all()
    y.square().sum().backward()
    for variable, tensor in x.items():
        # Of masks the order alone matters: no gradient reaches them.
        if variable != {"masked_encoder": "b", "masked_decoder": "c"}.get(name):
            assert tensor.grad.abs().sum() > 0
    for weight in network.parameters():
        assert weight.grad is not None


def tensorflow_same(side, kernel_size, stride):
    """Total padding as TensorFlow's guide to convolution has it, "SAME":
    https://www.tensorflow.org/api_docs/python/tf/nn.
    """
    return max(kernel_size - (stride if side % stride == 0 else side % stride), 0)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_same_padding_is_kerass_with_the_odd_pixel_after(kernel_size, stride):
    for side in range(1, 12):
        before, after = same_padding(side, kernel_size, stride)
        assert before + after == tensorflow_same(side, kernel_size, stride)
        assert after - before in (0, 1)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (5, 9), (1, 6)])
def test_a_same_convolution_keeps_one_in_stride_pixels_rounded_up(
    height, width, kernel_size, stride
):
    y = output_of(
        "conv", values(2, 3, height, width), filters=[4], kernel_size=kernel_size, stride=stride
    )
    assert y.shape == (2, 4, math.ceil(height / stride), math.ceil(width / stride))


@pytest.mark.parametrize(
    ("kernel_size", "stride"), [(2, 1), (3, 1), (3, 2), (4, 2), (4, 3), (5, 2)]
)
def test_a_same_convolution_is_the_sum_over_windows_of_the_zero_padded_image(kernel_size, stride):
    image = values(1, 1, 7, 10).double()
    convolution = module(
        "conv", (1, 7, 10), filters=[1], kernel_size=kernel_size, stride=stride, activation="linear"
    )
    kernel = (
        next(weight for weight in convolution.parameters() if weight.dim() == 4)
        .detach()
        .double()[0, 0]
    )
    edges = [tensorflow_same(side, kernel_size, stride) for side in (7, 10)]
    padded = np.pad(image[0, 0].numpy(), [(total // 2, total - total // 2) for total in edges])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel_size, kernel_size))[
        ::stride, ::stride
    ]
    expected = torch.from_numpy((windows * kernel.numpy()).sum((-2, -1)))
    torch.testing.assert_close(convolution.double()(image)[0, 0].detach(), expected)


def test_same_padding_is_worked_out_anew_for_every_convolution_and_a_valid_one_uses_whole_windows_only():
    # 10 -> 5 -> 3 -> 2 by rounding up each time: even sides need one pixel, odd ones two.
    assert output_of("conv", values(1, 1, 10, 10), filters=[2, 2, 2], stride=2).shape == (
        1,
        2,
        2,
        2,
    )
    valid = {"filters": [3, 5], "kernel_size": 3, "stride": 2, "padding": "valid"}
    assert output_of("conv", values(1, 2, 11, 8), **valid).shape == (1, 5, 2, 1)


def test_a_convolution_follows_every_layer_with_the_activation_leaky_relu_and_has_biases_unless_told_otherwise():
    x = values(2, 1, 5, 5)
    assert output_of("conv", x, filters=[3], activation="relu").min() == 0
    linear = output_of("conv", x, filters=[3], activation="linear")
    expected = torch.where(linear > 0, linear, 0.2 * linear)  # Keras's slope
    torch.testing.assert_close(output_of("conv", x, filters=[3]), expected)
    assert output_of("conv", x, filters=[3, 3], activation="tanh").abs().max() < 1
    count = {
        bias: sum(p.numel() for p in module("conv", filters=[4, 5], bias=bias).parameters())
        for bias in (0, 1)
    }
    assert count[0] == 8 * 4 * 9 + 4 * 5 * 9
    assert count[1] == count[0] + 4 + 5


def test_a_resnet_block_concatenates_convolutions_and_shortcut_or_adds_them_when_asked():
    x = values(2, 3, 7, 6)
    block = module("resnet_block", (3, 7, 6), filters=[5, 4])
    y = block(x)
    assert y.shape == (2, 8, 7, 6)
    torch.testing.assert_close(y[:, :4], block.convolutions(x))
    # The shortcut is a 1x1 convolution: linear, and pixel by pixel.
    torch.testing.assert_close(block(-x)[:, 4:], -y[:, 4:])
    torch.testing.assert_close(block(x.flip(2, 3))[:, 4:], y[:, 4:].flip(2, 3))
    assert not torch.allclose(block(-x)[:, :4], -y[:, :4])
    added = module("resnet_block", (3, 7, 6), filters=[5, 4], merge="add")
    added.load_state_dict(block.state_dict())
    torch.testing.assert_close(added(x), y[:, :4] + y[:, 4:])


def test_a_resnet_block_keeps_the_size_of_its_input_and_has_no_activation_after_its_last_convolution():
    x = values(2, 3, 7, 6)
    torch.testing.assert_close(
        output_of("resnet_block", -x, filters=[4]), -output_of("resnet_block", x, filters=[4])
    )
    for kernel_size in (2, 3, 5):
        assert output_of("resnet_block", x, filters=[4], kernel_size=kernel_size).shape == (
            2,
            8,
            7,
            6,
        )


def test_attention_multiplies_each_channel_by_a_number_between_zero_and_one_by_the_means_of_the_channels_alone():
    x = values(3, 6, 5, 4)
    ratio = output_of("attention", x, filters=[3, 6]) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio), rtol=1e-4, atol=1e-6)
    assert ratio.min() > 0
    assert ratio.max() < 1
    assert ratio[:, :, 0, 0].std(0).min() > 0
    x, y = values(1, 6, 4, 4), values(1, 6, 4, 4, seed=9)
    same_means = y - y.mean((2, 3), keepdim=True) + x.mean((2, 3), keepdim=True)
    attention = module("attention", (6, 4, 4), filters=[3, 6])
    torch.testing.assert_close(
        attention(x) / x, attention(same_means) / same_means, rtol=1e-4, atol=1e-6
    )


def test_denses_flatten_their_input_and_have_the_activation_between_layers_and_no_bias_unless_told():
    x = values(3, 2, 4, 5)
    assert output_of("denses", x, filters=[7, 2]).shape == (3, 2)
    assert output_of("denses", torch.zeros(1, 4), filters=[7, 2]).abs().max() == 0
    assert (
        sum(p.numel() for p in module("denses", (4,), filters=[7, 2], bias=True).parameters())
        == 28 + 7 + 14 + 2
    )
    x = values(3, 4)
    torch.testing.assert_close(
        output_of("denses", -x, filters=[5]), -output_of("denses", x, filters=[5])
    )
    two = module("denses", (4,), filters=[5, 2], activation="relu")
    first, second = (layer.weight for layer in two if isinstance(layer, nn.Linear))
    torch.testing.assert_close(two(x), torch.relu(x @ first.T) @ second.T)


def test_pooling_takes_the_largest_and_the_mean_of_whole_windows():
    x = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert output_of("max_pooling", x)[0, 0].tolist() == [[6, 8], [16, 18]]
    assert output_of("average_pooling", x)[0, 0].tolist() == [[3, 5], [13, 15]]
    threes = [[12, 13, 14], [17, 18, 19], [22, 23, 24]]
    assert output_of("max_pooling", x, pool_size=3, strides=1)[0, 0].tolist() == threes
    assert output_of("average_pooling", x, pool_size=3, strides=2)[0, 0].tolist() == [
        [6, 8],
        [16, 18],
    ]


def keras_windows(image, pool, steps):
    """The pixels of the image in each window of Keras's padding "same", by the rule that its
    documentation gives.
    """
    spans = []
    for side, window, step in zip(image.shape, pool, steps, strict=True):
        results = math.ceil(side / step)
        first = -(max((results - 1) * step + window - side, 0) // 2)
        spans.append(
            [slice(max(first + n * step, 0), first + n * step + window) for n in range(results)]
        )
    return [[image[down, across] for across in spans[1]] for down in spans[0]]


@pytest.mark.parametrize("size", [(5, 5), (6, 7), (2, 9)])
@pytest.mark.parametrize(
    ("pool", "steps"),
    [((2, 2), (2, 2)), ((2, 2), (1, 1)), ((3, 2), (2, 3)), ((4, 5), (3, 1)), ((1, 2), (3, 3))],
)
def test_pooling_with_padding_same_counts_the_pixels_of_the_image_alone(size, pool, steps):
    x = values(1, 1, *size) - 5
    windows = keras_windows(x[0, 0], pool, steps)
    options = {"pool_size": list(pool), "strides": list(steps), "padding": "same"}
    highest = torch.tensor([[window.max() for window in row] for row in windows])
    assert torch.equal(output_of("max_pooling", x, **options)[0, 0], highest)
    means = torch.tensor([[window.mean() for window in row] for row in windows])
    torch.testing.assert_close(output_of("average_pooling", x, **options)[0, 0], means)


@pytest.mark.parametrize("name", ["max_pooling", "average_pooling"])
def test_a_pair_of_a_pools_sides_is_height_and_width_and_steps_are_as_wide_as_the_window_unless_told(
    name,
):
    x = values(1, 2, 6, 9)
    assert output_of(name, x, pool_size=[2, 3]).shape == (1, 2, 3, 3)
    assert output_of(name, x, pool_size=[2, 3], strides=[1, 2]).shape == (1, 2, 5, 4)
    assert output_of(name, x, pool_size=[2, 3], padding="same", strides=[4, 5]).shape == (
        1,
        2,
        2,
        2,
    )
    assert torch.equal(
        output_of(name, x, pool_size=[2, 2], strides=[2, 2], padding="valid"), output_of(name, x)
    )


def test_softmax_shares_one_among_the_channels_of_every_pixel_or_among_features():
    for x in (values(2, 3, 4, 5), values(2, 7)):
        y = output_of("activation", x, activation="softmax")
        torch.testing.assert_close(y.sum(1), torch.ones_like(x[:, 0]))
        torch.testing.assert_close(y / y[:, :1], torch.exp(x - x[:, :1]))


@pytest.mark.parametrize(("shape", "last"), [((2, 4, 5), 3), ((2, 6), 2), ((4,), 1)])
def test_inputs_are_joined_along_their_last_axis_as_keras_counts_and_along_no_other(shape, last):
    x = values(3, *shape)
    for axis in (-1, last):
        assert torch.equal(
            MODULES["concatenate"].build([shape, shape], axis=axis)([x, x]),
            torch.cat([x, x], dim=1),
        )
    for axis in {0, 1, 2, 4, -2} - {last}:
        with pytest.raises(ShapeError, match=f"'axis' must be -1 or {last}, but is {axis}"):
            MODULES["concatenation"].build([shape, shape], axis=axis)


def test_the_global_average_is_each_channels_mean_and_flatten_keeps_every_value_in_order():
    x = values(3, 4, 5, 6)
    torch.testing.assert_close(output_of("global_average", x), x.mean((2, 3)))
    assert torch.equal(output_of("flatten", x), x.reshape(3, 120))


def test_dropout_changes_nothing_when_predicting_and_keeps_the_mean_when_training():
    x = torch.ones(1, 100_000)
    dropout = module("dropout", (100_000,), rate=0.3)
    assert torch.equal(dropout(x), x)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        dropped = dropout.train()(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shape", [(3, 5, 4), (3,)])
def test_batch_norm_normalises_each_channel_and_changes_nothing_before_it_has_learnt(shape):
    x = values(200, *shape) * 4 + 7
    layer = module("batch_norm", shape)
    torch.testing.assert_close(layer(x), x, rtol=1e-4, atol=1e-4)
    normal = layer.train()(x)
    rest = [dimension for dimension in range(x.dim()) if dimension != 1]
    torch.testing.assert_close(normal.mean(rest), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal.var(rest, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean(rest), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (5, 24)])
def test_layer_norm_normalises_every_sample_or_each_of_its_tokens_by_itself(shape):
    x = values(3, *shape) * 4 + 7
    normal = output_of("layer_norm", x)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(x.shape[:-1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        normal.var(-1, correction=0), torch.ones(x.shape[:-1]), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(output_of("layer_norm", x[:1]), normal[:1])


AT_MINUS_ONE_AND_TWO = {
    "linear": (-1, 2),
    "relu": (0, 2),
    "leaky_relu": (-0.2, 2),
    "elu": (math.exp(-1) - 1, 2),
    "selu": (1.0507009873554805 * 1.6732632423543772 * (math.exp(-1) - 1), 2 * 1.0507009873554805),
    "gelu": (-(1 + math.erf(-1 / math.sqrt(2))) / 2, 1 + math.erf(2 / math.sqrt(2))),
    "silu": (-1 / (1 + math.e), 2 / (1 + math.exp(-2))),
    "swish": (-1 / (1 + math.e), 2 / (1 + math.exp(-2))),
    "mish": (-math.tanh(math.log1p(math.exp(-1))), 2 * math.tanh(math.log1p(math.exp(2)))),
    "relu6": (0, 2),
    "softsign": (-1 / 2, 2 / 3),
    "softmax": (1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))),
    "hard_sigmoid": (2 / 6, 5 / 6),
    "exponential": (math.exp(-1), math.exp(2)),
    "softplus": (math.log1p(math.exp(-1)), math.log1p(math.exp(2))),
    "sigmoid": (1 / (1 + math.e), 1 / (1 + math.exp(-2))),
    "tanh": (math.tanh(-1), math.tanh(2)),
    "asinh": (math.asinh(-1), math.asinh(2)),
    "log_softmax": (-math.log1p(math.exp(3)), -math.log1p(math.exp(-3))),
    "ReLU": (0, 2),
    "ELU": (math.exp(-1) - 1, 2),
    "LeakyReLU": (-0.3, 2),
    "ThresholdedReLU": (0, 2),
    "Softmax": (1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_keras(name):
    y = output_of("activation", torch.tensor([[-1.0, 2.0]]), activation=name)
    assert y[0].tolist() == pytest.approx(AT_MINUS_ONE_AND_TWO[name], rel=1e-6)


IMAGES = r"needs an image \[height, width, channels\], but its input is \[12\]"
DIFFERENCES = "takes a row of two or more features"


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "message"),
    [
        ("conv", (12,), {"filters": [4]}, IMAGES),
        ("resnet_block", (12,), {"filters": [4]}, IMAGES),
        ("attention", (12,), {"filters": [4]}, IMAGES),
        ("max_pooling", (12,), {}, IMAGES),
        ("average_pooling", (12,), {}, IMAGES),
        (
            "attention",
            (8, 4, 4),
            {"filters": [4, 9]},
            "9 channels .* its input has 8; set the last to 8",
        ),
        (
            "attention",
            (8, 4, 4),
            {"filters": [9]},
            "9 channels .* its input has 8; set the last to 8",
        ),
        (
            "attention",
            (8, 4, 4),
            {"filters": [8, 4]},
            "4 channels .* its input has 8; set the last to 8",
        ),
        (
            "layer_norm",
            (3, 5, 4),
            {},
            r"takes \[values\] or \[tokens, values\], but .*; use batch_norm",
        ),
        ("neighbour_differences", (1,), {}, DIFFERENCES),
        ("neighbour_differences", (2, 4, 5), {}, DIFFERENCES),
        ("neighbour_differences", (4, 3), {}, DIFFERENCES),
        ("concatenate", [(1, 4, 5), (2, 4, 6)], {}, r"\[4, 5, 1\], \[4, 6, 2\]"),
    ],
)
def test_an_operation_that_does_not_fit_its_input_says_what_it_takes(
    name, shape, parameters, message
):
    with pytest.raises(ShapeError, match=message):
        MODULES[name].build(shape, **parameters)


def test_neighbour_differences_stand_behind_the_features_and_are_magnified():
    x = values(3, 5)
    y = output_of("neighbour_differences", x, factor=7.0)
    torch.testing.assert_close(y, torch.cat([x, 7 * (x[:, 1:] - x[:, :-1])], dim=1))

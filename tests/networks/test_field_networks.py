"""Networks from fields to fields: of the published sizes, for frames of any size, the same wherever
a field lies.
"""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from qexp.networks.layers import Doubling, UNet, dle_cnn
from qexp.networks.modules import MODULES
from qexp.networks.shapes import ShapeError

PATCH = (3, 32, 32)


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def convolution(channels, filters, kernel=3):
    return channels * filters * kernel**2 + filters


def test_the_networks_have_the_weights_of_sixteen_layers_of_32_filters_and_of_the_u_net_of_earlier_runs():
    by_hand = convolution(3, 32) + 15 * convolution(32, 32) + convolution(32, 2, kernel=1)
    assert parameters(dle_cnn(PATCH, 2)) == by_hand == 139_682
    widths = [32, 64, 128, 256]
    by_hand, channels = 0, 3
    for width in widths:
        by_hand += convolution(channels, width) + convolution(width, width)
        channels = width
    for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True):
        by_hand += (
            convolution(coarse, fine, kernel=2)
            + convolution(2 * fine, fine)
            + convolution(fine, fine)
        )
    by_hand += convolution(32, 2, kernel=1)
    assert parameters(UNet(PATCH, 2)) == by_hand


class DleUNet(nn.Module):
    """2Dto2D-DLE's U-Net, written once more layer by layer from keras-unet-collection's
    `unet_2d`.
    """

    def __init__(self, widths=(32, 64, 128, 256)):
        super().__init__()
        self.layers = nn.ModuleList()
        channels = 3
        for width in widths:
            self.layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.Conv2d(width, width, 3, padding=1),
            ]
            channels = width
        for fine in widths[-2::-1]:
            self.layers += [
                nn.ConvTranspose2d(2 * fine, fine, 3, 2),
                nn.Conv2d(fine, fine, 3, padding=1),
            ]
            self.layers += [
                nn.Conv2d(2 * fine, fine, 3, padding=1),
                nn.Conv2d(fine, fine, 3, padding=1),
            ]
        self.layers.append(nn.Conv2d(widths[0], 2, 1))
        self.blocks = len(widths)

    def forward(self, x):
        layers, passed = iter(self.layers), []

        def activated(value):
            return torch.where(value > 0, value, 0.3 * value)

        for block in range(self.blocks):
            x = activated(next(layers)(x if block == 0 else functional.max_pool2d(x, 2)))
            x = activated(next(layers)(x))
            passed.append(x)
        for beside in passed[-2::-1]:
            height, width = beside.shape[-2:]
            x = activated(next(layers)(x)[..., :height, :width])
            x = torch.cat([activated(next(layers)(x)), beside], dim=1)
            x = activated(next(layers)(x))
            x = activated(next(layers)(x))
        return next(layers)(x)


def test_the_model_dle_unet_makes_what_2dto2d_dle_s_u_net_makes_of_the_same_weights():
    model = json.loads((Path(__file__).parents[2] / "specs/models/dle_unet.json").read_text())
    description = model["operations"]["network"]
    network = MODULES[description["module"]].build(
        PATCH, **{**description["parameters"], "outputs": 2}
    )
    other = DleUNet()
    assert parameters(network) == parameters(other) == 2_334_434
    parts = (network.down, *zip(network.widen, network.up, strict=True), [network.head])
    in_order = [module for part in parts for module in part]
    with torch.no_grad():
        ours = [weight for module in in_order for weight in module.parameters()]
        for own, theirs in zip(ours, other.parameters(), strict=True):
            theirs.copy_(own)
        frame = torch.randn(1, 3, 40, 24)
        torch.testing.assert_close(network(frame), other(frame))


def test_an_upsampled_value_is_spread_as_by_keras_s_same_padding():
    """By the definition: the transpose of a convolution of stride 2 whose k - 2 zeros lie around,
    the odd one after.
    """
    for kernel in (3, 5, 7):
        doubling = Doubling(1, 1, kernel)
        with torch.no_grad():
            doubling.bias.zero_()
            signal, there = torch.randn(1, 1, 6, 4), torch.randn(1, 1, 12, 8)
            before, after = (kernel - 2) // 2, kernel - 2 - (kernel - 2) // 2
            back = functional.conv2d(
                functional.pad(there, (before, after, before, after)), doubling.weight, stride=2
            )
            torch.testing.assert_close((doubling(signal) * there).sum(), (signal * back).sum())


def test_dropout_zeroes_a_share_of_each_layer_s_values_in_training_alone():
    for build in (dle_cnn, UNet):
        network = build(PATCH, 2, filters=4, dropout=0.5)
        frame = torch.randn(1, 3, 32, 32)
        assert not torch.equal(network(frame), network(frame))
        network.eval()
        torch.testing.assert_close(network(frame), network(frame))
        convolutions = sum(
            isinstance(one, nn.Conv2d) and one.kernel_size == (3, 3) for one in network.modules()
        )
        assert (
            sum(isinstance(one, nn.Dropout) and one.p == 0.5 for one in network.modules())
            == convolutions
        )


@pytest.mark.parametrize("build", [dle_cnn, UNet])
def test_a_slope_that_the_activation_would_not_use_and_an_even_kernel_are_refused(build):
    with pytest.raises(
        ShapeError, match=r"slope 0\.3 is that of the leaky ReLU, but the activation is 'silu'"
    ):
        build(PATCH, 2, activation="silu", slope=0.3)
    with pytest.raises(ShapeError, match="kernel_size 4: must be odd"):
        build(PATCH, 2, kernel_size=4)


NETWORKS = [
    pytest.param(dle_cnn(PATCH, 2, layers=3, filters=6), id="dle_cnn"),
    pytest.param(UNet(PATCH, 2, blocks=3, filters=4), id="dle_unet"),
    pytest.param(UNet(PATCH, 2, blocks=3, filters=4, activation="silu"), id="dle_unet with silu"),
    pytest.param(
        UNet(PATCH, 2, blocks=3, filters=4, upsampling="convolved", slope=0.3),
        id="dle_unet of 2Dto2D-DLE",
    ),
    pytest.param(
        UNet(PATCH, 2, blocks=3, filters=4, kernel_size=1, upsampling="convolved"),
        id="kernels of one cell",
    ),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_frames_of_any_size_keep_it_and_give_what_larger_ones_with_zeros_give(network):
    for size in ((32, 32), (17, 23), (1, 5), (80, 33)):
        with torch.no_grad():
            assert network(torch.zeros(2, 3, *size)).shape == (2, 2, *size)
    small = torch.randn(1, 3, 30, 29)
    large = torch.zeros(1, 3, 32, 32)
    large[..., :30, :29] = small
    with torch.no_grad():
        made, whole = network(small), network(large)
    # the others see biases beyond the frame, not zeros
    radius = 0 if isinstance(network, UNet) else 3
    torch.testing.assert_close(
        made[..., : 30 - radius, : 29 - radius], whole[..., : 30 - radius, : 29 - radius]
    )


def test_a_field_that_is_moved_gives_an_estimate_that_is_moved():
    network, image = dle_cnn(PATCH, 2, layers=3, filters=6), torch.zeros(1, 3, 40, 40)
    image[..., 12:20, 12:20] = torch.randn(1, 3, 8, 8)
    moved = image.roll((5, -3), dims=(-2, -1))
    with torch.no_grad():
        inside = slice(9, -9)  # what was beyond the frame came in with the roll
        torch.testing.assert_close(
            network(moved)[..., inside, inside],
            network(image).roll((5, -3), (-2, -1))[..., inside, inside],
        )


@pytest.mark.parametrize("size", [(12, 16), (16, 20), (30, 30)])
def test_patches_that_cannot_be_halved_so_often_are_refused(size):
    with pytest.raises(
        ShapeError, match=f"patches must be a multiple of 8 cells, but are {size[0]} × {size[1]}"
    ):
        UNet((3, *size), 2)

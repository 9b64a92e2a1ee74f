"""Networks from fields to fields: of the published sizes, for frames of any size, the same wherever a field lies."""

import pytest
import torch

from qexp.models.modules.unet import UNet, dle_cnn
from qexp.models.shapes import ShapeError

PATCH = (3, 32, 32)


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def convolution(channels, filters, kernel=3):
    return channels * filters * kernel**2 + filters


def test_the_convolutional_network_has_sixteen_layers_of_32_filters_and_a_linear_head():
    by_hand = convolution(3, 32) + 15 * convolution(32, 32) + convolution(32, 2, kernel=1)
    assert parameters(dle_cnn(PATCH, 2)) == by_hand == 139_682


def test_the_u_net_has_two_convolutions_per_block_down_and_up():
    widths = [32, 64, 128, 256]
    by_hand, channels = 0, 3
    for width in widths:
        by_hand += convolution(channels, width) + convolution(width, width)
        channels = width
    for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True):
        by_hand += convolution(coarse, fine, kernel=2) + convolution(2 * fine, fine) + convolution(fine, fine)
    by_hand += convolution(32, 2, kernel=1)
    assert parameters(UNet(PATCH, 2)) == by_hand == 1_925_634


NETWORKS = [
    pytest.param(dle_cnn(PATCH, 2, layers=3, filters=6), id="dle_cnn"),
    pytest.param(UNet(PATCH, 2, blocks=3, filters=4), id="dle_unet"),
    pytest.param(UNet(PATCH, 2, blocks=3, filters=4, activation="silu"), id="dle_unet with silu"),
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [(32, 32), (17, 23), (1, 5), (80, 33)])
def test_frames_of_any_size_keep_it(network, size):
    with torch.no_grad():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_frame_that_is_filled_up_gives_what_a_larger_one_with_zeros_gives(network):
    small = torch.randn(1, 3, 30, 29)
    large = torch.zeros(1, 3, 32, 32)
    large[..., :30, :29] = small
    with torch.no_grad():
        made, whole = network(small), network(large)
    radius = 0 if isinstance(network, UNet) else 3  # the others see biases beyond the frame, not zeros
    torch.testing.assert_close(made[..., : 30 - radius, : 29 - radius], whole[..., : 30 - radius, : 29 - radius])


def test_a_field_that_is_moved_gives_an_estimate_that_is_moved():
    network, image = dle_cnn(PATCH, 2, layers=3, filters=6), torch.zeros(1, 3, 40, 40)
    image[..., 12:20, 12:20] = torch.randn(1, 3, 8, 8)
    moved = image.roll((5, -3), dims=(-2, -1))
    with torch.no_grad():
        inside = slice(9, -9)  # what was beyond the frame came in with the roll
        torch.testing.assert_close(
            network(moved)[..., inside, inside], network(image).roll((5, -3), (-2, -1))[..., inside, inside]
        )


@pytest.mark.parametrize("size", [(12, 16), (16, 20), (30, 30)])
def test_patches_that_cannot_be_halved_so_often_are_refused(size):
    with pytest.raises(ShapeError, match=f"patches must be a multiple of 8 cells, but are {size[0]} × {size[1]}"):
        UNet((3, *size), 2)


@pytest.mark.parametrize("build", [dle_cnn, UNet])
def test_an_even_kernel_is_refused(build):
    with pytest.raises(ShapeError, match="kernel_size 4: must be odd"):
        build(PATCH, 2, kernel_size=4)

"""Convolutional operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from qexp.models.activations import ACTIVATIONS
from qexp.models.shapes import Shape, ShapeError, require_image


def convolutions(
    shape: Shape,
    /,
    filters: Sequence[int],
    kernel_size: int = 3,
    stride: int = 1,
    padding: str = "same",
    activation: str = "leaky_relu",
    bias: bool = True,
    l2: float = 0.0,
) -> nn.Module:
    """Convolutions one after another, each followed by the activation."""
    channels = require_image(shape)[0]
    layers: list[nn.Module] = []
    for count in filters:
        convolution = SameConv2d if padding == "same" else nn.Conv2d
        layers += [convolution(channels, count, kernel_size, stride, bias=bias), ACTIVATIONS[activation]()]
        channels = count
    return nn.Sequential(*layers)


class SameConv2d(nn.Conv2d):
    """A convolution with ceil(side / stride) results per side, whatever the size of its input."""

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (
            same_padding(side, kernel, stride)
            for side, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        )
        if top == bottom and left == right:
            return functional.conv2d(x, self.weight, self.bias, self.stride, (top, left))
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, self.weight, self.bias, self.stride)


def same_padding(side: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Pixels before and after, for ceil(side / stride) results; the odd one goes after, as in Keras."""
    results = (side + stride - 1) // stride
    total = torch.sym_max((results - 1) * stride + kernel_size - side, 0)
    return total // 2, total - total // 2


class ResnetBlock(nn.Module):
    """Convolutions beside a 1x1 shortcut; no activation after the last one."""

    def __init__(
        self,
        shape: Shape,
        /,
        filters: Sequence[int],
        kernel_size: int = 3,
        activation: str = "leaky_relu",
        merge: str = "concatenate",
        l2: float = 0.0,
    ) -> None:
        super().__init__()
        channels = require_image(shape)[0]
        layers = list(convolutions(shape, filters, kernel_size, activation=activation).children())[:-1]
        self.convolutions = nn.Sequential(*layers)
        self.shortcut = nn.Conv2d(channels, filters[-1], 1)
        self.adds = merge == "add"

    def forward(self, x: Tensor) -> Tensor:
        deep, short = self.convolutions(x), self.shortcut(x)
        return deep + short if self.adds else torch.cat([deep, short], dim=1)


def channel_attention(shape: Shape, /, filters: Sequence[int], l2: float = 0.0) -> nn.Module:
    """Weigh each channel by dense layers on the channels' means: leaky ReLU after the first, then sigmoid."""
    channels = require_image(shape)[0]
    if filters[-1] != channels:
        raise ShapeError(
            f"{filters[-1]} channels from filters {list(filters)}, but its input has {channels}; "
            f"set the last to {channels}"
        )
    return ChannelAttention(channels, filters)


class ChannelAttention(nn.Module):
    """Multiplies each channel by a weight from 0 to 1 that depends on the means of all channels."""

    def __init__(self, channels: int, filters: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = channels
        for position, count in enumerate(filters):
            layers += [nn.Linear(width, count), ACTIVATIONS["leaky_relu" if position == 0 else "sigmoid"]()]
            width = count
        self.weigh = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weigh(x.mean(dim=(2, 3)))
        return x * weights[:, :, None, None]

"""Pooling of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from qexp.models.modules.convolution import same_padding
from qexp.models.shapes import Shape, require_image

Sides = int | Sequence[int]
"""A number of pixels down and across, or one for each."""


def max_pooling(
    shape: Shape, /, pool_size: Sides = 2, strides: Sides | None = None, padding: str = "valid"
) -> nn.Module:
    """The largest value in each window, (batch, channel, height, width)."""
    return _pooling(shape, SameMaxPool2d if padding == "same" else nn.MaxPool2d, pool_size, strides)


def average_pooling(
    shape: Shape, /, pool_size: Sides = 2, strides: Sides | None = None, padding: str = "valid"
) -> nn.Module:
    """The mean of each window, (batch, channel, height, width)."""
    return _pooling(shape, SameAvgPool2d if padding == "same" else nn.AvgPool2d, pool_size, strides)


def _pooling(shape: Shape, build: Callable[..., nn.Module], pool_size: Sides, strides: Sides | None) -> nn.Module:
    require_image(shape)
    return build(_pair(pool_size), _pair(strides or pool_size))


def _pair(sides: Sides) -> tuple[int, int]:
    height, width = (sides, sides) if isinstance(sides, int) else sides
    return height, width


class SamePool2d(nn.Module):
    """A pooling with ceil(side / step) results per side, whatever the size of its input."""

    def __init__(self, window: tuple[int, int], steps: tuple[int, int]) -> None:
        super().__init__()
        self.window, self.steps = window, steps

    def filled(self, x: Tensor, value: float) -> Tensor:
        """The images with a value around them, of which there is one pixel more at the end if the number is odd."""
        top, bottom = same_padding(x.shape[2], self.window[0], self.steps[0])
        left, right = same_padding(x.shape[3], self.window[1], self.steps[1])
        return functional.pad(x, (left, right, top, bottom), value=value)


class SameMaxPool2d(SamePool2d):
    """The largest value of the image in each window."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(self.filled(x, -torch.inf), self.window, self.steps)


class SameAvgPool2d(SamePool2d):
    """The mean of the image's values in each window."""

    def forward(self, x: Tensor) -> Tensor:
        means = functional.avg_pool2d(self.filled(x, 0.0), self.window, self.steps)
        shares = functional.avg_pool2d(self.filled(torch.ones_like(x[:1, :1]), 0.0), self.window, self.steps)
        return means.div(shares)


def global_average(shape: Shape, /) -> nn.Module:
    """The mean of each channel, (batch, channel)."""
    require_image(shape)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

"""Pooling of images."""

from __future__ import annotations

from torch import nn

from qexp.models.shapes import Shape, require_image


def max_pooling(shape: Shape, /, pool_size: int = 2, strides: int | None = None) -> nn.Module:
    """The largest value in each window, (batch, channel, height, width)."""
    require_image(shape)
    return nn.MaxPool2d(pool_size, strides)


def average_pooling(shape: Shape, /, pool_size: int = 2, strides: int | None = None) -> nn.Module:
    """The mean of each window, (batch, channel, height, width)."""
    require_image(shape)
    return nn.AvgPool2d(pool_size, strides)


def global_average(shape: Shape, /) -> nn.Module:
    """The mean of each channel, (batch, channel)."""
    require_image(shape)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

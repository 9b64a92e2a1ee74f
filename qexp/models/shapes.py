"""Shapes as networks see them, without the batch: (channel, height, width) or (feature,)."""

from __future__ import annotations

import math

Shape = tuple[int, ...]


class ShapeError(ValueError):
    """An operation does not fit the shape of its input; the message says what would."""


def from_spec(size: list[int]) -> Shape:
    """A shape as specs write it, channels last (VDI): [height, width, channels]."""
    return (size[-1], *size[:-1])


def written(shape: Shape) -> str:
    """A shape as a spec writes it."""
    return str([*shape[1:], shape[0]])


def features(shape: Shape) -> int:
    """The number of values of a sample."""
    return math.prod(shape)


def require_image(shape: Shape) -> Shape:
    """Raises ShapeError unless the shape is (channel, height, width)."""
    if len(shape) != 3:
        raise ShapeError(f"needs an image [height, width, channels], but its input is {written(shape)}")
    return shape

"""Shapes as networks see them, without the batch: (channel, height, width) or (feature,)."""

from __future__ import annotations

import math

Shape = tuple[int, ...]


class ShapeError(ValueError):
    """Something does not fit; the message says what would."""


def from_spec(size: list[int]) -> Shape:
    """Specs write channels last, as VDI does: [height, width, channels]."""
    return (size[-1], *size[:-1])


def written(shape: Shape) -> str:
    """A shape as a spec writes it."""
    return str([*shape[1:], shape[0]])


def features(shape: Shape) -> int:
    return math.prod(shape)


def require_image(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ShapeError(f"needs an image [height, width, channels], but its input is {written(shape)}")
    return shape

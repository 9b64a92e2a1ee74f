"""What sources below flat ground must satisfy."""

from __future__ import annotations

import torch
from torch import Tensor

LAST_DIGITS = 16
"""Units of rounding that the top of a source may lie above the surface."""


def require_positive(name: str, values: Tensor, unit: str) -> None:
    """Raise ValueError unless all of the values are positive; NaN is not."""
    if not (values > 0).all():
        raise ValueError(f"{name} must be positive, {unit}; the least is {values.min():g}")


def require_not_negative(name: str, values: Tensor) -> None:
    """Raise ValueError if one of the values is negative or NaN."""
    if not (values >= 0).all():
        raise ValueError(f"{name} must not be negative; the least is {values.min():g}")


def require_below_ground(depth: Tensor, half_height: Tensor) -> None:
    """Raise ValueError unless all sources lie below the ground, with nothing at or above it.

    depth        (batch,)  of the centres [m]
    half_height  (batch,)  of the highest point of each source above its centre [m]
    """
    require_positive("depth", depth, "in metres downwards")
    _require(depth > half_height, depth, half_height, "greater than")


def require_not_above_ground(depth: Tensor, half_height: Tensor) -> None:
    """The same for sources that may touch the surface, which their highest point misses by some last digits."""
    require_positive("depth", depth, "in metres downwards")
    rounding = LAST_DIGITS * torch.finfo(depth.dtype).eps
    _require(depth >= half_height * (1 - rounding), depth, half_height, "at least")


def _require(holds: Tensor, depth: Tensor, half_height: Tensor, demand: str) -> None:
    if not holds.all():
        worst = int((depth - half_height).argmin())
        raise ValueError(
            f"source {worst} breaks the surface: its centre is {depth[worst]:g} m deep and its top "
            f"{half_height[worst]:g} m above that; its depth must be {demand} {half_height[worst]:g} m"
        )

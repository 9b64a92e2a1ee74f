"""What sources below flat ground must satisfy."""

from __future__ import annotations

from torch import Tensor


def require_positive(name: str, values: Tensor, unit: str) -> None:
    """Raise ValueError unless all of the values are positive; NaN is not."""
    if not (values > 0).all():
        raise ValueError(f"{name} must be positive, {unit}; the least is {values.min():g}")


def require_below_ground(depth: Tensor, half_height: Tensor) -> None:
    """Raise ValueError unless all sources lie below the ground, with nothing above it.

    depth        (batch,)  of the centres [m]
    half_height  (batch,)  of the highest point of each source above its centre [m]
    """
    require_positive("depth", depth, "in metres downwards")
    if not (depth > half_height).all():
        worst = int((depth - half_height).argmin())
        raise ValueError(
            f"source {worst} breaks the surface: its centre is {depth[worst]:g} m deep and its top "
            f"{half_height[worst]:g} m above that; its depth must be greater than {half_height[worst]:g} m"
        )

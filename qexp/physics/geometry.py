"""Where pixels lie, the line of sight, how sources are oriented, and how deep they must lie."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def pixel_axis(count: int, spacing: Tensor) -> Tensor:
    """Positions of the pixels along one axis of an image; pixel `count // 2` of an even count is
    the origin.

    spacing  (batch,)        distance between neighbouring pixels [m]
    returns  (batch, count)  [m]; pixel i lies at (i - count/2) spacing
    """
    return spacing[:, None] * (
        torch.arange(count, dtype=spacing.dtype, device=spacing.device) - count / 2
    )


def grid(east: Tensor, north: Tensor) -> Tensor:
    """Every pixel of images whose columns lie at `east` and whose rows lie at `north`, row by row.

    east     (batch, width), north (batch, height)  [m]
    returns  (batch, height * width, 2)             east, north [m]
    """
    height = north.shape[-1]
    width = east.shape[-1]
    return torch.stack(
        [east[:, None, :].expand(-1, height, -1), north[:, :, None].expand(-1, -1, width)], dim=-1
    ).flatten(1, 2)


def line_of_sight(azimuth: Tensor, incidence: Tensor) -> Tensor:
    """Unit vector from the ground toward the satellite.

    azimuth    (batch,)    horizontal direction of the look from satellite to ground,
                           counter-clockwise from east [rad]
    incidence  (batch,)    angle from the vertical [rad]
    returns    (batch, 3)  east, north, up
    """
    horizontal = torch.sin(incidence)
    return torch.stack(
        [-torch.cos(azimuth) * horizontal, -torch.sin(azimuth) * horizontal, torch.cos(incidence)],
        dim=-1,
    )


def project(displacement: Tensor, direction: Tensor) -> Tensor:
    """Displacement along a direction, positive toward it.

    displacement  (batch, station, 3)  east, north, up [m]
    direction     (batch, 3)           unit vectors
    returns       (batch, station)     [m]
    """
    return torch.matmul(displacement, direction[:, :, None]).squeeze(-1)


RIGHT, LEFT = "right", "left"
"""The side of its path to which a satellite looks."""


def azimuth_of_heading(heading: Tensor, look: str = RIGHT) -> Tensor:
    """The horizontal direction of the look of a satellite that flies in a direction, for
    `line_of_sight`.

    heading  (batch,)  direction of flight, clockwise from north [rad]
    look     RIGHT or LEFT of the path
    returns  (batch,)  horizontal direction of the look from satellite to ground, counter-clockwise
                       from east [rad]

    To the right the unit vector from the ground to the satellite is (-cos h sin i, sin h sin i, cos
    i), for a heading h and an incidence i; to the left its horizontal part is the opposite.
    """
    return -heading if look == RIGHT else torch.pi - heading


def distances(points: Tensor, others: Tensor) -> Tensor:
    """Distance of every place from every other: (point, other) [m], for (point, 2) and (other, 2)
    [m].

    By differences: products would lose most digits of coordinates that are large, such as
    northings.
    """
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


# Orientation of sources with three axes.


def clockwise_rotation(angles: Tensor) -> Tensor:
    """R = Rz Ry Rx, the rotation about east first, then about north, then about the vertical.

    angles   (batch, 3)     omega_x, omega_y, omega_z [rad], clockwise for one who looks along the
                            axis's negative direction
    returns  (batch, 3, 3)  axis i of the source is column i: east, north, up
    """
    (cx, sx), (cy, sy), (cz, sz) = ((angle.cos(), angle.sin()) for angle in angles.unbind(-1))
    unit = torch.ones_like(cx)
    zero = torch.zeros_like(cx)
    about_x = torch.stack([unit, zero, zero, zero, cx, sx, zero, -sx, cx], -1).unflatten(-1, (3, 3))
    about_y = torch.stack([cy, zero, -sy, zero, unit, zero, sy, zero, cy], -1).unflatten(-1, (3, 3))
    about_z = torch.stack([cz, sz, zero, -sz, cz, zero, zero, zero, unit], -1).unflatten(-1, (3, 3))
    rotation: Tensor = about_z @ about_y @ about_x
    return rotation


# Sources below topography, by kernels for a half-space with a flat surface.

STATIONS = 65536
"""Stations computed at a time, which bounds the memory that they take."""


def over_topography(
    kernel: Callable[[Tensor, Tensor], Tensor],
    source: Tensor,
    stations: Tensor,
    elevation: Tensor,
    depth: int = 2,
) -> Tensor:
    """The displacement by a kernel, with the depth of the source counted from the elevation of each
    station.

    kernel     sources (batch, k), stations (batch, station, 2) → displacement (batch, station, 3)
    source     (batch, k)                            its depth counted from elevation 0 [m]
    stations   (station, 2), (batch, station, 2)     east, north [m]
    elevation  (station,)                            [m]
    depth      number of the column of the source's depth
    returns    (batch, station, 3)                   displacement east, north, up [m]

    The varying-depth correction: under each station the ground is a half-space whose surface passes
    through it. An approximation: slopes neither tilt nor concentrate the stresses. Raises
    ValueError as the kernel does, also if a source is above the lowest station.
    Williams and Wadge (1998), Geophys. Res. Lett. 25, 1549-1552.
    """
    count = len(elevation)
    lifted = torch.zeros(count, source.shape[1], dtype=source.dtype, device=source.device)
    lifted[:, depth] = elevation.to(lifted)
    stations = stations.expand(len(source), -1, -1)
    samples = max(1, STATIONS // count)
    blocks = [
        kernel((sources[:, None, :] + lifted).flatten(0, 1), positions.reshape(-1, 1, 2)).reshape(
            -1, count, 3
        )
        for sources, positions in zip(source.split(samples), stations.split(samples), strict=True)
    ]
    return torch.cat(blocks)


def depth_below(source: Tensor, stations: Tensor) -> Tensor:
    """Depths of sources, (batch, 1); or below each station, (batch, station), where these have a
    third column, the elevation from which depths count: of kernels that need no source for each
    station.
    """
    depth = source[:, 2, None]
    return depth if stations.shape[-1] == 2 else depth + stations[..., 2].to(source)


# What sources below flat ground must satisfy.


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
    """Raise ValueError if a source lies above the surface, which it may touch by rounding."""
    require_positive("depth", depth, "in metres downwards")
    rounding = 16 * torch.finfo(depth.dtype).eps
    _require(depth >= half_height * (1 - rounding), depth, half_height, "at least")


def _require(holds: Tensor, depth: Tensor, half_height: Tensor, demand: str) -> None:
    if not holds.all():
        worst = int((depth - half_height).argmin())
        raise ValueError(
            f"source {worst} breaks the surface: its centre is {depth[worst]:g} m deep and its top"
            f" {half_height[worst]:g} m above that; its depth must be {demand}"
            f" {half_height[worst]:g} m"
        )

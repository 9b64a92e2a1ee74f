"""Viewing geometry of a satellite: pixel positions and the line of sight."""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_axis(count: int, spacing: Tensor) -> Tensor:
    """Positions of the pixels along one axis of an image; pixel `count // 2` of an even count is the origin.

    spacing  (batch,)        distance between neighbouring pixels [m]
    returns  (batch, count)  [m]; pixel i lies at (i - count/2) spacing
    """
    return spacing[:, None] * (torch.arange(count, dtype=spacing.dtype, device=spacing.device) - count / 2)


def grid(east: Tensor, north: Tensor) -> Tensor:
    """Every pixel of images whose columns lie at `east` and whose rows lie at `north`, row by row.

    east     (batch, width), north (batch, height)  [m]
    returns  (batch, height * width, 2)             east, north [m]
    """
    height, width = north.shape[-1], east.shape[-1]
    return torch.stack(
        [east[:, None, :].expand(-1, height, -1), north[:, :, None].expand(-1, -1, width)], dim=-1
    ).flatten(1, 2)


def line_of_sight(azimuth: Tensor, incidence: Tensor) -> Tensor:
    """Unit vector from the ground toward the satellite.

    azimuth    (batch,)    horizontal direction of the look from satellite to ground, counter-clockwise from east [rad]
    incidence  (batch,)    angle from the vertical [rad]
    returns    (batch, 3)  east, north, up
    """
    horizontal = torch.sin(incidence)
    return torch.stack(
        [-torch.cos(azimuth) * horizontal, -torch.sin(azimuth) * horizontal, torch.cos(incidence)], dim=-1
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
    """The horizontal direction of the look of a satellite that flies in a direction, for `line_of_sight`.

    heading  (batch,)  direction of flight, clockwise from north [rad]
    look     RIGHT or LEFT of the path
    returns  (batch,)  horizontal direction of the look from satellite to ground, counter-clockwise from east [rad]

    To the right the unit vector from the ground to the satellite is (-cos h sin i, sin h sin i, cos i), for a heading h
    and an incidence i; to the left its horizontal part is the opposite.
    """
    return -heading if look == RIGHT else torch.pi - heading


def distances(places: Tensor, others: Tensor) -> Tensor:
    """Distance of every place from every other: (point, other) [m], for (point, 2) and (other, 2) [m].

    By differences: products would lose most digits of coordinates that are large, such as northings.
    """
    between: Tensor = torch.cdist(places, others, compute_mode="donot_use_mm_for_euclid_dist")
    return between

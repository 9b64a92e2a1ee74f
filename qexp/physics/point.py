"""Point sources of deformation in an elastic half-space, and a small sphere."""

from __future__ import annotations

import torch
from torch import Tensor

from qexp.physics.geometry import (
    clockwise_rotation,
    depth_below,
    require_below_ground,
    require_positive,
)
from qexp.physics.interpolation import KernelImage

BLOCK = 128
"""Images made at a time, so that intermediate results stay in the processor's cache."""

ORDER = 2
"""Sharpness of point sources, see `smooth_image`: 1 / R^5, which others smooth over an extent."""


def mogi(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by buried point sources.

    source    (batch, 4)           east, north, depth [m], volume change [m3]
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its own
    returns   (batch, station, 3)  displacement east, north, up [m]

    Depth counts downwards, inflation is positive; holds for sources much smaller than their depth.
    Raises ValueError if a depth is not positive.
    Mogi (1958), Bull. Earthq. Res. Inst. Univ. Tokyo 36, 99-134, written for a volume change.
    """
    depth = source[:, 2, None]
    require_positive("depth", depth, "in metres downwards")
    offset = _offset(source, stations, depth)
    squared_distance = offset.square().sum(dim=-1, keepdim=True)
    volume_change = source[:, None, 3]
    return (
        (1 - poisson_ratio) / torch.pi * volume_change[..., None] * offset / squared_distance**1.5
    )


def mogi_image(
    source: Tensor, east: Tensor, north: Tensor, direction: Tensor, poisson_ratio: float = 0.25
) -> Tensor:
    """The displacement of `mogi` along a direction, on a grid: each column has one east, each row
    one north.

    Arguments and result are those of a `KernelImage`. Equal to projecting `mogi`, but distance and
    dot product are sums of a row and a column, so that only a handful of operations touch every
    pixel, in blocks. Raises ValueError if a depth is not positive.
    """
    source_east, source_north, depth, volume_change = source[:, None, :].unbind(-1)
    require_positive("depth", depth, "in metres downwards")
    strength = (1 - poisson_ratio) / torch.pi * volume_change
    toward_east, toward_north, toward_up = (strength[..., None] * direction[:, None, :]).unbind(-1)
    along_east = east - source_east
    along_north = north - source_north
    column = along_east * toward_east
    row = along_north * toward_north + depth * toward_up
    column_distance = along_east.square()
    row_distance = along_north.square() + depth.square()
    image = source.new_empty(len(source), north.shape[-1], east.shape[-1])
    for start in range(0, len(source), BLOCK):
        block = slice(start, start + BLOCK)
        squared_distance = column_distance[block, None, :] + row_distance[block, :, None]
        signal = column[block, None, :] + row[block, :, None]
        image[block] = signal / (squared_distance * squared_distance.sqrt())
    return image


def mctigue(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by spherical cavities under
    pressure.

    source    (batch, 5)           east, north, depth of the centre, radius [m], pressure over shear
                                   modulus
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its own
    returns   (batch, station, 3)  displacement east, north, up [m]

    Both orders of McTigue's expansion in radius over depth. The third power is that of `mogi`, with
    a volume change of pi radius^3 pressure / shear modulus. The sixth is the answer of the cavity
    to the stress that the free surface reflects onto it, with nu Poisson's ratio, d the depth and R
    the distance from the centre:

        u = (1 - nu) a^3 P/mu r/R^3 [1 + (a/d)^3 (15 (2 - nu) (d/R)^2 - 2 (1 + nu)) / (4 (7 - 5
        nu))]

    Deviations are of the order (a/d)^8. Raises ValueError if a sphere breaks the surface or its
    radius is not positive. McTigue (1987), J. Geophys. Res. 92(B12), 12931-12940, equations 52 and
    53 in closed form.
    """
    _require_spheres(source)
    depth, radius, pressure = source[:, None, 2:].unbind(-1)
    offset = _offset(source, stations, depth)
    squared_distance = offset.square().sum(dim=-1)
    reflected = (
        15 * (2 - poisson_ratio) * depth**2 / squared_distance - 2 * (1 + poisson_ratio)
    ) / (4 * (7 - 5 * poisson_ratio))
    strength = (1 - poisson_ratio) * pressure * radius**3 / squared_distance**1.5
    return (strength * (1 + (radius / depth) ** 3 * reflected))[..., None] * offset


def pcdm(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by a point compound dislocation
    model.

    source    (batch, 9)           east, north, depth [m], omega_x, omega_y, omega_z [rad],
                                   potency_x, potency_y, potency_z [m3]
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its
                                   own; a third column as of `geometry.depth_below`
    returns   (batch, station, 3)  displacement east, north, up [m]

    Three point tensile dislocations at right angles; the normal of each is a column of R = Rz Ry Rx
    (`clockwise_rotation`), its potency is area times opening. Holds for sources much smaller than
    their depth. Three equal potencies with the sum V equal `mogi` with a volume change of V (1 +
    ν)/(3 (1 − ν)). Potencies of opposite sign are allowed, though no single cavity has them. Raises
    ValueError if a depth is not positive. Nikkhoo, Walter, Lundgren and Prats-Iraola (2017),
    Geophys. J. Int. 208, 877-894. A tensile point of normal n: 2π u = V (3 (n·r)² r/R⁵ − (1 − 2ν)
    ∇(ẑ×n · ∇)² χ), χ = z ln(R + z) − R, which is Okada (1985), eq. 10, turned.
    """
    depth = depth_below(source, stations)
    require_positive("depth", depth, "in metres downwards")
    normals = clockwise_rotation(source[:, 3:6])
    potency = source[:, 6:9]
    offset = _offset(source, stations, depth)
    squared_distance = offset.square().sum(-1)
    distance = squared_distance.sqrt()
    strength = ((offset @ normals).square() * potency[:, None, :]).sum(-1)
    whole_space = 3 * (strength / (squared_distance.square() * distance))[..., None] * offset

    turned = torch.stack([-normals[:, 1], normals[:, 0]], 1)  # ẑ × n, horizontal: (batch, 2, 3)
    horizontal = offset[..., :2]
    spread = turned * potency[:, None, :] @ turned.mT
    pulled = horizontal @ spread
    trace = torch.diagonal(spread, dim1=-2, dim2=-1).sum(-1)[:, None]
    squared = (pulled * horizontal).sum(-1)
    total = distance + depth
    sideways = (trace[..., None] * horizontal + 2 * pulled) / (distance * total.square())[..., None]
    outward = squared * (3 * distance + depth) / (distance * total) ** 3
    upward = (trace - squared * (2 * distance + depth) / (squared_distance * total)) / (
        distance * total
    )
    surface = torch.cat([sideways - outward[..., None] * horizontal, upward[..., None]], -1)
    return (whole_space - (1 - 2 * poisson_ratio) * surface) / (2 * torch.pi)


def _offset(source: Tensor, stations: Tensor, depth: Tensor) -> Tensor:
    """From sources to stations, (batch, station, 3) east, north, up [m]."""
    along_east, along_north = (stations[..., axis] - source[:, None, axis] for axis in (0, 1))
    return torch.stack([along_east, along_north, depth.expand_as(along_east)], dim=-1)


def _centres_of_spheres(source: Tensor) -> Tensor:
    _require_spheres(source)
    return source.detach()[:, None, :3]


def _centres(source: Tensor) -> Tensor:
    require_positive("depth", source[:, 2], "in metres downwards")
    return source.detach()[:, None, :3]


mctigue_image = KernelImage(mctigue, _centres_of_spheres, order=ORDER)
"""The displacement of `mctigue` along a direction, on a grid: each column has one east, each row
one north.
"""

pcdm_image = KernelImage(pcdm, _centres, order=ORDER)
"""The displacement of `pcdm` along a direction, on a grid: each column has one east, each row one
north.
"""


def _require_spheres(source: Tensor) -> None:
    require_positive("radius", source[:, 3], "in metres")
    require_below_ground(source[:, 2], source[:, 3])

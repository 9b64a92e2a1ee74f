"""Penny-shaped cracks under pressure in an elastic half-space: horizontal discs such as sills."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from qexp.physics.ellipsoid import alike, enough_nodes, gauss_legendre
from qexp.physics.geometry import require_positive
from qexp.physics.interpolation import KernelImage

BLOCK = 32_768
"""Stations computed at a time, so that intermediate results stay in the processor's cache."""

LEAST_DEPTH = 0.01
"""Of a crack, in radii; NODES of the quadrature have enough nodes for this."""

MOST_TOGETHER = 128
"""Equations of cracks that are solved together. With several threads, torch and MKL give wrong solutions of batches of
systems with more than 150, or fail (https://github.com/pytorch/pytorch/issues/142815); a system alone is solved right.
"""


class _Crack(NamedTuple):
    """Cracks of radius 1, for pressures over shear modulus of 1; tensors (batch, node, 1), or (batch, node, station)
    where stations have depths of their own.
    """

    depth: Tensor
    """(batch, 1) or (batch, station)."""
    node: Tensor
    """Positions t between the centre, 0, and the rim, 1."""
    opening: Tensor
    """Weighted values of the function phi: the crack is open by its integral over phi(t) / sqrt(t^2 - r^2)."""
    slip: Tensor
    """Weighted values of the function psi, in the same way for the outward motion of the roof against the floor."""


def penny(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by horizontal circular cracks under pressure.

    source    (batch, 5)           east, north, depth, radius [m], pressure over shear modulus
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its own; a third column is
                                   the elevation from which depths count there, see `geometry.over_topography`
    returns   (batch, station, 3)  displacement east, north, up [m]

    Exact for any ratio of depth to radius: opening and slip of the crack are those that leave its faces
    with the pressure alone, stresses reflected by the surface included. Proportional to one minus Poisson's ratio.
    Raises ValueError if depth or radius is not positive, or if a crack is wider than a hundred times its depth.
    Fialko, Khazan and Simons (2001), Geophys. J. Int. 146, 181-190: two coupled Fredholm equations of the second kind,
    solved at the nodes of a Gauss-Legendre rule that converges as exp(-4 asinh(depth / radius) nodes).
    """
    if stations.shape[-1] == 2:
        return _moved(source, stations, source[:, 2, None], poisson_ratio)
    at = stations.expand(len(source), -1, -1)
    depth, count = source[:, 2, None] + at[..., 2], at.shape[1]
    together = _few_tell_all(depth / source[:, 3, None]) & (source.dtype == torch.float64)
    displacement = at.new_empty(at.shape)
    displacement[together] = _moved(source[together], at[together], depth[together], poisson_ratio)
    alone, rest = source[~together].repeat_interleave(count, 0), at[~together].reshape(-1, 1, 3)
    of_each = _moved(alone, rest, depth[~together].reshape(-1, 1), poisson_ratio)
    displacement[~together] = of_each.reshape(-1, count, 3)
    return displacement


def _moved(source: Tensor, stations: Tensor, depth: Tensor, poisson_ratio: float) -> Tensor:
    """Displacement of stations, (batch, station, 3), below which cracks have depths, (batch, 1 or station)."""
    _require_cracks(depth.amin(-1), source[:, 3])
    radius, strength = source[:, 3, None], 2 * (1 - poisson_ratio) * source[:, 4, None]
    east, north = ((stations[..., :2] - source[:, None, :2]) / radius[..., None]).unbind(-1)
    displacement = east.new_empty(*east.shape, 3)
    for members, crack in _blocks(depth.double() / radius.double(), east):
        outward, up = _displacement(east[members].square() + north[members].square(), crack)
        moved = torch.stack([outward * east[members], outward * north[members], up], dim=-1)
        displacement.index_copy_(0, members, moved * (strength * radius)[members, :, None])
    return displacement


def _rings(source: Tensor) -> Tensor:
    """Points of cracks on their rims, and within: (batch, point, 3) east, north, depth [m]."""
    _require_cracks(source[:, 2], source[:, 3])
    centre, radius = source.detach()[:, None, :3], source.detach()[:, None, 3:4]
    ring = torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    return centre + radius * torch.nn.functional.pad(ring, (0, 1)).to(source)


penny_image = KernelImage(penny, _rings)
"""The displacement of `penny` along a direction, on a grid: each column has one east, each row one north."""


def _displacement(squared_radius: Tensor, crack: _Crack) -> tuple[Tensor, Tensor]:
    """Displacement outward over the distance from the axis, and up; both (batch, station).

    The integrals over products of exp(-k h), sin(k t) or cos(k t), and Bessel functions of k r are parts of algebraic
    functions of the complex distance rho = sqrt(r^2 + c^2) from a point at the complex depth c = h - i t. With
    q = 1 / rho and beta = h (phi + i psi), the displacement is the imaginary part of the integral over t of

        up         (phi - psi h / t) q + c beta q^3
        outward/r  beta q^3 + psi / t (1 - (h + i t) q) / (rho + c)

    which is nowhere singular, the axis included. Real and imaginary parts are written out, since arithmetic
    with complex tensors takes several times longer.
    """
    outward, up = torch.zeros_like(squared_radius), torch.zeros_like(squared_radius)
    h = crack.depth
    for index in range(crack.node.shape[1]):
        t, phi, psi = (values[:, index] for values in (crack.node, crack.opening, crack.slip))
        real, imaginary = squared_radius + (h - t) * (h + t), 2 * h * t  # of rho^2, and minus the one of rho^2
        modulus = torch.sqrt(real.square() + imaginary.square())
        larger = ((modulus + real.abs()) / 2).sqrt()
        smaller = imaginary / (2 * larger)
        deep = real > 0
        rho_real, rho_imaginary = torch.where(deep, larger, smaller), torch.where(deep, smaller, larger)
        inverse = modulus.reciprocal()
        q_real, q_imaginary = rho_real * inverse, rho_imaginary * inverse
        square_real, square_imaginary = real * inverse * inverse, imaginary * inverse * inverse
        cube_real = q_real * square_real - q_imaginary * square_imaginary
        cube_imaginary = q_real * square_imaginary + q_imaginary * square_real
        beta_real = h * (phi * cube_real - psi * cube_imaginary)
        beta_imaginary = h * (phi * cube_imaginary + psi * cube_real)
        up = up + (phi - psi * h / t) * q_imaginary + h * beta_imaginary - t * beta_real
        sum_real, sum_imaginary = rho_real + h, rho_imaginary + t
        rest_real, rest_imaginary = 1 - h * q_real + t * q_imaginary, -h * q_imaginary - t * q_real
        quotient = rest_imaginary * sum_real + rest_real * sum_imaginary
        outward = outward + beta_imaginary + psi / t * quotient / (sum_real.square() + sum_imaginary.square())
    return outward, up


def _require_cracks(depth: Tensor, radius: Tensor) -> None:
    require_positive("depth", depth, "in metres downwards")
    require_positive("radius", radius, "in metres")
    if not (depth >= LEAST_DEPTH * radius).all():
        worst = int((depth / radius).argmin())
        raise ValueError(
            f"source {worst} is too wide for its depth: it is {depth[worst]:g} m deep and its radius is "
            f"{radius[worst]:g} m; the radius may be at most {1 / LEAST_DEPTH:g} times the depth"
        )


def _blocks(depth: Tensor, stations: Tensor) -> Iterator[tuple[Tensor, _Crack]]:
    """Numbers in the batch of the cracks that are computed together, and the cracks.

    depth     (batch, 1) or (batch, station)  in radii
    stations  (batch, station)  of any numbers
    """
    solved = 1 if depth.shape[1] == 1 or not len(depth) else int(_degrees(depth).max())

    def at_most(count: int) -> int:
        return min(BLOCK // max(1, stations.shape[1]), 2**22 // (2 * count) ** 2 // solved)

    for count, members in alike(enough_nodes(4 * torch.asinh(depth.amin(1)), stations.dtype), at_most):
        crack = _between(depth[members], solved, count) if solved > 1 else _crack(depth[members], count)
        yield members, _Crack(*(values.to(stations.dtype) for values in crack))


def _degrees(depth: Tensor) -> Tensor:
    """How many depths between the extremes, (batch, station), tell the others in double precision: (batch,).

    Solutions are analytic in the depth where its real part is positive, so that Chebyshev's interpolation over its
    logarithm converges in proportion to the size of the ellipse around both ends whose height is pi (Trefethen 2013,
    Approximation Theory and Approximation Practice, theorem 8.2).
    """
    shallowest, deepest = depth.log().aminmax(dim=1)
    height = torch.pi / (deepest - shallowest).clamp(min=1e-9)
    return 2 + (-math.log(torch.finfo(torch.float64).eps) / torch.asinh(height)).ceil()


def _few_tell_all(depth: Tensor) -> Tensor:
    """Whether few depths are less work to solve for than that below each station, (batch, station) in radii: (batch,).

    All of the few need as many nodes as the shallowest, and the work grows with the cube of their number.
    """
    nodes = enough_nodes(4 * torch.asinh(depth), torch.float64).double().pow(3)
    return _degrees(depth) * nodes.amax(1) < nodes.sum(1)


def _between(depth: Tensor, degrees: int, count: int) -> _Crack:
    """Cracks at depths, (batch, station), by those at Chebyshev's points between the least and the greatest."""
    logarithm = depth.log()
    shallowest, deepest = logarithm.amin(1, keepdim=True), logarithm.amax(1, keepdim=True)
    order = torch.arange(degrees, dtype=depth.dtype, device=depth.device)
    angle, middle, half = torch.pi * (order + 0.5) / degrees, (deepest + shallowest) / 2, (deepest - shallowest) / 2
    solved = _crack((middle + half * angle.cos()).exp().reshape(-1, 1), count)
    at = torch.where(half > 0, (logarithm - middle) / half, 0.0).clamp(-1, 1).arccos()
    coefficients = (angle[:, None] * order).cos() * (2 / degrees)
    coefficients[:, 0] /= 2
    weights = coefficients @ (order[:, None] * at[:, None]).cos()
    opening, slip = (values[..., 0].unflatten(0, (-1, degrees)).mT @ weights for values in solved[2:])
    return _Crack(depth, solved.node[:1].expand(len(depth), -1, -1), opening, slip)


def _crack(depth: Tensor, count: int) -> _Crack:
    """Solve for opening and slip; depth (batch, 1) in radii.

    After Fialko and others (2001): with x = k h and j(u) = sin(u) / u - cos(u), the tractions
    reflected by the surface make phi and psi differ from 2 / pi t and 0 by the kernels (times 2 / pi)

        opening, opening   integral over k of (1 + 2 x + 2 x^2) exp(-2 x) sin(k t) sin(k s)
        opening, slip      integral over k of -2 x^2 exp(-2 x) sin(k t) j(k s)
        slip, slip         integral over k of (1 - 2 x + 2 x^2) exp(-2 x) j(k t) j(k s)

    phi is odd and psi even, so that the positive nodes of a rule from -1 to 1 suffice.
    """
    points, weights = (values[count:].to(depth.device) for values in gauss_legendre(2 * count))
    h, t, s = depth[:, :, None], points[:, None], points
    difference, total = t - s, t + s
    near, far = 4 * h**2 + difference**2, 4 * h**2 + total**2
    openings = _openings(h, near) - _openings(h, far)
    crossed = 2 * h**2 * (difference * (16 * h**2 - near) / near**3 + total * (16 * h**2 - far) / far**3)
    crossed = crossed - h**2 / s * ((8 * h**2 - near) / near**2 - (8 * h**2 - far) / far**2)
    slips = h / (t * s) * (_slips_by_parts(h, near) - _slips_by_parts(h, far)) + _slips(h, near) + _slips(h, far)
    kernel = torch.cat([torch.cat([openings, crossed], 2), torch.cat([crossed.mT, slips], 2)], 1)
    system = torch.eye(2 * count, dtype=depth.dtype, device=depth.device) - 2 / torch.pi * kernel * weights.repeat(2)
    full_space = torch.cat([2 / torch.pi * points, torch.zeros_like(points)]).expand(len(depth), -1)
    if 2 * count > MOST_TOGETHER:
        solution = torch.stack([torch.linalg.solve(*crack) for crack in zip(system, full_space, strict=True)])
    else:
        solution = torch.linalg.solve(system, full_space)
    opening, slip = solution.unflatten(1, (2, count)).unbind(1)
    of_nodes = (points.expand(len(depth), -1), opening * weights, slip * weights)
    return _Crack(depth, *(values[..., None] for values in of_nodes))


def _openings(h: Tensor, square: Tensor) -> Tensor:
    return 4 * h**3 * (16 * h**2 - square) / square**3


def _slips(h: Tensor, square: Tensor) -> Tensor:
    return 2 * h * (32 * h**4 - 10 * h**2 * square + square**2) / square**3


def _slips_by_parts(h: Tensor, square: Tensor) -> Tensor:
    return square.log() + (10 * h**2 * square - 16 * h**4) / square**2

"""Penny-shaped cracks under pressure in an elastic half-space: horizontal discs such as sills."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from qexp.physics.ellipsoid import ERROR, TOGETHER, alike, enough_nodes, gauss_legendre
from qexp.physics.geometry import require_positive
from qexp.physics.interpolation import (
    KernelImage,
    chebyshev_analysis,
    chebyshev_angles,
    chebyshev_polynomials,
)

BLOCK = 32_768
"""Stations computed at a time, so that intermediate results stay in the processor's cache."""

LEAST_DEPTH = 0.01
"""Of a crack, in radii; NODES of the quadrature have enough nodes for this."""

MOST_TOGETHER = 128
"""Equations of cracks that are solved together. With several threads, torch and MKL give wrong
solutions of batches of systems with more than 150, or fail
(https://github.com/pytorch/pytorch/issues/142815); a system alone is solved right.
"""


class _Crack(NamedTuple):
    """Cracks of radius 1, for pressures over shear modulus of 1; tensors (node, batch, 1)."""

    depth: Tensor
    """(batch, 1)."""
    node: Tensor
    """Positions t between the centre, 0, and the rim, 1."""
    opening: Tensor
    """Weighted values of phi: the crack is open by the integral of phi(t) / sqrt(t^2 - r^2)."""
    slip: Tensor
    """Weighted values of psi, likewise for the outward motion of the roof against the floor."""


def penny(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by horizontal circular cracks under
    pressure.

    source    (batch, 5)           east, north, depth, radius [m], pressure over shear modulus
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its own
    returns   (batch, station, 3)  displacement east, north, up [m]

    Exact for any ratio of depth to radius: opening and slip of the crack are those that leave its
    faces with the pressure alone, stresses reflected by the surface included. Proportional to one
    minus Poisson's ratio. Raises ValueError if depth or radius is not positive, or if a crack is
    wider than a hundred times its depth. Fialko, Khazan and Simons (2001), Geophys. J. Int. 146,
    181-190: two coupled Fredholm equations of the second kind, solved at the nodes of a
    Gauss-Legendre rule that converges as exp(-4 asinh(depth / radius) nodes).
    """
    _require_cracks(source[:, 2], source[:, 3])
    depth = source[:, 2, None]
    radius = source[:, 3, None]
    strength = 2 * (1 - poisson_ratio) * source[:, 4, None]
    east, north = ((stations - source[:, None, :2]) / radius[..., None]).unbind(-1)
    displacement = east.new_empty(*east.shape, 3)
    for members, displaced in _blocks(depth.double() / radius.double(), east):
        outward, upward = displaced(east[members].square() + north[members].square())
        moved = torch.stack([outward * east[members], outward * north[members], upward], dim=-1)
        displacement.index_copy_(0, members, moved * (strength * radius)[members, :, None])
    return displacement


def _rings(source: Tensor) -> Tensor:
    """Points of cracks on their rims, and within: (batch, point, 3) east, north, depth [m]."""
    _require_cracks(source[:, 2], source[:, 3])
    centre = source.detach()[:, None, :3]
    radius = source.detach()[:, None, 3:4]
    ring = torch.tensor(
        [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]]
    )
    return centre + radius * torch.nn.functional.pad(ring, (0, 1)).to(source)


penny_image = KernelImage(penny, _rings)
"""The displacement of `penny` along a direction, on a grid: each column has one east, each row one
north.
"""


def _displacement(crack: _Crack, squared_radius: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement outward over the distance from the axis, and up; both (batch, station).

    The integrals over products of exp(-k h), sin(k t) or cos(k t), and Bessel functions of k r are
    parts of algebraic functions of the complex distance rho = sqrt(r^2 + c^2) from a point at the
    complex depth c = h - i t. With q = 1 / rho and beta = h (phi + i psi), the displacement is the
    imaginary part of the integral over t of

        upward         (phi - psi h / t) q + c beta q^3
        outward/r  beta q^3 + psi / t (1 - (h + i t) q) / (rho + c)

    which is nowhere singular, the axis included. Real and imaginary parts are written out, since
    arithmetic with complex tensors takes several times longer.
    """
    outward = torch.zeros_like(squared_radius)
    upward = torch.zeros_like(squared_radius)
    h = crack.depth
    together = max(1, TOGETHER // max(1, squared_radius.numel()))
    for t, phi, psi in zip(*(values.split(together) for values in crack[1:]), strict=True):
        # of rho^2, and minus the one of rho^2
        real = squared_radius + (h - t) * (h + t)
        imaginary = 2 * h * t
        modulus = torch.sqrt(real.square() + imaginary.square())
        larger = ((modulus + real.abs()) / 2).sqrt()
        smaller = imaginary / (2 * larger)
        deep = real > 0
        rho_real = torch.where(deep, larger, smaller)
        rho_imaginary = torch.where(deep, smaller, larger)
        inverse = modulus.reciprocal()
        q_real = rho_real * inverse
        q_imaginary = rho_imaginary * inverse
        square_real = real * inverse * inverse
        square_imaginary = imaginary * inverse * inverse
        cube_real = q_real * square_real - q_imaginary * square_imaginary
        cube_imaginary = q_real * square_imaginary + q_imaginary * square_real
        beta_real = h * (phi * cube_real - psi * cube_imaginary)
        beta_imaginary = h * (phi * cube_imaginary + psi * cube_real)
        sum_real = rho_real + h
        sum_imaginary = rho_imaginary + t
        rest_real = 1 - h * q_real + t * q_imaginary
        rest_imaginary = -h * q_imaginary - t * q_real
        quotient = rest_imaginary * sum_real + rest_real * sum_imaginary
        rest = psi / t * quotient / (sum_real.square() + sum_imaginary.square())
        terms = (
            (phi - psi * h / t) * q_imaginary,
            h * beta_imaginary,
            t * beta_real,
            beta_imaginary,
            rest,
        )
        # always in this order: the same bits
        for first, second, third, fourth, fifth in zip(*terms, strict=True):
            upward = upward + first + second - third
            outward = outward + fourth + fifth
    return outward, upward


def _require_cracks(depth: Tensor, radius: Tensor) -> None:
    require_positive("depth", depth, "in metres downwards")
    require_positive("radius", radius, "in metres")
    if not (depth >= LEAST_DEPTH * radius).all():
        worst = int((depth / radius).argmin())
        raise ValueError(
            f"source {worst} is too wide for its depth: it is {depth[worst]:g} m deep and its"
            f" radius is {radius[worst]:g} m; the radius may be at most {1 / LEAST_DEPTH:g} times"
            " the depth"
        )


def _blocks(
    depth: Tensor, stations: Tensor
) -> Iterator[tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]]:
    """Numbers in the batch of the cracks that are computed together, and their displacement by
    squared radius.

    depth     (batch, 1)        in radii
    stations  (batch, station)  of any numbers
    """
    most = BLOCK // max(1, stations.shape[1])
    if stations.dtype == torch.float64:
        numbers = (torch.asinh(1 / depth.detach()[:, 0]) / RANGE).long().clamp(max=INTERVALS - 1)
        for number in numbers.unique().tolist():
            for members in (numbers == number).nonzero()[:, 0].split(max(1, most)):
                yield members, partial(_between, depth[members], number)
        return
    counts = enough_nodes(4 * torch.asinh(depth[:, 0]), stations.dtype)
    for count, members in alike(counts, lambda count: min(most, 2**22 // (2 * count) ** 2)):
        crack = _Crack(*(values.to(stations.dtype) for values in _crack(depth[members], count)))
        yield members, partial(_displacement, crack)


# In double precision, the displacement is interpolated between that of other cracks. Times (r^2 +
# c^2)^(3/2), where c^2 = h^2 + 1, it is a function of x = (c^2 - r^2) / (c^2 + r^2), which is 1 on
# the axis and -1 far away. Opening and slip are analytic, so that only the rim and its reflections
# make branch points, i h, -i h and beyond; in radius over depth, 1 / h, they are i, -i and beyond.
# With h x = sinh(y asinh(h)) and 1 / h = sinh(v), Chebyshev's polynomials converge as exp(-asinh(pi
# / length) degree) in intervals of y asinh(h) and v (Trefethen 2013, Approximation Theory and
# Approximation Practice, theorem 8.2).

INTERVALS = 6
RANGE = math.asinh(1 / LEAST_DEPTH) / INTERVALS
"""Number of the intervals of v in which cracks are alike, and their length."""

WIDE, WIDE_ERROR = 4, 1e-11
"""Number of an interval, from 0, and the error left from there on: rounding errors are larger."""


def _between(depth: Tensor, number: int, squared_radius: Tensor) -> tuple[Tensor, Tensor]:
    """`_displacement` of cracks of an interval, without solving for each; depth (batch, 1) in
    radii.
    """
    table = _table(number).to(depth.device)
    most = (number + 1) * RANGE
    scale = depth.square() + 1
    closeness = (
        torch.asinh(math.sinh(most) * (scale - squared_radius) / (scale + squared_radius)) / most
    )
    deep = torch.stack(
        chebyshev_polynomials(2 * (torch.asinh(1 / depth) / RANGE - number) - 1, table.shape[2])
    )
    coefficients = (table @ deep.flatten(1)).unflatten(2, depth.shape)
    sums = (coefficients * torch.stack(chebyshev_polynomials(closeness, table.shape[1]))).sum(1)
    outward, upward = sums / (scale + squared_radius) ** 1.5
    return outward, upward * depth


@lru_cache
@torch.no_grad()
def _table(number: int) -> Tensor:
    """Coefficients of the displacement outward over distance, and up over depth: (2, degree in y,
    degree in v).
    """
    falls = -math.log(ERROR[torch.float64] if number < WIDE else WIDE_ERROR)
    most = (number + 1) * RANGE
    wide = math.sinh((number + 1) * RANGE)
    rates = math.asinh(math.pi / RANGE), math.asinh(math.pi / 2 / most), 4 * math.asinh(1 / wide)
    *degrees, count = (math.ceil(1 + falls / rate) for rate in rates)
    v, y = (chebyshev_angles(n).cos() for n in degrees)
    x = torch.sinh(y * most) / wide
    values = []
    for h in (1 / torch.sinh((number + (1 + v) / 2) * RANGE))[:, None].split(
        max(1, 2**18 // count**2)
    ):
        scale = 2 * (h.square() + 1) / (1 + x)
        outward, upward = _displacement(_crack(h, count), scale - h.square() - 1)
        values.append(torch.stack([outward, upward / h]) * scale**1.5)
    by_v, by_y = (chebyshev_analysis(n) for n in degrees)
    return by_y.mT @ torch.cat(values, 1).mT @ by_v


def _crack(depth: Tensor, count: int) -> _Crack:
    """Solve for opening and slip; depth (batch, 1) in radii.

    After Fialko and others (2001): with x = k h and j(u) = sin(u) / u - cos(u), the tractions
    reflected by the surface make phi and psi differ from 2 / pi t and 0 by the kernels (times 2 /
    pi)

        opening, opening   integral over k of (1 + 2 x + 2 x^2) exp(-2 x) sin(k t) sin(k s)
        opening, slip      integral over k of -2 x^2 exp(-2 x) sin(k t) j(k s)
        slip, slip         integral over k of (1 - 2 x + 2 x^2) exp(-2 x) j(k t) j(k s)

    phi is odd and psi even, so that the positive nodes of a rule from -1 to 1 suffice.
    """
    points, weights = (values[count:].to(depth.device) for values in gauss_legendre(2 * count))
    h = depth[:, :, None]
    t = points[:, None]
    s = points
    difference = t - s
    total = t + s
    shorter = 4 * h**2 + difference**2
    longer = 4 * h**2 + total**2
    openings = _openings(h, shorter) - _openings(h, longer)
    crossed = (
        2
        * h**2
        * (
            difference * (16 * h**2 - shorter) / shorter**3
            + total * (16 * h**2 - longer) / longer**3
        )
    )
    crossed = crossed - h**2 / s * (
        (8 * h**2 - shorter) / shorter**2 - (8 * h**2 - longer) / longer**2
    )
    slips = (
        h / (t * s) * (_slips_by_parts(h, shorter) - _slips_by_parts(h, longer))
        + _slips(h, shorter)
        + _slips(h, longer)
    )
    kernel = torch.cat([torch.cat([openings, crossed], 2), torch.cat([crossed.mT, slips], 2)], 1)
    system = torch.eye(
        2 * count, dtype=depth.dtype, device=depth.device
    ) - 2 / torch.pi * kernel * weights.repeat(2)
    full_space = torch.cat([2 / torch.pi * points, torch.zeros_like(points)]).expand(len(depth), -1)
    if 2 * count > MOST_TOGETHER:
        solution = torch.stack(
            [torch.linalg.solve(*crack) for crack in zip(system, full_space, strict=True)]
        )
    else:
        solution = torch.linalg.solve(system, full_space)
    opening, slip = solution.unflatten(1, (2, count)).unbind(1)
    nodes = points.expand(len(depth), -1), opening * weights, slip * weights
    return _Crack(depth, *(values.mT.contiguous()[..., None] for values in nodes))


def _openings(h: Tensor, square: Tensor) -> Tensor:
    return 4 * h**3 * (16 * h**2 - square) / square**3


def _slips(h: Tensor, square: Tensor) -> Tensor:
    return 2 * h * (32 * h**4 - 10 * h**2 * square + square**2) / square**3


def _slips_by_parts(h: Tensor, square: Tensor) -> Tensor:
    return square.log() + (10 * h**2 * square - 16 * h**4) / square**2

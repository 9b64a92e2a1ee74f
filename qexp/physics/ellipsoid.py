"""Ellipsoidal cavities under pressure in an elastic half-space.

A prolate spheroid under pressure strains an unbounded body as a uniform moment density in its
volume does (Eshelby 1957, Proc. R. Soc. A 241, 376-396), and its volume as strain nuclei on the
line between its foci. Yang, Davis and Dieterich (1988) put the nuclei of a half-space there. Their
integrals along that line have a closed form, which loses its digits where the spheroid is vertical,
horizontal, nearly a sphere, or small against its depth; here they are taken by Gauss-Legendre
quadrature. It converges as the power -2 n of the ratio of axes by which a confocal ellipse can grow
before it touches the surface, so that some five to fifteen nodes suffice, and no geometry is a
special one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import cycle
from operator import neg
from typing import NamedTuple

import torch
from scipy.special import roots_legendre
from torch import Tensor

from qexp.physics.geometry import depth_below, require_below_ground, require_positive
from qexp.physics.interpolation import smooth_image
from qexp.physics.point import ORDER

BLOCK = 65_536
"""Stations computed at a time, so that intermediate results stay in the processor's cache."""

TOGETHER = 8192
"""Stations times nodes computed at a time, where that is more than stations."""

SHORT_LINE = 0
"""Number of nodes that stands for the rule of `_short_line`."""

SERIES_ECCENTRICITY = 0.3
"""Squared eccentricity below which the shape factors are summed as a series of TERMS terms."""

TERMS = 32

SMALL_FOCAL_DISTANCE = 0.25
"""Distance of the foci, in depths, below which images are as sharp as those of point sources."""

LONGEST_SPHEROID = 100
"""Times its width that any spheroid may be long; longer ones must not come close to the surface."""


class _Spheroids(NamedTuple):
    """What the nuclei of sources are made from; tensors (batch, 1), with double precision."""

    depth: Tensor
    focus: Tensor
    """Distance of the foci from the centre [m]; without a gradient, since it is a root."""
    squared_focus: Tensor
    horizontal: Tensor
    """Of the unit vector along the axis."""
    downward: Tensor
    pair: Tensor
    """Weight of the force pairs along the axis, distributed as 1 - s^2 between the foci."""
    isotropic: Tensor
    """Weight of the centres of dilatation that are so distributed."""
    ends: Tensor
    """Weight of the centres of dilatation that are distributed as 1 - 3 s^2."""
    sheared: Tensor
    """Weight, as of `pair`, of what the surface adds to them."""


class _Line(NamedTuple):
    """Nuclei on the lines between the foci; tensors (batch, 1), with nodes (batch, node)."""

    depth: Tensor
    """Or (batch, station)."""
    horizontal: Tensor
    downward: Tensor
    node: Tensor
    """Position along the axis [m]."""
    directed: Tensor
    """Weight of 3 q^2 r / R^5: q is the distance along the axis, r = (across, along, up)."""
    isotropic: Tensor
    """Weight of r / R^3."""
    sheared: Tensor


def yang(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by prolate spheroidal cavities
    under pressure.

    source    (batch, 8)           east, north, depth of the centre, semi-major, semi-minor axis
                                   [m], strike, plunge [rad], pressure over shear modulus
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its
                                   own; a third column as of `geometry.depth_below`
    returns   (batch, station, 3)  displacement east, north, up [m]

    The long axis plunges down toward the strike, clockwise from north; plunge counts from the
    horizontal. The two other axes are equal, and not longer. Any plunge will do, and a sphere: then
    it is the leading order of `mctigue`. The pressure is that on the cavity in an unbounded body,
    as published: stress that the surface reflects onto it is not answered, which matters at depths
    below two semi-axes or so. Raises ValueError where a spheroid breaks the surface, has an axis
    that is not positive, is wider than long, or is a needle that comes close to the surface. Yang,
    Davis and Dieterich (1988), J. Geophys. Res. 93(B5), 4249-4257, with moments for any Poisson's
    ratio.
    """
    depth = depth_below(source, stations)
    lowest = torch.cat([source[:, :2], depth.amin(1, keepdim=True), source[:, 3:]], dim=1)
    _require_spheroids(lowest)
    cos = torch.cos(source[:, 5, None])
    sin = torch.sin(source[:, 5, None])
    east, north = (stations[..., :2] - source[:, None, :2]).unbind(-1)
    x = east * cos - north * sin
    y = east * sin + north * cos
    displacement = x.new_empty(*x.shape, 3)
    for members, line in _blocks(_spheroids(lowest.double(), poisson_ratio), x.dtype, x.shape[1]):
        sideways, lengthwise, upward = _displacement(
            x[members], y[members], line._replace(depth=depth[members].to(x.dtype))
        )
        to_east = cos[members]
        to_north = sin[members]
        moved = torch.stack(
            [
                sideways * to_east + lengthwise * to_north,
                lengthwise * to_east - sideways * to_north,
                upward,
            ],
            dim=-1,
        )
        displacement.index_copy_(0, members, moved)
    return displacement


def yang_image(
    source: Tensor, east: Tensor, north: Tensor, direction: Tensor, poisson_ratio: float = 0.25
) -> Tensor:
    """The displacement of `yang` along a direction, on a grid: each column has one east, each row
    one north.

    Arguments, result and accuracy are those of a `KernelImage`. Raises ValueError as `yang` does.
    """
    _require_spheroids(source)
    spheroids = _spheroids(source.double(), poisson_ratio)
    strike = source[:, 5, None, None]
    cos = torch.cos(strike)
    sin = torch.sin(strike)
    toward_east, toward_north, toward_up = direction[:, :, None, None].unbind(1)
    look = torch.cat(
        [toward_east * cos - toward_north * sin, toward_east * sin + toward_north * cos, toward_up],
        dim=1,
    )

    def evaluate(members: Tensor, east: Tensor, north: Tensor) -> Tensor:
        image = east.new_empty(len(members), north.shape[1] * east.shape[1])
        some = _Spheroids(*(values[members] for values in spheroids))
        for block, line in _blocks(some, east.dtype, image.shape[1], members):
            rows = members[block]
            column = (east[block] - source[rows, :1])[:, None, :]
            row = (north[block] - source[rows, 1:2])[:, :, None]
            x = (column * cos[rows] - row * sin[rows]).flatten(1)
            y = (column * sin[rows] + row * cos[rows]).flatten(1)
            toward_across, toward_along, toward_up = look[rows].unbind(1)
            sideways, lengthwise, upward = _displacement(x, y, line)
            displacement = torch.addcmul(
                torch.addcmul(toward_across * sideways, toward_along, lengthwise), toward_up, upward
            )
            image = image.index_copy_(0, block, displacement)
        return image.view(len(members), north.shape[1], east.shape[1])

    foci = _focal_points(source.detach())
    small = (foci[:, 0] - foci[:, 2]).norm(dim=-1) < SMALL_FOCAL_DISTANCE * source.detach()[:, 2]
    return smooth_image(
        evaluate,
        foci,
        east,
        north,
        torch.where(small, ORDER, 0),
    )


def _focal_points(source: Tensor) -> Tensor:
    """(batch, 3, 3) east, north, depth of the foci and the point between them."""
    semi_major, semi_minor, strike, plunge = source[:, 3:7].unbind(-1)
    horizontal = torch.cos(plunge)
    axis = torch.stack(
        [horizontal * torch.sin(strike), horizontal * torch.cos(strike), torch.sin(plunge)], dim=-1
    )
    focus = ((semi_major - semi_minor) * (semi_major + semi_minor)).sqrt()
    shares = torch.linspace(-1, 1, 3, dtype=source.dtype, device=source.device)
    return source[:, None, :3] + (focus[:, None] * shares)[..., None] * axis[:, None, :]


def _displacement(x: Tensor, y: Tensor, line: _Line) -> tuple[Tensor, Tensor, Tensor]:
    """Displacement across the axis, along its horizontal projection, and up; all (batch, station)
    [m].

    x, y  (batch, station)  offset of the stations from the centre, across and along [m]

    A moment tensor n n + m I at a depth D, seen from the surface: with t = 1 - 2 nu and r = (x, y,
    D), it is 1 / (4 pi mu) [3 q^2 r / R^5 - t cos^2(plunge) I + (2 t m - 2 nu) r / R^3], where I
    are the I1, I3 and I5 of Okada (1985), Bull. Seismol. Soc. Am. 75, 1135-1154, equations 10 and
    11.
    """
    depths = cycle(line.depth.split(BLOCK, 1))  # as many, or one for all
    parts = [
        _displacement_of_some(some_x, some_y, line._replace(depth=depth))
        for some_x, some_y, depth in zip(x.split(BLOCK, 1), y.split(BLOCK, 1), depths, strict=False)
    ]
    if len(parts) == 1:
        return parts[0]
    sideways, lengthwise, upward = (
        torch.cat(components, dim=1) for components in zip(*parts, strict=True)
    )
    return sideways, lengthwise, upward


def _displacement_of_some(x: Tensor, y: Tensor, line: _Line) -> tuple[Tensor, Tensor, Tensor]:
    """Displacement of at most BLOCK stations, see `_displacement`."""
    horizontal = line.horizontal
    downward = line.downward
    squared_x = x.square()
    foot = y * horizontal - line.depth * downward
    off_axis = y * downward + line.depth * horizontal
    off_axis = torch.addcmul(squared_x, off_axis, off_axis)
    both = firsts = turning = upward = torch.zeros_like(x)
    # Several nodes of few stations together in double precision; sums in their order.
    together = max(1, TOGETHER // max(1, x.numel())) if x.dtype == torch.float64 else 1
    of_nodes = (values.mT[..., None].split(together) for values in line[3:])
    for node, directed, isotropic, sheared in zip(*of_nodes, strict=True):
        depth = line.depth + node * downward
        ahead = foot - node
        square = ahead.square()
        squared_distance = square + off_axis
        inverse = squared_distance.rsqrt()
        inverse_square = inverse.square()
        radial = torch.addcmul(isotropic, directed, square * inverse_square) * (
            inverse * inverse_square
        )
        # With T = R + depth, K = 1 / (R T^2) and L = K T, the surface adds x (3 K - A), y (K - A)
        # and L - B, where A = x^2 K (1 / R^2 + 2 / (R T)) and B = x^2 L (1 / R^2 + 1 / (R T)).
        shrink = torch.addcmul(depth, squared_distance, inverse).reciprocal()
        longer = inverse * shrink
        other = squared_x * longer
        rest = 1 - torch.addcmul(other, squared_x, inverse_square)
        pull = sheared * longer
        first = pull * shrink
        sideways = torch.addcmul(radial, first, rest - other)
        for some, aside, once, deep, outward, drawn, left in zip(
            node, sideways, first, depth, radial, pull, rest, strict=True
        ):
            both = both + aside
            firsts = firsts + once
            turning = torch.addcmul(turning, some, aside)
            upward = torch.addcmul(torch.addcmul(upward, deep, outward), drawn, left)
    return x * (both + 2 * firsts), y * both - horizontal * turning, upward


def _require_spheroids(source: Tensor) -> None:
    depth, semi_major, semi_minor, _, plunge = source[:, 2:7].unbind(-1)
    require_positive("semi_minor", semi_minor, "in metres")
    if not (semi_major >= semi_minor).all():
        worst = int((semi_major - semi_minor).argmin())
        raise ValueError(
            f"semi_major must be at least semi_minor; source {worst} has {semi_major[worst]:g} m"
            f" and {semi_minor[worst]:g} m"
        )
    require_below_ground(
        depth, torch.hypot(semi_major * torch.sin(plunge), semi_minor * torch.cos(plunge))
    )


def _blocks(
    spheroids: _Spheroids, dtype: torch.dtype, stations: int, numbers: Tensor | None = None
) -> Iterator[tuple[Tensor, _Line]]:
    """Numbers in the batch of the sources that are computed together, and their lines, for stations
    (batch, n).

    numbers  (batch,), those of the sources in errors, if they are part of a larger batch
    """
    short = _short(dtype)
    most = BLOCK // max(1, stations)
    for count, members in alike(_node_counts(spheroids, dtype, numbers), lambda count: most):
        line = _line(_Spheroids(*(values[members] for values in spheroids)), count, short)
        yield members, _Line(*(values.to(dtype) for values in line))


@torch.no_grad()
def _node_counts(spheroids: _Spheroids, dtype: torch.dtype, numbers: Tensor | None) -> Tensor:
    """(batch,) numbers of nodes, SHORT_LINE for `_short_line`."""
    # Of the confocal spheroid that touches the surface: complex points of the line at distance 0
    # lie as far away.
    depth = spheroids.depth
    fall = spheroids.focus * spheroids.downward
    wide = torch.hypot(depth, spheroids.focus * spheroids.horizontal)
    narrow = ((depth - fall) * (depth + fall)).sqrt()
    counts = enough_nodes(2 * torch.log((wide + narrow) / spheroids.focus), dtype)
    if not (counts > 0).all():
        worst = int(counts.argmin())
        number = worst if numbers is None else int(numbers[worst])
        raise ValueError(
            f"source {number} is too slender for how close it comes to the surface: the depth of"
            f" its centre is {depth[worst, 0]:g} m, and that of its upper focus only"
            f" {depth[worst, 0] - fall[worst, 0]:g} m; make it wider or deeper"
        )
    return torch.where(spheroids.focus < _short(dtype) * depth, SHORT_LINE, counts).squeeze(1)


def _short(dtype: torch.dtype) -> float:
    """Distance between the foci, as a fraction of twice the depth, below which `_short_line` is
    exact to rounding.
    """
    return 3e-4 if dtype == torch.float64 else 3e-2


def _spheroids(source: Tensor, poisson_ratio: float) -> _Spheroids:
    _, _, depth, semi_major, semi_minor, _, plunge, pressure = source[:, :, None].unbind(1)
    tension = 1 - 2 * poisson_ratio
    flat = (semi_minor / semi_major).square()
    squared_focus = (semi_major - semi_minor) * (semi_major + semi_minor)
    eccentricity = squared_focus / semi_major.square()
    factor, share = _shape_factors(eccentricity, flat)
    # Eshelby's equations for the strain of a cavity under pressure, with everything cancelled that
    # can be.
    determinant = tension * (1 - share).square() + 2 * factor * (flat * (1 - share) + 1 + share)
    strength = pressure * semi_major * semi_minor.square() * (1 - poisson_ratio) / (2 * determinant)
    pair = -2 * eccentricity * factor * strength
    horizontal = torch.cos(plunge)
    return _Spheroids(
        depth=depth,
        focus=squared_focus.detach().sqrt(),
        squared_focus=squared_focus,
        horizontal=horizontal,
        downward=torch.sin(plunge),
        pair=pair,
        isotropic=strength * (tension * (1 - share) + 6 * factor),
        ends=-2 * flat * factor * strength,
        sheared=-tension * horizontal.square() * pair,
    )


def _line(spheroids: _Spheroids, count: int, short: float) -> _Line:
    if count == SHORT_LINE:
        node, parabola, ends = _short_line(spheroids.squared_focus, short * spheroids.depth)
    else:
        points, weights = (values.to(spheroids.depth.device) for values in gauss_legendre(count))
        node = spheroids.squared_focus.sqrt() * points
        parabola = weights * (1 - points.square())
        ends = weights * (1 - 3 * points.square())
    return _Line(
        depth=spheroids.depth,
        horizontal=spheroids.horizontal,
        downward=spheroids.downward,
        node=node,
        directed=3 * spheroids.pair * parabola,
        isotropic=spheroids.isotropic * parabola + spheroids.ends * ends,
        sheared=spheroids.sheared * parabola,
    )


def _short_line(squared_focus: Tensor, reach: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes at 0 and +-reach, and weights with the right moments up to the third.

    For lines shorter than `reach`, down to length zero: it is smooth in the square of the length,
    whose root is not.
    """
    ratio = squared_focus / reach.square()
    node = reach * torch.tensor([-1.0, 0.0, 1.0], dtype=reach.dtype, device=reach.device)
    parabola = torch.cat([2 / 15 * ratio, 4 / 3 - 4 / 15 * ratio, 2 / 15 * ratio], dim=1)
    ends = torch.cat([-4 / 15 * ratio, 8 / 15 * ratio, -4 / 15 * ratio], dim=1)
    return node, parabola, ends


def _shape_factors(eccentricity: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Integrals over a prolate spheroid of squared eccentricity e^2 = 1 - flat: (N_b - N_a) / e^2
    and N_a.

    N_a and N_b are the depolarisation factors along its long and its other axes, N_a + 2 N_b = 1.
    """
    small = eccentricity.clamp(max=SERIES_ECCENTRICITY)
    large = eccentricity.clamp(min=SERIES_ECCENTRICITY)
    third = fifth = torch.zeros_like(small)
    for term in reversed(range(TERMS if (eccentricity < SERIES_ECCENTRICITY).any() else 0)):
        third = third * small + 1 / (2 * term + 3)
        fifth = fifth * small + 1 / (2 * term + 5)
    inverse_tanh = torch.log1p(large.sqrt()) - flat.clamp(max=1 - SERIES_ECCENTRICITY).log() / 2
    closed_third = (inverse_tanh / large.sqrt() - 1) / large
    closed_fifth = (closed_third - 1 / 3) / large
    third = torch.where(eccentricity < SERIES_ECCENTRICITY, third, closed_third)
    fifth = torch.where(eccentricity < SERIES_ECCENTRICITY, fifth, closed_fifth)
    return 1.5 * (third - fifth), (1 - eccentricity) * third


# Gauss-Legendre quadrature with as many nodes as each source of a batch needs.

NODES = (
    4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024,
    1536, 2048,
)  # fmt: skip
"""Numbers of nodes to choose from, so that sources that need about as many go together."""

ERROR = {torch.float64: 5e-15, torch.float32: 1e-6}
"""Largest power of the rate of convergence that is left; the error of the integral is some ten
times as large.
"""


@lru_cache
def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes between -1 and 1, ascending, and their weights: (count,) each, with double
    precision.
    """
    points, weights = roots_legendre(count)
    return torch.from_numpy(points), torch.from_numpy(weights)


@torch.no_grad()
def enough_nodes(rate: Tensor, dtype: torch.dtype) -> Tensor:
    """How many nodes each integral needs for the digits of a type of numbers; 0 where no number of
    NODES is enough.

    rate  (batch,)  the error falls as exp(-rate * nodes)
    """
    wanted = 1 - math.log(ERROR.get(dtype, ERROR[torch.float32])) / rate.double()
    choices = torch.tensor((*NODES, 0), device=rate.device)
    return choices[torch.searchsorted(choices[:-1].double(), wanted)]


def alike(counts: Tensor, at_most: Callable[[int], int]) -> Iterator[tuple[int, Tensor]]:
    """The batch in blocks of sources that need about as many nodes, and no more of them than
    `at_most` of this number.

    About as many are three quarters or more.

    counts  (batch,)
    yields  the largest number of nodes that a source of the block needs, and the numbers of these
            in the batch
    """
    order = counts.argsort(descending=True, stable=True)
    needed = counts[order].tolist()
    start = 0
    while start < len(needed):
        count = needed[start]
        fewest = bisect_right(needed, -0.75 * count, start, key=neg)
        end = min(fewest, start + max(1, at_most(count)))
        yield count, order[start:end]
        start = end

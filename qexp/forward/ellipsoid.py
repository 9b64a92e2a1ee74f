"""Ellipsoidal cavities under pressure in an elastic half-space.

A prolate spheroid under pressure strains an unbounded body as a uniform moment density in its volume does
(Eshelby 1957, Proc. R. Soc. A 241, 376-396), and its volume as strain nuclei on the line between its foci. Yang,
Davis and Dieterich (1988) put the nuclei of a half-space there. Their integrals along that line have a closed form,
which loses its digits where the spheroid is vertical, horizontal, nearly a sphere, or small against its depth; here
they are taken by Gauss-Legendre quadrature. It converges as the power -2 n of the ratio of axes by which a
confocal ellipse can grow before it touches the surface, so that some five to fifteen nodes suffice, and no geometry
is a special one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from qexp.forward.burial import require_below_ground, require_positive
from qexp.forward.quadrature import alike, enough_nodes, gauss_legendre

BLOCK = 32_768
"""Stations or pixels computed at a time, so that intermediate results stay in the processor's cache."""

SHORT = 3
"""Number of nodes that stands for the rule of `_short_line`."""

SERIES = 0.3
"""Squared eccentricity below which the shape factors are summed as a series of TERMS terms."""

TERMS = 32


class _Line(NamedTuple):
    """Sources as nuclei on the lines between the foci; tensors (batch, 1), with nodes (batch, node)."""

    depth: Tensor
    horizontal: Tensor
    """Of the unit vector along the axis."""
    downward: Tensor
    node: Tensor
    """Position along the axis [m]."""
    directed: Tensor
    """Weight of 3 q^2 r / R^5, with q the distance along the axis and r = (across, along, up), as below."""
    isotropic: Tensor
    """Weight of r / R^3."""
    sheared: Tensor
    """Weight of what the surface adds to a directed force pair."""


def yang(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by prolate spheroidal cavities under pressure.

    source    (batch, 8)           east, north, depth of the centre, semi-major, semi-minor axis [m], strike,
                                   plunge [rad], pressure over shear modulus
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its own
    returns   (batch, station, 3)  displacement east, north, up [m]

    The long axis plunges down toward the strike, clockwise from north; plunge counts from the horizontal. The two
    other axes are equal, and not longer. Any plunge will do, and a sphere: then it is the leading order of `mctigue`.
    The pressure is that on the cavity in an unbounded body, as published: stress that the surface reflects onto it is
    not answered, which matters at depths below two semi-axes or so. Raises ValueError where a spheroid breaks
    the surface, has an axis that is not positive, or is wider than long.
    Yang, Davis and Dieterich (1988), J. Geophys. Res. 93(B5), 4249-4257, with moments for any Poisson's ratio.
    """
    _require_spheroids(source)
    displacement = source.new_empty(len(source), stations.shape[-2], 3)
    for block, line in _blocks(source, stations.shape[-2], poisson_ratio):
        cos, sin = torch.cos(source[block, 5, None]), torch.sin(source[block, 5, None])
        offset = (stations[block] if stations.ndim == 3 else stations) - source[block, None, :2]
        east, north = offset.unbind(-1)
        across, along, up = _displacement(east * cos - north * sin, east * sin + north * cos, line)
        displacement[block] = torch.stack([across * cos + along * sin, along * cos - across * sin, up], dim=-1)
    return displacement


def yang_image(source: Tensor, east: Tensor, north: Tensor, direction: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """The displacement of `yang` along a direction, on a grid: each column has one east, each row one north.

    source     (batch, 8)                 as for `yang`
    east       (batch or 1, width)        [m]
    north      (batch or 1, height)       [m]
    direction  (batch, 3)                 unit vectors east, north, up
    returns    (batch, height, width)     [m], positive along the direction

    Raises ValueError as `yang` does.
    """
    _require_spheroids(source)
    height, width = north.shape[-1], east.shape[-1]
    strike = source[:, 5, None]
    cos, sin = torch.cos(strike), torch.sin(strike)
    column, row = east - source[:, :1], north - source[:, 1:2]
    toward_east, toward_north, toward_up = direction[:, :, None].unbind(1)
    toward_across, toward_along = toward_east * cos - toward_north * sin, toward_east * sin + toward_north * cos
    image = source.new_empty(len(source), height, width)
    for block, line in _blocks(source, height * width, poisson_ratio):
        x = ((column * cos)[block, None, :] - (row * sin)[block, :, None]).flatten(1)
        y = ((column * sin)[block, None, :] + (row * cos)[block, :, None]).flatten(1)
        across, along, up = _displacement(x, y, line)
        seen = toward_across[block] * across + toward_along[block] * along + toward_up[block] * up
        image[block] = seen.unflatten(1, (height, width))
    return image


def _displacement(x: Tensor, y: Tensor, line: _Line) -> tuple[Tensor, Tensor, Tensor]:
    """Displacement across the axis, along its horizontal projection, and up; all (batch, station) [m].

    x, y  (batch, station)  offset of the stations from the centre, across and along [m]

    A moment tensor n n + m I at a depth D, seen from the surface: with t = 1 - 2 nu and r = (x, y, D), it is
    1 / (4 pi mu) [3 q^2 r / R^5 - t cos^2(plunge) I + (2 t m - 2 nu) r / R^3], where I are the I1, I3 and I5
    of Okada (1985), Bull. Seismol. Soc. Am. 75, 1135-1154, equations 10 and 11.
    """
    beside = x.square()
    foot = y * line.horizontal - line.depth * line.downward
    to_axis = beside + (y * line.downward + line.depth * line.horizontal).square()
    across, along, up = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for index in range(line.node.shape[1]):
        node, directed, isotropic, sheared = (
            values[:, index, None] for values in (line.node, line.directed, line.isotropic, line.sheared)
        )
        depth = line.depth + node * line.downward
        square = (foot - node).square()
        squared = to_axis + square
        distance = squared.sqrt()
        inverse = distance.reciprocal()
        inverse_square = inverse * inverse
        radial = (isotropic + directed * (square * inverse_square)) * (inverse * inverse_square)
        below = distance + depth
        shrink = below.reciprocal()
        first = sheared * (inverse * (shrink * shrink))
        second = beside * inverse_square * first
        outward = first - torch.addcmul(second, second, distance * shrink, value=2)
        both = radial + outward
        across = torch.add(across + both, first, alpha=2)
        along = torch.addcmul(along, both, y - node * line.horizontal)
        up = torch.addcmul(up + depth * radial, first, below)
        up = torch.addcmul(up, second, below + distance, value=-1)
    return across * x, along, up


def _require_spheroids(source: Tensor) -> None:
    depth, semi_major, semi_minor, _, plunge = source[:, 2:7].unbind(-1)
    require_positive("semi_minor", semi_minor, "in metres")
    if not (semi_major >= semi_minor).all():
        worst = int((semi_major - semi_minor).argmin())
        raise ValueError(
            f"semi_major must be at least semi_minor; source {worst} has {semi_major[worst]:g} m and "
            f"{semi_minor[worst]:g} m"
        )
    require_below_ground(depth, torch.hypot(semi_major * torch.sin(plunge), semi_minor * torch.cos(plunge)))


def _blocks(source: Tensor, stations: int, poisson_ratio: float) -> Iterator[tuple[Tensor, _Line]]:
    """Places in the batch of sources that are computed together, and their lines."""
    for count, places in alike(_node_counts(source), lambda count: BLOCK // max(1, stations)):
        yield places, _line(source[places], count, poisson_ratio)


@torch.no_grad()
def _node_counts(source: Tensor) -> Tensor:
    """(batch,) numbers of nodes, SHORT for `_short_line`."""
    depth, semi_major, semi_minor, _, plunge = source[:, 2:7].double().unbind(-1)
    focus = ((semi_major - semi_minor) * (semi_major + semi_minor)).sqrt()
    # Of the confocal spheroid that touches the surface: complex points of the line at distance 0 lie as far away.
    wide = torch.hypot(depth, focus * torch.cos(plunge))
    narrow = ((depth - focus * torch.sin(plunge)) * (depth + focus * torch.sin(plunge))).sqrt()
    counts = enough_nodes(2 * torch.log((wide + narrow) / focus), source.dtype)
    if not (counts > 0).all():
        worst = int(counts.argmin())
        raise ValueError(
            f"source {worst} is too slender for how close it comes to the surface; make it wider or deeper: "
            f"semi_minor is {semi_minor[worst]:g} m, semi_major {semi_major[worst]:g} m, depth {depth[worst]:g} m"
        )
    return torch.where(focus < _short(source.dtype) * depth, SHORT, counts)


def _short(dtype: torch.dtype) -> float:
    """Distance between the foci, as a fraction of twice the depth, below which `_short_line` is exact to rounding."""
    return 3e-4 if dtype == torch.float64 else 3e-2


def _line(source: Tensor, count: int, poisson_ratio: float) -> _Line:
    """Nodes and weights, computed with double precision."""
    _, _, depth, semi_major, semi_minor, _, plunge, pressure = source[:, :, None].double().unbind(1)
    tension = 1 - 2 * poisson_ratio
    flat = (semi_minor / semi_major).square()
    eccentricity = (semi_major - semi_minor) * (semi_major + semi_minor) / semi_major.square()
    factor, share = _shape_factors(eccentricity, flat)
    # Eshelby's equations for the strain of a cavity under pressure, with everything cancelled that can be.
    determinant = tension * (1 - share).square() + 2 * factor * (flat * (1 - share) + 1 + share)
    strength = pressure * semi_major * semi_minor.square() * (1 - poisson_ratio) / (2 * determinant)
    if count == SHORT:
        node, parabola, ends = _short_line(eccentricity * semi_major.square(), _short(source.dtype) * depth)
    else:
        points, weights = (values.to(source.device) for values in gauss_legendre(count))
        node = (eccentricity.sqrt() * semi_major) * points
        parabola, ends = weights * (1 - points.square()), weights * (1 - 3 * points.square())
    pair = -2 * eccentricity * factor * strength * parabola
    horizontal, downward = torch.cos(plunge), torch.sin(plunge)
    line = _Line(
        depth=depth,
        horizontal=horizontal,
        downward=downward,
        node=node,
        directed=3 * pair,
        isotropic=strength * ((tension * (1 - share) + 6 * factor) * parabola - 2 * flat * factor * ends),
        sheared=-tension * horizontal.square() * pair,
    )
    return _Line(*(values.to(source.dtype) for values in line))


def _short_line(squared_focus: Tensor, reach: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes at 0 and +-reach, and weights with the right moments up to the third.

    For lines shorter than `reach`, down to length zero: it is smooth in the square of the length, whose root is not.
    """
    ratio = squared_focus / reach.square()
    node = reach * torch.tensor([-1.0, 0.0, 1.0], dtype=reach.dtype, device=reach.device)
    parabola = torch.cat([2 / 15 * ratio, 4 / 3 - 4 / 15 * ratio, 2 / 15 * ratio], dim=1)
    ends = torch.cat([-4 / 15 * ratio, 8 / 15 * ratio, -4 / 15 * ratio], dim=1)
    return node, parabola, ends


def _shape_factors(eccentricity: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Integrals over a prolate spheroid of squared eccentricity e^2 = 1 - flat: (N_b - N_a) / e^2 and N_a.

    N_a and N_b are the depolarisation factors along its long and its other axes, N_a + 2 N_b = 1.
    """
    small, large = eccentricity.clamp(max=SERIES), eccentricity.clamp(min=SERIES)
    third = fifth = torch.zeros_like(small)
    for term in reversed(range(TERMS)):
        third, fifth = third * small + 1 / (2 * term + 3), fifth * small + 1 / (2 * term + 5)
    inverse_tanh = torch.log1p(large.sqrt()) - flat.clamp(max=1 - SERIES).log() / 2
    closed_third = (inverse_tanh / large.sqrt() - 1) / large
    closed_fifth = (closed_third - 1 / 3) / large
    third = torch.where(eccentricity < SERIES, third, closed_third)
    fifth = torch.where(eccentricity < SERIES, fifth, closed_fifth)
    return 1.5 * (third - fifth), (1 - eccentricity) * third

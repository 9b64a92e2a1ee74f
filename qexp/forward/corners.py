"""Rectangles below the surface, seen from their corners: what `rectangle` adds up, for every station."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

NOTHING = 1e-150
"""[m] Least R + l, so that its logarithm is finite on the line through a level edge at the surface."""


class Rectangles(NamedTuple):
    """Rectangles wholly below the surface, one per source."""

    centre: Tensor
    """East, north, depth: (batch, 3) [m]."""
    axes: Tensor
    """Columns: unit vectors east, north, up of the first edge, the second edge, the normal: (batch, 3, 3)."""
    semi_axes: Tensor
    """Half the length of both edges: (batch, 2) [m]."""
    burgers: Tensor
    """Along the axes: (batch, 3) [m]."""

    def of(self, rows: Tensor) -> Rectangles:
        return Rectangles(*(part[rows] for part in self))

    def with_edges_upward(self) -> Rectangles:
        """The same rectangles, their edges turned so that none points down; the normal stays."""
        downward = (self.axes[:, 2] < 0) & torch.tensor([True, True, False], device=self.axes.device)
        sign = torch.where(downward, -1.0, 1.0).to(self.axes)
        return Rectangles(self.centre, self.axes * sign[:, None], self.semi_axes, self.burgers * sign)


def fields_of(rectangles: Rectangles, stations: Tensor, terms: int, level: bool) -> Iterator[Tensor]:
    """What depends on the stations, summed over the corners: (batch, 1, station) each."""
    corners = _Corners.of(rectangles, stations, level)
    (first, other_first), (second, other_second) = corners.first, corners.second
    across, square = corners.across, corners.across.square()
    beyond = [distance + corners.second[index % 2] for index, distance in enumerate(corners.distance)]
    yield _half_solid_angle([far + corners.first[index // 2] for index, far in enumerate(beyond)], across, square)
    # The difference of 1/(R (R + l)) at the ends of an edge, for both edges of a direction.
    products = [distance * far for distance, far in zip(corners.distance, beyond, strict=True)]
    one, other = ((products[k + 1] - products[k]) / (products[k] * products[k + 1]) for k in (0, 2))
    yield across * torch.addcmul(first * one, other_first, other, value=-1)
    yield square * (one - other)
    # Along the first edges R + l may vanish: 1/(R (R + l)) is (1 − l/R)/(R² − l²), of which the 1 cancels.
    inverse = [distance.reciprocal() for distance in corners.distance]
    yield across * _mixed_difference(inverse)
    one, other = (
        torch.addcmul(other_first * inverse[k + 2], first, inverse[k], value=-1) / torch.addcmul(square, along, along)
        for k, along in enumerate(corners.second)
    )
    yield across * torch.addcmul(second * one, other_second, other, value=-1)
    yield square * (one - other)
    del products, inverse, one, other
    if terms:
        yield _logarithm_of_ratio(beyond)
        yield from _powers(corners, beyond, terms + 2)
    else:
        yield from _along_edges(corners, beyond, 1)
    if not level:
        beyond = [distance + corners.first[index // 2] for index, distance in enumerate(corners.distance)]
        yield from _along_edges(corners, [far.clamp(min=NOTHING) for far in beyond], 0)


class _Corners(NamedTuple):
    """From the corners to the stations: (batch, 1, station), or (batch, 1, 1) if the same for all stations.

    Two values are those of the ends + and − of an edge, four those of the ends ++, +−, −+, −− of the first and second
    edge, whose terms are added with the signs +, −, −, +.
    """

    axes: Tensor
    """As those of the rectangles: (batch, 3, 3, 1, 1)."""
    east: Tensor
    """From the centre, like north and across."""
    north: Tensor
    first: list[Tensor]
    second: list[Tensor]
    across: Tensor
    height: list[Tensor]
    """Of the stations above the corner."""
    distance: list[Tensor]

    @classmethod
    def of(cls, rectangles: Rectangles, stations: Tensor, level: bool) -> _Corners:
        centre_east, centre_north, depth = rectangles.centre[:, :, None, None].unbind(1)
        east, north = stations[:, :1] - centre_east, stations[:, 1:] - centre_north
        axes = rectangles.axes[..., None, None]
        along_first, along_second, across = (
            torch.addcmul(torch.addcmul(axes[:, 2, axis] * depth, axes[:, 0, axis], east), axes[:, 1, axis], north)
            for axis in range(3)
        )
        semi_first, semi_second = rectangles.semi_axes[..., None, None].unbind(1)
        first = [along_first + semi_first, along_first - semi_first]
        second = [along_second + semi_second, along_second - semi_second]
        square = across.square()
        from_first = [torch.addcmul(square, one, one) for one in second]
        rise_first, rise_second = semi_first * axes[:, 2, 0], semi_second * axes[:, 2, 1]
        tops = [depth] * 2 if level else [depth + rise_first, depth - rise_first]
        heights = [height for top in tops for height in (top + rise_second, top - rise_second)]
        return cls(
            axes=axes,
            east=east,
            north=north,
            first=first,
            second=second,
            across=across,
            height=heights,
            distance=[torch.addcmul(other, one, one).sqrt() for one in first for other in from_first],
        )


def _half_solid_angle(beyond: list[Tensor], across: Tensor, square: Tensor) -> Tensor:
    """Ω/2, the sum of arg(R + a + b + i h): less than π, so that one arctangent of the product gives it."""
    a, b, c, d = beyond
    along, other_along = torch.addcmul(-square, a, d), torch.addcmul(-square, b, c)
    aside, other_aside = a + d, b + c
    opposite = across * torch.addcmul(aside * other_along, along, other_aside, value=-1)
    adjacent = torch.addcmul(along * other_along, square, aside * other_aside)
    return torch.atan2(opposite, adjacent)


def _along_edges(corners: _Corners, beyond: list[Tensor], edge: int) -> Iterator[Tensor]:
    """The parts of Λ, P and Q of edges that are not steep."""
    yield _logarithm_of_ratio(beyond)
    past_top = [distance + height for distance, height in zip(corners.distance, corners.height, strict=True)]
    yield _logarithm_of_ratio(past_top)
    inverse = [far.reciprocal() for far in past_top]
    yield from inverse
    depths = _mixed_difference(inverse)
    yield corners.east * depths
    yield corners.north * depths
    del past_top, inverse, depths
    direction, side, normal = (corners.axes[:, :, axis] for axis in (edge, 1 - edge, 2))
    shrunk = 1 / (1 + direction[:, 2])
    sideways = (direction[:, 0] * side[:, 1] - direction[:, 1] * side[:, 0]) * shrunk
    skew = (direction[:, 0] * normal[:, 1] - direction[:, 1] * normal[:, 0]) * shrunk
    along, beside = (corners.second, corners.first) if edge else (corners.first, corners.second)
    ends = (0, 1, 2, 3) if edge else (0, 2, 1, 3)
    lean = [
        corners.distance[index] + torch.addcmul(corners.height[index] * shrunk, along[end % 2], shrunk)
        for end, index in enumerate(ends)
    ]
    across = skew * corners.across
    yield _tilt(lean, [torch.addcmul(across, one, sideways) for one in beside])


def _tilt(lean: list[Tensor], turned: list[Tensor]) -> Tensor:
    """The sum of −arg(1 + x), less than π; two ends of one edge, two of the other."""
    a, b, c, d = lean
    one, other = turned
    along, other_along = torch.addcmul(a * b, one, one), torch.addcmul(c * d, other, other)
    aside, other_aside = one * (b - a), other * (d - c)
    return torch.atan2(
        torch.addcmul(aside * other_along, along, other_aside, value=-1),
        torch.addcmul(along * other_along, aside, other_aside),
    )


def _powers(corners: _Corners, beyond: list[Tensor], highest: int) -> Iterator[Tensor]:
    """The powers 1, 2, … of (a + i h)/(C (R + l)): real and imaginary parts, with h as it is to the left of a."""
    axes = corners.axes[..., 0, 0]
    first, normal = upended(axes, 0), upended(axes, 2)
    handedness = (normal.imag * first.real - normal.real * first.imag).sign()[..., None]
    across, one_and_up = handedness * corners.across, 1 + corners.axes[:, 2, 1]
    inverse = [(far * one_and_up).reciprocal() for far in beyond]
    reals = [corners.first[index // 2] * one for index, one in enumerate(inverse)]
    imaginaries = [across * one for one in inverse]
    # z² = 2 Re(z) z − |z|²
    squares = [torch.addcmul(real.square(), other, other) for real, other in zip(reals, imaginaries, strict=True)]
    twice = [2 * real for real in reals]
    before = ([torch.ones_like(real) for real in reals], [torch.zeros_like(real) for real in reals])
    now = (reals, imaginaries)
    for power in range(highest):
        yield from (_mixed_difference(part) for part in now)
        if power < highest - 1:
            later = tuple(
                [torch.addcmul(a * b, c, d, value=-1) for a, b, c, d in zip(twice, part, squares, last, strict=True)]
                for part, last in zip(now, before, strict=True)
            )
            before, now = now, (later[0], later[1])


def _mixed_difference(values: list[Tensor]) -> Tensor:
    return (values[0] - values[1]) - (values[2] - values[3])


def _logarithm_of_ratio(values: list[Tensor]) -> Tensor:
    return (values[0] * values[3] / (values[1] * values[2])).log()


def upended(axes: Tensor, axis: int) -> Tensor:
    """An axis at right angles to the second edge, turned with that into the vertical: (batch, 1), of modulus 1."""
    edge, other = axes[..., 1], axes[..., axis]
    tangent = torch.complex(edge[:, :1], edge[:, 1:2])
    return torch.complex(other[:, :1], other[:, 1:2]) - tangent * other[:, 2:] / (1 + edge[:, 2:])

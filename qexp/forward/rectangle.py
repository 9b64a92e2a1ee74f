"""A rectangular dislocation of any orientation, seen at the surface of an elastic half-space, in closed form.

With r = (east, north, z) from a point of the source up to the station, R its length, n the normal of the rectangle and
b its Burgers vector (the movement of the side that n points to, against the other), the displacement of the surface is

    2π u = b Ω + h ∇S − (1 − 2ν) ∇W,    h = n·r,    Ω = ∬ h/R³,    S = ∬ b·∇(1/R),
    W = ∬ (ẑ×b · ∇)(ẑ×n · ∇) χ,         χ = z ln(R + z) − R.

That is Volterra's integral over the displacement below a force on the surface (Boussinesq 1885, Cerruti 1882) by
reciprocity: the terms without ν are those of an incompressible full space, twice, and χ is harmonic, with χ₃₃ = 1/R.
One derivative is integrated away and the edges remain, and along an edge of direction t all is closed at the corners:
these are the expressions of Okada (1985) for a level edge, and of Comninou and Dundurs (1975) for any other.

Along an edge, with l = r·t, T = t₁ + i t₂, C = 1 + t₃, ρ = east + i north, and up to constants that cancel,

    Λ = ∫ χ₃₃ dl = ln(R + l) = −∫ (χ₁₁ + χ₂₂) dl
    P = ∫ (χ₁₃ + i χ₂₃) dl = (2/T*) ln(1 + x) + T Λ/C,    x = −T* κ,    κ = (ρ − T (l + z)/C) / (C (R + l))
    Q = ∫ (χ₁₁ − χ₂₂ + 2i χ₁₂) dl = (2/T*) (−ρ/(R + z) − t₃ P + T Λ/2)

where |1 + x|² = 2 (R + z) / (C (R + l)). For an edge that points up nothing meets the cut of the logarithm below the
surface. Near the vertical, where T vanishes, powers of κ take the place of what would be divided by it:

    P = −2κ (1 − x/2 + x²/3 − …) + T Λ/C
    Q = 4κ² (−1/2 + 2x/3 − 3x²/4 + …) − 4 (T/C) κ (1 − x/2 + x²/3 − …) + T² Λ/C²
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

STEEP = 0.05
"""Horizontal part of the unit vector along an edge below which the power series is used: the closed form would lose
its square in precision."""

FEWEST_TERMS, MOST_TERMS = 2, 11
"""Of the series beyond the first: even for exactly vertical edges two, whose coefficients have derivatives."""

SMALLEST_SQUARE = 1e-30
"""[m2] Keeps what is divided by a distance finite on edges at the surface; its numerator vanishes there."""


class Rectangles(NamedTuple):
    """Rectangles below the surface, one per source."""

    depth: Tensor
    """Of the centre: (batch,) [m]."""
    axes: Tensor
    """Columns: unit vectors east, north, up of the first edge, the second edge, the normal: (batch, 3, 3)."""
    semi_axes: Tensor
    """Half the length of both edges: (batch, 2) [m]."""
    burgers: Tensor
    """Along the axes: (batch, 3) [m]."""

    def with_edges_upward(self) -> Rectangles:
        """The same rectangles, their edges turned so that none points down; the normal stays."""
        downward = (self.axes[:, 2] < 0) & torch.tensor([True, True, False], device=self.axes.device)
        sign = torch.where(downward, -1.0, 1.0).to(self.axes)
        return Rectangles(self.depth, self.axes * sign[:, None], self.semi_axes, self.burgers * sign)


def surface_displacement(
    rectangles: Rectangles,
    position: Tensor,
    directions: Tensor,
    poisson_ratio: float,
    *,
    steep: bool,
    level: bool = False,
) -> Tensor:
    """Displacement of the surface along some directions.

    position    (batch, 2, station)          east and north of the stations from the centre [m]
    directions  (batch, direction, 3)        unit vectors east, north, up
    steep                                    whether the second edges are within STEEP of the vertical, or none is;
                                             first edges never are
    level                                    whether first edges are horizontal: they add nothing to W then
    returns     (batch, direction, station)  [m]
    """
    rectangles = rectangles.with_edges_upward()
    corners = _Corners.of(rectangles, position)
    fields, factors = _whole_space(rectangles, corners, directions)
    turned = _turned(_dot(rectangles.axes, rectangles.burgers))
    strike = _turned(rectangles.axes[..., 2])
    for edge in (1,) if level else (1, 0):
        along, side = rectangles.axes[..., edge], rectangles.axes[..., 1 - edge]
        strength = (2 * poisson_ratio - 1) * (strike.real * side[:, 0] + strike.imag * side[:, 1])
        weights = _Weights.of(along, directions, turned, strength)
        more, their_factors = (
            _steep_edge(rectangles, corners, weights) if edge and steep else _edge(rectangles, corners, weights, edge)
        )
        fields, factors = fields + more, factors + their_factors
    displacement: Tensor = torch.stack(factors, -1) @ torch.stack(fields, -2) / (2 * math.pi)
    return displacement


@dataclass(frozen=True)
class _Corners:
    """Vectors from the corners to the stations: (batch, station), but for what is the same for all stations.

    Four values are those of the corners at the ends ++, +−, −+, −− of the (first, second) edge; terms are added
    with the signs +, −, −, +. Two are those of both ends of one edge.
    """

    east: Tensor
    north: Tensor
    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    across: Tensor
    height: tuple[Tensor, ...]
    """Of the station above the corner: (batch, 1)."""
    offset: tuple[Tensor, ...]
    """Of the corner, from it to the centre, east + i north: (batch,)."""
    distance: tuple[Tensor, ...]
    beyond_second: tuple[Tensor, ...]
    """R + l along the second edge."""
    from_second: list[Tensor]
    """Squared distances from the lines through the two edges along the second axis."""
    from_first: list[Tensor]

    @classmethod
    def of(cls, rectangles: Rectangles, position: Tensor) -> _Corners:
        axes, (semi_first, semi_second) = rectangles.axes, rectangles.semi_axes[:, :, None].unbind(1)
        along = axes[:, :2].mT @ position + (axes[:, 2] * rectangles.depth[:, None])[..., None]
        first, second, across = along.unbind(1)
        firsts, seconds = (first + semi_first, first - semi_first), (second + semi_second, second - semi_second)
        square = across.square()
        first_squares = [one.square() for one in firsts]
        from_first = [(one.square() + square).clamp(min=SMALLEST_SQUARE) for one in seconds]
        distance = tuple((one + other).sqrt() for one in first_squares for other in from_first)
        shifts = [
            sign_first * semi_first * axes[..., 0] + sign_second * semi_second * axes[..., 1]
            for sign_first, sign_second in ((1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        return cls(
            east=position[:, 0],
            north=position[:, 1],
            first=firsts,
            second=seconds,
            across=across,
            height=tuple((rectangles.depth[:, None] + shift[:, 2:]).clamp(min=0) for shift in shifts),
            offset=tuple(torch.complex(shift[:, 0], shift[:, 1]) for shift in shifts),
            distance=distance,
            beyond_second=tuple(one + seconds[index % 2] for index, one in enumerate(distance)),
            from_second=[(one + square).clamp(min=SMALLEST_SQUARE) for one in first_squares],
            from_first=from_first,
        )

    def of_edge(self, edge: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """R + l and l at each corner."""
        if edge:
            return self.beyond_second, self.second * 2
        along = (self.first[0],) * 2 + (self.first[1],) * 2
        smallest = math.sqrt(SMALLEST_SQUARE)  # on the line through an edge at the surface, which must be level
        beyond = (distance + far for distance, far in zip(self.distance, along, strict=True))
        return tuple(one.clamp(min=smallest) for one in beyond), along


def _whole_space(rectangles: Rectangles, corners: _Corners, directions: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Fields, (batch, station), and factors, (batch, direction), of b Ω + h ∇S."""
    (first, other_first), (second, other_second), across = corners.first, corners.second, corners.across
    inverse = [1 / distance for distance in corners.distance]
    # 1/(R (R + l)) is (1 − l/R)/(R² − l²); the 1 cancels between the two ends of an edge.
    per_first = (second * inverse[0] - other_second * inverse[1]) / corners.from_second[0]
    other_per_first = (second * inverse[2] - other_second * inverse[3]) / corners.from_second[1]
    per_second = (first * inverse[0] - other_first * inverse[2]) / corners.from_first[0]
    other_per_second = (first * inverse[1] - other_first * inverse[3]) / corners.from_first[1]
    fields = [
        _half_solid_angle(corners),
        across * _mixed_difference(inverse),
        across * (other_first * other_per_first - first * per_first),
        across.square() * (other_per_first - per_first),
        across * (other_second * other_per_second - second * per_second),
        across.square() * (other_per_second - per_second),
    ]
    slip_first, slip_second, opening = rectangles.burgers[:, None, :].unbind(-1)
    seen_first, seen_second, seen_across = (directions @ rectangles.axes).unbind(-1)
    factors = [
        2 * (seen_first * slip_first + seen_second * slip_second + seen_across * opening),
        seen_second * slip_first + seen_first * slip_second,
        seen_first * slip_first - seen_across * opening,
        seen_across * slip_first + seen_first * opening,
        seen_second * slip_second - seen_across * opening,
        seen_across * slip_second + seen_second * opening,
    ]
    return fields, factors


def _half_solid_angle(corners: _Corners) -> Tensor:
    """Ω/2, the sum of arg(R + a + b + i h): less than π, so that one arctangent of the product gives it."""
    across, square = corners.across, corners.across.square()
    a, b, c, d = (beyond + corners.first[index // 2] for index, beyond in enumerate(corners.beyond_second))
    along, other_along = a * d - square, b * c - square
    aside, other_aside = across * (a + d), across * (b + c)
    return _angle(aside * other_along - along * other_aside, along * other_along + aside * other_aside)


@dataclass(frozen=True)
class _Weights:
    """Factors of Λ, P and Q in (1 − 2ν) ∇W along some directions; real parts of products, as complex numbers."""

    of_logarithm: Tensor
    of_up: Tensor
    of_horizontal: Tensor
    tangent: Tensor
    """T, and C below: (batch, 1)."""
    one_and_up: Tensor

    @classmethod
    def of(cls, along: Tensor, directions: Tensor, turned: Tensor, strength: Tensor) -> _Weights:
        """Of v·M·b with M the tensor of integrals: v₃ Re(b* P) + (Re(v* b* Q) − Λ Re(v* b))/2."""
        seen = torch.complex(directions[..., 0], -directions[..., 1])
        mirrored = torch.complex(turned.real, -turned.imag)[:, None]
        strength = strength[:, None]
        return cls(
            of_logarithm=-strength / 2 * (seen * turned[:, None]).real,
            of_up=strength * directions[..., 2] * mirrored,
            of_horizontal=strength / 2 * seen * mirrored,
            tangent=torch.complex(along[:, 0], along[:, 1])[:, None],
            one_and_up=1 + along[:, 2:],
        )


def _edge(rectangles: Rectangles, corners: _Corners, weights: _Weights, edge: int) -> tuple[list[Tensor], list[Tensor]]:
    """Fields and factors of −(1 − 2ν) ∇W by the edges along one axis, none of them steep."""
    beyond, along = corners.of_edge(edge)
    direction, side = rectangles.axes[..., edge], rectangles.axes[..., 1 - edge]
    past_top = [distance + height for distance, height in zip(corners.distance, corners.height, strict=True)]
    inverse = [1 / one for one in past_top]
    depths = _mixed_difference(inverse)
    tangent, one_and_up = weights.tangent, weights.one_and_up
    mirrored = torch.complex(tangent.real, -tangent.imag)
    lean = [
        distance + (far + height) / one_and_up
        for distance, height, far in zip(corners.distance, corners.height, along, strict=True)
    ]
    sideways = direction[:, 0] * side[:, 1] - direction[:, 1] * side[:, 0]
    skew = direction[:, 0] * rectangles.axes[:, 1, 2] - direction[:, 1] * rectangles.axes[:, 0, 2]
    across = skew[:, None] * corners.across
    turned = [
        (sideways[:, None] * one + across) / one_and_up for one in (corners.second if edge == 0 else corners.first)
    ]
    pairs = (0, 1, 2, 3) if edge else (0, 2, 1, 3)
    fields = [
        _logarithm_of_ratio(beyond),
        _logarithm_of_ratio(past_top),
        _tilt(*(lean[index] for index in pairs), *turned),
        corners.east * depths,
        corners.north * depths,
        *inverse,
    ]
    level_part = -1 / mirrored + tangent / one_and_up
    rest = -2 * direction[:, 2:] / mirrored * weights.of_horizontal + weights.of_up
    position = -2 / mirrored * weights.of_horizontal
    signed = zip((1, -1, -1, 1), corners.offset, strict=True)
    factors = [
        weights.of_logarithm + (rest * level_part + weights.of_horizontal * tangent / mirrored).real,
        (rest / mirrored).real,
        2 * (rest / mirrored).imag,
        position.real,
        -position.imag,
        *(sign * (position * offset[:, None]).real for sign, offset in signed),
    ]
    return fields, factors


def _steep_edge(rectangles: Rectangles, corners: _Corners, weights: _Weights) -> tuple[list[Tensor], list[Tensor]]:
    """The same by the edges along the second axis if these are steep: fields are sums of powers of κ."""
    tangent, one_and_up = weights.tangent, weights.one_and_up
    mirrored = torch.complex(tangent.real, -tangent.imag)
    # κ = (m a + m' h)/(C (R + l)) where m and m', unit vectors, are a quarter turn apart.
    first, normal = (
        torch.complex(axis[:, :1], axis[:, 1:2]) - tangent * axis[:, 2:] / one_and_up
        for axis in (rectangles.axes[..., 0], rectangles.axes[..., 2])
    )
    handedness = (normal.imag * first.real - normal.real * first.imag).sign()
    across = handedness * corners.across
    slope = -mirrored * first
    steepest = 0.55 * float(slope.detach().abs().max())
    terms = math.ceil(math.log(1e-16) / math.log(steepest)) if steepest > 0 else 0
    terms = min(max(terms, FEWEST_TERMS), MOST_TERMS)
    powers = _powers(corners, across, one_and_up, terms + 2)
    fields, factors = (
        [_logarithm_of_ratio(corners.beyond_second)],
        [
            weights.of_logarithm
            + (weights.of_up * tangent / one_and_up + weights.of_horizontal * (tangent / one_and_up) ** 2).real
        ],
    )
    up = -2 * first * (weights.of_up + 2 * tangent / one_and_up * weights.of_horizontal)
    horizontal = 4 * first * first * weights.of_horizontal
    before, now = torch.zeros_like(slope), torch.ones_like(slope)
    for power, (real, imaginary) in enumerate(powers):
        factor = (-1) ** power / (power + 1) * (up * now + power * horizontal * before)
        before, now = now, now * slope
        fields += [real, imaginary]
        factors += [factor.real, -factor.imag]
    return fields, factors


def _powers(corners: _Corners, across: Tensor, one_and_up: Tensor, highest: int) -> list[tuple[Tensor, Tensor]]:
    """The powers 1, 2, … of (a + i h)/(C (R + l)), summed over the corners: real and imaginary parts."""
    at_corners = []
    for index, beyond in enumerate(corners.beyond_second):
        inverse = 1 / (one_and_up * beyond)
        real, imaginary = corners.first[index // 2] * inverse, across * inverse
        twice, square = 2 * real, real.square() + imaginary.square()
        reals, imaginaries = [torch.ones_like(real), real], [torch.zeros_like(real), imaginary]
        for _ in range(highest - 1):  # z² = 2 Re(z) z − |z|²
            for powers in (reals, imaginaries):
                powers.append(twice * powers[-1] - square * powers[-2])
        at_corners.append(list(zip(reals[1:], imaginaries[1:], strict=True)))
    return [
        (_mixed_difference([one[0] for one in four]), _mixed_difference([one[1] for one in four]))
        for four in zip(*at_corners, strict=True)
    ]


def _tilt(a: Tensor, b: Tensor, c: Tensor, d: Tensor, side: Tensor, other_side: Tensor) -> Tensor:
    """The sum of −arg(1 + x) at the corners, less than π: a and b along an edge at `side`, c and d along the other."""
    along, aside = a * b + side.square(), side * (b - a)
    other_along, other_aside = c * d + other_side.square(), other_side * (d - c)
    return torch.atan2(aside * other_along - along * other_aside, along * other_along + aside * other_aside)


def _angle(opposite: Tensor, adjacent: Tensor) -> Tensor:
    """atan2, and 0 with a gradient of 0 where both are 0: on an edge at the surface, the mean of its two sides."""
    return torch.atan2(opposite, torch.where((opposite == 0) & (adjacent == 0), 1, adjacent))


def _mixed_difference(values: Sequence[Tensor]) -> Tensor:
    return (values[0] - values[1]) - (values[2] - values[3])


def _logarithm_of_ratio(values: Sequence[Tensor]) -> Tensor:
    return (values[0] * values[3] / (values[1] * values[2])).log()


def _dot(axes: Tensor, components: Tensor) -> Tensor:
    return (axes @ components[..., None]).squeeze(-1)


def _turned(vector: Tensor) -> Tensor:
    """ẑ × vector, as a complex number."""
    return torch.complex(-vector[..., 1], vector[..., 0])

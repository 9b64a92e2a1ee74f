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
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from qexp.forward.corners import Rectangles, fields_of, upended

FEWEST_TERMS = 2
"""Of the series, beyond the first: even for exactly vertical edges two, whose factors have derivatives."""

STATIONS_AT_A_TIME = 2**13
"""Of all sources of a block together: intermediate results then stay in the processor's cache."""


def surface_displacement(
    rectangles: Rectangles,
    stations: Tensor,
    directions: Tensor,
    poisson_ratio: float,
    *,
    steep: bool,
    level: bool = False,
) -> Tensor:
    """Displacement of the surface along some directions.

    stations    (batch or 1, 2, station)     east and north [m]
    directions  (batch, direction, 3)        unit vectors east, north, up
    steep                                    whether the second edges are nearly vertical, or none is; first ones never
    level                                    whether first edges are horizontal: they add nothing to W then
    returns     (batch, direction, station)  [m]
    """
    rectangles = rectangles.with_edges_upward()
    terms = _terms(rectangles.axes[..., 1]) if steep else 0
    factors = _factors(rectangles, directions, poisson_ratio, terms, level) / (2 * math.pi)
    stations = stations.expand(len(factors), -1, -1)
    size = max(1, STATIONS_AT_A_TIME // max(1, stations.shape[-1]))
    blocks = zip(factors.split(size), stations.split(size), *(part.split(size) for part in rectangles), strict=True)
    displacement: Tensor = torch.cat(
        [_sum(factor, fields_of(Rectangles(*block), at, terms, level)) for factor, at, *block in blocks]
    )
    return displacement


def _sum(factors: Tensor, fields: Iterator[Tensor]) -> Tensor:
    """Fields (batch, 1, station), times factors (batch, direction, field): (batch, direction, station)."""
    columns = factors[..., None].unbind(2)
    total = columns[0] * next(fields)
    for factor, field in zip(columns[1:], fields, strict=True):
        total = torch.addcmul(total, factor, field)
    return total


def _terms(edge: Tensor) -> int:
    """How many terms of the series are needed beyond the first: |x| is at most 0.53 |T| below the surface."""
    steepest = 0.53 * float(edge[:, :2].detach().square().sum(-1).max().sqrt())
    return max(FEWEST_TERMS, math.ceil(math.log(1e-16) / math.log(steepest))) if steepest > 0 else FEWEST_TERMS


def _factors(rectangles: Rectangles, directions: Tensor, poisson_ratio: float, terms: int, level: bool) -> Tensor:
    """How much of each of `fields_of` is in 2π u along the directions: (batch, direction, field)."""
    axes = rectangles.axes
    slip_first, slip_second, opening = rectangles.burgers[:, None, :].unbind(-1)
    seen_first, seen_second, seen_across = (directions @ axes).unbind(-1)
    factors = [
        2 * (seen_first * slip_first + seen_second * slip_second + seen_across * opening),
        seen_first * slip_first - seen_across * opening,
        seen_across * slip_first + seen_first * opening,
        seen_second * slip_first + seen_first * slip_second,
        seen_second * slip_second - seen_across * opening,
        seen_across * slip_second + seen_second * opening,
    ]
    turned = _turned((axes @ rectangles.burgers[..., None]).squeeze(-1))
    strike = _turned(axes[..., 2])
    for edge in (1,) if level else (1, 0):
        along, side = axes[..., edge], axes[..., 1 - edge]
        strength = (2 * poisson_ratio - 1) * (strike.real * side[:, 0] + strike.imag * side[:, 1])
        weights = _Weights.of(along, directions, turned, strength)
        steep = terms and edge
        factors += _of_steep_edge(weights, axes, terms) if steep else _of_edge(weights, along, rectangles)
    return torch.stack(factors, -1)


@dataclass(frozen=True)
class _Weights:
    """Factors of Λ, P and Q in −(1 − 2ν) ∇W along some directions, (batch, direction); the real part of products."""

    logarithm: Tensor
    up: Tensor
    horizontal: Tensor
    tangent: Tensor
    """T, T* and C: (batch, 1)."""
    mirrored: Tensor
    one_and_up: Tensor

    @classmethod
    def of(cls, along: Tensor, directions: Tensor, turned: Tensor, strength: Tensor) -> _Weights:
        """Of v·M·b with M the tensor of integrals and b horizontal: v₃ Re(b* P) + (Re(v* b* Q) − Λ Re(v* b))/2."""
        seen = torch.complex(directions[..., 0], -directions[..., 1])
        turned, strength = turned[:, None], strength[:, None]
        back = torch.complex(turned.real, -turned.imag)
        return cls(
            logarithm=-strength / 2 * (seen * turned).real,
            up=strength * directions[..., 2] * back,
            horizontal=strength / 2 * seen * back,
            tangent=torch.complex(along[:, 0], along[:, 1])[:, None],
            mirrored=torch.complex(along[:, 0], -along[:, 1])[:, None],
            one_and_up=1 + along[:, 2:],
        )


def _of_edge(weights: _Weights, along: Tensor, rectangles: Rectangles) -> list[Tensor]:
    tangent, mirrored, one_and_up = weights.tangent, weights.mirrored, weights.one_and_up
    through = weights.up - 2 * along[:, 2:] / mirrored * weights.horizontal
    position = -2 / mirrored * weights.horizontal
    first, second = (rectangles.axes[:, :2, :2] * rectangles.semi_axes[:, None, :]).unbind(-1)
    corners = (first + second, first - second, second - first, -first - second)
    offsets = [torch.complex(corner[:, 0], corner[:, 1]) for corner in corners]
    return [
        weights.logarithm
        + (through * (tangent / one_and_up - 1 / mirrored) + weights.horizontal * tangent / mirrored).real,
        (through / mirrored).real,
        *(sign * (position * offset[:, None]).real for sign, offset in zip((1, -1, -1, 1), offsets, strict=True)),
        position.real,
        -position.imag,
        2 * (through / mirrored).imag,
    ]


def _of_steep_edge(weights: _Weights, axes: Tensor, terms: int) -> list[Tensor]:
    tilt, first = weights.tangent / weights.one_and_up, upended(axes, 0)
    slope = -weights.mirrored * first
    up = -2 * first * (weights.up + 2 * tilt * weights.horizontal)
    horizontal = 4 * first * first * weights.horizontal
    factors = [weights.logarithm + (weights.up * tilt + weights.horizontal * tilt * tilt).real]
    before, now = torch.zeros_like(slope), torch.ones_like(slope)
    for power in range(terms + 2):
        factor = (-1) ** power / (power + 1) * (up * now + power * horizontal * before)
        before, now = now, now * slope
        factors += [factor.real, -factor.imag]
    return factors


def _turned(vector: Tensor) -> Tensor:
    """ẑ × vector, as a complex number."""
    return torch.complex(-vector[..., 1], vector[..., 0])

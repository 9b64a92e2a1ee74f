"""Rectangular dislocations in an elastic half-space: dikes, sills, faults, and three crossed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from qexp.physics.geometry import (
    clockwise_rotation,
    depth_below,
    require_not_above_ground,
    require_not_negative,
)
from qexp.physics.interpolation import KernelImage

LOWERED_SHARE = 1e-12
"""Of its depth, by which a source that touches the surface is lowered."""

STEEP = {torch.float64: 0.05, torch.float32: 1e-3}
"""Horizontal part of the unit vector along an edge below which power series are used, for results
in either precision: what is in closed form loses its square in precision, and is three times as
fast.
"""


def okada(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by a rectangular dislocation.

    source    (batch, 10)          east, north, depth of the centre [m], length along strike, width
                                   along dip [m], strike, dip [rad], strike slip, dip slip, opening
                                   [m]
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its
                                   own; a third column as of `geometry.depth_below`
    returns   (batch, station, 3)  displacement east, north, up [m]

    Strike is clockwise from north, and the plane dips to the right of it. Strike slip is positive
    if left-lateral, dip slip if the hanging wall moves up (a thrust). A dip of exactly 90° is as
    accurate as any other; a negative one dips to the left, with the signs of Okada's formulas.
    Uniform slip over a plane in a uniform half-space; where the upper edge touches the surface, a
    station on it moves by the mean of both sides, and the displacement of its ends has no limit.
    Computed in double precision. Raises ValueError if depth is not positive, length or width is
    negative, or the upper edge lies above the surface.
    Okada (1985), Bull. Seismol. Soc. Am. 75, 1135-1154; in the form of `qexp.physics.dislocation`.
    """
    places = _columns(source, stations)
    _require_planes(source, places)
    planes = _planes(source)

    def displacement(rows: Tensor, steep: bool) -> Tensor:
        return surface_displacement(
            planes.select(rows), _rows(places, rows), poisson_ratio, source.dtype, steep, level=True
        )

    return _steep_and_others(planes, source.dtype, displacement).mT.to(source.dtype)


def cdm(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by a compound dislocation model.

    source    (batch, 10)          east, north, depth of the centre [m], omega_x, omega_y, omega_z
                                   [rad], semi-axes a_x, a_y, a_z [m], opening [m]
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its
                                   own; a third column as of `geometry.depth_below`
    returns   (batch, station, 3)  displacement east, north, up [m]

    Three rectangles through one centre, each at right angles to the others, open by the same
    amount. Before rotation they span the semi-axes a_y and a_z, a_x and a_z, a_x and a_y along
    east, north and up; the rotation is R = Rz Ry Rx of `clockwise_rotation`. The potency is 4 (a_x
    a_y + a_x a_z + a_y a_z) opening [m3]; it is not the change of a cavity's volume. A semi-axis of
    zero leaves one rectangle, the limit of small ones is `pcdm`. Computed in double precision.
    Raises ValueError if depth is not positive, a semi-axis is negative, or a corner lies above the
    surface.
    Nikkhoo, Walter, Lundgren and Prats-Iraola (2017), Geophys. J. Int. 208, 877-894; in the form of
    `qexp.physics.dislocation`.
    """
    places = _columns(source, stations)
    _require_crossed(source, places)
    crossed = _crossed(source)

    def displacement(rows: Tensor, steep: bool) -> Tensor:
        groups: list[tuple[Rectangles, ...]] = [crossed[:1], crossed[1:]] if steep else [crossed]
        if source.dtype != torch.float64:  # what was simulated before has the same bits
            groups = [(rectangles,) for rectangles in crossed]
        moved = list[Tensor]()
        for group in groups:
            chosen = [rectangles.select(rows) for rectangles in group]
            together = Rectangles(*map(torch.cat, zip(*chosen, strict=True)))
            stations = _rows(places, rows).repeat(len(group) if len(places) > 1 else 1, 1, 1)
            is_steep = steep and group[0] is not crossed[0]
            each = surface_displacement(together, stations, poisson_ratio, source.dtype, is_steep)
            moved += each.chunk(len(group))
        return moved[0] + moved[1] + moved[2]

    return _steep_and_others(crossed[1], source.dtype, displacement).mT.to(source.dtype)


def _around(rectangles: Rectangles) -> Tensor:
    """Corners, and points of the edges between them: (batch, point, 3) east, north, depth [m]."""
    middle = torch.linspace(-1, 1, 5, dtype=torch.float64)
    end = torch.ones_like(middle)
    first = torch.cat([middle, middle, end, -end])
    second = torch.cat([end, -end, middle, middle])
    edge_points = torch.stack([first, second]).to(rectangles.axes.device)
    along = rectangles.axes[..., :2] * rectangles.semi_axes[:, None, :]
    reached = along @ edge_points
    downward = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64, device=reached.device)
    east, north, depth = rectangles.centre.unbind(-1)
    centre = torch.stack([east, north, torch.maximum(depth, rectangles.least_depth)], -1)
    return centre[:, None, :] + reached.mT * downward


def _around_planes(source: Tensor) -> Tensor:
    _require_planes(source, None)
    return _around(_planes(source.detach()))


def _around_crossed(source: Tensor) -> Tensor:
    _require_crossed(source, None)
    return torch.cat([_around(rectangles) for rectangles in _crossed(source.detach())], 1)


okada_image = KernelImage(okada, _around_planes)
"""The displacement of `okada` along a direction, on a grid: each column has one east, each row one
north.
"""

cdm_image = KernelImage(cdm, _around_crossed)
"""The displacement of `cdm` along a direction, on a grid: each column has one east, each row one
north.
"""


def _steep_and_others(
    rectangles: Rectangles, precision: torch.dtype, displacement: Callable[[Tensor, bool], Tensor]
) -> Tensor:
    """Displacements, in the order of the sources, of those with nearly vertical second edges and of
    the others.
    """
    steep = rectangles.level_part().sqrt() < STEEP.get(precision, STEEP[torch.float64])
    if not steep.any() or steep.all():
        return displacement(torch.arange(len(steep), device=steep.device), bool(steep.any()))
    rows = [steep.nonzero().squeeze(-1), (~steep).nonzero().squeeze(-1)]
    parts = [displacement(group, kind) for group, kind in zip(rows, (True, False), strict=True)]
    return torch.cat(parts)[torch.cat(rows).argsort()]


def _rows(places: Tensor, rows: Tensor) -> Tensor:
    return places if len(places) == 1 else places[rows]


def _require_planes(source: Tensor, places: Tensor | None) -> None:
    require_not_negative("length", source[:, 3])
    require_not_negative("width", source[:, 4])
    require_not_above_ground(_least_depth(source, places), _half_height(source))


def _require_crossed(source: Tensor, places: Tensor | None) -> None:
    require_not_negative("semi-axes", source[:, 6:9])
    require_not_above_ground(_least_depth(source, places), _half_height_of_crossed(source))


def _least_depth(source: Tensor, places: Tensor | None) -> Tensor:
    """Depth below the lowest station."""
    return (
        source[:, 2] if places is None or places.shape[1] == 2 else places[:, 2].amin(-1).to(source)
    )


def _planes(source: Tensor) -> Rectangles:
    """The planes of sources of `okada`; first edges are along strike, second ones up the dip."""
    source = source.double()
    _, _, _, length, width, strike, dip, strike_slip, dip_slip, opening = source.unbind(-1)
    level = torch.zeros_like(strike)
    sine = strike.sin()
    cosine = strike.cos()
    along_strike = torch.stack([sine, cosine, level], -1)
    up_dip = torch.stack([-cosine * dip.cos(), sine * dip.cos(), dip.sin()], -1)
    normal = torch.stack([cosine * dip.sin(), -sine * dip.sin(), dip.cos()], -1)
    return Rectangles(
        source[:, :3],
        _half_height(source) * (1 + LOWERED_SHARE),
        torch.stack([along_strike, up_dip, normal], -1),
        torch.stack([length, width], -1) / 2,
        torch.stack([strike_slip, dip_slip, opening], -1),
    )


def _crossed(source: Tensor) -> tuple[Rectangles, Rectangles, Rectangles]:
    """The rectangles of sources of `cdm`: the axis nearest to the vertical is the second edge of
    the last two.
    """
    source = source.double()
    axes = clockwise_rotation(source[:, 3:6])
    semi_axes = source[:, 6:9]
    order = axes[:, 2].abs().argsort()  # the model stays the same if its axes change their names
    axes = axes.gather(2, order[:, None].expand_as(axes))
    semi_axes = semi_axes.gather(1, order)
    opening = torch.stack([torch.zeros_like(source[:, 9])] * 2 + [source[:, 9]], -1)
    least_depth = _half_height_of_crossed(source) * (1 + LOWERED_SHARE)
    first, second, third = (
        Rectangles(source[:, :3], least_depth, axes[..., names], semi_axes[:, names[:2]], opening)
        for names in ([0, 1, 2], [0, 2, 1], [1, 2, 0])
    )
    return first, second, third


def _half_height(source: Tensor) -> Tensor:
    return source[:, 4] / 2 * source[:, 6].sin().abs()


def _half_height_of_crossed(source: Tensor) -> Tensor:
    reach = source[:, 6:9] * clockwise_rotation(source[:, 3:6])[:, 2].abs()
    return reach.sum(-1) - reach.amin(-1)  # each rectangle spans two of the three axes


def _columns(source: Tensor, stations: Tensor) -> Tensor:
    """East and north of stations, (batch or 1, 2, station), in double precision; and the depth
    below each, (batch, 3, station), where they have an elevation.
    """
    columns = stations.double().mT if stations.dim() == 3 else stations.double().mT[None]
    if columns.shape[1] == 2:
        return columns
    depth = depth_below(source, stations).double()
    return torch.cat([columns[:, :2].expand(len(source), -1, -1), depth[:, None]], dim=1)


# A rectangular dislocation of any orientation, seen at the surface of an elastic half-space, in
# closed form.
#
# With r = (east, north, z) from a point of the source up to the station, R its length, n the normal
# of the rectangle and b its Burgers vector (the movement of the side that n points to, against the
# other), the displacement of the surface is
#
#     2π u = b Ω + h ∇S − (1 − 2ν) ∇W,    h = n·r,    Ω = ∬ h/R³,    S = ∬ b·∇(1/R),
#     W = ∬ (ẑ×b · ∇)(ẑ×n · ∇) χ,         χ = z ln(R + z) − R.
#
# That is Volterra's integral over the displacement below a force on the surface (Boussinesq 1885,
# Cerruti 1882) by reciprocity: the terms without ν are those of an incompressible full space,
# twice, and χ is harmonic, with χ₃₃ = 1/R. One derivative is integrated away and the edges remain,
# and along an edge of direction t all is closed at the corners: these are the expressions of Okada
# (1985) for a level edge, and of Comninou and Dundurs (1975) for any other.
#
# Along an edge, with l = r·t, T = t₁ + i t₂, C = 1 + t₃, ρ = east + i north, and up to constants
# that cancel,
#
#     Λ = ∫ χ₃₃ dl = ln(R + l) = −∫ (χ₁₁ + χ₂₂) dl
#     P = ∫ (χ₁₃ + i χ₂₃) dl = (2/T*) ln(1 + x) + T Λ/C,    x = −T* κ,    κ = (ρ − T (l + z)/C) / (C
#         (R + l))
#     Q = ∫ (χ₁₁ − χ₂₂ + 2i χ₁₂) dl = (2/T*) (−ρ/(R + z) − t₃ P + T Λ/2)
#
# where |1 + x|² = 2 (R + z) / (C (R + l)). For an edge that points up nothing meets the cut of the
# logarithm below the surface. Near the vertical, where T vanishes, powers of κ take the place of
# what would be divided by it:
#
#     P = −2κ (1 − x/2 + x²/3 − …) + T Λ/C
#     Q = 4κ² (−1/2 + 2x/3 − 3x²/4 + …) − 4 (T/C) κ (1 − x/2 + x²/3 − …) + T² Λ/C²

FEWEST_TERMS = 2
"""Of the series, beyond the first: even for vertical edges two, whose factors have derivatives."""

STATIONS_AT_A_TIME = {torch.float64: 2**15, torch.float32: 2**13}
"""Of all sources of a block together, for results in either precision, whose last digits depend on
it: what was simulated in single precision has the same bits as before.
"""


def surface_displacement(
    rectangles: Rectangles,
    stations: Tensor,
    poisson_ratio: float,
    precision: torch.dtype,
    steep: bool,
    level: bool = False,
) -> Tensor:
    """Displacement of the surface.

    stations  (batch or 1, 2, station)  east and north [m]; or also the depth of the centre below
                                        them, (batch, 3, ...)
    precision                           of the sources
    steep                               whether the second edges are nearly vertical, or none is;
                                        first ones never
    level                               whether first edges are horizontal: they add nothing to W
                                        then
    returns   (batch, 3, station)       east, north, up [m]
    """
    rectangles, terms = rectangles.with_edges_upward(), 0
    if steep:  # terms of the series beyond the first: |x| is at most 0.53 |T| below the surface
        steepest = 0.53 * float(rectangles.level_part().max().sqrt())
        needed = math.ceil(math.log(1e-16) / math.log(steepest)) if steepest > 0 else 0
        terms = max(FEWEST_TERMS, needed)
    factors = _factors(rectangles, poisson_ratio, terms, level) / (2 * math.pi)
    stations = stations.expand(len(factors), -1, -1)
    together = STATIONS_AT_A_TIME.get(precision, STATIONS_AT_A_TIME[torch.float32])
    size = max(1, together // max(1, stations.shape[-1]))
    blocks = zip(
        factors.split(size),
        stations.split(size),
        *(part.split(size) for part in rectangles),
        strict=True,
    )
    moved = [
        _sum(factor, fields_of(Rectangles(*block), places, terms, level))
        for factor, places, *block in blocks
    ]
    return torch.cat(moved)


def _sum(factors: Tensor, fields: Iterator[Tensor]) -> Tensor:
    """Fields (batch, 1, station), times factors (batch, 3, field): (batch, 3, station)."""
    columns = factors[..., None].unbind(2)
    total = columns[0] * next(fields)
    for factor, field in zip(columns[1:], fields, strict=True):
        total = torch.addcmul(total, factor, field)
    return total


def _factors(rectangles: Rectangles, poisson_ratio: float, terms: int, level: bool) -> Tensor:
    """How much of each of `fields_of` is in 2π u toward east, north and up: (batch, 3, field)."""
    axes = rectangles.axes
    slip_first, slip_second, opening = rectangles.burgers[:, None, :].unbind(-1)
    seen_first, seen_second, seen_across = axes.unbind(-1)
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
        direction = axes[..., edge]
        side = axes[..., 1 - edge]
        strength = (2 * poisson_ratio - 1) * (strike.real * side[:, 0] + strike.imag * side[:, 1])
        weights = _Weights.along_edge(direction, turned, strength)
        factors += (
            _of_steep_edge(weights, axes, terms)
            if terms and edge
            else _of_edge(weights, direction, rectangles)
        )
    return torch.stack(factors, -1)


@dataclass(frozen=True)
class _Weights:
    """Factors of Λ, P, Q in −(1 − 2ν) ∇W, (batch, 3) east, north, up; of products the real part."""

    logarithm: Tensor
    vertical: Tensor
    horizontal: Tensor
    tangent: Tensor
    """T, T* and C: (batch, 1)."""
    mirrored: Tensor
    one_and_up: Tensor

    @classmethod
    def along_edge(cls, direction: Tensor, turned: Tensor, strength: Tensor) -> _Weights:
        """Of v·M·b with M the tensor of integrals and b horizontal: v₃ Re(b* P) + (Re(v* b* Q) − Λ
        Re(v* b))/2.
        """
        east, north, upward = torch.eye(3, dtype=direction.dtype, device=direction.device)
        horizontal_axes = torch.complex(east, -north)
        turned = turned[:, None]
        strength = strength[:, None]
        back = torch.complex(turned.real, -turned.imag)
        return cls(
            logarithm=-strength / 2 * (horizontal_axes * turned).real,
            vertical=strength * upward * back,
            horizontal=strength / 2 * horizontal_axes * back,
            tangent=_horizontal(direction)[:, None],
            mirrored=torch.complex(direction[:, 0], -direction[:, 1])[:, None],
            one_and_up=1 + direction[:, 2:],
        )


def _of_edge(weights: _Weights, direction: Tensor, rectangles: Rectangles) -> list[Tensor]:
    tangent = weights.tangent
    mirrored = weights.mirrored
    one_and_up = weights.one_and_up
    vertical = weights.vertical - 2 * direction[:, 2:] / mirrored * weights.horizontal
    position = -2 / mirrored * weights.horizontal
    first, second = (rectangles.axes[:, :2, :2] * rectangles.semi_axes[:, None, :]).unbind(-1)
    corners = (first + second, first - second, second - first, -first - second)
    offsets = [_horizontal(corner) for corner in corners]
    return [
        weights.logarithm
        + (
            vertical * (tangent / one_and_up - 1 / mirrored)
            + weights.horizontal * tangent / mirrored
        ).real,
        (vertical / mirrored).real,
        *(
            sign * (position * offset[:, None]).real
            for sign, offset in zip((1, -1, -1, 1), offsets, strict=True)
        ),
        position.real,
        -position.imag,
        2 * (vertical / mirrored).imag,
    ]


def _of_steep_edge(weights: _Weights, axes: Tensor, terms: int) -> list[Tensor]:
    tilt = weights.tangent / weights.one_and_up
    first = upended(axes, 0)
    slope = -weights.mirrored * first
    vertical = -2 * first * (weights.vertical + 2 * tilt * weights.horizontal)
    horizontal = 4 * first * first * weights.horizontal
    factors = [
        weights.logarithm + (weights.vertical * tilt + weights.horizontal * tilt * tilt).real
    ]
    previous = torch.zeros_like(slope)
    current = torch.ones_like(slope)
    for power in range(terms + 2):
        factor = (-1) ** power / (power + 1) * (vertical * current + power * horizontal * previous)
        previous = current
        current = current * slope
        factors += [factor.real, -factor.imag]
    return factors


def _horizontal(vector: Tensor) -> Tensor:
    """East + i north of vectors along the last axis."""
    return torch.complex(vector[..., 0], vector[..., 1])


def _cross(vector: Tensor, other: Tensor) -> Tensor:
    """The upward component of vector × other, (batch, component, ...) both."""
    return vector[:, 0] * other[:, 1] - vector[:, 1] * other[:, 0]


def _turned(vector: Tensor) -> Tensor:
    """ẑ × vector, as a complex number."""
    return torch.complex(-vector[..., 1], vector[..., 0])


# Rectangles below the surface, seen from their corners: what a rectangle adds up, for every
# station.

LEAST_SUM = 1e-150
"""Least R + l [m], for a finite logarithm on the line through a level edge at the surface."""


class Rectangles(NamedTuple):
    """Rectangles wholly below the surface, one per source."""

    centre: Tensor
    """East, north, depth: (batch, 3) [m]."""
    least_depth: Tensor
    """What touches the surface lies a trifle below it, where all terms are finite: (batch,) [m]."""
    axes: Tensor
    """Columns: first edge, second edge, normal, as unit vectors east, north, up: (batch, 3, 3)."""
    semi_axes: Tensor
    """Half the length of both edges: (batch, 2) [m]."""
    burgers: Tensor
    """Along the axes: (batch, 3) [m]."""

    def select(self, rows: Tensor) -> Rectangles:
        return Rectangles(*(part[rows] for part in self))

    def level_part(self) -> Tensor:
        """Square of the horizontal part of the unit vector along the second edge, (batch,)."""
        return self.axes[:, :2, 1].detach().square().sum(-1)

    def with_edges_upward(self) -> Rectangles:
        """Rectangles with edges that are turned so that none points down; the normal stays."""
        downward = (self.axes[:, 2] < 0) & torch.tensor(
            [True, True, False], device=self.axes.device
        )
        sign = torch.where(downward, -1.0, 1.0).to(self.axes)
        return self._replace(axes=self.axes * sign[:, None], burgers=self.burgers * sign)


def fields_of(
    rectangles: Rectangles, stations: Tensor, terms: int, level: bool
) -> Iterator[Tensor]:
    """What depends on the stations, summed over the corners: (batch, 1, station) each."""
    corners = _Corners.measured(rectangles, stations, level)
    (first, other_first), (second, other_second) = corners.first, corners.second
    off_plane = corners.off_plane
    square = corners.off_plane.square()
    sums = [distance + corners.second[index % 2] for index, distance in enumerate(corners.distance)]
    yield _half_solid_angle(
        [total + corners.first[index // 2] for index, total in enumerate(sums)],
        off_plane,
        square,
    )
    # The difference of 1/(R (R + l)) at the ends of an edge, for both edges of a direction.
    products = [distance * total for distance, total in zip(corners.distance, sums, strict=True)]
    first_edge, other_edge = (
        (products[k + 1] - products[k]) / (products[k] * products[k + 1]) for k in (0, 2)
    )
    yield off_plane * torch.addcmul(first * first_edge, other_first, other_edge, value=-1)
    yield square * (first_edge - other_edge)
    # Along the first edges R + l may vanish: 1/(R (R + l)) is (1 − l/R)/(R² − l²), of which the 1
    # cancels.
    inverse = [distance.reciprocal() for distance in corners.distance]
    yield off_plane * _mixed_difference(inverse)
    first_edge, other_edge = (
        torch.addcmul(other_first * inverse[k + 2], first, inverse[k], value=-1)
        / torch.addcmul(square, coordinate, coordinate)
        for k, coordinate in enumerate(corners.second)
    )
    yield off_plane * torch.addcmul(second * first_edge, other_second, other_edge, value=-1)
    yield square * (first_edge - other_edge)
    del products, inverse, first_edge, other_edge
    if terms:
        yield _logarithm_of_ratio(sums)
        yield from _powers(corners, sums, terms + 2)
    else:
        yield from _along_edges(corners, sums, 1)
    if not level:
        sums = [
            distance + corners.first[index // 2] for index, distance in enumerate(corners.distance)
        ]
        yield from _along_edges(corners, [total.clamp(min=LEAST_SUM) for total in sums], 0)


class _Corners(NamedTuple):
    """From the corners to the stations: (batch, 1, station), or (batch, 1, 1) if the same for all
    stations.

    Two values are those of the ends + and − of an edge, four those of the ends ++, +−, −+, −− of
    the first and second edge, whose terms are added with the signs +, −, −, +.
    """

    axes: Tensor
    """As those of the rectangles: (batch, 3, 3, 1, 1)."""
    east: Tensor
    """From the centre, like north and off the plane."""
    north: Tensor
    first: list[Tensor]
    second: list[Tensor]
    off_plane: Tensor
    height: list[Tensor]
    """Of the stations above the corner."""
    distance: list[Tensor]

    @classmethod
    def measured(cls, rectangles: Rectangles, stations: Tensor, level: bool) -> _Corners:
        centre_east, centre_north, depth = rectangles.centre[:, :, None, None].unbind(1)
        east = stations[:, :1] - centre_east
        north = stations[:, 1:2] - centre_north
        depth = torch.maximum(
            stations[:, 2:] if stations.shape[1] > 2 else depth,
            rectangles.least_depth[:, None, None],
        )
        axes = rectangles.axes[..., None, None]
        along_first, along_second, off_plane = (
            torch.addcmul(
                torch.addcmul(axes[:, 2, axis] * depth, axes[:, 0, axis], east),
                axes[:, 1, axis],
                north,
            )
            for axis in range(3)
        )
        semi_first, semi_second = rectangles.semi_axes[..., None, None].unbind(1)
        first = [along_first + semi_first, along_first - semi_first]
        second = [along_second + semi_second, along_second - semi_second]
        square = off_plane.square()
        from_first = [torch.addcmul(square, end, end) for end in second]
        rise_first = semi_first * axes[:, 2, 0]
        rise_second = semi_second * axes[:, 2, 1]
        tops = [depth] * 2 if level else [depth + rise_first, depth - rise_first]
        heights = [height for top in tops for height in (top + rise_second, top - rise_second)]
        return cls(
            axes=axes,
            east=east,
            north=north,
            first=first,
            second=second,
            off_plane=off_plane,
            height=heights,
            distance=[
                torch.addcmul(other, end, end).sqrt() for end in first for other in from_first
            ],
        )


def _half_solid_angle(sums: list[Tensor], off_plane: Tensor, square: Tensor) -> Tensor:
    """Ω/2, the sum of arg(R + a + b + i h): less than π, so that one arctangent of the product
    gives it.
    """
    a, b, c, d = sums
    level = torch.addcmul(-square, a, d)
    other_level = torch.addcmul(-square, b, c)
    aside = a + d
    other_aside = b + c
    opposite = off_plane * torch.addcmul(aside * other_level, level, other_aside, value=-1)
    adjacent = torch.addcmul(level * other_level, square, aside * other_aside)
    return torch.atan2(opposite, adjacent)


def _along_edges(corners: _Corners, sums: list[Tensor], edge: int) -> Iterator[Tensor]:
    """The parts of Λ, P and Q of edges that are not steep."""
    yield _logarithm_of_ratio(sums)
    tops = [
        distance + height for distance, height in zip(corners.distance, corners.height, strict=True)
    ]
    yield _logarithm_of_ratio(tops)
    inverse = [total.reciprocal() for total in tops]
    yield from inverse
    depths = _mixed_difference(inverse)
    yield corners.east * depths
    yield corners.north * depths
    del tops, inverse, depths
    direction, side, normal = (corners.axes[:, :, axis] for axis in (edge, 1 - edge, 2))
    shrunk = 1 / (1 + direction[:, 2])
    sideways = _cross(direction, side) * shrunk
    skew = _cross(direction, normal) * shrunk
    lengthwise, sideward = (
        (corners.second, corners.first) if edge else (corners.first, corners.second)
    )
    ends = (0, 1, 2, 3) if edge else (0, 2, 1, 3)
    lean = [
        corners.distance[index]
        + torch.addcmul(corners.height[index] * shrunk, lengthwise[end % 2], shrunk)
        for end, index in enumerate(ends)
    ]
    skewed = skew * corners.off_plane
    # The sum of −arg(1 + x), less than π; two ends of one edge, two of the other.
    a, b, c, d = lean
    first, second = (torch.addcmul(skewed, position, sideways) for position in sideward)
    level = torch.addcmul(a * b, first, first)
    other_level = torch.addcmul(c * d, second, second)
    aside = first * (b - a)
    other_aside = second * (d - c)
    yield torch.atan2(
        torch.addcmul(aside * other_level, level, other_aside, value=-1),
        torch.addcmul(level * other_level, aside, other_aside),
    )


def _powers(corners: _Corners, sums: list[Tensor], highest: int) -> Iterator[Tensor]:
    """The powers 1, 2, … of (a + i h)/(C (R + l)): real and imaginary parts, with h as it is to the
    left of a.
    """
    axes = corners.axes[..., 0, 0]
    first = upended(axes, 0)
    normal = upended(axes, 2)
    handedness = (normal.imag * first.real - normal.real * first.imag).sign()[..., None]
    off_plane = handedness * corners.off_plane
    one_and_up = 1 + corners.axes[:, 2, 1]
    inverse = [(total * one_and_up).reciprocal() for total in sums]
    reals = [corners.first[index // 2] * scale for index, scale in enumerate(inverse)]
    imaginaries = [off_plane * scale for scale in inverse]
    # z² = 2 Re(z) z − |z|²
    squares = [
        torch.addcmul(real.square(), imaginary, imaginary)
        for real, imaginary in zip(reals, imaginaries, strict=True)
    ]
    twice = [2 * real for real in reals]
    previous = (
        [torch.ones_like(real) for real in reals],
        [torch.zeros_like(real) for real in reals],
    )
    current = (reals, imaginaries)
    for power in range(highest):
        yield from (_mixed_difference(part) for part in current)
        if power < highest - 1:
            pairs = zip(current, previous, strict=True)
            following = [_next_power(twice, part, squares, last) for part, last in pairs]
            previous = current
            current = (following[0], following[1])


def _next_power(
    twice: list[Tensor], part: list[Tensor], squares: list[Tensor], last: list[Tensor]
) -> list[Tensor]:
    each = zip(twice, part, squares, last, strict=True)
    return [torch.addcmul(a * b, c, d, value=-1) for a, b, c, d in each]


def _mixed_difference(values: list[Tensor]) -> Tensor:
    return (values[0] - values[1]) - (values[2] - values[3])


def _logarithm_of_ratio(values: list[Tensor]) -> Tensor:
    return (values[0] * values[3] / (values[1] * values[2])).log()


def upended(axes: Tensor, axis: int) -> Tensor:
    """An axis at right angles to the second edge, turned with that into the vertical: (batch, 1),
    of modulus 1.
    """
    edge = axes[..., 1]
    other = axes[..., axis]
    turned = _horizontal(edge)[:, None] * other[:, 2:] / (1 + edge[:, 2:])
    return _horizontal(other)[:, None] - turned

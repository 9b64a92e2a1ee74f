"""Rectangular dislocations in an elastic half-space: dikes, sills, faults, and three of them crossed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qexp.forward.burial import require_not_above_ground, require_not_negative
from qexp.forward.corners import Rectangles
from qexp.forward.interpolation import projected, smooth_image
from qexp.forward.rectangle import surface_displacement
from qexp.forward.rotation import clockwise_rotation

TRIFLE = 1e-12
"""Of its depth, by which a source that touches the surface is lowered."""

STEEP = {torch.float64: 0.05, torch.float32: 1e-3}
"""Horizontal part of the unit vector along an edge below which power series are used, for results in either precision:
what is in closed form loses its square in precision, and is three times as fast."""


def okada(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by a rectangular dislocation.

    source    (batch, 10)          east, north, depth of the centre [m], length along strike, width along dip [m],
                                   strike, dip [rad], strike slip, dip slip, opening [m]
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its own
    returns   (batch, station, 3)  displacement east, north, up [m]

    Strike is clockwise from north, and the plane dips to the right of it. Strike slip is positive if left-lateral,
    dip slip if the hanging wall moves up (a thrust). A dip of exactly 90° is as accurate as any other; a negative one
    dips to the left, with the signs of Okada's formulas. Uniform slip over a plane in a uniform half-space; where the
    upper edge touches the surface, a station on it moves by the mean of both sides, and the displacement of its ends
    has no limit. Computed in double precision. Raises ValueError if depth is not positive, length or width is negative,
    or the upper edge lies above the surface.
    Okada (1985), Bull. Seismol. Soc. Am. 75, 1135-1154; in the form of `qexp.forward.rectangle`.
    """
    _require_planes(source)
    planes, at, directions = _planes(source), _columns(stations), _east_north_up(source)

    def displacement(rows: Tensor, steep: bool) -> Tensor:
        return surface_displacement(
            planes.of(rows), _rows(at, rows), directions[rows], poisson_ratio, steep=steep, level=True
        )

    return _steep_and_others(planes, source.dtype, displacement).mT.to(source.dtype)


def okada_image(source: Tensor, east: Tensor, north: Tensor, direction: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """The displacement of `okada` along a direction, on a grid: each column has one east, each row one north.

    source     (batch, 10)                as for `okada`
    east       (batch or 1, width)        [m]
    north      (batch or 1, height)       [m]
    direction  (batch, 3)                 unit vectors east, north, up
    returns    (batch, height, width)     [m], positive along the direction

    Interpolated from fewer points to the rounding errors of the type of numbers. Raises ValueError as `okada` does.
    """
    _require_planes(source)
    seen = projected(partial(okada, poisson_ratio=poisson_ratio), source, direction)
    return smooth_image(seen, _around(_planes(source.detach())), east, north)


def cdm(source: Tensor, stations: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """Displacement of the flat surface of an elastic half-space by a compound dislocation model.

    source    (batch, 10)          east, north, depth of the centre [m], omega_x, omega_y, omega_z [rad],
                                   semi-axes a_x, a_y, a_z [m], opening [m]
    stations  (station, 2)         east, north [m]; or (batch, station, 2), each source with its own
    returns   (batch, station, 3)  displacement east, north, up [m]

    Three rectangles through one centre, each at right angles to the others, open by the same amount. Before rotation
    they span the semi-axes a_y and a_z, a_x and a_z, a_x and a_y along east, north and up; the rotation is
    R = Rz Ry Rx of `clockwise_rotation`. The potency is 4 (a_x a_y + a_x a_z + a_y a_z) opening [m3]; it is not the
    change of a cavity's volume. A semi-axis of zero leaves one rectangle, the limit of small ones is `pcdm`. Computed
    in double precision. Raises ValueError if depth is not positive, a semi-axis is negative, or a corner lies above
    the surface.
    Nikkhoo, Walter, Lundgren and Prats-Iraola (2017), Geophys. J. Int. 208, 877-894; in the form of
    `qexp.forward.rectangle`.
    """
    _require_crossed(source)
    crossed, at, directions = _crossed(source), _columns(stations), _east_north_up(source)

    def displacement(rows: Tensor, steep: bool) -> Tensor:
        one, two, three = (
            surface_displacement(
                rectangles.of(rows), _rows(at, rows), directions[rows], poisson_ratio, steep=steep and rises
            )
            for rectangles, rises in zip(crossed, (False, True, True), strict=True)
        )
        return one + two + three

    return _steep_and_others(crossed[1], source.dtype, displacement).mT.to(source.dtype)


def cdm_image(source: Tensor, east: Tensor, north: Tensor, direction: Tensor, poisson_ratio: float = 0.25) -> Tensor:
    """The displacement of `cdm` along a direction, on a grid: each column has one east, each row one north.

    source     (batch, 10)                as for `cdm`
    east       (batch or 1, width)        [m]
    north      (batch or 1, height)       [m]
    direction  (batch, 3)                 unit vectors east, north, up
    returns    (batch, height, width)     [m], positive along the direction

    Interpolated from fewer points to the rounding errors of the type of numbers. Raises ValueError as `cdm` does.
    """
    _require_crossed(source)
    seen = projected(partial(cdm, poisson_ratio=poisson_ratio), source, direction)
    return smooth_image(seen, torch.cat([_around(one) for one in _crossed(source.detach())], 1), east, north)


def _around(rectangles: Rectangles) -> Tensor:
    """Corners, and points of the edges between them: (batch, point, 3) east, north, depth [m]."""
    middle = torch.linspace(-1, 1, 5, dtype=torch.float64)
    end = torch.ones_like(middle)
    first, second = torch.cat([middle, middle, end, -end]), torch.cat([end, -end, middle, middle])
    along = torch.stack([first, second]).to(rectangles.axes.device)
    reached = (rectangles.axes[..., :2] * rectangles.semi_axes[:, None, :]) @ along
    downward = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64, device=reached.device)
    return rectangles.centre[:, None, :] + reached.mT * downward


def _steep_and_others(
    rectangles: Rectangles, precision: torch.dtype, displacement: Callable[[Tensor, bool], Tensor]
) -> Tensor:
    """Displacements, in the order of the sources, of those with nearly vertical second edges and of the others."""
    steep = rectangles.axes[:, :2, 1].detach().square().sum(-1).sqrt() < STEEP.get(precision, STEEP[torch.float64])
    if not steep.any() or steep.all():
        return displacement(torch.arange(len(steep), device=steep.device), bool(steep.any()))
    rows = [steep.nonzero().squeeze(-1), (~steep).nonzero().squeeze(-1)]
    parts = [displacement(group, kind) for group, kind in zip(rows, (True, False), strict=True)]
    return torch.cat(parts)[torch.cat(rows).argsort()]


def _rows(at: Tensor, rows: Tensor) -> Tensor:
    return at if len(at) == 1 else at[rows]


def _require_planes(source: Tensor) -> None:
    require_not_negative("length", source[:, 3])
    require_not_negative("width", source[:, 4])
    require_not_above_ground(source[:, 2], _half_height(source))


def _require_crossed(source: Tensor) -> None:
    require_not_negative("semi-axes", source[:, 6:9])
    require_not_above_ground(source[:, 2], _half_height_of_crossed(source))


def _planes(source: Tensor) -> Rectangles:
    """The planes of sources of `okada`; first edges are along strike, second ones up the dip."""
    source = source.double()
    _, _, _, length, width, strike, dip, strike_slip, dip_slip, opening = source.unbind(-1)
    level, sine, cosine = torch.zeros_like(strike), strike.sin(), strike.cos()
    along_strike = torch.stack([sine, cosine, level], -1)
    up_dip = torch.stack([-cosine * dip.cos(), sine * dip.cos(), dip.sin()], -1)
    normal = torch.stack([cosine * dip.sin(), -sine * dip.sin(), dip.cos()], -1)
    return Rectangles(
        _centre(source, _half_height(source)),
        torch.stack([along_strike, up_dip, normal], -1),
        torch.stack([length, width], -1) / 2,
        torch.stack([strike_slip, dip_slip, opening], -1),
    )


def _crossed(source: Tensor) -> tuple[Rectangles, Rectangles, Rectangles]:
    """The rectangles of sources of `cdm`: the axis nearest to the vertical is the second edge of the last two."""
    source = source.double()
    axes, semi_axes = clockwise_rotation(*source[:, 3:6].unbind(-1)), source[:, 6:9]
    order = axes[:, 2].abs().argsort()  # the model stays the same if its axes change their names
    axes, semi_axes = axes.gather(2, order[:, None].expand_as(axes)), semi_axes.gather(1, order)
    opening = torch.stack([torch.zeros_like(source[:, 9])] * 2 + [source[:, 9]], -1)
    centre = _centre(source, _half_height_of_crossed(source))
    one, two, three = (
        Rectangles(centre, axes[..., names], semi_axes[:, names[:2]], opening)
        for names in ([0, 1, 2], [0, 2, 1], [1, 2, 0])
    )
    return one, two, three


def _centre(source: Tensor, half_height: Tensor) -> Tensor:
    """East, north and depth; what touches the surface lies a trifle below it, where all terms are finite."""
    east, north, depth = source[:, :3].unbind(-1)
    return torch.stack([east, north, torch.maximum(depth, half_height * (1 + TRIFLE))], -1)


def _half_height(source: Tensor) -> Tensor:
    return source[:, 4] / 2 * source[:, 6].sin().abs()


def _half_height_of_crossed(source: Tensor) -> Tensor:
    reach = source[:, 6:9] * clockwise_rotation(*source[:, 3:6].unbind(-1))[:, 2].abs()
    return reach.sum(-1) - reach.amin(-1)  # each rectangle spans two of the three axes


def _east_north_up(source: Tensor) -> Tensor:
    return torch.eye(3, dtype=torch.float64, device=source.device).expand(len(source), -1, -1)


def _columns(stations: Tensor) -> Tensor:
    """(station, 2) or (batch, station, 2) → (batch or 1, 2, station), in double precision."""
    return stations.double().mT if stations.dim() == 3 else stations.double().mT[None]

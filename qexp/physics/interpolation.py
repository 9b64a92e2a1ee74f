"""Images of displacement from fewer points than pixels.

The displacement by a buried source is an analytic function of the position on the surface: complex
positions at which it is singular are as far from the real ones as the source is deep. A Chebyshev
interpolant converges exponentially with a rate that these singularities fix (Trefethen 2013,
Approximation Theory and Approximation Practice, chapter 8). In u, with positions x0 + depth
sinh(u), the image is about as smooth near the source as far from it, so that some 16 x 16 points
give an image of any size to single precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from qexp.physics.geometry import grid, project

COUNTS = (8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 256)
"""Points along an axis to choose from; if none is enough, or pixels are fewer, each is computed."""

MOST_POINTS = 1 << 22
"""Pixels of large images that are computed at once."""

ERROR = {torch.float64: 1e-16, torch.float32: 2e-6}
"""Largest power of the rate of convergence that is left; the error is up to a hundred times it."""

ERROR_BESIDE = 1e-13
"""The same for sources beside the image: its displacements are much smaller than those near the
singularities, to which the error is relative.
"""


Evaluate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Numbers of sources in the batch (n,), and east (n, width) and north (n, height) of their grids ->
images (n, height, width).
"""


def smooth_image(
    evaluate: Evaluate, singular: Tensor, east: Tensor, north: Tensor, order: int | Tensor = 0
) -> Tensor:
    """Images on a grid, from `evaluate` on a grid of fewer points; `KernelImage` says to which
    error.

    singular   (batch, point, 3)        east, north, depth of the outermost points of each source
                                        [m]
    east       (batch or 1, width)      [m]
    north      (batch or 1, height)     [m]
    order      power of the number of points by which errors are larger: for singularities sharper
               than those of 1 / R^2; of all sources, or of each, (batch,)
    returns    (batch, height, width)
    """
    batch = len(singular)
    height = north.shape[-1]
    width = east.shape[-1]
    east = east.expand(batch, -1)
    north = north.expand(batch, -1)
    east_stretching, north_stretching = (
        _stretching(positions, singular[..., axis], singular[..., 2])
        for axis, positions in enumerate((east, north))
    )
    stretched_east = _stretched(east, east_stretching)
    stretched_north = _stretched(north, north_stretching)
    is_beside = _beside(stretched_east) | _beside(stretched_north)
    error = torch.where(is_beside, ERROR_BESIDE, 1.0).clamp(
        max=ERROR.get(east.dtype, ERROR[torch.float32])
    )
    counts = _counts(
        torch.minimum(east_stretching.rate, north_stretching.rate), error, order, max(height, width)
    )
    image = east.new_empty(batch, height, width)
    for count in counts.unique().tolist():
        members = (counts == count).nonzero().squeeze(1)
        columns, to_columns = _points(east, stretched_east, east_stretching, members, count)
        rows, to_rows = _points(north, stretched_north, north_stretching, members, count)
        values = _in_blocks(evaluate, members, columns, rows)
        if to_columns is None and to_rows is None:
            image.index_copy_(0, members, values)
            continue
        analysis = chebyshev_analysis(count).to(values)
        if to_columns is not None:
            values = values @ analysis
        if to_rows is not None:
            values = to_rows.mT @ (analysis.mT @ values)
        if to_columns is not None:
            values = values @ to_columns
        image.index_copy_(0, members, values)
    return image


def _in_blocks(evaluate: Evaluate, members: Tensor, east: Tensor, north: Tensor) -> Tensor:
    """Images on a grid, of images larger than any of COUNTS a limited number of pixels at a
    time.
    """
    height = north.shape[1]
    width = east.shape[1]
    if max(height, width) <= COUNTS[-1]:
        return evaluate(members, east, north)
    rows = max(min(MOST_POINTS // width, height), 1)
    images = max(MOST_POINTS // (rows * width), 1)
    parts = zip(members.split(images), east.split(images), north.split(images), strict=True)
    made = list[Tensor]()
    for some, columns, all_rows in parts:
        blocks = all_rows.split(rows, dim=1)
        made.append(torch.cat([evaluate(some, columns, block) for block in blocks], dim=1))
    return torch.cat(made)


@dataclass(frozen=True)
class KernelImage:
    """The displacement by a kernel along a direction, on a grid: each column has one east, each row
    one north.

    kernel    sources (batch, variable) and stations (batch, station, 2) -> displacement (batch,
              station, 3) [m]
    singular  sources -> the outermost points of each, (batch, point, 3) [m]; raises ValueError as
              the kernel does
    order     as for `smooth_image`

    Called with sources and

    east       (batch or 1, width)        [m]
    north      (batch or 1, height)       [m]
    direction  (batch, 3)                 unit vectors east, north, up
    returns    (batch, height, width)     [m], positive along the direction

    Interpolated from fewer points: with the source in or near the image to some 1e-6 of its largest
    displacement in double precision, and 3e-5 in single precision; far beside it to 5e-4 in single
    precision.
    """

    kernel: Callable[..., Tensor]
    singular: Callable[[Tensor], Tensor]
    order: int = 0

    def __call__(
        self,
        source: Tensor,
        east: Tensor,
        north: Tensor,
        direction: Tensor,
        poisson_ratio: float = 0.25,
    ) -> Tensor:
        def evaluate(members: Tensor, east: Tensor, north: Tensor) -> Tensor:
            displacement = self.kernel(source[members], grid(east, north), poisson_ratio)
            return project(displacement, direction[members]).view(
                len(members), north.shape[1], east.shape[1]
            )

        return smooth_image(
            evaluate,
            self.singular(source),
            east,
            north,
            self.order,
        )


class _Stretching(NamedTuple):
    """Of positions along an axis, x = centre + scale sinh(u); (batch, 1) each."""

    centre: Tensor
    scale: Tensor
    rate: Tensor
    """The error of an interpolant falls as exp(-rate * points)."""


@torch.no_grad()
def _stretching(positions: Tensor, real: Tensor, depth: Tensor) -> _Stretching:
    """For positions (batch, n), and singularities at real +- i depth, (batch, point) [m]."""
    positions = positions.double()
    real = real.double()
    depth = depth.double()
    centre = (real.amin(1, keepdim=True) + real.amax(1, keepdim=True)) / 2
    scale = depth.amin(1, keepdim=True)
    first, last = (
        torch.asinh((end(positions, 1, keepdim=True) - centre) / scale)
        for end in (torch.amin, torch.amax)
    )
    singular = torch.asinh(torch.complex(real - centre, depth) / scale)
    # The inverse of sinh has two values in the upper half-plane.
    singular = torch.cat([singular, math.pi * 1j - singular], dim=1)
    position = (2 * singular - first - last) / (last - first)
    rate = (
        (position + torch.sqrt(position - 1) * torch.sqrt(position + 1))
        .abs()
        .log()
        .abs()
        .amin(1, keepdim=True)
    )
    return _Stretching(centre, scale, rate)


def _counts(rate: Tensor, error: Tensor, order: int | Tensor, pixels: int) -> Tensor:
    """(batch,) numbers of points; the pixels of the longer axis where none of COUNTS is enough."""
    rate = rate.squeeze(1)
    error = error.squeeze(1).double()
    wanted = 1 - error.log() / rate
    wanted = wanted + order * wanted.log() / rate
    choices = torch.tensor((*COUNTS, max(pixels, COUNTS[-1])), device=rate.device)
    return choices[torch.searchsorted(choices[:-1].double(), wanted)]


class _Stretched(NamedTuple):
    """Positions between -1 and 1, (batch, n), and u at both ends, (batch, 1)."""

    position: Tensor
    first: Tensor
    last: Tensor


def _stretched(positions: Tensor, stretching: _Stretching) -> _Stretched:
    centre, scale, _ = (values.to(positions.dtype) for values in stretching)
    u = torch.asinh((positions - centre) / scale)
    first = u.amin(1, keepdim=True)
    last = u.amax(1, keepdim=True)
    return _Stretched((2 * u - first - last) / (last - first), first, last)


def _beside(stretched: _Stretched) -> Tensor:
    """(batch, 1) whether all positions lie on one side of the source."""
    return (stretched.first > 0) | (stretched.last < 0)


def _points(
    positions: Tensor, stretched: _Stretched, stretching: _Stretching, members: Tensor, count: int
) -> tuple[Tensor, Tensor | None]:
    """Chebyshev points of some members of the batch, (member, count), and their polynomials,
    (member, count, n).

    If there are no more positions than points, the positions themselves, and None.
    """
    if count >= positions.shape[1]:
        return positions[members], None
    centre, scale, _ = (values[members].to(positions.dtype) for values in stretching)
    x, first, last = (values[members] for values in stretched)
    points = centre + scale * torch.sinh(
        (first + last + (last - first) * torch.cos(chebyshev_angles(count).to(x))) / 2
    )
    return points, torch.stack(chebyshev_polynomials(x, count), dim=1)


def chebyshev_angles(count: int) -> Tensor:
    """Of which the cosines are Chebyshev points, (count,)."""
    return math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count


def chebyshev_analysis(count: int) -> Tensor:
    """What values at Chebyshev points are multiplied by, from the right, to make coefficients;
    (count, count).
    """
    analysis = 2 / count * torch.cos(chebyshev_angles(count)[:, None] * torch.arange(count))
    analysis[:, 0] /= 2
    return analysis


def chebyshev_polynomials(x: Tensor, count: int) -> list[Tensor]:
    """The first polynomials, from degree 0, of numbers between -1 and 1."""
    double = 2 * x
    polynomials = [torch.ones_like(x), x]
    while len(polynomials) < count:
        polynomials.append(double * polynomials[-1] - polynomials[-2])
    return polynomials

"""Criteria by which the cells of a reduction are split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.observations.observation import Array
from qexp.observations.pixels import Pixels

Flags = NDArray[np.bool_]


class Criterion(Protocol):
    """What decides whether a cell is split.

    local  whether a cell can be judged without the others
    side   of cells that are all of one size [pixels]; None if there are several sizes
    """

    @property
    def local(self) -> bool: ...

    @property
    def side(self) -> int | None: ...

    def placed(self, crs: str | None) -> Criterion:
        """The criterion for points in a coordinate reference system. Raises QexpError if its place is not one there."""

    def features(self, seen: Pixels) -> Iterator[Array]:
        """Properties of points, (point,) each, of which a cell has the sums; `seen` is the whole part if local."""

    def splits(self, counts: Array, sums: Array, metres: tuple[float, float]) -> Flags:
        """Whether cells are to be split, (cell,).

        counts  (cell,)           observed points
        sums    (feature, cell)   sums of the features over these points
        metres                    of one unit of x and of y
        """


class _Anywhere:
    """A criterion without a place."""

    def placed(self, crs: str | None) -> Self:
        return self


@dataclass(frozen=True)
class Quadtree(_Anywhere):
    """Splits a cell in which the displacements' standard deviation exceeds a threshold [m].

    Jónsson et al. (2002), Bull. Seismol. Soc. Am. 92, 1377-1389.
    """

    threshold: float
    local = True
    side = None

    def __post_init__(self) -> None:
        _require(self.threshold > 0)

    def features(self, seen: Pixels) -> Iterator[Array]:
        yield from _moments(seen)

    def splits(self, counts: Array, sums: Array, metres: tuple[float, float]) -> Flags:
        mean, square = sums / counts
        return np.asarray(square - mean**2 > self.threshold**2)


@dataclass(frozen=True)
class QuadtreePlane(_Anywhere):
    """Splits a cell in which the displacements' standard deviation about their best plane exceeds a threshold [m].

    Slopes alone split no cell, so that fewer cells lie on the flanks of a signal than at its bends.
    After Simons, Fialko and Rivera (2002), Bull. Seismol. Soc. Am. 92, 1390-1402, who split by curvature.
    """

    threshold: float
    local = True
    side = None

    def __post_init__(self) -> None:
        _require(self.threshold > 0)

    def features(self, seen: Pixels) -> Iterator[Array]:
        value, square = _moments(seen)
        row, column = (line - (line.mean() if len(line) else 0.0) for line in (seen.row, seen.column))
        yield from (value, square, row, column, row * row, row * column, column * column, row * value, column * value)

    def splits(self, counts: Array, sums: Array, metres: tuple[float, float]) -> Flags:
        z, zz, r, c, rr, rc, cc, rz, cz = sums / counts
        tensor = np.stack([rr - r * r, rc - r * c, rc - r * c, cc - c * c], axis=-1).reshape(-1, 2, 2)
        tilt = np.stack([rz - r * z, cz - c * z], axis=-1)
        slope = np.linalg.pinv(tensor, rcond=1e-9, hermitian=True) @ tilt[..., None]
        return np.asarray(zz - z * z - (slope[..., 0] * tilt).sum(axis=-1) > self.threshold**2)


@dataclass(frozen=True)
class Resolution:
    """Splits a cell whose datum is needed more than a threshold for a point source at a given place.

    The datum of each cell counts alike. What is needed of it is its element on the diagonal of the data resolution
    matrix N = G (GᵀG)⁻¹ Gᵀ, between 0 and 1, where G holds the derivatives of the displacement of Mogi's source with
    respect to its position, depth and volume change, and a column for an offset; the elements add up to 5.
    The displacements themselves play no part, and neither does their noise.
    Lohman and Simons (2005), Geochem. Geophys. Geosyst. 6, Q01007, with a point in place of a fault.

    threshold    of the elements
    depth        of the source [m]
    east, north  its place in the coordinates of the points, or longitude and latitude [degrees]
    """

    threshold: float
    depth: float
    east: float
    north: float
    local = False
    side = None

    def __post_init__(self) -> None:
        _require(0 < self.threshold < 1 and self.depth > 0)

    def placed(self, crs: str | None) -> Resolution:
        import pyproj

        if crs is None:
            return self
        degrees = abs(self.east) <= 360 and abs(self.north) <= 90
        own = pyproj.CRS.from_user_input(crs)
        if own.is_geographic and not degrees:
            raise QexpError(
                f"the source at {self.east:.0f}, {self.north:.0f}: the grid is in longitude and latitude; give these"
            )
        if own.is_geographic or not degrees:
            return self
        east, north = pyproj.Transformer.from_crs(4326, own, always_xy=True).transform(self.east, self.north)
        return replace(self, east=float(east), north=float(north))

    def features(self, seen: Pixels) -> Iterator[Array]:
        yield from (seen.track.x, seen.track.y, *seen.track.direction.T)

    def splits(self, counts: Array, sums: Array, metres: tuple[float, float]) -> Flags:
        x, y, *direction = sums / counts
        along = np.stack([(x - self.east) * metres[0], (y - self.north) * metres[1]], axis=1)
        return data_resolution(along, np.stack(direction, axis=1), self.depth) > self.threshold


@dataclass(frozen=True)
class Uniform(_Anywhere):
    """Splits nothing: all cells are squares of `side` by `side` pixels."""

    side: int
    local = True

    def features(self, seen: Pixels) -> Iterator[Array]:
        yield from ()

    def splits(self, counts: Array, sums: Array, metres: tuple[float, float]) -> Flags:
        return np.zeros(len(counts), bool)


class Entry(NamedTuple):
    build: Callable[..., Criterion]
    form: str
    """As on the command line, with an example of what it may be."""
    help: str


CRITERIA: Mapping[str, Entry] = {
    "quadtree": Entry(
        Quadtree, "quadtree:THRESHOLD", "cells whose displacements have at most this standard deviation [m]"
    ),
    "quadtree_plane": Entry(
        QuadtreePlane, "quadtree_plane:THRESHOLD", "likewise, about the best plane through the cell"
    ),
    "resolution": Entry(
        Resolution,
        "resolution:THRESHOLD,DEPTH,EAST,NORTH",
        "cells that are small near a source at this depth [m] and place, independently of the displacements",
    ),
    "uniform": Entry(lambda side: Uniform(_whole(side)), "uniform:N", "cells of N × N pixels"),
}
"""Name → criterion, with the numbers that it takes."""


def data_resolution(stations: Array, direction: Array, depth: float) -> Array:
    """The diagonal of the data resolution matrix for a point source and an offset.

    stations   (datum, 2)  east, north of the source [m]
    direction  (datum, 3)  unit vectors from the ground to the satellite
    depth      of the source [m]
    returns    (datum,)    0 to 1; all 1 if there are no more than 5 data
    """
    import torch

    from qexp.forward.point import mogi

    source = torch.tensor([0.0, 0.0, depth, 1.0], dtype=torch.float64).repeat(len(stations), 1).requires_grad_()
    seen = mogi(source, torch.as_tensor(stations)[:, None])[:, 0] * torch.as_tensor(direction)
    (derivatives,) = torch.autograd.grad(seen.sum(), source)  # of each datum, as each has a source of its own
    design = torch.cat([derivatives, torch.ones_like(derivatives[:, :1])], dim=1)
    basis, sizes, _ = torch.linalg.svd(design / torch.linalg.norm(design, dim=0), full_matrices=False)
    diagonal: Array = basis[:, sizes > sizes[0] * 1e-12].square().sum(dim=1).numpy()
    return diagonal


def _moments(seen: Pixels) -> tuple[Array, Array]:
    """Displacements about their mean, so that sums of their squares keep their digits, and these squares."""
    value = seen.track.displacement - (seen.track.displacement.mean() if len(seen.row) else 0.0)
    return value, value**2


def _require(sound: bool) -> None:
    if not sound:
        raise ValueError


def _whole(side: float) -> int:
    _require(side >= 1 and side == int(side))
    return int(side)

"""Where the pixels or the points of a view lie, which is all that noise has to know about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from qexp.forward import geometry
from qexp.forward.geometry import grid, pixel_axis


@dataclass(frozen=True, eq=False)
class Grid:
    """The pixels of an image, row by row; pixel [height // 2, width // 2] of an even count is the origin.

    pixel_width, pixel_height  (1,) or (batch,), where samples differ  [m]
    elevation                  (height, width)                         [m], where it is known
    """

    height: int
    width: int
    pixel_width: Tensor
    pixel_height: Tensor
    elevation: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.height, self.width

    @property
    def same_for_all(self) -> bool:
        """Whether all samples have pixels of one size."""
        return len(self.pixel_width) == len(self.pixel_height) == 1

    def positions(self) -> Tensor:
        """East and north of every pixel [m]: (1 or batch, height * width, 2), float64."""
        east = pixel_axis(self.width, self.pixel_width.double())
        north = pixel_axis(self.height, self.pixel_height.double())
        batch = max(len(east), len(north))
        return grid(east.expand(batch, -1), north.expand(batch, -1))

    def of_samples(self, block: slice) -> Grid:
        """The layout of some of the samples."""
        width, height = (size[block] if len(size) > 1 else size for size in (self.pixel_width, self.pixel_height))
        return replace(self, pixel_width=width, pixel_height=height)


@dataclass(frozen=True, eq=False)
class Points:
    """Scattered points, the same for all samples.

    stations   (point, 2)  east, north [m]
    elevation  (point,)    [m], where it is known
    """

    stations: Tensor
    elevation: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.stations),)

    @property
    def same_for_all(self) -> bool:
        return True

    def positions(self) -> Tensor:
        """East and north of every point [m]: (1, point, 2), float64."""
        return self.stations.double()[None]

    def of_samples(self, block: slice) -> Points:
        return self


Layout = Grid | Points


def distances(layout: Layout) -> Tensor:
    """Distance between every two pixels or points of a layout that is the same for all samples [m]: (n, n), float64."""
    places = layout.positions()[0]
    return geometry.distances(places, places)

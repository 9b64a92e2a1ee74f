"""Views of a deformation: radar images on grids or scattered points, and stations that measure three components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from qexp.forward.geometry import RIGHT

RADAR, GNSS = "radar", "gnss"
"""What a view measures: the displacement along a line of sight, or its three components."""

DISPLACEMENT, MASK = "displacement", "mask"
"""Names of a view's data and of its mask, without the suffix of the view."""

SIZED = ("x_res", "y_res")
"""Variables of views on a grid: the sides of a pixel."""


@dataclass(frozen=True)
class View:
    """The parts of a view that are no numbers.

    name        by which noise components name it
    measures    RADAR or GNSS
    look        side of its path to which the satellite looks, if its direction is given by its heading
    size        (height, width) of its image; the dataset's if None
    points      (point, 2) east, north [m]: scattered points in place of a grid
    elevation   (height, width) or (point,) [m] above the level from which depths are counted
    seen        (height, width) or (point,), True where there are data; None: everywhere
    errors      (point, 3) standard deviations of the errors east, north, up of GNSS stations [m]
    """

    name: str = ""
    measures: str = RADAR
    look: str = RIGHT
    size: tuple[int, int] | None = None
    points: Tensor | None = None
    elevation: Tensor | None = None
    seen: Tensor | None = None
    errors: Tensor | None = None

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(channel, height, width) of its data; scattered points are rows of one pixel.

        size  of the dataset's images
        """
        channels = 3 if self.measures == GNSS else 1
        return (channels, *(self.size or size)) if self.points is None else (channels, len(self.points), 1)

    def required(self, suffix: str, mentioned: Sequence[str]) -> list[str]:
        """The variables that must have a value, given those that a dataset mentions."""
        direction = "heading" if "heading" + suffix in mentioned and "azimuth" + suffix not in mentioned else "azimuth"
        needed = [] if self.measures == GNSS else [direction, "incidence"]
        return [name + suffix for name in [*needed, *(SIZED if self.points is None else ())]]

    def mask(self, size: tuple[int, int]) -> Tensor | None:
        """(1, height, width), 1 where there are data and else 0; None if there are data everywhere."""
        return None if self.seen is None else self.seen.float().reshape(1, *self.shape(size)[1:])


def suffix_of(index: int) -> str:
    """The suffix of the variables of a view: none for the first, `_1` for the second."""
    return f"_{index}" if index else ""

"""Images of surface deformation along a satellite's line of sight."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qexp.forward.geometry import grid, line_of_sight, pixel_axis, project

VIEW_VARIABLES = ("azimuth", "incidence", "x_res", "y_res")
BLOCK = 128
"""Images made at a time, so that intermediate results stay in the processor's cache."""

_OF_A_VIEW = re.compile(rf"(?:{'|'.join(VIEW_VARIABLES)})(_[1-9][0-9]*)?")


@dataclass(frozen=True)
class Source:
    """A kernel of `forward`, and the variables that are the columns of its argument."""

    variables: tuple[str, ...]
    kernel: Callable[[Tensor, Tensor], Tensor]
    """Sources, (batch, variable), and stations, (batch, station, 2) → displacement, (batch, station, 3); SI units."""
    image_kernel: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None
    """The same physics, computed directly as an image along a direction, for sources where that is much faster."""


class DeformationImages:
    """One image per view: `displacement` for the first, `displacement_1` for the view of `azimuth_1`, and so on."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def required(self, variables: Iterable[str]) -> list[str]:
        """The variables that must have a value, given those that a dataset mentions."""
        return [*self.source.variables, *(name + view for view in self.views(variables) for name in VIEW_VARIABLES)]

    def images(self, variables: Iterable[str]) -> list[str]:
        """The images made, one per view."""
        return [f"displacement{view}" for view in self.views(variables)]

    def views(self, variables: Iterable[str]) -> list[str]:
        """Suffixes of the views that the variables belong to; the first view always exists and has an empty suffix."""
        suffixes = {match[1] for name in variables if (match := _OF_A_VIEW.fullmatch(name)) and match[1]}
        return ["", *sorted(suffixes, key=lambda suffix: int(suffix[1:]))]

    def simulate(self, values: Mapping[str, Tensor], height: int, width: int) -> dict[str, Tensor]:
        """The images without noise.

        values   variable → (batch,), or (1,) if all samples share the value; SI units
        returns  image → (batch, height, width) [m]
        """
        batch = max(len(value) for value in values.values())
        source = torch.stack([values[name].expand(batch) for name in self.source.variables], dim=-1)
        made = {}
        for view in self.views(values):
            east = pixel_axis(width, values["x_res" + view])
            north = pixel_axis(height, values["y_res" + view])
            direction = line_of_sight(values["azimuth" + view].expand(batch), values["incidence" + view].expand(batch))
            image_kernel = self.source.image_kernel or self._projected
            made["displacement" + view] = image_kernel(source, east, north, direction)
        return made

    def pixel_sizes(self, image: str, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Width and height of the pixels of a view [m]."""
        view = image.removeprefix("displacement")
        return values["x_res" + view], values["y_res" + view]

    def _projected(self, source: Tensor, east: Tensor, north: Tensor, direction: Tensor) -> Tensor:
        batch, height, width = len(source), north.shape[-1], east.shape[-1]
        parts = (one.expand(batch, -1).split(BLOCK) for one in (source, east, north, direction))
        blocks = [
            project(self.source.kernel(sources, grid(columns, rows)), directions)
            for sources, columns, rows, directions in zip(*parts, strict=True)
        ]
        image: Tensor = torch.cat(blocks).unflatten(-1, (height, width))
        return image

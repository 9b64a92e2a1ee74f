"""Physical models that generate data. A new source is a kernel in `physics` and an entry here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import iadd
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.quantities import VIEW_KEYS
from qexp.base.tables import Entry, number, properties
from qexp.physics.crack import LEAST_DEPTH, penny, penny_image
from qexp.physics.dislocation import cdm, cdm_image, okada, okada_image
from qexp.physics.ellipsoid import LONGEST_SPHEROID, yang, yang_image
from qexp.physics.geometry import (
    azimuth_of_heading,
    grid,
    line_of_sight,
    over_topography,
    pixel_axis,
    project,
)
from qexp.physics.point import mctigue, mctigue_image, mogi, mogi_image, pcdm, pcdm_image
from qexp.simulation.views import DISPLACEMENT, View


class Generator(Protocol):
    """A simulator of images; those of qexp are in `GENERATORS`.

    Values are variable → (batch,), or (1,) if all samples share the value; in SI units.
    """

    def required(self, variables: Iterable[str]) -> list[str]:
        """The variables that must have a value, given those that a dataset mentions."""

    def images(self, variables: Iterable[str]) -> list[str]:
        """The names of the images made."""

    def simulate(self, values: Mapping[str, Tensor], height: int, width: int) -> dict[str, Tensor]:
        """Image → (batch, height, width), without noise."""

    def pixel_sizes(self, image: str, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Width and height of the pixels of an image, (batch,) or (1,) each, in metres: correlated
        noise needs them.
        """


@runtime_checkable
class Viewing(Generator, Protocol):
    """A generator whose images may have sizes, points and masks of their own, and that cannot
    simulate all values.
    """

    def view(self, image: str) -> View:
        """The view of an image."""

    def unmet(self, values: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
        """A requirement, in words → whether values, (batch,) or (1,) in SI units, violate it,
        (batch,) or (1,).
        """


GENERATOR_METHODS = {
    "required": "required(variables): the variables that must have a value",
    "images": "images(variables): the names of the images that it makes",
    "simulate": "simulate(values, height, width): image → (batch, height, width)",
    "pixel_sizes": "pixel_sizes(image, values): width and height of the image's pixels in metres",
}


# Images of surface deformation along a satellite's line of sight, and displacements of stations.

BLOCK = 128
"""Images made at a time, so that intermediate results stay in the processor's cache."""

_OF_A_VIEW = re.compile(rf"(?:{'|'.join(VIEW_KEYS)})(_[1-9][0-9]*)?")


SAME_PLACE = 50.0
"""Distance from a place at which a source is known [m] within which displacements hardly change."""


@dataclass(frozen=True)
class Requirement:
    """What a source must be beyond the limits of its variables, such as below the surface."""

    words: str
    """What is required, after "must": `lie below the surface with its upper edge`."""
    holds: Callable[[Mapping[str, Array]], NDArray[np.bool_]]
    """Variable → values, (batch,), in SI units → whether each source is as required."""


@dataclass(frozen=True)
class Source:
    """A kernel of `physics`, and the variables that are the columns of its argument."""

    variables: tuple[str, ...]
    kernel: Callable[..., Tensor]
    """(batch, variable), stations (batch, station, 2) → displacement, (batch, station, 3); SI."""
    image_kernel: Callable[..., Tensor] | None = None
    """The same physics as an image along a direction, for sources where that is much faster."""
    requirements: tuple[Requirement, ...] = ()
    name: str = ""
    """Prefix of its variables: those of a source called `chamber` are `chamber.depth` and so on."""
    strengths: Mapping[str, Mapping[str, int]] = field(default_factory=dict, hash=False)
    """Amplitude → powers of sizes, by which it is multiplied in what displacements of distant
    points show: the pressure of a sphere times its radius³. An estimate converges sooner if this is
    known; it is not needed.
    """
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    """Of a source that is known only between some values: variable → these, in SI units."""
    extent: tuple[float, float, float, float] | None = None
    """Of a source that is known only near its position: west, east, south and north of it [m]."""
    looks: Tensor | None = None
    """Where displacement is known only along some directions: unit vectors, (look, 3)."""
    places: Tensor | None = None
    """Where a source is known, whatever its extent and looks: east and north, (place, 2) [m]."""
    corrected: Callable[[Tensor], Source] | None = None
    """Of an approximate kernel: a source, (variable,) → this one, less its mean error there."""
    errors: Callable[[Tensor], Tensor] | None = None
    """Of one that was corrected: stations, (1, station, 2) → deviations from that mean, (sample,
    station, 3), whose sum of squares is their variance.
    """
    doubt: str = ""
    """Of one that was corrected: a sentence on why its errors may be larger."""
    takes_elevation: tuple[torch.dtype, ...] = ()
    """Precisions in which stations of its kernel have a third column, the elevation from which the
    depth counts there: much faster than a source for each of them, and with the same bits in single
    precision.
    """

    def with_name(self, name: str) -> Source:
        """The source with a name."""
        return replace(self, name=name)

    def elsewhere(self, points: Tensor) -> Tensor:
        """Whether points, (point, 2), are none of its places, (point,)."""
        if self.places is None:
            return torch.ones(len(points), dtype=torch.bool)
        return torch.cdist(points, self.places).min(dim=1).values > SAME_PLACE

    @property
    def columns(self) -> list[str]:
        """The variables, each with the name of the source."""
        return [f"{self.name}.{variable}" if self.name else variable for variable in self.variables]

    @property
    def type(self) -> Callable[..., Tensor]:
        """What sources of one type share: their kernel, whatever its constants are."""
        return self.kernel.func if isinstance(self.kernel, partial) else self.kernel

    def argument(self, values: Mapping[str, Tensor], batch: int) -> Tensor:
        """The argument of its kernel, (batch, variable)."""
        return torch.stack([values[name].expand(batch) for name in self.columns], dim=-1)

    def images(self, source: Tensor, east: Tensor, north: Tensor, direction: Tensor) -> Tensor:
        """Images along a direction, (batch, height, width), by its kernel for images if it has
        one.
        """
        if self.image_kernel is not None:
            return self.image_kernel(source, east, north, direction)
        batch = len(source)
        height = north.shape[-1]
        width = east.shape[-1]
        parts = (
            tensor.expand(batch, -1).split(BLOCK) for tensor in (source, east, north, direction)
        )
        blocks = [
            project(self.kernel(sources, grid(columns, rows)), directions)
            for sources, columns, rows, directions in zip(*parts, strict=True)
        ]
        image: Tensor = torch.cat(blocks).unflatten(-1, (height, width))
        return image

    def displacements(self, source: Tensor, stations: Tensor, elevation: Tensor | None) -> Tensor:
        """Displacement of stations, (batch, station, 3), its depth counted from their elevation if
        they have one.
        """
        stations = stations.expand(len(source), -1, -1)
        if elevation is not None and not self.ranges:
            if source.dtype not in self.takes_elevation:
                return over_topography(
                    self.kernel, source, stations, elevation, self.variables.index("depth")
                )
            heights = elevation.to(stations)[:, None].expand(len(source), -1, -1)
            stations = torch.cat([stations, heights], dim=-1)
        parts = zip(source.split(BLOCK), stations.split(BLOCK), strict=True)
        return torch.cat([self.kernel(sources, points) for sources, points in parts])


class DeformationImages:
    """The deformation by one source, the sum of several, or none: `displacement`, `displacement_1`
    of a second view, and on.

    views  the views in their order; those beyond them, which only variables such as `azimuth_1`
           mention, are images of the dataset's size
    """

    def __init__(self, *sources: Source, views: Sequence[View] = ()) -> None:
        self.sources = sources
        self.views = tuple(views)

    def required(self, variables: Iterable[str]) -> list[str]:
        mentioned = list(variables)
        names = list[str]()
        for source in self.sources:
            names += source.columns
        for suffix, view in self._views(mentioned):
            names += view.required(suffix, mentioned)
        return names

    def images(self, variables: Iterable[str]) -> list[str]:
        return [DISPLACEMENT + suffix for suffix, _ in self._views(variables)]

    def view(self, image: str) -> View:
        index = int(image.removeprefix(DISPLACEMENT)[1:] or 0)
        return self.views[index] if index < len(self.views) else View()

    def _views(self, variables: Iterable[str]) -> list[tuple[str, View]]:
        """Suffix of each view, and the view; the first one always exists and has an empty
        suffix.
        """
        matches = filter(None, map(_OF_A_VIEW.fullmatch, variables))
        mentioned = {match[1] for match in matches if match[1]}
        declared = {f"_{index}" if index else "": view for index, view in enumerate(self.views)}
        suffixes = sorted({"", *mentioned, *declared}, key=lambda suffix: int(suffix[1:] or 0))
        return [(suffix, declared.get(suffix, View())) for suffix in suffixes]

    def simulate(self, values: Mapping[str, Tensor], height: int, width: int) -> dict[str, Tensor]:
        """The data without noise.

        values   variable → (batch,), or (1,) if all samples share the value; SI units
        returns  image → (batch, height, width), (batch, 3, point, 1) for GNSS stations [m]
        """
        batch = max(len(value) for value in values.values())
        images = {}
        for suffix, view in self._views(values):
            images[DISPLACEMENT + suffix] = self._draw(view, suffix, values, batch, (height, width))
        return images

    def pixel_sizes(self, image: str, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        suffix = image.removeprefix(DISPLACEMENT)
        return values["x_res" + suffix], values["y_res" + suffix]

    def unmet(self, values: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
        heights = [view.elevation for view in self.views]
        levels = [0.0 if height is None else float(height.min()) for height in heights]
        lowest = min(levels, default=0.0)
        unmet = {}
        for source in self.sources:
            columns = zip(source.variables, source.columns, strict=True)
            of_source = {variable: np.asarray(values[column]) for variable, column in columns}
            who = f"the source '{source.name}'" if source.name else "the source"
            if lowest:
                of_source["depth"] = of_source["depth"] + lowest
                words = f"{who} must lie below the lowest ground, {lowest:g} m"
                unmet[words] = of_source["depth"] <= 0
            for requirement in source.requirements:
                met = np.asarray(requirement.holds(of_source), dtype=bool)
                unmet[f"{who} must {requirement.words}"] = ~met
        return unmet

    def _draw(
        self,
        view: View,
        suffix: str,
        values: Mapping[str, Tensor],
        batch: int,
        size: tuple[int, int],
    ) -> Tensor:
        """(batch, height, width) along the line of sight, or (batch, 3, station, 1)."""
        _, height, width = view.shape(size)
        if not self.sources:
            return next(iter(values.values())).new_zeros(batch, *view.shape(size))
        arguments = [(source, source.argument(values, batch)) for source in self.sources]
        if view.points is None:
            east = pixel_axis(width, values["x_res" + suffix])
            north = pixel_axis(height, values["y_res" + suffix])
            if view.elevation is None:
                direction = self.direction(DISPLACEMENT + suffix, values)
                images = (source.images(each, east, north, direction) for source, each in arguments)
                return reduce(iadd, images)
            pixels = max(len(east), len(north))
            points = grid(east.expand(pixels, -1), north.expand(pixels, -1))
        else:
            points = view.points.to(next(iter(values.values())))[None]
        elevation = None if view.elevation is None else view.elevation.flatten()
        moved: Tensor = reduce(
            iadd, (source.displacements(each, points, elevation) for source, each in arguments)
        )
        if not view.instrument.line_of_sight:
            return moved.transpose(1, 2)[..., None]
        direction = self.direction(DISPLACEMENT + suffix, values)
        displacement: Tensor = project(moved, direction).unflatten(-1, (height, width))
        return displacement

    def direction(self, image: str, values: Mapping[str, Tensor]) -> Tensor:
        """Unit vectors from the ground to the satellite of a radar image, (batch, 3); values as for
        `simulate`.
        """
        suffix = image.removeprefix(DISPLACEMENT)
        batch = max(len(value) for value in values.values())
        if (azimuth := values.get("azimuth" + suffix)) is None:
            azimuth = azimuth_of_heading(values["heading" + suffix], self.view(image).look)
        return line_of_sight(azimuth.expand(batch), values["incidence" + suffix].expand(batch))


# What sources must be, beyond the limits of their single variables: below the surface, and longer
# than wide.

Values = Mapping[str, Array]

MARGIN = 1e-5
"""Part of its depth by which a source's top must be below the surface, for single precision."""


def below_surface(words: str, half_height: Callable[[Values], Array]) -> Requirement:
    """The highest point of the source, so far above its centre [m], must be below the surface.

    words  the height as a formula of the variables
    """
    return Requirement(
        f"lie below the surface: depth > {words}",
        lambda values: values["depth"] * (1 - MARGIN) > half_height(values),
    )


def _top_of_spheroid(values: Values) -> Array:
    return np.hypot(
        values["semi_major"] * np.sin(values["plunge"]),
        values["semi_minor"] * np.cos(values["plunge"]),
    )


def _highest_corner(values: Values) -> Array:
    """Of three rectangles, each of which spans two of the axes after the rotation Rz Ry Rx."""
    omega_x = values["omega_x"]
    omega_y = values["omega_y"]
    upwards = (
        np.sin(omega_y),
        np.cos(omega_y) * np.sin(omega_x),
        np.cos(omega_y) * np.cos(omega_x),
    )
    semi_axes = (values["a_x"], values["a_y"], values["a_z"])
    reach = np.stack(
        np.broadcast_arrays(
            *(axis * np.abs(upward) for axis, upward in zip(semi_axes, upwards, strict=True))
        )
    )
    return np.asarray(reach.sum(0) - reach.min(0))


PROLATE = Requirement(
    "have semi_major ≥ semi_minor", lambda values: values["semi_major"] >= values["semi_minor"]
)

NOT_TOO_SLENDER = Requirement(
    f"have semi_major ≤ {LONGEST_SPHEROID} semi_minor",
    lambda values: values["semi_major"] <= LONGEST_SPHEROID * values["semi_minor"],
)

NOT_TOO_WIDE = Requirement(
    f"have a radius of at most {1 / LEAST_DEPTH:g} depths",
    lambda values: values["depth"] * (1 - MARGIN) > LEAST_DEPTH * values["radius"],
)


POISSON_RATIO = properties(
    poisson_ratio=number("Poisson's ratio of the half-space", least=0, below=0.5)
)

PLACE = ("x", "y", "depth")
"""The first variables of every source: its centre."""


def half_space(source: Source) -> Callable[..., DeformationImages]:
    """The builder of a source whose kernels take `poisson_ratio`, of the elastic half-space around
    it.
    """

    def build(poisson_ratio: float = 0.25) -> DeformationImages:
        image_kernel = source.image_kernel and partial(
            source.image_kernel, poisson_ratio=poisson_ratio
        )
        kernel = partial(source.kernel, poisson_ratio=poisson_ratio)
        return DeformationImages(replace(source, kernel=kernel, image_kernel=image_kernel))

    return build


_SOURCES: dict[str, tuple[Source, str]] = {
    "mogi": (
        Source((*PLACE, "delta_volume"), mogi, mogi_image),
        "Point source of a volume change (Mogi 1958)",
    ),
    "mctigue": (
        Source(
            (*PLACE, "radius", "pressure_over_mu"),
            mctigue,
            mctigue_image,
            (below_surface("radius", lambda values: values["radius"]),),
            strengths={"pressure_over_mu": {"radius": 3}},
        ),
        "Pressurised sphere, corrected for its finite size (McTigue 1987)",
    ),
    "pcdm": (
        Source(
            (*PLACE, "omega_x", "omega_y", "omega_z", "potency_x", "potency_y", "potency_z"),
            pcdm,
            pcdm_image,
            takes_elevation=(torch.float64,),
        ),
        (
            "Three mutually perpendicular point cracks, the far field of any opening source"
            " (Nikkhoo and others 2017)"
        ),
    ),
    "yang": (
        Source(
            (*PLACE, "semi_major", "semi_minor", "strike", "plunge", "pressure_over_mu"),
            yang,
            yang_image,
            (
                PROLATE,
                NOT_TOO_SLENDER,
                below_surface("the height of the spheroid above its centre", _top_of_spheroid),
            ),
            strengths={"pressure_over_mu": {"semi_major": 1, "semi_minor": 2}},
            takes_elevation=(torch.float64,),
        ),
        "Pressurised prolate spheroid, such as a conduit (Yang and others 1988)",
    ),
    "penny": (
        Source(
            (*PLACE, "radius", "pressure_over_mu"),
            penny,
            penny_image,
            (NOT_TOO_WIDE,),
            strengths={"pressure_over_mu": {"radius": 3}},
        ),
        "Pressurised horizontal circular crack, a sill (Fialko and others 2001)",
    ),
    "okada": (
        Source(
            (*PLACE, "length", "width", "strike", "dip", "strike_slip", "dip_slip", "opening"),
            okada,
            okada_image,
            (
                below_surface(
                    "width/2 · sin(dip)",
                    lambda values: values["width"] / 2 * np.abs(np.sin(values["dip"])),
                ),
            ),
            strengths={
                name: {"length": 1, "width": 1} for name in ("strike_slip", "dip_slip", "opening")
            },
            takes_elevation=(torch.float32, torch.float64),
        ),
        "Rectangular dislocation that slips or opens, such as a fault, dike or sill (Okada 1985)",
    ),
    "cdm": (
        Source(
            (*PLACE, "omega_x", "omega_y", "omega_z", "a_x", "a_y", "a_z", "opening"),
            cdm,
            cdm_image,
            (below_surface("the height of its corners above its centre", _highest_corner),),
            takes_elevation=(torch.float32, torch.float64),
        ),
        (
            "Compound dislocation: three mutually perpendicular rectangles with one opening, for"
            " chambers of any shape (Nikkhoo and others 2017)"
        ),
    ),
}

GENERATORS: dict[str, Entry] = {
    name: Entry(
        build=half_space(source),
        parameters=POISSON_RATIO,
        help=f"{words}: {', '.join(source.variables)}.",
        example={"type": name, "parameters": {"poisson_ratio": 0.25}},
    )
    for name, (source, words) in _SOURCES.items()
}

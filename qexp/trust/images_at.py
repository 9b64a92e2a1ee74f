"""Images of a simulated dataset at chosen values: one, or a grid over one variable or two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.base import files
from qexp.base.quantities import NOISE, OF_VIEWS, base_name, in_words, name_of_view, quantity
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.figures.canvas import use_style
from qexp.figures.writing import require_formats, save
from qexp.inference.refinement import Grid, MatrixAxis, axes_of, cells_of, possible_cells, values_at
from qexp.kinds.experiments import open_dataset, spec_cache
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.images.figures import Side, image_grid
from qexp.kinds.images.preview import dimensions
from qexp.kinds.matrix_figures import outer_edges
from qexp.kinds.options import ImageOptions
from qexp.kinds.preview import Array, value_in_words
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.trust.matrix import constant_values

if TYPE_CHECKING:
    import xarray

MOST_NUMBERS = 200_000_000
"""Pixels of all images together, at most."""

MOST_DRAWN = 24
"""Images on a side of a figure, at most."""


def images_at(workspace: Workspace, options: ImageOptions) -> xarray.Dataset:
    """Images at chosen values; see `qexp.images`."""
    import xarray

    chosen = options.at
    varied = options.over
    noise = options.noise
    cache = spec_cache(workspace)
    name, document, _ = open_dataset(options.dataset, cache)
    source = generated_of(document, cache.tables, workspace)
    grid = axes_of(varied, "over")
    quiet = {} if noise or NOISE not in source.variables or NOISE in varied else {NOISE: 0.0}
    fixed = constant_values(source, grid, {**quiet, **chosen}, ("over", "at"))
    shapes = {image: source.shapes()[image] for image in source.images}
    cells = cells_of(grid)
    numbers = cells * max(math.prod(shape) for shape in shapes.values())
    if numbers > MOST_NUMBERS:
        raise QexpError(
            f"`over`: images of {numbers:,} pixels together are too many; the limit is"
            f" {MOST_NUMBERS:,}"
        )
    simulated = _simulated(source, grid, fixed, shapes, noise, options.seed)
    sides = [axis.variable for axis in grid]
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for axis in grid:
        coordinates[axis.variable] = axis.variable, axis.centres, _about(source, axis.variable)
    for image, values in simulated.items():
        dims = dimensions(source, image)
        attributes = _about(source, image)
        view = name_of_view(image, source.view_names)
        if view:
            attributes["view"] = view
        array = values.reshape([*(axis.cells for axis in grid), *dims.values()])
        variables[image] = [*sides, *dims], array, attributes
        coordinates |= _coordinates(source, image, fixed, varied, [*dims])
    words = []
    # what was chosen comes first
    for key, value in sorted(fixed.items(), key=lambda item: item[0] not in chosen):
        told = key in chosen or base_name(key) not in OF_VIEWS
        if told and (noise or key != NOISE):
            named = in_words(key, source.view_names)
            unit = quantity(key, source.quantities).unit
            words.append(value_in_words(named, value, unit))
    about = {
        "title": f"{name}: {', '.join(words)}",
        **{f"fixed_{key}": value for key, value in fixed.items()},
    }
    return xarray.Dataset(variables, coordinates, about)


def _simulated(
    source: GeneratedDataset,
    grid: Grid,
    fixed: Mapping[str, float],
    shapes: Mapping[str, tuple[int, ...]],
    noise: bool,
    seed: int,
) -> dict[str, Array]:
    """Image → (cell, channel, height, width); NaN in cells that are not possible."""
    if not grid:  # then there is one cell, of a variable that is fixed
        name, value = next(iter(fixed.items()))
        grid = [MatrixAxis(name, value, value, 1)]
    cells = cells_of(grid)
    every: dict[str, Array] = {
        name: np.full((cells, *shape), np.nan, np.float32) for name, shape in shapes.items()
    }
    random = Seeds(seed).torch(torch.device("cpu"), "images")
    axes = [axis.variable for axis in grid]
    constants = {name: value for name, value in fixed.items() if name not in axes}
    source = source.with_only_fixed(constants)
    for numbers, values, _ in possible_cells(source, grid):
        samples = source.observe(values, random) if noise else source.signals(values)
        for name, images in every.items():
            pixels = samples[name].numpy()
            mask = mask_of(name)
            if mask in samples:
                pixels = np.where(samples[mask].numpy() > 0, pixels, np.nan)
            images[numbers] = pixels
    if all(np.isnan(images).all() for images in every.values()):
        raise QexpError(
            f"no image is possible: {source.why_not(values_at(grid, np.arange(cells)))}"
        )
    return every


def _about(source: GeneratedDataset, name: str) -> dict[str, str]:
    variable = quantity(name, source.quantities)
    return {"long_name": variable.description, "units": variable.unit}


def _coordinates(
    source: GeneratedDataset,
    image: str,
    fixed: Mapping[str, float],
    varied: Mapping[str, Any],
    dims: Sequence[str],
) -> dict[str, Any]:
    """x and y [km] of the pixels, unless their size is an axis; or those of scattered points."""
    view = source.view(image)
    if view.points is not None:
        x, y = view.points.numpy().T / 1000
        suffix = dims[-1].removeprefix("point")
        in_km = {"units": "km"}
        return {f"x{suffix}": (dims[-1], x, in_km), f"y{suffix}": (dims[-1], y, in_km)}
    if any(name.startswith(("x_res", "y_res")) for name in varied):
        return {}
    sizes = source.with_only_fixed(fixed).pixel_sizes(image, {})
    width, height = (float(size[0]) / 1000 for size in sizes)
    _, rows, columns = source.shapes()[image]
    *_, y, x = dims
    east = (np.arange(columns) - columns / 2) * width
    north = (np.arange(rows) - rows / 2) * height
    return {
        x: (x, east, {"units": "km", "long_name": "east of the centre"}),
        y: (y, north, {"units": "km", "long_name": "north of the centre"}),
    }


def draw_images(
    table: xarray.Dataset,
    folder: Path,
    formats: Sequence[str],
    style: tuple[Path | None, str | None],
) -> list[Path]:
    """Draw images into `at_IMAGE.FORMAT`, over two variables, at the middle of the others.

    Raises QexpError if there is no image on a grid, or for more images than a figure can show.
    """
    require_formats(formats)
    of_images = {dim for name in table.data_vars for dim in table[name].dims[-2:]} | {"component"}
    sides = [str(name) for name in table.dims if name in table.coords and name not in of_images]
    for name in sides[:2]:
        if table.sizes[name] > MOST_DRAWN:
            raise QexpError(
                f"`over[{name}]`: a figure shows up to {MOST_DRAWN} images on a side, not"
                f" {table.sizes[name]:,}"
            )
    middle = table.isel({name: table.sizes[name] // 2 for name in sides[2:]})
    drawn = [str(name) for name in table.data_vars if str(table[name].dims[-1]).startswith("x")]
    if not drawn:
        raise QexpError(
            "no image lies on a grid, which alone can be drawn here; qexp data show draws points"
            " and stations"
        )
    paths: list[Path] = []
    others = []
    for name in sides[2:]:
        unit = str(middle[name].attrs["units"])
        others.append(value_in_words(in_words(name), float(middle[name]), unit))
    panels = []
    for side in sides[:2]:
        unit = str(table[side].attrs["units"])
        panels.append(Side(in_words(side), table[side].values, unit))
    with use_style(*style):
        for name in drawn:
            values = middle[name].transpose(*sides[:2], ...)
            y, x = map(str, values.dims[-2:])
            edges = None
            if x in values.coords:
                edges = *outer_edges(values[x].values), *outer_edges(values[y].values)
            view = values.attrs.get("view")
            # `descending displacement`
            called = f"{view} {in_words(base_name(name))}" if view else in_words(name)
            figure = image_grid(
                values.values.reshape([*([1] * (2 - len(panels))), *values.shape]),
                panels,
                edges,
                f"{called} ({values.attrs['units']})",
                ", ".join([str(table.attrs["title"]), *others]),
            )
            files.make_folder(folder)
            for ending in formats:
                paths.append(folder / f"at_{name}.{ending}")
                save(figure, paths[-1])
    return paths

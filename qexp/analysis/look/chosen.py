"""Images of a simulated dataset at values that the user chooses: one, or a grid of them over one variable or two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp import assemble, files
from qexp.analysis.look.view import Array, value_in_words
from qexp.analysis.matrix.axes import MatrixAxis, blocks, checked, values_at
from qexp.analysis.matrix.matrix import held_values
from qexp.errors import QexpError
from qexp.figures.canvas import require_formats, save
from qexp.figures.image_grid import Side, image_grid
from qexp.figures.styles import styled
from qexp.quantities import NOISE, in_words, quantity
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.workspace import Workspace

if TYPE_CHECKING:
    import xarray

MOST_NUMBERS = 200_000_000
"""Pixels of all images together, at most."""

MOST_DRAWN = 24
"""Images on a side of a figure, at most."""


def images_at(
    workspace: Workspace,
    dataset: str,
    at: Mapping[str, float],
    over: Mapping[str, tuple[float, float, int]],
    *,
    noise: bool = False,
    seed: int = 0,
) -> xarray.Dataset:
    """Images at chosen values; see `qexp.images`."""
    import xarray

    parts = assemble.parts_of(workspace)
    name, document = assemble.dataset_document(dataset, workspace, parts.tables)
    source = assemble.generated_of(document, parts.tables, workspace)
    grid = [checked(MatrixAxis(variable, *ends), f"--over {variable}") for variable, ends in over.items()]
    quiet = {NOISE: 0.0} if not noise and NOISE in source.variables and NOISE not in over else {}
    held = held_values(source, grid, {**quiet, **at}, [], ("--over", "--at"))
    shapes = {one: source.shapes()[one] for one in source.generator.images(source.variables)}
    cells = math.prod(one.cells for one in grid)
    if (numbers := cells * max(math.prod(shape) for shape in shapes.values())) > MOST_NUMBERS:
        raise QexpError(f"--over: images of {numbers:,} pixels together are too many; the limit is {MOST_NUMBERS:,}")
    made = _simulated(source, grid, held, shapes, noise, seed)
    sides = [one.variable for one in grid]
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {
        one.variable: (one.variable, one.centres, _about(source, one.variable)) for one in grid
    }
    for image, values in made.items():
        shape, dims = shapes[image], _dimensions(source, image, shapes[image])
        array = values.reshape([*(one.cells for one in grid), *(size for size in shape if size > 1 or len(shape) < 3)])
        variables[image] = ([*sides, *dims], array, _about(source, image))
        coordinates |= _coordinates(source, image, held, over, dims)
    words = [
        value_in_words(in_words(key, source.view_names), value, quantity(key, source.quantities).unit)
        for key, value in sorted(held.items(), key=lambda one: one[0] not in at)  # what was chosen comes first
        if noise or key != NOISE
    ]
    about = {"title": f"{name}: {', '.join(words)}", **{f"fixed_{key}": value for key, value in held.items()}}
    return xarray.Dataset(variables, coordinates, about)


def _simulated(
    source: GeneratedDataset,
    grid: Sequence[MatrixAxis],
    held: Mapping[str, float],
    shapes: Mapping[str, tuple[int, ...]],
    noise: bool,
    seed: int,
) -> dict[str, Array]:
    """Image → (cell, channel, height, width); NaN in cells that are not possible."""
    import torch

    cells = math.prod(one.cells for one in grid)
    made: dict[str, Array] = {name: np.full((cells, *shape), np.nan, np.float32) for name, shape in shapes.items()}
    random = Seeds(seed).torch(torch.device("cpu"), "images")
    # Without an axis there is one cell, of a variable that is held.
    single = {} if grid else dict([next(iter(held.items()))])
    source = source.holding({name: value for name, value in held.items() if name not in single})
    for block in blocks(cells):
        values = values_at(grid, block) if grid else {name: np.array([value]) for name, value in single.items()}
        possible = source.possible(values, len(block))
        if not possible.any():
            continue
        values = {name: of[possible] for name, of in values.items()}
        samples = source.observe(values, random) if noise else source.signals(values)
        for name, images in made.items():
            seen = samples[name].numpy()
            if (mask := mask_of(name)) in samples:
                seen = np.where(samples[mask].numpy() > 0, seen, np.nan)
            images[block[possible]] = seen
    if all(np.isnan(images).all() for images in made.values()):
        values = values_at(grid, np.arange(cells)) if grid else {name: np.array([of]) for name, of in single.items()}
        raise QexpError(f"no image is possible: {source.why_not(values)}")
    return made


def _about(source: GeneratedDataset, name: str) -> dict[str, str]:
    of = quantity(name, source.quantities)
    return {"long_name": of.description, "units": of.unit}


def _dimensions(source: GeneratedDataset, image: str, shape: tuple[int, ...]) -> list[str]:
    """The dimensions of one image, with those of several views apart where their sizes differ."""
    own = image.removeprefix("displacement") if shape[1:] != (source.height, source.width) else ""
    dims = [f"y{own}", f"x{own}"] if source.view(image).points is None else [f"point{own}"]
    return [*(["component"] if shape[0] > 1 else []), *dims]


def _coordinates(
    source: GeneratedDataset, image: str, held: Mapping[str, float], over: Mapping[str, Any], dims: Sequence[str]
) -> dict[str, Any]:
    """x and y of the pixels [km], unless their size is an axis; of scattered points x and y by point."""
    view = source.view(image)
    if view.points is not None:
        x, y = view.points.numpy().T / 1000
        own = dims[-1].removeprefix("point")
        return {f"{side}{own}": (dims[-1], of, {"units": "km"}) for side, of in (("x", x), ("y", y))}
    if any(name.startswith(("x_res", "y_res")) for name in over):
        return {}
    sizes = source.holding(held).pixel_sizes(image, {})
    width, height = (float(size[0]) / 1000 for size in sizes)
    _, rows, columns = source.shapes()[image]
    *_, y, x = dims
    return {
        x: (x, (np.arange(columns) - columns / 2) * width, {"units": "km", "long_name": "east of the centre"}),
        y: (y, (np.arange(rows) - rows / 2) * height, {"units": "km", "long_name": "north of the centre"}),
    }


def draw_images(
    table: xarray.Dataset, folder: Path, formats: Sequence[str] = ("png",), style: Path | None = None
) -> list[Path]:
    """Draw images on a grid into `at_IMAGE.FORMAT`: over the first two variables, at the middle of the others.

    Raises QexpError if there is no image on a grid, or for more images than a figure can show.
    """
    require_formats(formats)
    sides = [str(name) for name in table.dims if name in table.coords and str(name) in _over(table)]
    for name in sides[:2]:
        if table.sizes[name] > MOST_DRAWN:
            raise QexpError(
                f"--over {name}: a figure shows up to {MOST_DRAWN} images on a side, not {table.sizes[name]:,}"
            )
    shown = table.isel({name: table.sizes[name] // 2 for name in sides[2:]})
    drawn = [str(name) for name in table.data_vars if str(table[name].dims[-1]).startswith("x")]
    if not drawn:
        raise QexpError(
            "no image lies on a grid, which alone can be drawn here; qexp data show draws points and stations"
        )
    made: list[Path] = []
    with styled(style):
        for name in drawn:
            values = shown[name].transpose(*sides[:2], ...)
            figure = image_grid(
                values.values.reshape([*([1] * (2 - len(sides[:2]))), *values.shape]),
                [_side(shown, one) for one in sides[:2]],
                _extent(values),
                f"{in_words(name)} ({values.attrs['units']})",
                _title(shown, sides),
            )
            files.make_folder(folder)
            for ending in formats:
                made.append(folder / f"at_{name}.{ending}")
                save(figure, made[-1])
    return made


def _over(table: xarray.Dataset) -> list[str]:
    """The variables of the grid."""
    own = {str(dim) for name in table.data_vars for dim in table[name].dims[-2:]} | {"component"}
    return [str(name) for name in table.dims if str(name) not in own]


def _side(table: xarray.Dataset, name: str) -> Side:
    return Side(in_words(name), table[name].values, str(table[name].attrs["units"]))


def _extent(values: xarray.DataArray) -> tuple[float, float, float, float] | None:
    """The edges of the images [km], if the sizes of their pixels are known."""
    y, x = (str(dim) for dim in values.dims[-2:])
    if x not in values.coords:
        return None
    ends = []
    for name in (x, y):
        centres = values[name].values
        half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else 0.5
        ends += [float(centres[0] - half), float(centres[-1] + half)]
    return ends[0], ends[1], ends[2], ends[3]


def _title(table: xarray.Dataset, sides: Sequence[str]) -> str:
    """The dataset, and the values of what does not vary in the figure."""
    middle = [value_in_words(in_words(name), float(table[name]), str(table[name].attrs["units"])) for name in sides[2:]]
    return ", ".join([str(table.attrs["title"]), *middle])

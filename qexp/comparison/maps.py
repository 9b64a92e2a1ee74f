"""Two maps of one quantity, compared by means over cells as large as those of the coarser one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qexp.base import files, formats
from qexp.base.arrays import Array
from qexp.base.quantities import brief, typeset, with_unit
from qexp.base.text import Table
from qexp.errors import QexpError, suggestion
from qexp.figures.cells import draw_cells, is_geographic, shape_of
from qexp.rows.arrays import DAMAGED
from qexp.rows.cell_means import fill_a_grid, position_columns, steps
from qexp.rows.formats import FORMATS, open_table
from qexp.rows.geotiff import RASTERS, of_netcdf, open_map
from qexp.rows.table import codes, numbers_in

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

MOST_CELLS = 50_000_000

SIMILAR = 3.0
"""Ratio of the cells of two maps below which it matters that they do not lie on one another."""

PLANES = ("ours", "theirs", "difference")


def split_name(text: str) -> tuple[Path, str]:
    """`feo.nc:feo` → the file and what of it; without a colon all of it is the file."""
    file, colon, name = text.rpartition(":")
    return (Path(file), name) if colon and not Path(text).exists() else (Path(text), "")


def is_map(text: str) -> bool:
    """Whether a text names a file that maps can be in, or something of one."""
    return split_name(text)[0].suffix.lower() in {*RASTERS, *FORMATS}


class Measured(NamedTuple):
    cells: int
    bias: float
    rmse: float
    correlation: float
    r2: float
    """Of determination, 1 for equal maps."""


@dataclass(frozen=True)
class Map:
    """A map as the centres of its cells, those without a value, too.

    names      of its positions, that of x first
    points     x and y, (2, cell)
    values     (cell,), NaN where there is none
    untrained  where an estimate is outside the training data, (cell,)
    """

    called: str
    names: tuple[str, str]
    points: Array
    values: Array
    untrained: NDArray[np.bool_]
    unit: str

    @cached_property
    def steps(self) -> Array:
        return steps(self.points)


def read_map(text: str) -> Map:
    """A map in NetCDF, CSV or Parquet with columns of positions, or a GeoTIFF in degrees.

    text  `FILE`, or `FILE:NAME` where the file has several values: a column, or a band by its
          description, or its number where it has none
    Raises QexpError.
    """
    path, name = split_name(text)
    if path.suffix.lower() in (".nc", *RASTERS):
        columns, unit = _from_grid(path, name)
    else:
        table = open_table(path)
        wanted = _wanted(path, name, table.names, numbers_in(table.types(table.names)))
        columns = table.read(wanted, [])[0]
        unit = table.unit(wanted[0])
    (name, values), (x_name, x), (y_name, y), *flagged = columns.items()
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    untrained = np.zeros(len(values), dtype=bool)
    for _, flag in flagged:
        untrained |= flag > 0
    points = np.stack([x, y]).astype(np.float64)
    farthest = np.abs(y).max()
    if not np.isfinite(values).any() or not np.isfinite(points).all():
        raise QexpError(f"{path}: '{name}' has no values, or cells without a position")
    names = (x_name, y_name)
    if is_geographic(names) and farthest > 90:
        raise QexpError(f"{path}: latitudes go up to {farthest:g}")
    return Map(f"{path.name}:{name}", names, points, values, untrained, unit)


def _from_grid(path: Path, name: str) -> tuple[dict[str, Array], str]:
    """The columns of `_wanted`, and the unit of the first."""
    import xarray

    with open_map(path) as data:
        numbers = []
        for variable, values in data.items():
            if values.ndim and values.dtype.kind in "iuf":
                numbers.append(str(variable))
        wanted = _wanted(path, name, [str(each) for each in data.variables], numbers)
        first = data[wanted[0]]
        if first.ndim > 2:
            dims = ", ".join(map(str, first.dims))
            raise QexpError(f"{path}: '{wanted[0]}' lies along {dims}; keep a map of it alone")
        try:
            read = xarray.broadcast(*(data[each] for each in wanted))
            columns = [each.values.ravel() for each in read]
        except DAMAGED as error:
            raise QexpError(f"{path} cannot be read: {error}") from None
        return dict(zip(wanted, columns, strict=True)), str(first.attrs.get("units", ""))


def _wanted(path: Path, name: str, columns: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """The columns of the values, of x and of y, and those that are not 0 for estimates outside the
    training data.
    """
    from qexp.kinds.prediction import ESTIMATES_OUTSIDE, OUTSIDE

    places = position_columns(columns)
    if places is None:
        raise QexpError(f"{path} has no columns longitude and latitude, nor line and sample")
    others = [*places, *(flag for flag in (OUTSIDE, ESTIMATES_OUTSIDE) if flag in columns)]
    known = [each for each in numbers if each not in others]
    if not known:
        raise QexpError(f"{path} has no values over its positions")
    if not name and len(known) > 1:
        raise QexpError(f"{path} has {len(known)} values; write {path}:{known[0]}, for example")
    name = name or known[0]
    if name not in known:
        raise QexpError(f"{path} has no '{name}'; {suggestion(name, known)}")
    return [name, *others]


@dataclass(frozen=True)
class Cells:
    """A grid that both maps are averaged over.

    step    width and height of a cell
    origin  centre of the cell with the least x and y
    size    columns and rows
    """

    names: tuple[str, str]
    step: Array
    origin: Array
    size: NDArray[np.int64]

    def centres(self) -> tuple[Array, Array]:
        """Along x, and along y."""
        columns, rows = map(np.arange, self.size)
        west, south = self.origin
        width, height = self.step
        return west + width * columns, south + height * rows

    def places(self, points: Array) -> Array:
        """Where points lie, in cells from the centre of the first, all longitudes in one turn."""
        x, y = points
        if is_geographic(self.names):
            west = self.origin[0] - self.step[0] / 2
            x = west + (x - west) % 360
        offset = np.stack([x, y]) - self.origin[:, None]
        return np.asarray(offset / self.step[:, None])

    def means(self, averaged: Map) -> tuple[Array, Array]:
        """Of a map, (y, x), NaN where it has fewer than half of the values that fit into a cell;
        and the share of these that are outside the training data.
        """
        columns, rows = np.floor(self.places(averaged.points) + 0.5).astype(np.int64)
        width, height = self.size
        in_columns = (columns >= 0) & (columns < width)
        in_rows = (rows >= 0) & (rows < height)
        used = np.isfinite(averaged.values) & in_columns & in_rows
        cells = rows[used] * width + columns[used]
        counts = np.bincount(cells, minlength=width * height)
        fitting = np.prod(np.maximum(self.step / averaged.steps, 1))
        enough = counts >= max(fitting / 2, 1)
        means = np.full((2, len(counts)), np.nan)
        for mean, values in zip(means, (averaged.values, averaged.untrained), strict=True):
            sums = np.bincount(cells, weights=values[used], minlength=len(counts))
            np.divide(sums, counts, out=mean, where=enough)
        planes = means.reshape(2, height, width)
        return planes[0], planes[1]


def cells_of(maps: Sequence[Map]) -> tuple[Cells, list[str]]:
    """Cells as large as those of the map that has the larger ones, along x and along y, and what is
    to be said of them. Raises QexpError for uneven ones.
    """
    own = np.stack([each.steps for each in maps])
    coarse = own.argmax(axis=0)
    lines = [maps[which].points[axis] for axis, which in enumerate(coarse)]
    step = own.max(axis=0)
    origin = np.array([line.min() for line in lines])
    size = np.rint([np.ptp(line) for line in lines] / step).astype(np.int64) + 1
    cells = Cells(maps[0].names, step, origin, size)
    if size.prod() > MOST_CELLS:
        raise QexpError(f"the coarser map has {size.prod():,} cells, more than {MOST_CELLS:,}")
    remarks = []
    for axis, which in enumerate(coarse):
        larger = maps[which]
        smaller = maps[1 - which]
        places = np.unique(cells.places(larger.points)[axis])
        others = np.unique(cells.places(smaller.points)[axis])
        different = [np.unique(line) for line in larger.points]
        is_grid = fill_a_grid(different, larger.values.size)
        if is_grid and np.abs(places - np.rint(places)).max() > 0.25:
            uneven = f"{larger.names[axis]}s"
            raise QexpError(f"{larger.called}: its {uneven} are not even; resample it")
        ratio = own[which, axis] / own[1 - which, axis]
        edges = (others + 0.5) * ratio  # in cells of the finer map, whose centres are at n + 1/2
        shifted = np.abs(edges % 1 - 0.5).max() > 0.1
        if ratio < SIMILAR and shifted:
            remarks.append(
                f"along {maps[0].names[axis]} the cells of the maps are of similar size and do not"
                " lie on one another: part of the differences is that shift"
            )
    return cells, remarks


@dataclass(frozen=True, repr=False, eq=False)
class MapComparison:
    """Two maps over the same cells.

    cells  means `ours` and `theirs`, NaN where one has no value, their `difference`, and the share
           of estimates `outside` the training data
    """

    cells: xarray.Dataset
    remarks: Sequence[str]

    @property
    def called(self) -> tuple[str, str]:
        return self.cells.ours.attrs["map"], self.cells.theirs.attrs["map"]

    def measures(self) -> dict[str, Measured]:
        """Which cells → their number, and measures that weight cells by their area."""
        both = self.cells.where(self.cells.difference.notnull())
        trained = both.where(both.outside <= 0.5)
        measures = {"all cells": _measured(both), "inside the training data": _measured(trained)}
        numbers = [measured.cells for measured in measures.values()]
        if numbers[0] == numbers[1]:
            del measures["inside the training data"]
        return measures

    def document(self) -> dict[str, Any]:
        about = {name: self.cells.difference.attrs[name] for name in ("units", "cell")}
        measures = {name: measured._asdict() for name, measured in self.measures().items()}
        return {"maps": self.called, **about, "remarks": self.remarks, **measures}

    @property
    def title(self) -> str:
        cell = self.cells.difference.attrs["cell"]
        return f"{' against '.join(self.called)}, means over cells of {cell}"

    def table(self) -> Table:
        unit = typeset(self.cells.difference.attrs["units"])
        rows = []
        for name, (cells, *numbers) in self.measures().items():
            rows.append([name, f"{cells:,}", *map(brief, numbers)])
        columns = ["", "cells", "bias", "RMSE", "correlation", "R²"]
        columns[2:4] = [with_unit(column, unit) for column in columns[2:4]]
        return Table(self.title, columns, rows, right=frozenset(columns[1:]))

    def write(self, folder: Path) -> list[Path]:
        """A picture, NetCDF, the measures as JSON and, where rasterio is installed, a GeoTIFF."""
        from qexp.figures.writing import save

        files.make_folder(folder)
        picture, cells, measures, raster = (
            folder / f"difference.{ending}" for ending in ("png", "nc", "json", "tif")
        )
        save(self.figure(), picture)
        formats.write_netcdf(cells, self.cells)
        formats.write_json(measures, self.document())
        upwards = is_geographic(_names(self.cells))
        if find_spec("rasterio") and (encoded := of_netcdf(cells, upwards)):
            files.write_bytes(raster, encoded)
        return [path for path in (picture, cells, measures, raster) if path.exists()]

    def figure(self) -> Figure:
        """Both maps with the same colours, their difference, and the cells of one against those of
        the other.
        """
        from qexp.figures.canvas import add_title, sized, subplots
        from qexp.figures.estimates import make_equal
        from qexp.figures.fields import limits_of

        names = _names(self.cells)
        about = self.cells.difference.attrs
        unit = typeset(about["units"])
        x, y = (self.cells[name].values for name in names)
        half_x, half_y = about["step"] / 2
        extent = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
        _, tall = shape_of(names, extent)
        height = float(np.clip(4.2 * tall + 1.2, 2.4, 6))
        figure, (upper, (third, last)) = subplots(2, 2, 5.2, height)
        untrained = self.cells.outside.values > 0.5
        both = self.cells.where(self.cells.difference.notnull())
        ours, theirs, difference = (both[name].values for name in PLANES)
        values = np.stack([ours, theirs])
        shared = "viridis", limits_of(values[np.isfinite(values)], signed=False)
        signed = "RdBu_r", limits_of(difference[np.isfinite(difference)], signed=True)
        titles = (*self.called, "difference")
        looks = (shared, shared, signed)
        for axis, name, title, look in zip([*upper, third], PLANES, titles, looks, strict=True):
            axis.set_title(title, fontsize=sized(10))
            plane = self.cells[name].values
            draw_cells(axis, plane, extent, names, *look, unit, untrained)
        make_equal(last, [ours, theirs])
        for shown, colour in ((~untrained, "C0"), (untrained, "0.7")):
            last.plot(theirs[shown], ours[shown], ".", color=colour, markersize=sized(3))
        labels = [with_unit(name, unit) for name in self.called]
        last.set(xlabel=labels[1], ylabel=labels[0])
        hatched = "hatched, and grey points: mostly outside the range of the training data"
        add_title(figure, self.title, caption=hatched if untrained.any() else "")
        return figure


def _names(cells: xarray.Dataset) -> tuple[str, str]:
    """Of the positions, that of x first."""
    y, x = map(str, cells.difference.dims)
    return x, y


def _measured(cells: xarray.Dataset) -> Measured:
    """Of cells that both maps have."""
    import xarray

    y = cells[cells.difference.dims[0]]
    weights = xarray.ones_like(y)
    if is_geographic(_names(cells)):
        weights = np.cos(np.radians(y))
    squared = float((cells.difference**2).weighted(weights).mean())
    weights = weights.broadcast_like(cells.difference)
    mean = cells.weighted(weights).mean()
    variance = cells.weighted(weights).var()
    with np.errstate(all="ignore"):  # of a map of one value alone
        correlation = float(xarray.corr(cells.ours, cells.theirs, weights=weights))
        explained = 1 - squared / (float(variance.theirs) or np.nan)
    return Measured(
        cells=int(cells.difference.count()),
        bias=float(mean.difference),
        rmse=math.sqrt(squared),
        correlation=correlation,
        r2=explained,
    )


def compare_maps(texts: Sequence[str]) -> MapComparison:
    """Compare two maps; see `read_map` for their names. Raises QexpError."""
    import xarray

    if len(texts) != 2 or not all(map(is_map, texts)):
        raise QexpError("two maps are compared, or runs, or inversions, each among themselves")
    maps = [read_map(text) for text in texts]
    names = maps[0].names
    if is_geographic(names) != is_geographic(maps[1].names):
        raise QexpError("one map lies in longitude and latitude, the other in lines and samples")
    cells, remarks = cells_of(maps)
    (ours, untrained), (theirs, others) = map(cells.means, maps)
    planes = (ours, theirs, ours - theirs)
    if np.isfinite(planes[2]).sum() < 2:
        where = "; ".join(map(_where, maps))
        raise QexpError(f"the maps have fewer than two cells in common: {where}")
    units = [each.unit for each in maps]
    if all(units) and units[0] != units[1]:
        remarks.append(f"units differ, and numbers are compared: '{units[0]}' and '{units[1]}'")
    for each in maps:
        remarks += [
            f"{each.called}: {code:g} is taken as a value, far from all others"
            for code in codes(each.values[np.isfinite(each.values)])
        ]
    size = " × ".join(map(brief, cells.step))
    if is_geographic(names):
        size += " degrees, weighted by area"
    about = {"units": units[0] or units[1], "cell": size, "step": cells.step}
    variables: dict[str, Any] = {"outside": (names[::-1], np.fmax(untrained, others))}
    called = [each.called for each in maps]
    if called[0] == called[1]:
        called = [*texts]
    for name, plane, called_so in zip(PLANES, planes, [*called, ""], strict=True):
        variables[name] = names[::-1], plane, {**about, "map": called_so}
    coordinates = dict(zip(names, cells.centres(), strict=True))
    return MapComparison(xarray.Dataset(variables, coordinates), remarks)


def _where(one: Map) -> str:
    left, low = one.points.min(axis=1)
    right, high = one.points.max(axis=1)
    x, y = one.names
    return f"{one.called} {x} {left:g} to {right:g}, {y} {low:g} to {high:g}"

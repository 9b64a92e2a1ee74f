"""Files of images: arrays by the names of variables in npy, npz, NetCDF and GeoTIFF, read some samples at a time."""

from __future__ import annotations

import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import conversion
from qexp.errors import NotFoundError, QexpError, some
from qexp.rows.arrays import DAMAGED
from qexp.rows.geotiff import northwards, open_raster, read_bands

if TYPE_CHECKING:
    import xarray

Values = NDArray[Any]
Shape = tuple[int, ...]


DEGREE_OF_LATITUDE = 111_195.0
"""Length of a degree along a meridian of a sphere of the Earth's mean radius of 6371 km [m]."""


class ImageFile(ABC):
    """Arrays by the names of variables, whose first axis may be the samples."""

    path: Path
    shapes: Mapping[str, Shape]
    """Variable → shape of its array; rows of images run northwards, columns eastwards."""
    kept: Mapping[str, Values] = {}
    """Further columns that describe the samples, one value each."""

    def label(self, name: str) -> str:
        """The file of a variable, and its name there if it has one, for errors."""
        return str(self.path)

    def unit(self, name: str) -> str:
        """The unit that the file gives a variable; empty if it gives none."""
        return ""

    def pixel(self, name: str) -> tuple[float, float] | None:
        """Width and height of the pixels of a variable [m]; None if the file does not say."""
        return None

    def names(self, name: str) -> Sequence[str] | None:
        """Names of the samples of a variable; None if the file has none."""
        return None

    @abstractmethod
    def read(self, name: str, samples: slice | None) -> Values:
        """Some samples of a variable, along its first axis; all of the array for None. Missing values are NaN."""


def degrees_in_metres(east: float, north: float, latitude: float) -> tuple[float, float]:
    """Width and height [m] of a pixel whose sides are degrees of longitude and latitude, at a latitude in degrees."""
    return east * DEGREE_OF_LATITUDE * math.cos(math.radians(latitude)), north * DEGREE_OF_LATITUDE


def require_numbers(dtype: np.dtype[Any], label: str) -> None:
    """Raise QexpError for types other than real numbers and booleans."""
    if dtype.kind not in "biuf":
        raise QexpError(f"{label} holds {dtype}, not real numbers; save the displacement, for example as float32")


# Images in npy and npz files, as numpy saves them.


class NpyImages(ImageFile):
    """One array without a name.

    name  the variable that it stands for
    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        array = self._mapped()
        require_numbers(array.dtype, str(path))
        self.shapes = {name: array.shape}

    def read(self, name: str, samples: slice | None) -> Values:
        array = self._mapped()
        return np.array(array if samples is None else array[samples])

    def _mapped(self) -> Values:
        """The array on the disk; mapped for each read, as what is mapped counts as memory of the process."""
        try:
            return np.lib.format.open_memmap(self.path, mode="r")
        except DAMAGED_ARCHIVE as error:
            raise QexpError(f"{self.path} cannot be read as npy: {error}") from None


class NpzImages(ImageFile):
    """Named arrays, which are read whole.

    variables  those that are read
    only       the variable that a single array of any name stands for; None if arrays are found by name alone
    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, variables: Collection[str], only: str | None) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path), np.load(path) as archive:  # numpy takes what is no archive for a pickle
                self._members = {name: name for name in archive.files}
                if only is not None and len(archive.files) == 1:
                    self._members = {only: archive.files[0]}
                self._arrays = {name: archive[member] for name, member in self._members.items() if name in variables}
        except DAMAGED_ARCHIVE as error:
            raise QexpError(f"{path} cannot be read as npz: {error}") from None
        arrays = self._arrays
        self.shapes = {name: arrays[name].shape if name in arrays else () for name in self._members}

    def label(self, name: str) -> str:
        return f"{self.path}: array '{self._members[name]}'"

    def read(self, name: str, samples: slice | None) -> Values:
        array = self._arrays[name]
        require_numbers(array.dtype, self.label(name))
        return np.array(array if samples is None else array[samples])


DAMAGED_ARCHIVE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""Errors that zipfile and numpy raise for damaged or encrypted archives."""


# Images in GeoTIFF: a band for each sample.


class GeotiffImages(ImageFile):
    """Bands of a GeoTIFF, a sample each.

    name  the variable that they stand for
    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._data = open_raster(path)
        self._order = northwards(self._data)
        self.shapes = {name: (self._data.count, self._data.height, self._data.width)}

    def unit(self, name: str) -> str:
        units = sorted({unit or "" for unit in self._data.units})
        if len(units) > 1:
            raise QexpError(f"{self.path}: its bands have several units, {some([repr(unit) for unit in units])}")
        return units[0]

    def pixel(self, name: str) -> tuple[float, float] | None:
        width, height = self._data.res
        if self._data.crs is None:
            return None
        if self._data.crs.is_geographic:
            return degrees_in_metres(width, height, (self._data.bounds.top + self._data.bounds.bottom) / 2)
        _, factor = self._data.crs.linear_units_factor
        return width * factor, height * factor

    def names(self, name: str) -> Sequence[str] | None:
        return [words or str(band) for band, words in zip(self._data.indexes, self._data.descriptions, strict=True)]

    def read(self, name: str, samples: slice | None) -> Values:
        return read_bands(self._data, self._data.indexes[samples or slice(None)])[:, *self._order]


# Images in NetCDF: variables over (sample, y, x), with what the file says of samples and pixels.


UNEVEN = 1e-3
"""Largest relative difference between the steps of evenly spaced coordinates; single precision causes about 1e-5."""


class NetcdfImages(ImageFile):
    """Variables of a NetCDF file of version 3 or 4; y and x come last, and ascend, if coordinates say where they lie.

    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        import xarray

        self.path = path
        try:
            try:
                self._data = xarray.open_dataset(path, cache=False, decode_timedelta=False)
            except ValueError:  # times in a calendar or unit that xarray cannot decode
                self._data = xarray.open_dataset(path, cache=False, decode_times=False)
        except DAMAGED as error:
            raise QexpError(f"{path} cannot be read as NetCDF: {error}") from None
        self.shapes = {str(name): self._variable(str(name)).shape for name in self._data.variables}
        along = {self._variable(name).dims[0] for name, shape in self.shapes.items() if len(shape) >= 3}
        if (
            len(along) == 1
        ):  # further columns are variables along the first dimension of the images, its coordinate aside
            (samples,) = along
            self.kept = {
                str(name): variable.values
                for name, variable in self._data.variables.items()
                if variable.dims == (samples,) and name != samples
            }

    def label(self, name: str) -> str:
        return f"{self.path}: variable '{name}'"

    def unit(self, name: str) -> str:
        return str(self._data.variables[name].attrs.get("units", ""))

    def pixel(self, name: str) -> tuple[float, float] | None:
        if len(self.shapes[name]) < 2:
            return None
        y, x = self._variable(name).dims[-2:]
        units = [self.unit(str(axis)) if axis in self._data.variables else "" for axis in (x, y)]
        width, height = self._step(x), self._step(y)
        if width is None or height is None:
            return None
        if all(unit.startswith("degree") for unit in units):
            middle = self._along(y)
            return degrees_in_metres(width, height, 0.0 if middle is None else float(middle.mean()))
        factors = [conversion(unit, "m") for unit in units]
        if factors[0] is None or factors[1] is None:
            return None
        return width * factors[0], height * factors[1]

    def names(self, name: str) -> Sequence[str] | None:
        along = self._variable(name).dims[0] if self.shapes[name] else None
        coordinate = self._data.variables.get(along)
        if coordinate is None or coordinate.dims != (along,):
            return None
        return [_as_text(value) for value in coordinate.values]

    def read(self, name: str, samples: slice | None) -> Values:
        variable = self._variable(name)
        require_numbers(variable.dtype, self.label(name))
        try:
            values = np.asarray(variable.values if samples is None else variable[samples].values)
        except DAMAGED as error:
            where = "" if samples is None else f" at samples {samples.start} to {samples.stop - 1}"
            raise QexpError(f"{self.label(name)} cannot be read{where}: {error}") from None
        if variable.ndim >= 2:
            for axis in (-2, -1):
                along = self._along(variable.dims[axis])
                if along is not None and len(along) > 1 and along[0] > along[-1]:
                    values = np.flip(values, axis)
        return values

    def _variable(self, name: str) -> xarray.Variable:
        variable = self._data.variables[name]
        return variable.transpose(..., "y", "x") if {"y", "x"} <= set(variable.dims) else variable

    def _step(self, dimension: Any) -> float | None:
        """Distance between neighbouring coordinates, or None if there are none. Raises QexpError unless it is even."""
        along = self._along(dimension)
        if along is None or len(along) < 2:
            return None
        steps = np.diff(along)
        if np.ptp(steps) > UNEVEN * abs(steps.mean()):
            raise QexpError(
                f"{self.path}: '{dimension}' is not evenly spaced: its steps range from {abs(steps).min():g} to "
                f"{abs(steps).max():g}; resample the images to square pixels first"
            )
        return float(abs(steps.mean()))

    def _along(self, dimension: Any) -> NDArray[np.float64] | None:
        """The coordinates along a dimension, or None if there are none."""
        coordinate = self._data.variables.get(dimension)
        if coordinate is None or coordinate.dims != (dimension,) or coordinate.dtype.kind not in "iuf":
            return None
        return np.asarray(coordinate.values, dtype=np.float64)


def _as_text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]")).removesuffix("T00:00:00")
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:.12g}" if isinstance(value, np.floating) else str(value)


# Opening of images by the suffix of a file, or of a folder with a file per variable.


SINGLE: Mapping[str, type[NpyImages] | type[GeotiffImages]] = {
    ".npy": NpyImages,
    ".tif": GeotiffImages,
    ".tiff": GeotiffImages,
}
"""Suffix → files of one array, which has no name."""

SUFFIXES = (".nc", ".npz", *SINGLE)
"""Suffixes of files of images."""


def variables_in(folder: Path, names: Collection[str]) -> dict[str, Path]:
    """Variable → its npy or GeoTIFF file in a folder, for those of these names that have one."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SINGLE and path.stem in names and path.is_file():
            if path.stem in paths:
                raise QexpError(f"{folder} has both {paths[path.stem].name} and {path.name}; keep one of them")
            paths[path.stem] = path
    return paths


def open_images(source: Path, variables: Sequence[str], inputs: Sequence[str]) -> dict[str, ImageFile]:
    """Variable → the file that holds it, in a folder one each. Raises QexpError and NotFoundError.

    variables  the names that are searched in a folder
    inputs     the variables that a run needs; if it is one, a file with a single array holds that
    """
    if source.is_dir():
        paths = variables_in(source, variables)
        return {name: SINGLE[path.suffix.lower()](path, name) for name, path in paths.items()}
    if not source.is_file():
        raise NotFoundError(f"{source}: there is no such file or folder")
    suffix, only = source.suffix.lower(), inputs[0] if len(inputs) == 1 else None
    if suffix not in SINGLE:
        file = NetcdfImages(source) if suffix == ".nc" else NpzImages(source, variables, only)
        return dict.fromkeys(file.shapes, file)
    if only is None:
        raise QexpError(
            f"{source} has one array, but the run takes {some(inputs)}; give NetCDF or npz with these names, or a "
            f"folder with a file for each, such as {inputs[0]}{suffix}"
        )
    return {only: SINGLE[suffix](source, only)}

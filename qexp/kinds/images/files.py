"""Files of images: arrays by the names of variables, read some samples at a time."""

from __future__ import annotations

import math
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Texts
from qexp.base.formats import BROKEN_NUMPY
from qexp.base.quantities import base_name, conversion
from qexp.errors import NotFoundError, QexpError, some
from qexp.observations.raster_files import EAST, NORTH
from qexp.rows.arrays import DAMAGED, open_dataset
from qexp.rows.geotiff import beside, northwards, open_raster, read_bands
from qexp.rows.table import TableError

if TYPE_CHECKING:
    import xarray

Values = NDArray[Any]
Shape = tuple[int, ...]

UNNAMED = ""
"""The array of a file that has but one, without a name."""

DEGREE_OF_LATITUDE = 111_195.0
"""Length of a degree along a meridian of a sphere of the Earth's mean radius of 6371 km [m]."""


@dataclass(frozen=True)
class ImageAxis:
    """Where the pixels of an image lie along one of its axes.

    name    the coordinate that says so; empty if it has no name
    unit    its unit; empty if the file gives none
    step    from one pixel to the next, in `unit`
    origin  position that simulated images call 0, in `unit`: that of pixel count / 2, counted
            eastwards or northwards
    metres  length of its unit [m]; None if that is not known
    """

    name: str
    unit: str
    step: float
    origin: float
    metres: float | None


ImageAxes = tuple[ImageAxis, ImageAxis]
"""Eastwards and northwards."""


class ImageFile(ABC):
    """Arrays by the names of variables, whose first axis may be the samples."""

    path: Path
    shapes: Mapping[str, Shape]
    """Variable → shape of its array; rows of images run northwards, columns eastwards."""
    kept: Mapping[str, Values] = {}
    """Further columns that describe the samples, one value each."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files that are read: of a folder, such as a store of Zarr, all in it."""
        if self.path.is_dir():
            return sorted(filter(Path.is_file, self.path.rglob("*")))
        return [self.path]

    def label(self, name: str) -> str:
        """The file of a variable, and its name there if it has one, for errors."""
        return str(self.path)

    def unit(self, name: str) -> str:
        """The unit that the file gives a variable; empty if it gives none."""
        return ""

    def axes(self, name: str) -> ImageAxes | None:
        """Where pixels of a variable lie, eastwards and northwards; None if that is not known."""
        return None

    def tells_north(self, name: str) -> bool:
        """Whether the file says which way the rows of a variable run."""
        return False

    def names(self, name: str) -> Sequence[str] | None:
        """Names of the samples of a variable; None if the file has none."""
        return None

    def labels(self, name: str) -> list[str]:
        """Names of the values of a vector; empty if the file has none."""
        return []

    def dimensions(self, name: str) -> list[str]:
        """Names of the axes of a variable, y and x where these are known; empty if it has none."""
        return []

    def texts(self, name: str) -> Texts:
        """All values of a variable, texts or numbers, as texts, in the shape of its array."""
        return _as_texts(self.read(name, None))

    @abstractmethod
    def read(self, name: str, samples: slice | None) -> Values:
        """Some samples of a variable along its first axis; all for None. Missing values are NaN."""


@dataclass(frozen=True)
class ImageVariable:
    """A variable of a file of images.

    name     its name there; empty for the array of a file that has but one, without a name
    channel  the axis of the channels, counted from the end, and the number of one; all of them if
             left out
    order    the axes of the file in the order in which they are read; as they are if left out
    """

    file: ImageFile
    name: str
    channel: tuple[int, int] | None = None
    order: Sequence[int] = ()

    @property
    def shape(self) -> Shape:
        there = self.file.shapes[self.name]
        shape = [there[axis] for axis in self.order or range(len(there))]
        if self.channel is not None:
            del shape[self.channel[0]]
        return tuple(shape)

    @property
    def label(self) -> str:
        return self.file.label(self.name)

    @property
    def unit(self) -> str:
        return self.file.unit(self.name)

    @cached_property
    def labels(self) -> list[str]:
        """Names of the values of a vector; empty if the file has none."""
        return self.file.labels(self.name)

    def texts(self) -> Texts:
        """All values as texts, as they lie in the file."""
        return self.file.texts(self.name)

    def read(self, samples: slice | None) -> Values:
        """Values of some samples, or of all, (sample, ...)."""
        first = not self.order or not self.order[0]  # whether samples are first in the file
        values = self.file.read(self.name, samples if first else None)
        values = values.transpose(self.order) if self.order else values
        values = values if first or samples is None else values[samples]
        return values if self.channel is None else np.take(values, self.channel[1], self.channel[0])


ImageVariables = dict[str, ImageVariable]
"""By name."""


def degrees_in_metres(latitude: float) -> tuple[float, float]:
    """Lengths [m] of a degree of longitude and of one of latitude, at a latitude in degrees."""
    return DEGREE_OF_LATITUDE * math.cos(math.radians(latitude)), DEGREE_OF_LATITUDE


def require_numbers(dtype: np.dtype[Any], label: str) -> None:
    """Raise QexpError for types other than real numbers and booleans."""
    if dtype.kind not in "biuf":
        parts = "real and imaginary parts, or amplitudes and phases, beside each other"
        way_out = parts if dtype.kind == "c" else "numbers, such as float32"
        raise QexpError(f"{label} holds {dtype}, not real numbers; give {way_out}")


class NpyImages(ImageFile):
    """One array without a name. Raises QexpError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        array = self._mapped()
        if array.ndim > 1:  # names of classes lie along one axis
            require_numbers(array.dtype, str(path))
        self.shapes = {UNNAMED: array.shape}

    def texts(self, name: str) -> Texts:
        return _as_texts(self._mapped())

    def read(self, name: str, samples: slice | None) -> Values:
        array = self._mapped()
        require_numbers(array.dtype, str(self.path))
        return np.array(array if samples is None else array[samples])

    def _mapped(self) -> Values:
        """The array on the disk, mapped for each read: what is mapped counts as memory in use."""
        try:
            return np.lib.format.open_memmap(self.path, mode="r")
        except DAMAGED_ARCHIVE as error:
            raise QexpError(f"{self.path} cannot be read as npy: {error}") from None


class NpzImages(ImageFile):
    """Named arrays, read in pieces as they lie in the archive. Raises QexpError if it is broken."""

    def __init__(self, path: Path) -> None:
        shapes: dict[str, Shape] = {}
        self.path, self.shapes = path, shapes
        self._headers: dict[str, tuple[int, bool, np.dtype[Any]]] = {}
        """Name → where its values begin, whether columns come first, and their type."""
        self._streams: dict[str, IO[bytes]] = {}
        """Name → the array, opened when it is first read."""
        try:
            self._archive = zipfile.ZipFile(path)
            weakref.finalize(self, _close, self._streams, self._archive)
            for member in self._archive.infolist():
                if member.filename.endswith(".npy"):
                    shapes[member.filename.removesuffix(".npy")] = self._shape(member)
        except DAMAGED_ARCHIVE as error:
            raise QexpError(f"{path} cannot be read as npz: {error}") from None

    def _shape(self, member: zipfile.ZipInfo) -> Shape:
        """Shape of an array by its header. Raises ValueError if the array has another size."""
        name = member.filename.removesuffix(".npy")
        npy = np.lib.format
        with self._archive.open(member) as stream:
            is_first = npy.read_magic(stream) == (1, 0)
            header = npy.read_array_header_1_0 if is_first else npy.read_array_header_2_0
            shape, by_column, kind = header(stream)
            begin = stream.tell()
        size = begin + math.prod(shape) * kind.itemsize
        if min(shape, default=0) < 0 or (size != member.file_size and not kind.hasobject):
            raise ValueError(f"'{name}' has another size than the shape {shape} that it gives")
        self._headers[name] = begin, by_column and len(shape) > 1, kind
        return shape

    def label(self, name: str) -> str:
        return f"{self.path}: array '{name}'"

    def labels(self, name: str) -> list[str]:
        if names_in(name) not in self.shapes or self._headers[names_in(name)][-1].kind not in "US":
            return []
        return self.texts(names_in(name)).ravel().tolist()

    def texts(self, name: str) -> Texts:
        try:
            with np.load(self.path) as there:
                return _as_texts(there[name])
        except DAMAGED_ARCHIVE as error:
            advice = "; save it with .astype(str)" if self._headers[name][-1].hasobject else ""
            raise QexpError(f"{self.label(name)} cannot be read: {error}{advice}") from None

    def read(self, name: str, samples: slice | None) -> Values:
        shape, (begin, by_column, kind) = self.shapes[name], self._headers[name]
        require_numbers(kind, self.label(name))
        chosen = samples or slice(0, shape[0] if shape else 1)
        size = math.prod(shape[1:]) * kind.itemsize
        rows = chosen.stop - chosen.start
        try:
            stream = self._streams.get(name)
            if stream is None:
                stream = self._streams[name] = self._archive.open(f"{name}.npy")
                stream.read(begin)  # where one seeks, the hash of the whole is not compared
            if by_column:
                stream.seek(begin)
                values = np.frombuffer(stream.read(), kind).reshape(shape, order="F")
                return np.array(values[chosen])
            stream.seek(begin + chosen.start * size)
            values = np.frombuffer(stream.read(rows * size), kind)
            return values.reshape((rows, *shape[1:])[: len(shape)])
        except DAMAGED_ARCHIVE as error:
            raise QexpError(f"{self.path} cannot be read as npz: {error}") from None


def names_in(name: str) -> str:
    """The array with the names of the values of a vector."""
    return f"{name}_names"


def _close(streams: Mapping[str, IO[bytes]], archive: zipfile.ZipFile) -> None:
    for stream in streams.values():
        stream.close()
    archive.close()


DAMAGED_ARCHIVE = (*BROKEN_NUMPY, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""Errors that zipfile and numpy raise for damaged or encrypted archives."""


class GeotiffImages(ImageFile):
    """Bands of a GeoTIFF, a sample each. Raises QexpError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = open_raster(path)
        self._order = northwards(self._data)
        self.shapes = {UNNAMED: (self._data.count, self._data.height, self._data.width)}

    @property
    def paths(self) -> Sequence[Path]:
        return [self.path, *beside(self.path)]

    def unit(self, name: str) -> str:
        units = sorted({unit or "" for unit in self._data.units})
        if len(units) > 1:
            several = some([repr(unit) for unit in units])
            raise QexpError(f"{self.path}: its bands have several units, {several}")
        return units[0]

    def axes(self, name: str) -> ImageAxes | None:
        crs, bounds, (width, height) = self._data.crs, self._data.bounds, self._data.res
        if crs is None:
            return None
        unit, factor = ("degrees", None) if crs.is_geographic else crs.linear_units_factor
        unit = "m" if factor == 1 else unit
        metres = (factor, factor) if factor else degrees_in_metres((bounds.top + bounds.bottom) / 2)
        east = (bounds.left + bounds.right + width) / 2
        north = (bounds.bottom + bounds.top + height) / 2
        x = ImageAxis("", unit, width, east, metres[0])
        return x, ImageAxis("", unit, height, north, metres[1])

    def tells_north(self, name: str) -> bool:
        return True  # the first row of a raster is its top

    def names(self, name: str) -> Sequence[str] | None:
        bands = zip(self._data.indexes, self._data.descriptions, strict=True)
        return [words or str(band) for band, words in bands]

    def read(self, name: str, samples: slice | None) -> Values:
        return read_bands(self._data, self._data.indexes[samples or slice(None)])[:, *self._order]


# Images in NetCDF: variables over (sample, y, x), with what the file says of samples and pixels.


@dataclass(frozen=True)
class Way:
    """Northwards or eastwards: how files say that a dimension runs along it."""

    letter: str
    angle: str
    unit: str
    names: Collection[str]


Y = Way("Y", "latitude", "degrees_north", NORTH)
X = Way("X", "longitude", "degrees_east", EAST)

DEGREES = ("latitude", "lat", "longitude", "lon")
"""Coordinates that are in degrees if the file gives no unit."""

ROWS, NORTHWARDS = "rows", "northwards"
"""Attribute of a variable without coordinates, and its value, which say where north is."""
POINT = "point"
"""Dimension of stations and scattered points in qexp's own samples."""

PIXEL = "pixel"
"""Attribute of images: width and height of their pixels [m], NaN where that is not known."""

UNEVEN_STEPS = 1e-3
"""Largest relative difference between even steps; single precision causes about 1e-5."""


class NetcdfImages(ImageFile):
    """Variables of a NetCDF file of version 3 or 4; y and x come last, and ascend, if coordinates
    say where they lie.

    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, data: xarray.Dataset | None = None) -> None:
        """data  what the file would hold, if there is none"""
        import xarray

        self.path = path
        self._data = open_dataset(path) if data is None else data
        with suppress(ValueError):  # times in a calendar or unit that xarray cannot decode
            self._data = xarray.decode_cf(
                self._data, mask_and_scale=False, decode_coords=False, decode_timedelta=False
            )
        names = [str(name) for name in self._data.variables]
        self._sides = [name for name in names if name.lower() in (*NORTH, *EAST)]
        self.shapes = {name: self._variable(name).shape for name in names}
        images = [name for name, shape in self.shapes.items() if len(shape) >= 3]
        first = {self._variable(name).dims[0] for name in images}
        # further columns lie along the first dimension of the images, its coordinate aside
        if len(first) == 1:
            kept: dict[str, Values] = {}
            for name in names:
                variable = self._data.variables[name]
                if {*variable.dims} == first and variable.ndim == 1 and name not in first:
                    kept[name] = self._values(name, variable)
            self.kept = kept

    def label(self, name: str) -> str:
        return f"{self.path}: variable '{name}'"

    def unit(self, name: str) -> str:
        return str(self._data.variables[name].attrs.get("units", ""))

    def axes(self, name: str) -> ImageAxes | None:
        if len(self.shapes[name]) < 2:
            return None
        x, y = (self._axis(dimension) for dimension in reversed(self._variable(name).dims[-2:]))
        if x is None or y is None:
            return None
        if x.unit.startswith("degree") and y.unit.startswith("degree"):
            east, north = degrees_in_metres(y.origin - y.step / 2)
            return replace(x, metres=east), replace(y, metres=north)
        x, y = (replace(axis, metres=conversion(axis.unit, "m")) for axis in (x, y))
        return x, y

    def tells_north(self, name: str) -> bool:
        variable = self._variable(name)
        if variable.attrs.get(ROWS) == NORTHWARDS:
            return True
        return self._towards(variable.dims[-2], Y) is not None

    def names(self, name: str) -> Sequence[str] | None:
        samples = self._variable(name).dims[0] if self.shapes[name] else None
        coordinate = self._data.variables.get(samples)
        if coordinate is None or coordinate.dims != (samples,):
            return None
        return [_as_text(value) for value in self._values(str(samples), coordinate)]

    def labels(self, name: str) -> list[str]:
        last = self._variable(name).dims[-1] if self.shapes[name] else None
        coordinate = self._data.variables.get(last)
        if coordinate is None or coordinate.dtype.kind not in "OUS":
            return []
        return [_as_text(value) for value in self._values(name, coordinate)]

    def texts(self, name: str) -> Texts:
        return _as_texts(self._values(name, self._variable(name)))

    def read(self, name: str, samples: slice | None) -> Values:
        variable = self._variable(name)
        require_numbers(variable.dtype, self.label(name))
        where, chosen = "", variable
        if samples is not None:
            where = f" at samples {samples.start} to {samples.stop - 1}"
            chosen = variable[samples]
        values = self._values(name, chosen, where)
        for axis, dimension, way in zip((-2, -1), variable.dims[-2:], (Y, X), strict=False):
            of_samples = variable.ndim + axis == 0 and samples is not None
            if variable.ndim >= 2 and not of_samples and self._towards(dimension, way) is False:
                values = np.flip(values, axis)
        return values

    def _values(self, name: str, variable: xarray.Variable, where: str = "") -> Values:
        try:
            return np.asarray(variable.values)
        except DAMAGED as error:
            raise QexpError(f"{self.label(name)} cannot be read{where}: {error}") from None

    def dimensions(self, name: str) -> list[str]:
        return [self._named(dimension) for dimension in self._variable(name).dims]

    def _named(self, dimension: Any) -> str:
        """The name of an axis; y and x if it is along these, and station for points as of qexp."""
        for axis, way in (("y", Y), ("x", X)):
            if self._is_along(dimension, way):
                return axis
        name = base_name(str(dimension))
        return "station" if name == POINT else name

    def _variable(self, name: str) -> xarray.Variable:
        """A variable whose last dimensions run along y and x, if the file says which do."""
        variable = self._data.variables[name]
        # whose axes HDF5 has reversed
        variable = variable.T if "MATLAB_class" in variable.attrs else variable
        y = [dimension for dimension in variable.dims if self._is_along(dimension, Y)]
        x = [dimension for dimension in variable.dims if self._is_along(dimension, X)]
        if len(y) != 1 or len(x) != 1:
            return variable
        return variable.transpose(..., y[0], x[0])

    def _is_along(self, dimension: Any, way: Way) -> bool:
        """Whether a dimension runs along y or x, by its name or what its coordinate says."""
        name = self._coordinate(dimension)
        about = {} if name is None else self._data.variables[name].attrs
        if str(dimension).lower() in way.names or about.get("units") == way.unit:
            return True
        if str(about.get("axis", "")).upper() == way.letter:
            return True
        projected = f"projection_{way.letter.lower()}_coordinate"
        return about.get("standard_name") in (way.angle, projected)

    def _coordinate(self, dimension: Any) -> str | None:
        """The variable that says where a dimension goes: of its name, or the only one known to."""
        if str(dimension) in self._data.variables:
            return str(dimension) if self._data.variables[dimension].dims == (dimension,) else None
        names = [name for name in self._sides if self._data.variables[name].dims == (dimension,)]
        return names[0] if len(names) == 1 else None

    def _places(self, dimension: Any) -> NDArray[np.float64] | None:
        """The coordinates along a dimension, or None if there are none."""
        name = self._coordinate(dimension)
        if name is None or self._data.variables[name].dtype.kind not in "iuf":
            return None
        return self._values(name, self._data.variables[name]).astype(np.float64)

    def _axis(self, dimension: Any) -> ImageAxis | None:
        """None if there are no coordinates. Raises QexpError unless they are evenly spaced."""
        places = self._places(dimension)
        if places is None or len(places) < 2:
            return None
        steps = np.diff(places)
        if not np.ptp(steps) <= UNEVEN_STEPS * abs(steps.mean()):
            ends = f"its steps range from {abs(steps).min():g} to {abs(steps).max():g}"
            way_out = "resample the images to square pixels first"
            raise QexpError(f"{self.path}: '{dimension}' is not evenly spaced: {ends}; {way_out}")
        name = str(self._coordinate(dimension))
        step = float(abs(steps.mean()))
        unit = self.unit(name).strip()
        if not unit and name.lower() in DEGREES:
            unit = "degrees"
        return ImageAxis(
            name,
            unit,
            step,
            float(places.min()) + step * len(places) / 2,
            None,
        )

    def _towards(self, dimension: Any, way: Way) -> bool | None:
        """Whether coordinates, or latitudes or longitudes of pixels, grow; None without any."""
        places = self._places(dimension)
        for name in (way.angle, way.angle[:3]):
            angles = self._data.variables.get(name)
            if places is not None or angles is None:
                continue
            if angles.ndim == 2 and dimension in angles.dims:
                places = np.nanmean(self._values(name, angles.transpose(dimension, ...)), axis=1)
        return None if places is None or len(places) < 2 else bool(places[0] <= places[-1])


def _as_text(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]")).removesuffix("T00:00:00")
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return f"{value:.12g}" if isinstance(value, np.floating) else str(value)


def _as_texts(values: Values) -> Texts:
    texts = [_as_text(value) for value in values.ravel()]
    return np.array(texts, dtype=np.str_).reshape(values.shape)


# Opening of images by the suffix of a file, or of a folder with a file per variable.

SINGLE: Mapping[str, type[NpyImages] | type[GeotiffImages]] = {
    ".npy": NpyImages,
    ".tif": GeotiffImages,
    ".tiff": GeotiffImages,
}
"""Suffix → files of one array, which has no name."""

HDF5 = (".h5", ".hdf5", ".mat")
"""Suffixes of plain HDF5, which is read like NetCDF; Matlab writes it from its version 7.3 on."""

ZARR = ".zarr"


def _zarr_images(path: Path) -> NetcdfImages:
    from qexp.rows.zarr_stores import open_store

    return NetcdfImages(path, open_store(path))


FORMATS: Mapping[str, Callable[[Path], ImageFile]] = {
    ".nc": NetcdfImages,
    ".npz": NpzImages,
    **SINGLE,
    **dict.fromkeys(HDF5, NetcdfImages),
    ZARR: _zarr_images,
}
"""Suffix → what reads it, wherever images are given: to train on, to predict or to look at."""

SUFFIXES = tuple(suffix for suffix in FORMATS if suffix not in (*HDF5, ZARR))
"""Suffixes of files of images, all of which are read in a folder."""


def variables_in(folder: Path, names: Collection[str]) -> dict[str, Path]:
    """Name → the npy or GeoTIFF file of that name in a folder, for those that have one."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SINGLE and path.stem in names and path.is_file():
            if path.stem in paths:
                raise QexpError(
                    f"{folder} has both {paths[path.stem].name} and {path.name}; keep one of them"
                )
            paths[path.stem] = path
    return paths


def open_images(source: Path, names: Collection[str]) -> ImageVariables:
    """Name → variable of a file, or the file of that name in a folder.

    names  those that are opened in a folder, and in groups of HDF5, as `group/variable`
    Raises QexpError and NotFoundError.
    """
    suffix = source.suffix.lower()
    if source.is_dir() and suffix != ZARR:
        paths = variables_in(source, names)
        files = {name: SINGLE[path.suffix.lower()](path) for name, path in paths.items()}
        return {name: ImageVariable(file, UNNAMED) for name, file in files.items()}
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    file = FORMATS.get(suffix, NpzImages)(source)
    there = {name: ImageVariable(file, name) for name in file.shapes}
    if suffix in (".nc", *HDF5):
        for name in names:
            if "/" in name and name not in there:
                there |= _in_group(source, name)
    return there


def _in_group(path: Path, name: str) -> ImageVariables:
    """The variable of a group, `group/variable`, if it is there."""
    group, _, variable = name.rpartition("/")
    try:
        file = NetcdfImages(path, open_dataset(path, group))
    except TableError:  # a group that is not there
        return {}
    return {name: ImageVariable(file, variable)} if variable in file.shapes else {}

"""Folders of fields: their files, and the fields that are read and computed from them."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qexp.base.formats import BROKEN_NUMPY
from qexp.errors import QexpError, some, suggestion
from qexp.rows.array_cache import Array
from qexp.rows.arrays import open_dataset
from qexp.rows.table import TableError, codes

if TYPE_CHECKING:
    import xarray

Fields = Mapping[str, Array]
"""Variable → (frame, y, x)."""

Places = NDArray[np.float64]

FIELDS_IN, FIELDS_OUT = "fieldin.dat", "fieldout.dat"

_SLOPES = ("thk", "slopsurfx", "slopsurfy")
_MEAN = ("ubar", "vbar")
_SURFACE = ("uvelsurf", "vvelsurf")
_BASE = ("uvelbase", "vvelbase")

PRESETS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "f2": (_SLOPES, _MEAN),
    "f10": ((*_SLOPES, "strflowctrl"), _MEAN),
    "f11": ((*_SLOPES, "arrhenius", "slidingco"), _MEAN),
    "f12": ((*_SLOPES, "strflowctrl"), (*_MEAN, *_SURFACE)),
    "f13": ((*_SLOPES, "arrhenius", "slidingco"), (*_MEAN, *_SURFACE)),
    "f14": ((*_SLOPES, "strflowctrl"), (*_BASE, *_MEAN, *_SURFACE)),
    "f15": ((*_SLOPES, "arrhenius", "slidingco"), (*_BASE, *_MEAN, *_SURFACE)),
}
"""Name → inputs, outputs."""

NATURAL_SCALES: Mapping[str, float] = {
    "thk": 2000.0,
    "slopsurfx": 1.5,
    "slopsurfy": 1.5,
    "slopsurfn": 1.5,
    **dict.fromkeys((*_MEAN, *_SURFACE, *_BASE), 1000.0),
    "strflowctrl": 200.0,
    "arrhenius": 100.0,
    "slidingco": 100.0,
}
"""Field → the typical value that it is divided by if none is given, in the field's unit."""

KNOWN_VECTORS: tuple[tuple[str, str], ...] = (("slopsurfx", "slopsurfy"), _MEAN, _SURFACE, _BASE)
"""Fields that are the x and y component of one vector."""


@dataclass(frozen=True)
class FieldMapping:
    """Field → the typical value in its unit that it is divided by, in the order of the channels."""

    inputs: dict[str, float]
    outputs: dict[str, float]


def preset(name: str) -> FieldMapping:
    """One of DLE's own mappings."""
    return FieldMapping(
        *({field: NATURAL_SCALES[field] for field in fields} for fields in PRESETS[name])
    )


def read_mapping(folder: Path) -> FieldMapping:
    """The mapping of a folder with `fieldin.dat` and `fieldout.dat`. Raises QexpError."""
    return FieldMapping(_read(folder / FIELDS_IN), _read(folder / FIELDS_OUT))


def _read(path: Path) -> dict[str, float]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        holds = f"a mapping's folder holds {FIELDS_IN} and {FIELDS_OUT}"
        raise QexpError(f"there is no {path}; {holds}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise QexpError(f"{path} cannot be read: {error}") from error
    fields: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        where = f"{path}, line {number}"
        if not words:
            continue
        try:
            name = words[0]
            scale = float(words[1])
        except (IndexError, ValueError):
            example = "write a field and its scale, for example 'thk 2000.0'"
            raise QexpError(f"{where}: {line.strip()!r}; {example}") from None
        if len(words) > 2:
            raise QexpError(f"{where}: more than a field and its scale: {line.strip()!r}")
        if scale == 0 or not math.isfinite(scale):
            raise QexpError(f"{where}: the scale of '{name}' is {scale:g}; it must not be zero")
        if name in fields:
            raise QexpError(f"{where}: '{name}' is listed twice; remove one of the lines")
        fields[name] = scale
    if not fields:
        raise QexpError(f"{path} lists no field")
    return fields


# Fields computed from other fields: slopes of a surface, coordinates as fields, and resampled
# fields.


SURFACE = "usurf"
SLOPES = {"slopsurfx": -1, "slopsurfy": -2}
"""Slope → the axis along which it is computed."""

POSITIONS = {"X": -1, "Y": -2}
"""Field of the coordinates of its cells → the axis along which they change, as in 2Dto2D-DLE."""


def slope(surface: Array, spacing: float, axis: int) -> Array:
    """Differences of a surface, (time, y, x) [m], along one axis; one-sided at the edge."""
    return np.asarray(np.gradient(surface.astype(np.float64), spacing, axis=axis), dtype=np.float32)


def positions(coordinates: Places, shape: tuple[int, int, int], axis: int) -> Array:
    """The coordinates of the cells along one axis as a field, (time, y, x)."""
    values = coordinates if axis == -1 else coordinates[:, None]
    return np.broadcast_to(values.astype(np.float32), shape)


def resampled(fields: Array, factor: float) -> Array:
    """Fields, (time, y, x), on cells `factor` times as wide: block means for 2, 3, …, cubic splines
    below 1.

    An incomplete block at the end of an axis is left out.
    """
    if factor == 1:
        return fields
    if factor > 1:
        block = round(factor)
        height, width = (side // block for side in fields.shape[1:])
        complete = fields[:, : height * block, : width * block]
        blocks = complete.reshape(-1, height, block, width, block)
        return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float64), dtype=np.float32)
    from scipy.interpolate import RectBivariateSpline

    height, width = fields.shape[1:]
    rows = finer(height, factor)
    columns = finer(width, factor)
    cells = (np.arange(height), np.arange(width))
    degrees = {"kx": min(3, height - 1), "ky": min(3, width - 1)}
    frames = [RectBivariateSpline(*cells, frame, **degrees)(rows, columns) for frame in fields]
    return np.asarray(np.stack(frames), dtype=np.float32)


def resampled_axis(values: Places, factor: float) -> Places:
    """Coordinates of the cells of resampled fields."""
    if factor == 1:
        return values
    if factor > 1:
        block = round(factor)
        return np.asarray(values[: len(values) // block * block].reshape(-1, block).mean(axis=1))
    return np.asarray(np.interp(finer(len(values), factor), np.arange(len(values)), values))


def finer(count: int, factor: float) -> Places:
    """Positions between 0 and count − 1 in steps of `factor`."""
    positions = np.arange(int(count / factor)) * factor
    return np.asarray(positions[positions <= count - 1])


# Folders of fields: one NetCDF file with all variables, or a npy file for each.


NETCDF = "ex.nc"
"""The file's name in 2Dto2D-DLE."""

COORDINATES = ("x", "y", "time")

SPACING_TOLERANCE = 1e-3
"""Largest relative difference between even steps; single precision causes about 1e-5."""


class FieldError(QexpError):
    """Fields cannot be read."""


@dataclass(frozen=True)
class CoordinateAxis:
    """Coordinates of the cells' centres along one axis, ascending."""

    values: Places
    descends: bool = False
    """Whether they are descending in the file, as its fields are then, too."""
    attributes: Mapping[str, Any] | None = None

    @property
    def spacing(self) -> float:
        """Distance between neighbouring cells."""
        return float((self.values[-1] - self.values[0]) / (len(self.values) - 1))


def field_folders(part: Path) -> list[Path]:
    """The folders of a part, sorted by name. Raises FieldError if there are none."""
    try:
        folders = sorted(path for path in part.iterdir() if path.is_dir())
    except FileNotFoundError:
        has = "a gridded dataset has train/ and test/, each with folders of fields"
        raise FieldError(f"there is no folder {part}; {has}") from None
    except OSError as error:
        raise FieldError(f"{part} cannot be read: {error.strerror}") from error
    folders = [path for path in folders if not path.name.startswith(".")]
    if not folders:
        raise FieldError(f"{part} holds no folder of fields")
    return folders


def folders_of_fields(source: Path, known: Collection[str] = ()) -> list[Path]:
    """A file or a folder of fields itself, or else the folders of fields below it, at any depth.

    known  names of the NetCDF files in them; with other ones `source` itself is no folder of fields
    """
    found = []
    for path, subfolders, names in os.walk(source, followlinks=True):
        folder = Path(path)
        others = known and folder == source and not {*known} & {*names}
        if any(name.endswith(".npy" if others else (".nc", ".npy")) for name in names):
            subfolders.clear()
            found.append(folder)
        around = {outer.resolve() for outer in (folder, *folder.absolute().parents)}
        below = [folder / name for name in subfolders if not name.startswith(".")]
        subfolders[:] = [inner.name for inner in below if inner.resolve() not in around]
    return sorted(found) or [source]


@dataclass(frozen=True)
class FieldReading:
    """How the fields of a dataset are read, in training, evaluation and prediction alike."""

    file: str | None = None
    """Name of the NetCDF file in a folder; None: `ex.nc`, or else npy files."""
    recompute_slopes: bool = False
    """Whether slopes are computed even where the files have some."""
    resample: float = 1
    """Width of the cells relative to the files'."""
    stepping: int = 1
    """Use only every n-th frame."""

    @classmethod
    def from_document(cls, dataset: Mapping[str, Any]) -> FieldReading:
        keys = [field.name for field in fields(cls)]
        return cls(**{key: dataset[key] for key in keys if key in dataset})

    @property
    def hidden(self) -> Collection[str]:
        """Variables that are taken as missing."""
        return SLOPES if self.recompute_slopes else ()

    def open(
        self, folder: Path, way_out: str = 'name it with "file" in the dataset'
    ) -> FieldFolder:
        """The fields of a folder of the dataset. Raises FieldError.

        way_out  what to do if a NetCDF file has another name
        """
        name = self.file or NETCDF
        if (folder / name).is_file():
            return NetcdfFolder(folder, folder / name, self)
        arrays = sorted(folder.glob("*.npy"))
        if self.file is None and arrays:
            return NpyFolder(folder, arrays, self)
        if others := sorted(path.name for path in folder.glob("*.nc")):
            raise FieldError(f"{folder} has no {name}, but {some(others, 3)}; {way_out}")
        raise FieldError(f"{folder} has neither {name} nor npy files such as usurf.npy")

    def open_other(self, source: Path) -> FieldFolder:
        """The fields of a file, or of a folder that may have the usual files in the place of the
        dataset's. Raises FieldError.
        """
        if not source.is_dir():
            return NetcdfFolder(source.parent, source, self)
        known = self.file is not None and (source / self.file).is_file()
        itself = "name the file itself, and not its folder"
        return (self if known else replace(self, file=None)).open(source, itself)


@dataclass(frozen=True)
class FrameGrid:
    """The grid of resampled fields."""

    frames: int
    size: tuple[int, int]
    """Height and width, in cells."""
    y: CoordinateAxis | None
    x: CoordinateAxis | None
    time: Places | None


class FieldFolder:
    """Fields of one folder, (time, y, x), as a network gets them, read on demand: y and x ascend,
    slopes and positions are computed where the files have none, cells are resampled, and frames
    left out.

    files    that are there, with those of variables that are not read
    reading  of the dataset
    """

    def __init__(self, folder: Path, files: list[Path], reading: FieldReading) -> None:
        self.folder, self.files, self.reading = folder, files, reading

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def files_read(self) -> list[Path]:
        """The files that the fields are read from."""
        return self.files

    @cached_property
    def variables(self) -> Mapping[str, tuple[int, ...]]:
        """Name → shape: (time, y, x), or (y, x) for fields that do not change with time."""
        return {name: shape for name, shape in self._header.shapes.items() if len(shape) in (2, 3)}

    def lacking(self, names: Iterable[str]) -> list[str]:
        """The variables that the folder neither has nor can compute."""
        surface = SLOPES if SURFACE in self.variables else ()
        known = {*self.variables, *POSITIONS, *surface}
        return [name for name in names if name not in known]

    def shape(self, names: Sequence[str]) -> tuple[int, int, int]:
        """The common shape in the files, (time, y, x), of what is read for some variables. Raises
        FieldError.
        """
        shapes = {name: self.variables[name] for name in self._in_files(names) or self.variables}
        over_time = [name for name in shapes if len(shapes[name]) == 3]
        first = [*over_time, *shapes][0]
        frames, height, width = shapes[first] if over_time else (1, *shapes[first])
        for name, shape in shapes.items():
            if shape not in ((frames, height, width), (height, width)):
                sizes = [" × ".join(map(str, size)) for size in (shape, shapes[first])]
                has = f"'{name}' has the shape {sizes[0]}, but '{first}' has {sizes[1]}"
                raise FieldError(f"{self.label()}: {has}")
        return frames, height, width

    def grid(self, names: Sequence[str]) -> FrameGrid:
        """The common grid of some variables, without reading their values.

        Raises FieldError, naming all missing variables, or the coordinate that does not fit them.
        """
        label = self.label()
        if missing := self.lacking(names):
            names_missing = ", ".join(f"'{name}'" for name in missing)
            similar = suggestion(missing[0], self.variables)
            if set(missing) & set(SLOPES):
                similar += f"; slopes can be computed from a surface '{SURFACE}'"
            raise FieldError(f"{label} has no variable {names_missing}; {similar}")
        frames, height, width = self.shape(names)
        if not frames * height * width:
            raise FieldError(f"{label} holds {frames} frames of {height} x {width} cells")
        for name in filter(self._computes, names):
            self._axis_of(name)
        for name, axis, side in (("x", self.x, width), ("y", self.y, height)):
            if axis is not None and len(axis.values) != side:
                count = len(axis.values)
                raise FieldError(f"{label}: '{name}' has {count} values, but fields have {side}")
        time = self.time
        if time is not None and time.shape != (frames,):
            there = f"'time' has the shape {list(time.shape)}, but there are {frames} frames"
            raise FieldError(f"{label}: {there}")
        resample, stepping = self.reading.resample, self.reading.stepping
        cells = (np.arange(side, dtype=np.float64) for side in (height, width))
        rows, columns = (len(resampled_axis(numbers, resample)) for numbers in cells)
        if not rows * columns:
            cannot = f"{height} x {width} cells cannot be resampled by {resample:g}"
            raise FieldError(f"{label}: {cannot}: no cell is left")
        return FrameGrid(
            len(range(0, frames, stepping)),
            (rows, columns),
            _resampled(self.y, resample),
            _resampled(self.x, resample),
            None if time is None else time[::stepping],
        )

    def read(self, names: Sequence[str], start: int, stop: int) -> Fields:
        """Name → frames of a variable, (time, y, x). Raises FieldError for gaps and codes.

        start, stop  frames among those that are not left out
        """
        in_files = self._in_files(names)
        count, height, width = self.shape(names)
        frames = range(0, count, self.reading.stepping)[start:stop]
        fields = self._read_whole(in_files, frames)
        for name in filter(self._computes, names):
            axis = self._axis_of(name)
            if name in SLOPES:
                fields[name] = slope(fields[SURFACE], axis.spacing, SLOPES[name])
            else:
                shape = len(frames), height, width
                fields[name] = positions(axis.values, shape, POSITIONS[name])
        return {name: resampled(fields[name], self.reading.resample) for name in names}

    def _read_whole(self, names: Sequence[str], frames: range) -> dict[str, Array]:
        fields = {}
        chosen = slice(frames.start, frames.stop, frames.step)
        y, x = (slice(None, None, -1 if axis and axis.descends else 1) for axis in (self.y, self.x))
        for name, values in zip(names, self._read(names, chosen), strict=True):
            gaps = ~np.isfinite(values)
            words = "not a finite number"
            found = [] if gaps.any() else codes(values)
            if found:
                gaps = np.isin(values, found)
                words = f"{found[0]:g}, far from all others like a code for no data,"
            if gaps.any():
                frame = int(np.argwhere(gaps)[0][0]) if values.ndim == 3 else 0
                raise FieldError(
                    f"{self.label(name)}: '{name}' is {words} in {int(gaps.sum())} cells, first at"
                    f" time {frames[frame]} (counted from 0); fill the gaps, or leave these"
                    " frames out"
                )
            fields[name] = np.broadcast_to(values[..., y, x], (len(frames), *values.shape[-2:]))
        return fields

    def _computes(self, name: str) -> bool:
        """Whether a variable is a slope, or the field of a coordinate, that is not in the files."""
        return (name in SLOPES or name in POSITIONS) and name not in self.variables

    def _in_files(self, names: Iterable[str]) -> list[str]:
        """The variables of the files that are needed for some variables."""
        needed = [SURFACE if name in SLOPES and self._computes(name) else name for name in names]
        return [name for name in dict.fromkeys(needed) if not self._computes(name)]

    def _axis_of(self, name: str) -> CoordinateAxis:
        """The coordinates from which, or along which, a variable is computed."""
        along, axis = ("x", self.x) if (SLOPES | POSITIONS)[name] == -1 else ("y", self.y)
        if axis is None or len(axis.values) < 2:
            surface = f" from '{SURFACE}'" if name in SLOPES else ""
            needed = (
                f"which is needed to compute '{name}'{surface}; add it, evenly spaced in metres"
            )
            lack = f"{self.label()} has no coordinate '{along}' of two or more cells"
            raise FieldError(f"{lack}, {needed}")
        return axis

    @cached_property
    def x(self) -> CoordinateAxis | None:
        return self._axis("x")

    @cached_property
    def y(self) -> CoordinateAxis | None:
        return self._axis("y")

    @cached_property
    def time(self) -> Places | None:
        """Time of each frame, or None if the folder has none."""
        values = self._header.coordinates.get("time")
        return None if values is None else np.asarray(values, dtype=np.float64)

    def attributes(self, name: str) -> dict[str, Any]:
        """Attributes of a variable or coordinate in the file, such as its unit; the field of a
        coordinate has the coordinate's unit.
        """
        in_file = self._header.attributes
        if name not in POSITIONS or name in self.variables:
            return in_file.get(name, {})
        about = in_file.get(name.lower(), {})
        return {key: value for key, value in about.items() if key == "units"}

    def label(self, name: str = "") -> str:
        """The file of a variable, or the file or folder of all, for errors."""
        raise NotImplementedError

    @cached_property
    def _header(self) -> _Header:
        raise NotImplementedError

    def _read(self, names: Sequence[str], frames: slice) -> list[Array]:
        raise NotImplementedError

    def _axis(self, name: str) -> CoordinateAxis | None:
        """Coordinates of one axis, or None. Raises FieldError if they are not evenly spaced."""
        raw = self._header.coordinates.get(name)
        if raw is None:
            return None
        values = np.asarray(raw, dtype=np.float64)
        what = f"{self.label(name)}: '{name}'"
        if values.ndim != 1:
            raise FieldError(f"{what} must be a list of coordinates, one for each cell")
        if len(values) < 2:
            return CoordinateAxis(values, False, self.attributes(name))
        steps = np.diff(values)
        uneven = np.ptp(steps) > SPACING_TOLERANCE * abs(steps.mean())
        if uneven or steps[0] == 0 or not np.isfinite(values).all():
            raise FieldError(
                f"{what} is not evenly spaced: its steps range from {steps.min():g} to"
                f" {steps.max():g}; interpolate the fields to a regular grid first"
            )
        descends = bool(steps[0] < 0)
        return CoordinateAxis(values[::-1] if descends else values, descends, self.attributes(name))


class _Header(NamedTuple):
    """The content of a folder, without the fields' values."""

    shapes: Mapping[str, tuple[int, ...]]
    """Variable → its shape, without axes of length 1 behind the first if it has more than three."""
    attributes: Mapping[str, dict[str, Any]]
    coordinates: Mapping[str, NDArray[Any]]


class NetcdfFolder(FieldFolder):
    """All variables in one NetCDF file, of version 3 or 4."""

    def __init__(self, folder: Path, file: Path, reading: FieldReading) -> None:
        super().__init__(folder, [file], reading)
        self.file = file

    def label(self, name: str = "") -> str:
        return str(self.file)

    def _read(self, names: Sequence[str], frames: slice) -> list[Array]:
        """Of each variable (frame, y, x), or (y, x) where it has no frames."""
        with self._opened() as data:
            grids = [_over_grid(data.variables[name]) for name in names]
            times = [{grid.dims[0]: frames} if grid.ndim == 3 else {} for grid in grids]
            blocks = []
            for grid, time in zip(grids, times, strict=True):
                block = grid.isel(time)
                blocks.append(np.asarray(block.values, dtype=np.float32))
            return blocks

    @cached_property
    def _header(self) -> _Header:
        # Read together: opening a file of many variables takes longer than reading coordinates.
        with self._opened() as data:
            names = [str(name) for name in data.variables if name not in self.reading.hidden]
            there = [name for name in COORDINATES if name in data.variables]
            return _Header(
                {name: _over_grid(data.variables[name]).shape for name in names},
                {name: dict(data.variables[name].attrs) for name in names},
                {name: np.asarray(data[name].values) for name in there},
            )

    @contextmanager
    def _opened(self) -> Iterator[xarray.Dataset]:
        try:
            with open_dataset(self.file) as data:
                yield data
        except TableError as error:
            raise FieldError(str(error)) from error
        except (OSError, ValueError) as error:
            raise FieldError(f"{self.file} cannot be read as NetCDF: {error}") from error


class NpyFolder(FieldFolder):
    """A npy file for each variable; x.npy, y.npy and time.npy are coordinates."""

    def __init__(self, folder: Path, files: list[Path], reading: FieldReading) -> None:
        super().__init__(folder, files, reading)
        self._files = {path.stem: path for path in files if path.stem not in reading.hidden}

    @property
    def files_read(self) -> list[Path]:
        return list(self._files.values())

    @cached_property
    def _header(self) -> _Header:
        arrays = {name: self._mapped(name) for name in self._files}
        coordinates = {name: np.asarray(arrays[name]) for name in COORDINATES if name in arrays}
        return _Header({name: array.shape for name, array in arrays.items()}, {}, coordinates)

    def label(self, name: str = "") -> str:
        return str(self._files.get(name, self.folder))

    def _read(self, names: Sequence[str], frames: slice) -> list[Array]:
        mapped = [self._mapped(name) for name in names]
        chosen = (values[frames] if values.ndim == 3 else values for values in mapped)
        return [np.asarray(values, dtype=np.float32) for values in chosen]

    def _mapped(self, name: str) -> NDArray[Any]:
        try:
            values: NDArray[Any] = np.load(self._files[name], mmap_mode="r")
        except BROKEN_NUMPY as error:
            raise FieldError(f"{self._files[name]} cannot be read as npy: {error}") from error
        if values.dtype.kind not in "iuf":
            raise FieldError(f"{self._files[name]} holds {values.dtype}, not numbers")
        return values


def _over_grid(variable: xarray.Variable) -> xarray.Variable:
    """A variable without axes of length 1, except time, as in DLE; y and x last if named so."""
    if variable.ndim > 3:
        single = [dimension for dimension in variable.dims[1:] if variable.sizes[dimension] == 1]
        variable = variable.isel(dict.fromkeys(single, 0))
    return variable.transpose(..., "y", "x") if {"y", "x"} <= set(variable.dims) else variable


def _resampled(axis: CoordinateAxis | None, factor: float) -> CoordinateAxis | None:
    if axis is None:
        return None
    return replace(axis, values=resampled_axis(axis.values, factor))

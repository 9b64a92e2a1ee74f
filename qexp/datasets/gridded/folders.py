"""Folders of fields: one NetCDF file with all variables, or a npy file for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float32]

NETCDF = "ex.nc"
"""The file's name in 2Dto2D-DLE."""

SPACING_TOLERANCE = 1e-3
"""Largest relative difference between steps of evenly spaced coordinates; single precision causes about 1e-5."""


COORDINATES = ("x", "y", "time")


class FieldError(QexpError):
    """Fields cannot be read."""


@dataclass(frozen=True)
class CoordinateAxis:
    """Coordinates of the cells' centres along one axis, ascending."""

    values: NDArray[np.float64]
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
        found = sorted(path for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        raise FieldError(
            f"there is no folder {part}; a gridded dataset has train/ and test/, each with folders of fields"
        ) from None
    except OSError as error:
        raise FieldError(f"{part} cannot be read: {error.strerror}") from error
    if not found:
        raise FieldError(f"{part} holds no folder of fields")
    return found


def open_folder(folder: Path, file: str | None = None, hidden: Collection[str] = ()) -> FieldFolder:
    """The fields of a folder, from NetCDF or npy files. Raises FieldError.

    file    name of the NetCDF file; None: `ex.nc`
    hidden  variables that are taken as missing
    """
    name = file or NETCDF
    if (folder / name).is_file():
        return NetcdfFolder(folder, folder / name, hidden)
    if file is None and (arrays := sorted(folder.glob("*.npy"))):
        return NpyFolder(folder, [path for path in arrays if path.stem not in hidden])
    others = [path.name for path in folder.glob("*.nc")]
    if others:
        raise FieldError(f'{folder} has no {name}; {suggestion(name, others)} name it with "file" in the dataset')
    raise FieldError(f"{folder} has neither {name} nor npy files such as usurf.npy")


class FieldFolder:
    """Fields of one folder: variables over (time, y, x), read on demand, with y and x ascending."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def files(self) -> list[Path]:
        """The files that the fields are read from."""
        raise NotImplementedError

    @cached_property
    def variables(self) -> Mapping[str, tuple[int, ...]]:
        """Name → shape: (time, y, x), or (y, x) for fields that do not change with time."""
        raise NotImplementedError

    def shape(self, names: Iterable[str]) -> tuple[int, int, int]:
        """The common shape, (time, y, x), of some variables. Raises FieldError."""
        found: dict[str, tuple[int, ...]] = {}
        for name in names:
            if name not in self.variables:
                raise FieldError(f"{self._where()} has no variable '{name}'; {suggestion(name, self.variables)}")
            found[name] = self.variables[name]
        first = next((name for name, shape in found.items() if len(shape) == 3), next(iter(found)))
        frames, height, width = found[first] if len(found[first]) == 3 else (1, *found[first])
        for name, shape in found.items():
            if shape not in ((frames, height, width), (height, width)):
                raise FieldError(
                    f"{self._where()}: '{name}' has the shape {_written(shape)}, but '{first}' has "
                    f"{_written(found[first])}"
                )
        return frames, height, width

    def read(self, names: Sequence[str], start: int, stop: int, step: int = 1) -> dict[str, Array]:
        """Name → some frames of a variable, (time, y, x). Raises FieldError for NaN and infinity."""
        read = zip(names, self._read(names, slice(start, stop, step)), strict=True)
        return {name: self._in_order(name, values, range(start, stop, step)) for name, values in read}

    def _in_order(self, name: str, values: Array, frames: range) -> Array:
        if self.y is not None and self.y.descends:
            values = values[..., ::-1, :]
        if self.x is not None and self.x.descends:
            values = values[..., ::-1]
        if not (finite := np.isfinite(values)).all():
            frame = int(np.argwhere(~finite)[0][0]) if values.ndim == 3 else 0
            raise FieldError(
                f"{self._where(name)}: '{name}' is not a finite number in {int((~finite).sum())} cells, first at time "
                f"{frames[frame]} (counted from 0); fill the gaps, or leave these frames out"
            )
        return np.broadcast_to(values, (len(frames), *values.shape[-2:]))

    @cached_property
    def x(self) -> CoordinateAxis | None:
        """Coordinates along x, or None if the folder has none."""
        return self._axis("x")

    @cached_property
    def y(self) -> CoordinateAxis | None:
        """Coordinates along y, or None if the folder has none."""
        return self._axis("y")

    @cached_property
    def time(self) -> NDArray[np.float64] | None:
        """Time of each frame, or None if the folder has none."""
        values = self._coordinate("time")
        return None if values is None else np.asarray(values, dtype=np.float64)

    def attributes(self, name: str) -> dict[str, Any]:
        """Attributes of a variable or coordinate in the file, such as its unit."""
        return {}

    def _where(self, name: str = "") -> str:
        raise NotImplementedError

    def _read(self, names: Sequence[str], frames: slice) -> list[Array]:
        raise NotImplementedError

    def _coordinate(self, name: str) -> NDArray[Any] | None:
        raise NotImplementedError

    def _axis(self, name: str) -> CoordinateAxis | None:
        """Coordinates of one axis, or None. Raises FieldError if they are not evenly spaced."""
        raw = self._coordinate(name)
        if raw is None:
            return None
        values = np.asarray(raw, dtype=np.float64)
        if values.ndim != 1:
            raise FieldError(f"{self._where(name)}: '{name}' must be a list of coordinates, one for each cell")
        steps = np.diff(values)
        if len(values) < 2:
            return CoordinateAxis(values, False, self.attributes(name))
        if not np.isfinite(values).all() or np.ptp(steps) > SPACING_TOLERANCE * abs(steps.mean()) or steps[0] == 0:
            raise FieldError(
                f"{self._where(name)}: '{name}' is not evenly spaced: its steps range from {steps.min():g} to "
                f"{steps.max():g}; interpolate the fields to a regular grid first"
            )
        descends = bool(steps[0] < 0)
        return CoordinateAxis(values[::-1] if descends else values, descends, self.attributes(name))


class _Header(NamedTuple):
    """The content of a NetCDF file, without the fields' values."""

    shapes: Mapping[str, tuple[int, ...]]
    """Variable over (time, y, x) or (y, x) → its shape."""
    attributes: Mapping[str, dict[str, Any]]
    coordinates: Mapping[str, NDArray[Any]]


class NetcdfFolder(FieldFolder):
    """All variables in one NetCDF file, of version 3 or 4."""

    def __init__(self, folder: Path, file: Path, hidden: Collection[str] = ()) -> None:
        self.folder, self.file, self._hidden = folder, file, frozenset(hidden)

    @property
    def files(self) -> list[Path]:
        return [self.file]

    @property
    def variables(self) -> Mapping[str, tuple[int, ...]]:
        return self._header.shapes

    def attributes(self, name: str) -> dict[str, Any]:
        return self._header.attributes.get(name, {})

    def _where(self, name: str = "") -> str:
        return str(self.file)

    def _read(self, names: Sequence[str], frames: slice) -> list[Array]:
        with self._opened() as data:
            grids = [_over_grid(data.variables[name]) for name in names]
            kept = [grid.isel({grid.dims[0]: frames}) if grid.ndim == 3 else grid for grid in grids]
            return [np.asarray(grid.values, dtype=np.float32) for grid in kept]

    def _coordinate(self, name: str) -> NDArray[Any] | None:
        return self._header.coordinates.get(name)

    @cached_property
    def _header(self) -> _Header:
        # Read together: opening a file with a dozen variables takes longer than reading its coordinates.
        with self._opened() as data:
            shown = {str(name): one for name, one in data.variables.items() if name not in self._hidden}
            grids = {name: _over_grid(variable).shape for name, variable in shown.items()}
            return _Header(
                {name: shape for name, shape in grids.items() if len(shape) in (2, 3)},
                {name: dict(variable.attrs) for name, variable in shown.items()},
                {name: np.asarray(data[name].values) for name in COORDINATES if name in data.variables},
            )

    @contextmanager
    def _opened(self) -> Iterator[xarray.Dataset]:
        import xarray

        try:
            with xarray.open_dataset(self.file, decode_times=False, cache=False) as data:
                yield data
        except (OSError, ValueError) as error:
            raise FieldError(f"{self.file} cannot be read as NetCDF: {error}") from error


class NpyFolder(FieldFolder):
    """A npy file for each variable; x.npy, y.npy and time.npy are coordinates."""

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self.folder = folder
        self._files = {path.stem: path for path in files}

    @property
    def files(self) -> list[Path]:
        return list(self._files.values())

    @cached_property
    def variables(self) -> Mapping[str, tuple[int, ...]]:
        shapes = {name: self._mapped(name).shape for name in self._files}
        return {name: shape for name, shape in shapes.items() if len(shape) in (2, 3)}

    def _where(self, name: str = "") -> str:
        return str(self._files.get(name, self.folder))

    def _read(self, names: Sequence[str], frames: slice) -> list[Array]:
        mapped = [self._mapped(name) for name in names]
        return [np.asarray(values[frames] if values.ndim == 3 else values, dtype=np.float32) for values in mapped]

    def _coordinate(self, name: str) -> NDArray[Any] | None:
        return np.asarray(self._mapped(name)) if name in self._files else None

    def _mapped(self, name: str) -> NDArray[Any]:
        try:
            values: NDArray[Any] = np.load(self._files[name], mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise FieldError(f"{self._files[name]} cannot be read as npy: {error}") from error
        if values.dtype.kind not in "iuf":
            raise FieldError(f"{self._files[name]} holds {values.dtype}, not numbers")
        return values


def _over_grid(variable: xarray.Variable) -> xarray.Variable:
    """A variable without axes of length 1, except time, as in DLE; with y and x last if these are its axes' names."""
    if variable.ndim > 3:
        single = [dimension for dimension in variable.dims[1:] if variable.sizes[dimension] == 1]
        variable = variable.isel(dict.fromkeys(single, 0))
    return variable.transpose(..., "y", "x") if {"y", "x"} <= set(variable.dims) else variable


def _written(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))

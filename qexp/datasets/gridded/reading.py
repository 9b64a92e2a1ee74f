"""Fields of a folder as network inputs: slopes and positions computed, cells resampled, y and x ascending."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array
from qexp.datasets.gridded.derived import POSITIONS, SLOPES, SURFACE, positions, resampled, resampled_axis, slope
from qexp.datasets.gridded.folders import CoordinateAxis, FieldError, FieldFolder, NetcdfFolder
from qexp.did_you_mean import suggestion


@dataclass(frozen=True)
class FrameGrid:
    """The grid of resampled fields."""

    frames: int
    size: tuple[int, int]
    """Height and width, in cells."""
    y: CoordinateAxis | None
    x: CoordinateAxis | None
    time: NDArray[np.float64] | None


def grid_of(source: FieldFolder, names: Sequence[str], resample: float = 1) -> FrameGrid:
    """The common grid of some variables, without reading their values.

    Raises FieldError, naming all missing variables, or the coordinate that does not fit them.
    """
    known = list(source.variables)
    missing = [name for name in names if name not in known and not _computable(name, known)]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        surface = f"; slopes can be computed from a surface '{SURFACE}'" if set(missing) & set(SLOPES) else ""
        raise FieldError(f"{place(source)} has no variable {listed}; {suggestion(missing[0], known)}{surface}")
    frames, height, width = source.shape(_of_files(source, names) or known)
    if not frames * height * width:
        raise FieldError(f"{place(source)} holds {frames} frames of {height} x {width} cells")
    for name in names:
        if computed(source, name):
            _axis(source, name)
    for name, axis, side in (("x", source.x, width), ("y", source.y, height)):
        if axis is not None and len(axis.values) != side:
            raise FieldError(f"{place(source)}: '{name}' has {len(axis.values)} values, but fields have {side}")
    if source.time is not None and source.time.shape != (frames,):
        raise FieldError(
            f"{place(source)}: 'time' has the shape {list(source.time.shape)}, but there are {frames} frames"
        )
    size = _resampled_side(height, resample), _resampled_side(width, resample)
    if 0 in size:
        raise FieldError(
            f"{place(source)}: {height} x {width} cells cannot be resampled by {resample:g}: no cell is left"
        )
    return FrameGrid(frames, size, _resampled(source.y, resample), _resampled(source.x, resample), source.time)


def read_ready(
    source: FieldFolder, names: Sequence[str], start: int, stop: int, step: int = 1, resample: float = 1
) -> dict[str, Array]:
    """Name → some frames of a variable, (time, y, x), slopes and resampling included. Raises FieldError for NaN."""
    of_files = _of_files(source, names)
    read = source.read(of_files, start, stop, step)
    _, height, width = source.shape(of_files or list(source.variables))
    for name in names:
        if computed(source, name):
            axis = _axis(source, name)
            if name in SLOPES:
                read[name] = slope(read[SURFACE], axis.spacing, SLOPES[name])
            else:
                frames = len(range(start, stop, step))
                read[name] = positions(axis.values, (frames, height, width), POSITIONS[name])
    return {name: resampled(read[name], resample) for name in names}


def computed(source: FieldFolder, name: str) -> bool:
    """Whether a variable is a slope, or the field of a coordinate, that is not in the files."""
    return (name in SLOPES or name in POSITIONS) and name not in source.variables


def attributes(source: FieldFolder, name: str) -> dict[str, Any]:
    """Attributes of a variable; the field of a coordinate has the coordinate's unit."""
    if name not in POSITIONS or not computed(source, name):
        return source.attributes(name)
    return {key: value for key, value in source.attributes(name.lower()).items() if key == "units"}


def _computable(name: str, known: Collection[str]) -> bool:
    return name in POSITIONS or (name in SLOPES and SURFACE in known)


def _of_files(source: FieldFolder, names: Sequence[str]) -> list[str]:
    """The variables of the files that are needed for some variables."""
    needed = (name if not computed(source, name) else SURFACE if name in SLOPES else None for name in names)
    return [name for name in dict.fromkeys(needed) if name is not None]


def place(source: FieldFolder) -> Path:
    """The file or folder to name in errors."""
    return source.file if isinstance(source, NetcdfFolder) else source.folder


def _axis(source: FieldFolder, name: str) -> CoordinateAxis:
    """The coordinates from which, or along which, a variable is computed."""
    along = "x" if (SLOPES | POSITIONS)[name] == -1 else "y"
    axis: CoordinateAxis | None = getattr(source, along)
    if axis is None or len(axis.values) < 2:
        surface = f" from '{SURFACE}'" if name in SLOPES else ""
        raise FieldError(
            f"{place(source)} has no coordinate '{along}' of two or more cells, which is needed to compute '{name}'"
            f"{surface}; add it, evenly spaced in metres"
        )
    return axis


def _resampled_side(count: int, factor: float) -> int:
    return len(resampled_axis(np.arange(count, dtype=np.float64), factor))


def _resampled(axis: CoordinateAxis | None, factor: float) -> CoordinateAxis | None:
    return axis and CoordinateAxis(resampled_axis(axis.values, factor), axis.descends, axis.attributes)

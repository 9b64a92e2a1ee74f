"""Fields of a folder as network inputs: slopes computed, cells resampled, y and x ascending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array
from qexp.datasets.gridded.derived import SLOPES, SURFACE, resampled, resampled_axis, slope
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
    missing = [name for name in names if name not in known and not (computed(source, name) and SURFACE in known)]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        surface = f"; slopes can be computed from a surface '{SURFACE}'" if set(missing) & set(SLOPES) else ""
        raise FieldError(f"{place(source)} has no variable {listed}; {suggestion(missing[0], known)}{surface}")
    frames, height, width = source.shape(dict.fromkeys(SURFACE if computed(source, name) else name for name in names))
    if not frames * height * width:
        raise FieldError(f"{place(source)} holds {frames} frames of {height} x {width} cells")
    for name in names:
        if computed(source, name):
            _spacing(source, name)
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
    of_files = dict.fromkeys(SURFACE if computed(source, name) else name for name in names)
    read = source.read(list(of_files), start, stop, step)
    for name in names:
        if computed(source, name):
            read[name] = slope(read[SURFACE], _spacing(source, name), SLOPES[name])
    return {name: resampled(read[name], resample) for name in names}


def computed(source: FieldFolder, name: str) -> bool:
    """Whether a variable is a slope that is not in the files."""
    return name in SLOPES and name not in source.variables


def place(source: FieldFolder) -> Path:
    """The file or folder to name in errors."""
    return source.file if isinstance(source, NetcdfFolder) else source.folder


def _spacing(source: FieldFolder, name: str) -> float:
    """Width of the cells along the axis of a slope."""
    along, axis = ("x", source.x) if SLOPES[name] == -1 else ("y", source.y)
    if axis is None or len(axis.values) < 2:
        raise FieldError(
            f"{place(source)} has no coordinate '{along}' of two or more cells, which is needed to compute '{name}' "
            f"from '{SURFACE}'; add it, evenly spaced in metres"
        )
    return axis.spacing


def _resampled_side(count: int, factor: float) -> int:
    return len(resampled_axis(np.arange(count, dtype=np.float64), factor))


def _resampled(axis: CoordinateAxis | None, factor: float) -> CoordinateAxis | None:
    return axis and CoordinateAxis(resampled_axis(axis.values, factor), axis.descends, axis.attributes)

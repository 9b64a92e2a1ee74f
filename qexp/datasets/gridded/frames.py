"""Frames of one folder, prepared for a network: fields in their own units, y and x ascending, resampled."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.datasets import array_cache
from qexp.datasets.array_cache import Array, CachedArray, Mapped
from qexp.datasets.gridded.folders import FieldFolder, open_folder
from qexp.datasets.gridded.reading import attributes, grid_of, read_ready

THICKNESS = "thk"

BLOCK = 4 * 2**20
"""Bytes of one variable that are prepared at a time."""

SPACINGS_ALIKE = 1e-3
"""Relative tolerance within which cell widths are equal."""

VERSION = 1
"""Version of the cached frames, to be raised when the same files would be prepared in another way."""

COUNTS_VERSION = 1
"""Version of the cached counts, to be raised when the same frames would be counted in another way."""


@dataclass(frozen=True)
class Frames:
    """The frames of a folder, kept in a file of the cache."""

    folder: Path
    cached: CachedArray
    """(time, y, x, variable)"""
    variables: tuple[str, ...]
    x: tuple[float, ...] | None
    y: tuple[float, ...] | None
    time: tuple[float, ...] | None
    attributes: dict[str, dict[str, Any]]
    """Variable or coordinate → its attributes in the file."""

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    def __len__(self) -> int:
        return self.cached.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in cells."""
        return self.cached.shape[1], self.cached.shape[2]

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Width of the cells along y and x, if the files have coordinates."""
        if self.x is None or self.y is None or min(len(self.x), len(self.y)) < 2:
            return None
        return _step(self.y), _step(self.x)

    @cached_property
    def fields(self) -> Mapped:
        """The mapped array, (time, y, x, variable)."""
        return self.cached.opened()

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        """Variable → a copy of frames `start` to `stop`, (time, y, x)."""
        block = self.fields.values[start:stop]
        made = {name: np.ascontiguousarray(block[..., self.variables.index(name)]) for name in names}
        self.fields.note_read(block.nbytes)
        return made


def cached_frames(
    folder: Path,
    names: Sequence[str],
    file: str | None = None,
    resample: float = 1,
    stepping: int = 1,
    hidden: Collection[str] = (),
) -> Frames:
    """The frames of a folder, prepared if they are not in the cache. Raises FieldError, and QexpError on a full disk.

    names     variables, in order; the thickness comes after them if the folder has it
    file      name of the NetCDF file; None: `ex.nc`
    resample  width of the cells relative to the files'
    stepping  use only every n-th frame
    hidden    variables that are not read although the files may have them
    """
    source = open_folder(folder, file, hidden)
    key = [
        VERSION,
        [[path.name, array_cache.content_hash(path)] for path in source.files],
        list(names),
        resample,
        stepping,
        *([sorted(hidden)] if hidden else []),
    ]
    about = array_cache.note(key)
    if about is None:
        about = _described(source, names, resample, stepping)
        array_cache.keep_note(key, about)
    variables = tuple(about["variables"])
    shape = (*about["shape"], len(variables))
    kept = array_cache.cached(key, shape, lambda: _blocks(source, variables, resample, stepping))
    coordinates = {name: None if about[name] is None else tuple(about[name]) for name in ("x", "y", "time")}
    return Frames(folder, kept, variables, attributes=about["attributes"], **coordinates)


def _described(source: FieldFolder, names: Sequence[str], resample: float, stepping: int) -> dict[str, Any]:
    """Shape, coordinates and attributes of the frames, without reading them. Raises FieldError."""
    variables = [*names, *([THICKNESS] if THICKNESS in source.variables and THICKNESS not in names else [])]
    grid = grid_of(source, variables, resample)
    return {
        "variables": variables,
        "shape": [len(range(0, grid.frames, stepping)), *grid.size],
        "x": None if grid.x is None else grid.x.values.tolist(),
        "y": None if grid.y is None else grid.y.values.tolist(),
        "time": None if grid.time is None else grid.time[::stepping].tolist(),
        "attributes": {name: _plain(attributes(source, name)) for name in [*variables, "x", "y", "time"]},
    }


def _blocks(source: FieldFolder, variables: Sequence[str], resample: float, stepping: int) -> Iterator[Array]:
    """All frames, (time, y, x, variable), in blocks of at most `BLOCK` bytes for each variable."""
    grid = grid_of(source, variables)
    at_once = max(1, BLOCK // (4 * grid.size[0] * grid.size[1])) * stepping
    for start in range(0, grid.frames, at_once):
        stop = min(start + at_once, grid.frames)
        ready = read_ready(source, variables, start, stop, stepping, resample)
        yield np.stack([ready[name] for name in variables], axis=-1)


def _step(values: Sequence[float]) -> float:
    return (values[-1] - values[0]) / (len(values) - 1)


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes that JSON can represent."""
    kept = {}
    for name, value in attributes.items():
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            continue
        kept[str(name)] = value
    return kept


def alike(spacing: Sequence[float], other: Sequence[float]) -> bool:
    """Whether cells are equally wide, along y and along x."""
    return all(abs(one - two) <= SPACINGS_ALIKE * two for one, two in zip(spacing, other, strict=True))


def counts_above(frames: Frames, variable: str, threshold: float, patch_size: int) -> NDArray[np.int64]:
    """The number of patch positions in each frame, (frame,), whose centre exceeds a threshold; cached."""
    key = ["counts", COUNTS_VERSION, frames.cached.path.name, variable, threshold, patch_size]
    known = (array_cache.note(key) or {}).get("counts", [])
    if len(known) == len(frames):
        return np.array(known, dtype=np.int64)
    height, width = frames.size
    first = patch_size // 2
    rows, columns = (slice(first, first + side - patch_size + 1) for side in (height, width))
    values = frames.fields.values[..., frames.variables.index(variable)]
    counts = np.empty(len(frames), dtype=np.int64)
    for frame in range(len(frames)):
        counts[frame] = (values[frame, rows, columns] > threshold).sum()
        frames.fields.note_read(frames.fields.values[frame].nbytes)
    array_cache.keep_note(key, {"counts": counts.tolist()})
    return counts

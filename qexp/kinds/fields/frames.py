"""Frames of folders of fields, prepared for a network and kept in the cache; the width of their
cells, and where their ice is thick.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.errors import some
from qexp.kinds.fields.folders import FieldFolder, Fields
from qexp.rows import array_cache
from qexp.rows.array_cache import Array, CachedArray
from qexp.rows.unmeasured import found_in, in_words
from qexp.spec.reading import Document

THICKNESS = "thk"

BLOCK = 4 * 2**20
"""Bytes of one variable that are prepared at a time."""

SPACINGS_ALIKE = 1e-3
"""Relative tolerance within which cell widths are equal."""

VERSION = 1
"""Of the cached frames, to be raised when the same files would give others."""

COUNTS_VERSION = 1
"""Of the cached counts, to be raised when the same frames would be counted otherwise."""


@dataclass(frozen=True)
class Frames:
    """The frames of a folder, kept in a file of the cache."""

    folder: Path
    fields: CachedArray
    """(time, y, x, variable)"""
    variables: tuple[str, ...]
    x: tuple[float, ...] | None
    y: tuple[float, ...] | None
    time: tuple[float, ...] | None
    attributes: dict[str, Document]
    """Variable or coordinate → its attributes in the file."""

    @property
    def name(self) -> str:
        return self.folder.name

    def __len__(self) -> int:
        return self.fields.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in cells."""
        return self.fields.shape[1], self.fields.shape[2]

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Width of the cells along y and x, if the files have coordinates."""
        if self.x is None or self.y is None or min(len(self.x), len(self.y)) < 2:
            return None
        high = (self.y[-1] - self.y[0]) / (len(self.y) - 1)
        wide = (self.x[-1] - self.x[0]) / (len(self.x) - 1)
        return high, wide

    def doubts(self) -> Iterator[str]:
        """Variables that change with time, and are constant in some frames, or as in others."""
        count = len(self)
        for index, name in enumerate(self.variables):
            found = found_in(self.fields, [index], partial(self._select, index))
            what = f"{self.name}: '{name}'"
            usable = np.ones(count, bool)
            parameters = np.ones((count, 0))
            if count > 1 and len(found["constant"]) < count and len(found["copies"]) < count - 1:
                yield from in_words(found, what, "frames", usable, parameters)

    def _select(self, variable: int, rows: NDArray[np.int64]) -> Array:
        self.fields.note_read(len(rows) * self.fields.values[0].nbytes)
        return self.fields.values[rows, ..., variable]

    def read(self, names: Sequence[str], start: int, stop: int) -> Fields:
        """Variable → a copy of frames `start` to `stop`, (time, y, x)."""
        block = self.fields.values[start:stop]
        places = {name: self.variables.index(name) for name in names}
        fields = {name: np.ascontiguousarray(block[..., place]) for name, place in places.items()}
        self.fields.note_read(block.nbytes)
        return fields


def cached_frames(source: FieldFolder, names: Sequence[str]) -> Frames:
    """The frames of a folder, prepared if they are not in the cache. Raises FieldError, and
    QexpError on a full disk.

    names  variables, in order; the thickness comes after them if the folder has it
    """
    reading = source.reading
    content = [[path.name, array_cache.content_hash(path)] for path in source.files_read]
    hidden = [sorted(reading.hidden)] if reading.hidden else []
    key = [VERSION, content, list(names), reading.resample, reading.stepping, *hidden]
    about = array_cache.note(key)
    if about is None:
        about = _describe(source, names)
        array_cache.keep_note(key, about)
    variables = tuple(about["variables"])
    shape = (*about["shape"], len(variables))
    array = array_cache.find(key, shape)
    if array is None:
        blocks = _blocks(source, variables)
        array = array_cache.cached_by_content(shape, blocks, lambda: key)
    axes = {name: about[name] and tuple(about[name]) for name in ("x", "y", "time")}
    return Frames(source.folder, array, variables, attributes=about["attributes"], **axes)


def _describe(source: FieldFolder, names: Sequence[str]) -> Document:
    """Shape, coordinates and attributes of the frames, without reading them. Raises FieldError."""
    thickness = [THICKNESS] if THICKNESS in source.variables else []
    variables = list(dict.fromkeys([*names, *thickness]))
    grid = source.grid(variables)
    described = [*variables, "x", "y", "time"]
    return {
        "variables": variables,
        "shape": [grid.frames, *grid.size],
        "x": grid.x and grid.x.values.tolist(),
        "y": grid.y and grid.y.values.tolist(),
        "time": None if grid.time is None else grid.time.tolist(),
        "attributes": {name: _plain(source.attributes(name)) for name in described},
    }


def _blocks(source: FieldFolder, variables: Sequence[str]) -> Iterator[Array]:
    """All frames, (time, y, x, variable), in blocks of at most `BLOCK` bytes for each variable."""
    _, height, width = source.shape(variables)
    at_once = max(1, BLOCK // (4 * height * width))
    for start in range(0, source.grid(variables).frames, at_once):
        ready = source.read(variables, start, start + at_once)
        yield np.stack([ready[name] for name in variables], axis=-1)


def _plain(attributes: Document) -> Document:
    """The attributes that JSON can represent."""
    plain = {}
    for name, value in attributes.items():
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        with suppress(TypeError, ValueError):
            json.dumps(value, allow_nan=False)
            plain[str(name)] = value
    return plain


def alike(spacing: Sequence[float], other: Sequence[float]) -> bool:
    """Whether cells are equally wide, along y and along x."""
    pairs = zip(spacing, other, strict=True)
    return all(abs(own - width) <= SPACINGS_ALIKE * width for own, width in pairs)


def cell_sizes(folders: Iterable[Frames]) -> dict[tuple[float, float], list[str]]:
    """Widths of the cells along y and x, each pair once → the names of the folders with them."""
    sizes: dict[tuple[float, float], list[str]] = {}
    for frames in folders:
        if (spacing := frames.spacing) is not None:
            first = next((size for size in sizes if alike(spacing, size)), spacing)
            sizes.setdefault(first, []).append(frames.name)
    return sizes


def in_untrained_cells(
    spacings: Mapping[str, tuple[float, float]],
    trained: Sequence[Sequence[float]],
    changed: str = "",
) -> list[str]:
    """A warning if cells have another size, along y and along x, than all those that a network was
    trained on.

    spacings  name of a file or folder → size of its cells
    """
    others = {}
    for name, own in spacings.items():
        if not any(alike(own, size) for size in trained):
            others[name] = own
    if not trained or not others:
        return []
    height, width = next(iter(others.values()))
    sizes = ", ".join(f"{y:g} x {x:g} m" for y, x in trained)
    own_size = f"{some(list(others), 3)}: the cells are {height:g} x {width:g} m{changed}"
    lack = "and does not adapt to the cell size"
    return [f"{own_size}, but the network was trained on {sizes}, {lack}"]


def counts_above(frames: Frames, threshold: float, patch_size: int) -> NDArray[np.int64]:
    """Patch positions in each frame, (frame,), whose centre's ice exceeds a thickness; cached."""
    key = ["counts", COUNTS_VERSION, frames.fields.path.name, THICKNESS, threshold, patch_size]
    cached = (array_cache.note(key) or {}).get("counts", [])
    if len(cached) == len(frames):
        return np.array(cached, dtype=np.int64)
    first = patch_size // 2
    rows, columns = (slice(first, first + side - patch_size + 1) for side in frames.size)
    values = frames.fields.values[..., frames.variables.index(THICKNESS)]
    counts = []
    for frame in range(len(frames)):
        counts.append(int((values[frame, rows, columns] > threshold).sum()))
        frames.fields.note_read(frames.fields.values[frame].nbytes)
    array_cache.keep_note(key, {"counts": counts})
    return np.array(counts, dtype=np.int64)

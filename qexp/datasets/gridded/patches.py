"""Patches of frames: their possible positions, and how they are drawn, cut out, rotated and mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import MAPPED_AROUND, Array
from qexp.datasets.gridded.frames import THICKNESS, Frames, alike, counts_above

Numbers = NDArray[np.int64]
Vector = tuple[int | None, int | None]
"""Indices of a vector's x and y component among the variables; None for one that is missing."""

ROUNDS = 64
"""How often a position below the threshold is drawn again before all valid ones of its frame are listed."""

SYMMETRIES = 8
"""Symmetries of the square, as the sum of: axes are exchanged (4), x is mirrored (2), y is mirrored (1)."""


@dataclass(frozen=True)
class Part:
    """Some frames of a folder."""

    frames: Frames
    chosen: Numbers
    """Their numbers, counted from 0."""


@dataclass(frozen=True)
class Places:
    """Positions and symmetries of patches; one number of each array per patch."""

    part: Numbers
    frame: Numbers
    row: Numbers
    column: Numbers
    symmetry: Numbers

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, some: slice) -> Places:
        return Places(*(values[some] for values in (self.part, self.frame, self.row, self.column, self.symmetry)))


class Patches:
    """Square patches of some frames.

    size        cells along a side
    threshold   patches are used only if the thickness at their centre exceeds this; None: no limit
    exchanging  whether symmetries may exchange x and y; they never do where cells are not square
    """

    def __init__(
        self, parts: Sequence[Part], size: int, threshold: float | None = None, exchanging: bool = True
    ) -> None:
        self.parts, self.size, self.threshold = list(parts), size, threshold
        self._exchanging = np.array([exchanging and _square(part.frames) for part in parts])
        owners, frames, counts = [], [], []
        for index, part in enumerate(self.parts):
            height, width = part.frames.size
            places = (height - size + 1) * (width - size + 1)
            good = (
                np.full(len(part.chosen), places)
                if threshold is None
                else counts_above(part.frames, THICKNESS, threshold, size)[part.chosen]
            )
            owners.append(np.full(len(good), index))
            frames.append(part.chosen)
            counts.append(good)
        self._owners, self._frames = np.concatenate(owners), np.concatenate(frames)
        self._until = np.cumsum(np.concatenate(counts))

    @property
    def places(self) -> int:
        """The number of possible positions of a patch, in all frames together."""
        return int(self._until[-1]) if len(self._until) else 0

    @property
    def tiles(self) -> int:
        """The number of patches that cover all frames once, as in an epoch of 2Dto2D-DLE."""
        return sum(
            len(part.chosen) * (part.frames.size[0] // self.size + 1) * (part.frames.size[1] // self.size + 1)
            for part in self.parts
        )

    def draw(self, count: int, random: np.random.Generator, turned: bool) -> Places:
        """Positions drawn uniformly from all possible ones.

        turned  whether a symmetry of the square is drawn for each, too
        """
        drawn = np.searchsorted(self._until, random.integers(0, self.places, count), side="right")
        part, frame = self._owners[drawn], self._frames[drawn]
        row, column = self._drawn_places(part, frame, random)
        symmetry = np.zeros(count, dtype=np.int64)
        if turned:
            symmetry = random.integers(0, SYMMETRIES, count)
            symmetry[~self._exchanging[part]] %= SYMMETRIES // 2
        return Places(part, frame, row, column, symmetry)

    def _drawn_places(self, part: Numbers, frame: Numbers, random: np.random.Generator) -> tuple[Numbers, Numbers]:
        sizes = np.array([one.frames.size for one in self.parts])
        free = sizes[part] - self.size + 1
        row, column = np.zeros_like(part), np.zeros_like(part)
        pending = np.arange(len(part))
        for _ in range(ROUNDS):
            row[pending] = random.integers(0, free[pending, 0])
            column[pending] = random.integers(0, free[pending, 1])
            pending = pending[~self._good(part[pending], frame[pending], row[pending], column[pending])]
            if not len(pending):
                return row, column
        for index in pending:  # few positions of the frame are valid
            thickness = self._thickness(self.parts[part[index]].frames)[frame[index]]
            first = self.size // 2
            height, width = free[index]
            rows, columns = np.nonzero(thickness[first : first + height, first : first + width] > self.threshold)
            choice = random.integers(0, len(rows))
            row[index], column[index] = rows[choice], columns[choice]
        return row, column

    def _good(self, part: Numbers, frame: Numbers, row: Numbers, column: Numbers) -> NDArray[np.bool_]:
        good = np.ones(len(part), dtype=bool)
        if self.threshold is None:
            return good
        centre = self.size // 2
        for index in np.unique(part):
            those = np.flatnonzero(part == index)
            frames = self.parts[index].frames
            thickness = self._thickness(frames)
            good[those] = thickness[frame[those], row[those] + centre, column[those] + centre] > self.threshold
            frames.fields.note_read(len(those) * MAPPED_AROUND)
        return good

    def _thickness(self, frames: Frames) -> Array:
        return frames.fields.values[..., frames.variables.index(THICKNESS)]

    def cut(self, places: Places, variables: int, vectors: Sequence[Vector]) -> Array:
        """The patches at some positions, (patch, y, x, variable), after their symmetries.

        variables  number of stored variables to read, from the first
        vectors    variables that are transformed with the patch; if axes are exchanged both components must be read
        """
        made = np.empty((len(places), self.size, self.size, variables), dtype=np.float32)
        for index in range(len(places)):
            fields = self.parts[places.part[index]].frames.fields
            frame, row, column = places.frame[index], places.row[index], places.column[index]
            patch = fields.values[frame, row : row + self.size, column : column + self.size, :variables]
            made[index] = _moved(patch, int(places.symmetry[index]))
            fields.note_read(self.size * fields.values[frame, row].nbytes + MAPPED_AROUND)
        return _with_vectors_turned(made, places.symmetry, vectors)


def _moved(patch: Array, symmetry: int) -> Array:
    """A patch, (y, x, variable), after a symmetry."""
    if symmetry & 4:
        patch = patch.transpose(1, 0, 2)
    return patch[:: -1 if symmetry & 1 else 1, :: -1 if symmetry & 2 else 1]


def _with_vectors_turned(patches: Array, symmetry: Numbers, vectors: Sequence[Vector]) -> Array:
    """Apply a symmetry to the components of vectors, in place."""
    exchanged = np.flatnonzero(symmetry & 4)
    for vector in vectors:
        x, y = vector
        if len(exchanged):
            assert x is not None
            assert y is not None
            along_x = patches[exchanged, ..., x]
            patches[exchanged, ..., x] = patches[exchanged, ..., y]
            patches[exchanged, ..., y] = along_x
        for component, mirrored in zip(vector, (symmetry & 2, symmetry & 1), strict=True):
            if component is not None:
                patches[..., component] *= np.where(mirrored, np.float32(-1), np.float32(1))[:, None, None]
    return patches


def _square(frames: Frames) -> bool:
    """Whether cells are square; assumed if there are no coordinates."""
    spacing = frames.spacing
    return spacing is None or alike(spacing, spacing[::-1])

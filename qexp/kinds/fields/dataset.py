"""Datasets of fields on a grid, in folders as of 2Dto2D-DLE: frames that are cut into patches."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.seeds import Seeds
from qexp.errors import DatasetError, some, suggestion
from qexp.kinds import files
from qexp.kinds.evaluation import TEST, TRAIN
from qexp.kinds.fields.folders import (
    KNOWN_VECTORS,
    FieldError,
    FieldFolder,
    FieldReading,
    field_folders,
)
from qexp.kinds.fields.frames import (
    THICKNESS,
    Frames,
    alike,
    cached_frames,
    cell_sizes,
    counts_above,
)
from qexp.kinds.memory import room_for_data
from qexp.metrics.splits import SplitError
from qexp.networks.training import Data, Prepare, Samples, in_blocks
from qexp.rows.array_cache import MAPPED_AROUND, Array, content_hash
from qexp.rows.unmeasured import targets_among
from qexp.spec.reading import Document, Finding, Findings

Numbers = NDArray[np.int64]
Vector = tuple[int | None, int | None]
"""Indices of a vector's x and y component among the variables; None for one that is missing."""

ROUNDS = 64
"""How often a position below the threshold is drawn again, before valid ones are listed."""

SYMMETRIES = 8
"""Symmetries of the square: axes are exchanged (4) + x is mirrored (2) + y is mirrored (1)."""


@dataclass(frozen=True)
class ChosenFrames:
    """Some frames of a folder."""

    frames: Frames
    chosen: Numbers
    """Their numbers, counted from 0."""


@dataclass(frozen=True)
class Positions:
    """Where patches are, and their symmetries; one number of each array per patch."""

    part: Numbers
    frame: Numbers
    row: Numbers
    column: Numbers
    symmetry: Numbers

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, some: slice) -> Positions:
        return Positions(*(values[some] for values in vars(self).values()))


class Patches:
    """Square patches of some frames.

    size        cells along a side
    threshold   patches are used only if the thickness at their centre exceeds this; None: no limit
    exchanging  whether symmetries may exchange x and y; they never do where cells are not square
    """

    def __init__(
        self,
        parts: Sequence[ChosenFrames],
        size: int,
        threshold: float | None = None,
        exchanging: bool = True,
    ) -> None:
        self.parts = list(parts)
        self.size = size
        self.threshold = threshold
        self._exchanging = np.array([exchanging and _is_square(part.frames) for part in parts])
        self._owners = np.repeat(np.arange(len(parts)), [len(part.chosen) for part in parts])
        self._frames = np.concatenate([part.chosen for part in parts])
        counts = []
        for part in parts:
            if threshold is None:
                of_frame = math.prod(side - size + 1 for side in part.frames.size)
                counts.append(np.full(len(part.chosen), of_frame))
            else:
                counts.append(counts_above(part.frames, threshold, size)[part.chosen])
        self._until = np.cumsum(np.concatenate(counts))
        self.count = int(self._until[-1]) if len(self._until) else 0
        """The number of possible positions of a patch, in all frames together."""

    @property
    def tiles(self) -> int:
        """The number of patches that cover all frames once, as in an epoch of 2Dto2D-DLE."""
        tiles = 0
        for part in self.parts:
            rows, columns = (side // self.size + 1 for side in part.frames.size)
            tiles += len(part.chosen) * rows * columns
        return tiles

    def draw(self, count: int, random: np.random.Generator, turned: bool) -> Positions:
        """Positions drawn uniformly from all possible ones.

        turned  whether a symmetry of the square is drawn for each, too
        """
        drawn = np.searchsorted(self._until, random.integers(0, self.count, count), side="right")
        part = self._owners[drawn]
        frame = self._frames[drawn]
        row, column = self._draw_positions(part, frame, random)
        symmetry = np.zeros(count, dtype=np.int64)
        if turned:
            symmetry = random.integers(0, SYMMETRIES, count)
            symmetry[~self._exchanging[part]] %= SYMMETRIES // 2
        return Positions(part, frame, row, column, symmetry)

    def _draw_positions(
        self, part: Numbers, frame: Numbers, random: np.random.Generator
    ) -> tuple[Numbers, Numbers]:
        sizes = np.array([folder.frames.size for folder in self.parts])
        free = sizes[part] - self.size + 1
        row = np.zeros_like(part)
        column = np.zeros_like(part)
        pending = np.arange(len(part))
        for _ in range(ROUNDS):
            row[pending] = random.integers(0, free[pending, 0])
            column[pending] = random.integers(0, free[pending, 1])
            drawn = (numbers[pending] for numbers in (part, frame, row, column))
            pending = pending[~self._good(*drawn)]
            if not len(pending):
                return row, column
        for index in pending:  # few positions of the frame are valid
            thickness = self._thickness(self.parts[part[index]].frames)[frame[index]]
            first = self.size // 2
            height, width = free[index]
            centres = thickness[first : first + height, first : first + width]
            rows, columns = np.nonzero(centres > self.threshold)
            choice = random.integers(0, len(rows))
            row[index], column[index] = rows[choice], columns[choice]
        return row, column

    def _good(
        self, part: Numbers, frame: Numbers, row: Numbers, column: Numbers
    ) -> NDArray[np.bool_]:
        good = np.ones(len(part), dtype=bool)
        if self.threshold is None:
            return good
        centre = self.size // 2
        for index in np.unique(part):
            those = np.flatnonzero(part == index)
            frames = self.parts[index].frames
            places = frame[those], row[those] + centre, column[those] + centre
            good[those] = self._thickness(frames)[places] > self.threshold
            frames.fields.note_read(len(those) * MAPPED_AROUND)
        return good

    def _thickness(self, frames: Frames) -> Array:
        return frames.fields.values[..., frames.variables.index(THICKNESS)]

    def cut(self, positions: Positions, variables: int, vectors: Sequence[Vector]) -> Array:
        """The patches at some positions, (patch, y, x, variable), after their symmetries.

        variables  number of stored variables to read, from the first
        vectors    variables that are transformed with the patch; if axes are exchanged both
                   components must be read
        """
        patches = np.empty((len(positions), self.size, self.size, variables), dtype=np.float32)
        sources, signs = _turned(positions.symmetry, variables, vectors)
        places = zip(*vars(positions).values(), strict=True)
        for index, (part, frame, row, column, symmetry) in enumerate(places):
            fields = self.parts[part].frames.fields
            rows = slice(row, row + self.size)
            columns = slice(column, column + self.size)
            patch = fields.values[frame, rows, columns, :variables]
            if symmetry & 4:
                patch = patch.transpose(1, 0, 2)
                patch = patch[..., sources[:, index]]
            patches[index] = patch[:: -1 if symmetry & 1 else 1, :: -1 if symmetry & 2 else 1]
            fields.note_read(self.size * fields.values[frame, row].nbytes + MAPPED_AROUND)
        patches *= signs.T[:, None, None]
        return patches


def _turned(symmetry: Numbers, count: int, vectors: Sequence[Vector]) -> tuple[Numbers, Array]:
    """The source of each of `count` variables of patches after symmetries, as exchanged axes
    exchange the components of vectors, and its sign, (variable, patch).
    """
    sources = np.repeat(np.arange(count)[:, None], len(symmetry), axis=1)
    signs = np.ones(sources.shape, dtype=np.float32)
    exchanged = symmetry & 4 > 0
    for vector in vectors:
        mirrored = symmetry & 2 > 0, symmetry & 1 > 0
        for component, other, turned in zip(vector, vector[::-1], mirrored, strict=True):
            if component is not None:
                signs[component, turned] *= -1
                if exchanged.any():
                    assert other is not None
                    sources[component, exchanged] = other
    return sources, signs


def _is_square(frames: Frames) -> bool:
    """Whether cells are as wide as high; without coordinates, they are taken to be."""
    spacing = frames.spacing
    return spacing is None or alike(spacing, spacing[::-1])


class PatchesOnDevice:
    """The same patches, gathered on a device to which the frames were copied.

    patches, variables, vectors  as in `Patches.cut`
    """

    def __init__(
        self, patches: Patches, variables: int, vectors: Sequence[Vector], device: torch.device
    ) -> None:
        self._size = patches.size
        self._vectors = vectors
        self._device = device
        self._widths = np.array([part.frames.size[1] for part in patches.parts])
        lengths = [len(part.frames) for part in patches.parts]
        self._firsts = np.cumsum([0, *lengths[:-1]])
        """The place of each part's first frame among the frames of all."""
        self._starts = np.zeros(sum(lengths), dtype=np.int64)
        """The first cell of a frame, if it is a chosen one."""
        sizes = [len(part.chosen) * math.prod(part.frames.size) for part in patches.parts]
        self._fields = torch.empty(variables, sum(sizes), device=device)
        """(variable, cell), one frame after the other."""
        start = 0
        for part, first in zip(patches.parts, self._firsts, strict=True):
            fields = part.frames.fields
            for frame in part.chosen:
                values = fields.values[frame, ..., :variables].reshape(-1, variables)
                self._fields[:, start : start + len(values)] = torch.tensor(values, device=device).T
                self._starts[first + frame] = start
                start += len(values)
                fields.note_read(fields.values[frame].nbytes)

    def gathered(self, positions: Positions) -> Callable[[slice], Tensor]:
        """Some of the patches → their fields, (variable, patch, y, x), after their symmetries."""
        symmetry = positions.symmetry
        size = self._size
        width = self._widths[positions.part]
        first = self._starts[self._firsts[positions.part] + positions.frame]
        first += positions.row * width + positions.column
        exchanged = symmetry & 4 > 0
        # in y, in x
        steps = np.where(exchanged, [np.ones_like(width), width], [width, np.ones_like(width)])
        mirrored = np.stack([symmetry & 1, symmetry & 2]) > 0
        first += (size - 1) * (steps * mirrored).sum(0)
        steps *= np.where(mirrored, -1, 1)
        sources, signs = _turned(symmetry, len(self._fields), self._vectors)
        cells = torch.from_numpy(sources * self._fields.shape[1] + first)
        firsts = cells.to(self._device)[..., None, None]
        in_y, in_x = torch.from_numpy(steps).to(self._device)
        signs_on_device = torch.from_numpy(signs).to(self._device)
        side = torch.arange(size, device=self._device)

        def some(which: slice) -> Tensor:
            offsets = side[:, None] * in_y[which, None, None] + side * in_x[which, None, None]
            values = self._fields.flatten()[firsts[:, which] + offsets]
            return values * signs_on_device[:, which, None, None]

        return some


@dataclass(frozen=True)
class EvaluatedFrames:
    """Whole frames on which a network is evaluated.

    vectors    pairs of variables, x and y component
    threshold  only cells with thicker ice are evaluated [m]; None: all cells
    """

    folders: Sequence[Frames]
    vectors: Sequence[tuple[str, str]]
    threshold: float | None


class GriddedDataset:
    """Frames of fields, (y, x) each, in the folders of a train and of a test part.

    path      holds train/ and test/
    document  of the dataset, with the defaults of its schema; `inputs` and `outputs` have a typical
              value of each variable, by which it is divided for the network, in the variable's unit
    Raises DatasetError.
    """

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.inputs = tuple(document["inputs"])
        self.outputs = tuple(document["outputs"])
        self.scales = {**document["inputs"], **document["outputs"]}
        self.variables = list(self.scales)
        self.threshold: float | None = document["threshold"]
        """Only patches with thicker ice in their centre are used, and cells evaluated [m]."""
        self.augment: bool = document["augment"]
        self.include_test_in_train: bool = document["include_test_in_train"]
        self.reading = FieldReading.from_document(document)
        self.warnings: list[str] = []
        """Properties of the data that are allowed but may be mistakes."""
        files.refuse(self._unusable_arguments(document))
        folders = self._folders()
        if "fingerprint" in document and document["fingerprint"] != self.fingerprint:
            why = f"{path} has changed: the SHA-256 of its fields is now {self.fingerprint}"
            raise DatasetError([(("fingerprint",), why)])
        self.parts = self._read_frames(folders)
        """train and test → the frames of their folders."""
        self.patch_size = self._patch_size(document["patch_size"])
        attributes = self.parts[TRAIN][0].attributes
        units = {name: str(attributes.get(name, {}).get("units", "")) for name in self.variables}
        self.units = {name: document["units"].get(name, unit) for name, unit in units.items()}
        vectors = KNOWN_VECTORS if document["vectors"] is None else document["vectors"]
        self.vectors = [(x, y) for x, y in vectors if {x, y} & set(self.variables)]
        self._warn()

    def _read_frames(self, folders: Mapping[str, Sequence[FieldFolder]]) -> dict[str, list[Frames]]:
        parts: dict[str, list[Frames]] = {}
        findings: list[Finding] = []
        for part, sources in folders.items():
            parts[part] = []
            for source in sources:
                variables: Collection[str] = [THICKNESS]
                try:
                    frames = cached_frames(source, self.variables)
                    variables = frames.variables
                    parts[part].append(frames)
                except FieldError as error:
                    findings.append((("path",), str(error)))
                    # reported already: the file cannot be read
                    with contextlib.suppress(FieldError):
                        variables = source.variables
                if self.threshold is not None and THICKNESS not in variables:
                    lack = f"{source.folder} has no thickness '{THICKNESS}' to compare with"
                    findings.append((("threshold",), f"{lack}; leave 'threshold' out"))
        files.refuse(findings)
        return parts

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable and its shape without the batch: (1, patch, patch)."""
        return dict.fromkeys(self.variables, (1, self.patch_size, self.patch_size))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all files together, in hexadecimal."""
        digest = hashlib.sha256()
        for source in chain.from_iterable(self._folders().values()):
            for file in source.files:
                digest.update(f"{file.relative_to(self.path)} {content_hash(file)}\n".encode())
        return digest.hexdigest()

    @property
    def test(self) -> EvaluatedFrames:
        return EvaluatedFrames(self.parts[TEST], self.vectors, self.threshold)

    @property
    def training_folders(self) -> list[Frames]:
        """The parts from which training and validation frames are taken."""
        return [*self.parts[TRAIN], *(self.parts[TEST] if self.include_test_in_train else [])]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The frames of the training folders, one after the other, for a split to divide."""
        return np.arange(sum(len(frames) for frames in self.training_folders), dtype=np.int64)

    def column(self, name: str) -> NDArray[np.str_]:
        """A column to split by: the `folder` or number, `time`, of frames. Raises SplitError."""
        columns: dict[str, list[str]] = {"folder": [], "time": []}
        for frames in self.training_folders:
            columns["folder"] += [frames.name] * len(frames)
            columns["time"] += map(str, range(len(frames)))
        if name not in columns:
            raise SplitError("by", f"frames have no column '{name}'; {suggestion(name, columns)}")
        return np.array(columns[name])

    def patches(self, rows: Numbers) -> Patches:
        """Patches of some frames of the training folders. Raises DatasetError without any."""
        start, parts = 0, []
        for frames in self.training_folders:
            chosen = rows[(rows >= start) & (rows < start + len(frames))] - start
            if len(chosen):
                parts.append(ChosenFrames(frames, chosen))
            start += len(frames)
        return self._non_empty(parts)

    def test_patches(self) -> Patches:
        """The patches of all frames of the test folders. Raises DatasetError if there are none."""
        whole = [ChosenFrames(frames, np.arange(len(frames))) for frames in self.parts[TEST]]
        return self._non_empty(whole)

    def vector_positions(self) -> list[Vector]:
        """The vectors whose two components are variables."""
        indices = {name: index for index, name in enumerate(self.variables)}
        return [(indices.get(x), indices.get(y)) for x, y in self.vectors]

    def hashes(self, folder: FieldFolder) -> set[str]:
        """Hashes that identify a folder: of files of outputs, as others may be shared by all."""
        outputs = [path for path in folder.files if path.stem in self.outputs]
        return {content_hash(path) for path in outputs or folder.files}

    def hashes_of(self, frames: Iterable[Frames]) -> dict[str, set[str]]:
        """Name of a folder → its hashes. Raises FieldError if it cannot be read any more."""
        folders = {part.name: self.reading.open(part.folder) for part in frames}
        return {name: self.hashes(folder) for name, folder in folders.items()}

    def _non_empty(self, parts: list[ChosenFrames]) -> Patches:
        both_components = all(set(vector) <= set(self.variables) for vector in self.vectors)
        patches = Patches(parts, self.patch_size, self.threshold, exchanging=both_components)
        if not patches.count:
            names = ", ".join(part.frames.name for part in parts)
            message = f"no patch of {names} has more than {self.threshold:g} m of ice in its centre"
            raise DatasetError([(("threshold",), message)])
        return patches

    def _folders(self) -> dict[str, list[FieldFolder]]:
        """Part → its folders. Raises DatasetError with all that cannot be opened."""
        if not self.path.is_dir():
            raise DatasetError([(("path",), f"{self.path} is not a folder")])
        sources: dict[str, list[FieldFolder]] = {TRAIN: [], TEST: []}
        findings: list[Finding] = []
        for part, opened in sources.items():
            folders: list[Path] = []
            try:
                folders = field_folders(self.path / part)
            except FieldError as error:
                findings.append((("path",), str(error)))
            for folder in folders:
                try:
                    opened.append(self.reading.open(folder))
                except FieldError as error:
                    findings.append((("path",), str(error)))
        files.refuse(findings)
        return sources

    def _unusable_arguments(self, document: Document) -> Findings:
        resample = document["resample"]
        if resample > 1 and resample != round(resample):
            must = "must be a whole number (wider cells), or less than 1 (narrower cells)"
            yield ("resample",), f"{resample:g}: {must}"
        for index, pair in enumerate(document["vectors"] or []):
            for name in pair:
                if name not in self.scales:
                    similar = suggestion(name, self.scales)
                    yield ("vectors", index), f"no variable '{name}'; {similar}"

    def _patch_size(self, wanted: int) -> int:
        smallest = min(chain(*self.parts.values()), key=lambda frames: min(frames.size))
        least = min(smallest.size)
        if wanted < 0:
            return int(2 ** math.floor(math.log2(least)))
        if wanted > least:
            height, width = smallest.size
            frames = f"the frames of {smallest.folder}, {height} × {width}"
            way_out = f"use at most {least}, or -1 for the largest power of two that fits"
            larger = f"a patch of {wanted} × {wanted} cells is larger than {frames}; {way_out}"
            raise DatasetError([(("patch_size",), larger)])
        return wanted

    def _warn(self) -> None:
        sizes = cell_sizes(chain(*self.parts.values()))
        if len(sizes) > 1:
            folders = [f"{y:g} × {x:g} m in {some(sizes[y, x], 3)}" for y, x in sizes]
            lack = "a network does not know the size of its cells"
            self.warnings.append(f"the cells have different sizes: {'; '.join(folders)}; {lack}")
        for frames in chain(*self.parts.values()):
            self.warnings += frames.doubts()
        first = self.parts[TRAIN][0].read(self.variables, 0, 1)
        inputs = {name: first[name].ravel() for name in self.inputs}
        outputs = {name: first[name].ravel() for name in self.outputs}
        self.warnings += targets_among(inputs, outputs)
        if self.include_test_in_train:
            self.warnings.append(
                "the test folders are also used for training: errors on them are not test errors"
            )


MOST_TO_VALIDATE = 2048
"""Default number of validation patches, which stay in memory."""

NUMBERS_AT_ONCE = 2**26
"""Of fields, gathered on a device at a time: several batches."""

PATCHES_TO_FIT = 1024
"""Patches that transforms are fitted to."""


def covering(train: Patches, validation: Patches) -> tuple[int, int]:
    """Numbers of patches for training and validation that cover the frames and fit into memory."""
    return train.tiles, min(validation.tiles, MOST_TO_VALIDATE)


class PatchSamples(Data):
    """Patches of a gridded dataset, drawn again in every epoch; memory use does not depend on the
    number of frames.

    train       training frames, as rows of the dataset
    validation  validation frames, as rows of the dataset
    counts      numbers of patches for training (per epoch) and validation; None: as many as cover
                the frames
    """

    def __init__(
        self,
        dataset: GriddedDataset,
        train: Numbers,
        validation: Numbers,
        counts: tuple[int, int] | None,
        seeds: Seeds,
        device: torch.device,
    ) -> None:
        self._dataset, self._seeds, self._device = dataset, seeds, device
        self._patches = dataset.patches(train)
        to_validate_on = dataset.patches(validation)
        self._vectors = dataset.vector_positions()
        self.train_size, to_validate = counts or covering(self._patches, to_validate_on)
        self.validation = self._drawn(to_validate_on, to_validate, "validation")

    @cached_property
    def test(self) -> Samples:  # type: ignore[override]  # it is made when it is needed
        """Patches of the test frames, for what is evaluated during training."""
        tested = self._dataset.test_patches()
        return self._drawn(tested, min(tested.tiles, MOST_TO_VALIDATE), "test")

    def epoch(self, number: int, batch_size: int, prepared: Prepare) -> Callable[[int], Samples]:
        """Number of a batch of an epoch, from 0 → its samples, read and `prepared` on demand."""
        random = self._seeds.numpy("train", number, "patches")
        positions = self._patches.draw(self.train_size, random, turned=self._dataset.augment)
        if self._on_device is None:

            def batch(index: int) -> Samples:
                some = slice(index * batch_size, (index + 1) * batch_size)
                return prepared(self._cut(self._patches, positions[some]))

            return batch
        names = self._dataset.variables
        gathered = self._on_device.gathered(positions)
        at_once = max(1, NUMBERS_AT_ONCE // (batch_size * len(names) * self._patches.size**2))
        size = at_once * batch_size

        def block(number: int) -> Samples:
            fields = gathered(slice(number * size, (number + 1) * size)).unsqueeze(2)
            return prepared(dict(zip(names, fields, strict=True)))

        return in_blocks(block, at_once, batch_size)

    @cached_property
    def _on_device(self) -> PatchesOnDevice | None:
        """The patches on the device, if it has room for their fields."""
        count = len(self._dataset.variables)
        parts = self._patches.parts
        cells = sum(len(part.chosen) * math.prod(part.frames.size) for part in parts)
        if 4 * count * cells > room_for_data(self._device):
            return None
        return PatchesOnDevice(self._patches, count, self._vectors, self._device)

    def to_fit(self) -> Samples:
        """Training samples to which transforms are fitted."""
        return self._drawn(self._patches, min(self.train_size, PATCHES_TO_FIT), "fit")

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """The cells that are evaluated, (patch, 1, y, x), of every output; None for all."""
        if self._dataset.threshold is None or THICKNESS not in samples:
            return None
        return samples[THICKNESS] > self._dataset.threshold

    def _drawn(self, patches: Patches, count: int, purpose: str) -> Samples:
        random = self._seeds.numpy(purpose, "patches")
        return self._cut(patches, patches.draw(count, random, turned=False))

    def _cut(self, patches: Patches, positions: Positions) -> Samples:
        """Variable → (patch, 1, y, x)."""
        names = self._dataset.variables
        cut = torch.from_numpy(patches.cut(positions, len(names), self._vectors))
        fields = cut.to(self._device)
        return {name: fields[..., index].unsqueeze(1) for index, name in enumerate(names)}

"""Datasets of fields on a grid, in the folders of 2Dto2D-DLE: train/ and test/, each with folders of frames."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import content_hash
from qexp.datasets.gridded.derived import SLOPES
from qexp.datasets.gridded.folders import FieldError, FieldFolder, field_folders, open_folder
from qexp.datasets.gridded.frames import THICKNESS, Frames, cached_frames
from qexp.datasets.gridded.mappings import KNOWN_VECTORS
from qexp.datasets.gridded.patches import Numbers, Part, Patches, Vector
from qexp.did_you_mean import suggestion
from qexp.errors import DatasetError, some

Where = tuple[str | int, ...]

TRAIN, TEST = "train", "test"


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

    path                   holds train/ and test/
    inputs                 variable → typical value, by which it is divided for the network, in the variable's unit
    outputs                the same
    file                   name of the NetCDF file in each folder; None: `ex.nc`
    resample               width of the cells relative to the files': block means for 2, 3, …, splines below 1
    stepping               use only every n-th frame
    patch_size             cells along a patch's side; if negative, the largest power of two that fits every frame
    threshold              patches are used only if the thickness at their centre exceeds this [m], and only cells
                           above it are evaluated; None: no limit
    include_test_in_train  also train on the test folders, as 2Dto2D-DLE can; errors on them are then no test
    vectors                pairs of variables, x and y component; None: slopes and velocities by their usual names
    augment                whether training patches are rotated and mirrored, and their vectors with them
    units                  variable → unit, where the files do not give it
    recompute_slopes       compute slopes from the surface, as 2Dto2D-DLE does, even where the files have some
    fingerprint            expected SHA-256 of all files together, if it is known
    Raises DatasetError.
    """

    def __init__(
        self,
        path: Path,
        inputs: Mapping[str, float],
        outputs: Mapping[str, float],
        file: str | None = None,
        resample: float = 1,
        stepping: int = 1,
        patch_size: int = 32,
        threshold: float | None = None,
        include_test_in_train: bool = False,
        vectors: Sequence[Sequence[str]] | None = None,
        augment: bool = True,
        units: Mapping[str, str] | None = None,
        recompute_slopes: bool = False,
        fingerprint: str | None = None,
    ) -> None:
        self.path, self.inputs, self.outputs = path, tuple(inputs), tuple(outputs)
        self.scales = {**inputs, **outputs}
        self.threshold, self.augment, self.include_test_in_train = threshold, augment, include_test_in_train
        self._file = file
        self.warnings: list[str] = []
        """Properties of the data that are allowed but may be mistakes."""
        _refuse(self._unusable_arguments(resample, vectors))
        folders = self._folders()
        _refuse(self._unusable_folders(folders))
        if fingerprint is not None and fingerprint != (found := self._fingerprint(folders)):
            raise DatasetError([(("fingerprint",), f"{path} has changed: the SHA-256 of its fields is now {found}")])
        self.parts: dict[str, list[Frames]] = {}
        """train and test → the frames of their folders."""
        found_wrong: list[tuple[Where, str]] = []
        hidden = SLOPES if recompute_slopes else ()
        for part, of_part in folders.items():
            self.parts[part] = []
            for folder in of_part:
                try:
                    frames = cached_frames(folder, self.variables, file, resample, stepping, hidden)
                except FieldError as error:
                    found_wrong.append((("path",), str(error)))
                    found_wrong += self._without_thickness(folder)
                    continue
                self.parts[part].append(frames)
                if threshold is not None and THICKNESS not in frames.variables:
                    found_wrong.append(_nothing_to_compare_with(folder))
        _refuse(iter(found_wrong))
        self.patch_size = self._patch_size(patch_size)
        self.units = self._units(units or {})
        named = KNOWN_VECTORS if vectors is None else [(x, y) for x, y in vectors]
        self.vectors: list[tuple[str, str]] = [pair for pair in named if set(pair) & set(self.variables)]
        self._warn()

    @property
    def variables(self) -> list[str]:
        """Names of inputs and outputs."""
        return list(self.scales)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable and its shape without the batch: (1, patch, patch)."""
        return dict.fromkeys(self.variables, (1, self.patch_size, self.patch_size))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all files together, in hexadecimal."""
        return self._fingerprint(self._folders())

    @property
    def test(self) -> EvaluatedFrames:
        """The frames of the test folders."""
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
        """A column that a split may use: the `folder` of each frame, or its number in it, `time`. Raises FieldError."""
        columns = {
            "folder": [frames.name for frames in self.training_folders for _ in range(len(frames))],
            "time": [str(number) for frames in self.training_folders for number in range(len(frames))],
        }
        if name not in columns:
            raise FieldError(f"frames have no column '{name}'; {suggestion(name, columns)}")
        return np.array(columns[name])

    def patches(self, rows: Numbers) -> Patches:
        """The patches of some frames of the training folders. Raises DatasetError if there are none."""
        start, parts = 0, []
        for frames in self.training_folders:
            chosen = rows[(rows >= start) & (rows < start + len(frames))] - start
            if len(chosen):
                parts.append(Part(frames, chosen))
            start += len(frames)
        return self._with_places(parts)

    def test_patches(self) -> Patches:
        """The patches of all frames of the test folders. Raises DatasetError if there are none."""
        return self._with_places([Part(frames, np.arange(len(frames))) for frames in self.parts[TEST]])

    def vector_positions(self) -> list[Vector]:
        """The vectors whose two components are variables."""
        places = {name: index for index, name in enumerate(self.variables)}
        return [(places.get(x), places.get(y)) for x, y in self.vectors]

    def hashes(self, folder: FieldFolder) -> set[str]:
        """Hashes of the files of a folder that identify it: those with outputs, since others may be shared by all."""
        named = [path for path in folder.files if path.stem in self.outputs]
        return {content_hash(path) for path in named or folder.files}

    def hashes_of(self, frames: Iterable[Frames]) -> dict[str, set[str]]:
        """Name of a folder of this dataset → its hashes. Raises FieldError if it cannot be read any more."""
        return {one.name: self.hashes(open_folder(one.folder, self._file)) for one in frames}

    def _with_places(self, parts: list[Part]) -> Patches:
        whole = all(set(vector) <= set(self.variables) for vector in self.vectors)
        patches = Patches(parts, self.patch_size, self.threshold, exchanging=whole)
        if not patches.places:
            names = ", ".join(part.frames.name for part in parts)
            raise DatasetError(
                [(("threshold",), f"no patch of {names} has more than {self.threshold:g} m of ice in its centre")]
            )
        return patches

    def _folders(self) -> dict[str, list[Path]]:
        if not self.path.is_dir():
            raise DatasetError([(("path",), f"{self.path} is not a folder")])
        folders, troubles = {}, []
        for part in (TRAIN, TEST):
            try:
                folders[part] = field_folders(self.path / part)
            except FieldError as error:
                troubles.append((("path",), str(error)))
        _refuse(iter(troubles))
        return folders

    def _fingerprint(self, folders: Mapping[str, Sequence[Path]]) -> str:
        digest = hashlib.sha256()
        for of_part in folders.values():
            for folder in of_part:
                for file in open_folder(folder, self._file).files:
                    digest.update(f"{file.relative_to(self.path)} {content_hash(file)}\n".encode())
        return digest.hexdigest()

    def _unusable_arguments(
        self, resample: float, vectors: Sequence[Sequence[str]] | None
    ) -> Iterator[tuple[Where, str]]:
        if resample > 1 and resample != round(resample):
            yield ("resample",), f"{resample:g}: must be a whole number (wider cells), or less than 1 (narrower cells)"
        if not resample > 0:
            yield ("resample",), f"{resample:g}: the width of the cells must be greater than 0"
        for kind, names in (("inputs", self.inputs), ("outputs", self.outputs)):
            for name in names:
                if self.scales[name] == 0 or not math.isfinite(self.scales[name]):
                    yield (kind, name), "a field cannot be divided by 0; give a typical value, in its own unit"
        for index, pair in enumerate(vectors or []):
            for name in pair:
                if name not in self.scales:
                    yield ("vectors", index), f"no variable '{name}'; {suggestion(name, self.scales)}"

    def _unusable_folders(self, folders: Mapping[str, Sequence[Path]]) -> Iterator[tuple[Where, str]]:
        for of_part in folders.values():
            for folder in of_part:
                try:
                    open_folder(folder, self._file)
                except FieldError as error:
                    yield ("path",), str(error)

    def _without_thickness(self, folder: Path) -> Iterator[tuple[Where, str]]:
        """A finding if a folder lacks the thickness that the threshold needs."""
        if self.threshold is None:
            return
        with contextlib.suppress(FieldError):  # reported already: the file cannot be read
            if THICKNESS not in open_folder(folder, self._file).variables:
                yield _nothing_to_compare_with(folder)

    def _patch_size(self, wanted: int) -> int:
        smallest = min((frames for of_part in self.parts.values() for frames in of_part), key=lambda one: min(one.size))
        least = min(smallest.size)
        if wanted < 0:
            return int(2 ** math.floor(math.log2(least)))
        if wanted > least:
            height, width = smallest.size
            raise DatasetError(
                [
                    (
                        ("patch_size",),
                        f"a patch of {wanted} × {wanted} cells is larger than the frames of {smallest.folder}, "
                        f"{height} × {width}; use at most {least}, or -1 for the largest power of two that fits",
                    )
                ]
            )
        return wanted

    def _units(self, given: Mapping[str, str]) -> dict[str, str]:
        attributes = self.parts[TRAIN][0].attributes
        return {name: given.get(name, str(attributes.get(name, {}).get("units", ""))) for name in self.variables}

    def _warn(self) -> None:
        spacings: dict[tuple[float, float], list[str]] = {}
        for of_part in self.parts.values():
            for frames in of_part:
                if (spacing := frames.spacing) is not None:
                    rounded = (float(f"{spacing[0]:.3g}"), float(f"{spacing[1]:.3g}"))
                    spacings.setdefault(rounded, []).append(frames.name)
        if len(spacings) > 1:
            listed = "; ".join(f"{y:g} × {x:g} m in {some(names, 3)}" for (y, x), names in spacings.items())
            self.warnings.append(
                f"the cells have different sizes: {listed}; a network does not know the size of its cells"
            )
        if self.include_test_in_train:
            self.warnings.append("the test folders are also used for training: errors on them are not test errors")


def _nothing_to_compare_with(folder: Path) -> tuple[Where, str]:
    return ("threshold",), f"{folder} has no thickness '{THICKNESS}' to compare with; leave 'threshold' out"


def _refuse(found: Iterator[tuple[Where, str]]) -> None:
    if findings := list(found):
        raise DatasetError(findings)

"""A preview of fields on a grid: patches as a network gets them, and whole frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.figures.distributions import values_by_group
from qexp.kinds.fields.dataset import GriddedDataset, Patches
from qexp.kinds.fields.figures import FieldSample, sample_fields
from qexp.kinds.fields.frames import THICKNESS, Frames
from qexp.kinds.preview import Array, Pictures, Preview, Variable
from qexp.spec.reading import Document

if TYPE_CHECKING:
    import xarray

CELLS = 4_000_000
"""Cells of each variable that are read for numbers and histograms, or one frame."""

MOST_FRAMES = 4
"""Whole frames that are drawn."""


class FieldsPreview(Preview[GriddedDataset, Patches]):
    counted = "cells"

    def samples(self, count: int) -> xarray.Dataset:
        import xarray

        patches = self.own
        positions = patches.draw(count, self.random(), turned=False)
        cut = patches.cut(positions, len(self.dataset.variables), [])
        columns: dict[str, Any] = {
            name: (("sample", "y", "x"), cut[..., index], {"units": self.dataset.units[name]})
            for index, name in enumerate(self.dataset.variables)
        }
        frames = [patches.parts[part].frames for part in positions.part]
        coordinates: dict[str, Any] = {
            "folder": ("sample", [folder.name for folder in frames]),
            "frame": ("sample", positions.frame),
            "row": ("sample", positions.row),
            "column": ("sample", positions.column),
        }
        if all(folder.time is not None for folder in frames):
            pairs = zip(frames, positions.frame, strict=True)
            times = [(folder.time or ())[number] for folder, number in pairs]
            unit = str(frames[0].attributes.get("time", {}).get("units", ""))
            coordinates["time"] = ("sample", times, {"units": unit})
        return xarray.Dataset(columns, coordinates)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        units = self.dataset.units
        return [Variable(name, units[name], values) for name, values in self._read.items()]

    def remarks(self) -> list[str]:
        frames = sum(len(part.chosen) for part in self.own.parts)
        threshold = self.dataset.threshold
        ice = "" if threshold is None else f", cells with more than {threshold:g} m of ice"
        return [f"numbers and histograms: {len(_spread_over(self.own))} of {frames} frames{ice}"]

    def proposal(self, variables: Sequence[Variable]) -> Document:
        typical = {variable.name: variable.typical() for variable in variables}
        for x, y in self.dataset.vectors:
            if {x, y} <= typical.keys():  # a vector keeps its direction
                larger = max(typical[x], typical[y])
                typical[x] = larger
                typical[y] = larger
        return {
            "inputs": {name: typical[name] for name in self.dataset.inputs},
            "outputs": {name: typical[name] for name in self.dataset.outputs},
        }

    def pictures(
        self, samples: xarray.Dataset, variables: Sequence[Variable], title: str
    ) -> Pictures:
        names = self.dataset.variables
        units = self.dataset.units
        side = self.dataset.patch_size
        patches = []
        for index in range(samples.sizes["sample"]):
            fields = {name: samples[name].values[index] for name in names}
            patches.append(FieldSample(self._words(samples, index, side, side), fields))
        yield "samples", sample_fields(patches, units, f"{title}, patches")
        outlined = f"{title}, whole frames; outlined: the samples"
        yield "frames", sample_fields(self._frames(samples), units, outlined)
        yield self.histograms(variables, title)
        yield from self._by_folder(title)

    def _words(self, samples: xarray.Dataset, index: int, height: int, width: int) -> str:
        one = samples.isel(sample=index)
        frames = self._folder(str(one["folder"].item()))
        when = f"frame {one['frame'].item()}"
        if "time" in one.coords:
            time = one["time"]
            when = f"{when}, {time.item():.4g} {time.attrs['units']}".rstrip()
        size = f"{height} × {width} cells"
        if frames.spacing is not None:
            y, x = frames.spacing
            size = f"{height * y / 1000:.3g} × {width * x / 1000:.3g} km"
        return f"{frames.name}\n{when}\n{size}"

    def _folder(self, name: str) -> Frames:
        return next(part.frames for part in self.own.parts if part.frames.name == name)

    def _frames(self, samples: xarray.Dataset) -> list[FieldSample]:
        """The first frames that samples are cut from, with the outlines of those samples."""
        indices: dict[tuple[str, int], list[int]] = {}
        for index, folder in enumerate(samples["folder"].values.tolist()):
            frame = folder, int(samples["frame"].values[index])
            indices.setdefault(frame, []).append(index)
        columns, rows = (samples[name].values.astype(float) for name in ("column", "row"))
        drawn = []
        side = float(self.dataset.patch_size)
        for (folder, number), cut in list(indices.items())[:MOST_FRAMES]:
            frames = self._folder(folder)
            fields, ice = self._frame(frames, number)
            seen = {name: np.where(ice, fields[name], np.nan) for name in self.dataset.variables}
            outlines = [(float(columns[index]), float(rows[index]), side, side) for index in cut]
            words = self._words(samples, cut[0], *frames.size)
            drawn.append(FieldSample(words, seen, outlines))
        return drawn

    def _frame(self, frames: Frames, number: int) -> tuple[dict[str, Array], Any]:
        """The fields of a frame, and where there is more ice than the threshold, if any."""
        threshold = self.dataset.threshold
        needed = [] if threshold is None else [THICKNESS]
        names = list(dict.fromkeys([*self.dataset.variables, *needed]))
        read = frames.read(names, number, number + 1)
        fields = {name: values[0] for name, values in read.items()}
        if threshold is None:
            return fields, np.ones(frames.size, dtype=bool)
        return fields, fields[THICKNESS] > threshold

    def _by_folder(self, title: str) -> Pictures:
        """The mean of the first input in frames of all parts, by folder."""
        name = self.dataset.inputs[0]
        groups, parts, values = [], [], []
        for part, patches in self.parts.items():
            for frames, number in _spread_over(patches):
                fields, ice = self._frame(frames, number)
                groups.append(frames.name)
                parts.append(part)
                mean = fields[name][ice].mean(dtype=np.float64) if ice.any() else np.nan
                values.append(float(mean))
        heading = self.over_all(title, "means of frames of all parts")
        unit = self.dataset.units[name]
        figure = values_by_group(
            groups, parts, list(self.parts), np.array(values), name, unit, heading
        )
        yield f"{name}_by_folder", figure

    @cached_property
    def _read(self) -> dict[str, Array]:
        """Variable → its values in cells with ice, of frames spread evenly over the part."""
        columns: dict[str, list[Array]] = {name: [] for name in self.dataset.variables}
        for frames, number in _spread_over(self.own):
            fields, ice = self._frame(frames, number)
            for name, values in columns.items():
                values.append(fields[name][ice])
        return {name: np.concatenate(values) for name, values in columns.items()}


def _spread_over(patches: Patches) -> list[tuple[Frames, int]]:
    """Frames that have `CELLS` cells together, spread evenly: folder and number of each."""
    every = [(part.frames, int(number)) for part in patches.parts for number in part.chosen]
    sizes = [math.prod(frames.size) for frames, _ in every]
    largest = max(sizes)
    count = min(len(every), max(1, CELLS // largest))
    places = np.linspace(0, len(every) - 1, count)
    return [every[index] for index in places.round().astype(int)]

"""A preview of simulated images and the values that made them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.base.quantities import base_name, in_words, name_of_view, quantity
from qexp.base.seeds import Seeds
from qexp.figures.distributions import Histogram, histograms
from qexp.figures.fields import Extent
from qexp.kinds.images.figures import ImageSample, sample_images
from qexp.kinds.images.files import NORTHWARDS, ROWS
from qexp.kinds.preview import Array, Pictures, Preview, Variable, value_in_words
from qexp.simulation.dataset import GeneratedDataset, Intervals, Values, mask_of
from qexp.simulation.mixture import Mixture
from qexp.simulation.stored import StoredDataset
from qexp.spec.reading import Document

if TYPE_CHECKING:
    import xarray

DRAWN_VALUES = 10_000
"""Values drawn of each varying variable for the numbers and histograms."""

PIXELS = 4_000_000
"""Pixels simulated of each image for the numbers, at most."""

MOST_IMAGES = 256

EDGE = 0.3
"""Width of the space around scattered points, relative to their extent."""


class ImagesPreview(Preview[GeneratedDataset, Intervals]):
    """Samples are those of a run with the same seed, not in the order of training."""

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        if isinstance(self.dataset, Mixture):
            return {self.dataset.variable: [*self.dataset.members]}
        return self.dataset.classes if isinstance(self.dataset, StoredDataset) else {}

    def samples(self, count: int) -> xarray.Dataset:
        import xarray

        variables: dict[str, Any] = {}
        for name, values in self._drawn(count).items():
            dims = dimensions(self.dataset, name)
            array = values.numpy().reshape([len(values), *dims.values()])
            rows = {ROWS: NORTHWARDS} if any(dim.startswith("y") for dim in dims) else {}
            variables[name] = (("sample", *dims), array, {"units": self._unit(name), **rows})
        return xarray.Dataset(variables)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        pixels = max(math.prod(shape) for shape in self.dataset.shapes().values())
        drawn = self._drawn(min(MOST_IMAGES, max(1, PIXELS // pixels)))
        varying = [name for name in self._values if name in {*self.dataset.test, *self.classes}]
        values = {name: self._values[name] for name in varying}
        values |= {name: drawn[name].numpy().ravel() for name in self.dataset.images}
        views = self.dataset.view_names
        described = []
        for name, array in values.items():
            view = name_of_view(name, views) if any(views) else None
            classes = self.classes.get(name, ())
            described.append(Variable(name, self._unit(name), array, view=view, classes=classes))
        return described

    def _value_in_words(self, name: str, value: float) -> str:
        return value_in_words(in_words(name, self.dataset.view_names), value, self._unit(name))

    def remarks(self) -> list[str]:
        fixed = [self._value_in_words(name, value) for name, value in self.dataset.fixed.items()]
        remarks = [f"fixed: {', '.join(fixed)}"] if fixed else []
        if again := self.dataset.redrawn:
            remarks.append(f"drawn again because they were impossible: {again:,} samples")
        return remarks

    def proposal(self, variables: Sequence[Variable]) -> Document:
        scales = {}
        for variable in variables:
            if variable.name in self.dataset.images:
                typical = {"typical": variable.typical()}
                scales[variable.name] = {"type": "scale", "parameters": typical}
        return {"transforms": scales}

    def pictures(
        self, samples: xarray.Dataset, variables: Sequence[Variable], title: str
    ) -> Pictures:
        names = self.dataset.images
        drawn_samples = []
        values = {name: samples[name].values.astype(np.float64) for name in self.dataset.test}
        places = {name: self._positions(name) for name in names}
        points = {name: place for name, place in places.items() if place is not None}
        for index in range(samples.sizes["sample"]):
            words = [names[int(samples[name][index])] for name, names in self.classes.items()]
            words += [self._value_in_words(name, column[index]) for name, column in values.items()]
            seen = {name: self._seen(samples, name, index) for name in names}
            extents = {name: self._extent(name, values, index) for name in names}
            drawn_samples.append(ImageSample(words, seen, extents, points))
        units = {name: self._unit(name) for name in names}
        views = self.dataset.view_names
        yield "samples", sample_images(drawn_samples, units, title, views)
        drawn = []
        for variable in variables:
            if variable.name in self.dataset.test:
                quantiles = self.dataset.distributions[variable.name].quantile
                ends = np.clip(self.dataset.held_out[variable.name], 1e-12, 1 - 1e-12)
                held_out = [tuple(quantiles(interval)) for interval in ends]
                name = in_words(variable.name, views)
                drawn.append(Histogram(name, variable.unit, {self.part: variable.values}, held_out))
        if drawn:
            yield "histograms", histograms(drawn, title, self.counted)

    @cached_property
    def _values(self) -> dict[str, Values]:
        """Values of the varying variables, the first of which are those of the samples."""
        count = self.dataset.available(self.own, DRAWN_VALUES)
        return dict(self.dataset.values(self.own, count, Seeds(self.seed), self._purpose))

    @property
    def _purpose(self) -> tuple[str | int, ...]:
        """The random stream of a run's first epoch, or of its samples of the other parts."""
        return (self.part, 1) if self.part == "train" else (self.part,)

    def _drawn(self, count: int) -> dict[str, torch.Tensor]:
        count = self.dataset.available(self.own, count)
        seeds = Seeds(self.seed)
        return self.dataset.sample(self.own, count, seeds, self._purpose, torch.device("cpu"))

    def _unit(self, name: str) -> str:
        return quantity(name, self.dataset.quantities).unit

    def _seen(self, samples: xarray.Dataset, image: str, index: int) -> Array:
        """One image, NaN where its mask is 0."""
        values: Array = samples[image].values[index]
        mask = mask_of(image)
        if mask not in samples:
            return values
        return np.where(samples[mask].values[index] > 0, values, np.nan)

    def _positions(self, image: str) -> Array | None:
        """Scattered points or stations of a view, (point, 2) [km]."""
        points = self.dataset.view(image).points
        return None if points is None else points.numpy() / 1000

    def _extent(self, image: str, values: Mapping[str, Values], index: int) -> Extent:
        """Edges of a sample's image [km]: pixel [0, 0] is centred at (−W/2 width, −H/2 height)."""
        points = self._positions(image)
        if points is not None:
            x, y = (points.min(0) + points.max(0)) / 2
            half = (0.5 + EDGE) * float(np.ptp(points, axis=0).max()) or 1.0
            return Extent(x - half, x + half, y - half, y + half, "km")
        sizes = self.dataset.pixel_sizes(image, values)
        width, height = (float(size[index if len(size) > 1 else 0]) / 1000 for size in sizes)
        unit = "km" if math.isfinite(width + height) else "pixels"
        if unit == "pixels":  # files of simulations do not say their size
            width = height = 1.0
        _, rows, columns = self.dataset.shapes()[image]
        west = (-columns / 2 - 0.5) * width
        south = (-rows / 2 - 0.5) * height
        return Extent(west, west + columns * width, south, south + rows * height, unit)


def dimensions(dataset: GeneratedDataset, name: str) -> dict[str, int]:
    """The dimensions of an image or mask besides those of samples, and their lengths; none for a
    number.

    Those of several views are apart where their sizes differ; scattered points have one for all.
    """
    shape = dataset.shapes().get(name, ())  # the number of a simulation is no variable of a network
    if len(shape) < 3:
        return {}
    channels, height, width = shape
    suffix = name[len(base_name(name)) :]
    component = {"component": channels} if channels > 1 else {}
    (image,) = (image for image in dataset.images if name in (image, mask_of(image)))
    if dataset.view(image).points is not None:
        return {**component, f"point{suffix}": height}
    side = suffix if (height, width) != dataset.size else ""
    return {**component, f"y{side}": height, f"x{side}": width}

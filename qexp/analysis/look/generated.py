"""A look at simulated images and the values that made them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.analysis.look.view import Array, Pictures, Variable, View, value_in_words
from qexp.figures.fields import Extent
from qexp.figures.histograms import Histogram, histograms
from qexp.figures.sample_images import ImageSample, sample_images
from qexp.quantities import base_name, in_words, name_of_view, quantity
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset, Part, Values, mask_of
from qexp.simulation.views import DISPLACEMENT

if TYPE_CHECKING:
    import xarray

DRAWN = 10_000
"""Values drawn of each varying variable for the numbers and histograms."""

PIXELS = 4_000_000
"""Pixels simulated of each image for the numbers, at most."""

MOST_IMAGES = 256

EDGE = 0.3
"""Width of the space around scattered points, relative to their extent."""


class ImagesView(View[GeneratedDataset, Part]):
    """Samples are those of a run with the same seed, without the order in which they are trained on."""

    counted = "samples"

    def samples(self, count: int) -> xarray.Dataset:
        import xarray

        drawn = self._drawn(count)
        dims = self._dimensions()
        made: dict[str, Any] = {}
        for name, values in drawn.items():
            of_one = dims.get(name, {})
            array = values.numpy().reshape([len(values), *of_one.values()])
            made[name] = (("sample", *of_one), array, {"units": self._unit(name)})
        return xarray.Dataset(made)

    def _dimensions(self) -> dict[str, dict[str, int]]:
        """Image or mask → its dimensions besides `sample`, and their lengths; scattered points have one for all."""
        made: dict[str, dict[str, int]] = {}
        for name, shape in self.dataset.shapes().items():
            if len(shape) < 3:
                continue
            suffix = name[len(base_name(name)) :]
            own = suffix if shape[1:] != (self.dataset.height, self.dataset.width) else ""
            view = self.dataset.view(DISPLACEMENT + suffix)
            sides = {f"y{own}": shape[1], f"x{own}": shape[2]} if view.points is None else {f"point{suffix}": shape[1]}
            made[name] = {**({"component": shape[0]} if shape[0] > 1 else {}), **sides}
        return made

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        pixels = max(math.prod(shape) for shape in self.dataset.shapes().values())
        count = min(MOST_IMAGES, max(1, PIXELS // pixels))
        drawn = self._drawn(count)
        names = self.dataset.generator.images(self.dataset.variables)
        values = {**self._values, **{name: drawn[name].numpy().ravel() for name in names}}
        return [Variable(name, self._unit(name), of, view=self._view_of(name)) for name, of in values.items()]

    def _view_of(self, name: str) -> str | None:
        """The name of a variable's view, empty for one that is of no named view; None if no view has a name."""
        views = self.dataset.view_names
        return name_of_view(name, views) if any(views) else None

    def _value_in_words(self, name: str, value: float) -> str:
        return value_in_words(in_words(name, self.dataset.view_names), value, self._unit(name))

    def remarks(self) -> list[str]:
        fixed = [self._value_in_words(name, value) for name, value in self.dataset.fixed.items()]
        again = self.dataset.redrawn
        return [
            *([f"fixed: {', '.join(fixed)}"] if fixed else []),
            *([f"drawn again because they were impossible: {again:,} samples"] if again else []),
        ]

    def proposal(self, variables: Sequence[Variable]) -> dict[str, Any]:
        images = self.dataset.generator.images(self.dataset.variables)
        return {
            "transforms": {
                one.name: {"type": "scale", "parameters": {"typical": one.typical()}}
                for one in variables
                if one.name in images
            }
        }

    def pictures(self, samples: xarray.Dataset, variables: Sequence[Variable], title: str) -> Pictures:
        names = self.dataset.generator.images(self.dataset.variables)
        values = {name: samples[name].values.astype(np.float64) for name in self.dataset.test}
        shown = [
            ImageSample(
                [self._value_in_words(name, of_all[index]) for name, of_all in values.items()],
                {name: self._seen(samples, name, index) for name in names},
                {name: self._extent(name, values, index) for name in names},
                {name: at for name in names if (at := self._positions(name)) is not None},
            )
            for index in range(samples.sizes["sample"])
        ]
        units, views = {name: self._unit(name) for name in names}, self.dataset.view_names
        yield "samples", sample_images(shown, units, title, views)
        varying = [one for one in variables if one.name in self.dataset.test]
        if varying:
            made = [
                Histogram(in_words(one.name, views), one.unit, {self.part: one.values}, self._held_out(one.name))
                for one in varying
            ]
            yield "histograms", histograms(made, title, self.counted)

    @cached_property
    def _values(self) -> dict[str, Values]:
        """Values of the varying variables, the first of which are those of the samples."""
        return dict(self.dataset.values(self.parts[self.part], DRAWN, Seeds(self.seed), self._purpose))

    @property
    def _purpose(self) -> tuple[str | int, ...]:
        """The random stream of a run's first epoch, or of its samples of the other parts."""
        return (self.part, 1) if self.part == "train" else (self.part,)

    def _drawn(self, count: int) -> dict[str, torch.Tensor]:
        device = torch.device("cpu")
        return self.dataset.sample(self.parts[self.part], count, Seeds(self.seed), self._purpose, device)

    def _unit(self, name: str) -> str:
        return quantity(name, self.dataset.quantities).unit

    def _held_out(self, name: str) -> list[tuple[float, float]]:
        quantiles = self.dataset.distributions[name].quantile
        return [tuple(quantiles(np.clip(ends, 1e-12, 1 - 1e-12))) for ends in self.dataset.held_out[name]]

    def _seen(self, samples: xarray.Dataset, image: str, index: int) -> Array:
        """One image, NaN where its mask is 0."""
        values: Array = samples[image].values[index]
        mask = mask_of(image)
        return np.where(samples[mask].values[index] > 0, values, np.nan) if mask in samples else values

    def _positions(self, image: str) -> Array | None:
        """Scattered points or stations of a view, (point, 2) [km]."""
        points = self.dataset.view(image).points
        return None if points is None else points.numpy() / 1000

    def _extent(self, image: str, values: Mapping[str, Values], index: int) -> Extent:
        """The edges of a sample's image [km]: pixel [r, c] is centred at ((c - W/2) width, (r - H/2) height)."""
        points = self._positions(image)
        if points is not None:
            (x, y), half = (
                (points.min(0) + points.max(0)) / 2,
                (0.5 + EDGE) * float(np.ptp(points, axis=0).max()) or 1.0,
            )
            return Extent(x - half, x + half, y - half, y + half, "km")
        sizes = self.dataset.pixel_sizes(image, values)
        width, height = (float(size[index if len(size) > 1 else 0]) / 1000 for size in sizes)
        _, rows, columns = self.dataset.shapes()[image]
        return Extent(
            (-columns / 2 - 0.5) * width, (columns / 2 - 0.5) * width,
            (-rows / 2 - 0.5) * height, (rows / 2 - 0.5) * height, "km",
        )  # fmt: skip

"""A look at simulated images and the values that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.analysis.look.view import Pictures, Variable, View, value_in_words
from qexp.datasets.generated import GeneratedDataset, Part, Values
from qexp.figures.fields import Extent
from qexp.figures.histograms import Histogram, histograms
from qexp.figures.sample_images import ImageSample, sample_images
from qexp.quantities import quantity
from qexp.seeds import Seeds

if TYPE_CHECKING:
    import xarray

DRAWN = 10_000
"""Values drawn of each varying variable for the numbers and histograms."""

PIXELS = 4_000_000
"""Pixels simulated of each image for the numbers, at most."""

MOST_IMAGES = 256


class ImagesView(View[GeneratedDataset, Part]):
    """Samples are those of a run with the same seed, without the order in which they are trained on."""

    counted = "samples"

    def samples(self, count: int) -> xarray.Dataset:
        import xarray

        drawn = self._drawn(count)
        made: dict[str, Any] = {}
        for name, values in drawn.items():
            array = values[:, 0].numpy()  # images have one channel
            made[name] = (("sample", "y", "x")[: array.ndim], array, {"units": self._unit(name)})
        return xarray.Dataset(made)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        count = min(MOST_IMAGES, max(1, PIXELS // (self.dataset.height * self.dataset.width)))
        drawn = self._drawn(count)
        images = [
            Variable(name, self._unit(name), drawn[name].numpy().ravel())
            for name in self.dataset.generator.images(self.dataset.variables)
        ]
        return [*(Variable(name, self._unit(name), values) for name, values in self._values.items()), *images]

    def remarks(self) -> list[str]:
        fixed = [value_in_words(name, value, self._unit(name)) for name, value in self.dataset.fixed.items()]
        return [f"fixed: {', '.join(fixed)}"] if fixed else []

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
                [value_in_words(name, of_all[index], self._unit(name)) for name, of_all in values.items()],
                {name: samples[name].values[index] for name in names},
                {name: self._extent(name, values, index) for name in names},
            )
            for index in range(samples.sizes["sample"])
        ]
        yield "samples", sample_images(shown, {name: self._unit(name) for name in names}, title)
        varying = [one for one in variables if one.name in self.dataset.test]
        if varying:
            made = [Histogram(one.name, one.unit, {self.part: one.values}, self._held_out(one.name)) for one in varying]
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
        return [tuple(quantiles(np.clip(ends, 1e-12, 1 - 1e-12))) for ends in self.dataset.test[name]]

    def _extent(self, image: str, values: Mapping[str, Values], index: int) -> Extent:
        """The edges of a sample's image [km]: pixel [r, c] is centred at ((c - W/2) width, (r - H/2) height)."""
        sizes = self.dataset.pixel_sizes(image, values)
        width, height = (float(size[index if len(size) > 1 else 0]) / 1000 for size in sizes)
        columns, rows = self.dataset.width, self.dataset.height
        return Extent(
            (-columns / 2 - 0.5) * width, (columns / 2 - 0.5) * width,
            (-rows / 2 - 0.5) * height, (rows / 2 - 0.5) * height, "km",
        )  # fmt: skip

"""A look at images and their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from qexp.base.quantities import in_words
from qexp.figures.fields import extent
from qexp.kinds.images.figures import ImageSample, sample_images
from qexp.kinds.look import Pictures, Variable, View, value_in_words
from tests.fifth_kind.objects import ImageDataset


class LabelledImages(View[ImageDataset, np.ndarray]):
    counted = "images"

    def samples(self, count: int) -> xarray.Dataset:
        chosen = self.dataset.samples(self.some(self.parts[self.part], count))
        dims = {2: ("sample",), 4: ("sample", "y", "x")}
        made = {name: (dims[values.ndim], values.numpy()[:, 0]) for name, values in chosen.items()}
        return xarray.Dataset(made)

    def variables(self, samples: xarray.Dataset) -> list[Variable]:
        chosen = self.dataset.samples(self.parts[self.part])
        return [Variable(name, "", values.numpy().ravel()) for name, values in chosen.items()]

    def pictures(self, samples: xarray.Dataset, variables: Sequence[Variable], title: str) -> Pictures:
        shown = [
            ImageSample(
                [
                    value_in_words(in_words(name), float(samples[name][index]), "")
                    for name in samples.data_vars
                    if name != "image"
                ],
                {"image": samples["image"].values[index]},
                {"image": extent(None, None, (8, 8))},
            )
            for index in range(samples.sizes["sample"])
        ]
        yield "samples", sample_images(shown, {"image": ""}, title)

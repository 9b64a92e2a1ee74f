"""Images as vectors whose noise is independent from value to value and has variance 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.noises.correlated import WhiteNoise
from qexp.datasets.noises.noise import MOST_TO_FACTOR
from qexp.datasets.views import GNSS, SIZED
from qexp.errors import QexpError
from qexp.quantities import NOISE, base_name

Array = NDArray[np.float64]


class Factors:
    """Cholesky factors of the covariance of noise. The last one of each image is kept, as samples often share it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[list[float], Tensor, float, Tensor]] = {}

    def __call__(self, dataset: GeneratedDataset, image: str, seen: Tensor) -> tuple[Tensor, float]:
        """The lower factor, or its diagonal if it is diagonal, and the number with which it is to be multiplied.

        dataset  in which nothing varies that the covariance depends on
        seen     (value,), whether a value is seen
        Raises QexpError if there is no factor.
        """
        level, suffix = dataset.fixed.get(NOISE, 0.0), image.removeprefix(base_name(image))
        sizes = [dataset.fixed[side + suffix] for side in SIZED if side + suffix in dataset.fixed]
        if image in self._kept:
            of_sizes, of_seen, of_level, factor = self._kept[image]
            scale = 1.0 if level == of_level else level / of_level if _proportional(dataset, image) else None
            if scale is not None and sizes == of_sizes and torch.equal(seen, of_seen):
                return factor, scale
        factor = _factor(dataset, image, seen, level)
        self._kept[image] = sizes, seen, level, factor
        return factor, 1.0


class Whitening:
    """Multiplies images with the inverse of the Cholesky factor of the covariance of their noise.

    images   the names of the images that belong to the data
    seen     image → (value,), whether a value is seen; the others are left out. All are if an image is not listed
    factors  where factors are found again
    Raises QexpError if there is no such factor.
    """

    def __init__(
        self,
        dataset: GeneratedDataset,
        images: Sequence[str],
        seen: Mapping[str, Tensor],
        factors: Factors | None = None,
    ) -> None:
        self.seen = {
            name: seen.get(name, torch.ones(_values_in(dataset, name), dtype=torch.bool)).flatten() for name in images
        }
        found = factors or Factors()
        self._factors = {name: found(dataset, name, self.seen[name]) for name in images}

    def __call__(self, images: Mapping[str, Tensor]) -> Array:
        """(sample, value) of image → (sample, ...): the values of all images, one after the other."""
        return np.concatenate([self._of(name, images[name]) for name in self.seen], axis=1)

    def of_products(self, vectors: Tensor) -> dict[str, Tensor]:
        """Image → (value, vector), with which seen values are multiplied for the products of whitened images and
        vectors, (vector, value of all images).
        """
        parts = torch.split(vectors, [int(seen.sum()) for seen in self.seen.values()], dim=1)
        return {name: self._transposed(name, part.mT) for name, part in zip(self.seen, parts, strict=True)}

    def _transposed(self, name: str, columns: Tensor) -> Tensor:
        factor, scale = self._factors[name]
        if factor.dim() == 1:
            return columns / (scale * factor)[:, None]
        solved: Tensor = torch.linalg.solve_triangular(factor.mT, columns, upper=True)
        return solved / scale

    def _of(self, name: str, images: Tensor) -> Array:
        (factor, scale), values = self._factors[name], images.flatten(1)[:, self.seen[name]].double()
        if factor.dim() == 1:
            return np.asarray((values / (scale * factor)).numpy())
        return np.asarray((torch.linalg.solve_triangular(factor, values.T, upper=False).T / scale).numpy())


def _proportional(dataset: GeneratedDataset, image: str) -> bool:
    """Whether the noise level multiplies all noise of an image."""
    return dataset.view(image).measures != GNSS and all(one.of_unit_variance for one in dataset.noise.added(image))


def _values_in(dataset: GeneratedDataset, image: str) -> int:
    return torch.Size(dataset.view(image).shape((dataset.height, dataset.width))).numel()


def _factor(dataset: GeneratedDataset, image: str, seen: Tensor, level: float) -> Tensor:
    """The lower Cholesky factor of the covariance between the seen values; its diagonal alone if it is diagonal."""
    view = dataset.view(image)
    if view.measures == GNSS:
        assert view.errors is not None
        return view.errors.double().T.flatten()[seen]
    added = dataset.noise.added(image)
    white = [one for one in added if isinstance(one, WhiteNoise)]
    if len(white) == len(added):
        deviation = math.hypot(*(one.deviation_at(level) for one in white))
        return torch.full((int(seen.sum()),), deviation, dtype=torch.float64)
    pixels = len(seen)
    if pixels > MOST_TO_FACTOR:
        raise QexpError(
            f"'{image}' has {pixels:,} pixels with correlated noise, whose covariance matrix can be factored for at "
            f"most {MOST_TO_FACTOR:,}; make the dataset's images smaller, with larger pixels"
        )
    covariance = dataset.noise.covariance(image, dataset.layouts()[image], level)[seen][:, seen]
    lower: Tensor
    lower, trouble = torch.linalg.cholesky_ex(covariance)
    if trouble:
        raise QexpError(
            f"the covariance of the noise of '{image}' is not positive definite in floating-point numbers; add a "
            "component that is independent from pixel to pixel, such as 'white' or a 'nugget'"
        )
    return lower

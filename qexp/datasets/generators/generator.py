"""What a simulated dataset needs of the generator of its images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.datasets.views import View

Array = NDArray[np.float64]


class Generator(Protocol):
    """A simulator of images; those of qexp are in `generators/`.

    Values are variable → (batch,), or (1,) if all samples share the value; in SI units.
    """

    def required(self, variables: Iterable[str]) -> list[str]:
        """The variables that must have a value, given those that a dataset mentions."""
        ...

    def images(self, variables: Iterable[str]) -> list[str]:
        """The names of the images made."""
        ...

    def simulate(self, values: Mapping[str, Tensor], height: int, width: int) -> dict[str, Tensor]:
        """Image → (batch, height, width), without noise."""
        ...

    def pixel_sizes(self, image: str, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Width and height of the pixels of an image, (batch,) or (1,) each, in metres: correlated noise needs them."""
        ...


@runtime_checkable
class Viewing(Generator, Protocol):
    """A generator whose images may have sizes, points and masks of their own, and that cannot simulate all values."""

    def view(self, image: str) -> View:
        """The view of an image."""
        ...

    def unmet(self, values: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
        """A requirement, in words → whether values, (batch,) or (1,) in SI units, violate it, (batch,) or (1,)."""
        ...


GENERATOR_METHODS = {
    "required": "required(variables): the variables that must have a value",
    "images": "images(variables): the names of the images that it makes",
    "simulate": "simulate(values, height, width): image → (batch, height, width)",
    "pixel_sizes": "pixel_sizes(image, values): width and height of the image's pixels in metres",
}

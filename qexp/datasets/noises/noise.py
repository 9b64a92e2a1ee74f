"""What every noise can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from qexp.datasets.noises.blocks import Blocks
from qexp.datasets.noises.layout import Grid, Layout

MOST_TO_FACTOR = 10_000
"""Pixels or points for which a covariance matrix is formed and factored: 800 MB of it."""


class Noise(ABC):
    """One component of the noise on a view."""

    of_unit_variance: bool = False
    """Whether it is to be scaled by the dataset's variable `noise`, because no amplitude was declared."""

    hides: ClassVar[bool] = False
    """Whether it hides pixels rather than being added to them; `draw` then is 1 where a pixel is hidden, or 0."""

    invertible: bool = False
    """Whether its covariance matrix has an inverse in floating-point numbers."""

    inverted_as_a_matrix: ClassVar[bool] = False
    """Whether `without_correlation` forms the covariance matrix of an image."""

    def trouble_with(self, layout: Layout) -> str | None:
        """Why it cannot be drawn on a layout, in words."""
        return None

    @abstractmethod
    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        """Realisations, (count, *layout.shape), in metres or of unit variance."""

    @abstractmethod
    def covariance(self, layout: Layout) -> Tensor | None:
        """Covariance between the pixels or points of a layout that is the same for all samples: (n, n), float64.

        None if it hides pixels.
        """

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor | None:
        """Covariance between the means of blocks of pixels, (block, block), float64; None if it hides pixels.

        Raises ValueError for too many pixels, where it needs the covariance between all of them.
        """
        pixels = layout.height * layout.width
        if not self.hides and pixels > MOST_TO_FACTOR:
            raise ValueError(
                f"the covariance between {pixels:,} pixels is too large; at most {MOST_TO_FACTOR:,} are possible"
            )
        covariance = self.covariance(layout)
        return None if covariance is None else blocks.means(blocks.means(covariance).T)

    def without_correlation(self, images: Tensor, layout: Layout) -> Tensor:
        """C⁻¹ times each image, C the covariance: (count, *layout.shape). Raises ValueError where C has no inverse."""
        covariance = self.covariance(layout)
        return images if covariance is None else solved(covariance, images)


def solved(covariance: Tensor, images: Tensor) -> Tensor:
    """C⁻¹ times each image, for a covariance matrix C between its pixels. Raises ValueError if C has no inverse."""
    factor, trouble = torch.linalg.cholesky_ex(covariance)
    if trouble:
        raise ValueError(
            "the covariance of the noise is not positive definite in floating-point numbers; "
            "add a component that is independent from pixel to pixel, such as 'white' or a 'nugget'"
        )
    right = images.flatten(1).double().to(covariance.device).T
    return torch.cholesky_solve(right, factor).T.reshape(images.shape).to(images)

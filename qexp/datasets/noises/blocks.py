"""Square blocks of pixels, whose means have less noise and are fewer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """Blocks of `size` x `size` pixels of an image; those in its last row and column may be smaller."""

    height: int
    width: int
    size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks from top to bottom, and from left to right."""
        return math.ceil(self.height / self.size), math.ceil(self.width / self.size)

    def numbers(self) -> Tensor:
        """The block of every pixel, (height * width,), counted row by row."""
        rows, columns = (torch.arange(count) // self.size for count in (self.height, self.width))
        return (rows[:, None] * self.shape[1] + columns).flatten()

    def counts(self) -> Tensor:
        """Pixels of each block, (block,)."""
        return torch.bincount(self.numbers())

    def means(self, values: Tensor) -> Tensor:
        """(block, ...) of (pixel, ...)."""
        sums = values.new_zeros(math.prod(self.shape), *values.shape[1:]).index_add_(0, self.numbers(), values)
        return sums / self.counts().to(sums).view(-1, *[1] * (sums.dim() - 1))

    def of_lags(self, covariance: Tensor) -> Tensor:
        """Covariance between means, (block, block), of noise that is the same everywhere in the image.

        covariance  (height, width)  between two pixels, by the rows and columns between them
        """
        rows, columns = (self._pairs(count) for count in (self.height, self.width))
        between = torch.einsum("lab,ijl->iajb", torch.einsum("lm,abm->lab", covariance, columns), rows)
        return between.reshape(math.prod(self.shape), -1)

    def _pairs(self, count: int) -> Tensor:
        """The share of each distance among all pairs of lines of two blocks, (block, block, distance)."""
        lines = torch.arange(count)
        block = lines // self.size
        share = 1 / torch.bincount(block).double()[block]
        pairs = torch.zeros(int(block[-1]) + 1, int(block[-1]) + 1, count, dtype=torch.float64)
        places = (block[:, None].expand(-1, count), block.expand(count, -1), (lines[:, None] - lines).abs())
        return pairs.index_put_(places, share[:, None] * share, accumulate=True)

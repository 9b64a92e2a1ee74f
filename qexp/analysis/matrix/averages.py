"""Means of blocks of pixels, in place of pixels of images that have too many for a full covariance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor

from qexp.analysis.matrix.weights import Seen, added_to
from qexp.errors import QexpError
from qexp.inference.weighting import MOST_CORRELATED
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.noise import Blocks, WhiteNoise


def blocks_of(image: str, source: GeneratedDataset) -> Blocks | None:
    """The smallest blocks of pixels of an image whose means have a covariance that is not too large.

    None if that of its pixels is not, or is diagonal. Raises QexpError for scattered points.
    """
    view = source.view(image)
    _, height, width = view.shape((source.height, source.width))
    if height * width <= MOST_CORRELATED or all(isinstance(one, WhiteNoise) for one in added_to(image, source)):
        return None
    if view.points is not None:
        raise QexpError(
            f"--refine, --bound: {image} has {height:,} points with correlated noise, and their full covariance is "
            f"used up to {MOST_CORRELATED:,}: take fewer points, or white noise"
        )
    size = next(size for size in count(2) if math.prod(Blocks(height, width, size).shape) <= MOST_CORRELATED)
    return Blocks(height, width, size)


class Averages:
    """The means that are fitted: of blocks of some images, and of single numbers of the others.

    shown   image → whether there are data, for each of its numbers
    blocks  image → its blocks
    """

    def __init__(self, shown: Mapping[str, Tensor], blocks: Mapping[str, Blocks]) -> None:
        groups: list[Tensor] = []
        counts: list[Tensor] = []
        for image, of in shown.items():
            numbers, pixels = torch.arange(int(of.sum())), torch.ones(int(of.sum()), dtype=torch.long)
            if image in blocks:
                numbers, pixels = blocks[image].numbers()[of], blocks[image].counts()
            groups.append(numbers + sum(len(one) for one in counts))
            counts.append(pixels)
        self._group, self._counts = torch.cat(groups), torch.cat(counts)

    def complete(self, seen: Seen) -> tuple[Seen, Seen]:
        """The numbers, (number,), and the means, (mean,), of blocks whose pixels are all seen."""
        found = torch.bincount(self._group[torch.from_numpy(seen)], minlength=len(self._counts))
        complete = found == self._counts
        return complete[self._group].numpy(), complete.numpy()

    def groups(self, used: Seen) -> Tensor:
        """The number of the mean of each of the numbers used, of the means that are used alone."""
        groups: Tensor = torch.unique(self._group[torch.from_numpy(used)], return_inverse=True)[1]
        return groups

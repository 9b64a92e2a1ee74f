"""Gauss-Legendre quadrature with as many nodes as each source of a batch needs."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import neg

import torch
from scipy.special import roots_legendre
from torch import Tensor

NODES = (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Numbers of nodes to choose from, so that sources that need about as many can be computed together."""

SPARED = 0.75
"""Sources that need fewer nodes than this share of another's are not computed together with it."""

ERROR = {torch.float64: 5e-15, torch.float32: 1e-6}
"""Largest power of the rate of convergence that is left; the error of the integral is some ten times as large."""


@lru_cache
def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes between -1 and 1, ascending, and their weights: (count,) each, with double precision."""
    points, weights = roots_legendre(count)
    return torch.from_numpy(points), torch.from_numpy(weights)


@torch.no_grad()
def enough_nodes(rate: Tensor, dtype: torch.dtype) -> Tensor:
    """How many nodes each integral needs for the digits of a type of numbers; 0 where no number of NODES is enough.

    rate  (batch,)  the error falls as exp(-rate * nodes)
    """
    wanted = 1 - math.log(ERROR.get(dtype, ERROR[torch.float32])) / rate.double()
    choices = torch.tensor((*NODES, 0), device=rate.device)
    return choices[torch.searchsorted(choices[:-1].double(), wanted)]


def alike(counts: Tensor, at_most: Callable[[int], int]) -> Iterator[tuple[int, Tensor]]:
    """The batch in blocks of sources that need about as many nodes, and no more of them than `at_most` of this number.

    counts  (batch,)
    yields  the largest number of nodes that a source of the block needs, and the places of these in the batch
    """
    order = counts.argsort(descending=True, stable=True)
    needed = counts[order].tolist()
    start = 0
    while start < len(needed):
        count = needed[start]
        fewest = bisect_right(needed, -SPARED * count, start, key=neg)
        end = min(fewest, start + max(1, at_most(count)))
        yield count, order[start:end]
        start = end

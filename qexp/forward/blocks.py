"""Kernels over large batches, a part at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STATIONS_AT_A_TIME = 4096
"""Of all sources of a block together: a kernel's intermediate results then stay in the processor's cache."""


def in_blocks(kernel: Callable[[Tensor, Tensor], Tensor], source: Tensor, stations: Tensor) -> Tensor:
    """The displacement that a kernel gives, computed for a few sources at a time, in double precision.

    kernel    sources (block, column), stations (block, station, 2) → (block, station, 3), in double precision
    source    (batch, column)
    stations  (station, 2), or (batch, station, 2)
    returns   (batch, station, 3) in the precision of the source

    Terms of opposite sign cancel in a finite source: in single precision a small one would lose most digits.
    """
    stations = stations.expand(len(source), -1, -1)
    size = max(1, STATIONS_AT_A_TIME // max(1, stations.shape[1]))
    parts = zip(source.double().split(size), stations.double().split(size), strict=True)
    displacement: Tensor = torch.cat([kernel(*part) for part in parts]).to(source.dtype)
    return displacement

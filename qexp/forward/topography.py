"""Sources below topography, by kernels for a half-space with a flat surface."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STATIONS = 65536
"""Stations computed at a time, which bounds the memory that they take."""


def over_topography(
    kernel: Callable[[Tensor, Tensor], Tensor], source: Tensor, stations: Tensor, elevation: Tensor, depth: int = 2
) -> Tensor:
    """The displacement by a kernel, with the depth of the source counted from the elevation of each station.

    kernel     sources (batch, k), stations (batch, station, 2) → displacement (batch, station, 3)
    source     (batch, k)                            its depth counted from elevation 0 [m]
    stations   (station, 2), (batch, station, 2)     east, north [m]
    elevation  (station,)                            [m]
    depth      number of the column of the source's depth
    returns    (batch, station, 3)                   displacement east, north, up [m]

    The varying-depth correction: under each station the ground is a half-space whose surface passes through it. An
    approximation: slopes neither tilt nor concentrate the stresses. Raises ValueError as the kernel does, also if a
    source is above the lowest station.
    Williams and Wadge (1998), Geophys. Res. Lett. 25, 1549-1552.
    """
    count = len(elevation)
    lifted = torch.zeros(count, source.shape[1], dtype=source.dtype, device=source.device)
    lifted[:, depth] = elevation.to(lifted)
    stations = stations.expand(len(source), -1, -1)
    samples = max(1, STATIONS // count)
    blocks = [
        kernel((sources[:, None, :] + lifted).flatten(0, 1), places.reshape(-1, 1, 2)).reshape(-1, count, 3)
        for sources, places in zip(source.split(samples), stations.split(samples), strict=True)
    ]
    return torch.cat(blocks)

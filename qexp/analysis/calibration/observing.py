"""New simulated observations, and the values that made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.evaluation.asked import ALL, PARTS
from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset, Part

Array = NDArray[np.float64]

PURPOSE = "calibration"
"""Of the random streams: none that a training uses."""

SIMULATED = 100
"""Observations that are simulated at a time, with a random stream of their own."""


@dataclass(frozen=True)
class Block:
    """Simulated observations and the values that made them."""

    number: int
    start: int
    values: Mapping[str, Array]
    """Varying variable → (observation,), in its unit."""
    samples: Mapping[str, Tensor]
    """All variables of the dataset, as a network takes them."""


def blocks(
    dataset: GeneratedDataset, part: Part, count: int, size: int, seeds: Seeds, device: torch.device
) -> Iterator[Block]:
    """`count` observations of a part of the distributions, in blocks; the same ones, whatever the size of a block.

    size  of a block, a multiple of `SIMULATED`
    """
    values = dataset.values(part, count, seeds, (PURPOSE,))
    for number, start in enumerate(range(0, count, size)):
        own = {name: of[start : start + size] for name, of in values.items()}
        made = []
        for first in range(start, min(start + size, count), SIMULATED):
            few = {name: of[first : min(first + SIMULATED, start + size)] for name, of in values.items()}
            made.append(dataset.observe(few, seeds.torch(device, PURPOSE, "noise", first)))
        yield Block(number, start, own, {name: torch.cat([one[name] for one in made]) for name in made[0]})


def quantiles_of(dataset: GeneratedDataset, part: str, split: list[float], run_seed: int) -> Part:
    """The quantile intervals of a part, as the run divides them. Raises QexpError for an unknown part."""
    if part not in PARTS:
        raise QexpError(f"--part {part}: {suggestion(part, PARTS)}")
    if part == ALL:
        return {name: [(0.0, 1.0)] for name in dataset.test}
    return dataset.parts(split, Seeds(run_seed))[part]

"""The weights of many networks in one matrix, a row for each, so that an optimizer's step is one operation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Every weight starts at a multiple of this many numbers, so that vectorised code rounds alike for all networks."""


class WeightLayout:
    """Name of a weight → its place in the row of a network."""

    def __init__(self, module: nn.Module) -> None:
        self._places: dict[str, tuple[int, torch.Size]] = {}
        self._length = 0
        for name, weight in module.named_parameters():
            self._places[name] = (self._length, weight.shape)
            self._length += -(-weight.numel() // ALIGNMENT) * ALIGNMENT

    def row(self, module: nn.Module) -> Tensor:
        """The weights of a network of this layout as one row, (number,), with zeros between them."""
        row = torch.zeros(self._length)
        for name, weight in module.named_parameters():
            start, shape = self._places[name]
            row[start : start + shape.numel()] = weight.detach().flatten()
        return row

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Name → weight, (network, ...), as views of the memory of the rows, (network, number)."""
        return {
            name: rows[:, start : start + shape.numel()].view(len(rows), *shape)
            for name, (start, shape) in self._places.items()
        }

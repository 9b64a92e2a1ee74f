"""Where the weights of many networks lie: those of each in a row of one matrix, so that a step is one operation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ALIGNMENT = 16
"""Every weight begins at a multiple of so many numbers, so that all networks' are worked on in the same way."""


class WeightLayout:
    """Where each of a network's weights lies in its row."""

    def __init__(self, module: nn.Module) -> None:
        self._places: dict[str, tuple[int, torch.Size]] = {}
        self._length = 0
        for name, weight in module.named_parameters():
            self._places[name] = (self._length, weight.shape)
            self._length += -(-weight.numel() // ALIGNMENT) * ALIGNMENT

    def row(self, module: nn.Module) -> Tensor:
        """The weights of a network of this layout, (number,); zeros between them."""
        row = torch.zeros(self._length)
        for name, weight in module.named_parameters():
            start, shape = self._places[name]
            row[start : start + shape.numel()] = weight.detach().flatten()
        return row

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """(network, ...) per weight, in the memory of the rows."""
        return {
            name: rows[:, start : start + shape.numel()].view(len(rows), *shape)
            for name, (start, shape) in self._places.items()
        }

"""The weights of the epoch that is kept: the one with the lowest validation loss, or the last (`Recipe.keep`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from qexp.networks import checkpoint

ALIGNMENT = 16
"""Every weight starts at a multiple of this many numbers, so that vectorised code rounds alike for all networks."""


class WeightLayout:
    """Name of a weight → where it lies in the row of a network."""

    def __init__(self, module: nn.Module) -> None:
        self._slots: dict[str, tuple[int, torch.Size]] = {}
        self._length = 0
        for name, weight in module.named_parameters():
            self._slots[name] = (self._length, weight.shape)
            self._length += -(-weight.numel() // ALIGNMENT) * ALIGNMENT

    def row(self, module: nn.Module) -> Tensor:
        """The weights of a network of this layout as one row, (number,), with zeros between them."""
        row = torch.zeros(self._length)
        for name, weight in module.named_parameters():
            start, shape = self._slots[name]
            row[start : start + shape.numel()] = weight.detach().flatten()
        return row

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Name → weight, (network, ...), as views of the memory of the rows, (network, number)."""
        return {
            name: rows[:, start : start + shape.numel()].view(len(rows), *shape)
            for name, (start, shape) in self._slots.items()
        }


def is_kept(loss: float, best_loss: float, keep: str) -> bool:
    """Whether an epoch's weights replace the ones kept so far; `keep` is "best" or "last"."""
    return loss < best_loss or keep == "last"


class BestWeights:
    """A copy of a model's weights at its best epoch, in memory and in `path` (`best.safetensors`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors: dict[str, Tensor] | None = None
        self._unwritten = False

    def keep(self, model: nn.Module) -> None:
        """Copy the model's present weights."""
        self._tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._unwritten = True

    def load_into(self, model: nn.Module) -> None:
        """Load the weights of the best epoch into the model. `keep` or `read` must have been called before."""
        assert self._tensors is not None
        model.load_state_dict(self._tensors)

    def write(self, epoch: int, loss: float) -> None:
        """Write the weights, with their epoch and its validation loss, unless they are written already."""
        if self._tensors is not None and self._unwritten:
            checkpoint.write(self.path, self._tensors, {"epoch": epoch, "loss": loss})
            self._unwritten = False

    def read(self) -> None:
        """Read the weights back, if they were written. Raises DamagedError."""
        if self.path.exists():
            self._tensors = checkpoint.read(self.path)[0]


class BestRows:
    """The weights at their best epoch of all networks of a stack, each in a row of one matrix."""

    def __init__(self, layout: WeightLayout, modules: Sequence[nn.Module], device: torch.device) -> None:
        """modules  the networks, all of one layout, with their initial weights"""
        self._layout = layout
        self.weights = torch.stack([layout.row(module) for module in modules]).to(device)
        """(network, number)"""
        self.buffers = {
            name: torch.stack([dict(module.named_buffers())[name] for module in modules]).to(device)
            for name, _ in modules[0].named_buffers()
        }
        """Name → (network, ...)."""

    def keep(self, position: int, weights: Tensor, buffers: Mapping[str, Tensor]) -> None:
        """Copy the present weights of one network, (number,), and its buffers."""
        self.weights[position].copy_(weights)
        for name, values in self.buffers.items():
            values[position].copy_(buffers[name])

    def load_into(self, position: int, module: nn.Module) -> None:
        """Load the kept weights of one network into a module of the same layout."""
        weights = self._layout.views(self.weights[position : position + 1])
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name][0])
            for name, buffer in module.named_buffers():
                buffer.copy_(self.buffers[name][position])

    def tensors(self) -> dict[str, Tensor]:
        """All weights and buffers, by their names in a checkpoint."""
        return {"kept": self.weights, **{f"kept.{name}": values for name, values in self.buffers.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the weights and buffers of a checkpoint."""
        device = self.weights.device
        self.weights = tensors["kept"].to(device)
        self.buffers = {name: tensors[f"kept.{name}"].to(device) for name in self.buffers}

"""Patches of neighbouring channels of a spectrum: which of them a mask hides, and linear layers on each."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from qexp.models.modules.onednn_linear import Linear


def seen_patches(numbers: Tensor, mask_ratio: float) -> Tensor:
    """Random numbers, (sample, patch) → ascending indices of the visible patches, (sample, visible patch)."""
    seen = seen_count(numbers.shape[1], mask_ratio)
    return numbers.topk(seen, dim=1, largest=False).indices.sort(dim=1).values


def seen_count(patches: int, mask_ratio: float) -> int:
    """The number of visible patches; at least one."""
    return max(patches - round(mask_ratio * patches), 1)


def hidden_channels(numbers: Tensor, mask_ratio: float, patch_size: int) -> Tensor:
    """Random numbers, (sample, patch) → whether each channel is masked, (sample, channel)."""
    hidden = torch.ones_like(numbers, dtype=torch.bool)
    hidden.scatter_(1, seen_patches(numbers, mask_ratio), False)
    return hidden.repeat_interleave(patch_size, dim=1)


def picked_patches(patches: Tensor, which: Tensor) -> Tensor:
    """(sample, patch, channel) and (sample, picked patch) → (sample, picked patch, channel)."""
    return patches.gather(1, which[..., None].expand(-1, -1, patches.shape[-1]))


class AlikePatches(Linear):
    """One linear layer for all patches."""

    def __init__(self, patches: int, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)

    def forward(self, values: Tensor, picked: Tensor | None = None) -> Tensor:
        """(sample, patch, input) → (sample, patch, output); only of the patches `picked`, (sample, picked)."""
        return super().forward(values if picked is None else picked_patches(values, picked))


class OwnPatches(nn.Module):
    """A linear layer for each patch, for spectra whose patches always cover the same energies; one matrix for all.

    Relations between the lines of one element are then nearly linear in the input, and learned early.
    """

    def __init__(self, patches: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.patches, bound = patches, math.sqrt(6 / (inputs + outputs))  # Glorot's bound of each layer
        self.weight = nn.Parameter(torch.empty(self.matrix(patches, inputs, outputs)).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(patches, 1, outputs))

    def matrix(self, patches: int, inputs: int, outputs: int) -> tuple[int, int]:
        """The shape of the matrix."""
        raise NotImplementedError

    def layers(self) -> Tensor:
        """The matrix as (patch, input, output)."""
        raise NotImplementedError

    def forward(self, values: Tensor, picked: Tensor | None = None) -> Tensor:
        """(sample, patch, input) → (sample, patch, output); only of the patches `picked`, (sample, picked)."""
        made = torch.baddbmm(self.bias, values.transpose(0, 1), self.layers()).transpose(0, 1)
        return made if picked is None else picked_patches(made, picked)


class OwnEmbedding(OwnPatches):
    """From the channels of each patch to its token: the matrix is (output, channel of the spectrum)."""

    def matrix(self, patches: int, inputs: int, outputs: int) -> tuple[int, int]:
        return outputs, patches * inputs

    def layers(self) -> Tensor:
        return cast(Tensor, self.weight.unflatten(1, (self.patches, -1)).permute(1, 2, 0))


class OwnChannels(OwnPatches):
    """From the token of each patch to its channels: the matrix is (channel of the spectrum, input)."""

    def matrix(self, patches: int, inputs: int, outputs: int) -> tuple[int, int]:
        return patches * outputs, inputs

    def layers(self) -> Tensor:
        return cast(Tensor, self.weight.unflatten(0, (self.patches, -1)).mT)


EMBEDDINGS = {"alike": AlikePatches, "own": OwnEmbedding}
CHANNELS = {"alike": AlikePatches, "own": OwnChannels}

"""Blocks of a transformer, and the positions of its tokens."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from qexp.models.modules.onednn_linear import Linear

EXPANSION = 4
"""Width of a block's hidden layer, relative to the block's."""

EPSILON = 1e-6
"""Added to variances in layer normalisation."""


class TransformerBlock(nn.Module):
    """Attention, then a two-layer perceptron on each token; both on normalised values, each with a shortcut.

    layer_scale  initial value of the trained factors of both branches, one for each number of a token; None for none.
                 With a small one the network starts nearly linear (Touvron et al. 2021, section 3: LayerScale)
    """

    def __init__(self, width: int, heads: int, layer_scale: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width, EPSILON)
        self.queries_keys_values = Linear(width, 3 * width)
        self.attended = Linear(width, width)
        self.before_layers = nn.LayerNorm(width, EPSILON)
        self.layers = nn.Sequential(Linear(width, EXPANSION * width), nn.GELU(), Linear(EXPANSION * width, width))
        self.scale_of_attention = _scale(width, layer_scale)
        self.scale_of_layers = _scale(width, layer_scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """(sample, token, width) → the same."""
        samples, count, width = tokens.shape
        split = self.queries_keys_values(self.before_attention(tokens)).view(samples, count, 3, self.heads, -1)
        seen = functional.scaled_dot_product_attention(*split.permute(2, 0, 3, 1, 4).unbind(0))
        attended = self.attended(seen.transpose(1, 2).reshape(samples, count, width))
        tokens = tokens + self.scale_of_attention(attended)
        return cast(Tensor, tokens + self.scale_of_layers(self.layers(self.before_layers(tokens))))


class LayerScale(nn.Module):
    """Multiply each number of a token by a weight of its own."""

    def __init__(self, width: int, first: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), first))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) → the same."""
        return self.weight * tokens


def _scale(width: int, first: float | None) -> nn.Module:
    return nn.Identity() if first is None else LayerScale(width, first)


def positions(count: int, width: int) -> Tensor:
    """Sines and cosines of `count` positions, (position, width): Vaswani et al. (2017), section 3.5."""
    wavelengths = 10000 ** (torch.arange(width // 2, dtype=torch.float64) * 2 / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] / wavelengths
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()

"""Dense layers, normalisation and concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qexp.models.activations import ACTIVATIONS
from qexp.models.shapes import Shape, ShapeError, features, written


def denses(
    shape: Shape,
    /,
    filters: Sequence[int],
    activation: str = "leaky_relu",
    bias: bool = False,
    l2: float = 0.0,
) -> nn.Module:
    """Fully connected layers on the flattened input, with the activation between them; by default without bias."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = features(shape)
    for count in filters:
        layers += [nn.Linear(width, count, bias=bias), ACTIVATIONS[activation]()]
        width = count
    return nn.Sequential(*layers[:-1])


def batch_norm(shape: Shape, /, momentum: float = 0.1, epsilon: float = 1e-5) -> nn.Module:
    """Batch normalisation of (batch, channel, ...), for images or rows of values."""
    layer = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return layer(shape[0], eps=epsilon, momentum=momentum)


def layer_norm(shape: Shape, /, epsilon: float = 1e-6) -> nn.Module:
    """Layer normalisation of a sample's values, or of each of its tokens, with weight and bias (Ba et al. 2016)."""
    if len(shape) > 2:
        raise ShapeError(f"takes [values] or [tokens, values], but its input is {written(shape)}; use batch_norm")
    return nn.LayerNorm(shape[-1], epsilon)


def dropout(shape: Shape, /, rate: float) -> nn.Module:
    """Dropout of a fraction `rate` of the values."""
    return nn.Dropout(rate)


def flatten(shape: Shape, /) -> nn.Module:
    """(batch, ...) → (batch, value)."""
    return nn.Flatten()


class Concatenate(nn.Module):
    """Concatenates tensors along their channels."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors, dim=1)


def concatenate(shapes: list[Shape], /, axis: int = -1) -> nn.Module:
    """Join several inputs along their channels.

    axis  counted as in Keras: the batch is 0, channels are last
    """
    if not isinstance(shapes, list):
        raise ShapeError(
            f"joins several inputs, but has one, {written(shapes)}; list several as 'x_name', or leave it out"
        )
    if len({shape[1:] for shape in shapes}) > 1:
        raise ShapeError(f"cannot join inputs of sizes {', '.join(written(shape) for shape in shapes)}")
    last = len(shapes[0])
    if axis not in (-1, last):
        raise ShapeError(f"joins channels or features, the last axis: 'axis' must be -1 or {last}, but is {axis}")
    return Concatenate()

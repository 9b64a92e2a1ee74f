"""Networks that map fields to fields, of any height and width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from qexp.models.activations import ACTIVATIONS
from qexp.models.shapes import Shape, ShapeError, require_image

NEGATIVE_SLOPE = 0.01
"""Slope of the leaky ReLU for negative values, by default."""


def dle_cnn(
    shape: Shape,
    /,
    outputs: int,
    layers: int = 16,
    filters: int = 32,
    kernel_size: int = 3,
    activation: str | None = None,
    l2: float = 0.0,
    slope: float = NEGATIVE_SLOPE,
    dropout: float = 0.0,
) -> nn.Module:
    """2Dto2D-DLE's convolutional network: layers of one width, then a linear combination of the last one's channels.

    dropout  fraction of each layer's values that is set to zero in training
    Jouvet et al. (2021), J. Glaciol. 68 (270), 651-664.
    """
    channels = require_image(shape)[0]
    made: list[nn.Module] = []
    for _ in range(layers):
        made += _convolution(channels, filters, kernel_size, Between(activation, slope, dropout))
        channels = filters
    return ChannelsLast(*made, nn.Conv2d(channels, outputs, 1))


@dataclass(frozen=True)
class Between:
    """What follows every convolution: the activation, None for a leaky ReLU of some slope, and dropout.

    Raises ShapeError for a slope that another activation would leave unused.
    """

    activation: str | None
    slope: float
    dropout: float

    def __post_init__(self) -> None:
        if self.activation is not None and self.slope != NEGATIVE_SLOPE:
            raise ShapeError(
                f"slope {self.slope:g} is that of the leaky ReLU, but the activation is '{self.activation}'; leave out "
                "one of the two"
            )

    def modules(self) -> list[nn.Module]:
        made = nn.LeakyReLU(self.slope, inplace=True) if self.activation is None else ACTIVATIONS[self.activation]()
        return [made, nn.Dropout(self.dropout)] if self.dropout else [made]


class ChannelsLast(nn.Sequential):
    """Keeps the channels of a cell contiguous in memory (channels last): a quarter faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x


class UNet(nn.Module):
    """A U-Net: blocks of two convolutions on successively coarser cells, and back, with skip connections.

    upsampling  bare: a 2 x 2 transposed convolution; convolved: one of `kernel_size` with the activation, then a
                convolution before the finer block is joined, as 2Dto2D-DLE's, whose `slope` is 0.3
    dropout     fraction of the values after each convolution that is set to zero in training
    Ronneberger et al. (2015), MICCAI, 234-241; zero padding keeps the size of the frame.
    A frame of any size is padded with zeros to a multiple of 2^(blocks - 1), and the result is cropped.
    Raises ShapeError if the patches that it is laid out for are not such a multiple.
    """

    def __init__(
        self,
        shape: Shape,
        /,
        outputs: int,
        blocks: int = 4,
        filters: int = 32,
        kernel_size: int = 3,
        activation: str | None = None,
        l2: float = 0.0,
        slope: float = NEGATIVE_SLOPE,
        dropout: float = 0.0,
        upsampling: str = "bare",
    ) -> None:
        super().__init__()
        channels, height, width = require_image(shape)
        self.multiple = 2 ** (blocks - 1)
        if height % self.multiple or width % self.multiple:
            raise ShapeError(
                f"{blocks} blocks halve a side {blocks - 1} times, so that patches must be a multiple of "
                f"{self.multiple} cells, but are {height} × {width}; change patch_size, or take fewer blocks"
            )
        between, widen = Between(activation, slope, dropout), UPSAMPLINGS[upsampling]
        widths = [filters * 2**level for level in range(blocks)]
        self.down = nn.ModuleList()
        for width_here in widths:
            self.down.append(_block(channels, width_here, kernel_size, between))
            channels = width_here
        self.widen = nn.ModuleList(
            widen(coarse, fine, kernel_size, between)
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.up = nn.ModuleList(_block(2 * fine, fine, kernel_size, between) for fine in widths[-2::-1])
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        value = functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        value = value.contiguous(memory_format=torch.channels_last)
        passed: list[Tensor] = []
        for level, block in enumerate(self.down):
            value = block(value if level == 0 else functional.max_pool2d(value, 2))
            passed.append(value)
        for widen, block, beside in zip(self.widen, self.up, passed[-2::-1], strict=True):
            value = block(torch.cat([widen(value), beside], dim=1))
        made: Tensor = self.head(value)
        return made[..., :height, :width]


class Doubling(nn.ConvTranspose2d):
    """A transposed convolution of an odd kernel that doubles each side.

    Kernels are laid around the cells as in Keras with the padding "same", so that its weights give the same values.
    """

    def __init__(self, channels: int, filters: int, kernel_size: int) -> None:
        around = max(kernel_size - 2, 0) // 2
        super().__init__(channels, filters, kernel_size, 2, around, output_padding=int(kernel_size == 1))

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        made = super().forward(x, output_size)
        return made if self.kernel_size == (1, 1) else made[..., :-1, :-1]


def _bare(coarse: int, fine: int, kernel_size: int, between: Between) -> nn.Module:
    return nn.ConvTranspose2d(coarse, fine, 2, 2)


def _convolved(coarse: int, fine: int, kernel_size: int, between: Between) -> nn.Module:
    doubling = [Doubling(coarse, fine, kernel_size), *between.modules()]
    return nn.Sequential(*doubling, *_convolution(fine, fine, kernel_size, between))


UPSAMPLINGS: dict[str, Callable[[int, int, int, Between], nn.Module]] = {"bare": _bare, "convolved": _convolved}
"""Name → what doubles the sides of a block: made of the channels before and after, the kernel's size, and so on."""


def _block(channels: int, filters: int, kernel_size: int, between: Between) -> nn.Sequential:
    first = _convolution(channels, filters, kernel_size, between)
    return nn.Sequential(*first, *_convolution(filters, filters, kernel_size, between))


def _convolution(channels: int, filters: int, kernel_size: int, between: Between) -> list[nn.Module]:
    """A convolution that keeps the size, and what follows it. Raises ShapeError for an even kernel."""
    if kernel_size % 2 == 0:
        raise ShapeError(f"kernel_size {kernel_size}: must be odd, so that cells stay where they are")
    return [nn.Conv2d(channels, filters, kernel_size, padding=kernel_size // 2), *between.modules()]

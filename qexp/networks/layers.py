"""Layers of a branch: activations, dense layers, convolutions, pooling, and maps of fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from qexp.networks.shapes import Shape, ShapeError, require_image, written


class AsinhActivation(nn.Module):
    """asinh(x): linear near zero, logarithmic for large values of either sign."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.asinh(x)


class ExponentialActivation(nn.Module):
    """exp(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),  # Keras's slope; torch's own default is 0.01
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "softmax": lambda: nn.Softmax(dim=1),  # over channels or features, the last axis in Keras
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,  # relu6(x + 3) / 6, Keras 3's; Keras 2 had another slope
    "exponential": ExponentialActivation,
    "tanh": nn.Tanh,
    "asinh": AsinhActivation,
    "log_softmax": lambda: nn.LogSoftmax(dim=1),
    # Keras also takes the names of its layers, with the defaults of these.
    "ReLU": nn.ReLU,
    "ELU": nn.ELU,
    "LeakyReLU": lambda: nn.LeakyReLU(0.3),  # another slope than that of its function leaky_relu
    "ThresholdedReLU": lambda: nn.Threshold(1.0, 0.0),
    "Softmax": lambda: nn.Softmax(dim=1),
}
"""Name in a spec → what builds the activation."""

ACTIVATION_NAME = {
    "enum": list(ACTIVATIONS),
    "x-others": {
        "PReLU": "is a layer of Keras that learns a slope for each of its inputs, and no function;"
        " 'leaky_relu' has a fixed slope of 0.2"
    },
}
"""JSON Schema of a parameter that names an activation."""


ONE_DNN: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""oneDNN's matrix product, if torch has it; on AMD's processors twice as fast as torch's (MKL)."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias, by oneDNN."""
    return cast(Callable[..., Tensor], ONE_DNN)(
        x,
        weight,
        bias,
        "none",
        [],
        "",
    )


def of_networks(tensor: Tensor, axis: int | None, networks: int) -> Tensor:
    """(network, ...) of what a rule for `vmap` is given: an axis of networks, or one for all."""
    return tensor.expand(networks, *tensor.shape) if axis is None else tensor.movedim(axis, 0)


# Dense layers, normalisation and concatenation.


def denses(
    shape: Shape,
    /,
    filters: Sequence[int],
    activation: str = "leaky_relu",
    bias: bool = False,
    l2: float = 0.0,
) -> nn.Module:
    """Fully connected layers on the flattened input.

    The activation is between them; by default they are without bias.
    """
    return mlp(shape, filters[:-1], filters[-1], activation, bias=bias)


def mlp(
    shape: Shape,
    /,
    units: Sequence[int],
    outputs: int = 1,
    activation: str = "relu",
    dropout: float = 0.0,
    bias: bool = True,
    l2: float = 0.0,
    initial_scale: float | None = None,
) -> nn.Module:
    """Multilayer perceptron: hidden layers with an activation, then a linear layer, on the
    flattened input.

    Hidden layers have `units`, and dropout after the activation.
    With an `initial_scale` much smaller than 1 the network starts nearly linear and learns the
    largest effects first, so that few epochs give a smooth function, which suits a few dozen noisy
    samples. See `initialise`.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(shape)
    for count in units:
        layers += [nn.Linear(width, count, bias=bias), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = count
    network = nn.Sequential(*layers, nn.Linear(width, outputs, bias=bias))
    network.initial_scale = initial_scale  # type: ignore[assignment] # read by `initialise`
    return network


def batch_norm(shape: Shape, /, momentum: float = 0.1, epsilon: float = 1e-5) -> nn.Module:
    """Normalise each channel over the batch (running means and variances when predicting).

    For images or rows of values, (batch, channel, ...).
    """
    layer = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return layer(shape[0], eps=epsilon, momentum=momentum)


def layer_norm(shape: Shape, /, epsilon: float = 1e-6) -> nn.Module:
    """Normalise each sample, or each of its tokens, over its values.

    With weight and bias (Ba et al. 2016).
    """
    if len(shape) > 2:
        raise ShapeError(
            f"takes [values] or [tokens, values], but its input is {written(shape)}; use batch_norm"
        )
    return nn.LayerNorm(shape[-1], epsilon)


class Concatenate(nn.Module):
    """Join several inputs along their channels; the only operation that takes a list as `x_name`.

    axis  counted as in Keras: the batch is 0, channels are last
    """

    def __init__(self, shapes: list[Shape], /, axis: int = -1) -> None:
        super().__init__()
        if not isinstance(shapes, list):
            raise ShapeError(
                f"joins several inputs, but has one, {written(shapes)}; list several as 'x_name',"
                " or leave it out"
            )
        if len({shape[1:] for shape in shapes}) > 1:
            raise ShapeError(
                f"cannot join inputs of sizes {', '.join(written(shape) for shape in shapes)}"
            )
        last = len(shapes[0])
        if axis not in (-1, last):
            raise ShapeError(
                f"joins channels or features, the last axis: 'axis' must be -1 or {last}, but is"
                f" {axis}"
            )

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors, dim=1)


# Convolutional operations.


def convolutions(
    shape: Shape,
    /,
    filters: Sequence[int],
    kernel_size: int = 3,
    stride: int = 1,
    padding: str = "same",
    activation: str = "leaky_relu",
    bias: bool = True,
    l2: float = 0.0,
) -> nn.Sequential:
    """Successive convolutions, each followed by an activation."""
    channels = require_image(shape)[0]
    layers: list[nn.Module] = []
    for count in filters:
        convolution = SameConv2d if padding == "same" else nn.Conv2d
        layers += [
            convolution(channels, count, kernel_size, stride, bias=bias),
            ACTIVATIONS[activation](),
        ]
        channels = count
    return nn.Sequential(*layers)


class SameConv2d(nn.Conv2d):
    """A convolution with ceil(side / stride) results per side, whatever the size of its input."""

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = map(
            same_padding, x.shape[-2:], self.kernel_size, self.stride
        )
        # In an export the operations must be the same for frames of all sizes.
        if not torch.compiler.is_exporting() and top == bottom and left == right:
            return functional.conv2d(
                x,
                self.weight,
                self.bias,
                self.stride,
                (top, left),
            )
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, self.weight, self.bias, self.stride)


def same_padding(side: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Pixels before and after, for ceil(side / stride) results; the odd one goes after."""
    results = (side + stride - 1) // stride
    total = torch.sym_max((results - 1) * stride + kernel_size - side, 0)
    return total // 2, total - total // 2


class ResnetBlock(nn.Module):
    """Convolutions beside a 1x1 shortcut, joined by concatenation (VDI's, the default) or addition.

    There is no activation after the last one.
    """

    def __init__(
        self,
        shape: Shape,
        /,
        filters: Sequence[int],
        kernel_size: int = 3,
        activation: str = "leaky_relu",
        merge: str = "concatenate",
        l2: float = 0.0,
    ) -> None:
        super().__init__()
        channels = require_image(shape)[0]
        self.convolutions = convolutions(shape, filters, kernel_size, activation=activation)[:-1]
        self.shortcut = nn.Conv2d(channels, filters[-1], 1)
        self.adds = merge == "add"

    def forward(self, x: Tensor) -> Tensor:
        deep = self.convolutions(x)
        short = self.shortcut(x)
        return deep + short if self.adds else torch.cat([deep, short], dim=1)


class ChannelAttention(nn.Module):
    """Channel attention (VDI): each channel is weighted by a small network on the channels' means.

    Dense layers, with leaky ReLU after the first and then sigmoid, make the weights, from 0 to 1.
    """

    def __init__(self, shape: Shape, /, filters: Sequence[int], l2: float = 0.0) -> None:
        super().__init__()
        width = require_image(shape)[0]
        if filters[-1] != width:
            channels = f"{filters[-1]} channels from filters {list(filters)}"
            raise ShapeError(f"{channels}, but its input has {width}; set the last to {width}")
        layers: list[nn.Module] = []
        for position, count in enumerate(filters):
            layers += [
                nn.Linear(width, count),
                ACTIVATIONS["leaky_relu" if position == 0 else "sigmoid"](),
            ]
            width = count
        self.weigh = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weigh(x.mean(dim=(2, 3)))
        return x * weights[:, :, None, None]


# Pooling of images.

Sides = int | Sequence[int]
"""A number of pixels down and across, or one for each."""


def pooling(
    valid: Callable[..., nn.Module],
    same: Callable[..., nn.Module],
    shape: Shape,
    /,
    pool_size: Sides = 2,
    strides: Sides | None = None,
    padding: str = "valid",
) -> nn.Module:
    """What a layer makes of each window, (batch, channel, height, width); `valid` and `same` are it
    by its padding.
    """
    require_image(shape)
    pairs = [
        (sides, sides) if isinstance(sides, int) else tuple(sides)
        for sides in (pool_size, strides or pool_size)
    ]
    return (same if padding == "same" else valid)(*pairs)


class SamePool2d(nn.Module):
    """A pooling with ceil(side / step) results per side, whatever the size of its input."""

    def __init__(self, window: tuple[int, int], steps: tuple[int, int]) -> None:
        super().__init__()
        self.window, self.steps = window, steps

    def _padded(self, x: Tensor, value: float) -> Tensor:
        """The images with a value around them, of which there is one pixel more at the end if the
        number is odd.
        """
        (top, bottom), (left, right) = map(same_padding, x.shape[-2:], self.window, self.steps)
        return functional.pad(x, (left, right, top, bottom), value=value)


class SameMaxPool2d(SamePool2d):
    """The largest value of the image in each window."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(self._padded(x, -torch.inf), self.window, self.steps)


class SameAvgPool2d(SamePool2d):
    """The mean of the image's values in each window."""

    def forward(self, x: Tensor) -> Tensor:
        means, shares = (
            functional.avg_pool2d(self._padded(values, 0.0), self.window, self.steps)
            for values in (x, torch.ones_like(x[:1, :1]))
        )
        return means.div(shares)


def global_average(shape: Shape, /) -> nn.Module:
    """Mean of each channel over the whole image.

    Returns (batch, channel).
    """
    require_image(shape)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


# Networks that map fields to fields, of any height and width.

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
    """Convolutions from fields to fields, of any height and width (2Dto2D-DLE).

    Layers of one width, then a linear combination of the last one's channels.
    dropout  fraction of each layer's values that is set to zero in training
    Jouvet et al. (2021), J. Glaciol. 68 (270), 651-664.
    """
    channels = require_image(shape)[0]
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += _convolution(channels, filters, kernel_size, Between(activation, slope, dropout))
        channels = filters
    return ChannelsLast(*modules, nn.Conv2d(channels, outputs, 1))


@dataclass(frozen=True)
class Between:
    """What follows every convolution: the activation, None for a leaky ReLU of some slope, and
    dropout.

    Raises ShapeError for a slope that another activation would leave unused.
    """

    activation: str | None
    slope: float
    dropout: float

    def __post_init__(self) -> None:
        if self.activation is not None and self.slope != NEGATIVE_SLOPE:
            raise ShapeError(
                f"slope {self.slope:g} is that of the leaky ReLU, but the activation is"
                f" '{self.activation}'; leave out one of the two"
            )

    def modules(self) -> list[nn.Module]:
        leaky = nn.LeakyReLU(self.slope, inplace=True)
        activation = leaky if self.activation is None else ACTIVATIONS[self.activation]()
        return [activation, nn.Dropout(self.dropout)] if self.dropout else [activation]


class ChannelsLast(nn.Sequential):
    """Keeps the channels of a cell contiguous (channels last): a quarter faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x


class UNet(nn.Module):
    """A U-Net from fields to fields, of any height and width; 2Dto2D-DLE's with convolved
    upsampling.

    Blocks of two convolutions on successively coarser cells, and back, with skip connections.

    upsampling  bare: a 2 x 2 transposed convolution; convolved: one of `kernel_size` with the
                activation, then a convolution before the finer block is joined, as 2Dto2D-DLE's,
                whose `slope` is 0.3
    dropout     fraction of the values after each convolution that is set to zero in training
    Ronneberger et al. (2015), MICCAI, 234-241; zero padding keeps the size of the frame.
    A frame of any size is padded with zeros to a multiple of 2^(blocks - 1), and the result is
    cropped. Raises ShapeError if the patches that it is laid out for are not such a multiple.
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
        channels, rows, columns = require_image(shape)
        self.multiple = 2 ** (blocks - 1)
        if rows % self.multiple or columns % self.multiple:
            raise ShapeError(
                f"{blocks} blocks halve a side {blocks - 1} times, so that patches must be a"
                f" multiple of {self.multiple} cells, but are {rows} × {columns}; change"
                " patch_size, or take fewer blocks"
            )
        layers = Between(activation, slope, dropout)
        widen = UPSAMPLINGS[upsampling]
        widths = [filters * 2**level for level in range(blocks)]
        self.down = nn.ModuleList()
        for width in widths:
            self.down.append(_block(channels, width, kernel_size, layers))
            channels = width
        self.widen = nn.ModuleList(
            widen(coarse, fine, kernel_size, layers)
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.up = nn.ModuleList(
            _block(2 * fine, fine, kernel_size, layers) for fine in widths[-2::-1]
        )
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        value = functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        value = value.contiguous(memory_format=torch.channels_last)
        passed: list[Tensor] = []
        for level, block in enumerate(self.down):
            value = block(value if level == 0 else functional.max_pool2d(value, 2))
            passed.append(value)
        for widen, block, fine in zip(self.widen, self.up, passed[-2::-1], strict=True):
            value = block(torch.cat([widen(value), fine], dim=1))
        result: Tensor = self.head(value)
        return result[..., :height, :width]


class Doubling(nn.ConvTranspose2d):
    """A transposed convolution of an odd kernel that doubles each side.

    Kernels are laid around the cells as in Keras with the padding "same", so that its weights give
    the same values.
    """

    def __init__(self, channels: int, filters: int, kernel_size: int) -> None:
        padding = max(kernel_size - 2, 0) // 2
        more = int(kernel_size == 1)
        super().__init__(channels, filters, kernel_size, 2, padding, output_padding=more)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        doubled = super().forward(x, output_size)
        return doubled if self.kernel_size == (1, 1) else doubled[..., :-1, :-1]


UPSAMPLINGS: dict[str, Callable[[int, int, int, Between], nn.Module]] = {
    "bare": lambda coarse, fine, kernel_size, layers: nn.ConvTranspose2d(coarse, fine, 2, 2),
    "convolved": lambda coarse, fine, kernel_size, layers: nn.Sequential(
        Doubling(coarse, fine, kernel_size),
        *layers.modules(),
        *_convolution(fine, fine, kernel_size, layers),
    ),
}
"""Name → what doubles a block's sides, of the channels before and after, the kernel's size, …"""


def _block(channels: int, filters: int, kernel_size: int, layers: Between) -> nn.Sequential:
    first = _convolution(channels, filters, kernel_size, layers)
    return nn.Sequential(*first, *_convolution(filters, filters, kernel_size, layers))


def _convolution(channels: int, filters: int, kernel_size: int, layers: Between) -> list[nn.Module]:
    """A convolution that keeps the size, and more. Raises ShapeError for an even kernel."""
    if kernel_size % 2 == 0:
        raise ShapeError(
            f"kernel_size {kernel_size}: must be odd, so that cells stay where they are"
        )
    return [nn.Conv2d(channels, filters, kernel_size, padding=kernel_size // 2), *layers.modules()]

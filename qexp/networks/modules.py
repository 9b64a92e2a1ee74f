"""The operations that a model spec can name. A builder gets the shape of its input first, then the
spec's parameters.

The number of layers is limited, because laying out a network takes some time for each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qexp.base.tables import Entry, array, choice, integer, number, properties
from qexp.networks import layers
from qexp.networks.heads import HEADS
from qexp.networks.masked_autoencoder import DECODERS, ENCODERS, Decoder, Encoder, TokenPooling
from qexp.networks.sequence import one_d_cnn, sequence_convolutions
from qexp.networks.shapes import Shape, ShapeError, written

COUNT = integer("", 1)
DEPTH = integer("", 1, 1000)
COUNTS = array(COUNT, most=DEPTH["maximum"])
FILTERS = {**COUNTS, "description": "output channels of each convolution"}
BIAS = {"type": "boolean", "description": "whether a trained constant is added"}
EPSILON = number("added to the variance, so that nothing is divided by zero", above=0)
LENGTH = integer("length of the kernel, in positions", 1, 10_000)
L2 = number(
    "weight penalty: this times the sum of the squared weights is added to the loss", least=0
)
KERNEL = integer("side of the square kernel, in pixels", 1)
CHANNELS = {
    "type": ["integer", "string"],
    "minimum": 1,
    "if": {"type": "string"},
    "then": choice(["from dataset"], message='must be a whole number or "from dataset"'),
    "description": 'output channels, one for each field; "from dataset": those of all outputs',
}
OF_FIELDS = {
    "activation": choice(
        [*layers.ACTIVATIONS, None], "after each convolution; null: leaky ReLU of `slope`"
    ),
    "l2": L2,
    "slope": number("slope of the leaky ReLU for negative values", left_out="default"),
    "dropout": number(
        "fraction of the values after each convolution that is set to zero in training",
        least=0,
        below=1,
        left_out="default",
    ),
}
PAIR = {"minimum": 1, "items": COUNT, "minItems": 2, "maxItems": 2}
OF_POOLING = properties(
    pool_size={
        **PAIR,
        "type": ["integer", "array"],
        "description": "side of the square window, or its height and width, in pixels",
    },
    strides={
        **PAIR,
        "type": ["integer", "array", "null"],
        "description": "stride, or those along rows and columns; the window's sides if null",
    },
    padding=choice(
        ["valid", "same"],
        "valid: whole windows only; same: side / stride results, rounded up, as in Keras",
        left_out="default",
    ),
)
OF_TRANSFORMER = {
    "patch_size": integer("channels of a patch; must divide the length of a spectrum", 1, 65536),
    "mask_ratio": number(
        "fraction of the patches that is masked; the same for encoder and decoder", least=0, below=1
    ),
    "patches": choice(
        ["alike", "own"], "whether all patches share the weights of the layer next to the spectrum"
    ),
    "layer_scale": number(
        "LayerScale: initial value of the trained factors of a block's residual branches; null:"
        " none",
        above=0,
        type=["number", "null"],
    ),
    **{
        name: {
            **limits,
            "type": ["integer", "null"],
            "description": f"{meaning}; that of `size` if null",
        }
        for name, limits, meaning in (
            ("width", COUNT, "length of a token"),
            ("depth", DEPTH, "number of transformer blocks"),
            ("heads", COUNT, "attention heads; must divide the width"),
        )
    },
}
OF_DECODER = {"minimum": 0, "description": "as for the encoder; 0 makes a linear decoder"}


# Matched filters: linear features that follow from the physics and are not trained; and what is
# made of these.


class MatchedFilters(nn.Module):
    """Matched filters: images of the dataset's source at several values of a variable, whitened by
    the noise.

    The amplitude of each of several templates in an image, in standard deviations of the noise.
    The templates are images of a source at `count` values of a variable from `low` to `high`,
    evenly spaced in their logarithms. For an image y in units of the noise's standard deviation,
    templates g and noise of correlation C a feature is g·C⁻¹y / √(g·C⁻¹g): of all linear features
    the one with the largest ratio of signal to noise, and for Gaussian noise and a known shape a
    sufficient one (Turin 1960, IRE Trans. Inf. Theory 6, 311-329). The filters are constants, saved
    with the weights; until `match` is called they all compute the image's mean.
    """

    filters: Tensor

    def __init__(self, shape: Shape, /, variable: str, low: float, high: float, count: int) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"'low' ({low:g}) must be less than 'high' ({high:g})")
        self.variable = variable
        self.values: NDArray[np.float64] = np.geomspace(low, high, count)
        self.shape = shape
        self.register_buffer("filters", torch.full((count, math.prod(shape)), 1 / math.prod(shape)))

    def match(self, templates: Tensor, whitened: Tensor) -> None:
        """Set the filters from the templates g and C⁻¹g, (count, *shape) both."""
        signal_to_noise = (
            (templates.double() * whitened.double()).flatten(1).sum(1, keepdim=True).sqrt()
        )
        self.filters = (whitened.double().flatten(1) / signal_to_noise).to(self.filters)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.filters.T


class NeighbourDifferences(nn.Module):
    """A row of features and the differences of neighbours: log-ratios, after matched filters and
    asinh.

    (batch, n) → (batch, 2 n − 1): the features, then the differences times a factor. Where features
    are logarithms of amplitudes, such as asinh of `matched_filters`, the differences depend on what
    the source looks like but not on its strength. They are small beside the features themselves: a
    network learns to use them sooner where they are magnified.
    """

    def __init__(self, shape: Shape, /, factor: float = 10.0) -> None:
        super().__init__()
        if len(shape) != 1 or shape[0] < 2:
            raise ShapeError(
                f"takes a row of two or more features, but its input is {written(shape)}"
            )
        self.factor = factor

    def forward(self, row: Tensor) -> Tensor:
        return torch.cat([row, self.factor * row.diff(dim=1)], dim=1)


@dataclass(frozen=True)
class JoiningEntry(Entry):
    """An operation that takes several inputs: its builder gets a list of shapes, its module a list
    of tensors.

    If a branch starts from a single value, they get its shape and its tensor instead.
    """


_CONCATENATE = JoiningEntry.documented(
    layers.Concatenate,
    {"module": "concatenate"},
    axis=integer(
        "the axis of the channels or features in Keras's order: the last, -1", left_out="default"
    ),
)

MODULES: dict[str, Entry] = {
    "conv": Entry.documented(
        layers.convolutions,
        {"module": "conv", "parameters": {"filters": [16, 32], "kernel_size": 3, "stride": 2}},
        filters=FILTERS,
        kernel_size=KERNEL,
        stride=integer("stride of every convolution", 1),
        padding=choice(
            ["same", "valid"], "same: zeros around the image, so that its size stays; valid: none"
        ),
        activation={**layers.ACTIVATION_NAME, "description": "after every convolution"},
        bias=BIAS,
        l2=L2,
    ),
    "resnet_block": Entry.documented(
        layers.ResnetBlock,
        {"module": "resnet_block", "parameters": {"filters": [8, 8], "merge": "add"}},
        filters=FILTERS,
        kernel_size=KERNEL,
        activation={
            **layers.ACTIVATION_NAME,
            "description": "between the convolutions, not after the last",
        },
        merge=choice(["concatenate", "add"], "how the shortcut joins the convolutions"),
        l2=L2,
    ),
    "attention": Entry.documented(
        layers.ChannelAttention,
        {"module": "attention", "parameters": {"filters": [4, 8]}},
        filters={**COUNTS, "description": "width of each layer of that small network"},
        l2=L2,
    ),
    "denses": Entry.documented(
        layers.denses,
        {"module": "denses", "parameters": {"filters": [8, 1]}},
        filters={**COUNTS, "description": "width of each layer"},
        activation={
            **layers.ACTIVATION_NAME,
            "description": "between the layers, not after the last",
        },
        bias=BIAS,
        l2=L2,
    ),
    "activation": Entry(
        build=lambda shape, /, activation: layers.ACTIVATIONS[activation](),
        parameters=properties(
            activation={**layers.ACTIVATION_NAME, "description": "name of the function"}
        ),
        help="An activation function on every value.",
        example={"module": "activation", "parameters": {"activation": "relu"}},
    ),
    "max_pooling": Entry(
        build=partial(layers.pooling, nn.MaxPool2d, layers.SameMaxPool2d),
        parameters=OF_POOLING,
        help="Maximum over each window.",
        example={"module": "max_pooling", "parameters": {"pool_size": 2}},
    ),
    "average_pooling": Entry(
        build=partial(layers.pooling, nn.AvgPool2d, layers.SameAvgPool2d),
        parameters=OF_POOLING,
        help="Mean over each window.",
        example={"module": "average_pooling", "parameters": {"pool_size": 2}},
    ),
    "global_average": Entry.documented(layers.global_average, {"module": "global_average"}),
    "concatenate": _CONCATENATE,
    "concatenation": _CONCATENATE,
    "batch_norm": Entry.documented(
        layers.batch_norm,
        {"module": "batch_norm"},
        momentum=number(
            "weight of a new batch in the running means and variances", above=0, most=1
        ),
        epsilon=EPSILON,
    ),
    "layer_norm": Entry.documented(layers.layer_norm, {"module": "layer_norm"}, epsilon=EPSILON),
    "dropout": Entry(
        build=lambda shape, /, rate: nn.Dropout(rate),
        parameters=properties(rate=number("fraction of the values", least=0, below=1)),
        help="Set a random fraction of the values to zero in training.",
        example={"module": "dropout", "parameters": {"rate": 0.1}},
    ),
    "matched_filters": Entry.documented(
        MatchedFilters,
        {
            "module": "matched_filters",
            "parameters": {"variable": "depth", "low": 0.1, "high": 10.0, "count": 8},
        },
        variable={
            "type": "string",
            "description": "varying variable of the dataset, such as depth",
        },
        low=number("its smallest value, in its own unit", above=0),
        high=number("its largest value", above=0),
        count=integer(
            "number of filters, evenly spaced in the logarithm of the variable", 1, 100_000
        ),
    ),
    "neighbour_differences": Entry.documented(
        NeighbourDifferences,
        {"module": "neighbour_differences", "parameters": {"factor": 10.0}},
        factor=number(
            "what differences are multiplied by, to be of the size of the features", above=0
        ),
    ),
    "conv1d": Entry.documented(
        sequence_convolutions,
        {
            "module": "conv1d",
            "parameters": {"filters": [16, 32], "strides": [1, 2], "batch_norm": True},
        },
        filters=FILTERS,
        kernel_size=LENGTH,
        strides={
            **COUNTS,
            "type": ["integer", "array"],
            "minimum": 1,
            "description": "stride of all convolutions, or a list with one for each",
        },
        activation={**layers.ACTIVATION_NAME, "description": "after every convolution"},
        use_bias=BIAS,
        batch_norm={
            "type": "boolean",
            "description": "normalise between convolution and activation",
        },
        l2=L2,
    ),
    "one_d_cnn": Entry.documented(
        one_d_cnn,
        {"module": "one_d_cnn", "parameters": {"filters": [16, 16, 32]}},
        units=integer("width of the linear layer at the end", 1),
        filters={
            **COUNTS,
            "description": (
                "the first layer with more channels than the one before halves the length"
            ),
        },
        kernel_size=LENGTH,
        l2=L2,
    ),
    "mlp": Entry.documented(
        layers.mlp,
        {"module": "mlp", "parameters": {"units": [32, 16], "activation": "tanh"}},
        units={**COUNTS, "description": "width of each hidden layer"},
        outputs={
            **CHANNELS,
            "description": 'width of the linear layer at the end, or "from dataset"',
        },
        activation={**layers.ACTIVATION_NAME, "description": "after each hidden layer"},
        dropout=number(
            "fraction of each hidden layer's values that is set to zero in training",
            least=0,
            below=1,
        ),
        bias=BIAS,
        l2=L2,
        initial_scale=number(
            "initial weights are uniform within ± this / √inputs; null: Glorot's",
            above=0,
            type=["number", "null"],
        ),
    ),
    "dle_cnn": Entry.documented(
        layers.dle_cnn,
        {"module": "dle_cnn", "parameters": {"outputs": 2, "layers": 4, "filters": 16}},
        outputs=CHANNELS,
        layers={**DEPTH, "description": "convolutions, each followed by a leaky ReLU"},
        filters=integer("channels of each layer", 1),
        kernel_size=KERNEL,
        **OF_FIELDS,
    ),
    "dle_unet": Entry.documented(
        layers.UNet,
        {"module": "dle_unet", "parameters": {"outputs": 2, "blocks": 3, "filters": 8}},
        outputs=CHANNELS,
        blocks=integer("number of resolutions, each half the one before", 1, 16),
        filters=integer("channels of the first block; each further one has twice as many", 1),
        kernel_size=KERNEL,
        **OF_FIELDS,
        upsampling=choice(
            [*layers.UPSAMPLINGS],
            "bare: a 2x2 transposed convolution; convolved: one of kernel_size with the"
            " activation, then a convolution",
            left_out="default",
        ),
    ),
    "masked_encoder": JoiningEntry.documented(
        Encoder,
        {"module": "masked_encoder", "parameters": {"size": "tiny", "mask_ratio": 0.5}},
        size=choice([*ENCODERS], "base: 768 wide, 12 deep, 12 heads"),
        last_norm={
            "type": "boolean",
            "description": "whether a final layer norm is applied to the tokens",
        },
        **OF_TRANSFORMER,
    ),
    "masked_decoder": JoiningEntry.documented(
        Decoder,
        {"module": "masked_decoder", "parameters": {"size": "tiny", "mask_ratio": 0.5}},
        size=choice([*DECODERS], "base: 512 wide, 8 deep, 16 heads"),
        reads=choice(
            ["tokens", "class", "mean"],
            "tokens: those of all visible patches; or the class token, or their mean, alone",
        ),
        loss_on=choice(
            ["masked", "all"],
            "masked: visible patches are copied to the output; all: they are predicted, too",
        ),
        **{**OF_TRANSFORMER, "depth": {**OF_TRANSFORMER["depth"], **OF_DECODER}},
    ),
    "token_pooling": Entry.documented(
        TokenPooling,
        {"module": "token_pooling", "parameters": {"of": "mean"}},
        of=choice(["class", "mean"], "the class token, or the mean of the patches'"),
    ),
    "flatten": Entry(
        lambda shape, /: nn.Flatten(), {}, "Flatten all values into one row.", {"module": "flatten"}
    ),
    **HEADS,
}

EXAMPLE_SHAPE: Shape = (8, 16, 16)
"""An input shape for the examples of modules that are not in `EXAMPLE_SHAPES`."""

EXAMPLE_SHAPES: dict[str, list[Shape]] = {
    "concatenate": [EXAMPLE_SHAPE, EXAMPLE_SHAPE],
    "concatenation": [EXAMPLE_SHAPE, EXAMPLE_SHAPE],
    "conv1d": [(10,)],
    "one_d_cnn": [(10,)],
    "masked_encoder": [(64,), (4,)],
    "masked_decoder": [(3, 24), (64,), (4,)],
    "token_pooling": [(5, 24)],
    "layer_norm": [(5, 24)],
    "neighbour_differences": [(10,)],
}
"""Module → the input shapes of its example; several for modules that join."""

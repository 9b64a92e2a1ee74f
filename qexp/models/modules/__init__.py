"""The operations that a model spec can name. A builder gets the shape of its input first, then its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from qexp.models.activations import ACTIVATION_NAME, ACTIVATIONS
from qexp.models.heads import HEADS
from qexp.models.modules.convolution import ResnetBlock, channel_attention, convolutions
from qexp.models.modules.dense import batch_norm, concatenate, denses, dropout, flatten, layer_norm
from qexp.models.modules.masked_autoencoder import (
    DECODERS,
    ENCODERS,
    POOLS,
    masked_decoder,
    masked_encoder,
    token_pooling,
)
from qexp.models.modules.matched_filters import MATCHED_FILTERS
from qexp.models.modules.parameters import (
    CHANNELS,
    COUNT,
    COUNTS,
    DEPTH,
    KERNEL,
    L2,
    LAYER_SCALE,
    LENGTH,
    OF_FIELDS,
    OF_JOINING,
    OF_PATCHES,
    OF_POOLING,
    OWN_SIZE,
    PATCHES,
    UPSAMPLING,
)
from qexp.models.modules.pooling import average_pooling, global_average, max_pooling
from qexp.models.modules.sequence import mlp, one_d_cnn, sequence_convolutions
from qexp.models.modules.unet import UNet, dle_cnn
from qexp.models.shapes import Shape
from qexp.tables import Entry


@dataclass(frozen=True)
class JoiningEntry(Entry):
    """An operation that takes several inputs: its builder gets a list of shapes, its module a list of tensors.

    If a branch starts from a single value, they get its shape and its tensor instead.
    """


_CONCATENATE = JoiningEntry(
    build=concatenate,
    parameters=OF_JOINING,
    help="Join several inputs along their channels; the only operation that takes a list as `x_name`.",
    example={"module": "concatenate"},
)

MODULES: dict[str, Entry] = {
    "conv": Entry(
        build=convolutions,
        parameters={
            "properties": {
                "filters": COUNTS,
                "kernel_size": KERNEL,
                "stride": {**COUNT, "description": "stride of every convolution"},
                "padding": {"enum": ["same", "valid"]},
                "activation": {**ACTIVATION_NAME, "description": "after every convolution"},
                "bias": {"type": "boolean"},
                "l2": L2,
            },
            "required": ["filters"],
        },
        help="Successive convolutions, each followed by an activation.",
        example={"module": "conv", "parameters": {"filters": [16, 32], "kernel_size": 3, "stride": 2}},
    ),
    "resnet_block": Entry(
        build=ResnetBlock,
        parameters={
            "properties": {
                "filters": COUNTS,
                "kernel_size": KERNEL,
                "activation": {**ACTIVATION_NAME, "description": "between the convolutions, not after the last"},
                "merge": {"enum": ["concatenate", "add"], "description": "how the shortcut joins the convolutions"},
                "l2": L2,
            },
            "required": ["filters"],
        },
        help="Convolutions beside a 1x1 shortcut, joined by concatenation (VDI's, the default) or addition.",
        example={"module": "resnet_block", "parameters": {"filters": [8, 8], "merge": "add"}},
    ),
    "attention": Entry(
        build=channel_attention,
        parameters={"properties": {"filters": COUNTS, "l2": L2}, "required": ["filters"]},
        help="Channel attention (VDI): each channel is weighted by a small network on the channels' means.",
        example={"module": "attention", "parameters": {"filters": [4, 8]}},
    ),
    "denses": Entry(
        build=denses,
        parameters={
            "properties": {
                "filters": {**COUNTS, "description": "width of each layer"},
                "activation": {**ACTIVATION_NAME, "description": "between the layers, not after the last"},
                "bias": {"type": "boolean"},
                "l2": L2,
            },
            "required": ["filters"],
        },
        help="Fully connected layers on the flattened input.",
        example={"module": "denses", "parameters": {"filters": [8, 1]}},
    ),
    "activation": Entry(
        build=lambda shape, /, activation: ACTIVATIONS[activation](),
        parameters={"properties": {"activation": ACTIVATION_NAME}, "required": ["activation"]},
        help="An activation function on every value.",
        example={"module": "activation", "parameters": {"activation": "relu"}},
    ),
    "max_pooling": Entry(
        build=max_pooling,
        parameters=OF_POOLING,
        help="Maximum over each window.",
        example={"module": "max_pooling", "parameters": {"pool_size": 2}},
    ),
    "average_pooling": Entry(
        build=average_pooling,
        parameters=OF_POOLING,
        help="Mean over each window.",
        example={"module": "average_pooling", "parameters": {"pool_size": 2}},
    ),
    "global_average": Entry(
        build=global_average,
        parameters={},
        help="Mean of each channel over the whole image.",
        example={"module": "global_average"},
    ),
    "concatenate": _CONCATENATE,
    "concatenation": _CONCATENATE,
    "batch_norm": Entry(
        build=batch_norm,
        parameters={
            "properties": {
                "momentum": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "epsilon": {"type": "number", "exclusiveMinimum": 0},
            }
        },
        help="Normalise each channel over the batch (running means and variances when predicting).",
        example={"module": "batch_norm"},
    ),
    "layer_norm": Entry(
        build=layer_norm,
        parameters={"properties": {"epsilon": {"type": "number", "exclusiveMinimum": 0}}},
        help="Normalise each sample, or each of its tokens, over its values.",
        example={"module": "layer_norm"},
    ),
    "dropout": Entry(
        build=dropout,
        parameters={
            "properties": {"rate": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}},
            "required": ["rate"],
        },
        help="Set a random fraction of the values to zero in training.",
        example={"module": "dropout", "parameters": {"rate": 0.1}},
    ),
    **MATCHED_FILTERS,
    "conv1d": Entry(
        build=sequence_convolutions,
        parameters={
            "properties": {
                "filters": COUNTS,
                "kernel_size": LENGTH,
                "strides": {
                    "anyOf": [COUNT, COUNTS],
                    "description": "stride of all convolutions, or a list with one for each",
                },
                "activation": {**ACTIVATION_NAME, "description": "after every convolution"},
                "use_bias": {"type": "boolean"},
                "batch_norm": {"type": "boolean", "description": "normalise between convolution and activation"},
                "l2": L2,
            },
            "required": ["filters"],
        },
        help="Convolutions along a row of values: [length], or [length, channels].",
        example={"module": "conv1d", "parameters": {"filters": [16, 32], "strides": [1, 2], "batch_norm": True}},
    ),
    "one_d_cnn": Entry(
        build=one_d_cnn,
        parameters={
            "properties": {
                "units": {**COUNT, "description": "width of the linear layer at the end"},
                "filters": {
                    **COUNTS,
                    "description": "the first layer with more channels than the one before halves the length",
                },
                "kernel_size": LENGTH,
                "l2": L2,
            }
        },
        help="Convolutions along a row of values with batch norm and ReLU; mean over positions; linear layer (DL-IM).",
        example={"module": "one_d_cnn", "parameters": {"filters": [16, 16, 32]}},
    ),
    "mlp": Entry(
        build=mlp,
        parameters={
            "properties": {
                "units": {**COUNTS, "description": "width of each hidden layer"},
                "outputs": {**CHANNELS, "description": 'width of the linear layer at the end, or "from dataset"'},
                "activation": {**ACTIVATION_NAME, "description": "after each hidden layer"},
                "dropout": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "description": "fraction of each hidden layer's values that is set to zero in training",
                },
                "bias": {"type": "boolean"},
                "l2": L2,
                "initial_scale": {
                    "type": ["number", "null"],
                    "exclusiveMinimum": 0,
                    "description": "initial weights are uniform within ± this / √inputs; null: Glorot's",
                },
            },
            "required": ["units"],
        },
        help="Multilayer perceptron: hidden layers with an activation, then a linear layer, on the flattened input.",
        example={"module": "mlp", "parameters": {"units": [32, 16], "activation": "tanh"}},
    ),
    "dle_cnn": Entry(
        build=dle_cnn,
        parameters={
            "properties": {
                "outputs": CHANNELS,
                "layers": {**DEPTH, "description": "convolutions, each followed by a leaky ReLU"},
                "filters": {**COUNT, "description": "channels of each layer"},
                "kernel_size": KERNEL,
                **OF_FIELDS,
            },
            "required": ["outputs"],
        },
        help="Convolutions from fields to fields, of any height and width (2Dto2D-DLE).",
        example={"module": "dle_cnn", "parameters": {"outputs": 2, "layers": 4, "filters": 16}},
    ),
    "dle_unet": Entry(
        build=UNet,
        parameters={
            "properties": {
                "outputs": CHANNELS,
                "blocks": {**COUNT, "maximum": 16, "description": "number of resolutions, each half the one before"},
                "filters": {**COUNT, "description": "channels of the first block; each further one has twice as many"},
                "kernel_size": KERNEL,
                **OF_FIELDS,
                "upsampling": UPSAMPLING,
            },
            "required": ["outputs"],
        },
        help="A U-Net from fields to fields, of any height and width; 2Dto2D-DLE's with convolved upsampling.",
        example={"module": "dle_unet", "parameters": {"outputs": 2, "blocks": 3, "filters": 8}},
    ),
    "masked_encoder": JoiningEntry(
        build=masked_encoder,
        parameters={
            "properties": {
                "size": {"enum": [*ENCODERS], "description": "base: 768 wide, 12 deep, 12 heads"},
                **PATCHES,
                **OF_PATCHES,
                **LAYER_SCALE,
                "last_norm": {"type": "boolean", "description": "whether a final layer norm is applied to the tokens"},
                **OWN_SIZE,
            }
        },
        help="A transformer on the patches of a spectrum; with a mask as second input, on its visible patches alone.",
        example={"module": "masked_encoder", "parameters": {"size": "tiny", "mask_ratio": 0.5}},
    ),
    "masked_decoder": JoiningEntry(
        build=masked_decoder,
        parameters={
            "properties": {
                "size": {"enum": [*DECODERS], "description": "base: 512 wide, 8 deep, 16 heads"},
                **PATCHES,
                "reads": {
                    "enum": ["tokens", "class", "mean"],
                    "description": "tokens: those of all visible patches; or the class token, or their mean, alone",
                },
                "loss_on": {
                    "enum": ["masked", "all"],
                    "description": "masked: visible patches are copied to the output; all: they are predicted, too",
                },
                **OF_PATCHES,
                **LAYER_SCALE,
                **OWN_SIZE,
                "depth": {
                    **OWN_SIZE["depth"],
                    "minimum": 0,
                    "description": "as for the encoder; 0 makes a linear decoder",
                },
            }
        },
        help="A light transformer that predicts masked patches from an encoder's tokens, the spectrum and its mask.",
        example={"module": "masked_decoder", "parameters": {"size": "tiny", "mask_ratio": 0.5}},
    ),
    "token_pooling": Entry(
        build=token_pooling,
        parameters={
            "properties": {"of": {"enum": [*POOLS], "description": "the class token, or the mean of the patches'"}}
        },
        help="An encoder's tokens pooled to one vector, as the input of a regression head.",
        example={"module": "token_pooling", "parameters": {"of": "mean"}},
    ),
    "flatten": Entry(
        build=flatten,
        parameters={},
        help="Flatten all values into one row.",
        example={"module": "flatten"},
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

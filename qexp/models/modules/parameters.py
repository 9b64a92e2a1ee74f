"""JSON Schemas of parameters that several modules have.

The number of layers is limited, because laying out a network takes some time for each.
"""

from qexp.models.activations import ACTIVATIONS
from qexp.models.modules.unet import UPSAMPLINGS

COUNT = {"type": "integer", "minimum": 1}
DEPTH = {**COUNT, "maximum": 1000}
COUNTS = {"type": "array", "items": COUNT, "minItems": 1, "maxItems": DEPTH["maximum"]}
LENGTH = {**COUNT, "maximum": 10_000, "description": "length of the kernel, in positions"}
L2 = {
    "type": "number",
    "minimum": 0,
    "description": "weight penalty: this times the sum of the squared weights is added to the loss",
}
KERNEL = {**COUNT, "description": "side of the square kernel, in pixels"}
CHANNELS = {
    "type": ["integer", "string"],
    "minimum": 1,
    "if": {"type": "string"},
    "then": {"enum": ["from dataset"], "x-message": 'must be a whole number or "from dataset"'},
    "description": 'output channels, one for each field; "from dataset": those of all outputs',
}
OF_FIELDS = {
    "activation": {"enum": [*ACTIVATIONS, None], "description": "after each convolution; null: leaky ReLU of `slope`"},
    "l2": L2,
    "slope": {
        "type": "number",
        "x-left-out": "default",
        "description": "slope of the leaky ReLU for negative values",
    },
    "dropout": {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "x-left-out": "default",
        "description": "fraction of the values after each convolution that is set to zero in training",
    },
}
UPSAMPLING = {
    "enum": [*UPSAMPLINGS],
    "x-left-out": "default",
    "description": "bare: a 2x2 transposed convolution; convolved: one of kernel_size with the activation, then a "
    "convolution",
}
PAIR = {"minimum": 1, "items": COUNT, "minItems": 2, "maxItems": 2}
OF_POOLING = {
    "properties": {
        "pool_size": {
            **PAIR,
            "type": ["integer", "array"],
            "description": "side of the square window, or its height and width, in pixels",
        },
        "strides": {
            **PAIR,
            "type": ["integer", "array", "null"],
            "description": "stride, or those along rows and columns; the window's sides if null",
        },
        "padding": {
            "enum": ["valid", "same"],
            "x-left-out": "default",
            "description": "valid: whole windows only; same: side / stride results, rounded up, as in Keras",
        },
    }
}
OF_JOINING = {
    "properties": {
        "axis": {
            "type": "integer",
            "x-left-out": "default",
            "description": "the axis of the channels or features in Keras's order: the last, -1",
        }
    }
}
PATCHES = {
    "patch_size": {
        **COUNT,
        "maximum": 65536,
        "description": "channels of a patch; must divide the length of a spectrum",
    },
    "mask_ratio": {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "description": "fraction of the patches that is masked; the same for encoder and decoder",
    },
}
OF_PATCHES = {
    "patches": {
        "enum": ["alike", "own"],
        "description": "whether all patches share the weights of the layer next to the spectrum",
    }
}
OWN_SIZE = {
    name: {**limits, "type": ["integer", "null"], "description": f"{meaning}; that of `size` if null"}
    for name, limits, meaning in (
        ("width", COUNT, "length of a token"),
        ("depth", DEPTH, "number of transformer blocks"),
        ("heads", COUNT, "attention heads; must divide the width"),
    )
}
LAYER_SCALE = {
    "layer_scale": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "description": "LayerScale: initial value of the trained factors of a block's residual branches; null: none",
    }
}

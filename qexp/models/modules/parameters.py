"""JSON Schemas of parameters that several modules have.

Limits of how deep a network goes keep it possible to lay one out: every layer of it takes a moment.
"""

from qexp.models.activations import ACTIVATIONS

COUNT = {"type": "integer", "minimum": 1}
DEPTH = {**COUNT, "maximum": 1000}
COUNTS = {"type": "array", "items": COUNT, "minItems": 1, "maxItems": DEPTH["maximum"]}
LENGTH = {**COUNT, "maximum": 10_000, "description": "positions that a result sees"}
L2 = {"type": "number", "minimum": 0, "description": "factor of the squared weights that is added to the loss"}
KERNEL = {**COUNT, "description": "side of the square kernel, in pixels"}
SMOOTHER = {"enum": [*ACTIVATIONS, None], "description": "after each convolution; null: leaky ReLU of slope 0.01"}
OF_POOLING = {
    "properties": {
        "pool_size": {**COUNT, "description": "side of the square window, in pixels"},
        "strides": {"type": ["integer", "null"], "minimum": 1, "description": "step; the window's side if null"},
    }
}
PATCHES = {
    "patch_size": {**COUNT, "maximum": 65536, "description": "channels of a patch; divides the length of a spectrum"},
    "mask_ratio": {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "description": "share of the patches that is hidden, where there is a mask; encoder and decoder have the same",
    },
}
OF_PATCHES = {
    "patches": {"enum": ["alike", "own"], "description": "whether all share the weights next to the spectrum"}
}
OWN_SIZE = {
    name: {**limits, "type": ["integer", "null"], "description": f"{meaning}; that of `size` if null"}
    for name, limits, meaning in (
        ("width", COUNT, "numbers of a token"),
        ("depth", DEPTH, "blocks of attention and layers"),
        ("heads", COUNT, "ways of attention, which share the width"),
    )
}
LAYER_SCALE = {
    "layer_scale": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "description": "what a block's changes are multiplied by at first, by weights that learn; null: by none",
    }
}

"""Networks from fields to fields as Keras models, written without Keras: `model.h5`, as 2Dto2D-DLE stores them.

The form is the HDF5 one of Keras 2, which Keras 3 reads as well: the layers as JSON in an attribute, their weights in
groups. Fields are the channels of one input, (batch, height, width, field), and of one output.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qexp.export.graphs import Graph, GraphError, NamedTensor, Sides
from qexp.networks.layers import ChannelsLast, Concatenate, Doubling, ExponentialActivation, SameConv2d, UNet
from qexp.networks.network import Network
from qexp.networks.portable import Positional
from qexp.networks.shapes import Shape

KERAS_VERSION = "2.15.0"
"""Version whose form the file has."""

INPUT = "fields"

ACTIVATIONS: Mapping[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.SELU: "selu",
    nn.GELU: "gelu",
    nn.SiLU: "swish",
    nn.Mish: "mish",
    nn.Softplus: "softplus",
    nn.Softsign: "softsign",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    ExponentialActivation: "exponential",
}
"""Activation without parameters → its name in Keras."""


@dataclass(frozen=True)
class Layer:
    """A layer of a Keras model, applied once."""

    name: str
    class_name: str
    config: dict[str, Any]
    sources: tuple[str, ...]
    """Names of the layers that it takes its input from."""
    weights: Mapping[str, NDArray[np.float32]]


@dataclass
class Layers:
    """The layers of a Keras model in the order of their computation."""

    order: list[Layer] = field(default_factory=list)

    def add(
        self,
        class_name: str,
        sources: Sequence[str],
        weights: Mapping[str, NDArray[np.float32]] | None = None,
        name: str = "",
        **config: Any,
    ) -> str:
        """Add a layer; returns its name."""
        name = name or f"{class_name.lower()}_{sum(layer.class_name == class_name for layer in self.order)}"
        config = {"name": name, "dtype": "float32", **config}
        self.order.append(Layer(name, class_name, config, tuple(sources), weights or {}))
        return name

    def apply(self, module: nn.Module, source: str) -> str:
        """Add the layers of a module on the result of a layer; returns the name of the last. Raises GraphError."""
        if type(module) in ACTIVATIONS:
            return self.add("Activation", [source], activation=ACTIVATIONS[type(module)])
        if type(module) not in MODULES:
            raise GraphError(f"there is no Keras layer for {type(module).__name__}; use onnx or torchscript")
        return MODULES[type(module)](self, module, source)


def keras_model(module: nn.Module, shapes: Sequence[Shape], free_frame: bool) -> Graph:
    """The layers of a network whose inputs are fields that are joined at once, and whose outputs are fields.

    shapes      shapes of the inputs, without the batch
    free_frame  whether frames may have any height and width
    Raises GraphError for another structure, and for modules that have no Keras layer.
    """
    network = module.module if isinstance(module, Positional) else module
    if not isinstance(network, Network):
        raise GraphError("a Keras model is one network with its transforms outside; leave out `physical`")
    outputs = list(network.shapes.values())
    if any(len(shape) != 3 or shape[0] != 1 for shape in [*shapes, *outputs]) or len(network.branches) != 1:
        raise GraphError("only a network with one branch, from fields to fields, can be written as a Keras model")
    branch = network.branches[0]
    operations = [network.operations[name] for name in branch.operations]
    if len(branch.sources) > 1 and not isinstance(operations.pop(0), Concatenate):
        raise GraphError(f"its first operation '{branch.operations[0]}' has no Keras form; use 'concatenate'")
    if branch.sources != tuple(network.inputs) or branch.targets != tuple(network.outputs):
        raise GraphError("its branch must take all inputs and make all outputs, in the order of the experience")
    sides = (None, None) if free_frame else shapes[0][1:]
    layers = Layers()
    last = layers.add("InputLayer", [], name=INPUT, batch_input_shape=[None, *sides, len(shapes)])
    for operation in operations:
        last = layers.apply(operation, last)
    free: Sides = ("batch", "height", "width") if free_frame else ("batch", *shapes[0][1:])
    return Graph(layers, [free] * len(shapes), [free] * len(outputs))


# Modules


def _in_turn(layers: Layers, module: nn.Module, source: str) -> str:
    for child in module.children():
        source = layers.apply(child, source)
    return source


def _convolution(layers: Layers, module: Any, source: str) -> str:
    kernel = _array(module.weight).transpose(2, 3, 1, 0)
    if isinstance(module, SameConv2d):
        return _with_kernel(layers, "Conv2D", module, kernel, source, "same")
    padded = module.padding != (0, 0)
    keeps_size = all(side == 2 * around + 1 for side, around in zip(module.kernel_size, module.padding, strict=True))
    if module.dilation != (1, 1) or module.groups != 1 or (padded and not (keeps_size and module.stride == (1, 1))):
        raise GraphError(f"there is no Keras layer for {module}")
    return _with_kernel(layers, "Conv2D", module, kernel, source, "same" if padded else "valid")


def _transposed(layers: Layers, module: Any, source: str) -> str:
    kernel = _array(module.weight).transpose(2, 3, 1, 0)  # (height, width, output, input), as for a convolution back
    if isinstance(module, Doubling):
        return _with_kernel(layers, "Conv2DTranspose", module, kernel, source, "same")
    if module.padding != (0, 0) or module.output_padding != (0, 0) or module.stride != module.kernel_size:
        raise GraphError(f"there is no Keras layer for {module}")
    return _with_kernel(layers, "Conv2DTranspose", module, kernel, source, "valid")


def _with_kernel(
    layers: Layers, class_name: str, module: Any, kernel: NDArray[np.float32], source: str, padding: str
) -> str:
    weights = {"kernel": np.ascontiguousarray(kernel)}
    if module.bias is not None:
        weights["bias"] = _array(module.bias)
    filters = kernel.shape[3 if class_name == "Conv2D" else 2]
    config = {"filters": filters, "kernel_size": list(kernel.shape[:2]), "strides": list(module.stride)}
    config |= {"padding": padding, "data_format": "channels_last", "activation": "linear"}
    return layers.add(class_name, [source], weights, **config, use_bias="bias" in weights)


def _u_net(layers: Layers, module: UNet, source: str) -> str:
    """The layers of a U-Net for frames that its blocks divide: Keras has no layer that pads as much as is missing."""
    passed: list[str] = []
    for level, block in enumerate(module.down):
        if level:
            source = layers.add("MaxPooling2D", [source], pool_size=[2, 2], strides=[2, 2], padding="valid")
        source = layers.apply(block, source)
        passed.append(source)
    for widen, block, beside in zip(module.widen, module.up, passed[-2::-1], strict=True):
        joined = layers.add("Concatenate", [layers.apply(widen, source), beside], axis=-1)
        source = layers.apply(block, joined)
    return layers.apply(module.head, source)


MODULES: Mapping[type[nn.Module], Callable[[Layers, Any, str], str]] = {
    nn.Sequential: _in_turn,
    ChannelsLast: _in_turn,
    UNet: _u_net,
    nn.Conv2d: _convolution,
    SameConv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    Doubling: _transposed,
    nn.Identity: lambda layers, module, source: source,
    nn.Dropout: lambda layers, module, source: layers.add("Dropout", [source], rate=module.p),
    nn.ELU: lambda layers, module, source: layers.add("ELU", [source], alpha=module.alpha),
    nn.LeakyReLU: lambda layers, module, source: layers.add("LeakyReLU", [source], alpha=module.negative_slope),
    nn.ReLU6: lambda layers, module, source: layers.add("ReLU", [source], max_value=6.0),
    nn.Softmax: lambda layers, module, source: layers.add("Softmax", [source], axis=-1),
}
"""Module → what adds its layers; those of `ACTIVATIONS` besides."""


def _array(weight: Tensor) -> NDArray[np.float32]:
    return np.asarray(weight.detach().to("cpu", torch.float32).numpy())


# The file


def h5_bytes(
    model: Graph, inputs: Sequence[NamedTensor], outputs: Sequence[NamedTensor], facts: Mapping[str, str]
) -> bytes:
    """The content of a `model.h5`, with `facts` and the names of the fields as further attributes."""
    import h5py

    layers = model.program.order
    content = io.BytesIO()
    versions = {"keras_version": KERAS_VERSION, "backend": "tensorflow"}
    with h5py.File(content, "w") as file:
        ports = {"inputs": inputs, "outputs": outputs}
        fields = {key: ",".join(tensor.name for tensor in tensors) for key, tensors in ports.items()}
        extra = {f"qexp_{name}": text for name, text in {**facts, **fields}.items()}
        file.attrs.update({**versions, **extra, "model_config": json.dumps(_config(layers))})
        weights = file.create_group("model_weights")
        weights.attrs.update({**versions, "layer_names": _texts([layer.name for layer in layers])})
        for layer in layers:
            group = weights.create_group(layer.name)
            names = [f"{layer.name}/{name}:0" for name in layer.weights]
            group.attrs["weight_names"] = _texts(names)
            for name, values in zip(names, layer.weights.values(), strict=True):
                group.create_dataset(name, data=values, track_times=False)
    return content.getvalue()


def _config(layers: Sequence[Layer]) -> dict[str, Any]:
    return {
        "class_name": "Functional",
        "config": {
            "name": "emulator",
            "trainable": True,
            "layers": [
                {
                    "class_name": layer.class_name,
                    "config": layer.config,
                    "name": layer.name,
                    "inbound_nodes": [[[source, 0, 0, {}] for source in layer.sources]] if layer.sources else [],
                }
                for layer in layers
            ],
            "input_layers": [[INPUT, 0, 0]],
            "output_layers": [[layers[-1].name, 0, 0]],
        },
    }


def _texts(names: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([name.encode() for name in names], dtype="S") if names else np.array([], dtype="S1")

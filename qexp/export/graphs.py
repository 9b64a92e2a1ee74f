"""Networks in file formats for other programs: ONNX and TorchScript, as graphs of modules, and
Keras.
"""

from __future__ import annotations

import io
import json
import logging
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qexp.errors import extra
from qexp.networks import layers as torch_layers
from qexp.networks.network import Network
from qexp.networks.portable import Positional
from qexp.networks.shapes import Shape

Sides = tuple[int | str, ...]
"""(batch, ...): numbers, or names and expressions of names for sides of any size."""

TOLERANCE = 1e-4
"""Largest accepted difference between a graph and its network, relative to the field's largest
magnitude.
"""

LONGEST_EXPRESSION = 24
"""Largest number of characters of an expression for a side that is still readable."""


class GraphError(Exception):
    """A module cannot be written as a graph, or not for sides of any size."""


@dataclass(frozen=True)
class Graph:
    """A network as it is written: a program of torch, or the layers of another library."""

    program: Any
    inputs: Sequence[Sides]
    outputs: Sequence[Sides]


@dataclass(frozen=True)
class NamedTensor:
    """Name and description of an input or output in the file."""

    name: str
    sides: Sides
    description: str


Facts = Mapping[str, str]
"""On the run, by name."""


def capture(module: nn.Module, shapes: Sequence[Shape], free_frame: bool) -> Graph:
    """The graph of a module from tensors to a tuple of tensors, valid for every batch size.

    shapes      shapes of the inputs, without the batch
    free_frame  whether images may have any height and width
    Raises GraphError for an operation that no graph can hold, or a structure that goes by the size.
    """
    free = list[list[int]]()
    for shape in shapes:
        free.append([0, 2, 3] if free_frame and len(shape) == 3 else [0])
    dynamic = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in free)
    with _exporting(RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        # The tracer takes a side of 1 as constant.
        program = torch.export.export(
            module, _samples(shapes, 2, 2 if free_frame else 0), dynamic_shapes=(dynamic,)
        )
        _forget_examples(program)
        _require_agreement(module, program, shapes, free_frame)
    return _with_names(program, free)


def _samples(shapes: Sequence[Shape], batch: int, larger: int) -> tuple[Tensor, ...]:
    """Inputs that are valid for every transform; frames are larger, unequally by side."""
    random = torch.Generator().manual_seed(0)
    samples = []
    for shape in shapes:
        sides = shape
        if larger and len(shape) == 3:
            sides = (shape[0], shape[1] + larger, shape[2] + larger + 1)
        samples.append(torch.rand(batch, *sides, generator=random) * 0.9 + 0.1)
    return tuple(samples)


def _forget_examples(program: torch.export.ExportedProgram) -> None:
    """Remove checks of sizes and types, which no format holds and small frames would fail."""
    graph = program.graph
    for node in reversed(graph.nodes):
        if node.op == "call_function" and "_assert" in str(node.target):
            graph.erase_node(node)
    program.graph_module.recompile()


def _require_agreement(
    module: nn.Module,
    program: torch.export.ExportedProgram,
    shapes: Sequence[Shape],
    free_frame: bool,
) -> None:
    """Raise ValueError if the graph is correct for its example inputs only."""
    graph = program.module(check_guards=False)
    for batch, larger in [(1, 0), (3, 0), *([(1, 1), (2, 6)] if free_frame else [])]:
        values = _samples(shapes, batch, larger)
        for theirs, ours in zip(graph(*values), module(*values), strict=True):
            finite = ours[ours.isfinite()]
            allowed = TOLERANCE * (finite.abs().max().item() if finite.numel() else 0.0)
            if theirs.shape != ours.shape or not torch.allclose(
                theirs, ours, rtol=0, atol=allowed, equal_nan=True
            ):
                raise ValueError(
                    f"the graph differs from the network for {batch} samples of"
                    f" {list(values[0].shape)}"
                )


def _with_names(program: torch.export.ExportedProgram, free: Sequence[Sequence[int]]) -> Graph:
    """Give sides of any size the names batch, height and width instead of torch's names."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [values[name] for name in program.graph_signature.user_inputs if isinstance(name, str)]
    outputs = [
        values[name] for name in program.graph_signature.user_outputs if isinstance(name, str)
    ]
    names: dict[str, str] = {}
    kinds = {0: "batch", 2: "height", 3: "width"}
    for index, (value, axes) in enumerate(zip(inputs, free, strict=True)):
        for axis in axes:
            name = kinds[axis]
            # inputs that are never combined can differ in size
            in_use = axis > 0 and name in names.values()
            names.setdefault(str(value.shape[axis]), f"{name}_{index}" if in_use else name)

    def name_of(index: int, axis: int, side: int | torch.SymInt) -> int | str:
        if isinstance(side, int):
            return side
        words = (
            re.sub(r"\bs\d+\b", lambda symbol: names[symbol[0]], str(side))
            .removeprefix("(")
            .removesuffix(")")
        )
        return (
            words if len(words) <= LONGEST_EXPRESSION else f"{kinds.get(axis, 'size')}_made_{index}"
        )

    def sides(values: Sequence[Tensor]) -> list[Sides]:
        found = list[Sides]()
        for index, value in enumerate(values):
            axes = enumerate(value.shape)
            found.append(tuple(name_of(index, axis, side) for axis, side in axes))
        return found

    return Graph(program, sides(inputs), sides(outputs))


@contextmanager
def _exporting(*refusals: type[Exception]) -> Iterator[None]:
    """Without gradients and the exporters' messages on their internals and deprecations.

    Refusals become a GraphError of the first line of the original one; exporters wrap it in advice
    to their developers.
    """
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except refusals as error:
        origin: BaseException = error
        while origin.__cause__ is not None:
            origin = origin.__cause__
        raise GraphError(str(origin).strip().split("\n")[0]) from error
    finally:
        logger.setLevel(level)


# ONNX


def onnx_bytes(
    graph: Graph,
    inputs: Sequence[NamedTensor],
    outputs: Sequence[NamedTensor],
    facts: Facts,
) -> bytes:
    """An .onnx file with `facts` as metadata. Raises GraphError for what has no equivalent."""
    with extra("export"):
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it

    # torch calls values inside after operations: an output may have such a name, too.
    names = {
        f"qexp.value.{number}": tensor.name for number, tensor in enumerate((*inputs, *outputs))
    }
    with _exporting(RuntimeError):
        exported = torch.onnx.export(
            graph.program,
            input_names=list(names)[: len(inputs)],
            output_names=list(names)[len(inputs) :],
            custom_translation_table=_translations(),
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    assert exported is not None
    model = exported.model_proto
    _rename(model.graph, names)
    del model.graph.value_info[:]  # its sides have torch's names
    for node in model.graph.node:
        del node.metadata_props[:]  # lines of source code with paths of this machine
    for values, tensors in ((model.graph.input, inputs), (model.graph.output, outputs)):
        for value, tensor in zip(values, tensors, strict=True):
            value.doc_string = tensor.description
            for dimension, side in zip(value.type.tensor_type.shape.dim, tensor.sides, strict=True):
                if isinstance(side, str):
                    dimension.dim_param = side
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give values of an ONNX graph new names; others that have one of these already get another."""
    taken = set(names.values())

    def new(name: str) -> str:
        return names.get(name, f"{name}.inside" if name in taken else name)

    for node in graph.node:
        node.input[:], node.output[:] = list(map(new, node.input)), list(map(new, node.output))
        for attribute in node.attribute:
            _rename(attribute.g, names)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new(value.name)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Translations of operations that torch cannot convert to ONNX, or not for all values."""
    from onnxscript import opset18

    op: Any = opset18

    def copysign(size: Any, sign: Any) -> Any:
        magnitude = op.Abs(size)
        zero = op.CastLike(0.0, sign)
        return op.Where(op.Less(sign, zero), op.Neg(magnitude), magnitude)

    def floor_divided(number: Any, divisor: Any) -> Any:
        # Div of integers rounds towards zero; Mod has the sign of the divisor, as in Python.
        return op.Div(op.Sub(number, op.Mod(number, divisor)), divisor)

    def log_of_one_and(number: Any) -> Any:
        # The logarithm of the rounded sum, corrected for rounding (Goldberg 1991, ACM Comput. Surv.
        # 23, theorem 4).
        one = op.CastLike(1.0, number)
        total = op.Add(number, one)
        logarithm = op.Mul(op.Log(total), op.Div(number, op.Sub(total, one)))
        return op.Where(op.Equal(total, one), number, logarithm)

    return {
        torch.ops.aten.copysign.Tensor: copysign,
        torch.ops.aten.log1p.default: log_of_one_and,
        operator.floordiv: floor_divided,
    }


# TorchScript


def torchscript_bytes(
    graph: Graph,
    inputs: Sequence[NamedTensor],
    outputs: Sequence[NamedTensor],
    facts: Facts,
) -> bytes:
    """A file for `torch.jit.load` with `facts` as extra files; tensors are known by their order."""
    program: torch.export.ExportedProgram = graph.program
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    if any("_functorch" in getattr(target, "__module__", "") for target in called):
        # TorchScript has no calls of `torch.vmap`: stacks of networks become plain products.
        with _exporting():
            # traces the network again: as slow as the export
            program = program.run_decompositions({})
            _forget_examples(program)
    module = program.module(check_guards=False).requires_grad_(False)
    steps = module.graph
    names = {
        torch.ops.aten.sym_size.int: torch.ops.aten.size,
        torch.sym_max: max,
        torch.sym_min: min,
    }
    for node in steps.nodes:
        if node.op == "call_function":
            packet = (
                node.target.overloadpacket
                if isinstance(node.target, torch._ops.OpOverload)
                else node.target
            )
            node.target = names.get(node.target, packet)
    steps.set_codegen(torch.fx.graph.CodeGen())
    content = io.BytesIO()
    with _exporting(RuntimeError):
        scripted = torch.jit.script(torch.fx.GraphModule(module, steps))
        torch.jit.save(scripted, content, _extra_files=dict(facts))
    return content.getvalue()


# Keras: networks from fields to fields, written without Keras: `model.h5`, as 2Dto2D-DLE stores
# them.
#
# The form is the HDF5 one of Keras 2, which Keras 3 reads as well: the layers as JSON in an
# attribute, their weights in groups. Fields are the channels of one input, (batch, height, width,
# field), and of one output.


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
    torch_layers.ExponentialActivation: "exponential",
}
"""Activation without parameters → its name in Keras."""


@dataclass(frozen=True)
class Layer:
    """A layer of a Keras model, applied once."""

    document: dict[str, Any]
    """As Keras describes it, with the names of the layers that it takes its input from."""
    weights: Mapping[str, NDArray[np.float32]]

    @property
    def name(self) -> str:
        return str(self.document["name"])


class Layers(list[Layer]):
    """The layers of a Keras model in the order of their computation."""

    def add(
        self,
        class_name: str,
        sources: Sequence[str],
        weights: Mapping[str, NDArray[np.float32]] | None = None,
        name: str = "",
        **config: Any,
    ) -> str:
        """Add a layer; returns its name."""
        earlier = sum(layer.document["class_name"] == class_name for layer in self)
        name = name or f"{class_name.lower()}_{earlier}"
        document = {
            "class_name": class_name,
            "config": {"name": name, "dtype": "float32", **config},
            "name": name,
            "inbound_nodes": [[[source, 0, 0, {}] for source in sources]] if sources else [],
        }
        self.append(Layer(document, weights or {}))
        return name

    def apply(self, module: nn.Module, source: str) -> str:
        """Add a module's layers to a layer; returns the last one's name. Raises GraphError."""
        if type(module) in ACTIVATIONS:
            return self.add("Activation", [source], activation=ACTIVATIONS[type(module)])
        if type(module) not in MODULES:
            raise GraphError(
                f"there is no Keras layer for {type(module).__name__}; use onnx or torchscript"
            )
        return MODULES[type(module)](self, module, source)


def keras_model(module: nn.Module, shapes: Sequence[Shape], free_frame: bool) -> Graph:
    """The layers of a network whose inputs are fields that are joined at once, and whose outputs
    are fields.

    shapes      shapes of the inputs, without the batch
    free_frame  whether frames may have any height and width
    Raises GraphError for another structure, and for modules that have no Keras layer.
    """
    network = module.module if isinstance(module, Positional) else module
    if not isinstance(network, Network):
        raise GraphError(
            "a Keras model is one network with its transforms outside; leave out `physical`"
        )
    outputs = list(network.shapes.values())
    if (
        any(len(shape) != 3 or shape[0] != 1 for shape in [*shapes, *outputs])
        or len(network.branches) != 1
    ):
        raise GraphError(
            "only a network with one branch, from fields to fields, can be written as a Keras model"
        )
    branch = network.branches[0]
    operations = [network.operations[name] for name in branch.operations]
    if len(branch.sources) > 1 and not isinstance(operations.pop(0), torch_layers.Concatenate):
        raise GraphError(
            f"its first operation '{branch.operations[0]}' has no Keras form; use 'concatenate'"
        )
    if branch.sources != tuple(network.inputs) or branch.targets != tuple(network.outputs):
        raise GraphError(
            "its branch must take all inputs and make all outputs, in the order of the experience"
        )
    sides = (None, None) if free_frame else shapes[0][1:]
    layers = Layers()
    last = layers.add("InputLayer", [], name=INPUT, batch_input_shape=[None, *sides, len(shapes)])
    for operation in operations:
        last = layers.apply(operation, last)
    free: Sides = ("batch", "height", "width") if free_frame else ("batch", *shapes[0][1:])
    return Graph(layers, [free] * len(shapes), [free] * len(outputs))


def _in_turn(layers: Layers, module: nn.Module, source: str) -> str:
    for child in module.children():
        source = layers.apply(child, source)
    return source


def _convolution(layers: Layers, module: Any, source: str) -> str:
    if isinstance(module, torch_layers.SameConv2d):
        return _with_kernel(layers, "Conv2D", module, source, "same")
    padded = module.padding != (0, 0)
    keeps_size = tuple(module.kernel_size) == tuple(2 * margin + 1 for margin in module.padding)
    same_size = keeps_size and module.stride == (1, 1)
    if module.dilation != (1, 1) or module.groups != 1 or (padded and not same_size):
        raise GraphError(f"there is no Keras layer for {module}")
    return _with_kernel(layers, "Conv2D", module, source, "same" if padded else "valid")


def _transposed(layers: Layers, module: Any, source: str) -> str:
    if isinstance(module, torch_layers.Doubling):
        return _with_kernel(layers, "Conv2DTranspose", module, source, "same")
    padded = module.padding != (0, 0) or module.output_padding != (0, 0)
    if padded or module.stride != module.kernel_size:
        raise GraphError(f"there is no Keras layer for {module}")
    return _with_kernel(layers, "Conv2DTranspose", module, source, "valid")


def _with_kernel(layers: Layers, class_name: str, module: Any, source: str, padding: str) -> str:
    # (height, width, input, output); (height, width, output, input) of a transposed one, as of a
    # convolution back.
    kernel = _array(module.weight).transpose(2, 3, 1, 0)
    weights = {"kernel": np.ascontiguousarray(kernel)}
    if module.bias is not None:
        weights["bias"] = _array(module.bias)
    filters = kernel.shape[3 if class_name == "Conv2D" else 2]
    config: dict[str, Any] = {
        "filters": filters,
        "kernel_size": list(kernel.shape[:2]),
        "strides": list(module.stride),
        "padding": padding,
        "data_format": "channels_last",
        "activation": "linear",
        "use_bias": "bias" in weights,
    }
    return layers.add(class_name, [source], weights, **config)


def _u_net(layers: Layers, module: torch_layers.UNet, source: str) -> str:
    """The layers of a U-Net for frames that its blocks divide: Keras cannot pad to size."""
    passed: list[str] = []
    for level, block in enumerate(module.down):
        if level:
            config: dict[str, Any] = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}
            source = layers.add("MaxPooling2D", [source], **config)
        source = layers.apply(block, source)
        passed.append(source)
    for widen, block, skipped in zip(module.widen, module.up, passed[-2::-1], strict=True):
        joined = layers.add("Concatenate", [layers.apply(widen, source), skipped], axis=-1)
        source = layers.apply(block, joined)
    return layers.apply(module.head, source)


MODULES: Mapping[type[nn.Module], Callable[[Layers, Any, str], str]] = {
    nn.Sequential: _in_turn,
    torch_layers.ChannelsLast: _in_turn,
    torch_layers.UNet: _u_net,
    nn.Conv2d: _convolution,
    torch_layers.SameConv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    torch_layers.Doubling: _transposed,
    nn.Identity: lambda layers, module, source: source,
    nn.Dropout: lambda layers, module, source: layers.add("Dropout", [source], rate=module.p),
    nn.ELU: lambda layers, module, source: layers.add("ELU", [source], alpha=module.alpha),
    nn.LeakyReLU: lambda layers, module, source: layers.add(
        "LeakyReLU", [source], alpha=module.negative_slope
    ),
    nn.ReLU6: lambda layers, module, source: layers.add("ReLU", [source], max_value=6.0),
    nn.Softmax: lambda layers, module, source: layers.add("Softmax", [source], axis=-1),
}
"""Module → what adds its layers; those of `ACTIVATIONS` besides."""


def _array(weight: Tensor) -> NDArray[np.float32]:
    return np.asarray(weight.detach().to("cpu", torch.float32).numpy())


def h5_bytes(
    model: Graph,
    inputs: Sequence[NamedTensor],
    outputs: Sequence[NamedTensor],
    facts: Facts,
) -> bytes:
    """The content of a `model.h5`, with `facts` and fields' names as further attributes."""
    import h5py

    layers = model.program
    content = io.BytesIO()
    versions = {"keras_version": KERAS_VERSION, "backend": "tensorflow"}
    with h5py.File(content, "w") as file:
        fields = {
            "inputs": ",".join(tensor.name for tensor in inputs),
            "outputs": ",".join(tensor.name for tensor in outputs),
        }
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
            "layers": [layer.document for layer in layers],
            "input_layers": [[INPUT, 0, 0]],
            "output_layers": [[layers[-1].name, 0, 0]],
        },
    }


def _texts(names: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([name.encode() for name in names], dtype="S" if names else "S1")


# All formats.


@dataclass(frozen=True)
class NetworkFormat:
    file: str
    capture: Callable[[nn.Module, Sequence[Shape], bool], Graph]
    """Takes a module, the shapes of its inputs, and whether images may have any size; raises
    GraphError.
    """
    write: Callable[[Graph, Sequence[NamedTensor], Sequence[NamedTensor], Facts], bytes]
    """Takes what was captured, inputs and outputs, and facts on the run; returns the content of the
    file.
    """
    example: str
    """Python code that loads the file beside `network.json` and calls it on `inputs`, a dictionary
    of arrays.
    """


FORMATS: dict[str, NetworkFormat] = {
    "onnx": NetworkFormat(
        "model.onnx",
        capture,
        onnx_bytes,
        """\
import json, numpy, onnxruntime
network = json.load(open("network.json"))
session = onnxruntime.InferenceSession("model.onnx")
inputs = {{{inputs}}}
outputs = dict(zip([one["name"] for one in network["outputs"]], session.run(None, inputs)))
""",
    ),
    "torchscript": NetworkFormat(
        "model.pt",
        capture,
        torchscript_bytes,
        """\
import json, numpy, torch
network = json.load(open("network.json"))
model = torch.jit.load("model.pt")
inputs = {{{inputs}}}
made = model(*[torch.from_numpy(inputs[one["name"]]) for one in network["inputs"]])
outputs = dict(zip([one["name"] for one in network["outputs"]], made))
""",
    ),
    "keras": NetworkFormat(
        "model.h5",
        keras_model,
        h5_bytes,
        """\
import json, keras, numpy
network = json.load(open("network.json"))
model = keras.models.load_model("model.h5", compile=False)
inputs = {{{inputs}}}
made = model.predict(numpy.stack([inputs[one["name"]] for one in network["inputs"]], axis=-1))
outputs = {{one["name"]: made[..., channel] for channel, one in enumerate(network["outputs"])}}
""",
    ),
}

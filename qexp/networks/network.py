"""A network as a graph of named operations, as a model spec describes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from qexp.base.seeds import Seeds
from qexp.networks.heads import ClassHead, Density, Head
from qexp.networks.shapes import Shape, ShapeError, ShapeRules, written


@dataclass(frozen=True)
class Operation:
    """A named operation: how its module is built, and its weight penalty."""

    build: Callable[..., nn.Module]
    """Makes the module for the shape of its input; one that joins gets a list of shapes."""
    joins: bool = False
    """Takes a list of inputs."""
    l2: float = 0.0
    """Factor of the operation's squared weights in the loss."""
    ends: bool = False
    """Is a posterior head: `build` gets the number of outputs, too."""


@dataclass(frozen=True)
class Branch:
    """Operations in order, from one named value (or several) to another."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    """If there are several, the channels of the result are divided equally among them, in order."""
    operations: tuple[str, ...]


MOST_LAYERS = 5_000
"""Of all operations together; laying out more would take minutes."""


class BranchError(ShapeError):
    """An operation that does not fit where a branch puts it."""

    def __init__(self, branch: int, position: int, message: str) -> None:
        super().__init__(message)
        self.branch, self.position = branch, position


class Network(nn.Module):
    """Named inputs → named outputs. An operation that is used twice shares its weights.

    inputs    variable → shape (channel, height, width) or (feature,)
    outputs   names of values that branches make
    Raises BranchError for the first operation that does not fit its input. The network is laid out
    on the meta device; `initialise` gives it memory and initial weights.
    """

    def __init__(
        self,
        inputs: Mapping[str, Shape],
        outputs: Sequence[str],
        operations: Mapping[str, Operation],
        branches: Sequence[Branch],
    ) -> None:
        super().__init__()
        self.inputs = dict(inputs)
        self.outputs = list(outputs)
        self.branches = list(branches)
        self.operations = nn.ModuleDict()
        self.builders: dict[str, Callable[[], nn.Module]] = {}
        """Operation → a function that builds it again; see `initialise`."""
        self.input_shapes: dict[str, Shape | list[Shape]] = {}
        """Operation → the shape of its input where it is first used, or the shapes that join."""
        self.heads: dict[str, tuple[str, ...]] = {}
        """Operation that is a posterior head → its outputs."""
        self._penalties: dict[str, float] = {}
        self._layers = 0
        """Layers laid out so far."""
        values = {name: torch.empty(2, *shape, device="meta") for name, shape in inputs.items()}
        with torch.no_grad(), ShapeRules():
            for index, branch in enumerate(branches):
                value: Tensor | list[Tensor] = _gather(values, branch)
                for position, name in enumerate(branch.operations):
                    try:
                        if operations[name].ends:
                            self._require_end(name, branches, index, position)
                        value = self._lay_out(name, operations[name], value, len(branch.targets))
                    except (
                        ShapeError,
                        RuntimeError,
                        ValueError,
                        IndexError,
                        TypeError,
                        OverflowError,
                    ) as error:
                        raise BranchError(index, position, _explain(name, value, error)) from error
                if isinstance(value, list):
                    raise BranchError(
                        index,
                        0,
                        f"several inputs ({', '.join(branch.sources)}) and no operation that joins"
                        " them",
                    )
                if value.shape[1] % len(branch.targets):
                    raise BranchError(
                        index,
                        max(len(branch.operations) - 1, 0),
                        f"makes {written(_shape(value))}, whose {value.shape[1]} channels cannot be"
                        f" divided among {', '.join(branch.targets)}; make {len(branch.targets)},"
                        " or a multiple of it",
                    )
                values.update(_divide(value, branch))
        self.shapes = {name: _shape(values[name]) for name in outputs}

    def _require_end(
        self, name: str, branches: Sequence[Branch], index: int, position: int
    ) -> None:
        """Raise ShapeError unless a head ends one branch, in outputs; else note its outputs."""
        branch = branches[index]
        if sum(other.operations.count(name) for other in branches) > 1:
            raise ShapeError(
                "is a posterior head, which is used once; give each branch a head of its own"
            )
        if position < len(branch.operations) - 1:
            raise ShapeError("is a posterior head, which ends a branch; leave out what follows it")
        if inner := [one for one in branch.targets if one not in self.outputs]:
            raise ShapeError(
                f"is a posterior head, but '{inner[0]}' is no output; name outputs alone as"
                " 'y_name'"
            )
        later = {source for one in branches[index + 1 :] for source in one.sources}
        if used := [one for one in branch.targets if one in later]:
            raise ShapeError(
                f"is a posterior head, so that no branch can start from '{used[0]}'; start before"
                " the head"
            )
        if name in self.outputs:
            raise ShapeError("is a posterior head with the name of an output; rename the operation")
        self.heads[name] = branch.targets

    def _lay_out(
        self, name: str, operation: Operation, value: Tensor | list[Tensor], targets: int
    ) -> Tensor:
        if isinstance(value, list) and not operation.joins:
            raise ShapeError("takes one input; join several with a 'concatenate' first")
        if name not in self.operations:
            shape = (
                [_shape(tensor) for tensor in value] if isinstance(value, list) else _shape(value)
            )
            self.builders[name] = partial(
                operation.build, shape, *([targets] if operation.ends else [])
            )
            self.input_shapes[name] = shape
            with torch.device("meta"):
                self.operations[name] = self.builders[name]().eval()
            if operation.l2:
                self._penalties[name] = operation.l2
        layers = list(self.operations[name].modules())
        self._layers += sum(1 for layer in layers if next(layer.children(), None) is None)
        if self._layers > MOST_LAYERS:
            raise ShapeError(
                f"brings the network to {self._layers:,} layers; at most {MOST_LAYERS:,} are"
                " possible"
            )
        result = self.operations[name](value)
        if not isinstance(result, Tensor):
            raise ShapeError(f"must make one tensor, but makes a {type(result).__name__}")
        if result.numel() == 0:
            raise ShapeError("its result has no values: the input is too small")
        samples = len(value[0] if isinstance(value, list) else value)
        if result.dim() < 2 or len(result) != samples:
            raise ShapeError(
                f"makes a tensor of shape {list(result.shape)} from {samples} samples, not (sample,"
                " channel, ...)"
            )
        return result

    def another(self) -> Network:
        """A network of the same layout that is not yet initialised; see `initialise`."""
        network = copy.copy(self)
        network._modules = {}
        network.operations = nn.ModuleDict()
        return network

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs for a batch: name → (batch, ...); of those of a posterior head, their medians."""
        return self.finished(self.features(inputs))

    def features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs for a batch; for each posterior head, by its name, what it takes."""
        values = dict(inputs)
        for branch in self.branches:
            value: Tensor | list[Tensor] = _gather(values, branch)
            head = next((name for name in branch.operations if name in self.heads), None)
            for name in branch.operations if head is None else branch.operations[:-1]:
                value = self.operations[name](value)
            assert isinstance(value, Tensor)
            values.update(_divide(value, branch) if head is None else {head: value})
        return {name: values[name] for name in self.learned}

    def finished(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs, from `features`."""
        outputs = dict(features)
        for name, targets in self.heads.items():
            numbers = self.operations[name](features[name].float())
            parts = numbers.split(numbers.shape[1] // len(targets), dim=1)
            outputs.update(zip(targets, parts, strict=True))
        return {name: outputs[name] for name in self.outputs}

    @property
    def posteriors(self) -> dict[str, tuple[str, ...]]:
        """Each head of numbers, whose density is their posterior, and its outputs."""
        heads = self.heads.items()
        return {
            name: outputs
            for name, outputs in heads
            if not isinstance(self.operations[name], ClassHead)
        }

    @property
    def learned(self) -> dict[str, tuple[str, ...]]:
        """What has a loss of its own: an output, or all outputs of a posterior head."""
        return learned(self.outputs, self.heads)

    def density(self, name: str, features: Tensor) -> Density:
        """The density that a posterior head makes of its features, (batch, ...)."""
        head = self.operations[name]
        assert isinstance(head, Head)
        return head.density(features.float())

    def penalty(self) -> Tensor | None:
        """The sum of squared weights, each operation's times its `l2`; None without any."""
        terms = [
            factor * parameter.square().sum()
            for name, factor in self._penalties.items()
            for parameter_name, parameter in self.operations[name].named_parameters()
            if parameter_name.endswith("weight")
        ]
        return torch.stack(terms).sum() if terms else None


def learned(
    outputs: Iterable[str], heads: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Each output that no posterior head makes, and the outputs of each head, by its name."""
    of_heads = {output for names in heads.values() for output in names}
    return {**{name: (name,) for name in outputs if name not in of_heads}, **heads}


@runtime_checkable
class Layered(Protocol):
    """An operation of layers, such as a transformer, for a rate that decays by layer."""

    @property
    def layers(self) -> int: ...

    def layer_of(self, weight: str) -> int:
        """The layer of a weight, by its name: 0 for the lowest, `layers` if it belongs to the next
        operation.
        """


def layers_above(network: Network) -> dict[str, int]:
    """Name of a weight → the number of layers of its operation above it; only for operations that
    are `Layered`.
    """
    return {
        f"operations.{name}.{weight}": operation.layers - operation.layer_of(weight)
        for name, operation in network.operations.items()
        if isinstance(operation, Layered)
        for weight, _ in operation.named_parameters()
    }


def operations_per_sample(network: Network) -> int:
    """Floating-point operations of a forward pass, counted on the meta device."""
    state, samples = _on_meta(network, network.inputs)
    with evaluating(network), torch.no_grad():
        with ShapeRules() as rules:
            functional_call(network, state, (samples,))
        if rules.complete:
            return int(rules.operations)
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            functional_call(network, state, (samples,))
        return int(counter.get_total_flops())


def _on_meta(
    network: Network, shapes: Mapping[str, Shape]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state of a network, and one sample with inputs of these shapes, on the meta device."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    state = {name: tensor.to("meta") for name, tensor in tensors}
    samples = {name: torch.empty(1, *shape, device="meta") for name, shape in shapes.items()}
    return state, samples


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, and the former mode after it."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def refusal(network: Network, height: int, width: int) -> str | None:
    """Why a network cannot take frames of a size, or None; checked on the meta device."""
    shapes = {name: (shape[0], height, width) for name, shape in network.inputs.items()}
    frames = f"frames of {height} x {width} cells"
    state, samples = _on_meta(network, shapes)
    try:
        with torch.no_grad(), ShapeRules():
            outputs = functional_call(network, state, (samples,))
    except (RuntimeError, ValueError) as error:
        patch = " x ".join(map(str, next(iter(network.inputs.values()))[1:]))
        return (
            f"the network takes patches of {patch} cells, but not {frames}:"
            f" {str(error).splitlines()[0]}"
        )
    for name, value in outputs.items():
        if tuple(value.shape[2:]) != (height, width):
            return (
                f"the network makes {' x '.join(map(str, value.shape[2:]))} cells of '{name}' from"
                f" {frames}"
            )
    return None


def initialise(network: Network, seeds: Seeds) -> None:
    """Give every weight memory and its initial value: Glorot-uniform, biases zero (Glorot and
    Bengio 2010).

    If an operation, or a layer of it, has an `initial_scale`, its weights are uniform within ±
    initial_scale / √inputs instead; 1 is torch's default. Convolutions over sequences keep torch's
    initialisation, as published networks have it, and so do modules that are neither convolutional
    nor linear.
    Each operation draws from its own stream of random numbers, so that adding one does not change
    the others.
    """
    for name, build in network.builders.items():
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seeds.number("weights", name))
            operation = build()
        random = seeds.torch("cpu", "weights", name)
        for module in operation.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                scale = getattr(module, "initial_scale", getattr(operation, "initial_scale", None))
                if scale is None:
                    nn.init.xavier_uniform_(module.weight, generator=random)
                else:
                    bound = scale / module.weight[0].numel() ** 0.5
                    nn.init.uniform_(module.weight, -bound, bound, generator=random)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        network.operations[name] = operation


def _gather(values: Mapping[str, Tensor], branch: Branch) -> Tensor | list[Tensor]:
    tensors = [values[name] for name in branch.sources]
    return tensors[0] if len(tensors) == 1 else tensors


def _divide(value: Tensor, branch: Branch) -> dict[str, Tensor]:
    """Name → its part of a branch's result."""
    if len(branch.targets) == 1:
        return {branch.targets[0]: value}
    return dict(zip(branch.targets, value.chunk(len(branch.targets), dim=1), strict=True))


def _shape(value: Tensor) -> Shape:
    return tuple(value.shape[1:])


def _explain(name: str, value: Tensor | list[Tensor], error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, ShapeError):
        return f"operation '{name}': {reason}"
    if "overflow" in reason:
        return f"operation '{name}' is too large for any machine: {reason}"
    sizes = ", ".join(
        written(_shape(tensor)) for tensor in (value if isinstance(value, list) else [value])
    )
    return f"operation '{name}' does not fit its input {sizes}: {reason}"


def bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

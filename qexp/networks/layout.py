"""A network step by step: inputs, operations with their layers, outputs, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils.flop_counter import FlopCounterMode

from qexp.networks.network import Network
from qexp.networks.shapes import ShapeRules


@dataclass(frozen=True)
class Step:
    """An input, an operation where it is used, a layer of one, or an output."""

    operation: str
    """Its name, or that of the input or output."""
    module: str
    """The operation's entry in the table of modules; "input", "output"."""
    layer: str = ""
    """Where a layer is in its operation; empty for the operation itself."""
    does: str = ""
    """What a layer is, or the only one of an operation."""
    shape: Sequence[int] = ()
    """Of the result for a sample, channels last, as specs write it."""
    weights: int = 0
    """Trainable parameters."""
    multiplications: int = 0
    """Multiply-accumulates for a sample in convolutions, dense layers, matrix products and
    attention: half of torch's floating-point operations. Activations, normalisation and pooling do
    not count; a posterior head has those of one evaluation of its density.
    """
    sources: Sequence[int] = ()
    """Numbers of the steps whose results it takes."""
    shared: bool = False
    """Whether it was used before, so that its weights are no further ones."""

    @property
    def name(self) -> str:
        """As in the names of its weights."""
        return f"{self.operation}.{self.layer}" if self.layer else self.operation

    @property
    def in_words(self) -> str:
        return self.does if self.layer else f"{self.module}: {self.does}".removesuffix(": ")

    @property
    def end(self) -> bool:
        return self.module in ("input", "output")


def steps_of(
    network: Network, modules: Mapping[str, str], counter: FlopCounterMode | None = None
) -> list[Step]:
    """The steps of a network without memory: an operation, then its layers.

    A layer is what an operation calls, also inside of sequences. One without weights that changes
    the values of the one before, such as an activation, is in its step.

    modules  operation → its entry in the table of modules
    counter  of operations without a rule of shapes; made if it is needed, as it loads much
    """
    samples = {name: torch.empty(1, *size, device="meta") for name, size in network.inputs.items()}
    followed = _Followed(counter)
    for name, operation in network.operations.items():
        followed.known[operation] = Step(name, modules[name])
        for layer, module in _layers(operation) if name not in network.heads else ():
            of_layer = Step(name, modules[name], layer, _in_words(module))
            followed.known[module] = of_layer
    for name, sample in samples.items():
        followed.add(Step(name, "input"), sample)
    first = hooks.register_module_forward_pre_hook(followed.begin)
    last = hooks.register_module_forward_hook(followed.end)
    with torch.no_grad(), counter or nullcontext(), followed, first, last:
        values = network.features(samples)
        for name, outputs in network.heads.items():
            result = torch.empty(1, len(outputs), device="meta")
            followed.begin(network.operations[name], values[name])
            network.density(name, values[name]).log_prob(result)
            followed.end(network.operations[name], values[name], result)
            numbers = network.shapes[outputs[0]][0]
            values |= dict.fromkeys(outputs, result[:, :1].expand(1, numbers))
    if counter is None and not followed.complete:
        return steps_of(network, modules, FlopCounterMode(display=False))
    for name in network.outputs:
        makers = followed.makers_of(values[name])
        step = Step(name, "output", shape=_size(values[name]), sources=makers)
        followed.steps.append(step)
    return followed.steps


def _layers(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Where the layers of an operation are, and they."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _layers(child, f"{path}{name}.")
        elif not isinstance(child, nn.Identity | nn.Flatten):
            yield f"{path}{name}", child


def _in_words(module: nn.Module) -> str:
    """What a layer is: torch's class of it, and the sides of its kernel."""
    classes = [of_type for of_type in type(module).mro() if of_type.__module__[:9] == "torch.nn."]
    kind = type(module) if classes[0] is nn.Module else classes[0]
    kernel = getattr(module, "kernel_size", ())
    sides = [kernel] if isinstance(kernel, int) else kernel
    return f"{kind.__name__} {' × '.join(map(str, sides))}".rstrip()


class _Followed(ShapeRules):
    """A context in which calls of known operations and layers become steps."""

    def __init__(self, counter: FlopCounterMode | None) -> None:
        super().__init__()
        self.known: dict[nn.Module, Step] = {}
        self.steps: list[Step] = []
        self._counter = counter
        self._begun: list[tuple[int, int]] = []
        """Of each call that goes on the number of its step, and the multiplications before it."""
        self._made: dict[int, tuple[Tensor, list[int]]] = {}
        """Identity of a tensor → it, which keeps the identity, and the steps that made it."""

    def add(self, step: Step, made: Tensor) -> None:
        """Append a step that made a tensor."""
        self._made[id(made)] = made, [len(self.steps)]
        self.steps.append(replace(step, shape=_size(made)))

    def begin(self, module: nn.Module, taken: Any) -> None:
        """Append the step of a module, whose result and cost are not known yet.

        taken  what it was called with
        """
        if module in self.known:
            self._begun.append((len(self.steps), self._multiplications()))
            sources = self.makers_of(taken)
            self.steps.append(replace(self.known[module], sources=sources))

    def end(self, module: nn.Module, taken: Any, made: Tensor) -> None:
        """Complete the step of a module, and join it with another one.

        One that only changes the values of the layer before joins that; the only layer of an
        operation joins it.
        made  its result
        """
        if module not in self.known:
            return
        shared = replace(self.known[module], shared=True)
        self.known[module] = shared
        number, multiplied = self._begun.pop()
        step, *layers = self.steps[number:]
        del self.steps[number:]
        weights = sum(one.numel() for one in module.parameters() if one.requires_grad)
        cost = self._multiplications() - multiplied
        step = replace(step, shape=_size(made), weights=weights, multiplications=cost)
        last = self.steps[-1]
        inner = step.layer and last.layer and step.sources == [number - 1]
        if inner and not weights and not cost and step.shape == last.shape:
            step = replace(last, does=f"{last.does}, {step.does}")
            del self.steps[-1]
        if len(layers) == 1:
            step = replace(step, does=layers.pop().does)
        self.steps += [step, *layers]
        if not layers or max(self.makers_of(made), default=0) <= number:
            self._made[id(made)] = made, [len(self.steps) - 1]

    def _multiplications(self) -> int:
        """So far; what has a rule of shapes does not reach torch's counter."""
        of_torch = self._counter.get_total_flops() if self._counter else 0
        return int(self.operations + of_torch) // 2

    def makers_of(self, value: Any) -> list[int]:
        """The steps that made the tensors in a value."""
        known = [self._made[id(one)][1] for one in _tensors(value) if id(one) in self._made]
        return sorted({number for numbers in known for number in numbers})

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_function__(function, types, args, kwargs)
        makers = self.makers_of([*args, *(kwargs or {}).values()])
        self._made |= {id(tensor): (tensor, makers) for tensor in _tensors(result)}
        return result


def _size(made: Tensor) -> list[int]:
    return [*made.shape[2:], made.shape[1]]


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, which may be lists of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for element in value:
            yield from _tensors(element)

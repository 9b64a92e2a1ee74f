"""Shapes as networks see them, without the batch, and those of the results of common operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Shape = tuple[int, ...]
"""The shape of a sample between two operations, without the batch."""


def numbers_in(shapes: Mapping[str, Shape]) -> int:
    """How many numbers a sample has, by the shapes of its variables."""
    return sum(map(math.prod, shapes.values()))


class ShapeError(ValueError):
    """An operation does not fit the shape of its input; the message says what would."""


def from_spec(size: list[int]) -> Shape:
    """A shape as specs write it, channels last (VDI): [height, width, channels]."""
    return (size[-1], *size[:-1])


def written(shape: Shape) -> str:
    """A shape as a spec writes it."""
    return str([*shape[1:], shape[0]])


def require_image(shape: Shape) -> Shape:
    """Raises ShapeError unless the shape is (channel, height, width)."""
    if len(shape) != 3:
        raise ShapeError(
            f"needs an image [height, width, channels], but its input is {written(shape)}"
        )
    return shape


def is_vector(shape: Shape) -> bool:
    """Whether a sample is values in a row, or in rows of components, and no image."""
    return len(shape) == 3 and 1 in shape[1:]


def forms(shape: Shape, last_first: bool = False) -> dict[Shape, bool]:
    """The shapes of arrays that may hold a sample → whether their channels are last, in the order
    of preference.

    Axes of length 1 may be left out, so that (20,) is a vector, (1, 1, 20), and (3, 20) or (20, 3)
    are (3, 20, 1).
    last_first  whether channels are last rather than first where they may be both
    """
    made: dict[Shape, bool] = {}
    for last in (last_first, not last_first):
        sides = (*shape[1:], shape[0]) if last else shape
        ones = [axis for axis, side in enumerate(sides) if side == 1]
        for left_out in chain.from_iterable(
            combinations(ones, count) for count in range(len(ones) + 1)
        ):
            form = tuple(side for axis, side in enumerate(sides) if axis not in left_out)
            made.setdefault(form, last and len(shape) == 3 and shape[0] > 1)
    return made


AXES = {"simulation": 0, "channel": 1, "component": 1, "y": 2, "station": 2, "x": 3, "value": 3}
"""Name of an axis → its place in the order in which observations are kept."""


def order_of(shape: Shape, wanted: Shape, *told: Sequence[str]) -> Sequence[int]:
    """In which the axes of an array are sample, channel, y and x, so that it holds samples of a
    shape; else empty.

    told  the names of all axes, of which the first may be unknown; the first that fit count
    """
    possible: list[Sequence[str]] = []
    for axes in told:
        possible += [axes, [name for name in axes if name != "simulation"]]
    for names in possible:
        places = [AXES.get(name, -1 if index else 0) for index, name in enumerate(names)]
        order = sorted(range(len(places)), key=places.__getitem__)
        if len(places) == len(shape) and -1 not in places:
            ordered = tuple(shape[axis] for axis in order)
            if {ordered, ordered[1:]} & {*forms(wanted)}:
                return order
    return ()


Sizes = Sequence[int]

Result = tuple[Sizes, int] | None
"""Shape of the result, and operations; None if torch must decide, or has a better error."""


class ShapeRules(TorchFunctionMode):
    """A context in which common operations on the meta device get their shapes from the rules here,
    not from torch's.

    Torch's rules load its compiler, 820 modules: 0.8 s of processor time in each process, where
    laying a network of images out by the rules here takes 5 ms; `qexp validate` of an experience
    takes 1.7 s with them and 2.6 s without. Operations that have no rule here use torch's.

    operations  floating-point operations of matrix products and convolutions so far; a multiply-add
                counts as two, as in torch
    complete    whether these are all: False once torch was called for an operation that may compute
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.complete = 0, True

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        rule = RULES.get(function)
        if rule is not None and isinstance(args[0], Tensor | list | tuple):
            first = args[0] if isinstance(args[0], Tensor) else args[0][0]
            result = (
                rule(*args, **(kwargs or {}))
                if isinstance(first, Tensor) and first.is_meta
                else None
            )
            if result is not None and all(side > 0 for side in result[0]):
                self.operations += result[1]
                return torch.empty(result[0], dtype=first.dtype, device="meta")
        self.complete &= function.__name__ in OF_SHAPE
        return function(*args, **(kwargs or {}))


OF_SHAPE = {
    "__get__", "__getitem__", "chunk", "contiguous", "dim", "empty", "flatten", "is_contiguous",
    "numel", "pad", "reshape", "size", "sym_max", "view",
}  # fmt: skip
"""Functions that only read a tensor's properties, or change its view."""


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Result:
    if x.dim() < 2 or weight.dim() != 2 or x.shape[-1] != weight.shape[1]:
        return None
    return (*x.shape[:-1], weight.shape[0]), 2 * math.prod(x.shape) * weight.shape[0]


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sizes = 1,
    padding: int | str | Sizes = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
) -> Result:
    if x.dim() != weight.dim() or x.dim() < 3 or groups != 1 or x.shape[1] != weight.shape[1]:
        return None
    if isinstance(padding, str):
        return None
    sides = _windows(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return (x.shape[0], weight.shape[0], *sides), 2 * x.shape[0] * math.prod(sides) * weight.numel()


def _transposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sizes = 1,
    padding: int | Sizes = 0,
    output_padding: int | Sizes = 0,
    groups: int = 1,
    dilation: int | Sizes = 1,
) -> Result:
    count = x.dim() - 2
    if x.dim() != weight.dim() or count < 1 or groups != 1 or x.shape[1] != weight.shape[0]:
        return None
    settings = (_each(value, count) for value in (stride, padding, output_padding, dilation))
    sides = [
        (side - 1) * step - 2 * pad + apart * (wide - 1) + more + 1
        for side, wide, step, pad, more, apart in zip(
            x.shape[2:], weight.shape[2:], *settings, strict=True
        )
    ]
    operations = 2 * math.prod(x.shape) * math.prod(weight.shape[1:])
    return (x.shape[0], weight.shape[1], *sides), operations


def _average_pooled(
    x: Tensor,
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    ceil_mode: bool = False,
    *more: Any,
    dilation: int | Sizes = 1,
) -> Result:
    if x.dim() != 4 or ceil_mode:
        return None
    return (*x.shape[:2], *_windows(x.shape[2:], kernel_size, stride, padding, dilation)), 0


def _joined(tensors: Sequence[Tensor], dim: int = 0, **options: Any) -> Result:
    first = tensors[0].shape
    others = [tensor.shape for tensor in tensors]
    axis = dim % len(first)
    left = first[:axis]
    right = first[axis + 1 :]
    if any((shape[:axis], shape[axis + 1 :]) != (left, right) for shape in others):
        return None
    return (*left, sum(shape[axis] for shape in others), *right), 0


def _combined(x: Tensor, other: Any, **options: Any) -> Result:
    if not isinstance(other, Tensor):
        return x.shape, 0
    if other.dtype != x.dtype:
        return None
    try:
        return np.broadcast_shapes(x.shape, other.shape), 0
    except ValueError:
        return None


def _mean(
    x: Tensor, dim: int | Sizes | None = None, keepdim: bool = False, **options: Any
) -> Result:
    if dim is None or options:
        return None
    averaged = {axis % x.dim() for axis in ([dim] if isinstance(dim, int) else dim)}
    sides = []
    for axis, side in enumerate(x.shape):
        if axis not in averaged:
            sides.append(side)
        elif keepdim:
            sides.append(1)
    return sides, 0


def _windows(
    sides: Sizes,
    kernel: int | Sizes,
    stride: int | Sizes | None,
    padding: int | Sizes,
    dilation: int | Sizes = 1,
) -> list[int]:
    """The number of windows along each side; without a stride they do not overlap."""
    count = len(sides)
    stride = stride or kernel
    settings = (_each(value, count) for value in (kernel, stride, padding, dilation))
    return [
        (side + 2 * pad - apart * (wide - 1) - 1) // step + 1
        for side, wide, step, pad, apart in zip(sides, *settings, strict=True)
    ]


def _each(value: int | Sizes, count: int) -> Sizes:
    return [value] * count if isinstance(value, int) else value


SHAPE_KEEPING = (
    functional.silu, functional.leaky_relu, functional.relu, functional.elu, functional.selu,
    functional.gelu, functional.hardtanh, functional.mish, functional.softsign, functional.softmax,
    functional.softplus, functional.hardsigmoid, functional.log_softmax, functional.threshold,
    functional.dropout, functional.batch_norm, functional.layer_norm, torch.sigmoid, torch.tanh,
    torch.asinh, torch.exp, torch.ones_like,
)  # fmt: skip
"""Functions whose result has the shape of their first argument."""

RULES: Mapping[Callable[..., Any], Callable[..., Result]] = {
    functional.linear: _linear,
    **dict.fromkeys(
        (torch.matmul, Tensor.matmul, Tensor.__matmul__),
        lambda x, other: _linear(x, other.mT) if other.dim() == 2 else None,
    ),
    **dict.fromkeys(
        (functional.conv1d, functional.conv2d, torch.conv1d, torch.conv2d), _convolution
    ),
    **dict.fromkeys((functional.conv_transpose2d, torch.conv_transpose2d), _transposed_convolution),
    functional.avg_pool2d: _average_pooled,
    **dict.fromkeys(
        (functional.max_pool2d, torch.max_pool2d),
        lambda x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False: (
            _average_pooled(
                x, kernel_size, stride, padding, ceil_mode or return_indices, dilation=dilation
            )
        ),
    ),
    functional.adaptive_avg_pool2d: lambda x, output_size: (
        ((*x.shape[:2], *_each(output_size, 2)), 0) if x.dim() == 4 else None
    ),
    torch.cat: _joined,
    **dict.fromkeys((Tensor.mul, Tensor.add, Tensor.sub), _combined),
    Tensor.div: lambda x, other, **options: (
        _combined(x, other) if x.is_floating_point() and not options else None
    ),
    Tensor.mean: _mean,
    **dict.fromkeys(SHAPE_KEEPING, lambda x, *more, **options: (x.shape, 0)),
}

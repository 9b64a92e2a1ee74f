"""Operations on rows of values, such as the bands of a spectrum, and dense networks of several
layers.

Convolutions and normalisations are written for a stack of networks of one architecture, each with
its own weights. A single network is a stack of one, so that its results have the same bits as in a
larger stack. In memory values are ordered as (network, channel, position, sample): a convolution is
then one matrix product per network, and values that are normalised together are contiguous. Modules
take and return the usual (sample, channel, position).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qexp.networks.layers import ACTIVATIONS, ONE_DNN, of_networks, product
from qexp.networks.shapes import Shape, ShapeError, written


def sequence_convolutions(
    shape: Shape,
    /,
    filters: Sequence[int],
    kernel_size: int = 3,
    strides: int | Sequence[int] = 1,
    activation: str = "relu",
    use_bias: bool = True,
    batch_norm: bool = False,
    l2: float = 0.0,
) -> nn.Module:
    """Convolutions along a row of values: [length], or [length, channels].

    Each is followed by batch normalisation if `batch_norm`, and by the activation.
    """
    steps = [strides] * len(filters) if isinstance(strides, int) else list(strides)
    if len(steps) != len(filters):
        raise ShapeError(
            f"{len(steps)} strides {steps} for {len(filters)} filters {list(filters)}; give one"
            " stride for each, or one"
        )
    if len(shape) > 2:
        raise ShapeError(
            "needs a row of values [length] or [length, channels], but its input is"
            f" {written(shape)}"
        )
    layers: list[nn.Module] = [AsSequence()]
    channels = shape[0] if len(shape) == 2 else 1
    for count, step in zip(filters, steps, strict=True):
        layers.append(SequenceConvolution(channels, count, kernel_size, step, bias=use_bias))
        if batch_norm:
            layers.append(SequenceNorm(count))
        layers.append(ACTIVATIONS[activation]())
        channels = count
    return nn.Sequential(*layers)


def one_d_cnn(
    shape: Shape,
    /,
    units: int = 1,
    filters: Sequence[int] = (64, 64, 128, 128, 256),
    kernel_size: int = 3,
    l2: float = 0.0,
) -> nn.Module:
    """Convolutions along a row of values with batch norm and ReLU; mean over positions; linear
    layer (DL-IM).

    They are without bias. The first one with more channels than the one before it halves the
    length.
    """
    wider = [second > first for first, second in pairwise(filters)]
    first = wider.index(True) + 1 if any(wider) else len(filters)
    strides = [2 if position == first else 1 for position in range(len(filters))]
    blocks = sequence_convolutions(
        shape, filters, kernel_size, strides, use_bias=False, batch_norm=True
    )
    network = nn.Sequential(*blocks.children(), MeanOfPositions(), nn.Linear(filters[-1], units))
    network.initial_scale = 1.0  # type: ignore[assignment] # torch's own initialisation, as in DL-IM
    return network


class AsSequence(nn.Module):
    """(sample, length) becomes (sample, 1, length)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, None] if x.dim() == 2 else x


class MeanOfPositions(nn.Module):
    """The mean over positions: (sample, channel, position) → (sample, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return x.mean(dim=-1)
        y: Tensor = _apply(_Mean, x[None]).squeeze(0)
        return y


class SequenceConvolution(nn.Conv1d):
    """A convolution centred on every stride-th position, with zeros beyond the ends."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return self._as_product(x)
        weight = self.weight
        kind = x.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            cast = torch.get_autocast_dtype(kind)
            x = x.to(cast)
            weight = weight.to(cast)
        y: Tensor = _apply(_Convolution, x[None], weight[None], self.stride[0])[0].squeeze(0)
        return y if self.bias is None else y + self.bias[:, None]

    def _as_product(self, x: Tensor) -> Tensor:
        """A convolution by standard operations; `vmap` of torch's needs a fixed batch size."""
        (kernel_size,), (stride,) = self.kernel_size, self.stride
        last = (x.shape[-1] - 1) // stride * stride
        padded = functional.pad(x, ((kernel_size - 1) // 2, kernel_size))
        windows = [
            padded[..., offset : offset + last + 1 : stride] for offset in range(kernel_size)
        ]
        results = self.weight.flatten(1) @ torch.stack(windows, dim=2).flatten(1, 2)
        return results if self.bias is None else results + self.bias[:, None]


class SequenceNorm(nn.BatchNorm1d):
    """Batch normalisation of (sample, channel, position), or (sample, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            single: Tensor = self(x[..., None]).squeeze(-1)
            return single
        # of a trained network; standard operations cannot write into buffers
        if torch.compiler.is_exporting():
            assert self.running_mean is not None
            assert self.running_var is not None
            factor = self.weight / torch.sqrt(self.running_var + self.eps)
            return x * factor[:, None] + (self.bias - self.running_mean * factor)[:, None]
        if self.training and x.shape[0] * x.shape[2] < 2:
            raise ValueError(
                f"cannot normalise one value per channel; its input is {list(x.shape)}"
            )
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        weights = (self.weight, self.bias, self.running_mean, self.running_var)
        with_network = [weight[None] for weight in weights if weight is not None]
        y: Tensor = _apply(
            _Normalisation, x[None], *with_network, self.training, self.momentum, self.eps
        )[0].squeeze(0)
        return y


def _apply(operation: type[torch.autograd.Function], *arguments: Any) -> Any:
    if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
        return operation.apply(*arguments)
    # The same without what a gradient needs, for which torch looks at the function's signature at
    # every call.
    return operation.forward(*arguments)


class _PerNetwork(torch.autograd.Function):
    """Tensors have a leading dimension for networks: 1, or their number under `vmap`."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Sequence[int | None], *arguments: Any) -> Any:
        def together(value: Any, axis: int | None) -> Any:
            if not isinstance(value, Tensor):
                return value
            return of_networks(value, axis, info.batch_size).flatten(0, 1)

        results = _apply(cls, *map(together, arguments, in_dims))
        if isinstance(results, Tensor):
            return results[:, None], 0
        return tuple(result[:, None] for result in results), (0,) * len(results)


class _Convolution(_PerNetwork):
    """Of (network, sample, channel, position) and (network, filter, channel, kernel)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """The result, (network, sample, filter, position), and the columns that it is made of."""
        networks, filters, _, kernel_size = weight.shape
        columns = _columns(x.permute(0, 2, 3, 1).contiguous(), kernel_size, stride)
        _, _, _, results, samples = columns.shape
        y = _products(weight.flatten(2), columns.view(networks, -1, results * samples))
        return y.view(networks, filters, results, samples).permute(0, 3, 1, 2), columns

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, Tensor]
    ) -> None:
        x, weight, ctx.stride = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight, output[1])
        ctx.length = x.shape[-1]

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor, _: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        weight, columns = ctx.saved_tensors
        flat = gradient.permute(0, 2, 3, 1).flatten(2)
        to_x = to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = _products(flat, columns.flatten(3).flatten(1, 2).mT).view(weight.shape)
        if ctx.needs_input_grad[0]:
            to_columns = _products(weight.flatten(2).mT, flat).view(columns.shape)
            to_x = _summed_columns(to_columns, ctx.length, ctx.stride).permute(0, 3, 1, 2)
        return to_x, to_weight, None


class _Normalisation(_PerNetwork):
    """(network, sample, channel, position), by network and channel; sets running means in place."""

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_variance: Tensor,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        values = x.permute(0, 2, 3, 1).contiguous()
        together = values.flatten(2)
        if training:
            mean = together.mean(-1)
            centred = together - mean[..., None]
            variance = torch.linalg.vector_norm(centred, dim=-1).square() / together.shape[-1]
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = variance * (together.shape[-1] / (together.shape[-1] - 1))
            running_variance.lerp_(unbiased.to(running_variance.dtype), momentum)
        else:
            mean = running_mean.clone()
            variance = running_variance
            centred = together - mean[..., None]
        inverse_deviation = torch.rsqrt(variance + epsilon)
        y = centred.mul_((weight * inverse_deviation)[..., None]).add_(bias[..., None])
        return y.view(values.shape).permute(0, 3, 1, 2), mean, inverse_deviation

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        x, weight, _, running_mean, running_variance, ctx.training, _, ctx.epsilon = inputs
        _, mean, inverse_deviation = output
        ctx.mark_non_differentiable(mean, inverse_deviation)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, running_mean, running_variance, mean, inverse_deviation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, *state = ctx.saved_tensors
        together, gradients = (
            each.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)[None] for each in (x, gradient)
        )
        networks, _, channels, length = x.shape
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradients,
            together,
            *(values.flatten() for values in state),
            ctx.training,
            ctx.epsilon,
            ctx.needs_input_grad[:3],
        )
        if to_x is not None:
            to_x = to_x.view(networks, channels, length, -1).permute(0, 3, 1, 2)
        to_weight, to_bias = (
            each if each is None else each.view(networks, channels) for each in (to_weight, to_bias)
        )
        return to_x, to_weight, to_bias, None, None, None, None, None


class _Mean(_PerNetwork):
    """Mean over positions of (network, sample, channel, position); gradients lie as values do."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).mean(2).mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.length = inputs[0].shape[-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        each: Tensor = (gradient / ctx.length).mT[:, :, None]
        return each.expand(-1, -1, ctx.length, -1).contiguous().permute(0, 3, 1, 2)


def _columns(values: Tensor, kernel_size: int, stride: int) -> Tensor:
    """(network, channel, position, sample) → the inputs of each result, (network, channel, kernel,
    result, sample).
    """
    networks, channels, length, samples = values.shape
    columns = values.new_empty(
        networks,
        channels,
        kernel_size,
        -(-length // stride),
        samples,
    )
    for offset, results, inputs in _windows(length, kernel_size, stride):
        columns[:, :, offset, : results.start] = 0
        columns[:, :, offset, results] = values[:, :, inputs]
        columns[:, :, offset, results.stop :] = 0
    return columns


def _summed_columns(columns: Tensor, length: int, stride: int) -> Tensor:
    """The transpose of `_columns`: (network, channel, position, sample)."""
    kernel_size = columns.shape[2]
    centre = (kernel_size - 1) // 2
    if stride == 1:  # at stride 1 the centre of the kernel reads every position
        values = columns[:, :, centre].clone()
    else:
        values = columns.new_zeros(*columns.shape[:2], length, columns.shape[4])
        centre = kernel_size
    for offset, results, inputs in _windows(length, kernel_size, stride):
        if offset != centre:
            values[:, :, inputs] += columns[:, :, offset, results]
    return values


def _windows(length: int, kernel_size: int, stride: int) -> list[tuple[int, slice, slice]]:
    """For each offset in the kernel: the results whose input there is not padding, and these
    inputs' positions.
    """
    padding = (kernel_size - 1) // 2
    windows = []
    for offset in range(kernel_size):
        first = max(-(-(padding - offset) // stride), 0)
        last = min((length - 1 + padding - offset) // stride, -(-length // stride) - 1)
        start = first * stride + offset - padding
        stop = last * stride + offset - padding + 1
        results = slice(first, max(last + 1, first))
        windows.append(
            (offset, results, slice(start, stop, stride) if last >= first else slice(0, 0))
        )
    return windows


LARGE_PRODUCT = 1e6
"""Operations in a matrix product above which one call per network is faster than one."""


def _products(a: Tensor, b: Tensor) -> Tensor:
    """(network, i, j) · (network, j, k) → (network, i, k)."""
    operations = 2 * a.shape[1] * a.shape[2] * b.shape[2]
    if (
        ONE_DNN is None
        or operations < LARGE_PRODUCT
        or a.dtype != torch.float32
        or a.device.type != "cpu"
    ):
        return torch.bmm(a, b)
    if len(a) == 1:
        return product(a[0], b[0].mT)[None]
    results = a.new_empty(len(a), a.shape[1], b.shape[2])
    for result, left, right in zip(results.unbind(), a.unbind(), b.mT.unbind(), strict=True):
        result.copy_(product(left, right))
    return results

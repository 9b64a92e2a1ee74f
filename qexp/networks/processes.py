"""Several processes that train one network: each computes the gradients of its samples of a batch,
and they are added.

All have the same weights, and draw the random numbers of the whole batch, so that losses are those
of one process but for rounding. The first has the run: its record and files, validation and
evaluation.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from qexp.base.machine import FINDING, STARTED_TOGETHER
from qexp.errors import QexpError

LONGEST_WAIT = timedelta(minutes=30)
"""For a process that does not answer while it validates or writes; an ended one is seen at once."""

T = TypeVar("T")


class Processes:
    """The processes that train a network; by default this one alone, which changes nothing."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.first = rank == 0
        self.count = count
        self._rank = rank
        self._samples, self._share = 0, 1.0
        """Samples of the present batch, of all processes, and the share of its losses here."""
        self._mine: slice | None = None
        """Which samples are computed here; None if all are, in each process."""

    def of_first(self, value: T) -> T:
        """The first process's value."""
        values = [value]
        if self.count > 1:
            with _answers():
                dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def any(self, here: bool) -> bool:
        """Whether it is true in one of the processes."""
        return here if self.count == 1 else bool(_add(torch.tensor(float(here))))

    def mine(self, samples: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The samples of a batch that this process computes: all, if they are fewer than there are
        processes.
        """
        self._samples = size = len(next(iter(samples.values())))
        if self.count == 1 or size < self.count:
            self._mine = None
            self._share = 1 / self.count
            return samples
        start, stop = (size * rank // self.count for rank in (self._rank, self._rank + 1))
        self._mine = slice(start, stop)
        self._share = (stop - start) / size
        return {name: values[self._mine] for name, values in samples.items()}

    def backward(
        self, objective: Tensor, losses: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> Any:
        """Set the gradients of an objective, a mean over samples. Returns the losses of the whole
        batch, (loss,).
        """
        means = torch.stack([loss.detach() for loss in losses])
        if self.count == 1:
            objective.backward()
            return means
        (objective * self._share).backward()
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        added = [self._share * means, *gradients]
        sums = _add(torch.cat([values.reshape(-1) for values in added])).split(
            [values.numel() for values in added]
        )
        for gradient, total in zip(gradients, sums[1:], strict=True):
            gradient.copy_(total.view_as(gradient))
        return sums[0]

    def adapt(self, network: nn.Module) -> None:
        """Make batch statistics and dropout in training those of whole batches."""
        for module in network.modules() if self.count > 1 else ():
            if isinstance(module, _BatchNorm):
                vars(module)["forward"] = partial(self._normalised, module)
            elif isinstance(module, nn.Dropout):
                vars(module)["forward"] = partial(self._dropped, module)

    def _dropped(self, module: nn.Dropout, x: Tensor) -> Tensor:
        if self._mine is None or not module.training:
            return type(module).forward(module, x)
        # Random numbers are drawn in the order of memory, which differs if channels are last.
        ones = x.new_empty_strided(
            [self._samples, *x.shape[1:]], [x[0].numel(), *x.stride()[1:]]
        ).fill_(1)
        return x * functional.dropout(ones, module.p)[self._mine]

    def _normalised(self, module: Any, x: Tensor) -> Any:
        if self._mine is None or not module.training:
            return type(module).forward(module, x)
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        values = x.float()
        count = x.shape[2:].numel() * self._samples
        summed: Callable[[Tensor], Tensor] = _Sum.apply
        mean = summed(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = summed(centred.square().sum(axes)) / count
        with torch.no_grad():
            module.num_batches_tracked.add_(1)
            module.running_mean.lerp_(mean, module.momentum)
            module.running_var.lerp_(variance * (count / (count - 1)), module.momentum)
        factor = (module.weight * torch.rsqrt(variance + module.eps)).view(shape)
        return (centred * factor + module.bias.view(shape)).to(x.dtype)


def join() -> Processes:
    """Wait until all processes that were started together are there. Raises QexpError."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with _answers():
        dist.init_process_group(timeout=LONGEST_WAIT)  # gloo, and NCCL for tensors on GPUs
    atexit.register(dist.destroy_process_group)
    for name in FINDING:  # programs that this process starts do not belong to them
        del os.environ[name]
    return together()


def together() -> Processes:
    """The processes that have joined, this one included."""
    joined = STARTED_TOGETHER > 1 and dist.is_initialized()
    return Processes(dist.get_rank(), dist.get_world_size()) if joined else Processes()


def _add(values: Tensor) -> Tensor:
    """Replace values by their sums over the processes."""
    with _answers():
        dist.all_reduce(values)
    return values


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise QexpError(
            f"another of the {STARTED_TOGETHER} processes has ended, or did not answer"
        ) from error


class _Sum(torch.autograd.Function):
    """The sum over the processes. What each adds contributes to the losses of all."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return _add(values.clone())

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _add(gradient.clone())

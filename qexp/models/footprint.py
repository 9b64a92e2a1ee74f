"""A lower bound of the memory that training a network takes, found on the meta device, in no memory and little time.

Not counted is, for example, the workspace of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from qexp.models.layout import Layout
from qexp.models.network import Network

SAMPLES = 2
"""Batch size for which memory is counted; it is proportional to the batch size."""


def of_weights(network: Network) -> dict[str, int]:
    """Operation → bytes of its weights."""
    return {name: sum(map(_bytes, operation.parameters())) for name, operation in network.operations.items()}


def of_constants(network: Network) -> dict[str, int]:
    """Operation → bytes of its buffers, which are not trained."""
    return {name: sum(map(_bytes, operation.buffers())) for name, operation in network.operations.items()}


def most_kept_per_sample(network: Network) -> float:
    """An upper bound of the bytes per sample that the forward pass keeps for the backward pass, known at once; infinity
    for a network with operations whose shapes only torch knows.

    network  on the meta device
    """
    samples = {name: torch.empty(1, *shape, device="meta") for name, shape in network.inputs.items()}
    with torch.no_grad(), Layout() as layout:
        network(samples)
    return float(layout.kept * torch.float32.itemsize) if layout.complete else math.inf


def kept_per_sample(network: Network) -> dict[str, int]:
    """Operation → bytes per sample that its forward pass keeps for the backward pass.

    network  on the meta device
    """
    counted = _Counted({_storage(tensor) for tensor in [*network.parameters(), *network.buffers()]})
    hooks = [
        operation.register_forward_pre_hook(counted.entering(name)) for name, operation in network.operations.items()
    ]
    samples = {name: torch.empty(SAMPLES, *shape, device="meta") for name, shape in network.inputs.items()}
    try:
        with torch.enable_grad(), _FusedAttention(), saved_tensors_hooks(counted.keep, counted.give_back):
            network(samples)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: counted.bytes.get(name, 0) // SAMPLES for name in network.operations}


class _Counted:
    """Counts the bytes of tensors that are kept, by operation: without weights, and once if several layers keep one."""

    def __init__(self, known: set[int]) -> None:
        self.bytes: dict[str, int] = {}
        self._known, self._operation = known, ""
        self._kept: list[Tensor] = []
        """The tensors that were counted, kept alive so that no other one gets their id."""

    def entering(self, operation: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            self._operation = operation

        return note

    def keep(self, tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage not in self._known:
            self._known.add(storage)
            self._kept.append(tensor)
            self.bytes[self._operation] = self.bytes.get(self._operation, 0) + tensor.untyped_storage().nbytes()
        return tensor

    def give_back(self, tensor: Tensor) -> Tensor:
        return tensor


class _FusedAttention(TorchFunctionMode):
    """Attention as CPUs compute it, without a matrix of all pairs of tokens, which the meta device would keep."""

    def __torch_function__(
        self, called: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if called is functional.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query * value.mean(dim=-2, keepdim=True)
        return called(*args, **(kwargs or {}))


def _storage(tensor: Tensor) -> int:
    """A key that is the same for tensors that are views of the same memory."""
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()

"""Memory that training takes: whether the weights and the samples of an experience are too large
for this machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from qexp.base import machine
from qexp.base.files import in_bytes
from qexp.base.tables import Tables, built
from qexp.networks.network import Network, bytes_of
from qexp.spec.reading import Document, Finding

TOLERATED_EXCESS = 2
"""Factor by which training may exceed this machine's memory: it may be meant for a larger one."""

WEIGHTS_AND_GRADIENTS = 2

BYTES_OF_NUMBER = torch.float32.itemsize
"""Bytes of each number in a sample."""


SHARE_OF_DATA = 0.5
"""Of the free memory of a GPU, at most, for data that stay there while a network is trained."""


def room_for_data(device: torch.device) -> int:
    """Bytes of data that a device can keep; 0 on a processor, which reads them where they are."""
    return int(SHARE_OF_DATA * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


@dataclass(frozen=True)
class Samples:
    """The samples of an experience."""

    of_epoch: int
    """Number of training samples, at least those of an epoch."""
    kept: float = 0
    """Bytes of the samples in memory at a time: all of an epoch, or those that are not for
    training.
    """
    key: str = "batch_size"
    """Key of the experience for their number."""


def memory_of_model(network: Network, available: int) -> Iterator[Finding]:
    """Problems of a model whose weights could not be trained."""
    copies = dict.fromkeys(network.operations, WEIGHTS_AND_GRADIENTS)
    yield from (
        finding for _, finding in _too_large(_of_operations(network, copies), Samples(0), available)
    )


def memory_of_experience(
    document: Document, samples: Samples, network: Network, tables: Tables, available: int
) -> Iterator[tuple[str, Finding]]:
    """Problems of an experience that is valid otherwise: in the experience, or in its model."""
    copies = dict.fromkeys(network.operations, WEIGHTS_AND_GRADIENTS + _state(document, tables))
    pretrain = document["pretrain"]
    if pretrain is not None and pretrain["epochs_frozen"] is None:
        copies |= dict.fromkeys(pretrain["freeze"], 1)  # these weights are never trained
    weights = {
        name: document.get("members", 1) * size
        for name, size in _of_operations(network, copies).items()
    }
    batch = min(document["batch_size"], samples.of_epoch)
    of_batch = BYTES_OF_NUMBER * batch * sum(map(math.prod, network.inputs.values()))
    if of_batch > samples.kept:
        samples = Samples(samples.of_epoch, of_batch, "batch_size")
    yield from _too_large(weights, samples, available)


def _too_large(
    weights: Mapping[str, float], samples: Samples, available: int
) -> Iterator[tuple[str, Finding]]:
    """Findings if weights and samples, without what is computed of them, are much larger than this
    machine's memory.

    weights  operation → bytes of its weights, with everything of the same size that training keeps
    """
    of_weights = sum(weights.values())
    total = of_weights + samples.kept
    if total <= TOLERATED_EXCESS * available:
        return
    has = (
        f"this machine has {in_bytes(available)}"
        if available < machine.LARGEST_MEMORY
        else "no machine has as much"
    )
    comparison = f"training takes {in_bytes(total)}, but {has}"
    if of_weights >= samples.kept:
        name = max(weights, key=lambda name: weights[name])
        message = f"{in_bytes(weights[name])} to train its weights: {comparison}; make it smaller"
        yield "model", (("operations", name), message)
    else:
        yield (
            "experience",
            ((samples.key,), f"{in_bytes(samples.kept)} for samples: {comparison}; use fewer"),
        )


def _of_operations(network: Network, copies: Mapping[str, float]) -> dict[str, float]:
    """Operation → bytes of its weights and of what training keeps beside them.

    copies  numbers that are kept for each weight of an operation
    """
    return {
        name: copies[name] * bytes_of(operation.parameters()) + bytes_of(operation.buffers())
        for name, operation in network.operations.items()
    }


def _state(document: Document, tables: Tables) -> float:
    """Numbers that the optimizer keeps for each weight, found by a step with a small weight."""
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros_like(weight)
    optimizer = built(tables["optimizers"], document["optimizer"], [weight], 0.1)
    optimizer.step()
    kept = optimizer.state[weight].values()
    return sum(isinstance(one, torch.Tensor) and one.shape == weight.shape for one in kept)

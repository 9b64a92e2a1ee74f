"""Whether training fits into the machine's memory: absurd sizes are refused before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from qexp import machine
from qexp.files import in_bytes
from qexp.networks.network import (
    Network,
    footprint_of_constants,
    footprint_of_weights,
    kept_per_sample,
    most_kept_per_sample,
)
from qexp.spec import defaults
from qexp.spec.finding import Finding
from qexp.tables import Tables, built

Document = dict[str, Any]

TOLERANCE = 2
"""Factor by which training may exceed this machine's memory: it may be meant for a larger one."""

WEIGHTS_AND_GRADIENTS = 2

NUMBER = torch.float32.itemsize
"""Bytes of each number in a sample."""

IN_EXPERIENCE, IN_MODEL = "experience", "model"
"""The document that a finding is about."""


@dataclass(frozen=True)
class Samples:
    """The samples of an experience."""

    of_epoch: int
    """Number of training samples, at least those of an epoch."""
    kept: float = 0
    """Bytes of the samples in memory at a time: all of an epoch, or those that are not for training."""
    key: str = "batch_size"
    """Key of the experience for their number."""


@dataclass(frozen=True)
class Needs:
    """The memory that training needs [bytes]."""

    weights: Mapping[str, float]
    """Operation → its weights, with everything of the same size that training keeps."""
    batch: int
    shrunk: float = 1
    """Size of a number that is kept for the backward pass, relative to single precision."""
    samples: float = 0
    """All samples that are in memory at a time."""

    def total(self, of_sample: float) -> float:
        """of_sample  what is kept of each sample of the batch for the backward pass"""
        return sum(self.weights.values()) + self.batch * of_sample + self.samples


def of_model(network: Network, available: int) -> Iterator[Finding]:
    """Problems of a model that could not be trained even on a single sample."""
    copies = dict.fromkeys(network.operations, WEIGHTS_AND_GRADIENTS)
    needs = Needs(_of_operations(network, copies), 1)
    yield from (finding for _, finding in _too_large(needs, network, available, ""))


def of_experience(
    document: Document, samples: Samples, network: Network, tables: Tables, available: int
) -> Iterator[tuple[str, Finding]]:
    """Problems of an experience that is valid otherwise: in the experience, or in its model."""
    copies = dict.fromkeys(network.operations, WEIGHTS_AND_GRADIENTS + _state(document, tables))
    copies |= dict.fromkeys(_frozen(document), 1)
    members = document.get("members", 1)
    shrunk = 1 if document.get("precision", "float32") == "float32" else 0.5
    needs = Needs(
        {name: members * size for name, size in _of_operations(network, copies).items()},
        min(document["batch_size"], samples.of_epoch),
        shrunk,
        samples.kept,
    )
    yield from _too_large(needs, network, available, samples.key)


def _too_large(needs: Needs, network: Network, available: int, count: str) -> Iterator[tuple[str, Finding]]:
    """count  the key of an experience that says how many samples there are"""
    most = TOLERANCE * available
    if needs.total(needs.shrunk * most_kept_per_sample(network)) <= most:
        return  # to count exactly takes a second, as torch loads its compiler for it
    kept = {name: needs.shrunk * size for name, size in kept_per_sample(network).items()}
    of_weights, of_one = sum(needs.weights.values()), sum(kept.values())
    of_batch = needs.batch * of_one
    total = needs.total(of_one)
    if total <= most:
        return
    has = f"this machine has {in_bytes(available)}" if available < machine.LARGEST else "no machine has as much"
    whole = f"training takes {in_bytes(total)}, but {has}"
    if of_weights >= max(of_batch, needs.samples):
        name = max(needs.weights, key=lambda name: needs.weights[name])
        message = f"{in_bytes(needs.weights[name])} to train its weights: {whole}; make it smaller"
        yield IN_MODEL, (("operations", name), message)
    elif of_batch >= needs.samples:
        name = max(kept, key=lambda name: kept[name])
        share = f"{in_bytes(kept[name])} of each sample"
        if needs.batch == 1 or of_one > most:
            message = f"keeps {share} for the backward pass: {whole}; make it or its input smaller"
            yield IN_MODEL, (("operations", name), message)
        else:
            message = f"{in_bytes(of_batch)} for the backward pass of a batch, '{name}' alone {share}: {whole}"
            yield IN_EXPERIENCE, (("batch_size",), f"{message}; use a smaller batch")
    else:
        yield IN_EXPERIENCE, ((count,), f"{in_bytes(needs.samples)} for samples: {whole}; use fewer")


def _of_operations(network: Network, copies: Mapping[str, float]) -> dict[str, float]:
    """Operation → bytes of its weights and of what training keeps beside them.

    copies  numbers that are kept for each weight of an operation
    """
    weights, constants = footprint_of_weights(network), footprint_of_constants(network)
    return {name: copies[name] * weights[name] + constants[name] for name in weights}


def _frozen(document: Document) -> list[str]:
    """Operations whose weights are never trained."""
    pretrain = document.get("pretrain")
    if not isinstance(pretrain, dict) or pretrain.get("epochs_frozen") is not None:
        return []
    return pretrain.get("freeze") or []


def _state(document: Document, tables: Tables) -> float:
    """Numbers that the optimizer keeps for each weight, found by a step with a small weight."""
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros_like(weight)
    description = defaults.long_form(document["optimizer"], tables["optimizers"])
    optimizer = built(tables["optimizers"], description, [weight], 0.1)
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(value.numel() for value in kept if value.shape == weight.shape) / weight.numel()

"""Losses

That of a posterior head takes a density in place of the estimate, and the true values of all its
outputs together.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qexp.base.tables import Entry, number
from qexp.networks.heads import Density
from qexp.networks.network import Network

Loss = Callable[[Any, Tensor], Tensor]
"""Estimate and truth, (batch, ...) each, transformed and as the network sees them → a number."""

OF_POSTERIORS = "negative_log_likelihood"
"""The loss of outputs that a posterior head makes, and of no others."""

SMALLEST_TRUTH = 1e-7
"""Lower bound of |truth| in relative errors (as in Keras)."""


def mean_relative_error(estimate: Tensor, truth: Tensor) -> Tensor:
    """Mean of |estimate − truth| / |truth|, in percent."""
    return 100 * ((estimate - truth).abs() / truth.abs().clamp(min=SMALLEST_TRUTH)).mean()


def huber(delta: float = 1.0) -> Loss:
    """Squared error up to delta, absolute error beyond."""
    return partial(functional.huber_loss, delta=delta)


def power(exponent: float) -> Loss:
    """Mean of |error| to a power: 1 gives the conditional median, 2 the mean, large powers the
    mid-range.
    """
    return lambda estimate, truth: (estimate - truth).abs().pow(exponent).mean()


def negative_log_likelihood(density: Density, truth: Tensor) -> Tensor:
    """Mean of −log p(truth), where `truth` is (batch, output)."""
    return density.losses(truth).mean()


@dataclass(frozen=True)
class OfPresent:
    """A loss over the samples of a batch that have the output; 0 if none has it.

    Of samples that lack it, or one of the outputs of a posterior head, the truth is NaN.
    """

    loss: Loss

    def __call__(self, estimate: Any, truth: Tensor) -> Tensor:
        present = ~torch.isnan(truth).flatten(1).any(dim=1)
        known = torch.where(present.view(-1, *[1] * (truth.dim() - 1)), truth, 0.0)
        density = isinstance(estimate, Density)
        of_samples = estimate.losses(known) if density else torch.vmap(self.loss)(estimate, known)
        # not those of the samples alone, whose number would have to be known on a GPU
        return torch.where(present, of_samples, 0.0).sum() / present.sum().clamp(min=1)


def of_present(
    losses: Mapping[str, Loss], network: Network, absent: Collection[str]
) -> dict[str, Loss]:
    """Losses over the samples that have an output, where some may lack it."""
    chosen = dict(losses)
    for name, loss in losses.items():
        if not set(network.heads.get(name, (name,))).isdisjoint(absent):
            chosen[name] = OfPresent(loss)
    return chosen


LOSSES: dict[str, Entry] = {
    "mse": Entry(lambda: functional.mse_loss, {}, "Mean squared error.", {"type": "mse"}),
    "mae": Entry(
        lambda: functional.l1_loss,
        {},
        "Mean absolute error; its minimum is the conditional median.",
        {"type": "mae"},
    ),
    "mre": Entry(
        lambda: mean_relative_error, {}, "Mean relative error, in percent.", {"type": "mre"}
    ),
    "power": Entry.documented(
        power,
        {"type": "power", "parameters": {"exponent": 3}},
        exponent=number("the power", least=1),
    ),
    "huber": Entry.documented(
        huber,
        {"type": "huber", "parameters": {"delta": 1.0}},
        delta=number(
            "error at which one form turns into the other, of transformed values", above=0
        ),
    ),
    OF_POSTERIORS: Entry(
        lambda: negative_log_likelihood,
        {},
        "Negative logarithm of the posterior density at the true values; the loss of all outputs of"
        " a posterior head.",
        {"type": OF_POSTERIORS},
    ),
}


def losses_of(
    network: Network,
    losses: Mapping[str, Loss],
    features: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
) -> list[Tensor]:
    """The losses, () each, of what a network makes, by its `features`, of samples with the
    transformed true values.
    """
    values = []
    for name, loss in losses.items():
        if name in network.heads:
            together = torch.cat([truth[output] for output in network.heads[name]], dim=1)
            values.append(loss(network.density(name, features[name]), together))
        else:
            values.append(loss(features[name].float(), truth[name]))
    return values


def total(losses: list[Tensor], penalty: Tensor | None) -> Tensor:
    """The objective that is minimised: the sum of the outputs' losses, and the weight penalty, if
    there is one.
    """
    return reduce(operator.add, losses if penalty is None else [*losses, penalty])

"""Losses of transformed values. Each maps estimate and truth, (batch, ...), to the mean over all values, ()."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from qexp.tables import Entry

Loss = Callable[[Tensor, Tensor], Tensor]

SMALLEST_TRUTH = 1e-7
"""Lower bound of |truth| in relative errors (as in Keras)."""


def mean_relative_error(estimate: Tensor, truth: Tensor) -> Tensor:
    """Mean of |estimate − truth| / |truth|, in percent."""
    return 100 * ((estimate - truth).abs() / truth.abs().clamp(min=SMALLEST_TRUTH)).mean()


def huber(delta: float = 1.0) -> Loss:
    """Huber's loss: squared error up to `delta`, absolute error beyond."""

    def loss(estimate: Tensor, truth: Tensor) -> Tensor:
        return functional.huber_loss(estimate, truth, delta=delta)

    return loss


def power(exponent: float) -> Loss:
    """Mean of |estimate − truth| to the power `exponent`, ()."""

    def loss(estimate: Tensor, truth: Tensor) -> Tensor:
        return (estimate - truth).abs().pow(exponent).mean()

    return loss


def _mean_squared_error() -> Loss:
    return functional.mse_loss


def _mean_absolute_error() -> Loss:
    return functional.l1_loss


def _mean_relative_error() -> Loss:
    return mean_relative_error


LOSSES: dict[str, Entry] = {
    "mse": Entry(_mean_squared_error, {}, "Mean squared error.", {"type": "mse"}),
    "mae": Entry(
        _mean_absolute_error, {}, "Mean absolute error; its minimum is the conditional median.", {"type": "mae"}
    ),
    "mre": Entry(_mean_relative_error, {}, "Mean relative error, in percent.", {"type": "mre"}),
    "power": Entry(
        build=power,
        parameters={"properties": {"exponent": {"type": "number", "minimum": 1}}, "required": ["exponent"]},
        help="Mean of |error| to a power: 1 gives the conditional median, 2 the mean, large powers the mid-range.",
        example={"type": "power", "parameters": {"exponent": 3}},
    ),
    "huber": Entry(
        build=huber,
        parameters={"properties": {"delta": {"type": "number", "exclusiveMinimum": 0}}},
        help="Squared error up to delta, absolute error beyond.",
        example={"type": "huber", "parameters": {"delta": 1.0}},
    ),
}


def total(losses: list[Tensor], penalty: Tensor | None) -> Tensor:
    """The objective that is minimised: the sum of the outputs' losses, and the weight penalty, if there is one."""
    summed = losses[0]
    for loss in losses[1:]:
        summed = summed + loss
    return summed if penalty is None else summed + penalty

"""Names of the variables that hold estimates of an output, beside the output's own, which holds its true values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

ESTIMATE = "_estimate"

SPREAD = "_spread"
"""Standard deviation over the networks of an ensemble."""

LOW, HIGH = "_low", "_high"
"""Ends of the interval of an estimate."""

QUANTILE = "_quantile"
"""Quantiles of the posterior, by the coordinate `quantile`."""

QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)
"""Probabilities of the quantiles of a posterior that are kept: its median, and the intervals of 68 and 90 %."""

HELD_OUT_QUANTILES = (0.025, 0.05, 0.16, 0.25, 0.5, 0.75, 0.84, 0.95, 0.975)
"""Those that are kept of held-out rows and spectra: the ends of all intervals whose coverage is counted."""

PERIOD = "period"
"""Attribute of estimates and errors of a quantity whose values repeat, such as a strike: its period, in its unit."""

SALIENCY = "_saliency"
"""Mean over test samples of input times gradient, and with `MAGNITUDE` of its absolute value."""

MAGNITUDE = "_magnitude"


def estimate_of(output: str) -> str:
    return f"{output}{ESTIMATE}"


def spread_of(output: str) -> str:
    return f"{output}{SPREAD}"


def low_of(output: str) -> str:
    return f"{output}{LOW}"


def high_of(output: str) -> str:
    return f"{output}{HIGH}"


def correlation_of(one: str, other: str) -> str:
    return f"{one}_{other}_correlation"


def quantile_of(output: str) -> str:
    return f"{output}{QUANTILE}"


def column_of_quantile(output: str, probability: float) -> str:
    """The column of a table that holds it."""
    return f"{quantile_of(output)}_{probability:g}"


def saliency_of(output: str) -> str:
    return f"{output}{SALIENCY}"


def saliency_magnitude_of(output: str) -> str:
    return f"{output}{SALIENCY}{MAGNITUDE}"


def outputs_among(names: Iterable[Hashable]) -> list[str]:
    """The outputs whose estimates are among the variables of these names."""
    return [str(name).removesuffix(ESTIMATE) for name in names if str(name).endswith(ESTIMATE)]

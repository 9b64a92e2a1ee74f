"""The estimates of an output: their limits, and the names of the variables that hold them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qexp.base.quantities import number_with_unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Limits:
    """Lowest and highest value of an output's estimates, in its unit; None: no limit there."""

    low: float | None = None
    high: float | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """The values, those beyond a limit moved to it; NaN stays NaN."""
        return values if self == NO_LIMITS else values.clamp(self.low, self.high)

    def __str__(self) -> str:
        """`0 to 100`, `at least 0`, `at most 100`; empty without limits."""
        if self.low is None:
            return "" if self.high is None else f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"

    def reached(self, estimates: NDArray[np.floating]) -> int:
        """The number of estimates (of single precision) at a limit: all that were moved to it."""
        import numpy as np  # `qexp show` does not need it

        count = 0
        if self.low is not None:
            count += int((estimates <= float(np.float32(self.low))).sum())
        if self.high is not None:
            count += int((estimates >= float(np.float32(self.high))).sum())
        return count


NO_LIMITS = Limits()


def limits_of(spec: Mapping[str, Any]) -> dict[str, Limits]:
    """Output → its limits, by a resolved experience; outputs without limits are left out."""
    return {name: Limits(*ends) for name, ends in spec.get("limits", {}).items()}


def at_limits(output: str, limits: Limits, unit: str, count: int, total: int) -> str:
    """`3 of 300 estimates of toc are at its limits, 0 to 100 %`."""
    return (
        f"{count:,} of {total:,} estimates of {output} are at its limits,"
        f" {number_with_unit(str(limits), unit)}"
    )


# Names of the variables that hold estimates of an output, beside the output's own, which holds its
# true values.


ESTIMATE = "_estimate"

SPREAD = "_spread"
"""Standard deviation over the networks of an ensemble."""

QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)
"""Probabilities of the kept quantiles: the median, and the intervals of 68 and 90 %."""

HELD_OUT_QUANTILES = (0.025, 0.05, 0.16, 0.25, 0.5, 0.75, 0.84, 0.95, 0.975)
"""Those of held-out rows and spectra: the ends of all intervals whose coverage is counted."""

PERIOD = "period"
"""Attribute of estimates of a quantity that repeats, such as a strike: its period, in its unit."""


def estimate_of(output: str) -> str:
    return f"{output}{ESTIMATE}"


def spread_of(output: str) -> str:
    return f"{output}{SPREAD}"


def within_of(output: str) -> str:
    """The standard deviation within the posteriors of an ensemble's networks."""
    return f"{output}_within"


def low_of(output: str) -> str:
    """The lower end of the interval of an estimate."""
    return f"{output}_low"


def high_of(output: str) -> str:
    return f"{output}_high"


def correlation_of(first: str, second: str) -> str:
    return f"{first}_{second}_correlation"


def quantile_of(output: str) -> str:
    """Quantiles of the posterior, by the coordinate `quantile`."""
    return f"{output}_quantile"


def column_of_quantile(output: str, probability: float) -> str:
    """The column of a table that holds it."""
    return f"{quantile_of(output)}_{probability:g}"


def saliency_of(output: str) -> str:
    """The mean over test samples of input times gradient."""
    return f"{output}_saliency"


def saliency_magnitude_of(output: str) -> str:
    """Likewise of its absolute value."""
    return f"{saliency_of(output)}_magnitude"


def outputs_among(names: Iterable[Hashable]) -> list[str]:
    """The outputs whose estimates are among the variables of these names."""
    return [str(name).removesuffix(ESTIMATE) for name in names if str(name).endswith(ESTIMATE)]

"""Limits of estimates: what is known of a quantity before anything is measured, such as 0 to 100 of a percentage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Limits:
    """Lowest and highest value of an output's estimates, in its own unit; None: no limit on that side."""

    low: float | None = None
    high: float | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """The values, those beyond a limit moved to it; NaN stays NaN."""
        return values if self == NO_LIMITS else values.clamp(self.low, self.high)

    def __str__(self) -> str:
        """`0 to 100`, `at least 0`, `at most 100`; empty without limits."""
        if self.low is None or self.high is None:
            return (
                "" if self == NO_LIMITS else f"at most {self.high:g}" if self.low is None else f"at least {self.low:g}"
            )
        return f"{self.low:g} to {self.high:g}"

    def reached(self, estimates: NDArray[np.floating]) -> int:
        """The number of estimates, computed in single precision, that lie at a limit: all that were moved to it."""
        import numpy as np  # `qexp show` does not need it

        low, high = (None if limit is None else float(np.float32(limit)) for limit in (self.low, self.high))
        count = 0 if low is None else np.count_nonzero(estimates <= low)
        return int(count if high is None else count + np.count_nonzero(estimates >= high))


NO_LIMITS = Limits()


def limits_of(spec: Mapping[str, Any]) -> dict[str, Limits]:
    """Output → its limits, by a resolved experience; outputs without limits are left out."""
    return {name: Limits(*of) for name, of in spec.get("limits", {}).items()}


def at_limits(output: str, limits: Limits, unit: str, count: int, of: int) -> str:
    """`3 of 300 estimates of toc are at its limits, 0 to 100 %`."""
    return f"{count:,} of {of:,} estimates of {output} are at its limits, {limits} {unit}".rstrip()


def remarks(limits: Mapping[str, Limits], units: Mapping[str, str], counts: Mapping[str, int], of: int) -> list[str]:
    """A sentence for each output with estimates at its limits.

    counts  output → number of such estimates
    of      number of all estimates of an output
    """
    return [at_limits(name, limits[name], units.get(name, ""), count, of) for name, count in counts.items() if count]

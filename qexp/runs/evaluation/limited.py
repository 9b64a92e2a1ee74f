"""Estimates that lie at the limits of their output: counted for the log and for the files of predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.limits import NO_LIMITS, Limits, at_limits

log = logging.getLogger("qexp.run")


def described(output: str, limits: Limits, unit: str, estimates: Sequence[NDArray[np.floating]]) -> dict[str, Any]:
    """Log how many estimates of an output, given in blocks, lie at its limits; returns attributes that say the same.

    Empty, and no line in the log, for an output without limits.
    """
    if limits == NO_LIMITS:
        return {}
    count = sum(map(limits.reached, estimates))
    log.info("%s", at_limits(output, limits, unit, count, sum(block.size for block in estimates)))
    return {"limits": str(limits), "at_limits": count}

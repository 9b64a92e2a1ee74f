"""The scale of an output's intervals: that on which its loss is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.assemble.transforms import transforms_of
from qexp.datasets.transforms.transform import Transform
from qexp.limits import NO_LIMITS, limits_of
from qexp.metrics.conformal import Scale
from qexp.tables import Tables

Array = NDArray[np.float64]

CLOSE = 1e-6
"""Largest relative difference between a value and what comes back from the scale."""


def scale_of(spec: dict[str, Any], tables: Tables, output: str, truth: Array) -> Scale:
    """The scale of an output's transform, or its own unit if that does not go one way and back.

    What a transform fits is a linear function, on which intervals do not depend; so it is fitted to the true values.

    truth  (row,), true values of the output
    """
    limits = limits_of(spec).get(output, NO_LIMITS)
    transform = transforms_of(spec, tables).get(output)
    period = transform.period if transform is not None else None
    own = Scale(low=limits.low, high=limits.high, period=period)
    if transform is None or transform.numbers > 1 or transform.needs_own or np.ptp(truth) == 0:
        return own
    transform.fit(_column(truth))
    scale = Scale(_forward(transform), _inverse(transform), limits.low, limits.high)
    return scale if _goes_one_way(scale, truth) else own


def _goes_one_way(scale: Scale, truth: Array) -> bool:
    values = np.unique(truth)
    seen = scale.forward(values)
    steps = np.diff(seen)
    back = scale.inverse(seen)
    close = np.abs(back - values) <= CLOSE * np.abs(values).max()
    return bool(np.isfinite(seen).all() and ((steps > 0).all() or (steps < 0).all()) and close.all())


def _column(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64)).reshape(-1, 1)


def _forward(transform: Transform) -> Any:
    @torch.no_grad()
    def forward(values: Array) -> Array:
        made: Array = transform(_column(values)).numpy().reshape(np.shape(values))
        return made

    return forward


def _inverse(transform: Transform) -> Any:
    @torch.no_grad()
    def inverse(values: Array) -> Array:
        made: Array = transform.inverse(_column(values)).numpy().reshape(np.shape(values))
        return made

    return inverse

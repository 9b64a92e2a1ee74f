"""Transforms: the one place where values are scaled. Losses see transformed values, users never do.

The table, and the chain, which builds its steps from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from qexp.datasets.transforms.angle import Angle
from qexp.datasets.transforms.elementwise import Anscombe, Asinh, Log, Log1p, Scale
from qexp.datasets.transforms.fitted import MinMax, Standardize
from qexp.datasets.transforms.normal_score import NormalScore
from qexp.datasets.transforms.transform import Transform
from qexp.datasets.transforms.within_samples import LogRatios, PerSample
from qexp.tables import Entry, built_within


class Chain(Transform):
    """Several transforms, one after the other.

    of  names, or descriptions with parameters, in the order in which they are applied
    """

    def __init__(self, of: Sequence[str | Mapping[str, Any]]) -> None:
        super().__init__()
        self.steps = nn.ModuleList([built_within(TRANSFORMS, "transform", one) for one in of])
        self.needs_own = any(step.needs_own for step in self._transforms())
        self.numbers = math.prod(step.numbers for step in self._transforms())
        self.period = next((step.period for step in self._transforms()), None)
        if any(step.numbers > 1 for step in self._transforms()[1:]):
            raise ValueError("a transform that makes several numbers of each value, as 'angle' does, must come first")

    def fit(self, values: Tensor) -> None:
        for step in self._transforms():
            step.fit(values)
            values = step(values)

    def forward(self, values: Tensor) -> Tensor:
        for step in self.steps:
            values = step(values)
        return values

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        befores: list[Tensor | None] = []  # what `own` is before each step
        for step in self._transforms():
            befores.append(own)
            own = step(own) if own is not None and self.needs_own else None
        for step, before in zip(reversed(self._transforms()), reversed(befores), strict=True):
            values = step.inverse(values, before)
        return values

    def domain_error(self, low: float, high: float) -> str | None:
        for step in self._transforms():
            if trouble := step.domain_error(low, high):
                return trouble
            low, high = step.bounds(low, high)
        return None

    def _transforms(self) -> list[Transform]:
        return [step for step in self.steps if isinstance(step, Transform)]


TRANSFORMS: dict[str, Entry] = {
    "asinh": Entry(
        build=Asinh,
        parameters={"properties": {"scale": {"type": "number", "exclusiveMinimum": 0}}},
        help="asinh(value / scale): linear below the scale (in the variable's unit), logarithmic above.",
        example={"type": "asinh", "parameters": {"scale": 0.01}},
    ),
    "log": Entry(
        build=Log,
        parameters={},
        help="Natural logarithm, for positive variables that span orders of magnitude.",
        example={"type": "log"},
    ),
    "log1p": Entry(
        build=Log1p,
        parameters={},
        help="Natural logarithm of 1 + value, for counts that may be zero.",
        example={"type": "log1p"},
    ),
    "anscombe": Entry(
        build=Anscombe,
        parameters={},
        help="Twice the square root of value + 3/8, for counts: stabilises the variance of Poisson noise.",
        example={"type": "anscombe"},
    ),
    "per_sample": Entry(
        build=PerSample,
        parameters={},
        help="Each sample to mean 0 and standard deviation 1 over its own values; for inputs.",
        example={"type": "per_sample"},
    ),
    "log_ratios": Entry(
        build=LogRatios,
        parameters={"properties": {"reference": {"type": "integer", "minimum": 0, "description": "column, from 0"}}},
        help="Logarithm of one column, and of the ratios of all others to it (brightness and colours).",
        example={"type": "log_ratios", "parameters": {"reference": 1}},
    ),
    "chain": Entry(
        build=Chain,
        parameters={
            "properties": {
                "of": {
                    "type": "array",
                    "items": {"type": ["string", "object"], "x-entry-of": "transforms"},
                    "minItems": 1,
                    "description": "names or descriptions",
                }
            },
            "required": ["of"],
        },
        help="Several transforms, one after the other.",
        example={"type": "chain", "parameters": {"of": ["log", "standardize"]}},
    ),
    "scale": Entry(
        build=Scale,
        parameters={
            "properties": {
                "typical": {
                    "type": "number",
                    "not": {"const": 0},
                    "x-message": "must not be 0",
                    "description": "typical value",
                }
            },
            "required": ["typical"],
        },
        help="Division by a typical value.",
        example={"type": "scale", "parameters": {"typical": 2000.0}},
    ),
    "standardize": Entry(
        build=Standardize,
        parameters={
            "properties": {
                "deviation": {
                    "enum": ["channel", "all"],
                    "description": "standard deviation of each channel, or one for all channels",
                }
            }
        },
        help="Mean 0, standard deviation 1 per channel, fitted to the training part.",
        example={"type": "standardize"},
    ),
    "angle": Entry(
        build=Angle,
        parameters={
            "properties": {
                "period": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "period of the values, in the variable's unit: "
                    "360 for degrees, 180 for lines without a direction",
                }
            }
        },
        help="Cosine and sine of a periodic value, such as a strike; for outputs.",
        example={"type": "angle", "parameters": {"period": 360}},
    ),
    "minmax": Entry(
        build=MinMax,
        parameters={},
        help="Range 0 to 1 per channel, fitted to the training part.",
        example={"type": "minmax"},
    ),
    "normal_score": Entry(
        build=NormalScore,
        parameters={
            "properties": {
                "distribution": {
                    "type": ["string", "object"],
                    "x-entry-of": "distributions",
                    "description": "distribution of the values",
                }
            },
            "required": ["distribution"],
        },
        help="Standard normal quantile of a value's probability under a distribution; for outputs of posterior heads.",
        example={
            "type": "normal_score",
            "parameters": {"distribution": {"type": "uniform", "parameters": {"a": 0.0, "b": 10.0}}},
        },
    ),
}

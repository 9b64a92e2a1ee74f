"""Transforms: the one place where values are scaled. Losses see transformed values, people never do.

A transform is a torch module, so that what it was fitted to is saved with the weights, as buffers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qexp.tables import Entry, built, suggestion


class Transform(nn.Module):
    """Maps a variable, (batch, ...) in its own unit, to what a network sees, and back."""

    formula: str | None = None
    """What `forward` does, as numpy says it: of `value`, (batch, ...), the parameters and what was fitted."""
    inverse_formula: str | None = None
    """The way back; also of `own`, the samples' values in the variable's own unit, where it cannot do without."""
    needs_own: bool = False
    """Whether the inverse cannot do without `own`, so that it is for variables that go in and come out."""

    def fit(self, values: Tensor) -> None:
        """Adapt to training values; most transforms have nothing to adapt."""

    def forward(self, values: Tensor) -> Tensor:
        return values

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        """Back to the variable's unit. `own` are the same samples' values in it, where the variable is an input, too.

        Raises ValueError where they are needed and not given.
        """
        return values

    def domain_error(self, low: float, high: float) -> str | None:
        """Why values between two bounds cannot be transformed, or None."""
        return None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Between what values lie once transformed; most transforms keep their order."""
        ends = self(torch.tensor([[low], [high]], dtype=torch.float64))[:, 0].tolist()
        return min(ends), max(ends)


class Asinh(Transform):
    """asinh(value / scale): linear below the scale, logarithmic above, and both signs are welcome."""

    formula = "arcsinh(value / scale)"
    inverse_formula = "sinh(value) * scale"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        # log(a + sqrt(a² + 1)), written so that it keeps its digits near zero: six times as fast as torch.asinh on a
        # processor, where this is a large part of a small network's epoch.
        size = values.abs() / self.scale
        return torch.log1p(size + size * (size / (1 + torch.sqrt(1 + size * size)))).copysign(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.sinh(values) * self.scale


class Log(Transform):
    """The natural logarithm of a positive variable."""

    formula = "log(value)"
    inverse_formula = "exp(value)"

    def forward(self, values: Tensor) -> Tensor:
        return torch.log(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.exp(values)

    def domain_error(self, low: float, high: float) -> str | None:
        reaches = low < 0 or high <= 0
        return f"a logarithm needs positive values, but they reach down to {low:g}" if reaches else None


class Log1p(Transform):
    """ln(1 + value): for counts, among which there may be zeros."""

    formula = "log1p(value)"
    inverse_formula = "expm1(value)"

    def forward(self, values: Tensor) -> Tensor:
        return torch.log1p(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.expm1(values)

    def domain_error(self, low: float, high: float) -> str | None:
        reaches = low <= -1
        return f"ln(1 + value) needs values greater than -1, but they reach down to {low:g}" if reaches else None


class Anscombe(Transform):
    """2 √(value + 3/8): counts with Poisson's noise get noise of deviation 1, few counts or many (Anscombe 1948)."""

    formula = "2 * sqrt(value + 0.375)"
    inverse_formula = "(value / 2) ** 2 - 0.375"

    def forward(self, values: Tensor) -> Tensor:
        return 2 * torch.sqrt(values + 0.375)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return (values / 2).square() - 0.375

    def domain_error(self, low: float, high: float) -> str | None:
        return f"counts are not negative, but they reach down to {low:g}" if low < 0 else None


class PerSample(Transform):
    """Each sample to mean 0 and standard deviation 1 over its own values; the deviation divides by their number.

    What comes out has the mean and deviation of what went in, so that the inverse needs the sample itself.
    """

    formula = (
        "(value - value.mean(axis=tuple(range(1, value.ndim)), keepdims=True))"
        " / value.std(axis=tuple(range(1, value.ndim)), keepdims=True)"
    )
    inverse_formula = (
        "value * own.std(axis=tuple(range(1, own.ndim)), keepdims=True)"
        " + own.mean(axis=tuple(range(1, own.ndim)), keepdims=True)"
    )
    needs_own = True

    def forward(self, values: Tensor) -> Tensor:
        mean, deviation = _of_each(values)
        return (values - mean) / deviation

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        if own is None:
            raise ValueError(
                "'per_sample' scales by the sample's own mean and deviation, which only a variable that also goes in "
                "has; give what is only an output another transform, 'standardize' for one"
            )
        mean, deviation = _of_each(own)
        return values * deviation + mean

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} have no deviation to be divided by" if low == high else None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -math.inf, math.inf


def _of_each(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every sample, (batch, 1, ...)."""
    own = list(range(1, values.dim()))
    mean = values.mean(dim=own, keepdim=True)
    return mean, (values - mean).square().mean(dim=own, keepdim=True).sqrt()


class LogRatios(Transform):
    """ln(value / reference) of every column but the reference, and ln(reference): brightness and colours.

    reference  the column of the variable that the others are divided by, counted from 0
    """

    formula = "where(arange(value.shape[1]) == reference, log(value), log(value / value[:, [reference]]))"
    inverse_formula = "exp(where(arange(value.shape[1]) == reference, value, value + value[:, [reference]]))"

    def __init__(self, reference: int = 0) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, values: Tensor) -> Tensor:
        if not self.reference < values.shape[1]:
            raise ValueError(f"reference {self.reference} of {values.shape[1]} columns, which are counted from 0")
        logs = torch.log(values)
        return torch.where(self._is_reference(logs), logs, logs - logs[:, [self.reference]])

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        is_reference = self._is_reference(values)
        return torch.exp(torch.where(is_reference, values, values + values[:, [self.reference]]))

    def _is_reference(self, values: Tensor) -> Tensor:
        return torch.arange(values.shape[1], device=values.device) == self.reference

    def domain_error(self, low: float, high: float) -> str | None:
        return f"a logarithm needs positive values, but they reach down to {low:g}" if low <= 0 else None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -math.inf, math.inf


class Chain(Transform):
    """Several transforms, one after the other.

    of  their names, or descriptions with parameters, in the order in which they are applied
    """

    def __init__(self, of: Sequence[str | Mapping[str, Any]]) -> None:
        super().__init__()
        self.steps = nn.ModuleList([_named(one) for one in of])
        self.needs_own = any(step.needs_own for step in self._transforms())

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


def _named(one: str | Mapping[str, Any]) -> Transform:
    description = {"type": one} if isinstance(one, str) else one
    name = description.get("type", "")
    if name not in TRANSFORMS:
        raise ValueError(f"no transform '{name}' to chain; {suggestion(name, TRANSFORMS)}")
    try:
        made: Transform = built(TRANSFORMS, description)
    except TypeError as error:
        raise ValueError(f"the transform '{name}' takes no such parameters: {error}") from None
    return made


class Scale(Transform):
    """value / typical."""

    formula = "value / typical"
    inverse_formula = "value * typical"

    def __init__(self, typical: float) -> None:
        super().__init__()
        self.typical = typical

    def forward(self, values: Tensor) -> Tensor:
        return values / self.typical

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.typical


class Fitted(Transform):
    """What adapts to training values, one number per channel; a column of a table is a channel."""

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        # The fitted buffers have one value per channel; make room for them.
        for name, buffer in list(self.named_buffers()):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _but_channels(values: Tensor) -> list[int]:
    """The dimensions that a channel's values lie along."""
    return [0, *range(2, values.dim())]


class Standardize(Fitted):
    """Mean 0 and standard deviation 1 over the training part, per channel.

    deviation  "channel": each channel has its own; "all": one for all of them, the root of their mean variance, so that
               noise that is the same in all channels stays so
    """

    formula = "(value - mean) / deviation"
    inverse_formula = "value * deviation + mean"

    mean: Tensor
    deviation: Tensor

    def __init__(self, deviation: str = "channel") -> None:
        super().__init__()
        self.per_channel = deviation == "channel"
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("deviation", torch.ones(1))

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} cannot be standardized" if low == high else None

    def fit(self, values: Tensor) -> None:
        deviation, mean = torch.std_mean(values.double(), dim=_but_channels(values), keepdim=True)
        if not self.per_channel:
            deviation = deviation.square().mean(dim=1, keepdim=True).sqrt()
        if not (deviation > 0).all():
            raise ValueError("cannot standardize values that are all the same")
        self.mean, self.deviation = mean.to(values.dtype), deviation.to(values.dtype)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.deviation + self.mean


class MinMax(Fitted):
    """From 0 to 1 over the training part, per channel; what lies outside it comes to lie outside."""

    formula = "(value - least) / span"
    inverse_formula = "value * span + least"

    least: Tensor
    span: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("least", torch.zeros(1))
        self.register_buffer("span", torch.ones(1))

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} have no range" if low == high else None

    def fit(self, values: Tensor) -> None:
        least = values.amin(dim=_but_channels(values), keepdim=True)
        span = values.amax(dim=_but_channels(values), keepdim=True) - least
        if not (span > 0).all():
            raise ValueError("cannot scale to their range values that are all the same")
        self.least, self.span = least, span

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.least) / self.span

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.span + self.least


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
        help="Natural logarithm of 1 + value: counts, zeros among them.",
        example={"type": "log1p"},
    ),
    "anscombe": Entry(
        build=Anscombe,
        parameters={},
        help="Twice the root of value + 3/8: counts, whose noise becomes as large everywhere.",
        example={"type": "anscombe"},
    ),
    "per_sample": Entry(
        build=PerSample,
        parameters={},
        help="Each sample to mean 0, standard deviation 1 over its own values; for what goes in.",
        example={"type": "per_sample"},
    ),
    "log_ratios": Entry(
        build=LogRatios,
        parameters={"properties": {"reference": {"type": "integer", "minimum": 0, "description": "column, from 0"}}},
        help="Logarithm of one column, and of the ratios of all others to it: brightness and colours.",
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
                "deviation": {"enum": ["channel", "all"], "description": "of each channel, or one for all channels"}
            }
        },
        help="Mean 0, standard deviation 1 per channel, fitted to the training part.",
        example={"type": "standardize"},
    ),
    "minmax": Entry(
        build=MinMax,
        parameters={},
        help="From 0 to 1 per channel over the training part, to which it is fitted.",
        example={"type": "minmax"},
    ),
}

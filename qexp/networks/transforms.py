"""Transforms of variables: modules of torch, so that fitted numbers are saved with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor, nn

from qexp.base.tables import Entry, array, built_within, choice, integer, number
from qexp.networks.shapes import Shape
from qexp.simulation.distributions import DISTRIBUTIONS, Distribution


class Transform(nn.Module):
    """Maps a variable, (batch, ...) in its unit, to the values that a network sees, and back."""

    formula: str | None = None
    """`forward` as a numpy expression of `value`, (batch, ...), and of fitted numbers."""
    inverse_formula: str | None = None
    """`inverse` as a numpy expression; if `needs_own`, of `own`, too, the values in their unit."""
    needs_own: bool = False
    """Whether the inverse needs `own`: an output with this transform is also an input."""

    period: float | None = None
    """The difference after which values mean the same, in their unit; None without one."""

    def shape(self, values: Shape) -> Shape:
        """The shape of transformed values, of that of the values, without the batch; another one is
        for outputs.
        """
        return values

    def fit(self, values: Tensor) -> None:
        """Fit to training values, (sample, ...); most transforms have nothing to fit. Raises
        ValueError.
        """

    def forward(self, values: Tensor) -> Tensor:
        """Values in the variable's unit, (batch, ...) → transformed values, (batch, ...)."""
        return values

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        """Back to the variable's unit. `own` are the samples' values in it, if the variable is also
        an input.

        Raises ValueError if `own` is needed and not given.
        """
        return values

    def domain_error(self, low: float, high: float) -> str | None:
        """Why values between two bounds cannot be transformed, or None."""
        return None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Bounds of transformed values, given bounds of the values."""
        ends = self(torch.tensor([[low], [high]], dtype=torch.float64))[:, 0].tolist()
        return min(ends), max(ends)


# Transforms of each value by itself.


class Asinh(Transform):
    """asinh(value / scale): linear below the scale (in the variable's unit), logarithmic above."""

    formula = "arcsinh(value / scale)"
    inverse_formula = "sinh(value) * scale"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        # log(a + sqrt(a² + 1)), in a form that is accurate near zero: six times as fast as
        # torch.asinh on a CPU, where this is a large part of a small network's epoch.
        size = values.abs() / self.scale
        return torch.log1p(size + size * (size / (1 + torch.sqrt(1 + size * size)))).copysign(
            values
        )

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.sinh(values) * self.scale


class Log(Transform):
    """Natural logarithm, for positive variables that span orders of magnitude."""

    formula = "log(value)"
    inverse_formula = "exp(value)"

    def forward(self, values: Tensor) -> Tensor:
        return torch.log(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.exp(values)

    def domain_error(self, low: float, high: float) -> str | None:
        return (
            f"a logarithm needs positive values, but they reach down to {low:g}"
            if low < 0 or high <= 0
            else None
        )


class Log1p(Transform):
    """Natural logarithm of 1 + value, for counts that may be zero."""

    formula = "log1p(value)"
    inverse_formula = "expm1(value)"

    def forward(self, values: Tensor) -> Tensor:
        return torch.log1p(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.expm1(values)

    def domain_error(self, low: float, high: float) -> str | None:
        return (
            f"ln(1 + value) needs values greater than -1, but they reach down to {low:g}"
            if low <= -1
            else None
        )


class Anscombe(Transform):
    """Twice the square root of value + 3/8, for counts: stabilises the variance of Poisson noise.

    Their deviation then is about 1 (Anscombe 1948).
    """

    formula = "2 * sqrt(value + 0.375)"
    inverse_formula = "(value / 2) ** 2 - 0.375"

    def forward(self, values: Tensor) -> Tensor:
        return 2 * torch.sqrt(values + 0.375)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return (values / 2).square() - 0.375

    def domain_error(self, low: float, high: float) -> str | None:
        return f"counts must not be negative, but they reach down to {low:g}" if low < 0 else None


class Scale(Transform):
    """Division by a typical value."""

    formula = "value / typical"
    inverse_formula = "value * typical"

    def __init__(self, typical: float) -> None:
        super().__init__()
        self.typical = typical

    def forward(self, values: Tensor) -> Tensor:
        return values / self.typical

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.typical


# Transforms of each value that depend on the other values of its sample.


class PerSample(Transform):
    """Each sample to mean 0 and standard deviation 1 over its own values; for inputs.

    The deviation is that of the population. The inverse restores the mean and deviation of the
    input, so that it needs the sample itself.
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
                "'per_sample' scales by the sample's own mean and deviation, which are known only"
                " if the output is also an input; give this output another transform, such as"
                " 'standardize'"
            )
        mean, deviation = _of_each(own)
        return values * deviation + mean

    def domain_error(self, low: float, high: float) -> str | None:
        return (
            f"values that are all {low:g} have a standard deviation of 0" if low == high else None
        )

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -math.inf, math.inf


def _of_each(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every sample, (batch, 1, ...)."""
    axes = list(range(1, values.dim()))
    mean = values.mean(dim=axes, keepdim=True)
    return mean, (values - mean).square().mean(dim=axes, keepdim=True).sqrt()


class LogRatios(Transform):
    """Logarithm of one column, and of the ratios of all others to it (brightness and colours).

    reference  column by which the others are divided, counted from 0
    """

    formula = (
        "where(arange(value.shape[1]) == reference, log(value), log(value / value[:, [reference]]))"
    )
    inverse_formula = (
        "exp(where(arange(value.shape[1]) == reference, value, value + value[:, [reference]]))"
    )

    def __init__(self, reference: int = 0) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, values: Tensor) -> Tensor:
        if not self.reference < values.shape[1]:
            raise ValueError(
                f"reference {self.reference} is not one of the columns 0 to {values.shape[1] - 1}"
            )
        logs = torch.log(values)
        return torch.where(self._is_reference(logs), logs, logs - logs[:, [self.reference]])

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        is_reference = self._is_reference(values)
        return torch.exp(torch.where(is_reference, values, values + values[:, [self.reference]]))

    def _is_reference(self, values: Tensor) -> Tensor:
        return torch.arange(values.shape[1], device=values.device) == self.reference

    def domain_error(self, low: float, high: float) -> str | None:
        return (
            f"a logarithm needs positive values, but they reach down to {low:g}"
            if low <= 0
            else None
        )

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -math.inf, math.inf


# Transforms that are fitted to the training part.


class FittedModule(nn.Module):
    """A module whose buffers are fitted to training values, and have another shape before."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        # Make room for the fitted buffers.
        for name, buffer in list(self.named_buffers()):
            if prefix + name in state_dict:
                setattr(
                    self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device)
                )
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Fitted(FittedModule, Transform):
    """A transform with fitted numbers, one per channel; a column of a table is a channel."""


def _but_channels(values: Tensor) -> list[int]:
    """All dimensions except that of the channels."""
    return [0, *range(2, values.dim())]


class Standardize(Fitted):
    """Mean 0, standard deviation 1 per channel, fitted to the training part.

    deviation  "channel": each channel has its own; "all": one for all channels, the root of their
               mean variance, so that noise of equal size in all channels stays equal; "value": each
               place has its own mean and its own deviation, as the numbers of a vector need that
               are different things
    """

    formula = "(value - mean) / deviation"
    inverse_formula = "value * deviation + mean"

    mean: Tensor
    deviation: Tensor

    def __init__(self, deviation: str = "channel") -> None:
        super().__init__()
        self.deviations = deviation
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("deviation", torch.ones(1))

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} cannot be standardized" if low == high else None

    def fit(self, values: Tensor) -> None:
        axes = [0] if self.deviations == "value" else _but_channels(values)
        deviation, mean = torch.std_mean(values.double(), dim=axes, keepdim=True)
        if self.deviations == "value":
            deviation = deviation.where(deviation > 0, 1.0)  # what never varies says nothing
        elif self.deviations == "all":
            deviation = deviation.square().mean(dim=1, keepdim=True).sqrt()
        if not (deviation > 0).all():
            raise ValueError("cannot standardize values that are all the same")
        self.mean = mean.to(values.dtype)
        self.deviation = deviation.to(values.dtype)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.deviation + self.mean


class Adapted(Fitted):
    """Each number of a vector as its values need: unchanged, its root (counts), asinh (heavy
    tails); standardized.

    Beside values over decades, or few that are very large, the others are alike in units of the
    standard deviation:
    ordinary values  as they are
    counts           their root, which makes Poisson and binomial noise as strong for few as for
                     many (Bartlett 1936)
    heavy tails      asinh: linear below the median size, logarithmic above
    over decades     asinh that is logarithmic from the smallest tenth of the sizes on; counts, too
    Sizes are distances from the median, or from the short end of what is skewed. What never varies
    says nothing.
    """

    formula = (
        "(where(power > 0, sign(value - centre) * abs((value - centre) / scale) ** power,"
        " arcsinh((value - centre) / scale)) - mean) / deviation"
    )
    inverse_formula = (
        "where(power > 0, sign(value * deviation + mean) * abs(value * deviation + mean) ** (1 /"
        " where(power > 0, power, 1)), sinh(value * deviation + mean)) * scale + centre"
    )

    power: Tensor
    centre: Tensor
    scale: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("centre", "mean"):
            self.register_buffer(name, torch.zeros(1))
        for name in ("power", "scale", "deviation"):
            self.register_buffer(name, torch.ones(1))

    def fit(self, values: Tensor) -> None:
        chosen = np.array(
            [_suitable(column) for column in values.flatten(1).double().cpu().numpy().T]
        )
        for name, numbers in zip(("power", "centre", "scale"), chosen.T, strict=True):
            setattr(self, name, torch.from_numpy(numbers).to(values).view(1, *values.shape[1:]))
        deviation, mean = torch.std_mean(self._scaled(values).double(), dim=0, keepdim=True)
        self.mean = mean.to(values)
        self.deviation = deviation.where(deviation > 0, 1.0).to(values)

    def forward(self, values: Tensor) -> Tensor:
        return (self._scaled(values) - self.mean) / self.deviation

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        scaled = values * self.deviation + self.mean
        root = scaled.abs() ** (1 / self.power.where(self.power > 0, 1.0))
        return (
            torch.where(self.power > 0, root.copysign(scaled), torch.sinh(scaled)) * self.scale
            + self.centre
        )

    def _scaled(self, values: Tensor) -> Tensor:
        distance = (values - self.centre) / self.scale
        return torch.where(
            self.power > 0, distance.abs().pow(self.power).copysign(distance), torch.asinh(distance)
        )


SKEWED, HEAVY, DECADES = 4, 60, 500
"""Ratio of the sides of the middle 90 %, and of the largest sizes to the smallest tenth, from where
values are so.

The second is 22 for normal values.
"""


def _suitable(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Power (0: asinh), centre and scale of a number, by its training values, (sample,)."""
    least, low, middle, high, most = np.quantile(values, [0.005, 0.05, 0.5, 0.95, 0.995])
    skewed = max(high - middle, middle - low) > SKEWED * min(high - middle, middle - low)
    counts = values.min() >= 0 and bool((values == np.round(values)).all())
    centre = middle
    if skewed or counts:
        centre = least if counts or high - middle > middle - low else most
    sizes = np.abs(values - centre)
    different = sizes[sizes > 0]
    if not len(different):
        return 1.0, centre, 1.0
    smallest, typical = np.quantile(different, [0.1, 0.5])
    span = np.quantile(sizes, 0.995) / smallest
    if span > DECADES:
        return 0.0, centre, smallest
    if counts:
        return 0.5, centre, 1.0
    if skewed or span > HEAVY:
        return 0.0, centre, typical
    return 1.0, values.mean(), values.std()


def over_decades(values: NDArray[np.float64]) -> bool:
    """Whether any number of vectors, (sample, value), spans decades, for its logarithm."""
    for column in values.T:
        power, centre, scale = _suitable(column)
        if power == 0 and np.quantile(np.abs(column - centre), 0.995) > DECADES * scale:
            return True
    return False


class MinMax(Fitted):
    """Range 0 to 1 per channel, fitted to the training part.

    Other values may lie outside.
    """

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
            raise ValueError("cannot scale values that are all the same to the range 0 to 1")
        self.least, self.span = least, span

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.least) / self.span

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.span + self.least


class PrincipalComponents(Fitted):
    """Coefficients of the principal components of the training part; for outputs that are images.

    count  of the components: those along which the values differ most

    A few numbers stand for each image or spectrum. Coefficients are divided by the root of the mean
    of all squared differences, so that equal errors of coefficients are equal errors of the values;
    the inverse leaves out what other components would add. Jolliffe (2002), Principal Component
    Analysis; the decomposition is that of Halko and others (2011).
    """

    formula = (
        "(value - mean).reshape(value.shape[0], -1)"
        " @ (components / (components[:1] ** 2).sum()).reshape(components.shape[0], -1).T"
    )
    inverse_formula = (
        "(value @ components.reshape(value.shape[1], -1)).reshape(-1, *components.shape[1:]) + mean"
    )

    mean: Tensor
    components: Tensor

    def __init__(self, count: int = 32) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("components", torch.zeros(count, 1))

    def shape(self, values: Shape) -> Shape:
        return (self.count,)

    def fit(self, values: Tensor) -> None:
        from sklearn.utils.extmath import randomized_svd  # takes a second to load

        flat = values.flatten(1).double().cpu().numpy()
        if self.count > min(flat.shape):
            raise ValueError(
                f"there are no {self.count} principal components: {len(flat):,} samples of"
                f" {flat.shape[1]:,} values have at most {min(flat.shape):,}"
            )
        differences = flat - flat.mean(axis=0)
        size = np.sqrt(np.square(differences).mean())
        if not size > 0:
            raise ValueError("values that are all the same have no principal components")
        _, _, components = randomized_svd(differences, self.count, random_state=0)
        self.mean = values.double().mean(dim=0, keepdim=True).to(values)
        scaled = torch.from_numpy(components * size * math.sqrt(flat.shape[1] / self.count))
        self.components = scaled.unflatten(1, values.shape[1:]).to(values)

    def forward(self, values: Tensor) -> Tensor:
        basis = self.components.flatten(1)
        coefficients: Tensor = (values - self.mean).flatten(1) @ (
            basis / basis[:1].square().sum()
        ).mT
        return coefficients

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        differences: Tensor = (values @ self.components.flatten(1)).unflatten(
            1, self.components.shape[1:]
        )
        return differences + self.mean

    def domain_error(self, low: float, high: float) -> str | None:
        return (
            "a single number has no components; they are for images"
            if math.isfinite(high - low)
            else None
        )

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -math.inf, math.inf


# The transform of values that repeat, such as directions.


TURN = 2 * math.pi


class Angle(Transform):
    """Cosine and sine of a periodic value, such as a strike; for outputs.

    period  the difference after which values mean the same, in the variable's unit: 2π rad or 360°
            for directions, half of it for lines without a direction

    A strike of 359° is a neighbour of one of 1°. The network learns two numbers for each value,
    (batch, 2 channels, ...): first all cosines, then all sines. The inverse is the direction in
    which they point, from 0 up to the period; their length has no effect. Mardia and Jupp (2000),
    Directional Statistics, chapter 2.
    """

    formula = "concatenate([cos(value * 2 * pi / period), sin(value * 2 * pi / period)], axis=1)"
    inverse_formula = (
        "arctan2(value[:, value.shape[1] // 2 :], value[:, : value.shape[1] // 2]) * period / (2 *"
        " pi) % period"
    )
    period: float

    def __init__(self, period: float = TURN) -> None:
        super().__init__()
        self.period = period

    def shape(self, values: Shape) -> Shape:
        return (2 * values[0], *values[1:])

    def forward(self, values: Tensor) -> Tensor:
        turned = values * (TURN / self.period)
        return torch.cat([turned.cos(), turned.sin()], dim=1)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        cosines, sines = values.chunk(2, dim=1)
        direction = torch.atan2(sines, cosines) * (self.period / TURN)
        # The remainder of a tiny negative number is rounded to the period itself, which is 0.
        return direction.remainder(self.period).remainder(self.period)

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -1.0, 1.0


# Values as standard normal quantiles of their distribution.


SCORE_SPAN = 7.0
"""Largest absolute score: a millionth of a millionth of the values lies beyond it."""

POWER = 12
NODES = 2**POWER + 1
"""Scores of the tabulated distribution; linear between them to a few parts in a million."""


class NormalScore(Transform):
    """Standard normal quantile of a value's probability under a distribution; for outputs of
    posterior heads.

    distribution  `{"type": …, "parameters": …}`; its support bounds whatever comes back by the
                  inverse
    """

    formula = f"interp(value, nodes, linspace(-{SCORE_SPAN:g}, {SCORE_SPAN:g}, len(nodes)))"
    inverse_formula = f"interp(value, linspace(-{SCORE_SPAN:g}, {SCORE_SPAN:g}, len(nodes)), nodes)"

    nodes: Tensor

    def __init__(self, distribution: str | Mapping[str, Any]) -> None:
        super().__init__()
        self.distribution: Distribution = built_within(DISTRIBUTIONS, "distribution", distribution)
        nodes = self.distribution.quantile(ndtr(np.linspace(-SCORE_SPAN, SCORE_SPAN, NODES)))
        self.register_buffer("nodes", torch.from_numpy(nodes), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        exact = values.double().clamp(self.nodes[0], self.nodes[-1])
        if torch.compiler.is_exporting():
            node = torch.zeros_like(exact, dtype=torch.long)
            # a binary search in operations that exported networks can hold
            for power in reversed(range(POWER)):
                further = node + 2**power
                node = torch.where(self.nodes[further] <= exact, further, node)
        else:
            node = (torch.searchsorted(self.nodes, exact, right=True) - 1).clamp(0, NODES - 2)
        low = self.nodes[node]
        high = self.nodes[node + 1]
        # of the last two nodes, far from zero, it may be 0
        width = (high - low).clamp(min=torch.finfo(low.dtype).tiny)
        position = node + (exact - low) / width
        scores: Tensor = position * (2 * SCORE_SPAN / (NODES - 1)) - SCORE_SPAN
        return scores.to(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        position = (values.double().clamp(-SCORE_SPAN, SCORE_SPAN) + SCORE_SPAN) * (
            (NODES - 1) / (2 * SCORE_SPAN)
        )
        node = position.detach().floor().clamp(0, NODES - 2).long()
        low = self.nodes[node]
        high = self.nodes[node + 1]
        result: Tensor = low + (position - node) * (high - low)
        return result.to(values)

    def domain_error(self, low: float, high: float) -> str | None:
        least, greatest = self.distribution.support()
        if low < least or high > greatest:
            return (
                f"values reach from {low:g} to {high:g}, but the transform's distribution lies"
                f" between {least:g} and {greatest:g}"
            )
        return None


# Transforms: the one place where values are scaled. Losses see transformed values, users never do.
#
# The table, and the chain, which builds its steps from it.


class Chain(Transform):
    """Several transforms, one after the other.

    of  names, or descriptions with parameters, in the order in which they are applied
    """

    def __init__(self, of: Sequence[str | Mapping[str, Any]]) -> None:
        super().__init__()
        steps: list[Transform] = [
            built_within(TRANSFORMS, "transform", description) for description in of
        ]
        self.steps = nn.ModuleList(steps)
        self.needs_own = any(step.needs_own for step in steps)
        self.period = next((step.period for step in steps), None)
        if any(step.period is not None for step in steps[1:]):
            raise ValueError(
                "a transform that makes several numbers of each value, as 'angle' does, must come"
                " first"
            )

    def shape(self, values: Shape) -> Shape:
        for step in self._transforms():
            values = step.shape(values)
        return values

    def fit(self, values: Tensor) -> None:
        for step in self._transforms():
            step.fit(values)
            values = step(values)

    def forward(self, values: Tensor) -> Tensor:
        for step in self.steps:
            values = step(values)
        return values

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        given: list[Tensor | None] = []  # `own`, as each step takes it
        for step in self._transforms():
            given.append(own)
            own = step(own) if own is not None and self.needs_own else None
        for step, own in zip(reversed(self._transforms()), reversed(given), strict=True):
            values = step.inverse(values, own)
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
    "asinh": Entry.documented(
        Asinh,
        {"type": "asinh", "parameters": {"scale": 0.01}},
        scale=number("value at which the function turns from linear to logarithmic", above=0),
    ),
    "log": Entry.documented(Log, {"type": "log"}),
    "log1p": Entry.documented(Log1p, {"type": "log1p"}),
    "anscombe": Entry.documented(Anscombe, {"type": "anscombe"}),
    "per_sample": Entry.documented(PerSample, {"type": "per_sample"}),
    "log_ratios": Entry.documented(
        LogRatios,
        {"type": "log_ratios", "parameters": {"reference": 1}},
        reference=integer("column, from 0", least=0),
    ),
    "chain": Entry.documented(
        Chain,
        {"type": "chain", "parameters": {"of": ["log", "standardize"]}},
        of=array(
            {"type": ["string", "object"], "x-entry-of": "transforms"}, "names or descriptions"
        ),
    ),
    "scale": Entry.documented(
        Scale,
        {"type": "scale", "parameters": {"typical": 2000.0}},
        typical=number("typical value", message="must not be 0") | {"not": {"const": 0}},
    ),
    "standardize": Entry.documented(
        Standardize,
        {"type": "standardize"},
        deviation=choice(
            ["channel", "all", "value"],
            "standard deviation of each channel, or one for all; value: all of a sample have"
            " their own, and mean",
        ),
    ),
    "adapted": Entry.documented(Adapted, {"type": "adapted"}),
    "principal_components": Entry.documented(
        PrincipalComponents,
        {"type": "principal_components", "parameters": {"count": 3}},
        count=integer("number of components", least=1),
    ),
    "angle": Entry.documented(
        Angle,
        {"type": "angle", "parameters": {"period": 360}},
        period=number(
            "period of the values, in the variable's unit: 360 for degrees, 180 for lines"
            " without a direction",
            above=0,
        ),
    ),
    "minmax": Entry.documented(MinMax, {"type": "minmax"}),
    "normal_score": Entry.documented(
        NormalScore,
        {
            "type": "normal_score",
            "parameters": {
                "distribution": {"type": "uniform", "parameters": {"a": 0.0, "b": 10.0}}
            },
        },
        distribution={
            "type": ["string", "object"],
            "x-entry-of": "distributions",
            "description": "distribution of the values",
        },
    ),
}

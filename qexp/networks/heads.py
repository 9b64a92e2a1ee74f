"""Posterior heads: operations that end a branch in a density of several outputs together."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.quasirandom import SobolEngine
from torch.special import ndtri

from qexp.base.tables import Entry, array, integer, number
from qexp.errors import extra
from qexp.networks.shapes import Shape


class Density(ABC):
    """The density, or the probability, of the transformed outputs of each sample of a batch."""

    device: torch.device
    """On which it is."""

    @abstractmethod
    def log_prob(self, values: Tensor) -> Tensor:
        """The logarithm of the density, (..., sample), of values (..., sample, output)."""

    @abstractmethod
    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """Independent draws, (draw, sample, output); `random` is on the device of the density."""

    @abstractmethod
    def middle(self) -> Tensor:
        """The estimate of each output by itself, (sample, output)."""

    def losses(self, values: Tensor) -> Tensor:
        """What training minimises of each sample, (sample,): by default −log p(values)."""
        return -self.log_prob(values)


class Continuous(Density):
    """The density of numbers."""

    @abstractmethod
    def quantiles(self, probabilities: Tensor) -> Tensor:
        """Quantiles of each output by itself, (sample, output, probability)."""

    def middle(self) -> Tensor:
        """The medians."""
        return self.quantiles(torch.tensor([0.5]))[..., 0]


class Head(nn.Module, ABC):
    """The last operation of a branch: from features to the density of its outputs.

    outputs  how many
    numbers  of the estimates of all of them together
    As an operation among others it makes the outputs' estimates, (batch, number).
    """

    def __init__(self, outputs: int, numbers: int | None = None) -> None:
        super().__init__()
        self.outputs = outputs
        self.numbers = numbers or outputs

    @abstractmethod
    def density(self, features: Tensor) -> Density:
        """The density for each sample, from (batch, ...)."""

    def forward(self, features: Tensor) -> Tensor:
        if features.is_meta:  # only the shape is asked for
            return features.new_empty(len(features), self.numbers)
        return self.density(features).middle()


# Gaussian densities with full covariance, and mixtures of them.

LARGEST_LOGARITHM = 14.0
"""Of a diagonal element of a precision's factor; by tanh, so that no step can overflow."""

BISECTIONS = 40
"""Of an interval of some deviations: what is left is below the error of single precision."""

TAIL = 6.0
"""Deviations beyond the components' means within which quantiles of a mixture are searched."""


class Gaussian(Continuous):
    """Normal densities of mean μ and precision L Lᵀ.

    mean    (..., sample, output)
    factor  (..., sample, output, output)  L, lower triangular with a positive diagonal
    """

    def __init__(self, mean: Tensor, factor: Tensor) -> None:
        self.mean = mean
        self.factor = factor
        self.device = mean.device

    def log_prob(self, values: Tensor) -> Tensor:
        half = 0.5 * self.scores(values).square().sum(-1)
        return self.log_volume() - half - 0.5 * self.mean.shape[-1] * math.log(2 * math.pi)

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        normal = torch.randn(
            count,
            *self.mean.shape,
            generator=random,
            dtype=self.mean.dtype,
            device=self.mean.device,
        )
        return self.values(normal)

    def quantiles(self, probabilities: Tensor) -> Tensor:
        scores: Tensor = ndtri(probabilities.to(self.mean))
        return self.mean[..., None] + self.deviations()[..., None] * scores

    def middle(self) -> Tensor:
        return self.mean

    def deviations(self) -> Tensor:
        """Standard deviation of each output by itself, (..., sample, output)."""
        deviations: Tensor = torch.linalg.vector_norm(self._root(), dim=-1)
        return deviations

    def scores(self, values: Tensor) -> Tensor:
        """Lᵀ (value − μ), (..., sample, output): standard normal if values have this density."""
        return (self.factor * (values - self.mean)[..., :, None]).sum(-2)

    def values(self, scores: Tensor) -> Tensor:
        """The inverse of `scores`."""
        return self.mean + (self._root() * scores[..., None, :]).sum(-1)

    def log_volume(self) -> Tensor:
        """The logarithm of the determinant of L, (..., sample)."""
        return self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _root(self) -> Tensor:
        """L⁻ᵀ, whose product with its transpose is the covariance.

        By substitution in plain operations: few outputs make it quick, and exported networks can
        hold it.
        """
        size = self.factor.shape[-1]
        inverse: list[list[Tensor]] = []
        for row in range(size):
            pivot = self.factor[..., row, row].reciprocal()
            columns = []
            for column in range(row):
                steps = range(column, row)
                total = sum(self.factor[..., row, step] * inverse[step][column] for step in steps)
                columns.append(-pivot * total)
            inverse.append([*columns, pivot, *[torch.zeros_like(pivot)] * (size - row - 1)])
        columns = [torch.stack(column, dim=-1) for column in zip(*inverse, strict=True)]
        return torch.stack(columns, dim=-2)


class Mixture(Continuous):
    """Weighted sums of Gaussian densities.

    log_weights  (sample, component)  logarithms of weights whose sum is 1
    components   with means (sample, component, output)
    """

    def __init__(self, log_weights: Tensor, components: Gaussian) -> None:
        self.log_weights = log_weights
        self.components = components
        self.device = log_weights.device

    def log_prob(self, values: Tensor) -> Tensor:
        return torch.logsumexp(
            self.log_weights + self.components.log_prob(values[..., None, :]), dim=-1
        )

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        weights = self.log_weights.exp()
        finite = weights.isfinite().all(dim=-1, keepdim=True)
        chosen = torch.multinomial(
            weights.where(finite, 1), count, replacement=True, generator=random
        ).T
        of_each = self.components.draws(count, random)
        index = chosen[..., None, None].expand(*chosen.shape, 1, of_each.shape[-1])
        return of_each.gather(-2, index).squeeze(-2).where(finite, torch.nan)

    def quantiles(self, probabilities: Tensor) -> Tensor:
        mean = self.components.mean
        deviation = self.components.deviations()
        levels = probabilities.to(mean)
        low = (mean - TAIL * deviation).amin(1)[..., None]
        high = (mean + TAIL * deviation).amax(1)[..., None]
        weights = self.log_weights.exp()[:, :, None, None]
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            scores = (middle[:, None] - mean[..., None]) / deviation[..., None]
            too_low = (weights * torch.special.ndtr(scores)).sum(1) < levels
            low = torch.where(too_low, middle, low)
            high = torch.where(too_low, high, middle)
        return 0.5 * (low + high)


class _Numbers(nn.Linear):
    """Makes a density's numbers, small at first: the density begins as a standard normal."""

    initial_scale = 0.05


class _Factors(nn.Module):
    """Numbers of a network → means and factors of precisions, with a diagonal above `least`."""

    basis: Tensor

    def __init__(self, outputs: int, least: float = 0.0) -> None:
        super().__init__()
        self.outputs, self.least = outputs, least
        self.numbers = outputs + outputs * (outputs + 1) // 2
        rows, columns = np.tril_indices(outputs, -1)
        basis = np.eye(outputs**2, dtype=np.float32)[rows * outputs + columns]
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def forward(self, numbers: Tensor) -> Gaussian:
        """numbers  (..., number)"""
        sizes = self.outputs, self.outputs, self.basis.shape[0]
        mean, logarithm, others = numbers.split(sizes, dim=-1)
        limited = LARGEST_LOGARITHM * torch.tanh(logarithm / LARGEST_LOGARITHM)
        diagonal = limited.exp() + self.least
        # Elements below the diagonal are in units of their column's: a correlation then takes a
        # number of order 1.
        lower = (others @ self.basis).unflatten(-1, (self.outputs, self.outputs))
        lower = lower * diagonal[..., None, :]
        return Gaussian(mean, lower + torch.diag_embed(diagonal))


class GaussianHead(Head):
    """Posterior of all outputs of a branch: a normal density with full covariance, of transformed
    values.

    A linear layer makes its means, and the factor of its precision.
    """

    def __init__(self, shape: Shape, outputs: int, /) -> None:
        super().__init__(outputs)
        self.factors = _Factors(outputs)
        self.linear = _Numbers(math.prod(shape), self.factors.numbers)

    def gaussian(self, features: Tensor) -> Gaussian:
        """The normal density for each sample, from (batch, ...)."""
        density: Gaussian = self.factors(self.linear(features.flatten(1)))
        return density

    def density(self, features: Tensor) -> Density:
        return self.gaussian(features)


class MixtureHead(Head):
    """Posterior of all outputs of a branch: a mixture of normal densities with full covariances.

    A linear layer makes their weights, means and precisions.

    components  how many
    widest      standard deviation of a transformed output, given those after it, that no component
                reaches: draws of one that hardly any sample needs could lie anywhere
    temperature  of the softmax that makes the weights
    """

    centres: Tensor

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        /,
        components: int = 4,
        widest: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(outputs)
        self.components, self.temperature = components, temperature
        self.factors = _Factors(outputs, 1 / widest if widest else 0.0)
        self.linear = _Numbers(math.prod(shape), components * (1 + self.factors.numbers))
        # Components that begin alike would stay alike.
        self.register_buffer("centres", torch.linspace(-1, 1, components), persistent=False)

    def density(self, features: Tensor) -> Mixture:
        """With weights of (sample, component), and components of (sample, component, output)."""
        numbers = self.linear(features.flatten(1)).unflatten(-1, (self.components, -1))
        components: Gaussian = self.factors(numbers[..., 1:])
        apart = Gaussian(components.mean + self.centres[:, None], components.factor)
        scores = numbers[..., 0] / self.temperature
        return Mixture(functional.log_softmax(scores, dim=-1), apart)


# Normalizing flows: densities of any form, by zuko.

QUASI_RANDOM = 128
"""Points of a Sobol sequence, the same for every sample, by which quantiles are found."""

MOST_AT_ONCE = 2**18
"""Numbers that are drawn together: inverting a spline needs some hundred times their memory."""


class Flow(Continuous):
    """A Gaussian density whose scores are not normal, but follow a normalizing flow.

    flow  zuko's distribution of the scores of each sample
    """

    def __init__(self, gaussian: Gaussian, flow: Any) -> None:
        self.gaussian = gaussian
        self.flow = flow
        self.device = gaussian.device

    def log_prob(self, values: Tensor) -> Tensor:
        of_scores: Tensor = self.flow.log_prob(self.gaussian.scores(values))
        return of_scores + self.gaussian.log_volume()

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        mean = self.gaussian.mean
        return self._of_normal(
            torch.randn(count, *mean.shape, generator=random, device=mean.device)
        )

    def quantiles(self, probabilities: Tensor) -> Tensor:
        """(sample, output, probability), of quasi-random draws."""
        mean = self.gaussian.mean
        points = SobolEngine(mean.shape[-1]).draw(QUASI_RANDOM).to(mean)
        normal = ndtri(points + 0.5 / QUASI_RANDOM)
        draws = self._of_normal(normal[:, None].expand(-1, len(mean), -1))
        return torch.quantile(draws, probabilities.to(draws), dim=0).permute(1, 2, 0)

    def _of_normal(self, normal: Tensor) -> Tensor:
        """Draws, (draw, sample, output), from standard normal numbers."""
        size = max(1, MOST_AT_ONCE // max(1, normal[0].numel()))
        return self.gaussian.values(
            torch.cat([self.flow.transform.inv(part) for part in normal.split(size)])
        )


class FlowHead(GaussianHead):
    """Posterior of all outputs of a branch: a normalizing flow of splines, for densities of any
    form.

    A neural spline flow (Durkan et al. 2019), autoregressive and conditional, after a linear layer
    that makes the scale. Splines act within five standard deviations; the Gaussian density that
    they bend makes them independent of how narrow a posterior is.

    transforms  number of splines, one after the other
    units       width of each hidden layer of the networks that make their knots from the features
    bins        of a spline
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        /,
        transforms: int = 2,
        units: Sequence[int] = (64, 64),
        bins: int = 8,
    ) -> None:
        with extra("posterior"):
            from zuko.flows import NSF

        super().__init__(shape, outputs)
        device = torch.empty(0).device
        with torch.device("cpu"):  # zuko makes masks by operations that the meta device lacks
            flow = NSF(
                outputs,
                math.prod(shape),
                bins=bins,
                transforms=transforms,
                hidden_features=list(units),
            )
        self.flow = flow.to(device)

    def density(self, features: Tensor) -> Flow:
        return Flow(self.gaussian(features), self.flow(features.flatten(1)))


# Probabilities of classes.


class Categorical(Density):
    """The probabilities of the classes of one output, whose values are codes: 0, 1, and so on.

    scores   (..., sample, class)  logarithms of what is in proportion to the probabilities
    learned  of codes, (sample, 1), to what training minimises; by default as of other densities
    """

    def __init__(self, scores: Tensor, learned: Callable[[Tensor], Tensor] | None = None) -> None:
        self.log_probabilities = functional.log_softmax(scores, dim=-1)
        self.learned = learned
        self.device = scores.device

    def log_prob(self, values: Tensor) -> Tensor:
        codes = values.long()
        shape = *codes.shape[:-1], self.log_probabilities.shape[-1]
        return self.log_probabilities.expand(shape).gather(-1, codes).squeeze(-1)

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        probabilities = self.log_probabilities.exp()
        codes = torch.multinomial(probabilities, count, replacement=True, generator=random)
        return codes.T[..., None].to(probabilities)

    def middle(self) -> Tensor:
        """The probabilities, (sample, class)."""
        return self.log_probabilities.exp()

    def losses(self, values: Tensor) -> Tensor:
        return super().losses(values) if self.learned is None else self.learned(values)


class ClassHead(Head):
    """Probabilities of the classes of one output; the dataset declares their names.

    A linear layer makes their logarithms but for a constant, the loss is the cross entropy. Class
    weights let rare classes count more in training. The probabilities that are learned then are in
    proportion to weight times probability, so they are divided by the weights wherever the network
    estimates, and stay those of the training data.

    classes    how many
    smoothing  share of each true class that training gives to all of them evenly (Szegedy et al.
               2016, CVPR, section 7); it keeps probabilities away from 0 and 1
    weights    of each class in the loss; all 1 if left out
    """

    balance: Tensor

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        /,
        classes: int,
        smoothing: float = 0.0,
        weights: Sequence[float] | None = None,
    ) -> None:
        if outputs > 1:
            raise ValueError(f"makes the classes of one output, not of {outputs}: a head for each")
        if weights is not None and len(weights) != classes:
            raise ValueError(f"{len(weights)} weights for {classes} classes; give one for each")
        super().__init__(outputs, classes)
        self.smoothing = smoothing
        self.linear = _Numbers(math.prod(shape), classes)
        balance = torch.tensor([float(weight) for weight in weights or [1.0] * classes])
        self.register_buffer("balance", balance, persistent=False)

    def density(self, features: Tensor) -> Categorical:
        scores = self.linear(features.flatten(1))
        if not self.training:
            return Categorical(scores - self.balance.log())

        def learned(codes: Tensor) -> Tensor:
            target = codes[:, 0].long()
            sums = functional.cross_entropy(
                scores, target, self.balance, reduction="none", label_smoothing=self.smoothing
            )
            return sums / self.balance[target].mean()

        return Categorical(scores, learned)


@dataclass(frozen=True)
class HeadEntry(Entry):
    """An operation whose builder gets the shape of its input and the number of outputs."""


CLASSES = "classes"
"""The head of outputs that are classes, and of no others."""

HEADS: dict[str, Entry] = {
    "gaussian_posterior": HeadEntry.documented(GaussianHead, {"module": "gaussian_posterior"}),
    "mixture_posterior": HeadEntry.documented(
        MixtureHead,
        {"module": "mixture_posterior", "parameters": {"components": 3}},
        components=integer("number of normal densities", 1, 100),
        widest=number(
            "standard deviation of transformed outputs that none reaches; null: of any size",
            above=0,
            type=["number", "null"],
            left_out="default",
        ),
        temperature=number(
            "of the softmax of the weights; below 1 they part sooner", above=0, left_out="default"
        ),
    ),
    "flow_posterior": HeadEntry.documented(
        FlowHead,
        {"module": "flow_posterior", "parameters": {"transforms": 2, "units": [32, 32]}},
        transforms=integer("number of splines, one after the other", 1, 20),
        units=array(
            integer("", 1),
            "width of each hidden layer of the networks that make their knots",
            1,
            20,
        ),
        bins=integer("pieces of a spline", 2, 64),
    ),
    CLASSES: HeadEntry.documented(
        ClassHead,
        {"module": CLASSES, "parameters": {"classes": 3, "smoothing": 0.05}},
        classes=integer("number of classes", 2, 1000),
        smoothing=number("share of each true class that all have", least=0, below=1),
        weights=array(
            number(above=0),
            "of each class in the loss; null: 1",
            type=["array", "null"],
            left_out="default",
        ),
    ),
}

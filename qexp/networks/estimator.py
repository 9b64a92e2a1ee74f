"""A network and its transforms estimate in users' units: alone, in an ensemble, by a posterior."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, combinations, pairwise
from typing import cast

import torch
from torch import Tensor, nn

from qexp.base.outputs import NO_LIMITS, Estimated, Limits, joined
from qexp.base.quantities import module_name
from qexp.errors import QexpError
from qexp.networks.checkpoint import joined as joined_tensors
from qexp.networks.heads import Continuous, Density
from qexp.networks.imputation import Imputation
from qexp.networks.network import Network, evaluating
from qexp.networks.shapes import Shape
from qexp.networks.transforms import Transform

FAR_VALUE = 1e3
"""A transformed value that no density reaches."""

EDGE, SINGLE = 1e-9, 2**-23
"""Shares of a bounded range, and of its ends, by which draws of single precision may lie beyond."""


class Posterior:
    """The posterior of each sample's outputs; outputs of different heads are independent.

    densities   outputs → the density of their transformed values, for all samples
    transforms  output → its transform; outputs without one are not transformed
    """

    def __init__(
        self, densities: Mapping[tuple[str, ...], Density], transforms: Mapping[str, Transform]
    ) -> None:
        self._densities = dict(densities)
        self._transforms = dict(transforms)
        self.names: list[str] = [name for outputs in densities for name in outputs]
        self.device = next(iter(densities.values())).device

    @torch.no_grad()
    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """Independent draws, (draw, sample, output), in units; outputs in the order of `names`."""
        draws = self._transformed_draws(count, random)
        columns = [self._inverse(name, draws[..., index]) for index, name in enumerate(self.names)]
        return torch.stack(columns, dim=-1)

    @torch.no_grad()
    def quantiles(self, probabilities: Sequence[float]) -> dict[str, Tensor]:
        """Output with a continuous density → quantiles, (sample, probability), in its unit."""
        levels = torch.tensor(list(probabilities), dtype=torch.float64)
        quantiles = {}
        for outputs, density in self._densities.items():
            if not isinstance(density, Continuous):
                continue
            for name, values in zip(outputs, density.quantiles(levels).unbind(1), strict=True):
                # A transform may reverse the order, such as a division by a negative number.
                quantiles[name] = self._inverse(name, values).sort(dim=-1).values
        return quantiles

    @torch.no_grad()
    def correlations(self) -> dict[tuple[str, str], Tensor]:
        """Pair of outputs → their rank correlation (Spearman), (sample,), of draws that are the
        same at each call.
        """
        draws = self._transformed_draws(1000, torch.Generator(self.device).manual_seed(0))
        # Of 1000 draws correlations are known to 0.03 or better.
        return rank_correlations(draws, self.names)

    def own_deviations(self) -> dict[str, Tensor]:
        """Of several networks output → the root of the mean variance of their posteriors,
        (sample,), in its unit.
        """
        return {}

    @torch.no_grad()
    def log_prob(self, values: Tensor) -> Tensor:
        """The logarithm of the density, (..., sample), of (..., sample, output) in units."""
        transformed, slopes = [], []
        for index, name in enumerate(self.names):
            column = values[..., index].detach().reshape(-1, 1).requires_grad_()
            with torch.enable_grad():
                image = self._transforms[name](column) if name in self._transforms else column * 1
                (slope,) = torch.autograd.grad(image.sum(), column)
            transformed.append(image.detach().view(values.shape[:-1]))
            slopes.append(slope.view(values.shape[:-1]))
        start = 0
        log_prob = torch.stack(slopes, dim=-1).abs().log().sum(-1)
        for outputs, density in self._densities.items():
            columns = torch.stack(transformed[start : start + len(outputs)], dim=-1).float()
            start += len(outputs)
            log_prob = log_prob + density.log_prob(columns)
        return log_prob

    def log_prob_within(self, values: Tensor) -> Tensor:
        """The logarithm of the density, of values in double precision; −∞ where no draw can lie,
        such as beyond the ends of a prior.
        """
        columns = []
        possible = torch.ones(values.shape[:-1], dtype=torch.bool, device=values.device)
        for index, name in enumerate(self.names):
            ends = self._inverse(name, values.new_tensor([-FAR_VALUE, FAR_VALUE])).sort().values
            slack = (EDGE * ends.diff() + SINGLE * ends.abs()).nan_to_num(nan=0.0, posinf=0.0)
            low = ends[0] - slack[0]
            high = ends[1] + slack[1]
            column = values[..., index]
            possible &= (column >= low) & (column <= high)
            columns.append(column.clamp(*ends))
        log_prob = self.log_prob(torch.stack(columns, dim=-1)).nan_to_num(nan=-math.inf)
        return log_prob.where(possible, -math.inf)

    def _transformed_draws(self, count: int, random: torch.Generator | None) -> Tensor:
        return torch.cat(
            [density.draws(count, random) for density in self._densities.values()], dim=-1
        )

    def _inverse(self, name: str, values: Tensor) -> Tensor:
        """Back to the unit of an output, in the same shape."""
        if name not in self._transforms:
            return values
        return self._transforms[name].inverse(values.reshape(-1, 1)).view(values.shape)


def rank_correlations(draws: Tensor, names: Sequence[str]) -> dict[tuple[str, str], Tensor]:
    """Pair of variables → Spearman's correlation, (sample,), of draws, (draw, sample, variable)."""
    ranks = draws.argsort(dim=0).argsort(dim=0).double()
    scores = (ranks - ranks.mean(dim=0)) / ranks.std(dim=0, correction=0)
    return {
        (names[i], names[j]): (scores[..., i] * scores[..., j]).mean(dim=0).float()
        for i, j in combinations(range(len(names)), 2)
    }


LEVELS = 400
"""Quantiles of each network, at equal steps of probability: its posterior in a mixture."""


class PosteriorMixture(Posterior):
    """The mixture of the posteriors of several networks, with equal weights."""

    def __init__(self, posteriors: Sequence[Posterior]) -> None:
        self.parts = list(posteriors)
        first = posteriors[0]
        self.names = first.names
        self.device = first.device

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """Draws in random order. Each network makes the same number of draws; where `count` cannot
        be divided, those that make one more are chosen at random.
        """
        share, rest = divmod(count, len(self.parts))
        order = torch.randperm(len(self.parts), generator=random, device=self.device)
        with_one_more = order[:rest].tolist()
        draws = []
        for index, part in enumerate(self.parts):
            own_count = share + (index in with_one_more)
            if own_count:
                draws.append(part.draws(own_count, random))
        return torch.cat(draws)[torch.randperm(count, generator=random, device=self.device)]

    _transformed_draws = draws  # each network has its own transforms

    @cached_property
    def _levels(self) -> dict[str, Tensor]:
        """Output → quantiles of each network, (network, sample, level)."""
        probabilities = [(level + 0.5) / LEVELS for level in range(LEVELS)]
        parts = [part.quantiles(probabilities) for part in self.parts]
        return joined_tensors(parts, torch.stack)

    def quantiles(self, probabilities: Sequence[float]) -> dict[str, Tensor]:
        """Quantiles, see `Posterior.quantiles`, to a thousandth of probability."""
        shares = torch.tensor(list(probabilities))
        quantiles = {}
        for name, levels in self._levels.items():
            pooled = levels.transpose(0, 1).flatten(1)
            quantiles[name] = torch.quantile(pooled, shares.to(pooled), dim=1).T
        return quantiles

    def own_deviations(self) -> dict[str, Tensor]:
        return {
            name: levels.var(dim=-1, correction=0).mean(dim=0).sqrt()
            for name, levels in self._levels.items()
        }

    def log_prob(self, values: Tensor) -> Tensor:
        return self._mean([part.log_prob(values) for part in self.parts])

    def log_prob_within(self, values: Tensor) -> Tensor:
        return self._mean([part.log_prob_within(values) for part in self.parts])

    def _mean(self, log_probs: Sequence[Tensor]) -> Tensor:
        return torch.logsumexp(torch.stack(list(log_probs)), dim=0) - math.log(len(self.parts))


# A network together with the transforms around it: what is trained, saved and used to predict.

BATCH = 128
"""Samples estimated at a time on a processor, so that activations stay in its cache."""

BLOCK_NUMBERS = 2**17
"""Most numbers transformed at a time, for the same reason."""

BLOCK_OF_SCALARS = 2**14
"""Samples of one number each that are transformed at a time: less would cost more than it takes."""


class Transforms(nn.ModuleDict):
    """Transforms by variables, whose names may have dots (`chamber.depth`); torch has `:` there."""

    def __init__(self, transforms: Mapping[str, Transform]) -> None:
        super().__init__(transforms)
        self._names = list(transforms)

    def __setitem__(self, variable: str, transform: nn.Module) -> None:
        super().__setitem__(module_name(variable), transform)

    def __getitem__(self, variable: str) -> Transform:
        return cast(Transform, super().__getitem__(module_name(variable)))

    def __contains__(self, variable: str) -> bool:
        return super().__contains__(module_name(variable))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def keys(self) -> KeysView[str]:
        return dict.fromkeys(self._names).keys()

    def items(self) -> ItemsView[str, Transform]:
        return {name: self[name] for name in self._names}.items()


class Estimator(nn.Module):
    """Observations in their own units → estimates in theirs.

    transforms  input or output → its transform; variables without one are not transformed
    limits      output → limits of its estimates; outputs without limits are left out
    imputation  fills gaps in the inputs; None if all have values
    """

    def __init__(
        self,
        network: Network,
        transforms: Mapping[str, Transform],
        limits: Mapping[str, Limits] | None = None,
        imputation: Imputation | None = None,
    ) -> None:
        super().__init__()
        self.imputation = imputation
        self.network = network
        self.transforms = Transforms(transforms)
        self.limits = dict(limits or {})
        self._on_gpu: int | None = None
        """Samples estimated at a time on a GPU."""

    @property
    def periods(self) -> dict[str, float]:
        """Output → the period after which its values repeat, where its transform has one."""
        return {
            name: transform.period
            for name, transform in self.transforms.items()
            if name in self.network.outputs and transform.period is not None
        }

    @property
    def takes(self) -> dict[str, Shape]:
        """Input that samples must have → its shape; the indicator of their gaps is made."""
        made = None if self.imputation is None else self.imputation.indicator
        return {name: shape for name, shape in self.network.inputs.items() if name != made}

    def completed(self, samples: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The samples without gaps in their inputs."""
        return samples if self.imputation is None else self.imputation(samples)

    def transformed(self, name: str, values: Tensor) -> Tensor:
        """Transformed values of an input or output, as the network sees them."""
        return self.transforms[name](values) if name in self.transforms else values

    def transformed_in_blocks(self, name: str, values: Tensor) -> Tensor:
        """Transformed values, some samples at a time, which stay in the processor's cache."""
        return torch.cat([self.transformed(name, block) for block in values.split(_block(values))])

    def forward(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Estimates of all outputs, (batch, ...), in the outputs' own units, before they are
        limited.

        An ensemble's spread is that of these: limits would hide how far its networks differ.
        """
        return self.unlimited(self.network(self.inputs(samples)), samples)

    def inputs(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs as the network sees them: without gaps, and transformed."""
        samples = self.completed(samples)
        return {name: self.transformed(name, samples[name]) for name in self.network.inputs}

    def in_units(
        self, outputs: Mapping[str, Tensor], samples: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The network's transformed outputs in their own units, by the inverse transforms, and
        within their limits.

        samples  the inputs in their own units, which some inverse transforms need (of an output
                 that is also an input)
        """
        return self.limited(self.unlimited(outputs, samples))

    def limited(self, estimates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Estimates of outputs, each within its limits."""
        return {
            name: self.limits.get(name, NO_LIMITS)(values) for name, values in estimates.items()
        }

    def unlimited(
        self, outputs: Mapping[str, Tensor], samples: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Like `in_units`, before limits."""
        return {
            name: self._inverse(name, values.float(), samples) for name, values in outputs.items()
        }

    def _inverse(self, name: str, values: Tensor, samples: Mapping[str, Tensor]) -> Tensor:
        if name not in self.transforms:
            return values
        transform = self.transforms[name]
        if name not in self.network.inputs:
            return transform.inverse(values)
        blocks = zip(values.split(BATCH), samples[name].split(BATCH), strict=True)
        return torch.cat([transform.inverse(block, own) for block, own in blocks])

    def estimate(
        self, samples: Mapping[str, Tensor], batch_size: int | None = None
    ) -> dict[str, Tensor]:
        """Estimates of all outputs, (sample, ...), in their units and within their limits.

        Batched, in evaluation mode, without gradients.
        """

        def unlimited(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            inputs = {
                name: self.transformed_in_blocks(name, values)
                for name, values in self.completed(batch).items()
            }
            return self.unlimited(self.network(inputs), batch)

        return self.limited(self._in_batches(unlimited, samples, batch_size))

    def estimated(
        self, samples: Mapping[str, Tensor], probabilities: Sequence[float] = ()
    ) -> dict[str, Estimated]:
        """Output → what it estimates, (sample, ...), in its unit and within its limits.

        probabilities  of quantiles of posterior heads
        """
        estimates = self.estimate(samples)
        made = _with_quantiles(self, samples, estimates, probabilities)
        for name, limits in self.limits.items():
            made[name] = made[name].each(limits)
        return made

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's outputs, still transformed, for inputs that are already transformed."""
        return self._in_batches(self.network, inputs)

    @torch.no_grad()
    def posterior(self, samples: Mapping[str, Tensor]) -> Posterior:
        """The posterior of the outputs of all posterior heads, for samples in their own units.

        Raises QexpError if the network has no posterior head.
        """
        if not self.network.posteriors:
            raise QexpError(
                f"the network estimates {', '.join(self.network.outputs)} without a posterior; end"
                " its branch with a posterior head, such as 'gaussian_posterior', and train it"
                " again"
            )
        features = self.features(self.inputs(samples))
        densities = {
            outputs: self.network.density(name, features[name])
            for name, outputs in self.network.posteriors.items()
        }
        outputs = self.network.outputs
        return Posterior(
            densities, {name: each for name, each in self.transforms.items() if name in outputs}
        )

    def features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's features, see `Network.features`, for transformed inputs."""
        return self._in_batches(self.network.features, inputs)

    def _batch_size(self) -> int:
        device = _device_of(self)
        if device.type == "cpu":
            return BATCH
        if self._on_gpu is None:
            self._on_gpu = batch_for(self.network, numbers_on_gpu(device))
        return self._on_gpu

    @torch.no_grad()
    def _in_batches(
        self,
        function: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        tensors: Mapping[str, Tensor],
        batch_size: int | None = None,
    ) -> dict[str, Tensor]:
        with evaluating(self):
            size = batch_size or self._batch_size()
            batches = [function(inputs) for inputs in _batches(self.network, tensors, size)]
        return joined_tensors(batches, torch.cat)


def _block(values: Tensor) -> int:
    """Samples to transform at a time on a CPU: a power of two, and of numbers whole vectors of the
    processor.
    """
    numbers = max(values[:1].numel(), 1)
    block = BATCH if numbers > 1 else BLOCK_OF_SCALARS
    while block * numbers > BLOCK_NUMBERS and block * numbers % 128 == 0:
        block //= 2
    return block if values.device.type == "cpu" else max(len(values), 1)


def _device_of(module: nn.Module) -> torch.device:
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))


def _batches(
    network: Network, tensors: Mapping[str, Tensor], size: int, together: int = 1
) -> Iterator[dict[str, Tensor]]:
    """together  whole batches that are one as long as there are so many"""
    names = [name for name in network.inputs if name in tensors]
    count = len(tensors[names[0]])
    large, rest = divmod(count, size * together)
    whole, last = divmod(rest, size)
    sizes = [size * together] * large + [size] * whole
    if last or not count:
        sizes.append(last)
    for parts in zip(*(tensors[name].split(sizes) for name in names), strict=True):
        yield dict(zip(names, parts, strict=True))


# An ensemble of trained networks as one estimator: its mean and its standard deviation.

CACHED_NUMBERS = 1 << 16
"""Activations of one layer, in numbers, that fit into a processor's cache beside the weights."""
NUMBERS_TOGETHER = 8 * CACHED_NUMBERS
"""Of all whole batches that are one: small products cost little more than their calls."""
BATCHES = (64, 4096)
"""Smallest and largest batch, in samples."""
TENSORS_AT_ONCE = 8
"""Of the widest layer's size, that a forward pass holds on a GPU, and convolutions read."""
SHARE_OF_GPU = 1 / 64
"""Of its whole memory, for a batch: threads have one each, and equal batches give equal bits."""


def numbers_on_gpu(device: torch.device, networks: int = 1) -> int:
    """Activations of one layer that a batch of each of some networks may have."""
    memory = torch.cuda.get_device_properties(device).total_memory
    return int(SHARE_OF_GPU * memory / (4 * TENSORS_AT_ONCE * networks))


class Ensemble:
    """Estimators with the same inputs and outputs, each with its own weights and transforms.

    folds  the number of networks of each fold, if estimates of the single folds are wanted, too

    On a CPU the networks take turns on batches that stay in the cache, which is as fast as matrix
    products of stacked weights, and faster than torch.func's vmap. On a GPU all are one
    computation, of batches that fill its memory.
    """

    recalibrated = ""
    """What made its posteriors wider or narrower; empty if they are the networks' own."""

    def __init__(self, models: Sequence[Estimator], folds: Sequence[int] = ()) -> None:
        self.models = [model.eval() for model in models]
        self.folds = folds
        self.network = self.models[0].network
        self.batch = batch_for(self.network)
        self._batches_at_once = batch_for(self.network, NUMBERS_TOGETHER) // self.batch
        self._stacked: StackedEnsemble | None = None
        device = _device_of(self.network)
        if device.type == "cuda" and len(models) > 1:
            self._stacked = stacked_estimates(self.models)
        if self._stacked is not None:
            self._batches_at_once = 1
            self.batch = batch_for(self.network, numbers_on_gpu(device, len(models)))

    def estimate(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Output → the mean, or the estimates of a single network as itself makes them."""
        if len(self.models) == 1:
            return self.models[0].estimate(samples)
        return {name: made.middle for name, made in self.estimated(samples).items()}

    def posterior(self, samples: Mapping[str, Tensor]) -> Posterior:
        """The posterior of a single network, or the mixture over all; see `Estimator.posterior`."""
        posteriors = [model.posterior(samples) for model in self.models]
        return PosteriorMixture(posteriors) if len(posteriors) > 1 else posteriors[0]

    @torch.no_grad()
    def estimated(
        self, samples: Mapping[str, Tensor], probabilities: Sequence[float] = ()
    ) -> dict[str, Estimated]:
        """Output → mean and standard deviation over the networks, (sample, ...), in its own unit.

        The mean is taken of transformed values, as the losses are: of logarithms where a logarithm
        is learned; it lies within the output's limits. The standard deviation is that of the
        estimates before they are limited, of an angle by the shorter way round; NaN if there is
        only one network.
        probabilities  of quantiles of posterior heads, whose means are taken likewise
        """
        batches: dict[str, list[Estimated]] = {name: [] for name in self.network.outputs}
        for batch in _batches(self.network, samples, self.batch, self._batches_at_once):
            for name, networks in self._of_networks(batch, probabilities).items():
                batches[name].append(self._combined(name, networks))
        return {name: joined(parts, torch.cat) for name, parts in batches.items()}

    def _combined(self, output: str, networks: Estimated) -> Estimated:
        """The estimates of all networks, (network, sample, ...), as one."""
        first = self.models[0]
        ends = pairwise(accumulate(self.folds, initial=0))
        folds = [_mean_of_fold(first, output, networks, slice(*of_fold)) for of_fold in ends]
        means = networks.each(lambda values: mean(first, output, values))
        return replace(means, spread=spread(first, output, networks.middle), folds=tuple(folds))

    def _of_networks(
        self, samples: Mapping[str, Tensor], probabilities: Sequence[float]
    ) -> dict[str, Estimated]:
        """Output → the estimates of each network before limits, (network, sample, ...)."""
        if self._stacked is not None and not (probabilities and self.network.posteriors):
            return {name: Estimated(values) for name, values in self._stacked(samples).items()}
        each = []
        for model in self.models:
            each.append(_with_quantiles(model, samples, model(samples), probabilities))
        return {name: _together([made[name] for made in each]) for name in self.network.outputs}


class StackedEnsemble(nn.Module):
    """The networks of an ensemble, of one layout, in one batched computation: output → (network,
    sample, ...).

    A thousand small networks are then a graph of dozens of operations and not of thousands.
    """

    def __init__(self, models: Sequence[Estimator]) -> None:
        super().__init__()
        weights, buffers = torch.func.stack_module_state(list(models))
        self.names = [*weights, *buffers]
        for index, tensor in enumerate([*weights.values(), *buffers.values()]):
            self.register_buffer(f"state_{index}", tensor.detach())
        # in a list, so that its weights are no parameters
        self.layout = [copy.deepcopy(models[0]).to("meta")]

    def forward(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        states = {name: self.get_buffer(f"state_{index}") for index, name in enumerate(self.names)}
        estimates: dict[str, Tensor] = torch.vmap(
            lambda state: torch.func.functional_call(self.layout[0], state, samples)
        )(states)
        return estimates


SAME_ESTIMATE = 1e-3
"""Difference of estimates, relative to the largest, that other orders of sums make."""


def stacked_estimates(models: Sequence[Estimator]) -> StackedEnsemble | None:
    """The networks as a stack; None if theirs cannot be, or gives other estimates than they do, as
    that of folds which chose other layouts.
    """
    device = _device_of(models[0])
    probe = {}
    for name, shape in models[0].takes.items():
        values = torch.linspace(-1, 1, 2 * math.prod(shape), device=device)
        probe[name] = values.view(2, *shape)
    try:
        stacked = StackedEnsemble(models)
        with torch.no_grad():
            together = stacked(probe)
            alone = [model(probe) for model in models]
    # what torch.func raises for an operation or a transform that looks at values
    except (RuntimeError, ValueError):
        return None
    for name, estimates in together.items():
        own = torch.stack([each[name] for each in alone])
        size = float(own.nan_to_num().abs().max())
        most = SAME_ESTIMATE * size
        if not torch.allclose(estimates, own, atol=most, equal_nan=True):
            return None
    return stacked


def _with_quantiles(
    model: Estimator,
    samples: Mapping[str, Tensor],
    estimates: Mapping[str, Tensor],
    probabilities: Sequence[float],
) -> dict[str, Estimated]:
    """Output → a network's estimates; of posterior heads with quantiles, before limits."""
    made = {name: Estimated(values) for name, values in estimates.items()}
    if probabilities and model.network.posteriors:
        for name, values in model.posterior(samples).quantiles(probabilities).items():
            columns = values.to(estimates[name]).split(1, dim=1)
            by_probability = dict(zip(probabilities, columns, strict=True))
            made[name] = replace(made[name], quantiles=by_probability)
    return made


def _together(networks: Sequence[Estimated]) -> Estimated:
    """Estimates of several networks, (network, sample, ...), with the quantiles behind them in
    memory, on which the rounding of means depends.
    """
    made = joined(networks, torch.stack)
    if not made.quantiles:
        return made
    numbers = torch.cat([made.middle, *made.quantiles.values()], dim=-1)
    middle, *quantiles = numbers.split(1, dim=-1)
    by_probability = dict(zip(made.quantiles, quantiles, strict=True))
    return replace(made, middle=middle, quantiles=by_probability)


def _mean_of_fold(model: Estimator, output: str, networks: Estimated, fold: slice) -> Estimated:
    """The mean over the networks of a fold, as it estimated what it held out."""
    return networks.each(lambda values: mean(model, output, values[fold].contiguous()))


def mean(model: Estimator, output: str, values: Tensor) -> Tensor:
    """The mean of an output's estimates, (network, sample, ...), over the networks, taken of
    transformed values.

    model  any of the networks: fitted transforms differ by a linear function only, which does not
           change the mean
    returns (sample, ...), within the output's limits
    """
    return model.limited({output: _mean(model, output, values)})[output]


def _mean(model: Estimator, output: str, values: Tensor) -> Tensor:
    if len(values) == 1:
        return values[0]
    if output not in model.transforms:
        return values.mean(dim=0)
    transform = model.transforms[output]
    transformed = transform(values.flatten(0, 1)).unflatten(0, values.shape[:2])
    return transform.inverse(transformed.mean(dim=0))


def spread(model: Estimator, output: str, values: Tensor) -> Tensor:
    """The sample standard deviation over the first dimension, of estimates as in `mean`; NaN if its
    length is 1.

    Values that repeat are moved by whole periods to within half a period of their mean.
    """
    if len(values) == 1:
        return torch.full_like(values[0], torch.nan)
    if (period := model.periods.get(output)) is not None:
        values = values - period * ((values - _mean(model, output, values)) / period).round()
    # torch.std over a first dimension takes several times as long as the sums.
    return ((values - values.mean(dim=0)).square_().sum(dim=0) / (len(values) - 1)).sqrt_()


@torch.no_grad()
def batch_for(network: Network, numbers: int = CACHED_NUMBERS) -> int:
    """The batch size, a power of two, with at most so many activations of the widest layer."""
    widest = 1

    def measure(_: nn.Module, __: object, result: object) -> None:
        nonlocal widest
        if isinstance(result, Tensor):
            widest = max(widest, result.numel())

    with evaluating(network), ExitStack() as hooks:
        for module in network.modules():
            hooks.enter_context(module.register_forward_hook(measure))
        device = _device_of(network)
        network(
            {name: torch.zeros(1, *shape, device=device) for name, shape in network.inputs.items()}
        )
    least, most = BATCHES
    fitting = 1 << (numbers // widest).bit_length() - 1 if widest <= numbers else least
    return min(max(fitting, least), most)


# Saliency: how much the values of an input contribute to an estimate.


def input_times_gradient(
    model: Estimator, samples: Mapping[str, Tensor], output: str, name: str
) -> Tensor:
    """An input, as the network sees it, times the gradient of an estimate with respect to it, in
    the output's unit.

    samples  input → (sample, ...) in its unit
    name     of the input
    returns  in the shape of the input, (sample, ...)

    Positive where a value raises the estimate. For a linear network without transforms it is weight
    × input, and its sum is the estimate without the constant term; an affine transform of the
    output only scales it. Otherwise it is the first-order share of each value, which is small where
    the network is saturated. Estimates are taken before they are limited, since beyond a limit all
    gradients are zero.
    Gradient as saliency: Simonyan, Vedaldi and Zisserman (2014), ICLR workshop, arXiv:1312.6034,
    eq. 3 to 4; times the input: Shrikumar, Greenside, Shcherbina and Kundaje (2017),
    arXiv:1605.01713, section 2.
    """
    with evaluating(model), torch.enable_grad():
        inputs = model.inputs(samples)
        values = inputs[name].detach().requires_grad_()
        outputs = model.network({**inputs, name: values})
        estimate = model.unlimited({output: outputs[output]}, samples)[output]
        (gradient,) = torch.autograd.grad(estimate.sum(), values)
    return values.detach() * gradient

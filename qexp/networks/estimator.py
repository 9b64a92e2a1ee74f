"""A network with its transforms as an estimator in users' units: alone, as one of an ensemble, with a posterior."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from qexp.base.outputs import NO_LIMITS, Limits
from qexp.base.quantities import module_name
from qexp.errors import QexpError
from qexp.networks.heads import Density
from qexp.networks.network import Network
from qexp.networks.transforms import Transform

RANKED = 1000
"""Draws from which correlations are computed: they are known to 0.03 or better."""


class Posterior:
    """The posterior of each sample's outputs; outputs of different heads are independent.

    densities   outputs → the density of their transformed values, for all samples
    transforms  output → its transform; outputs without one are not transformed
    """

    def __init__(self, densities: Mapping[tuple[str, ...], Density], transforms: Mapping[str, Transform]) -> None:
        self._densities, self._transforms = dict(densities), dict(transforms)
        self.names: list[str] = [name for outputs in densities for name in outputs]

    @property
    def device(self) -> torch.device:
        return next(iter(self._densities.values())).device

    @torch.no_grad()
    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """Independent draws, (draw, sample, output), in the outputs' units; outputs in the order of `names`."""
        made = torch.cat([one.draws(count, random) for one in self._densities.values()], dim=-1)
        return self._in_units(made)

    @torch.no_grad()
    def quantiles(self, probabilities: Sequence[float]) -> dict[str, Tensor]:
        """Output → quantiles, (sample, probability), in its unit."""
        wanted = torch.tensor(list(probabilities), dtype=torch.float64)
        made = torch.cat([one.quantiles(wanted) for one in self._densities.values()], dim=1)
        # A transform may reverse the order, such as a division by a negative number.
        in_units = [self._inverse(name, made[:, place]).sort(dim=-1).values for place, name in enumerate(self.names)]
        return dict(zip(self.names, in_units, strict=True))

    @torch.no_grad()
    def correlations(self) -> dict[tuple[str, str], Tensor]:
        """Pair of outputs → their rank correlation (Spearman), (sample,), of draws that are the same at each call."""
        random = torch.Generator(self.device).manual_seed(0)
        made = torch.cat([one.draws(RANKED, random) for one in self._densities.values()], dim=-1)
        ranks = made.argsort(dim=0).argsort(dim=0).double()
        scores = (ranks - ranks.mean(dim=0)) / ranks.std(dim=0, correction=0)
        return {
            (self.names[one], self.names[other]): (scores[..., one] * scores[..., other]).mean(dim=0).float()
            for one, other in combinations(range(len(self.names)), 2)
        }

    @torch.no_grad()
    def log_prob(self, values: Tensor) -> Tensor:
        """The logarithm of the density, (..., sample), of (..., sample, output) in the outputs' units."""
        transformed, slopes = [], []
        for place, name in enumerate(self.names):
            column = values[..., place].detach().reshape(-1, 1).requires_grad_()
            with torch.enable_grad():
                made = self._transforms[name](column) if name in self._transforms else column * 1
                (slope,) = torch.autograd.grad(made.sum(), column)
            transformed.append(made.detach().view(values.shape[:-1]))
            slopes.append(slope.view(values.shape[:-1]))
        start, found = 0, torch.stack(slopes, dim=-1).abs().log().sum(-1)
        for outputs, density in self._densities.items():
            own = torch.stack(transformed[start : start + len(outputs)], dim=-1)
            start += len(outputs)
            found = found + density.log_prob(own)
        return found

    def _in_units(self, transformed: Tensor) -> Tensor:
        columns = [self._inverse(name, transformed[..., place]) for place, name in enumerate(self.names)]
        return torch.stack(columns, dim=-1)

    def _inverse(self, name: str, values: Tensor) -> Tensor:
        """Back to the unit of an output, in the same shape."""
        if name not in self._transforms:
            return values
        return self._transforms[name].inverse(values.reshape(-1, 1)).view(values.shape)


def mixed(posteriors: Sequence[Posterior], count: int, random: torch.Generator | None = None) -> Tensor:
    """Draws from the mixture of posteriors with equal weights, (draw, sample, output), in random order.

    Each makes the same number of draws; where `count` cannot be divided, those that make one more are chosen at random.
    """
    if len(posteriors) == 1:
        return posteriors[0].draws(count, random)
    device = posteriors[0].device
    each, more = divmod(count, len(posteriors))
    lucky = torch.randperm(len(posteriors), generator=random, device=device)[:more].tolist()
    numbers = [each + (place in lucky) for place in range(len(posteriors))]
    made = torch.cat([one.draws(number, random) for one, number in zip(posteriors, numbers, strict=True) if number])
    return made[torch.randperm(count, generator=random, device=device)]


# A network together with the transforms around it: what is trained, saved and used to predict.

BATCH = 128
"""Samples estimated at a time, so that activations stay in the processor's cache."""


class OfVariables(nn.ModuleDict):
    """Modules by the names of variables, which may hold dots (`chamber.depth`); torch's own names hold `:` there."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(modules)
        self._names = list(modules)

    def __setitem__(self, variable: str, module: nn.Module) -> None:
        super().__setitem__(module_name(variable), module)

    def __getitem__(self, variable: str) -> nn.Module:
        return super().__getitem__(module_name(variable))

    def __contains__(self, variable: str) -> bool:
        return super().__contains__(module_name(variable))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def keys(self) -> KeysView[str]:
        return dict.fromkeys(self._names).keys()

    def items(self) -> ItemsView[str, nn.Module]:
        return dict(zip(self._names, self.values(), strict=True)).items()


class Inversion(nn.Module):
    """Observations in their own units → estimates in theirs.

    transforms  input or output → its transform; variables without one are not transformed
    limits      output → limits of its estimates; outputs without limits are left out
    """

    def __init__(
        self, network: Network, transforms: Mapping[str, Transform], limits: Mapping[str, Limits] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.transforms = OfVariables(transforms)
        self.limits = dict(limits or {})

    @property
    def periods(self) -> dict[str, float]:
        """Output → the period after which its values repeat, in its own unit, where its transform has one."""
        transforms = [(name, one) for name, one in self.transforms.items() if name in self.network.outputs]
        return {name: one.period for name, one in transforms if isinstance(one, Transform) and one.period is not None}

    def transformed(self, name: str, values: Tensor) -> Tensor:
        """Transformed values of an input or output, as the network sees them."""
        return self.transforms[name](values) if name in self.transforms else values

    def forward(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Estimates of all outputs, (batch, ...), in the outputs' own units, before they are limited.

        An ensemble's spread is that of these: limits would hide how far its networks differ.
        """
        made = self.network({name: self.transformed(name, samples[name]) for name in self.network.inputs})
        return self.unlimited(made, samples)

    def in_units(self, made: Mapping[str, Tensor], samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's transformed outputs in their own units, by the inverse transforms, and within their limits.

        samples  the inputs in their own units, which some inverse transforms need (of an output that is also an input)
        """
        return self.limited(self.unlimited(made, samples))

    def limited(self, estimates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Estimates of outputs, each within its limits."""
        return {name: self.limits.get(name, NO_LIMITS)(values) for name, values in estimates.items()}

    def unlimited(self, made: Mapping[str, Tensor], samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Like `in_units`, before limits."""
        return {name: self._inverse(name, values.float(), samples) for name, values in made.items()}

    def _inverse(self, name: str, values: Tensor, samples: Mapping[str, Tensor]) -> Tensor:
        if name not in self.transforms:
            return values
        transform = self.transforms[name]
        assert isinstance(transform, Transform)
        if name not in self.network.inputs:
            return transform.inverse(values)
        blocks = zip(values.split(BATCH), samples[name].split(BATCH), strict=True)
        return torch.cat([transform.inverse(block, own) for block, own in blocks])

    def estimate(self, samples: Mapping[str, Tensor], batch_size: int = BATCH) -> dict[str, Tensor]:
        """Estimates of all outputs, (sample, ...), in their units and within their limits.

        Batched, in evaluation mode, without gradients.
        """
        return self.limited(self._in_batches(self, samples, batch_size))

    def outputs(self, inputs: Mapping[str, Tensor], batch_size: int = BATCH) -> dict[str, Tensor]:
        """The network's outputs, still transformed, for inputs that are already transformed."""
        return self._in_batches(self.network, inputs, batch_size)

    @torch.no_grad()
    def posterior(self, samples: Mapping[str, Tensor], batch_size: int = BATCH) -> Posterior:
        """The posterior of the outputs of all posterior heads, for samples in their own units.

        Raises QexpError if the network has no posterior head.
        """
        if not self.network.heads:
            raise QexpError(
                f"the network estimates {', '.join(self.network.outputs)} without a posterior; end its branch with a "
                "posterior head, such as 'gaussian_posterior', and train it again"
            )
        seen = {name: self.transformed(name, samples[name]) for name in self.network.inputs}
        features = self.features(seen, batch_size)
        densities = {
            outputs: self.network.density(name, features[name]) for name, outputs in self.network.heads.items()
        }
        transforms = {name: one for name, one in self.transforms.items() if isinstance(one, Transform)}
        return Posterior(densities, {name: one for name, one in transforms.items() if name in self.network.outputs})

    def features(self, inputs: Mapping[str, Tensor], batch_size: int = BATCH) -> dict[str, Tensor]:
        """The network's features, see `Network.features`, for inputs that are already transformed."""
        return self._in_batches(self.network.features, inputs, batch_size)

    @torch.no_grad()
    def _in_batches(
        self, function: Callable[[dict[str, Tensor]], dict[str, Tensor]], tensors: Mapping[str, Tensor], batch_size: int
    ) -> dict[str, Tensor]:
        was_training = self.training
        self.eval()
        names = list(self.network.inputs)
        splits = zip(*(tensors[name].split(batch_size) for name in names), strict=True)
        batches = [function(dict(zip(names, of_batch, strict=True))) for of_batch in splits]
        self.train(was_training)
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


# An ensemble of trained networks as one estimator: its mean and its standard deviation.

CACHED = 1 << 16
"""Activations of one layer, in numbers, that fit into a processor's cache beside the weights."""
BATCHES = (64, 4096)
"""Smallest and largest batch, in samples."""


Reduce = Callable[[str, Tensor], Sequence[Tensor]]
"""Output, its estimates before limits, (network, sample, ...) → tensors, (sample, ...) each."""


class Ensemble:
    """Inversions with the same inputs and outputs, each with its own weights and transforms.

    The networks take turns on batches that stay in the cache. On a CPU this is as fast as matrix products of stacked
    weights, and faster than torch.func's vmap.
    """

    def __init__(self, models: Sequence[Inversion]) -> None:
        self.models = [model.eval() for model in models]
        self.network = self.models[0].network
        self.batch = batch_for(self.network)

    @torch.no_grad()
    def estimates(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Output → (network, sample, ...), in the output's own unit, before limits."""
        made: dict[str, list[Tensor]] = {name: [] for name in self.network.outputs}
        for batch in self._batches(samples):
            each = [model(batch) for model in self.models]
            for name, parts in made.items():
                parts.append(torch.stack([one[name] for one in each]))
        return {name: torch.cat(parts, dim=1) for name, parts in made.items()}

    def mean_and_spread(self, samples: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Output → mean and standard deviation over the networks, (sample, ...), in the output's own unit.

        The mean is taken of transformed values, as the losses are: of logarithms where a logarithm is learned; it lies
        within the output's limits. The standard deviation is that of the estimates before they are limited, of an
        angle by the shorter way round; NaN if there is only one network.
        """
        first = self.models[0]
        made = self.reduced(samples, lambda name, values: [mean(first, name, values), spread(first, name, values)])
        return {name: (middle, apart) for name, (middle, apart) in made.items()}

    @torch.no_grad()
    def reduced(
        self, samples: Mapping[str, Tensor], reduce: Reduce, probabilities: Sequence[float] = ()
    ) -> dict[str, list[Tensor]]:
        """Output → what is made of the estimates of all networks, batch by batch; (sample, ...) each.

        probabilities  of quantiles that follow the estimates of outputs of posterior heads: (sample, 1 + probability)
        """
        made: dict[str, list[Sequence[Tensor]]] = {name: [] for name in self.network.outputs}
        for batch in self._batches(samples):
            each = [with_quantiles(model, batch, probabilities) for model in self.models]
            for name, parts in made.items():
                parts.append(reduce(name, torch.stack([one[name] for one in each])))
        return {name: [torch.cat(of) for of in zip(*parts, strict=True)] for name, parts in made.items()}

    def _batches(self, samples: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        names = list(self.network.inputs)
        splits = zip(*(samples[name].split(self.batch) for name in names), strict=True)
        return [dict(zip(names, parts, strict=True)) for parts in splits]


def with_quantiles(
    model: Inversion, samples: Mapping[str, Tensor], probabilities: Sequence[float]
) -> dict[str, Tensor]:
    """Output → estimates before limits; of a posterior head's, followed by quantiles, (sample, 1 + probability)."""
    made: dict[str, Tensor] = model(samples)
    if not probabilities or not model.network.heads:
        return made
    quantiles = model.posterior(samples).quantiles(probabilities)
    return {
        name: torch.cat([values, quantiles[name].to(values)], dim=1) if name in quantiles else values
        for name, values in made.items()
    }


def mean(model: Inversion, output: str, values: Tensor) -> Tensor:
    """The mean of an output's estimates, (network, sample, ...), over the networks, taken of transformed values.

    model  any of the networks: fitted transforms differ by a linear function only, which does not change the mean
    returns (sample, ...), within the output's limits
    """
    return model.limited({output: _mean(model, output, values)})[output]


def _mean(model: Inversion, output: str, values: Tensor) -> Tensor:
    if len(values) == 1:
        return values[0]
    if output not in model.transforms:
        return values.mean(dim=0)
    transform = model.transforms[output]
    assert isinstance(transform, Transform)
    seen = transform(values.flatten(0, 1)).unflatten(0, values.shape[:2])
    return transform.inverse(seen.mean(dim=0))


def spread(model: Inversion, output: str, values: Tensor) -> Tensor:
    """The sample standard deviation over the first dimension, of estimates as in `mean`; NaN if its length is 1.

    Values that repeat are moved by whole periods to within half a period of their mean.
    """
    if len(values) == 1:
        return torch.full_like(values[0], torch.nan)
    if (period := model.periods.get(output)) is not None:
        values = values - period * ((values - _mean(model, output, values)) / period).round()
    # torch.std over a first dimension takes several times as long as the sums.
    return ((values - values.mean(dim=0)).square_().sum(dim=0) / (len(values) - 1)).sqrt_()


@torch.no_grad()
def batch_for(network: Network) -> int:
    """The batch size, a power of two, for which the network's widest layer fits into the cache."""
    widest = 1

    def measure(_: nn.Module, __: object, made: object) -> None:
        nonlocal widest
        if isinstance(made, Tensor):
            widest = max(widest, made.numel())

    hooks = [module.register_forward_hook(measure) for module in network.modules()]
    was_training = network.training
    try:
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        network.eval()({name: torch.zeros(1, *shape, device=device) for name, shape in network.inputs.items()})
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    least, most = BATCHES
    return min(max(1 << (CACHED // widest).bit_length() - 1 if widest <= CACHED else least, least), most)


# Saliency: how much the values of an input contribute to an estimate.


def input_times_gradient(model: Inversion, samples: Mapping[str, Tensor], output: str, of: str) -> Tensor:
    """An input, as the network sees it, times the gradient of an estimate with respect to it, in the output's unit.

    samples  input → (sample, ...) in its unit
    of       the input
    returns  in the shape of the input, (sample, ...)

    Positive where a value raises the estimate. For a linear network without transforms it is weight × input, and its
    sum is the estimate without the constant term; an affine transform of the output only scales it. Otherwise it is the
    first-order share of each value, which is small where the network is saturated. Estimates are taken before they are
    limited, since beyond a limit all gradients are zero.
    Gradient as saliency: Simonyan, Vedaldi and Zisserman (2014), ICLR workshop, arXiv:1312.6034, eq. 3 to 4; times the
    input: Shrikumar, Greenside, Shcherbina and Kundaje (2017), arXiv:1605.01713, section 2.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            inputs = {name: model.transformed(name, samples[name]) for name in model.network.inputs}
            seen = inputs[of].detach().requires_grad_()
            made = model.network({**inputs, of: seen})
            estimate = model.unlimited({output: made[output]}, samples)[output]
            (gradient,) = torch.autograd.grad(estimate.sum(), seen)
        return seen.detach() * gradient
    finally:
        model.train(was_training)

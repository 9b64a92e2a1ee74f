"""Networks of one architecture as a stack: one computation for all of them, in training, too."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from qexp.errors import shortened
from qexp.networks import training
from qexp.networks.checkpoint import WeightLayout
from qexp.networks.losses import losses_of, total
from qexp.networks.network import Network
from qexp.networks.sequence import SequenceNorm
from qexp.networks.steps import Steps
from qexp.networks.training import PRECISIONS, Recipe, own_random_state

log = logging.getLogger("qexp.run")


Tensors = dict[str, Tensor]

FACTORS = ""
"""The name, which no variable has, of factors of learning rates beside samples."""


class LossModule(nn.Module):
    """A network followed by the losses of its outputs."""

    def __init__(self, network: Network, recipe: Recipe) -> None:
        super().__init__()
        self.network, self._recipe = network, recipe

    def forward(self, samples: Tensors) -> tuple[Tensor, Tensor]:
        """The objective to minimise, (), and the losses, (output,), of transformed samples,
        (sample, ...) each.
        """
        features = self.network.features({name: samples[name] for name in self.network.inputs})
        losses = losses_of(self.network, self._recipe.losses, features, samples)
        return total(losses, self.network.penalty()), torch.stack(losses)


def can_be_stacked(network: Network, recipe: Recipe) -> bool:
    """Whether networks with this one's architecture can be trained in one computation, by a try
    with two samples.
    """
    module = LossModule(with_norms_for_stacks(copy.deepcopy(network)), recipe).train()
    if not all(weight.requires_grad for weight in module.parameters()):
        return False
    layout = WeightLayout(module)
    shapes = {**network.shapes, **network.inputs}
    weights = torch.stack([layout.row(dict(module.named_parameters()))] * 2)
    buffers = {name: torch.stack([buffer] * 2) for name, buffer in module.named_buffers()}
    samples = {name: torch.zeros(2, 2, *shape) for name, shape in shapes.items()}
    networks = NetworkStack(module, layout, weights, buffers, [(recipe, 2)])
    try:
        with own_random_state(weights.device):
            objectives, _ = networks.evaluate(samples)
            torch.autograd.grad(objectives.sum(), list(networks.views.values()), allow_unused=True)
    except Exception as error:  # whatever a module or loss does that works for one network alone
        log.info("networks cannot be stacked: %s", shortened(repr(error)))
        return False
    return True


class _Features(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensors) -> Tensors:
        return self.network.features(inputs)


def with_norms_for_stacks(network: Network) -> Network:
    """Replace batch normalisation, in place: torch's own rounds differently in a stack."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm1d:
                setattr(module, name, SequenceNorm(child.num_features, child.eps, child.momentum))
    return network


@dataclass
class Group:
    """Neighbouring networks of a stack that one optimizer trains."""

    rows: slice
    recipe: Recipe
    weights: nn.Parameter
    """Their part of the matrix of weights, in the same memory."""
    optimizer: torch.optim.Optimizer

    @property
    def state(self) -> Tensors:
        """The optimizer's state by name: (network, number) of each weight, else one number."""
        state: Tensors = self.optimizer.state[self.weights]
        return state

    def step(self) -> None:
        """A step by the gradients of the weights."""
        gradients = self.weights.grad
        assert gradients is not None
        if self.recipe.gradient_clip is not None:
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            gradients.mul_((self.recipe.gradient_clip / (norms + 1e-6)).clamp(max=1.0))
        self.optimizer.step()


class NetworkStack:
    """Networks of one architecture, each a row of one matrix of weights, and their steps in one
    computation.

    module   a network of theirs followed by its losses; its own weights are not used
    weights  (network, number), in rows of the layout
    buffers  name → (network, ...)
    recipes  how neighbouring networks are trained, and how many they are; precision and losses are
             those of the first
    Optimizers must update each number independently, with steps in proportion to the learning rate.
    """

    def __init__(
        self,
        module: LossModule,
        layout: WeightLayout,
        weights: Tensor,
        buffers: Tensors,
        recipes: Sequence[tuple[Recipe, int]],
    ) -> None:
        self.module, self.weights, self.buffers = module, weights, buffers
        self._cast = PRECISIONS[recipes[0][0].precision]
        self.views = layout.views(weights)
        for view in self.views.values():
            view.requires_grad_()
        gradients = torch.zeros_like(weights)
        self._gradients = layout.views(gradients)
        self.groups: list[Group] = []
        first = 0
        for recipe, count in recipes:
            rows = slice(first, first + count)
            own_weights = nn.Parameter(weights[rows])
            own_weights.grad = gradients[rows]
            optimizer = recipe.optimizer([own_weights], recipe.learning_rate)
            self.groups.append(Group(rows, recipe, own_weights, optimizer))
            first += count
        optimizers = [group.optimizer for group in self.groups]
        self._steps = Steps(
            self._step, optimizers, lambda: [weights, *self.buffers.values()], weights.device
        )

    def step(self, samples: Tensors, rates: Sequence[float], factors: Tensor | None) -> Tensor:
        """Train all networks on a batch, (network, sample, ...); returns their losses, (network,
        output).

        rates    the learning rate of each group
        factors  of the rates, (network, 1) or (network, number); None if all are 1
        """
        return self._steps(samples if factors is None else {**samples, FACTORS: factors}, rates)

    def _step(self, given: Mapping[str, Tensor]) -> Tensor:
        samples = dict(given)
        factors = samples.pop(FACTORS, None)
        objectives, losses = self.evaluate(samples)
        gradients = torch.autograd.grad(
            objectives.sum(), list(self.views.values()), allow_unused=True
        )
        for view, gradient in zip(self._gradients.values(), gradients, strict=True):
            view.zero_() if gradient is None else view.copy_(gradient)
        start = self.weights if factors is None else self.weights.clone()
        for group in self.groups:
            group.step()
        if factors is not None:
            # steps are proportional to the rate; `lerp` with a factor of 1 changes no bit
            self.weights.copy_(torch.lerp(start, self.weights, factors))
        return losses.detach()

    def evaluate(self, samples: Tensors) -> tuple[Tensor, Tensor]:
        """The objectives of the networks, (network,), and their losses, (network, output)."""
        kind, cast = self.weights.device.type, self._cast
        with torch.autocast(kind, cast) if cast else contextlib.nullcontext():
            pair: tuple[Tensor, Tensor] = self._of_each(self.module, samples)
        return pair

    @torch.no_grad()
    def features(self, inputs: Tensors) -> Tensors:
        """What each network makes of inputs, (network, sample, ...), without its posterior heads;
        see `Network`.
        """
        self.module.eval()
        features: Tensors = self._of_each(_Features(self.module.network), inputs)
        return features

    def _of_each(self, module: nn.Module, samples: Tensors) -> Any:
        """What a module that holds a network as `network` makes of the samples of each."""
        return vmap(
            lambda weights, buffers, own: functional_call(module, (weights, buffers), (own,)),
            randomness="different",
        )(self.views, self.buffers, samples)

    def rates(self, epoch: int, batch: int, batches: int) -> list[float]:
        """The scheduled learning rate of each group."""
        return [
            training.scheduled_rate(group.recipe, epoch, batch, batches) for group in self.groups
        ]

"""Several runs trained side by side: their networks in one stack, each run with a trainer of its
own.

Each step is one computation for all networks. Everything else is done for each run as if it were
alone: its samples, validation, best epoch, callbacks and checkpoints, from which it resumes beside
other runs.

The bits of a run depend on the size of its stack, on its place there and on the seed of the stack's
dropout, but not on the other runs. So places stay: one that no run has, or whose run has ended, is
computed with the samples of another run, and nothing is made of it. A run that is ahead of the
others, after an interruption, waits for them.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from qexp.base.seeds import Seeds
from qexp.networks import training
from qexp.networks.checkpoint import WeightLayout, joined
from qexp.networks.estimator import BATCH
from qexp.networks.network_stack import (
    Group,
    LossModule,
    NetworkStack,
    Tensors,
    with_norms_for_stacks,
)
from qexp.networks.training import Samples, Trainer, TrainingListener


@dataclass(frozen=True, eq=False)
class Member:
    """A run in a stack.

    place        its place, counted from 0
    steps        what says how its weights are changed; neighbours for which it is equal share an
                 optimizer
    interrupted  returns whether the run was asked to end
    alone        a context in which only this run is at work, for what is logged
    """

    place: int
    trainer: Trainer
    steps: str
    listener: TrainingListener
    interrupted: Callable[[], bool]
    alone: Callable[[], AbstractContextManager[None]]

    @property
    def module(self) -> LossModule:
        return LossModule(self.trainer.model.network, self.trainer.recipe)


@dataclass(frozen=True)
class _State:
    """Where the training of a network stands."""

    weights: Tensor
    """(number,)"""
    buffers: Tensors
    slots: Tensors
    """The state of its optimizer: (number,) for what each weight has, else a single number."""


class TrainerStack:
    """Trains the networks of several runs side by side.

    members  runs of one architecture, with the same numbers of epochs, batches and samples
    size     number of places
    seeds    of the stack: its dropout
    ended    hears of each run that ends before its training does: with its error, or None if it was
             interrupted
    """

    def __init__(
        self,
        members: Sequence[Member],
        size: int,
        seeds: Seeds,
        ended: Callable[[Member, Exception | None], None],
    ) -> None:
        self._size, self._seeds, self._ended = size, seeds, ended
        self._members = [member for member in members if member.trainer.goes_on]
        """Those that are trained."""
        first = self._members[0]
        network = with_norms_for_stacks(copy.deepcopy(first.trainer.model.network))
        module = LossModule(network, first.trainer.recipe)
        self._layout = WeightLayout(module)
        self._joining = {member: self._state_of(member) for member in self._members}
        """Those that have not joined in yet, with where they stand."""
        self._factors = {member: self._factors_of(member) for member in self._members}
        in_places = self._in_places(self._members)
        states = [self._joining[member] for member in in_places]
        groups = [list(group) for _, group in groupby(in_places, key=lambda member: member.steps)]
        recipes = [(group[0].trainer.recipe, len(group)) for group in groups]
        weights = torch.stack([state.weights for state in states])
        buffers = joined([state.buffers for state in states], torch.stack)
        self._networks = NetworkStack(module, self._layout, weights, buffers, recipes)

    def run(self) -> None:
        """Train to the end, when the models of all runs that went on have their last weights."""
        device = self._networks.weights.device
        with training.own_random_state(device), training.deterministic():
            checkpointed_at = time.monotonic()
            while self._members:
                for member in [member for member in self._members if member.interrupted()]:
                    self._each([member], self._write_checkpoint)
                    self._end(member, None)
                if not self._members:
                    return
                epoch = min(member.trainer.progress.epoch for member in self._members)
                abreast = [one for one in self._members if one.trainer.progress.epoch == epoch]
                self._train(epoch, abreast)
                due = time.monotonic() - checkpointed_at > training.SECONDS_BETWEEN_CHECKPOINTS
                written = [member for member in abreast if due or not member.trainer.goes_on]
                self._each(written, self._write_checkpoint)
                if due:
                    checkpointed_at = time.monotonic()
                self._members = [member for member in self._members if member.trainer.goes_on]

    def _train(self, epoch: int, members: Sequence[Member]) -> None:
        """An epoch of the runs that have come as far."""
        started = time.perf_counter()
        batches: dict[Member, Callable[[int], Samples]] = {}

        def begin(member: Member) -> None:
            trainer = member.trainer
            if member in self._joining:
                self._join(member, self._joining.pop(member))
            size = trainer.recipe.batch_size
            batches[member] = trainer.data.epoch(epoch, size, trainer.prepared)

        members = self._each(members, begin)
        if not members:
            return
        losses = self._steps(epoch, members, batches)
        members = self._each(members, lambda member: member.trainer.validation)
        if not members:
            return
        features = self._features(members)

        def close(member: Member) -> None:
            own = {name: values[member.place] for name, values in features.items()}
            line = member.trainer.close(losses[:, member.place], lambda: own)
            member.listener.epoch_done(line, time.perf_counter() - started)

        self._each(members, close)

    def _steps(
        self, epoch: int, members: Sequence[Member], batches: dict[Member, Callable[[int], Samples]]
    ) -> Tensor:
        """The losses of an epoch's steps, (batch, network, loss)."""
        networks = self._networks
        in_places = self._in_places(members)
        factors = torch.stack([self._factors[member] for member in in_places])
        of_runs = [member.trainer.progress.learning_rate_factor for member in in_places]
        factors *= torch.tensor(of_runs)[:, None]
        on_device = None if bool((factors == 1).all()) else factors.to(networks.weights)
        torch.manual_seed(self._seeds.number("train", epoch, "dropout"))
        networks.module.train()
        losses = []
        count = members[0].trainer.batches
        for batch in range(count):
            samples = {member: batches[member](batch) for member in members}
            stacked = joined([samples[member] for member in in_places], torch.stack)
            losses.append(networks.step(stacked, networks.rates(epoch, batch, count), on_device))
            for member in members:
                member.listener.batch_done(epoch, batch + 1, count)
        return torch.stack(losses).cpu()

    def _features(self, members: Sequence[Member]) -> Tensors:
        """What the networks make of the validation samples, (network, sample, ...)."""
        in_places = self._in_places(members)
        names = self._networks.module.network.inputs
        validation = [member.trainer.validation for member in in_places]
        count = len(next(iter(validation[0].values())))
        parts = []
        for start in range(0, count, BATCH):
            inputs = {}
            for name in names:
                batches = [samples[name][start : start + BATCH] for samples in validation]
                inputs[name] = torch.stack(batches)
            parts.append(self._networks.features(inputs))
        return joined(parts, partial(torch.cat, dim=1))

    def _in_places(self, members: Sequence[Member]) -> list[Member]:
        """The run whose samples are computed in each place: its own, or another in its stead."""
        by_place = {member.place: member for member in members}
        return [by_place.get(place, members[0]) for place in range(self._size)]

    def _each(self, members: Sequence[Member], do: Callable[[Member], object]) -> list[Member]:
        """Do something for each run; one whose own error that is ends. Returns the others."""
        for member in members:
            try:
                with member.alone():
                    do(member)
            except Exception as error:  # recorded as the end of this run; the others go on
                self._end(member, error)
        return [member for member in members if member in self._members]

    def _end(self, member: Member, error: Exception | None) -> None:
        if member in self._members:
            self._members.remove(member)
            self._ended(member, error)

    # A network in its row of the stack, and in its trainer.

    def _state_of(self, member: Member) -> _State:
        """Where a trainer stands, which is not in the stack yet."""
        module = member.module
        optimizer = member.trainer.optimizer
        weights = dict(module.named_parameters())
        slots: Tensors = {}
        for slot in {slot for weight in weights.values() for slot in optimizer.state[weight]}:
            of_weights = {name: optimizer.state[weight][slot] for name, weight in weights.items()}
            if all(value.shape == weights[name].shape for name, value in of_weights.items()):
                slots[slot] = self._layout.row(of_weights)
            else:
                slots[slot] = next(iter(of_weights.values()))
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        return _State(self._layout.row(weights), buffers, slots)

    def _factors_of(self, member: Member) -> Tensor:
        """Of the learning rates of a network's weights, (number,), as they decay by layer."""
        groups = member.trainer.optimizer.param_groups
        factors: dict[int, float] = {}
        for group in groups:
            factors |= {id(weight): group["factor"] for weight in group["params"]}
        weights = dict(member.module.named_parameters())
        ones = torch.ones_like(self._joining[member].weights, device="cpu")
        for name, view in self._layout.views(ones[None]).items():
            view.fill_(factors[id(weights[name])])
        return ones

    def _join(self, member: Member, state: _State) -> None:
        """Put a network into its row, and let its trainer's model be what is in that row."""
        place = member.place
        networks = self._networks
        module = member.module
        networks.weights[place].copy_(state.weights)
        for name, weight in module.named_parameters():
            weight.data = networks.views[name].detach()[place]
        for name, values in networks.buffers.items():
            values[place].copy_(state.buffers[name])
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, values[place])
        group, row = self._group(place)
        for slot, value in state.slots.items():
            if value.dim() == 0:  # changed in place: steps may have been recorded
                group.state.setdefault(slot, value.clone()).copy_(value)
            else:
                group.state.setdefault(slot, torch.zeros_like(group.weights))[row].copy_(value)

    def _group(self, place: int) -> tuple[Group, int]:
        """The group of a place, and the place's row there."""
        group = next(group for group in self._networks.groups if place < group.rows.stop)
        return group, place - group.rows.start

    def _write_checkpoint(self, member: Member) -> None:
        if member not in self._joining:
            group, row = self._group(member.place)
            for slot, value in group.state.items():
                views = self._layout.views(value[row : row + 1]) if value.dim() else {}
                for name, weight in member.module.named_parameters():
                    own = views[name][0] if views else value.clone()
                    member.trainer.optimizer.state[weight][slot] = own
        member.trainer.write_checkpoint(member.listener)

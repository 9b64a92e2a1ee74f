"""Steps of training on a GPU, recorded as a graph: those of small networks.

The operations of a small network take less time than Python needs to launch them, one by one. A
recorded step is launched as a whole; Python's code runs while it is recorded, and not again. So
whatever changes from step to step is in tensors: samples, learning rates, weights, the optimizer's
state, and the state of the random numbers.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qexp.errors import shortened
from qexp.networks.compiled import Features
from qexp.networks.network import Network

log = logging.getLogger("qexp.run")

VARIABLE = "QEXP_GRAPHS"
"""Environment variable: 0 to launch the operations of a step one by one, and to compile nothing."""

Samples = Mapping[str, Tensor]
"""Name → (sample, ...), or (network, sample, ...), transformed and on the device."""


@dataclass(frozen=True)
class Graph:
    """A recorded step."""

    replay: Callable[[], None]
    losses: Tensor
    """What the last replay made."""


Record = Callable[[Callable[[], None], Callable[[], Tensor]], Graph]
"""Warms up by a function, and records a step; raises an exception if that is impossible."""


def cuda_graph(warm_up: Callable[[], None], step: Callable[[], Tensor]) -> Graph:
    """A step as a CUDA graph. Raises RuntimeError if it waits for the GPU, as to read a number."""
    stream = torch.cuda.Stream()
    reading = torch.cuda.get_sync_debug_mode()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        with warnings.catch_warnings(action="ignore"):  # that this mode of torch is a prototype
            # found out here: a record that breaks off can leave torch unusable
            torch.cuda.set_sync_debug_mode("error")
        try:
            warm_up()
        finally:
            torch.cuda.set_sync_debug_mode(reading)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            losses = step()
    torch.cuda.current_stream().wait_stream(stream)
    return Graph(graph.replay, losses)


RECORDERS: dict[str, Record] = {"cuda": cuda_graph}
"""Type of a device → how its steps are recorded; on others, operations are launched one by one."""

WARM_UP = 3
"""Steps before the recorded one: libraries choose algorithms, optimizers make their state."""

TOLERANCE = 1e-3
"""Relative, between the losses of recorded steps and of the same steps launched one by one."""


class Steps:
    """The steps of a training, on its device.

    step        samples → losses; it changes weights by the learning rates of the optimizers' groups
    optimizers  update each number independently of the others, by a learning rate that may be a
                tensor
    changed     returns all other tensors that a step changes: weights and buffers
    device      where all of them are; None to launch all operations one by one
    network     by whose `features` the step makes those of samples, if it may be compiled

    The first step with samples of a shape is recorded, and replayed from then on, so that a step's
    bits do not depend on how many were made before. Where a step cannot be recorded, or recorded
    steps do not make the losses of others, operations are launched one by one.
    """

    def __init__(
        self,
        step: Callable[[Samples], Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
        changed: Callable[[], Iterable[Tensor]],
        device: torch.device | None,
        network: Network | None = None,
    ) -> None:
        self._step, self._optimizers, self._changed = step, optimizers, changed
        self._device = device or torch.device("cpu")
        device_type = self._device.type if os.environ.get(VARIABLE) != "0" else ""
        self._compiled = None if network is None else Features(network, device_type)
        large = self._compiled is not None and self._compiled.large
        self._record = None if large else RECORDERS.get(device_type)
        self._recorded: dict[object, tuple[Graph, Samples]] = {}

    def __call__(self, samples: Samples, rates: Sequence[float], mode: object = None) -> Tensor:
        """The losses of a step.

        rates  the learning rate of each group of each optimizer
        mode   what else decides which operations a step consists of
        """
        self._set(rates)
        if self._compiled is not None:
            self._compiled.compile(lambda: self._in_vain(samples))
        if self._record is not None:
            key = (mode, *((name, values.shape) for name, values in samples.items()))
            if key not in self._recorded:
                self._try(key, samples, rates)
        if self._record is None:
            return self._step(samples)
        graph, own = self._recorded[key]
        for name, values in own.items():
            values.copy_(samples[name])
        graph.replay()
        return graph.losses.clone()

    @property
    def features(self) -> Features:
        """What the network makes of inputs; compiled if it is large."""
        assert self._compiled is not None, "there are features of a network only"
        return self._compiled

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self._groups(), rates, strict=True):
            if self._record is None:
                group["lr"] = rate
            elif isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = torch.tensor(rate, device=self._device)

    def _try(self, key: object, samples: Samples, rates: Sequence[float]) -> None:
        """Record a step, or launch operations one by one from now on."""
        assert self._record is not None
        own = {name: values.clone() for name, values in samples.items()}
        seen: list[Tensor] = []
        recorded: list[Tensor] = []
        try:
            with self._unchanged():
                graph = self._record(
                    lambda: seen.extend(self._step(own).clone() for _ in range(WARM_UP)),
                    lambda: self._capturable(own),
                )
            with self._unchanged():
                for _ in range(WARM_UP):
                    graph.replay()
                    recorded.append(graph.losses.clone())
            if not torch.allclose(
                torch.stack(recorded), torch.stack(seen), rtol=TOLERANCE, equal_nan=True
            ):
                raise ValueError("recorded steps make other losses, as if it counted its calls")
        except Exception as error:  # whatever an operation or a loss does that cannot be recorded
            log.info(
                "operations are launched one by one; a step is not recorded: %s",
                shortened(repr(error)),
            )
            self._record = None
            self._recorded.clear()
            self._set(rates)
        else:
            self._recorded[key] = graph, own

    def _in_vain(self, samples: Samples) -> None:
        """A step that changes nothing."""
        with self._unchanged():
            self._step(samples)

    def _capturable(self, samples: Samples) -> Tensor:
        """A step in which optimizers are told that they are recorded, which torch asks for."""
        for group in self._groups():
            group["capturable"] = True
        try:
            return self._step(samples)
        finally:
            for group in self._groups():
                group["capturable"] = False

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Restore weights, buffers, random numbers and the optimizers' state; what is new in that
        is set to zero.
        """
        kept = [(tensor, tensor.clone()) for tensor in [*self._changed(), *self._state()]]
        random = random_state(self._device)
        try:
            yield
        finally:
            known = {tensor.data_ptr() for tensor, _ in kept}
            with torch.no_grad():
                for tensor, values in kept:
                    tensor.copy_(values)
                for tensor in self._state():
                    if tensor.data_ptr() not in known:
                        tensor.zero_()
            restore_random_state(random, self._device)

    def _state(self) -> list[Tensor]:
        values: list[Any] = []
        for optimizer in self._optimizers:
            for slots in optimizer.state.values():
                values += slots.values()
        return [value for value in values if isinstance(value, Tensor)]


# torch's random numbers.


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators: `cpu`, and `cuda` on a GPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)

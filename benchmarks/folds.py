"""A leave-one-out of DL-IM's network: folds one after another in plain torch, and stacked here, on
the same cores.

55 rows of 10 features as the network's authors have them, here drawn at random: each fold trains on
54 rows in one batch, for 100 epochs with Adam, and looks at its one other row after every epoch.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.bare_loop import Deaf
from benchmarks.timing import seconds
from qexp.base.machine import threads
from qexp.base.seeds import Seeds
from qexp.networks.estimator import Estimator
from qexp.networks.losses import LOSSES
from qexp.networks.modules import MODULES
from qexp.networks.network import Branch, Network, Operation, initialise
from qexp.networks.optimizers import OPTIMIZERS, SCHEDULES
from qexp.networks.task_stack import Task, TaskStack, largest_stack
from qexp.networks.training import Recipe
from qexp.networks.transforms import Standardize

FOLDS, FEATURES, EPOCHS, LEARNING_RATE = 55, 10, 100, 1e-3
PROCESSES = 2
TIMES_AS_FAST = 5.0
PLAIN_FOLDS = 11
"""Folds that are timed in plain torch; the time is scaled to all of them, which take equally
long.
"""


@dataclass(frozen=True)
class Way:
    name: str
    seconds: float
    """Seconds for all folds and all epochs."""


@dataclass(frozen=True)
class Result:
    ways: list[Way]
    stack: int
    ratio: float
    """The fastest plain way's seconds over ours."""
    holds: bool


def measure() -> Result:
    """Time every way once; the machine should be idle otherwise."""
    plain = [
        Way(f"plain torch, {count} thread(s)", timed(one_by_one, count) * FOLDS / PLAIN_FOLDS)
        for count in (1, 2)
    ]
    # Stacks are as even as the processes, and no larger than pays.
    size = min(largest_stack(model(0).network, FOLDS - 1), -(-FOLDS // PROCESSES))
    ours = [
        Way(f"stacks of {size}, 1 process, {count} thread(s)", timed(partial(stacked, size), count))
        for count in (1, 2)
    ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pool.map(torch.zeros, [1] * PROCESSES, chunksize=1)  # they have started
        elapsed = seconds(lambda: pool.map(train_stack, stacks(size), chunksize=1))
        ours.append(Way(f"stacks of {size}, {PROCESSES} processes of 1 thread", elapsed))
    ratio = min(way.seconds for way in plain) / min(way.seconds for way in ours)
    return Result([*plain, *ours], size, ratio, ratio >= TIMES_AS_FAST)


def timed(work: Callable[[], object], count: int) -> float:
    with threads(count):
        return seconds(work)


def rows() -> tuple[Tensor, Tensor]:
    random = Seeds(0).torch("cpu", "rows")
    features = torch.randn(FOLDS, FEATURES, generator=random)
    return features, features[:, :1] + features[:, 1:2].abs() + 0.1 * torch.randn(
        FOLDS, 1, generator=random
    )


def split(fold: int) -> tuple[list[int], list[int]]:
    return [row for row in range(FOLDS) if row != fold], [fold]


def one_by_one() -> None:
    features, truth = rows()
    for fold in range(PLAIN_FOLDS):
        train, held_out = split(fold)
        network = plain_network()
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        for _ in range(EPOCHS):
            network.train()
            order = torch.tensor(train)[torch.randperm(len(train))]
            optimizer.zero_grad()
            nn.functional.mse_loss(network(features[order, None]), truth[order]).backward()
            optimizer.step()
            network.eval()
            with torch.no_grad():
                nn.functional.mse_loss(network(features[held_out, None]), truth[held_out]).item()


def plain_network() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 1
    for filters, stride in zip([64, 64, 128, 128, 256], [1, 1, 2, 1, 1], strict=True):
        layers += [
            nn.Conv1d(channels, filters, 3, stride, 1, bias=False),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
        ]
        channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(256, 1))


def stacked(size: int) -> None:
    for folds in stacks(size):
        train_stack(folds)


def stacks(size: int) -> list[range]:
    return [range(first, min(first + size, FOLDS)) for first in range(0, FOLDS, size)]


def train_stack(folds: range) -> None:
    recipe = Recipe(
        losses={"y": LOSSES["mse"].build()},
        metrics={},
        optimizer=OPTIMIZERS["adam"].build,
        learning_rate=LEARNING_RATE,
        schedule=SCHEDULES["constant"].build(),
        epochs=EPOCHS,
        batch_size=FOLDS - 1,
    )
    with tempfile.TemporaryDirectory() as folder:
        TaskStack([task(fold) for fold in folds], recipe, torch.device("cpu"), Path(folder)).run(
            Deaf(), lambda: False
        )


def task(fold: int) -> Task:
    features, truth = rows()
    train, held_out = ({"x": features[part], "y": truth[part]} for part in split(fold))
    estimator = model(fold)
    for name, transform in estimator.transforms.items():
        assert isinstance(transform, Standardize)
        transform.fit(train[name])
    seeds = Seeds(fold)

    def order(epoch: int) -> Tensor:
        return torch.randperm(FOLDS - 1, generator=seeds.torch("cpu", "order", epoch))

    return Task(f"fold {fold}", estimator, train, held_out, order)


def model(seed: int) -> Estimator:
    build = MODULES["one_d_cnn"].build
    network = Network(
        {"x": (FEATURES,)}, ["y"], {"cnn": Operation(build)}, [Branch(("x",), ("y",), ("cnn",))]
    )
    initialise(network, Seeds(seed))
    return Estimator(network, {"x": Standardize(), "y": Standardize()})

"""What tests of networks are made of: values, operations, networks with initial weights, and a
listener.
"""

import itertools
import json

import torch

from qexp.base.seeds import Seeds
from qexp.networks.modules import MODULES, JoiningEntry
from qexp.networks.network import Branch, Network, Operation, initialise


def values(*shape, seed=2):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def operation(name, l2=0.0, **parameters):
    entry = MODULES[name]
    return Operation(
        lambda shape: entry.build(shape, **parameters), isinstance(entry, JoiningEntry), l2
    )


def initialised(inputs, outputs, operations, branches=None, seed=1):
    """A network; without branches, its operations in order lead from the only input to all
    outputs.
    """
    branches = branches or [(tuple(inputs), tuple(outputs), tuple(operations))]
    network = Network(inputs, outputs, operations, [Branch(*branch) for branch in branches])
    initialise(network, Seeds(seed))
    return network


class Journal:
    """Notes what a run tells, and the learning rate of every batch."""

    def __init__(self, trainer=None, after_batch=None):
        self.trainer, self.after_batch = trainer, after_batch
        self.lines, self.batches, self.rates, self.checkpoints = [], [], [], 0

    def batch_done(self, epoch, batch, batches):
        self.batches.append((epoch, batch, batches))
        if self.trainer:
            self.rates += [group["lr"] for group in self.trainer.optimizer.param_groups]
        if self.after_batch:
            self.after_batch(epoch, batch)

    def epoch_done(self, line, seconds):
        self.lines.append(json.dumps(line))

    def checkpoint_written(self, progress):
        self.checkpoints += 1

    @property
    def documents(self):
        return [json.loads(line) for line in self.lines]


def never():
    return False


def after(batches):
    """Interrupts before the batch that follows so many others, or the epoch."""
    asked = itertools.count()
    return lambda: next(asked) >= batches

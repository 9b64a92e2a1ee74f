"""The number of threads that a network uses, in training and in prediction."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qexp.assemble.kinds import kind_of
from qexp.assemble.kinds.kind import Document
from qexp.assemble.networks import network_of
from qexp.networks.estimator import BATCH
from qexp.networks.network import operations_per_sample
from qexp.tables import Tables
from qexp.threads import take_short_turns

SMALL_BATCH = 1e8
"""Floating-point operations in the forward pass of a batch below which a second thread slows it down."""


def threads_for(spec: Document, tables: Tables, batch_size: int | None = None) -> int:
    """The number of threads to use in training; it depends only on the spec and on the machine's settings.

    Threads wait for each other at the end of every operation. With short operations that takes most of the time, and
    on a busy machine nearly all of it: a small network then trains ten times as fast on one thread.
    `OMP_NUM_THREADS` is respected. Stacks of networks have one thread each; several cores train several stacks.

    batch_size  samples that go through the network at a time; that of the spec, for training, if left out
    """
    available = torch.get_num_threads()
    if kind_of(spec["dataset"]).several_networks:
        return 1
    if "OMP_NUM_THREADS" in os.environ or available == 1:
        return available
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    operations = operations_per_sample(network) * (batch_size or spec["batch_size"])
    return 1 if operations < SMALL_BATCH else available


def threads_to_predict(spec: Document, tables: Tables, device: torch.device) -> int:
    """The number of threads to use in prediction, where batches have another size.

    Rows of files are estimated several chunks at a time, each on one core.
    """
    if device.type != "cpu" or kind_of(spec["dataset"]).several_networks:
        return torch.get_num_threads()
    return threads_for(spec, tables, BATCH)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this number of threads inside the block, and the previous number after it."""
    take_short_turns()  # torch's threads inherit it when they are started
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

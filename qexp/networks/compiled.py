"""Large networks, compiled on a GPU: the compiler joins the operations that wait for memory."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from qexp.errors import shortened
from qexp.networks.network import Network
from qexp.rows.array_cache import cache_folder

log = logging.getLogger("qexp.run")

COMPILED_ON = ["cuda"]
"""Types of the devices for which large networks are compiled."""

LARGE = 10_000_000
"""Weights of a network from which on it is compiled, and its steps are not recorded."""


class Features:
    """What a network makes of inputs; compiled if it is large.

    device_type  where it is; empty to compile nothing
    """

    def __init__(self, network: Network, device_type: str) -> None:
        self._network, self._function = network, network.features
        self.large = sum(weight.numel() for weight in network.parameters()) >= LARGE
        self._to_compile = self.large and device_type in COMPILED_ON

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._function(inputs)

    def compile(self, attempt: Callable[[], None]) -> None:
        """Compile the network, which takes a minute unless it was compiled before.

        attempt  uses the features once, and changes nothing
        """
        if not self._to_compile:
            return
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
        from torch._inductor import config

        # no choice between kernels by their speed, which would change bits
        config.deterministic = True
        self._to_compile, started = False, time.perf_counter()
        # Each shape is compiled by itself, so that the kernels of a batch do not depend on those
        # before it.
        self._function = torch.compile(self._network.features, dynamic=False)
        try:
            attempt()
        except Exception as error:  # whatever the compiler cannot do
            log.info("the network is not compiled: %s", shortened(repr(error)))
            self._function = self._network.features
        else:
            log.info("compiled the network in %.1f s", time.perf_counter() - started)

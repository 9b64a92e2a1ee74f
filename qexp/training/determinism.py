"""Reproducible bits: torch's random state, and deterministic algorithms."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators: `cpu`, and `cuda` on a GPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: Mapping[str, Tensor]) -> None:
    """Restore the state that `random_state` returned."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


@contextlib.contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """Restore the caller's random state on leaving."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Use torch's deterministic algorithms; restore the caller's setting on leaving."""
    settings: Any = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode()
    fill = settings.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("warn")  # torch.use_deterministic_algorithms would load torch's compiler
    settings.fill_uninitialized_memory = False  # it costs time, and no uninitialised memory is read here
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        settings.fill_uninitialized_memory = fill

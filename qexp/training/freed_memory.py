"""Reuse of the memory that a training step frees, by glibc, which allocates torch's memory on Linux."""

from __future__ import annotations

import torch

KEPT_MEMORY = 31 * 2**20
"""Bytes; glibc ignores blocks of more than 32 MiB when it adapts its threshold."""


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step instead of returning it to the system.

    It does so for all blocks up to the largest one that was ever freed. Getting memory again page by page took a tenth
    of the time of a training step of large networks.
    """
    torch.empty(KEPT_MEMORY, dtype=torch.uint8, device="cpu")

"""Random streams: each use of random numbers has its own, derived from the seed, its purpose and the epoch.

Adding a use therefore changes no other, and an epoch can be reproduced without replaying earlier ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Seeds:
    """All the random streams of one run."""

    seed: int

    def number(self, *purpose: str | int) -> int:
        """A 63-bit number for one purpose, the same on every machine."""
        text = "\x1f".join(str(part) for part in (self.seed, *purpose))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

    def numpy(self, *purpose: str | int) -> np.random.Generator:
        return np.random.default_rng(self.number(*purpose))

    def torch(self, device: torch.device | str, *purpose: str | int) -> torch.Generator:
        import torch

        generator = torch.Generator(device=device)
        generator.manual_seed(self.number(*purpose))
        return generator

"""Random streams: each use of random numbers has its own, derived from the seed, its purpose and
the epoch.

Adding a use therefore changes no other, and an epoch can be reproduced without replaying earlier
ones.
"""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qexp.errors import QexpError, shortened

if TYPE_CHECKING:
    import numpy as np
    import torch


LARGEST_SEED = 2**63 - 1


def require_seed(seed: Any) -> int:
    """A seed as an integer, also one of numpy. Raises QexpError for a value that cannot be one."""
    with suppress(TypeError):
        number = operator.index(seed)
        if not isinstance(seed, bool) and 0 <= number <= LARGEST_SEED:
            return number
    too_large = isinstance(seed, int) and abs(seed) > LARGEST_SEED
    shown = "too large" if too_large else shortened(str(seed))
    raise QexpError(f"`seed={shown}`: a seed is a whole number from 0 on, less than 2^63")


@dataclass(frozen=True)
class Seeds:
    """All the random streams of one run."""

    seed: int

    def __post_init__(self) -> None:
        require_seed(self.seed)

    def number(self, *purpose: str | int) -> int:
        """A 63-bit number for one purpose, the same on every machine."""
        text = "\x1f".join(str(part) for part in (self.seed, *purpose))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

    def numpy(self, *purpose: str | int) -> np.random.Generator:
        import numpy as np  # records know what a seed is without it

        return np.random.default_rng(self.number(*purpose))

    def torch(self, device: torch.device | str, *purpose: str | int) -> torch.Generator:
        import torch

        generator = torch.Generator(device=device)
        generator.manual_seed(self.number(*purpose))
        return generator

    @contextmanager
    def globally(self, *purpose: str | int) -> Iterator[None]:
        """Seed Python, NumPy and torch, which code of others may use; restore them at the end."""
        import numpy as np
        import torch

        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        number = self.number(*purpose)
        random.seed(number)
        np.random.seed(number % 2**32)
        torch.default_generator.manual_seed(number)  # not those of GPUs, which takes milliseconds
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])

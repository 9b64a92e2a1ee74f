"""What the C library does with memory that is freed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, by their numbers in malloc.h [bytes]."""

KEPT = {TRIM_THRESHOLD: 2**30, MMAP_THRESHOLD: 2**26}
"""Free memory that stays with the process, and the size of the largest arrays that share it. Larger arrays may leave
gaps that take more memory than the time is worth."""

ADAPTED = {TRIM_THRESHOLD: 2**26, MMAP_THRESHOLD: 2**25}
"""The largest values that glibc adapts both to by itself."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside the block, keep memory that is freed for the next operations that need some.

    By default glibc returns large arrays to the system as soon as they are freed, and gets them again for the next
    batch, page by page and filled with zeros. That took 4 to 40 % of the time of training on a CPU. Keeping them
    changes no result.
    Does nothing with another C library, or where the environment has settings of the user's own: `MALLOC_…`,
    `GLIBC_TUNABLES`.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if sys.platform != "linux" or chosen:
        yield
        return
    import ctypes  # takes milliseconds, which commands that only read need not wait for

    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    try:
        _set(library, KEPT)
        yield
    finally:
        _set(library, ADAPTED)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, parameters: Mapping[int, int]) -> None:
    for parameter, value in parameters.items():
        library.mallopt(parameter, value)

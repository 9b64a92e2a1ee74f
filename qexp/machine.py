"""The machine's memory: how much of it this process may use, and how it is told that none is left."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LARGEST = 64 * 10**12
"""Bytes of memory that no machine has; what stands for one that cannot be asked."""

NO_MEMORY = ("MemoryError", "DefaultCPUAllocator: ", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How Python and torch say that there is none left; torch raises a mere RuntimeError for a processor's."""

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory() -> int:
    """Bytes of memory: the machine's, or fewer where a container, a scheduler or `ulimit -v` allows fewer."""
    limits = [LARGEST, *cgroup_limits()]
    with suppress(ValueError, OSError):  # a system that does not say
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space)
    return min(limit for limit in limits if limit > 0)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused: to Python, to torch, or by the system to a library."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and says_no_memory(str(error)))


def says_no_memory(text: str) -> bool:
    """Whether that is what an error of another process tells."""
    return any(words in text for words in NO_MEMORY)


def cgroup_limits(own: Path = OWN_CGROUPS, root: Path = CGROUPS) -> Iterator[int]:
    """Bytes that this process's control groups, and those around them, allow: of version 2, and of version 1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            hierarchy, file = root, "memory.max"
        elif "memory" in controllers.split(","):
            hierarchy, file = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = hierarchy / path.lstrip("/")
        # In a container its own group may be mounted as the root, so that its path leads nowhere.
        for folder in (group, *group.parents):
            if folder.is_relative_to(hierarchy):
                with suppress(OSError, ValueError):  # not there, or "max"
                    yield int((folder / file).read_text())

"""The memory that this process may use, and the errors that mean that it is exhausted."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LARGEST = 64 * 10**12
"""More bytes than any machine has: the value if the memory is unknown."""

NO_MEMORY = ("MemoryError", "DefaultCPUAllocator: ", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of Python and torch when memory is exhausted; for the CPU torch raises a plain RuntimeError."""

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory() -> int:
    """Bytes of memory: the machine's, or the limit of a container, a scheduler or `ulimit -v` if that is lower."""
    limits = [LARGEST, *cgroup_limits()]
    with suppress(ValueError, OSError):  # the system does not report it
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space)
    return min(limit for limit in limits if limit > 0)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory is exhausted: Python's, torch's, or the system's."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and says_no_memory(str(error)))


def says_no_memory(text: str) -> bool:
    """Whether the error text of another process means that memory was exhausted."""
    return any(words in text for words in NO_MEMORY)


def memory_kills(own: Path = OWN_CGROUPS, root: Path = CGROUPS) -> int:
    """The number of processes of this control group that the system has killed so far because memory ran out.

    0 where the system does not count them.
    """
    for file in _memory_files("memory.events", "memory.oom_control", own, root):
        with suppress(OSError, ValueError, KeyError):
            return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])
    return 0


def cgroup_limits(own: Path = OWN_CGROUPS, root: Path = CGROUPS) -> Iterator[int]:
    """Memory limits of this process's control groups and their parents, in bytes; of cgroup versions 1 and 2."""
    for file in _memory_files("memory.max", "memory.limit_in_bytes", own, root):
        with suppress(OSError, ValueError):  # missing, or "max"
            yield int(file.read_text())


def _memory_files(second: str, first: str, own: Path, root: Path) -> Iterator[Path]:
    """Where a file on memory may be, of this process's control groups and their parents; the innermost first.

    second, first  its name in cgroup version 2, and in version 1
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            hierarchy, file = root, second
        elif "memory" in controllers.split(","):
            hierarchy, file = root / "memory", first
        else:
            continue
        group = hierarchy / path.lstrip("/")
        # In a container its own group may be mounted as the root, so that its path leads nowhere.
        for folder in (group, *group.parents):
            if folder.is_relative_to(hierarchy):
                yield folder / file

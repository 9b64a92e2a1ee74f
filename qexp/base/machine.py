"""The machine that a process works on: its memory, threads, programs and signals."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import ctypes
    import subprocess

    from rich.progress import Progress

LARGEST_MEMORY = 64 * 10**12
"""More bytes than any machine has: the value if the memory is unknown."""

NO_MEMORY = (
    "MemoryError",
    "DefaultCPUAllocator: ",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""Messages of Python and torch without memory; for the CPU torch raises a plain RuntimeError."""

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory() -> int:
    """Bytes of memory: the machine's, or a lower limit of a container, scheduler or `ulimit -v`."""
    limits = [LARGEST_MEMORY, *cgroup_limits()]
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
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and says_no_memory(str(error))


def says_no_memory(text: str) -> bool:
    """Whether the error text of another process means that memory was exhausted."""
    return any(words in text for words in NO_MEMORY)


def memory_kills(groups: Path = OWN_CGROUPS, root: Path = CGROUPS) -> int:
    """The number of processes of this control group that the system has killed so far because
    memory ran out.

    0 where the system does not count them.
    """
    for file in _memory_files("memory.events", "memory.oom_control", groups, root):
        with suppress(OSError, ValueError, KeyError):
            return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])
    return 0


def cgroup_limits(groups: Path = OWN_CGROUPS, root: Path = CGROUPS) -> Iterator[int]:
    """Memory limits of this process's control groups and their parents, in bytes; both versions."""
    for file in _memory_files("memory.max", "memory.limit_in_bytes", groups, root):
        with suppress(OSError, ValueError):  # missing, or "max"
            yield int(file.read_text())


def _memory_files(second: str, first: str, groups: Path, root: Path) -> Iterator[Path]:
    """Where a file on memory may be, of this process's control groups and their parents; the
    innermost first.

    second, first  its name in cgroup version 2, and in version 1
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            hierarchy, file = root, second
        elif "memory" in controllers.split(","):
            hierarchy = root / "memory"
            file = first
        else:
            continue
        group = hierarchy / path.lstrip("/")
        # In a container its own group may be mounted as the root, so that its path leads nowhere.
        for folder in (group, *group.parents):
            if folder.is_relative_to(hierarchy):
                yield folder / file


# What the C library does with memory that is freed.


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, by their numbers in malloc.h [bytes]."""

KEPT = {TRIM_THRESHOLD: 2**30, MMAP_THRESHOLD: 2**26}
"""Free memory that stays with the process, and the size of the largest arrays that share it. Larger
arrays may leave gaps that take more memory than the time is worth.
"""

ADAPTED = {TRIM_THRESHOLD: 2**26, MMAP_THRESHOLD: 2**25}
"""The largest values that glibc adapts both to by itself."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside the block, keep memory that is freed for the next operations that need some.

    By default glibc returns large arrays to the system as soon as they are freed, and gets them
    again for the next batch, page by page and filled with zeros. That took 4 to 40 % of the time of
    training on a CPU. Keeping them changes no result.
    Does nothing with another C library, or where the environment has settings of the user's own:
    `MALLOC_…`, `GLIBC_TUNABLES`.
    """
    library = None
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if sys.platform == "linux" and not chosen:
        import ctypes  # takes milliseconds, which commands that only read need not wait for

        library = ctypes.CDLL(None)
    if library is None or not hasattr(library, "mallopt"):
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


# How torch's threads wait for each other, and for the other work of a machine.


TURNS = "10000"
"""Iterations of a waiting loop, tens of microseconds; with 1,000, epochs took 10 to 20 % longer."""


def wait_without_spinning() -> None:
    """Let threads that wait at the end of an operation sleep soon instead of keeping a core busy.

    By default they spin for milliseconds. On a machine with other work they take this time from the
    threads that they wait for: a training step on two threads then takes twenty times as long. Must
    be called before torch is loaded; changes no result. `OMP_WAIT_POLICY` and `GOMP_SPINCOUNT` in
    the environment take precedence.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = TURNS


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this number of threads inside the block, and the previous number after it."""
    import torch

    former = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(former)


FINDING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables by which processes that torchrun starts together find each other."""

STARTED_TOGETHER = int(os.environ["WORLD_SIZE"]) if os.environ.keys() >= {*FINDING} else 1
"""The number of such processes, this one included."""


# Programs that this process starts, and handlers of signals for the duration of a block of code.


def start_child(
    words: Sequence[str],
    output: BinaryIO | None = None,
    variables: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
    apart: bool = True,
    pass_on: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program without input. Raises OSError.

    output     takes what it prints; this process's own output if it is None
    variables  its environment variables besides those of this process
    folder     its working directory
    apart      whether it leads a session of its own, where Ctrl-C on a terminal reaches it from
               this process only
    pass_on    numbers of open files that it inherits
    """
    import subprocess

    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, **(variables or {})},
        cwd=folder,
        start_new_session=apart,
        pass_fds=pass_on,
    )


def signal_name(number: int) -> str:
    """`SIGKILL`, or `signal 40` for one without a name, as those of real time."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


SECONDS_TO_HEAR = 2.0
"""Seconds in which a signal to all processes of a job has reached each of them."""

ASKED_TO_END = (-signal.SIGTERM, 128 + signal.SIGTERM, 130)
"""Exit codes after SIGTERM, as Python and as a shell give it, and of an interrupted qexp."""


def ended_with_all(code: int, interrupted: Callable[[], bool]) -> bool:
    """Whether a child has ended because this process is asked to end as well.

    A scheduler may send SIGTERM to all processes of a job one after the other, and the child may
    end before this one hears of it, which is waited for.
    """
    deadline = time.monotonic() + SECONDS_TO_HEAR
    while code in ASKED_TO_END and not interrupted() and time.monotonic() < deadline:
        time.sleep(0.1)
    return interrupted()


@contextmanager
def handled(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle these signals inside the block; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former_handlers = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in former_handlers.items():
            signal.signal(number, former)


@contextmanager
def terminable(*more: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, a closed terminal and `more`, to end as after Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP, *more)
    # A signal that the parent process ignores (as nohup does with a closed terminal) stays ignored.
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    with handled(heard, interrupt):
        yield


@contextmanager
def in_background(name: str, work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Work in a thread of that name until the block ends, which sets the event it gets."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def visible_gpus() -> list[str]:
    """The GPUs that torch would see, found without loading torch."""
    import subprocess

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu]
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(index) for index in range(listing.count("GPU "))]


# Where the progress of this process is shown.


def on_a_terminal() -> bool:
    """Whether messages go to a terminal on which a bar can be drawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


WIDE_TERMINAL = 100
"""Columns of a terminal from which on a bar has room for the time elapsed."""


def progress_bar(*fields: str) -> Progress:
    """A bar with a description, fields, and the time left, which disappears when it is done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    # which else cuts the time left
    elapsed = [TimeElapsedColumn()] if console.width >= WIDE_TERMINAL else []
    of_fields = [TextColumn(f"{{task.fields[{field}]}}") for field in fields]
    times = [*elapsed, TextColumn("left"), TimeRemainingColumn()]
    head = TextColumn("{task.description}"), BarColumn(bar_width=24)
    return Progress(*head, *of_fields, *times, console=console, transient=True)


def in_a_kernel() -> bool:
    """Whether this process is the kernel of a notebook."""
    loaded = sys.modules.get("IPython")
    shell = None if loaded is None else loaded.get_ipython()
    return hasattr(shell, "kernel")

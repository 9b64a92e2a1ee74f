"""How torch's threads wait for each other, and for the other work of a machine."""

from __future__ import annotations

import os
import sys

TURNS = "10000"
"""Iterations of a waiting loop, tens of microseconds; with 1,000, epochs took 10 to 20 % longer."""


def wait_without_spinning() -> None:
    """Let threads that wait at the end of an operation sleep soon instead of keeping a core busy.

    By default they spin for milliseconds. On a machine with other work they take this time from the threads that they
    wait for: a training step on two threads then takes twenty times as long. Must be called before torch is loaded;
    changes no result. `OMP_WAIT_POLICY` and `GOMP_SPINCOUNT` in the environment take precedence.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = TURNS


TURN = 100_000
"""Shortest turn on a core that Linux grants [ns]; 3 ms are usual."""

SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Numbers of the system call, for which not every C library has a function."""


def take_short_turns() -> None:
    """Ask Linux, from 6.12 on, to give this thread and those that it starts many short turns instead of few long ones.

    Their share of the processor stays the same. At the end of an operation threads wait for the slowest; beside other
    work that is one whose turn comes late. Training then took 2.7 to 3.4 times as long as alone; with short turns it
    takes 2.4 to 2.8 times as long.
    Does nothing elsewhere, or for a thread whose scheduling was changed by somebody.
    """
    import ctypes  # takes milliseconds, which commands that only read need not wait for
    import platform
    import struct

    number = SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
    ctypes.CDLL(None).syscall(number, 0, struct.pack("IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, TURN, 0, 0), 0)

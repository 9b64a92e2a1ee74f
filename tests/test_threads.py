"""What torch's threads are told before they are started."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from qexp.base.machine import TURN, take_short_turns

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}


def scheduling() -> tuple[int, int, int]:
    """Policy, niceness and length of a turn [ns] of this thread, as Linux has them."""
    content = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(SCHED_GETATTR[platform.machine()], 0, content, 48, 0) == 0
    _, policy, _, nice, _, turn, _, _ = struct.unpack("IIQiIQQQ", content.raw)
    return policy, nice, turn


def release() -> tuple[int, ...]:
    return tuple(int(number) for number in platform.release().split("-")[0].split(".")[:2])


@pytest.mark.skipif(release() < (6, 12), reason=f"Linux {platform.release()} has no turns of other lengths")
def test_threads_take_short_turns_as_do_those_that_they_start_and_are_otherwise_as_before():
    with ThreadPoolExecutor(1) as new:
        new.submit(lambda: os.setpriority(os.PRIO_PROCESS, 0, 5)).result()  # of this thread alone, in Linux
        before = new.submit(scheduling).result()
        new.submit(take_short_turns).result()
        assert new.submit(scheduling).result() == (before[0], 5, TURN)
        inherited = new.submit(lambda: ThreadPoolExecutor(1).submit(scheduling).result()).result()
        assert inherited == (before[0], 5, TURN)


def test_importing_qexp_changes_nobody_s_turns():
    script = "import tests.test_threads as there, sys; before = there.scheduling(); import qexp; "
    script += "print(before == there.scheduling())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"

"""What a run takes of its machine while it is at work: a light series, in the run's
`system.jsonl`.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from qexp.base import formats
from qexp.base.machine import in_background, visible_gpus
from qexp.store.directory import SYSTEM
from qexp.store.record import now

FIRST_SECONDS, SHARE_OF_TIME = 2.0, 1 / 300
"""Seconds between two samples: at first, and as a share of the time since; some 1,500 a day."""


def sampled(run: Path, goes_on: Callable[[], bool]) -> AbstractContextManager[None]:
    """Append samples to a run's series in a thread until the block ends or `goes_on` is false."""
    begun = time.monotonic()

    def keep_on(ended: threading.Event) -> None:
        sampler = _Sampler(run)
        while True:
            pause = max(FIRST_SECONDS, SHARE_OF_TIME * (time.monotonic() - begun))
            if ended.wait(pause) or not goes_on():
                return
            # a full disk need not end a run
            with suppress(OSError), (run / SYSTEM).open("ab") as file:
                file.write(formats.line_bytes(sampler.sample()))

    return in_background("system", keep_on)


class _Sampler:
    def __init__(self, run: Path) -> None:
        import psutil

        self._run = run
        self._gpus = visible_gpus()
        self._process = psutil.Process()
        self._seconds = self._used()[0]
        self._at = time.monotonic()

    def sample(self) -> dict[str, Any]:
        seconds = self._seconds
        then = self._at
        (self._seconds, memory), self._at = self._used(), time.monotonic()
        # A process that ended may have taken with it what it had used.
        cpu = 100 * max(self._seconds - seconds, 0.0) / (self._at - then)
        sample = {"time": now(), "cpu": round(cpu, 1), "memory": memory}
        return {**sample, **self._of_gpus(), "disk_free": shutil.disk_usage(self._run).free}

    def _used(self) -> tuple[float, int]:
        """Seconds of processor time and bytes of memory, of this process and those below it."""
        import psutil

        seconds, memory = 0.0, 0
        for process in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.Error):  # it has just ended
                # its own, and that of children which have ended
                seconds += sum(process.cpu_times()[:4])
                memory += process.memory_info().rss
        return seconds, memory

    def _of_gpus(self) -> dict[str, Any]:
        if not self._gpus:
            return {}
        words = ["nvidia-smi", f"--id={','.join(self._gpus)}"]
        words += ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        with suppress(OSError, subprocess.SubprocessError, ValueError):
            done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
            used = [tuple(map(float, line.split(","))) for line in done.stdout.splitlines()]
            work, mebibytes = zip(*used, strict=True)
            return {"gpu": sum(work) / len(used), "gpu_memory": int(sum(mebibytes) * 2**20)}
        return {}

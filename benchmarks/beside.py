"""Training and matrices beside other work: one busy process for each core, as on a machine that is
shared.

`python -m benchmarks.beside EXPERIENCE` is the process that trains: it takes a step for each line
that it reads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.timing import seconds
from qexp.base.workspace import find

TRAINED = {
    "msm_small": {},
    "ice_unet": {"patches": [256, 64]},
    "mogi_standard": {"sizes": [512, 64, 64]},
}
"""Experience → changes that make an epoch short."""

MOST_FOR_TRAINING = 2.5
"""Largest ratio of the time to the time alone."""

MATRIX_ALONE, MATRIX_BESIDE = 4.0, 8.0
"""Seconds of `qexp matrix` for 128 x 128 cells, start-up and picture included."""


@dataclass(frozen=True)
class Beside:
    name: str
    alone: float
    beside: float
    """Seconds, medians."""
    limits: str
    holds: bool


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that only compute."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(repeats: int = 5) -> Iterator[Beside]:
    yield from (_epoch(name, repeats) for name in TRAINED)
    yield _matrix(repeats)


def _epoch(name: str, repeats: int) -> Beside:
    """An epoch's steps in one process, alone and beside others in turn."""
    command = [sys.executable, "-m", "benchmarks.beside", name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as trainer:
        assert trainer.stdin is not None
        assert trainer.stdout is not None

        def once() -> float:
            print(file=trainer.stdin, flush=True)
            return float(trainer.stdout.readline())  # type: ignore[union-attr]

        once()  # unmeasured: caches, pages
        alone, beside = _in_turn(once, repeats)
        trainer.stdin.close()
    ratio = beside / alone
    limits = f"{ratio:.2f} times as long   ≤ {MOST_FOR_TRAINING:g}"
    return Beside(f"an epoch of {name}", alone, beside, limits, ratio <= MOST_FOR_TRAINING)


def _matrix(repeats: int) -> Beside:
    import qexp

    run = qexp.run(
        "mogi_cnn", name="mogi_cnn_beside", overrides={"epochs": 1, "sizes": [64, 32, 32]}
    )
    command = [sys.executable, "-m", "qexp", "matrix", run.name, "--dataset", "mogi_test"]

    def once() -> float:
        return seconds(
            lambda: subprocess.run(command, check=True, capture_output=True, cwd=find().root)
        )

    once()
    alone, beside = _in_turn(once, repeats)
    limits = f"≤ {MATRIX_ALONE:g} s alone, ≤ {MATRIX_BESIDE:g} s beside"
    return Beside(
        "a matrix of mogi_cnn",
        alone,
        beside,
        limits,
        alone <= MATRIX_ALONE and beside <= MATRIX_BESIDE,
    )


def _in_turn(once: Callable[[], float], repeats: int) -> tuple[float, float]:
    alone, beside = [], []
    for _ in range(repeats):
        alone.append(once())
        with busy(os.cpu_count() or 1):
            beside.append(once())
    return median(alone), median(beside)


def _train(name: str) -> None:
    """Steps of an epoch for each line of the input; their seconds are printed."""
    import torch
    from torch.nn import functional

    from benchmarks.bare_loop import SideBySide
    from qexp.base.machine import threads
    from qexp.kinds.objects import threads_for
    from qexp.kinds.tables import BUILT_IN

    with threads(torch.get_num_threads()):  # before torch starts its threads, as a run does
        pair = SideBySide(name, functional.mse_loss, TRAINED[name])
        torch.set_num_threads(threads_for(pair.spec, BUILT_IN))
        for _ in sys.stdin:
            print(seconds(pair.managed_steps), flush=True)


if __name__ == "__main__":
    _train(sys.argv[1])

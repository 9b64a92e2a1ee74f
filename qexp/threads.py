"""How the threads of torch wait for each other."""

from __future__ import annotations

import os

TURNS = "1000"
"""Turns of a loop, some microseconds."""


def wait_without_spinning() -> None:
    """Let threads that wait at the end of an operation sleep soon, instead of keeping a core from other work.

    By default they spin for milliseconds, on a machine with other work in the time of those that they wait for: a step
    of training on two threads then takes twenty times as long. It holds for a torch that is loaded afterwards, changes
    no result, and gives way to `OMP_WAIT_POLICY` and `GOMP_SPINCOUNT` of the environment.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = TURNS

"""How torch's threads wait for each other."""

from __future__ import annotations

import os

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

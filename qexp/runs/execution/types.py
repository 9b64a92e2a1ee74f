"""How a run works, by the type of its experience. A type is imported when it is needed: a program needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qexp.runs.attempt import Work
from qexp.runs.evaluation.results import Results


def _train(work: Work) -> Results | None:
    from qexp.runs.execution.training import train

    return train(work)


def _run_program(work: Work) -> Results | None:
    from qexp.runs.execution.command import run_program

    return run_program(work)


TYPES: Mapping[str, Callable[[Work], Results | None]] = {"training": _train, "command": _run_program}
"""The value of `type` in an experience → does the work of a run, and returns its results; None if interrupted."""

"""Translation of Slurm's terms: the states of sacct and squeue, exit codes, and lists of tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qexp.runs.record.state import State

TIME_IS_UP = 124
"""Exit code of a job whose run was stopped before the time limit; sacct reports the run's own code, 130, as 2."""

STATES: dict[str, State] = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
         "POWER_UP_NODE"),
        State.QUEUED,
    ),
    # A completing job may still be requeued: its final state is known only later.
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT", "EXPEDITING"),
        State.RUNNING,
    ),
    "COMPLETED": State.DONE,
    "FAILED": State.FAILED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "PREEMPTED": State.PREEMPTED,
    "CANCELLED": State.INTERRUPTED,
    **dict.fromkeys(("NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED"), State.LOST),
}  # fmt: skip


def read(answer: str) -> Iterator[tuple[str, State]]:
    """Job → state from lines such as `123_[4-9%2]|PENDING|0:0` of sacct or squeue; unknown states are left out."""
    for line in answer.splitlines():
        job, _, rest = line.strip().partition("|")
        word, _, ending = rest.partition("|")
        state = _state(word, ending.strip("|"))
        if state is not None:
            yield from ((one, state) for one in _tasks(job.strip()))


def _state(word: str, ending: str) -> State | None:
    """The state for a Slurm state such as `CANCELLED by 1000` and the exit code of the script."""
    state = STATES.get(word.split()[0].rstrip("+") if word.split() else "")
    if state is not State.FAILED:
        return state
    code, signal = _ending(ending)
    if code == TIME_IS_UP:
        return State.TIMEOUT
    # Without cgroups Slurm kills the whole job when it needs too much memory, and reports a failure.
    return State.OUT_OF_MEMORY if signal == 9 else State.FAILED


def _ending(text: str) -> tuple[int, int]:
    """Exit code and signal; sacct writes them as `124:0`, squeue as the status of wait(2).

    sacct subtracts 128 from exit codes of 128 or more.
    """
    code, colon, signal = text.strip().partition(":")
    if not code.isdecimal():
        return 0, 0
    if colon:
        return int(code), int(signal) if signal.isdecimal() else 0
    return int(code) >> 8, int(code) & 127


def _tasks(job: str) -> Iterator[str]:
    """The tasks of an array: `123_[4-6,9%2]` → 123_4, 123_5, 123_6, 123_9; any other job stands for itself."""
    array, bracket, tasks = job.partition("_[")
    if not bracket:
        yield job
        return
    for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", tasks.rstrip("]").partition("%")[0]):
        yield from (f"{array}_{task}" for task in range(int(first), int(last or first) + 1, int(step or 1)))

"""Calling Slurm's programs, and reading their answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import TypeVar

from qexp.errors import QexpError, SchedulerError

Item = TypeVar("Item")

ANSWER_SECONDS = 60.0
"""A controller that has not answered a question after this time is taken to be out of reach."""


CLUSTER = "SLURM_CLUSTER_NAME"
"""Variable of the environment of every job."""


def parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def require(program: str) -> None:
    if shutil.which(program) is None:
        raise QexpError(
            f"there is no {program} on the PATH: submit from a machine of the cluster, "
            "load its module, or run here: --launcher local"
        )


def ask(*command: str) -> str:
    """What a program of Slurm prints. Raises SchedulerError with its words if it fails."""
    require(command[0])
    try:
        answer = subprocess.run(
            command,
            env=environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} has not answered for {ANSWER_SECONDS:.0f} s") from None
    if answer.returncode:
        raise SchedulerError(f"{command[0]} refused:\n{words_of(answer)}")
    return answer.stdout


def words_of(answer: subprocess.CompletedProcess[str]) -> str:
    return answer.stderr.strip() or answer.stdout.strip() or f"no word, exit code {answer.returncode}"


def environment() -> dict[str, str]:
    """The user's, less what would change the form of the answers; and lists of tasks are not to be cut short."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    return {**kept, "SLURM_BITSTR_LEN": "0"}


def cluster() -> str | None:
    """The name of the cluster that Slurm's programs ask here; None if they do not say."""
    try:
        return setting("ClusterName", r"\S+")
    except QexpError:
        return os.environ.get(CLUSTER)


def setting(name: str, pattern: str) -> str | None:
    """A value of the cluster's configuration. Raises QexpError if the controller cannot be asked."""
    found = re.search(rf"^{name}\s*=\s*({pattern})", ask("scontrol", "show", "config"), re.MULTILINE)
    return found[1] if found else None

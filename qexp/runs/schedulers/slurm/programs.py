"""Calls of Slurm's programs."""

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
"""Seconds after which a controller that has not answered counts as unreachable."""


CLUSTER = "SLURM_CLUSTER_NAME"
"""Environment variable that is set in every job."""


def parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def require(program: str) -> None:
    if shutil.which(program) is None:
        raise QexpError(
            f"there is no {program} on the PATH: submit from a machine of the cluster, "
            "load its module, or run here: --launcher local"
        )


def ask(*command: str) -> str:
    """The output of a Slurm program. Raises SchedulerError with its message if it fails."""
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
    return answer.stderr.strip() or answer.stdout.strip() or f"no message, exit code {answer.returncode}"


def environment() -> dict[str, str]:
    """The user's environment without variables that change the output format; task lists are not abbreviated."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    return {**kept, "SLURM_BITSTR_LEN": "0"}


def cluster() -> str | None:
    """The name of the cluster that Slurm's programs on this machine talk to; None if they do not say."""
    try:
        return setting("ClusterName", r"\S+")
    except QexpError:
        return os.environ.get(CLUSTER)


def setting(name: str, pattern: str) -> str | None:
    """A value of the cluster's configuration. Raises QexpError if the controller cannot be reached."""
    found = re.search(rf"^{name}\s*=\s*({pattern})", ask("scontrol", "show", "config"), re.MULTILINE)
    return found[1] if found else None

"""Commands as if from another machine with a clock of its own, or by another user of this one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Outcome

NOBODY = 65534

HOST = "elsewhere"


def on_another_host(*arguments: str | Path, clock: str = "+0") -> Outcome:
    """`qexp ARGUMENTS` on a machine of another name whose clock is wrong by `clock`, such as
    "+10m".

    The times of files are right, as if a server gave them to them.
    """
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    if not _may("unshare", "--uts"):
        pytest.skip("this user cannot give a process another host name")
    command = [
        "unshare",
        "--uts",
        "sh",
        "-c",
        f'hostname {HOST}; exec "$@"',
        "sh",
        "faketime",
        "-f",
        clock,
    ]
    return _qexp(command, arguments, {"NO_FAKE_STAT": "1"})


def as_nobody(*arguments: str | Path, hidepid: bool = False) -> Outcome:
    """`qexp ARGUMENTS` as the user nobody, who may read all files; maybe where each sees his own
    processes only.
    """
    reading = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reading]
    if shutil.which("setpriv") is None or not _may(*command):
        pytest.skip("this user cannot become another one")
    if hidepid:
        mount = "mount -t proc -o hidepid=2 proc /proc"
        if not _may("unshare", "--mount", "sh", "-c", mount):
            pytest.skip("this user cannot mount")
        command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command]
    return _qexp(command, arguments, {})


def _may(*command: str) -> bool:
    command = (*command, "true") if command[-2:-1] != ("-c",) else command
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _qexp(
    command: list[str], arguments: tuple[str | Path, ...], variables: dict[str, str]
) -> Outcome:
    words = [*command, sys.executable, "-m", "qexp", *map(str, arguments)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    return Outcome(done.returncode, done.stdout, done.stderr)

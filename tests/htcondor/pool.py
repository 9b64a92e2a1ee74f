"""A pool of HTCondor on this machine: real daemons of Debian 13, as Debian 12 has none, in a tree
and with processes of their own.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.slurm.cluster import NoClusterError, until

REPOSITORY = Path(__file__).parents[2]
TREE = REPOSITORY / "build/htcondor"
SUITE = "trixie"

SETTINGS = """
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:0?sock=collector
DAEMON_LIST = MASTER, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_ADMINISTRATOR = *
SEC_DEFAULT_AUTHENTICATION = OPTIONAL
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_CLIENT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
NUM_CPUS = 4
START = True
SUSPEND = False
PREEMPT = False
RUNBENCHMARKS = False
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 2
UID_DOMAIN = localhost
FILESYSTEM_DOMAIN = localhost
MOUNT_UNDER_SCRATCH =
MOUNT_PRIVATE_DEV_SHM = False
STARTER_UPDATE_INTERVAL = 2
"""
"""Jobs run at once, without the mounts that a container may not have."""

MOUNTED = ("/dev", sys.base_prefix, sys.prefix)
"""What is found inside of the tree under the same name; the repository is `/qexp` there."""


class Pool:
    """Commands as a user of the pool gives them, in a workspace of his own."""

    def __init__(self, master: int) -> None:
        self._inside = ["nsenter", "--mount", "--pid", f"--target={master}", "chroot", str(TREE)]

    def call(self, command: str) -> str:
        """What a line of shell prints, errors included."""
        return subprocess.run(
            [*self._inside, "su", "scientist", "-c", f"cd /home/scientist; {command}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            text=True,
            check=False,
        ).stdout

    def qexp(self, arguments: str, variables: str = "") -> str:
        ours = "PYTHONPATH=/qexp PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1"
        return self.call(f"{ours} {variables} {sys.executable} -m qexp {arguments}")


def install() -> None:
    """The tree with HTCondor's programs; made once. Raises NoClusterError."""
    if (TREE / "usr/sbin/condor_master").exists():
        return
    if os.getuid() != 0 or not shutil.which("mmdebstrap") or not shutil.which("nsenter"):
        raise NoClusterError("HTCondor is installed into a tree by root and mmdebstrap alone")
    TREE.parent.mkdir(exist_ok=True)
    unfinished = TREE.with_name("htcondor.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    made = subprocess.run(
        ["mmdebstrap", "-q", "--variant=apt", "--include=condor,procps", SUITE, unfinished],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise NoClusterError(f"HTCondor cannot be had: {made.stderr[-300:]}")
    subprocess.run(["chroot", unfinished, "useradd", "-m", "scientist"], check=True)
    (unfinished / "etc/condor/config.d/99-pool.conf").write_text(SETTINGS)
    unfinished.rename(TREE)


@contextmanager
def pool() -> Iterator[Pool]:
    """A pool that takes jobs; its daemons, jobs and mounts are gone afterwards. Raises
    NoClusterError.
    """
    install()
    shutil.rmtree(TREE / "home/scientist/workspace", ignore_errors=True)
    places = {name: TREE / name.lstrip("/") for name in MOUNTED} | {REPOSITORY: TREE / "qexp"}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    (TREE / "root").chmod(0o755)  # a Python of root's is not for root alone
    mounts = [f"mount --rbind '{path}' '{place}'" for path, place in places.items()]
    start = [f"mount -t proc proc '{TREE}/proc'", f"exec chroot '{TREE}' condor_master -f"]
    script = " && ".join([*mounts, *start])
    apart = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script]
    with subprocess.Popen(apart, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            try:
                until(lambda: bool(_children(process)), "a process of its own")
                ours = Pool(_children(process)[0])
                until(lambda: "Unclaimed" in ours.call("condor_status"), "a machine")
            except AssertionError as error:
                log = TREE / "var/log/condor/MasterLog"
                said = log.read_text()[-1000:] if log.is_file() else ""
                raise NoClusterError(f"HTCondor does not start: {error}\n{said}") from None
            yield ours
        finally:
            for child in _children(process):  # the first process there: all others end with it
                os.kill(child, signal.SIGKILL)


def _children(process: "subprocess.Popen[bytes]") -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(child) for child in listed.split()]

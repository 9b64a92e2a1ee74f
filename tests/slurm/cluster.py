"""A Slurm cluster of one node on this machine: real daemons, in a folder and on ports of their own.

It says that it has more CPUs than there are, so that several tiny jobs run at once.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.runs.conftest import until

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge")

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")

LONGEST_ARRAY = 20

CONFIGURATION = """
ClusterName=qexp
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
MinJobAge=300
KillWait=10
MaxArraySize={longest_array}
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=24 RealMemory=60000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES DefMemPerCPU=1000 MaxTime=60 State=UP
"""


class NoClusterError(Exception):
    """There is no Slurm here, and why."""


@contextmanager
def cluster() -> Iterator[Path]:
    """The configuration of a cluster that takes jobs; the daemons and their jobs are gone afterwards."""
    _install()
    with ExitStack() as stack:
        # Sockets have short names only, which pytest's folders are not.
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="qexp-slurm-", ignore_cleanup_errors=True))
        )
        configuration = _configure(folder)
        environment = {**os.environ, "SLURM_CONF": str(configuration)}
        socket_file = folder / "munge.socket"
        daemon = _daemons(stack, folder, environment)
        daemon(
            "munged", "--foreground", f"--key-file={folder}/munge.key", f"--socket={socket_file}",
            f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        until(socket_file.exists, "munged")
        daemon("slurmctld", "-D", "-f", str(configuration))
        daemon("slurmd", "-D", "-f", str(configuration))
        until(lambda: "idle" in _said(environment, "sinfo", "--noheader", "--format=%T"), "a node that takes jobs")
        try:
            yield configuration
        finally:
            _said(environment, "scancel", "--quiet", f"--user={getpass.getuser()}")
            until(lambda: not _said(environment, "squeue", "--noheader"), "the end of all jobs")


def _install() -> None:
    """Install what is missing, where that may be done; raises NoClusterError where not."""
    missing = [program for program in PROGRAMS if _program(program) is None]
    if not missing:
        return
    root = os.geteuid() == 0
    if shutil.which("apt-get") is None or not (root or "CI" in os.environ):
        raise NoClusterError(f"no {missing[0]} here; as root: apt-get install {' '.join(PACKAGES)}")
    sudo = [] if root else ["sudo", "-n", "--preserve-env=DEBIAN_FRONTEND"]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            [*sudo, "apt-get", *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoClusterError(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")


def _configure(folder: Path) -> Path:
    folder.chmod(0o755)  # munged lets only those in who can get at its socket
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(1024))
    controller_port, node_port = _free_ports(2)
    path = folder / "slurm.conf"
    path.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=folder,
            controller_port=controller_port,
            node_port=node_port,
            longest_array=LONGEST_ARRAY,
        )
    )
    return path


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _daemons(stack: ExitStack, folder: Path, environment: dict[str, str]) -> Callable[..., None]:
    """`daemon("slurmd", "-D")` starts one that ends with the stack, the last one first."""

    def start(name: str, *arguments: str) -> None:
        output = stack.enter_context((folder / f"{name}.output").open("wb"))
        command = [_program(name) or name, *arguments]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        stack.callback(process.wait)
        stack.callback(process.terminate)

    return start


def _said(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()

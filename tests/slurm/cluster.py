"""A Slurm cluster on this machine, of one node or several: real daemons, in a folder and on ports
of their own.

It says that it has more CPUs than there are, so that several tiny jobs run at once.
"""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.runs.conftest import PATIENCE

PACKAGES = {
    "munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd",
    **dict.fromkeys(("sbatch", "squeue", "scontrol", "scancel"), "slurm-client"),
}  # fmt: skip
"""Program → the package of Debian that has it."""

PACKAGES_OF_ACCOUNTING = {
    "mariadbd": "mariadb-server-core",
    "slurmdbd": "slurmdbd",
    "sacctmgr": "slurm-client",
}

LONGEST_ARRAY = 20

Daemons = Callable[..., subprocess.Popen[bytes]]

SETTINGS = {
    "ClusterName": "qexp",
    "SlurmctldHost": "{host}(127.0.0.1)",
    "SlurmUser": "{user}",
    "SlurmdUser": "{user}",
    "AuthType": "auth/munge",
    "AuthInfo": "socket={folder}/munge.socket",
    "CredType": "cred/munge",
    "SlurmctldPort": "{controller_port}",
    "SlurmctldPidFile": "{folder}/slurmctld.pid",
    "SlurmdPidFile": "{folder}/%n.pid",
    "SlurmctldLogFile": "{folder}/slurmctld.log",
    "SlurmdLogFile": "{folder}/%n.log",
    "StateSaveLocation": "{folder}/state",
    "SlurmdSpoolDir": "{folder}/spool/%n",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "SwitchType": "switch/none",
    "MpiDefault": "none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU_Memory",
    "AccountingStorageType": "accounting_storage/none",
    "JobAcctGatherType": "jobacct_gather/linux",
    "JobAcctGatherFrequency": "1",
    "JobAcctGatherParams": "OverMemoryKill",
    "ReturnToService": "2",
    "MinJobAge": "300",
    "KillWait": "10",
    "MaxArraySize": str(LONGEST_ARRAY),
    "SchedulerParameters": (
        "sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0"
    ),
    "SlurmdParameters": "config_overrides",
}

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=24 RealMemory=60000"
    " State=UNKNOWN\n"
)

MAIN = (
    "PartitionName=main Nodes=ALL Default=YES DefMemPerCPU=1000 MaxTime=60 PriorityTier=1"
    " State=UP\n"
)

WITH_ACCOUNTING = {
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "AccountingStorageHost": "127.0.0.1",
    "AccountingStoragePort": "{database_port}",
    "AccountingStoragePass": "{folder}/munge.socket",  # not a password where munge is used
    # The controller forgets jobs so soon that only the accounting can tell of them.
    "MinJobAge": "2",
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "CANCEL",
}

URGENT = "PartitionName=urgent Nodes=ALL DefMemPerCPU=1000 MaxTime=60 PriorityTier=2 State=UP\n"
"""Its jobs end those of the partition main where there is no room for both."""

ACCOUNTING = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database_port}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
"""


"""Seconds between two looks, each of which is a process that takes its time from the jobs."""


class NoClusterError(Exception):
    """There is no cluster here, and why."""


@contextmanager
def cluster(
    accounting: bool = False, settings: Mapping[str, str] | None = None, nodes: int = 1
) -> Iterator[Path]:
    """The configuration of a cluster that takes jobs; the daemons and their jobs are gone
    afterwards.

    accounting  with a database that remembers all jobs, and a controller that forgets them after
                some seconds; without, it remembers them for five minutes
    settings    more lines of slurm.conf, or others than there would be
    nodes       number of nodes; each believes that the machine is its own
    """
    install(PACKAGES | (PACKAGES_OF_ACCOUNTING if accounting else {}), "slurm-wlm-basic-plugins")
    with ExitStack() as stack:
        # Sockets have short names only, which pytest's folders are not.
        temporary = tempfile.TemporaryDirectory(prefix="qexp-slurm-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        folder.chmod(0o755)  # munged lets only those in who can get at its socket
        all_settings = {**SETTINGS, **(WITH_ACCOUNTING if accounting else {}), **(settings or {})}
        host = socket.gethostname().partition(".")[0]
        names = [host] if nodes == 1 else [f"node{number}" for number in range(nodes)]
        ports = free_ports(*names)
        lines = [NODE.format(name=name, host=host, port=ports[name]) for name in names]
        configuration = _configure(
            folder, host, all_settings, "".join([*lines, MAIN, URGENT * accounting])
        )
        daemon = daemons(stack, folder)
        _start_munge(daemon, folder)
        if accounting:
            _start_accounting(daemon, configuration)
        with _taking_jobs(daemon, configuration, names):
            yield configuration


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something; fail if it does not happen."""
    limit = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < limit, f"{what} did not happen"
        time.sleep(0.1)


def _start_munge(daemon: Daemons, folder: Path) -> None:
    daemon(
        "munged",
        "--foreground",
        f"--key-file={folder}/munge.key",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munge.seed",
    )
    until((folder / "munge.socket").exists, "munged")


def _start_accounting(daemon: Daemons, configuration: Path) -> None:
    """A database in a folder of its own, and the daemon that keeps the accounts there."""
    database = configuration.parent / "database"
    database.mkdir(0o700)  # whoever can get at the socket may do anything
    socket_file = database / "socket"
    options = [
        "--no-defaults",
        f"--datadir={database}",
        f"--user={getpass.getuser()}",
        f"--socket={socket_file}",
        f"--pid-file={database}/pid",
        "--skip-networking",
        "--skip-grant-tables",
        "--innodb-log-file-size=8M",
        "--innodb-buffer-pool-size=64M",
        "--innodb-flush-log-at-trx-commit=0",
    ]
    tables = (
        b"create database mysql;\nuse mysql;\n"
        + Path("/usr/share/mysql/mysql_system_tables.sql").read_bytes()
    )
    bootstrap = [program_path("mariadbd") or "mariadbd", *options, "--bootstrap"]
    subprocess.run(bootstrap, input=tables, capture_output=True, check=True)
    daemon("mariadbd", *options)
    until(socket_file.exists, "mariadbd")
    daemon("slurmdbd", "-D", SLURM_CONF=str(configuration), MYSQL_UNIX_PORT=str(socket_file))

    def registered() -> bool:
        _said(configuration, "sacctmgr", "--immediate", "add", "cluster", "qexp")
        return "qexp" in _said(
            configuration, "sacctmgr", "--noheader", "--parsable2", "list", "cluster"
        )

    until(registered, "slurmdbd")


@contextmanager
def _taking_jobs(daemon: Daemons, configuration: Path, nodes: Sequence[str]) -> Iterator[None]:
    daemon("slurmctld", "-D", "-f", str(configuration), SLURM_CONF=str(configuration))
    for name in nodes:
        daemon("slurmd", "-D", "-N", name, "-f", str(configuration), SLURM_CONF=str(configuration))
    idle = f"idle {len(nodes)}"
    until(
        lambda: (
            _said(configuration, "sinfo", "--noheader", "--format=%T %D", "--partition=main")
            == idle
        ),
        "idle nodes",
    )
    try:
        yield
    finally:
        _said(configuration, "scancel", "--quiet", f"--user={getpass.getuser()}")
        until(lambda: not _said(configuration, "squeue", "--noheader"), "the end of all jobs")


def install(packages: Mapping[str, str], *more: str) -> None:
    """Install what is missing, where that may be done; raises NoClusterError where not."""
    missing = [program for program in packages if program_path(program) is None]
    if not missing:
        return
    wanted = sorted({*packages.values(), *more})
    root = os.geteuid() == 0
    if shutil.which("apt-get") is None or not (root or "CI" in os.environ):
        raise NoClusterError(f"no {missing[0]} here; as root: apt-get install {' '.join(wanted)}")
    sudo = [] if root else ["sudo", "-n", "--preserve-env=DEBIAN_FRONTEND"]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *wanted]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        words = [*sudo, "apt-get", *command]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoClusterError(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")


def program_path(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin")


def _configure(folder: Path, host: str, settings: Mapping[str, str], nodes: str) -> Path:
    """Write slurm.conf and slurmdbd.conf, and make the folders that they name."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(1024))
    ports = free_ports("controller_port", "database_port")
    values = {"host": host, "user": getpass.getuser(), "folder": folder, **ports}
    lines = [f"{key}={value}\n".format(**values) for key, value in settings.items()]
    path = folder / "slurm.conf"
    path.write_text("".join([*lines, nodes]))
    # read where settings ask for task/cgroup
    (folder / "cgroup.conf").write_text("ConstrainRAMSpace=yes\n")
    accounting = folder / "slurmdbd.conf"
    accounting.touch(0o600)
    accounting.write_text(ACCOUNTING.format(**values))
    return path


def free_ports(*names: str) -> dict[str, int]:
    with ExitStack() as stack:
        sockets = {
            name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names
        }
        return {name: server.getsockname()[1] for name, server in sockets.items()}


def daemons(stack: ExitStack, folder: Path) -> Daemons:
    """`daemon("slurmd", "-D", SLURM_CONF=path)` starts one that ends with the stack, the last one
    first.
    """

    def start(name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        output = stack.enter_context((folder / f"{name}.output").open("ab"))
        words, variables = [program_path(name) or name, *arguments], {**os.environ, **environment}
        process = subprocess.Popen(
            words, env=variables, stdout=output, stderr=output, start_new_session=True
        )
        stack.callback(_end, process)
        return process

    return start


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _said(configuration: Path, *command: str) -> str:
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    ).stdout.strip()

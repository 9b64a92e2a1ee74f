"""A Grid Engine of one node on this machine: real daemons, in a folder and on ports of their own.

It says that it has more slots than there are CPUs, so that several tiny jobs run at once.
"""

import getpass
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.slurm.cluster import NoClusterError, daemons, free_ports, install, until

PACKAGES = {
    "sge_qmaster": "gridengine-master", "sge_execd": "gridengine-exec",
    **dict.fromkeys(("qsub", "qstat", "qacct", "qdel", "qconf"), "gridengine-client"),
}  # fmt: skip
"""Program → the package of Debian that has it."""

DEBIAN = Path("/usr/lib/gridengine")
SHARED = Path("/usr/share/gridengine")

BOOTSTRAP = {
    "admin_user": "none",
    "default_domain": "none",
    "ignore_fqdn": "true",
    "spooling_method": "classic",
    "spooling_lib": "libspoolc",
    "spooling_params": "{folder}/default/common;{folder}/master",
    "binary_path": "/usr/sbin",
    "qmaster_spool_dir": "{folder}/master",
    "security_mode": "none",
    "listener_threads": "2",
    "worker_threads": "2",
    "scheduler_threads": "1",
}

SETTINGS = {
    "execd_spool_dir": "{folder}/node",
    "min_uid": "0",
    "min_gid": "0",
    "load_report_time": "00:00:02",
    "reporting_params": (
        "accounting=true reporting=false flush_time=00:00:02 joblog=false sharelog=00:00:00"
    ),
    "max_unheard": "00:00:10",
    "mailer": "/bin/true",
}

SCHEDULING = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}

ENVIRONMENT = {
    "pe_name": "smp",
    "slots": "24",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "start_proc_args": "NONE",
    "stop_proc_args": "NONE",
    "allocation_rule": "$pe_slots",
    "control_slaves": "FALSE",
    "job_is_first_task": "TRUE",
    "urgency_slots": "min",
    "accounting_summary": "TRUE",
    "qsort_args": "NONE",
}

QUEUE = {"qname": "main.q", "hostlist": "{host}", "slots": "24", "pe_list": "smp", "load_thresholds": "NONE",
         "notify": "00:00:10"}  # fmt: skip


class Cluster:
    """The daemons, which `start` and `kill` start and kill one by one."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder, self._daemon = folder, daemons(stack, folder)
        ports = free_ports("SGE_QMASTER_PORT", "SGE_EXECD_PORT")
        names = {"SGE_ROOT": str(folder), "SGE_CELL": "default", "LD_LIBRARY_PATH": str(DEBIAN)}
        self.variables = names | {name: str(port) for name, port in ports.items()}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def call(self, *command: str | Path) -> str:
        """What a program prints, as the cluster's administrator calls it; empty if it fails."""
        variables = {**os.environ, **self.variables}
        return subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False
        ).stdout.strip()

    def start(self, name: str) -> None:
        self._processes[name] = self._daemon(name, **self.variables, SGE_ND="1")

    def kill(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that takes jobs; the daemons and their jobs are gone afterwards. Raises
    NoClusterError.
    """
    install(PACKAGES)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="qexp-ge-", ignore_cleanup_errors=True)
            )
        )
        folder.chmod(0o755)
        ours = Cluster(stack, folder)
        try:
            _configure(ours)
        except AssertionError as error:
            said = "\n".join(path.read_text()[-500:] for path in folder.glob("*.output"))
            raise NoClusterError(f"Grid Engine does not start: {error}\n{said}") from None
        try:
            yield ours
        finally:
            ours.call("qdel", "-f", "-u", "*")
            until(lambda: not ours.call("qstat", "-u", "*"), "the end of all jobs")


def _configure(ours: Cluster) -> None:
    folder, host = ours.folder, socket.gethostname()
    common = folder / "default/common"
    for path in (common, folder / "master/job_scripts", folder / "node"):
        path.mkdir(parents=True)
    for name in ("bin", "util", "utilbin", "lib"):
        (folder / name).symlink_to(f"/var/lib/gridengine/{name}")
    _write(common / "bootstrap", BOOTSTRAP, folder=folder)
    (common / "act_qmaster").write_text(f"{host}\n")
    (common / "host_aliases").write_text(f"{host} localhost\n")
    ours.call(DEBIAN / "spoolinit", "classic", "libspoolc", f"{common};{folder}/master", "init")
    settings = (SHARED / "default-configuration").read_text()
    for what, source in {
        "configuration": _write(folder / "configuration", SETTINGS, settings, folder=folder),
        "complexes": SHARED / "util/resources/centry",
        "usersets": SHARED / "util/resources/usersets",
        "managers": Path(getpass.getuser()),
    }.items():
        ours.call(DEBIAN / "spooldefaults", what, source)
    ours.start("sge_qmaster")
    until(lambda: bool(ours.call("qconf", "-sss")), "a master that answers")
    for option in ("-ah", "-as"):
        ours.call("qconf", option, host)
    ours.start("sge_execd")
    until(lambda: host in ours.call("qconf", "-sel"), "a node")
    ours.call("qconf", "-Ap", _write(folder / "smp", ENVIRONMENT))
    ours.call("qconf", "-Aq", _write(folder / "queue", QUEUE, ours.call("qconf", "-sq"), host=host))
    ours.call(
        "qconf", "-Msconf", _write(folder / "scheduling", SCHEDULING, ours.call("qconf", "-ssconf"))
    )
    until(lambda: "lx-" in ours.call("qstat", "-f"), "a queue that takes jobs")


def _write(path: Path, values: Mapping[str, str], text: str = "", **names: object) -> Path:
    """A file of settings: those of a text with other values, or the values alone."""
    text = text or "".join(f"{key} \n" for key in values)
    for key, value in values.items():
        text = re.sub(
            rf"^{key}\s.*$",
            lambda _, k=key, v=value: f"{k} {v.format(**names)}",
            text,
            flags=re.MULTILINE,
        )
    path.write_text(f"{text.strip()}\n")
    return path

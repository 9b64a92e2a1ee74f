"""Grid Engine as a launcher: runs and commands are tasks of job arrays."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from xml.etree import ElementTree

from qexp.errors import QexpError, SchedulerError
from qexp.jobs import scheduler
from qexp.jobs.scheduler import CODES, OWN, Array, Option, Scheduler, array_of, call, found
from qexp.store.record import State

FLAGS: dict[str, str] = {"queue": "q", "project": "P", "pe": "pe", "resources": "l"}
"""Option → the option of qsub that takes its value unchanged."""

TAKEN = scheduler.taken(
    FLAGS,
    {
        "r": "write it as requeue = true in the table around it",
        "N": f"{OWN}, to the name of the launch; --tag and --note describe runs",
        "t tc": f"{OWN}, to a task for each run; -j limits how many run at a time",
        "hold_jid hold_jid_ad": f"{OWN}, between the arrays of a launch",
        "o e j": f"{OWN}; the output is in gridengine.txt in the directory of each run",
        "cwd wd b shell S C notify terse V i @": OWN,
        "sync now": "wait for runs with: qexp wait",
        "verify help w": "it would submit nothing; see the runs of a command with --dry-run",
    },
)

OPTIONS: dict[str, scheduler.Acceptor] = {
    **scheduler.OPTIONS,
    "queue": Option(r"[\w.,@*-]+", "the name of a queue, or several with commas between"),
    "project": Option(r"[\w.-]+", "the name of a project"),
    "pe": Option(
        r"[\w.*-]+ [1-9]\d*", 'a parallel environment and the number of slots, such as "smp 4"'
    ),
    "memory": Option(r"\d+(\.\d+)?[KMGTkmgt]?", "the memory per slot, such as 4G or 500M"),
    "resources": Option(r"[^\s\x00-\x1f]+", 'more resources, such as "gpu=1,mem_free=4G"'),
    "options": scheduler.PassedOn(
        "qsub", TAKEN, r"[A-Za-z@][A-Za-z_]*", "an option of", 'M = "me@example.org", m = "a"'
    ),
}

# What Grid Engine says of jobs that it has accepted.


LISTED = ("qstat", "-f", "-ne", "-xml", "-s", "prsz")

SILENT, ENDED = "silent", "ended"
"""All that the master knows of a job on a node that does not answer, and of one that has ended."""

LATE_SECONDS = 5.0
"""Seconds after which an end is in the accounting, beyond the interval at which that is written."""


def _listed(wanted: set[str]) -> dict[str, State | str]:
    """What the master knows of this user's jobs, or of all if that leaves some out."""
    listed: dict[str, State | str] = {}
    for user in (getpass.getuser(), "*") if wanted else ():
        listed = read_list(call(*LISTED, "-u", user))
        if wanted <= listed.keys():
            break
    return listed


def read_list(answer: str) -> dict[str, State | str]:
    """Job → its state, SILENT, or ENDED, from what `LISTED` prints."""
    try:
        # The names of jobs are printed as they are, with characters that XML forbids.
        root = ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", answer))
    except ElementTree.ParseError as error:
        raise SchedulerError(f"qstat has not answered in XML: {error}") from None
    listed: dict[str, State | str] = {}
    for parent in root.iter():
        silent = parent.tag == "Queue-List" and "u" in parent.findtext("state", "")
        for entry in parent.findall("job_list"):
            letters = entry.findtext("state", "")
            said: State | str = (
                State.QUEUED if "q" in letters and "d" not in letters else State.RUNNING
            )
            if entry.get("state") == "zombie":
                said = ENDED
            elif silent:
                said = SILENT
            elif "E" in letters:  # it waits until somebody clears the error
                said = State.FAILED
            array = entry.findtext("JB_job_number", "")
            tasks = scheduler.numbers(entry.findtext("tasks", ""))
            listed |= {f"{array}.{task}": said for task in tasks}
    return listed


def _accounted(jobs: Collection[str]) -> dict[str, State] | None:
    """Job → how it ended, for jobs in the accounting; None if that cannot be read."""
    ended: dict[str, State | None] = {}
    for array in sorted({array_of(job) for job in jobs}):
        try:
            answer = call("qacct", "-j", array)
        except QexpError as error:
            if f"job id {array} not found" in str(error):
                continue
            return None
        for entry in re.split(r"^=+\s*$", answer, flags=re.MULTILINE):
            fields = dict(
                line.split(None, 1) for line in entry.splitlines() if len(line.split()) > 1
            )
            job = f"{array}.{fields.get('taskid', '').strip()}"
            ended[job] = _end(fields)  # of several starts the last one counts
    return {job: state for job, state in ended.items() if job in jobs and state is not None}


def _end(fields: Mapping[str, str]) -> State | None:
    """The state for an entry of the accounting; None if the job then waited again."""
    failed, code = (
        int(re.sub(r"\D.*", "", fields.get(key, "")) or 0) for key in ("failed", "exit_status")
    )
    if failed in (24, 25):
        return None
    # It ended by itself, and at most what followed failed; 30: with exit code 100.
    if failed in (0, 12, 13, 14, 15, 16, 30) or code == 0 < failed == 37:
        return CODES.get(code, State.FAILED)
    if failed not in (37, 100):  # 100: by a signal; 37: over a limit of the job
        return State.LOST
    requested = dict(re.findall(r"(\w+)=([^,\s]+)", fields.get("category", "")))
    memory = _amount(requested.get("h_vmem", "")) * _amount(fields.get("slots", "1"))
    if memory and _amount(fields.get("maxvmem", "")) > 0.95 * memory:
        return State.OUT_OF_MEMORY
    seconds = _amount(requested.get("h_rt", ""))
    if failed == 37 or (seconds and _amount(fields.get("ru_wallclock", "")) >= seconds):
        return State.TIMEOUT
    return State.INTERRUPTED if code == 137 else CODES.get(code, State.FAILED)


def _amount(text: str) -> float:
    """`600M` → 600 * 2**20, `31s` → 31; 0 if there is no number."""
    match = re.match(r"([\d.]+)([KMGT]?)", text.upper())
    return float(match[1]) * 1024.0 ** " KMGT".index(match[2] or " ") if match else 0.0


def _accounting_seconds() -> float:
    settings = call("qconf", "-sconf")
    interval = found(r"accounting_flush_time=([\d:]+)", settings) or found(
        r"\bflush_time=([\d:]+)", settings
    )
    return min(LATE_SECONDS + scheduler.seconds_of(interval or "15"), scheduler.ANSWER_SECONDS)


class GridEngine(Scheduler):
    """Implements `Scheduler`; a job is a task of an array, such as `123.4`."""

    name, output_name, first = "Grid Engine", "gridengine.txt", 1
    variables = ("JOB_ID", "SGE_TASK_ID", "QEXP_GRIDENGINE_CLUSTER")
    begin = "line=$SGE_TASK_ID restarts=${RESTARTED:-0} cores=${NSLOTS:-1}"
    # The script begins a moment after the time that Grid Engine counts.
    signals = (
        "# All processes get SIGUSR1 before they are suspended, and SIGUSR2 before they are"
        " killed.\n"
        "trap '' USR1\n"
        """trap '[ -z "$hard" ] || [ "$SECONDS" -lt $((hard - 5)) ] || time_is_up=yes; stop' USR2"""
    )
    options = OPTIONS

    def states(self, jobs: Iterable[str]) -> dict[str, State]:
        """See `Scheduler`.

        Only the master knows which jobs wait and run. How a job ended is known to the accounting
        alone, and some seconds later; a job that was deleted before it began is never there.
        """
        wanted = set(jobs)
        try:
            listed = _listed(wanted)
        except SchedulerError:
            ended = _accounted(wanted)
            if ended and ended.keys() == wanted:
                return ended
            raise
        said = listed.items()
        states = {job: it for job, it in said if job in wanted and isinstance(it, State)}
        gone = {job for job in wanted if listed.get(job, ENDED) == ENDED}
        ended = _accounted(gone)
        if ended is None:
            return states
        known = {array_of(job) for job in (*listed, *ended)}
        late = {job for job in gone - ended.keys() if array_of(job) in known}
        deadline = time.monotonic() + (_accounting_seconds() if late else 0.0)
        while late and time.monotonic() < deadline:
            time.sleep(1.0)
            ended |= _accounted(late) or {}
            late -= ended.keys()
        return states | ended | dict.fromkeys(late, State.INTERRUPTED)

    def end(self, jobs: Sequence[str]) -> None:
        try:
            call("qdel", *jobs)
        except SchedulerError as error:
            if "does not exist" not in str(error):
                raise

    def ask_cluster(self) -> str | None:
        """The machine of the master, with the cell if that has a name of its own."""
        host = call("qconf", "-sss").strip()
        cell = os.environ.get("SGE_CELL", "default")
        return host if cell == "default" else f"{host}/{cell}"

    def longest(self) -> int:
        scheduler.require("qsub")
        return int(found(r"^max_aj_tasks\s+(\d+)", call("qconf", "-sconf")) or 0) or 75000

    def command(self, array: Array) -> list[str]:
        launch = array.launch
        options = array.launch.options
        limits = {"time": "h_rt", "memory": "h_vmem"}
        name = re.sub(r"[^\w.-]", "_", f"qexp-{launch.name}")
        # compute nodes may not be allowed to ask
        cluster = f"{self.variables[-1]}={self.cluster() or ''}"
        words = ["qsub", "-terse", "-N", name, "-t", f"1-{len(array.lines)}"]
        if launch.at_most:
            words += ["-tc", str(launch.at_most)]
        words += ["-C", "", "-S", "/bin/bash", "-V", "-b", "n", "-o", "/dev/null", "-j", "y"]
        words += ["-notify", "-v", cluster, "-r", "y" if options["requeue"] == "true" else "n"]
        for key, limit in limits.items():
            if key in options:
                words += ["-l", f"{limit}={options[key]}"]
        for key, flag in FLAGS.items():
            if key in options:
                words += [f"-{flag}", *options[key].split(" ")]
        for option, value in options.get("options", {}).items():
            words += _passed_on(option, value)
        if array.previous:
            words += ["-hold_jid", array.previous]
        return [*words, array.script]

    def submit_array(self, array: Array, command: Sequence[str]) -> str:
        try:
            secret = re.compile("|".join(scheduler.SECRETS), re.IGNORECASE)
            passed_on = {name: text for name, text in os.environ.items() if not secret.search(name)}
            answer = call(*command, environment=passed_on, cwd=array.folder, timeout=None)
        except SchedulerError as error:
            # A job that no queue would take is refused with a warning, and yet accepted.
            accepted = found(r"Your job-array (\d+)\.", str(error))
            if accepted:
                self.end([accepted])
            raise
        job = found(r"^(\d+)\.\d+-\d+:\d+\s*$", answer)
        if job:
            return job
        raise SchedulerError(f"qsub has not said which job it submitted:\n{answer}")


def _passed_on(flag: str, value: str | bool) -> list[str]:
    """The words for an option of qsub, whose value may be several."""
    if value is False:
        return []
    return [f"-{flag}", *(shlex.split(value) if isinstance(value, str) else [])]

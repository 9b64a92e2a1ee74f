"""Grid Engine as a launcher: runs and commands are tasks of job arrays."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from qexp.errors import QexpError, SchedulerError
from qexp.jobs import arrays
from qexp.jobs.arrays import CODES, Array, ArrayScheduler, Shell, call, seconds_of
from qexp.jobs.scheduler import Acceptor, Option, PassedOn
from qexp.store.record import State

# Options of qsub that a launch can choose.


FLAGS: dict[str, str] = {"queue": "q", "project": "P", "pe": "pe", "resources": "l"}
"""Option → the option of qsub that takes its value unchanged."""

_OWN = "qexp sets it itself"

TAKEN: dict[str, str] = {
    **{flag: f"write it as {key} = ... in the table around it" for key, flag in FLAGS.items()},
    "r": "write it as requeue = true in the table around it",
    "N": f"{_OWN}, to the name of the launch; --tag and --note describe runs",
    **dict.fromkeys(("t", "tc"), f"{_OWN}, to a task for each run; -j limits how many run at a time"),
    **dict.fromkeys(("hold_jid", "hold_jid_ad"), f"{_OWN}, between the arrays of a launch"),
    **dict.fromkeys(("o", "e", "j"), f"{_OWN}; the output is in gridengine.txt in the directory of each run"),
    **dict.fromkeys(("cwd", "wd", "b", "shell", "S", "C", "notify", "terse", "V", "i", "@"), _OWN),
    **dict.fromkeys(("sync", "now"), "wait for runs with: qexp wait"),
    **dict.fromkeys(("verify", "help", "w"), "it would submit nothing; see the runs of a command with --dry-run"),
}
"""Option of qsub that cannot be passed on → what to write instead, or what sets it."""

OPTIONS: dict[str, Acceptor] = {
    "queue": Option(r"[\w.,@*-]+", "the name of a queue, or several with commas between"),
    "project": Option(r"[\w.-]+", "the name of a project"),
    "time": Option(r"\d+:[0-5]\d:[0-5]\d", 'hours, minutes and seconds, such as "4:00:00"'),
    "pe": Option(r"[\w.*-]+ [1-9]\d*", 'a parallel environment and the number of slots, such as "smp 4"'),
    "memory": Option(r"\d+(\.\d+)?[KMGTkmgt]?", "the memory per slot, such as 4G or 500M"),
    "resources": Option(r"[^\s\x00-\x1f]+", 'more resources, such as "gpu=1,mem_free=4G"'),
    **arrays.OPTIONS,
    "options": PassedOn("qsub", TAKEN, r"[A-Za-z@][A-Za-z_]*", "an option of", 'M = "me@example.org", m = "a"'),
}

# Jobs that Grid Engine has accepted: their states, and cancelling them.


LISTED = ("qstat", "-f", "-ne", "-xml", "-s", "prsz")

LATE_SECONDS = 5.0
"""Seconds after which an end is in the accounting, beyond the interval at which that is written."""


@dataclass
class Listed:
    """What the master knows of jobs; those on a node that is silent have no state."""

    states: dict[str, State] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)


def job_states(jobs: Iterable[str]) -> dict[str, State]:
    """Job → current state, for jobs that Grid Engine knows.

    Only the master knows which jobs wait and run. How a job ended is known to the accounting alone, and some seconds
    later; a job that was deleted before it began is never there.
    Raises SchedulerError if the master does not answer and the accounting does not have all of them.
    """
    wanted = set(jobs)
    try:
        listed = _listed(wanted)
    except SchedulerError:
        if (ended := _accounted(wanted)) and ended.keys() == wanted:
            return ended
        raise
    states = {job: state for job, state in listed.states.items() if job in wanted}
    gone = wanted - states.keys() - listed.silent
    ended = _accounted(gone)
    if ended is None:
        return states
    known = {_array(job) for job in (*listed.states, *listed.ended, *ended)}
    late = {job for job in gone - ended.keys() if _array(job) in known}
    deadline = time.monotonic() + (_accounting_seconds() if late else 0.0)
    while late and time.monotonic() < deadline:
        time.sleep(1.0)
        ended |= _accounted(late) or {}
        late -= ended.keys()
    return states | ended | dict.fromkeys(late, State.INTERRUPTED)


def _array(job: str) -> str:
    return job.partition(".")[0]


def _listed(wanted: set[str]) -> Listed:
    """What the master knows of this user's jobs, or of all if that leaves some out."""
    listed = Listed()
    for user in (getpass.getuser(), "*") if wanted else ():
        listed = read_list(call(*LISTED, "-u", user))
        if wanted <= listed.states.keys() | listed.silent | listed.ended:
            break
    return listed


def read_list(answer: str) -> Listed:
    """What `LISTED` prints."""
    listed = Listed()
    # The names of jobs are printed as they are, with characters that XML forbids.
    try:
        root = ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", answer))
    except ElementTree.ParseError as error:
        raise SchedulerError(f"qstat has not answered in XML: {error}") from None
    for parent in root.iter():
        silent = "u" in parent.findtext("state", "") and parent.tag == "Queue-List"
        for entry in parent.findall("job_list"):
            array, word = entry.findtext("JB_job_number", ""), entry.findtext("state", "")
            for task in arrays.numbers(entry.findtext("tasks", "")):
                job = f"{array}.{task}"
                if entry.get("state") == "zombie":
                    listed.ended.add(job)
                elif silent:
                    listed.silent.add(job)
                elif "E" in word:  # it waits until somebody clears the error
                    listed.states[job] = State.FAILED
                else:
                    listed.states[job] = State.QUEUED if "q" in word and "d" not in word else State.RUNNING
    return listed


def _accounted(jobs: Collection[str]) -> dict[str, State] | None:
    """Job → how it ended, for jobs in the accounting; None if that cannot be read."""
    ended: dict[str, State | None] = {}
    for array in sorted({_array(job) for job in jobs}):
        try:
            answer = call("qacct", "-j", array)
        except QexpError as error:
            if f"job id {array} not found" in str(error):
                continue
            return None
        for entry in re.split(r"^=+\s*$", answer, flags=re.MULTILINE):
            fields = dict(line.split(None, 1) for line in entry.splitlines() if len(line.split()) > 1)
            ended[f"{array}.{fields.get('taskid', '').strip()}"] = _end(fields)  # of several starts the last one counts
    return {job: state for job, state in ended.items() if job in jobs and state is not None}


def _end(fields: Mapping[str, str]) -> State | None:
    """The state for an entry of the accounting; None if the job then waited again."""
    failed, code = (int(re.match(r"\d*", fields.get(key, ""))[0] or 0) for key in ("failed", "exit_status"))  # type: ignore[index]
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
    """Seconds after which an end is in the accounting."""
    settings = call("qconf", "-sconf")
    match = re.search(r"accounting_flush_time=([\d:]+)", settings) or re.search(r"\bflush_time=([\d:]+)", settings)
    return min(LATE_SECONDS + seconds_of(match[1] if match else "15"), arrays.ANSWER_SECONDS)


def cancel_jobs(jobs: Collection[str]) -> dict[str, State]:
    """Cancel jobs, or whole arrays, that wait or run; jobs that have ended are left alone.

    Returns job → state for jobs that waited, to be stored: the accounting will not have them.
    """
    if not jobs:
        return {}
    listed = _listed(set(jobs))
    alive = listed.states.keys() | listed.silent
    for part in arrays.parts([job for job in jobs if "." not in job or job in alive], arrays.JOBS_PER_CALL):
        try:
            call("qdel", *part)
        except SchedulerError as error:
            if "does not exist" not in str(error):
                raise
    return {job: State.INTERRUPTED for job in jobs if listed.states.get(job) is State.QUEUED}


CLUSTER = "QEXP_GRIDENGINE_CLUSTER"
"""Environment variable that the scripts set: compute nodes may not be allowed to ask."""


def this_job() -> tuple[str, str | None] | None:
    """The array task of this process, and its cluster."""
    array, task = os.environ.get("JOB_ID", ""), os.environ.get("SGE_TASK_ID", "")
    return (f"{array}.{task}", os.environ.get(CLUSTER)) if array.isdecimal() and task.isdecimal() else None


def cluster() -> str | None:
    """The machine of the master, with the cell if that has a name of its own; None if it does not answer."""
    try:
        host = call("qconf", "-sss").strip()
    except QexpError:
        return os.environ.get(CLUSTER)
    cell = os.environ.get("SGE_CELL", "default")
    return host if cell == "default" else f"{host}/{cell}"


# Grid Engine as a launcher: runs are tasks of job arrays.


BEGIN = """cd -- {folder} || exit 3
export {variable}={cluster}
line=$SGE_TASK_ID restarts=${{RESTARTED:-0}} cores=${{NSLOTS:-1}}"""

SIGNALS = """# All processes get SIGUSR1 before they are suspended, and SIGUSR2 before they are killed.
trap '' USR1
trap '[ "$SECONDS" -lt {hard} ] || time_is_up=yes; stop' USR2"""


class GridEngine(ArrayScheduler):
    """Implements `Scheduler`; a job is a task of an array, such as `123.4`."""

    name = "Grid Engine"
    output_name = "gridengine.txt"
    job = "{array}.{task}"
    options: Mapping[str, Acceptor] = OPTIONS
    states = staticmethod(job_states)
    cancel = staticmethod(cancel_jobs)
    this_job = staticmethod(this_job)
    cluster = staticmethod(cluster)

    def longest(self) -> int:
        arrays.require("qsub")
        match = re.search(r"^max_aj_tasks\s+(\d+)", call("qconf", "-sconf"), re.MULTILINE)
        return int(match[1]) if match and int(match[1]) else 75000

    def shell(self, array: Array) -> Shell:
        options = array.launch.options
        hard = seconds_of(options.get("time", "0"))
        folder, here = shlex.quote(str(array.folder.absolute())), shlex.quote(cluster() or "")
        return Shell(
            begin=BEGIN.format(folder=folder, variable=CLUSTER, cluster=here),
            output='exec >> "$output" 2>&1',
            # The script begins a moment after the time that Grid Engine counts.
            signals=SIGNALS.format(hard=hard - 5 if hard else sys.maxsize),
            **arrays.timed(options),
            finish='case "$code" in 99|100) code=1 ;; esac  # Grid Engine would start or hold the job again',
        )

    def command(self, array: Array, runs: bool) -> list[str]:
        launch, options = array.launch, array.launch.options
        resources = [f"h_rt={options['time']}"] if "time" in options else []
        resources += [f"h_vmem={options['memory']}"] if "memory" in options else []
        return [
            "qsub", "-terse", "-N", re.sub(r"[^\w.-]", "_", f"qexp-{launch.name}"), "-t", f"1-{array.tasks}",
            *(["-tc", str(launch.at_most)] if launch.at_most else []),
            "-C", "", "-S", "/bin/bash", "-V", "-b", "n", "-o", "/dev/null", "-j", "y", "-notify",
            "-r", "y" if options["requeue"] == "true" else "n",
            *(word for resource in resources for word in ("-l", resource)),
            *(word for key, flag in FLAGS.items() if key in options for word in (f"-{flag}", *options[key].split(" "))),
            *(word for passed_on in options.get("options", {}).items() for word in _passed_on(*passed_on)),
            *(["-hold_jid", array.before] if array.before else []),
            array.script,
        ]  # fmt: skip

    def submit_array(self, array: Array, command: Sequence[str]) -> str:
        try:
            answer = call(*command, cwd=array.folder, timeout=None)
        except SchedulerError as error:
            # A job that no queue would take is refused with a warning, and yet accepted.
            cancel_jobs(re.findall(r"Your job-array (\d+)\.", str(error)))
            raise
        if job := re.search(r"^(\d+)\.\d+-\d+:\d+\s*$", answer, re.MULTILINE):
            return job[1]
        raise SchedulerError(f"qsub has not said which job it submitted:\n{answer}")


def _passed_on(flag: str, value: str | bool) -> list[str]:
    """The words for an option of qsub, whose value may be several."""
    return [] if value is False else [f"-{flag}", *(shlex.split(value) if isinstance(value, str) else [])]

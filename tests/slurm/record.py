"""Record what a real Slurm says of jobs, in the files of `recorded/`: as root, `python -m
tests.slurm.record`.
"""

import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qexp.jobs.scheduler import TIME_IS_UP
from qexp.jobs.slurm import ACCOUNTED, LISTED, Slurm
from tests.slurm import cluster as slurm_cluster
from tests.slurm.cluster import until
from tests.slurm.conftest import slurm as call
from tests.slurm.test_arrays import submit_jobs

RECORDED = Path(__file__).parent / "recorded"

SETTINGS = {
    "MinJobAge": "300",
    # Slurm calls it OUT_OF_MEMORY where the kernel keeps a job within its memory, and needs to be
    # root for that.
    "TaskPlugin": "task/cgroup",
    "JobAcctGatherParams": "NoShared",
    "Prolog": "{folder}/prolog",
}

HOARD = "python3 -c \"hoard = b'1' * 400000000\""


def answer_of(command: Sequence[str], jobs: Sequence[str]) -> str:
    arrays = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    return subprocess.run(
        [*command, f"--jobs={arrays}"], capture_output=True, text=True, check=False
    ).stdout


def record(name: str, comment: str, jobs: Sequence[str], listed: str, accounted: str) -> None:
    """Write what squeue and sacct say of jobs, as soon as both say what is expected of them."""
    until(lambda: listed in answer_of(LISTED, jobs), f"{listed} in squeue, of {name}")
    until(lambda: accounted in answer_of(ACCOUNTED, jobs), f"{accounted} in sacct, of {name}")
    version = answer_of(("squeue", "--version"), []).strip()
    answers = "".join(
        f"$ {' '.join(command)}\n{answer_of(command, jobs)}" for command in (LISTED, ACCOUNTED)
    )
    (RECORDED / f"{name}.txt").write_text(f"# {version}: {comment}\n# {' '.join(jobs)}\n{answers}")
    print(name)


def record_end(name: str, comment: str, jobs: Sequence[str], word: str) -> None:
    for job in jobs[:-1]:
        until(
            lambda job=job: f"{job}|{word}" in answer_of(ACCOUNTED, jobs),
            f"{word} in sacct, of {name}",
        )
    record(name, comment, jobs, f"{jobs[-1]}|{word}", f"{jobs[-1]}|{word}")


def submit(
    folder: Path, name: str, *setup: str, count: int = 1, at_most: int | None = None, **options: str
) -> list[str]:
    """Submit runs that do nothing but their setup lines, as qexp does."""
    return submit_jobs(
        "slurm", folder / name, count, *setup, at_most=at_most, memory="50M", time=5, **options
    )


def record_ends(folder: Path) -> None:
    """Ends that a job comes to by itself."""
    late = submit(folder, "timeout", "sleep 600")
    until(lambda: "RUNNING" in answer_of(LISTED, late), "a job that runs")
    call("scontrol", "update", f"JobId={late[0]}", "EndTime=now")
    completed = submit(folder, "completed", "exit 0", count=3)
    failed = submit(folder, "failed", "exit 7")
    stopped = submit(folder, "stopped", f"exit {TIME_IS_UP}")
    killed = submit(folder, "killed", "kill -KILL $$")
    hoarding = submit(folder, "hoarding", HOARD, "exit 1")
    record_end(
        "completed", "An array of three that all ended with exit code 0.", completed, "COMPLETED"
    )
    record_end("failed", "Exit code 7.", failed, "FAILED")
    record_end("stopped_before_the_limit", "The exit code of a run that was told that its time is nearly up.", stopped,
           "FAILED")  # fmt: skip
    record_end("killed", "The script was killed by SIGKILL.", killed, "FAILED")
    record_end("out_of_memory", "Killed by the kernel, in a cgroup.", hoarding, "OUT_OF_MEMORY")
    record_end("timeout", "At work when the time was up.", late, "TIMEOUT")


def record_moments(folder: Path) -> None:
    """What jobs that have not ended may be."""
    first, *others = submit(folder, "array", "sleep 600", count=6, at_most=1)
    record(
        "running",
        "The first task of an array, the others of which wait.",
        [first],
        "RUNNING",
        f"{first}|RUNNING",
    )
    record(
        "waiting",
        "All tasks of an array but the first, one at a time.",
        others,
        "PENDING",
        "_[1-5%1]|PENDING",
    )
    Slurm().cancel(others[2:])
    until(lambda: others[2] not in answer_of(LISTED, others), "the end of tasks that wait")
    record("cancelled_before_their_turn", "Tasks of an array, the others of which go on.", others[2:],
           "RUNNING", f"{first}|RUNNING")  # fmt: skip
    array = first.partition("_")[0]
    call("scancel", array)
    record_end("cancelled", "By scancel, at work.", [first], "CANCELLED")
    record(
        "cancelled_while_waiting",
        "Tasks that waited, by scancel of their whole array.",
        others[:2],
        f"{others[0]}|CANCELLED",
        f"{array}_[1-5%1]|CANCELLED by",
    )

    for state in ("suspended", "requeued", "held"):
        (job,) = submit(folder, state, "sleep 600", requeue="true")
        until(lambda job=job: "RUNNING" in answer_of(ACCOUNTED, [job]), "a job that runs")
        if state == "suspended":
            call("scontrol", "suspend", job)
            record(state, "By scontrol suspend.", [job], "SUSPENDED", "SUSPENDED")
        elif state == "requeued":
            call("scontrol", "requeue", job)
            record(state, "By scontrol requeue, some seconds ago.", [job], "PENDING", "REQUEUED")
        else:
            call("scontrol", "requeuehold", "State=SpecialExit", job)
            record(
                state,
                "By scontrol requeuehold State=SpecialExit.",
                [job],
                "SPECIAL_EXIT",
                "PENDING",
            )
        Slurm().cancel([job])


def record_what_others_do(folder: Path, cluster: Path) -> None:
    """Ends that have to do with the node and with other jobs."""
    node = socket.gethostname().partition(".")[0]
    preempted = submit(folder, "preempted", "sleep 600", count=2)
    until(lambda: answer_of(LISTED, preempted).count("RUNNING") == 2, "jobs that run")
    late = [call("sbatch", "--parsable", "--time=1", "--deadline=now+62", "--exclusive", "--output=/dev/null",
                 "--wrap=sleep 600")]  # fmt: skip
    record_end(
        "deadline", "A job (sbatch --deadline) that cannot end in time any more.", late, "DEADLINE"
    )
    urgent = submit(folder, "urgent", "sleep 600", partition="urgent", cpus="24")
    record_end(
        "preempted",
        "By a job of another partition, with PreemptMode=CANCEL.",
        preempted,
        "PREEMPTED",
    )
    until(lambda: "RUNNING" in answer_of(LISTED, urgent), "a job that runs")
    call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    record_end("node_fail", "The node was said to be down.", urgent, "NODE_FAIL")
    until(lambda: "idle" in call("sinfo", "--noheader", "--format=%T"), "a node that takes jobs")
    (cluster.parent / "broken").touch()
    record_end(
        "prolog_failed",
        "The prolog of the node failed.",
        submit(folder, "refused", "exit 0"),
        "CANCELLED",
    )


def main() -> None:
    """Start a cluster, let jobs end in all ways that can be had on one node, and write what is said
    of them.
    """
    RECORDED.mkdir(exist_ok=True)
    with (
        slurm_cluster.cluster(accounting=True, settings=SETTINGS) as cluster,
        tempfile.TemporaryDirectory() as folder,
    ):
        os.environ["SLURM_CONF"] = str(cluster)
        prolog = cluster.parent / "prolog"
        prolog.write_text(f"#!/bin/sh\n[ ! -e {cluster.parent}/broken ]\n")
        prolog.chmod(0o755)
        record_moments(Path(folder))
        record_ends(Path(folder))
        record_what_others_do(Path(folder), cluster)


if __name__ == "__main__":
    main()

"""Options of sbatch that a launch can choose."""

from __future__ import annotations

from qexp.runs.schedulers.options import Acceptor, Option, PassedOn

_TIME = r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}|UNLIMITED"

FLAGS: dict[str, str] = {
    "partition": "partition", "account": "account", "time": "time", "cpus": "cpus-per-task", "memory": "mem",
    "gres": "gres", "qos": "qos", "constraint": "constraint",
}  # fmt: skip
"""Option → the option of sbatch that takes its value unchanged."""

_OWN = "qexp sets it itself"

TAKEN: dict[str, str] = {
    **{flag: f"write it as {key} = ... in the table around it" for key, flag in FLAGS.items()},
    "signal": "write it as signal = 60, the seconds before the time limit, in the table around it",
    "requeue": "write it as requeue = true in the table around it",
    "no-requeue": "write it as requeue = false in the table around it",
    "wrap": "write it as wrap = ..., which is the command around each run, in the table around it",
    "job-name": f"{_OWN}, to the name of the launch; --tag and --note describe runs",
    "array": f"{_OWN}, to a task for each run; -j limits how many run at a time",
    "dependency": f"{_OWN}, between the arrays of a launch",
    "kill-on-invalid-dep": f"{_OWN}, between the arrays of a launch",
    "output": f"{_OWN}, to slurm.txt in the directory of each run",
    "error": f"{_OWN}, to slurm.txt in the directory of each run",
    "open-mode": f"{_OWN}, because a run that continues appends to slurm.txt",
    "input": f"{_OWN}; runs read no input",
    "chdir": f"{_OWN}, to the folder of the launch",
    "parsable": f"{_OWN}, to read the number of the job",
    "quiet": f"{_OWN}, to read the number of the job",
    "verbose": f"{_OWN}, to read the number of the job",
    "test-only": "it would submit nothing; see the runs of a command with --dry-run",
    "wait": "wait for runs with: qexp wait",
    "clusters": "qexp asks the cluster of this machine for its jobs; submit from a machine of the other one",
    "ntasks": "a run is one task; give it cores with cpus = ... in the table around it",
    "export-file": 'the jobs get the environment of the command; set variables with setup = ["export NAME=VALUE"]',
    "help": "it would submit nothing",
    "usage": "it would submit nothing",
    "version": "it would submit nothing",
}
"""Option of sbatch that cannot be passed on → what to write instead, or what sets it."""

OPTIONS: dict[str, Acceptor] = {
    "partition": Option(r"[\w.,-]+", "the name of a partition, or several with commas between"),
    "account": Option(r"[\w.-]+", "the name of an account"),
    "time": Option(_TIME, 'minutes, or a text such as "4:00:00" or "1-12:00:00" (days-hours:minutes:seconds)'),
    "cpus": Option(r"[1-9]\d*", "the number of CPUs per run, from 1 on"),
    "memory": Option(r"\d+[KMGTkmgt]?", "the memory per run, such as 4G or 500M"),
    "gres": Option(r"[\w.:,/-]+", "generic resources, such as gpu:1"),
    "qos": Option(r"[\w.-]+", "the name of a quality of service"),
    "constraint": Option(r"[\w.,:&|!*()\[\]-]+", "features of nodes, such as a100|h100"),
    "signal": Option(
        r"[1-9]\d{0,4}", "whole seconds before the time limit, from 1 to 65535", default="60", largest=65535
    ),
    "requeue": Option(r"true|false", "true or false", default="false"),
    "setup": Option(r"[^\x00-\x1f\x7f]+", "shell lines to run before a run, one text each", several=True),
    "options": PassedOn("sbatch", TAKEN),
}

"""Options of sbatch that a launch can choose."""

from __future__ import annotations

from qexp.runs.schedulers.options import Option

_TIME = r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}|UNLIMITED"

OPTIONS: dict[str, Option] = {
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
}

FLAGS: dict[str, str] = {
    "partition": "partition", "account": "account", "time": "time", "cpus": "cpus-per-task", "memory": "mem",
    "gres": "gres", "qos": "qos", "constraint": "constraint",
}  # fmt: skip
"""Option → the option of sbatch that takes its value unchanged."""

"""The shell scripts that Slurm runs, one task of an array each."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from qexp.runs.schedulers.slurm.words import TIME_IS_UP
from qexp.runs.wrap import wrap_of

RUNS = r"""#!/bin/bash
# Launch {launch}: one run per task; {runs} lists their directories.
# Submitted from this folder by:
#   {command}

run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {runs})
if [ -z "$run" ]; then
    echo "line $((SLURM_ARRAY_TASK_ID + 1)) of {runs} in $PWD on $(hostname) names no run" >&2
    exit 3
fi
checkpoint() {{
    stat -c '%i %y' -- "$run/checkpoints/last.safetensors" "$run"/folds/*/checkpoints/best.safetensors \
        "$run"/folds/.stacks/*/*/stack.safetensors 2> /dev/null
}}
before=$(checkpoint)
if [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ]; then
    # Slurm has made sure that the previous attempt, possibly on another node, has ended.
    rm -f -- "$run"/attempts/*/heartbeat
fi

# Slurm sends SIGUSR1 to this script alone when the time is nearly up, but SIGTERM to every process of the job.
time_is_up= signalled= python=
trap 'time_is_up=yes signalled=yes; [ -z "$python" ] || kill -TERM "$python"' USR1
{setup}
trap 'signalled=yes' TERM
if [ -n "$time_is_up" ]; then exit {time_is_up}; fi
{python} -m qexp execute "$run" --device {device} {wrap}\
    --threads "${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}" &
python=$!
while :; do  # a signal ends `wait` before the process has ended
    signalled=
    wait "$python" && code=0 || code=$?
    [ -n "$signalled" ] || break
done

if [ -n "$time_is_up" ] && [ "$code" = 130 ]; then
    # A run that makes no progress within its time limit would be requeued without end.
    if [ {requeue} = true ] && [ "$(checkpoint)" != "$before" ]; then
        scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    fi
    code={time_is_up}
fi
exit "$code"
"""

COMMANDS = r"""#!/bin/bash
# {name}: one command per task; {commands} lists them.
# Submitted from this folder by:
#   {command}
{setup}
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}}}"
command=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {commands})
eval "exec $command"
"""


def of_runs(launch: str, runs: str, command: Sequence[str], options: Mapping[str, Any], device: str) -> str:
    """The script of an array of runs.

    runs     the file beside it that lists their directories
    command  the command that submits it
    """
    return RUNS.format(
        launch=launch,
        runs=runs,
        command=shlex.join(command),
        setup="\n".join(options["setup"]),
        python=shlex.quote(sys.executable),
        device=shlex.quote(device),
        requeue=options["requeue"],
        wrap="".join(f"{shlex.quote(word)} " for word in wrap_of(options).arguments()),
        time_is_up=TIME_IS_UP,
    )


def of_commands(name: str, commands: str, command: Sequence[str], options: Mapping[str, Any]) -> str:
    """The script of an array of commands, which are listed in a file beside it."""
    setup = "\n".join(options["setup"])
    return COMMANDS.format(name=name, commands=commands, command=shlex.join(command), setup=setup)

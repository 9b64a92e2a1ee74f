"""Messages to whoever waits: the command `notify` in qexp.toml, which is started when a launch ends
or a run fails.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from qexp.base.text import (
    filled,
    in_one_line,
    names_in,
    trouble_with_command,
    without_end,
    words_of,
)
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, QexpError, some
from qexp.jobs.launchers import Launch, find_launch
from qexp.jobs.states import Watch
from qexp.store.directory import RunDirectory
from qexp.store.record import Record

log = logging.getLogger("qexp.run")

FREE_TEXTS = ("message", "workspace")
"""Placeholders that may stand for whatever an error says, or a folder is called."""

PLACEHOLDERS = (*FREE_TEXTS, "name", "state")

INTERPRETER = re.compile(r"\w*sh|su|python[\d.]*|perl|ruby|node")
"""What executes the text behind -c or -e; ssh executes all of its words."""

LONGEST_MESSAGE = 1000
"""Characters of a message as a word; its input has all."""

LONGEST_SECONDS = 60.0
"""Seconds after which the command is killed."""


def words_to_notify(workspace: Workspace) -> list[str]:
    """The words of the command, empty if there is none. Raises QexpError for one that is wrong."""
    command = workspace.settings().get("notify", "")
    if not isinstance(command, str):
        raise QexpError(
            'qexp.toml: notify is a command, such as notify = "mail -s {message} me@home"'
        )
    trouble = trouble_with_command(command, PLACEHOLDERS)
    if trouble:
        raise QexpError(f"qexp.toml: notify {trouble}")
    words = words_of(command)
    for position, (flag, text) in enumerate(pairwise(words), start=1):
        programs = [Path(word).name for word in words[:position]]
        executed = "ssh" in programs or (
            re.fullmatch(r"-\w*[ce]", flag) and any(map(INTERPRETER.fullmatch, programs))
        )
        names = [name for name in names_in(text) if name in FREE_TEXTS]
        if executed and names:
            how = (
                "read the input, or give it as a word of its own: sh -c 'echo \"$1\"' sh"
                f" {{{names[0]}}}"
            )
            raise QexpError(f"qexp.toml: notify would execute what stands in {{{names[0]}}}; {how}")
    return words


def notify_of_attempt(directory: RunDirectory, record: Record) -> None:
    """An attempt has ended: the run may have failed, or be the last one of a launch."""
    workspace = Workspace(directory.path.absolute().parent.parent)
    name = directory.name
    state = record.state
    if state.without_result and not state.resumable:
        _notify(workspace, name, state.words, f"{name} {state.words}: {record.error}")
    if record.job is None or record.launch is None:
        return
    # that another job, which ended at the same time, has said it
    with suppress(QexpError, FileExistsError):
        if not words_to_notify(workspace):
            return
        launch = find_launch(record.launch, workspace)
        runs = launch.directories
        if not any(run.holds_record and run.record().state.unfinished for run in runs):
            (launch.folder / "notified").touch(exist_ok=False)
            notify_of_launch(launch)


def notify_of_launch(launch: Launch) -> None:
    """A launch has ended."""
    workspace = Workspace(launch.folder.absolute().parents[2])
    try:
        states = Watch().states(launch.directories)
    except DamagedError:
        return
    counts = Counter(state.words for state in states.values())
    failed = [run.name for run, state in states.items() if state.without_result]
    ended = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no runs"
    message = f"launch {launch.id} has ended: {ended}" + (f" ({some(failed)})" if failed else "")
    _notify(workspace, launch.id, "failed" if failed else "done", message)


def _notify(workspace: Workspace, name: str, state: str, message: str) -> None:
    """Start the command, with the message as input; a failure is no more than a warning."""
    try:
        words = words_to_notify(workspace)
        if not words:
            return
        short = without_end(in_one_line(message), LONGEST_MESSAGE)
        values = {"message": short, "name": name, "state": state, "workspace": str(workspace.root)}
        subprocess.run(
            [filled(word, values.__getitem__) for word in words],
            cwd=workspace.root,
            input=f"{message}\n".encode(errors="replace"),
            stdout=subprocess.DEVNULL,  # what it leaves in the background would hold a pipe open
            stderr=subprocess.DEVNULL,
            timeout=LONGEST_SECONDS,
            check=True,
        )
    except (QexpError, OSError, subprocess.SubprocessError) as error:
        log.warning("nobody was notified: %s", error)

"""Actions: commands of the user's own that are run on runs, and keep their output in them."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.base import files, folders, formats
from qexp.base.machine import start_child, terminable
from qexp.base.text import filled, names_in, words_of
from qexp.base.workspace import VARIABLE, Workspace
from qexp.errors import NotFoundError, QexpError, suggestion
from qexp.runs.columns import Columns
from qexp.store import provenance
from qexp.store.directory import RunDirectory
from qexp.store.record import now

ACTION_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

ACTION_PLACEHOLDERS = ("run.path", "run.name", "action.path", "action.name", "workspace")
"""Besides `run.` and any column of `qexp ls --columns`."""

ACTION_KEYS = ("command", "help")


@dataclass(frozen=True)
class Action:
    name: str
    command: str
    help: str = ""

    @property
    def words(self) -> list[str]:
        return words_of(self.command)


def actions_of(workspace: Workspace) -> dict[str, Action]:
    """Name → action. Raises QexpError that lists all mistakes."""
    table = workspace.settings().get("actions", {})
    if not isinstance(table, Mapping):
        raise QexpError(
            'qexp.toml: actions must be tables; write [actions.NAME] and below it command = "..."'
        )
    mistakes: list[str] = []
    for name, document in table.items():
        mistakes += [
            f"qexp.toml at [actions.{name}]: {text}" for text in _mistakes_in(name, document)
        ]
    if mistakes:
        raise QexpError("\n".join(mistakes))
    documents = table.items()
    return {name: Action(name, one["command"], one.get("help", "")) for name, one in documents}


def find_action(name: str, workspace: Workspace) -> Action:
    """Raises NotFoundError with similar names."""
    actions = actions_of(workspace)
    if name not in actions:
        others = f'write [actions.{name}] and below it command = "..."'
        if actions:
            others = suggestion(name, actions)
        raise NotFoundError(f"qexp.toml has no action '{name}'; {others}")
    return actions[name]


def _mistakes_in(name: str, document: Any) -> list[str]:
    if ACTION_NAME.fullmatch(name) is None:
        return ["a name has small letters, digits, - and _"]
    if not isinstance(document, Mapping):
        return ['must be a table with command = "..."']
    unknown = [key for key in document if key not in ACTION_KEYS]
    mistakes = [f"no key '{key}'; {suggestion(key, ACTION_KEYS)}" for key in unknown]
    if not all(isinstance(document.get(key, ""), str) for key in ACTION_KEYS):
        return [*mistakes, "command and help are texts"]
    command = document.get("command", "")
    if not command.strip() or not command.isprintable():
        example = 'command = "python plot.py {run.path}"'
        return [*mistakes, f"give the command in one line, such as {example}"]
    try:
        names = list(itertools.chain(*map(names_in, words_of(command))))
    except ValueError as error:
        return [*mistakes, f"command {error}"]
    placeholders = [*ACTION_PLACEHOLDERS, "run.seed", "run.state"]
    for name in names:
        if name not in placeholders and not re.fullmatch(r"run\.[^.\s]\S*", name):
            similar = suggestion(name, placeholders)
            mistakes.append(f"command has no placeholder {{{name}}}; {similar}")
    return mistakes


# Running an action on a run: its output is in the run's `actions/NAME/`, complete or not at all.


FAILED = ".failed"
"""End of the name of a failed action's folder, if the output of an earlier success is kept, too."""

INTERRUPTED = "interrupted"

SECONDS_TO_END = 10.0
"""Seconds that an interrupted program gets to end by itself."""


@dataclass(frozen=True)
class Acted:
    """An action that was run."""

    folder: Path
    record: dict[str, Any]

    @property
    def done(self) -> bool:
        return bool(self.record["state"] == "done")


def run_action(
    action: Action,
    directory: RunDirectory,
    summary: Mapping[str, Any],
    workspace: Workspace,
    further: Sequence[str] = (),
) -> Acted:
    """Run an action's program on a run, in the workspace as its current folder, and wait for its
    end.

    summary  the run, as the catalog lists it
    further  words behind those of the action, in which nothing is filled in
    The program gets QEXP_ACTION_DIR, the folder to write to, QEXP_RUN and QEXP_WORKSPACE. Its
    folder replaces that of an earlier success only if it succeeds.
    Raises QexpError for a placeholder without a value and if the action is at work on this run
    already; after a signal, KeyboardInterrupt, when the program has ended and its record is
    written.
    """
    values = _values(action, summary)
    parent = directory.path / "actions"
    files.make_folder(parent)
    with ExitStack() as until_the_end:
        try:
            until_the_end.enter_context(files.locked(parent / action.name, 0))
        except QexpError:
            raise QexpError(
                f"the action '{action.name}' is already running on {directory.name}; wait for"
                " its end"
            ) from None
        for name in (action.name, f"{action.name}{FAILED}"):
            folders.clear(parent / name)
        with folders.drafted(parent / action.name) as draft:
            values |= {
                "action.path": str(draft),
                "action.name": action.name,
                "workspace": str(workspace.root),
            }
            words = [filled(word, values.__getitem__) for word in action.words]
            record = _carry_out(action, [*words, *further], draft, directory, workspace)
            folder = _put_result(draft, parent / action.name, record)
    if record["state"] == INTERRUPTED:
        raise KeyboardInterrupt
    return Acted(folder, record)


def states_of(directory: RunDirectory) -> dict[str, str]:
    """Action → how it ended when it was last run on the run: done, failed or interrupted."""
    states = {}
    for file in sorted((directory.path / "actions").glob("[!.]*/record.json")):
        record = formats.object_in(file)
        if record:
            states[file.parent.name.removesuffix(FAILED)] = str(record.get("state"))
    return states


def _values(action: Action, summary: Mapping[str, Any]) -> dict[str, str]:
    """Placeholder → its value for a run. Raises QexpError for those that have none for it."""
    name = summary["name"]
    listing = Columns([dict(summary)])
    values = {}
    for field in dict.fromkeys(itertools.chain(*map(names_in, action.words))):
        if not field.startswith("run."):
            continue
        (value,) = listing.values(field.removeprefix("run."))
        if value is None:
            raise QexpError(
                f"{name} has no value for {{{field}}} in the action '{action.name}'; its state is"
                f" {summary['state']}"
            )
        values[field] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if "\0" in values[field]:
            raise QexpError(
                f"{name}: {{{field}}} cannot be passed to a program, it holds a null character"
            )
    return values


def _carry_out(
    action: Action, words: list[str], draft: Path, directory: RunDirectory, workspace: Workspace
) -> dict[str, Any]:
    """Run the program. Returns the record, which is written to the draft."""
    (draft / "code").mkdir()
    code = provenance.keep_code_state(workspace.root, draft / "code")
    with suppress(OSError):
        (draft / "code").rmdir()  # nothing differs from the commit
    record: dict[str, Any] = {
        "action": action.name,
        "run": directory.name,
        "command": action.command,
        "argv": words,
    }
    record |= {"directory": str(workspace.root), "started": now(), "code": code.document()}
    variables = {
        "QEXP_ACTION_DIR": str(draft),
        "QEXP_RUN": str(directory.path),
        VARIABLE: str(workspace.root),
    }
    interrupted, exit_code, error = False, None, None
    with (draft / "log.txt").open("wb") as output, terminable():
        try:
            process = start_child(words, output, variables, folder=workspace.root)
        except (OSError, ValueError) as refused:
            error = (
                f"cannot start {shlex.quote(words[0])}:"
                f" {getattr(refused, 'strerror', None) or refused}"
            )
        else:
            interrupted = _wait(process)
            exit_code = process.returncode
    state = "failed" if error or exit_code else "done"
    if interrupted:
        state = INTERRUPTED
    record |= {"ended": now(), "state": state, "exit_code": exit_code, "error": error}
    formats.write_json(draft / "record.json", record)
    return record


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of a program; after a signal, end it and what it started. Returns whether
    there was a signal.
    """
    try:
        process.wait()
        return False
    except KeyboardInterrupt:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, KeyboardInterrupt):
                os.killpg(process.pid, number)
                process.wait(SECONDS_TO_END)
                break
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
        return True


def _put_result(draft: Path, target: Path, record: Mapping[str, Any]) -> Path:
    """Rename a draft to its final name. Returns that."""
    failed = target.with_name(f"{target.name}{FAILED}")
    if (
        record["state"] != "done"
        and formats.object_in(target / "record.json").get("state") == "done"
    ):
        target = failed
    folders.put(draft, target)
    if target != failed:
        shutil.rmtree(failed, ignore_errors=True)
    return target

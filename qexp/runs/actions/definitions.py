"""The actions that a workspace's qexp.toml defines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError, QexpError
from qexp.placeholders import names_in, words_of
from qexp.workspace import Workspace

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

PLACEHOLDERS = ("run.path", "run.name", "action.path", "action.name", "workspace")
"""Besides `run.` and any column of `qexp ls --columns`."""

KEYS = ("command", "help")


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
        raise QexpError('qexp.toml: actions must be tables; write [actions.NAME] and below it command = "..."')
    mistakes: list[str] = []
    for name, document in table.items():
        mistakes += [f"qexp.toml at [actions.{name}]: {text}" for text in _mistakes(name, document)]
    if mistakes:
        raise QexpError("\n".join(mistakes))
    return {name: Action(name, one["command"], one.get("help", "")) for name, one in table.items()}


def find(name: str, workspace: Workspace) -> Action:
    """Raises NotFoundError with similar names."""
    known = actions_of(workspace)
    if name not in known:
        others = suggestion(name, known) if known else f'write [actions.{name}] and below it command = "..."'
        raise NotFoundError(f"qexp.toml has no action '{name}'; {others}")
    return known[name]


def _mistakes(name: str, document: Any) -> list[str]:
    if NAME.fullmatch(name) is None:
        return ["a name has small letters, digits, - and _"]
    if not isinstance(document, Mapping):
        return ['must be a table with command = "..."']
    found = [f"no key '{key}'; {suggestion(key, KEYS)}" for key in document if key not in KEYS]
    if not all(isinstance(document.get(key, ""), str) for key in KEYS):
        return [*found, "command and help are texts"]
    command = document.get("command", "")
    if not command.strip() or not command.isprintable():
        return [*found, 'give the command in one line, such as command = "python plot.py {run.path}"']
    try:
        fields = [field for word in words_of(command) for field in names_in(word)]
    except ValueError as error:
        return [*found, f"command {error}"]
    unknown = [one for one in fields if one not in PLACEHOLDERS and not re.fullmatch(r"run\.[^.\s][^\s]*", one)]
    known = [*PLACEHOLDERS, "run.seed", "run.state"]
    return [*found, *(f"command has no placeholder {{{one}}}; {suggestion(one, known)}" for one in unknown)]

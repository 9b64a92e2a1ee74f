"""The command around a run: a container, a profiler, or any other program that starts the one it is given."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.placeholders import filled, names_in, words_of
from qexp.runs.record.directory import RunDirectory

PLACEHOLDERS = {
    "run": "the run's directory",
    "workspace": "the folder that holds specs/ and runs/",
    "data": "the workspace's folder data/",
}


@dataclass(frozen=True)
class Wrap:
    command: str = ""
    """The words before the command of a run; empty for none."""
    python: str = sys.executable
    """The interpreter inside it."""

    def __bool__(self) -> bool:
        return bool(self.command)

    def around(self, directory: RunDirectory, *arguments: str) -> list[str]:
        """The command that calls qexp with some arguments inside the wrap."""
        return [*self.words(directory), self.python, "-m", "qexp", *arguments]

    def words(self, directory: RunDirectory) -> list[str]:
        """Its own words, placeholders filled in."""
        workspace = directory.path.absolute().parent.parent
        folders = {"run": directory.path, "workspace": workspace, "data": workspace / "data"}
        # Links are followed, because a container sees only the folders that it is given.
        return [filled(word, lambda name: str(folders[name].resolve())) for word in words_of(self.command)]

    def arguments(self) -> list[str]:
        """The options of `qexp execute` that stand for it."""
        return ["--wrap", self.command, "--python", self.python] if self else []


NO_WRAP = Wrap()


def wrap_of(options: Mapping[str, Any]) -> Wrap:
    """The wrap among the options of a launch."""
    return Wrap(options.get("wrap", ""), options.get("python", sys.executable))


def trouble(command: str) -> str | None:
    """What is wrong with the text of a wrap, in words; None if nothing is."""
    try:
        names = [name for word in words_of(command) for name in names_in(word)]
    except ValueError as error:
        return str(error)
    for name in names:
        if name not in PLACEHOLDERS:
            return f"has no placeholder {{{name}}}; {suggestion(name, PLACEHOLDERS)}"
    return None

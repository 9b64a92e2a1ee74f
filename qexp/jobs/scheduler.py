"""The options of a launch, what it submits, and the command around a run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.text import filled, names_in, words_of
from qexp.errors import QexpError, suggestion
from qexp.store.directory import RunDirectory

Passed = dict[str, str | bool]
"""Option that is passed on → its value, or True if it takes none."""

Value = str | list[str] | Passed

Chosen = dict[str, Value]


@dataclass(frozen=True)
class Option:
    """An option of a launch, whose values are texts."""

    pattern: str
    """A regular expression that the whole text of a value must match."""
    expected: str
    """The accepted values, in words that end an error message."""
    default: str | None = None
    largest: int | None = None
    """The largest accepted number."""
    several: bool = False
    """Whether the value is a list of texts; the command line repeats the option for each."""
    only_text: bool = False
    """Whether a number or a list is refused instead of being read as a text."""
    trouble: Callable[[str], str | None] = lambda text: None
    """What is wrong with a text that matches the pattern, in words; None if nothing is."""

    @property
    def without(self) -> Value | None:
        """The value if none is given; None if the option is then left out."""
        return [] if self.several else self.default

    def accept(self, value: Any) -> Value:
        """The value in its own form. Raises ValueError with words that continue after the name of the option."""
        values = value if self.several and isinstance(value, list | tuple) else [value]
        # TOML and Python write booleans differently.
        texts = [str(item).lower() if isinstance(item, bool) else str(item) for item in values]
        for text in texts:
            in_range = self.largest is None or not text.isdecimal() or int(text) <= self.largest
            misfit = self.only_text and not isinstance(value, str)
            if misfit or re.fullmatch(self.pattern, text) is None or not in_range:
                raise ValueError(f" cannot be {text!r}; give {self.expected}")
            if trouble := self.trouble(text):
                raise ValueError(f" {trouble}")
        return texts if self.several else texts[0]


@dataclass(frozen=True)
class PassedOn:
    """A table of options that are passed on to the scheduler's own program."""

    program: str
    reserved: Mapping[str, str]
    """Option that cannot be passed on → what to write instead, or what sets it."""
    pattern: str = r"[a-z][a-z0-9]+(-[a-z0-9]+)*"
    """A regular expression that the whole name of an option must match."""
    names: str = "the long name of an option of"
    """What the names are, in words before that of the program."""
    example: str = 'mail-user = "me@example.org"'
    without: ClassVar[None] = None

    def accept(self, value: Any) -> Value:
        if not isinstance(value, Mapping):
            raise ValueError(f" must be a table, such as options = {{{self.example}}}, not {value!r}")
        return {name: self._accept(name, option) for name, option in value.items()}

    def _accept(self, name: str, value: Any) -> str | bool:
        if re.fullmatch(self.pattern, name) is None:
            raise ValueError(f".{name}: give {self.names} {self.program}, without hyphens before it")
        # Programs complete the beginning of a name.
        for other, instead in self.reserved.items():
            if other == name or (other.startswith(name) and len(name) > 2):
                raise ValueError(f".{name} cannot be passed on to {self.program}: {instead}")
        if isinstance(value, bool):
            return value
        if not isinstance(value, str | int | float) or re.fullmatch(r"[^\x00-\x1f\x7f]+", str(value)) is None:
            raise ValueError(f".{name} cannot be {value!r}; give a text or a number in one line, or true for no value")
        return {"true": True, "false": False}.get(str(value), str(value))


Acceptor = Option | PassedOn


def launch_options(
    launcher: str,
    acceptors: Mapping[str, Acceptor],
    settings: Mapping[str, Any],
    chosen: Mapping[str, Any],
    profile: str | None,
    common: Mapping[str, Any],
) -> Chosen:
    """The options of a launch, checked and with defaults. Raises QexpError that lists all mistakes.

    settings  the workspace's settings from qexp.toml; the options are in the table with the launcher's name
    chosen    options from the command line; they take precedence
    profile   name of a table in that table, whose options precede those around it
    common    options from qexp.toml that apply to every launcher, if no other value is given
    """
    table = settings.get(launcher, {})
    if not isinstance(table, Mapping):
        raise QexpError(f"qexp.toml: {launcher} must be a table; write [{launcher}] and below it a line per option")
    profiles = profiles_of(launcher, acceptors, settings)
    mistakes: list[str] = []

    def accept(where: str, values: Mapping[str, Any]) -> Chosen:
        """The options that are valid, in their own form."""
        chosen: Chosen = {}
        for key, value in values.items():
            if key not in acceptors:
                mistakes.append(f"{where}: no option '{key}'; {suggestion(key, acceptors)}")
                continue
            try:
                chosen[key] = acceptors[key].accept(value)
            except ValueError as wrong:
                mistakes.append(f"{where}: {key}{wrong}")
        return chosen

    options: Chosen = {key: option.without for key, option in acceptors.items() if option.without is not None}
    layers = [accept("qexp.toml", common)]
    layers.append(accept(f"qexp.toml at [{launcher}]", {k: v for k, v in table.items() if k not in profiles}))
    profile_options = {name: accept(f"qexp.toml at [{launcher}.{name}]", values) for name, values in profiles.items()}
    if profile is not None:
        if profile not in profiles:
            named = f"[{launcher}.{profile}]"
            others = suggestion(profile, profiles) if profiles else f"write {named} and below it its options"
            raise QexpError(f"`profile={profile}`: qexp.toml has no table {named}; {others}")
        layers.append(profile_options[profile])
    layers.append(accept("`options`", _nested(chosen, acceptors)))
    if mistakes:
        raise QexpError("\n".join(mistakes))
    for layer in layers:
        for key, value in layer.items():
            before = options.get(key)
            options[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return options


def profiles_of(launcher: str, acceptors: Mapping[str, Acceptor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Profile → its options, unchecked: the tables in the launcher's table that are not an option themselves."""
    table = settings.get(launcher, {})
    if not isinstance(table, Mapping):
        return {}
    return {key: value for key, value in table.items() if isinstance(value, Mapping) and key not in acceptors}


def _nested(chosen: Mapping[str, Any], acceptors: Mapping[str, Acceptor]) -> dict[str, Any]:
    """The options of a command line, where `options.mail-user` is an option of the table `options`."""
    nested: dict[str, Any] = {}
    for key, value in chosen.items():
        table, dot, name = key.partition(".")
        if dot and isinstance(acceptors.get(table), PassedOn):
            nested.setdefault(table, {})[name] = value
        else:
            nested[key] = value
    return nested


@dataclass(frozen=True)
class Submission:
    """What the jobs of a launch have in common.

    folder   folder of the launch, for scripts and their output
    name     name of the launch, shown in the scheduler's own lists
    options  as `launch_options` returns them
    at_most  how many jobs may run at a time; None for any number
    """

    folder: Path
    name: str
    options: Mapping[str, Any]
    at_most: int | None = None


# The command around a run: a container, a profiler, or any other program that starts the one it is given.


WRAP_PLACEHOLDERS = {
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


def wrap_of(options: Mapping[str, Any]) -> Wrap:
    """The wrap among the options of a launch."""
    return Wrap(options.get("wrap", ""), options.get("python", sys.executable))


def trouble_with_wrap(command: str) -> str | None:
    """What is wrong with the text of a wrap, in words; None if nothing is."""
    try:
        names = [name for word in words_of(command) for name in names_in(word)]
    except ValueError as error:
        return str(error)
    for name in names:
        if name not in WRAP_PLACEHOLDERS:
            return f"has no placeholder {{{name}}}; {suggestion(name, WRAP_PLACEHOLDERS)}"
    return None

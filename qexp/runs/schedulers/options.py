"""Options of launchers: the values that each accepts, profiles of them in qexp.toml, and the options of a launch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError

Passed = dict[str, str | bool]
"""Option that is passed on → its value, or True if it takes none."""

Value = str | list[str] | Passed

Chosen = dict[str, Value]


class Acceptor(Protocol):
    """An option: what it is without a value from the user, and what values it accepts."""

    @property
    def without(self) -> Value | None:
        """The value if none is given; None if the option is then left out."""

    def accepted(self, value: Any) -> Value:
        """The value in its own form. Raises ValueError with words that continue after the name of the option."""


@dataclass(frozen=True)
class Option:
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
        return [] if self.several else self.default

    def accepted(self, value: Any) -> Value:
        values = value if self.several and isinstance(value, list | tuple) else [value]
        texts = [_text(item) for item in values]
        for text in texts:
            in_range = self.largest is None or not text.isdecimal() or int(text) <= self.largest
            misfit = self.only_text and not isinstance(value, str)
            if misfit or re.fullmatch(self.pattern, text) is None or not in_range:
                raise ValueError(f" cannot be {text!r}; give {self.expected}")
            if found := self.trouble(text):
                raise ValueError(f" {found}")
        return texts if self.several else texts[0]


@dataclass(frozen=True)
class PassedOn:
    """A table of options that are passed on to the scheduler's own program."""

    program: str
    taken: Mapping[str, str]
    """Option that cannot be passed on → what to write instead, or what sets it."""

    @property
    def without(self) -> Value | None:
        return None

    def accepted(self, value: Any) -> Value:
        if not isinstance(value, Mapping):
            raise ValueError(f' must be a table, such as options = {{mail-user = "me@example.org"}}, not {value!r}')
        return {name: self._passed(name, one) for name, one in value.items()}

    def _passed(self, name: str, value: Any) -> str | bool:
        if re.fullmatch(r"[a-z][a-z0-9]+(-[a-z0-9]+)*", name) is None:
            raise ValueError(f".{name}: give the long name of an option of {self.program}, without hyphens before it")
        # Programs complete the beginning of a name.
        for other, instead in self.taken.items():
            if other == name or (other.startswith(name) and len(name) > 2):
                raise ValueError(f".{name} cannot be passed on to {self.program}: {instead}")
        if isinstance(value, bool):
            return value
        if not isinstance(value, str | int | float) or re.fullmatch(r"[^\x00-\x1f\x7f]+", str(value)) is None:
            raise ValueError(f".{name} cannot be {value!r}; give a text or a number in one line, or true for no value")
        return {"true": True, "false": False}.get(str(value), str(value))


def launch_options(
    launcher: str,
    known: Mapping[str, Acceptor],
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    profile: str | None = None,
    of_all: Mapping[str, Any] | None = None,
) -> Chosen:
    """The options of a launch, checked and with defaults. Raises QexpError that lists all mistakes.

    settings  the workspace's settings from qexp.toml; the options are in the table with the launcher's name
    given     options from the command line; they take precedence
    profile   name of a table in that table, whose options precede those around it
    of_all    options from qexp.toml that apply to every launcher, if no other value is given
    """
    table = settings.get(launcher, {})
    if not isinstance(table, Mapping):
        raise QexpError(f"qexp.toml: {launcher} must be a table; write [{launcher}] and below it a line per option")
    profiles = profiles_of(launcher, known, settings)
    mistakes: list[str] = []

    def checked(where: str, values: Mapping[str, Any]) -> Chosen:
        return _checked(where, known, values, mistakes)

    options: Chosen = {key: option.without for key, option in known.items() if option.without is not None}
    layers = [checked("qexp.toml", of_all or {})]
    layers.append(checked(f"qexp.toml at [{launcher}]", {k: v for k, v in table.items() if k not in profiles}))
    checked_profiles = {one: checked(f"qexp.toml at [{launcher}.{one}]", own) for one, own in profiles.items()}
    if profile is not None:
        layers.append(_profile(launcher, profile, checked_profiles))
    layers.append(checked("--option", _nested(given, known)))
    if mistakes:
        raise QexpError("\n".join(mistakes))
    for layer in layers:
        for key, value in layer.items():
            before = options.get(key)
            options[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return options


def profiles_of(launcher: str, known: Mapping[str, Acceptor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Profile → its options, unchecked: the tables in the launcher's table that are not an option themselves."""
    table = settings.get(launcher, {})
    if not isinstance(table, Mapping):
        return {}
    return {key: value for key, value in table.items() if isinstance(value, Mapping) and key not in known}


def _profile(launcher: str, name: str, profiles: Mapping[str, Chosen]) -> Chosen:
    if name not in profiles:
        others = suggestion(name, profiles) if profiles else f"write [{launcher}.{name}] and below it its options"
        raise QexpError(f"--profile {name}: qexp.toml has no table [{launcher}.{name}]; {others}")
    return profiles[name]


def _nested(given: Mapping[str, Any], known: Mapping[str, Acceptor]) -> dict[str, Any]:
    """The options of a command line, where `options.mail-user` is an option of the table `options`."""
    nested: dict[str, Any] = {}
    for key, value in given.items():
        table, dot, name = key.partition(".")
        if dot and isinstance(known.get(table), PassedOn):
            nested.setdefault(table, {})[name] = value
        else:
            nested[key] = value
    return nested


def _checked(where: str, known: Mapping[str, Acceptor], values: Mapping[str, Any], mistakes: list[str]) -> Chosen:
    """The options that are valid, in their own form; a line is added to `mistakes` for each of the others."""
    chosen: Chosen = {}
    for key, value in values.items():
        if key not in known:
            mistakes.append(f"{where}: no option '{key}'; {suggestion(key, known)}")
            continue
        try:
            chosen[key] = known[key].accepted(value)
        except ValueError as wrong:
            mistakes.append(f"{where}: {key}{wrong}")
    return chosen


def _text(value: Any) -> str:
    """A value as a text; TOML and Python write booleans differently."""
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Options of schedulers: the values that each accepts, and the options of a launch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError


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

    def accepts(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text) is not None and (self.largest is None or int(text) <= self.largest)


Chosen = dict[str, str | list[str]]


def launch_options(
    launcher: str, known: Mapping[str, Option], settings: Mapping[str, Any], given: Mapping[str, Any]
) -> Chosen:
    """The options of a launch, checked and with defaults. Raises QexpError that lists all mistakes.

    settings  the workspace's settings from qexp.toml; the options are in the table with the launcher's name
    given     options from the command line; they take precedence
    """
    table = settings.get(launcher, {})
    if not isinstance(table, Mapping):
        raise QexpError(f"qexp.toml: {launcher} must be a table; write [{launcher}] and below it a line per option")
    mistakes: list[str] = []
    options: Chosen = {key: option.default for key, option in known.items() if option.default is not None}
    options |= {key: [] for key, option in known.items() if option.several}
    for key, value in table.items():
        options |= _checked(f"qexp.toml at [{launcher}]", known, key, value, mistakes)
    lists: dict[str, list[str]] = {}
    for key, value in given.items():
        for name, accepted in _checked("--option", known, key, value, mistakes).items():
            if isinstance(accepted, list):
                lists.setdefault(name, []).extend(accepted)
            else:
                options[name] = accepted
    if mistakes:
        raise QexpError("\n".join(mistakes))
    return {**options, **lists}


def _checked(where: str, known: Mapping[str, Option], key: str, value: Any, mistakes: list[str]) -> Chosen:
    """The option with its text or texts; if it is invalid, empty, with a line added to `mistakes`."""
    if key not in known:
        mistakes.append(f"{where}: no option '{key}'; {suggestion(key, known)}")
        return {}
    option = known[key]
    values = value if option.several and isinstance(value, list | tuple) else [value]
    # TOML and Python write booleans differently.
    texts = [str(item).lower() if isinstance(item, bool) else str(item) for item in values]
    if wrong := [text for text in texts if not option.accepts(text)]:
        mistakes.append(f"{where}: {key} cannot be {wrong[0]!r}; give {option.expected}")
        return {}
    return {key: texts if option.several else texts[0]}

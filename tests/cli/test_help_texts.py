"""Every command, argument and option has a line of help in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
import typer

from qexp.cli import app

UNCLEAR = re.compile(
    r"\b(what there is|there (is|are) not|tells?|told|so many|but of|of which|cannot be told|whatever|mends?|mended"
    r"|first weights|judged?|somebody|nobody|made[- ]up|for good|goes? on|anew|told apart|spread)\b",
    re.IGNORECASE,
)


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        if not command.hidden:
            yield before + name, command


TREE = typer.main.get_command(app)
assert isinstance(TREE, click.Group)
COMMANDS = {"": TREE, **dict(commands(TREE))}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_in_plain_words(name):
    assert len(COMMANDS) > 25
    command = COMMANDS[name]
    texts = {"": command.help or ""}
    for parameter in command.params:
        if not getattr(parameter, "hidden", False) and parameter.name != "help":
            texts[parameter.opts[0]] = getattr(parameter, "help", None) or ""
    for option, text in texts.items():
        assert re.match(r"[A-Z]", text), f"{name} {option}: {text!r}"
        assert text.rstrip().endswith("."), f"{name} {option}: {text!r}"
        assert not UNCLEAR.search(text), f"{name} {option}: {text!r}"

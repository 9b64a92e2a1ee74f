"""An option that takes one value is refused if it is given several, by every command."""

from __future__ import annotations

import click
import pytest
import typer

from qexp.cli import app
from tests.conftest import call


def commands():
    """Words of each command → the command."""
    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", of) for inner, of in command.commands.items())
        elif not command.hidden:
            yield name, command


def takes_one_value(parameter):
    return isinstance(parameter, click.Option) and not (parameter.multiple or parameter.is_flag or parameter.count)


CASES = [
    (words, option.opts[0]) for words, command in commands() for option in command.params if takes_one_value(option)
]


def test_every_option_that_takes_one_value_is_refused_if_it_is_given_two():
    assert len(CASES) > 100
    accepted = []
    for words, option in CASES:
        said = call(*words.split(), option, "1", option, "2")
        if said.code != 2 or f"{option} is given 2 times, but takes one value" not in said.stderr:
            accepted.append((words, option, said.code, said.stderr))
    assert accepted == []


@pytest.mark.parametrize("words", [("--workspace", "a", "--workspace", "b", "ls"), ("ls", "--limit=1", "--limit", "1")])
def test_so_are_options_of_all_commands_and_equal_values(words):
    said = call(*words)
    assert said.code == 2
    assert "is given 2 times" in said.stderr

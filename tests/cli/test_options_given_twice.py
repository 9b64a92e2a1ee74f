"""An option that takes one value is refused if it is given several, by every command."""

from __future__ import annotations

import click
import pytest

from tests.cli.test_help_texts import COMMANDS
from tests.conftest import call


def takes_one_value(parameter):
    return isinstance(parameter, click.Option) and not (parameter.multiple or parameter.is_flag or parameter.count)


CASES = [
    (words, option.opts[0])
    for words, command in COMMANDS.items()
    if not isinstance(command, click.Group)
    for option in command.params
    if takes_one_value(option)
]


def test_every_option_that_takes_one_value_is_refused_if_it_is_given_two():
    assert len(CASES) > 100
    accepted = []
    for words, option in CASES:
        outcome = call(*words.split(), option, "1", option, "2")
        if outcome.code != 2 or f"{option} is given 2 times, but takes one value" not in outcome.stderr:
            accepted.append((words, option, outcome.code, outcome.stderr))
    assert accepted == []


@pytest.mark.parametrize("words", [("--workspace", "a", "--workspace", "b", "ls"), ("ls", "--limit=1", "--limit", "1")])
def test_so_are_options_of_all_commands_and_equal_values(words):
    assert "is given 2 times" in call(*words).failed()

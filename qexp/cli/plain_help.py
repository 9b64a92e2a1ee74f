"""Commands whose help is plain text, wrapped to the terminal's width.

Rich would read words in square brackets, such as [actions.NAME], as markup, and typer would keep the ends of a
docstring's lines.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import click
from typer.core import TyperCommand, TyperGroup

Helped = TypeVar("Helped", bound=click.Command | click.Parameter)


class PlainCommand(TyperCommand):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        TyperCommand.format_help(_escaped_command(self), ctx, formatter)


class PlainGroup(TyperGroup):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        escaped = _escaped_command(self)
        escaped.commands = {name: _escaped(command) for name, command in self.commands.items()}
        TyperGroup.format_help(escaped, ctx, formatter)


Command = TypeVar("Command", bound=click.Command)


def _escaped_command(command: Command) -> Command:
    """A copy of a command whose help, and that of its parameters, is as rich and typer take plain text."""
    made = _escaped(command)
    made.params = [_escaped(parameter) for parameter in command.params]
    return made


def _escaped(helped: Helped) -> Helped:
    from rich.markup import escape  # only help needs it

    made = copy.copy(helped)
    if text := getattr(helped, "help", None):
        made.help = escape(_unwrapped(text))  # type: ignore[union-attr]
    return made


def _unwrapped(text: str) -> str:
    """Each paragraph in one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))

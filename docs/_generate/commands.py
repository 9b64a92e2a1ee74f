"""Reference of the commands, from the same objects that `qexp --help` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import typer

from _generate.markdown import code, prose, table
from qexp.cli import GROUPS, app

HEAD = """# Commands

Every command explains itself with `--help`. Results go to stdout, messages and progress to stderr. A run is given by
its name, a unique prefix of it, or a path; where several are possible, also by a quoted pattern such as `'mogi_*'`.
[Exit codes](exit-codes.md) are the same for all commands.
"""


def page() -> str:
    tree = typer.main.get_command(app)
    assert isinstance(tree, click.Group)
    titled = {name: title for title, names in GROUPS.items() for name in names}
    sections: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name, command in _commands(tree):
        sections[titled.get(name.split()[0], "Specs and data")].append(_section(name, command))
    parts = [f"## {title}\n\n{''.join(commands)}" for title, commands in sections.items()]
    return "\n".join([HEAD, f"Options of qexp itself stand before the command:\n\n{_options('option', tree)}", *parts])


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def _section(name: str, command: click.Command) -> str:
    usage = " ".join(["qexp", name, *command.collect_usage_pieces(click.Context(command))])
    arguments = [
        [code(_metavar(parameter)), prose(parameter.help or "")]
        for parameter in command.params
        if isinstance(parameter, click.Argument) and not getattr(parameter, "hidden", False)
    ]
    pieces = [f"### qexp {name}\n", f"```text\n{usage}\n```\n", f"{_paragraphs(command.help or '')}\n"]
    if arguments:
        pieces.append(table(["argument", "meaning"], arguments) + "\n")
    pieces.append(_options("option", command))
    return "\n".join(pieces) + "\n"


def _options(heading: str, command: click.Command) -> str:
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and not getattr(option, "hidden", False) and option.name != "help":
            names = ", ".join(code(name) for name in [*option.opts, *option.secondary_opts])
            value = "" if option.is_flag else f" {code(_metavar(option))}"
            rows.append([names + value, prose(option.help or "") + _default(option)])
    return table([heading, "meaning"], rows) + "\n" if rows else ""


def _metavar(parameter: click.Parameter) -> str:
    metavar = parameter.make_metavar(click.Context(click.Command("qexp")))
    return re.sub(r"^[\[{]([^\[\]{}]*)[\]}]((\.\.\.)?)$", r"\1\2", metavar)


def _default(option: click.Option) -> str:
    if option.required:
        return " Required."
    if option.is_flag:
        return f" Default: `{option.opts[0]}`." if option.default and option.secondary_opts else ""
    has_default = option.default not in (None, "", ()) and not callable(option.default)
    return f" Default: `{option.default}`." if has_default else ""


def _paragraphs(text: str) -> str:
    """A help text as Markdown; blocks that are not to be wrapped stay as they are."""
    parts = []
    for paragraph in text.split("\n\n"):
        marked, _, lines = paragraph.partition("\b\n")
        parts.append(f"```text\n{lines}\n```" if lines and not marked else prose(paragraph))
    return "\n\n".join(parts)

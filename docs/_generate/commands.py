"""Reference of the commands, from the same objects that `qexp --help` prints: an index, and a page
for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from _generate import used
from _generate.markdown import code, prose, table
from qexp.cli import GROUPS, app
from qexp.cli.console import examples_of

HEAD = """# Commands

Every command explains itself with `--help`. Results go to stdout, messages and progress to stderr. A run is given by
its name, a unique prefix of it, or a path; where several are possible, also by a quoted pattern such as `'mogi_*'`.
[Exit codes](exit-codes.md) are the same for all commands. The pages of the commands are made with the site, by
`make docs`.
"""


def index() -> str:
    titled = {name: title for title, names in GROUPS.items() for name in names}
    rows: dict[str, list[list[str]]] = {title: [] for title in GROUPS}
    for name, command in commands().items():
        old_address = f'<a id="qexp-{page_name(name)}"></a>'
        link = f"{old_address}[`qexp {name}`](commands/{page_name(name)}.md)"
        rows[titled[name.split()[0]]].append([link, prose(summary(command))])
    parts = [
        f"## {title}\n\n{table(['command', 'what it does'], of_group)}\n"
        for title, of_group in rows.items()
    ]
    options = "\n".join(_options(_root()))
    return "\n".join(
        [HEAD, *parts, f"## Options of qexp itself\n\nThey stand before the command.\n\n{options}"]
    )


def pages() -> dict[str, Callable[[], str]]:
    return {
        f"reference/commands/{page_name(name)}": _writer(name, command)
        for name, command in commands().items()
    }


def page_name(command: str) -> str:
    return command.replace(" ", "-")


def summary(command: Any) -> str:
    """The first sentence of its help."""
    return " ".join(re.split(r"(?<=[.;])\s|\n\n", command.help or "")[0].split()).rstrip(".;") + "."


@cache
def commands() -> dict[str, Any]:
    """Name, such as `data show` → command, without those that are hidden, in the order of `qexp
    --help`.
    """
    return dict(_below(_root()))


@cache
def _root() -> Any:
    return get_command(app)


def _below(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _below(command, f"{before}{name} ")
        else:
            yield before + name, command


def _writer(name: str, command: Any) -> Callable[[], str]:
    return lambda: "\n".join(_page(name, command))


def _page(name: str, command: Any) -> Iterator[str]:
    usage = " ".join(["qexp", name, *command.collect_usage_pieces(typer.Context(command))])
    yield f"# qexp {name}\n\n{_paragraphs(command.help or '')}\n\n```text\n{usage}\n```\n"
    yield "\n".join(
        [
            "## Examples\n",
            "```console",
            *(f"$ {line}" for line in examples_of(f"qexp {name}")),
            "```\n",
        ]
    )
    arguments = [
        [code(_metavar(parameter)), prose(parameter.help or "")]
        for parameter in command.params
        if parameter.param_type_name == "argument" and not getattr(parameter, "hidden", False)
    ]
    if arguments:
        yield f"## Arguments\n\n{table(['argument', 'meaning'], arguments)}\n"
    if options := list(_options(command)):
        yield "## Options\n"
        yield from options
    yield from _see_also(name)


def _see_also(name: str) -> Iterator[str]:
    from _generate import python  # which leads here in the same way

    functions = [
        f"[qexp.{function}](../{path}.md)" for function, path in python.functions_of(name).items()
    ]
    where = [page.link() for page in used.pages_with_command(name)]
    lines = [("In Python", functions), ("Used in", where)]
    if any(links for _, links in lines):
        yield "## See also\n"
        yield "".join(f"- {title}: {', '.join(links)}\n" for title, links in lines if links)


def _options(command: Any) -> Iterator[str]:
    """A table for each group of options, with its title above it, those without a title last."""
    groups: dict[str, list[list[str]]] = {}
    for option in command.params:
        if (
            option.param_type_name == "option"
            and not getattr(option, "hidden", False)
            and option.name != "help"
        ):
            names = ", ".join(code(name) for name in [*option.opts, *option.secondary_opts])
            value = "" if option.is_flag else f" {code(_metavar(option))}"
            title = getattr(option, "rich_help_panel", None) or ""
            groups.setdefault(title, []).append(
                [names + value, prose(option.help or "") + _default(option)]
            )
    for title in sorted(groups, key=bool, reverse=True):
        heading = f"### {title or 'Others'}\n\n" if len(groups) > 1 else ""
        yield heading + table(["option", "meaning"], groups[title]) + "\n"


def _metavar(parameter: Any) -> str:
    metavar = parameter.make_metavar(typer.Context(TyperCommand("qexp")))
    return re.sub(r"^[\[{]([^\[\]{}]*)[\]}]((\.\.\.)?)$", r"\1\2", metavar)


def _default(option: Any) -> str:
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

"""Arguments that several commands take, with what the shell completes for them, and help texts.

Rich would read words in square brackets, such as [actions.NAME], as markup, and typer would keep the ends of a
docstring's lines.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

import click
import typer
from typer.core import TyperCommand, TyperGroup

from qexp.base.options import Option, default_of, flags_of, in_shell, shell_type
from qexp.cli import completion
from qexp.cli.console import FLAGS, option
from qexp.errors import QexpError, nearest, spelled

Helped = TypeVar("Helped", bound=click.Command | click.Parameter)
Command = TypeVar("Command", bound=click.Command)


class PlainCommand(TyperCommand):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        TyperCommand.format_help(_escape_command(self), ctx, formatter)


class PlainGroup(TyperGroup):
    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        escaped = _escape_command(self)
        escaped.commands = {name: _escape(command) for name, command in self.commands.items()}
        TyperGroup.format_help(escaped, ctx, formatter)


def _escape_command(command: Command) -> Command:
    """A copy of a command whose help, and that of its parameters, is as rich and typer take plain text."""
    escaped = _escape(command)
    escaped.params = [_escape(parameter) for parameter in command.params]
    return escaped


def _escape(helped: Helped) -> Helped:
    from rich.markup import escape  # only help needs it

    escaped = copy.copy(helped)
    if text := getattr(helped, "help", None):
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        escaped.help = escape("\n\n".join(paragraphs))  # type: ignore[union-attr]
    return escaped


MANY_RUNS = 10_000
"""Starting more runs at once needs --yes."""

RunArgument = Annotated[str, typer.Argument(help="A run: name, unique prefix or path.", autocompletion=completion.runs)]
RUNS = typer.Argument(
    metavar="RUN...",
    help="Runs: names, unique prefixes, paths, or quoted patterns such as 'mogi_*'.",
    autocompletion=completion.runs,
)
RunsArgument = Annotated[list[str], RUNS]
RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="The run, instead of the first word.", autocompletion=completion.runs),
]
PointsOption = Annotated[
    Path | None,
    typer.Option(
        "--points",
        metavar="FILE",
        help='Train one run per point of a file: JSON, [{"KEY.PATH": VALUE, ...}, ...], or TOML, tables named points.',
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="List the runs that would be started, and start none.")]
YesToManyOption = Annotated[
    bool, typer.Option("--yes", help=f"Start more than {MANY_RUNS:,} runs, which is refused otherwise.")
]
SpecFilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Spec files to check, or names of specs; all of specs/ if left out.", autocompletion=completion.spec_files
    ),
]
KindArgument = Annotated[
    str, typer.Argument(metavar="dataset|model|experience", help="The kind of spec.", autocompletion=completion.kinds)
]
TableArgument = Annotated[
    str | None,
    typer.Argument(
        help="A table, such as modules or quantities; all tables if left out.", autocompletion=completion.tables
    ),
]
EntryArgument = Annotated[
    str | None,
    typer.Argument(
        help="An entry of the table, to show its parameters and an example.", autocompletion=completion.entries
    ),
]
TrashedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="A removed run: its name, or its name in the trash.", autocompletion=completion.trashed
    ),
]


def named_once(words: Sequence[str] | None, by_option: Sequence[str] | None, example: str) -> list[str]:
    """The runs that a command line names, with words or with --run. Raises QexpError for none, and for two choices.

    example  a command line, for the error
    """
    first, second = list(words or ()), list(by_option or ())
    if not (first or second):
        raise QexpError(f"name the run: {example}")
    if first and second and first != second:
        raise QexpError(f"both {' '.join(first)} and --run {' '.join(second)} name a run; keep one of them: {example}")
    return first or second


class CheckedGroup(PlainGroup):
    """Commands that refuse options with an empty value, and two values of an option that takes one.

    A shell's variable that is not set gives an empty value; an empty path would be the current folder. Of two values
    the first would be lost without a word.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing:
            try:
                _require_values(self, ctx, args)
            except QexpError as mistake:  # before there is a command that would print it
                raise click.UsageError(mistake.spelled(option), ctx) from None
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, words = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            options = [option for option in command.params if isinstance(option, click.Option) and option.name]
            FLAGS.clear()
            FLAGS.update({str(option.name): max(option.opts, key=len) for option in options})
            try:
                _require_values(command, click.Context(command, parent=ctx, info_name=name), words)
            except click.NoSuchOption as mistake:
                meant = _meant_by(mistake.option_name, sorted(FLAGS.values()))
                mistake.possibilities, mistake.message = [meant] if meant else None, f"{mistake.message}."
                raise
        return name, command, words


def _meant_by(option: str, known: Collection[str]) -> str | None:
    """What to write in place of an option that a command does not have: a key of a spec, or another word for it."""
    key = option.strip("-").replace("-", "_")
    if "--set" in known and key in completion.written_names()["choices"]["keys of experiences"]:
        return f"--set {key}=VALUE"
    for words in (["--to", "--output", "--out"], ["--overwrite", "--force"]):
        if option in words and (meant := next((word for word in words if word in known), None)):
            return meant
    guess = nearest(option.strip("-"), [word.strip("-") for word in known])
    return guess and f"--{guess}"


def _require_values(command: click.Command, context: click.Context, words: list[str]) -> None:
    """Raise QexpError for an option with an empty value, and for one that takes one value and is given several."""
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}
    values, _, order = command.make_parser(context).parse_args(list(words))
    for name, value in values.items():
        if name in options and "" in (value if isinstance(value, list | tuple) else [value]):
            raise QexpError(f"{options[name].opts[0]} is empty; give it a value, or leave it out")
    for repeated, times in Counter(item for item in order if isinstance(item, click.Option)).items():
        if times > 1 and not (repeated.multiple or repeated.is_flag or repeated.count):
            if "," in (repeated.metavar or ""):
                given = [word for option, word in pairwise(words) if option in repeated.opts]
                raise QexpError(
                    f"{repeated.opts[0]} is given {times} times; write {repeated.opts[0]} {','.join(given)}"
                )
            raise QexpError(f"{repeated.opts[0]} is given {times} times, but takes one value; keep one of them")


# Options that are declared as fields of a dataclass.


def with_options(
    *declared: type[Any], leave_out: Collection[str] = (), with_words: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that is given the fields of dataclasses as options of the shell.

    declared    the classes of some of its parameters; fields of the same name are one option, that of the first
    leave_out   fields that are not given, or in another way
    with_words  from what is given to the same with fields that stand among its words, such as a run
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = inspect.signature(command, eval_str=True).parameters
        kinds = {name: each.annotation for name, each in parameters.items() if each.annotation in declared}
        fields = {
            name: [pair for pair in in_shell(kind) if pair[0].name not in leave_out] for name, kind in kinds.items()
        }
        flags = {field.name: flags_of(field)[-1] for several in fields.values() for field, _ in several}
        renamed = {old: now for kind in declared for old, now in getattr(kind, "renamed", {}).items()}

        def call(**values: Any) -> None:
            for name, now in renamed.items():
                if values.pop(name) is not None:
                    raise QexpError(f"`{name}` is now {now}")
            values = with_words(values)
            options = {
                name: kinds[name](
                    **{field.name: _value_of(field, about, flags, values[field.name]) for field, about in several}
                )
                for name, several in fields.items()
            }
            others = {name: value for name, value in values.items() if name in parameters and name not in kinds}
            command(**others, **options)

        in_signature: dict[str, inspect.Parameter] = {}
        for name, parameter in parameters.items():
            if name in kinds:
                for field, about in fields[name]:
                    in_signature.setdefault(field.name, _parameter(field, about, flags))
            else:
                in_signature[name] = parameter.replace(kind=parameter.KEYWORD_ONLY)
        in_signature |= {name: _hidden(name) for name in renamed}
        panels = {
            name: title for kind in declared for title, names in getattr(kind, "panels", {}).items() for name in names
        }
        order = {name: position for position, name in enumerate(panels)}
        in_panels = [_in_panel(parameter, panels.get(name)) for name, parameter in in_signature.items()]
        in_panels.sort(key=lambda parameter: order.get(parameter.name, -1))
        call.__signature__ = inspect.Signature(in_panels)  # type: ignore[attr-defined]
        call.__doc__, call.__name__, call.__module__ = command.__doc__, command.__name__, command.__module__
        call.__annotations__ = {}
        return call

    return decorate


def _value_of(field: Any, about: Option, flags: Mapping[str, str], value: Any) -> Any:
    if value is None or value == []:
        return None if about.optional else default_of(field)
    return value if about.read is None else about.read(flags[field.name], value)


def _parameter(field: Any, about: Option, flags: Mapping[str, str]) -> inspect.Parameter:
    kind, default = shell_type(field), default_of(field)
    text = f"{spelled(about.help, lambda name: flags.get(name, name))} {about.also}".rstrip()
    complete = None if about.complete is None else getattr(completion, about.complete)
    if about.argument:
        declared = typer.Argument(help=text, metavar=about.metavar, autocompletion=complete)
    else:
        declared = typer.Option(
            *flags_of(field), help=text, metavar=about.metavar, autocompletion=complete, show_default=about.shown
        )
    usual = inspect.Parameter.empty if default is ... else default
    if about.optional or about.read is not None or default is None or isinstance(default, tuple | dict):
        kind, usual = kind | None, None
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=usual, annotation=Annotated[kind, declared]
    )


def _in_panel(parameter: inspect.Parameter, title: str | None) -> inspect.Parameter:
    """A parameter that the help shows in the box with this title."""
    if title is None:
        return parameter
    about = copy.copy(parameter.annotation.__metadata__[0])
    about.rich_help_panel = title
    return parameter.replace(annotation=Annotated[parameter.annotation.__origin__, about])


def _hidden(name: str) -> inspect.Parameter:
    """An option that has another name now, and is refused with that."""
    declared = typer.Option(f"--{name.replace('_', '-')}", hidden=True)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, declared]
    )

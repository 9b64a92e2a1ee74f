"""Arguments that several commands take, with what the shell completes for them, and help texts.

Rich would read words in square brackets, such as [actions.NAME], as markup, and typer would keep the ends of a
docstring's lines.
"""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, TypeVar

import click
import typer
from typer.core import TyperCommand, TyperGroup

from qexp.cli import completion
from qexp.errors import QexpError
from qexp.jobs.launchers import LAUNCHERS, LOCAL

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


# Arguments that several commands take, with what the shell completes for them.


MANY = 10_000
"""Starting more runs at once needs --yes."""

RunArgument = Annotated[str, typer.Argument(help="A run: name, unique prefix or path.", autocompletion=completion.runs)]
RUNS = typer.Argument(
    metavar="RUN...",
    help="Runs: names, unique prefixes, paths, or quoted patterns such as 'mogi_*'.",
    autocompletion=completion.runs,
)
RunsArgument = Annotated[list[str], RUNS]
RunOption = Annotated[
    str, typer.Option("--run", help="A finished run: name, unique prefix or path.", autocompletion=completion.runs)
]
EvaluationOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Use the evaluation of this name instead of the runs' own results.",
        autocompletion=completion.evaluations,
    ),
]
TrustCodeOption = Annotated[
    bool,
    typer.Option("--trust-code", help="Execute the code of imported runs, code/extensions.py; only if you trust it."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY.PATH=VALUE", help="Override a value of the spec, e.g. epochs=20; repeat for more."
    ),
]
PointsOption = Annotated[
    Path | None,
    typer.Option(
        "--points",
        metavar="FILE",
        help='Train one run per point of a file: JSON, [{"KEY.PATH": VALUE, ...}, ...], or TOML, tables named points.',
    ),
]
TagsOption = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag the runs; repeat for more.")]
NoteOption = Annotated[str, typer.Option("--note", metavar="TEXT", help="Note of the runs.")]
OnlyFailedOption = Annotated[
    bool, typer.Option("--only-failed", help="Repeat the runs that ended without a result, and start no others.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="List the runs that would be started, and start none.")]
JobsOption = Annotated[
    int | None,
    typer.Option("-j", "--jobs", metavar="N", help="Maximum number of runs at a time; on this machine 1 if left out."),
]
YesToManyOption = Annotated[
    bool, typer.Option("--yes", help=f"Start more than {MANY:,} runs without this being an error.")
]
ExperiencesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="EXPERIENCE...", help="Names or paths of experience specs.", autocompletion=completion.experiences
    ),
]
SpecFilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Spec files to check; all of specs/ if left out.", autocompletion=completion.spec_files),
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
StatusOption = Annotated[str | None, typer.Option(help="Only runs in this state.", autocompletion=completion.states)]
DeviceOption = Annotated[
    str, typer.Option(help="Compute device: auto, cpu or cuda.", autocompletion=completion.devices)
]
LauncherOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(LAUNCHERS),
        help=f"Where to run: {LOCAL} for this machine, or the scheduler of a cluster.",
        autocompletion=completion.launchers,
    ),
]
LauncherOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="Option of the launcher, such as time=2:00:00, options.mail-user=me@a.org or wrap='program args'; "
        "overrides qexp.toml. Repeat for more.",
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Options of a scheduler by name: table [SCHEDULER.NAME] in qexp.toml, on top of [SCHEDULER].",
        autocompletion=completion.profiles,
    ),
]
LaunchOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Only runs that were started together, by the id of their launch, or 'last'.",
        autocompletion=completion.launches,
    ),
]
TrashedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="A removed run: its name, or its name in the trash.", autocompletion=completion.trashed
    ),
]


FormatsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="png|pdf|svg",
        help="File format; repeat for more. png if left out.",
        autocompletion=completion.figure_formats,
    ),
]
StyleOption = Annotated[
    Path | None,
    typer.Option("--style", metavar="FILE.mplstyle", help="A matplotlib style file: fonts, sizes, lines."),
]


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
                raise click.UsageError(str(mistake), ctx) from None
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, words = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            _require_values(command, click.Context(command, parent=ctx, info_name=name), words)
        return name, command, words


def _require_values(command: click.Command, context: click.Context, words: list[str]) -> None:
    """Raise QexpError for an option with an empty value, and for one that takes one value and is given several."""
    options = {parameter.name: parameter for parameter in command.params if isinstance(parameter, click.Option)}
    given, _, order = command.make_parser(context).parse_args(list(words))
    for name, value in given.items():
        if name in options and "" in (value if isinstance(value, list | tuple) else [value]):
            raise QexpError(f"{options[name].opts[0]} is empty; give it a value, or leave it out")
    for option, times in Counter(one for one in order if isinstance(one, click.Option)).items():
        if times > 1 and not (option.multiple or option.is_flag or option.count):
            raise QexpError(f"{option.opts[0]} is given {times} times, but takes one value; keep one of them")

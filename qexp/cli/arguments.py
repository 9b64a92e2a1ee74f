"""Arguments that several commands take, with what the shell completes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from qexp.cli import completion
from qexp.errors import QexpError
from qexp.runs.schedulers import LAUNCHERS, LOCAL

RunArgument = Annotated[str, typer.Argument(help="A run: name, unique prefix or path.", autocompletion=completion.runs)]
RunsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Runs: names, unique prefixes, paths, or quoted patterns such as 'mogi_*'.",
        autocompletion=completion.runs,
    ),
]
RunOption = Annotated[
    str, typer.Option("--run", help="A finished run: name, unique prefix or path.", autocompletion=completion.runs)
]
PretrainOption = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="Start from that run's best weights.", autocompletion=completion.runs),
]
AllowLeakOption = Annotated[
    bool,
    typer.Option("--allow-leak", help="Test on spectra that were trained on, too, and say so in every output."),
]
TrustCodeOption = Annotated[
    bool,
    typer.Option("--trust-code", help="Execute the code that an imported run brings, its code/extensions.py."),
]
ExperienceArgument = Annotated[
    str, typer.Argument(help="Name or path of an experience spec.", autocompletion=completion.experiences)
]
ExperiencesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="EXPERIENCE...", help="Names or paths of experience specs.", autocompletion=completion.experiences
    ),
]
DatasetOption = Annotated[
    str,
    typer.Option(
        help="Name or path of the dataset spec whose observations are inverted.", autocompletion=completion.datasets
    ),
]
SpecFilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Spec files; all of specs/ if left out.", autocompletion=completion.spec_files),
]
KindArgument = Annotated[str, typer.Argument(metavar="dataset|model|experience", autocompletion=completion.kinds)]
TableArgument = Annotated[
    str | None,
    typer.Argument(help="A table, such as modules; or quantities.", autocompletion=completion.tables),
]
EntryArgument = Annotated[str | None, typer.Argument(help="An entry of it.", autocompletion=completion.entries)]
StatusOption = Annotated[str | None, typer.Option(help="Only runs in this state.", autocompletion=completion.states)]
ColumnsOption = Annotated[
    str | None,
    typer.Option(metavar="FIELD,FIELD...", help="The columns to list.", autocompletion=completion.columns),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.", autocompletion=completion.devices)]
LauncherOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(LAUNCHERS),
        help=f"What starts them: {LOCAL}, which is this machine, or the scheduler of a cluster.",
        autocompletion=completion.launchers,
    ),
]
LauncherOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="An option of the launcher; it wins over the launcher's table in qexp.toml.",
    ),
]
LaunchOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="Only runs of this launch; 'last' for the newest.", autocompletion=completion.launches
    ),
]
TrashedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="A removed run: its name, or its name in the trash.", autocompletion=completion.trashed
    ),
]


class CheckedGroup(TyperGroup):
    """Commands whose options are refused where they are given with nothing in them.

    A shell's variable that is not set comes so; an empty path would be the current folder.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, words = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            _require_values(command, click.Context(command, parent=ctx, info_name=name), words)
        return name, command, words


def _require_values(command: click.Command, context: click.Context, words: list[str]) -> None:
    """Raise QexpError for an option that is there and empty."""
    options = {parameter.name: parameter for parameter in command.params if isinstance(parameter, click.Option)}
    given: dict[str, Any] = command.make_parser(context).parse_args(list(words))[0]
    for name, value in given.items():
        if name in options and "" in (value if isinstance(value, list | tuple) else [value]):
            raise QexpError(f"{options[name].opts[0]} is empty; give it a value, or leave it out")

"""The command line: parse, call, print. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import atexit
import copy
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand
from typer.main import get_command

from qexp.base.machine import on_a_terminal
from qexp.base.options import help_of
from qexp.base.workspace import VARIABLE
from qexp.cli import completion
from qexp.cli.console import (
    WORKSPACE,
    CheckedGroup,
    Command,
    PlainCommand,
    error,
    message,
    result,
    say_at_work,
)
from qexp.errors import QexpError, hint

ALLOCATIONS = 5_000
"""New containers before a collection; 700 in Python 3.11. With 200,000 commands are no faster."""


def _split(titled: dict[str, str]) -> dict[str, list[str]]:
    return {title: names.split() for title, names in titled.items()}


GROUPS = _split(
    {
        "Train": "run rerun study tune distil queue wait stop",
        "Look": "ls status show compare report serve figures logs where",
        "Trust": "matrix evaluate limit intervals calibrate verify",
        "Use": "predict combine observe invert export action",
        "Keep": "tag note rm restore purge push pull import import-weights import-runs",
        "Specs and data": "init new specs validate tables schema data",
        "Repair": "doctor reindex",
    }
)
"""The commands as `qexp --help` groups them."""

MODULES = _split(
    {
        "training": "run rerun study tune distil queue wait stop status",
        "listing": "ls show compare report serve figures logs where",
        "estimation": "matrix evaluate limit intervals calibrate predict combine",
        "deformation": "observe invert",
        "keeping": (
            "tag note rm restore purge push pull import import-weights import-runs verify export"
            " action doctor reindex"
        ),
        "specs": "init new specs validate tables schema data",
        "processes": "execute supervise train-folds",
    }
)
"""Module of `qexp.cli` → the commands that it has; those of the last are hidden."""

DATA = ["show", "simulate", "ice", "xrf", "observation"]
"""The commands of `qexp data`."""

DOORS = _split(
    {
        "Interferograms or GNSS: no network is needed": "observe invert",
        "A simulator (in Python: qexp.posterior), or data in files": "new matrix calibrate predict",
        "Runs to train, compare and keep (of a script: qexp.track)": (
            "init run tune ls show compare report serve doctor"
        ),
    }
)
"""The commands of daily work, by what users have: all that `qexp --help` shows without `--all`."""

QUICK = "wait stop ls status show logs where action tag note rm restore purge init specs reindex"
"""Those that take less than a second; the others say at once that they are at work."""

GUESSES = {
    "ls": ("list", "dir", "runs", "ps", "history"),
    "ls --launch": ("launches",),
    "run": ("train", "fit", "start", "launch", "sweep"),
    "run --resume": ("resume", "continue"),
    "study": ("grid",),
    "tune": ("optimize", "search", "optuna", "hpo"),
    "rerun": ("repeat", "retrain"),
    "stop": ("kill", "cancel", "abort"),
    "rm": ("delete", "remove", "del", "trash"),
    "restore": ("undelete", "recover", "undo"),
    "purge": ("clean", "gc"),
    "figures": ("plot", "draw", "figure", "plots"),
    "serve": ("ui", "web", "browser", "dashboard", "open", "tensorboard"),
    "logs": ("log", "tail"),
    "show": ("info", "describe", "inspect", "cat", "view", "results", "summary", "metrics"),
    "compare": ("diff", "cmp"),
    "init": ("create", "setup", "quickstart", "demo", "example", "examples"),
    "predict": ("infer", "estimate", "inference", "apply"),
    "evaluate": ("test", "eval", "score"),
    "invert": ("inversion", "solve"),
    "export": ("archive", "pack", "save"),
    "import": ("unpack", "load"),
    "push": ("upload", "publish"),
    "pull": ("download", "fetch", "clone"),
    "ls --remote": ("remote", "remotes"),
    "specs": ("models", "model", "datasets", "experiences", "experience"),
    "validate": ("check", "lint"),
    "doctor": ("repair", "fix"),
    "where": ("path", "pwd"),
    "--version": ("version",),
    "--help": ("help", "usage", "commands", "docs", "manual"),
}
"""What is right → what people type."""


class _Loaded(Mapping[str, Any]):
    """The commands by name, each of which is loaded, with its module, when it is asked for."""

    panels: ClassVar = {name: title for title, names in GROUPS.items() for name in names}
    modules: ClassVar = {name: module for module, names in MODULES.items() for name in names}

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"qexp.cli.{self.modules[name]}")
        made = typer.Typer(add_completion=False)
        functions = {name: name.replace("-", "_")}
        if name == "data":
            about = "Look at data, and simulate data sets from known physics."
            made = typer.Typer(
                cls=CheckedGroup, name=name, add_completion=False, no_args_is_help=True, help=about
            )
            functions = {each: f"data_{each}" for each in DATA}
        elif name == "import":
            functions = {name: "import_"}
        for each, function in functions.items():
            command = Command(getattr(module, function))
            made.command(each, cls=PlainCommand, hidden=name in MODULES["processes"])(command)
        return get_command(made)

    def __iter__(self) -> Iterator[str]:
        return iter([*self.panels, *MODULES["processes"]])

    def __len__(self) -> int:
        return len(self.modules)


class _Commands(CheckedGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Loaded()  # nothing is added

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in _Loaded.modules and not ctx.resilient_parsing:
            guesses = [right for right, typed in GUESSES.items() if args[0] in typed]
            question = (
                f"; did you mean '{guesses[0]}'?" if guesses else hint(args[0], _Loaded.panels)
            )
            ctx.fail(f"No such command '{args[0]}'{question or '; see them with: qexp --help'}")
        if args and args[0] not in QUICK.split() and not ctx.resilient_parsing and on_a_terminal():
            ctx.call_on_close(say_at_work())
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """What each command is for, by what `qexp.cli.names` has written down."""
        listing = copy.copy(self)
        summaries = completion.written_names()["commands"]
        panels = _Loaded.panels
        if "--all" not in ctx.meta.get("before", ()):
            panels = {name: door for door, names in DOORS.items() for name in names}
            listing.params = [
                option for option in self.params if option.name in ("workspace", "everything")
            ]
            listing.epilog = "All commands: qexp --all. The options of one: qexp COMMAND --help."
        listing.commands = {
            name: TyperCommand(name, help=summaries[name], rich_help_panel=panel)
            for name, panel in panels.items()
        }
        CheckedGroup.format_help(listing, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        ctx.meta["before"] = tuple(args)  # `--help` is answered before other options are read
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a mistake of the user is printed without a traceback."""
        try:
            returned = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise  # whoever read along has seen enough; typer ends quietly
        except (QexpError, OSError) as mistake:
            if ctx.params.get("debug"):
                raise
            error(
                mistake
                if isinstance(mistake, QexpError)
                else f"the operating system reports: {mistake}"
            )
            raise typer.Exit(mistake.exit_code if isinstance(mistake, QexpError) else 1) from None
        except KeyboardInterrupt:
            message("interrupted")
            raise typer.Exit(130) from None
        return returned


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Declare experiments in JSON, train networks that invert models, and see where they can be"
        " trusted."
    ),
)


def _print_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        result(ctx.get_help())
        raise typer.Exit


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        result(f"qexp {version('qexp')}")
        raise typer.Exit


TRAIN_ONE_RUN = ("run", "rerun", "execute")


@app.callback()
def options(
    ctx: typer.Context,
    workspace: Annotated[str | None, typer.Option(metavar="DIR", help=help_of(WORKSPACE))] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", is_eager=True, callback=_print_all, help="Show all commands and options."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version of qexp."
        ),
    ] = False,
) -> None:
    if workspace == "":
        raise QexpError("--workspace is empty; give it a value, or leave it out")
    if workspace is not None:
        os.environ[VARIABLE] = workspace
    if "WORLD_SIZE" in os.environ and ctx.invoked_subcommand in TRAIN_ONE_RUN:
        from qexp.cli.processes import has_the_run

        if not has_the_run():
            raise typer.Exit


def _collect_less() -> None:
    """Collect garbage less often, and not once more when the process ends.

    Loading torch makes 250,000 objects that stay; looking at them again and again while it loads,
    and once more at the end, took a quarter of the time of a brief run. Not for other programs that
    import qexp.
    """
    gc.set_threshold(ALLOCATIONS)
    atexit.register(gc.freeze)  # before others register functions, so that it is called after them


def main() -> None:
    """What the console script calls."""
    _collect_less()
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: (
        f"warning: {message}\n"
    )
    # an error would be printed into the line that is being typed
    if "_QEXP_COMPLETE" in os.environ:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - open as long as the process
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as the process
        getattr(sys, name).reconfigure(errors="replace")
    app(prog_name="qexp")

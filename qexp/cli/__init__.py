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
from qexp.base.workspace import VARIABLE
from qexp.cli import completion
from qexp.cli.console import (
    CheckedGroup,
    PlainCommand,
    WorkspaceOption,
    error,
    message,
    result,
    say_at_work,
)
from qexp.errors import QexpError, hint

ALLOCATIONS = 5_000
"""New containers before a collection; 700 in Python 3.11. With 200,000 commands are no faster."""

GROUPS = {
    "Train": dict.fromkeys(("run", "rerun", "study", "tune", "distil", "wait", "stop"), "training"),
    "Look": {
        "ls": "listing",
        "status": "training",
        **dict.fromkeys(
            ("show", "compare", "report", "serve", "figures", "logs", "where"), "listing"
        ),
    },
    "Trust": {
        **dict.fromkeys(("matrix", "evaluate", "limit", "intervals", "calibrate"), "estimation"),
        "verify": "keeping",
    },
    "Use": {
        "predict": "estimation",
        "observe": "deformation",
        "invert": "deformation",
        "export": "keeping",
        "action": "keeping",
    },
    "Keep": dict.fromkeys(
        (
            "tag",
            "note",
            "rm",
            "restore",
            "purge",
            "push",
            "pull",
            "import",
            "import-weights",
            "import-runs",
        ),
        "keeping",
    ),
    "Specs and data": dict.fromkeys(
        ("init", "new", "specs", "validate", "tables", "schema", "data"), "specs"
    ),
    "Repair": dict.fromkeys(("doctor", "reindex"), "keeping"),
}
"""The commands as `qexp --help` groups them → the module of `qexp.cli` that has them."""

DOORS = {
    "Interferograms or GNSS: no network is needed": ("observe", "invert"),
    "A simulator (in Python: qexp.posterior), or data in files": (
        "new",
        "matrix",
        "calibrate",
        "predict",
    ),
    "Runs to train, compare and keep (of a script: qexp.track)": (
        "init",
        "run",
        "tune",
        "ls",
        "show",
        "compare",
        "report",
        "serve",
        "doctor",
    ),
}
"""The commands of daily work, by what users have, which are all that `qexp --help` shows without
`--all`.
"""

SLOW = {
    *GROUPS["Train"],
    *GROUPS["Trust"],
    "compare",
    "report",
    "serve",
    "figures",
    "predict",
    "observe",
    "invert",
    "export",
    "push",
    "pull",
    "import",
    "import-weights",
    "import-runs",
    "new",
    "validate",
    "tables",
    "schema",
    "data",
    "doctor",
} - {"wait", "stop"}
"""Those that may take longer than a second, and say at once that they are at work."""

HIDDEN = {"execute": "processes", "supervise": "processes", "train-folds": "processes"}

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

    panels: ClassVar = {name: title for title, modules in GROUPS.items() for name in modules}
    modules: ClassVar = {
        name: module for group in (*GROUPS.values(), HIDDEN) for name, module in group.items()
    }

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"qexp.cli.{self.modules[name]}")
        if name == "data":
            return get_command(module.app)
        alone = typer.Typer(add_completion=False)
        function = getattr(module, {"import": "import_"}.get(name, name.replace("-", "_")))
        alone.command(name, cls=PlainCommand, hidden=name in HIDDEN)(function)
        return get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

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
        if args and args[0] in SLOW and not ctx.resilient_parsing and on_a_terminal():
            ctx.call_on_close(say_at_work())
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """What each command is for, by what `qexp.cli.names` has written down."""
        listing, summaries = copy.copy(self), completion.written_names()["commands"]
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
    workspace: WorkspaceOption = None,
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

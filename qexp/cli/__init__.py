"""The command line: parse, call, print. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from qexp.base.workspace import VARIABLE
from qexp.cli import deformation, estimation, keeping, listing, pages, processes, specs, training
from qexp.cli.arguments import CheckedGroup, PlainCommand
from qexp.cli.console import error, result
from qexp.cli.processes import collect_less
from qexp.errors import QexpError


class _Commands(CheckedGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a command; a mistake of the user is printed without a traceback."""
        try:
            returned = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise  # whoever read along has seen enough; click ends quietly
        except OSError as refused:
            if ctx.params.get("debug"):
                raise
            error(f"the operating system reports: {refused}")
            raise typer.Exit(1) from None
        except QexpError as mistake:
            if ctx.params.get("debug"):
                raise
            error(mistake)
            raise typer.Exit(mistake.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        return returned


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Declare experiments in JSON, train networks that invert models, and see where they can be trusted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        result(f"qexp {version('qexp')}")
        raise typer.Exit


@app.callback()
def options(
    workspace: Annotated[
        str | None, typer.Option(metavar="DIR", help="The directory that holds specs/; searched upwards if left out.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version of qexp.")
    ] = False,
) -> None:
    if workspace == "":
        raise QexpError("--workspace is empty; give it a value, or leave it out")
    if workspace is not None:
        os.environ[VARIABLE] = workspace


GROUPS: dict[str, dict[str, Callable[..., None]]] = {
    "Train": {
        "run": training.run,
        "rerun": training.rerun,
        "study": training.study,
        "wait": training.wait,
        "stop": training.stop,
    },
    "Look": {
        "ls": listing.ls,
        "status": training.status,
        "show": listing.show,
        "compare": pages.compare,
        "report": pages.report,
        "serve": pages.serve,
        "figures": pages.figures,
        "logs": listing.logs,
        "where": listing.where,
        "matrix": estimation.matrix,
        "predict": estimation.predict,
        "invert": deformation.invert,
        "evaluate": estimation.evaluate,
        "limit": estimation.limit,
        "intervals": estimation.intervals,
        "calibrate": estimation.calibrate,
        "action": keeping.action,
    },
    "Keep": {
        "tag": keeping.tag,
        "note": keeping.note,
        "verify": keeping.verify,
        "export": keeping.export,
        "import": keeping.import_,
        "import-weights": keeping.import_weights,
        "rm": keeping.rm,
        "restore": keeping.restore,
        "purge": keeping.purge,
        "doctor": keeping.doctor,
        "reindex": keeping.reindex,
    },
    "Specs and data": {
        "observe": deformation.observe,
        "init": specs.init,
        "specs": specs.specs,
        "validate": specs.validate,
        "tables": specs.tables,
        "schema": specs.schema,
    },
}
"""The commands as `qexp --help` groups them."""

for group, commands in GROUPS.items():
    for name, command in commands.items():
        app.command(name, cls=PlainCommand, rich_help_panel=group)(command)
app.add_typer(specs.app, name="data", rich_help_panel="Specs and data")
app.command(hidden=True)(processes.execute)
app.command(hidden=True)(processes.supervise)
app.command("train-folds", hidden=True)(processes.train_folds)


def main() -> None:
    """What the console script calls."""
    collect_less()
    if "_QEXP_COMPLETE" in os.environ:  # an error would be printed into the line that is being typed
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - open as long as the process
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open as long as the process
        getattr(sys, name).reconfigure(errors="replace")
    app(prog_name="qexp")

"""qexp export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.arguments import RunArgument, TrustCodeOption
from qexp.cli.console import WorkspaceOption, message
from qexp.errors import QexpError
from qexp.files import in_bytes


def export(
    run: RunArgument,
    to: Annotated[
        Path,
        typer.Option(
            metavar="FILE|DIR", help="For the run: a new file .tar.zst, .tar.gz or .tar. For its network: a folder."
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="onnx|torchscript|keras",
            help="Format of the network; onnx if left out.",
            autocompletion=completion.formats,
        ),
    ] = None,
    physical: Annotated[
        bool, typer.Option("--physical", help="Include the transforms in the network: physical units in and out.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a network that was exported before.")] = False,
    trust_code: TrustCodeOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Export a run to an archive with checksums, which `qexp import` reads; or its network to a folder.

    The network can be used without qexp, and as ONNX without torch; a README in the folder explains how.
    """
    if api.is_archive(to):
        given = {"--format": format, "--physical": physical, "--overwrite": overwrite}
        if option := next((name for name, value in given.items() if value), None):
            raise QexpError(f"{option} is for networks, but --to {to} is an archive of the run; give a folder's name")
        opened = api.open_run(run, workspace=workspace)
        opened.export(to)
        message(f"{opened.name} is in {to}, {in_bytes(to.stat().st_size)}")
        return
    opened = api.open_run(run, trust_code=trust_code, workspace=workspace)
    made = api.export_network(opened, to, format or "onnx", physical=physical, overwrite=overwrite)
    networks = made.about["networks"]
    whose = f"the network of {opened.name}" if networks == 1 else f"the {networks} networks of {opened.name}"
    sizes = ", ".join(f"{name} {in_bytes(size)}" for name, size in made.files.items())
    message(f"{to} holds {whose}: {sizes}")

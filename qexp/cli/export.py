"""qexp export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp.cli import completion
from qexp.cli.arguments import RunArgument, TrustCodeOption
from qexp.cli.console import WorkspaceOption, message
from qexp.errors import QexpError
from qexp.files import in_bytes


def export(
    run: RunArgument,
    to: Annotated[
        Path,
        typer.Option(metavar="FILE|DIR", help="A new file .tar.zst, .tar.gz or .tar, or a folder for the network."),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="onnx|torchscript", help="Of the network; onnx if left out.", autocompletion=completion.formats
        ),
    ] = None,
    physical: Annotated[
        bool, typer.Option("--physical", help="Put transforms inside the network: units in, units out.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a network that was exported before.")] = False,
    trust_code: TrustCodeOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a run, with hashes of all its files, to an archive that `import` takes in; or its network to a folder.

    The network can be used without qexp, and as ONNX without torch; a README in the folder tells how.
    """
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.upkeep import archive
    from qexp.workspace import find

    if archive.is_archive(to):
        given = {"--format": format, "--physical": physical, "--overwrite": overwrite}
        if option := next((name for name, value in given.items() if value), None):
            raise QexpError(f"{option} is for networks, but --to {to} is an archive of the run; give a folder's name")
        directory = Catalog(find(workspace)).find(run)
        size = archive.export(directory, to)
        message(f"{directory.name} is in {to}, {in_bytes(size)}")
        return
    from qexp.analysis.export.network import export_network

    directory = Catalog(find(workspace)).find(run).trusting(trust_code)
    made = export_network(directory, to, format or "onnx", physical=physical, overwrite=overwrite)
    networks = made.about["networks"]
    whose = f"the network of {directory.name}" if networks == 1 else f"the {networks} networks of {directory.name}"
    sizes = ", ".join(f"{name} {in_bytes(size)}" for name, size in made.files.items())
    message(f"{to} holds {whose}: {sizes}")

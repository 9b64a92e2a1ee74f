"""qexp serve"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qexp import api
from qexp.cli.console import WorkspaceOption, message, result

HostOption = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="The address to listen on; 0.0.0.0 for all. Other machines need the token that is shown.",
    ),
]
PortOption = Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 for any that is free.")]
PrefixOption = Annotated[str, typer.Option(metavar="/PATH", help="The path below which a proxy shows the pages.")]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Also answer requests for this host, as behind a proxy; repeat for more."),
]
AllowChangesOption = Annotated[
    bool, typer.Option("--allow-changes", help="Let pages tag, annotate, stop, remove and restore runs.")
]


def serve(
    port: PortOption = 8700,
    host: HostOption = "127.0.0.1",
    prefix: PrefixOption = "",
    allow_host: AllowHostOption = None,
    allow_changes: AllowChangesOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show the workspace in a browser: runs, curves and logs while they grow, matrices, comparisons, launches, studies.

    The pages only read, unless --allow-changes is given. From another machine, use a tunnel: ssh -L 8700:localhost:8700
    HOST. Requests need a token if changes are allowed, or if other machines can connect; it is part of the
    address that is printed, random unless the environment variable QEXP_TOKEN gives one. Ctrl-C ends the server.
    """

    def listening(address: str) -> None:
        result(address)
        sys.stdout.flush()  # for whoever reads it through a pipe
        message("open this address in a browser; Ctrl-C ends the server")

    api.serve(
        listening, host=host, port=port, prefix=prefix, names=allow_host or [], allow_changes=allow_changes,
        workspace=workspace,
    )  # fmt: skip

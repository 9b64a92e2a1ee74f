"""qexp purge"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli import texts
from qexp.cli.console import WorkspaceOption, error, message
from qexp.cli.rm import ask
from qexp.errors import QexpError
from qexp.files import in_bytes, size_of

if TYPE_CHECKING:
    from qexp.runs.upkeep.trash import Trashed


def purge(
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE", help="Only what was removed, or last used, longer ago than this: 30d, 12h, 90m, 2w."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache",
            help="Delete cached training arrays of all your workspaces instead; they are made again when needed.",
        ),
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Delete the runs in the trash permanently."""
    age = texts.age(older_than)
    if cache:
        deleted = api.purge_cache(age)
        message(
            f"{deleted.files} files deleted from {deleted.folder}, the cache of all workspaces, "
            f"{in_bytes(deleted.freed)} freed"
        )
        return
    done = api.purge(age, confirm=None if yes else _confirm, workspace=workspace)
    for problem in done.problems:
        error(problem)
    for name in done.gone:
        message(f"{name} is no longer in the trash: another process restored or deleted it")
    total = len(done.names) + len(done.problems) + len(done.gone)
    if not total:
        message("nothing to delete")
        return
    message(f"{len(done.names)} of {total} runs deleted, {in_bytes(done.freed)} freed")
    if done.problems:
        raise typer.Exit(4 if done.names else 2)


def _confirm(doomed: Sequence[Trashed]) -> None:
    size = in_bytes(sum(size_of(entry.data) for entry in doomed))
    names = ", ".join(entry.name for entry in doomed[:8]) + (", …" if len(doomed) > 8 else "")
    question = f"delete {len(doomed)} run{'s' * (len(doomed) != 1)} permanently ({size}): {names}"
    if not sys.stdin.isatty():
        raise QexpError(f"this would {question}; without a terminal to ask on, add --yes")
    ask(f"{question}?")

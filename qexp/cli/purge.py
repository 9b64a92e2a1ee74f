"""qexp purge"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qexp.cli.console import WorkspaceOption, error, message
from qexp.cli.rm import ask
from qexp.files import in_bytes


def purge(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Only what was removed, or last used, longer ago: 30d, 12h, 90m, 2w."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Instead: fields kept ready for training, which are made again when needed.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Delete what is in the trash for good."""
    if cache:
        _purge_cache(older_than)
        return
    from qexp.errors import QexpError
    from qexp.files import size_of
    from qexp.runs.upkeep import purging
    from qexp.workspace import find

    place = find(workspace)
    doomed = purging.doomed(place, None if older_than is None else purging.duration(older_than))
    if not doomed:
        message("nothing to delete")
        return
    size = in_bytes(sum(size_of(entry.data) for entry in doomed))
    names = ", ".join(entry.name for entry in doomed[:8]) + (", …" if len(doomed) > 8 else "")
    if not yes:
        question = f"delete {len(doomed)} runs for good ({size}): {names}"
        if not sys.stdin.isatty():
            raise QexpError(f"this would {question}; where nobody can be asked, say --yes")
        ask(f"{question}?")
    done = purging.purge(doomed, place)
    for problem in done.problems:
        error(problem)
    for name in done.gone:
        message(f"{name} is not in the trash any more: another process restored or deleted it")
    message(f"{len(done.names)} of {len(doomed)} runs deleted, {in_bytes(done.freed)} freed")
    if done.problems:
        raise typer.Exit(4 if done.names else 2)


def _purge_cache(older_than: str | None) -> None:
    """Delete what no run has needed for a while; nobody is asked, for nothing is lost but time."""
    from datetime import timedelta

    from qexp.datasets.array_cache import cache_folder, unused_for
    from qexp.runs.upkeep.purging import duration

    doomed = unused_for(timedelta() if older_than is None else duration(older_than))
    freed = sum(path.stat().st_size for path in doomed)
    for path in doomed:
        path.unlink(missing_ok=True)
    message(f"{len(doomed)} files deleted from {cache_folder()}, {in_bytes(freed)} freed")

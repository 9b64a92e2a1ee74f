"""Actions: the user's own commands on runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qexp import workspace as workspaces
from qexp.api.run_handle import Runs, open_runs
from qexp.errors import QexpError

if TYPE_CHECKING:
    from qexp.runs.actions.acting import Acted
    from qexp.runs.actions.definitions import Action


def actions(*, workspace: str | Path | None = None) -> dict[str, Action]:
    """Name → action, of those that qexp.toml defines: `command` and `help`."""
    from qexp.runs.actions.definitions import actions_of

    return actions_of(workspaces.find(workspace))


def act(
    action: str, references: Runs, *, workspace: str | Path | None = None
) -> Iterator[tuple[str, Acted | QexpError]]:
    """Run an action on runs, one after another. Yields the name of each with the result.

    references  names, unique prefixes, paths, and patterns such as "mogi_*"
    yields      `folder` with the program's output, and `record`: command, times, exit code, code; or the error that
                prevented its start
    Raises NotFoundError for an unknown action.
    """
    from qexp.runs.actions import acting, definitions
    from qexp.runs.catalog.catalog import Catalog

    place = workspaces.find(workspace)
    found = definitions.find(action, place)
    opened = open_runs(references, workspace=place.root)
    listed = {one["path"]: one for one in Catalog(place).runs()}
    for one in opened:
        try:
            summary = listed.get(str(one.path)) or {**one.record, "path": str(one.path)}
            yield one.name, acting.act(found, one.directory, summary, place)
        except QexpError as error:
            yield one.name, error

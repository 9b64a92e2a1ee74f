"""Saved views of a workspace: names for addresses of pages, with filter and selection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qexp.base import files, formats
from qexp.base.files import locked
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError

PAGES = ("runs", "compare", "launches/", "studies/")
"""How the address of a view can begin, below that of the server."""

MOST_VIEWS, LONGEST_NAME, LONGEST_ADDRESS = 200, 80, 30_000


def file_of(workspace: Workspace) -> Path:
    return workspace.runs / ".views.json"


def saved_views(workspace: Workspace) -> dict[str, str]:
    """Name → address, in the order in which they were saved. Raises DamagedError."""
    file = file_of(workspace)
    try:
        views = formats.read_json(file)
    except FileNotFoundError:
        return {}
    if not isinstance(views, dict) or not all(map(_leads, views.values())):
        raise DamagedError(
            f"{workspace.shown(file)} does not hold names and addresses of views; repair or"
            " delete it"
        )
    return views


def save_view(workspace: Workspace, name: str, address: str) -> None:
    """Raises QexpError for a name that is taken, or an address not of a page of runs."""
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise QexpError(f"a name of a view has 1 to {LONGEST_NAME} letters")
    if not _leads(address):
        raise QexpError(
            f"a view is of a page of runs, such as runs?where=seed+%3C+5, not {address[:80]!r}"
        )
    with _changed(workspace) as views:
        if views.get(name, address) != address:
            raise QexpError(
                f"there is a view '{name}' already; delete it on the start page, or choose another"
                " name"
            )
        if len(views) >= MOST_VIEWS:
            raise QexpError(f"there are {MOST_VIEWS} views already; delete one on the start page")
        views[name] = address


def delete_view(workspace: Workspace, name: str) -> None:
    with _changed(workspace) as views:
        if views.pop(name, None) is None:
            raise NotFoundError(f"there is no view '{name}'")


def _leads(address: Any) -> bool:
    """Whether it is the address of a page of runs of this server."""
    if not isinstance(address, str):
        return False
    path = address.partition("?")[0]
    found = path in PAGES or path.startswith(tuple(page for page in PAGES if page.endswith("/")))
    return found and len(address) <= LONGEST_ADDRESS and address.isascii() and address.isprintable()


@contextmanager
def _changed(workspace: Workspace) -> Iterator[dict[str, str]]:
    """The views, which are written when the block ends without an error."""
    file = file_of(workspace)
    files.make_folder(file.parent)
    with files.writing(file), locked(file):
        views = saved_views(workspace)
        yield views
        formats.write_json(file, views)

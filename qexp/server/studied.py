"""Pages of studies: their figure and tables, as `qexp study` wrote them."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse

from qexp.analysis.comparison.rounding import number
from qexp.analysis.comparison.typesetting import Table
from qexp.errors import QexpError
from qexp.server import places
from qexp.server.compared import compared
from qexp.server.rendering import page
from qexp.server.site import site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

VALUES, FIGURE = "table.csv", "study.png"

TEXTS = ("experience", "run", "start", "state", "minus", "output", "metric", "unit")
"""Columns whose values are shown as they are written."""


async def show_all(request: Request) -> Response:
    folders = await asyncio.to_thread(places.studies, site_of(request).workspace)
    listed = [{"name": folder.name, "changed": _changed(folder)} for folder in folders]
    return page(request, "studies.html", section="studies", studies=listed)


async def show(request: Request) -> Response:
    return await asyncio.to_thread(_shown, request)


def _shown(request: Request) -> Response:
    workspace = site_of(request).workspace
    folder = places.study(workspace, request.path_params["study"])
    title, runs = f"Study {folder.name}", _lines(folder, places.STUDY_TABLE)
    try:
        known = compared(workspace, title, list(dict.fromkeys(line.get("run") or "" for line in runs)))
    except QexpError as error:
        known = {"title": title, "count": 0, "cautions": [], "at_work": [], "notices": [str(error)]}
    return page(
        request, "study.html", section="studies", name=folder.name, changed=_changed(folder),
        figure=(folder / FIGURE).is_file(), runs=_table(runs), values=_table(_lines(folder, VALUES)), **known,
    )  # fmt: skip


async def figure(request: Request) -> Response:
    folder = await asyncio.to_thread(places.study, site_of(request).workspace, request.path_params["study"])
    return FileResponse(places.inside(folder, FIGURE), media_type="image/png")


def _changed(folder: Path) -> str:
    return f"{datetime.fromtimestamp((folder / places.STUDY_TABLE).stat().st_mtime):%Y-%m-%d %H:%M}"


def _lines(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table of the study; none if it was not written."""
    if not (folder / name).is_file():
        return []
    with places.inside(folder, name).open(newline="", encoding="utf-8", errors="replace") as file:
        return [
            {title: text or "" for title, text in line.items() if isinstance(title, str)}
            for line in csv.DictReader(file)
        ]


def _table(lines: Sequence[Mapping[str, str]]) -> Table | None:
    """The same with rounded numbers, without columns that are empty."""
    columns = [title for title in (lines[0] if lines else ()) if any(line[title] for line in lines)]
    if not columns:
        return None
    cells = [[_rounded(title, line[title]) for title in columns] for line in lines]
    return Table("", columns, cells, frozenset({*columns} - {*TEXTS}))


def _rounded(column: str, text: str) -> Any:
    if column in TEXTS:
        return text
    try:
        return number(float(text))
    except ValueError:
        return text

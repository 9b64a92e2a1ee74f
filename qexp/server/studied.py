"""Pages of studies: their figure and tables, as `qexp study` wrote them."""

from __future__ import annotations

import asyncio
import csv
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse

from qexp.analysis.comparison.rounding import number
from qexp.analysis.comparison.typesetting import Table
from qexp.server import places
from qexp.server.rendering import page
from qexp.server.site import site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

VALUES, FIGURE = "table.csv", "study.png"

TEXTS = ("experience", "run", "start", "state", "seed", "minus")
"""Columns whose values are shown as they are written."""


async def show_all(request: Request) -> Response:
    folders = await asyncio.to_thread(places.studies, site_of(request).workspace)
    listed = [{"name": folder.name, "changed": _changed(folder)} for folder in folders]
    return page(request, "studies.html", section="studies", studies=listed)


async def show(request: Request) -> Response:
    return await asyncio.to_thread(_shown, request)


def _shown(request: Request) -> Response:
    folder = places.study(site_of(request).workspace, request.path_params["study"])
    return page(
        request, "study.html", section="studies", name=folder.name, changed=_changed(folder),
        figure=(folder / FIGURE).is_file(), runs=_table(folder, places.STUDY_TABLE), values=_table(folder, VALUES),
    )  # fmt: skip


async def figure(request: Request) -> Response:
    folder = await asyncio.to_thread(places.study, site_of(request).workspace, request.path_params["study"])
    return FileResponse(places.inside(folder, FIGURE), media_type="image/png")


def _changed(folder: Path) -> str:
    return f"{datetime.fromtimestamp((folder / places.STUDY_TABLE).stat().st_mtime):%Y-%m-%d %H:%M}"


def _table(folder: Path, name: str) -> Table | None:
    """A table of the study with rounded numbers; None if it was not written."""
    if not (folder / name).is_file():
        return None
    with places.inside(folder, name).open(newline="", encoding="utf-8", errors="replace") as file:
        columns, *rows = [*csv.reader(file)] or [[]]
    numeric = [title for title in columns if title not in TEXTS]
    cells = [[_rounded(title, text) for title, text in zip(columns, row, strict=False)] for row in rows]
    return Table("", columns, cells, frozenset([*numeric, "seed"]))


def _rounded(column: str, text: str) -> Any:
    if column in TEXTS:
        return text
    try:
        return number(float(text))
    except ValueError:
        return text

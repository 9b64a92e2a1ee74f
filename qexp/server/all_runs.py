"""The page with all runs: its table, its words for completion, and the news that something has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

from qexp.server import words as of_runs
from qexp.server.rendering import page
from qexp.server.run_table import Question
from qexp.server.site import site_of
from qexp.server.streams import of_all_runs, stream

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request

ROWS = 100
"""In a response, if the client does not say."""


async def show(request: Request) -> Response:
    return page(request, "runs.html", section="")


async def rows(request: Request) -> Response:
    """Rows of the table, as JSON; nothing if the client has those of this version."""
    site, query = site_of(request), request.query_params
    listed = await site.live.now()
    tag = f'"{listed.version}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    question, first, count = _question(query), _number(query, "first", 0), _number(query, "count", ROWS)
    answer = await asyncio.to_thread(site.table.answer, listed, question)
    content = orjson.dumps(answer.document(listed.version, first, count))
    return Response(content, media_type="application/json", headers={"etag": tag, "cache-control": "no-cache"})


def _question(query: QueryParams) -> Question:
    return Question(
        search=query.get("search", ""),
        where=query.get("where", ""),
        status=query.get("status", ""),
        tag=query.get("tag", ""),
        launch=query.get("launch", ""),
        sort=query.get("sort") or "created",
        descending=query.get("descending", "1") != "0",
        columns=_fields(query, "columns"),
        group=_fields(query, "group"),
    )


def _fields(query: QueryParams, name: str) -> tuple[str, ...]:
    return tuple(field.strip() for field in query.get(name, "").split(",") if field.strip())


def _number(query: QueryParams, name: str, otherwise: int) -> int:
    given = query.get(name, "")
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else otherwise


async def words(request: Request) -> Response:
    site = site_of(request)
    listed = await site.live.now()
    found = await asyncio.to_thread(of_runs.words, listed.runs)
    return Response(orjson.dumps(found), media_type="application/json")


async def events(request: Request) -> Response:
    return stream(of_all_runs(site_of(request)))

"""Pages of a workspace: runs, launches, studies, comparisons, changes to runs, use of the disk."""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from qexp.base.files import safe
from qexp.base.text import Table, number_in
from qexp.base.workspace import Workspace
from qexp.comparison.groups import STUDY_FILES, TRIAL, lines_of
from qexp.deformation import stored
from qexp.errors import DamagedError, NotFoundError, QexpError, some
from qexp.jobs import launchers
from qexp.jobs.launchers import Launch
from qexp.jobs.states import ask_to_stop
from qexp.metrics.meaning import NONE, measured, number, rounding_of_interval
from qexp.runs.catalog import Catalog
from qexp.runs.columns import time
from qexp.store.directory import MATRIX, RunDirectory, annotate, retag
from qexp.store.documents import MisfitError, Part
from qexp.store.record import NAME, State
from qexp.tuning.results import search_in
from qexp.upkeep import trash
from qexp.web import live as of_runs, report
from qexp.web.access import require_inside, require_no_way_out
from qexp.web.comparison_page import comparison_page
from qexp.web.drawings import figures_of, matrix_plane
from qexp.web.html import Values, environment
from qexp.web.inversions import ShownInversions
from qexp.web.live import Question, Site, log_place, of_all_runs, of_run, site_of, stream
from qexp.web.report import MOST_RUNS, SCRIPTS, STYLES, ReportedRuns, page_of_run, readable, static
from qexp.web.run_page import network_parts, run_page
from qexp.web.start_page import small_curve, start_page
from qexp.web.views import delete_view, save_view

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.types import Scope

STUDIES = "studies"
"""Folder of the workspace."""

STUDY_TABLE, VALUES, FIGURE = STUDY_FILES


def run_at(workspace: Workspace, name: str) -> RunDirectory:
    """A run by its full name. Raises NotFoundError, also if links lead outside of it."""
    directory = RunDirectory(workspace.runs / name)
    if not NAME.fullmatch(name) or not directory.holds_record:
        raise NotFoundError(f"no run {name!r}")
    require_no_way_out(directory.path)
    return directory


def studies_in(workspace: Workspace) -> list[Path]:
    """The folders of studies, by name."""
    return sorted(path.parent for path in (workspace.root / STUDIES).glob(f"*/{STUDY_TABLE}"))


def study_at(workspace: Workspace, name: str) -> Path:
    folder = next((path for path in studies_in(workspace) if path.name == name), None)
    if folder is None:
        raise NotFoundError(f"no study {name!r} in {STUDIES}/")
    require_inside(folder, STUDY_TABLE)
    return folder


# Pages of the server: its own templates, between which those of reports stand.


OWN_SCRIPTS = (
    "server.js", "start.js", "completion.js", "runs.js", "live.js", "workspace.js", "changes.js",
    "views.js",
)  # fmt: skip
OWN_STYLES = ("server.css",)

STATIC = {"/page.js": "text/javascript", "/page.css": "text/css"}
"""Path → type of what all pages load. It holds nothing of a workspace."""

PREFIX, NONCE = "qexp.prefix", "qexp.nonce"
"""Keys of a request's scope: the path before all links, and what a script needs to run."""

SECTIONS = {
    "": "Start",
    "runs": "Runs",
    "launches": "Launches",
    "studies": "Studies",
    "inversions": "Inversions",
    "workspace": "Workspace",
}
"""Path → words for it in the head of every page."""


@cache
def bundle(name: str) -> tuple[bytes, str]:
    """What all pages load, `page.js` or `page.css`, and its digest."""
    shared, of_server = (SCRIPTS, OWN_SCRIPTS) if name == "page.js" else (STYLES, OWN_STYLES)
    content = f"{static(shared)}\n{static(of_server, 'server')}".encode()
    return content, hashlib.sha256(content).hexdigest()[:16]


def rendered(template: str, scope: Scope, **context: Any) -> str:
    """A template with what the head of every page needs."""
    script, style = (f"{name}?{bundle(name)[1]}" for name in ("page.js", "page.css"))
    values = {
        "workspace": "",
        "secret": None,
        "section": None,
        "sections": SECTIONS,
        **context,
    }
    page = environment("server").get_template(template)
    return page.render(
        values,
        prefix=scope[PREFIX],
        nonce=scope[NONCE],
        script=script,
        style=style,
    )


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    site = request.app.state.site
    values = {"workspace": site.workspace.root.name, "secret": site.secret, **context}
    return HTMLResponse(rendered(template, request.scope, **values), status)


# The page with all runs: its table, its words for completion, and the news that something has
# changed.


ROWS = 100
"""In a response, if the client does not say."""

TEXTS_OF_QUESTION = ("search", "where", "status", "tag", "launch", "sort")
"""Words of a query that are texts of a `Question`."""


async def show_start(request: Request) -> Response:
    """The start page; questions to the table of runs, which stood here before, lead to it."""
    if request.url.query:
        return RedirectResponse(f"{request.scope[PREFIX]}/runs?{request.url.query}", 307)
    site = site_of(request)
    listing = await site.live.now()
    values = await asyncio.to_thread(start_page, site.workspace, listing.runs)
    return page(request, "start.html", section="", **values)


async def show_runs(request: Request) -> Response:
    listing = await site_of(request).live.now()
    return page(request, "runs.html", section="runs", empty=not listing.runs)


MOST_CURVES = 150
"""Runs whose losses are asked for at once."""


def losses_of_runs(request: Request) -> Response:
    """Small curves of the losses of the runs that a page shows."""
    workspace = site_of(request).workspace
    curves = {}
    for name in request.query_params.getlist("run")[:MOST_CURVES]:
        with suppress(NotFoundError):
            curves[name] = small_curve(run_at(workspace, name))
    return JSONResponse(curves)


async def rows_of_runs(request: Request) -> Response:
    """Rows of the table, as JSON; nothing if the client has those of this version."""
    site = site_of(request)
    query = request.query_params
    listing = await site.live.now()
    tag = f'"{listing.version}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    question = Question(
        **{name: query[name] for name in TEXTS_OF_QUESTION if query.get(name)},
        descending=query.get("descending", "1") != "0",
        columns=_fields(query, "columns"),
        group=_fields(query, "group"),
    )
    answer = await asyncio.to_thread(site.table.answer, listing, question)
    first = _number(query, "first", 0)
    count = _number(query, "count", ROWS)
    content = orjson.dumps(answer.document(listing.version, first, count))
    headers = {"etag": tag, "cache-control": "no-cache"}
    return Response(content, media_type="application/json", headers=headers)


def _fields(query: QueryParams, name: str) -> tuple[str, ...]:
    return tuple(field.strip() for field in query.get(name, "").split(",") if field.strip())


def _number(query: QueryParams, name: str, otherwise: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else otherwise


async def words_of_runs(request: Request) -> Response:
    listing = await site_of(request).live.now()
    words = await asyncio.to_thread(of_runs.completing_words, listing.runs)
    return Response(orjson.dumps(words), media_type="application/json")


async def events_of_runs(request: Request) -> Response:
    site = site_of(request)
    return stream(site, of_all_runs(site))


# Changes to runs, where the server was started with them allowed: tags, notes, stopping, removing
# and restoring.


SECRET = "x-qexp-secret"
"""Header with what pages of this server know and pages of others do not."""

MOST_BYTES = 1_000_000
"""Of a request."""


@dataclass(frozen=True, kw_only=True)
class Wanted(Part):
    """What a page asks for, of each of the runs."""

    runs: tuple[str, ...]
    """Their names."""
    add: tuple[str, ...] = ()
    """Tags that they get."""
    remove: tuple[str, ...] = ()
    """Tags that they lose."""
    text: str = ""
    """Their note, or the address of a view."""


async def change_runs(request: Request) -> Response:
    """Do it run by run; the answer has the runs that are `done`, and why others are not."""
    site = site_of(request)
    kind = request.path_params["kind"]
    if site.secret is None:
        return JSONResponse(
            {"error": "this server only reads; start it with --allow-changes to change runs"}, 403
        )
    if not secrets.compare_digest(request.headers.get(SECRET, "").encode(), site.secret.encode()):
        return JSONResponse(
            {"error": "reload the page: the server was started again since it was loaded"}, 403
        )
    if kind not in KINDS:
        return JSONResponse({"error": f"no change {kind!r}; choose from {', '.join(KINDS)}"}, 404)
    try:
        wanted = Wanted.from_document(orjson.loads(await _body(request)))
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    except (orjson.JSONDecodeError, MisfitError) as error:
        why = f"write a JSON object with runs, and add, remove or text: {error}"
        raise QexpError(why) from None
    answer = await asyncio.to_thread(_change, site, kind, wanted)
    site.live.forget()
    return JSONResponse(answer)


def _change(site: Site, kind: str, wanted: Wanted) -> Values:
    done = []
    failed = {}
    for name in dict.fromkeys(wanted.runs):
        try:
            KINDS[kind](site.workspace, name, wanted)
            done.append(name)
        except QexpError as error:
            failed[name] = str(error)
    return {"done": done, "failed": failed}


def _tag(workspace: Workspace, name: str, wanted: Wanted) -> None:
    retag(run_at(workspace, name).path, wanted.add, wanted.remove)


def _stop(workspace: Workspace, name: str, wanted: Wanted) -> None:
    if not ask_to_stop(run_at(workspace, name)):
        raise QexpError(f"{name} is not running")


KINDS: Mapping[str, Callable[[Workspace, str, Wanted], object]] = {
    "tag": _tag,
    "note": lambda workspace, name, wanted: annotate(run_at(workspace, name).path, wanted.text),
    "stop": _stop,
    "remove": lambda workspace, name, wanted: trash.removed([run_at(workspace, name)], workspace),
    # by its name in the trash
    "restore": lambda workspace, name, wanted: trash.restore(name, workspace),
    # by its name, with its address
    "view": lambda workspace, name, wanted: save_view(workspace, name, wanted.text),
    "forget": lambda workspace, name, wanted: delete_view(workspace, name),
}


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise QexpError(f"a request may have {MOST_BYTES:,} bytes at most")
    return body


# Several runs side by side: selected ones, all of a launch, or all of a study.


# Functions that are not `async` are called in threads of their own.


def show_comparison(request: Request) -> Response:
    workspace = site_of(request).workspace
    query = request.query_params
    names = query.getlist("run")
    launch = query.get("launch")
    experience = query.get("experience")
    if launch:
        names = [*launchers.find_launch(launch, workspace).record().asked]
    elif experience:
        runs = [run for run in Catalog(workspace).runs() if run["experience"] == experience]
        runs.sort(key=lambda run: str(run["created"]))
        names = [run["name"] for run in runs[-MOST_RUNS:]]
    names = list(dict.fromkeys(names))
    if not names:
        raise QexpError("choose the runs to compare: select them in the table of runs")
    title = f"Launch {launch}" if launch else experience or some(names, most=4)
    values = compared(workspace, title, names, query.get("part"))
    address = request.url
    parts = ("validation", "test")
    others = {part: address.include_query_params(part=part).query for part in parts}
    return page(
        request,
        "comparison.html",
        section="runs",
        parts_to_compare=others,
        **values,
    )


def compared(
    workspace: Workspace, title: str, names: Sequence[str], part: str | None = None
) -> Values:
    """What the template `comparison.html` needs; runs that cannot be read are named and left out.

    part  of which results are compared, see `compared_part`

    Raises QexpError if there are too many, NotFoundError if none can be read.
    """
    if len(names) > MOST_RUNS:
        raise QexpError(
            f"{len(names):,} runs are too many for one page; choose at most {MOST_RUNS:,}"
        )
    reported: ReportedRuns = {}
    notices = []
    for name in names:
        try:
            reported[run_at(workspace, name)] = None
        except NotFoundError as error:
            notices.append(f"{error}, which is left out")
    runs, missing = readable(reported, part)
    if not runs:
        raise NotFoundError(
            f"{title}: none of these runs can be read: {some([*notices, *missing])}"
        )
    return comparison_page(title, runs, [*notices, *missing], in_a_file=False)


# Pages of launches: the runs that one command started.


MOST_LAUNCHES = 500
"""Launches that are listed, the newest."""

States = Mapping[str, str]
"""Run → its state."""


async def show_launches(request: Request) -> Response:
    states = await _states(request)
    launches, warnings = await asyncio.to_thread(_all, site_of(request).workspace, states)
    return page(request, "launches.html", section="launches", launches=launches, warnings=warnings)


async def show_launch(request: Request) -> Response:
    states = await _states(request)
    name = request.path_params["launch"]
    launch = await asyncio.to_thread(launchers.find_launch, name, site_of(request).workspace)
    return page(request, "launch.html", section="launches", **_described(launch, states))


async def _states(request: Request) -> States:
    return {run["name"]: run["state"] for run in (await site_of(request).live.now()).runs}


def _all(workspace: Workspace, states: States) -> tuple[list[Values], list[str]]:
    """The newest launches, and what is wrong with those that cannot be read."""
    launches_in_words = []
    damaged = []
    for launch in launchers.all_launches(workspace)[: -MOST_LAUNCHES - 1 : -1]:
        try:
            launches_in_words.append(_described(launch, states))
        except DamagedError as error:
            damaged.append(str(error))
    return launches_in_words, damaged


def _command(argv: Sequence[str]) -> str:
    """How a launch was started: by qexp, by a script, or in Python, where words are useless."""
    program = Path(argv[0]).name if argv else "qexp"
    if program in ("qexp", "__main__.py"):
        return shlex.join(["qexp", *argv[1:]])
    if program in ("", "-c", "ipykernel_launcher.py"):
        return "from Python"
    return shlex.join(["python", *argv])


def _described(launch: Launch, states: States) -> Values:
    record = launch.record()
    settings = record.settings.items()
    return {
        "id": launch.id,
        "created": time(record.created),
        "command": _command(record.argv),
        "launcher": record.launcher,
        "settings": {key: value for key, value in settings if value not in (None, {}, [])},
        "count": len(record.runs),
        "states": _counts(states.get(name, State.GONE.value) for name in record.runs),
        "found_done": len(record.asked) - len(record.runs),
        "pool": launch.pool_works(),
    }


def _counts(states: Iterable[str]) -> dict[str, int]:
    return {state.replace("_", " "): count for state, count in Counter(states).most_common()}


# The page of a run, or of a fold: its report, live.


PICTURE = ".png"


def _directory(request: Request) -> RunDirectory:
    names = request.path_params
    directory = run_at(site_of(request).workspace, names["run"])
    if "fold" not in names:
        return directory
    folds = {fold.name: fold for fold in directory.all_folds()}
    if names["fold"] not in folds:
        raise NotFoundError(f"{names['run']} has no fold {names['fold']!r}")
    return folds[names["fold"]]


async def show_run(request: Request) -> Response:
    listing = await site_of(request).live.now()
    return await asyncio.to_thread(_shown_run, request, listing.runs)


def _shown_run(request: Request, runs: Sequence[Mapping[str, Any]]) -> Response:
    directory = _directory(request)
    place = log_place(directory)  # before the log is read: a line may come twice, but none is lost
    logged, figures = figures_of(directory)
    values = run_page(directory, runs, pictures_elsewhere=bool(logged or figures))
    begun = len(values["curves"])
    record = directory.record()
    unfinished = State(values["state"].replace(" ", "_")).unfinished
    own = {
        "of": request.path_params["run"],
        "heading": values["name"],
        "descriptions": [directory.spec_as_written().get("description", "")],
        "date": "",
        "text": "",
        "fold": directory.is_fold,
        "folds": [fold.name for fold in directory.all_folds()],
        "address": request.scope["path"],
        "unfinished": unfinished,
        "place": place,
        "seen": values["log"] and f"{values['log']}\n",
        "measured": len(values["system"]),
        "logged": logged,
        "figures": figures,
        "unfolded": record.kind == "program",
        "has_network": record.kind != "program" and not directory.is_fold,
        "begun": begun,
        "panels": begun or 1 + len(record.units),  # which have their height at once
    }
    if unfinished:  # these grow elsewhere on the page
        values |= {"curves": [], "system": [], "log": ""}
    return page(request, "live_run.html", section="runs", **own, **values)


async def run_events(request: Request) -> Response:
    """What grows while the run is at work; a client that returns says where it has the log."""
    site = site_of(request)
    directory = await asyncio.to_thread(_directory, request)
    place = request.headers.get("last-event-id") or request.query_params.get("place", "")
    return stream(site, of_run(site.feed(directory), place))


async def run_report(request: Request) -> Response:
    """The page of a run as a file to keep or to send."""
    listing = await site_of(request).live.now()
    content = await asyncio.to_thread(lambda: page_of_run(_directory(request), listing.runs))
    return _as_file(content, request.path_params["run"])


def _as_file(content: str, name: str) -> Response:
    """A page to keep; it has a policy of its own for what is in it."""
    headers = {
        "content-disposition": f'attachment; filename="{safe(name)}.html"',
        "content-security-policy": "sandbox",
    }
    return Response(content, media_type="text/html", headers=headers)


def run_network(request: Request) -> Response:
    """The network of a run: the first such page loads torch, which pages of runs do without."""
    directory = _directory(request)
    return page(
        request,
        "network.html",
        section="runs",
        name=directory.name,
        network=network_parts(directory),
    )


def matrix_picture(request: Request) -> Response:
    folder = _directory(request).matrices
    file = f"{request.path_params['matrix']}/{Path(MATRIX).with_suffix(PICTURE)}"
    return FileResponse(require_inside(folder, file), media_type="image/png")


def run_figure(request: Request) -> Response:
    path = require_inside(_directory(request).results / "figures", request.path_params["path"])
    if path.suffix != PICTURE:
        raise NotFoundError("no such file")
    return FileResponse(path, media_type="image/png")


def run_matrix(request: Request) -> Response:
    """The numbers of a matrix, for a page of several runs."""
    directory = _directory(request)
    name = request.path_params["matrix"]
    if name not in directory.matrix_names():
        raise NotFoundError(f"{directory.name} has no matrix '{name}'")
    return Response(orjson.dumps(matrix_plane(directory, name)), media_type="application/json")


# Pages of studies: their figure and tables, as `qexp study` wrote them.


MEAN, BETWEEN = "mean ± standard deviation", "95 % interval"

OF_SEEDS = {"mean": MEAN, "standard_deviation": "", "interval_low": BETWEEN, "interval_high": ""}
"""Column of `table.csv` → what is shown of it in a column; empty: nothing."""

TEXTS = ("experience", "run", "start", "state", "minus", "output", "metric", "unit")
"""Columns whose values are shown as they are written."""


def show_studies(request: Request) -> Response:
    studies = [_study_in_words(folder) for folder in studies_in(site_of(request).workspace)]
    return page(request, "studies.html", section="studies", studies=studies)


def _study_in_words(folder: Path) -> Values:
    lines = _lines(folder, STUDY_TABLE)
    experiences = filter(None, (line.get("experience") for line in lines))
    return {
        "name": folder.name,
        "changed": _time_of_change(folder),
        "experiences": list(dict.fromkeys(experiences)),
        "states": _counts(line["state"] for line in lines if line.get("state")),
        "figure": (folder / FIGURE).is_file(),
    }


def show_study(request: Request) -> Response:
    workspace = site_of(request).workspace
    folder = study_at(workspace, request.path_params["study"])
    title = f"Study {folder.name}"
    runs = _lines(folder, STUDY_TABLE)
    names = [line.get("run", "") for line in runs if line.get("use") != TRIAL]
    search = search_in(folder)
    lines = _lines(folder, VALUES)
    best = {str(trial.trial) for trial in search.best} if search else set[str]()
    for line in lines:
        if line.get("trial") in best:
            line["state"] = "best"
    lines.sort(key=lambda line: line.get("trial") not in best)
    try:
        values = compared(workspace, title, list(dict.fromkeys(names)))
    except QexpError as error:
        nothing = {"count": 0, "cautions": [], "at_work": []}
        values = {"title": title, **nothing, "notices": [str(error)]}
    values |= {"runs": _table(runs), "values": _table(lines), "figure": (folder / FIGURE).is_file()}
    values |= {"changed": _time_of_change(folder), "searched": search.remarks() if search else []}
    return page(
        request,
        "study.html",
        section="studies",
        name=folder.name,
        **values,
    )


def study_figure(request: Request) -> Response:
    folder = study_at(site_of(request).workspace, request.path_params["study"])
    return FileResponse(require_inside(folder, FIGURE), media_type="image/png")


def _time_of_change(folder: Path) -> str:
    return f"{datetime.fromtimestamp((folder / STUDY_TABLE).stat().st_mtime):%Y-%m-%d %H:%M}"


def _lines(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table of the study; none if it was not written."""
    return lines_of(require_inside(folder, name)) if (folder / name).is_file() else []


def _table(lines: Sequence[Mapping[str, str]]) -> Table | None:
    """A study's table with rounded numbers, without columns that are empty."""
    filled = {title for line in lines for title, text in line.items() if text}
    columns = [title for title in (lines[0] if lines else ()) if title in filled]
    if not columns:
        return None
    if OF_SEEDS.keys() <= {*columns}:
        columns = [OF_SEEDS.get(title, title) for title in columns if OF_SEEDS.get(title, title)]
    cells = []
    for line in lines:
        cells.append([_cell(title, line) for title in columns])
    return Table("", columns, cells, frozenset({*columns} - {*TEXTS}))


def _cell(column: str, line: Mapping[str, str]) -> str:
    """A text or a rounded number; or a mean with its deviation or interval, as far as known."""
    if column not in (MEAN, BETWEEN):
        value = None if column in TEXTS else number_in(line[column])
        return line[column] if value is None else number(value)
    try:
        mean, deviation, low, high = (float(line[title] or "nan") for title in OF_SEEDS)
    except ValueError:
        return " ".join(line[title] for title in OF_SEEDS)
    if column == MEAN:
        return measured(mean, deviation if math.isfinite(deviation) else None)
    form = rounding_of_interval((low, high), mean, deviation)
    return NONE if form is None else form.interval(low, high)


# Pages of inversions.


def show_inversions(request: Request) -> Response:
    """All, one, or those that are chosen side by side; also as a file to keep."""
    workspace = site_of(request).workspace
    one = request.path_params.get("name")
    names = [one] if one else request.query_params.getlist("inversion")
    if not names:
        warnings: list[str] = []
        table = stored.table_of_records(stored.records_in(workspace.root, warnings.append))
        values: Values = {"table": table, "warnings": warnings}
        return page(request, "inversions.html", section="inversions", **values)
    shown = inversions_at(workspace.root, names)
    if "file" in request.query_params:
        return _as_file(report.page_of_view(shown.view(), workspace), " ".join(names))
    address = request.url.include_query_params(file="").query
    rivals = shown.records[0].get("comparison", ()) if one else ()
    links = {f"{name}/{rival['source']}": rival["source"] for name in names for rival in rivals}
    values = {"view": shown.view(), "links": links, "file": address}
    return page(request, "view.html", section="inversions", **values)


def inversions_at(root: Path, names: Sequence[str]) -> ShownInversions:
    """Those of these names, or candidates of one. Raises NotFoundError, also if links lead out."""
    outer = dict[str, Path]()
    for folder in stored.inversions_in(root):
        for path in (folder, *folder.iterdir()):
            outer[str(path.relative_to(root))] = folder
    for name in names:
        if name not in outer or not stored.is_inversion(root / name):
            raise NotFoundError(f"no inversion {name!r}")
        require_no_way_out(outer[name])
    return ShownInversions([stored.read_record(root / name, name) for name in names])


# The page of the workspace: use of the disk, what doctor finds, and the trash.


async def show_workspace(request: Request) -> Response:
    workspace = site_of(request).workspace
    counts = _counts((await _states(request)).values())
    entries = await asyncio.to_thread(trash.entries, workspace)
    values: Values = {"root": workspace.root, "removed": entries[::-1], "counts": counts}
    return page(request, "workspace.html", section="workspace", **values)


async def show_disk(request: Request) -> Response:
    return JSONResponse(await site_of(request).disk.now())


async def show_findings(request: Request) -> Response:
    return JSONResponse(await site_of(request).findings.now())

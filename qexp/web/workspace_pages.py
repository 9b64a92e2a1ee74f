"""Pages of a workspace: work and best results, runs, launches, studies, comparisons."""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from shutil import disk_usage
from statistics import fmean
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from qexp.base.files import in_bytes
from qexp.base.quantities import in_words, number_with_unit
from qexp.base.text import Table, measure, number_in
from qexp.base.workspace import Workspace
from qexp.comparison.seeds import STUDY_FILES, TRIAL, lines_of
from qexp.errors import DamagedError, NotFoundError, QexpError, some
from qexp.jobs import launchers
from qexp.jobs.launchers import Launch
from qexp.jobs.states import ask_to_stop
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.intervals import estimate
from qexp.metrics.meaning import (
    NONE,
    main_metric,
    measured,
    number,
    printed,
    rounding_of_interval,
    with_interval,
)
from qexp.runs.catalog import Catalog
from qexp.runs.columns import time
from qexp.store.directory import MATRIX, RunDirectory, annotate, retag
from qexp.store.documents import MisfitError, Part
from qexp.store.record import NAME, State, meaning_of
from qexp.tuning.results import search_in
from qexp.upkeep import trash
from qexp.web import live as of_runs
from qexp.web.access import require_inside, require_no_way_out
from qexp.web.comparison_page import comparison_page
from qexp.web.drawings import figures_of, matrix_plane
from qexp.web.html import environment
from qexp.web.live import Question, Site, log_place, of_all_runs, of_run, site_of, stream
from qexp.web.report import MOST_RUNS, SCRIPTS, STYLES, ReportedRuns, page_of_run, readable, static
from qexp.web.run_page import epochs_done, progress_in_words, run_page
from qexp.web.views import delete_view, save_view, saved_views

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request

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


def launch_at(workspace: Workspace, name: str) -> Launch:
    launches = {launch.id: launch for launch in launchers.all_launches(workspace)}
    if name not in launches:
        raise NotFoundError(f"no launch {name!r}")
    return launches[name]


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
    "workspace": "Workspace",
}
"""Path → words for it in the head of every page."""


@cache
def bundle(name: str) -> tuple[bytes, str]:
    """What all pages load, `page.js` or `page.css`, and its digest."""
    shared, of_server = (SCRIPTS, OWN_SCRIPTS) if name == "page.js" else (STYLES, OWN_STYLES)
    content = f"{static(shared)}\n{static(of_server, 'server')}".encode()
    return content, hashlib.sha256(content).hexdigest()[:16]


def rendered(template: str, prefix: str, nonce: str, **context: Any) -> str:
    """A template with what the head of every page needs."""
    script, style = (f"{name}?{bundle(name)[1]}" for name in ("page.js", "page.css"))
    values = {"workspace": "", "secret": None, "section": None, "sections": SECTIONS, **context}
    page = environment("server").get_template(template)
    return page.render(values, prefix=prefix, nonce=nonce, script=script, style=style)


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    site = request.app.state.site
    values = {"workspace": site.workspace.root.name, "secret": site.secret, **context}
    return HTMLResponse(
        rendered(template, request.scope[PREFIX], request.scope[NONCE], **values), status
    )


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
    workspace, curves = site_of(request).workspace, {}
    for name in request.query_params.getlist("run")[:MOST_CURVES]:
        with suppress(NotFoundError):
            curves[name] = small_curve(run_at(workspace, name))
    return JSONResponse(curves)


async def rows_of_runs(request: Request) -> Response:
    """Rows of the table, as JSON; nothing if the client has those of this version."""
    site, query = site_of(request), request.query_params
    listing = await site.live.now()
    tag = f'"{listing.version}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    texts = {name: text for name in TEXTS_OF_QUESTION if (text := query.get(name))}
    columns = _fields(query, "columns")
    group = _fields(query, "group")
    descending = query.get("descending", "1") != "0"
    question = Question(**texts, descending=descending, columns=columns, group=group)
    answer = await asyncio.to_thread(site.table.answer, listing, question)
    content = orjson.dumps(
        answer.document(listing.version, _number(query, "first", 0), _number(query, "count", ROWS))
    )
    return Response(
        content, media_type="application/json", headers={"etag": tag, "cache-control": "no-cache"}
    )


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
    site, kind = site_of(request), request.path_params["kind"]
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
        raise QexpError(
            f"write a JSON object with runs, and add, remove or text: {error}"
        ) from None
    answer = await asyncio.to_thread(_change, site, kind, wanted)
    site.live.forget()
    return JSONResponse(answer)


def _change(site: Site, kind: str, wanted: Wanted) -> dict[str, Any]:
    done, failed = [], {}
    for name in dict.fromkeys(wanted.runs):
        try:
            KINDS[kind](site.workspace, name, wanted)
            done.append(name)
        except QexpError as error:
            failed[name] = str(error)
    return {"done": done, "failed": failed}


def _stop(workspace: Workspace, name: str, wanted: Wanted) -> None:
    if not ask_to_stop(run_at(workspace, name)):
        raise QexpError(f"{name} is not running")


KINDS: Mapping[str, Callable[[Workspace, str, Wanted], object]] = {
    "tag": lambda workspace, name, wanted: retag(
        run_at(workspace, name).path, wanted.add, wanted.remove
    ),
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
    workspace, query = site_of(request).workspace, request.query_params
    names, launch, experience = query.getlist("run"), query.get("launch"), query.get("experience")
    if launch:
        names = [*launch_at(workspace, launch).record().asked]
    elif experience:
        of_experience = [
            run for run in Catalog(workspace).runs() if run["experience"] == experience
        ]
        names = [
            run["name"]
            for run in sorted(of_experience, key=lambda run: str(run["created"]))[-MOST_RUNS:]
        ]
    names = list(dict.fromkeys(names))
    if not names:
        raise QexpError("choose the runs to compare: select them in the table of runs")
    title = f"Launch {launch}" if launch else experience or some(names, most=4)
    values = compared(workspace, title, names, query.get("part"))
    others = {
        part: request.url.include_query_params(part=part).query for part in ("validation", "test")
    }
    return page(request, "comparison.html", section="runs", parts_to_compare=others, **values)


def compared(
    workspace: Workspace, title: str, names: Sequence[str], part: str | None = None
) -> dict[str, Any]:
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
    launches, damaged = await asyncio.to_thread(_all, site_of(request).workspace, states)
    return page(request, "launches.html", section="launches", launches=launches, warnings=damaged)


async def show_launch(request: Request) -> Response:
    states = await _states(request)
    launch = await asyncio.to_thread(
        launch_at, site_of(request).workspace, request.path_params["launch"]
    )
    return page(
        request, "launch.html", section="launches", launch=launch.id, **_described(launch, states)
    )


async def _states(request: Request) -> States:
    return {run["name"]: run["state"] for run in (await site_of(request).live.now()).runs}


def _all(workspace: Workspace, states: States) -> tuple[list[dict[str, Any]], list[str]]:
    """The newest launches, and what is wrong with those that cannot be read."""
    launches_in_words, damaged = [], []
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
    return (
        "from Python"
        if program in ("", "-c", "ipykernel_launcher.py")
        else shlex.join(["python", *argv])
    )


def _described(launch: Launch, states: States) -> dict[str, Any]:
    record = launch.record()
    return {
        "id": launch.id,
        "created": time(record.created),
        "command": _command(record.argv),
        "launcher": record.launcher,
        "settings": {
            key: value for key, value in record.settings.items() if value not in (None, {}, [])
        },
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
    unfinished = State(values["state"].replace(" ", "_")).unfinished
    begun, measured_ = len(values["curves"]), len(values["system"])
    # which grow elsewhere on the page
    growing = {"curves": [], "system": [], "log": ""} if unfinished else {}
    descriptions = [directory.spec_as_written().get("description", "")]
    seen = values["log"] and f"{values['log']}\n"
    folds = {"fold": directory.is_fold, "folds": [fold.name for fold in directory.all_folds()]}
    head = {"heading": values["name"], "descriptions": descriptions, "date": "", "text": ""}
    live = {
        "address": request.scope["path"],
        "unfinished": unfinished,
        "place": place,
        "seen": seen,
    }
    live |= {
        "measured": measured_,
        "logged": logged,
        "unfolded": directory.record().kind == "program",
    }
    # which have their height at once
    live |= {"begun": begun, "panels": begun or 1 + len(directory.record().units)}
    own = {"of": request.path_params["run"], "figures": figures, **folds, **live, **head}
    return page(request, "live_run.html", section="runs", **own, **values | growing)


async def run_events(request: Request) -> Response:
    """What grows while the run is at work; a client that returns says where it has the log."""
    site, directory = site_of(request), await asyncio.to_thread(_directory, request)
    place = request.headers.get("last-event-id") or request.query_params.get("place", "")
    return stream(site, of_run(site.feed(directory), place))


async def run_report(request: Request) -> Response:
    """The same as a file to keep or to send."""
    listing = await site_of(request).live.now()
    content = await asyncio.to_thread(lambda: page_of_run(_directory(request), listing.runs))
    name = f"{request.path_params['run']}.html"
    # It has a policy of its own for what is in it.
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-security-policy": "sandbox",
    }
    return Response(content, media_type="text/html", headers=headers)


def matrix_picture(request: Request) -> Response:
    folder = _directory(request).matrices
    path = require_inside(
        folder, f"{request.path_params['matrix']}/{Path(MATRIX).with_suffix(PICTURE)}"
    )
    return FileResponse(path, media_type="image/png")


def run_figure(request: Request) -> Response:
    path = require_inside(_directory(request).results / "figures", request.path_params["path"])
    if path.suffix != PICTURE:
        raise NotFoundError("no such file")
    return FileResponse(path, media_type="image/png")


def run_matrix(request: Request) -> Response:
    """The numbers of a matrix, for a page of several runs."""
    directory, name = _directory(request), request.path_params["matrix"]
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
    folders = studies_in(site_of(request).workspace)
    return page(
        request,
        "studies.html",
        section="studies",
        studies=[_study_in_words(folder) for folder in folders],
    )


def _study_in_words(folder: Path) -> dict[str, Any]:
    lines = _lines(folder, STUDY_TABLE)
    return {
        "name": folder.name,
        "changed": _time_of_change(folder),
        "experiences": list(
            dict.fromkeys(line["experience"] for line in lines if line.get("experience"))
        ),
        "states": _counts(line["state"] for line in lines if line.get("state")),
        "figure": (folder / FIGURE).is_file(),
    }


def show_study(request: Request) -> Response:
    workspace = site_of(request).workspace
    folder = study_at(workspace, request.path_params["study"])
    title, runs = f"Study {folder.name}", _lines(folder, STUDY_TABLE)
    names = [line.get("run") or "" for line in runs if line.get("use") != TRIAL]
    search, lines = search_in(folder), _lines(folder, VALUES)
    best = {str(trial.trial) for trial in search.best} if search else set[str]()
    lines = [line | {"state": "best"} if line.get("trial") in best else line for line in lines]
    lines.sort(key=lambda line: line.get("trial") not in best)
    try:
        values = compared(workspace, title, list(dict.fromkeys(names)))
    except QexpError as error:
        values = {
            "title": title,
            "count": 0,
            "cautions": [],
            "at_work": [],
            "notices": [str(error)],
        }
    values |= {"runs": _table(runs), "values": _table(lines), "figure": (folder / FIGURE).is_file()}
    values |= {"changed": _time_of_change(folder), "searched": search.remarks() if search else []}
    return page(request, "study.html", section="studies", name=folder.name, **values)


def study_figure(request: Request) -> Response:
    folder = study_at(site_of(request).workspace, request.path_params["study"])
    return FileResponse(require_inside(folder, FIGURE), media_type="image/png")


def _time_of_change(folder: Path) -> str:
    return f"{datetime.fromtimestamp((folder / STUDY_TABLE).stat().st_mtime):%Y-%m-%d %H:%M}"


def _lines(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table of the study; none if it was not written."""
    if not (folder / name).is_file():
        return []
    lines = lines_of(require_inside(folder, name))
    return [
        {title: text or "" for title, text in line.items() if isinstance(title, str)}
        for line in lines
    ]


def _table(lines: Sequence[Mapping[str, str]]) -> Table | None:
    """The same with rounded numbers, without columns that are empty."""
    columns = [title for title in (lines[0] if lines else ()) if any(line[title] for line in lines)]
    if not columns:
        return None
    if OF_SEEDS.keys() <= {*columns}:
        columns = [OF_SEEDS.get(title, title) for title in columns if OF_SEEDS.get(title, title)]
    cells = [
        [_over_seeds(title, line) or _rounded(title, line[title]) for title in columns]
        for line in lines
    ]
    return Table("", columns, cells, frozenset({*columns} - {*TEXTS}))


def _over_seeds(column: str, line: Mapping[str, str]) -> str:
    """A mean with its deviation or interval, in significant digits; empty for other columns."""
    if column not in (MEAN, BETWEEN):
        return ""
    try:
        mean, deviation, low, high = (float(line[title] or "nan") for title in OF_SEEDS)
    except ValueError:
        return " ".join(line[title] for title in OF_SEEDS)
    if column == MEAN:
        return measured(mean, deviation if math.isfinite(deviation) else None)
    form = rounding_of_interval((low, high), mean, deviation)
    return NONE if form is None else form.interval(low, high)


def _rounded(column: str, text: str) -> Any:
    value = None if column in TEXTS else number_in(text)
    return text if value is None else number(value)


# The page of the workspace: use of the disk, what doctor finds, and the trash.


async def show_workspace(request: Request) -> Response:
    site, states = site_of(request), await _states(request)
    entries = await asyncio.to_thread(trash.entries, site.workspace)
    removed = [
        {"name": entry.name, "entry": entry.path.name, "since": f"{entry.since:%Y-%m-%d %H:%M}"}
        for entry in entries
    ]
    root, counts = str(site.workspace.root), _counts(states.values())
    return page(
        request,
        "workspace.html",
        section="workspace",
        root=root,
        removed=removed[::-1],
        counts=counts,
    )


async def show_disk(request: Request) -> Response:
    return JSONResponse(await site_of(request).disk.now())


async def show_findings(request: Request) -> Response:
    return JSONResponse(await site_of(request).findings.now())


# The start page: which runs are at work and for how long, what is best, the last pictures, and what
# failed.

Run = Mapping[str, Any]

MOST_AT_WORK, MOST_EXPERIENCES, MOST_FAILED, MOST_PICTURES = 12, 12, 6, 6

RUNS_LOOKED_AT = 40
"""Newest runs in which pictures are looked for."""

POINTS_OF_CURVE = 24
"""Of the small curve of a loss."""

MOST_BYTES_OF_EPOCHS = 2_000_000
"""Of a file of epochs that is read for a small curve."""


def start_page(workspace: Workspace, runs: Sequence[Run]) -> dict[str, Any]:
    """What the template `start.html` needs."""
    newest = sorted(runs, key=lambda run: run["ended"] or run["created"] or "", reverse=True)
    unfinished = [run for run in newest if State(run["state"]).unfinished]
    at_work = sorted(unfinished, key=lambda run: run["state"] != State.RUNNING)
    failed = [
        run
        for run in newest
        if run["error"] or run["state"] in ("failed", "lost", "timeout", "damaged")
    ]
    experiences = sorted(path.stem for path in workspace.specs.glob("experiences/*.json"))
    return {
        "count": len(runs),
        "free": in_bytes(disk_usage(workspace.root).free),
        **_views(workspace),
        "at_work": [_at_work(run) for run in at_work[:MOST_AT_WORK]],
        "more_at_work": max(len(at_work) - MOST_AT_WORK, 0),
        "best": list(_best(newest)),
        "pictures": _pictures(newest[:RUNS_LOOKED_AT]),
        "failed": [_failed(run) for run in failed[:MOST_FAILED]],
        "more_failed": max(len(failed) - MOST_FAILED, 0),
        "example": (
            "mogi_quick" if "mogi_quick" in experiences else next(iter(experiences), "EXPERIENCE")
        ),
    }


def _views(workspace: Workspace) -> dict[str, Any]:
    try:
        return {"views": saved_views(workspace), "views_problem": ""}
    except DamagedError as error:
        return {"views": {}, "views_problem": str(error)}


def _at_work(run: Run) -> dict[str, Any]:
    directory, of = RunDirectory(Path(run["path"])), int((run["epochs"] or {}).get("of") or 0)
    done, words = int((run["epochs"] or {}).get("done") or 0), ""
    with suppress(DamagedError, NotFoundError):
        record = directory.record()
        done = epochs_done(directory, record)
        words = progress_in_words(directory, record, done)
    return {
        "name": run["name"],
        "state": run["state"],
        "done": min(done, of),
        "of": of,
        "words": words,
        "curve": small_curve(directory),
    }


def _best(newest: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Of each experience the group of runs, alike but for their seeds, whose mean of the first
    output is best on the validation part, with its test errors; the newest group where no run has
    validation errors to choose by.
    """
    by_experience: dict[str, dict[str, list[Run]]] = {}
    for run in newest:
        if run["state"] == "done" and run["results"].get("test"):
            by_experience.setdefault(run["experience"], {}).setdefault(run["digest"], []).append(
                run
            )
    for experience, groups in list(by_experience.items())[:MOST_EXPERIENCES]:
        group, validated = next(iter(groups.values())), ""
        output, metrics = next(iter(group[0]["results"]["test"].items()))
        metric = main_metric(metrics) or ""
        meaning = meaning_of(metric, [])
        means = {
            digest: _values(of_group, "validation", output, metric)
            for digest, of_group in groups.items()
        }
        ranked = [(meaning.badness(fmean(of)), digest) for digest, of in means.items() if of]
        if comparable := [(badness, digest) for badness, digest in ranked if badness is not None]:
            group = groups[min(comparable)[1]]
            validated = "{words}, {value}".format(**_mean(group, "validation", output))
        yield {
            "experience": experience,
            "set": ", ".join(group[0]["overrides"]),
            "groups": len(groups),
            "by": validated,
            "run": group[0]["name"],
            "seeds": len(group),
            "results": [
                _mean(group, "test", name) for name in list(group[0]["results"]["test"])[:3]
            ],
        }


def _values(group: Sequence[Run], part: str, output: str, metric: str) -> list[float]:
    values = [run["results"].get(part, {}).get(output, {}).get(metric) for run in group]
    return [value for value in values if isinstance(value, int | float)]


def _mean(group: Sequence[Run], part: str, output: str) -> dict[str, str]:
    """The mean of an output's main metric on a part, with its interval over several seeds."""
    metric = main_metric(group[0]["results"].get(part, {}).get(output, {})) or ""
    meaning, values = meaning_of(metric, []), _values(group, part, output, metric)
    words = f"{part} {measure(in_words(output), metric_in_words(metric))}"
    name = f"{part}.{output}.{metric}"
    if not values:
        return {"words": words, "name": name, "value": "–", "notes": ""}
    of_seeds = estimate(values, meaning.limits(values))
    unit = meaning.in_unit(group[0]["units"].get(output, ""))
    text, interval = with_interval(
        of_seeds.mean, of_seeds.interval, meaning, f"{len(values)} seeds"
    )
    notes = (
        f"95 % {printed(interval)}"
        if interval.startswith("[")
        else printed(interval.replace(NONE, ""))
    )
    return {
        "words": words,
        "name": name,
        "value": number_with_unit(printed(text), unit),
        "notes": notes,
    }


def _pictures(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The matrix of each of the last runs, or else a figure: name of the run, and the path below
    its page. One stands for all of its kind of an experience; if only one is left of all, another
    follows.
    """
    of_kinds: dict[tuple[str, str], dict[str, str]] = {}
    alike = list[dict[str, str]]()
    for run in runs:
        directory = RunDirectory(Path(run["path"]))
        matrices = [
            directory.matrices / name / Path(MATRIX).with_suffix(".png")
            for name in directory.matrix_names()
        ]
        paths = [f"pictures/{path.parent.name}" for path in matrices if path.is_file()]
        logged, others = figures_of(directory)
        figures = [*others, *(of_name[-1] for of_name in logged.values())]
        paths += [
            f"figures/{one.file}"
            for one in sorted(figures, key=lambda one: not one.file.startswith("test_"))
        ]
        for path in paths:
            words = path.partition("/")[2].removesuffix(".png").replace("_", " ")
            picture = {"run": run["name"], "path": path, "words": words}
            kind = run["experience"], words.rstrip(" 0123456789")  # without its step
            if path == paths[0] and kind not in of_kinds:
                of_kinds[kind] = picture
            else:
                alike.append(picture)
    pictures = [*of_kinds.values(), *alike[: max(2 - len(of_kinds), 0)]]
    return sorted(pictures, key=lambda one: not one["path"].startswith("pictures"))[:MOST_PICTURES]


def _failed(run: Run) -> dict[str, str]:
    error = (run["error"] or "").strip().splitlines()
    return {
        "name": run["name"],
        "state": run["state"],
        "when": time(run["ended"]),
        "error": (error or [""])[-1][:300],
    }


# The loss of a run as a small curve beside its name.


def small_curve(run: RunDirectory) -> list[float]:
    """The validation loss, or that of training, at a few epochs; empty without any."""
    with suppress(DamagedError, NotFoundError, OSError):
        if run.metrics_file.stat().st_size <= MOST_BYTES_OF_EPOCHS:
            lines = run.metrics()
            of_parts = (
                [line.get(part, {}).get("loss") for line in lines]
                for part in ("validation", "train")
            )
            known = next(
                filter(
                    None, ([loss for loss in losses if loss is not None] for losses in of_parts)
                ),
                [],
            )
            step = max(-(-len(known) // POINTS_OF_CURVE), 1)
            return [float(f"{loss:.4g}") for loss in [*known[:-1:step], *known[-1:]]]
    return []

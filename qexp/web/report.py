"""Reports: one HTML file about a run, or several, to be read without qexp and a network."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from qexp.base import files
from qexp.base.files import real_path
from qexp.base.workspace import Workspace
from qexp.comparison.groups import ComparedRun, of_one_part, runs_of_study
from qexp.errors import QexpError, some
from qexp.jobs.states import Watch
from qexp.runs.catalog import Catalog, is_pattern, named_runs
from qexp.runs.options import ReportFile
from qexp.store.directory import RunDirectory, target_outside_of_runs
from qexp.tuning.results import Tuned
from qexp.web.comparison_page import comparison_page
from qexp.web.html import Values, View, environment, fields_of
from qexp.web.run_page import network_parts, run_page

SCRIPTS = (
    "uplot/uPlot.iife.min.js", "colours.js", "frame.js", "groups.js", "matrix.js", "matrices.js",
    "curves.js", "points.js", "forest.js", "differences.js", "ranges.js", "parallel.js", "sweep.js",
    "tables.js", "downloads.js", "pictures.js", "contents.js",
)  # fmt: skip
STYLES = ("uplot/uPlot.min.css", "page.css")


def document(template: str, context: Mapping[str, Any]) -> str:
    """A page of a template: all text is escaped; only its own scripts and styles may run."""
    scripts = static(SCRIPTS)
    styles = static(STYLES)
    sources = f"script-src {_hash(scripts)}; style-src {_hash(styles)}"
    policy = f"default-src 'none'; {sources}; img-src data:; base-uri 'none'; form-action 'none'"
    page = environment().get_template(template)
    return page.render(
        **context,
        policy=policy,
        scripts=Markup(scripts),
        styles=Markup(styles),
    )


@cache
def static(names: tuple[str, ...], folder: str = "") -> str:
    """Scripts or styles of a folder, one after another."""
    path = resources("qexp.web").joinpath("static", folder)
    return "\n".join(path.joinpath(name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """The source of a script or style, for a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Pages as PDF, printed by a Chromium of this machine.


PROGRAMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "microsoft-edge",
)  # fmt: skip

SECONDS_TO_PRINT = 120


def browser() -> str:
    """The program that prints. Raises QexpError if there is none."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise QexpError(
            "a PDF is printed by Chromium, which is not on the PATH; install it (on Debian and"
            " Ubuntu: apt install chromium), or write HTML and print that in a browser"
        )
    return found


def print_page(program: str, page: str, target: Path) -> None:
    """Print a page to a file. Raises QexpError if that fails; nothing is left half-written."""
    with tempfile.TemporaryDirectory(prefix="qexp-print-") as folder:
        source = Path(folder) / "page.html"
        printed = Path(folder) / "page.pdf"
        source.write_text(page, encoding="utf-8")
        # Chromium's own sandbox needs another user than root.
        modes = ["--no-sandbox"] if os.geteuid() == 0 else []
        modes += ["--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
        modes += [f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}"]
        command = [program, *modes, source.as_uri()]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS_TO_PRINT,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise QexpError(f"{program} did not print the page: {error}") from None
        if not printed.is_file():
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise QexpError(f"{program} did not print the page: {said}")
        files.write_bytes(target, printed.read_bytes())


# The runs of a report: those that are named, those of a launch, those of a study.


MOST_RUNS = 1000

ReportedRuns = dict[RunDirectory, str | None]
"""Run → the pattern that matched it; None if it was named otherwise."""


def runs_of_report(references: Sequence[str], catalog: Catalog) -> ReportedRuns:
    """The runs that references name; all runs of the workspace without any.

    references  names, unique prefixes, paths, patterns, and folders of studies
    Raises NotFoundError, or QexpError for more runs than a report can show, and for the folder of a
    study whose table names no runs.
    """
    runs: dict[Path, tuple[RunDirectory, str | None]] = {}
    for reference in references or ["*"]:
        of_study = runs_of_study(reference, catalog)
        pattern = reference if of_study is None and is_pattern(reference) else None
        for directory in named_runs([reference], catalog) if of_study is None else of_study:
            runs.setdefault(real_path(directory.path), (directory, pattern))
    if len(runs) > MOST_RUNS:
        raise QexpError(
            f"{len(runs):,} runs are too many for one report; name at most {MOST_RUNS:,}"
        )
    return dict(runs.values())


def readable(
    reported: ReportedRuns, part: str | None = None
) -> tuple[list[ComparedRun], list[str]]:
    """The runs with their present states, and a line for each that was removed or is damaged."""
    states = Watch().states(list(reported))
    runs = []
    missing = []
    for directory, pattern in reported.items():
        state = states[directory]
        if state.readable:
            summary = {**directory.record().document(), "state": state}
            runs.append(ComparedRun(directory, summary, pattern))
        else:
            missing.append(f"{directory.name} is {state.words}, and is left out")
    return of_one_part(runs, part), missing


FORMATS = (".html", ".htm", ".pdf")
"""Endings of the file of a report."""

OURS, BYTES_OF_BEGINNING = b'<meta name="generator" content="qexp">', 400
"""What each HTML report has in its first 400 bytes."""


def text_of(given: str | Path) -> str:
    """A file's text, or the text itself. Raises QexpError for what looks like a missing file."""
    try:
        if Path(given).is_file():
            return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # a long text names no file, and a picture is no text
        if isinstance(error, UnicodeDecodeError):
            raise QexpError(f"{given} is not UTF-8 text") from None
    if isinstance(given, Path) or re.fullmatch(r"\S+\.(md|txt|markdown)", given):
        raise QexpError(f"there is no file {given}; `text` is a file, or the text itself")
    return given


def _headed(
    options: ReportFile, searches: Sequence[Tuned], title: str, descriptions: Iterable[str]
) -> Values:
    """What the templates show at the top.

    searches  those by which the values of the runs were chosen
    """
    return {
        "heading": options.title or title,
        "descriptions": list(dict.fromkeys(filter(None, descriptions))),
        "date": f"{datetime.now():%Y-%m-%d}",
        "text": text_of(options.text),
        "searches": list(map(_search, searches)),
    }


def _search(search: Tuned) -> View:
    from qexp.web.notebook import ShownTuned  # loads much

    return ShownTuned(**fields_of(search)).view()


def _shareable(page: str, full: bool, workspace: Workspace) -> str:
    """A page without the folders of this machine, unless all is to be shown."""
    if full:
        return page
    root = workspace.root
    home = Path.home()
    for folder, words in ((real_path(root), "."), (root, "."), (home, "~")):
        page = page.replace(str(folder), words) if len(folder.parts) > 1 else page
    return page


def report(
    directory: RunDirectory, target: Path, options: ReportFile, searches: Sequence[Tuned] = ()
) -> Path:
    """Write the report of a run.

    searches  those by which its values were chosen
    Raises QexpError if the file cannot be written, must not be replaced, or its folder does not
    exist.
    """
    _require_writable(target, options.overwrite)
    workspace = Workspace(directory.path.parent.parent)
    # A run elsewhere, such as a fold, has no others beside it.
    in_workspace = directory.path.parent == workspace.runs and workspace.specs.is_dir()
    others = Catalog(workspace).runs() if in_workspace else []
    return _written(page_of_run(directory, others, options, searches), target)


def page_of_run(
    directory: RunDirectory,
    others: Sequence[Mapping[str, Any]],
    options: ReportFile = ReportFile(),
    searches: Sequence[Tuned] = (),
) -> str:
    """The report of a run; `others` as in `run_page`, `searches` as in `report`."""
    values = run_page(directory, others, private=options.full)
    values["network"] = network_parts(directory)
    description = directory.spec_as_written().get("description", "")
    headed = _headed(options, searches, directory.record().name, [description])
    workspace = Workspace(directory.whole.path.parent.parent)
    return _shareable(document("run.html", values | headed), options.full, workspace)


def report_of_several(
    title: str, reported: ReportedRuns, target: Path, options: ReportFile, searches: Sequence[Tuned]
) -> Path:
    """Write the report of several runs, which compares them. Raises QexpError, as `report` does."""
    _require_writable(target, options.overwrite)
    runs, missing = readable(reported)
    if not runs:
        raise QexpError(f"{title}: none of its runs can be read: {some(missing)}")
    experiences = {run.summary["experience"]: run.directory for run in runs}
    specs = [directory.spec_as_written() for directory in experiences.values()]
    texts = [spec.get("description", "") for spec in specs]
    words = some(list(experiences), most=4)
    headed = _headed(options, searches, words, texts)
    page = document("comparison.html", comparison_page(words, runs, missing) | headed)
    workspace = Workspace(runs[0].directory.path.parent.parent)
    return _written(_shareable(page, options.full, workspace), target)


def report_of_view(view: View, target: Path, options: ReportFile) -> Path:
    """Write the report of what shows itself by a view. Raises QexpError, as `report` does."""
    _require_writable(target, options.overwrite)
    return _written(page_of_view(view, Workspace(Path.cwd()), options), target)


def page_of_view(view: View, workspace: Workspace, options: ReportFile = ReportFile()) -> str:
    page = document("view.html", {"view": view, **_headed(options, [], view.title, [])})
    return _shareable(page, options.full, workspace)


def _require_writable(target: Path, overwrite: bool) -> None:
    """Raise QexpError if a report cannot be written there, before it is made."""
    target_outside_of_runs(target)
    if target.suffix.lower() not in FORMATS:
        raise QexpError(
            f"{target}: a report is HTML or PDF; let its name end in {', '.join(FORMATS[:-1])} or"
            " .pdf"
        )
    if not target.parent.is_dir():
        raise QexpError(f"there is no folder {target.parent} for {target.name}")
    if os.path.lexists(target) and not (overwrite or _is_report(target)):
        raise QexpError(
            f"{target} exists already and is not an HTML report of qexp; `overwrite=True`"
            " replaces it"
        )
    if target.suffix.lower() == ".pdf":
        browser()


def _written(page: str, target: Path) -> Path:
    """Write a page as HTML, or as PDF to a file that is named so."""
    if target.suffix.lower() == ".pdf":
        print_page(browser(), page, target)
    else:
        files.write_bytes(target, page.encode())
    return target


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return OURS in file.read(BYTES_OF_BEGINNING)
    except OSError:
        return False

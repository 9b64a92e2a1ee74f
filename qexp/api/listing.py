"""Looking at runs: listings, columns, groups, lineage, comparisons, reports, pages in a browser."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any

from qexp.api.deformation import open_inversions
from qexp.api.handles import Run, Runs, references_of
from qexp.base import files, workspace as workspaces
from qexp.base.files import in_bytes
from qexp.base.options import Report, as_warning, checks_keywords, ignore, takes
from qexp.errors import NotFoundError, QexpError, extra, shortened, some
from qexp.jobs import launchers
from qexp.jobs.queue import queue_of, states_in
from qexp.runs.catalog import Catalog
from qexp.runs.columns import (
    Columns,
    choose,
    groups as groups_of,
    newest as newest,
    ordered as ordered_by,
    unknown_tags,
    usual_columns,
)
from qexp.runs.options import ComparisonOptions, ListOptions, MoreRuns, ReportOptions, ServeOptions
from qexp.store import provenance
from qexp.store.record import State
from qexp.web.html import Titled, View
from qexp.web.listing import Listing as Listing

if TYPE_CHECKING:
    from qexp.store.provenance import TreeRun
    from qexp.web.comparison_page import ShownComparison, ShownSeedComparison
    from qexp.web.inversions import ShownInversions
    from qexp.web.maps import ShownMaps

Summary = dict[str, Any]
"""A run as listings have it: the keys of `qexp ls --json`."""


class ListedRuns(Titled, list[Run]):
    """A list of `Run` objects that shows itself as a table."""

    def __repr__(self) -> str:
        return f"<{len(self):,} runs: {some([run.name for run in self])}>" if self else "<no runs>"

    def view(self) -> View:
        """What a notebook or a terminal shows of it: the first rows."""
        homes = dict.fromkeys(run.path.parent.parent for run in self)
        known = {
            run["path"]: run for home in homes for run in every_run(warn=ignore, workspace=home)
        }
        return Listing(
            [known[str(run.path)] for run in self if str(run.path) in known], "runs", usual_columns
        ).view()


@takes(
    ListOptions,
    elsewhere={
        "group": "qexp.api.groups makes groups of them",
        "columns": "qexp.api.rows reads any",
        "limit": "qexp.api.newest chooses the last",
    },
)
def runs(options: ListOptions) -> Listing:
    """Summaries of runs, ordered by name (run_9 before run_10): all, or those for which an
    expression holds, such as "seed < 5".

    returns  a list of dictionaries with the keys of `qexp ls --json`, which notebooks show as a
             table; `to_pandas()` makes a data frame of it, and `compare` and others take it as runs

    >>> "mogi_quick_0" in [run["name"] for run in qexp.runs("seed < 5", sort="created")]
    True
    """
    summaries = every_run(options.remote, warn=options.warn, workspace=options.workspace)
    return Listing(listed(summaries, **vars(options)), "runs", usual_columns)


@takes(ListOptions)
def listed(summaries: Iterable[Summary], options: ListOptions) -> list[Summary]:
    """The summaries that fulfil all conditions, in order; see `runs`.

    >>> "mogi_quick_0" in [run["name"] for run in qexp.api.listed(qexp.runs(), "seed < 5")]
    True
    """
    values = columns(list(summaries))
    names = None
    if options.launch is not None:
        names = set(launchers.find_launch(options.launch, options.home).record().asked)
    runs = choose(values, options, names)
    for text in values.warnings:
        options.warn(text)
    if options.queue:
        queue = queue_of(options.home)
        by_name = {run["name"]: run for run in runs}
        here = [run.name for run in states_in(queue)] if queue else []
        runs = [by_name[name] for name in here if name in by_name]
    return ordered(runs, options.sort, options.reverse, warn=options.warn)


@dataclass(frozen=True, repr=False)
class Status(Titled):
    """A workspace at a glance."""

    counts: Mapping[str, int]
    """State → number of runs."""
    unfinished: Sequence[Summary]
    """Running and waiting runs."""
    sizes: Mapping[str, int]
    """`runs`, `trash` and `cache`, and `free` on the disk of the runs [bytes]."""

    def counts_in_words(self) -> str:
        """The number of runs in each state."""
        counts = [f"{count:,} {State(state).words}" for state, count in self.counts.items()]
        return ", ".join(counts) or "no runs"

    def sizes_in_words(self) -> str:
        """What takes room on the disk; empty if that was not looked at."""
        words = {"cache": "cache of data", "free": "free on this disk"}
        sizes = [f"{in_bytes(size)} {words.get(key, key)}" for key, size in self.sizes.items()]
        return ", ".join(sizes)

    def view(self) -> View:
        """What a notebook or a terminal shows of it."""
        listing = Listing(self.unfinished, "runs", usual_columns).view().parts
        sizes = self.sizes_in_words()
        return View(self.counts_in_words(), parts=[*listing, *([sizes] if sizes else [])])

    def document(self) -> dict[str, Any]:
        """What `qexp status --json` prints."""
        keys = ("name", "state", "epochs", "folds", "started", "job")
        unfinished = []
        for run in self.unfinished:
            unfinished.append({key: run[key] for key in keys})
        return {"counts": dict(self.counts), "unfinished": unfinished, "sizes": dict(self.sizes)}


@checks_keywords
def status(
    *, sizes: bool = True, warn: Report = as_warning, workspace: str | Path | None = None
) -> Status:
    """Numbers of runs by state, running and waiting runs, and disk use.

    sizes  look at the size of every file, which takes a second for ten thousand runs; else `sizes`
           is empty

    >>> qexp.status(sizes=False).counts["done"] > 0
    True
    """
    home = workspaces.find(workspace)
    summaries = every_run(warn=warn, workspace=home.root)
    states = Counter(run["state"] for run in summaries)
    counts = {str(state): states[state] for state in State if states[state]}
    unfinished = [run for run in summaries if State(run["state"]).unfinished]
    measured = {}
    if sizes:
        from qexp.rows.array_cache import cache_folder
        from qexp.upkeep import trash as trashes

        trash = files.size_of(trashes.folder(home))
        runs = files.size_of(home.runs)
        for path in home.runs.iterdir() if home.runs.is_dir() else ():
            if path.is_symlink():  # a run that is kept elsewhere
                runs += files.size_of(path)
        measured = {"runs": runs - trash, "trash": trash, "cache": files.size_of(cache_folder())}
        measured["free"] = disk_usage(home.root).free
    return Status(counts, sorted(unfinished, key=lambda run: run["created"] or ""), measured)


def every_run(
    remote: str | None = None,
    *,
    refresh: bool = True,
    warn: Report = as_warning,
    workspace: str | Path | None = None,
) -> list[Summary]:
    """Summaries of all runs.

    remote   whose runs they are, those of the workspace if left out
    refresh  look for runs that have changed; else the catalog is taken as it is
    warn     receives a line for each run that cannot be read

    >>> len(qexp.api.every_run()) == len(qexp.runs())
    True
    """
    if remote is not None:
        from qexp.remotes import place, transfer

        return transfer.summaries(place.open_remote(remote, workspaces.find(workspace)))
    return Catalog(workspaces.find(workspace), warn).runs(refresh)


def ordered(
    summaries: list[Summary],
    sort: str | None = None,
    reverse: bool = False,
    *,
    warn: Report = as_warning,
) -> list[Summary]:
    """Summaries in the order of a field; runs without the field come last.

    sort     such as "created" or "results.test.depth.mae"; by name if left out
    reverse  the largest first

    >>> qexp.api.ordered(qexp.runs("seed == 0"), "created")[0]["seed"]
    0
    """
    if sort is None or not summaries:
        return summaries[::-1] if reverse else summaries
    values = [value for (value,) in rows(summaries, [sort], warn=warn)]
    return ordered_by(summaries, sort, reverse, values)


def columns(summaries: Sequence[Summary]) -> Columns:
    """Values of any field of runs: of summaries, records, results, and keys of specs.

    >>> qexp.api.columns(qexp.runs("name == 'mogi_quick_0'")).values("learning_rate")
    [0.003]
    """
    if isinstance(summaries, str) or not all(isinstance(run, Mapping) for run in summaries):
        raise QexpError(
            f"{shortened(repr(summaries))} are no runs of a listing; give them first, such as"
            " qexp.runs()"
        )
    return Columns(summaries)


def rows(
    summaries: Sequence[Summary], fields: Sequence[str], *, warn: Report = as_warning
) -> list[list[Any]]:
    """Per run the values of fields; `warn` receives what cannot be read.

    fields  such as "seed", "results.test.depth.mae", or a key of the spec

    >>> qexp.api.rows(qexp.runs("name == 'mogi_quick_0'"), ["seed", "learning_rate"])
    [[0, 0.003]]
    """
    of_runs = columns(summaries)
    values = [of_runs.values(field) for field in ([fields] if isinstance(fields, str) else fields)]
    for text in of_runs.warnings:
        warn(text)
    return [list(row) for row in zip(*values, strict=True)]


def groups(
    summaries: Sequence[Summary],
    *fields: str | Sequence[str],
    means: Sequence[str] = (),
    warn: Report = as_warning,
) -> list[dict[str, Any]]:
    """Groups of runs with the same values of fields: number, states, and mean test errors of each.

    fields  such as "experience" and "learning_rate", or one list of them
    means   columns of numbers whose means are wanted besides, such as "validation.loss"

    >>> qexp.api.groups(qexp.runs("name == 'mogi_quick_0'"), "experience")[0]["states"]
    {'done': 1}
    """
    names = [name for field in fields for name in ([field] if isinstance(field, str) else field)]
    values = [list(column) for column in zip(*rows(summaries, means, warn=warn), strict=True)]
    of_columns = dict(zip(means, values, strict=True)) if values else {}
    return groups_of(summaries, names, rows(summaries, names, warn=warn), of_columns)


def ancestors(summaries: Sequence[Summary], among: Iterable[Summary]) -> Mapping[str, Any]:
    """Per run the names of the runs that it was pretrained from, directly and indirectly, the
    nearest first.

    >>> qexp.api.ancestors(qexp.runs("name == 'mogi_quick_0'"), qexp.runs())["mogi_quick_0"]
    []
    """
    return provenance.ancestors_of(summaries, {run["name"]: run for run in among})


def tree(summaries: Sequence[Summary], among: Iterable[Summary]) -> list[TreeRun]:
    """The runs as a tree, each below the one that it was pretrained from.

    >>> [line.name for line in qexp.api.tree(qexp.runs("name == 'mogi_quick_0'"), qexp.runs())]
    ['mogi_quick_0']
    """
    return list(provenance.lineage_tree(summaries, {run["name"]: run for run in among}))


def chosen(runs: Sequence[Runs], options: MoreRuns) -> list[str]:
    """Names, paths and patterns of runs, and the names of those that have all of some tags and are
    of a launch.

    Raises NotFoundError for tags that no run has.
    """
    names = references_of(list(runs), options.workspace)
    tags = list(options.tags)
    if not tags and options.launch is None:
        return names
    summaries = every_run(warn=ignore, workspace=options.workspace)
    found = listed(summaries, tags=tags, launch=options.launch, workspace=options.workspace)
    if not found:
        raise NotFoundError(f"no run matches{unknown_tags(summaries, tags)}")
    return [*names, *(run["name"] for run in found)]


@takes(
    ComparisonOptions,
    elsewhere={"all": "all metrics are compared; `metrics` and `outputs` choose some"},
)
def compare(
    *runs: Runs, options: ComparisonOptions
) -> ShownComparison | ShownSeedComparison | ShownInversions | ShownMaps:
    """Compare runs, or groups of runs that differ by their seed: of a pattern, or of several specs
    with several seeds each; or inversions in folders, or two maps; see `qexp compare`.

    runs        `Run` objects, names, unique prefixes, paths, patterns such as "mogi_*", folders of
                studies, and lists of them; `FILE` or `FILE:NAME` for a map

    >>> qexp.compare(*qexp.sweep("mogi_quick", seeds=range(2)))
    <comparison of mogi_quick_0, mogi_quick_1>
    """
    from qexp.comparison.compare import compare_named
    from qexp.comparison.maps import is_map
    from qexp.comparison.summary import only
    from qexp.figures.canvas import use_style
    from qexp.web.comparison_page import compared

    named = references_of(list(runs), options.workspace)
    if any(map(is_map, named)):
        return _compared_maps(named, options)
    if inversions := open_inversions(named):
        return inversions
    catalog = Catalog(options.home, options.warn)
    with use_style(None, options.width):
        comparison = compare_named(chosen(named, options), catalog, options)
    metrics, outputs = (
        [names] if isinstance(names, str) else names for names in (options.metrics, options.outputs)
    )
    return compared(only(comparison, metrics, outputs))


def _compared_maps(named: Sequence[str], options: ComparisonOptions) -> ShownMaps:
    from qexp.comparison.figures import place_of
    from qexp.comparison.maps import compare_maps, split_name
    from qexp.figures.canvas import use_style
    from qexp.web.html import fields_of
    from qexp.web.maps import ShownMaps

    if options.metrics or options.outputs:
        raise QexpError("`metrics` and `outputs` are for runs; maps are compared as they are")
    home = options.home if options.figures else None
    comparison = compare_maps(named)
    files = list[Path]()
    if home is not None:
        folders = [split_name(name)[0].absolute().parent for name in named]
        called = comparison.called
        compared = [str(folder / name) for folder, name in zip(folders, called, strict=True)]
        with use_style(None, options.width):
            files = comparison.write(place_of(called, compared, home))
    return ShownMaps(**fields_of(comparison), files=files)


@takes(ReportOptions)
def report(*runs: Runs, options: ReportOptions) -> Path:
    """Write a report: one HTML file that opens in any browser.

    Of one run it shows the results, matrices and estimates to explore with the mouse or the
    keyboard, the learning curves, the spec, the origin, and the command that makes it again.
    Several runs are compared over their seeds and over what was swept. Of folders of inversions it
    shows what they hold. An earlier HTML report is
    replaced, another file only with `overwrite`.

    runs       `Run` objects, names, unique prefixes, paths, patterns such as "mogi_*", folders of
               studies, and lists of them; all runs if left out
    returns    the path of the file
    Raises QexpError before anything is written.

    >>> qexp.report("mogi_quick_0", to="run.html").name
    'run.html'
    """
    from qexp.tuning.results import search_of
    from qexp.web.report import report as report_of_run, report_of_several, runs_of_report

    options = replace(options, tags=list(options.tags))
    named = references_of(list(runs), options.workspace)
    if runs and not named:
        raise QexpError("no run is named: the list of runs is empty")
    inversions = open_inversions(named)
    names = [] if inversions else chosen(named, options)
    reported = {} if inversions else runs_of_report(names, Catalog(options.home))
    words = [Path(name).name or name for name in named]
    words += [f"launch {options.launch}"] if options.launch else []
    words += [f"tag {tag}" for tag in options.tags]
    called = ", ".join(words) or "all runs"
    searches = [*filter(None, (search_of(name, options.home) for name in names))]
    single = next(iter(reported)) if len(reported) == 1 else None
    # Letters that need no quotes in a shell.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", called).strip("-.")[:80] or "report"
    if single is not None:
        name = single.name
    target = Path(f"{name}.html" if options.to is None else options.to)
    if options.pdf:
        target = target.with_suffix(".pdf")
    if inversions is not None:
        from qexp.web.report import report_of_view

        return report_of_view(inversions.view(), target, options)
    if single is not None:
        return report_of_run(single, target, options, searches)
    return report_of_several(called, reported, target, options, searches)


@takes(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Show the workspace in a browser: runs while they train, matrices, comparisons.

    The pages only read, unless `allow_changes` is given. From another machine, use a tunnel: ssh -L
    8700:localhost:8700 HOST. Requests need a token if changes are allowed, or if other machines can
    connect; it is part of the address that is printed, random unless the environment variable
    QEXP_TOKEN gives one. Ctrl-C ends the server.

    Raises QexpError if it cannot listen there.

    >>> qexp.serve(port=8700)  # doctest: +SKIP
    """
    with extra("page"):
        from qexp.web.server import Serving

    serving = Serving(options.home, options)
    options.listening(serving.address)
    serving.run()

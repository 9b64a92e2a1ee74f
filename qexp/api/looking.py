"""Looking at runs: listings, columns, groups, lineage, comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import workspace as workspaces
from qexp.api.run_handle import Runs, references_of
from qexp.api.warn import Report, as_warning, ignore

if TYPE_CHECKING:
    from qexp.pages.shown_comparison import ShownComparison, ShownSeedComparison
    from qexp.runs.catalog.columns import Columns
    from qexp.runs.record.lineage import TreeRun

Summary = dict[str, Any]
"""A run as listings have it: the keys of `qexp ls --json`."""


def runs(
    where: str | None = None,
    *,
    status: str | None = None,
    tags: Iterable[str] = (),
    launch: str | None = None,
    sort: str | None = None,
    reverse: bool = False,
    workspace: str | Path | None = None,
) -> list[Summary]:
    """Summaries of runs, ordered by name: all, or those for which an expression holds, such as "seed < 5".

    where   compares any columns, as `qexp ls --columns` shows them: "learning_rate < 1e-3 and test.depth.mae < 0.1"
    tags    all of which a run must have
    launch  the id of a launch, or "last"
    sort    a field to order by, such as "created" or "test.depth.mae"
    """
    found = select(
        every_run(warn=ignore, workspace=workspace),
        where, status=status, tags=tags, launch=launch, warn=ignore, workspace=workspace,
    )  # fmt: skip
    return ordered(found, sort, reverse)


@dataclass(frozen=True)
class Status:
    """A workspace at a glance."""

    counts: Mapping[str, int]
    """State → number of runs."""
    unfinished: Sequence[Summary]
    """Running and waiting runs."""
    sizes: Mapping[str, int]
    """`runs`, `trash` and `cache`, and `free` on the disk of the runs [bytes]."""

    def document(self) -> dict[str, Any]:
        """What `qexp status --json` prints."""
        keys = ("name", "state", "epochs", "folds", "started", "job")
        unfinished = [{key: one[key] for key in keys} for one in self.unfinished]
        return {"counts": dict(self.counts), "unfinished": unfinished, "sizes": dict(self.sizes)}


def status(*, sizes: bool = True, warn: Report = as_warning, workspace: str | Path | None = None) -> Status:
    """Numbers of runs by state, running and waiting runs, and disk use.

    sizes  look at the size of every file, which takes a second for ten thousand runs; else `sizes` is empty
    """
    from collections import Counter
    from shutil import disk_usage

    from qexp import files
    from qexp.runs.record.state import State

    place = workspaces.find(workspace)
    found = every_run(warn=warn, workspace=place.root)
    known = Counter(one["state"] for one in found)
    counts = {str(state): known[state] for state in State if known[state]}
    unfinished = sorted((one for one in found if State(one["state"]).unfinished), key=lambda one: one["created"] or "")
    measured = {}
    if sizes:
        from qexp.datasets.array_cache import cache_folder
        from qexp.runs.upkeep import trash as trashes

        trash, runs = files.size_of(trashes.folder(place)), files.size_of(place.runs)
        linked = [path for path in place.runs.iterdir() if path.is_symlink()] if place.runs.is_dir() else []
        runs += sum(files.size_of(path) for path in linked)  # runs that are kept elsewhere
        free = disk_usage(place.root).free
        measured = {"runs": runs - trash, "trash": trash, "cache": files.size_of(cache_folder()), "free": free}
    return Status(counts, unfinished, measured)


def every_run(*, refresh: bool = True, warn: Report = as_warning, workspace: str | Path | None = None) -> list[Summary]:
    """Summaries of all runs.

    refresh  look for runs that have changed; else the catalog is taken as it is
    warn     receives a line for each run that cannot be read
    """
    from qexp.runs.catalog.catalog import Catalog

    catalog = Catalog(workspaces.find(workspace))
    found = catalog.runs(refresh)
    for text in catalog.warnings:
        warn(text)
    return found


def select(
    summaries: Iterable[Summary],
    where: str | None = None,
    *,
    status: str | None = None,
    tags: Iterable[str] = (),
    launch: str | None = None,
    warn: Report = as_warning,
    workspace: str | Path | None = None,
) -> list[Summary]:
    """The summaries that fulfil all conditions; see `runs`. `warn` receives a line for each run that cannot be read."""
    from qexp.runs.catalog.filter import select as fulfilling
    from qexp.runs.state import launches

    among = list(summaries)
    listing = columns(among)
    found = fulfilling(among, where=where, status=status, tags=tags, look=listing.one_by_one)
    listing.require_found()
    for text in listing.warnings:
        warn(text)
    if launch is None:
        return found
    launched = set(launches.find(launch, workspaces.find(workspace)).record()["runs"])
    return [one for one in found if one["name"] in launched]


def ordered(
    summaries: list[Summary], sort: str | None = None, reverse: bool = False, *, warn: Report = as_warning
) -> list[Summary]:
    """Summaries in the order of a field, by name if it is left out; runs without the field come last."""
    from qexp.runs.catalog import filter as filters

    if sort is None or not summaries or sort in summaries[0] or sort.startswith(("results.", "epochs.")):
        return filters.ordered(summaries, sort, reverse)
    return filters.ordered(summaries, sort, reverse, [value for (value,) in rows(summaries, [sort], warn=warn)])


def newest(summaries: list[Summary], count: int) -> list[Summary]:
    """The summaries of the `count` runs that were created last, in the order in which they are given."""
    from qexp.runs.catalog.filter import newest as created_last

    return created_last(summaries, count)


def columns(summaries: Sequence[Summary]) -> Columns:
    """Values of any field of runs: of summaries, records, results, and keys of specs."""
    from qexp.runs.catalog.columns import Columns

    return Columns(summaries)


def rows(summaries: Sequence[Summary], fields: Sequence[str], *, warn: Report = as_warning) -> list[list[Any]]:
    """Per run the values of fields; `warn` receives what cannot be read."""
    listing = columns(summaries)
    values = [listing.values(field) for field in fields]
    for text in listing.warnings:
        warn(text)
    return [list(row) for row in zip(*values, strict=True)]


def groups(summaries: Sequence[Summary], *fields: str, warn: Report = as_warning) -> list[dict[str, Any]]:
    """Groups of runs with the same values of fields: number, states, and mean test errors of each."""
    from qexp.runs.catalog import columns as catalog_columns

    return catalog_columns.groups(summaries, rows(summaries, fields, warn=warn))


def ancestors(summaries: Sequence[Summary], among: Iterable[Summary]) -> Mapping[str, Any]:
    """Per run the names of the runs that it was pretrained from, directly and indirectly, the nearest first."""
    from qexp.runs.record import lineage

    return lineage.ancestors(summaries, {one["name"]: one for one in among})


def tree(summaries: Sequence[Summary], among: Iterable[Summary]) -> list[TreeRun]:
    """The runs as a tree, each below the one that it was pretrained from."""
    from qexp.runs.record import lineage

    return list(lineage.tree(summaries, {one["name"]: one for one in among}))


def compare(
    *runs: Runs, evaluation: str | None = None, warn: Report = as_warning, workspace: str | Path | None = None
) -> ShownComparison | ShownSeedComparison:
    """Compare runs, or groups of runs over their seeds where patterns name them; see `qexp compare`.

    runs        `Run` objects, names, unique prefixes, paths, patterns such as "mogi_*", and lists of them
    evaluation  name of the evaluation that is compared, instead of the results on the runs' own test parts
    """
    from qexp.analysis.comparison.compare import compare_named
    from qexp.pages.shown_comparison import compared
    from qexp.runs.catalog.catalog import Catalog

    catalog = Catalog(workspaces.find(workspace))
    comparison = compare_named(references_of(list(runs), workspace), catalog, evaluation)
    for text in catalog.warnings:
        warn(text)
    return compared(comparison)

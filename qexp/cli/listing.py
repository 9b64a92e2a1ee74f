"""qexp ls, show, logs, where"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qexp import api
from qexp.base.files import in_bytes
from qexp.base.text import in_one_line
from qexp.cli import completion
from qexp.cli.arguments import RunArgument, with_options
from qexp.cli.console import (
    JsonOption,
    WorkspaceOption,
    message,
    piece,
    print_csv,
    print_json,
    print_parts,
    print_table,
    result,
    warning,
)
from qexp.errors import QexpError
from qexp.runs.columns import cell, error_title, in_csv, is_number, units_of, usual_columns
from qexp.runs.options import ListOptions

if TYPE_CHECKING:
    from qexp.store.provenance import TreeRun

Run = dict[str, Any]
"""A summary, as the catalog gives it."""


def rows_of(runs: list[Run], columns: Sequence[str]) -> list[list[Any]]:
    """The values of columns, which may be in the runs' specs or directories; what cannot be read is a warning."""
    listing = api.columns(runs)
    for text in dict.fromkeys(caution for column in columns for caution in listing.cautions(column)):
        warning(text)
    return api.rows(runs, columns, warn=warning)


def documents(runs: list[Run], columns: list[str] | None, size: bool) -> list[Run]:
    """What --json prints: whole summaries, or of each run the columns that are asked for."""
    extra = ["size"] if size else []
    if columns is not None:
        shown = [*columns, *extra]
        return [dict(zip(shown, row, strict=True)) for row in rows_of(runs, shown)]
    if not size:
        return runs
    return [{**one, "size": bytes_} for one, (bytes_,) in zip(runs, rows_of(runs, extra), strict=True)]


def with_ancestors(runs: list[Run], everything: list[Run]) -> list[Run]:
    """Summaries with the names of the runs that each was pretrained from, directly and indirectly, nearest first."""
    before = api.ancestors(runs, everything)
    return [{**one, "ancestors": before[one["name"]]} for one in runs]


def print_runs(runs: list[Run], size: bool) -> None:
    print_table(*_table_of(runs, size))


def print_tree(runs: list[Run], everything: list[Run], size: bool) -> None:
    """The runs as a tree, each below the one that it was pretrained from, whether that is listed or gone."""

    def label(branch: TreeRun) -> str:
        *above, here = branch.followed or [None]
        line = "".join("│  " if more else "   " for more in above)
        line += "" if here is None else "├─ " if here else "└─ "
        return line + branch.name + (" (gone)" if branch.run is None else "")

    branches = api.tree(runs, everything)
    columns, cells, right = _table_of([branch.run for branch in branches if branch.run is not None], size)
    of_runs = iter(cells)
    rows = [
        [label(branch), *(next(of_runs)[1:] if branch.run is not None else [""] * (len(columns) - 1))]
        for branch in branches
    ]
    print_table(columns, rows, right)


def _table_of(runs: list[Run], size: bool) -> tuple[list[str], list[list[str]], list[str]]:
    """The usual columns, a row per run that begins with its name, and the columns that are aligned to the right."""
    columns = usual_columns(runs)
    titles = [one.title for one in columns]
    rows = [[one.text(run) for one in columns] for run in runs]
    if size:
        titles.append("size")
        sizes = rows_of(runs, ["size"])
        rows = [[*row, in_bytes(bytes_)] for row, (bytes_,) in zip(rows, sizes, strict=True)]
    return titles, rows, [*(one.title for one in columns if one.numeric), "size"]


def with_cautions(columns: list[str], runs: list[Run]) -> list[str]:
    """The columns, with that of cautions if a run has one."""
    return columns if "caution" in columns or not any(one["caution"] for one in runs) else [*columns, "caution"]


def print_columns(runs: list[Run], columns: list[str]) -> None:
    listing = api.columns(runs)
    rows = rows_of(runs, columns)
    titles = [f"{column} ({unit})" if (unit := listing.unit(column)) else column for column in columns]
    numeric = [
        title
        for title, values in zip(titles, zip(*rows, strict=True), strict=True)
        if all(value is None or is_number(value) for value in values)
    ]
    cells = [[cell(column, value) for column, value in zip(columns, row, strict=True)] for row in rows]
    print_table(titles, cells, right=numeric)


def print_groups(
    runs: list[Run], fields: Sequence[str], limit: int | None, *, size: bool, as_json: bool, as_csv: bool
) -> None:
    """A row per group: how many runs, in which states, and the mean and standard deviation of their test errors."""
    found = api.groups(runs, *fields, warn=warning)[:limit]
    for one in found:
        members = one.pop("runs")
        if size:
            one["size"] = sum(bytes_ for (bytes_,) in rows_of(members, ["size"]))
    if as_json:
        print_json([dict(zip(fields, one.pop("values"), strict=True)) | one for one in found])
    elif as_csv:
        _print_groups_as_csv(found, fields, size)
    elif found:
        _print_groups_as_table(found, fields, size, units_of(runs))
        for caution in dict.fromkeys(one["caution"] for one in runs if one["caution"]):
            result(f"{caution}: {', '.join(one['name'] for one in runs if one['caution'] == caution)}")
    else:
        message("no runs to group")


def _print_groups_as_csv(groups: list[Run], fields: Sequence[str], size: bool) -> None:
    states = list(dict.fromkeys(state for one in groups for state in one["states"]))
    outputs = _outputs(groups)
    numbers = ("n", "mean", "std")
    columns = [*fields, "n", *states, *(f"test.{output}.mae.{key}" for output in outputs for key in numbers)]
    rows = [
        [
            *map(in_csv, one["values"]),
            one["n"],
            *(one["states"].get(state, 0) for state in states),
            *((_error(one, output) or {}).get(key) for output in outputs for key in numbers),
            *([one["size"]] if size else []),
        ]
        for one in groups
    ]
    print_csv([*columns, *(["size"] if size else [])], rows)


def _print_groups_as_table(groups: list[Run], fields: Sequence[str], size: bool, units: dict[str, str]) -> None:
    outputs = _outputs(groups)
    titles = [error_title(output, units) for output in outputs]
    rows = [
        [
            *map(cell, fields, one["values"]),
            str(one["n"]),
            ", ".join(f"{count} {state}" for state, count in one["states"].items()),
            *(_mean_and_deviation(_error(one, output)) for output in outputs),
            *([in_bytes(one["size"])] if size else []),
        ]
        for one in groups
    ]
    columns = [*fields, "n", "states", *titles, *(["size"] if size else [])]
    print_table(columns, rows, right=["n", *titles, "size"])


def _outputs(groups: list[Run]) -> list[str]:
    return list(dict.fromkeys(output for one in groups for output in one["test"]))


def _error(group: Run, output: str) -> dict[str, Any] | None:
    error: dict[str, Any] | None = group["test"].get(output, {}).get("mae")
    return error


def _mean_and_deviation(error: dict[str, Any] | None) -> str:
    from qexp.metrics.meaning import measured

    return "-" if error is None else measured(error["mean"], error["std"])


def metrics_of(runs: list[Run]) -> list[str]:
    return list(
        dict.fromkeys(
            f"{part}.{output}.{metric}"
            for one in runs
            for part, outputs in one["results"].items()
            for output, metrics in outputs.items()
            for metric in metrics
        )
    )


# qexp ls


ON_TERMINAL = 50
"""Rows that a terminal gets without --all."""

IN_CSV = ["name", "experience", "dataset", "model", "seed", "state", "created", "ended", "seconds"]
"""Columns of --csv before the metrics."""


LimitOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="At most N runs: the first ones by --sort, else the newest.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD,FIELD",
        help="Columns: fields of the record, metrics (test.depth.mae), keys of the spec (learning_rate).",
        autocompletion=completion.columns,
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD,...",
        help="One row per value of a field, or per combination of values of several, with the mean test errors of the "
        "runs.",
        autocompletion=completion.columns,
    ),
]
LineageOption = Annotated[
    bool, typer.Option("--lineage", help="Show a tree, each run below the one that it was pretrained from.")
]
EverythingOption = Annotated[
    bool, typer.Option("--all", help=f"List all runs; a terminal shows only the newest {ON_TERMINAL} otherwise.")
]
RefreshOption = Annotated[
    bool, typer.Option("--refresh/--no-refresh", help="Look for changed runs first, or print the catalog as it is.")
]


@with_options(ListOptions)
def ls(
    options: ListOptions,
    limit: LimitOption = None,
    columns: ColumnsOption = None,
    size: Annotated[bool, typer.Option("--size", help="Add the size of the run directory.")] = False,
    group: GroupOption = None,
    lineage: LineageOption = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    names: Annotated[bool, typer.Option("-q", "--quiet", help="Print names only.")] = False,
    everything: EverythingOption = False,
    refresh: RefreshOption = True,
) -> None:
    """List runs with their states and test errors."""
    chosen = _chosen(columns, group=group, size=size, names=names)
    if lineage and (chosen is not None or group is not None or as_csv or names):
        raise QexpError("--lineage shows whole rows as a tree; leave out --columns, --group, --csv and --quiet")
    every_run = api.every_run(refresh=refresh, warn=warning, workspace=options.workspace)
    runs = api.listed(every_run, **{**vars(options), "warn": warning})
    if chosen is not None or as_csv:
        chosen = with_cautions(chosen or [*IN_CSV, *metrics_of(runs)], runs)
    if group is not None:
        print_groups(runs, _names("--group", group), limit, size=size, as_json=as_json, as_csv=as_csv)
        return
    if limit is not None:
        runs = api.newest(runs, limit) if options.sort is None else runs[:limit]
    if as_json:
        listed = documents(runs, chosen, size)
        print_json(with_ancestors(listed, every_run) if lineage else listed)
    elif names:
        for one in runs:
            result(one["name"])
    elif as_csv:
        shown = [*(chosen or []), *(["size"] if size else [])]
        print_csv(shown, [[in_csv(value) for value in row] for row in rows_of(runs, shown)])
    elif not runs:
        asked = options.status or options.where or options.tags or options.launch
        message("no runs" + (" match" if asked else "; start one with: qexp run EXPERIENCE"))
    else:
        some = api.newest(runs, ON_TERMINAL) if sys.stdout.isatty() and not everything and limit is None else runs
        if lineage:
            print_tree(some, every_run, size)
        elif chosen is None:
            print_runs(some, size)
        else:
            print_columns(some, [*chosen, *(["size"] if size else [])])
        if len(some) < len(runs):
            message(f"and {len(runs) - len(some)} older ones; see them with --all")


def _chosen(columns: str | None, *, group: str | None, size: bool, names: bool) -> list[str] | None:
    """The columns to show; None for the usual ones. Raises QexpError where options exclude each other."""
    if group is not None and columns is not None:
        raise QexpError("--columns is for rows of single runs, --group for rows of several; leave out one of them")
    if names and (group is not None or columns is not None or size):
        raise QexpError("--quiet prints names alone; leave out --columns, --size and --group")
    if columns is None:
        return None
    return _names("--columns", columns)


def _names(option: str, text: str) -> list[str]:
    """Fields with commas between them."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise QexpError(f"{option} {text!r}: a name is empty; write, for example, seed,learning_rate")
    return names


# qexp show


def show(
    run: RunArgument,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show a run: its state, spec, results, files and lineage."""
    from qexp.results.capabilities import sections_of, sections_of_evaluations
    from qexp.runs.facts import facts
    from qexp.spec.experiences import type_of  # slow to import

    opened = api.open_run(run, workspace=workspace)
    if as_json:
        print_json(opened.record)
        return
    directory, state = opened.directory, opened.state
    record, spec = directory.record(), directory.spec()
    for key, text in facts(directory, record, state, warning):
        # Further lines of a note or an error are set in, so that none can pass for another key's.
        result(f"{key:<12} {text.replace(NEW_LINE, NEW_LINE + ' ' * 13)}")
    result("\nspec")
    for key, text in type_of(spec).lines(spec).items():
        result(f"  {key:<14} {in_one_line(text)}")
    if record.overrides:
        result(f"  {'set':<14} {in_one_line(' '.join(record.overrides))}")
    if parts := [part for section in sections_of(directory, record) for part in section.tables()]:
        result("\nresults")
        print_parts(parts)
    for section in sections_of_evaluations(directory):
        result("")
        print_parts(section.tables())
    result("\nfiles")
    for line in _files(directory.path):
        result(f"  {in_one_line(line)}")


SHOWN = (".png", ".pdf", ".nc", ".npy", ".csv", ".safetensors", ".jsonl", ".txt")

NEW_LINE = "\n"

MANY = 3
"""Pictures in a folder of their own above which they are counted."""


def _files(run: Path) -> Iterator[str]:
    """What a reader may want to open; the folds' own files are left out."""
    found = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix in SHOWN]
    by_folder: dict[Path, list[Path]] = {}
    for path in found:
        if not path.is_relative_to(run / "folds"):
            by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in by_folder.items():
        if folder.parent.name == "figures" and len(paths) > MANY:
            yield f"{folder.relative_to(run)}/ ({len(paths)} pictures)"
        else:
            yield from (str(path.relative_to(run)) for path in paths)


# qexp logs


def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of the attempt; the last one if left out.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the log of a run."""
    opened = api.open_run(run, workspace=workspace)
    for part in opened.log_pieces(attempt, follow=follow):
        piece(part)
        if follow:
            sys.stdout.flush()
    if follow:
        message(f"{opened.name}: {opened.state}")


# qexp where


def where(
    run: RunArgument,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the directory of a run: cd $(qexp where RUN)."""
    result(str(api.open_run(run, workspace=workspace).path.resolve()))

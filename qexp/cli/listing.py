"""Listings of runs as tables, CSV and JSON: with the usual columns, with chosen ones, and by groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qexp import api
from qexp.analysis.listing import cell, error_title, in_csv, is_number, units_of, usual_columns
from qexp.cli.console import message, print_csv, print_json, print_table, result, warning
from qexp.files import in_bytes

if TYPE_CHECKING:
    from qexp.runs.record.lineage import TreeRun

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
    from qexp.analysis.comparison.rounding import measured

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

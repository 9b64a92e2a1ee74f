"""qexp ls, show, logs, where, compare, report, figures, serve"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qexp import api
from qexp.base.files import in_bytes
from qexp.base.options import Opening, argument, option, words_of
from qexp.base.text import Table, in_one_line, latex, leaves, markdown, natural
from qexp.base.workspace import find
from qexp.cli.console import (
    JSON,
    LATEX,
    NETWORK,
    RUN,
    RUNS,
    TO,
    WORKSPACE,
    arranged,
    error,
    message,
    piece,
    print_csv,
    print_entry,
    print_json,
    print_network,
    print_parts,
    print_sentence,
    print_table,
    result,
    warning,
)
from qexp.errors import NotFoundError, QexpError
from qexp.kinds.options import FiguresOptions
from qexp.results.capabilities import sections_of, sections_of_evaluations
from qexp.runs.columns import (
    Column,
    Columns,
    changed_columns,
    column_of,
    group_table,
    in_csv,
    main_metrics_of,
    units_of,
    unknown_tags,
    usual_columns,
)
from qexp.runs.options import ComparisonOptions, ListOptions, ReportOptions, ServeOptions

if TYPE_CHECKING:
    from qexp.comparison.compare import Comparison
    from qexp.comparison.seeds import SeedComparison
    from qexp.store.provenance import TreeRun
    from qexp.tuning.results import Tuned
    from qexp.web.html import View

Run = dict[str, Any]
"""A summary, as the catalog gives it."""


def rows_of(runs: list[Run], fields: Sequence[str]) -> list[list[Any]]:
    """The values of fields, also of specs or directories; what cannot be read is a warning."""
    _warn_of_cautions(api.columns(runs), fields)
    return api.rows(runs, fields, warn=warning)


def _warn_of_cautions(columns: Columns, fields: Sequence[str]) -> None:
    warning(*dict.fromkeys(caution for field in fields for caution in columns.cautions(field)))


def columns_of(
    runs: list[Run], fields: Sequence[str] | None, more: Sequence[str] = ()
) -> list[Column]:
    """The columns that are asked for, else the usual ones; what cannot be read is a warning."""
    values = api.columns(runs)
    asked = [column_of(field, values) for field in [*(fields or ()), *more]]
    usual = usual_columns(runs) if fields is None else []
    kept = 1 + any(column.field == "overrides" for column in usual)  # the last have no room first
    columns = [*usual[:kept], *asked, *usual[kept:]]
    _warn_of_cautions(values, fields or ())
    warning(*values.warnings)
    return columns


def documents(runs: list[Run], fields: list[str] | None, more: Sequence[str]) -> list[Run]:
    """What --json prints: whole summaries, or of each run the fields that are asked for."""
    asked = [*(fields or ()), *more]
    if not asked:
        return runs
    values = [dict(zip(asked, row, strict=True)) for row in rows_of(runs, asked)]
    if fields is not None:
        return values
    return [run | added for run, added in zip(runs, values, strict=True)]


def print_runs(runs: Iterable[Run], columns: Sequence[Column]) -> None:
    _print_rows((_texts(run, columns) for run in runs), columns)


def print_tree(runs: list[Run], everything: list[Run], more: Sequence[str]) -> None:
    """The runs as a tree, each below the one that it was pretrained from, listed or gone."""
    branches = api.tree(runs, everything)
    columns = columns_of([branch.run for branch in branches if branch.run is not None], None, more)
    rows = ([_label(branch), *_texts(branch.run, columns[1:])] for branch in branches)
    _print_rows(rows, columns)


def _label(branch: TreeRun) -> str:
    *parents, own = branch.followed or [None]
    line = "".join("│  " if followed else "   " for followed in parents)
    line += {None: "", True: "├─ ", False: "└─ "}[own]
    return line + branch.name + (" (gone)" if branch.run is None else "")


def _texts(run: Run | None, columns: Sequence[Column]) -> list[str]:
    return [column.text(run) if run is not None else "" for column in columns]


def _print_rows(rows: Iterable[list[str]], columns: Sequence[Column]) -> None:
    numeric = [column.title for column in columns if column.numeric]
    print_table([column.title for column in columns], list(rows), right=numeric)


def print_groups(runs: list[Run], options: ListOptions, form: ListForm) -> None:
    """A row per group: how many runs, in which states, and the mean and standard deviation of their
    errors, or of other columns; in the order of the means of the column to sort by, which is shown.
    """
    sort = options.sort
    fields = form.group or ()
    columns = form.columns or []
    sorted_by = [] if sort is None or sort in fields else rows_of(runs, [sort])
    by_mean = any(isinstance(value, int | float) for (value,) in sorted_by)
    if by_mean and sort not in columns:
        errors = main_metrics_of(api.groups(runs, *fields, warn=warning))
        columns = [str(sort), *(columns or map(".".join, errors))]
        columns = list({column.removeprefix("results."): column for column in columns}.values())
    groups = api.groups(runs, *fields, means=columns, warn=warning)
    if by_mean:
        known = [group for group in groups if group["means"][sort]["mean"] is not None]
        known.sort(key=lambda group: float(group["means"][sort]["mean"]), reverse=options.reverse)
        groups = known + [group for group in groups if group["means"][sort]["mean"] is None]
    elif sort is None:
        groups.sort(key=lambda group: [natural(json.dumps(value)) for value in group["values"]])
    groups = groups[: form.limit]
    for group in groups:
        members = group.pop("runs")
        if form.size:
            group["size"] = sum(bytes_ for (bytes_,) in rows_of(members, ["size"]))
    if form.as_json:
        values = [dict(zip(fields, group.pop("values"), strict=True)) for group in groups]
        print_json([value | group for value, group in zip(values, groups, strict=True)])
    elif form.as_csv:
        _print_groups_as_csv(groups, fields, columns, form.more)
    elif groups:
        values_of_runs = api.columns(runs)
        _warn_of_cautions(values_of_runs, columns)
        titles = {column: column_of(column, values_of_runs).title for column in columns}
        table = group_table(groups, fields, units_of(runs), titles or None)
        rows = [[*row] for row in table.rows]
        for row, group in zip(rows, groups, strict=True):
            row += [in_bytes(group[column]) for column in form.more]
        print_table([*table.columns, *form.more], rows, right=[*table.right, "size"])
        for caution in dict.fromkeys(run["caution"] for run in runs if run["caution"]):
            names = [run["name"] for run in runs if run["caution"] == caution]
            result(f"{caution}: {', '.join(names)}")
    else:
        message("no runs to group")


def _print_groups_as_csv(
    groups: list[Run], fields: Sequence[str], shown: Sequence[str], more: Sequence[str]
) -> None:
    states = list(dict.fromkeys(state for group in groups for state in group["states"]))
    keys = ("n", "mean", "std")
    outputs = [] if shown else main_metrics_of(groups)
    numbers = [(*output, key) for output in outputs for key in keys]
    columns = [*fields, "n", *states, *map(".".join, numbers)]
    columns += [f"{column.removeprefix('results.')}.{key}" for column in shown for key in keys]
    rows = []
    for group in groups:
        counts = [group["n"], *(group["states"].get(state, 0) for state in states)]
        errors = [
            group[part].get(output, {}).get(metric, {}).get(key)
            for part, output, metric, key in numbers
        ]
        errors += [group["means"][column][key] for column in shown for key in keys]
        sizes = [group[column] for column in more]
        rows.append([*map(in_csv, group["values"]), *counts, *errors, *sizes])
    print_csv([*columns, *more], rows)


# qexp ls


ROWS_ON_TERMINAL = 50
"""Rows that a terminal gets without --all."""

IN_CSV = ["name", "experience", "dataset", "model", "seed", "state", "created", "ended", "seconds"]
"""Columns of --csv before the metrics."""


def _names(option: str, text: str) -> list[str]:
    """Fields with commas between them."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise QexpError(
            f"{option} {text!r}: a name is empty; write, for example, seed,learning_rate"
        )
    return names


@dataclass(frozen=True, kw_only=True)
class ListForm:
    """What is printed of runs, and how."""

    limit: int | None = option(
        None, "At most N runs: the first ones by --sort, else the newest.", "N"
    )
    columns: list[str] | None = option(
        None,
        "Columns: fields of the record, metrics (test.depth.mae), keys of the spec"
        " (learning_rate).",
        "FIELD,FIELD",
        read=_names,
        shell=str,
        complete="columns",
    )
    size: bool = option(False, "Add the size of the run directory.")
    group: list[str] | None = option(
        None,
        "One row per value of a field, or per combination of values of several, with the mean"
        " errors of the runs, or the means of --columns.",
        "FIELD,...",
        read=_names,
        shell=str,
        complete="columns",
    )
    inversions: bool = option(
        False,
        "List inversions instead: the folders of qexp invert --to in the workspace, or somewhere in"
        " its inversions/; with --where, --sort, --reverse and --json.",
    )
    lineage: bool = option(
        False, "Show a tree, each run below the one that it was pretrained from."
    )
    as_json: bool = option(False, "Print JSON instead of text.", "--json")
    as_csv: bool = option(False, "Print CSV.", "--csv")
    names: bool = option(False, "Print names only.", "-q --quiet")
    everything: bool = option(
        False,
        f"List all runs; a terminal shows only the newest {ROWS_ON_TERMINAL} otherwise.",
        "--all",
    )
    refresh: bool = option(
        True,
        "Look for changed runs first, or print the catalog as it is.",
        "--refresh/--no-refresh",
    )

    @property
    def more(self) -> list[str]:
        """The columns besides those that are asked for, or the usual ones."""
        return ["size"] if self.size else []

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise QexpError(f"--limit {self.limit}: at least one run")


def require_together(options: ListOptions, form: ListForm) -> None:
    """Raise QexpError for options of which only one can be shown."""
    fields = form.columns
    if form.names and (form.group is not None or fields is not None or form.size):
        raise QexpError("--quiet prints names alone; leave out --columns, --size and --group")
    if options.remote is not None and (form.size or form.lineage or options.launch is not None):
        raise QexpError(
            "--remote lists what a remote knows of runs; leave out --size, --lineage and --launch"
        )
    if form.lineage and (fields is not None or form.group is not None or form.as_csv or form.names):
        raise QexpError(
            "--lineage shows whole rows as a tree; leave out --columns, --group, --csv and --quiet"
        )


@arranged(everyday="where status tags launch sort group columns")
def ls(
    options: ListOptions,
    form: ListForm,
    patterns: list[str] = argument(
        (),
        "Names, or quoted patterns such as 'mogi_*'; all runs if left out.",
        "[RUN...]",
        complete="runs",
    ),
) -> None:
    """List runs: their states, validation errors (to choose by) and test errors."""
    from qexp.runs.catalog import matching

    if form.inversions:
        print_inversions(options, form, patterns)
        return
    fields = form.columns
    require_together(options, form)
    every_run = api.every_run(
        options.remote, refresh=form.refresh, warn=warning, workspace=options.workspace
    )
    if patterns:
        names = [run["name"] for run in every_run]
        named = {name for pattern in patterns for name in matching(pattern, names)}
        every_named = [run for run in every_run if run["name"] in named]
    runs = api.listed(every_named if patterns else every_run, **vars(options))
    if form.group is not None:
        print_groups(runs, options, form)
        return
    if fields is not None or form.as_csv:
        metrics = dict.fromkeys(path for run in runs for path, _ in leaves(run["results"]))
        fields = fields or [*IN_CSV, *(changed_columns(runs) if runs else []), *metrics]
        if "caution" not in fields and any(run["caution"] for run in runs):
            fields.append("caution")
    if form.limit is not None:
        runs = api.newest(runs, form.limit) if options.sort is None else runs[: form.limit]
    if form.as_json:
        objects = documents(runs, fields, form.more)
        # the runs that each was pretrained from, directly and indirectly, nearest first
        if form.lineage:
            ancestors = api.ancestors(runs, every_run)
            objects = [{**run, "ancestors": ancestors[run["name"]]} for run in objects]
        print_json(objects)
    elif form.names:
        result(*(run["name"] for run in runs))
    elif form.as_csv:
        titles = [*(fields or []), *form.more]
        print_csv(titles, [[*map(in_csv, row)] for row in rows_of(runs, titles)])
    elif not runs and (
        options.status or options.where or options.tags or options.launch or options.queue
    ):
        message(f"no runs match{unknown_tags(every_run, options.tags)}")
    elif not runs:
        message("no runs; start one with: qexp run EXPERIENCE")
    else:
        shortened = sys.stdout.isatty() and not form.everything and form.limit is None
        some = api.newest(runs, ROWS_ON_TERMINAL) if shortened else runs
        if form.lineage:
            print_tree(some, every_run, form.more)
        else:
            print_runs(some, columns_of(some, fields, form.more))
        if len(some) < len(runs):
            message(f"and {len(runs) - len(some)} older ones; see them with --all")


def print_inversions(options: ListOptions, form: ListForm, patterns: Sequence[str]) -> None:
    given = words_of(options, ("where", "sort", "reverse", "workspace"))
    given += [*patterns, *words_of(form, ("inversions", "as_json"))]
    if given:
        raise QexpError(f"{given[0]} is for runs; leave it out with --inversions")
    asked = options.where, options.sort or "name", options.reverse
    found = api.inversions(*asked, warn=warning, workspace=options.workspace)
    if form.as_json:
        print_json(found)
    elif found:
        from qexp.deformation.stored import table_of_records  # loads numpy

        print_parts([table_of_records(found)])
    else:
        message("no inversions match; make one with: qexp invert OBS.nc --to inversions/NAME")


def print_view(view: View) -> None:
    warning(*view.cautions)
    parts = chain(view.parts, *view.more.values())
    print_parts(part for part in parts if isinstance(part, str | Table))


def show(
    opening: Opening,
    run: str = RUN,
    network: bool = NETWORK,
    to: Path | None = TO,
    as_json: bool = JSON,
) -> None:
    """Show a run: its state, spec, results and files; or a search, or an inversion."""
    from qexp.runs.facts import facts
    from qexp.spec.experiences import type_of  # slow to import

    if inversions := api.open_inversions(run):
        if network or to is not None:
            raise QexpError(
                f"{run} is an inversion; --network and --to are for runs, leave them out"
            )
        if as_json:
            print_json(inversions.document())
        else:
            print_view(inversions.view())
        return
    try:
        handle = api.open_run(run, **vars(opening))
    except NotFoundError:
        search = api.search_at(run, workspace=opening.workspace)
        if search is None:
            raise
        print_search(search, as_json, opening.workspace)
        return
    if network or to is not None:
        print_network(handle.network(), to, as_json)
        return
    if as_json:
        print_json(handle.record)
        return
    directory = handle.directory
    state = handle.state
    record = directory.record()
    spec = directory.spec()
    for key, text in facts(directory, record, state, warning):
        print_entry(key, text, 12)
    result("\nspec")
    for key, text in type_of(spec).lines(spec).items():
        print_entry(key, in_one_line(text), 14, "  ")
    if record.overrides:
        print_entry("set", in_one_line(" ".join(record.overrides)), 14, "  ")
    if parts := [part for section in sections_of(directory, record) for part in section.tables()]:
        result("\nresults")
        print_parts(parts)
    for section in sections_of_evaluations(directory):
        result("")
        print_parts(section.tables())
    result("\nfiles")
    result(*(f"  {in_one_line(line)}" for line in _files(directory.path)))


def print_search(tuned: Tuned, as_json: bool, workspace: str | Path | None) -> None:
    """Print the best trials of a search, how the others ended, and its files."""
    if as_json:
        print_json(tuned.document())
        return
    print_parts([tuned.results()])
    for text in tuned.remarks():
        print_sentence(text)
    result(*map(find(workspace).shown, tuned.files))


SHOWN_SUFFIXES = (".png", ".pdf", ".nc", ".npy", ".csv", ".safetensors", ".jsonl", ".txt")

MOST_PICTURES = 3
"""Pictures in a folder of their own above which they are counted."""


def _files(run: Path) -> Iterator[str]:
    """What a reader may want to open; the folds' own files are left out."""
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(run.rglob("*")):
        if (
            path.is_file()
            and path.suffix in SHOWN_SUFFIXES
            and not path.is_relative_to(run / "folds")
        ):
            by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in by_folder.items():
        if folder.parent.name == "figures" and len(paths) > MOST_PICTURES:
            yield f"{folder.relative_to(run)}/ ({len(paths)} pictures)"
        else:
            yield from (str(path.relative_to(run)) for path in paths)


def logs(
    run: str = RUN,
    follow: bool = option(False, "Print new lines until the run ends.", "--follow -f"),
    attempt: int | None = option(
        None, "Number of the attempt; the last one if left out.", "N", least=1
    ),
    workspace: str | None = WORKSPACE,
) -> None:
    """Print the log of a run."""
    handle = api.open_run(run, workspace=workspace)
    try:
        for part in handle.log_pieces(attempt, follow=follow):
            piece(part)
            if follow:
                sys.stdout.flush()
    except KeyboardInterrupt:  # which is how one stops following
        raise typer.Exit(130) from None
    if follow:
        message(f"{handle.name}: {handle.state}")


def where(run: str = RUN, workspace: str | None = WORKSPACE) -> None:
    """Print the directory of a run: cd $(qexp where RUN)."""
    result(api.open_run(run, workspace=workspace).path.resolve())


# qexp compare, report, figures, serve


def compare(
    options: ComparisonOptions,
    runs: list[str] = argument(
        (),
        "Runs: names, unique prefixes, paths, quoted patterns such as 'mogi_cnn_*', or the folder"
        " of a study; or folders of inversions; or two maps, FILE or FILE:NAME.",
        "RUN RUN...",
        complete="runs",
    ),
    as_json: bool = JSON,
    as_csv: bool = option(False, "Print the results as CSV, with all digits.", "--csv"),
    as_markdown: bool = option(False, "Print Markdown tables.", "--markdown"),
    as_latex: bool = LATEX,
    everything: bool = option(
        False, "Print all metrics, and the difference of every two groups in each.", "--all"
    ),
) -> None:
    """Compare runs: which are better, in what and by how much.

    A summary and the main metric of each output are printed, and a picture shows differences of
    specs, curves and matrices; --csv, --markdown and --latex have all metrics, and draw no
    pictures.

    With a pattern, or with several seeds of several specs, groups of runs that differ only by seed
    are compared: mean, standard deviation and Student's 95 % interval per group, and for every two
    groups the difference over the seeds that both have, or of their means if they have no two seeds
    in common. A group is called better only if the interval of that difference excludes 0.

    Folders of qexp invert are inversions: their parameters stand side by side.

    Maps are NetCDF, CSV, Parquet or GeoTIFF in degrees: means over the cells of the coarser one are
    compared, and written with their difference into the folder comparisons of the workspace.
    """
    from qexp.comparison.compare import Comparison, plain_rows, remarks, tables
    from qexp.comparison.seeds import SeedComparison

    as_file = as_csv or as_markdown or as_latex
    if sum((as_json, as_csv, as_markdown, as_latex)) > 1:
        raise QexpError("--json, --csv, --markdown and --latex exclude each other; take one")
    if everything and (options.metrics or as_json or as_file):
        raise QexpError(
            "--all is for a terminal's tables of all metrics; leave out --all, or --metric and"
            " other forms"
        )
    comparison: Any = api.compare(*runs, **{**vars(options), "figures": not as_file})
    is_of_runs = isinstance(comparison, Comparison | SeedComparison)
    if (as_file or everything) and not is_of_runs:
        raise QexpError("--csv, --markdown, --latex and --all are for runs; take --json")
    if as_json:
        print_json(comparison.document())
    elif not is_of_runs:
        print_view(comparison.view())
        files = getattr(comparison, "files", [])
        result(*map(find(options.workspace).shown, files))
    elif as_csv:
        print_csv(*plain_rows(comparison))
    elif as_markdown:
        piece(markdown(tables(comparison), remarks(comparison)))
    elif as_latex:
        piece(latex(tables(comparison), remarks(comparison)))
    else:
        _print_comparison(comparison, everything or bool(options.metrics), options.workspace)


def _print_comparison(
    comparison: Comparison | SeedComparison, all_metrics: bool, workspace: str | Path | None
) -> None:
    from qexp.comparison.summary import overview

    print_parts(
        overview(
            comparison, all_metrics=all_metrics, more="see them with --all, or one with --metric {}"
        )
    )
    if comparison.figures:
        result("pictures:", *map(find(workspace).shown, comparison.figures))


def report(
    options: ReportOptions,
    runs: list[str] = argument(
        (),
        "Runs: names, unique prefixes, paths, quoted patterns such as 'mogi_*', or the folder of a"
        " study; all runs if left out. Or folders of inversions.",
        "[RUN|PATTERN|STUDY]...",
        complete="runs",
    ),
) -> None:
    path = api.report(*runs, **vars(options))
    result(path)
    how = "" if path.suffix == ".pdf" else "; open it in a browser"
    message(f"{in_bytes(path.stat().st_size)}{how}")


def figures(
    *, runs: list[str] = RUNS, options: FiguresOptions, workspace: str | None = WORKSPACE
) -> None:
    from qexp.api.handles import files_of_draws

    if files_of_draws(runs):
        result(*api.figures(runs, **vars(options)))
        return
    home = find(workspace)
    runs_to_draw = api.open_runs(runs, workspace=workspace)
    failures = []
    for run in runs_to_draw:
        try:
            result(*map(home.shown, run.figures(**vars(options))))
        except QexpError as failure:
            failures.append(failure)
    error(*dict.fromkeys(map(format, failures)))
    if failures:
        raise typer.Exit(4 if len(failures) < len(runs_to_draw) else failures[0].exit_code)


def serve(options: ServeOptions) -> None:

    def listening(address: str) -> None:
        result(address)
        sys.stdout.flush()  # for whoever reads it through a pipe
        message("open this address in a browser; Ctrl-C ends the server")

    api.serve(**{**vars(options), "listening": listening})

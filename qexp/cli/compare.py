"""qexp compare"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.arguments import EvaluationOption
from qexp.cli.console import (
    JsonOption,
    WorkspaceOption,
    message,
    piece,
    print_csv,
    print_json,
    print_table,
    result,
    warning,
)
from qexp.errors import QexpError
from qexp.workspace import find

if TYPE_CHECKING:
    from qexp.analysis.comparison.compare import Comparison
    from qexp.analysis.comparison.seed_comparison import SeedComparison
    from qexp.analysis.comparison.typesetting import Table
    from qexp.workspace import Workspace


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="Runs: names, unique prefixes, paths, or quoted patterns such as 'mogi_cnn_*'.",
            autocompletion=completion.runs,
        ),
    ],
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the results as CSV, with all digits.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    as_latex: Annotated[
        bool, typer.Option("--latex", help="Print LaTeX tables, which need booktabs and graphicx.")
    ] = False,
    evaluation: EvaluationOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Compare runs: differences of their specs, results side by side, curves and matrices in one picture.

    With a pattern, or with several seeds of several specs, groups of runs that differ only by seed are compared: mean,
    standard deviation and Student's 95 % interval per group, and for every two groups the difference over the seeds
    that both have. A group is called better only if the interval of that difference excludes 0.
    """
    from qexp.analysis.comparison import typesetting
    from qexp.analysis.comparison.compare import Comparison
    from qexp.analysis.comparison.comparison_tables import plain_rows, remarks, tables

    if sum((as_json, as_csv, as_markdown, as_latex)) > 1:
        raise QexpError("--json, --csv, --markdown and --latex exclude each other; take one")
    place = find(workspace)
    comparison = api.compare(*runs, evaluation=evaluation, warn=warning, workspace=workspace)
    if as_json:
        print_json(comparison.document())
    elif as_csv:
        print_csv(*plain_rows(comparison))
    elif as_markdown:
        piece(typesetting.markdown(tables(comparison), remarks(comparison)))
    elif as_latex:
        piece(typesetting.latex(tables(comparison), remarks(comparison)))
    elif isinstance(comparison, Comparison):
        _print_runs(comparison, place)
    else:
        _print_groups(comparison, place)


def _print_runs(comparison: Comparison, place: Workspace) -> None:
    from qexp.analysis.comparison.comparison_tables import remarks, results_of_runs

    _print_specs(comparison)
    table = results_of_runs(comparison)
    values = range(2, 2 + len(comparison.names))
    rows = [
        [f"{cell} {'*' if (i, j) in table.strong else ' '}" if j in values else cell for j, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    if rows:
        print_table(table.columns, rows, right=comparison.names)
    else:
        result("none of these runs has numbers of a test part; qexp show lists their files")
    for text in remarks(comparison):
        result(text)
    said = ["* the better value of the row; each is of one run, and with other seeds the order may be another"]
    if words := [*(said if table.strong else []), *(["pictures:"] if comparison.figures else [])]:
        message("; ".join(words))
    _print_figures(comparison, place)


def _print_groups(comparison: SeedComparison, place: Workspace) -> None:
    from qexp.analysis.comparison.comparison_tables import (
        calibrations_of_groups,
        differences_of,
        groups_of_seeds,
        remarks,
        results_of_groups,
    )

    _print(groups_of_seeds(comparison))
    result("")
    if len(comparison.groups) > 1:
        _print_specs(comparison)
    _print(results_of_groups(comparison))
    if calibrated := calibrations_of_groups(comparison):
        result(f"\n{calibrated.title}")
        _print(calibrated)
    for pair in comparison.pairs:
        table = differences_of(pair)
        if pair.rows:
            result(f"\n{table.title}")
            _print(table)
    result("")
    for text in remarks(comparison):
        result(text)
    if comparison.figures:
        message("pictures:")
    _print_figures(comparison, place)


def _print_specs(comparison: Comparison | SeedComparison) -> None:
    from qexp.analysis.comparison.comparison_tables import differing_specs

    table = differing_specs(comparison)
    if table is None:
        result("the specs are the same")
    else:
        _print(table)
    result("")


def _print(table: Table) -> None:
    print_table(table.columns, table.rows, right=list(table.right))


def _print_figures(comparison: Comparison | SeedComparison, place: Workspace) -> None:
    for path in comparison.figures:
        result(place.shown(path))

"""qexp compare, report, figures, serve"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.base.files import in_bytes
from qexp.base.workspace import find
from qexp.cli import completion
from qexp.cli.arguments import RunsArgument, with_options
from qexp.cli.console import (
    JsonOption,
    WorkspaceOption,
    error,
    message,
    piece,
    print_csv,
    print_json,
    print_parts,
    result,
    warning,
)
from qexp.errors import QexpError
from qexp.kinds.options import FiguresOptions
from qexp.runs.options import ServeOptions

if TYPE_CHECKING:
    from qexp.base.text import Table
    from qexp.comparison.compare import Comparison
    from qexp.comparison.seeds import SeedComparison


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
    evaluation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use the evaluation of this name instead of the runs' own results.",
            autocompletion=completion.evaluations,
        ),
    ] = None,
    width: Annotated[
        str | None, typer.Option(metavar="single|double", help="Width of the figures for print, see qexp figures.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Compare runs: differences of their specs, results side by side, curves and matrices in one picture.

    With a pattern, or with several seeds of several specs, groups of runs that differ only by seed are compared: mean,
    standard deviation and Student's 95 % interval per group, and for every two groups the difference over the seeds
    that both have. A group is called better only if the interval of that difference excludes 0.
    """
    from qexp.base.text import latex, markdown
    from qexp.comparison.compare import plain_rows, remarks, tables

    if sum((as_json, as_csv, as_markdown, as_latex)) > 1:
        raise QexpError("--json, --csv, --markdown and --latex exclude each other; take one")
    home = find(workspace)
    comparison = api.compare(*runs, evaluation=evaluation, width=width, warn=warning, workspace=workspace)
    if as_json:
        print_json(comparison.document())
    elif as_csv:
        print_csv(*plain_rows(comparison))
    elif as_markdown:
        piece(markdown(tables(comparison), remarks(comparison)))
    elif as_latex:
        piece(latex(tables(comparison), remarks(comparison)))
    else:
        print_parts(_parts(comparison))
        legend = "* the better value of the row; each is of one run, and with other seeds the order may be another"
        words = [legend] if any(table.strong for table in tables(comparison)) else []
        if words := [*words, *(["pictures:"] if comparison.figures else [])]:
            message("; ".join(words))
        for path in comparison.figures:
            result(home.shown(path))


def _parts(comparison: Comparison | SeedComparison) -> Iterator[Table | str]:
    """All tables, with a star at each better value, and remarks."""
    from qexp.comparison.compare import differing_specs, remarks, tables

    if len(comparison.names) > 1 and differing_specs(comparison) is None:
        yield "the specs are the same"
    if not comparison.results:
        yield "none of these runs has numbers of a test part; qexp show lists their files"
    for table in tables(comparison):
        starred = [
            [
                f"{cell} {'*' if (i, j) in table.strong else ' '}" if column in table.right else cell
                for j, (column, cell) in enumerate(zip(table.columns, row, strict=True))
            ]
            for i, row in enumerate(table.rows)
        ]
        if table.rows:
            yield replace(table, rows=starred) if table.strong else table
    yield from remarks(comparison)


# qexp report


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|PATTERN|STUDY]...",
            help="Runs: names, unique prefixes, paths, quoted patterns such as 'mogi_*', or the folder of a study; all "
            "runs if left out.",
            autocompletion=completion.runs,
        ),
    ] = None,
    launch: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The runs of a launch, or 'last'.", autocompletion=completion.launches),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="The file to write; if left out, named after the run or the comparison, in the current folder.",
        ),
    ] = None,
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="Title; the name of the run, or the experiences, if left out.")
    ] = "",
    text: Annotated[
        str,
        typer.Option(
            metavar="FILE|TEXT", help="Your words at the top, plain or in simple Markdown: a file, or the text itself."
        ),
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Show paths, the machine and its settings, too.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print it to a PDF, which needs Chromium.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file that is not an HTML report of qexp.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a report: one HTML file that opens in any browser, without qexp and without a network.

    Of one run it shows the results, matrices and estimates to explore with the mouse or the keyboard, the learning
    curves, the spec, the origin, and the command that makes it again. Several runs are compared over their seeds and
    over what was swept. An earlier HTML report is replaced, another file only with --overwrite.
    """
    path = api.report(
        *(runs or []),
        launch=launch,
        to=to,
        title=title,
        text=text,
        full=full,
        pdf=pdf,
        overwrite=overwrite,
        workspace=workspace,
    )
    result(str(path))
    message(f"{in_bytes(path.stat().st_size)}; open it in a browser")


# qexp figures


@with_options(FiguresOptions)
def figures(runs: RunsArgument, options: FiguresOptions, workspace: WorkspaceOption = None) -> None:
    """Draw the figures of finished runs again, from the numbers in their directories."""
    home = find(workspace)
    runs_to_draw = api.open_runs(runs, workspace=workspace)
    failures = []
    for run in runs_to_draw:
        try:
            for path in run.figures(**{**vars(options), "warn": warning}):
                result(home.shown(path))
        except QexpError as failure:
            failures.append(failure)
    for text in dict.fromkeys(map(format, failures)):
        error(text)
    if failures:
        raise typer.Exit(4 if len(failures) < len(runs_to_draw) else failures[0].exit_code)


# qexp serve


@with_options(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Show the workspace in a browser: runs, curves and logs while they grow, matrices, comparisons, launches, studies.

    The pages only read, unless --allow-changes is given. From another machine, use a tunnel: ssh -L 8700:localhost:8700
    HOST. Requests need a token if changes are allowed, or if other machines can connect; it is part of the
    address that is printed, random unless the environment variable QEXP_TOKEN gives one. Ctrl-C ends the server.
    """

    def listening(address: str) -> None:
        result(address)
        sys.stdout.flush()  # for whoever reads it through a pipe
        message("open this address in a browser; Ctrl-C ends the server")

    api.serve(**{**vars(options), "listening": listening})

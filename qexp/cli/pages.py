"""qexp compare, report, figures, serve"""

from __future__ import annotations

import sys
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
    LatexOption,
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
from qexp.runs.options import ComparisonOptions, ReportOptions, ServeOptions

if TYPE_CHECKING:
    from qexp.comparison.compare import Comparison
    from qexp.comparison.seeds import SeedComparison


COMPARED = typer.Argument(
    metavar="RUN RUN...",
    help="Runs: names, unique prefixes, paths, quoted patterns such as 'mogi_cnn_*', or the folder of a study.",
    autocompletion=completion.runs,
)


@with_options(ComparisonOptions)
def compare(
    options: ComparisonOptions,
    runs: Annotated[list[str] | None, COMPARED] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the results as CSV, with all digits.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    as_latex: LatexOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Print all metrics, and the difference of every two groups in each.")
    ] = False,
) -> None:
    """Compare runs: which are better in what, differences of their specs, curves and matrices in one picture.

    A summary and the main metric of each output are printed; --csv, --markdown and --latex have all metrics, and draw
    no pictures.

    With a pattern, or with several seeds of several specs, groups of runs that differ only by seed are compared: mean,
    standard deviation and Student's 95 % interval per group, and for every two groups the difference over the seeds
    that both have. A group is called better only if the interval of that difference excludes 0.
    """
    from qexp.base.text import latex, markdown
    from qexp.comparison.compare import plain_rows, remarks, tables

    as_file = as_csv or as_markdown or as_latex
    if sum((as_json, as_csv, as_markdown, as_latex)) > 1:
        raise QexpError("--json, --csv, --markdown and --latex exclude each other; take one")
    if everything and (options.metrics or as_json or as_file):
        raise QexpError("--all is for a terminal's tables of all metrics; leave out --all, or --metric and other forms")
    comparison = api.compare(*(runs or []), **{**vars(options), "figures": not as_file, "warn": warning})
    if as_json:
        print_json(comparison.document())
    elif as_csv:
        print_csv(*plain_rows(comparison))
    elif as_markdown:
        piece(markdown(tables(comparison), remarks(comparison)))
    elif as_latex:
        piece(latex(tables(comparison), remarks(comparison)))
    else:
        _print_comparison(comparison, everything or bool(options.metrics), options.workspace)


def _print_comparison(comparison: Comparison | SeedComparison, all_metrics: bool, workspace: str | Path | None) -> None:
    from qexp.comparison.summary import overview

    print_parts(overview(comparison, all_metrics=all_metrics, more="see them with --all, or one with --metric {}"))
    stars = any(getattr(row, "best", None) for row in comparison.results)
    words = ["* the best value of the column"] * stars + ["pictures:"] * bool(comparison.figures)
    if words:
        message("; ".join(words))
    result(*map(find(workspace).shown, comparison.figures))


@with_options(ReportOptions)
def report(
    options: ReportOptions,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|PATTERN|STUDY]...",
            help="Runs: names, unique prefixes, paths, quoted patterns such as 'mogi_*', or the folder of a study; all "
            "runs if left out.",
            autocompletion=completion.runs,
        ),
    ] = None,
) -> None:
    """Write a report: one HTML file that opens in any browser, without qexp and without a network.

    Of one run it shows the results, matrices and estimates to explore with the mouse or the keyboard, the learning
    curves, the spec, the origin, and the command that makes it again. Several runs are compared over their seeds and
    over what was swept. An earlier HTML report is replaced, another file only with --overwrite.
    """
    path = api.report(*(runs or []), **vars(options))
    result(path)
    how = "" if path.suffix == ".pdf" else "; open it in a browser"
    message(f"{in_bytes(path.stat().st_size)}{how}")


@with_options(FiguresOptions)
def figures(runs: RunsArgument, options: FiguresOptions, workspace: WorkspaceOption = None) -> None:
    """Draw the figures of finished runs again, from the numbers in their directories."""
    home = find(workspace)
    runs_to_draw = api.open_runs(runs, workspace=workspace)
    failures = []
    for run in runs_to_draw:
        try:
            result(*map(home.shown, run.figures(**{**vars(options), "warn": warning})))
        except QexpError as failure:
            failures.append(failure)
    error(*dict.fromkeys(map(format, failures)))
    if failures:
        raise typer.Exit(4 if len(failures) < len(runs_to_draw) else failures[0].exit_code)


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

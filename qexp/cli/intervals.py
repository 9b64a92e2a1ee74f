"""qexp intervals"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli.arguments import RunArgument, TrustCodeOption
from qexp.cli.console import JsonOption, WorkspaceOption, message, piece, print_json, print_parts
from qexp.errors import QexpError
from qexp.workspace import find


def intervals(
    run: RunArgument,
    as_json: JsonOption = False,
    as_latex: Annotated[
        bool, typer.Option("--latex", help="Print LaTeX tables, which need booktabs and graphicx.")
    ] = False,
    trust_code: TrustCodeOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say how many held-out rows or spectra lie in intervals from the errors of the others, overall and by group.

    Training does this at its end; for runs of older versions it is done here. An interval is as wide as the errors of
    other rows, or of other groups where whole groups are held out, demand for its coverage: conformal prediction, on
    the scale on which the loss is taken. The interval of every row is kept in results/intervals.csv.
    """
    from qexp.analysis.comparison import typesetting
    from qexp.analysis.comparison.interval_tables import held_out_intervals

    if as_json and as_latex:
        raise QexpError("--json and --latex exclude each other; take one")
    found = api.intervals(run, trust_code=trust_code, workspace=workspace)
    opened = api.open_run(run, workspace=workspace)
    record = opened.directory.record()
    if as_json:
        print_json(found.document())
        return
    parts = list(held_out_intervals(found, record.units))
    if parts and record.caution:
        parts.append(record.caution)
    if as_latex:
        tables = [one for one in parts if not isinstance(one, str)]
        piece(typesetting.latex(tables, [one for one in parts if isinstance(one, str)]))
        return
    print_parts(parts)
    if not parts:
        message(f"there are no intervals: all held-out data are of one {found.unit}, so there are no other errors")
    else:
        message(f"the interval of every row: {find(workspace).shown(opened.directory.results / 'intervals.csv')}")

"""qexp compare"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qexp.cli.console import JsonOption, WorkspaceOption, message, number, print_json, print_table, result

if TYPE_CHECKING:
    from qexp.analysis.compare import Comparison

LONGEST = 48
"""Characters of a value that are shown; --json has all."""


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs: names, unique prefixes or paths.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Compare runs: what differs in their specs, results side by side, curves and matrices in one picture."""
    from qexp.analysis.compare import compare as make
    from qexp.errors import QexpError
    from qexp.runs.catalog import Catalog
    from qexp.training import metrics
    from qexp.workspace import find

    if len(runs) < 2:
        raise QexpError("compare needs at least two runs")
    place = find(workspace)
    catalog = Catalog(place)
    comparison = make([catalog.find(name) for name in runs], place)
    if as_json:
        print_json(comparison.document())
        return
    names = comparison.names
    if comparison.differences:
        print_table(["spec", *names], _brief(comparison))
    else:
        result("the specs are the same")
    result("")
    rows = []
    for one in comparison.results:
        marks = ["*" if index in one.best else " " for index in range(len(names))]
        values = [
            f"{number(value, metrics.find(one.metric))} {mark}" for value, mark in zip(one.values, marks, strict=True)
        ]
        rows.append([one.output, one.metric, *values, one.unit])
    print_table(["output", "test metric", *names, "unit"], rows, right=names)
    message("* the better one; pictures:")
    for path in comparison.figures:
        result(place.shown(path))


def _brief(comparison: Comparison) -> list[list[str]]:
    """The differences for a reader: two models of different names by their names, long values cut."""
    rows = []
    for kind, names in comparison.specs.items():
        if len(set(names)) > 1:
            rows.append([kind, *names])
    for path, values in comparison.differences.items():
        kind = path.partition(".")[0]
        if kind == "model" and len(set(comparison.specs[kind])) > 1:
            continue
        rows.append([path, *(value if len(value) <= LONGEST else value[: LONGEST - 1] + "…" for value in values)])
    return rows

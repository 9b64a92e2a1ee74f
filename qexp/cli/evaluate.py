"""qexp evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.arguments import DeviceOption, RunArgument, TrustCodeOption
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, result, warning
from qexp.cli.evaluations import print_evaluation
from qexp.workspace import find

DatasetOption = Annotated[
    str | None,
    typer.Option(
        help="Name or path of a dataset spec of the kind that the run was trained on; the run's own if left out.",
        autocompletion=completion.datasets,
    ),
]
InputOption = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="FILE|FOLDER",
        help="Data in the form of the run's own: a table or a folder of tables; a folder of fields, or of folders of "
        "fields; spectra.",
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="train|validation|test|all",
        help="Part of the data; if left out, test where the data have such a part, else all.",
        autocompletion=completion.parts,
    ),
]
SeedOption = Annotated[int, typer.Option(help="Random seed of simulated samples, masks and intervals.")]
NameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the evaluation; that of the data if left out.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace an evaluation of the same name that was made with other settings.")
]


def evaluate(
    run: RunArgument,
    dataset: DatasetOption = None,
    source: InputOption = None,
    part: PartOption = None,
    seed: SeedOption = 0,
    name: NameOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Evaluate a finished run on data other than its own test part.

    Errors, intervals, tables and figures are kept in the run, in evaluations/NAME/, without training or fitting
    anything. A warning says if the data are not independent of those that the run was trained on, or if that is
    unknown. Samples without truth are left out and counted.
    """
    place = find(workspace)
    made = api.evaluate(
        run, dataset, input=source, part=part, seed=seed, name=name, force=force, trust_code=trust_code, device=device,
        warn=warning, workspace=workspace,
    )  # fmt: skip
    record = made.record
    if as_json:
        print_json({**record.document(), "path": str(made.directory.path)})
        return
    for text in record.warnings:
        warning(text)
    print_evaluation(record, made.held_out_intervals, doubted=warning)
    message("tables and figures:" if made.made else "it exists already; tables and figures:")
    result(place.shown(made.directory.results))

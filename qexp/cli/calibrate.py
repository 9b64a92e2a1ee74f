"""qexp calibrate"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.analysis.comparison.calibration_tables import calibrated
from qexp.cli import completion
from qexp.cli.arguments import DeviceOption, RunArgument, TrustCodeOption
from qexp.cli.bar import bar
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_parts, result, warning
from qexp.workspace import find

DrawsOption = Annotated[int, typer.Option(metavar="N", help="Values drawn from the prior, each for an observation.")]
SamplesOption = Annotated[int, typer.Option(metavar="N", help="Samples from the posterior of each observation.")]
PartOption = Annotated[
    str,
    typer.Option(
        metavar="train|validation|test|all",
        help="Part of the distributions: all is the whole prior, as an observer may meet it.",
        autocompletion=completion.parts,
    ),
]
SeedOption = Annotated[int, typer.Option(metavar="N", help="Random seed of observations and samples.")]

ExactOption = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Also compare N of the posteriors with the exact ones, for up to three variables: widths, and how well a "
        "classifier distinguishes the samples (C2ST).",
    ),
]
RefinedOption = Annotated[
    bool,
    typer.Option(
        "--refined", help="Test the posteriors by the known likelihood, found from the network's estimates, instead."
    ),
]


def calibrate(
    run: RunArgument,
    draws: DrawsOption = 2000,
    samples: SamplesOption = 1000,
    part: PartOption = "all",
    seed: SeedOption = 0,
    exact: ExactOption = 0,
    refined: RefinedOption = False,
    as_json: JsonOption = False,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Test whether the posteriors of a run are as sure as they may be.

    New observations are simulated from values drawn from the prior; then it is counted how often the posteriors' ranks,
    intervals and regions hold these values: everywhere together, and by where the estimates lie. The result is kept in
    the run and shown with it.
    """
    place = find(workspace)
    with bar("calibrating") as show:
        found = api.calibrate(
            run, draws=draws, samples=samples, part=part, seed=seed, exact=exact, refined=refined,
            device=device, trust_code=trust_code, warn=warning, workspace=workspace,
            on_observation=lambda done, count: show(done / count, f"{done:,} of {count:,} observations"),
        )  # fmt: skip
    if as_json:
        print_json(found.document())
        return
    print_parts(calibrated(found))
    message("kept in the run, with tables and figures:")
    result(place.shown(api.open_run(run, workspace=workspace).directory.results))

"""qexp calibrate"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.analysis.comparison.calibration_tables import calibrated, calibrated_runs, what_would_be_noticed
from qexp.cli import completion
from qexp.cli.arguments import DeviceOption, RunsArgument, TrustCodeOption
from qexp.cli.bar import Show, bar
from qexp.cli.console import JsonOption, WorkspaceOption, error, message, print_json, print_parts, result, warning
from qexp.errors import QexpError
from qexp.workspace import find

if TYPE_CHECKING:
    from qexp.runs.record.calibration import Calibration

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
    runs: RunsArgument,
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
    """Test whether the posteriors of runs are as sure as they may be.

    New observations are simulated from values drawn from the prior; then it is counted how often the posteriors' ranks,
    intervals and regions hold these values: everywhere together, and by where the estimates lie. The result is kept in
    the run and shown with it. Several runs are tested one after the other, with a line for each at the end; --json then
    prints an object with the result of each run.
    """
    from qexp.runs.catalog.references import is_pattern

    place, opened = find(workspace), api.open_runs(runs, workspace=workspace)
    several = len(opened) > 1 or len(runs) > 1 or is_pattern(runs[0])
    found: dict[str, Calibration] = {}
    failures: dict[str, QexpError] = {}
    with bar("calibrating") as show:
        for place_of_run, run in enumerate(opened):
            try:
                found[run.name] = api.calibrate(
                    run, draws=draws, samples=samples, part=part, seed=seed, exact=exact, refined=refined,
                    device=device, trust_code=trust_code, warn=warning, workspace=workspace,
                    on_observation=_shown(show, run.name, place_of_run, len(opened)),
                )  # fmt: skip
            except QexpError as failure:
                failures[run.name] = failure
    if not several and failures:
        raise next(iter(failures.values()))
    _print(found, several, as_json)
    for name, why in failures.items():
        error(f"{name}: {why}")
    if failures:
        raise typer.Exit(4 if found else next(iter(failures.values())).exit_code)
    if not as_json:
        message("kept in the run, with tables and figures:" if not several else "kept in the runs, with figures:")
        for run in opened:
            result(place.shown(run.directory.results))


def _shown(show: Show, name: str, before: int, runs: int) -> Callable[[int, int], None]:
    """Shows how many observations of a run are done; `before` runs are."""
    words = f"{name}: " if runs > 1 else ""
    return lambda done, count: show((before + done / count) / runs, f"{words}{done:,} of {count:,} observations")


def _print(found: Mapping[str, Calibration], several: bool, as_json: bool) -> None:
    if as_json:
        documents = {name: one.document() for name, one in found.items()}
        print_json(documents if several else next(iter(documents.values())))
    elif several and found:
        print_parts([calibrated_runs(found), *dict.fromkeys(map(what_would_be_noticed, found.values()))])
    elif found:
        print_parts(calibrated(found.values()))

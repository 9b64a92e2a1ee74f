"""qexp limit"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.analysis.comparison.rounding import measured
from qexp.cli import completion
from qexp.cli.arguments import TrustCodeOption
from qexp.cli.bar import bar
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_table, warning

DatasetArgument = Annotated[
    str | None, typer.Argument(help="Name or path of a dataset spec.", autocompletion=completion.datasets)
]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="In place of a dataset: a run, for its own test samples. The limit is kept in the run and shown with it.",
        autocompletion=completion.runs,
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="test|all",
        help="Where the samples are drawn from: the test part, as for runs, or the whole prior, over which no method "
        "has smaller errors on average.",
    ),
]
SeedOption = Annotated[int | None, typer.Option(metavar="N", help="Random seed of the samples; 0 if left out.")]
SamplesOption = Annotated[int | None, typer.Option(metavar="N", help="Number of samples; 1,000 if left out.")]


def limit(
    dataset: DatasetArgument = None,
    run: RunOption = None,
    part: PartOption = None,
    seed: SeedOption = None,
    samples: SamplesOption = None,
    as_json: JsonOption = False,
    trust_code: TrustCodeOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Compute the errors of the exact posteriors of simulated images with noise.

    The posterior of each test sample is integrated over up to three unknown variables, and sampled by importance if
    there are more or the noise level is one of them. Inputs of the network are known. The prior has
    the whole distributions of the dataset, training and test intervals. On average over that prior (--part all) no
    method has a mean absolute error below that of the posterior median (mae), nor a root mean square error below that
    of the posterior mean (rmse). Over the test intervals alone a method that knew these could do better.
    """
    with bar("integrating") as show:
        found = api.limit(
            dataset, run=run, part=part, seed=seed, samples=samples, trust_code=trust_code, workspace=workspace,
            warn=warning, on_sample=lambda done, count: show(done / count, f"{done:,} of {count:,} samples"),
        )  # fmt: skip
    if as_json:
        print_json(found.document())
        return
    rows = [
        [name, measured(one.mae, one.mae_error), measured(one.rmse, one.rmse_error), one.unit]
        for name, one in found.variables.items()
    ]
    print_table(["variable", "mae", "rmse", "unit"], rows, right=["mae", "rmse"])
    worst = max(one.difference for one in found.variables.values())
    drawn_from = "the whole prior" if part == "all" else "the test part"
    message(
        f"errors of the exact posterior median (mae) and mean (rmse) ± standard errors, over {found.samples:,} samples "
        f"of {drawn_from} of {found.dataset} with seed {found.seed}; the prior has the dataset's whole distributions; "
        + found.meaning
        + (f"; known of each sample: {', '.join(found.given)}" if found.given else "")
    )
    coarser = "half of the draws changes" if found.sampled else "grids that are half as fine change"
    message(f"{coarser} the medians by {100 * worst:.2g} % of these errors at most, on average")
    if found.doubted:
        warning(f"the draws of {found.doubted:,} posteriors are not to be trusted: too few of them are effective")
    if run is not None:
        message(f"kept in the run, and shown beside its errors: qexp show {run}")

"""qexp matrix"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from qexp import api, files
from qexp.analysis.comparison.rounding import number
from qexp.cli import completion, texts
from qexp.cli.arguments import DeviceOption, RunOption, TrustCodeOption
from qexp.cli.console import WorkspaceOption, message, print_table, result
from qexp.workspace import find

RefineOption = Annotated[
    bool,
    typer.Option(
        "--refine",
        help="Also refine every estimate by least squares that start at it, with the weights of the dataset's noise.",
    ),
]


def matrix(
    run: RunOption,
    dataset: Annotated[
        str,
        typer.Option(
            help="Name or path of a dataset spec, which generates the observations.", autocompletion=completion.datasets
        ),
    ],
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--axis",
            metavar="VARIABLE=LOW:HIGH:CELLS",
            help="Axis of true values; repeat for more. The axes of the dataset if left out.",
        ),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            "--fix", metavar="VARIABLE=VALUE", help="Value of a variable that is not an axis; repeat for more."
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="N", help="Noise realisations per cell.")] = 1,
    seed: Annotated[int, typer.Option(help="Random seed of the noise.")] = 0,
    npy: Annotated[bool, typer.Option("--npy", help="Also write the .npy arrays of VDI.")] = False,
    refine: RefineOption = False,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Map how well a run's network inverts: its estimates over a grid of true parameter values."""
    grid, fixed = texts.axes(axes or []), texts.fixed(fix or [])
    table = api.matrix(
        run, dataset, axes=grid, fixed=fixed, repeats=repeats, seed=seed, device=device, npy=npy, refine=refine,
        trust_code=trust_code, workspace=workspace,
    )  # fmt: skip
    folder = Path(table.encoding["source"]).parent
    record = files.read_json(folder / "record.json")
    errors = {"mean |error|": record["mean_absolute_error"]}
    if refine:
        errors["refined"] = record["refined_mean_absolute_error"]
    units = record["units"]
    rows = [
        [name, *(number(of[name]) for of in errors.values()), units[name]] for name in record["mean_absolute_error"]
    ]
    print_table(["output", *errors, "unit"], rows, right=list(errors))
    if record.get("left_out"):
        cells = math.prod(table.sizes[name] for name in record["axes"])
        why = f": {record['why_left_out']}" if record["why_left_out"] else ""
        message(f"{record['left_out']:,} of {cells:,} cells are left out{why}")
    made = [folder / name for name in ("matrix.nc", "matrix.png") if (folder / name).exists()]
    message("matrix and picture:" if len(made) > 1 else "matrix:")
    for path in made:
        result(find(workspace).shown(path))

"""qexp matrix"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from qexp import api, files
from qexp.analysis.comparison.rounding import number
from qexp.cli import completion, texts
from qexp.cli.arguments import DeviceOption, TrustCodeOption
from qexp.cli.bar import bar, on_a_terminal
from qexp.cli.console import WorkspaceOption, message, print_table, result
from qexp.workspace import find

SOON = 10.0
"""Seconds after which a command says how long it will take."""

RunsOption = Annotated[
    list[str],
    typer.Option(
        "--run",
        metavar="RUN",
        help="A finished run: name, unique prefix or path. Several that differ by their seed alone, by a quoted "
        "pattern such as 'mogi_[0-9]*' or by repeating the option, get a matrix each, and mean, bias and standard "
        "deviation over the seeds.",
        autocompletion=completion.runs,
    ),
]

RefineOption = Annotated[
    bool,
    typer.Option(
        "--refine",
        help="Also refine every estimate by least squares that start at it, with the weights of the dataset's noise.",
    ),
]

BoundOption = Annotated[
    bool,
    typer.Option(
        "--bound",
        help="Also compute the Cramér-Rao bound, the least standard deviation of unbiased estimates; with --repeats, "
        "the ratio of the network's to it.",
    ),
]

NameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the matrix in the run; that of the dataset if left out.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a matrix of the same name that was made with other settings.")
]


def matrix(
    run: RunsOption,
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
    name: NameOption = None,
    force: ForceOption = False,
    npy: Annotated[bool, typer.Option("--npy", help="Also write the .npy arrays of VDI.")] = False,
    refine: RefineOption = False,
    bound: BoundOption = False,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Map how well a run's network inverts: its estimates over a grid of true parameter values."""
    grid, fixed = texts.axes(axes or []), texts.fixed(fix or [])
    with _progress() as on_refined:
        table = api.matrix(
            run, dataset, axes=grid, fixed=fixed, repeats=repeats, seed=seed, device=device, npy=npy, refine=refine,
            bound=bound, name=name, force=force, on_refined=on_refined, tell=message, trust_code=trust_code,
            workspace=workspace,
        )  # fmt: skip
    folder = Path(table.encoding["source"]).parent
    record = files.read_json(folder / "record.json")
    if "runs" in record:
        message(f"over {len(record['runs'])} seeds: {', '.join(record['runs'])}")
    _print_errors(record)
    cells = math.prod(table.sizes[name] for name in record["axes"])
    if record.get("remark"):
        message(record["remark"])
    for image, size in record.get("averaged", {}).items():
        message(f"refined are means of {size} × {size} pixels of {image}, which has too many for a full covariance")
    if record.get("not_refined"):
        message(f"{record['not_refined']:,} of {cells:,} cells are not refined: they show too few pixels")
    if record.get("unseen"):
        message(f"{record['unseen']:,} of {cells:,} cells do not show the source: there the bound means little")
    if record.get("left_out"):
        why = f": {record['why_left_out']}" if record["why_left_out"] else ""
        message(f"{record['left_out']:,} of {cells:,} cells are left out{why}")
    _print_files(folder, workspace)


def _print_files(folder: Path, workspace: str | None) -> None:
    made = [folder / name for name in ("matrix.nc", "matrix.png") if (folder / name).exists()]
    message("matrix and picture:" if len(made) > 1 else "matrix:")
    for path in made:
        result(find(workspace).shown(path))


def _print_errors(record: dict[str, Any]) -> None:
    errors = [("mean |error|", "mean_absolute_error")]
    if "refined_mean_absolute_error" in record:
        errors += [
            ("refined", "refined_mean_absolute_error"),
            ("median |error|", "median_absolute_error"),
            ("refined", "refined_median_absolute_error"),
        ]
    errors += [
        (words, key)
        for words, key in (("median sd / bound", "median_over_bound"), ("refined", "median_refined_over_bound"))
        if key in record
    ]
    rows = [
        [name, *(number(record[key][name]) for _, key in errors), record["units"][name]]
        for name in record["mean_absolute_error"]
    ]
    columns = [words for words, _ in errors]
    print_table(["output", *columns, "unit"], rows, right=columns)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Shows how many cells are refined: a bar on a terminal; elsewhere, once, how long it will take if that is long."""
    said, first, began = on_a_terminal(), 0, 0.0
    with bar("refining") as show:

        def refined(done: int, cells: int) -> None:
            nonlocal said, first, began
            show(done / cells, f"{done:,} of {cells:,} cells")
            if not first:
                first, began = done, time.monotonic()
            elif not said and (seconds := time.monotonic() - began) > SOON and done < cells:
                said = True
                left = seconds / (done - first) * (cells - done)
                how_long = "less than a minute" if left < 60 else f"about {left / 60:.0f} min"
                message(f"{done:,} of {cells:,} cells are refined; the others take {how_long}")

        yield refined

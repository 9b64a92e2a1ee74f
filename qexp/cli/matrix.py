"""qexp matrix"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.analysis.comparison.rounding import number
from qexp.cli.arguments import DatasetOption, DeviceOption, RunOption, TrustCodeOption
from qexp.cli.console import WorkspaceOption, message, print_table, result


def matrix(
    run: RunOption,
    dataset: DatasetOption,
    axes: Annotated[
        list[str] | None,
        typer.Option("--axis", metavar="VARIABLE=LOW:HIGH:CELLS", help="An axis of true values; repeat for more."),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option("--fix", metavar="VARIABLE=VALUE", help="The value of a variable that is no axis."),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Noise realisations per cell.")] = 1,
    seed: Annotated[int, typer.Option(help="Where the noise comes from.")] = 0,
    npy: Annotated[bool, typer.Option("--npy", help="Write VDI's arrays, too.")] = False,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Map where a run's network can and cannot invert: its estimates over a grid of true values."""
    from qexp import files
    from qexp.analysis.matrix.axes import axis, value
    from qexp.analysis.matrix.matrix import matrix as make
    from qexp.errors import QexpError
    from qexp.runs.catalog.catalog import Catalog
    from qexp.workspace import find

    place = find(workspace)
    grid = [axis(text) for text in axes or []]
    fixed = dict(value(text) for text in fix or [])
    if len(fixed) < len(fix or []):
        raise QexpError("--fix: a variable is given twice")
    directory = Catalog(place).find(run).trusting(trust_code)
    folder = make(directory, dataset, place, axes=grid, fixed=fixed, repeats=repeats, seed=seed, device=device, npy=npy)
    record = files.read_json(folder / "record.json")
    rows = [[name, number(error), record["units"][name]] for name, error in record["mean_absolute_error"].items()]
    print_table(["output", "mean |error|", "unit"], rows, right=["mean |error|"])
    message("matrix and picture:")
    result(place.shown(folder / "matrix.nc"))
    result(place.shown(folder / "matrix.png"))

"""qexp predict"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp import api
from qexp.cli import texts
from qexp.cli.arguments import (
    DeviceOption,
    LauncherOption,
    LauncherOptionsOption,
    ProfileOption,
    RunOption,
    TrustCodeOption,
)
from qexp.cli.bar import bar
from qexp.cli.console import WorkspaceOption, error, message, result, warning
from qexp.errors import PartlyFailedError, QexpError
from qexp.runs.schedulers import LOCAL
from qexp.workspace import find

if TYPE_CHECKING:
    from qexp.analysis.prediction.files import Prediction


InputOption = Annotated[
    Path,
    typer.Option(
        "--input",
        metavar="FILE|FOLDER",
        help="Images: a NetCDF, npz, npy or GeoTIFF file, a folder with a npy or GeoTIFF file per input, or a folder "
        "of such files and folders. Rows: a CSV, Parquet or NetCDF file, or a folder of them. Fields: a NetCDF file, a "
        "folder with ex.nc or npy files, or a folder of such folders. Spectra: a folder with spe/, a folder of files, "
        "or a table with one per row.",
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        metavar="FILE|FOLDER",
        help="Output: a folder for a folder of files or of folders, a NetCDF file for fields, a table (NetCDF, CSV or "
        "Parquet) for images and spectra.",
    ),
]
ChunkOption = Annotated[
    int | None, typer.Option("--chunk", metavar="N", help="Images, rows, frames or spectra in memory at a time.")
]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="NAME=OTHER,...|N,N,...",
        help="Columns of rows with other names than in the training data: the run's name and the file's, or the "
        "positions of the run's columns in the file, in order, counted from 1; repeat for more.",
    ),
]
IntervalOption = Annotated[
    float | None,
    typer.Option(
        "--interval",
        metavar="SHARE",
        help="Coverage of the intervals of rows, spectra and posteriors of images; 0.9 if left out, or what the "
        "held-out errors of rows and spectra can promise.",
    ),
]
DrawsOption = Annotated[
    int | None,
    typer.Option(
        "--draws",
        metavar="N",
        help="Images, rows and spectra, with a posterior head or --refined: also write this number of draws from the "
        "posterior of each, for ArviZ, into a file beside the estimates.",
    ),
]

RefinedOption = Annotated[
    bool,
    typer.Option(
        "--refined",
        help="Images of a simulated dataset: intervals and draws are of the posteriors by the known likelihood, which "
        "the network's estimates only start; estimates are their medians. For runs with or without a posterior head.",
    ),
]

MisfitOption = Annotated[
    bool,
    typer.Option(
        "--misfit",
        help="Images: also compare each with what the simulator of the training data makes, by p-values of the "
        "residuals of the best source, found by least squares, and of the network's features.",
    ),
]


def predict(
    run: RunOption,
    source: InputOption,
    target: OutputOption,
    chunk: ChunkOption = None,
    columns: ColumnsOption = None,
    interval: IntervalOption = None,
    draws: DrawsOption = None,
    refined: RefinedOption = False,
    misfit: MisfitOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing estimates.")] = False,
    launcher: LauncherOption = LOCAL,
    launcher_options: LauncherOptionsOption = None,
    profile: ProfileOption = None,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Estimate the images, rows, fields or spectra in files, in chunks that need little memory.

    Images are found by the names of the run's inputs, with rows that run northwards, and converted to their units;
    those unlike the training data are counted. Columns of rows are found by name, or as --columns says, or by number
    in a file without names; fields by name, and slopes are computed from the surface. Rows get their ensemble
    standard deviation, spectra a figure along each core, and both get intervals, by the errors of held-out data. Files
    that the same run has estimated already are skipped, so that an interrupted command can be repeated. A cluster gets
    a job for each file of a folder.
    """
    given = texts.columns(columns) if columns else None
    if launcher != LOCAL or profile is not None:
        submitted = api.submit_predictions(
            run, source, target, launcher, options=texts.launcher_options(launcher_options or []), profile=profile,
            chunk=chunk, overwrite=overwrite, columns=given, interval=interval, draws=draws, refined=refined,
            misfit=misfit, trust_code=trust_code, device=device, workspace=workspace,
        )  # fmt: skip
        for written, job in submitted.jobs.items():
            result(f"{written}  {job}")
        message(f"output of the jobs: {find(workspace).shown(submitted.folder / 'output')}")
        return
    if launcher_options:
        raise QexpError("--option is for the scheduler of a cluster; name it with --launcher")
    try:
        api.predict(
            run, source, target, chunk=chunk, overwrite=overwrite, columns=given, interval=interval, draws=draws,
            refined=refined, misfit=misfit, trust_code=trust_code, device=device, watched=_bar, each=_print_outcome,
            workspace=workspace,
        )  # fmt: skip
    except PartlyFailedError as failed:  # each error is printed already
        raise typer.Exit(failed.exit_code) from None


def _print_outcome(one: Prediction | QexpError) -> None:
    if isinstance(one, QexpError):
        error(str(one))
    elif not one.made:
        message(f"{one.target} exists already")
    else:
        for text in one.warnings:
            warning(text)
        message(f"{one.target}: {', '.join(one.remarks)}")
        for file in one.files:
            result(str(file))


@contextmanager
def _bar(counted: str, path: Path) -> Iterator[Callable[[int, float], None]]:
    with bar(path.name) as show:
        yield lambda count, share: show(share, f"{count:,} {counted}")

"""qexp predict"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp.cli.arguments import DeviceOption, LauncherOption, LauncherOptionsOption, RunOption, TrustCodeOption
from qexp.cli.console import WorkspaceOption, error, message, result, warning
from qexp.runs.schedulers import LOCAL

if TYPE_CHECKING:
    from qexp.analysis.prediction.files import Prediction


def predict(
    run: RunOption,
    source: Annotated[
        Path,
        typer.Option(
            "--input",
            metavar="FILE|FOLDER",
            help="Rows: CSV, Parquet or NetCDF, or a folder of such. Fields: NetCDF, or a folder with ex.nc or npy. "
            "Spectra: a folder with spe/ or a file for each, or a table with one per row.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Option(
            "--output",
            metavar="FILE|FOLDER",
            help="Where the estimates go: a folder for a folder of rows, NetCDF for fields, a table for spectra.",
        ),
    ],
    chunk: Annotated[int | None, typer.Option(metavar="N", help="Rows, frames or spectra in memory at a time.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace estimates that are there already.")] = False,
    launcher: LauncherOption = LOCAL,
    launcher_options: LauncherOptionsOption = None,
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Estimate rows, fields or spectra of files, streamed through little memory; rows with the spread over networks.

    Columns are found by name, or by their number where a file has no names; fields by name, slopes are computed from
    the surface; spectra get a figure down each core. Files that the same run has estimated already are left alone, so
    that a command that was interrupted can be given again. A cluster gets a job for each file of a folder.
    """
    from qexp.analysis.prediction.files import file_kind, predict_files
    from qexp.errors import QexpError
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.schedulers import options_of
    from qexp.workspace import find

    if chunk is not None and chunk < 1:
        raise QexpError(f"--chunk {chunk}: at least 1")
    place = find(workspace)
    settings = options_of(launcher, place.settings(), launcher_options or [])
    directory = Catalog(place).find(run).trusting(trust_code)
    kind = file_kind(directory)
    pairs = kind.targets(source, target)
    if launcher != LOCAL:
        from qexp.analysis.prediction.job_array import submit

        options = ["--device", device, *([] if chunk is None else ["--chunk", str(chunk)])]
        options += [flag for flag, given in (("--overwrite", overwrite), ("--trust-code", trust_code)) if given]
        submitted = submit(directory, pairs, place, launcher, settings, options)
        for written, job in submitted.jobs.items():
            result(f"{written}  {job}")
        message(f"what the tasks say goes to {place.shown(submitted.folder / 'output')}")
        return
    failed = False
    watched = partial(_bar, kind.counted)
    for made in predict_files(pairs, directory, device, chunk=chunk, overwrite=overwrite, watched=watched):
        if not isinstance(made, QexpError):
            _say(made)
        elif len(pairs) == 1:
            raise made
        else:
            error(str(made))
            failed = True
    raise typer.Exit(4 if failed else 0)


def _say(prediction: Prediction) -> None:
    if not prediction.made:
        message(f"{prediction.target} is there already")
        return
    for text in prediction.warnings:
        warning(text)
    message(f"{prediction.target}: {', '.join(prediction.remarks)}")
    for file in prediction.files:
        result(str(file))


@contextmanager
def _bar(counted: str, path: Path) -> Iterator[Callable[[int, float], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda count, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn(f"{{task.fields[count]:,}} {counted}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(path.name, total=1.0, count=0)
        yield lambda count, share: bar.update(task, completed=share, count=count)

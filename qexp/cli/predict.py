"""qexp predict"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexp.cli.arguments import DeviceOption, RunOption
from qexp.cli.console import WorkspaceOption, error, message, result

if TYPE_CHECKING:
    from qexp.analysis.predict_rows import Prediction


def predict(
    run: RunOption,
    source: Annotated[
        Path, typer.Option("--input", metavar="FILE|FOLDER", help="Rows: CSV, Parquet or NetCDF, or a folder of such.")
    ],
    target: Annotated[
        Path, typer.Option("--output", metavar="FILE|FOLDER", help="Where the estimates go; a folder for a folder.")
    ],
    chunk: Annotated[int | None, typer.Option(metavar="N", help="Rows in memory at a time.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace estimates that are there already.")] = False,
    launcher: Annotated[
        str, typer.Option(help="Where it runs: local, or slurm, which takes the files of a folder as a job array.")
    ] = "local",
    slurm: Annotated[
        list[str] | None, typer.Option("--slurm", metavar="KEY=VALUE", help="An option for Slurm; see qexp.toml.")
    ] = None,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Estimate the rows of files, each with the spread over the run's networks, streamed through little memory.

    Columns are found by name, or by their number where a file has no names. Files that the same run has estimated
    already are left alone, so that a command that was interrupted can be given again.
    """
    from qexp.analysis.predict_rows import predict_files, targets
    from qexp.analysis.row_model import row_model
    from qexp.errors import QexpError
    from qexp.runs.catalog import Catalog
    from qexp.runs.sweep import LAUNCHERS
    from qexp.tables import suggestion
    from qexp.workspace import find

    if launcher not in LAUNCHERS:
        raise QexpError(f"--launcher {launcher}: no such launcher; {suggestion(launcher, LAUNCHERS)}")
    if slurm and launcher != "slurm":
        raise QexpError("--slurm is for --launcher slurm")
    if chunk is not None and chunk < 1:
        raise QexpError(f"--chunk {chunk}: at least one row")
    place = find(workspace)
    directory = Catalog(place).find(run)
    pairs = targets(source, target)
    if launcher == "slurm":
        from qexp.analysis.predict_array import submit

        options = ["--device", device, *([] if chunk is None else ["--chunk", str(chunk)])]
        submitted = submit(directory, pairs, place, slurm or [], [*options, *(["--overwrite"] if overwrite else [])])
        for written, job in submitted.jobs.items():
            result(f"{written}  {job}")
        message(f"what the tasks say goes to {place.shown(submitted.folder / 'output')}")
        return
    failed = False
    for made in predict_files(pairs, row_model(directory, device), chunk=chunk, overwrite=overwrite, watched=_bar):
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
    remarks = [f"{prediction.rows:,} rows"]
    if prediction.outside:
        remarks.append(f"{prediction.outside:,} with features outside the range of the training data")
    if prediction.missing:
        remarks.append(f"{prediction.missing:,} without an estimate, because a feature is missing")
    message(f"{prediction.target}: {', '.join(remarks)}")
    result(str(prediction.target))
    if prediction.map is not None:
        result(str(prediction.map))


@contextmanager
def _bar(path: Path) -> Iterator[Callable[[int, float], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda rows, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[rows]:,} rows"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(path.name, total=1.0, rows=0)
        yield lambda rows, share: bar.update(task, completed=share, rows=rows)

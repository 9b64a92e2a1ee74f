"""qexp data"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli import texts
from qexp.cli.arguments import CheckedGroup
from qexp.cli.console import message, result

app = typer.Typer(cls=CheckedGroup, no_args_is_help=True, help="Simulate data sets from known physics.")


@app.command()
def ice(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder, which gets train/ and test/.")],
    glaciers: Annotated[int, typer.Option(metavar="N", help="Number of glaciers, including those for the test.")] = 12,
    test: Annotated[
        int | None, typer.Option(metavar="N", help="Number of test glaciers; a quarter if left out.")
    ] = None,
    frames: Annotated[int, typer.Option(metavar="N", help="Frames per glacier, at successive times.")] = 15,
    size: Annotated[int, typer.Option(metavar="CELLS", help="Cells along each side of a frame.")] = 80,
    spacing: Annotated[float, typer.Option(metavar="METRES", help="Width of a cell.")] = 150.0,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    arrhenius: Annotated[
        str,
        typer.Option(
            metavar="LOW:HIGH", help="Rate factor of Glen's law, in MPa⁻³ a⁻¹; drawn per glacier from a range."
        ),
    ] = "78",
    sliding: Annotated[
        str,
        typer.Option(
            metavar="LOW:HIGH", help="Weertman's sliding coefficient, in km MPa⁻³ a⁻¹; drawn per glacier from a range."
        ),
    ] = "0",
    coupling: Annotated[
        float | None,
        typer.Option(
            metavar="LENGTH",
            help="Spread the flux of each cell over this many ice thicknesses around it, a test case for networks.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace glaciers that were simulated there before.")
    ] = False,
) -> None:
    """Simulate glaciers: shallow ice on random beds, in the format of 2Dto2D-DLE.

    Each is a folder with an ex.nc: thickness, surface, bed and velocities over time. A seed always gives the same.
    """
    from qexp.runs.signals import terminable

    with terminable(), _bar("ice") as watch:
        made = api.make_ice(
            out, glaciers, test, overwrite=overwrite, watch=watch, frames=frames, size=size, spacing=spacing, seed=seed,
            arrhenius=texts.low_and_high("--arrhenius", arrhenius), sliding=texts.low_and_high("--sliding", sliding),
            coupling=coupling,
        )  # fmt: skip
    for one in made:
        result(str(one.folder))
    steps, seconds = sum(one.steps for one in made), sum(one.seconds for one in made)
    message(
        f"{len(made)} glaciers of {frames} frames in {seconds:.3g} s: {steps:,} time steps, "
        f"{seconds / (len(made) * frames):.2g} s a frame"
    )


@app.command()
def xrf(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder, which gets pretrain/, caco3/ and toc/.")],
    cores: Annotated[int, typer.Option(metavar="N", help="Number of cores, including those for the test.")] = 30,
    test: Annotated[int | None, typer.Option(metavar="N", help="Number of test cores; a quarter if left out.")] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Number of validation cores among the others, named in val.csv; a sixth if left out."
        ),
    ] = None,
    spectra: Annotated[int, typer.Option(metavar="N", help="Spectra per core, one per centimetre.")] = 200,
    labelled: Annotated[int, typer.Option(metavar="N", help="Spectra per core that have CaCO3 and TOC.")] = 40,
    voltage: Annotated[
        str, typer.Option(metavar="KV", help="Tube voltage: 10 or 30, or 10,30 for alternating cores.")
    ] = "30",
    layout: Annotated[
        str,
        typer.Option(metavar="NAME", help="Of the folders: plain, or max for that of the data published with MAX."),
    ] = "plain",
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace spectra that were simulated there before.")
    ] = False,
) -> None:
    """Simulate XRF spectra of sediment cores, in the layout of published ones: spe/, target/, info.csv, val.csv.

    All are in pretrain/, those with CaCO3 and TOC, in wt%, in caco3/ and toc/ as well. A seed always gives the same.
    """
    from qexp.runs.signals import terminable

    tube = texts.whole_numbers("--voltage", voltage)
    started = time.perf_counter()
    with terminable(), _bar("xrf") as watch:
        made = api.make_xrf(
            out, cores, test, validation, overwrite=overwrite, watch=watch, spectra=spectra, labelled=labelled,
            voltage=tube, seed=seed, layout=layout,
        )  # fmt: skip
    for folder in made.folders:
        result(str(folder))
    message(
        f"{made.spectra:,} spectra of {cores} cores, {made.labelled:,} of them with CaCO3 and TOC, "
        f"in {time.perf_counter() - started:.3g} s"
    )


@contextmanager
def _bar(name: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda name, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda name, share: bar.update(task, completed=share, description=name)

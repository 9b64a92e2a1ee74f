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

from qexp.cli.arguments import CheckedGroup
from qexp.cli.console import message, result

app = typer.Typer(cls=CheckedGroup, no_args_is_help=True, help="Make data sets up, from physics that is known.")


@app.command()
def ice(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder: train/ and test/ are made in it.")],
    glaciers: Annotated[int, typer.Option(metavar="N", help="How many, those for the test among them.")] = 12,
    test: Annotated[
        int | None, typer.Option(metavar="N", help="How many are for the test; a quarter if left out.")
    ] = None,
    frames: Annotated[int, typer.Option(metavar="N", help="Moments of each glacier's life.")] = 15,
    size: Annotated[int, typer.Option(metavar="CELLS", help="Along each side of the frame.")] = 80,
    spacing: Annotated[float, typer.Option(metavar="METRES", help="Width of a cell.")] = 150.0,
    seed: Annotated[int, typer.Option(help="Where everything random comes from.")] = 0,
    arrhenius: Annotated[
        str,
        typer.Option(metavar="LOW:HIGH", help="Rate factor of Glen's law, in MPa⁻³ a⁻¹; of a range, one per glacier."),
    ] = "78",
    sliding: Annotated[
        str,
        typer.Option(metavar="LOW:HIGH", help="Weertman's coefficient, in km MPa⁻³ a⁻¹; of a range, one per glacier."),
    ] = "0",
    coupling: Annotated[
        float | None,
        typer.Option(
            metavar="LENGTH",
            help="Smear each cell's flux over the ice around it, over so many thicknesses: a test for networks.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace glaciers that were made there.")] = False,
) -> None:
    """Make glaciers: shallow ice on random beds, in the format of 2Dto2D-DLE.

    Each is a folder with an ex.nc: thickness, surface, bed and velocities over time. A seed always gives the same.
    """
    from qexp.runs.signals import terminable
    from qexp.synthetic.ice import Options
    from qexp.synthetic.ice_folders import write

    options = Options(
        frames=frames,
        size=size,
        spacing=spacing,
        seed=seed,
        arrhenius=_range("--arrhenius", arrhenius),
        sliding=_range("--sliding", sliding),
        coupling=coupling,
    )
    with terminable(), _bar("ice") as watch:
        made = write(out, options, glaciers, test, overwrite, watch)
    for one in made:
        result(str(one.folder))
    steps, seconds = sum(one.steps for one in made), sum(one.seconds for one in made)
    message(
        f"{len(made)} glaciers of {frames} frames in {seconds:.3g} s: {steps:,} time steps, "
        f"{seconds / (len(made) * frames):.2g} s a frame"
    )


def _range(option: str, text: str) -> tuple[float, float]:
    from qexp.errors import QexpError

    low, _, high = text.partition(":")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise QexpError(f"{option} {text}: a number, or two as LOW:HIGH, such as 20:80") from None


@app.command()
def xrf(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="A new folder: pretrain/, caco3/ and toc/ are made in it.")
    ],
    cores: Annotated[int, typer.Option(metavar="N", help="How many, those for the test among them.")] = 30,
    test: Annotated[
        int | None, typer.Option(metavar="N", help="How many cores are for the test; a quarter if left out.")
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many of the others val.csv names; a sixth of them if left out."),
    ] = None,
    spectra: Annotated[int, typer.Option(metavar="N", help="Of each core, one per centimetre.")] = 200,
    labelled: Annotated[
        int, typer.Option(metavar="N", help="Of the spectra of each core: how many have CaCO3 and TOC.")
    ] = 40,
    voltage: Annotated[
        str, typer.Option(metavar="KV", help="Of the tube: 10 or 30, or 10,30 for one core after the other.")
    ] = "30",
    seed: Annotated[int, typer.Option(help="Where everything random comes from.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace spectra that were made there.")] = False,
) -> None:
    """Make XRF spectra of sediment cores, in the layout of published ones: spe/, target/, info.csv, val.csv.

    All are in pretrain/, those with CaCO3 and TOC, in wt%, in caco3/ and toc/ as well. A seed always gives the same.
    """
    from qexp.runs.signals import terminable
    from qexp.synthetic.xrf import Options
    from qexp.synthetic.xrf_folders import write

    options = Options(spectra=spectra, labelled=labelled, voltage=_whole_numbers("--voltage", voltage), seed=seed)
    started = time.perf_counter()
    with terminable(), _bar("xrf") as watch:
        made = write(out, options, cores, test, validation, overwrite, watch)
    for folder in made.folders:
        result(str(folder))
    message(
        f"{made.spectra:,} spectra of {cores} cores, {made.labelled:,} of them with CaCO3 and TOC, "
        f"in {time.perf_counter() - started:.3g} s"
    )


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    from qexp.errors import QexpError

    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise QexpError(f"{option} {text}: a whole number, or several with commas, such as 10,30") from None


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

"""qexp run"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp.cli.console import TrainingDisplay, WorkspaceOption, message, warning


def run(
    experience: Annotated[str, typer.Argument(help="Name or path of an experience spec.")],
    seed: Annotated[int, typer.Option(help="Where all randomness of the run comes from.")] = 0,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change the spec for this run.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; <experience>_<seed> if left out.")] = None,
    pretrain: Annotated[str | None, typer.Option(metavar="RUN", help="Start from that run's best weights.")] = None,
    storage_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the run there; runs/ gets a link to it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Train an experience with one seed, and judge it on the test part."""
    from qexp.cli.show import print_results
    from qexp.runs.catalog import Catalog
    from qexp.runs.start import start
    from qexp.workspace import find

    place = find(workspace)
    directory, worked = start(
        experience,
        place,
        seed=seed,
        overrides=overrides or [],
        name=name,
        pretrain=pretrain,
        storage=storage_path,
        resume=resume,
        device=device,
        display=TrainingDisplay(),
    )
    catalog = Catalog(place)
    catalog.runs()
    for text in catalog.warnings:
        warning(text)
    record = directory.record()
    if not worked:
        message(f"{directory.name} is done already; nothing to do")
    print_results(record)
    message(f"{directory.name}: {record['seconds']:.1f} s of training, in {place.shown(directory.path)}")

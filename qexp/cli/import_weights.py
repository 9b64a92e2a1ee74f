"""qexp import-weights"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli import arguments, completion, texts
from qexp.cli.console import WorkspaceOption, message, warning
from qexp.errors import QexpError
from qexp.workspace import find

FileArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Weights: .pth, .pt, .ckpt, .bin, .safetensors, .h5, .hdf5 or .keras."),
]
ToOption = Annotated[str, typer.Option("--to", metavar="NAME", help="Name of the new run.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="The model that the weights are for; alone, the experience that has it gives dataset and transforms.",
        autocompletion=completion.models,
    ),
]
ExperienceOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPERIENCE",
        help="The experience whose model, dataset and transforms the run gets.",
        autocompletion=completion.experiences,
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATASET",
        help="The dataset, instead of the experience's; without an experience the run has no transforms.",
        autocompletion=completion.datasets,
    ),
]
MapOption = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="RULES",
        help="Rules that rename the tensors: a name, such as vdi, or a file, RULES.json; those that fit if left out.",
        autocompletion=completion.weight_rules,
    ),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="NAME=FILE",
        help="A further tensor, e.g. target_mean=target_mean.pth; .npy is read, too. Repeat for more.",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Seed of the training samples to which transforms are fitted.")]
StoragePathOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder for the run directory; runs/ gets a link to it.")
]


def import_weights(
    file: FileArgument,
    to: ToOption,
    model: ModelOption = None,
    experience: ExperienceOption = None,
    dataset: DatasetOption = None,
    rules: MapOption = None,
    also: AlsoOption = None,
    overrides: arguments.SetOption = None,
    seed: SeedOption = 0,
    storage_path: StoragePathOption = None,
    tags: arguments.TagsOption = None,
    note: arguments.NoteOption = "",
    workspace: WorkspaceOption = None,
) -> None:
    """Make a finished run of weights that another program trained: PyTorch, safetensors or Keras."""
    run = api.import_weights(
        file, to, model=model, experience=experience, dataset=dataset, rules=rules, also=_named(also or []),
        overrides=texts.overrides(overrides or []), seed=seed, storage_path=storage_path, tags=tags or [], note=note,
        workspace=workspace,
    )  # fmt: skip
    record = run.directory.record()
    origin = record.foreign_weights
    assert origin is not None
    left_out = "".join(f", {count} left out ({why})" for why, count in origin.left_out.items())
    message(f"{run.name}: {origin.taken} tensors by the rules '{origin.rules}'{left_out}")
    for variable, from_where in origin.transforms.items():
        message(f"transform of '{variable}': {from_where}")
    if origin.azimuth:
        changed = ", ".join(record.overrides[len(overrides or []) :])
        message(
            f"trained on images at azimuths {math.degrees(origin.azimuth):+g}°, as the run's dataset makes: {changed}"
        )
    for text in [*origin.remarks, *([record.caution] if record.caution else [])]:
        warning(text)
    if not run.spec["transforms"]:
        message("no transforms: the network takes and makes values in the units of the dataset")
    place = find(workspace).shown(run.path)
    message(f"{run.name} is in {place}: model {record.model}, dataset {record.dataset}")


def _named(given: list[str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise QexpError(f"--also {text}: write NAME=FILE, for example --also target_mean=target_mean.pth")
        if name in named:
            raise QexpError(f"--also {name} is given twice")
        named[name] = Path(file)
    return named

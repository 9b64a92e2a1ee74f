"""Prediction of the files of a folder on a cluster: one task of a job array per file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qexp import files
from qexp.analysis.trained import load_models
from qexp.errors import QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.schedulers import LAUNCHERS
from qexp.runs.schedulers.options import Chosen
from qexp.runs.schedulers.scheduler import Submission
from qexp.runs.state import launches
from qexp.runs.wrap import wrap_of
from qexp.workspace import Workspace


@dataclass(frozen=True)
class Submitted:
    """Files submitted to a scheduler."""

    folder: Path
    """Folder of the launch: script, commands, `prediction.json`, and in `output/` the output of the tasks."""
    jobs: dict[str, str]
    """File to be written → its job."""


def submit(
    directory: RunDirectory,
    pairs: Sequence[tuple[Path, Path]],
    workspace: Workspace,
    launcher: str,
    settings: Chosen,
    options: Sequence[str] = (),
) -> Submitted:
    """Submit the prediction of files to a scheduler.

    pairs     files to read and to write, see `row_files.targets`
    launcher  name of a launcher other than the local one
    settings  its options, as `options_of` returns them
    options   further options of the command for each file
    Raises QexpError if the run cannot predict, SchedulerError if the scheduler refuses.
    """
    import torch

    scheduler = LAUNCHERS[launcher]
    assert scheduler is not None, "local predictions need no launch"
    load_models(directory, torch.device("cpu"))  # fails here instead of in every task
    if not pairs:
        raise QexpError("there are no files to predict")
    files.make_folder(pairs[0][1].absolute().parent)
    folder = launches.claim(workspace).folder
    start = ["predict", "--run", str(directory.path.absolute())]
    place = ["--workspace", str(workspace.root.absolute())]
    around = wrap_of(settings)
    commands = [
        around.around(
            directory, *start, "--input", str(path.absolute()), "--output", str(made.absolute()), *options, *place
        )
        for path, made in pairs
    ]
    record = {"run": directory.name, "launcher": launcher, "settings": settings, "commands": commands, "jobs": {}}
    files.write_json(folder / launches.PREDICTION, record)
    jobs = scheduler.submit_commands(Submission(folder, f"predict-{directory.name}", settings), commands)
    made_by = {str(made): job for (_, made), job in zip(pairs, jobs, strict=True)}
    files.write_json(folder / launches.PREDICTION, {**record, "jobs": made_by})
    return Submitted(folder, made_by)

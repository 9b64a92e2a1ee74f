"""qexp rerun"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli import texts
from qexp.cli.arguments import DeviceOption, NoteOption, RunArgument, SetOption, TagsOption, TrustCodeOption
from qexp.cli.console import TrainingDisplay, WorkspaceOption
from qexp.cli.run import print_trained, warnings_shown

AtCommitOption = Annotated[
    bool,
    typer.Option(
        "--at-commit", help="Use qexp's code at the commit that trained the run, from its git repository, unchanged."
    ),
]


def rerun(
    run: RunArgument,
    name: Annotated[str | None, typer.Option(help="Name of the new run; RUN_rerun if left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed; that of the run if left out.")] = None,
    overrides: SetOption = None,
    at_commit: AtCommitOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue RUN itself, which was interrupted, instead of a new run.")
    ] = False,
    tags: TagsOption = None,
    note: NoteOption = "",
    trust_code: TrustCodeOption = False,
    device: DeviceOption = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Train the spec that a run holds once more, as a new run, even if the files in specs/ have changed since.

    The run's own copy of specs/extensions.py is used. The new run is kept, and can have another seed or other values;
    'qexp verify' instead repeats a run in a temporary folder, and compares every bit.
    """
    opened = api.open_run(run, trust_code=trust_code, workspace=workspace)
    with warnings_shown():
        trained = opened.rerun(
            name=name, seed=seed, overrides=texts.overrides(overrides or []), at_commit=at_commit, resume=resume,
            tags=tags or [], note=note, device=device, display=TrainingDisplay(),
        )  # fmt: skip
    print_trained(trained, workspace)

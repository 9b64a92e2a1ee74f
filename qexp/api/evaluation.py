"""Judging finished runs on other data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qexp import workspace as workspaces
from qexp.api.run_handle import Run, directory_of
from qexp.api.warn import Report, as_warning

if TYPE_CHECKING:
    from qexp.analysis.evaluation.evaluate import Evaluation


def evaluate(
    run: Run | str,
    dataset: str | None = None,
    *,
    input: str | Path | None = None,
    part: str | None = None,
    seed: int = 0,
    name: str | None = None,
    force: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    warn: Report = as_warning,
    workspace: str | Path | None = None,
) -> Evaluation:
    """Evaluate a finished run on data other than its own test part, and keep the results in the run; see
    `qexp evaluate`.

    dataset     name or path of a dataset spec of the kind that the run was trained on
    input       a file or folder in the form of the run's own data; without both it is the run's own dataset
    part        "train", "validation", "test" or "all"; if left out, the test part where the data have one, else all
    seed        of simulated samples, of masks, and of intervals
    name        of the evaluation; that of the data if left out
    force       replace an evaluation of that name that was made with other settings
    trust_code  execute the code in `code/extensions.py` of an imported run
    warn        receives a line for each figure that cannot be drawn
    returns     the evaluation: its `directory`, whether it was `made` now, and `record` with `results` (part → output →
                metric → value), `intervals`, `independent` (None if unknown) and `reasons`
    Raises QexpError.
    """
    opened = Run(directory_of(run, workspace, trust_code))
    return opened.evaluate(
        dataset, input=input, part=part, seed=seed, name=name, force=force, device=device, warn=warn,
        workspace=workspaces.find(workspace).root,
    )  # fmt: skip

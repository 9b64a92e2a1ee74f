"""Runs that a script logs by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from qexp.base import workspace as workspaces
from qexp.base.options import checks_keywords
from qexp.runs.track import Block, TrackedRun as TrackedRun, directory_of


@checks_keywords
def track(
    name: str,
    parameters: Any = None,
    *,
    seed: int | None = None,
    resume: bool = False,
    dataset: str = "",
    model: str = "",
    metrics: Mapping[str, Mapping[str, str]] | None = None,
    units: Mapping[str, str] | None = None,
    tags: Iterable[str] = (),
    note: str = "",
    workspace: str | Path | None = None,
) -> AbstractContextManager[TrackedRun]:
    """A run that the script itself logs, inside a `with` block; it needs no spec.

    name        what is run; the run is called `<name>_0`, `<name>_1` and so on
    parameters  name → number, text, list or dict; an object with attributes, such as argparse
                makes, or a dataclass
    seed        the run is called `<name>_<seed>`, if that is free; the number of the run if left
                out
    resume      continue the run of that name, as `qexp ls` shows it, or of that name and seed if
                there is one
    dataset     name of the data, for tables
    model       name of the model, for tables
    metrics     metric → {"best": "lowest", "highest" or "zero", "unit": …}, of metrics that qexp
                does not know
    units       output → unit
    tags        words by which `qexp ls` finds it
    note        about the run, in words
    The run is done when the block ends, failed if it ends with an error, interrupted after Ctrl-C
    or `qexp stop`. Outside a workspace the current folder becomes one.
    Raises QexpError for a wrong argument, and for a run that cannot be continued.

    >>> with qexp.track("fit", {"rate": 0.1}) as run:
    ...     for epoch in range(3):
    ...         run.log(loss=0.5**epoch)
    ...     run.result(rmse=0.25)
    >>> qexp.open_run(run.name).results
    {'test': {'result': {'rmse': 0.25}}}
    """
    home = workspaces.find(workspace, create=True)
    more = {
        "dataset": dataset,
        "model": model,
        "metrics": dict(metrics or {}),
        "units": dict(units or {}),
    }
    directory = directory_of(
        name,
        {} if parameters is None else parameters,
        home,
        seed=seed,
        resume=resume,
        tags=tags,
        note=note,
        more=more,
    )
    print(f"{directory.name}: in {home.shown(directory.path)}", file=sys.stderr)
    return Block(directory)

"""Matrices of runs that differ by their seed, and their mean, bias and standard deviation over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.files import real_path
from qexp.base.outputs import outputs_among
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.jobs.states import require_done
from qexp.spec.reading import canonical, digest
from qexp.store.directory import RunDirectory
from qexp.store.record import NAME, now
from qexp.trust import matrix
from qexp.trust.matrix import REFINED, summary
from qexp.trust.matrix_figures import numbers_of

if TYPE_CHECKING:
    import xarray

FOLDER = Path("comparisons/matrices")
"""Folder in the workspace with a folder for each matrix over several runs."""

OF_ONE = "mean_absolute_error_of_one"
"""In the record: what to expect of one network, beside the smaller error of the mean of the networks' estimates."""

SHARED = ("dataset", "axes", "fixed", "repeats", "seed", "refined", "bound", "held_out", "given", "units", "views")
"""Keys of the record of a matrix that are those of all runs."""

LEFT_OUT = ("left_out", "why_left_out", "remark", "warnings")
"""Further ones, which not every matrix has."""


def matrices(
    directories: Sequence[RunDirectory], workspace: Workspace, make: Callable[[RunDirectory], Path], force: bool
) -> tuple[Path, bool]:
    """Make a matrix of each of several runs, and write their statistics over the seeds into a folder of the workspace.

    make   makes the matrix of a run, unless it exists, and returns its folder
    force  replace statistics of the same name that were made otherwise
    Returns the folder, and False if the same statistics existed already.
    Raises QexpError, before any matrix is made, for runs that are not done or differ by more than their seeds.
    """
    _require_seeds(directories)
    folders = [make(directory) for directory in directories]
    numbers = [numbers_of(folder) for folder in folders]
    records, tables = [record for record, _ in numbers], [table for _, table in numbers]
    stem = _stem([directory.name for directory in directories])
    folder = workspace.root / FOLDER / f"{stem}_on_{folders[0].name}"[:200]
    record = {
        "run": f"{stem}, mean and standard deviation over {len(numbers)} seeds,",
        "runs": [directory.name for directory in directories],
        "seeds": [directory.record().seed for directory in directories],
        "created": now(),
        **{key: value for key, value in records[0].items() if key in (*SHARED, *LEFT_OUT)},
        "digest": digest([record["digest"] for record in records]),
    }
    if not force and matrix.matrix_exists(folder, record):
        return folder, False
    table = over_seeds(tables).assign_attrs(
        title=f"inference matrices of {', '.join(record['runs'])} on the dataset {record['dataset']}",
        runs=", ".join(record["runs"]),
    )
    outputs = outputs_among(table.data_vars)
    record |= summary(table, outputs)
    of_runs = {name: [one["mean_absolute_error"][name] for one in records] for name in outputs}
    record[OF_ONE] = {name: float(np.mean(errors)) for name, errors in of_runs.items()}
    return folder, matrix.store_matrix(folder, table, record, force)


def over_seeds(tables: Sequence[xarray.Dataset]) -> xarray.Dataset:
    """Per output the mean of the estimates of several runs, its error, and the standard deviation over the runs.

    Estimates by least squares likewise, if all runs have them. The errors of angles that repeat are taken the shorter
    way round.
    """
    import xarray

    first = tables[0]
    variables: dict[str, Any] = {}
    for output in outputs_among(first.data_vars):
        for end in ("", REFINED):
            estimate = f"{output}{end}" if end else f"{output}_estimate"
            if all(estimate in table for table in tables):
                variables |= _of_output(tables, output, end, estimate)
    about = {key: value for key, value in first.attrs.items() if key != "run"}
    return xarray.Dataset(variables, first.coords, about)


def _of_output(tables: Sequence[xarray.Dataset], output: str, end: str, estimate: str) -> dict[str, Any]:
    first, error, relative = tables[0], f"{output}{end}_error", f"{output}{end}_relative_error"

    def over(key: str, words: str, statistic: Callable[..., Any]) -> Any:
        values = np.stack([table[key].values for table in tables])
        words = f"{words} over {len(tables)} seeds, {first[key].attrs['long_name']}"
        return first[key].dims, statistic(values, axis=0), {**first[key].attrs, "long_name": words}

    mean, bias = over(estimate, "mean", np.mean), over(error, "mean", np.mean)
    return {
        estimate: mean,
        error: bias,
        **({relative: over(relative, "mean", np.mean)} if relative in first else {}),
        f"{output}{end}_mean": mean,
        f"{output}{end}_bias": bias,
        f"{output}{end}_standard_deviation": over(estimate, "standard deviation", partial(np.std, ddof=1)),
    }


def _require_seeds(directories: Sequence[RunDirectory]) -> None:
    """Raise QexpError unless runs are done, and are of one spec with a seed each."""
    if len({real_path(directory.path) for directory in directories}) < 2:
        raise QexpError("a mean over seeds needs at least two runs")
    for directory in directories:
        require_done(directory)
    by_spec: dict[str, list[str]] = {}
    for directory in directories:
        spec = directory.training_spec()
        if isinstance(spec.get("pretrain"), dict):  # the run that it was pretrained from may follow its seed
            spec = {**spec, "pretrain": {key: value for key, value in spec["pretrain"].items() if key != "run"}}
        by_spec.setdefault(canonical(spec), []).append(directory.name)
    if len(by_spec) > 1:
        groups = "; ".join(", ".join(names[:3]) + " …" * (len(names) > 3) for names in by_spec.values())
        raise QexpError(
            f"a mean over seeds is of runs that differ by their seed alone; these have {len(by_spec)} specs: {groups}"
        )
    seeds: dict[int, str] = {}
    for directory in directories:
        other = seeds.setdefault(directory.record().seed, directory.name)
        if other != directory.name:
            raise QexpError(f"{other} and {directory.name} have the same seed and spec; leave one of them out")


def _stem(names: Sequence[str]) -> str:
    """What the names of runs have in common, `mogi` for mogi_0 and mogi_1; else the first of them and their number."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("0123456789").rstrip("._-")
    return common if NAME.fullmatch(common) else f"{names[0]}_and_{len(names) - 1}"

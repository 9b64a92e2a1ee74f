"""Using trained networks: matrices, estimates of files, and networks for use without qexp."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.api.runs import Report, Run, Runs, directory_of, ignore, open_runs
from qexp.base import workspace as workspaces
from qexp.errors import PartlyFailedError, QexpError
from qexp.store.directory import target_outside_of_runs

if TYPE_CHECKING:
    from qexp.export.network import Exported
    from qexp.kinds.images.matrix import OnRefined
    from qexp.kinds.prediction import OnProgress, Prediction
    from qexp.rows.formats import Columns
    from qexp.runs.predict import Submitted
    from qexp.store.directory import RunDirectory
    from qexp.web.notebook import Matrix, Predictions


def matrix(
    run: Runs,
    dataset: str,
    *,
    axes: Mapping[str, tuple[float, float, int]] | None = None,
    fixed: Mapping[str, float] | None = None,
    repeats: int = 1,
    seed: int = 0,
    device: str = "auto",
    npy: bool = False,
    refine: bool = False,
    bound: bool = False,
    name: str | None = None,
    force: bool = False,
    on_refined: OnRefined | None = None,
    tell: Report = ignore,
    trust_code: bool = False,
    workspace: str | Path | None = None,
) -> Matrix:
    """Estimate the observations of every cell of a grid of true values; see `qexp matrix`.

    run         a run; or several, as a list or a pattern such as "mogi_[0-9]*", that differ by their seed alone: each
                gets its matrix, and the mean, bias and standard deviation over the seeds are written to
                `comparisons/matrices` in the workspace and returned
    axes        variable → (low, high, cells); those of the dataset if left out
    fixed       variable → value, of variables that vary and are not an axis
    repeats     noise realisations per cell
    refine      also refine the estimates by least squares: `depth_refined` beside `depth_estimate`
    bound       also compute the Cramér–Rao bound: `depth_bound`, and with `repeats` above 1 `depth_over_bound`
    name        of the matrix in the run; that of the dataset if left out. The same matrix is not computed again
    force       replace a matrix of that name that was made with other settings, which is an error otherwise
    on_refined  called during the refinement, with the number of refined cells and of all cells
    tell        receives a line for each matrix that existed already
    trust_code  execute the code in `code/extensions.py` of an imported run
    returns     the matrix as an `xarray.Dataset`, which is also kept in the run, in `matrix.folder`
    """
    from qexp.kinds.images.matrices_over_seeds import matrices
    from qexp.kinds.images.matrix import matrix as make
    from qexp.kinds.images.refinement import MatrixAxis, checked
    from qexp.web.notebook import matrix_at

    place = workspaces.find(workspace)
    grid = [checked(MatrixAxis(name, *of_axis), f"axis {name}") for name, of_axis in (axes or {}).items()]

    def of_run(directory: RunDirectory) -> Path:
        folder, made = make(
            directory, dataset, place, axes=grid, fixed=fixed, repeats=repeats, seed=seed, device=device, npy=npy,
            refine=refine, bound=bound, name=name, force=force, on_refined=on_refined or (lambda done, cells: None),
        )  # fmt: skip
        if not made:
            tell(f"{directory.name} has the matrix '{folder.name}' already")
        return folder

    directories = [one.directory.trusting(trust_code) for one in open_runs(run, workspace=workspace)]
    if len(directories) == 1:
        return matrix_at(of_run(directories[0]))
    folder, made = matrices(directories, place, of_run, force)
    if not made:
        tell(f"the matrix over these runs exists already: {place.shown(folder)}")
    return matrix_at(folder)


Watched = Callable[[str, Path], "AbstractContextManager[OnProgress]"]
"""From what is counted, such as "rows", and a file that is estimated, what is shown its progress."""


def predict(
    run: Run | str,
    source: str | Path,
    target: str | Path,
    *,
    chunk: int | None = None,
    overwrite: bool = False,
    columns: Columns | None = None,
    interval: float | None = None,
    draws: int | None = None,
    refined: bool = False,
    misfit: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    watched: Watched | None = None,
    each: Callable[[Prediction | QexpError], None] | None = None,
    workspace: str | Path | None = None,
) -> Predictions:
    """Estimate the images, rows, fields or spectra of a file or folder into new files; see `qexp predict`.

    source      images: NetCDF, npz, npy or GeoTIFF with samples first, a folder with a npy or GeoTIFF file per input,
                or a folder of such; rows: CSV, Parquet or NetCDF, or a folder of such; fields: NetCDF, a folder with
                ex.nc or npy files, or a folder of such folders
    target      images and rows: a file for a file, a folder for a folder; fields: a NetCDF file, a folder for several
                folders. Files that the same run has estimated already are left as they are
    chunk       images, rows or frames in memory at a time
    columns     of rows: the run's column → its name in the file, or positions of all of them, counted from 1
    interval    of rows, spectra and posteriors of images: coverage of the intervals; 0.9 if left out, or what the
                held-out errors of a run on rows or spectra can promise
    draws       of networks with a posterior head, or with `refined`: draws from each posterior, in a file beside the
                estimates
    refined     of images of a simulated dataset: posteriors are those of the known likelihood, found from the network's
                estimates, with or without a posterior head; estimates are their medians
    misfit      of images: p-values of the residuals of the best source, `misfit_p`, and of features, `features_p`
    trust_code  execute the code in `code/extensions.py` of an imported run
    watched     makes the object that is shown the progress of a file
    each        receives each prediction, or the error, as soon as a file is done; if left out, warnings are issued
                for cells whose width differs from that of the training data
    returns     per file: its `target` and whether it was `made` now; for rows their number, how many are `outside` the
                range of the training data, how many are `missing` a feature, and the `map` if there is one; for fields
                the number of `frames` and their `size`; for images the number of `images`, how many are `outside` the
                range, and in which inputs (`outside_in`), how many have `estimates_outside` of 99 % of the training
                data, and the number of `missing_pixels`
    Raises QexpError; where some of several files fail, PartlyFailedError after all others are estimated.
    """
    from qexp.kinds.prediction import FileOptions, require_chunk
    from qexp.runs.predict import file_kind, predict_files, targets
    from qexp.web.notebook import Predictions

    require_chunk(chunk)
    directory = directory_of(run, workspace, trust_code)
    pairs = targets(Path(source), target_outside_of_runs(target), directory)
    given = {} if watched is None else {"watched": partial(watched, file_kind(directory).counted)}
    asked = FileOptions(columns, interval, draws, misfit, refined)
    found = predict_files(pairs, directory, device, chunk=chunk, overwrite=overwrite, asked=asked, **given)
    return Predictions(_made(found, len(pairs), each or _warn_of))


def _made(
    found: Iterable[Prediction | QexpError], count: int, each: Callable[[Prediction | QexpError], None]
) -> list[Prediction]:
    """The predictions of files, of which `each` is told. Raises the error of a single file, or one of all."""
    made, mistakes = [], []
    for one in found:
        if isinstance(one, QexpError) and count == 1:
            raise one
        each(one)
        if isinstance(one, QexpError):
            mistakes.append(one)
        else:
            made.append(one)
    _require_none(mistakes, count)
    return made


def _require_none(mistakes: Sequence[QexpError], count: int) -> None:
    if mistakes:
        said = [f"{len(mistakes)} of {count} files could not be estimated:", *map(str, mistakes)]
        raise PartlyFailedError("\n".join(said))


def _warn_of(one: Prediction | QexpError) -> None:
    for text in () if isinstance(one, QexpError) else one.warnings:
        warnings.warn(text, stacklevel=4)


def submit_predictions(
    run: Run | str,
    source: str | Path,
    target: str | Path,
    launcher: str,
    *,
    options: Mapping[str, Any] | None = None,
    profile: str | None = None,
    chunk: int | None = None,
    overwrite: bool = False,
    columns: Columns | None = None,
    interval: float | None = None,
    draws: int | None = None,
    refined: bool = False,
    misfit: bool = False,
    trust_code: bool = False,
    device: str = "auto",
    workspace: str | Path | None = None,
) -> Submitted:
    """Estimate the files of a folder on a cluster, a job for each; see `predict`.

    launcher  the name of a scheduler; with a profile, "local" stands for the scheduler that has it
    options   of the scheduler, such as `{"time": "2:00:00"}`
    profile   a table of its options in qexp.toml, such as "big" for [SCHEDULER.big]
    returns   `jobs`: file → job, and the `folder` of the launch
    """
    from qexp.jobs.launchers import launcher_with, options_of
    from qexp.kinds.prediction import require_chunk
    from qexp.runs.predict import submit, targets

    require_chunk(chunk)
    place = workspaces.find(workspace)
    launcher = launcher_with(launcher, profile, place.settings())
    settings = options_of(launcher, place.settings(), options or {}, profile)
    directory = directory_of(run, workspace, trust_code)
    pairs = targets(Path(source), target_outside_of_runs(target), directory)
    words = ["--device", device, *([] if chunk is None else ["--chunk", str(chunk)])]
    flags = {"--overwrite": overwrite, "--refined": refined, "--misfit": misfit, "--trust-code": trust_code}
    words += [flag for flag, given in flags.items() if given]
    words += [] if columns is None else ["--columns", ",".join(_column_words(columns))]
    words += [] if interval is None else ["--interval", str(interval)]
    words += [] if draws is None else ["--draws", str(draws)]
    return submit(directory, pairs, place, launcher, settings, words)


def _column_words(columns: Columns) -> list[str]:
    """The columns as the command line takes them. Raises QexpError for names that it would take apart."""
    if not isinstance(columns, Mapping):
        return [str(one) for one in columns]
    for name in (*columns, *columns.values()):
        if "," in name or "=" in name:
            raise QexpError(f"--columns: a cluster cannot be given the column '{name}', which has a comma or a '='")
    return [f"{name}={other}" for name, other in columns.items()]


def export_network(
    run: Run | str,
    to: str | Path,
    format: str = "onnx",
    *,
    physical: bool = False,
    overwrite: bool = False,
    trust_code: bool = False,
    workspace: str | Path | None = None,
) -> Exported:
    """Write the network of a finished run to a folder, for use without qexp; see `qexp export`.

    format      "onnx", "torchscript" or "keras"
    physical    transforms are inside the network: units in, units out; needed for a run with networks of several folds
    overwrite   replace a folder that an export has written before
    trust_code  execute the code in `code/extensions.py` of an imported run
    returns     the `folder`, the sizes of its `files`, and `about`: what its network.json says
    """
    from qexp.export import network as networks

    directory = directory_of(run, workspace, trust_code)
    return networks.export_network(
        directory, target_outside_of_runs(to), format, physical=physical, overwrite=overwrite
    )

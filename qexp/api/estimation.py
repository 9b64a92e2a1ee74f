"""Using trained networks: matrices, estimates of files, and networks for use without qexp."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qexp.api.handles import Runs, directory_of, open_runs
from qexp.api.progress import bar, counted
from qexp.base.formats import read_json
from qexp.base.machine import on_a_terminal
from qexp.base.options import as_warning, takes
from qexp.errors import PartlyFailedError, QexpError
from qexp.kinds.options import CombineOptions, MatrixOptions, PredictOptions, SubmitOptions
from qexp.runs.options import ExportOptions
from qexp.store.directory import MATRIX_RECORD, RunDirectory, target_outside_of_runs
from qexp.web.html import fields_of

if TYPE_CHECKING:
    from qexp.jobs.launchers import Submitted
    from qexp.kinds.prediction import Prediction
    from qexp.web.notebook import Matrix, Predictions, ShownExport


@takes(MatrixOptions)
def matrix(run: Runs, options: MatrixOptions) -> Matrix:
    """Map where a network can be trusted: its estimates over a grid of true values.

    run         a run; or several, as a list or a pattern such as "mogi_[0-9]*", that differ by
                their seed alone: each gets its matrix, and the mean, bias and standard deviation
                over the seeds are written to `comparisons/matrices` in the workspace and returned
    returns     the matrix as an `xarray.Dataset`, which is also kept in the run, in
                `matrix.folder`: `depth_estimate`, with `refine` `depth_refined`, with `bound`
                `depth_bound` and, if there are repeats, `depth_over_bound`

    >>> axes = {"depth": (0.5, 4, 3), "delta_volume": (0.5, 4, 3)}
    >>> matrix = qexp.matrix("mogi_quick_0", axes=axes)
    >>> matrix["depth_error"].shape
    (3, 3)
    """
    from qexp.trust.matrix import matrices, matrix as make
    from qexp.web.notebook import matrix_at

    home = options.home

    def of_run(directory: RunDirectory) -> Path:
        with counted(options.on_refined, f"refining {directory.name}", "cells") as on_refined:
            folder, is_new = make(directory, home, replace(options, on_refined=on_refined))
        if not is_new:
            options.tell(f"{directory.name} has the matrix '{folder.name}' already")
        return folder

    runs = open_runs(run, workspace=options.workspace)
    directories = [run.directory.trusting(options.trust_code) for run in runs]
    if len(directories) == 1:
        folder = of_run(directories[0])
    else:
        folder, is_new = matrices(directories, home, of_run, options.force)
        if not is_new:
            options.tell(f"the matrix over these runs exists already: {home.shown(folder)}")
    for text in read_json(folder / MATRIX_RECORD).get("warnings", ()):
        options.warn(text)
    return matrix_at(folder)


@takes(PredictOptions)
def predict(run: Runs, options: PredictOptions) -> Predictions:
    """Estimate the images, rows, fields or spectra in files.

    They are read in chunks that need little memory. Images are found by the names of the run's
    inputs, with rows that run northwards, and converted to their units; those unlike the training
    data are counted. Columns of rows are found by name, or as `columns` says, or by number in a
    file without names; fields by name, and slopes are computed from the surface. Rows get their
    ensemble standard deviation, spectra a figure along each core, and both get intervals, by the
    errors of held-out data. Files that the same run has estimated already are skipped, so that an
    interrupted command can be repeated. A cluster gets a job for each file of a folder.

    run         a run; or several that differ by their seed alone, as a list or a pattern, which are
                one estimator
    returns     per file: its `target` and whether it was `made` now; for rows their number, how
                many are `outside` the range of the training data, how many are `missing` a feature,
                and the `map` if there is one; for fields the number of `frames` and their `size`;
                for images the number of `images`, how many are `outside` the range, and in which
                inputs (`outside_in`), how many have `estimates_outside` of 99 % of the training
                data, and the number of `missing_pixels`
    Raises QexpError; where some of several files fail, PartlyFailedError after all others are
    estimated.

    >>> qexp.samples("mogi", "test", count=3)[["displacement"]].to_netcdf("events.nc")
    >>> [prediction] = qexp.predict("mogi_quick_0", "events.nc", "events.csv")
    >>> prediction.images
    3
    """
    from qexp.runs.predict import predict_files, targets
    from qexp.web.notebook import Predictions

    directory = directory_of(run, options.workspace, options.trust_code, ensemble=True)
    pairs = targets(directory, options)
    # On a terminal a bar for each file, as the next lines are printed between them; in a notebook
    # one for all.
    with nullcontext() if on_a_terminal() else bar("estimating") as of_all:

        @contextmanager
        def watched(things: str, file: Path) -> Iterator[Callable[[int, float], None]]:
            with bar(file.name) if of_all is None else nullcontext(of_all) as show:
                yield lambda count, share: show(share, f"{count:,} {things}", file.name)

        options = replace(options, watched=options.watched or watched)
        return Predictions(
            _collect(predict_files(pairs, directory, options), len(pairs), options.each or _warn_of)
        )


def _collect(
    outcomes: Iterable[Prediction | QexpError],
    count: int,
    each: Callable[[Prediction | QexpError], None],
) -> list[Prediction]:
    """The predictions of files, each told. Raises the error of a single file, or one of all."""
    predictions, mistakes = [], []
    for outcome in outcomes:
        if isinstance(outcome, QexpError) and count == 1:
            raise outcome
        each(outcome)
        if isinstance(outcome, QexpError):
            mistakes.append(outcome)
        else:
            predictions.append(outcome)
    if mistakes:
        lines = [f"{len(mistakes)} of {count} files could not be estimated:", *map(str, mistakes)]
        raise PartlyFailedError("\n".join(lines))
    return predictions


def _warn_of(outcome: Prediction | QexpError) -> None:
    for text in () if isinstance(outcome, QexpError) else outcome.warnings:
        as_warning(text)


@takes(CombineOptions)
def combine(options: CombineOptions) -> Prediction:
    """Combine maps cell by cell by an expression, with their errors.

    Errors are as large as the intervals of the maps say, and carried by draws, the same in every
    call; those with a negative amount are left out. Gaps stay gaps, and what is outside the
    training data of one map is so in the new one.

    returns     its `target` and `files`: the map, a picture and, for NetCDF, a GeoTIFF

    >>> maps = {"MgO": "mgo.nc:mgo", "FeO": "feo.nc:feo"}
    >>> qexp.combine("MgO/(MgO+FeO)", maps, "number.nc", molar=True)  # doctest: +SKIP
    """
    from qexp.spec.kinds import stage_anywhere

    prediction: Prediction = stage_anywhere("combine")(options)
    return prediction


@takes(SubmitOptions)
def submit_predictions(run: Runs, options: SubmitOptions) -> Submitted:
    """Estimate the files of a folder on a cluster, a job for each; see `predict`.

    returns  `jobs`: file → job, and the `folder` of the launch

    >>> submit = qexp.api.submit_predictions
    >>> submit("mogi_quick_0", "images", "estimates", launcher=cluster)  # doctest: +SKIP
    """
    from qexp.runs.predict import submit

    return submit(
        directory_of(run, options.workspace, options.trust_code, ensemble=True),
        options.home,
        options,
    )


@takes(ExportOptions)
def export_network(run: Runs, options: ExportOptions) -> ShownExport:
    """Write the network of a finished run to a folder, for use without qexp; see `qexp export`.

    returns     the `folder`, the sizes of its `files`, and `about`: what its network.json says

    >>> exported = qexp.export_network("mogi_quick_0", to="network")
    >>> sorted(exported.files)
    ['README.md', 'model.onnx', 'network.json']
    """
    from qexp.export import network as networks
    from qexp.web.notebook import ShownExport

    directory = directory_of(run, options.workspace, options.trust_code)
    exported = networks.export_network(
        directory, replace(options, to=target_outside_of_runs(options.to))
    )
    return ShownExport(**fields_of(exported))

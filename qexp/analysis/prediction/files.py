"""Prediction of files with a finished run, with a table of functions by type of dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from qexp import assemble
from qexp.analysis.prediction.fields import estimates as fields
from qexp.analysis.prediction.fields.model import field_model
from qexp.analysis.prediction.images import estimates as images
from qexp.analysis.prediction.images.model import image_model
from qexp.analysis.prediction.progress import OnProgress, no_progress
from qexp.analysis.prediction.rows import estimates as rows
from qexp.analysis.prediction.rows import files as row_files
from qexp.analysis.prediction.rows.model import row_model
from qexp.analysis.prediction.spectra import estimates as spectra
from qexp.analysis.prediction.spectra.model import spectrum_model
from qexp.errors import QexpError
from qexp.rows.formats import Columns, require_columns
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of

Watched = Callable[[Path], AbstractContextManager[OnProgress]]
"""Returns, for the path of a file, a context that provides the function to call with the progress."""


class Prediction(Protocol):
    """The result of predicting a file."""

    @property
    def target(self) -> Path: ...
    @property
    def made(self) -> bool:
        """False if the file existed already."""
        ...

    @property
    def files(self) -> list[Path]: ...
    @property
    def remarks(self) -> list[str]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


class Estimator(Protocol):
    """Predicts one file; see `predict_rows` and `predict_fields`."""

    def __call__(
        self, source: Path, target: Path, *, chunk: int | None, overwrite: bool, progress: OnProgress
    ) -> Prediction: ...


@dataclass(frozen=True)
class Asked:
    """What only some kinds of data take; None or False if it was not asked for."""

    columns: Columns | None = None
    """Names or positions of the run's columns in the files, where they have other names there."""
    interval: float | None = None
    """Coverage of intervals."""
    draws: int | None = None
    """Draws from the posterior of each image, row or spectrum."""
    misfit: bool = False
    """Whether images are also compared with what the simulator makes."""
    refined: bool = False
    """Whether posteriors of images are those of the known likelihood."""


@dataclass(frozen=True)
class FileKind:
    """How runs on one type of dataset predict files."""

    counted: str
    """The unit of progress, such as rows."""
    targets: Callable[[Path, Path, Sequence[str]], list[tuple[Path, Path]]]
    """From what is given and the run's inputs to pairs of what is read and the file to write."""
    estimator: Callable[[RunDirectory, str, Asked], Estimator]
    """Returns the estimator of a run on a device."""
    takes: frozenset[str] = frozenset()
    """The fields of `Asked` that it takes."""


def _of_images(directory: RunDirectory, device: str, asked: Asked) -> Estimator:
    model = image_model(
        directory, device, with_misfit=asked.misfit, interval=asked.interval, draws=asked.draws, refined=asked.refined
    )
    return partial(images.predict_images, model=model)


def _of_rows(directory: RunDirectory, device: str, asked: Asked) -> Estimator:
    model = row_model(directory, device, asked.interval, asked.draws)
    if asked.columns is not None:
        require_columns(asked.columns, model.features)
    return partial(rows.predict_rows, model=model, columns=asked.columns)


def _of_spectra(directory: RunDirectory, device: str, asked: Asked) -> Estimator:
    return partial(spectra.predict_spectra, model=spectrum_model(directory, device, asked.interval, asked.draws))


MEANT = {
    "columns": "--columns is for rows",
    "interval": "--interval is for rows and spectra, whose held-out errors make intervals, and for posterior heads",
    "draws": "--draws is for networks with a posterior head",
    "misfit": "--misfit is for images, which a simulator makes",
    "refined": "--refined is for images that a simulator makes, whose likelihood is known",
}
"""Field of `Asked` → what it is for."""


KINDS: Mapping[str, FileKind] = {
    "generated": FileKind(
        "images",
        images.targets,
        _of_images,
        frozenset(("misfit", "interval", "draws", "refined")),
    ),
    "tabular": FileKind(
        "rows",
        lambda source, target, inputs: row_files.targets(source, target),
        _of_rows,
        frozenset(("columns", "interval", "draws")),
    ),
    "gridded": FileKind(
        "frames",
        lambda source, target, inputs: fields.targets(source, target),
        lambda directory, device, asked: partial(fields.predict_fields, model=field_model(directory, device)),
    ),
    "spectra": FileKind(
        "spectra",
        lambda source, target, inputs: spectra.targets(source, target),
        _of_spectra,
        frozenset(("interval", "draws")),
    ),
}
"""Type of dataset → how its runs predict files."""


def file_kind(directory: RunDirectory) -> FileKind:
    """How a run predicts files."""
    return KINDS[directory.training_spec()["dataset"]["type"]]


def targets(source: Path, target: Path, directory: RunDirectory) -> list[tuple[Path, Path]]:
    """Pairs of what a run reads, a file or a folder, and the file that it writes. Raises QexpError."""
    return file_kind(directory).targets(source, target, directory.training_spec()["inputs"])


def _estimator(directory: RunDirectory, device: str, asked: Asked) -> Estimator:
    """Raises QexpError if the run does not take what is asked for."""
    kind = file_kind(directory)
    for name, meant in MEANT.items():
        if getattr(asked, name) not in (None, False) and name not in kind.takes:
            raise QexpError(f"{meant}, but {directory.name} estimates {kind.counted}; leave it out")
    return kind.estimator(directory, device, asked)


def predict_files(
    pairs: Sequence[tuple[Path, Path]],
    directory: RunDirectory,
    device: str = "auto",
    *,
    chunk: int | None = None,
    overwrite: bool = False,
    asked: Asked = Asked(),
    watched: Watched = lambda source: nullcontext(no_progress),
) -> Iterator[Prediction | QexpError]:
    """Predict files one after another; `pairs` come from `targets`.

    yields  the result for each file; the error for a file that cannot be predicted, after which others continue
    """
    estimate = _estimator(directory, device, asked)
    count = assemble.threads_to_predict(directory.training_spec(), tables_of(directory), assemble.device_of(device))
    for source, target in pairs:
        made: Prediction | QexpError
        try:
            with watched(source) as progress, assemble.threads(count):
                made = estimate(source, target, chunk=chunk, overwrite=overwrite, progress=progress)
        except QexpError as mistake:
            made = mistake
        yield made

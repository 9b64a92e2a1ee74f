"""Estimating files with a finished run, of whatever its data were: a table says how for each type of dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from qexp import assemble
from qexp.analysis.prediction import fields, rows, spectra
from qexp.analysis.prediction.field_model import field_model
from qexp.analysis.prediction.progress import Progress, untold
from qexp.analysis.prediction.row_model import row_model
from qexp.analysis.prediction.spectrum_model import spectrum_model
from qexp.errors import QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of

Watched = Callable[[Path], AbstractContextManager[Progress]]
"""Opened for every file; what it gives is told of the progress."""


class Prediction(Protocol):
    """What was made of a file."""

    @property
    def target(self) -> Path: ...
    @property
    def made(self) -> bool:
        """False if it was there already."""
        ...

    @property
    def files(self) -> list[Path]: ...
    @property
    def remarks(self) -> list[str]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


class Estimator(Protocol):
    """Estimates one file; see `predict_rows` and `predict_fields`."""

    def __call__(
        self, source: Path, target: Path, *, chunk: int | None, overwrite: bool, progress: Progress
    ) -> Prediction: ...


@dataclass(frozen=True)
class Kind:
    """How runs on one type of dataset estimate files."""

    counted: str
    """What files consist of."""
    targets: Callable[[Path, Path], list[tuple[Path, Path]]]
    estimator: Callable[[RunDirectory, str], Estimator]
    """Of a run, on a device."""


KINDS: Mapping[str, Kind | None] = {
    "generated": None,
    "tabular": Kind(
        "rows",
        rows.targets,
        lambda directory, device: partial(rows.predict_rows, model=row_model(directory, device)),
    ),
    "gridded": Kind(
        "frames",
        fields.targets,
        lambda directory, device: partial(fields.predict_fields, model=field_model(directory, device)),
    ),
    "spectra": Kind(
        "spectra",
        spectra.targets,
        lambda directory, device: partial(spectra.predict_spectra, model=spectrum_model(directory, device)),
    ),
}
"""By the type of the dataset; None where there are no files to estimate, and predictions are made from arrays."""


def kind_of(directory: RunDirectory) -> Kind:
    """How a run estimates files. Raises QexpError for one that takes arrays only."""
    trained_on = directory.spec()["dataset"]["type"]
    kind = KINDS[trained_on]
    if kind is None:
        words = [kind.counted for kind in KINDS.values() if kind is not None]
        raise QexpError(
            f"{directory.name} was trained on a {trained_on} dataset, not on {', '.join(words[:-1])} or {words[-1]} of "
            "files; in Python, Run.predict takes arrays"
        )
    return kind


def predict_files(
    pairs: Sequence[tuple[Path, Path]],
    directory: RunDirectory,
    device: str = "auto",
    *,
    chunk: int | None = None,
    overwrite: bool = False,
    watched: Watched = lambda source: nullcontext(untold),
) -> Iterator[Prediction | QexpError]:
    """Estimate files one after another; `pairs` are those of the `targets` of the run's kind.

    yields  what was made of each; for one that cannot be estimated, which stops no other, the mistake
    """
    estimate = kind_of(directory).estimator(directory, device)
    count = assemble.threads_to_predict(directory.spec(), tables_of(directory), assemble.device_of(device))
    for source, target in pairs:
        made: Prediction | QexpError
        try:
            with watched(source) as progress, assemble.threads(count):
                made = estimate(source, target, chunk=chunk, overwrite=overwrite, progress=progress)
        except QexpError as mistake:
            made = mistake
        yield made

"""The files of a run's directory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.runs.record import epochs, tagging, upgrade
from qexp.runs.record.environment import Environment
from qexp.runs.record.parts import MisfitError
from qexp.runs.record.record import Record

FOLDS = "folds"

WRITTEN = "files.json"
"""In `results` of a program without numbers: path in the run → hash and size of what it wrote."""

EVALUATIONS = "evaluations"
"""The folder of evaluations on other data, each with a record and `results` like those of a run."""

FRAMES = "frames"
"""The folder of the test frames that are drawn, a file per folder of the dataset."""

PREDICTIONS = "predictions.csv"
"""Of a run on rows or spectra, with a line per test sample; of a fold, with those that it holds out."""

RECONSTRUCTIONS = "reconstructions.nc"

ERRORS_BY_ENERGY = "errors_by_energy.csv"

SALIENCY = "saliency.nc"

MATRICES = "matrices"
"""Folder of a run with a folder for each matrix."""
MATRIX, MATRIX_RECORD = "matrix.nc", "record.json"
"""Of a matrix, in its folder."""

SPEC_OR_PROGRESS = ("spec.json", "attempts", "checkpoints")
"""Files and folders of which every run has, or once had, at least one beside its record."""


@dataclass(frozen=True)
class RunDirectory:
    path: Path
    code_trusted: bool = field(default=False, compare=False)
    """Whether to execute the run's own code although the user did not trust it when the run was imported."""

    def trusting(self, code: bool) -> RunDirectory:
        """The same run; if `code`, its own code may be executed."""
        return replace(self, code_trusted=True) if code else self

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def spec_file(self) -> Path:
        """The resolved spec; a fold has that of its run."""
        return self._whole / "spec.json"

    @property
    def is_fold(self) -> bool:
        return self.path.parent.name == FOLDS

    @property
    def whole(self) -> RunDirectory:
        """The run itself; for a fold, the run that it belongs to."""
        return RunDirectory(self._whole) if self.is_fold else self

    @property
    def _whole(self) -> Path:
        return self.path.parent.parent if self.is_fold else self.path

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best_weights(self) -> Path:
        return self.checkpoints / "best.safetensors"

    @property
    def extensions(self) -> Path:
        """The workspace's `extensions.py` when the run was prepared; a fold has that of its run."""
        return self._whole / "code" / "extensions.py"

    @property
    def results(self) -> Path:
        return self.path / "results"

    def weight_files(self) -> list[Path]:
        """The files of the networks that it trains: one, or one per fold; none for a program. Raises DamagedError."""
        from qexp.spec.experiences import type_of  # slow to import; listings do not need it

        if not type_of(self.spec()).trains:
            return []
        return [one.best_weights for one in self.all_folds() or [self]]

    def evaluation_file(self) -> Path:
        """The file in `results` that exists once the run is evaluated on its test part. Raises DamagedError."""
        from qexp.spec.experiences import type_of  # as above

        spec = self.spec()
        return self.results / type_of(spec).evaluated_by(spec)

    def written_by_program(self) -> dict[str, dict[str, Any]] | None:
        """Path → hash and size of the files of a program that gave no numbers; None for other runs.

        Raises DamagedError if the list cannot be read.
        """
        file = self.results / WRITTEN
        return files.read_json(file) if file.is_file() else None

    def own_code(self) -> Path | None:
        """The file that makes the run execute code of its own: its extensions, or the spec that names a program."""
        from qexp.spec.experiences import type_of  # as above

        if self.extensions.is_file():
            return self.extensions
        try:
            return self.spec_file if type_of(self.spec_as_written()).executes else None
        except DamagedError:  # which cannot be executed either
            return None

    @property
    def part(self) -> str:
        """The part of the data that `results` are about."""
        return "test"

    @property
    def held_out(self) -> bool:
        """Whether `results` are about data that the run itself held out; evaluations are about others."""
        return True

    @property
    def evaluations(self) -> Path:
        return self.path / EVALUATIONS

    @property
    def matrices(self) -> Path:
        return self.path / MATRICES

    @property
    def folds(self) -> Path:
        """The folder of the folds of a cross-validation; each is a run inside the run."""
        return self.path / FOLDS

    def fold(self, name: str) -> RunDirectory:
        return RunDirectory(self.folds / name)

    def all_folds(self) -> list[RunDirectory]:
        """The folds that have a record, sorted by name."""
        return [RunDirectory(path.parent) for path in sorted(self.folds.glob("*/run.json"))]

    def attempt(self, number: int) -> Path:
        return self.path / "attempts" / f"{number:02d}"

    @property
    def holds_record(self) -> bool:
        """Whether a record exists, even if this user may not read it."""
        try:
            self.record_file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def record(self) -> Record:
        """The record as last written, with its annotations. Raises NotFoundError or DamagedError."""
        record = upgrade.read_record(self.record_file)
        annotations = tagging.read(self.path)
        tags, note = annotations.get("tags", record.tags), annotations.get("note", record.note)
        return replace(record, tags=tuple(tags), note=note)

    def write(self, record: Record) -> None:
        """Replace the record file."""
        files.write_json(self.record_file, record.document())

    def spec(self) -> dict[str, Any]:
        """The resolved experience with its dataset and model, in the current form. Raises DamagedError."""
        from qexp.runs.record import resolved  # slow to import because of its many classes; listings do not need it

        document = self.spec_as_written()
        try:
            spec = upgrade.spec(document)
            resolved.check(spec)
        except MisfitError as misfit:
            raise DamagedError(f"{self.spec_file} is damaged: {misfit}") from None
        return spec

    def training_spec(self) -> dict[str, Any]:
        """The resolved experience of a run that trains networks. Raises QexpError for a run without any."""
        from qexp.spec.experiences import type_of  # as above

        spec = self.spec()
        if not type_of(spec).trains:
            raise QexpError(f"{self.name} is a run of a program and has no network of qexp; this needs a trained one")
        return spec

    def spec_as_written(self) -> dict[str, Any]:
        """The resolved experience as it was written; the digest in the record is of this form."""
        try:
            spec = files.read_json(self.spec_file)
        except FileNotFoundError:
            raise DamagedError(f"{self.spec_file} is missing") from None
        if not isinstance(spec, dict):
            raise DamagedError(f"{self.spec_file} is damaged: $ is not an object")
        return spec

    def environment(self) -> dict[str, Any]:
        """Code, packages and machine of the last attempt; empty before the first. Raises DamagedError."""
        file = self.path / "environment.json"
        try:
            document = files.read_json(file)
            Environment.from_document(document)
        except FileNotFoundError:
            return {}
        except MisfitError as misfit:
            raise DamagedError(f"{file} is damaged: {misfit}") from None
        return dict(document)

    def metrics(self) -> list[dict[str, Any]]:
        """One entry per epoch; an incomplete last line is left out. Raises DamagedError for any other bad line."""
        return epochs.read(self.metrics_file)

    def matrix_names(self) -> list[str]:
        found = (path.parent.name for path in self.matrices.glob(f"*/{MATRIX_RECORD}"))
        return sorted(name for name in found if not name.startswith("."))


def with_caution(name: str, caution: str) -> str:
    """The name of a run followed by its caution, if it has one."""
    return f"{name} ({caution})" if caution else name

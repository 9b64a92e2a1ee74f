"""A run's directory: what lies where in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import DamagedError, NotFoundError
from qexp.runs.record import tagging

SCHEMA_VERSION = 1

FOLDS = "folds"

TEST_PREDICTIONS = "test_predictions.nc"

FIELD_ERRORS = "errors.json"

SPEC_OR_PROGRESS = ("spec.json", "attempts", "checkpoints")
"""What lies beside the record of every run, or was there once."""

UNFINISHED = ("created", "queued", "running")
"""States of which a run still has to get out."""


EMPTY_RECORD: dict[str, Any] = {
    "schema": SCHEMA_VERSION, "experience": "", "dataset": "", "model": "", "digest": "",
    "created": "", "started": None, "ended": None, "seconds": 0.0, "stopped": None, "error": None,
    "launch": None, "job": None, "note": "",
    "overrides": [], "tags": [], "parents": [], "attempts": [], "units": {}, "results": {},
    "intervals": {}, "comparison": [], "errors": None, "folds": None, "caution": "", "features": [],
    "lineage": [], "seen": None, "imported": None,
    "code": {"commit": None, "dirty": None}, "epochs": {"done": 0, "of": 0, "best": None},
}  # fmt: skip
"""A record before anything happened. What a record lacks is taken from here."""

RECORD_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "state", "experience", "dataset", "model", "created", "digest", "note", "caution"), str),
    **{key: (str, type(None)) for key in ("started", "ended", "stopped", "error", "launch")},
    **dict.fromkeys(("job", "folds", "errors", "seen", "imported"), (dict, type(None))),
    **dict.fromkeys(("overrides", "tags", "parents", "lineage", "attempts", "comparison", "features"), list),
    **dict.fromkeys(("units", "code", "epochs", "results", "intervals"), dict),
    "seed": int,
    "seconds": (int, float),
}


@dataclass(frozen=True)
class RunDirectory:
    path: Path
    code_trusted: bool = field(default=False, compare=False)
    """Whether to execute the code that it brings even if it was imported without a word on that."""

    def trusting(self, code: bool) -> RunDirectory:
        """The same run, of which code that it brings may be executed."""
        return replace(self, code_trusted=True) if code else self

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def spec_file(self) -> Path:
        """A fold's is that of its run."""
        return self._whole / "spec.json"

    @property
    def _whole(self) -> Path:
        """The folder of the run; of a fold, that of the run that it is a part of."""
        return self.path.parent.parent if self.path.parent.name == FOLDS else self.path

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
        """The workspace's own table entries as they were when the run was prepared; a fold's are those of its run."""
        return self._whole / "code" / "extensions.py"

    @property
    def results(self) -> Path:
        return self.path / "results"

    def judgement(self) -> Path:
        """The file in `results` without which the run has not been judged on its test part. Raises DamagedError."""
        kind = self.spec()["dataset"].get("type")
        return self.results / (FIELD_ERRORS if kind == "gridded" else TEST_PREDICTIONS)

    @property
    def matrices(self) -> Path:
        return self.path / "matrices"

    @property
    def folds(self) -> Path:
        """Where the folds of a cross-validation are, each a run inside the run."""
        return self.path / FOLDS

    def fold(self, name: str) -> RunDirectory:
        return RunDirectory(self.folds / name)

    def all_folds(self) -> list[RunDirectory]:
        """The folds that have begun, by name."""
        return [RunDirectory(path.parent) for path in sorted(self.folds.glob("*/run.json"))]

    def attempt(self, number: int) -> Path:
        return self.path / "attempts" / f"{number:02d}"

    def record(self) -> dict[str, Any]:
        """The record, as it was last written, with its labels. Raises NotFoundError or DamagedError."""
        try:
            record = files.read_json(self.record_file)
        except FileNotFoundError:
            raise NotFoundError(f"{self.path} holds no run: there is no run.json") from None
        if not isinstance(record, dict) or not {"name", "state", "seed"} <= record.keys():
            raise DamagedError(f"{self.record_file} is not the record of a run")
        whole = {**EMPTY_RECORD, **record, **tagging.read(self.path)}
        wrong = [key for key, kinds in RECORD_TYPES.items() if not isinstance(whole[key], kinds)]
        wrong += [] if all(map(_is_attempt, whole["attempts"])) else ["attempts"]
        wrong += [] if all(isinstance(one, dict) and "name" in one for one in whole["lineage"]) else ["lineage"]
        if wrong:
            raise DamagedError(f"{self.record_file} is damaged: '{wrong[0]}' is not what a run writes there")
        return whole

    def spec(self) -> dict[str, Any]:
        """The resolved experience, with its dataset and model."""
        try:
            spec = files.read_json(self.spec_file)
        except FileNotFoundError:
            raise DamagedError(f"{self.spec_file} is gone") from None
        if not isinstance(spec, dict) or not {"dataset", "model", "outputs"} <= spec.keys():
            raise DamagedError(f"{self.spec_file} is not a spec")
        return spec

    def metrics(self) -> list[dict[str, Any]]:
        """A line per epoch. A last line that is torn is left out."""
        return list(files.read_lines(self.metrics_file))

    def matrix_names(self) -> list[str]:
        return sorted(path.parent.name for path in self.matrices.glob("*/record.json"))


def name_with_caution(record: Mapping[str, Any], name: str | None = None) -> str:
    """A run's name, or another one of it, with what must be said wherever its numbers are."""
    shown: str = name or record["name"]
    return f"{shown} ({record['caution']})" if record["caution"] else shown


def _is_attempt(attempt: Any) -> bool:
    return isinstance(attempt, dict) and {"number", "process", "ended", "state"} <= attempt.keys()

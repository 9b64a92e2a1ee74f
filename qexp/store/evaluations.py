"""Evaluations of a finished run on other data: `evaluations/NAME/` in its directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qexp.base import folders
from qexp.errors import DamagedError, NotFoundError, suggestion
from qexp.store.directory import EVALUATIONS, Inside, RunDirectory
from qexp.store.record import NAME, Outcome, Record

RECORD = "record.json"
"""Of an evaluation, in its folder; written last."""

TRAINED_ON = "evaluated on training data"
"""Caution of evaluations on data that are not independent of those that the run was trained on."""

GROUPS_TRAINED_ON = "evaluated on groups of the training data"
"""Caution of evaluations on other samples of groups, or cores, that the run was trained on."""

VALIDATED = "evaluated on validation data"
"""Caution of evaluations on a run's own validation data: not trained on, but they chose the
epoch.
"""


@dataclass(frozen=True, kw_only=True, repr=False)
class EvaluationRecord(Outcome):
    """What was evaluated, and the results in the outputs' own units."""

    LEFT_OUT = ("errors",)

    name: str
    """Name of the evaluation, which is that of its folder."""
    dataset: str
    """Name of the dataset's spec, or path of the files."""
    part: str
    """Part of the data that was evaluated."""
    seed: int = 0
    """Of the samples and their noise, and of intervals."""
    digest: str
    """Of the run, the data, the part and the seed: evaluations with equal digests have equal
    results.
    """
    content: str
    """Of the data, the part and the seed alone: the same for all runs that are evaluated on the
    same samples.
    """
    created: str = ""
    """When it was evaluated, in UTC."""
    samples: int = 0
    """Number of samples."""
    left_out: int = 0
    """Samples without truth, or without an input, which were left out."""
    networks: int = 1
    """Of several networks the mean is evaluated."""
    independent: bool | None = None
    """Whether the data are independent of those that the run was trained on; None if that is
    unknown.
    """
    reasons: tuple[str, ...] = ()
    """Why they are not independent, or what is unknown; otherwise what was compared."""
    warnings: tuple[str, ...] = ()
    """What was noticed on the way."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The dataset as a document, with the hash of its content."""

    def __repr__(self) -> str:
        return (
            f"<evaluation {self.name}: {self.samples:,} samples, part {self.part} of"
            f" {self.dataset}>"
        )

    @property
    def independence(self) -> str:
        """`yes`, `no` or `unknown`."""
        return {True: "yes", False: "no", None: "unknown"}[self.independent]

    def summary(self) -> dict[str, Any]:
        """What a listing knows of it; metrics are `test.depth.mae`, as in the results of a run."""
        keys = ("dataset", "part", "samples", "independent", "caution", "content", "created")
        document = self.document()
        return {**{key: document[key] for key in keys}, **document["results"]}


@dataclass(frozen=True)
class EvaluationDirectory(RunDirectory):
    """The files of an evaluation, in the places where a run has those of its test part.

    written  its record; read from its file if left out
    """

    written: EvaluationRecord | None = field(default=None, compare=False)

    held_out = False
    record_file = Inside(RECORD)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.path.parent.parent, self.code_trusted)

    @property
    def _whole(self) -> Path:
        return self.path.parent.parent

    @property
    def name(self) -> str:
        """The names of the run and of the evaluation, for titles of figures."""
        return f"{self.run.name} on {self.evaluation().name}"

    @property
    def part(self) -> str:
        return self.evaluation().part

    def evaluation(self) -> EvaluationRecord:
        """The record of the evaluation. Raises NotFoundError or DamagedError."""
        if self.written is not None:
            return self.written
        try:
            return EvaluationRecord.read(self.record_file)
        except FileNotFoundError:
            raise NotFoundError(f"{self.path} holds no evaluation: {RECORD} is missing") from None

    def record(self) -> Record:
        """The record of the run, with the results of this evaluation instead of the run's own."""
        evaluation = self.evaluation()
        shared = ("seed", *Outcome.__annotations__)
        return replace(self.run.record(), **{name: getattr(evaluation, name) for name in shared})

    def spec(self) -> dict[str, Any]:
        """The run's resolved experience, on the evaluated dataset."""
        return {**self.run.spec(), "dataset": dict(self.evaluation().data)}


def names(directory: RunDirectory) -> list[str]:
    """The names of a run's evaluations, sorted."""
    records = directory.evaluations.glob(f"*/{RECORD}")
    return sorted(path.parent.name for path in records if NAME.fullmatch(path.parent.name))


def find_evaluation(directory: RunDirectory, name: str) -> EvaluationDirectory:
    """Raises NotFoundError with similar names."""
    if name not in names(directory):
        folders.restore(directory.evaluations / name)
    existing = names(directory)
    if name not in existing:
        advice = f"make it: qexp evaluate {directory.name} --dataset {name}"
        if existing:
            advice = suggestion(name, existing)
        raise NotFoundError(f"{directory.name} has no evaluation '{name}'; {advice}")
    return EvaluationDirectory(directory.evaluations / name, directory.code_trusted)


def evaluations_of(directory: RunDirectory) -> Iterator[EvaluationDirectory]:
    """A run's evaluations by name, with their records, without unreadable ones; see `doctor`."""
    for name in names(directory):
        with suppress(DamagedError, NotFoundError):
            evaluation = find_evaluation(directory, name)
            yield replace(evaluation, written=evaluation.evaluation())


def summaries(run: Path) -> dict[str, dict[str, Any]]:
    """Evaluation → what a listing knows of it."""
    if not (run / EVALUATIONS).is_dir():
        return {}
    records = [evaluation.evaluation() for evaluation in evaluations_of(RunDirectory(run))]
    return {record.name: record.summary() for record in records}

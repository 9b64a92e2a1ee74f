"""The record of a run, `run.json`: what was asked for, what happened, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from qexp.runs.record.parts import MisfitError, Part
from qexp.runs.record.process import Process
from qexp.runs.record.state import WRITTEN, State

SCHEMA_VERSION = 2

LARGEST_SEED = 2**63 - 1

Numbers = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""part → output → metric → value, in the output's unit; None where it is no finite number."""

Interval = tuple[float, float]

Intervals = Mapping[str, Mapping[str, Mapping[str, Interval | None]]]
"""The same, of 95 % bootstrap intervals."""


@dataclass(frozen=True, kw_only=True)
class Epochs(Part):
    done: int = 0
    of: int = 0
    best: int | None = None


@dataclass(frozen=True, kw_only=True)
class FoldCount(Part):
    """How many folds of a cross-validation are done, of how many, and the names of those that failed."""

    done: int = 0
    of: int = 0
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobRecord(Part):
    """The scheduler's job in which the last attempt ran."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("workspace", "cluster")

    launcher: str
    id: str
    workspace: str | None = None
    """The root of the workspace from which it was submitted."""
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptRecord(Part):
    """One process that worked on the run."""

    number: int
    process: Process
    started: str | None = None
    ended: str | None = None
    state: State

    def __post_init__(self) -> None:
        if self.number < 1:
            raise MisfitError(f"is {self.number}, but attempts are counted from 1", "number")


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Part):
    """What identifies the content of a file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Ancestor(Part):
    """A run whose weights this one, or one before it, started from."""

    name: str
    experience: str = ""
    dataset: str = ""
    seed: int | None = None
    digest: str | None = None
    created: str = ""
    weights: Fingerprint | None = None
    """Of the file that was taken over; None in records that do not say."""
    operations: tuple[str, ...] | None = None
    """Those whose weights were taken over; None: all."""
    transforms: tuple[str, ...] = ()
    """Variables that stayed scaled as they were fitted there."""


@dataclass(frozen=True, kw_only=True)
class Imported(Part):
    """Where a run came from that was made elsewhere."""

    archive: str
    time: str
    was: Mapping[str, Any] = field(default_factory=dict)
    """What its record said there of name, state, job and launch."""
    before: Mapping[str, Any] | None = None
    """The same of an earlier import."""
    code_trusted: bool | None = None
    """Whether code that it brings may be executed; None if it brings none."""


@dataclass(frozen=True, kw_only=True)
class LargeFile(Part):
    """An untracked file of the workspace that was too large to be kept."""

    name: str
    bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class CodeState(Part):
    """The workspace's repository when the run was prepared."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("diff", "untracked", "untracked_left_out")

    commit: str | None = None
    dirty: bool | None = None
    diff: str | None = None
    untracked: tuple[str, ...] | None = None
    untracked_left_out: tuple[LargeFile, ...] | None = None

    def document(self) -> dict[str, Any]:
        """Of a workspace in a repository `diff` is null where nothing differs."""
        nothing = {} if self.commit is None else dict.fromkeys(("commit", "dirty", "diff"))
        return nothing | super().document()


@dataclass(frozen=True, kw_only=True)
class Feature(Part):
    """A column of the input, with its range in the training data."""

    column: str
    least: float | None = None
    greatest: float | None = None


@dataclass(frozen=True, kw_only=True)
class VectorErrors(Part):
    mean_error: float | None = None
    mean_speed: float | None = None
    percent: float | None = None


@dataclass(frozen=True, kw_only=True)
class FieldErrors(Part):
    """Errors on whole test frames, and the time that the network takes for one."""

    cells: int
    vectors: Mapping[str, VectorErrors]
    seconds_per_frame: float
    frame: tuple[int, int]
    threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(Part):
    """One estimator, the network or a baseline, on one output; see `baselines.comparison.compared`."""

    output: str
    unit: str
    estimator: str
    note: str
    n: int
    groups: int | None
    rmse: float | None
    rmse_interval: Interval | None
    mae: float | None
    mae_interval: Interval | None
    r2: float | None
    r2_interval: Interval | None
    bias: float | None
    bias_interval: Interval | None
    difference: float | None
    difference_interval: Interval | None

    def __post_init__(self) -> None:
        if self.rmse is None and any(one is not None for one in (self.mae, self.r2, self.bias, self.difference)):
            raise MisfitError("is null, although other errors are known", "rmse")


@dataclass(frozen=True, kw_only=True)
class NetworkRecord(Part):
    """One network of a fold."""

    name: str
    epoch: int | None = None
    stopped: str | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class FoldRecord(Part):
    """What a fold holds out and, once it is trained, what was chosen for it."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("chosen", "networks", "inner_loss")

    name: str
    training_rows: int
    held_out: Mapping[str, str]
    chosen: Mapping[str, Any] | None = None
    networks: tuple[NetworkRecord, ...] | None = None
    inner_loss: float | None = None

    def document(self) -> dict[str, Any]:
        """Once it is trained, `inner_loss` is null where nothing was chosen."""
        known = super().document()
        return known if self.networks is None else {**known, "inner_loss": self.inner_loss}


@dataclass(frozen=True, kw_only=True)
class Record(Part):
    """A run's record. Whoever changes something makes a new one with `dataclasses.replace`, and writes it."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("fold",)

    schema: int = SCHEMA_VERSION
    experience: str = ""
    dataset: str = ""
    model: str = ""
    digest: str = ""
    created: str = ""
    started: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    stopped: str | None = None
    error: str | None = None
    launch: str | None = None
    job: JobRecord | None = None
    note: str = ""
    overrides: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Metric → `best` and `unit`, how its numbers are read; see `qexp.metrics.meaning`."""
    results: Numbers = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)
    comparison: tuple[ComparisonRow, ...] = ()
    errors: FieldErrors | None = None
    folds: FoldCount | None = None
    caution: str = ""
    features: tuple[Feature, ...] = ()
    lineage: tuple[Ancestor, ...] = ()
    seen: Fingerprint | None = None
    imported: Imported | None = None
    code: CodeState = CodeState()
    epochs: Epochs = Epochs()
    name: str
    seed: int
    state: State
    fold: FoldRecord | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise MisfitError(f"is {self.seed}, but a seed is a whole number from 0 on, less than 2^63", "seed")
        if self.state not in WRITTEN:
            raise MisfitError(f'is "{self.state}", which no run writes there', "state")
        if self.launch is not None and (
            not self.launch.isprintable() or self.launch in ("", ".", "..") or "/" in self.launch
        ):
            raise MisfitError("is not the name of a launch", "launch")

    @property
    def open_attempt(self) -> AttemptRecord | None:
        """The last attempt, if its process has not written that it ended."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].ended is None else None

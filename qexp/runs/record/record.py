"""The record of a run, `run.json`: its settings, its history and its results."""

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
"""part → output → metric → value, in the output's unit; None if it is not finite."""

Interval = tuple[float, float]

Intervals = Mapping[str, Mapping[str, Mapping[str, Interval | None]]]
"""part → output → metric → 95 % bootstrap interval."""


@dataclass(frozen=True, kw_only=True)
class Epochs(Part):
    done: int = 0
    of: int = 0
    best: int | None = None


@dataclass(frozen=True, kw_only=True)
class FoldCount(Part):
    """Number of finished folds of a cross-validation, total number, and names of those that failed."""

    done: int = 0
    of: int = 0
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobRecord(Part):
    """The scheduler's job of the last attempt."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("workspace", "cluster")

    launcher: str
    id: str
    workspace: str | None = None
    """The root of the workspace from which it was submitted."""
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptRecord(Part):
    """One process that worked on the run."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("wrap",)

    number: int
    process: Process
    started: str | None = None
    ended: str | None = None
    state: State
    wrap: str | None = None
    """The command around the process, with its placeholders filled in."""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise MisfitError(f"is {self.number}, but attempts are counted from 1", "number")


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Part):
    """Size and SHA-256 of a file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Ancestor(Part):
    """A run whose weights this run, or one of its ancestors, started from."""

    name: str
    experience: str = ""
    dataset: str = ""
    seed: int | None = None
    digest: str | None = None
    created: str = ""
    weights: Fingerprint | None = None
    """Fingerprint of the weights that were taken over; None in older records."""
    operations: tuple[str, ...] | None = None
    """Operations whose weights were taken over; None for all."""
    transforms: tuple[str, ...] = ()
    """Variables whose fitted transforms were taken over."""


@dataclass(frozen=True, kw_only=True)
class Imported(Part):
    """The origin of an imported run."""

    archive: str
    time: str
    was: Mapping[str, Any] = field(default_factory=dict)
    """Name, state, job and launch in its record there."""
    before: Mapping[str, Any] | None = None
    """The origin before an earlier import."""
    code_trusted: bool | None = None
    """Whether the run's own code may be executed; None if it has none."""


@dataclass(frozen=True, kw_only=True)
class ForeignFile(Part):
    """A file of another program."""

    name: str
    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ForeignWeights(Part):
    """The origin of weights that another program trained; `weights.json` says what became of every tensor."""

    file: ForeignFile
    also: Mapping[str, ForeignFile] = field(default_factory=dict)
    """Name → file with a further tensor."""
    format: str
    rules: str
    time: str
    taken: int
    """Number of tensors of the files that are weights of the network or numbers of its transforms."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why tensors were left out → how many."""
    transforms: Mapping[str, str] = field(default_factory=dict)
    """Variable → the origin of the fitted numbers of its transform."""
    weights: Fingerprint
    """Of the run's own file, `checkpoints/best.safetensors`."""


@dataclass(frozen=True, kw_only=True)
class LargeFile(Part):
    """An untracked file of the workspace that was too large to be copied."""

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
        """For a workspace in a repository; `diff` is null if nothing differs from the commit."""
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
    """Errors on whole test frames, and the network's time per frame."""

    cells: int
    vectors: Mapping[str, VectorErrors]
    seconds_per_frame: float
    frame: tuple[int, int]
    threads: int
    device: str


@dataclass(frozen=True, kw_only=True)
class GroupErrors(Part):
    """Metrics of one output on the test samples of one group, in the output's unit."""

    of: str
    """What kind of group it is: `core`, `folder`, or the column by which rows are held out."""
    name: str
    n: int
    """Number of values: spectra, rows, or cells of fields."""
    output: str
    metrics: Mapping[str, float | None]
    """None where a metric is undefined, as R² is for a single value."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(Part):
    """One estimator (the network or a baseline) on one output; see `baselines.comparison.compared`."""

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
    """A fold's held-out data and, once it is trained, the hyper-parameters that were chosen for it."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("chosen", "networks", "inner_loss")

    name: str
    training_rows: int
    held_out: Mapping[str, str]
    chosen: Mapping[str, Any] | None = None
    networks: tuple[NetworkRecord, ...] | None = None
    inner_loss: float | None = None

    def document(self) -> dict[str, Any]:
        """The JSON document; `inner_loss` appears once the fold is trained, and is null if nothing was chosen."""
        known = super().document()
        return known if self.networks is None else {**known, "inner_loss": self.inner_loss}


@dataclass(frozen=True, kw_only=True)
class Record(Part):
    """A run's record. To change it, make a new one with `dataclasses.replace` and write that."""

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
    """Metric → its `best` direction and `unit`; see `qexp.metrics.meaning`."""
    results: Numbers = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)
    comparison: tuple[ComparisonRow, ...] = ()
    errors: FieldErrors | None = None
    groups: tuple[GroupErrors, ...] = ()
    folds: FoldCount | None = None
    caution: str = ""
    features: tuple[Feature, ...] = ()
    lineage: tuple[Ancestor, ...] = ()
    seen: Fingerprint | None = None
    imported: Imported | None = None
    """The archive of a run that was trained in another workspace."""
    kind: str = "trained"
    """`imported` for a run with weights that another program trained, `program` for a run of a program."""
    foreign_weights: ForeignWeights | None = None
    """The origin of such weights."""
    rerun_of: str | None = None
    """The run whose spec this one has, if it was started by `qexp rerun`."""
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
    def command(self) -> list[str]:
        """The words of the command that makes such a run, under its usual name."""
        overrides = [word for override in self.overrides for word in ("--set", override)]
        return ["qexp", "run", self.experience, "--seed", str(self.seed), *overrides]

    @property
    def open_attempt(self) -> AttemptRecord | None:
        """The last attempt if its process has not recorded its end, else None."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].ended is None else None

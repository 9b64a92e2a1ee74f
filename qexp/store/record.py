"""The record of a run, `run.json`: its state, origins, history and results; and its epochs,
`metrics.jsonl`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar

from qexp.base import formats
from qexp.base.files import read_bytes
from qexp.base.seeds import LARGEST_SEED
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.metrics.meaning import BEST, UNKNOWN, Meaning
from qexp.store.documents import MisfitError, Part
from qexp.store.process import Process


class State(StrEnum):
    """What a run is doing, or how it ended; JSON holds the value as text."""

    CREATED = "created"
    """It is prepared, and has not started."""
    QUEUED = "queued"
    """It waits in a pool or in the queue of a scheduler."""
    RUNNING = "running"
    """A process is working on it."""
    DONE = "done"
    """Its process ended successfully, and the results are complete."""
    FAILED = "failed"
    """It ended with an error, which `qexp logs` shows."""
    TIMEOUT = "timeout"
    """Its time limit ended it; `--resume` continues it."""
    OUT_OF_MEMORY = "out_of_memory"
    """It needed more memory than it may use."""
    PREEMPTED = "preempted"
    """The scheduler took its place for other work; `--resume` continues it."""
    INTERRUPTED = "interrupted"
    """A signal, Ctrl-C or `qexp stop` ended it; `--resume` continues it."""
    LOST = "lost"
    """Its process disappeared without a word; `--resume` continues it."""
    DAMAGED = "damaged"
    """Its record cannot be read."""
    GONE = "gone"
    """The run has no record; never the state of a listed run."""

    @property
    def unfinished(self) -> bool:
        return self.at_work or self is State.CREATED

    @property
    def at_work(self) -> bool:
        """Whether a process or a scheduler is working on the run, or will be."""
        return self in (State.QUEUED, State.RUNNING)

    @property
    def resumable(self) -> bool:
        """Whether the run was cut short by an outside cause, so that `--resume` continues it."""
        return self in (State.INTERRUPTED, State.PREEMPTED, State.TIMEOUT, State.LOST)

    @property
    def without_result(self) -> bool:
        """Whether the run ended without a result, so that `--only-failed` repeats it."""
        return self.resumable or self in (State.FAILED, State.OUT_OF_MEMORY)

    @property
    def open_ended(self) -> bool:
        """Whether the scheduler or the process may know a later state than the record.

        An interrupted run may be restarted by its scheduler.
        """
        return self.unfinished or self is State.INTERRUPTED

    @property
    def readable(self) -> bool:
        return self not in (State.DAMAGED, State.GONE)

    @property
    def words(self) -> str:
        """The state as words in a sentence: `out of memory`."""
        return self.value.replace("_", " ")


LISTED = tuple(state for state in State if state is not State.GONE)
"""The states in which runs are listed."""

WRITTEN = tuple(state for state in State if state.readable)
"""The states that a record may hold."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
IN_NAMES = "letters, digits, '.', '_' and '-'"
"""Names of runs, matrices and evaluations, and in words what they consist of."""


def require_name(name: str) -> str:
    """Raise QexpError unless the name can be a directory and is easy to type."""
    if not NAME.fullmatch(name) or name.startswith("catalog.json"):
        raise QexpError(f"{name!r} is not a valid run name; use {IN_NAMES}")
    return name


def now() -> str:
    """The current time in UTC, in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# Where a run comes from: code, weights that it started from, an archive, files of another program.


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Part):
    """Size and SHA-256 of a file."""

    sha256: str
    """SHA-256 of the content."""
    bytes: int
    """Size."""


@dataclass(frozen=True, kw_only=True)
class Ancestor(Part):
    """A run whose weights this run, or one of its ancestors, started from."""

    name: str
    """Name of the run."""
    experience: str = ""
    """Its experience."""
    dataset: str = ""
    """Its dataset."""
    seed: int | None = None
    """Its seed."""
    digest: str | None = None
    """Its digest."""
    created: str = ""
    """When it was prepared."""
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
    """Name of the archive, or the remote, and the run's version there."""
    time: str
    """When it was imported, in UTC."""
    was: Mapping[str, Any] = field(default_factory=dict)
    """Name, state, job and launch in its record there."""
    before: Mapping[str, Any] | None = None
    """The origin before an earlier import."""
    code_trusted: bool | None = None
    """Whether the run's own code may be executed; None if it has none."""


@dataclass(frozen=True, kw_only=True)
class ForeignFile(Fingerprint):
    """A file of another program."""

    name: str
    """Name of the file."""
    path: str
    """Where it was read."""


@dataclass(frozen=True, kw_only=True)
class ForeignWeights(Part):
    """Where weights of others are from; `weights.json` says what became of every tensor."""

    file: ForeignFile
    """The file with the weights."""
    also: Mapping[str, ForeignFile] = field(default_factory=dict)
    """Name → file with a further tensor."""
    format: str
    """Its format."""
    rules: str
    """Name or path of the rules by which tensors were renamed."""
    time: str
    """When it was imported, in UTC."""
    taken: int
    """Number of tensors of the files that are weights of the network or numbers of its
    transforms.
    """
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why tensors were left out → how many."""
    transforms: Mapping[str, str] = field(default_factory=dict)
    """Variable → the origin of the fitted numbers of its transform."""
    azimuth: float = 0.0
    """Angle in radians that is added to the azimuths of all simulated datasets that the run is
    given, as the other program trained on images that are seen from there.
    """
    remarks: tuple[str, ...] = ()
    """What of its images could not be made here."""
    weights: Fingerprint
    """Of the run's own file, `checkpoints/best.safetensors`."""


@dataclass(frozen=True, kw_only=True)
class LargeFile(Part):
    """An untracked file that was too large to be copied; or how many more of any size there are."""

    name: str
    """Path in the workspace."""
    bytes: int | None = None
    """Its size; null for what is not a plain file."""


@dataclass(frozen=True, kw_only=True)
class CodeState(Part):
    """The workspace's repository when the run was prepared."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("diff", "untracked", "untracked_left_out")

    commit: str | None = None
    """The commit that was checked out."""
    dirty: bool | None = None
    """Whether anything differed from the commit."""
    diff: str | None = None
    """SHA-256 of the difference, `code/diff.patch`."""
    untracked: tuple[str, ...] | None = None
    """Names of small untracked files, which are copied."""
    untracked_left_out: tuple[LargeFile, ...] | None = None
    """Names of larger ones, which are not."""

    def document(self) -> dict[str, Any]:
        """For a workspace in a repository; `diff` is null if nothing differs from the commit."""
        nothing = {} if self.commit is None else dict.fromkeys(("commit", "dirty", "diff"))
        return nothing | super().document()


SCHEMA_VERSION = 2

Numbers = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""part → output → metric → value, in the output's unit; None if it is not finite."""

Interval = tuple[float, float]

Intervals = Mapping[str, Mapping[str, Mapping[str, Interval | None]]]
"""part → output → metric → 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class Epochs(Part):
    """Progress of training."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("step",)

    done: int = 0
    """Number of finished epochs."""
    of: int = 0
    """Number of epochs in the spec, or in the progress of a program; 0 if it is unknown."""
    best: int | None = None
    """The epoch whose weights are kept."""
    step: float | None = None
    """The last step that a script logged, if it counts steps and not epochs."""


@dataclass(frozen=True, kw_only=True)
class FoldCount(Part):
    """How many folds of a cross-validation are finished, of how many, and which failed."""

    done: int = 0
    """Number of finished folds."""
    of: int = 0
    """Number of all folds."""
    failed: tuple[str, ...] = ()
    """Names of the folds that failed."""


@dataclass(frozen=True, kw_only=True)
class JobRecord(Part):
    """The scheduler's job of the last attempt."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("workspace", "cluster")

    launcher: str
    """Name of the scheduler."""
    id: str
    """Number that the scheduler gave to the job."""
    workspace: str | None = None
    """The root of the workspace from which it was submitted."""
    cluster: str | None = None
    """Name of the cluster, if the scheduler knows several."""


@dataclass(frozen=True, kw_only=True)
class AttemptRecord(Part):
    """One process that worked on the run."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("wrap", "processes", "backend")

    number: int
    """1 for the first attempt."""
    process: Process
    """The process, by which a later one checks whether it is alive."""
    started: str | None = None
    """Time in UTC."""
    ended: str | None = None
    """Time in UTC; null until then."""
    state: State
    """How it ended, or `running`."""
    wrap: str | None = None
    """The command around the process, with its placeholders filled in."""
    processes: int | None = None
    """How many processes trained the network together, if there were several; `process` is the
    first.
    """
    backend: str | None = None
    """How they exchanged gradients: `gloo` or `nccl`."""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise MisfitError(f"is {self.number}, but attempts are counted from 1", "number")


@dataclass(frozen=True, kw_only=True)
class StackPlace(Part):
    """The place of a run in a stack, whose networks are trained side by side."""

    id: str
    """Of the stack, the same for all of its runs."""
    size: int
    """Number of places."""
    place: int
    """Counted from 0."""
    seed: int
    """Of what all runs of the stack share: the random numbers of dropout."""

    def __post_init__(self) -> None:
        if not 0 <= self.place < self.size:
            raise MisfitError(
                f"is {self.place}, but a stack of {self.size} has the places from 0 on", "place"
            )


@dataclass(frozen=True, kw_only=True)
class Feature(Part):
    """A column of the input, or an output, with its range in the training data."""

    column: str
    """Name of the column."""
    least: float | None = None
    """Smallest value."""
    greatest: float | None = None
    """Largest value."""


@dataclass(frozen=True, kw_only=True)
class VectorErrors(Part):
    """Errors of a vector, such as a velocity, whose components are two outputs."""

    mean_error: float | None = None
    """Mean length of the error vector, in the unit of its components."""
    mean_speed: float | None = None
    """Mean length of the true vector."""
    percent: float | None = None
    """Mean error as a percentage of the mean speed."""


@dataclass(frozen=True, kw_only=True)
class FieldErrors(Part):
    """Errors on whole test frames, and the network's time per frame."""

    cells: int
    """Number of cells that count."""
    vectors: Mapping[str, VectorErrors]
    """Pair of outputs → errors of the vector."""
    seconds_per_frame: float
    """Time that the network takes for one frame."""
    frame: tuple[int, int]
    """Height and width of that frame."""
    threads: int
    """Number of threads that it used."""
    device: str
    """Where it was computed."""


@dataclass(frozen=True, kw_only=True)
class GroupErrors(Part):
    """Metrics of one output on the test samples of one group, in the output's unit."""

    of: str
    """What kind of group it is: `core`, `folder`, or the column by which rows are held out."""
    name: str
    """Name of the group."""
    n: int
    """Number of values: spectra, rows, or cells of fields."""
    output: str
    """Name of the output."""
    metrics: Mapping[str, float | None]
    """None where a metric is undefined, as R² is for a single value."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(Part):
    """One estimator (the network or a baseline) on one output; see `metrics.baselines`."""

    output: str
    """Name of the output."""
    unit: str
    """Its unit."""
    estimator: str
    """`network`, or the name of the baseline."""
    note: str
    """A remark on these numbers, such as "selected on the test data"."""
    n: int
    """Number of rows."""
    groups: int | None
    """Number of groups, if whole groups are drawn for the intervals."""
    rmse: float | None
    """Root mean square error."""
    rmse_interval: Interval | None
    """Its 95 % interval."""
    mae: float | None
    """Mean absolute error."""
    mae_interval: Interval | None
    """Its 95 % interval."""
    r2: float | None
    """Coefficient of determination."""
    r2_interval: Interval | None
    """Its 95 % interval."""
    bias: float | None
    """Mean error."""
    bias_interval: Interval | None
    """Its 95 % interval."""
    difference: float | None
    """RMSE minus that of the network; null for the network."""
    difference_interval: Interval | None
    """95 % interval of that difference; not significant if it includes 0."""
    metrics: Mapping[str, float | None] | None = None
    """Of an output of classes: metric → value; the difference is that of log scores."""
    intervals: Mapping[str, Interval | None] | None = None
    """Of an output of classes: metric → 95 % interval."""

    LEFT_OUT = "metrics", "intervals"

    def __post_init__(self) -> None:
        if (self.rmse, self.metrics) == (None, None) and any(
            error is not None for error in (self.mae, self.r2, self.bias, self.difference)
        ):
            raise MisfitError("is null, although other errors are known", "rmse")


@dataclass(frozen=True, kw_only=True)
class NetworkRecord(Part):
    """One network of a fold."""

    name: str
    """`inner_00` and so on."""
    epoch: int | None = None
    """The epoch whose weights are kept."""
    stopped: str | None = None
    """Why training stopped early."""
    loss: float | None = None
    """Its validation loss."""


@dataclass(frozen=True, kw_only=True)
class FoldRecord(Part):
    """A fold's held-out data and, once trained, the hyper-parameters chosen for it."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("chosen", "networks", "inner_loss", "judged")

    name: str
    """Number of the fold."""
    training_rows: int
    """Number of rows that the fold trains on."""
    held_out: Mapping[str, str]
    """Identifiers or groups that are held out."""
    chosen: Mapping[str, Any] | None = None
    """Key → value chosen on the inner folds."""
    networks: tuple[NetworkRecord, ...] | None = None
    """The networks of the fold."""
    inner_loss: float | None = None
    """Mean loss of the chosen values on the inner folds."""
    judged: tuple[float | None, ...] | None = None
    """That of each combination of values, in the order of `select`; None for one that failed."""

    def document(self) -> dict[str, Any]:
        """The JSON document; once trained with `inner_loss`, null if nothing was chosen."""
        document = super().document()
        return document if self.networks is None else {**document, "inner_loss": self.inner_loss}


@dataclass(frozen=True, kw_only=True)
class Outcome(Part):
    """What networks achieve on some data, in the outputs' own units."""

    units: Mapping[str, str] = field(default_factory=dict)
    """Output → unit."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Metric → its `best` direction and `unit`; see `qexp.metrics.meaning`."""
    results: Numbers = field(default_factory=dict)
    """part → output → metric → value, in the output's unit."""
    intervals: Intervals = field(default_factory=dict)
    """part → output → metric → 95 % interval."""
    comparison: tuple[ComparisonRow, ...] = ()
    """The network and its baselines on the same samples."""
    errors: FieldErrors | None = None
    """Errors on whole test frames, for fields."""
    groups: tuple[GroupErrors, ...] = ()
    """Errors by core, folder or group."""
    caution: str = ""
    """What must be said with these results; empty if nothing."""


@dataclass(frozen=True, kw_only=True)
class Record(Outcome):
    """A run's record. To change it, make a new one with `dataclasses.replace` and write that."""

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("fold", "script", "stack", "hashes", "operations")

    schema: int = SCHEMA_VERSION
    """Version of this format."""
    experience: str = ""
    """Name of the experience."""
    dataset: str = ""
    """Name of its dataset."""
    model: str = ""
    """Name of its model."""
    digest: str = ""
    """SHA-256 of spec, seed, data and extensions: runs with equal digests have equal results on one
    machine.
    """
    created: str = ""
    """When the run was prepared, in UTC."""
    started: str | None = None
    """When its first attempt started."""
    ended: str | None = None
    """When it ended; null until then."""
    seconds: float = 0.0
    """Time of training, over all attempts."""
    stopped: str | None = None
    """Why training stopped early."""
    error: str | None = None
    """Why it failed."""
    launch: str | None = None
    """Id of the launch that it belongs to."""
    job: JobRecord | None = None
    """The job of a scheduler."""
    stack: StackPlace | None = None
    """Its place beside others, if it is trained in a stack: its bits depend on that."""
    note: str = ""
    """A note of the launch; later ones are in `labels.json`."""
    overrides: tuple[str, ...] = ()
    """Changes to the spec, as given to `--set`."""
    tags: tuple[str, ...] = ()
    """Tags of the launch; later ones are in `labels.json`."""
    parents: tuple[str, ...] = ()
    """Names of the runs that it started from."""
    attempts: tuple[AttemptRecord, ...] = ()
    """The processes that worked on it."""
    folds: FoldCount | None = None
    """Progress of a cross-validation."""
    features: tuple[Feature, ...] = ()
    """Input columns of rows, with their training ranges."""
    targets: tuple[Feature, ...] = ()
    """Outputs of data from files, with the ranges of their true values in the training data."""
    lineage: tuple[Ancestor, ...] = ()
    """The runs that it was pretrained from, the nearest first."""
    seen: Fingerprint | None = None
    """Fingerprint of `seen.json`, the hashes of all spectra that it and its ancestors were trained
    on.
    """
    imported: Imported | None = None
    """The archive of a run that was trained in another workspace."""
    kind: str = "trained"
    """`imported` for a run with weights that another program trained, `program` for a run of a
    program.
    """
    foreign_weights: ForeignWeights | None = None
    """The origin of such weights."""
    script: str | None = None
    """The script that logs it; empty for a notebook, and null for a run that qexp executes."""
    rerun_of: str | None = None
    """The run whose spec this one has, if it was started by `qexp rerun`."""
    code: CodeState = field(default_factory=CodeState)
    """State of the workspace's git repository."""
    epochs: Epochs = Epochs()
    """Progress of training."""
    weights: int | None = None
    """Number of weights of the network; null for networks of several folds, and in older
    records.
    """
    operations: int | None = None
    """Floating-point operations of an estimate; null likewise."""
    hashes: Mapping[str, str] | None = None
    """Path → SHA-256 of the best weights, of all folds, when it was done; missing in older
    records.
    """
    name: str
    """Name of the run, which is the name of its directory."""
    seed: int
    """Seed of all its random streams."""
    state: State
    """How far it is, or how it ended; while it is running only its process knows."""
    fold: FoldRecord | None = None
    """For a fold: what it holds out and what was chosen."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise MisfitError(
                f"is {self.seed}, but a seed is a whole number from 0 on, less than 2^63", "seed"
            )
        if self.state not in WRITTEN:
            raise MisfitError(f'is "{self.state}", which no run writes there', "state")
        if self.launch is not None:
            no_name = self.launch in ("", ".", "..") or "/" in self.launch
            if no_name or not self.launch.isprintable():
                raise MisfitError("is not the name of a launch", "launch")

    @property
    def mark_of_weights(self) -> str | None:
        """What is digested of weights of another program: their hash, or, where their training came
        along, its rules, so that its seeds are compared like others.
        """
        origin = self.foreign_weights
        if origin is None:
            return None
        return origin.rules if self.epochs.done else origin.weights.sha256

    @property
    def command(self) -> list[str]:
        """The words of the command that makes such a run, under its usual name."""
        if self.script is not None:
            return ["python", self.script or "NOTEBOOK"]
        words = ["qexp", "run", self.experience, "--seed", str(self.seed)]
        for override in self.overrides:
            words += ["--set", override]
        return words

    def continued_by(self, name: str) -> str:
        """What goes on with an interrupted run, as text.

        name  of its directory, which may have been renamed
        """
        if self.script is not None:
            return f"qexp.track({name!r}, resume=True) in {self.script or 'the notebook'}"
        return f"qexp rerun {shlex.quote(name)} --resume"

    @property
    def open_attempt(self) -> AttemptRecord | None:
        """The last attempt if its process has not recorded its end, else None."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].ended is None else None


def read_record(file: Path) -> Record:
    """The record in a file. Raises NotFoundError, or DamagedError if it is no record."""
    try:
        document = formats.read_json(file)
    except FileNotFoundError:
        raise NotFoundError(f"{file.parent} is not a run: there is no run.json") from None
    try:
        return Record.from_document(document)
    except MisfitError as misfit:
        version = document.get("schema") if isinstance(document, dict) else None
        hint = ""
        if isinstance(version, int) and version != SCHEMA_VERSION:
            written_by = f"(schema {version}, not {SCHEMA_VERSION})"
            hint = f"; another version of qexp has written it {written_by}"
        raise DamagedError(f"{file} is damaged: {misfit}{hint}") from None


def meaning_of(name: str, recorded: Iterable[Mapping[str, Any]]) -> Meaning:
    """The meaning of a metric of several runs: from their records, else that of qexp's own metric.

    Unknown if the records contradict each other: two extensions may use the same name for different
    metrics.
    recorded  the `metrics` of each record
    """
    meanings = set()
    for metrics in recorded:
        # older records have none, and invalid ones anything
        record = metrics.get(name)
        if isinstance(record, dict):
            best = record.get("best")
            unit = record.get("unit")
            unit = unit if isinstance(unit, str) else ""
            least = record.get("least")
            least = least if isinstance(least, int | float) else None
            meanings.add(Meaning(best if best in BEST else None, unit, least))
    if meanings:
        return meanings.pop() if len(meanings) == 1 else UNKNOWN
    from qexp.metrics.built_in import METRICS  # loads numpy, which listing many runs does not need

    return METRICS[name].build().meaning if name in METRICS else UNKNOWN


# The metrics of a run, `metrics.jsonl`: one line per epoch.


Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Losses(Part):
    """The loss on one part of the data; the other keys are outputs with their metrics."""

    loss: float | None
    """The total loss, which is minimised."""
    losses: Mapping[str, float | None] = field(default_factory=dict)
    """Output → its loss."""

    def __post_init__(self) -> None:
        for output, metrics in self.others.items():
            if not isinstance(metrics, dict) or not {*map(type, metrics.values())} <= {
                int,
                float,
                NoneType,
            }:
                raise MisfitError("is not an object of numbers", output)


@dataclass(frozen=True, kw_only=True)
class EpochLine(Part):
    epoch: int
    """1 for the first epoch."""
    step: float | None = None
    """Its number in a program that counts otherwise."""
    learning_rate: float | None = None
    """Learning rate at the end of the epoch."""
    train: Losses
    """Loss and metrics on the training samples."""
    validation: Losses
    """Loss and metrics on the validation samples."""
    best: bool
    """Whether its validation loss is the lowest so far."""


def read_epochs(file: Path) -> list[Line]:
    """All epochs; empty if there is no file yet. An incomplete last line is left out.

    Raises DamagedError for any other line that is not valid.
    """
    try:
        written = read_bytes(file).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    lines = []
    for number, text in enumerate(written, start=1):
        line = formats.whole_line(text)
        if line is None and number == len(written):
            break
        try:
            EpochLine.from_document(line)
        except MisfitError as misfit:
            problem = "is not a JSON object" if line is None else misfit
            raise DamagedError(f"{file} is damaged: line {number}: {problem}") from None
        assert line is not None
        lines.append(line)
    return lines

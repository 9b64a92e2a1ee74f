"""Estimates of files: the one way that all kinds of data go, and what they share: columns, counts,
draws, reuse.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.base import files, folders, formats
from qexp.base.arrays import Mask, by_name
from qexp.base.machine import terminable
from qexp.base.outputs import (
    Estimated,
    Output,
    TrainedRange,
    Words,
    at_limits,
    joined,
    numbers_in,
)
from qexp.base.seeds import Seeds
from qexp.errors import NotFoundError, QexpError, hint, some
from qexp.figures.canvas import draws_at_once
from qexp.figures.distributions import OF_DRAWS, draw_corner
from qexp.kinds.networks import outputs_of
from qexp.kinds.options import OnProgress, PredictOptions
from qexp.kinds.tables import tables_of
from qexp.rows.csv import title
from qexp.rows.formats import new_file_of_rows
from qexp.rows.table import Grid
from qexp.simulation.dataset import GeneratedDataset
from qexp.store.directory import RunDirectory
from qexp.store.record import Record

if TYPE_CHECKING:
    import h5netcdf
    import pyarrow as pa
    from torch import Tensor

    from qexp.kinds.held_out import NewIntervals
    from qexp.networks.estimator import Ensemble, Estimator, Posterior
    from qexp.networks.network import Network

WORDS = b"words"
"""Metadata key of a column with the same text in every row; holds that text."""

CAUTION = "caution"
"""Column with the run's caution in every row, if it has one; a NetCDF file has it once, as an
attribute.
"""

OUTSIDE = "outside"
"""Column with the number of features of a row, or of statistics of an image, outside the range of
the training data.
"""

ESTIMATES_OUTSIDE = "estimates_outside"
"""Column with the number of a sample's estimates that lie beyond those values of the outputs that
were trained on.
"""

MOST_DATA, ALL_DATA = "99 % of the training data", "the range of the training data"
"""What ranges hold, in words: those between the EDGES, and those from the least to the greatest
value.
"""


Array = NDArray[np.float32]
Arrays = Mapping[str, Array]
"""Input → (sample, ...), or output → (sample,)."""


class InputArrays:
    """Arrays as the inputs of a run's network."""

    named: ClassVar[str] = "values"
    """Key of the dataset that names the values of inputs."""

    def __init__(self, directory: RunDirectory, network: Network) -> None:
        self.directory, self.network = directory, network

    @cached_property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """Input → the names of its values, where the data that it was trained on have some."""
        columns: Mapping[str, Sequence[str]] = self.directory.training_spec()["dataset"].get(
            self.named, {}
        )
        return columns

    def numbers(self, name: str, given: ArrayLike) -> NDArray[np.float32]:
        """The numbers of an input in its unit, columns that have names by these; what is masked is
        NaN.

        Raises QexpError for another unit, and other names.
        """
        known = self.columns.get(name, ())
        named = by_name(given, f"'{name}'", known, "the run was trained on") if known else given
        try:
            return np.ma.filled(np.ma.asarray(named, dtype=np.float32), np.nan)
        except (
            TypeError,
            ValueError,
        ) as error:  # such as texts, complex numbers and lists of different lengths
            raise QexpError(f"'{name}' is no array of numbers: {error}") from None

    def within_turn(self, name: str, values: Tensor) -> Tensor:
        """An input, (sample, ...), moved by whole turns to trained directions, if it is one."""
        return values


@dataclass(frozen=True)
class RefinedArrays:
    """Posteriors of arrays by a known likelihood.

    units  unknown variable → its unit, in the order of the draws
    draw   from input → (sample, ...), the network's estimates, output → (sample,), the number of
           draws and a seed to values, (draw, sample, variable), and sample → why its draws are not
           to be trusted. Raises QexpError for missing values
    """

    units: Mapping[str, str]
    draw: Callable[
        [Arrays, Arrays, int, int], tuple[NDArray[np.floating], Mapping[int, Sequence[str]]]
    ]


@dataclass(frozen=True)
class FileKind:
    """How runs on one type of dataset predict files."""

    counted: str
    """The unit of progress, such as rows."""
    targets: Callable[[Path, Path, Sequence[str]], list[tuple[Path, Path]]]
    """From what is given and the run's inputs to pairs of what is read and the file to write."""
    estimator: Callable[[RunDirectory, PredictOptions], Callable[..., Prediction]]
    """From a run to what predicts one of its files, as `FileModel.predict` does."""
    takes: frozenset[str] = frozenset()
    """The fields of `PredictOptions` that it takes."""
    extent: Callable[[RunDirectory, Estimator], TrainingExtent] | None = None
    """Of a run and one of its networks; None where no range of the inputs is known."""
    arrays: Callable[[RunDirectory, Network], InputArrays] = InputArrays
    """How its networks take arrays."""
    refined: Callable[[RunDirectory, Estimator], RefinedArrays] | None = None
    """Posteriors of arrays by a known likelihood; None where there is none."""
    recalibrated: Callable[[RunDirectory, Ensemble, str], Ensemble] | None = None
    """Networks whose posteriors are as wide as a kept calibration on a part demands; None where
    there is none.
    """


@dataclass(frozen=True)
class Prediction:
    """The result of predicting a file: what its record counts is also an attribute, such as
    `prediction.rows`.
    """

    source: Path
    target: Path
    made: bool
    """False if the file existed already."""
    files: list[Path]
    """The files of results."""
    remarks: list[str]
    """How much was estimated, and what is to be said of it."""
    warnings: Sequence[str] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        counts = self.__dict__.get("counts", {})
        if name not in counts:
            raise AttributeError(f"a prediction has no '{name}'; this one has {', '.join(counts)}")
        return counts[name]


def no_progress(count: int, share: float) -> None: ...


@dataclass(frozen=True, kw_only=True)
class FileModel(ABC):
    """The parts of a run that are needed to predict files of one kind of data."""

    outputs: Mapping[str, Output]
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution, such as "selected on the
    test data".
    """
    intervals: NewIntervals | None = None
    """By the errors of held-out samples, if the run has some."""
    draws: SampleDraws | None = None
    """From the posteriors, for a file of their own, if they were asked for."""

    extent: ClassVar[str] = ALL_DATA
    """What the ranges of the training data hold, in words."""

    @property
    def units(self) -> dict[str, str]:
        return {name: output.unit for name, output in self.outputs.items()}

    @property
    def coverage(self) -> float | None:
        """What the intervals promise; None if there are none."""
        return None if self.intervals is None else self.intervals.coverage

    @property
    def attributes(self) -> dict[str, str]:
        """What a file says of all of its samples."""
        return {
            **self.origin,
            **({} if self.intervals is None else {"interval": self.intervals.words}),
        }

    @property
    def attributes_of_draws(self) -> dict[str, str]:
        """What the file of draws says of them."""
        return self.attributes

    @abstractmethod
    def open(self, source: Path, target: Path) -> Estimation[Any]:
        """Open what is read. Raises QexpError if it, or the target, cannot be."""

    def predict(
        self,
        source: Path,
        target: Path,
        *,
        chunk: int | None = None,
        overwrite: bool = False,
        progress: OnProgress = no_progress,
    ) -> Prediction:
        """Estimate a file in memory that does not grow with its size; a record is written beside as
        `<file>.json`.

        A file that the same run made from the same data is left as it is.
        chunk  samples in memory at a time; does not affect the file
        Raises QexpError if the file exists and was made otherwise, unless `overwrite`.
        """
        estimation = self.open(source, target)
        key = {"origin": dict(self.origin), "input": estimation.identity, **estimation.settings}
        key = {name: value for name, value in key.items() if value is not None}
        record = None if overwrite else reusable(source, target, key)
        if made := record is None:
            files.make_folder(target.absolute().parent)
            folders.clear(target)
            with terminable(signal.SIGUSR1):  # a scheduler sends it shortly before the time limit
                entries = estimation.write(chunk, progress)
            record = {**key, "output": identity(target), **entries}
            formats.write_json(record_of(target), record)
            if self.draws is not None and draws_at_once():
                with suppress(QexpError):  # of samples without any draws
                    draw_corner([file_of_draws(target)])
        remarks = estimation.remarks(record)
        warnings = estimation.warnings(record)
        results = [target, *estimation.further_files(record)]
        return Prediction(
            source, target, made, results, remarks, warnings, estimation.counts(record)
        )

    def remarks(self, record: Mapping[str, Any], count: int, samples: str = "") -> list[str]:
        """What intervals are, and what the record of a file of so many estimates says of those
        outside the training data, and at limits.

        samples  what is counted, if it is not what the file has a row for
        """
        phrases = [] if self.intervals is None else [self.intervals.words]
        if outside := record.get(ESTIMATES_OUTSIDE, 0):
            by_output = record[f"{ESTIMATES_OUTSIDE}_in"].items()
            phrase = "; ".join(f"{name}: {number:,}" for name, number in by_output if number)
            phrases.append(f"{samples}{outside:,} with estimates outside {self.extent} ({phrase})")
        for name, number in record.get("at_limits", {}).items():
            if number:
                output = self.outputs[name]
                phrases.append(at_limits(name, output.limited, output.unit, number, count))
        if self.draws is not None and count > 1:
            phrases.append(
                "corner plot of the first sample with draws; of others: qexp figures FILE --only"
                " SAMPLE"
            )
        return phrases


M = TypeVar("M", bound=FileModel)


class Estimation(ABC, Generic[M]):
    """An opened file, and the file that its estimates are written to.

    identity  of all files that are read; see `identity`
    """

    identity: Any

    def __init__(self, model: M, source: Path, target: Path) -> None:
        self.model, self.source, self.target = model, source, target

    @property
    def settings(self) -> dict[str, Any]:
        """What the file depends on besides the run and what is read; values that are None do not
        count.
        """
        return {
            "interval": self.model.coverage,
            "draws": self.model.draws and self.model.draws.count,
        }

    @abstractmethod
    def write(self, chunk: int | None, progress: OnProgress) -> dict[str, Any]:
        """Write the file. Returns entries of its record. Raises QexpError."""

    @abstractmethod
    def remarks(self, record: Mapping[str, Any]) -> list[str]:
        """What is said of the file, by its record."""

    @abstractmethod
    def counts(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of the prediction, by the record of the file."""

    def further_files(self, record: Mapping[str, Any]) -> list[Path]:
        """What lies beside the file, by its record."""
        if self.model.draws is None:
            return []
        draws = file_of_draws(self.target)
        return [draws, *(picture for picture in [draws.with_suffix(".png")] if picture.exists())]

    def warnings(self, record: Mapping[str, Any]) -> Sequence[str]:
        """What may be a mistake."""
        return ()


@dataclass(frozen=True)
class EstimatedPiece:
    """Consecutive samples with their estimates.

    columns    name → (sample,): all columns of the new file but those of `closing_columns`
    estimates  output → (sample,)
    done       the fraction of the source that has been read
    """

    count: int
    columns: Mapping[str, Any]
    estimates: Mapping[str, NDArray[np.floating]]
    done: float

    def table(self, schema: pa.Schema, beyond: NDArray[np.int16]) -> pa.Table:
        """The rows of a file; NaN becomes a missing value.

        beyond  (sample,): number of estimates outside of the training data
        """
        import pyarrow as pa

        columns = {ESTIMATES_OUTSIDE: beyond, **self.columns}
        for column in schema:
            if (text := (column.metadata or {}).get(WORDS)) is not None:
                columns[column.name] = pa.repeat(text.decode(), self.count)
            elif not isinstance(columns[column.name], pa.Array | pa.ChunkedArray):
                columns[column.name] = pa.array(columns[column.name], column.type, from_pandas=True)
        return pa.table([columns[column.name] for column in schema], schema=schema)


class TableEstimation(Estimation[M]):
    """An opened file of samples whose estimates are rows of a table.

    counted   what samples are called
    numbered  whether draws are of sample numbers instead of names
    count     samples that are estimated already
    """

    counted: ClassVar[str]
    numbered: ClassVar[bool] = False
    grid: Grid | None = None
    count = 0

    @abstractmethod
    def schema(self, netcdf: bool) -> pa.Schema:
        """The columns of the new file.

        netcdf  whether it is a NetCDF file, which has the caution among its attributes, and no `/`
                in names
        """

    @abstractmethod
    def pieces(self, chunk: int | None, add_draws: AddDraws) -> Iterator[EstimatedPiece]:
        """All samples in order with their estimates; draws are added to their file."""

    def finish(self) -> dict[str, Any]:
        """What is drawn or checked before the file gets its name. Returns entries of the record."""
        return {}

    def write(self, chunk: int | None, progress: OnProgress) -> dict[str, Any]:
        model = self.model
        target = self.target
        tally = EstimateTally(self.model)
        schema = self.schema(target.suffix == ".nc")
        drawn: AbstractContextManager[AddDraws] = nullcontext(lambda names, values: None)
        if model.draws is not None:
            drawn = model.draws.new_file(
                file_of_draws(target), model.attributes_of_draws, self.numbered
            )
        with (
            new_file_of_rows(target, schema, self.grid, model.attributes) as sink,
            drawn as add_draws,
        ):
            for piece in self.pieces(chunk, add_draws):
                self.count += piece.count
                sink.write(piece.table(schema, tally.add(piece.estimates, piece.count)))
                progress(self.count, piece.done)
            entries = self.finish()
        about = {**tally.document(), "units": model.units}
        return {self.counted: self.count, **entries, **about}


class EstimateTally:
    """Counts of estimates beyond the training data, and at limits, piece by piece."""

    def __init__(self, model: FileModel) -> None:
        self._outputs, self._samples = model.outputs, 0
        outputs = model.outputs.values()
        self._at_limits = {one.name: 0 for one in outputs if one.limited}
        self._beyond = {one.name: 0 for one in outputs if one.ranged}

    def add(self, estimates: Mapping[str, NDArray[np.floating]], count: int) -> NDArray[np.int16]:
        """The number of outputs of each of `count` samples whose estimates lie beyond, (sample,),
        which is added.

        estimates  output → (sample,)
        """
        numbers = np.zeros(count, np.int16)
        for name, values in estimates.items():
            output = self._outputs[name]
            if name in self._at_limits:
                self._at_limits[name] += output.reached(values)
            if name in self._beyond:
                beyond = output.beyond(values)
                self._beyond[name] += int(beyond.sum())
                numbers += beyond
        self._samples += int((numbers > 0).sum())
        return numbers

    def document(self) -> dict[str, Any]:
        """What the record of the file says of it."""
        entries: dict[str, Any] = {}
        if self._beyond:
            entries[ESTIMATES_OUTSIDE] = self._samples
            entries[f"{ESTIMATES_OUTSIDE}_in"] = self._beyond
        if self._at_limits:
            entries["at_limits"] = self._at_limits
        return entries


class WithoutEstimate:
    """Samples without an estimate, of which the first few are named."""

    NAMED = 3
    """Largest number that are named."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.count = 0

    def add(self, names: Sequence[str], lacking: NDArray[np.bool_]) -> None:
        """lacking  (sample,)"""
        indices = np.flatnonzero(lacking)
        self.names += [names[index] for index in indices[: max(self.NAMED - self.count, 0)]]
        self.count += len(indices)

    def document(self) -> dict[str, Any]:
        return {"missing": self.names, "missing_count": self.count}

    @staticmethod
    def remarks(record: Mapping[str, Any], reason: str) -> list[str]:
        """A phrase on them, by the record of a file."""
        names = record["missing"]
        count = record["missing_count"]
        listing = ", ".join(names) + (", …" if count > len(names) else "")
        return [f"{count:,} without an estimate, because {reason} ({listing})"] if count else []


def of_blocks(blocks: Sequence[Mapping[str, Estimated]], empty: Mask) -> dict[str, Estimated]:
    """The estimates of several blocks together; NaN where `empty`, (sample,), is true."""
    every = {name: joined([block[name] for block in blocks], np.concatenate) for name in blocks[0]}
    nan = np.float32(np.nan)

    def known(values: Array) -> Array:
        return np.where(empty if values.ndim == 1 else empty[:, None], nan, values)

    return {name: made.each(known) for name, made in every.items()}


def of_run(directory: RunDirectory) -> dict[str, Any]:
    """What a `FileModel` of any kind has from its run: outputs and origin."""
    record = directory.record()
    spec = directory.training_spec()
    return {
        "outputs": outputs_of(spec, tables_of(directory), record.units, record.targets),
        "origin": {"run": directory.name, "digest": record.digest, "caution": record.caution},
    }


# Pairs of what is read and the file to write.


def require_there(source: Path) -> None:
    """Raise NotFoundError if there is nothing to read."""
    if not source.exists():
        neighbours = (
            [path.name for path in source.parent.iterdir()] if source.parent.is_dir() else []
        )
        raise NotFoundError(
            f"{source}: there is no such file or folder{hint(source.name, neighbours)}"
        )


def named_after(source: Path, target: Path, ending: str) -> Path:
    """The file to write: `target`, or a file in that folder, which is named after the source."""
    return target / f"{files.stem_of(source)}{ending}" if target.is_dir() else target


def require_not_read(target: Path, sources: Iterable[Path]) -> None:
    """Raise QexpError if a file to write is one of those that are read."""
    if target.resolve() in {source.resolve() for source in sources}:
        raise QexpError(
            f"{target}: the estimates would be written over what is read; give another `target`"
        )


def require_different_targets(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raise QexpError if two files would be written to one, or differ by their endings alone."""
    sources: dict[Path, Path] = {}
    for source, target in pairs:
        stem = target.with_suffix("")  # what is drawn is named after the stem alone
        if (first := sources.setdefault(stem, source)) is not source:
            raise QexpError(
                f"{first} and {source} would both be written to {stem}; rename one of them"
            )


T = TypeVar("T")


def read_ahead(pieces: Iterator[T], path: Path) -> Generator[T, None, None]:
    """All pieces in order; the next one is read while the current one is in use.

    path  the file that is read, for error messages
    Raises QexpError if reading fails.
    """
    with ThreadPoolExecutor(1, "reading") as thread:
        upcoming = thread.submit(next, pieces, None)
        while True:
            try:
                piece = upcoming.result()
            except OSError as error:
                raise QexpError(f"cannot read {path}: {error.strerror or error}") from error
            if piece is None:
                return
            upcoming = thread.submit(next, pieces, None)
            yield piece


# Columns of new files.


def new_column(
    name: str, kind: pa.DataType, unit: str = "", description: str = "", limits: str = ""
) -> pa.Field:
    """A column that says what it is."""
    import pyarrow as pa

    about = {"unit": unit, "description": description, "limits": limits}
    return pa.field(name, kind, metadata={key: text for key, text in about.items() if text})


def output_columns(output: Output, name: str, words: Words) -> list[pa.Field]:
    """The columns with estimates of an output, which are in the column `name`."""
    import pyarrow as pa

    columns = []
    for column, about in output.described(name, words).items():
        of_type = pa.type_for_alias(about.type)
        columns.append(new_column(column, of_type, about.unit, about.description, about.limits))
    return columns


def closing_columns(model: FileModel, netcdf: bool, extent: str = ALL_DATA) -> list[pa.Field]:
    """The last columns of a file: the number of estimates outside of the training data, and the
    run's caution.

    netcdf  whether the file has the caution among its attributes
    extent  what the ranges of the training data hold, in words
    """
    import pyarrow as pa

    columns = []
    if any(output.ranged for output in model.outputs.values()):
        columns.append(
            new_column(ESTIMATES_OUTSIDE, pa.int16(), description=f"estimates outside {extent}")
        )
    if (caution := model.origin.get("caution", "")) and not netcdf:
        columns.append(pa.field(CAUTION, pa.string(), metadata={WORDS: caution.encode()}))
    return columns


def new_names(
    columns: Iterable[str], others: Iterable[pa.Field], netcdf: bool = False
) -> dict[str, str]:
    """Column → its name in the predictions: its own, or `unnamed`, with `_given` at its end if
    other columns have that.

    others  whose titles with units, as a header of CSV has them, are taken, too
    netcdf  write `_` for `/`, which would make groups of variables in NetCDF
    """
    used = {name for other in others for name in (other.name, title(other))}
    names = {}
    for column in columns:
        name = (column.replace("/", "_") if netcdf else column) or "unnamed"
        while name in used:
            name += "_given"
        used.add(name)
        names[column] = name
    return names


# The values of outputs that a network was trained on: its estimates beyond them mean little.


EDGES = np.array([0.005, 0.995])
"""Quantiles of a distribution of simulated data between which most of the training data lie."""


def with_ranges(outputs: Mapping[str, Output], dataset: GeneratedDataset) -> dict[str, Output]:
    """Outputs, numbers with the ranges between the EDGES of their distributions.

    None for outputs that do not vary, and for those that repeat and have all directions in the
    training data.
    """
    ranged = dict(outputs)
    for name, output in numbers_in(outputs).items():
        trained, period = None, output.period
        if name in dataset.test:
            low, high = map(float, dataset.distributions[name].quantile(EDGES))
            if period is None or high - low < (EDGES[1] - EDGES[0]) * period * (1 - 1e-6):
                trained = TrainedRange(low, high, period)
        ranged[name] = replace(output, trained=trained)
    return ranged


@dataclass(frozen=True)
class TrainingExtent:
    """What a run's training data extend over, to say of arrays how many samples lie outside.

    inputs     from input → (sample, ...) to the name of a number, such as a feature → whether it is
               outside, (sample,)
    outputs    with the ranges of their training data; `words` says what such ranges hold
    """

    inputs: Callable[[Arrays], Mapping[str, NDArray[np.bool_]]]
    outputs: Mapping[str, Output]
    words: str = ALL_DATA

    def remarks(self, inputs: Arrays, estimates: Mapping[str, NDArray[Any]]) -> list[str]:
        """A sentence on samples with inputs outside, and one on those with estimates outside;
        estimates (sample, 1).
        """
        beyond, sentences = {}, []
        for name, output in self.outputs.items():
            if name in estimates and output.ranged:
                beyond[name] = output.beyond(estimates[name]).reshape(-1)
        for what, where, outside in (
            ("inputs", ALL_DATA, self.inputs(inputs)),
            ("estimates", self.words, beyond),
        ):
            either = np.any(list(outside.values()), axis=0) if outside else np.zeros(0, np.bool_)
            if count := int(either.sum()):
                counts = {name: int(samples.sum()) for name, samples in outside.items()}
                names = "; ".join(
                    f"{name}: {number:,}" for name, number in counts.items() if number
                )
                sentences.append(
                    f"{count:,} of {len(either):,} samples have {what} outside {where} ({names})"
                )
        return sentences


# Draws from the posteriors of samples, in a file beside the file of their estimates.


MOST_DRAWS = 1_000_000
"""Largest number of draws for each sample."""

SAMPLES_TOGETHER = 64
"""Samples whose draws lie together in a chunk of the file."""

AddDraws = Callable[[Sequence[str] | range, Array], None]
"""Takes names or numbers of further samples, and their draws, (draw, sample, output)."""


@dataclass(frozen=True)
class SampleDraws:
    """Draws from the posteriors of a run's networks.

    count  for each sample
    units  output of a posterior head → unit, in the order of the draws
    """

    count: int
    units: Mapping[str, str]

    def draw(self, posterior: Posterior, first: int) -> Array:
        """Draws from a posterior, (draw, sample, output).

        first  the number of the first sample, by which the draws are the same in whatever chunks
               samples are read
        """
        return (
            posterior.draws(self.count, Seeds(0).torch(posterior.device, "draws", first))
            .cpu()
            .numpy()
        )

    @contextmanager
    def new_file(self, path: Path, about: Mapping[str, str], numbered: bool) -> Iterator[AddDraws]:
        """A function that adds the draws of samples to a new file.

        NetCDF with a group `posterior`, as ArviZ takes it: each output has (chain, draw, sample),
        one chain.
        about     attributes of the file
        numbered  whether samples have numbers instead of names
        """
        import h5netcdf

        with files.beside(path) as temporary, h5netcdf.File(temporary, "w") as file:
            file.attrs.update({**about, "inference_library": "qexp"})
            group = self._group(file, numbered)

            def add(names: Sequence[str] | range, draws: Array) -> None:
                start = group.dimensions["sample"].size
                group.resize_dimension("sample", start + len(names))
                kind = np.int64 if numbered else object
                group["sample"][start:] = np.array(names, dtype=kind)
                for index, output in enumerate(self.units):
                    group[output][0, :, start:] = draws[..., index]

            yield add

    def _group(self, file: h5netcdf.File, numbered: bool) -> h5netcdf.Group:
        import h5py

        group = file.create_group("posterior")
        group.attrs["inference_library"] = "qexp"
        group.dimensions = {"chain": 1, "draw": self.count, "sample": None}
        for name, size in (("chain", 1), ("draw", self.count)):
            group.create_variable(name, (name,), np.int64, data=np.arange(size))
        group.create_variable("sample", ("sample",), np.int64 if numbered else h5py.string_dtype())
        dimensions = ("chain", "draw", "sample")
        chunks = (1, self.count, SAMPLES_TOGETHER)
        for name, unit in self.units.items():
            variable = group.create_variable(
                name, dimensions, np.float32, chunks=chunks, fillvalue=np.nan
            )
            variable.attrs["units"] = unit
        return group


def file_of_draws(target: Path) -> Path:
    """The file of draws beside a file of estimates."""
    return target.with_name(f"{target.stem}{OF_DRAWS}")


def draws_of(
    network: Network, record: Record, count: int | None, refined: Mapping[str, str] | None = None
) -> SampleDraws | None:
    """The draws that are asked for, if any. Raises QexpError for a network without a posterior
    head.

    refined  unknown variable → unit of posteriors by the known likelihood, if these are drawn from
    """
    if count is None:
        return None
    if refined is None:
        require_heads(network, record, "`draws`")
    require_draws(count, f"`draws={count}`")
    return SampleDraws(count, units_of_heads(network, record) if refined is None else refined)


def require_draws(count: int, words: str) -> None:
    """Raise QexpError for a number of draws that cannot be; words: it, as it was given."""
    if not 1 <= count <= MOST_DRAWS:
        raise QexpError(
            f"{words}: at least one" + (f", at most {MOST_DRAWS:,}" if count > MOST_DRAWS else "")
        )


def units_of_heads(network: Network, record: Record) -> dict[str, str]:
    """Output of a posterior head → unit, in the order of draws."""
    return {
        name: record.units.get(name, "")
        for outputs in network.posteriors.values()
        for name in outputs
    }


def require_heads(network: Network, record: Record, option: str) -> None:
    """Raises QexpError for a network without a posterior head, which `option` needs."""
    if network.heads and not network.posteriors:
        raise QexpError(
            f"{option} is for numbers; {record.name} estimates classes, whose probabilities say all"
        )
    if not network.posteriors:
        raise QexpError(
            f"{option} needs posteriors, but the network of {record.name} ends in no posterior"
            " head, such as 'gaussian_posterior'; leave it out, or, for images of a simulated"
            " dataset, add `refined=True`"
        )


DIFFERENCES = {
    "origin": "was made by another run",
    "input": "was made before {source} was changed",
    "columns": "was made from other columns; see `columns`",
    "unit": "was made with another unit; see `unit`",
    "refined": "was made with posteriors of another kind, or without any; see `refined`",
    "recalibrated": "was made with posteriors that were calibrated otherwise; see `recalibrated`",
    "interval": "was made with other intervals, or without any; see `interval`",
    "draws": "was made with another number of draws, or without any; see `draws`",
}
"""Entry of the record of a predicted file → what is said of a file with another one."""


def identity(path: Path) -> dict[str, Any]:
    """Name, size and time of a file, which change with its content; found without reading it."""
    status = path.stat()
    return {"name": path.name, "bytes": status.st_size, "modified": status.st_mtime_ns}


def _name_of(identities: Any) -> str:
    """The names of the files that an estimate was made from."""
    every = identities if isinstance(identities, list) else [identities]
    return some([str(one["name"]) for one in every if isinstance(one, dict) and "name" in one])


def reusable(source: Path, target: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of an existing file that was made from the same run and input; None if it or its
    draws are missing.

    key  entries of DIFFERENCES; and `misfit`, if p-values are asked for
    Raises QexpError if the file was made otherwise or was changed.
    """
    if not target.exists():
        return None
    record = formats.object_in(record_of(target))
    reason = None
    if not record:
        reason = "no record beside it says how it was made"
    elif different := [name for name in DIFFERENCES if record.get(name) != key.get(name)]:
        reason = DIFFERENCES[different[0]].format(source=source)
        made_from = [_name_of(each.get("input")) for each in (record, key)]
        if different[0] == "input" and made_from[0] and made_from[0] != made_from[1]:
            reason = f"was made from {made_from[0]}"
    elif key.get("misfit") and not record.get("misfit"):
        reason = "was made without `misfit`"
    elif record.get("output") != identity(target):
        reason = "was changed since it was made"
    if reason:
        raise QexpError(f"{target} exists already, and {reason}; `overwrite=True` replaces it")
    return record if "draws" not in key or file_of_draws(target).exists() else None


def record_of(target: Path) -> Path:
    """The record beside a predicted file."""
    return target.with_name(f"{target.name}.json")

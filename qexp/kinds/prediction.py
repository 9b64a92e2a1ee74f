"""What files of estimates share, whatever is estimated: columns, draws, flags, progress, reuse."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qexp.base import files
from qexp.base.quantities import Quantities, nearest, quantity
from qexp.base.seeds import Seeds
from qexp.errors import DamagedError, QexpError
from qexp.kinds.options import OnProgress, PredictOptions
from qexp.rows.table import MISSING, number
from qexp.simulation.dataset import GeneratedDataset
from qexp.store.directory import RunDirectory
from qexp.store.record import Record

if TYPE_CHECKING:
    import h5netcdf
    import pyarrow as pa

    from qexp.networks.estimator import Posterior
    from qexp.networks.network import Network

WORDS = b"words"
"""Metadata key of a column with the same text in every row; holds that text."""

CAUTION = "caution"
"""Column with the run's caution in every row, if it has one; a NetCDF file has it once, as an attribute."""

OUTSIDE = "outside"
"""Column with the number of features of a row, or of statistics of an image, outside the range of the training data."""

ESTIMATES_OUTSIDE = "estimates_outside"
"""Column with the number of a sample's estimates that lie beyond those values of the outputs that were trained on."""

# The number of rows, frames or spectra that are estimated at a time.


# Progress of a prediction.


def no_progress(count: int, share: float) -> None:
    """Ignore the progress."""


# Reading of a file in a thread, ahead of the code that uses the pieces.


T = TypeVar("T")


def read_ahead(pieces: Iterator[T], path: Path) -> Generator[T, None, None]:
    """All pieces in order; the next one is read while the current one is in use.

    path  the file that is read, for error messages
    Raises QexpError if reading fails.
    """
    with ThreadPoolExecutor(1, "reading") as thread:
        upcoming = thread.submit(next, pieces, None)
        while (piece := _read(upcoming, path)) is not None:
            upcoming = thread.submit(next, pieces, None)
            yield piece


def _read(upcoming: Future[T | None], path: Path) -> T | None:
    try:
        return upcoming.result()
    except OSError as error:
        raise QexpError(f"cannot read {path}: {error.strerror or error}") from error


# Columns that describe spectra, which predictions repeat beside the estimates.


RENAMED = "_given"
"""End of the name of a column whose own name the predictions use for something else."""


@dataclass
class TypesOfTexts:
    """The types of columns that are read as texts, from all of their cells: whole numbers, numbers, or texts.

    A number that is written otherwise than a computer would write it, such as 007, makes its column one of texts.
    """

    _kinds: dict[str, set[str]] = field(default_factory=dict)
    """Column → kinds of its cells, in the order in which columns are first seen."""

    def add(self, cells: Mapping[str, str]) -> None:
        """Look at the cells of a line, by column."""
        for name, text in cells.items():
            kinds = self._kinds.setdefault(name, set())
            if text not in MISSING:
                kinds.add(_kind(text))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([(name, getattr(pa, _widest(kinds))()) for name, kinds in self._kinds.items()])


def _kind(text: str) -> str:
    if number(text) is None:
        return "string"
    digits = text.removeprefix("-")
    if not digits.isdecimal():
        return "float64"
    return "int64" if str(int(text)) == text and abs(int(text)) < 2**63 else "string"


def _widest(kinds: Collection[str]) -> str:
    if not kinds or "string" in kinds:
        return "string"
    return "float64" if "float64" in kinds else "int64"


def column_of(texts: Sequence[str], kind: pa.DataType) -> pa.Array:
    """Texts of `TypesOfTexts` as a column of their type; missing numbers and empty texts are null."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.array([text or None for text in texts], kind)
    numbers = [math.nan if text in MISSING else number(text) for text in texts]
    if pa.types.is_integer(kind):
        return pa.array([None if text in MISSING else int(text) for text in texts], kind)
    return pa.array(numbers, kind, from_pandas=True)


UNNAMED = "unnamed"
"""Name of a column that has none."""


def new_names(columns: Iterable[str], taken: Collection[str], netcdf: bool = False) -> dict[str, str]:
    """Column → its name in the predictions: its own, or with `_given` at its end if that is taken.

    netcdf  write `_` for `/`, which would make groups of variables in NetCDF
    """
    used, names = set(taken), {}
    for name in columns:
        made = (name.replace("/", "_") if netcdf else name) or UNNAMED
        while made in used:
            made += RENAMED
        used.add(made)
        names[name] = made
    return names


# The values of outputs that a network was trained on: its estimates beyond them mean little.


EDGES = np.array([0.005, 0.995])
"""Quantiles of a distribution of simulated data between which most of the training data lie."""

MOST, ALL = "99 % of the training data", "the range of the training data"
"""What ranges hold, in words: those between the EDGES, and those from the least to the greatest value."""


@dataclass(frozen=True)
class TrainedRange:
    """Where the training data of an output lie, in its unit.

    period  after which its values repeat; None if they do not
    """

    low: float
    high: float
    period: float | None = None

    def placed(self, values: Any) -> NDArray[Any]:
        """Values, those that repeat moved by whole periods to within half a period of the middle of the range."""
        return nearest(values, (self.low + self.high) / 2, self.period)

    def beyond(self, values: Any) -> NDArray[np.bool_]:
        """Whether values lie beyond the range; NaN does not."""
        placed = self.placed(values)
        return np.asarray((placed < self.low) | (placed > self.high))


def trained_ranges(
    dataset: GeneratedDataset, outputs: Iterable[str], quantities: Quantities
) -> dict[str, TrainedRange]:
    """Output → the range between the EDGES of its distribution.

    Without outputs that do not vary, and without those that repeat and have all directions in the training data.

    quantities  of the dataset, with the periods of what the network learns as angles
    """
    ranges = {}
    for name in outputs:
        if name not in dataset.test:
            continue
        low, high = map(float, dataset.distributions[name].quantile(EDGES))
        period = quantity(name, quantities).period
        if period is None or high - low < (EDGES[1] - EDGES[0]) * period * (1 - 1e-6):
            ranges[name] = TrainedRange(low, high, period)
    return ranges


def ranges_of_targets(record: Record, periods: Mapping[str, float]) -> dict[str, TrainedRange]:
    """Output → the range of its true values in the training data, as a run recorded it; empty for older runs.

    periods  output → the period after which its values repeat, if they do
    """
    return {
        one.column: TrainedRange(one.least, one.greatest, periods.get(one.column))
        for one in record.targets
        if one.least is not None and one.greatest is not None
    }


class BeyondTraining:
    """Counts of estimates beyond the ranges of the training data, accumulated piece by piece.

    samples  number of samples with such an estimate
    outputs  output → number of its estimates
    """

    def __init__(self, trained: Mapping[str, TrainedRange]) -> None:
        self._trained, self.samples = dict(trained), 0
        self.outputs = dict.fromkeys(trained, 0)

    def add(self, estimates: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.int16]:
        """The number of outputs of each of `count` samples whose estimates lie beyond, (sample,), which is added.

        estimates  output → (sample,)
        """
        of_samples = np.zeros(count, np.int16)
        for name, trained in self._trained.items():
            beyond = trained.beyond(estimates[name])
            self.outputs[name] += int(beyond.sum())
            of_samples += beyond
        self.samples += int((of_samples > 0).sum())
        return of_samples

    def document(self) -> dict[str, Any]:
        """What the record of the file says of it; empty if it is not known what the network was trained on."""
        if not self._trained:
            return {}
        return {ESTIMATES_OUTSIDE: self.samples, f"{ESTIMATES_OUTSIDE}_in": self.outputs}


def remarks(about: Mapping[str, Any], most: str) -> list[str]:
    """A phrase on the samples with estimates beyond the training data, by the record of a file; none without any.

    most  what of the training data the ranges hold, in words
    """
    if not (count := about.get(ESTIMATES_OUTSIDE, 0)):
        return []
    listed = "; ".join(f"{name}: {of:,}" for name, of in about[f"{ESTIMATES_OUTSIDE}_in"].items() if of)
    return [f"{count:,} with estimates outside {most} ({listed})"]


# Draws from the posteriors of samples, in a file beside the file of their estimates.


Array = NDArray[np.float32]

MOST_DRAWS = 1_000_000
"""Largest number of draws for each sample."""

TOGETHER = 64
"""Samples whose draws lie together in a chunk of the file."""

Write = Callable[[Sequence[str] | range, Array], None]
"""Takes the names of further samples, or their numbers in the file, and their draws, (draw, sample, output)."""


@dataclass(frozen=True)
class SampleDraws:
    """Draws from the posteriors of a run's networks.

    count  for each sample
    units  output of a posterior head → unit, in the order of the draws
    """

    count: int
    units: Mapping[str, str]

    def of(self, posteriors: Sequence[Posterior], first: int) -> Array:
        """Draws from the mixture of the networks' posteriors, (draw, sample, output).

        first  the number of the first sample, by which the draws are the same in whatever chunks samples are read
        """
        from qexp.networks.estimator import mixed

        random = Seeds(0).torch(posteriors[0].device, "draws", first)
        values: Array = mixed(posteriors, self.count, random).cpu().numpy()
        return values

    @contextmanager
    def file(self, target: Path, about: Mapping[str, str], *, numbered: bool = False) -> Iterator[Write]:
        """A function that adds the draws of samples to the file beside the file of estimates `target`.

        NetCDF with a group `posterior`, as ArviZ takes it: each output has (chain, draw, sample), one chain.
        about     attributes of the file
        numbered  whether samples have numbers instead of names
        """
        import h5netcdf

        with files.beside(file_of_draws(target)) as path, h5netcdf.File(path, "w") as file:
            file.attrs.update({**about, "inference_library": "qexp"})
            group = self._group(file, numbered)

            def write(names: Sequence[str] | range, drawn: Array) -> None:
                start = group.dimensions["sample"].size
                group.resize_dimension("sample", start + len(names))
                group["sample"][start:] = np.array(names, dtype=np.int64 if numbered else object)
                for place, name in enumerate(self.units):
                    group[name][0, :, start:] = drawn[..., place]

            yield write

    def _group(self, file: h5netcdf.File, numbered: bool) -> h5netcdf.Group:
        import h5py

        group = file.create_group("posterior")
        group.attrs["inference_library"] = "qexp"
        group.dimensions = {"chain": 1, "draw": self.count, "sample": None}
        for name, size in (("chain", 1), ("draw", self.count)):
            group.create_variable(name, (name,), np.int64, data=np.arange(size))
        group.create_variable("sample", ("sample",), np.int64 if numbered else h5py.string_dtype())
        for name, unit in self.units.items():
            made = group.create_variable(
                name, ("chain", "draw", "sample"), np.float32, chunks=(1, self.count, TOGETHER), fillvalue=np.nan
            )
            made.attrs["units"] = unit
        return group


def beside(
    draws: SampleDraws | None, target: Path, about: Mapping[str, str], *, numbered: bool = False
) -> AbstractContextManager[Write]:
    """As `Draws.file`; without draws, a function that does nothing."""
    return nullcontext(lambda names, drawn: None) if draws is None else draws.file(target, about, numbered=numbered)


def file_of_draws(target: Path) -> Path:
    """The file of draws beside a file of estimates."""
    return target.with_name(f"{target.stem}_posterior.nc")


def draws_of(
    network: Network, record: Record, count: int | None, refined: Mapping[str, str] | None = None
) -> SampleDraws | None:
    """The draws that are asked for, if any. Raises QexpError for a network without a posterior head.

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
        raise QexpError(f"{words}: at least one" + (f", at most {MOST_DRAWS:,}" if count > MOST_DRAWS else ""))


def units_of_heads(network: Network, record: Record) -> dict[str, str]:
    """Output of a posterior head → unit, in the order of draws."""
    return {name: record.units.get(name, "") for outputs in network.heads.values() for name in outputs}


def require_heads(network: Network, record: Record, option: str) -> None:
    """Raises QexpError for a network without a posterior head, which `option` needs."""
    if not network.heads:
        raise QexpError(
            f"{option} needs posteriors, but the network of {record.name} ends in no posterior head, such as "
            "'gaussian_posterior'; leave it out, or, for images of a simulated dataset, add `refined=True`"
        )


# Reuse of predicted files: a file that the same run made from the same data is left as it is.


STALE_SECONDS = 3600.0
"""Seconds without growth after which a half-written file counts as left by a dead process."""


def identity(path: Path) -> dict[str, Any]:
    """Name, size and time of a file, which change with its content; found without reading it."""
    status = path.stat()
    return {"name": path.name, "bytes": status.st_size, "modified": status.st_mtime_ns}


def key_of(
    origin: Mapping[str, str],
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    interval: float | None = None,
    misfit: bool = False,
    draws: SampleDraws | None = None,
    refined: bool = False,
) -> dict[str, Any]:
    """What a predicted file is made from.

    origin    the run
    source    the `identity` of what is read
    columns   its names of the run's columns, if they are others
    interval  the coverage of intervals, if there are any
    misfit    whether there are p-values
    draws     from posteriors, in the file beside it, if there are any
    refined   whether posteriors are those of the known likelihood
    """
    asked = {
        "columns": columns,
        "interval": interval,
        "misfit": misfit or None,
        "draws": draws and draws.count,
        "refined": refined or None,
    }
    return {"origin": dict(origin), "input": source, **{name: one for name, one in asked.items() if one is not None}}


def write_record(target: Path, key: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write the record of a predicted file beside it: `<file>.json`.

    key    see `key_of`
    about  further entries
    """
    files.write_json(_record_of(target), {**key, "output": identity(target), **about})


def reusable(source: Path, target: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of an existing file that was made from the same run and input; None if it or its draws are missing.

    Raises QexpError if the file was made otherwise or was changed.
    """
    if not target.exists():
        return None
    try:
        record = files.read_json(_record_of(target))
    except (FileNotFoundError, DamagedError):
        record = {}
    if not isinstance(record, dict) or not record:
        reason = "and no record beside it says how it was made"
    elif record.get("origin") != key["origin"]:
        reason = "and was made by another run"
    elif record.get("input") != key["input"]:
        reason = f"and was made before {source} was changed"
    elif record.get("columns") != key.get("columns"):
        reason = "and was made from other columns; see `columns`"
    elif record.get("refined") != key.get("refined"):
        reason = "and was made with posteriors of another kind, or without any; see `refined`"
    elif record.get("interval") != key.get("interval"):
        reason = "and was made with other intervals, or without any; see `interval`"
    elif record.get("draws") != key.get("draws"):
        reason = "and was made with another number of draws, or without any; see `draws`"
    elif key.get("misfit") and not record.get("misfit"):
        reason = "and was made without `misfit`"
    elif record.get("output") != identity(target):
        reason = "and was changed since it was made"
    else:
        return record if "draws" not in key or file_of_draws(target).exists() else None
    raise QexpError(f"{target} exists already, {reason}; `overwrite=True` replaces it")


def clear(target: Path) -> None:
    """Delete half-written versions of this file that killed processes left."""
    half_written = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}{re.escape(target.suffix)}")
    with suppress(OSError):  # leftovers do no harm
        for path in target.absolute().parent.iterdir():
            if half_written.fullmatch(path.name) and files.age(path) > STALE_SECONDS:
                path.unlink()


def _record_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


# How a kind of data is predicted from file to file.


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


class FilePredictor(Protocol):
    """Predicts one file; see `predict_rows` and `predict_fields`."""

    def __call__(
        self, source: Path, target: Path, *, chunk: int | None, overwrite: bool, progress: OnProgress
    ) -> Prediction: ...


@dataclass(frozen=True)
class FileKind:
    """How runs on one type of dataset predict files."""

    counted: str
    """The unit of progress, such as rows."""
    targets: Callable[[Path, Path, Sequence[str]], list[tuple[Path, Path]]]
    """From what is given and the run's inputs to pairs of what is read and the file to write."""
    estimator: Callable[[RunDirectory, PredictOptions], FilePredictor]
    """Returns the estimator of a run."""
    takes: frozenset[str] = frozenset()
    """The fields of `PredictOptions` that it takes."""

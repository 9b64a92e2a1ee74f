"""Prediction of rows of files that need not fit into memory, such as the pixels of a map."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base import files
from qexp.base.machine import terminable
from qexp.base.outputs import Limits, high_of, limits_of, low_of, remarks, spread_of
from qexp.errors import NotFoundError, QexpError
from qexp.figures.canvas import save
from qexp.kinds import prediction
from qexp.kinds.held_out import NewIntervals, means_of_folds, new_intervals
from qexp.kinds.objects import device_of
from qexp.kinds.options import OnProgress, PredictOptions
from qexp.kinds.prediction import (
    ALL,
    CAUTION,
    ESTIMATES_OUTSIDE,
    OUTSIDE,
    WORDS,
    BeyondTraining,
    FileKind,
    FilePredictor,
    SampleDraws,
    TrainedRange,
    beside,
    draws_of,
    file_of_draws,
    no_progress,
    ranges_of_targets,
    read_ahead,
    remarks as remarks_beyond,
)
from qexp.kinds.rows.figures import draw_map, layers, position_columns
from qexp.kinds.trained import load_folds
from qexp.networks.estimator import Ensemble, Estimator, Posterior, mean, spread
from qexp.rows.formats import (
    FORMATS,
    Chunk,
    Columns,
    Rows,
    format_of,
    in_equal_chunks,
    new_file_of_rows,
    open_rows,
    require_columns,
)
from qexp.rows.rasters import Raster
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa


def targets(source: Path, target: Path, ending: str | None = None) -> list[tuple[Path, Path]]:
    """Pairs of a file to read and the file to write.

    source  a file, or a folder, of which all files of rows are read, without its subfolders
    target  a file for a file, a folder for a folder; files in it are named after their sources
    ending  suffix of the files in the folder; default: that of the source
    Raises QexpError if there is nothing to read, or two files would be written to one, or a file over itself.
    """
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    if not source.is_dir():
        format_of(source)
        if target.is_dir():
            target = target / f"{source.stem}{ending or source.suffix}"
        pairs = [(source, target)]
    else:
        if target.is_file():
            raise QexpError(f"{target} is a file, but {source} is a folder; its estimates need a folder too")
        found = sorted(
            path
            for path in source.iterdir()
            if path.suffix.lower() in FORMATS and path.is_file() and not path.name.startswith(".")
        )
        if not found:
            raise QexpError(f"{source}: no file in it ends in {', '.join(FORMATS)}")
        pairs = [(path, target / f"{path.stem}{ending or path.suffix}") for path in found]
    taken: dict[Path, Path] = {}
    for path, made in pairs:
        format_of(made)
        first = taken.setdefault(made.with_suffix(""), path)  # the map is named after the stem alone
        if first is not path:
            raise QexpError(f"{first} and {path} would both be written to {made.with_suffix('')}; rename one of them")
        if made.resolve() == path.resolve():
            raise QexpError(f"{path}: the estimates would be written over what is read; give another `target`")
    return pairs


# Rows of a file with their estimates, in order; predicted in parallel.


BLOCK = 4_096
"""Number of rows that are predicted between two checks for interruption."""
DRAWN = 256
"""Number of rows that are drawn for together; fixed, because draws depend on it and must not depend on --chunk."""
HELD = 2**24
"""Draws in memory, about, for each chunk."""

Matrix = NDArray[np.float32]
Estimate = Callable[[Matrix], tuple[NDArray[np.floating], ...]]
"""(row, feature) → means and spreads over networks and, if there are intervals, their lower and upper ends; (row,
output) each."""


@dataclass(frozen=True)
class RowModel:
    """The parts of a run that are needed to predict rows."""

    features: Sequence[str]
    """Columns of the input, in the order of `estimate`'s argument."""
    ranges: NDArray[np.floating]
    """(feature, 2): smallest and largest value in the training data."""
    outputs: Mapping[str, str]
    """Name → unit."""
    estimate: Estimate
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """Output → limits of its estimates, if it has some."""
    trained: Mapping[str, TrainedRange] = field(default_factory=dict)
    """Output → range of its true values in the training data, where that is known."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution, such as "selected on the test data"."""
    coverage: float | None = None
    """What the intervals promise; None if there are none."""
    interval: str = ""
    """The same in words: `90 % intervals for rows of a new mission`."""
    posteriors: Callable[[Matrix], Sequence[Posterior]] | None = None
    """From (row, feature) to the posteriors of all networks, if they have posterior heads."""
    draws: SampleDraws | None = None
    """From the mixture of these, for a file of their own, if they were asked for."""

    @property
    def attributes(self) -> dict[str, str]:
        """What a file says of all its rows: the origin, and what the intervals promise."""
        return {**self.origin, **({"interval": self.interval} if self.interval else {})}


@dataclass(frozen=True)
class Piece:
    """A chunk with its estimates."""

    kept: pa.Table
    means: NDArray[np.floating]
    spreads: NDArray[np.floating]
    ends: Sequence[NDArray[np.floating]]
    """Of the intervals; empty without any."""
    outside: NDArray[np.int16]
    done: float
    drawn: NDArray[np.float32] | None
    """(draw, row, output), if draws were asked for."""

    def table(self, schema: pa.Schema, beyond: NDArray[np.int16]) -> pa.Table:
        """The columns of a file; beyond: (row,), number of estimates outside the range of the training data."""
        import pyarrow as pa

        columns: list[Any] = list(self.kept.columns)
        of_outputs = zip(*(values.T for values in (self.means, *self.ends, self.spreads)), strict=True)
        # NaN becomes a missing value.
        columns += [pa.array(values.astype(np.float32), from_pandas=True) for one in of_outputs for values in one]
        columns.append(pa.array(self.outside))
        if ESTIMATES_OUTSIDE in schema.names:
            columns.append(pa.array(beyond))
        if (words := (schema.field(-1).metadata or {}).get(WORDS)) is not None:
            columns.append(pa.repeat(words.decode(), len(self.outside)))
        return pa.table(columns, schema=schema)


def estimated(rows: Rows, model: RowModel, chunk: int, workers: int | None) -> Iterator[Piece]:
    """All chunks in order, predicted while earlier ones are written and later ones are read.

    Each chunk is predicted on one core, because several cores on small matrix products mostly wait for each other.
    """
    threads = torch.get_num_threads()
    workers = workers or threads
    least, most = model.ranges.astype(np.float32).T  # rounded like the features, so that the limits count as inside
    given_up = Event()

    def piece(chunk: Chunk, first: int) -> Piece:
        features, blocks = chunk.features, []
        for start in range(0, len(features), BLOCK):
            if given_up.is_set():  # Ctrl-C must not wait for the rest of a chunk
                raise CancelledError
            blocks.append(model.estimate(np.ascontiguousarray(features[start : start + BLOCK])))
        mean, spread, *ends = (np.concatenate(column) for column in zip(*blocks, strict=True))
        empty = np.asarray(~np.isfinite(features).all(axis=1))
        for values in (mean, spread, *ends):
            values[empty] = np.nan
        outside = np.zeros(len(features), dtype=np.int16)
        for values, low, high in zip(features.T, least, most, strict=True):
            outside += ~((values >= low) & (values <= high))
        drawn = None if model.draws is None else _drawn(model.draws, features, empty, model, first, given_up)
        return Piece(chunk.kept, mean, spread, ends, outside, chunk.done, drawn)

    waiting: deque[Future[Piece]] = deque()
    pool = ThreadPoolExecutor(workers, "estimating", torch.set_num_threads, (1,))
    try:
        with closing(read_ahead(_chunks(rows, model, chunk), rows.path)) as chunks:
            first = 0
            for one in (one for one in chunks if len(one.features)):
                waiting.append(pool.submit(piece, one, first))
                first += len(one.features)
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        given_up.set()
        pool.shutdown()
        torch.set_num_threads(threads)  # the workers' setting also applies to later threads


def _chunks(rows: Rows, model: RowModel, size: int) -> Iterator[Chunk]:
    """The rows in chunks; with draws, in whole blocks of rows that are drawn for together."""
    if model.draws is None:
        return rows.chunks(size)
    blocks = min(size, HELD // (model.draws.count * len(model.draws.units))) // DRAWN
    whole = max(blocks, 1) * DRAWN
    return in_equal_chunks(rows.chunks(whole), whole)


def _drawn(
    draws: SampleDraws, features: Matrix, empty: NDArray[np.bool_], model: RowModel, first: int, given_up: Event
) -> NDArray[np.float32]:
    """Draws, (draw, row, output), from the posteriors of rows.

    empty  whether a feature of a row is missing; its draws are NaN
    first  the number of the first row
    """
    assert model.posteriors is not None, "there are draws from posterior heads only"
    known, made = np.where(empty[:, None], model.ranges[:, 0].astype(np.float32), features), []
    for start in range(0, len(known), DRAWN):
        if given_up.is_set():
            raise CancelledError
        made.append(draws.of(model.posteriors(known[start : start + DRAWN]), first + start))
    drawn = np.concatenate(made, axis=1)
    drawn[:, empty] = np.nan
    return drawn


CHUNK = 32_768
"""Number of rows that are read, predicted and written at a time."""


@dataclass(frozen=True)
class RowPrediction:
    """The result of predicting a file."""

    source: Path
    target: Path
    rows: int
    outside: int
    """Rows with at least one feature outside the range of the training data."""
    missing: int
    """Rows without an estimate, because a feature is missing."""
    map: Path | None
    made: bool
    """False if the file existed already."""
    interval: str = ""
    """What the intervals promise, in words; empty without any."""
    limited: Sequence[str] = ()
    """A phrase on estimates outside of the training data, and for each output with estimates at its limits."""
    drawn: bool = False
    """Whether there are draws from the posterior of each row, in a file of their own."""
    warnings: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """The files of results."""
        drawn = [file_of_draws(self.target)] if self.drawn else []
        return [self.target, *drawn, *([self.map] if self.map is not None else [])]

    @property
    def remarks(self) -> list[str]:
        """The number of rows, and of rows with problems, in words."""
        said = [f"{self.rows:,} rows"]
        if self.outside:
            void = ", where intervals promise nothing" if self.interval else ""
            said.append(f"{self.outside:,} with features outside the range of the training data{void}")
        if self.missing:
            said.append(f"{self.missing:,} without an estimate, because a feature is missing")
        return [*said, *([self.interval] if self.interval else []), *self.limited]


def predict_rows(
    source: Path,
    target: Path,
    model: RowModel,
    *,
    chunk: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    columns: Columns | None = None,
    progress: OnProgress = no_progress,
) -> RowPrediction:
    """Predict every row of a file; rows are read, predicted and written in parallel, in memory of constant size.

    The new file has the columns that are not features unchanged, then for every output its estimate, `<output>_low`
    and `<output>_high`, the ends of its interval if the model has intervals, and `<output>_spread`, then `outside`,
    `estimates_outside` if training ranges are known, and `caution` if the run has one. A record is written beside it as
    `<file>.json`, a map as `<stem>.png` if the rows have positions, and draws from posteriors, if asked for, as
    `<stem>_posterior.nc`, with row numbers from 0. A file that the same run made from the same rows is left as it is.

    chunk    rows in memory at a time; fewer if their draws would take much memory
    workers  chunks that are predicted at once, each on one core; default: torch's number of threads
    columns  names or positions of the features in the file, where they differ from the features' own names
    Raises QexpError if the file exists and was made otherwise, unless `overwrite`.
    """
    chunk = chunk or CHUNK
    rows = open_rows(source, model.features, columns)
    given = None if columns is None else dict(zip(model.features, rows.features, strict=True))
    made_from = prediction.identity(source)
    key = prediction.key_of(model.origin, made_from, columns=given, interval=model.coverage, draws=model.draws)
    if not overwrite and (known := prediction.reusable(source, target, key)) is not None:
        return _described(source, target, model, known, False)
    files.make_folder(target.absolute().parent)
    prediction.clear(target)
    tally = _Tally(rows, model)
    schema = _schema(rows, model, "" if target.suffix == ".nc" else model.origin.get("caution", ""))
    # A scheduler sends SIGUSR1 shortly before the time limit.
    with (
        terminable(signal.SIGUSR1),
        new_file_of_rows(target, schema, rows.grid, model.attributes) as sink,
        beside(model.draws, target, model.attributes, numbered=True) as add_draws,
    ):
        for made in estimated(rows, model, chunk, workers):
            if made.drawn is not None:
                add_draws(range(tally.rows, tally.rows + len(made.outside)), made.drawn)
            sink.write(made.table(schema, tally.add(made)))
            progress(tally.rows, made.done)
        picture = tally.draw(target.with_suffix(".png"), model)
    about = {
        "rows": tally.rows,
        "outside": tally.outside,
        "missing": tally.missing,
        **tally.beyond.document(),
        "map": picture and picture.name,
        "features": list(model.features),
        "units": dict(model.outputs),
        **({"at_limits": tally.at_limits} if tally.at_limits else {}),
    }
    prediction.write_record(target, key, about)
    return _described(source, target, model, about, True)


def _described(source: Path, target: Path, model: RowModel, about: Mapping[str, Any], made: bool) -> RowPrediction:
    """The result, from the record of the file."""
    drawn = target.with_name(about["map"]) if about["map"] else None
    limited = [
        *remarks_beyond(about, ALL),
        *remarks(model.limits, model.outputs, about.get("at_limits", {}), about["rows"]),
    ]
    counts = about["rows"], about["outside"], about["missing"]
    return RowPrediction(source, target, *counts, drawn, made, model.interval, limited, model.draws is not None)


class _Tally:
    """Counts and the map, accumulated chunk by chunk."""

    def __init__(self, rows: Rows, model: RowModel) -> None:
        import pyarrow.types as types

        self.rows = self.outside = self.missing = 0
        self._model, self.beyond = model, BeyondTraining(model.trained)
        self.at_limits = dict.fromkeys(model.limits, 0)
        """Output with limits → number of estimates that lie at them."""
        numbers = [one.name for one in rows.kept if types.is_integer(one.type) or types.is_floating(one.type)]
        self._positions = position_columns(numbers)
        self._raster = Raster(len(layers(list(model.outputs))))
        self._name = rows.path.name

    def add(self, made: Piece) -> NDArray[np.int16]:
        """Add a chunk; returns the number of each row's estimates outside the range of the training data."""
        outside = made.outside > 0
        self.rows += len(outside)
        self.outside += int(outside.sum())
        self.missing += int(np.isnan(made.means).any(axis=1).sum())
        for name, values in zip(self._model.outputs, made.means.T, strict=True):
            if name in self.at_limits:
                self.at_limits[name] += self._model.limits[name].reached(values)
        if self._positions is not None:
            x, y = (made.kept[name].to_numpy().astype(np.float64) for name in self._positions)
            pairs = np.stack([made.means, np.nan_to_num(made.spreads)], axis=-1).reshape(len(outside), -1)
            self._raster.add(x, y, np.column_stack([pairs, outside]))
        return self.beyond.add(dict(zip(self._model.outputs, made.means.T, strict=True)), len(outside))

    def draw(self, path: Path, model: RowModel) -> Path | None:
        """Draw a map, if the rows have positions in two dimensions."""
        if self._positions is None or min(self._raster.counts.shape) < 2:
            return None
        title = map_title(self._name, model.origin)
        save(draw_map(self._raster, self._positions, model.outputs, title), path)
        return path


def map_title(name: str, origin: Mapping[str, str]) -> str:
    """The file name and the origin of its estimates, without the long digest, which is in the record."""
    return " · ".join([name, *(text for key, text in origin.items() if text and key != "digest")])


def _schema(rows: Rows, model: RowModel, caution: str) -> pa.Schema:
    """The columns of the new file, with their units."""
    import pyarrow as pa

    def described(name: str, kind: pa.DataType, unit: str, words: str = "", limits: str = "") -> pa.Field:
        about = {"unit": unit, "description": words, "limits": limits}
        return pa.field(name, kind, metadata={key: text for key, text in about.items() if text})

    made = []
    for name, unit in model.outputs.items():
        limits = str(model.limits.get(name, ""))
        made.append(described(name, pa.float32(), unit, "ensemble mean", limits))
        if model.interval:
            words = f"{model.interval}, which promise nothing where {OUTSIDE} > 0"
            made.append(described(low_of(name), pa.float32(), unit, f"lower end of {words}"))
            made.append(described(high_of(name), pa.float32(), unit, f"upper end of {words}"))
        made.append(described(spread_of(name), pa.float32(), unit, "ensemble standard deviation"))
    made.append(described(OUTSIDE, pa.int16(), "", "features outside the range of the training data, or missing"))
    if model.trained:
        made.append(described(ESTIMATES_OUTSIDE, pa.int16(), "", f"estimates outside {ALL}"))
    if caution:
        made.append(pa.field(CAUTION, pa.string(), metadata={WORDS: caution.encode()}))
    for one in made:
        if one.name in rows.kept.names:
            raise QexpError(
                f"{rows.path} has a column '{one.name}', which is also a column of the estimates; rename it"
            )
    kept = [described(one.name, one.type, rows.units.get(one.name, "")) for one in rows.kept]
    return pa.schema([*kept, *made])


# The model for predicting rows from a finished run: its networks, columns and ranges.


def row_model(
    directory: RunDirectory, device: str = "auto", interval: float | None = None, draws: int | None = None
) -> RowModel:
    """The model of a run for `predict_rows`.

    interval  coverage of the intervals; see `new_intervals`
    draws     from the posterior of each row, which are written to a file of their own
    Raises QexpError if the run is not done, or if draws are asked for without a posterior head.
    """
    record, spec = directory.record(), directory.training_spec()
    on = device_of(device)
    folds = load_folds(directory, on)
    intervals = new_intervals(directory, interval, list(folds))
    probabilities = () if intervals is None else intervals.probabilities
    reduce = columns_of(list(folds.values()), intervals)
    ensemble = Ensemble([model for of_fold in folds.values() for model in of_fold])
    widths = [len(spec["dataset"]["inputs"][name]) for name in spec["inputs"]]
    outputs = list(spec["outputs"])

    def samples(rows: Matrix) -> dict[str, Tensor]:
        return dict(zip(spec["inputs"], torch.from_numpy(rows).to(on).split(widths, dim=1), strict=True))

    def estimate(rows: Matrix) -> tuple[NDArray[np.floating], ...]:
        made = ensemble.reduced(samples(rows), reduce, probabilities)
        columns = zip(*(made[name] for name in outputs), strict=True)
        return tuple(torch.cat(column, dim=1).cpu().numpy() for column in columns)

    def posteriors(rows: Matrix) -> list[Posterior]:
        seen = samples(rows)
        return [model.posterior(seen) for model in ensemble.models]

    features = record.features
    return RowModel(
        features=[one.column for one in features],
        ranges=np.array([[one.least, one.greatest] for one in features]),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        limits=limits_of(spec),
        trained=ranges_of_targets(record, ensemble.models[0].periods),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
        coverage=None if intervals is None else intervals.coverage,
        interval="" if intervals is None else intervals.words,
        posteriors=posteriors if ensemble.network.heads else None,
        draws=draws_of(ensemble.network, record, draws),
    )


def columns_of(
    folds: Sequence[Sequence[Estimator]], intervals: NewIntervals | None
) -> Callable[[str, Tensor], list[Tensor]]:
    """What an ensemble of the folds' networks is reduced to: mean, spread and, if there are any, ends of intervals."""
    first, sizes = folds[0][0], [len(of_fold) for of_fold in folds]

    def columns(name: str, values: Tensor) -> list[Tensor]:
        estimates = values[..., :1]
        made = [mean(first, name, estimates), spread(first, name, estimates)]
        if intervals is None:
            return made
        ends = intervals.rules[name].ends(means_of_folds(first, name, values, sizes, intervals.probabilities))
        return [*made, *(torch.from_numpy(end).to(values)[:, None] for end in ends)]

    return columns


def _estimator(directory: RunDirectory, options: PredictOptions) -> FilePredictor:
    model = row_model(directory, options.device, options.interval, options.draws)
    if options.columns is not None:
        require_columns(options.columns, model.features)
    return partial(predict_rows, model=model, columns=options.columns)


PREDICTION = FileKind(
    "rows",
    lambda source, target, inputs: targets(source, target),
    _estimator,
    frozenset(("columns", "interval", "draws")),
)

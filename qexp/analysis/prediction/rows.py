"""Prediction of rows of files that need not fit into memory, such as the pixels of a map."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.analysis.prediction import reuse
from qexp.analysis.prediction.chunk import require_chunk
from qexp.analysis.prediction.progress import OnProgress, no_progress
from qexp.analysis.prediction.read_ahead import read_ahead
from qexp.errors import QexpError
from qexp.estimates import high_of, low_of, spread_of
from qexp.figures.canvas import save
from qexp.figures.map import draw_map, layers, position_columns
from qexp.limits import Limits, remarks
from qexp.rows.chunks import Chunk, Rows
from qexp.rows.formats import new_file_of_rows, open_rows
from qexp.rows.naming import Columns
from qexp.rows.raster import Raster
from qexp.runs.signals import terminable

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 32_768
"""Number of rows that are read, predicted and written at a time."""
BLOCK = 4_096
"""Number of rows that are predicted between two checks for interruption."""
WORDS = b"words"
"""Metadata key of a column with the same text in every row; holds that text."""

CAUTION = "caution"
"""Column with the run's caution in every row, if it has one; a NetCDF file has it once, as an attribute."""

OUTSIDE = "outside"
"""Column with the number of features of a row that are outside the range of the training data."""

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
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution, such as "selected on the test data"."""
    coverage: float | None = None
    """What the intervals promise; None if there are none."""
    interval: str = ""
    """The same in words: `90 % intervals for rows of a new mission`."""

    @property
    def attributes(self) -> dict[str, str]:
        """What a file says of all its rows: the origin, and what the intervals promise."""
        return {**self.origin, **({"interval": self.interval} if self.interval else {})}


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
    """A sentence for each output with estimates at its limits."""
    warnings: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """The files of results."""
        return [self.target, *([self.map] if self.map is not None else [])]

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
    and `<output>_high`, the ends of its interval if the model has intervals, and `<output>_spread`, then `outside`, and
    `caution` if the run has one. A record is written beside it as `<file>.json`, and a map as `<stem>.png` if the rows
    have positions. A file that the same run made from the same rows is left as it is.

    chunk    rows in memory at a time
    workers  chunks that are predicted at once, each on one core; default: torch's number of threads
    columns  names or positions of the features in the file, where they differ from the features' own names
    Raises QexpError if the file exists and was made otherwise, unless `overwrite`.
    """
    require_chunk(chunk)
    chunk = chunk or CHUNK
    rows = open_rows(source, model.features, columns)
    key: dict[str, Any] = {"origin": dict(model.origin), "input": reuse.identity(source)}
    if columns is not None:
        key["columns"] = dict(zip(model.features, rows.features, strict=True))
    if model.coverage is not None:
        key["interval"] = model.coverage
    if not overwrite and (known := reuse.reusable(source, target, key)) is not None:
        drawn = target.with_name(known["map"]) if known["map"] else None
        limited = remarks(model.limits, model.outputs, known.get("at_limits", {}), known["rows"])
        counts = known["rows"], known["outside"], known["missing"]
        return RowPrediction(source, target, *counts, drawn, False, model.interval, limited)
    files.make_folder(target.absolute().parent)
    reuse.clear(target)
    tally = _Tally(rows, model)
    schema = _schema(rows, model, "" if target.suffix == ".nc" else model.origin.get("caution", ""))
    # A scheduler sends SIGUSR1 shortly before the time limit.
    with terminable(signal.SIGUSR1), new_file_of_rows(target, schema, rows.grid, model.attributes) as sink:
        for made in _estimated(rows, model, chunk, workers):
            sink.write(made.table(schema))
            tally.add(made)
            progress(tally.rows, made.done)
        picture = tally.draw(target.with_suffix(".png"), model)
    about = {
        "rows": tally.rows,
        "outside": tally.outside,
        "missing": tally.missing,
        "map": picture and picture.name,
        "features": list(model.features),
        "units": dict(model.outputs),
        **({"at_limits": tally.at_limits} if tally.at_limits else {}),
    }
    reuse.write_record(target, key, about)
    limited = remarks(model.limits, model.outputs, tally.at_limits, tally.rows)
    counts = tally.rows, tally.outside, tally.missing
    return RowPrediction(source, target, *counts, picture, True, model.interval, limited)


@dataclass(frozen=True)
class _Piece:
    """A chunk with its estimates."""

    kept: pa.Table
    means: NDArray[np.floating]
    spreads: NDArray[np.floating]
    ends: Sequence[NDArray[np.floating]]
    """Of the intervals; empty without any."""
    outside: NDArray[np.int16]
    done: float

    def table(self, schema: pa.Schema) -> pa.Table:
        import pyarrow as pa

        columns: list[Any] = list(self.kept.columns)
        of_outputs = zip(*(values.T for values in (self.means, *self.ends, self.spreads)), strict=True)
        # NaN becomes a missing value.
        columns += [pa.array(values.astype(np.float32), from_pandas=True) for one in of_outputs for values in one]
        columns.append(pa.array(self.outside))
        if (words := (schema.field(-1).metadata or {}).get(WORDS)) is not None:
            columns.append(pa.repeat(words.decode(), len(self.outside)))
        return pa.table(columns, schema=schema)


class _Tally:
    """Counts and the map, accumulated chunk by chunk."""

    def __init__(self, rows: Rows, model: RowModel) -> None:
        import pyarrow.types as types

        self.rows = self.outside = self.missing = 0
        self._model = model
        self.at_limits = dict.fromkeys(model.limits, 0)
        """Output with limits → number of estimates that lie at them."""
        numbers = [one.name for one in rows.kept if types.is_integer(one.type) or types.is_floating(one.type)]
        self._positions = position_columns(numbers)
        self._raster = Raster(len(layers(list(model.outputs))))
        self._name = rows.path.name

    def add(self, made: _Piece) -> None:
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


def _estimated(rows: Rows, model: RowModel, chunk: int, workers: int | None) -> Iterator[_Piece]:
    """All chunks in order, predicted while earlier ones are written and later ones are read.

    Each chunk is predicted on one core, because several cores on small matrix products mostly wait for each other.
    """
    import torch

    threads = torch.get_num_threads()
    workers = workers or threads
    least, most = model.ranges.astype(np.float32).T  # rounded like the features, so that the limits count as inside
    given_up = Event()

    def piece(chunk: Chunk) -> _Piece:
        features, blocks = chunk.features, []
        for start in range(0, len(features), BLOCK):
            if given_up.is_set():  # Ctrl-C must not wait for the rest of a chunk
                raise CancelledError
            blocks.append(model.estimate(np.ascontiguousarray(features[start : start + BLOCK])))
        mean, spread, *ends = (np.concatenate(column) for column in zip(*blocks, strict=True))
        empty = ~np.isfinite(features).all(axis=1)
        for values in (mean, spread, *ends):
            values[empty] = np.nan
        outside = np.zeros(len(features), dtype=np.int16)
        for values, low, high in zip(features.T, least, most, strict=True):
            outside += ~((values >= low) & (values <= high))
        return _Piece(chunk.kept, mean, spread, ends, outside, chunk.done)

    waiting: deque[Future[_Piece]] = deque()
    pool = ThreadPoolExecutor(workers, "estimating", torch.set_num_threads, (1,))
    try:
        with closing(read_ahead(rows.chunks(chunk), rows.path)) as chunks:
            for one in (one for one in chunks if len(one.features)):
                waiting.append(pool.submit(piece, one))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        given_up.set()
        pool.shutdown()
        torch.set_num_threads(threads)  # the workers' setting also applies to later threads


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
    if caution:
        made.append(pa.field(CAUTION, pa.string(), metadata={WORDS: caution.encode()}))
    for one in made:
        if one.name in rows.kept.names:
            raise QexpError(
                f"{rows.path} has a column '{one.name}', which is also a column of the estimates; rename it"
            )
    kept = [described(one.name, one.type, rows.units.get(one.name, "")) for one in rows.kept]
    return pa.schema([*kept, *made])

"""Prediction of rows of files that need not fit into memory, such as the pixels of a map."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.analysis.prediction import reuse
from qexp.analysis.prediction.chunk import require_chunk
from qexp.analysis.prediction.columns import CAUTION, ESTIMATES_OUTSIDE, OUTSIDE, WORDS
from qexp.analysis.prediction.draws import beside, file_of_draws
from qexp.analysis.prediction.progress import OnProgress, no_progress
from qexp.analysis.prediction.rows.pieces import Piece, RowModel, estimated
from qexp.analysis.prediction.trained import ALL, BeyondTraining
from qexp.analysis.prediction.trained import remarks as remarks_beyond
from qexp.errors import QexpError
from qexp.estimates import high_of, low_of, spread_of
from qexp.figures.canvas import save
from qexp.figures.map import draw_map, layers, position_columns
from qexp.limits import remarks
from qexp.rows.formats import Columns, Rows, new_file_of_rows, open_rows
from qexp.rows.rasters import Raster
from qexp.runs.signals import terminable

if TYPE_CHECKING:
    import pyarrow as pa

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
    require_chunk(chunk)
    chunk = chunk or CHUNK
    rows = open_rows(source, model.features, columns)
    given = None if columns is None else dict(zip(model.features, rows.features, strict=True))
    made_from = reuse.identity(source)
    key = reuse.key_of(model.origin, made_from, columns=given, interval=model.coverage, draws=model.draws)
    if not overwrite and (known := reuse.reusable(source, target, key)) is not None:
        return _described(source, target, model, known, False)
    files.make_folder(target.absolute().parent)
    reuse.clear(target)
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
    reuse.write_record(target, key, about)
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

"""Prediction from spectra that need not fit into memory: a folder with one file each, or a table."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.analysis.intervals.new_rows import NewIntervals
from qexp.analysis.prediction import reuse
from qexp.analysis.prediction.carried import new_names
from qexp.analysis.prediction.chunk import require_chunk
from qexp.analysis.prediction.columns import CAUTION, ESTIMATES_OUTSIDE, WORDS
from qexp.analysis.prediction.draws import Draws, Write, beside, file_of_draws
from qexp.analysis.prediction.progress import OnProgress, no_progress
from qexp.analysis.prediction.read_ahead import read_ahead
from qexp.analysis.prediction.spectra.sources import PredictionSource, SpectrumLayout, SpectrumPiece, source_of
from qexp.analysis.prediction.spectra.tally import Tally
from qexp.analysis.prediction.trained import ALL, TrainedRange
from qexp.analysis.prediction.trained import remarks as remarks_beyond
from qexp.errors import NotFoundError, QexpError
from qexp.estimates import estimate_of, high_of, low_of
from qexp.limits import Limits, remarks
from qexp.rows.formats import format_of, new_file_of_rows
from qexp.runs.signals import terminable

if TYPE_CHECKING:
    import pyarrow as pa

    from qexp.networks.estimator import Posterior

BATCH = 64
"""Number of spectra per batch; fixed, because rounding depends on the batch and must not depend on --chunk."""
CHUNK = 512
"""Number of spectra that are read and written at a time."""
NAME, PART, CORE, DEPTH = "name", "part", "core", "depth"
"""Columns of the new file."""


@dataclass(frozen=True)
class SpectrumModel:
    """The parts of a run that are needed to predict from spectra."""

    layout: SpectrumLayout
    outputs: Mapping[str, str]
    """Name → unit."""
    estimate: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """(spectrum, channel) → each output's estimates, followed by the ends of its intervals if there are any."""
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """Output → limits of its estimates, if it has some."""
    trained: Mapping[str, TrainedRange] = field(default_factory=dict)
    """Output → range of its true values in the training data, where that is known."""
    depth_unit: str = "mm"
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution."""
    intervals: NewIntervals | None = None
    posterior: Callable[[NDArray[np.float32]], Posterior] | None = None
    """From (spectrum, channel) to their posterior, if the network has a posterior head."""
    draws: Draws | None = None
    """From the posteriors, for a file of their own, if they were asked for."""

    @property
    def interval(self) -> str:
        """What the intervals promise, in words; empty without any."""
        return "" if self.intervals is None else self.intervals.words


@dataclass(frozen=True)
class SpectrumPrediction:
    """The result of predicting from a folder or table."""

    source: Path
    target: Path
    spectra: int
    missing: Sequence[str]
    """The first few names of spectra without an estimate."""
    missing_count: int
    figures: Sequence[Path]
    made: bool
    """False if the file existed already."""
    interval: str = ""
    """What the intervals promise, in words; empty without any."""
    limited: Sequence[str] = ()
    """A phrase on estimates outside of the training data, and for each output with estimates at its limits."""
    drawn: bool = False
    """Whether there are draws from the posterior of each spectrum, in a file of their own."""
    warnings: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """The files of results."""
        return [self.target, *([file_of_draws(self.target)] if self.drawn else []), *self.figures]

    @property
    def remarks(self) -> list[str]:
        """The number of spectra, and of those without an estimate, in words."""
        said = [f"{self.spectra:,} spectra" if self.spectra != 1 else "1 spectrum"]
        if self.missing_count:
            named = ", ".join(self.missing) + (", …" if self.missing_count > len(self.missing) else "")
            said.append(f"{self.missing_count:,} without an estimate, because their counts are all the same ({named})")
        return [*said, *([self.interval] if self.interval else []), *self.limited]


def targets(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """The source (a folder or table of spectra) and the file of rows to write.

    target  the file, or an existing folder for a file that is named after the source (CSV for a folder of spectra)
    Raises QexpError for an invalid target, NotFoundError if the source does not exist.
    """
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    if target.is_dir():
        ending = source.suffix if source.is_file() else ".csv"
        target = target / f"{files.stem_of(source)}{ending}"
    format_of(target)
    if source.is_file():
        format_of(source)
    if target.resolve() == source.resolve():
        raise QexpError(f"{target}: the estimates would be written over what is read; give another --output")
    return [(source, target)]


def predict_spectra(
    source: Path,
    target: Path,
    model: SpectrumModel,
    *,
    chunk: int | None = None,
    overwrite: bool = False,
    progress: OnProgress = no_progress,
) -> SpectrumPrediction:
    """Predict from all spectra of a folder or table, in memory that does not grow with their number.

    The new file has name, core and depth of each spectrum (and the part, for spectra in `train/` and `test/`), all
    other columns that describe the spectra, then for every output `<output>_estimate` and the ends of its interval,
    `<output>_low` and `<output>_high`, if the model has intervals, `estimates_outside` if it is known what was trained
    on, and `caution` if the run has one. A column of the source whose name the new file uses otherwise, such as `depth`
    where the depth is another column, is called `<name>_given` in it; in NetCDF a name has `_` for `/`. A record is
    written beside it as `<file>.json`, the estimates along each core as `<stem>.png`, and draws from posteriors, if any
    were asked for, as `<stem>_posterior.nc`. A file that the same run made from the same spectra is left as it is.

    source  a folder with `spe/` and optionally `info.csv`; with two such folders `train/` and `test/`; or with the
            files of spectra themselves; or a table with one spectrum per row
    chunk   spectra in memory at a time; does not affect the file
    Raises QexpError for spectra without the number of channels that the run was trained on, and if the file exists and
    was made otherwise, unless `overwrite`.
    """
    require_chunk(chunk)
    size = -(-(chunk or CHUNK) // BATCH) * BATCH
    found = source_of(source, model.layout)
    if target.absolute().parent.resolve() in {folder.resolve() for folder in found.folders}:
        raise QexpError(f"{target}: the estimates would lie among the spectra; give another --output")
    interval = None if model.intervals is None else model.intervals.coverage
    key = reuse.key_of(model.origin, found.identity, interval=interval, draws=model.draws)
    if not overwrite and (known := reuse.reusable(source, target, key)) is not None:
        return _described(source, target, model, known, False, found.warnings)
    files.make_folder(target.absolute().parent)
    reuse.clear(target)
    tally = Tally(model.outputs, model.limits, model.trained)
    schema, carried = _schema(model, found, target.suffix == ".nc")
    # A scheduler sends SIGUSR1 shortly before the time limit.
    origin = {**model.origin, **({"interval": model.interval} if model.interval else {})}
    with (
        terminable(signal.SIGUSR1),
        new_file_of_rows(target, schema, None, origin) as sink,
        beside(model.draws, target, model.origin) as add_draws,
    ):
        for piece in read_ahead(found.pieces(size), source):
            columns = _estimated(piece.counts, model)
            _draw(piece, model, tally.spectra, add_draws)
            sink.write(_table(piece, columns, tally.add(piece, columns), schema, carried))
            progress(tally.spectra, piece.done)
        figures = tally.draw(target, model.depth_unit, model.origin.get("caution", ""), model.interval)
    about = {**tally.document(), "figures": [path.name for path in figures], "units": dict(model.outputs)}
    reuse.write_record(target, key, about)
    return _described(source, target, model, about, True, found.warnings)


def _described(
    source: Path, target: Path, model: SpectrumModel, about: Mapping[str, Any], made: bool, warnings: Sequence[str]
) -> SpectrumPrediction:
    """The result, from the record of the file."""
    figures = [target.with_name(name) for name in about["figures"]]
    limited = [
        *remarks_beyond(about, ALL),
        *remarks(model.limits, model.outputs, about.get("at_limits", {}), about["spectra"]),
    ]
    counts = about["spectra"], about["missing"], about["missing_count"]
    drawn = model.draws is not None
    return SpectrumPrediction(source, target, *counts, figures, made, model.interval, limited, drawn, warnings)


def _estimated(counts: NDArray[np.float32], model: SpectrumModel) -> NDArray[np.float32]:
    """As `SpectrumModel.estimate`; NaN for spectra whose counts are all equal, which hold no information."""
    made = [
        model.estimate(np.ascontiguousarray(counts[start : start + BATCH])) for start in range(0, len(counts), BATCH)
    ]
    estimates = np.concatenate(made)
    estimates[_empty(counts)] = np.nan
    return estimates


def _draw(piece: SpectrumPiece, model: SpectrumModel, first: int, add_draws: Write) -> None:
    """Add draws from the posteriors of spectra to their file, if they were asked for.

    first  the number of the first spectrum
    """
    if model.draws is None or model.posterior is None:
        return
    for start in range(0, len(piece.names), BATCH):
        batch = slice(start, start + BATCH)
        counts = np.ascontiguousarray(piece.counts[batch])
        drawn = model.draws.of([model.posterior(counts)], first + start)
        drawn[:, _empty(counts)] = np.nan
        add_draws(piece.names[batch], drawn)


def _empty(counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the counts of a spectrum are all equal, which hold no information."""
    return np.asarray(np.ptp(counts, axis=1) == 0)


def _schema(model: SpectrumModel, found: PredictionSource, netcdf: bool) -> tuple[pa.Schema, dict[str, str]]:
    """The columns of the new file, with their units; and column of the source → its name among them.

    netcdf  whether it is a NetCDF file, which has the caution among its attributes, and no `/` in names
    """
    import pyarrow as pa

    texts, layout = [NAME, *([PART] if found.with_parts else []), CORE], model.layout
    before = [pa.field(name, pa.string()) for name in texts]
    before.append(pa.field(DEPTH, pa.float64(), metadata={"unit": model.depth_unit} if model.depth_unit else {}))
    after = []
    for name, unit in model.outputs.items():
        about = {"unit": unit, "limits": str(model.limits.get(name, ""))}
        metadata = {key: text for key, text in about.items() if text}
        after.append(pa.field(estimate_of(name), pa.float32(), metadata=metadata))
        for end, of in (("lower", low_of), ("upper", high_of)) if model.interval else ():
            about = {"unit": unit, "description": f"{end} end of {model.interval}"}
            after.append(pa.field(of(name), pa.float32(), metadata={key: text for key, text in about.items() if text}))
    if model.trained:
        about = {"description": f"estimates outside {ALL}"}
        after.append(pa.field(ESTIMATES_OUTSIDE, pa.int16(), metadata=about))
    if (caution := model.origin.get("caution", "")) and not netcdf:
        after.append(pa.field(CAUTION, pa.string(), metadata={WORDS: caution.encode()}))
    there = {name for name, column in ((CORE, layout.core), (DEPTH, layout.depth)) if name == column}
    others = [name for name in found.kept.names if name not in there]
    carried = new_names(others, [one.name for one in (*before, *after)], netcdf)
    kept = [found.kept.field(name).with_name(new) for name, new in carried.items()]
    return pa.schema([*before, *kept, *after]), carried


def _table(
    piece: SpectrumPiece,
    estimates: NDArray[np.floating],
    beyond: NDArray[np.int16],
    schema: pa.Schema,
    carried: Mapping[str, str],
) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {
        NAME: pa.array(piece.names),
        PART: pa.array(piece.parts),
        ESTIMATES_OUTSIDE: pa.array(beyond),
        CORE: pa.array([core or None for core in piece.cores], pa.string()),
        # NaN becomes a missing value.
        DEPTH: pa.array(piece.depths, from_pandas=True),
    }
    columns |= {new: piece.kept[name] for name, new in carried.items()}
    values = iter(estimates.T)
    for one in schema:
        if one.name not in columns:
            words = (one.metadata or {}).get(WORDS)
            if words is not None:
                columns[one.name] = pa.repeat(words.decode(), len(piece.names))
            else:
                columns[one.name] = pa.array(next(values), from_pandas=True)
    return pa.table([columns[one.name] for one in schema], schema=schema)

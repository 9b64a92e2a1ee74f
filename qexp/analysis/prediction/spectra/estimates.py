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
from qexp.analysis.prediction.columns import CAUTION, WORDS
from qexp.analysis.prediction.progress import OnProgress, no_progress
from qexp.analysis.prediction.read_ahead import read_ahead
from qexp.analysis.prediction.spectra.sources import PredictionSource, SpectrumLayout, SpectrumPiece, source_of
from qexp.errors import NotFoundError, QexpError
from qexp.estimates import estimate_of, high_of, low_of
from qexp.figures.canvas import save
from qexp.figures.cores import Estimates, down_core
from qexp.limits import Limits, remarks
from qexp.rows.formats import format_of, new_file_of_rows
from qexp.runs.signals import terminable

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 64
"""Number of spectra per batch; fixed, because rounding depends on the batch and must not depend on --chunk."""
CHUNK = 512
"""Number of spectra that are read and written at a time."""
DRAWN = 10_000
"""Largest number of points in a figure."""
NAME, PART, CORE, DEPTH = "name", "part", "core", "depth"
"""Columns of the new file."""
NAMED = 3
"""Largest number of spectra without an estimate that are listed by name."""


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
    depth_unit: str = "mm"
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution."""
    intervals: NewIntervals | None = None

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
    """A sentence for each output with estimates at its limits."""
    warnings: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """The files of results."""
        return [self.target, *self.figures]

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
    `<output>_low` and `<output>_high`, if the model has intervals, and `caution` if the run has
    one. A column of the source whose name the new file uses otherwise, such as `depth` where the depth is another
    column, is called `<name>_given` in it; in NetCDF a name has `_` for `/`. A record is written beside it as
    `<file>.json`, and the estimates along each core as `<stem>.png`. A file that the same run made from the same
    spectra is left as it is.

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
    key = {"origin": dict(model.origin), "input": found.identity}
    if model.intervals is not None:
        key["interval"] = model.intervals.coverage
    if not overwrite and (known := reuse.reusable(source, target, key)) is not None:
        return _described(source, target, model, known, False, found.warnings)
    files.make_folder(target.absolute().parent)
    reuse.clear(target)
    tally = _Tally(model)
    schema, carried = _schema(model, found, target.suffix == ".nc")
    # A scheduler sends SIGUSR1 shortly before the time limit.
    origin = {**model.origin, **({"interval": model.interval} if model.interval else {})}
    with terminable(signal.SIGUSR1), new_file_of_rows(target, schema, None, origin) as sink:
        for piece in read_ahead(found.pieces(size), source):
            columns = _estimated(piece.counts, model)
            sink.write(_table(piece, columns, schema, carried))
            tally.add(piece, columns)
            progress(tally.spectra, piece.done)
        figures = tally.draw(target)
    about = {
        "spectra": tally.spectra,
        "missing": tally.missing,
        "missing_count": tally.missing_count,
        "figures": [path.name for path in figures],
        "units": dict(model.outputs),
        **({"at_limits": tally.at_limits} if tally.at_limits else {}),
    }
    reuse.write_record(target, key, about)
    return _described(source, target, model, about, True, found.warnings)


def _described(
    source: Path, target: Path, model: SpectrumModel, about: Mapping[str, Any], made: bool, warnings: Sequence[str]
) -> SpectrumPrediction:
    """The result, from the record of the file."""
    figures = [target.with_name(name) for name in about["figures"]]
    limited = remarks(model.limits, model.outputs, about.get("at_limits", {}), about["spectra"])
    counts = about["spectra"], about["missing"], about["missing_count"]
    return SpectrumPrediction(source, target, *counts, figures, made, model.interval, limited, warnings)


def _estimated(counts: NDArray[np.float32], model: SpectrumModel) -> NDArray[np.float32]:
    """As `SpectrumModel.estimate`; NaN for spectra whose counts are all equal, which hold no information."""
    made = [
        model.estimate(np.ascontiguousarray(counts[start : start + BATCH])) for start in range(0, len(counts), BATCH)
    ]
    estimates = np.concatenate(made)
    estimates[np.ptp(counts, axis=1) == 0] = np.nan
    return estimates


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
    if (caution := model.origin.get("caution", "")) and not netcdf:
        after.append(pa.field(CAUTION, pa.string(), metadata={WORDS: caution.encode()}))
    there = {name for name, column in ((CORE, layout.core), (DEPTH, layout.depth)) if name == column}
    others = [name for name in found.kept.names if name not in there]
    carried = new_names(others, [one.name for one in (*before, *after)], netcdf)
    kept = [found.kept.field(name).with_name(new) for name, new in carried.items()]
    return pa.schema([*before, *kept, *after]), carried


def _table(
    piece: SpectrumPiece, estimates: NDArray[np.floating], schema: pa.Schema, carried: Mapping[str, str]
) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {
        NAME: pa.array(piece.names),
        PART: pa.array(piece.parts),
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


class Thinned:
    """An evenly spaced selection of spectra: all at first, then every second, every fourth, and so on.

    most  largest number of spectra that are kept
    """

    def __init__(self, most: int) -> None:
        self._most, self._every, self._seen = most, 1, 0
        self.cores: list[str] = []
        self.numbers: list[tuple[float, ...]] = []
        """Depth, then the estimates."""

    def add(self, cores: Sequence[str], depths: NDArray[np.float64], estimates: NDArray[np.floating]) -> None:
        for index in range(-self._seen % self._every, len(cores), self._every):
            self.cores.append(cores[index])
            self.numbers.append((float(depths[index]), *map(float, estimates[index])))
        self._seen += len(cores)
        while len(self.cores) > self._most:
            self.cores, self.numbers, self._every = self.cores[::2], self.numbers[::2], 2 * self._every


class _Tally:
    """Counts and points of the figures, accumulated piece by piece."""

    def __init__(self, model: SpectrumModel) -> None:
        self._model = model
        self.spectra = self.missing_count = 0
        self.missing: list[str] = []
        self.at_limits = dict.fromkeys(model.limits, 0)
        """Output with limits → number of estimates that lie at them."""
        self._drawn = Thinned(DRAWN)

    def add(self, piece: SpectrumPiece, columns: NDArray[np.floating]) -> None:
        """Add estimates with the ends of their intervals, as `SpectrumModel.estimate` gives them."""
        estimates = columns[:, :: columns.shape[1] // len(self._model.outputs)]
        missing = np.flatnonzero(~np.isfinite(estimates).all(axis=1))
        self.missing += [piece.names[index] for index in missing[: max(NAMED - len(self.missing), 0)]]
        self.missing_count += len(missing)
        self.spectra += len(piece.names)
        for name, values in zip(self._model.outputs, estimates.T, strict=True):
            if name in self.at_limits:
                self.at_limits[name] += self._model.limits[name].reached(values)
        self._drawn.add(piece.cores, piece.depths, columns)

    def draw(self, target: Path) -> list[Path]:
        """Draw a figure for each output, with the estimates along each core."""
        depths, *columns = np.array(self._drawn.numbers).T
        each, drawn = len(columns) // len(self._model.outputs), []
        for place, (name, unit) in enumerate(self._model.outputs.items()):
            values, *ends = columns[place * each : (place + 1) * each]
            path = target.with_suffix(".png")
            if len(self._model.outputs) > 1:
                path = path.with_stem(f"{path.stem}_{name}")
            band = (ends[0], ends[1]) if ends else None
            profiles = Estimates(name, unit, self._drawn.cores, depths, values, None, self._model.depth_unit, band)
            save(down_core(profiles, self._model.origin.get("caution", ""), self._model.interval), path)
            drawn.append(path)
        return drawn

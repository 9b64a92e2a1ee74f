"""Prediction from spectra that need not fit into memory: a folder with one file each, or a table."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base.files import make_folder, stem_of
from qexp.base.machine import terminable
from qexp.base.outputs import Limits, estimate_of, high_of, limits_of, low_of, remarks
from qexp.errors import NotFoundError, QexpError, suggestion
from qexp.figures.canvas import save
from qexp.kinds import prediction
from qexp.kinds.held_out import NewIntervals, means_of_folds, new_intervals
from qexp.kinds.objects import device_of
from qexp.kinds.options import OnProgress, PredictOptions
from qexp.kinds.prediction import (
    ALL,
    CAUTION,
    ESTIMATES_OUTSIDE,
    WORDS,
    BeyondTraining,
    FileKind,
    FilePredictor,
    SampleDraws,
    TrainedRange,
    TypesOfTexts,
    Write,
    beside,
    column_of,
    draws_of,
    file_of_draws,
    new_names,
    no_progress,
    ranges_of_targets,
    read_ahead,
    remarks as remarks_beyond,
)
from qexp.kinds.spectra.dataset import SPECTRUM
from qexp.kinds.spectra.figures import Estimates, down_core
from qexp.kinds.spectra.files import (
    INFO,
    KEPT_FOR_VALIDATION,
    NAMES,
    SPECTRA,
    TEST,
    TRAIN,
    CountTable,
    Findings,
    add_troubles,
    compare,
    counts_of,
    depth_like,
    depths_of,
    described,
    files_in,
)
from qexp.kinds.trained import load_model
from qexp.networks.estimator import Posterior, with_quantiles
from qexp.rows.formats import format_of, in_equal_chunks, new_file_of_rows
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = (TRAIN, TEST)
BESIDE = (INFO, KEPT_FOR_VALIDATION, "README.md")
"""Files in a folder of spectra that are not spectra."""


@dataclass(frozen=True)
class SpectrumLayout:
    """The form of folders and tables of spectra."""

    channels: int
    columns: str
    """Prefix of the columns of counts, or a variable of NetCDF."""
    core: str
    depth: str | None


@dataclass(frozen=True)
class SpectrumPiece:
    """Consecutive spectra of a source."""

    names: list[str]
    cores: list[str]
    """Empty where unknown."""
    depths: NDArray[np.float64]
    """NaN where unknown."""
    parts: list[str]
    """For each spectrum its folder if that is one of `PARTS`, else empty."""
    kept: pa.Table
    """Further columns, as in the source's `kept`."""
    counts: NDArray[np.float32]
    """(spectrum, channel)"""
    done: float
    """The fraction of the source that has been read."""


class PredictionSource(Protocol):
    """A source of spectra: a folder or a table."""

    identity: Any
    """Identifies the files and their state; changes whenever they change."""
    folders: Sequence[Path]
    """The folders of files with one spectrum each."""
    with_parts: bool
    """Whether the spectra are divided into `train/` and `test/`."""
    warnings: Sequence[str]
    """What a user may have meant otherwise: depths under another name."""
    kept: pa.Schema
    """All columns that describe the spectra except for their names, core and depth included, with units."""

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        """All spectra in order, `size` at a time (fewer in the last piece). Raises QexpError for invalid spectra."""


def source_of(path: Path, layout: SpectrumLayout) -> PredictionSource:
    """The spectra of a folder or table. Raises QexpError if there are none."""
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file or folder")
    return FolderOfSpectra(path, layout) if path.is_dir() else TableOfSpectra(path, layout)


@dataclass(frozen=True)
class _Group:
    """The spectra of one folder."""

    part: str
    folder: Path
    lists: Sequence[Path]
    """info.csv if it is there, and val.csv if it names other spectra."""


class FolderOfSpectra:
    """A folder with a file per spectrum in `spe/`, in `train/spe/` and `test/spe/`, or in the folder itself."""

    def __init__(self, path: Path, layout: SpectrumLayout) -> None:
        self.path, self.layout = path, layout
        self._groups = list(self._found())
        self._count, identities, findings, types = 0, [], Findings(), TypesOfTexts()
        warnings: list[str] = []
        for group in self._groups:
            names = self._names(group)
            self._count += len(names)
            identities.append([group.part, *_listing(group.folder)])
            if group.lists:
                warnings += self._check_lists(group, names, findings, types)
                identities[-1] += map(prediction.identity, group.lists)
        if not self._count:
            shown = ", ".join(str(group.folder) for group in self._groups)
            raise QexpError(f"{path}: no spectra; looked in {shown}")
        findings.refuse()
        self.identity: Any = identities
        self.folders: Sequence[Path] = [group.folder for group in self._groups]
        self.with_parts = any(group.part for group in self._groups)
        self.warnings: Sequence[str] = warnings
        self.kept = types.schema()

    def _found(self) -> Iterator[_Group]:
        parts = [part for part in PARTS if (self.path / part / SPECTRA).is_dir()]
        for part in parts:
            yield self._group(part, self.path / part)
        if not parts:
            yield self._group("", self.path)

    def _group(self, part: str, folder: Path) -> _Group:
        info, kept, inside = folder / INFO, folder / KEPT_FOR_VALIDATION, folder / SPECTRA
        lists = [info] if info.is_file() else []
        if lists and kept.is_file():
            named, others = ({name for name, _ in described(path, Findings())} for path in (info, kept))
            lists += [] if others <= named else [kept]
        return _Group(part, inside if inside.is_dir() else folder, lists)

    def _names(self, group: _Group) -> list[str]:
        return [name for name in files_in(group.folder) if name not in BESIDE]

    def _check_lists(self, group: _Group, files: Sequence[str], findings: Findings, types: TypesOfTexts) -> list[str]:
        """Report rows without a file, files without a row, and a missing column of cores; note types of columns.

        Returns a warning if depths are lost.
        """
        info, names = group.lists[0], dict[str, None]()
        warnings: list[str] = []
        for name, columns in self._listed(group, findings):
            if not names:
                warnings = without_depths(self.layout, columns, info)
            if not names and self.layout.core not in columns:
                near = suggestion(self.layout.core, columns)
                findings.add(f"{info} has no column '{self.layout.core}'; {near}", where=("core",))
            names[name] = None
            types.add(columns)
        compare(group.folder, files, info, names, findings)
        return warnings

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        read = 0
        spectra = self._described()
        while some := list(islice(spectra, size)):
            read += len(some)
            yield self._piece(some, read)

    def _described(self) -> Iterator[tuple[_Group, str, dict[str, str]]]:
        """Folder, name and columns of every spectrum."""
        findings = Findings()
        for group in self._groups:
            if not group.lists:
                yield from ((group, name, {}) for name in self._names(group))
            else:
                yield from ((group, name, columns) for name, columns in self._listed(group, findings))
        findings.refuse()

    def _listed(self, group: _Group, findings: Findings) -> Iterator[tuple[str, dict[str, str]]]:
        """Name and columns of the spectra of info.csv, then of those that val.csv alone names."""
        seen = set[str]()
        for path in group.lists:
            for name, columns in described(path, findings):
                if name not in seen:
                    yield name, columns
                seen.add(name)

    def _piece(self, spectra: Sequence[tuple[_Group, str, dict[str, str]]], read: int) -> SpectrumPiece:
        import pyarrow as pa

        findings, layout = Findings(), self.layout
        groups, names, columns = zip(*spectra, strict=True)
        depths = [row.get(layout.depth or "", "") for row in columns]
        place = f"{self.path}: column '{layout.depth}' of {INFO}"
        found = SpectrumPiece(
            list(names),
            [row.get(layout.core, "") for row in columns],
            depths_of(depths, names, place, findings),
            [group.part for group in groups],
            pa.table([column_of([row.get(one.name, "") for row in columns], one.type) for one in self.kept], self.kept),
            counts_of([group.folder / name for group, name, _ in spectra], layout.channels, findings),
            read / self._count,
        )
        findings.refuse()
        return found


class TableOfSpectra:
    """A table with a spectrum per row; see `CountTable`."""

    def __init__(self, path: Path, layout: SpectrumLayout) -> None:
        import pyarrow as pa

        self.path, self.layout = path, layout
        self.identity: Any = prediction.identity(path)
        self.folders: Sequence[Path] = []
        self.with_parts = False
        findings = Findings()
        self._table = CountTable(path, layout.channels, layout.columns)
        self._table.require_channels(findings)
        findings.refuse()
        self.warnings: Sequence[str] = without_depths(layout, self._table.others, path)
        self._named = next((column for column in NAMES if column in self._table.others), None)
        kept = self._table.types(column for column in self._table.others if column != self._named)
        # Cores are read as they are written: "7.50" stays that.
        cores = [one.with_type(pa.string()) if one.name == layout.core else one for one in kept]
        self.kept = pa.schema(cores)

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        import pyarrow as pa

        named, core, depth = self._named, self.layout.core, self.layout.depth
        wanted = [column for column in (named, core, depth) if column is not None and column in self._table.others]
        kept = pa.schema([*([(named, pa.string())] if named else []), *self.kept])
        first = 0
        for chunk in in_equal_chunks(self._table.chunks(kept, size), size):
            findings, count = Findings(), len(chunk.features)
            add_troubles(chunk.features, self.path, first, findings)
            texts = {name: _as_texts(chunk.kept[name]) for name in wanted}
            names = texts[named] if named else [str(first + row + 1) for row in range(count)]
            depths = depths_of(texts.get(depth or "", [""] * count), names, f"{self.path}: column '{depth}'", findings)
            findings.refuse()
            beside = chunk.kept.select(self.kept.names)
            cores, no_parts = texts.get(core, [""] * count), [""] * count
            yield SpectrumPiece(names, cores, depths, no_parts, beside, chunk.features, chunk.done)
            first += count


def without_depths(layout: SpectrumLayout, columns: Collection[str], listed: Path) -> list[str]:
    """A warning if a list has no column of the run's name for depths, but others that look like one."""
    near = depth_like(columns)
    if layout.depth is None or layout.depth in columns or not near:
        return []
    return [
        f"{listed} has no column '{layout.depth}', which holds the depth in the run's dataset: depths are left empty; "
        f"rename {near} if it is that depth"
    ]


def _as_texts(column: pa.ChunkedArray) -> list[str]:
    """The values as texts without surrounding spaces; empty where they are missing."""
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]


def _listing(folder: Path) -> list[Any]:
    """The state of a folder: the number of files, and a sum of hashes of names, sizes and times."""
    count = total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and not entry.name.startswith("."):
                state = entry.stat()
                said = f"{entry.name}/{state.st_size}/{state.st_mtime_ns}"
                # A sum does not depend on the order, so that no list of all files is needed.
                total += int.from_bytes(hashlib.sha256(said.encode()).digest()[:16])
                count += 1
    return [count, f"{total % 2**128:032x}"]


# What is counted and drawn of the spectra in a file.


DRAWN = 10_000
"""Largest number of points in a figure."""
NAMED = 3
"""Largest number of spectra without an estimate that are listed by name."""


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


class Tally:
    """Counts and points of the figures, accumulated piece by piece."""

    def __init__(
        self, outputs: Mapping[str, str], limits: Mapping[str, Limits], trained: Mapping[str, TrainedRange]
    ) -> None:
        self._outputs, self._limits, self._beyond = dict(outputs), dict(limits), BeyondTraining(trained)
        self.spectra = self.missing_count = 0
        self.missing: list[str] = []
        self.at_limits = dict.fromkeys(limits, 0)
        """Output with limits → number of estimates that lie at them."""
        self._drawn = Thinned(DRAWN)

    def add(self, piece: SpectrumPiece, columns: NDArray[np.floating]) -> NDArray[np.int16]:
        """Add estimates with the ends of their intervals, as `SpectrumModel.estimate` gives them. Returns the number of
        each spectrum's estimates outside the range of the training data.
        """
        estimates = columns[:, :: columns.shape[1] // len(self._outputs)]
        missing = np.flatnonzero(~np.isfinite(estimates).all(axis=1))
        self.missing += [piece.names[index] for index in missing[: max(NAMED - len(self.missing), 0)]]
        self.missing_count += len(missing)
        self.spectra += len(piece.names)
        for name, values in zip(self._outputs, estimates.T, strict=True):
            if name in self.at_limits:
                self.at_limits[name] += self._limits[name].reached(values)
        self._drawn.add(piece.cores, piece.depths, columns)
        return self._beyond.add(dict(zip(self._outputs, estimates.T, strict=True)), len(piece.names))

    def document(self) -> dict[str, Any]:
        """For the record of the file."""
        counts = {"spectra": self.spectra, "missing": self.missing, "missing_count": self.missing_count}
        return counts | self._beyond.document() | ({"at_limits": self.at_limits} if self.at_limits else {})

    def draw(self, target: Path, depth_unit: str, caution: str, interval: str) -> list[Path]:
        """Draw a figure for each output, with the estimates along each core; returns their files.

        target    the file of estimates, which they are named after
        caution   of the run; empty without one
        interval  what the intervals promise, in words; empty without any
        """
        depths, *columns = np.array(self._drawn.numbers).T
        each, drawn = len(columns) // len(self._outputs), []
        for place, (name, unit) in enumerate(self._outputs.items()):
            values, *ends = columns[place * each : (place + 1) * each]
            path = target.with_suffix(".png")
            if len(self._outputs) > 1:
                path = path.with_stem(f"{path.stem}_{name}")
            band = (ends[0], ends[1]) if ends else None
            profiles = Estimates(name, unit, self._drawn.cores, depths, values, None, depth_unit, band)
            save(down_core(profiles, caution, interval), path)
            drawn.append(path)
        return drawn


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
    draws: SampleDraws | None = None
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
        target = target / f"{stem_of(source)}{ending}"
    format_of(target)
    if source.is_file():
        format_of(source)
    if target.resolve() == source.resolve():
        raise QexpError(f"{target}: the estimates would be written over what is read; give another `target`")
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
    size = -(-(chunk or CHUNK) // BATCH) * BATCH
    found = source_of(source, model.layout)
    if target.absolute().parent.resolve() in {folder.resolve() for folder in found.folders}:
        raise QexpError(f"{target}: the estimates would lie among the spectra; give another `target`")
    interval = None if model.intervals is None else model.intervals.coverage
    key = prediction.key_of(model.origin, found.identity, interval=interval, draws=model.draws)
    if not overwrite and (known := prediction.reusable(source, target, key)) is not None:
        return _described(source, target, model, known, False, found.warnings)
    make_folder(target.absolute().parent)
    prediction.clear(target)
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
    prediction.write_record(target, key, about)
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


# The model for predicting from spectra with a finished run: its network and the layout of files.


def spectrum_model(
    directory: RunDirectory, device: str = "auto", interval: float | None = None, draws: int | None = None
) -> SpectrumModel:
    """The model of a run for `predict_spectra`.

    interval  coverage of the intervals; see `new_intervals`
    draws     from the posterior of each spectrum, which are written to a file of their own
    Raises QexpError if the run is not done or estimates only spectra, or if draws are asked for without a posterior
    head.
    """
    record, spec = directory.record(), directory.training_spec()
    outputs = [name for name in spec["outputs"] if name != SPECTRUM]
    if not outputs:
        raise QexpError(
            f"{directory.name} reconstructs masked spectra and estimates no other quantity; train a run with a target "
            f"and pretrain={directory.name} in its experience, and predict with that"
        )
    if others := [name for name in spec["inputs"] if name != SPECTRUM]:
        raise QexpError(
            f"{directory.name} needs {', '.join(others)} besides spectra, which files of spectra do not contain"
        )
    on = device_of(device)
    model, intervals = load_model(directory, on).eval(), new_intervals(directory, interval, [""])
    probabilities = () if intervals is None else intervals.probabilities

    @torch.no_grad()
    def estimate(counts: NDArray[np.float32]) -> NDArray[np.float32]:
        made = with_quantiles(model, {SPECTRUM: torch.from_numpy(counts).to(on)}, probabilities)
        columns: list[NDArray[np.floating]] = []
        for name in outputs:
            of_network = means_of_folds(model, name, made[name][None], [1], probabilities)
            columns += [of_network.estimate[0], *(intervals.rules[name].ends(of_network) if intervals else ())]
        return np.stack(columns, axis=1).astype(np.float32)

    def posterior(counts: NDArray[np.float32]) -> Posterior:
        return model.posterior({SPECTRUM: torch.from_numpy(counts).to(on)})

    dataset = spec["dataset"]
    return SpectrumModel(
        layout=SpectrumLayout(dataset["channels"], dataset["columns"], dataset["core"], dataset["depth"]),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        limits=limits_of(spec),
        trained=ranges_of_targets(record, model.periods),
        depth_unit=dataset["units"].get(dataset["depth"] or "", "mm"),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
        intervals=intervals,
        posterior=posterior if model.network.heads else None,
        draws=draws_of(model.network, record, draws),
    )


def _estimator(directory: RunDirectory, options: PredictOptions) -> FilePredictor:
    return partial(predict_spectra, model=spectrum_model(directory, options.device, options.interval, options.draws))


PREDICTION = FileKind(
    "spectra", lambda source, target, inputs: targets(source, target), _estimator, frozenset(("interval", "draws"))
)

"""Prediction of rows of files that need not fit into memory, such as the pixels of a map."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base import files
from qexp.base.arrays import Mask
from qexp.base.outputs import Estimated, Words, with_intervals
from qexp.errors import QexpError, some
from qexp.figures.writing import save
from qexp.kinds.held_out import new_intervals, with_ends
from qexp.kinds.networks import load_folds
from qexp.kinds.objects import device_of
from qexp.kinds.options import OnProgress, PredictOptions
from qexp.kinds.prediction import (
    OUTSIDE,
    AddDraws,
    EstimatedPiece,
    FileKind,
    FileModel,
    InputArrays,
    TableEstimation,
    closing_columns,
    draws_of,
    identity,
    named_after,
    new_column,
    of_blocks,
    of_run,
    output_columns,
    read_ahead,
    require_different_targets,
    require_not_read,
    require_there,
)
from qexp.kinds.rows.evaluation import beyond, extent
from qexp.kinds.rows.figures import draw_map, layers
from qexp.kinds.rows.spec import measured
from qexp.networks.estimator import Ensemble, Posterior
from qexp.rows.cell_means import CellMeans, position_columns
from qexp.rows.csv import title
from qexp.rows.formats import (
    FORMATS,
    Chunk,
    Columns,
    Matrix,
    Rows,
    files_of_rows,
    format_of,
    in_equal_chunks,
    open_rows,
    require_columns,
)
from qexp.rows.geotiff import of_netcdf
from qexp.rows.image_rows import LINE
from qexp.rows.table import FAR, Codes, numbers_in, unlike
from qexp.spec.reading import Document
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa


def targets(source: Path, target: Path, inputs: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """Pairs of a file to read and the file to write.

    source  a file, or a folder, of which all files of rows are read, without its subfolders
    target  a file for a file; for a folder a folder, with files that are named after their sources,
            or the file of a map, of which they are the rows
    Raises QexpError if there is nothing to read, or two files would be written to one, or a file
    over itself.
    """
    require_there(source)
    one_map = source.is_dir() and target.suffix.lower() in FORMATS and not target.is_dir()
    if source.is_dir() and target.is_file() and not one_map:
        raise QexpError(
            f"{target} is a file, but {source} is a folder; its estimates need a folder too"
        )
    pairs = [(path, target / path.name) for path in files_of_rows(source)]
    if one_map:
        pairs = [(source, target)]
    elif not source.is_dir():
        pairs = [(source, named_after(source, target, source.suffix))]
    for path, new in pairs:
        format_of(new)
        require_not_read(new, files_of_rows(path))
    require_different_targets(pairs)
    return pairs


CHUNK = 32_768
"""Number of rows that are read, predicted and written at a time."""
BLOCK = 4_096
"""Number of rows that are predicted between two checks for interruption."""
ROWS_TOGETHER = 256
"""Rows that are drawn for together; fixed, as draws depend on it, but not on --chunk."""
DRAWS_HELD = 2**24
"""Draws in memory, about, for each chunk."""

ENSEMBLE = Words("ensemble mean", spread="ensemble standard deviation")
Estimates = dict[str, Estimated]
"""Output → mean and spread over networks, and the ends of intervals if there are some, (row,)."""


@dataclass(frozen=True, kw_only=True)
class RowModel(FileModel):
    """The parts of a run that are needed to predict rows.

    A new file has the columns that are not features unchanged, then for every output its estimate,
    `<output>_low` and `<output>_high`, the ends of its interval if there are intervals, and
    `<output>_spread`, then `outside`, `estimates_outside` if training ranges are known, and
    `caution` if the run has one. Beside it lie a map as `<stem>.png` if the rows have positions,
    and draws from posteriors, if asked for, as `<stem>_posterior.nc`, with row numbers from 0.
    """

    features: Sequence[str]
    """Columns of the input, in the order of `estimate`'s argument."""
    ranges: NDArray[np.floating]
    """(feature, 2): smallest and largest value in the training data."""
    estimate: Callable[[Matrix], Estimates]
    """From (row, feature)."""
    taken_units: Sequence[str] = ()
    """Of the features, as the training data gave them, if that is known."""
    gaps_known: Sequence[bool] | None = None
    """Whether training rows had gaps in each feature; None if gaps are not filled in."""
    columns: Columns | None = None
    """Names or positions of the features in files, where they differ from the features' own
    names.
    """
    words: Words = ENSEMBLE
    """What the columns of outputs hold."""
    makes_maps: ClassVar[bool] = False
    """Whether a file is a map, so that NetCDF has a GeoTIFF beside it; folders always are."""
    posterior: Callable[[Matrix], Posterior] | None = None
    """From (row, feature) to the mixture of the posteriors of all networks, if they have posterior
    heads.
    """

    def sources(self, source: Path) -> Sequence[Path]:
        """The files that are read."""
        return files_of_rows(source)

    def rows(self, source: Path) -> Rows:
        """What is read. Raises QexpError."""
        return open_rows(source, self.features, self.columns)

    def open(self, source: Path, target: Path) -> RowEstimation:
        return RowEstimation(self, source, target)


GIVEN = "_given"
"""How a column of the file is renamed that has the name of an output."""

EstimatedChunk = tuple[Chunk, Estimates, NDArray[np.int16], Matrix | None]
"""A chunk, its estimates, the number of features that are outside, (row,); and draws, (draw, row,
output), if they were asked for.
"""


class RowEstimation(TableEstimation[RowModel]):
    """Estimates of the rows of a file; rows are read, predicted and written in parallel."""

    counted = "rows"
    numbered = True

    def __init__(self, model: RowModel, source: Path, target: Path) -> None:
        super().__init__(model, source, target)
        self._rows = model.rows(source)
        identities = [identity(path) for path in model.sources(source)]
        alone = len(identities) == 1 and not source.is_dir()
        self.identity = identities[0] if alone else identities
        self.grid = self._rows.grid
        self._positions = position_columns(numbers_in(self._rows.kept))
        self._raster = CellMeans(len(layers(list(model.outputs))))
        self._outside = self._missing = 0
        self._renamed: dict[str, str] = {}
        """Column of the file with the name of an output, such as a measured value → its name beside
        estimates.
        """
        self._imputed = np.zeros(len(model.features), np.int64)
        self._codes = [Codes() for _ in model.features]

    @property
    def settings(self) -> Document:
        pairs = zip(self.model.features, self._rows.features, strict=True)
        columns = None if self.model.columns is None else dict(pairs)
        return {"columns": columns, **super().settings}

    def schema(self, netcdf: bool) -> pa.Schema:
        import pyarrow as pa

        model = self.model
        words = model.words
        if model.intervals is not None:
            promise = f"{model.intervals.words}, which promise nothing where {OUTSIDE} > 0"
            words = with_intervals(words, promise)
        columns = []
        for name, output in model.outputs.items():
            columns += output_columns(output, name, words)
        outside = "features outside the range of the training data"
        columns += [new_column(OUTSIDE, pa.int16(), description=outside)]
        columns += closing_columns(model, netcdf)
        kept = self._rows.kept
        path = self._rows.path
        names = {column.name for column in columns}
        names |= set(map(title, columns)) if self.target.suffix == ".csv" else set()
        of_outputs = {column.name for column in columns} & {*model.outputs}
        of_outputs |= {title(column) for column in columns if column.name in of_outputs}
        for both in (name for name in kept.names if name in names):
            if both not in of_outputs or f"{both}{GIVEN}" in {*names, *kept.names}:
                raise QexpError(
                    f"{path} has a column '{both}', which is also a column of the estimates;"
                    " rename it"
                )
            self._renamed[both] = f"{both}{GIVEN}"
        units = self._rows.table.units
        of_file = []
        for given in kept:
            name = self._renamed.get(given.name, given.name)
            of_file.append(new_column(name, given.type, units.get(given.name, "")))
        return pa.schema([*of_file, *columns])

    def pieces(self, chunk: int | None, add_draws: AddDraws) -> Iterator[EstimatedPiece]:
        for part, estimates, outside, draws in self._estimated(chunk or CHUNK):
            count = len(outside)
            if draws is not None:
                add_draws(range(self.count, self.count + count), draws)
            columns = {
                self._renamed.get(name, name): part.kept[name] for name in self._rows.kept.names
            }
            for name, estimated in estimates.items():
                columns |= self.model.outputs[name].cells(name, estimated)
            self._outside += int((outside > 0).sum())
            means = {name: estimated.middle for name, estimated in estimates.items()}
            lacking = [np.isnan(each).reshape(count, -1).any(axis=1) for each in means.values()]
            missing = np.any(lacking, axis=0)
            self._missing += int(missing.sum())
            self._imputed += np.isnan(part.features[~missing]).sum(axis=0)
            for codes, values in zip(self._codes, part.features.T, strict=True):
                codes.add(values[np.isfinite(values)])
            if self._positions is not None:
                x, y = (part.kept[name].to_numpy().astype(np.float64) for name in self._positions)
                layers = []
                for estimated in estimates.values():
                    layers += [estimated.middle, np.nan_to_num(_error(estimated))]
                self._raster.add(x, y, np.column_stack([*layers, outside > 0]))
            yield EstimatedPiece(count, {**columns, OUTSIDE: outside}, means, part.done)

    def _estimated(self, size: int) -> Iterator[EstimatedChunk]:
        """All chunks in order, predicted while earlier ones are written and later ones are read.

        Each chunk is predicted on one core, because several cores on small matrix products mostly
        wait for each other.
        """
        threads = torch.get_num_threads()
        draws = self.model.draws
        given_up = Event()
        if draws is None:
            all_chunks = self._rows.chunks(size)
        else:  # whole blocks of rows that are drawn for together
            most = min(size, DRAWS_HELD // (draws.count * len(draws.units)))
            size = max(most // ROWS_TOGETHER, 1) * ROWS_TOGETHER
            all_chunks = in_equal_chunks(self._rows.chunks(size), size)
        waiting: deque[Future[EstimatedChunk]] = deque()
        pool = ThreadPoolExecutor(threads, "estimating", torch.set_num_threads, (1,))
        try:
            with closing(read_ahead(all_chunks, self._rows.path)) as chunks:
                first = 0
                for chunk in chunks:
                    waiting.append(pool.submit(_estimate_chunk, self.model, chunk, first, given_up))
                    first += len(chunk.features)
                    if len(waiting) > threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        finally:
            given_up.set()
            pool.shutdown()
            torch.set_num_threads(threads)  # the workers' setting also applies to later threads

    def write(self, chunk: int | None, progress: OnProgress) -> Document:
        """Also a GeoTIFF of a whole map in NetCDF, if rasterio is installed."""
        entries = super().write(chunk, progress)
        is_map = self.model.makes_maps or self.source.is_dir()
        if is_map and self.target.suffix == ".nc" and self.grid and find_spec("rasterio"):
            raster = of_netcdf(self.target, upwards=LINE not in self.grid.sizes)
            if raster:
                files.write_bytes(self.target.with_suffix(".tif"), raster)
                entries["raster"] = f"{self.target.stem}.tif"
        return entries

    def finish(self) -> Document:
        """Draw a map, if the rows have positions in two dimensions."""
        picture = None
        if self._positions is not None and min(self._raster.counts.shape) >= 2:
            picture = self.target.with_suffix(".png")
            title = map_title(self.source.name, self.model.origin)
            error = "ensemble standard deviation"
            if self.model.coverage is not None:
                error = f"half the width of {100 * self.model.coverage:.3g} % intervals"
            drawn = draw_map(self._raster, self._positions, self.model.units, title, error)
            save(drawn, picture)
        gaps = zip(self.model.features, self._imputed.tolist(), strict=True)
        imputed = {name: count for name, count in gaps if count}
        counts = {"outside": self._outside, "missing": self._missing, "imputed": imputed}
        codes = defaultdict[str, Document](dict)
        for name, own in zip(self.model.features, self._codes, strict=True):
            for code, count in own.counts().items():
                codes[f"{code:g}"][name] = count
        counts |= {"codes": codes} if codes else {}
        return {**counts, "map": picture and picture.name, "features": list(self.model.features)}

    def further_files(self, record: Mapping[str, Any]) -> list[Path]:
        names = [name for name in (record["map"], record.get("raster")) if name]
        return [*super().further_files(record), *map(self.target.with_name, names)]

    def counts(self, record: Mapping[str, Any]) -> dict[str, Any]:
        picture = self.target.with_name(record["map"]) if record["map"] else None
        return {**{name: record[name] for name in ("rows", "outside", "missing")}, "map": picture}

    def remarks(self, record: Mapping[str, Any]) -> list[str]:
        phrases = [f"{record['rows']:,} rows"]
        if missing := record["missing"]:
            gaps = "a feature is" if self.model.gaps_known is None else "all are"
            phrases.append(
                f"{missing:,} without an estimate, because {gaps} missing or one is infinite"
            )
        if imputed := record.get("imputed"):
            counts = ", ".join(f"{name}: {count:,}" for name, count in imputed.items())
            phrases.append(f"missing features filled in by what the training rows have ({counts})")
        for name, new in self._renamed.items():
            phrases.append(f"the file's own '{name}' is '{new}'")
        return [*phrases, *self.model.remarks(record, record["rows"])]

    def warnings(self, record: Mapping[str, Any]) -> Sequence[str]:
        known = dict(zip(self.model.features, self.model.gaps_known or (), strict=False))
        unseen = [f"'{name}'" for name in record.get("imputed", ()) if not known.get(name, True)]
        warnings = []
        if unseen:
            warnings.append(
                f"{self.target}: no training row had a gap in {some(unseen)}, as rows here have"
            )
        taken = dict(zip(self._rows.features, self.model.taken_units, strict=False))
        units = {column: self._rows.table.unit(column) for column in taken}
        warnings += [f"{self.source}: {words}" for words in unlike(units, taken)]
        for code, counts in record.get("codes", {}).items():
            columns = some([f"'{name}'" for name in counts])
            warnings.append(
                f"{self.source}: {code} stands in {columns}, in up to {max(counts.values()):,}"
                f" of {record['rows']:,} rows, {FAR}"
            )
        if outside := record["outside"]:
            void = "" if self.model.intervals is None else ", where intervals promise nothing"
            warnings.append(
                f"{self.target}: {outside:,} of {record['rows']:,} rows have features outside"
                f" the range of the training data{void}"
            )
        return warnings


def _error(estimated: Estimated) -> Any:
    """What a map shows beside estimates: half the width of intervals, or the ensemble's spread."""
    if estimated.ends is None:
        return estimated.spread
    low, high = estimated.ends
    return (high - low) / 2


def _estimate_chunk(model: RowModel, chunk: Chunk, first: int, given_up: Event) -> EstimatedChunk:
    """Estimate the rows of a chunk.

    first     the number of its first row
    given_up  set when no result is wanted any more: Ctrl-C must not wait for the rest of a chunk
    """
    features = chunk.features
    blocks = []
    for start in range(0, len(features), BLOCK):
        if given_up.is_set():
            raise CancelledError
        blocks.append(model.estimate(np.ascontiguousarray(features[start : start + BLOCK])))
    gaps = np.isnan(features)
    unknown = gaps.any(axis=1) if model.gaps_known is None else gaps.all(axis=1)
    empty = np.asarray(unknown | np.isinf(features).any(axis=1))
    estimates = of_blocks(blocks, empty)
    outside = beyond(features, model.ranges).sum(axis=1, dtype=np.int16)
    draws = None if model.draws is None else _draw(model, features, empty, first, given_up)
    return chunk, estimates, outside, draws


def _draw(model: RowModel, features: Matrix, empty: Mask, first: int, given_up: Event) -> Matrix:
    """Draws, (draw, row, output), from the posteriors of rows.

    empty  whether a feature of a row is missing; its draws are NaN
    """
    assert model.posterior is not None, "there are draws from posterior heads only"
    assert model.draws is not None
    complete = np.where(empty[:, None], model.ranges[:, 0].astype(np.float32), features)
    blocks = []
    for start in range(0, len(complete), ROWS_TOGETHER):
        if given_up.is_set():
            raise CancelledError
        posterior = model.posterior(complete[start : start + ROWS_TOGETHER])
        blocks.append(model.draws.draw(posterior, first + start))
    draws = np.concatenate(blocks, axis=1)
    draws[:, empty] = np.nan
    return draws


def map_title(name: str, origin: Mapping[str, str]) -> str:
    """The file name and the origin of its estimates, without the long digest."""
    return " · ".join([name, *(text for key, text in origin.items() if text and key != "digest")])


# The model for predicting rows from a finished run: its networks, columns and ranges.


def row_model(directory: RunDirectory, options: PredictOptions) -> RowModel:
    """The model of a run.

    Raises QexpError if the run is not done, if draws are asked for without a posterior head, or for
    columns that it has not.
    """
    record = directory.record()
    spec = directory.training_spec()
    device = device_of(options.device)
    folds = load_folds(directory, device)
    intervals = new_intervals(directory, options.interval, list(folds))
    probabilities = () if intervals is None else intervals.probabilities
    sizes = () if intervals is None else [len(of_fold) for of_fold in folds.values()]
    ensemble = Ensemble([model for of_fold in folds.values() for model in of_fold], sizes)
    inputs = measured(spec)
    widths = [len(spec["dataset"]["inputs"][name]) for name in inputs]
    units = [spec["dataset"]["units"].get(name, "") for name in inputs]

    def samples(rows: Matrix) -> dict[str, Tensor]:
        parts = torch.from_numpy(rows).to(device).split(widths, dim=1)
        return dict(zip(inputs, parts, strict=True))

    def estimate(rows: Matrix) -> Estimates:
        return with_ends(ensemble.estimated(samples(rows), probabilities), intervals)

    def posterior(rows: Matrix) -> Posterior:
        return ensemble.posterior(samples(rows))

    draws = draws_of(ensemble.network, record, options.draws)
    features = [feature.column for feature in record.features]
    rules = [model.imputation for model in ensemble.models if model.imputation is not None]
    gaps = [rule.statistics[3] > 0 for rule in rules]
    if options.columns is not None:
        require_columns(options.columns, features)
    return RowModel(
        **of_run(directory),
        features=features,
        taken_units=np.repeat(units, widths).tolist(),
        gaps_known=torch.stack(gaps).any(dim=0).tolist() if gaps else None,
        columns=options.columns,
        ranges=np.array([[feature.least, feature.greatest] for feature in record.features]),
        estimate=estimate,
        intervals=intervals,
        posterior=posterior if ensemble.network.posteriors else None,
        draws=draws,
    )


class RowArrays(InputArrays):
    """Columns of data frames by the names that they have in the dataset."""

    named = "inputs"


TAKEN = frozenset(("columns", "interval", "draws"))

PREDICTION = FileKind(
    "rows", targets, lambda run, options: row_model(run, options).predict, TAKEN, extent, RowArrays
)

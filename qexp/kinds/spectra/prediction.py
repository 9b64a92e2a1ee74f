"""Prediction from spectra that need not fit into memory: a folder of files, or a table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base.outputs import Estimated, Words, ends_in_words, estimate_of, joined
from qexp.errors import QexpError, suggestion
from qexp.figures.canvas import save
from qexp.kinds.held_out import new_intervals, with_ends
from qexp.kinds.networks import load_model
from qexp.kinds.objects import device_of
from qexp.kinds.options import PredictOptions
from qexp.kinds.prediction import (
    AddDraws,
    EstimatedPiece,
    FileKind,
    FileModel,
    TableEstimation,
    WithoutEstimate,
    closing_columns,
    draws_of,
    identity,
    named_after,
    new_column,
    new_names,
    of_run,
    output_columns,
    read_ahead,
    require_not_read,
    require_there,
)
from qexp.kinds.spectra.figures import Estimates, down_core
from qexp.kinds.spectra.files import (
    INFO,
    SPECTRA,
    TEST,
    TRAIN,
    VALIDATION_INFO,
    CountTable,
    Findings,
    add_troubles,
    compare,
    counts_of,
    depth_like,
    depths_of,
    files_in,
    read_info,
)
from qexp.kinds.spectra.spec import SPECTRUM
from qexp.networks.estimator import Ensemble, Posterior
from qexp.rows.formats import format_of, in_equal_chunks
from qexp.rows.table import MISSING, number
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = (TRAIN, TEST)
BESIDE = (INFO, VALIDATION_INFO, "README.md")
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


TYPES = ("int64", "float64", "string")
"""Types of columns that are read as texts: each holds all values of those before it."""


def type_of(text: str) -> int:
    """The index of the type of a column with this text; -1 for a missing value, which any type has.

    A number that is written otherwise than a computer would write it, such as 007, makes its column
    one of texts.
    """
    if text in MISSING:
        return -1
    if number(text) is None:
        return TYPES.index("string")
    if not text.removeprefix("-").isdecimal():
        return TYPES.index("float64")
    is_whole = str(int(text)) == text and abs(int(text)) < 2**63
    return TYPES.index("int64" if is_whole else "string")


def column_of(texts: Sequence[str], kind: pa.DataType) -> pa.Array:
    """Texts as a column of their type; missing numbers and empty texts are null."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.array([text or None for text in texts], kind)
    convert: Callable[[str], float | None] = int if pa.types.is_integer(kind) else number
    values = [None if text in MISSING else convert(text) for text in texts]
    return pa.array(values, kind, from_pandas=True)


class FolderOfSpectra:
    """A folder with a file per spectrum: in it, `spe/`, or `train/spe/` and `test/spe/`."""

    def __init__(self, path: Path, layout: SpectrumLayout) -> None:
        import pyarrow as pa

        self.path, self.layout = path, layout
        parts = [part for part in PARTS if (path / part / SPECTRA).is_dir()]
        self.with_parts = bool(parts)
        """Whether the spectra are divided into `train/` and `test/`."""
        self.folders, self.warnings = list[Path](), list[str]()
        """The folders of files, and what a user may have meant otherwise: names of depths."""
        self._spectra: list[tuple[str, Path, Mapping[str, str]]] = []
        """Part, file and columns of each."""
        self.identity: Any = []
        """Identifies the files and their state; changes whenever they change."""
        findings, count = Findings(), 0
        for part in parts or [""]:
            lists, columns_of = self._listed(path / part, findings)
            subfolder = path / part / SPECTRA
            folder = subfolder if subfolder.is_dir() else path / part
            names = [name for name in files_in(folder) if name not in BESIDE]
            if lists:
                compare(folder, names, lists[0], columns_of, findings)
            count += len(names)
            for name in columns_of or names:
                self._spectra.append((part, folder / name, columns_of.get(name, {})))
            self.folders.append(folder)
            self.identity.append([part, *_listing(folder), *map(identity, lists)])
        if not count:
            raise QexpError(f"{path}: no spectra; looked in {', '.join(map(str, self.folders))}")
        findings.refuse()
        types = dict[str, int]()
        for *_, columns in self._spectra:
            for column, text in columns.items():
                types[column] = max(types.get(column, -1), type_of(text))
        fields = [(name, getattr(pa, TYPES[index])()) for name, index in types.items()]
        self.kept = pa.schema(fields)
        """All columns that describe the spectra but their names, with units."""

    def _listed(
        self, folder: Path, findings: Findings
    ) -> tuple[list[Path], dict[str, dict[str, str]]]:
        """The lists in a folder, and of each spectrum that they name its columns.

        They are info.csv if it is there, and val.csv if it names other spectra.
        """
        info = folder / INFO
        validation = folder / VALIDATION_INFO
        if not info.is_file():
            return [], {}
        lists = [info]
        columns_of = dict(read_info(info, findings))
        if validation.is_file():
            names = dict(read_info(validation, Findings())).keys()
            if not names <= columns_of.keys():
                lists.append(validation)
                for name, columns in read_info(validation, findings):
                    columns_of.setdefault(name, columns)
        if columns_of:
            first = next(iter(columns_of.values()))
            self.warnings += without_depths(self.layout, first, info)
            if self.layout.core not in first:
                similar = suggestion(self.layout.core, first)
                findings.add(
                    f"{info} has no column '{self.layout.core}'; {similar}", where=("core",)
                )
        return lists, columns_of

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        """All spectra in order, `size` at a time. Raises QexpError for invalid spectra."""
        import pyarrow as pa

        layout = self.layout
        where = f"{self.path}: column '{self.layout.depth}' of {INFO}"
        for start in range(0, len(self._spectra), size):
            findings = Findings()
            parts, paths, columns = zip(*self._spectra[start : start + size], strict=True)
            names = [path.name for path in paths]
            texts = {name: [row.get(name, "") for row in columns] for name in self.kept.names}
            kept = [column_of(texts[column.name], column.type) for column in self.kept]
            unknown = [""] * len(names)
            piece = SpectrumPiece(
                names,
                texts.get(layout.core, unknown),
                depths_of(texts.get(layout.depth or "", unknown), names, where, findings),
                list(parts),
                pa.table(kept, self.kept),
                counts_of(paths, layout.channels, findings),
                (start + len(names)) / len(self._spectra),
            )
            findings.refuse()
            yield piece


class TableOfSpectra:
    """A table with a spectrum per row; see `CountTable`."""

    def __init__(self, path: Path, layout: SpectrumLayout) -> None:
        import pyarrow as pa

        self.path, self.layout = path, layout
        self.identity: Any = identity(path)
        self.folders: list[Path] = []
        self.with_parts = False
        findings = Findings()
        self._table = CountTable(path, layout.channels, layout.columns)
        self._table.require_channels(findings)
        findings.refuse()
        self.warnings = without_depths(layout, self._table.others, path)
        self._names = self._table.name_column
        fields = []
        for field in self._table.types(name for name in self._table.others if name != self._names):
            # Cores are read as they are written: "7.50" stays that.
            fields.append(field.with_type(pa.string()) if field.name == layout.core else field)
        self.kept = pa.schema(fields)

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        import pyarrow as pa

        name = self._names
        core = self.layout.core
        depth = self.layout.depth
        where = f"{self.path}: column '{depth}'"
        there = {*self._table.others}
        wanted = [column for column in (name, core, depth) if column in there]
        others = pa.schema([*([(name, pa.string())] if name else []), *self.kept])
        first = 0
        for chunk in in_equal_chunks(self._table.chunks(others, size), size):
            findings = Findings()
            count = len(chunk.features)
            add_troubles(chunk.features, self.path, first, findings)
            texts = dict[str | None, list[str]]()
            unknown = [""] * count
            for column in wanted:
                cells = chunk.kept[column].to_pylist()
                texts[column] = ["" if value is None else str(value).strip() for value in cells]
            numbers = [str(first + row + 1) for row in range(count)]
            names = texts.get(name, numbers)
            depths = depths_of(texts.get(depth, unknown), names, where, findings)
            findings.refuse()
            kept = chunk.kept.select(self.kept.names)
            cores = texts.get(core, unknown)
            yield SpectrumPiece(names, cores, depths, unknown, kept, chunk.features, chunk.done)
            first += count


def without_depths(layout: SpectrumLayout, columns: Collection[str], path: Path) -> list[str]:
    """A warning if a list has no column of the run's name for depths, but others like one."""
    similar = depth_like(columns)
    if layout.depth is None or layout.depth in columns or not similar:
        return []
    lack = f"{path} has no column '{layout.depth}', which holds the depth in the run's dataset"
    return [f"{lack}: depths are left empty; rename {similar} if it is that depth"]


def _listing(folder: Path) -> list[Any]:
    """The state of a folder: the number of files, and a sum of hashes of names, sizes and times."""
    count = total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and not entry.name.startswith("."):
                state = entry.stat()
                text = f"{entry.name}/{state.st_size}/{state.st_mtime_ns}"
                # A sum does not depend on the order, so that no list of all files is needed.
                total += int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
                count += 1
    return [count, f"{total % 2**128:032x}"]


# What is counted and drawn of the spectra in a file.


DRAWN_POINTS = 10_000
"""Largest number of points in a figure."""


class Thinned:
    """At most DRAWN_POINTS spectra, evenly spaced: all at first, then every second, fourth, ..."""

    def __init__(self) -> None:
        self._every, self._seen = 1, 0
        self.cores: list[str] = []
        self.numbers: list[tuple[float, ...]] = []
        """Depth, then the estimates."""

    def add(
        self, cores: Sequence[str], depths: NDArray[np.float64], estimates: NDArray[np.floating]
    ) -> None:
        for index in range(-self._seen % self._every, len(cores), self._every):
            self.cores.append(cores[index])
            self.numbers.append((float(depths[index]), *map(float, estimates[index])))
        self._seen += len(cores)
        while len(self.cores) > DRAWN_POINTS:
            self.cores, self.numbers, self._every = (
                self.cores[::2],
                self.numbers[::2],
                2 * self._every,
            )


BATCH = 64
"""Spectra per batch; fixed, as rounding depends on it, but must not depend on --chunk."""
CHUNK = 512
"""Number of spectra that are read and written at a time."""
NAME, PART, CORE, DEPTH = "name", "part", "core", "depth"
"""Columns of the new file."""


@dataclass(frozen=True, kw_only=True)
class SpectrumModel(FileModel):
    """The parts of a run that are needed to predict from spectra.

    A new file has name, core and depth of each spectrum (and the part, for spectra in `train/` and
    `test/`), all other columns that describe the spectra, then for every output `<output>_estimate`
    and the ends of its interval, `<output>_low` and `<output>_high`, if there are intervals,
    `estimates_outside` if it is known what was trained on, and `caution` if the run has one. A
    column of the source whose name the new file uses otherwise, such as `depth` where the depth is
    another column, is called `<name>_given` in it; in NetCDF a name has `_` for `/`. Beside it lie
    the estimates along each core as `<stem>.png`, and draws from posteriors, if asked for, as
    `<stem>_posterior.nc`.
    """

    layout: SpectrumLayout
    estimate: Callable[[NDArray[np.float32]], dict[str, Estimated]]
    """(spectrum, channel) → output → estimates, with the ends of intervals if there are any."""
    depth_unit: str = ""
    posterior: Callable[[NDArray[np.float32]], Posterior] | None = None
    """From (spectrum, channel) to their posterior, if the network has a posterior head."""

    @property
    def attributes_of_draws(self) -> dict[str, str]:
        return dict(self.origin)

    def open(self, source: Path, target: Path) -> SpectrumEstimation:
        return SpectrumEstimation(self, source, target)


def targets(source: Path, target: Path, inputs: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """The source (a folder or table of spectra) and the file of rows to write.

    target  the file, or an existing folder for a file that is named after the source (CSV for a
            folder of spectra)
    Raises QexpError for an invalid target, NotFoundError if the source does not exist.
    """
    require_there(source)
    target = named_after(source, target, source.suffix if source.is_file() else ".csv")
    format_of(target)
    if source.is_file():
        format_of(source)
    require_not_read(target, [source])
    return [(source, target)]


class SpectrumEstimation(TableEstimation[SpectrumModel]):
    """Estimates of all spectra of a folder or table.

    source  a folder with `spe/` and optionally `info.csv`; with two such folders `train/` and
            `test/`; or with the files of spectra themselves; or a table with one spectrum per row
    Raises QexpError for spectra without the number of channels that the run was trained on.
    """

    counted = "spectra"

    def __init__(self, model: SpectrumModel, source: Path, target: Path) -> None:
        super().__init__(model, source, target)
        require_there(source)
        open_spectra: type[FolderOfSpectra | TableOfSpectra] = (
            FolderOfSpectra if source.is_dir() else TableOfSpectra
        )
        self._spectra = open_spectra(source, model.layout)
        self.identity = self._spectra.identity
        if target.absolute().parent.resolve() in {
            folder.resolve() for folder in self._spectra.folders
        }:
            raise QexpError(
                f"{target}: the estimates would lie among the spectra; give another `target`"
            )
        self._missing, self._profile = WithoutEstimate(), Thinned()
        self._names: dict[str, str] = {}
        """Column of the source → its name in the new file."""

    def schema(self, netcdf: bool) -> pa.Schema:
        import pyarrow as pa

        model = self.model
        spectra = self._spectra
        intervals = self.model.intervals
        texts = [NAME, *([PART] if spectra.with_parts else []), CORE]
        before = [
            *(new_column(name, pa.string()) for name in texts),
            new_column(DEPTH, pa.float64(), model.depth_unit),
        ]
        after: list[pa.Field] = []
        for name, output in model.outputs.items():
            ends = ("", "") if intervals is None else ends_in_words(intervals.words)
            after += output_columns(output, estimate_of(name), Words("", ends=ends))
        after += closing_columns(model, netcdf)
        there = {
            name
            for name, column in ((CORE, model.layout.core), (DEPTH, model.layout.depth))
            if name == column
        }
        others = [name for name in spectra.kept.names if name not in there]
        self._names = new_names(others, [*before, *after], netcdf)
        kept = [spectra.kept.field(name).with_name(new) for name, new in self._names.items()]
        return pa.schema([*before, *kept, *after])

    def pieces(self, chunk: int | None, add_draws: AddDraws) -> Iterator[EstimatedPiece]:
        size = -(-(chunk or CHUNK) // BATCH) * BATCH
        for piece in read_ahead(self._spectra.pieces(size), self.source):
            estimates = self._estimated(piece, add_draws)
            by_column: dict[str, Any] = {}
            for name, estimated in estimates.items():
                by_column |= self.model.outputs[name].cells(estimate_of(name), estimated)
            by_output = {name: estimated.middle for name, estimated in estimates.items()}
            self._missing.add(piece.names, np.isnan(np.stack(list(by_output.values()))).any(axis=0))
            numbers = np.stack(list(by_column.values()), axis=1)
            self._profile.add(piece.cores, piece.depths, numbers)
            columns = {
                NAME: piece.names,
                PART: piece.parts,
                CORE: [core or None for core in piece.cores],
                DEPTH: piece.depths,
                **{new: piece.kept[name] for name, new in self._names.items()},
                **by_column,
            }
            yield EstimatedPiece(len(piece.names), columns, by_output, piece.done)

    def _estimated(self, piece: SpectrumPiece, add_draws: AddDraws) -> dict[str, Estimated]:
        """As `SpectrumModel.estimate`; NaN for spectra whose counts are all equal, which hold no
        information.
        """
        model, blocks = self.model, []
        for start in range(0, len(piece.names), BATCH):
            batch = slice(start, start + BATCH)
            counts = np.ascontiguousarray(piece.counts[batch])
            blocks.append(model.estimate(counts))
            if model.draws is not None and model.posterior is not None:
                draws = model.draws.draw(model.posterior(counts), self.count + start)
                draws[:, _empty(counts)] = np.nan
                add_draws(piece.names[batch], draws)
        empty = _empty(piece.counts)
        estimates = {}
        for name in blocks[0]:
            estimated = joined([block[name] for block in blocks], np.concatenate)
            estimates[name] = estimated.each(
                lambda values: np.where(empty, np.float32(np.nan), values)
            )
        return estimates

    def finish(self) -> dict[str, Any]:
        """Draw a figure for each output, with the estimates along each core."""
        model = self.model
        profile = self._profile
        depths, *columns = np.array(profile.numbers).T
        each = len(columns) // len(model.outputs)
        pictures = []
        for index, (name, unit) in enumerate(model.units.items()):
            values, *ends = columns[index * each : (index + 1) * each]
            path = self.target.with_suffix(".png")
            if len(model.outputs) > 1:
                path = path.with_stem(f"{path.stem}_{name}")
            band = (ends[0], ends[1]) if ends else None
            profiles = Estimates(
                name, unit, profile.cores, depths, values, None, model.depth_unit, band
            )
            words = "" if model.intervals is None else model.intervals.words
            save(down_core(profiles, model.origin.get("caution", ""), words), path)
            pictures.append(path.name)
        return {**self._missing.document(), "figures": pictures}

    def further_files(self, record: Mapping[str, Any]) -> list[Path]:
        return [*super().further_files(record), *map(self.target.with_name, record["figures"])]

    def counts(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {name: record[name] for name in ("spectra", "missing", "missing_count")}

    def remarks(self, record: Mapping[str, Any]) -> list[str]:
        count = record["spectra"]
        phrases = [f"{count:,} spectra" if count != 1 else "1 spectrum"]
        phrases += WithoutEstimate.remarks(record, "their counts are all the same")
        return [*phrases, *self.model.remarks(record, count)]

    def warnings(self, record: Mapping[str, Any]) -> Sequence[str]:
        return self._spectra.warnings


def _empty(counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the counts of a spectrum are all equal, which hold no information."""
    return np.asarray(np.ptp(counts, axis=1) == 0)


# The model for predicting from spectra with a finished run: its network and the layout of files.


def spectrum_model(directory: RunDirectory, options: PredictOptions) -> SpectrumModel:
    """The model of a run.

    Raises QexpError if the run is not done or estimates only spectra, or if draws are asked for
    without a posterior head.
    """
    record = directory.record()
    spec = directory.training_spec()
    if not (outputs := [name for name in spec["outputs"] if name != SPECTRUM]):
        raise QexpError(
            f"{directory.name} reconstructs masked spectra and estimates no other quantity; train a"
            f" run with a target and pretrain={directory.name} in its experience, and predict with"
            " that"
        )
    if others := [name for name in spec["inputs"] if name != SPECTRUM]:
        raise QexpError(
            f"{directory.name} needs {', '.join(others)} besides spectra, which files of spectra do"
            " not contain"
        )
    device = device_of(options.device)
    model = load_model(directory, device).eval()
    ensemble = Ensemble([model], [1])
    intervals = new_intervals(directory, options.interval, [""])
    probabilities = () if intervals is None else intervals.probabilities

    def estimate(counts: NDArray[np.float32]) -> dict[str, Estimated]:
        samples = {SPECTRUM: torch.from_numpy(counts).to(device)}
        made = with_ends(ensemble.estimated(samples, probabilities), intervals)
        return {name: replace(made[name], spread=None) for name in outputs}

    def posterior(counts: NDArray[np.float32]) -> Posterior:
        return model.posterior({SPECTRUM: torch.from_numpy(counts).to(device)})

    dataset = spec["dataset"]
    shared = of_run(directory)
    shared["outputs"].pop(SPECTRUM, None)
    return SpectrumModel(
        **shared,
        layout=SpectrumLayout(
            dataset["channels"], dataset["columns"], dataset["core"], dataset["depth"]
        ),
        estimate=estimate,
        depth_unit=dataset["units"].get(dataset["depth"] or "", dataset["units"].get(DEPTH, "")),
        intervals=intervals,
        posterior=posterior if model.network.heads else None,
        draws=draws_of(model.network, record, options.draws),
    )


TAKEN = frozenset(("interval", "draws"))

PREDICTION = FileKind(
    "spectra", targets, lambda run, options: spectrum_model(run, options).predict, TAKEN
)

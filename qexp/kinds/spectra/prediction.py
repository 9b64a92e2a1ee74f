"""Prediction from spectra that need not fit into memory: a folder of files, or a table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.base.arrays import Array, Mask
from qexp.base.outputs import Estimated, Words, estimate_of, numbers_in, with_intervals
from qexp.errors import QexpError
from qexp.figures.writing import save
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
    of_blocks,
    of_run,
    output_columns,
    read_ahead,
    require_not_read,
    require_there,
)
from qexp.kinds.spectra.figures import Estimates, down_core
from qexp.kinds.spectra.files import Findings, columns_like
from qexp.kinds.spectra.sources import (
    PART,
    SpectrumLayout,
    SpectrumPiece,
    SpectrumSource,
    TableOfSpectra,
    folder_to_predict,
    layout_of,
)
from qexp.kinds.spectra.spec import SPECTRUM
from qexp.networks.estimator import Ensemble, Posterior
from qexp.rows.formats import Matrix, format_of
from qexp.spec.reading import Document
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa


def left_empty(spectra: SpectrumSource) -> Iterator[str]:
    """Warnings of a core or depth for which there are only columns of names like the run's."""
    columns = spectra.schema.names
    for what, own in (("core", spectra.layout.core), ("depth", spectra.layout.depth)):
        similar = columns_like(what, columns)
        if own is not None and own not in columns and similar:
            yield (
                f"{spectra.place} has no column '{own}', which holds the {what} in the run's"
                f" dataset: {what}s are left empty; rename {similar} if it is that {what}"
            )


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
        self._every = 1
        self._seen = 0
        self.cores: list[str] = []
        self.numbers: list[tuple[float, ...]] = []
        """Depth, then the estimates."""

    def add(self, cores: Sequence[str], depths: Array, estimates: Matrix) -> None:
        for index in range(-self._seen % self._every, len(cores), self._every):
            self.cores.append(cores[index])
            self.numbers.append((float(depths[index]), *map(float, estimates[index])))
        self._seen += len(cores)
        while len(self.cores) > DRAWN_POINTS:
            self.cores = self.cores[::2]
            self.numbers = self.numbers[::2]
            self._every = 2 * self._every


BATCH = 64
"""Spectra per batch; fixed, as rounding depends on it, but must not depend on --chunk."""
CHUNK = 512
"""Number of spectra that are read and written at a time."""
NAME, CORE, DEPTH = "name", "core", "depth"
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
    estimate: Callable[[Matrix], dict[str, Estimated]]
    """(spectrum, channel) → output → estimates, with the ends of intervals if there are any."""
    depth_unit: str = ""
    posterior: Callable[[Matrix], Posterior] | None = None
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
        open_spectra = folder_to_predict if source.is_dir() else TableOfSpectra
        self._spectra: SpectrumSource = open_spectra(source, model.layout)
        self._further = self._spectra.schema
        parts = self._spectra.parts
        listings = [
            [part.name, *_listing(part.folder), *map(identity, part.lists)] for part in parts
        ]
        self.identity = listings or identity(source)
        if target.absolute().parent.resolve() in {part.folder.resolve() for part in parts}:
            raise QexpError(
                f"{target}: the estimates would lie among the spectra; give another `target`"
            )
        self._missing, self._profile = WithoutEstimate(), Thinned()
        self._names: dict[str, str] = {}
        """Column of the source → its name in the new file."""

    def schema(self, netcdf: bool) -> pa.Schema:
        import pyarrow as pa

        model = self.model
        intervals = self.model.intervals
        texts = [NAME, *([PART] if any(part.name for part in self._spectra.parts) else []), CORE]
        before = [
            *(new_column(name, pa.string()) for name in texts),
            new_column(DEPTH, pa.float64(), model.depth_unit),
        ]
        after = []
        for name, output in model.outputs.items():
            words = Words("")
            if intervals is not None:
                words = with_intervals(words, intervals.words)
            after += output_columns(output, estimate_of(name), words)
        after += closing_columns(model, netcdf)
        own = {CORE: model.layout.core, DEPTH: model.layout.depth}
        others = [name for name in self._further.names if own.get(name) != name]
        self._names = new_names(others, [*before, *after], netcdf)
        kept = [self._further.field(name).with_name(new) for name, new in self._names.items()]
        return pa.schema([*before, *kept, *after])

    def pieces(self, chunk: int | None, add_draws: AddDraws) -> Iterator[EstimatedPiece]:
        size = -(-(chunk or CHUNK) // BATCH) * BATCH
        for piece, cores, depths in read_ahead(self._described(size), self.source):
            estimates = self._estimated(piece, add_draws)
            by_column: dict[str, Any] = {}
            for name, estimated in estimates.items():
                by_column |= self.model.outputs[name].cells(estimate_of(name), estimated)
            by_output = {name: estimated.middle for name, estimated in estimates.items()}
            together = np.column_stack(list(by_output.values()))
            self._missing.add(piece.names, np.isnan(together).any(axis=1))
            if numbers_in(self.model.outputs):
                self._profile.add(cores, depths, np.stack(list(by_column.values()), axis=1))
            columns = {
                NAME: piece.names,
                PART: piece.parts,
                CORE: [core or None for core in cores],
                DEPTH: depths,
                **{new: piece.kept[name] for name, new in self._names.items()},
                **by_column,
            }
            yield EstimatedPiece(len(piece.names), columns, by_output, piece.done)

    def _described(self, size: int) -> Iterator[tuple[SpectrumPiece, list[str], Array]]:
        """Pieces with their cores and depths. Raises DatasetError for invalid spectra."""
        spectra, layout = self._spectra, self.model.layout
        findings = Findings()
        for piece in spectra.pieces(size, findings):
            cores = piece.texts(layout.core)
            depths = spectra.depths(piece.texts(layout.depth), piece.names, findings)
            findings.refuse()
            yield piece, cores, depths

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
        return of_blocks(blocks, _empty(piece.counts))

    def finish(self) -> Document:
        """Draw a figure for each output that is a number, with the estimates along each core."""
        model = self.model
        profile = self._profile
        depths, *columns = np.array(profile.numbers).T if profile.numbers else [np.zeros(0)]
        each = len(columns) // len(model.outputs)
        pictures = []
        for index, (name, unit) in enumerate(model.units.items() if columns else ()):
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
        read = self._spectra.reader
        return {**self._missing.document(), "figures": pictures, "files": read.remarks()}

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
        return [*left_empty(self._spectra), *record.get("files", [])]


def _empty(counts: Matrix) -> Mask:
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

    def estimate(counts: Matrix) -> dict[str, Estimated]:
        samples = {SPECTRUM: torch.from_numpy(counts).to(device)}
        made = with_ends(ensemble.estimated(samples, probabilities), intervals)
        return {name: replace(made[name], spread=None) for name in outputs}

    def posterior(counts: Matrix) -> Posterior:
        return model.posterior({SPECTRUM: torch.from_numpy(counts).to(device)})

    dataset = spec["dataset"]
    shared = of_run(directory)
    shared["outputs"].pop(SPECTRUM, None)
    return SpectrumModel(
        **shared,
        layout=layout_of(dataset),
        estimate=estimate,
        depth_unit=dataset["units"].get(dataset["depth"] or "", dataset["units"].get(DEPTH, "")),
        intervals=intervals,
        posterior=posterior if model.network.posteriors else None,
        draws=draws_of(model.network, record, options.draws),
    )


TAKEN = frozenset(("interval", "draws"))

PREDICTION = FileKind(
    "spectra", targets, lambda run, options: spectrum_model(run, options).predict, TAKEN
)

"""Estimates for the images of files that need not fit into memory, a row for each sample."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.analysis.posteriors.of_images import BY_LIKELIHOOD
from qexp.analysis.prediction import reuse
from qexp.analysis.prediction.carried import new_names
from qexp.analysis.prediction.chunk import require_chunk
from qexp.analysis.prediction.columns import CAUTION, ESTIMATES_OUTSIDE, OUTSIDE, WORDS
from qexp.analysis.prediction.draws import Draws, Write, beside, file_of_draws
from qexp.analysis.prediction.images.opening import SUFFIXES, variables_in
from qexp.analysis.prediction.images.posteriors import DOUBTED, Posteriors, fields_of, further_fields
from qexp.analysis.prediction.images.ranges import InputRanges, Statistic
from qexp.analysis.prediction.images.source import NAME, ImageLayout, ImagePiece, ImageSource
from qexp.analysis.prediction.images.tally import FEATURES, HARDLY, MISFIT, OF_FEATURES, OF_RESIDUALS, Tally
from qexp.analysis.prediction.progress import OnProgress, no_progress
from qexp.analysis.prediction.read_ahead import read_ahead
from qexp.analysis.prediction.trained import MOST, TrainedRange
from qexp.analysis.prediction.trained import remarks as remarks_beyond
from qexp.errors import NotFoundError, QexpError
from qexp.estimates import estimate_of
from qexp.limits import Limits, remarks
from qexp.rows.formats import FORMATS, format_of, new_file_of_rows
from qexp.runs.signals import terminable

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float32]

PIXELS = 2**19
"""Pixels of a batch; fixed, because rounding depends on the batch and must not depend on --chunk."""
LARGEST_BATCH = 128
"""Largest number of samples of a batch."""
BATCHES = 4
"""Batches that are read and written at a time."""
PRESUMED = "posteriors presume that a source of the simulator and the declared noise made the images: --misfit tests it"
MISSING = "missing_pixels"
"""Column with the number of pixels that are not seen."""


class Features(Protocol):
    """How usual the features of images are, see `analysis.misfit.features`."""

    def p_values(self, inputs: Mapping[str, Array]) -> NDArray[np.float64]: ...


Misfit = Callable[[Mapping[str, Array], Mapping[str, Any]], NDArray[np.float64]]
"""From input → (sample, ...) and output → estimates to p-values, (sample,); see `analysis.misfit.images`."""


@dataclass(frozen=True)
class ImageModel:
    """The parts of a run that are needed to predict from images."""

    layout: ImageLayout
    outputs: Mapping[str, str]
    """Name → unit."""
    estimate: Callable[[Mapping[str, Array]], Array]
    """From input → (sample, ...) to (sample, output)."""
    ranges: Callable[[], InputRanges]
    """Returns the range of the inputs in the training data, which takes a moment."""
    posteriors: Posteriors | None = None
    """Of the outputs of posterior heads, or by the known likelihood; None if there are none."""
    draws: Draws | None = None
    """From the posteriors, for a file of their own, if they were asked for."""
    features: Callable[[], Features] | None = None
    """Returns how usual the network finds the features of images, which takes a moment."""
    misfit: Misfit | None = None
    """How well images fit the simulator, if it was asked for."""
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """Output → limits of its estimates, if it has some."""
    trained: Mapping[str, TrainedRange] = field(default_factory=dict)
    """Output → where most of its training data lie, if it varied."""
    periods: Mapping[str, float] = field(default_factory=dict)
    """Output → the period after which its values repeat, in its unit, where its transform has one."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """The origin that is written to every output: run, digest and caution."""

    @property
    def refined(self) -> Posteriors | None:
        """Posteriors by the known likelihood, if they were asked for."""
        return self.posteriors if self.posteriors is not None and self.posteriors.refined else None

    @property
    def attributes(self) -> dict[str, str]:
        """What every file says of its origin."""
        return {**self.origin, **({} if self.refined is None else {"posteriors": BY_LIKELIHOOD})}

    @property
    def batch(self) -> int:
        """Samples that are estimated at a time."""
        pixels = sum(int(np.prod(shape)) for shape in self.layout.inputs.values())
        return max(1, min(LARGEST_BATCH, PIXELS // pixels))


@dataclass(frozen=True)
class ImagePrediction:
    """The result of predicting a file."""

    source: Path
    target: Path
    images: int
    """The number of samples."""
    outside: int
    """Samples with an input outside the range of the training data."""
    outside_in: Mapping[str, int]
    """What is outside, such as `greatest value of displacement` → number of samples."""
    estimates_outside: int
    """Samples with an estimate outside of 99 % of the training data of its output."""
    missing_pixels: int
    missing: Sequence[str]
    """The first few names of samples without an estimate."""
    missing_count: int
    made: bool
    """False if the file existed already."""
    limited: Sequence[str] = ()
    """A phrase on estimates outside of the training data, and for each output with estimates at its limits."""
    unlike: int | None = None
    """Samples that the simulator could hardly have made; None if that was not asked for."""
    drawn: bool = False
    """Whether there are draws from the posterior of each sample, in a file of their own."""
    warnings: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """The files of results."""
        return [self.target, *([file_of_draws(self.target)] if self.drawn else [])]

    @property
    def remarks(self) -> list[str]:
        """The number of samples, and of those with problems, in words."""
        said = [f"{self.images:,} samples" if self.images != 1 else "1 sample"]
        if self.outside:
            what = "; ".join(f"{name}: {count:,}" for name, count in self.outside_in.items() if count)
            said.append(f"{self.outside:,} with inputs outside the range of the training data ({what})")
        if self.missing_pixels:
            said.append(f"{self.missing_pixels:,} pixels masked")
        if self.missing_count:
            named = ", ".join(self.missing) + (", …" if self.missing_count > len(self.missing) else "")
            said.append(f"{self.missing_count:,} without an estimate, because all pixels are missing ({named})")
        if self.unlike is not None:
            said.append(f"{self.unlike:,} that the simulator could hardly have made ({HARDLY})")
        return [*said, *self.limited]


def targets(source: Path, target: Path, inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """Pairs of a file or folder of images to read, and the file of rows to write.

    source  a file; a folder with a npy or GeoTIFF file per input; or a folder of such files and folders
    target  a file, or an existing folder for a NetCDF file that is named after the source; a folder for several
    inputs  the run's inputs
    Raises QexpError if there is nothing to read, or for an invalid target; NotFoundError.
    """
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    if not source.is_dir() or variables_in(source, inputs):
        if not source.is_dir():
            _require_images(source)
        if target.is_dir():
            target = target / f"{files.stem_of(source)}.nc"
        pairs = [(source, target)]
    else:
        pairs = _targets_in(source, target, inputs)
    for path, made in pairs:
        format_of(made)
        if made.resolve() == path.resolve() or (path.is_dir() and made.absolute().parent.resolve() == path.resolve()):
            raise QexpError(f"{made}: the estimates would lie among the images, or replace them; give another --output")
    return pairs


def _require_images(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise QexpError(f"{path}: a file of images must end in {', '.join(SUFFIXES)}")


def _targets_in(source: Path, target: Path, inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    found = sorted(
        path
        for path in source.iterdir()
        if not path.name.startswith(".")
        and (variables_in(path, inputs) if path.is_dir() else path.suffix.lower() in SUFFIXES)
    )
    if not found:
        raise QexpError(
            f"{source}: no file in it ends in {', '.join(SUFFIXES)}, and no folder in it has a file {inputs[0]}.npy"
        )
    if target.is_file() or target.suffix.lower() in FORMATS:
        raise QexpError(
            f"{target}: {source} holds {len(found)} files of images, each with its own file of estimates; give a folder"
        )
    if target.resolve() == source.resolve():
        raise QexpError(f"{target}: the estimates would lie among the images; give another --output")
    taken: dict[str, Path] = {}
    for path in found:
        stem = files.stem_of(path)
        if (first := taken.setdefault(stem, path)) is not path:
            raise QexpError(f"{first} and {path} would both be written to {target / stem}.nc; rename one of them")
    return [(path, target / f"{stem}.nc") for stem, path in taken.items()]


def predict_images(
    source: Path,
    target: Path,
    model: ImageModel,
    *,
    chunk: int | None = None,
    overwrite: bool = False,
    progress: OnProgress = no_progress,
) -> ImagePrediction:
    """Predict from all samples of a file, in memory that does not grow with their number.

    The new file has the name of each sample, the other columns of a NetCDF file that describe samples, then
    `<output>_estimate` for every output, and for those with a posterior the ends of an interval, `<output>_low` and
    `<output>_high`, and their rank correlations; `posterior_doubted` if posteriors are those of the known likelihood;
    `missing_pixels` if the network takes masks, `outside` (the number of the inputs' statistics that are outside the
    range of the training data, see `images.ranges`), `estimates_outside` (the number of estimates outside of 99 % of
    their training data), and `caution` if the run has one. A record is written beside it as `<file>.json`, and draws
    from posteriors, if any were asked for, as `<file without suffix>_posterior.nc`. A file that the same run made from
    the same images is left as it is.

    source  NetCDF or npz with variables named as the inputs, npy or GeoTIFF for a single input, or a folder with a npy
            or GeoTIFF file per input. Samples come first; rows run northwards
    chunk   samples in memory at a time; does not affect the file
    Raises QexpError for images that the network cannot take, and if the file exists and was made otherwise, unless
    `overwrite`.
    """
    require_chunk(chunk)
    size = -(-(chunk or BATCHES * model.batch) // model.batch) * model.batch
    found = ImageSource(source, model.layout)
    interval = None if model.posteriors is None else model.posteriors.coverage
    read = [reuse.identity(path) for path in found.files]
    refined = model.refined is not None
    key = reuse.key_of(
        model.origin, read, interval=interval, misfit=model.misfit is not None, draws=model.draws, refined=refined
    )
    if not overwrite and (known := reuse.reusable(source, target, key)) is not None:
        return _described(source, target, model, known, False)
    files.make_folder(target.absolute().parent)
    reuse.clear(target)
    tally = Tally(model.limits, model.trained, model.misfit is not None)
    schema, carried = _schema(model, found, target.suffix == ".nc")
    # A scheduler sends SIGUSR1 shortly before the time limit.
    with (
        terminable(signal.SIGUSR1),
        new_file_of_rows(target, schema, None, model.attributes) as sink,
        beside(model.draws, target, model.attributes) as add_draws,
    ):
        for piece in read_ahead(found.pieces(size), source):
            estimates, outside = _estimated(piece, model, tally.images, add_draws), model.ranges().outside(piece.inputs)
            beyond = tally.add(piece, estimates, outside)
            sink.write(_table(piece, estimates, outside, beyond, schema, carried))
            progress(tally.images, piece.done)
        if tally.missing_count == tally.images:
            raise QexpError(f"{source}: all pixels of all {tally.images:,} samples are missing")
    about = {"units": dict(model.outputs), **tally.document()}
    reuse.write_record(target, key, about)
    return _described(source, target, model, about, True)


def _described(source: Path, target: Path, model: ImageModel, about: Mapping[str, Any], made: bool) -> ImagePrediction:
    """The result, from the record of the file."""
    limited = remarks(model.limits, model.outputs, about.get("at_limits", {}), about["images"])
    outside = about["outside"], about["outside_in"], about.get(ESTIMATES_OUTSIDE, 0)
    missing, drawn = (about["missing_pixels"], about["missing"], about["missing_count"]), model.draws is not None
    said = [*remarks_beyond(about, MOST), *limited, *([] if model.refined is None or model.misfit else [PRESUMED])]
    doubted = []
    if about.get(DOUBTED):
        doubted = [
            f"{target}: {about[DOUBTED]:,} of {about['images']:,} posteriors are not to be trusted: {DOUBTED} = 1"
        ]
    return ImagePrediction(
        source, target, about["images"], *outside, *missing, made, said, about.get("unlike"), drawn, doubted
    )  # fmt: skip


def _estimated(piece: ImagePiece, model: ImageModel, first: int, add_draws: Write) -> dict[str, Array]:
    """Column → (sample,), NaN for samples with an image of which no pixel is seen; draws are added to their file.

    first  the number of the first sample
    """
    made: dict[str, list[Array]] = {}
    for start in range(0, len(piece.names), model.batch):
        batch = slice(start, start + model.batch)
        inputs, empty = {name: values[batch] for name, values in piece.inputs.items()}, piece.empty[batch]
        estimates = dict(zip(model.outputs, model.estimate(inputs).T, strict=True))
        found = {estimate_of(name): values for name, values in estimates.items()}
        if model.posteriors is not None:
            posteriors = model.posteriors.of_batch(inputs, estimates, empty, first + start, model.draws)
            found |= posteriors.columns
            if posteriors.drawn is not None:
                posteriors.drawn[:, empty] = np.nan
                add_draws(piece.names[batch], posteriors.drawn)
        for name, values in found.items():
            made.setdefault(name, []).append(values)
    columns = {name: np.concatenate(parts) for name, parts in made.items()}
    if model.misfit is not None and model.features is not None:
        own = {name: columns[estimate_of(name)] for name in model.outputs}
        columns[MISFIT] = model.misfit(piece.inputs, own).astype(np.float32)
        columns[FEATURES] = model.features().p_values(piece.inputs).astype(np.float32)
    for values in columns.values():
        values[piece.empty] = np.nan
    return columns


def _schema(model: ImageModel, found: ImageSource, netcdf: bool) -> tuple[pa.Schema, dict[str, str]]:
    """The columns of the new file, with their units; and column of the source → its name among them.

    netcdf  whether it is a NetCDF file, which has the caution among its attributes, and no `/` in names
    """
    import pyarrow as pa

    after = []
    for name, unit in model.outputs.items():
        what = "estimate" if model.refined is None or name not in model.refined.units else "median of the posterior"
        about = {"unit": unit, "description": f"{what} of: {name}", "limits": str(model.limits.get(name, ""))}
        metadata = {key: text for key, text in about.items() if text}
        after.append(pa.field(estimate_of(name), pa.float32(), metadata=metadata))
        after += [] if model.posteriors is None else fields_of(model.posteriors, name)
    after += [] if model.posteriors is None else further_fields(model.posteriors)
    if model.misfit is not None:
        for name, meaning in ((MISFIT, OF_RESIDUALS), (FEATURES, OF_FEATURES)):
            after.append(pa.field(name, pa.float32(), metadata={"description": meaning}))
    if model.layout.masks:
        after.append(pa.field(MISSING, pa.int64(), metadata={"description": "pixels that are not seen"}))
    about = {"description": "statistics of the inputs outside the range of the training data"}
    after.append(pa.field(OUTSIDE, pa.int16(), metadata=about))
    if model.trained:
        about = {"description": f"estimates outside {MOST} of their outputs"}
        after.append(pa.field(ESTIMATES_OUTSIDE, pa.int16(), metadata=about))
    if (caution := model.origin.get("caution", "")) and not netcdf:
        after.append(pa.field(CAUTION, pa.string(), metadata={WORDS: caution.encode()}))
    carried = new_names(found.kept, [NAME, *(one.name for one in after)], netcdf)
    kept = [
        pa.field(new, _type(found.kept[name]), metadata={"unit": unit} if (unit := found.unit(name)) else {})
        for name, new in carried.items()
    ]
    return pa.schema([pa.field(NAME, pa.string()), *kept, *after]), carried


def _type(values: NDArray[Any]) -> pa.DataType:
    import pyarrow as pa

    return pa.from_numpy_dtype(values.dtype) if values.dtype.kind in "iufb" else pa.string()


def _table(
    piece: ImagePiece,
    estimates: Mapping[str, Array],
    outside: Mapping[Statistic, NDArray[np.bool_]],
    beyond: NDArray[np.int16],
    schema: pa.Schema,
    carried: Mapping[str, str],
) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {NAME: pa.array(piece.names, pa.string()), MISSING: pa.array(piece.missing)}
    columns[OUTSIDE] = pa.array(sum(outside.values(), np.zeros(len(piece.names), np.int16)))
    columns[ESTIMATES_OUTSIDE] = pa.array(beyond)
    for name, new in carried.items():
        kept, kind = piece.kept[name], schema.field(new).type
        columns[new] = pa.array([str(one) for one in kept] if pa.types.is_string(kind) else kept, kind)
    # NaN becomes a missing value.
    columns |= {name: pa.array(values, from_pandas=True) for name, values in estimates.items()}
    if CAUTION in schema.names and CAUTION not in columns:
        columns[CAUTION] = pa.repeat(schema.field(CAUTION).metadata[WORDS].decode(), len(piece.names))
    return pa.table([columns[one.name] for one in schema], schema=schema)

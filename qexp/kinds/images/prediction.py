"""Estimates for the images of files that need not fit into memory, a row for each sample."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base import files
from qexp.base.machine import terminable
from qexp.base.outputs import Limits, estimate_of, limits_of, remarks
from qexp.base.quantities import quantity, with_periods
from qexp.base.seeds import Seeds
from qexp.errors import NotFoundError, QexpError
from qexp.kinds import prediction
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.images.files import SUFFIXES, variables_in
from qexp.kinds.images.misfit import UNUSUAL, FeatureDistance, ImageMisfit
from qexp.kinds.images.posteriors import (
    BY_LIKELIHOOD,
    COVERAGE,
    DOUBTED,
    ImagePosteriors,
    OfHeads,
    Refined,
    WrittenPosteriors,
    fields_of,
    further_fields,
)
from qexp.kinds.images.source import (
    NAME,
    ImageLayout,
    ImagePiece,
    ImageSource,
    InputRanges,
    Range,
    Statistic,
    ranges_over,
    statistics,
)
from qexp.kinds.objects import device_of
from qexp.kinds.options import OnProgress, PredictOptions
from qexp.kinds.prediction import (
    CAUTION,
    ESTIMATES_OUTSIDE,
    MOST,
    OUTSIDE,
    WORDS,
    BeyondTraining,
    FileKind,
    FilePredictor,
    SampleDraws,
    TrainedRange,
    Write,
    beside,
    draws_of,
    file_of_draws,
    new_names,
    no_progress,
    read_ahead,
    remarks as remarks_beyond,
    require_heads,
    trained_ranges,
    units_of_heads,
)
from qexp.kinds.tables import tables_of
from qexp.kinds.trained import load_model
from qexp.networks.estimator import Posterior
from qexp.networks.network import Network
from qexp.rows.formats import FORMATS, format_of, new_file_of_rows
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.store.directory import RunDirectory
from qexp.store.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float32]

MISFIT, FEATURES = "misfit_p", "features_p"
"""Columns with p-values: is the image anything that the simulator could have made?"""
OF_RESIDUALS = "p-value of the residuals of the best source being the declared noise"
OF_FEATURES = "share of training samples whose features lie as far from their mean in the network"
UNLIKE = 1e-3
"""p-value of residuals below which an image is counted as unlike the simulator's; of features, UNUSUAL."""
HARDLY = f"residuals with p < {UNLIKE:g} or features with p < {UNUSUAL:g}"
NAMED = 3
"""Largest number of samples without an estimate that are listed by name."""


class Tally:
    """Counts over the samples of a file, accumulated piece by piece.

    limits       output → limits of its estimates, if it has some
    trained      output → where its training data lie
    with_misfit  whether p-values are among the columns
    """

    def __init__(self, limits: Mapping[str, Limits], trained: Mapping[str, TrainedRange], with_misfit: bool) -> None:
        self._limits, self._with_misfit = dict(limits), with_misfit
        self.images = self.missing_count = self._outside = self._missing_pixels = 0
        self._missing: list[str] = []
        self._outside_in: dict[str, int] = {}
        self._unlike = self._doubted = 0
        self._beyond = BeyondTraining(trained)
        self._at_limits = dict.fromkeys(limits, 0)
        """Output with limits → number of estimates that lie at them."""

    def add(
        self, piece: ImagePiece, estimates: Mapping[str, Array], outside: Mapping[Statistic, NDArray[np.bool_]]
    ) -> NDArray[np.int16]:
        """Add a piece; returns the number of each sample's estimates that lie beyond the training data."""
        self.images += len(piece.names)
        self._missing_pixels += int(piece.missing.sum())
        missing = np.flatnonzero(piece.empty)
        self._missing += [piece.names[index] for index in missing[: max(NAMED - len(self._missing), 0)]]
        self.missing_count += len(missing)
        for one, beyond in outside.items():
            self._outside_in[str(one)] = self._outside_in.get(str(one), 0) + int(beyond.sum())
        self._outside += int(np.any(list(outside.values()), axis=0).sum())
        if self._with_misfit:
            self._unlike += int(np.sum((estimates[MISFIT] < UNLIKE) | (estimates[FEATURES] < UNUSUAL)))
        if DOUBTED in estimates:
            self._doubted += int(np.nansum(estimates[DOUBTED]))
        for name in self._at_limits:
            self._at_limits[name] += self._limits[name].reached(estimates[estimate_of(name)])
        return self._beyond.add({name: estimates[estimate_of(name)] for name in self._beyond.outputs}, len(piece.names))

    def document(self) -> dict[str, Any]:
        """What the record of the file says of it."""
        return {
            "images": self.images,
            "outside": self._outside,
            "outside_in": {name: count for name, count in self._outside_in.items() if count},
            **self._beyond.document(),
            "missing_pixels": self._missing_pixels,
            "missing": self._missing,
            "missing_count": self.missing_count,
            **({DOUBTED: self._doubted} if self._doubted else {}),
            **({"unlike": self._unlike} if self._with_misfit else {}),
            **({"at_limits": self._at_limits} if self._at_limits else {}),
        }


PIXELS = 2**19
"""Pixels of a batch; fixed, because rounding depends on the batch and must not depend on --chunk."""
LARGEST_BATCH = 128
"""Largest number of samples of a batch."""
BATCHES = 4
"""Batches that are read and written at a time."""
PRESUMED = "posteriors presume that a source of the simulator and the declared noise made the images: `misfit` tests it"
MISSING = "missing_pixels"
"""Column with the number of pixels that are not seen."""


class Features(Protocol):
    """How usual the features of images are, see `kinds.images.misfit`."""

    def p_values(self, inputs: Mapping[str, Array]) -> NDArray[np.float64]: ...


Misfit = Callable[[Mapping[str, Array], Mapping[str, Any]], NDArray[np.float64]]
"""From input → (sample, ...) and output → estimates to p-values, (sample,); see `kinds.images.misfit`."""


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
    posteriors: WrittenPosteriors | None = None
    """Of the outputs of posterior heads, or by the known likelihood; None if there are none."""
    draws: SampleDraws | None = None
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
    def refined(self) -> WrittenPosteriors | None:
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
            raise QexpError(f"{made}: the estimates would lie among the images, or replace them; give another `target`")
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
        raise QexpError(f"{target}: the estimates would lie among the images; give another `target`")
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
    size = -(-(chunk or BATCHES * model.batch) // model.batch) * model.batch
    found = ImageSource(source, model.layout)
    interval = None if model.posteriors is None else model.posteriors.coverage
    read = [prediction.identity(path) for path in found.files]
    refined = model.refined is not None
    key = prediction.key_of(
        model.origin, read, interval=interval, misfit=model.misfit is not None, draws=model.draws, refined=refined
    )
    if not overwrite and (known := prediction.reusable(source, target, key)) is not None:
        return _described(source, target, model, known, False)
    files.make_folder(target.absolute().parent)
    prediction.clear(target)
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
    prediction.write_record(target, key, about)
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


# The model for predicting from images with a finished run: its network, inputs and the range of its training data.


SEEN = 1_024
"""Training samples whose inputs are the range to compare with."""
SIMULATED = 2**21
"""Pixels that are simulated at a time."""


def image_model(
    directory: RunDirectory,
    device: str = "auto",
    *,
    with_misfit: bool = False,
    interval: float | None = None,
    draws: int | None = None,
    refined: bool = False,
) -> ImageModel:
    """The model of a run for `predict_images`.

    with_misfit  whether it also tells how well images fit the simulator
    interval     coverage of the intervals of posteriors; 0.9 if left out
    draws        from the posterior of each sample, which are written to a file of their own
    refined      whether posteriors are those of the known likelihood, not those of the network's posterior heads
    Raises QexpError if the run is not done or estimates no numbers, if the misfit cannot be computed, if intervals
    or draws are asked for without a posterior head, or if a likelihood is asked for that is not known.
    """
    record, spec = directory.record(), directory.training_spec()
    on = device_of(device)
    model = load_model(directory, on)
    network, outputs = model.network, list(model.network.outputs)
    source = generated_of(spec["dataset"], tables_of(directory))
    shapes = source.shapes()
    if images := [name for name in outputs if len(shapes[name]) != 1]:
        raise QexpError(f"{directory.name} estimates images, {', '.join(images)}; use Run.predict in Python")
    part = source.parts(spec["split"], Seeds(record.seed))["train"]

    def estimate(inputs: Mapping[str, Array]) -> Array:
        samples = {name: torch.from_numpy(inputs[name]).to(on) for name in network.inputs}
        made = model.estimate(samples, batch_size=len(next(iter(samples.values()))))
        return torch.cat([made[name] for name in outputs], dim=1).cpu().numpy()

    def posterior(inputs: Mapping[str, Array]) -> Posterior:
        samples = {name: torch.from_numpy(inputs[name]).to(on) for name in network.inputs}
        return model.posterior(samples, batch_size=len(next(iter(samples.values()))))

    quantities = with_periods(source.quantities, model.periods)
    if refined:
        require_coverage(interval)
        by = Refined(
            ImagePosteriors(source, list(network.inputs), quantities), frozenset(outputs), interval or COVERAGE
        )
        posteriors: WrittenPosteriors | None = by
    else:
        posteriors = _posteriors(posterior, network, record, interval)
    return ImageModel(
        layout=replace(_layout(source, network), exact=refined),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        posteriors=posteriors,
        draws=draws_of(network, record, draws, posteriors.units if refined and posteriors else None),
        ranges=cache(lambda: _ranges(source, part, network, Seeds(record.seed))),
        features=cache(lambda: FeatureDistance(model, _reference(source, part, network, Seeds(record.seed), on))),
        misfit=ImageMisfit(source, outputs) if with_misfit else None,
        limits=limits_of(spec),
        trained=trained_ranges(source, outputs, quantities),
        periods=model.periods,
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
    )


def _posteriors(
    of: Callable[[Mapping[str, Array]], Posterior],
    network: Network,
    record: Record,
    interval: float | None,
) -> WrittenPosteriors | None:
    if interval is not None:
        require_heads(network, record, "`interval`")
    if not network.heads:
        return None
    require_coverage(interval)
    return OfHeads(of, units_of_heads(network, record), COVERAGE if interval is None else interval)


def require_coverage(interval: float | None) -> None:
    """Raise QexpError for a coverage that cannot be; None stands for the usual one."""
    if interval is not None and not 0 < interval < 1:
        raise QexpError(f"`interval={interval:g}`: a coverage lies between 0 and 1, such as 0.9")


def _reference(
    source: GeneratedDataset, part: Part, network: Network, seeds: Seeds, device: torch.device
) -> dict[str, torch.Tensor]:
    """The inputs of training samples, which are simulated again."""
    samples = source.sample(part, SEEN, seeds, ("features",), torch.device("cpu"))
    return {name: samples[name].to(device) for name in network.inputs}


def _layout(source: GeneratedDataset, network: Network) -> ImageLayout:
    units = {name: quantity(name, source.quantities).unit for name in network.inputs}
    images = [name for name in network.inputs if name in source.generator.images(source.variables)]
    on_grids = [name for name in images if source.view(name).points is None]
    masks = {name: source.view(name).mask((source.height, source.width)) for name in images}
    return ImageLayout(
        inputs=dict(network.inputs),
        units=units,
        pixels={name: _pixels(source, name) for name in on_grids},
        hidden={name: mask[0].numpy() == 0 for name, mask in masks.items() if mask is not None},
        directions=directions_of(source, network.inputs),
    )


def directions_of(source: GeneratedDataset, inputs: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Input that varies and whose values repeat, such as a heading → its median in the training data and its period."""
    return {
        name: (float(source.distributions[name].quantile(np.array(0.5))), period)
        for name in inputs
        if name in source.test and (period := quantity(name, source.quantities).period) is not None
    }


def _pixels(source: GeneratedDataset, image: str) -> tuple[Range, Range]:
    """Least and greatest width, and height, of an image's pixels in the training data [m]."""
    ends: dict[str, NDArray[np.float64]] = {
        name: source.distributions[name].quantile(np.array([1e-6, 1 - 1e-6])) for name in source.test
    }
    widths, heights = source.pixel_sizes(image, ends)
    return (float(widths.min()), float(widths.max())), (float(heights.min()), float(heights.max()))


def _ranges(source: GeneratedDataset, part: Part, network: Network, seeds: Seeds) -> InputRanges:
    """The range of the inputs over training samples, which are simulated again."""
    pixels = sum(int(np.prod(shape)) for shape in network.inputs.values())
    size = min(SEEN, max(1, SIMULATED // pixels))
    blocks = []
    for start in range(0, SEEN, size):
        count = min(size, SEEN - start)
        samples = source.sample(part, count, seeds, ("range", start), torch.device("cpu"))
        blocks.append(statistics({name: samples[name].numpy() for name in network.inputs}))
    return ranges_over(blocks)


def _estimator(directory: RunDirectory, options: PredictOptions) -> FilePredictor:
    model = image_model(
        directory,
        options.device,
        with_misfit=options.misfit,
        interval=options.interval,
        draws=options.draws,
        refined=options.refined,
    )
    return partial(predict_images, model=model)


PREDICTION = FileKind("images", targets, _estimator, frozenset(("misfit", "interval", "draws", "refined")))

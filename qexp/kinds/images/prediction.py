"""Estimates for the images of files that need not fit into memory, a row for each sample."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base.files import stem_of
from qexp.base.outputs import (
    Estimated,
    Words,
    correlation_of,
    estimate_of,
    joined,
    spread_of,
    within_of,
)
from qexp.base.quantities import base_name, conversion, with_periods
from qexp.base.seeds import Seeds
from qexp.errors import QexpError, some
from qexp.inference.image_posteriors import BY_LIKELIHOOD, ImagePosteriors
from qexp.inference.misfit import ImageMisfit
from qexp.kinds.held_out import require_coverage, with_ends
from qexp.kinds.images.arrays import CODE
from qexp.kinds.images.experiment import trained_on
from qexp.kinds.images.extent import (
    EXTREMES,
    SEEN_SAMPLES,
    Statistic,
    TrainingInputs,
    training_inputs,
)
from qexp.kinds.images.files import FORMATS as IMAGE_FORMATS, SUFFIXES, ZARR, variables_in
from qexp.kinds.images.recalibration import recalibrated
from qexp.kinds.images.source import ImageArrays, ImageLayout, ImagePiece, ImageSource, layout_of
from qexp.kinds.images.tables import NAME, TABLES
from qexp.kinds.networks import load_models
from qexp.kinds.objects import batches_at_once, device_of
from qexp.kinds.options import PredictOptions
from qexp.kinds.prediction import (
    ESTIMATES_OUTSIDE,
    MOST_DATA,
    OUTSIDE,
    AddDraws,
    Array,
    Arrays,
    EstimatedPiece,
    FileKind,
    FileModel,
    Prediction,
    RefinedArrays,
    SampleDraws,
    TableEstimation,
    TrainingExtent,
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
    require_different_targets,
    require_heads,
    require_there,
    units_of_heads,
    with_ranges,
)
from qexp.networks.estimator import BATCH, Ensemble, Estimator, Posterior, rank_correlations
from qexp.networks.feature_distance import UNUSUAL_SHARE, FeatureDistance
from qexp.networks.shapes import numbers_in
from qexp.observations.reading import LARGE_DISPLACEMENT
from qexp.results.intervals import USUAL_COVERAGE
from qexp.rows.formats import FORMATS, format_of
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.spec.reading import Document
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa

MISFIT, FEATURES = "misfit_p", "features_p"
"""Columns with p-values: is the image anything that the simulator could have made?"""
OF_RESIDUALS = "p-value of the residuals of the best source being the declared noise"
OF_FEATURES = "share of training samples whose features lie as far from their mean in the network"
UNLIKE_P = 1e-3
"""p-value of residuals below which an image is unlike the simulator's."""
HARDLY = f"residuals with p < {UNLIKE_P:g} or features with p < {UNUSUAL_SHARE:g}"
PIXELS_OF_BATCH = 2**19
"""Of a batch; fixed, as rounding depends on the batch, but must not depend on --chunk."""
BATCHES_AT_ONCE = 4
"""Batches that are read and written at a time."""
PRESUMED = (
    "posteriors presume that a source of the simulator and the declared noise made the images:"
    " `misfit` tests it"
)
UNTESTED = (
    "`misfit` would count those that no source explains, such as ramps, stripes and images that are"
    " upside down"
)
BETWEEN = "standard deviation between networks, which the mean of more of them averages out, of"
WITHIN = "standard deviation within networks, of noise and prior, of"
MILLIMETRES = 3
"""Decimals of metres to which places on a map are written."""
PRESUMED_NORTH = "rows count as running northwards"
FAR_RATIO = 10.0
"""Times the largest value of the training data that suggests another unit, if none is given."""
MISSING = "missing_pixels"
"""Column with the number of pixels that are not seen."""


@dataclass(frozen=True, kw_only=True)
class ImageModel(FileModel):
    """The parts of a run that are needed to predict from images.

    A new file has the name of each sample, the other columns of a NetCDF file that describe
    samples, then `<output>_estimate` for every output, for positions x and y also `<output>_map`,
    the same in the coordinates of the file if it has some, and for those with a posterior the ends
    of an interval, `<output>_low` and `<output>_high`, and their rank correlations, of several
    networks `<output>_spread` and `<output>_within`; `posterior_doubted` if posteriors are those of
    the known likelihood; `missing_pixels` if the network takes masks, `outside` (the number of the
    inputs' statistics that are outside the range of the training data, see `statistics`),
    `estimates_outside` (the number of estimates outside of 99 % of their training data), and
    `caution` if the run has one. Beside it lie draws from posteriors, if any were asked for, as
    `<file without suffix>_posterior.nc`.
    """

    layout: ImageLayout
    estimate: Callable[[Arrays], Estimates]
    """From inputs to output → estimates, (sample,); of several networks with their spread."""
    networks: int = 1
    """That estimate together, of several seeds; 1 for posteriors by the known likelihood."""
    seen: Callable[[], TrainingInputs]
    """Returns where the inputs lie in the training data, which takes a moment."""
    posteriors: WrittenPosteriors | None = None
    """Of the outputs of posterior heads, or by the known likelihood; None if there are none."""
    features: Callable[[], FeatureDistance] | None = None
    """Returns how usual the network finds the features of images, which takes a moment."""
    misfit: ImageMisfit | None = None
    """How well images fit the simulator, if it was asked for."""
    untested: bool = False
    """Whether that could be computed, but was not asked for."""

    extent = MOST_DATA

    @property
    def refined(self) -> Refined | None:
        """Posteriors by the known likelihood, if they were asked for."""
        return self.posteriors if isinstance(self.posteriors, Refined) else None

    @property
    def coverage(self) -> float | None:
        return None if self.posteriors is None else self.posteriors.coverage

    @property
    def attributes(self) -> dict[str, str]:
        return {**self.origin, **({} if self.posteriors is None else self.posteriors.attributes)}

    def words(self, output: str) -> Words:
        """What the columns of an output hold."""
        several = self.networks > 1
        words = Words(f"estimate of: {output}", spread=f"{BETWEEN} {output}" if several else "")
        if self.posteriors is None or output not in self.posteriors.units:
            return words
        of_posterior = f"of the posterior of: {output}"
        low, high = (f"{100 * share:g} % quantile" for share in ends_of(self.posteriors.coverage))
        return replace(
            words,
            estimate=words.estimate if self.refined is None else f"median {of_posterior}",
            ends=(f"{low} {of_posterior}", f"{high} {of_posterior}"),
            own_spread=f"{WITHIN} {output}" if several else "",
        )

    @property
    def batch(self) -> int:
        """Samples that are estimated at a time."""
        return max(1, min(BATCH, PIXELS_OF_BATCH // numbers_in(self.layout.inputs)))

    def open(self, source: Path, target: Path) -> ImageEstimation:
        return ImageEstimation(self, source, target)


def targets(source: Path, target: Path, inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """Pairs of a file or folder of images to read, and the file of rows to write.

    source  a file, also a table; a folder with a npy or GeoTIFF file per input; or one of such
            files and folders
    target  a file, or an existing folder for a NetCDF file that is named after the source; a folder
            for several
    inputs  the run's inputs
    Raises QexpError if there is nothing to read, or for an invalid target; NotFoundError.
    """
    require_there(source)
    known = (*IMAGE_FORMATS, *TABLES)
    if source.is_dir() and source.suffix != ZARR and not variables_in(source, inputs):
        pairs = _targets_in(source, target, inputs)
    elif source.is_dir() or source.suffix.lower() in known:
        pairs = [(source, named_after(source, target, ".nc"))]
    else:
        endings = f"{', '.join(IMAGE_FORMATS)}, a table of vectors in {' or '.join(TABLES)}"
        raise QexpError(f"{source}: a file of images must end in {endings}")
    for path, new in pairs:
        format_of(new)
        folders = [new.absolute().parent.resolve()] if path.is_dir() else []
        if path.resolve() in (new.resolve(), *folders):
            lie = "the estimates would lie among the images, or replace them"
            raise QexpError(f"{new}: {lie}; give another `target`")
    return pairs


def _targets_in(source: Path, target: Path, inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    def holds_images(path: Path) -> bool:
        if path.is_dir():
            return bool(variables_in(path, inputs))
        return path.suffix.lower() in SUFFIXES

    seen = [path for path in source.iterdir() if not path.name.startswith(".")]
    paths = sorted(filter(holds_images, seen))
    if not paths:
        lack = f"no file in it ends in {', '.join(SUFFIXES)}"
        raise QexpError(f"{source}: {lack}, and no folder in it has a file {inputs[0]}.npy")
    if target.is_file() or target.suffix.lower() in FORMATS:
        each = f"{source} holds {len(paths)} files of images, each with its own file of estimates"
        raise QexpError(f"{target}: {each}; give a folder")
    if target.resolve() == source.resolve():
        lie = "the estimates would lie among the images; give another `target`"
        raise QexpError(f"{target}: {lie}")
    pairs = [(path, target / f"{stem_of(path)}.nc") for path in paths]
    require_different_targets(pairs)
    return pairs


class ImageEstimation(TableEstimation[ImageModel]):
    """Estimates of all samples of a file.

    source  NetCDF or npz with variables named as the inputs, npy or GeoTIFF for a single input, a
            folder with a npy or GeoTIFF file per input, or a table with a vector in each row.
            Samples come first; rows run northwards
    Raises QexpError for images that the network cannot take.
    """

    counted = "images"

    def __init__(self, model: ImageModel, source: Path, target: Path) -> None:
        super().__init__(model, source, target)
        self._images = ImageSource(source, model.layout)
        self.identity = [identity(path) for path in self._images.files]
        self._names: dict[str, str] = {}
        """Column of the source → its name in the new file."""
        self._missing = WithoutEstimate()
        along = dict(zip(("x", "y"), self._images.axes or (), strict=False))
        self._places = {
            name: along[base_name(name)]
            for name, unit in model.units.items()
            if base_name(name) in along and conversion(unit, "m") is not None
        }
        """Output that is a position east or north of the image's centre → its axis of the file."""
        self._codes = dict[str, float]()
        """Image → a value that seems to stand for no data."""
        self._large = Counter[str]()
        """Image without a unit → the number of samples whose values are suspiciously large."""
        self._largest = dict.fromkeys(self._images.without_unit, 0.0)
        self._squares: dict[str, float] = {}
        """Column with a standard deviation → the sum of its squares."""
        self._outside = self._missing_pixels = self._unlike = self._doubted = 0
        self._outside_in = Counter[str]()

    @property
    def settings(self) -> Document:
        model = self.model
        return {
            **super().settings,
            "misfit": None if model.misfit is None else True,
            "refined": None if model.refined is None else True,
            "recalibrated": model.attributes.get("recalibrated"),
            "columns": self._images.renamed or None,
            "unit": dict(model.layout.given_units) or None,
        }

    def schema(self, netcdf: bool) -> pa.Schema:
        import pyarrow as pa

        model = self.model
        images = self._images
        columns = list[pa.Field]()
        for name, output in model.outputs.items():
            estimate, *others = output_columns(output, estimate_of(name), model.words(name))
            columns.append(estimate)
            if (axis := self._places.get(name)) is not None:
                words = f"{estimate_of(name)} in the coordinates {axis.name or 'of the file'}"
                columns.append(new_column(map_of(name), pa.float64(), axis.unit, words))
            columns += others
        columns += [] if model.posteriors is None else further_fields(model.posteriors)
        if model.misfit is not None:
            columns.append(new_column(MISFIT, pa.float32(), description=OF_RESIDUALS))
            columns.append(new_column(FEATURES, pa.float32(), description=OF_FEATURES))
        if model.layout.masks:
            columns.append(new_column(MISSING, pa.int64(), description="pixels that are not seen"))
        words = "statistics of the inputs outside the range of the training data"
        columns.append(new_column(OUTSIDE, pa.int16(), description=words))
        columns += closing_columns(model, netcdf, f"{MOST_DATA} of their outputs")
        of_names = pa.field(NAME, pa.string())
        self._names = new_names(images.kept, [of_names, *columns], netcdf)
        kept = [
            new_column(new, _type(images.kept[name]), images.unit(name))
            for name, new in self._names.items()
        ]
        return pa.schema([of_names, *kept, *columns])

    def pieces(self, chunk: int | None, add_draws: AddDraws) -> Iterator[EstimatedPiece]:
        batch = self.model.batch
        size = -(-(chunk or BATCHES_AT_ONCE * batch) // batch) * batch
        counted = ((piece, self._counted(piece)) for piece in self._images.pieces(size))
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(
            batches_at_once(), "estimating", torch.set_num_threads, (threads,)
        )
        with pool, closing(read_ahead(counted, self.source)) as pieces:
            for piece, outside in pieces:
                estimates, further = self._estimated(piece, pool, add_draws)
                yield self._finished(piece, outside, estimates, further)

    def _finished(
        self, piece: ImagePiece, outside: NDArray[np.int16], estimates: Estimates, further: Arrays
    ) -> EstimatedPiece:
        """All columns of a piece; further: those that are not of a single output."""
        import pyarrow as pa

        model = self.model
        columns: dict[str, Any] = {NAME: piece.names, MISSING: piece.missing, OUTSIDE: outside}
        columns |= further
        for name, made in estimates.items():
            columns |= model.outputs[name].cells(estimate_of(name), made)
            for column in deviations_among(columns, name):
                squares = float(np.nansum(np.square(columns[column], dtype=float)))
                self._squares[column] = self._squares.get(column, 0.0) + squares
        for name, new in self._names.items():
            values = piece.kept[name]
            kind = _type(values)
            texts = pa.types.is_string(kind)
            columns[new] = pa.array(list(map(str, values)) if texts else values, kind)
        by_output = {name: made.middle for name, made in estimates.items()}
        for name, axis in self._places.items():
            metres = conversion(model.outputs[name].unit, "m") or 1.0
            unit = axis.metres or 1.0
            place = axis.origin + by_output[name].astype(np.float64) * metres / unit
            columns[map_of(name)] = np.round(place, MILLIMETRES + round(np.log10(unit)))
        return EstimatedPiece(len(piece.names), columns, by_output, piece.done)

    def _estimated(
        self, piece: ImagePiece, pool: Executor, add_draws: AddDraws
    ) -> tuple[Estimates, dict[str, Array]]:
        """Estimates, and column that is not of a single output → (sample,); NaN for samples with an
        image of which no pixel is seen.
        """
        model = self.model
        blocks = dict[str, list[Estimated]]()
        further_blocks = dict[str, list[Array]]()
        starts = range(0, len(piece.names), model.batch)
        batches = [slice(start, start + model.batch) for start in starts]
        in_batches = []
        for batch in batches:
            in_batches.append({name: values[batch] for name, values in piece.inputs.items()})
        estimated_batches = list(pool.map(model.estimate, in_batches))
        for batch, inputs, estimated in zip(batches, in_batches, estimated_batches, strict=True):
            further: Arrays = {}
            if model.posteriors is not None:
                empty = piece.empty[batch]
                estimated, further, drawn = model.posteriors.of_batch(
                    inputs, estimated, empty, self.count + batch.start, model.draws
                )
                if drawn is not None:
                    drawn[:, empty] = np.nan
                    add_draws(piece.names[batch], drawn)
            for name, made in estimated.items():
                blocks.setdefault(name, []).append(made)
            for name, values in further.items():
                further_blocks.setdefault(name, []).append(values)
        estimates = {name: joined(parts, np.concatenate) for name, parts in blocks.items()}
        columns = {name: np.concatenate(parts) for name, parts in further_blocks.items()}
        if model.misfit is not None and model.features is not None:
            by_output = {name: made.middle for name, made in estimates.items()}
            columns[MISFIT] = model.misfit(piece.inputs, by_output).astype(np.float32)
            columns[FEATURES] = model.features().p_values(piece.inputs).astype(np.float32)
        for values in columns.values():
            values[piece.empty] = np.nan
        if model.misfit is not None:
            self._unlike += int(
                np.sum((columns[MISFIT] < UNLIKE_P) | (columns[FEATURES] < UNUSUAL_SHARE))
            )
        if DOUBTED in columns:
            self._doubted += int(np.nansum(columns[DOUBTED]))
        return of_blocks([estimates], piece.empty), columns

    def _counted(self, piece: ImagePiece) -> NDArray[np.int16]:
        """Count a piece. Returns each sample's number of statistics outside the training data."""
        for name, values in piece.inputs.items():
            codes = self._images.codes(name, values)
            if codes:
                self._codes[name] = codes[0]
        for name in [name for name in self._largest if name not in self._codes]:
            largest = np.abs(piece.inputs[name]).reshape(len(piece.names), -1).max(axis=1)
            self._large[name] += int((largest > self._suspicious(name)).sum())
            self._largest[name] = max(self._largest[name], float(largest.max()))
        outside = self.model.seen().outside(piece.inputs)
        self._missing.add(piece.names, piece.empty)
        self._missing_pixels += int(piece.missing.sum())
        numbers = np.zeros(len(piece.names), np.int16)
        for statistic, beyond in outside.items():
            self._outside_in[str(statistic)] += int(beyond.sum())
            numbers += beyond
        self._outside += int((numbers > 0).sum())
        return numbers

    def finish(self) -> Document:
        """Raise QexpError if no image has a pixel that is seen."""
        if not (seen := self.count - self._missing.count):
            raise QexpError(f"{self.source}: all pixels of all {self.count:,} samples are missing")
        if_any = {
            "deviations": {name: (total / seen) ** 0.5 for name, total in self._squares.items()},
            DOUBTED: self._doubted,
            "unscaled": self._images.steps_without_unit,
            "converted": self._images.converted,
            "presumed_north": self._images.without_north,
            "presumed_axes": self._images.presumed_axes,
            "codes": self._codes,
        }
        return {
            "outside": self._outside,
            "outside_in": dict(+self._outside_in),
            "missing_pixels": self._missing_pixels,
            **self._missing.document(),
            **{name: there for name, there in if_any.items() if there},
            **({"unlike": self._unlike} if self.model.misfit is not None else {}),
            "implausible": {
                name: self._largest[name]
                for name, count in self._large.items()
                if 2 * count > self.count
            },
        }

    def _suspicious(self, image: str) -> float:
        """What the values of an image do not exceed unless they are in another unit, in the unit of
        the training data.

        That is beyond nature, or far beyond the training data.
        """
        natural = LARGE_DISPLACEMENT * (conversion("m", self.model.layout.units[image]) or np.inf)
        ranges = self.model.seen().ranges
        ends = [
            abs(end) for kind in EXTREMES for end in ranges.get(Statistic(image, kind), (np.inf,))
        ]
        return float(min(natural, FAR_RATIO * max(ends)))

    def counts(self, record: Mapping[str, Any]) -> Document:
        names = ("images", "outside", "outside_in", "missing_pixels", "missing", "missing_count")
        further = {
            ESTIMATES_OUTSIDE: record.get(ESTIMATES_OUTSIDE, 0),
            "unlike": record.get("unlike"),
        }
        return {**{name: record[name] for name in names}, **further}

    def remarks(self, record: Mapping[str, Any]) -> list[str]:
        model = self.model
        count = record["images"]
        phrases = [f"{count:,} samples" if count != 1 else "1 sample"]
        renamed = record.get("columns") or {}
        converted = record.get("converted", {})
        deviations = record.get("deviations", {})
        for name, unit in model.units.items():
            known = [deviations[column] for column in deviations_among(deviations, name)]
            if known:
                between, *within = known
                words = f"{name}: standard deviation {between:.3g} {unit} between {model.networks}"
                words += f" networks, {between / model.networks**0.5:.3g} of their mean"
                for deviation in within:
                    words += f", {deviation:.3g} within them, of noise and prior"
                phrases.append(words)
        for name in {**renamed, **converted}:
            facts = [f"is '{renamed[name]}' of the file"] if name in renamed else []
            if name in converted:
                facts.append(f"converted from {converted[name]} to {model.layout.units[name]}")
            phrases.append(f"{name} {', '.join(facts)}")
        if record.get("presumed_north"):
            phrases.append(PRESUMED_NORTH)
        if pixels := record["missing_pixels"]:
            phrases.append(f"{pixels:,} pixels masked")
        phrases += WithoutEstimate.remarks(record, "all pixels are missing")
        if (unlike := record.get("unlike")) is not None:
            phrases.append(f"{unlike:,} that the simulator could hardly have made ({HARDLY})")
        presumed = [] if model.refined is None or model.misfit is not None else [PRESUMED]
        untested = [UNTESTED] if model.untested and not presumed else []
        presumed += [record["recalibrated"]] if record.get("recalibrated") else []
        return [*phrases, *model.remarks(record, count), *presumed, *untested]

    def warnings(self, record: Mapping[str, Any]) -> Sequence[str]:
        warnings = [
            f"{self.source}: {name} has no unit, and values of up to {largest:,.4g} "
            f"{self.model.layout.units[name]}; if they are in another unit, give it: `unit=mm`"
            for name, largest in record.get("implausible", {}).items()
        ]
        warnings += [
            f"{self.source}: values of {name} are exactly {code:g}, {CODE}"
            for name, code in record.get("codes", {}).items()
        ]
        warnings += [
            f"{self.source}: the coordinates of {name} have steps of {step:g} in no known unit, so"
            " that the size of its pixels could not be compared with that of the training data;"
            " give them the attribute units"
            for name, step in record.get("unscaled", {}).items()
        ]
        for name in record.get("presumed_axes", ()):
            warnings.append(
                f"{self.source}: the axes of {name} are taken for channel, y and x, or component"
                " and station, but may as well have another order by their lengths; NetCDF with"
                " dimensions of these names says which is which"
            )
        if (presumed := record.get("presumed_north")) and self.source.suffix.lower() == ".nc":
            warnings.append(
                f"{self.source}: no coordinates say which way the rows of {some(presumed)} run;"
                " they count as running northwards, the first row in the south; if that is the"
                " north, add coordinates that fall along y"
            )
        if outside := record["outside"]:
            what = "; ".join(
                f"{name}: {number:,}" for name, number in record["outside_in"].items() if number
            )
            of_all = f"{outside:,} of {record['images']:,} samples have inputs"
            warnings.append(
                f"{self.target}: {of_all} outside the range of the training data ({what})"
            )
        if doubted := record.get(DOUBTED):
            which = f"{doubted:,} of {record['images']:,} posteriors"
            warnings.append(
                f"{self.target}: {which} are not to be trusted ({DOUBTED} = 1): {DOUBTS}"
            )
        return warnings


def map_of(output: str) -> str:
    """The column with the estimates of a position in the coordinates of the file."""
    return f"{output}_map"


def deviations_among(columns: Collection[str], output: str) -> list[str]:
    """The columns with standard deviations of an output, between networks and within them."""
    return [name for name in (spread_of(output), within_of(output)) if name in columns]


def _type(values: NDArray[Any]) -> pa.DataType:
    import pyarrow as pa

    return pa.from_numpy_dtype(values.dtype) if values.dtype.kind in "iufb" else pa.string()


# Posteriors of the images in a file: intervals and correlations among its columns, and draws beside
# it.

DOUBTED = "posterior_doubted"
"""Column that is 1 where the draws of a posterior by the likelihood are not to be trusted."""

DOUBTS = "the draws' weights are too unequal, or a source beyond the prior fits far better"
"""Why they are not."""

LEAST_DRAWS, BEYOND_END = 1000, 20
"""Draws for intervals: at least, and on the average beyond both ends together."""


Estimates = dict[str, Estimated]
EstimatedBatch = tuple[Estimates, dict[str, Array], Array | None]


@dataclass(frozen=True)
class OfHeads:
    """Those of a network with posterior heads.

    posterior_of  from input → (sample, ...) to their posterior
    units         variable → unit, in the order of draws
    coverage      of the intervals
    recalibrated  by what; empty if they are the network's own
    """

    posterior_of: Callable[[Arrays], Posterior]
    units: Mapping[str, str]
    coverage: float
    recalibrated: str

    @property
    def attributes(self) -> dict[str, str]:
        """Of files of them."""
        return {"recalibrated": self.recalibrated} if self.recalibrated else {}

    def of_batch(
        self,
        inputs: Arrays,
        estimates: Estimates,
        empty: NDArray[np.bool_],
        first: int,
        draws: SampleDraws | None,
    ) -> EstimatedBatch:
        """The estimates of a batch of images with what posteriors tell of each; further columns,
        (sample,); and draws, (draw, sample, output), if they were asked for.

        inputs     of the network, (sample, ...)
        estimates  of the network, (sample,)
        empty      (sample,), whether no pixel of an image is seen
        first      the number of the first image, by which draws are the same in whatever chunks
                   images are read
        """
        posterior = self.posterior_of(inputs)
        known = dict(estimates)
        columns = {}
        for name, ends in posterior.quantiles(ends_of(self.coverage)).items():
            low, high = ends.cpu().numpy().T
            known[name] = replace(known[name], ends=(low, high))
        for name, deviation in posterior.own_deviations().items():
            known[name] = replace(known[name], own_spread=deviation.cpu().numpy())
        for pair, values in posterior.correlations().items():
            columns[correlation_of(*pair)] = values.cpu().numpy()
        return known, columns, None if draws is None else draws.draw(posterior, first)


@dataclass(frozen=True)
class Refined:
    """Those of the known likelihood, whose medians are the estimates.

    images   whose posteriors they are
    outputs  of the network, whose intervals are among the columns if they are unknown variables
    """

    images: ImagePosteriors
    outputs: frozenset[str]
    coverage: float
    attributes: ClassVar[Mapping[str, str]] = {"posteriors": BY_LIKELIHOOD}

    @property
    def units(self) -> Mapping[str, str]:
        return self.images.units

    def of_batch(
        self,
        inputs: Arrays,
        estimates: Estimates,
        empty: NDArray[np.bool_],
        first: int,
        draws: SampleDraws | None,
    ) -> EstimatedBatch:
        """As of `OfHeads`."""
        rows = np.flatnonzero(~empty)
        names = self.images.names
        wanted = 0 if draws is None else draws.count
        count = max(LEAST_DRAWS, math.ceil(BEYOND_END / (1 - self.coverage)), wanted)
        drawn = np.full((wanted, len(empty), len(names)), np.nan, np.float32)
        written = [*(correlation_of(*pair) for pair in combinations(names, 2)), DOUBTED]
        columns = {name: np.full(len(empty), np.nan, np.float32) for name in written}
        quantiles = np.full((3, len(empty), len(names)), np.nan, np.float32)
        if len(rows):
            sampled = self.images(
                {name: column[rows] for name, column in inputs.items()},
                {name: made.middle[rows] for name, made in estimates.items()},
                count,
                Seeds(0).number("refined", first),
            )
            low, high = ends_of(self.coverage)
            values = self.images.centred(sampled)
            quantiles[:, rows] = np.quantile(values, [low, 0.5, high], axis=1)
            draws_first = torch.from_numpy(values).movedim(1, 0)
            for pair, correlation in rank_correlations(draws_first, names).items():
                columns[correlation_of(*pair)][rows] = correlation.numpy()
            columns[DOUBTED][rows] = [row in sampled.doubts for row in range(len(rows))]
            if wanted:
                chosen = np.linspace(0, count - 1, wanted).round().astype(int)
                drawn[:, rows] = np.moveaxis(sampled.values[:, chosen], 0, 1)
        known = Estimates()
        for name, made in estimates.items():
            known[name] = replace(made, spread=None)
        for number, name in enumerate(names):
            if name in self.outputs:
                lower, median, upper = quantiles[:, :, number]
                known[name] = replace(known[name], middle=median, ends=(lower, upper))
        return known, columns, drawn if wanted else None


WrittenPosteriors = OfHeads | Refined
"""What is written of posteriors."""


def ends_of(coverage: float) -> tuple[float, float]:
    """Probabilities of the ends of an interval."""
    tail = round((1 - coverage) / 2, 12)
    return tail, round(1 - tail, 12)


def further_fields(posteriors: WrittenPosteriors) -> list[pa.Field]:
    """The columns behind those of all outputs."""
    import pyarrow as pa

    words = {
        correlation_of(*pair): f"rank correlation of {' and '.join(pair)} in the posterior"
        for pair in combinations(posteriors.units, 2)
    }
    if isinstance(posteriors, Refined):
        words[DOUBTED] = f"1 where the draws of the posterior are not to be trusted: {DOUBTS}"
    return [
        new_column(name, pa.float32(), description=description)
        for name, description in words.items()
    ]


def image_model(directory: RunDirectory, options: PredictOptions) -> ImageModel:
    """The model of a run.

    Raises QexpError if the run is not done or estimates no numbers, if the misfit cannot be
    computed, if intervals or draws are asked for without a posterior head, or if a likelihood is
    asked for that is not known.
    """
    record = directory.record()
    spec = directory.training_spec()
    device = device_of(options.device)
    refined = options.refined
    ensemble = Ensemble(load_models(directory, device))
    model = ensemble.models[0]
    networks = 1 if refined else len(ensemble.models)
    network = model.network
    outputs = list(network.outputs)
    source = trained_on(directory)
    if images := [name for name in outputs if len(source.shapes()[name]) != 1]:
        raise QexpError(
            f"{directory.name} estimates images, {', '.join(images)}; use Run.predict in Python"
        )

    def samples(inputs: Arrays) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(inputs[name]).to(device) for name in network.inputs}

    estimator = model if len(ensemble.models) == 1 else ensemble

    def estimate(inputs: Arrays) -> Estimates:
        return with_ends(estimator.estimated(samples(inputs)), None)

    for option in ("interval", "recalibrated"):
        if not refined and getattr(options, option) is not None:
            require_heads(network, record, f"`{option}`")
    require_coverage(options.interval)
    coverage = options.interval or USUAL_COVERAGE
    posteriors: WrittenPosteriors | None = None
    if refined:
        quantities = with_periods(source.quantities, model.periods)
        likelihood = ImagePosteriors(source, list(network.inputs), quantities)
        posteriors = Refined(likelihood, frozenset(outputs), coverage)
    elif network.posteriors:
        if options.recalibrated is not None:
            ensemble = recalibrated(ensemble, directory, source, options.recalibrated)
        posteriors = OfHeads(
            lambda inputs: ensemble.posterior(samples(inputs)),
            units_of_heads(network, record),
            coverage,
            ensemble.recalibrated,
        )
    misfit = _misfit_of(source, outputs, options.misfit)
    units = posteriors.units if refined and posteriors else None
    shared = of_run(directory)
    shared["outputs"] = with_ranges(shared["outputs"], source)
    return ImageModel(
        **shared,
        networks=networks,
        layout=replace(layout_of(source, network, spec["dataset"]), exact=refined),
        estimate=estimate,
        posteriors=posteriors,
        draws=draws_of(network, record, options.draws, units),
        seen=cache(lambda: training_inputs(directory, source, network)),
        features=cache(lambda: _features(directory, source, model, device)),
        misfit=misfit if options.misfit else None,
        untested=misfit is not None and not options.misfit,
    )


def _misfit_of(
    source: GeneratedDataset, outputs: Sequence[str], required: bool
) -> ImageMisfit | None:
    """None of a dataset whose misfit cannot be computed, for which QexpError says why if it is
    required.
    """
    with nullcontext() if required else suppress(QexpError):
        return ImageMisfit(source, outputs)
    return None


def _features(
    directory: RunDirectory, source: GeneratedDataset, model: Estimator, device: torch.device
) -> FeatureDistance:
    """Distances from the features of samples that are simulated as those for training are."""
    seeds = Seeds(directory.record().seed)
    train = source.parts(directory.training_spec()["split"], seeds)["train"]
    count = source.available(train, SEEN_SAMPLES)
    simulated = source.sample(train, count, seeds, ("features",), torch.device("cpu"))
    return FeatureDistance(model, {n: simulated[n].to(device) for n in model.network.inputs})


def refined_images(directory: RunDirectory, model: Estimator) -> RefinedArrays:
    """By the likelihood of the dataset that was trained on. Raises QexpError if it is not known."""
    source = trained_on(directory)
    posteriors_of = ImagePosteriors(
        source, list(model.network.inputs), with_periods(source.quantities, model.periods)
    )

    def draw(
        arrays: Arrays, estimates: Arrays, count: int, seed: int
    ) -> tuple[NDArray[np.floating], Mapping[int, Sequence[str]]]:
        for name, values in arrays.items():
            if missing := int((~np.isfinite(values)).sum()):
                advice = "and the network takes no mask of them; train one with the input"
                if mask_of(name) in arrays:
                    advice = "set them to 0, and so the pixels of"
                raise QexpError(
                    f"'{name}' has {missing:,} missing values; {advice} '{mask_of(name)}'"
                )
        posteriors = posteriors_of(arrays, estimates, count, seed)
        return np.moveaxis(posteriors.values, 0, 1), posteriors.doubts

    return RefinedArrays(posteriors_of.units, draw)


def _estimator(directory: RunDirectory, options: PredictOptions) -> Callable[..., Prediction]:
    model = image_model(directory, options)
    return replace(model, layout=model.layout.in_files(options.columns, options.unit)).predict


def extent(directory: RunDirectory, model: Estimator) -> TrainingExtent:
    """What the training data extend over; they are simulated again."""
    source = trained_on(directory)
    seen = training_inputs(directory, source, model.network)

    def outside(inputs: Arrays) -> dict[str, NDArray[np.bool_]]:
        return {str(statistic): beyond for statistic, beyond in seen.outside(inputs).items()}

    return TrainingExtent(outside, with_ranges(of_run(directory)["outputs"], source), MOST_DATA)


PREDICTION = FileKind(
    "images",
    targets,
    _estimator,
    frozenset(("columns", "unit", "misfit", "interval", "draws", "refined", "recalibrated")),
    extent,
    ImageArrays,
    refined_images,
    lambda run, ensemble, part: recalibrated(ensemble, run, trained_on(run), part),
)

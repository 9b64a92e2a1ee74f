"""Prediction with a finished run: from plain arrays, from file to file, and as a job array."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from qexp.base import files
from qexp.base.arrays import by_name, columns_of
from qexp.base.machine import freed_memory_kept, threads
from qexp.base.options import ignore
from qexp.base.quantities import channels_of
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, some, suggestion
from qexp.jobs import launchers
from qexp.jobs.launchers import Submitted
from qexp.kinds import prediction
from qexp.kinds.held_out import networks_of_folds, rules_of_run, with_ends
from qexp.kinds.networks import load_models
from qexp.kinds.objects import device_of, threads_to_predict
from qexp.kinds.options import OnProgress, PredictOptions, SubmitOptions
from qexp.kinds.prediction import FileKind, InputArrays, Prediction, RefinedArrays, TrainingExtent
from qexp.kinds.tables import tables_of
from qexp.networks.estimator import Ensemble
from qexp.networks.network import refusal
from qexp.networks.shapes import Shape, forms, is_vector
from qexp.rows.formats import FORMATS
from qexp.spec.kinds import load_stage
from qexp.store.directory import RunDirectory, target_outside_of_runs

if TYPE_CHECKING:
    import xarray


DRAWS_OF_MEDIAN = 100
"""Draws whose median is compared with the training data, at least."""

VALUES_TOGETHER = 2**18
"""Values of which the density is computed at a time."""


class Predictor:
    """Estimates from arrays; see `predict`."""

    def __init__(self, directory: RunDirectory, device: str = "auto") -> None:
        self.device = device_of(device)
        models = load_models(directory, self.device)
        self.network = models[0].network
        self.ensemble = Ensemble(models)
        self.directory = directory
        self.units = directory.record().units
        self._threads = threads_to_predict(directory.spec(), tables_of(directory), self.device)

    def predict(
        self, inputs: Mapping[str, ArrayLike], warn: Callable[[str], None] = ignore
    ) -> dict[str, NDArray[np.float32]]:
        """Estimates of all outputs, (sample,) each, in their units: means over all folds' networks.

        inputs  variable → (sample, height, width), (sample, height, width, channel), (sample,
                column) or (sample,), in the variable's unit; without the sample axis for a single
                one, which gives estimates without it. Height and width are those of training, or
                any that a network of fields takes; directions such as a heading may be written with
                any number of whole turns
        warn    receives sentences on samples that lie outside the training data
        Raises QexpError for a missing or unknown input or one of another shape.
        """
        tensors, single = self._batch(inputs)
        with threads(self._threads):
            estimated = {name: mean.cpu().numpy() for name, mean in self._means(tensors).items()}
        self._remark(tensors, estimated, warn)
        for name, array in estimated.items():
            values = array[:, 0] if array.shape[1:] == (1,) else array
            estimated[name] = values[0] if single else values
        return estimated

    def _remark(
        self,
        tensors: Mapping[str, torch.Tensor],
        estimated: Mapping[str, NDArray[Any]],
        warn: Callable[[str], None],
    ) -> None:
        if self._extent is not None:
            given = {name: values.cpu().numpy() for name, values in tensors.items()}
            for sentence in self._extent.remarks(given, estimated):
                warn(sentence)

    def _means(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The mean over the networks; frames of another size than in training go one by one."""
        takes = self.ensemble.models[0].takes
        parts = [tensors]
        if any(tensors[name].shape[1:] != shape for name, shape in takes.items()):
            parts = []
            for row in range(len(next(iter(tensors.values())))):
                parts.append({name: values[[row]] for name, values in tensors.items()})
        estimates = [self.ensemble.estimated(part) for part in parts]
        means = {}
        for name in estimates[0]:
            means[name] = torch.cat([part[name].middle for part in estimates])
        return means

    def interval(
        self, inputs: Mapping[str, ArrayLike], coverage: float
    ) -> dict[str, tuple[NDArray[Any], ...]]:
        """Lower and upper ends of intervals, in the shape of the estimates; see `predict`.

        Raises QexpError as `predict` does, and if held-out errors do not promise this coverage.
        """
        sizes = networks_of_folds(self.directory)
        intervals = rules_of_run(self.directory, coverage, list(sizes))
        tensors, single = self._batch(inputs)
        ensemble = Ensemble(self.ensemble.models, list(sizes.values()))
        ends: dict[str, tuple[NDArray[Any], ...]] = {}
        with threads(self._threads):
            estimates = ensemble.estimated(tensors, intervals.probabilities)
            for name, made in with_ends(estimates, intervals).items():
                kept = made.each(lambda values: values[0]) if single else made
                if kept.ends is not None:
                    ends[name] = kept.ends
        return ends

    def posterior(
        self,
        inputs: Mapping[str, ArrayLike],
        draws: int,
        seed: int,
        recalibrated: str | None,
        warn: Callable[[str], None] = ignore,
    ) -> xarray.Dataset:
        """Draws from the joint posterior of the outputs of posterior heads, in their units.

        inputs        as for `predict`
        recalibrated  the part whose calibration tells how wide they are; None: as the head makes
                      them
        warn          receives sentences on samples that lie outside the training data
        returns       output → (chain, draw, sample), one chain, as ArviZ takes them; (chain, draw)
                      for a single sample
        Of several networks, such as those of folds, each makes an equal share of the draws: their
        mixture. Raises QexpError as `predict` does, and for a network without posterior head.
        """
        prediction.require_draws(draws, f"{draws} draws")
        tensors, single = self._complete_batch(inputs)
        with threads(self._threads), torch.no_grad():
            posterior = self._calibrated(recalibrated).posterior(tensors)
            made = posterior.draws(draws, torch.Generator(self.device).manual_seed(seed))
            known = made if draws >= DRAWS_OF_MEDIAN else posterior.draws(DRAWS_OF_MEDIAN)
            medians = known.median(dim=0).values.cpu().numpy()
        columns = np.split(medians, medians.shape[1], axis=1)
        self._remark(tensors, dict(zip(posterior.names, columns, strict=True)), warn)
        units = {name: self.units.get(name, "") for name in posterior.names}
        return _for_arviz(made.cpu().numpy(), units, single)

    def log_prob(
        self, theta: Any, inputs: Mapping[str, ArrayLike], warn: Callable[[str], None] = ignore
    ) -> NDArray[np.float64]:
        """Log density of the posterior at values of outputs with posterior heads; see `Run`."""
        tensors, single = self._complete_batch(inputs)
        with threads(self._threads), torch.no_grad():
            posterior = self.ensemble.posterior(tensors)
            values = _in_columns(theta, posterior.names)
            count = len(next(iter(tensors.values())))
            shape = values.shape[:-1] if single else values.shape[:-1] or (1,)
            if not single and shape[-1] not in (1, count):
                raise QexpError(
                    f"`theta` has the shape {shape}, whose last axis must be that of the {count}"
                    " samples, or have the length 1 for values that are the same for all:"
                    " theta[..., None]"
                )
            rows = values.reshape(-1, 1 if single else shape[-1], values.shape[-1])
            rows = np.broadcast_to(rows, (len(rows), count, rows.shape[-1]))
            parts = np.array_split(rows, 1 + rows.size // VALUES_TOGETHER)
            copies = [torch.from_numpy(part.copy()) for part in parts]
            made = [posterior.log_prob_within(part.to(self.device)) for part in copies]
        self._remark(tensors, {}, warn)
        density = torch.cat(made).double().cpu().numpy()
        return np.asarray(density.reshape(shape if single else (*shape[:-1], count)))

    def simulated(
        self, theta: Any, observed: Any
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, torch.Tensor]]:
        """Simulations for `calibrate`: parameter → (simulation,), input → (simulation, ...)."""
        wanted = self.ensemble.models[0].takes
        named = isinstance(observed, Mapping) and {*observed} <= {*wanted}
        if not named and len(wanted) > 1:
            raise QexpError(
                f"`observed`: the run takes {some(list(wanted))}; give a dictionary of these names"
            )
        inputs = observed if named else {next(iter(wanted)): observed}
        tensors, single = self._complete_batch(inputs)
        heads = list(itertools.chain(*self.network.posteriors.values()))
        names = heads or list(self.network.outputs)
        values = _in_columns(by_name(theta, "`theta`", names, "the posterior is of"), names)
        count = len(next(iter(tensors.values())))
        if single or values.shape[:-1] != (count,):
            raise QexpError(
                f"`theta` has the shape {values.shape}, but there are {count:,} observations"
            )
        return dict(zip(names, values.T, strict=True)), tensors

    def refined(
        self, inputs: Mapping[str, ArrayLike], draws: int, seed: int, warn: Callable[[str], None]
    ) -> xarray.Dataset:
        """As `posterior`, by the known likelihood of simulated images; also without such a head.

        warn  receives a sentence on samples whose draws are not to be trusted
        """
        prediction.require_draws(draws, f"{draws} draws")
        tensors, single = self._batch(inputs)
        with threads(self._threads):
            means = self.ensemble.estimated(tensors)
            start = {name: made.middle[:, 0].cpu().numpy() for name, made in means.items()}
            arrays = {name: values.cpu().numpy() for name, values in tensors.items()}
            values, doubts = self._refined.draw(arrays, start, draws, seed)
        if doubts:
            samples = (
                f" of {len(doubts)} of {values.shape[1]} samples"
                f" ({some(list(map(str, doubts)), 3)})"
            )
            warn(
                f"the draws{'' if single else samples} are not to be trusted:"
                f" {next(iter(doubts.values()))[0]}"
            )
        return _for_arviz(values, self._refined.units, single)

    def _size_of_frames(self, arrays: Mapping[str, NDArray[np.float32]]) -> tuple[int, int] | None:
        """Height and width of arrays whose size is not that of training, if the network allows."""
        for name, shape in self.ensemble.models[0].takes.items():
            sides = arrays[name].shape
            usual = (*shape[1:], shape[0])
            as_in_training = sides in (usual, usual[:2]) or sides[1:] in (usual, usual[:2])
            if len(shape) != 3 or as_in_training or not 2 <= len(sides) <= 4:
                continue
            several = len(sides) == 4 or (len(sides) == 3 and sides[-1] != shape[0])
            height, width = sides[1:3] if several else sides[:2]
            if refusal(self.network, height, width) is None:
                return height, width
        return None

    @cached_property
    def _extent(self) -> TrainingExtent | None:
        extent = file_kind(self.directory).extent
        with suppress(QexpError):  # of data that are gone
            return None if extent is None else extent(self.directory, self.ensemble.models[0])
        return None

    @cached_property
    def _arrays(self) -> InputArrays:
        return file_kind(self.directory).arrays(self.directory, self.network)

    def _calibrated(self, part: str | None) -> Ensemble:
        if part is None:
            return self.ensemble
        recalibrated: Ensemble = self._by_kind("recalibrated")(self.directory, self.ensemble, part)
        return recalibrated

    @cached_property
    def _refined(self) -> RefinedArrays:
        """Raises QexpError for a run on other data than simulated images of a known likelihood."""
        refined: RefinedArrays = self._by_kind("refined")(self.directory, self.ensemble.models[0])
        return refined

    def _by_kind(self, name: str) -> Any:
        """What a kind of files may have. Raises QexpError if that of the run has none."""
        kind = file_kind(self.directory)
        if getattr(kind, name) is None:
            raise not_meant(name, self.directory, kind)
        return getattr(kind, name)

    def _complete_batch(
        self, inputs: Mapping[str, ArrayLike]
    ) -> tuple[dict[str, torch.Tensor], bool]:
        """As `_batch`. Raises QexpError for values that are missing or infinite, too."""
        tensors, single = self._batch(inputs)
        for name, values in self.ensemble.models[0].completed(tensors).items():
            missing = int((~torch.isfinite(values)).sum())
            if missing:
                raise QexpError(
                    f"'{name}' has {missing:,} missing or infinite values, for which no posterior"
                    " is known"
                )
        return tensors, single

    def _batch(self, inputs: Mapping[str, ArrayLike]) -> tuple[dict[str, torch.Tensor], bool]:
        """The inputs as tensors (sample, ...) on the device, and whether it was one sample."""
        wanted = self.ensemble.models[0].takes
        inputs = dict(inputs)
        for name, given in inputs.items():
            if isinstance(given, str | Path):
                called = f"qexp.predict({self.directory.name!r}, {str(given)!r})"
                raise QexpError(
                    f"`{name}={str(given)!r}`: give an array; a file is read by {called}"
                )
        for name in [*inputs]:
            inputs |= _in_channels(inputs[name], channels_of(name, wanted), inputs)
        for name in inputs:
            if name not in wanted:
                raise QexpError(f"the model has no input '{name}'; {suggestion(name, wanted)}")
        for name in wanted:
            if name not in inputs:
                raise QexpError(f"the model needs the input '{name}'")
        tensors, single = {}, False
        arrays = {name: self._arrays.numbers(name, inputs[name]) for name in wanted}
        size = self._size_of_frames(arrays)
        for name, shape in wanted.items():
            batch, single = _as_batch(name, arrays[name], (shape[0], *size) if size else shape)
            tensors[name] = self._arrays.within_turn(name, batch)
        if len({len(tensor) for tensor in tensors.values()}) > 1:
            counts = ", ".join(f"{name}: {len(tensor)}" for name, tensor in tensors.items())
            raise QexpError(f"all inputs must have the same number of samples, but have {counts}")
        return {name: values.to(self.device) for name, values in tensors.items()}, single


def _for_arviz(draws: NDArray[Any], units: Mapping[str, str], single: bool) -> xarray.Dataset:
    """Draws, (draw, sample, variable), of variables with their units, as one chain."""
    import xarray

    dimensions = ("chain", "draw") if single else ("chain", "draw", "sample")
    values = draws[None, :, 0] if single else draws[None]
    variables = dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, str]]]()
    for index, (name, unit) in enumerate(units.items()):
        variables[name] = dimensions, values[..., index], {"units": unit}
    sizes = zip(dimensions, values.shape, strict=False)
    coordinates = {name: np.arange(size) for name, size in sizes}
    return xarray.Dataset(variables, coordinates)


def _in_columns(theta: Any, names: Sequence[str]) -> NDArray[np.float64]:
    """Columns of these names, or the last axis in order: (..., name). Raises QexpError."""
    words = f"the posterior is of {', '.join(names)}"
    try:
        columns = columns_of(theta)
        if columns:
            if {*columns} != {*names}:
                raise QexpError(f"`theta` has {some(list(columns))}, but {words}")
            arrays = [np.asarray(columns[name], np.float64) for name in names]
            values = np.stack(np.broadcast_arrays(*arrays), axis=-1)
        else:
            theta = theta.detach().cpu() if hasattr(theta, "detach") else theta
            values = np.asarray(theta, np.float64)
            values = values[..., None] if len(names) == 1 and values.shape[-1:] != (1,) else values
    except (TypeError, ValueError) as error:
        raise QexpError(f"`theta`: {error}; {words}") from None
    if values.shape[-1:] != (len(names),):
        raise QexpError(
            f"`theta` has the shape {values.shape}, but {words}, one for each place of its last"
            " axis"
        )
    missing = int(np.isnan(values).sum())
    if missing:
        raise QexpError(f"`theta` has {missing:,} missing values")
    return np.asarray(values)


def _in_channels(array: Any, images: Sequence[str], given: Container[str]) -> dict[str, ArrayLike]:
    """Image → its channel in an array, where only some of the images are given."""
    if len(images) == 1 or any(image in given for image in images[1:]):
        return {}
    values = array if hasattr(array, "shape") else np.asarray(array)
    for axis, others in ((-3, (slice(None), slice(None))), (-1, ())):
        if values.ndim > 2 and values.shape[axis] == len(images):
            channels = {}
            for number, image in enumerate(images):
                channels[image] = values[(..., number, *others)]
            return channels
    return {}


def _as_batch(name: str, array: NDArray[np.float32], shape: Shape) -> tuple[torch.Tensor, bool]:
    """(sample, channel, height, width) or (sample, feature), and whether it was a single sample."""
    accepted = forms(shape, last_first=not is_vector(shape))
    for form, last in accepted.items():
        single = array.shape == form
        if single or (array.ndim == len(form) + 1 and array.shape[1:] == form):
            batch = torch.from_numpy(np.ascontiguousarray(array))
            if last:
                return batch.reshape(-1, *shape[1:], shape[0]).permute(0, 3, 1, 2), single
            return batch.reshape(-1, *shape), single
    usual = next(iter(accepted))
    shortest = min(accepted, key=len)
    one = " or ".join(str(list(form)) for form in dict.fromkeys([usual, shortest]))
    several = str(["sample", *shortest]).replace("'", "")
    raise QexpError(
        f"'{name}' must have samples of shape {one}, several of them as {several}, but the array is"
        f" {list(array.shape)}"
    )


MEANT = {
    "columns": "`columns` is for rows and images",
    "unit": "`unit` is for images",
    "interval": (
        "`interval` is for rows and spectra, whose held-out errors make intervals, and for"
        " posterior heads"
    ),
    "draws": "`draws` is for networks with a posterior head",
    "misfit": "`misfit` is for images, which a simulator makes",
    "recalibrated": (
        "`recalibrated` is for posterior heads on images, of which simulations can show how sure"
        " they are"
    ),
    "refined": "`refined` is for images that a simulator makes, whose likelihood is known",
}
"""Field of `PredictOptions` → what it is for."""


def not_meant(name: str, directory: RunDirectory, kind: FileKind) -> QexpError:
    """The error where an option is not for what a run estimates."""
    return QexpError(f"{MEANT[name]}, but {directory.name} estimates {kind.counted}; leave it out")


def file_kind(directory: RunDirectory) -> FileKind:
    """How a run predicts files."""
    kind: FileKind = load_stage(directory.training_spec()["dataset"], "predict")
    return kind


def targets(directory: RunDirectory, options: PredictOptions) -> list[tuple[Path, Path]]:
    """Pairs of what a run reads, a file or a folder, and the file that it writes.

    The target of a single source: see `FileKind.targets`; of several a folder, with files that are
    named after them. Raises QexpError.
    """
    kind = file_kind(directory)
    sources = options.sources
    target = target_outside_of_runs(options.target)
    spec = directory.training_spec()
    named = {**_names(spec["dataset"].get("columns")), **_names(options.columns)}
    inputs = [*spec["inputs"], *(named[name] for name in spec["inputs"] if name in named)]
    if len(sources) == 1:
        return kind.targets(sources[0], target, inputs)
    if target.is_file() or target.suffix.lower() in FORMATS:
        raise QexpError(
            f"{target}: each of {len(sources)} files has its own file of estimates; give a folder"
        )
    # in a folder that exists, files are named after their sources
    with TemporaryDirectory() as folder:
        pairs = list[tuple[Path, Path]]()
        for source in sources:
            for one, new in kind.targets(source, Path(folder), inputs):
                pairs.append((one, target / new.relative_to(folder)))
    for _, new in pairs:
        prediction.require_not_read(new, [source for source, _ in pairs])
    prediction.require_different_targets(pairs)
    return pairs


def _names(columns: Any) -> Mapping[str, str]:
    """Names of variables in files, if columns are such."""
    return columns if isinstance(columns, Mapping) else {}


def predict_files(
    pairs: Sequence[tuple[Path, Path]], directory: RunDirectory, options: PredictOptions
) -> Iterator[Prediction | QexpError]:
    """Predict files one after another; `pairs` come from `targets`.

    yields  the result for each file; the error for a file that cannot be predicted, after which
            others continue
    Raises QexpError if the run does not take an option.
    """
    kind = file_kind(directory)
    for name in MEANT:
        if getattr(options, name) not in (None, False) and name not in kind.takes:
            raise not_meant(name, directory, kind)
    estimate = kind.estimator(directory, options)
    device = device_of(options.device)
    count = threads_to_predict(directory.training_spec(), tables_of(directory), device)
    for source, target in pairs:
        result: Prediction | QexpError
        watched: AbstractContextManager[OnProgress] = nullcontext(prediction.no_progress)
        if options.watched is not None:
            watched = options.watched(kind.counted, source)
        try:
            with watched as progress, threads(count), freed_memory_kept():
                result = estimate(
                    source,
                    target,
                    chunk=options.chunk,
                    overwrite=options.overwrite,
                    progress=progress,
                )
        except QexpError as mistake:
            result = mistake
        yield result


def submit(directory: RunDirectory, workspace: Workspace, options: SubmitOptions) -> Submitted:
    """Submit the prediction of files to a scheduler.

    Raises QexpError if the run cannot predict, SchedulerError if the scheduler refuses.
    """
    launcher, settings = launchers.settled(options, workspace)
    pairs = targets(directory, options)
    load_models(directory, torch.device("cpu"))  # fails here instead of in every task
    if not pairs:
        raise QexpError("there are no files to predict")
    files.make_folder(pairs[0][1].absolute().parent)
    runs = list[str]()
    arguments = dict[str, list[str]]()
    for member in directory.members:
        runs += ["--run", str(member.path.absolute())]
    for source, target in pairs:
        paths = ["--input", str(source.absolute()), "--output", str(target.absolute())]
        arguments[str(target)] = [*runs, *paths, *options.words]
    return launchers.submit(workspace, launcher, settings, "predict", directory, arguments)

"""Evaluation on fields: errors on whole test frames, or on those of other folders, and pictures."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from qexp.base import files, formats
from qexp.base.outputs import ESTIMATE, Output, at_limits as in_words
from qexp.base.text import leaves
from qexp.errors import DatasetError, QexpError, some
from qexp.figures.fields import extent, thinned
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.evaluation import (
    ALL,
    TEST,
    TRAIN,
    EvaluationData,
    EvaluationRequest,
    Independence,
    trained_on,
)
from qexp.kinds.fields.dataset import EvaluatedFrames, GriddedDataset
from qexp.kinds.fields.errors import (
    OF_VECTORS,
    OfOutputs,
    Tally,
    by_folder,
    error_document,
    error_table,
)
from qexp.kinds.fields.folders import (
    KNOWN_VECTORS,
    NETCDF,
    FieldError,
    FieldFolder,
    FieldReading,
    Fields,
    field_folders,
    folders_of_fields,
)
from qexp.kinds.fields.frames import THICKNESS, Frames, cached_frames, in_untrained_cells
from qexp.kinds.fields.prediction import CELLS_AT_ONCE, estimates_of
from qexp.kinds.fields.spec import FIELD_ERRORS
from qexp.kinds.files import data_folder
from qexp.kinds.networks import network_of
from qexp.kinds.prediction import require_there
from qexp.kinds.scores import TABLE, attributes, recorded
from qexp.kinds.training import NetworkTraining
from qexp.metrics.intervals import intervals_over_pieces
from qexp.metrics.metric import Metrics
from qexp.networks.estimator import Estimator
from qexp.networks.network import refusal
from qexp.networks.training import Trainer, deterministic
from qexp.rows.array_cache import Array, content_hash
from qexp.spec.reading import Document
from qexp.store.directory import FRAMES, RunDirectory
from qexp.store.record import Feature, FieldErrors

log = logging.getLogger("qexp.run")

KEPT_FRAMES = 10
"""Largest number of frames per folder that are kept for figures."""

TIMED_FRAMES = 21
"""Number of frames on which the network's speed is measured; the first is a warm-up."""


Block = tuple[Fields, Fields, Array | None]
"""Consecutive frames of a folder: output → estimates, (frame, y, x), and true values, in the
output's unit; and the thickness, None if it is not known.
"""


def _evaluate_trained(attempt: Attempt, trainer: Trainer) -> Results | None:
    """On whole test frames; None if interrupted."""
    model = trainer.model
    fields = attempt.dataset.test
    if (tallies := tallied(attempt, fields, model, trainer.recipe.metrics)) is None:
        return None
    targets = training_ranges(attempt.dataset, model.network.outputs)
    return replace(results_of(attempt, fields, model, tallies), targets=targets)


train = NetworkTraining(_evaluate_trained)


def tallied(
    attempt: Attempt, fields: EvaluatedFrames, model: Estimator, metrics: OfOutputs
) -> dict[str, Tally] | None:
    """Estimate whole frames, and write some of each folder. Returns folder → its errors; None if
    interrupted.

    Memory depends on the size of the frames and not on their number.
    """
    outputs = attempt.outputs
    metrics = {
        **metrics,
        **{", ".join(pair): OF_VECTORS for pair in fields.vectors if set(pair) <= set(outputs)},
    }
    tallies: dict[str, Tally] = {}
    limited = {name: one for name, one in outputs.items() if one.limited}
    at_limits = dict.fromkeys(limited, 0)
    with deterministic():
        for frames in fields.folders:
            tally = tallies[frames.name] = Tally(metrics, fields.threshold)
            kept = _KeptFrames(frames, fields.threshold)
            for block in estimated(frames, model, attempt.device):
                if attempt.interrupted():
                    return None
                tally.add(*block)
                kept.add(*block)
                for name, output in limited.items():
                    at_limits[name] += output.reached(block[0][name])
            kept.write(attempt.directory, outputs, attempt.caution)
            log.info(
                "evaluated %s: %d frames, %s cells",
                frames.name,
                len(frames),
                f"{tally.total.cells:,}",
            )
    cells = sum(math.prod(frames.fields.shape[:3]) for frames in fields.folders)
    for name, output in limited.items():
        log.info("%s", in_words(name, output.limited, output.unit, at_limits[name], cells))
    return tallies


def training_ranges(dataset: GriddedDataset, outputs: Sequence[str]) -> tuple[Feature, ...]:
    """The outputs with the ranges of their true values in the training folders."""
    ends = dict.fromkeys(outputs, (np.inf, -np.inf))
    for frames in dataset.training_folders:
        for block in _blocks(frames, outputs):
            for name, values in block.items():
                least, greatest = ends[name]
                ends[name] = min(least, float(values.min())), max(greatest, float(values.max()))
    return tuple(
        Feature(column=name, least=least, greatest=greatest)
        for name, (least, greatest) in ends.items()
    )


def _blocks(frames: Frames, names: Sequence[str]) -> Iterator[Fields]:
    """The frames of a folder, some at a time: variable → (frame, y, x)."""
    at_once = max(1, CELLS_AT_ONCE // math.prod(frames.size))
    for start in range(0, len(frames), at_once):
        yield frames.read(names, start, start + at_once)


def results_of(
    attempt: Attempt, fields: EvaluatedFrames, model: Estimator, tallies: Mapping[str, Tally]
) -> Results:
    """Write tables of all folders, and measure the network's speed."""
    directory = attempt.directory
    first, *others = tallies.values()
    total = sum(others, first)
    errors = error_document(tallies, total, attempt.record.units)
    if lines := directory.metrics():  # an evaluation has none
        files.write_bytes(directory.results / "history.csv", history(lines).encode())
    files.write_bytes(directory.results / TABLE, error_table(errors).encode())
    # last, since it marks the run as evaluated
    formats.write_json(directory.results / FIELD_ERRORS, errors)
    timing = seconds_per_frame(fields.folders[0], model, attempt.device)
    overall = errors["overall"]
    brief = FieldErrors.from_document(
        {"cells": overall["cells"], "vectors": overall["vectors"], **timing}
    )
    return Results(
        {directory.part: total.total.metrics()}, errors=brief, groups=recorded(by_folder(tallies))
    )


def estimated(frames: Frames, model: Estimator, device: torch.device) -> Iterator[Block]:
    """The frames of a folder with their estimates, in blocks."""
    outputs = model.network.outputs
    known = [THICKNESS] if THICKNESS in frames.variables else []
    names = dict.fromkeys([*model.network.inputs, *outputs, *known])
    for read in _blocks(frames, list(names)):
        estimates = estimates_of(model, read, device, len(read[outputs[0]]))
        yield estimates, {name: read[name] for name in outputs}, read.get(THICKNESS)


def seconds_per_frame(frames: Frames, model: Estimator, device: torch.device) -> Document:
    """The time that the network alone takes for one frame: the median over frames, without the
    first [s].

    Frames of a folder with few frames are used repeatedly.
    """
    seconds = []
    for index in range(TIMED_FRAMES):
        number = index % len(frames)
        read = frames.read(list(model.network.inputs), number, number + 1)
        inputs = {
            name: model.transformed(name, torch.from_numpy(values).unsqueeze(1).to(device))
            for name, values in read.items()
        }
        _synchronise(device)
        started = time.perf_counter()
        model.outputs(inputs)
        _synchronise(device)
        seconds.append(time.perf_counter() - started)
    return {
        "seconds_per_frame": round(median(seconds[1:]), 6),
        "frame": list(frames.size),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }


def _synchronise(device: torch.device) -> None:
    """Wait for the GPU, which returns before its work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _KeptFrames:
    """Frames of a folder for figures, evenly spread, no finer than figures can show."""

    def __init__(self, frames: Frames, threshold: float | None) -> None:
        self._frames, self._threshold = frames, threshold
        self._numbers = np.unique(
            np.linspace(0, len(frames) - 1, min(KEPT_FRAMES, len(frames))).round().astype(int)
        )
        self._fields: dict[str, list[Array]] = {}
        """Variable of the file → a field, (y, x), per kept frame."""
        self._seen = 0

    def add(self, estimates: Fields, truths: Fields, thickness: Array | None) -> None:
        """Keep the wanted ones of the next frames; cells known to have no ice are NaN."""
        least = 0.0 if self._threshold is None else self._threshold
        for index in range(len(next(iter(truths.values())))):
            for ending, fields in (
                (("", truths), (ESTIMATE, estimates)) if self._seen in self._numbers else ()
            ):
                for name, values in fields.items():
                    field = values[index]
                    if thickness is not None:
                        field = np.where(thickness[index] > least, field, np.float32(np.nan))
                    self._fields.setdefault(f"{name}{ending}", []).append(thinned(field))
            self._seen += 1

    def write(self, directory: RunDirectory, outputs: Mapping[str, Output], caution: str) -> None:
        """`results/frames/<folder>.nc`: true and estimated fields of the frames, with their numbers
        and times.
        """
        import xarray

        frames = self._frames
        variables = {}
        for name, fields in self._fields.items():
            output = outputs[name.removesuffix(ESTIMATE)]
            about = {"units": output.unit}
            if name.endswith(ESTIMATE) and output.limited:
                about["limits"] = output.limited
            variables[name] = ("frame", "y", "x"), np.stack(fields), about
        coordinates: dict[str, Any] = {"frame": self._numbers}
        if frames.time is not None:
            unit = str(frames.attributes.get("time", {}).get("units", ""))
            coordinates["time"] = ("frame", np.asarray(frames.time)[self._numbers], {"units": unit})
        where = extent(frames.x, frames.y, frames.size)
        region = {
            "extent": [where.left, where.right, where.bottom, where.top],
            "extent_unit": where.unit,
        }
        about = attributes(
            directory,
            caution,
            folder=frames.name,
            frames=len(frames),
            **region,
        )
        table = xarray.Dataset(variables, coordinates, about)
        folder = directory.results / FRAMES
        files.make_folder(folder)
        packed = {name: {"zlib": True, "complevel": 4, "shuffle": True} for name in variables}
        formats.write_netcdf(folder / f"{frames.name}.nc", table, packed)


def history(lines: Sequence[Mapping[str, Any]]) -> str:
    """A CSV line per epoch: its number, the learning rate, losses and metrics, named as `qexp ls`
    names them.
    """
    rows = []
    columns = dict[str, None]()
    for line in lines:
        shown = {key: line[key] for key in line if key not in ("best", "not_finite")}
        rows.append(dict(leaves(shown)))
        columns |= dict.fromkeys(rows[-1])
    return formats.csv_text(list(columns), [list(map(row.get, columns)) for row in rows])


MOST_NAMED = 3
"""Names of folders in a message."""


def open_data(request: EvaluationRequest) -> EvaluationData:
    """The fields of a dataset; of one folder or NetCDF file; or of all folders below a folder."""
    document = dict(request.document or request.spec["dataset"])
    sources, part, usual = _sources(request, FieldReading.from_document(document))
    names = Counter(source.name for source in sources)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise QexpError(
            f"several folders are called {some(repeated, MOST_NAMED)}; errors are listed by folder:"
            " evaluate one part at a time"
        )
    for source in sources:
        if lacking := source.lacking(request.outputs):
            raise request.without_truth(lacking)
    fields = _evaluated_frames(request, sources, document)
    contents = []
    # the same in whatever folders they lie
    for source in sorted(sources, key=lambda source: source.name):
        of_files = [f"{path.name}:{content_hash(path)}" for path in sorted(source.files)]
        contents.append(f"{source.name} {'/'.join(of_files)}")
    fingerprint = hashlib.sha256("\n".join(contents).encode()).hexdigest()
    document |= {"fingerprint": fingerprint, "include_test_in_train": False}
    if request.source is not None:
        document |= {"path": str(request.source), "found": str(request.source.absolute())}

    def evaluate(
        attempt: Attempt, models: Sequence[Estimator], metrics: Mapping[str, Metrics]
    ) -> Results | None:
        tallies = tallied(attempt, fields, models[0], metrics)
        if tallies is None:
            return None
        # Frames of one folder resemble each other.
        sums = [tally.total.sums for tally in tallies.values()]
        intervals = {}
        for output in metrics:
            intervals[output] = intervals_over_pieces([folder[output] for folder in sums])
        results = results_of(attempt, fields, models[0], tallies)
        return replace(results, intervals={attempt.directory.part: intervals})

    spacings = {
        folder.name: folder.spacing for folder in fields.folders if folder.spacing is not None
    }
    warnings = in_untrained_cells(spacings, request.spec["dataset"].get("spacing", []))
    frames = sum(map(len, fields.folders))
    independence = partial(_independence, sources=sources)
    return EvaluationData(document, part, usual, frames, independence, evaluate, warnings=warnings)


def _evaluated_frames(
    request: EvaluationRequest, sources: Sequence[FieldFolder], document: Mapping[str, Any]
) -> EvaluatedFrames:
    """The frames of some folders. Raises QexpError if network or threshold do not fit."""
    spec = request.spec
    threshold = document.get("threshold")
    vectors = document.get("vectors")
    names = list(dict.fromkeys([*spec["inputs"], *request.outputs]))
    frames = [cached_frames(source, names) for source in sources]
    lacking = [folder.name for folder in frames if THICKNESS not in folder.variables]
    if threshold is not None and lacking:
        raise QexpError(
            f"{some(lacking, MOST_NAMED)} of {request.name} has no thickness '{THICKNESS}' to"
            " compare with 'threshold'"
        )
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], request.tables)
    for folder in frames:
        if reason := refusal(network, *folder.size):
            raise QexpError(f"{folder.folder}: {reason}")
    pairs = KNOWN_VECTORS if vectors is None else [(x, y) for x, y in vectors]
    return EvaluatedFrames(frames, pairs, threshold)


def _sources(
    request: EvaluationRequest, reading: FieldReading
) -> tuple[list[FieldFolder], str, str]:
    """The folders of the part that is asked for, the part, and the usual part of such data."""
    opened: Callable[[Path], FieldFolder] = reading.open
    if request.document is not None:
        root = data_folder(request.document, request.workspace)
    else:
        opened = reading.open_other
        root = request.source or Path()
        require_there(root)
        if not (root / TRAIN).is_dir() and not (root / TEST).is_dir():
            part = request.chosen_part(
                ALL, (ALL,), f"{root} is not divided into {TRAIN}/ and {TEST}/"
            )
            folders = folders_of_fields(root, known=[reading.file or NETCDF, NETCDF])
            return list(map(opened, folders)), part, ALL
    usual = TEST if (root / TEST).is_dir() else ALL
    part = request.chosen_part(
        usual, (TRAIN, TEST, ALL), "validation frames are not in folders of their own"
    )
    parts = [
        name for name in (TRAIN, TEST) if part == name or (part == ALL and (root / name).is_dir())
    ]
    folders = list(chain.from_iterable(field_folders(root / name) for name in parts))
    return list(map(opened, folders)), part, usual


def _independence(request: EvaluationRequest, sources: Sequence[FieldFolder]) -> Independence:
    """Whether no folder has the files of one that the run was trained on, or its name."""
    try:
        trained = request.trained
        tested = list(trained.hashes_of(trained.test.folders).values())
        training = trained.hashes_of(trained.training_folders)
    except (DatasetError, FieldError) as error:
        return Independence(
            None, (f"the fields that the run was trained on cannot be read: {error}",)
        )
    hashes = {source.name: trained.hashes(source) for source in sources}
    everything = set().union(*training.values())
    same = [name for name, of_folder in hashes.items() if of_folder & everything]
    # Folders of the dataset's own test part may be numbered like those of its training part.
    elsewhere = [name for name, of_folder in hashes.items() if of_folder not in tested]
    alike_named = [name for name in elsewhere if name in training and name not in same]
    shared = [f"folders with training fields: {some(same, MOST_NAMED)}"] if same else []
    doubts = [
        "folders with the names of training folders, but other fields:"
        f" {some(alike_named, MOST_NAMED)}"
    ]
    compared = "the fields, or the name," if elsewhere else "the fields"
    nothing = f"no folder has {compared} of a training folder"
    caution = trained_on(len(same), len(sources))
    return Independence.of(shared, doubts if alike_named else [], nothing, caution)

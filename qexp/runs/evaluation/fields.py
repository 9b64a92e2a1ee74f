"""Evaluation on gridded fields: errors on whole test frames, some of the frames, and the network's speed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp import files
from qexp.datasets.gridded import EvaluatedFrames, Frames, GriddedDataset
from qexp.datasets.gridded.frames import THICKNESS
from qexp.estimates import ESTIMATE
from qexp.figures.fields import extent, thinned
from qexp.limits import Limits
from qexp.limits import at_limits as in_words
from qexp.networks.estimator import Inversion
from qexp.networks.training import deterministic
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation import field_errors
from qexp.runs.evaluation.field_errors import Array, OfOutputs, Tally
from qexp.runs.evaluation.group_errors import TABLE, recorded
from qexp.runs.evaluation.results import Results
from qexp.runs.record.directory import FRAMES, RunDirectory
from qexp.runs.record.record import Feature, FieldErrors
from qexp.spec.kinds.gridded import FIELD_ERRORS

log = logging.getLogger("qexp.run")

CELLS_AT_ONCE = 2**18
"""Largest number of cells estimated together: intermediate results then take a few hundred megabytes."""

KEPT = 10
"""Largest number of frames per folder that are kept for figures."""

TIMED = 21
"""Number of frames on which the network's speed is measured; the first is a warm-up."""


@dataclass(frozen=True)
class Block:
    """Some frames of a folder, output → (frame, y, x), in the output's unit."""

    first: int
    estimates: Mapping[str, Array]
    truths: Mapping[str, Array]
    thickness: Array | None
    """None if it is not known."""

    def __len__(self) -> int:
        return len(next(iter(self.truths.values())))

    def above(self, threshold: float | None) -> NDArray[np.bool_]:
        """Whether each cell has ice thicker than a threshold [m]; true for all if it or the thickness is not given."""
        if threshold is None or self.thickness is None:
            return np.ones(next(iter(self.truths.values())).shape, dtype=bool)
        return self.thickness > threshold


def evaluate(attempt: Attempt, fields: EvaluatedFrames, model: Inversion, metrics: OfOutputs) -> Results | None:
    """Estimate whole frames by folder, and write errors and some frames; None if interrupted."""
    tallies = tallied(attempt, fields, model, metrics)
    return None if tallies is None else results_of(attempt, fields, model, tallies)


def tallied(attempt: Attempt, fields: EvaluatedFrames, model: Inversion, metrics: OfOutputs) -> dict[str, Tally] | None:
    """Estimate whole frames, and write some of each folder. Returns folder → its errors; None if interrupted.

    Memory depends on the size of the frames and not on their number.
    """
    directory, record, device = attempt.directory, attempt.record, attempt.device
    outputs, units = model.network.outputs, record.units
    vectors = [pair for pair in fields.vectors if set(pair) <= set(outputs)]
    tallies: dict[str, Tally] = {}
    at_limits = dict.fromkeys(model.limits, 0)
    with deterministic():
        for frames in fields.folders:
            tally = tallies[frames.name] = Tally(metrics, vectors, fields.threshold)
            kept = _KeptFrames(frames, fields.threshold)
            for block in estimated(frames, model, device):
                if attempt.interrupted():
                    return None
                _add(tally, block, fields.threshold)
                kept.add(block)
                for name, limits in model.limits.items():
                    at_limits[name] += limits.reached(block.estimates[name])
            kept.write(directory, units, model.limits, record.caution)
            log.info("evaluated %s: %d frames, %s cells", frames.name, len(frames), f"{tally.whole.cells:,}")
    cells = sum(len(frames) * frames.size[0] * frames.size[1] for frames in fields.folders)
    for name, limits in model.limits.items():
        log.info("%s", in_words(name, limits, units.get(name, ""), at_limits[name], cells))
    return tallies


def training_ranges(dataset: GriddedDataset, outputs: Sequence[str]) -> tuple[Feature, ...]:
    """The outputs with the ranges of their true values in the training folders, read some frames at a time."""
    ends = dict.fromkeys(outputs, (np.inf, -np.inf))
    for frames in dataset.training_folders:
        at_once = max(1, CELLS_AT_ONCE // (frames.size[0] * frames.size[1]))
        for start in range(0, len(frames), at_once):
            for name, values in frames.read(outputs, start, min(start + at_once, len(frames))).items():
                ends[name] = min(ends[name][0], float(values.min())), max(ends[name][1], float(values.max()))
    return tuple(Feature(column=name, least=least, greatest=greatest) for name, (least, greatest) in ends.items())


def results_of(attempt: Attempt, fields: EvaluatedFrames, model: Inversion, tallies: Mapping[str, Tally]) -> Results:
    """Write the errors of all folders, and measure the network's speed."""
    directory, record, device = attempt.directory, attempt.record, attempt.device
    total = _summed(list(tallies.values()))
    errors = field_errors.document(tallies, total, record.units)
    _write(directory, errors)
    timing = seconds_per_frame(fields.folders[0], model, device)
    whole = errors["overall"]
    brief = FieldErrors.from_document({"cells": whole["cells"], "vectors": whole["vectors"], **timing})
    groups = recorded(field_errors.by_folder(tallies))
    return Results({directory.part: total.whole.metrics()}, errors=brief, groups=groups)


def estimated(frames: Frames, model: Inversion, device: torch.device) -> Iterator[Block]:
    """The frames of a folder with their estimates, in blocks."""
    inputs, outputs = list(model.network.inputs), model.network.outputs
    thickness_is_known = THICKNESS in frames.variables
    names = list(dict.fromkeys([*inputs, *outputs, *([THICKNESS] if thickness_is_known else [])]))
    at_once = max(1, CELLS_AT_ONCE // (frames.size[0] * frames.size[1]))
    for start in range(0, len(frames), at_once):
        read = frames.read(names, start, min(start + at_once, len(frames)))
        samples = {name: torch.from_numpy(read[name]).unsqueeze(1).to(device) for name in inputs}
        made = model.estimate(samples, batch_size=at_once)
        yield Block(
            start,
            {name: made[name].squeeze(1).cpu().numpy() for name in outputs},
            {name: read[name] for name in outputs},
            read.get(THICKNESS),
        )


def seconds_per_frame(frames: Frames, model: Inversion, device: torch.device) -> dict[str, Any]:
    """The time that the network alone takes for one frame: the median over frames, without the first [s].

    Frames of a folder with few frames are used repeatedly.
    """
    seconds = []
    for index in range(TIMED):
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


def _add(tally: Tally, block: Block, threshold: float | None) -> None:
    counted = block.above(threshold)
    tally.add(
        {name: values[counted] for name, values in block.estimates.items()},
        {name: values[counted] for name, values in block.truths.items()},
        None if block.thickness is None else block.thickness[counted],
    )


def _summed(tallies: Sequence[Tally]) -> Tally:
    total = tallies[0]
    for tally in tallies[1:]:
        total += tally
    return total


class _KeptFrames:
    """Frames of a folder for figures, evenly spread over time, with no more cells than a figure can show."""

    def __init__(self, frames: Frames, threshold: float | None) -> None:
        self._frames, self._threshold = frames, threshold
        self._numbers = np.unique(np.linspace(0, len(frames) - 1, min(KEPT, len(frames))).round().astype(int))
        self._fields: dict[str, list[Array]] = {}
        """Variable of the file → a field, (y, x), per kept frame."""

    def add(self, block: Block) -> None:
        """Keep the wanted frames of a block; cells without ice are NaN if the thickness is known."""
        ice = block.above(0.0 if self._threshold is None else self._threshold)
        for number in self._numbers[(self._numbers >= block.first) & (self._numbers < block.first + len(block))]:
            index = number - block.first
            for ending, of in (("", block.truths), (ESTIMATE, block.estimates)):
                for name, values in of.items():
                    seen = np.where(ice[index], values[index], np.float32(np.nan))
                    self._fields.setdefault(f"{name}{ending}", []).append(thinned(seen))

    def write(
        self, directory: RunDirectory, units: Mapping[str, str], limits: Mapping[str, Limits], caution: str
    ) -> None:
        """`results/frames/<folder>.nc`: true and estimated fields of the frames, with their numbers and times."""
        import xarray

        frames = self._frames
        variables = {
            name: (("frame", "y", "x"), np.stack(fields), {"units": units.get(name.removesuffix(ESTIMATE), "")})
            for name, fields in self._fields.items()
        }
        for name, of in limits.items():
            variables[f"{name}{ESTIMATE}"][2]["limits"] = str(of)
        coordinates: dict[str, Any] = {"frame": self._numbers}
        if frames.time is not None:
            unit = str(frames.attributes.get("time", {}).get("units", ""))
            coordinates["time"] = ("frame", np.asarray(frames.time)[self._numbers], {"units": unit})
        where = extent(frames.x, frames.y, frames.size)
        attributes = {
            "run": directory.name, "part": directory.part, "folder": frames.name, "frames": len(frames),
            "extent": [where.left, where.right, where.bottom, where.top], "extent_unit": where.unit,
            **({"caution": caution} if caution else {}),
        }  # fmt: skip
        table = xarray.Dataset(variables, coordinates, attributes)
        files.make_folder(folder := directory.results / FRAMES)
        packed = {name: {"zlib": True, "complevel": 4, "shuffle": True} for name in variables}
        content = bytes(table.to_netcdf(engine="h5netcdf", encoding=packed))
        files.write_bytes(folder / f"{frames.name}.nc", content)


def _write(directory: RunDirectory, errors: dict[str, Any]) -> None:
    """Write tables of all folders; `errors.json` comes last, since it marks the run as evaluated."""
    if lines := directory.metrics():  # an evaluation has none
        files.write_bytes(directory.results / "history.csv", history(lines).encode())
    files.write_bytes(directory.results / TABLE, field_errors.table(errors).encode())
    files.write_json(directory.results / FIELD_ERRORS, errors)


def history(lines: Sequence[Mapping[str, Any]]) -> str:
    """A CSV line per epoch: its number, the learning rate, losses and metrics, named as `qexp ls` names them."""
    rows = [dict(_flat({key: line[key] for key in line if key not in ("best", "not_finite")})) for line in lines]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return files.csv_text(columns, ([row.get(name) for name in columns] for row in rows))


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value

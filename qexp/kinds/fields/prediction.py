"""Prediction of fields that need not fit into memory, such as the frames of an ice-sheet model."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qexp.base import files
from qexp.errors import QexpError
from qexp.kinds.fields.folders import (
    FieldFolder,
    FieldReading,
    Fields,
    FrameGrid,
    NetcdfFolder,
    folders_of_fields,
)
from qexp.kinds.fields.frames import in_untrained_cells
from qexp.kinds.networks import load_model
from qexp.kinds.objects import device_of
from qexp.kinds.options import OnProgress
from qexp.kinds.prediction import (
    EstimateTally,
    Estimation,
    FileKind,
    FileModel,
    identity,
    named_after,
    of_run,
    require_not_read,
    require_there,
)
from qexp.networks.estimator import Estimator
from qexp.networks.network import refusal
from qexp.rows.arrays import open_dataset
from qexp.spec.reading import Document
from qexp.store.directory import RunDirectory

if TYPE_CHECKING:
    import xarray

DIMENSIONS = ("time", "y", "x")

POSITIONS = ("lat", "lon", "latitude", "longitude")
"""Names that are taken as coordinates of cells, even if no variable refers to them."""

STORED = np.dtype("<f4")

ABOUT_OTHERS = ("bounds", "climatology", "ancillary_variables")
"""Attributes that refer to variables that are not copied."""


@dataclass(frozen=True)
class FieldGrid(FrameGrid):
    """The grid of estimates, with what is copied from the source."""

    about_time: Mapping[str, Any]
    """Attributes of the time axis."""
    source: Path | None
    """A NetCDF file with further coordinates of the same cells, or None."""
    same_cells: bool
    """Whether the cells are those of the source file, not resampled."""


@contextmanager
def new_field_file(
    path: Path, grid: FieldGrid, outputs: Mapping[str, Mapping[str, str]], about: Mapping[str, str]
) -> Iterator[Callable[[int, Fields], None]]:
    """A function that writes frames from an index on into a new file; output → (frame, y, x), y and
    x ascending.

    outputs  name → attributes
    about    attributes of the file
    The bytes do not depend on how many frames are written at a time. Raises OSError if the disk is
    full, also inside.
    """
    import h5py

    size_of_frame = math.prod(grid.size) * STORED.itemsize
    # HDF5 would fail without space for everything except the fields: at most 1 MiB of names,
    # attributes and axes, and a longitude and a latitude of each cell; or with a limit on the size
    # of files.
    further = 2**20 + (16 * math.prod(grid.size) if grid.source is not None else 0)
    if shutil.disk_usage(path.absolute().parent).free < further:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    with path.open("wb") as hole:  # which needs no disk space
        hole.truncate(further + len(outputs) * grid.frames * size_of_frame)
    _lay_out(path, grid, outputs, about)
    with h5py.File(path) as layout:
        offsets: dict[str, int] = {name: layout[name].id.get_offset() for name in outputs}
    y, x = (slice(None, None, -1 if axis and axis.descends else 1) for axis in (grid.y, grid.x))
    # If the disk fills up, HDF5 crashes the process; writing to a plain file raises an error.
    with path.open("r+b") as file:

        def write(start: int, fields: Fields) -> None:
            for name, offset in offsets.items():
                file.seek(offset + start * size_of_frame)
                file.write(np.ascontiguousarray(fields[name][:, y, x], dtype=STORED).data)

        yield write


def _lay_out(
    path: Path, grid: FieldGrid, outputs: Mapping[str, Mapping[str, str]], about: Mapping[str, str]
) -> None:
    """Write everything except the fields, and leave a hole in the file for each of them."""
    import h5netcdf.legacyapi
    import h5py

    # Contiguous, with its place fixed at once: chunks would be stored in the order in which they
    # were written.
    in_place = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    in_place.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    in_place.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5netcdf.legacyapi.Dataset(path, "w") as file:
        for name, size in zip(DIMENSIONS, (grid.frames, *grid.size), strict=True):
            file.createDimension(name, size)
        _describe(file, about)
        for name, axis in (("y", grid.y), ("x", grid.x)):
            if axis is not None:
                variable = file.createVariable(name, np.float64, (name,))
                variable[:] = axis.values[::-1] if axis.descends else axis.values
                _describe(variable, {"units": "m", "axis": name.upper(), **(axis.attributes or {})})
        if grid.time is not None:
            variable = file.createVariable("time", np.float64, ("time",))
            variable[:] = grid.time
            _describe(variable, {"axis": "T", **grid.about_time})
        references = _write_other_coordinates(file, grid)
        for name, attributes in outputs.items():
            variable = file.create_variable(name, DIMENSIONS, dtype=STORED, dcpl=in_place)
            _describe(variable, {**attributes, **references})


def _write_other_coordinates(file: Any, grid: FieldGrid) -> dict[str, str]:
    """Copy further coordinates of the cells. Returns attributes by which variables name them."""
    if grid.source is None:
        return {}
    references: dict[str, Any] = {}
    with open_dataset(grid.source) as data:
        for variable in data.variables.values():
            mapping = variable.attrs.get("grid_mapping", variable.encoding.get("grid_mapping"))
            if mapping in data.variables:
                described = file.createVariable(mapping, np.int32, ())
                _describe(described, data.variables[mapping].attrs)
                references["grid_mapping"] = mapping
                break
        coordinates = list(_coordinates_of_cells(data, grid.size)) if grid.same_cells else []
        for name, dimensions, variable in coordinates:
            copy = file.createVariable(name, variable.dtype, dimensions)
            copy[:] = variable.values
            _describe(copy, variable.attrs)
        if coordinates:
            references["coordinates"] = " ".join(name for name, _, _ in coordinates)
    return references


def _coordinates_of_cells(
    data: xarray.Dataset, size: tuple[int, int]
) -> Iterator[tuple[str, tuple[str, ...], xarray.Variable]]:
    """Name, dimensions in this file, and values of the numeric coordinates along y, x or both."""
    field = next(variable for variable in data.variables.values() if variable.ndim >= 3)
    axes = dict(zip(field.dims[-2:], ("y", "x"), strict=True))
    sides = dict(zip(("y", "x"), size, strict=True))
    for name, variable in data.variables.items():
        is_place = (name in data.coords or name in POSITIONS) and name not in DIMENSIONS
        dimensions = tuple(axes[dimension] for dimension in variable.dims if dimension in axes)
        shape = tuple(sides[dimension] for dimension in dimensions)
        if is_place and dimensions and variable.shape == shape and variable.dtype.kind in "iuf":
            yield str(name), dimensions, variable


def _describe(variable: Any, attributes: Mapping[str, Any]) -> None:
    """Set attributes of a variable, or of the file."""
    for key, value in attributes.items():
        if key not in ABOUT_OTHERS:
            variable.setncattr(key, value)


CELLS_AT_ONCE = 2**18
"""Cells of each variable that are processed at a time, unless a single frame has more; they take a
few hundred megabytes.
"""


@dataclass(frozen=True, kw_only=True)
class FieldModel(FileModel):
    """The parts of a run that are needed to predict fields.

    Slopes are computed and cells resampled as for training; no frame is left out. A new NetCDF file
    has the estimates over (time, y, x) and the coordinates with their attributes; y and x have the
    order of the source.
    """

    inputs: Sequence[str]
    estimate: Callable[[Fields], Fields]
    """From input → (frame, y, x) to output → (frame, y, x), each frame independently."""
    refusal: Callable[[int, int], str | None] = lambda height, width: None
    """Returns why frames of a height and width cannot be predicted, or None."""
    reading: FieldReading = field(default_factory=FieldReading)
    """How the fields that it was trained on were read."""
    spacings: Sequence[Sequence[float]] = ()
    """Cell sizes along y and x that the network was trained on, after resampling [m]."""

    @property
    def attributes(self) -> dict[str, str]:
        return {
            "Conventions": "CF-1.11",
            **{key: text for key, text in self.origin.items() if text},
        }

    def open(self, source: Path, target: Path) -> FieldEstimation:
        return FieldEstimation(self, source, target)


def targets(source: Path, target: Path, inputs: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """The source (a file or folder of fields) and the NetCDF file to write; for a folder of such
    folders, one for each.

    target  the file, or an existing folder for a file that is named after the source; for several,
            a folder, in which the files lie as the folders do in the source
    Raises QexpError for an invalid target, NotFoundError if the source does not exist.
    """
    require_there(source)
    folders = folders_of_fields(source)
    if folders != [source]:
        if target.suffix.lower() == ".nc" or target.is_file():
            several = f"{source} has {len(folders)} folders of fields, each with its own file"
            raise QexpError(f"{target}: {several} of estimates; give a folder")
        if target.resolve().is_relative_to(source.resolve()):
            read = f"lies inside {source} and would be read as fields next time"
            raise QexpError(f"{target} {read}; give another `target`")
        names = [folder.relative_to(source).with_name(f"{folder.name}.nc") for folder in folders]
        return [(folder, target / name) for folder, name in zip(folders, names, strict=True)]
    target = named_after(source, target, ".nc")
    if target.suffix.lower() != ".nc":
        written = "estimates of fields are written as NetCDF; let its name end in .nc"
        raise QexpError(f"{target}: {written}")
    return [(source, target)]


class FieldEstimation(Estimation[FieldModel]):
    """Estimates of all frames of a NetCDF file of any name, or of a folder with `ex.nc` or npy
    files.

    Memory depends on the size of a frame, not on the number of frames.
    Raises FieldError for fields that are missing, inconsistent, or not numbers, and NotFoundError.
    """

    def __init__(self, model: FieldModel, source: Path, target: Path) -> None:
        super().__init__(model, source, target)
        require_there(source)
        # Estimates are made of all frames.
        self._fields = replace(model.reading, stepping=1).open_other(source)
        require_not_read(target, self._fields.files_read)
        self.identity = [identity(path) for path in self._fields.files_read]
        self._grid = FieldGrid(
            **vars(self._fields.grid(model.inputs)),
            about_time=self._fields.attributes("time"),
            source=self._fields.file if isinstance(self._fields, NetcdfFolder) else None,
            same_cells=model.reading.resample == 1,
        )
        if reason := model.refusal(*self._grid.size):
            raise QexpError(f"{source}: {reason}")
        self._warnings: list[str] = []

    def write(self, chunk: int | None, progress: OnProgress) -> Document:
        model = self.model
        target = self.target
        fields = self._fields
        grid = self._grid
        tally = EstimateTally(model)
        frames = grid.frames
        cells = grid.size[0] * grid.size[1]
        size = STORED.itemsize * frames * cells * len(model.outputs)
        if (free := shutil.disk_usage(target.absolute().parent).free) < size:
            needed = (
                f"the estimates take {size / 1e6:.0f} MB, but the disk has {free / 1e6:.0f} MB left"
            )
            raise QexpError(f"cannot write {target}: {needed}")
        chunk = chunk or max(1, CELLS_AT_ONCE // cells)
        with (
            files.writing(target),
            files.beside(target) as temporary,
            new_field_file(
                temporary, grid, _attributes_of_outputs(fields, model), model.attributes
            ) as write,
        ):
            for start in range(0, frames, chunk):
                stop = min(start + chunk, frames)
                ready = fields.read(model.inputs, start, stop)
                estimates = model.estimate(
                    {
                        name: np.require(values, requirements=("C", "W"))
                        for name, values in ready.items()
                    }
                )
                write(start, estimates)
                tally.add(
                    {name: estimates[name].ravel() for name in model.outputs},
                    cells * (stop - start),
                )
                progress(stop, stop / frames)
        if grid.y is not None and grid.x is not None and min(grid.size) > 1:
            factor = model.reading.resample
            changed = f" (resampled by {factor:g})" if factor != 1 else ""
            spacing = {str(self.source): (grid.y.spacing, grid.x.spacing)}
            self._warnings = in_untrained_cells(spacing, model.spacings, changed)
        about = {
            "frames": frames,
            "size": list(grid.size),
            "units": model.units,
            "warnings": self._warnings,
        }
        return {**about, **tally.document()}

    def counts(self, record: Mapping[str, Any]) -> Document:
        return {"frames": record["frames"], "size": tuple(record["size"])}

    def remarks(self, record: Mapping[str, Any]) -> list[str]:
        frames = record["frames"]
        height, width = record["size"]
        number = "1 frame" if frames == 1 else f"{frames:,} frames"
        phrases = self.model.remarks(record, frames * height * width, "cells: ")
        return [f"{number} of {height} x {width} cells", *phrases]

    def warnings(self, record: Mapping[str, Any]) -> Sequence[str]:
        return self._warnings


def _attributes_of_outputs(fields: FieldFolder, model: FieldModel) -> dict[str, dict[str, str]]:
    """Output → its attributes, partly copied from the source's variable of that name."""
    attributes = {}
    for name, output in model.outputs.items():
        source = fields.attributes(name) if name in fields.variables else {}
        words = {
            "long_name": f"estimate of: {source.get('long_name', name)}",
            "units": output.unit,
            "standard_name": str(source.get("standard_name", "")),
            "limits": output.limited,
        }
        attributes[name] = {key: text for key, text in words.items() if text}
    return attributes


def estimates_of(model: Estimator, fields: Fields, device: torch.device, at_once: int) -> Fields:
    """Output → (frame, y, x), of input → (frame, y, x), so many frames `at_once`."""
    samples = {}
    for name in model.network.inputs:
        samples[name] = torch.from_numpy(fields[name]).unsqueeze(1).to(device)
    estimates = model.estimate(samples, batch_size=at_once)
    return {name: estimates[name].squeeze(1).cpu().numpy() for name in model.network.outputs}


def field_model(directory: RunDirectory, device: str = "auto") -> FieldModel:
    """The model of a run. Raises QexpError if the run is not done."""
    dataset = directory.training_spec()["dataset"]
    chosen = device_of(device)
    model = load_model(directory, chosen)
    # One frame at a time: in a batch the rounding would depend on the number of frames.
    return FieldModel(
        **of_run(directory),
        inputs=list(model.network.inputs),
        estimate=partial(estimates_of, model, device=chosen, at_once=1),
        refusal=partial(refusal, model.network),
        reading=FieldReading.from_document(dataset),
        spacings=dataset.get("spacing", []),
    )


PREDICTION = FileKind(
    "frames", targets, lambda directory, options: field_model(directory, options.device).predict
)

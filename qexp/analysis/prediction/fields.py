"""Estimates for fields that need not fit into memory: the frames of an ice-sheet model, one after the other."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qexp import files
from qexp.analysis.prediction import reuse
from qexp.analysis.prediction.field_file import FieldFile, FieldGrid
from qexp.analysis.prediction.progress import Progress, untold
from qexp.datasets.array_cache import Array
from qexp.datasets.gridded import alike
from qexp.datasets.gridded.folders import NETCDF, FieldError, FieldFolder, NetcdfFolder, open_folder
from qexp.datasets.gridded.reading import FrameGrid, grid_of, read_ready
from qexp.errors import NotFoundError, QexpError
from qexp.runs.signals import terminable

CELLS = 2**18
"""Of each variable that are read, estimated and written at a time, unless a frame has more."""


@dataclass(frozen=True)
class FieldModel:
    """What is needed of a run to estimate fields."""

    inputs: Sequence[str]
    outputs: Mapping[str, str]
    """Name → unit."""
    estimate: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    """input → (frame, y, x), to output → the same, each frame by itself."""
    refusal: Callable[[int, int], str | None] = lambda height, width: None
    """Why frames of some height and width cannot be estimated, or None."""
    file: str | None = None
    """Name of the NetCDF file in a folder, where it is not `ex.nc`."""
    resample: float = 1
    """Width of the cells that the network knows, in those of the files that it was trained on."""
    spacings: Sequence[Sequence[float]] = ()
    """Widths along y and x of the cells that it was trained on, after that [m]."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """What every output says of where it comes from: the run, its digest, what must be said of its numbers."""


@dataclass(frozen=True)
class FieldPrediction:
    """What was made of a file or folder."""

    source: Path
    target: Path
    frames: int
    size: tuple[int, int]
    """Height and width, in cells."""
    made: bool
    """False if it was there already."""
    warnings: Sequence[str] = ()

    @property
    def files(self) -> list[Path]:
        """All that can be looked at."""
        return [self.target]

    @property
    def remarks(self) -> list[str]:
        """How much there is."""
        frames = "1 frame" if self.frames == 1 else f"{self.frames:,} frames"
        return [f"{frames} of {self.size[0]} x {self.size[1]} cells"]


def targets(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """What to read and what to write: one file, or one folder of fields, and a NetCDF file.

    target  the file; in a folder that is there, it is named after what is read
    Raises QexpError for what cannot be written, NotFoundError if there is nothing to read.
    """
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    if target.is_dir():
        target = target / f"{source.absolute().name if source.is_dir() else source.stem}.nc"
    if target.suffix.lower() != ".nc":
        raise QexpError(f"{target}: estimates of fields are written as NetCDF; let its name end in .nc")
    return [(source, target)]


def predict_fields(
    source: Path,
    target: Path,
    model: FieldModel,
    *,
    chunk: int | None = None,
    overwrite: bool = False,
    progress: Progress = untold,
) -> FieldPrediction:
    """Estimate all frames of a file or folder, in memory that depends on their size and not on their number.

    Slopes are computed and cells resampled as for training; no frame is left out. The new NetCDF file has the estimates
    over (time, y, x), the coordinates with their attributes, and y and x in the order that they have in the source.
    Beside it lies a record, `<file>.json`. A file that the same run made of the same fields is left as it is.

    source  a NetCDF file of any name, or a folder with `ex.nc` or npy files
    chunk   frames in memory at a time; the file does not depend on it
    Raises QexpError if the file is there and was made otherwise, and `overwrite` is not set; FieldError for fields that
    are not there, do not fit each other, or are no numbers.
    """
    if chunk is not None and chunk < 1:
        raise QexpError(f"--chunk {chunk}: at least 1")
    fields = opened(source, model.file)
    if target.resolve() in {path.resolve() for path in fields.files}:
        raise QexpError(f"{target}: the estimates would be written over what is read; give another --output")
    key = {"origin": dict(model.origin), "input": [reuse.identity(path) for path in fields.files]}
    if not overwrite and (known := reuse.known(source, target, key)) is not None:
        height, width = known["size"]
        return FieldPrediction(source, target, known["frames"], (height, width), made=False)
    grid = _lies_at(fields, grid_of(fields, model.inputs, model.resample), model.resample)
    frames = grid.frames
    if reason := model.refusal(*grid.size):
        raise QexpError(f"{source}: {reason}")
    chunk = chunk or max(1, CELLS // (grid.size[0] * grid.size[1]))
    files.make_folder(target.absolute().parent)
    reuse.clear(target)
    _require_room(target, 4 * frames * grid.size[0] * grid.size[1] * len(model.outputs))
    try:
        # A scheduler sends SIGUSR1 when the time is nearly up.
        with (
            terminable(signal.SIGUSR1),
            files.beside(target) as temporary,
            FieldFile(temporary, grid, _described(fields, model), _global(model)) as file,
        ):
            for start in range(0, frames, chunk):
                stop = min(start + chunk, frames)
                file.write(start, model.estimate(_ready(fields, model, start, stop)))
                progress(stop, stop / frames)
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error.strerror or error}") from error
    warnings = [text] if (text := _another_width(source, grid, model)) else []
    about = {"frames": frames, "size": list(grid.size), "units": dict(model.outputs), "warnings": warnings}
    reuse.note(target, key, about)
    return FieldPrediction(source, target, frames, grid.size, made=True, warnings=warnings)


def opened(source: Path, file: str | None = None) -> FieldFolder:
    """Fields of a file, or of a folder. Raises FieldError and NotFoundError.

    file  name of the NetCDF file that is looked for first in a folder
    """
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    if not source.is_dir():
        return NetcdfFolder(source.parent, source)
    try:
        return open_folder(source, file if file is not None and (source / file).is_file() else None)
    except FieldError:
        others = sorted(source.glob("*.nc"))
        advice = f"; name the file itself, --input {others[0]}" if others else ""
        raise FieldError(f"{source} has neither {file or NETCDF} nor npy files such as thk.npy{advice}") from None


def _require_room(target: Path, size: int) -> None:
    """Raise QexpError if a disk has no room for so many bytes, before they are made."""
    free = shutil.disk_usage(target.absolute().parent).free
    if free < size:
        raise QexpError(
            f"cannot write {target}: the estimates take {size / 1e6:.0f} MB, but the disk has {free / 1e6:.0f} MB left"
        )


def _lies_at(fields: FieldFolder, grid: FrameGrid, resample: float) -> FieldGrid:
    """Where the estimates lie, and what is said of that."""
    beside = fields.file if isinstance(fields, NetcdfFolder) else None
    told = fields.attributes("time")
    return FieldGrid(grid.frames, grid.size, grid.y, grid.x, grid.time, told, beside, resample == 1)


def _ready(fields: FieldFolder, model: FieldModel, start: int, stop: int) -> dict[str, Array]:
    """Inputs of some frames as the network was trained on them: (frame, y, x), y and x ascending."""
    ready = read_ready(fields, model.inputs, start, stop, resample=model.resample)
    return {name: np.require(values, requirements=("C", "W")) for name, values in ready.items()}


def _described(fields: FieldFolder, model: FieldModel) -> dict[str, dict[str, str]]:
    """Output → its attributes; what the source says of a variable of this name is true of its estimate, too."""
    made = {}
    for name, unit in model.outputs.items():
        told = fields.attributes(name) if name in fields.variables else {}
        words = {"long_name": f"estimate of: {told.get('long_name', name)}", "units": unit}
        if "standard_name" in told:
            words["standard_name"] = str(told["standard_name"])
        made[name] = {key: text for key, text in words.items() if text}
    return made


def _global(model: FieldModel) -> dict[str, str]:
    return {"Conventions": "CF-1.11", **{key: text for key, text in model.origin.items() if text}}


def _another_width(source: Path, grid: FieldGrid, model: FieldModel) -> str | None:
    """What must be said of cells that are not as wide as those that the network was trained on."""
    if grid.y is None or grid.x is None or min(grid.size) < 2 or not model.spacings:
        return None
    here = (grid.y.spacing, grid.x.spacing)
    if any(alike(here, known) for known in model.spacings):
        return None
    trained = ", ".join(f"{y:g} x {x:g} m" for y, x in model.spacings)
    changed = f" (resampled by {model.resample:g})" if model.resample != 1 else ""
    return (
        f"{source}: the cells are {here[0]:g} x {here[1]:g} m{changed}, but the network was trained on {trained}, "
        "and cannot know how wide they are"
    )

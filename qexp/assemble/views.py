"""The views of a simulated dataset, of its document and the files that it names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.assemble import places
from qexp.datasets import data_files
from qexp.errors import DatasetError, QexpError
from qexp.physics.geometry import RIGHT
from qexp.quantities import ANGLES, DEGREES, QUANTITIES, base_name
from qexp.rows.table import TableError
from qexp.simulation.distributions import MOVING
from qexp.simulation.views import GNSS, RADAR, View, read_grid, read_points
from qexp.spec.finding import Finding, Where
from qexp.workspace import Workspace

Document = dict[str, Any]
Array = NDArray[np.float64]

FILES = ("mask", "points", "elevation")
"""Keys of a view that may name a file."""


def views_of(document: Document, workspace: Workspace | None) -> list[View]:
    """The views of a dataset. Raises DatasetError with all problems of their files."""
    found: list[Finding] = []
    files = ViewFiles(document, workspace)
    views = [_view(one, index, document, files, found) for index, one in enumerate(document.get("views", []))]
    if found:
        raise DatasetError(found)
    return views


def pinned(document: Document, workspace: Workspace | None) -> Document:
    """The dataset's document with the hashes of its views' files and where they are; itself if they have none."""
    files = ViewFiles(document, workspace)
    named = {name: files.find(name) for name in _files_named(document)}
    if not named:
        return document
    hashes = {name: data_files.fingerprint(path) for name, path in named.items()}
    return {**document, "fingerprints": hashes, "found": {name: str(path.absolute()) for name, path in named.items()}}


TURNING = {"azimuth": 1, "heading": -1}
"""Variables that give the direction of a view → the sign of their growth where it turns counter-clockwise."""


def turned(document: Document, angle: float) -> dict[str, Any]:
    """Dotted key → new value: the changes of a simulated dataset that turn the looks of all its views.

    angle  counter-clockwise, seen from above [rad]
    Raises QexpError if a direction varies by a distribution that cannot be moved.
    """
    changes: dict[str, Any] = {}
    axes = document.get("matrix", {}).get("axes", {})
    for name in sorted({*document.get("fixed", {}), *document["varyings"], *axes}):
        step = _step(name, angle, document)
        if not step:
            continue
        if name in document.get("fixed", {}):
            changes[f"fixed.{name}"] = document["fixed"][name] + step
        if name in document["varyings"]:
            changes[f"distributions.{name}"] = _moved(name, document["distributions"][name], step)
        if name in axes:
            changes[f"matrix.axes.{name}"] = [bound + step for bound in axes[name]]
    for index, view in enumerate(document.get("views", [])):
        changes |= {
            f"views.{index}.{name}": view[name] + _step(name, angle, document) for name in TURNING if name in view
        }
    return changes


def _step(name: str, angle: float, document: Document) -> float:
    """What is added to a variable, in its unit; 0 if it is no direction of a view."""
    in_unit = math.degrees(angle) if document.get(ANGLES) == DEGREES else angle
    return TURNING.get(base_name(name), 0) * in_unit


def _moved(name: str, distribution: Document, step: float) -> Document:
    if (moving := MOVING.get(distribution["type"])) is None:
        raise QexpError(
            f"'{name}' must be {step:+.4g} larger for these weights, and its distribution '{distribution['type']}' "
            f"cannot be moved; use {' or '.join(MOVING)}"
        )
    parameters = distribution["parameters"]
    return {**distribution, "parameters": parameters | {key: parameters[key] + step for key in moving}}


def _files_named(document: Document) -> Iterator[str]:
    for view in document.get("views", []):
        yield from (str(view[key]) for key in FILES if isinstance(view.get(key), str))


class ViewFiles:
    """Finds the files of views: where they were when the run was prepared, else in data/ or a folder of QEXP_DATA."""

    def __init__(self, document: Document, workspace: Workspace | None) -> None:
        self.found: dict[str, str] = document.get("found") or {}
        self.fingerprints: dict[str, str] = document.get("fingerprints") or {}
        self.folders = places.data_folders(workspace)

    def find(self, name: str) -> Path:
        """The file of a name, with the content that it had when the run was prepared. Raises TableError."""
        recorded = Path(self.found.get(name, ""))
        path = recorded if recorded.is_file() else data_files.find(name, self.folders)
        if name in self.fingerprints and data_files.fingerprint(path) != self.fingerprints[name]:
            raise TableError(f"{path} has changed since the run was prepared; the run needs the file as it was")
        return path


def _view(view: Document, index: int, document: Document, files: ViewFiles, found: list[Finding]) -> View:
    """One view; problems are added to `found`."""
    height, width = view["size"] if "size" in view else document.get("size", [64, 64])
    size = int(height), int(width)
    where: Where = ("views", index)

    def tried(key: str, read: Callable[[Any], Tensor]) -> Tensor | None:
        if view.get(key) is None:
            return None
        try:
            return read(view[key])
        except TableError as error:
            found.append(((*where, key), str(error)))
            return None

    points = tried("points", lambda given: _points(given, files))
    count = None if points is None else len(points)
    seen = tried("mask", lambda name: _mask(read_grid(files.find(name), size, "mask"), name))
    return View(
        view.get("name", ""),
        view.get("type", RADAR),
        view.get("look", RIGHT),
        size if "size" in view else None,
        points,
        tried("elevation", lambda name: _elevation(files.find(name), size, count)),
        seen,
        tried("errors", lambda given: _errors(given, count)) if view.get("type") == GNSS else None,
    )


def _points(given: str | list[list[float]], files: ViewFiles) -> Tensor:
    places = read_points(files.find(given)) if isinstance(given, str) else np.asarray(given, dtype=np.float64)
    if places.shape[1] != 2:
        raise TableError(f"a point has two columns, x and y in km, but '{given}' has {places.shape[1]}")
    if not np.isfinite(places).all():
        raise TableError(f"point {int(np.argmin(np.isfinite(places).all(axis=1)))} is not finite")
    return torch.from_numpy(places * QUANTITIES["x"].si_factor)


def _mask(values: Array, name: str) -> Tensor:
    if not np.isin(values[np.isfinite(values)], (0, 1)).all():
        raise TableError(f"'{name}' must be 1 where a pixel is seen and 0 (or missing) elsewhere, but has other values")
    seen = values == 1
    if not seen.any():
        raise TableError(f"'{name}' masks all {seen.size:,} pixels; an image needs pixels that are seen, marked by 1")
    return torch.from_numpy(seen)


def _elevation(path: Path, size: tuple[int, int], points: int | None) -> Tensor:
    if points is None:
        values = read_grid(path, size, "elevation")
        if not np.isfinite(values).all():
            raise TableError(f"{path} has {(~np.isfinite(values)).sum():,} missing values; fill them")
        return torch.from_numpy(values)
    column = read_points(path)
    if column.shape != (points, 1):
        raise TableError(
            f"{path} has {len(column)} rows of {column.shape[1]} columns, but must have {points} rows of one"
        )
    return torch.from_numpy(column[:, 0])


def _errors(given: list[Any], points: int | None) -> Tensor:
    errors = torch.tensor(given, dtype=torch.float64).reshape(-1, 3)
    if points is None:
        return errors
    if len(errors) not in (1, points):
        raise TableError(f"there are errors of {len(errors)} stations, but {points} stations")
    return errors.expand(points, 3)

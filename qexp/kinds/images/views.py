"""The views of a dataset of images: what is seen, by what, and with which errors.

Files are found where they were when a run was prepared, else in data/ or a folder of QEXP_DATA.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.quantities import QUANTITIES
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError
from qexp.kinds.files import data_folders, find_data_file, fingerprint
from qexp.physics.geometry import RIGHT
from qexp.physics.instruments import INSTRUMENTS, RADAR, Instrument
from qexp.rows.table import TableError
from qexp.simulation.views import View, read_grid, read_points
from qexp.spec.reading import Document, Finding

FILES = ("mask", "points", "elevation")
"""Keys of a view that may name a file."""


def views_of(document: Document, workspace: Workspace | None) -> list[View]:
    """The views of a dataset. Raises DatasetError with all problems of their files."""
    findings: list[Finding] = []
    files = ViewFiles(document, workspace)
    views = [
        _view(view, index, document, files, findings)
        for index, view in enumerate(document.get("views", []))
    ]
    if findings:
        raise DatasetError(findings)
    return views


class ViewFiles:
    """Finds the files of views."""

    def __init__(self, document: Document, workspace: Workspace | None) -> None:
        self.recorded: dict[str, str] = document.get("found") or {}
        self.fingerprints: dict[str, str] = document.get("fingerprints") or {}
        self.folders = data_folders(workspace)

    def find(self, name: str) -> Path:
        """The file of a name, with the content that it had when the run was prepared. Raises
        TableError.
        """
        path = find_data_file(name, self.folders, self.recorded.get(name, ""))
        if name in self.fingerprints and fingerprint(path) != self.fingerprints[name]:
            raise TableError(
                f"{path} has changed since the run was prepared; the run needs the file as it was"
            )
        return path


def _view(
    view: Document, index: int, document: Document, files: ViewFiles, findings: list[Finding]
) -> View:
    """One view; problems are added to `findings`."""
    height, width = view["size"] if "size" in view else document["size"]
    size = int(height), int(width)

    def read(key: str, reader: Callable[[Any], Tensor]) -> Tensor | None:
        if view.get(key) is None:
            return None
        try:
            return reader(view[key])
        except TableError as error:
            findings.append((("views", index, key), str(error)))
            return None

    points = read("points", lambda value: _points(value, files))
    count = None if points is None else len(points)
    mask = read("mask", lambda name: _mask(read_grid(files.find(name), size, "mask"), name))
    return View(
        view.get("name", ""),
        view.get("type", RADAR),
        view.get("look", RIGHT),
        size if "size" in view else None,
        points,
        read("elevation", lambda name: _elevation(files.find(name), size, count)),
        mask,
        None
        if instrument_of(view).imaging
        else read("errors", lambda value: _errors(value, count)),
    )


def instrument_of(view: Document) -> Instrument:
    return INSTRUMENTS[view.get("type", RADAR)]


def _points(value: str | list[list[float]], files: ViewFiles) -> Tensor:
    """(point, 2) [m]  value: the coordinates, or a file of them [km]"""
    points = (
        read_points(files.find(value))
        if isinstance(value, str)
        else np.asarray(value, dtype=np.float64)
    )
    if points.shape[1] != 2:
        raise TableError(
            f"a point has two columns, x and y in km, but '{value}' has {points.shape[1]}"
        )
    if not np.isfinite(points).all():
        raise TableError(f"point {int(np.argmin(np.isfinite(points).all(axis=1)))} is not finite")
    return torch.from_numpy(points * QUANTITIES["x"].si_factor)


def _mask(values: Array, name: str) -> Tensor:
    if not np.isin(values[np.isfinite(values)], (0, 1)).all():
        raise TableError(
            f"'{name}' must be 1 where a pixel is seen and 0 (or missing) elsewhere, but has other"
            " values"
        )
    mask = values == 1
    if not mask.any():
        raise TableError(
            f"'{name}' masks all {mask.size:,} pixels; an image needs pixels that are seen, marked"
            " by 1"
        )
    return torch.from_numpy(mask)


def _elevation(path: Path, size: tuple[int, int], points: int | None) -> Tensor:
    if points is None:
        values = read_grid(path, size, "elevation")
        if not np.isfinite(values).all():
            raise TableError(
                f"{path} has {(~np.isfinite(values)).sum():,} missing values; fill them"
            )
        return torch.from_numpy(values)
    column = read_points(path)
    if column.shape != (points, 1):
        raise TableError(
            f"{path} has {len(column)} rows of {column.shape[1]} columns, but must have {points}"
            " rows of one"
        )
    return torch.from_numpy(column[:, 0])


def _errors(values: list[Any], points: int | None) -> Tensor:
    errors = torch.tensor(values, dtype=torch.float64).reshape(-1, 3)
    if points is None:
        return errors
    if len(errors) not in (1, points):
        raise TableError(f"there are errors of {len(errors)} stations, but {points} stations")
    return errors.expand(points, 3)

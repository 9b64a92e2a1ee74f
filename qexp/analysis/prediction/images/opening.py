"""Opening of images by the suffix of a file, or of a folder with a file per variable."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from qexp.analysis.prediction.images.arrays import NpyImages, NpzImages
from qexp.analysis.prediction.images.file import ImageFile, Values
from qexp.analysis.prediction.images.geotiff import GeotiffImages
from qexp.analysis.prediction.images.netcdf import NetcdfImages
from qexp.errors import NotFoundError, QexpError, some


class FolderOfImages(ImageFile):
    """A npy or GeoTIFF file for each variable, named after it."""

    def __init__(self, folder: Path, files: Mapping[str, Path]) -> None:
        self._files = {name: SINGLE[path.suffix.lower()](path, name) for name, path in files.items()}
        self.paths = list(files.values())
        self.shapes = {name: file.shapes[name] for name, file in self._files.items()}

    def place(self, name: str) -> str:
        return self._files[name].place(name)

    def unit(self, name: str) -> str:
        return self._files[name].unit(name)

    def pixel(self, name: str) -> tuple[float, float] | None:
        return self._files[name].pixel(name)

    def names(self, name: str) -> Sequence[str] | None:
        return self._files[name].names(name)

    def read(self, name: str, samples: slice | None) -> Values:
        return self._files[name].read(name, samples)


SINGLE: Mapping[str, type[NpyImages] | type[GeotiffImages]] = {
    ".npy": NpyImages,
    ".tif": GeotiffImages,
    ".tiff": GeotiffImages,
}
"""Suffix → files of one array, which has no name."""

SUFFIXES = (".nc", ".npz", *SINGLE)
"""Suffixes of files of images."""


def variables_in(folder: Path, names: Collection[str]) -> dict[str, Path]:
    """Variable → its npy or GeoTIFF file in a folder, for those of these names that have one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SINGLE and path.stem in names and path.is_file():
            if path.stem in found:
                raise QexpError(f"{folder} has both {found[path.stem].name} and {path.name}; keep one of them")
            found[path.stem] = path
    return found


def open_images(source: Path, variables: Sequence[str], inputs: Sequence[str]) -> ImageFile:
    """The images of a file, or of a folder with a file per variable. Raises QexpError and NotFoundError.

    variables  the names that are searched in a folder
    inputs     the variables that a run needs; if it is one, a file with a single array holds that
    """
    if source.is_dir():
        return FolderOfImages(source, variables_in(source, variables))
    if not source.is_file():
        raise NotFoundError(f"{source}: there is no such file or folder")
    suffix, only = source.suffix.lower(), inputs[0] if len(inputs) == 1 else None
    if suffix == ".nc":
        return NetcdfImages(source)
    if suffix == ".npz":
        return NpzImages(source, only)
    if only is None:
        raise QexpError(
            f"{source} has one array, but the run takes {some(inputs)}; give NetCDF or npz with these names, or a "
            f"folder with a file for each, such as {inputs[0]}{suffix}"
        )
    return SINGLE[suffix](source, only)

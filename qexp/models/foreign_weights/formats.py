"""The formats in which other programs keep weights, by the suffix of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qexp.errors import NotFoundError, QexpError
from qexp.models.foreign_weights import keras, numpy_file, pytorch, safetensors_file
from qexp.models.foreign_weights.stored import Contents, WeightsFileError


@dataclass(frozen=True)
class Format:
    name: str
    suffixes: tuple[str, ...]
    opened: Callable[[Path], AbstractContextManager[Contents]]


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format("pytorch", (".pth", ".pt", ".ckpt", ".bin"), pytorch.opened),
        Format("safetensors", (".safetensors",), safetensors_file.opened),
        Format("keras_h5", (".h5", ".hdf5"), keras.opened_h5),
        Format("keras", (".keras",), keras.opened_archive),
        Format("numpy", (".npy",), numpy_file.opened),
    )
}


def format_of(file: Path) -> Format:
    """The format of a file, by its suffix. Raises QexpError for another one, and NotFoundError."""
    if not file.exists():
        raise NotFoundError(f"{file}: there is no such file")
    if not file.is_file():
        raise QexpError(f"{file}: is not a file")
    for one in FORMATS.values():
        if file.suffix.lower() in one.suffixes:
            return one
    known = ", ".join(suffix for one in FORMATS.values() for suffix in one.suffixes)
    raise QexpError(f"{file}: the format is known by the suffix, which must be one of {known}")


@contextmanager
def opened(file: Path) -> Iterator[Contents]:
    """The tensors of a file of any format. Raises QexpError if it cannot be read, or holds none."""
    with format_of(file).opened(file) as contents:
        if not contents.tensors:
            raise WeightsFileError(file, "holds no tensors")
        yield contents

"""Images in npy and npz files, as numpy saves them."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from qexp.analysis.prediction.images.file import ImageFile, Shape, Values, require_numbers
from qexp.errors import QexpError


class NpyImages(ImageFile):
    """One array without a name.

    name  the variable that it stands for
    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.paths, self._path = [path], path
        try:
            with path.open("rb") as file:
                shape, self._fortran, self._dtype = _header(file)
                self._start = file.tell()
            require_numbers(self._dtype, str(path))
            if path.stat().st_size < self._start + self._dtype.itemsize * math.prod(shape):
                raise ValueError("it ends too early")
        except (OSError, ValueError, EOFError) as error:
            raise QexpError(f"{path} cannot be read as npy: {error}") from None
        self.shapes = {name: shape}

    def place(self, name: str) -> str:
        return str(self._path)

    def read(self, name: str, samples: slice | None) -> Values:
        shape = self.shapes[name]
        if self._fortran:
            mapped: Values = np.load(self._path, mmap_mode="r")
            return np.asarray(mapped if samples is None else mapped[samples])
        # Read, not mapped: what is mapped counts as memory of the process.
        first, wanted = (0, shape) if samples is None else (samples.start, (samples.stop - samples.start, *shape[1:]))
        offset = self._start + first * self._dtype.itemsize * math.prod(shape[1:])
        return np.fromfile(self._path, self._dtype, math.prod(wanted), offset=offset).reshape(wanted)


class NpzImages(ImageFile):
    """Named arrays, which are decompressed piece by piece; an array in Fortran order is read as a whole.

    only  the variable that a single array of any name stands for; None if arrays are found by name alone
    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, only: str | None) -> None:
        self.paths, self._path = [path], path
        self._streams: dict[str, tuple[IO[bytes], int]] = {}
        """Variable → its stream, and the sample that comes next."""
        try:
            self._zip = zipfile.ZipFile(path)
            members = [name for name in self._zip.namelist() if name.endswith(".npy")]
            self._members = {name.removesuffix(".npy"): name for name in members}
            if only is not None and len(members) == 1:
                self._members = {only: members[0]}
            self._headers = {name: self._header_of(member) for name, member in self._members.items()}
        except DAMAGED_ARCHIVE as error:
            raise QexpError(f"{path} cannot be read as npz: {error}") from None
        self.shapes = {name: shape for name, (shape, _, _) in self._headers.items()}

    def place(self, name: str) -> str:
        return f"{self._path}: array '{self._members[name].removesuffix('.npy')}'"

    def read(self, name: str, samples: slice | None) -> Values:
        (shape, fortran, dtype), place = self._headers[name], self.place(name)
        require_numbers(dtype, place)
        try:
            if samples is None or fortran:
                with self._zip.open(self._members[name]) as file:
                    whole: Values = np.lib.format.read_array(file, allow_pickle=False)
                return whole if samples is None else whole[samples]
            wanted = (samples.stop - samples.start, *shape[1:])
            size = dtype.itemsize * math.prod(shape[1:])
            stream = self._stream_at(name, samples.start, size)
            content = stream.read(size * wanted[0])
            self._streams[name] = (stream, samples.stop)
            return np.frombuffer(content, dtype).reshape(wanted)
        except DAMAGED_ARCHIVE as error:
            raise QexpError(f"{place} cannot be read: {error}") from None

    def _header_of(self, member: str) -> tuple[Shape, bool, np.dtype[Any]]:
        with self._zip.open(member) as file:
            return _header(file)

    def _stream_at(self, name: str, sample: int, size: int) -> IO[bytes]:
        """The stream of an array, where a sample of `size` bytes begins."""
        stream, reached = self._streams.get(name, (None, 0))
        if stream is None or reached != sample:
            stream = self._zip.open(self._members[name])
            _header(stream)
            stream.seek(sample * size, 1)
        return stream


DAMAGED_ARCHIVE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""Errors that zipfile and numpy raise for damaged or encrypted archives."""


def _header(file: IO[bytes]) -> tuple[Shape, bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and type of the npy array that begins here. Raises ValueError."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)

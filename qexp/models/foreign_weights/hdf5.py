"""Arrays in an HDF5 file of unknown origin: only what lies in the file itself, as plain numbers, is read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from qexp.models.foreign_weights.pytorch import plain
from qexp.models.foreign_weights.stored import DEEPEST, MOST_TENSORS, Stored, WeightsFileError

LARGEST_TEXT = 50_000_000
"""Largest description of a network [bytes]."""


@contextmanager
def opened(source: Path | io.BytesIO, file: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading; `file` is its name in errors. Raises WeightsFileError, also for damage found later."""
    try:
        with h5py.File(source, "r") as content:
            yield content
    except WeightsFileError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or ["no message"])[0]
        raise WeightsFileError(file, f"is damaged, or not an HDF5 file: {first[:200]}") from None


def arrays(content: h5py.File, file: Path) -> dict[str, Stored]:
    """Path in the file → array. Links out of the file and arrays that lie elsewhere are errors, and not followed."""
    found: dict[str, Stored] = {}
    waiting: list[tuple[str, h5py.Group, int]] = [("", content, 0)]
    seen: set[Any] = set()
    looked_at = 0
    while waiting:
        before, group, depth = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > DEEPEST:
            raise WeightsFileError(file, f"its group '{before}' contains itself, or lies {DEEPEST} levels deep")
        seen.add(address)
        for name in group:
            looked_at += 1
            path = f"{before}/{name}" if before else name
            if looked_at > MOST_TENSORS:
                raise WeightsFileError(file, f"has more than {MOST_TENSORS:,} entries")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsFileError(file, f"'{path}' is a link to another place, which is not followed")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append((path, item, depth + 1))
            elif isinstance(item, h5py.Datatype):
                raise WeightsFileError(file, f"'{path}' is neither a group nor an array")
            else:
                found[path] = _stored(item, path, file)
    return dict(sorted(found.items()))


def _stored(array: h5py.Dataset, path: str, file: Path) -> Stored:
    settings = array.id.get_create_plist()
    if array.is_virtual or settings.get_external_count():
        raise WeightsFileError(file, f"the numbers of '{path}' lie in another file, which is not read")
    if array.dtype.kind not in "fiu" or array.shape is None:
        raise WeightsFileError(file, f"'{path}' does not hold numbers")
    if settings.get_nfilters():
        raise WeightsFileError(file, f"'{path}' is compressed, as Keras does not write it; save it again in Keras")
    size = int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize
    if array.id.get_storage_size() < size:
        raise WeightsFileError(
            file, f"'{path}' is declared as {list(array.shape)}, but the file holds fewer numbers than that"
        )
    return Stored(tuple(array.shape), partial(_read, array))


def _read(array: h5py.Dataset) -> torch.Tensor:
    numbers = np.float32 if array.dtype.kind == "f" else np.int64
    return plain(torch.from_numpy(np.asarray(array[()], dtype=numbers)))


def text(content: h5py.File, attribute: str, file: Path) -> str | None:
    """A text that is an attribute of the file, or None. Raises WeightsFileError for one that is too large."""
    if attribute not in content.attrs:
        return None
    kept = content.attrs.get_id(attribute)
    if kept.get_storage_size() > LARGEST_TEXT or kept.shape != ():
        raise WeightsFileError(file, f"its attribute '{attribute}' is not a text of at most {LARGEST_TEXT:,} bytes")
    value = content.attrs[attribute]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

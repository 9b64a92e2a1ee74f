"""PyTorch's files of weights, `.pth` and `.ckpt`: tensors in dictionaries.

They are pickles. Only torch's reader for weights is used, which knows tensors and plain containers, and refuses
everything that a pickle could execute.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qexp.models.foreign_weights.stored import DEEPEST, MOST_TENSORS, Contents, Stored, WeightsFileError

REFUSED = re.compile(r"GLOBAL ([\w.]+)")
"""What a pickle asks for, in the words in which torch refuses it."""


@contextmanager
def opened(file: Path) -> Iterator[Contents]:
    """The tensors of a file, named by the keys on the way to them: `state_dict.fc.weight`. Raises WeightsFileError."""
    _require_stored_plainly(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about archives of TorchScript, which are refused below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsFileError(file, f"cannot be read: {error.strerror or error}") from None
    except Exception as error:  # whatever bytes that are no pickle of torch, or a hostile one, make its reader raise
        raise WeightsFileError(file, _why(error)) from None
    yield Contents(dict(_tensors(content, file)))


def _require_stored_plainly(file: Path) -> None:
    """Raise WeightsFileError for an archive that would grow when it is read; torch compresses nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return  # not an archive, or a damaged one, which torch refuses
    room = file.stat().st_size
    if any(one.compress_type != zipfile.ZIP_STORED for one in members) or sum(one.file_size for one in members) > room:
        raise WeightsFileError(file, "is a compressed archive, which torch does not write; save it again in torch")


def _why(error: Exception) -> str:
    said = str(error)
    if isinstance(error, pickle.UnpicklingError):  # torch's own words advise to execute the file
        found = REFUSED.search(said)
        what = f": '{found[1]}', which would have to be executed to read it, and is not" if found else ""
        return (
            f"holds something other than tensors{what}; in the program that wrote it, save the tensors alone: "
            "torch.save(model.state_dict(), FILE)"
        )
    if "TorchScript" in said:
        return "is a program of TorchScript, which is not executed; save model.state_dict() instead"
    first = (said.splitlines() or [type(error).__name__])[0]
    return f"is damaged, or not a file of PyTorch: {first[:200]}"


def _tensors(content: Any, file: Path) -> Iterator[tuple[str, Stored]]:
    """Dotted name → tensor, for all tensors in nested dictionaries and lists; numbers and texts are no weights."""
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    looked_at = 0
    while waiting:
        name, value, depth = waiting.pop()
        looked_at += 1
        if looked_at > MOST_TENSORS or depth > DEEPEST:
            raise WeightsFileError(file, f"has more than {MOST_TENSORS:,} entries, or {DEEPEST} levels of them")
        if isinstance(value, Tensor):
            yield name, _stored(value, name, file)
        elif isinstance(value, dict | list | tuple):
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            below = [(f"{name}.{key}" if name else str(key), one, depth + 1) for key, one in entries]
            waiting += reversed(below)


def _stored(tensor: Tensor, name: str, file: Path) -> Stored:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise WeightsFileError(file, f"'{name}' is not a plain tensor: {tensor.layout}, {tensor.dtype}")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsFileError(file, f"'{name}' is declared as {list(tensor.shape)}, but has fewer numbers than that")
    return Stored(tuple(tensor.shape), lambda: plain(tensor))


def plain(tensor: Tensor) -> Tensor:
    """A copy in single precision; of whole numbers, the numbers."""
    return tensor.detach().to(torch.float32 if tensor.is_floating_point() else torch.int64).contiguous().clone()
